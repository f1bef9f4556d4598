# SPDX-License-Identifier: Apache-2.0
"""Cohorts of batches: what every client works on in one round."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys, types
from jaxdl.data import sample_batch


def batch_cohort(
  key: chex.PRNGKey,
  client_data: dict[str, Any],
  mask: chex.Array | None = None,
  *,
  batch_size: int,
  client_ids: chex.Array | None = None,
  replace: bool = False,
  num_batches: int | None = None,
) -> types.Cohort:
  """Draws one batch for every client.

  Args:
    key: this round's key; consumed. A client's draw depends on its id alone.
    client_data: dict of leaves [N, S, ...], as `data.stack_clients` makes.
    mask: bool[N, S], real examples; all are if None.
    batch_size: B (static).
    client_ids: i32[N]; 0..N-1 by default.
    replace: whether an example may occur twice in a batch (static).
    num_batches: H, batches per client, drawn one apart from the other (static);
      None for one without an axis of its own.

  Returns:
    A cohort whose `data` has leaves [N, B, ...] and `mask: bool[N, B]`, with
    `num_batches` [N, H, B, ...]; weights are equal.

  Raises:
    ValueError: if client axes differ.
    TypeError: if the data are no dict.

  Example:
    >>> data = {'inputs': jnp.ones((3, 9, 2)), 'labels': jnp.zeros((3, 9), int)}
    >>> cohort = batch_cohort(jax.random.key(0), data, batch_size=4)
    >>> cohort.data['inputs'].shape, cohort.data['mask'].shape
    ((3, 4, 2), (3, 4))
  """
  keys.check_key(key)
  if not isinstance(client_data, Mapping):
    raise TypeError(
      "client_data must be a dict of leaves [N, S, ...], 'inputs' and 'labels' "
      f'for instance; got {checks.described(client_data)}.'
    )
  if not jax.tree.leaves(dict(client_data)):
    raise ValueError("client_data is empty: need leaves [N, S, ...], 'inputs'.")
  if mask is None:
    first = jax.tree.leaves(dict(client_data))[0]
    if jnp.ndim(first) < 2:
      raise ValueError(
        'client_data needs leaves [N, S, ...], S examples per client; got '
        f'shape {jnp.shape(first)}.'
      )
    mask = jnp.ones(jnp.shape(first)[:2], bool)
  for path, leaf in jax.tree_util.tree_leaves_with_path(dict(client_data)):
    label = f'client_data{jax.tree_util.keystr(path)}'
    dtype = getattr(leaf, 'dtype', None) or np.asarray(leaf).dtype
    if getattr(dtype, 'kind', 'V') in 'OSU':
      raise TypeError(
        f'{label} must hold numbers; got {checks.described(leaf)} of text or '
        'objects: number the classes, np.unique(labels, return_inverse=True).'
      )
    if jnp.shape(leaf)[:2] != jnp.shape(mask):
      raise ValueError(
        f'mask must be bool[N, S], like the first axes of {label}, '
        f'{jnp.shape(leaf)[:2]}; got {jnp.shape(mask)}.'
      )
  n = checks.num_clients({**client_data, 'mask': mask}, name='client_data')
  if client_ids is None:
    client_ids = jnp.arange(n, dtype=jnp.int32)
  if jnp.shape(client_ids) != (n,):
    raise ValueError(
      f'client_ids must have shape ({n},), one per client; got '
      f'{jnp.shape(client_ids)}.'
    )
  one = lambda k, data, real: sample_batch(
    k, data, real, batch_size, replace=replace
  )

  def draw(key, data, real):
    if num_batches is None:
      return one(key, data, real)
    several = jax.vmap(one, in_axes=(0, None, None))
    return several(jax.random.split(key, num_batches), data, real)

  data = jax.vmap(draw)(keys.client_keys(key, client_ids), client_data, mask)
  return types.Cohort(
    client_ids=client_ids,
    data=data,
    mask=jnp.ones((n,), bool),
    weights=jnp.full((n,), 1.0 / n),
  )
