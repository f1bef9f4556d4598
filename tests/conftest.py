# SPDX-License-Identifier: Apache-2.0
"""Strict settings for every test, made before jax starts.

Rules: a file takes less than 20 s of CPU with a warm compilation cache, and
what a later system adds takes less than 20 s with an empty one; no test needs
a warm cache. Most of the time is compilation, per kernel: share programs, keep
them small, and take NumPy for set-ups and references. `effort` says which files
are compiled in full.

From the environment: `JAXDL_TEST_CACHE` names the folder of compiled programs,
`JAXDL_TEST_TIMES` a file that gets one JSON line per test with its seconds of
CPU. `XLA_FLAGS` and what `effort` reads hold as they are given; each setting of
the compiler has a folder of its own.
"""

import gc
import hashlib
import json
import os
import pathlib
import resource
import tempfile

import pytest

_FLAGS = os.environ.get('XLA_FLAGS', '').split()
_CACHE = os.environ.get('JAXDL_TEST_CACHE') or str(
  pathlib.Path(tempfile.gettempdir()) / 'jaxdl_test_cache'
)
_SETTINGS = ('JAX_DISABLE_MOST_OPTIMIZATIONS', 'JAXDL_TEST_FUSION')
_OTHER = [f for f in _FLAGS if 'host_platform_device_count' not in f]
_OTHER += [f'{n}={os.environ[n]}' for n in _SETTINGS if os.environ.get(n)]
if _OTHER:
  _CACHE += (
    '_' + hashlib.sha256(' '.join(sorted(_OTHER)).encode()).hexdigest()[:12]
  )
_TIMES = os.environ.get('JAXDL_TEST_TIMES')
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = ' '.join(
  [*_FLAGS, '--xla_force_host_platform_device_count=8']
)
os.environ.setdefault('MPLBACKEND', 'Agg')
# Programs read back from the cache are announced as if they came from another
# processor, a page each.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import effort  # noqa: E402
import jax  # noqa: E402

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_legacy_prng_key', 'error')
jax.config.update('jax_compilation_cache_dir', _CACHE)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)
effort.install()
# Programs and jaxprs live long: collect the old ones rarely.
gc.set_threshold(20_000, 20, 50)


@pytest.fixture(autouse=True, scope='module')
def compiler_effort(request):
  """Tries hard for some files only."""
  file = request.path.relative_to(pathlib.Path(__file__).parent)
  effort.use(file.as_posix())


# Compiled programs of all files before are kept by the process.
_MOST_BYTES = 3 << 30


def _resident():
  """Bytes of memory that this process has, 0 where nobody tells."""
  statm = pathlib.Path('/proc/self/statm')
  if not statm.is_file():
    return 0
  return int(statm.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


@pytest.fixture(autouse=True, scope='module')
def room_for_programs():
  """Forgets the programs of earlier files where they fill the memory."""
  yield
  if _resident() > _MOST_BYTES:
    jax.clear_caches()
    gc.collect()


def _seconds():
  """CPU of this process and of the processes that it waited for."""
  return [
    sum(resource.getrusage(who)[:2])
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  ]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
  """Appends what a test took to the file that `JAXDL_TEST_TIMES` names."""
  if not _TIMES:
    return (yield)
  before = _seconds()
  result = yield
  own, children = (b - a for a, b in zip(before, _seconds(), strict=True))
  line = {'test': item.nodeid, 'cpu': own, 'processes': children}
  with open(_TIMES, 'a') as file:
    file.write(json.dumps(line) + '\n')
  return result
