# SPDX-License-Identifier: Apache-2.0
"""Examples of an operation, and which of them are learned from."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys, registry, types
from jaxdl.theory.grokking import _groups

# Of Tian's code: share of training = this times ln M / M.
CRITICAL = 2.7482
# What is folded into the key of a run for its split; rounds are below.
_SPLIT = 2**32 - 1


def group_dataset(table: Any) -> tuple[np.ndarray, np.ndarray]:
  """All pairs of elements and their products.

  Args:
    table: i32[M, M], on the host, a group or not.

  Raises:
    TypeError, ValueError: if it is no square of numbers from 0 to M - 1.

  Returns:
    Pairs i32[M², 2] in lexical order, and products i32[M²].

  Example:
    >>> from jaxdl.theory import grokking
    >>> inputs, labels = group_dataset(grokking.cyclic_table(3))
    >>> inputs[5].tolist(), int(labels[5])
    ([1, 2], 0)
  """
  table = _groups.whole_table(table, 'table')
  pairs = np.stack(np.divmod(np.arange(table.size), len(table)), axis=1)
  return pairs.astype(np.int32), table.reshape(-1)


def split_examples(
  key: chex.PRNGKey, num_examples: int, train_fraction: float
) -> tuple[chex.Array, chex.Array]:
  """Draws who is learned from, without replacement.

  Args:
    key: consumed.
    num_examples: n (static).
    train_fraction: share of the training set (static); it has
      round(share · n) examples.

  Returns:
    Places of the training set, i32[T], and of the test set, i32[n - T].

  Raises:
    ValueError: if one of them is empty.

  Example:
    >>> train, test = split_examples(jax.random.key(0), 25, 0.8)
    >>> train.shape, test.shape
    ((20,), (5,))
  """
  keys.check_key(key)
  count = num_train(num_examples, train_fraction)
  order = jax.random.permutation(key, num_examples)
  return order[:count], order[count:]


def num_train(num_examples: int, train_fraction: float) -> int:
  """How many examples a share is.

  Args:
    num_examples: n >= 2.
    train_fraction: the share.

  Returns:
    round(share · n).

  Raises:
    ValueError: if training or test set would be empty.

  Example:
    >>> num_train(71 * 71, 0.4)
    2016
  """
  n = checks.integer(num_examples, name='num_examples', low=2)
  checks.number(train_fraction, name='train_fraction', low=0.0, high=1.0)
  count = round(train_fraction * n)
  if not 0 < count < n:
    raise ValueError(
      f'train_fraction={train_fraction:g} of {n} examples leaves {count} to '
      f'train and {n - count} to test: both need at least one.'
    )
  return count


def critical_ratio(
  order: int,
  constant: float = CRITICAL,
  *,
  max_dimension: int = 1,
  shift: float = 0.0,
) -> float:
  """Share of all pairs that keeps the features, as the sampling law has it.

  c ln(M) / M, times d / 2 where irreps have dimension d > 1.

  Args:
    order: M.
    constant: c, > 0.
    max_dimension: largest dimension d of an irrep.
    shift: added to it.

  Returns:
    The share, which may exceed one.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> round(critical_ratio(71), 3), round(critical_ratio(71, 4.0), 3)
    (0.165, 0.24)

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Theorem 4 and code.
  """
  m = checks.integer(order, name='order', low=3)
  d = checks.integer(max_dimension, name='max_dimension', low=1)
  checks.number(constant, name='constant', low=0.0, open_low=True)
  checks.number(shift, name='shift')
  return constant * math.log(m) / m * (d / 2 if d > 1 else 1.0) + shift


def _fraction(share: float = 0.4, *, table: np.ndarray) -> float:
  """A share of all pairs."""
  del table
  checks.number(share, name='share', low=0.0, high=1.0)
  return share


def _critical(
  constant: float = CRITICAL, shift: float = 0.0, *, table: np.ndarray
) -> float:
  """`constant` ln(M) / M, times half the largest dimension of irreps > 1."""
  return critical_ratio(
    len(table),
    constant,
    max_dimension=_largest_dimension(table.tobytes(), len(table)),
    shift=shift,
  )


@functools.lru_cache(maxsize=32)
def _largest_dimension(table, order):
  from jaxdl.theory.grokking import _irreps

  table = np.frombuffer(table, np.int32).reshape(order, order)
  if (table == table.T).all() or not _groups.is_group(table):
    return 1
  return int(_irreps.irreps(table).dimensions.max())


SPLITS = registry.Registry(
  'split',
  {'critical': _critical, 'fraction': _fraction},
  given=('table',),
  tried={'table': _groups.cyclic_table(3)},
)


def train_share(split: str, table: np.ndarray) -> float:
  """The share of all pairs that a split trains on.

  Args:
    split: a part of `SPLITS`.
    table: i32[M, M].

  Returns:
    The share, in [0, 1].

  Raises:
    ValueError: if the part is wrong, or asks for more than all pairs.

  Example:
    >>> train_share('fraction(0.4)', _groups.cyclic_table(5))
    0.4
  """
  share = SPLITS.make(split, table=table)
  if not 0 <= share <= 1:
    raise ValueError(
      f'{split} asks for {share:.3g} of all pairs of {len(table)} elements: '
      'train_fraction must lie in [0.0, 1.0].'
    )
  return share


@dataclasses.dataclass(frozen=True, eq=False)
class GroupData:
  """Examples of an operation for S seeds, each with a split of its own.

  Attributes:
    table: i32[M, M].
    train: 'inputs' i32[S, T, 2] and 'labels' i32[S, T].
    test: the same of the others.
    train_fraction: share of the training sets.
    seeds: S seeds.
    cohort: of one seed's `train`: one client with all of it.
  """

  table: np.ndarray
  train: dict[str, chex.Array]
  test: dict[str, chex.Array]
  train_fraction: float
  seeds: tuple[int, ...]
  cohort: Callable[..., types.Cohort]

  @property
  def order(self) -> int:
    """M."""
    return len(self.table)


def make_data(
  group: str | Any = 'cyclic(23)',
  split: str = 'fraction(0.4)',
  *,
  seeds: Sequence[int] = (0,),
) -> GroupData:
  """Splits all pairs of an operation.

  Args:
    group: a part of `GROUPS`, or the table of a group.
    split: a part of `SPLITS`.
    seeds: S seeds; the split of a seed depends on it alone.

  Returns:
    The examples.

  Raises:
    ValueError: if a spec is wrong, or training or test set would be empty.

  Example:
    >>> data = make_data('cyclic(5)', 'fraction(0.8)', seeds=(0, 1))
    >>> data.train['inputs'].shape, data.test['labels'].shape
    ((2, 20, 2), (2, 5))
  """
  seeds = checks.seeds(seeds)
  table = _groups.make_table(group)
  share = train_share(split, table)
  inputs, labels = group_dataset(table)
  parts = [
    split_examples(
      jax.random.fold_in(jax.random.key(seed), _SPLIT), table.size, share
    )
    for seed in seeds
  ]

  def of(part):
    places = np.stack([np.asarray(p[part]) for p in parts])
    return {
      'inputs': jnp.asarray(inputs[places]),
      'labels': jnp.asarray(labels[places]),
    }

  def cohort(key, data, round):
    del key, round
    return types.Cohort(
      client_ids=jnp.arange(1),
      data={name: x[None] for name, x in data.items()},
      mask=jnp.ones((1,), bool),
      weights=jnp.ones((1,)),
    )

  return GroupData(
    table=table,
    train=of(0),
    test=of(1),
    train_fraction=num_train(table.size, share) / table.size,
    seeds=seeds,
    cohort=cohort,
  )
