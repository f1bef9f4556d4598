# SPDX-License-Identifier: Apache-2.0
"""How agents and who talks to them learn: against NumPy, by hand, by parts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.agents import hammer

RATE = 0.3
SIZES = {'actor_sizes': (5, 4), 'critic_sizes': (4, 3), 'encoder_sizes': (6, 4)}


def game(n=2):
  return agents.make_game(
    f'simple_spread(num_agents={n}, max_steps=3, seen=partial)'
  )


def training(**options):
  small = {
    'optimizer': optax.sgd(RATE),
    'update_steps': 20,
    'num_envs': 4,
    'num_epochs': 2,
    'clip': 0.01,
  }
  return hammer.Training(**{**SIZES, **small, **options})


@functools.cache
def played(spec='v2(message_length=2)', n=2):
  """Parameters and five steps of four games."""
  env, variant = game(n), hammer.make_variant(spec, game(n), training())
  params = variant.policy.init(jax.random.key(0))
  # Kernels three times as large, so that ratios leave the clip range.
  params = jax.tree.map(lambda x: 3.0 * x, params)
  playing = agents.begin(env, variant.policy, jax.random.key(1), 4)
  roll = jax.jit(
    lambda params, playing, key: agents.rollout(
      env,
      variant.policy,
      params,
      playing,
      key=key,
      num_steps=5,
      bootstrap=False,
    )
  )
  return params, roll(params, playing, jax.random.key(2))[1], variant


def learn(spec, steps, params, *, n=2, key=0, **options):
  """Parameters after an update of the agents alone."""
  variant = hammer.make_variant(spec, game(n), training())
  own = {
    name: hammer.VARIANTS.value(spec, name)
    for name in ('sharing', 'sequential', 'resample_noise')
  }
  messenger = variant.messenger
  found = hammer.local_learning(
    variant.local,
    messenger,
    training(**options),
    **{k: v for k, v in own.items() if v is not None},
  )
  run = jax.jit(lambda p, o, s, k: found.learn(p, o, s, key=k))
  return run(params, found.start(params), steps, jax.random.key(key))


# A reference in NumPy, with its own slopes.


def forward(layers, x, ends=False):
  kept = []
  for i, layer in enumerate(layers):
    y = x @ layer['kernel'] + layer['bias']
    on = ends or i + 1 < len(layers)
    kept.append((x, y if on else None))
    x = np.maximum(y, 0.0) if on else y
  return x, kept


def backward(layers, kept, slope):
  grads = []
  for layer, (x, y) in zip(reversed(layers), reversed(kept), strict=True):
    slope = slope if y is None else slope * (y > 0)
    grads.append({'kernel': x.T @ slope, 'bias': slope.sum(0)})
    slope = slope @ layer['kernel'].T
  return grads[::-1], slope


def log_softmax(x):
  x = x - x.max(-1, keepdims=True)
  return x - np.log(np.exp(x).sum(-1, keepdims=True))


def returns(reward, done, gamma):
  out, ahead = np.zeros_like(reward), np.zeros_like(reward[0])
  for t in reversed(range(len(reward))):
    ahead = reward[t] + gamma * ahead * (1.0 - done[t])[:, None]
    out[t] = ahead
  return out


def numpy_update(params, steps, train, *, talks, heard=None, at_once=False):
  """One update by plain gradient steps in float64."""
  wide = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float64), tree)
  as_list = lambda tree: [tree[f'dense_{i}'] for i in range(len(tree))]
  params, steps = wide(params), wide(steps)
  n = steps.reward.shape[-1]
  row = lambda tree, i: jax.tree.map(lambda x: x[i].copy(), as_list(tree))
  actors = [row(params['actor'], i) for i in range(n)]
  critics = [row(params['critic'], i) for i in range(n)]
  if talks:
    encoder = as_list(params['encoder'])
    decoders = [
      jax.tree.map(lambda x, i=i: x[i].copy(), params['decoder'])
      for i in range(n)
    ]
  flat = lambda x: x.reshape((-1, *x.shape[2:]))
  done = ((steps.terminated + steps.truncated) > 0).astype(float)
  target = returns(steps.reward, done, train.gamma)
  own, world = flat(steps.seen.own), flat(steps.seen.own).reshape((-1, n * 8))
  step = lambda tree, grad: jax.tree.map(lambda x, g: x - RATE * g, tree, grad)
  clipped = 0
  for _ in range(train.num_epochs):
    later = []
    for i in range(n):
      g = flat(target)[:, i]
      g = (g - g.mean()) / (g.std() + 1e-5)
      size = len(g)
      if talks:
        hidden, kept = forward(encoder, world, ends=True)
        message = hidden @ decoders[i]['kernel'] + decoders[i]['bias']
      else:
        message = np.zeros((size, 0)) if heard is None else flat(heard)[:, i]
      x = np.concatenate([own[:, i], message], -1)
      out, kept_actor = forward(actors[i], x)
      values, kept_critic = forward(critics[i], x)
      values = values[:, 0]
      log = log_softmax(out)
      hot = np.eye(5)[flat(steps.actions)[:, i].astype(int)]
      ratio = np.exp((log * hot).sum(-1) - flat(steps.log_prob)[:, i])
      advantage = g - values
      cut = np.clip(ratio, 1 - train.clip, 1 + train.clip)
      takes = ratio * advantage <= cut * advantage
      clipped += int((~takes).sum())
      slope = -(takes * advantage * ratio)[:, None] * (hot - np.exp(log))
      entropy = -(np.exp(log) * log).sum(-1, keepdims=True)
      slope += train.entropy * np.exp(log) * (log + entropy)
      of_actor, back = backward(actors[i], kept_actor, slope / size)
      error = (2 * train.value_weight * (values - g))[:, None]
      of_critic, _ = backward(critics[i], kept_critic, error / size)
      actors[i] = step(actors[i], of_actor)
      critics[i] = step(critics[i], of_critic)
      if talks:
        back = back[:, own.shape[-1] :]
        of_decoder = {'kernel': hidden.T @ back, 'bias': back.sum(0)}
        of_encoder, _ = backward(encoder, kept, back @ decoders[i]['kernel'].T)
        decoders[i] = step(decoders[i], of_decoder)
        if at_once:
          later.append(of_encoder)
        else:
          encoder = step(encoder, of_encoder)
    for grad in later:
      encoder = step(encoder, grad)
  stack = lambda trees: jax.tree.map(lambda *xs: np.stack(xs), *trees)
  named = lambda layers: {f'dense_{i}': x for i, x in enumerate(layers)}
  found = {'actor': named(stack(actors)), 'critic': named(stack(critics))}
  if talks:
    found |= {'encoder': named(encoder), 'decoder': stack(decoders)}
  return found, clipped


def close(found, want, **tolerance):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, want
  )


class UpdateTest(parameterized.TestCase):
  def test_equals_numpy(self):
    params, steps, _ = played()
    found, _, facts = learn('v2(message_length=2)', steps, params)
    want, clipped = numpy_update(params, steps, training(), talks=True)
    self.assertGreater(clipped, 5)  # Ratios were cut.
    self.assertGreater(float(facts['clipped']), 0.1)
    close(found, want, atol=2e-4)
    # The talk has changed too, by more than that.
    moved = np.abs(want['encoder']['dense_0']['kernel'])
    moved = moved - np.abs(params['encoder']['dense_0']['kernel'])
    self.assertGreater(np.abs(moved).max(), 2e-3)

  def test_what_is_not_learned_is_heard_as_it_was_said(self):
    params, steps, _ = played('random(message_length=1)')
    found, *_ = learn('random(message_length=1)', steps, params)
    want, _ = numpy_update(
      params,
      steps,
      training(),
      talks=False,
      heard=steps.choices['message'],
    )
    close(found, want, atol=2e-4)

  def test_agents_alone_learn_apart_in_any_order(self):
    params, steps, _ = played('il')
    found, *_ = learn('il', steps, params)
    close(
      found, numpy_update(params, steps, training(), talks=False)[0], atol=2e-4
    )
    close(found, learn('il(sequential=False)', steps, params)[0], atol=1e-6)

  def test_all_at_once_is_one_step_by_the_sum(self):
    params, steps, _ = played()
    spec = 'v2(message_length=2, sequential=False)'
    found, *_ = learn(spec, steps, params)
    want, _ = numpy_update(params, steps, training(), talks=True, at_once=True)
    close(found, want, atol=2e-4)
    other, _ = numpy_update(params, steps, training(), talks=True)
    gap = other['encoder']['dense_0']['kernel']
    gap = gap - want['encoder']['dense_0']['kernel']
    self.assertGreater(np.abs(gap).max(), 1e-3)

  def test_shared_parameters_take_every_agents_step(self):
    params, steps, _ = played('il(sharing=all)')
    found, *_ = learn('il(sharing=all)', steps, params, num_epochs=1)
    # Without a state of the optimizer the release does the same.
    same, *_ = learn('il(sharing=release)', steps, params, num_epochs=1)
    close(found, same, atol=1e-6)
    # Agent 1 starts where agent 0 ended.
    names = ('actions', 'log_prob', 'reward')
    by_agent = lambda i: steps._replace(
      seen=agents.Seen(steps.seen.own[:, :, i : i + 1]),
      **{name: getattr(steps, name)[..., i : i + 1] for name in names},
    )
    env = game().replace(num_agents=1)
    local = hammer.local_agents(
      env, actor_sizes=(5, 4), critic_sizes=(4, 3), shared=True
    )
    one = hammer.local_learning(
      local, hammer.silent(), training(num_epochs=1), sharing='all'
    )
    want = params
    for i in range(2):
      want, *_ = one.learn(
        want, one.start(want), by_agent(i), key=jax.random.key(0)
      )
    close(found, want, atol=1e-5)

  def test_release_has_a_state_for_each_agent(self):
    params, steps, _ = played('v2(sharing=all)')
    shapes = {}
    for sharing in ('all', 'release'):
      spec = f'v2(sharing={sharing})'
      found, state, _ = learn(
        spec, steps, params, optimizer=optax.adam(1e-2), num_epochs=1
      )
      shapes[sharing] = [x.shape for x in jax.tree.leaves(state['common'])]
      shapes[sharing + ' params'] = found['actor']['dense_0']['kernel']
    self.assertEqual(shapes['release'], [(2, *x) for x in shapes['all']])
    gap = np.abs(shapes['release params'] - shapes['all params'])
    self.assertGreater(gap.max(), 1e-4)

  def test_nobody_learns_of_the_dead(self):
    params, steps, _ = played()
    alive = np.ones(steps.reward.shape, bool)
    alive[3:, :, 1] = False
    own = np.array(steps.seen.own)
    log_prob = np.array(steps.log_prob)
    results = []
    for poison in (0.0, 100.0):
      log_prob[3:, :, 1] = -poison
      seen = steps.seen._replace(own=own, alive=jnp.asarray(alive))
      some = steps._replace(seen=seen, log_prob=jnp.asarray(log_prob))
      found = learn('v2(message_length=2)', some, params, num_epochs=1)[0]
      results.append(found)
    close(results[0], results[1], atol=0)
    everyone = learn('v2(message_length=2)', steps, params, num_epochs=1)[0]
    gap = everyone['actor']['dense_0']['kernel'][1]
    gap = gap - results[0]['actor']['dense_0']['kernel'][1]
    self.assertGreater(np.abs(gap).max(), 1e-4)


class NoiseTest(parameterized.TestCase):
  SPEC = 'v3(message_length=2, sequential=False)'

  def test_stored_noise_leaves_ratios_at_one(self):
    params, steps, _ = played(self.SPEC)
    facts = learn(self.SPEC, steps, params, num_epochs=1)[2]
    self.assertLess(abs(float(facts['kl'])), 1e-6)
    self.assertEqual(float(facts['clipped']), 0.0)
    spec = 'v3(message_length=2, sequential=False, resample_noise=True)'
    facts = learn(spec, steps, params, num_epochs=1)[2]
    self.assertGreater(float(facts['kl']), 1e-4)
    self.assertGreater(float(facts['clipped']), 0.0)

  def test_first_step_is_the_policy_gradient(self):
    params, steps, variant = played(self.SPEC)
    quiet = {'num_epochs': 1, 'entropy': 0.0, 'value_weight': 0.0}
    found, *_ = learn(self.SPEC, steps, params, **quiet)
    target = hammer.targets_of(steps.reward, steps.done, gamma=0.95)

    def plain(params):
      judged = variant.policy.judge(
        params, {}, steps.seen, steps.actions, steps.choices, steps.first
      )
      advantages = jax.lax.stop_gradient(target - judged.value)
      each = jnp.mean(judged.log_prob * advantages, axis=(0, 1))
      return -jnp.sum(each)

    slope = jax.jit(jax.grad(plain))(params)
    close(
      found, jax.tree.map(lambda x, g: x - RATE * g, params, slope), atol=2e-5
    )


class GradientTest(parameterized.TestCase):
  """What reaches the central agent."""

  TALK = ('encoder', 'decoder')

  def test_nothing_from_those_who_do_not_listen(self):
    params, steps, _ = played()
    deaf = jax.tree.map(lambda x: x, params)
    kernel = np.array(params['actor']['dense_0']['kernel'])
    kernel[:, -2:] = 0.0
    deaf['actor']['dense_0']['kernel'] = jnp.asarray(kernel)
    # They listen from the second epoch on: the rows of messages move.
    found, *_ = learn('v2(message_length=2)', steps, deaf, num_epochs=1)
    for name in self.TALK:
      close(found[name], deaf[name], atol=0)
    found, *_ = learn('v2(message_length=2)', steps, params, num_epochs=1)
    for name in self.TALK:
      moved = jax.tree.map(
        lambda x, y: float(np.abs(x - y).max()), found[name], params[name]
      )
      self.assertGreater(min(jax.tree.leaves(moved)), 1e-6)

  def test_nothing_from_critics(self):
    params, steps, variant = played()

    def error(params):
      judged = variant.policy.judge(
        params, {}, steps.seen, steps.actions, steps.choices, steps.first
      )
      return jnp.mean((judged.value - 1.0) ** 2)

    slope = jax.jit(jax.grad(error))(params)
    for name in self.TALK:
      for x in jax.tree.leaves(slope[name]):
        np.testing.assert_array_equal(x, 0.0)
    heard = slope['critic']['dense_0']['kernel'][:, -2:]
    self.assertGreater(np.abs(heard).max(), 1e-6)


class TargetsTest(parameterized.TestCase):
  def test_by_hand(self):
    reward = jnp.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]).T[:, None]
    done = jnp.array([[False], [True], [False]])
    found = hammer.targets_of(reward, done, gamma=0.5)[:, 0]
    want = np.array([2.0, 2.0, 3.0])  # Returns.
    want = (want - want.mean()) / (want.std() + 1e-5)
    np.testing.assert_allclose(found[:, 0], want, atol=1e-6)
    want = np.array([7.5, 5.0, 5.0])
    want = (want - want.mean()) / (want.std() + 1e-5)
    np.testing.assert_allclose(found[:, 1], want, atol=1e-6)

  def test_a_constant_has_no_deviation(self):
    found = hammer.targets_of(
      jnp.ones((4, 2, 3)), jnp.ones((4, 2), bool), gamma=0.9
    )
    np.testing.assert_array_equal(found, 0.0)


class WrongTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'update_steps': 30}, 'update_steps=30 must be a multiple of num_envs=4'),
    ({'update_steps': 0}, 'update_steps must be at least 1; got 0'),
    ({'num_envs': 0}, 'num_envs must be at least 1'),
    ({'num_epochs': 0}, 'num_epochs must be at least 1'),
    ({'gamma': 1.5}, r'gamma must lie in \[0.0, 1.0\]; got 1.5'),
    ({'clip': -0.1}, 'clip must lie in'),
    ({'entropy': float('nan')}, 'entropy must lie in'),
    ({'actor_sizes': ()}, 'actor_sizes is empty'),
    ({'encoder_sizes': (0,)}, 'encoder_sizes must be at least 1'),
    ({'std': 0.0}, r'std must lie in \(0.0, 1000.0\]; got 0.0'),
    ({'std': float('nan')}, r'std must lie in .* got nan'),
  )
  def test_training_is_refused(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      training(**options)

  def test_an_optimizer_is_none(self):
    with self.assertRaisesRegex(TypeError, 'optimizer'):
      training(optimizer=0.1)


if __name__ == '__main__':
  absltest.main()
