# SPDX-License-Identifier: Apache-2.0
"""Missions as an algorithm: clients meet classes, the server merges, all test.

A `FieldMethod` says what is known and how it is learned and merged;
`field_learning` lets any of them go through missions and measures it the same
way.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, clients as clients_lib, keys, types

# What `step` takes of a client, leaves [M, ...].
ENTRIES = ('ids', 'inputs', 'labels', 'mask')


class Field(NamedTuple):
  """What all methods of a run share: an encoder, examples, classes.

  Attributes:
    network: gives embeddings.
    params: the encoder's, trained on base classes.
    inputs: f[P, ...], the pool of training examples.
    labels: i32[P], classes in [0, C).
    test_inputs: f[Q, ...].
    test_labels: i32[Q].
    base: bool[C], classes that are known from the start, by all their
      examples of the pool.
  """

  network: types.Network
  params: chex.ArrayTree
  inputs: chex.Array
  labels: chex.Array
  test_inputs: chex.Array
  test_labels: chex.Array
  base: np.ndarray

  @property
  def capacity(self) -> int:
    """Number of classes C."""
    return len(self.base)

  @property
  def base_examples(self) -> np.ndarray:
    """Places of the base classes' examples in the pool, host."""
    return np.flatnonzero(self.base[np.asarray(self.labels)])


class FieldMethod(NamedTuple):
  """A way to learn classes in the field.

  Attributes:
    init: `init(key) -> model` of the server, with the base classes.
    client: `client(model, data, key) -> (own, message)` of one client: its own
      model after it has met `data`, leaves [M, ...] of `ENTRIES`, and what it
      sends.
    merge: `merge(model, messages, data, key) -> model` of the server; leaves
      [N, ...]; clients without examples have masks that are false everywhere.
    predict: `predict(model) -> i32[Q]`, classes of the test examples.
    known: `known(model) -> bool[C]`.
    num_bytes: `num_bytes(model, data) -> (up, down)`, f32[] each, what all
      clients send and get in a mission; `model` is the server's before it. What
      is sent once in all, the frozen encoder, does not count.
    measure: `measure(model) -> dict of f32[]`, what else is to be told.
  """

  init: Callable[..., Any]
  client: Callable[..., tuple[Any, Any]]
  merge: Callable[..., Any]
  predict: Callable[[Any], chex.Array]
  known: Callable[[Any], chex.Array]
  num_bytes: Callable[..., tuple[chex.Array, chex.Array]]
  measure: Callable[[Any], dict[str, chex.Array]] = lambda model: {}


Maker = Callable[[Field], FieldMethod]


def of_field(read: Callable[..., Maker]) -> Callable[..., Any]:
  """Lets a method's options be read before there is a field.

  Args:
    read: `read(**options) -> make`, checks the options; `make(field)`.

  Returns:
    `method(field, **options) -> FieldMethod`, with the signature of `read`;
    without a field, what `read` returns.
  """

  @functools.wraps(read)
  def method(field=None, **options):
    make = read(**options)
    return make if field is None else make(field)

  return method


class FieldState(NamedTuple):
  """Everything that missions need to go on.

  Attributes:
    model: the server's.
    predicted: i32[Q], what it says of the test examples.
    best: f32[C], the best accuracy that each class has had; 0 at first.
  """

  model: Any
  predicted: chex.Array
  best: chex.Array


def met_classes(data: dict[str, chex.Array], capacity: int) -> chex.Array:
  """Which classes a client has met.

  Args:
    data: `labels` i32[M] and `mask` bool[M].
    capacity: C (static).

  Returns:
    bool[C].

  Example:
    >>> data = {
    ...   'labels': jnp.array([2, 0]), 'mask': jnp.array([True, False])
    ... }
    >>> met_classes(data, 3).tolist()
    [False, False, True]
  """
  place = jnp.where(data['mask'], data['labels'], capacity)
  return jnp.zeros((capacity + 1,), bool).at[place].set(True)[:capacity]


def accuracy_of(
  predicted: chex.Array, labels: chex.Array, classes: chex.Array
) -> chex.Array:
  """Share of right answers among the examples of some classes.

  Args:
    predicted: i32[Q], over all classes.
    labels: i32[Q].
    classes: bool[C], those whose examples are counted.

  Returns:
    f32[]; NaN without any example.

  Example:
    >>> float(accuracy_of(
    ...   jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), jnp.array([True, False])
    ... ))
    0.5
  """
  counted = classes[labels]
  right = jnp.sum(counted & (predicted == labels))
  return right / jnp.sum(counted)


def field_learning(
  method: FieldMethod,
  clients: clients_lib.Clients | int,
  *,
  test_labels: chex.Array,
  base: chex.Array,
) -> types.Algorithm:
  """Sends clients on missions, merges what they bring back, and tests.

  A step is one mission. Each client learns from what it meets and is tested
  before it returns ("eval 1"); the server merges and is tested ("eval 2").
  Predictions are always among all classes that the model knows.

  Args:
    method: what is learned and how it is merged, see `METHODS`.
    clients: the N clients, or N (static).
    test_labels: i32[Q], of the examples that `method.predict` speaks of.
    base: bool[C], classes that are known from the start (concrete).

  Returns:
    An `Algorithm`. Cohorts hold `inputs` [N, M, ...], `labels` i32[N, M],
    `mask` bool[N, M] and `ids` i32[N, M], places in the pool. `params(state)`
    is what the server predicts of the test examples, i32[Q]. Metrics, shares of
    right answers of the server: `accuracy` (examples of all known classes),
    `field_accuracy` (of all learned in missions), `previous_accuracy` (before
    this mission), `new_accuracy` (in it), `base_accuracy` where there are base
    classes; NaN where there is no such class. Of the clients' own models, means
    over those with examples: `client_previous`, `client_new`, `client_base`,
    and `client_accuracy`, their mean without NaN. `forgetting` is the mean over
    classes known before of their best accuracy so far minus their present one;
    `field_forgetting` over those learned in missions and, where there are base
    classes, `base_forgetting` over these; zero without any such class. Also
    `num_known` classes, `num_new` classes, `num_examples`, `bytes_up`,
    `bytes_down`, and what `method.measure` tells. Clients that are masked have
    no examples; a mission without any changes nothing.

  Raises:
    TypeError: if test labels are no integers.
    ValueError: if numbers are out of range, or a test label is no class; from
      `step`, if the cohort has another number of clients or lacks an entry.

  Example:
    >>> from jaxdl import networks
    >>> x, y = jnp.array([[0.0], [1.0], [9.0]]), np.array([0, 0, 1])
    >>> pixels = networks.make_embedding('pixels', (1,))
    >>> field = Field(pixels, {}, x, y, x, y, np.array([False, False]))
    >>> algorithm = field_learning(
    ...   METHODS.make('protonet', field), 2, test_labels=y, base=field.base
    ... )
    >>> ids = jnp.array([[0, 1], [2, 2]])
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(2),
    ...   data={
    ...     'ids': ids,
    ...     'inputs': x[ids],
    ...     'labels': jnp.asarray(y)[ids],
    ...     'mask': jnp.ones((2, 2), bool),
    ...   },
    ...   mask=jnp.ones(2, bool),
    ...   weights=jnp.ones(2),
    ... )
    >>> state = algorithm.init(jax.random.key(0))
    >>> state, metrics = algorithm.step(state, cohort, key=jax.random.key(1))
    >>> algorithm.params(state).tolist(), float(metrics['accuracy'])
    ([0, 0, 1], 1.0)

  Source: Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150), the benchmark
  of missions; accuracies count examples instead of averaging batches.
  """
  who = clients_lib.as_clients(clients)
  is_base = np.asarray(base, bool)
  capacity, has_base = len(is_base), bool(is_base.any())
  labels = jnp.asarray(_checked_labels(test_labels, capacity), jnp.int32)
  of_base = jnp.asarray(is_base)
  one_hot_count = jnp.zeros((capacity,)).at[labels].add(1.0)

  def by_class(predicted):
    right = jnp.zeros((capacity,)).at[labels].add(predicted == labels)
    return right / jnp.maximum(one_hot_count, 1.0)

  def init(key):
    # Or the compiler would work out all of it, which takes it seconds.
    model = jax.lax.optimization_barrier(method.init(key))
    predicted = method.predict(model)
    best = jnp.where(method.known(model), by_class(predicted), 0.0)
    return FieldState(model, predicted, best)

  def step(state, cohort, *, key):
    who.check(cohort)
    data = _checked_data(cohort)
    client_key, merge_key = jax.random.split(key)
    before = method.known(state.model)

    def visit(data, key):
      own, message = method.client(state.model, data, key)
      met = met_classes(data, capacity)
      predicted = method.predict(own)
      tested = {
        'previous': before & ~of_base,
        'new': met & ~of_base,
      }
      if has_base:
        tested['base'] = of_base
      return message, {
        name: accuracy_of(predicted, labels, classes)
        for name, classes in tested.items()
      }

    messages, seen = who.map(visit)(
      data, keys.client_keys(client_key, cohort.client_ids)
    )
    messages = who.gather(messages)
    model = method.merge(state.model, messages, data, merge_key)
    some = jnp.any(data['mask'])
    # A mission without examples changes nothing, not even by rounding.
    model = jax.tree.map(
      lambda new, old: jnp.where(some, new, old), model, state.model
    )
    predicted = method.predict(model)
    known = method.known(model)
    present = by_class(predicted)
    active = jnp.any(data['mask'], axis=1)
    tested = {f'client_{k}': _mean_over(v, active) for k, v in seen.items()}
    tested['client_accuracy'] = _nan_mean(jnp.stack(list(tested.values())))
    new = known & ~before
    sets = {
      'accuracy': known,
      'field_accuracy': known & ~of_base,
      'previous_accuracy': before & ~of_base,
      'new_accuracy': new,
    }
    if has_base:
      sets['base_accuracy'] = of_base
    tested |= {k: accuracy_of(predicted, labels, v) for k, v in sets.items()}
    lost_by = {'forgetting': before, 'field_forgetting': before & ~of_base}
    if has_base:
      lost_by['base_forgetting'] = before & of_base
    for name, classes in lost_by.items():
      lost = jnp.where(classes, state.best - present, 0.0)
      tested[name] = jnp.sum(lost) / jnp.maximum(jnp.sum(classes), 1)
    up, down = method.num_bytes(state.model, data)
    metrics = tested | {
      'num_known': jnp.sum(known).astype(jnp.float32),
      'num_new': jnp.sum(new).astype(jnp.float32),
      'num_examples': jnp.sum(data['mask']).astype(jnp.float32),
      'bytes_up': up,
      'bytes_down': down,
      **method.measure(model),
    }
    best = jnp.where(known, jnp.maximum(state.best, present), 0.0)
    return FieldState(model, predicted, best), metrics

  return checks.algorithm(
    init, step, lambda state: state.predicted, state=FieldState
  )


def _checked_labels(test_labels, capacity):
  labels = checks.host_array(test_labels, name='test_labels')
  if labels.dtype.kind not in 'iu':
    raise TypeError(f'test_labels must be integers; got {labels.dtype}.')
  outside = (labels < 0) | (labels >= capacity)
  if outside.any():
    raise ValueError(
      f'test_labels has class {int(labels[outside][0])}: need 0 <= class < '
      f'{capacity}, as many as base has entries.'
    )
  return labels


def _checked_data(cohort):
  data = cohort.data
  missing = [name for name in ENTRIES if name not in data]
  if missing:
    raise ValueError(
      f'cohort.data has no entry {missing[0]!r}; need {", ".join(ENTRIES)}.'
    )
  present = jnp.broadcast_to(cohort.mask[:, None], data['mask'].shape)
  return {name: data[name] for name in ENTRIES} | {
    'mask': data['mask'] & present
  }


def _nan_mean(values):
  real = ~jnp.isnan(values)
  return jnp.sum(jnp.where(real, values, 0.0)) / jnp.sum(real)


def _mean_over(values, active):
  return _nan_mean(jnp.where(active, values, jnp.nan))
