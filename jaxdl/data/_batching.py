# SPDX-License-Identifier: Apache-2.0
"""Padding and batching to static shapes, with masks.

Everything that runs on a device is written for one client and can be jitted
and vmapped; what a client draws never depends on how far it is padded.
"""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, types

# Out of range for any client axis: scatters drop it, gathers clip it.
NO_CLIENT = np.iinfo(np.int32).max

# Up to so many numbers all pairs are compared, which is faster than a sort.
_MOST_PAIRS = 256


def stack_clients(
  arrays: chex.ArrayTree,
  parts: Sequence[np.ndarray],
  size: int | None = None,
) -> tuple[chex.ArrayTree, np.ndarray]:
  """Gathers each client's examples into one stacked tree, padded with zeros.

  Args:
    arrays: tree of host arrays [n, ...], e.g. `{'inputs': x, 'labels': y}`.
    parts: N index arrays; may overlap.
    size: examples per client S after padding; the largest client if None.

  Returns:
    `(stacked, mask)`: NumPy leaves [N, S, ...] with the dtypes of `arrays`,
    and bool[N, S], true for the first `len(parts[k])` entries of row k.

  Raises:
    ValueError: if leaves differ in length, a part is out of range or larger
      than `size`, or there is no client or no example.

  Example:
    >>> stacked, mask = stack_clients({'y': np.arange(3)}, [[2], [0, 1]])
    >>> stacked['y'].tolist(), mask.tolist()
    ([[2, 0], [0, 1]], [[True, False], [True, True]])
  """
  n = _num_rows(arrays, 'arrays')
  parts = [np.asarray(part, np.int64) for part in parts]
  if not parts:
    raise ValueError('parts must hold at least one client; got none.')
  for k, part in enumerate(parts):
    if part.size and (part.min() < 0 or part.max() >= n):
      raise ValueError(
        f'parts[{k}] must index {n} examples; got indices '
        f'{part.min()}..{part.max()}.'
      )
  largest = max(len(part) for part in parts)
  if size is None:
    size = largest
    if not size:
      raise ValueError('parts must hold at least one example; got none.')
  size = checks.integer(size, name='size', low=1)
  if largest > size:
    k = next(k for k, part in enumerate(parts) if len(part) > size)
    raise ValueError(
      f'size={size} is too small: client {k} has {len(parts[k])} examples.'
    )
  mask = np.zeros((len(parts), size), bool)
  for k, part in enumerate(parts):
    mask[k, : len(part)] = True

  def leaf(x):
    x = np.asarray(x)
    out = np.zeros((len(parts), size, *x.shape[1:]), x.dtype)
    for k, part in enumerate(parts):
      out[k, : len(part)] = x[part]
    return out

  return jax.tree.map(leaf, arrays), mask


def sample_batch(
  key: chex.PRNGKey,
  client_data: dict[str, Any],
  examples: chex.Numeric | None,
  batch_size: int,
  *,
  replace: bool = True,
) -> dict[str, Any]:
  """Draws one batch from one client, uniformly.

  Without replacement the batch is the head of a random permutation; a client
  with fewer than B examples then gives all of them and masks the rest. A
  client without examples gives a batch that is masked entirely.

  Args:
    key: consumed.
    client_data: dict of leaves [S, ...]; an entry `mask` is not gathered.
    examples: which rows are real, bool[S], or how many of the first are, an
      integer scalar (traced); None reads `client_data['mask']`.
    batch_size: B (static).
    replace: whether an example may occur twice (static).

  Returns:
    Dict of leaves [B, ...] plus `mask: bool[B]`.

  Raises:
    ValueError: if leaves differ in length or `examples` fits neither form.

  Cost: O(B log S), or O(S log S) without replacement.

  Example:
    >>> batch = sample_batch(
    ...   jax.random.key(0), {'labels': jnp.arange(4)}, 2, 3, replace=False
    ... )
    >>> sorted(batch['labels'][:2].tolist()), batch['mask'].tolist()
    ([0, 1], [True, True, False])
  """
  batch_size = checks.integer(batch_size, name='batch_size', low=1)
  data = dict(client_data)
  own_mask = data.pop('mask', None)
  if examples is None:
    examples = own_mask
  if examples is None:
    raise ValueError(
      'examples=None needs an entry client_data["mask"]: pass the mask or the '
      'number of examples.'
    )
  capacity = _num_rows(data, 'client_data')
  examples = jnp.asarray(examples)
  is_mask = examples.dtype == jnp.bool_
  if examples.shape != ((capacity,) if is_mask else ()) or not (
    is_mask or jnp.issubdtype(examples.dtype, jnp.integer)
  ):
    raise ValueError(
      f'examples must be bool[{capacity}] or an integer scalar; got '
      f'{examples.dtype}{list(examples.shape)}.'
    )
  if is_mask:
    rows = examples
    num_examples = jnp.sum(examples, dtype=jnp.int32)
  else:
    rows = jnp.arange(capacity) < examples
    num_examples = examples.astype(jnp.int32)
  if replace:
    high = jnp.maximum(num_examples, 1)
    index = jax.random.randint(key, (batch_size,), 0, high)
    if is_mask:
      ends = jnp.cumsum(rows.astype(jnp.int32))
      index = jnp.searchsorted(ends, index, side='right')
    mask = jnp.broadcast_to(num_examples > 0, (batch_size,))
  else:
    _, _, order = jax.lax.sort(
      (~rows, _row_bits(key, capacity), jnp.arange(capacity)), num_keys=2
    )
    index = jnp.pad(order[:batch_size], (0, max(batch_size - capacity, 0)))
    mask = jnp.arange(batch_size) < num_examples
  return take_batch(data, index, mask)


def epoch_batches(
  key: chex.PRNGKey,
  num_examples: chex.Numeric,
  batch_size: int,
  *,
  num_epochs: int | None = None,
  num_steps: int | None = None,
  capacity: int | None = None,
  drop_remainder: bool = False,
  fill_remainder: bool = False,
) -> tuple[chex.Array, chex.Array]:
  """Plans the batches of shuffled, repeated passes over one client's data.

  Every pass is a fresh permutation; passes follow each other without a gap,
  so a batch may span two of them. With `num_epochs` a client takes
  `ceil(num_epochs * n / B)` steps, the last of which may be short (masked);
  with both limits the smaller number counts.

  Args:
    key: consumed.
    num_examples: n, an integer (traced), of `0 <= n <= capacity`; the real
      examples come first.
    batch_size: B (static).
    num_epochs: passes over the data (static).
    num_steps: steps (static); at least one of the two is needed.
    capacity: the largest n (static), which sets the number of planned steps;
      `num_examples` itself if None.
    drop_remainder: whether a short last batch is masked entirely, which
      leaves `floor(num_epochs * n / B)` steps.
    fill_remainder: whether it is filled up from the next pass instead.

  Returns:
    `(indices, mask)`, i32[T, B] and bool[T, B], where T is the number of
    steps of a client with `capacity` examples. Masked entries must not count;
    a step that is masked entirely must leave all state as it is.

  Raises:
    ValueError: if no limit is given, both remainder options are, or no step
      is left.

  Cost: all pairs of up to 256 numbers, `num_epochs * capacity` or `T * B +
    capacity` of them, or one sort of more (64 clients x 60 numbers on two
    cores: 0.2 against 1.2 ms).

  Example:
    >>> indices, mask = epoch_batches(jax.random.key(0), 3, 2, num_epochs=1)
    >>> sorted(indices[mask].tolist()), mask.tolist()
    ([0, 1, 2], [[True, True], [True, False]])

  Source: McMahan et al. 2017 (https://arxiv.org/abs/1602.05629), Algorithm 1;
  `fill_remainder` is the batching of Ro et al. 2021
  (https://arxiv.org/abs/2108.02117).
  """
  batch_size = checks.integer(batch_size, name='batch_size', low=1)
  if num_epochs is None and num_steps is None:
    raise ValueError('num_epochs and num_steps are both None: give one.')
  if drop_remainder and fill_remainder:
    raise ValueError('drop_remainder and fill_remainder exclude each other.')
  if capacity is None:
    if isinstance(num_examples, jax.core.Tracer):
      raise ValueError(
        'capacity is needed where num_examples is traced: pass the padded size.'
      )
    capacity = int(num_examples)
  capacity = checks.integer(capacity, name='capacity', low=1)
  if not isinstance(num_examples, jax.core.Tracer):
    checks.integer(
      np.asarray(num_examples).item(), name='num_examples', low=0, high=capacity
    )
  steps = []
  if num_epochs is not None:
    num_epochs = checks.integer(num_epochs, name='num_epochs', low=1)
    extra = 0 if drop_remainder else batch_size - 1
    steps.append((num_epochs * capacity + extra) // batch_size)
  if num_steps is not None:
    steps.append(checks.integer(num_steps, name='num_steps', low=1))
  planned = min(steps)
  if planned < 1:
    raise ValueError(
      f'batch_size={batch_size} with drop_remainder leaves no step: '
      f'{num_epochs} epochs of {capacity} examples are fewer.'
    )
  n = jnp.asarray(num_examples, jnp.int32)
  period = jnp.maximum(n, 1)
  # Positions of the stream, far enough to complete the last pass. Within a
  # pass, the ranks of random numbers form a random permutation.
  wanted = planned * batch_size
  total = wanted + capacity
  if num_epochs is not None and not fill_remainder:
    total = min(total, max(wanted, num_epochs * capacity))
  positions = jnp.arange(total, dtype=jnp.int32)
  passes = positions // period
  ranks = _ranks(passes, _row_bits(key, total)) - passes * period
  # What lies in a pass that is not complete is masked.
  indices = jnp.minimum(ranks[:wanted], period - 1)
  indices = indices.reshape(planned, batch_size)
  mask = jnp.broadcast_to(n > 0, (planned, batch_size))
  if num_epochs is not None:
    stop = num_epochs * n
    if drop_remainder:
      stop = stop // batch_size * batch_size
    elif fill_remainder:
      stop = -(-stop // batch_size) * batch_size
    stream = positions[:wanted].reshape(planned, batch_size)
    mask &= stream < stop
  return indices, mask


def take_batch(
  client_data: dict[str, Any], indices: chex.Array, mask: chex.Array
) -> dict[str, Any]:
  """Gathers rows of one client and attaches their mask.

  Args:
    client_data: dict of leaves [S, ...]; an entry `mask` is replaced.
    indices: i32[...], e.g. one row of what `epoch_batches` plans.
    mask: bool[...], same shape.

  Returns:
    Dict of leaves [..., ...] plus `mask`.

  Raises:
    ValueError: if leaves differ in length.

  Example:
    >>> batch = take_batch(
    ...   {'y': jnp.arange(3)}, jnp.array([2, 0]), jnp.array([True, False])
    ... )
    >>> batch['y'].tolist()
    [2, 0]
  """
  data = {key: value for key, value in client_data.items() if key != 'mask'}
  _num_rows(data, 'client_data')
  batch = jax.tree.map(lambda x: jnp.asarray(x)[indices], data)
  return {**batch, 'mask': mask}


def eval_batches(arrays: dict[str, Any], batch_size: int) -> dict[str, Any]:
  """Cuts a test set into equal batches, the last one padded and masked.

  Args:
    arrays: dict of leaves [n, ...].
    batch_size: B (static).

  Returns:
    Dict of leaves [ceil(n / B), B, ...] in the order of the data plus `mask`,
    ready for `jax.lax.map`; NumPy stays NumPy.

  Raises:
    ValueError: if leaves differ in length, are empty or one is named `mask`.

  Example:
    >>> batches = eval_batches({'y': np.arange(3)}, 2)
    >>> batches['y'].tolist(), batches['mask'].tolist()
    ([[0, 1], [2, 0]], [[True, True], [True, False]])
  """
  batch_size = checks.integer(batch_size, name='batch_size', low=1)
  if 'mask' in arrays:
    raise ValueError('arrays must not have an entry "mask": it is added here.')
  padded, mask = pad_rows(arrays, batch_size)
  return {
    **jax.tree.map(lambda x: x.reshape(-1, batch_size, *x.shape[1:]), padded),
    'mask': mask.reshape(-1, batch_size),
  }


def pad_rows(
  tree: chex.ArrayTree, multiple: int
) -> tuple[chex.ArrayTree, np.ndarray]:
  """Pads the leading axis with zeros to a multiple.

  Args:
    tree: leaves [n, ...].
    multiple: what the new length is a multiple of (static).

  Returns:
    `(padded, mask)`: leaves [m, ...] and bool[m], false for padding; NumPy
    stays NumPy.

  Raises:
    ValueError: if leaves differ in length or are empty.

  Example:
    >>> padded, mask = pad_rows(np.ones(3), 2)
    >>> padded.tolist(), mask.tolist()
    ([1.0, 1.0, 1.0, 0.0], [True, True, True, False])
  """
  multiple = checks.integer(multiple, name='multiple', low=1)
  n = _num_rows(tree, 'tree')
  extra = -n % multiple

  def leaf(x):
    xp: Any = np if isinstance(x, np.ndarray) else jnp
    return xp.pad(x, [(0, extra)] + [(0, 0)] * (x.ndim - 1))

  return jax.tree.map(leaf, tree), np.arange(n + extra) < n


def pad_cohort(cohort: types.Cohort, multiple: int) -> types.Cohort:
  """Pads a cohort to a multiple of, say, the number of devices.

  Padding clients have zero data and weight, a false mask and the id
  `NO_CLIENT`, which is out of range: `state.at[ids].set` drops it.

  Args:
    cohort: N clients.
    multiple: what the new N is a multiple of (static).

  Returns:
    The padded cohort.

  Raises:
    ValueError: if leaves differ in their leading axis.

  Example:
    >>> cohort = types.Cohort(
    ...   client_ids=np.array([7]),
    ...   data={'x': np.ones((1, 2))},
    ...   mask=np.array([True]),
    ...   weights=np.ones(1),
    ... )
    >>> pad_cohort(cohort, 2).mask.tolist()
    [True, False]
  """
  padded, mask = pad_rows(cohort, multiple)
  ids = padded.client_ids
  xp: Any = np if isinstance(ids, np.ndarray) else jnp
  return padded.replace(client_ids=xp.where(mask, ids, NO_CLIENT))


def _num_rows(tree: chex.ArrayTree, name: str) -> int:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  if not leaves:
    raise ValueError(f'{name} has no leaves: need arrays of examples.')
  lengths = {}
  for path, leaf in leaves:
    label = f'{name}{jax.tree_util.keystr(path)}'
    shape = np.shape(leaf)
    if not shape or not shape[0]:
      raise ValueError(
        f'{label} has no examples: need a leading axis of length >= 1, got '
        f'shape {shape}.'
      )
    lengths[label] = shape[0]
  if len(set(lengths.values())) > 1:
    raise ValueError(f'all leaves need the same leading axis; got {lengths}.')
  return next(iter(lengths.values()))


def _ranks(passes: chex.Array, bits: chex.Array) -> chex.Array:
  """Returns i32[n], each entry's place in ascending order of (pass, bits)."""
  positions = jnp.arange(bits.shape[0], dtype=jnp.int32)
  if bits.shape[0] <= _MOST_PAIRS:
    less = (bits[None] < bits[:, None]) | (
      (bits[None] == bits[:, None]) & (positions[None] < positions[:, None])
    )
    first = passes[None] < passes[:, None]
    before = first | ((passes[None] == passes[:, None]) & less)
    return jnp.sum(before, axis=1, dtype=jnp.int32)
  _, _, order = jax.lax.sort((passes, bits, positions), num_keys=2)
  return jnp.zeros_like(positions).at[order].set(positions)


def _row_bits(key: chex.PRNGKey, count: int) -> chex.Array:
  """Returns u32[count] whose entry i depends on the key and i alone."""
  # Folding in is a hash: a word of the new key is as random as a draw from it.
  keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
  return jax.random.key_data(keys)[:, 0]
