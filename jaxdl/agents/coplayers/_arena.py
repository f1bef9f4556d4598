# SPDX-License-Identifier: Apache-2.0
"""Where learners meet: pools of co-players, and how learners are measured."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from absl import logging

from jaxdl.agents.coplayers import _game, _play, _strategies
from jaxdl.core import checks, keys, registry

# Entries of a label: log-probabilities of both actions after what is seen.
LABEL_SIZE = 10
# A strategy that is certain has a label all the same.
_LEAST = 1e-3


@dataclasses.dataclass(frozen=True)
class Arena:
  """A game, how long it lasts, and the strategies that one may meet in it.

  Attributes:
    game: payoffs.
    prior: of the strategies of tabular co-players.
    num_rounds: T.
  """

  game: _game.Dilemma
  prior: _strategies.Prior
  num_rounds: int


def arena(
  game: str | _game.Dilemma = 'prisoner',
  prior: str | _strategies.Prior = 'uniform',
  *,
  num_rounds: int = 100,
) -> Arena:
  """Makes an arena.

  Args:
    game: an entry of `GAMES`, or one made.
    prior: an entry of `PRIORS`, or one made.
    num_rounds: T >= 1, rounds of an episode.

  Returns:
    The arena, which learners and problems take.

  Raises:
    ValueError: if a spec or a number is wrong.

  Example:
    >>> arena(prior='corners(0.1)', num_rounds=20).num_rounds
    20
  """
  return Arena(
    _game.check_game(game),
    _play.make_prior(prior),
    checks.integer(num_rounds, name='num_rounds', low=1),
  )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Players:
  """Learners as they are now: what their policies are made of.

  Attributes:
    params: leaves [A, ...], one row for each of A learners.
    policy: `policy(params, label) -> Policy` of one; the label f[10] says who
      the other is, zeros for another learner; most policies are not made to
      read it.
  """

  params: Any
  policy: Callable[..., _play.Policy] = dataclasses.field(
    metadata={'static': True}
  )


class Pool(NamedTuple):
  """Whom a learner meets.

  Attributes:
    learners: share of the games with another learner.
    opponent: an entry of `POLICIES` that is met in the others; None draws
      strategies from the prior.
  """

  learners: float
  opponent: str | None = None


def mixed(learners: float = 0.5) -> Pool:
  """Other learners and tabular agents; of a batch a fixed share each."""
  checks.number(learners, name='learners', low=0.0, high=1.0)
  return Pool(learners)


def only_learners() -> Pool:
  """Other learners alone."""
  return Pool(1.0)


def only_tabular() -> Pool:
  """Fresh tabular agents alone."""
  return Pool(0.0)


def against(opponent: str = 'bayes_icl', learners: float = 0.0) -> Pool:
  """A fixed policy, an entry of `POLICIES`."""
  checks.number(learners, name='learners', low=0.0, high=1.0)
  _play.POLICIES.check(opponent, name='opponent')
  _play.POLICIES.make(opponent)
  return Pool(learners, opponent)


POOLS = registry.Registry(
  'pool',
  {
    'against': against,
    'learners': only_learners,
    'mixed': mixed,
    'tabular': only_tabular,
  },
  tried={},
)


def make_pool(
  spec: str,
  *,
  opponent_id: bool = False,
  batch_size: int | None = None,
  game: _game.Dilemma | None = None,
) -> Pool:
  """Makes a pool by name.

  Warns if co-players should be told apart and all of them are learners, whose
  label is zero.

  Args:
    spec: an entry of `POOLS`.
    opponent_id: whether learners are told whom they meet.
    batch_size: games of a learner in an update, to be shared.
    game: payoffs, for which an opponent must make sense; not looked at if None.

  Returns:
    The pool.

  Raises:
    ValueError: if the spec is wrong, or the batch has no game for a part of
      the pool.
  """
  checks.flag(opponent_id, name='opponent_id')
  pool = POOLS.make(spec)
  if pool.opponent is not None and game is not None:
    _play.make_policy(pool.opponent, game)
  if opponent_id and pool.learners == 1:
    logging.warning(
      'opponent_id has no effect with pool=%s: the label of a learner is zero.',
      spec,
    )
  if batch_size is not None:
    checks.integer(batch_size, name='batch_size', low=1)
    count = _num_with_learners(pool, batch_size)
    if 0 < pool.learners < 1 and count in (0, batch_size):
      raise ValueError(
        f'batch_size={batch_size} leaves a part of pool={spec} without a game: '
        'take more games.'
      )
  return pool


def _num_with_learners(pool, batch_size):
  return round(pool.learners * batch_size)


def labels_of(strategies: chex.Array) -> chex.Array:
  """Returns what says who a tabular co-player is.

  Args:
    strategies: f[..., 5].

  Returns:
    f[..., 10], log-probabilities of cooperation and defection after start, CC,
    CD, DC and DD of its own side; those below log 0.001 are that.

  Example:
    >>> labels_of(jnp.full((5,), 0.5)).shape
    (10,)
  """
  log_probs = _play.log_odds(jnp.clip(strategies, _LEAST, 1 - _LEAST))
  return log_probs.reshape(*log_probs.shape[:-2], LABEL_SIZE)


def check_learners(count: int) -> int:
  """Returns the number of learners, after checking that they pair up.

  Args:
    count: A.

  Returns:
    A.

  Raises:
    ValueError: if it is neither one nor even.
  """
  count = checks.integer(count, name='num_learners', low=1)
  if count > 1 and count % 2:
    raise ValueError(
      f'num_learners={count} do not pair up: take one or an even number.'
    )
  return count


class Met(NamedTuple):
  """Games of A learners, B each.

  Attributes:
    own: `Games` from the learners' side, leaves [A, B, ...]; those with other
      learners come first.
    other: the same games from the other side.
    labels: f[A, B, 10], who the other was.
    num_learners: games of each with another learner, a Python int.
  """

  own: _play.Games
  other: _play.Games
  labels: chex.Array
  num_learners: int


def meet(
  players: Players,
  arena: Arena,
  pool: Pool,
  *,
  batch_size: int,
  key: chex.PRNGKey,
  opponent: Any = None,
  strategies: chex.Array | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> Met:
  """Plays a batch of games for every learner.

  A fixed share of the batch is with other learners, in pairs that are drawn
  anew: expected values are those of a coin for every game, with less noise. One
  learner alone meets itself.

  Args:
    players: A learners; A is one or even.
    arena: where.
    pool: whom they meet.
    batch_size: B >= 1 games of each (static).
    key: consumed.
    opponent: a `Policy` that is met in place of the pool's.
    strategies: f[A, games not with learners, 5] that are met in place of draws
      from the prior.
    mesh: devices over whose first axis the games are spread, if it divides
      them; the games are the same.

  Returns:
    The games.

  Raises:
    ValueError: if there are no games or learners do not pair up.
  """
  keys.check_key(key)
  checks.integer(batch_size, name='batch_size', low=1)
  count = len(jax.tree.leaves(players.params)[0])
  together = _num_with_learners(pool, batch_size)
  if together:
    check_learners(count)
  pair_key, pairs_key, draw_key, fixed_key = jax.random.split(key, 4)
  nobody = jnp.zeros((LABEL_SIZE,))
  game, length = arena.game, arena.num_rounds
  found = []
  if together:
    order = jax.random.permutation(pair_key, count)
    half = max(count // 2, 1)
    own = jax.tree.map(lambda x: x[order], players.params)
    first = jax.tree.map(lambda x: x[:half], own)
    second = jax.tree.map(lambda x: x[-half:], own)

    def pair(a, b, game_key):
      return _play.play(
        game,
        players.policy(a, nobody),
        players.policy(b, nobody),
        num_rounds=length,
        key=game_key,
      )

    where = _spread(jax.random.split(pairs_key, (half, together)), mesh)
    over_games = jax.vmap(pair, (None, None, 0))
    a, b = jax.vmap(over_games)(first, second, where)
    if count > 1:
      back = jnp.argsort(order)
      join = lambda x, y: jnp.concatenate([x, y])[back]
      a, b = jax.tree.map(join, a, b), jax.tree.map(join, b, a)
    found.append((a, b, jnp.zeros((count, together, LABEL_SIZE))))
  rest = batch_size - together
  if rest:
    if strategies is None:
      strategies = arena.prior.sample((count, rest), key=draw_key)
    fixed = opponent
    if fixed is None and pool.opponent is not None:
      fixed = _play.make_policy(pool.opponent, game)
    labels = labels_of(strategies)
    if fixed is not None:
      labels = jnp.zeros_like(labels)

    def one(a, strategy, label, game_key):
      other = fixed
      if other is None:
        other = _play.memory_one_policy(strategy)
      return _play.play(
        game,
        players.policy(a, label),
        other,
        num_rounds=length,
        key=game_key,
      )

    where = _spread(jax.random.split(fixed_key, (count, rest)), mesh)
    over_games = jax.vmap(one, (None, 0, 0, 0))
    a, b = jax.vmap(over_games)(players.params, strategies, labels, where)
    found.append((a, b, labels))
  own, other, labels = jax.tree.map(
    lambda *xs: jnp.concatenate(xs, axis=1), *found
  )
  return Met(own, other, labels, together)


def _spread(many, mesh):
  """Lays the second axis of keys over devices."""
  if mesh is None or many.shape[1] % mesh.shape[mesh.axis_names[0]]:
    return many
  place = jax.sharding.NamedSharding(
    mesh, jax.sharding.PartitionSpec(None, mesh.axis_names[0])
  )
  return jax.lax.with_sharding_constraint(many, place)


def summary(met: Met) -> dict[str, chex.Array]:
  """Returns means over learners and games.

  Args:
    met: games.

  Returns:
    `reward` and `cooperation` with `_learners` and `_pool` behind them, of
    those games that there are, and `other_` before them for the other side of
    the latter.
  """
  out, cut = {}, met.num_learners
  total = met.labels.shape[1]
  parts = {'learners': slice(0, cut), 'pool': slice(cut, total)}
  for name, part in parts.items():
    if part.start == part.stop:
      continue
    own, other = (
      jax.tree.map(lambda x, p=part: x[:, p], side)
      for side in (met.own, met.other)
    )
    out[f'reward_{name}'] = own.rewards.mean()
    out[f'cooperation_{name}'] = _play.cooperation(own)
    if name == 'pool':
      out['other_reward_pool'] = other.rewards.mean()
      out['other_cooperation_pool'] = _play.cooperation(other)
  return out


class Report(NamedTuple):
  """How learners play.

  Attributes:
    values: figures by name, f[]: `reward_` and `cooperation_` with 'learners',
      'tabular' or a strategy behind them.
    by_context: f[2, 5], share of cooperation after each observation, with other
      learners and with tabular agents; NaN where it was not seen.
    by_round: f[2, T], share of cooperation in each round, likewise.
  """

  values: dict[str, chex.Array]
  by_context: chex.Array
  by_round: chex.Array


def report(
  players: Players,
  arena: Arena,
  *,
  num_games: int = 64,
  opponents: tuple[str, ...] = ('all_c', 'all_d', 'tft'),
  key: chex.PRNGKey,
) -> Report:
  """Measures learners in games with each other and with others.

  Args:
    players: A learners.
    arena: where.
    num_games: games of each learner with each kind of other, >= 1.
    opponents: entries of `POLICIES` that are met as well.
    key: consumed.

  Returns:
    The report.

  Raises:
    ValueError: if a spec or a number is wrong.
  """
  checks.integer(num_games, name='num_games', low=1)
  keys.check_key(key)
  pair_key, draw_key, *split = jax.random.split(key, 3 + len(opponents))
  count = len(jax.tree.leaves(players.params)[0])
  made = {
    name: _play.POLICIES.make(name, game=arena.game) for name in opponents
  }
  policies = {k: v for k, v in made.items() if isinstance(v, _play.Policy)}
  fixed = {k: v for k, v in made.items() if k not in policies}
  values, context, rounds = {}, [], []

  def take(name, own):
    values[f'reward_{name}'] = own.rewards.mean()
    values[f'cooperation_{name}'] = _play.cooperation(own)
    if name in ('learners', 'tabular'):
      context.append(_play.cooperation(own, by='context'))
      rounds.append(_play.cooperation(own, by='round'))

  shared = {
    'arena': arena,
    'batch_size': num_games,
  }
  take('learners', meet(players, pool=Pool(1.0), key=pair_key, **shared).own)
  # All strategies of one round's memory in one program.
  strategies = [arena.prior.sample((count, num_games), key=draw_key)]
  strategies += [
    jnp.broadcast_to(v, (count, num_games, 5)).astype(strategies[0].dtype)
    for v in fixed.values()
  ]
  met = meet(
    players,
    pool=Pool(0.0),
    key=split[0],
    strategies=jnp.concatenate(strategies, axis=1),
    **shared | {'batch_size': num_games * len(strategies)},
  )
  for i, name in enumerate(('tabular', *fixed)):
    part = slice(i * num_games, (i + 1) * num_games)
    take(name, jax.tree.map(lambda x, p=part: x[:, p], met.own))
  for own_key, (name, policy) in zip(split[1:], policies.items(), strict=False):
    take(
      name,
      meet(players, pool=Pool(0.0), key=own_key, opponent=policy, **shared).own,
    )
  return Report(values, jnp.stack(context), jnp.stack(rounds))
