# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of theories: epochs of grokking."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import _timing
from jaxdl.theory import grokking

ADAM = 'adam(0.001, weight_decay=0.0002)'


def _epoch(order, hidden, seeds, *, turns=False):
  """An epoch of several networks, which goes on from its own state."""
  data = grokking.make_data(f'cyclic({order})', 'fraction(0.4)', seeds=seeds)
  method = grokking.make_method('trained', order, hidden=hidden, optimizer=ADAM)
  algorithm = method.algorithm
  key = jax.random.key(0)

  def one(state, examples):
    cohort = data.cohort(key, examples, 1)
    return algorithm.step(state, cohort, key=key)[0]

  several = lambda *args: jax.lax.map(lambda pair: one(*pair), args)
  run = one if len(seeds) == 1 else several if turns else jax.vmap(one)
  init, examples = algorithm.init, data.train
  if len(seeds) == 1:
    examples = jax.tree.map(lambda x: x[0], examples)
    held = [jax.jit(init)(key)]
  else:
    held = [jax.jit(jax.vmap(init))(jax.random.split(key, len(seeds)))]
  step = jax.jit(run, donate_argnums=0)

  def go():
    held[0] = step(held[0], examples)
    return held[0].params

  return go


def _products(order, hidden):
  """The products of an epoch: with one-hot inputs, and without."""
  data = grokking.make_data(f'cyclic({order})', 'fraction(0.4)')
  inputs = np.asarray(data.train['inputs'][0])
  n = len(inputs)
  x = np.concatenate([np.eye(order)[inputs[:, i]] for i in (0, 1)], axis=1)
  x = jnp.asarray(x, jnp.float32)
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  w, v = draw(2 * order, hidden), draw(hidden, order)
  f, g, h = draw(n, hidden), draw(n, order), draw(n, hidden)
  top = jax.jit(lambda f, v, g: (f @ v, g @ v.T, f.T @ g))
  below = jax.jit(lambda x, w, h: (x @ w, x.T @ h))

  def every():
    return top(f, v, g), below(x, w, h)

  return every, functools.partial(top, f, v, g)


def grokking_epochs(*, quick: bool = False) -> list[str]:
  """An epoch against its matrix products; many seeds against one.

  Args:
    quick: whether sizes are small.

  Returns:
    Sections of Markdown.
  """
  order, hidden, count = (23, 64, 4) if quick else (71, 2048, 16)
  rounds = 3 if quick else 7
  every, top = _products(order, hidden)
  whole, bare = 'an epoch', 'its five products'
  fns = {
    whole: _epoch(order, hidden, (0,)),
    bare: every,
    'its three products without one-hot inputs': top,
  }
  times = _timing.measure(fns, rounds=rounds)
  claims = [
    _timing.Claim(whole, bare, within=1.3),
    _timing.Claim(whole, 'its three products without one-hot inputs'),
  ]
  first = (
    f'### Grokking: an epoch modulo {order}, 40 % of the pairs, {hidden} '
    'nodes\n\n' + _timing.table([c.row(times) for c in claims])
  )
  hidden = 64 if quick else 512
  side = f'{count} seeds by vmap'
  turns = f'{count} seeds in turns'
  alone = 'a seed alone'
  seeds = tuple(range(count))
  fns = {
    side: _epoch(order, hidden, seeds),
    turns: _epoch(order, hidden, seeds, turns=True),
    alone: _epoch(order, hidden, (0,)),
  }
  times = _timing.measure(fns, rounds=rounds)
  claims = [_timing.Claim(x, alone, within=count) for x in (side, turns)]
  second = (
    f'### Grokking: many seeds, modulo {order}, {hidden} nodes\n\n'
    + _timing.table([c.row(times) for c in claims])
  )
  return [first, second]
