# SPDX-License-Identifier: Apache-2.0
"""What every loader returns, and how nodes are split and get features."""

from typing import Any, NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.data.files import _limits
from jaxdl.graphs import _change, _graph, _inside
from jaxdl.graphs._graph import Graph

FEATURES = ('identity', 'constant', 'degree')
_MOST_IDENTITIES = 20_000
_MOST_CLASSES = 1000


class LinkSplits(NamedTuple):
  """Links to be told from pairs that are none, where files have them.

  Attributes:
    train: i32[M, 2].
    validation: i32[M, 2].
    validation_negatives: i32[K, 2], or i32[M, K, 2] where every link has its
      own.
    test: i32[M, 2].
    test_negatives: likewise.
  """

  train: np.ndarray
  validation: np.ndarray
  validation_negatives: np.ndarray
  test: np.ndarray
  test_negatives: np.ndarray


class GraphDataset(NamedTuple):
  """A graph and what is known of its nodes.

  Attributes:
    graph: the graph; of a set of links that of the links to train on.
    features: f[N, F]; zeros of padding.
    labels: i32[N], or f[N, K] of zeros and ones where a node may have several,
      or None; 0 of padding and where nobody knows.
    num_classes: K, or 0.
    train: bool[N], nodes to train on, or None.
    validation: bool[N], or None.
    test: bool[N], or None.
    links: splits of links, NumPy, or None.
    name: what it is called.
  """

  graph: Graph
  features: chex.Array
  labels: chex.Array | None = None
  num_classes: int = 0
  train: chex.Array | None = None
  validation: chex.Array | None = None
  test: chex.Array | None = None
  links: LinkSplits | None = None
  name: str = ''


def node_features(graph: Graph, kind: str = 'identity') -> np.ndarray:
  """Makes features for nodes that have none, on the host.

  Args:
    graph: one graph, concrete.
    kind: 'identity' for a row of the identity matrix (with a linear layer, a
      vector of its own to learn), 'constant' for a one, 'degree' for the
      logarithm of one and the number of neighbors.

  Returns:
    f32[N, n], f32[N, 1] or f32[N, 1]; zeros of padding.

  Raises:
    ValueError: if the kind is unknown, or the identity would be large.

  Example:
    >>> graph = _graph.make_graph([(0, 1)], 2, pad_nodes=3)
    >>> node_features(graph).tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
  """
  _inside.check_graph(graph, lone=True)
  checks.choice(kind, FEATURES, name='features')
  there = np.asarray(graph.node_mask)
  n = int(there.sum())
  if kind == 'identity':
    if n > _MOST_IDENTITIES:
      raise ValueError(
        f'features=identity needs a column for each of {n} nodes: use '
        "'constant' or 'degree', or an embedding."
      )
    return np.eye(len(there), n, dtype=np.float32)
  out = there.astype(np.float32)[:, None]
  if kind == 'degree':
    pairs = _change.edge_pairs(graph)
    count = np.bincount(pairs[:, 1], minlength=len(there))
    out = np.log1p(count).astype(np.float32)[:, None]
  return out


def split_nodes(
  labels: Any,
  *,
  rng: np.random.Generator,
  train: float = 0.6,
  validation: float = 0.2,
  balanced: bool = False,
  mask: Any = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Draws which nodes are trained on, validated on and tested on.

  Args:
    labels: i[N].
    rng: draws.
    train: share of the nodes, or an integer for so many of every class.
    validation: share of the nodes, or an integer for so many in all.
    balanced: with a share to train on, whether every class gives
      `round(train N / K)` of its nodes, as far as it has them.
    mask: bool[N], nodes to split; all if None.

  Returns:
    Three masks bool[N], disjoint, whose union is the mask.

  Raises:
    ValueError: if a share is out of range, shapes do not fit, or nodes do not
      suffice.
    TypeError: if labels are not integers, the mask not bool, or rng no
      generator.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> parts = split_nodes([0] * 6 + [1] * 4, rng=rng, train=2, validation=3)
    >>> [int(part.sum()) for part in parts]
    [4, 3, 3]
  """
  labels, mask = _to_split(labels, mask)
  if not isinstance(rng, np.random.Generator):
    raise TypeError(
      'rng must be a NumPy generator, as np.random.default_rng(0); got '
      f'{checks.described(rng)}.'
    )
  balanced = checks.flag(balanced, name='balanced')
  nodes = rng.permutation(np.flatnonzero(mask))
  n = len(nodes)
  counts = isinstance(train, (int, np.integer)) and not isinstance(train, bool)
  if counts:
    checks.integer(train, name='train', low=1)
  else:
    checks.number(train, name='train', low=0, high=1, open_low=True)
  if counts or balanced:
    classes = np.unique(labels[nodes])
    each = int(train) if counts else round(train * n / len(classes))
    chosen = [nodes[labels[nodes] == c][:each] for c in classes]
    if counts and any(len(part) < each for part in chosen):
      c = next(c for c, p in zip(classes, chosen, strict=True) if len(p) < each)
      raise ValueError(
        f'train={train} nodes of every class: class {c} has '
        f'{int((labels[nodes] == c).sum())}.'
      )
    first = np.concatenate(chosen)
  else:
    first = nodes[: round(train * n)]
  rest = nodes[~np.isin(nodes, first)]
  if isinstance(validation, (int, np.integer)) and validation is not True:
    size = checks.integer(validation, name='validation', low=0)
  else:
    checks.number(validation, name='validation', low=0, high=1)
    size = round(validation * n)
  if size > len(rest):
    raise ValueError(
      f'validation={validation} takes {size} nodes, but train={train} leaves '
      f'{len(rest)} of {n}.'
    )
  out = []
  for part in (first, rest[:size], rest[size:]):
    found = np.zeros(len(labels), bool)
    found[part] = True
    out.append(found)
  return tuple(out)


def _to_split(labels, mask):
  """Labels i[N] and which of them to split, bool[N]."""
  labels = checks.host_array(labels, name='labels')
  if labels.ndim != 1:
    raise ValueError(f'labels must have shape [N]; got {labels.shape}.')
  if labels.size and labels.dtype.kind not in 'iu':
    raise TypeError(f'labels must be integers; got {labels.dtype}.')
  if mask is None:
    return labels, np.ones(len(labels), bool)
  mask = checks.host_array(mask, name='mask')
  if mask.shape != labels.shape:
    raise ValueError(
      f'mask must have shape {labels.shape}, as labels; got {mask.shape}.'
    )
  if mask.dtype != bool:
    raise TypeError(f'mask must be bool; got {mask.dtype}.')
  return labels, mask


def count_nodes(path: Any, pairs: np.ndarray) -> int:
  """One more than the largest node of edges, unless most do not occur."""
  n = int(pairs.max(initial=-1)) + 1
  if n > 1_000_000 + 100 * len(pairs):
    raise _limits.FileError(
      f'{path}: expected nodes numbered from 0 without large gaps, got node '
      f'{n - 1} in {len(pairs)} edges: say num_nodes if there are so many.'
    )
  return n


def check_name(name: Any) -> None:
  """Raises TypeError unless the name of a set is text."""
  if not isinstance(name, str):
    raise TypeError(f'name must be text; got {checks.described(name)}.')


def row_normalized(x: np.ndarray) -> np.ndarray:
  """Divides every row by its sum; rows of zeros stay."""
  total = x.sum(axis=1, keepdims=True)
  return x / np.where(total == 0, 1, total)


def assemble(
  pairs: np.ndarray,
  num_nodes: int,
  *,
  features: np.ndarray | str,
  labels: np.ndarray | None = None,
  num_classes: int | None = None,
  masks: tuple[np.ndarray | None, ...] = (None, None, None),
  links: LinkSplits | None = None,
  directed: bool = False,
  weights: np.ndarray | None = None,
  pad: bool = True,
  name: str = '',
) -> GraphDataset:
  """Makes a data set of host arrays; see `GraphDataset` and `make_graph`."""
  pad = checks.flag(pad, name='pad')
  graph = _graph.make_graph(
    pairs,
    num_nodes,
    directed=directed,
    weights=weights,
    pad_nodes=None if pad else num_nodes,
  )
  if isinstance(features, str):
    features = node_features(graph, features)
  else:
    features = _graph.finite(features, 'features')
    features = _change.pad_rows(features, graph)
  grown = lambda x, kind: (
    None if x is None else jnp.asarray(_change.pad_rows(x, graph), kind)
  )
  if num_classes is None:
    num_classes = 0 if labels is None else int(np.max(labels, initial=-1)) + 1
    if num_classes > max(num_nodes, _MOST_CLASSES):
      raise ValueError(
        f'labels go up to {num_classes - 1} on {num_nodes} nodes: number the '
        'classes from 0, np.unique(labels, return_inverse=True).'
      )
  several = labels is not None and labels.ndim == 2
  train, validation, test = (grown(mask, bool) for mask in masks)
  return GraphDataset(
    graph=graph,
    features=jnp.asarray(features, jnp.result_type(float)),
    labels=grown(labels, jnp.result_type(float) if several else jnp.int32),
    num_classes=num_classes,
    train=train,
    validation=validation,
    test=test,
    links=links,
    name=name,
  )
