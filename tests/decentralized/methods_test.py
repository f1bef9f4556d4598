# SPDX-License-Identifier: Apache-2.0
"""Methods by spec: sampled nodes, one byte, unrelated starts."""

import types as python_types

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import networks, problems
from jaxdl.core import clients as clients_lib, types
from jaxdl.decentralized import merging, one_byte, sampling

TASK = types.Task(
  lambda key: {'x': jnp.zeros(2)},
  lambda params, batch, *, key=None: jnp.sum((params['x'] - batch) ** 2),
  lambda params, batch: {},
)


class SamplingTest(parameterized.TestCase):
  def test_churn(self):
    members, changes = sampling.CHURNS.make(
      'join(fraction=0.3, at=4)', 10, np.random.default_rng([3, 2])
    )
    want = sorted(np.random.default_rng([3, 2]).permutation(10)[:3].tolist())
    self.assertEqual(np.flatnonzero(~members).tolist(), want)
    (change,) = changes
    self.assertEqual((change.round, change.kind), (4, 'join'))
    self.assertEqual(list(change.nodes), want)
    for kind in ('crash', 'leave'):
      members, (change,) = sampling.CHURNS.make(
        kind, 10, np.random.default_rng(0)
      )
      self.assertTrue(members.all())
      self.assertEqual((change.kind, len(change.nodes)), (kind, 8))
    self.assertEqual(sampling.make_scene('drawn', 'none', 4, 0).churn, ())

  def test_worlds_depend_on_the_seed_alone(self):
    one, again, other = (
      sampling.make_scene('drawn(latency_s=0.2)', 'none', 6, s).world
      for s in (1, 1, 2)
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(again), strict=True):
      np.testing.assert_array_equal(a, b)
    self.assertTrue(
      any(
        np.any(np.asarray(a) != np.asarray(b))
        for a, b in zip(
          jax.tree.leaves(one), jax.tree.leaves(other), strict=True
        )
      )
    )

  def test_work(self):
    make = sampling.WORK.make
    self.assertEqual(make('steps'), {'num_steps': 5, 'num_epochs': None})
    self.assertEqual(make('epochs(2)'), {'num_steps': None, 'num_epochs': 2})
    with self.assertRaisesRegex(ValueError, 'num must be at least 1'):
      make('epochs(0)')

  def test_watched_nodes_are_spread_over_those_that_are_there(self):
    online = np.array([True, False, True, True, False, True])
    models = {'x': np.arange(6.0)[:, None] * np.ones((6, 2))}
    whole = types.Algorithm(None, None, lambda state: state['models'], True)
    seen = sampling.watched(whole, 3).params(
      {'models': models, 'online': online}
    )
    # Places 0, 1.5 and 3 among nodes 0, 2, 3, 5; half goes to the even one.
    np.testing.assert_array_equal(seen['nodes']['x'][:, 0], [0, 3, 5])
    np.testing.assert_array_equal(seen['mean']['x'], [2.5, 2.5])

  def test_traffic_of_a_node(self):
    state = {
      'sent_bytes': np.array([[1e6, 0, 2e6], [0, 3e6, 0]]),
      'received_bytes': np.array([[0, 1e6, 1e6], [4e6, 0, 0]]),
    }
    rows = sampling.traffic_rows(state, 3, (0, 50, 100))
    self.assertEqual([r['sent_megabytes'] for r in rows], [1, 2, 3])
    self.assertEqual([r['received_megabytes'] for r in rows], [1, 1, 4])

  @parameterized.parameters('crash(fraction=1.0)', 'leave(fraction=0.99)')
  def test_somebody_stays(self, churn):
    with self.assertRaisesRegex(ValueError, 'leaves nobody'):
      sampling.make_scene('drawn', churn, 4, 0)


class OneByteTest(parameterized.TestCase):
  def test_bytes_that_reach_a_machine(self):
    shapes = {'x': np.zeros((3, 5)), 'y': np.zeros(2)}
    here = np.array([4, 4, 2])
    sent = lambda spec: one_byte.traffic(spec, shapes, here, 3).tolist()
    self.assertEqual(sent('one_byte'), [0, 12, 24, 30])
    # Nine bits travel, two, and thirty-two.
    for codec, bits in (('log9', 9), ('sign(scale=2)', 2), ('float32', 32)):
      spec = f'one_byte(codec={codec})'
      self.assertEqual(sent(spec)[-1], (4 + 4 + 2) * 3 * bits / 8)
    self.assertEqual(sent('sgd'), [0, 68, 136, 204])
    self.assertEqual(sent('single(codec=log9)'), [0, 0, 0, 0])

  def test_who_takes_part(self):
    problem = problems.quadratics(num_clients=3)
    joins, leaves = one_byte.membership(3, (2,), (4,))
    moving = one_byte.with_members(problem, joins, leaves)
    data = jax.tree.map(lambda x: x[0], problem.data)
    seen = [
      moving.cohort(jax.random.key(0), data, t).mask.tolist()
      for t in range(1, 6)
    ]
    want = [[t <= 4, True, t > 2] for t in range(1, 6)]
    self.assertEqual(seen, want)

  def test_gradients_are_averaged_over_who_is_there(self):
    algorithm = one_byte.METHODS.make(
      'sgd(learning_rate=0.25)',
      TASK,
      clients_lib.Clients(3),
      optimizer=None,
      num_samples=2,
      eps=0.1,
    )
    batches = np.random.default_rng(0).normal(size=(3, 2, 2))
    cohort = types.Cohort(
      client_ids=jnp.arange(3),
      data=jnp.asarray(batches, jnp.float32),
      mask=jnp.array([True, False, True]),
      weights=jnp.ones(3),
    )
    state = algorithm.init(jax.random.key(0))
    state, metrics = algorithm.step(state, cohort, key=jax.random.key(1))
    want = 0.25 * 2 * batches[[0, 2]].mean(axis=(0, 1))
    np.testing.assert_allclose(algorithm.params(state)['x'], want, rtol=1e-5)
    split = one_byte.report(jax.tree.map(lambda x: x[None], metrics))['train']
    np.testing.assert_allclose(
      split['loss'], (batches[[0, 2]] ** 2).sum(axis=2).mean(), rtol=1e-5
    )
    self.assertEqual(split['machines'], 2)

  @parameterized.parameters(
    ('one_byte(codec=byte)', "codec='byte' is unknown"),
    ('single(aggregate=sum)', 'aggregate'),
    ('sgd(codec=sign)', "has no option 'codec'"),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      one_byte.check_method(spec)


class MergingTest(parameterized.TestCase):
  def test_weights_of_a_tick(self):
    graph = np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]], bool)
    got = merging.gossip_matrix(graph, 0.4)
    want = [[0.4, 0.3, 0.3], [0.6, 0.4, 0], [0.6, 0, 0.4]]
    np.testing.assert_allclose(got, want)
    np.testing.assert_array_equal(
      merging.gossip_matrix(np.zeros((2, 2), bool), 0.4), np.eye(2)
    )

  def test_turns(self):
    make = merging.TURNS.make
    self.assertTrue(make('turns').synchronous)
    for spec in ('high=2', 'send_every=2', 'buffer_size=1'):
      self.assertFalse(make(f'turns({spec})').synchronous, spec)
    self.assertEqual(make('turns(8, 12)'), (8, 12, 1, None))

  def test_every_method_is_made_and_starts_as_it_says(self):
    network = networks.make_network('mlp(3)', (4,), 2)
    task = networks.classification(
      network, jax.ShapeDtypeStruct((1, 4), jnp.float32), num_classes=2
    )
    graph = ~np.eye(4, dtype=bool)
    for name in merging.METHODS:
      algorithm = merging.METHODS.make(
        name,
        task,
        graph,
        clients_lib.Clients(4),
        optimizer=optax.sgd(0.1),
        self_weight=0.5,
        turns=merging.TURNS.make('turns'),
        kernel_init='fan_in',
      )
      models = algorithm.params(algorithm.init(jax.random.key(0)))
      kernel = next(x for x in jax.tree.leaves(models) if x.ndim == 3)
      same = bool(jnp.all(kernel == kernel[:1]))
      self.assertEqual(same, name in ('federated', 'common_start'), name)

  def test_fading(self):
    kernels = np.random.default_rng(0).normal(size=(1, 3, 5, 7))
    params = {'a': {'kernel': jnp.asarray(kernels, jnp.float32)}}
    task = python_types.SimpleNamespace(
      init=lambda key: {'a': {'kernel': jnp.zeros((5, 7))}}
    )
    graph = ~np.eye(3, dtype=bool)
    fading = merging.Fading(task, 'fan_in', graph, 0.5)
    (row,) = fading.layers(params, (6,))
    want = kernels.var(axis=(2, 3)).mean() / (1 / 5)
    np.testing.assert_allclose(row['ratio'], want, rtol=1e-5)
    self.assertEqual((row['layer'], row['seed']), ('a', 6))
    np.testing.assert_allclose(fading.measure(params)['ratio'], want, rtol=1e-5)
    # W is 1/2 on the diagonal and 1/4 elsewhere: sums of squares of W and W².
    square = [0.25 + 2 / 16, 0.375**2 + 2 * 0.3125**2]
    np.testing.assert_allclose(fading.theory(2), [1, *square], rtol=1e-6)
    with self.assertRaisesRegex(ValueError, 'starts without a variance'):
      merging.Fading(task, 'zeros', graph, 0.5)


if __name__ == '__main__':
  absltest.main()
