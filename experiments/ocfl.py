# SPDX-License-Identifier: Apache-2.0
r"""One model per group of clients, found in one shot (OCFL), and its rivals.

Clients come in three groups that hold different classes. Nobody is told:
`ocfl` clusters clients once, when the temperature of their updates first
rises, `sattler` cuts clusters in two again and again, `briggs` clusters in a
given round, `ifca` lets clients choose among models; `fedavg` has one model and
`local_only` one for each client. Shows what clients' models are worth on their
own tests and on all classes, and how the clusters match the groups. Rounds t
are counted from 0, as in the paper, where clusters change.

Example: python -m experiments.ocfl --split=overlapping \
  --algorithms='ocfl,ocfl(clusterer=meanshift),ocfl(gossip=ring),fedavg'
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import local, networks, plots, problems
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.federated import clusters, server

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.ClusteredConfig):
  """Knobs of training in clusters."""

  unused = ()

  num_rounds: int = knob(50, 'Rounds.', low=0)
  eval_every: int = knob(1, 'Rounds between evaluations.', low=1)
  algorithms: tuple[str, ...] = knob(
    ('ocfl', 'fedavg', 'local_only'),
    'Algorithms to compare.',
    registry=clusters.ALGORITHMS,
    smoke=3,
  )
  method: str = knob(
    'fedavg',
    'What clients and server do within a cluster.',
    registry=server.METHODS,
  )
  optimizer: str = knob('sgd(0.2)', "A client's.", registry=local.OPTIMIZERS)
  local_epochs: int = knob(3, 'Passes over its examples.', low=1)
  batch_size: int = knob(32, 'Examples per local step.', low=1)
  samples_per_client: int = knob(
    120,
    'Examples of each client, its tests included; 0 deals as many as there '
    'are without dealing one twice.',
    low=0,
  )
  network: str = knob('mlp((64, 64))', 'Network.', registry=networks.NETWORKS)
  chunk: int = knob(
    0,
    'Clients trained together on a device; 0 follows the default rule.',
    low=0,
  )

  def validate(self) -> None:
    """Checks every algorithm against the number of clients."""
    super().validate()
    config_lib.check_different(self.algorithms, name='algorithms')
    everybody = local.SAMPLERS.part(self.sampling).name == 'full'
    for spec in self.algorithms:
      with config_lib.naming(
        algorithms=spec,
        num_clients=self.num_clients,
        sampling=None if everybody else self.sampling,
      ):
        recipe = clusters.make_recipe(spec)
        recipe.check(self.num_clients, everybody=everybody)

  def setting(self, problem) -> clusters.Setting:
    """What all algorithms share."""
    first = jax.tree.map(lambda x: x[0], problem.data)
    cohort = jax.eval_shape(problem.cohort, jax.random.key(0), first, 1)
    work = local.LocalWork(
      self.optimizer, batch_size=self.batch_size, num_epochs=self.local_epochs
    )
    return clusters.Setting(
      problem.task,
      self.clients(),
      work,
      method=self.method,
      cohort_size=len(cohort.client_ids),
    )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  problem = config.problem()
  setting = config.setting(problem)
  truth = problem.test['groups']

  def measure(values, moment):
    found = [
      {
        **clusters.clustering_scores(state.labels, truth),
        **{
          f'mean_{name}': value
          for name, value in clusters.mean_scores(
            clusters.label_history(state), truth, moment.round
          ).items()
        },
      }
      for state in moment.state
    ]
    values['test'] |= {
      name: np.array([scores[name] for scores in found]) for name in found[0]
    }

  def records(moments):
    """Who holds what, and who was in which cluster."""
    if not moments[0].round:
      return clusters.blueprint_rows(problem.test, config.seeds)
    return [
      {'step': m.round, 'variant': m.variant.name, 'seed': seed, **row}
      for m in moments
      if m.last
      for seed, state in zip(config.seeds, m.state, strict=True)
      for row in clusters.history_rows(state)
    ]

  return compare(
    config,
    problem,
    {
      spec: clusters.make_algorithm(spec, setting) for spec in config.algorithms
    },
    measure=measure,
    extra_rows=records,
    plots=(functools.partial(draw, config),),
    table=functools.partial(table, config),
  )


def table(config: Config, rows):
  """Compares the algorithms at the end and over all rounds.

  Args:
    config: knobs.
    rows: rows of a run.

  Returns:
    Columns and cells; means over the seeds.
  """
  columns = ['algorithm', 'clusters', 'last change (t)', 'ARI', 'mean ARI']
  columns += ['personal accuracy', 'its mean', 'macro-F1', 'common accuracy']
  mean = lambda found, name: f'{np.mean([r[name] for r in found]):.3f}'
  each = lambda found, name: '/'.join(
    dict.fromkeys(f'{r[name]:.0f}' for r in found)
  )
  cells = []
  for spec in config.algorithms:
    test, train = (
      [r for r in rows if (r['variant'], r['split']) == (spec, split)]
      for split in ('test', 'train')
    )
    done = [r for r in test if r['step']]
    last = [r for r in done if r['step'] == config.num_rounds]
    ended = [r for r in train if r['step'] == config.num_rounds]
    if last:
      cells.append(
        (
          spec,
          each(ended, 'num_clusters'),
          each(ended, 'changed').replace('-1', '-'),
          mean(last, 'ari'),
          mean(last, 'mean_ari'),
          mean(last, 'personal_accuracy'),
          mean(done, 'personal_accuracy'),
          mean(last, 'personal_f1'),
          mean(last, 'accuracy'),
        )
      )
  return columns, cells


def draw(config: Config, rows, directory):
  """Draws accuracies, temperature and clusters over the rounds.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.dataset}: {config.num_clients} clients, {config.split}'
  unit = {'ylim': (0.0, 1.0)}
  train = {'split': 'train'}
  return [
    plots.lines(found, directory / f'{name}.png', metric, title=title, **look)
    for found, name, metric, look in (
      (
        rows,
        'personal_accuracy',
        'personal_accuracy',
        {'ylabel': "Accuracy on clients' own tests"} | unit,
      ),
      (
        rows,
        'common_accuracy',
        'accuracy',
        {'ylabel': 'Accuracy on all classes'} | unit,
      ),
      (rows, 'ari', 'ari', {'ylabel': 'Adjusted Rand index of the clusters'}),
      (
        [r for r in rows if 'temperature' in r],
        'temperature',
        'temperature',
        {'ylabel': 'Clustering temperature'} | train,
      ),
    )
    if any(metric in r for r in found)
  ]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
