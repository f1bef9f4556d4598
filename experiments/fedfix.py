# SPDX-License-Identifier: Apache-2.0
r"""Servers that do not wait for everybody: which scheme, on a virtual clock?

Clients take different times for their work. `fedavg` waits for all of them,
`async` takes every message as it comes, `fedfix` aggregates at a fixed period,
`fedbuff` when a buffer is full, `fedasync` mixes models in by their age; any
federated method that adds changes up runs on each of these schedules. A round
of the run is a window of virtual time, so that all schemes are compared at the
same moments. Shows loss over time and over jobs, and which shares the clients
really have.

Example: python -m experiments.fedfix --times='lognormal(sigma=1.0)' \
  --schemes='fedavg,fedfix(0.5),async,async(weights=identical)'
"""

import dataclasses
import functools

import numpy as np

from jaxdl import data, local, plots, problems
from jaxdl.core import registry, types
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.federated import asynchronous, server

knob = runner.knob


def classification() -> None:
  """A data set, dealt to the clients."""


TASKS = registry.Registry(
  'task',
  {'classification': classification, 'parabolas': problems.parabolas},
  given=('num_clients', 'seeds'),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.ClassificationConfig):
  """Knobs of schedules; a round is a window of virtual time."""

  num_rounds: int = knob(200, 'Windows that the horizon is cut into.', low=1)
  eval_every: int = knob(1, 'Windows between evaluations.', low=1)
  num_clients: int = knob(10, 'Clients.', low=1)
  schemes: tuple[str, ...] = knob(
    (
      'fedavg',
      'fedfix(0.5)',
      'fedfix(0.2)',
      'fedbuff(5)',
      'async',
      'async(weights=identical)',
    ),
    'When the server aggregates, to compare.',
    registry=asynchronous.SCHEMES,
    smoke=6,
  )
  method: str = knob(
    'fedavg', 'What is run on the schedules.', registry=server.METHODS
  )
  times: str = knob(
    'F-80',
    "How long clients take for their work: 'F-80' for 1 down to 0.2; drawn "
    'ones by the first seed.',
    registry=asynchronous.TIMES,
  )
  horizon: float = knob(
    200.0, 'Virtual time of the run.', low=0.0, open_low=True, smoke=4.0
  )
  task: str = knob('classification', 'What is learned.', registry=TASKS)
  dataset: str = knob(
    'digits(pixels=unit)',
    'Data set; those of files need --data_dir.',
    registry=data.DATASETS,
  )
  partition: str = knob(
    'classes(1, assignment=cyclic)',
    'How training examples are dealt; by default client i has class i.',
    registry=data.PARTITIONERS,
  )
  network: str = knob('logistic_regression', 'Network.')
  optimizer: str = knob('sgd(0.1)', "The clients'; begins afresh in every job.")
  num_steps: int = knob(5, 'Local steps of a job.', low=1)
  batch_size: int = knob(32, 'Examples per local step.', low=1)
  channel: str = knob(
    'channel', 'How messages travel.', registry=server.CHANNELS
  )
  num_byzantine: int = knob(
    0, 'Adversaries: the clients of highest numbers.', low=0
  )
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  @property
  def is_known(self) -> bool:
    """Whether there is no data set."""
    return TASKS.part(self.task).name != 'classification'

  @property
  def num_dealt(self) -> int:
    """Parabolas are not dealt."""
    return 0 if self.is_known else self.num_clients

  def ineffective(self) -> dict[str, str]:
    """Parabolas have no data set."""
    if not self.is_known:
      return {}
    names = config_lib.own_names(problems.ClassificationConfig)
    names.remove('num_clients')
    return dict.fromkeys(names, 'it is for task=classification')

  def validate(self) -> None:
    """Makes every schedule."""
    super().validate()
    config_lib.check_different(self.schemes, name='schemes')
    for scheme in self.schemes:
      self.schedule(scheme)

  def schedule(self, scheme: str) -> asynchronous.Schedule:
    """Who arrives when."""
    with config_lib.naming(schemes=scheme, times=self.times):
      return _schedule(
        scheme, self.times, self.horizon, self.num_clients, self.seeds[0]
      )

  def problem(self, **changes) -> types.Problem:
    """Builds the problem; its cohorts hold all that clients have."""
    if self.is_known:
      options = {'num_clients': self.num_clients, 'seeds': self.seeds}
      return TASKS.make(self.task, **options)
    return problems.everybody(super().problem(in_memory=True, **changes))


@functools.lru_cache(maxsize=64)
def _schedule(scheme, times, horizon, num_clients, seed):
  return asynchronous.make_schedule(
    scheme, times, horizon=horizon, num_clients=num_clients, seed=seed
  )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing."""
  problem = config.problem()
  work = local.LocalWork(
    local.make_optimizer(config.optimizer, num_steps=config.num_steps),
    batch_size=None if config.is_known else config.batch_size,
    num_steps=config.num_steps,
  )
  channel = server.Channel(
    **server.CHANNELS.part(config.channel).options,
    num_byzantine=config.num_byzantine,
  )
  algorithms, ends, schedules = {}, {}, {}
  for scheme in config.schemes:
    schedule = schedules[scheme] = config.schedule(scheme)
    ends[scheme] = asynchronous.window_ends(schedule, config.num_rounds)
    with config_lib.naming(
      schemes=scheme,
      method=config.method,
      channel=config.channel,
      num_byzantine=config.num_byzantine or None,
    ):
      algorithm = asynchronous.asynchronous(
        server.make_method(config.method, problem.task, work),
        config.clients(),
        schedule,
        channel,
      )
    algorithms[scheme] = asynchronous.in_windows(
      algorithm, schedule, config.num_rounds
    )

  def measure(values, moment):
    name, done = moment.variant.name, moment.round
    each = functools.partial(np.full, len(config.seeds))
    schedule = config.schedule(name)
    past = ends[name][done - 1] if done else 0
    values['test'] |= {
      'time': each(config.horizon * done / config.num_rounds),
      'jobs': each(float(schedule.jobs_by(past))),
      'aggregations': each(float(past)),
    }
    train = values.get('train')
    if train is not None and not train['aggregations'].any():
      del values['train']

  def shares(moments):
    last = moments[0].last
    return asynchronous.share_rows(schedules, moments[0].round) if last else []

  return compare(
    config,
    problem,
    algorithms,
    measure=measure,
    extra_rows=shares,
    plots=(functools.partial(draw, config, problem.test),),
    table=lambda rows: table(config, rows),
  )


def table(config: Config, rows):
  """Compares the schemes at the end of the run."""
  schedules = {scheme: config.schedule(scheme) for scheme in config.schemes}
  return asynchronous.scheme_table(rows, schedules, _metric(config, rows))


def _metric(config, rows):
  """What to look at; of models of the clients there is less to say."""
  names = ('x', 'error') if config.is_known else ('train_loss', 'loss')
  return names[0] if any(names[0] in r for r in rows) else names[1]


def draw(config: Config, best, rows, directory):
  """Draws loss over virtual time and jobs, and the shares of the clients."""
  what = config.task if config.is_known else config.dataset
  title = f'{what}: {config.num_clients} clients, times {config.times}'
  if config.num_byzantine:
    title += f', {config.num_byzantine} adversarial'
  name = _metric(config, rows)
  look = {'title': title, 'log_y': name != 'x'}
  if name == 'x':
    look |= {'ylabel': 'x', 'reference': {'optimum': best}}
  line = functools.partial(plots.lines, rows)
  time = {'x': 'time', 'xlabel': 'Virtual time'}
  jobs = {'x': 'jobs', 'xlabel': 'Jobs of clients whose messages were used'}
  paths = [
    line(directory / f'{name}.png', name, **time, **look),
    line(directory / f'{name}_over_jobs.png', name, **jobs, **look),
  ]
  look = {'title': title, 'ylim': (0.0, None)}
  if not config.is_known:
    look |= {'ylabel': 'Test accuracy'}
    paths.append(line(directory / 'accuracy.png', 'accuracy', **time, **look))
  if any(r['split'] == 'clients' for r in rows):
    look |= {'split': 'clients', 'x': 'client', 'xlabel': 'Client'}
    look |= {'ylabel': 'Share in the loss that is minimized'}
    paths.append(line(directory / 'shares.png', 'share', **look))
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
