# SPDX-License-Identifier: Apache-2.0
"""Multigrid operators: sizes, exact multigrid, and Darcy flow at 32 x 32.

Published at 256 x 256 with 0.57 M parameters: relative L2 / H1 errors of
0.339e-2 / 1.380e-2 (rough) and 0.715e-2 / 1.756e-2 (multiscale); FNO, as
remembered and not verified, 1.613e-2 / 7.516e-2 and 1.800e-2 / 9.619e-2.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import mgno, papers
from jaxdl import operators, plots
from jaxdl.operators import multigrid as classical

PAPER = papers.Paper(
  title='MgNO: operators as learned multigrid cycles',
  source='He, Liu and Xu 2024',
  arxiv='2310.19809',
  functions=(
    'operators.mgno',
    'operators.v_cycle',
    'operators.mgno_navier_stokes',
    'operators.mgno_helmholtz',
    'operators.flows.rollout',
    'operators.relative_h1_spectral',
    'operators.mgnet',
    'pde.solve_darcy',
  ),
  binary='mgno',
  colab='03_operator_learning',
)


H1 = mgno.H1
SINGLE_LEVEL = 'mgno(channels=16, num_layers=3, iterations="40")'


@functools.cache
def _run(seed: int, model: str):
  """Last test errors and the size of one network, trained alone."""
  config = mgno.Config(
    seeds=(seed,), models=(model,), eval_every=20, num_samples=1
  )
  row = plots.last_rows(mgno.run(config).rows)[0]
  return row['relative_l2'], row[H1], row['parameters']


def darcy(seeds: tuple[int, ...], model: str) -> tuple[float, float, int]:
  """Errors on the CPU-scale Darcy problem.

  Args:
    seeds: run one after the other.
    model: an entry of `mgno.Config.models`.

  Returns:
    Seed means of the relative L2 and H1 errors, and the parameters.
  """
  found = np.array([_run(seed, model) for seed in seeds])
  l2, h1, size = found.mean(0)
  return float(l2), float(h1), int(size)


@papers.claim(
  '24 channels, 4 layers, 6 levels: 572,661 parameters (published: 0.57 M), '
  '578,685 with three inputs'
)
def parameter_count(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Four layers of six levels with 24 channels have the published size."""
  del seeds  # Nothing is drawn.
  net = operators.mgno(channels=24)
  found = []
  for num_inputs in (1, 3):
    f = jax.ShapeDtypeStruct((1, 256, 256, num_inputs), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), f)
    found.append(sum(x.size for x in jax.tree.leaves(params)))
  held = found == [572_661, 578_685]
  return held, f'{found[0]:,} and {found[1]:,} with three inputs'


@papers.claim(
  'With textbook stencils and no coarse iterate a V-cycle is the BPX '
  'preconditioner: the condition of -Laplace + 1 grows as 513, 2049, 8193, '
  'preconditioned it is 25.6, 26.1, 28.0'
)
def bpx_is_exact(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """With textbook stencils a V-cycle is the multilevel preconditioner."""
  del seeds
  held, parts = True, []
  for n, levels, plain, bounded in (
    (8, 3, 513, 25.6),
    (16, 4, 2049, 26.1),
    (32, 5, 8193, 28.0),
  ):
    alone, both = classical.condition_numbers(n, levels)
    held &= abs(alone - plain) < 1e-3 and abs(both - bounded) < 0.06
    parts.append(f'n={n}: {alone:.0f}, {both:.1f}')
  return bool(held), '; '.join(parts)


@papers.claim(
  'With residual transfer the error factor per cycle is .35 for V(1,1) and '
  '.17 to .185 for V(2,2) on grids of 32, 64 and 128'
)
def textbook_cycle(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A V-cycle with residual transfer reduces errors alike on all grids."""
  del seeds
  found = {
    sweeps: [classical.error_factor(n, sweeps) for n in (32, 64, 128)]
    for sweeps in (1, 2)
  }
  held = all(abs(x - 0.35) < 0.01 for x in found[1])
  held &= all(0.17 < x < 0.185 for x in found[2])
  return bool(held), '; '.join(
    f'V({s},{s}): ' + ', '.join(f'{x:.3f}' for x in values)
    for s, values in found.items()
  )


@papers.claim(
  'One linear V-cycle trained on Poisson, 32 x 32: the relative L2 error '
  'falls with each of 1 to 5 levels, in all by more than a factor 2'
)
def levels_help(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A linear cycle learns to invert better with every level."""
  errors = []
  for seed in seeds:
    errors.append(_levels(seed))
  mean = np.mean(errors, axis=0)
  held = bool(np.all(np.diff(mean) < 0) and mean[-1] < mean[0] / 2)
  return held, ', '.join(f'{x:.3f}' for x in mean)


LEVELS = {
  'problem': 'poisson',
  'sweep': 'levels',
  'models': (
    'mgno(channels=4, num_layers=1, iterations="10,10,10,10,20", '
    'activation=identity)',
  ),
  'loss': 'relative_l2',
  'num_train': 400,
  'num_test': 100,
  'num_rounds': 10,
  'optimizer': 'adam(3e-3, schedule=one_cycle)',
}


@functools.cache
def _levels(seed):
  rows = mgno.run(mgno.Config(seeds=(seed,), eval_every=20, **LEVELS)).rows
  last = plots.last_rows(rows)
  return [r['relative_l2'] for r in sorted(last, key=lambda r: r['levels'])]


@papers.claim(
  'Darcy, 32 x 32: MgNO beats one level by > 1.4 in L2 at fewer parameters'
)
def multilevel_helps(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Four levels beat one level of more parameters."""
  ours, other = darcy(seeds, mgno.MGNO), darcy(seeds, SINGLE_LEVEL)
  held = other[0] > 1.4 * ours[0] and ours[2] < other[2]
  return held, (
    f'L2 {ours[0]:.4f} with {ours[2]:,} parameters, single level '
    f'{other[0]:.4f} with {other[2]:,}'
  )


@papers.claim(
  'Trained on H1 instead of L2 its H1 error is > 2 times smaller, its L2 '
  'error at most 1.1 times larger'
)
def h1_training_helps(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The H1 loss more than halves the H1 error and keeps the L2 error."""
  ours, other = (
    darcy(seeds, mgno.MGNO),
    darcy(seeds, f'{mgno.MGNO}@relative_l2'),
  )
  held = other[1] > 2 * ours[1] and ours[0] <= 1.1 * other[0]
  return held, (
    f'L2 / H1: {ours[0]:.4f} / {ours[1]:.4f} trained on H1, {other[0]:.4f} / '
    f'{other[1]:.4f} on L2'
  )


@papers.claim(
  'Its L2 error is at most 1.15 times that of an FNO of > 5 times the '
  'parameters'
)
def on_a_par_with_fno(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """With a fifth of the parameters, errors are those of an FNO."""
  ours, other = darcy(seeds, mgno.MGNO), darcy(seeds, mgno.FNO)
  held = ours[0] <= 1.15 * other[0] and 5 * ours[2] < other[2]
  return held, (
    f'L2 / H1: {ours[0]:.4f} / {ours[1]:.4f} with {ours[2]:,} parameters, FNO '
    f'{other[0]:.4f} / {other[1]:.4f} with {other[2]:,}; published at 256 x '
    '256, rough: 0.0034 / 0.0138, FNO 0.0161 / 0.0752 (not verified)'
  )


@papers.claim('A plain CNN is > 4 times worse in L2')
def cnn_is_far_behind(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A plain convolutional network does not see far enough."""
  ours, other = darcy(seeds, mgno.MGNO), darcy(seeds, 'cnn')
  return other[0] > 4 * ours[0], f'L2 {ours[0]:.4f}, CNN {other[0]:.4f}'
