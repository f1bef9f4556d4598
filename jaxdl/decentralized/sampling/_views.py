# SPDX-License-Identifier: Apache-2.0
"""What a node knows about the others, and how two such views become one."""

from typing import Any, NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks


class MembershipView(NamedTuple):
  """A node's knowledge of all N nodes; leading axes are allowed.

  Both arrays only ever grow, so that views form a lattice: merging is an
  elementwise maximum, which no order or repetition of messages can upset.

  Attributes:
    last_active: i32[..., N], the last round in which a node was heard of.
    membership: i32[..., N], `2 * counter + left`: how often a node has joined
      or left, and whether the last event was leaving; 0 is an unknown node.
  """

  last_active: chex.Array
  membership: chex.Array


def membership_event(counter: Any, *, left: bool) -> Any:
  """Encodes a node's latest membership event.

  Args:
    counter: >= 1, increased by the node itself at each event; int or array.
    left: whether the event is LEAVE rather than JOIN.

  Returns:
    `2 * counter + left`; later events are larger, whatever they are.

  Example:
    >>> membership_event(3, left=False) > membership_event(2, left=True)
    True
  """
  return 2 * counter + int(left)


def initial_view(
  num_nodes: int, members: np.ndarray | None = None
) -> MembershipView:
  """The view of a network that has not started yet.

  Args:
    num_nodes: N >= 1.
    members: bool[N], nodes that have joined (counter 1); all if None.

  Returns:
    NumPy view [N]; everybody was last active in round 0.

  Raises:
    ValueError: if `members` has another shape.
  """
  n = checks.integer(num_nodes, name='num_nodes', low=1)
  members = np.ones(n, bool) if members is None else np.asarray(members, bool)
  if members.shape != (n,):
    raise ValueError(f'members must be bool[{n}]; got shape {members.shape}.')
  return MembershipView(
    np.zeros(n, np.int32), np.where(members, 2, 0).astype(np.int32)
  )


def merge_views(a: MembershipView, b: MembershipView) -> MembershipView:
  """Joins what two nodes know.

  The later activity and the membership event with the larger counter win;
  nodes that one side does not know are added. Commutative, associative and
  idempotent.

  Args:
    a: a view [..., N], NumPy or JAX.
    b: another one.

  Returns:
    The merged view.

  Example:
    >>> a = MembershipView(np.array([4, 1]), np.array([2, 6]))
    >>> b = MembershipView(np.array([2, 7]), np.array([2, 5]))
    >>> merge_views(a, b).last_active.tolist()
    [4, 7]

  Source: de Vos et al. 2023 (https://arxiv.org/abs/2302.13837). Unlike their
    first code, a newer event does not overwrite the activity.
  """
  xp: Any = np if isinstance(a.last_active, np.ndarray) else jnp
  return MembershipView(
    xp.maximum(a.last_active, b.last_active),
    xp.maximum(a.membership, b.membership),
  )


def candidates(
  view: MembershipView,
  round: chex.Numeric,
  window: chex.Numeric,
  own: int | None = None,
) -> chex.Array:
  """Says which nodes a view allows in the sample of a round.

  Args:
    view: [..., N].
    round: k, the round to sample for.
    window: Delta k, rounds after which a silent node is taken for dead.
    own: the node whose view it is; it always counts itself.

  Returns:
    bool[..., N]: known, not left, and active since round k - Delta k.

  Example:
    >>> view = MembershipView(np.array([9, 4, 5]), np.array([3, 2, 2]))
    >>> candidates(view, round=10, window=5).tolist()
    [False, False, True]
  """
  known = (view.membership >= 2) & (view.membership % 2 == 0)
  found = known & (view.last_active >= round - window)
  if own is not None:
    xp: Any = np if isinstance(found, np.ndarray) else jnp
    found = found | (xp.arange(found.shape[-1]) == own)
  return found
