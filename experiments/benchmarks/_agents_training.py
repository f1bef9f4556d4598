# SPDX-License-Identifier: Apache-2.0
"""Steps of games per second of IPPO, against one file in PureJaxRL's shape.

Both train the same network on the same game with the same numbers: 64-64 tanh,
128 steps, 4 epochs of 4 minibatches, Adam, the gradient's norm clipped. The
single file keeps to the shape of its model: agents as rows of a batch, every
game restarted by a branch that is always computed, time that is up as the end.
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import optax

from experiments.benchmarks import _timing
from jaxdl import agents

STEPS, EPOCHS, MINIBATCHES = 128, 4, 4
GAMMA, LAMBDA, CLIP, RATE = 0.99, 0.95, 0.2, 2.5e-4


def _dense(key, size_in, size, gain):
  make = jax.nn.initializers.orthogonal(gain)
  return {'w': make(key, (size_in, size)), 'b': jnp.zeros((size,))}


def _network(key, size_in, num_actions):
  keys = jax.random.split(key, 6)
  root2 = 2.0**0.5
  sizes = ((size_in, 64, root2), (64, 64, root2))
  return {
    'actor': [
      *(_dense(k, *s) for k, s in zip(keys, sizes, strict=False)),
      _dense(keys[2], 64, num_actions, 0.01),
    ],
    'critic': [
      *(_dense(k, *s) for k, s in zip(keys[3:], sizes, strict=False)),
      _dense(keys[5], 64, 1, 1.0),
    ],
  }


def _apply(params, x):
  def run(layers, x):
    for layer in layers[:-1]:
      x = jnp.tanh(x @ layer['w'] + layer['b'])
    return x @ layers[-1]['w'] + layers[-1]['b']

  return run(params['actor'], x), run(params['critic'], x)[..., 0]


def single_file(env, num_envs, num_updates):
  """Returns `train(key)` in the shape of PureJaxRL's PPO."""
  n = env.num_agents
  rows = num_envs * n
  tx = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(RATE, eps=1e-5))

  def flat(x):
    return x.reshape((rows, *x.shape[2:]))

  def train(key):
    key, net_key, env_key = jax.random.split(key, 3)
    params = _network(net_key, env.own_size, env.num_actions)
    opt_state = tx.init(params)
    seen, games = jax.vmap(env.reset)(jax.random.split(env_key, num_envs))

    def update(state, _):
      def env_step(state, _):
        params, opt_state, games, obs, key = state
        key, act_key, env_key = jax.random.split(key, 3)
        logits, value = _apply(params, obs)
        action = jax.random.categorical(act_key, logits)
        log_prob = jax.nn.log_softmax(logits)
        log_prob = jnp.take_along_axis(log_prob, action[:, None], -1)[:, 0]
        keys = jax.random.split(env_key, num_envs)
        games, step = jax.vmap(lambda g, a, k: env.step(g, a, key=k))(
          games, action.reshape(num_envs, n), keys
        )
        done = jnp.repeat(step.done, n)
        played = (done, action, value, flat(step.reward), log_prob, obs)
        return (params, opt_state, games, flat(step.seen.own), key), played

      state, played = jax.lax.scan(env_step, state, None, STEPS)
      params, opt_state, games, obs, key = state
      _, last = _apply(params, obs)
      done, action, value, reward, log_prob, seen = played

      def advantage(carry, x):
        gae, ahead = carry
        done, value, reward = x
        delta = reward + GAMMA * ahead * (1 - done) - value
        gae = delta + GAMMA * LAMBDA * (1 - done) * gae
        return (gae, value), gae

      _, gaes = jax.lax.scan(
        advantage,
        (jnp.zeros_like(last), last),
        (done, value, reward),
        reverse=True,
        unroll=16,
      )
      batch = (seen, action, log_prob, value, gaes, gaes + value)

      def loss(params, part):
        seen, action, old, value_old, gae, target = part
        logits, value = _apply(params, seen)
        log = jax.nn.log_softmax(logits)
        new = jnp.take_along_axis(log, action[:, None], -1)[:, 0]
        moved = value_old + (value - value_old).clip(-CLIP, CLIP)
        worst = jnp.maximum((value - target) ** 2, (moved - target) ** 2)
        ratio = jnp.exp(new - old)
        gae = (gae - gae.mean()) / (gae.std() + 1e-8)
        actor = jnp.minimum(
          ratio * gae, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * gae
        )
        entropy = -jnp.sum(jnp.exp(log) * log, -1).mean()
        return -actor.mean() + 0.5 * 0.5 * worst.mean() - 0.01 * entropy

      def epoch(state, _):
        params, opt_state, key = state
        key, order_key = jax.random.split(key)
        order = jax.random.permutation(order_key, STEPS * rows)
        parts = jax.tree.map(
          lambda x: jnp.take(
            x.reshape((STEPS * rows, *x.shape[2:])), order, axis=0
          ).reshape((MINIBATCHES, -1, *x.shape[2:])),
          batch,
        )

        def minibatch(state, part):
          params, opt_state = state
          grads = jax.grad(loss)(params, part)
          updates, opt_state = tx.update(grads, opt_state, params)
          return (optax.apply_updates(params, updates), opt_state), None

        (params, opt_state), _ = jax.lax.scan(
          minibatch, (params, opt_state), parts
        )
        return (params, opt_state, key), None

      (params, opt_state, key), _ = jax.lax.scan(
        epoch, (params, opt_state, key), None, EPOCHS
      )
      return (params, opt_state, games, obs, key), reward.mean()

    state = (params, opt_state, games, flat(seen.own), key)
    _, rewards = jax.lax.scan(update, state, None, num_updates)
    return rewards

  return train


def ours(env, num_envs, num_updates, **options):
  """Returns `train(key)` of `agents.ppo`."""
  tx = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(RATE, eps=1e-5))
  learner = agents.ppo(
    env,
    agents.actor_critic(env),
    optimizer=tx,
    num_envs=num_envs,
    num_steps=STEPS,
    num_epochs=EPOCHS,
    num_minibatches=MINIBATCHES,
    **options,
  )

  def train(key):
    init_key, run_key = jax.random.split(key)
    state = learner.init(init_key)
    body = lambda s, k: learner.step(s, None, key=k)
    _, found = jax.lax.scan(body, state, jax.random.split(run_key, num_updates))
    return found['return']

  return train


def _row(label, fns, *, steps, rounds):
  times = _timing.measure(fns, rounds=rounds)
  first, *others = fns
  out = {'label': label}
  for name in fns:
    out[f'{name}_steps_per_s'] = 1e3 * steps[name] / times.ms(name)
  for name in others:
    ratio = times.ratio(name, first) * steps[first] / steps[name]
    out[f'{first}_over_{name}'] = ratio
  return out


def sizes(*, num_envs=(1, 16, 256, 4096), num_agents=(3, 10, 30), rounds=3):
  """Rows of steps of games per second by games and agents.

  Args:
    num_envs: games, with three agents.
    num_agents: agents, in 16 games.
    rounds: turns of each.

  Returns:
    Rows with steps per second and the ratio of ours to the single file's.
  """
  out = []
  cases = [(e, 3) for e in num_envs] + [(16, n) for n in num_agents if n != 3]
  for e, n in cases:
    env = agents.make_game(f'simple_spread(num_agents={n})')
    updates = max(1, 256 // e)
    steps = updates * e * STEPS
    fns = {
      name: functools.partial(jax.jit(make(env, e, updates)), jax.random.key(0))
      for name, make in (('jaxdl', ours), ('single_file', single_file))
    }
    row = _row(
      f'{e} games of {n} agents',
      fns,
      steps=dict.fromkeys(fns, steps),
      rounds=rounds,
    )
    out.append(row)
  return out


def seeds(*, num_seeds=8, num_envs=16, num_updates=4, rounds=3):
  """Rows of eight seeds side by side against one.

  Args:
    num_seeds: seeds.
    num_envs: games of each.
    num_updates: updates of each.
    rounds: turns of each.

  Returns:
    A row; the ratio is that of steps per second, all seeds together.
  """
  env = agents.make_game('simple_spread')
  train = ours(env, num_envs, num_updates)
  keys = jax.random.split(jax.random.key(0), num_seeds)
  many, one = jax.jit(jax.vmap(train)), jax.jit(train)
  steps = num_updates * num_envs * STEPS
  fns = {'side_by_side': lambda: many(keys), 'alone': lambda: one(keys[0])}
  counts = {'side_by_side': num_seeds * steps, 'alone': steps}
  return [_row(f'{num_seeds} seeds', fns, steps=counts, rounds=rounds)]


if __name__ == '__main__':
  quick = '--quick' in sys.argv
  options = {'num_envs': (16,), 'num_agents': ()} if quick else {}
  print(json.dumps(sizes(**options) + seeds(), indent=1))
