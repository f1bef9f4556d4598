# SPDX-License-Identifier: Apache-2.0
"""Mixing when the client axis is split over devices.

All functions run inside `jax.shard_map` or `jax.pmap` and see `x: [N/S, ...]`,
the block of this shard among S. No shard ever holds the models of more than
half of the clients besides its own block.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, trees
from jaxdl.mixing import _kernels


class Hop(NamedTuple):
  """Rows that travel a fixed number of shards down.

  Attributes:
    links: (source, destination) pairs of shards.
    rows: i32[S, R], what each source sends, as rows of its block.
  """

  links: tuple[tuple[int, int], ...]
  rows: np.ndarray


class Plan(NamedTuple):
  """How one matrix is applied on S shards.

  Attributes:
    hops: the transfers; the buffer is the own block and then what each hop
      brought.
    matrix: float64[S, N/S, width], each shard's weights on its buffer.
  """

  hops: tuple[Hop, ...]
  matrix: np.ndarray


def make_plan(matrix: np.ndarray, num_shards: int) -> Plan:
  """Finds which rows have to travel; host.

  Args:
    matrix: float64[N, N].
    num_shards: S, a divisor of N.

  Returns:
    The plan; each transfer is padded to the most that any shard needs.
  """
  size = len(matrix) // num_shards
  blocks = matrix.reshape(num_shards, size, num_shards, size)
  shards = np.arange(num_shards)
  parts = [blocks[shards, :, shards]]
  hops = []
  for offset in range(1, num_shards):
    sources = (shards + offset) % num_shards
    incoming = blocks[shards, :, sources]  # [S, size, size] by destination.
    needed = [np.flatnonzero(block.any(axis=0)) for block in incoming]
    most = max(len(rows) for rows in needed)
    if not most:
      continue
    rows = np.zeros((num_shards, most), np.int32)
    weights = np.zeros((num_shards, size, most))
    for shard, wanted in enumerate(needed):
      rows[sources[shard], : len(wanted)] = wanted
      weights[shard, :, : len(wanted)] = incoming[shard][:, wanted]
    links = tuple(
      (int(sources[shard]), shard)
      for shard in range(num_shards)
      if len(needed[shard])
    )
    hops.append(Hop(links, rows))
    parts.append(weights)
  return Plan(tuple(hops), np.concatenate(parts, axis=-1))


def exchange(plan: Plan, x: chex.Array, axis_name: str) -> chex.Array:
  """Fetches the rows that are needed and combines them locally."""
  shard = jax.lax.axis_index(axis_name)
  buffer = [x]
  for hop in plan.hops:
    outgoing = x[jnp.asarray(hop.rows)[shard]]
    buffer.append(jax.lax.ppermute(outgoing, axis_name, hop.links))
  buffer = jnp.concatenate(buffer, axis=0)
  indices, weights = _kernels.neighbor_table(plan.matrix)
  if is_sparse(indices.shape[-1], plan.matrix.shape[-1]):
    acc = trees.accumulator(x.dtype)
    return _kernels.gather(
      jnp.asarray(indices)[shard], jnp.asarray(weights, acc)[shard], buffer
    )
  matrix = jnp.asarray(plan.matrix, trees.accumulator(x.dtype))
  return _kernels.dense(matrix[shard], buffer)


def rotate(matrix: chex.Array, x: chex.Array, axis_name: str) -> chex.Array:
  """Any matrix, also a traced one: partial sums travel around the shards.

  Sends S - 1 blocks per shard, as a reduce-scatter does, and holds two.
  """
  num_shards = checks.axis_size(axis_name)
  shard = jax.lax.axis_index(axis_name)
  size = x.shape[0]
  acc = trees.accumulator(x.dtype)
  mine = jax.lax.dynamic_slice_in_dim(
    jnp.asarray(matrix, acc), shard * size, size, axis=1
  )
  source = x.astype(acc)

  def partial(step):
    # What leaves here after `step` moves reaches its owner after S - 1.
    owner = (shard + num_shards - 1 - step) % num_shards
    rows = jax.lax.dynamic_slice_in_dim(mine, owner * size, size, axis=0)
    return _kernels.dense(rows, source)

  links = [(s, (s + 1) % num_shards) for s in range(num_shards)]
  total, _ = jax.lax.scan(
    lambda total, step: (
      jax.lax.ppermute(total, axis_name, links) + partial(step),
      None,
    ),
    partial(0),
    jnp.arange(1, num_shards),
  )
  return total.astype(x.dtype)


def mean(x: chex.Array, axis_name: str) -> chex.Array:
  """Every client gets the uniform average: one all-reduce of one model."""
  n = x.shape[0] * checks.axis_size(axis_name)
  acc = trees.accumulator(x.dtype)
  part = _kernels.dense(np.ones((1, x.shape[0])), x.astype(acc))
  # Cast back, so that all paths return values that differ between shards.
  total = jax.lax.pcast(jax.lax.psum(part, axis_name), axis_name, to='varying')
  return jnp.broadcast_to(total / n, x.shape).astype(x.dtype)


def is_sparse(length: int, num_clients: int) -> bool:
  """The documented rule: neighbor lists beat the dense contraction."""
  return length <= max(4, num_clients // 8)


def static(
  matrix: np.ndarray, weights: np.ndarray, axis_name: str
) -> Callable[[chex.Array], chex.Array]:
  """Returns leaf -> leaf for a matrix known on the host.

  Args:
    matrix: float64[N, N].
    weights: the same, rounded for float32.
    axis_name: the mapped axis.

  Returns:
    A function of this shard's block. It fetches only rows with a non-zero
    weight while those are at most half of all clients (or no more than the
    shard holds), and rotates partial sums otherwise.
  """
  n, num_shards = len(matrix), checks.axis_size(axis_name)
  if np.array_equal(matrix, np.eye(n)):
    return lambda x: x
  if np.all(matrix == matrix[0, 0]):
    return lambda x: mean(x, axis_name)
  size = n // num_shards

  def route(w):
    plan = make_plan(w, num_shards)
    if plan.matrix.shape[-1] - size > max(size, n // 2):
      return lambda x: rotate(w, x, axis_name)
    return lambda x: exchange(plan, x, axis_name)

  single = route(weights)
  return lambda x: route(matrix)(x) if x.dtype == jnp.float64 else single(x)
