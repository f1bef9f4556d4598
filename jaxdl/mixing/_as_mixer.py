# SPDX-License-Identifier: Apache-2.0
"""Graphs and matrices where a mixer is wanted."""

from typing import Any

import networkx
import numpy as np

from jaxdl.core import checks
from jaxdl.mixing import _make, _mixers, _weights, graphs


def as_mixer(
  mixer: Any,
  num_clients: int | None = None,
  *,
  stochastic: str = 'row',
  name: str = 'mixer',
) -> _mixers.Mixer:
  """Turns what stands for a mixer into a `Mixer`.

  Every gossip algorithm calls it, so that a networkx graph or a NumPy matrix
  may be given as it is.

  Args:
    mixer: a `Mixer` (kept); a networkx graph (integer nodes 0..N-1 are the
      clients of these numbers, others are numbered in the order of
      `graph.nodes`), a `jaxdl.graphs.Graph` without weights or bool[N, N]
      adjacency, which get Metropolis weights; a
      mixing matrix [N, N] or a schedule [T, N, N]. Numbers that are all 0 or 1
      are a graph, unless they are the identity. Text is a topology for
      `make_mixer`, where N is known.
    num_clients: N, which text needs; what else is given is not compared.
    stochastic: 'row', or 'column' for push-sum (static): then graphs get
      `send_weights`, and the columns of a matrix sum to one.
    name: the argument's name, for messages.

  Returns:
    A mixer.

  Raises:
    TypeError: if it is anything else; the message says what to call.
    ValueError: if the graph or the matrix does not fit, or an array may be
      meant as either.

  Example:
    >>> as_mixer(networkx.path_graph(2)).matrix(0).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    >>> as_mixer('ring', 2).matrix(0).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    >>> as_mixer([[0.75, 0.25], [0.25, 0.75]]).matrix(0).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
  """
  if isinstance(mixer, _mixers.Mixer):
    return mixer
  if checks.has_functions(mixer, 'apply', 'matrix'):
    fields = {f: getattr(mixer, f, d) for f, d in _DEFAULTS.items()}
    return _mixers.Mixer(mixer.apply, mixer.matrix, **fields)
  if isinstance(mixer, networkx.Graph) or graphs.is_padded(mixer):
    return _weighted(mixer, stochastic)
  if isinstance(mixer, (list, tuple)) and any(
    isinstance(graph, networkx.Graph) for graph in mixer
  ):
    raise TypeError(
      f'{name} must be one graph; got a {type(mixer).__name__} of '
      f'{len(mixer)}: for one after the other pass their matrices, '
      'np.stack([mixing.metropolis(graph) for graph in graphs]).'
    )
  if isinstance(mixer, str):
    if num_clients is None:
      raise TypeError(
        f'{name} must be a mixer; got the text {mixer!r}: call '
        f'mixing.make_mixer({mixer!r}, num_clients).'
      )
    weights = 'send' if stochastic == 'column' else None
    return _make.make_mixer(mixer, num_clients, weights=weights)
  if hasattr(mixer, 'toarray'):  # Sparse matrices of scipy.
    mixer = mixer.toarray()
  array = None
  listed = isinstance(mixer, (list, tuple)) and not hasattr(mixer, '_fields')
  if listed or hasattr(mixer, '__array__'):
    array = checks.host_array(mixer, name=name)
  if (
    array is None or array.dtype.kind not in 'biuf' or array.ndim not in (2, 3)
  ):
    what = checks.described(mixer)
    hint = 'see mixing.make_mixer'
    if callable(mixer):
      hint = (
        'call it if it makes one; a function of the round is '
        'mixing.from_function(fn, structure=...)'
      )
    raise TypeError(
      f'{name} must be a Mixer, a networkx graph, an adjacency bool[N, N] or a '
      f'mixing matrix [N, N]; got {what}: {hint}.'
    )
  if array.shape[-1] != array.shape[-2]:
    raise ValueError(
      f'{name} must be square, [N, N] or [T, N, N]; got shape {array.shape}.'
    )
  binary = array.ndim == 2 and bool(np.isin(array, (0, 1)).all())
  identity = array.ndim == 2 and np.array_equal(array, np.eye(len(array)))
  if array.dtype == bool or (binary and not identity):
    axis = 0 if stochastic == 'column' else 1
    if array.dtype != bool and (array.sum(axis=axis) == 1).all():
      raise ValueError(
        f'{name} is an array of zeros and ones that may be a graph or a '
        'mixing matrix: pass array.astype(bool) for the graph, or '
        'mixing.from_matrix(array).'
      )
    return _weighted(array, stochastic)
  return _mixers.from_matrix(array, stochastic=stochastic)


_DEFAULTS = {'period': None, 'structure': 'custom', 'stochastic': 'row'}


def _weighted(graph, stochastic):
  if stochastic == 'column':
    sent = _weights.send_weights(graph)
    return _mixers.from_matrix(sent, stochastic='column')
  return _mixers.from_matrix(_weights.metropolis(graph))


def as_graph(
  graph: Any, num_clients: int | None = None, *, name: str = 'graph'
) -> np.ndarray:
  """Checks that a value is a graph of N clients.

  Args:
    graph: anything that `graphs.adjacency` takes, or where N is known text for
      `make_graph`.
    num_clients: N, or None for any.
    name: the argument's name, for messages.

  Returns:
    bool[N, N].

  Raises:
    TypeError: if it is no graph; the message says what to call.
    ValueError: if it has another size.
  """
  if isinstance(graph, str):
    if num_clients is not None:
      return _make.make_graph(graph, num_clients)
    raise TypeError(
      f'{name} must be a graph; got the text {graph!r}: call '
      f'mixing.make_graph({graph!r}, num_clients).'
    )
  if isinstance(graph, _mixers.Mixer) or callable(graph):
    raise TypeError(
      f'{name} must be a networkx graph or bool[N, N]; got '
      f'{checks.described(graph)}: pass the graph itself, for example '
      'mixing.graphs.ring(num_clients).'
    )
  found = graphs.adjacency(graph)
  if num_clients is not None and len(found) != num_clients:
    raise ValueError(
      f'{name} has {len(found)} clients but num_clients={num_clients}.'
    )
  return found
