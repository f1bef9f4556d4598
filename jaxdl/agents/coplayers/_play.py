# SPDX-License-Identifier: Apache-2.0
"""Games between any two policies, and what happened in them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents.coplayers import _game, _memory_one, _strategies
from jaxdl.core import checks, keys


class Policy(NamedTuple):
  """One player of one game.

  Attributes:
    carry: what it remembers before the first round, any pytree of arrays.
    step: `step(carry, observation, *, key) -> (carry, action, log_prob)`;
      observation and action are i32[], log_prob is that of the action, f[];
      consumes the key.
  """

  carry: Any
  step: Callable[..., tuple[Any, chex.Array, chex.Array]]


class Games(NamedTuple):
  """What one player saw, did and got; leaves [..., T].

  Attributes:
    observations: i32, before each round, the first 0.
    actions: i32.
    rewards: f, of the round.
    log_probs: f, of its actions.
    last: i32[...], what it sees after the last round.
  """

  observations: chex.Array
  actions: chex.Array
  rewards: chex.Array
  log_probs: chex.Array
  last: chex.Array


def play(
  game: _game.Dilemma,
  first: Policy,
  second: Policy,
  *,
  num_rounds: int,
  key: chex.PRNGKey,
) -> tuple[Games, Games]:
  """Plays one game; `vmap` over keys, or over what policies are made of.

  Args:
    game: payoffs.
    first: one player.
    second: the other.
    num_rounds: T >= 1 (static).
    key: consumed.

  Returns:
    The game as both saw it.

  Raises:
    ValueError: if T < 1.
    TypeError: if the key is no typed key, or a player no `Policy`.

  Example:
    >>> mine, _ = play(
    ...   prisoner(),
    ...   memory_one_policy(STRATEGIES.make('tft')),
    ...   memory_one_policy(STRATEGIES.make('all_d')),
    ...   num_rounds=3,
    ...   key=jax.random.key(0),
    ... )
    >>> mine.observations.tolist(), mine.rewards.tolist()
    ([0, 2, 4], [-1.0, 0.0, 0.0])
  """
  num_rounds = checks.integer(num_rounds, name='num_rounds', low=1)
  keys.check_key(key)
  game = _game.check_game(game)
  for name, policy in (('first', first), ('second', second)):
    if not isinstance(policy, Policy):
      raise TypeError(
        f'{name} must be a Policy, as make_policy or memory_one_policy makes; '
        f'got {checks.described(policy)}.'
      )

  def body(carry, both):
    mine, other, seen = carry
    mine, a, log_a = first.step(mine, seen, key=both[0])
    other, b, log_b = second.step(other, _game.swap(seen), key=both[1])
    after, _, gain, gain_other = _game.step(game, a, b)
    found = (
      (seen, a, gain, log_a),
      (_game.swap(seen), b, gain_other, log_b),
    )
    return (mine, other, after), found

  begin = (first.carry, second.carry, jnp.int32(0))
  (_, _, last), (mine, other) = jax.lax.scan(
    body, begin, jax.random.split(key, (num_rounds, 2))
  )
  return Games(*mine, last), Games(*other, _game.swap(last))


def draw_action(
  logits: chex.Array, uniform: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Chooses an action by a random number.

  Args:
    logits: f[2], of cooperation and defection.
    uniform: f[] in [0, 1).

  Returns:
    i32[] and its log-probability, f[].
  """
  log_probs = jax.nn.log_softmax(logits)
  defects = uniform >= jnp.exp(log_probs[0])
  action = defects.astype(jnp.int32)
  return action, jnp.where(defects, log_probs[1], log_probs[0])


def log_odds(probability: chex.Array) -> chex.Array:
  """Logits of two actions, of the probability of the first; 0 and 1 as well.

  Args:
    probability: f[...].

  Returns:
    f[..., 2].
  """
  return jnp.log(jnp.stack([probability, 1 - probability], axis=-1))


def memory_one_policy(strategy: chex.Array) -> Policy:
  """Plays a strategy of one round's memory.

  Args:
    strategy: f[5], probability of cooperation after start, CC, CD, DC and DD.

  Returns:
    The policy; it remembers nothing.

  Raises:
    ValueError: if they are no five probabilities.
  """
  strategy = _game.check_strategy(strategy, name='strategy')

  def step(carry, observation, *, key):
    # A probability of one always cooperates, of zero never.
    chance = strategy[observation]
    defects = jax.random.uniform(key, dtype=chance.dtype) >= chance
    chosen = jnp.where(defects, 1 - chance, chance)
    return carry, defects.astype(jnp.int32), jnp.log(chosen)

  return Policy((), step)


class Belief(NamedTuple):
  """What `bayes_icl` remembers.

  Attributes:
    counts: f[5, 2], how often the other cooperated and defected after what
      *this* player saw.
    seen: i32[], what was seen in the round before.
    round: i32[], from 0.
  """

  counts: chex.Array
  seen: chex.Array
  round: chex.Array


def update_counts(
  counts: chex.Array, before: chex.Array, after: chex.Array
) -> chex.Array:
  """Counts what the other did.

  Args:
    counts: f[5, 2], after what this player saw.
    before: i32[], what this player saw before the round.
    after: i32[], after it; 0 counts nothing.

  Returns:
    f[5, 2].

  Example:
    >>> update_counts(jnp.zeros((5, 2)), jnp.int32(0), jnp.int32(2))[0].tolist()
    [0.0, 1.0]
  """
  after = jnp.asarray(after)
  row = jax.nn.one_hot(before, 5, dtype=counts.dtype)
  column = jax.nn.one_hot((after - 1) % 2, 2, dtype=counts.dtype)
  real = (after > 0).astype(counts.dtype)
  return counts + real * row[:, None] * column[None, :]


def bayes_icl(
  prior: str | _strategies.Prior = 'uniform',
  *,
  game: _game.Dilemma | None = None,
  discount: float = 0.95,
  num_sweeps: int = 60,
  exploration: float = 0.05,
  exploration_rounds: int = 30,
) -> Policy:
  """Infers a strategy of one round's memory in context, and answers it best.

  The posterior under a prior of independent probabilities is exact; every
  round its means are planned against, and the better action is taken (ties
  cooperate). It is what a learner among such strategies would become, without
  weights: a fixed in-context learner.

  Args:
    prior: an entry of `PRIORS`, or one made.
    game: payoffs; those of `prisoner()` if None.
    discount: of the plan, in [0, 1].
    num_sweeps: of value iteration, >= 1.
    exploration: probability of the other action at first.
    exploration_rounds: rounds in which that happens, >= 0.

  Returns:
    The policy.

  Raises:
    ValueError: if a number is out of range or the prior is unknown.

  Cost: O(num_sweeps) a round.
  """
  game = _game.prisoner() if game is None else _game.check_game(game)
  prior = make_prior(prior)
  checks.number(discount, name='discount', low=0.0, high=1.0)
  checks.integer(num_sweeps, name='num_sweeps', low=1)
  checks.number(exploration, name='exploration', low=0.0, high=1.0)
  checks.integer(exploration_rounds, name='exploration_rounds', low=0)

  def step(carry, observation, *, key):
    counts = update_counts(carry.counts, carry.seen, observation)
    values = _memory_one.reactive_values(
      prior.predict(counts), game, discount=discount, num_sweeps=num_sweeps
    )[observation]
    share = exploration * (carry.round < exploration_rounds)
    cooperates = jnp.where(jnp.argmax(values) == 0, 1 - share, share)
    action, log_prob = draw_action(
      log_odds(cooperates), jax.random.uniform(key)
    )
    return Belief(counts, observation, carry.round + 1), action, log_prob

  begin = Belief(jnp.zeros((5, 2)), jnp.int32(0), jnp.int32(0))
  return Policy(begin, step)


def make_prior(value: Any) -> _strategies.Prior:
  """Returns a prior, made of a spec if it is one.

  Args:
    value: a `Prior` or an entry of `PRIORS`.

  Returns:
    The prior.

  Raises:
    TypeError: if it is neither.
    ValueError: if the spec is wrong.
  """
  if isinstance(value, str):
    return _strategies.PRIORS.make(value)
  if not checks.has_functions(value, 'sample', 'predict'):
    raise TypeError(
      f'prior must be a Prior or an entry of PRIORS; got '
      f'{checks.described(value)}.'
    )
  return value


def make_policy(spec: str, game: _game.Dilemma) -> Policy:
  """Makes a fixed player by name.

  Args:
    spec: an entry of `POLICIES`: a strategy, or 'bayes_icl'.
    game: payoffs.

  Returns:
    The policy.

  Raises:
    ValueError: if the spec is wrong.

  Example:
    >>> make_policy('tft', prisoner()).carry
    ()
  """
  made = POLICIES.make(spec, game=_game.check_game(game))
  return made if isinstance(made, Policy) else memory_one_policy(made)


POLICIES = _strategies.STRATEGIES | {'bayes_icl': bayes_icl}


def cooperation(games: Games, *, by: str | None = None) -> chex.Array:
  """Returns how often a player cooperated.

  Args:
    games: leaves [..., T] of any number of games.
    by: 'context', 'round', or None for one number (static).

  Returns:
    f[5] after each observation (NaN where there was none), f[T] in each round,
    or f[].

  Raises:
    ValueError: if `by` is something else.

  Example:
    >>> none = jnp.zeros((1, 3))
    >>> games = Games(
    ...   observations=jnp.array([[0, 1, 2]]),
    ...   actions=jnp.array([[0, 0, 1]]),
    ...   rewards=none,
    ...   log_probs=none,
    ...   last=jnp.array([4]),
    ... )
    >>> cooperation(games, by='round').tolist()
    [1.0, 1.0, 0.0]
  """
  checks.choice(by, (None, 'context', 'round'), name='by')
  cooperates = (games.actions == _game.COOPERATE).astype(float)
  if by is None:
    return cooperates.mean()
  if by == 'round':
    return cooperates.reshape(-1, cooperates.shape[-1]).mean(axis=0)
  here = jax.nn.one_hot(games.observations.reshape(-1), 5)
  return cooperates.reshape(-1) @ here / here.sum(axis=0)
