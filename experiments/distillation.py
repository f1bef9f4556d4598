# SPDX-License-Identifier: Apache-2.0
r"""Online distillation: do networks that train together know what they know?

Trains students and teachers side by side on the same batches, once per method,
labels of which a share may be wrong, and tells accuracy and calibration of
each. Methods: `independent` (cross-entropy alone), `label_smoothing`,
`offline_kd` (a teacher trained before), `dml`, `kdcl`, `switokd` and `bd_kd`,
which balances two divergences by how sure the networks are.

Example: python -m experiments.distillation --label_noise=0.2 \
  --methods='independent,dml,bd_kd(weights=soft(kappa=0.2))' --seeds=0,1,2
"""

import dataclasses
import functools

from jaxdl import data, distillation, local, metrics, networks, plots, problems
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of distillation."""

  num_rounds: int = knob(60, 'Rounds.', low=0)
  steps_per_round: int = knob(50, 'Steps of a round.', low=1, smoke=2)
  methods: tuple[str, ...] = knob(
    ('independent', 'dml', 'bd_kd'),
    'Methods to compare.',
    registry=distillation.METHODS,
    smoke=3,
  )
  dataset: str = knob(
    'digits(test_fraction=0.5, pixels=unit)',
    'Data set with classes; those of files need --data_dir.',
    registry=data.DATASETS,
  )
  data_dir: str = knob('', 'Folder of the data files.')
  label_noise: float = knob(
    0.2,
    'Share of the training labels that uniform draws replace.',
    low=0.0,
    high=1.0,
    open_high=True,
  )
  students: tuple[str, ...] = knob(
    ('mlp(12)',), 'Small networks.', registry=networks.NETWORKS
  )
  teachers: tuple[str, ...] = knob(
    ('mlp((256, 256))',), 'Large networks.', registry=networks.NETWORKS
  )
  optimizer: str = knob(
    'adam(0.002)', 'Of every network.', registry=local.OPTIMIZERS
  )
  batch_size: int = knob(64, 'Examples per step.', low=1, smoke=16)
  validation: float = knob(
    0.0,
    'Share of the test examples that a temperature of the first student is '
    'fitted to instead; 0 fits none.',
    low=0.0,
    high=1.0,
    open_high=True,
  )
  num_bins: int = knob(
    metrics.NUM_BINS, 'Bins of confidence of the calibration error.', low=1
  )
  eval_batch_size: int = knob(512, 'Examples per evaluation batch.', low=1)

  def validate(self) -> None:
    """Checks files, methods and networks."""
    super().validate()
    needs = data.needs_files(self.dataset)
    problems.check_files(self.dataset, self.data_dir, needs)
    config_lib.check_different(self.methods, name='methods')
    if not self.students:
      raise ValueError('students is empty: name at least one network.')
    for spec in self.methods:
      if distillation.make_method(spec).offline and not self.teachers:
        raise ValueError(
          f'methods={spec} needs a teacher, but teachers is empty.'
        )

  @property
  def num_steps(self) -> int:
    """Steps of the run."""
    return self.num_rounds * self.steps_per_round

  def problem(self) -> problems.Peers:
    """Builds the problem of the knobs."""
    return problems.distillation(
      self.dataset,
      students=self.students,
      teachers=self.teachers,
      batch_size=self.batch_size,
      label_noise=self.label_noise,
      validation=self.validation,
      num_bins=self.num_bins,
      data_dir=self.data_dir or None,
      eval_batch_size=self.eval_batch_size,
      seeds=self.seeds,
    )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  problem = config.problem()
  optimizer = local.make_optimizer(
    config.optimizer, num_steps=max(config.num_steps, 1)
  )

  def make(spec, own):
    return distillation.online_distillation(
      problem.networks,
      problem.example_inputs,
      spec,
      optimizer=optimizer,
      num_students=problem.num_students,
      teacher_batches=functools.partial(problem.batch, own),
      teacher_steps=config.num_steps,
    )

  def diagrams(moments):
    """Confidence and accuracy of the networks, in the end."""
    return [
      {
        'step': m.round,
        'variant': m.variant.name,
        'network': name,
        **row,
      }
      for m in moments
      if m.last
      for name, task, own in zip(
        problem.names, problem.tasks, m.params, strict=True
      )
      for row in problems.reliability_rows(
        task, problem.test, own, seeds=config.seeds, num_bins=config.num_bins
      )
    ]

  return compare(
    config,
    problem,
    {spec: functools.partial(make, spec) for spec in config.methods},
    extra_rows=diagrams,
    steps=config.steps_per_round,
    plots=(functools.partial(draw, config),),
    table=table,
  )


COLUMNS = (
  *('step', 'split', 'seed', 'variant', 'accuracy', 'loss', 'ece', 'brier'),
  *('scaled_ece', 'temperature', 'teacher_accuracy', 'teacher_ece'),
)


def table(rows):
  """The last rows of every method, of the first student and teacher."""
  short = [{k: v for k, v in row.items() if k in COLUMNS} for row in rows]
  return runner.table_by()(short)


def draw(config: Config, rows, directory):
  """Draws accuracy and calibration over the steps, and reliability.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  noise = f', {config.label_noise:.0%} of the labels replaced'
  title = f'{config.dataset}{noise if config.label_noise else ""}'
  steps = [r | {'step': r['step'] * config.steps_per_round} for r in rows]
  paths = []
  for name, nets in (
    ('student', config.students),
    ('teacher', config.teachers),
  ):
    if not nets:
      continue
    prefix = '' if name == 'student' else 'teacher_'
    for metric, caption in (
      ('accuracy', 'test accuracy'),
      ('ece', f'calibration error, {config.num_bins} bins'),
    ):
      path = plots.lines(
        steps,
        directory / f'{name}_{metric}.png',
        f'{prefix}{metric}',
        title=title,
        xlabel='Optimizer step',
        ylabel=f"The {name}'s {caption}",
      )
      paths.append(path)
    own = [r for r in steps if r.get('network') == name]
    if own:
      path = directory / f'{name}_reliability.png'
      paths.append(plots.reliability(own, path, title=f'{nets[0]} on {title}'))
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
