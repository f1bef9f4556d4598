# SPDX-License-Identifier: Apache-2.0
r"""Robust learning between all pairs of nodes: MoNNA and its rivals.

Every correct node trains its own model on its own data and averages what the
others send; adversaries speak in parameter space. Methods: `monna` (momentum
and nearest-neighbor averaging), `nna` (without momentum), `mocwtm`/`bridge`
(trimmed mean with and without), `mogm`/`gm` (geometric median), `scc`
(self-centered clipping), `learn` (gradients exchanged as well), `mean`, and
`dsgd`, the upper line: exact averaging without adversaries.

Example: python -m experiments.monna \
  --attack=optimized_alie --methods='monna,monna(momentum=0.9),nna'
"""

import dataclasses
import functools

from jaxdl import attacks, data, local, networks, plots, problems
from jaxdl.decentralized import robust
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.ClassificationConfig, problems.RobustConfig):
  """Knobs of all-to-all learning."""

  unused = ()

  num_rounds: int = knob(300, 'Steps.', low=0)
  eval_every: int = knob(25, 'Rounds between evaluations.', low=1)
  num_clients: int = knob(16, 'Nodes, adversaries included.', low=1)
  methods: tuple[str, ...] = knob(
    ('dsgd', 'monna', 'nna', 'mocwtm', 'bridge', 'scc'),
    'Methods to compare.',
    registry=robust.METHODS,
    smoke=2,
  )
  attack: str = knob(
    'optimized_ipm(search=grid)',
    'What adversaries send; with none they are honest, and rules that are told '
    'of them pay for it.',
    registry=attacks.ATTACKS,
    needs={'num_byzantine': True},
  )
  asynchronous: bool = knob(
    True, 'Whether nodes wait for n - f vectors only (the worst case).'
  )
  partition: str = knob(
    'overlapping_dirichlet(alpha=1.0, samples_per_client=100)',
    'How training examples are dealt.',
    registry=data.PARTITIONERS,
  )
  network: str = knob(
    'logistic_regression', 'Network.', registry=networks.NETWORKS
  )
  batch_size: int = knob(5, 'Examples per node and step.', low=1)
  l2: float = knob(1e-4, 'Penalty l2 |theta|^2 in the loss.', low=0.0)
  learning_rate: str = knob(
    'stepped_inverse(0.75, decay=50, every=50)',
    'Step size.',
    registry=local.SCHEDULES,
  )
  mixing_rounds: int = knob(1, 'Exchanges per step.', low=1)
  chunk: int = knob(
    0, 'Nodes run together on a device; 0 follows the default rule.', low=0
  )

  @property
  def num_held(self) -> int:
    """Vectors that a node waits for."""
    return self.num_clients - (self.told if self.asynchronous else 0)

  @property
  def num_dealt(self) -> int:
    """Adversaries hold no data."""
    return self.num_clients - self.num_byzantine

  def validate(self) -> None:
    """Checks n against f and that the attack can be built."""
    super().validate()
    config_lib.check_different(self.methods, name='methods')
    n, f = self.num_clients, self.told
    if 2 * f >= self.num_held:
      name = 'num' if self.declared_byzantine < 0 else 'declared'
      rest = ', or pass --noasynchronous' if self.asynchronous else ''
      raise ValueError(
        f'{name}_byzantine={f} is too many: a node waits for {self.num_held} '
        f'vectors of num_clients={n}, and 2 * {f} < {self.num_held} is needed. '
        f'Lower it, add clients{rest}.'
      )
    if self.num_byzantine >= self.num_held:
      raise ValueError(
        f'num_byzantine={self.num_byzantine} messages do not fit into '
        f'{self.num_held} received vectors.'
      )
    self.make_attack(
      damage=lambda models, sent: 0.0, num_classes=2, rehearse=False
    )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment; all methods simulate the same n - F correct nodes.
  """
  correct = config.num_dealt
  problem = config.problem(
    num_clients=correct, client_metrics=('worst', 'first')
  )
  attack = functools.partial(
    config.make_attack, num_classes=problem.num_classes
  )
  algorithms = {
    method: robust.METHODS.make(
      method,
      problem.task,
      config.clients(config.num_clients),
      num_byzantine=config.num_byzantine,
      told=config.told,
      num_held=config.num_held,
      attack=lambda damage: attack(damage=damage),
      learning_rate=local.make_schedule(
        config.learning_rate, num_steps=config.num_rounds
      ),
      num_mixing_rounds=config.mixing_rounds,
    )
    for method in config.methods
  }
  return compare(
    config, problem, algorithms, plots=(functools.partial(draw, config),)
  )


def draw(config: Config, rows, directory):
  """Draws accuracy and drift over rounds.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = (
    f'{config.dataset}: {config.num_byzantine} of {config.num_clients} nodes '
    f'adversarial ({config.attack.partition("(")[0]})'
  )
  drawn = [
    plots.lines(
      rows,
      directory / 'accuracy.png',
      'accuracy',
      ylabel='Test accuracy (mean of correct nodes)',
      title=title,
      ylim=(0.0, 1.0),
    )
  ]
  # Shares of a drift that is small itself are exact to less.
  for metric, label in (
    ('drift', 'Drift: mean squared distance from the mean model'),
    ('alpha', 'Drift after / before mixing'),
    ('lambda', 'Squared shift of the mean / drift'),
  ):
    known = [
      r for r in rows if r['split'] == 'train' and r.get(metric) is not None
    ]
    if known:
      drawn.append(
        plots.lines(
          known,
          directory / f'{metric}.png',
          metric,
          split='train',
          ylabel=label,
          title=title,
          log_y=True,
          floor=plots.rounding(2) * (1 if metric == 'drift' else 1e3),
        )
      )
  return drawn


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
