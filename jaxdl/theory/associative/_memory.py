# SPDX-License-Identifier: Apache-2.0
"""Networks that store patterns or learn them from examples: energy, fields.

Every protocol is one and the same network on other vectors v:

    H(s) = -(a N / 2) sum_p o_p²,   o_p = (1 / N) sum_i v_i^p s_i,

so a `Memory` is vectors and a gain a, and no coupling matrix is ever needed.
"""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys
from jaxdl.theory.associative import _checks, _patterns

# Neurons of a network whose couplings are written out.
MOST_COUPLED = 20_000
# Integers up to here are exact in float32.
EXACT = 2**24


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Memory:
  """A network given by vectors; its couplings are a / N times their products.

  Attributes:
    vectors: [P, N]: patterns (int8), sums of examples (integers), all examples,
      or numbers.
    gain: f[], a.
    largest: the largest entry that integer vectors may have (static), which
      says where sums stay exact; 0 for numbers.
  """

  vectors: chex.Array
  gain: chex.Array
  largest: int = dataclasses.field(default=0, metadata={'static': True})


class Couplings(NamedTuple):
  """A network given by its couplings, H = -(1 / 2) s J s; for small N.

  Attributes:
    matrix: f[N, N], symmetric; a zero diagonal for dynamics.
  """

  matrix: chex.Array


Network = Memory | Couplings


def check_network(network: Network, *kinds: type) -> None:
  """Raises TypeError unless a value is a network, or one of some kinds."""
  kinds = kinds or (Memory, Couplings)
  if not isinstance(network, kinds):
    names = ' or '.join(kind.__name__ for kind in kinds)
    makers = {
      Memory: 'by storing_memory, supervised_memory or unsupervised_memory',
      Couplings: 'by hebbian_couplings(memory)',
    }
    raise TypeError(
      f'network must be a {names}; got {checks.described(network)}: make one '
      f'{makers[kinds[0]]}.'
    )


def storing_memory(patterns: chex.Array, *, dilution: chex.Numeric) -> Memory:
  """A network that knows the patterns.

  H = -(N / (2 (1 - d))) sum_mu m_mu² with the overlaps m.

  Args:
    patterns: i8[K, N] of -1, 0, 1.
    dilution: d in [0, 1) of their law, may be traced.

  Returns:
    The network, P = K.

  Raises:
    ValueError: if the dilution is out of range or patterns are something else.

  Example:
    >>> memory = storing_memory(jnp.ones((1, 8), jnp.int8), dilution=0.0)
    >>> float(energy(memory, jnp.ones(8)))
    -4.0

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), storing.
  """
  _checks.patterns(patterns)
  _checks.dilution(dilution)
  return _whole(patterns.astype(jnp.int8), 1.0 / (1.0 - dilution), 1)


def supervised_memory(
  examples: chex.Array,
  *,
  dilution: chex.Numeric,
  quality: chex.Numeric,
  num_examples: int | None = None,
) -> Memory:
  """A network that learns from examples whose pattern is known.

  H = -(N (1 + rho) / (2 (1 - d))) sum_mu n_mu², where
  n_mu = (1 / (N (1 + rho))) sum_i mean_i^mu s_i with the average of examples
  over r. Integers stay what they are, so fields that vanish do so exactly.

  Args:
    examples: i8[K, M, N] of -1, 0, 1; or their sums, integers [K, N]
      (`sample_example_sums`); or averages over r, floats [K, N]
      (`sample_example_mean`, or a normal approximation).
    dilution: d in [0, 1), may be traced.
    quality: r in (0, 1], may be traced.
    num_examples: M, where sums or averages are given.

  Returns:
    The network, P = K.

  Raises:
    ValueError: if numbers or shapes do not fit, or averages that are known are
      not finite.

  Example:
    >>> xi = jnp.ones((1, 8), jnp.int8)
    >>> memory = supervised_memory(
    ...   3 * xi, dilution=0.0, quality=1.0, num_examples=3
    ... )
    >>> float(energy(memory, jnp.ones(8)))
    -4.0

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), supervised.
  """
  _checks.dilution(dilution)
  _checks.quality(quality)
  _checks.array(examples, 'examples')
  shape = jnp.shape(examples)
  if len(shape) not in (2, 3) or 0 in shape:
    raise ValueError(
      'examples must have shape [K, M, N], or [K, N] for their sums or '
      f'averages; got {shape}.'
    )
  whole = jnp.issubdtype(examples.dtype, jnp.integer)
  if len(shape) == 3:
    _checks.examples(examples)
    if num_examples not in (None, shape[1]):
      raise ValueError(
        f'num_examples={num_examples} but examples of shape {shape} are M = '
        f'{shape[1]} of each pattern.'
      )
    m = shape[1]
    sums = jnp.sum(examples, axis=1, dtype=jnp.int32)
    vectors = sums.astype(_patterns.sum_dtype(m))
    whole = True
  elif num_examples is None:
    raise ValueError(
      f'num_examples is needed: examples of shape {shape} are '
      f'{"sums" if whole else "averages"} of M examples.'
    )
  else:
    m, vectors = _checks.num_examples(num_examples), examples
    if not whole:
      checks.known(vectors, name='examples')
    if whole and not isinstance(vectors, jax.core.Tracer):
      most = int(np.max(np.abs(np.asarray(vectors, np.int64))))
      if most > m:
        raise ValueError(
          f'examples are sums of num_examples={m} entries of -1, 0 or 1; got '
          f'one of {most}.'
        )
  rho = _patterns.dataset_entropy(quality, m)
  gain = 1.0 / ((1.0 - dilution) * (1.0 + rho))
  if whole:
    return _whole(vectors, gain / (quality * m) ** 2, m)
  return Memory(vectors, _number(gain))


def unsupervised_memory(
  examples: chex.Array, *, dilution: chex.Numeric, quality: chex.Numeric
) -> Memory:
  """A network that learns from examples without a teacher.

  H = -(N / (2 (1 - d) (1 + rho) r² M)) sum_{mu,a} n_{mu,a}², the overlaps with
  all examples.

  Args:
    examples: i8[K, M, N] of -1, 0, 1.
    dilution: d in [0, 1), may be traced.
    quality: r in (0, 1], may be traced.

  Returns:
    The network, P = K M.

  Raises:
    ValueError: if numbers or shapes do not fit, averages among them.

  Example:
    >>> examples = jnp.ones((1, 3, 8), jnp.int8)
    >>> memory = unsupervised_memory(examples, dilution=0.0, quality=1.0)
    >>> round(float(energy(memory, jnp.ones(8))), 5)
    -4.0

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), unsupervised.
  """
  _checks.dilution(dilution)
  _checks.quality(quality)
  _checks.array(examples, 'examples')
  shape = jnp.shape(examples)
  if len(shape) == 2:
    raise ValueError(
      f'examples of shape {shape} are sums or averages: without a teacher the '
      'network needs the examples themselves, [K, M, N] of sample_examples.'
    )
  if len(shape) != 3 or 0 in shape:
    raise ValueError(f'examples must have shape [K, M, N]; got {shape}.')
  _checks.examples(examples)
  k, m, n = shape
  rho = _patterns.dataset_entropy(quality, m)
  gain = 1.0 / ((1.0 - dilution) * (1.0 + rho) * quality**2 * m)
  vectors = examples.astype(jnp.int8).reshape(k * m, n)
  return _whole(vectors, gain, 1)


def _whole(vectors, gain, largest):
  """A network of integer vectors whose overlaps fit into int32."""
  n = vectors.shape[1]
  if n * largest > _patterns.MOST:
    raise ValueError(
      f'N = {n} neurons and num_examples={largest} have overlaps beyond int32: '
      'give averages (sample_example_mean).'
    )
  return Memory(vectors, _number(gain), largest=largest)


def _number(value):
  return jnp.asarray(value, jnp.result_type(float))


def hebbian_couplings(
  network: Memory, *, self_coupling: bool = False
) -> Couplings:
  """Writes the couplings out: J = (a / N) sum_p v^p v^p.

  Args:
    network: of N <= 20000 neurons.
    self_coupling: whether the diagonal stays (static); without, it is zero.

  Returns:
    The same network as a matrix.

  Raises:
    ValueError: if there are more neurons.

  Cost: O(P N²), 4 N² bytes.

  Example:
    >>> xi = jnp.array([[1, -1, 0]], jnp.int8)
    >>> memory = storing_memory(xi, dilution=0.0)
    >>> print(np.asarray(hebbian_couplings(memory).matrix[0]).round(2))
    [ 0.   -0.33  0.  ]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), J_ij.
  """
  check_network(network, Memory)
  n = network.vectors.shape[1]
  if n > MOST_COUPLED:
    raise ValueError(
      f'N = {n} neurons have {n * n / 1e9:.1f}e9 couplings: take at most '
      f'{MOST_COUPLED}, or the vectors, which say the same.'
    )
  v = network.vectors.astype(jnp.result_type(network.gain))
  matrix = network.gain / n * jnp.matmul(v.T, v, precision='highest')
  if not self_coupling:
    matrix = jnp.where(jnp.eye(n, dtype=bool), 0.0, matrix)
  return Couplings(matrix)


def dilute_couplings(
  key: chex.PRNGKey, network: Couplings, keep: chex.Numeric
) -> Couplings:
  """Cuts couplings at random, both ways at once; the others grow for it.

  Full patterns on few couplings: the baseline that retrieves one at a time.

  Args:
    key: consumed.
    network: as a matrix.
    keep: share of couplings that stay, in (0, 1], may be traced.

  Returns:
    The network; what stays is divided by `keep`.

  Raises:
    ValueError: if the share is out of range.

  Example:
    >>> whole = Couplings(jnp.ones((4, 4)))
    >>> cut = dilute_couplings(jax.random.key(0), whole, 0.5).matrix
    >>> bool((cut == cut.T).all()), sorted(set(cut.ravel().tolist()))
    (True, [0.0, 2.0])
  """
  keys.check_key(key)
  check_network(network, Couplings)
  checks.number(keep, name='keep', low=0.0, high=1.0, open_low=True)
  shape = network.matrix.shape
  upper = jnp.triu(jax.random.uniform(key, shape) < keep)
  kept = upper | upper.T
  return Couplings(jnp.where(kept, network.matrix / keep, 0.0))


def energy(network: Network, state: chex.Array) -> chex.Array:
  """The energy H of a state; it grows with N.

  Args:
    network: any.
    state: [N] of -1 and 1.

  Returns:
    f[]. That of a `Memory` has the constant -(1 / 2) sum_i J_ii, which
    couplings without a diagonal have not.

  Raises:
    ValueError: if the state does not fit.

  Cost: O(P N), or O(N²) of a matrix.

  Example:
    >>> memory = storing_memory(jnp.ones((1, 8), jnp.int8), dilution=0.5)
    >>> float(energy(memory, jnp.ones(8)))
    -8.0

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), H.
  """
  check_network(network)
  if isinstance(network, Couplings):
    _checks.state(state, network.matrix.shape[0])
    s = state.astype(network.matrix.dtype)
    return -0.5 * jnp.vdot(
      s, jnp.matmul(network.matrix, s, precision='highest')
    )
  n = network.vectors.shape[1]
  _checks.state(state, n)
  sums = _patterns.overlap_sums(network.vectors, state)
  o = sums.astype(jnp.result_type(network.gain)) / n
  return -0.5 * n * network.gain * jnp.sum(o**2)


def local_fields(
  network: Network, state: chex.Array, *, self_coupling: bool = False
) -> chex.Array:
  """The field h on every neuron: turning it costs 2 s_i h_i of energy.

  Args:
    network: any.
    state: [N] of -1 and 1.
    self_coupling: whether a neuron feels itself through J_ii (static). The
      formulas of the paper do, h_i = a sum_p v_i^p o_p; dynamics must not,
      which matters by O(P / N).

  Returns:
    f[N]; exactly zero where integers cancel (see `dynamics`). Couplings have
    the diagonal that they have, whatever `self_coupling` says.

  Raises:
    ValueError: if the state does not fit.

  Cost: O(P N), or O(N²) of a matrix.

  Example:
    >>> memory = storing_memory(jnp.ones((1, 4), jnp.int8), dilution=0.0)
    >>> local_fields(memory, jnp.array([1, 1, 1, -1])).tolist()
    [0.25, 0.25, 0.25, 0.75]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), Glauber.
  """
  check_network(network)
  if isinstance(network, Couplings):
    _checks.state(state, network.matrix.shape[0])
    s = state.astype(network.matrix.dtype)
    return jnp.matmul(network.matrix, s, precision='highest')
  n = network.vectors.shape[1]
  _checks.state(state, n)
  sums = _patterns.overlap_sums(network.vectors, state)
  s = state.astype(field_dtype(network))
  f = raw_fields(network.vectors, sums, s, self_coupling=self_coupling) * s
  return network.gain / n * f.astype(jnp.result_type(network.gain))


def most_exact(network: Memory) -> int:
  """The largest number that sums for a field times N / a may reach; 0 if any.

  Args:
    network: whose integers are at most `largest`.

  Returns:
    P largest² N.
  """
  p, n = network.vectors.shape
  return p * network.largest**2 * n


def field_dtype(network: Memory) -> jnp.dtype:
  """Numbers in which a field times N / a is exact, where there are any.

  Args:
    network: whose.

  Returns:
    float32, which is fastest, as far as it counts, then int32; float32 beyond,
    where fields are rounded; of numbers their own dtype, float32 at least.
  """
  if not network.largest:
    return jnp.promote_types(network.vectors.dtype, jnp.float32)
  exact = EXACT < most_exact(network) <= _patterns.MOST
  return jnp.dtype(jnp.int32 if exact else jnp.float32)


def raw_fields(
  vectors: chex.Array,
  sums: chex.Array,
  state: chex.Array,
  *,
  self_coupling: bool = False,
) -> chex.Array:
  """Fields of some neurons times s N / a, in numbers that are exact.

  Args:
    vectors: [P, W], what these neurons have of the vectors of a network.
    sums: [P], inner products with the whole state.
    state: [W], in the dtype of `field_dtype`.
    self_coupling: whether neurons feel themselves.

  Returns:
    [W] in the dtype of the state; negative where turning lowers the energy.
  """
  v, o = vectors.astype(state.dtype), sums.astype(state.dtype)
  f = jnp.sum(v * o[:, None], axis=0, dtype=state.dtype) * state
  if self_coupling:
    return f
  return f - jnp.sum(v * v, axis=0, dtype=state.dtype)
