# SPDX-License-Identifier: Apache-2.0
"""Trained networks as agents: the same cell in every node, R messages each.

A node is told what nodes of the classical algorithms are told: a rank and
random bits of its own, its degree. Its cell, a gated recurrent unit, sends one
vector to all neighbors at every delivery (`graphs.propagate`) and answers by
what it holds after R of them. Local tasks are learned from a score of
probabilities that has slopes, global ones from what flooding answers.
"""

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import graphs
from jaxdl.core import checks, keys as keys_lib
from jaxdl.language.agentsnet import _batch, _graphs, _node, _tasks
from jaxdl.networks import functional

# A network colors with so many, or as many as there are.
NUM_COLORS = 8
_NUM_NORMALS = 4
_NUM_FEATURES = 3 + _NUM_NORMALS
_CLIP = 1.0
_EPSILON = 1e-3
_TRAINING_SIZES = (4, 8, 12, 16)
# Beyond the seeds of the benchmark.
_FIRST_SEED = 20_001


class Solver(NamedTuple):
  """A trained network; `run_sync` takes it in place of an algorithm.

  Attributes:
    params: of the cell.
    task: that it was trained for.
    losses: f32[T], of the steps of training.
  """

  params: Any
  task: str
  losses: Any


def training_graphs(
  num_samples: int = 8, *, sizes: tuple[int, ...] = _TRAINING_SIZES
) -> _batch.GraphBatch:
  """Networks to train on, of the families of the benchmark but other seeds.

  Args:
    num_samples: of each family and size.
    sizes: n.

  Returns:
    The graphs.
  """
  checks.integer(num_samples, name='num_samples', low=1)
  return _batch.batch_graphs(
    [
      _graphs.make_graph(family, n, _FIRST_SEED + k)
      for n in sizes
      for family in _graphs.OFFICIAL_FAMILIES
      for k in range(num_samples)
    ]
  )


def _side_by_side(batch):
  """All graphs as one of B N nodes, on the host."""
  num, n, _ = batch.neighbors.shape
  first = n * np.arange(num)[:, None, None]
  receivers = np.broadcast_to(
    first + np.arange(n)[:, None], batch.neighbors.shape
  )
  senders = first + np.asarray(batch.neighbors)
  there = np.asarray(batch.neighbor_mask) & (senders < receivers)
  pairs = np.stack([senders[there], receivers[there]], axis=1)
  return graphs.make_graph(pairs, num * n, pad_nodes=num * n)


def _features(batch, key):
  """f[B N, F]: rank and bit, as algorithms have them, degree, noise."""
  numbers = batch.numbers.reshape(-1)
  keys = jax.vmap(_node.node_key, (None, 0, None))(key, numbers, 0)
  bit = jax.vmap(_node.draw)(keys) >> 31
  rank = _node.rank(key, numbers) / (1 << _node.BITS)
  noise = jax.vmap(lambda k: jax.random.normal(k, (_NUM_NORMALS,)))(keys)
  plain = [2.0 * rank - 1.0, 2.0 * bit - 1.0, batch.degrees.reshape(-1) / 8.0]
  return jnp.concatenate([jnp.stack(plain, -1), noise], axis=-1)


def _leaves(task, width):
  layer = functional.layer_leaves
  outputs = {'coloring': NUM_COLORS, 'matching': 1}.get(task, 1)
  leaves = {
    'encode': layer((_NUM_FEATURES, width)),
    'say': layer((width, width)),
    'cell': functional.gru_leaves(_NUM_FEATURES + 2 * width, width),
    'hidden': layer((width, width)),
    'answer': layer((width, outputs)),
  }
  if task == 'matching':
    leaves['ask'] = layer((width, width))
    leaves['offer'] = layer((width, width))
  return leaves


def _logits(params, task, most, graph, batch, rounds, key):
  """What nodes hold after R deliveries, as logits of their answers.

  f[B, N, K]: K = 1 for yes or no, colors, or slots of neighbors and nobody.
  """
  num, n, _ = batch.neighbors.shape
  x = _features(batch, key)
  h = jnp.tanh(functional.dense(params['encode'], x))
  collect = functools.partial(
    graphs.propagate, graph, normalize='none', self_loops=False
  )
  # Pairs need one delivery more, of what nodes offer.
  last = rounds - 1 if task == 'matching' else rounds
  left = jnp.repeat(last, n)[:, None]

  def deliver(h, t):
    said = jax.nn.relu(functional.dense(params['say'], h))
    heard = [collect(said, reduce='max'), collect(said, reduce='mean')]
    new = functional.gru(params['cell'], h, jnp.concatenate([x, *heard], -1))
    return jnp.where(t <= left, new, h), None

  h, _ = jax.lax.scan(deliver, h, jnp.arange(1, most + 1))
  hidden = jax.nn.relu(functional.dense(params['hidden'], h))
  out = functional.dense(params['answer'], hidden).reshape(num, n, -1)
  if task == 'coloring':
    colors = jnp.arange(NUM_COLORS)[None, None]
    known = colors <= batch.max_degrees[:, None, None]
    return jnp.where(known, out, -jnp.inf)
  if task != 'matching':
    return out
  ask = functional.dense(params['ask'], hidden).reshape(num, n, -1)
  offer = functional.dense(params['offer'], hidden).reshape(num, n, -1)
  near = jax.vmap(lambda rows, ids: rows[ids])(offer, batch.neighbors)
  fits = jnp.einsum('bnh,bndh->bnd', ask, near) / ask.shape[-1] ** 0.5
  fits = jnp.where(batch.neighbor_mask, fits, -jnp.inf)
  return jnp.concatenate([fits, out], axis=-1)


def _at_neighbors(values, batch):
  """What neighbors hold: [B, N, ...] -> [B, N, D, ...]."""
  return jax.vmap(lambda rows, ids: rows[ids])(values, batch.neighbors)


def _mean(values, mask):
  return jnp.where(mask, values, 0).sum() / jnp.maximum(mask.sum(), 1)


def _safe_log(share):
  return jnp.log(share + _EPSILON)


def _loss(params, task, most, graph, batch, rounds, key):
  logits = _logits(params, task, most, graph, batch, rounds, key)
  return loss_of(task, logits, batch, key)


def loss_of(
  task: str,
  logits: chex.Array,
  batch: _batch.GraphBatch,
  key: chex.PRNGKey,
) -> chex.Array:
  """What training brings down.

  Args:
    task: of `TASKS`.
    logits: f[B, N, K], of yes (K = 1), of colors, or of slots and nobody.
    batch: B graphs.
    key: of the run, by which flooding answers global tasks.

  Returns:
    f[]. Answers drawn by these logits, each node for itself, have chances to
    fit: the mean of minus their logarithms, over edges and nodes.
  """
  links = batch.neighbor_mask
  if task == 'coloring':
    share = jax.nn.softmax(logits)
    same = jnp.einsum('bnk,bndk->bnd', share, _at_neighbors(share, batch))
    return -_mean(_safe_log(1 - same), links)
  if task == 'vertex_cover':
    inside = jax.nn.sigmoid(logits[..., 0])
    near = _at_neighbors(inside, batch)
    open_ = (1 - inside[..., None]) * (1 - near)
    # Nobody needs a member all of whose neighbors are members.
    needless = inside * jnp.prod(jnp.where(links, near, 1.0), axis=-1)
    return -_mean(_safe_log(1 - open_), links) - _mean(
      _safe_log(1 - needless), batch.node_mask
    )
  if task == 'matching':
    share = jax.nn.softmax(logits)
    names, nobody = share[..., :-1], share[..., -1]
    theirs = _at_neighbors(names, batch)
    own = jnp.arange(links.shape[1])[None, :, None, None]
    back = _at_neighbors(batch.neighbors, batch) == own
    back = back & _at_neighbors(links, batch)
    mutual = (names * jnp.where(back, theirs, 0).sum(-1)).sum(-1)
    others = jnp.where(links, 1 - _at_neighbors(nobody, batch), 1.0)
    fits = mutual + nobody * jnp.prod(others, axis=-1)
    return -_mean(_safe_log(fits), batch.node_mask)
  wanted = _flooded(task, batch, key)
  loss = optax.sigmoid_binary_cross_entropy(logits[..., 0], wanted)
  if task == 'leader_election':
    # One against many.
    loss = loss * jnp.where(wanted == 1, batch.num_nodes[:, None], 1)
  return _mean(loss, batch.node_mask)


def _flooded(task, batch, key):
  """f[B, N]: what flooding answers where rounds suffice."""
  ranks = jnp.where(batch.node_mask, _node.rank(key, batch.numbers), -1)
  first = ranks == ranks.max(axis=-1, keepdims=True)
  if task == 'leader_election':
    return first.astype(jnp.float32)
  bit = _features(batch, key)[:, 1].reshape(ranks.shape) > 0
  chosen = (first & bit).any(axis=-1, keepdims=True)
  return jnp.broadcast_to(chosen, ranks.shape).astype(jnp.float32)


def train_solver(
  task: str,
  *,
  key: chex.PRNGKey,
  batch: _batch.GraphBatch | None = None,
  num_steps: int = 1000,
  learning_rate: float = 0.004,
  width: int = 32,
) -> Solver:
  """Trains a network of agents for a task.

  Args:
    task: a part of `TASKS`.
    key: consumed; parameters, ranks and noise are drawn from it.
    batch: graphs to train on, all at every step with fresh ranks; those of
      `training_graphs` if None.
    num_steps: >= 1.
    learning_rate: of Adam, at first; it falls to zero along a cosine.
    width: of what nodes hold and say.

  Returns:
    The network.

  Raises:
    ValueError: if a number is out of range or the task unknown.

  Example:
    >>> from jaxdl.language import agentsnet
    >>> graph = agentsnet.make_graph('path', 3, 0)
    >>> batch, key = agentsnet.batch_graphs([graph]), jax.random.key(0)
    >>> solver = train_solver(
    ...   'vertex_cover', key=key, batch=batch, num_steps=2, width=4
    ... )
    >>> run_solver(solver, batch, key=key).shape
    (1, 3)
  """
  task = _tasks.TASKS.part(task).name
  keys_lib.check_key(key)
  checks.integer(num_steps, name='num_steps', low=1)
  checks.integer(width, name='width', low=1)
  checks.number(learning_rate, name='learning_rate', low=0, open_low=True)
  batch = training_graphs() if batch is None else batch
  rounds = _tasks.rounds_of(task, batch)
  graph, most = _side_by_side(batch), int(rounds.max())
  rounds = jnp.asarray(rounds)
  optimizer = optax.chain(
    optax.clip_by_global_norm(_CLIP),
    optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps)),
  )
  init_key, train_key = jax.random.split(key)
  params = functional.draw(init_key, _leaves(task, width), jnp.float32)

  @jax.jit
  def train(params, graph, batch, rounds, key):
    def step(carry, t):
      params, state = carry
      loss, grads = jax.value_and_grad(_loss)(
        params, task, most, graph, batch, rounds, jax.random.fold_in(key, t)
      )
      updates, state = optimizer.update(grads, state, params)
      return (optax.apply_updates(params, updates), state), loss

    start = params, optimizer.init(params)
    (params, _), losses = jax.lax.scan(step, start, jnp.arange(num_steps))
    return params, losses

  params, losses = train(params, graph, batch, rounds, train_key)
  return Solver(params, task, losses)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _answers(params, task, most, graph, batch, rounds, keys):
  def one(key):
    logits = _logits(params, task, most, graph, batch, rounds, key)
    if task in ('coloring', 'matching'):
      choice = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    else:
      choice = (logits[..., 0] > 0).astype(jnp.int32)
    if task == 'matching':
      nobody = batch.neighbors.shape[-1]
      slots = jnp.minimum(choice, nobody - 1)[..., None]
      named = jnp.take_along_axis(batch.neighbors, slots, axis=-1)[..., 0]
      choice = jnp.where(choice == nobody, -1, named)
    return jnp.where(batch.node_mask, choice, -1)

  return jax.lax.map(one, keys)


def run_solver(
  solver: Solver,
  batch: _batch.GraphBatch,
  *,
  key: chex.PRNGKey,
  rounds: int | np.ndarray | None = None,
) -> chex.Array:
  """Lets a trained network answer, as `run_sync` lets an algorithm.

  Args:
    solver: of `train_solver`.
    batch: B graphs, of any size.
    key: one key, or S of them; consumed.
    rounds: R of all graphs, or i[B]; None for `num_rounds`.

  Returns:
    i32[B, N], or i32[S, B, N] of S keys; padding answers -1.

  Raises:
    ValueError: if rounds are below one or not one for each graph.
  """
  if not isinstance(solver, Solver):
    raise TypeError(
      f'solver must be what train_solver returned; got '
      f'{checks.described(solver)}.'
    )
  rounds = _tasks.checked_rounds(solver.task, batch, rounds)
  many = jnp.ndim(key) == 1
  found = _answers(
    *(solver.params, solver.task, int(rounds.max()), _side_by_side(batch)),
    *(batch, jnp.asarray(rounds), key if many else key[None]),
  )
  return found if many else found[0]
