# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of combinatorial optimization: how good tours are."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks import _timing
from jaxdl import combinatorial, experiment, problems
from jaxdl.combinatorial import classical, oracles

SIZE = 20
STAGES = (0, 1, 2, 5, 10, 20, 50)


def trained(num_nodes: int, *, num_rounds: int):
  """Policies of the traveling salesman.

  Args:
    num_nodes: of the tours they are trained on.
    num_rounds: steps of training.

  Returns:
    Problem, policies, their parameters, and seconds of training.
  """
  options = {
    'divider': 'agnn(width=32, depth=3, num_neighbors=20)',
    'conqueror': 'icam(width=32, depth=2, hidden=64)',
  }
  problem = problems.combinatorial(
    'tsp',
    num_nodes=num_nodes,
    size=SIZE,
    training={'num_samples': 8, 'num_rollouts': 8},
    batch_size=1,
    num_test=1,
    num_stages=0,
    **options,
  )
  algorithm = combinatorial.dcr(
    problem.test.episode, optimizer=optax.adam(1e-3)
  )
  begin = time.perf_counter()
  state, _ = experiment.train(
    algorithm,
    problem,
    num_rounds=num_rounds,
    key=jax.random.key(0),
    eval_every=num_rounds,
  )
  seconds = time.perf_counter() - begin
  policies = combinatorial.make_policies(problem.test.family, **options)
  return problem.test.family, policies, algorithm.params(state), seconds


def gaps(*, quick: bool = False) -> list[str]:
  """Gaps to LKH, stage by stage, besides those of rules and of OR-tools.

  Args:
    quick: whether instances are small and policies hardly learn.

  Returns:
    Sections of Markdown.
  """
  made = trained(40, num_rounds=3) if quick else trained(100, num_rounds=1200)
  sizes = ((40, 2),) if quick else ((100, 8), (500, 4))
  return [_gaps_of(*size, made, quick=quick) for size in sizes]


def _gaps_of(num_nodes, count, made, *, quick):
  """A section: instances of some nodes, solved by what was trained."""
  family, policies, params, seconds = made
  stages = 5 if quick else max(STAGES)
  keys = jax.random.split(jax.random.key(1), count)
  instances = [family.generate(key, num_nodes) for key in keys]
  best = np.array(
    [oracles.oracle('elkai', family, i).objective for i in instances]
  )
  solve = jax.jit(
    lambda params, instance, key, start=None: combinatorial.solve(
      family,
      policies,
      params,
      instance,
      key,
      size=SIZE,
      num_starts=4 if quick else 16,
      num_stages=stages,
      start=start,
    )[1]
  )
  found = np.array(
    [solve(params, i, k) for i, k in zip(instances, keys, strict=True)]
  )
  run = functools.partial(solve, params, instances[0], keys[0])
  ms = _timing.measure({'solve': run}, rounds=3).ms('solve')
  lines = [
    _timing.fact(
      f'policies, {number} stages',
      float(100 * (found[:, number] / best - 1).mean()),
      '% above LKH',
    )
    for number in STAGES
    if number <= stages
  ]
  for label, rule in (
    ('nearest neighbor', 'nearest_neighbor'),
    ('farthest insertion', 'farthest_insertion'),
    ('2-opt of it', 'two_opt(start=farthest_insertion)'),
  ):
    lines.append(
      _gap(label, best, [_length(family, rule, i) for i in instances])
    )
  inserted = [
    classical.baseline('farthest_insertion', family, i) for i in instances
  ]
  rows = zip(instances, keys, inserted, strict=True)
  repaired = [float(solve(params, *row)[-1]) for row in rows]
  lines.append(_gap(f'{stages} stages of insertion', best, repaired))
  limit = 1 if quick else 10
  lines.append(
    _gap(
      f'OR-tools, {limit} s',
      best,
      [
        oracles.oracle(
          f'ortools(time_limit={float(limit)})', family, i
        ).objective
        for i in instances
      ],
    )
  )
  lines.append(_timing.fact(f'{stages} stages', ms, 'ms'))
  head = (
    f'### Gaps of {count} instances of {num_nodes} nodes, pieces of {SIZE}, '
    f'after {seconds:.0f} s of training on 100 nodes'
  )
  return f'{head}\n\n{_timing.table(lines)}'


def large(*, quick: bool = False) -> list[str]:
  """Time and memory of whole solutions against nodes.

  Args:
    quick: whether instances are small.

  Returns:
    Sections of Markdown.
  """
  family = combinatorial.make_problem('tsp')
  policies = combinatorial.make_policies(
    family,
    divider='agnn(width=32, depth=3, num_neighbors=20)',
    conqueror='icam(width=32, depth=2, hidden=64)',
  )
  params = combinatorial.init_params(
    jax.random.key(0), family, policies, size=100
  )
  lines, peaks = [], []
  for num_nodes in (200, 400) if quick else (1000, 10_000):
    instance = family.generate(jax.random.key(1), num_nodes)
    run = jax.jit(
      lambda params, instance, key: combinatorial.solve(
        family, policies, params, instance, key, size=100, num_stages=2
      )[1]
    )
    peak = _timing.memory(run, params, instance, jax.random.key(2))['peak']
    begin = time.perf_counter()
    history = run(params, instance, jax.random.key(2))
    ok = bool(jnp.all(jnp.isfinite(history)))
    seconds = time.perf_counter() - begin
    if not ok:
      raise ValueError('a length is not finite.')
    peaks.append(peak)
    lines += [
      _timing.fact(f'{num_nodes} nodes, memory', peak / 2**20, 'MiB'),
      _timing.fact(f'{num_nodes} nodes, with compilation', seconds, 's'),
    ]
  ratio = 2 if quick else 10
  lines.append(
    _timing.fact(
      f'memory of {ratio} times as many nodes',
      peaks[1] / peaks[0],
      'x',
      below=1.3 * ratio,
    )
  )
  return [
    '### Whole solutions, one start, 2 stages, 20 neighbors\n\n'
    + _timing.table(lines)
  ]


def _length(family, rule, instance):
  solution = classical.baseline(rule, family, instance)
  return float(family.objective(instance, solution))


def _gap(label, best, lengths):
  gap = 100 * (np.array(lengths) / best - 1).mean()
  return _timing.fact(label, float(gap), '% above LKH')
