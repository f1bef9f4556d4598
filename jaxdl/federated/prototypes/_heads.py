# SPDX-License-Identifier: Apache-2.0
"""Rivals of prototypes: a linear head that grows by a row for each new class.

The head has a row for every class there may ever be; rows of classes that are
not known have no output. It reads embeddings of the frozen encoder
(`train='head'`), or the encoder is trained with it (`train='all'`).
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import data as data_lib, local, networks
from jaxdl.core import checks, types
from jaxdl.federated.prototypes import _field

TRAINS = ('head', 'all')


class HeadModel(NamedTuple):
  """A classifier that grows.

  Attributes:
    params: `head` f[C, d], and `body`, the encoder's parameters, if it learns.
    known: bool[C], rows that have an output.
  """

  params: dict[str, Any]
  known: chex.Array


class IcarlModel(NamedTuple):
  """A classifier and the examples that it keeps.

  Attributes:
    model: the classifier.
    ids: i32[C, P], places in the pool, in the order of their arrival.
    count: i32[C], how many places are filled.
  """

  model: HeadModel
  ids: chex.Array
  count: chex.Array


class Head:
  """What all methods with a head share: inputs, scores, training.

  Args:
    field: encoder, examples and classes.
    train: 'head' or 'all'.
  """

  def __init__(self, field: _field.Field, train: str):
    checks.choice(train, TRAINS, name='train')
    self.field = field
    self.whole = train == 'all'
    inputs, test = field.inputs, field.test_inputs
    if self.whole:
      example = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
      shape = jax.eval_shape(field.network.apply, field.params, example).shape
    else:
      inputs, test = (embed_all(field, x) for x in (inputs, test))
      shape = inputs.shape
    self.inputs, self.test = jnp.asarray(inputs), jnp.asarray(test)
    self.dimension = shape[-1]

  def start(self, key: chex.PRNGKey) -> HeadModel:
    """A model that knows nothing; consumes the key."""
    params: dict[str, Any] = {'head': self.rows(key)}
    if self.whole:
      params['body'] = self.field.params
    return HeadModel(params, jnp.zeros((self.field.capacity,), bool))

  def rows(self, key: chex.PRNGKey) -> chex.Array:
    """Rows as a linear layer starts them; consumes the key."""
    bound = self.dimension**-0.5
    shape = (self.field.capacity, self.dimension)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

  def read(self, inputs: chex.Array) -> chex.Array:
    """What the trained part reads of examples [M, ...]."""
    if self.whole:
      return inputs
    return self.field.network.apply(self.field.params, inputs)

  def features(self, params: Any, x: chex.Array) -> chex.Array:
    """Embeddings f[M, d] of what `read` gave."""
    if self.whole:
      return self.field.network.apply(params['body'], x)
    return x

  def scores(self, params: Any, x: chex.Array) -> chex.Array:
    """Outputs f[M, C] of all rows, for evaluation."""
    return jnp.matmul(
      self.features(params, x), params['head'].T, precision='highest'
    )

  def task(self, errors: Any) -> types.Task:
    """A task whose loss is the masked mean of `errors(scores, batch)`."""

    def loss(params, batch, *, key=None):
      x, more = batch['x'], 0.0
      if self.whole:
        x, more = networks.training_outputs(
          self.field.network, params['body'], x, mask=batch['mask'], key=key
        )
      scores = jnp.matmul(x, params['head'].T, precision='highest')
      values = jnp.where(batch['mask'], errors(scores, batch), 0.0)
      return jnp.sum(values) / jnp.maximum(jnp.sum(batch['mask']), 1) + more

    return types.Task(lambda key: None, loss, lambda params, batch: {})

  def fit(
    self,
    params: Any,
    examples: dict[str, chex.Array],
    key: chex.PRNGKey,
    errors: Any,
    *,
    optimizer: optax.GradientTransformation,
    epochs: int,
    batch_size: int,
  ) -> Any:
    """Trains on examples, leaves [M, ...] with `mask`; consumes the key."""
    mask = examples['mask']
    order = jnp.argsort(~mask, stable=True)
    examples = jax.tree.map(lambda x: x[order], examples)
    train = local.local_training(
      self.task(errors),
      optimizer,
      batch_size=min(batch_size, mask.shape[0]),
      num_epochs=epochs,
    )
    return train(params, examples, examples['mask'], key).params

  def predict(self, model: HeadModel) -> chex.Array:
    """Classes of the test examples, i32[Q]; -1 where none is known."""
    if self.whole:
      parts = data_lib.eval_batches({'x': self.test}, _EVAL_BATCH)
      scores = jax.lax.map(lambda x: self.scores(model.params, x), parts['x'])
      scores = scores.reshape(-1, scores.shape[-1])[: len(self.test)]
    else:
      scores = self.scores(model.params, self.test)
    return best_known(scores, model.known)

  @property
  def num_params(self) -> int:
    """Numbers of the trained encoder, beside the head."""
    if not self.whole:
      return 0
    return sum(x.size for x in jax.tree.leaves(self.field.params))


_EVAL_BATCH = 256


def embed_all(
  field: _field.Field, inputs: chex.Array, batch_size: int = _EVAL_BATCH
) -> chex.Array:
  """Embeds examples with the frozen encoder, some at a time.

  Args:
    field: the encoder.
    inputs: [n, ...].
    batch_size: how many at once.

  Returns:
    f[n, d].
  """
  apply = jax.jit(field.network.apply)
  parts = []
  for start in range(0, len(inputs), batch_size):
    part = jnp.asarray(inputs[start : start + batch_size])
    lacking = batch_size - len(part) if start else 0
    # One program for all but a first part that is alone.
    pad = [(0, lacking)] + [(0, 0)] * (part.ndim - 1)
    parts.append(apply(field.params, jnp.pad(part, pad))[: len(part)])
  return jnp.concatenate(parts)


def best_known(scores: chex.Array, known: chex.Array) -> chex.Array:
  """The known class of the largest score; -1 where there is none.

  Args:
    scores: f[Q, C].
    known: bool[C].

  Returns:
    i32[Q].

  Example:
    >>> best_known(jnp.array([[1.0, 9.0]]), jnp.array([True, False])).tolist()
    [0]
  """
  row = jnp.broadcast_to(known, scores.shape)
  best = jnp.argmax(jnp.where(row, scores, -jnp.inf), axis=1)
  return jnp.where(jnp.any(known), best, -1).astype(jnp.int32)


def cross_entropy(known: chex.Array):
  """Softmax over the known rows: `errors(scores, batch) -> f[M]`."""

  def errors(scores, batch):
    row = jnp.broadcast_to(known, scores.shape)
    # Finite, so that rows without an output have no slope and no NaN.
    masked = jnp.where(row, scores, -1e9)
    return optax.softmax_cross_entropy_with_integer_labels(
      masked, batch['labels']
    )

  return errors


def distillation(known: chex.Array, before: chex.Array, temperature: float):
  """Sigmoids: old outputs as the old model says, new ones as the labels do."""

  def errors(scores, batch):
    soft = jax.nn.sigmoid(batch['old'] / temperature)
    hard = jax.nn.one_hot(batch['labels'], scores.shape[1])
    row = lambda v: jnp.broadcast_to(v, scores.shape)
    target = jnp.where(row(before), soft, hard)
    values = optax.sigmoid_binary_cross_entropy(scores, target)
    values = jnp.where(row(known), values, 0.0)
    return jnp.sum(values, axis=1) / jnp.maximum(jnp.sum(known), 1)

  return errors


def merge_heads(
  model: HeadModel, clients: HeadModel, met: chex.Array
) -> HeadModel:
  """Averages what clients trained and appends the rows of their new classes.

  Rows that the server had, and the encoder, become the mean over the clients
  that have met something. New rows come one client after another: the first
  appends its row, a later one the mean of what is there and its own.

  Args:
    model: the server's, as it was broadcast.
    clients: leaves [N, ...], what they trained.
    met: bool[N, C], classes that each has met.

  Returns:
    The model.

  Example:
    >>> known = jnp.array([True, False])
    >>> server = HeadModel({'head': jnp.zeros((2, 1))}, known)
    >>> met = jnp.array([[True, False], [True, True]])
    >>> rows = jnp.array([[[1.0], [0.0]], [[3.0], [7.0]]])
    >>> merged = merge_heads(server, HeadModel({'head': rows}, met), met)
    >>> merged.params['head'].tolist(), merged.known.tolist()
    ([[2.0], [7.0]], [True, True])

  Source: Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150), the merge of
  their lower baseline, from its code.
  """
  active = jnp.any(met, axis=1)
  share = active / jnp.maximum(jnp.sum(active), 1)

  def average(new, old):
    weights = share.reshape(-1, *(1,) * (new.ndim - 1)).astype(new.dtype)
    kept = jnp.where(weights > 0, new, 0.0)
    mean = jnp.sum(jnp.broadcast_to(weights, kept.shape) * kept, axis=0)
    return jnp.where(jnp.any(active), mean, old)

  params = jax.tree.map(average, clients.params, model.params)
  common = jnp.broadcast_to(model.known[:, None], params['head'].shape)
  params['head'] = jnp.where(common, params['head'], model.params['head'])

  def append(carry, found):
    head, known = carry
    rows, own = found
    column = lambda v: jnp.broadcast_to(v[:, None], head.shape)
    fresh = own & ~model.known
    head = jnp.where(
      column(fresh),
      jnp.where(column(known), 0.5 * (head + rows), rows),
      head,
    )
    return (head, known | own), None

  start = (params['head'], model.known)
  rows = clients.params['head']
  (head, known), _ = jax.lax.scan(append, start, (rows, met))
  return HeadModel({**params, 'head': head}, known)


def fresh_rows(
  head: Head, model: HeadModel, key: chex.PRNGKey
) -> dict[str, Any]:
  """Parameters whose rows of unknown classes are drawn anew."""
  rows = head.rows(key)
  known = jnp.broadcast_to(model.known[:, None], rows.shape)
  return {**model.params, 'head': jnp.where(known, model.params['head'], rows)}


def keep_examples(
  ids: chex.Array, count: chex.Array, data: dict[str, chex.Array]
) -> tuple[chex.Array, chex.Array]:
  """Files examples under their classes while there is room.

  Args:
    ids: i32[C, P], places in the pool.
    count: i32[C], how many are filled.
    data: `ids`, `labels` i32[M], `mask` bool[M].

  Returns:
    Both, with the examples behind those that were there.

  Example:
    >>> data = {
    ...   'ids': jnp.array([7, 8, 9]),
    ...   'labels': jnp.array([1, 1, 1]),
    ...   'mask': jnp.array([True, False, True]),
    ... }
    >>> ids, count = keep_examples(
    ...   jnp.zeros((2, 2), jnp.int32), jnp.array([0, 1]), data
    ... )
    >>> ids.tolist(), count.tolist()
    ([[0, 0], [0, 7]], [0, 2])
  """
  capacity, places = ids.shape
  label = jnp.where(data['mask'], data['labels'], capacity)
  hot = label[:, None] == jnp.arange(capacity)[None]
  rank = jnp.sum(jnp.where(hot, jnp.cumsum(hot, axis=0) - 1, 0), axis=1)
  filled = jnp.append(count, 0)[label] + rank
  ids = ids.at[label, filled].set(data['ids'], mode='drop')
  return ids, jnp.minimum(count + jnp.sum(hot, axis=0), places)
