# SPDX-License-Identifier: Apache-2.0
"""Generated sets: layouts, reproducibility and what they contain."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import pde
from jaxdl.core import registry
from jaxdl.pde import sets

TINY = {
  'antiderivative': dict(resolution=9, refinement=4),
  'nonlinear_ode': dict(resolution=9, refinement=4),
  'pendulum': dict(resolution=9, refinement=4, end_time=3.0, stiffness=2.0),
  'legendre_transform': dict(resolution=9, num_nodes=16),
  'caputo_derivative': dict(resolution=6, num_orders=4),
  'stochastic_ode': dict(resolution=4, num_modes=5, num_times=7),
  'stochastic_elliptic': dict(resolution=9, refinement=4),
  'advection': dict(resolution=9, case='iii', refinement=2),
  'advection_diffusion': dict(resolution=8, num_steps=20, keep_every=5),
  'diffusion_reaction': dict(resolution=9),
  'burgers': dict(resolution=16, solve_resolution=32, num_steps=40),
  'poisson': dict(resolution=9, boundary='neumann'),
  'darcy_smooth': dict(resolution=9, solve_resolution=17),
  'darcy_rough': dict(resolution=9),
  'darcy_lognormal': dict(resolution=9),
  'darcy_multiscale': dict(resolution=9, preconditioner='jacobi'),
  'helmholtz': dict(resolution=9, frequency=40.0),
  'navier_stokes': dict(resolution=8, end_time=0.2, num_times=2),
}


HOW = ('layout', 'queries_per_function', 'chunk')


def make(problem, *, seed=0, num_train=3, num_test=2, **options):
  how = {name: options.pop(name) for name in HOW if name in options}
  return sets.make_operator_dataset(
    registry.write(problem, **{**TINY[problem], **options}),
    key=jax.random.key(seed),
    num_train=num_train,
    num_test=num_test,
    **how,
  )


class EveryProblemTest(parameterized.TestCase):
  def test_the_table_is_complete(self):
    self.assertEqual({*TINY, 'darcy'}, set(sets.PROBLEMS))
    self.assertEqual({*sets.PROBLEMS, 'file'}, set(sets.SOURCES))
    for problem, options in TINY.items():
      self.assertLessEqual(set(options), set(sets.PROBLEMS.options(problem)))

  @parameterized.parameters(*TINY)
  def test_aligned_layout(self, problem):
    data = make(problem)
    self.assertEqual(data.train.inputs.shape[0], 3)
    self.assertEqual(data.test.targets.shape[0], 2)
    self.assertEqual(data.train.inputs.shape[1], data.sensors.shape[0])
    self.assertEqual(data.train.targets.shape[1], data.train.queries.shape[0])
    for split in (data.train, data.test):
      for array in split:
        self.assertEqual(array.dtype, np.float32)
        self.assertEqual(array.ndim, 2)
        self.assertTrue(np.isfinite(array).all())
      self.assertGreater(split.targets.std(), 1e-4)
    self.assertFalse(np.allclose(data.train.targets[0], data.test.targets[0]))
    self.assertFalse(np.allclose(data.train.targets[0], data.train.targets[1]))


class LayoutTest(parameterized.TestCase):
  def test_samples_do_not_depend_on_sizes_or_chunks(self):
    few = make('burgers', chunk=2)
    many = make('burgers', num_train=5, num_test=1, chunk=64)
    np.testing.assert_allclose(
      few.train.targets, many.train.targets[:3], atol=1e-5
    )
    np.testing.assert_allclose(
      few.train.inputs, many.train.inputs[:3], atol=1e-5
    )
    np.testing.assert_allclose(
      few.test.targets[:1], many.test.targets, atol=1e-5
    )
    other = make('burgers', seed=1)
    self.assertFalse(np.allclose(few.train.inputs, other.train.inputs))

  def test_unaligned_rows_are_points_of_the_aligned_set(self):
    aligned = make('diffusion_reaction').train
    rows = make(
      'diffusion_reaction', layout='unaligned', queries_per_function=4
    ).train
    self.assertEqual(rows.inputs.shape, (12, 9))
    self.assertEqual(rows.queries.shape, (12, 2))
    np.testing.assert_allclose(
      rows.inputs, np.repeat(aligned.inputs, 4, axis=0), atol=1e-6
    )
    places = np.round(rows.queries * 8).astype(int)  # (t, x) on a 9 x 9 grid.
    flat = places[:, 0] * 9 + places[:, 1]
    want = aligned.targets[np.repeat(np.arange(3), 4), flat]
    np.testing.assert_allclose(rows.targets[:, 0], want, atol=1e-6)
    self.assertGreater(len(set(flat)), 6)

  def test_unaligned_queries_use_the_refined_grid(self):
    rows = make(
      'antiderivative', layout='unaligned', queries_per_function=50
    ).train
    ids = rows.queries * 32
    np.testing.assert_allclose(ids, np.round(ids), atol=1e-4)
    self.assertTrue((np.round(ids) % 4 != 0).any())

  def test_grid_layouts(self):
    flat, data = make('advection').train, make('advection', layout='grid').train
    self.assertEqual(data.inputs.shape, (3, 9, 9, 1))  # (time, x)
    np.testing.assert_array_equal(data.inputs[:, 0], data.inputs[:, 5])
    np.testing.assert_allclose(data.inputs[:, 4, :, 0], flat.inputs, atol=1e-6)
    np.testing.assert_allclose(
      data.targets.reshape(3, -1), flat.targets, atol=1e-6
    )
    self.assertEqual(data.queries.shape, (9, 9, 2))
    data = make('navier_stokes', layout='grid').train
    self.assertEqual(data.inputs.shape, (3, 8, 8, 1))
    self.assertEqual(data.targets.shape, (3, 8, 8, 2))
    np.testing.assert_allclose(data.queries[2, 1], [0.25, 0.125])
    data = make('darcy_rough', layout='grid').train
    self.assertEqual(data.targets.shape, (3, 9, 9, 1))
    self.assertEqual(set(np.unique(data.inputs)), {2.0, 12.0})
    np.testing.assert_array_equal(data.targets[:, 0], 0)
    with self.assertRaisesRegex(ValueError, 'no grid layout'):
      make('legendre_transform', layout='grid')

  @parameterized.product(
    problem=['advection', 'navier_stokes', 'antiderivative'],
    layout=['grid', 'aligned', 'unaligned'],
  )
  def test_shapes_are_known_before(self, problem, layout):
    spec = registry.write(problem, **TINY[problem])
    want = sets.operator_shapes(spec, layout=layout)
    got = make(problem, layout=layout, num_train=1, num_test=1).train
    self.assertEqual([x.shape for x in want], [x.shape for x in got])
    self.assertEqual([x.dtype for x in want], [x.dtype for x in got])


class ContentTest(parameterized.TestCase):
  def test_targets_solve_the_problem_of_the_inputs(self):
    data = make('darcy_lognormal', layout='grid').train
    want = pde.solve_darcy(jnp.asarray(data.inputs[..., 0]))
    np.testing.assert_allclose(data.targets[..., 0], want, atol=1e-5)
    data = make('antiderivative', refinement=1, resolution=40).train
    steps = (data.inputs[:, 1:] + data.inputs[:, :-1]) / 78
    np.testing.assert_allclose(
      data.targets[:, 1:], np.cumsum(steps, 1), atol=1e-5
    )
    data = make('burgers', resolution=32).train
    want = pde.solve_burgers(
      jnp.asarray(data.inputs[0]), dt=1 / 40, num_steps=40
    )[0]
    np.testing.assert_allclose(data.targets[0], want, atol=1e-5)
    data = make('advection', case='i', length_scale=0.5).train
    np.testing.assert_allclose(
      data.targets.reshape(3, 9, 9)[:, 0], data.targets.reshape(3, 9, 9)[:, -1],
      atol=1e-5,
    )  # fmt: skip

  def test_stochastic_inputs_are_karhunen_loeve_modes(self):
    data = make(
      'stochastic_ode',
      num_modes=3,
      min_length_scale=1.5,
      max_length_scale=1.5,
    ).train
    fine = np.linspace(0, 1, 601)
    kernel = lambda x, y: pde.exponential_kernel(x, y, length_scale=1.5)
    values, modes = pde.kl_basis(kernel, fine, num_modes=3)
    want = (modes * np.sqrt(values))[::200].T
    got = data.inputs[0].reshape(3, 4)
    np.testing.assert_allclose(np.abs(got), np.abs(want), atol=5e-3)
    t = np.linspace(0, 1, 7)
    variance = 3 * t + 4.5 * np.expm1(-t / 1.5)
    np.testing.assert_allclose(data.targets[0], np.exp(variance / 2), rtol=1e-5)

  def test_same_function_at_two_resolutions(self):
    for problem, sizes in (('darcy_lognormal', (9, 17)), ('burgers', (16, 32))):
      extra = {} if problem.startswith('darcy') else dict(solve_resolution=32)
      coarse, fine = (
        make(problem, resolution=n, num_modes=7, layout='grid', **extra).train
        for n in sizes
      )
      step = (slice(None), *[slice(None, None, 2)] * (fine.inputs.ndim - 2))
      np.testing.assert_allclose(coarse.inputs, fine.inputs[step], atol=1e-4)

  def test_double_precision(self):
    with jax.enable_x64(True):
      data = make('antiderivative')
    self.assertEqual(data.train.targets.dtype, np.float64)


class MistakesTest(parameterized.TestCase):
  def test_names_and_numbers(self):
    with self.assertRaisesRegex(ValueError, "problem='heat' is unknown"):
      sets.PROBLEMS.check('heat')
    with self.assertRaisesRegex(ValueError, "no option 'nu'.*viscosity"):
      make('burgers', nu=0.1)
    with self.assertRaisesRegex(ValueError, "layout='mesh' is unknown"):
      make('burgers', layout='mesh')
    with self.assertRaisesRegex(ValueError, 'num_train must be at least 1'):
      make('burgers', num_train=0)
    with self.assertRaisesRegex(ValueError, 'multiple of resolution=16'):
      make('burgers', solve_resolution=40)
    with self.assertRaisesRegex(ValueError, 'resolution - 1 = 8'):
      make('darcy_smooth', solve_resolution=18)
    with self.assertRaisesRegex(ValueError, 'length_scale must lie'):
      make('antiderivative', length_scale=-1.0)

  @parameterized.parameters(
    ('navier_stokes', dict(scale=1e5), 'violates the CFL limit'),
    ('burgers', dict(scale=1e4, num_steps=2), 'stability limit'),
    ('darcy_lognormal', dict(tolerance=1e-30), 'did not reach tolerance'),
    ('nonlinear_ode', dict(std=1e4), 'reduce dt or the forcing'),
  )
  def test_checks_of_values_reach_the_caller(self, problem, options, message):
    with self.assertRaisesRegex(ValueError, message) as caught:
      make(problem, **options)
    self.assertNotIn('\n', str(caught.exception))


if __name__ == '__main__':
  absltest.main()
