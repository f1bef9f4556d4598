# SPDX-License-Identifier: Apache-2.0
"""Channels between agents against sums written out in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import communication

N, H = 4, 6
SPECS = (
  'commnet',
  'commnet(form=mlp, rounds=2)',
  'ic3net',
  'tarmac(signature_size=3, value_size=5, rounds=2)',
  'dial(message_size=2)',
  'g2anet(width=3)',
  'g2anet(scorer=mlp, width=3)',
  'attention(num_heads=2)',
  'attention(pattern=self)',
  'graph(num_edges=2)',
)


def rows(seed=0, shape=(2, N, H)):
  return np.random.default_rng(seed).normal(size=shape).astype('float32')


@functools.cache
def channel(spec):
  return communication.make_communication(spec, num_agents=N)


@functools.cache
def params_of(spec):
  return channel(spec).init(jax.random.key(3), N, H)


def begun(spec):
  carry = channel(spec).start(2, N, H)
  return jax.tree.map(jnp.ones_like, carry)


def talk(spec, hidden, **options):
  options.setdefault('carry', begun(spec))
  carry = options.pop('carry')
  return channel(spec).apply(
    params_of(spec), carry, jnp.asarray(hidden), **options
  )


def kernel(spec, *path):
  found = params_of(spec)
  for name in path:
    found = found[name]
  return np.asarray(found['kernel'], np.float64)


class ChannelsTest(parameterized.TestCase):
  def test_commnet_adds_a_map_of_the_mean_of_the_others(self):
    hidden = rows()
    got = talk('commnet', hidden).received
    mean = (hidden.sum(1, keepdims=True) - hidden) / (N - 1)
    want = mean.astype('float64') @ kernel('commnet', 'mean_0')
    np.testing.assert_allclose(got, want, atol=1e-5)

  def test_rounds_of_commnet_without_memory(self):
    spec, hidden = SPECS[1], rows()
    got, h = talk(spec, hidden).received, hidden.astype('float64')
    for k in range(2):
      mean = (h.sum(1, keepdims=True) - h) / (N - 1)
      own = h @ kernel(spec, f'own_{k}')
      h = np.tanh(hidden + own + mean @ kernel(spec, f'mean_{k}'))
    np.testing.assert_allclose(got, h, atol=1e-5)

  def test_dead_agents_say_and_hear_nothing(self):
    hidden = rows()
    alive = np.array([[1, 1, 0, 1], [0, 0, 1, 0]], bool)
    got = communication.mean_of_others(
      jnp.asarray(hidden), alive=jnp.asarray(alive)
    )
    want = np.zeros_like(hidden)
    for b in range(2):
      for i in range(N):
        others = [j for j in range(N) if alive[b, j] and j != i]
        if alive[b, i] and others:
          want[b, i] = hidden[b, others].mean(0)
    np.testing.assert_allclose(got, want, atol=1e-6)

  def test_gates_decide_who_speaks(self):
    hidden = rows()
    gates = np.array([[1, 0, 1, 0], [0, 1, 1, 1]])
    got = talk('ic3net', hidden, choices={'gate': jnp.asarray(gates)})
    want = np.zeros_like(hidden)
    for b in range(2):
      for i in range(N):
        for j in range(N):
          if i != j:
            want[b, i] += gates[b, i] * gates[b, j] * hidden[b, j] / (N - 1)
    want = want.astype('float64') @ kernel('ic3net', 'mean')
    np.testing.assert_allclose(got.received, want, atol=1e-5)
    np.testing.assert_array_equal(got.facts['links'], [2, 6])
    np.testing.assert_array_equal(got.facts['bits'], [2 * 32 * H, 6 * 32 * H])
    spec = 'ic3net(receivers=False)'
    heard = talk(spec, hidden, choices={'gate': jnp.asarray(gates)})
    np.testing.assert_array_equal(heard.facts['links'], [6, 9])

  def test_closed_gates_are_silence_and_open_gates_are_commnet(self):
    hidden = rows()
    for gate, other in ((0, 'ic3net(gate=closed)'), (1, 'ic3net(gate=open)')):
      choices = {'gate': jnp.full((2, N), gate)}
      got = talk('ic3net', hidden, choices=choices).received
      same = channel(other).apply(
        params_of('ic3net'), begun('ic3net'), jnp.asarray(hidden)
      )
      np.testing.assert_array_equal(got, same.received)
      if gate == 0:
        np.testing.assert_array_equal(got, np.zeros_like(hidden))
      else:
        commnet = {'mean_0': params_of('ic3net')['mean']}
        want = channel('commnet').apply(commnet, {}, jnp.asarray(hidden))
        np.testing.assert_allclose(got, want.received, atol=1e-6)

  def test_nobody_speaks_in_the_first_step(self):
    for spec in ('ic3net(gate=open)', 'dial(message_size=2)'):
      carry = channel(spec).start(2, N, H)
      first = talk(spec, rows(), carry=carry, key=jax.random.key(0))
      np.testing.assert_array_equal(first.received, 0.0 * first.received)
      np.testing.assert_array_equal(first.facts['links'], [0, 0])
      then = talk(spec, rows(), carry=first.carry)
      np.testing.assert_array_equal(then.facts['links'], [12, 12])

  def test_gates_are_trained_as_actions(self):
    spec, hidden = 'ic3net', rows()
    drawn = talk(spec, hidden, key=jax.random.key(1))
    again = talk(spec, hidden, choices=drawn.choices)
    logits = hidden @ kernel(spec, 'gate')
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    gate = np.asarray(drawn.choices['gate'])
    want = np.take_along_axis(log, gate[..., None], -1)[..., 0]
    np.testing.assert_allclose(again.log_prob, want, atol=1e-5)
    np.testing.assert_allclose(
      again.entropy, -(np.exp(log) * log).sum(-1), atol=1e-5
    )

  def test_attention_of_tarmac(self):
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, N, 16)), rng.normal(size=(2, N, 16))
    v = rng.normal(size=(2, N, 3))
    alive = np.array([[1, 1, 1, 1], [1, 0, 1, 1]], bool)
    got = communication.tarmac_attention(
      *map(jnp.asarray, (q, k, v)), alive=jnp.asarray(alive)
    )
    scores = np.einsum('bis,bjs->bij', q, k) / 4.0
    scores = np.where(alive[:, None, :], scores, -np.inf)
    w = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(got, w @ v, atol=1e-5)
    same = communication.tarmac_attention(
      jnp.asarray(q), jnp.ones_like(k), jnp.asarray(v)
    )
    mean = np.broadcast_to(v.mean(1, keepdims=True), v.shape)
    np.testing.assert_allclose(same, mean, atol=1e-5)

  def test_dru_is_noisy_in_training_and_hard_in_execution(self):
    z = jnp.array([-2.0, 0.5, 3.0])
    soft = communication.dru(z, jnp.zeros(3))
    np.testing.assert_allclose(soft, 1 / (1 + np.exp([2.0, -0.5, -3.0])))
    np.testing.assert_array_equal(communication.dru(z), [0.0, 1.0, 1.0])
    spec = 'dial(message_size=2)'
    hard = talk(spec, rows())
    self.assertEqual(set(np.unique(hard.received)), {0.0, 1.0})
    drawn = talk(spec, rows(), key=jax.random.key(0))
    noise = drawn.choices['noise']
    z = rows() @ kernel(spec, 'message')
    sent = 1 / (1 + np.exp(-(z + np.asarray(noise))))
    for i in range(N):
      others = [j for j in range(N) if j != i]
      want = sent[:, others].reshape(2, -1)
      np.testing.assert_allclose(drawn.received[:, i], want, atol=1e-5)

  def test_hard_links_of_g2anet(self):
    spec, hidden = SPECS[6], rows()
    noise = rows(5, (2, N, N))
    got = talk(spec, hidden, choices={'noise': jnp.asarray(noise)})
    h = hidden.astype('float64')
    want, links = np.zeros_like(h), np.zeros(2)
    q, k = h @ kernel(spec, 'query'), h @ kernel(spec, 'key')
    for b in range(2):
      for i in range(N):
        others = [j for j in range(N) if j != i]
        scores = np.array([q[b, i] @ k[b, j] for j in others]) / np.sqrt(H)
        soft = np.exp(scores - scores.max())
        soft /= soft.sum()
        for w, j in zip(soft, others, strict=True):
          both = np.concatenate([h[b, i], h[b, j]])
          s = np.tanh(both @ kernel(spec, 'pair')) @ kernel(spec, 'hard')
          if s[0] + noise[b, i, j] > 0:
            want[b, i] += w * h[b, j]
            links[b] += 1
    np.testing.assert_allclose(got.received, want, atol=1e-5)
    np.testing.assert_array_equal(got.facts['links'], links)

  def test_learned_graphs_have_k_links_a_row(self):
    spec = 'graph(num_edges=2)'
    scores = np.asarray(params_of(spec)['scores'])
    want = np.zeros((N, N), bool)
    for i in range(N):
      order = sorted(
        (j for j in range(N) if j != i), key=lambda j: -scores[i, j]
      )
      want[i, order[:2]] = True
    got = communication.links_of({'talk': params_of(spec)}, 2)
    np.testing.assert_array_equal(got, want)
    drawn = talk(spec, rows(), key=jax.random.key(0))
    np.testing.assert_array_equal(drawn.facts['links'], [2 * N, 2 * N])
    even = communication.most_likely_links(jnp.zeros((N, N)), 3)
    np.testing.assert_array_equal(even, ~np.eye(N, dtype=bool))

    def loss(params):
      noise = {'noise': jnp.zeros((2, N, N, N))[:, 0]}
      out = channel(spec).apply(params, {}, jnp.asarray(rows()), choices=noise)
      return jnp.sum(out.received**2)

    slope = jax.grad(loss)(params_of(spec))['scores']
    self.assertGreater(float(jnp.abs(slope).max()), 0.0)
    with self.assertRaisesRegex(ValueError, 'no learned graph'):
      communication.links_of({}, 2)

  @parameterized.parameters(*SPECS)
  def test_what_was_drawn_can_be_replayed(self, spec):
    hidden = rows()
    drawn = talk(spec, hidden, key=jax.random.key(2))
    again = talk(spec, hidden, choices=drawn.choices)
    np.testing.assert_array_equal(drawn.received, again.received)
    wide = channel(spec).size(H)
    self.assertEqual(drawn.received.shape, (2, N, wide))

  # What the others receive has an order.
  @parameterized.parameters(
    *(s for s in SPECS if s.startswith(('comm', 'ic3', 'tarmac', 'att'))),
    SPECS[6],
  )
  def test_agents_may_change_places(self, spec):
    hidden, order = rows(), np.array([2, 0, 3, 1])
    one = talk(spec, hidden).received
    two = talk(spec, hidden[:, order]).received
    np.testing.assert_allclose(one[:, order], two, atol=1e-5)

  def test_one_agent_hears_nobody(self):
    for spec in ('commnet', 'ic3net', 'tarmac', 'dial', 'g2anet', 'attention'):
      made = communication.make_communication(spec, num_agents=1)
      params = made.init(jax.random.key(0), 1, H)
      out = made.apply(
        params,
        jax.tree.map(jnp.ones_like, made.start(2, 1, H)),
        jnp.asarray(rows(shape=(2, 1, H))),
        key=jax.random.key(1),
      )
      self.assertTrue(bool(jnp.isfinite(out.received).all()), spec)
      np.testing.assert_array_equal(out.facts['links'], [0, 0])

  @parameterized.parameters(
    ('comnet', "'comnet'.*Did you mean 'commnet'"),
    ('commnet(rounds=2)', 'rounds=2 needs form=mlp'),
    ('tarmac(rounds=0)', 'rounds must'),
    ('graph(num_edges=4)', 'num_edges must .* got 4'),
    ('ic3net(gate=half)', "gate='half'"),
    ('dial(sigma=-1)', 'sigma must'),
  )
  def test_says_what_is_wrong(self, spec, words):
    with self.assertRaisesRegex(ValueError, words):
      communication.make_communication(spec, num_agents=N)


class PoliciesTest(parameterized.TestCase):
  def test_rows_that_are_added_must_fit(self):
    env = agents.make_game('simple_spread(num_agents=2)')
    made = communication.make_communication('commnet', num_agents=2)
    with self.assertRaisesRegex(ValueError, 'hidden_sizes=.8,. or width=4'):
      agents.actor_critic(
        env, hidden_sizes=(8,), recurrent='gru', width=4, communication=made
      )
    heads = communication.attention(num_heads=3)
    with self.assertRaisesRegex(ValueError, 'num_heads=3 must divide 8'):
      agents.actor_critic(env, hidden_sizes=(8,), communication=heads)
    wrong = made._replace(joins='beside')
    with self.assertRaisesRegex(ValueError, "joins='beside'"):
      agents.actor_critic(env, communication=wrong)

  def test_training_meets_the_noise_of_playing(self):
    env = agents.make_game('simple_spread(num_agents=2, max_steps=3)')
    made = communication.make_communication('dial', num_agents=2)
    policy = agents.actor_critic(
      env, hidden_sizes=(4,), recurrent='gru', width=4, communication=made
    )
    params = policy.init(jax.random.key(0))
    playing = agents.begin(env, policy, jax.random.key(1), 2)
    _, steps = agents.rollout(
      env, policy, params, playing, key=jax.random.key(2), num_steps=5
    )
    judged = policy.judge(
      params,
      playing.carry,
      steps.seen,
      steps.actions,
      steps.choices,
      steps.first,
    )
    np.testing.assert_allclose(judged.log_prob, steps.log_prob, atol=1e-5)
    # Messages stop where an episode begins.
    np.testing.assert_array_equal(
      steps.facts['links'][:, 0], [0.0, 2.0, 2.0, 0.0, 2.0]
    )

    def later(params):
      """What agent 1 does in step 1 depends on what agent 0 saw in step 0."""

      def of(own):
        seen = steps.seen._replace(own=own)
        out = policy.judge(
          params, playing.carry, seen, steps.actions, steps.choices, steps.first
        )
        return out.out[1, 0, 1].sum()

      return jax.grad(of)(steps.seen.own)

    slope = later(params)
    self.assertGreater(float(jnp.abs(slope[0, 0, 0]).max()), 0.0)
    np.testing.assert_array_equal(slope[2:], 0.0 * slope[2:])


if __name__ == '__main__':
  absltest.main()
