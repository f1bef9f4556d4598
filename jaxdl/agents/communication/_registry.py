# SPDX-License-Identifier: Apache-2.0
"""Channels by name."""

from jaxdl.agents import _policy
from jaxdl.agents.communication import _attention, _dial, _means
from jaxdl.core import checks, registry


def none() -> None:
  """Agents that do not talk."""
  return None


COMMUNICATIONS = registry.Registry(
  'communication',
  {
    'none': none,
    'commnet': _means.commnet,
    'ic3net': _means.ic3net,
    'tarmac': _attention.tarmac,
    'dial': _dial.dial,
    'g2anet': _attention.g2anet,
    'attention': _attention.attention,
    'graph': _attention.graph,
  },
  given=('num_agents',),
)


def make_communication(
  spec: str | _policy.Communication | None, *, num_agents: int
) -> _policy.Communication | None:
  """Makes a channel by name.

  Args:
    spec: an entry of `COMMUNICATIONS` with its options, such as
      'tarmac(rounds=2)', 'none', or a channel (kept).
    num_agents: N.

  Returns:
    The channel, for `agents.actor_critic`, or None.

  Raises:
    ValueError: if the name or an option is unknown or out of range.
    TypeError: if it is something else.

  Example:
    >>> make_communication('tarmac(value_size=8)', num_agents=3).size(64)
    8
    >>> make_communication('none', num_agents=3) is None
    True
  """
  if spec is None or isinstance(spec, _policy.Communication):
    return spec
  checks.integer(num_agents, name='num_agents', low=1)
  return COMMUNICATIONS.make(spec, num_agents=num_agents)
