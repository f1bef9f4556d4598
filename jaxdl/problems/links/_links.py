# SPDX-License-Identifier: Apache-2.0
"""Links of a graph as problems: of one learner, and of parts of the graph."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import mixing
from jaxdl.core import checks, types
from jaxdl.graphs import links as lib
from jaxdl.problems.links import _learners, _measures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Links:
  """Links to learn from and links to be tested on, for S seeds.

  Attributes:
    known: adjacency of the links to learn from, leaves [S, ...].
    known_later: of those that are known when tests are made.
    x: features [S, N, ...].
    train: i32[S, M, 2], padded.
    num_train: i32[S], how many count.
    tested: pairs by name, 'validation', 'validation_negatives', 'test' and
      'test_negatives', i32[S, P, 2], padded.
    counts: likewise, i32[S], how many count.
    own_negatives: negatives of each link, if it has its own, else 0.
    batch_size: B.
    hits: K of Hits@K.
    eval_batch_size: pairs at a time in tests.
    seeds: S seeds.
    name: of the data set.
  """

  known: lib.Adjacency
  known_later: lib.Adjacency
  x: chex.Array
  train: chex.Array
  num_train: chex.Array
  tested: dict[str, chex.Array]
  counts: dict[str, chex.Array]
  own_negatives: int
  batch_size: int
  hits: int
  eval_batch_size: int
  seeds: tuple[int, ...]
  name: str

  @property
  def num_steps(self) -> int:
    """Batches of an epoch; what does not fill one is left out."""
    return int(np.min(np.asarray(self.num_train))) // self.batch_size

  def of(self, seed: int = 0) -> tuple[lib.Adjacency, chex.Array]:
    """Adjacency and features of one seed, by its place."""
    return jax.tree.map(lambda v: v[seed], (self.known, self.x))

  def check_metric(self, metric: str) -> None:
    """Raises ValueError unless models are measured by a figure.

    Args:
      metric: 'hits', 'auc' or 'mrr'; the last is of links that have negatives
        of their own.
    """
    known = ('hits', 'auc', 'mrr') if self.own_negatives else ('hits', 'auc')
    if metric not in known:
      raise ValueError(
        f'metric={metric} is not measured on {self.name}: choose one of '
        f'{", ".join(known)}; mrr needs negatives of its own for each link.'
      )

  def _task(self, predictor, encoder, remove_targets):
    return lib.link_task(
      encoder, predictor, *self.of(), remove_targets=remove_targets
    )

  def problem(
    self,
    predictor: Any = 'ncn',
    encoder: Any = 'mpnn',
    *,
    remove_targets: bool = True,
  ) -> types.Problem:
    """Makes the problem of one learner, a round of which is an epoch.

    Args:
      predictor: see `graphs.links.make_predictor`.
      encoder: see `graphs.links.make_encoder`.
      remove_targets: see `graphs.links.link_task`.

    Returns:
      The problem, for algorithms in `graphs.links.over_batches`. It is measured
      by `auc`, `hits` and, where links have negatives of their own, `mrr`; and
      by the same of the validation, as `validation_auc`.
    """
    task = self._task(predictor, encoder, remove_targets)
    size, num = self.batch_size, self.num_steps

    def cohort(key, data, round):
      order_key, key = jax.random.split(jax.random.fold_in(key, round))
      m = data['train'].shape[0]
      chance = jax.random.uniform(order_key, (m,))
      order = jnp.argsort(
        jnp.where(jnp.arange(m) < data['num_train'], chance, 2.0)
      )
      positive = data['train'][order[: num * size]]
      negative = lib.sample_negatives(key, data['known'], num * size)
      cut = lambda pairs: pairs.reshape(1, num, size, 2)
      batches = {
        'positive': cut(positive),
        'negative': cut(negative),
        'epoch': jnp.full((1, num, 1), round - 1, jnp.int32),
      }
      one = lambda tree: jax.tree.map(lambda v: v[None], tree)
      held = {'adjacency': one(data['known']), 'x': data['x'][None]}
      return types.Cohort(
        client_ids=jnp.zeros(1, jnp.int32),
        data={'batches': batches, **held},
        mask=jnp.ones(1, bool),
        weights=jnp.ones(1),
      )

    return self._problem(
      predictor,
      encoder,
      task=task,
      cohort=cohort,
      data={
        'known': self.known,
        'x': self.x,
        'train': self.train,
        'num_train': self.num_train,
      },
    )

  def clients(
    self,
    predictor: Any = 'ncn',
    encoder: Any = 'mpnn',
    *,
    parts: str = 'communities',
    hops: int = 1,
    batch_size: int | None = None,
    remove_targets: bool = True,
  ) -> types.Problem:
    """Makes the problem of learners who are parts of the graph themselves.

    A client knows the links of its own nodes, and what neighbors tell, see
    `graphs.links.local_views`; it draws links of its own nodes, and for each
    another of its nodes with a node that it knows and is not linked with.

    Args:
      predictor: see `graphs.links.make_predictor`.
      encoder: see `graphs.links.make_encoder`.
      parts: of `PARTS`: 'nodes', or 'communities(num_clients=8)' of the links
        to learn from.
      hops: see `graphs.links.local_views`.
      batch_size: links that a client draws for a step; B divided by clients if
        None.
      remove_targets: see `graphs.links.link_task`.

    Returns:
      The problem, of a model for each client, for algorithms of `decentralized`
      in `graphs.links.over_batches`; a round has as many steps as an epoch of
      one learner. `data['mixing']` f[S, C, C] are Metropolis weights of the
      graph of clients, see `over_graph`. Every client's model is measured on
      all tests with all known links: figures are means over clients,
      `worst_auc` is the least.

    Raises:
      ValueError: if parts are unknown or more than nodes, or the encoder has a
        vector for each node.
    """
    task = self._task(predictor, encoder, remove_targets)
    if isinstance(encoder, str) and lib.ENCODERS.value(encoder, 'embed') == (
      'nodes'
    ):
      raise ValueError(
        f'encoder={encoder} has a vector for each node of one graph, but '
        'clients know graphs of their own: use features.'
      )
    worlds, matrices = [], []
    for s in range(len(self.seeds)):
      adjacency, x = self.of(s)
      found = _learners.PARTS.make(parts, adjacency.graph)
      worlds.append((adjacency.graph, x, found))
      graph = lib.quotient(adjacency.graph, found)
      matrices.append(mixing.metropolis(graph, allow_disconnected=True))
    views = lib.local_views(worlds, hops=hops)
    count = len(matrices[0])
    if batch_size is None:
      batch_size = max(1, round(self.batch_size / count))
    size = checks.integer(batch_size, name='batch_size', low=1)
    num = self.num_steps

    def draw(key, views):
      place_key, key = jax.random.split(key)
      place = jax.random.randint(
        place_key, (num * size,), 0, jnp.maximum(views.num_links, 1)
      )
      negative = lib.sample_negatives(
        key,
        views.adjacency,
        num * size,
        sources=views.own,
        num_sources=views.num_own,
      )
      cut = lambda pairs: pairs.reshape(num, size, 2)
      # A client that is linked with nobody has nothing to learn from; nor has
      # one a pair that is no link who knows only those that it is linked with.
      apart = negative[:, 0] != negative[:, 1]
      there = (views.num_links > 0) & apart
      return {
        'positive': cut(views.links[place]),
        'negative': cut(negative),
        'mask': there.reshape(num, size),
      }

    def cohort(key, data, round):
      own = jax.vmap(lambda k: jax.random.fold_in(key, k))(jnp.arange(count))
      own = jax.vmap(lambda k: jax.random.fold_in(k, round))(own)
      views = data['views']
      batches = jax.vmap(draw)(own, views)
      batches['epoch'] = jnp.full((count, num, 1), round - 1, jnp.int32)
      return types.Cohort(
        client_ids=jnp.arange(count),
        data={
          'batches': batches,
          'adjacency': views.adjacency,
          'x': views.x,
        },
        mask=jnp.ones(count, bool),
        weights=jnp.full(count, 1.0 / count),
      )

    return self._problem(
      predictor,
      encoder,
      task=task,
      cohort=cohort,
      data={
        'views': views,
        'mixing': jnp.asarray(np.stack(matrices), jnp.float32),
      },
      num_clients=count,
    )

  def _problem(self, predictor, encoder, **fields):
    measure = _measures.measurer(
      encoder,
      predictor,
      hits=self.hits,
      own_negatives=self.own_negatives,
      batch_size=self.eval_batch_size,
    )
    arrays = (self.known, self.known_later, self.x, self.tested, self.counts)
    run = jax.jit(
      lambda params, *data: jax.lax.map(lambda one: measure(*one),
                                        (params, *data))
    )  # fmt: skip

    def of_clients(params, *data):
      found = jax.lax.map(lambda own: measure(own, *data), params)
      out = {name: jnp.mean(value) for name, value in found.items()}
      return out | {'worst_auc': jnp.min(found['auc'])}

    run_clients = jax.jit(
      lambda params, *data: jax.lax.map(
        lambda one: of_clients(*one), (params, *data)
      )
    )
    return types.Problem(
      evaluate=lambda params: jax.device_get(run(params, *arrays)),
      evaluate_clients=lambda params: jax.device_get(
        run_clients(params, *arrays)
      ),
      seeds=self.seeds,
      metric='mrr' if self.own_negatives else 'hits',
      ylabel='MRR' if self.own_negatives else f'Hits@{self.hits}',
      **fields,
    )
