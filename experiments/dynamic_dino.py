# SPDX-License-Identifier: Apache-2.0
r"""Does a detector gain by becoming a mixture of experts?

A small detector that is asked in words is trained on scenes of colored shapes
(or images of the COCO format), then tuned as it is and with experts cut from
its decoder's feed-forward layers. Rows tell average precision over base, rare
and novel pairs, and how experts work together in every layer.

A run of `--variants=dense_tuned '--trainable=*' --pretraining='adam(steps=0)'`
is one of pre-training alone, which `--pretraining='run("its workdir")'` reads;
`--num_rounds=0` only measures.

Example: python -m experiments.dynamic_dino --seeds=0,1 \
  --variants='dense,dense_tuned,moe(8, top_k=2),moe(8, router=random)'
"""

import dataclasses
import functools

import numpy as np

from jaxdl import local, plots
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.perception import detection
from jaxdl.problems import detection as problem_lib

knob = runner.knob

# Pictures of so many test images, with boxes of at least this score.
NUM_SHOWN = 6
SHOWN_SCORE = 0.3
TINY = (
  'grounding(width=16, num_queries=6, decoder_layers=1, num_heads=2, '
  'hidden=16, channels=8, strides=(2, 2))'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of tuning with experts."""

  num_rounds: int = knob(10, 'Rounds of tuning.', low=0)
  steps: int = knob(50, 'Steps of tuning in a round.', low=1, smoke=2)
  eval_every: int = knob(2, 'Rounds between evaluations.', low=1, smoke=1)
  source: str = knob(
    'shapes(image_size=32)',
    'Images, phrases and boxes.',
    registry=detection.SOURCES,
    smoke=lambda spec: (
      config_lib.set_low(spec, image_size=16)
      if spec.startswith('shapes')
      else spec
    ),
  )
  network: str = knob(
    'grounding(num_queries=12, hidden=128, channels=(32, 64), '
    'strides=(2, 2, 1))',
    'Detector.',
    registry=detection.DETECTORS,
    smoke=TINY,
  )
  pretraining: str = knob(
    'adam(steps=1500)',
    'Where tuning starts: what this makes, which a run that goes on makes '
    'again, or what another run left.',
    registry=problem_lib.PRETRAININGS,
    smoke=lambda spec: (
      config_lib.set_low(spec, steps=0) if spec.startswith('adam') else spec
    ),
  )
  variants: tuple[str, ...] = knob(
    ('dense_tuned', 'moe(8, top_k=2)'),
    'What to compare; before tuning all are the dense detector.',
    registry=problem_lib.VARIANTS,
    smoke=('moe(4, top_k=2)',),
  )
  trainable: tuple[str, ...] = knob(
    problem_lib.TRAINABLE, 'Patterns of paths of parameters that are tuned.'
  )
  optimizer: str = knob(
    'adam(0.0003)', 'Optimizer of tuning.', registry=local.OPTIMIZERS
  )
  aux_coef: float = knob(
    0.01,
    'Of the load balance of every layer of experts.',
    low=0.0,
    needs={'variants': ['moe']},
  )
  batch_size: int = knob(16, 'Images in a step.', low=1, smoke=2)
  num_test: int = knob(256, 'Test images.', low=1, smoke=8)

  def validate(self) -> None:
    """Makes the variants, the detector and, of drawn ones, the images."""
    super().validate()
    config_lib.check_different(self.variants, name='variants')
    config_lib.check_different(self.trainable, name='trainable')
    for spec in self.variants:
      with config_lib.naming(variants=spec):
        problem_lib.VARIANTS.make(spec)
    with config_lib.naming(source=self.source):
      if detection.SOURCES.part(self.source).name == 'shapes':
        detection.SOURCES.make(self.source)
    with config_lib.naming(network=self.network):
      detection.DETECTORS.make(self.network, num_words=2)
    config_lib.without_device(
      functools.partial(
        problem_lib.check_trainable, self.network, self.trainable
      )
    )
    with config_lib.naming(pretraining=self.pretraining):
      problem_lib.PRETRAININGS.make(self.pretraining)

  def problem(self):
    """Images and the dense detector."""
    return problem_lib.scenes(
      self.source,
      network=self.network,
      batch_size=self.batch_size,
      num_test=self.num_test,
      seeds=self.seeds,
    )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment and pre-trains; reads files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  whole = config.problem()
  for spec in config.variants:
    # Before anything is trained.
    with config_lib.naming(variants=spec):
      problem_lib.check_variant(whole, spec, trainable=config.trainable)
  start, losses = problem_lib.pretrained(whole, config.pretraining)
  whole = problem_lib.with_start(whole, start)
  optimizer = local.make_optimizer(
    config.optimizer, num_steps=config.num_rounds * config.steps
  )
  own, algorithms = {}, {}
  for spec in config.variants:
    with config_lib.naming(variants=spec):
      own[spec], algorithms[spec] = problem_lib.variant(
        whole,
        spec,
        optimizer=optimizer,
        trainable=config.trainable,
        aux_coef=config.aux_coef,
      )

  def extra_rows(moments):
    rows = []
    if moments[0].round == 0:
      rows += problem_lib.pretraining_rows(losses, config.seeds)
    for moment in moments:
      if moment.last:
        rows += problem_lib.picture_rows(
          moment, num_images=NUM_SHOWN, score=SHOWN_SCORE
        )
    return rows

  return compare(
    config,
    own,
    algorithms,
    steps=config.steps,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
    table=table,
  )


def table(rows):
  """Average precision of each variant before and after tuning.

  Args:
    rows: rows of the run.

  Returns:
    Columns and cells for the terminal, means over the seeds.
  """
  tests = [r for r in rows if r['split'] == 'test']
  last = max(r['step'] for r in tests)
  names = ('ap50', 'ap50_base', 'ap50_rare', 'ap50_novel', 'loss')
  cells = []
  for name in dict.fromkeys(r['variant'] for r in tests):
    mean = lambda step, metric, name=name: float(
      np.mean(
        [r[metric] for r in tests if (r['variant'], r['step']) == (name, step)]
      )
    )
    cells.append([name, mean(0, 'ap50'), *(mean(last, m) for m in names)])
  return ['variant', 'ap50 at the start', *names], cells


def draw(config: Config, rows, directory):
  """Draws precision, boxes, and how experts work together."""
  title = config.source
  line = functools.partial(plots.lines, rows, title=title)
  over = {'xlabel': f'Rounds of {config.steps} steps of tuning'}
  paths = [
    line(
      directory / f'{name}.png',
      name,
      ylabel=f'AP50 of {label}',
      ylim=(-0.02, 1.02),
      **over,
    )
    for name, label in (
      ('ap50', 'all pairs'),
      ('ap50_rare', 'rare pairs'),
      ('ap50_novel', 'novel pairs'),
    )
    if any(np.isfinite(r.get(name, np.nan)) for r in rows)
  ]
  if any(r['split'] == 'pretraining' for r in rows):
    look = {'split': 'pretraining', 'x': 'iteration', 'log_y': True}
    path = directory / 'pretraining.png'
    paths.append(line(path, 'loss', ylabel='Loss of pre-training', **look))
  curves = [r for r in rows if r['split'] == 'curves']
  for group in dict.fromkeys(r['group'] for r in curves):
    look = {'split': 'curves', 'x': 'recall', 'ylim': (-0.02, 1.02)}
    paths.append(
      plots.lines(
        [r for r in curves if r['group'] == group],
        directory / f'precision_{group}.png',
        'precision',
        xlabel='Recall',
        ylabel=f'Precision of {group} pairs at IoU .5',
        **look,
      )
    )
  paths += problem_lib.draw_experts(rows, directory, **over)
  if any(r['split'] == 'boxes' for r in rows):
    images = problem_lib.test_pictures(
      config.source, min(NUM_SHOWN, config.num_test)
    )
    paths.append(plots.boxes(rows, images, directory / 'boxes.png'))
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
