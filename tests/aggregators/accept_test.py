# SPDX-License-Identifier: Apache-2.0
"""Rules of one's own: as servers, in chains, and what is said of others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import aggregators as reference

from jaxdl import aggregators
from jaxdl.core import clients, types, view as view_lib

N, F = 8, 2
NNM = functools.partial(aggregators.nnm, num_byzantine=F)
ROWS = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
ROWS[-F:] += 40.0


def my_median(updates):
  return jax.tree.map(lambda x: jnp.median(x, axis=0), updates)


def my_mean(updates, *, mask, axis_name=None):
  share = mask.astype(jnp.float32)
  total, count = share @ updates, jnp.sum(share)
  if axis_name is not None:
    total, count = jax.lax.psum((total, count), axis_name)
  return total / count


def my_half(updates):
  return jax.tree.map(lambda x: 0.5 * x, updates)


def my_krum(updates, *, num_byzantine):
  return aggregators.krum(updates, num_byzantine=num_byzantine)


def my_factory(*, scale):
  return lambda updates: scale * updates


class ChainTest(parameterized.TestCase):
  def test_a_rule_of_stacked_trees_at_the_end(self):
    tree = {'a': ROWS[:, :2].reshape(N, 1, 2), 'b': ROWS[:, 2:]}
    got = jax.jit(aggregators.chain(NNM, my_median))(tree)
    want = np.median(reference.nnm(ROWS, F), axis=0)
    np.testing.assert_allclose(got['a'][0], want[:2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got['b'], want[2:], rtol=1e-5, atol=1e-6)

  def test_in_the_middle_and_at_the_start(self):
    krum = functools.partial(aggregators.krum, num_byzantine=F)
    chains = [(NNM, my_half, krum), (my_half, NNM, krum)]
    run = jax.jit(lambda x: [aggregators.chain(*c)(x) for c in chains])
    want = reference.krum(0.5 * reference.nnm(ROWS, F), F)
    for got in run(ROWS):
      np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)

  def test_a_mixture_with_a_broken_client_is_an_extreme(self):
    rows = ROWS.copy()
    rows[-F:] = [[np.nan], [np.inf]]
    got = jax.jit(aggregators.chain(NNM, my_median))(rows)
    # Every good client's six nearest are the six good ones.
    np.testing.assert_allclose(got, ROWS[:-F].mean(axis=0), rtol=1e-5)

  def test_mask_goes_on(self):
    mask = np.arange(N) < N - F
    padded = np.where(mask[:, None], ROWS, np.nan).astype(np.float32)
    nnm = functools.partial(aggregators.nnm, num_byzantine=1)
    with self.assertRaisesRegex(ValueError, 'my_median takes no mask'):
      aggregators.chain(nnm, my_median)(padded, mask=mask)
    half = lambda x, *, mask: jnp.where(mask[:, None], 0.5 * x, jnp.nan)
    run = jax.jit(aggregators.chain(nnm, half, nnm, my_mean))
    mixed = reference.nnm(0.5 * reference.nnm(ROWS[mask], 1), 1)
    np.testing.assert_allclose(
      run(padded, mask=mask), mixed.mean(axis=0), rtol=1e-5, atol=1e-6
    )

  def test_on_clients_over_devices(self):
    # Alone a rule sees its device's share if it takes axis_name, and else all.
    stages = [(my_mean,), (my_median,), (NNM, my_median), (NNM, my_mean)]
    mask = np.ones(N, bool)

    def step(x, m):
      none = {'axis_name': 'clients'}
      some = {'mask': m, **none}
      out = [
        aggregators.chain(*s)(x, **(some if my_mean in s else none))
        for s in stages
      ]
      return [y[None] for y in out]

    run = jax.shard_map(
      step,
      mesh=clients.clients_mesh(4),
      in_specs=jax.P('clients'),
      out_specs=jax.P('clients'),
      check_vma=False,
    )
    mixed = reference.nnm(ROWS, F)
    want = [ROWS.mean(0), np.median(ROWS, axis=0)]
    want += [np.median(mixed, axis=0), mixed.mean(0)]
    for got, right in zip(jax.jit(run)(ROWS, mask), want, strict=True):
      for row in np.asarray(got):
        np.testing.assert_allclose(row, right, rtol=1e-5, atol=1e-5)

  def test_who_says_so_sees_the_view(self):
    def mine(seen):
      self.assertIsInstance(seen, view_lib.View)
      return seen.combine(jnp.full(seen.size, 1.0 / seen.size))

    mine.knows_views = True
    got = aggregators.chain(mine)(ROWS)
    np.testing.assert_allclose(got, ROWS.mean(axis=0), rtol=1e-5)

  @parameterized.parameters(
    (aggregators.krum, r'stages\[0\]=krum needs num_byzantine: bind with '),
    ('krum', "stages.0. must be a function; got the text 'krum'"),
    (aggregators.as_aggregator(my_median), 'got an Aggregator, which has mem'),
    (my_factory, r'stages\[0\]=my_factory takes no updates: it makes a rule'),
    (3, r'stages\[0\] must be a function of the updates; got 3'),
  )
  def test_says_what_to_pass(self, stage, message):
    with self.assertRaisesRegex(TypeError, message):
      aggregators.chain(stage, my_median)


class ServerTest(parameterized.TestCase):
  def test_plain_rules_become_servers_that_explain(self):
    rule = functools.partial(aggregators.multi_krum, num_byzantine=F)
    server = aggregators.as_aggregator(rule)
    self.assertIs(aggregators.as_aggregator(server), server)
    run = jax.jit(lambda x: (server.apply(x, ())[0], server.explain(x, ())))
    update, weights = run(ROWS)
    np.testing.assert_allclose(update, weights @ ROWS, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(weights[-F:], 0.0)
    mine = aggregators.as_aggregator(my_median)
    self.assertIsNone(mine.explain)
    np.testing.assert_array_equal(
      mine.apply(ROWS, ())[0], np.median(ROWS, axis=0)
    )

  def test_memory_around_a_plain_rule(self):
    server = aggregators.server_momentum(my_median, decay=0.5)
    update, _ = server.apply(ROWS, server.init(ROWS[0]))
    np.testing.assert_allclose(update, 0.5 * np.median(ROWS, axis=0))

  @parameterized.parameters(
    (
      aggregators.krum,
      'rule=krum needs num_byzantine: bind with functools.par',
    ),
    (
      'krum',
      r"the text 'krum': call aggregators.make_aggregator\('krum', num_",
    ),
    (aggregators.nnm, r'nnm keeps one vector per client: .*\.chain\(nnm, rule'),
    (aggregators.centered_clipping_aggregator, 'makes a rule: call it'),
    (aggregators.chain, 'rule=chain makes a rule: call it'),
    (aggregators.server_momentum, 'server_momentum makes a rule: call it'),
    (types.Attack(my_median, my_median), 'updates; got an Attack'),
    (np.ones((2, 3)), r'got an array of shape \(2, 3\)'),
    (None, 'rule must be a function of the updates; got None'),
    (types.Aggregator, 'got the class Aggregator'),
  )
  def test_says_what_to_pass(self, rule, message):
    with self.assertRaisesRegex(TypeError, message):
      aggregators.as_aggregator(rule, name='rule')

  def test_a_client_axis_forgotten_in_pmap(self):
    server = aggregators.make_aggregator('mean', num_clients=8)
    rows = np.ones((8, 3), np.float32)
    run = lambda f: jax.pmap(f, axis_name='i')(rows)
    apply = lambda x: server.apply(x, (), axis_name='i')[0]
    with self.assertRaisesRegex(
      ValueError, r'24 clients on 8 devices \(a leaf of shape \(3,\) on each'
    ):
      run(apply)
    tree = {'b': rows[:, :2], 'w': rows}
    message = r"\['w'\] has 3 clients but .*\['b'\] has 2 \(shapes \(3,\) and "
    with self.assertRaisesRegex(ValueError, message + r'.*x\[None\]'):
      jax.pmap(lambda x: aggregators.mean(x, axis_name='i'), axis_name='i')(
        tree
      )


if __name__ == '__main__':
  absltest.main()
