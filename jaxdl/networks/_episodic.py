# SPDX-License-Identifier: Apache-2.0
"""Learning to embed by episodes: classes are what their examples' mean is."""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks, fits, trees
from jaxdl.core.types import Network, Task
from jaxdl.networks import _as_network, _statistics


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


def prototypical_logits(support: chex.Array, query: chex.Array) -> chex.Array:
  """Scores queries by minus the squared distance to the classes' means.

  Args:
    support: f[N, K, d], K embeddings of each of N classes.
    query: f[..., d].

  Returns:
    f[..., N]; their softmax is the probability of the classes.

  Raises:
    ValueError: if shapes do not fit.

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
  wide = trees.accumulator(support.dtype)
  means = jnp.mean(support.astype(wide), axis=1)
  return -squared_distances(query, means)


def episodic(network: Network, example_inputs: chex.ArrayTree) -> Task:
  """Builds the task of telling the classes of an episode apart.

  A class is the mean of its support embeddings; the loss is the mean
  cross-entropy of the queries under `prototypical_logits`. Support and queries
  go through the network apart, each with the statistics of its own batch.

  Args:
    network: gives embeddings f[B, d]; a `Network`, or a flax module.
    example_inputs: array [B, ...] whose shape and dtype initialize the network;
      `jax.ShapeDtypeStruct` will do.

  Returns:
    `Task`. Batches hold `support` [N, K, ...] and `query` [N, Q, ...], inputs
    of N classes, in that order of classes: there are no labels. `loss` trains;
    `evaluate` does not, and gives `accuracy` (ties go to the first class) and
    `loss`. Running statistics learn from both batches alike; with an adaptive
    optimizer estimate them by `recalibrate` in the end.

  Raises:
    TypeError: from `loss` and `evaluate`, if a batch is no dict.
    ValueError: from both, if an entry is missing or classes differ.

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

  def init(key):
    return network.init(key, example_inputs)

  def told(shapes, support, query):
    (ways, shots), (_, queries) = shapes
    logits = prototypical_logits(support.reshape(ways, shots, -1), query)
    return logits, jnp.repeat(jnp.arange(ways), queries)

  def errors(shapes, support, query):
    logits, labels = told(shapes, support, query)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    right = (jnp.argmax(logits, axis=-1) == labels).astype(loss.dtype)
    return {'accuracy': jnp.mean(right), 'loss': jnp.mean(loss)}

  def loss(params, batch, *, key=None):
    flat, shapes = _unpack(batch)
    outputs, more = [], 0.0
    for i, inputs in enumerate(flat):
      own = None if key is None else jax.random.fold_in(key, i)
      embedded, surrogate = _statistics.training_outputs(
        network, params, inputs, key=own
      )
      outputs.append(embedded)
      more = more + 0.5 * surrogate
    value = errors(shapes, *outputs)['loss']
    return value + jnp.asarray(more).astype(value.dtype)

  def evaluate(params, batch):
    flat, shapes = _unpack(batch)
    return errors(shapes, *[network.apply(params, x) for x in flat])

  def logits(params, batch):
    flat, shapes = _unpack(batch)
    return *told(shapes, *[network.apply(params, x) for x in flat]), None

  return Task(init, loss, evaluate, logits)


def _unpack(batch):
  """Inputs of support and queries, one after another, and (N, K), (N, Q)."""
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
  return [x.reshape(-1, *x.shape[2:]) for x in parts], shapes
