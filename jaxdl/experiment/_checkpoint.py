# SPDX-License-Identifier: Apache-2.0
"""Saves the state of a run so that a kill at any instant loses little.

A checkpoint holds the leaves of the state as host arrays, whatever devices they
were on, and a small JSON part: the round, the number of rows that
`metrics.jsonl` had, what each leaf is, and the identity of the run.
"""

import itertools
import os
import pathlib
import time
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.experiment import _launch, _workdir


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


class Store:
  """Checkpoints in a directory, written by orbax in the background.

  Args:
    directory: holds `checkpoints/`, and `profile/` if rounds are traced.
    seconds: time between checkpoints; 0 saves after every round.
    keep: how many checkpoints stay on disk.
    workdir: the run's directory with its identity; None skips those checks.
  """

  def __init__(
    self,
    directory: str | os.PathLike[str],
    *,
    seconds: float = 60.0,
    keep: int = 2,
    workdir: _workdir.Workdir | None = None,
  ) -> None:
    self.directory = pathlib.Path(directory)
    self.begun = False
    self.running = False
    self._seconds = seconds
    self._keep = keep
    self._workdir = workdir
    self._manager = None
    self._last = -1
    self._next = 0.0

  @property
  def _path(self) -> pathlib.Path:
    return self.directory / 'checkpoints'

  def latest(self) -> int:
    """Returns the round of the newest finished checkpoint; -1 for none."""
    found = -1
    fresh = self._workdir is not None and self._workdir.fresh
    if jax.process_index() == 0 and not fresh and self._path.is_dir():
      manager = _manager(self._path, self._keep, peek=True)
      found = max(manager.all_steps(), default=-1)
      manager.close()
    return int(_launch.from_first(np.int32(found)))

  def begin(self) -> None:
    """Creates what is missing on disk; nothing is written before."""
    self.begun = True
    if jax.process_index() == 0:
      if self._workdir is not None:
        self._workdir.begin()
      self._path.mkdir(parents=True, exist_ok=True)
      self._manager = _manager(self._path, self._keep)
    self.rest()

  def restore(self, template: chex.ArrayTree, *, fixed: bool) -> Saved:
    """Reads the newest checkpoint that is whole.

    Args:
      template: a fresh state.
      fixed: whether the saved leaves must have its shapes and dtypes; False
        lets a state of builtin containers have changed its structure.

    Returns:
      The checkpoint, the same on every process.

    Raises:
      ValueError: if none can be read, or the newest belongs to another state
        or another configuration.
    """
    saved = self._read() if self._manager is not None else None
    if saved is not None and (fixed or saved.skeleton is None):
      saved = saved._replace(skeleton=None)
      _check_like(saved.leaves, template)
    if jax.process_count() > 1:
      saved = _share(saved, template)
    assert saved is not None
    self._last = saved.round
    return saved

  def due(self) -> bool:
    """Whether it is time for a checkpoint."""
    return time.monotonic() >= self._next

  def rest(self) -> None:
    """Starts waiting for the next checkpoint."""
    self._next = time.monotonic() + self._seconds

  def save(self, round: int, state: chex.ArrayTree, num_rows: int) -> None:
    """Copies the state to the host and writes it in the background.

    Args:
      round: the last round that the state has seen.
      state: any pytree of arrays, typed keys and JSON values.
      num_rows: see `Saved`.
    """
    if round == self._last:
      return
    arrays, leaves, skeleton = pack(state)
    self._last = round
    if self._manager is not None:
      import orbax.checkpoint as ocp

      meta = {
        'round': round,
        'num_rows': num_rows,
        'leaves': leaves,
        'skeleton': skeleton,
        'identity': self._workdir.identity() if self._workdir else None,
      }
      parts: dict[str, Any] = {'meta': ocp.args.JsonSave(meta)}
      if arrays:
        parts['state'] = ocp.args.PyTreeSave(arrays)
      self._manager.save(round, args=ocp.args.Composite(**parts), force=True)
    self.rest()

  def close(self) -> None:
    """Waits until what was saved is on disk."""
    if self._manager is not None:
      self._manager.wait_until_finished()
      self._manager.close()
      self._manager = None

  def _read(self) -> Saved:
    import orbax.checkpoint as ocp

    manager = self._manager
    assert manager is not None
    damaged = []
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        meta = manager.restore(
          step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
        )['meta']
        names = [n for n, leaf in enumerate(meta['leaves']) if leaf['stored']]
        arrays = {}
        if names:
          wanted = {
            _name(n): ocp.RestoreArgs(restore_type=np.ndarray) for n in names
          }
          arrays = manager.restore(
            step,
            args=ocp.args.Composite(
              state=ocp.args.PyTreeRestore(restore_args=wanted)
            ),
          )['state']
      except (OSError, KeyError, ValueError) as error:
        logging.warning('Checkpoint %d is damaged: %s', step, error)
        damaged.append(step)
        continue
      for old in damaged:
        manager.delete(old)
      if self._workdir is not None and meta['identity'] is not None:
        self._workdir.check(meta['identity'])
      leaves = [
        Leaf(leaf, arrays[_name(n)] if leaf['stored'] else None)
        for n, leaf in enumerate(meta['leaves'])
      ]
      return Saved(meta['round'], meta['num_rows'], leaves, meta['skeleton'])
    raise ValueError(
      f'{self._path} holds no checkpoint that can be read: pass --overwrite '
      'to start over.'
    )


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
      arrays[_name(n)] = _host(raw)
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


def _name(n: int) -> str:
  return f'{n:05d}'


def _manager(path: pathlib.Path, keep: int, peek: bool = False) -> Any:
  """Opens the checkpoints; to peek changes nothing on disk."""
  import orbax.checkpoint as ocp

  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep,
    cleanup_tmp_directories=not peek,
    create=False,
    save_root_metadata=False,
    enable_async_checkpointing=not peek,
    multiprocessing_options=ocp.options.MultiprocessingOptions(
      primary_host=0, active_processes={0}, barrier_sync_key_prefix='jaxdl'
    ),
  )
  return ocp.CheckpointManager(path.resolve(), options=options)


def _host(array: Any) -> np.ndarray:
  """Returns an owned copy: the next round may reuse the buffer."""
  if isinstance(array, jax.Array) and not array.is_fully_addressable:
    if array.is_fully_replicated:
      array = array.addressable_data(0)
    else:
      from jax.experimental import multihost_utils

      return np.array(multihost_utils.process_allgather(array, tiled=True))
  return np.array(array)


def _check_like(leaves: list[Leaf], template: chex.ArrayTree) -> None:
  fresh = describe(template)
  keys = ('path', 'kind', 'impl', 'shape', 'dtype')
  was = [[leaf.meta.get(k) for k in keys] for leaf in leaves]
  starts = [[meta.get(k) for k in keys] for meta in fresh]
  if was != starts:
    raise ValueError(
      'the checkpoint holds a state of another form than this experiment '
      'starts from: pass --overwrite to start over, or another --workdir.'
    )


def _share(saved: Saved | None, template: chex.ArrayTree) -> Saved:
  """Sends the first process's checkpoint to all, byte for byte."""
  head = np.zeros(2, np.int32)
  if saved is not None:
    head = np.array([saved.round, saved.num_rows], np.int32)
  head = _launch.from_first(head)
  metas = describe(template)
  leaves = []
  for n, meta in enumerate(metas):
    kind = np.dtype(meta['dtype'])
    count = int(np.prod(meta['shape'], dtype=np.int64)) * kind.itemsize
    raw = np.zeros(count, np.uint8)
    if saved is not None and count:
      raw = np.frombuffer(np.asarray(saved.leaves[n].array).tobytes(), np.uint8)
    raw = _launch.from_first(raw) if count else raw
    leaves.append(Leaf(meta, raw.view(kind).reshape(meta['shape'])))
  return Saved(int(head[0]), int(head[1]), leaves, None)


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
