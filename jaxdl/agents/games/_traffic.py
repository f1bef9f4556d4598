# SPDX-License-Identifier: Apache-2.0
"""Cars that cross junctions."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.agents import _environment
from jaxdl.agents.games import _draws, _grid
from jaxdl.core import checks

GAS, BRAKE = range(2)
CELLS = ('ids', 'plain')
# Cells of a side, cars, steps and the rates of arrival at the beginning and the
# end of a curriculum.
LEVELS = {
  'easy': (7, 5, 20, 0.1, 0.3),
  'medium': (14, 10, 40, 0.05, 0.2),
  'hard': (18, 20, 80, 0.02, 0.05),
}
_RIGHT, _LEFT = 1, 2
# Headings: down, left, up, right, so that the next is a right turn.
_HEADINGS = ((1, 0), (0, -1), (-1, 0), (0, 1))
_DOWN, _WEST, _UP, _EAST = range(4)


class TrafficState(NamedTuple):
  """Cars on their routes.

  Attributes:
    route: i32[N].
    place: i32[N], cells that were driven on the route.
    alive: bool[N], who is on the road.
    wait: i32[N], steps since it came.
    braked: bool[N], whether its last action was to brake.
    failed: bool[], whether cars collided in this episode.
  """

  route: chex.Array
  place: chex.Array
  alive: chex.Array
  wait: chex.Array
  braked: chex.Array
  failed: chex.Array


class Roads(NamedTuple):
  """A map.

  Attributes:
    routes: for every arrival, all of whose routes are equally likely, a list of
      routes: lists of cells (row, column).
    numbers: i64[dim, dim], numbers of road cells, -1 elsewhere.
  """

  routes: list[list[list[tuple[int, int]]]]
  numbers: np.ndarray


def _bands(level: str, dim: int) -> list[tuple[int, int]]:
  """Pairs of lanes of the roads, the same down as across."""
  if level == 'medium':
    return [(dim // 2 - 1, dim // 2)]
  third = dim // 3
  return [(third - 2, third - 1), (2 * third, 2 * third + 1)]


def _drive(start, heading, turns, lanes, dim):
  """Cells of a route that turns at junctions as told, then drives on."""
  cell, path, inside, done = start, [], 0, 0
  turn = turns[0]
  while 0 <= cell[0] < dim and 0 <= cell[1] < dim:
    path.append(cell)
    if cell[0] in lanes and cell[1] in lanes:
      inside += 1
      if (inside, turn) in ((1, _RIGHT), (2, _LEFT)):
        heading = (heading + (1 if turn == _RIGHT else -1)) % 4
    elif inside:
      inside, done = 0, done + 1
      turn = turns[done] if done < len(turns) else 0
    step = _HEADINGS[heading]
    cell = (cell[0] + step[0], cell[1] + step[1])
  return path


def roads(level: str = 'easy', dim: int | None = None) -> Roads:
  """Builds a map; cars drive on the right.

  Args:
    level: 'easy': two one-way roads that cross; 'medium': two roads of two
      lanes, on which cars go straight, right or left; 'hard': four such roads,
      with a turn at the first and at the second junction.
    dim: cells of a side; 7, 14, 18 if None.

  Returns:
    The map: 2, 12 or 56 routes.

  Raises:
    ValueError: if the roads do not fit.

  Example:
    >>> found = roads('medium')
    >>> len(found.routes), len(found.routes[0])
    (4, 3)
  """
  checks.choice(level, LEVELS, name='level')
  low = {'easy': 3, 'medium': 4, 'hard': 9}[level]
  dim = LEVELS[level][0] if dim is None else dim
  checks.integer(dim, name='dim', low=low)
  if level == 'medium' and dim % 2 or level == 'hard' and dim % 3:
    by = 2 if level == 'medium' else 3
    raise ValueError(f'dim={dim} must be a multiple of {by} at {level}.')
  numbers = np.full((dim, dim), -1)
  if level == 'easy':
    middle = dim // 2
    routes = [
      [[(i, middle) for i in range(dim)]],
      [[(middle, i) for i in range(dim)]],
    ]
    on_road = np.zeros((dim, dim), bool)
    on_road[middle], on_road[:, middle] = True, True
  else:
    pairs = _bands(level, dim)
    lanes = {lane for pair in pairs for lane in pair}
    starts = [((0, a), _DOWN) for a, _ in pairs]
    starts += [((dim - 1, b), _UP) for _, b in pairs]
    starts += [((b, 0), _EAST) for _, b in pairs]
    starts += [((a, dim - 1), _WEST) for a, _ in pairs]
    orders = [(t,) for t in range(3)]
    if level == 'hard':
      orders = [(a, b) for a in range(3) for b in range(3)]
    routes = []
    for cell, heading in starts:
      found = []
      for turns in orders:
        path = _drive(cell, heading, turns, lanes, dim)
        if path not in found:
          found.append(path)
      routes.append(found)
    on_road = np.zeros((dim, dim), bool)
    on_road[sorted(lanes)], on_road[:, sorted(lanes)] = True, True
  numbers[on_road] = np.arange(on_road.sum())
  return Roads(routes, numbers)


def traffic_junction(
  *,
  level: str = 'easy',
  num_agents: int | None = None,
  dim: int | None = None,
  vision: int = 1,
  max_steps: int | None = None,
  arrival: float | None = None,
  crash: float = -10.0,
  wait: float = -0.01,
  cells: str = 'ids',
) -> _environment.Environment:
  """Cars drive or brake on routes that cross.

  At each step a car comes at each arrival with a probability, as long as there
  is one of N that is not on the road; it gets one of the routes there, each
  equally likely. Actions: 0 gas, one cell further, 1 brake. A car on the road
  earns `wait` times the steps since it came, and `crash` besides if another is
  in its cell; cars drive on after a crash, and leave at the end of their route.

  Args:
    level: 'easy', 'medium' or 'hard', see `roads`.
    num_agents: N; 5, 10, 20 if None.
    dim: cells of a side; 7, 14, 18 if None.
    vision: v, cells that are seen on each side.
    max_steps: of an episode; 20, 40, 80 if None.
    arrival: probability; that of the end of the published curriculum, .3, .2,
      .05, if None. Traced, as the next two (`params`).
    crash: reward.
    wait: reward.
    cells: 'ids': one-hot numbers of road cells or 'outside', with counts of
      cars; 'plain': the own place, and for each cell whether it is road and its
      cars.

  Returns:
    The game. Who is not on the road sees zeros and is not alive; others see
    their last action, their route as a number from 0 to 1, and the cells. It
    measures `success`, no crash in the episode, `collisions`, cars that
    collided, summed over steps, and `arrived`, cars that reached the end.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> env = traffic_junction(level='easy')
    >>> env.num_agents, env.max_steps, env.own_size
    (5, 20, 137)

  Source: Singh et al. 2019 (https://arxiv.org/abs/1812.09755), section 4.1. Its
  release numbers two cells of the easy map like what lies outside and lets a
  car that comes remember how it left; here neither is so.
  """
  checks.choice(level, LEVELS, name='level')
  usual = LEVELS[level]
  n = usual[1] if num_agents is None else num_agents
  checks.integer(n, name='num_agents', low=1)
  found = roads(level, dim)
  dim = found.numbers.shape[0]
  checks.integer(vision, name='vision', low=0, high=dim - 1)
  limit = usual[2] if max_steps is None else max_steps
  checks.integer(limit, name='max_steps', low=1)
  rate = usual[4] if arrival is None else arrival
  checks.number(rate, name='arrival', low=0.0, high=1.0)
  checks.number(crash, name='crash')
  checks.number(wait, name='wait')
  checks.choice(cells, CELLS, name='cells')

  each = len(found.routes[0])
  routes = [route for some in found.routes for route in some]
  longest = max(map(len, routes))
  # One cell more, so that the end of a route can be looked up.
  table = np.zeros((len(routes), longest + 1, 2), np.int32)
  for i, route in enumerate(routes):
    table[i, : len(route)] = route
    table[i, len(route) :] = route[-1]
  lengths = np.array([len(route) for route in routes], np.int32)
  ports, base = len(found.routes), int(found.numbers.max()) + 1
  padded = np.pad(found.numbers, vision, constant_values=-1)
  # What lies in the window of every cell, by numbers of roads.
  windows = np.lib.stride_tricks.sliding_window_view(
    padded, (2 * vision + 1, 2 * vision + 1)
  ).reshape(dim, dim, -1)
  look = np.where(windows < 0, base, windows).astype(np.int32)
  size = look.shape[-1]
  own_size = 2 + size * (base + 2) if cells == 'ids' else 4 + 2 * size

  def places_of(state):
    return jnp.asarray(table)[state.route, state.place]

  def start(params, key):
    del params, key
    zero, no = jnp.zeros((n,), jnp.int32), jnp.zeros((n,), bool)
    return TrafficState(zero, zero, no, zero, no, jnp.zeros((), bool))

  def observe(params, state):
    del params
    at = places_of(state)
    words = jnp.asarray(look)[at[:, 0], at[:, 1]]
    around = _grid.window(at, dim, vision, -1)
    number = at[:, 0] * dim + at[:, 1]
    here = (around[:, :, None] == number[None, None]) & state.alive[None, None]
    count = jnp.sum(here, axis=-1, dtype=jnp.float32)
    braked = state.braked.astype(jnp.float32)
    route = state.route.astype(jnp.float32) / max(len(routes) - 1, 1)
    parts = [jnp.stack([braked, route], axis=-1)]
    if cells == 'ids':
      hot = jax.nn.one_hot(words, base + 1)
      seen = jnp.concatenate([hot, count[..., None]], axis=-1)
    else:
      parts.append(at.astype(jnp.float32) / (dim - 1))
      road = (words < base).astype(jnp.float32)
      seen = jnp.stack([road, count], axis=-1)
    own = jnp.concatenate([*parts, seen.reshape(n, -1)], axis=-1)
    own = jnp.where(state.alive[:, None], own, 0.0)
    return _environment.Seen(own, alive=state.alive)

  def move(params, state, actions, key):
    come_key, route_key, who_key = jax.random.split(key, 3)
    alive = state.alive
    gas = alive & (actions == GAS)
    place = state.place + gas
    left = alive & (place >= jnp.asarray(lengths)[state.route])
    alive = alive & ~left
    waited = jnp.where(alive, state.wait + 1, 0)
    route, braked = state.route, alive & ~gas
    comes = jax.random.uniform(come_key, (ports,)) <= params['arrival']
    chosen = _draws.whole(route_key, (ports,), each)
    rank = jax.random.uniform(who_key, (n,))
    for port in range(ports):
      # One of those off the road, each equally likely.
      first = jnp.argmax(jnp.where(alive, -1.0, rank))
      new = (jnp.arange(n) == first) & ~alive & comes[port]
      alive = alive | new
      route = jnp.where(new, chosen[port] + port * each, route)
      place = jnp.where(new, 0, place)
    state = TrafficState(route, place, alive, waited, braked, state.failed)
    at = places_of(state)
    same = jnp.all(at[:, None] == at[None], axis=-1) & alive[None]
    hit = alive & jnp.any(same & ~jnp.eye(n, dtype=bool), axis=-1)
    reward = params['wait'] * waited + jnp.where(hit, params['crash'], 0.0)
    reward = jnp.where(alive, reward, 0.0)
    failed = state.failed | jnp.any(hit)
    facts = {
      'success': (~failed).astype(jnp.float32),
      'collisions': jnp.sum(hit, dtype=jnp.float32),
      'arrived': jnp.sum(left, dtype=jnp.float32),
    }
    state = state._replace(failed=failed)
    over = jnp.zeros((), bool)
    return state, _environment.Outcome(reward, over, facts, gone=left)

  def draw(params, state):
    del params
    return {
      'agents': places_of(state),
      'alive': state.alive,
      'roads': jnp.asarray(found.numbers >= 0),
    }

  return _environment.Environment(
    params={
      'arrival': jnp.float32(rate),
      'crash': jnp.float32(crash),
      'wait': jnp.float32(wait),
    },
    start=start,
    move=move,
    observe=observe,
    num_agents=n,
    own_size=own_size,
    max_steps=limit,
    num_actions=2,
    name='traffic_junction',
    facts=(('success', 'last'), ('collisions', 'sum'), ('arrived', 'sum')),
    draw=draw,
  )
