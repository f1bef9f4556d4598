# SPDX-License-Identifier: Apache-2.0
"""Strict settings for every test, made before jax starts."""

import os
import pathlib
import tempfile

_CACHE = os.environ.get('JAXDL_TEST_CACHE') or str(
  pathlib.Path(tempfile.gettempdir()) / 'jaxdl_test_cache'
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
).strip()
os.environ.setdefault('MPLBACKEND', 'Agg')

import jax  # noqa: E402

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_legacy_prng_key', 'error')
jax.config.update('jax_compilation_cache_dir', _CACHE)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)
