# SPDX-License-Identifier: Apache-2.0
"""Mixers: a fast way to apply a mixing matrix, paired with that matrix."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.mixing import _collectives, _kernels, spectra

STRUCTURES = (
  'identity',
  'mean',
  'shifts',
  'flips',
  'neighbors',
  'dense',
)
_MAX_HOPS = 4


class Mixer(NamedTuple):
  """One gossip step per round, X <- W X over the client axis.

  Attributes:
    apply: `apply(stacked, round, *, key=None, axis_name=None) -> stacked`;
      leaves [N, ...], floating point, dtypes kept. `round` is a Python int or
      a traced i32[] >= 0. Random mixers fold the round into `key` (consumed
      once per round); pass the same key every round. With `axis_name`, inside
      the user's `pmap` or `shard_map`, the leading axis is this device's share
      of the clients; `round` and `key` must be the same on all devices.
    matrix: `matrix(round, *, key=None) -> f32[N, N]`, what `apply` does:
      entry [i, j] is the weight that client i gives to what it receives
      from j.
    period: number of rounds after which the matrices repeat; None for random
      mixers.
    structure: how it is applied, for logs: one of `STRUCTURES` or the name of
      a random family.
    stochastic: which sums of the matrices are one: 'double', 'row', 'column'
      (push-sum only) or 'any' (unknown).
  """

  apply: Callable[..., chex.ArrayTree]
  matrix: Callable[..., chex.Array]
  period: int | None = 1
  structure: str = 'custom'
  stochastic: str = 'row'


def check_stacked(
  stacked: chex.ArrayTree, num_clients: int, axis_name: str | None
) -> None:
  """Raises unless every leaf is floating point with the right client axis."""
  shards = 1 if axis_name is None else checks.axis_size(axis_name)
  for path, leaf in jax.tree_util.tree_leaves_with_path(stacked):
    label = f'stacked{jax.tree_util.keystr(path)}'
    shape = jnp.shape(leaf)
    if not shape or shape[0] * shards != num_clients:
      split = '' if axis_name is None else f' on each of {shards} devices'
      raise ValueError(
        f'{label} has shape {shape}{split}, but the mixer was made for '
        f'N = {num_clients} clients on the leading axis.'
      )
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
      raise TypeError(
        f'{label} has dtype {jnp.result_type(leaf)}: only floating-point '
        'leaves can be mixed.'
      )


def _one_row(matrices: np.ndarray, offsets: np.ndarray) -> tuple | None:
  """Offsets and weights if all rows equal row 0 seen through `offsets`."""
  n = matrices.shape[-1]
  if len(matrices) != 1:
    return None
  rows = matrices[0][np.arange(n)[:, None], offsets]
  if not np.array_equal(rows, np.broadcast_to(rows[:1], rows.shape)):
    return None
  hops = tuple(int(h) for h in np.flatnonzero(rows[0]))
  return hops, tuple(float(rows[0, h]) for h in hops)


def _shifts(matrices: np.ndarray) -> tuple | None:
  ids = np.arange(matrices.shape[-1])
  return _one_row(matrices, (ids[:, None] + ids[None, :]) % len(ids))


def _flips(matrices: np.ndarray) -> tuple | None:
  ids = np.arange(matrices.shape[-1])
  if len(ids) & (len(ids) - 1):
    return None
  return _one_row(matrices, ids[:, None] ^ ids[None, :])


def choose_structure(matrices: np.ndarray) -> str:
  """Picks how to apply a matrix or a schedule.

  The rule, with K the most non-zeros in any row (own weight included):

  1. all rounds the identity: 'identity'; one round of equal weights: 'mean';
  2. K > max(4, N / 8): 'dense', one contraction;
  3. one round, K <= 4 and circulant: 'shifts' (rolls, which XLA turns into
     neighbor exchanges when the client axis is sharded);
  4. one round, K <= 4 and W[i, j] a function of i XOR j: 'flips';
  5. else 'neighbors', a gather of padded lists; a schedule looks its round up
     in a stacked table, so its program does not grow with the period.

  `experiments/benchmarks/mixing.py` measures the rule against 'dense'.

  Args:
    matrices: float64[T, N, N].

  Returns:
    One of `STRUCTURES`.
  """
  n = matrices.shape[-1]
  if np.array_equal(matrices, np.broadcast_to(np.eye(n), matrices.shape)):
    return 'identity'
  if len(matrices) == 1 and np.all(matrices == matrices[0, 0, 0]):
    return 'mean'
  length = int((matrices != 0).sum(axis=-1).max())
  if not _collectives.is_sparse(length, n):
    return 'dense'
  if length <= _MAX_HOPS and _shifts(matrices) is not None:
    return 'shifts'
  if length <= _MAX_HOPS and _flips(matrices) is not None:
    return 'flips'
  return 'neighbors'


def _kernel(
  matrices: np.ndarray, structure: str
) -> Callable[[chex.Array, int | chex.Array], chex.Array]:
  """The function (leaf, round) -> leaf of one structure."""
  period = len(matrices)

  def pick(table, round):
    if isinstance(round, int) or period == 1:
      return table[round % period if isinstance(round, int) else 0]
    return jnp.asarray(table)[round % period]

  if structure == 'identity':
    return lambda x, round: x
  if structure == 'mean':
    return lambda x, round: _kernels.mean(x)
  if structure == 'dense':
    return lambda x, round: _kernels.dense(pick(matrices, round), x)
  if structure == 'neighbors':
    indices, weights = _kernels.neighbor_table(matrices)
    return lambda x, round: _kernels.gather(
      pick(indices, round), pick(weights, round), x
    )
  found = _shifts(matrices) if structure == 'shifts' else None
  found = _flips(matrices) if structure == 'flips' else found
  assert found is not None
  hops, weights = found
  fn = _kernels.shifts if structure == 'shifts' else _kernels.flips
  return lambda x, round: fn(hops, weights, x)


def from_matrix(
  matrix: np.ndarray,
  *,
  stochastic: str = 'row',
  allow_negative: bool = False,
  structure: str | None = None,
) -> Mixer:
  """Makes a mixer of one matrix, or of a schedule of them.

  Args:
    matrix: concrete [N, N], or [T, N, N] for a schedule whose round t uses
      matrix t mod T; validated in float64.
    stochastic: which sums must be one: 'row', 'double', 'column' (for
      push-sum) or 'any'.
    allow_negative: accepts negative weights (best constant weights, D²).
    structure: one of `STRUCTURES` to force a path; None applies the rule of
      `choose_structure`.

  Returns:
    A mixer without randomness. Weights are rounded so that their float32 sums
    are exactly one (float64 leaves see the exact weights).

  Raises:
    ValueError: naming the row that breaks the rule, or a structure that does
      not fit.

  Cost: at most min(K, N) · N · D work per round for K non-zeros per row.

  Example:
    >>> mixer = from_matrix([[0.5, 0.5], [0.5, 0.5]])
    >>> mixer.apply(jnp.array([1.0, 3.0]), 0)
    Array([2., 2.], dtype=float32)
  """
  checked = spectra.check_stochastic(
    matrix, stochastic=stochastic, allow_negative=allow_negative
  )
  matrices = checked[None] if checked.ndim == 2 else checked
  period, n, _ = matrices.shape
  chosen = choose_structure(matrices)
  if structure is not None:
    checks.choice(structure, STRUCTURES, name='structure')
    fits = {
      'shifts': _shifts(matrices) is not None,
      'flips': _flips(matrices) is not None,
      'identity': chosen == 'identity',
      'mean': chosen == 'mean',
    }
    if not fits.get(structure, True):
      raise ValueError(
        f'structure={structure!r} does not fit these matrices: use None, which '
        f'chooses {chosen!r}.'
      )
  structure = structure or chosen
  columns = matrices.sum(axis=1)
  if stochastic == 'row' and np.allclose(columns, 1.0, rtol=0, atol=1e-6):
    stochastic = 'double'

  rounded = _kernels.round_to_float32(matrices, stochastic)
  kernel = _kernel(rounded, structure)
  exact_kernel = functools.cache(lambda: _kernel(matrices, structure))

  def local(x, round):
    x = jnp.asarray(x)
    return (exact_kernel() if x.dtype == jnp.float64 else kernel)(x, round)

  def apply(stacked, round, *, key=None, axis_name=None):
    del key
    check_stacked(stacked, n, axis_name)
    if axis_name is None:
      return jax.tree.map(lambda x: local(x, round), stacked)

    def branch(at):
      fn = _collectives.static(matrices[at], rounded[at], axis_name)
      return lambda tree: jax.tree.map(lambda x: fn(jnp.asarray(x)), tree)

    if isinstance(round, int) or period == 1:
      return branch(round % period if isinstance(round, int) else 0)(stacked)
    return jax.lax.switch(
      round % period, [branch(t) for t in range(period)], stacked
    )

  table = np.asarray(rounded, np.float32)

  def matrix_fn(round, *, key=None):
    del key
    if isinstance(round, int) or period == 1:
      at = round % period if isinstance(round, int) else 0
      return jnp.asarray(table[at])
    return jnp.asarray(table)[round % period]

  return Mixer(apply, matrix_fn, period, structure, stochastic)


def from_tables(
  draw: Callable[[chex.PRNGKey], tuple[chex.Array, chex.Array]],
  num_clients: int,
  *,
  structure: str,
  stochastic: str = 'double',
) -> Mixer:
  """Makes a random mixer of freshly drawn neighbor lists.

  Args:
    draw: `draw(key) -> (indices: i32[N, K], weights: f32[N, K])`, jittable;
      receives the caller's key with the round folded in.
    num_clients: N.
    structure: name of the family, for logs.
    stochastic: what the weights satisfy.

  Returns:
    A mixer whose functions need `key`.
  """

  def tables(round, key):
    if key is None:
      raise ValueError(
        f'the {structure} mixer is random: pass key=, the same in all rounds.'
      )
    return draw(jax.random.fold_in(key, round))

  def matrix(round, *, key=None):
    return _kernels.scatter_table(*tables(round, key), num_clients)

  def apply(stacked, round, *, key=None, axis_name=None):
    check_stacked(stacked, num_clients, axis_name)
    indices, weights = tables(round, key)
    if axis_name is None:
      return jax.tree.map(
        lambda x: _kernels.gather(indices, weights, jnp.asarray(x)), stacked
      )
    w = _kernels.scatter_table(indices, weights, num_clients)
    return jax.tree.map(lambda x: _collectives.rotate(w, x, axis_name), stacked)

  return Mixer(apply, matrix, None, structure, stochastic)


def from_function(
  matrix: Callable[..., chex.Array],
  *,
  structure: str,
  stochastic: str = 'row',
) -> Mixer:
  """Makes a mixer of any function that returns dense matrices.

  Args:
    matrix: `matrix(round, *, key=None) -> f32[N, N]`, jittable. Its values are
      not checked.
    structure: name of the family, for logs.
    stochastic: what the matrices satisfy.

  Returns:
    A mixer that contracts densely.

  Example:
    >>> fading = from_function(
    ...   lambda t, key=None: jnp.eye(2) * t + (1 - t) / 2, structure='fading'
    ... )
    >>> fading.apply(jnp.array([0.0, 2.0]), 0).tolist()
    [1.0, 1.0]
  """

  def apply(stacked, round, *, key=None, axis_name=None):
    w = matrix(round, key=key)
    check_stacked(stacked, w.shape[0], axis_name)
    if axis_name is None:
      return jax.tree.map(lambda x: _kernels.dense(w, jnp.asarray(x)), stacked)
    return jax.tree.map(lambda x: _collectives.rotate(w, x, axis_name), stacked)

  return Mixer(apply, matrix, None, structure, stochastic)


def identity(num_clients: int) -> Mixer:
  """Nobody communicates.

  Args:
    num_clients: N >= 1.

  Returns:
    A mixer with W = I.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  return from_matrix(np.eye(n))


def every(
  mixer: Mixer, num_rounds: int, *, otherwise: Mixer | None = None
) -> Mixer:
  """Uses a mixer in every H-th round and another one in between.

  Local SGD is `every(from_matrix(J), H)`, periodic gossip `every(mixer, H)`
  and gossip with periodic global averaging
  `every(from_matrix(J), H, otherwise=gossip)`.

  Args:
    mixer: used in rounds H - 1, 2H - 1, ...
    num_rounds: H >= 1.
    otherwise: used in all other rounds; None leaves the clients alone.

  Returns:
    A mixer; both parts see the true round number.

  Raises:
    ValueError: if `num_rounds < 1`.

  Example:
    >>> local = every(from_matrix([[0.5, 0.5], [0.5, 0.5]]), 2)
    >>> [local.apply(jnp.array([0.0, 2.0]), t).tolist() for t in (0, 1)]
    [[0.0, 2.0], [1.0, 1.0]]
  """
  h = checks.integer(num_rounds, name='num_rounds', low=1)
  periods = [mixer.period, 1 if otherwise is None else otherwise.period]

  def rest(stacked, round, **kwargs):
    if otherwise is None:
      return stacked
    return otherwise.apply(stacked, round, **kwargs)

  def apply(stacked, round, *, key=None, axis_name=None):
    kwargs = dict(key=key, axis_name=axis_name)
    if isinstance(round, int):
      chosen = mixer.apply if (round + 1) % h == 0 else rest
      return chosen(stacked, round, **kwargs)
    return jax.lax.cond(
      (round + 1) % h == 0,
      lambda tree: mixer.apply(tree, round, **kwargs),
      lambda tree: rest(tree, round, **kwargs),
      stacked,
    )

  def matrix(round, *, key=None):
    w = mixer.matrix(round, key=key)
    other = (
      jnp.eye(w.shape[0], dtype=w.dtype)
      if otherwise is None
      else otherwise.matrix(round, key=key)
    )
    return jnp.where((jnp.asarray(round) + 1) % h == 0, w, other)

  kinds = {mixer.stochastic}
  kinds |= {'double' if otherwise is None else otherwise.stochastic}
  kinds = kinds - {'double'} or {'double'}
  kind = kinds.pop() if len(kinds) == 1 else 'any'
  period = None if None in periods else math.lcm(h, *periods)
  return Mixer(apply, matrix, period, f'every {h}: {mixer.structure}', kind)
