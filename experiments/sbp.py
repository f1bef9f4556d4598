# SPDX-License-Identifier: Apache-2.0
r"""How tensors are split over devices: what is cheapest, and is it true?

`search` chooses signatures for a program at several batch sizes and compares
their costs. `check` runs every signature of operators on the devices of a mesh,
with random terms of sums, and counts bytes of collectives in compiled programs
(`--devices=8` emulates devices). `actors` runs pipelines whose stages own a
fixed number of registers on a simulated clock, and compares their pace with
what the cycles of their graph say.

Example: python -m experiments.sbp --task=search --program='mlp((32, 64, 32))' \
  --mesh=4 --batches=8,63,64,65,512 --searches='greedy,optimal,ranked(place=2)'
"""

import dataclasses
import functools
import math

from jaxdl import parallel, plots
from jaxdl.experiment import config as config_lib, runner
from jaxdl.parallel import actors

knob = runner.knob

SEARCH, CHECK, ACTORS = ({'task': (t,)} for t in ('search', 'check', 'actors'))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of signatures and actors."""

  task: str = knob(
    'search',
    'What is done: signatures are searched, or run on devices; or pipelines.',
    choices=('search', 'check', 'actors'),
  )
  num_rounds: int = knob(
    10,
    'Draws of random tensors, or batches that go through pipelines.',
    low=1,
    smoke=3,
    needs={'task': ('check', 'actors')},
  )
  eval_every: int = knob(1, 'Rounds between measurements.', low=1)
  mesh: str = knob(
    '4', 'Devices along each axis, as 2x4.', needs={'task': ('search', 'check')}
  )
  program: str = knob(
    'mlp', 'What is computed.', registry=parallel.PROGRAMS, needs=SEARCH
  )
  batches: tuple[int, ...] = knob(
    (8, 63, 64, 65, 512), 'Batch sizes.', low=1, smoke=3, needs=SEARCH
  )
  searches: tuple[str, ...] = knob(
    ('greedy', 'data_parallel', 'optimal'),
    'How signatures are chosen.',
    registry=parallel.SEARCHES,
    needs=SEARCH,
  )
  costs: str = knob(
    'numbers', 'What counts.', registry=parallel.COST_MODELS, needs=SEARCH
  )
  operators: tuple[str, ...] = knob(
    tuple(parallel.OPERATORS),
    'Operators whose signatures are run.',
    registry=parallel.OPERATORS,
    smoke=2,
    needs=CHECK,
  )
  size: int = knob(8, 'Of every dimension of a tensor.', low=1, needs=CHECK)
  taus: tuple[float, ...] = knob(
    (1.0, 3.0, 2.0), 'Seconds of every stage.', low=0.0, needs=ACTORS
  )
  pipelines: tuple[str, ...] = knob(
    ('barrier', 'chain(1)', 'chain(2)', 'chain((2, 1))', 'chain(inf)'),
    'How stages wait for each other.',
    registry=actors.PIPELINES,
    needs=ACTORS,
  )
  jitter: float = knob(
    0.0,
    'Standard deviation of log seconds, drawn for every batch.',
    low=0.0,
    high=actors.MOST_JITTER,
    needs=ACTORS,
  )

  def validate(self) -> None:
    """Checks meshes, programs and pipelines; uses no device."""
    super().validate()
    lists = {'search': ('batches', 'searches'), 'check': ('operators',)}
    for name in lists.get(self.task, ('pipelines',)):
      config_lib.check_different(getattr(self, name), name=name)
    if self.task == 'actors':
      for spec in self.pipelines:
        with config_lib.naming(pipelines=spec, taus=self.taus):
          self.pipeline(spec)
      return
    num = math.prod(parallel.as_mesh_shape(self.mesh, name='mesh'))
    if self.task == 'check' and self.size % num:
      raise ValueError(
        f'size={self.size} must be a multiple of the {num} devices of mesh='
        f'{self.mesh}, so that everything can be split.'
      )
    for batch in self.batches if self.task == 'search' else ():
      flags = {n: getattr(self, n) for n in ('program', 'mesh', 'costs')}
      flags['batches'] = batch
      # The optimum takes longer, and is there where the greedy choice is.
      for search in ('greedy', *self.searches):
        with config_lib.naming(searches=search, **flags):
          if not search.startswith('optimal'):
            self.found(search, batch)

  def pipeline(self, spec: str) -> dict[str, actors.ActorSpec]:
    """The actors of a pipeline."""
    return actors.PIPELINES.make(spec, self.taus)

  def found(self, search: str, batch: int) -> parallel.Assignment:
    """The signatures that a search finds at a batch size."""
    return _found(self.program, search, batch, self.mesh, self.costs)


@functools.lru_cache(maxsize=256)
def _found(program, search, batch, mesh, costs):
  made = parallel.PROGRAMS.make(program, batch)
  model = parallel.COST_MODELS.make(costs)
  return parallel.SEARCHES.make(search, made, mesh, model)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  tasks = {'search': _search, 'check': _check, 'actors': _actors}
  return tasks[config.task](config)


def _search(config):
  """Round t is the batch size t."""

  def rows(state, metrics, number):
    last = (number - 1) // config.eval_every * config.eval_every
    out = []
    for batch in config.batches[last:number] if number else ():
      best = config.found('optimal', batch).cost
      for search in config.searches:
        found = config.found(search, batch)
        row = {'variant': search, 'cost': found.cost, 'batch': batch}
        if best or not found.cost:  # No multiple of nothing.
          row['over_optimal'] = found.cost / best if best else 1.0
        out.append(row | {'signatures': parallel.describe(found)})
    return out

  names = ('batch', 'variant', 'cost', 'over_optimal', 'signatures')
  return runner.Experiment(
    init=dict,
    step=lambda state, number: (state, {}),
    rows=rows,
    num_rounds=len(config.batches),
    plots=(functools.partial(_draw_costs, config),),
    table=lambda rows: (list(names), [_cells(r, names) for r in rows]),
    jit=False,
  )


def _cells(row, names):
  values = [row.get(n, '-') for n in names]
  return [f'{v:.6g}' if isinstance(v, float) else v for v in values]


def _check(config):
  """Round t draws tensors; what devices send is counted once."""
  with config_lib.naming(mesh=config.mesh):
    mesh = parallel.device_mesh(config.mesh)
  checks = parallel.Checks(
    config.operators, mesh, size=config.size, seeds=config.seeds
  )
  return runner.Experiment(
    init=checks.init,
    step=checks.step,
    rows=checks.rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(_draw_checks, config),),
    jit=False,
  )


def _actors(config):
  """Round t is the batch t."""
  found = actors.pipeline_rows(
    {spec: config.pipeline(spec) for spec in config.pipelines},
    config.num_rounds,
    seeds=config.seeds,
    jitter=config.jitter,
  )
  return runner.Experiment(
    init=dict,
    step=lambda state, number: (state, {}),
    rows=lambda state, metrics, number: found[number - 1] if number else [],
    num_rounds=config.num_rounds,
    plots=(functools.partial(_draw_actors, config),),
    jit=False,
  )


def _draw_costs(config, rows, directory):
  """Draws costs over batch sizes."""
  path, name = directory / 'cost.png', config.program.partition('(')[0]
  look = {'x': 'batch', 'log_x': True, 'log_y': True, 'xlabel': 'Batch size'}
  label = f'Cost ({config.costs})'
  look |= {'ylabel': label, 'title': f'{name} on {config.mesh} devices'}
  return [plots.lines(rows, path, 'cost', **look)]


def _draw_checks(config, rows, directory):
  """Draws bytes by the component that changes, and errors."""
  bars = []
  for r in rows:
    if r['split'] == 'boxing':
      kind = parallel.kind_of_change(*r['variant'].split(' -> '))
      bars += [
        {**r, 'seed': r['variant'], 'variant': n, 'change': kind, 'bytes': r[n]}
        for n in ('predicted', 'measured')
      ]
  title = f'On {config.mesh} devices'
  look = {'split': 'boxing', 'group': 'change', 'title': title}
  label = f'Bytes moved of {4 * config.size**2}, mean over places'
  sent = directory / 'boxing.png'
  return [
    plots.bars(bars, sent, 'bytes', ylabel=label, **look),
    plots.bars(rows, directory / 'errors.png', 'error', title=title),
  ]


def _draw_actors(config, rows, directory):
  """Draws when batches are done."""
  title = f'Stages of {", ".join(f"{t:g}" for t in config.taus)} s'
  look = {'xlabel': 'Batch', 'ylabel': 'Done after (s)', 'title': title}
  return [plots.lines(rows, directory / 'finish.png', 'finish_s', **look)]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
