# SPDX-License-Identifier: Apache-2.0
"""Theories of learning, and what it takes to compare them with networks.

- `grokking`: how features of group operations come late.
"""

from jaxdl.theory import grokking

__all__ = ['grokking']
