# SPDX-License-Identifier: Apache-2.0
"""Tokens and money: what was spent, for whom, and how much is left."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxdl.core import checks
from jaxdl.language import _replies

# What a reply may take where no `max_tokens` says so.
UNSAID_TOKENS = 1024
_BYTES_PER_TOKEN = 4


class Price(NamedTuple):
  """What a model costs.

  Attributes:
    input: for a million tokens of questions.
    output: for a million tokens of answers.
  """

  input: float
  output: float

  def of(self, prompt: int, completion: int) -> float:
    """Returns what so many tokens cost."""
    return (self.input * prompt + self.output * completion) / 1e6


def read_prices(path: str | os.PathLike[str]) -> dict[str, Price]:
  """Reads a table of prices.

  Args:
    path: JSON such as `{"small-model": {"input": 0.15, "output": 0.6}}`, in
      units of money for a million tokens.

  Returns:
    Prices by model.

  Raises:
    ValueError: if the file has another form.
  """
  try:
    found = json.loads(pathlib.Path(path).read_text(encoding='utf-8'))
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f'prices must be JSON; {path}: {error}.') from error
  return check_prices(found)


def check_prices(value: Any) -> dict[str, Price]:
  """Returns prices by model, of `Price` or dicts of `input` and `output`."""
  if not isinstance(value, Mapping):
    raise ValueError(
      f'prices must map models to prices; got {checks.described(value)}.'
    )
  out = {}
  for model, price in value.items():
    if isinstance(price, Mapping) and set(price) == {'input', 'output'}:
      price = Price(price['input'], price['output'])
    if not isinstance(price, Price):
      raise ValueError(
        f'prices[{model!r}] must have input and output; got '
        f'{checks.described(price)}.'
      )
    for name, number in price._asdict().items():
      checks.number(number, name=f'prices[{model!r}] {name}', low=0.0)
    out[str(model)] = price
  return out


def guessed_tokens(text: str) -> int:
  """Guesses how many tokens a text has: one for four bytes.

  Args:
    text: any.

  Returns:
    The number, rounded up.

  Example:
    >>> guessed_tokens('Hello, world')
    3
  """
  return -(-len(text.encode()) // _BYTES_PER_TOKEN)


@dataclasses.dataclass
class Usage:
  """What was spent by one role, for one label, on one model.

  Attributes:
    role: who asked.
    label: for whom.
    model: who answered.
    calls: questions.
    cached: of which the answer was known.
    failed: of which there is no answer.
    attempts: requests that were sent.
    prompt_tokens: of questions that were answered now.
    completion_tokens: of their answers.
    estimated: questions whose tokens are guessed.
    scripted: questions that a scripted model answered.
    cost: what these tokens cost; 0 for models without a price.
    saved_tokens: of questions whose answer was known.
  """

  role: str
  label: str
  model: str
  calls: int = 0
  cached: int = 0
  failed: int = 0
  attempts: int = 0
  prompt_tokens: int = 0
  completion_tokens: int = 0
  estimated: int = 0
  scripted: int = 0
  cost: float = 0.0
  saved_tokens: int = 0

  @property
  def tokens(self) -> int:
    """Tokens of questions and answers."""
    return self.prompt_tokens + self.completion_tokens

  def add(self, other: 'Usage') -> None:
    """Adds the numbers of another."""
    for field in dataclasses.fields(self)[3:]:
      now = getattr(self, field.name) + getattr(other, field.name)
      setattr(self, field.name, now)


class Ledger:
  """Counts what is spent, and says when it is too much.

  Answers that were known already count for the budget as if they were paid
  now, so that a run that is resumed or replayed ends where it would have.

  Attributes:
    budget_tokens: most tokens, or None.
    budget_cost: most money, or None.
  """

  def __init__(
    self,
    *,
    budget_tokens: int | None = None,
    budget_cost: float | None = None,
    prices: Mapping[str, Any] | None = None,
  ):
    if budget_tokens is not None:
      checks.integer(budget_tokens, name='budget_tokens', low=1)
    if budget_cost is not None:
      checks.number(budget_cost, name='budget_cost', low=0.0, open_low=True)
    self.budget_tokens = budget_tokens
    self.budget_cost = budget_cost
    self._prices = check_prices(prices or {})
    self._rows: dict[tuple[str, str, str], Usage] = {}
    self._total = Usage('', '', '')
    self._reserved_tokens, self._reserved_cost = 0, 0.0
    self._saved_cost = 0.0

  def check_models(self, models: Any) -> None:
    """Raises if a budget of money cannot be kept, since a price is missing."""
    if self.budget_cost is None:
      return
    for model in models:
      if model not in self._prices:
        raise ValueError(
          f'budget_cost={self.budget_cost} needs a price of model {model!r}: '
          'add it to prices.'
        )

  def price(self, model: str) -> Price:
    """Returns the price of a model; nothing if it is unknown."""
    return self._prices.get(model, Price(0.0, 0.0))

  def reserve(self, request: _replies.Request, model: str) -> Any:
    """Sets aside what a question may take.

    Args:
      request: the question.
      model: who is asked.

    Returns:
      What `release` takes, or None if that is more than is left.
    """
    texts = ''.join(m['content'] for m in request.messages)
    prompt = guessed_tokens(texts) + 4 * len(request.messages)
    most = request.settings.get('max_tokens', UNSAID_TOKENS)
    completion = most if isinstance(most, int) else UNSAID_TOKENS
    cost = self.price(model).of(prompt, completion)
    tokens = prompt + completion
    used, paid = self._used
    if self.budget_tokens is not None:
      planned = used + self._reserved_tokens + tokens
      if planned > self.budget_tokens:
        return None
    if self.budget_cost is not None:
      planned = paid + self._reserved_cost + cost
      if planned > self.budget_cost:
        return None
    self._reserved_tokens += tokens
    self._reserved_cost += cost
    return tokens, cost

  @property
  def _used(self):
    """Tokens and money of all answers, known ones too."""
    total = self._total
    return total.tokens + total.saved_tokens, total.cost + self._saved_cost

  @property
  def limited(self) -> bool:
    """Whether there is a budget."""
    return self.budget_tokens is not None or self.budget_cost is not None

  @property
  def reserved(self) -> bool:
    """Whether anything is set aside."""
    return self._reserved_tokens > 0

  def release(self, held: tuple[int, float]) -> None:
    """Gives back what `reserve` has set aside."""
    self._reserved_tokens -= held[0]
    self._reserved_cost -= held[1]

  def record(
    self, request: _replies.Request, model: str, reply: _replies.Reply
  ) -> None:
    """Counts an answer."""
    place = (request.role, request.label, model)
    row = self._rows.setdefault(place, Usage(*place))
    now = Usage(*place, calls=1, attempts=reply.attempts)
    now.cached = int(reply.cached)
    now.failed = int(reply.kind != 'ok')
    now.estimated = int(reply.estimated)
    now.scripted = int(reply.scripted)
    cost = self.price(model).of(reply.prompt_tokens, reply.completion_tokens)
    if reply.cached:
      now.saved_tokens = reply.prompt_tokens + reply.completion_tokens
      self._saved_cost += cost
    else:
      now.prompt_tokens = reply.prompt_tokens
      now.completion_tokens = reply.completion_tokens
      now.cost = cost
    row.add(now)
    self._total.add(now)

  @property
  def rows(self) -> list[Usage]:
    """What was spent by role, label and model, in order."""
    return [self._rows[place] for place in sorted(self._rows)]

  @property
  def total(self) -> Usage:
    """What was spent by all together."""
    return self._total

  @property
  def spent(self) -> bool:
    """Whether no question of a token would be sent."""
    tokens, cost = self.budget_tokens, self.budget_cost
    used, paid = self._used
    return (tokens is not None and used >= tokens) or (
      cost is not None and paid >= cost
    )
