# SPDX-License-Identifier: Apache-2.0
"""Robust learning between all pairs of nodes: MoNNA and what it is compared to.

Every correct node trains its own model on its own data and averages what the
others send; adversaries speak in parameter space. Methods: `monna` (momentum
and nearest-neighbour averaging), `nna` (without momentum), `mocwtm`/`bridge`
(trimmed mean with and without), `mogm`/`gm` (geometric median), `scc`
(self-centred clipping), `learn` (gradients exchanged as well), `mean`, and
`dsgd`, the upper line: exact averaging without adversaries.

Example: python -m experiments.monna --attack=optimised_ipm --methods=monna,nna
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import attacks, decentralized, plots
from jaxdl.core import schedules, types
from jaxdl.experiment import runner, supervised

knob = runner.knob

# Receiver rule and momentum; None takes --momentum.
METHODS = {
  'dsgd': ('mean', None),
  'monna': ('nearest_neighbor_averaging', None),
  'nna': ('nearest_neighbor_averaging', 0.0),
  'mocwtm': ('trimmed_mean', None),
  'bridge': ('trimmed_mean', 0.0),
  'mogm': ('geometric_median', None),
  'gm': ('geometric_median', 0.0),
  'scc': ('centered_clipping', 0.9),
  'learn': ('trimmed_mean', None),
  'mean': ('mean', None),
}
_SEARCHING = [a for a in attacks.NAMES if 'search' in attacks.attack_options(a)]
GRID = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 16.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(supervised.SupervisedConfig):
  """Knobs of all-to-all learning."""

  unused = ()

  num_rounds: int = knob(300, 'Steps.', low=0)
  eval_every: int = knob(25, 'Rounds between evaluations.', low=1)
  num_clients: int = knob(16, 'Nodes, adversaries included.', low=1)
  num_byzantine: int = knob(3, 'Adversaries that take part.', low=0)
  declared_byzantine: int = knob(
    -1, 'How many the rules are told; -1 tells the truth.', low=-1
  )
  methods: tuple[str, ...] = knob(
    ('dsgd', 'monna', 'nna', 'mocwtm', 'bridge', 'scc'),
    'Methods to compare.',
    choices=tuple(METHODS),
  )
  attack: str = knob(
    'optimised_ipm',
    'What adversaries send; with none they are honest, and rules that are told '
    'of them pay for it.',
    choices=attacks.NAMES,
    needs={'num_byzantine': True},
  )
  attack_search: str = knob(
    'grid',
    'How optimised attacks search.',
    choices=('grid', 'line'),
    needs={'num_byzantine': True, 'attack': _SEARCHING},
  )
  asynchronous: bool = knob(
    True, 'Whether nodes wait for n - f vectors only (the worst case).'
  )
  partition: str = knob(
    'overlapping_dirichlet',
    'How training examples are dealt.',
    choices=supervised.PARTITIONS,
  )
  examples_per_client: int = knob(
    100,
    'Examples per node.',
    low=0,
    needs={'partition': ('overlapping_dirichlet',)},
  )
  network: str = knob(
    'logistic_regression',
    'Network.',
    choices=supervised.NETWORKS,
  )
  batch_size: int = knob(5, 'Examples per node and step.', low=1)
  l2: float = knob(1e-4, 'Penalty l2 |theta|^2 in the loss.', low=0.0)
  learning_rate: float = knob(0.75, 'Step size at the start.', low=0.0)
  lr_decay: float = knob(50.0, 'Steps after which it has halved.', low=0.0)
  lr_decay_every: int = knob(50, 'Steps between changes of it.', low=1)
  momentum: float = knob(
    0.99,
    'Momentum of methods that have it.',
    low=0.0,
    high=1.0,
    needs={'methods': [m for m, (_, own) in METHODS.items() if own is None]},
  )
  mixing_rounds: int = knob(1, 'Exchanges per step.', low=1)
  clip_radius: float = knob(
    2.0, 'Radius of scc.', low=0.0, needs={'methods': ('scc',)}
  )
  chunk: int = knob(
    0, 'Nodes run together on a device; 0 follows the default rule.', low=0
  )

  @property
  def told(self) -> int:
    """Number of adversaries that the rules are told."""
    if self.declared_byzantine < 0:
      return self.num_byzantine
    return self.declared_byzantine

  @property
  def num_held(self) -> int:
    """Vectors that a node waits for."""
    if not self.asynchronous:
      return self.num_clients
    return self.num_clients - self.told

  @property
  def num_dealt(self) -> int:
    """Adversaries hold no data."""
    return self.num_clients - self.num_byzantine

  def validate(self) -> None:
    """Checks n against f and that the attack can be built."""
    super().validate()
    n, f = self.num_clients, self.told
    if not self.methods:
      raise ValueError('methods is empty: name at least one.')
    if self.num_byzantine >= n:
      raise ValueError(
        f'num_byzantine={self.num_byzantine} leaves no correct node: need '
        f'num_byzantine < num_clients = {n}.'
      )
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
    make_attack(self, lambda models, sent: 0.0)

  def smoked(self) -> 'Config':
    """A few rounds of two methods."""
    return dataclasses.replace(
      super().smoked(), methods=self.methods[:2], eval_batch_size=128
    )


def make_attack(config: Config, damage) -> types.Attack:
  """Builds the attack on half-step models.

  Args:
    config: knobs.
    damage: `damage(models, sent) -> f32[]` for attacks that search.

  Returns:
    The attack.
  """
  options = {}
  if attacks.needs_rule(config.attack):
    known = attacks.attack_options(config.attack)
    options = {
      'damage': damage,
      'search': config.attack_search,
      'grid': GRID,
    }
    options = {k: v for k, v in options.items() if k in known or k == 'damage'}
  return attacks.make_attack(
    config.attack,
    num_clients=config.num_clients,
    num_byzantine=config.num_byzantine,
    **options,
  )


def make_method(
  config: Config, name: str, simulation: supervised.Simulation
) -> types.Algorithm:
  """Builds one method.

  Args:
    config: knobs.
    name: a key of `METHODS`.
    simulation: task and data.

  Returns:
    The algorithm; all methods simulate the same n - F correct nodes.
  """
  rule, momentum = METHODS[name]
  f, held = config.num_byzantine, config.num_held
  correct = config.num_clients - f
  if name == 'dsgd':
    f, held = 0, correct
  flipped = attacks.needs_flipped_labels(config.attack)
  return decentralized.all_to_all_sgd(
    simulation.task,
    decentralized.receiver_rule(
      rule, num_byzantine=config.told, clip_radius=config.clip_radius
    ),
    num_clients=correct + f,
    num_adversaries=f,
    num_held=held,
    learning_rate=schedules.stepped_inverse_decay(
      config.learning_rate,
      decay=config.lr_decay,
      every=config.lr_decay_every,
    ),
    momentum=config.momentum if momentum is None else momentum,
    attack=functools.partial(make_attack, config) if f else None,
    flipped_classes=simulation.num_classes if flipped else None,
    num_mixing_rounds=config.mixing_rounds,
    exchange_gradients=name == 'learn',
    mesh=supervised.mesh_or_none(),
    chunk=config.chunk or None,
    reduction=config.reduction,
  )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  correct = config.num_clients - config.num_byzantine
  simulation = supervised.simulate(config, num_clients=correct)
  seeds = config.seeds
  algorithms = {
    name: make_method(config, name, simulation) for name in config.methods
  }

  init, step = supervised.side_by_side(algorithms, simulation, config)
  # One evaluation for all seeds and nodes: [S, H, ...] -> [S * H, ...].
  evaluate = supervised.evaluator(simulation)

  def rows(states, metrics, round):
    out = []
    for name, algorithm in algorithms.items():
      label = {'step': round, 'variant': name, 'seeds': seeds}
      models = algorithm.params(states[name])
      flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), models)
      tested = {
        k: np.asarray(v).reshape(len(seeds), correct)
        for k, v in evaluate(flat).items()
      }
      values = {k: v.mean(axis=1) for k, v in tested.items()}
      values['worst_accuracy'] = tested['accuracy'].min(axis=1)
      values['first_accuracy'] = tested['accuracy'][:, 0]
      out += supervised.metric_rows(values, split='test', **label)
      if metrics is not None:
        out += supervised.metric_rows(metrics[name], split='train', **label)
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config),),
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
    f'adversarial ({config.attack})'
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
      r for r in rows if r.get('split') == 'train' and r.get(metric) is not None
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


def run(config: Config, *, sinks=(), store=None) -> runner.Result:
  """Runs the experiment.

  Args:
    config: knobs.
    sinks: where rows go.
    store: keeps checkpoints.

  Returns:
    Final states and all rows.
  """
  return runner.run(build(config), config, sinks=sinks, store=store)


if __name__ == '__main__':
  runner.main(Config, run)
