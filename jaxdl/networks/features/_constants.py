# SPDX-License-Identifier: Apache-2.0
"""Constants beside what is trained, and networks of equal size.

Parameters are {'frozen', 'trained'}: what was drawn stands beside what is
learned, so that every seed has its own features and any algorithm can train
them. `trained_only` leaves the frozen part alone.
"""

import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks
from jaxdl.core.types import Network


def with_constants(
  draw: Callable[[chex.PRNGKey], chex.ArrayTree],
  build: Callable[[chex.ArrayTree], Network],
) -> Network:
  """Makes a network out of one that needs constants.

  Args:
    draw: draws them; consumes the key.
    build: the network of given constants, with one input.

  Returns:
    A `Network` with parameters {'frozen', 'trained'}; no gradient reaches the
    frozen part.

  Example:
    >>> scaled = lambda c: Network(
    ...   lambda key, x: jnp.zeros(3),
    ...   lambda p, x, **_: c * (x @ p),
    ... )
    >>> network = with_constants(jax.random.normal, scaled)
    >>> sorted(network.init(jax.random.key(0), jnp.zeros((1, 3))))
    ['frozen', 'trained']
  """

  def init(key, x):
    frozen_key, key = jax.random.split(key)
    frozen = draw(frozen_key)
    return {'frozen': frozen, 'trained': build(frozen).init(key, x)}

  def apply(params, x, *, train=False, key=None):
    frozen = jax.lax.stop_gradient(params['frozen'])
    return build(frozen).apply(params['trained'], x, train=train, key=key)

  return Network(init, apply)


def without_constants(network: Network) -> Network:
  """Gives a network without constants the same form.

  Args:
    network: with one input.

  Returns:
    A `Network` with parameters {'frozen': (), 'trained'}.
  """
  return with_constants(lambda key: (), lambda frozen: network)


def trained_only(
  transformation: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Applies a transformation to what is trained; the rest stays.

  Args:
    transformation: any.

  Returns:
    An optimizer of {'frozen', 'trained'}.

  Example:
    >>> params = {'frozen': jnp.ones(2), 'trained': jnp.ones(2)}
    >>> optimizer = trained_only(optax.sgd(0.5))
    >>> updates, _ = optimizer.update(params, optimizer.init(params))
    >>> updates['frozen'].tolist(), updates['trained'].tolist()
    ([0.0, 0.0], [-0.5, -0.5])
  """
  return optax.multi_transform(
    {'trained': transformation, 'frozen': optax.set_to_zero()},
    {'frozen': 'frozen', 'trained': 'trained'},
  )


def check_example(example: Any, *, name: str = 'example') -> None:
  """Refuses examples without shape or dtype, such as a bare shape.

  Args:
    example: array or `jax.ShapeDtypeStruct`, or a tree of them.
    name: the argument's name, for the message.

  Raises:
    TypeError: if it is anything else.
  """
  leaves = jax.tree.leaves(example)
  if not leaves or not all(
    hasattr(x, 'shape') and hasattr(x, 'dtype') for x in leaves
  ):
    bare = isinstance(example, (tuple, list)) and all(
      isinstance(n, int) for n in leaves
    )
    shape = tuple(leaves) if bare and leaves else 'shape'
    raise TypeError(
      f'{name} must be an array or its jax.ShapeDtypeStruct; got '
      f'{example if bare else checks.described(example)}: pass '
      f'jax.ShapeDtypeStruct({shape}, dtype).'
    )


def num_trained(network: Network, example: Any) -> int:
  """Counts the numbers that are trained.

  Args:
    network: with parameters {'frozen', 'trained'}.
    example: an input or its `jax.ShapeDtypeStruct`; of vectors, their length
      will do.

  Returns:
    The count; nothing is computed.

  Raises:
    TypeError: if the example is anything else.
  """
  if isinstance(example, int) and not isinstance(example, bool):
    checks.integer(example, name='example', low=1)
    example = jax.ShapeDtypeStruct((1, example), jnp.float32)
  check_example(example)
  shapes = jax.eval_shape(network.init, jax.random.key(0), example)
  return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes['trained']))


def matched(
  make: Callable[[int], Network],
  target: int,
  example: Any,
  *,
  most: int | None = None,
) -> tuple[int, Network]:
  """Finds the size at which a network trains as many numbers as another.

  Args:
    make: network of a size >= 1; its count must be affine in the size.
    target: the other's count, >= 1.
    example: see `num_trained`.
    most: largest size that there is, if any.

  Returns:
    The size (from 1 to `most`) whose count is nearest, and the network.

  Raises:
    ValueError: if the count does not grow with the size.
  """
  checks.integer(target, name='target', low=1)
  if most is not None and checks.integer(most, name='most', low=1) == 1:
    return 1, make(1)
  one, two = (num_trained(make(size), example) for size in (1, 2))
  if two <= one:
    raise ValueError(
      f'make gives {one} numbers at size 1 and {two} at size 2: the count must '
      'grow with the size.'
    )
  size = max(1, round(1 + (target - one) / (two - one)))
  size = size if most is None else min(size, most)
  return size, make(size)


def sequential(*parts: Network) -> Network:
  """Applies networks one after the other.

  Args:
    *parts: networks of one input, at least one.

  Returns:
    A `Network`; parameters are a list.

  Raises:
    ValueError: if there is none.
  """
  if not parts:
    raise ValueError('sequential needs at least one network.')

  def init(key, x):
    params = []
    for k, part in zip(jax.random.split(key, len(parts)), parts, strict=True):
      params.append(part.init(k, x))
      x = part.apply(params[-1], x)
    return params

  def apply(params, x, *, train=False, key=None):
    del train, key
    for part, own in zip(parts, params, strict=True):
      x = part.apply(own, x)
    return x

  return Network(init, apply)
