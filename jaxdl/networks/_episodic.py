# SPDX-License-Identifier: Apache-2.0
"""Learning to embed by episodes: classes are what their examples' mean is."""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks, classes, fits, trees
from jaxdl.core.types import Network, Task
from jaxdl.networks import _as_network, _statistics

# A log-variance beyond counts as this.
_MOST_LOG = 80.0
REDUCTIONS = ('mean', 'sum')


def squared_distances(x: chex.Array, points: chex.Array) -> chex.Array:
  """Computes squared Euclidean distances by one matrix product.

  `|x|^2 - 2 x c + |c|^2` loses the digits that norms and distances do not
  share, so both are measured from the mean of `points` first; the result does
  not depend on that origin. At full precision on every device.

  Args:
    x: f[..., d].
    points: f[C, d].

  Returns:
    f[..., C], at least float32, never negative.

  Raises:
    ValueError: if dimensions differ.

  Cost: O(B C d) work in one matrix product, O(B C) memory.

  Example:
    >>> squared_distances(jnp.array([[0.0, 0.0]]), jnp.array([[3.0, 4.0]]))
    Array([[25.]], dtype=float32)
  """
  x, points = jnp.asarray(x), jnp.asarray(points)
  if points.ndim != 2 or not x.ndim or x.shape[-1] != points.shape[-1]:
    raise ValueError(
      f'x must be [..., d] and points [C, d]; got shapes {x.shape} and '
      f'{points.shape}.'
    )
  wide = trees.accumulator(jnp.result_type(x, points))
  x, points = x.astype(wide), points.astype(wide)
  origin = jax.lax.stop_gradient(jnp.mean(points, axis=0))
  x = x - jnp.broadcast_to(origin, x.shape)
  points = points - jnp.broadcast_to(origin, points.shape)
  product = jnp.matmul(x, points.T, precision='highest')
  sq = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
  of_points = jnp.sum(jnp.square(points), axis=-1)
  sq, of_points = (jnp.broadcast_to(v, product.shape) for v in (sq, of_points))
  return jnp.maximum(sq - 2.0 * product + of_points, 0.0)


def mahalanobis_distances(x: chex.Array, points: chex.Array) -> chex.Array:
  """Computes squared distances that each point scales for itself.

  The second half of a point, s, says how far it reaches along every coordinate
  of the first: `sum((c - x)^2 / exp(s / 2))`. The second half of x has no
  effect. Differences are taken directly, so nothing cancels.

  Args:
    x: f[..., d].
    points: f[C, d], d even; s beyond 80 in size counts as 80.

  Returns:
    f[..., C], at least float32, never negative.

  Raises:
    ValueError: if dimensions differ or are odd.

  Cost: O(B C d) work, O(B (C + d)) memory.

  Example:
    >>> mahalanobis_distances(
    ...   jnp.array([[0.0, 7.0]]), jnp.array([[3.0, 2.0 * jnp.log(9.0)]])
    ... ).round(5)
    Array([[1.]], dtype=float32)

  Source: the code of Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150).
  """
  x, points = jnp.asarray(x), jnp.asarray(points)
  if points.ndim != 2 or not x.ndim or x.shape[-1] != points.shape[-1]:
    raise ValueError(
      f'x must be [..., d] and points [C, d]; got shapes {x.shape} and '
      f'{points.shape}.'
    )
  half = check_even(x.shape[-1])
  wide = trees.accumulator(jnp.result_type(x, points))
  x, points = x[..., :half].astype(wide), points.astype(wide)
  scales = jnp.clip(points[:, half:], -_MOST_LOG, _MOST_LOG)

  def one(point):
    c, s = (jnp.broadcast_to(v, x.shape) for v in point)
    return jnp.sum(jnp.square(c - x) * jnp.exp(-0.5 * s), axis=-1)

  found = jax.lax.map(one, (points[:, :half], scales))
  return jnp.moveaxis(found, 0, -1)


# Squared distances `f(x [..., d], points [C, d]) -> [..., C]`, by name.
DISTANCES = {
  'euclidean': squared_distances,
  'mahalanobis': mahalanobis_distances,
}


def check_even(dimension: int) -> int:
  """Returns half of a dimension, after checking that there is one.

  Args:
    dimension: d of embeddings.

  Returns:
    d / 2.

  Raises:
    ValueError: if d is odd.
  """
  if dimension % 2:
    raise ValueError(
      f'distance=mahalanobis takes embeddings of even dimension, half of them '
      f'log-variances; got {dimension}.'
    )
  return dimension // 2


def _class_means(support, mask):
  """Means over axis 1 of what is not masked, at least float32."""
  wide = trees.accumulator(support.dtype)
  support = support.astype(wide)
  if mask is None:
    return jnp.mean(support, axis=1)
  rows = jnp.broadcast_to(mask[..., None], support.shape)
  count = jnp.maximum(jnp.sum(rows, axis=1), 1).astype(wide)
  return jnp.sum(jnp.where(rows, support, 0.0), axis=1) / count


def prototypical_logits(
  support: chex.Array,
  query: chex.Array,
  *,
  mask: chex.Array | None = None,
  distance: str = 'euclidean',
  shift: chex.Array | None = None,
) -> chex.Array:
  """Scores queries by minus the squared distance to the classes' means.

  Args:
    support: f[N, K, d], K embeddings of each of N classes.
    query: f[..., d].
    mask: bool[N, K]; false embeddings have no effect on their mean.
    distance: 'euclidean' or 'mahalanobis' (`mahalanobis_distances`).
    shift: f[N, d], added to the means.

  Returns:
    f[..., N]; their softmax is the probability of the classes.

  Raises:
    ValueError: if shapes do not fit or the distance is unknown.

  Example:
    >>> support = jnp.array([[[0.0], [2.0]], [[5.0], [5.0]]])
    >>> prototypical_logits(support, jnp.array([[1.0]])).tolist()
    [[-0.0, -16.0]]

  Source: Snell et al. 2017 (https://arxiv.org/abs/1703.05175), equations 1, 2.
  """
  if support.ndim != 3:
    raise ValueError(
      f'support must be [classes, examples, d]; got shape {support.shape}.'
    )
  checks.choice(distance, DISTANCES, name='distance')
  means = _class_means(support, mask)
  if shift is not None:
    means = means + shift
  return -DISTANCES[distance](query, means)


def episodic(
  network: Network,
  example_inputs: chex.ArrayTree,
  *,
  distance: str = 'euclidean',
  noise: float = 0.0,
  reduction: str = 'mean',
) -> Task:
  """Builds the task of telling the classes of an episode apart.

  A class is the mean of its support embeddings; the loss is the mean
  cross-entropy of the queries under `prototypical_logits`. Support and queries
  go through the network apart, each with the statistics of its own batch.

  Args:
    network: gives embeddings f[B, d]; a `Network`, or a flax module.
    example_inputs: array [B, ...] whose shape and dtype initialize the network;
      `jax.ShapeDtypeStruct` will do.
    distance: 'euclidean', or 'mahalanobis', where the second half of a class's
      mean are log-variances (`mahalanobis_distances`).
    noise: deviation of normal noise on the means in `loss`, >= 0; then `loss`
      needs a key.
    reduction: of `loss` over the queries, 'mean' or 'sum'.

  Returns:
    `Task`. Batches hold `support` [N, K, ...] and `query` [N, Q, ...], inputs
    of N classes, in that order of classes: there are no labels. They may hold
    `support_mask` bool[N, K]: what it leaves out enters no mean and no
    statistics. `loss` trains; `evaluate` does not, and gives `accuracy` (ties
    go to the first class) and `loss`, a mean. Running statistics learn from
    both batches alike; with an adaptive optimizer estimate them by
    `recalibrate` in the end.

  Raises:
    TypeError: from `loss` and `evaluate`, if a batch is no dict.
    ValueError: if an option is unknown or out of range, or embeddings are of
      odd dimension for 'mahalanobis'; from `loss` and `evaluate`, if an entry
      is missing or classes differ; from `loss`, if a key is.

  Example:
    >>> from jaxdl import networks
    >>> task = episodic(networks.mlp((), 2), jnp.zeros((1, 3)))
    >>> params = jax.tree.map(jnp.zeros_like, task.init(jax.random.key(0)))
    >>> batch = {'support': jnp.ones((4, 1, 3)), 'query': jnp.ones((4, 2, 3))}
    >>> float(jnp.exp(task.loss(params, batch)))
    4.0

  Source: Snell et al. 2017 (https://arxiv.org/abs/1703.05175), Algorithm 1;
  Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150) with two passes.
  """
  network = _as_network.as_network(network)
  network = fits.explained(network, example_inputs)
  checks.choice(distance, DISTANCES, name='distance')
  checks.choice(reduction, REDUCTIONS, name='reduction')
  checks.number(noise, name='noise', low=0.0, high=1e6)
  if distance == 'mahalanobis':
    check_even(embedded_size(network, example_inputs))

  def init(key):
    return network.init(key, example_inputs)

  def told(shapes, support, query, mask, shift=None):
    (ways, shots), (_, queries) = shapes
    support = support.reshape(ways, shots, -1)
    logits = prototypical_logits(
      support, query, mask=mask, distance=distance, shift=shift
    )
    return logits, jnp.repeat(jnp.arange(ways), queries)

  def errors(shapes, support, query, mask, shift=None):
    logits, labels = told(shapes, support, query, mask, shift)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    right = classes.is_right(logits, labels).astype(loss.dtype)
    return {'accuracy': jnp.mean(right), 'loss': jnp.mean(loss)}

  def loss(params, batch, *, key=None):
    flat, shapes, mask = _unpack(batch)
    rows = None if mask is None else mask.reshape(-1)
    outputs, more = [], 0.0
    for i, (inputs, real) in enumerate(zip(flat, (rows, None), strict=True)):
      own = None if key is None else jax.random.fold_in(key, i)
      embedded, surrogate = _statistics.training_outputs(
        network, params, inputs, mask=real, key=own
      )
      outputs.append(embedded)
      more = more + 0.5 * surrogate
    shift = None
    if noise:
      if key is None:
        raise ValueError(
          f'key is required with noise={noise}: the loss draws random numbers; '
          'pass key=jax.random.key(seed).'
        )
      shape = (shapes[0][0], outputs[0].shape[-1])
      shift = noise * jax.random.normal(
        jax.random.fold_in(key, 2), shape, trees.accumulator(outputs[0].dtype)
      )
    support, query = outputs
    value = errors(shapes, support, query, mask, shift)['loss']
    if reduction == 'sum':
      value = value * (shapes[1][0] * shapes[1][1])
    return value + jnp.asarray(more).astype(value.dtype)

  def evaluate(params, batch):
    flat, shapes, mask = _unpack(batch)
    support, query = (network.apply(params, x) for x in flat)
    return errors(shapes, support, query, mask)

  def logits(params, batch):
    flat, shapes, mask = _unpack(batch)
    support, query = (network.apply(params, x) for x in flat)
    return *told(shapes, support, query, mask), None

  return Task(init, loss, evaluate, logits)


def embedded_size(network: Network, example_inputs: chex.ArrayTree) -> int:
  """Tells the dimension of embeddings, without a computation.

  Args:
    network: gives embeddings f[B, d].
    example_inputs: array [B, ...] or `jax.ShapeDtypeStruct`.

  Returns:
    d.

  Example:
    >>> from jaxdl import networks
    >>> embedded_size(networks.mlp((), 3), jnp.zeros((1, 5)))
    3
  """

  def embed(inputs):
    return network.apply(network.init(jax.random.key(0), inputs), inputs)

  return jax.eval_shape(embed, example_inputs).shape[-1]


def _unpack(batch):
  """Support and queries, one after another; (N, K), (N, Q); support's mask."""
  if not isinstance(batch, Mapping):
    raise TypeError(
      f'batch must be a dict with support and query; got '
      f'{checks.described(batch)}.'
    )
  for name in ('support', 'query'):
    if name not in batch:
      raise ValueError(f'batch has no entry {name!r}; got {sorted(batch)}.')
  parts = [jnp.asarray(batch[name]) for name in ('support', 'query')]
  shapes = [x.shape[:2] for x in parts]
  if any(x.ndim < 3 for x in parts) or shapes[0][0] != shapes[1][0]:
    raise ValueError(
      'support and query must be [classes, examples, ...] of the same classes; '
      f'got shapes {parts[0].shape} and {parts[1].shape}.'
    )
  mask = batch.get('support_mask')
  if mask is not None:
    mask = jnp.asarray(mask).astype(bool)
    if mask.shape != shapes[0]:
      raise ValueError(
        f'support_mask must have shape [N, K] = {shapes[0]}; got {mask.shape}.'
      )
  return [x.reshape(-1, *x.shape[2:]) for x in parts], shapes, mask
