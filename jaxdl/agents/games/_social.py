# SPDX-License-Identifier: Apache-2.0
"""Games of what is good for one and what is good for all."""

from typing import NamedTuple

import chex
import jax.numpy as jnp
from absl import logging

from jaxdl.agents import _environment
from jaxdl.core import checks

COSTS = ('quadratic', 'linear')
SYNERGIES = ('sum', 'mean', 'previous', 'none')
SCORES = ('sum', 'mean', 'last')
OBSERVATIONS = ('partial', 'full')
# A score this close below the threshold reaches it.
_TOLERANCE = 1e-6


class DilemmaState(NamedTuple):
  """Two players.

  Attributes:
    last: i32[2], what they did: 0 cooperate, 1 defect.
    time: i32[], rounds that were played.
  """

  last: chex.Array
  time: chex.Array


def iterated_dilemma(
  *,
  rounds: int = 100,
  reward: float = 1.0,
  sucker: float = -1.0,
  temptation: float = 2.0,
  punishment: float = 0.0,
  endless: bool = False,
) -> _environment.Environment:
  """Two players cooperate (0) or defect (1), again and again.

  They see one of five symbols, one-hot and from their own side: the start, or
  who did what in the round before (CC, CD, DC, DD; own action first).

  Args:
    rounds: T of an episode.
    reward: R of two who cooperate. These four are traced, as
      `params['payoffs']` f[2, 2]: own action, that of the other.
    sucker: S of who cooperates alone.
    temptation: T of who defects alone.
    punishment: P of two who defect.
    endless: whether the last round is a cut of time, beyond which agents may
      value what would follow; else the game is over.

  Returns:
    The game. It measures `cooperation`, the share of actions, `mutual`, the
    share of rounds in which both cooperate, and `exploited`, in which one does.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = iterated_dilemma(rounds=3)
    >>> seen, game = env.reset(jax.random.key(0))
    >>> game, step = env.step(game, jnp.array([0, 1]), key=jax.random.key(1))
    >>> step.reward.tolist(), step.seen.own.argmax(axis=-1).tolist()
    ([-1.0, 2.0], [2, 3])

  Source: Weis et al. 2026 (https://arxiv.org/abs/2602.16301), section 3.
  """
  checks.integer(rounds, name='rounds', low=1)
  checks.flag(endless, name='endless')
  values = {
    'reward': reward,
    'sucker': sucker,
    'temptation': temptation,
    'punishment': punishment,
  }
  for name, value in values.items():
    checks.number(value, name=name)
  ordered = temptation > reward > punishment > sucker
  if not (ordered and 2 * reward > temptation + sucker):
    logging.warning(
      'These payoffs are no dilemma, which has temptation > reward > '
      'punishment > sucker and 2 reward > temptation + sucker: %s.',
      values,
    )

  def start(params, key):
    del params, key
    return DilemmaState(jnp.zeros((2,), jnp.int32), jnp.int32(0))

  def observe(params, state):
    del params
    symbol = 1 + 2 * state.last + state.last[::-1]
    symbol = jnp.where(state.time > 0, symbol, 0)
    hot = symbol[:, None] == jnp.arange(5)[None]
    return _environment.Seen(hot.astype(jnp.float32))

  def move(params, state, actions, key):
    del key
    own = actions.astype(jnp.int32)
    table = params['payoffs']
    mine, other = own == 1, own[::-1] == 1
    earned = jnp.where(
      mine,
      jnp.where(other, table[1, 1], table[1, 0]),
      jnp.where(other, table[0, 1], table[0, 0]),
    )
    time = state.time + 1
    count = jnp.sum(~mine)
    facts = {
      'cooperation': count.astype(jnp.float32) / 2,
      'mutual': (count == 2).astype(jnp.float32),
      'exploited': (count == 1).astype(jnp.float32),
    }
    over = (time >= rounds) & (not endless)
    state = DilemmaState(own, time)
    return state, _environment.Outcome(earned, over, facts)

  def draw(params, state):
    del params
    return state._asdict()

  payoffs = jnp.array([[reward, sucker], [temptation, punishment]], jnp.float32)
  return _environment.Environment(
    params={'payoffs': payoffs},
    start=start,
    move=move,
    observe=observe,
    num_agents=2,
    own_size=5,
    max_steps=rounds,
    num_actions=2,
    name='iterated_dilemma',
    facts=(
      ('cooperation', 'mean'),
      ('mutual', 'mean'),
      ('exploited', 'mean'),
    ),
    draw=draw,
    seen_names=('start', 'CC', 'CD', 'DC', 'DD'),
  )


class GoodsState(NamedTuple):
  """Contributions so far.

  Attributes:
    given: f[N], zeros of those whose turn is to come.
    turn: i32[], whose turn it is, N at the end.
  """

  given: chex.Array
  turn: chex.Array


def public_goods(
  *,
  num_agents: int = 3,
  rho: float = 1.5,
  gamma: float = 0.0,
  kappa: float = 2.0,
  penalty: float = 0.0,
  threshold: float = 0.0,
  c_min: float = 0.0,
  c_max: float = 1.0,
  cost: str = 'quadratic',
  synergy: str = 'sum',
  score: str = 'sum',
  observation: str = 'full',
) -> _environment.Environment:
  """N agents contribute to a public good, one after another.

  At step i agent i alone moves: an action a in [-1, 1] contributes
  c_min + (a + 1) / 2 (c_max - c_min). Agent i earns, over the episode,
  -C(c_i) + gamma c_i Sigma(c_<i) + rho / N F(c) - P [F(c) < B]: its own part at
  its turn, its share and the penalty at the end.

  Args:
    num_agents: N.
    rho: multiplier of the score. This and the next six are traced, `params`.
    gamma: of the synergy.
    kappa: of the cost.
    penalty: P.
    threshold: B.
    c_min: least contribution.
    c_max: most.
    cost: 'quadratic' kappa c^2 / 2, or 'linear' kappa c.
    synergy: Sigma of those before: their 'sum', 'mean', the 'previous' or
      'none'; 0 for the first.
    score: F: the 'sum' of contributions, their 'mean' or the 'last'.
    observation: 'full': all contributions so far; 'partial': the previous one.

  Returns:
    The game. Agents see, one-hot, who they are, whether it is their turn, and
    contributions in the places of those who made them, as numbers from 0 to 1
    of what is possible; only who has the turn is alive. It measures `total`,
    the sum of contributions, `welfare`, the sum of rewards, and `reached`,
    whether F >= B.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = public_goods(num_agents=3)
    >>> env.max_steps, env.own_size
    (3, 7)

  Source: Liang et al. 2026 (https://arxiv.org/abs/2508.02076), section 3.
  """
  n = checks.integer(num_agents, name='num_agents', low=1)
  for name, value in (('rho', rho), ('gamma', gamma), ('threshold', threshold)):
    checks.number(value, name=name)
  for name, value in (('kappa', kappa), ('penalty', penalty), ('c_min', c_min)):
    checks.number(value, name=name, low=0.0)
  checks.number(c_max, name='c_max', low=c_min, open_low=True)
  checks.choice(cost, COSTS, name='cost')
  checks.choice(synergy, SYNERGIES, name='synergy')
  checks.choice(score, SCORES, name='score')
  checks.choice(observation, OBSERVATIONS, name='observation')

  def start(params, key):
    del key
    return GoodsState(jnp.zeros((n,), params['rho'].dtype), jnp.int32(0))

  def observe(params, state):
    ids = jnp.arange(n)
    now, before = ids == state.turn, ids < state.turn
    shown = before if observation == 'full' else ids == state.turn - 1
    span = params['c_max'] - params['c_min']
    level = jnp.where(shown, (state.given - params['c_min']) / span, 0.0)
    rows = jnp.broadcast_to(level[None], (n, n))
    me = jnp.eye(n, dtype=rows.dtype)
    parts = [me, now[:, None].astype(rows.dtype), rows]
    own = jnp.concatenate(parts, axis=-1)
    # Nobody has the turn at the end: then all count as they did.
    alive = now | (state.turn >= n)
    return _environment.Seen(own, alive=alive)

  def move(params, state, actions, key):
    del key
    ids = jnp.arange(n)
    now = ids == state.turn
    low, high = params['c_min'], params['c_max']
    share = (jnp.clip(actions[:, 0], -1.0, 1.0) + 1.0) / 2
    gift = (low + share * (high - low)).astype(state.given.dtype)
    given = jnp.where(now, gift, state.given)
    c = jnp.sum(jnp.where(now, given, 0.0))
    before = jnp.sum(jnp.where(ids < state.turn, given, 0.0))
    if synergy == 'mean':
      before = before / jnp.maximum(state.turn, 1)
    elif synergy == 'previous':
      before = jnp.sum(jnp.where(ids == state.turn - 1, given, 0.0))
    elif synergy == 'none':
      before = jnp.zeros_like(before)
    paid = params['kappa'] * (c * c / 2 if cost == 'quadratic' else c)
    own = jnp.where(now, params['gamma'] * c * before - paid, 0.0)
    total = jnp.sum(given)
    found = {'sum': total, 'mean': total / n, 'last': given[-1]}[score]
    reached = found >= params['threshold'] - _TOLERANCE
    good = params['rho'] / n * found
    good = good - jnp.where(reached, 0.0, params['penalty'])
    over = state.turn >= n - 1
    reward = own + jnp.where(over, good, 0.0)
    facts = {
      'total': total,
      'welfare': jnp.sum(reward),
      'reached': reached.astype(jnp.float32),
    }
    state = GoodsState(given, state.turn + 1)
    return state, _environment.Outcome(reward, over, facts)

  def draw(params, state):
    del params
    return state._asdict()

  numbers = {
    'rho': rho,
    'gamma': gamma,
    'kappa': kappa,
    'penalty': penalty,
    'threshold': threshold,
    'c_min': c_min,
    'c_max': c_max,
  }
  return _environment.Environment(
    params={k: jnp.float32(v) for k, v in numbers.items()},
    start=start,
    move=move,
    observe=observe,
    num_agents=n,
    own_size=2 * n + 1,
    max_steps=n,
    action_size=1,
    name='public_goods',
    facts=(('total', 'last'), ('welfare', 'sum'), ('reached', 'last')),
    draw=draw,
  )
