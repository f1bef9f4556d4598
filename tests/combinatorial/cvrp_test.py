# SPDX-License-Identifier: Apache-2.0
"""CVRP and OVRP against float64 NumPy, tables over subsets and by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import combinatorial as co
from jaxdl.combinatorial import _blocks, _cvrp, _route_pieces, _routes
from tests.reference import combinatorial as reference

OPTIMA = {
  'cvrp': (3.467766, 3.264913, 3.353382),
  'ovrp': (2.179669, 2.256633, 2.164030),
}
PROBLEMS = {
  'cvrp': _cvrp.cvrp(capacity=20),
  'ovrp': _cvrp.ovrp(capacity=(20, 40)),
}


def policy(depot=0.0):
  """Anybody who may come next, the depot with another weight."""

  def decode(params, memory, context):
    likes = jnp.zeros(context.allowed.shape).at[0].set(depot)
    return jnp.where(context.allowed, likes, -jnp.inf)

  nothing = lambda *args, **options: ()
  return _blocks.Conqueror(nothing, nothing, decode)


@functools.partial(jax.jit, static_argnums=0)
def constructed(name, instance, key):
  """Four random solutions."""
  problem = PROBLEMS[name]
  divider = co.make_divider('uniform', problem)
  return co.construct(
    problem, divider, (), instance, key, num_samples=4, every=7
  )[0]


@functools.partial(jax.jit, static_argnums=0, static_argnames=('size', 'likes'))
def conquered(problem, instance, solution, *, size, shift=1, likes=5.0):
  """One stage of random rollouts."""
  return co.conquer(
    problem, policy(likes), (), instance, solution, jax.random.key(0),
    size=size, shift=shift, num_rollouts=40,
  )  # fmt: skip


@functools.partial(jax.jit, static_argnames=('name', 'size', 'stages'))
def improved(name, instance, solution, key, *, size, stages=8):
  """Solutions after each of some random stages, leaves [stages, ...]."""
  problem = PROBLEMS[name]

  def stage(solution, key):
    shift_key, key = jax.random.split(key)
    shift = jax.random.randint(shift_key, (), 0, solution.order.shape[0])
    solution, _ = co.conquer(
      problem, policy(), (), instance, solution, key,
      size=size, shift=shift, num_rollouts=16,
    )  # fmt: skip
    return solution, solution

  return jax.lax.scan(stage, solution, jax.random.split(key, stages))[1]


split = jax.jit(
  lambda name, instance, routes, size, shift: PROBLEMS[name].split(
    instance, routes, size, shift, None
  ),
  static_argnums=(0, 3),
)
merge = jax.jit(_route_pieces.merge)
current = jax.jit(jax.vmap(_route_pieces.current))


def routes_of(order, last):
  """Routes as lists of customers, from cyclic arrays."""
  order, last = np.asarray(order), np.asarray(last)
  turn = int(np.argmax(last)) + 1
  order, last = np.roll(order, -turn), np.roll(last, -turn)
  return [r.tolist() for r in np.split(order, np.flatnonzero(last)[:-1] + 1)]


def length(points, routes, back):
  """Length of routes, float64."""
  points, total = np.asarray(points, float), 0.0
  for route in routes:
    way = points[[0, *route, 0][: None if back else -1]]
    total += np.linalg.norm(np.diff(way, axis=0), axis=1).sum()
  return total


def drawn(seed, count, dtype=np.float32):
  """A random instance and a random solution of it, that may be too heavy."""
  rng = np.random.default_rng(seed)
  demands = np.concatenate([[0], rng.integers(1, 10, count)]) / 30
  instance = {
    'points': jnp.asarray(rng.random((count + 1, 2)), dtype),
    'demands': jnp.asarray(demands, dtype),
  }
  last = rng.random(count) < 0.3
  last[rng.integers(count)] = True
  order = rng.permutation(count) + 1
  return instance, co.Routes(jnp.asarray(order), jnp.asarray(last))


class CvrpTest(parameterized.TestCase):
  @parameterized.parameters('float32', 'float64', 'bfloat16')
  def test_objective_and_loads_equal_float64(self, dtype):
    with jax.enable_x64(dtype == 'float64'):
      for seed in range(6):
        instance, routes = drawn(seed, 11, dtype)
        lists = routes_of(*routes)
        self.assertEqual(sorted(sum(lists, [])), list(range(1, 12)))
        for name, problem in PROBLEMS.items():
          got = problem.objective(instance, routes)
          want = length(instance['points'], lists, name == 'cvrp')
          kind = 'float64' if dtype == 'float64' else 'float32'
          self.assertEqual(got.dtype, kind)
          error = 1e-12 if kind == 'float64' else 1e-5
          np.testing.assert_allclose(got, want, rtol=error)
          demands = np.asarray(instance['demands'], float)
          fits = all(demands[r].sum() <= 1 + 1e-5 for r in lists)
          self.assertEqual(bool(problem.feasible(instance, routes)), fits)

  def test_feasible_counts_customers_and_loads(self):
    instance, _ = drawn(0, 4)
    instance['demands'] = jnp.array([0.0, 0.5, 0.5, 0.3, 0.2])
    feasible = lambda order, last: bool(
      PROBLEMS['cvrp'].feasible(
        instance, co.Routes(jnp.array(order), jnp.array(last, bool))
      )
    )
    self.assertTrue(feasible([1, 2, 3, 4], [0, 1, 0, 1]))
    # The same, rolled into the middle of a route.
    self.assertTrue(feasible([2, 3, 4, 1], [1, 0, 1, 0]))
    self.assertFalse(feasible([1, 2, 3, 4], [0, 0, 1, 1]))  # Too heavy.
    self.assertFalse(feasible([1, 2, 3, 3], [0, 1, 0, 1]))  # One twice.
    self.assertFalse(feasible([1, 2, 3, 0], [1, 1, 1, 1]))  # The depot.
    instance['demands'] = instance['demands'] / 10
    self.assertTrue(feasible([1, 2, 3, 4], [0, 0, 0, 1]))
    self.assertFalse(feasible([1, 2, 3, 4], [0, 0, 0, 0]))  # No vehicle.

  @parameterized.parameters('cvrp', 'ovrp')
  def test_small_optima(self, name):
    """Exact optima are those of the table; random search stays above them."""
    cases = [reference.small(seed) for seed in range(3)]
    for case, want in zip(cases, OPTIMA[name], strict=True):
      exact = reference.cvrp(
        reference.distances(case.points), case.demand, 20, back=name == 'cvrp'
      )
      self.assertAlmostEqual(exact, want, delta=6e-7)
    problem, optima = PROBLEMS[name], np.array(OPTIMA[name])
    instances = {
      'points': jnp.asarray(np.stack([c.points for c in cases]), jnp.float32),
      'demands': jnp.asarray(
        np.pad(np.stack([c.demand for c in cases]) / 20, ((0, 0), (1, 0))),
        jnp.float32,
      ),
    }
    keys = jax.random.split(jax.random.key(0), (3, 2))

    def search(instance, keys):
      solution = jax.tree.map(
        lambda x: x[0], constructed(name, instance, keys[0])
      )
      found = improved(name, instance, solution, keys[1], size=5, stages=60)
      return jax.vmap(lambda s: problem.objective(instance, s))(found)

    found = np.asarray(jax.vmap(search)(instances, keys), float)
    self.assertTrue((found >= optima[:, None] - 1e-5).all(), found[:, -1])
    # Pieces of five of eight customers get this far by chance.
    np.testing.assert_array_less(found[:, -1], 1.1 * optima)

  @parameterized.parameters('cvrp', 'ovrp')
  def test_stages_stay_feasible_and_never_get_worse(self, name):
    """Twenty instances, with a rest of two customers in no piece."""
    problem = PROBLEMS[name]

    def one(key):
      keys = jax.random.split(key, 3)
      instance = problem.generate(keys[0], 26)
      first = constructed(name, instance, keys[1])
      solution = jax.tree.map(lambda x: x[0], first)
      later = improved(name, instance, solution, keys[2], size=6)
      both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, later)
      measured = lambda s: (
        problem.feasible(instance, s),
        problem.objective(instance, s),
      )
      return jax.vmap(measured)(both)

    fine, values = jax.vmap(one)(jax.random.split(jax.random.key(1), 20))
    self.assertTrue(bool(fine.all()))
    values = np.delete(np.asarray(values), (1, 2, 3), axis=1)
    # Sums of other orders differ in their last bits.
    self.assertLessEqual(np.diff(values, axis=1).max(), 1e-5)
    self.assertTrue((values[:, -1] < 0.9 * values[:, 0]).all())

  def test_pieces_merge_to_what_they_were(self):
    for seed in range(5):
      instance, routes = drawn(seed, 14)
      pieces, rolled = split('cvrp', instance, routes, 4, 3)
      back = merge(rolled, pieces, current(pieces))
      jax.tree.map(np.testing.assert_array_equal, back, rolled)
      as_sets = lambda s: sorted(map(tuple, routes_of(*s)))
      self.assertEqual(as_sets(back), as_sets(routes))

  def test_shift_by_a_piece_gives_the_same_cuts(self):
    instance, routes = drawn(3, 12)
    first = split('cvrp', instance, routes, 4, 1)[0]
    second = split('cvrp', instance, routes, 4, 5)[0]
    for name in ('ids', 'head', 'tail', 'whole'):
      np.testing.assert_array_equal(
        first[name], jnp.roll(second[name], -1, axis=0)
      )

  def test_value_of_a_piece_is_its_part_of_the_objective(self):
    """A change of pieces changes both alike, whatever stays outside."""
    for name, problem in PROBLEMS.items():
      instance, routes = drawn(5, 14)
      pieces, rolled = split(name, instance, routes, 4, 2)
      now = current(pieces)
      # Middle customers change places, and one more visit to the depot.
      new = _route_pieces.Part(
        now.order[:, jnp.array([0, 2, 1, 3])], now.last.at[:, 1].set(True)
      )
      value = jax.jit(jax.vmap(problem.solve.value))
      change = jnp.sum(value(pieces, new) - value(pieces, now))
      lists = [routes_of(*merge(rolled, pieces, part)) for part in (new, now)]
      after, before = (
        length(instance['points'], r, name == 'cvrp') for r in lists
      )
      self.assertAlmostEqual(float(change), after - before, places=4)


class BorderTest(parameterized.TestCase):
  @parameterized.parameters(
    (0.3, 0.4, 0.5, 0.5),
    (0.7, 0.2, 0.7, 0.3),
    (0.1, 0.8, 0.2, 0.8),
    (0.0, 0.6, 0.0, 1.0),
  )
  def test_budgets_of_the_table(self, tail, head, want_tail, want_head):
    found = _route_pieces.border_budgets(jnp.array(tail), jnp.array(head))
    np.testing.assert_allclose(found, (want_tail, want_head), atol=1e-6)

  def test_budgets_leave_place_for_what_is_fixed(self):
    """A route through three pieces, the middle one wholly on it."""
    demands = jnp.array([0, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.9, 0.2, 0.1])
    last = jnp.zeros(10, bool).at[jnp.array([0, 6, 7])].set(True)
    # Three pieces of three, the tenth customer in none of them.
    pieces = {
      'last': last[:9].reshape(3, 3),
      'closed': jnp.array([False, False, False]),
      'whole': jnp.array([False, True, False]),
    }
    routes = co.Routes(jnp.arange(1, 11), last)
    head, tail = _route_pieces.borders(demands, routes, pieces)
    # The first route comes around the end: 0.2 behind the last flag, then 0.1
    # in no piece, then 0.3.
    np.testing.assert_allclose(tail[2] + head[0], 0.9, atol=1e-6)
    np.testing.assert_allclose(head[0], 0.45, atol=1e-6)
    # 0.2 | 0.3 | 0.3: what is between leaves 0.7, and half of it is enough.
    np.testing.assert_allclose((tail[0], head[2]), (0.35, 0.35), atol=1e-6)

  def test_budgets_hold_what_pieces_have(self):
    """Both halves fit now, and together never more than a vehicle."""
    constructs = jax.jit(
      lambda key: constructed(
        'cvrp', drawn(7, 17)[0] | {'routes': jnp.ones(17, bool)}, key
      )
    )
    instance, shared = drawn(7, 17)[0], 0
    for seed in range(10):
      routes = jax.tree.map(lambda x: x[0], constructs(jax.random.key(seed)))
      pieces, rolled = jax.device_get(split('cvrp', instance, routes, 5, seed))
      numbers = np.asarray(_routes.route_numbers(rolled.last))
      demand = np.asarray(instance['demands'], float)[rolled.order]
      for r in range(numbers.max() + 1):
        budget, owners = 0.0, 0
        inside = numbers == r
        for p in range(3):
          if pieces['whole'][p]:
            continue
          at = np.arange(17) // 5 == p
          if not pieces['closed'][p] and numbers[5 * p + 4] == r:
            own = np.flatnonzero(at & rolled.last)[-1]
            has = demand[own + 1 : 5 * p + 5].sum()
            self.assertLessEqual(has, pieces['tail'][p] + 1e-5)
            budget, owners = budget + pieces['tail'][p], owners + 1
            inside[own + 1 : 5 * p + 5] = False
          if numbers[5 * p] == r and not rolled.last[5 * p - 1]:
            own = np.flatnonzero(at & rolled.last)[0]
            has = demand[5 * p : own + 1].sum()
            self.assertLessEqual(has, pieces['head'][p] + 1e-5)
            budget, owners = budget + pieces['head'][p], owners + 1
            inside[5 * p : own + 1] = False
        if owners:
          self.assertLessEqual(budget + demand[inside].sum(), 1 + 1e-5)
          shared += owners == 2
    self.assertGreater(shared, 10)

  @parameterized.parameters('path', 'keep')
  def test_a_route_that_covers_a_piece(self, long_routes):
    problem = _cvrp.cvrp(long_routes=long_routes)
    points = jnp.asarray(np.random.default_rng(0).random((10, 2)), jnp.float32)
    instance = {
      'points': points,
      'demands': jnp.full(10, 0.1).at[0].set(0.0),
    }
    last = jnp.zeros(9, bool).at[-1].set(True)
    one = co.Routes(jnp.arange(1, 10), last)
    better, info = conquered(problem, instance, one, size=4)
    self.assertEqual(info.active.tolist(), [True, long_routes == 'path'])
    if long_routes == 'keep':
      self.assertEqual(better.order[4:8].tolist(), [4, 5, 6, 7])
    self.assertTrue(bool(problem.feasible(instance, better)))
    # Its ends stay, and no vehicle returns in between.
    self.assertEqual(better.order[jnp.array([4, 7])].tolist(), [4, 7])
    self.assertFalse(bool(better.last[4:8].any()))


class ConstructionTest(parameterized.TestCase):
  def test_routes_of_any_policy_are_bounded(self):
    """Demands that are hard to pack, policies that like the depot or not."""
    rng = np.random.default_rng(0)
    kinds = {
      'over a half': np.full(13, 0.51),
      'thirds': np.full(13, 0.34),
      'one each': np.ones(13),
      'small': rng.integers(1, 10, 13) / 100,
      'mixed': rng.random(13),
      'some nothing': rng.random(13) * (rng.random(13) < 0.5),
    }
    problem = PROBLEMS['cvrp']

    @jax.jit
    def run(demands, key, likes):
      instance = {'points': points, 'demands': demands}
      logits = jnp.zeros(14).at[0].set(likes)

      def step(cursor, key):
        may = problem.divide.allowed(instance, cursor)
        action = jax.random.categorical(key, jnp.where(may, logits, -jnp.inf))
        cursor = problem.divide.move(instance, cursor, action)
        return cursor, (action, may)

      start = problem.divide.start(instance, jnp.array(0))
      keys = jax.random.split(key, problem.divide.num_steps(instance))
      last, (actions, may) = jax.lax.scan(step, start, keys)
      routes = problem.divide.finish(instance, start.first, actions)
      return last.done, may, routes, problem.feasible(instance, routes)

    points = jnp.asarray(rng.random((14, 2)), jnp.float32)
    for kind, demands in kinds.items():
      demands = np.concatenate([[0], demands])
      bound = _cvrp.routes_bound(demands)
      most = 0
      for likes in (-9.0, 0.0, 9.0):
        for seed in range(4):
          done, may, routes, fine = run(
            jnp.asarray(demands, jnp.float32), jax.random.key(seed), likes
          )
          self.assertTrue(bool(done) and bool(fine), kind)
          self.assertTrue(bool(may.any(axis=1).all()), kind)
          most = max(most, int(routes.last.sum()))
      self.assertLessEqual(most, bound, kind)
    self.assertEqual(_cvrp.routes_bound(np.pad(np.ones(13), (1, 0))), 13)

  def test_too_few_steps_still_serve_everyone(self):
    instance, _ = drawn(0, 12)
    instance['demands'] = instance['demands'].at[1:].set(0.6)
    instance['routes'] = jnp.ones(2, bool)  # Twelve are needed.
    found = constructed('cvrp', instance, jax.random.key(0))
    fine = jax.vmap(lambda s: PROBLEMS['cvrp'].feasible(instance, s))(found)
    self.assertTrue(bool(fine.all()))

  def test_a_piece_that_is_not_done_stays_as_it_is(self):
    instance, _ = drawn(0, 12)
    instance['demands'] = instance['demands'].at[1:].set(0.6)
    instance['routes'] = jnp.ones(1, bool)
    alone = co.Routes(jnp.arange(1, 13), jnp.ones(12, bool))
    problem = PROBLEMS['cvrp']
    pieces, _ = split('cvrp', instance, alone, 12, 0)
    self.assertEqual(problem.solve.num_steps(12), 22)
    piece = jax.tree.map(lambda x: x[0], pieces)
    self.assertEqual(problem.solve.piece_steps(piece), 11 + 5)
    # Nobody but the first customer is served.
    walk = jax.jit(problem.solve.start)(piece, jnp.array(False))
    walk = jax.jit(problem.solve.move)(piece, walk, jnp.array(0))
    self.assertFalse(bool(walk.done))
    finish = jax.jit(problem.solve.finish)
    found = finish(piece, walk, jnp.zeros(16, jnp.int32))
    now = problem.solve.current(piece)
    jax.tree.map(np.testing.assert_array_equal, found, now)
    # Twelve on one vehicle would have been shorter.
    all_on_one = now._replace(last=jnp.zeros(12, bool).at[-1].set(True))
    value = jax.jit(problem.solve.value)
    self.assertLess(float(value(piece, all_on_one)), float(value(piece, now)))

  def test_generated_instances(self):
    for spec, count, low, high in (
      ((100, 200), 30, 100, 200),
      ('table', 999, 100, 100),
      ('table', 1000, 200, 200),
      ('table', 2000, 300, 300),
      (50, 30, 50, 50),
    ):
      problem = _cvrp.cvrp(capacity=spec)
      generate = jax.jit(problem.generate, static_argnums=1)
      instance = generate(jax.random.key(2), count)
      problem.check(instance)
      demands = np.asarray(instance['demands'], float)[1:]
      sizes = 1 / np.diff(np.unique(demands.round(7))).min()
      self.assertBetween(sizes, low - 0.5, high + 0.5)
      whole = demands * np.round(sizes)
      np.testing.assert_allclose(whole, whole.round(), atol=1e-3)
      self.assertBetween(whole.min(), 0.99, 9.01)
      self.assertBetween(whole.max(), 0.99, 9.01)
      bound = _cvrp.routes_bound(instance['demands'])
      self.assertGreaterEqual(instance['routes'].shape[0], bound)

  def test_neighbors_are_of_similar_direction(self):
    instance, _ = drawn(1, 20)
    find = jax.jit(PROBLEMS['cvrp'].divide.neighbors, static_argnums=1)
    rows = find(instance, 6)
    points = np.asarray(instance['points'], float)
    around = points - points[0]
    radius = np.linalg.norm(around, axis=1)
    units = around[1:] / radius[1:, None]
    cosine = np.zeros((21, 21))
    cosine[1:, 1:] = units @ units.T
    for i in range(1, 21):
      ids = np.asarray(rows.ids[i])
      self.assertLen(set(ids), 6)
      self.assertContainsSubset({0, i}, set(ids.tolist()))
      best = np.sort(np.delete(cosine[i, 1:], i - 1))[::-1][:4]
      others = ids[(ids != 0) & (ids != i)]
      np.testing.assert_allclose(
        np.sort(cosine[i, others])[::-1], best, atol=1e-6
      )
      want = np.where(ids == i, 1, cosine[i, ids])
      np.testing.assert_allclose(rows.edges[i, :, 0], want, atol=1e-6)
    near = set(np.argsort(radius)[:6].tolist())
    self.assertEqual(set(rows.ids[0].tolist()), near)
    angle = np.arctan2(around[:, 1], around[:, 0])
    want = np.stack([instance['demands'], radius, angle], axis=1)
    np.testing.assert_allclose(rows.nodes, want, atol=1e-6)
    self.assertEqual(find(instance, 99).ids.shape, (21, 21))

  def test_routes_are_sorted_by_angle(self):
    by_angle = jax.jit(_routes.by_angle)
    for seed in range(8):
      instance, routes = drawn(seed, 15)
      found = by_angle(instance['points'], routes)
      self.assertEqual(found.order[0], routes.order[0])
      self.assertEqual(
        sorted(map(tuple, routes_of(*found))),
        sorted(map(tuple, routes_of(*routes))),
      )
      points = np.asarray(instance['points'], float)
      angles = []
      for r in routes_of(*found):
        x, y = points[r].mean(axis=0) - points[0]
        angles.append(math.atan2(y, x))
      # The list starts behind the first end: the first route comes last.
      angles = np.roll(angles, 1)
      ahead = np.mod(angles - angles[0], 2 * np.pi)
      np.testing.assert_array_equal(ahead, np.sort(ahead))


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'points': None}, r"instance must have 'points'; got \['demands'\]"),
    ({'demands': None}, r"instance must have 'demands'; got \['points'\]"),
    ({'points': np.ones((4, 3))}, r'points must be f\[N, 2\].*\(4, 3\)'),
    ({'points': np.ones((1, 2))}, 'at least one customer'),
    ({'points': np.full((4, 2), np.nan)}, 'points.*(NaN|nan)'),
    ({'demands': np.zeros(3)}, r'demands must be f\[N \+ 1\] = \(4,\)'),
    ({'demands': np.array([0, 0.1, np.nan, 0.1])}, 'demands.*(NaN|nan)'),
    ({'demands': np.array([0.1, 0.1, 0.1, 0.1])}, '0 of the depot; got 0.1'),
    (
      {'demands': np.array([0, 0.1, 1.2, 0.1])},
      'at most 1, what a vehicle holds: customer 2 has 1.2',
    ),
    (
      {'demands': np.array([0, 0.1, 0.1, -0.5])},
      'at least 0: customer 3 has -0.5',
    ),
    ({'routes': np.ones((2, 2), bool)}, r'routes must be bool\[R\]'),
  )
  def test_instances(self, changes, sentence):
    instance = {'points': np.eye(4, 2), 'demands': np.array([0, 0.1, 0.1, 1])}
    PROBLEMS['cvrp'].check(instance)
    instance = instance | changes
    instance = {k: v for k, v in instance.items() if v is not None}
    with self.assertRaisesRegex(ValueError, sentence):
      PROBLEMS['cvrp'].check(instance)

  def test_options(self):
    with self.assertRaisesRegex(ValueError, 'capacity must be at least 9; got'):
      _cvrp.cvrp(capacity=8)
    with self.assertRaisesRegex(ValueError, r'a range \(low, high\); got'):
      _cvrp.cvrp(capacity=(50, 40))
    with self.assertRaisesRegex(ValueError, "or 'table'; got"):
      _cvrp.cvrp(capacity=(50, 60, 70))
    with self.assertRaisesRegex(ValueError, "capacity.*'tabel'.*'table'"):
      _cvrp.cvrp(capacity='tabel')
    with self.assertRaisesRegex(ValueError, "long_routes.*'cut'"):
      _cvrp.ovrp(long_routes='cut')
    with self.assertRaisesRegex(ValueError, "distribution.*'unifrom'"):
      _cvrp.ovrp(distribution='unifrom')

  def test_sizes(self):
    problem = PROBLEMS['cvrp']
    problem.sizes(40, 20)
    with self.assertRaisesRegex(ValueError, 'num_nodes must be a multiple of'):
      problem.sizes(50, 20)
    with self.assertRaisesRegex(ValueError, 'size must be at least 3; got 2'):
      problem.sizes(50, 2)
    instance, routes = drawn(0, 8)
    with self.assertRaisesRegex(ValueError, 'size=9 leaves no piece'):
      problem.split(instance, routes, 9, 0, None)
    with self.assertRaisesRegex(ValueError, 'num_nodes must be at least 1'):
      problem.generate(jax.random.key(0), 0)


if __name__ == '__main__':
  absltest.main()
