# SPDX-License-Identifier: Apache-2.0
"""One answer of many: votes, weighted or by any rule of `aggregators`."""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxdl.core import checks
from jaxdl.language import _rules


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
  mentioned. Where too few have an answer for the rule, the majority decides.

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
  check_rule(rule, len(answers), num_byzantine)
  if not given:
    return Vote(None, (), (), counted)
  rows = np.array(
    [[float(answers[i] == name) for name in names] for i in given], np.float32
  )
  own = np.ones(len(given)) if weights is None else np.asarray(weights)[given]
  own = own / own.sum() if own.sum() > 0 else np.full(len(own), 1 / len(own))
  shares = own @ rows
  server = None
  if rule != 'mean' and len(given) > 1:
    bad = min(num_byzantine, (len(given) - 1) // 2)
    with contextlib.suppress(ValueError):  # Too few for the rule: a majority.
      server = _rules.make_rule(rule, len(given), bad)
  if server is not None:
    shares, own = _rules.apply_rule(server, rows)
  counted[given] = own
  winner = names[_rules.first_best(shares)]
  return Vote(winner, tuple(float(x) for x in shares), names, counted)


def check_rule(rule: str, num_answers: int, num_byzantine: int = 0) -> None:
  """Checks that a rule can count as many answers.

  Args:
    rule: see `vote`.
    num_answers: N.
    num_byzantine: of how many it is told.

  Raises:
    ValueError: if it is unknown or does not fit.
  """
  checks.integer(num_byzantine, name='num_byzantine', low=0, high=num_answers)
  if rule != 'mean':
    _rules.make_rule(rule, num_answers, num_byzantine)
