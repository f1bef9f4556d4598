# SPDX-License-Identifier: Apache-2.0
"""Adapter for networks written with flax.nnx, which is imported when used."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jaxdl.core.types import Network
from jaxdl.networks import _linen

if TYPE_CHECKING:
  from flax import nnx


def _split(module):
  from flax import nnx

  graph, weights, statistics, streams, other = nnx.split(
    module, nnx.Param, nnx.BatchStat, nnx.RngState, ...
  )
  if jax.tree.leaves(other):
    raise ValueError(
      'the module holds variables other than Param, BatchStat and random '
      f'streams: {sorted(map(str, nnx.to_pure_dict(other)))}.'
    )
  return graph, weights, statistics, streams


def _plain(state):
  """Nested dict with text keys (checkpoints do not keep integer ones)."""
  from flax import nnx

  def convert(tree):
    if isinstance(tree, dict):
      return {str(k): convert(v) for k, v in tree.items()}
    return jnp.asarray(tree)

  return convert(nnx.to_pure_dict(state))


def _restore(like, plain):
  """The state `like` with its values taken from a nested dict."""
  from flax import nnx

  def fill(template, tree):
    if isinstance(template, dict):
      return {k: fill(v, tree[str(k)]) for k, v in template.items()}
    return tree

  state = jax.tree.map(lambda x: x, like)
  nnx.replace_by_pure_dict(state, fill(nnx.to_pure_dict(like), plain))
  return state


def _seed(streams, key):
  """Fresh random streams, one fold of the key each."""
  leaves, structure = jax.tree.flatten(streams)

  def leaf(i, x):
    if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
      return jnp.zeros(x.shape, x.dtype)
    own = jax.random.fold_in(key, i)
    return jax.random.split(own, x.shape) if x.shape else own

  return jax.tree.unflatten(
    structure, [leaf(i, x) for i, x in enumerate(leaves)]
  )


def from_nnx(
  module: 'nnx.Module | Callable[[nnx.Rngs], nnx.Module]',
) -> Network:
  """Turns a flax.nnx module into a `Network`.

  `params` is a nested dict of arrays: 'params' and, where the module has batch
  normalization, 'statistics'; the object itself is never changed. In training
  mode batch normalizations record the statistics of the batch (their momentum
  is set to zero), which `classification` and `recalibrate` rely on.

  Args:
    module: a module, whose current values `init` then returns whatever the
      key; or a factory `rngs -> module` (a module class will do), which `init`
      calls with the key.

  Returns:
    `Network(init, apply)`, with `mask` and `mutable` as in `from_linen`; the
    module's `__call__` takes the inputs and, if it normalizes over the batch
    and data is padded, the keyword `mask`.

  Raises:
    TypeError: if it is neither a module nor a factory.
    ValueError: if it holds other variables than `Param`, `BatchStat` and random
      streams; from `apply`, if a key is missing, or a mask is given to a module
      that has statistics but no such keyword.

  Example:
    >>> from flax import nnx
    >>> network = from_nnx(lambda rngs: nnx.Linear(3, 2, rngs=rngs))
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> network.apply(params, jnp.zeros((4, 3))).shape
    (4, 2)
  """
  from flax import nnx

  if isinstance(module, nnx.Module):
    stored, abstract = module, module
  elif callable(module):
    stored, abstract = None, nnx.eval_shape(lambda: module(nnx.Rngs(0)))
  else:
    raise TypeError(
      f'module must be a flax.nnx module or a factory; got {module!r}.'
    )
  graph, weights, statistics, streams = _split(abstract)
  running = bool(jax.tree.leaves(statistics))
  random = bool(jax.tree.leaves(streams))
  accepted = inspect.signature(type(abstract).__call__).parameters
  initial = None if stored is None else _collect(weights, statistics)

  def init(key, *inputs):
    del inputs
    if initial is not None:
      return jax.tree.map(lambda x: x, initial)
    _, own_weights, own_statistics, _ = _split(module(nnx.Rngs(key)))
    return _collect(own_weights, own_statistics)

  def apply(params, *inputs, train=False, key=None, mask=None, mutable=False):
    if random and train and key is None:
      raise ValueError(_linen.NEEDS_KEY)
    keywords, empty = {}, None
    if mask is not None and running:
      if 'mask' not in accepted:
        raise ValueError(
          'mask is given but the module has no such keyword: padding would '
          'enter its batch statistics.'
        )
      empty = ~jnp.any(mask)
      keywords['mask'] = mask.astype(bool) | jnp.broadcast_to(empty, mask.shape)
    states = [_restore(weights, params['params'])]
    if running:
      states.append(_restore(statistics, params[_linen.STATISTICS]))
    if random:
      live = train and key is not None
      states.append(_seed(streams, key if live else jax.random.key(0)))
    copy = nnx.merge(graph, *states)
    copy.set_attributes(
      deterministic=not train,
      use_running_average=not (train or mutable),
      raise_if_not_found=False,
    )
    copy.set_attributes(nnx.BatchNorm, momentum=0.0, raise_if_not_found=False)
    outputs = copy(*inputs, **keywords)
    if not mutable:
      return outputs
    if not running:
      return outputs, None
    fresh = _plain(nnx.state(copy, nnx.BatchStat))
    if empty is not None:
      fresh = jax.tree.map(
        lambda new, old: jnp.where(empty, old, new),
        fresh,
        params[_linen.STATISTICS],
      )
    return outputs, fresh

  return Network(init, apply)


def _collect(weights, statistics):
  params = {'params': _plain(weights)}
  if jax.tree.leaves(statistics):
    params[_linen.STATISTICS] = _plain(statistics)
  return params
