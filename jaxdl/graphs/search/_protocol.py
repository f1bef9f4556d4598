# SPDX-License-Identifier: Apache-2.0
"""What every search is: something that proposes tables and is told scores."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks


class Proposal(NamedTuple):
  """What is to be tried, and where it comes from.

  Attributes:
    table: i32[L, C].
    parent: i32[L, C], what it was made of; itself if it is new.
    parent_score: f[], that of the parent when it was made.
    chosen: bool[C], the classes in which it may differ from the parent, and
      whose policies learn of it.
  """

  table: chex.Array
  parent: chex.Array
  parent_score: chex.Array
  chosen: chex.Array


class Search(NamedTuple):
  """A way to search; pure functions, for loops, `scan` and `vmap`.

  Attributes:
    init: `init(key) -> state`; consumes the key.
    propose: `propose(state, *, key) -> (state, Proposal)`; consumes the key.
      Several proposals may be asked for before any is answered.
    update: `update(state, proposal, score) -> state`; the score is that of the
      proposal, larger is better, and what was asked before may be answered
      again.
    single: whether it always proposes the same.
  """

  init: Callable[[chex.PRNGKey], Any]
  propose: Callable[..., tuple[Any, Proposal]]
  update: Callable[[Any, Proposal, chex.Array], Any]
  single: bool = False


def check_search(value: Any, shape: tuple[int, ...], space: str) -> Search:
  """Checks a search, as far as shapes go.

  Args:
    value: what the caller gave.
    shape: of the tables that are wanted.
    space: who wants them, for the message.

  Returns:
    The search.

  Raises:
    TypeError: if it is none.
    ValueError: if its tables are of another shape.
  """
  if not checks.has_functions(value, 'init', 'propose', 'update'):
    raise TypeError(
      f'search must be a Search; got {checks.described(value)}: make one with '
      "make_search('agnn', space, num_layers)."
    )

  def first(key):
    return value.propose(value.init(key), key=key)[1].table

  found = jax.eval_shape(first, jax.random.key(0)).shape
  if found != shape:
    raise ValueError(
      f'search proposes tables of shape {found}; {space} takes {shape}: make '
      'both of one space and number of layers.'
    )
  return value


def new_table(table: chex.Array) -> Proposal:
  """A proposal without a parent.

  Args:
    table: i32[L, C].

  Returns:
    The proposal, in which every class may learn.
  """
  everything = jnp.ones(table.shape[1], bool)
  return Proposal(
    table, table, jnp.full((), -jnp.inf, jnp.result_type(float)), everything
  )
