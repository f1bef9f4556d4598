# SPDX-License-Identifier: Apache-2.0
"""Games with other rewards, or of which agents see less."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxdl.agents import _environment
from jaxdl.core import checks


def shared_reward(env: _environment.Environment) -> _environment.Environment:
  """Gives every agent the mean of all rewards.

  Args:
    env: a game.

  Returns:
    The game with shared rewards.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('shared_reward+routing')
    >>> _, game = env.reset(jax.random.key(0))
    >>> _, step = env.step(game, game.state, key=jax.random.key(1))
    >>> bool((step.reward == step.reward[0]).all())
    True
  """
  _environment.check_environment(env)
  inner = env.move

  def move(params, state, actions, key):
    state, outcome = inner(params, state, actions, key)
    mean = jnp.mean(outcome.reward)
    reward = jnp.broadcast_to(mean, outcome.reward.shape)
    return state, outcome._replace(reward=reward)

  return env.replace(move=move, name=f'shared_reward+{env.name}')


def heterogeneous(
  env: _environment.Environment,
  *,
  agents: Sequence[int] = (1,),
  first: int = 10,
  last: int | None = None,
) -> _environment.Environment:
  """Zeroes some of what named agents see; sizes stay.

  Args:
    env: a game.
    agents: who sees less, ids from 0.
    first: entries before it are seen.
    last: entries from it on are seen again; none if None.

  Returns:
    The game. A view that is given to a central critic (`Seen.world`) stays.

  Raises:
    ValueError: if there is no such agent, or no entry to zero.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('heterogeneous(agents=(1,))+simple_spread')
    >>> seen, _ = env.reset(jax.random.key(0))
    >>> (seen.own[:, 10:14] != 0).all(axis=-1).tolist()
    [True, False, True]

  Source: Gupta et al. 2021 (https://arxiv.org/abs/2102.00824), section 5.
  """
  _environment.check_environment(env)
  if isinstance(agents, int):
    agents = (agents,)
  high = env.num_agents - 1
  if not agents:
    raise ValueError('agents is empty: name who sees less.')
  who = [checks.integer(a, name='agents', low=0, high=high) for a in agents]
  size = env.own_size
  checks.integer(first, name='first', low=0, high=size - 1)
  end = size if last is None else last
  checks.integer(end, name='last', low=first + 1, high=size)
  hidden = np.zeros((env.num_agents, size), bool)
  hidden[who, first:end] = True
  inner = env.observe

  def observe(params, state):
    seen = inner(params, state)
    return seen._replace(own=jnp.where(hidden, 0.0, seen.own))

  return env.replace(observe=observe, name=f'heterogeneous+{env.name}')


def observe_first(
  env: _environment.Environment, *, limit: int = 10
) -> _environment.Environment:
  """Shows agents only the first entries of what they saw.

  Args:
    env: a game.
    limit: entries that stay; 10 of the 18 of `simple_spread` leave out the
      others, 4 + 2 N do so for N agents.

  Returns:
    The game; a view that is given to a central critic stays.

  Raises:
    ValueError: if `limit` is not among the sizes.

  Example:
    >>> from jaxdl import agents
    >>> agents.make_game('observe_first(limit=10)+simple_spread').own_size
    10

  Source: Gupta et al. 2021 (https://arxiv.org/abs/2102.00824), section 5.
  """
  _environment.check_environment(env)
  checks.integer(limit, name='limit', low=1, high=env.own_size)
  inner = env.observe

  def observe(params, state):
    seen = inner(params, state)
    return seen._replace(own=seen.own[:, :limit])

  return env.replace(
    observe=observe,
    own_size=limit,
    name=f'observe_first+{env.name}',
    seen_names=env.seen_names[:limit],
  )
