# SPDX-License-Identifier: Apache-2.0
r"""Which graph network for this graph? Searches side by side.

A search proposes architectures, each is trained and scored on validation nodes,
and the search learns of it: `agnn` changes the best where it is undecided,
`graphnas` says whole ones, `evolution` mutates, `random` draws; `gcn`, `gat`
and `fixed(...)` evaluate a given one. With `@constrained` offspring inherits
weights of the best where they fit. All that was evaluated is in the rows, split
'evaluated'; the best few are trained again in the end, split 'final'.

Example: python -m experiments.architecture_search --dataset=karate \
  --searches='agnn,agnn@constrained(warmup_epochs=10),random,gcn' --seeds=0,1
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import plots, problems
from jaxdl.core import registry
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.graphs import search, sets

knob = runner.knob

_NO_ROUND = 1 << 30  # Of keys that rounds do not use.
ALWAYS = ('searches', 'dataset', 'data_dir', 'space', 'num_layers')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of searches."""

  num_rounds: int = knob(40, 'Rounds: the budget.', low=1)
  eval_every: int = knob(1, 'Rounds between rows.', low=1)
  searches: tuple[str, ...] = knob(
    ('agnn', 'random'),
    'Searches to compare, search[@sharing of weights].',
    registry=registry.Pair(search.SEARCHES, search.SHARING),
  )
  dataset: str = knob(
    'block_model(num_nodes=400, p_in=0.05, p_out=0.01, features=one_hot, '
    'train=10, validation=100)',
    'Graph with labels and splits, or made-up scores, untrained (landscape).',
    registry=problems.graphs.ARCHITECTURES,
  )
  data_dir: str = knob('', 'Folder of the data files.')
  space: str = knob(
    'agnn(hidden=(4, 8, 16, 32), heads=(1, 2, 4))',
    'Space of architectures.',
    registry=search.SPACES,
  )
  num_layers: int = knob(2, 'Layers of an architecture.', low=1, high=1000)
  child_epochs: int = knob(40, 'Epochs of a training.', low=1, smoke=2)
  child_seeds: int = knob(1, 'Trainings of one, whose mean counts.', low=1)
  learning_rate: float = knob(0.005, 'Of a training, with Adam.', low=0.0)
  l2: float = knob(5e-4, 'Of a training: half of it times squares.', low=0.0)
  dropout: float = knob(
    0.6,
    'Of inputs of layers, and attention.',
    low=0.0,
    high=1.0,
    open_high=True,
  )
  offspring: int = knob(1, 'New architectures of a round.', low=1, smoke=2)
  chunk: int = knob(
    0, 'Of them that run together on a device; 0 follows the rule.', low=0
  )
  finalists: int = knob(
    5, 'The best in the end that are trained again; 0 for none.', low=0, smoke=2
  )
  finalist_seeds: int = knob(
    5, 'Trainings of each that decide on the winner.', low=1, smoke=2
  )
  final_seeds: int = knob(
    10, 'Trainings of the winner, whose tests count.', low=1, smoke=2
  )

  @property
  def is_landscape(self) -> bool:
    """Whether nothing is trained."""
    return problems.graphs.ARCHITECTURES.part(self.dataset).name == 'landscape'

  def ineffective(self) -> dict[str, str]:
    """Landscapes are not trained on."""
    if self.is_landscape:
      own = config_lib.own_names(Config)
      return {name: 'it is for graphs' for name in own if name not in ALWAYS}
    names = () if self.finalists else ('finalist_seeds', 'final_seeds')
    return dict.fromkeys(names, 'it is for finalists')

  def validate(self) -> None:
    """Makes every search, which checks the space too."""
    super().validate()
    needs = not self.is_landscape and sets.needs_files(self.dataset)
    problems.check_files(self.dataset, self.data_dir, needs)
    config_lib.check_different(self.searches, name='searches')
    space = search.make_space(self.space)
    for spec in self.searches:
      name, sharing = registry.pair(spec, name='searches')
      with config_lib.naming(searches=spec, space=self.space):
        search.make_search(name, space, self.num_layers)
      if sharing is not None and self.is_landscape:
        raise ValueError(
          f'searches={spec} shares weights, which dataset={self.dataset} has '
          'not.'
        )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  problem = problems.graphs.architectures(
    config.dataset,
    data_dir=config.data_dir or None,
    space=config.space,
    num_layers=config.num_layers,
    seeds=config.seeds,
  )
  trainer = None
  if not config.is_landscape:
    clients = config.clients(config.offspring)
    trainer = problem.trainer(
      optimizer=search.child_optimizer(config.learning_rate, config.l2),
      num_epochs=config.child_epochs,
      dropout=config.dropout,
      num_seeds=config.child_seeds,
      num_tables=config.offspring,
      mesh=clients.mesh,
      chunk=clients.chunk,
    )
  algorithms = {}
  for spec in config.searches:
    name, sharing = registry.pair(spec)
    algorithms[spec] = problem.algorithm(name, trainer, sharing=sharing)

  def extra_rows(moments):
    """What was evaluated since the last rows, and the finals."""
    out = []
    for moment in moments if trainer is not None else ():
      label = {'step': moment.round, 'variant': moment.variant.name}
      after = (moment.round - 1) // config.eval_every * config.eval_every
      for seed, state in zip(config.seeds, moment.state, strict=True):
        own = label | {'seed': seed}
        for row in search.evaluated(problem.space, state, after=after):
          out.append(own | {'split': 'evaluated'} | row)
        if moment.last and config.finalists:
          out.append(own | {'split': 'final'} | final(seed, state))
    return out

  def final(seed, state):
    """Trainings of the best few from scratch."""
    found = search.finalists(
      state,
      trainer,
      num_finalists=config.finalists,
      num_trainings=config.finalist_seeds,
      num_tests=config.final_seeds,
      key=jax.random.fold_in(jax.random.key(seed), _NO_ROUND),
    )
    return {
      'architecture': found['architecture'],
      'validation': float(found['validation'].mean(1).max()),
      'test': float(found['test'].mean()),
      'test_std': float(found['test'].std()),
    }

  return compare(
    config,
    problem,
    algorithms,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
    table=None if config.is_landscape else functools.partial(table, config),
  )


def table(config: Config, rows):
  """The best of every search, and what they cost.

  Args:
    config: knobs.
    rows: rows of a run.

  Returns:
    Columns and cells; means over the seeds.
  """
  last = max(r['step'] for r in rows)
  names = ('accuracy', 'test_accuracy', 'evaluations', 'repeats', 'epochs')
  columns = ['search', 'best validation', 'its test', 'evaluated']
  columns += ['looked up', 'epochs', 'test again', 'architecture']
  cells = []
  for spec in config.searches:
    own = [r for r in rows if (r['variant'], r['step']) == (spec, last)]
    test = [r for r in own if r['split'] == 'test']
    means = [f'{np.mean([r[n] for r in test]):.4g}' for n in names]
    finals = [r for r in own if r['split'] == 'final']
    again, which = '-', '-'
    if finals:
      again = f'{np.mean([r["test"] for r in finals]):.4f}'
      which = max(finals, key=lambda r: r['validation'])['architecture']
    cells.append((spec, *means, again, which))
  return columns, cells


def draw(config: Config, rows, directory):
  """Draws the best so far over evaluations and epochs, and the finals.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.dataset.split("(")[0]}, {config.num_layers} layers'
  line = functools.partial(plots.lines, title=title)
  begun = [r for r in rows if r.get('evaluations', 1) > 0]
  if config.is_landscape:
    over = {'xlabel': 'Evaluations', 'ylabel': 'True score of the best'}
    return [line(begun, directory / 'accuracy.png', 'accuracy', **over)]
  paths = []
  words = {'accuracy': 'Best validation score', 'test_accuracy': 'Its test'}
  for name, label in words.items():
    over = {'xlabel': f'Rounds ({config.offspring} new each)', 'ylabel': label}
    paths.append(line(begun, directory / f'{name}.png', name, **over))
  timed = plots.aligned(begun, 'epochs')
  over = {'x': 'epochs', 'xlabel': 'Epochs', 'ylabel': words['accuracy']}
  paths.append(line(timed, directory / 'epochs.png', 'accuracy', **over))
  if any(r['split'] == 'final' for r in rows):
    words = f'Test score of the winner, {config.final_seeds} trainings'
    bars = functools.partial(plots.bars, rows, split='final', title=title)
    paths.append(bars(directory / 'final.png', 'test', ylabel=words))
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
