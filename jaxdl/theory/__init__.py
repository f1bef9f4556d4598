# SPDX-License-Identifier: Apache-2.0
"""Theories of learning, and what it takes to compare them with networks.

- `effective`: deep networks of large but finite width at initialization.
- `associative`: networks that store patterns.
- `grokking`: how features of group operations come late.
- `matching`: which units of two networks do the same.
"""

from jaxdl.theory import associative, effective, grokking, matching

__all__ = ['associative', 'effective', 'grokking', 'matching']
