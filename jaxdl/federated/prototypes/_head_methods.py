# SPDX-License-Identifier: Apache-2.0
"""Methods that train a head: on missions, with exemplars, on everything."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.federated.prototypes import _field, _heads, _memory
from jaxdl.federated.prototypes._field import FieldMethod, Maker, of_field
from jaxdl.local import make_optimizer

# What iCaRL tests by.
RULES = ('softmax', 'means')
# Rows that compete while a head is trained on a mission.
OUTPUTS = ('known', 'new')


def _start(head: _heads.Head, key, fit):
  """A head that knows the base classes, trained on all their examples."""
  start_key, fit_key = jax.random.split(key)
  model = head.start(start_key)
  field, rows = head.field, head.field.base_examples
  if not len(rows):
    return model
  known = jnp.asarray(field.base)
  examples = {
    'x': head.inputs[rows],
    'labels': jnp.asarray(field.labels)[rows],
    'mask': jnp.ones(len(rows), bool),
  }
  params = fit(model.params, examples, fit_key, _heads.cross_entropy(known))
  return _heads.HeadModel(params, known)


def _fitter(optimizer, epochs, batch_size):
  """Reads options now; `of(head) -> fit(params, examples, key, errors)`."""
  checks.integer(epochs, name='epochs', low=1)
  checks.integer(batch_size, name='batch_size', low=1)
  made = make_optimizer(optimizer)

  def of(head):
    return functools.partial(
      head.fit, optimizer=made, epochs=epochs, batch_size=batch_size
    )

  return of


def _head_bytes(head, known, data, images_up=0.0, images_down=0.0):
  """Encoder and rows, and images that all clients send or each one gets."""
  met = jax.vmap(lambda d: _field.met_classes(d, head.field.capacity))(data)
  active = jnp.any(met, axis=1)
  row = lambda v: jnp.broadcast_to(v, met.shape)
  rows = jnp.sum(row(known) | met, axis=1)
  up = 4.0 * jnp.sum(
    jnp.where(active, head.num_params + head.dimension * rows, 0)
  )
  down = head.num_params + head.dimension * jnp.sum(known) + images_down
  return up + 4.0 * images_up, 4.0 * len(met) * down


@of_field
def lower(
  *,
  train: str = 'head',
  optimizer: str = 'sgd(0.01, momentum=0.9, weight_decay=0.001)',
  epochs: int = 30,
  batch_size: int = 16,
  outputs: str = 'known',
) -> Maker:
  """A softmax head trained on the mission's examples; outputs=known, new."""
  checks.choice(train, _heads.TRAINS, name='train')
  checks.choice(outputs, OUTPUTS, name='outputs')
  fit_of = _fitter(optimizer, epochs, batch_size)

  def make(field):
    head = _heads.Head(field, train)
    fit = fit_of(head)

    def client(model, data, key):
      row_key, fit_key = jax.random.split(key)
      met = _field.met_classes(data, field.capacity)
      known = model.known | met
      examples = {
        'x': head.read(data['inputs']),
        'labels': data['labels'],
        'mask': data['mask'],
      }
      start = _heads.fresh_rows(head, model, row_key)
      rows = met if outputs == 'new' else known
      params = fit(start, examples, fit_key, _heads.cross_entropy(rows))
      own = _heads.HeadModel(params, known)
      return own, (own, met)

    def merge(model, messages, data, key):
      del data, key
      return _heads.merge_heads(model, *messages)

    return FieldMethod(
      lambda key: _start(head, key, fit),
      client,
      merge,
      head.predict,
      lambda model: model.known,
      lambda model, data: _head_bytes(head, model.known, data),
    )

  return make


@of_field
def icarl(
  *,
  train: str = 'head',
  budget: int = 4000,
  rule: str = 'softmax',
  optimizer: str = 'sgd(0.01, momentum=0.9, weight_decay=0.001)',
  epochs: int = 30,
  server_optimizer: str = (
    'sgd(0.01, momentum=0.9, nesterov=True, weight_decay=0.001)'
  ),
  server_epochs: int = 50,
  temperature: float = 2.0,
  batch_size: int = 64,
) -> Maker:
  """A head that keeps examples and distills its old outputs."""
  checks.choice(train, _heads.TRAINS, name='train')
  checks.choice(rule, RULES, name='rule')
  checks.integer(budget, name='budget', low=1)
  checks.number(temperature, name='temperature', low=0.0, open_low=True)
  fit_of = _fitter(optimizer, epochs, batch_size)
  refine_of = _fitter(server_optimizer, server_epochs, batch_size)

  def make(field):
    check_budget(budget, field.capacity)
    head = _heads.Head(field, train)
    fit = fit_of(head)
    refine = refine_of(head)
    labels = np.asarray(field.labels)
    places = int(min(np.bincount(labels, minlength=1).max(), budget))
    capacity = field.capacity
    of_place = jnp.broadcast_to(
      jnp.arange(capacity, dtype=jnp.int32)[:, None], (capacity, places)
    ).reshape(-1)

    def exemplars(ids, count, known):
      """Those within the budget, leaves [C P, ...]."""
      quota = budget // jnp.maximum(jnp.sum(known), 1)
      kept = jnp.minimum(count, quota)[:, None]
      place = jnp.arange(places)[None]
      mask = jnp.broadcast_to(place, ids.shape) < jnp.broadcast_to(
        kept, ids.shape
      )
      x = head.inputs[ids.reshape(-1)]
      return {'x': x, 'labels': of_place, 'mask': mask.reshape(-1)}

    def init(key):
      ids = jnp.zeros((capacity, places), jnp.int32)
      count = jnp.zeros((capacity,), jnp.int32)
      rows = field.base_examples
      if len(rows):
        base = {
          'ids': jnp.asarray(rows, jnp.int32),
          'labels': jnp.asarray(labels[rows]),
          'mask': jnp.ones(len(rows), bool),
        }
        ids, count = _heads.keep_examples(ids, count, base)
      return _heads.IcarlModel(_start(head, key, fit), ids, count)

    def client(state, data, key):
      row_key, fit_key = jax.random.split(key)
      model = state.model
      met = _field.met_classes(data, capacity)
      known = model.known | met
      own = {
        'x': head.read(data['inputs']),
        'labels': data['labels'],
        'mask': data['mask'],
      }
      kept = exemplars(state.ids, state.count, model.known)
      examples = {k: jnp.concatenate([kept[k], own[k]]) for k in own}
      old = head.scores(model.params, examples['x'])
      start = _heads.fresh_rows(head, model, row_key)
      errors = _heads.distillation(known, model.known, temperature)
      examples['old'] = old
      params = fit(start, examples, fit_key, errors)
      trained = _heads.HeadModel(params, known)
      ids, count = _heads.keep_examples(state.ids, state.count, data)
      return _heads.IcarlModel(trained, ids, count), (trained, met)

    def merge(state, messages, data, key):
      merged = _heads.merge_heads(state.model, *messages)

      def file(kept, data):
        ids, count = kept
        return _heads.keep_examples(ids, count, data), None

      (ids, count), _ = jax.lax.scan(file, (state.ids, state.count), data)
      params = refine(
        merged.params,
        exemplars(ids, count, merged.known),
        key,
        _heads.cross_entropy(merged.known),
      )
      return _heads.IcarlModel(merged._replace(params=params), ids, count)

    def predict(state):
      if rule == 'softmax':
        return head.predict(state.model)
      params, known = state.model
      unit = lambda x: (
        x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12)
      )
      kept = exemplars(state.ids, state.count, known)
      memory = _memory.prototype_delta(
        unit(head.features(params, kept['x'])),
        kept['labels'],
        capacity,
        mask=kept['mask'],
      )
      features = unit(head.features(params, head.test))
      return _memory.nearest_known(memory, features)

    size = float(np.prod(np.shape(field.inputs)[1:]))

    def num_bytes(state, data):
      known = state.model.known
      quota = budget // jnp.maximum(jnp.sum(known), 1)
      kept = jnp.sum(jnp.minimum(state.count, quota))
      # Clients train on what is kept, so it is sent to them like the model.
      images = size * jnp.sum(data['mask']), size * kept
      return _head_bytes(head, known, data, *images)

    return FieldMethod(
      init, client, merge, predict, lambda state: state.model.known, num_bytes
    )

  return make


def check_budget(budget: int, capacity: int) -> None:
  """Checks that every class can keep an example.

  Args:
    budget: examples in all.
    capacity: C.

  Raises:
    ValueError: if it cannot.
  """
  checks.integer(budget, name='budget', low=capacity)


class UpperModel(NamedTuple):
  """A classifier, and the examples that anybody has seen, bool[P]."""

  model: _heads.HeadModel
  seen: chex.Array


@of_field
def upper(
  *,
  train: str = 'head',
  optimizer: str = 'sgd(0.1, momentum=0.9, weight_decay=0.001)',
  epochs: int = 60,
  batch_size: int = 64,
) -> Maker:
  """A head trained anew on all that anybody has seen; no client learns."""
  checks.choice(train, _heads.TRAINS, name='train')
  fit_of = _fitter(optimizer, epochs, batch_size)

  def make(field):
    head = _heads.Head(field, train)
    fit = fit_of(head)
    labels = jnp.asarray(field.labels)
    capacity = field.capacity

    def init(key):
      seen = np.zeros(len(labels), bool)
      seen[field.base_examples] = True
      return UpperModel(_start(head, key, fit), jnp.asarray(seen))

    def client(state, data, key):
      del data, key
      return state, ()

    def merge(state, messages, data, key):
      del messages
      start_key, fit_key = jax.random.split(key)
      ids = jnp.where(data['mask'], data['ids'], len(labels)).reshape(-1)
      seen = state.seen.at[ids].set(True, mode='drop')
      known = jnp.zeros((capacity,), bool).at[labels].max(seen)
      examples = {'x': head.inputs, 'labels': labels, 'mask': seen}
      params = fit(
        head.start(start_key).params,
        examples,
        fit_key,
        _heads.cross_entropy(known),
      )
      return UpperModel(_heads.HeadModel(params, known), seen)

    size = float(np.prod(np.shape(field.inputs)[1:]))

    def num_bytes(state, data):
      up = 4.0 * size * jnp.sum(data['mask'])
      down = head.num_params + head.dimension * jnp.sum(state.model.known)
      return up, 4.0 * len(data['mask']) * down

    return FieldMethod(
      init,
      client,
      merge,
      lambda state: head.predict(state.model),
      lambda state: state.model.known,
      num_bytes,
    )

  return make
