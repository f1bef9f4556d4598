# SPDX-License-Identifier: Apache-2.0
"""A trunk of principal components instead of a learned one."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import functional
from jaxdl.operators import _branches as branches


class PODBasis(NamedTuple):
  """Principal components of output functions on fixed points.

  Attributes:
    mean: f[Q].
    modes: f[p, Q], orthogonal rows of norm sqrt(Q).
    energy: f[p], the share of the variance that each mode carries.
  """

  mean: chex.Array
  modes: chex.Array
  energy: chex.Array


def pod_basis(outputs: chex.Array, num_modes: int) -> PODBasis:
  """Computes the leading principal components of training outputs.

  Fit it on training data only. Runs on the host in float64.

  Args:
    outputs: f[N, Q], concrete, N >= 2 functions at Q points.
    num_modes: p <= min(N, Q).

  Returns:
    A `PODBasis` in the dtype of the outputs; signs make the largest entry of
    every mode, the first of equals, positive.

  Raises:
    ValueError: if shapes or counts do not fit or outputs are not finite.

  Cost: O(N Q min(N, Q)).

  Source: Lu et al. 2022 (https://arxiv.org/abs/2111.05512).
  """
  y = np.asarray(outputs, np.float64)
  if y.ndim != 2 or y.shape[0] < 2:
    raise ValueError(
      'outputs must be [functions, points] with at least 2 functions; got '
      f'shape {y.shape}.'
    )
  checks.integer(num_modes, name='num_modes', low=1, high=min(y.shape))
  if not np.isfinite(y).all():
    raise ValueError('outputs must be finite.')
  mean = y.mean(0)
  _, singular, modes = np.linalg.svd(y - mean, full_matrices=False)
  total = max(float((singular**2).sum()), np.finfo(np.float64).tiny)
  energy = (singular**2 / total)[:num_modes]
  modes = modes[:num_modes] * np.sqrt(y.shape[1])
  # The first of entries that differ by rounding alone: odd modes have two.
  sizes = np.abs(modes)
  largest = (sizes >= (1 - 1e-6) * sizes.max(1, keepdims=True)).argmax(1)
  modes *= np.sign(modes[np.arange(num_modes), largest])[:, None]
  dtype = jnp.asarray(outputs).dtype
  return PODBasis(*(jnp.asarray(a, dtype) for a in (mean, modes, energy)))


def pod_deeponet(
  branch: Network | Sequence[int],
  basis: PODBasis,
  *,
  trunk: Network | Sequence[int] | None = None,
  use_bias: bool = False,
  activation: functional.Activation = 'tanh',
) -> Network:
  """Builds G(u) = mean + (1/p) sum_k b_k(u) modes_k on the basis' points.

  `apply(params, u f[N, m]) -> f[N, Q, 1]`; with a trunk, `apply(params, u, y
  f[Q, d])`, whose features are further modes.

  Args:
    branch: a network u -> f[N, p], or hidden widths of one; p is appended.
    basis: from `pod_basis`; constant.
    trunk: learned further modes: a network y -> f[Q, p'], or widths.
    use_bias: whether a learned scalar is added.
    activation: of both, where given as widths.

  Returns:
    A `Network`; `params` is {'branch', 'trunk', 'bias'}.

  Raises:
    ValueError: if the branch does not give one coefficient per mode.

  Source: Lu et al. 2022 (https://arxiv.org/abs/2111.05512).
  """
  num_modes, num_points = basis.modes.shape
  trunk_net = (
    trunk
    if trunk is None or isinstance(trunk, Network)
    else branches.dense_layers(trunk, activation=activation, activate_last=True)
  )
  if not isinstance(branch, Network) and isinstance(trunk, Network):
    raise ValueError(
      'branch must be a network where trunk is one: its width is unknown.'
    )
  if isinstance(branch, Network):
    branch_net = branch
  else:
    extra = 0 if trunk is None else tuple(trunk)[-1]
    branch_net = branches.dense_layers(
      (*branch, num_modes + extra), activation=activation
    )

  def init(key, u, y=None):
    branch_key, trunk_key = jax.random.split(key)
    params = {'branch': branch_net.init(branch_key, u)}
    if trunk_net is not None:
      params['trunk'] = trunk_net.init(trunk_key, y)
    if use_bias:
      params['bias'] = jnp.zeros((), basis.mean.dtype)
    return params

  def apply(params, u, y=None, *, aligned=True, train=False, key=None):
    del aligned, train, key
    modes = basis.modes.T
    if trunk_net is not None:
      if y is None or y.shape[0] != num_points:
        raise ValueError(
          f'y must hold the {num_points} points of the basis; got '
          f'{None if y is None else y.shape}.'
        )
      modes = jnp.concatenate([modes, trunk_net.apply(params['trunk'], y)], 1)
    b = branch_net.apply(params['branch'], u)
    if b.shape[-1] != modes.shape[-1]:
      raise ValueError(
        f'the branch gives {b.shape[-1]} coefficients for {modes.shape[-1]} '
        'modes: change its last width.'
      )
    out = jnp.einsum('np,qp->nq', b, modes) / modes.shape[-1]
    out = out + jnp.broadcast_to(basis.mean, out.shape)
    if use_bias:
      out = out + params['bias']
    return out[..., None]

  return Network(init, apply)
