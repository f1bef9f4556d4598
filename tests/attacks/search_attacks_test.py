# SPDX-License-Identifier: Apache-2.0
"""Attacks that search against a rule."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import attacks as reference

from jaxdl import attacks


def _honest(num_clients=8, size=5, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(0.5, 1.0, (num_clients, size)).astype(np.float32)


def _mean(stacked):
  return jnp.mean(stacked, axis=0)


def _shortest(stacked, keep=8):
  """The mean of the `keep` shortest rows: gives way up to a point."""
  order = jnp.argsort(jnp.sum(stacked**2, axis=1))
  return jnp.mean(stacked[order[:keep]], axis=0)


def _nearest_mean(honest, sent, num_dropped=2):
  """Every client averages all but the farthest of what it holds."""
  rows = jnp.concatenate([honest, sent])

  def one(pivot):
    order = jnp.argsort(jnp.sum((rows - pivot[None]) ** 2, axis=1))
    return jnp.mean(rows[order[: rows.shape[0] - num_dropped]], axis=0)

  return jax.vmap(one)(honest)


OBJECTIVES = {
  'peak': lambda x: -((x - 3.7) ** 2),
  'rise': lambda x: x,
  'fall': lambda x: -x,
  'cliff': lambda x: x * (x < 9.3),
}


class LineSearchTest(parameterized.TestCase):
  @parameterized.product(
    objective=list(OBJECTIVES), num_evals=[1, 2, 5, 16], step=[1.0, 10.0]
  )
  def test_equals_plain_loop(self, objective, num_evals, step):
    fn = OBJECTIVES[objective]
    got = attacks.line_search(fn, num_evals=num_evals, step=step)
    want = reference.line_search(fn, num_evals, step)
    np.testing.assert_allclose(got, want, rtol=1e-5)

  def test_approaches_a_peak(self):
    got = attacks.line_search(OBJECTIVES['peak'], num_evals=20)
    self.assertAlmostEqual(float(got), 3.7, delta=0.1)

  def test_doubles_while_the_objective_grows(self):
    got = attacks.line_search(OBJECTIVES['rise'], num_evals=16)
    self.assertEqual(float(got), 2**15 - 1)

  def test_nan_counts_as_infinite(self):
    got = attacks.line_search(lambda x: jnp.where(x == 3, jnp.nan, x))
    self.assertEqual(float(got), 3.0)

  def test_refuses_bad_input(self):
    with self.assertRaisesRegex(ValueError, 'num_evals must be at least 1'):
      attacks.line_search(lambda x: x, num_evals=0)
    with self.assertRaisesRegex(ValueError, r'step must lie in \(0'):
      attacks.line_search(lambda x: x, step=0.0)


class GridSearchTest(absltest.TestCase):
  def test_takes_the_first_best(self):
    grid = jnp.array([1.0, 3.0, 4.5, 3.0])
    got = attacks.grid_search(lambda x: -jnp.abs(x - 3.1), grid)
    self.assertEqual(float(got), 3.0)
    flat = attacks.grid_search(lambda x: 0.0 * x, grid)
    self.assertEqual(float(flat), 1.0)

  def test_some_at_once_are_all_at_once(self):
    draw = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    rule = lambda x: jnp.sort(x, axis=0)[3]
    send = lambda few: attacks.agr_tailored(
      draw, num_byzantine=2, rule=rule, search='grid', num_at_once=few
    )
    for few in (1, 4):
      np.testing.assert_allclose(send(few), send(None), rtol=1e-6)

  def test_refuses_an_empty_grid(self):
    with self.assertRaisesRegex(ValueError, r'grid must have shape \[K\]'):
      attacks.grid_search(lambda x: x, jnp.zeros((0,)))
    with self.assertRaisesRegex(ValueError, 'num_at_once must be at least 1'):
      attacks.grid_search(lambda x: x, jnp.ones(2), num_at_once=0)


class OptimizedTest(parameterized.TestCase):
  @parameterized.parameters('unit', 'sign', 'std', 'mean')
  def test_mean_invites_the_farthest_step(self, direction):
    honest = _honest()
    sent = attacks.agr_tailored(
      jnp.asarray(honest),
      num_byzantine=2,
      rule=_mean,
      direction=direction,
      num_evals=6,
    )
    exact = honest.astype(np.float64)
    want = exact.mean(axis=0) + 31 * reference.direction(exact, direction)
    np.testing.assert_allclose(sent, np.tile(want, (2, 1)), rtol=1e-4)

  @parameterized.parameters('minus', 'plus')
  def test_alie_grid_equals_trying_everything(self, sign):
    honest = _honest().astype(np.float64)
    grid = np.array([0.2, 0.5, 1.0, 1.7, 2.5, 4.0, 7.0])

    def damage(z):
      rows = np.tile(reference.alie(honest, z, sign=sign), (2, 1))
      rows = np.concatenate([honest, rows])
      kept = np.argsort((rows**2).sum(axis=1))[:8]
      return np.linalg.norm(rows[kept].mean(axis=0) - honest.mean(axis=0))

    best = grid[np.argmax([damage(z) for z in grid])]
    with jax.enable_x64(True):
      sent = attacks.optimized_alie(
        jnp.asarray(honest),
        num_byzantine=2,
        rule=_shortest,
        sign=sign,
        search='grid',
        grid=grid,
      )
    want = reference.alie(honest, best, sign=sign)
    np.testing.assert_allclose(sent, np.tile(want, (2, 1)), rtol=1e-12)

  def test_ipm_line_equals_plain_loop(self):
    honest = _honest().astype(np.float64)
    mean = honest.mean(axis=0)

    def damage(g):
      rows = np.concatenate([honest, np.tile((1 - g) * mean, (3, 1))])
      kept = np.argsort((rows**2).sum(axis=1))[:8]
      return np.linalg.norm(rows[kept].mean(axis=0) - mean)

    best = reference.line_search(damage, 16, 1.0)
    with jax.enable_x64(True):
      sent = attacks.optimized_ipm(
        jnp.asarray(honest), num_byzantine=3, rule=_shortest
      )
    np.testing.assert_allclose(
      sent, np.tile((1 - best) * mean, (3, 1)), rtol=1e-10
    )

  def test_hurts_at_least_as_much_as_the_fixed_scales(self):
    honest = jnp.asarray(_honest(10, 12, seed=4))
    rule = functools.partial(_shortest, keep=10)
    damage = jax.jit(attacks.rule_damage(rule, honest))
    for search in ('line', 'grid'):
      found = attacks.optimized_alie(
        honest, num_byzantine=2, rule=rule, search=search
      )
      for z in (0.25, 1.0, 1.5):
        fixed = attacks.alie(honest, num_byzantine=2, scale=z)
        self.assertGreaterEqual(float(damage(found)), float(damage(fixed)))

  def test_damage_of_mixing_is_that_of_the_mean_client(self):
    honest = _honest()
    mix = functools.partial(_nearest_mean, num_dropped=2)
    damage = attacks.mixing_damage(mix, jnp.asarray(honest))
    sent = np.tile(honest.mean(axis=0) + 0.3, (2, 1)).astype(np.float32)
    rows = np.concatenate([honest, sent]).astype(np.float64)
    mixed = []
    for pivot in rows[:8]:
      order = np.argsort(((rows - pivot) ** 2).sum(axis=1))
      mixed.append(rows[order[:8]].mean(axis=0))
    want = np.linalg.norm(np.mean(mixed, axis=0) - rows[:8].mean(axis=0))
    self.assertAlmostEqual(float(damage(sent)), want, delta=1e-6)

  def test_general_damage_is_maximized(self):
    honest = jnp.asarray(_honest())
    target = honest.mean(axis=0) * -2.0
    sent = attacks.optimized_ipm(
      honest,
      num_byzantine=2,
      damage=lambda sent: -jnp.sum((sent - target[None]) ** 2),
      search='grid',
    )
    np.testing.assert_allclose(sent[1], target, rtol=1e-5)

  def test_refuses_ambiguous_or_missing_targets(self):
    honest = jnp.asarray(_honest())
    for kwargs in ({}, {'rule': _mean, 'damage': lambda sent: 0.0}):
      with self.assertRaisesRegex(ValueError, 'exactly one of rule .* damage'):
        attacks.optimized_ipm(honest, num_byzantine=1, **kwargs)
    with self.assertRaisesRegex(TypeError, 'rule must be callable'):
      attacks.optimized_ipm(honest, num_byzantine=1, rule='median')
    with self.assertRaisesRegex(ValueError, "search='random' is unknown"):
      attacks.optimized_alie(
        honest, num_byzantine=1, rule=_mean, search='random'
      )
    with self.assertRaisesRegex(ValueError, 'give damage instead'):
      jax.vmap(
        lambda x: attacks.optimized_ipm(
          x, num_byzantine=1, rule=_mean, axis_name='c'
        ),
        axis_name='c',
      )(honest.reshape(2, 4, 5))


if __name__ == '__main__':
  absltest.main()
