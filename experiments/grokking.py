# SPDX-License-Identifier: Apache-2.0
r"""When do networks that fit an operation begin to understand it?

Networks of two layers learn g, h -> g h of a group (or any table) from some of
all pairs. Methods run side by side, on every group and every split: `trained`
(all layers), `ridge_top` (the top is solved for), `frozen` (random features).
Metrics of training are those before an epoch; the first epochs are written one
by one. `adam(..., weight_decay=...)` has the decay that generalization hangs
on, `adamw` the other one; `muon` orthogonalizes updates.

Example: python -m experiments.grokking --groups='cyclic(23),dihedral(11)' \
  --methods='trained,trained(top_scale=0.0),frozen' --splits='critical(4.0)'
"""

import dataclasses
import functools

import numpy as np

from jaxdl import plots
from jaxdl.experiment import compare, config as config_lib, reached, runner
from jaxdl.theory import grokking

knob = runner.knob

# Of test accuracy.
GROKKED = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of grokking; a round is an epoch."""

  num_rounds: int = knob(300, 'Epochs, all training examples at once.', low=0)
  eval_every: int = knob(5, 'Epochs between evaluations.', low=1)
  groups: tuple[str, ...] = knob(
    ('cyclic(23)',), 'Operations.', registry=grokking.GROUPS, smoke=1
  )
  splits: tuple[str, ...] = knob(
    ('fraction(0.8)',),
    'Shares of all pairs that are learned from.',
    registry=grokking.SPLITS,
    smoke=1,
  )
  methods: tuple[str, ...] = knob(
    ('trained', 'trained(top_scale=0.0)', 'frozen'),
    'What to compare; options in brackets are those of the flags.',
    registry=grokking.METHODS,
    smoke=2,
  )
  hidden: int = knob(256, 'Hidden nodes.', low=1, smoke=16)
  activation: str = knob('square', 'Activation.', registry=grokking.ACTIVATIONS)
  loss: str = knob(
    'class_centered',
    'Loss; weight decays of different ones do not compare.',
    registry=grokking.LOSSES,
  )
  optimizer: str = knob(
    'adam(0.005, weight_decay=0.00005)',
    'Optimizer.',
    registry=grokking.OPTIMIZERS,
  )
  measures: tuple[str, ...] = knob(
    ('features',),
    'What is measured besides; gram takes many times an epoch.',
    registry=grokking.MEASURES,
  )
  num_early: int = knob(
    200,
    'First epochs that are written one by one, at the end (split early).',
    low=0,
    smoke=2,
  )

  def validate(self) -> None:
    """Checks every group, split and method, and those together."""
    super().validate()
    for name in ('groups', 'splits', 'methods'):
      config_lib.check_different(getattr(self, name), name=name)
    if self.measures:
      config_lib.check_different(self.measures, name='measures')
    for group in self.groups:
      with config_lib.naming(groups=group):
        table = grokking.make_table(group)
      for split in self.splits:
        with config_lib.naming(groups=group, splits=split):
          share = grokking.train_share(split, table)
          grokking.num_train(table.size, share)
      for method in self.methods:
        with config_lib.naming(methods=method):
          self.method(method, len(table))

  def method(self, spec: str, order: int) -> grokking.Method:
    """Makes the network of a spec, and how it is trained."""
    return grokking.make_method(
      spec,
      order,
      hidden=self.hidden,
      activation=self.activation,
      loss=self.loss,
      optimizer=self.optimizer,
      num_steps=self.num_rounds,
      turns=any(m.partition('(')[0] == 'turns' for m in self.measures),
      num_early=self.num_early,
    )

  def label(self, method: str, group: str, split: str) -> str:
    """What a variant is called: its method, and what differs besides."""
    parts = [method]
    parts += [group] if len(self.groups) > 1 else []
    parts += [split] if len(self.splits) > 1 else []
    return ', '.join(parts)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads tables from files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  own, algorithms, columns, measures = {}, {}, {}, {}
  for group in config.groups:
    for split in config.splits:
      data = grokking.make_data(group, split, seeds=config.seeds)
      for spec in config.methods:
        method = config.method(spec, data.order)
        name = config.label(spec, group, split)
        own[name] = grokking.make_problem(data, method.model)
        algorithms[name] = method.algorithm
        measures[name] = grokking.make_measure(
          config.measures, data, method.model
        )
        columns[name] = {
          'method': spec,
          'group': group,
          'order': data.order,
          'train_fraction': data.train_fraction,
        }

  def measure(values, moment):
    values['test'] |= measures[moment.variant.name](moment.params)

  def early(moments):
    return [
      {'step': m.round, 'variant': m.variant.name, **row, **m.variant.columns}
      for m in moments
      if m.last
      for row in grokking.early_rows(m.state, config.seeds)
    ]

  return compare(
    config,
    own,
    algorithms,
    measure=measure,
    extra_rows=early,
    columns=columns,
    plots=(functools.partial(draw, config),),
    table=table,
  )


def table(rows):
  """How far each variant came, and when.

  Args:
    rows: rows of the run.

  Returns:
    Columns and cells for the terminal, means over the seeds.
  """
  last = max(r['step'] for r in rows)
  cells = []
  for name in dict.fromkeys(r['variant'] for r in rows):
    mine = [r for r in rows if r['variant'] == name and r['step'] == last]
    mean = lambda split, metric, mine=mine: float(
      np.mean([r[metric] for r in mine if r['split'] == split] or [np.nan])
    )
    found = reached(rows, 'accuracy', GROKKED, variant=name)
    seeds = {r['seed'] for r in mine}
    epochs = [r['step'] for r in found] if len(found) == len(seeds) else []
    cells.append([
      name,
      mine[0]['train_fraction'],
      mean('train', 'accuracy'),
      mean('test', 'accuracy'),
      f'{len(found)}/{len(seeds)}',
      float(np.mean(epochs)) if epochs else None,
    ])  # fmt: skip
  names = ['variant', 'train share', 'train accuracy', 'test accuracy']
  return [*names, f'seeds > {GROKKED}', 'at epoch'], cells


def draw(config: Config, rows, directory):
  """Draws accuracies, the first epochs, features, and the sampling law.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{", ".join(config.groups)}: {config.hidden} nodes'
  line = functools.partial(plots.lines, title=title, xlabel='Epoch')
  whole = {'ylim': (0.0, 1.02)}
  test = [r for r in rows if r['split'] == 'test']
  paths = [
    line(rows, directory / f'{name}.png', 'accuracy', **look)
    for name, look in (
      ('test_accuracy', {'ylabel': 'Test accuracy'} | whole),
      ('train_accuracy', {'ylabel': 'Training accuracy', 'split': 'train'}),
    )
    if any(r['split'] == look.get('split', 'test') for r in rows)
  ]
  for name, label in (
    ('purity', "Share of a node's weights in its largest irrep"),
    ('repelled', 'Share of similar pairs that repel each other'),
    ('sample_distance', 'Distance of the Gram matrix from a I + b 11ᵀ'),
  ):
    if any(name in r for r in test):
      look = {'ylabel': label} | whole
      paths.append(line(test, directory / f'{name}.png', name, **look))
  if any(r['split'] == 'early' for r in rows):
    look = {'split': 'early', 'x': 'epoch', 'log_y': True}
    look['ylabel'] = 'Gradient at the features'
    path = directory / 'early.png'
    paths.append(line(rows, path, 'feature_gradient', **look))
  if len(config.splits) > 1:
    last = max(r['step'] for r in test)
    ended = [
      r | {'curve': f'{r["method"]}, {r["group"]}'}
      for r in test
      if r['step'] == last
    ]
    look = {'x': 'train_fraction', 'by': 'curve', 'title': title} | whole
    look |= {'xlabel': 'Share of all pairs', 'ylabel': 'Test accuracy'}
    path = directory / 'sampling.png'
    paths.append(plots.lines(ended, path, 'accuracy', **look))
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
