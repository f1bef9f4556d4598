# SPDX-License-Identifier: Apache-2.0
"""A public goods game, with its equilibrium to be measured against."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.agents import public_goods as goods
from jaxdl.core import checks, types


def public_goods(
  game: str | goods.Game = 'mac_spgg',
  *,
  solver: str | None = None,
  num_states: int = 21,
  num_levels: int = 51,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Agents who share a pot, one after the other.

  Whoever plays is measured by what happens without exploration: `welfare`,
  `total` (sum of contributions), `score`, `reached` (whether the score reaches
  the threshold), `error` (largest distance of a contribution to that of the
  equilibrium), `exploitability` (the most that an agent could gain at any sum
  of what was given before) and `path_exploitability` (on the path alone);
  `given_1`, `given_2`, ... are the contributions.

  Plain tasks of gradient descent work too: parameters are n contributions, the
  loss is what welfare lacks, whose optimum is the planner's.

  Args:
    game: a part of `agents.public_goods.GAMES`, or a `Game`; one whose numbers
      have a leading axis S gives every seed its own.
    solver: what finds the equilibrium, see `agents.public_goods.find`; None
      for `solve_exact` where costs allow it, otherwise what suits the game.
    num_states: sums at which deviations are looked for.
    num_levels: deviations that are tried there.
    seeds: S seeds.

  Returns:
    The problem. `data` is the game with leaves [S, ...], of which makers of
    algorithms get one; `test` is the equilibrium, f[S, n].

  Raises:
    ValueError: if the game is unknown or a number out of range.

  Example:
    >>> problem = public_goods('spgg')
    >>> maker = lambda game: goods.METHODS.make('spne', game, solver=None)
    >>> policies = maker(goods.spgg()).params(
    ...   maker(goods.spgg()).init(jax.random.key(0))
    ... )
    >>> found = problem.evaluate(jax.tree.map(lambda x: x[None], policies))
    >>> round(float(found['welfare'][0]), 4), round(float(found['total'][0]), 2)
    (0.9375, 0.75)
  """
  seeds = checks.seeds(seeds)
  if isinstance(game, str):
    game = goods.GAMES.make(game)
  goods.check_game(game)
  checks.integer(num_states, name='num_states', low=2)
  checks.integer(num_levels, name='num_levels', low=2)
  n, count = game.num_agents, len(seeds)
  data = _each(game, count)
  best = np.stack(
    [
      _equilibrium(jax.tree.map(lambda x, k=k: x[k], data), solver)
      for k in range(count)
    ]
  )

  def held(params, game):
    if isinstance(params, goods.Policies):
      return params
    given = jnp.clip(params['contributions'], game.c_min, game.c_max)
    return goods.constant_policies(given)

  def init(key):
    del key
    middle = (data.c_min[0] + data.c_max[0]) / 2
    return {'contributions': jnp.full((n,), middle)}

  def loss(params, batch, *, key=None):
    del key
    return -goods.welfare(params['contributions'], batch)

  task = types.Task(
    init, loss, lambda params, batch: {'loss': loss(params, batch)}
  )

  def measure(params, game, best):
    policies = held(params, game)
    path = goods.play(policies, game)
    gains = goods.exploitability(
      policies, game, num_states=num_states, num_levels=num_levels
    )
    total = goods.score(path, game)
    found = {
      'welfare': goods.welfare(path, game),
      'total': jnp.sum(path),
      'score': total,
      'reached': goods.is_reached(total, game).astype(path.dtype),
      'error': jnp.max(jnp.abs(path - best)),
      'exploitability': jnp.max(gains.anywhere),
      'path_exploitability': jnp.max(gains.on_path),
    }
    return found | {f'given_{i + 1}': path[i] for i in range(n)}

  wanted = jnp.asarray(best, jnp.result_type(float))
  run = jax.jit(jax.vmap(measure))

  def evaluate(params):
    return jax.device_get(run(params, data, wanted))

  def cohort(key, data, round):
    del key, round
    return types.Cohort(
      client_ids=jnp.arange(n, dtype=jnp.int32),
      data=jax.tree.map(
        lambda x: jnp.broadcast_to(x[None], (n, *jnp.shape(x))), data
      ),
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n, jnp.float32),
    )

  return types.Problem(
    task=task,
    data=data,
    cohort=cohort,
    evaluate=evaluate,
    seeds=seeds,
    num_clients=n,
    metric='welfare',
    ylabel='Sum of rewards',
    test=best,
  )


def _each(game, count):
  """The game of every seed, leaves [S, ...]."""
  several = np.ndim(game.rho) > 0

  def leaf(x):
    x = jnp.asarray(x, jnp.result_type(float))
    if not several:
      return jnp.broadcast_to(x[None], (count, *x.shape))
    if not x.ndim or x.shape[0] != count:
      raise ValueError(
        f'game must have numbers of shape [{count}, ...], a game for each '
        f'seed; got {x.shape}.'
      )
    return x

  return jax.tree.map(leaf, game)


def _equilibrium(game, solver):
  """Contributions of the equilibrium, on the host."""
  exact = str(game.cost).split('(')[0] in ('quadratic', 'linear')
  plain = game.synergy != 'previous' and not game.simultaneous
  if solver is None and exact and plain:
    return goods.exact_path(game)[0]
  return np.asarray(goods.find(game, solver).contributions, np.float64)
