# SPDX-License-Identifier: Apache-2.0
"""Ways to learn classes in the field, by spec: `METHODS`."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import networks
from jaxdl.core import checks, registry
from jaxdl.federated.prototypes import (
  _discriminant,
  _field,
  _head_methods,
  _heads,
  _memory,
  _merging,
)
from jaxdl.federated.prototypes._discriminant import DiscriminantMemory
from jaxdl.federated.prototypes._field import FieldMethod, Maker, of_field
from jaxdl.federated.prototypes._memory import PrototypeMemory


class Prototypes(NamedTuple):
  """What a server with prototypes has.

  Attributes:
    memory: the merged one.
    pooled: that of all examples at once, to compare with.
  """

  memory: PrototypeMemory
  pooled: PrototypeMemory


@of_field
def protonet(*, merge: str = 'exact', distance: str = 'euclidean') -> Maker:
  """Prototypes in the trained embedding; merge=exact, reference, unweighted."""
  merge_fn = _merging.make_merge(merge)
  checks.choice(distance, networks.DISTANCES, name='distance')

  def make(field):
    capacity = field.capacity
    test = _heads.embed_all(field, field.test_inputs)
    dimension = test.shape[-1]
    _check_dimension(distance, dimension)
    embed = lambda x: field.network.apply(field.params, x)

    def init(key):
      del key
      memory = _memory.empty_memory(capacity, dimension, test.dtype)
      base = _embedded_base(field)
      if base is not None:
        memory = _memory.update_memory(memory, *base)
      return Prototypes(memory, memory)

    def client(model, data, key):
      del key
      features = embed(data['inputs'])
      delta = _memory.prototype_delta(
        features, data['labels'], capacity, mask=data['mask']
      )
      # The embeddings are kept to compare with pooling; no client sends them.
      return _memory.merge_prototypes(model.memory, delta), (delta, features)

    def merge_all(model, messages, data, key):
      del key
      deltas, features = messages
      flat = lambda x: x.reshape(-1, *x.shape[2:])
      pooled = _memory.update_memory(
        model.pooled,
        flat(features),
        flat(data['labels']),
        mask=flat(data['mask']),
      )
      return Prototypes(merge_fn(model.memory, deltas), pooled)

    def predict(model):
      memory = model.memory if isinstance(model, Prototypes) else model
      return _memory.nearest_known(memory, test, distance=distance)

    known = lambda model: model.memory.count > 0

    def measure(model):
      gap = jnp.linalg.norm(model.memory.mean - model.pooled.mean)
      size = jnp.maximum(jnp.linalg.norm(model.pooled.mean), 1e-30)
      return {'prototype_error': gap / size}

    return FieldMethod(
      init,
      client,
      merge_all,
      predict,
      known,
      _mean_bytes(known, capacity, dimension),
      measure,
    )

  return make


def _embedded_base(field):
  """Embeddings and labels of the base classes, or None."""
  rows = field.base_examples
  if not len(rows):
    return None
  features = _heads.embed_all(field, np.asarray(field.inputs)[rows])
  return features, jnp.asarray(np.asarray(field.labels)[rows])


def _mean_bytes(known, capacity, dimension, extra=0):
  """Means and counts of classes, and numbers that every message has."""

  def num_bytes(model, data):
    met = jax.vmap(lambda d: _field.met_classes(d, capacity))(data)
    active = jnp.sum(jnp.any(met, axis=1))
    up = (dimension + 1) * jnp.sum(met) + extra * active
    some = jnp.sum(known(model))
    down = (dimension + 1) * some + extra * (some > 0)
    return 4.0 * up, 4.0 * len(met) * down

  return num_bytes


@of_field
def pixels(*, merge: str = 'exact') -> Maker:
  """Prototypes of the examples themselves, without an encoder."""
  make = protonet(merge=merge)
  return lambda field: make(
    field._replace(network=networks.EMBEDDINGS.make('pixels'), params={})
  )


@of_field
def random(
  *, seed: int = 0, merge: str = 'exact', distance: str = 'euclidean'
) -> Maker:
  """Prototypes in the embedding of an encoder that was not trained."""
  seed = checks.integer(seed, name='seed', low=0)
  make_own = protonet(merge=merge, distance=distance)

  def make(field):
    batch = jnp.asarray(field.inputs[:_STATISTICS])
    params = field.network.init(jax.random.key(seed), batch)
    # Statistics of something, as an untrained encoder would have after a look.
    if networks.has_statistics(params):
      params = networks.recalibrate(
        field.network, params, {'inputs': batch[None]}
      )
    return make_own(field._replace(params=params))

  return make


_STATISTICS = 256


@of_field
def lda(*, shrinkage: float = 0.5, priors: str = 'uniform') -> Maker:
  """Means and one covariance for all classes; priors=uniform, counts."""
  checks.number(shrinkage, name='shrinkage', low=0.0, high=1.0)
  checks.choice(priors, _discriminant.PRIORS, name='priors')

  def make(field):
    capacity = field.capacity
    test = _heads.embed_all(field, field.test_inputs)
    dimension = test.shape[-1]

    def alone(features, labels, mask=None):
      return _discriminant.discriminant_delta(
        features, labels, capacity, mask=mask
      )

    def init(key):
      del key
      base = _embedded_base(field)
      if base is not None:
        return alone(*base)
      return _discriminant.empty_discriminant(capacity, dimension, test.dtype)

    def client(model, data, key):
      del key
      features = field.network.apply(field.params, data['inputs'])
      delta = alone(features, data['labels'], data['mask'])
      one = jax.tree.map(lambda x: x[None], delta)
      return _discriminant.update_discriminant(model, one), delta

    def merge(model, deltas, data, key):
      del data, key
      return _discriminant.update_discriminant(model, deltas)

    def known(model: DiscriminantMemory):
      return model.classes.count > 0

    def predict(model):
      scores = _discriminant.discriminant_scores(
        model, test, shrinkage=shrinkage, priors=priors
      )
      return _heads.best_known(scores, known(model))

    scatter = dimension * (dimension + 1) // 2
    return FieldMethod(
      init,
      client,
      merge,
      predict,
      known,
      _mean_bytes(known, capacity, dimension, scatter),
    )

  return make


# `make(spec, field) -> FieldMethod`; `make(spec)` reads the options alone, as
# `check` does, and returns a function of the field.
METHODS = registry.Registry(
  'method',
  {
    'protonet': protonet,
    'lower': _head_methods.lower,
    'icarl': _head_methods.icarl,
    'upper': _head_methods.upper,
    'lda': lda,
    'pixels': pixels,
    'random': random,
  },
  given=('field',),
  tried={},
)


def check_methods(
  specs: Sequence[str], *, capacity: int, dimension: int
) -> None:
  """Checks methods before there is an encoder.

  Args:
    specs: parts of `METHODS`.
    capacity: C classes.
    dimension: d of the embeddings.

  Raises:
    ValueError: if a part is malformed, an option is out of range, or does not
      fit the numbers of classes or of dimensions.

  Example:
    >>> check_methods(['icarl(budget=50)'], capacity=100, dimension=64)
    Traceback (most recent call last):
    ValueError: method='icarl(budget=50)': budget must be at least 100; got 50.
  """
  for spec in specs:
    METHODS.check(spec)
    try:
      _check_dimension(METHODS.value(spec, 'distance'), dimension)
      budget = METHODS.value(spec, 'budget')
      if budget is not None:
        _head_methods.check_budget(budget, capacity)
    except ValueError as error:
      raise ValueError(f'method={spec!r}: {error}') from error


def _check_dimension(distance, dimension):
  if distance == 'mahalanobis' and dimension % 2:
    raise ValueError(
      f'distance=mahalanobis takes embeddings of even dimension; got '
      f'{dimension}.'
    )
