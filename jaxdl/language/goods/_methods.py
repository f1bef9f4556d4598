# SPDX-License-Identifier: Apache-2.0
"""Who answers: teams that learn their settings, fixed ones, and baselines.

Every entry of `METHODS` makes a `Method` of a `Setup`, from specs such as
'ppo(observation=full)' or 'majority(num_votes=5, rule=geometric_median)'.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl.agents import public_goods
from jaxdl.core import checks, registry
from jaxdl.language import _client
from jaxdl.language.goods import (
  _encoding,
  _evaluators,
  _learning,
  _prompts,
  _protocol,
  _tasks,
  _votes,
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


def ppo(
  setup: Setup,
  *,
  num_updates: int,
  observation: str = 'partial',
  order: str = 'fixed',
  hidden: int | Sequence[int] = (256, 128),
  optimizer: str = 'adam(0.0003)',
  sigma: tuple[float, float] = (0.2, 0.05),
  clip: float = 0.2,
  num_epochs: int = 4,
  value_weight: float = 0.5,
  cost_source: str = 'score',
  score_source: str = 'scores',
  token_unit: float = 1000.0,
  patience: int = 0,
  window: int = 5,
  keep: str = 'last',
  local: bool = False,
) -> Method:
  """Agents who learn how their model is to write, each for itself, by PPO.

  A batch of tasks is one update: policies draw settings for each task and
  agent, models write, an evaluator rates, the game rewards. A task of which a
  request failed does not count.

  Args:
    setup: game, encoder and so on.
    num_updates: of the run; sigma and the step size end there.
    observation: whom agents see, one of `OBSERVATIONS`.
    order: 'fixed', agent i at position i, or 'random', drawn for every update,
      and for every task where nothing is learned.
    hidden: widths of policies and critics.
    optimizer: a part of `local.OPTIMIZERS`, of each agent.
    sigma: width of the exploration at the start and at the end, > 0.
    clip: ε of the ratios.
    num_epochs: steps on a batch.
    value_weight: of the critic's squared error.
    cost_source: what agents pay for, their 'score' or 'tokens'.
    score_source: what the score of the task is made of, 'scores' or 'answer'.
    token_unit: tokens that cost as much as a contribution of one.
    patience: updates without a better mean reward after which nothing is asked
      any more; 0 never stops.
    window: updates that are averaged for it.
    keep: which policies answer, the 'last' or the 'best' by
      `selection_score` of their batch.
    local: whether the models are on this machine and may write longer,
      `public_goods.LOCAL_GENERATION`, in place of the ranges of the setup.

  Returns:
    The method.

  Raises:
    ValueError: if a number is out of range or a name unknown.

  Source: Liang et al. 2026 (https://arxiv.org/abs/2508.02076); their training
    code and settings are not published.
  """
  checks.choice(observation, _protocol.OBSERVATIONS, name='observation')
  checks.choice(order, ORDERS, name='order')
  checks.choice(keep, _learning.KEEPS, name='keep')
  game, encoder = setup.game, setup.encoder
  checks.flag(local, name='local')
  n = game.num_agents
  ranges = dict(public_goods.LOCAL_GENERATION if local else setup.ranges)
  paid: dict[str, Any] = {
    'cost_source': cost_source,
    'score_source': score_source,
    'token_unit': token_unit,
  }
  learner = _learning.make_learner(
    game,
    encoder.size,
    len(ranges),
    num_updates=num_updates,
    hidden=hidden,
    optimizer=optimizer,
    sigma=sigma,
    clip=clip,
    num_epochs=num_epochs,
    value_weight=value_weight,
    patience=patience,
    window=window,
    **paid,
  )
  agents = _protocol.make_agents(n)
  common = {
    'evaluator': setup.evaluator,
    'observation': observation,
    'allow_extra_params': setup.allow_extra_params,
  }

  def decide(policy, task, noise):
    """Settings of an agent, drawn around the mean by noise f[n, A]."""

    def choose(i, position, seen):
      x = encoder.encode(task, position, n, seen)
      u = learner.mean(policy, i, x) + noise[position]
      settings = public_goods.generation_settings(u, ranges)
      return settings, (x, u)

    return choose

  async def step(state, tasks, client, *, key):
    order_key, noise_key = jax.random.split(key)
    if bool(state.stopping.stopped):
      return state, {'stopped': 1.0}
    seats = np.arange(n)
    if order == 'random':
      seats = np.asarray(jax.random.permutation(order_key, n))
    shape = (len(tasks), n, len(ranges))
    noise = np.asarray(jax.random.normal(noise_key, shape))
    noise = learner.width(state) * noise
    episodes = await _client.gather(
      [
        _protocol.run_sequence(
          task,
          agents,
          client,
          decide=decide(state.agents.policy, task, noise[k]),
          order=seats.tolist(),
          sample=0,
          **common,
        )
        for k, task in enumerate(tasks)
      ]
    )
    spent = episode_metrics(episodes, client)
    bounds = (float(game.c_min), float(game.c_max))
    batch = _learning.make_batch(episodes, n, encoder.size, len(ranges), bounds)
    if batch.mask.sum() < 2:  # Too few to compare with each other.
      return state._replace(updates=state.updates + 1), spent
    state, metrics = learner.update(state, batch, seats)
    return state, spent | metrics

  async def answer(state, task, client, *, sample=0):
    policy = state.best if keep == 'best' else state.agents.policy
    return await _protocol.run_sequence(
      task,
      agents,
      client,
      decide=decide(policy, task, np.zeros((n, len(ranges)), np.float32)),
      order=_seats(task, order, n, sample),
      sample=sample,
      **common,
    )

  return Method(
    learner.init,
    answer,
    step,
    n,
    lambda episodes: _learning.reward_metrics(episodes, game, **paid),
  )


def fixed(
  setup: Setup,
  *,
  observation: str = 'partial',
  order: str = 'fixed',
  temperature: float = 0.7,
  top_p: float = 0.9,
  max_tokens: int = 512,
) -> Method:
  """A team whose settings are the same for every task.

  Args:
    setup: game, evaluator and so on.
    observation: whom agents see, one of `OBSERVATIONS`.
    order: 'fixed', or 'random' for every task.
    temperature: of generation.
    top_p: of generation.
    max_tokens: of generation.

  Returns:
    The method.

  Raises:
    ValueError: if a number is out of range or a name unknown.
  """
  settings = check_settings(temperature, top_p, max_tokens)
  return _sequence(setup, observation, order, lambda task, n, s: [settings] * n)


def uniform(
  setup: Setup, *, observation: str = 'partial', order: str = 'fixed'
) -> Method:
  """A team whose settings are drawn anew for every task, from their ranges.

  Args:
    setup: game, evaluator and so on.
    observation: whom agents see, one of `OBSERVATIONS`.
    order: 'fixed', or 'random' for every task.

  Returns:
    The method.

  Raises:
    ValueError: if a name is unknown.
  """
  ranges = dict(setup.ranges)

  def drawn(task, n, sample):
    rng = _rng(task, sample, 'settings')
    return [
      public_goods.generation_settings(rng.random(len(ranges)), ranges)
      for _ in range(n)
    ]

  return _sequence(setup, observation, order, drawn)


def _sequence(setup, observation, order, settings_of):
  """A team that does not learn."""
  checks.choice(observation, _protocol.OBSERVATIONS, name='observation')
  checks.choice(order, ORDERS, name='order')
  n = setup.game.num_agents
  agents = _protocol.make_agents(n)

  async def answer(state, task, client, *, sample=0):
    settings = settings_of(task, n, sample)
    return await _protocol.run_sequence(
      task,
      agents,
      client,
      decide=lambda i, position, seen: (settings[i], None),
      evaluator=setup.evaluator,
      observation=observation,
      order=_seats(task, order, n, sample),
      allow_extra_params=setup.allow_extra_params,
      sample=sample,
    )

  return Method(
    lambda key: (),
    answer,
    num_roles=n,
    measure=lambda episodes: _learning.reward_metrics(episodes, setup.game),
  )


def single(
  setup: Setup,
  *,
  temperature: float = 0.7,
  top_p: float = 0.9,
  max_tokens: int = 512,
  reasoning: bool = False,
) -> Method:
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
  setup: Setup,
  *,
  temperature: float = 0.7,
  top_p: float = 0.9,
  max_tokens: int = 512,
) -> Method:
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
  setup: Setup,
  *,
  num_votes: int = 3,
  rule: str = 'mean',
  num_byzantine: int = 0,
  temperature: float = 0.7,
  top_p: float = 0.9,
  max_tokens: int = 512,
  reasoning: bool = True,
) -> Method:
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
  setup: Setup,
  *,
  num_rounds: int = 2,
  num_agents: int = 3,
  rule: str = 'mean',
  num_byzantine: int = 0,
  temperature: float = 0.7,
  top_p: float = 0.9,
  max_tokens: int = 512,
  reasoning: bool = True,
) -> Method:
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
  settings = check_settings(temperature, top_p, max_tokens)
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

  return Method(lambda key: (), answer, num_roles=num_agents)


# Who answers, for specs such as 'ppo(observation=full)'.
METHODS = registry.Registry(
  'method',
  {
    'ppo': ppo,
    'fixed': fixed,
    'uniform': uniform,
    'single': single,
    'chain_of_thought': chain_of_thought,
    'majority': majority,
    'debate': debate,
  },
  given=('setup',),
  told=('num_updates',),
)
# Those who play a game.
PLAYERS = ('ppo', 'fixed', 'uniform')


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


def _rng(task: _tasks.Task, sample: int, name: str) -> np.random.Generator:
  """Random numbers of a task, the same whenever it comes."""
  text = f'{name} {sample} {task.question}'.encode()
  word = hashlib.blake2b(text, digest_size=8).digest()
  return np.random.default_rng(int.from_bytes(word, 'big'))


def _seats(task, order, num_agents, sample):
  """Who sits where in a task."""
  if order == 'fixed':
    return None
  return _rng(task, sample, 'order').permutation(num_agents).tolist()
