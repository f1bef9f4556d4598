# SPDX-License-Identifier: Apache-2.0
"""When should decentralised learners talk, and what does one merge recover?

Clients with different data train on their own and gossip a little; from time to
time, and at the end, the average of all models is tested as well. Variants run
side by side on the same batches: `gossip` (as the flags say), `server` (exact
average in every round), `alone` and `soup` (no communication, from different or
equal starts), `early`, `late` and `window_0`, `window_1`, ... (dense rounds in
one window, gossip elsewhere; `windows` stands for all of them), `periodic` (an
exact average now and then).

Example: python -m experiments.single_merging --variants=windows --r_start=0.2
"""

import dataclasses
import functools
import math
import re

import jax
import optax

from jaxdl import decentralized, mixing, networks, plots
from jaxdl.experiment import (
  config as config_lib,
  gossip,
  merging,
  mixtures,
  runner,
  supervised,
)

knob = runner.knob

GOSSIP = (
  'pull',
  'matching',
  'ring',
  'one_way_ring',
  'exponential',
  'complete',
  'none',
)
STATIC = {
  'ring': 'ring',
  'one_way_ring': 'directed_ring',
  'exponential': 'exponential',
  'complete': 'complete',
  'none': 'alone',
}
_TALKING = ('gossip', 'early', 'late', 'periodic', 'windows', 'window_*')
VARIANTS = ('gossip', 'server', 'alone', 'soup', 'early', 'late', 'periodic')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(mixtures.MixtureConfig):
  """Knobs of single merging."""

  num_rounds: int = knob(60, 'Rounds.', low=0)
  eval_every: int = knob(6, 'Rounds between evaluations.', low=1)
  num_clients: int = knob(16, 'Clients.', low=1)
  alpha: float = knob(
    0.1,
    'Dirichlet concentration; small is heterogeneous.',
    low=0.0,
    needs={
      'data_sampling|partition': (
        'resample',
        'fixed',
        *supervised.ALPHA_PARTITIONS,
      )
    },
  )
  data_sampling: str = knob(
    'partition',
    'resample: clients draw from all data by their mixture of classes; fixed: '
    'they do so once; partition: data are dealt by --partition.',
    choices=('resample', 'fixed', 'partition'),
  )
  partition: str = knob(
    'overlapping_dirichlet',
    'How training examples are dealt with data_sampling=partition.',
    choices=supervised.PARTITIONS,
    needs={'data_sampling': ('partition',)},
  )
  batch_size: int = knob(32, 'Examples per client and local step.', low=1)
  local_steps: int = knob(20, 'Local steps per round.', low=1)
  variants: tuple[str, ...] = knob(
    ('server', 'gossip', 'alone', 'soup', 'early', 'late'),
    'What to compare, from: ' + ', '.join(VARIANTS) + ', windows, window_<k>.',
  )
  gossip: str = knob(
    'pull', 'Who talks to whom.', choices=GOSSIP, needs={'variants': _TALKING}
  )
  gossip_graph: str = knob(
    '',
    'Graph whose neighbours gossip=pull draws from; all others if empty.',
    choices=('', 'ring', 'exponential'),
    needs={'variants': _TALKING},
  )
  r_start: float = knob(
    0.2,
    'Neighbours that a client listens to besides itself.',
    low=0.0,
    needs={'variants': _TALKING},
  )
  r_end: float | None = knob(
    None,
    'The same at the end or in the window; all others if none.',
    low=0.0,
    needs={
      'schedule|variants': (
        *mixing.SCHEDULES[1:],
        'windows',
        'window_*',
        'early',
        'late',
      )
    },
  )
  schedule: str = knob(
    'fixed',
    'How the rate goes from r_start to r_end in gossip.',
    choices=mixing.SCHEDULES,
    needs={'variants': ('gossip',)},
  )
  point1: float = knob(
    0.9,
    'Where schedule=truncate or window switches.',
    low=0.0,
    high=1.0,
    needs={'variants': ('gossip',), 'schedule': ('truncate', 'window')},
  )
  window_size: float = knob(
    0.1,
    'Length of windows, as a fraction of the rounds.',
    low=0.0,
    high=1.0,
    needs={
      'schedule|variants': ('window', 'windows', 'window_*', 'early', 'late')
    },
  )
  period: int = knob(
    10,
    'Rounds between averages of periodic.',
    low=1,
    needs={'variants': ('periodic',)},
  )
  final_merge: str = knob(
    'exact',
    'What happens after the last round.',
    choices=('none', 'exact', 'exponential'),
  )
  final_merge_rounds: int = knob(
    1,
    'Gossip steps of final_merge=exponential.',
    low=0,
    needs={'final_merge': ('exponential',)},
  )
  optimizer: str = knob('sgd', "Clients' optimiser.", choices=('sgd', 'adamw'))
  learning_rate: float = knob(0.1, "Clients' step size.", low=0.0)
  momentum: float = knob(
    0.9, "Clients' momentum.", low=0.0, high=1.0, needs={'optimizer': ('sgd',)}
  )
  weight_decay: float = knob(0.0, 'Weight decay.', low=0.0)
  clip: float = knob(
    0.0, 'Largest entry of a gradient, in size; 0 does not clip.', low=0.0
  )
  label_smoothing: float = knob(
    0.0, 'Share of each label spread over all classes.', low=0.0, high=1.0
  )
  diff_init: bool = knob(True, 'Whether clients start from different models.')
  recalibration_batches: int = knob(
    32, 'Batches that statistics of a merged model are estimated on.', low=1
  )
  sharpness: bool = knob(
    True, 'Measure the second-order effect of disagreement on the average.'
  )
  landscape: tuple[str, ...] = knob(
    ('gossip', 'alone'), 'Variants whose loss is drawn between all models.'
  )
  landscape_resolution: int = knob(
    25,
    'Points across the picture of the loss; below 2 draws none.',
    low=0,
    needs={'landscape': True},
  )
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  @property
  def all_variants(self) -> tuple[str, ...]:
    """The variants, `windows` written out."""
    count = max(1, round(1 / self.window_size)) if self.window_size else 0
    found = []
    for name in self.variants:
      many = [f'window_{k}' for k in range(count)]
      found += many if name == 'windows' else [name]
    return tuple(found)

  def ineffective(self) -> dict[str, str]:
    """Only what is trained can be drawn."""
    drawn = set(self.landscape)
    if not drawn or drawn.intersection(self.all_variants):
      return {}
    return {'landscape': 'none of it is trained, see --variants'}

  def validate(self) -> None:
    """Builds every mixer, which checks rates, graphs and windows."""
    super().validate()
    config_lib.check_square(self.num_clients)
    if not self.variants:
      raise ValueError('variants is empty: name at least one.')
    if self.window_size <= 0:
      raise ValueError(f'window_size must be positive; got {self.window_size}.')
    if len(set(self.all_variants)) != len(self.all_variants):
      raise ValueError(f'variants must differ; got {self.all_variants}.')
    if self.gossip_graph and self.gossip != 'pull':
      raise ValueError(
        f'gossip_graph={self.gossip_graph} needs gossip=pull; got '
        f'{self.gossip}.'
      )
    for variant in self.all_variants:
      make_mixer(self, variant)
    for variant in self.landscape:
      if not re.fullmatch(r'window_\d+', variant):
        config_lib.check_known(variant, VARIANTS, name='landscape')

  def smoked(self) -> 'Config':
    """A few short rounds of two variants."""
    chosen = self.all_variants[:2]
    return dataclasses.replace(
      super().smoked(),
      num_clients=min(self.num_clients, 8),
      local_steps=min(self.local_steps, 2),
      variants=chosen,
      landscape=tuple(v for v in self.landscape if v in chosen),
      landscape_resolution=min(self.landscape_resolution, 7),
    )


def make_mixer(config: Config, variant: str) -> mixing.Mixer:
  """Builds how the clients of a variant mix.

  Args:
    config: knobs.
    variant: name in `--variants`.

  Returns:
    The mixer.

  Raises:
    ValueError: if the name is unknown.
  """
  n, total = config.num_clients, max(config.num_rounds, 1)
  end = float(n - 1) if config.r_end is None else config.r_end
  if variant == 'server':
    return mixing.make_mixer('complete', n)
  if variant in ('alone', 'soup'):
    return mixing.identity(n)
  start = mixing.communication_schedule('fixed', total, start=config.r_start)
  if variant == 'periodic':
    return mixing.every(
      mixing.make_mixer('complete', n),
      config.period,
      otherwise=_scheduled(config, start, [config.r_start]),
    )
  window = functools.partial(
    mixing.communication_schedule,
    'window',
    total,
    start=config.r_start,
    end=end,
    width=config.window_size,
  )
  kind, _, number = variant.partition('_')
  rates = [config.r_start, end]
  if variant == 'gossip':
    smooth = config.schedule not in ('fixed', 'truncate', 'window')
    if config.schedule == 'fixed':
      return _scheduled(config, start, rates[:1])
    return _scheduled(
      config,
      mixing.communication_schedule(
        config.schedule,
        total,
        start=config.r_start,
        end=end,
        point=config.point1,
        width=config.window_size,
      ),
      [min(max(rates), n - 1)] if smooth else rates,
      smooth=smooth,
    )
  if variant == 'early':
    return _scheduled(config, window(point=0.0), rates)
  if variant == 'late':
    return _scheduled(config, window(point=1.0 - config.window_size), rates)
  if kind == 'window' and number.isdigit():
    point = int(number) * config.window_size
    if point < 1.0 - 1e-9:
      return _scheduled(config, window(point=point), rates)
  known = (*VARIANTS, 'windows', 'window_<k> with k * window_size < 1')
  config_lib.check_known(variant, known, name='variants')


def _scheduled(config, rate, rates, *, smooth=False):
  """The mixer of `--gossip` at a changing rate."""
  n = config.num_clients
  if config.gossip == 'matching':
    make = functools.partial(mixing.random_pairs, n)
  elif config.gossip == 'pull':
    # Dense rounds are an exact average and need no lists of peers.
    most = max([r for r in rates if smooth or r < n - 1], default=0.0)
    make = functools.partial(
      mixing.random_peers,
      n,
      graph=mixing.make_graph(config.gossip_graph, n)
      if config.gossip_graph
      else None,
      max_peers=math.ceil(most),
    )
  else:
    static = mixing.make_mixer(STATIC[config.gossip], n)
    make = lambda r: mixing.mean_above(static, r, n)
  return mixing.scheduled(make, rate)


def make_optimizer(config: Config) -> optax.GradientTransformation:
  """Clip, decay, then SGD or AdamW.

  Args:
    config: knobs.

  Returns:
    The clients' optimiser; running statistics do not decay.
  """

  def decays(params):
    rest, statistics = networks.split_statistics(params)
    yes = jax.tree.map(lambda _: True, rest)
    no = jax.tree.map(lambda _: False, statistics)
    return networks.with_statistics(yes, no)

  parts = [optax.clip(config.clip)] if config.clip else []
  if config.optimizer == 'adamw':
    parts.append(
      optax.adamw(
        config.learning_rate, weight_decay=config.weight_decay, mask=decays
      )
    )
  else:
    if config.weight_decay:
      parts.append(optax.add_decayed_weights(config.weight_decay, mask=decays))
    parts.append(
      optax.sgd(config.learning_rate, momentum=config.momentum or None)
    )
  return optax.chain(*parts)


def make_tests(config: Config) -> merging.MergeTests:
  """Deals the data and says what is measured.

  Args:
    config: knobs.

  Returns:
    The tests, with the task and the data of training.

  Raises:
    ValueError: if data, partition or network do not fit.
  """
  dealt = mixtures.deal(config)
  network = merging.network_of(config, dealt.simulation)
  exact = config.final_merge != 'exponential'
  return merging.MergeTests(
    task=merging.smoothed_task(
      dealt.simulation.task, network, config.label_smoothing
    ),
    network=network,
    dealt=dealt,
    seeds=config.seeds,
    batch_size=config.batch_size,
    num_batches=config.recalibration_batches,
    final_rounds=None if exact else config.final_merge_rounds,
    sharpness=config.sharpness,
    chunk=config.chunk or None,
  )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  tests = make_tests(config)
  shape = (config.local_steps, config.batch_size)
  seeds = config.seeds
  mesh = gossip.mesh_for(config.num_clients)
  root = supervised.seed_keys(seeds)
  algorithms = {
    variant: decentralized.local_then_gossip(
      tests.task,
      make_mixer(config, variant),
      num_clients=config.num_clients,
      optimizer=make_optimizer(config),
      same_start=variant == 'soup' or not config.diff_init,
      mesh=mesh,
      chunk=config.chunk or None,
    )
    for variant in config.all_variants
  }

  def init():
    keys = jax.vmap(lambda key: jax.random.fold_in(key, 0))(root)
    return {
      name: jax.jit(supervised.over_seeds(algorithm.init, len(seeds)))(keys)
      for name, algorithm in algorithms.items()
    }

  def one_seed(states, key, own):
    batch_key, step_key = jax.random.split(key)
    cohort = tests.dealt.draw(batch_key, own, shape)
    states, found = dict(states), {}
    for name, algorithm in algorithms.items():
      states[name], found[name] = algorithm.step(
        states[name], cohort, key=step_key
      )
    return states, found

  def step(states, round):
    keys = jax.vmap(lambda key: jax.random.fold_in(key, round))(root)
    run_all = supervised.over_seeds(one_seed, len(seeds))
    return run_all(states, keys, tests.dealt.own)

  drawn = config.landscape_resolution >= 2 and config.num_clients >= 3

  def rows(states, found, round):
    out = []
    for name in algorithms:
      label = {'step': round, 'variant': name, 'seeds': seeds}
      params = states[name].params
      tested = tests.measure(params)
      tested['messages'] = states[name].num_messages
      out += supervised.metric_rows(tested, split='test', **label)
      if found is not None:
        out += supervised.metric_rows(found[name], split='train', **label)
      if round < config.num_rounds:
        continue
      before = {'accuracy': tested['accuracy'], 'loss': tested['loss']}
      stages = {'before': before}
      if config.final_merge != 'none':
        after = tests.finish(params)
        stages['after'] = {key: after[key] for key in before}
      for stage, values in stages.items():
        final = supervised.metric_rows(values, split='final', **label)
        out += [{**row, 'stage': stage} for row in final]
      if name in config.landscape and drawn:
        points = tests.between(params, config.landscape_resolution)
        common = {'step': round, 'split': 'landscape', 'variant': name}
        common['seed'] = seeds[0]
        out += [{**common, **row} for row in points]
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config),),
  )


def draw(config: Config, rows, directory):
  """Draws accuracy, disagreement, messages and the loss between models.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = (
    f'{config.dataset}: {config.num_clients} clients, alpha = {config.alpha:g}'
  )
  line = functools.partial(plots.lines, rows, title=title)
  paths = [
    line(
      directory / 'accuracy.png',
      'accuracy',
      ylabel='Mean test accuracy of the models',
      ylim=(0.0, 1.0),
    ),
    line(
      directory / 'merged_accuracy.png',
      'merged_accuracy',
      ylabel='Test accuracy of the average',
      ylim=(0.0, 1.0),
    ),
    line(
      directory / 'consensus.png',
      'consensus',
      ylabel='Consensus error',
      log_y=True,
      floor=plots.rounding(2),
    ),
    plots.bars(
      rows,
      directory / 'final_merge.png',
      'accuracy',
      split='final',
      by='stage',
      group='variant',
      ylabel='Test accuracy',
      title=f'{title}, final merge: {config.final_merge}',
      ylim=(0.0, 1.0),
    ),
  ]
  talking = [r for r in rows if r.get('messages') and r['split'] == 'test']
  if talking:
    paths.append(
      plots.lines(
        talking,
        directory / 'messages.png',
        'merged_accuracy',
        x='messages',
        log_x=True,
        xlabel='Models sent',
        ylabel='Test accuracy of the average',
        title=title,
        ylim=(0.0, 1.0),
      )
    )
  if any('alignment' in row for row in rows):
    paths.append(
      line(
        directory / 'alignment.png',
        'alignment',
        ylabel='Gradient . gradient of Tr(Hessian covariance)',
      )
    )
  if any(row['split'] == 'landscape' for row in rows):
    paths.append(
      plots.polygon(
        rows,
        directory / 'landscape.png',
        'loss',
        label='Test loss',
        title=title,
      )
    )
  return paths


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
