# SPDX-License-Identifier: Apache-2.0
"""What episodes of text are worth to agents, and what these learn from them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import local
from jaxdl.agents import public_goods
from jaxdl.core import checks, keys
from jaxdl.language.goods import _protocol

COST_SOURCES = ('score', 'tokens')
SCORE_SOURCES = ('scores', 'answer')
KEEPS = ('last', 'best')


class TeamState(NamedTuple):
  """What a team has learned.

  Attributes:
    agents: `PPOState` of every agent, leaves [n, ...].
    updates: i32[], batches that were asked for.
    stopping: memory of early stopping.
    best: parameters of the policies whose batch was selected best so far.
    best_score: f32[], its selection score.
  """

  agents: public_goods.PPOState
  updates: chex.Array
  stopping: public_goods.Stopping
  best: chex.ArrayTree
  best_score: chex.Array


class Batch(NamedTuple):
  """Episodes of a batch, as arrays by position.

  Attributes:
    contributions: f32[B, n].
    tokens: f32[B, n], completion tokens.
    correct: bool[B].
    mask: f32[B], zero of episodes that failed.
    observations: f32[B, n, D].
    actions: f32[B, n, A].
  """

  contributions: np.ndarray
  tokens: np.ndarray
  correct: np.ndarray
  mask: np.ndarray
  observations: np.ndarray
  actions: np.ndarray


def contribution(turn: _protocol.Turn, c_min: float, c_max: float) -> float:
  """What a text gives: its value within bounds, the least if it is empty.

  Args:
    turn: what an agent did.
    c_min: least contribution.
    c_max: largest one.

  Returns:
    The contribution.
  """
  if not turn.text.strip():
    return float(c_min)
  return float(np.clip(turn.value, c_min, c_max))


def team_rewards(
  contributions: chex.Array,
  game: public_goods.Game,
  *,
  correct: chex.Array | None = None,
  tokens: chex.Array | None = None,
  order: chex.Array | None = None,
) -> chex.Array:
  """What every agent gets for texts.

  Args:
    contributions: f[..., n] in [c_min, c_max], by position.
    game: one game.
    correct: bool[...], whether the answer is right: the score of the task is
      then that of all giving c_max, or c_min; None takes the contributions.
    tokens: f[..., n], what is paid for in place of contributions, in units of
      them; None pays for contributions.
    order: i32[n], who sits at a position.

  Returns:
    f[..., n], by position.

  Raises:
    ValueError: see `public_goods.reward`.

  Example:
    >>> game = public_goods.mac_spgg(rho=1.5, gamma=0.4, kappa=2.0)
    >>> c = jnp.array([1.0, 0.0, 1.0])
    >>> np.asarray(team_rewards(c, game)).round(2)
    array([0. , 1. , 0.4], dtype=float32)
    >>> tokens = jnp.array([0.5, 0.5, 0.5])
    >>> right = jnp.array(True)
    >>> np.asarray(team_rewards(c, game, correct=right, tokens=tokens)).round(2)
    array([1.25, 1.25, 1.65], dtype=float32)
  """
  order = None if order is None else jnp.asarray(order)
  found = public_goods.reward(contributions, game, order=order)
  c = jnp.asarray(contributions, found.dtype)
  if tokens is not None:
    cost = game.cost
    if isinstance(cost, str):
      cost = public_goods.COSTS.make(cost)
    kappa = jnp.broadcast_to(
      jnp.asarray(game.kappa, found.dtype), (game.num_agents,)
    )
    kappa = kappa if order is None else kappa[order]
    kappa = kappa.reshape((1,) * (c.ndim - 1) + (-1,))
    t = jnp.asarray(tokens, found.dtype)
    found += cost.value(c, kappa) - cost.value(t, kappa)
  if correct is not None:
    ends = [
      public_goods.score(jnp.full(game.num_agents, x, found.dtype), game)
      for x in (game.c_min, game.c_max)
    ]
    told = jnp.where(correct, ends[1], ends[0])
    gap = _shared(told, game) - _shared(public_goods.score(c, game), game)
    found += gap[..., None]
  return found


def _shared(score, game):
  """What all get of a score."""
  lost = jnp.where(public_goods.is_reached(score, game), 0, game.penalty)
  return game.rho / game.num_agents * score - lost


def selection_score(
  total_reward: float, accuracy: float, score: float
) -> float:
  """What the published code selects a checkpoint by.

  Args:
    total_reward: mean sum of rewards.
    accuracy: share of right answers.
    score: mean value of texts.

  Returns:
    total_reward + 2 accuracy + score.

  Example:
    >>> selection_score(1.0, 0.5, 0.25)
    2.25

  Source: code of Liang et al. 2026 (https://arxiv.org/abs/2508.02076).
  """
  return total_reward + 2 * accuracy + score


def make_batch(
  episodes: Sequence[_protocol.Episode],
  num_agents: int,
  size: int,
  num_actions: int,
  bounds: tuple[float, float],
) -> Batch:
  """Puts episodes into arrays; failed ones are masked, whatever they hold.

  Args:
    episodes: B of them; records of turns are (observation, action).
    num_agents: n.
    size: D of an observation.
    num_actions: A.
    bounds: c_min and c_max.

  Returns:
    The batch.
  """
  b, n = len(episodes), num_agents
  out = Batch(
    np.zeros((b, n), np.float32),
    np.zeros((b, n), np.float32),
    np.zeros(b, bool),
    np.zeros(b, np.float32),
    np.zeros((b, n, size), np.float32),
    np.zeros((b, n, num_actions), np.float32),
  )
  for k, episode in enumerate(episodes):
    if episode.error is not None:
      continue
    out.mask[k] = 1
    out.correct[k] = episode.correct
    for turn in episode.turns:
      p = turn.position
      out.contributions[k, p] = contribution(turn, *bounds)
      out.tokens[k, p] = turn.tokens
      if turn.record is not None:
        out.observations[k, p], out.actions[k, p] = turn.record
  return out


class Learner(NamedTuple):
  """The numbers of a team that learns.

  Attributes:
    init: `init(key) -> TeamState`.
    mean: `mean(policy, agent: int, observation f[D]) -> float32[A]`, of the
      policies of all agents, leaves [n, ...].
    width: `width(state) -> float`, of the exploration.
    update: `update(state, batch, seats i[n]) -> (state, metrics)`.
  """

  init: Callable[..., TeamState]
  mean: Callable[..., np.ndarray]
  width: Callable[[TeamState], float]
  update: Callable[..., tuple[TeamState, dict[str, float]]]


def make_learner(
  game: public_goods.Game,
  size: int,
  num_actions: int,
  *,
  num_updates: int,
  token_unit: float = 1000.0,
  hidden: int | Sequence[int] = (256, 128),
  optimizer: str = 'adam(0.0003)',
  sigma: tuple[float, float] = (0.2, 0.05),
  clip: float = 0.2,
  num_epochs: int = 4,
  value_weight: float = 0.5,
  cost_source: str = 'score',
  score_source: str = 'scores',
  patience: int = 0,
  window: int = 5,
) -> Learner:
  """The PPO of `agents.public_goods` for agents whose actions are settings.

  Args:
    game: one game.
    size: D of an observation.
    num_actions: A.
    num_updates: of the run; sigma and the step size end there.
    token_unit: tokens that cost as much as a contribution of one.
    hidden: widths of policies and critics.
    optimizer: a part of `local.OPTIMIZERS`.
    sigma: width of the exploration at the start and at the end.
    clip: ε of the ratios.
    num_epochs: steps on a batch.
    value_weight: of the critic's squared error.
    cost_source: what agents pay for, their 'score' or 'tokens'.
    score_source: what the score of the task is made of, 'scores' of the agents
      or the 'answer'.
    patience: updates without a better mean reward after which it stops.
    window: updates that are averaged for it.

  Returns:
    The learner.

  Raises:
    ValueError: if a number is out of range or a name unknown.
  """
  public_goods.check_game(game)
  checks.integer(num_updates, name='num_updates', low=0)
  checks.number(token_unit, name='token_unit', low=0.0, open_low=True)
  checks.choice(cost_source, COST_SOURCES, name='cost_source')
  checks.choice(score_source, SCORE_SOURCES, name='score_source')
  checks.integer(patience, name='patience', low=0)
  checks.integer(window, name='window', low=1)
  if not isinstance(sigma, (tuple, list)) or len(sigma) != 2:
    raise ValueError(
      f'sigma must be two numbers, at the start and at the end; got {sigma!r}.'
    )
  for value in sigma:
    checks.number(value, name='sigma', low=0.0, open_low=True)
  n = game.num_agents
  agent = public_goods.ppo(
    num_actions,
    hidden=hidden,
    activation='relu',
    optimizer=local.make_optimizer(
      optimizer, num_steps=max(num_updates * num_epochs, 1)
    ),
    clip=clip,
    num_epochs=num_epochs,
    value_weight=value_weight,
  )

  def init(key):
    keys.check_key(key)
    x = jnp.zeros((1, size), jnp.float32)
    agents = jax.jit(jax.vmap(lambda k: agent.init(k, x)))(
      jax.random.split(key, n)
    )
    return TeamState(
      agents,
      jnp.zeros((), jnp.int32),
      public_goods.start_stopping(window),
      agents.policy,
      jnp.asarray(-jnp.inf, jnp.float32),
    )

  @jax.jit
  def one_mean(policy, i, x):
    own = jax.tree.map(lambda leaf: leaf[i], policy)
    return agent.mean(own, x[None])[0]

  def mean(policy, i, x):
    return np.asarray(one_mean(policy, i, x))

  def width(state):
    done = float(state.updates) / max(num_updates - 1, 1)
    return float(public_goods.annealed(sigma[0], sigma[1], done))

  @jax.jit
  def learned(state, batch, seats):
    rewards = team_rewards(
      batch.contributions,
      game,
      correct=batch.correct if score_source == 'answer' else None,
      tokens=batch.tokens / token_unit if cost_source == 'tokens' else None,
      order=seats,
    )
    place = jnp.argsort(seats)
    by_agent = lambda x: jnp.swapaxes(x, 0, 1)[place]
    x, u = by_agent(batch.observations), by_agent(batch.actions)
    done = state.updates / max(num_updates - 1, 1)
    sd = public_goods.annealed(sigma[0], sigma[1], done).astype(jnp.float32)
    mask = jnp.broadcast_to(batch.mask, (n, *batch.mask.shape))

    def own(state, x, u, r, mask):
      # The density is that of the policy which was asked, all at once.
      logs = public_goods.log_prob(u, agent.mean(state.policy, x), sd)
      t = public_goods.Transitions(x, u, logs, r, mask)
      return agent.update(state, t, sd)

    agents, seen = jax.vmap(own)(state.agents, x, u, by_agent(rewards), mask)
    count = jnp.maximum(jnp.sum(batch.mask), 1)
    share = lambda v: jnp.sum(v * batch.mask) / count
    total = share(rewards.sum(axis=1))
    accuracy = share(batch.correct)
    score = share(batch.contributions.mean(axis=1))
    selected = selection_score(total, accuracy, score)
    better = selected > state.best_score
    pick = lambda a, b: jax.tree.map(lambda x, y: jnp.where(better, x, y), a, b)
    memory = public_goods.early_stopping(
      state.stopping, total, patience=patience
    )
    metrics = {
      'total_reward': total,
      'accuracy': accuracy,
      'score': score,
      'selection': selected,
      'sigma': sd,
      'critic_error': jnp.mean(seen['critic_error']),
      'stopped': memory.stopped.astype(jnp.float32),
    }
    # The batch was made by the policies before this update.
    best = pick(state.agents.policy, state.best)
    score = jnp.where(better, selected, state.best_score)
    return TeamState(agents, state.updates + 1, memory, best, score), metrics

  def update(state, batch, seats):
    found, metrics = learned(state, batch, jnp.asarray(seats, jnp.int32))
    return found, {k: float(v) for k, v in metrics.items()}

  return Learner(init, mean, width, update)


def reward_metrics(
  episodes: Sequence[_protocol.Episode],
  game: public_goods.Game,
  *,
  token_unit: float = 1000.0,
  cost_source: str = 'score',
  score_source: str = 'scores',
) -> dict[str, float]:
  """What sequences of texts are worth on average.

  Args:
    episodes: of one order or of several; failed ones do not count.
    game: one game.
    token_unit: see `make_learner`.
    cost_source: as there.
    score_source: as there.

  Returns:
    `total_reward`, `contribution`, `given_1` ... by position; empty if nothing
    counts.
  """
  good = [e for e in episodes if e.error is None]
  if not good:
    return {}
  n = game.num_agents
  batch = make_batch(
    [_without_records(e) for e in good],
    *(n, 1, 1, (float(game.c_min), float(game.c_max))),
  )
  groups: dict[tuple[int, ...], list[int]] = {}
  for k, episode in enumerate(good):
    seats = tuple(turn.agent for turn in episode.turns)
    groups.setdefault(seats, []).append(k)
  total = 0.0
  for seats, rows in groups.items():
    found: Any = team_rewards(
      batch.contributions[rows],
      game,
      correct=batch.correct[rows] if score_source == 'answer' else None,
      tokens=batch.tokens[rows] / token_unit
      if cost_source == 'tokens'
      else None,
      order=np.array(seats),
    )
    total += float(found.sum())
  given = batch.contributions.mean(axis=0)
  found = {
    'total_reward': total / len(good),
    'contribution': float(given.mean()),
  }
  return found | {f'given_{p + 1}': float(x) for p, x in enumerate(given)}


def _without_records(episode):
  turns = tuple(turn._replace(record=None) for turn in episode.turns)
  return episode._replace(turns=turns)
