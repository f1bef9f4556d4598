# SPDX-License-Identifier: Apache-2.0
"""Averages that keep the variance of the weights.

The mean of N unrelated models has 1/N of their variance, so layers of models
that started apart fade when they are averaged. Stretching each averaged tensor
about its mean to the average variance of what went in repairs it; for models
that agree the factor is one and nothing changes.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys, layers, trees
from jaxdl.mixing import _as_mixer, _merge, _mixers, spectra

CorrectFn = Callable[[tuple[Any, ...], chex.Array], bool]
Rule = Callable[..., chex.ArrayTree]
TARGETS = ('others', 'self', 'beta')


def is_tensor(path: tuple[Any, ...], leaf: chex.Array) -> bool:
  """Tells what is corrected if biases are as well.

  Args:
    path: key path of the leaf.
    leaf: one client's tensor, or its shape and dtype.

  Returns:
    Whether it has two entries or more and is no running statistic.
  """
  names = {getattr(entry, 'key', getattr(entry, 'name', '')) for entry in path}
  return np.prod(leaf.shape, dtype=int) > 1 and 'statistics' not in names


def tensor_moments(x: chex.Array) -> tuple[chex.Array, chex.Array]:
  """Mean and population variance over all entries of a tensor.

  Args:
    x: [...], floating point, at least one entry.

  Returns:
    `(mean, variance)`, both f32[] (float64 for float64), about the mean; zero
    for constant tensors.

  Example:
    >>> mean, variance = tensor_moments(jnp.array([2.0, 4.0]))
    >>> float(mean), float(variance)
    (3.0, 1.0)
  """
  x = x.astype(trees.accumulator(x.dtype))
  mean = jnp.mean(x)
  # The second pass is exact for constant tensors, whatever the first rounded.
  mean = mean + jnp.mean(x - mean)
  gap = x - mean
  scale = trees.power_of_two(jnp.max(jnp.abs(gap)))
  return mean, scale * (scale * jnp.mean(jnp.square(gap * (1 / scale))))


def rescale_to_variance(
  x: chex.Array,
  target: chex.Numeric,
  *,
  eps: chex.Numeric = 0.0,
  strength: chex.Numeric = 1.0,
) -> chex.Array:
  """Stretches a tensor about its mean to a variance.

  (x - μ) · (1 + γ (sqrt((σ² + ε) / (v + ε)) - 1)) + μ.

  Args:
    x: [...], floating point.
    target: σ², variance >= 0; static or traced.
    eps: ε >= 0, added to both variances. The authors' second code uses 1e-4,
      which is not small against wide layers: they come out too narrow.
    strength: γ; 1 corrects fully, 0 not at all.

  Returns:
    [...], dtype kept. A constant tensor stays what it is, as does one whose
    entries differ by rounding alone.

  Raises:
    ValueError: if eps is negative.

  Example:
    >>> rescale_to_variance(jnp.array([3.0, 5.0]), 4.0).tolist()
    [2.0, 6.0]

  Source: Tian et al. 2024 (https://arxiv.org/abs/2404.04616), algorithm 3.
  """
  checks.number(eps, name='eps', low=0.0)
  mean, variance = tensor_moments(x)
  x_wide = x.astype(mean.dtype)
  # Equal entries that were averaged in different lanes differ by rounding.
  rounding = 4 * jnp.finfo(mean.dtype).eps * jnp.abs(mean)
  flat = jnp.sqrt(variance) <= rounding
  # Where the tensor is constant neither value nor gradient may divide by zero.
  safe = jnp.where(flat, 1.0, variance)
  ratio = (target + eps) / (safe + eps)
  positive = ratio > 0
  root = jnp.sqrt(jnp.where(positive, ratio, 1.0))
  root = jnp.where(positive, root, jax.lax.stop_gradient(ratio))  # NaN stays.
  factor = jnp.where(flat, 1.0, 1.0 + strength * (root - 1.0))
  shift = (factor - 1.0) * (x_wide - mean)
  return (x_wide + shift).astype(x.dtype)


def variances(stacked: chex.ArrayTree, correct_fn: CorrectFn) -> chex.ArrayTree:
  """Variance f32[N] of every corrected leaf, None for the others."""

  def leaf(path, x):
    if not _is_corrected(path, x, correct_fn):
      return None
    return jax.vmap(lambda row: tensor_moments(row)[1])(x)

  return jax.tree_util.tree_map_with_path(leaf, stacked)


def _is_corrected(path, x, correct_fn):
  if not jnp.issubdtype(x.dtype, jnp.floating):
    return False
  return bool(correct_fn(path, jax.ShapeDtypeStruct(x.shape[1:], x.dtype)))


def rescale_rows(
  stacked: chex.ArrayTree,
  targets: chex.ArrayTree,
  eps: chex.Numeric,
  strength: chex.Numeric,
) -> chex.ArrayTree:
  """Corrects each client's tensors to targets f32[N] (None: as they are)."""
  fix = lambda x, target: rescale_to_variance(
    x, target, eps=eps, strength=strength
  )
  return jax.tree.map(
    lambda target, x: x if target is None else jax.vmap(fix)(x, target),
    targets,
    stacked,
    is_leaf=lambda t: t is None,
  )


def variance_corrected_average(
  stacked: chex.ArrayTree,
  *,
  weights: chex.Array | None = None,
  correct_fn: CorrectFn = layers.is_kernel,
  eps: chex.Numeric = 0.0,
  strength: chex.Numeric = 1.0,
) -> chex.ArrayTree:
  """Averages models and gives every tensor the mean variance of its parts.

  The mean of each tensor is kept; the result does not depend on the order of
  the models, and for equal models it is the model.

  Args:
    stacked: models, leaves [N, ...]. Leaves that are not floating point keep
      their first row.
    weights: f32[N] of any positive sum; equal if None.
    correct_fn: `correct_fn(path, leaf) -> bool` for one model's leaf (static);
      what is not corrected is averaged.
    eps: see `rescale_to_variance`.
    strength: see `rescale_to_variance`.

  Returns:
    Leaves [...], dtypes kept. It is an aggregation rule:
    `aggregators.stateless` lifts it, `corrected_rule` corrects others.

  Raises:
    ValueError: if client axes differ, weights are negative or all zero, or
      eps is negative.

  Example:
    >>> models = jnp.array([[[2.0, 4.0]], [[4.0, 10.0]]])
    >>> average = variance_corrected_average(models)  # 5 - √5, 5 + √5
    >>> [round(float(x), 3) for x in average[0]]
    [2.764, 7.236]

  Source: Tian et al. 2024 (https://arxiv.org/abs/2404.04616), algorithm 3.
  """
  n = checks.num_clients(stacked, name='stacked')
  share = _merge.shares(weights, n)
  average = _merge.merge(wide(stacked), share)
  out = _correct(average, stacked, share, correct_fn, eps, strength)
  return trees.cast_like(out, stacked)


def wide(stacked: chex.ArrayTree) -> chex.ArrayTree:
  """Floating leaves in the accumulator's dtype, so as to round only once."""

  def leaf(x):
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
      return x
    return x.astype(trees.accumulator(x.dtype))

  return jax.tree.map(leaf, stacked)


def _correct(average, stacked, share, correct_fn, eps, strength):
  targets = jax.tree.map(
    lambda v: jnp.sum(share.astype(v.dtype) * v), variances(stacked, correct_fn)
  )
  one = jax.tree.map(lambda x: x[None], average)
  targets = jax.tree.map(lambda t: t[None], targets)
  out = rescale_rows(one, targets, eps, strength)
  return jax.tree.map(lambda x: x[0], out)


def corrected_rule(
  rule: Rule,
  *,
  correct_fn: CorrectFn = layers.is_kernel,
  eps: chex.Numeric = 0.0,
  strength: chex.Numeric = 1.0,
) -> Rule:
  """Gives what any aggregation rule returns the mean variance of its inputs.

  A robust rule stays robust against the direction of adversaries but not
  against their variances, which enter the target.

  Args:
    rule: `rule(updates, **options) -> update`, as in `jaxdl.aggregators`.
    correct_fn: see `variance_corrected_average` (static).
    eps: see `rescale_to_variance`.
    strength: see `rescale_to_variance`.

  Returns:
    A rule of the same signature; a `mask` also selects whose variances count.

  Example:
    >>> fading = lambda x, **_: 0.5 * x[0]
    >>> corrected_rule(fading)(jnp.array([[[-1.0, 1.0]]])).tolist()
    [[-1.0, 1.0]]
  """

  def corrected(updates, *, mask=None, **options):
    n = checks.num_clients(updates)
    if mask is not None:
      options['mask'] = mask
    share = jnp.full((n,), 1.0 / n)
    if mask is not None:
      present = jnp.asarray(mask, jnp.float32)
      share = present / jnp.maximum(jnp.sum(present), 1.0)
    average = rule(updates, **options)
    return _correct(average, updates, share, correct_fn, eps, strength)

  return corrected


def variance_corrected(
  mixer: _mixers.Mixer,
  *,
  target: str | chex.ArrayTree = 'others',
  correct_fn: CorrectFn = layers.is_kernel,
  eps: chex.Numeric = 0.0,
  strength: chex.Numeric = 1.0,
) -> _mixers.Mixer:
  """Corrects what every client gets in a gossip step.

  Client i's target variance for each tensor is, with v_j the variance that
  client j sent: 'others' Σ_{j≠i} W_ij v_j / Σ_{j≠i} W_ij; 'beta' Σ_j W_ij v_j;
  'self' v_i. All are those *before* mixing (one of the authors' code paths
  reads 'self' after it, which makes it do nothing).

  Args:
    mixer: rows sum to one, weights not negative. On a mesh only variances
      travel besides what the mixer sends.
    target: one of `TARGETS`, or a tree of one model's structure with f32[]
      leaves for fixed variances (static structure).
    correct_fn: see `variance_corrected_average` (static).
    eps: see `rescale_to_variance`.
    strength: see `rescale_to_variance`.

  Returns:
    A mixer for `gossip_sgd`, `local_then_gossip` and the like. It is not
    linear: its `matrix` is that of the plain mixer and says only who listens
    to whom.

  Raises:
    ValueError: if the target is unknown or the mixer is meant for push-sum.

  Example:
    >>> from jaxdl import mixing
    >>> pair = mixing.from_matrix([[0.5, 0.5], [0.5, 0.5]])
    >>> models = jnp.array([[[1.0, -1.0]], [[-3.0, 5.0]]])
    >>> variance_corrected(pair).apply(models, 0).tolist()
    [[[-3.5, 4.5]], [[-0.5, 1.5]]]

  Source: Tian et al. 2024 (https://arxiv.org/abs/2404.04616), official code.
  """
  if isinstance(target, str):
    checks.choice(target, TARGETS, name='target')
  mixer = _as_mixer.as_mixer(mixer)
  if mixer.stochastic == 'column':
    raise ValueError(
      'variance_corrected needs rows that sum to one; got send weights.'
    )

  def apply(stacked, round, *, key=None, axis_name=None):
    mixed = mixer.apply(wide(stacked), round, key=key, axis_name=axis_name)
    found = variances(stacked, correct_fn)
    if target == 'self':
      targets = found
    elif isinstance(target, str):
      w = mixer.matrix(round, key=key)
      if target == 'others':
        w = _without_own(w)
      targets = jax.tree.map(lambda v: _contract(w, v, axis_name), found)
    else:
      targets = fixed_targets(found, target)
    out = rescale_rows(mixed, targets, eps, strength)
    return trees.cast_like(out, stacked)

  return mixer._replace(
    apply=apply,
    structure=f'variance-corrected {mixer.structure}',
    stochastic='any',
  )


def _contract(w, v, axis_name):
  """This device's rows of W v; only the N numbers v travel."""
  if axis_name is None:
    return trees.combine(w, v)
  size = v.shape[0]
  start = jax.lax.axis_index(axis_name) * size
  rows = jax.lax.dynamic_slice_in_dim(w, start, size)
  return trees.combine(rows, jax.lax.all_gather(v, axis_name, tiled=True))


def fixed_targets(
  found: chex.ArrayTree, target: chex.ArrayTree
) -> chex.ArrayTree:
  """The same variance for every client, where there is one to correct."""
  return jax.tree.map(
    lambda v, t: None if v is None else jnp.full(v.shape, t, v.dtype),
    found,
    target,
    is_leaf=lambda v: v is None,
  )


def _without_own(w):
  """Rows without their diagonal, rescaled; a client alone keeps itself."""
  n = w.shape[0]
  off = jnp.where(jnp.eye(n, dtype=bool), 0.0, w)
  total = jnp.sum(off, axis=1, keepdims=True)
  alone = total <= 0
  return jnp.where(alone, jnp.eye(n), off / jnp.where(alone, 1.0, total))


def subsampled(mixer: _mixers.Mixer, rate: chex.Numeric) -> _mixers.Mixer:
  """Clients send a random part of their coordinates; only those are averaged.

  Client j sends the coordinates in its fresh mask M_j to everyone it talks to;
  receivers use their own value for the rest: x_i + Σ_j W_ij M_j (x_j - x_i).
  Slow mixing gives the models time to become alike, the older way around
  vanishing variance.

  Args:
    mixer: rows sum to one.
    rate: share of the coordinates in a message, in [0, 1]; static or traced.

  Returns:
    A random mixer. It does not keep the mean exactly, and its `matrix` is that
    of the plain mixer.

  Raises:
    ValueError: if the rate is out of range.
  """
  checks.number(rate, name='rate', low=0.0, high=1.0)
  mixer = _as_mixer.as_mixer(mixer)

  def apply(stacked, round, *, key=None, axis_name=None):
    if key is None:
      raise ValueError('a subsampled mixer is random: pass key=.')
    inner_key, mask_key = jax.random.split(key)
    leaves, structure = jax.tree.flatten(stacked)
    n = checks.num_clients(stacked, name='stacked')
    ids = jnp.arange(n)
    if axis_name is not None:
      ids = ids + n * jax.lax.axis_index(axis_name)
    own = keys.client_keys(jax.random.fold_in(mask_key, round), ids)
    masks = []
    for k, x in enumerate(leaves):
      draw = lambda key, k=k, x=x: jax.random.bernoulli(
        jax.random.fold_in(key, k), rate, x.shape[1:]
      )
      masks.append(jax.vmap(draw)(own).astype(x.dtype))
    masks = jax.tree.unflatten(structure, masks)
    sent = jax.tree.map(jnp.multiply, masks, stacked)
    heard = mixer.apply(sent, round, key=inner_key, axis_name=axis_name)
    weight = mixer.apply(masks, round, key=inner_key, axis_name=axis_name)
    return jax.tree.map(lambda x, h, w: x + h - x * w, stacked, heard, weight)

  def matrix(round, *, key=None):
    inner_key = None if key is None else jax.random.split(key)[0]
    return mixer.matrix(round, key=inner_key)

  return _mixers.Mixer(
    apply, matrix, None, f'subsampled {mixer.structure}', 'row'
  )


def layer_variances(
  stacked: chex.ArrayTree, *, correct_fn: CorrectFn = layers.is_kernel
) -> dict[str, chex.Array]:
  """Every client's variance of each tensor, for logs.

  Args:
    stacked: models, leaves [N, ...].
    correct_fn: which tensors (static).

  Returns:
    Dict from 'a/b/c' paths to f32[N].

  Example:
    >>> models = {'kernel': jnp.array([[[1.0, 3.0]]])}
    >>> layer_variances(models)['kernel'].tolist()
    [1.0]
  """
  checks.num_clients(stacked, name='stacked')
  found = variances(stacked, correct_fn)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): v
    for path, v in jax.tree_util.tree_leaves_with_path(found)
  }


def variance_factors(matrix: np.ndarray, num_rounds: int) -> np.ndarray:
  """How much variance is left after gossip of unrelated models, by theory.

  After t rounds a client holds Σ_j (Wᵗ)_ij x_j; for independent models of
  equal variance its variance is Σ_j (Wᵗ)²_ij of that. Connected graphs end at
  1/N.

  Args:
    matrix: [N, N], or [T, N, N] for a schedule that repeats; host.
    num_rounds: T >= 0.

  Returns:
    float64[T + 1], means over the clients; entry 0 is one.

  Raises:
    ValueError: if rows do not sum to one.

  Example:
    >>> variance_factors(np.full((2, 2), 0.5), 1).tolist()
    [1.0, 0.5]
  """
  checked = spectra.check_stochastic(matrix)
  schedule = checked[None] if checked.ndim == 2 else checked
  steps = checks.integer(num_rounds, name='num_rounds', low=0)
  product = np.eye(schedule.shape[-1])
  factors = [1.0]
  for t in range(steps):
    product = schedule[t % len(schedule)] @ product
    factors.append(float((product**2).sum(axis=1).mean()))
  return np.array(factors)
