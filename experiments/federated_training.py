# SPDX-License-Identifier: Apache-2.0
r"""Learning with a server and many clients: algorithm x channel x data.

Variants, `algorithm[@channel(...)]`, train on the same clients, cohorts and
seeds; what one does not say, `--channel` does. Public inputs are set aside if
one sends predictions (`fedmd`, `feddf`). Rows tell accuracy, calibration,
spread over clients, megabytes sent, virtual time and epsilon.

Example: python -m experiments.federated_training \
  --variants='fedavg,scaffold,fedavg@channel(compressor=top_k(keep=0.1))' \
  --partition='label_dirichlet(alpha=0.1)' --sampling='uniform(num_sampled=10)'
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from jaxdl import federated, local, plots, problems
from jaxdl.core import registry, types
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.federated import asynchronous, distilled, ranks, server

knob = runner.knob

ALGORITHMS = registry.Registry(
  'algorithm',
  {**federated.METHODS, **distilled.DISTILLED, **ranks.RANKED},
  given=('task', 'work', 'public', 'make'),
)
VARIANTS = registry.Pair(ALGORITHMS, server.CHANNELS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.FederatedConfig):
  """Knobs of federated training."""

  num_rounds: int = knob(100, 'Rounds.', low=0, smoke=3)
  eval_every: int = knob(5, 'Rounds between evaluations.', low=1)
  variants: tuple[str, ...] = knob(
    ('fedavg', 'fedprox(mu=0.1)', 'scaffold', 'fedopt(learning_rate=0.01)'),
    'What to compare, algorithm[@channel(...)]; frl has rankings for messages '
    'and takes no channel.',
    registry=VARIANTS,
    smoke=2,
  )
  optimizer: str = knob('sgd(0.1)', "The clients'.", registry=local.OPTIMIZERS)
  work: str = knob(
    'work',
    'How much a client does: passes or steps, share of stragglers.',
    registry=local.WORKS,
  )
  times: str = knob(
    'F-0',
    "How long clients take for all of their work, who do less take less: 'F-0' "
    "for 1 each, 'F-80' for 1 down to 0.2; a round lasts as its slowest.",
    registry=asynchronous.TIMES,
  )
  channel: str = knob(
    'channel',
    'How messages travel, where a variant does not say it.',
    registry=server.CHANNELS,
    needs={'variants': tuple(federated.METHODS)},
  )
  num_byzantine: int = knob(
    0,
    'Adversaries among all clients, the last by number; cohorts have as large '
    'a share of them.',
    low=0,
    needs={'variants|channel': ('*attack*', '*aggregator*')},
  )
  delta: float = knob(
    1e-5,
    'Probability that epsilon does not bound.',
    low=0.0,
    high=1.0,
    open_low=True,
    open_high=True,
    needs={'variants|channel': ('*privacy*',)},
  )
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  def validate(self) -> None:
    """Builds work and channels of every variant."""
    super().validate()
    config_lib.check_different(self.variants, name='variants')
    if self.num_byzantine and any(v.startswith('frl') for v in self.variants):
      raise ValueError(
        f'num_byzantine={self.num_byzantine}: frl takes no adversaries here, '
        'see the binary frl.'
      )
    federated.check_optimizer(self.optimizer, self.variants)
    self.make_work()
    self.timing()
    for spec in self.variants:
      options = self.channel_of(spec)
      federated.check_adversaries(
        options, self.num_byzantine, self.num_clients, spec=spec
      )
      federated.check_private(options.get('privacy'), self.sampling)

  def channel_of(self, spec: str) -> dict[str, Any]:
    """Options of the channel of a variant, those of `channel` among them."""
    own = registry.pair(spec)[1] or 'channel'
    part = server.CHANNELS.part
    return part(self.channel).options | part(own).options

  def make_work(self) -> local.LocalWork:
    """What a client does between messages."""
    return local.WORKS.make(
      self.work,
      local.make_optimizer(self.optimizer, num_steps=self.num_rounds),
      self.batch_size,
    )

  def timing(self) -> asynchronous.Timing:
    """How long clients take."""
    with config_lib.naming(times=self.times):
      return asynchronous.make_times(
        self.times, self.num_clients, seed=self.seeds[0]
      )

  def timed(self, algorithm: types.Algorithm) -> types.Algorithm:
    """The algorithm on the clock of the clients."""
    with config_lib.naming(times=self.times):
      return asynchronous.timed(algorithm, self.timing(), self.num_clients)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing."""
  public = {'num_public': distilled.num_public(config.variants)}
  problem = config.problem(num_byzantine=config.num_byzantine, **public)
  rows, adversaries = problem.test['cohort_size'], problem.test['num_byzantine']
  clients = config.clients(even=False).replace(num_clients=problem.num_clients)
  expected = problem.test['num_expected']
  algorithms, spent, learned, ranked = {}, {}, {}, {}
  for spec in config.variants:
    learned[spec] = problem
    if registry.parse(registry.pair(spec)[0]).name in ranks.RANKED:
      ranked[spec] = ranks.make_ranked(
        spec,
        problem.network,
        lambda network: config.problem(network=network, **public),
        config.clients(rows),
        config.make_work(),
      )
      learned[spec] = ranked[spec].problem
      algorithms[spec] = config.timed(ranked[spec].algorithm)
      continue
    shared = None if '@' in spec else config.channel
    with config_lib.naming(variants=spec, channel=shared):
      method, channel = distilled.make_variant(
        spec,
        problem.task,
        config.make_work(),
        problem.test['public'],
        num_rounds=config.num_rounds,
        num_byzantine=adversaries,
        num_expected=expected,
        num_classes=problem.num_classes,
        **config.channel_of(spec),
      )
      options = {'cohort_size': rows, 'shares': True}
      made = federated.federate(method, clients, channel, **options)
    algorithms[spec] = config.timed(made)
    spent[spec] = server.spent(
      method,
      channel,
      config.num_rounds,
      sampling=config.sampling,
      num_clients=problem.num_clients,
      num_expected=expected,
      delta=config.delta,
    )

  def measure(values, moment):
    name, run = moment.variant.name, moment.state.run
    values['test']['time'] = np.asarray(moment.state.time)
    if 'sparsity' in values.get('train', {}):
      values['test']['sparsity'] = values['train'].pop('sparsity')
    values['test']['megabytes'] = (
      ranked[name].upload_bits * np.asarray(run.num_votes) / 8e6
      if name in ranked
      else np.asarray(run.megabytes)[:, 0]
    )
    if spent.get(name) is not None:
      at = np.full(len(config.seeds), spent[name][moment.round])
      values['test']['epsilon'] = at
    return values

  return compare(
    config,
    learned,
    algorithms,
    measure=measure,
    table=table,
    plots=(functools.partial(draw, config),),
  )


COLUMNS = (
  *('step', 'split', 'seed', 'variant', 'accuracy', 'loss', 'ece', 'epsilon'),
  *('client_accuracy', 'worst_tenth_accuracy', 'p10_accuracy', 'megabytes'),
  *('time', 'sparsity'),
)


def table(rows):
  """The last rows of every variant, without most of the spread."""
  return runner.table_by()([{k: r[k] for k in COLUMNS if k in r} for r in rows])


def draw(config: Config, rows, directory):
  """Draws accuracy over rounds, megabytes, time and epsilon, and its spread."""
  title = (
    f'{config.dataset}: {config.num_clients} clients, {config.partition}, '
    f'{config.sampling}'
  )
  accuracy = {'ylabel': 'Test accuracy', 'ylim': (0.0, 1.0)}
  line = functools.partial(plots.lines, title=title, **accuracy)
  worst = {'ylabel': 'Accuracy of the worst tenth of the clients'}
  paths = [
    line(rows, directory / 'accuracy.png', 'accuracy'),
    line(rows, directory / 'worst_tenth.png', 'worst_tenth_accuracy', **worst),
  ]
  spent = [r for r in rows if 0 < r.get('epsilon', 0) < np.inf]
  for found, x, xlabel in (
    (rows, 'megabytes', 'Megabytes sent up'),
    (rows, 'time', f'Virtual time, clients take {config.times}'),
    (spent, 'epsilon', f'Epsilon (delta = {config.delta:g})'),
  ):
    if found:
      path = directory / f'accuracy_by_{x}.png'
      look = {'x': x, 'xlabel': xlabel, 'log_x': x == 'epsilon'}
      paths.append(line(found, path, 'accuracy', **look))
  if any('sparsity' in r for r in rows):
    look = {'title': title, 'ylabel': 'Share of neurons that are out'}
    path = directory / 'sparsity.png'
    paths.append(plots.lines(rows, path, 'sparsity', **look))
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
