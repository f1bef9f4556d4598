# SPDX-License-Identifier: Apache-2.0
"""Nets with one random hidden layer, fitted to functions and small data sets.

- `RandomNets`: methods of `networks.features.shallow` over scales and widths,
  drawn again and again.
- `make_target`: what they are fitted to, by name; `TARGETS`.
"""

from jaxdl.problems.random_nets._nets import RandomNets
from jaxdl.problems.random_nets._targets import TARGETS, Target, make_target

__all__ = ['TARGETS', 'RandomNets', 'Target', 'make_target']
