# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts against the dense layer that they are cut from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import _timing
from jaxdl.perception import experts

WIDTH, HIDDEN, TOTAL, TOP_K, TOKENS = 256, 2048, 16, 2, 900


def _setting(quick):
  """A layer, its experts with routers that are untied, and tokens."""
  hidden = 512 if quick else HIDDEN
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(
    rng.normal(size=shape) / np.sqrt(shape[0]), jnp.float32
  )
  ffn = {
    'in': {'kernel': draw(WIDTH, hidden), 'bias': draw(hidden)},
    'out': {'kernel': draw(hidden, WIDTH), 'bias': draw(WIDTH)},
  }
  moe = experts.split_ffn(ffn, num_replicas=TOTAL // TOP_K, num_slices=TOP_K)
  moe['router'] = jnp.asarray(rng.normal(size=(TOTAL, WIDTH)), jnp.float32)
  x = jnp.asarray(rng.normal(size=(TOKENS, WIDTH)), jnp.float32)
  return ffn, moe, x


def _lax_ragged(moe, x):
  """The same with `jax.lax.ragged_dot`, as it is on CPU."""
  routed = experts.route(x, moe['router'], top_k=TOP_K)
  flat = routed.idx.reshape(-1)
  order = jnp.argsort(flat, stable=True)
  sizes = experts.usage(routed.idx, TOTAL)
  expert = flat[order]
  dot = lambda rows, layer: (
    jax.lax.ragged_dot(rows, layer['kernel'], sizes) + layer['bias'][expert]
  )
  h = jax.nn.relu(dot(x[order // TOP_K], moe['in']))
  y = dot(h, moe['out']) * routed.gates.reshape(-1)[order][:, None]
  return jnp.zeros_like(x).at[order // TOP_K].add(y)


def _floor(moe, x):
  """Dense products of equal shares of the rows with all experts, no router."""
  rows = x.shape[0] * TOP_K // TOTAL
  x = jnp.tile(x, (TOP_K, 1))[: rows * TOTAL].reshape(TOTAL, rows, -1)

  def one(args):
    x, first, second = args
    h = jax.nn.relu(x @ first['kernel'] + first['bias'][None])
    return h @ second['kernel'] + second['bias'][None]

  return jax.lax.map(one, (x, moe['in'], moe['out']))


def contenders(*, quick: bool = False):
  """Forward passes and gradients by name.

  Args:
    quick: a narrower layer.

  Returns:
    Dict of calls without arguments.
  """
  ffn, moe, x = _setting(quick)
  apply = lambda how: (
    lambda moe, x: experts.moe_apply(moe, x, top_k=TOP_K, implementation=how)[0]
  )
  forward = {
    'dense layer': (experts.feed_forward, ffn),
    'experts, sorted': (apply('ragged'), moe),
    'experts, all of them': (apply('dense'), moe),
    'experts, lax.ragged_dot': (_lax_ragged, moe),
    'equal shares, no router': (_floor, moe),
  }
  calls = {}
  for name, (fn, params) in forward.items():
    calls[name] = functools.partial(jax.jit(fn), params, x)
    if name in ('dense layer', 'experts, sorted', 'experts, all of them'):
      loss = lambda params, x, fn=fn: jnp.sum(jnp.square(fn(params, x)))
      slope = jax.jit(jax.grad(loss, argnums=(0, 1)))
      calls[f'{name}, gradient'] = functools.partial(slope, params, x)
  return calls


def rows(*, rounds: int = 9, quick: bool = False) -> list[dict[str, str]]:
  """Times one layer at equal active parameters.

  Args:
    rounds: turns of every contender.
    quick: a narrower layer.

  Returns:
    A row per comparison.
  """
  times = _timing.measure(contenders(quick=quick), rounds=rounds)
  claims = (
    _timing.Claim('experts, sorted', 'dense layer', within=1.15),
    _timing.Claim('equal shares, no router', 'dense layer'),
    _timing.Claim('experts, sorted', 'experts, all of them', faster=2.0),
    _timing.Claim('experts, sorted', 'experts, lax.ragged_dot', faster=2.0),
    _timing.Claim('experts, sorted, gradient', 'dense layer, gradient'),
    _timing.Claim(
      'experts, sorted, gradient', 'experts, all of them, gradient', faster=2.0
    ),
  )
  return [claim.row(times) for claim in claims]
