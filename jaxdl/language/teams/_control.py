# SPDX-License-Identifier: Apache-2.0
"""How a team changes: what numbers and text have in common.

Everything here works on arrays of jax and of NumPy, and on plain numbers, so
that teams of classifiers and workflows of language models share the rules that
decide: how gradients are combined and smoothed, what is accepted, what was
refused before, what the pool keeps, and which samples must stay solved.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry
from jaxdl.language import _rules

# Of the running loss of a block.
DECAY = 0.9


def combined(global_: Any, local: Any, beta: float) -> Any:
  """Joins what is wrong between layers and what is wrong inside one.

  Args:
    global_: number or array, of the layer.
    local: number or array, of its edits.
    beta: β in [0, 1], the share of the first.

  Returns:
    beta global + (1 - beta) local.

  Raises:
    ValueError: if beta is out of range.

  Example:
    >>> combined(1.0, 0.5, 0.25)
    0.625
  """
  checks.number(beta, name='beta', low=0.0, high=1.0)
  return beta * global_ + (1 - beta) * local


def momentum(gradient: Any, previous: Any, alpha: float) -> Any:
  """Smooths a gradient by the one before.

  Args:
    gradient: of this step.
    previous: of the step before, not smoothed; None in the first.
    alpha: α in [0, 1], the share of this step; 1 is no momentum.

  Returns:
    alpha gradient + (1 - alpha) previous.

  Raises:
    ValueError: if alpha is out of range.

  Example:
    >>> momentum(2.0, None, 0.7), momentum(2.0, 1.0, 0.5)
    (2.0, 1.5)
  """
  checks.number(alpha, name='alpha', low=0.0, high=1.0)
  if previous is None:
    return gradient
  return alpha * gradient + (1 - alpha) * previous


def strict(new: Any, old: Any, new_cost: Any, old_cost: Any) -> Any:
  """Takes what is better."""
  del new_cost, old_cost
  return new - old < -_rules.TIE


def non_worse(
  new: Any, old: Any, new_cost: Any, old_cost: Any, *, cost: bool = True
) -> Any:
  """Takes what is better, and what is as good unless it costs more.

  Losses that differ by rounding alone are equal.

  Args:
    new: loss of the candidate.
    old: loss of what there is.
    new_cost: of the candidate, such as its number of agents.
    old_cost: of what there is.
    cost: whether the cost is looked at.

  Returns:
    Whether it is taken.
  """
  gap = new - old
  equal = abs(gap) <= _rules.TIE
  return (gap < -_rules.TIE) | (equal & ((new_cost <= old_cost) | (not cost)))


# When an edit is accepted, after it ran on validation samples.
ACCEPTANCES = registry.Registry(
  'accept',
  {'strict': strict, 'non_worse': non_worse},
  given=('new', 'old', 'new_cost', 'old_cost'),
)


def accept(
  new: Any,
  old: Any,
  rule: str = 'non_worse',
  *,
  new_cost: Any = 0,
  old_cost: Any = 0,
) -> Any:
  """Whether a candidate replaces what there is.

  Args:
    new: validation loss of the candidate; what is no number is refused.
    old: validation loss of what there is.
    rule: a part of `ACCEPTANCES`.
    new_cost: of the candidate.
    old_cost: of what there is.

  Returns:
    Bool, or an array of one.

  Raises:
    ValueError: if the rule is unknown.

  Example:
    >>> accept(0.2, 0.2), accept(0.2, 0.2, 'strict')
    (True, False)
    >>> accept(0.2, 0.2, new_cost=3, old_cost=2)
    False
  """
  part = ACCEPTANCES.part(rule)
  return ACCEPTANCES.bound(part, new, old, new_cost, old_cost)


class Refused(NamedTuple):
  """Edits that were refused, each with the state that it was refused in.

  Attributes:
    keys: i32[R, W], a row for each.
    count: i32[], how many rows are filled; the oldest is overwritten at last.
  """

  keys: chex.Array
  count: chex.Array


def nothing_refused(capacity: int, width: int) -> Refused:
  """Starts the memory of what was refused.

  Args:
    capacity: R.
    width: W, numbers that name an edit and a state.

  Returns:
    An empty memory.
  """
  checks.integer(capacity, name='capacity', low=1)
  return Refused(
    np.full((capacity, width), -1, np.int32), np.zeros((), np.int32)
  )


def refuse(memory: Refused, key: chex.Array, when: Any = True) -> Refused:
  """Remembers what was refused.

  Args:
    memory: so far.
    key: i32[W], names edit and state.
    when: bool, whether it was refused at all.

  Returns:
    The memory with it.

  Example:
    >>> memory = refuse(nothing_refused(4, 2), np.array([3, 1]))
    >>> is_refused(memory, np.array([[3, 1], [3, 0]])).tolist()
    [True, False]
  """
  xp = np if _is_host(memory.keys, key, when) else jnp
  row = xp.arange(memory.keys.shape[0]) == memory.count % memory.keys.shape[0]
  fresh = (row & when)[:, None]
  return Refused(
    xp.where(fresh, key[None, :], memory.keys).astype(np.int32),
    xp.asarray(memory.count + when, np.int32),
  )


def is_refused(memory: Refused, keys: chex.Array) -> chex.Array:
  """Which of some edits were refused before, in the same state.

  Args:
    memory: so far.
    keys: i32[E, W].

  Returns:
    bool[E].
  """
  same = (memory.keys[None, :, :] == keys[:, None, :]).all(axis=-1)
  return same.any(axis=-1)


def breaks(solved: chex.Array, now: chex.Array) -> Any:
  """Whether a candidate fails where the replay set was solved before.

  Args:
    solved: bool[R], samples of the replay set that are solved without it.
    now: bool[R], with it.

  Returns:
    bool[].

  Example:
    >>> bool(breaks(np.array([True, False]), np.array([True, True])))
    False
  """
  return (solved & ~now).any()


def running(old: Any, new: Any, decay: float = DECAY) -> Any:
  """Moves a running loss.

  Args:
    old: so far.
    new: of this use.
    decay: share of the old, in [0, 1].

  Returns:
    The running loss.
  """
  checks.number(decay, name='decay', low=0.0, high=1.0)
  return decay * old + (1 - decay) * new


def select(losses: chex.Array, ages: chex.Array) -> Any:
  """Picks the block of a pool without asking a model.

  Args:
    losses: f[P], running losses; infinity where there is no block.
    ages: i[P], numbers in the order in which blocks came.

  Returns:
    i[], the lowest loss; of equal ones the newest, so that edits that change
    nothing yet can be followed by others.

  Example:
    >>> int(select(np.array([0.2, 0.1, 0.1]), np.array([0, 1, 2])))
    2
  """
  xp = np if _is_host(losses, ages) else jnp
  best = losses == losses.min()
  return xp.argmax(xp.where(best, ages, -1))


def slot(losses: chex.Array, ages: chex.Array) -> Any:
  """Where a pool of a given size puts a new block.

  Args:
    losses: f[P], running losses; infinity where there is no block.
    ages: i[P].

  Returns:
    i[], the place of the worst; of equal ones the oldest.

  Example:
    >>> int(slot(np.array([0.2, np.inf, 0.1]), np.array([0, 0, 1])))
    1
  """
  xp = np if _is_host(losses, ages) else jnp
  worst = losses == losses.max()
  return xp.argmin(xp.where(worst, ages, np.iinfo(np.int32).max))


def _is_host(*values: Any) -> bool:
  """Whether nothing is an array of jax."""
  return not any(isinstance(v, jax.Array) for v in values)
