# SPDX-License-Identifier: Apache-2.0
"""Detectors that are asked in words."""
