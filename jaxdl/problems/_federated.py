# SPDX-License-Identifier: Apache-2.0
"""Labeled examples of many clients, some of whom take part in a round."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib, local, metrics
from jaxdl.core import checks, types
from jaxdl.experiment import config as config_lib
from jaxdl.problems import _classification, _streamed

knob = config_lib.knob

NATURAL = _classification.NATURAL
# Samplers whose cohorts have as many clients in every round.
STRATIFIED = ('full', 'uniform', 'weighted', 'cyclic')


@dataclasses.dataclass(frozen=True, kw_only=True)
class FederatedConfig(_classification.ClassificationConfig):
  """Knobs of clients that hold examples and are drawn for rounds."""

  num_clients: int = knob(100, 'Clients there are.', low=1, smoke=10)
  partition: str = knob(
    'label_dirichlet(alpha=0.1)',
    "How examples are dealt; 'natural' keeps the clients of data sets that "
    'have some.',
    registry=data_lib.PARTITIONERS | {NATURAL: data_lib.partition_natural},
  )
  sampling: str = knob(
    'uniform(num_sampled=10)',
    'Who takes part in a round.',
    registry=local.SAMPLERS,
    smoke='uniform(num_sampled=4)',
  )
  local_test: float = knob(
    0.2,
    'Share of the examples of a client that it is tested on.',
    low=0.0,
    high=1.0,
    open_high=True,
  )
  batch_size: int = knob(10, 'Examples per step of a client.', low=1)

  @property
  def num_dealt(self) -> int:
    """Clients to whom examples are dealt; 0 where they are natural."""
    return 0 if self.partition == NATURAL else self.num_clients

  def problem(self, **changes: Any) -> types.Problem:
    """Builds the problem of the knobs."""
    arguments = self.arguments | {
      'sampling': self.sampling,
      'local_test': self.local_test,
    }
    del arguments['batch_size']
    return clients(**(arguments | changes))


def clients(
  dataset: Any = 'digits',
  *,
  partition: str = 'label_dirichlet(alpha=0.1)',
  network: str | types.Network = 'mlp',
  num_clients: int = 100,
  sampling: str = 'uniform(num_sampled=10)',
  num_byzantine: int = 0,
  local_test: float = 0.2,
  num_public: int = 0,
  l2: float = 0.0,
  data_dir: str | None = None,
  eval_batch_size: int = 512,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Deals labeled examples to clients, some of whom take part in a round.

  The cohort of a round brings all that its clients hold, leaves [M, E, ...]
  with `mask: bool[M, E]`; how much of it they work on is the algorithm's.

  Args:
    dataset: see `classification`; with natural clients also a
      `data.FederatedDataset`.
    partition: a part of `data.PARTITIONERS`, or 'natural': of data sets with
      natural clients the first N.
    network: a part of `networks.NETWORKS`, or a network that gives logits.
    num_clients: N.
    sampling: a part of `local.SAMPLERS`.
    num_byzantine: F >= 0, how many of the rows of every cohort are the last
      ones: as large a share of a cohort as adversaries have among all clients,
      who are the last by number, at least one. They are drawn for themselves,
      uniformly.
    local_test: share of a client's examples that it keeps for tests, in [0, 1);
      natural clients that hold out examples keep those.
    num_public: P >= 0 training examples that are nobody's: their inputs are
      public, their labels forgotten.
    l2: penalty l2 |theta|^2 in the loss.
    data_dir: folder of the files, for data sets that need it.
    eval_batch_size: examples per evaluation batch.
    seeds: S seeds.

  Returns:
    The problem. `data` is (dict of leaves [S, N, E, ...], bool[S, N, E],
    i32[S, N] examples); of inputs on disk see `classification`. It is measured
    by `accuracy`, `loss`, `ece` and `brier` on the test set of all, and by how
    `accuracy` on their own tests is spread over clients
    (`metrics.spread_over_clients`); with a model per client those are of its
    own model. `test` has the `cohort_size` M, the `num_byzantine` F of its last
    rows, `num_expected`, clients of a round on average, and `public`, the
    inputs [P, ...], or None.

  Raises:
    ValueError: if data, partition, sampling or network do not fit.

  Example:
    >>> problem = clients('wine', num_clients=5, sampling='uniform(3)')
    >>> problem.test['cohort_size'], problem.data[2].shape
    (3, (1, 5))
  """
  seeds = checks.seeds(seeds)
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.integer(num_byzantine, name='num_byzantine', low=0, high=n - 1)
  checks.number(
    local_test, name='local_test', low=0.0, high=1.0, open_high=True
  )
  public = None
  if checks.integer(num_public, name='num_public', low=0):
    dataset, public = _set_aside(dataset, data_dir, partition, num_public, n)
    data_dir = None
  loaded, parts, held = _dealt(
    dataset, data_dir, partition, n, local_test, seeds
  )
  n = len(parts[0])
  task, made = _classification.make_task(loaded, network, l2=l2)
  arrays = {'inputs': loaded.train_inputs, 'labels': loaded.train_labels}
  dealt, whole = _streamed.of_round(arrays)
  train, mask = _classification.stacked(dealt, parts)
  tests = arrays if held[1] is None else held[1]
  own_test, own_mask = _classification.stacked(tests, held[0])
  counts = jnp.sum(mask, axis=2, dtype=jnp.int32)
  rows, draw = _drawing(sampling, counts, num_byzantine)
  pooled = _classification.test_batches(loaded, eval_batch_size)

  def cohort(key, data, round):
    arrays, mask, counts = data
    sample = draw(jax.random.fold_in(key, 1), round, counts)
    return local.gather_cohort(arrays, mask, sample)

  evaluate = _classification.evaluator(task, pooled)
  own_test = {**own_test, 'mask': own_mask}
  own_counts = jnp.sum(own_mask, axis=2)

  def spread(models, tests, counts, axis):
    one = jax.vmap(
      lambda p, batch: task.evaluate(p, batch)['accuracy'], in_axes=(axis, 0)
    )
    return metrics.spread_over_clients(one(models, tests), counts)

  @jax.jit
  def shared_spread(params, tests, counts):
    one = lambda x: spread(x[0], x[1], x[2], None)
    return jax.lax.map(one, (params, tests, counts))

  @jax.jit
  def own_spread(models, tests, counts):
    one = lambda x: spread(x[0], x[1], x[2], 0)
    return jax.lax.map(one, (models, tests, counts))

  def measure(params):
    found = jax.device_get(shared_spread(params, own_test, own_counts))
    return evaluate(params) | found

  of_clients = _classification.clients_evaluator(evaluate, ())

  def measure_clients(models):
    found = jax.device_get(own_spread(models, own_test, own_counts))
    return of_clients(models) | found

  problem = types.Problem(
    task=task,
    data=(train, mask, counts),
    cohort=cohort,
    evaluate=measure,
    evaluate_clients=measure_clients,
    reliability=_classification.reliability(task, pooled, seeds),
    network=made,
    seeds=seeds,
    num_clients=n,
    num_classes=loaded.num_classes,
    metric='accuracy',
    ylabel='Test accuracy',
    test={
      'cohort_size': rows[0],
      'num_byzantine': rows[1],
      'num_expected': rows[2],
      'pooled': pooled,
      'public': None if public is None else jnp.asarray(public),
    },
  )
  return whole(problem)


def _set_aside(dataset, data_dir, partition, num_public, num_clients):
  """The data set without some training examples, and their inputs."""
  if partition == NATURAL:
    raise ValueError(
      f'num_public={num_public} takes examples that are dealt, but partition='
      'natural deals none: choose another partition.'
    )
  loaded = _classification.load(dataset, data_dir)
  size = len(loaded.train_labels)
  if num_public + num_clients > size:
    raise ValueError(
      f'num_public={num_public} leaves {max(size - num_public, 0)} of the '
      f'{size} training examples for num_clients={num_clients}: take fewer.'
    )
  order = np.random.default_rng(2).permutation(size)
  public, rest = order[:num_public], np.sort(order[num_public:])
  kept = loaded._replace(
    train_inputs=loaded.train_inputs[rest],
    train_labels=loaded.train_labels[rest],
  )
  return kept, loaded.train_inputs[public]


def _dealt(dataset, data_dir, partition, n, local_test, seeds):
  """The pooled set, training parts and tests of every client, per seed."""
  natural = partition == NATURAL
  if not natural:
    loaded = _classification.load(dataset, data_dir, on_disk=True)
    dealt = [
      data_lib.make_partition(
        partition,
        np.random.default_rng(seed),
        loaded.train_labels,
        n,
        min_size=1,
      )
      for seed in seeds
    ]
    split = [
      _split(p, s, local_test) for p, s in zip(dealt, seeds, strict=True)
    ]
    return loaded, [a for a, _ in split], ([b for _, b in split], None)
  whole, loaded, parts, tests = _classification.natural_clients(
    dataset, data_dir, n
  )
  if whole.test.client_ids == whole.train.client_ids:
    arrays = {'inputs': loaded.test_inputs, 'labels': loaded.test_labels}
    return loaded, [parts] * len(seeds), ([tests[:n]] * len(seeds), arrays)
  split = [_split(parts, s, local_test) for s in seeds]
  return loaded, [a for a, _ in split], ([b for _, b in split], None)


def _split(parts, seed, share):
  """Examples to learn from, at least one, and to test on, of every client."""
  rng = np.random.default_rng((seed, 1))
  train, test = [], []
  for part in parts:
    order = rng.permutation(np.asarray(part))
    held = min(round(share * len(order)), len(order) - 1)
    train.append(np.sort(order[held:]))
    test.append(np.sort(order[:held]))
  return train, test


def _drawing(sampling, counts, num_byzantine):
  """`((M, F, m), draw(key, round, counts) -> sample)`, adversaries last."""
  n = counts.shape[1]
  part = local.SAMPLERS.part(sampling, name='sampling')
  sample = local.SAMPLERS.partial(part)
  key = jax.eval_shape(lambda: jax.random.key(0))
  with config_lib.naming(sampling=sampling, num_clients=n):
    local.client_sampler(sampling, np.asarray(counts[0]))
  m = jax.eval_shape(sample, key, 0, counts[0]).mask.shape[0]
  options = dict(sample.keywords)
  # Rows may be more than clients, which are those that count.
  drawn = options.get('num_sampled') or n
  expected = float(drawn)
  if part.name == 'poisson' and options.get('rate') is not None:
    expected = float(options['rate'] * n)
  if not num_byzantine:
    return (m, 0, expected), sample
  if part.name not in STRATIFIED:
    raise ValueError(
      f'sampling={sampling} cannot keep a fixed share of num_byzantine='
      f'{num_byzantine} adversaries in every cohort: choose one of '
      f'{", ".join(STRATIFIED)}.'
    )
  f = max(1, round(drawn * num_byzantine / n))
  if f >= drawn:
    raise ValueError(
      f'sampling={sampling} draws {drawn} clients, of whom {f} attack: need '
      'more for some to be honest.'
    )
  honest = n - num_byzantine
  if options.get('num_sampled'):
    options['num_sampled'] = min(drawn - f, honest)
  if options.get('size') is not None:
    options['size'] = max(m - f, min(drawn - f, honest))

  def stratified(key, round, counts):
    good_key, bad_key = jax.random.split(key)
    good = sample.func(good_key, round, counts[:honest], **options)
    bad = local.sample_uniform(bad_key, round, counts[honest:], f)
    share = f / drawn
    join = lambda a, b: jnp.concatenate([a, b])
    return local.ClientSample(
      join(good.client_ids, bad.client_ids + honest),
      join(good.mask, bad.mask),
      join(good.weights * (1 - share), bad.weights * share),
      good.num_dropped,
    )

  rows = jax.eval_shape(stratified, key, 0, counts[0]).mask.shape[0]
  return (rows, f, expected), stratified


def everybody(problem: types.Problem) -> types.Problem:
  """Gives each client all that it has, in every round, in order.

  Args:
    problem: from `classification`.

  Returns:
    The problem with `data` a dict of leaves [S, N, E, ...] with a `mask`, and
    cohorts of all clients with it; also measured by `train_loss`, the mean over
    the clients that have examples.

  Raises:
    ValueError: if examples are on disk.
  """
  if problem.fetch is not None:
    raise ValueError(
      'everybody holds all examples in memory, but those of the problem are on '
      'disk: build it with in_memory=True.'
    )
  n, task = problem.num_clients, problem.task
  arrays, real = problem.data
  held = dict(arrays) | {'mask': real}

  def cohort(key, own, round):
    del key, round
    return types.Cohort(
      client_ids=jnp.arange(n),
      data=own,
      mask=jnp.ones(n, bool),
      weights=jnp.full(n, 1.0 / n),
    )

  @jax.jit
  def losses(params, held):
    def one(pair):
      loss = lambda own: task.loss(pair[0], own)
      some = jnp.any(pair[1]['mask'] != 0, axis=1)
      total = jnp.sum(jnp.where(some, jax.lax.map(loss, pair[1]), 0.0))
      return total / jnp.sum(some)

    return jax.lax.map(one, (params, held))

  def evaluate(params):
    train = {'train_loss': jax.device_get(losses(params, held))}
    return problem.evaluate(params) | train

  return problem.replace(
    data=held,
    cohort=cohort,
    evaluate=evaluate,
    reliability=problem.reliability,
  )
