# SPDX-License-Identifier: Apache-2.0
"""An encoder and a predictor: their loss, scores, and how they learn."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, registry, types
from jaxdl.core.types import Network
from jaxdl.graphs import _inside
from jaxdl.graphs.links import (
  _adjacency,
  _blocks,
  _completion,
  _encoders,
  _measures,
  _predictors,
)
from jaxdl.graphs.links._adjacency import Adjacency

PREDICTORS = registry.Registry(
  'predictor',
  {
    f.__name__: f
    for f in (
      _predictors.gae,
      _predictors.gae_cn,
      _predictors.ncn,
      _predictors.ncn2,
      _predictors.ncn_diff,
      _completion.ncnc,
      _predictors.cn,
      _predictors.aa,
      _predictors.ra,
    )
  },
  tried={},
)
# Those that learn nothing.
FIXED = ('cn', 'aa', 'ra')


def make_predictor(spec: Any) -> Network:
  """Makes a predictor by name.

  Args:
    spec: a part of `PREDICTORS`, such as 'ncnc(prior=0.2, scale=5, offset=4)',
      or a `Network` of (adjacency, h, pairs).

  Returns:
    The network.

  Raises:
    ValueError: if the name or an option is unknown or out of range.

  Example:
    >>> callable(make_predictor('ncn(dropout=0.1)').apply)
    True
  """
  if isinstance(spec, str):
    return PREDICTORS.make(spec)
  if not checks.has_functions(spec, 'init', 'apply'):
    raise TypeError(
      "predictor must be a Network or text such as 'ncn'; got "
      f'{checks.described(spec)}.'
    )
  return spec


def check_finite(x: Any, graph: Any) -> None:
  """Raises ValueError if features of a node are not finite, on the host.

  Args:
    x: f[N, ...] or i[N], concrete.
    graph: one graph, concrete.

  Raises:
    ValueError: naming the node.

  Example:
    >>> from jaxdl import graphs
    >>> check_finite([[1.0], [np.nan]], graphs.make_graph([], 2, pad_nodes=2))
    Traceback (most recent call last):
    ValueError: x[1] of node 1 is not finite: need numbers for every node.
  """
  values = checks.host_array(x, name='x')
  if values.dtype.kind in 'biu':
    return
  there = checks.host_array(graph.node_mask, name='graph')
  fine = np.isfinite(values.astype(np.float64))
  fine = fine.reshape(len(values), -1).all(axis=1)
  bad = np.flatnonzero(~fine & there)
  if len(bad):
    raise ValueError(
      f'x[{bad[0]}] of node {bad[0]} is not finite: need numbers for every '
      'node.'
    )


def link_scores(
  encoder: Network,
  predictor: Network,
  params: Any,
  adjacency: Adjacency,
  x: chex.Array,
  pairs: chex.Array,
  *,
  batch_size: int = 0,
  key: chex.PRNGKey | None = None,
) -> chex.Array:
  """Scores pairs, without training: one pass of messages, then the predictor.

  Args:
    encoder: of (graph, x).
    predictor: of (adjacency, h, pairs).
    params: {'encoder', 'predictor'}.
    adjacency: of N nodes.
    x: f[N, F].
    pairs: i32[B, 2].
    batch_size: pairs at a time, to bound memory; 0 for all (static).
    key: consumed by predictors that draw neighbors.

  Returns:
    f[B], logits.

  Example:
    >>> from jaxdl import graphs
    >>> found = adjacency(graphs.make_graph([(0, 1), (1, 2)], 3))
    >>> task = link_task('mpnn(4)', 'ncn', found, jnp.ones((8, 2)))
    >>> params = task.init(jax.random.key(0))
    >>> networks = make_encoder('mpnn(4)'), make_predictor('ncn')
    >>> pairs = jnp.array([(0, 1), (0, 2)])
    >>> link_scores(*networks, params, found, jnp.ones((8, 2)), pairs).shape
    (2,)
  """
  h = encoder.apply(params['encoder'], adjacency.graph, x)
  run = lambda pairs, key: predictor.apply(
    params['predictor'], adjacency, h, pairs, key=key
  )
  size = checks.integer(batch_size, name='batch_size', low=0)
  count = len(pairs)
  if not size or size >= count:
    return run(pairs, key)
  num = -(-count // size)
  pairs = jnp.asarray(pairs)
  pairs = jnp.concatenate(
    [pairs, jnp.repeat(pairs[:1], num * size - count, axis=0)]
  )

  def part(step):
    place, some = step
    own = None if key is None else jax.random.fold_in(key, place)
    return run(some, own)

  parts = pairs.reshape(num, size, 2)
  return jax.lax.map(part, (jnp.arange(num), parts)).reshape(-1)[:count]


def link_task(
  encoder: Any,
  predictor: Any,
  adjacency: Adjacency,
  x: chex.Array,
  *,
  remove_targets: bool = True,
) -> types.Task:
  """Makes a task of telling links from pairs that are none.

  A batch is a dict of `positive` i32[B, 2], `negative` i32[B, 2], perhaps
  `mask` bool[B], `epoch` i32[1], and `adjacency` and `x` where another graph of
  the same sizes takes the place of that given here.

  Args:
    encoder: see `make_encoder`.
    predictor: see `make_predictor`.
    adjacency: of the links to learn from; parameters are made for its sizes.
    x: f[N, F], features of nodes, or i32[N].
    remove_targets: whether the links of a batch are taken out of the graph,
      both ways, before messages are passed and neighbors compared (static).

  Returns:
    The task; params are {'encoder', 'predictor'}, `evaluate` gives `loss` and
    `auc`.

  Raises:
    ValueError: if a part is unknown or sizes do not fit.

  Example:
    >>> from jaxdl import graphs
    >>> data = graphs.sets.karate()
    >>> task = link_task('mpnn(4)', 'ncn', adjacency(data.graph), data.features)
    >>> batch = {
    ...   'positive': jnp.array([(0, 1)]), 'negative': jnp.array([(0, 33)])
    ... }
    >>> task.loss(task.init(jax.random.key(0)), batch).shape
    ()

  Source: Wang, Yang & Zhang 2024 (https://arxiv.org/abs/2302.00890), section 5.
  """
  _blocks.check_switches(remove_targets=remove_targets)
  fixed = isinstance(predictor, str) and (
    PREDICTORS.part(predictor).name in FIXED
  )
  encode, predict = _encoders.make_encoder(encoder), make_predictor(predictor)
  _adjacency.checked(adjacency, jnp.zeros((0, 2), jnp.int32))
  if jnp.shape(x)[:1] != (adjacency.num_nodes,):
    _inside.check_features(adjacency.graph, x)
  shape = lambda tree: jax.tree.map(
    lambda v: jax.ShapeDtypeStruct(jnp.shape(v), jnp.result_type(v)), tree
  )
  like, features = shape(adjacency), shape(x)

  def init(key):
    if fixed:
      return {'encoder': {}, 'predictor': {}}
    first, second = jax.random.split(key)
    # Only sizes matter: arrays of zeros are never computed with.
    blank = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), like)
    empty = jnp.zeros(features.shape, features.dtype)
    own = encode.init(first, blank.graph, empty)
    h = jax.eval_shape(encode.apply, own, blank.graph, empty)
    h = jnp.zeros(h.shape, h.dtype)
    pairs = jnp.zeros((0, 2), jnp.int32)
    return {
      'encoder': own,
      'predictor': predict.init(second, blank, h, pairs),
    }

  def scores(params, batch, pairs, key, train, links):
    there = batch.get('adjacency', adjacency)
    features = batch.get('x', x)
    if links is not None:
      there = _adjacency.remove_targets(there, links)
    keyed = [None, None] if key is None else list(jax.random.split(key))
    if fixed:
      h = jnp.zeros((there.num_nodes, 1))
    else:
      h = encode.apply(
        params['encoder'], there.graph, features, train=train, key=keyed[0]
      )
    epoch = batch.get('epoch')
    told = {} if epoch is None else {'epoch': jnp.reshape(epoch, ())}
    return predict.apply(
      params['predictor'], there, h, pairs, train=train, key=keyed[1], **told
    )

  def both(params, batch, key, train):
    positive, negative = batch['positive'], batch['negative']
    links, mask = positive, batch.get('mask')
    if mask is not None:
      links = jnp.where(mask[:, None], links, -1)
    if not (train and remove_targets):
      links = None
    pairs = jnp.concatenate([positive, negative])
    found = scores(params, batch, pairs, key, train, links)
    return found[: len(positive)], found[len(positive) :]

  def loss(params, batch, *, key=None):
    up, down = both(params, batch, key, True)
    return _measures.link_loss(up, down, mask=batch.get('mask'))

  def evaluate(params, batch):
    up, down = both(params, batch, None, False)
    mask = batch.get('mask')
    return {
      'loss': _measures.link_loss(up, down, mask=mask),
      'auc': _measures.roc_auc(
        up, down, positive_mask=mask, negative_mask=mask
      ),
    }

  return types.Task(init, loss, evaluate)


def two_rates(
  encoder: optax.GradientTransformation,
  predictor: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Lets encoder and predictor learn at rates of their own.

  Args:
    encoder: optimizer of params['encoder'].
    predictor: of params['predictor'].

  Returns:
    An optimizer of both, for params of `link_task`.

  Example:
    >>> optimizer = two_rates(optax.sgd(0.0), optax.sgd(1.0))
    >>> params = {'encoder': jnp.ones(1), 'predictor': jnp.ones(1)}
    >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
    >>> float(updates['encoder'][0]), float(updates['predictor'][0])
    (-0.0, -1.0)
  """
  parts = {'encoder': encoder, 'predictor': predictor}
  return optax.partition(parts, {name: name for name in parts})


def over_batches(algorithm: types.Algorithm) -> types.Algorithm:
  """Lets a round of an algorithm be many of its steps, as one scan.

  Args:
    algorithm: whose step takes one batch of each client.

  Returns:
    The algorithm, for cohorts whose data is a dict with `batches`, leaves [N,
    T, ...], of which it takes T steps; what else the dict has, leaves [N, ...],
    stands in every batch. Metrics are means over the steps.

  Example:
    >>> import optax
    >>> from jaxdl import federated
    >>> task = types.Task(
    ...   lambda key: jnp.zeros(()),
    ...   lambda w, batch, key=None: jnp.mean(w * batch['x']),
    ...   lambda w, batch: {},
    ... )
    >>> run = over_batches(
    ...   federated.centralized_sgd(task, optimizer=optax.sgd(1.0))
    ... )
    >>> data = {'batches': {'x': jnp.array([[[1.0], [2.0], [3.0]]])}}
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(1),
    ...   data=data,
    ...   mask=jnp.ones(1, bool),
    ...   weights=jnp.ones(1),
    ... )
    >>> state = run.init(jax.random.key(0))
    >>> state, _ = run.step(state, cohort, key=jax.random.key(1))
    >>> run.params(state).item()
    -6.0
  """

  def step(state, cohort, *, key):
    rest = {k: v for k, v in cohort.data.items() if k != 'batches'}
    batches = jax.tree.map(
      lambda x: jnp.moveaxis(x, 1, 0), cohort.data['batches']
    )
    num = len(jax.tree.leaves(batches)[0])

    def one(state, place):
      t, batch = place
      own = cohort.replace(data={**rest, **batch})
      return algorithm.step(state, own, key=jax.random.fold_in(key, t))

    state, seen = jax.lax.scan(one, state, (jnp.arange(num), batches))
    return state, jax.tree.map(lambda x: jnp.mean(x, axis=0), seen)

  return algorithm._replace(step=step)
