# SPDX-License-Identifier: Apache-2.0
"""Iterated dilemmas among learners and tabular co-players."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdl.agents import coplayers as coplayers_lib
from jaxdl.core import checks, types

# What figures are drawn with, whatever a run's seed.
_EVALUATION = 1_000_003


def coplayers(
  arena: coplayers_lib.Arena | None = None,
  *,
  num_games: int = 64,
  opponents: Sequence[str] = ('all_c', 'all_d', 'tft'),
  num_clients: int = 1,
  batch_size: int = 64,
  one_by_one: bool = False,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """An iterated dilemma, where learners meet each other and tabular agents.

  Learners of `agents.coplayers.LEARNERS` play among themselves and take nothing
  from a cohort. Any other algorithm learns a strategy of one round's memory:
  its params are {'logits': f[5]}, its batches strategies of the prior, f[B, 5],
  its loss minus the exact mean payoff against them.

  Args:
    arena: game, prior and T; the paper's if None.
    num_games: games of each learner with each kind of other in an evaluation.
    opponents: entries of `POLICIES` that are met as well.
    num_clients: N, who each get a batch.
    batch_size: B.
    one_by_one: whether seeds run one after the other.
    seeds: S seeds.

  Returns:
    The problem. It measures `reward_` and `cooperation_` with learners, tabular
    agents and each of the opponents, from games that are the same in every
    evaluation; `test(params, per_client=False)` is the whole report, by context
    and by round.

  Raises:
    ValueError: if a number is out of range or an opponent is unknown.

  Example:
    >>> from jaxdl.agents import coplayers as lib
    >>> small = lib.arena(num_rounds=5)
    >>> problem = coplayers(small, num_games=4, opponents=('all_c',))
    >>> start = problem.task.init(jax.random.key(0))
    >>> found = problem.evaluate(jax.tree.map(lambda x: x[None], start))
    >>> sorted(found)[:2]
    ['cooperation_all_c', 'cooperation_learners']
  """
  arena = coplayers_lib.arena() if arena is None else arena
  if not isinstance(arena, coplayers_lib.Arena):
    raise TypeError(
      f'arena must be an Arena, of coplayers.arena; got '
      f'{checks.described(arena)}.'
    )
  seeds = checks.seeds(seeds)
  checks.integer(num_games, name='num_games', low=1)
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.integer(batch_size, name='batch_size', low=1)
  opponents = tuple(opponents)
  for opponent in opponents:
    coplayers_lib.POLICIES.check(opponent, name='opponents')
    # Of this game, for which a strategy may be none.
    coplayers_lib.make_policy(opponent, arena.game)

  def returns(params, batch):
    own = jax.nn.sigmoid(params['logits'])
    return jax.vmap(
      lambda other: coplayers_lib.memory_one_returns(
        own, other, arena.game, num_rounds=arena.num_rounds
      )[0]
    )(batch['strategies'])

  def loss(params, batch, *, key=None):
    del key
    return -returns(params, batch).mean()

  task = types.Task(
    lambda key: {'logits': jnp.zeros((5,))},
    loss,
    lambda params, batch: {'reward': returns(params, batch).mean()},
  )

  def players_of(params, per_client):
    if isinstance(params, coplayers_lib.Players):
      return params
    logits = params['logits']
    logits = logits if per_client else logits[:, None]
    return coplayers_lib.Players(logits, coplayers_lib.logits_policy)

  @jax.jit
  def measured(players):
    def one(own):
      return coplayers_lib.report(
        own,
        arena,
        num_games=num_games,
        opponents=opponents,
        key=jax.random.key(_EVALUATION),
      )

    return jax.lax.map(one, players)

  def report(params, per_client=False):
    return measured(players_of(params, per_client))

  def cohort(key, data, round):
    round_key = jax.random.fold_in(key, round)
    return types.Cohort(
      client_ids=jnp.arange(n),
      data={'strategies': arena.prior.sample((n, batch_size), key=round_key)},
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  return types.Problem(
    task=task,
    data={'seed': jnp.zeros((len(seeds),))},
    cohort=cohort,
    evaluate=lambda params: report(params).values,
    evaluate_clients=lambda params: report(params, True).values,
    seeds=seeds,
    num_clients=n,
    metric='reward_tabular',
    ylabel='Reward per round with tabular agents',
    one_by_one=one_by_one,
    test=report,
  )
