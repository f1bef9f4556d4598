# SPDX-License-Identifier: Apache-2.0
"""Models that can be solved, beside simulations of them."""

from jaxdl.theory import associative

__all__ = ['associative']
