# SPDX-License-Identifier: Apache-2.0
"""Divergences of softened predictions, in log space.

All take logits and a temperature T; p = softmax(z / T). Divergences of this
file are plain: what a loss adds is T² times that, so that hard and soft parts
keep their ratio when T changes (`forward_divergence`, `reverse_divergence`).
Nothing is clamped: where one network is sure that a class is out and the other
is not, the divergence is large and finite.

NaN logits give NaN: an eager call refuses them, a traced one does not.
"""

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, trees


def log_probs(
  logits: chex.Array, temperature: chex.Numeric = 1.0
) -> chex.Array:
  """Logarithms of softened probabilities, log softmax(z / T).

  Args:
    logits: z, f[..., K]; -inf masks a class out. Half precision is computed in
      float32.
    temperature: T > 0 (static or traced).

  Returns:
    f[..., K], at least float32.

  Raises:
    ValueError: if T <= 0, or if logits that are not traced are NaN.
    TypeError: if logits are no floating-point numbers.

  Example:
    >>> jnp.exp(log_probs(jnp.array([4.0, 4.0, -jnp.inf]), 4.0)).tolist()
    [0.5, 0.5, 0.0]

  Source: Hinton et al. 2015 (https://arxiv.org/abs/1503.02531), equation 1.
  """
  checks.logits(logits)
  checks.number(temperature, name='temperature', low=0.0, open_low=True)
  logits = jnp.asarray(logits)
  wide = logits.astype(trees.accumulator(logits.dtype))
  return jax.nn.log_softmax(wide / temperature, axis=-1)


def check_classes(
  first: chex.Array,
  second: chex.Array,
  names: tuple[str, str] = ('student', 'teacher'),
) -> None:
  """Raises ValueError unless two networks predict the same classes.

  Args:
    first: logits f[..., K].
    second: logits of the other.
    names: of the two, for the message.
  """
  one, two = jnp.shape(first), jnp.shape(second)
  if one[-1:] != two[-1:]:
    raise ValueError(
      f'{names[0]} has {one[-1] if one else 0} classes, {names[1]} '
      f'{two[-1] if two else 0}: both must predict the same.'
    )
  if one != two:
    raise ValueError(
      f'{names[0]} and {names[1]} must see the same examples; got logits of '
      f'shape {one} and {two}.'
    )


def _kl(log_p, log_q):
  """The sum p (log p - log q); classes that p masks out count nothing."""
  there = log_p != -jnp.inf
  gap = jnp.where(there, log_p, 0.0) - jnp.where(there, log_q, 0.0)
  return jnp.sum(jnp.exp(log_p) * gap, axis=-1)


def kl_from_logits(
  target_logits: chex.Array,
  predicted_logits: chex.Array,
  temperature: chex.Numeric = 1.0,
) -> chex.Array:
  """KL(p || q) of every example; the target p comes first.

  Args:
    target_logits: of p, f[..., K].
    predicted_logits: of q, f[..., K].
    temperature: T > 0 (static or traced), of both.

  Returns:
    f[...], >= 0 up to rounding, in nats: a sum over classes, without T².

  Raises:
    ValueError: if classes or examples differ, T <= 0, or for NaN that are not
      traced.

  Example:
    >>> p, q = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]))
    >>> f'{kl_from_logits(p, q):.6f} {kl_from_logits(q, p):.6f}'
    '0.085123 0.092033'
  """
  check_classes(target_logits, predicted_logits, ('target', 'prediction'))
  return _kl(
    log_probs(target_logits, temperature),
    log_probs(predicted_logits, temperature),
  )


def entropy_from_logits(
  logits: chex.Array, temperature: chex.Numeric = 1.0
) -> chex.Array:
  """Entropy of softened predictions, -sum p log p.

  Args:
    logits: f[..., K].
    temperature: T > 0 (static or traced).

  Returns:
    f[...], in nats, in [0, log K].

  Raises:
    ValueError: see `log_probs`.

  Example:
    >>> f'{entropy_from_logits(jnp.log(jnp.array([0.7, 0.2, 0.1]))):.4f}'
    '0.8018'
  """
  found = log_probs(logits, temperature)
  safe = jnp.where(found != -jnp.inf, found, 0.0)
  return -jnp.sum(jnp.exp(found) * safe, axis=-1)


def forward_divergence(
  logits: chex.Array, peer_logits: chex.Array, temperature: chex.Numeric
) -> chex.Array:
  """T² KL(peer || own): punishes mass that is missing where the peer has some.

  Args:
    logits: of the network that learns, f[..., K].
    peer_logits: of the one it learns from; a constant.
    temperature: T > 0 (static or traced).

  Returns:
    f[...], F of every example; its gradient with respect to the own logits is
    T (p_own - p_peer).

  Raises:
    ValueError: see `kl_from_logits`.

  Example:
    >>> f = forward_divergence(
    ...   jnp.array([1.0, 0.5, 0.0]), jnp.array([2.0, 0.0, -1.0]), 4.0
    ... )
    >>> f'{f:.4f}'
    '0.3833'

  Source: Hinton et al. 2015 (https://arxiv.org/abs/1503.02531), section 2.
  """
  check_classes(logits, peer_logits, ('own network', 'peer'))
  fixed = jax.lax.stop_gradient(peer_logits)
  found = kl_from_logits(fixed, logits, temperature)
  return temperature**2 * found


def reverse_divergence(
  logits: chex.Array, peer_logits: chex.Array, temperature: chex.Numeric
) -> chex.Array:
  """T² KL(own || peer): punishes mass where the peer has none.

  Args:
    logits: of the network that learns, f[..., K].
    peer_logits: of the one it learns from; a constant.
    temperature: T > 0 (static or traced).

  Returns:
    f[...], R of every example; its gradient with respect to the own logits is
    T p (log p/p_peer - KL(p || p_peer)). Unbounded where the peer's mass
    vanishes: consider an optimizer that clips.

  Raises:
    ValueError: see `kl_from_logits`.

  Example:
    >>> r = reverse_divergence(
    ...   jnp.array([1.0, 0.5, 0.0]), jnp.array([2.0, 0.0, -1.0]), 4.0
    ... )
    >>> f'{r:.4f}'
    '0.3791'
  """
  check_classes(logits, peer_logits, ('own network', 'peer'))
  fixed = jax.lax.stop_gradient(peer_logits)
  found = kl_from_logits(logits, fixed, temperature)
  return temperature**2 * found
