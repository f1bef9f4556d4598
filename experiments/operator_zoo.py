# SPDX-License-Identifier: Apache-2.0
r"""Any operator network on any problem: errors, resolutions, spectra.

Trains several networks on the same functions. Networks on grids are also
tested on grids they were not trained on (`--eval_resolutions`), and the error
is split by wavenumber.

Example: python -m experiments.operator_zoo \
  --problem='burgers(resolution=64, viscosity=0.01, num_steps=800)' \
  --models='fno(modes=12),unet(num_levels=3),pod_deeponet(num_modes=24)' \
  --eval_resolutions=32,128,256
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp

from jaxdl import local, operators, plots, problems
from jaxdl.experiment import runner
from jaxdl.pde import sets
from jaxdl.problems import function_runs

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.function_runs.FunctionsConfig):
  """Knobs of the zoo."""

  problem: str = knob(
    'darcy(resolution=33)',
    'What is learned: functions that are solved, or read from a file.',
    registry=sets.SOURCES,
    smoke=function_runs.smaller(17),
  )
  models: tuple[str, ...] = knob(
    (
      'fno(channels=8, modes=8)',
      'mgno(channels=8, iterations="10,10,10,20")',
      'cnn(channels=8, num_layers=4)',
      'deeponet(branch_layers=(64, 64), trunk_layers=(64, 64, 64), '
      'activation=gelu)',
    ),
    'Networks to compare, each perhaps with a loss of its own, model@loss.',
    registry=problems.function_runs.MODELS,
    smoke=function_runs.small_models(
      2, channels=4, num_layers=2, modes=4, num_modes=8, iterations='10,20'
    ),
  )
  eval_resolutions: tuple[int, ...] = knob(
    (),
    'Further grids on which networks on grids are tested.',
    low=4,
    smoke=0,
  )
  hard_boundary: bool = knob(
    False, 'Make outputs vanish on the boundary of the unit box exactly.'
  )
  input_normalizer: str = knob(
    'scalar',
    'Statistics taken off the inputs.',
    choices=problems.NORMALIZERS,
  )
  target_normalizer: str = knob(
    'scalar',
    'Statistics that the network gives back to its outputs; principal '
    'components need none.',
    choices=problems.NORMALIZERS,
  )
  num_train: int = knob(256, 'Training functions.', low=1, smoke=16)
  num_test: int = knob(64, 'Test functions.', low=1)
  batch_size: int = knob(16, 'Functions in a step; 0 takes all.', low=0)
  num_rounds: int = knob(30, 'Rounds of steps_per_round steps.', low=0)
  steps_per_round: int = knob(
    16, 'Optimizer steps in a round; 0 passes over the functions once.', low=0
  )
  eval_every: int = knob(10, 'Rounds between evaluations.', low=1)
  optimizer: str = knob(
    'adam(2e-3, schedule=one_cycle)',
    'Steps; schedules span the run.',
    registry=local.OPTIMIZERS,
  )

  def validate(self) -> None:
    """Checks that every network fits the problem."""
    super().validate()
    kinds = (self.input_normalizer, self.target_normalizer)
    if 'point' in kinds and self.eval_resolutions:
      raise ValueError(
        'normalizer=point is tied to one grid: use scalar with '
        'eval_resolutions.'
      )
    for spec, loss in function_runs.labeled(self.models, self.loss).values():
      points = operators.model_facts(spec).points
      if points and loss.startswith('relative_h1'):
        raise ValueError(
          f'loss={loss} needs outputs on grids; {spec} gives values at points: '
          'use relative_l2 or mse.'
        )
      self.check(spec, *self.grids(spec))

  def grids(self, spec: str) -> tuple[str, tuple[int, ...]]:
    """Layout of the functions that a model reads, and its further grids."""
    points = operators.model_facts(spec).points
    return ('aligned', ()) if points else ('grid', self.eval_resolutions)


def make_problems(config: Config) -> dict[str, problems.FunctionProblem]:
  """Gives every network the functions in the layout that it reads.

  Args:
    config: knobs.

  Returns:
    Problems by name of the network; all show the same functions.
  """
  drawn, out = {}, {}
  for label, (spec, loss) in function_runs.labeled(
    config.models, config.loss
  ).items():
    layout, resolutions = config.grids(spec)
    if layout not in drawn:
      drawn[layout] = config.functions(
        layout=layout, eval_resolutions=resolutions
      )
    grid = layout == 'grid'
    distance = _distance_on_grid if grid else operators.box_distance
    fixed = operators.model_facts(spec).basis
    out[label] = drawn[layout].problem(
      spec,
      loss=loss,
      inputs=config.input_normalizer,
      targets='none' if fixed else config.target_normalizer,
      metrics=('relative_l2', 'mse', *['relative_h1_spectral'] * grid),
      distance=distance if config.hard_boundary else None,
    )
  return out


def _distance_on_grid(inputs):
  axes = [jnp.linspace(0.0, 1.0, n) for n in inputs.shape[1:-1]]
  return operators.box_distance(
    jnp.stack(jnp.meshgrid(*axes, indexing='ij'), axis=-1)
  )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  return config.compare(
    make_problems(config),
    extra_rows=function_runs.spectrum_rows,
    draw=draw,
  )


def draw(config: Config, rows: Sequence[runner.Row], directory) -> list:
  """Draws errors over steps and resolutions, functions and spectra.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = config.title
  return [
    *plots.training(
      config.own_grid(rows),
      directory,
      'relative_l2',
      title=title,
      steps_per_round=config.steps_per_round,
      ylabel='Relative L2 error on test functions',
    ),
    *plots.resolutions(rows, directory, title=title),
    *plots.spectrum(rows, directory, title=title),
  ]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
