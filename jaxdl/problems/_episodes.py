# SPDX-License-Identifier: Apache-2.0
"""Classes that are told apart by few examples, and missions that meet them."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib, metrics, networks
from jaxdl.core import checks, keys, types
from jaxdl.data import episodes as episodes_lib
from jaxdl.federated import prototypes
from jaxdl.problems import _classification


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconnaissance(types.Problem):
  """Missions, and what all methods share.

  Attributes:
    field: encoder, examples and classes.
    num_empty: missions without examples at the end, int[S].
  """

  field: prototypes.Field
  num_empty: np.ndarray


def episodes(
  dataset: Any = 'glyphs',
  *,
  embedding: str | types.Network = 'conv_embedding',
  num_base: int = 200,
  ways: int = 20,
  shots: int = 5,
  queries: int = 5,
  turned: bool = False,
  num_clients: int = 1,
  test_episodes: int = 20,
  data_dir: str | None = None,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Learns an embedding from episodes of base classes, dealt to clients.

  Args:
    dataset: see `classification`.
    embedding: a part of `networks.EMBEDDINGS`, or a network that gives vectors.
    num_base: the first classes, dealt to the clients at random and evenly; the
      others test.
    ways: N classes of an episode, on test at most as many as there are.
    shots: K support examples of each.
    queries: Q queries of each.
    turned: whether the images of a class are turned by multiples of 90 degrees.
    num_clients: clients; each has an episode per round.
    test_episodes: episodes of the other classes that are tested on.
    data_dir: folder of the files, for data sets that need it.
    seeds: S seeds, of the deal and of the episodes.

  Returns:
    The problem. `data` of a cohort has `support` [clients, N, K, ...] and
    `query` [clients, N, Q, ...]; it measures `accuracy`, `loss`, `ece` and
    `brier` of the test episodes.

  Raises:
    ValueError: if there are too few classes, or examples of one.

  Example:
    >>> problem = episodes(
    ...   'glyphs(num_classes=12)',
    ...   embedding='pixels',
    ...   num_base=8,
    ...   ways=3,
    ...   num_clients=2,
    ... )
    >>> data = jax.tree.map(lambda x: x[0], problem.data)
    >>> problem.cohort(jax.random.key(0), data, 1).data['query'].shape
    (2, 3, 5, 28, 28, 1)
  """
  seeds = checks.seeds(seeds)
  loaded = _classification.load(dataset, data_dir)
  network = _embedding(embedding, loaded)
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.integer(test_episodes, name='test_episodes', low=1)
  base, others = _classes(loaded, num_base, None)
  labels = np.asarray(loaded.train_labels)
  sizes = {'ways': ways, 'shots': shots, 'queries': queries}
  num_turns = 4 if turned else 1
  episodes_lib.check_turns(loaded.train_inputs, num_turns)
  inputs = jnp.asarray(loaded.train_inputs)
  capacity = int(np.bincount(labels[labels < num_base]).max())
  if n > num_base:
    raise ValueError(
      f'num_clients={n} exceeds num_base={num_base}: every client needs a '
      'class.'
    )
  tables = []
  for seed in seeds:
    order = np.random.default_rng([seed, 3]).permutation(base)
    tables.append([_table(labels, order[i::n], sizes) for i in range(n)])
  # Classes are dealt evenly; an excess one of some clients is left out.
  fewest = num_base // n
  rows = [
    [_cut(table, fewest, capacity * fewest) for table in of_seed]
    for of_seed in tables
  ]
  stack = lambda trees: jax.tree.map(lambda *xs: np.stack(xs), *trees)
  dealt = stack([stack(of_seed) for of_seed in rows])
  draw = {'capacity': capacity, 'num_turns': num_turns, **sizes}

  def cohort(key, data, round):
    ids = jnp.arange(n, dtype=jnp.int32)
    own = keys.client_keys(jax.random.fold_in(key, round), ids)

    def one(key, table):
      episode = episodes_lib.sample_episode(key, table, **draw)
      return episodes_lib.take_episode(inputs, episode)

    return types.Cohort(
      client_ids=ids,
      data=jax.vmap(one)(own, data),
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  task = networks.episodic(network, _example(loaded))
  test = _test_episodes(loaded, others, sizes, test_episodes)

  @jax.jit
  def tested(params):
    def measured(params, batch):
      assert task.logits is not None
      sums = metrics.calibration_sums(*task.logits(params, batch))
      return task.evaluate(params, batch), sums

    def one(params):
      found, sums = jax.lax.map(lambda batch: measured(params, batch), test)
      added = jax.tree.map(lambda x: jnp.sum(x, axis=0), sums)
      return jax.tree.map(jnp.mean, found) | metrics.calibration_of(added)

    return jax.lax.map(one, params)

  evaluate = lambda params: jax.device_get(tested(params))
  return types.Problem(
    task=task,
    data=jax.tree.map(jnp.asarray, dealt),
    cohort=cohort,
    evaluate=evaluate,
    evaluate_clients=_classification.clients_evaluator(evaluate, ()),
    reliability=_classification.reliability(task, test, seeds),
    network=network,
    seeds=seeds,
    num_clients=n,
    num_classes=loaded.num_classes,
    metric='accuracy',
    ylabel='Accuracy of test episodes',
    test=test,
  )


def reconnaissance(
  dataset: Any = 'glyphs',
  *,
  protocol: str = 'missions',
  num_missions: int | None = None,
  embedding: str | types.Network = 'conv_embedding',
  training: str = 'episodic',
  num_base: int = 200,
  num_field: int | None = None,
  base_memory: bool = False,
  methods: Sequence[str] = (),
  data_dir: str | None = None,
  seeds: Sequence[int] = (0,),
) -> Reconnaissance:
  """Trains an encoder on base classes and plans missions among field classes.

  Args:
    dataset: see `classification`; classes in the order of its labels.
    protocol: a part of `prototypes.PROTOCOLS`: 'missions(num_clients=5,
      classes=5, shots=3)', or 'cil(classes=1, shots=15)', where one client
      meets every class once.
    num_missions: T >= 1 missions; the longest schedule of all seeds if None.
    embedding: a part of `networks.EMBEDDINGS`, or a network that gives vectors.
    training: a part of `prototypes.TRAININGS`, of the encoder; 'none' leaves it
      as it starts. One encoder for all seeds, which its option `seed` draws.
    num_base: the first classes, which train the encoder.
    num_field: the last classes, which missions meet; all others if None.
    base_memory: whether base classes are known from the start, and tested too.
    methods: parts of `prototypes.METHODS` that are to learn; those that do not
      fit are refused before the encoder is trained.
    data_dir: folder of the files, for data sets that need it.
    seeds: S seeds, of the missions.

  Returns:
    The problem, for `prototypes.field_learning`: cohorts hold the examples that
    each client meets, and what is evaluated are predictions of the test
    examples, i32[S, Q]: `overall_accuracy`, over all classes, also those that
    nobody has met yet, and `base_accuracy` where base classes are known ("eval
    0" before the first mission). `field` is what methods need. Classes are
    numbered anew: base classes, if they are known, then field classes. The task
    is that of the encoder (`networks.episodic`).

  Raises:
    ValueError: if base and field classes overlap, an option is out of range or
      a method does not fit; all before the encoder is trained.

  Example:
    >>> problem = reconnaissance(
    ...   'glyphs(num_classes=6)',
    ...   embedding='pixels',
    ...   training='none',
    ...   num_base=2,
    ...   protocol='missions(num_clients=2, classes=2, shots=5)',
    ... )
    >>> method = prototypes.METHODS.make('protonet', problem.field)
    >>> algorithm = prototypes.field_learning(
    ...   method,
    ...   2,
    ...   test_labels=problem.field.test_labels,
    ...   base=problem.field.base,
    ... )
    >>> state = algorithm.init(jax.random.key(0))
    >>> data = jax.tree.map(lambda x: x[0], problem.data)
    >>> cohort = problem.cohort(jax.random.key(0), data, 1)
    >>> state, metrics = algorithm.step(state, cohort, key=jax.random.key(1))
    >>> float(metrics['num_examples'])
    20.0

  Source: Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150).
  """
  seeds = checks.seeds(seeds)
  if num_missions is not None:
    checks.integer(num_missions, name='num_missions', low=1)
  if not isinstance(base_memory, bool):
    raise TypeError(f'base_memory must be a bool; got {base_memory!r}.')
  prototypes.PROTOCOLS.check(protocol)
  prototypes.TRAININGS.check(training)
  loaded = _classification.load(dataset, data_dir)
  base, others = _classes(loaded, num_base, num_field)
  network = _embedding(embedding, loaded)
  classes = np.concatenate([base, others]) if base_memory else others
  place = np.full(loaded.num_classes, -1)
  place[classes] = np.arange(len(classes))
  sides = []
  for inputs, labels in (
    (loaded.train_inputs, loaded.train_labels),
    (loaded.test_inputs, loaded.test_labels),
  ):
    own = place[labels] >= 0
    sides += [jnp.asarray(inputs[own]), place[labels[own]].astype(np.int32)]
  pool, labels, test_inputs, test_labels = sides
  is_base = np.arange(len(classes)) < (num_base if base_memory else 0)
  prototypes.check_methods(
    methods,
    capacity=len(classes),
    dimension=networks.embedded_size(network, _example(loaded)),
  )
  plan = _missions(labels, is_base, protocol, num_missions, seeds)
  hashable = isinstance(dataset, str) and isinstance(embedding, str)
  train = _cached if hashable else _trained
  params = train(dataset, data_dir, embedding, training, num_base)
  t, n = plan['ids'].shape[1:3]

  def cohort(key, data, round):
    del key
    row = jax.tree.map(lambda x: x[jnp.clip(round - 1, 0, t - 1)], data)
    row['mask'] &= jnp.asarray(round <= t)
    return types.Cohort(
      client_ids=jnp.arange(n, dtype=jnp.int32),
      data={**row, 'inputs': pool[row['ids']]},
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  def evaluate(predicted):
    right = np.asarray(predicted) == test_labels
    found = {'overall_accuracy': right.mean(axis=1)}
    if base_memory:
      found['base_accuracy'] = right[:, is_base[test_labels]].mean(axis=1)
    return found

  return Reconnaissance(
    task=networks.episodic(network, _example(loaded)),
    data=jax.tree.map(jnp.asarray, plan),
    cohort=cohort,
    evaluate=evaluate,
    network=network,
    seeds=seeds,
    num_clients=n,
    num_classes=len(classes),
    metric='overall_accuracy',
    ylabel='Test accuracy over all classes',
    field=prototypes.Field(
      network, params, pool, labels, test_inputs, test_labels, is_base
    ),
    num_empty=(~plan['mask'].any(axis=(2, 3))).sum(axis=1),
  )


def check_classes(
  num_classes: int, num_base: int, num_field: int | None
) -> None:
  """Checks that base and field classes do not overlap.

  Args:
    num_classes: of the data set.
    num_base: the first ones.
    num_field: the last ones; None for all others.

  Raises:
    ValueError: if they do, or there are none.
  """
  checks.integer(num_base, name='num_base', low=1)
  if num_base >= num_classes:
    raise ValueError(
      f'num_base={num_base} leaves no field class of {num_classes}.'
    )
  if num_field is None:
    return
  checks.integer(num_field, name='num_field', low=1)
  if num_base + num_field > num_classes:
    raise ValueError(
      f'num_base={num_base} and num_field={num_field} overlap: there are '
      f'{num_classes} classes, and field classes must be new to the encoder.'
    )


def _classes(loaded, num_base, num_field):
  """Base and field classes, int arrays."""
  check_classes(loaded.num_classes, num_base, num_field)
  first = num_base if num_field is None else loaded.num_classes - num_field
  return np.arange(num_base), np.arange(first, loaded.num_classes)


def _embedding(spec, loaded):
  if not isinstance(spec, str):
    return networks.as_network(spec)
  return networks.make_embedding(spec, loaded.train_inputs.shape[1:])


def _example(loaded):
  return jax.ShapeDtypeStruct(
    (1, *loaded.train_inputs.shape[1:]), loaded.train_inputs.dtype
  )


def _trained(dataset, data_dir, embedding, training, num_base):
  """The encoder's parameters."""
  loaded = _classification.load(dataset, data_dir)
  network = _embedding(embedding, loaded)
  own = np.asarray(loaded.train_labels) < num_base
  return prototypes.TRAININGS.make(
    training,
    network,
    jnp.asarray(loaded.train_inputs[own]),
    np.asarray(loaded.train_labels)[own],
  )


# Runs of one process that differ in missions and methods share encoders.
_cached = functools.lru_cache(maxsize=4)(_trained)


def _missions(labels, is_base, protocol, num_missions, seeds):
  """Plans of all seeds, leaves [S, T, N, M]."""
  rows = np.flatnonzero(~is_base[labels])
  plans = [
    prototypes.PROTOCOLS.make(
      protocol, np.random.default_rng([seed, 4]), labels[rows], num_missions
    )
    for seed in seeds
  ]
  most = max(len(plan.ids) for plan in plans)
  flat = {'ids': [], 'mask': [], 'labels': []}
  for plan in plans:
    t, n, k, s = plan.ids.shape
    pad = [(0, most - t), (0, 0), (0, 0)]
    mask = plan.mask.reshape(t, n, k * s)
    ids = np.where(mask, rows[plan.ids.reshape(t, n, k * s)], 0)
    flat['ids'].append(np.pad(ids, pad).astype(np.int32))
    flat['mask'].append(np.pad(mask, pad))
    flat['labels'].append(np.pad(labels[ids], pad))
  return {name: np.stack(found) for name, found in flat.items()}


def _table(labels, classes, sizes):
  """Where the examples of some classes are."""
  place = np.full(int(labels.max()) + 1, -1)
  place[classes] = np.arange(len(classes))
  rows = np.flatnonzero(place[labels] >= 0)
  table = data_lib.index_classes(place[labels[rows]], len(classes))
  episodes_lib.check_episode(table.count, **sizes)
  return table._replace(order=rows[np.asarray(table.order)])


def _cut(table, num_classes, capacity):
  """The first classes, padded to one size."""
  count = np.asarray(table.count)[:num_classes]
  order = np.asarray(table.order, np.int32)[: count.sum()]
  return data_lib.ClassTable(
    np.pad(order, (0, capacity - len(order))),
    np.asarray(table.start)[:num_classes],
    count,
  )


def _test_episodes(loaded, classes, sizes, count):
  """Fixed episodes of the test part's classes, leaves [count, ...]."""
  labels = np.asarray(loaded.train_labels)
  sizes = {**sizes, 'ways': min(sizes['ways'], len(classes))}
  table = _table(labels, classes, sizes)
  capacity = int(np.asarray(table.count).max())
  inputs = jnp.asarray(loaded.train_inputs)

  def one(key):
    episode = episodes_lib.sample_episode(
      key, table, capacity=capacity, **sizes
    )
    return episodes_lib.take_episode(inputs, episode)

  return jax.lax.map(one, jax.random.split(jax.random.key(0), count))
