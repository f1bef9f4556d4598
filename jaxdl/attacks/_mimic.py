# SPDX-License-Identifier: Apache-2.0
"""Adversaries that copy one honest client and so bias a heterogeneous crowd."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.attacks import _facts, _honest
from jaxdl.core import checks, registry, trees, types


class MimicState(NamedTuple):
  """Memory of `mimic_heuristic`.

  Attributes:
    step: i32[], rounds seen.
    mean: running mean of the honest clients, leaves [...], float32 or float64.
    direction: unit vector along which honest clients differ most, likewise.
    client_id: i32[], the honest row that was copied last.
  """

  step: chex.Array
  mean: chex.ArrayTree
  direction: chex.ArrayTree
  client_id: chex.Array


def mimic(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  client_id: int | chex.Array = 0,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Copies one honest client.

  Every message is honest, so no filter can tell; a rule that favors agreement
  forgets the other clients.

  Args:
    honest: leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static).
    client_id: row to copy, `0 <= client_id < H`; static or traced i32[].
    axis_name: mapped axis over which honest clients are split, if any; rows
      are then numbered over all devices.

  Returns:
    Leaves [F, ...], all rows equal.

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Example:
    >>> mimic(jnp.array([[1.0], [3.0]]), num_byzantine=2, client_id=1)
    Array([[3.],
           [3.]], dtype=float32)

  Source: Karimireddy et al. 2022 (https://arxiv.org/abs/2006.09365), section
  4.
  """
  count = _honest.check(honest, num_byzantine, axis_name)
  if isinstance(client_id, int):
    checks.integer(client_id, name='client_id', low=0, high=count - 1)
  return _honest.send(_row(honest, client_id, axis_name), honest, num_byzantine)


@registry.known(_facts.Facts(makes=True))
def mimic_heuristic(
  *,
  num_byzantine: int,
  num_warmup: int = 10,
  seed: int = 0,
  axis_name: str | None = None,
) -> types.Attack:
  """Learns which honest client is most worth copying, then copies it.

  During the warm-up a power iteration follows the direction in which honest
  clients differ most over time, and each round's most extreme client along it
  is copied; afterwards the last choice stays. Rows of `honest` must belong to
  the same client in every round.

  Args:
    num_byzantine: attackers F >= 1 (static).
    num_warmup: rounds of learning, >= 1 (static).
    seed: of the direction that the power iteration starts from (static).
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    An `Attack` with a `MimicState`; `own` and `key` are ignored.

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Cost: O(H · D) work; four passes over `honest` in a round of the warm-up, a
    copy of one row after it.

  Example:
    >>> attack = mimic_heuristic(num_byzantine=1)
    >>> state = attack.init(jnp.zeros(1))
    >>> honest = jnp.array([[1.0], [1.0], [7.0]])
    >>> sent, state = attack.apply(honest, state)
    >>> sent.shape, int(state.step)
    ((1, 1), 1)

  Source: Karimireddy et al. 2022 (https://arxiv.org/abs/2006.09365), appendix,
  and their code for the running averages.
  """
  checks.integer(num_byzantine, name='num_byzantine', low=1)
  checks.integer(num_warmup, name='num_warmup', low=1)
  checks.integer(seed, name='seed')

  def init(params):
    leaves, structure = jax.tree.flatten(params)
    key = jax.random.key(seed)
    draws = [
      jax.random.normal(
        jax.random.fold_in(key, i),
        jnp.shape(x),
        trees.accumulator(jnp.result_type(x)),
      )
      for i, x in enumerate(leaves)
    ]
    direction = jax.tree.unflatten(structure, draws)
    return MimicState(
      step=jnp.zeros((), jnp.int32),
      mean=jax.tree.map(jnp.zeros_like, direction),
      direction=_unit(direction, direction),
      client_id=jnp.zeros((), jnp.int32),
    )

  def learn(honest, state):
    acc = trees.common_accumulator(honest)
    t = state.step.astype(acc)
    old, new = t / (1 + t), 1 / (1 + t)
    blend = lambda x, y: (old * x + new * y).astype(x.dtype)
    mean = jax.tree.map(blend, state.mean, _honest.mean(honest, axis_name))
    squares, scores = _honest.residuals(honest, mean, state.direction)
    # Both factors are negated, so the product is that of x_i - mean.
    step = _weighted_residuals(scores, honest, mean, axis_name)
    zero = jax.tree.map(jnp.zeros_like, step)
    unit = _unit(step, zero)
    direction = jax.tree.map(blend, state.direction, unit)
    # Clients that agree leave a direction of nothing but rounding.
    spread = jnp.max(squares)
    if axis_name is not None:
      spread = jax.lax.pmax(spread, axis_name)
    rounding = 8 * jnp.finfo(acc).eps * trees.global_norm(mean)
    moved = (jnp.sqrt(spread) > rounding) & (trees.global_norm(unit) > 0)
    direction = jax.tree.map(
      lambda x, y: jnp.where(moved, x, y),
      _unit(direction, state.direction),
      state.direction,
    )
    _, ahead = _honest.residuals(honest, mean, direction)
    if axis_name is not None:
      ahead = jax.lax.all_gather(ahead, axis_name, tiled=True)
    client_id = jnp.argmin(ahead).astype(jnp.int32)
    return mean, direction, client_id

  def apply(honest, state, *, own=None, key=None):
    del own, key
    _honest.check(honest, num_byzantine, axis_name)
    keep = lambda honest, state: (state.mean, state.direction, state.client_id)
    if axis_name is None:
      parts = jax.lax.cond(state.step < num_warmup, learn, keep, honest, state)
    else:  # Devices must meet in the same collectives.
      learning = state.step < num_warmup
      parts = jax.tree.map(
        lambda x, y: jnp.where(learning, x, y),
        learn(honest, state),
        keep(honest, state),
      )
    state = MimicState(state.step + 1, *parts)
    sent = mimic(
      honest,
      num_byzantine=num_byzantine,
      client_id=state.client_id,
      axis_name=axis_name,
    )
    return sent, state

  return types.Attack(init, apply)


def _row(honest, client_id, axis_name):
  if axis_name is None:
    return jax.tree.map(
      lambda x: jax.lax.dynamic_index_in_dim(x, client_id, 0, keepdims=False),
      honest,
    )
  size = checks.num_clients(honest, name='honest')
  local = client_id - jax.lax.axis_index(axis_name) * size
  here = (local >= 0) & (local < size)
  local = jnp.clip(local, 0, size - 1)
  return jax.tree.map(
    lambda x: jax.lax.psum(jnp.where(here, x, jnp.zeros_like(x)), axis_name),
    _row(honest, local, None),
  )


def _unit(tree, fallback):
  norm = trees.global_norm(tree)
  return jax.tree.map(
    lambda x, y: jnp.where(
      norm > 0, (x / jnp.where(norm > 0, norm, 1)).astype(x.dtype), y
    ),
    tree,
    fallback,
  )


def _weighted_residuals(weights, honest, mean, axis_name):
  """Sums w_i (c - x_i) over clients, differences first."""

  def leaf(x, c):
    rows = c[None] - x.astype(c.dtype)
    return jnp.tensordot(
      weights.astype(c.dtype), rows, axes=1, precision='highest'
    )

  return _honest.total(jax.tree.map(leaf, honest, mean), axis_name)
