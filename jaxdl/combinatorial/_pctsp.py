# SPDX-License-Identifier: Apache-2.0
"""Tours that collect enough prize and pay for what they leave out."""

import functools

import jax
import jax.numpy as jnp

from jaxdl.combinatorial import (
  _geometry,
  _neighbors,
  _paths,
  _problem,
  _visits,
)
from jaxdl.core import checks

REVEALS = ('on_visit', 'official')


def pctsp(
  *,
  penalty: float | None = None,
  distribution: str = 'uniform',
  training: bool = False,
) -> _problem.CombinatorialProblem:
  """Closed tours through the depot with enough prize, at least cost.

  The cost is the length and the penalties of nodes that are not visited. An
  instance is `points f[N, 2]`, row 0 is the depot, `prizes f[N]`,
  `penalties f[N]` and `target f[]`, the least prize. Generated prizes are
  uniform with mean 2 / N and the target is 1; where all together are less, as
  happens with few nodes, they are scaled to a sum of 2. The depot is allowed
  once the target is reached.

  A piece is a part of the tour, mixed with nodes outside of it: a path between
  two fixed ends, through the depot if that is in it, that collects what it
  does now. The first piece may collect less by what the tour has beyond its
  target.

  Args:
    penalty: K of generated instances, whose penalties have the mean 1.5 K / N:
      9 for 500 nodes, 12 for 1000 and 20 for 5000 in the paper; None draws one
      of 9, ..., 12 per instance, as in training.
    distribution: of their points, a part of `DISTRIBUTIONS`.
    training: whether pieces are those that the authors train with: none may
      collect less than now.

  Returns:
    The problem; its solutions are `Visits`.

  Raises:
    TypeError, ValueError: if an option is out of range.

  Example:
    >>> import jax
    >>> problem = pctsp()
    >>> instance = problem.generate(jax.random.key(0), 5)
    >>> nobody = _problem.Visits(jnp.arange(5), jnp.arange(5) < 1)
    >>> bool(problem.feasible(instance, nobody))
    False

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), appendix;
    instances as in Kool et al. 2019 (https://arxiv.org/abs/1803.08475).
  """
  return _prize_collecting('pctsp', penalty, distribution, training, None)


def spctsp(
  *,
  penalty: float | None = None,
  distribution: str = 'uniform',
  training: bool = False,
  reveal: str = 'on_visit',
) -> _problem.CombinatorialProblem:
  """`pctsp` whose prizes are known on average only, until they are collected.

  An instance holds `prizes`, what is expected, and `real_prizes`, uniform
  between zero and twice that; those count. Features of a construction are the
  expected ones; it goes home when what it has collected is enough, so that a
  constructed tour is an answer to the usual problem.

  Stages solve pieces with what is known of each node. `on_visit` knows the real
  prize of nodes of the tour and the expected one of all others; a piece that
  turns out to collect too little is left as it was, and forgotten. `official`
  knows all real prizes, as the code of the authors, which they say is not the
  usual setting: its results compare with no others.

  Args:
    penalty: see `pctsp`.
    distribution: see `pctsp`.
    training: see `pctsp`.
    reveal: 'on_visit' or 'official'.

  Returns:
    The problem; its solutions are `Visits`.

  Raises:
    TypeError, ValueError: if an option is out of range.

  Example:
    >>> import jax
    >>> problem = spctsp(penalty=9)
    >>> instance = problem.generate(jax.random.key(0), 5)
    >>> all_of_them = _problem.Visits(jnp.arange(5), jnp.arange(5) >= 0)
    >>> bool(problem.feasible(instance, all_of_them))
    True

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), appendix, and
    the note of January 2025 in the authors' readme; `on_visit` is ours.
  """
  checks.choice(reveal, REVEALS, name='reveal')
  return _prize_collecting('spctsp', penalty, distribution, training, reveal)


def _prize_collecting(name, penalty, distribution, training, reveal):
  """Both problems; `reveal` is None where prizes are certain."""
  if penalty is not None:
    checks.number(penalty, name='penalty', low=0.0)
  checks.flag(training, name='training')
  _geometry.DISTRIBUTIONS.make(distribution)
  counts = 'prizes' if reveal is None else 'real_prizes'

  def feasible(instance, tour):
    found = _visits.total(instance[counts], _visits.members(tour))
    slack = _visits.SLACK * jnp.maximum(instance['target'], 1)
    proper = _visits.is_tour(tour, instance['points'].shape[0])
    return proper & (found >= instance['target'] - slack)

  def start(instance, first):
    collected = instance[counts][first]
    kind = jnp.promote_types(collected.dtype, jnp.float32)
    count = instance['points'].shape[0]
    return _visits.start(count, first, collected=collected.astype(kind))

  def allowed(instance, cursor):
    enough = cursor.extra['collected'] >= instance['target']
    everyone = jnp.ones_like(cursor.visited)
    return _visits.or_home(cursor, everyone, enough)

  def move(instance, cursor, action):
    fresh = ~cursor.visited[action]
    gain = jnp.where(fresh, instance[counts][action], 0)
    collected = cursor.extra['collected'] + gain
    return _visits.move(cursor, action, collected=collected)

  def split(instance, tour, size, shift, key):
    nodes, visited, rolled = _visits.split(tour, size, shift, key)
    known = instance['prizes']
    if reveal == 'official':
      known = instance['real_prizes']
    elif reveal == 'on_visit':
      inside = _visits.members(rolled)
      known = jnp.where(inside, instance['real_prizes'], known)
    collected = jax.vmap(_visits.total)(known[nodes], visited)
    active = jnp.sum(visited, axis=1) > 1
    need = collected
    if not training:
      whole = _visits.total(instance[counts], _visits.members(rolled))
      need = _visits.to_first(active, need, instance['target'] - whole)
    pieces = {
      'points': instance['points'][nodes],
      'prizes': known[nodes],
      'real_prizes': instance[counts][nodes],
      'penalties': instance['penalties'][nodes],
      'visited': visited,
      'depot': nodes == 0,
      'collected': collected,
      'need': jnp.maximum(need, 0),
      'active': active,
    }
    return pieces, rolled

  def merge(instance, rolled, pieces, candidates):
    if reveal == 'on_visit':
      candidates = _enough_or_now(pieces, candidates)
    merged = _visits.merge(rolled, candidates)
    return _visits.kept_if(feasible(instance, merged), merged, rolled)

  return _problem.CombinatorialProblem(
    name=name,
    generate=functools.partial(
      _generate, distribution=distribution, penalty=penalty, real=bool(reveal)
    ),
    check=functools.partial(_check, counts=counts),
    objective=_objective,
    feasible=feasible,
    maximize=False,
    divide=_visits.divide(
      neighbors=_graph, start=start, allowed=allowed, move=move
    ),
    split=split,
    solve=_paths.solve(
      inputs=_inputs, context=_context, value=_value, num_features=5
    ),
    merge=merge,
    sizes=_visits.sizes,
    piece_size=100,
  )


def _generate(key, num_nodes, *, distribution, penalty, real):
  """Draws an instance that has a solution."""
  keys = jax.random.split(key, 5)
  points = _geometry.points(distribution, keys[0], num_nodes)
  customer = jnp.arange(num_nodes) > 0

  def uniform(key, high):
    drawn = high * jax.random.uniform(key, (num_nodes,))
    return jnp.where(customer, drawn, 0)

  def reachable(prizes):
    whole = jnp.sum(prizes)
    factor = 2 / jnp.where(whole > 0, whole, 1)
    scaled = jnp.where(whole > 0, prizes * factor, 2 * customer)
    return jnp.where(whole < 1, scaled, prizes)

  if penalty is None:
    penalty = jax.random.randint(keys[1], (), 9, 13)
  prizes = reachable(uniform(keys[2], 4 / num_nodes))
  # Without customers nothing can be collected.
  target = jnp.float32(num_nodes > 1)
  instance = {
    'points': points,
    'prizes': prizes,
    'penalties': uniform(keys[3], 3 * penalty / num_nodes),
    'target': target,
  }
  if real:
    instance['real_prizes'] = reachable(uniform(keys[4], 2.0) * prizes)
  return instance


def _check(instance, *, counts):
  """Checks an instance on the host; the target must be in reach."""
  numbers = ('prizes', 'penalties')
  if counts not in numbers:
    numbers = (*numbers, counts)
  _visits.check(instance, numbers, 'target')
  whole = float(checks.host_array(instance[counts], name=counts).sum())
  target = float(instance['target'])
  if whole < target - _visits.SLACK * max(target, 1.0):
    raise ValueError(
      f'{counts} sum to {whole:g}, less than target={target:g}: no tour '
      'collects enough, the instance is infeasible.'
    )


def _objective(instance, tour):
  """Length of the tour and penalties of who is not on it."""
  out = ~_visits.members(tour)
  length = _visits.tour_length(instance['points'], tour)
  return length + _visits.total(instance['penalties'], out)


def _graph(instance, num_neighbors):
  """Nodes with expected prizes, in units of the target, and penalties."""
  target = instance['target']
  prizes = instance['prizes'] / jnp.where(target > 0, target, 1)
  nodes = jnp.stack([prizes, instance['penalties']], axis=1)
  return _neighbors.knn_graph(instance['points'], num_neighbors, nodes=nodes)


def _units(piece):
  """What prizes of a piece are divided by: what it collects now."""
  collected = piece['collected']
  return jnp.where(collected > 0, collected, 1)


def _inputs(piece):
  """Points, prizes, penalties and which node is the depot; distances."""
  points = _geometry.normalized(piece['points'])
  columns = [
    piece['prizes'] / _units(piece),
    piece['penalties'] / _paths.extent(piece['points']),
    piece['depot'],
  ]
  columns = jnp.stack([x.astype(points.dtype) for x in columns], axis=1)
  features = jnp.concatenate([points, columns], axis=1)
  return features, _geometry.distances(points)


def _context(piece, state):
  """The end is allowed once enough is collected."""
  collected = _visits.total(piece['prizes'], state.visited)
  need = piece['need']
  enough = collected >= need * (1 - _visits.PIECE_SLACK)
  everyone = jnp.ones_like(state.visited)
  may = _paths.or_end(piece, state, everyone, enough)
  extra = jnp.stack([collected, need]) / _units(piece)
  return _problem.Context(state.last, state.end, extra, may)


def _value(piece, candidate):
  """Length of the path and penalties of who is not on it."""
  out = ~_visits.members(candidate)
  length = _paths.length(piece['points'], candidate)
  return length + _visits.total(piece['penalties'], out)


def _enough_or_now(pieces, candidates):
  """Candidates whose real prizes suffice; others stay what they are now."""
  inside = jax.vmap(_visits.members)(candidates)
  found = jax.vmap(_visits.total)(pieces['real_prizes'], inside)
  enough = found >= pieces['need'] * (1 - _visits.PIECE_SLACK)
  now = jax.vmap(_paths.current)(pieces)
  return jax.tree.map(
    lambda a, b: jnp.where(enough[:, None], a, b), candidates, now
  )
