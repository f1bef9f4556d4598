# SPDX-License-Identifier: Apache-2.0
"""Ways to aggregate rankings.

A rule makes a total per edge, [n], of the reputations i32[U, n] of one layer;
edges are then ranked by their totals. `mask: bool[U]` says who votes.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry
from jaxdl.federated.ranks import _rankings

RankRule = Callable[..., chex.Array]


def borda(reputations: chex.Array, mask: chex.Array) -> chex.Array:
  """Adds reputations up; a voter moves a total by n - 1 at most.

  Args:
    reputations: i32[U, n].
    mask: bool[U].

  Returns:
    i32[n], exact.

  Cost: O(U n); with voters spread over devices, one sum of i32[n] over them.

  Example:
    >>> borda(jnp.array([[0, 1], [0, 1], [1, 0]]), jnp.ones(3, bool)).tolist()
    [1, 2]

  Source: Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350), Algorithm 2.
  """
  return jnp.sum(jnp.where(mask[:, None], reputations, 0), 0, dtype=jnp.int32)


def footrules(reputations: chex.Array, center: chex.Array) -> chex.Array:
  """Spearman's footrule, sum_e |A_u[e] - A[e]|, between voters and a ranking.

  Args:
    reputations: i32[U, n].
    center: i32[n], the reputations of the ranking.

  Returns:
    f32[U], in units of the largest that two rankings can have, floor(n² / 2).

  Example:
    >>> footrules(jnp.array([[0, 1, 2], [2, 1, 0]]), jnp.arange(3)).tolist()
    [0.0, 1.0]

  Source: Diaconis & Graham 1977, Spearman's footrule as a measure of disarray.
  """
  size = reputations.shape[-1]
  apart = jnp.abs(reputations - center[None]).astype(jnp.float32)
  return jnp.sum(apart, axis=-1) / max(size * size // 2, 1)


def trimmed(
  reputations: chex.Array, mask: chex.Array, *, share: float = 0.25
) -> chex.Array:
  """Adds reputations up without the voters farthest from what all voted.

  Args:
    reputations: i32[U, n].
    mask: bool[U].
    share: of the voters that is left out, in [0, 1), read to three decimals;
      their number is rounded down. Those of the largest footrules go, of equal
      ones the last.

  Returns:
    i32[n].

  Raises:
    ValueError: if the share is out of range.

  Cost: two sums over voters.

  Example:
    >>> rows = jnp.array([[0, 1, 2], [0, 1, 2], [2, 1, 0]])
    >>> trimmed(rows, jnp.ones(3, bool), share=0.4).tolist()
    [0, 2, 4]
  """
  checks.number(share, name='share', low=0.0, high=1.0, open_high=True)
  first = borda(reputations, mask)
  center = _rankings.reputations(_rankings.rank_edges(first))
  apart = jnp.where(mask, footrules(reputations, center), jnp.inf)
  place = _rankings.reputations(_rankings.rank_edges(apart))
  count = jnp.sum(mask, dtype=jnp.int32)
  # In thousandths, so that shares of small counts are what they seem.
  out = count * round(share * 1000) // 1000
  return borda(reputations, mask & (place < count - out))


def median(reputations: chex.Array, mask: chex.Array) -> chex.Array:
  """Takes twice the median position of every edge.

  Args:
    reputations: i32[U, n].
    mask: bool[U].

  Returns:
    i32[n].

  Cost: a sort of U numbers per edge.

  Example:
    >>> rows = jnp.array([[0, 1, 2], [0, 1, 2], [2, 1, 0]])
    >>> median(rows, jnp.ones(3, bool)).tolist()
    [0, 2, 4]
  """
  size = reputations.shape[-1]
  rows = jnp.sort(jnp.where(mask[:, None], reputations, size), axis=0)
  count = jnp.maximum(jnp.sum(mask, dtype=jnp.int32), 1)
  return rows[(count - 1) // 2] + rows[count // 2]


RANK_RULES = registry.Registry(
  'rank_rule',
  {'borda': borda, 'trimmed': trimmed, 'median': median},
  given=('reputations', 'mask'),
)


def as_rank_rule(rule: RankRule | str, *, name: str = 'aggregator') -> RankRule:
  """Turns what stands for a rule into a function.

  Args:
    rule: a part of `RANK_RULES`, or a function `rule(reputations, mask)`.
    name: the argument's name, for messages.

  Returns:
    The function.

  Raises:
    ValueError: if the text is no part.
    TypeError: if it is neither.

  Example:
    >>> rows = jnp.array([[0, 1], [0, 1]])
    >>> as_rank_rule('borda')(rows, jnp.array([True, False])).tolist()
    [0, 1]
  """
  if isinstance(rule, str):
    RANK_RULES.check(rule, name=name)
    part = RANK_RULES.part(rule, name=name)
    rule = functools.partial(RANK_RULES[part.name], **part.options)
  if not callable(rule):
    raise TypeError(
      f'{name} must be a part of RANK_RULES or a function of (reputations, '
      f'mask); got {checks.described(rule)}.'
    )
  whole = jax.ShapeDtypeStruct((2, 3), jnp.int32)
  total = jax.eval_shape(rule, whole, jax.ShapeDtypeStruct((2,), bool))
  if jnp.shape(total) != (3,):
    raise ValueError(
      f'{name} must give a total per edge, [n], of reputations [U, n]; of '
      f'[2, 3] it gives {jnp.shape(total)}.'
    )
  return rule
