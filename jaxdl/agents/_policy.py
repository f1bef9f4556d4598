# SPDX-License-Identifier: Apache-2.0
"""Policies of N agents: actors and critics, with memory and messages."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _actions, _environment
from jaxdl.core import checks
from jaxdl.networks import functional

CRITICS = ('own', 'world', 'heard')
CELLS = ('gru', 'lstm')
JOINS = ('concat', 'add', 'replace')
HIGHEST_STD = 1e3


class Acted(NamedTuple):
  """What a policy did in a step, leaves [E, ...].

  Attributes:
    carry: its memory after the step.
    actions: i[E, N] or f[E, N, a].
    log_prob: f[E, N], of the actions and of what was chosen beside.
    value: f[E, N].
    choices: all else that was drawn (noise, gates), so that `judge` meets the
      same; an empty dict if nothing was.
    facts: dict of f[E], e.g. links used.
    out: f[E, N, A] or f[E, N, a], of what actions were drawn, or None.
  """

  carry: Any
  actions: chex.Array
  log_prob: chex.Array
  value: chex.Array
  choices: Any
  facts: dict[str, chex.Array]
  out: chex.Array | None = None


class Judged(NamedTuple):
  """What a policy says of steps that were played, leaves [T, E, ...].

  Attributes:
    log_prob: f[T, E, N].
    entropy: f[T, E, N].
    value: f[T, E, N].
    facts: dict of f[T, E].
    out: as `Acted.out`, leaves [T, E, ...]; of agents that learn values these
      are the values of actions.
  """

  log_prob: chex.Array
  entropy: chex.Array
  value: chex.Array
  facts: dict[str, chex.Array]
  out: chex.Array | None = None


class Policy(NamedTuple):
  """How N agents act, in E games at once.

  Attributes:
    init: `init(key) -> params`; consumes the key.
    start: `start(num_envs) -> carry`, leaves [E, ...]; an empty dict if there
      is no memory.
    act: `act(params, carry, seen, first, *, key=None) -> Acted`. `first`,
      bool[E], tells where an episode begins, so that memory is cleared before
      the step. The likeliest is done without a key.
    judge: `judge(params, carry, seen, actions, choices, first) -> Judged` of
      leaves [T, E, ...]; `carry` is that before the first step.
    value: `value(params, carry, seen, first) -> f[E, N]`.
    recurrent: whether there is memory, so that steps are judged in order.
    per_agent: whether every leaf of params has a row per agent, [N, ...].
    logits: `logits(params, carry, seen, first) -> f[E, N, A]` before actions
      are drawn, None where there is no such thing.
  """

  init: Callable[..., Any]
  start: Callable[..., Any]
  act: Callable[..., Acted]
  judge: Callable[..., Judged]
  value: Callable[..., chex.Array]
  recurrent: bool = False
  per_agent: bool = False
  logits: Callable[..., chex.Array] | None = None


class Talk(NamedTuple):
  """What a round of messages brought.

  Attributes:
    received: f[..., N, M].
    carry: memory of the channel.
    choices: what was drawn, a dict.
    log_prob: f[..., N] of choices that are trained as actions, or None.
    entropy: f[..., N] of them, or None.
    facts: dict of f[...]: 'links', messages that were sent to another.
  """

  received: chex.Array
  carry: Any
  choices: dict[str, chex.Array]
  log_prob: chex.Array | None
  entropy: chex.Array | None
  facts: dict[str, chex.Array]


class Communication(NamedTuple):
  """A channel between N agents, over any leading axes.

  Attributes:
    init: `init(key, num_agents, size) -> params`, size H of hidden rows;
      consumes the key.
    start: `start(num_envs, num_agents, size) -> carry`, leaves [E, ...]; an
      empty dict without memory.
    apply: `apply(params, carry, hidden, *, alive=None, key=None, choices=None)
      -> Talk`, hidden f[..., N, H], alive bool[..., N]. With a key it draws
      noise and gates, with `choices` it takes those, with neither it does what
      it does in execution.
    size: `size(H) -> M`, of what is received.
    early: whether messages are of the hidden rows before the step and enter
      the cell, as in IC3Net and TarMAC, or of those after it.
    joins: 'concat' puts what is received beside what it meets, 'add' adds it
      (then M must be what it meets), 'replace' puts it there instead.
    stateful: whether it has memory.
  """

  init: Callable[..., Any]
  start: Callable[..., Any]
  apply: Callable[..., Talk]
  size: Callable[[int], int]
  early: bool = False
  joins: str = 'concat'
  stateful: bool = False


def checked_joins(channel: Communication) -> str:
  """Returns how what a channel brings meets what was there, if it is known."""
  checks.choice(channel.joins, JOINS, name='joins')
  return channel.joins


def _each(fn, shared):
  """Applies a layer to the rows of agents, one for all or one for each."""
  return fn if shared else jax.vmap(fn, in_axes=(0, -2), out_axes=-2)


def _cell(fn, shared):
  """Likewise with a state, a tree."""
  if shared:
    return fn
  return jax.vmap(fn, in_axes=(0, -2, -2), out_axes=-2)


def _mlp_leaves(sizes, gain, last=None):
  gains = [gain] * (len(sizes) - 1)
  if last is not None:
    gains[-1] = last
  return {
    f'dense_{i}': functional.layer_leaves(
      (a, b), kernel_init=f'orthogonal(gain={g!r})'
    )
    for i, (a, b, g) in enumerate(
      zip(sizes[:-1], sizes[1:], gains, strict=True)
    )
  }


def _mlp(params, x, activation):
  for i in range(len(params)):
    x = activation(functional.dense(params[f'dense_{i}'], x))
  return x


def actor_critic(
  env: _environment.Environment,
  *,
  hidden_sizes: Sequence[int] = (64, 64),
  activation: functional.Activation = 'tanh',
  critic: str = 'own',
  recurrent: str | None = None,
  width: int = 64,
  shared: bool = True,
  agent_id: bool = False,
  communication: Communication | None = None,
  std: float = 0.5,
) -> Policy:
  """Builds actors and critics of a game.

  Rows of agents pass dense layers, a recurrent cell if there is one, and a
  head; so do rows for the critic, in layers of its own.

  Args:
    env: the game.
    hidden_sizes: widths of the dense layers.
    activation: of them, an entry of `functional.ACTIVATIONS`.
    critic: what values are said of: 'own' row (IPPO), the 'world' (MAPPO; one
      value for all agents), or what the actor has 'heard', on its own layers.
    recurrent: None, 'gru' or 'lstm'.
    width: of the recurrent cell.
    shared: whether agents share parameters; if not, every leaf has a row per
      agent.
    agent_id: whether rows get the number of the agent, one-hot.
    communication: a channel between agents, see `agents.communication`.
    std: standard deviation of actions that are vectors.

  Returns:
    The policy. Kernels start orthogonal, with gain sqrt(2), .01 before actions
    and 1 before values.

  Raises:
    ValueError: if a number or a name is out of range, or agents that talk do
      not share parameters.
    TypeError: if `env` or `communication` is something else.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> policy = actor_critic(env, critic='world')
    >>> params = policy.init(jax.random.key(0))
    >>> seen, _ = env.reset_many(jax.random.key(1), 3)
    >>> first = jnp.ones(3, bool)
    >>> acted = policy.act(params, policy.start(3), seen, first)
    >>> acted.actions.shape, acted.value.shape
    ((3, 2), (3, 2))

  Source: Schulman et al. 2017 (https://arxiv.org/abs/1707.06347); Yu et al.
  2022 (https://arxiv.org/abs/2103.01955) for the central critic.
  """
  _environment.check_environment(env)
  hidden = functional.check_sizes(hidden_sizes, 'hidden_sizes')
  act_fn = functional.activation(activation)
  checks.choice(critic, CRITICS, name='critic')
  if recurrent is not None:
    checks.choice(recurrent, CELLS, name='recurrent')
  checks.integer(width, name='width', low=1)
  checks.flag(shared, name='shared')
  checks.flag(agent_id, name='agent_id')
  checks.number(std, name='std', low=0.0, high=HIGHEST_STD, open_low=True)
  talks = communication
  if talks is not None and not isinstance(talks, Communication):
    raise TypeError(
      'communication must be an agents.Communication, as '
      'agents.communication.make_communication makes of text, or None; got '
      f'{checks.described(talks)}.'
    )
  if talks is not None and not shared:
    raise ValueError(
      'communication needs shared=True: a channel has one set of parameters '
      'for all agents.'
    )
  if env.num_actions is not None:
    actions = _actions.Categories(env.num_actions)
  else:
    actions = _actions.Gaussian(env.action_size, std)
  n = env.num_agents
  size_own = env.own_size + (n if agent_id else 0)
  size = hidden[-1] if recurrent is None else width
  early = talks is not None and talks.early and recurrent is not None
  heard = 0 if talks is None else talks.size(size)
  joins = None if talks is None else checked_joins(talks)
  meets = hidden[-1] if early else size
  if joins == 'add' and heard != meets:
    raise ValueError(
      f'communication adds {heard} numbers to {meets}: let the last of '
      f'hidden_sizes={hidden} or width={width} be {heard}.'
    )
  if joins in ('add', 'replace'):
    heard -= meets
  size_cell = hidden[-1] + (heard if early else 0)
  size_head = size + (0 if early else heard)
  by_world = critic == 'world'
  size_critic = env.world_size if by_world else size_own
  root2 = math.sqrt(2.0)
  cells = {
    'gru': (functional.gru_leaves, functional.gru),
    'lstm': (functional.lstm_leaves, functional.lstm),
  }

  def leaves():
    out = {
      'actor': _mlp_leaves((size_own, *hidden), root2),
      'actor_head': _mlp_leaves((size_head, actions.size), root2, 0.01),
    }
    if critic != 'heard':
      out['critic'] = _mlp_leaves((size_critic, *hidden), root2)
    out['critic_head'] = _mlp_leaves(
      (size_head if critic == 'heard' else size, 1), root2, 1.0
    )
    if recurrent is not None:
      make = cells[recurrent][0]
      out['actor_cell'] = make(size_cell, width)
      if critic != 'heard':
        out['critic_cell'] = make(hidden[-1], width)
    return out

  def init(key):
    draw = lambda k: functional.draw(k, leaves(), jnp.float32)
    own_key, talk_key = jax.random.split(key)
    if not shared:
      return jax.vmap(draw)(jax.random.split(own_key, n))
    params = draw(own_key)
    if talks is not None:
      params['talk'] = talks.init(talk_key, n, size)
    return params

  def memory(num_envs, rows):
    one = jnp.zeros((num_envs, rows, width), jnp.float32)
    return (one, one) if recurrent == 'lstm' else one

  def start(num_envs):
    carry = {}
    if recurrent is not None:
      carry['actor'] = memory(num_envs, n)
      if critic != 'heard':
        carry['critic'] = memory(
          num_envs, n if not (by_world and shared) else 1
        )
    if talks is not None and talks.stateful:
      carry['talk'] = talks.start(num_envs, n, size)
    return carry

  layer = _each(functional.dense, shared)
  stack = _each(functools.partial(_mlp, activation=act_fn), shared)

  def output(state):
    return state[0] if recurrent == 'lstm' else state

  def encode(params, seen):
    """Rows before any memory, [..., N, h], over all steps at once."""
    own = seen.own
    if agent_id:
      ids = jnp.broadcast_to(jnp.eye(n, dtype=own.dtype), (*own.shape[:-1], n))
      own = jnp.concatenate([own, ids], axis=-1)
    out = {'actor': stack(params['actor'], own)}
    if by_world:
      world = _environment.world_of(seen)[..., None, :]
      if not shared:
        world = jnp.broadcast_to(world, (*world.shape[:-2], n, world.shape[-1]))
      out['critic'] = stack(params['critic'], world)
    elif critic == 'own':
      out['critic'] = stack(params['critic'], own)
    return out

  def talk(params, carry, rows, alive, key, choices):
    return talks.apply(
      params['talk'],
      carry.get('talk', {}),
      rows,
      alive=alive,
      key=key,
      choices=choices,
    )

  def join(rows, found):
    if joins == 'add':
      return rows + found.received
    if joins == 'replace':
      return found.received
    return jnp.concatenate([rows, found.received], axis=-1)

  def recur(params, carry, rows, first, alive, key, choices):
    """A step of memory; says what was heard if that belongs to it."""
    clear = lambda x: jnp.where(
      first.reshape(first.shape + (1,) * (x.ndim - first.ndim)),
      jnp.zeros((), x.dtype),
      x,
    )
    carry = jax.tree.map(clear, carry)
    rows, found = dict(rows), None
    if recurrent is not None:
      if early:
        before = output(carry['actor'])
        found = talk(params, carry, before, alive, key, choices)
        rows['actor'] = join(rows['actor'], found)
      step = _cell(cells[recurrent][1], shared)
      new = {'actor': step(params['actor_cell'], carry['actor'], rows['actor'])}
      rows['actor'] = output(new['actor'])
      if critic != 'heard':
        new['critic'] = step(
          params['critic_cell'], carry['critic'], rows['critic']
        )
        rows['critic'] = output(new['critic'])
      carry = carry | new
    if talks is not None and talks.stateful:
      if found is None:
        found = talk(params, carry, rows['actor'], alive, key, choices)
        rows['actor'] = join(rows['actor'], found)
      carry = carry | {'talk': found.carry}
    if found is not None:
      found = found._replace(carry={})
    return carry, rows, found

  def decode(params, rows, found, seen, key, choices):
    """What the heads say, over all steps at once."""
    rows = dict(rows)
    if talks is not None and found is None:
      found = talk(params, {}, rows['actor'], seen.alive, key, choices)
      rows['actor'] = join(rows['actor'], found)
    out = layer(params['actor_head']['dense_0'], rows['actor'])
    if env.num_actions is not None:
      out = _actions.masked(out, seen.available)
    basis = rows['actor'] if critic == 'heard' else rows['critic']
    value = layer(params['critic_head']['dense_0'], basis)[..., 0]
    value = jnp.broadcast_to(value, out.shape[:-1])
    return out, value, found

  in_memory = recurrent is not None or (talks is not None and talks.stateful)

  def one(params, carry, seen, first, key, choices):
    rows = encode(params, seen)
    found = None
    if in_memory:
      carry, rows, found = recur(
        params, carry, rows, first, seen.alive, key, choices
      )
    return carry, *decode(params, rows, found, seen, key, choices)

  def act(params, carry, seen, first, *, key=None):
    act_key = talk_key = None
    if key is not None:
      act_key, talk_key = jax.random.split(key) if talks else (key, None)
    carry, out, value, found = one(params, carry, seen, first, talk_key, None)
    chosen = actions.sample(out, act_key)
    log_prob = actions.log_prob(out, chosen)
    choices, facts = {}, {}
    if found is not None:
      choices, facts = found.choices, found.facts
      if found.log_prob is not None:
        log_prob = log_prob + found.log_prob
    return Acted(carry, chosen, log_prob, value, choices, facts, out)

  def judge(params, carry, seen, chosen, choices, first):
    rows, found = encode(params, seen), None
    if in_memory:

      def body(carry, x):
        rows, alive, first, choices = x
        carry, rows, found = recur(
          params, carry, rows, first, alive, None, choices
        )
        return carry, (rows, found)

      xs = (rows, seen.alive, first, choices)
      _, (rows, found) = jax.lax.scan(body, carry, xs)
    out, value, found = decode(params, rows, found, seen, None, choices)
    log_prob = actions.log_prob(out, chosen)
    entropy = actions.entropy(out)
    facts = {}
    if found is not None:
      facts = found.facts
      if found.log_prob is not None:
        log_prob = log_prob + found.log_prob
        entropy = entropy + found.entropy
    return Judged(log_prob, entropy, value, facts, out)

  def value(params, carry, seen, first):
    return one(params, carry, seen, first, None, None)[2]

  def logits(params, carry, seen, first):
    return one(params, carry, seen, first, None, None)[1]

  return Policy(init, start, act, judge, value, in_memory, not shared, logits)


def random_policy(env: _environment.Environment) -> Policy:
  """Builds agents that act at random, for comparison.

  Without a key too, as there is no likeliest action: then draws follow from
  the number of steps, which is its memory, and so differ from step to step.

  Args:
    env: the game; available actions are heeded.

  Returns:
    The policy, without parameters; its values are zero.
  """
  _environment.check_environment(env)
  discrete = env.num_actions is not None

  def out(seen):
    size = env.num_actions if discrete else env.action_size
    zeros = jnp.zeros((*seen.own.shape[:-1], size), jnp.float32)
    return _actions.masked(zeros, seen.available) if discrete else zeros

  def start(num_envs):
    return {'steps': jnp.zeros((num_envs,), jnp.int32)}

  def act(params, carry, seen, first, *, key=None):
    del params, first
    logits = out(seen)
    if key is None:
      key = jax.random.fold_in(jax.random.key(0), carry['steps'][0])
    if discrete:
      kind = _actions.Categories(env.num_actions)
      chosen = kind.sample(logits, key)
      log_prob = kind.log_prob(logits, chosen)
    else:
      chosen = jax.random.uniform(
        key, logits.shape, logits.dtype, minval=-1.0, maxval=1.0
      )
      log_prob = jnp.full(
        logits.shape[:-1], -env.action_size * math.log(2.0), logits.dtype
      )
    value = jnp.zeros(logits.shape[:-1], logits.dtype)
    carry = {'steps': carry['steps'] + 1}
    return Acted(carry, chosen, log_prob, value, {}, {})

  def judge(params, carry, seen, chosen, choices, first):
    del params, carry, choices, first
    zero = jnp.zeros(seen.own.shape[:-1], jnp.float32)
    if not discrete:
      full = jnp.full_like(zero, -env.action_size * math.log(2.0))
      return Judged(full, -full, zero, {})
    kind, logits = _actions.Categories(env.num_actions), out(seen)
    log_prob = kind.log_prob(logits, chosen)
    return Judged(log_prob, kind.entropy(logits), zero, {})

  return Policy(
    init=lambda key: {},
    start=start,
    act=act,
    judge=judge,
    value=lambda params, carry, seen, first: jnp.zeros(seen.own.shape[:-1]),
    logits=lambda params, carry, seen, first: out(seen),
  )
