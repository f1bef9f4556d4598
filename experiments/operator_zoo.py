# SPDX-License-Identifier: Apache-2.0
r"""Any operator network on any problem: errors, resolutions, spectra.

Trains several networks on the same functions. Networks on grids are also
tested on grids they were not trained on (`--eval_resolutions`), and the error
is split by wavenumber.

Example: python -m experiments.operator_zoo \
  --problem=burgers --problem_options=viscosity=0.01,num_steps=800 \
  --resolution=64 --models=fno,unet,pod_deeponet --eval_resolutions=32,128,256
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp

from jaxdl import operators, plots
from jaxdl.core import types
from jaxdl.experiment import operator_learning as learning, runner
from jaxdl.networks import functional
from jaxdl.pde import sets

knob = runner.knob

MODELS = tuple(m for m in operators.MODELS if m != 'mgno_helmholtz')


_ON_GRIDS = [m for m in MODELS if m not in operators.POINT_MODELS]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(learning.OperatorConfig):
  """Knobs of the zoo."""

  problem: str = knob(
    'darcy',
    'What is learned.',
    choices=tuple(sets.PROBLEMS),
    needs={'data_path': False},
  )
  models: tuple[str, ...] = knob(
    ('fno', 'mgno', 'cnn', 'deeponet'),
    'Networks to compare.',
    choices=MODELS,
  )
  resolution: int = knob(
    33, 'Sensors, or grid points per axis.', low=4, needs={'data_path': False}
  )
  eval_resolutions: tuple[int, ...] = knob(
    (),
    'Further grids on which networks on grids are tested.',
    low=4,
    needs={'data_path': False},
  )
  channels: int = knob(
    8, 'Width of networks on grids.', low=1, needs={'models': _ON_GRIDS}
  )
  num_layers: int = knob(
    4,
    'Layers, blocks or levels; 0 is the default of each network.',
    low=0,
    needs={'models': _ON_GRIDS},
  )
  modes: int = knob(
    8,
    'Wavenumbers per axis of fno.',
    low=1,
    needs={'models': ('fno', 'fno_neuralop')},
  )
  fourier_padding: float = knob(
    0.0,
    'Share of the grid that fno pads.',
    low=0.0,
    needs={'models': ('fno', 'fno_neuralop')},
  )
  iterations: str = knob(
    '10,10,10,20',
    'Smoothing steps per level of mgno and mgnet.',
    needs={'models': ('mgno*', 'mgnet')},
  )
  padding: str = knob(
    'auto',
    'Boundary of convolutions; auto is circular on periodic grids, else zeros.',
    choices=('auto', *functional.PADDINGS),
    needs={'models': [m for m in _ON_GRIDS if not m.startswith('fno')]},
  )
  hidden_size: int = knob(
    64,
    'Width of branches, trunks and fnn.',
    low=1,
    needs={'models': operators.POINT_MODELS},
  )
  pod_modes: int = knob(
    24,
    'Principal components of pod_deeponet.',
    low=1,
    needs={'models': ('pod_deeponet',)},
  )
  hard_boundary: bool = knob(
    False, 'Make outputs vanish on the boundary of the unit box exactly.'
  )
  loss: str = knob(
    'relative_l2', 'What is minimised.', choices=tuple(operators.LOSSES)
  )
  input_normalizer: str = knob(
    'scalar',
    'Statistics taken off the inputs.',
    choices=learning.NORMALIZERS,
  )
  target_normalizer: str = knob(
    'scalar',
    'Statistics that the network gives back to its outputs.',
    choices=learning.NORMALIZERS,
  )
  num_train: int = knob(256, 'Training functions.', low=1)
  num_test: int = knob(64, 'Test functions.', low=1)
  batch_size: int = knob(16, 'Functions in a step; 0 takes all.', low=0)
  num_rounds: int = knob(30, 'Rounds of steps_per_round steps.', low=0)
  steps_per_round: int = knob(16, 'Optimiser steps in a round.', low=1)
  eval_every: int = knob(10, 'Rounds between evaluations.', low=1)
  learning_rate: float = knob(2e-3, 'Largest step size of Adam.', low=0.0)
  schedule: str = knob(
    'one_cycle', 'Step size over the run.', choices=learning.SCHEDULES
  )

  def validate(self) -> None:
    """Checks that every network fits the problem."""
    super().validate()
    if not self.models:
      raise ValueError('models is empty: name at least one.')
    if len(set(self.models)) != len(self.models):
      raise ValueError(f'models must differ; got {self.models}.')
    points = [m for m in self.models if m in operators.POINT_MODELS]
    if points and self.data_path:
      raise ValueError(
        f'models={",".join(points)} need query points: with data_path name '
        'networks on grids, or use experiments.deeponet.'
      )
    if points and self.loss in ('relative_h1', 'relative_h1_spectral'):
      raise ValueError(
        f'loss={self.loss} needs outputs on grids; {points[0]} gives values at '
        'points: use relative_l2 or mse.'
      )
    if 'point' in (self.input_normalizer, self.target_normalizer) and (
      self.eval_resolutions
    ):
      raise ValueError(
        'normalizer=point is tied to one grid: use scalar with '
        'eval_resolutions.'
      )
    # A file has a grid of its own.
    grids = () if self.data_path else (self.resolution, *self.eval_resolutions)
    for r in grids:
      if {'fno', 'fno_neuralop'} & {*self.models} and self.modes > r // 2 + 1:
        raise ValueError(
          f'modes={self.modes} exceed the {r // 2 + 1} wavenumbers of a grid '
          f'of {r} points: reduce modes.'
        )
    operators.parse_iterations(self.iterations)

  def smoked(self) -> 'Config':
    """A few steps of two networks."""
    levels = self.iterations.replace(',', ' ').split()
    return dataclasses.replace(
      super().smoked(),
      models=self.models[:2],
      resolution=min(self.resolution, 17),
      eval_resolutions=(),
      iterations=','.join(dict.fromkeys((levels[0], levels[-1]))),
      modes=min(self.modes, 4),
      channels=min(self.channels, 4),
      num_layers=min(self.num_layers or 2, 2),
      num_train=16,
      pod_modes=min(self.pod_modes, 8),
    )


def load(config: Config) -> dict[str, learning.Problem]:
  """Draws the functions once per layout that the networks need.

  Args:
    config: knobs.

  Returns:
    Problems by layout, 'grid' and 'aligned'; both show the same functions.
  """
  points = [m in operators.POINT_MODELS for m in config.models]
  out = {}
  if not all(points):
    out['grid'] = learning.load(
      config, layout='grid', eval_resolutions=config.eval_resolutions
    )
  if any(points):
    out['aligned'] = learning.load(config, layout='aligned')
  return out


def make_network(
  config: Config, name: str, problem: learning.Problem
) -> types.Network:
  """Builds one network for the shapes of the problem.

  Args:
    config: knobs.
    name: one of `MODELS`, not 'pod_deeponet', whose basis is data.
    problem: its functions.

  Returns:
    A `Network`.
  """
  width = config.hidden_size
  if name in operators.POINT_MODELS:
    network = operators.make_model(
      name,
      branch_layers=(width, width),
      trunk_layers=(width, width, width),
      stacked_layers=(width // 2 or 1, 1),
      hidden_layers=(width, width),
      channels=width,
      activation=None if name == 'seq2seq' else 'gelu',
    )
    distance = operators.box_distance
  else:
    example = problem.example()
    axes = example['inputs'].ndim - 2
    padding = config.padding
    if padding == 'auto':
      padding = 'circular' if problem.periodic else 'zeros'
    network = operators.make_model(
      name,
      out_channels=example['targets'].shape[-1],
      channels=config.channels,
      num_layers=config.num_layers or None,
      modes=(config.modes,) * axes,
      fourier_padding=config.fourier_padding,
      iterations=config.iterations,
      padding=None if name == 'mgno_navier_stokes' else padding,
      method='auto',
    )
    distance = _distance_on_grid
  if config.hard_boundary:
    network = operators.hard_boundary(network, distance)
  return network


def _distance_on_grid(inputs):
  axes = [jnp.linspace(0.0, 1.0, n) for n in inputs.shape[1:-1]]
  return operators.box_distance(
    jnp.stack(jnp.meshgrid(*axes, indexing='ij'), axis=-1)
  )


def make_variants(
  config: Config, loaded: dict[str, learning.Problem]
) -> dict[str, learning.Variant]:
  """Pairs every network with its data.

  Args:
    config: knobs.
    loaded: from `load`.

  Returns:
    Variants by name of the network.
  """
  out = {}
  for name in config.models:
    grid = name not in operators.POINT_MODELS
    problem = loaded['grid' if grid else 'aligned']
    if name == 'pod_deeponet':
      parts = _pod(config, problem)
    else:
      network = make_network(config, name, problem)
      parts = learning.with_normalizers(config, network, problem)
    extra = ('relative_h1_spectral',) if grid else ()
    out[name] = learning.Variant(
      problem=problem,
      loss=config.loss,
      metrics=('relative_l2', 'mse', *extra),
      **parts,
    )
  return out


def _pod(config, problem):
  """The trunk is fixed to the components, so outputs need no normaliser."""
  most = min(problem.example()['targets'].shape)
  constants = {
    'basis': learning.pod_bases(problem, min(config.pod_modes, most)),
    **learning.normalizers(problem, inputs=config.input_normalizer),
  }
  width = config.hidden_size

  def network(c):
    net = operators.make_model(
      'pod_deeponet',
      basis=c['basis'],
      branch_layers=(width, width),
      activation='gelu',
    )
    return operators.normalized(net, inputs=c.get('inputs'))

  return {'network': network, 'constants': constants}


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  variants = make_variants(config, load(config))

  def extra_rows(params, number):
    if number != config.num_rounds:
      return []
    return learning.spectra(variants, params, step=number, seed=config.seeds[0])

  return learning.experiment(
    config,
    variants,
    draw=functools.partial(draw, config),
    extra_rows=extra_rows,
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
  what = config.data_path or config.problem
  title = f'{what}: {config.num_train} functions'
  if not config.data_path:
    title += f', {config.resolution} points'
  own = [
    row
    for row in rows
    if row.get('resolution', config.resolution) == config.resolution
  ]
  paths = learning.draw_training(
    own,
    directory,
    'relative_l2',
    title=title,
    steps_per_round=config.steps_per_round,
    ylabel='Relative L2 error on test functions',
  )
  if config.eval_resolutions:
    last = [r for r in learning.last_rows(rows) if 'resolution' in r]
    paths.append(
      plots.log_log(
        last,
        directory / 'resolutions.png',
        'relative_l2',
        x='resolution',
        fit=False,
        xlabel='Grid points per axis (test)',
        ylabel='Relative L2 error on test functions',
        title=f'{what}: trained at {config.resolution} points per axis',
      )
    )
  return paths + learning.draw_spectra(rows, directory, title=title)


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
