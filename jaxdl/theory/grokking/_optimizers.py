# SPDX-License-Identifier: Apache-2.0
"""Adam and Muon as grokking wants them."""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import local
from jaxdl.core import checks

# Coefficients of the five Newton-Schulz steps of Tian's code.
NEWTON_SCHULZ = (
  (4.01, -9.22, 5.80),
  (3.49, -6.38, 3.23),
  (3.34, -6.21, 3.20),
  (3.64, -7.48, 4.43),
  (3.46, -5.35, 2.85),
)


def coupled_adam(
  learning_rate: chex.Numeric = 1e-3,
  weight_decay: chex.Numeric = 0.0,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
) -> optax.GradientTransformation:
  """Adam whose weight decay is a part of the gradient, before the moments.

  Late generalization hangs on it: decoupled decay (`optax.adamw`) of the same
  size does not bring it about. `adam(..., weight_decay=...)` of `OPTIMIZERS` is
  the same; here both numbers may be traced, to be swept by `vmap`.

  Args:
    learning_rate: step size, may be traced.
    weight_decay: η >= 0, may be traced.
    b1: decay of the first moment.
    b2: decay of the second.
    eps: added to the denominator.

  Returns:
    An optax transformation.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> optimizer = coupled_adam(0.1, weight_decay=0.5)
    >>> w = jnp.array([2.0, -2.0])
    >>> updates, _ = optimizer.update(jnp.zeros(2), optimizer.init(w), w)
    >>> (10 * updates).round(3).tolist()
    [-1.0, 1.0]
  """
  checks.number(learning_rate, name='learning_rate', low=0.0)
  checks.number(weight_decay, name='weight_decay', low=0.0)
  for name, value in (('b1', b1), ('b2', b2)):
    checks.number(value, name=name, low=0.0, high=1.0, open_high=True)
  checks.number(eps, name='eps', low=0.0)
  return optax.chain(
    optax.add_decayed_weights(weight_decay),
    optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
    optax.scale_by_learning_rate(learning_rate),
  )


def muon(
  learning_rate: float = 1e-3,
  *,
  momentum: float = 0.99,
  weight_decay: float = 0.0,
  top_rate: float | None = None,
) -> optax.GradientTransformation:
  """Orthogonal updates of the lower layers, Adam at the top.

  Momentum is an average without Nesterov's step; its singular values are
  brought to one up to 16 % by five Newton-Schulz steps, without a factor for
  the shape. Lower layers decay apart from the gradient, the top with it.

  Args:
    learning_rate: of the lower layers.
    momentum: decay of the average.
    weight_decay: of all layers.
    top_rate: learning rate of 'top'; as the others if None.

  Returns:
    An optax transformation of dicts of matrices [..., m, n].

  Raises:
    ValueError: if a number is out of range, or (by `init`) a parameter is no
      matrix.

  Example:
    >>> optimizer = muon(1.0)
    >>> w = {'bottom': jnp.eye(2), 'top': jnp.eye(2)}
    >>> updates, _ = optimizer.update(w, optimizer.init(w), w)
    >>> bool(jnp.abs(updates['bottom'] + jnp.eye(2)).max() < 0.2)
    True

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), code; Jordan 2024, Muon.
  """
  for name, value in (
    ('learning_rate', learning_rate),
    ('weight_decay', weight_decay),
    ('top_rate', learning_rate if top_rate is None else top_rate),
  ):
    checks.number(value, name=name, low=0.0)
  checks.number(momentum, name='momentum', low=0.0, high=1.0, open_high=True)
  from optax import contrib

  def axes(params):
    return jax.tree.map(
      lambda x: contrib.MuonDimensionNumbers(x.ndim - 2, x.ndim - 1), params
    )

  def labels(params):
    return {name: 'top' if name == 'top' else 'lower' for name in params}

  whole = optax.partition(
    {
      'lower': optax.chain(
        contrib.scale_by_muon(
          NEWTON_SCHULZ,
          beta=momentum,
          nesterov=False,
          weight_dimension_numbers=axes,
        ),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
      ),
      'top': coupled_adam(
        learning_rate if top_rate is None else top_rate, weight_decay
      ),
    },
    labels,
  )

  def init(params):
    if not isinstance(params, Mapping):
      raise ValueError(
        'muon needs a dict of matrices, as {"bottom": w}; got '
        f'{checks.described(params)}.'
      )
    for name, x in params.items():
      if jnp.ndim(x) < 2:
        raise ValueError(
          f'muon needs matrices; {name!r} has shape {jnp.shape(x)}: train it '
          'by adam.'
        )
    return whole.init(params)

  return optax.GradientTransformationExtraArgs(init, whole.update)


OPTIMIZERS = local.OPTIMIZERS | {'muon': muon}
