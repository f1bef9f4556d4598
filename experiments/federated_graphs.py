# SPDX-License-Identifier: Apache-2.0
r"""Who tells the classes of nodes when clients hold parts of a graph?

Every network of `--networks`, `network[@completion]`, learns with every variant
of `--variants`: a federated algorithm, `algorithm[@channel(...)]`, or one
without a server, `algorithm@topology`. Networks: `gnodeformer` (filters of the
spectrum, learned by a transformer whose layers are Runge-Kutta steps), `gcn`,
`sage`, `gat`, `mlp` and others; `fedgcn` is told sums over all neighbors before
training, `sage@generated` makes lost neighbors up. With `--num_clients=1` the
whole graph is in one place. Rows tell accuracy on the clients' test nodes,
megabytes and the share of edges that clients kept; filters are of the
eigenvalues of I - D^-1/2 A D^-1/2.

Example: python -m experiments.federated_graphs --num_clients=3 \
  --networks='gnodeformer(rk=4),gcn,mlp' --optimizers='sgd(0.03),sgd(0.3)' \
  --partition=iid --variants='fedavg,gossip_sgd@ring'
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import metrics, plots
from jaxdl.core import registry
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.graphs import clients as pieces, spectral
from jaxdl.problems import graphs as problems

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.GraphRunsConfig):
  """Knobs of learning on parts of a graph."""

  num_rounds: int = knob(100, 'Rounds.', low=0, smoke=2)
  eval_every: int = knob(5, 'Rounds between evaluations.', low=1)
  networks: tuple[str, ...] = knob(
    ('gnodeformer(kernel_init=fan_in(distribution=normal))', 'gcn', 'mlp'),
    'What clients learn, network[@completion].',
    registry=pieces.LEARNERS,
    smoke=2,
  )

  def validate(self) -> None:
    """Builds networks, channels and topologies; `build` deals the nodes."""
    super().validate()
    config_lib.check_different(self.networks, name='networks')
    if not self.networks:
      raise ValueError('networks is empty: name at least one.')
    if len(self.optimizers) > len(self.networks):
      raise ValueError(
        f'optimizers must be one for all networks or one for each, '
        f'{len(self.networks)}; got {len(self.optimizers)}.'
      )
    structures = set()
    for spec in self.networks:
      network, _, structure = pieces.read_learner(spec, name='networks')
      structures.add(structure)
      with config_lib.naming(networks=spec):
        pieces.NETWORKS.make(network, 2)
    if self.num_eigs and 'spectrum' not in structures:
      raise ValueError(
        f'num_eigs={self.num_eigs} has no effect on '
        f'networks={",".join(self.networks)}: none takes a spectrum.'
      )

  def label(self, variant: str, network: str) -> str:
    """What a network and how it learns are called in rows."""
    if len(self.variants) == 1:
      return network
    return variant if len(self.networks) == 1 else f'{network} by {variant}'


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  first = config.problem(config.networks[0])
  learned, learning = {}, {}
  for number, network in enumerate(config.networks):
    with config_lib.naming(networks=network):
      problem = problems.for_learner(first, network)
    for variant in config.variants:
      name = config.label(variant, network)
      learned[name] = problem
      learning[name] = config.learning(variant, problem, number)
  distance = jax.jit(jax.vmap(metrics.consensus_distance))

  def measure(values, moment):
    sent = learning[moment.variant.name].megabytes
    if sent is None:
      sent = np.asarray(moment.state.megabytes)[:, 0]
    else:
      sent = np.full(len(config.seeds), sent[moment.round])
      values['test']['consensus'] = np.asarray(distance(moment.params))
    values['test']['megabytes'] = sent
    return values

  def in_the_end(moments):
    """Edges between clients, and filters."""
    if not moments[0].last:
      return []
    rows = problems.edge_rows(first, step=moments[0].round)
    for m in moments:
      rows += problems.filter_rows(
        m.variant.problem,
        m.params,
        per_client=m.variant.sample.per_client,
        step=m.round,
        variant=m.variant.name,
      )
    return rows

  return compare(
    config,
    learned,
    {name: found.algorithm for name, found in learning.items()},
    measure=measure,
    extra_rows=in_the_end,
    table=table,
    plots=(functools.partial(draw, config),),
  )


COLUMNS = (
  *('step', 'split', 'seed', 'variant', 'accuracy', 'chosen_accuracy'),
  *('chosen_step', 'worst_accuracy', 'kept_edges', 'megabytes', 'consensus'),
)


def table(rows):
  """The last rows, and accuracy where validation was best."""
  found = problems.at_best_validation(rows)
  return runner.table_by()(
    [{k: row[k] for k in COLUMNS if k in row} for row in found]
  )


def draw(config: Config, rows, directory):
  """Draws accuracy over rounds and megabytes, edges, and filters.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  n, name = config.num_clients, registry.parse(config.dataset).name
  title = f'{config.dataset}: {n} clients, {config.partition}'
  look = {'title': title, 'ylabel': 'Accuracy on test nodes', 'ylim': (0, 1)}
  paths = [
    plots.lines(rows, directory / 'accuracy.png', 'accuracy', **look),
    plots.lines(
      rows,
      directory / 'accuracy_by_megabytes.png',
      'accuracy',
      x='megabytes',
      xlabel='Megabytes sent by all clients',
      **look,
    ),
  ]
  edges = [r for r in rows if r['split'] == 'edges']
  if edges:
    shares = np.zeros((n, n))
    for row in edges:
      shares[row['client'], row['other']] += row['share'] / len(config.seeds)
    paths.append(
      plots.heat_map(
        shares,
        range(n),
        range(n),
        directory / 'edges.png',
        low=0.0,
        label='Share of all edges',
        xlabel='Client',
        ylabel='Client',
        title=f'{name}: {np.trace(shares):.0%} of the edges are kept',
      )
    )
  filters = [
    {**r, 'curve': f'{r["variant"]}, head {r["head"]}'}
    for r in rows
    if r['split'] == 'filter'
  ]
  if filters:
    paths.append(
      plots.lines(
        filters,
        directory / 'filters.png',
        'filter',
        split='filter',
        by='curve',
        x='eigenvalue',
        xlabel=f'Eigenvalue of {spectral.MATRIX}',
        ylabel='Learned filter (mean of clients)',
        title=title,
      )
    )
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
