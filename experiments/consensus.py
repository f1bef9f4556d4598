# SPDX-License-Identifier: Apache-2.0
r"""Averaging random vectors by gossip: which topology agrees first?

Every client starts with a Gaussian vector and mixes with whom the topology
says. Shows the distance to consensus over rounds and over messages, draws the
graphs and tabulates their spectra. Directed graphs need `weights=send`, which
runs push-sum.

Example: python -m experiments.consensus \
  --topologies='ring(weights=fastest),torus,base,random_digraph(weights=send)' \
  --num_clients=24
"""

import dataclasses
import functools

import numpy as np

from jaxdl import decentralized, mixing, plots, problems
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob

# Squared rounding of float32, on a start of size one.
FLOOR = 4 * float(np.finfo(np.float32).eps) ** 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of pure averaging."""

  num_rounds: int = knob(100, 'Rounds.', low=0)
  eval_every: int = knob(1, 'Rounds between measurements.', low=1)
  num_clients: int = knob(24, 'Clients.', low=1)
  topologies: tuple[str, ...] = knob(
    (
      'ring',
      'ring(weights=fastest)',
      'torus',
      'exponential',
      'one_peer_exponential',
      'base',
      'random_matching',
      'random_digraph(weights=send)',
    ),
    'Topologies to compare.',
    registry=mixing.TOPOLOGIES,
  )
  graph_seed: int = knob(0, 'Seed of random graphs.', low=0)
  dimension: int = knob(100, 'Length of the vectors.', low=1, smoke=8)
  start: str = knob(
    'normal',
    'What clients hold: independent normal vectors, or 1 at client 0 only.',
    choices=('normal', 'one_hot'),
  )

  def validate(self) -> None:
    """Builds every mixer, which checks topologies against N and weights."""
    super().validate()
    config_lib.check_square(self.num_clients)
    config_lib.check_different(self.topologies, name='topologies')
    for topology in self.topologies:
      with config_lib.naming(topologies=topology, num_clients=self.num_clients):
        self.mixer(topology)

  def mixer(self, spec: str) -> mixing.Mixer:
    """Makes the mixer of a topology."""
    return mixing.make_mixer(spec, self.num_clients, seed=self.graph_seed)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  problem = problems.vectors(
    num_clients=config.num_clients,
    dimension=config.dimension,
    start=config.start,
    seeds=config.seeds,
  )
  clients = config.clients(even=True)
  mixers = {t: config.mixer(t) for t in config.topologies}
  sent = {t: mixing.messages(m) for t, m in mixers.items()}

  def measure(values, moment):
    per_round = sent[moment.variant.name]
    whole, rest = divmod(moment.round, len(per_round))
    total = whole * per_round.sum() + per_round[:rest].sum()
    values['test']['messages'] = np.full(len(config.seeds), total)

  def spectra(moments):
    if moments[0].round:
      return []
    return [
      {'split': 'spectrum', 'variant': t, 'seed': config.seeds[0]}
      | mixing.spectrum(m)
      for t, m in mixers.items()
    ]

  return compare(
    config,
    problem,
    {
      t: lambda start, m=m: decentralized.averaging(start, m, clients)
      for t, m in mixers.items()
    },
    measure=measure,
    extra_rows=spectra,
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
  names = ('messages', 'period', 'factor', 'smallest_eigenvalue')
  names += ('rounds_to_1e-6',)
  last = max(r['step'] for r in rows)
  ended: dict[str, list] = {}
  for r in rows:
    if r['split'] == 'test' and r['step'] == last:
      ended.setdefault(r['variant'], []).append(r)
  cells = [
    [
      row['variant'],
      *(row.get(name) for name in names),
      *(
        float(np.mean([r[metric] for r in ended[row['variant']]]))
        for metric in ('consensus', 'error')
      ),
    ]
    for row in rows
    if row['split'] == 'spectrum'
  ]
  columns = ['topology', 'messages / round', 'period', 'factor']
  columns += ['least eigenvalue', 'rounds to 1e-6']
  return [*columns, f'consensus after {last}', 'error'], cells


def draw(config: Config, rows, directory):
  """Draws the graphs, and distances over rounds and messages.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  drawn = [
    plots.draw_topologies(
      {
        t: mixing.matrices(config.mixer(t), num_draws=3)
        for t in config.topologies
      },
      directory / 'topologies.png',
      title=f'Who talks to whom: {config.num_clients} clients',
    )
  ]
  label = 'Squared distance to consensus / start'
  sent = 'Messages sent per client'
  for metric, x, name, ylabel, xlabel in (
    ('consensus', 'step', 'consensus', label, None),
    ('consensus', 'messages', 'consensus_messages', label, sent),
    ('error', 'step', 'error', label.replace('consensus', 'the mean'), None),
  ):
    drawn.append(
      plots.lines(
        rows,
        directory / f'{name}.png',
        metric,
        x=x,
        log_y=True,
        floor=FLOOR,
        ylabel=ylabel,
        xlabel=xlabel,
        title=f'Averaging over {config.num_clients} clients',
      )
    )
  return drawn


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
