# SPDX-License-Identifier: Apache-2.0
"""Operator networks side by side on Burgers' equation and Darcy flow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import operator_zoo, papers
from jaxdl import operators, plots

PAPER = papers.Paper(
  title='Fourier and convolutional operators, problems and losses',
  source='Li et al. 2021, Lu et al. 2022, Takamoto et al. 2022',
  arxiv='2010.08895',
  functions=(
    'operators.fno',
    'operators.unet',
    'operators.dilated_resnet',
    'operators.make_model',
    'operators.pdebench_metrics',
    'operators.fit_normalizer',
    'pde.solve_burgers',
    'pde.solve_navier_stokes',
    'pde.sets.load_pdebench',
  ),
  binary='operator_zoo',
)


GRIDS = (32, 64, 128, 256)
# Relative L2 errors of the published Fourier network for viscosity 0.1 and
# 1000 functions, by grid points.
PUBLISHED = {256: 0.0149, 1024: 0.0160, 8192: 0.0139}


@functools.cache
def fronts(seeds: tuple[int, ...]) -> dict[tuple[str, int], float]:
  """Errors on Burgers' equation with fronts, trained at 64 points.

  Args:
    seeds: seeds, run as one program.

  Returns:
    Mean relative L2 error by network and test grid.
  """
  config = operator_zoo.Config(
    seeds=seeds,
    problem='burgers(resolution=64, viscosity=0.01, num_steps=800)',
    eval_resolutions=tuple(g for g in GRIDS if g != 64),
    models=(
      'fno(channels=16, modes=16)',
      'unet(channels=16)',
      'cnn(channels=16, num_layers=4)',
    ),
    num_rounds=60,
    eval_every=60,
    eval_train=False,
  )
  out: dict[tuple[str, int], list[float]] = {}
  for row in plots.last_rows(operator_zoo.run(config).rows):
    place = (row['variant'], row['resolution'])
    out.setdefault(place, []).append(row['relative_l2'])
  return {place: float(np.mean(values)) for place, values in out.items()}


def _spread(found, model):
  errors = [found[model, grid] for grid in GRIDS]
  return max(errors) / min(errors), '/'.join(f'{e:.3f}' for e in errors)


@papers.claim(
  'Trained at 64 points, the Fourier network has the same error on grids of '
  '32 to 256 points, to 15 %'
)
def fno_is_flat(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The Fourier network's error does not depend on the test grid."""
  found = fronts(seeds)
  ratio, text = _spread(found, 'fno')
  return ratio <= 1.15, f'{text} at 32/64/128/256 points ({ratio:.2f}x)'


@papers.claim('A U-Net loses a factor of 1.5 or more on other grids')
def stencils_are_not(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A network of fixed stencils loses its training grid's accuracy."""
  found = fronts(seeds)
  ratio, text = _spread(found, 'unet')
  plain = _spread(found, 'cnn')[1]
  figure = f'{ratio:.1f}x ({text}); a plain CNN fails on all grids ({plain})'
  return ratio >= 1.5, figure


@papers.claim(
  "On Burgers' equation with viscosity 0.1 and 1000 functions the error is "
  'at most the published 0.0160'
)
def published_error(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """On the published setting, a small network reaches the published error."""
  config = operator_zoo.Config(
    seeds=seeds,
    problem='burgers(resolution=64)',
    models=('fno(channels=24, modes=12)',),
    num_train=1000,
    num_test=200,
    batch_size=20,
    steps_per_round=50,
    num_rounds=60,
    eval_every=60,
    eval_train=False,
  )
  rows = plots.last_rows(operator_zoo.run(config).rows)
  error = float(np.mean([row['relative_l2'] for row in rows]))
  table = ', '.join(f'{e:.4f} at {s}' for s, e in PUBLISHED.items())
  return error <= PUBLISHED[1024], f'{error:.4f} at 64; published {table}'


@papers.claim('Outputs with a hard boundary are exactly zero there')
def boundary_is_exact(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Outputs of networks with hard boundaries vanish there exactly."""
  config = operator_zoo.Config(
    seeds=seeds[:1],
    problem='darcy(resolution=17)',
    hard_boundary=True,
    target_normalizer='none',
    models=(
      'cnn(channels=8, num_layers=4)',
      'deeponet((64, 64), (64, 64, 64), activation=gelu)',
    ),
    num_train=16,
    num_test=4,
    num_rounds=2,
    eval_every=2,
  )
  worst, inner = 0.0, 0.0
  for row in operator_zoo.run(config).rows:
    if row.get('kind') != 'predictions':
      continue
    line = [abs(row[f'v_{j}']) for j in range(17)]
    edge = row['line'] in (0, 16)
    worst = max(worst, *(line if edge else (line[0], line[-1])))
    inner = max(inner, *line)
  figure = f'largest value {worst:g} on the boundary, {inner:.2g} inside'
  return worst == 0.0 and inner > 0.0, figure


@papers.claim('Networks of published sizes have the published parameter counts')
def parameter_counts(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Networks of the published sizes have the published numbers."""
  del seeds

  def count(network, *shapes):
    params = jax.eval_shape(
      lambda: network.init(
        jax.random.key(0), *(jnp.zeros(shape) for shape in shapes)
      )
    )
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))

  found = {
    'FNO 1-D': count(operators.fno((16,), channels=64), (1, 64, 1)),
    'FNO 2-D': count(operators.fno((12, 12), channels=32), (1, 32, 32, 1)),
    'FNO 3-D': count(
      operators.fno((8, 8, 8), channels=20), (1, 16, 16, 16, 10)
    ),
    'DeepONet': count(operators.make_model('deeponet'), (1, 100), (1, 1)),
  }
  want = {
    'FNO 1-D': 549_569,
    'FNO 2-D': 2_368_001,
    # Published with batch normalization: 160 more.
    'FNO 3-D': 6_558_377,
    'DeepONet': 9_041,
  }
  text = ', '.join(f'{name} {number:,}' for name, number in found.items())
  return found == want, text
