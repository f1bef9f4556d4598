# SPDX-License-Identifier: Apache-2.0
"""What every registered rule returns; new entries join by themselves."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from contract import aggregator_cases as lib
from reference import aggregators as reference

from jaxdl import aggregators

N, F = lib.NUM_CLIENTS, lib.NUM_BYZANTINE
SLOPE = np.linspace(1, 2, lib.SIZE, dtype=np.float32)
TAKES_F = frozenset({
  'trimmed_mean', 'meamed', 'phocas', 'krum', 'multi_krum', 'bulyan', 'mda',
  'smea', 'cge', 'dnc', 'repeated_krum',
})  # fmt: skip


@functools.cache
def _gradient(case):
  fn = lib.build(case)
  return jax.jit(jax.grad(lambda x: jnp.sum(fn(x) * SLOPE)))


def _reference(rule, x):
  """The rule in float64, on rows some of which are not finite."""
  if rule in TAKES_F:
    return getattr(reference, rule)(x, F)
  if rule == 'centered_clipping':
    return reference.centered_clipping(x, np.zeros(lib.SIZE), 10.0)
  if rule in ('median', 'geometric_median'):
    return getattr(reference, rule)(x)
  rows = x[reference.finite_rows(x)]  # The others are not there.
  if rule == 'flag':
    return reference.flag_update(rows, (N + 2) // 2, divide_by=N)
  if rule == 'foolsgold':
    weights = reference.foolsgold_weights(rows)
    return weights @ rows / weights.sum()
  return getattr(reference, rule)(rows)


def _rotation():
  return np.linalg.qr(
    np.random.default_rng(5).normal(size=(lib.SIZE, lib.SIZE))
  )[0].astype(np.float32)


class AggregatorValuesContractTest(parameterized.TestCase):
  @parameterized.named_parameters(
    lib.named([c for c in lib.ALL if not c.bucketed])
  )
  def test_order_of_clients_does_not_matter(self, case):
    flat = lib.flat_updates(2)
    order = np.random.default_rng(0).permutation(N)
    lib.close(lib.on_tree(case, flat[order]), lib.on_tree(case, flat))

  @parameterized.named_parameters(
    lib.named([c for c in lib.PLAIN if c.rule in lib.TRANSLATION])
  )
  def test_moves_with_the_clients(self, case):
    flat = lib.flat_updates(3)
    shift = np.linspace(-4, 4, lib.SIZE, dtype=np.float32)
    lib.close(
      lib.on_tree(case, flat + shift), lib.on_tree(case, flat) + shift, 1e-4
    )

  @parameterized.named_parameters(
    lib.named([c for c in lib.PLAIN if c.rule in lib.SCALE])
  )
  def test_scales_with_the_clients(self, case):
    flat = lib.flat_updates(3)
    lib.close(lib.on_tree(case, 8 * flat), 8 * lib.on_tree(case, flat), 1e-4)

  @parameterized.named_parameters(
    lib.named([c for c in lib.PLAIN if c.rule in lib.ROTATION])
  )
  def test_turns_with_the_clients(self, case):
    flat, turn = lib.flat_updates(3), _rotation()
    lib.close(
      lib.on_tree(case, flat @ turn), lib.on_tree(case, flat) @ turn, 1e-4
    )

  @parameterized.named_parameters(lib.named(lib.PLAIN))
  def test_one_client_is_its_own_update(self, case):
    flat = lib.flat_updates(4, num_clients=1)
    got = np.asarray(jax.jit(lib.build(case, 1, 0))(flat))
    want = flat[0]
    if case.rule == 'sign_majority':
      want = np.sign(want)
    elif case.rule in lib.NOT_IDENTITY:  # Unit updates are averaged.
      want = want / np.linalg.norm(want)
    lib.close(got, want)

  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_broken_clients_count_as_farthest(self, case):
    flat = lib.flat_updates(5)
    results = []
    for bad in (np.nan, np.inf, 1e30):
      broken = flat.copy()
      broken[[3, 9]] = bad
      results.append(lib.on_tree(case, broken))
    if case.rule in lib.NOT_ROBUST:
      self.assertFalse(np.isfinite(results[0]).any())
      return
    honest = np.delete(flat, [3, 9], axis=0)
    for got in results:
      self.assertTrue(np.isfinite(got).all(), got)
      self.assertLessEqual(np.abs(got).max(), np.abs(honest).max() + 1e-4)
    lib.close(results[1], results[0])
    if case.rule not in lib.BY_DIRECTION:  # Those hear 1e30 as any length.
      lib.close(results[2], results[0])

  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_one_broken_entry_breaks_no_more_than_its_client(self, case):
    if case.rule in lib.NOT_ROBUST:
      self.skipTest('passes non-finite entries on')
    flat = lib.flat_updates(5)
    flat[0, 0] = np.nan
    flat[1, -1] = -np.inf
    self.assertTrue(np.isfinite(lib.on_tree(case, flat)).all())

  @parameterized.named_parameters(
    lib.named([c for c in lib.ALL if not c.bucketed])
  )
  def test_padding_has_no_effect_and_vmap_neither(self, case):
    order = np.random.default_rng(1).permutation(N + 3)
    mask = order < N
    sets = []
    # Finite padding is ignored as well.
    for seed, padding in ((6, np.nan), (1, 1e3)):
      rest = np.full((3, lib.SIZE), padding, np.float32)
      sets.append(np.concatenate([lib.flat_updates(seed), rest])[order])
    if case.rule in lib.NO_MASK:
      with self.assertRaisesRegex(ValueError, 'mask must be None'):
        lib.build(case, N + 3)(sets[0], mask=mask)
      return
    run = jax.jit(jax.vmap(lib.build(case, N + 3), in_axes=(0, None)))
    got = run(np.stack(sets), mask)
    for update, updates in zip(got, sets, strict=True):
      lib.close(update, lib.flat_program(case)(updates[mask]))

  @parameterized.named_parameters(
    lib.named([c for c in lib.ALL if c.rule not in lib.NO_MASK])
  )
  def test_of_too_few_at_least_one_counts(self, case):
    flat = lib.flat_updates(8) + 3  # Far from zero, which nobody would be.
    run = jax.jit(lib.build(case))
    for left in (0, 1, 2, 4, 5, 8):
      mask = (np.arange(N) % 2 == 1) & (np.arange(N) < 2 * left)
      got = np.asarray(run(np.where(mask[:, None], flat, np.nan), mask))
      there = flat[mask]
      if not left:
        np.testing.assert_array_equal(got, np.zeros_like(got))
        continue
      self.assertLen(there, left)
      self.assertTrue(np.isfinite(got).all())
      self.assertGreater(np.abs(got).max(), 0.1)
      if left == 1:  # What the rule makes of one client.
        one = case if not case.bucketed else lib.Case(case.rule)
        lib.close(got, lib.build(one, 1, 0)(there))
      if case.rule in lib.TRANSLATION:
        self.assertTrue((got > there.min(axis=0) - 1e-4).all())
        self.assertTrue((got < there.max(axis=0) + 1e-4).all())

  @parameterized.parameters(*aggregators.RULES, *aggregators.PRE_RULES)
  def test_rules_that_drop_say_what_they_do_of_too_few(self, name):
    rules = (
      aggregators.RULES if name in aggregators.RULES else aggregators.PRE_RULES
    )
    options = inspect.signature(rules[name]).parameters
    drops = {'num_byzantine', 'num_trimmed'} & set(options)
    if drops and name not in lib.NO_MASK:
      text = ' '.join(inspect.getdoc(rules[name]).split())
      self.assertRegex(text, 'of too few .* at least one counts')

  @parameterized.named_parameters(
    lib.named([c for c in lib.ALL if c.rule not in lib.NO_GRADIENT])
  )
  def test_gradients_are_finite(self, case):
    grad = _gradient(case)
    plain = lib.flat_updates(7)
    awkward = plain.copy()
    awkward[0] = 0.0
    awkward[2] = awkward[1]
    for updates in (plain, awkward):
      got = np.asarray(grad(updates))
      self.assertTrue(np.isfinite(got).all())
      self.assertGreater(np.abs(got).max(), 1e-3)

  @parameterized.named_parameters(
    lib.named([c for c in lib.ALL if c.rule not in lib.NO_GRADIENT])
  )
  def test_a_broken_client_does_not_spoil_the_gradients_of_others(self, case):
    if case.rule in lib.NOT_ROBUST:
      self.skipTest('passes non-finite entries on')
    for bad in (np.nan, -np.inf):
      flat = lib.flat_updates(7)
      flat[3], flat[9, 2] = bad, np.nan
      got = np.asarray(_gradient(case)(flat), np.float64)
      self.assertTrue(np.isfinite(got).all(), got)
      self.assertGreater(np.abs(got).max(), 1e-3)
      if case.pre:
        continue
      np.testing.assert_array_equal(got[~np.isfinite(flat)], 0.0)
      # Along a few directions, against differences of float64.
      for seed in range(3):
        way = np.random.default_rng(seed).normal(size=flat.shape)
        wide, step = flat.astype(np.float64), 1e-6
        ahead, behind = (_reference(case.rule, wide + s * step * way)
                         for s in (1, -1))  # fmt: skip
        want = (ahead - behind) @ SLOPE / (2 * step)
        np.testing.assert_allclose(
          np.sum(got * way), want, rtol=2e-3, atol=1e-4
        )


if __name__ == '__main__':
  absltest.main()
