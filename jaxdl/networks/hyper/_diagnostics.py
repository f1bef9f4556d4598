# SPDX-License-Identifier: Apache-2.0
"""What a hypernetwork makes, and how its gradients swing."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, trees
from jaxdl.core.types import Network
from jaxdl.networks.hyper import _encodings, _hypernet


def _check_list(gammas):
  if len(_encodings.rows(gammas)) != 1:
    raise ValueError(
      'gammas must be [G, D], a row for each input; got leading axes '
      f'{_encodings.rows(gammas)}.'
    )


def output_std_vs_gamma(
  network: Network, params: chex.ArrayTree, gammas: Any
) -> dict[str, chex.Array]:
  """Standard deviation of each generated tensor, for several inputs.

  Without encoding and residual it is proportional to a scalar input.

  Args:
    network: from `hypernet`.
    params: its parameters.
    gammas: f[G, D], or a dict of those.

  Returns:
    f[G] by path of the tensor, over its entries.

  Raises:
    ValueError: if gammas are no list of inputs.

  Cost: G times the generated parameters.

  Example:
    >>> network = hypernet(
    ...   {'kernel': jnp.zeros((9, 9))}, encoding='none', residual=False
    ... )
    >>> gammas = jnp.array([[0.25], [0.5], [1.0]])
    >>> params = network.init(jax.random.key(0), gammas)
    >>> std = output_std_vs_gamma(network, params, gammas)['kernel']
    >>> (std / std[0]).round(4).tolist()
    [1.0, 2.0, 4.0]
  """
  _check_list(gammas)
  theta = network.apply(params, gammas)
  return {
    path: jnp.std(x.reshape(x.shape[0], -1), axis=1)
    for path, x in _hypernet.by_path(theta).items()
  }


def delta_norms(
  network: Network, params: chex.ArrayTree, gammas: Any
) -> dict[str, dict[str, chex.Array]]:
  """How far generated tensors are from the independent ones.

  Args:
    network: from `hypernet`.
    params: its parameters.
    gammas: f[G, D], or a dict of those.

  Returns:
    By path of the tensor: `delta`, f[G], the norms of theta - theta0, and
    `start`, f[], that of theta0.

  Raises:
    ValueError: if gammas are no list of inputs.

  Example:
    >>> network = hypernet({'kernel': jnp.zeros((9, 9))}, init='bias_hyper')
    >>> params = network.init(jax.random.key(0), jnp.zeros(1))
    >>> found = delta_norms(network, params, jnp.zeros((2, 1)))
    >>> found['kernel']['delta'].tolist()
    [0.0, 0.0]
  """
  _check_list(gammas)
  theta = _hypernet.by_path(network.apply(params, gammas))
  out = {}
  for path, head in params['heads'].items():
    gap = theta[path] - head['bias'][None]
    norms = jnp.linalg.norm(gap.reshape(gap.shape[0], -1), axis=1)
    out[path] = {'delta': norms, 'start': jnp.linalg.norm(head['bias'].ravel())}
  return out


def grad_norm_stats(
  loss: Callable[..., chex.Array],
  params: chex.ArrayTree,
  batches: chex.ArrayTree,
) -> dict[str, chex.Array]:
  """How much the norm of the gradient varies from batch to batch.

  Args:
    loss: `loss(params, batch) -> f[]`.
    params: where the gradient is taken.
    batches: leaves [T, ...].

  Returns:
    `norms`, f[T]; `mean`, `std` and `max` of them, and `variation`, the
    deviation in units of the mean (zero if that is).

  Cost: T gradients, one after the other.

  Example:
    >>> found = grad_norm_stats(
    ...   lambda w, x: w * x, jnp.ones(()), jnp.array([1.0, 3.0])
    ... )
    >>> float(found['mean']), float(found['variation'])
    (2.0, 0.5)
  """
  norms = jax.lax.map(
    lambda batch: trees.global_norm(jax.grad(loss)(params, batch)), batches
  )
  mean, std = jnp.mean(norms), jnp.std(norms)
  safe = jnp.where(mean > 0, mean, 1)
  return {
    'norms': norms,
    'mean': mean,
    'std': std,
    'max': jnp.max(norms),
    'variation': jnp.where(mean > 0, std / safe, 0),
  }


def head_shardings(
  params: chex.ArrayTree, mesh: jax.sharding.Mesh, axis: str
) -> chex.ArrayTree:
  """Spreads the last layer of a hypernetwork over devices.

  A head, and with it the tensor that it makes, is split along the longest axis
  of the tensor that the number of devices divides; what has none is everywhere,
  and so are hidden layers.

  Args:
    params: of `hypernet` or `hypernetize`, or their shapes.
    mesh: of devices.
    axis: name of the axis of the mesh to split over.

  Returns:
    A `NamedSharding` per leaf, for `jax.device_put` and `out_shardings`.

  Raises:
    ValueError: if the mesh has no such axis.

  Example:
    >>> network = hypernet({'kernel': jnp.zeros((9, 8))})
    >>> params = network.init(jax.random.key(0), jnp.zeros(1))
    >>> mesh = jax.make_mesh((1,), ('model',))
    >>> heads = head_shardings(params, mesh, 'model')['heads']
    >>> tuple(heads['kernel']['bias'].spec)
    ('model', None)
  """
  checks.choice(axis, mesh.axis_names, name='axis')
  count = mesh.shape[axis]

  def place(path, x):
    spec = [None] * len(x.shape)
    names = [getattr(entry, 'key', '') for entry in path]
    if names[:1] == ['heads'] or names[:2] == ['hyper', 'heads']:
      skip = int(names[-1] == 'kernel')  # The hidden axis.
      fits = [i for i in range(skip, len(x.shape)) if x.shape[i] % count == 0]
      if fits:
        spec[max(fits, key=lambda i: (x.shape[i], -i))] = axis
    return jax.NamedSharding(mesh, jax.P(*spec))

  return jax.tree_util.tree_map_with_path(place, params)


def gamma_grid(gamma_dim: int, num_points: int, *, seed: int = 0) -> np.ndarray:
  """Inputs to measure at: even ones on [0, 1], of more dimensions drawn ones.

  Args:
    gamma_dim: D.
    num_points: G.
    seed: of the draw.

  Returns:
    f32[G, D]; of one dimension the midpoints of G equal intervals.

  Example:
    >>> gamma_grid(1, 2).tolist()
    [[0.25], [0.75]]
  """
  checks.integer(gamma_dim, name='gamma_dim', low=1)
  checks.integer(num_points, name='num_points', low=1)
  checks.integer(seed, name='seed', low=0)
  if gamma_dim == 1:
    grid = (np.arange(num_points)[:, None] + 0.5) / num_points
  else:
    grid = np.random.default_rng(seed).random((num_points, gamma_dim))
  return grid.astype(np.float32)
