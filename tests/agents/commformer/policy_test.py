# SPDX-License-Identifier: Apache-2.0
"""Agents on a graph: what they hear, how they act, what is replayed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import commformer as reference

from jaxdl import agents
from jaxdl.agents import commformer

N, A, E = 4, 3, 5
KEY = jax.random.key(0)
SMALL = 'dim=6'
COLD = commformer.Phase(jnp.array(False), jnp.array(False))
WARM = COLD._replace(warm=jnp.array(True))
STABLE = COLD._replace(stable=jnp.array(True))


def toy(action_size=0):
  """A game of nothing but rows of numbers."""
  return agents.Environment(
    params={},
    start=lambda params, key: jax.random.normal(key, (N, 5)),
    move=lambda params, state, actions, key: (
      jax.random.normal(key, (N, 5)),
      agents.Outcome(jnp.ones(N), jnp.array(False), {}),
    ),
    observe=lambda params, state: agents.Seen(state),
    num_agents=N,
    own_size=5,
    max_steps=3,
    num_actions=None if action_size else A,
    action_size=action_size,
  )


@functools.cache
def made(spec, action_size=0):
  return commformer.make_former(spec, toy(action_size))


@functools.cache
def params(spec, action_size=0, same=None):
  """Parameters that are no longer those of the start; `same` shares them."""
  drawn = made(same or spec, action_size).policy.init(KEY)
  rng = np.random.default_rng(0)
  model = jax.tree.map(
    lambda x: x + jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype),
    drawn['model'],
  )
  edges = drawn['edges']
  if made(spec).graph.is_learned:
    edges = edges + jnp.asarray(rng.normal(size=(N, N)), jnp.float32)
  norm = commformer.update_value_norm(drawn['norm'], jnp.array([1.0, 5.0]))
  return {'model': model, 'edges': edges, 'norm': norm}


@functools.cache
def seen():
  return toy().reset_many(jax.random.key(1), E)[0]


def act(policy, values, key=None, see=None):
  first = jnp.ones(E, bool)
  return jax.jit(policy.act)(values, {}, see or seen(), first, key=key)


def judge(policy, values, acted, see=None):
  one = lambda x: x[None]
  found = jax.jit(policy.judge)(
    values,
    {},
    jax.tree.map(one, see or seen()),
    one(acted.actions),
    jax.tree.map(one, acted.choices),
    jnp.ones((1, E), bool),
  )
  return jax.tree.map(lambda x: x[0], found)


LEARNED = f'learned(num_edges=2)@former({SMALL})'
DEEP = f'learned(num_edges=2)@former({SMALL}, num_heads=2, num_blocks=2)'
GATED = f'learned(num_edges=2)@former({SMALL}, temporal_gate=True)'
SAMPLED = (
  f'learned(num_edges=2, rollout=sampled)@former({SMALL}, temporal_gate=True, '
  'share_actor=True, self_loop=add, relation_scale=double)'
)
TOGETHER = f'random(seed=0)@former({SMALL}, autoregressive=False)'


class ModelTest(parameterized.TestCase):
  @parameterized.parameters(
    (LEARNED, {}),
    (DEEP, {'heads': 2}),
    (f'mat@former({SMALL})', {}),
    (
      f'learned(num_edges=2)@former({SMALL}, release_quirks=True)',
      {'scale': 'double', 'transposed': True},
    ),
  )
  def test_equals_the_definition(self, spec, options):
    own, values = made(spec), params(spec)
    hard = np.asarray(own.hard_graph(values))
    weights = np.where(np.eye(N), 1.0, hard)
    if own.quirks:
      weights = hard + np.eye(N)
    acted = act(own.policy, values, KEY)
    found = judge(own.policy, values, acted)
    mean, std = (float(x) for x in commformer.mean_and_std(values['norm']))
    for b in range(2):
      x, value = reference.encoder(
        values['model'],
        np.asarray(seen().own[b], np.float64),
        weights,
        hard,
        **options,
      )
      np.testing.assert_allclose(
        found.value[b], mean + std * value, atol=2e-4, rtol=1e-4
      )
      actions = np.asarray(acted.actions[b])
      logits = reference.decoder(
        values['model'], x, actions, A, weights, hard, **options
      )
      logits = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
      np.testing.assert_allclose(
        found.log_prob[b], logits[np.arange(N), actions], atol=2e-4
      )
      np.testing.assert_allclose(
        found.entropy[b], -(np.exp(logits) * logits).sum(axis=-1), atol=2e-4
      )

  @parameterized.parameters(
    (LEARNED, 0), (DEEP, 0), (SAMPLED, 0), (TOGETHER, 0), (GATED, 2)
  )
  def test_one_pass_says_what_acting_said(self, spec, action_size):
    own = made(spec, action_size)
    values = params(spec, action_size)
    policy = own.playing(COLD)
    acted = act(policy, values, KEY)
    found = judge(policy, values, acted)
    np.testing.assert_allclose(found.log_prob, acted.log_prob, atol=1e-5)
    np.testing.assert_allclose(found.value, acted.value, atol=1e-5)
    shape = (E, N, action_size) if action_size else (E, N)
    self.assertEqual(acted.actions.shape, shape)
    self.assertEqual(found.entropy.shape, (E, N))

  @parameterized.parameters(
    (f'learned(num_edges=2)@former({SMALL}, num_heads=2, num_blocks=2', 0),
    (f'learned@former({SMALL}, temporal_gate=True, share_actor=True', 2),
  )
  def test_what_is_kept_changes_nothing(self, spec, action_size):
    values = params(f'{spec})', action_size)
    see = seen()
    if not action_size:
      blocked = np.ones((E, N, A), bool)
      blocked[:, 1::2, 0] = False
      see = see._replace(available=jnp.asarray(blocked))
    one, other = (
      act(made(f'{spec}{way})', action_size).policy, values, KEY, see)
      for way in ('', ', decoding=recomputed')
    )
    if action_size:
      np.testing.assert_allclose(one.actions, other.actions, atol=1e-4)
    else:
      np.testing.assert_array_equal(one.actions, other.actions)
      self.assertGreater(int(one.actions[:, 1::2].min()), 0)
    np.testing.assert_allclose(one.log_prob, other.log_prob, atol=1e-4)

  def test_continuous_densities(self):
    spec = f'full@former({SMALL})'
    values = params(spec, 2)
    policy = made(spec, 2).policy
    acted, best = (act(policy, values, key) for key in (KEY, None))
    # The first agent knows no other action: its means are those of the best.
    std = 0.5 / (1 + np.exp(-np.asarray(values['model']['log_std'])))
    z = (np.asarray(acted.actions) - np.asarray(best.actions))[:, 0] / std
    want = (-0.5 * z**2 - np.log(std) - 0.5 * np.log(2 * np.pi)).sum(axis=-1)
    np.testing.assert_allclose(acted.log_prob[:, 0], want, atol=1e-4)
    found = judge(policy, values, acted)
    each = np.log(std) + 0.5 * np.log(2 * np.pi * np.e)
    np.testing.assert_allclose(found.entropy, each.sum(), rtol=1e-5)
    fresh = made(spec, 2).policy.init(KEY)['model']['log_std']
    np.testing.assert_array_equal(fresh, 1.0)

  def test_later_actions_do_not_reach_back(self):
    spec = f'full@former({SMALL})'
    policy, values = made(spec).policy, params(spec)
    acted = act(policy, values, KEY)
    base = judge(policy, values, acted).entropy
    for j in range(N):
      changed = acted.actions.at[:, j].set((acted.actions[:, j] + 1) % A)
      other = judge(policy, values, acted._replace(actions=changed)).entropy
      np.testing.assert_array_equal(other[:, : j + 1], base[:, : j + 1])
      if j + 1 < N:
        self.assertGreater(np.abs(other - base)[:, j + 1 :].min(), 1e-7)

  def test_values_hear_who_is_linked(self):
    values = params(LEARNED)
    policy = made(LEARNED).policy
    hard = np.asarray(made(LEARNED).hard_graph(values))

    def of(own):
      see = seen()._replace(own=own)
      return policy.value(values, {}, see, jnp.ones(E, bool))[0]

    slope = jax.jacobian(of)(seen().own)[:, 0]
    heard = np.abs(np.asarray(slope)).max(axis=-1) > 0
    np.testing.assert_array_equal(heard, hard | np.eye(N, dtype=bool))

  def test_all_edges_are_the_full_graph(self):
    learned = f'learned(num_edges={N})@former({SMALL})'
    full = f'full@former({SMALL})'
    values = params(learned)
    one = act(made(learned).policy, values, KEY)
    other = act(made(full).policy, values, KEY)
    # An update's sample is the full graph too.
    draw = made(learned).judge(
      values,
      jax.tree.map(lambda x: x[None], seen()),
      one.actions[None],
      {},
      phase=COLD,
      key=KEY,
    )
    np.testing.assert_array_equal(one.actions, other.actions)
    np.testing.assert_allclose(one.log_prob, other.log_prob, atol=1e-6)
    np.testing.assert_allclose(one.log_prob, draw.log_prob[0], atol=1e-5)
    self.assertEqual(one.facts['links'].tolist(), [N * (N - 1.0)] * E)

  def test_starts_small(self):
    fresh = made(LEARNED).policy.init(KEY)
    layer = fresh['model']['encoder']['block_0']['attention']['query']
    self.assertLess(float(jnp.abs(layer['kernel']).max()), 0.1)
    np.testing.assert_array_equal(layer['bias'], 0.0)
    last = fresh['model']['actor']['dense_1']['kernel']
    self.assertEqual(last.shape, (N, 6, A))
    # Orthogonal with gain .01, other numbers for each agent.
    for own in np.asarray(last, np.float64):
      np.testing.assert_allclose(own.T @ own, 1e-4 * np.eye(A), atol=1e-9)
    self.assertGreater(np.abs(last[0] - last[1]).max(), 1e-4)
    np.testing.assert_array_equal(fresh['edges'], np.ones((N, N)))


class GraphsOfGamesTest(parameterized.TestCase):
  def test_execution_draws_no_graph_and_no_gate(self):
    values = params(SAMPLED)
    one, other = (act(made(SAMPLED).policy, values, key) for key in (None, KEY))
    self.assertEqual(one.choices, {})
    for name in ('edges', 'links', 'gate'):
      np.testing.assert_array_equal(one.facts[name], other.facts[name])
    np.testing.assert_array_equal(one.value, other.value)

  def test_games_draw_what_updates_see(self):
    values, own = params(SAMPLED), made(SAMPLED)
    acted = act(own.playing(COLD), values, KEY)
    graph = np.asarray(acted.choices['graph'])
    np.testing.assert_array_equal(graph.sum(axis=-1), 2)
    self.assertGreater(len(np.unique(graph.reshape(E, -1), axis=0)), 1)
    gate = np.asarray(acted.choices['gate'])
    np.testing.assert_array_equal(acted.facts['edges'], 2 * gate.sum(axis=-1))
    others = (graph & ~np.eye(N, dtype=bool)).sum(axis=-1)
    np.testing.assert_array_equal(
      acted.facts['links'], (others * gate).sum(axis=-1)
    )
    # Another noise is another ratio; the kept one gives 1 in an update.
    one = lambda x: x[None]
    found = own.judge(
      values,
      jax.tree.map(one, seen()),
      one(acted.actions),
      jax.tree.map(one, acted.choices),
      phase=COLD,
      key=jax.random.key(9),
    )
    np.testing.assert_allclose(found.log_prob[0], acted.log_prob, atol=1e-5)

  def test_phases(self):
    values, own = params(SAMPLED), made(SAMPLED)
    hard = np.asarray(own.hard_graph(values))
    stable = act(own.playing(STABLE), values, KEY)
    np.testing.assert_array_equal(
      stable.choices['graph'], np.broadcast_to(hard, (E, N, N))
    )
    warm = act(own.playing(WARM), values, KEY)
    gate = np.asarray(warm.choices['gate'])
    np.testing.assert_array_equal(warm.facts['edges'], N * gate.sum(axis=-1))
    found = judge(own.playing(WARM), values, warm)
    np.testing.assert_allclose(found.log_prob, warm.log_prob, atol=1e-5)

  def test_updates_warm_up_on_raw_edges(self):
    values, own = params(LEARNED), made(LEARNED)
    acted = act(own.playing(WARM), values, KEY)
    one = lambda x: x[None]
    found = own.judge(
      values,
      jax.tree.map(one, seen()),
      one(acted.actions),
      {},
      phase=WARM,
      key=KEY,
    )
    raw = np.asarray(values['edges'], np.float64)
    weights = np.where(np.eye(N), 1.0, raw)
    x, _ = reference.encoder(
      values['model'],
      np.asarray(seen().own[0], np.float64),
      weights,
      np.ones((N, N)),
    )
    actions = np.asarray(acted.actions[0])
    logits = reference.decoder(
      values['model'], x, actions, A, weights, np.ones((N, N))
    )
    logits = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(
      found.log_prob[0, 0], logits[np.arange(N), actions], atol=2e-4
    )

  def test_closed_gates_leave_oneself(self):
    values = jax.tree.map(lambda x: x, params(GATED))
    shut = {'kernel': jnp.zeros((6, 2)), 'bias': jnp.array([9.0, -9.0])}
    values['model'] = {
      **values['model'],
      'gate': {**values['model']['gate'], 'dense_1': shut},
    }
    alone = f'self@former({SMALL})'
    one = act(made(GATED).policy, values)
    np.testing.assert_array_equal(one.facts['gate'], 0.0)
    np.testing.assert_array_equal(one.facts['edges'], 0.0)
    # Pairs keep their embeddings, so the own one must be the same.
    values['edges'] = values['edges'] + 9 * jnp.eye(N)
    one = act(made(GATED).policy, values)
    two = act(made(alone).policy, values)
    np.testing.assert_allclose(one.value, two.value, atol=1e-6)
    np.testing.assert_allclose(one.log_prob, two.log_prob, atol=1e-6)

  def test_gates_have_a_gradient(self):
    values, own = params(GATED), made(GATED)
    acted = act(own.playing(COLD), values, KEY)

    def loss(model):
      found = judge(own.playing(COLD), values | {'model': model}, acted)
      return jnp.sum(found.log_prob)

    slopes = jax.grad(loss)(values['model'])['gate']['dense_1']['bias']
    self.assertGreater(float(jnp.abs(slopes).max()), 1e-6)
    self.assertAlmostEqual(float(jnp.sum(slopes)), 0.0, places=4)

  @parameterized.parameters(
    ('learned@former(num_heads=5)', 'dim=64 must be divisible by num_heads=5'),
    ('learned(num_edges=9)', 'num_edges=9 must not exceed 4 agents'),
    ('full@former(dropout=1.0)', r'dropout must lie in \[0.0, 1.0\)'),
    ('full@former(decoding=slow)', "decoding='slow'"),
    ('full@formed', "Did you mean 'former'"),
    ('full@former(heads=2)', "no option 'heads'"),
    ('full@former@former', 'has 2 @'),
  )
  def test_refuses(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      commformer.make_former(spec, toy())

  def test_says_that_there_is_nothing_to_gate(self):
    with self.assertLogs('absl', 'WARNING') as found:
      commformer.make_former('self@former(temporal_gate=True)', toy())
    self.assertIn('temporal_gate=True has no effect', found.output[0])


if __name__ == '__main__':
  absltest.main()
