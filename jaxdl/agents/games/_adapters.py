# SPDX-License-Identifier: Apache-2.0
"""Games of other libraries as ours, and ours as theirs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _environment
from jaxdl.core import checks


class PeerState(NamedTuple):
  """A game of another library.

  Attributes:
    state: as the library has it.
    seen: what agents see.
    time: i32[], steps that were played.
  """

  state: Any
  seen: _environment.Seen
  time: chex.Array


def _flat(rows, width):
  """Rows of unequal length f[N, width], with zeros behind."""
  flat = [jnp.ravel(jnp.asarray(row)).astype(jnp.float32) for row in rows]
  return jnp.stack([jnp.pad(x, (0, width - x.shape[0])) for x in flat])


def _size(shape):
  """Number of entries."""
  size = 1
  for side in shape:
    size *= int(side)
  return size


def _limit(found, given):
  """The limit of time, from the peer or the caller."""
  if given is None:
    given = found
  if given is None:
    raise ValueError(
      'max_steps must be given: this game does not tell when its time is up.'
    )
  return checks.integer(int(given), name='max_steps', low=1)


def _box(low, high):
  """Maps [-1, 1] to a box."""
  low, high = jnp.asarray(low), jnp.asarray(high)
  return lambda a: low + (jnp.clip(a, -1.0, 1.0) + 1.0) / 2 * (high - low)


def from_jaxmarl(
  env: Any, *, max_steps: int | None = None
) -> _environment.Environment:
  """Plays a game of JaxMARL.

  Rows of what agents see are flattened and filled with zeros where they differ
  in length, and actions that an agent lacks are not available to it. JaxMARL
  says only that an episode is over: at the limit of time that counts as a cut
  (`truncated`), before as the game's own end.

  Args:
    env: as `jaxmarl.make` makes it.
    max_steps: of an episode; the game's `max_steps` if None. Its particle
      worlds play one step more than that, which is cut here.

  Returns:
    The game.

  Raises:
    ValueError: if it does not tell its limit of time, or agents have actions of
      different kinds.
    TypeError: if it is no such game.

  Example:
    >>> class Peer:  # What jaxmarl.make returns has these and more.
    ...   agents, num_agents, max_steps = ['a'], 1, 2
    ...   class Space:
    ...     n, shape = 2, (1,)
    ...   observation_space = action_space = lambda self, agent: Peer.Space
    ...   def reset(self, key):
    ...     return {'a': jnp.zeros((1,))}, jnp.zeros(())
    ...   def step_env(self, key, state, actions):
    ...     state = state + actions['a']
    ...     done = {'a': state > 9, '__all__': state > 9}
    ...     return {'a': state[None]}, state, {'a': state}, done, {}
    >>> env = from_jaxmarl(Peer())
    >>> _, game = env.reset(jax.random.key(0))
    >>> game, step = env.step(game, jnp.array([1]), key=jax.random.key(1))
    >>> step.reward.tolist()
    [1.0]
  """
  if not all(
    callable(getattr(env, x, None)) for x in ('reset', 'step_env')
  ) or not hasattr(env, 'agents'):
    raise TypeError(
      'env must be a game of JaxMARL, as jaxmarl.make makes; got '
      f'{checks.described(env)}.'
    )
  agents = tuple(env.agents)
  n = len(agents)
  limit = _limit(getattr(env, 'max_steps', None), max_steps)
  spaces = [env.action_space(a) for a in agents]
  discrete = [hasattr(space, 'n') for space in spaces]
  if len(set(discrete)) > 1:
    raise ValueError(
      'env has agents with numbered actions and agents with vectors: name the '
      'same kind for all.'
    )
  shapes, _ = jax.eval_shape(env.reset, jax.random.key(0))
  width = max(_size(shapes[a].shape) for a in agents)
  has_world = 'world_state' in shapes and len(shapes['world_state'].shape) == 1
  counts = [int(space.n) for space in spaces] if discrete[0] else []
  num_actions = max(counts, default=0)
  may = jnp.arange(num_actions)[None] < jnp.array(counts).reshape(-1, 1)
  masked = len(set(counts)) > 1
  asks = _has_masks(env)
  size = 0
  boxes: list[Any] = []
  if not discrete[0]:
    size = max(_size(space.shape) for space in spaces)
    boxes = [_box(space.low, space.high) for space in spaces]

  def seen_of(obs, state, alive):
    available = None
    if discrete[0] and asks:
      masks = env.get_avail_actions(state)
      rows = [jnp.asarray(masks[a]).astype(bool) for a in agents]
      available = jnp.stack(
        [jnp.pad(m, (0, num_actions - m.shape[0])) for m in rows]
      )
    elif masked:
      available = may
    world = None
    if has_world:
      world = obs['world_state'].astype(jnp.float32)
    own = _flat([obs[a] for a in agents], width)
    return _environment.Seen(own, world, available, alive)

  def start(params, key):
    del params
    obs, state = env.reset(key)
    seen = seen_of(obs, state, jnp.ones((n,), bool))
    return PeerState(state, seen, jnp.int32(0))

  def observe(params, state):
    del params
    return state.seen

  def move(params, state, actions, key):
    del params
    if discrete[0]:
      named = {a: actions[i] for i, a in enumerate(agents)}
    else:
      named = {
        a: boxes[i](actions[i][: _size(spaces[i].shape)])
        for i, a in enumerate(agents)
      }
    obs, inner, reward, done, _ = env.step_env(key, state.state, named)
    over = jnp.asarray(done['__all__'])
    gone = jnp.stack([jnp.asarray(done[a]) for a in agents])
    # At the end all are done; who was not before counts.
    alive = jnp.where(over, state.seen.alive, ~gone)
    time = state.time + 1
    state = PeerState(inner, seen_of(obs, inner, alive), time)
    earned = jnp.stack([jnp.asarray(reward[a]) for a in agents])
    ended = over & (time < limit)
    return state, _environment.Outcome(earned, ended, {})

  return _environment.Environment(
    params={},
    start=start,
    move=move,
    observe=observe,
    num_agents=n,
    own_size=width,
    max_steps=limit,
    num_actions=num_actions if discrete[0] else None,
    action_size=size,
    name=str(getattr(env, 'name', 'jaxmarl')),
  )


def _has_masks(env):
  """Whether a game of JaxMARL tells which actions are available."""
  if not hasattr(env, 'get_avail_actions'):
    return False
  try:
    _, state = jax.eval_shape(env.reset, jax.random.key(0))
    found = jax.eval_shape(env.get_avail_actions, state)
  except (NotImplementedError, AttributeError):
    return False
  return isinstance(found, Mapping)


def from_gymnax(
  env: Any, params: Any = None, *, max_steps: int | None = None
) -> _environment.Environment:
  """Plays a game of gymnax, as a game of one agent.

  Versions from 1.0 tell the game's own end from the limit of time, and so does
  the result; of older ones an end at the limit counts as a cut.

  Args:
    env: as `gymnax.make` makes it.
    params: its parameters, which become those of the game; its
      `default_params` if None.
    max_steps: of an episode; `params.max_steps_in_episode` if None.

  Returns:
    The game. A box of actions is mapped from [-1, 1].

  Raises:
    ValueError: if it does not tell its limit of time.
    TypeError: if it is no such game.
  """
  if not all(callable(getattr(env, x, None)) for x in ('reset', 'step_env')):
    raise TypeError(
      'env must be a game of gymnax, as gymnax.make makes; got '
      f'{checks.described(env)}.'
    )
  if params is None:
    params = env.default_params
  limit = _limit(getattr(params, 'max_steps_in_episode', None), max_steps)
  apart = hasattr(env, 'is_truncated')
  space = env.action_space(params)
  discrete = hasattr(space, 'n')
  # Observations of the first and of later steps may differ in weak types.
  shape, _ = jax.eval_shape(env.reset, jax.random.key(0), params)
  width = _size(shape.shape)
  box = None if discrete else _box(space.low, space.high)

  def start(params, key):
    obs, state = env.reset(key, params)
    seen = _environment.Seen(_flat([obs], width))
    return PeerState(state, seen, jnp.int32(0))

  def observe(params, state):
    del params
    return state.seen

  def move(params, state, actions, key):
    action = actions[0]
    if box is not None:
      action = box(action).reshape(space.shape)
    found = env.step_env(key, state.state, action, params)
    obs, inner, reward, done = found[:4]
    time = state.time + 1
    ended = jnp.asarray(done, bool)
    if not apart:
      ended = ended & (time < limit)
    # Later states keep the types of the first.
    inner = jax.tree.map(
      lambda a, b: jnp.asarray(a, jnp.asarray(b).dtype), inner, state.state
    )
    seen = _environment.Seen(_flat([obs], width))
    earned = jnp.reshape(jnp.asarray(reward, jnp.float32), (1,))
    state = PeerState(inner, seen, time)
    return state, _environment.Outcome(earned, ended, {})

  return _environment.Environment(
    params=jax.tree.map(jnp.asarray, params),
    start=start,
    move=move,
    observe=observe,
    num_agents=1,
    own_size=width,
    max_steps=limit,
    num_actions=int(space.n) if discrete else None,
    action_size=0 if discrete else _size(space.shape),
    name=str(getattr(env, 'name', 'gymnax')),
  )


def batchify(
  values: Mapping[str, chex.Array], agents: Sequence[str]
) -> jax.Array:
  """Stacks arrays by name: first all rows of one agent, then of the next.

  Args:
    values: leaves [E, ...], or [...] of one game.
    agents: names in their order.

  Returns:
    [N * E, d], or [N, d].

  Raises:
    ValueError: if an agent is missing or unknown.

  Example:
    >>> found = {'b': jnp.zeros((2, 3)), 'a': jnp.ones((2, 3))}
    >>> batchify(found, ('a', 'b'))[:, 0].tolist()
    [1.0, 1.0, 0.0, 0.0]
  """
  flat = _environment.flat_actions(dict(values), tuple(agents))
  if flat.ndim <= 2:
    return flat.reshape(len(agents), -1) if flat.ndim == 1 else flat
  return flat.reshape(flat.shape[0] * flat.shape[1], -1)


def unbatchify(
  rows: chex.Array, agents: Sequence[str], num_envs: int | None = None
) -> dict[str, chex.Array]:
  """Undoes `batchify`.

  Args:
    rows: [N * E, ...], or [N, ...].
    agents: names in their order.
    num_envs: E, or None if rows are of one game.

  Returns:
    Leaves [E, ...], or [...].

  Example:
    >>> found = unbatchify(jnp.arange(4), ('a', 'b'), 2)
    >>> found['b'].tolist()
    [2, 3]
  """
  agents = tuple(agents)
  want = len(agents) * (1 if num_envs is None else num_envs)
  if rows.shape[0] != want:
    raise ValueError(
      f'rows must have {want} rows, {len(agents)} agents times the games; got '
      f'{rows.shape[0]}.'
    )
  if num_envs is not None:
    rows = rows.reshape(len(agents), num_envs, *rows.shape[1:])
  return {a: rows[i] for i, a in enumerate(agents)}


class Space(NamedTuple):
  """What an agent sees or does, as other libraries describe it.

  Attributes:
    shape: of an array.
    n: number of actions, or None for vectors.
    low: least entry of a vector.
    high: largest.
  """

  shape: tuple[int, ...]
  n: int | None = None
  low: float = float('-inf')
  high: float = float('inf')

  def sample(self, key: chex.PRNGKey) -> jax.Array:
    """Draws an action."""
    if self.n is not None:
      return jax.random.randint(key, self.shape, 0, self.n)
    low, high = max(self.low, -1.0), min(self.high, 1.0)
    return jax.random.uniform(key, self.shape, minval=low, maxval=high)


class DictGame:
  """A game with dicts by agent, called as JaxMARL's are.

  For code that was written for JaxMARL: `reset(key) -> (obs, state)` and
  `step(key, state, actions) -> (obs, state, rewards, dones, info)` with fresh
  starts, where `dones['__all__']` is an end of either kind; `info` tells
  `terminated` and `truncated` apart and holds the last `final_obs`.

  Attributes:
    env: the game.
    agents: names in their order.
    num_agents: N.
    max_steps: of an episode.
    name: of the game.
  """

  def __init__(
    self,
    env: _environment.Environment,
    agents: Sequence[str] | None = None,
  ):
    """Names agents.

    Args:
      env: a game.
      agents: N names; 'agent_0', ... if None.

    Raises:
      ValueError: if their number is another, or one stands twice.
    """
    _environment.check_environment(env)
    if agents is None:
      agents = [f'agent_{i}' for i in range(env.num_agents)]
    if len(set(agents)) != env.num_agents or len(agents) != env.num_agents:
      raise ValueError(
        f'agents must be {env.num_agents} different names; got '
        f'{", ".join(agents)}.'
      )
    self.env = env
    self.agents = list(agents)
    self.num_agents = env.num_agents
    self.max_steps = env.max_steps
    self.name = env.name

  def observation_space(self, agent: str) -> Space:
    """What an agent sees."""
    self._check(agent)
    return Space((self.env.own_size,))

  def action_space(self, agent: str) -> Space:
    """What an agent does."""
    self._check(agent)
    if self.env.num_actions is not None:
      return Space((), self.env.num_actions)
    return Space((self.env.action_size,), None, -1.0, 1.0)

  def _check(self, agent):
    if agent not in self.agents:
      raise ValueError(
        f'agent must be one of {", ".join(self.agents)}; got {agent!r}.'
      )

  def reset(self, key: chex.PRNGKey) -> tuple[dict[str, Any], Any]:
    """Begins an episode."""
    seen, running = self.env.reset(key)
    return self._dict(seen.own), running

  def step(
    self, key: chex.PRNGKey, state: Any, actions: Mapping[str, Any]
  ) -> tuple[dict, Any, dict, dict, dict]:
    """Plays a step; after the last of an episode the next begins."""
    joint = _environment.flat_actions(dict(actions), tuple(self.agents))
    return self._told(*self.env.step(state, joint, key=key))

  def step_env(
    self, key: chex.PRNGKey, state: Any, actions: Mapping[str, Any]
  ) -> tuple[dict, Any, dict, dict, dict]:
    """Plays a step, without a fresh start after the last."""
    joint = _environment.flat_actions(dict(actions), tuple(self.agents))
    return self._told(*self.env.move_on(state, joint, key=key))

  def _told(self, running, step):
    dones = dict.fromkeys(self.agents, step.done) | {'__all__': step.done}
    info = step.facts | {
      'terminated': step.terminated,
      'truncated': step.truncated,
      'final_obs': self._dict(step.final.own),
      'returned_episode': step.done,
      'returned_episode_returns': running.last.total,
      'returned_episode_lengths': running.last.length,
    }
    return (
      self._dict(step.seen.own),
      running,
      self._dict(step.reward),
      dones,
      info,
    )

  def get_avail_actions(self, state: Any) -> dict[str, Any]:
    """Which actions agents may take, bool[A] each."""
    seen = self.env.observe(self.env.params, state.state)
    rows = seen.available
    if rows is None:
      rows = jnp.ones((self.num_agents, self.env.num_actions or 0), bool)
    return self._dict(rows)

  def _dict(self, rows):
    return {a: rows[i] for i, a in enumerate(self.agents)}
