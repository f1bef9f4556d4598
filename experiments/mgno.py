# SPDX-License-Identifier: Apache-2.0
r"""Multigrid neural operators on elliptic problems, flows and waves.

Trains MgNO and what it is compared with on the same functions, with the
authors' recipe: one-cycle steps, coupled weight decay, a loss that sees
derivatives. A flow (`navier_stokes`, also of a file) is learned as a time step
and tested by rollout; `--sweep=levels` trains the first model with 1, 2, ... of
its levels instead.

Example: python -m experiments.mgno --seeds=0,1 \
  --models='mgno(channels=8, num_layers=3, iterations="10,20"),fno(channels=12)'
"""

import dataclasses
from collections.abc import Sequence

from jaxdl import local, operators, plots, problems
from jaxdl.experiment import runner
from jaxdl.operators import flows
from jaxdl.pde import sets

knob, function_runs = runner.knob, problems.function_runs

H1 = 'relative_h1_spectral'
MGNO = 'mgno(channels=8, num_layers=3, iterations="10,10,10,20")'
FNO = 'fno(channels=12, modes=8, domain_padding=4)'
FLOW = 'navier_stokes'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.function_runs.FunctionsConfig):
  """Knobs of multigrid operators."""

  problem: str = knob(
    'darcy_smooth',
    'What is learned: functions that are solved, or read from a file.',
    registry=sets.SOURCES,
    smoke=function_runs.smaller(16),
  )
  models: tuple[str, ...] = knob(
    (MGNO, f'{MGNO}@relative_l2', FNO),
    'Networks to compare, each perhaps with a loss of its own, model@loss.',
    registry=problems.function_runs.MODELS,
    smoke=function_runs.small_models(
      1, channels=4, num_layers=1, iterations='10,20'
    ),
  )
  sweep: str = knob(
    'none',
    'levels trains the first of the models with the first 1, 2, ... of its '
    'levels.',
    choices=('none', 'levels'),
  )
  eval_resolutions: tuple[int, ...] = knob(
    (), 'Further grids to test on.', low=4, smoke=0
  )
  loss: str = knob(H1, 'What is minimized.', registry=problems.LOSSES)
  input_normalizer: str = knob(
    'scalar',
    'Statistics taken off the inputs: scalar or point (GN and PGN in the '
    "authors' code), none for inputs that are not encoded.",
    choices=problems.NORMALIZERS,
  )
  target_normalizer: str = knob(
    'scalar',
    'Statistics that the network gives back to its outputs before the loss.',
    choices=problems.NORMALIZERS,
  )
  num_train: int = knob(600, 'Training functions.', low=1, smoke=8)
  num_test: int = knob(200, 'Test functions.', low=1, smoke=4)
  batch_size: int = knob(
    10, 'Functions in a step; 0 takes all.', low=0, smoke=4
  )
  num_rounds: int = knob(20, 'Rounds; with steps_per_round=0 epochs.', low=0)
  steps_per_round: int = knob(
    0, 'Optimizer steps in a round; 0 passes over the functions once.', low=0
  )
  eval_every: int = knob(2, 'Rounds between evaluations.', low=1)
  eval_train: bool = knob(False, 'Also evaluate on the training functions.')
  optimizer: str = knob(
    'adam(1e-3, schedule=one_cycle, weight_decay=1e-4)',
    'Steps; schedules span the run.',
    registry=local.OPTIMIZERS,
  )
  num_samples: int = knob(2, 'Test functions drawn in the pictures.', low=1)

  def validate(self) -> None:
    """Checks that every network fits the grid."""
    super().validate()
    kinds = (self.input_normalizer, self.target_normalizer)
    if 'point' in kinds and self.eval_resolutions:
      raise ValueError(
        'normalizer=point is tied to one grid: use scalar with '
        'eval_resolutions.'
      )
    for spec, _ in self.plan().values():
      if operators.model_facts(spec).points:
        raise ValueError(
          f'models={spec} gives values at points: name networks on grids, or '
          'use experiments.deeponet.'
        )
      self.check(spec, 'grid', self.eval_resolutions, steps=self.is_flow)

  @property
  def is_flow(self) -> bool:
    """Whether targets are later times of the inputs."""
    return FLOW in (self.part.name, self.part.options.get('format'))

  def plan(self) -> dict[str, tuple[str, str]]:
    """Returns what is trained: (model, loss) by label."""
    if self.sweep == 'none':
      return function_runs.labeled(self.models, self.loss)
    spec, loss = next(
      iter(function_runs.labeled(self.models, self.loss).values())
    )
    counts = operators.parse_iterations(
      operators.MODELS.value(spec, 'iterations')
    )
    out = {}
    for n in range(1, len(counts) + 1):
      fewer = (*counts[: n - 1], counts[-1])
      out[f'{n} level' + 's' * (n > 1)] = (
        operators.MODELS.changed(spec, iterations=fewer),
        loss,
      )
    return out


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  drawn = config.functions(
    layout='grid', eval_resolutions=config.eval_resolutions
  )
  learned = problems.time_steps(drawn) if config.is_flow else drawn
  roll = problems.function_runs.rollout_rows(drawn) if config.is_flow else None
  found = {}
  for label, (spec, loss) in config.plan().items():
    network = spec
    steps_itself = operators.model_facts(spec).one_resolution
    if config.is_flow and not steps_itself:
      network = flows.residual(learned.network(spec))
    found[label] = learned.problem(
      network,
      loss=loss,
      inputs=config.input_normalizer,
      targets=config.target_normalizer,
      metrics=('relative_l2', H1, 'mse'),
    )
  columns = {
    label: {'parameters': problem.num_parameters}
    | ({'levels': n} if config.sweep == 'levels' else {})
    for n, (label, problem) in enumerate(found.items(), 1)
  }

  def extra_rows(moments):
    rows = [] if roll is None else roll(moments)
    return rows + function_runs.spectrum_rows(moments)

  return config.compare(
    found, draw=draw, extra_rows=extra_rows, columns=columns
  )


def draw(config: Config, rows: Sequence[runner.Row], directory) -> list:
  """Draws curves, functions, errors by network, level, grid, time, wavenumber.

  Args:
    config: knobs with the steps of a round.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = config.title
  own = config.own_grid(rows)
  paths = []
  for metric, norm in (('relative_l2', 'L2'), (H1, 'H1')):
    paths += plots.training(
      # The functions once.
      [r for r in own if metric == H1 or r['split'] != 'function'],
      directory,
      metric,
      title=title,
      steps_per_round=config.steps_per_round,
      ylabel=f'Relative {norm} error on test functions',
    )
  last = _by_norm(plots.last_rows(own))
  ylabel = 'Relative error on test functions'
  if config.sweep == 'levels':
    paths.append(
      plots.log_log(
        last,
        directory / 'levels.png',
        'error',
        by='norm',
        x='levels',
        fit=False,
        xlabel='Levels of the V-cycle',
        ylabel=ylabel,
        title=title,
      )
    )
  else:
    group = 'network and parameters'
    look = {'by': 'norm', 'group': group, 'ylabel': ylabel, 'title': title}
    paths.append(plots.bars(last, directory / 'models.png', 'error', **look))
  if any(row['split'] == 'rollout' for row in rows):
    paths.append(
      plots.lines(
        plots.last_rows(rows, split='rollout'),
        directory / 'rollout.png',
        'relative_l2',
        split='rollout',
        x='time',
        xlabel='Time steps from the start',
        ylabel='Relative L2 error of the rollout',
        title=title,
        log_y=True,
      )
    )
  paths += plots.resolutions(rows, directory, title=title)
  return paths + plots.spectrum(rows, directory, title=title)


def _by_norm(rows):
  """One row per norm, labeled with the size of the network."""
  return [
    row
    | {
      'norm': norm,
      'error': row[metric],
      'network and parameters': f'{row["variant"]}\n{row["parameters"]:,.0f}',
    }
    for metric, norm in (('relative_l2', 'L2'), (H1, 'H1'))
    for row in rows
  ]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
