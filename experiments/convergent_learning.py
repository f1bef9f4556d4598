# SPDX-License-Identifier: Apache-2.0
r"""Do networks of different starts learn the same units?

Several networks, clients that never talk, learn one task from different seeds.
Their units are compared by what they do on test examples: one to one (the best
partner of each, and the best pairs), one to few (sparse prediction), many to
many (groups), and as a whole. What they are worth before the first round, pairs
by chance and shuffled examples are the floor. Clients whose data differ
(--partition) can be compared as well.

Example: python -m experiments.convergent_learning \
  --architectures='mlp((64, 64, 64)),mlp((256, 256, 256))' \
  --measures='correlation,sparse((0.001, 0.01, 0.1, 0.5)),profile'
"""

import dataclasses
import functools

from jaxdl import decentralized, local, mixing, networks, plots, problems
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.problems import units
from jaxdl.theory import matching

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.MixtureConfig):
  """Knobs of convergent learning."""

  unused = ('network', 'reduction')

  num_clients: int = knob(
    4, 'Networks of each kind; all pairs are compared.', low=2, smoke=2
  )
  architectures: tuple[str, ...] = knob(
    ('mlp((64, 64, 64))',), 'Kinds of networks.', registry=networks.NETWORKS
  )
  num_rounds: int = knob(30, 'Rounds.', low=0)
  eval_every: int = knob(5, 'Rounds between evaluations.', low=1)
  local_steps: int = knob(100, 'Steps per round.', low=1, smoke=2)
  batch_size: int = knob(128, 'Examples per step.', low=1, smoke=16)
  partition: str = knob(
    'resample(alpha=inf)',
    'Where examples come from: all draw alike, or by mixtures of their own.',
    registry=problems.SAMPLINGS,
  )
  kernel_init: str = knob(
    'he', 'Variance of kernels at the start.', choices=networks.KERNEL_INITS
  )
  optimizer: str = knob(
    'adamw(0.001)', 'Of each network.', registry=local.OPTIMIZERS
  )
  measures: tuple[str, ...] = knob(
    ('correlation', 'information', 'sparse', 'similarity', 'profile', 'matrix'),
    'What is measured, before the first round and after the last; correlations '
    'in between, too.',
    registry=matching.MEASURES,
  )
  layers: str = knob(
    '',
    "Patterns of layers, as 'conv_*|dense_1'; empty for all that the network "
    'names.',
  )
  num_examples: int = knob(
    2048, 'Training examples that maps are fitted on.', low=2, smoke=64
  )
  same_start: bool = knob(False, 'Whether networks differ in batches only.')

  def validate(self) -> None:
    """Checks that there is something to compare."""
    super().validate()
    config_lib.check_different(self.architectures, name='architectures')
    config_lib.check_different(self.measures, name='measures')

  def smoked(self) -> 'Config':
    """The first network, and few measures."""
    small = dataclasses.replace(
      super().smoked(), architectures=self.architectures[:1]
    )
    return dataclasses.replace(small, measures=self.measures[:3])


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  made = {
    spec: config.problem(
      network=spec, batch_shape=(config.local_steps, config.batch_size)
    )
    for spec in config.architectures
  }
  tests = {
    spec: units.UnitTests(
      problem=problem,
      measures=config.measures,
      layers=tuple(filter(None, config.layers.split('|'))),
      num_examples=config.num_examples,
      batch_size=config.eval_batch_size,
    )
    for spec, problem in made.items()
  }
  optimizer = local.make_optimizer(
    config.optimizer, num_steps=config.num_rounds * config.local_steps
  )
  algorithms = {
    spec: decentralized.local_then_gossip(
      problem.task,
      mixing.identity(config.num_clients),
      config.clients(even=True),
      optimizer=optimizer,
      same_start=config.same_start,
    )
    for spec, problem in made.items()
  }

  def unit_rows(moments):
    return [
      {'step': m.round, 'variant': m.variant.name, **row}
      for m in moments
      for row in tests[m.variant.name].rows(
        m.params, everything=m.last or m.round == 0
      )
    ]

  return compare(
    config,
    made,
    algorithms,
    extra_rows=unit_rows,
    plots=(functools.partial(draw, config),),
    table=units.table,
  )


def draw(config: Config, rows, directory):
  """Draws matches over training and by layer, sparse maps, and who is shared.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.dataset}: {config.num_clients} networks, {config.partition}'
  several = len(config.architectures) > 1
  name = lambda r: f'{r["variant"]} {r["layer"]}' if several else r['layer']
  ends = [r | {'curve': f'{name(r)}, {r["when"]}'} for r in units.ends(rows)]
  matched = [
    r | {'curve': f'{name(r)}, {kind}', 'value': r[metric]}
    for r in rows
    if r['split'] == 'correlation' and r['match'] == 'correlation'
    for kind, metric in (('best', 'semi'), ('one to one', 'matched'))
  ]
  named = {'correlation': 'trained', 'permuted': 'paired by chance'}
  kinds = [
    r
    | {
      'pairs': named.get(r['match'], 'examples shuffled')
      if r['when'] == 'trained'
      else 'untrained',
      'layer': name(r),
    }
    for r in ends
    if r['split'] == 'correlation'
    and (r['when'] == 'trained' or r['match'] == 'correlation')
  ]
  one = {'ylabel': 'Mean correlation', 'ylim': (0.0, 1.0), 'title': title}
  error = {'ylabel': 'Half mean squared error, held out', 'title': title}
  worst = max([r['half_mse'] for r in ends if 'half_mse' in r], default=0.0)
  trivial = {'reference': {'predicting the mean': 0.5}}
  trivial['ylim'] = (0.0, max(0.6, 1.05 * worst))
  paths = []

  def add(split, draw_one, found, file, metric, **look):
    if any(r['split'] == split and metric in r for r in found):
      paths.append(
        draw_one(found, directory / f'{file}.png', metric, split=split, **look)
      )

  add('correlation', plots.lines, matched, 'match', 'value', by='curve', **one)
  look = {'by': 'pairs', 'group': 'layer'} | one | {'ylim': (-0.05, 1.0)}
  add('correlation', plots.bars, kinds, 'baselines', 'matched', **look)
  look = {'by': 'curve', 'log_x': True} | error | trivial
  used = [r for r in ends if r['split'] == 'sparse' and r['penalty'] > 0]
  axis = {'x': 'penalty', 'xlabel': 'Penalty on absolute weights'}
  add('sparse', plots.lines, used, 'sparse', 'half_mse', **axis, **look)
  few = {'by': 'curve', 'log_x': True, 'ylabel': 'Inputs used', 'title': title}
  add('sparse', plots.lines, used, 'inputs', 'num_used', **axis, **few)
  axis = {'x': 'rank', 'xlabel': 'Unit, best first', 'by': 'curve'}
  add('profile', plots.lines, ends, 'profile', 'best', **axis, **one)
  first = [
    r
    for r in ends
    if r['split'] == 'matrix' and r['when'] == 'trained'
    if r['seed'] == config.seeds[0] and r['variant'] == config.architectures[0]
  ]
  for layer in dict.fromkeys(r['layer'] for r in first):
    own = [r for r in first if r['layer'] == layer]
    cells = [[r[f'unit_{j}'] for j in range(len(own))] for r in own]
    labels = list(range(1, len(own) + 1))
    paths.append(
      plots.heat_map(
        cells,
        labels,
        labels,
        directory / f'matrix_{layer.replace("/", "_")}.png',
        annotate=False,
        diverging=True,
        low=-1.0,
        high=1.0,
        label='Correlation',
        xlabel='Units of network 2',
        ylabel='Units of network 1',
        title=f'{layer}, pairs along the diagonal',
      )
    )
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
