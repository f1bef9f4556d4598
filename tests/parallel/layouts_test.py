# SPDX-License-Identifier: Apache-2.0
"""What layouts of a round cost: by hand, as a program, and on devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import aggregators, federated, parallel
from jaxdl.core import clients as clients_lib, types

FAST = parallel.Machine(flops=1e13, bytes=1e11, wait=1e-5)
READS = ('sum', 'order', 'gram', 'gram+order')


def layouts(n, d, reads, p, **options):
  found = parallel.round_layouts(n, d, reads, p, machine=FAST, **options)
  return {x.label: x for x in found}


class CostTest(parameterized.TestCase):
  def test_counts_what_the_table_says(self):
    # T = 4 N D = 64000 bytes of rows, 4000 of an update, p = 8.
    found = layouts(16, 1000, 'order', 8)
    total = {k: sum(x.moved.values()) for k, x in found.items()}
    self.assertEqual(
      total,
      {
        'clients': 7 * 64000,  # (p - 1) T.
        'parameters': 7 / 8 * 64000 + 7 * 4000,  # (p - 1) / p T, (p - 1) U.
        'mixed x2': 3 / 4 * 64000 + 7 * 4000,
        'mixed x4': 1 / 2 * 64000 + 7 * 4000,
        'mixed x8': 7 * 4000,
      },
    )
    mean = layouts(16, 1000, 'sum', 8)['clients']
    self.assertEqual(mean.collectives['all-reduce'], 2 * 7 * 4000)
    self.assertEqual(mean.spread, 'free')
    gram = layouts(16, 1000, 'gram', 8)['parameters']
    n2, inner = 16 * 16, 17 * 17
    numbers = 2 * n2 + 2 * inner + 2 * 16
    self.assertEqual(gram.moved['products'], 2 * 7 * 4 * numbers)

  def test_rows_and_coordinates_that_do_not_split_fill_up(self):
    shapes = [(3, 16), (10,)]  # 48 split over 8 devices, 10 do not.
    found = layouts(15, shapes, 'order', 8)
    self.assertEqual(
      found['parameters'].moved,
      {
        'read': 7 / 8 * 4 * 16 * 48 + 7 * 4 * 16 * 10,
        'products': 0,
        'update': 7 * 4 * (48 + 16),
        'metrics': 0,
      },
    )
    self.assertEqual(found['clients'].moved['read'], 7 * 4 * 16 * 58)
    # Three groups of clients fill up to 15, not to 16.
    self.assertEqual(
      layouts(15, 1200, 'order', 6)['mixed x2'].moved['read'],
      2 / 3 * 4 * 15 * 1200,
    )

  @parameterized.product(reads=READS, n=[8, 16], copies=[1, 2, 4])
  def test_costs_are_those_of_signatures_of_the_round(self, reads, n, copies):
    p, d = 8, 64
    label = 'parameters' if copies == 1 else f'mixed x{copies}'
    layout = layouts(n, d, reads, p)[label]
    groups = p // copies
    model = parallel.CostModel(per_flop=0.0)
    program = parallel.PROGRAMS.make(
      f"federated_round({d}, reads='{reads}', rows='B,S0', read='S1,S1')", n
    )
    found = parallel.assign_optimal(program, (copies, groups), model)
    # Devices add up products of a guess, of N + 1 rows, and in a branch.
    more = 0
    if reads.startswith('gram'):
      sums = 2 * (p - 1) * 4
      more = layout.moved['products'] - sums * n * n
    self.assertAlmostEqual(found.cost + more, sum(layout.moved.values()))

  @parameterized.parameters(*READS)
  def test_a_search_over_all_signatures_finds_no_cheaper_round(self, reads):
    # Work counts, so that all training on every device is no way out.
    n, d, p = 16, 256, 4
    flops = 1e6
    model = parallel.CostModel(per_flop=1.0, per_byte=1.0)
    costs = {}
    for rows, read in (('S0', 'B'), ('S0', 'S1'), ('S0', 'S0')):
      options = f"{d}, reads='{reads}', flops={flops}, rows='{rows}'"
      try:
        costs[read] = parallel.assign_optimal(
          parallel.PROGRAMS.make(
            f"federated_round({options}, read='{read}')", n
          ),
          p,
          model,
        ).cost
      except ValueError:
        continue
    free = parallel.PROGRAMS.make(
      f"federated_round({d}, reads='{reads}', flops={flops})", n
    )
    best = parallel.assign_optimal(free, p, model)
    self.assertTrue(best.exact)
    self.assertAlmostEqual(best.cost, min(costs.values()))

  def test_sums_of_fewer_clients_than_devices_go_by_coordinates(self):
    # 2 (p - 1) U of partial sums; (a - 1) / a N U + (p - 1) U else, N = a.
    for n, label in ((2, 'mixed x4'), (16, 'clients')):
      found = layouts(n, 80_000, 'sum', 8, flops_per_client=1e9)
      cheapest = min(found.values(), key=lambda x: sum(x.moved.values()))
      if n == 2:
        moved = sum(found[label].moved.values())
        self.assertEqual(moved, (1 / 2 * 2 + 7) * 320_000)
        self.assertLess(moved, sum(found['clients'].moved.values()))
      else:
        moved = sum(found['parameters'].moved.values())
        self.assertGreater(moved, sum(found['clients'].moved.values()))
      del cheapest

  def test_choice_weighs_training_against_bytes(self):
    choose = lambda n, flops: parallel.choose_layout(
      n, 10**7, 'gram', 8, flops_per_client=flops, machine=FAST
    )
    # Training that costs nothing is done by all: no row moves.
    self.assertEqual(choose(16, 0.0).label, 'mixed x8')
    self.assertEqual(choose(16, 1e13).label, 'parameters')
    # Four clients keep four devices busy, so two may train the same.
    self.assertEqual(choose(4, 1e13).label, 'mixed x2')

  def test_emulated_devices_share_their_cores(self):
    shared = FAST._replace(workers=1)
    own, one = (
      parallel.choose_layout(
        8, 1000, 'order', 8, layout='parameters', flops_per_client=1e12,
        machine=machine,
      ).seconds
      for machine in (FAST, shared)
    )  # fmt: skip
    self.assertAlmostEqual(one / own, 8, delta=0.01)
    self.assertGreaterEqual(parallel.this_machine().workers, 1)

  def test_one_device_has_one_layout(self):
    for layout in ('auto', *parallel.LAYOUTS):
      found = parallel.choose_layout(5, 10, 'gram', 1, layout=layout)
      self.assertEqual((found.num_copies, sum(found.moved.values())), (1, 0))

  @parameterized.parameters(
    ((0, 10, 'gram', 8), {}, 'num_clients must be at least 1; got 0'),
    ((4, 0, 'gram', 8), {}, 'num_parameters must be at least 1; got 0'),
    ((4, [], 'gram', 8), {}, 'num_parameters has no leaves'),
    ((4, [(3, 0)], 'gram', 8), {}, 'num_parameters must be at least 1; got 0'),
    ((4, 10, 'rows', 8), {}, "reads='rows' .*choose one of 'sum'"),
    ((4, 10, 'gram', 0), {}, 'num_devices must be at least 1; got 0'),
    (
      (4, 10, 'gram', 8),
      {'layout': 'parameter'},
      "layout='parameter' .*Did you mean 'parameters'",
    ),
    (
      (4, 10, 'gram', 8),
      {'flops_per_client': -1.0},
      'flops_per_client must lie in',
    ),
    (
      (4, 10, 'gram', 8),
      {'machine': parallel.Machine(0.0, 1.0, 1.0)},
      'machine.flops must lie in',
    ),
    (
      (4, 10, 'gram', 8),
      {'machine': parallel.Machine(1.0, 1.0, -1.0)},
      'machine.wait must lie in',
    ),
    (
      (4, 10, 'gram', 8),
      {'machine': parallel.Machine(1.0, 1.0, 1.0, 0)},
      'machine.workers must be at least 1; got 0',
    ),
  )
  def test_says_what_is_wrong(self, args, options, sentence):
    with self.assertRaisesRegex(ValueError, sentence):
      parallel.choose_layout(*args, **options)

  def test_says_what_is_of_another_kind(self):
    with self.assertRaisesRegex(TypeError, 'num_parameters must be a list of'):
      parallel.round_layouts(4, [10, 20], 'gram', 8)
    with self.assertRaisesRegex(TypeError, 'machine must be a Machine; got 3'):
      parallel.round_layouts(4, 10, 'gram', 8, machine=3)


def least_squares(shapes):
  """A task with leaves of some shapes."""

  def init(key):
    return {
      name: 0.1 * jax.random.normal(jax.random.fold_in(key, i), shape)
      for i, (name, shape) in enumerate(shapes.items())
    }

  def loss(params, batch, *, key=None):
    total = sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(params))
    return jnp.mean((batch['x'] * total - 1.0) ** 2)

  return types.Task(init, loss, lambda params, batch: {})


SHAPES = {'a': (5, 16), 'b': (10,), 'c': (24, 3), 'd': ()}


class RoundTest(parameterized.TestCase):
  """Rounds of `robust_sgd` on eight devices."""

  @parameterized.parameters(
    ('mean', 8), ('median', 9), ('krum', 9), ('nnm+trimmed_mean', 8)
  )
  def test_compiled_rounds_move_what_was_predicted(self, spec, n):
    task = least_squares(SHAPES)
    rule = aggregators.make_aggregator(spec, num_clients=n, num_byzantine=2)
    reads = aggregators.reads(spec)
    cohort = types.Cohort(
      client_ids=jnp.arange(n),
      data={'x': jnp.linspace(0.0, 1.0, 2 * n).reshape(n, 2)},
      mask=jnp.ones(n, bool),
      weights=jnp.ones(n),
    )
    # Two numbers of every client are added up: losses, and who worked.
    found = layouts(n, list(SHAPES.values()), reads, 8, num_metrics=2)
    want = None
    for label in ('clients', 'parameters', 'mixed x4'):
      layout = found[label]
      mesh = clients_lib.clients_mesh(8, num_copies=layout.num_copies)
      clients = clients_lib.Clients(n, mesh=mesh, layout=layout.spread)
      algorithm = federated.robust_sgd(
        task,
        aggregators.lay_out(rule, clients, reads=reads),
        clients,
        optimizer=optax.sgd(0.1),
        explain=False,
      )
      everywhere = jax.NamedSharding(mesh, jax.P())
      state, own = jax.device_put(
        (algorithm.init(jax.random.key(0)), cohort), everywhere
      )
      program = (
        jax.jit(
          lambda s, c, a=algorithm: a.step(s, c, key=jax.random.key(1)),
          out_shardings=everywhere,
        )
        .lower(state, own)
        .compile()
      )
      counted = parallel.collective_bytes(program)
      self.assertEqual(
        counted, {k: round(v) for k, v in layout.collectives.items()}, label
      )
      after = jax.device_get(program(state, own)[0].params)
      want = after if want is None else want
      for name, shape in SHAPES.items():
        self.assertEqual(after[name].shape, shape)
        np.testing.assert_allclose(
          after[name], want[name], rtol=1e-5, atol=1e-6
        )


if __name__ == '__main__':
  absltest.main()
