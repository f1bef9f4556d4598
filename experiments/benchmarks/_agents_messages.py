# SPDX-License-Identifier: Apache-2.0
"""Updates of agents that are told something, against a loop of small programs.

`rows` compares an update of `hammer.v2` as one program with the same steps as
programs of one agent each, called from Python in K epochs for N agents, which
is how the release is written. As a module it prints the rows as JSON:

    python -m experiments.benchmarks._agents_messages --rounds=5
"""

import argparse
import functools
import json
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.benchmarks import _timing
from jaxdl import agents
from jaxdl.agents import hammer

NAMES = ('encoder', 'decoder', 'actor', 'critic')


def _setting(num_agents: int):
  """A variant, its parameters and an update's worth of steps."""
  env = agents.make_game(
    f'simple_spread(num_agents={num_agents}, seen=partial)'
  )
  training = hammer.Training()
  variant = hammer.v2(env, training)
  params = jax.jit(variant.policy.init)(jax.random.key(0))
  playing = agents.begin(env, variant.policy, jax.random.key(1), 32)

  @jax.jit
  def play(params, playing):
    return agents.rollout(
      env,
      variant.policy,
      params,
      playing,
      key=jax.random.key(2),
      num_steps=training.num_steps,
      bootstrap=False,
    )[1]

  return variant, training, params, play(params, playing)


def _naive(variant, training, params, steps):
  """K N programs, each a step of one agent and the encoder."""
  num = steps.reward.shape[-1]
  flat = lambda x: x.reshape((-1, *x.shape[2:]))
  world = flat(steps.seen.own).reshape((flat(steps.seen.own).shape[0], -1))
  target = flat(
    hammer.targets_of(steps.reward, steps.done, gamma=training.gamma)
  )

  def loss(own, data):
    message = variant.messenger.one(own, own, world, {})
    out, value = variant.local.one(own, data['own'], message)
    kind = variant.local.actions
    return hammer.losses(
      kind.log_prob(out, data['actions']),
      data['log_prob'],
      value,
      data['target'],
      kind.entropy(out),
      clip=training.clip,
    ).total(training)

  @jax.jit
  def step(own, state, data):
    grads = jax.grad(loss)(own, data)
    updates, state = training.optimizer.update(grads, state, own)
    return optax.apply_updates(own, updates), state

  row = lambda tree, i: jax.tree.map(lambda x: x[i], tree)
  alone = [
    {name: row(params[name], i) for name in NAMES[1:]} for i in range(num)
  ]
  data = [
    {
      'own': flat(steps.seen.own)[:, i],
      'actions': flat(steps.actions)[:, i],
      'log_prob': flat(steps.log_prob)[:, i],
      'target': target[:, i],
    }
    for i in range(num)
  ]
  full = [own | {'encoder': params['encoder']} for own in alone]
  states = [training.optimizer.init(own) for own in full]

  def run():
    now, opt = list(alone), list(states)
    encoder = params['encoder']
    for _ in range(training.num_epochs):
      for i in range(num):
        own, opt[i] = step(now[i] | {'encoder': encoder}, opt[i], data[i])
        encoder = own.pop('encoder')
        now[i] = own
    return encoder, now

  return run


def rows(
  *, rounds: int = 9, num_agents: Sequence[int] = (3, 10)
) -> list[dict[str, Any]]:
  """Measures updates of 800 steps, 8 epochs.

  Args:
    rounds: turns of every contender.
    num_agents: N.

  Returns:
    A row for each N: milliseconds of an update as one program, one after the
    other ('sequential') and at once ('joint'), of the loop ('naive'), and how
    many times as long the loop takes as the sequential program.
  """
  found = []
  for n in num_agents:
    variant, training, params, steps = _setting(n)
    fns = {'naive': _naive(variant, training, params, steps)}
    for name, sequential in (('sequential', True), ('joint', False)):
      learning = hammer.local_learning(
        variant.local, variant.messenger, training, sequential=sequential
      )
      learn = jax.jit(
        lambda p, o, s, learning=learning: learning.learn(
          p, o, s, key=jax.random.key(0)
        )
      )
      fns[name] = functools.partial(
        learn, params, jax.jit(learning.start)(params), steps
      )
    times = _timing.measure(fns, rounds=rounds)
    found.append(
      {
        'num_agents': n,
        **{f'{name}_ms': times.ms(name) for name in fns},
        'ratio': times.ratio('naive', 'sequential'),
      }
    )
  return found


def seeds(*, rounds: int = 5, num_seeds: int = 8) -> dict[str, float]:
  """Measures steps of games per second of training, by seeds side by side.

  Args:
    rounds: turns of every contender.
    num_seeds: S.

  Returns:
    Thousands of steps per second of one seed and of S, and their ratio.
  """
  env = agents.make_game('simple_spread(num_agents=3, seen=partial)')
  training = hammer.Training()
  algorithm = hammer.v2(env, training).algorithm
  run = lambda state, key: algorithm.step(state, None, key=key)[0]
  keys = jax.random.split(jax.random.key(0), num_seeds)
  many = jax.jit(jax.vmap(algorithm.init))(keys)
  one = jax.tree.map(lambda x: jnp.array(x[0]), many)
  fns = {
    'one': functools.partial(jax.jit(run), one, keys[0]),
    'many': functools.partial(jax.jit(jax.vmap(run)), many, keys),
  }
  times = _timing.measure(fns, rounds=rounds)
  speed = {'one': training.update_steps / times.ms('one')}
  speed['many'] = num_seeds * training.update_steps / times.ms('many')
  return {
    'num_seeds': num_seeds,
    'one_ksteps': speed['one'],
    'many_ksteps': speed['many'],
    'ratio': num_seeds * times.ratio('one', 'many'),
  }


if __name__ == '__main__':
  parser = argparse.ArgumentParser()
  parser.add_argument('--rounds', type=int, default=9)
  rounds = parser.parse_args().rounds
  print(json.dumps({'updates': rows(rounds=rounds), 'seeds': seeds()}))
