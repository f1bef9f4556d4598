# SPDX-License-Identifier: Apache-2.0
"""Particle worlds against stored runs of JaxMARL 0.2.0 and mpe2 1.1.1."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import games
from jaxdl.agents.games import _spread

# A run each from a start of the peer, with random actions: what was seen
# [26, N, d], actions [25, N], rewards [25, N].
PEERS = np.load(pathlib.Path(__file__).with_name('particles.npz'))
GAMES = ('simple_spread', 'simple_reference', 'simple_speaker_listener')


def _start(env, found):
  """The peer's start as a state."""
  p = jnp.asarray(found['positions'])
  still, marks = jnp.zeros_like(p), jnp.asarray(found['landmarks'])
  if env.name == 'simple_spread':
    return games.ParticleState(p, still, marks)
  size = 10 if env.name == 'simple_reference' else 3
  said = jnp.zeros((2, size))
  return games.TalkState(p, still, marks, jnp.asarray(found['goals']), said)


class ParticlesTest(parameterized.TestCase):
  @parameterized.product(peer=['jaxmarl', 'mpe2'], name=GAMES)
  def test_equals_the_peer_for_25_steps(self, peer, name):
    env = agents.make_game(name)
    found = {
      key.split('/')[2]: PEERS[key]
      for key in PEERS.files
      if key.startswith(f'{peer}/{name}/')
    }
    state = _start(env, found)
    first = env.observe(env.params, state).own

    def body(state, actions):
      state, out = env.move(env.params, state, actions, None)
      return state, (env.observe(env.params, state).own, out.reward)

    _, (seen, reward) = jax.jit(lambda s, a: jax.lax.scan(body, s, a))(
      state, jnp.asarray(found['actions'])
    )
    seen = np.concatenate([first[None], seen])
    np.testing.assert_allclose(seen, found['seen'], atol=1e-5)
    np.testing.assert_allclose(reward, found['reward'], atol=1e-5)
    self.assertGreater(np.abs(found['reward']).max(), 0.5)

  def test_limits_of_time_of_the_peers(self):
    # JaxMARL plays one step more; mpe2 calls its end a cut at the 25th.
    for name in GAMES:
      self.assertEqual(int(PEERS[f'jaxmarl/{name}/steps']), 26)
      ends = PEERS[f'mpe2/{name}/ends']
      np.testing.assert_array_equal(ends[-1], [0, 1])
      self.assertEqual(int(ends[:-1].sum()), 0)
      self.assertEqual(agents.make_game(name).max_steps, 25)

  def test_first_step_from_rest(self):
    p, v = jnp.zeros((1, 2)), jnp.zeros((1, 2))
    p, v = _spread.push(p, v, jnp.array([2]))
    np.testing.assert_allclose(v, [[0.5, 0.0]])
    np.testing.assert_allclose(p, [[0.0, 0.0]])
    p, v = _spread.push(p, v, jnp.array([4]))
    np.testing.assert_allclose(p, [[0.05, 0.0]])
    np.testing.assert_allclose(v, [[0.375, 0.5]])

  def test_bodies_at_one_place_stay_finite(self):
    env = agents.make_game('simple_spread(num_agents=3)')
    none = jnp.zeros((3, 2))
    state = games.ParticleState(none, none, none)
    state, out = env.move(env.params, state, jnp.array([0, 0, 0]), None)
    np.testing.assert_array_equal(state.velocities, np.zeros((3, 2)))
    # Two others within .3 of each, landmarks covered.
    np.testing.assert_allclose(out.reward, [-1.0, -1.0, -1.0])
    slope = jax.grad(
      lambda p: env.move(
        env.params, state._replace(positions=p), jnp.zeros(3, int), None
      )[1].reward.sum()
    )(none)
    self.assertTrue(np.isfinite(slope).all())

  def test_contact_by_hand(self):
    # At .2 apart, .1 inside: a push of 100 * .1 along x.
    at = jnp.array([[0.0, 0.0], [0.2, 0.0]])
    got = _spread.contact_forces(at, jnp.full((2,), 0.15))
    np.testing.assert_allclose(got, [[-10.0, 0.0], [10.0, 0.0]], atol=1e-4)

  def test_one_agent(self):
    env = agents.make_game('simple_spread(num_agents=1)')
    seen, _ = env.reset(jax.random.key(0))
    self.assertEqual(seen.own.shape, (1, 6))

  def test_reference_returns_of_the_sheet(self):
    # Random -26.6, no-op -24.2, agent i to landmark i -12.1, 25 steps, N = 3.
    env = agents.make_game('simple_spread')

    def scripted(seen, key):
      gap = seen.own[jnp.arange(3), :][:, 4:10].reshape(3, 3, 2)
      gap = gap[jnp.arange(3), jnp.arange(3)]
      aim = gap - 0.35 * seen.own[:, :2]
      across = jnp.abs(aim[:, 0]) > jnp.abs(aim[:, 1])
      side = jnp.where(aim[:, 0] > 0, 2, 1)
      up = jnp.where(aim[:, 1] > 0, 4, 3)
      near = jnp.max(jnp.abs(aim), axis=-1) < 0.04
      return jnp.where(near, 0, jnp.where(across, side, up))

    def total(choose, key):
      def body(carry, k):
        seen, game = carry
        game, step = env.move_on(game, choose(seen, k), key=k)
        return (step.seen, game), step.reward.mean()

      keys = jax.random.split(key, 26)
      _, reward = jax.lax.scan(body, env.reset(keys[0]), keys[1:])
      return reward.sum()

    keys = jax.random.split(jax.random.key(0), 2000)
    choices = {
      'random': lambda seen, k: jax.random.randint(k, (3,), 0, 5),
      'none': lambda seen, k: jnp.zeros((3,), jnp.int32),
      'scripted': scripted,
    }
    found = jax.jit(
      lambda keys: {
        name: jax.vmap(lambda k, c=choose: total(c, k))(keys)
        for name, choose in choices.items()
      }
    )(keys)
    for name, want, extra in (
      ('random', -26.6, 0.2),
      ('none', -24.2, 0.2),
      # Whoever wrote -12.1 steered a little worse.
      ('scripted', -12.1, 1.2),
    ):
      got = np.asarray(found[name])
      error = got.std() / np.sqrt(len(got))
      self.assertLess(abs(got.mean() - want), 3 * error + extra, name)

  def test_speaker_has_three_words(self):
    env = agents.make_game('simple_speaker_listener')
    seen, _ = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(seen.available[0], [1, 1, 1, 0, 0])
    self.assertTrue(seen.available[1].all())

  @parameterized.parameters(
    ('simple_spread(local_ratio=1.5)', 'local_ratio must lie in'),
    ('simple_reference(num_words=0)', 'num_words must be at least 1'),
    ('simple_spread(seen=half)', 'seen'),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      agents.make_game(spec)


if __name__ == '__main__':
  absltest.main()
