# SPDX-License-Identifier: Apache-2.0
"""Independent sets: the most vertices of which no two are linked."""

import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _linked, _problem, _subsets, _tours
from jaxdl.core import checks


def mis(*, edge_probability: float = 0.15) -> _problem.CombinatorialProblem:
  """Largest sets of vertices without an edge between them.

  An instance is `edges i32[E, 2]`, each once, padded by rows (N, N), and
  `nodes bool[N]`, which vertices may be chosen at all; `graph_instance` makes
  one of any graph. It may hold who is next to whom, for speed: `targets`,
  `offsets`, `window`, as `graph_instance` and `generate` make them; all is
  linear in edges.

  A construction adds vertices until none is left that has no neighbor in the
  set. A piece is a random set of vertices; those that have no neighbor in the
  set outside of the piece are chosen anew. Another choice of equal size is
  taken, which lets later stages go on. Pieces whose choices are linked are not
  both changed: those that gain most come first.

  Args:
    edge_probability: of generated graphs, whose pairs of vertices are linked
      independently of each other.

  Returns:
    The problem; its solutions are `Subset`s.

  Raises:
    TypeError, ValueError: if the probability is out of range.

  Example:
    >>> instance = _linked.graph_instance([(0, 1), (1, 2)], 3)
    >>> ends = _problem.Subset(jnp.array([True, False, True]))
    >>> problem = mis()
    >>> float(problem.objective(instance, ends)), bool(
    ...   problem.feasible(instance, ends)
    ... )
    (2.0, True)

  Source: Zheng et al. 2024 (https://arxiv.org/abs/2407.00312), appendix. Pieces
    side by side are ours; theirs is one at a time.
  """
  checks.number(edge_probability, name='edge_probability', low=0.0, high=1.0)

  def generate(key, num_nodes):
    checks.integer(num_nodes, name='num_nodes', low=1)
    return _linked.random_graph(key, num_nodes, float(edge_probability))

  return _problem.CombinatorialProblem(
    name='mis',
    generate=generate,
    check=_linked.check,
    objective=lambda instance, subset: jnp.sum(
      subset.chosen, dtype=jnp.float32
    ),
    feasible=_feasible,
    maximize=True,
    divide=_problem.Divide(
      neighbors=_linked.neighbors,
      starts=_starts,
      start=_divide_start,
      allowed=_divide_allowed,
      move=_divide_move,
      num_steps=lambda instance: instance['nodes'].shape[0],
      finish=_divide_finish,
    ),
    split=_split,
    solve=_problem.Solve(
      inputs=_inputs,
      start=_start,
      context=lambda piece, state: _subsets.context(
        state, state.free, jnp.zeros((0,))
      ),
      move=_move,
      num_steps=lambda n: n,
      finish=lambda piece, state, actions: state.chosen,
      current=lambda piece: piece['chosen'],
      value=_value,
      active=lambda piece: jnp.any(piece['free']),
      both_ways=False,
      num_features=2,
      num_extra=0,
      network='agnn',
    ),
    merge=_merge,
    sizes=_sizes,
    piece_size=200,
  )


def _sizes(num_nodes, size):
  """Raises ValueError unless there is a piece; a rest may be left over."""
  _tours.check_piece(size, num_nodes)


def _feasible(instance, subset):
  """Whether no two chosen vertices are linked and all may be chosen."""
  chosen = subset.chosen
  linked = [_linked.of(chosen, instance['edges'][:, i]) for i in range(2)]
  return ~jnp.any(linked[0] & linked[1]) & jnp.all(~chosen | instance['nodes'])


def _starts(instance, key, num_samples):
  """Random different vertices that may be chosen, as far as there are some."""
  nodes = instance['nodes']
  drawn = jax.random.uniform(key, nodes.shape)
  order = jnp.argsort(jnp.where(nodes, drawn, 2.0)).astype(jnp.int32)
  count = jnp.maximum(jnp.sum(nodes), 1)
  return order[jnp.arange(num_samples) % count]


def _divide_start(instance, first):
  """The first vertex is in the set, if it may be."""
  nodes = instance['nodes']
  first = jnp.asarray(first, jnp.int32)
  chosen = _subsets.only(first, nodes.shape[0]) & nodes
  free = nodes & ~chosen & ~(_linked.next_to(instance, first) & nodes[first])
  return _problem.Cursor(first, first, chosen, ~jnp.any(free), {'free': free})


def _divide_allowed(instance, cursor):
  """Free vertices; the last one again, without effect, when there is none."""
  last = _subsets.only(cursor.last, instance['nodes'].shape[0])
  return jnp.where(cursor.done, last, cursor.extra['free'])


def _divide_move(instance, cursor, action):
  """Adds a free vertex."""
  free = cursor.extra['free']
  added = _subsets.only(action, free.shape[0]) & free
  near = _linked.next_to(instance, action) & jnp.any(added)
  free = free & ~added & ~near
  return _problem.Cursor(
    cursor.first,
    jnp.asarray(action, jnp.int32),
    cursor.visited | added,
    ~jnp.any(free),
    {'free': free},
  )


def _divide_finish(instance, first, actions):
  """All decisions; what may not be chosen was none."""
  nodes = instance['nodes']
  chosen = _subsets.only(first, nodes.shape[0]).at[actions].set(True)
  return _problem.Subset(chosen & nodes)


def _split(instance, subset, size, shift, key):
  """Random blocks, and what outside of each leaves free."""
  chosen, num_nodes = subset.chosen, subset.chosen.shape[0]
  nodes = _subsets.blocks(num_nodes, size, shift, key)
  count, n = nodes.shape
  # In which block a vertex is, and where in it; count is the rest.
  places = jnp.arange(count * n, dtype=jnp.int32)
  block = jnp.full((num_nodes,), count).at[nodes.ravel()].set(places // n)
  place = jnp.zeros((num_nodes,), jnp.int32).at[nodes.ravel()].set(places % n)
  sources, targets = _linked.ways(instance)
  there = sources < num_nodes
  a, b = (jnp.minimum(x, num_nodes - 1) for x in (sources, targets))
  same = block[a] == block[b]
  barred = there & ~same & chosen[b]
  barred = jnp.zeros((num_nodes,), bool).at[a].max(barred)
  free = instance['nodes'] & ~barred
  inside = jnp.where(there & same, block[a], count)
  linked = jnp.zeros((count, n, n), bool)
  linked = linked.at[inside, place[a], place[b]].set(True, mode='drop')
  pieces = {
    'nodes': nodes,
    'linked': linked,
    'free': free[nodes],
    'chosen': chosen[nodes],
  }
  return pieces, subset


def _merge(instance, rolled, pieces, candidates):
  """Changes pieces in turn of what they gain, unless one before forbids it."""
  nodes, now = pieces['nodes'], pieces['chosen']
  count, n = nodes.shape
  num_nodes = rolled.chosen.shape[0]
  block = (
    jnp.full((num_nodes,), count).at[nodes].set(jnp.arange(count)[:, None])
  )
  new = jnp.zeros((num_nodes,), bool).at[nodes].set(candidates)
  a, b = instance['edges'].T
  both = _linked.of(new, a) & _linked.of(new, b)
  last = num_nodes - 1
  a, b = block[jnp.minimum(a, last)], block[jnp.minimum(b, last)]
  clash = jnp.zeros((count, count), bool).at[a, b].max(both & (a != b))
  clash = clash | clash.T
  size = lambda x: jnp.sum(x, axis=1, dtype=jnp.int32)
  order = jnp.argsort(size(now) - size(candidates), stable=True)

  def accept(changed, piece):
    fine = ~jnp.any(clash[piece] & changed)
    return changed.at[piece].set(fine), None

  changed, _ = jax.lax.scan(accept, jnp.zeros((count,), bool), order)
  chosen = jnp.where(changed[:, None], candidates, now)
  return _problem.Subset(_subsets.merge(rolled.chosen, nodes, chosen))


def _inputs(piece):
  """Which vertices are free, with how many free neighbors; who is linked."""
  free, linked = piece['free'], piece['linked']
  near = jnp.sum(linked & free[None, :], axis=1) / free.shape[0]
  features = jnp.stack([free.astype(jnp.float32), near], axis=1)
  return features, linked.astype(jnp.float32)


def _start(piece, reverse):
  """Nothing is chosen."""
  del reverse
  chosen = jnp.zeros_like(piece['chosen'])
  return _subsets.ItemState(jnp.int32(-1), chosen, piece['free'])


def _move(piece, state, action):
  """Adds a free vertex."""
  added = _subsets.only(action, state.free.shape[0]) & state.free
  some = jnp.any(added)
  free = state.free & ~added & ~(piece['linked'][action] & some)
  last = jnp.where(some, action, state.last).astype(jnp.int32)
  return _subsets.ItemState(last, state.chosen | added, free)


def _value(piece, chosen):
  """Minus the size; what there is now is half a vertex behind its equals."""
  same = jnp.all(chosen == piece['chosen'])
  return 0.5 * same - jnp.sum(chosen, dtype=jnp.float32)
