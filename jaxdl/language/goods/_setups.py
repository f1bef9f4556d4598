# SPDX-License-Identifier: Apache-2.0
"""What methods are made for, what they are, and what all of them share."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.agents import public_goods
from jaxdl.core import checks
from jaxdl.language.goods import (
  _encoding,
  _evaluators,
  _protocol,
  _tasks,
)

ORDERS = ('fixed', 'random')


class Setup(NamedTuple):
  """What methods are made for.

  Attributes:
    game: whose reward counts, with its number of agents.
    encoder: what policies see.
    evaluator: what texts are worth.
    ranges: of settings, by name.
    allow_extra_params: see `request_settings`.
  """

  game: public_goods.Game
  encoder: _encoding.Encoder
  evaluator: _evaluators.Evaluator | _evaluators.Judge
  ranges: Mapping[str, public_goods.Range] = public_goods.GENERATION
  allow_extra_params: bool = False


class Method(NamedTuple):
  """Who answers.

  Attributes:
    init: `init(key) -> state`.
    answer: `await answer(state, task, client, sample=...) -> Episode`, without
      exploration.
    step: `await step(state, tasks, client, *, key) -> (state, metrics)`, what
      is learned of a batch; None of who does not learn.
    num_roles: the agents' roles are agent_1 to that number.
    measure: `measure(episodes) -> metrics`, beside those of all methods.
  """

  init: Callable[..., Any]
  answer: Callable[..., Any]
  step: Callable[..., Any] | None = None
  num_roles: int = 1
  measure: Callable[..., dict[str, float]] = lambda episodes: {}


def make_setup(
  game: public_goods.Game | str = 'mac_spgg',
  *,
  encoder: _encoding.Encoder | str = 'facts',
  evaluator: Any = 'exact',
  ranges: Mapping[str, public_goods.Range] | None = None,
  allow_extra_params: bool = False,
) -> Setup:
  """Collects what methods are made for, by specs where that is easier.

  Args:
    game: a game of `agents.public_goods`, or a spec of `GAMES`. All move one
      after the other.
    encoder: an `Encoder`, or a spec of `ENCODERS`.
    evaluator: `(task, text) -> [0, 1]`, a `Judge`, or a spec of `EVALUATORS`.
    ranges: of settings; `public_goods.GENERATION` by default.
    allow_extra_params: whether settings are sent that are not of OpenAI's
      interface.

  Returns:
    The setup.

  Raises:
    TypeError: if a part is something else.
    ValueError: if a part is unknown or wrong.

  Example:
    >>> make_setup('mac_spgg(num_agents=2)').game.num_agents
    2
  """
  if isinstance(game, str):
    game = public_goods.GAMES.make(game)
  public_goods.check_game(game)
  if game.simultaneous:
    raise ValueError(
      'game must let agents move one after the other: take mac_spgg or spgg.'
    )
  if isinstance(encoder, str):
    encoder = _encoding.ENCODERS.make(encoder)
  if not isinstance(encoder, _encoding.Encoder):
    raise TypeError(
      'encoder must be a goods.Encoder or a spec of ENCODERS; got '
      f'{checks.described(encoder)}.'
    )
  if isinstance(evaluator, str):
    evaluator = _evaluators.EVALUATORS.make(evaluator)
  if not callable(evaluator) and not isinstance(evaluator, _evaluators.Judge):
    raise TypeError(
      'evaluator must be a function of a task and a text, a Judge or a spec of '
      f'EVALUATORS; got {checks.described(evaluator)}.'
    )
  spans = dict(public_goods.GENERATION if ranges is None else ranges)
  public_goods.generation_settings([0.0] * len(spans), spans)
  checks.flag(allow_extra_params, name='allow_extra_params')
  return Setup(game, encoder, evaluator, spans, allow_extra_params)


def check_settings(
  temperature: float, top_p: float, max_tokens: int
) -> dict[str, float | int]:
  """Checks settings of generation.

  Args:
    temperature: >= 0.
    top_p: in (0, 1].
    max_tokens: >= 1.

  Returns:
    Them, by name.

  Raises:
    ValueError: if one is out of range.
  """
  checks.number(temperature, name='temperature', low=0.0, high=2.0)
  checks.number(top_p, name='top_p', low=0.0, high=1.0, open_low=True)
  checks.integer(max_tokens, name='max_tokens', low=1)
  return {
    'temperature': float(temperature),
    'top_p': float(top_p),
    'max_tokens': max_tokens,
  }


def episode_metrics(
  episodes: Sequence[_protocol.Episode], client: Any
) -> dict[str, float]:
  """What all methods are measured by.

  Args:
    episodes: of any method.
    client: for prices.

  Returns:
    `accuracy` and `value` of the tasks that count (NaN of none), how many
    `failed`, of these for want of `budget`, `requests`, and `tokens` and `cost`
    whether they are paid now or were before.
  """
  good = [e for e in episodes if e.error is None]
  mean = lambda values: float(np.mean(values)) if good else float('nan')
  replies = [pair for e in episodes for pair in e.replies]
  cost = 0.0
  for role, reply in replies:
    price = client.ledger.price(client.endpoint(role).model)
    cost += price.of(reply.prompt_tokens, reply.completion_tokens)
  return {
    'accuracy': mean([e.correct for e in good]),
    'value': mean([e.value for e in good]),
    'failed': float(len(episodes) - len(good)),
    'budget': float(sum(e.kind == 'budget' for e in episodes)),
    'requests': float(len(replies)),
    'tokens': float(
      sum(r.prompt_tokens + r.completion_tokens for _, r in replies)
    ),
    'cost': cost,
  }


def draws(task: _tasks.Task, sample: int, name: str) -> np.random.Generator:
  """Random numbers of a task, the same whenever it comes."""
  text = f'{name} {sample} {task.question}'.encode()
  word = hashlib.blake2b(text, digest_size=8).digest()
  return np.random.default_rng(int.from_bytes(word, 'big'))


def seats(
  task: _tasks.Task, order: str, num_agents: int, sample: int
) -> list[int] | None:
  """Who sits where in a task; None where everybody sits in turn."""
  if order == 'fixed':
    return None
  return draws(task, sample, 'order').permutation(num_agents).tolist()
