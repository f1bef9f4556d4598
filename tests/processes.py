# SPDX-License-Identifier: Apache-2.0
"""How tests start other processes."""

import os

import effort
import jax


def environment(*, keep_programs=True, quick=False, **more):
  """The environment of a command: compiler settings, but no emulated devices.

  Args:
    keep_programs: whether compiled programs come from the cache of the tests.
      Not for programs over several devices: read back from it, their
      collectives may meet in the wrong order.
    quick: whether to compile with little optimization, where nothing that is
      asked depends on it; see `effort`.
    **more: further variables.

  Returns:
    The variables.
  """
  flags = [
    flag
    for flag in os.environ.get('XLA_FLAGS', '').split()
    if 'host_platform_device_count' not in flag
  ]
  kept = {}
  if keep_programs:
    kept = {
      'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '0',
    }
  flags += effort.flags(quick=quick)
  return {
    **os.environ,
    'XLA_FLAGS': ' '.join(flags),
    'MPLBACKEND': 'Agg',
    **kept,
    **more,
  }
