# SPDX-License-Identifier: Apache-2.0
"""Networks whose weights stay as drawn; what is learned is which of them count.

Parameters are {'frozen', 'trained'}: the network's own parameters, and a dict
of scores by the path of their kernel, e.g. {'0/kernel': f[I, O]}.
"""

import fractions
import math

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import bits, checks, layers
from jaxdl.core.types import Network
from jaxdl.networks import _as_network, _statistics

MASK_SCORES = ('raw', 'abs')
# Sorted, whose program is smaller.
_FEW = 256
# Counted at once: columns, and so many rows that XLA does not split the sum.
_LANES, _DEPTH = 128, 32
# Interpolations before the first bisection.
_TRUSTED = 6


def num_kept(size: int, keep: float) -> int:
  """Edges that a mask keeps of n: n - floor((1 - keep) n).

  The share is read as the decimal that it is written as: of 10 edges 0.9 keeps
  9, though (1 - 0.9) 10 is below one in floating point.

  Args:
    size: n >= 1.
    keep: in (0, 1].

  Returns:
    The count, 1 at least.

  Raises:
    ValueError: if `keep` is out of range or there is no edge.

  Example:
    >>> num_kept(5, 0.5), num_kept(10, 0.9)
    (3, 9)
  """
  checks.number(keep, name='keep', low=0.0, high=1.0, open_low=True)
  checks.integer(size, name='size', low=1)
  return math.ceil(fractions.Fraction(repr(float(keep))) * size)


def topk_mask(scores: chex.Array, keep: float) -> chex.Array:
  """Marks the largest scores, exactly `num_kept` of them.

  Without a sort (but for few entries): a threshold that separates the entries
  is searched between the extremes, by interpolation of ranks and, every third
  time, bisection of the numbers' bits. Where none exists because entries are
  equal, those of higher index are kept, which is what a stable ascending
  argsort puts last. NaN counts as larger than infinity, zeros of both signs are
  equal.

  Args:
    scores: f[...], floating point.
    keep: share that is kept, in (0, 1] (static), k in the paper.

  Returns:
    bool[...].

  Raises:
    ValueError: if `keep` is out of range or there is no entry.
    TypeError: if the scores are no floating-point numbers.

  Cost: some 10 passes over the scores, 100 at worst; no gradient.

  Example:
    >>> topk_mask(jnp.array([0.3, -0.2, 0.9, 0.1]), 0.5).tolist()
    [True, False, True, False]

  Source: Ramanujan et al. 2020 (https://arxiv.org/abs/1911.13299), section 3;
    the search is ours.
  """
  scores = jax.lax.stop_gradient(jnp.asarray(scores))
  if not jnp.issubdtype(scores.dtype, jnp.floating):
    raise TypeError(
      f'scores must be floating-point numbers; got {scores.dtype}.'
    )
  size = scores.size
  if not size:
    raise ValueError(f'scores are empty: shape {scores.shape} has no edge.')
  dropped = size - num_kept(size, keep)
  if not dropped:
    return jnp.ones(scores.shape, bool)
  wide = jnp.promote_types(scores.dtype, jnp.float32)
  values = scores.astype(wide).reshape(-1)
  keys = bits.ordered_bits(values)
  if size <= _FEW:
    order = jnp.argsort(keys, stable=True)
    kept = jnp.zeros(size, bool).at[order[dropped:]].set(True)
    return kept.reshape(scores.shape)
  low, below = _threshold(keys, dropped, wide)
  # Of entries equal to `low`, the first `dropped - below` go as well.
  start = jax.lax.cond(
    below == dropped,
    lambda keys, low, below: jnp.zeros((), jnp.int32),
    lambda keys, low, below: _tied_until(keys == low, dropped - below),
    *(keys, low, below),
  )
  index = jnp.arange(size, dtype=jnp.int32)
  kept = (keys > low) | ((keys == low) & (index >= start))
  return kept.reshape(scores.shape)


def _threshold(keys, dropped, dtype):
  """Key t with `dropped` keys below it; else the largest with fewer below."""
  size = keys.shape[0]
  blocks = -(-size // _LANES)
  rows = -(-blocks // _DEPTH)
  width = rows * _LANES
  # Filled up with the largest key, which is below no pivot.
  filled = jnp.pad(
    keys, (0, -size % width), constant_values=jnp.iinfo(keys.dtype).max
  ).reshape(rows, -1, _LANES)

  def count_below(pivot):
    # Sums of bytes down the columns: on CPU twice as fast as those of int32.
    small = jnp.sum(filled < pivot, axis=1, dtype=jnp.uint8)
    return jnp.sum(small, dtype=jnp.int32).astype(keys.dtype)

  def middle(low, high):
    # No overflow, whatever the signs.
    return (low & high) + ((low ^ high) >> 1)

  def search(state):
    low, below, high, under, turn = state
    left, right = (
      bits.of_ordered_bits(low, dtype),
      bits.of_ordered_bits(high - 1, dtype),
    )
    share = (dropped - below).astype(dtype) / (under - below).astype(dtype)
    guess = left + share * (right - left)
    usable = ((turn < _TRUSTED) | (turn % 3 != 2)) & jnp.isfinite(guess)
    guess = bits.ordered_bits(jnp.where(usable, guess, 0))
    pivot = jnp.where(usable, guess, middle(low, high))
    pivot = jnp.clip(pivot, low + 1, high - 1)
    count = count_below(pivot)
    down = count > dropped
    return jnp.stack(
      [
        jnp.where(down, low, pivot),
        jnp.where(down, below, count),
        jnp.where(down, pivot, high),
        jnp.where(down, count, under),
        turn + 1,
      ]
    )

  def unsettled(state):
    low, below, high, _, _ = state
    return (below < dropped) & (high - 1 > low)

  # One array: on CPU each number of its own costs as much as the count does.
  start = jnp.stack(
    [
      jnp.min(keys),
      jnp.zeros((), keys.dtype),
      jnp.max(keys) + 1,
      jnp.asarray(size, keys.dtype),
      jnp.zeros((), keys.dtype),
    ]
  )
  low, below, _, _, _ = jax.lax.while_loop(unsettled, search, start)
  return low, below.astype(jnp.int32)


def _tied_until(tied, count):
  """Smallest index with `count` marks before it, count >= 1."""
  index = jnp.arange(tied.shape[0], dtype=jnp.int32)

  def halve(carry):
    low, high = carry
    middle = (low + high) // 2
    enough = jnp.sum(tied & (index < middle), dtype=jnp.int32) >= count
    return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

  zero = jnp.zeros((), jnp.int32)
  start = (zero, jnp.asarray(tied.shape[0], jnp.int32))
  return jax.lax.while_loop(lambda c: c[0] < c[1], halve, start)[0]


def masked_weights(
  weights: chex.Array,
  scores: chex.Array,
  keep: float,
  *,
  mask_scores: str = 'raw',
) -> chex.Array:
  """Keeps the weights with the largest scores, the others are zero.

  The gradient goes straight through the mask: that of a score is the gradient
  of its weight times the weight, whether it is kept or not; with 'abs' times
  the sign of the score as well.

  Args:
    weights: f[...].
    scores: f[...], same shape.
    keep: share that is kept, in (0, 1] (static).
    mask_scores: 'raw', or 'abs' for the largest in size (static).

  Returns:
    f[...], the dtype of the weights.

  Raises:
    ValueError: if shapes differ or an option is out of range.

  Example:
    >>> w, s = jnp.array([2.0, -2.0]), jnp.array([0.1, 0.3])
    >>> masked_weights(w, s, 0.5).tolist()
    [0.0, -2.0]
    >>> jax.grad(lambda s: masked_weights(w, s, 0.5).sum())(s).tolist()
    [2.0, -2.0]

  Source: Ramanujan et al. 2020 (https://arxiv.org/abs/1911.13299), equation 3.
  """
  checks.choice(mask_scores, MASK_SCORES, name='mask_scores')
  if jnp.shape(weights) != jnp.shape(scores):
    raise ValueError(
      f'weights and scores need equal shapes; got {jnp.shape(weights)} and '
      f'{jnp.shape(scores)}.'
    )
  q = jnp.abs(scores) if mask_scores == 'abs' else jnp.asarray(scores)
  mask = topk_mask(q, keep).astype(q.dtype)
  through = q - jax.lax.stop_gradient(q)  # Zero, with slope one.
  return weights * (mask + through).astype(weights.dtype)


def supermask(
  network: Network, *, keep: float = 0.5, mask_scores: str = 'raw'
) -> Network:
  """Freezes a network's weights and learns which of them to keep.

  Every kernel (two axes or more) is drawn as sign · sqrt(2 / fan_in), the
  signs at random, and stays so; its scores start uniform on ±1 / sqrt(fan_in),
  fan_in being the product of all axes but the last. The network runs with the
  share `keep` of each kernel that has the largest scores. All other tensors
  stay as the network starts them, biases at zero: use networks without
  (`mlp(..., bias=False)`, `frl_lenet`, `conv8`) to spend nothing on them.

  Args:
    network: a `Network` or a flax module; its kernels are leaves of its
      parameters.
    keep: share of each kernel's edges that count, in (0, 1] (static), k in the
      paper.
    mask_scores: 'raw' keeps the largest scores, 'abs' the largest in size
      (static), as the code of Mozaffari et al. does where their text does not.

  Returns:
    A `Network` with parameters {'frozen', 'trained'}: the network's own, and
    its scores by path. No gradient reaches the frozen part.

  Raises:
    ValueError: if an option is out of range; from `init`, if there is no
      kernel, one is empty, or the network keeps running statistics.

  Example:
    >>> from jaxdl import networks
    >>> network = supermask(networks.mlp(4, 2, bias=False))
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> {k: v.shape for k, v in params['trained'].items()}
    {'0/kernel': (3, 4), '1/kernel': (4, 2)}

  Source: Ramanujan et al. 2020 (https://arxiv.org/abs/1911.13299), sections 3
    and 4, as used by Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350).
  """
  network = _as_network.as_network(network)
  checks.number(keep, name='keep', low=0.0, high=1.0, open_low=True)
  checks.choice(mask_scores, MASK_SCORES, name='mask_scores')

  def init(key, *inputs):
    own_key, sign_key, score_key = jax.random.split(key, 3)
    own = network.init(own_key, *inputs)
    if _statistics.has_statistics(own):
      raise ValueError(
        'supermask takes networks without running statistics: use group '
        'normalization, or none.'
      )
    kernels = kernels_of(own)
    if not kernels:
      raise ValueError('supermask found no kernel: need a leaf of two axes.')
    for path, x in kernels.items():
      if not x.size:
        raise ValueError(f'layer {path} has no edge: its shape is {x.shape}.')
    signs = _pool(jax.random.rademacher, sign_key, kernels)
    spread = _pool(jax.random.uniform, score_key, kernels, -1.0, 1.0)
    scale = {k: math.prod(x.shape[:-1]) ** -0.5 for k, x in kernels.items()}
    weights = {k: math.sqrt(2.0) * scale[k] * x for k, x in signs.items()}
    return {
      'frozen': _with_kernels(own, weights),
      'trained': {k: scale[k] * x for k, x in spread.items()},
    }

  def apply(params, *inputs, **options):
    frozen = jax.lax.stop_gradient(params['frozen'])
    scores = params['trained']
    masked = {
      path: masked_weights(x, scores[path], keep, mask_scores=mask_scores)
      for path, x in kernels_of(frozen).items()
    }
    return network.apply(_with_kernels(frozen, masked), *inputs, **options)

  return Network(init, apply)


def _name(path):
  return jax.tree_util.keystr(path, simple=True, separator='/')


def kernels_of(params: chex.ArrayTree) -> dict[str, chex.Array]:
  """The kernels of a model by path.

  Args:
    params: one model, or its shapes.

  Returns:
    A dict such as {'0/kernel': f[I, O]}.
  """
  return {
    _name(path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    if layers.is_kernel(path, leaf)
  }


def _with_kernels(params, kernels):
  return jax.tree_util.tree_map_with_path(
    lambda path, x: kernels.get(_name(path), x), params
  )


def _pool(sample, key, kernels, *bounds):
  """One draw for all kernels, cut into theirs."""
  total = sum(x.size for x in kernels.values())
  flat, out, at = sample(key, (total,), jnp.float32, *bounds), {}, 0
  for path, x in kernels.items():
    out[path] = flat[at : at + x.size].reshape(x.shape).astype(x.dtype)
    at += x.size
  return out
