# SPDX-License-Identifier: Apache-2.0
"""Robust rules in place of weighted means."""

import contextlib
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, clients, trees
from jaxdl.mixing import _as_mixer, _mixers

# `Mixer.structure` of mixers without a matrix.
ROBUST = 'robust'


def robust_mixer(
  graph: np.ndarray,
  rule: Callable[..., chex.ArrayTree],
  *,
  chunk: int | None = None,
) -> _mixers.Mixer:
  """Replaces the weighted mean over neighbors by a robust rule.

  Client i gets `rule` of its own model and those it receives, in the order
  own, then neighbors by number.

  Args:
    graph: anything `mixing.graphs.adjacency` takes; entry [i, j] lets i receive
      from j.
    rule: `rule(updates) -> update` as in `jaxdl.aggregators`; where degrees
      differ it must also take `mask`.
    chunk: clients handled together (static).

  Returns:
    A mixer for `gossip_sgd` and `quasi_global_momentum`. It has no matrix, and
    does not keep the mean, so difference and tracking methods refuse it.

  Raises:
    ValueError: if the graph is not square, or a client receives too few models
      for the rule.
  """
  adj = _as_mixer.as_graph(graph)
  checks.rule(rule, name='rule')
  n = len(adj)
  lists = [np.concatenate([[i], np.flatnonzero(adj[i])]) for i in range(n)]
  _check_fewest(rule, lists)
  most = max(len(l) for l in lists)
  table = np.array([np.pad(l, (0, most - len(l)), mode='edge') for l in lists])
  present = (
    np.arange(most)[None, :] < np.array([len(l) for l in lists])[:, None]
  )

  def one(ids, mask, stacked):
    received = trees.take_rows(stacked, ids)
    return rule(received) if present.all() else rule(received, mask=mask)

  def apply(stacked, round, *, key=None, axis_name=None):
    del round, key
    if axis_name is not None:
      raise ValueError(
        'robust_mixer sees whole neighborhoods: apply it to global arrays '
        'under jit instead of inside a mapped function.'
      )
    if checks.num_clients(stacked, name='stacked') != n:
      raise ValueError(f'stacked must have N = {n} clients, as the graph.')
    return clients.map_clients(one, chunk=chunk, in_axes=(0, 0, None))(
      jnp.asarray(table), jnp.asarray(present), stacked
    )

  def matrix(round, *, key=None):
    del round, key
    raise ValueError('a robust rule is not linear: it has no mixing matrix.')

  return _mixers.Mixer(apply, matrix, 1, ROBUST, 'any')


def _check_fewest(rule, lists):
  """Raises if a rule refuses as few models as some client receives."""
  client = min(range(len(lists)), key=lambda i: len(lists[i]))
  count = len(lists[client])
  received = jax.ShapeDtypeStruct((count, 2), jnp.float32)
  # What is wrong with other trees, or without a key, shows in `apply`.
  with contextlib.suppress(TypeError, AttributeError, LookupError):
    try:
      jax.eval_shape(rule, received)
    except ValueError as error:
      raise ValueError(
        f'client {client} has {count - 1} neighbors, so that the rule sees '
        f'{count} models there: {error}'
      ) from error
