# SPDX-License-Identifier: Apache-2.0
r"""Branch-trunk networks, their baselines, and what their error is due to.

Trains several networks on samples of one operator. `--sweep` repeats that for
several numbers of training functions or sensors, or length scales. `--physics`
trains on the equation alone, without solutions.

Data are triples (u at m sensors, y, G(u)(y)), one or few random points y per
function (`--layout=unaligned`), or all functions at the same points (aligned,
much cheaper per point).

Example: python -m experiments.deeponet \
  --problem=pendulum --models=deeponet,fnn --sweep=num_sensors \
  --sweep_values=5,10,20,40,80
"""

import dataclasses
import functools
from typing import Any

import jax

from experiments import (
  _deeponet_physics as physics,
  _deeponet_pictures as pictures,
)
from jaxdl import operators
from jaxdl.core import types
from jaxdl.experiment import operator_learning as learning, runner
from jaxdl.networks import functional
from jaxdl.pde import sets

knob = runner.knob

MODELS = (
  'deeponet',
  'stacked_deeponet',
  'pod_deeponet',
  'fnn',
  'resnet',
  'seq2seq',
)
SWEEPS = ('none', 'num_train', 'num_sensors', 'length_scale')
_ALIGNED = ('pod_deeponet', 'seq2seq')
_LABELS = {
  'num_train': '{:,g} functions',
  'num_sensors': '{:g} sensors',
  'length_scale': 'l = {:g}',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(learning.OperatorConfig):
  """Knobs of branch-trunk networks."""

  models: tuple[str, ...] = knob(
    ('deeponet', 'stacked_deeponet', 'fnn'),
    'Networks to compare.',
    choices=MODELS,
  )
  layout: str = knob(
    'unaligned',
    'One random point per function, or all functions at common points; files '
    'have their own.',
    choices=('unaligned', 'aligned'),
    needs={'data_path': False},
  )
  queries_per_function: int = knob(
    1,
    'Random points per function (unaligned).',
    low=1,
    needs={'data_path': False, 'layout': ('unaligned',)},
  )
  branch_layers: tuple[int, ...] = knob(
    (40, 40),
    'Widths of the branch after the sensors; those before the last are the '
    'hidden ones of pod_deeponet.',
    low=1,
    needs={'models': ('deeponet', 'pod_deeponet')},
  )
  stacked_layers: tuple[int, ...] = knob(
    (20, 1),
    'Widths of each branch of stacked_deeponet.',
    low=1,
    needs={'models': ('stacked_deeponet',)},
  )
  trunk_layers: tuple[int, ...] = knob(
    (40, 40, 40),
    'Widths of the trunk; all its layers are activated.',
    low=1,
    needs={'models': ('deeponet', 'stacked_deeponet')},
  )
  hidden_layers: tuple[int, ...] = knob(
    (100, 100),
    'Hidden widths of fnn.',
    low=1,
    needs={'models': ('fnn',)},
  )
  width: int = knob(
    0,
    'Width of resnet and seq2seq; 0 is 128 and 40.',
    low=0,
    needs={'models': ('resnet', 'seq2seq')},
  )
  num_blocks: int = knob(
    2, 'Blocks of resnet.', low=0, needs={'models': ('resnet',)}
  )
  pod_modes: int = knob(
    32,
    'Principal components of pod_deeponet.',
    low=1,
    needs={'models': ('pod_deeponet',)},
  )
  activation: str = knob(
    'relu',
    'Of all but seq2seq.',
    choices=tuple(functional.ACTIVATIONS),
    needs={'models': [m for m in MODELS if m != 'seq2seq']},
  )
  use_bias: bool = knob(
    True,
    'Whether the inner product has a bias.',
    needs={'models': ('deeponet', 'stacked_deeponet')},
  )
  multi_output: str = knob(
    'independent',
    'How deeponet gives several outputs, where the data have several.',
    choices=operators.MULTI_OUTPUTS,
    needs={'models': ('deeponet',)},
  )
  periodic_features: int = knob(
    0,
    'Harmonics of all points that the trunk reads; 0 reads points.',
    low=0,
    needs={'models': ('deeponet', 'stacked_deeponet')},
  )
  hard_boundary: bool = knob(
    False,
    'Make outputs meet the zero initial and boundary data exactly.',
    needs={'data_path': False},
  )
  physics: bool = knob(
    False, 'Train on the residual of the equation, without solutions.'
  )
  num_collocation: int = knob(
    200,
    'Points of a step where the residual is taken.',
    low=1,
    needs={'physics': True},
  )
  sweep: str = knob('none', 'What is varied.', choices=SWEEPS)
  sweep_values: tuple[float, ...] = knob(
    (), 'Its values.', low=0.0, needs={'sweep': SWEEPS[1:]}
  )
  num_train: int = knob(
    10_000,
    'Training functions.',
    low=1,
    needs={'sweep': ('none', 'num_sensors', 'length_scale')},
  )
  num_test: int = knob(10_000, 'Test functions.', low=1)
  resolution: int = knob(
    0,
    'Sensors (per axis); 0 is the default of the problem, mostly 100.',
    needs={'data_path': False, 'sweep': ('none', 'num_train', 'length_scale')},
  )
  file_format: str = knob(
    'deeponet_npz',
    'What the files hold.',
    choices=('deeponet_npz',),
    needs={'data_path': True},
  )
  loss: str = knob(
    'mse',
    'What is minimised.',
    choices=('mse', 'normalised_mse', 'relative_l2'),
    needs={'physics': False},
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
  steps_per_round: int = knob(100, 'Optimiser steps in a round.', low=1)
  eval_every: int = knob(10, 'Rounds between evaluations.', low=1)
  eval_batch_size: int = knob(
    1000, 'Triples or functions in an evaluation batch.', low=1
  )

  def validate(self) -> None:
    """Checks that networks, layout, sweep and equation fit together."""
    super().validate()
    if not self.models or len(set(self.models)) != len(self.models):
      raise ValueError(
        f'models must name at least one, each once; got {self.models}.'
      )
    fixed = [m for m in self.models if m in _ALIGNED]
    if fixed and self.layout == 'unaligned' and not self.data_path:
      raise ValueError(
        f'models={",".join(fixed)} need all functions at the same points: use '
        'layout=aligned.'
      )
    for name in ('branch_layers', 'stacked_layers', 'trunk_layers'):
      if not getattr(self, name):
        raise ValueError(f'{name} is empty: give at least one width.')
    if 'stacked_deeponet' in self.models and self.stacked_layers[-1] != 1:
      raise ValueError(
        f'stacked_layers={self.stacked_layers} must end in 1: every branch '
        'gives one coefficient.'
      )
    b, t = self.branch_layers[-1], self.trunk_layers[-1]
    one_sided = self.multi_output in ('split_branch', 'split_trunk')
    free = self.data_path and one_sided
    if 'deeponet' in self.models and b != t and not free:
      raise ValueError(
        f'branch_layers end in {b} but trunk_layers in {t}: their last widths '
        'must match.'
      )
    if self.data_path and self.subsample > 1:
      raise ValueError('subsample has no meaning for files of sensor values.')
    if self.hard_boundary and (
      self.data_path or self.problem not in physics.DISTANCES
    ):
      raise ValueError(
        'hard_boundary needs a problem with zero data: '
        f'{", ".join(physics.DISTANCES)}.'
      )
    self._validate_sweep()
    if self.physics:
      self._validate_physics()

  def _validate_sweep(self):
    values = self.sweep_values
    if self.sweep == 'none':
      if values:
        raise ValueError('sweep_values needs sweep: say what is varied.')
      return
    if not values or len(set(values)) != len(values):
      raise ValueError(
        f'sweep={self.sweep} needs sweep_values that differ; got {values}.'
      )
    if min(values) <= 0:
      raise ValueError(f'sweep_values must be positive; got {values}.')
    if self.sweep != 'length_scale' and any(v != int(v) for v in values):
      raise ValueError(
        f'sweep={self.sweep} needs whole sweep_values; got {values}.'
      )
    if self.sweep == 'num_sensors' and min(values) < 4:
      raise ValueError(f'sweep=num_sensors needs at least 4; got {values}.')
    if self.data_path and self.sweep != 'num_train':
      raise ValueError(
        f'sweep={self.sweep} needs generated functions: remove data_path.'
      )
    if self.sweep == 'length_scale' and 'length_scale' not in (
      sets.problem_options(self.problem)
    ):
      raise ValueError(f'problem={self.problem} has no length_scale to vary.')

  def _validate_physics(self):
    if self.data_path or self.problem not in physics.EQUATIONS:
      raise ValueError(
        f'physics knows the equations of {", ".join(physics.EQUATIONS)}; got '
        f'problem={self.data_path or self.problem}.'
      )
    refused = [m for m in self.models if m in _ALIGNED]
    if refused:
      raise ValueError(
        f'physics needs outputs at any points; {refused[0]} gives them at '
        'fixed ones.'
      )
    if self.activation in ('relu', 'identity'):
      raise ValueError(
        f'physics needs a smooth activation: second derivatives of a network '
        f'with {self.activation} vanish. Use activation=tanh.'
      )
    if self.layout != 'aligned':
      raise ValueError('physics needs layout=aligned: it draws its own points.')
    if self.target_normalizer != 'none':
      raise ValueError(
        'physics sees no solutions, so it has no statistics of them: use '
        'target_normalizer=none.'
      )
    if self.problem == 'pendulum' and not self.hard_boundary:
      raise ValueError(
        'physics of problem=pendulum needs hard_boundary: two initial values '
        'are given.'
      )

  def smoked(self) -> 'Config':
    """Two networks, two values, few functions and steps."""
    return dataclasses.replace(
      super().smoked(),
      models=self.models[:2],
      sweep_values=self.sweep_values[:2],
      pod_modes=min(self.pod_modes, 8),
      num_collocation=min(self.num_collocation, 16),
    )


def load(config: Config) -> dict[float | None, learning.Problem]:
  """Draws or reads the functions, once per value of the sweep.

  Args:
    config: knobs.

  Returns:
    Problems by value; the only key is None without a sweep.
  """
  make = functools.partial(
    learning.load,
    config,
    layout=config.layout,
    queries_per_function=config.queries_per_function,
  )
  if config.sweep == 'num_sensors':
    return {v: make(resolution=int(v)) for v in config.sweep_values}
  if config.sweep == 'length_scale':
    given = learning.parse_options(config.problem, config.problem_options)
    return {
      v: make(options=given | {'length_scale': v}) for v in config.sweep_values
    }
  counts = {None: config.num_train}
  if config.sweep == 'num_train':
    counts = {v: int(v) for v in config.sweep_values}
  most = make(num_train=max(counts.values()))
  rows = config.queries_per_function if 'points' in most.train else 1
  rows = 1 if config.data_path else rows
  have = len(most.example()['inputs']) // rows
  if config.sweep == 'num_train' and max(counts.values()) > have:
    raise ValueError(
      f'sweep_values={config.sweep_values} exceed the {have} training rows of '
      f'{config.data_path}.'
    )
  return {
    v: most._replace(
      train=jax.tree.map(lambda x, n=n: x[:, : n * rows], most.train)
    )
    for v, n in counts.items()
  }


def num_outputs(problem: learning.Problem) -> int:
  """How many output functions there are.

  Args:
    problem: aligned or unaligned functions.

  Returns:
    C.
  """
  targets = problem.example()['targets']
  if problem.points is None or targets.ndim == 3:
    return targets.shape[-1]
  return 1


def make_network(
  config: Config, name: str, *, outputs: int = 1, basis: Any = None
) -> types.Network:
  """Builds one network.

  Args:
    config: knobs.
    name: one of `MODELS`.
    outputs: C.
    basis: of 'pod_deeponet'.

  Returns:
    A `Network` of sensors and points.
  """
  if name.endswith('deeponet') and name != 'pod_deeponet':
    periods = config.periodic_features
    branch: Any = config.branch_layers
    if name == 'stacked_deeponet':
      branch = operators.stacked_branch(
        config.trunk_layers[-1],
        config.stacked_layers,
        activation=config.activation,
      )
    network = operators.deeponet(
      branch,
      config.trunk_layers,
      num_outputs=outputs,
      multi_output=(
        config.multi_output if name == 'deeponet' else 'independent'
      ),
      use_bias=config.use_bias,
      activation=config.activation,
      trunk_features=operators.periodic_features(periods) if periods else None,
    )
  else:
    network = operators.make_model(
      name,
      out_channels=outputs,
      channels=config.width or None,
      num_layers=config.num_blocks,
      hidden_layers=config.hidden_layers,
      branch_layers=config.branch_layers[:-1],
      basis=basis,
      activation=None if name == 'seq2seq' else config.activation,
    )
  # Principal components vanish where all outputs do.
  if config.hard_boundary and name != 'pod_deeponet':
    network = operators.hard_boundary(
      network, physics.DISTANCES[config.problem]
    )
  return network


def make_variants(
  config: Config, loaded: dict[float | None, learning.Problem]
) -> dict[str, learning.Variant]:
  """Pairs every network with every set of functions.

  Args:
    config: knobs.
    loaded: from `load`.

  Returns:
    Variants by name of the network and value of the sweep.
  """
  out = {}
  for value, problem in loaded.items():
    outputs = num_outputs(problem)
    for name in config.models:
      if name == 'pod_deeponet':
        parts = _pod(config, problem)
      else:
        network = make_network(config, name, outputs=outputs)
        parts = learning.with_normalizers(config, network, problem)
      label, columns = name, {'model': name}
      if value is not None:
        label = f'{name}, {_LABELS[config.sweep].format(value)}'
        columns[config.sweep] = value
      aligned = ('relative_l2',) if problem.points is not None else ()
      out[label] = learning.Variant(
        problem=problem,
        loss=config.loss,
        metrics=(*aligned, 'mse'),
        trim=pictures.TRIM,
        columns=columns,
        task=(
          functools.partial(physics.task, config, problem)
          if config.physics
          else None
        ),
        **parts,
      )
  return out


def _pod(config, problem):
  most = min(problem.example()['targets'].shape)
  if config.pod_modes > most:
    raise ValueError(
      f'pod_modes={config.pod_modes} exceed the {most} components of '
      f'{problem.example()["targets"].shape} training outputs: reduce '
      'pod_modes.'
    )
  constants = learning.normalizers(
    problem, inputs=config.input_normalizer, targets=config.target_normalizer
  )
  targets = problem.train['targets']
  if 'outputs' in constants:
    # Components of what the network gives, before its outputs are scaled back.
    encode = lambda n, y: n.encode(y[..., None])[..., 0]
    targets = jax.vmap(encode)(constants['outputs'], targets)
  shown = problem._replace(train=problem.train | {'targets': targets})
  constants['basis'] = learning.pod_bases(shown, config.pod_modes)

  def network(c):
    net = make_network(config, 'pod_deeponet', basis=c['basis'])
    return operators.normalized(
      net, inputs=c.get('inputs'), outputs=c.get('outputs')
    )

  return {'network': network, 'constants': constants}


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """

  def extra(params, number):
    if number != config.num_rounds:
      return []
    seed = int(config.seeds[0])
    sizes = [
      {
        'step': number,
        'split': 'network',
        'variant': name,
        'seed': seed,
        'num_params': sum(x[0].size for x in jax.tree.leaves(leaves)),
      }
      for name, leaves in params.items()
    ]
    return sizes + pictures.references(config)

  experiment = learning.experiment(
    config,
    make_variants(config, load(config)),
    draw=functools.partial(pictures.draw, config),
    extra_rows=extra,
  )
  return dataclasses.replace(experiment, table=pictures.table)


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
