# SPDX-License-Identifier: Apache-2.0
"""Two players with a memory of one round: everything in closed form.

A strategy is f[5], the probability of cooperation after start, CC, CD, DC and
DD, seen from the side of who plays it. All functions take one pair; `vmap` them
over strategies and games, differentiate them in both. Numbers are float32 or
more, whatever those of strategies are.
"""

import functools

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents.coplayers import _game
from jaxdl.core import checks

# The long run is the mean of 2**_DOUBLINGS rounds.
_DOUBLINGS = 30


def _both(p, q):
  p = _game.check_strategy(p, name='p')
  q = _game.check_strategy(q, name='q')
  return p, q[..., jnp.array([0, 1, 3, 2, 4])]


def _joint(a, b):
  """Probabilities of CC, CD, DC, DD on the last axis."""
  return jnp.stack([a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b)], -1)


def start(p: chex.Array, q: chex.Array) -> chex.Array:
  """Returns how likely CC, CD, DC and DD are in the first round.

  Args:
    p: f[5], strategy of the first player.
    q: f[5], of the second, from its own side.

  Returns:
    f[4], seen from the first player.

  Raises:
    ValueError: if p or q are no five probabilities.
  """
  p, q = _both(p, q)
  return _joint(p[0], q[0])


def transitions(p: chex.Array, q: chex.Array) -> chex.Array:
  """Returns how likely each outcome follows each other.

  Args:
    p: f[5], strategy of the first player.
    q: f[5], of the second, from its own side.

  Returns:
    f[4, 4], rows sum to one; seen from the first player.

  Raises:
    ValueError: if p or q are no five probabilities.

  Example:
    >>> tit_for_tat = jnp.array([1.0, 1.0, 0.0, 1.0, 0.0])
    >>> transitions(tit_for_tat, tit_for_tat)[1].tolist()
    [0.0, 0.0, 1.0, 0.0]
  """
  p, q = _both(p, q)
  return _joint(p[1:], q[1:])


def outcomes(p: chex.Array, q: chex.Array, *, num_rounds: int) -> chex.Array:
  """Returns how likely each outcome is in each round.

  Args:
    p: f[5], strategy of the first player.
    q: f[5], of the second, from its own side.
    num_rounds: T >= 1 (static).

  Returns:
    f[T, 4], CC, CD, DC and DD seen from the first player.

  Raises:
    ValueError: if p or q are no five probabilities or T < 1.

  Example:
    >>> tit_for_tat = jnp.array([1.0, 1.0, 0.0, 1.0, 0.0])
    >>> outcomes(tit_for_tat, jnp.zeros(5), num_rounds=2).tolist()
    [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
  """
  num_rounds = checks.integer(num_rounds, name='num_rounds', low=1)
  first, matrix = start(p, q), transitions(p, q)

  def body(d, _):
    return _follow(d, matrix), d

  return jax.lax.scan(body, first, None, length=num_rounds)[1]


def _follow(d, matrix):
  """The next round; by hand, as small batched products are slow on CPU."""
  return functools.reduce(jnp.add, [d[i] * matrix[i] for i in range(4)])


def memory_one_returns(
  p: chex.Array,
  q: chex.Array,
  game: _game.Dilemma,
  *,
  num_rounds: int,
) -> chex.Array:
  """Returns the mean payoffs per round of a game of T rounds.

  Args:
    p: f[5], strategy of the first player.
    q: f[5], of the second, from its own side.
    game: payoffs.
    num_rounds: T >= 1 (static).

  Returns:
    f[2], of the first and of the second player; differentiable.

  Raises:
    ValueError: if p or q are no five probabilities or T < 1.

  Cost: O(T), O(1) memory unless it is differentiated.

  Example:
    >>> tit_for_tat = jnp.array([1.0, 1.0, 0.0, 1.0, 0.0])
    >>> found = memory_one_returns(
    ...   tit_for_tat, jnp.zeros(5), prisoner(), num_rounds=100
    ... )
    >>> [round(float(x), 3) for x in found]
    [-0.01, 0.02]
  """
  num_rounds = checks.integer(num_rounds, name='num_rounds', low=1)
  game = _game.check_game(game)
  first, matrix = start(p, q), transitions(p, q)

  def body(carry, _):
    d, total = carry
    return (_follow(d, matrix), total + d), None

  (_, total), _ = jax.lax.scan(
    body, (first, jnp.zeros_like(first)), None, length=num_rounds
  )
  return _payoffs(total / num_rounds, game)


def discounted_returns(
  p: chex.Array,
  q: chex.Array,
  game: _game.Dilemma,
  *,
  discount: chex.Numeric,
) -> chex.Array:
  """Returns discounted payoffs of an endless game, per round.

  Args:
    p: f[5], strategy of the first player.
    q: f[5], of the second, from its own side.
    game: payoffs.
    discount: gamma in [0, 1), may be traced.

  Returns:
    f[2], (1 - gamma) times the sum of gamma^t times the payoffs of round t,
    for both players; differentiable, in the discount as well.

  Raises:
    ValueError: if p or q are no five probabilities or a known discount is out
      of range.

  Example:
    >>> discounted_returns(
    ...   jnp.ones(5), jnp.zeros(5), prisoner(), discount=0.9
    ... ).round(3).tolist()
    [-1.0, 2.0]
  """
  checks.number(discount, name='discount', low=0.0, high=1.0, open_high=True)
  game = _game.check_game(game)
  first, matrix = start(p, q), transitions(p, q)
  inside = jnp.eye(4, dtype=matrix.dtype) - discount * matrix
  share = (1 - discount) * jnp.linalg.solve(inside.T, first)
  return _payoffs(share, game)


def long_run(p: chex.Array, q: chex.Array) -> chex.Array:
  """Returns how often each outcome occurs in the long run.

  It is the mean over 2^30 rounds, by doubling, and so defined for strategies
  that lead into cycles or remember how the game began.

  Args:
    p: f[5], strategy of the first player.
    q: f[5], of the second, from its own side.

  Returns:
    f[4], CC, CD, DC and DD seen from the first player.

  Raises:
    ValueError: if p or q are no five probabilities.

  Example:
    >>> tit_for_tat = jnp.array([1.0, 1.0, 0.0, 1.0, 0.0])
    >>> suspicious = jnp.array([0.0, 1.0, 0.0, 1.0, 0.0])
    >>> long_run(tit_for_tat, suspicious).tolist()
    [0.0, 0.5, 0.5, 0.0]
  """
  matrix = transitions(p, q)
  normal = lambda m: m / m.sum(axis=-1, keepdims=True)
  product = lambda a, b: (a[:, :, None] * b[None, :, :]).sum(axis=1)

  def body(carry, _):
    mean, power = carry
    mean = normal((mean + product(power, mean)) / 2)
    return (mean, normal(product(power, power))), None

  (mean, _), _ = jax.lax.scan(
    body, (jnp.eye(4, dtype=matrix.dtype), matrix), None, length=_DOUBLINGS
  )
  return _follow(start(p, q), mean)


def long_run_returns(
  p: chex.Array, q: chex.Array, game: _game.Dilemma
) -> chex.Array:
  """Returns the mean payoffs per round in the long run.

  Args:
    p: f[5], strategy of the first player.
    q: f[5], of the second, from its own side.
    game: payoffs.

  Returns:
    f[2], of the first and of the second player.

  Raises:
    ValueError: if p or q are no five probabilities.

  Example:
    >>> found = long_run_returns(
    ...   zero_determinant(chi=2.0), jnp.ones(5), prisoner()
    ... )
    >>> [round(float(x), 4) for x in found]
    [1.2, 0.6]

  Source: Press and Dyson 2012 (https://doi.org/10.1073/pnas.1206569109).
  """
  return _payoffs(long_run(p, q), _game.check_game(game))


def _payoffs(share, game):
  own = game.payoffs.astype(share.dtype)
  other = own[jnp.array([0, 2, 1, 3])]
  return jnp.stack([(share * own).sum(), (share * other).sum()])


def best_response(
  q: chex.Array, game: _game.Dilemma, *, num_rounds: int
) -> tuple[chex.Array, chex.Array]:
  """Solves for the best answer to a known strategy, by dynamic programming.

  Args:
    q: f[5], the other's strategy, from its own side.
    game: payoffs.
    num_rounds: T >= 1 (static).

  Returns:
    Mean payoff per round, f[], and the actions to take, i32[T, 5], in each
    round after what was seen (0 only in the first). Ties cooperate.

  Raises:
    ValueError: if q are no five probabilities or T < 1.

  Example:
    >>> tit_for_tat = jnp.array([1.0, 1.0, 0.0, 1.0, 0.0])
    >>> value, actions = best_response(
    ...   tit_for_tat, prisoner(), num_rounds=100
    ... )
    >>> round(float(value), 3), actions[-2:, 1].tolist()
    (1.01, [0, 1])
  """
  num_rounds = checks.integer(num_rounds, name='num_rounds', low=1)
  game = _game.check_game(game)
  q = _game.check_strategy(q, name='q')[jnp.array([0, 1, 3, 2, 4])]

  def body(values, _):
    found = action_values(q, game, values, discount=1.0)
    return found.max(axis=-1), jnp.argmax(found, axis=-1).astype(jnp.int32)

  values, actions = jax.lax.scan(
    body, jnp.zeros_like(q), None, length=num_rounds, reverse=True
  )
  return values[0] / num_rounds, actions


def best_response_value(
  q: chex.Array, game: _game.Dilemma, *, num_rounds: int
) -> chex.Array:
  """Returns what the best answer to a known strategy gets per round.

  Args:
    q: f[5], the other's strategy, from its own side.
    game: payoffs.
    num_rounds: T >= 1 (static).

  Returns:
    f[]; no strategy gets more against q.

  Raises:
    ValueError: if q are no five probabilities or T < 1.

  Example:
    >>> best_response_value(
    ...   jnp.ones(5), prisoner(), num_rounds=100
    ... ).tolist()
    2.0
  """
  return best_response(q, game, num_rounds=num_rounds)[0]


def action_values(
  seen: chex.Array,
  game: _game.Dilemma,
  values: chex.Array,
  *,
  discount: chex.Numeric,
) -> chex.Array:
  """Returns what both actions are worth after every observation.

  Args:
    seen: f[5], the other's probability of cooperation after what *this* player
      saw.
    game: payoffs.
    values: f[5], what the game is worth after an observation.
    discount: of what comes after the round.

  Returns:
    f[5, 2], of cooperation and defection.
  """
  after = game.payoffs.astype(values.dtype) + discount * values[1:]
  value = lambda yes, no: seen * yes + (1 - seen) * no
  return jnp.stack([value(after[0], after[1]), value(after[2], after[3])], -1)


def reactive_values(
  seen: chex.Array,
  game: _game.Dilemma,
  *,
  discount: chex.Numeric = 0.95,
  num_sweeps: int = 60,
) -> chex.Array:
  """Plans against a strategy without an end, by value iteration.

  Args:
    seen: f[5], the other's probability of cooperation after what this player
      saw.
    game: payoffs.
    discount: gamma in [0, 1], may be traced.
    num_sweeps: of value iteration, >= 1 (static).

  Returns:
    f[5, 2], values of cooperation and defection after every observation.

  Raises:
    ValueError: if a number is out of range.
  """
  checks.number(discount, name='discount', low=0.0, high=1.0)
  num_sweeps = checks.integer(num_sweeps, name='num_sweeps', low=1)

  def body(values, _):
    found = action_values(seen, game, values, discount=discount)
    return found.max(axis=-1), None

  values, _ = jax.lax.scan(
    body, jnp.zeros_like(seen), None, length=num_sweeps - 1
  )
  return action_values(seen, game, values, discount=discount)
