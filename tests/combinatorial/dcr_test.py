# SPDX-License-Identifier: Apache-2.0
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import combinatorial
from jaxdl.combinatorial import _dcr
from jaxdl.core import types

TSP = combinatorial.make_problem('tsp')
POLICIES = combinatorial.make_policies(
  TSP,
  divider='agnn(width=4, depth=1)',
  conqueror='icam(width=4, depth=1, hidden=4)',
)
SMALL = {'size': 4, 'num_samples': 3, 'num_rollouts': 4}
INSTANCES = jax.vmap(lambda key: TSP.generate(key, 8))(
  jax.random.split(jax.random.key(0), 4)
)
KEY = jax.random.key(7)


def cohort(mask=(True, True), instances=INSTANCES):
  n = len(mask)
  data = jax.tree.map(lambda x: x.reshape(n, -1, *x.shape[1:]), instances)
  return types.Cohort(
    client_ids=jnp.arange(n),
    data=data,
    mask=jnp.array(mask),
    weights=jnp.full((n,), 1.0 / n),
  )


@functools.cache
def trained(optimizer='adam', **options):
  """The algorithm, its start, its step, and what a step makes of it."""
  episode = combinatorial.make_episode(TSP, POLICIES, **(SMALL | options))
  algorithm = combinatorial.dcr(
    episode, optimizer=getattr(optax, optimizer)(0.01)
  )
  state = algorithm.init(jax.random.key(1))
  step = jax.jit(algorithm.step)
  return episode, state, step, step(state, cohort(), key=KEY)


def moved(a, b):
  gaps = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), a, b)
  return max(jax.tree.leaves(gaps))


@functools.cache
def surrogate():
  """The loss and its gradient at the start, of points and a mask."""
  episode, state, *_ = trained('sgd', num_stages=1)

  @jax.jit
  def run(points, mask):
    batch = {'points': points, 'mask': mask}
    loss = lambda p: combinatorial.surrogate(episode, p, batch, key=KEY)
    return jax.value_and_grad(loss)(state.params)

  return run


class DcrTest(parameterized.TestCase):
  def test_both_policies_learn_and_it_says_what_came_of_it(self):
    _, state, _, (after, metrics) = trained()
    for name in ('divider', 'conqueror'):
      self.assertGreater(
        moved(state.params[name], after.params[name]), 1e-3, name
      )
    self.assertLess(metrics['conquered'], metrics['divided'])
    self.assertEqual(
      set(metrics),
      {'divided', 'conquered', 'gain', 'conqueror_loss', 'divider_loss'},
    )
    # Two updates after two stages.
    self.assertEqual(int(after.conqueror[0].count), 2)
    self.assertEqual(int(after.divider[0].count), 1)
    # Two pieces and two stages share what the tour gets shorter by.
    np.testing.assert_allclose(
      metrics['divided'] - metrics['conquered'], 4 * metrics['gain'], rtol=1e-4
    )

  def test_the_conqueror_alone_learns(self):
    _, state, _, (after, metrics) = trained(learn='conqueror')
    self.assertEqual(moved(state.params['divider'], after.params['divider']), 0)
    self.assertGreater(
      moved(state.params['conqueror'], after.params['conqueror']), 0
    )
    self.assertNotIn('divider_loss', metrics)

  def test_separate_training_pays_for_the_division_alone(self):
    _, state, _, (joint, _) = trained('sgd', num_stages=1)
    _, _, _, (separate, _) = trained(
      'sgd', num_stages=1, joint=False, learn='divider'
    )
    name = 'divider'
    self.assertGreater(moved(joint.params[name], separate.params[name]), 0)
    self.assertGreater(moved(state.params[name], separate.params[name]), 0)
    name = 'conqueror'
    self.assertEqual(moved(state.params[name], separate.params[name]), 0)

  def test_updates_are_those_of_the_loss(self):
    _, state, _, (after, _) = trained('sgd', num_stages=1)
    _, grads = surrogate()(INSTANCES['points'], jnp.ones(4, bool))
    want = jax.tree.map(lambda p, g: p - 0.01 * g, state.params, grads)
    self.assertLess(moved(after.params, want), 1e-6)
    self.assertGreater(moved(state.params, want), 1e-5)

  def test_examples_out_of_the_mask_have_no_effect(self):
    mask, points = jnp.array([True, True, False, False]), INSTANCES['points']
    one = surrogate()(points, mask)
    two = surrogate()(points.at[2:].set(0.5), mask)
    self.assertEqual(moved(one, two), 0)

  def test_clients_out_of_the_mask_have_no_effect(self):
    _, state, step, _ = trained()
    other = INSTANCES['points'].at[2:].set(0.5)
    one, two = (
      step(state, cohort((True, False), {'points': points}), key=KEY)
      for points in (INSTANCES['points'], other)
    )
    self.assertEqual(moved(one[0].params, two[0].params), 0)
    np.testing.assert_allclose(one[1]['conquered'], two[1]['conquered'])

  def test_running_statistics_are_recorded(self):
    policies = combinatorial.make_policies(
      TSP,
      divider='agnn(width=4, depth=1, norm=running)',
      conqueror='icam(width=4, depth=1, hidden=4)',
    )
    episode = combinatorial.make_episode(TSP, policies, **SMALL)
    graphs = jax.vmap(lambda i: TSP.divide.neighbors(i, 8))(INSTANCES)
    first = jax.tree.map(lambda x: x[0], graphs)
    before = policies.divider.init(jax.random.key(0), first)

    @jax.jit
    def record(params, graphs):
      embedding = jax.vmap(
        lambda graph: policies.divider.embed(params, graph, train=True)
      )(graphs)
      return _dcr._recorded(episode, params, embedding)

    now = record(before, graphs)
    rest = lambda tree: {k: v for k, v in tree.items() if k != 'params'}
    self.assertEqual(moved(before['params'], now['params']), 0)
    self.assertGreater(moved(rest(before), rest(now)), 0)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'num_samples': 1}, 'num_samples=1 leaves the divider no baseline'),
    ({'num_rollouts': 5}, 'num_rollouts=5 must be even'),
    ({'size': 2}, 'size must'),
    ({'num_stages': 0}, 'num_stages must'),
    ({'learn': 'all'}, "learn='all' is unknown: choose one of 'both'"),
    ({'every': 0}, 'every must'),
  )
  def test_refuses(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      combinatorial.make_episode(TSP, POLICIES, **(SMALL | options))

  def test_one_rollout_is_no_baseline(self):
    atsp = combinatorial.make_problem('atsp')
    with self.assertRaisesRegex(ValueError, 'the conqueror no baseline'):
      combinatorial.make_episode(atsp, POLICIES, num_rollouts=1)

  def test_wants_an_optimizer(self):
    episode = combinatorial.make_episode(TSP, POLICIES, **SMALL)
    with self.assertRaisesRegex(TypeError, 'optimizer'):
      combinatorial.dcr(episode, optimizer=0.1)


if __name__ == '__main__':
  absltest.main()
