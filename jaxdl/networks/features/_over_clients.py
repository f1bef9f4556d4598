# SPDX-License-Identifier: Apache-2.0
"""Read-outs in closed form of examples that clients hold."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, clients as clients_lib
from jaxdl.networks.features import _arrays as arrays, _bundling as bundling

# Candidate factors of logits that were fitted to one-hot labels.
_SCALES = np.geomspace(0.5, 200.0, 48).astype(np.float32)


def fit_over_clients(
  lift: Callable[[chex.Array], chex.Array],
  inputs: chex.Array,
  labels: chex.Array,
  *,
  mask: chex.Array,
  ridge: chex.Numeric,
  num_classes: int = 0,
  clients: clients_lib.Clients | None = None,
) -> tuple[chex.Array, chex.Array]:
  """Fits the read-out of the pooled examples; only sums leave the clients.

  Every client sums what a read-out needs of its own examples, and the sums are
  added up, one client at a time or as `clients` says. Outputs that estimate
  one-hot labels make poor logits: a second sum over clients finds the factor
  that gives the least cross-entropy where each example is predicted without
  itself.

  Args:
    lift: features of inputs, f[E, I] -> f[E, M].
    inputs: f[N, E, I].
    labels: i32[N, E] classes, or f[N, E, o] without.
    mask: bool[N, E], real examples; what the others hold does not matter.
    ridge: see `closed_form_readout`.
    num_classes: K; 0 for regression.
    clients: how clients are run, also over a mesh.

  Returns:
    The matrix f[o, M], and the factor that makes logits of outputs, f[]; one
    for regression.

  Raises:
    ValueError: if ridge is negative, shapes disagree, or a concrete class is
      out of range.
    TypeError: if classes are no integers.

  Example:
    >>> x = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [9.0, 9.0]]])
    >>> y = x @ jnp.array([[2.0], [3.0]])
    >>> mask = jnp.array([[True, True], [True, False]])
    >>> w, _ = fit_over_clients(lambda x: x, x, y, mask=mask, ridge=0.0)
    >>> w.round(4).tolist()
    [[2.0, 3.0]]

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  checks.number(ridge, name='ridge', low=0.0)
  checks.integer(num_classes, name='num_classes', low=0)
  inputs = arrays.real(inputs, name='inputs')
  ends = ('N', 'E') if num_classes else ('N', 'E', 'o')
  if mask.ndim != 2 or inputs.shape[:2] != mask.shape:
    raise ValueError(
      'inputs and mask must be [N, E, I] and [N, E]; got '
      f'{inputs.shape} and {mask.shape}.'
    )
  if labels.ndim != len(ends) or labels.shape[:2] != mask.shape:
    raise ValueError(
      f'labels must be [{", ".join(ends)}] with N, E = {mask.shape} where '
      f'num_classes={num_classes}; got {labels.shape}.'
    )
  if num_classes:
    checks.class_labels(labels, num_classes, mask=mask)
  else:
    labels = arrays.real(labels, name='labels')

  def sums(client):
    x, y, real = client
    y = jax.nn.one_hot(y, num_classes) if num_classes else y
    return bundling.readout_statistics(lift(x), y, weights=real)

  held = (inputs, labels, mask)
  pooled = _summed(sums, held, clients)
  matrix = bundling.closed_form_readout(pooled, ridge=ridge)
  if not num_classes:
    return matrix, jnp.float32(1)

  regular = pooled.gram + ridge * jnp.eye(pooled.gram.shape[0])

  def losses(client):
    x, y, real = client
    h = lift(x)
    # An example's leverage tells what it was given by a fit without it.
    solved = jax.scipy.linalg.solve(regular, h.T, assume_a='pos')
    leverage = jnp.clip(jnp.sum(h.T * solved, axis=0), 0, 0.99)[:, None]
    wanted = jax.nn.one_hot(y, num_classes)
    outputs = (h @ matrix.T - leverage * wanted) / (1 - leverage)

    def one(scale):
      each = optax.softmax_cross_entropy_with_integer_labels(scale * outputs, y)
      return jnp.where(real, each, 0).sum()

    return jax.lax.map(one, jnp.asarray(_SCALES))

  best = jnp.argmin(_summed(losses, held, clients))
  return matrix, jnp.asarray(_SCALES)[best]


def _summed(fn, held, clients):
  """The sum of a function of each client."""
  if clients is not None:
    one_each = jnp.ones(held[0].shape[0], held[0].dtype)
    return clients.fold(lambda *client: fn(client))(one_each, *held)
  return jax.tree.map(lambda x: x.sum(axis=0), jax.lax.map(fn, held))
