# SPDX-License-Identifier: Apache-2.0
"""The second stage: every hidden node climbs an energy of its own.

E(w) = ½ |Ỹ^T σ(X w)|² on |w| = 1. On a full table with σ(x) = x² it is a sum
over the irreps, and its maxima are single irreps.
"""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys
from jaxdl.theory.grokking import _model

Activation = str | Callable[[chex.Array], chex.Array]


def node_outputs(
  w: chex.Array,
  inputs: chex.Array,
  labels: chex.Array,
  *,
  activation: Activation = 'square',
) -> chex.Array:
  """What a node tells each class, z = Ỹ^T σ(X w), centered over samples.

  Args:
    w: f[2 M], weights of one node.
    inputs: i[n, 2].
    labels: i[n].
    activation: σ (static).

  Returns:
    f[M].

  Raises:
    ValueError: if shapes do not fit.

  Cost: O(n), no one-hot vectors.

  Example:
    >>> from jaxdl.theory import grokking
    >>> table = grokking.cyclic_table(3)
    >>> x, y = map(jnp.asarray, grokking.group_dataset(table))
    >>> z = node_outputs(jnp.array([1.0, 0, 0, 1.0, 0, 0]), x, y)
    >>> (3 * z).round(3).tolist()
    [4.0, -2.0, -2.0]

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Sec. 5.
  """
  w, inputs, labels = jnp.asarray(w), jnp.asarray(inputs), jnp.asarray(labels)
  if w.ndim != 1 or w.shape[0] % 2 or not w.shape[0]:
    raise ValueError(f'w must be f[2 M], of one node; got shape {w.shape}.')
  order = w.shape[0] // 2
  if inputs.shape != (*labels.shape, 2) or labels.ndim != 1:
    raise ValueError(
      f'inputs and labels must be i[n, 2] and i[n]; got shapes {inputs.shape} '
      f'and {labels.shape}.'
    )
  checks.class_labels(inputs, order, name='inputs')
  checks.class_labels(labels, order)
  fn = _model.activation_of(activation)
  s = fn(w[inputs[:, 0]] + w[order + inputs[:, 1]])
  return jax.ops.segment_sum(s - jnp.mean(s), labels, order)


def node_energy(
  w: chex.Array,
  inputs: chex.Array,
  labels: chex.Array,
  *,
  activation: Activation = 'square',
) -> chex.Array:
  """E(w) = ½ |Ỹ^T σ(X w)|²; its gradient is what back-propagation gives.

  Args:
    w: f[2 M], weights of one node.
    inputs: i[n, 2].
    labels: i[n].
    activation: σ (static).

  Returns:
    f[].

  Raises:
    ValueError: if shapes do not fit.

  Example:
    >>> from jaxdl.theory import grokking
    >>> table = grokking.cyclic_table(7)
    >>> x, y = map(jnp.asarray, grokking.group_dataset(table))
    >>> w = jnp.zeros(14).at[jnp.array([2, 10])].set(0.5**0.5)
    >>> round(float(node_energy(w, x, y)), 4)  # 3 / 7
    0.4286

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Theorem 2.
  """
  z = node_outputs(w, inputs, labels, activation=activation)
  return 0.5 * jnp.sum(jnp.square(jnp.abs(z)))


def restricted_energy(
  w: chex.Array,
  projectors: chex.Array,
  irreps: Sequence[int],
  inputs: chex.Array,
  labels: chex.Array,
) -> chex.Array:
  """The part of the energy that lies in some irreps, Σ ½ |Π_k z|².

  With the irreps that are not learned yet, it is what a node climbs when the
  others are: its maxima are on missing irreps only.

  Args:
    w: f[2 M], weights of one node.
    projectors: f[R, M, M], `Irreps.projectors`.
    irreps: places of some of the R (static).
    inputs: i[n, 2], the full table.
    labels: i[n].

  Returns:
    f[].

  Raises:
    ValueError: if a place is out of range or stands twice.

  Cost: O(n + R M²).

  Example:
    >>> from jaxdl.theory import grokking
    >>> table = grokking.cyclic_table(5)
    >>> x, y = map(jnp.asarray, group_dataset(table))
    >>> parts = jnp.asarray(grokking.irreps(table).projectors, jnp.float32)
    >>> w = jnp.arange(10.0)
    >>> some, rest, all_of_it = (
    ...   float(restricted_energy(w, parts, s, x, y))
    ...   for s in ((1,), (2,), (1, 2))
    ... )
    >>> abs(some + rest - all_of_it) < 1e-3 * all_of_it
    True

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Theorem 6.
  """
  total, order = len(projectors), len(w) // 2
  if jnp.shape(projectors)[1:] != (order, order):
    raise ValueError(
      f'projectors must be f[R, {order}, {order}], as w has two weights for '
      f'each of {order} elements; got shape {jnp.shape(projectors)}.'
    )
  places = [
    checks.integer(k, name='irreps', low=0, high=total - 1) for k in irreps
  ]
  if len(set(places)) < len(places):
    raise ValueError(f'irreps must differ; got {tuple(places)}.')
  if not places:
    return jnp.zeros((), jnp.real(w).dtype)
  z = node_outputs(w, inputs, labels)
  own = projectors[jnp.array(places)].astype(z.dtype)
  parts = jnp.matmul(own, z, precision='highest')
  return 0.5 * jnp.sum(jnp.square(jnp.abs(parts)))


def energy_ascent(
  key: chex.PRNGKey,
  inputs: chex.Array,
  labels: chex.Array,
  *,
  order: int,
  num_starts: int = 1,
  num_steps: int = 500,
  step_size: chex.Numeric = 0.5,
  activation: Activation = 'square',
) -> tuple[chex.Array, chex.Array]:
  """Climbs the energy on the sphere from random starts.

  A step adds the gradient, brought to length `step_size`, and normalizes.

  Args:
    key: consumed.
    inputs: i[n, 2].
    labels: i[n].
    order: M (static).
    num_starts: S (static).
    num_steps: steps (static).
    step_size: > 0, may be traced.
    activation: σ (static).

  Returns:
    Weights f[S, 2 M] of length one, and their energies f[S]. A start at which
    the gradient is zero stays there.

  Raises:
    ValueError: if a number is out of range.

  Cost: O(num_starts · num_steps · n); one scan.

  Example:
    >>> from jaxdl.theory import grokking
    >>> table = grokking.cyclic_table(5)
    >>> x, y = map(jnp.asarray, grokking.group_dataset(table))
    >>> _, energies = energy_ascent(
    ...   jax.random.key(0), x, y, order=5, num_starts=3
    ... )
    >>> energies.round(3).tolist()  # M / 4
    [1.25, 1.25, 1.25]

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Theorem 2.
  """
  keys.check_key(key)
  m = checks.integer(order, name='order', low=3)
  starts = checks.integer(num_starts, name='num_starts', low=1)
  steps = checks.integer(num_steps, name='num_steps', low=0)
  checks.number(step_size, name='step_size', low=0.0, open_low=True)

  def energy(w):
    return node_energy(w, inputs, labels, activation=activation)

  def climb(w, _):
    slope = jax.grad(energy)(w)
    size = jnp.linalg.norm(slope)
    moved = w + step_size * slope / jnp.where(size > 0, size, 1.0)
    return moved / jnp.linalg.norm(moved), None

  def one(w):
    return jax.lax.scan(climb, w, length=steps)[0]

  w = jax.random.normal(key, (starts, 2 * m))
  w = jax.vmap(one)(w / jnp.linalg.norm(w, axis=1, keepdims=True))
  return w, jax.vmap(energy)(w)


def energy_spectrum(u: chex.Array) -> chex.Array:
  """Share of the power of a function in every frequency.

  Args:
    u: f[..., M], on the integers modulo M, or complex.

  Returns:
    f[..., M // 2 + 1], which sums to one; zeros of a zero function.

  Example:
    >>> wave = jnp.cos(2 * jnp.pi * 2 * jnp.arange(5) / 5)
    >>> energy_spectrum(wave).round(3).tolist()
    [0.0, 0.0, 1.0]
  """
  u = jnp.asarray(u)
  if not u.ndim or not u.shape[-1]:
    raise ValueError(f'u must be f[..., M], M >= 1; got shape {u.shape}.')
  m = u.shape[-1]
  power = jnp.square(jnp.abs(jnp.fft.fft(u)))
  # Both signs of a frequency are one.
  both = power + jnp.roll(jnp.flip(power, -1), 1, -1)
  power = both[..., : m // 2 + 1]
  # Frequency 0, and M / 2 of even M, are their own mirror images.
  alone = jnp.arange(m // 2 + 1)
  alone = jnp.where((alone == 0) | (2 * alone == m), 0.5, 1.0)
  weighted = power * alone.reshape(*[1] * (u.ndim - 1), -1)
  total = jnp.sum(weighted, axis=-1, keepdims=True)
  return weighted / jnp.where(total > 0, total, 1.0)


def irrep_powers(bottom: chex.Array, projectors: chex.Array) -> chex.Array:
  """Share of the weights of every node in every irrep.

  Args:
    bottom: f[2 M, K], or complex.
    projectors: f[R, M, M], `Irreps.projectors`.

  Returns:
    f[K, R]; rows sum to one, zeros of a node without weights.

  Raises:
    ValueError: if orders differ.

  Cost: O(R M² K) work, O(R M K) memory.

  Example:
    >>> from jaxdl.theory import grokking
    >>> parts = grokking.irreps(grokking.cyclic_table(4)).projectors
    >>> parts = jnp.asarray(parts, jnp.float32)
    >>> w = jnp.array([[1.0, -1, 1, -1, 0, 0, 0, 0]]).T
    >>> irrep_powers(w, parts).round(3).tolist()
    [[0.0, 1.0, 0.0]]
  """
  order = projectors.shape[-1]
  if bottom.shape[0] != 2 * order:
    raise ValueError(
      f'bottom must have {2 * order} rows, two for each element; got '
      f'{bottom.shape[0]}.'
    )
  halves = bottom.reshape(2, order, -1)
  parts = jnp.einsum('rgh,shk->rsgk', projectors, halves, precision='highest')
  # Π is a projection: |Π u|² is u · Π u.
  power = jnp.sum(jnp.square(jnp.abs(parts)), axis=(1, 2)).T
  total = jnp.sum(power, axis=1, keepdims=True)
  return power / jnp.where(total > 0, total, 1.0)


def learned_irreps(
  powers: chex.Array, *, share: float = 0.9
) -> tuple[chex.Array, chex.Array]:
  """How pure nodes are, and which irreps some node has made its own.

  Args:
    powers: f[K, R], of `irrep_powers`; the first irrep is left out.
    share: of its weights that a node must have in one irrep.

  Returns:
    Mean over nodes of the largest share, f[], and bool[R].

  Raises:
    ValueError: if the share is out of range.

  Example:
    >>> pure, learned = learned_irreps(jnp.array([[0.0, 0.95, 0.05]]))
    >>> round(float(pure), 2), learned.tolist()
    (0.95, [False, True, False])
  """
  checks.number(share, name='share', low=0.0, high=1.0)
  powers = jnp.asarray(powers)
  if powers.ndim != 2 or 0 in powers.shape:
    raise ValueError(
      f'powers must be f[K, R], K, R >= 1; got shape {powers.shape}.'
    )
  own = powers.at[:, 0].set(0.0)
  return jnp.mean(jnp.max(own, axis=1)), jnp.any(own >= share, axis=0)


def memorizing_weights(
  shares: chex.Array, *, activation: Activation = 'square'
) -> chex.Array:
  """What maximizes the energy where one product alone was seen.

  Pairs (g, g^-1 h) of a single h come with shares p_g. With φ(x) = σ'(x) / x
  that does not decrease the best node keeps the likeliest pair alone; with
  decreasing φ it spreads, φ(s_g) = 2 λ / p_g.

  Args:
    shares: p_g > 0, f[G], concrete.
    activation: σ.

  Returns:
    Sums s_g = u_g + v_{g^-1 h}, f32[G] with Σ s_g² = 2; both of them are half
    of s_g. The first of equal shares is kept.

  Raises:
    ValueError: if a share is not positive, or φ rises and falls.

  Example:
    >>> p = jnp.array([0.6, 0.8])
    >>> memorizing_weights(p).round(3).tolist()
    [0.0, 1.4140000343322754]
    >>> spread = memorizing_weights(p, activation='relu')
    >>> (spread / 2**0.5).round(3).tolist()
    [0.6000000238418579, 0.800000011920929]

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Theorem 5.
  """
  p = checks.host_array(shares, name='shares').astype(np.float64)
  if p.ndim != 1 or not p.size or not (np.isfinite(p) & (p > 0)).all():
    raise ValueError(f'shares must be positive, f[G]; got {p.tolist()}.')
  slope = jax.vmap(jax.grad(_model.activation_of(activation)))

  def ratio(x):
    return slope(x) / x

  grid = jnp.linspace(0.01, 2**0.5, 200)
  rises = np.diff(np.asarray(ratio(grid), np.float64))
  tiny = 1e-4 * float(np.abs(np.asarray(ratio(grid))).min())
  if (rises >= -tiny).all():
    out = np.zeros(len(p))
    out[np.argmax(p)] = 2**0.5
    return jnp.asarray(out, jnp.float32)
  if not (rises < tiny).all():
    raise ValueError(
      f"activation={activation} has a σ(x)' / x that rises and falls: the "
      'theorem says nothing of it.'
    )

  def halved(goes_up, low, high):
    """Where a condition that holds below stops to hold, by bisection."""

    def halve(_, ends):
      low, high = ends
      middle = jnp.sqrt(low * high)
      up = goes_up(middle)
      return jnp.where(up, middle, low), jnp.where(up, high, middle)

    return jnp.sqrt(jnp.multiply(*jax.lax.fori_loop(0, 60, halve, (low, high))))

  @jax.jit
  def solve(p):
    def spread(strength):
      level = strength / p
      ends = jnp.full_like(p, 1e-12), jnp.full_like(p, 2.0)
      return halved(lambda x: ratio(x) > level, *ends)

    strength = halved(
      lambda s: jnp.sum(jnp.square(spread(s))) > 2,
      jnp.float32(1e-12),
      jnp.float32(1e12),
    )
    return spread(strength)

  return solve(jnp.asarray(p / p.max(), jnp.float32))
