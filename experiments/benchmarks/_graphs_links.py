# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of graphs: epochs and memory of link prediction."""

import dataclasses
import functools
import math
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import _timing
from jaxdl import federated, local, problems
from jaxdl.graphs import links, sets

COMPLETED = 'ncnc(prior=0.2, scale=5.0, offset=4.0{more})'


def _plane(num_nodes, degree):
  """Points in a square that have so many neighbors on average."""
  radius = math.sqrt(degree / (math.pi * num_nodes))
  return sets.geometric(num_nodes=num_nodes, radius=radius, pad=False)


def _data(num_nodes, degree, batch_size):
  return problems.links.load_links(
    _plane(num_nodes, degree), batch_size=batch_size, num_negatives=100
  )


def _learner(data, predictor):
  """Problem and algorithm of one learner."""
  problem = data.problem(predictor, 'mpnn(32)')
  optimizer = local.make_optimizer('adam(0.005)')
  algorithm = federated.centralized_sgd(
    problem.task, optimizer=links.two_rates(optimizer, optimizer)
  )
  return problem, links.over_batches(algorithm)


def _epoch(data, predictor):
  """A call that trains for an epoch, on and on."""
  problem, algorithm = _learner(data, predictor)
  own = jax.tree.map(lambda x: x[0], problem.data)
  key = jax.random.key(0)

  @functools.partial(jax.jit, donate_argnums=0)
  def one(state, own, number):
    cohort = problem.cohort(key, own, number)
    return algorithm.step(state, cohort, key=jax.random.fold_in(key, number))

  held = [jax.jit(algorithm.init)(key), 0]

  def go():
    held[1] += 1
    held[0], metrics = one(held[0], own, held[1])
    return metrics

  return go


def _without_matrix(data):
  """The same links, searched in rows."""
  bare = lambda adjacency: adjacency.replace(matrix=None)
  return dataclasses.replace(
    data, known=bare(data.known), known_later=bare(data.known_later)
  )


def link_epochs(*, quick: bool = False) -> list[str]:
  """Epochs of NCN on a small and on a large graph.

  Args:
    quick: whether sizes are small.

  Returns:
    Sections of Markdown.
  """
  data = _data(*((200, 10, 64) if quick else (600, 10.6, 64)))
  fns = {
    'NCN, matrix of links': _epoch(data, 'ncn'),
    'NCN, sorted rows': _epoch(_without_matrix(data), 'ncn'),
    'NCNC, matrix of links': _epoch(data, COMPLETED.format(more='')),
    'NCNC, sorted rows': _epoch(
      _without_matrix(data), COMPLETED.format(more='')
    ),
    'GAE': _epoch(data, 'gae'),
  }
  times = _timing.measure(fns, rounds=3 if quick else 7)
  rows = [
    _timing.Claim(f'{name}, {how}', 'GAE').row(times)
    for name in ('NCN', 'NCNC')
    for how in ('matrix of links', 'sorted rows')
  ]
  nodes = data.known.num_nodes - 1
  edges = int(data.num_train[0])
  small = (
    f'### Link prediction: an epoch, {nodes} nodes, {edges} training links, '
    f'{data.num_steps} steps of 64\n\n' + _timing.table(rows)
  )
  return [small, _large_graph(quick)]


def _large_graph(quick):
  """Seconds of an epoch where the matrix would not fit."""
  nodes, degree, size = (2_000, 20, 256) if quick else (100_000, 20, 8192)
  begin = time.perf_counter()
  data = _data(nodes, degree, size)
  prepared = time.perf_counter() - begin
  go = _epoch(data, 'ncn')
  begin = time.perf_counter()
  jax.block_until_ready(go())
  first = time.perf_counter() - begin
  begin = time.perf_counter()
  jax.block_until_ready(go())
  epoch = time.perf_counter() - begin
  edges = int(np.asarray(data.num_train)[0])
  held = sum(x.nbytes for x in jax.tree.leaves(data.known))
  rows = [
    _timing.fact('split and prepared on the host', prepared, 's'),
    _timing.fact('first epoch, compilation included', first, 's'),
    _timing.fact('an epoch', epoch, 's'),
    _timing.fact('a step', 1e3 * epoch / data.num_steps, 'ms'),
    _timing.fact('training links in a second', edges / epoch, ''),
    _timing.fact('graph and rows', held / 2**20, 'MiB'),
  ]
  return (
    f'### Link prediction: NCN on {nodes:,} nodes, {edges:,} training links, '
    f'{data.num_steps} steps of {size}\n\n' + _timing.table(rows)
  )


def completion_memory(*, quick: bool = False) -> list[str]:
  """Memory of a step of NCNC, by how many neighbors are completed.

  Args:
    quick: whether sizes are small.

  Returns:
    A section of Markdown.
  """
  nodes, degree, size = (2_000, 20, 64) if quick else (20_000, 60, 512)
  data = _data(nodes, degree, size)
  adjacency, x = data.of(0)
  rows = []
  for label, predictor in (
    ('NCN', 'ncn'),
    ('NCNC, all neighbors', COMPLETED.format(more='')),
    (
      'NCNC, all, 32 pairs at a time',
      COMPLETED.format(more=', split_size=32'),
    ),
    ('NCNC, 16 drawn', COMPLETED.format(more=', sample_train=16')),
    ('NCNC, 4 drawn', COMPLETED.format(more=', sample_train=4')),
  ):
    task = links.link_task('mpnn(32)', predictor, adjacency, x)
    params = jax.jit(task.init)(jax.random.key(0))
    pairs = jnp.zeros((size, 2), jnp.int32).at[:, 1].set(1)
    batch = {'positive': pairs, 'negative': pairs}
    step = lambda params, batch, key, task=task: jax.grad(task.loss)(
      params, batch, key=key
    )
    used = _timing.memory(step, params, batch, jax.random.key(1))
    rows.append(
      {
        'a step and its gradient': label,
        'temporaries, MiB': _timing.digits(used['temporaries'] / 2**20),
      }
    )
  most = adjacency.max_degree
  return [
    f'### Link prediction: memory of completion, {nodes:,} nodes of up to '
    f'{most} neighbors, {size} links and {size} others in a step\n\n'
    + _timing.table(rows)
  ]
