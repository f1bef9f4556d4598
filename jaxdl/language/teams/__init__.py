# SPDX-License-Identifier: Apache-2.0
"""Agentic neural networks."""
