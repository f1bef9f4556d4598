# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts cut from a dense feed-forward network."""
