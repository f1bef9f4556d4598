# SPDX-License-Identifier: Apache-2.0
"""How the answers of a team of language models become one.

An aggregation joins what agents said. Votes count equal answers, of equally
many the one that the first agent gave; robust rules of `jaxdl.aggregators` see
votes as vectors, or numbers, and tell whom they listened to.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl import aggregators
from jaxdl.core import checks, registry
from jaxdl.language import _rules

# Numbers beyond it are joined with care.
_LARGE = 1e150


class Said(NamedTuple):
  """What an agent said.

  Attributes:
    agent: its id.
    answer: text or number; None if it gave none that could be read.
    confidence: in [0, 1].
  """

  agent: str
  answer: Any
  confidence: float = 1.0


class Joined(NamedTuple):
  """What a team says.

  Attributes:
    answer: text or number, or None.
    credit: how much each agent has moved it, by id; sums to 1 if anybody has.
  """

  answer: Any
  credit: dict[str, float]


class TextAggregation(NamedTuple):
  """How a team becomes one.

  Attributes:
    join: `join(said) -> Joined`, without a model; where a model is asked, what
      counts if it gives no answer.
    order: 'parallel', or 'chain' where each agent sees the one before.
    asks: '' or whom a model is asked to be: 'judge' picks an answer, 'writer'
      makes one of all.
  """

  join: Callable[[Sequence[Said]], Joined]
  order: str = 'parallel'
  asks: str = ''


def same(answer: Any) -> Any:
  """What makes answers equal: numbers by value, text without case and ends.

  Args:
    answer: text or number.

  Returns:
    A value to compare.

  Example:
    >>> same(' 7.0 ') == same(7), same('Yes') == same('yes.')
    (True, True)
  """
  value = number(answer)
  if value is not None:
    return float(f'{value:.12g}')
  return ' '.join(str(answer).lower().split()).rstrip('.')


def number(answer: Any) -> float | None:
  """Reads an answer as a finite number, or gives None."""
  if isinstance(answer, bool):
    return None
  if isinstance(answer, str):
    answer = answer.strip().replace(',', '')
    if len(answer) > 100:
      return None
  try:
    value = float(answer)
  except (TypeError, ValueError, OverflowError):
    return None
  return value if math.isfinite(value) else None


def _given(said):
  return [s for s in said if s.answer is not None]


def _vote(said, weight):
  """The answer of most weight, of equal ones the first."""
  given = _given(said)
  if not given:
    return Joined(None, {})
  keys = [same(s.answer) for s in given]
  totals: dict[Any, float] = {}
  for key, one in zip(keys, given, strict=True):
    totals[key] = totals.get(key, 0.0) + weight(one)
  best = max(totals, key=lambda key: totals[key])
  won = [s for k, s in zip(keys, given, strict=True) if k == best]
  return Joined(won[0].answer, {s.agent: 1 / len(won) for s in won})


def majority_vote() -> TextAggregation:
  """Every agent has one vote."""
  return TextAggregation(lambda said: _vote(said, lambda s: 1.0))


def weighted_vote() -> TextAggregation:
  """Votes count as much as agents are sure."""
  return TextAggregation(lambda said: _vote(said, lambda s: s.confidence))


def _of_numbers(said, join):
  known = [(s, number(s.answer)) for s in _given(said)]
  known = [(s, v) for s, v in known if v is not None]
  if not known:
    return Joined(None, {})
  share = {s.agent: 1 / len(known) for s, _ in known}
  # Answers are anybody's: a sum of two large ones is no number any more.
  large = max(abs(v) for _, v in known) > _LARGE
  scale = len(known) if large else 1
  return Joined(scale * join([v / scale for _, v in known]), share)


def mean() -> TextAggregation:
  """Mean of the answers that are numbers."""
  return TextAggregation(lambda said: _of_numbers(said, statistics.fmean))


def median() -> TextAggregation:
  """Median of the answers that are numbers."""
  return TextAggregation(lambda said: _of_numbers(said, statistics.median))


def best_of() -> TextAggregation:
  """A model, the judge, picks one of the answers; else who is surest."""

  def surest(said):
    given = _given(said)
    if not given:
      return Joined(None, {})
    best = max(given, key=lambda s: s.confidence)
    return Joined(best.answer, {best.agent: 1.0})

  return TextAggregation(surest, asks='judge')


def concat_summarize() -> TextAggregation:
  """A model, the writer, makes one answer of all; else the majority."""
  return majority_vote()._replace(asks='writer')


def _last(said):
  given = _given(said)
  if not given:
    return Joined(None, {})
  return Joined(given[-1].answer, {given[-1].agent: 1.0})


def sequential() -> TextAggregation:
  """Each agent sees the answer before; the last one counts."""
  return TextAggregation(_last, order='chain')


def pipeline() -> TextAggregation:
  """As `sequential`, but an answer that is missing ends it without one."""

  def join(said):
    whole = said and all(s.answer is not None for s in said)
    return _last(said) if whole else Joined(None, {})

  return TextAggregation(join, order='chain')


def rule(
  rule: str, *, numbers: bool = False, num_byzantine: int = 0
) -> TextAggregation:
  """A robust rule of `jaxdl.aggregators`, for agents as for clients.

  Args:
    rule: text such as 'geometric_median' or 'nnm+krum'.
    numbers: whether it sees the answers as numbers and makes a number; votes,
      as vectors of one 1, if not.
    num_byzantine: agents that may collude, as far as the rule wants to know.

  Returns:
    The aggregation. Credit is `aggregators.weights_of`. Of too few answers for
    the rule, or of numbers too large for it, the majority counts.

  Raises:
    ValueError: if the rule is unknown.
  """
  aggregators.RULES.check(rule, name='rule')
  checks.integer(num_byzantine, name='num_byzantine', low=0)

  def join(said):
    given = _given(said)
    if numbers:
      given = [s for s in given if number(s.answer) is not None]
    if not given:
      return Joined(None, {})
    keys = list(dict.fromkeys(same(s.answer) for s in given))
    if numbers:
      # Beyond them the rule would see infinity.
      most = float(np.finfo(np.float32).max)
      rows = np.array([[number(s.answer)] for s in given])
      rows = np.clip(rows, -most, most).astype(np.float32)
    else:
      rows = np.eye(len(keys), dtype=np.float32)[
        [keys.index(same(s.answer)) for s in given]
      ]
    try:
      made = _rules.make_rule(rule, len(given), num_byzantine)
    except ValueError:
      return _vote(given, lambda s: 1.0)
    scores, weights = _rules.apply_rule(made, rows)
    if not np.isfinite(scores).all() or not np.isfinite(weights).all():
      return _vote(given, lambda s: 1.0)
    credit = {s.agent: float(w) for s, w in zip(given, weights, strict=True)}
    if numbers:
      return Joined(float(scores[0]), credit)
    best = keys[_rules.first_best(scores)]
    return Joined(
      next(s.answer for s in given if same(s.answer) == best), credit
    )

  return TextAggregation(join)


# How answers become one, for specs such as 'rule(geometric_median)'.
TEXT_AGGREGATIONS = registry.Registry(
  'aggregation',
  {
    'majority_vote': majority_vote,
    'weighted_vote': weighted_vote,
    'mean': mean,
    'median': median,
    'best_of': best_of,
    'sequential': sequential,
    'concat_summarize': concat_summarize,
    'pipeline': pipeline,
    'rule': rule,
  },
  tried={},
)


# What a model may choose: parts with options of its own may take forever.
OFFERED = (
  *(name for name in TEXT_AGGREGATIONS if name != 'rule'),
  'rule(geometric_median)',
  'rule(krum, num_byzantine=1)',
  'rule(dnc, num_byzantine=1)',
)


def join_answers(said: Sequence[Said], aggregation: str) -> Joined:
  """Joins what agents said, without asking a model.

  Args:
    said: answers.
    aggregation: a part of `TEXT_AGGREGATIONS`.

  Returns:
    The answer and who has moved it.

  Raises:
    ValueError: if the aggregation is unknown.

  Example:
    >>> said = [Said('a', 7), Said('b', '7'), Said('c', 5)]
    >>> join_answers(said, 'majority_vote')
    Joined(answer=7, credit={'a': 0.5, 'b': 0.5})
    >>> join_answers(said, 'median').answer
    7.0
  """
  return TEXT_AGGREGATIONS.make(aggregation).join(said)
