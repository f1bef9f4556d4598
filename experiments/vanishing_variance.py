# SPDX-License-Identifier: Apache-2.0
r"""Gossip from unrelated starts: weights fade, unless their variance is kept.

Every client starts from its own random model, trains on one batch per tick,
sends its model to its neighbours and averages what it got. Methods run side by
side on the same batches: `plain` averages, `corrected` restores the variance
(`--vc_target`; or `corrected_others`, `corrected_self`, `corrected_beta`),
`initial` restores that of the start, `common_start` averages plainly from equal
models, `sampled` sends a random part of the coordinates, `federated` takes the
exact average from equal models, `alone` never talks.

Example: python -m experiments.vanishing_variance \
  --methods=federated,plain,corrected --hidden_sizes=64,64
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import optax

from jaxdl import decentralized, metrics, mixing, networks, plots
from jaxdl.core import layers as layers_lib, types
from jaxdl.experiment import (
  config as config_lib,
  gossip,
  mixtures,
  runner,
  supervised,
)
from jaxdl.mixing import graphs, variance as variance_lib

knob = runner.knob

METHODS = (
  'federated',
  'plain',
  'corrected',
  'corrected_others',
  'corrected_self',
  'corrected_beta',
  'initial',
  'common_start',
  'sampled',
  'alone',
)
_CORRECTED = ('corrected*', 'initial')
_BUFFERED = ('plain', 'common_start', *_CORRECTED)
GRAPHS = (
  'random_regular',
  'barabasi_albert',
  'complete',
  'erdos_renyi',
  'exponential',
  'grid',
  'hypercube',
  'ring',
  'small_world',
  'star',
  'torus',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(mixtures.MixtureConfig):
  """Knobs of vanishing variance; a round is a tick."""

  num_rounds: int = knob(150, 'Ticks.', low=0)
  eval_every: int = knob(5, 'Ticks between evaluations.', low=1)
  num_clients: int = knob(50, 'Clients.', low=1)
  alpha: float = knob(
    float('inf'),
    'Dirichlet concentration; small is heterogeneous, inf equal mixtures.',
    low=0.0,
    needs={
      'data_sampling|partition': (
        'resample',
        'fixed',
        *supervised.ALPHA_PARTITIONS,
      )
    },
  )
  hidden_sizes: tuple[int, ...] = knob(
    (64, 64, 64),
    'Hidden layers of network=mlp.',
    low=1,
    needs={'network': ('mlp',)},
  )
  batch_size: int = knob(32, 'Examples per client and tick.', low=1)
  methods: tuple[str, ...] = knob(
    ('federated', 'plain', 'corrected', 'common_start', 'alone'),
    'What to compare.',
    choices=METHODS,
  )
  topology: str = knob(
    'random_regular',
    'Graph.',
    choices=GRAPHS,
    needs={'methods': (*_BUFFERED, 'sampled')},
  )
  degree: int = knob(
    8,
    'Links per client, where the graph has a choice.',
    low=1,
    needs={'topology': ('random_regular', 'small_world', 'barabasi_albert')},
  )
  beta: float = knob(
    0.5,
    'Weight of the own model in an average.',
    low=0.0,
    high=1.0,
    needs={'methods': (*_BUFFERED, 'sampled')},
  )
  vc_target: str = knob(
    'others',
    'Variance that corrected restores: of the received, the own, or both.',
    choices=variance_lib.TARGETS,
    needs={'methods': ('corrected',)},
  )
  vc_eps: float = knob(
    0.0, 'Added to both variances.', low=0.0, needs={'methods': _CORRECTED}
  )
  vc_strength: float = knob(
    1.0,
    'Share of the correction.',
    low=0.0,
    high=1.0,
    needs={'methods': _CORRECTED},
  )
  correct_biases: bool = knob(
    False, 'Correct vectors as well as kernels.', needs={'methods': _CORRECTED}
  )
  learning_rate: float = knob(0.05, "Clients' step size.", low=0.0)
  momentum: float = knob(0.9, "Clients' momentum.", low=0.0, high=1.0)
  weight_decay: float = knob(0.0, 'Added to gradients, times theta.', low=0.0)
  send_every: int = knob(
    1, 'Trainings between messages.', low=1, needs={'methods': _BUFFERED}
  )
  buffer_size: int = knob(
    0,
    'Models that a client waits for; 0 for one per neighbour.',
    low=0,
    needs={'methods': _BUFFERED},
  )
  turn_low: int = knob(
    1, 'Fewest ticks between trainings.', low=1, needs={'methods': _BUFFERED}
  )
  turn_high: int = knob(
    1, 'Most ticks between trainings.', low=1, needs={'methods': _BUFFERED}
  )
  sample_rate: float = knob(
    0.1,
    'Share of the coordinates that sampled sends.',
    low=0.0,
    high=1.0,
    needs={'methods': ('sampled',)},
  )
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  def validate(self) -> None:
    """Builds the graph."""
    super().validate()
    config_lib.check_square(self.num_clients)
    if not self.methods:
      raise ValueError('methods is empty: name at least one.')
    if len(set(self.methods)) != len(self.methods):
      raise ValueError(f'methods must differ; got {self.methods}.')
    if self.turn_high < self.turn_low:
      raise ValueError(
        f'turn_high={self.turn_high} must be at least turn_low={self.turn_low}.'
      )
    with config_lib.naming(topology=self.topology):
      make_graph(self, self.seeds[0])

  def smoked(self) -> 'Config':
    """A few ticks of few clients."""
    return dataclasses.replace(
      super().smoked(),
      num_clients=min(self.num_clients, 8),
      degree=min(self.degree, 4),
      hidden_sizes=self.hidden_sizes[:2],
      methods=self.methods[:3],
    )

  @property
  def is_synchronous(self) -> bool:
    """Whether everybody averages once per tick, as the theory assumes."""
    return (self.turn_low, self.turn_high, self.send_every) == (
      1,
      1,
      1,
    ) and not self.buffer_size


def make_graph(config: Config, seed: int) -> np.ndarray:
  """Draws the graph of a seed.

  Args:
    config: knobs.
    seed: of the random families.

  Returns:
    bool[N, N].

  Raises:
    ValueError: if there is no such graph, e.g. where the degree times the
      number of clients is odd.
  """
  n = config.num_clients
  has_degree = ('random_regular', 'small_world', 'barabasi_albert')
  if config.topology in has_degree and config.degree >= n > 1:
    raise ValueError(
      f'--degree={config.degree} is too large for --num_clients={n}: a client '
      f'has at most {n - 1} others. Lower --degree, or add clients.'
    )
  if config.topology == 'barabasi_albert':
    links = max(1, config.degree // 2)
    return graphs.adjacency(networkx.barabasi_albert_graph(n, links, seed=seed))
  options = {}
  if config.topology in ('random_regular', 'small_world'):
    options['degree'] = config.degree
  return mixing.make_graph(config.topology, n, seed=seed, **options)


def gossip_matrix(graph: np.ndarray, beta: float) -> np.ndarray:
  """The weights of one synchronous tick, beta I + (1 - beta) D^-1 A.

  Args:
    graph: bool[N, N].
    beta: weight of the own model.

  Returns:
    float64[N, N], rows sum to one.
  """
  degrees = graph.sum(axis=1)
  eye = np.eye(len(graph))
  share = graph / np.maximum(degrees, 1)[:, None]
  mixed = beta * eye + (1 - beta) * share
  return np.where((degrees > 0)[:, None], mixed, eye)


def make_algorithm(
  config: Config, method: str, task: types.Task, graph: np.ndarray, mesh
) -> types.Algorithm:
  """Builds one of the methods.

  Args:
    config: knobs.
    method: name in `--methods`.
    task: what is learned.
    graph: bool[N, N].
    mesh: devices, or None.

  Returns:
    The algorithm.
  """
  n = config.num_clients
  optimizer = optax.sgd(config.learning_rate, momentum=config.momentum or None)
  if config.weight_decay:
    optimizer = optax.chain(
      optax.add_decayed_weights(config.weight_decay), optimizer
    )
  common = {
    'num_clients': n,
    'optimizer': optimizer,
    'same_start': method in ('federated', 'common_start'),
    'mesh': mesh,
    'chunk': config.chunk or None,
  }
  if method in ('federated', 'alone', 'sampled'):
    if method == 'federated':
      mixer = mixing.make_mixer('complete', n)
    elif method == 'alone':
      mixer = mixing.identity(n)
    else:
      mixer = variance_lib.subsampled(
        mixing.from_matrix(gossip_matrix(graph, config.beta)),
        config.sample_rate,
      )
    return decentralized.gossip_sgd(task, mixer, **common)
  targets = {
    'plain': None,
    'common_start': None,
    'corrected': config.vc_target,
    'initial': None,
  }
  target = targets.get(method, method.removeprefix('corrected_'))
  if method == 'initial':
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    target = networks.kernel_variances(shapes, config.kernel_start)
  return decentralized.buffered_gossip(
    task,
    graph,
    self_weight=config.beta,
    target=target,
    correct_fn=variance_lib.is_tensor
    if config.correct_biases
    else layers_lib.is_kernel,
    eps=config.vc_eps,
    strength=config.vc_strength,
    buffer_size=config.buffer_size or None,
    send_every=config.send_every,
    turn_ticks=(config.turn_low, config.turn_high),
    **common,
  )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  dealt = mixtures.deal(config)
  task, test = dealt.simulation.task, dealt.simulation.test
  seeds = config.seeds
  mesh = gossip.mesh_for(config.num_clients)
  root = supervised.seed_keys(seeds)
  # One graph for all seeds, so that they run as one program.
  graph = make_graph(config, seeds[0])
  algorithms = {
    method: make_algorithm(config, method, task, graph, mesh)
    for method in config.methods
  }

  def init():
    keys = jax.vmap(lambda key: jax.random.fold_in(key, 0))(root)
    return {
      name: jax.jit(supervised.over_seeds(algorithm.init, len(seeds)))(keys)
      for name, algorithm in algorithms.items()
    }

  def one_seed(states, key, own):
    batch_key, step_key = jax.random.split(key)
    cohort = dealt.draw(batch_key, own, (config.batch_size,))
    states, found = dict(states), {}
    for name, algorithm in algorithms.items():
      states[name], found[name] = algorithm.step(
        states[name], cohort, key=step_key
      )
    return states, found

  def step(states, round):
    keys = jax.vmap(lambda key: jax.random.fold_in(key, round))(root)
    run_all = supervised.over_seeds(one_seed, len(seeds))
    return run_all(states, keys, dealt.own)

  shapes = jax.eval_shape(task.init, jax.random.key(0))
  drawn = networks.kernel_variances(shapes, config.kernel_start)
  # The variance of a layer at the start, under its path in the log.
  wanted = {
    jax.tree_util.keystr(path, simple=True, separator='/'): variance
    for path, variance in jax.tree_util.tree_leaves_with_path(drawn)
    if variance
  }
  theory = variance_lib.variance_factors(
    gossip_matrix(graph, config.beta), config.num_rounds
  )

  @jax.jit
  def measure(params, test):
    def one(params):
      tested = jax.lax.map(lambda p: metrics.evaluate(task, p, test), params)
      layers = variance_lib.layer_variances(params)
      layers = {name: jnp.mean(v) for name, v in layers.items()}
      ratios = [layers[name] / wanted[name] for name in layers]
      return (
        {
          'accuracy': jnp.mean(tested['accuracy']),
          'worst_accuracy': jnp.min(tested['accuracy']),
          'loss': jnp.mean(tested['loss']),
          'consensus': metrics.consensus_distance(params),
        },
        {'ratio': sum(ratios) / len(ratios), **layers},
      )

    return jax.lax.map(one, params)

  def rows(states, found, round):
    out = []
    for name, algorithm in algorithms.items():
      label = {'step': round, 'variant': name, 'seeds': seeds}
      tested, layers = jax.device_get(
        measure(algorithm.params(states[name]), test)
      )
      if hasattr(states[name], 'num_messages'):
        tested['messages'] = states[name].num_messages
      out += supervised.metric_rows(tested, split='test', **label)
      out += supervised.metric_rows(layers, split='variance', **label)
      if found is not None:
        out += supervised.metric_rows(found[name], split='train', **label)
      if round == config.num_rounds:
        for layer, factor in wanted.items():
          # Short names for the picture; the log has the paths.
          values = {'ratio': layers[layer] / factor}
          final = supervised.metric_rows(values, split='layers', **label)
          short = layer.removeprefix('params/').removesuffix('/kernel')
          out += [{**row, 'layer': short} for row in final]
    if config.is_synchronous:
      out.append(
        {
          'step': round,
          'split': 'variance',
          'variant': 'theory',
          'ratio': float(theory[round]),
        }
      )
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config),),
  )


def draw(config: Config, rows, directory):
  """Draws accuracy, variance against theory, and disagreement.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = (
    f'{config.dataset}: {config.num_clients} clients, {config.topology}, '
    f'{len(config.hidden_sizes)} hidden layers'
  )
  line = functools.partial(plots.lines, rows, title=title, xlabel='Tick')
  paths = [
    line(
      directory / 'accuracy.png',
      'accuracy',
      ylabel='Mean test accuracy',
      ylim=(0.0, 1.0),
    ),
    line(
      directory / 'variance.png',
      'ratio',
      split='variance',
      ylabel='Kernel variance / variance at the start',
      log_y=True,
      reference={'1 / N': 1.0 / config.num_clients},
    ),
    line(
      directory / 'consensus.png',
      'consensus',
      ylabel='Consensus error',
      log_y=True,
      floor=plots.rounding(2),
    ),
  ]
  if any(row['split'] == 'layers' for row in rows):
    paths.append(
      plots.bars(
        rows,
        directory / 'layers.png',
        'ratio',
        split='layers',
        by='variant',
        group='layer',
        ylabel='Variance / variance at the start',
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
