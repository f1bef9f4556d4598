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


def distinct(client_ids: chex.Array, mask: chex.Array) -> chex.Array:
  """Tells the first row of every client that takes part.

  Args:
    client_ids: i32[M].
    mask: bool[M], which are real.

  Returns:
    bool[M].

  Example:
    >>> ids = jnp.array([3, 1, 3, 0])
    >>> distinct(ids, jnp.array([True, True, True, False])).tolist()
    [True, True, False, False]
  """
  none = np.iinfo(np.int32).max
  return places(client_ids, mask, none) != none


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


Shards = dict[str, list[np.ndarray]]


def host_gather(
  shards: Shards, own: chex.ArrayTree, client_ids: np.ndarray, shard_size: int
) -> chex.ArrayTree:
  """The rows of a cohort from shards in the host's memory.

  Args:
    shards: leaves [shard_size, ...] by number of the shard, in text; one that
      is not there holds clients that never took part.
    own: state of a client that never took part.
    client_ids: i32[M]; a number below zero is one.
    shard_size: clients per shard.

  Returns:
    NumPy leaves [M, ...].

  Example:
    >>> shards = {}
    >>> host_scatter(shards, np.zeros(2), np.array([7]), np.ones((1, 2)), 4)
    >>> list(shards), host_gather(shards, np.zeros(2), [7, 0], 4).tolist()
    (['1'], [[1.0, 1.0], [0.0, 0.0]])
  """
  leaves, structure = jax.tree.flatten(own)
  fresh = [np.asarray(x) for x in leaves]
  rows = [np.empty((len(client_ids), *x.shape), x.dtype) for x in fresh]
  for row, client in enumerate(np.asarray(client_ids)):
    shard, place = divmod(int(client), shard_size)
    held = shards.get(str(shard)) if client >= 0 else None
    for k, out in enumerate(rows):
      out[row] = fresh[k] if held is None else held[k][place]
  return jax.tree.unflatten(structure, rows)


def host_scatter(
  shards: Shards,
  own: chex.ArrayTree,
  at: np.ndarray,
  rows: chex.ArrayTree,
  shard_size: int,
) -> None:
  """Writes rows of a cohort into shards, in place; new ones are made.

  Args:
    shards: see `host_gather`; changed.
    own: state of a client that never took part.
    at: i32[M], where rows go; those below zero nowhere.
    rows: leaves [M, ...].
    shard_size: clients per shard.
  """
  fresh = [np.asarray(x) for x in jax.tree.leaves(own)]
  values = [np.asarray(x) for x in jax.tree.leaves(rows)]
  for row, client in enumerate(np.asarray(at)):
    if client < 0:
      continue
    shard, place = divmod(int(client), shard_size)
    if str(shard) not in shards:
      shards[str(shard)] = [
        np.broadcast_to(x, (shard_size, *x.shape)).copy() for x in fresh
      ]
    for leaf, new in zip(shards[str(shard)], values, strict=True):
      leaf[place] = new[row]
