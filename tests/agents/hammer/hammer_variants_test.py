# SPDX-License-Identifier: Apache-2.0
"""Variants: what is said, to whom, and how they play and learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import agents, experiment, problems
from jaxdl.agents import hammer

SPECS = (
  'il',
  'random(message_length=2)',
  'v1(message_length=2, previous_actions=True, central_updates=2)',
  'v1(message_length=3, messages=categorical)',
  'v2(message_length=2)',
  'v3(message_length=2, execution=hard)',
  'central',
)
SIZES = {'actor_sizes': (4,), 'critic_sizes': (3,), 'encoder_sizes': (4,)}


def game(n=2, **options):
  options = {'num_agents': n, 'max_steps': 3, 'seen': 'partial', **options}
  return agents.games.simple_spread(**options)


def training(**options):
  small = {
    'optimizer': optax.adam(0.01),
    'update_steps': 8,
    'num_envs': 2,
    'num_epochs': 2,
  }
  return hammer.Training(**{**SIZES, **small, **options})


@functools.cache
def variant(spec):
  return hammer.make_variant(spec, game(), training())


@functools.cache
def stepped(spec):
  """The start, the state after two updates, metrics, traces, and between."""
  made, count = variant(spec), []

  def step(state, key):
    count.append(1)
    return made.algorithm.step(state, None, key=key)

  start = jax.jit(made.algorithm.init)(jax.random.key(3))
  step = jax.jit(step)
  middle, _ = step(start, jax.random.key(4))
  state, found = step(middle, jax.random.key(5))
  return start, state, found, len(count), middle


def seen_of(n, batch=5, seed=0):
  own = np.random.default_rng(seed).normal(size=(batch, n, game(n).own_size))
  return agents.Seen(jnp.asarray(own, jnp.float32))


class EveryVariantTest(parameterized.TestCase):
  @parameterized.parameters(*SPECS)
  def test_plays_and_learns_in_one_program(self, spec):
    start, state, found, traces, _ = stepped(spec)
    self.assertEqual(traces, 1)
    self.assertEqual(int(state.num_updates), 2)
    for name, value in found.items():
      self.assertTrue(np.isfinite(value), name)
    self.assertEqual(float(found['length']), 3.0)
    self.assertLess(float(found['return']), 0.0)
    self.assertEqual(spec.startswith('v1'), 'central_kl' in found)
    for name in state.params:
      moved = jax.tree.map(
        lambda x, y: float(np.abs(x - y).max()),
        start.params[name],
        state.params[name],
      )
      self.assertGreater(min(jax.tree.leaves(moved)), 1e-4, name)

  @parameterized.parameters(*SPECS)
  def test_who_judges_meets_what_was_played(self, spec):
    made, env = variant(spec), game()
    params = stepped(spec)[1].params
    playing = agents.begin(env, made.policy, jax.random.key(0), 2)

    def both(params, playing, key):
      _, steps = agents.rollout(
        env, made.policy, params, playing, key=key, num_steps=4
      )
      judged = made.policy.judge(
        params, {}, steps.seen, steps.actions, steps.choices, steps.first
      )
      return steps, judged

    steps, judged = jax.jit(both)(params, playing, jax.random.key(1))
    np.testing.assert_allclose(judged.log_prob, steps.log_prob, atol=1e-5)
    np.testing.assert_allclose(judged.value, steps.value, atol=1e-5)
    if spec == 'central':
      np.testing.assert_array_equal(
        steps.log_prob[..., 0], steps.log_prob[..., 1]
      )
    if 'previous' in steps.choices:
      before = np.asarray(steps.choices['previous'])
      did = np.eye(5)[np.asarray(steps.actions)]
      np.testing.assert_array_equal(before[0], 0.0)
      np.testing.assert_array_equal(before[1:3], did[:2])
      np.testing.assert_array_equal(before[3], 0.0)  # A new episode.


class NothingTest(parameterized.TestCase):
  @parameterized.parameters(
    'v1(message_length=0)',
    'v2(message_length=0)',
    'v3(message_length=0, execution=hard)',
    'random(message_length=0)',
  )
  def test_is_said_by_messages_of_no_length(self, spec):
    want = stepped('il')
    found = stepped(spec)
    jax.tree.map(
      np.testing.assert_array_equal,
      *(jax.tree.map(_data, (x[0], x[1], x[2])) for x in (found, want)),
    )


def _data(x):
  keyed = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  return np.asarray(jax.random.key_data(x) if keyed else x)


class MessageTest(parameterized.TestCase):
  def test_agents_permute(self):
    n, order = 3, np.array([2, 0, 1])
    made = hammer.v2(game(n), training(), message_length=2)
    params = made.policy.init(jax.random.key(0))
    seen = seen_of(n)
    messages = hammer.message_encode(
      params, seen.own.reshape((5, n * game(n).own_size))
    )
    out, value = made.local.apply(params, seen.own, messages)
    # Who is who changes everywhere: rows of parameters and of the world.
    moved = {
      name: jax.tree.map(lambda x: x[order], params[name])
      for name in ('actor', 'critic', 'decoder')
    }
    moved['encoder'] = dict(params['encoder'])
    first = moved['encoder']['dense_0'] = dict(params['encoder']['dense_0'])
    kernel = first['kernel'].reshape((n, game(n).own_size, -1))
    first['kernel'] = kernel[order].reshape(first['kernel'].shape)
    own = seen.own[:, order]
    again = hammer.message_encode(moved, own.reshape((5, -1)))
    np.testing.assert_allclose(again, messages[:, order], atol=1e-6)
    found = made.local.apply(moved, own, again)
    np.testing.assert_allclose(found[0], out[:, order], atol=1e-6)
    np.testing.assert_allclose(found[1], value[:, order], atol=1e-6)

  def test_encoder_by_hand(self):
    rng = np.random.default_rng(1)
    layer = lambda *shape: {
      'kernel': rng.normal(size=shape).astype('float32'),
      'bias': rng.normal(size=(*shape[:-2], shape[-1])).astype('float32'),
    }
    params = {
      'encoder': {'dense_0': layer(6, 4), 'dense_1': layer(4, 3)},
      'decoder': layer(2, 3, 2),
    }
    world = rng.normal(size=(5, 6)).astype('float32')
    x = world
    for i in range(2):
      one = params['encoder'][f'dense_{i}']
      x = np.maximum(x @ one['kernel'] + one['bias'], 0.0)
    want = np.einsum('bh,nhl->bnl', x, params['decoder']['kernel'])
    want = want + params['decoder']['bias']
    found = hammer.message_encode(jax.tree.map(jnp.asarray, params), world)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)

  def test_dru(self):
    z, eps = np.array([-1.0, 0.0, 2.0]), np.array([0.5, -1.0, 0.0])
    want = 1 / (1 + np.exp(-(z + 2.0 * eps)))
    z, eps = jnp.asarray(z, 'float32'), jnp.asarray(eps, 'float32')
    np.testing.assert_allclose(hammer.dru(z, noise=eps), want, atol=1e-6)
    np.testing.assert_allclose(
      hammer.dru(z), 1 / (1 + np.exp(-np.asarray(z))), atol=1e-6
    )
    found = hammer.dru(z, mode='hard', noise=eps)
    self.assertEqual(found.tolist(), [0.0, 0.0, 1.0])
    drawn = hammer.dru(jnp.zeros(20_000), sigma=2.0, key=jax.random.key(0))
    drawn = np.log(drawn / (1 - drawn))  # Back before the sigmoid.
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0, 2], atol=0.05)

  def test_hard_execution_says_zero_or_one_with_or_without_a_key(self):
    made = variant('v3(message_length=2, execution=hard)')
    params, seen = (
      stepped('v3(message_length=2, execution=hard)')[1].params,
      None,
    )
    seen = seen_of(2)
    bare, _ = made.messenger.speak(params, seen)
    keyed, choices = made.messenger.speak(params, seen, key=jax.random.key(0))
    np.testing.assert_array_equal(bare, keyed)
    z = hammer.message_encode(params, seen.own.reshape((5, -1)))
    np.testing.assert_array_equal(bare, (np.asarray(z) > 0).astype('float32'))
    self.assertEqual(choices, {})
    first = jnp.ones(5, bool)
    acted = made.policy.act(params, {}, seen, first, key=jax.random.key(0))
    self.assertEqual(acted.choices['noise'].shape, (5, 2, 2))

  def test_random_messages_are_uniform_and_new_in_every_step(self):
    made = hammer.noise(message_length=2)
    seen = seen_of(3, batch=4000)
    found, _ = made.speak({}, seen, key=jax.random.key(0))
    again, _ = made.speak({}, seen, key=jax.random.key(1))
    self.assertEqual(found.shape, (4000, 3, 2))
    np.testing.assert_allclose(found.mean((0,)), 0.5, atol=0.03)
    np.testing.assert_allclose(found.var((0,)), 1 / 12, atol=0.01)
    self.assertLess(np.abs(found - again).min(), 1.0)
    self.assertGreater(np.abs(found - again).mean(), 0.2)

  def test_messages_as_actions_have_their_densities(self):
    env = game()
    seen = seen_of(2)
    found = hammer.speaker(env, message_length=2, **_central())
    params = found.messenger.init(jax.random.key(0))
    said, choices = found.messenger.speak(params, seen, key=jax.random.key(1))
    mean, _ = found.messenger.speak(params, seen)
    self.assertLess(np.abs(mean).max(), 1.0)  # A tanh.
    log_prob, entropy, value = found.judge(params, seen, choices)
    z = (np.asarray(said - mean, np.float64) / 0.5).reshape((5, -1))
    want = -0.5 * (z * z).sum(-1) - 4 * np.log(0.5 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(log_prob, want, rtol=1e-4)
    self.assertEqual(value.shape, (5,))
    want = 4 * (0.5 + np.log(0.5 * np.sqrt(2 * np.pi)))
    np.testing.assert_allclose(entropy, want, rtol=1e-5)

  def test_symbols_are_sent_one_hot(self):
    env = game()
    found = hammer.speaker(
      env, message_length=3, messages='categorical', **_central()
    )
    params = found.messenger.init(jax.random.key(0))
    seen = seen_of(2, batch=3000)
    seen = seen._replace(own=0 * seen.own)  # All the same to it.
    said, choices = found.messenger.speak(params, seen, key=jax.random.key(1))
    self.assertEqual(set(np.unique(said)), {0.0, 1.0})
    np.testing.assert_array_equal(said.sum(-1), 1.0)
    shares = np.asarray(said).mean(0)
    log_prob, _, _ = found.judge(params, seen, choices)
    want = np.log((np.asarray(said) * shares).sum(-1)).sum(-1)
    np.testing.assert_allclose(log_prob, want, atol=0.15)


def _central():
  return {'actor_sizes': (4,), 'critic_sizes': (3,)}


class ExperimentTest(parameterized.TestCase):
  def test_trains_on_a_problem_with_seeds_side_by_side(self):
    spec, env = 'v2(message_length=2)', game()
    made = variant(spec)
    problem = problems.games.games(env, made.execution, num_episodes=2)
    _, history = experiment.train(
      made.algorithm,
      problem,
      num_rounds=2,
      key=jax.random.key(0),
      eval_every=1,
    )
    self.assertLen(history['test_return'], 3)
    self.assertTrue(np.isfinite(history['test_greedy_return']).all())

  def test_seeds_by_vmap_are_runs_alone(self):
    algorithm = variant('v2(message_length=2)').algorithm
    start, after, _, _, middle = stepped('v2(message_length=2)')
    both = jax.tree.map(lambda *xs: jnp.stack(xs), start, middle)
    keys = jnp.stack([jax.random.key(4), jax.random.key(5)])
    run = jax.vmap(lambda state, key: algorithm.step(state, None, key=key))
    found, _ = jax.jit(run)(both, keys)
    want = jax.tree.map(lambda *xs: jnp.stack(xs), middle, after)
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5),
      found.params,
      want.params,
    )

  def test_other_learners_train_them_too(self):
    made, env = variant('v3(message_length=2, execution=hard)'), game()
    learner = agents.ppo(
      env,
      made.policy,
      optimizer=optax.adam(0.01),
      num_envs=2,
      num_steps=4,
      num_minibatches=2,
      num_epochs=1,
    )
    found = hammer.from_learner(learner, made.policy)
    state = found.algorithm.init(jax.random.key(0))
    after, _ = jax.jit(learner.step)(state, None, key=jax.random.key(1))
    moved = after.params['encoder']['dense_0']['kernel']
    moved = moved - state.params['encoder']['dense_0']['kernel']
    self.assertGreater(np.abs(moved).max(), 1e-4)


class LearnerTest(parameterized.TestCase):
  def test_learners_by_name_play_as_many_steps(self):
    spec = 'ippo(num_envs=2, num_steps=2, num_minibatches=1, num_epochs=1)'
    made = hammer.make_variant(f'learner(spec={spec})', game(), training())
    state = made.algorithm.init(jax.random.key(0))
    step = lambda state, key: made.algorithm.step(state, None, key=key)
    state, found = jax.jit(step)(state, jax.random.key(1))
    self.assertTrue(np.isfinite(found['return']))
    # Two updates of two steps of two games are the eight of the others.
    self.assertEqual(int(state.num_updates), 2)
    with self.assertRaisesRegex(ValueError, 'plays 4 .* divide update_steps=6'):
      hammer.learner(game(), training(update_steps=6), spec=spec)


class WrongTest(parameterized.TestCase):
  @parameterized.parameters(
    ('v2(message_length=-1)', 'message_length must be at least 0; got -1'),
    ('v3(sigma=-1.0)', r'sigma must lie in \[0.0, 1000.0\]; got -1.0'),
    ('v3(execution=soft)', "execution='?soft'? is unknown: .*'noisy', 'hard'"),
    ('v2(sharing=some)', "sharing='?some'? is unknown"),
    (
      'v2(sharing=release, sequential=False)',
      "sharing='release' .* needs sequential=True",
    ),
    ('v1(messages=words)', "'gaussian', 'categorical'"),
    ('v1(messages=words, message_length=0)', "'gaussian', 'categorical'"),
    ('v1(std=0.0)', r'std must lie in \(0.0, 1000.0\]; got 0.0'),
    ('v1(std=-1.0, message_length=0)', r'std must lie in .* got -1.0'),
    ('v1(std=-1.0, messages=categorical)', r'std must lie in .* got -1.0'),
    (
      'v1(central_updates=3)',
      r'central_updates=3 must divide update_steps / num_envs = 4',
    ),
    ('v4', "variant='?v4'? is unknown: choose one of 'il', 'random', 'v1'"),
    ('v2(sigma=1.0)', "v2 has no option 'sigma'"),
  )
  def test_variant_is_refused(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      hammer.make_variant(spec, game(), training())

  def test_types(self):
    with self.assertRaisesRegex(
      TypeError, 'env must be a game, as agents.make_game .* or several'
    ):
      hammer.il('simple_spread', training())
    with self.assertRaisesRegex(TypeError, 'training must be a hammer.Train'):
      hammer.il(game(), {'gamma': 0.9})


if __name__ == '__main__':
  absltest.main()
