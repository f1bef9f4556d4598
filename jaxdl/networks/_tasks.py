# SPDX-License-Identifier: Apache-2.0
"""Ready-made tasks: a network, a loss and a measure of success.

A batch is a dict: `inputs` (or a tuple of inputs) with leaves [B, ...],
`labels` [B, ...] and optionally `mask: bool[B]`. Masked rows have no effect on
anything, whatever they contain.
"""

from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks, classes, fits, trees
from jaxdl.core.types import Network, Task
from jaxdl.networks import _as_network, _statistics


def _unpack(batch):
  """Inputs, labels and mask of a batch; masked rows become zero."""
  if not isinstance(batch, Mapping):
    raise TypeError(f'batch must be a dict; got {type(batch).__name__}.')
  for name in ('inputs', 'labels'):
    if name not in batch:
      raise ValueError(f'batch has no entry {name!r}; got {sorted(batch)}.')
  inputs = batch['inputs']
  inputs = inputs if isinstance(inputs, tuple) else (inputs,)
  inputs = jax.tree.map(jnp.asarray, inputs)
  labels = jnp.asarray(batch['labels'])
  mask = batch.get('mask')
  if mask is not None:
    size = jax.tree.leaves(inputs)[0].shape[0]
    mask = jnp.asarray(mask).astype(bool)
    if mask.shape != (size,):
      raise ValueError(
        f'mask must have shape [B] = ({size},); got {mask.shape}.'
      )
    inputs, labels = trees.where_rows(mask, (inputs, labels), 0)
  return inputs, labels, mask


def _masked_mean(values, mask):
  """Mean over examples of values [B, ...]; zero without examples."""
  values = values.reshape(values.shape[0], -1)
  if mask is None:
    return jnp.sum(values) / max(values.size, 1)
  values = jnp.where(trees.expand(mask, values), values, 0.0)
  count = jnp.sum(mask, dtype=values.dtype) * values.shape[1]
  return jnp.sum(values) / jnp.maximum(count, 1.0)


def _penalty(params, l2):
  """The term l2 |theta|^2 over everything but statistics."""
  if isinstance(l2, (int, float)) and l2 == 0:
    return 0.0
  trained, _ = _statistics.split_statistics(params)
  wide = trees.common_accumulator(trained)
  total = trees.sum_leaves(
    lambda x: jnp.sum(jnp.square(x.astype(wide))), trained
  )
  return l2 * total


def _task(
  network: Network,
  example_inputs: chex.ArrayTree,
  l2: chex.Numeric,
  errors: Callable[[chex.Array, chex.Array], dict[str, chex.Array]],
  extra: Callable[..., chex.Array] | None = None,
  classes: bool = False,
) -> Task:
  """A task from per-example errors; 'loss' plus `extra` is minimized."""
  network = _as_network.as_network(network)
  checks.number(l2, name='l2', low=0.0)
  if not isinstance(example_inputs, tuple):
    example_inputs = (example_inputs,)
  network = fits.explained(network, *example_inputs)

  def init(key):
    return network.init(key, *example_inputs)

  def loss(params, batch, *, key=None):
    inputs, labels, mask = _unpack(batch)
    outputs, surrogate = _statistics.training_outputs(
      network, params, *inputs, mask=mask, key=key
    )
    value = _masked_mean(errors(outputs, labels)['loss'], mask)
    total = (value + _penalty(params, l2) + surrogate).astype(value.dtype)
    if extra is not None:
      total = total + extra(outputs, labels, mask).astype(value.dtype)
    return total

  def evaluate(params, batch):
    inputs, labels, mask = _unpack(batch)
    outputs = network.apply(params, *inputs)
    values = errors(outputs, labels)
    return {name: _masked_mean(v, mask) for name, v in values.items()}

  def logits(params, batch):
    inputs, labels, mask = _unpack(batch)
    return network.apply(params, *inputs), labels, mask

  return Task(init, loss, evaluate, logits if classes else None)


def classification(
  network: Network,
  example_inputs: chex.ArrayTree,
  *,
  num_classes: int,
  l2: chex.Numeric = 0.0,
  label_smoothing: float = 0.0,
) -> Task:
  """Builds the task of predicting one of K classes.

  The loss is the masked mean of the softmax cross-entropy plus `l2 |theta|^2`.
  With label smoothing s it is 1 - s of the cross-entropy and s of that of
  uniform labels; `evaluate` does not smooth. There is no factor one half, so
  the gradient of the penalty is `2 l2 theta`: a weight decay `w` of most
  optimizers is `l2 = w / 2`. Running statistics are not penalized; they learn
  through a surrogate (`statistics_surrogate`).

  Args:
    network: gives logits [B, ..., K]; a `Network`, or a flax module.
    example_inputs: array (or tuple of arrays) [B, ...] whose shapes and dtypes
      initialize the network; `jax.ShapeDtypeStruct` will do.
    num_classes: number of classes K, >= 1.
    l2: coefficient of the penalty, >= 0.
    label_smoothing: share s of every label that is spread over all classes, in
      [0, 1] (static).

  Returns:
    `Task`. `loss` trains (dropout needs `key`); `evaluate` does not, and gives
    `accuracy` and `loss` (cross-entropy alone, which is the negative
    log-likelihood); `metrics.evaluate` also tells how calibrated it is. Batches
    hold `inputs`, `labels: i32[B, ...]` in [0, K) and optionally `mask:
    bool[B]`; a batch without examples has loss and accuracy zero. A label
    outside [0, K) in an example that counts makes the loss and its gradient
    NaN.

  Raises:
    TypeError: from `loss` and `evaluate`, if labels are not integers, or
      `params` is something else than `init` makes.
    ValueError: if `l2` is negative or `label_smoothing` not in [0, 1]; from
      `loss` and `evaluate`, if logits and labels, or inputs and network do not
      fit, or the batch lacks an entry.

  Example:
    >>> task = classification(
    ...   logistic_regression(2), jnp.zeros((1, 3)), num_classes=2
    ... )
    >>> params = jax.tree.map(jnp.zeros_like, task.init(jax.random.key(0)))
    >>> batch = {'inputs': jnp.ones((4, 3)), 'labels': jnp.array([0, 0, 0, 1])}
    >>> metrics = task.evaluate(params, batch)
    >>> f'{metrics["accuracy"]:.2f} {metrics["loss"]:.4f}'
    '0.75 0.6931'

  Source: the penalty follows Farhadkhani et al. 2023
  (https://arxiv.org/abs/2209.10931), experiments; label smoothing Szegedy et
  al. 2016 (https://arxiv.org/abs/1512.00567), section 7.
  """
  checks.integer(num_classes, name='num_classes', low=1)
  checks.number(label_smoothing, name='label_smoothing', low=0.0, high=1.0)

  def errors(logits, labels):
    if not jnp.issubdtype(labels.dtype, jnp.integer):
      raise TypeError(f'labels must be integers; got {labels.dtype}.')
    if logits.shape != (*labels.shape, num_classes):
      raise ValueError(
        f'logits must have shape (*labels, num_classes) = '
        f'{(*labels.shape, num_classes)}; got {logits.shape}.'
      )
    logits = logits.astype(trees.accumulator(logits.dtype))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    known = (labels >= 0) & (labels < num_classes)
    return {
      'accuracy': classes.is_right(logits, labels).astype(logits.dtype),
      'loss': losses * jnp.where(known, 1.0, jnp.nan).astype(losses.dtype),
    }

  def smoothed(logits, labels, mask):
    # The cross-entropy is linear in the labels: add what uniform ones change.
    logits = logits.astype(trees.accumulator(logits.dtype))
    uniform = -jnp.mean(jax.nn.log_softmax(logits), axis=-1)
    hard = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return label_smoothing * _masked_mean(uniform - hard, mask)

  return _task(
    network,
    example_inputs,
    l2,
    errors,
    extra=smoothed if label_smoothing else None,
    classes=True,
  )


def regression(
  network: Network, example_inputs: chex.ArrayTree, *, l2: chex.Numeric = 0.0
) -> Task:
  """Builds the task of predicting numbers.

  The loss is the masked mean over examples of the squared error, averaged over
  outputs (no factor one half), plus `l2 |theta|^2` as in `classification`.

  Args:
    network: gives predictions [B, ...]; a `Network`, or a flax module.
    example_inputs: array (or tuple of arrays) [B, ...] whose shapes and dtypes
      initialize the network.
    l2: coefficient of the penalty, >= 0.

  Returns:
    `Task`; `evaluate` gives `loss` (mean squared error alone) and
    `absolute_error`. Batches hold `inputs`, `labels` with the shape of the
    predictions, and optionally `mask: bool[B]`.

  Raises:
    ValueError: if `l2` is negative; from `loss` and `evaluate`, if predictions
      and labels differ in shape.

  Example:
    >>> task = regression(mlp((), 1), jnp.zeros((1, 3)))
    >>> params = jax.tree.map(jnp.zeros_like, task.init(jax.random.key(0)))
    >>> batch = {
    ...   'inputs': jnp.ones((2, 3)),
    ...   'labels': jnp.array([[1.0], [3.0]]),
    ... }
    >>> float(task.loss(params, batch))
    5.0
  """

  def errors(outputs, labels):
    if outputs.shape != labels.shape:
      raise ValueError(
        f'labels must have the shape of the outputs, {outputs.shape}; got '
        f'{labels.shape}.'
      )
    wide = trees.accumulator(jnp.result_type(outputs, labels))
    gap = outputs.astype(wide) - labels.astype(wide)
    return {'absolute_error': jnp.abs(gap), 'loss': jnp.square(gap)}

  return _task(network, example_inputs, l2, errors)
