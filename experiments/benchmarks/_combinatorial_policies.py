# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of combinatorial optimization: its policies."""

import jax
import jax.numpy as jnp

from experiments.benchmarks import _timing
from jaxdl.combinatorial import _heat, _icam, _neighbors, _problem

NUM_SAMPLES = 8
NUM_NEIGHBORS = 100
# Times by which memory may grow faster than nodes.
LINEAR = 1.1
_MIB = 2**20


def _cursors(num_nodes):
  """Constructions that stand at different nodes."""
  ids = jnp.arange(NUM_SAMPLES, dtype=jnp.int32)
  seen = jnp.arange(num_nodes)[None] == ids[:, None]
  return _problem.Cursor(ids, ids, seen, jnp.zeros(NUM_SAMPLES, bool))


def _dense(heat, ids):
  """Heat of all pairs of nodes, f[N, N]."""
  num_nodes = heat.shape[0]
  pairs = jnp.full((num_nodes, num_nodes), _heat.FLOOR, heat.dtype)
  return pairs.at[jnp.arange(num_nodes)[:, None], ids].add(heat)


def _programs(policy):
  """From coordinates to heat of all samples: rows, and all pairs."""

  def rows(params, x, cursors):
    graph = _neighbors.knn_graph(x, policy.num_neighbors)
    embedding = policy.embed(params, graph)
    heat = jax.vmap(policy.heat, (None, None, 0))(params, embedding, cursors)
    return heat, graph.ids

  def pairs(params, x, cursors):
    heat, ids = rows(params, x, cursors)
    return jax.vmap(_dense, (0, None))(heat, ids)

  return rows, pairs


def heat_memory(*, quick: bool = False) -> list[str]:
  """Memory of heat in rows of neighbors and of all pairs, against nodes.

  Args:
    quick: whether the network is small and nodes are fewer.

  Returns:
    Sections of Markdown.
  """
  sizes = (200, 2000) if quick else (2000, 5000, 10_000)
  policy = _heat.agnn(depth=policy_depth(quick), num_neighbors=NUM_NEIGHBORS)
  rows, pairs = _programs(policy)
  found = []
  for num_nodes in sizes:
    x = jax.ShapeDtypeStruct((num_nodes, 2), jnp.float32)
    graph = jax.eval_shape(lambda x: _neighbors.knn_graph(x, NUM_NEIGHBORS), x)
    params = jax.eval_shape(policy.init, jax.random.key(0), graph)
    cursors = jax.eval_shape(lambda n=num_nodes: _cursors(n))
    found.append(
      {
        name: _timing.memory(program, params, x, cursors)['peak'] / _MIB
        for name, program in (('rows', rows), ('pairs', pairs))
      }
    )
  lines = [
    _timing.fact(
      f'rows, from {sizes[0]} to {sizes[-1]} nodes',
      found[-1]['rows'] / found[0]['rows'],
      'x',
      below=LINEAR * sizes[-1] / sizes[0],
    ),
    _timing.fact(
      f'all pairs, from {sizes[0]} to {sizes[-1]} nodes',
      found[-1]['pairs'] / found[0]['pairs'],
      'x',
    ),
  ]
  for num_nodes, each in zip(sizes, found, strict=True):
    for name in ('rows', 'pairs'):
      lines.append(
        _timing.fact(f'{name}, {num_nodes} nodes', each[name], 'MiB')
      )
  return [
    f'### Memory of heat, K = {NUM_NEIGHBORS}, {NUM_SAMPLES} constructions at '
    f'a time, with the graph network of depth {policy_depth(quick)}\n\n'
    f'{_timing.table(lines)}'
  ]


def policy_depth(quick: bool) -> int:
  """Layers of the graph network that is measured."""
  return 1 if quick else 12


def heat_time(*, quick: bool = False) -> list[str]:
  """Time of heat in rows and of all pairs, and of the graph network.

  Args:
    quick: whether the network is small and nodes are few.

  Returns:
    Sections of Markdown.
  """
  num_nodes, rounds = (200, 3) if quick else (2000, 7)
  policy = _heat.agnn(depth=1, num_neighbors=NUM_NEIGHBORS)
  x = jax.random.uniform(jax.random.key(0), (num_nodes, 2))
  graph = _neighbors.knn_graph(x, NUM_NEIGHBORS)
  params = policy.init(jax.random.key(0), graph)
  embedding = jax.jit(policy.embed)(params, graph)
  cursors = _cursors(num_nodes)

  @jax.jit
  def rows(embedding, cursors):
    heat = jax.vmap(policy.heat, (None, None, 0))(params, embedding, cursors)
    return jax.vmap(_heat.row_of, (0, None, 0))(heat, graph.ids, cursors.last)

  @jax.jit
  def pairs(embedding, cursors):
    heat = jax.vmap(policy.heat, (None, None, 0))(params, embedding, cursors)
    heat = jax.vmap(_dense, (0, None))(heat, graph.ids)
    # Kept, as for the decisions until heat is computed again.
    return heat, heat[jnp.arange(NUM_SAMPLES), cursors.last]

  if not jnp.allclose(
    rows(embedding, cursors), pairs(embedding, cursors)[1], rtol=1e-5
  ):
    raise ValueError('rows and pairs read different heat: not timed.')
  times = _timing.measure(
    {
      'rows': lambda: rows(embedding, cursors),
      'all pairs': lambda: pairs(embedding, cursors),
    },
    rounds=rounds,
  )
  line = _timing.Claim('rows', 'all pairs').row(times)
  return [
    f'### Heat of {num_nodes} nodes, K = {NUM_NEIGHBORS}, {NUM_SAMPLES} '
    f'constructions at a time\n\n{_timing.table([line])}'
  ]


def attention_free(*, quick: bool = False) -> list[str]:
  """The attention-free average as two products and by all exponentials.

  Args:
    quick: whether there are few rollouts.

  Returns:
    Sections of Markdown.
  """
  rollouts, rounds = (20, 3) if quick else (500, 7)
  nodes, width = 100, 128
  keys = jax.random.split(jax.random.key(0), 4)
  q, k, v, bias = (
    jax.random.normal(key, shape)
    for key, shape in zip(
      keys,
      ((rollouts, width), (nodes, width), (nodes, width), (rollouts, nodes)),
      strict=True,
    )
  )
  products = jax.jit(_icam.attention_free)

  @jax.jit
  def exponentials(q, k, v, bias):
    weights = jax.nn.softmax(bias[:, :, None] + k[None], axis=1)
    return jax.nn.sigmoid(q) * jnp.sum(weights * v[None], axis=1)

  if not jnp.allclose(
    products(q, k, v, bias), exponentials(q, k, v, bias), atol=1e-5
  ):
    raise ValueError('the two averages differ: not timed.')
  times = _timing.measure(
    {
      'two products': lambda: products(q, k, v, bias),
      'all exponentials': lambda: exponentials(q, k, v, bias),
    },
    rounds=rounds,
  )
  claim = _timing.Claim('two products', 'all exponentials', faster=3)
  return [
    f'### Averages without attention, {rollouts} rollouts of {nodes} nodes, '
    f'width {width}\n\n{_timing.table([claim.row(times)])}'
  ]
