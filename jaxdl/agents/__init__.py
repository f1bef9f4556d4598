# SPDX-License-Identifier: Apache-2.0
"""Agents that learn together in games.

- `agents.public_goods`: sequential public goods games and their equilibria.
- `agents.coplayers`: iterated dilemmas and players who infer each other.
"""

from jaxdl.agents import public_goods

__all__ = ['public_goods']
