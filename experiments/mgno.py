# SPDX-License-Identifier: Apache-2.0
r"""Multigrid neural operators on elliptic problems, flows and waves.

Trains MgNO and what it is compared with on the same functions, with the
authors' recipe: one-cycle steps, coupled weight decay, a loss that sees
derivatives. The flow is learned as a time step and tested by rollout;
`--sweep=levels` adds the levels of the V-cycles one by one.

Example: python -m experiments.mgno \
  --models=mgno,mgno@relative_l2,single_level,fno,cnn --seeds=0,1
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import _mgno_flows as flows
from jaxdl import operators, plots
from jaxdl.experiment import (
  config as config_lib,
  operator_learning as learning,
  runner,
)
from jaxdl.networks import functional

knob = runner.knob

PROBLEMS = (
  'darcy_smooth',
  'darcy_rough',
  'darcy_multiscale',
  'darcy_lognormal',
  'poisson',
  'helmholtz',
  'navier_stokes',
)
MULTIGRID = ('mgno', 'mgno_navier_stokes', 'mgno_helmholtz')
# At their CPU scale; `model_options` changes them.
BASELINES: dict[str, dict[str, Any]] = {
  'single_level': {'channels': 16, 'iterations': '40'},
  'fno': {'channels': 12, 'modes': (8, 8), 'fourier_padding': 4},
  'unet': {'channels': 8, 'num_layers': 3},
  'dilated_resnet': {'channels': 16, 'num_layers': 1},
  'cnn': {'channels': 24, 'num_layers': 6},
  'mgnet': {'channels': 8, 'num_layers': 1, 'iterations': '22,22,22,40'},
}
MODELS = (*MULTIGRID, *BASELINES)
OPTIONS = (
  'activation',
  'channels',
  'fourier_padding',
  'iterations',
  'modes',
  'num_layers',
  'padding',
  'transfer',
)
H1 = 'relative_h1_spectral'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(learning.OperatorConfig):
  """Knobs of multigrid operators."""

  problem: str = knob(
    'darcy_smooth',
    'What is learned.',
    choices=PROBLEMS,
    needs={'data_path': False},
  )
  models: tuple[str, ...] = knob(
    ('mgno', 'mgno@relative_l2', 'fno'),
    'Networks, each perhaps with a loss of its own as name@loss (what comes to '
    'the same is trained once): ' + ', '.join(MODELS) + '.',
    needs={'sweep': ('none',)},
  )
  sweep: str = knob(
    'none',
    'levels trains mgno with the first 1, 2, ... of its levels instead of '
    'models.',
    choices=('none', 'levels'),
  )
  resolution: int = knob(
    32, 'Grid points per axis.', low=4, needs={'data_path': False}
  )
  eval_resolutions: tuple[int, ...] = knob(
    (),
    'Further grids on which the networks are tested.',
    low=4,
    needs={'data_path': False},
  )
  channels: int = knob(
    8,
    'Width of multigrid networks.',
    low=1,
    needs={'sweep|models': ('levels', *MULTIGRID)},
  )
  num_layers: int = knob(
    3,
    'Layers of multigrid networks.',
    low=1,
    needs={'sweep|models': ('levels', *MULTIGRID, 'single_level')},
  )
  iterations: str = knob(
    '10,10,10,20',
    'Smoothing steps before and after the coarser grids, two digits per level.',
    needs={'sweep|models': ('levels', *MULTIGRID)},
  )
  padding: str = knob(
    'auto',
    'Boundary condition; auto is circular on periodic grids, reflect for '
    'helmholtz, else zeros.',
    choices=('auto', *functional.PADDINGS),
  )
  transfer: str = knob(
    'plain',
    'Whether f or its residual is restricted.',
    choices=('plain', 'residual'),
    needs={'sweep|models': ('levels', *MULTIGRID, 'single_level', 'mgnet')},
  )
  model_options: tuple[str, ...] = knob(
    (),
    'Sizes of single networks as model.option=value, e.g. fno.channels=32: '
    + ', '.join(OPTIONS)
    + '.',
  )
  num_transitions: int = knob(
    10,
    'Time steps of a flow that are learned and rolled out.',
    low=1,
    needs={'problem|file_format': ('navier_stokes',)},
  )
  method: str = knob(
    'auto',
    'How convolutions are computed; auto is patches on CPU, else conv.',
    choices=('auto', 'conv', 'patches'),
  )
  loss: str = knob(H1, 'What is minimised.', choices=tuple(operators.LOSSES))
  input_normalizer: str = knob(
    'scalar',
    'Statistics taken off the inputs: scalar or point (GN and PGN in the '
    "authors' code), none for inputs that are not encoded.",
    choices=learning.NORMALIZERS,
  )
  target_normalizer: str = knob(
    'scalar',
    'Statistics that the network gives back to its outputs before the loss.',
    choices=learning.NORMALIZERS,
  )
  num_train: int = knob(600, 'Training functions.', low=1)
  num_test: int = knob(200, 'Test functions.', low=1)
  batch_size: int = knob(10, 'Functions in a step; 0 takes all.', low=0)
  num_rounds: int = knob(20, 'Rounds; with steps_per_round=0 epochs.', low=0)
  steps_per_round: int = knob(
    0, 'Optimiser steps in a round; 0 passes over the functions once.', low=0
  )
  eval_every: int = knob(2, 'Rounds between evaluations.', low=1)
  eval_train: bool = knob(False, 'Also evaluate on the training functions.')
  learning_rate: float = knob(1e-3, 'Largest step size of Adam.', low=0.0)
  schedule: str = knob(
    'one_cycle', 'Step size over the run.', choices=learning.SCHEDULES
  )
  weight_decay: float = knob(
    1e-4, 'Added to the gradient, times the parameter.', low=0.0
  )
  num_samples: int = knob(2, 'Test functions drawn in the pictures.', low=1)

  def validate(self) -> None:
    """Checks that every network fits the grid."""
    super().validate()
    operators.parse_iterations(self.iterations)
    _options(self.model_options)
    specs = [specification(self, m) for m in self.models]
    if not specs and self.sweep == 'none':
      raise ValueError('models is empty: name at least one.')
    if len({*self.models}) != len(self.models):
      raise ValueError(f'models must differ; got {",".join(self.models)}.')
    if self.data_path:
      if self.eval_resolutions:
        raise ValueError(
          'eval_resolutions needs generated functions: leave out data_path.'
        )
      return  # The grid is that of the file.
    kinds = (self.input_normalizer, self.target_normalizer)
    if 'point' in kinds and self.eval_resolutions:
      raise ValueError(
        'normalizer=point is tied to one grid: use scalar with '
        'eval_resolutions.'
      )
    grids = tuple((n, n) for n in (self.resolution, *self.eval_resolutions))
    for _, name, options in plan(self, _boundary(self)):
      # How convolutions are computed may depend on the device, not to be asked
      # for here, and changes no shape.
      options = tuple(sorted((dict(options) | {'method': 'conv'}).items()))
      num_parameters(name, options, grids, 1)

  def smoked(self) -> 'Config':
    """One tiny network on a small grid."""
    levels = self.iterations.replace(',', ' ').split()
    if len(levels) > 2:
      levels = [levels[0], levels[-1]]
    return dataclasses.replace(
      super().smoked(),
      models=self.models[:1],
      resolution=min(self.resolution, 16),
      eval_resolutions=(),
      channels=min(self.channels, 4),
      num_layers=1,
      iterations=','.join(levels),
      num_train=min(self.num_train, 8),
      num_test=min(self.num_test, 4),
      batch_size=4,
      num_transitions=min(self.num_transitions, 2),
    )

  @property
  def is_flow(self) -> bool:
    """Whether targets are later times of the inputs."""
    what = self.file_format if self.data_path else self.problem
    return what == 'navier_stokes'


def specification(config: Config, model: str) -> tuple[str, str]:
  """Reads the name of a network and its loss, 'name' or 'name@loss'.

  Args:
    config: knobs.
    model: an entry of `models`.

  Returns:
    (name, loss).

  Raises:
    ValueError: if either is unknown.
  """
  name, sign, loss = model.partition('@')
  config_lib.check_known(name, MODELS, name='models', spec=model)
  if sign:
    config_lib.check_known(loss, operators.LOSSES, name='models', spec=model)
  return name, loss or config.loss


def _options(given: Sequence[str]) -> dict[str, dict[str, Any]]:
  """Reads 'model.option=value' entries."""
  out: dict[str, dict[str, Any]] = {}
  for entry in given:
    place, sign, text = entry.partition('=')
    name, dot, option = place.partition('.')
    if not (sign and dot and text):
      raise ValueError(
        f'model_options must be written model.option=value; got {entry!r}.'
      )
    for word, known in ((name, MODELS), (option, OPTIONS)):
      config_lib.check_known(word, known, name='model_options', spec=entry)
    value = text if option == 'iterations' else learning.literal(text)
    if option == 'modes' and isinstance(value, int):
      value = (value, value)
    out.setdefault(name, {})[option] = value
  return out


def _boundary(config: Config) -> str:
  return {'helmholtz': 'reflect', 'navier_stokes': 'circular'}.get(
    config.problem, 'zeros'
  )


def plan(
  config: Config, boundary: str
) -> list[tuple[str, str, tuple[tuple[str, Any], ...]]]:
  """Lists what is trained.

  Args:
    config: knobs.
    boundary: the padding that 'auto' stands for.

  Returns:
    (label, name in `operators.MODELS`, its sorted options) each.
  """
  shared = {
    'padding': boundary if config.padding == 'auto' else config.padding,
    'method': config.method,
  }
  multigrid = {
    'channels': config.channels,
    'num_layers': config.num_layers,
    'iterations': config.iterations,
    'transfer': config.transfer,
  }
  changed = _options(config.model_options)
  own = functools.partial(_of, changed)

  def options(name):
    if name in MULTIGRID or name == 'single_level':
      out = shared | multigrid | BASELINES.get(name, {})
      if name == 'mgno_navier_stokes' and config.padding == 'auto':
        out['padding'] = 'circular'
      if name == 'mgno_helmholtz' and config.padding == 'auto':
        out['padding'] = 'reflect'
    else:
      out = shared | BASELINES[name]
      if name == 'fno' and out['padding'] == 'circular':
        out['fourier_padding'] = 0
    return own(name, out)

  if config.sweep == 'levels':
    counts = operators.parse_iterations(config.iterations)
    out = []
    for n in range(1, len(counts) + 1):
      fewer = {'iterations': (*counts[: n - 1], counts[-1])}
      label = f'{n} level' + 's' * (n > 1)
      out.append((label, 'mgno', own('mgno', shared | multigrid | fewer)))
    return out
  out, seen = [], set()
  for model in config.models:
    name, loss = specification(config, model)
    if (name, loss) in seen:
      continue
    seen.add((name, loss))
    real = 'mgno' if name == 'single_level' else name
    out.append((model, real, options(name)))
  return out


def _of(changed, name, options):
  return tuple(sorted((options | changed.get(name, {})).items()))


@functools.cache
def num_parameters(
  name: str,
  options: tuple[tuple[str, Any], ...],
  grids: tuple[tuple[int, ...], ...],
  num_inputs: int,
) -> int:
  """Traces a network on all grids and counts its parameters.

  Args:
    name: a name in `operators.MODELS`.
    options: of `operators.make_model`.
    grids: of the training functions, then others it is applied to.
    num_inputs: channels of the input.

  Returns:
    The number of parameters.

  Raises:
    ValueError: if a grid does not fit.
  """
  network = operators.make_model(name, **dict(options))
  on = lambda grid: jax.ShapeDtypeStruct((1, *grid, num_inputs), jnp.float32)
  params = jax.eval_shape(
    lambda inputs: network.init(jax.random.key(0), inputs), on(grids[0])
  )
  for grid in grids:
    jax.eval_shape(network.apply, params, on(grid))
  return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


def load(config: Config) -> learning.Problem:
  """Draws or reads the functions.

  Args:
    config: knobs.

  Returns:
    Functions on grids; of a flow with all later times as channels.
  """
  changed = {}
  if not config.data_path:
    changed['eval_resolutions'] = config.eval_resolutions
    if config.is_flow:
      given = learning.parse_options(config.problem, config.problem_options)
      times = given.get('num_times', config.num_transitions)
      changed['options'] = {'num_times': times, 'end_time': 1.0 * times} | given
  return learning.load(config, layout='grid', **changed)


def make_variants(
  config: Config, problem: learning.Problem
) -> dict[str, learning.Variant]:
  """Puts networks, data and losses together.

  Args:
    config: knobs.
    problem: from `load`, of a flow from `one_step`.

  Returns:
    Variants by label.
  """
  example = problem.example()
  boundary = 'zeros' if config.data_path else _boundary(config)
  if problem.periodic:
    boundary = 'circular'
  out = {}
  for label, name, options in plan(config, boundary):
    options = dict(options) | {'out_channels': example['targets'].shape[-1]}
    count = num_parameters(
      name,
      tuple(sorted(options.items())),
      (example['inputs'].shape[1:-1],),
      example['inputs'].shape[-1],
    )
    network = operators.make_model(name, **options)
    if config.is_flow and name != 'mgno_navier_stokes':
      network = flows.residual(network)
    columns = {'parameters': count}
    loss = config.loss
    if config.sweep == 'levels':
      columns['levels'] = len(out) + 1
    else:
      loss = specification(config, label)[1]
    out[label] = learning.Variant(
      problem=problem,
      loss=loss,
      metrics=('relative_l2', H1, 'mse'),
      columns=columns,
      **learning.with_normalizers(config, network, problem),
    )
  return out


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  loaded = load(config)
  problem = loaded
  if config.is_flow:
    problem = flows.one_step(loaded, config.num_transitions)
  if not config.steps_per_round:
    n = len(problem.example()['inputs'])
    steps = max(1, n // (config.batch_size or n))
    config = dataclasses.replace(config, steps_per_round=steps)
  variants = make_variants(config, problem)
  roll = None
  if config.is_flow:
    roll = flows.rollouts(
      variants,
      loaded,
      seeds=config.seeds,
      num_times=config.num_transitions,
    )

  def extra_rows(params, number):
    out = []
    if roll is not None:
      out += roll(params, number)
    if number == config.num_rounds:
      out += learning.spectra(
        variants, params, step=number, seed=config.seeds[0]
      )
    return out

  return learning.experiment(
    config,
    variants,
    draw=functools.partial(draw, config),
    extra_rows=extra_rows,
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
  what = config.data_path or config.problem
  title = f'{what}, {config.num_train} functions'
  if not config.data_path:
    title += f' on {config.resolution} x {config.resolution} points'
  own = [
    row
    for row in rows
    if row.get('resolution', config.resolution) == config.resolution
  ]
  paths = []
  for metric, norm in (('relative_l2', 'L2'), (H1, 'H1')):
    paths += learning.draw_training(
      # The functions once.
      [r for r in own if metric == H1 or r['split'] != 'function'],
      directory,
      metric,
      title=title,
      steps_per_round=config.steps_per_round,
      ylabel=f'Relative {norm} error on test functions',
    )
  last = learning.last_rows(own)
  if config.sweep == 'levels':
    paths.append(
      plots.log_log(
        _by_norm(last),
        directory / 'levels.png',
        'error',
        by='norm',
        x='levels',
        fit=False,
        xlabel='Levels of the V-cycle',
        ylabel='Relative error on test functions',
        title=title,
      )
    )
  else:
    paths.append(
      plots.bars(
        _by_norm(last),
        directory / 'models.png',
        'error',
        by='norm',
        group='network and parameters',
        ylabel='Relative error on test functions',
        title=title,
      )
    )
  if config.eval_resolutions:
    paths.append(
      plots.log_log(
        [r for r in learning.last_rows(rows) if 'resolution' in r],
        directory / 'resolutions.png',
        'relative_l2',
        x='resolution',
        fit=False,
        xlabel='Grid points per axis (test)',
        ylabel='Relative L2 error on test functions',
        title=f'{what}: trained at {config.resolution} points per axis',
      )
    )
  if any(row['split'] == 'rollout' for row in rows):
    paths.append(
      plots.lines(
        learning.last_rows(rows, split='rollout'),
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
  return paths + learning.draw_spectra(rows, directory, title=title)


def _by_norm(rows):
  """One row per norm, labelled with the size of the network."""
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


def run(config: Config, *, sinks=(), store=None) -> runner.Result:
  """Runs the experiment.

  Args:
    config: knobs.
    sinks: where rows go.
    store: keeps checkpoints.

  Returns:
    Final states and all rows.
  """
  return runner.run(build(config), config, sinks=sinks, store=store)


if __name__ == '__main__':
  runner.main(Config, run)
