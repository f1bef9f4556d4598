# SPDX-License-Identifier: Apache-2.0
"""Which query stands for which object: one-to-one, of the least cost."""

import chex
import jax
import jax.numpy as jnp
import optax.assignment

from jaxdl.core import trees
from jaxdl.perception.detection import _boxes

# Weights of classes, L1 and GIoU, in costs and in losses.
WEIGHTS = (2.0, 5.0, 2.0)


def match(costs: chex.Array, present: chex.Array | None = None) -> chex.Array:
  """Assigns objects to queries, one to one, at the least total cost.

  Objects that are padding are assigned nothing, whatever they cost. Where there
  are more objects than queries, some go without. The result is a function of
  the costs alone; where several assignments cost the same it is the one that
  the algorithm meets first. Costs that are no numbers count as larger than all
  others. The result has no gradient.

  Args:
    costs: f[Q, M], of query q for object m; under `vmap` for a batch.
    present: bool[M], false for padding; all are present if None.

  Returns:
    i32[M], the query of every object, -1 for none.

  Raises:
    ValueError: if shapes do not fit.

  Cost: O(min(Q, M)² max(Q, M)).

  Example:
    >>> costs = jnp.array([[8.0, 4, 7], [5, 2, 3], [9, 6, 7], [9, 4, 8]])
    >>> chosen = match(costs)
    >>> chosen.tolist(), float(costs[chosen, jnp.arange(3)].sum())
    ([0, 3, 1], 15.0)

  Source: Carion et al. 2020 (https://arxiv.org/abs/2005.12872), section 3.1;
    the assignment is solved by `optax.assignment`.
  """
  if jnp.ndim(costs) != 2:
    raise ValueError(
      f'costs must be f[Q, M], of one image; got shape {jnp.shape(costs)}: '
      'vmap over images.'
    )
  num_queries, num_objects = costs.shape
  if present is None:
    present = jnp.ones((num_objects,), bool)
  if jnp.shape(present) != (num_objects,):
    raise ValueError(
      f'present must have one entry per object, shape ({num_objects},); got '
      f'{jnp.shape(present)}.'
    )
  present = jnp.asarray(present).astype(bool)
  none = jnp.full((num_objects,), -1, jnp.int32)
  if not num_objects or not num_queries:
    return none
  costs = jax.lax.stop_gradient(costs)
  costs = costs.astype(trees.accumulator(costs.dtype))
  fine = jnp.isfinite(costs) & present[None]
  low = jnp.min(jnp.where(fine, costs, jnp.inf))
  high = jnp.max(jnp.where(fine, costs, -jnp.inf))
  some = jnp.any(fine)
  low, span = jnp.where(some, low, 0.0), jnp.where(some, high - low, 0.0)
  # A finite worst; padding costs the same everywhere, so it moves nothing. If
  # queries are short it is worse than any exchange among the others.
  worst = (span + 1.0) * (min(num_queries, num_objects) + 1)
  costs = jnp.where(jnp.isfinite(costs), costs - low, worst)
  padding = 0.0 if num_objects <= num_queries else 2.0 * worst
  costs = jnp.where(present[None], costs, padding)
  queries, objects = optax.assignment.hungarian_algorithm(costs)
  found = none.at[objects].set(queries.astype(jnp.int32))
  return jnp.where(present, found, -1)


def matching_costs(
  logits: chex.Array,
  boxes: chex.Array,
  labels: chex.Array,
  targets: chex.Array,
  *,
  weights: tuple[float, float, float] = WEIGHTS,
) -> chex.Array:
  """What it would cost every query to stand for every object.

  Classes cost what focal loss would fall by, boxes their L1 distance and the
  GIoU that they lack.

  Args:
    logits: f[Q, P], of queries and phrases.
    boxes: f[Q, 4], predicted (cx, cy, w, h).
    labels: i[M], the phrase of each object; out of range counts as the nearest.
    targets: f[M, 4], true (cx, cy, w, h).
    weights: of the class, of L1 and of GIoU.

  Returns:
    f[Q, M], float32 at least.

  Example:
    >>> costs = matching_costs(
    ...   jnp.array([[4.0, -4.0], [-4.0, 4.0]]),
    ...   jnp.array([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]]),
    ...   jnp.array([1]),
    ...   jnp.array([[0.5, 0.5, 0.2, 0.2]]),
    ... )
    >>> match(costs).tolist()
    [1]

  Source: Zhu et al. 2021 (https://arxiv.org/abs/2010.04159), appendix A.4.
  """
  wide = trees.accumulator(logits.dtype)
  logits, boxes = logits.astype(wide), boxes.astype(wide)
  share = jax.nn.sigmoid(logits)
  gain = 0.25 * (1 - share) ** 2 * -jax.nn.log_sigmoid(logits)
  loss = 0.75 * share**2 * -jax.nn.log_sigmoid(-logits)
  of_class = jnp.take(gain - loss, labels, axis=1, mode='clip')
  targets = targets.astype(wide)
  apart = jnp.sum(jnp.abs(boxes[:, None] - targets[None]), axis=-1)
  lack = 1 - _boxes.pairwise_giou(
    _boxes.to_corners(boxes), _boxes.to_corners(targets)
  )
  return weights[0] * of_class + weights[1] * apart + weights[2] * lack
