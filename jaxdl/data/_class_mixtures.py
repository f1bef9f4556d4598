# SPDX-License-Identifier: Apache-2.0
"""Clients that see one data set through their own mixture of classes.

Unlike a partition this copies no data: every client draws from all examples,
first a class from its mixture, then an example of that class.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.data import _batching


class ClassTable(NamedTuple):
  """Where the examples of each class are.

  Attributes:
    order: i32[n], examples sorted by class.
    start: i32[K], first entry of each class in `order`.
    count: i32[K], examples of each class.
  """

  order: chex.Array
  start: chex.Array
  count: chex.Array


def index_classes(labels: np.ndarray, num_classes: int) -> ClassTable:
  """Sorts examples by class; host.

  Args:
    labels: int[n], in 0..K-1.
    num_classes: K.

  Returns:
    The table.

  Example:
    >>> index_classes(np.array([1, 0, 1]), 2).order.tolist()
    [1, 0, 2]
  """
  labels = np.asarray(labels)
  count = np.bincount(labels, minlength=num_classes)
  return ClassTable(
    jnp.asarray(np.argsort(labels, kind='stable'), jnp.int32),
    jnp.asarray(np.cumsum(count) - count, jnp.int32),
    jnp.asarray(count, jnp.int32),
  )


def class_mixtures(
  rng: np.random.Generator,
  num_clients: int,
  class_counts: np.ndarray,
  *,
  alpha: float,
) -> np.ndarray:
  """Draws every client's mixture of classes from a symmetric Dirichlet.

  Args:
    rng: host generator; advanced.
    num_clients: N >= 1.
    class_counts: int[K], examples that exist; classes without any get weight
      zero, and a client left with nothing takes all others evenly.
    alpha: concentration > 0; small means one class per client, inf the
      frequencies of the data.

  Returns:
    float64[N, K], rows sum to one.

  Raises:
    ValueError: if alpha is not positive or there is no example.

  Source: Zhu et al. 2025 (https://arxiv.org/abs/2507.06542), official code.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.number(alpha, name='alpha', low=0.0, open_low=True, finite=False)
  present = np.asarray(class_counts) > 0
  if not present.any():
    raise ValueError('class_counts are all zero: need an example.')
  if np.isinf(alpha):
    raw = np.broadcast_to(np.asarray(class_counts, float), (n, len(present)))
  else:
    raw = rng.dirichlet(np.full(len(present), float(alpha)), size=n)
  raw = np.where(present[None, :] & np.isfinite(raw), raw, 0.0)
  empty = raw.sum(axis=1, keepdims=True) <= 0
  raw = np.where(empty, present[None, :].astype(float), raw)
  return raw / raw.sum(axis=1, keepdims=True)


def choose_weighted(
  rng: np.random.Generator,
  labels: np.ndarray,
  mixtures: np.ndarray,
  num_examples: int,
) -> list[np.ndarray]:
  """Deals every client a fixed set, drawn once by its mixture.

  Args:
    rng: host generator; advanced.
    labels: int[n].
    mixtures: [N, K].
    num_examples: examples per client, at most n; drawn without replacement
      with probabilities proportional to the weight of their class + 1e-12.

  Returns:
    N sorted index arrays; clients may share examples.

  Raises:
    ValueError: if `num_examples` is more than there are.
  """
  labels = np.asarray(labels)
  size = checks.integer(num_examples, name='num_examples', low=1)
  if size > len(labels):
    raise ValueError(
      f'num_examples={size} is more than the {len(labels)} examples: without '
      'replacement a client can have no more.'
    )
  parts = []
  for mixture in mixtures:
    weights = mixture[labels] + 1e-12
    weights /= weights.sum()
    chosen = rng.choice(len(labels), size, replace=False, p=weights)
    parts.append(np.sort(chosen))
  return parts


def sample_by_class(
  key: chex.PRNGKey,
  arrays: dict[str, Any],
  table: ClassTable,
  mixture: chex.Array,
  shape: tuple[int, ...],
) -> dict[str, Any]:
  """Draws examples of one client: a class, then a member, with replacement.

  Args:
    key: consumed.
    arrays: dict of leaves [n, ...], all examples.
    table: where the classes are.
    mixture: f32[K], the client's; zero where there is no example.
    shape: leading axes of the result (static), e.g. (H, B).

  Returns:
    Dict of leaves [*shape, ...] plus `mask`, all true.
  """
  # One draw for both choices compiles in a fraction of the time of two.
  first, second = jax.random.uniform(key, (2, *shape))
  ends = jnp.cumsum(mixture)
  ends = ends / ends[-1]
  steps = ends.reshape((1,) * len(shape) + ends.shape)
  classes = jnp.sum(first[..., None] >= steps, axis=-1)
  count = table.count[classes]
  member = jnp.minimum((second * count).astype(jnp.int32), count - 1)
  indices = table.order[table.start[classes] + member]
  return _batching.take_batch(arrays, indices, jnp.ones(shape, bool))
