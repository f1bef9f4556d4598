# SPDX-License-Identifier: Apache-2.0
r"""Distributed training with adversarial workers: which server rule holds?

Trains one model per rule on the same workers, some of them adversarial, and
shows accuracy over rounds and who was listened to. Rules are written as chains:
`krum`, `nnm+trimmed_mean`, `bucketing+arc+nnm+krum`; `oracle` averages the
honest workers only.

Example: python -m experiments.robust_training \
  --attack=alie --rules=mean,median,nnm+trimmed_mean --partition=label_dirichlet
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import numpy as np
import optax

from jaxdl import aggregators, attacks, federated, plots
from jaxdl.core import types
from jaxdl.experiment import config as config_lib, runner, supervised

knob = runner.knob

# Scales of attacks whose own default tells no rules apart: three of fifteen
# that send the negative mean only shorten it.
SCALES = {'sign_flip': 8.0}
DEFAULT_RULES = (
  'oracle',
  'mean',
  'median',
  'trimmed_mean',
  'multi_krum',
  'flag',
  'nnm+trimmed_mean',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleConfig(config_lib.BaseConfig):
  """Knobs of workers, of a server's rules, and of adversaries."""

  unused = ()

  num_clients: int = knob(15, 'Simulated workers.', low=1)
  num_byzantine: int = knob(3, 'Adversarial workers that take part.', low=0)
  declared_byzantine: int = knob(
    -1, 'How many the rules are told; -1 tells the truth.', low=-1
  )
  rules: tuple[str, ...] = knob(
    DEFAULT_RULES,
    "Rules to compare: 'oracle' or [pre+...]rule from: "
    + ', '.join(aggregators.NAMES),
  )
  pre_aggregators: tuple[str, ...] = knob(
    (),
    'Put in front of every rule but oracle and mean.',
    choices=aggregators.PRE_NAMES,
  )
  attack: str = knob(
    'sign_flip',
    'What adversaries send; with none they are honest, and rules that are told '
    'of them pay for it.',
    choices=attacks.NAMES,
    needs={'num_byzantine': True},
  )
  attack_scale: float | None = knob(
    None,
    'Scale of the attack (z, epsilon, deviation, ...); if none its default, of '
    'sign_flip 8.',
    needs={'num_byzantine': True},
  )
  worker_momentum: float = knob(0.0, 'Worker momentum.', low=0.0, high=1.0)
  clip_norm: float | None = knob(
    None, 'Longest gradient of a worker.', low=0.0, open_low=True
  )
  num_components: int = knob(
    0,
    'Subspace dimension of flag; 0 is ceil((n + 1) / 2).',
    low=0,
    needs={'rules': ('flag',)},
  )
  flag_iters: int = knob(
    5, 'IRLS steps of flag.', low=1, needs={'rules': ('flag',)}
  )
  flag_reg: float = knob(
    0.0, 'Pairwise term of flag.', low=0.0, needs={'rules': ('flag',)}
  )
  flag_normalize: bool = knob(
    True, 'Whether flag averages unit gradients.', needs={'rules': ('flag',)}
  )
  flag_scale: str = knob(
    'num_components',
    'Divisor of flag: its dimension (official code) or the workers.',
    choices=('mean', 'num_components'),
    needs={'rules': ('flag',)},
  )
  flag_rescale: str = knob(
    'none',
    'Whether unit gradients get the median norm back.',
    choices=('none', 'median_norm'),
    needs={'rules': ('flag',)},
  )
  clip_radius: float = knob(
    10.0,
    'Radius of centered_clipping and clipping.',
    low=0.0,
    needs={'rules|pre_aggregators': ('centered_clipping', 'clipping')},
  )
  bucket_size: int = knob(
    2,
    'Group size of bucketing.',
    low=1,
    needs={'rules|pre_aggregators': ('bucketing',)},
  )
  num_neighbors: str = knob(
    'n-f-2',
    "Krum's neighbours.",
    choices=('n-f-2', 'n-f-1'),
    needs={'rules': ('krum', 'multi_krum')},
  )
  chunk: int = knob(
    0, 'Workers run together on a device; 0 follows the default rule.', low=0
  )

  @property
  def told(self) -> int:
    """Number of adversaries that the rules are told."""
    if self.declared_byzantine < 0:
      return self.num_byzantine
    return self.declared_byzantine

  def validate(self) -> None:
    """Builds every rule and the attack, which checks n against f."""
    super().validate()
    config_lib.check_square(self.num_clients)
    if self.num_byzantine >= self.num_clients:
      raise ValueError(
        f'num_byzantine={self.num_byzantine} leaves no honest worker: need '
        f'num_byzantine < num_clients = {self.num_clients}.'
      )
    if not self.rules:
      raise ValueError('rules is empty: name at least one.')
    if len(set(self.rules)) != len(self.rules):
      raise ValueError(f'rules must differ; got {self.rules}.')
    for rule in self.rules:
      make_attack(self, make_rule(self, rule))

  def smoked(self) -> 'RuleConfig':
    """A few rounds of two rules."""
    return dataclasses.replace(super().smoked(), rules=self.rules[:2])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RuleConfig, supervised.SupervisedConfig):
  """Knobs of robust training."""

  num_rounds: int = knob(300, 'Rounds.', low=0)
  learning_rate: float = knob(0.05, 'Server step size.', low=0.0)
  lr_decay: float = knob(
    0.2,
    'Factor on the step size at a decay.',
    low=0.0,
    needs={'lr_decay_at': True},
  )
  lr_decay_at: tuple[float, ...] = knob(
    (1 / 3, 2 / 3), 'Decays, as fractions of the rounds.', low=0.0, high=1.0
  )
  momentum: float = knob(0.9, 'Server momentum.', low=0.0, high=1.0)
  weight_decay: float = knob(5e-4, 'Added to the update, times theta.', low=0.0)

  def smoked(self) -> 'Config':
    """A few rounds of the first two rules and the last."""
    return dataclasses.replace(
      super().smoked(),
      rules=(*self.rules[:2], *self.rules[2:][-1:]),
      eval_batch_size=128,
    )


def make_rule(config: RuleConfig, spec: str) -> types.Aggregator:
  """Builds a server rule from its name in `--rules`.

  Args:
    config: knobs of all rules.
    spec: 'oracle' or '[pre+...]rule'.

  Returns:
    The aggregator.

  Raises:
    ValueError: if a name is unknown or n and f do not fit.
  """
  n, f = config.num_clients, config.num_byzantine
  if spec == 'oracle':
    # On the host: a configuration touches no device.
    honest = (np.arange(n) < n - f).astype(np.float32)
    return aggregators.stateless(
      functools.partial(aggregators.mean, weights=honest, mask=honest > 0),
      weights_fn=functools.partial(aggregators.mean_weights, weights=honest),
    )
  *pre, name = spec.split('+')
  alone = ('oracle', *(f'{p}+<rule>' for p in aggregators.PRE_NAMES))
  for words, known in (
    (pre, aggregators.PRE_NAMES),
    ((name,), (*aggregators.NAMES, *(() if pre else alone))),
  ):
    for word in words:
      config_lib.check_known(word, known, name='rules', spec=spec)
  if not pre and name != 'mean':
    pre = list(config.pre_aggregators)
  options = {}
  if name == 'flag':
    options = {
      'num_components': config.num_components or None,
      'num_iters': config.flag_iters,
      'reg': config.flag_reg,
      'normalize': config.flag_normalize,
      'scale': config.flag_scale,
      'rescale': config.flag_rescale,
    }
  if name in ('krum', 'multi_krum'):
    options = {'num_neighbors': config.num_neighbors}
  if name == 'centered_clipping':
    options = {'clip_radius': config.clip_radius}
  pre_options = {
    'bucketing': {'bucket_size': config.bucket_size},
    'clipping': {'clip_radius': config.clip_radius},
  }
  told = config.declared_byzantine
  with config_lib.naming(
    rules=spec,
    num_clients=n,
    num_byzantine=f if told < 0 else None,
    declared_byzantine=None if told < 0 else told,
  ):
    return aggregators.make_aggregator(
      name,
      num_clients=n,
      num_byzantine=config.told,
      pre=pre,
      options=options,
      pre_options={p: pre_options[p] for p in pre if p in pre_options},
    )


def make_attack(config: RuleConfig, rule: types.Aggregator) -> types.Attack:
  """Builds the attack, aimed at a rule where it needs one.

  Args:
    config: knobs.
    rule: the server's rule (its memory is not seen by the attack).

  Returns:
    The attack.
  """
  options = {}
  scale = config.attack_scale
  if scale is None:
    scale = SCALES.get(config.attack)
  if scale is not None:
    known = attacks.attack_options(config.attack)
    names = [o for o in ('scale', 'fraction') if o in known]
    if not names:
      scaled = [
        a
        for a in attacks.NAMES
        if {'scale', 'fraction'} & {*attacks.attack_options(a)}
      ]
      raise ValueError(
        f'attack={config.attack} has no scale: leave --attack_scale out, or '
        f'choose one of {", ".join(scaled)}.'
      )
    options[names[0]] = scale

  def known_rule(stacked):
    first = jax.tree.map(lambda x: x[0], stacked)
    key = jax.random.key(0)
    return rule.apply(stacked, rule.init(first), key=key)[0]

  if attacks.needs_rule(config.attack):
    options['rule'] = known_rule
  with config_lib.naming(
    attack=config.attack,
    attack_scale=config.attack_scale,
    num_byzantine=config.num_byzantine,
  ):
    return attacks.make_attack(
      config.attack,
      num_clients=config.num_clients,
      num_byzantine=config.num_byzantine,
      **options,
    )


def make_optimizer(config: Config) -> optax.GradientTransformation:
  """SGD with weight decay, momentum and step decays.

  Args:
    config: knobs.

  Returns:
    The server's optimiser.
  """
  boundaries = {
    max(1, round(at * config.num_rounds)): config.lr_decay
    for at in config.lr_decay_at
  }
  schedule = optax.piecewise_constant_schedule(config.learning_rate, boundaries)
  return optax.chain(
    optax.add_decayed_weights(config.weight_decay),
    optax.sgd(schedule, momentum=config.momentum or None),
  )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  return compare(
    config, supervised.simulate(config), optimizer=make_optimizer(config)
  )


def compare(
  config: RuleConfig,
  simulation: supervised.Simulation,
  *,
  optimizer: optax.GradientTransformation,
  others: Mapping[str, types.Algorithm] | None = None,
) -> runner.Experiment:
  """Puts all rules side by side on one task.

  Args:
    config: knobs of rules, attack and batches.
    simulation: task and data of the workers.
    optimizer: the server's.
    others: algorithms to run beside the rules; `params` gives one model.

  Returns:
    The experiment.
  """
  seeds = config.seeds
  mesh = supervised.mesh_or_none()
  algorithms = {}
  for name in config.rules:
    rule = make_rule(config, name)
    algorithms[name] = federated.robust_sgd(
      simulation.task,
      rule,
      num_clients=config.num_clients,
      optimizer=optimizer,
      attack=make_attack(config, rule),
      num_byzantine=config.num_byzantine,
      worker_momentum=config.worker_momentum,
      clip_norm=config.clip_norm,
      flipped_classes=simulation.num_classes
      if attacks.needs_flipped_labels(config.attack)
      else None,
      mesh=mesh,
      chunk=config.chunk or None,
      reduction=config.reduction,
    )

  algorithms.update(others or {})
  init, step = supervised.side_by_side(algorithms, simulation, config)
  evaluate = supervised.evaluator(simulation)

  def rows(states, metrics, round):
    out = []
    for name, algorithm in algorithms.items():
      label = {'step': round, 'variant': name, 'seeds': seeds}
      models = supervised.over_seeds(algorithm.params, len(seeds))
      tested = evaluate(models(states[name]))
      out += supervised.metric_rows(tested, split='test', **label)
      if metrics is None or not metrics[name]:
        continue
      seen = dict(metrics[name])
      weights = seen.pop('weights', None)
      out += supervised.metric_rows(seen, split='train', **label)
      if weights is not None:
        workers = {
          f'worker_{i}': weights[:, i] for i in range(config.num_clients)
        }
        out += supervised.metric_rows(workers, split='weights', **label)
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config),),
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
