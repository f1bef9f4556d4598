# SPDX-License-Identifier: Apache-2.0
"""Learners by name, alone and on networks, for flags and notebooks."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import mixing
from jaxdl.agents import (
  _environment,
  _learners,
  networked as networks_lib,
)
from jaxdl.core import checks, registry, types

EXCHANGES = ('params', 'gradients', 'none')


def _networked(
  *,
  learner: str = 'ippo',
  exchange: str = 'params',
  every: int = 1,
  parts: str = 'all',
  rule: str | None = None,
  attack: str | None = None,
  num_byzantine: int = 0,
  same_start: bool = True,
) -> dict[str, Any]:
  """Reads the options of learners on a network, see `agents.networked`.

  Args:
    learner: an entry of `ALGORITHMS` with the option `shared`.
    exchange: 'params', 'gradients' or 'none' (isolated learners).
    every: updates between exchanges of params.
    parts: 'all' params or those of the 'actor'.
    rule: a part of `aggregators.RULES` in place of weighted means.
    attack: what the last learners send, a part of `attacks.ATTACKS`.
    num_byzantine: how many they are.
    same_start: whether all start from the same parameters.

  Returns:
    The options.
  """
  return locals()


NETWORKED = registry.Registry('algorithm', {'networked': _networked})


class _Grammar:
  """`algorithm`, `algorithm@topology` or `networked(...)@topology`."""

  def lines(self) -> list[str]:
    """Returns every part with its options and their defaults."""
    return [
      *_learners.ALGORITHMS.lines(),
      *(f'{line}@topology' for line in NETWORKED.lines()),
    ]

  def check(self, text: str, *, name: str = 'algorithm') -> None:
    """Raises ValueError unless the text is a learner."""
    _read(text, name=name)


LEARNERS = _Grammar()


def _read(spec, *, name='algorithm'):
  """A learner's part, its topology or None, and options of the network."""
  first, topology = registry.pair(spec, name=name)
  options = None
  if topology is not None:
    mixing.TOPOLOGIES.check(topology, name=name)
    options = _networked()
    if registry.parse(first, name=name).name == 'networked':
      part = NETWORKED.part(first, name=name)
      options = NETWORKED.bound(part)
      first = options['learner']
    else:
      options['learner'] = first
    checks.choice(options['exchange'], EXCHANGES, name='exchange')
    checks.flag(options['same_start'], name='same_start')
    _check_exchange(spec, options, name)
  elif registry.parse(first, name=name).name == 'networked':
    raise ValueError(
      f'{name}={spec!r} is on nothing: write {spec}@ring, or another topology.'
    )
  _learners.ALGORITHMS.check(first, name=name)
  return first, topology, options


def _check_exchange(spec, options, name):
  """Raises where an option says how to send what nobody sends."""
  exchange = options['exchange']
  usual = _networked()
  idle = []
  if exchange == 'none':
    idle = ['rule', 'attack']
  if exchange != 'params':
    idle += ['every', 'parts']
  for option in idle:
    if options[option] != usual[option]:
      raise ValueError(
        f'{name}={spec!r}: {option}={options[option]} has no effect with '
        f'exchange={exchange}.'
      )


def make_learner(
  spec: str,
  env: _environment.Environment,
  *,
  num_updates: int,
  seed: int = 0,
) -> _learners.Learner:
  """Makes a learner by name.

  Args:
    spec: a part of `ALGORITHMS` such as 'mappo(num_envs=32)'; on a network
      `ippo@ring`, where all have parameters of their own and gossip, or
      `networked(learner=ippo, rule=median, attack=sign_flip, num_byzantine=1)@
      complete` with options of the exchange.
    env: the game.
    num_updates: of the whole run, which schedules follow.
    seed: of random topologies.

  Returns:
    The learner.

  Raises:
    ValueError: if a name or an option is unknown or out of range, or a learner
      cannot have parameters for each agent.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=3)')
    >>> learner = make_learner('ippo(num_envs=4)@ring', env, num_updates=10)
    >>> learner.num_steps, learner.policy.per_agent
    (512, True)
  """
  _environment.check_environment(env)
  checks.integer(num_updates, name='num_updates', low=1)
  checks.integer(seed, name='seed', low=0)
  text, topology, options = _read(spec)
  if options is None:
    return _learners.ALGORITHMS.make(text, env, num_updates=num_updates)
  n = env.num_agents
  part = _learners.ALGORITHMS.part(text)
  known = _learners.ALGORITHMS.options(part.name)
  if 'shared' in known:
    if part.options.get('shared') is True:
      raise ValueError(
        f'{spec}: agents on a network have parameters of their own; leave '
        'shared out.'
      )
    part.options['shared'] = False
    if known.get('normalize') and known['normalize'].default == 'minibatch':
      part.options.setdefault('normalize', 'agent')
  elif part.name != 'maddpg':
    raise ValueError(
      f'{spec}: {part.name} learns nothing that agents could exchange.'
    )
  link = None
  if options['exchange'] != 'none':
    link = networks_lib.make_link(
      topology,
      n,
      rule=options['rule'],
      attack=options['attack'],
      num_byzantine=options['num_byzantine'],
      seed=seed,
    )

  def wrap(made):
    made = networks_lib.per_agent(made, n)
    if options['exchange'] != 'gradients':
      return made
    return optax.chain(networks_lib.exchanged_gradients(link, seed=seed), made)

  own = _learners.ALGORITHMS.bound(
    part, env, num_updates=num_updates, wrap=wrap,
  )  # fmt: skip
  algorithm = networks_lib.networked(
    own.algorithm,
    link if options['exchange'] == 'params' else None,
    num_agents=n,
    every=options['every'],
    parts=options['parts'],
    num_byzantine=options['num_byzantine'],
    same_start=options['same_start'],
  )
  return own._replace(
    algorithm=algorithm, num_honest=n - options['num_byzantine']
  )


def repeated(algorithm: types.Algorithm, num_updates: int) -> types.Algorithm:
  """Makes several updates one step.

  Args:
    algorithm: any that runs on a device.
    num_updates: updates of a step (static).

  Returns:
    The algorithm; metrics are means over the updates.
  """
  if not isinstance(algorithm, types.Algorithm):
    raise TypeError(
      f'algorithm must be one of jaxdl; got {checks.described(algorithm)}.'
    )
  times = checks.integer(num_updates, name='num_updates', low=1)
  if times == 1:
    return algorithm

  def step(state, cohort=None, *, key):
    state, found = jax.lax.scan(
      lambda s, k: algorithm.step(s, cohort, key=k),
      state,
      jax.random.split(key, times),
    )
    return state, jax.tree.map(lambda x: jnp.mean(x, axis=0), found)

  return algorithm._replace(step=step)


def check_finite(
  metrics: dict[str, chex.Array], *, update: int, variant: str
) -> None:
  """Raises if a figure of training is no finite number.

  Args:
    metrics: f[S] by name, on the host.
    update: how many updates were done.
    variant: whose.

  Raises:
    FloatingPointError: naming the update and the last metrics.

  Example:
    >>> check_finite({'loss': np.ones(2)}, update=3, variant='ippo')
  """
  wrong = [k for k, v in metrics.items() if not np.isfinite(v).all()]
  if wrong:
    shown = ', '.join(
      f'{k}={np.asarray(v).tolist()}' for k, v in sorted(metrics.items())
    )
    raise FloatingPointError(
      f'{variant} diverged: {", ".join(wrong)} of update {update} is no finite '
      f'number. Last metrics, by seed: {shown}. Lower its learning rate.'
    )
