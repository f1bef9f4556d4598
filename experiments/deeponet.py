# SPDX-License-Identifier: Apache-2.0
r"""Branch-trunk networks, their baselines, and what their error is due to.

Trains several networks on samples of one operator. `--sweep` repeats that for
several numbers of training functions or sensors, or length scales.
`--loss=equation` trains on the equation alone, without solutions.

Data are triples (u at m sensors, y, G(u)(y)), one or few random points y per
function (`--layout=unaligned`), or all functions at the same points (aligned,
much cheaper per point).

Example: python -m experiments.deeponet --problem=pendulum \
  --models='deeponet,mlp(hidden_sizes=(100, 100))' \
  --sweep='num_sensors((5, 10, 20, 40, 80))'
"""

import dataclasses
import functools
from collections.abc import Sequence

from jaxdl import plots, problems
from jaxdl.experiment import runner
from jaxdl.operators import physics
from jaxdl.problems import function_runs

knob = runner.knob

# Share of the squared errors that the second published metric drops.
TRIM = 0.001


def _few_points(loss):
  points = problems.LOSSES.value(loss, 'num_points')
  if points is None or points <= 16:
    return loss
  return problems.LOSSES.changed(loss, num_points=16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.function_runs.FunctionsConfig):
  """Knobs of branch-trunk networks."""

  models: tuple[str, ...] = knob(
    ('deeponet', 'stacked_deeponet', 'mlp'),
    'Networks to compare, each perhaps with a loss of its own, model@loss.',
    registry=problems.function_runs.MODELS,
    smoke=function_runs.small_models(2, num_modes=8),
  )
  layout: str = knob(
    'unaligned',
    'Random points of each function, or all functions at common points; files '
    'have their own.',
    choices=('unaligned', 'aligned'),
  )
  queries_per_function: int = knob(
    1,
    'Random points per function.',
    low=1,
    needs={'layout': ('unaligned',)},
  )
  hard_boundary: bool = knob(
    False, 'Make outputs meet the zero initial and boundary data exactly.'
  )
  sweep: str = knob(
    'none',
    'What is varied.',
    registry=problems.sweeps.SWEEPS,
    smoke=problems.sweeps.small_sweep,
  )
  num_train: int = knob(10_000, 'Training functions.', low=1)
  num_test: int = knob(10_000, 'Test functions.', low=1)
  loss: str = knob(
    'mse',
    'What is minimized; equation trains without solutions.',
    registry=problems.LOSSES,
    smoke=_few_points,
  )
  batch_size: int = knob(
    1000, 'Triples (unaligned) or functions in a step; 0 takes all.', low=0
  )
  sampling: str = knob(
    'independent',
    'Batches of shuffled passes over the functions, or drawn independently.',
    choices=('epochs', 'independent'),
    needs={'batch_size': True},
  )
  num_rounds: int = knob(100, 'Rounds of steps_per_round steps.', low=0)
  steps_per_round: int = knob(
    100, 'Optimizer steps in a round; 0 passes over the functions once.', low=0
  )
  eval_every: int = knob(10, 'Rounds between evaluations.', low=1)
  eval_batch_size: int = knob(
    1000, 'Triples or functions in an evaluation batch.', low=1
  )

  def validate(self) -> None:
    """Checks that networks, layout, sweep and equation fit together."""
    super().validate()
    if self.hard_boundary and self.part.name not in physics.DISTANCES:
      raise ValueError(
        'hard_boundary needs a problem with zero data: '
        f'{", ".join(physics.DISTANCES)}.'
      )
    sweep = problems.sweeps.make_sweep(self.sweep, self.problem)
    for model, loss in function_runs.labeled(self.models, self.loss).values():
      for value in sweep.values:
        self.check(
          model, self.layout, problem=sweep.problem_at(self.problem, value)
        )
      if problems.LOSSES.value(loss, 'num_points') is not None:
        function_runs.check_equation(
          self,
          model,
          layout=self.layout,
          hard_boundary=self.hard_boundary,
        )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  sweep = problems.sweeps.make_sweep(config.sweep, config.problem)
  distance = None
  if config.hard_boundary:
    distance = physics.DISTANCES[config.part.name]
  drawn = problems.sweeps.swept(
    config,
    sweep,
    layout=config.layout,
    queries_per_function=config.queries_per_function,
  )
  found, columns = {}, {}
  for value, functions in drawn.items():
    aligned = ('relative_l2',) if functions.points is not None else ()
    for name, (model, loss) in function_runs.labeled(
      config.models, config.loss
    ).items():
      label, own = name, {'model': name}
      if value is not None:
        label = f'{name}, {sweep.label.format(value)}'
        own[sweep.column] = value
      columns[label] = own
      found[label] = functions.problem(
        model,
        loss=loss,
        inputs=config.input_normalizer,
        targets=config.target_normalizer,
        metrics=(*aligned, 'mse'),
        trim=TRIM,
        distance=distance,
      )

  resolved = problems.sweeps.interpolation_rows(sweep, config.problem)
  return config.compare(
    found,
    draw=draw,
    extra_rows=lambda m: function_runs.size_rows(m) + resolved(m),
    columns=columns,
    table=functools.partial(function_runs.fit_table, trim=TRIM),
  )


def draw(config: Config, rows: Sequence[runner.Row], directory) -> list:
  """Draws errors over steps and along the sweep, and functions.

  Args:
    config: knobs with the steps of a round.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  sweep = problems.sweeps.make_sweep(config.sweep, config.problem)
  if sweep.column:
    shown = plots.last_functions(rows, sweep.column)
  else:
    shown = plots.side_by_side(rows, ('test', 'train'))
  paths = plots.training(
    shown,
    directory,
    'mse',
    title=config.title,
    steps_per_round=config.steps_per_round,
    ylabel='Mean squared error',
  )
  if sweep.column:
    paths += plots.sweep(
      rows, directory, sweep.column, title=config.title, xlabel=sweep.caption
    )
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
