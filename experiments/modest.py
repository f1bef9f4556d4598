# SPDX-License-Identifier: Apache-2.0
r"""Decentralized sampling (MoDeST) against a server and against gossip.

Simulates nodes with delays, speeds and failures, event by event. Methods, all
on one clock: `modest` (a sample per round trains, a few of the next one
average, found by hashing and pings), `fl` (the same samples with a server),
`dsgd` (everybody trains and mixes with neighbors), `gossip` (models walk at
random) and `local`. Shows accuracy over time and over traffic, how long rounds
take and what each node sends.

Example: python -m experiments.modest --churn='crash(fraction=0.8, at=100)' \
  --methods='modest(activity_window=60),fl,dsgd(topology=ring)'
"""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from jaxdl import data, experiment, local, plots, problems
from jaxdl.core import types
from jaxdl.decentralized import sampling
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.ClassificationConfig):
  """Knobs of decentralized sampling."""

  num_rounds: int = knob(400, 'Rounds of every method.', low=0)
  num_clients: int = knob(64, 'Nodes.', low=1, smoke=12)
  methods: tuple[str, ...] = knob(
    ('modest', 'fl', 'dsgd'),
    'Methods to compare.',
    registry=sampling.METHODS,
    smoke=lambda methods: tuple(map(sampling.small_method, methods)),
  )
  partition: str = knob(
    'overlapping_dirichlet(alpha=0.3, samples_per_client=64)',
    'How training examples are dealt.',
    registry=data.PARTITIONERS,
  )
  batch_size: int = knob(20, 'Examples per local step.', low=1)
  work: str = knob('steps(5)', 'Of a node in a round.', registry=sampling.WORK)
  optimizer: str = knob('sgd(0.1)', 'Of a node.', registry=local.OPTIMIZERS)
  world: str = knob(
    'drawn', 'Delays, speeds and links.', registry=sampling.WORLDS
  )
  churn: str = knob(
    'none',
    'Who comes and goes.',
    registry=sampling.CHURNS,
    smoke=sampling.small_churn,
  )
  target_accuracy: float = knob(
    0.9, 'Accuracy whose time and traffic the table shows.', low=0.0, high=1.0
  )
  eval_nodes: int = knob(
    16,
    'Nodes whose own models dsgd, gossip and local evaluate.',
    low=1,
    needs={'methods': ('dsgd', 'gossip', 'local')},
    smoke=2,
  )
  chunk: int = knob(
    0, 'Nodes trained together on a device; 0 follows the default rule.', low=0
  )

  def validate(self) -> None:
    """Checks the protocol, the churn and the topology."""
    super().validate()
    config_lib.check_square(self.num_clients)
    config_lib.check_different(self.methods, name='methods')
    for method in self.methods:
      with config_lib.naming(methods=method, num_clients=self.num_clients):
        sampling.check_method(method, self.num_clients)
    sampling.WORK.make(self.work)
    with config_lib.naming(churn=self.churn, num_clients=self.num_clients):
      self.scene(self.seeds[0])

  def scene(self, seed: int) -> sampling.Scene:
    """Draws what all methods share for a seed."""
    return sampling.make_scene(self.world, self.churn, self.num_clients, seed)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  n = config.num_clients
  dealt = config.problem(in_memory=True)
  held = {**dealt.data[0], 'mask': dealt.data[1]}

  def cohort(key, own, round):
    del key, round
    return types.Cohort(
      client_ids=np.arange(n, dtype=np.int32),
      data=own['held'],
      mask=np.ones(n, bool),
      weights=np.full(n, 1.0 / n, np.float32),
    )

  problem = dealt.replace(
    data={'held': held, 'seed': jnp.asarray(config.seeds)},
    cohort=cohort,
    evaluate_clients=sampling.evaluate_watched(dealt.evaluate),
    reliability=sampling.reliability_watched(dealt.reliability),
  )
  # One object for all methods and seeds, so that programs are shared.
  optimizer = local.make_optimizer(
    config.optimizer, num_steps=config.num_rounds
  )

  def maker(method):
    def make(own):
      algorithm = sampling.METHODS.make(
        method,
        dealt.task,
        config.scene(int(own['seed'])),
        config.clients(),
        optimizer=optimizer,
        batch_size=config.batch_size,
        work=sampling.WORK.make(config.work),
      )
      if not algorithm.per_client:
        return algorithm
      return sampling.watched(algorithm, config.eval_nodes)

    return make

  def measure(values, moment):
    zero = np.zeros(len(config.seeds))
    none = dict.fromkeys(('time_s', 'transfers', 'megabytes'), zero)
    values['test'] |= values.pop('train', none)

  def traffic(moments):
    return [
      {'step': m.round, 'variant': m.variant.name, 'seed': seed, **row}
      for m in moments
      if m.last
      for seed, state in zip(config.seeds, m.state, strict=True)
      for row in sampling.traffic_rows(state, n)
    ]

  return compare(
    config,
    problem,
    {method: maker(method) for method in config.methods},
    measure=measure,
    extra_rows=traffic,
    plots=(functools.partial(draw, config),),
    table=functools.partial(table, config),
  )


def table(config: Config, rows):
  """Compares the methods at the target accuracy and at the end.

  Args:
    config: knobs.
    rows: rows of a run.

  Returns:
    Columns and cells; means over the seeds, of those that get there.
  """
  columns = [
    'method',
    'final accuracy',
    f'rounds to {config.target_accuracy:g}',
  ]
  columns += ['transfers', 'megabytes', 'time (s)', 'total megabytes']
  mean = lambda group, name: f'{np.mean([r[name] for r in group]):.4g}'
  names = ('step', 'transfers', 'megabytes', 'time_s')
  cells = []
  for method in config.methods:
    last = [
      r
      for r in rows
      if (r['split'], r['variant']) == ('test', method)
      and r['step'] == config.num_rounds
    ]
    found = experiment.reached(
      rows, 'accuracy', config.target_accuracy, variant=method
    )
    if last:
      reached = (mean(found, name) if found else '-' for name in names)
      ended = mean(last, 'accuracy'), mean(last, 'megabytes')
      cells.append((method, ended[0], *reached, ended[1]))
  return columns, cells


def draw(config: Config, rows, directory):
  """Draws accuracy over time and traffic, durations and loads.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.dataset}: {config.num_clients} nodes'
  if config.churn != 'none':
    title += f', {config.churn}'
  accuracy = {'ylabel': 'Test accuracy', 'ylim': (0.0, 1.0)}
  goal = accuracy | {'reference': {'target': config.target_accuracy}}
  time = {'x': 'time_s', 'xlabel': 'Simulated time (s)', 'log_x': True} | goal
  sent = {'x': 'megabytes', 'xlabel': 'Sent by all nodes (MB)'} | goal
  loads = {'split': 'traffic', 'x': 'percentile'}
  loads |= {
    'xlabel': 'Percentile of the nodes',
    'ylabel': 'Sent by a node (MB)',
  }
  lasts = {'ylabel': 'Duration of a round (s)', 'log_y': True}
  return [
    plots.lines(found, directory / f'{name}.png', metric, title=title, **look)
    for found, name, metric, look in (
      (rows, 'accuracy', 'accuracy', accuracy),
      (plots.aligned(rows, 'time_s'), 'accuracy_over_time', 'accuracy', time),
      (
        plots.aligned(rows, 'megabytes'),
        'accuracy_over_traffic',
        'accuracy',
        sent,
      ),
      (rows, 'traffic_per_node', 'sent_megabytes', loads),
      (plots.paces(rows, 'time_s'), 'round_duration', 'pace', lasts),
    )
    if found
  ]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
