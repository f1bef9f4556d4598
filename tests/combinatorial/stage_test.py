# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import random_policy

from jaxdl import combinatorial

TSP = combinatorial.make_problem('tsp')
TOUR = combinatorial.Tour(jnp.arange(24))
POINTS = {
  'points': jnp.asarray(np.random.default_rng(0).random((24, 2)), jnp.float32)
}
NETWORK = combinatorial.make_policies(
  TSP, divider='uniform', conqueror='icam(width=8, depth=1)'
)
PARAMS = combinatorial.init_params(jax.random.key(0), TSP, NETWORK, size=3)


def conquer(problem=TSP, conqueror=None, params=None, **options):
  run = lambda params: combinatorial.conquer(
    problem,
    conqueror or random_policy.conqueror(),
    params,
    POINTS,
    TOUR,
    jax.random.key(1),
    **({'size': 6, 'shift': 2, 'num_rollouts': 4} | options),
  )
  return jax.jit(run)(params or {})


def replaced(**changes):
  return TSP._replace(solve=TSP.solve._replace(**changes))


class KeepTest(parameterized.TestCase):
  def test_gain_is_what_the_tour_gets_shorter_by(self):
    before, (after, info) = TSP.objective(POINTS, TOUR), conquer()
    self.assertGreater(float(info.gain.sum()), 0.1)
    np.testing.assert_allclose(
      before - TSP.objective(POINTS, after), info.gain.sum(), rtol=1e-4
    )
    self.assertEqual(info.returns.shape, (4, 4))
    # Of 4! orders of the inner nodes each.
    np.testing.assert_allclose(info.logp, -np.log(24), rtol=1e-5)

  def test_the_best_of_the_rollouts_is_kept(self):
    _, info = conquer(num_rollouts=40)
    pieces, _ = TSP.split(POINTS, TOUR, 6, 2, jax.random.key(0))
    before = jax.vmap(lambda p: TSP.solve.value(p, jnp.arange(6)))(pieces)
    want = np.maximum(before + info.returns.max(axis=1), 0)
    np.testing.assert_allclose(info.gain, want, atol=1e-6)

  def test_ties_keep_the_current_order(self):
    constant = replaced(value=lambda piece, path: jnp.float32(1.0))
    tour, info = conquer(constant)
    np.testing.assert_array_equal(tour.order, np.roll(TOUR.order, 2))
    np.testing.assert_array_equal(info.gain, np.zeros(4))

  def test_no_number_never_wins(self):
    plain = TSP.solve.value
    broken = replaced(
      value=lambda piece, path: jnp.where(
        jnp.all(path == jnp.arange(6)), plain(piece, path), jnp.nan
      )
    )
    tour, info = conquer(broken)
    np.testing.assert_array_equal(tour.order, np.roll(TOUR.order, 2))
    np.testing.assert_array_equal(info.gain, np.zeros(4))

  def test_passive_pieces_stay(self):
    first = POINTS['points'][22]
    passive = replaced(
      active=lambda piece: jnp.any(piece['points'][0] != first)
    )
    tour, info = conquer(passive, num_rollouts=20)
    rolled = np.roll(TOUR.order, 2)
    np.testing.assert_array_equal(tour.order[:6], rolled[:6])
    self.assertFalse(np.array_equal(tour.order, rolled))
    self.assertEqual(np.asarray(info.active).tolist(), [False] + 3 * [True])

  def test_a_stage_that_makes_it_worse_is_dropped(self):
    # Pieces look better but what joins them does not.
    shuffled = np.random.default_rng(0).permutation(24)
    worse = TSP._replace(
      merge=lambda instance, rolled, pieces, paths: combinatorial.Tour(
        jnp.where(
          TSP.objective(instance, combinatorial.Tour(shuffled))
          > TSP.objective(instance, rolled),
          shuffled,
          TSP.merge(instance, rolled, pieces, paths).order,
        )
      )
    )
    self.assertGreater(
      TSP.objective(POINTS, combinatorial.Tour(jnp.asarray(shuffled))),
      TSP.objective(POINTS, TOUR),
    )
    tour, _ = conquer(worse)
    np.testing.assert_array_equal(tour.order, np.roll(TOUR.order, 2))


class WaysTest(parameterized.TestCase):
  def test_half_of_the_rollouts_run_from_the_far_end(self):
    seen = []
    start = TSP.solve.start

    def watched(piece, reverse):
      state = start(piece, reverse)
      jax.debug.callback(
        lambda a, b: seen.append((int(a), int(b))), state.last, state.end
      )
      return state

    conquer(replaced(start=watched))
    jax.effects_barrier()
    self.assertEqual(seen.count((0, 5)), 2)
    self.assertEqual(seen.count((5, 0)), 2)

  def test_greedy_from_both_ends_makes_the_path_by_hand(self):
    # The network goes to the lowest place that is left, so the far end's path
    # comes out turned round.
    lowest = random_policy.conqueror(score=lambda context: -jnp.arange(6.0))
    _, info = conquer(conqueror=lowest, greedy=True, num_rollouts=2)
    pieces, _ = TSP.split(POINTS, TOUR, 6, 2, jax.random.key(0))
    for i in range(4):
      piece = jax.tree.map(lambda x, i=i: x[i], pieces)
      for j, path in enumerate(([0, 1, 2, 3, 4, 5], [0, 4, 3, 2, 1, 5])):
        np.testing.assert_allclose(
          -info.returns[i, j],
          TSP.solve.value(piece, jnp.array(path)),
          rtol=1e-6,
        )

  def test_pieces_by_turns_or_on_devices_are_the_same(self):
    options = {
      'conqueror': NETWORK.conqueror,
      'params': PARAMS['conqueror'],
    }
    want, info = conquer(**options)
    self.assertGreater(float(info.gain.sum()), 0)
    got, _ = conquer(**options, chunk=3)
    np.testing.assert_array_equal(got.order, want.order)
    mesh = jax.make_mesh(
      (4,),
      ('pieces',),
      axis_types=(jax.sharding.AxisType.Auto,),
      devices=jax.devices()[:4],
    )
    place = jax.NamedSharding(mesh, jax.P('pieces'))
    got, found = conquer(**options, sharding=place)
    np.testing.assert_array_equal(got.order, want.order)
    np.testing.assert_allclose(found.logp, info.logp, rtol=1e-5)

  def test_decisions_made_anew_have_the_same_gradient(self):
    def grads(remat):
      return jax.jit(
        jax.grad(
          lambda params: combinatorial.reinforce(
            conquer(conqueror=NETWORK.conqueror, params=params, remat=remat)[1]
          )
        )
      )(PARAMS['conqueror'])

    want, got = grads(False), grads(True)
    self.assertGreater(float(jax.tree.leaves(want)[-1].std()), 0)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want
    )

  def test_shifts_do_not_retrace(self):
    traced = []

    @jax.jit
    def run(shift):
      traced.append(shift)
      return conquer(shift=shift)[0].order

    self.assertFalse(np.array_equal(run(1), run(4)))
    self.assertLen(traced, 1)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'num_rollouts': 3}, 'num_rollouts=3 must be even: pieces of tsp'),
    ({'num_rollouts': 0}, 'num_rollouts must'),
    ({'size': 2}, 'size must'),
    ({'size': 25}, 'size=25 leaves no piece: need size <= num_nodes = 24'),
    ({'chunk': 0}, 'chunk must'),
  )
  def test_refuses(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      conquer(**options)


if __name__ == '__main__':
  absltest.main()
