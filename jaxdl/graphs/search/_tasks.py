# SPDX-License-Identifier: Apache-2.0
"""Nodes to classify: what is checked, lost and scored."""

from typing import Any, NamedTuple

import chex
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging

from jaxdl.core import checks, classes
from jaxdl.graphs import _inside
from jaxdl.graphs._graph import Graph


class NodeTask(NamedTuple):
  """A graph some of whose nodes have labels to learn; see `node_task`.

  Attributes:
    graph: one graph.
    features: f[N, F].
    labels: i32[N], or f[N, K] of zeros and ones where a node may have several.
    train: bool[N].
    validation: bool[N].
    test: bool[N].
  """

  graph: Graph
  features: chex.Array
  labels: chex.Array
  train: chex.Array
  validation: chex.Array
  test: chex.Array


def node_task(
  graph: Graph,
  features: Any,
  labels: Any,
  *,
  num_classes: int,
  train: Any,
  validation: Any,
  test: Any,
) -> NodeTask:
  """Checks a graph, its labels and its split, on the host.

  Warns of classes without a node to train on, and of a graph without edges, on
  which every node hears itself alone.

  Args:
    graph: one graph; several side by side, for graphs that are not seen in
      training, with masks of whole graphs.
    features: f[N, F]; zeros of padding.
    labels: i[N] in [0, num_classes), or of 0 and 1, [N, num_classes], where a
      node may have several.
    num_classes: K >= 1.
    train: bool[N].
    validation: bool[N].
    test: bool[N].

  Returns:
    The task.

  Raises:
    ValueError: if shapes differ, masks overlap, are empty or hold padding,
      labels are out of range, or a feature is not finite.
    TypeError: if features are not floating point, or labels not numbers.

  Example:
    >>> from jaxdl.graphs import sets
    >>> data = sets.karate()
    >>> task = node_task(
    ...   data.graph,
    ...   data.features,
    ...   data.labels,
    ...   num_classes=2,
    ...   train=data.train,
    ...   validation=data.validation,
    ...   test=data.test,
    ... )
    >>> task.train.sum().item()
    2
  """
  k = checks.integer(num_classes, name='num_classes', low=1)
  x = _inside.check_features(graph, features, name='features')
  if x.ndim != 2:
    raise ValueError(f'features must have shape [N, F]; got {x.shape}.')
  n, there = graph.num_nodes, np.asarray(graph.node_mask)
  broken = ~np.isfinite(np.asarray(x, np.float64)) & there[:, None]
  if broken.any():
    node, column = np.argwhere(broken)[0].tolist()
    raise ValueError(
      f'features must be finite; features[{node}, {column}] is '
      f'{x[node, column]}: nothing could be learned at its neighbors.'
    )
  y = checks.host_array(labels, name='labels')
  if y.shape not in ((n,), (n, k)):
    raise ValueError(
      f'labels must have shape ({n},), or ({n}, {k}) where a node may have '
      f'several; got {y.shape}.'
    )
  several = y.ndim == 2
  if not several and y.dtype.kind not in 'iu':
    raise TypeError(f'labels must be integers; got {y.dtype}.')
  high = 2 if several else k
  bad = np.argwhere(
    there.reshape(-1, *(1,) * (y.ndim - 1)) & ~np.isin(y, range(high))
  )
  if len(bad):
    place = tuple(bad[0].tolist())
    rule = '0 or 1' if several else f'in [0, {k})'
    raise ValueError(
      f'labels must be {rule}; labels[{", ".join(map(str, place))}] is '
      f'{y[place]}.'
    )
  masks = _checked_masks(there, train=train, validation=validation, test=test)
  own = y[masks['train']]
  seen = own.astype(bool).any(0) if several else np.isin(np.arange(k), own)
  if not seen.all():
    missing = ', '.join(map(str, np.flatnonzero(~seen)))
    logging.warning('class %s has no node to train on.', missing)
  if not np.asarray(graph.edge_mask).any():
    logging.warning('the graph has no edges: every node hears itself alone.')
  kind = x.dtype if several else jnp.int32
  return NodeTask(
    graph,
    x,
    jnp.asarray(y, kind),
    *(jnp.asarray(mask) for mask in masks.values()),
  )


def _checked_masks(there, **given):
  """Masks bool[N] that are not empty, disjoint and without padding."""
  out = {}
  for name, mask in given.items():
    found = checks.host_array(mask, name=name)
    if found.shape != there.shape or found.dtype != bool:
      raise ValueError(
        f'{name} must be bool of shape {there.shape}; got {found.dtype} of '
        f'shape {found.shape}.'
      )
    if not found.any():
      raise ValueError(f'{name} is empty: it must hold at least one node.')
    if (found & ~there).any():
      raise ValueError(
        f'{name} holds node {np.flatnonzero(found & ~there)[0]}, which is '
        'padding.'
      )
    for other, mask_of in out.items():
      both = np.flatnonzero(found & mask_of)
      if len(both):
        raise ValueError(
          f'{other} and {name} overlap, in node {both[0]} and {len(both)} in '
          'all: a node may be in one of them.'
        )
    out[name] = found
  return out


def node_loss(
  outputs: chex.Array, labels: chex.Array, mask: chex.Array
) -> chex.Array:
  """Cross-entropy of a softmax, or of sigmoids where there may be several.

  Args:
    outputs: f[N, K].
    labels: see `NodeTask`.
    mask: bool[N].

  Returns:
    f[], the mean over the mask.
  """
  if labels.ndim == 2:
    loss = optax.sigmoid_binary_cross_entropy(outputs, labels).mean(-1)
  else:
    loss = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
  return jnp.where(mask, loss, 0).sum() / jnp.maximum(mask.sum(), 1)


def node_score(
  outputs: chex.Array, labels: chex.Array, mask: chex.Array
) -> chex.Array:
  """Accuracy, or the F1 of all labels together where there may be several.

  Args:
    outputs: f[N, K].
    labels: see `NodeTask`.
    mask: bool[N].

  Returns:
    f[], in [0, 1]; zero without a node.
  """
  if labels.ndim == 1:
    hits = classes.is_right(outputs, labels) & mask
    return hits.sum() / jnp.maximum(mask.sum(), 1)
  said = (outputs > 0) & mask[:, None]
  true = (labels > 0) & mask[:, None]
  hits = (said & true).sum()
  return 2 * hits / jnp.maximum(said.sum() + true.sum(), 1)
