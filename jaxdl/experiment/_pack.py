# SPDX-License-Identifier: Apache-2.0
"""Turns a state into host arrays with a description in JSON, and back."""

import itertools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np


class Saved(NamedTuple):
  """One checkpoint in host memory.

  Attributes:
    round: the last round that the state has seen.
    num_rows: rows reported at multiples of `eval_every` up to that round.
    leaves: host values, see `unpack`.
    skeleton: the structure if it may differ from that of a fresh state.
  """

  round: int
  num_rows: int
  leaves: list[Any]
  skeleton: Any


class Leaf(NamedTuple):
  """One saved leaf: what it was, and its array if it was one."""

  meta: dict[str, Any]
  array: np.ndarray | None


def pack(
  state: chex.ArrayTree,
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]], Any]:
  """Splits a state into host arrays and a JSON description.

  Args:
    state: the state; arrays that span processes are gathered.

  Returns:
    The arrays by name, one description per leaf, and the structure as JSON
    where it consists of dicts, lists, tuples and None alone (None otherwise).
  """
  flat, treedef = jax.tree.flatten(state)
  arrays, leaves = {}, describe(state)
  for n, (leaf, meta) in enumerate(zip(flat, leaves, strict=True)):
    if meta['stored']:
      raw = jax.random.key_data(leaf) if meta['kind'] == 'key' else leaf
      arrays[name(n)] = _host(raw)
  counter = itertools.count()
  try:
    skeleton = _skeleton(
      jax.tree.unflatten(treedef, [next(counter) for _ in flat])
    )
  except TypeError:
    skeleton = None
  return arrays, leaves, skeleton


def describe(state: chex.ArrayTree) -> list[dict[str, Any]]:
  """Says what each leaf of a state is, without moving any.

  Args:
    state: the state.

  Returns:
    One JSON object per leaf.

  Raises:
    ValueError: if a leaf is nothing that can be saved.
  """
  kinds = (('jax', jax.Array), ('numpy', np.ndarray), ('scalar', np.generic))
  found = []
  for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    meta: dict[str, Any] = {'path': jax.tree_util.keystr(path), 'stored': False}
    found.append(meta)
    if isinstance(leaf, (str, int, float)) and not isinstance(leaf, np.generic):
      meta |= {'kind': 'json', 'value': leaf}
      continue
    if is_key(leaf):
      words = jax.eval_shape(jax.random.key_data, leaf)
      meta |= {'kind': 'key', 'impl': str(jax.random.key_impl(leaf))}
      shape, dtype = words.shape, words.dtype
    elif isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
      meta['kind'] = next(name for name, cls in kinds if isinstance(leaf, cls))
      shape, dtype = leaf.shape, leaf.dtype
    else:
      raise ValueError(
        f'state{meta["path"]} is a {type(leaf).__name__}: a state holds '
        'arrays, typed keys, text and numbers.'
      )
    meta |= {'shape': list(shape), 'dtype': dtype.name}
    # The array format cannot hold an empty one.
    meta['stored'] = 0 not in shape
  return found


def unpack(saved: Saved, template: chex.ArrayTree) -> chex.ArrayTree:
  """Rebuilds a state.

  Args:
    saved: the checkpoint.
    template: a fresh state, whose structure is taken unless the checkpoint
      has its own.

  Returns:
    Where the checkpoint has its own structure, the state. Otherwise a state of
    host values, keys as raw words, that is still to be placed.
  """
  values = [_value(leaf) for leaf in saved.leaves]
  if saved.skeleton is not None:
    values = [
      _as_jax(leaf.meta, value)
      for leaf, value in zip(saved.leaves, values, strict=True)
    ]
    return _unskeleton(saved.skeleton, values)
  return jax.tree.unflatten(jax.tree.structure(template), values)


def is_key(leaf: Any) -> bool:
  """Whether a leaf is an array of typed keys."""
  return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
    leaf.dtype, jax.dtypes.prng_key
  )


def _value(leaf: Leaf) -> Any:
  meta = leaf.meta
  if meta['kind'] == 'json':
    return meta['value']
  array = leaf.array
  if array is None:
    array = np.zeros(meta['shape'], np.dtype(meta['dtype']))
  return np.asarray(array)[()] if meta['kind'] == 'scalar' else array


def _as_jax(meta: dict[str, Any], value: Any) -> Any:
  if meta['kind'] == 'key':
    return jax.random.wrap_key_data(jnp.asarray(value), impl=meta['impl'])
  return jnp.array(value) if meta['kind'] == 'jax' else value


def name(n: int) -> str:
  """Returns the name under which leaf n is stored."""
  return f'{n:05d}'


def _host(array: Any) -> np.ndarray:
  """Returns an owned copy: the next round may reuse the buffer."""
  if isinstance(array, jax.Array) and not array.is_fully_addressable:
    if array.is_fully_replicated:
      array = array.addressable_data(0)
    else:
      from jax.experimental import multihost_utils

      return np.array(multihost_utils.process_allgather(array, tiled=True))
  return np.array(array)


def check_like(leaves: list[Leaf], template: chex.ArrayTree) -> None:
  """Raises ValueError unless stored leaves fit a fresh state."""
  fresh = describe(template)
  keys = ('path', 'kind', 'impl', 'shape', 'dtype')
  was = [[leaf.meta.get(k) for k in keys] for leaf in leaves]
  starts = [[meta.get(k) for k in keys] for meta in fresh]
  if was != starts:
    raise ValueError(
      'the checkpoint holds a state of another form than this experiment '
      'starts from: pass --if_exists=overwrite to start over, or another '
      '--workdir.'
    )


def _skeleton(tree: Any) -> Any:
  """Encodes builtin containers around leaf numbers; others: TypeError."""
  if tree is None:
    return ['none']
  if type(tree) is int:
    return tree
  if type(tree) is dict and all(isinstance(k, str) for k in tree):
    return ['dict', {k: _skeleton(v) for k, v in tree.items()}]
  if type(tree) in (list, tuple):
    return [type(tree).__name__, [_skeleton(v) for v in tree]]
  raise TypeError(type(tree).__name__)


def _unskeleton(code: Any, values: list[Any]) -> Any:
  if isinstance(code, int):
    return values[code]
  if code[0] == 'none':
    return None
  if code[0] == 'dict':
    return {k: _unskeleton(v, values) for k, v in code[1].items()}
  items = [_unskeleton(v, values) for v in code[1]]
  return tuple(items) if code[0] == 'tuple' else items
