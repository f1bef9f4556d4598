# SPDX-License-Identifier: Apache-2.0
"""What messages do, and what is in them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import hammer

SIZES = {'actor_sizes': (5,), 'critic_sizes': (3,)}


def game():
  return agents.games.simple_spread(num_agents=2, max_steps=3, seen='partial')


@functools.cache
def told(shared=False):
  local = hammer.local_agents(game(), message_length=2, shared=shared, **SIZES)
  params = jax.tree.map(lambda x: 2 * x, local.init(jax.random.key(0)))
  rng = np.random.default_rng(1)
  own = jnp.asarray(rng.normal(size=(6, 2, 8)), jnp.float32)
  message = jnp.asarray(rng.normal(size=(6, 2, 2)), jnp.float32)
  return local, params, own, message


def probabilities(local, params, own, message):
  """Of two dense layers in float64."""
  out = np.concatenate([own, message], axis=-1).astype(np.float64)
  for i in range(2):
    layer = params['actor'][f'dense_{i}']
    kernel, bias = (np.asarray(layer[k]) for k in ('kernel', 'bias'))
    if local.shared:
      out = out @ kernel + bias
    else:
      out = np.einsum('bni,nio->bno', out, kernel) + bias
    out = np.maximum(out, 0.0) if i == 0 else out
  out = np.exp(out - out.max(-1, keepdims=True))
  return out / out.sum(-1, keepdims=True)


class SaliencyTest(parameterized.TestCase):
  @parameterized.parameters(False, True)
  def test_is_the_slope_of_probabilities(self, shared):
    local, params, own, message = told(shared)
    found = hammer.message_saliency(local, params, own, message)
    self.assertEqual(found.shape, (6, 2, 5, 2))
    h, message = 1e-5, np.asarray(message, np.float64)
    for k in range(2):
      step = h * np.eye(2)[k]
      ends = [
        probabilities(local, params, own, message + s * step) for s in (-1, 1)
      ]
      want = (ends[1] - ends[0]) / (2 * h)
      np.testing.assert_allclose(found[..., k], want, atol=1e-5)
    self.assertGreater(np.abs(found).max(), 0.02)

  def test_wiggle_counts_other_actions(self):
    local, params, own, message = told()
    shifts = np.float32([0.0, 3.0, -9.0])
    found = hammer.wiggle(local, params, own, message, shifts)
    before = np.argmax(local.apply(params, own, message)[0], -1)
    want = [
      (np.argmax(local.apply(params, own, message + s)[0], -1) != before)
      for s in shifts
    ]
    np.testing.assert_allclose(found, np.mean(want, axis=1), atol=1e-6)
    self.assertEqual(found[0].tolist(), [0.0, 0.0])
    self.assertGreater(float(found[2].max()), 0.0)


@functools.cache
def logged(spec='v3(message_length=2)'):
  training = hammer.Training(
    update_steps=4, num_envs=2, encoder_sizes=(4,), **SIZES
  )
  variant = hammer.make_variant(spec, game(), training)
  params = variant.policy.init(jax.random.key(0))
  return (
    variant,
    params,
    hammer.log_messages(
      game(), variant, params, key=jax.random.key(1), num_episodes=5
    ),
  )


class LogTest(parameterized.TestCase):
  def test_keeps_what_was_said(self):
    variant, params, log = logged('v2(message_length=2)')
    self.assertEqual(log.own.shape, (15, 2, 8))
    self.assertEqual(log.message.shape, (15, 2, 2))
    want = hammer.message_encode(params, jnp.asarray(log.own.reshape(15, 16)))
    np.testing.assert_allclose(log.message, want, atol=1e-6)
    self.assertEqual(
      sorted(zip(log.episode, log.time, strict=True)),
      [(e, t) for e in range(5) for t in range(3)],
    )
    self.assertEqual(set(log.actions.ravel()) - set(range(5)), set())
    # Velocities are what actions made of those before, but for contact.
    first = log.time == 0
    self.assertEqual(np.abs(log.own[first][..., :2]).max(), 0.0)
    del variant

  def test_noise_is_that_of_the_game(self):
    _, params, log = logged()
    z = hammer.message_encode(params, jnp.asarray(log.own.reshape(15, 16)))
    quiet = np.asarray(hammer.dru(z))
    self.assertGreater(np.abs(log.message - quiet).mean(), 0.05)
    self.assertTrue(((log.message > 0) & (log.message < 1)).all())

  def test_correlations(self):
    rng = np.random.default_rng(0)
    own = rng.normal(size=(5000, 2, 2))
    own[:, 1, 1] = 7.0
    message = (own[:, 0, 0] + own[:, 1, 0])[:, None, None].repeat(2, 1)
    none = np.zeros(5000, int)
    log = hammer.MessageLog(own, message, none, none, none, none)
    found = hammer.correlations(log)
    self.assertEqual(found.shape, (2, 1, 2, 2))
    root = 1 / np.sqrt(2)
    np.testing.assert_allclose(found[0, 0], [[root, 0], [root, 0]], atol=0.05)

  def test_state_follows_from_messages_that_hold_it(self):
    rng = np.random.default_rng(0)
    own = rng.normal(size=(2000, 2, 2))
    own[:, 1, 1] = 7.0
    none = np.zeros(2000, int)
    log = hammer.MessageLog(own, own[:, :, :1], none, none, none, none)
    found = hammer.predicted_state(log)
    np.testing.assert_array_less(0.9, found[:, 0])
    self.assertLess(found[0, 1], 0.1)
    self.assertEqual(found[1, 1], 0.0)

  def test_embedding_keeps_clusters_apart(self):
    rng = np.random.default_rng(0)
    kind = np.arange(60) % 2
    message = (20.0 * kind + rng.normal(size=60))[:, None, None]
    none = np.zeros(60, int)
    log = hammer.MessageLog(message, message, none, none, none, none)
    found = hammer.embedded_messages(log, most=40)
    self.assertEqual(found.shape, (40, 3))
    side = kind[found[:, 2].astype(int)]
    places = [found[side == k, :2] for k in (0, 1)]
    gap = np.linalg.norm(places[0].mean(0) - places[1].mean(0))
    within = max(np.linalg.norm(p - p.mean(0), axis=1).mean() for p in places)
    self.assertGreater(gap, 1.5 * within)

  def test_says_what_is_wrong(self):
    variant = hammer.il(game(), hammer.Training(**SIZES))
    params = variant.policy.init(jax.random.key(0))
    with self.assertRaisesRegex(ValueError, 'nobody talks'):
      hammer.log_messages(
        game(), variant, params, key=jax.random.key(0), num_episodes=2
      )
    with self.assertRaisesRegex(ValueError, 'log has 15 steps: num_neighbors'):
      hammer.predicted_state(logged()[2])
    with self.assertRaisesRegex(ValueError, 'seed must be at least 0; got -1'):
      hammer.predicted_state(logged()[2], seed=-1, num_neighbors=1)
    with self.assertRaisesRegex(ValueError, 'seed must be at least 0; got -1'):
      hammer.embedded_messages(logged()[2], seed=-1)
    with self.assertRaisesRegex(ValueError, 'most must be at least 2; got 1'):
      hammer.embedded_messages(logged()[2], most=1)
    one = hammer.MessageLog(*(x[:1] for x in logged()[2]))
    with self.assertRaisesRegex(ValueError, 'log has 1 steps: an embedding'):
      hammer.embedded_messages(one)


if __name__ == '__main__':
  absltest.main()
