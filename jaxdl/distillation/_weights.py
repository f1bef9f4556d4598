# SPDX-License-Identifier: Apache-2.0
"""How much of each divergence a student takes, example by example.

A rule is a function of the entropy gap, H(student) - H(teacher): positive where
the student is less sure than the teacher. It gives the weights of the forward
and of the reverse divergence. The forward one lowers the confidence of a
student that is too sure, the reverse one raises that of one that is not.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry
from jaxdl.distillation import _divergences

Weights = tuple[Any, Any]


def _factor(nu):
  checks.number(nu, name='nu', low=0.0, open_low=True)


def hard(gap: chex.Array, nu: chex.Numeric = 2.0) -> Weights:
  """Weight nu on the divergence that closes the gap, one on the other.

  Args:
    gap: f[...].
    nu: weight > 0 (static or traced): of the reverse divergence where the gap
      is positive, else, ties included, of the forward one.

  Returns:
    Two f[...].

  Raises:
    ValueError: if nu is not positive.

  Source: Amara et al. 2022 (https://arxiv.org/abs/2212.12965); the numbers and
    the comparison are not known to us in detail.
  """
  _factor(nu)
  unsure = gap > 0
  return jnp.where(unsure, 1.0, nu), jnp.where(unsure, nu, 1.0)


def soft(
  gap: chex.Array, nu: chex.Numeric = 2.0, kappa: chex.Numeric = 0.5
) -> Weights:
  """As `hard`, going from one to nu by a sigmoid of gap / kappa.

  Args:
    gap: f[...].
    nu: weight > 0 (static or traced).
    kappa: nats > 0 over which it goes (static or traced).

  Returns:
    Two f[...], whose sum is nu + 1.

  Raises:
    ValueError: if nu or kappa is not positive.
  """
  _factor(nu)
  checks.number(kappa, name='kappa', low=0.0, open_low=True)
  up = jax.nn.sigmoid(gap / kappa)
  down = jax.nn.sigmoid(-gap / kappa)
  return 1 + (nu - 1) * down, 1 + (nu - 1) * up


def symmetric(gap: chex.Array) -> Weights:
  """Both divergences alike, their sum (Jeffreys)."""
  del gap
  return 1.0, 1.0


def forward(gap: chex.Array) -> Weights:
  """The forward divergence alone, as in deep mutual learning."""
  del gap
  return 1.0, 0.0


def reverse(gap: chex.Array) -> Weights:
  """The reverse divergence alone."""
  del gap
  return 0.0, 1.0


def fixed(
  gap: chex.Array, forward: chex.Numeric = 1.0, reverse: chex.Numeric = 1.0
) -> Weights:
  """The same weights for all examples.

  Args:
    gap: unused.
    forward: a >= 0 (static or traced).
    reverse: b >= 0 (static or traced).

  Returns:
    a and b.

  Raises:
    ValueError: if one is negative.
  """
  del gap
  checks.number(forward, name='forward', low=0.0)
  checks.number(reverse, name='reverse', low=0.0)
  return forward, reverse


WEIGHT_RULES = registry.Registry(
  'weights',
  {
    'hard': hard,
    'soft': soft,
    'symmetric': symmetric,
    'forward': forward,
    'reverse': reverse,
    'fixed': fixed,
  },
  given=('gap',),
)


def weight_rule(
  spec: str | Callable[[chex.Array], Weights],
) -> Callable[[chex.Array], Weights]:
  """Reads a rule, and checks its options.

  Args:
    spec: a part of `WEIGHT_RULES`, or a function of the gap (kept).

  Returns:
    `rule(gap) -> (a, b)`.

  Raises:
    ValueError: if the name, an option or a value is wrong.
    TypeError: if it is neither text nor a function.

  Example:
    >>> [x.tolist() for x in weight_rule('hard(nu=3)')(jnp.array([-1.0, 1.0]))]
    [[3.0, 1.0], [1.0, 3.0]]
  """
  if not isinstance(spec, str):
    if not callable(spec):
      raise TypeError(
        'weights must be a part of WEIGHT_RULES or a function of the entropy '
        f'gap; got {checks.described(spec)}.'
      )
    return spec
  part = WEIGHT_RULES.part(spec)
  # A gap of nothing shows whether values are in range, without a device.
  jax.eval_shape(
    lambda gap: WEIGHT_RULES.bound(part, gap),
    jax.ShapeDtypeStruct((), jnp.float32),
  )
  return WEIGHT_RULES.partial(part)


def pair(value: Any) -> Weights:
  """Returns the two weights that a rule gave, or says what it should give."""
  if not isinstance(value, (tuple, list)) or len(value) != 2:
    raise TypeError(
      'weights must be a function of the gap that gives (a, b), of the forward '
      f'and of the reverse divergence; it gave {checks.described(value)}.'
    )
  return value[0], value[1]


def divergence_weights(
  student_logits: chex.Array,
  teacher_logits: chex.Array,
  temperature: chex.Numeric = 1.0,
  *,
  weights: str | Callable[[chex.Array], Weights] = 'hard',
) -> tuple[chex.Array, chex.Array]:
  """Weights of the forward and the reverse divergence of every example.

  Args:
    student_logits: f[..., K].
    teacher_logits: f[..., K].
    temperature: T > 0 at which entropies are compared (static or traced).
    weights: a part of `WEIGHT_RULES`, or a function of the gap (static).

  Returns:
    Two f[...], without gradients.

  Raises:
    ValueError: if classes or examples differ, or a value is out of range.

  Example:
    >>> sure, unsure = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]))
    >>> [float(x) for x in divergence_weights(unsure, sure)]
    [1.0, 2.0]
  """
  rule = weight_rule(weights)
  _divergences.check_classes(student_logits, teacher_logits)
  gap = entropy_gap(student_logits, teacher_logits, temperature)
  full = lambda x: jax.lax.stop_gradient(jnp.broadcast_to(x, gap.shape))
  a, b = pair(rule(gap))
  return full(a), full(b)


def entropy_gap(
  student_logits: chex.Array,
  teacher_logits: chex.Array,
  temperature: chex.Numeric = 1.0,
) -> chex.Array:
  """H(student) - H(teacher) of every example, without gradients.

  Args:
    student_logits: f[..., K].
    teacher_logits: f[..., K].
    temperature: T > 0 (static or traced).

  Returns:
    f[...], in nats.

  Example:
    >>> gap = entropy_gap(jnp.zeros((1, 2)), jnp.array([[1e4, 0.0]]))
    >>> round(float(gap[0]), 4)
    0.6931
  """
  entropy = _divergences.entropy_from_logits
  gap = entropy(student_logits, temperature)
  return jax.lax.stop_gradient(gap - entropy(teacher_logits, temperature))
