# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of combinatorial optimization: one stage."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import _timing
from jaxdl import combinatorial
from jaxdl.combinatorial import _rollout, _search

# One program for all pieces against a loop over pieces, at least.
FASTER = 20.0


def _setting(num_nodes, size, num_starts, spec):
  """An instance, tours to improve, and a conquering policy."""
  family = combinatorial.make_problem('tsp')
  policies = combinatorial.make_policies(
    family, divider='uniform', conqueror=spec
  )
  params = combinatorial.init_params(
    jax.random.key(0), family, policies, size=size
  )['conqueror']
  instance = family.generate(jax.random.key(1), num_nodes)
  rng = np.random.default_rng(0)
  orders = np.stack([rng.permutation(num_nodes) for _ in range(num_starts)])
  tours = combinatorial.Tour(jnp.asarray(orders, jnp.int32))
  return family, policies.conqueror, params, instance, tours


def _programs(family, conqueror, params, instance, tours, size):
  """The stage as one program, and as two loops over the same pieces."""
  keys = jax.random.split(jax.random.key(2), tours.order.shape[0])

  @jax.jit
  def whole(params, instance, tours):
    shifts = jnp.full(len(keys), size // 2)
    return _search.conquer_all(
      family, conqueror, params, instance, tours, shifts, keys, size=size
    )

  @jax.jit
  def cut(instance, tours):
    return jax.vmap(
      lambda tour: family.split(instance, tour, size, size // 2, keys[0])
    )(tours)

  def solved(params, piece):
    paths, _ = _rollout.rollouts(
      family,
      conqueror,
      params,
      piece,
      keys[0],
      size=size,
      num_rollouts=2,
      greedy=True,
    )
    now = family.solve.current(piece)
    every = jnp.concatenate([now[None], paths])
    values = jax.vmap(lambda path: family.solve.value(piece, path))(every)
    return every[jnp.argmin(values)]

  one = jax.jit(solved)

  @jax.jit
  def joined(instance, rolled, pieces, paths):
    return jax.vmap(
      lambda r, p, c: family.merge(instance, r, p, c)
    )(rolled, pieces, paths)  # fmt: skip

  def loop():
    """A program for one piece, called for each."""
    pieces, rolled = cut(instance, tours)
    count, parts = pieces['points'].shape[:2]
    paths = [
      one(params, jax.tree.map(lambda x, i=i, k=k: x[i, k], pieces))
      for i in range(count)
      for k in range(parts)
    ]
    paths = jnp.stack(paths).reshape(count, parts, size)
    return joined(instance, rolled, pieces, paths)

  encode = jax.jit(
    lambda params, piece: conqueror.encode(
      params, *family.solve.inputs(piece), key=keys[0]
    )
  )

  @jax.jit
  def decide(params, piece, memory, state):
    logits = conqueror.decode(
      params, memory, family.solve.context(piece, state)
    )
    action = jnp.argmax(logits).astype(jnp.int32)
    return family.solve.move(piece, state, action), action

  def by_decisions(piece):
    """Programs for one decision of one rollout of one piece."""
    memory = encode(params, piece)
    paths = []
    for reverse in (False, True):
      state, actions = family.solve.start(piece, reverse), []
      for _ in range(family.solve.num_steps(size)):
        state, action = decide(params, piece, memory, state)
        actions.append(action)
      paths.append(family.solve.finish(piece, state, jnp.stack(actions)))
    return paths

  return functools.partial(whole, params, instance, tours), loop, by_decisions


def stage_time(*, quick: bool = False) -> list[str]:
  """One conquering stage as one program against loops over pieces.

  The second loop also leaves the decisions to Python, as an implementation
  without a program of its own does; it is measured on one piece and its time
  multiplied by their number.

  Args:
    quick: whether sizes are small.

  Returns:
    Sections of Markdown.
  """
  num_nodes, size, num_starts = (100, 20, 4) if quick else (1000, 100, 50)
  specs = ('icam(width=8, depth=1, hidden=8)',)
  if not quick:
    specs = ('icam(width=16, depth=1, hidden=32)', 'icam')
  out = []
  for spec in specs:
    made = _setting(num_nodes, size, num_starts, spec)
    family, *_, instance, tours = made
    whole, loop, by_decisions = _programs(*made, size)
    lengths = [
      jax.vmap(lambda t, f=family, i=instance: f.objective(i, t))(run())
      for run in (whole, loop)
    ]
    if not np.allclose(*lengths, rtol=1e-3):
      raise ValueError('the program and the loop differ: not timed.')
    pieces, _ = family.split(
      instance, jax.tree.map(lambda x: x[0], tours), size, 0, jax.random.key(0)
    )
    piece = jax.tree.map(lambda x: x[0], pieces)
    times = _timing.measure(
      {
        'one program': whole,
        'a loop over pieces': loop,
        'one piece, decision by decision': functools.partial(
          by_decisions, piece
        ),
      },
      rounds=3,
    )
    count = num_nodes // size * num_starts
    program, looped, single = (float(np.median(t)) for t in times.values())
    lines = [
      _timing.fact('one program', program, 'ms'),
      _timing.fact('a loop over pieces', looped, 'ms'),
      _timing.fact('a loop over pieces, against it', looped / program, 'x'),
      _timing.fact(
        f'{count} pieces, decision by decision', count * single, 'ms'
      ),
      _timing.fact(
        'one program, against decision by decision',
        program / (count * single),
        'x',
        below=1 / FASTER,
      ),
    ]
    out.append(
      f'### A conquering stage: {num_nodes} nodes, pieces of {size}, '
      f'{num_starts} starts, `{spec}`\n\n{_timing.table(lines)}'
    )
  return out


def against_torch(python: str, *, quick: bool = False) -> list[str]:
  """The same stage, network and sizes in PyTorch.

  Args:
    python: interpreter of an environment that has it.
    quick: whether sizes are small.

  Returns:
    Sections of Markdown.
  """
  sizes = {'nodes': 1000, 'size': 100, 'starts': 50}
  if quick:
    sizes = {'nodes': 100, 'size': 20, 'starts': 4}
  num_nodes, size, num_starts = sizes.values()
  made = _setting(num_nodes, size, num_starts, 'icam')
  whole, *_ = _programs(*made, size)
  times = _timing.measure({'one program': whole}, rounds=3)
  found = _timing.elsewhere(
    python, '_combinatorial_peers', 'stage', threads=_timing.threads(), **sizes
  )
  ours = times.ms('one program')
  count = num_nodes // size * num_starts
  batched, loop = found['batched'], found['loop']
  lines = [
    _timing.fact('one program', ours, 'ms'),
    _timing.fact('PyTorch, all pieces in a batch', batched['ms'], 'ms'),
    _timing.fact('of it', batched['ms'] / ours, 'x ours'),
    _timing.fact(
      f'PyTorch, a loop over {count} pieces',
      loop['ms'] * count / loop['pieces'],
      'ms',
    ),
    _timing.fact('of it', loop['ms'] * count / loop['pieces'] / ours, 'x ours'),
  ]
  return [
    f'### A conquering stage in PyTorch: {num_nodes} nodes, pieces of {size}, '
    f'{num_starts} starts, `icam`, {found["versions"]}\n\n'
    + _timing.table(lines)
  ]
