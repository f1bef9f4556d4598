# SPDX-License-Identifier: Apache-2.0
"""Agents on a network: what is sent, by whom, and what comes of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import agents, mixing
from jaxdl.agents import networked

N = 5


def rows(seed=0):
  rng = np.random.default_rng(seed)
  return {
    'a': jnp.asarray(rng.normal(size=(N, 3)), jnp.float32),
    'b': jnp.asarray(rng.normal(size=(N, 2, 2)), jnp.float32),
  }


def exchanged(link, stacked, key=0):
  return link.apply(stacked, link.init(stacked), key=jax.random.key(key))


class LinksTest(parameterized.TestCase):
  def test_gossip_is_the_matrix(self):
    link = networked.make_link('ring(weights=lazy_metropolis)', N)
    out, state = exchanged(link, rows())
    w = np.asarray(
      mixing.make_mixer('ring(weights=lazy_metropolis)', N).matrix(0)
    )
    for name, x in rows().items():
      want = np.tensordot(w, np.asarray(x), axes=1)
      np.testing.assert_allclose(out[name], want, atol=1e-6)
    self.assertEqual(int(state.sent), 2 * N)

  def test_adversaries_send_what_the_attack_says_and_keep_their_own(self):
    link = networked.make_link(
      'complete', N, attack='sign_flip(scale=2.0)', num_byzantine=2
    )
    out, state = exchanged(link, rows())
    for name, x in rows().items():
      x = np.asarray(x)
      sent = np.concatenate([x[:3], np.repeat(-2 * x[:3].mean(0)[None], 2, 0)])
      mean = np.repeat(sent.mean(0)[None], 3, 0)
      np.testing.assert_allclose(out[name][:3], mean, atol=1e-5)
      np.testing.assert_array_equal(out[name][3:], x[3:])
    self.assertEqual(int(state.sent), N * (N - 1))

  @parameterized.parameters('complete', 'ring')
  def test_medians_of_neighborhoods(self, topology):
    link = networked.make_link(
      topology, N, rule='median', attack='inf', num_byzantine=1
    )
    out, _ = exchanged(link, rows())
    graph = mixing.make_graph(topology, N)
    x = np.asarray(rows()['a'])
    x = np.concatenate([x[:4], np.full((1, 3), np.inf)])
    for i in range(4):
      held = x[[i, *np.flatnonzero(graph[i])]]
      np.testing.assert_allclose(out['a'][i], np.median(held, 0), atol=1e-6)

  def test_uneven_neighborhoods_and_rules_with_memory(self):
    link = networked.make_link('star', N, rule='median')
    out, _ = exchanged(link, rows())
    x = np.asarray(rows()['a'])
    np.testing.assert_allclose(out['a'][0], np.median(x, 0), atol=1e-6)
    np.testing.assert_allclose(out['a'][2], x[[0, 2]].mean(0), atol=1e-6)
    link = networked.make_link(
      'complete', N, rule='centered_clipping', num_byzantine=1
    )
    out, state = exchanged(link, rows())
    out, state = link.apply(out, state, key=jax.random.key(1))
    self.assertEqual(int(state.round), 2)
    self.assertTrue(bool(jnp.isfinite(out['a']).all()))

  def test_attacks_that_search_see_the_damage(self):
    link = networked.make_link(
      'complete', N, rule='trimmed_mean', attack='optimized_alie',
      num_byzantine=1,
    )  # fmt: skip
    out, _ = exchanged(link, rows())
    self.assertTrue(bool(jnp.isfinite(out['a']).all()))

  def test_random_topologies(self):
    link = networked.make_link('random_matching', 4)
    x = jnp.arange(4.0)[:, None]
    out, state = exchanged(link, x)
    self.assertEqual(int(state.sent), 4)
    self.assertAlmostEqual(float(out.sum()), 6.0, places=5)

  @parameterized.parameters(
    (dict(topology='rings'), "topology='rings'"),
    (dict(topology='ring(weights=send)'), 'push-sum'),
    (dict(topology='complete', num_byzantine=5), 'num_byzantine must'),
    (
      dict(topology='ring', rule='krum', num_byzantine=2),
      'receives of 2 others on ring',
    ),
    (
      dict(
        topology='ring', attack='label_flip(num_classes=3)', num_byzantine=1
      ),
      'poisons data',
    ),
    (dict(topology='ring', rule='mediam'), "'mediam'"),
    (dict(topology='erdos_renyi', seed=-1), 'seed must be at least 0'),
  )
  def test_says_what_is_wrong(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      networked.make_link(num_agents=N, **options)


class OptimizersTest(parameterized.TestCase):
  def test_every_agent_is_clipped_by_its_own_norm(self):
    made = networked.per_agent(
      optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1)), N
    )
    params, grads = rows(), rows(1)
    state = made.init(params)
    got = None
    for _ in range(2):
      got, state = made.update(grads, state, params)
    alone = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1))
    for i in range(N):
      own = jax.tree.map(lambda x, i=i: x[i], (params, grads))
      memory = alone.init(own[0])
      for _ in range(2):
        scaled = jax.tree.map(lambda g: N * g, own[1])
        want, memory = alone.update(scaled, memory, own[0])
      for name in want:
        np.testing.assert_allclose(got[name][i], want[name], atol=1e-6)

  def test_gradients_are_exchanged_before_the_optimizer(self):
    link = networked.make_link('complete', N)
    made = optax.chain(networked.exchanged_gradients(link), optax.sgd(1.0))
    grads = rows()
    updates, state = made.update(grads, made.init(grads), grads)
    want = -np.asarray(grads['a']).mean(0)
    for i in range(N):
      np.testing.assert_allclose(updates['a'][i], want, atol=1e-6)
    self.assertEqual(int(state[0].link.sent), N * (N - 1))


@functools.cache
def game(n=3):
  return agents.make_game(f'simple_spread(num_agents={n}, max_steps=4)')


def learner_of(spec, n=3):
  return agents.make_learner(spec, game(n), num_updates=4)


SMALL = (
  'ippo(num_envs=2, num_steps=4, num_epochs=1, num_minibatches=1, '
  'hidden_sizes=(4,))'
)


@functools.cache
def stepped(spec):
  learner = learner_of(spec)
  state = jax.jit(learner.algorithm.init)(jax.random.key(0))
  step = jax.jit(learner.algorithm.step)
  return learner, *step(state, None, key=jax.random.key(1))


class LearnersTest(parameterized.TestCase):
  def test_complete_gossip_is_consensus_and_isolation_is_none(self):
    learner, state, found = stepped(f'{SMALL}@complete')
    params = learner.algorithm.params(state)
    for leaf in jax.tree.leaves(params):
      gap = np.abs(np.asarray(leaf) - np.asarray(leaf)[:1]).max()
      self.assertLess(gap, 1e-6)
    size = sum(x.size * 4 // 3 for x in jax.tree.leaves(params))
    self.assertEqual(float(found['messages']), 6.0)
    self.assertEqual(float(found['bytes']), 6.0 * size)
    alone = f'networked(learner={SMALL}, exchange=none)@complete'
    _, state, found = stepped(alone)
    self.assertEqual(float(found['messages']), 0.0)
    self.assertGreater(float(found['consensus']), 1e-9)

  def test_only_actors_are_sent(self):
    spec = f'networked(learner={SMALL}, parts=actor)@complete'
    learner, state, found = stepped(spec)
    params = learner.algorithm.params(state)
    gap = lambda tree: max(
      float(jnp.abs(x - x[:1]).max()) for x in jax.tree.leaves(tree)
    )
    self.assertLess(gap(params['actor']), 1e-6)
    self.assertGreater(gap(params['critic']), 1e-6)
    actor = params['actor'], params['actor_head']
    size = sum(x.size * 4 // 3 for x in jax.tree.leaves(actor))
    self.assertEqual(float(found['bytes']), 6.0 * size)

  def test_gradients_over_a_complete_graph_keep_agents_equal(self):
    spec = f'networked(learner={SMALL}, exchange=gradients)@complete'
    learner, state, found = stepped(spec)
    for leaf in jax.tree.leaves(learner.algorithm.params(state)):
      self.assertLess(float(jnp.abs(leaf - leaf[:1]).max()), 1e-6)
    self.assertEqual(float(found['messages']), 6.0)

  def test_talks_now_and_then(self):
    spec = f'networked(learner={SMALL}, every=2)@ring'
    learner = learner_of(spec)
    state = learner.algorithm.init(jax.random.key(0))
    step, sent = jax.jit(learner.algorithm.step), []
    for i in range(4):
      state, found = step(state, None, key=jax.random.key(i))
      sent.append(float(found['messages']))
    self.assertEqual(sent, [0.0, 6.0, 0.0, 6.0])

  def test_means_do_not_survive_and_medians_do(self):
    attack = 'attack="inf", num_byzantine=1'
    link = networked.make_link('complete', N, attack='inf', num_byzantine=1)
    spoiled, _ = exchanged(link, rows())
    self.assertFalse(bool(jnp.isfinite(spoiled['a'][:4]).all()))
    spec = f'networked(learner={SMALL}, rule=median, {attack})@complete'
    right, state, found = stepped(spec)
    params = right.algorithm.params(state)
    self.assertTrue(
      all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(params))
    )
    self.assertEqual(right.num_honest, 2)
    last = state.learner.playing.running
    want = np.asarray(last.last.total)[:, :2].mean()
    self.assertAlmostEqual(float(found['honest_return']), float(want), places=4)

  def test_other_learners_gossip_as_well(self):
    for spec in (
      'iql(num_envs=2, num_steps=4, capacity=4, batch_size=2, '
      'learning_starts=8, hidden_sizes=(4,), width=4)@complete',
      'maddpg(num_envs=2, num_steps=2, capacity=8, batch_size=4, '
      'learning_starts=4, hidden_sizes=(4,), num_batches=1)@complete',
    ):
      learner, state, _ = stepped(spec)
      for leaf in jax.tree.leaves(learner.algorithm.params(state)):
        self.assertLess(float(jnp.abs(leaf - leaf[:1]).max()), 1e-6)

  def test_one_agent_on_a_network_is_one_alone(self):
    alone, network = learner_of(SMALL, 1), learner_of(f'{SMALL}@complete', 1)
    state = alone.algorithm.init(jax.random.key(0))
    rows = network.algorithm.init(jax.random.key(0))
    own = rows.learner._replace(
      params=jax.tree.map(lambda x: x[None], state.params),
      playing=state.playing,
    )
    key = jax.random.key(1)
    after, found = jax.jit(network.algorithm.step)(
      rows._replace(learner=own), None, key=key
    )
    self.assertEqual(float(found['messages']), 0.0)
    want, _ = jax.jit(alone.algorithm.step)(
      state, None, key=jax.random.split(key)[0]
    )
    pairs = zip(
      jax.tree.leaves(after.learner.params),
      jax.tree.leaves(want.params),
      strict=True,
    )
    for a, b in pairs:
      np.testing.assert_allclose(a[0], b, atol=1e-6)

  def test_shared_parameters_are_refused(self):
    env = game()
    shared = agents.ppo(
      env,
      agents.actor_critic(env, hidden_sizes=(4,)),
      optimizer=optax.adam(0.1),
    )
    link = networked.make_link('ring', 3)
    with self.assertRaisesRegex(ValueError, r'\[N, \.\.\.\].*shared=False'):
      networked.networked(shared, link, num_agents=3)
    with self.assertRaisesRegex(ValueError, 'leave shared out'):
      learner_of('ippo(shared=True)@ring')
    with self.assertRaisesRegex(ValueError, 'random learns nothing'):
      learner_of('random@ring')
    with self.assertRaisesRegex(ValueError, 'write networked@ring'):
      learner_of('networked')
    with self.assertRaisesRegex(ValueError, 'seed must be at least 0'):
      agents.make_learner('ippo@ring', env, num_updates=1, seed=-1)
    for wrong in (None, 'ring'):
      with self.assertRaisesRegex(TypeError, 'link must be an agents.networ'):
        networked.exchanged_gradients(wrong)
    with self.assertRaisesRegex(TypeError, 'link must be an agents.networked'):
      networked.networked(shared, 'ring', num_agents=3)
    with self.assertRaisesRegex(TypeError, 'learner must be an algorithm'):
      networked.networked(None, link, num_agents=3)

  @parameterized.parameters(
    ('exchange=none, rule=median', 'rule=median has no effect with exchange'),
    ('exchange=none, attack=sign_flip', 'attack=sign_flip has no effect'),
    ('exchange=none, every=2', 'every=2 has no effect'),
    ('exchange=gradients, parts=actor', 'parts=actor has no effect'),
  )
  def test_options_of_what_nobody_sends_are_refused(self, options, words):
    with self.assertRaisesRegex(ValueError, words):
      learner_of(f'networked({options})@complete')


if __name__ == '__main__':
  absltest.main()
