# SPDX-License-Identifier: Apache-2.0
"""How a server merges what clients found: exactly, and in two other ways."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry, trees
from jaxdl.federated.prototypes import _checking, _memory
from jaxdl.federated.prototypes._memory import PrototypeMemory


def merge_many(
  stacked: PrototypeMemory, *, axis_name: str | None = None
) -> PrototypeMemory:
  """Merges the memories of many clients into that of their pooled examples.

  Each mean counts as often as the examples behind it: by number of examples,
  not of clients.

  Args:
    stacked: mean f[N, C, d], count i32[N, C].
    axis_name: of an axis over whose shards the clients are spread (static);
      then one `psum` of counts and one of weighted means merges all of them.

  Returns:
    The memory; classes that nobody has met stay empty, and means of clients
    without examples are not looked at.

  Raises:
    TypeError: if counts are no integers.
    ValueError: if shapes do not fit or the axis is unknown; and, where values
      are concrete, if counts are negative or the mean of a class that a client
      has met is not finite. Under `jit` that one spoils its class only.

  Cost: O(N C d) work, O(C d) sent for each device.

  Example:
    >>> stacked = PrototypeMemory(
    ...   jnp.array([[[1.0]], [[4.0]]]), jnp.array([[2], [1]])
    ... )
    >>> merge_many(stacked).mean.tolist()
    [[2.0]]
  """
  mean, count = _check_stacked(stacked, 'stacked')
  n, capacity = count.shape
  total = jnp.sum(count, axis=0)
  if axis_name is not None:
    checks.axis_size(axis_name)
    total = jax.lax.psum(total, axis_name)
  wide = trees.accumulator(mean.dtype)
  whole = jnp.broadcast_to(jnp.maximum(total, 1), (n, capacity))
  weights = (count / whole).astype(wide)[..., None]
  met = jnp.broadcast_to((count > 0)[..., None], mean.shape)
  rows = jnp.where(met, mean.astype(wide), 0.0)
  pooled = jnp.sum(jnp.broadcast_to(weights, rows.shape) * rows, axis=0)
  if axis_name is not None:
    pooled = jax.lax.psum(pooled, axis_name)
  return PrototypeMemory(pooled.astype(mean.dtype), total)


def exact_merge(
  server: PrototypeMemory, deltas: PrototypeMemory
) -> PrototypeMemory:
  """Adds what all clients found to the server's memory; equals pooling.

  Args:
    server: memory of C classes.
    deltas: mean f[N, C, d], count i32[N, C], what each client found alone.

  Returns:
    The memory; classes that no client has met keep their bits.

  Raises:
    TypeError, ValueError: as `merge_prototypes` and `merge_many`.

  Example:
    >>> server = PrototypeMemory(jnp.zeros((1, 1)), jnp.array([1]))
    >>> ones = PrototypeMemory(jnp.ones((2, 1, 1)), jnp.ones((2, 1), jnp.int32))
    >>> f'{exact_merge(server, ones).mean[0, 0]:.4f}'
    '0.6667'

  Source: Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150), the merge that
  its text describes.
  """
  return _memory.merge_prototypes(server, merge_many(deltas))


def reference_merge(
  server: PrototypeMemory, after: PrototypeMemory
) -> PrototypeMemory:
  """Merges as the authors' code does, which shrinks what is new.

  One client after the other, `mean <- mean + (b / n) (mean_i - mean)` with b
  the client's new examples, n all so far, and mean_i the client's *merged*
  mean instead of the mean of its new examples: of a class that the server
  knows, new examples count once too little, by a factor b / n. Classes that one
  client meets for the first time are right.

  Args:
    server: memory of C classes, as it was broadcast.
    after: mean f[N, C, d], count i32[N, C], the clients' memories after they
      merged their own examples.

  Returns:
    The memory, with right counts.

  Raises:
    TypeError, ValueError: as `merge_prototypes` and `merge_many`, or if a
      concrete count has fallen.

  Example:
    >>> server = PrototypeMemory(jnp.zeros((1, 1)), jnp.array([1]))
    >>> after = PrototypeMemory(jnp.full((1, 1, 1), 0.5), jnp.array([[2]]))
    >>> reference_merge(server, after).mean.tolist()
    [[0.25]]

  Source: the code of Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150).
  """
  _checking.check_memory(server, name='server')
  mean, count = _check_stacked(after, 'after')
  if mean.shape[1:] != server.mean.shape:
    raise ValueError(
      f'server and after must have equal shapes [C, d]; got '
      f'{server.mean.shape} and {mean.shape[1:]}.'
    )
  new = count - jnp.broadcast_to(server.count, count.shape)
  if _checking.is_concrete(new) and (np.asarray(new) < 0).any():
    i, k = np.argwhere(np.asarray(new) < 0)[0]
    raise ValueError(
      f'after has {int(count[i, k])} examples of class {k} of client {i} but '
      f'server has {int(server.count[k])}: counts never fall.'
    )

  def one(memory, found):
    theirs, b = found
    total = memory.count + b
    share = (b / jnp.maximum(total, 1)).astype(memory.mean.dtype)[:, None]
    share = jnp.broadcast_to(share, memory.mean.shape)
    moved = memory.mean + share * (theirs.astype(share.dtype) - memory.mean)
    some = jnp.broadcast_to((b > 0)[:, None], moved.shape)
    return PrototypeMemory(jnp.where(some, moved, memory.mean), total), None

  return jax.lax.scan(one, server, (mean, new))[0]


def unweighted_merge(
  server: PrototypeMemory, deltas: PrototypeMemory
) -> PrototypeMemory:
  """Averages means as if every one had as many examples behind it.

  The mean over the clients that have met a class, and the server if it knows
  it. Wrong wherever numbers of examples differ: for comparison.

  Args:
    server: memory of C classes.
    deltas: mean f[N, C, d], count i32[N, C], what each client found alone.

  Returns:
    The memory, with right counts.

  Raises:
    TypeError, ValueError: as `merge_prototypes` and `merge_many`.

  Example:
    >>> server = PrototypeMemory(jnp.zeros((1, 1)), jnp.array([3]))
    >>> one = PrototypeMemory(jnp.ones((1, 1, 1)), jnp.array([[1]]))
    >>> unweighted_merge(server, one).mean.tolist()
    [[0.5]]

  Source: Tan et al. 2022 (https://arxiv.org/abs/2105.00243), in its published
  code; the paper's equation 6 weighs by numbers of examples.
  """
  _checking.check_memory(server, name='server')
  _check_stacked(deltas, 'deltas')
  once = lambda memory: memory._replace(
    count=(memory.count > 0).astype(jnp.int32)
  )
  merged = exact_merge(once(server), once(deltas))
  return merged._replace(count=server.count + jnp.sum(deltas.count, axis=0))


def _reference(server, deltas):
  """`reference_merge` of what clients would have sent."""
  after = jax.vmap(lambda delta: _memory.merge_prototypes(server, delta))(
    deltas
  )
  return reference_merge(server, after)


# What a server does with its memory and the clients' deltas [N].
MERGES = registry.Registry(
  'merge',
  {
    'exact': lambda: exact_merge,
    'reference': lambda: _reference,
    'unweighted': lambda: unweighted_merge,
  },
)


def make_merge(
  name: str,
) -> Callable[[PrototypeMemory, PrototypeMemory], PrototypeMemory]:
  """Returns a merge by name.

  Args:
    name: 'exact', 'reference' or 'unweighted'.

  Returns:
    `merge(server, deltas [N]) -> memory`; 'reference' first lets every client
    merge its own delta, and then does as `reference_merge`.

  Raises:
    ValueError: if the name is unknown.

  Example:
    >>> make_merge('exact') is exact_merge
    True
  """
  return MERGES.make(name)


def _check_stacked(memory, name) -> tuple[chex.Array, chex.Array]:
  mean, count = jnp.asarray(memory.mean), jnp.asarray(memory.count)
  if mean.ndim != 3 or count.shape != mean.shape[:2]:
    raise ValueError(
      f'{name} must have mean [N, C, d] and count [N, C]; got shapes '
      f'{mean.shape} and {count.shape}.'
    )
  _checking.check_values(mean, count, name=name)
  return mean, count
