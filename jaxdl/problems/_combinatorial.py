# SPDX-License-Identifier: Apache-2.0
"""Combinatorial problems, whose instances are drawn anew in every round."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import combinatorial as lib
from jaxdl.combinatorial import classical, oracles
from jaxdl.core import checks, keys, types
from jaxdl.problems import _combinatorial_rows

# What test instances are drawn with besides a seed, and solved with.
_TEST, _SOLVE = 1_000_003, 1_000_033


class CombinatorialTest(NamedTuple):
  """Held-out instances of S seeds, T each, and how they are solved.

  Attributes:
    family: the problem.
    size: n, nodes of a piece.
    num_starts: alpha.
    num_stages: r.
    chunk: instances that are solved at a time, or None.
    num_parts: specs that instances are drawn of; those of the first come first.
    instances: leaves [S, T, ...].
    references: float64[S, T], objectives of the oracle, or None.
    baselines: float64[S, T], objectives of the classical rule, or None.
    episode: how policies learn, for `combinatorial.dcr`.
    solve: `solve(params) -> (solutions, history f32[S, T, r + 1])`, params with
      leaves [S, ...].
    with_policies: `with_policies(divider=..., conqueror=..., start=...,
      **training) -> problem` gives the same batches and tests to other
      policies; `start` is a classical rule whose solutions tests start from in
      place of what the dividing policy constructs.
    solver: `solver(divider, conqueror, start)`, programs that solve instances
      of one seed and of all; variants of equal policies share them.
    rows: `rows(params)`, stage by stage, and places of a solution.
    file_rows: `file_rows(params, source, start=None)`, of an instance from
      `combinatorial.files`.
  """

  family: lib.CombinatorialProblem
  size: int
  num_starts: int
  num_stages: int
  chunk: int | None
  num_parts: int
  instances: Any
  references: np.ndarray | None
  baselines: np.ndarray | None
  episode: Any = None
  solve: Callable[..., Any] = lambda params: None
  with_policies: Callable[..., Any] = lambda **options: None
  solver: Callable[..., Any] = lambda *names: None
  rows: Callable[..., Any] = lambda params: []
  file_rows: Callable[..., Any] = lambda params, source, start=None: []


def combinatorial(
  spec: str | Sequence[str] = 'tsp',
  *,
  num_nodes: int = 100,
  size: int | None = None,
  divider: str = 'agnn',
  conqueror: str | None = None,
  training: Mapping[str, Any] | None = None,
  num_clients: int = 1,
  batch_size: int = 1,
  num_batches: int | None = None,
  num_test: int = 8,
  test_nodes: int | None = None,
  test_spec: str | Sequence[str] | None = None,
  num_starts: int = 1,
  num_stages: int = 10,
  baseline: str | None = 'greedy',
  oracle: str | None = None,
  chunk: int | None = None,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Instances of a combinatorial problem, for policies that learn to solve it.

  The task is to learn `combinatorial.make_policies`: its loss is the surrogate
  whose gradient is that of REINFORCE, so that any algorithm learns them,
  federated ones for instance; `combinatorial.dcr(problem.test.episode, ...)` is
  the method of the paper.

  Args:
    spec: a part of `combinatorial.PROBLEMS`, or some of one name: client c
      draws instances of the c-th, cyclically, so that clients may hold
      different distributions.
    num_nodes: N, a multiple of the size of a piece where the problem needs it.
    size: n, nodes of a piece; the problem's if None.
    divider: a part of `combinatorial.DIVIDERS`.
    conqueror: a part of `combinatorial.CONQUERORS`; the problem's if None.
    training: options of `combinatorial.make_episode`.
    num_clients: C.
    batch_size: B, instances of a client in a batch.
    num_batches: H, batches of a client in a round; None for one without an axis
      of its own.
    num_test: held-out instances of each of the specs.
    test_nodes: their nodes; N if None. Here any size will do.
    test_spec: what is tested on, like `spec` and by default that.
    num_starts: alpha of a test, see `combinatorial.solve`.
    num_stages: r of a test.
    baseline: a part of `combinatorial.classical.CLASSICAL` that is compared
      with, or None.
    oracle: a part of `combinatorial.oracles.ORACLES`, or None.
    chunk: test instances that are solved at a time; all if None.
    seeds: S seeds.

  Returns:
    The problem. It measures `objective`, `divided`, that before the first
    stage, and `feasible`, a share; `over_baseline` and `gap`, by how much the
    objective is worse than that of the baseline and of the oracle, mean
    fractions; `objective_0`, ..., where there are several specs. `test` is a
    `CombinatorialTest`.

  Raises:
    ValueError: if a part, an option or a size is wrong.

  Example:
    >>> problem = combinatorial(
    ...   'tsp', num_nodes=8, size=4, divider='agnn(width=4, depth=1)',
    ...   conqueror='icam(width=4, depth=1)', num_test=2, num_stages=1,
    ... )
    >>> params = jax.vmap(problem.task.init)(jax.random.key(0)[None])
    >>> sorted(problem.evaluate(params))
    ['divided', 'feasible', 'objective', 'over_baseline']
  """
  seeds = checks.seeds(seeds)
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.integer(num_nodes, name='num_nodes', low=1)
  for name, value in (('batch_size', batch_size), ('num_test', num_test)):
    checks.integer(value, name=name, low=1)
  checks.integer(num_starts, name='num_starts', low=1)
  checks.integer(num_stages, name='num_stages', low=0)
  for name, value in (('num_batches', num_batches), ('chunk', chunk)):
    if value is not None:
      checks.integer(value, name=name, low=1)
  families = make_families(spec)
  tested = families if test_spec is None else make_families(test_spec)
  problem = families[0]
  if tested[0].name != problem.name:
    raise ValueError(
      f'test_spec={test_spec!r} must be of the problem {problem.name}; got '
      f'{tested[0].name}.'
    )
  size = problem.piece_size if size is None else size
  problem.sizes(num_nodes, size)
  if baseline is not None:
    classical.check_baseline(baseline, problem)
  if oracle is not None:
    oracles.check_oracle(oracle, problem)
  test_nodes = num_nodes if test_nodes is None else test_nodes
  if checks.integer(test_nodes, name='test_nodes', low=1) < size:
    raise ValueError(
      f'test_nodes={test_nodes} leaves no piece: need size={size} at least.'
    )
  instances = _drawn_tests(tested, seeds, num_test, test_nodes)
  references, baselines = (
    None if rule is None else _objectives(solve, rule, problem, instances)
    for solve, rule in ((_by_oracle, oracle), (_by_rule, baseline))
  )

  def cohort(key, data, round):
    del data
    ids = jnp.arange(n, dtype=jnp.int32)
    own = keys.client_keys(jax.random.fold_in(key, round), ids)
    shape = (batch_size,) if num_batches is None else (num_batches, batch_size)

    def draw(family, key):
      flat = jax.random.split(key, int(np.prod(shape)))
      made = jax.vmap(lambda k: family.generate(k, num_nodes))(flat)
      return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), made)

    if len(families) == 1:
      drawn = jax.vmap(lambda k: draw(problem, k))(own)
    else:
      each = [draw(families[c % len(families)], own[c]) for c in range(n)]
      drawn = jax.tree.map(lambda *xs: jnp.stack(xs), *each)
    return types.Cohort(
      client_ids=ids,
      data=drawn,
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  test = CombinatorialTest(
    family=problem,
    size=size,
    num_starts=num_starts,
    num_stages=num_stages,
    chunk=chunk,
    num_parts=len(tested),
    instances=instances,
    references=references,
    baselines=baselines,
  )
  blank = types.Problem(
    task=types.Task(lambda key: {}, _untaught, lambda params, batch: {}),
    data={'seed': jnp.asarray(seeds, jnp.uint32)},
    cohort=cohort,
    evaluate=lambda params: {},
    seeds=seeds,
    num_clients=n,
    metric='objective' if references is None else 'gap',
    ylabel='Mean objective' if references is None else 'Mean gap to the oracle',
    one_by_one=jax.default_backend() == 'cpu',
    test=test._replace(
      solver=functools.cache(functools.partial(_solver, test))
    ),
  )
  made = functools.partial(_with_policies, blank)
  return made(divider=divider, conqueror=conqueror, **dict(training or {}))


def _with_policies(
  problem, *, divider='agnn', conqueror=None, start=None, **training
):
  """The problem with other policies; see `CombinatorialTest`."""
  old: CombinatorialTest = problem.test
  family, size = old.family, old.size
  policies = lib.make_policies(family, divider=divider, conqueror=conqueror)
  episode = lib.make_episode(family, policies, **({'size': size} | training))

  of_seed, solve_seeds = old.solver(divider, conqueror, start)
  rate = jax.jit(jax.vmap(jax.vmap(family.feasible)))
  everywhere = np.arange(len(problem.seeds))

  def measured(params, places):
    """Metrics of models, each of which solves the instances of a seed."""
    own = jax.tree.map(lambda x: x[places], old.instances)
    solutions, history = solve_seeds(params, own)
    share = np.asarray(rate(own, solutions)).mean(axis=1)
    return _measured(old, np.asarray(history, np.float64), share, places)

  def evaluate_clients(params):
    clients = jax.tree.leaves(params)[0].shape[1]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), params)
    found = measured(flat, np.repeat(everywhere, clients))
    return {
      name: value.reshape(-1, clients).mean(axis=1)
      for name, value in found.items()
    }

  def loss(params, batch, *, key=None):
    key = jax.random.key(0) if key is None else key
    return lib.surrogate(episode, params, batch, key=key)

  def evaluate_batch(params, batch):
    drawn = {k: v for k, v in batch.items() if k != 'mask'}
    _, history = of_seed(params, drawn)
    real = batch.get('mask', jnp.ones(history.shape[:1], bool))
    total = jnp.sum(jnp.where(real, history[:, -1], 0))
    return {'objective': total / jnp.maximum(jnp.sum(real), 1)}

  test = old._replace(
    episode=episode,
    solve=lambda params: solve_seeds(params, old.instances),
    with_policies=functools.partial(_with_policies, problem),
    rows=lambda params: _combinatorial_rows.stage_rows(
      test, params, problem.seeds
    ),
    file_rows=lambda params, source, start=None: _combinatorial_rows.file_rows(
      test, params, problem.seeds, source, start
    ),
  )
  return problem.replace(
    task=types.Task(
      lambda key: lib.init_params(key, family, policies, size=size),
      loss,
      evaluate_batch,
    ),
    evaluate=lambda params: measured(params, everywhere),
    evaluate_clients=evaluate_clients,
    test=test,
  )


def _solver(test, divider, conqueror, start):
  """Solves instances of a seed, and of all seeds in one program."""
  family, size = test.family, test.size
  policies = lib.make_policies(family, divider=divider, conqueror=conqueror)

  def solved(params, instance, key):
    first = None
    if start is not None:
      first = classical.baseline(start, family, instance)
    return lib.solve(
      family,
      policies,
      params,
      instance,
      key,
      size=size,
      num_starts=test.num_starts,
      num_stages=test.num_stages,
      start=first,
    )

  def of_seed(params, instances):
    count = jax.tree.leaves(instances)[0].shape[0]
    own = jax.random.split(jax.random.key(_SOLVE), count)
    return jax.lax.map(
      lambda both: solved(params, *both),
      (instances, own),
      batch_size=min(count, test.chunk or count),
    )

  solve_seeds = jax.jit(
    lambda params, instances: jax.lax.map(
      lambda both: of_seed(*both), (params, instances)
    )
  )
  return of_seed, solve_seeds


def _measured(test, history, feasible, places):
  """Metrics f[M] of histories [M, T, r + 1] of the seeds at `places`."""
  ends = history[..., -1]
  found = {
    'objective': ends.mean(axis=1),
    'divided': history[..., 0].mean(axis=1),
    'feasible': feasible,
  }
  sign = -1 if test.family.maximize else 1
  others = {'over_baseline': test.baselines, 'gap': test.references}
  for name, other in others.items():
    if other is not None:
      than = other[places]
      # Where there is nothing to win it is the difference itself.
      found[name] = (sign * (ends - than) / np.where(than, than, 1)).mean(
        axis=1
      )
  parts = np.split(ends, test.num_parts, axis=1)
  if len(parts) > 1:
    for k, part in enumerate(parts):
      found[f'objective_{k}'] = part.mean(axis=1)
  return found


def _untaught(params, batch, *, key=None):
  """The loss of a problem without policies."""
  del params, batch, key
  return jnp.zeros(())


def make_families(
  spec: str | Sequence[str],
) -> list[lib.CombinatorialProblem]:
  """Makes problems of one name that differ in what is drawn.

  Args:
    spec: one, or some.

  Returns:
    The problems.

  Raises:
    ValueError: if there is none or they have different names.
  """
  specs = (spec,) if isinstance(spec, str) else tuple(spec)
  if not specs:
    raise ValueError('spec is empty: name a problem.')
  found = [lib.make_problem(s) for s in specs]
  names = {problem.name for problem in found}
  if len(names) > 1:
    raise ValueError(
      f'spec must name one problem, drawn in one or more ways; got {specs}.'
    )
  return found


def _drawn_tests(families, seeds, num_test, num_nodes):
  """Instances, leaves [S, T, ...]."""

  def draw(seed):
    key = jax.random.fold_in(jax.random.key(seed), _TEST)
    own = jax.random.split(key, (len(families), num_test))
    parts = [
      jax.vmap(lambda k, f=family: f.generate(k, num_nodes))(own[i])
      for i, family in enumerate(families)
    ]
    return jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)

  drawn = [draw(seed) for seed in seeds]
  return jax.tree.map(lambda *xs: jnp.stack(xs), *drawn)


def _objectives(solve, rule, problem, instances):
  """Objectives float64[S, T] of another solver, on the host."""
  shape = jax.tree.leaves(instances)[0].shape[:2]
  out = np.zeros(shape)
  held = jax.device_get(instances)
  for i in np.ndindex(*shape):
    instance = jax.tree.map(lambda x, i=i: x[i], held)
    out[i] = solve(rule, problem, instance)
  return out


def _by_oracle(rule, problem, instance):
  return oracles.oracle(rule, problem, instance).objective


def _by_rule(rule, problem, instance):
  instance = jax.tree.map(jnp.asarray, instance)
  solution = classical.baseline(rule, problem, instance)
  return float(problem.objective(instance, solution))
