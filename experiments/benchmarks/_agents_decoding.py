# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of agents: acting one after another, on a graph."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import _timing
from jaxdl import agents
from jaxdl.agents import commformer
from jaxdl.networks import functional

# Times faster than a full pass for each agent, by the number of agents.
TARGETS = {3: None, 5: None, 10: 2.0, 27: 4.0}


def _game(num_agents):
  return agents.make_game(
    f'simple_spread(num_agents={num_agents}, seen=partial)'
  )


def decoding(
  *, num_envs: int = 32, dim: int = 64, quick: bool = False
) -> list[dict[str, str]]:
  """Times acting with keys and values that are kept, and without.

  Args:
    num_envs: games side by side.
    dim: D.
    quick: whether numbers are small.

  Returns:
    A line for each number of agents.
  """
  rounds, rows = (3, []) if quick else (15, [])
  for n, target in TARGETS.items():
    if quick and n > 5:
      continue
    env, fns, found = _game(n), {}, []
    for way in ('cached', 'recomputed'):
      made = commformer.former(env, 'learned', dim=dim, decoding=way)
      params = made.policy.init(jax.random.key(0))
      seen, _ = env.reset_many(jax.random.key(1), num_envs)
      act = jax.jit(
        lambda params, seen, key, policy=made.policy: policy.act(
          params, {}, seen, jnp.ones(num_envs, bool), key=key
        )[1:3]
      )
      args = params, seen, jax.random.key(2)
      fns[f'{way}, {n} agents'] = lambda act=act, args=args: act(*args)
      found.append(np.asarray(act(*args)[1]))
    gap = np.abs(found[0] - found[1]).max()
    if gap > 1e-3:
      raise ValueError(f'log-probabilities differ by {gap} for {n} agents.')
    ours, rival = fns
    claim = _timing.Claim(ours, rival, faster=target)
    rows.append(claim.row(_timing.measure(fns, rounds=rounds)))
  return rows


def _naive(params, x, hard, table):
  """One head with embeddings of all pairs, f[B, N, N, D], as written."""
  n, size = x.shape[1:]
  query = functional.dense(params['query'], x)
  key, value = jnp.split(functional.dense(params['key_value'], x), 2, axis=-1)
  pairs = functional.dense(params['relation'], table[hard.astype(jnp.int32)])
  ra, rb = jnp.split(pairs, 2, axis=-1)
  scores = jnp.sum(
    (query[:, :, None] + ra[None]) * (key[:, None] + rb[None]), axis=-1
  )
  heard = (hard | jnp.eye(n, dtype=bool))[None]
  scores = jnp.where(heard, scores / math.sqrt(size), -1e9)
  weights = jax.nn.softmax(scores, axis=-1)
  return functional.dense(params['out'], weights @ value)


def attention(
  *, batch: int = 1024, dim: int = 64, quick: bool = False
) -> list[dict[str, str]]:
  """Times attention on a graph, forth and back, against all embeddings.

  Args:
    batch: games.
    dim: D.
    quick: whether numbers are small.

  Returns:
    A line for each number of agents.
  """
  batch, rounds = (32, 3) if quick else (batch, 9)
  rows = []
  leaves = commformer.attention_leaves(dim, relation=True)
  params = functional.draw(jax.random.key(0), leaves, jnp.float32)
  table = jax.random.normal(jax.random.key(1), (2, dim))
  for n in (5,) if quick else (5, 10, 27):
    x = jax.random.normal(jax.random.key(2), (batch, n, dim))
    graph = commformer.GRAPHS.make('random(seed=0)').fixed(n)
    links = commformer.fixed_links(jnp.asarray(graph), jnp.float32)
    ours = lambda p, x, links=links: commformer.relation_attention(
      p, x, x, links, table=table
    )
    hard = jnp.asarray(graph)
    naive = lambda p, x, hard=hard: _naive(p, x, hard, table)
    gap = np.abs(np.asarray(ours(params, x) - naive(params, x))).max()
    if gap > 1e-4:
      raise ValueError(f'attentions differ by {gap} for {n} agents.')
    fns = {}
    for name, fn in (('two embeddings', ours), ('all pairs', naive)):
      slope = jax.jit(
        jax.grad(lambda p, x, fn=fn: jnp.sum(fn(p, x) ** 2), (0, 1))
      )
      fns[f'{name}, {n} agents'] = lambda slope=slope, x=x: slope(params, x)
    claim = _timing.Claim(*fns, faster=1.0)
    rows.append(claim.row(_timing.measure(fns, rounds=rounds)))
  return rows
