# SPDX-License-Identifier: Apache-2.0
"""Rules on coordinates of a mesh give what they give alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from contract import aggregator_cases as lib

from jaxdl import aggregators
from jaxdl.core import clients as clients_lib, exchange, view as view_lib

N, F = 7, 1
KINDS = ('mean', 'trimmed_mean', 'multi_krum', 'bulyan', 'nnm+median')


def updates(seed=0, num=N):
  """Leaves that split over eight devices at some dimension, or at none."""
  draw = np.random.default_rng(seed)
  shapes = {'a': (3, 16), 'b': (5,), 'c': (8, 2), 'd': ()}
  return {
    name: draw.normal(0.3, 1.0, (num, *shape)).astype(
      'bfloat16' if name == 'c' and seed else 'float32'
    )
    for name, shape in shapes.items()
  }


@functools.cache
def mesh(num_copies):
  return clients_lib.clients_mesh(8, num_copies=num_copies)


def spread(stacked, num_copies=1, layout='parameters'):
  """Rows as the devices make them, then where rules read them."""
  clients = clients_lib.Clients(
    len(stacked['b']), mesh=mesh(num_copies), layout=layout
  )
  run = clients.map(lambda row: (row, row['b'][0]), spread=True)
  return clients, run


class SpreadTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, 'clients', 7), (2, 'clients', 16), (1, 'parameters', 7),
    (2, 'parameters', 16), (4, 'parameters', 7), (8, 'parameters', 7),
  )  # fmt: skip
  def test_rows_arrive_as_they_were(self, num_copies, layout, num):
    stacked = updates(1, num)
    clients, run = spread(stacked, num_copies, layout)
    got, rest = jax.jit(run)(stacked)
    for name, x in stacked.items():
      np.testing.assert_array_equal(got[name], x)
      if layout == 'clients':
        self.assertTrue(got[name].sharding.is_fully_replicated)
    np.testing.assert_array_equal(rest, stacked['b'][:, 0])
    if layout == 'parameters':
      parts = {k: x.sharding.shard_shape(x.shape) for k, x in got.items()}
      self.assertEqual(parts['a'], (num, 3, 2))
      self.assertEqual(parts['c'], (num, 1, 2))
      self.assertEqual(parts['b'], (num, 5))
    del clients

  @parameterized.parameters(*zip(KINDS, (1, 4, 2, 1, 4), strict=True))
  def test_rules_give_the_same_update_and_shares(self, spec, num_copies):
    rule = aggregators.make_aggregator(spec, num_clients=N, num_byzantine=F)
    stacked = updates()
    if spec != 'mean':  # Robust rules survive what is not finite.
      stacked['a'][3, 1, 7] = np.nan
      stacked['b'][5] = np.inf
    one = jax.tree.map(lambda x: x[0], stacked)
    state = rule.init(one)
    whole = jax.jit(lambda x: (rule.apply(x, state)[0], rule.explain(x, state)))
    want, shares = whole(stacked)
    clients, run = spread(stacked, num_copies)
    laid = aggregators.lay_out(rule, clients, reads=aggregators.reads(spec))

    @jax.jit
    def program(rows):
      rows, _ = run(rows)
      return laid.apply(rows, state)[0], laid.explain(rows, state)

    got, told = program(stacked)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
      got,
      want,
    )
    np.testing.assert_allclose(told, shares, rtol=1e-5, atol=1e-6)

  @parameterized.parameters('mean', 'median')
  def test_padding_rows_move_nothing(self, spec):
    rule = aggregators.make_aggregator(spec, num_clients=N, num_byzantine=F)
    stacked = updates()
    mask = np.arange(N) != 4
    clients, run = spread(stacked)
    laid = aggregators.lay_out(rule, clients, reads=aggregators.reads(spec))

    @jax.jit
    def program(rows, mask):
      return laid.apply(run(rows)[0], (), mask=mask)[0]

    got = program(stacked, mask)
    for x in stacked.values():
      x[4] = 1e6
    again = program(stacked, mask)
    want = rule.apply(jax.tree.map(lambda x: x[mask], stacked), ())[0]
    for name in want:
      np.testing.assert_array_equal(got[name], again[name])
      np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6)

  def test_several_seeds_run_side_by_side(self):
    stacked = [updates(seed) for seed in (0, 2)]
    both = jax.tree.map(lambda *xs: np.stack(xs).astype(np.float32), *stacked)
    rule = aggregators.make_aggregator('median', num_clients=N)
    clients, run = spread(stacked[0])
    laid = aggregators.lay_out(rule, clients, reads='order')
    program = lambda rows: laid.apply(run(rows)[0], ())[0]
    got = jax.jit(jax.vmap(program))(both)
    want = jax.vmap(lambda rows: rule.apply(rows, ())[0])(both)
    for name in want:
      np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6)


class ViewTest(absltest.TestCase):
  def test_a_view_of_coordinates_knows_the_products_of_all(self):
    rng = np.random.default_rng(0)
    rows = rng.normal(2.0, 1.0, (5, 16)).astype(np.float32)
    other = rng.normal(size=16).astype(np.float32)

    mask = np.array([True, True, True, False, True])
    rows[3] = np.nan

    def numbers(rows, other):
      view = view_lib.coordinate_view(rows, 'clients', mask=jnp.asarray(mask))
      unit = jnp.asarray(view.unit)
      with_other = view.products_with(other)
      return view.products() * unit**2, with_other * unit**2, view.base

    run = jax.shard_map(
      numbers,
      mesh=mesh(1),
      in_specs=(jax.P(None, 'clients'), jax.P('clients')),
      out_specs=(jax.P(), jax.P(), jax.P(None, 'clients')),
      check_vma=False,
    )
    products, with_other, base = jax.jit(run)(rows, other)
    wide = np.where(mask[:, None], rows, 0.0)
    np.testing.assert_allclose(products, wide @ wide.T, rtol=1e-5)
    np.testing.assert_allclose(with_other, wide @ other, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(base, rows)

  def test_short_rows_beside_a_long_center_keep_their_products(self):
    # Products are read once more, around zero, in a branch.
    rows = np.full((5, 16), 1e3, np.float32)
    rows[0] = np.linspace(0.01, 0.02, 16)

    def first(rows):
      view = view_lib.coordinate_view(rows, 'clients')
      return view.products()[0, 0] * jnp.asarray(view.unit) ** 2

    run = jax.shard_map(
      first,
      mesh=mesh(1),
      in_specs=jax.P(None, 'clients'),
      out_specs=jax.P(),
      check_vma=False,
    )
    want = (rows[0].astype(np.float64) ** 2).sum()
    np.testing.assert_allclose(jax.jit(run)(rows), want, rtol=1e-5)


class ReadsTest(parameterized.TestCase):
  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_every_rule_is_known(self, case):
    found = aggregators.reads(case.spec)
    family = aggregators.RULES[case.rule].facts.family
    if family == 'stateful' or case.rule in ('dnc', 'signguard'):
      self.assertEqual(found, 'rows')
    elif family == 'coordinate':
      self.assertEqual(found, 'gram+order' if case.pre else 'order')
    elif case.rule != 'bulyan':
      self.assertEqual(found, 'sum' if case.rule == 'mean' else 'gram')

  def test_says_what_cannot_be(self):
    rule = aggregators.make_aggregator('foolsgold', num_clients=8)
    clients = clients_lib.Clients(8, mesh=mesh(1), layout='parameters')
    with self.assertRaisesRegex(ValueError, 'memory or looks at whole rows'):
      aggregators.lay_out(rule, clients, reads='rows')
    with self.assertRaisesRegex(ValueError, "reads='all' is unknown"):
      aggregators.lay_out(rule, clients, reads='all')
    with self.assertRaisesRegex(ValueError, 'layout=clients .* mesh is None'):
      clients_lib.Clients(8, layout='clients')
    with self.assertRaisesRegex(ValueError, "layout='rows' is unknown"):
      clients_lib.Clients(8, mesh=mesh(1), layout='rows')
    with self.assertRaisesRegex(ValueError, 'layout=clients has no effect'):
      clients.replace(reduction='gathered', layout='clients')
    with self.assertRaisesRegex(ValueError, 'num_copies=3 must divide the 8'):
      clients_lib.clients_mesh(8, num_copies=3)
    self.assertEqual(exchange.split_axis((), 8), None)


if __name__ == '__main__':
  absltest.main()
