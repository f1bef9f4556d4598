# SPDX-License-Identifier: Apache-2.0
"""Programs, what signatures for them cost, and searches."""

import dataclasses
import itertools
import math
import time

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import parallel
from jaxdl.parallel import _programs, _search

Op = parallel.Op
# Communication alone, in numbers, as the table of the method counts.
COUNTED = parallel.CostModel(
  itemsize=1, per_flop=0.0, training=True, replicated=False, even=False
)
TENSOR = ['(B; S1 -> S1)', '(S1; S0 -> P)']
DATA = ['(S0; B -> S0)'] * 2


def mlp(batch, sizes=(32, 64, 32)):
  text = ', '.join(map(str, sizes))
  return parallel.PROGRAMS.make(f'mlp(sizes=({text},))', batch)


def layers(found):
  return [str(found.signatures[y]) for y in ('y1', 'y2')]


def random_chain(rng, length):
  """Operators in a row, with parameters and a skip."""
  size = 8
  ops = [Op('x', 'input', shape=(size, size))]
  last = 'x'
  for i in range(length):
    kind = rng.choice(['matmul', 'activation', 'softmax', 'transpose'])
    if kind == 'matmul':
      ops.append(Op(f'w{i}', 'parameter', shape=(size, size)))
      ops.append(Op(f'y{i}', 'matmul', (last, f'w{i}')))
    else:
      ops.append(Op(f'y{i}', str(kind), (last,)))
    last = f'y{i}'
  ops.append(
    Op('out', 'output', (last,), sbp=str(rng.choice(['S0', 'S1', 'B'])))
  )
  return parallel.make_program(ops)


def random_model(rng):
  return parallel.CostModel(
    itemsize=1,
    per_flop=float(rng.choice([0.0, 0.01, 0.1])),
    wait=float(rng.choice([0.0, 50.0])),
    training=bool(rng.integers(2)),
  )


class TableTest(parameterized.TestCase):
  @parameterized.parameters(
    (8, 3072, 4992, TENSOR),
    (63, 24192, 24576, TENSOR),
    (64, 24576, 24576, None),
    (65, 24576, 24960, DATA),
    (512, 24576, 122880, DATA),
  )
  def test_two_layers(self, batch, best, second, signatures):
    program = mlp(batch)
    ranked = parallel.assign_all(program, 4, COUNTED)
    self.assertEqual([a.cost for a in ranked[:2]], [best, second])
    self.assertEqual(parallel.assign_optimal(program, 4, COUNTED).cost, best)
    if signatures:
      self.assertEqual(layers(ranked[0]), signatures)
    else:
      self.assertCountEqual(map(layers, ranked[:2]), [TENSOR, DATA])
    # 5 signatures of each layer; everything replicated is left out.
    self.assertLen(ranked, 25)

  def test_closed_forms(self):
    for b, k, h, p in ((8, 32, 64, 4), (40, 16, 48, 2), (96, 8, 24, 8)):
      program = mlp(b, (k, h, k))
      costs = {
        tuple(layers(a)): a.cost
        for a in parallel.assign_all(program, p, COUNTED)
      }
      self.assertEqual(costs[tuple(TENSOR)], 4 * (p - 1) * b * k)
      self.assertEqual(costs[tuple(DATA)], 4 * (p - 1) * k * h)
      # Values alone: half of it, so that b = 2 h would be even.
      ahead = dataclasses.replace(COUNTED, training=False)
      costs = {
        tuple(layers(a)): a.cost for a in parallel.assign_all(program, p, ahead)
      }
      self.assertEqual(costs[tuple(TENSOR)], 2 * (p - 1) * b * k)
      self.assertEqual(costs[tuple(DATA)], 0)

  def test_greedy_is_eight_times_worse(self):
    for batch in (8, 64, 512):
      found = parallel.assign_greedy(mlp(batch), 4, COUNTED)
      self.assertEqual((found.cost, layers(found)), (24576, DATA))
    best = parallel.assign_optimal(mlp(8), 4, COUNTED)
    greedy = parallel.assign_greedy(mlp(8), 4, COUNTED)
    self.assertEqual(greedy.cost, 8 * best.cost)

  def test_replication_costs_nothing_but_work(self):
    free = parallel.CostModel(
      itemsize=1, per_flop=0.0, training=True, replicated=True
    )
    program = mlp(8)
    whole = parallel.assign_replicated(program, 4, free)
    # The input goes to all, the gradient of the result too.
    self.assertEqual(whole.cost, 2 * 3 * 8 * 32)
    self.assertEqual(parallel.assign_optimal(program, 4, free).cost, 1536)
    paid = parallel.CostModel(itemsize=1, per_flop=1.0, training=True)
    best = parallel.assign_optimal(program, 4, paid)
    self.assertEqual(layers(best), TENSOR)
    self.assertLess(
      best.cost, parallel.assign_replicated(program, 4, paid).cost
    )

  def test_costs_of_two_layers_by_hand(self):
    # Data parallel on 4 devices, forward alone: nothing moves, work is shared.
    model = parallel.CostModel(per_flop=1.0, per_byte=1.0)
    found = parallel.assign_data_parallel(mlp(8), 4, model)
    self.assertEqual(found.cost, 2 * (2 * 8 * 32 * 64) / 4)
    # Gradients take twice the work of values.
    model = dataclasses.replace(model, training=True, per_byte=0.0)
    found = parallel.assign_data_parallel(mlp(8), 4, model)
    self.assertEqual(found.cost, 3 * 2 * (2 * 8 * 32 * 64) / 4)
    # Every transfer that is not empty waits.
    model = parallel.CostModel(
      itemsize=1, per_flop=0.0, wait=16500.0, training=True, replicated=False
    )
    found = parallel.assign_data_parallel(mlp(8), 4, model)
    self.assertEqual(found.cost, 24576 + 2 * 16500)


class SearchTest(parameterized.TestCase):
  @parameterized.parameters(range(8))
  def test_optimal_equals_brute_force(self, seed):
    rng = np.random.default_rng(seed)
    program = random_chain(rng, int(rng.integers(2, 5)))
    model = random_model(rng)
    mesh = (2, 2) if len(program.ops) < 6 else 4
    if math.prod(len(s) for s in self.states(program, mesh, model)) > 1e6:
      mesh = 2
    best = parallel.assign_optimal(program, mesh, model)
    self.assertTrue(best.exact)
    ranked = parallel.assign_all(program, mesh, model, num=3)
    self.assertAlmostEqual(best.cost, ranked[0].cost)
    self.assertTrue(ranked[0].exact)
    greedy = parallel.assign_greedy(program, mesh, model)
    self.assertGreaterEqual(greedy.cost, best.cost - 1e-9)
    # A cost is that of the signatures.
    for found in (best, greedy, *ranked):
      again = parallel.total_cost(program, found.signatures, mesh, model)
      self.assertAlmostEqual(again, found.cost)

  def states(self, program, mesh, model):
    return _programs.choices(program, mesh, model).states.values()

  def test_brute_force_by_python(self):
    program, model = mlp(8, (4, 8)), COUNTED
    found = _programs.choices(program, 2, model)
    costs = [
      parallel.total_cost(
        program, dict(zip(found.names, pick, strict=True)), 2, model
      )
      for pick in itertools.product(*found.states.values())
    ]
    self.assertEqual(
      min(costs), parallel.assign_optimal(program, 2, model).cost
    )

  def test_local_search_where_tables_are_too_large(self):

    program = parallel.PROGRAMS.make('transformer(num_layers=1)', 4)
    model = parallel.CostModel(training=True, per_flop=1e-4)
    exact = parallel.assign_optimal(program, 4, model)
    greedy = parallel.assign_greedy(program, 4, model)
    most, _search._MOST_ENTRIES = _search._MOST_ENTRIES, 30
    try:
      local = parallel.assign_optimal(program, 4, model)
    finally:
      _search._MOST_ENTRIES = most
    self.assertTrue(exact.exact)
    self.assertFalse(local.exact)
    self.assertGreaterEqual(local.cost, exact.cost)
    # Better than where it starts, and no operator alone improves on it.
    self.assertLess(local.cost, 0.6 * greedy.cost)
    found = _programs.choices(program, 4, model)
    where = _programs.indices(found, local.signatures)
    for name, states in found.states.items():
      for i in range(len(states)):
        cost = _programs.cost_of(found, where | {name: i})
        self.assertGreaterEqual(cost, local.cost - 1e-3)

  @parameterized.parameters('4', '2x4')
  def test_a_hundred_operators_take_less_than_a_second(self, mesh):
    program = parallel.PROGRAMS.make('transformer', 32)
    self.assertGreater(len(program.ops), 100)
    model = parallel.CostModel(training=True)
    begin = time.process_time()
    found = parallel.assign_optimal(program, mesh, model)
    self.assertLess(time.process_time() - begin, 2.0)
    self.assertTrue(found.exact)

  def test_greedy_takes_what_costs_least_before_what_changes_least(self):
    program = parallel.make_program(
      [
        Op('x', 'input', shape=(4, 8), sbp='P'),
        Op('w', 'input', shape=(8, 8), sbp='S1'),
        Op('y', 'matmul', ('x', 'w')),
      ]
    )
    model = parallel.CostModel(itemsize=1, per_flop=0.0)
    found = parallel.assign_greedy(program, 4, model)
    # Both inputs change; (P; B) or (B; S1) would change one.
    self.assertEqual(str(found.signatures['y']), '(S1; S0 -> P)')
    self.assertEqual(found.cost, 3 * 32 + 0.75 * 64)

  def test_searches_by_name(self):
    costs = {
      name: parallel.SEARCHES.make(name, mlp(8), 4, parallel.CostModel()).cost
      for name in parallel.SEARCHES
    }
    self.assertEqual(min(costs.values()), costs['optimal'])

  def test_a_large_table_is_split(self):
    # One gradient of the whole table is what data parallelism would send.
    program = parallel.PROGRAMS.make('wide_and_deep', 64)
    model = parallel.CostModel(training=True, replicated=False)
    found = parallel.assign_optimal(program, 8, model)
    self.assertIn('S', parallel.format_sbp(found.signatures['table'].out))
    data = parallel.assign_data_parallel(program, 8, model)
    self.assertGreater(data.cost, 100 * found.cost)

  def test_parameters_are_stored_in_pieces_where_room_costs(self):
    # Gathered where they are used, their gradients scattered: as many bytes as
    # an all-reduce of gradients.
    program = mlp(512)
    plain = parallel.assign_optimal(program, 4, COUNTED)
    dear = dataclasses.replace(COUNTED, per_byte_held=1.0)
    found = parallel.assign_optimal(program, 4, dear)
    self.assertEqual(layers(found), DATA)
    for name in ('w1', 'w2'):
      self.assertIn('S', parallel.format_sbp(found.signatures[name].out))
    self.assertEqual(found.cost, plain.cost + 2 * 32 * 64 / 4)

  def test_a_softmax_over_classes_is_split_by_classes(self):
    program = parallel.PROGRAMS.make('classifier', 16)
    model = parallel.CostModel(training=True)
    found = parallel.assign_optimal(program, 4, model)
    text = lambda name: parallel.format_sbp(found.signatures[name].out)
    self.assertEqual([text(n) for n in ('logits', 'exps')], ['S1', 'S1'])
    self.assertEqual(text('top'), 'P(max)')
    self.assertEqual(text('sums'), 'P')
    data = parallel.assign_data_parallel(program, 4, model)
    self.assertGreater(data.cost, 3 * found.cost)

  def test_nobody_adds_maxima(self):
    program = parallel.make_program(
      [
        Op('x', 'input', shape=(4, 4), sbp='S1'),
        Op('m', 'reduce_max(axis=1)', ('x',)),
        Op('y', 'scale', ('m',)),
        Op('out', 'output', ('y',), sbp='B'),
      ]
    )
    model = parallel.CostModel(per_flop=0.0, itemsize=1)
    found = parallel.assign_optimal(program, 2, model)
    self.assertEqual(str(found.signatures['m']), '(S1 -> P(max))')
    self.assertNotIn('P', str(found.signatures['y']))
    self.assertEqual(found.cost, 2 * 4)
    terms = parallel.as_sbp('P')
    wrong = found.signatures | {'y': parallel.Signature((terms,), terms)}
    self.assertEqual(parallel.total_cost(program, wrong, 2, model), math.inf)


class WeightsTest(absltest.TestCase):
  def test_without_gradients_of_values_the_crossover_is_at_twice_the_width(
    self,
  ):
    # Tensor parallelism 2 (p - 1) b k, data parallelism 4 (p - 1) k h.
    p, k, h = 4, 32, 64
    model = parallel.COST_MODELS.make('numbers(value_gradients=False)')
    for batch in (8, 127, 128, 129):
      program = parallel.PROGRAMS.make(f'mlp(({k}, {h}, {k}))', batch)
      best, second = parallel.assign_all(program, p, model, num=2)
      tensor, data = 2 * (p - 1) * batch * k, 4 * (p - 1) * k * h
      self.assertEqual(best.cost, min(tensor, data))
      if batch > 8:
        self.assertEqual(second.cost, max(tensor, data))
    counted = parallel.COST_MODELS.make('bytes(value_gradients=False)')
    self.assertFalse(counted.value_gradients)


class PlacementTest(parameterized.TestCase):
  def program(self, move):
    ops = [
      Op('x', 'input', shape=(8, 8), sbp='S0', placement='a'),
      Op('w', 'parameter', shape=(8, 8), placement='b'),
      Op('y', 'matmul', ('moved' if move else 'x', 'w')),
    ]
    if move:
      ops.append(Op('moved', 'identity', ('x',), placement='b'))
    return parallel.make_program(ops)

  def test_moves_between_devices(self):
    program = self.program(True)
    self.assertEqual(program['y'].placement, 'b')
    model = parallel.CostModel(itemsize=1, per_flop=0.0)
    found = parallel.assign_optimal(program, {'a': 2, 'b': 4}, model)
    self.assertEqual(found.cost, 64)
    # To every device of the others.
    b = parallel.as_sbp('B')
    signatures = found.signatures | {
      'moved': parallel.Signature((b,), b),
      'w': parallel.Signature((), b),
      'y': parallel.Signature((b, b), b),
    }
    got = parallel.total_cost(program, signatures, {'a': 2, 'b': 4}, model)
    self.assertEqual(got, 4 * 64)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(
      ValueError, "op 'y' has its inputs on other devices: 'x' on 'a', 'w' on"
    ):
      self.program(False)
    with self.assertRaisesRegex(ValueError, "no mesh of placement 'b'"):
      parallel.assign_optimal(self.program(True), {'a': 2})


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ([Op('x', 'input', shape=(2,)), Op('x', 'relu', ('x',))], "'x' twice"),
    ([Op('y', 'scale', ('z',))], "op 'y' takes 'z', which is no op"),
    (
      [Op('a', 'scale', ('b',)), Op('b', 'scale', ('a',))],
      'ops a, b wait for each other: a cycle',
    ),
    (
      [Op('x', 'input', shape=(2,)), Op('y', 'rlu', ('x',))],
      "op 'y': operator='rlu' is unknown",
    ),
    (
      [Op('x', 'input', shape=(2,)), Op('y', 'matmul', ('x', 'x'))],
      r"op 'y': matmul needs shapes",
    ),
    ([Op('x', 'input', shape=(0,))], "shape of 'x' must be at least 1"),
  )
  def test_programs(self, ops, message):
    with self.assertRaisesRegex(ValueError, message):
      parallel.make_program(ops)

  @parameterized.parameters(
    (['x'], 'ops must hold Op'),
    ([Op('x', 'input', shape=3)], "shape of op 'x' must be a tuple; got 3"),
    (
      [Op('xy', 'input', shape=(2,)), Op('z', 'scale', 'xy')],
      r"inputs of op 'z' must be a tuple; got .*: write \('xy',\)",
    ),
  )
  def test_programs_of_other_things(self, ops, message):
    with self.assertRaisesRegex(TypeError, message):
      parallel.make_program(ops)

  def test_signatures(self):
    program = mlp(8)
    found = parallel.assign_greedy(program, 4).signatures
    wrong = found | {'y1': found['y2']._replace(out=(parallel.Split(1),))}
    with self.assertRaisesRegex(
      ValueError, r"op 'y1' does not take \(S0; B -> S1\): its signatures are"
    ):
      parallel.total_cost(program, wrong, 4)
    del found['y1']
    with self.assertRaisesRegex(ValueError, "has none of op 'y1'"):
      parallel.total_cost(program, found, 4)
    with self.assertRaisesRegex(ValueError, "'x', of size 6, over 4 devices"):
      parallel.assign_greedy(mlp(6), 4)
    with self.assertRaisesRegex(ValueError, "op 'y1' may not be replicated"):
      parallel.assign_replicated(program, 4, COUNTED)
    with self.assertRaisesRegex(ValueError, 'choices, more than'):
      parallel.assign_all(parallel.PROGRAMS.make('transformer', 8), 4)
    for num in (0, -1):
      with self.assertRaisesRegex(ValueError, 'num must be at least 1'):
        parallel.assign_all(program, 4, num=num)
    with self.assertRaisesRegex(ValueError, 'heads must be at least 1; got 0'):
      parallel.PROGRAMS.make('transformer(heads=0)', 8)
    with self.assertRaisesRegex(ValueError, 'per_byte must lie in .0'):
      parallel.CostModel(per_byte=-1.0)
    with self.assertRaisesRegex(ValueError, 'heads=3 must divide width=64'):
      parallel.PROGRAMS.make('transformer(heads=3)', 8)

  def test_no_split_fits(self):
    program = parallel.make_program(
      [
        Op('x', 'input', shape=(3, 3), sbp='B'),
        Op('y', 'softmax', ('x',)),
      ]
    )
    with self.assertRaisesRegex(ValueError, "op 'y': no signature of softmax"):
      parallel.assign_optimal(program, 2, parallel.CostModel(replicated=False))


if __name__ == '__main__':
  absltest.main()
