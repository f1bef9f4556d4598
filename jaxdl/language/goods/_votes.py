# SPDX-License-Identifier: Apache-2.0
"""One answer of many: votes, weighted or by any rule of `aggregators`."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import aggregators
from jaxdl.core import checks


class Vote(NamedTuple):
  """What came of a vote.

  Attributes:
    answer: the winner, or None if nobody had an answer.
    shares: of every answer that was given, in the order of `answers`.
    answers: the different ones, by their first mention.
    weights: float32[N], how much each voter counted.
  """

  answer: str | None
  shares: tuple[float, ...]
  answers: tuple[str, ...]
  weights: np.ndarray


def vote(
  answers: Sequence[str | None],
  *,
  rule: str = 'mean',
  weights: Sequence[float] | None = None,
  num_byzantine: int = 0,
) -> Vote:
  """Finds the answer of a team.

  Answers are corners of a simplex, one coordinate for each different one, and a
  rule of `jaxdl.aggregators` makes one vector of them: 'mean' is a majority
  vote, 'krum' or 'geometric_median' hold against some who collude as far as
  those rules do. The largest coordinate wins; of equal ones the first that was
  mentioned.

  Args:
    answers: N, None of who has none, and does not vote.
    rule: a spec of `aggregators.RULES`.
    weights: f[N] >= 0, of the voters, with the rule 'mean'; equal if None.
    num_byzantine: of how many the rule is told.

  Returns:
    The vote; `weights` says who made it, as `aggregators.weights_of`.

  Raises:
    ValueError: if nobody is asked, weights do not fit or the rule is unknown.

  Example:
    >>> found = vote(['7', '8', None, '7'])
    >>> found.answer, found.answers
    ('7', ('7', '8'))
    >>> vote(['7', '8', '7'], weights=[0.2, 0.5, 0.2]).answer
    '8'
  """
  checks.integer(len(answers), name='number of answers', low=1)
  if weights is not None:
    if rule != 'mean':
      raise ValueError(f'weights have no effect on rule={rule}: take mean.')
    if len(weights) != len(answers):
      raise ValueError(
        f'weights must be one for each of {len(answers)} answers; got '
        f'{len(weights)}.'
      )
    checks.known(np.asarray(weights), name='weights', low=0.0)
  given = [i for i, a in enumerate(answers) if a is not None]
  names = tuple(dict.fromkeys(answers[i] for i in given))
  counted = np.zeros(len(answers), np.float32)
  if rule != 'mean':
    # Told before the first request, whoever answers.
    _server(rule, len(answers), num_byzantine)
  if not given:
    return Vote(None, (), (), counted)
  rows = np.array(
    [[float(answers[i] == name) for name in names] for i in given], np.float32
  )
  if rule == 'mean':
    own = np.ones(len(given)) if weights is None else np.asarray(weights)[given]
    total = own.sum()
    own = own / total if total > 0 else np.full(len(given), 1 / len(given))
    shares = own @ rows
  else:
    bad = min(num_byzantine, max(len(given) - 1, 0) // 2)
    server = _server(rule, len(given), bad)
    key = jax.random.key(0)
    takes = checks.takes(server.apply, 'key')
    state = server.init(jnp.asarray(rows[0]))
    options = {'key': key} if takes else {}
    shares = np.asarray(server.apply(jnp.asarray(rows), state, **options)[0])
    own = np.asarray(aggregators.weights_of(server, jnp.asarray(rows), key=key))
  counted[given] = own
  winner = names[int(np.argmax(shares))]
  return Vote(winner, tuple(float(x) for x in shares), names, counted)


@functools.lru_cache(maxsize=64)
def _server(rule, num_clients, num_byzantine):
  return aggregators.make_aggregator(
    rule, num_clients=num_clients, num_byzantine=num_byzantine
  )
