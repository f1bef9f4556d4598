# SPDX-License-Identifier: Apache-2.0
r"""Learning with a server and many clients: algorithm x channel x data.

Trains one model per variant on the same clients, cohorts and seeds. A variant
is `algorithm[@channel(...)]`; what a channel does not say is said by
`--aggregator`, `--attack`, `--compressor`, `--privacy`, `--secure`. Rows tell
accuracy on the common test set and how it is spread over clients, megabytes
sent, and epsilon where updates are private.

Example: python -m experiments.federated_training \
  --variants='fedavg,scaffold,fedavg@channel(compressor=top_k(keep=0.1))' \
  --partition='label_dirichlet(alpha=0.1)' --sampling='uniform(num_sampled=10)'
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from jaxdl import (
  aggregators,
  attacks,
  compression,
  federated,
  local,
  plots,
  privacy as privacy_lib,
  problems,
)
from jaxdl.core import registry, types
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.federated import ranks, server

knob = runner.knob


def frl(
  make: Callable[..., ranks.Method],
  *,
  learning_rate: float = 0.4,
  keep: float = 0.5,
  mask_scores: str = 'raw',
  sparse: float = 1.0,
) -> ranks.Method:
  """Votes on rankings of the edges of a random network."""
  optimizer = local.make_optimizer(
    f'sgd({learning_rate}, momentum=0.9, weight_decay=1e-4)'
  )
  return make(
    optimizer=optimizer, keep=keep, mask_scores=mask_scores, sparse=sparse
  )


RANKED = registry.Registry('algorithm', {'frl': frl}, given=('make',))
VARIANTS = registry.Pair(federated.METHODS | {'frl': frl}, server.CHANNELS)


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
  num_epochs: int | None = knob(
    None, 'Passes of a client over its examples; 1 without num_steps.', low=1
  )
  num_steps: int | None = knob(None, 'Steps of a client at most.', low=1)
  stragglers: float = knob(
    0.0, 'Share of a cohort that does a part of its steps.', low=0.0, high=1.0
  )
  aggregator: str = knob(
    'mean', 'What the server makes of messages.', registry=aggregators.RULES
  )
  attack: str | None = knob(
    None, 'What adversaries send.', registry=attacks.ATTACKS
  )
  num_byzantine: int = knob(
    0,
    'Adversaries among all clients, the last by number; cohorts have as large '
    'a share of them.',
    low=0,
  )
  compressor: str | None = knob(
    None,
    'Makes messages small; ef+... sends later what it took.',
    registry=compression.MESSENGERS,
  )
  privacy: str | None = knob(
    None,
    'Clips and blurs updates; epsilon counts on chance for poisson sampling '
    'alone.',
    registry=privacy_lib.MECHANISMS,
  )
  delta: float = knob(
    1e-5,
    'Probability that epsilon does not bound.',
    low=0.0,
    high=1.0,
    open_low=True,
    open_high=True,
  )
  secure: str | None = knob(
    None, 'Sums under pairwise masks.', registry=privacy_lib.SECURE_SUMS
  )
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  def validate(self) -> None:
    """Builds work and channels of every variant."""
    super().validate()
    config_lib.check_different(self.variants, name='variants')
    if self.attack is not None and not self.num_byzantine:
      raise ValueError(
        f'attack={self.attack} needs num_byzantine >= 1 of num_clients='
        f'{self.num_clients}.'
      )
    kept = ('fedsgd', 'centralized')
    late = [v for v in self.variants if not v.startswith(kept)]
    part = local.OPTIMIZERS.part(self.optimizer, name='optimizer')
    if 'schedule' in part.options and late:
      raise ValueError(
        f'optimizer={self.optimizer}: that of a client starts afresh in '
        f'every round, so {late[0]} never sees its schedule move: leave it '
        'out, or schedule the server, server_optimizer=....'
      )
    self.work()

  def work(self) -> local.LocalWork:
    """What a client does between messages."""
    return local.LocalWork(
      local.make_optimizer(self.optimizer, num_steps=self.num_rounds),
      batch_size=self.batch_size,
      num_epochs=self.num_epochs,
      num_steps=self.num_steps,
      stragglers=self.stragglers,
    )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  problem = config.problem(num_byzantine=config.num_byzantine)
  rows, adversaries = problem.test['cohort_size'], problem.test['num_byzantine']
  clients = config.clients(even=False).replace(num_clients=problem.num_clients)
  algorithms, channels, learned, ranked = {}, {}, {}, {}
  for spec in config.variants:
    learned[spec] = problem
    if registry.parse(registry.pair(spec)[0]).name in RANKED:
      ranked[spec] = rank_method(config, spec, problem)
      learned[spec] = ranked[spec].problem
      algorithms[spec] = ranked[spec].algorithm
      continue
    with config_lib.naming(variants=spec):
      method, channel = server.make_variant(
        spec,
        problem.task,
        config.work(),
        aggregator=config.aggregator,
        attack=config.attack,
        num_byzantine=adversaries,
        compressor=config.compressor,
        privacy=config.privacy,
        secure=config.secure,
        num_expected=problem.test['num_expected'],
      )
      algorithms[spec] = federated.federate(
        method, clients, channel, cohort_size=rows
      )
    channels[spec] = channel
  spent = {
    spec: _epsilons(config, channel, problem)
    for spec, channel in channels.items()
  }

  def measure(values, moment):
    name = moment.variant.name
    if name in ranked:
      bits = ranked[name].upload_bits * rows * moment.round
      values['test']['megabytes'] = np.full(len(config.seeds), bits / 8e6)
      return values
    values['test']['megabytes'] = np.asarray(moment.state.megabytes)[:, 0]
    if spent[name] is not None:
      at = spent[name][moment.round]
      values['test']['epsilon'] = np.full(len(config.seeds), at)
    return values

  return compare(
    config,
    learned,
    algorithms,
    measure=measure,
    table=table,
    plots=(functools.partial(draw, config),),
  )


def rank_method(
  config: Config, spec: str, problem: types.Problem
) -> ranks.Method:
  """Builds the variant whose clients send rankings.

  Args:
    config: knobs.
    spec: a part of `RANKED`.
    problem: of the others; it says the network and the rows of a cohort.

  Returns:
    The method, which learns masks of the same network, without biases.

  Raises:
    ValueError: if it is on a channel, which rankings do not take.
  """
  first, channel = registry.pair(spec, name='variants')
  if channel is not None or config.num_byzantine or config.num_steps:
    raise ValueError(
      f'variants={spec}: rankings take no channel, no num_byzantine and no '
      'num_steps here: see the binary frl for attacks on them.'
    )
  make = functools.partial(
    ranks.METHODS['frl'],
    problem.network,
    lambda network: config.problem(network=network),
    config.clients(problem.test['cohort_size']),
    rule=None,
    batch_size=config.batch_size,
    num_epochs=config.num_epochs or 1,
    attack='none',
    num_malicious=0,
    num_advisors=0,
  )
  return RANKED.make(first, make)


COLUMNS = (
  *('step', 'split', 'seed', 'variant', 'accuracy', 'loss', 'client_accuracy'),
  *('worst_tenth_accuracy', 'p10_accuracy', 'megabytes', 'epsilon'),
)


def table(rows):
  """The last rows of every variant, without most of the spread."""
  short = [{k: v for k, v in row.items() if k in COLUMNS} for row in rows]
  return runner.table_by()(short)


def _epsilons(config, channel, problem):
  """Epsilon after each round, or None where nothing is private."""
  if channel.privacy is None:
    return None
  expected = problem.test['num_expected']
  mechanism = privacy_lib.make_mechanism(channel.privacy, num_expected=expected)
  # Only Poisson cohorts hide who took part.
  poisson = local.SAMPLERS.part(config.sampling).name == 'poisson'
  rate = 1.0
  if mechanism.is_central and poisson:
    rate = min(expected / problem.num_clients, 1.0)
  return privacy_lib.epsilon_curve(
    range(config.num_rounds + 1),
    noise_multiplier=mechanism.noise_multiplier,
    rate=rate,
    delta=config.delta,
  )


def draw(config: Config, rows, directory):
  """Draws accuracy over rounds, megabytes and epsilon, and its spread.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = (
    f'{config.dataset}: {config.num_clients} clients, {config.partition}, '
    f'{config.sampling}'
  )
  line = functools.partial(plots.lines, rows, title=title)
  paths = [
    line(
      directory / 'accuracy.png',
      'accuracy',
      ylabel='Test accuracy',
      ylim=(0.0, 1.0),
    ),
    line(
      directory / 'worst_tenth.png',
      'worst_tenth_accuracy',
      ylabel='Accuracy of the worst tenth of the clients',
      ylim=(0.0, 1.0),
    ),
    line(
      directory / 'accuracy_by_megabytes.png',
      'accuracy',
      x='megabytes',
      xlabel='Megabytes sent up',
      ylabel='Test accuracy',
      ylim=(0.0, 1.0),
    ),
  ]
  spent = [r for r in rows if 0 < r.get('epsilon', 0) < np.inf]
  if spent:
    paths.append(
      plots.lines(
        spent,
        directory / 'accuracy_by_epsilon.png',
        'accuracy',
        title=title,
        x='epsilon',
        xlabel=f'Epsilon (delta = {config.delta:g})',
        log_x=True,
        ylabel='Test accuracy',
        ylim=(0.0, 1.0),
      )
    )
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
