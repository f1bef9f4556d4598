# SPDX-License-Identifier: Apache-2.0
"""Prize collecting, certain and not, against float64 NumPy and tables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import combinatorial as reference, stages

from jaxdl import combinatorial as co

PROBLEMS = {
  'pctsp': co.make_problem('pctsp'),
  'spctsp': co.make_problem('spctsp'),
  'official': co.make_problem('spctsp(reveal=official)'),
}
# Least costs with half of all prizes, by seed.
OPTIMA = (2.894350, 2.803043, 2.603937)


def instance_of(points, prizes, penalties, target, real=None):
  instance = {
    'points': points,
    'prizes': prizes,
    'penalties': penalties,
    'target': target,
  }
  if real is not None:
    instance['real_prizes'] = real
  return {k: jnp.asarray(v, jnp.float32) for k, v in instance.items()}


def visits(order, visited):
  return co.Visits(jnp.asarray(order, jnp.int32), jnp.asarray(visited))


def tour_of(order, visited):
  return np.asarray(order)[np.asarray(visited)]


def cost_and_prize(name, instance, order, visited):
  """Of one tour, in float64."""
  tour = tour_of(order, visited)
  points = np.asarray(instance['points'], float)[tour]
  length = np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1).sum()
  out = np.setdiff1d(np.arange(len(order)), tour)
  counts = 'prizes' if name == 'pctsp' else 'real_prizes'
  paid = np.asarray(instance['penalties'], float)[out].sum()
  return length + paid, np.asarray(instance[counts], float)[tour].sum()


@functools.cache
def histories(name):
  instances = stages.generated(PROBLEMS[name], 25)
  solutions = stages.played(
    PROBLEMS[name], instances, jax.random.key(1), size=8
  )
  return instances, jax.tree.map(np.asarray, solutions)


class ToursTest(parameterized.TestCase):
  def test_objective_and_feasibility_are_those_of_numpy(self):
    rng = np.random.default_rng(0)
    problem = PROBLEMS['pctsp']
    objective, feasible = jax.jit(problem.objective), jax.jit(problem.feasible)
    for _ in range(20):
      order = rng.permutation(7)
      visited = (rng.random(7) < 0.6) | (order == 0)
      prizes, penalties = (np.append(0, rng.random(6)) for _ in range(2))
      instance = instance_of(rng.random((7, 2)), prizes, penalties, 0.0)
      cost, prize = cost_and_prize('pctsp', instance, order, visited)
      solution = visits(order, visited)
      self.assertAlmostEqual(
        float(objective(instance, solution)), cost, delta=1e-5
      )
      for more, want in ((-1e-3, True), (1e-3, False)):
        asked = instance | {'target': jnp.float32(max(prize + more, 0))}
        self.assertEqual(bool(feasible(asked, solution)), want)
    for bad in (
      visits([0, 1, 1, 2, 3, 4, 5], [True] * 7),
      visits(np.arange(7), [False] + [True] * 6),
    ):
      self.assertFalse(feasible(instance, bad))

  @parameterized.parameters(0, 1, 2)
  def test_no_answer_is_below_the_optimum_and_the_best_is_it(self, seed):
    case = reference.small(seed)
    target = case.prize.sum() / 2
    optimum = reference.pctsp(
      reference.distances(case.points), case.prize, case.penalty, target
    )
    self.assertAlmostEqual(optimum, OPTIMA[seed], delta=6e-7)
    prizes, penalties = (np.append(0, x) for x in (case.prize, case.penalty))
    instance = instance_of(case.points, prizes, penalties, target)
    many = jax.tree.map(lambda x: jnp.stack([x] * 40), instance)
    found = stages.played(
      PROBLEMS['pctsp'], many, jax.random.key(0), size=6, count=40
    )
    order, visited = (np.asarray(x) for x in found)
    costs = []
    for start in range(40):
      cost, prize = cost_and_prize(
        'pctsp', instance, order[start, -1], visited[start, -1]
      )
      self.assertGreaterEqual(prize, target - 1e-5)
      costs.append(cost)
    self.assertGreaterEqual(min(costs), optimum - 1e-5)
    self.assertAlmostEqual(min(costs), optimum, delta=1e-5)

  @parameterized.parameters('pctsp', 'spctsp')
  def test_generated_instances(self, name):
    problem = PROBLEMS[name]
    drawn = jax.tree.map(np.asarray, stages.generated(problem, 200, count=50))
    prizes, penalties = drawn['prizes'][:, 1:], drawn['penalties'][:, 1:]
    self.assertAlmostEqual(prizes.mean(), 2 / 200, delta=2e-4)
    self.assertLessEqual(prizes.max(), 4 / 200)
    for i, most in enumerate(penalties.max(axis=1) * 200 / 3):
      self.assertAlmostEqual(most, np.clip(np.ceil(most), 9, 12), delta=0.6)
      self.assertAlmostEqual(penalties[i].max(), 3 * most / 200, delta=1e-6)
    np.testing.assert_array_equal(drawn['target'], np.ones(50))
    for k in set(drawn) - {'points', 'target'}:
      np.testing.assert_array_equal(drawn[k][:, 0], np.zeros(50))
    if name == 'spctsp':
      ratio = drawn['real_prizes'][:, 1:] / prizes
      self.assertLessEqual(ratio.max(), 2.0 + 1e-5)
      self.assertAlmostEqual(ratio.mean(), 1.0, delta=0.03)

  def test_few_nodes_have_enough_prize(self):
    problem = PROBLEMS['spctsp']
    for num_nodes in (1, 2, 3):
      drawn = stages.generated(problem, num_nodes)
      for i in range(20):
        problem.check(stages.at(drawn, i))
    instance = stages.at(stages.generated(problem, 2), 0)
    tour = stages.at(
      stages.constructed(problem, instance, jax.random.key(0), count=1), 0
    )
    self.assertEqual(tour_of(*tour).tolist(), [0, 1])

  def test_penalty_option(self):
    problem = co.make_problem('pctsp(penalty=20)')
    drawn = stages.generated(problem, 500, count=2)
    self.assertAlmostEqual(
      float(drawn['penalties'].max()), 3 * 20 / 500, delta=2e-3
    )


class StagesTest(parameterized.TestCase):
  @parameterized.parameters('pctsp', 'spctsp', 'official')
  def test_feasible_and_never_worse_after_each_stage(self, name):
    instances, solutions = histories(name)
    first, last = [], []
    for seed in range(20):
      instance, before = stages.at(instances, seed), np.inf
      for stage in range(11):
        order, visited = (x[seed, stage] for x in solutions)
        np.testing.assert_array_equal(np.sort(order), np.arange(25))
        self.assertIn(0, tour_of(order, visited))
        cost, prize = cost_and_prize(name, instance, order, visited)
        self.assertGreaterEqual(prize, 1.0 - 1e-5)
        self.assertLessEqual(cost, before + 1e-5)
        first.extend([cost] * (stage == 0))
        before = cost
      last.append(before)
    self.assertLess(np.mean(last), 0.7 * np.mean(first))

  @parameterized.parameters('pctsp', 'spctsp', 'official')
  def test_pieces_put_back_are_the_same_tour(self, name):
    problem = PROBLEMS[name]
    instances, solutions = histories(name)
    instance, tour = stages.at(instances, 0), stages.at(solutions, 0, 3)

    @jax.jit
    def there_and_back(tour):
      pieces, rolled = problem.split(instance, tour, 8, 3, jax.random.key(0))
      current = jax.vmap(problem.solve.current)(pieces)
      return pieces, rolled, problem.merge(instance, rolled, pieces, current)

    pieces, rolled, merged = there_and_back(tour)
    np.testing.assert_array_equal(merged.order, rolled.order)
    np.testing.assert_array_equal(merged.visited, rolled.visited)
    ring, turned = tour_of(*tour), tour_of(*merged)
    begin = ring.tolist().index(turned[0])
    np.testing.assert_array_equal(np.roll(ring, -begin), turned)
    # What the tour has beyond its target, the first piece need not collect.
    spare = cost_and_prize(name, instance, *tour)[1] - 1
    given = False
    for i in range(3):
      piece = stages.at(pieces, i)
      inside = np.asarray(piece['visited'])
      need = np.asarray(piece['real_prizes'], float)[inside].sum()
      self.assertAlmostEqual(float(piece['collected']), need, delta=1e-6)
      self.assertEqual(bool(piece['active']), inside.sum() > 1)
      if piece['active'] and not given:
        need, given = max(need - spare, 0), True
      self.assertAlmostEqual(float(piece['need']), need, delta=1e-6)
    self.assertTrue(given)

  def test_nothing_is_left_over_in_training(self):
    problem = co.make_problem('pctsp(training=True)')
    instances, solutions = histories('pctsp')
    instance, tour = stages.at(instances, 0), stages.at(solutions, 0, 0)
    pieces, _ = jax.jit(
      lambda tour: problem.split(instance, tour, 8, 3, jax.random.key(0))
    )(tour)
    np.testing.assert_array_equal(pieces['need'], pieces['collected'])

  def test_the_end_comes_with_the_prize_and_the_depot(self):
    piece = {
      'points': jnp.zeros((5, 2)),
      'prizes': jnp.array([0.1, 0.2, 0.0, 0.4, 0.1]),
      'visited': jnp.ones(5, bool),
      'depot': jnp.arange(5) == 2,
      'collected': jnp.float32(0.8),
      'need': jnp.float32(0.6),
    }
    solve = PROBLEMS['pctsp'].solve
    state = solve.start(piece, False)
    allowed = lambda: np.asarray(solve.context(piece, state).allowed).tolist()
    self.assertEqual(allowed(), [False, True, True, True, False])
    state = solve.move(piece, state, 3)
    # Enough, but the depot is missing.
    self.assertEqual(allowed(), [False, True, True, False, False])
    state = solve.move(piece, state, 2)
    self.assertEqual(allowed(), [False, True, False, False, True])
    extra = solve.context(piece, state).extra
    np.testing.assert_allclose(extra, [0.6 / 0.8, 0.75], rtol=1e-5)
    state = solve.move(piece, state, 4)
    self.assertEqual(allowed(), [False, False, False, False, True])
    self.assertEqual(
      tour_of(*solve.finish(piece, state, jnp.array([3, 2, 4]))).tolist(),
      [0, 3, 2, 4],
    )
    # From the far end it is turned round.
    state = solve.start(piece, True)
    for action in (1, 3, 2):
      state = solve.move(piece, state, action)
    self.assertEqual(
      tour_of(*solve.finish(piece, state, jnp.array([1, 3, 2]))).tolist(),
      [0, 2, 3, 1, 4],
    )


class RevealTest(parameterized.TestCase):
  def test_what_is_known_when(self):
    instances, solutions = histories('spctsp')
    seed = int(np.argmin(solutions.visited[:, 0].sum(axis=-1)))
    instance, tour = stages.at(instances, seed), stages.at(solutions, seed, 0)
    inside = jnp.isin(jnp.arange(25), tour_of(*tour))
    self.assertLess(int(inside.sum()), 20)
    other = instance | {
      'real_prizes': jnp.where(inside, 1, 3) * instance['real_prizes']
    }
    for name, blind in (('spctsp', True), ('official', False)):
      problem = PROBLEMS[name]

      @jax.jit
      def asked(instance, tour, problem=problem):
        pieces, _ = problem.split(instance, tour, 8, 3, jax.random.key(0))

        def one(piece):
          state = problem.solve.start(piece, False)
          state = problem.solve.move(piece, state, 1)
          return problem.solve.inputs(piece), problem.solve.context(
            piece, state
          )

        graph = problem.divide.neighbors(instance, 5)
        return graph, jax.vmap(one)(pieces)

      (graph, pieces), (other_graph, other_pieces) = (
        asked(x, tour) for x in (instance, other)
      )
      jax.tree.map(np.testing.assert_array_equal, graph, other_graph)
      same = jax.tree.map(
        lambda a, b: bool((a == b).all()), pieces, other_pieces
      )
      self.assertEqual(all(jax.tree.leaves(same)), blind)

  def test_a_construction_goes_home_when_what_it_has_is_enough(self):
    instance = instance_of(
      np.zeros((4, 2)), [0, 0.4, 0.4, 0.4], np.zeros(4), 1.0,
      real=[0, 0.1, 0.8, 0.3],
    )  # fmt: skip
    divide = PROBLEMS['spctsp'].divide
    cursor = divide.start(instance, jnp.int32(0))
    home = []
    for action in (2, 1, 3):
      cursor = divide.move(instance, cursor, jnp.int32(action))
      home.append(bool(divide.allowed(instance, cursor)[0]))
    self.assertEqual(home, [False, False, True])
    self.assertTrue(cursor.done)

  def test_a_piece_that_turns_out_poor_is_left_as_it_was(self):
    # Node 2 promises much and has little; node 3 promises little.
    instance = instance_of(
      [[0, 0], [2, 0], [1, 0], [1, 0.5], [0.5, 0.5]], [0, 0.9, 0.9, 0.3, 0.4],
      np.zeros(5), 1.0, real=[0, 1.0, 0.1, 1.8, 0.4],
    )  # fmt: skip
    tour = visits([0, 1, 4, 2, 3], [True, True, True, False, False])
    for name in ('spctsp', 'official'):
      problem = PROBLEMS[name]

      @jax.jit
      def instead_of_node_1(node, problem=problem):
        pieces, rolled = problem.split(instance, tour, 5, 0, jax.random.key(0))
        at = jnp.arange(5)
        here, there = (jnp.argmax(rolled.order == i) for i in (1, node))
        swapped = at.at[here].set(there).at[there].set(here)
        candidate = co.Visits(swapped[None], rolled.visited[None])
        return problem.merge(instance, rolled, pieces, candidate)

      self.assertEqual(sorted(tour_of(*instead_of_node_1(2))), [0, 1, 4])
      self.assertEqual(sorted(tour_of(*instead_of_node_1(3))), [0, 3, 4])


class BadInputTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (
      'poor',
      {'target': 2.5},
      r'prizes sum to 2, less than target=2.5: no tour',
    ),
    ('none', {'penalties': None}, r"instance has no 'penalties'; it has"),
    ('target', {'target': np.ones(1)}, r'target must be one number; got shape'),
    ('shape', {'penalties': np.ones(4)}, r'penalties must be f\[N\].*N = 3'),
    ('less', {'penalties': np.array([0, -1, 1.0])}, r'penalties must .*got -1'),
    ('depot', {'prizes': np.ones(3)}, r'prizes\[0\] must be 0.*got 1.0'),
  )
  def test_instances(self, changes, message):
    instance = {
      'points': np.ones((3, 2)), 'prizes': np.array([0, 1.0, 1.0]),
      'penalties': np.zeros(3), 'target': 1.0,
    }  # fmt: skip
    PROBLEMS['pctsp'].check(instance)
    instance |= changes
    instance = {k: v for k, v in instance.items() if v is not None}
    with self.assertRaisesRegex(ValueError, message):
      PROBLEMS['pctsp'].check(instance)

  def test_real_prizes_must_suffice(self):
    instance = {
      'points': np.ones((3, 2)), 'prizes': np.array([0, 1.0, 1.0]),
      'penalties': np.zeros(3), 'target': 1.0,
    }  # fmt: skip
    with self.assertRaisesRegex(ValueError, "no 'real_prizes'"):
      PROBLEMS['spctsp'].check(instance)
    instance['real_prizes'] = np.array([0, 0.5, 0.25])
    with self.assertRaisesRegex(
      ValueError, 'real_prizes sum to 0.75, less than target=1: .* infeasible'
    ):
      PROBLEMS['spctsp'].check(instance)

  @parameterized.parameters(
    ('spctsp(reveal=never)', r"reveal='never'.*on_visit.*official"),
    ('pctsp(penalty=-1)', r'penalty must lie in \[0.0, inf\); got -1'),
    ('pctsp(reveal=official)', r"no option 'reveal'"),
  )
  def test_options(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      co.make_problem(spec)


if __name__ == '__main__':
  absltest.main()
