# SPDX-License-Identifier: Apache-2.0
"""Which experts a token goes to, how much each counts, and how even that is."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry, trees


class Routed(NamedTuple):
  """Where tokens went.

  Attributes:
    idx: i32[..., k], experts in order of their logits.
    gates: f[..., k], what each of them counts.
    probs: f[..., E], softmax over all experts.
    load_balance: f[], see `load_balance`.
    mask: bool[...], tokens that are no padding, or None if all are.
  """

  idx: chex.Array
  gates: chex.Array
  probs: chex.Array
  load_balance: chex.Array
  mask: chex.Array | None = None


def _renorm_k(logits, probs):
  """The softmax over the selected, times k: equal logits count 1 each."""
  del probs
  return logits.shape[-1] * jax.nn.softmax(logits, axis=-1)


def _renorm_1(logits, probs):
  """The softmax over the selected, which adds up to 1."""
  del probs
  return jax.nn.softmax(logits, axis=-1)


def _full_softmax(logits, probs):
  """Of the softmax over all experts what falls on the selected."""
  del logits
  return probs


def _ones(logits, probs):
  """1 for all; the router learns by the balance alone."""
  del probs
  return jnp.ones_like(logits)


GATES = registry.Registry(
  'gate',
  {
    'renorm_k': _renorm_k,
    'renorm_1': _renorm_1,
    'full_softmax': _full_softmax,
    'ones': _ones,
  },
  given=('logits', 'probs'),
)


def router_logits(x: chex.Array, router: chex.Array) -> chex.Array:
  """Inner products of tokens with the rows of a router.

  Neighboring rows that are equal get the very same number, however a matrix
  product rounds one column and the next; gradients are those of the product.

  Args:
    x: f[..., d].
    router: f[E, d].

  Returns:
    f[..., E], float32, or float64 if an input is.

  Example:
    >>> router_logits(jnp.array([[1.0, 2.0]]), jnp.ones((2, 2))).tolist()
    [[3.0, 3.0]]
  """
  wide = trees.accumulator(jnp.result_type(x, router))
  logits = jnp.matmul(
    x.astype(wide), router.astype(wide).T, precision='highest'
  )
  return agreed(logits, router)


def agreed(logits: chex.Array, router: chex.Array) -> chex.Array:
  """Gives equal neighboring rows of a router one logit, that of the first."""
  equal = jnp.all(router[1:] == router[:-1], axis=-1)
  number = jnp.arange(router.shape[0])
  start = jnp.where(jnp.pad(equal, (1, 0)), 0, number)
  first = jax.lax.cummax(start)
  fixed = jax.lax.stop_gradient(logits)
  gap = jnp.take(fixed, first, axis=-1) - fixed
  # Exact: the two differ by rounding, if at all.
  return logits + jnp.where(jnp.isfinite(gap), gap, 0)


def route(
  x: chex.Array,
  router: chex.Array,
  *,
  top_k: int,
  gate: str = 'renorm_k',
  mask: chex.Array | None = None,
) -> Routed:
  """Sends every token to the k experts of largest logit.

  Logits and softmax are float32 at least. Ties go to the lowest index, so that
  of copies that tie the first is chosen as a whole while its slices have equal
  rows. A token with a NaN logit gets NaN gates and k experts all the same;
  other tokens do not notice, but the balance of the batch is NaN.

  Args:
    x: f[..., d], tokens.
    router: f[E, d], no bias.
    top_k: k, 1 <= k <= E (static).
    gate: a part of `GATES` (static): 'renorm_k', k times the softmax over the
      selected; 'renorm_1'; 'full_softmax'; 'ones'.
    mask: bool[...], false for padding, which counts in no statistic; or of the
      leading axes alone.

  Returns:
    Where tokens go.

  Raises:
    ValueError: if k > E, widths do not fit or the gate is unknown.

  Example:
    >>> router = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
    >>> found = route(jnp.array([[2.0], [-2.0]]), router, top_k=2)
    >>> found.idx.tolist(), found.gates.tolist()
    ([[0, 1], [2, 3]], [[1.0, 1.0], [1.0, 1.0]])

  Source: Lu et al. 2025 (https://arxiv.org/abs/2507.17436), router; the factor
    k of the gate is what makes the start equal to the dense network.
  """
  x, router = jnp.asarray(x), jnp.asarray(router)
  if router.ndim != 2 or not x.ndim or x.shape[-1] != router.shape[1]:
    raise ValueError(
      f'router must have shape [E, d], d the last axis of x {x.shape}; got '
      f'{router.shape}.'
    )
  num_experts = router.shape[0]
  top_k = check_top_k(top_k, num_experts)
  GATES.check(gate)
  logits = router_logits(x, router)
  selected, idx = jax.lax.top_k(logits, top_k)
  probs = jax.nn.softmax(logits, axis=-1)
  own = jnp.take_along_axis(probs, idx, axis=-1)
  gates = GATES.make(gate, selected, own)
  mask = token_mask(mask, x.shape[:-1])
  balance = load_balance(idx, probs, mask=mask)
  return Routed(idx.astype(jnp.int32), gates, probs, balance, mask)


def check_top_k(top_k: int, num_experts: int) -> int:
  """Returns k if there are as many experts."""
  top_k = checks.integer(top_k, name='top_k', low=1)
  if top_k > num_experts:
    raise ValueError(
      f'top_k={top_k} must be at most num_experts={num_experts}.'
    )
  return top_k


def token_mask(
  mask: chex.Array | None, shape: tuple[int, ...]
) -> chex.Array | None:
  """A mask of leading axes as one of all tokens.

  Args:
    mask: bool of the shape of the tokens or of their leading axes, or None.
    shape: of the tokens.

  Returns:
    bool[shape], or None.

  Raises:
    ValueError: if it does not fit.
  """
  if mask is None:
    return None
  mask = jnp.asarray(mask).astype(bool)
  if mask.shape != shape[: mask.ndim]:
    raise ValueError(
      f'mask must have the shape of the tokens {shape}, or of their leading '
      f'axes; got {mask.shape}.'
    )
  rest = (1,) * (len(shape) - mask.ndim)
  return jnp.broadcast_to(mask.reshape(*mask.shape, *rest), shape)


def grouped_mask(mask: chex.Array | None, num_tokens: int) -> chex.Array | None:
  """A mask of a batch as one of all tokens that a network makes of it.

  Args:
    mask: bool of as many entries as the tokens or fewer, in whole groups, or
      None.
    num_tokens: T, in the order of the batch.

  Returns:
    bool[T], or None.

  Raises:
    ValueError: if it does not fit.
  """
  if mask is None:
    return None
  mask = jnp.asarray(mask).astype(bool)
  if not mask.size or num_tokens % mask.size:
    raise ValueError(
      f'mask must have one entry per example, or per token; got {mask.shape} '
      f'for {num_tokens} tokens.'
    )
  return jnp.repeat(mask.reshape(-1), num_tokens // mask.size)


def load_balance(
  idx: chex.Array, probs: chex.Array, *, mask: chex.Array | None = None
) -> chex.Array:
  """How unevenly tokens fall on experts: E Σ_e F_e P_e.

  F_e is the share of all k · T choices that fell on e, without a gradient, P_e
  the mean probability. It is 1 if either is uniform, E if all tokens are sure
  of one expert (k = 1).

  Args:
    idx: i[..., k].
    probs: f[..., E].
    mask: bool[...], false for padding; or of leading axes alone.

  Returns:
    f[], at least float32; 0 without any token.

  Raises:
    ValueError: if shapes do not fit.

  Example:
    >>> float(load_balance(jnp.array([[0], [1]]), jnp.full((2, 2), 0.5)))
    1.0

  Source: Lu et al. 2025 (https://arxiv.org/abs/2507.17436), load balancing.
  """
  idx, probs = jnp.asarray(idx), jnp.asarray(probs)
  if idx.shape[:-1] != probs.shape[:-1]:
    raise ValueError(
      f'idx [..., k] and probs [..., E] must have equal leading axes; got '
      f'{idx.shape} and {probs.shape}.'
    )
  wide = trees.accumulator(probs.dtype)
  mask = token_mask(mask, idx.shape[:-1])
  num_experts = probs.shape[-1]
  counts = usage(idx, num_experts, mask=mask).astype(wide)
  share = counts / jnp.maximum(jnp.sum(counts), 1)
  where = None if mask is None else mask[..., None]
  axes = tuple(range(probs.ndim - 1))
  number = probs.size // num_experts if mask is None else jnp.sum(mask)
  mean = jnp.sum(probs.astype(wide), axes, where=where)
  mean = mean / jnp.maximum(number, 1).astype(wide)
  return num_experts * jnp.sum(jax.lax.stop_gradient(share) * mean)


def usage(
  idx: chex.Array, num_experts: int, *, mask: chex.Array | None = None
) -> chex.Array:
  """Counts the tokens that went to each expert.

  Args:
    idx: i[..., k].
    num_experts: E (static).
    mask: bool[...], false for padding; or of leading axes alone.

  Returns:
    i32[E].

  Raises:
    ValueError: if the mask does not fit.

  Example:
    >>> usage(jnp.array([[0, 2], [0, 1]]), 4).tolist()
    [2, 1, 1, 0]
  """
  idx = jnp.asarray(idx)
  chosen = jnp.ones(idx.shape, jnp.int32)
  mask = token_mask(mask, idx.shape[:-1])
  if mask is not None:
    chosen = jnp.where(mask[..., None], chosen, 0)
  zeros = jnp.zeros(num_experts, jnp.int32)
  return zeros.at[idx.reshape(-1)].add(chosen.reshape(-1))
