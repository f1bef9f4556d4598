# SPDX-License-Identifier: Apache-2.0
"""Learning maps between functions."""
