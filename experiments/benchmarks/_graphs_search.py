# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of graphs: architectures trained per minute."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import _timing
from jaxdl import problems
from jaxdl.graphs import search

FASTER = 5
SPACE = 'agnn(hidden=(4, 8, 16, 32), heads=(1, 2, 4))'


def _problem(num_nodes):
  return problems.graphs.architectures(
    f'block_model(num_nodes={num_nodes}, p_in=0.05, p_out=0.01, '
    f'features=one_hot, train=10, validation={num_nodes // 4})',
    space=SPACE,
  )


def _own_program(trainer, key, table):
  """Trains the network of one table, compiled for it alone."""
  children, task = trainer.children, trainer.task
  network = children.network(table, dropout=trainer.dropout)
  optimizer = trainer.optimizer
  graph, x = task.graph, task.features

  def loss(params, key):
    outputs = network.apply(params, graph, x, train=True, key=key)
    return search.node_loss(outputs, task.labels, task.train)

  def epoch(number, carry):
    params, memory, low, score = carry
    slope = jax.grad(loss)(params, jax.random.fold_in(key, number))
    change, memory = optimizer.update(slope, memory, params)
    params = jax.tree.map(jnp.add, params, change)
    outputs = network.apply(params, graph, x)
    held = search.node_loss(outputs, task.labels, task.validation)
    new = search.node_score(outputs, task.labels, task.validation)
    score = jnp.where(held < low, new, score)
    return params, memory, jnp.minimum(held, low), score

  @jax.jit
  def run(key):
    params = network.init(key, graph, x)
    start = params, optimizer.init(params), jnp.inf, jnp.zeros(())
    return jax.lax.fori_loop(0, trainer.num_epochs, epoch, start)[-1]

  return run(key)


def _seconds(fn):
  begin = time.perf_counter()
  jax.block_until_ready(fn())
  return time.perf_counter() - begin


def architectures_per_minute(*, quick: bool = False) -> list[str]:
  """One padded program for all architectures against one for each.

  Every turn trains architectures that nobody has seen; programs of single ones
  are compiled in it, as a search would, without a cache on disk.

  Args:
    quick: whether sizes are small.

  Returns:
    Sections of Markdown.
  """
  nodes, epochs, together, turns = (80, 5, 2, 2) if quick else (400, 40, 8, 4)
  alone = 1 if quick else 2
  problem = _problem(nodes)
  options = {'num_epochs': epochs, 'num_tables': together}
  names = {'one program, in turn': 1, 'one program, side by side': together}
  trainers = {
    name: problem.trainer(chunk=chunk, **options)
    for name, chunk in names.items()
  }
  each = 'a program each'
  times = _timing.Times({name: [] for name in (*names, each)})
  first, key = {}, jax.random.key(0)
  kept = jax.config.jax_enable_compilation_cache
  jax.config.update('jax_enable_compilation_cache', False)
  try:
    for turn in range(turns + 1):
      draw, train = jax.random.split(jax.random.fold_in(key, turn))
      tables = np.asarray(
        search.random_tables(
          draw, problem.space, problem.num_layers, (together,)
        )
      )
      for name, trainer in trainers.items():
        spent = _seconds(lambda t=trainer, k=train, x=tables: t(k, x)[0])
        if turn:
          times[name].append(1e3 * spent / together)
        else:
          first[name] = spent
      own = trainers[next(iter(names))]
      run = lambda k=train, x=tables, own=own: [
        _own_program(own, k, table) for table in x[:alone]
      ]
      if turn:
        times[each].append(1e3 * _seconds(run) / alone)
  finally:
    jax.config.update('jax_enable_compilation_cache', kept)
  claims = [
    _timing.Claim('one program, in turn', each, faster=FASTER),
    _timing.Claim('one program, side by side', each, faster=FASTER),
    _timing.Claim('one program, in turn', 'one program, side by side'),
  ]
  rate = ', '.join(
    f'{_timing.digits(6e4 / times.ms(name))} {name}' for name in times
  )
  compiled = ', '.join(f'{_timing.digits(s)} s {n}' for n, s in first.items())
  return [
    f'### Architectures of two layers, {nodes} nodes, {epochs} epochs each\n\n'
    f'{_timing.table([c.row(times) for c in claims])}\n\nMilliseconds per '
    f'architecture. Per minute: {rate}. Once before, compiling and {together} '
    f'architectures: {compiled}.'
  ]


if __name__ == '__main__':
  for section in architectures_per_minute():
    print(section)
  print(_timing.conditions([_timing.load()]))
