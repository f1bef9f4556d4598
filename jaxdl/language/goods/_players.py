# SPDX-License-Identifier: Apache-2.0
"""Teams that play: they learn their settings, or keep or draw them."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxdl.agents import public_goods
from jaxdl.core import checks
from jaxdl.language import _client
from jaxdl.language.goods import (
  _learning,
  _protocol,
  _setups,
)


def ppo(
  setup: _setups.Setup,
  *,
  num_updates: int,
  observation: str = 'partial',
  order: str = 'fixed',
  hidden: int | Sequence[int] = (256, 128),
  optimizer: str = 'adam(0.0003)',
  sigma: tuple[float, float] = (0.2, 0.05),
  clip: float = 0.2,
  num_epochs: int = 4,
  value_weight: float = 0.5,
  cost_source: str = 'score',
  score_source: str = 'scores',
  token_unit: float = 1000.0,
  patience: int = 0,
  window: int = 5,
  keep: str = 'last',
  local: bool = False,
) -> _setups.Method:
  """Agents who learn how their model is to write, each for itself, by PPO.

  A batch of tasks is one update: policies draw settings for each task and
  agent, models write, an evaluator rates, the game rewards. A task of which a
  request failed does not count.

  Args:
    setup: game, encoder and so on.
    num_updates: of the run; sigma and the step size end there.
    observation: whom agents see, one of `OBSERVATIONS`.
    order: 'fixed', agent i at position i, or 'random', drawn for every update,
      and for every task where nothing is learned.
    hidden: widths of policies and critics.
    optimizer: a part of `local.OPTIMIZERS`, of each agent.
    sigma: width of the exploration at the start and at the end, > 0.
    clip: ε of the ratios.
    num_epochs: steps on a batch.
    value_weight: of the critic's squared error.
    cost_source: what agents pay for, their 'score' or 'tokens'.
    score_source: what the score of the task is made of, 'scores' or 'answer'.
    token_unit: tokens that cost as much as a contribution of one.
    patience: updates without a better mean reward after which nothing is asked
      any more; 0 never stops.
    window: updates that are averaged for it.
    keep: which policies answer, the 'last' or the 'best' by
      `selection_score` of their batch.
    local: whether the models are on this machine and may write longer,
      `public_goods.LOCAL_GENERATION`, in place of the ranges of the setup.

  Returns:
    The method.

  Raises:
    ValueError: if a number is out of range or a name unknown.

  Source: Liang et al. 2026 (https://arxiv.org/abs/2508.02076); their training
    code and settings are not published.
  """
  checks.choice(observation, _protocol.OBSERVATIONS, name='observation')
  checks.choice(order, _setups.ORDERS, name='order')
  checks.choice(keep, _learning.KEEPS, name='keep')
  game, encoder = setup.game, setup.encoder
  checks.flag(local, name='local')
  n = game.num_agents
  ranges = dict(public_goods.LOCAL_GENERATION if local else setup.ranges)
  paid: dict[str, Any] = {
    'cost_source': cost_source,
    'score_source': score_source,
    'token_unit': token_unit,
  }
  learner = _learning.make_learner(
    game,
    encoder.size,
    len(ranges),
    num_updates=num_updates,
    hidden=hidden,
    optimizer=optimizer,
    sigma=sigma,
    clip=clip,
    num_epochs=num_epochs,
    value_weight=value_weight,
    patience=patience,
    window=window,
    **paid,
  )
  agents = _protocol.make_agents(n)
  common = {
    'evaluator': setup.evaluator,
    'observation': observation,
    'allow_extra_params': setup.allow_extra_params,
  }

  def decide(policy, task, noise):
    """Settings of an agent, drawn around the mean by noise f[n, A]."""

    def choose(i, position, seen):
      x = encoder.encode(task, position, n, seen)
      u = learner.mean(policy, i, x) + noise[position]
      settings = public_goods.generation_settings(u, ranges)
      return settings, (x, u)

    return choose

  async def step(state, tasks, client, *, key):
    order_key, noise_key = jax.random.split(key)
    if bool(state.stopping.stopped):
      return state, {'stopped': 1.0}
    seats = np.arange(n)
    if order == 'random':
      seats = np.asarray(jax.random.permutation(order_key, n))
    shape = (len(tasks), n, len(ranges))
    noise = np.asarray(jax.random.normal(noise_key, shape))
    noise = learner.width(state) * noise
    episodes = await _client.gather(
      [
        _protocol.run_sequence(
          task,
          agents,
          client,
          decide=decide(state.agents.policy, task, noise[k]),
          order=seats.tolist(),
          sample=0,
          **common,
        )
        for k, task in enumerate(tasks)
      ]
    )
    spent = _setups.episode_metrics(episodes, client)
    bounds = (float(game.c_min), float(game.c_max))
    batch = _learning.make_batch(episodes, n, encoder.size, len(ranges), bounds)
    if batch.mask.sum() < 2:  # Too few to compare with each other.
      return state._replace(updates=state.updates + 1), spent
    state, metrics = learner.update(state, batch, seats)
    return state, spent | metrics

  async def answer(state, task, client, *, sample=0):
    policy = state.best if keep == 'best' else state.agents.policy
    return await _protocol.run_sequence(
      task,
      agents,
      client,
      decide=decide(policy, task, np.zeros((n, len(ranges)), np.float32)),
      order=_setups.seats(task, order, n, sample),
      sample=sample,
      **common,
    )

  return _setups.Method(
    learner.init,
    answer,
    step,
    n,
    lambda episodes: _learning.reward_metrics(episodes, game, **paid),
  )


def fixed(
  setup: _setups.Setup,
  *,
  observation: str = 'partial',
  order: str = 'fixed',
  temperature: float = 0.7,
  top_p: float = 0.9,
  max_tokens: int = 512,
) -> _setups.Method:
  """A team whose settings are the same for every task.

  Args:
    setup: game, evaluator and so on.
    observation: whom agents see, one of `OBSERVATIONS`.
    order: 'fixed', or 'random' for every task.
    temperature: of generation.
    top_p: of generation.
    max_tokens: of generation.

  Returns:
    The method.

  Raises:
    ValueError: if a number is out of range or a name unknown.
  """
  settings = _setups.check_settings(temperature, top_p, max_tokens)
  return _sequence(setup, observation, order, lambda task, n, s: [settings] * n)


def uniform(
  setup: _setups.Setup, *, observation: str = 'partial', order: str = 'fixed'
) -> _setups.Method:
  """A team whose settings are drawn anew for every task, from their ranges.

  Args:
    setup: game, evaluator and so on.
    observation: whom agents see, one of `OBSERVATIONS`.
    order: 'fixed', or 'random' for every task.

  Returns:
    The method.

  Raises:
    ValueError: if a name is unknown.
  """
  ranges = dict(setup.ranges)

  def drawn(task, n, sample):
    rng = _setups.draws(task, sample, 'settings')
    return [
      public_goods.generation_settings(rng.random(len(ranges)), ranges)
      for _ in range(n)
    ]

  return _sequence(setup, observation, order, drawn)


def _sequence(setup, observation, order, settings_of):
  """A team that does not learn."""
  checks.choice(observation, _protocol.OBSERVATIONS, name='observation')
  checks.choice(order, _setups.ORDERS, name='order')
  n = setup.game.num_agents
  agents = _protocol.make_agents(n)

  async def answer(state, task, client, *, sample=0):
    settings = settings_of(task, n, sample)
    return await _protocol.run_sequence(
      task,
      agents,
      client,
      decide=lambda i, position, seen: (settings[i], None),
      evaluator=setup.evaluator,
      observation=observation,
      order=_setups.seats(task, order, n, sample),
      allow_extra_params=setup.allow_extra_params,
      sample=sample,
    )

  return _setups.Method(
    lambda key: (),
    answer,
    num_roles=n,
    measure=lambda episodes: _learning.reward_metrics(episodes, setup.game),
  )
