# SPDX-License-Identifier: Apache-2.0
"""Where the states of clients lie between the rounds they take part in.

One tree with a leading axis over all N clients. A round gathers the rows of its
cohort and writes them back; rows of padding are neither read nor written.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np


def fill(own: chex.ArrayTree, num_clients: int) -> chex.ArrayTree:
  """The states of N clients that never took part.

  Args:
    own: state of one.
    num_clients: N.

  Returns:
    Leaves [N, ...].
  """
  return jax.tree.map(
    lambda x: jnp.broadcast_to(
      jnp.asarray(x)[None], (num_clients, *jnp.shape(x))
    ),
    own,
  )


def places(
  client_ids: chex.Array, mask: chex.Array, num_clients: int
) -> chex.Array:
  """Where each row of a cohort is written.

  A client that was drawn twice does the same work twice, since what it draws
  depends on its number alone; the first row is kept.

  Args:
    client_ids: i32[M].
    mask: bool[M], which are real.
    num_clients: N.

  Returns:
    i32[M], N for rows that are not written.

  Example:
    >>> ids = jnp.array([3, 1, 3, 0])
    >>> places(ids, jnp.array([True, True, True, False]), 5).tolist()
    [3, 1, 5, 5]
  """
  ids = jnp.where(mask, client_ids, num_clients).astype(jnp.int32)
  order = jnp.argsort(ids, stable=True)
  ranked = ids[order]
  again = jnp.concatenate([jnp.zeros(1, bool), ranked[1:] == ranked[:-1]])
  return ids.at[order].set(jnp.where(again, num_clients, ranked))


def gather(
  store: chex.ArrayTree, client_ids: chex.Array, mask: chex.Array
) -> chex.ArrayTree:
  """The rows of a cohort.

  Args:
    store: leaves [N, ...].
    client_ids: i32[M].
    mask: bool[M]; rows of padding get those of client 0.

  Returns:
    Leaves [M, ...].
  """
  rows = jnp.where(mask, client_ids, 0)
  return jax.tree.map(lambda x: jnp.take(x, rows, axis=0, mode='clip'), store)


def scatter(
  store: chex.ArrayTree, at: chex.Array, rows: chex.ArrayTree
) -> chex.ArrayTree:
  """Writes rows back.

  Args:
    store: leaves [N, ...].
    at: i32[M], see `places`.
    rows: leaves [M, ...].

  Returns:
    Leaves [N, ...].
  """
  return jax.tree.map(lambda x, y: x.at[at].set(y, mode='drop'), store, rows)


class HostStore:
  """States of clients in the host's memory, in shards of equal size.

  Nothing is held for a client that never took part: a shard is made when the
  first of its clients does. For numbers of clients whose states do not fit the
  device.

  Args:
    own: state of a client that never took part.
    num_clients: N.
    shard_size: clients per shard.
  """

  def __init__(
    self, own: chex.ArrayTree, num_clients: int, *, shard_size: int = 1024
  ):
    leaves, self._structure = jax.tree.flatten(jax.device_get(own))
    self._own = [np.asarray(x) for x in leaves]
    self.num_clients, self._size = num_clients, shard_size
    self._shards: dict[int, list[np.ndarray]] = {}

  @property
  def num_bytes(self) -> int:
    """Bytes that the shards take."""
    return sum(x.nbytes for shard in self._shards.values() for x in shard)

  def gather(self, client_ids: np.ndarray) -> chex.ArrayTree:
    """Rows of some clients, leaves [M, ...]; others get new ones."""
    rows = [np.empty((len(client_ids), *x.shape), x.dtype) for x in self._own]
    for row, client in enumerate(client_ids):
      shard, place = divmod(int(client), self._size)
      held = self._shards.get(shard)
      for leaf, new, out in zip(
        held or self._own, self._own, rows, strict=True
      ):
        out[row] = leaf[place] if held else new
    return jax.tree.unflatten(self._structure, rows)

  def scatter(self, at: np.ndarray, rows: chex.ArrayTree) -> None:
    """Writes rows back; numbers from N on are dropped."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(rows)]
    for row, client in enumerate(at):
      if not 0 <= client < self.num_clients:
        continue
      shard, place = divmod(int(client), self._size)
      if shard not in self._shards:
        count = min(self._size, self.num_clients - shard * self._size)
        self._shards[shard] = [
          np.broadcast_to(x, (count, *x.shape)).copy() for x in self._own
        ]
      for leaf, new in zip(self._shards[shard], leaves, strict=True):
        leaf[place] = new[row]
