# SPDX-License-Identifier: Apache-2.0
"""Decentralised sampling (MoDeST) against a server and against gossip.

Simulates nodes with delays, speeds and failures, event by event. Methods, all
on one clock: `modest` (a sample per round trains, a few of the next one
average, found by hashing and pings), `fl` (the same samples with a server),
`dsgd` (everybody trains and mixes with neighbours), `gossip` (models walk at
random) and `local`. Shows accuracy over time and over traffic, how long rounds
take and what each node sends.

Example: python -m experiments.modest --churn=crash --activity_window=60
"""

import dataclasses
import functools

import jax
import numpy as np
import optax

from jaxdl import decentralized, plots
from jaxdl.core import types
from jaxdl.decentralized import sampling
from jaxdl.experiment import config as config_lib, gossip, runner, supervised

knob = runner.knob

METHODS = ('modest', 'fl', 'dsgd', 'gossip', 'local')
SAMPLED = ('modest', 'fl')
CHURNS = ('none', 'crash', 'leave', 'join', 'trace')
PERCENTILES = tuple(range(0, 101, 5))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(supervised.SupervisedConfig):
  """Knobs of decentralised sampling."""

  num_rounds: int = knob(400, 'Rounds of every method.', low=0)
  num_clients: int = knob(64, 'Nodes.', low=1)
  methods: tuple[str, ...] = knob(
    ('modest', 'fl', 'dsgd'), 'Methods to compare.', choices=METHODS
  )
  partition: str = knob(
    'overlapping_dirichlet',
    'How training examples are dealt.',
    choices=supervised.PARTITIONS,
  )
  alpha: float = knob(
    0.3,
    'Dirichlet concentration.',
    low=0.0,
    needs={'partition': supervised.ALPHA_PARTITIONS},
  )
  examples_per_client: int = knob(
    64,
    'Examples per node in partition=overlapping_dirichlet; 0 deals all.',
    low=0,
    needs={'partition': ('overlapping_dirichlet',)},
  )
  batch_size: int = knob(20, 'Examples per local step.', low=1)
  local_steps: int = knob(
    5, 'Local steps per round; 0 leaves it to --local_epochs.', low=0
  )
  local_epochs: int = knob(
    0, 'Local passes per round; 0 leaves it to --local_steps.', low=0
  )
  learning_rate: float = knob(0.1, 'Step size of a node.', low=0.0)
  momentum: float = knob(0.0, 'Momentum of a node.', low=0.0, high=1.0)
  sample_size: int = knob(
    8, 'Nodes that train in a round (s).', low=1, needs={'methods': SAMPLED}
  )
  num_aggregators: int = knob(
    2, 'Nodes that average (a).', low=1, needs={'methods': ('modest',)}
  )
  success_fraction: float = knob(
    1.0,
    'Share of the sample that an aggregator waits for (sf).',
    low=0.0,
    high=1.0,
    open_low=True,
    needs={'methods': SAMPLED},
  )
  threshold: str = knob(
    'ceil',
    'How s sf is rounded.',
    choices=('ceil', 'floor'),
    needs={'methods': SAMPLED},
  )
  activity_window: int = knob(
    1000,
    'Rounds after which a silent node is no candidate.',
    low=1,
    needs={'methods': SAMPLED},
  )
  ping_timeout_s: float = knob(
    5.0, 'Wait for an answer to a ping.', low=0.0, open_low=True
  )
  ping_again_s: float = knob(
    1.0,
    'After which a ping is repeated once.',
    low=0.0,
    needs={'methods': SAMPLED},
  )
  aggregation_timeout_s: float = knob(
    300.0,
    'After which an aggregator goes on with what it has; 0 waits forever.',
    low=0.0,
    needs={'methods': SAMPLED},
  )
  min_models: int = knob(
    1, 'Models it must have by then.', low=1, needs={'methods': SAMPLED}
  )
  retry_s: float = knob(
    300.0,
    'After which a node that hears of no progress sends again; 0 for never.',
    low=0.0,
    needs={'methods': SAMPLED},
  )
  on_stall: str = knob(
    'hold',
    'What to do when nobody sends any more.',
    choices=('hold', 'raise'),
    needs={'methods': SAMPLED},
  )
  topology: str = knob(
    'one_peer_exponential',
    'Who talks to whom in dsgd.',
    choices=gossip.PLAIN,
    needs={'methods': ('dsgd',)},
  )
  gossip_period_s: float = knob(
    10.0,
    'Time between two sends of a node in gossip.',
    low=0.0,
    open_low=True,
    needs={'methods': ('gossip',)},
  )
  churn: str = knob(
    'none',
    'Who comes and goes: nodes crash, leave or join at --churn_round, or '
    'follow --trace_file.',
    choices=CHURNS,
  )
  churn_fraction: float = knob(
    0.8,
    'Share of the nodes that do.',
    low=0.0,
    high=1.0,
    needs={'churn': ('crash', 'leave', 'join')},
  )
  churn_round: int = knob(
    100,
    'Round in which they do.',
    low=1,
    needs={'churn': ('crash', 'leave', 'join')},
  )
  trace_file: str = knob(
    '',
    'Who is online: .npy, bool[T, N], row k from round k on.',
    needs={'churn': ('trace',)},
  )
  latency_file: str = knob(
    '', 'One-way delays between sites in ms: .npy or text; drawn if empty.'
  )
  latency_s: float = knob(
    0.05,
    'Mean one-way delay, if drawn.',
    low=0.0,
    needs={'latency_file': False},
  )
  compute_s: float = knob(0.5, 'Median time of a local training.', low=0.0)
  compute_spread: float = knob(
    0.5, 'Standard deviation of its logarithm over the nodes.', low=0.0
  )
  megabits_per_s: float = knob(
    10.0, 'Speed of every link.', low=0.0, open_low=True
  )
  target_accuracy: float = knob(
    0.9, 'Accuracy whose time and traffic the table shows.', low=0.0, high=1.0
  )
  eval_nodes: int = knob(
    16,
    'Nodes whose own models dsgd, gossip and local evaluate.',
    low=1,
    needs={'methods': ('dsgd', 'gossip', 'local')},
  )
  chunk: int = knob(
    0, 'Nodes trained together on a device; 0 follows the default rule.', low=0
  )

  def options(self, model_bytes: int = 0) -> sampling.ModestOptions:
    """Numbers of the protocol."""
    return sampling.ModestOptions(
      sample_size=self.sample_size,
      num_aggregators=self.num_aggregators,
      success_fraction=self.success_fraction,
      threshold=self.threshold,
      activity_window=self.activity_window,
      ping_timeout_s=self.ping_timeout_s,
      ping_again_s=self.ping_again_s,
      aggregation_timeout_s=self.aggregation_timeout_s,
      min_models=self.min_models,
      retry_s=self.retry_s,
      model_bytes=model_bytes,
    )

  def validate(self) -> None:
    """Checks the protocol, the churn and the topology."""
    super().validate()
    config_lib.check_square(self.num_clients)
    if not self.methods:
      raise ValueError('methods is empty: name at least one.')
    if len(set(self.methods)) != len(self.methods):
      raise ValueError(f'methods must differ; got {self.methods}.')
    if not self.local_steps and not self.local_epochs:
      raise ValueError('local_steps and local_epochs are both 0: give one.')
    with config_lib.naming(
      num_clients=self.num_clients,
      sample_size=self.sample_size,
      num_aggregators=self.num_aggregators,
      min_models=self.min_models,
    ):
      sampling.check_options(self.options(), self.num_clients)
    if self.churn == 'trace' and not self.trace_file:
      raise ValueError('churn=trace is read from a file: give --trace_file.')
    if self.churn in ('crash', 'leave', 'join'):
      changed = self.num_changed
      if changed == self.num_clients:
        raise ValueError(
          f'churn_fraction={self.churn_fraction} of {self.num_clients} nodes '
          f'leaves nobody: need at least one that stays.'
        )
    if 'dsgd' in self.methods:
      with config_lib.naming(topology=self.topology):
        mixer = gossip.cached_mixer(self.topology, self.num_clients)
      if mixer.stochastic == 'column':
        raise ValueError(f'topology={self.topology} is for push-sum.')

  @property
  def num_changed(self) -> int:
    """How many nodes crash, leave or join."""
    return round(self.churn_fraction * self.num_clients)

  def smoked(self) -> 'Config':
    """A dozen nodes."""
    nodes = min(self.num_clients, 12)
    sample = min(self.sample_size, 4)
    return dataclasses.replace(
      super().smoked(),
      num_clients=nodes,
      sample_size=sample,
      num_aggregators=min(self.num_aggregators, sample),
      min_models=min(self.min_models, sample),
      eval_nodes=min(self.eval_nodes, 2),
      churn_round=min(self.churn_round, 2),
    )


def make_world(config: Config, seed: int) -> sampling.World:
  """Draws the network of a seed.

  Args:
    config: knobs.
    seed: the seed.

  Returns:
    The world.
  """
  latency = None
  if config.latency_file:
    latency = sampling.load_latency(config.latency_file)
  return sampling.make_world(
    config.num_clients,
    np.random.default_rng([seed, 1]),
    mean_latency_s=config.latency_s,
    compute_s=config.compute_s,
    compute_spread=config.compute_spread,
    bytes_per_s=config.megabits_per_s * 1e6 / 8,
    latency_s=latency,
  )


def make_churn(
  config: Config, seed: int
) -> tuple[np.ndarray, tuple[sampling.Churn, ...]]:
  """Draws who comes and goes.

  Args:
    config: knobs.
    seed: the seed.

  Returns:
    bool[N], who is there at the start, and the changes.

  Raises:
    ValueError: if the trace cannot be read or has the wrong shape.
  """
  n = config.num_clients
  members = np.ones(n, bool)
  if config.churn == 'none':
    return members, ()
  if config.churn == 'trace':
    try:
      trace = np.load(config.trace_file, allow_pickle=False)
    except (OSError, ValueError) as error:
      raise ValueError(
        f'{config.trace_file}: expected an array bool[T, {n}]: {error}'
      ) from None
    return sampling.churn_from_trace(trace, n)
  rng = np.random.default_rng([seed, 2])
  nodes = rng.permutation(n)[: config.num_changed]
  nodes = tuple(sorted(nodes.tolist()))
  if config.churn == 'join':
    members[list(nodes)] = False
  change = sampling.Churn(config.churn_round, config.churn, nodes)
  return members, (change,)


def make_algorithm(
  config: Config, method: str, seed: int, task: types.Task
) -> types.Algorithm:
  """Builds one method for one seed.

  Args:
    config: knobs.
    method: one of `METHODS`.
    seed: chooses the network and who comes and goes.
    task: what is learned.

  Returns:
    The algorithm; its step runs on the host.
  """
  world = make_world(config, seed)
  members, churn = make_churn(config, seed)
  size = sampling.model_bytes(task)
  common = {
    'optimizer': _optimizer(config.learning_rate, config.momentum),
    'batch_size': config.batch_size,
    'num_epochs': config.local_epochs or None,
    'num_steps': config.local_steps or None,
    'mesh': supervised.mesh_or_none(),
    'chunk': config.chunk or None,
  }
  if method in SAMPLED:
    options = config.options(size)
    if method == 'fl':
      options = options._replace(num_aggregators=1)
    protocol = sampling.sampling_protocol(
      world,
      options,
      members=members,
      churn=churn,
      server=method == 'fl',
      seed=seed,
    )
    return decentralized.sampling_sgd(
      task, protocol, on_stall=config.on_stall, **common
    )
  common |= {'members': members, 'churn': churn, 'model_bytes': size}
  if method == 'gossip':
    return decentralized.gossip_learning(
      task, world, period_s=config.gossip_period_s, **common
    )
  topology = config.topology if method == 'dsgd' else 'alone'
  return decentralized.clocked_gossip(
    task,
    gossip.cached_mixer(topology, config.num_clients),
    world,
    patience_s=config.ping_timeout_s,
    **common,
  )


@functools.lru_cache(maxsize=2)
def _optimizer(learning_rate, momentum):
  # One object for all methods and seeds, so that programs are shared.
  return optax.sgd(learning_rate, momentum=momentum or None)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  simulation = supervised.simulate(config)
  seeds = config.seeds
  root = supervised.seed_keys(seeds)
  n = config.num_clients
  cohorts = []
  everything = {**simulation.client_data, 'mask': simulation.mask}
  everything = jax.device_get(everything)
  for s in range(len(seeds)):
    share = {name: x[s] for name, x in everything.items()}
    cohorts.append(
      types.Cohort(
        client_ids=np.arange(n, dtype=np.int32),
        data=jax.device_put(share),
        mask=np.ones(n, bool),
        weights=np.full(n, 1.0 / n, np.float32),
      )
    )
  algorithms = {
    method: [
      make_algorithm(config, method, seed, simulation.task) for seed in seeds
    ]
    for method in config.methods
  }

  def init():
    # All methods start from the same model.
    return {
      method: [a.init(root[s]) for s, a in enumerate(of_seed)]
      for method, of_seed in algorithms.items()
    }

  def step(states, round):
    del round
    new, metrics = {}, {}
    for method, of_seed in algorithms.items():
      pairs = [
        a.step(states[method][s], cohorts[s]) for s, a in enumerate(of_seed)
      ]
      new[method] = [state for state, _ in pairs]
      metrics[method] = [metric for _, metric in pairs]
    return new, metrics

  evaluate = supervised.evaluator(simulation)

  def accuracy(method, state, params):
    params = jax.device_get(params)
    if method in SAMPLED:
      tested = evaluate(jax.tree.map(lambda x: x[None], params))
      return {name: float(value[0]) for name, value in tested.items()}
    online = np.flatnonzero(state['online'])
    spots = np.linspace(0, len(online) - 1, config.eval_nodes)
    nodes = online[np.round(spots).astype(int)]
    mean = jax.tree.map(lambda x: x[online].mean(axis=0, keepdims=True), params)
    several = evaluate(jax.tree.map(lambda x: x[nodes], params))
    together = evaluate(mean)
    return {
      **{name: float(value.mean()) for name, value in several.items()},
      'mean_model_accuracy': float(together['accuracy'][0]),
    }

  def rows(states, metrics, round):
    out = []
    for method, of_seed in algorithms.items():
      for s, algorithm in enumerate(of_seed):
        state = states[method][s]
        label = {'step': round, 'variant': method, 'seed': int(seeds[s])}
        seen = {'time_s': 0.0, 'transfers': 0, 'megabytes': 0.0}
        if metrics is not None:
          seen = metrics[method][s]
        tested = accuracy(method, state, algorithm.params(state))
        out.append({**label, 'split': 'test', **tested, **seen})
        if round == config.num_rounds:
          out += [{**label, **row} for row in traffic_rows(config, state)]
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config),),
    table=functools.partial(table, config),
    jit=False,
  )


def traffic_rows(config: Config, state) -> list[dict]:
  """Says how traffic is spread over the nodes.

  Args:
    config: knobs.
    state: of one method and seed.

  Returns:
    One row per percentile of the nodes: megabytes sent and received.
  """
  inner = state.get('protocol', state)
  n = config.num_clients
  sent = np.atleast_2d(inner['sent_bytes']).sum(axis=0)[:n] / 1e6
  received = np.atleast_2d(inner['received_bytes']).sum(axis=0)[:n] / 1e6
  return [
    {
      'split': 'traffic',
      'percentile': q,
      'sent_megabytes': float(np.percentile(sent, q)),
      'received_megabytes': float(np.percentile(received, q)),
    }
    for q in PERCENTILES
  ]


def first_to(config: Config, rows, method: str, seed: int) -> dict | None:
  """Returns the first test row that reaches the target accuracy.

  Args:
    config: knobs.
    rows: rows of a run.
    method: the method.
    seed: the seed.

  Returns:
    The row, or None.
  """
  for row in rows:
    if (
      row['split'] != 'test' or row['seed'] != seed or row['variant'] != method
    ):
      continue
    if row['accuracy'] >= config.target_accuracy:
      return row
  return None


def table(config: Config, rows):
  """Compares the methods at the target accuracy and at the end.

  Args:
    config: knobs.
    rows: rows of a run.

  Returns:
    Columns and cells; means over the seeds, of those that get there.
  """
  columns = [
    'variant',
    'final accuracy',
    f'rounds to {config.target_accuracy:g}',
  ]
  columns += ['transfers', 'megabytes', 'time (s)', 'total megabytes']
  cells = []
  for method in config.methods:
    last = [
      r
      for r in rows
      if r['split'] == 'test'
      and r['variant'] == method
      and r['step'] == config.num_rounds
    ]
    if not last:
      continue
    found = [first_to(config, rows, method, s) for s in config.seeds]
    found = [row for row in found if row is not None]
    mean = lambda group, name: f'{np.mean([r[name] for r in group]):.4g}'
    names = ('step', 'transfers', 'megabytes', 'time_s')
    cells.append(
      (
        method,
        mean(last, 'accuracy'),
        *(mean(found, name) if found else '-' for name in names),
        mean(last, 'megabytes'),
      )
    )
  return columns, cells


def _aligned(rows, name):
  """Rows whose abscissa is the mean over the seeds of one round."""
  found = {}
  for row in rows:
    if row['split'] == 'test' and name in row:
      found.setdefault((row['variant'], row['step']), []).append(row[name])
  return [
    {**row, name: float(np.mean(found[row['variant'], row['step']]))}
    for row in rows
    if row['split'] == 'test' and row.get(name, 0.0) > 0
  ]


def _durations(rows):
  """Mean duration of the rounds since the last evaluation."""
  before, out = {}, []
  for row in rows:
    if row['split'] != 'test':
      continue
    key = row['variant'], row['seed']
    if key in before and row['step'] > before[key]['step']:
      old = before[key]
      gap = row['time_s'] - old['time_s']
      out.append({**row, 'round_s': gap / (row['step'] - old['step'])})
    before[key] = row
  return out


def draw(config: Config, rows, directory):
  """Draws accuracy over time and traffic, durations and loads.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.dataset}: {config.num_clients} nodes, {config.churn} churn'
  if config.churn == 'none':
    title = f'{config.dataset}: {config.num_clients} nodes'
  elif config.churn != 'trace':
    title = (
      f'{config.dataset}: {config.num_changed} of {config.num_clients} nodes '
      f'{config.churn} in round {config.churn_round}'
    )
  common = {'ylabel': 'Test accuracy', 'title': title, 'ylim': (0.0, 1.0)}
  goal = {'reference': {'target': config.target_accuracy}}
  paths = [
    plots.lines(rows, directory / 'accuracy.png', 'accuracy', **common),
    plots.lines(
      _aligned(rows, 'time_s'),
      directory / 'accuracy_over_time.png',
      'accuracy',
      x='time_s',
      xlabel='Simulated time (s)',
      log_x=True,
      **common,
      **goal,
    ),
    plots.lines(
      _aligned(rows, 'megabytes'),
      directory / 'accuracy_over_traffic.png',
      'accuracy',
      x='megabytes',
      xlabel='Sent by all nodes (MB)',
      **common,
      **goal,
    ),
    plots.lines(
      rows,
      directory / 'traffic_per_node.png',
      'sent_megabytes',
      split='traffic',
      x='percentile',
      xlabel='Percentile of the nodes',
      ylabel='Sent by a node (MB)',
      title=title,
    ),
  ]
  if config.num_rounds:
    paths.append(
      plots.lines(
        _durations(rows),
        directory / 'round_duration.png',
        'round_s',
        ylabel='Duration of a round (s)',
        title=title,
        log_y=True,
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
