# SPDX-License-Identifier: Apache-2.0
"""Theories of learning, and what it takes to compare them with networks.

- `matching`: which units of two networks do the same.
"""

from jaxdl.theory import matching

__all__ = ['matching']
