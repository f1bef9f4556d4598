# SPDX-License-Identifier: Apache-2.0
"""Games for N agents as pure functions, with limits of time."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _branches
from jaxdl.core import checks


class Seen(NamedTuple):
  """What agents see of a state.

  Attributes:
    own: f[N, d], a row per agent.
    world: f[w], what a central critic may see; None if that is all rows.
    available: bool[N, A], which actions an agent may take, or None for all.
    alive: bool[N], which agents take part, or None for all. Steps of others
      train no actor.
  """

  own: chex.Array
  world: chex.Array | None = None
  available: chex.Array | None = None
  alive: chex.Array | None = None


class Outcome(NamedTuple):
  """What the actions of a step did.

  Attributes:
    reward: f[N].
    terminated: bool[], whether the game is over by its own rules.
    facts: dict of f[], measured at this step (e.g. 'success').
    gone: bool[N], whose own part ended with the step, so that rewards which
      come later are another's (a car that left), or None for nobody.
  """

  reward: chex.Array
  terminated: chex.Array
  facts: dict[str, chex.Array]
  gone: chex.Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
  """A game: where it starts, what actions do, what agents see.

  A pytree whose leaves are `params`, so that `vmap` plays a population of
  games (payoffs, penalties, ...) in one program. The three functions know
  nothing of limits of time, logs and fresh starts, which `reset`, `move_on` and
  `step` add.

  Attributes:
    params: tree of numbers that may be swept.
    start: `start(params, key) -> state`.
    move: `move(params, state, actions, key) -> (state, Outcome)`, actions i[N],
      or f[N, a] where they are vectors.
    observe: `observe(params, state) -> Seen`.
    num_agents: N.
    own_size: d.
    max_steps: the exact number of steps after which an episode is cut, unless
      it ended before.
    num_actions: A, or None where actions are vectors.
    action_size: a, if actions are vectors in [-1, 1]^a.
    name: of the game.
    facts: how figures of steps become those of an episode, by name: 'sum',
      'last' or 'mean'.
    draw: `draw(params, state) -> dict` of what a picture needs, or None.
    seen_names: what the entries of a row mean, or empty.
  """

  params: Any
  start: Callable[..., Any] = dataclasses.field(metadata={'static': True})
  move: Callable[..., Any] = dataclasses.field(metadata={'static': True})
  observe: Callable[..., Seen] = dataclasses.field(metadata={'static': True})
  num_agents: int = dataclasses.field(metadata={'static': True})
  own_size: int = dataclasses.field(metadata={'static': True})
  max_steps: int = dataclasses.field(metadata={'static': True})
  num_actions: int | None = dataclasses.field(
    default=None, metadata={'static': True}
  )
  action_size: int = dataclasses.field(default=0, metadata={'static': True})
  name: str = dataclasses.field(default='game', metadata={'static': True})
  facts: tuple[tuple[str, str], ...] = dataclasses.field(
    default=(), metadata={'static': True}
  )
  draw: Callable[..., Any] | None = dataclasses.field(
    default=None, metadata={'static': True}
  )
  seen_names: tuple[str, ...] = dataclasses.field(
    default=(), metadata={'static': True}
  )

  def replace(self, **changes: Any) -> 'Environment':
    """Returns the game with some attributes changed."""
    return dataclasses.replace(self, **changes)

  @property
  def world_size(self) -> int:
    """Length of what a central critic sees."""
    seen = jax.eval_shape(
      lambda env, key: world_of(env._look(_first(env, key))),
      self,
      jax.random.key(0),
    )
    return seen.shape[-1]

  def _look(self, state):
    """What is seen, in float32 as rewards are, with 64 bits too."""
    seen = self.observe(self.params, state)
    single = lambda x: None if x is None else x.astype(jnp.float32)
    return seen._replace(own=single(seen.own), world=single(seen.world))

  def reset(self, key: chex.PRNGKey) -> tuple[Seen, 'Running']:
    """Begins an episode.

    Args:
      key: consumed.

    Returns:
      What agents see, and the game.
    """
    state = self.start(self.params, key)
    seen = self._look(state)
    zero = jnp.zeros((), jnp.float32)
    total = jnp.zeros((self.num_agents,), jnp.float32)
    facts = {name: zero for name, _ in self.facts}
    # Each has a buffer of its own, so that all may be donated.
    log = Log(total, jnp.int32(0), facts)
    last = jax.tree.map(jnp.copy, log)
    return seen, Running(state, log, last, jnp.int32(0))

  def move_on(
    self, running: 'Running', actions: chex.Array, *, key: chex.PRNGKey
  ) -> tuple['Running', 'Step']:
    """Plays a step, without a fresh start after the last.

    Args:
      running: the game.
      actions: i[N], or f[N, a].
      key: consumed.

    Returns:
      The game and the step.
    """
    running, outcome, truncated = self._advance(running, actions, key)
    seen = self._look(running.state)
    return running, _told(outcome, truncated, seen, seen)

  def _advance(self, running, actions, key):
    """Plays a step that nobody looks at yet."""
    state, outcome = self.move(self.params, running.state, actions, key)
    length = running.log.length + 1
    reward = outcome.reward.astype(jnp.float32)
    facts = {}
    for name, way in self.facts:
      old, new = running.log.facts[name], outcome.facts[name]
      new = new.astype(jnp.float32)
      if way == 'sum':
        new = old + new
      elif way == 'mean':
        new = old + (new - old) / length
      facts[name] = new
    terminated = outcome.terminated
    truncated = (length >= self.max_steps) & ~terminated
    log = Log(running.log.total + reward, length, facts)
    done = terminated | truncated
    last = jax.tree.map(lambda a, b: jnp.where(done, a, b), log, running.last)
    running = Running(state, log, last, running.done + done)
    return running, outcome._replace(reward=reward), truncated

  def step(
    self, running: 'Running', actions: chex.Array, *, key: chex.PRNGKey
  ) -> tuple['Running', 'Step']:
    """Plays a step; after the last of an episode the next begins.

    The reset branch is always computed; `step_many` does so only if a game of
    many is over.

    Args:
      running: the game.
      actions: i[N], or f[N, a].
      key: consumed; it is split in one for the step and one for the start.

    Returns:
      The game and the step: what is seen is the first of the next episode if
      one ended, `final` the last of the old one, whose reward and flags it has.
    """
    move_key, start_key = jax.random.split(key)
    moved, outcome, truncated = self._advance(running, actions, move_key)
    again = self._again(moved, outcome.terminated | truncated, start_key)
    seen = self._look(again.state)
    final = self._look(moved.state)
    return again, _told(outcome, truncated, seen, final)

  def _again(self, running, done, key):
    """Starts the next episode if one ended."""
    pick = lambda new, old: jnp.where(done, new, old)
    fresh = self.start(self.params, key)
    return running._replace(
      state=jax.tree.map(pick, fresh, running.state),
      log=jax.tree.map(lambda x: pick(jnp.zeros_like(x), x), running.log),
    )

  def reset_many(
    self, key: chex.PRNGKey, num_envs: int
  ) -> tuple[Seen, 'Running']:
    """Begins E episodes.

    Args:
      key: consumed; game e gets `fold_in(key, e)`.
      num_envs: E (static).

    Returns:
      What agents see, leaves [E, ...], and the games.
    """
    return jax.vmap(self.reset)(_keys(key, num_envs))

  def step_many(
    self, running: 'Running', actions: chex.Array, *, key: chex.PRNGKey
  ) -> tuple['Running', 'Step']:
    """Plays a step of E games.

    Fresh starts are drawn only in steps in which a game is over, which makes
    games of one length cheap.

    Args:
      running: the games, leaves [E, ...].
      actions: i[E, N], or f[E, N, a].
      key: consumed.

    Returns:
      As `step`, leaves [E, ...].
    """
    num_envs = actions.shape[0]
    move_key, start_key = jax.random.split(key)
    keys = _keys(move_key, num_envs)
    moved, outcome, truncated = jax.vmap(self._advance)(running, actions, keys)
    done = outcome.terminated | truncated
    look = lambda env, state: jax.vmap(env._look)(state)

    # Only states pass through the branches: what is seen of them is larger.
    def again(env, moved, done, key):
      return jax.vmap(env._again)(moved, done, _keys(key, num_envs))

    running = _branches.when_any(
      done,
      again,
      lambda env, moved, done, key: moved,
      *(self, moved, done, start_key),
    )
    seen = look(self, running.state)
    final = _branches.when_any(
      done,
      lambda env, state, seen: look(env, state),
      lambda env, state, seen: seen,
      *(self, moved.state, seen),
    )
    return running, _told(outcome, truncated, seen, final)


class Log(NamedTuple):
  """An episode so far.

  Attributes:
    total: f32[N], sums of rewards.
    length: i32[], steps.
    facts: figures by name, see `Environment.facts`.
  """

  total: chex.Array
  length: chex.Array
  facts: dict[str, chex.Array]


class Running(NamedTuple):
  """A game that is being played.

  Attributes:
    state: of the game.
    log: of the episode.
    last: of the episode before, zeros if there was none.
    done: i32[], episodes that ended.
  """

  state: Any
  log: Log
  last: Log
  done: chex.Array


class Step(NamedTuple):
  """A step that was played.

  Attributes:
    seen: what agents see next.
    reward: f32[N].
    terminated: bool[], the game was over.
    truncated: bool[], time was up and the game was not over.
    final: what agents saw at the end of the step, before any fresh start.
    facts: figures of the step.
    gone: bool[N], see `Outcome`, or None.
  """

  seen: Seen
  reward: chex.Array
  terminated: chex.Array
  truncated: chex.Array
  final: Seen
  facts: dict[str, chex.Array]
  gone: chex.Array | None = None

  @property
  def done(self) -> chex.Array:
    """Whether the episode ended, bool[]."""
    return self.terminated | self.truncated


def _told(outcome, truncated, seen, final):
  """Makes a `Step`."""
  return Step(
    seen,
    outcome.reward,
    outcome.terminated,
    truncated,
    final,
    outcome.facts,
    outcome.gone,
  )


def _first(env, key):
  return env.start(env.params, key)


def _keys(key, num):
  return jax.vmap(lambda e: jax.random.fold_in(key, e))(jnp.arange(num))


def world_of(seen: Seen) -> chex.Array:
  """Returns what a central critic sees.

  Args:
    seen: leaves [..., N, d].

  Returns:
    f[..., w]: `seen.world`, or the rows of all agents one after the other.
  """
  if seen.world is not None:
    return seen.world
  return seen.own.reshape((*seen.own.shape[:-2], -1))


def random_actions(
  env: Environment, key: chex.PRNGKey, shape: tuple[int, ...] = ()
) -> chex.Array:
  """Draws actions at random, none of them masked.

  Args:
    env: the game.
    key: consumed.
    shape: leading axes.

  Returns:
    i32[*shape, N], or f32[*shape, N, a] uniform on [-1, 1].
  """
  if env.num_actions is None:
    full = (*shape, env.num_agents, env.action_size)
    return jax.random.uniform(key, full, minval=-1.0, maxval=1.0)
  full = (*shape, env.num_agents)
  return jax.random.randint(key, full, 0, env.num_actions)


def check_environment(env: Environment, *, name: str = 'env') -> None:
  """Raises if something is no game.

  Args:
    env: the game.
    name: of the argument, for messages.

  Raises:
    TypeError: if it is none.
  """
  if not isinstance(env, Environment):
    raise TypeError(
      f'{name} must be an agents.Environment, as agents.make_game makes; got '
      f'{checks.described(env)}.'
    )


def flat_actions(actions: dict[str, Any], agents: tuple[str, ...]) -> Any:
  """Stacks actions by name in the order of the agents.

  Args:
    actions: an action for every agent.
    agents: names in their order.

  Returns:
    [N, ...].

  Raises:
    ValueError: if one is missing or unknown.

  Example:
    >>> flat_actions({'b': 1, 'a': 0}, ('a', 'b')).tolist()
    [0, 1]
  """
  missing = [a for a in agents if a not in actions]
  unknown = [a for a in actions if a not in agents]
  if missing or unknown:
    raise ValueError(
      f'actions must have an entry for each of {", ".join(agents)}; '
      f'missing: {", ".join(missing) or "none"}; unknown: '
      f'{", ".join(map(str, unknown)) or "none"}.'
    )
  return jnp.stack([jnp.asarray(actions[a]) for a in agents])
