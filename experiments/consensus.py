# SPDX-License-Identifier: Apache-2.0
r"""Averaging random vectors by gossip: which topology agrees first?

Every client starts with a Gaussian vector and mixes with whom the topology
says. Shows the distance to consensus over rounds and over messages, draws the
graphs and tabulates their spectra. A topology is written `name` or
`name:weights`; directed graphs need `name:send`, which runs push-sum.

Example: python -m experiments.consensus \
  --topologies=ring,torus,base,random_digraph:send --num_clients=24
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import metrics as metrics_lib, mixing, plots
from jaxdl.core import trees
from jaxdl.experiment import config as config_lib, gossip, runner, supervised

knob = runner.knob

# Squared rounding of float32, on a start of size one.
FLOOR = 4 * float(np.finfo(np.float32).eps) ** 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(gossip.GossipConfig):
  """Knobs of pure averaging."""

  num_rounds: int = knob(100, 'Rounds.', low=0)
  eval_every: int = knob(1, 'Rounds between measurements.', low=1)
  topologies: tuple[str, ...] = knob(
    (
      'ring',
      'ring:fastest',
      'torus',
      'exponential',
      'one_peer_exponential',
      'base',
      'random_matching',
      'random_digraph:send',
    ),
    'Topologies to compare, each name or name:weights, from: '
    + ', '.join(gossip.TOPOLOGIES),
  )
  dimension: int = knob(100, 'Length of the vectors.', low=1)
  start: str = knob(
    'normal',
    'What clients hold: independent normal vectors, or 1 at client 0 only.',
    choices=('normal', 'one_hot'),
  )

  def validate(self) -> None:
    """Builds every mixer, which checks topologies against N and weights."""
    super().validate()
    if not self.topologies:
      raise ValueError('topologies is empty: name at least one.')
    if len(set(self.topologies)) != len(self.topologies):
      raise ValueError(f'topologies must differ; got {self.topologies}.')
    parse = functools.partial(gossip.parse, name='topologies')
    self.check_options([parse(t)[0] for t in self.topologies])
    for topology in self.topologies:
      with config_lib.naming(topologies=topology, num_clients=self.num_clients):
        gossip.make_mixer(self, topology)

  def smoked(self) -> 'Config':
    """A few rounds of short vectors."""
    return dataclasses.replace(
      super().smoked(), dimension=min(self.dimension, 8)
    )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment.

  Args:
    config: knobs.

  Returns:
    The experiment. Its state holds, per topology, the mixed vectors
    f32[S, N, D] and the mass f32[S, N] of push-sum, one everywhere else.
  """
  n, seeds = config.num_clients, config.seeds
  mesh = gossip.mesh_for(n)
  root = supervised.seed_keys(seeds)
  mixers = {t: gossip.make_mixer(config, t) for t in config.topologies}
  applied = {
    t: m if mesh is None else mixing.shard(m, mesh) for t, m in mixers.items()
  }
  sent = {t: mixing.messages(m) for t, m in mixers.items()}

  def start(key):
    if config.start == 'one_hot':
      return jnp.zeros((n, config.dimension)).at[0].set(1.0)
    return jax.random.normal(jax.random.fold_in(key, 0), (n, config.dimension))

  starts = jax.vmap(start)(root)

  def init():
    return {t: (starts, jnp.ones((len(seeds), n))) for t in mixers}

  def one_seed(states, key, round):
    return {t: m.apply(states[t], round, key=key) for t, m in applied.items()}

  def step(states, round):
    rounds = jnp.broadcast_to(round - 1, (len(seeds),))
    run_all = supervised.over_seeds(one_seed, len(seeds))
    return run_all(states, root, rounds), {}

  @jax.jit
  def measure(states):
    def one(first, state):
      x = trees.scale_rows(1.0 / state[1], state[0])
      gap = x - jnp.mean(first, axis=0, keepdims=True)
      scale = metrics_lib.consensus_distance(first)
      return {
        'consensus': metrics_lib.consensus_distance(x) / scale,
        'error': jnp.mean(trees.sq_norms(gap)) / scale,
      }

    return {t: jax.vmap(one)(starts, s) for t, s in states.items()}

  def rows(states, metrics, round):
    del metrics
    out = []
    measured = jax.device_get(measure(states))
    for t in config.topologies:
      values = measured[t]
      whole, rest = divmod(round, len(sent[t]))
      total = whole * sent[t].sum() + sent[t][:rest].sum()
      values = {**values, 'messages': np.full(len(seeds), total)}
      label = {'step': round, 'variant': t, 'seeds': seeds}
      out += supervised.metric_rows(values, split='test', **label)
    if not round:
      out += [
        {'split': 'spectrum', 'variant': t, 'seed': seeds[0]}
        | mixing.spectrum(m)
        for t, m in mixers.items()
      ]
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config),),
    table=table,
  )


def table(rows):
  """The spectra, and how far each topology came.

  Args:
    rows: rows of the run.

  Returns:
    Columns and cells for the terminal.
  """
  names = (
    'messages',
    'period',
    'factor',
    'smallest_eigenvalue',
    'rounds_to_1e-6',
  )
  last = max(r['step'] for r in rows)
  cells = []
  for row in rows:
    if row['split'] != 'spectrum':
      continue
    found = [
      r
      for r in rows
      if r['split'] == 'test'
      and r['step'] == last
      and r['variant'] == row['variant']
    ]
    cells.append(
      [
        row['variant'],
        *(row.get(name) for name in names),
        *(
          float(np.mean([r[metric] for r in found]))
          for metric in ('consensus', 'error')
        ),
      ]
    )
  columns = [
    'topology',
    'messages / round',
    'period',
    'factor',
    'least eigenvalue',
    'rounds to 1e-6',
    f'consensus after {last}',
    'error',
  ]
  return columns, cells


def draw(config: Config, rows, directory):
  """Draws the graphs, and distances over rounds and messages.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'Averaging over {config.num_clients} clients'
  drawn = [
    plots.draw_topologies(
      {
        t: mixing.matrices(gossip.make_mixer(config, t), num_draws=3)
        for t in config.topologies
      },
      directory / 'topologies.png',
      title=f'Who talks to whom: {config.num_clients} clients',
    )
  ]
  label = 'Squared distance to consensus / start'
  for metric, x, name, ylabel, xlabel in (
    ('consensus', 'step', 'consensus.png', label, None),
    (
      'consensus',
      'messages',
      'consensus_messages.png',
      label,
      'Messages sent per client',
    ),
    (
      'error',
      'step',
      'error.png',
      'Squared distance to the true mean / start',
      None,
    ),
  ):
    drawn.append(
      plots.lines(
        rows,
        directory / name,
        metric,
        x=x,
        log_y=True,
        floor=FLOOR,
        ylabel=ylabel,
        xlabel=xlabel,
        title=title,
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
