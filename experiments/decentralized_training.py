# SPDX-License-Identifier: Apache-2.0
r"""Learning without a server over any graph: topology x weights x algorithm.

Compares variants, each written `algorithm`, `algorithm@topology` or
`algorithm@topology:weights`, on the same data and batches: accuracy (or error)
and consensus distance over rounds, over messages and over bytes. The task is
classification of a data set, dealt by `--partition`, or one quadratic per
client (`--task=quadratic`), whose optimum is known.

Example: python -m experiments.decentralized_training \
  --variants=gossip_sgd@ring,gossip_sgd@base,gradient_tracking@ring --alpha=0.1
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import numpy as np
import optax

from jaxdl import (
  aggregators,
  compression,
  decentralized,
  metrics as metrics_lib,
  mixing,
  plots,
)
from jaxdl.core import types
from jaxdl.experiment import config as config_lib, gossip, runner, supervised
from jaxdl.mixing import spectra

knob = runner.knob

ALGORITHMS = {
  'gossip_sgd': 'D-PSGD',
  'periodic_gossip': 'gossip in every --period-th round',
  'local_sgd': 'global average in every --period-th round, no topology',
  'periodic_averaging': 'gossip, and a global average every --period rounds',
  'd_squared': 'D²',
  'extra': 'EXTRA',
  'gradient_tracking': 'DSGT, two messages per link',
  'quasi_global_momentum': 'QG-DSGDm',
  'choco_sgd': 'CHOCO-SGD with --compressor',
  'push_sum': 'SGP for directed graphs (weights: send)',
  'asynchronous_gossip': 'AD-PSGD, N events per round',
  'swarm_sgd': 'SwarmSGD, N / 2 links per round',
  'robust_gossip': 'a robust rule over the neighbourhood',
}
_ON_GRAPHS = ('asynchronous_gossip', 'swarm_sgd', 'robust_gossip')
_D2_BOUND = -1 / 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(gossip.GossipConfig, supervised.SupervisedConfig):
  """Knobs of decentralised training."""

  num_rounds: int = knob(300, 'Rounds.', low=0)
  eval_every: int = knob(15, 'Rounds between evaluations.', low=1)
  num_clients: int = knob(24, 'Clients.', low=1)
  variants: tuple[str, ...] = knob(
    (
      'gossip_sgd@complete',
      'gossip_sgd@ring',
      'gossip_sgd@one_peer_exponential',
      'gossip_sgd@base',
      'gradient_tracking@ring',
      'gossip_sgd@alone',
    ),
    'Variants to compare, algorithm[@topology[:weights]]. Algorithms: '
    + ', '.join(f'{name} ({text})' for name, text in ALGORITHMS.items())
    + '. Topologies: '
    + ', '.join(gossip.TOPOLOGIES),
  )
  topology: str = knob('ring', 'Topology of variants that name none.')
  task: str = knob(
    'classification',
    'What is learned: --dataset, or a quadratic per client.',
    choices=('classification', 'quadratic'),
  )
  partition: str = knob(
    'label_dirichlet',
    'How training examples are dealt.',
    choices=supervised.PARTITIONS,
  )
  alpha: float = knob(
    0.1,
    'Dirichlet concentration; small is heterogeneous.',
    low=0.0,
    needs={'partition': supervised.ALPHA_PARTITIONS},
  )
  spread: float = knob(
    3.0,
    'Standard deviation of the optima of the quadratics.',
    low=0.0,
    needs={'task': ('quadratic',)},
  )
  dimension: int = knob(
    5, 'Variables of the quadratics.', low=1, needs={'task': ('quadratic',)}
  )
  gradient_noise: float = knob(
    0.0,
    'Standard deviation added to gradients of quadratics.',
    low=0.0,
    needs={'task': ('quadratic',)},
  )
  optimizer: str = knob('sgd', "Clients' optimiser.", choices=('sgd', 'adam'))
  order: str = knob(
    'adapt_then_combine',
    'Of gossip_sgd and gradient_tracking.',
    choices=('adapt_then_combine', 'combine_then_adapt'),
    needs={'variants': ('gossip_sgd', 'gradient_tracking')},
  )
  learning_rate: float = knob(0.1, 'Step size.', low=0.0, open_low=True)
  lr_decay: float = knob(
    0.2,
    'Factor on the step size at a decay.',
    low=0.0,
    needs={'lr_decay_at': True},
  )
  lr_decay_at: tuple[float, ...] = knob(
    (), 'Decays, as fractions of the rounds.', low=0.0, high=1.0
  )
  momentum: float = knob(
    0.0,
    'Momentum of sgd and quasi_global_momentum.',
    low=0.0,
    high=1.0,
    needs={'optimizer|variants': ('sgd', 'quasi_global_momentum')},
  )
  weight_decay: float = knob(0.0, 'Added to the gradient, times x.', low=0.0)
  period: int = knob(
    5,
    'H of the periodic algorithms.',
    low=1,
    needs={'variants': ('periodic_*', 'local_sgd')},
  )
  compressor: str = knob(
    'identity',
    'How choco_sgd and gossip_sgd compress every tensor that they send.',
    choices=compression.COMPRESSORS,
    needs={'variants': ('choco_sgd', 'gossip_sgd')},
  )
  keep: float = knob(
    0.1,
    'Share of the entries that top_k and random_k keep.',
    low=0.0,
    high=1.0,
    open_low=True,
    needs={'compressor': ('top_k', 'random_k')},
  )
  levels: int = knob(
    127,
    'Levels of qsgd: 127 takes a byte per entry, 7 half of one.',
    low=1,
    needs={'compressor': ('qsgd',)},
  )
  consensus_step: float = knob(
    1.0,
    'Gamma of choco_sgd.',
    low=0.0,
    high=1.0,
    open_low=True,
    needs={'variants': ('choco_sgd',)},
  )
  staleness: int = knob(
    0,
    'Events a gradient is late (AD-PSGD).',
    low=0,
    needs={'variants': ('asynchronous_gossip',)},
  )
  local_steps: float = knob(
    1.0,
    'Mean local steps of swarm_sgd.',
    low=1.0,
    needs={'variants': ('swarm_sgd',)},
  )
  robust_rule: str = knob(
    'median',
    'Of robust_gossip.',
    choices=('median', 'trimmed_mean'),
    needs={'variants': ('robust_gossip',)},
  )
  allow_unstable: bool = knob(
    False,
    'Runs d_squared even where it may diverge.',
    needs={'variants': ('d_squared',)},
  )
  same_start: bool = knob(True, 'Whether all clients start from one draw.')
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  def ineffective(self) -> dict[str, str]:
    """Quadratics have no data set; most variants name their topology."""
    out = {}
    if all('@' in variant for variant in self.variants):
      out['topology'] = 'all variants name theirs'
    if self.task == 'quadratic':
      names = config_lib.own_names(supervised.SupervisedConfig)
      out |= dict.fromkeys(names, 'it is for task=classification')
      del out['num_clients']
    return out

  @property
  def num_dealt(self) -> int:
    """Quadratics are drawn."""
    return 0 if self.task == 'quadratic' else self.num_clients

  def validate(self) -> None:
    """Builds every graph and mixer on the host; `build` checks the rest."""
    super().validate()
    if not self.variants:
      raise ValueError('variants is empty: name at least one.')
    if len(set(self.variants)) != len(self.variants):
      raise ValueError(f'variants must differ; got {self.variants}.')
    parsed = []
    for variant in self.variants:
      parsed.append(parse(self, variant))
      own = '@' in variant
      gossip.parse(
        parsed[-1][1],
        name='variants' if own else 'topology',
        whole=variant if own else None,
      )
    self.check_options([gossip.parse(spec)[0] for _, spec in parsed])
    if self.task == 'quadratic' and self.batch_size != type(self).batch_size:
      raise ValueError(
        f'batch_size={self.batch_size} has no effect on task=quadratic: use '
        '--gradient_noise.'
      )
    # No device may be touched here: --devices comes after.
    for algorithm, spec in parsed:
      with config_lib.naming(
        variants=f'{algorithm}@{spec}', num_clients=self.num_clients
      ):
        make_link(self, algorithm, spec)

  def smoked(self) -> 'Config':
    """A few rounds of three variants."""
    return dataclasses.replace(
      super().smoked(), variants=self.variants[:3], eval_batch_size=128
    )


def parse(config: Config, variant: str) -> tuple[str, str]:
  """Splits a variant.

  Args:
    config: knobs.
    variant: `algorithm[@topology[:weights]]`.

  Returns:
    Algorithm and `topology[:weights]`.

  Raises:
    ValueError: if the algorithm is unknown.
  """
  algorithm, _, spec = variant.partition('@')
  config_lib.check_known(algorithm, ALGORITHMS, name='variants', spec=variant)
  return algorithm, spec or config.topology


def make_link(
  config: Config, algorithm: str, spec: str
) -> mixing.Mixer | np.ndarray:
  """What an algorithm communicates over; made on the host.

  Args:
    config: knobs.
    algorithm: a key of `ALGORITHMS`.
    spec: `topology[:weights]`.

  Returns:
    A graph bool[N, N] for algorithms that take one, a mixer for the others.

  Raises:
    ValueError: if the topology is disconnected, does not exist for this N, or
      weights do not fit.
  """
  if algorithm in _ON_GRAPHS:
    graph = gossip.make_graph(config, spec)
    mixing.uniform(graph)  # Refuses disconnected graphs.
    return graph
  weights = 'send' if algorithm == 'push_sum' else None
  return gossip.make_mixer(config, spec, weights=weights)


class Variant(NamedTuple):
  """An algorithm and what a round of it sends.

  Attributes:
    algorithm: the algorithm.
    models: float64[T + 1], models that a client has sent on average after
      each round.
    share: bytes of one such message / bytes of the model.
  """

  algorithm: types.Algorithm
  models: np.ndarray
  share: float


def make_optimizer(config: Config) -> optax.GradientTransformation:
  """The optimiser that every client runs.

  Args:
    config: knobs.

  Returns:
    SGD or Adam with weight decay in the gradient and step decays.
  """
  rate = _schedule(config)
  parts = [optax.add_decayed_weights(config.weight_decay)]
  if config.optimizer == 'adam':
    parts.append(optax.adam(rate))
  else:
    parts.append(optax.sgd(rate, momentum=config.momentum or None))
  return optax.chain(*(parts if config.weight_decay else parts[1:]))


def _schedule(config):
  if not config.lr_decay_at:
    return config.learning_rate
  return optax.piecewise_constant_schedule(
    config.learning_rate,
    {
      max(1, round(at * config.num_rounds)): config.lr_decay
      for at in config.lr_decay_at
    },
  )


def make_variant(config: Config, variant: str, task: types.Task) -> Variant:
  """Builds one variant.

  Args:
    config: knobs.
    variant: `algorithm[@topology[:weights]]`.
    task: what is learned.

  Returns:
    The variant.

  Raises:
    ValueError: if algorithm, topology, weights and N do not fit together.
  """
  name, spec = parse(config, variant)
  n, rounds = config.num_clients, config.num_rounds
  options = {
    'num_clients': n,
    'optimizer': make_optimizer(config),
    'same_start': config.same_start,
  }
  link = make_link(config, name, spec)
  if not isinstance(link, mixing.Mixer):
    return _on_graph(config, name, link, task, options)
  mixer = link
  options['mesh'] = gossip.mesh_for(n)
  options['chunk'] = config.chunk or None
  sent = mixing.messages(mixer)
  sent = sent[np.arange(rounds) % len(sent)]
  meets = (np.arange(rounds) + 1) % config.period == 0
  share = 1.0
  if name in ('periodic_gossip', 'local_sgd', 'periodic_averaging'):
    mean = mixing.make_mixer('complete', n)
    cost = mixing.all_reduce(n)
    if name == 'periodic_gossip':
      mixer = mixing.every(mixer, config.period)
      sent = np.where(meets, sent, 0.0)
    elif name == 'local_sgd':
      mixer = mixing.every(mean, config.period)
      sent = np.where(meets, cost, 0.0)
    else:
      mixer = mixing.every(mean, config.period, otherwise=mixer)
      sent = np.where(meets, cost, sent)
    algorithm = decentralized.gossip_sgd(task, mixer, **options)
  elif name in ('gossip_sgd', 'choco_sgd'):
    if config.compressor != 'identity':
      compressor = compression.make_compressor(
        config.compressor, keep=config.keep, num_levels=config.levels
      )
      model = jax.eval_shape(task.init, jax.random.key(0))
      whole = compression.make_compressor('identity')
      share = compressor.bits(model) / whole.bits(model)
      options['compress'] = compressor.compress
    if name == 'gossip_sgd':
      make = functools.partial(decentralized.gossip_sgd, order=config.order)
    else:
      make = functools.partial(
        decentralized.choco_sgd, consensus_step=config.consensus_step
      )
    algorithm = make(task, mixer, **options)
  elif name == 'quasi_global_momentum':
    del options['optimizer']
    algorithm = decentralized.quasi_global_momentum(
      task,
      mixer,
      learning_rate=_schedule(config),
      momentum=config.momentum,
      weight_decay=config.weight_decay,
      **options,
    )
  elif name == 'gradient_tracking':
    algorithm = decentralized.gradient_tracking(
      task, mixer, order=config.order, **options
    )
    sent = 2 * sent
  else:
    if name == 'd_squared' and mixer.period == 1:
      _check_d_squared(config, variant, spec, mixer)
    algorithm = getattr(decentralized, name)(task, mixer, **options)
  return Variant(algorithm, np.concatenate([[0.0], np.cumsum(sent)]), share)


def _check_d_squared(config, variant, spec, mixer):
  smallest = spectra.smallest_eigenvalue(np.asarray(mixer.matrix(0)))
  if smallest <= _D2_BOUND + 1e-6 and not config.allow_unstable:
    topology, _ = gossip.parse(spec)
    raise ValueError(
      f'{variant} may diverge: the smallest eigenvalue of its matrix is '
      f'{smallest:.4f}, D² needs more than -1/3. Use '
      f'd_squared@{topology}:lazy_metropolis, --move=0.5, or --allow_unstable.'
    )


def _on_graph(config, name, graph, task, options):
  """Algorithms that take a graph instead of a mixer."""
  n, rounds = config.num_clients, config.num_rounds
  if name == 'robust_gossip':
    rule = aggregators.median
    if config.robust_rule == 'trimmed_mean':
      rule = functools.partial(aggregators.trimmed_mean, num_trimmed=1)
    algorithm = decentralized.gossip_sgd(
      task, mixing.robust_mixer(graph, rule), **options
    )
    per_round = graph.sum() / n
  elif name == 'asynchronous_gossip':
    algorithm = decentralized.asynchronous_gossip(
      task, graph, staleness=config.staleness, **options
    )
    per_round = 2.0 if n > 1 else 0.0  # N events, one exchange each.
  else:
    algorithm = decentralized.swarm_sgd(
      task, graph, mean_local_steps=config.local_steps, **options
    )
    per_round = 2 * ((n + 1) // 2) / n
  return Variant(algorithm, per_round * np.arange(rounds + 1.0), 1.0)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  if config.task == 'quadratic':
    problem = gossip.quadratics(
      config,
      dimension=config.dimension,
      spread=config.spread,
      gradient_noise=config.gradient_noise,
    )
  else:
    problem = gossip.classification(config)
  seeds = config.seeds
  root = supervised.seed_keys(seeds)
  variants = {v: make_variant(config, v, problem.task) for v in config.variants}
  shapes = jax.eval_shape(problem.task.init, jax.random.key(0))
  model_bytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))

  def init():
    # All variants start from the same models and see the same batches.
    keys = jax.vmap(lambda key: jax.random.fold_in(key, 0))(root)
    return {
      name: jax.jit(supervised.over_seeds(v.algorithm.init, len(seeds)))(keys)
      for name, v in variants.items()
    }

  def one_seed(states, key, data):
    batch_key, step_key = jax.random.split(key)
    cohort = problem.cohort(batch_key, data)
    states, metrics = dict(states), {}
    for name, v in variants.items():
      states[name], metrics[name] = v.algorithm.step(
        states[name], cohort, key=step_key
      )
    return states, metrics

  def step(states, round):
    keys = jax.vmap(lambda key: jax.random.fold_in(key, round))(root)
    run_all = supervised.over_seeds(one_seed, len(seeds))
    return run_all(states, keys, problem.data)

  distance = jax.jit(jax.vmap(metrics_lib.consensus_distance))
  read = {
    name: jax.jit(jax.vmap(v.algorithm.params)) for name, v in variants.items()
  }

  def rows(states, metrics, round):
    out = []
    for name, v in variants.items():
      label = {'step': round, 'variant': name, 'seeds': seeds}
      models = read[name](states[name])
      sent = v.models[round]
      values = {
        **problem.evaluate(models),
        'consensus': np.asarray(distance(models)),
        'messages': np.full(len(seeds), sent),
        'megabytes': np.full(len(seeds), sent * v.share * model_bytes / 1e6),
      }
      out += supervised.metric_rows(values, split='test', **label)
      if metrics is not None:
        out += supervised.metric_rows(metrics[name], split='train', **label)
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config, problem.metric, problem.ylabel),),
  )


def _topologies(config):
  """Name -> matrices of every topology that a variant uses."""
  found = {}
  for variant in config.variants:
    name, spec = parse(config, variant)
    if name == 'local_sgd':
      continue
    link = make_link(config, name, spec)
    found[spec] = (
      mixing.matrices(link, num_draws=3)
      if isinstance(link, mixing.Mixer)
      else link[None]
    )
  return found


def draw(config: Config, metric: str, ylabel: str, rows, directory):
  """Draws the graphs, and success and consensus over rounds and traffic.

  Args:
    config: knobs.
    metric: what success is.
    ylabel: its caption.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  accuracy = metric == 'accuracy'
  data = f'{config.dataset}, {config.partition}' if accuracy else config.task
  if accuracy and 'dirichlet' in config.partition:
    data += f' {config.alpha:g}'
  title = f'{config.num_clients} clients, {data}'
  look = {'ylim': (0.0, 1.0)} if accuracy else {'log_y': True}
  drawn = []
  graphs = _topologies(config)
  if graphs:
    drawn.append(
      plots.draw_topologies(
        graphs, directory / 'topologies.png', title='Who talks to whom'
      )
    )
  for x, suffix, xlabel in (
    ('step', '', None),
    ('messages', '_messages', 'Models sent per client'),
    ('megabytes', '_bytes', 'Megabytes sent per client'),
  ):
    # Who sends nothing has no place on an axis of traffic.
    shown = rows
    if x != 'step':
      sends = {r['variant'] for r in rows if r.get(x, 0) > 0}
      shown = [r for r in rows if r['variant'] in sends]
      if not shown:
        continue
    drawn.append(
      plots.lines(
        shown,
        directory / f'{metric}{suffix}.png',
        metric,
        x=x,
        xlabel=xlabel,
        ylabel=ylabel,
        title=title,
        **look,
      )
    )
  # All start from one model.
  apart = [
    r for r in rows if r['split'] == 'test' and r['step'] and 'consensus' in r
  ]
  if apart:
    drawn.append(
      plots.lines(
        apart,
        directory / 'consensus.png',
        'consensus',
        ylabel='Mean squared distance to the mean model',
        title=title,
        log_y=True,
        floor=plots.rounding(2),
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
