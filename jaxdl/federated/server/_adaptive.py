# SPDX-License-Identifier: Apache-2.0
"""Optimizers of a server, which see what clients changed as a gradient."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import local
from jaxdl.core import checks

KINDS = ('adagrad', 'adam', 'yogi')


class AdaptiveState(NamedTuple):
  """State of `adaptive`.

  Attributes:
    mean: m, like params.
    square: v, like params.
  """

  mean: chex.ArrayTree
  square: chex.ArrayTree


def adaptive(
  learning_rate: float = 0.01,
  *,
  kind: str = 'adam',
  b1: float | None = None,
  b2: float = 0.99,
  tau: float = 1e-3,
) -> optax.GradientTransformation:
  """Adagrad, Adam or Yogi as adaptive federated optimization has them.

  m ← β1 m + (1 - β1) g; v ← v + g², or β2 v + (1 - β2) g², or v - (1 - β2) g²
  sign(v - g²); x ← x - η m / (√v + τ). v starts at τ² and nothing is corrected
  for bias: optax and other libraries differ in both.

  Args:
    learning_rate: η > 0.
    kind: one of `KINDS`.
    b1: β1 in [0, 1); 0.9, or 0 for Adagrad, if None.
    b2: β2 in [0, 1).
    tau: τ > 0.

  Returns:
    A transformation for `optax`.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> yogi = adaptive(0.1, kind='yogi')
    >>> x = jnp.zeros(2)
    >>> change, _ = yogi.update(jnp.array([-0.3, 0.4]), yogi.init(x))
    >>> change.round(4).tolist()
    [0.09669999778270721, -0.09749999642372131]

  Source: Reddi et al. 2021 (https://arxiv.org/abs/2003.00295), Algorithm 2.
  """
  checks.choice(kind, KINDS, name='kind')
  if b1 is None:
    b1 = 0.0 if kind == 'adagrad' else 0.9
  checks.number(learning_rate, name='learning_rate', low=0.0, open_low=True)
  checks.number(b1, name='b1', low=0.0, high=1.0, open_high=True)
  checks.number(b2, name='b2', low=0.0, high=1.0, open_high=True)
  checks.number(tau, name='tau', low=0.0, open_low=True)

  def init(params):
    return AdaptiveState(
      jax.tree.map(jnp.zeros_like, params),
      jax.tree.map(lambda x: jnp.full_like(x, tau**2), params),
    )

  def moved(v, g):
    square = g * g
    if kind == 'adagrad':
      return v + square
    if kind == 'adam':
      return b2 * v + (1 - b2) * square
    return v - (1 - b2) * square * jnp.sign(v - square)

  def update(grads, state, params=None):
    del params
    mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, grads)
    square = jax.tree.map(moved, state.square, grads)
    change = jax.tree.map(
      lambda m, v: -learning_rate * m / (jnp.sqrt(v) + tau), mean, square
    )
    return change, AdaptiveState(mean, square)

  return optax.GradientTransformation(init, update)


def _fed(kind):
  def make(
    learning_rate: float = 0.01,
    *,
    b1: float | None = None,
    b2: float = 0.99,
    tau: float = 1e-3,
  ) -> optax.GradientTransformation:
    return adaptive(learning_rate, kind=kind, b1=b1, b2=b2, tau=tau)

  make.__doc__ = f'{kind.title()} without correction, see `adaptive`.'
  return make


SERVER_OPTIMIZERS = local.OPTIMIZERS | {
  f'fed_{kind}': _fed(kind) for kind in KINDS
}


def make_server_optimizer(
  spec: str, *, num_steps: int | None = None
) -> optax.GradientTransformation:
  """Makes a server's optimizer from text.

  Args:
    spec: a part of `SERVER_OPTIMIZERS`: 'sgd(1.0, momentum=0.9)',
      'fed_adam(0.01)'.
    num_steps: rounds, for schedules that end.

  Returns:
    The optimizer.

  Raises:
    ValueError: if the name or an option is unknown or out of range.
  """
  told: dict[str, Any] = {'num_steps': num_steps}
  part = SERVER_OPTIMIZERS.part(spec)
  fn = SERVER_OPTIMIZERS[part.name]
  told = {name: x for name, x in told.items() if checks.takes(fn, name)}
  return SERVER_OPTIMIZERS.make(spec, **told)
