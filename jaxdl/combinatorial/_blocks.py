# SPDX-License-Identifier: Apache-2.0
"""What policies are made of: pairs, blocks of layers, masks, initial values."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _problem
from jaxdl.core import checks, trees
from jaxdl.networks import functional
from jaxdl.networks._layers import Dense

EPSILON = 1e-5


class Divider(NamedTuple):
  """A policy that constructs whole solutions.

  Attributes:
    init: `init(key, neighbors: Neighbors) -> params`.
    embed: `embed(params, neighbors, *, train=False) -> embedding`, once per
      instance.
    heat: `heat(params, embedding, cursor: Cursor) -> f32[M, K]`, rows over the
      neighbors of each node, positive and scaled; `row_of` reads one as weights
      of all nodes. f32[M], of all nodes, where `rows` is false.
    num_neighbors: K that the policy asks for.
    rows: whether heat is of pairs of nodes.
    record: `record(params, embedding) -> params` with the statistics of a
      training instance in the running ones; the identity unless
      `norm='running'`.
  """

  init: Callable[..., Any]
  embed: Callable[..., Any]
  heat: Callable[..., chex.Array]
  num_neighbors: int
  rows: bool
  record: Callable[..., Any] = lambda params, embedding: params


class Conqueror(NamedTuple):
  """A policy that solves one piece; every function is of one unbatched piece.

  Attributes:
    init: `init(key, features: f[m, F], distances: f[m, m]) -> params`.
    encode: `encode(params, features, distances, *, key=None) -> memory`; the
      key is consumed by policies that draw.
    decode: `decode(params, memory, context: Context) -> f32[m]`, logits, -inf
      where an action is not allowed; vmapped over rollouts of one memory.
  """

  init: Callable[..., Any]
  encode: Callable[..., Any]
  decode: Callable[..., chex.Array]


class InstanceNorm(nn.Module):
  """Normalizes each channel over the nodes of one piece.

  The variance is the biased one, in float32 (float64 for float64 inputs);
  identical nodes become the bias.
  """

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Applies the layer.

    Args:
      x: f[m, C].

    Returns:
      f[m, C].
    """
    channels = x.shape[-1]
    scale = self.param('scale', nn.initializers.ones, (channels,))
    bias = self.param('bias', nn.initializers.zeros, (channels,))
    wide = trees.accumulator(x.dtype)
    y = x.astype(wide)
    y = y - jnp.mean(y, axis=-2, keepdims=True)
    variance = jnp.mean(jnp.square(y), axis=-2, keepdims=True)
    y = y * jax.lax.rsqrt(variance + EPSILON)
    return (y * scale.astype(wide)[None] + bias.astype(wide)[None]).astype(
      x.dtype
    )


class Scalar(nn.Module):
  """A learned number that starts at one."""

  @nn.compact
  def __call__(self) -> jax.Array:
    """Returns it, f[]."""
    return self.param('scale', nn.initializers.ones, ())


class FeedForward(nn.Module):
  """x + W2 relu(W1 x), normalized.

  Attributes:
    hidden: width in between.
  """

  hidden: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Applies the block to f[m, C]."""
    h = jax.nn.relu(Dense(self.hidden, name='inner')(x))
    return InstanceNorm(name='norm')(x + Dense(x.shape[-1], name='outer')(h))


class Query(nn.Module):
  """A bias-free linear map of [a node, numbers], all nodes at once.

  Attributes:
    width: of the result.
    num_extra: how many numbers come after the node's vector.
  """

  width: int
  num_extra: int

  @nn.compact
  def __call__(self, nodes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Splits the map.

    Args:
      nodes: f[..., C].

    Returns:
      What the vectors add, f[..., width], and the map of the numbers,
      f[num_extra, width].
    """
    size = nodes.shape[-1]
    shape = (size + self.num_extra, self.width)
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
    return nodes @ kernel[:size], kernel[size:]


def wide(x: chex.Array) -> chex.Array:
  """Returns x in the dtype of sums: float32, or float64 if it is that."""
  return x.astype(trees.accumulator(x.dtype))


def multiply(x: chex.Array, y: chex.Array) -> chex.Array:
  """Returns x @ y, summed and kept in the accumulator of both."""
  kind = trees.accumulator(jnp.result_type(x, y))
  return jnp.matmul(x, y, preferred_element_type=kind)


def numbers(extra: chex.Array, kernel: chex.Array) -> chex.Array:
  """Returns what the numbers of a context add to a query."""
  return extra.astype(kernel.dtype) @ kernel


def pointer_logits(
  scores: chex.Array, allowed: chex.Array, clip: float
) -> chex.Array:
  """Returns clip * tanh(scores), -inf where not allowed, at least float32."""
  logits = clip * jnp.tanh(wide(scores)) if clip else wide(scores)
  return jnp.where(allowed, logits, -jnp.inf)


def draw(
  key: chex.PRNGKey,
  shapes: Any,
  kernel_init: str,
  *inputs: Any,
  scales: dict[str, float] | None = None,
) -> Any:
  """Draws the variables of a module from one draw.

  Args:
    key: consumed.
    shapes: variables as `jax.eval_shape` of a module's `init` gives them.
    kernel_init: an entry of `functional.KERNEL_INITS`.
    *inputs: example inputs, whose dtype parameters take.
    scales: bounds of uniform kernels and biases by the name of their module,
      where they are others.

  Returns:
    The variables.
  """
  leaves = functional.leaves_of(shapes, kernel_init=kernel_init)

  def leaf(path, old):
    bound = (scales or {}).get(path[-2].key) if len(path) > 1 else None
    if bound is None:
      return old
    return functional.Leaf(old.shape, 'uniform', bound, bound**2 / 3)

  leaves = jax.tree_util.tree_map_with_path(leaf, leaves)
  return functional.draw(key, leaves, functional.parameter_dtype(*inputs))


def check_piece(features: Any, distances: Any) -> None:
  """Raises ValueError unless a piece is f[m, F] and f[m, m]."""
  shape = tuple(features.shape)
  if len(shape) != 2 or shape[0] < 1:
    raise ValueError(f'features must be [m, F] with m >= 1; got shape {shape}.')
  if tuple(distances.shape) != (shape[0], shape[0]):
    raise ValueError(
      f'distances must be [m, m] = {(shape[0], shape[0])} for features of '
      f'shape {shape}; got {tuple(distances.shape)}.'
    )


def check_extra(context: _problem.Context, num_extra: int) -> None:
  """Raises ValueError unless a context has the numbers a policy reads."""
  if context.extra.shape != (num_extra,):
    raise ValueError(
      f'context.extra must have shape {(num_extra,)}, as this policy was made '
      f'for; got {context.extra.shape}.'
    )


def check_sizes(*, clip: float = 0.0, depth: int = 1, **sizes: int) -> None:
  """Checks widths, depth and clip of a policy."""
  checks.num_layers(depth, name='depth')
  checks.number(clip, name='clip', low=0.0)
  for name, value in sizes.items():
    checks.integer(value, name=name, low=1)


def log2(count: int) -> float:
  """Returns the binary logarithm of a number of nodes."""
  return math.log2(count)


def conqueror(
  module: nn.Module,
  *,
  num_extra: int,
  kernel_init: str,
  draws: bool = False,
  scales: dict[str, float] | None = None,
  check: Callable[..., None] | None = None,
) -> Conqueror:
  """Builds the pair from a module with the methods encode and decode.

  Args:
    module: `encode(features, distances) -> memory` and `decode(memory,
      context)`, both of them by `__call__(features, distances, context)`.
    num_extra: numbers of the context.
    kernel_init: an entry of `networks.KERNEL_INITS`.
    draws: whether `encode` takes a key besides.
    scales: as `draw`.
    check: `check(features)`, raises on pieces the module cannot take.

  Returns:
    The policy.
  """
  functional.KERNEL_INITS.check(kernel_init)

  def checked(features, distances):
    check_piece(features, distances)
    if check is not None:
      check(features)

  def init(key, features, distances):
    checked(features, distances)
    node = jnp.zeros((), jnp.int32)
    extra = jnp.zeros(num_extra, features.dtype)
    allowed = jnp.ones(features.shape[0], bool)
    context = _problem.Context(node, node, extra, allowed)
    shapes = jax.eval_shape(
      lambda *xs: module.init(jax.random.key(0), *xs),
      *(features, distances, context),
    )
    return draw(key, shapes, kernel_init, features, scales=scales)

  def encode(params, features, distances, *, key=None):
    checked(features, distances)
    more = (key,) if draws else ()
    return module.apply(params, features, distances, *more, method='encode')

  def decode(params, memory, context):
    check_extra(context, num_extra)
    return module.apply(params, memory, context, method='decode')

  return Conqueror(init, encode, decode)
