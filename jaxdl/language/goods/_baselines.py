# SPDX-License-Identifier: Apache-2.0
"""Who answers without a game: one agent, votes, debates."""

from jaxdl.core import checks
from jaxdl.language import _client
from jaxdl.language.goods import (
  _prompts,
  _protocol,
  _setups,
  _votes,
)


def single(
  setup: _setups.Setup,
  *,
  temperature: float = 0.7,
  top_p: float = 0.9,
  max_tokens: int = 512,
  reasoning: bool = False,
) -> _setups.Method:
  """One agent, asked for the answer alone.

  Args:
    setup: for its evaluator.
    temperature: of generation.
    top_p: of generation.
    max_tokens: of generation.
    reasoning: whether it is asked to reason step by step.

  Returns:
    The method.

  Raises:
    ValueError: if a number is out of range.
  """
  checks.flag(reasoning, name='reasoning')
  return majority(
    setup,
    num_votes=1,
    temperature=temperature,
    top_p=top_p,
    max_tokens=max_tokens,
    reasoning=reasoning,
  )


def chain_of_thought(
  setup: _setups.Setup,
  *,
  temperature: float = 0.7,
  top_p: float = 0.9,
  max_tokens: int = 512,
) -> _setups.Method:
  """One agent, asked to reason step by step.

  Args:
    setup: for its evaluator.
    temperature: of generation.
    top_p: of generation.
    max_tokens: of generation.

  Returns:
    The method.

  Raises:
    ValueError: if a number is out of range.
  """
  return single(
    setup,
    temperature=temperature,
    top_p=top_p,
    max_tokens=max_tokens,
    reasoning=True,
  )


def majority(
  setup: _setups.Setup,
  *,
  num_votes: int = 3,
  rule: str = 'mean',
  num_byzantine: int = 0,
  temperature: float = 0.7,
  top_p: float = 0.9,
  max_tokens: int = 512,
  reasoning: bool = True,
) -> _setups.Method:
  """Agents who do not see each other, and vote.

  Args:
    setup: for its evaluator.
    num_votes: agents that are asked.
    rule: how they vote, see `vote`.
    num_byzantine: of how many colluders the rule is told.
    temperature: of generation.
    top_p: of generation.
    max_tokens: of generation.
    reasoning: whether they are asked to reason step by step.

  Returns:
    The method.

  Raises:
    ValueError: if a number is out of range or the rule does not fit.
  """
  checks.integer(num_votes, name='num_votes', low=1)
  return debate(
    setup,
    num_rounds=1,
    num_agents=num_votes,
    rule=rule,
    num_byzantine=num_byzantine,
    temperature=temperature,
    top_p=top_p,
    max_tokens=max_tokens,
    reasoning=reasoning,
  )


def debate(
  setup: _setups.Setup,
  *,
  num_rounds: int = 2,
  num_agents: int = 3,
  rule: str = 'mean',
  num_byzantine: int = 0,
  temperature: float = 0.7,
  top_p: float = 0.9,
  max_tokens: int = 512,
  reasoning: bool = True,
) -> _setups.Method:
  """Agents who answer, see what all others answered, answer again, and vote.

  Args:
    setup: for its evaluator.
    num_rounds: how often they answer.
    num_agents: of the debate.
    rule: how they vote in the end, see `vote`.
    num_byzantine: of how many colluders the rule is told.
    temperature: of generation.
    top_p: of generation.
    max_tokens: of generation.
    reasoning: whether they are asked to reason step by step.

  Returns:
    The method.

  Raises:
    ValueError: if a number is out of range or the rule does not fit.
  """
  settings = _setups.check_settings(temperature, top_p, max_tokens)
  checks.integer(num_rounds, name='num_rounds', low=1)
  checks.integer(num_agents, name='num_agents', low=1)
  checks.flag(reasoning, name='reasoning')
  if num_agents > 1:
    _votes.check_rule(rule, num_agents, num_byzantine)
  agents = _protocol.make_agents(num_agents)

  async def answer(state, task, client, *, sample=0):
    turns, replies = [], []
    for number in range(num_rounds):
      last = number == num_rounds - 1
      asked = [
        _prompts.debate_messages(
          task, agent.name, turns[i], turns[:i] + turns[i + 1 :]
        )
        if number
        else _prompts.single_messages(task, reasoning=reasoning)
        for i, agent in enumerate(agents)
      ]
      found = await _client.gather(
        [
          _protocol.ask_turn(
            task,
            agent,
            messages,
            client,
            setup.evaluator if last else None,
            number=i,
            position=i,
            settings=settings,
            allow_extra_params=setup.allow_extra_params,
            sample=num_agents * sample + i,
          )
          for i, (agent, messages) in enumerate(zip(agents, asked, strict=True))
        ]
      )
      replies += [pair for _, more, _, _ in found for pair in more]
      for turn, _, error, kind in found:
        if turn is None:
          return _protocol.failed(task, turns, replies, error, kind)
      turns = [turn for turn, _, _, _ in found]
    winner = _votes.vote(
      [turn.answer for turn in turns],
      rule=rule if num_agents > 1 else 'mean',
      num_byzantine=num_byzantine,
    ).answer
    value = next((t.value for t in turns if t.answer == winner), 0.0)
    return _protocol.finished(task, turns, winner, value, replies)

  return _setups.Method(lambda key: (), answer, num_roles=num_agents)
