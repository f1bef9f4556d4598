# SPDX-License-Identifier: Apache-2.0
"""The first stage: the top layer fits random features.

F̃ = P F and Ỹ = P Y are centered over samples.
"""

import chex
import jax.numpy as jnp

from jaxdl.core import checks


def centered(x: chex.Array) -> chex.Array:
  """P x: columns without their means over samples.

  Args:
    x: f[n, ...].

  Returns:
    f[n, ...].

  Example:
    >>> centered(jnp.array([[1.0], [3.0]])).tolist()
    [[-1.0], [1.0]]
  """
  return x - jnp.mean(x, axis=0, keepdims=True)


def backprop_gradient(
  features: chex.Array, top: chex.Array, targets: chex.Array
) -> chex.Array:
  """What hidden nodes are told to do, G_F = -dJ/dF = P (Y - F V) V^T.

  Args:
    features: F, f[n, K].
    top: V, f[K, M].
    targets: Y, f[n, M].

  Returns:
    f[n, K], of J = ½ |P (Y - F V)|².

  Example:
    >>> y = jnp.eye(2)
    >>> v = jnp.array([[1.0, 0.0]])
    >>> backprop_gradient(jnp.zeros((2, 1)), v, y).tolist()
    [[0.5], [-0.5]]

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Sec. 3.
  """
  _check(features, targets)
  _check_top(features, targets, top)
  return centered(targets - features @ top) @ jnp.conj(top).T


def ridge_readout(
  features: chex.Array,
  targets: chex.Array,
  eta: chex.Numeric,
  *,
  is_centered: bool = True,
) -> chex.Array:
  """The top layer of least squares, V* = (F̃^T F̃ + η I)^-1 F̃^T Ỹ, by SVD.

  Args:
    features: F, f[n, K], or complex.
    targets: Y, f[n, M].
    eta: η >= 0, may be traced; with 0 the least-norm solution is taken, by
      leaving out singular values below max(n, K) times rounding.
    is_centered: whether F and Y are centered over samples first (static);
      Tian's code does not, with targets one-hot minus 1 / M.

  Returns:
    f[K, M].

  Raises:
    ValueError: if η is negative or shapes do not fit.

  Cost: O(n K min(n, K)).

  Example:
    >>> f = jnp.array([[1.0], [-1.0]])
    >>> [ridge_readout(f, f, eta).round(3).tolist() for eta in (2.0, 0.0)]
    [[[0.5]], [[1.0]]]

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Sec. 4 and code.
  """
  _check(features, targets)
  checks.number(eta, name='eta', low=0.0)
  if is_centered:
    features, targets = centered(features), centered(targets)
  u, s, vh = jnp.linalg.svd(features, full_matrices=False)
  eps = jnp.finfo(s.dtype).eps * max(features.shape)
  kept = s > eps * s[:1]
  inner = jnp.where(kept, s, 0.0) / jnp.where(kept, s * s + eta, 1.0)
  return vh.conj().T @ (inner[:, None] * (u.conj().T @ targets))


def ridge_backprop(
  features: chex.Array, targets: chex.Array, eta: chex.Numeric
) -> chex.Array:
  """G_F at the ridge solution, without it.

  η (F̃ F̃^T + η I)^-1 Ỹ Ỹ^T F̃ (F̃^T F̃ + η I)^-1: zero without weight decay, and
  it vanishes with the width.

  Args:
    features: F, f[n, K].
    targets: Y, f[n, M].
    eta: η > 0.

  Returns:
    f[n, K].

  Raises:
    ValueError: if η is not positive or shapes do not fit.

  Cost: O(n K min(n, K)).

  Example:
    >>> f = jnp.array([[1.0], [-1.0]])
    >>> ridge_backprop(f, f, 2.0).round(4).tolist()
    [[0.25], [-0.25]]

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Lemma 1.
  """
  _check(features, targets)
  checks.number(eta, name='eta', low=0.0, open_low=True)
  f, y = centered(features), centered(targets)
  u, s, vh = jnp.linalg.svd(f, full_matrices=False)
  # On the range of F̃ both inverses are diagonal; off it the left one is 1 / η.
  right = (s / (s * s + eta))[:, None] * vh
  inside = u.conj().T @ y
  left = eta * (u @ (inside / (s * s + eta)[:, None])) + y - u @ inside
  return left @ (inside.conj().T @ right)


def lazy_trajectory(
  features: chex.Array,
  targets: chex.Array,
  top: chex.Array,
  eta: chex.Numeric,
  time: chex.Numeric,
) -> chex.Array:
  """The top layer after gradient flow on fixed features.

  V(t) = exp(-A t) (V_0 - V*) + V* with A = F̃^T F̃ + η I.

  Args:
    features: F, f[n, K].
    targets: Y, f[n, M].
    top: V_0, f[K, M].
    eta: η >= 0; directions without features stay where they are at 0.
    time: t >= 0, may be traced.

  Returns:
    V(t), f[K, M].

  Raises:
    ValueError: if a number is negative or shapes do not fit.

  Cost: O(K³) for the eigenvectors of A.

  Example:
    >>> f = jnp.array([[1.0], [-1.0]])
    >>> lazy_trajectory(f, f, jnp.zeros((1, 1)), 0.0, 100.0).tolist()
    [[1.0]]

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Sec. 4.
  """
  _check(features, targets)
  checks.number(eta, name='eta', low=0.0)
  checks.number(time, name='time', low=0.0)
  _check_top(features, targets, top)
  f, y = centered(features), centered(targets)
  values, q = jnp.linalg.eigh(f.conj().T @ f)
  rates = jnp.maximum(values, 0.0) + eta
  moved = rates * time
  # (1 - exp(-r t)) / r, which is t at r = 0.
  some = moved > 0
  gain = jnp.where(some, -jnp.expm1(-moved) / jnp.where(some, rates, 1.0), time)
  start, pull = q.conj().T @ top, q.conj().T @ (f.conj().T @ y)
  return q @ (jnp.exp(-moved)[:, None] * start + gain[:, None] * pull)


def _check_top(features, targets, top):
  wanted = jnp.shape(features)[1], jnp.shape(targets)[1]
  if jnp.shape(top) != wanted:
    raise ValueError(
      f'top must have shape {wanted}, features by outputs; got '
      f'{jnp.shape(top)}.'
    )


def _check(features, targets):
  if jnp.ndim(features) != 2 or jnp.ndim(targets) != 2:
    raise ValueError(
      'features and targets must be matrices; got shapes '
      f'{jnp.shape(features)} and {jnp.shape(targets)}.'
    )
  if len(features) != len(targets):
    raise ValueError(
      f'features has {len(features)} samples but targets {len(targets)}: both '
      'need one row per sample.'
    )
