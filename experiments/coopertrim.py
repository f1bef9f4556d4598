# SPDX-License-Identifier: Apache-2.0
r"""What should vehicles ask each other for, and how much of it?

Agents see discs of a crossing and tell where vehicles are, from bird's-eye maps
that they fuse with those of others. Each variant is a selector that trains with
full frames first and then with what it selects: `coopertrim` asks for channels
that changed, as many as a learned threshold says; `random`, `std`, `where2comm`
and `swisscheese` send a fixed share; `none` and `full` are the ends. Trained
models are tested with --rivals in place of their selector, at equal shares.

With --links='over(topology=ring, loss=0.2)' every agent is a receiver, hears
its neighbors of any topology, and messages get lost; --compress takes zlib
(`lossy(factor=32)`) or any compressor of messages (`qsgd(num_levels=127)`).

Example: python -m experiments.coopertrim --num_rounds=20 \
  --selectors='coopertrim,coopertrim(calibration=window),full'
"""

import dataclasses
import functools

import numpy as np

from jaxdl import local, plots
from jaxdl.core import registry
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.perception import cooperation
from jaxdl.problems import cooperation as problems

knob = runner.knob
# Scenes whose masks are drawn, and the largest grid of which a map is.
NUM_SCENES = 6
MOST_CELLS = 64


def small_world(spec: str) -> str:
  """Roads of a few cells, otherwise as they were."""
  spec = spec if spec.startswith('roads') else 'roads'
  spec = config_lib.set_low(spec, grid=8, frames=3, agents=2, agents_min=2)
  return registry.changed(spec, vehicles=(1, 3))


def small_fusion(spec: str) -> str:
  """Windows and heads that divide a small map."""
  few = {'window': 4, 'heads': 2} if spec.startswith('windowed') else {}
  return config_lib.set_low(spec, **few)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of cooperative perception."""

  num_rounds: int = knob(50, 'Rounds.', low=0, smoke=3)
  steps: int = knob(10, 'Training steps in a round.', low=1, smoke=2)
  eval_every: int = knob(5, 'Rounds between evaluations.', low=1, smoke=1)
  world: str = knob(
    'roads',
    'Where agents look.',
    registry=cooperation.worlds.WORLDS,
    smoke=small_world,
  )
  data_dir: str = knob('', 'Folder of files.', needs={'world': ['opv2v']})
  network: str = knob(
    'conv(channels=16)',
    'What makes maps of what an agent sees.',
    registry=cooperation.ENCODERS,
    smoke='conv(channels=4)',
  )
  selectors: tuple[str, ...] = knob(
    ('coopertrim', 'full'),
    'What to compare: who selects what is sent.',
    registry=cooperation.SELECTORS,
    smoke=1,
  )
  rivals: tuple[str, ...] = knob(
    ('none', 'full', 'random', 'std'),
    'Selectors that trained models are tested with besides, at equal shares.',
    registry=cooperation.SELECTORS,
    smoke=2,
  )
  budgets: tuple[float, ...] = knob(
    (0.0625, 0.125, 0.25, 0.5, 0.75),
    'Shares that they and its own are tested with in the end.',
    low=0.0,
    high=1.0,
    smoke=1,
  )
  fusion: str = knob(
    'max',
    'How maps are fused.',
    registry=cooperation.FUSIONS,
    smoke=small_fusion,
  )
  links: str = knob(
    'ego',
    'Who hears whom: one ego all others, or all their neighbors.',
    registry=cooperation.wire.LINKS,
  )
  compress: str = knob(
    'none', 'How messages are compressed.', registry=cooperation.wire.CODECS
  )
  noises: tuple[str, ...] = knob(
    (), 'What goes wrong.', registry=cooperation.NOISES
  )
  loss: str = knob(
    'segmentation(vehicle=5.0, dynamic=1.0)',
    'Weights of classes.',
    registry=cooperation.LOSSES,
  )
  penalty: str = knob(
    'linear(weight=0.0005)',
    'Price of what is sent, after the warm-up.',
    registry=cooperation.wire.PENALTIES,
  )
  link: str = knob(
    'link', 'What is counted of a link.', registry=cooperation.LINK
  )
  batch_size: int = knob(8, 'Scenes in a step.', low=1, smoke=2)
  num_tests: int = knob(64, 'Scenes that are tested on.', low=1, smoke=3)
  schedule: str = knob(
    'schedule',
    'Steps with full frames, and the chance of one afterwards.',
    registry=cooperation.SCHEDULE,
    smoke='schedule(warm_up=2)',
  )
  optimizer: str = knob(
    'adam(0.003, schedule=steps(at=0.8, factor=0.2))',
    'Optimizer; large steps are what opens the mask after the warm-up.',
    registry=local.OPTIMIZERS,
  )

  @property
  def parts(self) -> dict[str, object]:
    """What a problem is made of, but for the selector."""
    names = ('network', 'fusion', 'links', 'compress', 'noises')
    return {name: getattr(self, name) for name in names} | {
      'world': self.world,
      'data_dir': self.data_dir or None,
    }

  def validate(self) -> None:
    """Makes the parts."""
    super().validate()
    config_lib.check_different(self.selectors, name='selectors')
    for name in ('rivals', 'noises', 'budgets'):
      if getattr(self, name):
        config_lib.check_different(getattr(self, name), name=name)
    noises = ','.join(self.noises) or None
    for name in ('selectors', 'rivals'):
      for selector in getattr(self, name):
        said = {name: selector, 'world': self.world, 'noises': noises}
        check = functools.partial(problems.check_parts, selector=selector)
        with config_lib.naming(**said):
          config_lib.without_device(functools.partial(check, **self.parts))


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  total = config.num_rounds * config.steps
  schedule = cooperation.SCHEDULE.make(config.schedule, steps=total)
  whole = problems.bev_segmentation(
    **config.parts,
    selector=config.selectors[0],
    loss=config.loss,
    penalty=config.penalty,
    explore=schedule.explore,
    link=cooperation.LINK.make(config.link),
    batch_size=config.batch_size,
    num_tests=config.num_tests,
    seeds=config.seeds,
  )
  own, algorithms = {}, {}
  for selector in config.selectors:
    own[selector] = whole.for_selector(selector)
    algorithms[selector] = own[selector].algorithm(
      local.make_optimizer(config.optimizer, num_steps=max(total, 1)),
      penalty=config.penalty,
      schedule=schedule,
    )

  def measure(values, moment):
    done = np.full(len(config.seeds), float(moment.round * config.steps))
    for part in values.values():
      part['iteration'] = done

  def extra_rows(moments):
    rows = []
    for moment in moments:
      problem = own[moment.variant.name]
      if not moment.last or not problem.model.selector.asks:
        continue
      label = {'step': moment.round, 'variant': moment.variant.name}
      rows += problems.rival_rows(
        problem, moment.params, config.rivals, config.budgets, label=label
      )
      found = problems.mask_rows(
        problem, moment.params, scenes=NUM_SCENES, label=label
      )
      small = problem.world.grid <= MOST_CELLS
      rows += [r for r in found if small or r['split'] != 'map']
    return rows

  return compare(
    config,
    own,
    algorithms,
    steps=config.steps,
    measure=measure,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
  )


def draw(config: Config, rows, directory):
  """Draws IoU and what is sent, over steps and against each other, and maps."""
  title = f'{config.world}, {config.fusion} fusion'
  line = functools.partial(plots.lines, title=title)
  over = {'x': 'iteration', 'xlabel': 'Step'}
  paths = [
    line(rows, directory / f'{name}.png', name, ylabel=label, **over)
    for name, label in (
      ('iou', 'IoU of vehicles'),
      ('percent', 'Percent of the maps that is sent'),
    )
  ]
  if any(row['split'] == 'budget' for row in rows):
    named = [
      row | {'curve': f'{row["variant"]} tested with {row["selector"]}'}
      for row in rows
      if row['split'] in ('budget', 'rivals')
    ]
    look = {'split': None, 'by': 'curve', 'x': 'mbps'}
    look |= {'xlabel': 'Mb/s per sender', 'ylabel': 'IoU of vehicles'}
    paths.append(line(named, directory / 'trade_off.png', 'iou', **look))
  if any(row['split'] == 'map' for row in rows):
    paths.append(plots.birds_eye(rows, directory / 'birds_eye.png'))
  return paths + plots.masks(rows, directory)


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
