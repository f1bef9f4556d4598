# SPDX-License-Identifier: Apache-2.0
"""Times sums over neighbors and the layers that are made of them.

Steps, graph convolutions and graph attention stand against scipy.sparse, jraph
(where it can be imported) and PyTorch (`--torch_python`); and the ways to sum
over neighbors stand against each other, on a graph of even and on one of very
uneven degrees. Link prediction is timed by the epoch, on 600 nodes and on
100,000, and its memory told; architectures are trained by one program for all
of them, and by one for each.

Example: python -m experiments.benchmarks.graphs --quick
"""

import functools
import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl import app, flags

from experiments.benchmarks import _graphs_links, _graphs_search, _timing
from jaxdl import graphs
from jaxdl.core import checks

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'A small graph, 3 rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md.')
flags.DEFINE_integer('rounds', 12, 'Turns of every contender.')
flags.DEFINE_integer('width', 64, 'Numbers per node.')
flags.DEFINE_string('torch_python', '', 'Interpreter that has torch.')
flags.DEFINE_string('torch_path', '', 'PYTHONPATH of that interpreter.')
flags.DEFINE_list('sizes', ['10000', '100000'], 'Nodes; ten edges each.')
flags.DEFINE_list(
  'parts', ['all'], "What to measure: names in PARTS, or 'all'."
)

HEADS = 8
# Times the best rival's time that ours may take.
WITHIN = 1.1


def _rounds() -> int:
  return 3 if FLAGS.quick else FLAGS.rounds


def _sizes() -> list[int]:
  return [1000] if FLAGS.quick else [int(n) for n in FLAGS.sizes]


@functools.cache
def even(n: int) -> graphs.Graph:
  """Edges between nodes that are drawn uniformly, about ten per node."""
  pairs = np.random.default_rng(0).integers(0, n, (10 * n, 2))
  pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
  return graphs.make_graph(pairs, n, directed=True)


@functools.cache
def uneven(n: int) -> graphs.Graph:
  """A graph that grew by preference, whose hubs have hundreds of neighbors."""
  grown = networkx.barabasi_albert_graph(n, 5, seed=0)
  return graphs.from_networkx(grown)


def _features(graph: graphs.Graph) -> jax.Array:
  x = np.random.default_rng(1).normal(size=(graph.num_nodes, FLAGS.width))
  return jnp.asarray(x, jnp.float32)


def _kernel() -> jax.Array:
  w = np.random.default_rng(2).normal(size=(FLAGS.width, FLAGS.width))
  return jnp.asarray(w / FLAGS.width**0.5, jnp.float32)


def _bound(fn, *args):
  """A compiled call; graphs are arguments, so that nothing is folded away."""
  run = jax.jit(fn)
  return lambda: run(*args)


def _total(fn):
  """A number that depends on all that a layer returns."""
  return lambda *args: jnp.sin(fn(*args)).sum()


def _named(told: str, n: int, graph: graphs.Graph) -> str:
  edges = int(graph.edge_mask.sum())
  return f'### {told}, {n} nodes, {edges} edges, width {FLAGS.width}'


@functools.cache
def _peers(n: int) -> dict[str, float]:
  """Median milliseconds of what PyTorch does on the even graph."""
  if not FLAGS.torch_python:
    return {}
  done = graphs.normalized(even(n))
  matrix = graphs.to_scipy(done).astype(np.float32).tocsr()
  x = np.asarray(_features(even(n)))[:n]
  rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'graph.npz'
    np.savez(
      path,
      x=x,
      kernel=np.asarray(_kernel()),
      senders=matrix.indices.astype(np.int64),
      receivers=rows,
      weights=matrix.data,
      starts=matrix.indptr.astype(np.int64),
      heads=HEADS,
      want=matrix @ x,
    )
    found = _timing.elsewhere(
      FLAGS.torch_python,
      '_graphs_peers',
      str(path),
      env={'PYTHONPATH': FLAGS.torch_path},
      rounds=_rounds(),
      threads=_timing.threads(),
    )
  if found['error'] > 1e-3:
    raise RuntimeError(f'the sums of torch are off by {found["error"]}.')
  return {k: float(np.median(v)) for k, v in found['times'].items()}


def _rows(times, ours, rivals, n, named=(), within=WITHIN):
  """A line for each rival here, and each one in another process."""
  rows = [_timing.Claim(ours, r, within=within).row(times) for r in rivals]
  others = _peers(n)
  rows += [
    _timing.Claim(ours, name, within=within).row(times, others[name])
    for name in named
    if name in others
  ]
  return _timing.table(rows) if rows else ''


def _jraph() -> Any:
  try:
    import jraph
  except ImportError:
    return None
  return jraph


def _jraph_gcn(jraph, kernel, graph, x):
  """The layer of jraph, edges of loops among the others."""
  given = jraph.GraphsTuple(
    *(x, None, graph.receivers, graph.senders, None),
    jnp.array([graph.num_nodes]),
    jnp.array([graph.num_edges]),
  )
  layer = jraph.GraphConvolution(
    (lambda y: y) if kernel is None else lambda y: y @ kernel
  )
  return layer(given).nodes


def _jraph_gat(jraph, params, graph, x):
  """The steps of `jraph.GAT`, for several heads."""
  width = FLAGS.width
  nodes = x @ params['kernel'].reshape(width, -1)
  heads = lambda ids: nodes[ids].reshape(-1, HEADS, width // HEADS)
  sent, received = heads(graph.senders), heads(graph.receivers)
  logits = (received * params['left'][None]).sum(-1)
  logits += (sent * params['right'][None]).sum(-1)
  weights = jraph.segment_softmax(
    jax.nn.leaky_relu(logits, 0.2), graph.receivers, graph.num_nodes
  )
  return jraph.segment_sum(
    sent * weights[..., None], graph.receivers, graph.num_nodes
  ).reshape(-1, width)


def _looped(n: int) -> graphs.Graph:
  """The even graph as rivals want it: loops among the edges, no padding."""
  pairs = graphs.edge_pairs(even(n))
  return graphs.add_self_loops(
    graphs.make_graph(pairs, n, directed=True, pad_nodes=n)
  )


def propagation() -> list[str]:
  """One step without parameters."""
  out, jraph = [], _jraph()
  for n in _sizes():
    graph = even(n)
    x, done = _features(graph), graphs.normalized(graph)
    matrix = graphs.to_scipy(done).astype(np.float32).tocsr()
    host = np.asarray(x)[:n]
    known = lambda g, x: graphs.propagate(
      g, x, normalize='none', self_loops=False
    )
    ours, each = 'propagate, weights known', 'propagate, degrees counted'
    fns = {
      ours: _bound(known, done, x),
      each: _bound(graphs.propagate, graph, x),
      'scipy.sparse, weights known': lambda m=matrix, h=host: m @ h,
    }
    if jraph is not None:
      fns['jraph, degrees counted'] = _bound(
        lambda g, x: _jraph_gcn(jraph, None, g, x), _looped(n), x[:n]
      )
    gap = np.abs(np.asarray(fns[ours]())[:n] - matrix @ host).max()
    gap = max(gap, np.abs(np.asarray(fns[each]())[:n] - matrix @ host).max())
    times = _timing.measure(fns, rounds=_rounds())
    table = _rows(
      *(times, ours, ['scipy.sparse, weights known'], n),
      named=['torch, CSR times x'],
    )
    parts = [_named('A step', n, graph), table]
    if jraph is not None:
      parts.append(_rows(times, each, ['jraph, degrees counted'], n))
    parts.append(f'They differ from scipy.sparse by {gap:.1e} at most.')
    out.append('\n\n'.join(parts))
  return out


def convolution() -> list[str]:
  """A graph convolution, and its gradient by the kernel."""
  out, jraph = [], _jraph()
  for n in _sizes():
    graph = even(n)
    x, done = _features(graph), graphs.normalized(graph)
    matrix = graphs.to_scipy(done).astype(np.float32).tocsr()
    network = graphs.gcn(
      *(FLAGS.width, ()),
      **{'normalize': 'none', 'self_loops': False, 'bias': False},
      dropout=0.0,
    )
    params = [{'kernel': _kernel()}]
    host, w = np.asarray(x)[:n], np.asarray(_kernel())
    apply = lambda p, g, x, net=network: net.apply(p, g, x)
    loss = _total(apply)
    fns = {
      'gcn': _bound(apply, params, done, x),
      'scipy.sparse': lambda m=matrix, h=host, w=w: m @ (h @ w),
    }
    steps = {'gcn, gradient': _bound(jax.grad(loss), params, done, x)}
    if jraph is not None:
      theirs = lambda w, g, x: _jraph_gcn(jraph, w, g, x)
      total = _total(theirs)
      args = (_kernel(), _looped(n), x[:n])
      fns['jraph'] = _bound(theirs, *args)
      steps['jraph, gradient'] = _bound(jax.grad(total), *args)
    times = _timing.measure(fns, rounds=_rounds())
    slopes = _timing.measure(steps, rounds=_rounds())
    first = _rows(
      *(times, 'gcn', list(fns)[1:], n),
      named=['torch, CSR times (x W)', 'PyTorch Geometric, GCN'],
    )
    second = _rows(
      *(slopes, 'gcn, gradient', list(steps)[1:], n),
      named=['PyTorch Geometric, GCN, gradient'],
    )
    title = _named('A graph convolution', n, graph)
    out.append('\n\n'.join([title, first, *([second] if second else [])]))
  return out


def attention() -> list[str]:
  """Graph attention of eight heads, and its gradient."""
  out, jraph = [], _jraph()
  for n in _sizes():
    graph = even(n)
    x = _features(graph)
    network = graphs.gat(FLAGS.width // HEADS, (), output_heads=HEADS)
    params = network.init(jax.random.key(0), graph, x)[0]
    params['bias'] = jnp.zeros(FLAGS.width)
    apply = lambda p, g, x: graphs.graph_layer(
      p, g, x, attention='gat', activation='linear'
    )
    loss = _total(apply)
    fns = {'gat': _bound(apply, params, graph, x)}
    steps = {'gat, gradient': _bound(jax.grad(loss), params, graph, x)}
    gap = 0.0
    if jraph is not None:
      theirs = lambda p, g, x: _jraph_gat(jraph, p, g, x)
      total = _total(theirs)
      args = (params, _looped(n), x[:n])
      fns['jraph'] = _bound(theirs, *args)
      steps['jraph, gradient'] = _bound(jax.grad(total), *args)
      gap = float(jnp.abs(fns['gat']()[:n] - fns['jraph']()).max())
    times = _timing.measure(fns, rounds=_rounds())
    slopes = _timing.measure(steps, rounds=max(3, _rounds() // 2))
    first = _rows(
      *(times, 'gat', list(fns)[1:], n), named=['PyTorch Geometric, GAT']
    )
    second = _rows(
      *(slopes, 'gat, gradient', list(steps)[1:], n),
      named=['PyTorch Geometric, GAT, gradient'],
    )
    title = _named(f'Graph attention, {HEADS} heads', n, graph)
    told = f'It differs from jraph by {gap:.1e} at most.'
    out.append('\n\n'.join([title, first, second, told]))
  return out


def _by_neighbors(graph):
  """Tables of neighbors, one after the other of those that all have."""
  ids, mask = graphs.neighbors(graph)
  columns = [jnp.asarray(c) for c in ids.T]
  scales = [jnp.asarray(c, jnp.float32) for c in mask.T]

  def run(x, columns, scales):
    out = jnp.zeros_like(x)
    for column, scale in zip(columns, scales, strict=True):
      out = out + scale[:, None] * x[column]
    return out

  return run, (columns, scales)


def _by_degree(graph):
  """Tables for nodes of like degrees, whose widths are powers of two."""
  ids, mask = graphs.neighbors(graph)
  count = mask.sum(axis=1)
  order = np.argsort(count, kind='stable')
  back = np.argsort(order)
  tables, low = [], 0
  while low <= count.max():
    high = max(1, 2 * low)
    chosen = order[(count[order] >= low) & (count[order] < high)]
    part = np.where(mask, ids, graph.num_nodes)[chosen, : high - 1]
    tables.append(jnp.asarray(part))
    low = high

  def run(x, tables, back):
    more = jnp.pad(x, ((0, 1), (0, 0)))
    parts = []
    for table in tables:
      out = jnp.zeros((len(table), x.shape[1]), x.dtype)
      step = lambda d, out, table=table: out + more[table[:, d]]
      unrolled = table.shape[1] <= 32
      if unrolled:
        for d in range(table.shape[1]):
          out = step(d, out)
      else:
        out = jax.lax.fori_loop(0, table.shape[1], step, out)
      parts.append(out)
    return jnp.concatenate(parts)[back]

  return run, (tables, jnp.asarray(back))


def paths() -> list[str]:
  """Ways to sum over neighbors: which is best, and where."""
  out = []
  for n in _sizes()[:1]:
    for name, make in (('even', even), ('uneven', uneven)):
      graph = make(n)
      degree = int(graphs.degrees(graph).max())
      for width in (1, 8, FLAGS.width):
        x = _features(graph)[:, :width]
        step = lambda g, x: graphs.propagate(
          g, x, normalize='none', self_loops=False
        )
        fns = {
          'propagate': _bound(step, graph, x),
          'sorted segments': _bound(step, graph.replace(plan=None), x),
        }
        want = np.asarray(fns['propagate']())
        if degree <= 64:
          run, args = _by_neighbors(graph)
          fns['padded neighbors'] = _bound(run, x, *args)
        run, args = _by_degree(graph)
        fns['padded by degree'] = _bound(run, x, *args)
        for label, fn in fns.items():
          gap = np.abs(np.asarray(fn()) - want).max()
          if gap > 1e-3 * np.abs(want).max():
            raise RuntimeError(f'{label} is off by {gap}.')
        times = _timing.measure(fns, rounds=_rounds())
        rows = [
          _timing.Claim('propagate', rival).row(times)
          for rival in list(fns)[1:]
        ]
        out.append(
          f'### Ways to sum, {name} degrees (at most {degree}), {n} nodes, '
          f'width {width}\n\n{_timing.table(rows)}'
        )
  return out


def links() -> list[str]:
  """Epochs of link prediction, and the memory of completion."""
  return [
    *_graphs_links.link_epochs(quick=FLAGS.quick),
    *_graphs_links.completion_memory(quick=FLAGS.quick),
  ]


def search() -> list[str]:
  """Architectures that a search looks at in a minute."""
  return _graphs_search.architectures_per_minute(quick=FLAGS.quick)


# Parts by name: functions that return Markdown and read `FLAGS`.
PARTS = {
  'propagation': propagation,
  'convolution': convolution,
  'attention': attention,
  'paths': paths,
  'links': links,
  'search': search,
}


def main(argv):
  del argv
  names = list(PARTS) if FLAGS.parts == ['all'] else FLAGS.parts
  for name in names:
    checks.choice(name, PARTS, name='parts')
  loads, text = [_timing.load()], []
  for name in names:
    for piece in PARTS[name]():
      print(f'\n{piece}', flush=True)
      text.append(piece)
    loads.append(_timing.load())
  _timing.report('graphs', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
