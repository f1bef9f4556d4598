# SPDX-License-Identifier: Apache-2.0
"""Learners on a network: each trains alone, and they tell each other."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import metrics as metrics_lib
from jaxdl.agents.networked import _links
from jaxdl.core import checks, types

PARTS = ('all', 'actor')


class NetworkedState(NamedTuple):
  """Learners on a network between two updates.

  Attributes:
    learner: of the learner, whose params have a row per agent.
    link: of the network; empty where gradients are exchanged, as the optimizer
      keeps it.
  """

  learner: Any
  link: Any


class ExchangeState(NamedTuple):
  """What `exchanged_gradients` keeps.

  Attributes:
    link: of the network.
    key: of its draws; the exchange's number is folded in.
  """

  link: _links.LinkState
  key: chex.PRNGKey


def per_agent(
  optimizer: optax.GradientTransformation, num_agents: int
) -> optax.GradientTransformation:
  """Runs an optimizer for each agent on its own gradient.

  Losses are means over agents, so that rows are multiplied by N first.

  Args:
    optimizer: of one agent.
    num_agents: N.

  Returns:
    An optimizer of trees with leaves [N, ...]; norms that it clips by are those
    of an agent.

  Example:
    >>> optimizer = per_agent(optax.clip_by_global_norm(1.0), 2)
    >>> x = jnp.array([[3.0], [0.25]])
    >>> optimizer.update(x, optimizer.init(x))[0].ravel().tolist()
    [1.0, 0.5]
  """
  checks.optimizer(optimizer)
  n = checks.integer(num_agents, name='num_agents', low=1)

  def update(updates, state, params=None):
    own = jax.tree.map(lambda g: g * n, updates)
    if params is None:
      return jax.vmap(lambda g, s: optimizer.update(g, s))(own, state)
    return jax.vmap(optimizer.update)(own, state, params)

  return optax.GradientTransformation(jax.vmap(optimizer.init), update)


def exchanged_gradients(
  link: _links.Link, *, seed: int = 0
) -> optax.GradientTransformation:
  """Exchanges gradients over a network, before an optimizer sees them.

  Args:
    link: the network.
    seed: of its draws.

  Returns:
    An optimizer of trees with leaves [N, ...], to be put first in a chain.
  """
  _links.check_link(link)
  checks.integer(seed, name='seed', low=0)

  def init(params):
    return ExchangeState(link.init(params), jax.random.key(seed))

  def update(updates, state, params=None):
    del params
    key = jax.random.fold_in(state.key, state.link.round)
    mixed, after = link.apply(updates, state.link, key=key)
    return mixed, ExchangeState(after, state.key)

  return optax.GradientTransformation(init, update)


def networked(
  learner: types.Algorithm,
  link: _links.Link | None,
  *,
  num_agents: int,
  every: int = 1,
  parts: str = 'all',
  num_byzantine: int | None = None,
  same_start: bool = True,
) -> types.Algorithm:
  """Lets learners with parameters of their own exchange them.

  After every update the learners send their parameters over the network, and
  the last F of them what the attack says. With `link=None` nothing is sent
  here: learners are isolated, or their optimizer exchanges gradients
  (`exchanged_gradients`).

  Args:
    learner: whose state has `params` with leaves [N, ...] and `playing`, such
      as `agents.ppo` of a policy with `shared=False`.
    link: the network, see `make_link`.
    num_agents: N.
    every: updates between exchanges.
    parts: 'all' parameters, or those of the 'actor' alone.
    num_byzantine: F, the last agents, who do not count in measurements; those
      of the link by default.
    same_start: whether all start from the parameters of the first.

  Returns:
    The algorithm. Beside what the learner reports, `messages` and `bytes` that
    were sent in the update, `consensus`, the mean squared distance of honest
    learners from their mean, and `honest_return`.

  Raises:
    ValueError: if parameters have no row per agent, or a number is out of
      range.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=3)')
    >>> policy = agents.actor_critic(env, shared=False, hidden_sizes=(8,))
    >>> own = agents.ppo(
    ...   env, policy, optimizer=per_agent(optax.adam(1e-3), 3), num_envs=4,
    ...   num_steps=8, normalize='agent',
    ... )
    >>> from jaxdl.agents.networked import make_link
    >>> learner = networked(own, make_link('complete', 3), num_agents=3)
    >>> state = learner.init(jax.random.key(0))
    >>> state, found = jax.jit(learner.step)(
    ...   state, None, key=jax.random.key(1)
    ... )
    >>> float(found['messages']), bool(found['consensus'] < 1e-6)
    (6.0, True)

  Source: Zhang et al. 2018 (https://arxiv.org/abs/1802.08757) for networked
  agents whose critics gossip.
  """
  n = checks.integer(num_agents, name='num_agents', low=1)
  checks.integer(every, name='every', low=1)
  checks.choice(parts, PARTS, name='parts')
  if link is not None:
    _links.check_link(link)
  if link is not None and link.num_agents != n:
    raise ValueError(
      f'link is for {link.num_agents} agents, but num_agents={n}.'
    )
  checks.flag(same_start, name='same_start')
  wrong = 0 if link is None else link.num_byzantine
  if num_byzantine is not None:
    wrong = checks.integer(
      num_byzantine, name='num_byzantine', low=wrong, high=n - 1
    )
  honest = n - wrong
  size = check_rows(learner, n)

  def picked(params):
    """Leaves that are sent, in a list."""
    out = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
      if parts == 'all' or _is_actor(path):
        out.append(leaf)
    return out

  def put(params, sent):
    rows = iter(sent)
    return jax.tree_util.tree_map_with_path(
      lambda path, x: next(rows) if parts == 'all' or _is_actor(path) else x,
      params,
    )

  def init(key):
    state = learner.init(key)
    if same_start:
      rows = lambda x: jnp.broadcast_to(x[:1], x.shape)
      starts = {'params': jax.tree.map(rows, state.params)}
      if hasattr(state, 'target'):
        starts['target'] = jax.tree.map(rows, state.target)
      state = state._replace(**starts)
    memory = () if link is None else link.init(picked(state.params))
    return NetworkedState(state, memory)

  def step(state, cohort=None, *, key):
    own_key, mix_key = jax.random.split(key)
    before = state.link, counts(state.learner)
    after, found = learner.step(state.learner, cohort, key=own_key)
    memory, params = state.link, after.params
    if link is not None:

      def talk():
        sent, new = link.apply(picked(params), memory, key=mix_key)
        return put(params, sent), new

      due = (after.num_updates % every) == 0
      params, memory = jax.lax.cond(due, talk, lambda: (params, memory))
      sent = memory.sent - before[0].sent
    else:
      sent = counts(after) - before[1]
    sent = sent.astype(jnp.float32)
    after = after._replace(params=params)
    rows = jax.tree.map(lambda x: x[:honest], picked(params))
    last = after.playing.running
    ended = (last.done > 0).astype(jnp.float32)
    share = ended / jnp.maximum(jnp.sum(ended), 1.0)
    found |= {
      'messages': sent,
      'bytes': sent * size[parts],
      'consensus': metrics_lib.consensus_distance(rows),
      'honest_return': jnp.sum(
        share * jnp.mean(last.last.total[:, :honest], axis=-1)
      ),
    }
    return NetworkedState(after, memory), found

  def counts(state):
    """Messages that the optimizer has sent."""
    found = [
      x.link.sent
      for x in jax.tree.leaves(state.opt_state, is_leaf=_is_exchange)
      if _is_exchange(x)
    ]
    return sum(found, jnp.int32(0))

  return types.Algorithm(
    init, step, lambda state: learner.params(state.learner)
  )


def check_rows(learner: types.Algorithm, num_agents: int) -> dict[str, int]:
  """Raises unless parameters of a learner have a row per agent.

  Args:
    learner: the learner.
    num_agents: N.

  Returns:
    Bytes of the parameters of one agent: 'all' and those of the 'actor'.

  Raises:
    ValueError: if they have none.
    TypeError: if the learner is something else.
  """
  if not isinstance(learner, types.Algorithm):
    raise TypeError(
      'learner must be an algorithm, as agents.ppo makes; got '
      f'{checks.described(learner)}.'
    )
  state = jax.eval_shape(learner.init, jax.random.key(0))
  if not hasattr(state, 'params') or not hasattr(state, 'playing'):
    raise ValueError(
      'learner must keep params and playing in its state, as agents.ppo does.'
    )
  size = {'all': 0, 'actor': 0}
  for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
    if leaf.shape[:1] != (num_agents,):
      raise ValueError(
        f'params{jax.tree_util.keystr(path)} has shape {leaf.shape}: agents on '
        'a network need parameters of their own, [N, ...] with N = '
        f'{num_agents}: make the policy with shared=False.'
      )
    own = leaf.size // num_agents * leaf.dtype.itemsize
    size['all'] += own
    size['actor'] += own * _is_actor(path)
  return size


def _is_actor(path) -> bool:
  names = (str(getattr(entry, 'key', '')) for entry in path)
  return any(name.startswith('actor') for name in names)


def _is_exchange(x) -> bool:
  return isinstance(x, ExchangeState)
