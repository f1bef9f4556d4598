# SPDX-License-Identifier: Apache-2.0
"""Links of a graph to be told from pairs that are none."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl import decentralized, graphs, mixing
from jaxdl.core import checks, registry, types
from jaxdl.graphs import links as lib, sets

# A batch whose links are taken out of the graph should be a small part of it.
_LARGE_BATCH = 0.1


def alone(task, mixer, clients, *, optimizer):
  """Every client trains on what it has, and sends nothing."""
  del mixer
  clients = decentralized.gossip_sgd(
    task, mixing.identity(clients), clients, optimizer=optimizer
  )
  return clients


# How predictors are trained over the graph that they predict.
TRAININGS = decentralized.ALGORITHMS | {'alone': alone}


def nodes(graph: graphs.Graph) -> list[np.ndarray]:
  """A client for every node."""
  return lib.communities(graph, int(np.asarray(graph.node_mask).sum()))


def communities(graph: graphs.Graph, num_clients: int = 8) -> list[np.ndarray]:
  """A client for every community."""
  return lib.communities(graph, num_clients)


PARTS = registry.Registry(
  'parts', {'communities': communities, 'nodes': nodes}, given=('graph',)
)


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
      found = PARTS.make(parts, adjacency.graph)
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
    measure = self._measure(predictor, encoder)
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

  def _measure(self, predictor, encoder):
    encode, predict = lib.make_encoder(encoder), lib.make_predictor(predictor)
    fixed = isinstance(predictor, str) and (
      lib.PREDICTORS.part(predictor).name in lib.FIXED
    )
    if fixed:
      encode = types.Network(lambda *_: {}, lambda p, graph, x: x[:, :1])
      if self.x.ndim == 2:
        encode = encode._replace(
          apply=lambda p, graph, x: jnp.zeros((len(x), 1))
        )

    def measure(params, known, later, x, tested, counts):
      out = {}
      for part, links in (('validation', known), ('test', later)):
        names = (part, f'{part}_negatives')
        pairs = jnp.concatenate([tested[name] for name in names])
        scores = lib.link_scores(
          encode,
          predict,
          params,
          links,
          x,
          pairs,
          batch_size=self.eval_batch_size,
          key=jax.random.key(0),
        )
        m = tested[part].shape[0]
        up, down = scores[:m], scores[m:]
        there, others = (
          jnp.arange(tested[name].shape[0]) < counts[name] for name in names
        )
        masks = {'positive_mask': there, 'negative_mask': others}
        found = {
          'auc': lib.roc_auc(up, down, **masks),
          'hits': lib.hits_at_k(up, down, self.hits, **masks),
        }
        if self.own_negatives:
          each = down.reshape(m, self.own_negatives)
          found['mrr'] = lib.mean_reciprocal_rank(up, each, mask=there)
        prefix = '' if part == 'test' else 'validation_'
        out |= {f'{prefix}{name}': value for name, value in found.items()}
      return out

    return measure


def over_graph(
  spec: str,
  problem: types.Problem,
  *,
  optimizer: Any,
) -> Any:
  """Trains over the graph of clients, whatever the seed.

  Args:
    spec: of `TRAININGS`, such as 'gossip_sgd' or 'alone'.
    problem: of `Links.clients`.
    optimizer: every client's.

  Returns:
    What `experiment.compare` takes: makes the algorithm of the data of a seed.

  Raises:
    ValueError: if the algorithm is unknown, or needs more than a mixer.
  """
  part = TRAININGS.part(spec)
  facts = registry.facts(TRAININGS[part.name])
  if getattr(facts, 'over', 'mixer') != 'mixer':
    raise ValueError(
      f'{spec} runs over a graph without rounds: use one with a mixer, such as '
      'gossip_sgd.'
    )

  def make(data):
    matrix = data['mixing']
    mixer = mixing.from_function(
      lambda round, key=None: matrix, structure='links', stochastic='double'
    )
    return lib.over_batches(
      TRAININGS.bound(
        part, problem.task, mixer, problem.num_clients, optimizer=optimizer
      )
    )

  return make


def load_links(
  dataset: Any = 'geometric',
  *,
  validation: float = 0.1,
  test: float = 0.2,
  num_negatives: int | None = None,
  keep_edges: float = 1.0,
  validation_edges: bool = False,
  batch_size: int = 64,
  hits: int = 50,
  eval_batch_size: int = 1024,
  data_dir: str | None = None,
  seeds: Sequence[int] = (0,),
) -> Links:
  """Splits the links of a graph, for each seed in another way.

  Args:
    dataset: a part of `graphs.sets.SETS`, or a `GraphDataset`, the same for all
      seeds. Splits of links that it has are taken.
    validation: share of the links to select by, where there are no splits.
    test: share of the links to test on, likewise.
    num_negatives: see `graphs.links.random_link_split`.
    keep_edges: likewise.
    validation_edges: whether links of the validation are known in tests.
    batch_size: B.
    hits: K of Hits@K.
    eval_batch_size: pairs at a time in tests; 0 for all.
    data_dir: folder of the files, for data sets that need it.
    seeds: S seeds.

  Returns:
    The links; `problem` makes what one learner needs, `clients` what the parts
    of the graph do.

  Raises:
    ValueError: if a number is out of range, the graph is directed or links a
      node to itself, features are not finite, or there are fewer training links
      than a batch has.

  Example:
    >>> found = load_links('karate', batch_size=8)
    >>> found.num_steps, found.train.shape
    (6, (1, 54, 2))
    >>> problem = found.problem('aa')
    >>> problem.evaluate({'encoder': {}, 'predictor': {}})['auc'].shape
    (1,)
  """
  seeds = checks.seeds(seeds)
  size = checks.integer(batch_size, name='batch_size', low=1)
  k = checks.integer(hits, name='hits', low=1)
  checks.integer(eval_batch_size, name='eval_batch_size', low=0)
  known, later, features, splits, name = [], [], [], [], ''
  for seed in seeds:
    data = dataset
    if isinstance(dataset, str):
      data = sets.load_graph_set(dataset, data_dir, seed=seed, pad=False)
    name = name or (dataset if isinstance(dataset, str) else data.name)
    n = int(np.asarray(data.graph.node_mask).sum())
    lib.check_finite(data.features, data.graph)
    split = data.links
    if split is None:
      lib.adjacency(data.graph, dense=False)  # Refuses what is not undirected.
      split = lib.random_link_split(
        np.random.default_rng([seed, 5]),
        data.graph,
        validation=validation,
        test=test,
        num_negatives=num_negatives,
        keep_edges=keep_edges,
      )
    split = lib.check_splits(split, n, k=k)
    if len(split.train) < size:
      raise ValueError(
        f'batch_size={size} is more than there are training links, '
        f'{len(split.train)}: lower it.'
      )
    if size > _LARGE_BATCH * len(split.train) and seed == seeds[0]:
      logging.warning(
        'batch_size=%d is %.0f%% of the training links: where they are taken '
        'out of the graph, training sees fewer common neighbors than tests do. '
        'About 5%% are a good choice.',
        size,
        100 * size / len(split.train),
      )
    both = split.train
    if validation_edges:
      both = np.concatenate([split.train, split.validation])
    known.append((split.train, n))
    later.append((both, n))
    features.append(np.asarray(data.features)[:n])
    splits.append(split)
  known, later = _adjacencies(known), _adjacencies(later)
  whole = known.graph.node_mask.shape[1]
  x = np.zeros((len(seeds), whole, *features[0].shape[1:]), features[0].dtype)
  for s, own in enumerate(features):
    x[s, : len(own)] = own
  own_negatives = splits[0].test_negatives.shape[1] if (
    splits[0].test_negatives.ndim == 3
  ) else 0  # fmt: skip
  tested, counts = {}, {}
  for field in splits[0]._fields:
    arrays = [np.asarray(getattr(s, field)).reshape(-1, 2) for s in splits]
    padded = np.zeros((len(seeds), max(1, *map(len, arrays)), 2), np.int32)
    padded[..., 1] = 1
    for s, pairs in enumerate(arrays):
      padded[s, : len(pairs)] = pairs
    tested[field] = jnp.asarray(padded)
    counts[field] = jnp.asarray([len(pairs) for pairs in arrays], jnp.int32)
  return Links(
    known=known,
    known_later=later,
    x=jnp.asarray(x),
    train=tested.pop('train'),
    num_train=counts.pop('train'),
    tested=tested,
    counts=counts,
    own_negatives=own_negatives,
    batch_size=size,
    hits=k,
    eval_batch_size=eval_batch_size,
    seeds=seeds,
    name=name,
  )


def _adjacencies(worlds):
  """Adjacencies of links, of common sizes, leaves [S, ...]."""
  plain = [lib.undirected_graph(pairs, n, pad_nodes=n) for pairs, n in worlds]
  nodes = 1 + max(n for _, n in worlds)
  edges = max(graph.num_edges for graph in plain)
  most = max(lib.adjacency(g, dense=False).max_degree for g in plain)
  made = [
    lib.adjacency(
      lib.undirected_graph(pairs, n, pad_nodes=nodes, pad_edges=edges),
      max_degree=most,
      dense=nodes <= lib.DENSE_NODES,
    )
    for pairs, n in worlds
  ]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)
