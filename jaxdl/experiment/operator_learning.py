# SPDX-License-Identifier: Apache-2.0
"""What every experiment that trains operator networks on one machine shares.

`OperatorConfig` holds the knobs of data and optimisation; `load` turns them
into functions with a leading axis for seeds; `experiment` trains any number of
`Variant`s (a network, its data and its loss) side by side, on the same batches
where their data are the same, and evaluates them on every test set.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import federated, metrics as metrics_lib, operators
from jaxdl.core import types
from jaxdl.experiment import (
  _operator_pictures as pictures,
  _operator_problems as problems,
  config as config_lib,
  runner,
  supervised,
)
from jaxdl.pde import sets

knob = config_lib.knob

FORMATS = problems.FORMATS
NORMALIZERS = problems.NORMALIZERS
Problem = problems.Problem
draw_spectra = pictures.draw_spectra
draw_training = pictures.draw_training
generate = problems.generate
literal = problems.literal
normalizers = problems.normalizers
parse_options = problems.parse_options
pod_bases = problems.pod_bases
spectra = pictures.spectra
SCHEDULES = ('constant', 'one_cycle', 'cosine', 'inverse_time', 'halving')


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatorConfig(config_lib.BaseConfig):
  """Knobs of functions and optimisation."""

  problem: str = knob(
    'antiderivative',
    'What is learned.',
    choices=tuple(sets.PROBLEMS),
    needs={'data_path': False},
  )
  problem_options: tuple[str, ...] = knob(
    (),
    'Options of the problem, e.g. viscosity=0.01,end_time=2.',
    needs={'data_path': False},
  )
  resolution: int = knob(
    0,
    'Sensors, or grid points per axis; 0 is the default of the problem.',
    needs={'data_path': False},
  )
  num_train: int = knob(1000, 'Training functions.', low=1)
  num_test: int = knob(200, 'Test functions.', low=1)
  data_path: str = knob('', 'File of functions, in place of --problem.')
  test_path: str = knob(
    '',
    'File of test functions; those after num_train of data_path if empty.',
    needs={'data_path': True},
  )
  file_format: str = knob(
    'darcy',
    'What the files hold.',
    choices=problems.FORMATS,
    needs={'data_path': True},
  )
  subsample: int = knob(
    1, 'Every how many grid points are kept.', low=1, needs={'data_path': True}
  )
  loss: str = knob(
    'relative_l2', 'What is minimised.', choices=tuple(operators.LOSSES)
  )
  input_normalizer: str = knob(
    'none', 'Statistics taken off the inputs.', choices=problems.NORMALIZERS
  )
  target_normalizer: str = knob(
    'none',
    'Statistics that the network gives back to its outputs before the loss.',
    choices=problems.NORMALIZERS,
  )
  num_rounds: int = knob(1000, 'Rounds of steps_per_round steps.', low=0)
  steps_per_round: int = knob(10, 'Optimiser steps in a round.', low=1)
  eval_every: int = knob(100, 'Rounds between evaluations.', low=1)
  batch_size: int = knob(20, 'Functions in a step; 0 takes all.', low=0)
  sampling: str = knob(
    'epochs',
    'Batches of shuffled passes over the functions, or drawn independently.',
    choices=('epochs', 'independent'),
    needs={'batch_size': True},
  )
  learning_rate: float = knob(1e-3, 'Largest step size of Adam.', low=0.0)
  schedule: str = knob(
    'constant',
    'Step size over the run: constant; one_cycle; cosine to zero; '
    'inverse_time, 1 / (1 + t / 2) with t in fifths of the run; halving after '
    'each fifth.',
    choices=SCHEDULES,
  )
  weight_decay: float = knob(
    0.0, 'Added to the gradient, times the parameter.', low=0.0
  )
  eval_batch_size: int = knob(50, 'Functions in an evaluation batch.', low=1)
  eval_train: bool = knob(True, 'Also evaluate on the training functions.')
  num_samples: int = knob(3, 'Test functions drawn in the pictures.', low=1)

  def validate(self) -> None:
    """Checks what depends on several knobs."""
    super().validate()
    if self.resolution and self.resolution < 4:
      raise ValueError(
        f'resolution must be 0 or at least 4; got {self.resolution}.'
      )
    if not self.data_path:
      problems.parse_options(self.problem, self.problem_options)
      if self.test_path:
        raise ValueError('test_path needs data_path.')
      if self.subsample > 1:
        raise ValueError('subsample needs data_path: use resolution.')

  def smoked(self) -> 'OperatorConfig':
    """Few functions and steps."""
    return dataclasses.replace(
      super().smoked(),
      num_train=min(self.num_train, 32),
      num_test=min(self.num_test, 8),
      steps_per_round=min(self.steps_per_round, 2),
      batch_size=min(self.batch_size, 8),
      eval_batch_size=min(self.eval_batch_size, 8),
      num_samples=1,
    )

  @property
  def num_steps(self) -> int:
    """Optimiser steps of the whole run."""
    return self.num_rounds * self.steps_per_round


class Variant(NamedTuple):
  """One network to train, on its own data if need be.

  Attributes:
    network: `network(constants) -> Network`, called while tracing.
    problem: what it learns from.
    constants: tree of leaves [S, ...] of what depends on the data, e.g.
      normalisers and principal components.
    loss: a name in `operators.LOSSES`.
    metrics: names in `operators.LOSSES` that tests report beside the loss.
    trim: share of the largest squared errors that `trimmed_mse` of a whole test
      set leaves out, rounded up but not all; 0 reports no such metric.
    columns: further labels in the rows, e.g. the number of sensors.
    task: `task(network) -> Task` to train on instead of the loss; its batches
      are those of `problem.train`.
  """

  network: Callable[[Any], types.Network]
  problem: Problem
  constants: Any = ()
  loss: str = 'relative_l2'
  metrics: tuple[str, ...] = ('relative_l2', 'mse')
  trim: float = 0.0
  columns: Mapping[str, Any] = {}
  task: Callable[[types.Network], types.Task] | None = None


def load(
  config: OperatorConfig, *, layout: str, **changed: Any
) -> problems.Problem:
  """Generates or reads the functions that a configuration names.

  Args:
    config: knobs.
    layout: 'grid', 'aligned' or 'unaligned'; files have their own.
    **changed: options of `generate` that differ from the knobs, e.g.
      `resolution` or `num_train`.

  Returns:
    A `Problem`.

  Raises:
    ValueError: for missing or broken files, in one sentence.
  """
  if config.data_path:
    return problems.read(
      config.data_path,
      config.test_path,
      config.file_format,
      num_seeds=len(config.seeds),
      num_train=changed.get('num_train', config.num_train),
      num_test=config.num_test,
      subsample=config.subsample,
      eval_batch_size=config.eval_batch_size,
      num_samples=config.num_samples,
    )
  options = {
    'num_train': config.num_train,
    'num_test': config.num_test,
    'resolution': config.resolution,
    'eval_batch_size': config.eval_batch_size,
    'num_samples': config.num_samples,
    'options': problems.parse_options(config.problem, config.problem_options),
  }
  return problems.generate(
    config.problem,
    seeds=config.seeds,
    layout=layout,
    **(options | changed),
  )


def make_optimizer(config: OperatorConfig) -> optax.GradientTransformation:
  """Adam with coupled weight decay and the schedule of the flags.

  Args:
    config: knobs; the schedule spans all steps of the run.

  Returns:
    The optimiser.
  """
  rate, total = config.learning_rate, max(config.num_steps, 1)
  schedules = {
    'constant': lambda: rate,
    'one_cycle': lambda: operators.one_cycle(total, rate),
    'cosine': lambda: optax.cosine_decay_schedule(rate, total),
    'inverse_time': lambda: lambda t: rate / (1 + 2.5 * t / total),
    'halving': lambda: optax.piecewise_constant_schedule(
      rate, {max(1, total * i // 5): 0.5 for i in range(1, 5)}
    ),
  }
  schedule = schedules[config.schedule]()
  if not config.weight_decay:
    return optax.adam(schedule)
  return operators.adam_with_decay(schedule, weight_decay=config.weight_decay)


def with_normalizers(
  config: OperatorConfig, network: types.Network, problem: Problem
) -> dict[str, Any]:
  """Puts the normalisers of the flags around a network.

  Args:
    config: knobs.
    network: any network.
    problem: its data.

  Returns:
    The fields `network` and `constants` of a `Variant`.
  """
  constants = problems.normalizers(
    problem, inputs=config.input_normalizer, targets=config.target_normalizer
  )
  wrap = lambda c: operators.normalized(
    network, inputs=c.get('inputs'), outputs=c.get('outputs')
  )
  return {'network': wrap, 'constants': constants}


def experiment(
  config: OperatorConfig,
  variants: Mapping[str, Variant],
  *,
  draw: Callable[..., Any] | None = None,
  extra_rows: Callable[..., list[runner.Row]] | None = None,
) -> runner.Experiment:
  """Builds the experiment that trains variants side by side.

  Rows: split 'test' (and 'train') with the loss and the metrics of each
  variant, its columns and, where there are several test grids, `resolution`;
  after the last round split 'function' for `plots.functions`.

  Args:
    config: knobs.
    variants: by name, the label 'variant' of the rows.
    draw: `draw(rows, directory) -> paths`.
    extra_rows: `extra_rows(params, round) -> rows` with params by name,
      leaves [S, ...].

  Returns:
    The experiment.

  Raises:
    ValueError: if there is no variant.
  """
  if not variants:
    raise ValueError('there is nothing to train: name at least one model.')
  seeds = config.seeds
  root = supervised.seed_keys(seeds)
  optimizer = make_optimizer(config)

  def network_task(variant, constants, *, training):
    network = variant.network(constants)
    if training and variant.task is not None:
      return variant.task(network)
    return operators.operator_task(
      network,
      variant.problem.example(),
      loss=variant.loss,
      points=variant.problem.points,
      metrics=variant.metrics,
    )

  def algorithm(variant, constants):
    return federated.centralized_sgd(
      network_task(variant, constants, training=True),
      optimizer=optimizer,
    )

  def init():
    keys = jax.vmap(lambda key: jax.random.fold_in(key, 0))(root)
    start = lambda v: lambda key, c: algorithm(v, c).init(key)
    return {
      name: jax.jit(supervised.over_seeds(start(v), len(seeds)))(
        keys, v.constants
      )
      for name, v in variants.items()
    }

  def train(variant, state, key, number, functions, constants):
    one = algorithm(variant, constants)
    length = config.steps_per_round

    def body(state, i):
      place = (number - 1) * length + i
      cohort = draw_cohort(
        key,
        functions,
        place,
        batch_size=config.batch_size,
        shuffled=config.sampling == 'epochs',
      )
      return one.step(state, cohort, key=jax.random.fold_in(key, place))

    if length == 1:
      return body(state, 0)
    state, seen = jax.lax.scan(body, state, jnp.arange(length))
    return state, jax.tree.map(jnp.mean, seen)

  def step(states, number):
    states, seen = dict(states), {}
    for name, v in variants.items():
      run = lambda s, key, d, c, v=v: train(v, s, key, number, d, c)
      # Convolutions with one kernel per seed are slow on CPU.
      grid = v.problem.train['inputs'].ndim > 3
      loop = grid and jax.default_backend() == 'cpu'
      states[name], seen[name] = supervised.over_seeds(
        run, len(seeds), loop=loop
      )(states[name], root, v.problem.train, v.constants)
    return states, seen

  evaluate = {name: _evaluator(v, network_task) for name, v in variants.items()}
  trimmed = {name: _trimmed_mse(v) for name, v in variants.items() if v.trim}
  everything = {
    name: _train_batches(config, v.problem)
    for name, v in variants.items()
    if config.eval_train
  }

  def rows(states, metrics, number):
    out = []
    for name, v in variants.items():
      params = states[name].params
      label = {'step': number, 'variant': name, 'seeds': seeds}
      for grid, test in v.problem.tests.items():
        extra = {'resolution': int(grid)} if grid else {}
        found = evaluate[name](params, test, v.constants)
        if v.trim:
          found['trimmed_mse'] = trimmed[name](params, test, v.constants)
        out += _labelled(found, v.columns | extra, split='test', **label)
      if config.eval_train:
        found = evaluate[name](params, everything[name], v.constants)
        out += _labelled(found, v.columns, split='train', **label)
      if metrics is not None:
        out += _labelled(metrics[name], v.columns, split='steps', **label)
    if extra_rows is not None:
      params = {name: states[name].params for name in variants}
      out += extra_rows(params, number)
    if number == config.num_rounds:
      out += _function_rows(variants, states, number, seeds[0])
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=() if draw is None else (draw,),
    table=runner.table_by(
      *dict.fromkeys(name for v in variants.values() for name in v.columns),
      'resolution',
    ),
  )


def draw_cohort(
  key: chex.PRNGKey,
  functions: dict[str, chex.Array],
  step: chex.Numeric,
  *,
  batch_size: int,
  shuffled: bool,
) -> types.Cohort:
  """Draws the batch of one step for one learner.

  Args:
    key: of the run, not consumed: the batch depends on it and the step alone.
    functions: leaves [n, ...].
    step: number of the step from 0 (traced).
    batch_size: B; 0 or more than n takes all.
    shuffled: whether batches partition a shuffled pass (an incomplete last
      batch is dropped) or are drawn independently with replacement.

  Returns:
    A cohort of one client.
  """
  n = len(functions['inputs'])
  size = min(batch_size or n, n)
  batch = functions
  if size < n:
    fold = lambda number: jax.random.fold_in(jax.random.fold_in(key, 1), number)
    if shuffled:
      order = jax.random.permutation(fold(step // (n // size)), n)
      start = step % (n // size) * size
      index = jax.lax.dynamic_slice_in_dim(order, start, size)
    else:
      index = jax.random.randint(fold(step), (size,), 0, n)
    batch = jax.tree.map(lambda x: x[index], functions)
  return types.Cohort(
    client_ids=jnp.zeros((1,), jnp.int32),
    data=jax.tree.map(lambda x: x[None], batch),
    mask=jnp.ones((1,), bool),
    weights=jnp.ones((1,)),
  )


def last_rows(
  rows: Sequence[runner.Row], *, split: str = 'test'
) -> list[runner.Row]:
  """Rows of the last round, for claims and pictures.

  Args:
    rows: rows of a run.
    split: which.

  Returns:
    Those rows.
  """
  last = max(row['step'] for row in rows)
  return [r for r in rows if r['split'] == split and r['step'] == last]


def _evaluator(variant, network_task):
  """Compiles the evaluation of one variant's models on its own test sets."""

  def one(params, test, constants):
    task = network_task(variant, constants, training=False)
    return metrics_lib.evaluate(task, params, test)

  # One seed after the other: test sets are large.
  run = jax.jit(
    lambda params, test, constants: jax.lax.map(
      lambda args: one(*args), (params, test, constants)
    )
  )
  return lambda *args: jax.device_get(run(*args))


def _trimmed_mse(variant):
  """Compiles the mean squared error without the worst values of a test set."""

  def one(params, test, constants):
    network = variant.network(constants)

    def squared(batch):
      points = batch.get('points', variant.problem.points)
      args = (batch['inputs'],) if points is None else (batch['inputs'], points)
      options = {'aligned': 'points' not in batch} if len(args) == 2 else {}
      out = network.apply(params, *args, **options)
      return jnp.square(out - batch['targets'].reshape(out.shape))

    return jax.lax.map(squared, test)

  run = jax.jit(
    lambda params, test, constants: jax.lax.map(
      lambda args: one(*args), (params, test, constants)
    )
  )

  def measure(params, test, constants):
    errors = np.asarray(run(params, test, constants), np.float64)
    out = []
    for each, real in zip(errors, np.asarray(test['mask']), strict=True):
      kept = each[real].ravel()
      left = max(1, kept.size - math.ceil(variant.trim * kept.size))
      out.append(np.partition(kept, left - 1)[:left].mean())
    return np.array(out)

  return measure


def _train_batches(config, problem):
  n = len(problem.example()['inputs'])
  size = min(max(config.eval_batch_size, config.batch_size or n), n)
  cut = [
    problems.data_lib.eval_batches(
      jax.tree.map(lambda x, i=i: np.asarray(x[i]), problem.train), size
    )
    for i in range(len(problem.train['inputs']))
  ]
  return jax.tree.map(lambda *xs: jnp.asarray(np.stack(xs)), *cut)


def _labelled(values, columns, **label):
  found = supervised.metric_rows(values, **label)
  return [row | dict(columns) for row in found]


def _function_rows(variants, states, number, seed):
  """Sampled inputs, targets and predictions of the first seed, as rows."""
  out, seen = [], []
  first = lambda tree: jax.tree.map(lambda x: x[0], tree)

  def add(kind, variant, values, columns, *, channels):
    for sample, picture in enumerate(
      problems.pictured(values, channels=channels)
    ):
      for line, numbers in enumerate(picture):
        out.append(
          {
            'step': number,
            'split': 'function',
            'variant': variant,
            'seed': int(seed),
            'kind': kind,
            'sample': sample,
            'line': line,
            **{f'v_{j}': float(x) for j, x in enumerate(numbers)},
            **columns,
          }
        )

  for name, v in variants.items():
    samples = v.problem.samples
    if not samples:
      continue
    grid = len(samples['arguments']) == 1
    if not any(samples is other for other in seen):
      seen.append(samples)
      for kind in ('inputs', 'targets'):
        add(kind, name, samples[kind], v.columns, channels=grid)
    network = v.network(first(v.constants))
    options = {} if grid else {'aligned': True}
    predicted = jax.jit(functools.partial(network.apply, **options))(
      first(states[name].params), *map(jnp.asarray, samples['arguments'])
    )
    predicted = np.asarray(predicted).reshape(
      *samples['targets'].shape, *(() if grid else (-1,))
    )
    if not grid:
      predicted = predicted[..., 0]
    add('predictions', name, predicted, v.columns, channels=grid)
  return out
