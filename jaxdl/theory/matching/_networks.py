# SPDX-License-Identifier: Apache-2.0
"""Units of many networks of one architecture, compared layer by layer."""

import itertools
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, clients as clients_lib, types
from jaxdl.networks import activations as run_layers
from jaxdl.theory.matching import _moments


def network_activations(
  network: types.Network | Any,
  stacked: chex.ArrayTree,
  inputs: chex.Array,
  *,
  layers: str | Sequence[str] | None = None,
  clients: clients_lib.Clients | None = None,
) -> dict[str, chex.Array]:
  """Runs several networks of one architecture on the same inputs.

  Args:
    network: any `Network`, or a flax module.
    stacked: parameters, leaves [K, ...].
    inputs: f[B, ...].
    layers: see `networks.activations`.
    clients: how the K networks are run; all together if None.

  Returns:
    Dict of f[K, B, ..., C].

  Raises:
    ValueError: as `networks.activations`.

  Example:
    >>> from jaxdl import networks
    >>> network, x = networks.mlp((3,), 1), jnp.ones((4, 2))
    >>> params = jax.vmap(lambda key: network.init(key, x))(
    ...   jax.random.split(jax.random.key(0), 2)
    ... )
    >>> network_activations(network, params, x)['dense_1'].shape
    (2, 4, 3)
  """
  n = checks.num_clients(stacked, name='stacked')
  clients = clients_lib.Clients(n) if clients is None else clients
  run = lambda params, x: run_layers(network, params, x, layers=layers)
  return clients.map(run, in_axes=(0, None))(stacked, inputs)


def network_moments(
  network: types.Network | Any,
  stacked: chex.ArrayTree,
  batches: chex.Array,
  mask: chex.Array | None = None,
  *,
  layers: str | Sequence[str] | None = None,
  clients: clients_lib.Clients | None = None,
) -> dict[str, _moments.Moments]:
  """Moments of the units of several networks, layer by layer, in one pass.

  Args:
    network: any `Network`, or a flax module.
    stacked: parameters, leaves [K, ...].
    batches: inputs f[T, B, ...].
    mask: bool[T, B], false for padding; None for none.
    layers: see `networks.activations`.
    clients: how the K networks are run; all together if None.

  Returns:
    Dict of `Moments` of K networks.

  Raises:
    ValueError: as `networks.activations`.

  Cost: one scan over the T batches; memory is that of one batch and of all
  covariances, (K n)² / 2 numbers for each layer, whatever T.

  Example:
    >>> from jaxdl import networks
    >>> network, x = networks.mlp((3,), 1), jnp.ones((5, 4, 2))
    >>> params = jax.vmap(lambda key: network.init(key, x[0]))(
    ...   jax.random.split(jax.random.key(0), 2)
    ... )
    >>> found = network_moments(network, params, x)
    >>> found['dense_1'].count.item(), found['dense_1'].between(0, 1).shape
    (20.0, (3, 3))
  """
  n = checks.num_clients(stacked, name='stacked')
  checks.num_clients(batches, name='batches')
  if mask is None:
    mask = jnp.ones(jnp.shape(batches)[:2], bool)
  if jnp.shape(mask) != jnp.shape(batches)[:2]:
    raise ValueError(
      f'mask must have the shape of the examples, {jnp.shape(batches)[:2]}; '
      f'got {jnp.shape(mask)}.'
    )

  def one(batch):
    x, real = batch
    found = network_activations(
      network, stacked, x, layers=layers, clients=clients
    )
    return {
      name: _moments.activation_moments(
        *(acts[k] for k in range(n)), mask=real, layer=name
      )
      for name, acts in found.items()
    }

  first = jax.tree.map(lambda x: x[0], (batches, mask))
  start = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, first)
  )

  def body(total, batch):
    new = one(batch)
    merged = {k: _moments.merge_moments(total[k], new[k]) for k in total}
    return merged, None

  return jax.lax.scan(body, start, (batches, mask))[0]


def pairs(num_networks: int) -> list[tuple[int, int]]:
  """All pairs of networks, the smaller number first.

  Args:
    num_networks: K >= 2.

  Returns:
    K (K - 1) / 2 pairs.

  Raises:
    ValueError: for fewer than two.

  Example:
    >>> pairs(3)
    [(0, 1), (0, 2), (1, 2)]
  """
  n = checks.integer(num_networks, name='num_networks', low=2)
  return list(itertools.combinations(range(n), 2))


class Layers:
  """All that measures need of one layer: moments, and samples if they ask.

  Attributes:
    name: of the layer.
    fit: moments of K networks, on what maps are fitted on.
    held_out: moments on other samples, which all else is measured on.
    samples: f[K, N, C], of the same as `held_out`; None where none are kept.
  """

  def __init__(
    self,
    name: str,
    fit: _moments.Moments,
    held_out: _moments.Moments,
    samples: np.ndarray | None = None,
  ):
    """Holds them."""
    self.name, self.fit, self.held_out = name, fit, held_out
    self.samples = samples

  @property
  def dead(self) -> list[int]:
    """Networks without a unit that varies, or with one that is no number."""
    out = []
    for k, mean in enumerate(self.held_out.mean):
      _, alive = _moments.spread(self.held_out, k, 1e-8)
      cov = self.held_out.between(k, k)
      finite = np.isfinite(np.asarray(mean)).all() and np.isfinite(cov).all()
      if not (finite and np.asarray(alive).any()):
        out.append(k)
    return out

  @property
  def pairs(self) -> list[tuple[int, int]]:
    """All pairs of networks."""
    return pairs(len(self.held_out.mean))

  def correlation(self, first: int, second: int) -> _moments.Correlation:
    """Correlations on the samples held out."""
    return _moments.correlation(self.held_out, first, second, layer=self.name)
