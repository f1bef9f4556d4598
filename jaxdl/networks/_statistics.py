# SPDX-License-Identifier: Apache-2.0
"""Running statistics of batch normalization, as ordinary parameters.

They live inside `params`, under 'statistics', so that averaging, attacking,
compressing and checkpointing treat them like everything else. They learn
through the gradient of a surrogate loss whose value is zero.
"""

from collections.abc import Mapping
from typing import cast

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import trees
from jaxdl.core.types import Network
from jaxdl.networks import _linen


def has_statistics(params: chex.ArrayTree) -> bool:
  """Tells whether parameters contain running statistics.

  Args:
    params: what a `Network` of this folder initializes.

  Returns:
    Whether there is an entry 'statistics'; a Python bool, static.

  Example:
    >>> has_statistics({'params': {}, 'statistics': {'mean': jnp.zeros(3)}})
    True
  """
  return isinstance(params, Mapping) and _linen.STATISTICS in params


def split_statistics(
  params: chex.ArrayTree,
) -> tuple[chex.ArrayTree, chex.ArrayTree | None]:
  """Separates what is trained from what is estimated.

  Args:
    params: any parameters.

  Returns:
    `(trained, statistics)`; `params` itself and None where there are none.

  Example:
    >>> split_statistics({'params': 1.0, 'statistics': 2.0})
    ({'params': 1.0}, 2.0)
  """
  if not has_statistics(params):
    return params, None
  rest = {k: v for k, v in params.items() if k != _linen.STATISTICS}
  return rest, params[_linen.STATISTICS]


def with_statistics(
  params: chex.ArrayTree, statistics: chex.ArrayTree | None
) -> chex.ArrayTree:
  """Replaces the running statistics; undoes `split_statistics`.

  Args:
    params: parameters with or without statistics.
    statistics: the new ones, or None for no change.

  Returns:
    The parameters.

  Example:
    >>> with_statistics({'params': 1.0}, 2.0)
    {'params': 1.0, 'statistics': 2.0}
  """
  if statistics is None:
    return params
  rest, _ = split_statistics(params)
  return {**cast(Mapping, rest), _linen.STATISTICS: statistics}


def statistics_surrogate(
  params: chex.ArrayTree, batch_statistics: chex.ArrayTree | None
) -> chex.Array:
  """A number that is zero but pulls running statistics to the batch's.

  It has the derivatives of `|statistics - batch|^2 / 2`, the batch's part held
  fixed, and the value zero: added to a loss it changes no value, and the
  gradient with respect to the statistics becomes `statistics - batch`. Plain
  gradient descent with step `r` is then the usual moving average,
  `(1 - r) statistics + r batch`.

  Args:
    params: parameters with statistics.
    batch_statistics: what `apply(..., mutable=True)` returned, or None.

  Returns:
    f32[] (float64 if a leaf is), equal to zero.

  Example:
    >>> params = {'params': {}, 'statistics': {'mean': jnp.array([3.0])}}
    >>> batch = {'mean': jnp.array([1.0])}
    >>> value, slope = jax.value_and_grad(statistics_surrogate)(params, batch)
    >>> float(value), float(slope['statistics']['mean'][0])
    (0.0, 2.0)
  """
  _, running = split_statistics(params)
  if batch_statistics is None or not jax.tree.leaves(running):
    return jnp.zeros(())
  wide = trees.common_accumulator(running)

  def leaf(old, new):
    fixed, new = map(jax.lax.stop_gradient, (old, new))
    # Zero for each entry: a sum minus the same sum need not be, compiled.
    move = old.astype(wide) - fixed.astype(wide)
    gap = fixed.astype(wide) - new.astype(wide)
    return jnp.sum((gap + 0.5 * move) * move)

  parts = jax.tree.map(leaf, running, batch_statistics)
  return trees.sum_leaves(lambda part: part, parts)


def training_outputs(
  network: Network,
  params: chex.ArrayTree,
  *inputs: chex.ArrayTree,
  mask: chex.Array | None = None,
  key: chex.PRNGKey | None = None,
) -> tuple[chex.Array, chex.Array]:
  """Applies a network in training mode, whether or not it has statistics.

  Args:
    network: any `Network`; `apply` needs to know `mask` and `mutable` only
      if its parameters have statistics.
    params: its parameters.
    *inputs: its inputs, leaves [B, ...].
    mask: bool[B]; false rows do not enter batch statistics.
    key: consumed, if the network draws (dropout).

  Returns:
    `(outputs, surrogate)`: add the second to the loss (`statistics_surrogate`).

  Raises:
    ValueError: if the network needs a key and has none.
  """
  if not has_statistics(params):
    outputs = network.apply(params, *inputs, train=True, key=key)
    return outputs, jnp.zeros(())
  outputs, fresh = network.apply(
    params, *inputs, train=True, key=key, mask=mask, mutable=True
  )
  return outputs, statistics_surrogate(params, fresh)


def _pool(statistics, weights):
  """Moments of a union from the moments of its parts, leaves [S, ...]."""
  average = lambda x: jnp.tensordot(weights.astype(x.dtype), x, axes=1)
  if not isinstance(statistics, Mapping):
    return average(statistics)
  pooled = {k: _pool(v, weights) for k, v in statistics.items()}
  if {'mean', 'var'} <= set(statistics):
    means = statistics['mean']
    gap = means - jnp.broadcast_to(pooled['mean'], means.shape)
    pooled['var'] = pooled['var'] + average(jnp.square(gap))
  return pooled


def recalibrate(
  network: Network, params: chex.ArrayTree, batches: chex.ArrayTree
) -> chex.ArrayTree:
  """Estimates running statistics afresh over data.

  Merging models averages what each has learnt, but the statistics of the
  merged model are not the average of statistics. Each batch is run with its
  own statistics and without dropout; means and variances are then pooled as
  moments of the union, weighted by the numbers of unmasked examples. This is
  exact for a single batch, and always for the first normalization; deeper ones
  see inputs normalized batch by batch.

  Args:
    network: a network with statistics.
    params: its parameters; the old statistics have no influence.
    batches: dict with `inputs` (or a tuple of inputs), leaves [S, B, ...], and
      optionally `mask: bool[S, B]`; other entries are ignored.

  Returns:
    The parameters with new statistics, same dtypes; unchanged where there are
    none or every example is masked.

  Raises:
    ValueError: if `inputs` is missing.

  Cost: one forward pass per batch, one after the other.

  Source: Izmailov et al. 2018 (https://arxiv.org/abs/1803.05407), Algorithm 1,
  last line.
  """
  if not has_statistics(params):
    return params
  if not isinstance(batches, Mapping) or 'inputs' not in batches:
    raise ValueError(
      'batches must be a dict with an entry inputs, leaves [S, B, ...].'
    )
  inputs, mask = batches['inputs'], batches.get('mask')

  def one(batch):
    inputs, mask = batch
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    _, fresh = network.apply(params, *inputs, mask=mask, mutable=True)
    count = jax.tree.leaves(inputs)[0].shape[0]
    if mask is not None:
      count = jnp.sum(mask.astype(bool), dtype=jnp.float32)
    return fresh, jnp.asarray(count, jnp.float32)

  fresh, counts = jax.lax.map(one, (inputs, mask))
  total = jnp.sum(counts)
  weights = counts / jnp.maximum(total, 1.0)
  _, old = split_statistics(params)
  wide = jax.tree.map(lambda x: x.astype(trees.accumulator(x.dtype)), fresh)
  new = trees.cast_like(_pool(wide, weights), old)
  new = jax.tree.map(lambda a, b: jnp.where(total > 0, a, b), new, old)
  return with_statistics(params, new)
