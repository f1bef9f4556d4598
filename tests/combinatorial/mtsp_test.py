# SPDX-License-Identifier: Apache-2.0
"""Min-max mTSP against float64 NumPy, tables over subsets and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import combinatorial as co
from jaxdl.combinatorial import _blocks, _mtsp, _route_pieces
from tests.reference import combinatorial as reference

# By number of salesmen, for seeds 0, 1 and 2.
OPTIMA = {2: (1.797487, 2.022599, 1.897995), 3: (1.612996, 1.847354, 1.607587)}
PROBLEM = _mtsp.mtsp(num_salesmen=(1, 9))


def random_policy():
  """Anybody who may come next."""
  nothing = lambda *args, **options: ()
  return _blocks.Conqueror(
    nothing,
    nothing,
    lambda params, memory, context: jnp.where(context.allowed, 0.0, -jnp.inf),
  )


@functools.partial(jax.jit, static_argnames=('size', 'stages'))
def searched(instance, key, *, size, stages):
  """Random solutions: four constructed ones, and one after each stage."""
  first_key, key = jax.random.split(key)
  divider = co.make_divider('uniform', PROBLEM)
  first, _ = co.construct(
    PROBLEM, divider, (), instance, first_key, num_samples=4, every=7
  )

  def stage(solution, key):
    shift_key, key = jax.random.split(key)
    shift = jax.random.randint(shift_key, (), 0, solution.order.shape[0])
    solution, info = co.conquer(
      PROBLEM, random_policy(), (), instance, solution, key,
      size=size, shift=shift, num_rollouts=16,
    )  # fmt: skip
    return solution, (solution, info.gain)

  one = jax.tree.map(lambda x: x[0], first)
  later, gains = jax.lax.scan(stage, one, jax.random.split(key, stages))[1]
  both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, later)
  measured = lambda s: (
    PROBLEM.objective(instance, s),
    PROBLEM.feasible(instance, s),
  )
  return jax.vmap(measured)(both), gains


def routes_of(order, last):
  """Routes as lists of customers, from cyclic arrays."""
  order, last = np.asarray(order), np.asarray(last)
  turn = int(np.argmax(last)) + 1
  order, last = np.roll(order, -turn), np.roll(last, -turn)
  return [r.tolist() for r in np.split(order, np.flatnonzero(last)[:-1] + 1)]


def lengths(points, routes):
  """Lengths of closed routes, float64."""
  points = np.asarray(points, float)
  ways = [points[[0, *route, 0]] for route in routes]
  return [np.linalg.norm(np.diff(w, axis=0), axis=1).sum() for w in ways]


def drawn(seed, count, salesmen, dtype=np.float32):
  """A random instance and a random solution of it."""
  rng = np.random.default_rng(seed)
  instance = {
    'points': jnp.asarray(rng.random((count + 1, 2)), dtype),
    'num_salesmen': jnp.array(salesmen),
    'routes': jnp.ones(salesmen, bool),
  }
  last = np.zeros(count, bool)
  last[rng.choice(count, salesmen, replace=False)] = True
  order = rng.permutation(count) + 1
  return instance, co.Routes(jnp.asarray(order), jnp.asarray(last))


split = jax.jit(
  lambda instance, routes, size, shift: PROBLEM.split(
    instance, routes, size, shift, None
  ),
  static_argnums=2,
)


merge = jax.jit(PROBLEM.merge)
put_back = jax.jit(_route_pieces.merge)
current = jax.jit(jax.vmap(PROBLEM.solve.current))
objective = jax.jit(PROBLEM.objective)
feasible = jax.jit(PROBLEM.feasible)


class MtspTest(parameterized.TestCase):
  @parameterized.parameters('float32', 'float64', 'bfloat16')
  def test_objective_equals_float64(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      for seed in range(5):
        instance, routes = drawn(seed, 11, 1 + seed, dtype)
        lists = routes_of(*routes)
        got = objective(instance, routes)
        kind = 'float64' if dtype == 'float64' else 'float32'
        self.assertEqual(got.dtype, kind)
        error = 1e-12 if kind == 'float64' else 1e-5
        want = max(lengths(instance['points'], lists))
        np.testing.assert_allclose(got, want, rtol=error)
        self.assertTrue(bool(feasible(instance, routes)))

  def test_feasible_counts_salesmen(self):
    instance, _ = drawn(0, 4, 2)
    fine = lambda order, last: bool(
      feasible(instance, co.Routes(np.array(order), np.array(last, bool)))
    )
    self.assertTrue(fine([1, 2, 3, 4], [0, 1, 0, 1]))
    self.assertTrue(fine([2, 3, 4, 1], [1, 0, 1, 0]))
    self.assertFalse(fine([1, 2, 3, 4], [0, 0, 0, 1]))
    self.assertFalse(fine([1, 2, 3, 4], [1, 0, 1, 1]))
    self.assertFalse(fine([1, 2, 2, 4], [0, 1, 0, 1]))

  @parameterized.parameters(2, 3)
  def test_small_optima(self, salesmen):
    """Exact optima are those of the table; random search stays above them."""
    points = np.stack([reference.small(seed).points for seed in range(3)])
    for x, want in zip(points, OPTIMA[salesmen], strict=True):
      exact = reference.mtsp(reference.distances(x), salesmen)
      self.assertAlmostEqual(exact, want, delta=6e-7)
    instances = {
      'points': jnp.asarray(points, jnp.float32),
      'num_salesmen': jnp.full((3,), salesmen),
      'routes': jnp.ones((3, 3), bool),
    }
    keys = jax.random.split(jax.random.key(0), 3)
    (found, fine), _ = jax.vmap(
      lambda instance, key: searched(instance, key, size=6, stages=60)
    )(instances, keys)
    self.assertTrue(bool(fine.all()))
    optima = np.array(OPTIMA[salesmen])
    found = np.asarray(found, float)
    self.assertTrue((found >= optima[:, None] - 1e-5).all(), found[:, -1])
    # Pieces of six of eight customers get this far by chance.
    np.testing.assert_array_less(found[:, -1], 1.15 * optima)

  def test_stages_stay_feasible_and_never_get_worse(self):
    """Twenty instances, one to nine salesmen, two customers in no piece."""

    def one(key):
      keys = jax.random.split(key)
      instance = PROBLEM.generate(keys[0], 26)
      measured, gains = searched(instance, keys[1], size=6, stages=10)
      return instance['num_salesmen'], measured, gains

    salesmen, (values, fine), gains = jax.vmap(one)(
      jax.random.split(jax.random.key(1), 20)
    )
    self.assertGreater(len(set(salesmen.tolist())), 5)
    self.assertTrue(bool(fine.all()))
    self.assertTrue(bool((gains >= 0).all()))
    values = np.delete(np.asarray(values), (1, 2, 3), axis=1)
    # Sums of other orders differ in their last bits.
    self.assertLessEqual(np.diff(values, axis=1).max(), 1e-5)
    self.assertLess((values[:, -1] / values[:, 0]).mean(), 0.8)

  def test_pieces_merge_to_what_they_were(self):
    for seed in range(4):
      instance, routes = drawn(seed, 14, 1 + 2 * seed)
      instance['routes'] = jnp.ones(7, bool)
      pieces, rolled = split(instance, routes, 4, 3)
      now = current(pieces)
      back = merge(instance, rolled, pieces, now)
      jax.tree.map(np.testing.assert_array_equal, back, rolled)
      as_sets = lambda s: sorted(map(tuple, routes_of(*s)))
      self.assertEqual(as_sets(back), as_sets(routes))

  def test_value_is_the_longest_route_that_touches_a_piece(self):
    value = jax.jit(jax.vmap(PROBLEM.solve.value))
    for seed in range(6):
      instance, routes = drawn(seed, 14, 1 + seed)
      instance['routes'] = jnp.ones(7, bool)
      pieces, rolled = split(instance, routes, 4, seed)
      now = current(pieces)
      new = now._replace(order=now.order[:, jnp.array([0, 2, 1, 3])])
      for part in (now, new):
        found = value(pieces, part)
        for p in range(3):
          # Other pieces stay as they are.
          one = jnp.arange(3)[:, None] == p
          mixed = jax.tree.map(
            lambda a, b, one=one: jnp.where(one, a, b), part, now
          )
          whole = put_back(rolled, pieces, mixed)
          inside = set(np.asarray(pieces['ids'][p, 1:]).tolist())
          touching = [r for r in routes_of(*whole) if inside & set(r)]
          want = max(lengths(instance['points'], touching))
          np.testing.assert_allclose(found[p], want, rtol=1e-5)

  def test_a_stage_that_gets_worse_is_not_kept(self):
    """Each half of a route may grow up to the longest, both may not."""
    # Two pieces of three share the route 3, 4; 1, 2 and 5, 6 are longer.
    points = [[0, 0], [0, 3], [0.1, 3], [1, 0], [1, 0.1], [0, -3], [0.1, -3]]
    instance = {'points': jnp.array(points, jnp.float32)}
    routes = co.Routes(
      jnp.array([1, 2, 3, 4, 5, 6]),
      jnp.array([False, True, False, True, False, True]),
    )
    instance['routes'] = jnp.ones(3, bool)
    pieces, rolled = split(instance, routes, 3, 0)
    # The first piece, in its order by angle, starts with customer 1.
    self.assertEqual(rolled.order[0], 1)
    before = float(objective(instance, rolled))
    now = current(pieces)
    # The end of the first route moves: 2 goes along with the middle one, and so
    # does 5, or whoever stands there.
    new = now._replace(last=jnp.array([[1, 0, 0], [0, 0, 1]], bool))
    both = put_back(rolled, pieces, new)
    self.assertGreater(float(objective(instance, both)), before + 1)
    kept = merge(instance, rolled, pieces, new)
    self.assertLessEqual(float(objective(instance, kept)), before)
    self.assertEqual(int(kept.last.sum()), 3)
    # Nothing of it is lost where it does no harm.
    same = merge(instance, rolled, pieces, now)
    jax.tree.map(np.testing.assert_array_equal, same, rolled)

  def test_half_of_a_stage_is_kept(self):
    """Only every other piece got worse: what the rest gained stays."""
    instance, routes = drawn(3, 12, 1)
    pieces, rolled = split(instance, routes, 4, 0)
    now = current(pieces)
    ways = [[0, 1, 2, 3], [0, 2, 1, 3]]

    def total(choice):
      order = jnp.stack([now.order[0][jnp.array(ways[c])] for c in choice])
      part = now._replace(order=order)
      return part, float(objective(instance, put_back(rolled, pieces, part)))

    gains = [
      total((0, 0, 0))[1] - total(tuple(int(i == p) for i in range(3)))[1]
      for p in range(3)
    ]
    # Good ones take the better way, the middle piece the worse one.
    good = [int(g > 0) for g in gains]
    part, _ = total((good[0], 1 - good[1], good[2]))
    base = (0, 0, 0)
    kept = merge(instance, rolled, pieces, part)
    best = min(
      total(base)[1],
      total((good[0], 1 - good[1], good[2]))[1],
      total((good[0], 0, good[2]))[1],
      total((0, 1 - good[1], 0))[1],
    )
    np.testing.assert_allclose(objective(instance, kept), best, rtol=1e-6)

  def test_more_routes_than_steps_leave_a_piece(self):
    instance, _ = drawn(0, 16, 8)
    last = jnp.zeros(16, bool).at[:7].set(True).at[-1].set(True)
    routes = co.Routes(jnp.arange(1, 17), last)
    instance['routes'] = jnp.ones(1, bool)  # Too few, so that V is 4.
    pieces, _ = split(instance, routes, 8, 0)
    self.assertEqual(pieces['visits'].shape, (2, 4))
    visits = pieces['last'][:, :-1].sum(axis=1)
    found = jax.vmap(PROBLEM.solve.active)(pieces)
    np.testing.assert_array_equal(found, visits <= 4)
    self.assertGreater(int(visits.max()), 4)

  def test_masks_of_construction_by_hand(self):
    instance = {'points': jnp.zeros((5, 2)), 'num_salesmen': jnp.array(3)}
    may = jax.jit(PROBLEM.divide.allowed)
    allowed = lambda c: np.flatnonzero(may(instance, c)).tolist()
    move = jax.jit(PROBLEM.divide.move)
    go = lambda c, a: move(instance, c, jnp.array(a))
    cursor = PROBLEM.divide.start(instance, jnp.array(0))
    self.assertEqual(allowed(cursor), [1, 2, 3, 4])  # A salesman starts.
    cursor = go(cursor, 2)
    self.assertEqual(allowed(cursor), [0, 1, 3, 4])
    cursor = go(cursor, 1)
    # Two customers are left and two salesmen: nobody takes two.
    self.assertEqual(allowed(cursor), [0])
    cursor = go(cursor, 0)
    self.assertEqual(allowed(cursor), [3, 4])
    cursor = go(cursor, 4)
    self.assertEqual(allowed(cursor), [0])
    cursor = go(go(cursor, 0), 3)
    self.assertTrue(bool(cursor.done))
    self.assertEqual(allowed(cursor), [0])
    jax.tree.map(np.testing.assert_array_equal, go(cursor, 0), cursor)

  def test_numbers_of_the_context(self):
    points = jnp.array([[0, 0], [0, 2], [2, 2], [4, 0]], jnp.float32)
    instance = {'points': points, 'num_salesmen': jnp.array(2)}
    instance['routes'] = jnp.ones(2, bool)
    routes = co.Routes(jnp.array([1, 2, 3]), jnp.array([True, False, True]))
    pieces, rolled = split(instance, routes, 3, 0)
    self.assertEqual(rolled.order.tolist(), [1, 2, 3])
    piece = jax.tree.map(lambda x: x[0], pieces)
    solve = PROBLEM.solve
    start, ask, move = map(jax.jit, (solve.start, solve.context, solve.move))
    walk = start(piece, jnp.array(False))
    context = ask(piece, walk)
    # Lengths are shares of 4, the wider extent.
    want = [0, 1 / 3, 2 / 3, 2 / 4, 0, 0, 1, 1]
    np.testing.assert_allclose(context.extra, want, atol=1e-6)
    self.assertEqual(context.extra.shape, (PROBLEM.solve.num_extra,))
    self.assertEqual(context.allowed.tolist(), [True, False, True, True])
    walk = move(piece, walk, jnp.array(3))
    context = ask(piece, walk)
    way = 2 + 20**0.5
    want = [0, 1 / 3, 1 / 3, way / 4, 0, 0, 1, 8**0.5 / 4]
    np.testing.assert_allclose(context.extra, want, atol=1e-6)
    self.assertEqual(context.allowed.tolist(), [True, False, False, False])
    walk = move(piece, walk, jnp.array(0))
    context = ask(piece, walk)
    want = [1, 0, 1 / 3, 0, (way + 4) / 4, 0, 1, 8**0.5 / 4]
    np.testing.assert_allclose(context.extra, want, atol=1e-6)
    self.assertEqual(context.allowed.tolist(), [False, False, True, False])

  def test_neighbors_are_near(self):
    instance, _ = drawn(1, 20, 2)
    points = np.asarray(instance['points'], float)
    far = np.linalg.norm(points[:, None] - points[None], axis=-1)
    rows = jax.jit(PROBLEM.divide.neighbors, static_argnums=1)(instance, 6)
    for i in range(21):
      ids = np.asarray(rows.ids[i])
      others = np.setdiff1d(np.arange(21), [0, i])
      best = others[np.argsort(far[i, others])][: 6 - len({0, i})]
      self.assertEqual(set(ids.tolist()), {0, i, *best.tolist()})
      np.testing.assert_allclose(rows.edges[i, :, 0], -far[i, ids], atol=1e-6)

  def test_generated_instances(self):
    for count, low, high in ((500, 30, 50), (1000, 30, 50), (50, 3, 5)):
      generate = jax.jit(
        jax.vmap(lambda k, n=count: _mtsp.mtsp().generate(k, n))
      )
      many = generate(jax.random.split(jax.random.key(0), 200))
      found = many['num_salesmen']
      self.assertEqual((found.min(), found.max()), (low, high))
      self.assertEqual(many['routes'].shape, (200, high))
    few = _mtsp.mtsp(num_salesmen=20).generate(jax.random.key(0), 12)
    self.assertEqual(few['num_salesmen'], 12)
    five = _mtsp.mtsp(num_salesmen=5).generate(jax.random.key(1), 100)
    self.assertEqual(five['num_salesmen'], 5)
    for instance in (few, five):
      PROBLEM.check(instance)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'points': None}, r"instance must have 'points'; got \['num_salesmen'\]"),
    ({'num_salesmen': None}, r"instance must have 'num_salesmen'; got"),
    ({'num_salesmen': 0}, 'num_salesmen must be at least 1 .*; got 0'),
    ({'num_salesmen': 4}, 'at most 3, one per customer; got 4'),
    ({'num_salesmen': 1.5}, r'num_salesmen must be i32\[\]; got'),
    ({'num_salesmen': np.ones(2, int)}, r'num_salesmen must be i32\[\]; got'),
    ({'routes': np.ones(1, bool)}, 'place for each of num_salesmen=2'),
  )
  def test_instances(self, changes, sentence):
    instance = {'points': np.eye(4, 2), 'num_salesmen': 2}
    PROBLEM.check(instance)
    instance = instance | changes
    instance = {k: v for k, v in instance.items() if v is not None}
    with self.assertRaisesRegex(ValueError, sentence):
      PROBLEM.check(instance)

  def test_options(self):
    with self.assertRaisesRegex(ValueError, 'num_salesmen must be at least 1'):
      _mtsp.mtsp(num_salesmen=0)
    with self.assertRaisesRegex(ValueError, r'a range \(low, high\); got'):
      _mtsp.mtsp(num_salesmen=(5, 3))
    with self.assertRaisesRegex(TypeError, 'num_salesmen must be an integer'):
      _mtsp.mtsp(num_salesmen=(1.5, 3))


if __name__ == '__main__':
  absltest.main()
