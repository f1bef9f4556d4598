# SPDX-License-Identifier: Apache-2.0
"""Learning of games that run on the host."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.agents import _ppo, games as games_lib
from jaxdl.core import types

# Seeds of games below this leave room for those of later episodes.
_MOST_SEEDS = 2**31 - 2**20


def algorithm_on_host(
  games: Sequence[games_lib.HostGame], learner: Any, training: Any
) -> types.Algorithm:
  """Makes a learner play on the host and learn in a program.

  Every update begins new episodes, as the state of a game on the host cannot be
  kept: an episode that the end of an update cuts is not gone on with.

  Args:
    games: E games of one kind.
    learner: a `Learner`.
    training: a `Training` with `num_envs` E.

  Returns:
    The algorithm, `on_host`; its state is an `agents.LearnerState` without
    games.
  """
  policy, num = learner.policy, training.num_steps // learner.parts
  start = jax.jit(learner.start)
  learn = jax.jit(lambda p, o, s, key: learner.learn(p, o, s, key=key))
  between = None
  if learner.between is not None:
    between = jax.jit(lambda p, o, s, key: learner.between(p, o, s, key=key))

  def init(key):
    params = jax.jit(policy.init)(key)
    return _ppo.LearnerState(params, start(params), {}, jnp.int32(0))

  def step(state, cohort=None, *, key):
    del cohort
    seed_key, play_key, learn_key = jax.random.split(key, 3)
    seed = int(jax.random.randint(seed_key, (), 0, _MOST_SEEDS))
    playing = games_lib.host_begin(games, policy, seed=seed)
    params, opt_state, parts, told = state.params, state.opt_state, [], []
    for part_key in jax.random.split(play_key, learner.parts):
      roll_key, last_key = jax.random.split(part_key)
      playing, steps = games_lib.host_rollout(
        policy,
        params,
        playing,
        key=roll_key,
        num_steps=num,
        bootstrap=False,
      )
      parts.append(steps)
      if between is not None:
        params, opt_state, facts = between(params, opt_state, steps, last_key)
        told.append(facts)
    steps = jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)
    params, opt_state, found = learn(params, opt_state, steps, learn_key)
    if told:
      found |= jax.tree.map(lambda *xs: sum(map(float, xs)) / len(xs), *told)
    found = {k: float(v) for k, v in found.items()}
    found |= _played(playing)
    number = state.num_updates + 1
    return _ppo.LearnerState(params, opt_state, {}, number), found

  return types.Algorithm(init, step, lambda state: state.params, on_host=True)


def _played(playing):
  """Means over episodes that ended; zeros if none did."""
  ended = playing.finished
  returns = [float(np.mean(total)) for total, _ in ended]
  lengths = [float(length) for _, length in ended]
  mean = lambda x: float(np.mean(x)) if x else 0.0
  return {
    'return': mean(returns),
    'length': mean(lengths),
    'episodes': float(len(ended)),
  }
