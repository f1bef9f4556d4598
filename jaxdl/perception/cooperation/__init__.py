# SPDX-License-Identifier: Apache-2.0
"""Cooperative perception: vehicles share what the others are uncertain of."""
