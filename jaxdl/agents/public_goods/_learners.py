# SPDX-License-Identifier: Apache-2.0
"""Who plays: independent learners, equilibria, and agents who do not learn.

Every entry of `METHODS` makes an `Algorithm` of a game whose `params` are
`Policies`, for `experiment.compare` and `experiment.train`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl import local
from jaxdl.agents.public_goods import (
  _closed_form,
  _continuous,
  _game,
  _grid,
  _policies,
  _ppo,
  _settings,
  _simultaneous,
)
from jaxdl.core import checks, keys, registry, types

OBSERVATIONS = _closed_form.OBSERVATIONS
ORDERS = ('fixed', 'random')
SOLVERS = ('continuous', 'grid', 'tree', 'closed', 'nash')


class LearnerState(NamedTuple):
  """State of `ppo_learner`.

  Attributes:
    agents: `PPOState` of every agent, leaves [n, ...].
    updates: i32[], how many were made.
    stopping: memory of early stopping.
  """

  agents: chex.ArrayTree
  updates: chex.Array
  stopping: chex.ArrayTree


def observe(
  history: chex.Array,
  position: int,
  game: _game.Game,
  *,
  observation: str = 'full',
  with_position: bool = False,
) -> chex.Array:
  """What an agent sees of a history.

  Args:
    history: f[..., n], zeros from `position` on.
    position: of the agent, from 0 (static).
    game: for its bounds.
    observation: 'full' for the sum of what was given, in units of its range,
      and the last contribution; 'partial' for that alone; 'none' (static).
    with_position: whether the position is seen, as n more numbers (static).

  Returns:
    f[..., D].

  Raises:
    ValueError: if the observation is unknown.

  Example:
    >>> history = jnp.array([0.5, 1.0, 0.0])
    >>> observe(history, 2, _game.Game()).tolist()
    [0.75, 1.0]
  """
  checks.choice(observation, OBSERVATIONS, name='observation')
  n = game.num_agents
  wide = jnp.asarray(game.c_max - game.c_min, history.dtype)
  wide = jnp.where(wide > 0, wide, 1)
  scaled = lambda x, count: (x - count * game.c_min) / (wide * max(count, 1))
  zero = jnp.zeros_like(history[..., 0])
  seen = []
  if observation == 'full':
    total = jnp.sum(history, axis=-1)
    # In units of all that may be given, so that it is linear in the sum.
    share = position / max(n - 1, 1)
    seen.append(scaled(total, position) * share if position else zero)
  if observation != 'none':
    seen.append(scaled(history[..., position - 1], 1) if position else zero)
  if with_position:
    seen += [zero + float(k == position) for k in range(n)]
  return jnp.stack(seen or [zero], axis=-1)


def ppo_learner(
  game: _game.Game,
  *,
  num_updates: int,
  observation: str = 'full',
  order: str = 'fixed',
  num_games: int = 1024,
  num_epochs: int = 4,
  hidden: int | Sequence[int] = 32,
  optimizer: str = 'adam(0.003, schedule=cosine)',
  sigma: tuple[float, float] = (0.2, 0.03),
  clip: float = 0.2,
  value_weight: float = 0.5,
  entropy_weight: float = 0.0,
  exploring_starts: float = 0.0,
  patience: int = 0,
  window: int = 5,
) -> types.Algorithm:
  """Agents who learn what to give, each for itself, by PPO.

  An update plays `num_games` games at once. Every agent draws u ~ Normal(mu(x),
  sigma) of what it sees and gives c_min + clip(u, 0, 1) (c_max - c_min); the
  game is one step of its own. Advantages are normalized for each agent, or the
  penalty would rule those of all.

  Args:
    game: one game; numbers may be traced.
    num_updates: of the run; sigma and the step size end there.
    observation: what agents see, 'full', 'partial' or 'none'; nothing in a
      simultaneous game, whatever it says (static).
    order: 'fixed', agent i at position i, or 'random', drawn for every update;
      agents then see where they sit (static).
    num_games: B, games of an update (static).
    num_epochs: steps on them (static).
    hidden: widths of policies and critics (static).
    optimizer: a part of `local.OPTIMIZERS`, of each agent.
    sigma: width of the exploration at the start and at the end, > 0.
    clip: ε of the ratios.
    value_weight: of the critic's squared error.
    entropy_weight: of the entropy, a constant as sigma is not learned.
    exploring_starts: share of the games that start in the middle, after random
      contributions of a random number of agents, who do not learn from it.
    patience: updates without a better mean reward after which nothing moves any
      more; 0 never stops.
    window: updates that are averaged for it (static).

  Returns:
    The algorithm. `params` are `Policies`, without exploration; metrics are the
    mean `total_reward` and `contribution` of a game, `sigma`, `stopped`, and by
    agent `reward`, f[n].

  Raises:
    ValueError: if a number is out of range or a name unknown.

  Cost: an update is n rollout and n `num_epochs` gradient passes over B rows.

  Example:
    >>> game = _game.Game(num_agents=2)
    >>> algorithm = ppo_learner(game, num_updates=2, num_games=8, hidden=4)
    >>> state = algorithm.init(jax.random.key(0))
    >>> state, seen = algorithm.step(state, None, key=jax.random.key(1))
    >>> sorted(seen), seen['reward'].shape
    (['contribution', 'reward', 'sigma', 'stopped', 'total_reward'], (2,))

  Source: Liang et al. 2026 (https://arxiv.org/abs/2508.02076); the settings are
    not published and were found here.
  """
  game = _game.check_one(game)
  checks.integer(num_updates, name='num_updates', low=0)
  checks.choice(observation, OBSERVATIONS, name='observation')
  checks.choice(order, ORDERS, name='order')
  checks.integer(num_games, name='num_games', low=2)
  checks.number(exploring_starts, name='exploring_starts', low=0.0, high=1.0)
  checks.integer(patience, name='patience', low=0)
  if not isinstance(sigma, (tuple, list)) or len(sigma) != 2:
    raise ValueError(
      f'sigma must be two numbers, at the start and at the end; got {sigma!r}.'
    )
  for value in sigma:
    checks.number(value, name='sigma', low=0.0, open_low=True)
  n, dtype = game.num_agents, game.rho.dtype
  view = 'none' if game.simultaneous else observation
  shuffled = order == 'random'
  agent = _ppo.ppo(
    hidden=hidden,
    optimizer=local.make_optimizer(
      optimizer, num_steps=num_updates * num_epochs
    ),
    clip=clip,
    num_epochs=num_epochs,
    value_weight=value_weight,
    entropy_weight=entropy_weight,
  )
  fresh = _ppo.start_stopping(window)

  def see(history, position, low, high):
    bounds = game.replace(c_min=low, c_max=high)
    return observe(
      history, position, bounds, observation=view, with_position=shuffled
    )

  def act(own, position, history):
    rows = jnp.reshape(history, (-1, n))
    x = see(rows, position, own['low'], own['high'])
    u = agent.mean(own['policy'], x)[:, 0]
    given = _settings.scaled_actions(u, own['low'], own['high'])
    return given.reshape(history.shape[:-1])

  def init(key):
    keys.check_key(key)
    x = see(jnp.zeros((1, n), dtype), 0, game.c_min, game.c_max)
    agents = jax.vmap(lambda k: agent.init(k, x))(jax.random.split(key, n))
    return LearnerState(agents, jnp.zeros((), jnp.int32), fresh)

  def step(state, cohort, *, key):
    del cohort
    order_key, start_key, *act_keys = jax.random.split(key, 2 + n)
    seats = jnp.arange(n)
    if shuffled:
      seats = jax.random.permutation(order_key, n)
    done = state.updates / max(num_updates - 1, 1)
    width = _ppo.annealed(sigma[0], sigma[1], done).astype(dtype)
    first, drawn = _starts(start_key, game, num_games, exploring_starts)
    history = jnp.zeros((num_games, n), dtype)
    found = []
    for p in range(n):
      own = jax.tree.map(lambda x, p=p: x[seats[p]], state.agents)
      x = see(history, p, game.c_min, game.c_max)
      u, logs = agent.act(own, x, width, key=act_keys[p])
      given = _settings.scaled_actions(u[:, 0], game.c_min, game.c_max)
      acts = first <= p
      history = history.at[:, p].set(jnp.where(acts, given, drawn[:, p]))
      found.append((x, u, logs, acts.astype(dtype)))
    rewards = _game.reward(history, game, order=seats)
    x, u, logs, mask = (jnp.stack(part) for part in zip(*found, strict=True))
    by_seat = _ppo.Transitions(x, u, logs, rewards.T, mask)
    place = jnp.argsort(seats)
    by_agent = jax.tree.map(lambda x: x[place], by_seat)
    moved, _ = jax.vmap(lambda s, t: agent.update(s, t, width))(
      state.agents, by_agent
    )
    # Games that were started in the middle are not how agents fare.
    whole = (first == 0).astype(dtype)[:, None]
    count = jnp.maximum(jnp.sum(whole), 1)
    paid = jnp.sum(rewards * whole, axis=0) / count
    given = jnp.sum(history * whole) / count
    memory = _ppo.early_stopping(
      state.stopping, jnp.sum(paid), patience=patience
    )
    stays = state.stopping.stopped
    agents = jax.tree.map(
      lambda old, new: jnp.where(stays, old, new), state.agents, moved
    )
    metrics = {
      'total_reward': jnp.sum(paid),
      'contribution': given,
      'sigma': width,
      'stopped': memory.stopped.astype(dtype),
      'reward': paid[place],
    }
    return LearnerState(agents, state.updates + 1, memory), metrics

  def params(state):
    each = lambda x: jnp.broadcast_to(x, (n,))
    rows = {
      'policy': state.agents.policy,
      'low': each(game.c_min),
      'high': each(game.c_max),
    }
    return _policies.Policies(rows, act)

  return types.Algorithm(init, step, params)


def _starts(key, game, num_games, share):
  """Where games start, i32[B], and what was given before, f[B, n]."""
  n = game.num_agents
  choose_key, place_key, draw_key = jax.random.split(key, 3)
  inside = jax.random.uniform(choose_key, (num_games,)) < share
  place = jax.random.randint(place_key, (num_games,), 1, max(n, 2))
  first = jnp.where(inside & (n > 1), place, 0)
  drawn = jax.random.uniform(draw_key, (num_games, n), game.rho.dtype)
  return first, game.c_min + (game.c_max - game.c_min) * drawn


def pick_solver(game: _game.Game) -> str:
  """The solver that suits a game.

  Args:
    game: one game; its penalty must be concrete.

  Returns:
    'nash' of a simultaneous game, 'tree' where the state is no sum, 'grid' with
    a penalty, otherwise 'continuous'.

  Raises:
    ValueError: if the penalty is traced.

  Example:
    >>> pick_solver(_game.mac_spgg(penalty=0.4, threshold=1.5))
    'grid'
  """
  _game.check_game(game)
  if game.simultaneous:
    return 'nash'
  if game.synergy == 'previous':
    return 'tree'
  penalty = _game.known_penalty(game)
  if penalty is None:
    raise ValueError(
      'solver must be named where the penalty is traced: grid takes one, '
      'continuous does not.'
    )
  return 'grid' if penalty else 'continuous'


def check_solver(
  game: _game.Game, solver: str, *, num_levels: int | None = None
) -> None:
  """Checks that a solver takes a game, before anything is compiled.

  Args:
    game: one game.
    solver: one of `SOLVERS`.
    num_levels: as `find` takes it.

  Raises:
    ValueError: if it does not.
  """
  _game.check_game(game)
  checks.choice(solver, SOLVERS, name='solver')
  if num_levels is not None:
    least = 3 if solver == 'continuous' else 2
    checks.integer(num_levels, name='num_levels', low=least)
    if solver in ('closed', 'nash'):
      raise ValueError(
        f'num_levels={num_levels} has no effect on solver={solver}: leave it '
        'out.'
      )
  if game.simultaneous and solver not in ('nash', 'closed'):
    raise ValueError(
      f'solver={solver} does not fit: a simultaneous game has nash.'
    )
  if solver == 'tree':
    _grid.check_tree(game, num_levels)
  elif game.synergy == 'previous' and solver != 'nash':
    raise ValueError(
      f"solver={solver} does not fit synergy=previous: solver must be 'tree'."
    )
  penalty = _game.known_penalty(game)
  if solver in ('continuous', 'closed') and penalty:
    raise ValueError(
      f'solver={solver} takes no penalty; got {penalty:g}: take grid.'
    )
  if solver == 'closed':
    _closed_form.check_kind(game)


def find(
  game: _game.Game,
  solver: str | None = None,
  *,
  num_levels: int | None = None,
) -> _policies.Solution:
  """Solves a game by a solver by name.

  Args:
    game: one game; numbers may be traced.
    solver: one of `SOLVERS`, or None for `pick_solver` (static).
    num_levels: levels or nodes of a contribution; the solver's own default if
      None (static). 'closed' and 'nash' have none.

  Returns:
    The solution.

  Raises:
    ValueError: if the solver is unknown or does not take the game.

  Example:
    >>> np.asarray(find(_game.spgg()).contributions).round(3)
    array([0.25, 0.25, 0.25], dtype=float32)
  """
  solver = pick_solver(game) if solver is None else solver
  check_solver(game, solver, num_levels=num_levels)
  size = {} if num_levels is None else {'num_levels': num_levels}
  if solver == 'grid':
    return _grid.solve_grid(game, **size)
  if solver == 'tree':
    return _grid.solve_tree(game, **size)
  if solver == 'continuous':
    nodes = {} if num_levels is None else {'num_nodes': num_levels}
    return _continuous.solve(game, **nodes)
  if solver == 'closed':
    return _closed_form.closed_form(game)
  return _simultaneous.as_solution(_simultaneous.nash(game), game)


def _resting(solve):
  """An algorithm that knows what to do from the start."""

  def init(key):
    keys.check_key(key)
    return solve().policies.params

  def step(state, cohort, *, key):
    del cohort, key
    return state, {}

  def params(state):
    act = jax.eval_shape(solve).policies.act
    return _policies.Policies(state, act)

  return types.Algorithm(init, step, params)


def equilibrium(
  game: _game.Game,
  *,
  solver: str | None = None,
  num_levels: int | None = None,
) -> types.Algorithm:
  """Agents who play the equilibrium; see `find`.

  Args:
    game: one game.
    solver: one of `SOLVERS`, or None for the one that suits the game.
    num_levels: levels or nodes of a contribution; the solver's own if None.

  Returns:
    The algorithm; its steps do nothing.

  Raises:
    ValueError: see `find`.

  Example:
    >>> algorithm = equilibrium(_game.spgg())
    >>> state = algorithm.init(jax.random.key(0))
    >>> float(algorithm.params(state)(0, jnp.zeros(3)))
    0.25
  """
  _game.check_one(game)
  if solver is not None:
    checks.choice(solver, SOLVERS, name='solver')
  if num_levels is not None:
    checks.integer(num_levels, name='num_levels', low=3)
  if solver is not None or num_levels is not None:
    check_solver(game, solver or pick_solver(game), num_levels=num_levels)
  return _resting(lambda: find(game, solver, num_levels=num_levels))


def nash_players(game: _game.Game, *, start: str = 'low') -> types.Algorithm:
  """Agents who give what they would if nobody saw anything.

  Args:
    game: one game.
    start: see `nash`.

  Returns:
    The algorithm; its steps do nothing.

  Raises:
    ValueError: see `nash`.
  """
  checks.choice(start, _simultaneous.STARTS, name='start')
  game = _game.check_one(game)
  return _resting(
    lambda: _simultaneous.as_solution(
      _simultaneous.nash(game, start=start), game
    )
  )


def planned(game: _game.Game) -> types.Algorithm:
  """Agents who give what is best for all.

  Args:
    game: one game.

  Returns:
    The algorithm; its steps do nothing.
  """
  game = _game.check_one(game)
  return _resting(
    lambda: _simultaneous.as_solution(_simultaneous.planner(game), game)
  )


def fixed(
  game: _game.Game, *, contribution: float | Sequence[float] = 0.5
) -> types.Algorithm:
  """Agents who give the same whatever happens.

  Args:
    game: one game.
    contribution: what, one for all or one for each; held within bounds.

  Returns:
    The algorithm; its steps do nothing.

  Raises:
    ValueError: if there is not one for each.
  """
  game = _game.check_one(game)
  several = isinstance(contribution, (tuple, list))
  for value in contribution if several else (contribution,):
    checks.number(value, name='contribution')
  if several and len(contribution) != game.num_agents:
    raise ValueError(
      f'contribution must be one number or {game.num_agents}, one per agent; '
      f'got {len(contribution)}.'
    )

  def solve():
    given = jnp.asarray(contribution, game.rho.dtype)
    given = jnp.broadcast_to(given, (game.num_agents,))
    held = jnp.clip(given, game.c_min, game.c_max)
    return _policies.solution(_policies.constant_policies(held), game)

  return _resting(solve)


# Who plays, for specs such as 'ppo(observation=partial)'.
METHODS = registry.Registry(
  'method',
  {
    'ppo': ppo_learner,
    'spne': equilibrium,
    'nash': nash_players,
    'planner': planned,
    'fixed': fixed,
  },
  given=('game',),
  told=('num_updates', 'solver'),
)
