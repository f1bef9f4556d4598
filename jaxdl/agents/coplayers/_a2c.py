# SPDX-License-Identifier: Apache-2.0
"""Recurrent actors with critics, independent of each other."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.agents import _returns
from jaxdl.agents.coplayers import _arena, _gru, _play
from jaxdl.core import checks, keys, types
from jaxdl.networks import functional


class Agent(NamedTuple):
  """A recurrent actor with a critic.

  Attributes:
    init: `init(key) -> params`; consumes the key.
    ready: `ready(params) -> params`, with what need be computed only once; what
      the next two functions take.
    start: `start(params, label) -> carry`.
    step: `step(params, carry, observation) -> (carry, logits, value)`, f[2] and
      f[].
  """

  init: Callable[..., Any]
  ready: Callable[..., Any]
  start: Callable[..., Any]
  step: Callable[..., Any]


def recurrent_agent(
  *, hidden: int = 128, embed: int = 32, label_size: int = 0
) -> Agent:
  """Builds a GRU on observations with a policy head and a value head.

  Args:
    hidden: width of the GRU, >= 1.
    embed: width of embeddings, >= 1.
    label_size: entries of a token at the very start that says who the other
      is; 0 has no such token.

  Returns:
    The agent.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> agent = recurrent_agent(hidden=4, embed=2)
    >>> params = agent.ready(agent.init(jax.random.key(0)))
    >>> _, logits, value = agent.step(params, agent.start(params), jnp.int32(0))
    >>> logits.shape, value.shape
    ((2,), ())
  """
  checks.integer(hidden, name='hidden', low=1)
  checks.integer(embed, name='embed', low=1)
  checks.integer(label_size, name='label_size', low=0)
  inputs = {'observation': 5} | ({'label': label_size} if label_size else {})

  def init(key):
    keys.check_key(key)
    heads = {'policy': 2, 'value': 1}
    leaves = _gru.leaves(inputs, heads, width=hidden, embed=embed)
    return functional.draw(key, leaves, jnp.result_type(float))

  def start(params, label=None):
    carry = _gru.start(params)
    if not label_size:
      return carry
    label = jnp.zeros((label_size,)) if label is None else label
    return _gru.feed(params, carry, 'label', label)

  def step(params, carry, observation):
    carry = _gru.feed(params, carry, 'observation', observation)
    value = _gru.head(params, carry, 'value')[0]
    return carry, _gru.head(params, carry, 'policy'), value

  return Agent(init, _gru.ready, start, step)


def agent_policy(
  agent: Agent, params: Any, label: chex.Array | None = None
) -> _play.Policy:
  """Plays an agent.

  Args:
    agent: its functions.
    params: of `agent.init`.
    label: f[K], who the other is.

  Returns:
    The policy.
  """
  params = agent.ready(params)

  def step(carry, observation, *, key):
    carry, logits, _ = agent.step(params, carry, observation)
    action, log_prob = _play.draw_action(logits, jax.random.uniform(key))
    return carry, action, log_prob

  return _play.Policy(agent.start(params, label), step)


class Setting(NamedTuple):
  """How actors with critics are trained; a row of the paper's table.

  Attributes:
    batch_size: games of a learner in an update.
    learning_rate: of Adam, eps 1e-5.
    reward_scale: factor of rewards.
    discount: gamma.
    gae_lambda: of advantages.
    td_lambda: of the targets of values.
    value_cost: weight of the error of values.
    entropy_cost: weight of the entropy.
    max_norm: gradients are scaled down to this norm.
    normalize: whether advantages of a batch are normalized.
    bootstrap_last: whether the episode is taken to go on after its last round,
      so that what is seen then has a value; without, it is zero.
  """

  batch_size: int = 4096
  learning_rate: float = 0.001
  reward_scale: float = 0.02
  discount: float = 0.99
  gae_lambda: float = 1.0
  td_lambda: float = 1.0
  value_cost: float = 0.5
  entropy_cost: float = 0.01
  max_norm: float = 1.0
  normalize: bool = True
  bootstrap_last: bool = False


# Of the paper: the four steps of its analysis.
SETTINGS = {
  'step1': Setting(2048, 0.005, 0.2, 0.99, 0.99, 0.99, 0.5, 0.001),
  'step2': Setting(
    2048, 0.005, 0.05, 0.99, 1.0, 1.0, 0.5, 0.001, normalize=False
  ),
  'step3': Setting(4096, 0.0005, 0.02, 0.99, 0.95, 0.95, 0.5, 0.001),
  'mixed': Setting(),
}


def make_setting(setting: str = 'mixed', **changes: Any) -> Setting:
  """Returns a row of `SETTINGS` with some of it changed.

  Args:
    setting: its name.
    **changes: attributes of `Setting`; None leaves one as it is.

  Returns:
    The setting.

  Raises:
    ValueError: if the name is unknown or a number is out of range.

  Example:
    >>> make_setting('step1', batch_size=8).batch_size
    8
  """
  checks.choice(setting, SETTINGS, name='setting')
  found = SETTINGS[setting]._replace(
    **{k: v for k, v in changes.items() if v is not None}
  )
  checks.integer(found.batch_size, name='batch_size', low=1)
  for name in ('learning_rate', 'reward_scale', 'max_norm'):
    checks.number(getattr(found, name), name=name, low=0.0, open_low=True)
  for name in ('value_cost', 'entropy_cost'):
    checks.number(getattr(found, name), name=name, low=0.0)
  for name in ('discount', 'gae_lambda', 'td_lambda'):
    checks.number(getattr(found, name), name=name, low=0.0, high=1.0)
  for name in ('normalize', 'bootstrap_last'):
    checks.flag(getattr(found, name), name=name)
  return found


def a2c_loss(
  agent: Agent,
  params: Any,
  games: _play.Games,
  labels: chex.Array,
  setting: Setting,
) -> tuple[chex.Array, dict[str, chex.Array]]:
  """Loss of an actor with a critic on games that it has played.

  `-log pi(a) A + c_v (target - V)² - c_e entropy`, means over games and rounds;
  advantages and targets are constants.

  Args:
    agent: its functions.
    params: of `agent.init`.
    games: of its side, leaves [B, ...].
    labels: f[B, K], who the others were.
    setting: how it is trained.

  Returns:
    The loss, f[], and its parts by name.
  """
  ready = agent.ready(params)

  def forward(observations, last, label):
    def body(carry, observation):
      carry, logits, value = agent.step(ready, carry, observation)
      return carry, (jax.nn.log_softmax(logits), value)

    seen = jnp.concatenate([observations, last[None]])
    _, found = jax.lax.scan(body, agent.start(ready, label), seen)
    return found

  log_probs, values = jax.vmap(forward)(games.observations, games.last, labels)
  log_probs = log_probs[:, :-1]
  # Rounds first, as returns are taken; the game is over or is not.
  estimates = jax.lax.stop_gradient(values).T
  rewards = setting.reward_scale * games.rewards.T
  length = rewards.shape[0]
  done = (jnp.arange(length) == length - 1) & (not setting.bootstrap_last)
  estimate = functools.partial(
    _returns.gae,
    rewards,
    estimates[:-1],
    estimates[-1],
    done,
    gamma=setting.discount,
  )
  advantages = estimate(lam=setting.gae_lambda).T
  targets = (estimates[:-1] + estimate(lam=setting.td_lambda)).T
  if setting.normalize:
    spread = advantages.std()
    advantages = (advantages - advantages.mean()) / (spread + 1e-8)
  chosen = jnp.take_along_axis(log_probs, games.actions[..., None], axis=-1)
  actor = -(chosen[..., 0] * advantages).mean()
  critic = jnp.square(targets - values[:, :-1]).mean()
  entropy = -(jnp.exp(log_probs) * log_probs).sum(axis=-1).mean()
  total = actor + setting.value_cost * critic - setting.entropy_cost * entropy
  return total, {'loss_actor': actor, 'loss_critic': critic, 'entropy': entropy}


class A2cState(NamedTuple):
  """Of A learners.

  Attributes:
    params: leaves [A, ...].
    memory: of their optimizers, leaves [A, ...].
    updates: i32[], updates that are done.
  """

  params: Any
  memory: Any
  updates: chex.Array


class Trainer(NamedTuple):
  """What trains A learners, whomever they meet.

  Attributes:
    init: `init(key) -> A2cState`; consumes the key.
    update: `update(state, met) -> (state, metrics)`, a step on games of `meet`.
  """

  init: Callable[..., Any]
  update: Callable[..., Any]


def make_trainer(agent: Agent, setting: Setting, count: int) -> Trainer:
  """Makes what trains learners of one kind.

  Args:
    agent: its functions.
    setting: how they are trained.
    count: A.

  Returns:
    The trainer.
  """
  optimizer = optax.chain(
    optax.clip_by_global_norm(setting.max_norm),
    optax.adam(setting.learning_rate, eps=1e-5),
  )

  def init(key):
    params = jax.vmap(agent.init)(jax.random.split(key, count))
    return A2cState(params, jax.vmap(optimizer.init)(params), jnp.int32(0))

  def one(params, memory, games, labels):
    grads, found = jax.grad(
      lambda p: a2c_loss(agent, p, games, labels, setting), has_aux=True
    )(params)
    updates, memory = optimizer.update(grads, memory, params)
    return optax.apply_updates(params, updates), memory, found

  def update(state, met):
    params, memory, found = jax.vmap(one)(
      state.params, state.memory, met.own, met.labels
    )
    metrics = _arena.summary(met) | jax.tree.map(jnp.mean, found)
    return A2cState(params, memory, state.updates + 1), metrics

  return Trainer(init, update)


def a2c(
  arena: _arena.Arena,
  *,
  pool: str = 'mixed',
  setting: str = 'mixed',
  hidden: int = 128,
  embed: int = 32,
  num_learners: int = 2,
  opponent_id: bool = False,
  batch_size: int | None = None,
  learning_rate: float | None = None,
  reward_scale: float | None = None,
  discount: float | None = None,
  gae_lambda: float | None = None,
  td_lambda: float | None = None,
  value_cost: float | None = None,
  entropy_cost: float | None = None,
  max_norm: float | None = None,
  normalize: bool | None = None,
  bootstrap_last: bool | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> types.Algorithm:
  """Makes recurrent learners by advantage actor-critic; a step is an update.

  Learners are independent: each treats the others as part of its world and sees
  no more than the game.

  Args:
    arena: where learners meet.
    pool: an entry of `POOLS`, whom they meet.
    setting: a row of `SETTINGS`, whose numbers hold where none is given here.
    hidden: width of the GRU.
    embed: width of embeddings.
    num_learners: A, one or even; one meets itself.
    opponent_id: whether they are told who a tabular co-player is.
    batch_size: see `Setting`, as all that follows.
    learning_rate: step size.
    reward_scale: factor of rewards.
    discount: gamma.
    gae_lambda: of advantages.
    td_lambda: of targets.
    value_cost: c_v.
    entropy_cost: c_e.
    max_norm: of gradients.
    normalize: of advantages.
    bootstrap_last: after the last round.
    mesh: devices over which games are spread, see `meet`.

  Returns:
    The algorithm; `params` of a state are `Players`.

  Raises:
    ValueError: if a number is out of range or a spec is wrong.

  Cost: T steps of the GRU for a game, O(hidden²) each, and as many backwards.

  Source: Weis et al. 2026 (https://arxiv.org/abs/2602.16301), appendix; Mnih
    et al. 2016 (https://arxiv.org/abs/1602.01783).
  """
  own = make_setting(
    setting,
    batch_size=batch_size,
    learning_rate=learning_rate,
    reward_scale=reward_scale,
    discount=discount,
    gae_lambda=gae_lambda,
    td_lambda=td_lambda,
    value_cost=value_cost,
    entropy_cost=entropy_cost,
    max_norm=max_norm,
    normalize=normalize,
    bootstrap_last=bootstrap_last,
  )
  count = _arena.check_learners(num_learners)
  whom = _arena.make_pool(
    pool,
    opponent_id=opponent_id,
    batch_size=own.batch_size,
    game=arena.game,
  )
  label_size = _arena.LABEL_SIZE if opponent_id else 0
  agent = recurrent_agent(hidden=hidden, embed=embed, label_size=label_size)
  trainer = make_trainer(agent, own, count)

  def policy(params, label):
    return agent_policy(agent, params, label)

  def step(state, cohort, *, key):
    del cohort
    met = _arena.meet(
      _arena.Players(state.params, policy),
      arena,
      whom,
      batch_size=own.batch_size,
      key=key,
      mesh=mesh,
    )
    return trainer.update(state, met)

  return checks.algorithm(
    trainer.init,
    step,
    lambda state: _arena.Players(state.params, policy),
    state=A2cState,
  )
