# SPDX-License-Identifier: Apache-2.0
"""What agents do and whom they depend on, for tables and pictures."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.agents import _environment, _policy, _rollout


def saliency(
  env: _environment.Environment,
  policy: _policy.Policy,
  params: chex.ArrayTree,
  *,
  key: chex.PRNGKey,
  num_envs: int = 16,
  num_steps: int = 4,
) -> chex.Array:
  """Measures how much what an agent says depends on what others saw.

  Args:
    env: the game.
    policy: who plays, with `Acted.out`.
    params: of the policy.
    key: consumed.
    num_envs: games, each from its start.
    num_steps: T, steps; the last is asked, and all count.

  Returns:
    f[N, N], row i: the norm of the slope of the score of what agent i did in
    row j of what is seen, summed over T steps, a mean over games.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> policy = agents.actor_critic(env, hidden_sizes=(8,))
    >>> params = policy.init(jax.random.key(0))
    >>> found = saliency(env, policy, params, key=jax.random.key(1))
    >>> found.shape, bool(found[0, 1] == 0)
    ((2, 2), True)
  """
  start_key, play_key = jax.random.split(key)
  playing = _rollout.begin(env, policy, start_key, num_envs)
  _, steps = _rollout.rollout(
    env, policy, params, playing, key=play_key, num_steps=num_steps
  )

  def said(own):
    seen = steps.seen._replace(own=own)
    out = policy.judge(
      params,
      playing.carry,
      seen,
      steps.actions,
      steps.choices,
      steps.first,
    ).out[-1]
    if env.num_actions is None:
      score = jnp.sum(out, axis=-1)
    else:
      hot = jax.nn.one_hot(steps.actions[-1], out.shape[-1], dtype=out.dtype)
      score = jnp.sum(jnp.where(hot > 0, out, 0.0), axis=-1)
    return jnp.sum(score, axis=0)

  slopes = jax.jacrev(said)(steps.seen.own)
  size = jnp.sqrt(jnp.sum(slopes**2, axis=-1))
  return jnp.mean(jnp.sum(size, axis=1), axis=1)


def rates_by_context(
  env: _environment.Environment,
  policy: _policy.Policy,
  params: chex.ArrayTree,
  *,
  key: chex.PRNGKey,
  num_envs: int = 64,
  num_steps: int = 64,
  action: int = 0,
) -> tuple[chex.Array, chex.Array]:
  """Measures how often an action is taken after each symbol that is seen.

  Args:
    env: a game whose rows are one-hot, such as `iterated_dilemma`.
    policy: who plays.
    params: of the policy.
    key: consumed.
    num_envs: games.
    num_steps: steps of each.
    action: which.

  Returns:
    f[N, d], the share of the action by agent and symbol, 0 where the symbol was
    never seen; and f[N, d], how often it was.
  """
  start_key, play_key = jax.random.split(key)
  playing = _rollout.begin(env, policy, start_key, num_envs)
  _, steps = _rollout.rollout(
    env, policy, params, playing, key=play_key, num_steps=num_steps
  )
  symbol = steps.seen.own
  did = (steps.actions == action).astype(symbol.dtype)
  seen = jnp.sum(symbol, axis=(0, 1))
  taken = jnp.sum(symbol * did[..., None], axis=(0, 1))
  return taken / jnp.maximum(seen, 1.0), seen


def frame_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
  """Turns an episode into rows of places, for `plots.frames`.

  Args:
    record: of `record_episode`, of a game that draws places.

  Returns:
    A row for each moment and body with 'time', 'body', 'index', 'x' and 'y';
    none if the game draws no places.
  """
  out = []
  length = int(record['length'])
  drawn = {k: np.asarray(v) for k, v in (record['states'] or {}).items()}
  many = [k for k, v in drawn.items() if v.ndim == 3 and v.shape[-1] == 2]
  for body, places in drawn.items():
    # A pair of numbers is a place only beside places of several bodies.
    alone = many and places.ndim == 2 and places.shape[-1] == 2
    if body not in many and not alone:
      continue
    places = np.float64(places.reshape((len(places), -1, 2)))
    for t in range(length + 1):
      out += [
        {'time': t, 'body': body, 'index': i, 'x': float(x), 'y': float(y)}
        for i, (x, y) in enumerate(places[t])
      ]
  return out
