# SPDX-License-Identifier: Apache-2.0
"""Experiment binaries; each runs as `python -m experiments.<name>`."""
