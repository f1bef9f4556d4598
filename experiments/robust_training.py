# SPDX-License-Identifier: Apache-2.0
r"""Distributed training with adversarial workers: which server rule holds?

Trains one model per rule on the same workers, some of them adversarial, and
shows accuracy over rounds and who was listened to. Rules are written as chains:
`krum`, `nnm+trimmed_mean`, `bucketing(bucket_size=3)+arc+nnm+krum`; `oracle`
averages the honest workers only.

Example: python -m experiments.robust_training \
  --attack='alie(scale=1.5)' --rules='mean,median,nnm+trimmed_mean' \
  --partition='label_dirichlet(alpha=1.0)'
"""

import dataclasses
import functools

from jaxdl import aggregators, federated, local, parallel, plots, problems
from jaxdl.experiment import compare, runner

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.ClassificationConfig, problems.RobustConfig):
  """Knobs of robust training."""

  unused = ()

  num_rounds: int = knob(300, 'Rounds.', low=0, smoke=3)
  num_clients: int = knob(15, 'Simulated workers.', low=1)
  rules: tuple[str, ...] = knob(
    (
      'oracle',
      'mean',
      'median',
      'trimmed_mean',
      'multi_krum',
      'flag(scale=num_components)',
      'nnm+trimmed_mean',
    ),
    "Rules to compare; 'oracle' averages the honest workers.",
    registry=problems.RULES,
    smoke=lambda rules: (*rules[:2], *rules[2:][-1:]),
  )
  worker_momentum: float = knob(
    0.0, 'Worker momentum.', low=0.0, high=1.0, open_high=True
  )
  clip_norm: float | None = knob(
    None, 'Longest gradient of a worker.', low=0.0, open_low=True
  )
  optimizer: str = knob(
    'sgd(0.05, momentum=0.9, weight_decay=0.0005, schedule=steps)',
    "The server's.",
    registry=local.OPTIMIZERS,
  )
  chunk: int = knob(
    0, 'Workers run together on a device; 0 follows the default rule.', low=0
  )
  layout: str = knob(
    'auto',
    'What devices hold of the updates that a rule reads: clients, parameters, '
    'or parameters where several devices train the same clients (mixed); auto '
    'takes what should be fastest.',
    choices=('auto', *parallel.LAYOUTS),
    needs={'reduction': ('psum',)},
  )

  def ineffective(self) -> dict[str, str]:
    """Rules that read whole rows have one layout."""
    read = [
      r != 'oracle' and aggregators.reads(r) == 'rows' for r in self.rules
    ]
    if not all(read):
      return super().ineffective()
    return super().ineffective() | {
      'layout': 'all of --rules have memory or read whole rows'
    }


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  problem = config.problem()
  algorithms = {}
  for spec in config.rules:
    rule = config.make_rule(spec)
    server, clients = config.lay_out(spec, rule, problem.task)
    algorithms[spec] = federated.robust_sgd(
      problem.task,
      server,
      clients,
      optimizer=local.make_optimizer(
        config.optimizer, num_steps=config.num_rounds
      ),
      attack=config.make_attack(rule, num_classes=problem.num_classes),
      num_byzantine=config.num_byzantine,
      worker_momentum=config.worker_momentum,
      clip_norm=config.clip_norm,
    )
  return compare(
    config, problem, algorithms, plots=(functools.partial(draw, config),)
  )


def draw(config: Config, rows, directory):
  """Draws accuracy over rounds and the weights that workers received.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = (
    f'{config.dataset}: {config.num_byzantine} of {config.num_clients} workers '
    f'adversarial ({config.attack})'
  )
  honest = config.num_clients - config.num_byzantine
  return [
    plots.lines(
      rows,
      directory / 'accuracy.png',
      'accuracy',
      ylabel='Test accuracy',
      title=title,
      ylim=(0.0, 1.0),
    ),
    plots.lines(
      rows,
      directory / 'aggregation_error.png',
      'error',
      split='train',
      ylabel='Squared error / honest variance',
      title=title,
      log_y=True,
      floor=plots.rounding(2),
    ),
    plots.weights_heat_map(
      rows,
      directory / 'weights.png',
      byzantine=range(honest, config.num_clients),
      title=title,
      label='Weight in the update',
    ),
  ]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
