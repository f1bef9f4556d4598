# SPDX-License-Identifier: Apache-2.0
"""How tensors and work are spread over devices, and what that costs."""

__all__: list[str] = []
