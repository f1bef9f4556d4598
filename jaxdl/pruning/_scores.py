# SPDX-License-Identifier: Apache-2.0
"""Scores of players, and pruning to those of the highest.

Ranks decide, never two equal numbers: of equal scores the first player stays.
"""

import fractions
import math
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys, types
from jaxdl.pruning import _gated, _players

SCORES = ('magnitude', 'taylor', 'taylor_squared', 'random')

Gates = dict[str, chex.Array]


def taylor_scores(
  task: types.Task,
  params: chex.ArrayTree,
  batches: chex.ArrayTree,
  *,
  squared: bool = False,
  key: chex.PRNGKey | None = None,
) -> Gates:
  """First-order scores of players over calibration batches.

  Args:
    task: a gated task, see `gated`.
    params: {'network', 'gates'}.
    batches: leaves [K, B, ...], K batches.
    squared: whether the mean of g_i² is taken in place of that of |g_i|
      (static).
    key: for losses that draw; consumed.

  Returns:
    By layer, of the shapes of the gates.

  Example:
    >>> from jaxdl import networks
    >>> network = gated(networks.mlp((4,), 1))
    >>> task = networks.regression(network, jnp.ones((1, 2)))
    >>> batches = {
    ...   'inputs': jnp.ones((5, 3, 2)), 'labels': jnp.ones((5, 3, 1))
    ... }
    >>> params = task.init(jax.random.key(0))
    >>> taylor_scores(task, params, batches)['0'].shape
    (4,)

  Source: Molchanov et al. 2017 (https://arxiv.org/abs/1611.06440), section 2.2.
  """
  checks.task(task)
  _gated.check_tree(params)

  def one(turn):
    t, batch = turn
    own = None if key is None else jax.random.fold_in(key, t)
    loss = lambda gates: task.loss(
      {'network': params['network'], 'gates': gates}, batch, key=own
    )
    slopes = jax.grad(loss)(params['gates'])
    found = jax.tree.map(jnp.multiply, slopes, params['gates'])
    return jax.tree.map(jnp.square if squared else jnp.abs, found)

  count = jax.tree.leaves(batches)[0].shape[0]
  found = jax.lax.map(one, (jnp.arange(count), batches))
  return jax.tree.map(lambda x: jnp.mean(x, axis=0), found)


def random_scores(key: chex.PRNGKey, gates: Gates) -> Gates:
  """Scores uniform on [0, 1).

  Args:
    key: consumed.
    gates: their layers and shapes count.

  Returns:
    By layer, of the shapes of the gates.

  Example:
    >>> random_scores(jax.random.key(0), {'0': jnp.ones(3)})['0'].shape
    (3,)
  """
  keys.check_key(key)
  own = jax.random.split(key, len(gates))
  return {
    name: jax.random.uniform(k, gates[name].shape, gates[name].dtype)
    for k, name in zip(own, _players.in_order(gates), strict=True)
  }


def keep_top(scores: Gates, keep: float | Sequence[int]) -> Gates:
  """Marks the players of highest score in each layer.

  Args:
    scores: by layer; NaN ranks last.
    keep: numbers by layer, in the order of `layers_of`, 1 at least; or a share
      of each layer in (0, 1], of which one player stays at least (static).

  Returns:
    bool by layer, of the shapes of the scores.

  Raises:
    ValueError: if a number or a share is out of range, or numbers and layers
      are not equally many.

  Example:
    >>> keep_top({'0': jnp.array([3.0, 1.0, 2.0])}, (2,))['0'].tolist()
    [True, False, True]
  """
  out = {}
  for name, count in kept_counts(scores, keep).items():
    x = scores[name]
    flat = jnp.where(jnp.isnan(x), -jnp.inf, x).reshape(-1)
    order = jnp.argsort(-flat, stable=True)
    mask = jnp.zeros(flat.shape, bool).at[order[:count]].set(True)
    out[name] = mask.reshape(x.shape)
  return out


def check_keep(keep: float | Sequence[int]) -> None:
  """Raises ValueError unless it is a share or a sequence of numbers."""
  if isinstance(keep, (tuple, list)):
    for count in keep:
      checks.integer(count, name='keep', low=1)
  else:
    checks.number(keep, name='keep', low=0.0, high=1.0, open_low=True)
    if isinstance(keep, int) and not isinstance(keep, bool):
      raise ValueError(
        f'keep={keep} is neither a share nor numbers by layer: write '
        f'{float(keep)} for all, or ({keep},) for one layer.'
      )


def kept_counts(gates: Gates, keep: float | Sequence[int]) -> dict[str, int]:
  """Numbers of players that stay, by layer.

  Args:
    gates: their layers and shapes count.
    keep: see `keep_top`.

  Returns:
    Python ints.

  Raises:
    ValueError: see `keep_top`.

  Example:
    >>> kept_counts({'0': jnp.ones(10), '1': jnp.ones(5)}, 0.3)
    {'0': 3, '1': 2}
  """
  check_keep(keep)
  names = _players.in_order(gates)
  sizes = {name: math.prod(jnp.shape(gates[name])) for name in names}
  if not isinstance(keep, (tuple, list)):
    share = fractions.Fraction(repr(float(keep)))
    return {n: max(1, math.ceil(share * size)) for n, size in sizes.items()}
  if len(keep) != len(names):
    raise ValueError(
      f'keep={tuple(keep)} must have a number for each of the layers {names}.'
    )
  for name, count in zip(names, keep, strict=True):
    if count > sizes[name]:
      raise ValueError(
        f'keep={tuple(keep)} asks for {count} of the {sizes[name]} players of '
        f'layer {name}.'
      )
  return dict(zip(names, keep, strict=True))


def num_out(size: int, share: float) -> int:
  """Players of n that are out at a target: ceil(share n), n - 1 at most."""
  wanted = math.ceil(fractions.Fraction(repr(float(share))) * size)
  return min(wanted, size - 1)
