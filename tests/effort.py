# SPDX-License-Identifier: Apache-2.0
"""How hard the compiler tries in a test.

With an empty cache most of the time of the suite is compilation, and most of
that is the optimiser and the emitters behind it. What tests of rules, orders,
weights and codes ask does depend on them: a quotient that is computed twice in
one fusion, a sum in another order. So those files are compiled as users have
it. The other files ask how parts work together; they are compiled three to
five times as fast without (jax 0.10.1; twice as fast with 0.12). Everything is
compiled in full with `JAXDL_TEST_OPTIMIZE=1`, as a nightly run should.
"""

import functools
import os

import jax
from jax._src import compiler  # No public switch is per compilation and global.

FULL = (
  *('aggregators', 'attacks', 'compression', 'contract', 'core', 'mixing'),
  'sharding',
  # Another program replays a log bit by bit.
  'experiments/just_one_byte_test.py',
)
QUICK = {
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
  'xla_cpu_opt_preset': 'CPU_OPT_PRESET_FAST_COMPILE',
  # The older emitters; jaxlib 0.12 has none.
  'xla_cpu_use_fusion_emitters': False,
}


class _Level:
  quick = False


def always_full() -> bool:
  """Whether `JAXDL_TEST_OPTIMIZE` asks for full effort everywhere."""
  return os.environ.get('JAXDL_TEST_OPTIMIZE', '0') not in ('', '0')


@functools.cache
def quick_options() -> dict:
  """The options that this version of jaxlib knows."""
  _Level.quick, before = False, _Level.quick
  known = {}
  for name, value in QUICK.items():
    options = {name: value}
    try:
      jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
      continue
    known |= options
  _Level.quick = before
  return known


def quick_flags() -> str:
  """The same as `XLA_FLAGS` of another process."""
  return ' '.join(
    f'--{name}={str(value).lower() if isinstance(value, bool) else value}'
    for name, value in quick_options().items()
  )


def use(file: str) -> None:
  """Sets the effort of compilations from now on.

  Args:
    file: the test file, relative to this folder.
  """
  full = always_full() or file in FULL or file.partition('/')[0] in FULL
  quick = not full
  if quick != _Level.quick:
    jax.clear_caches()
    _Level.quick = quick


def install() -> None:
  """Makes the compiler ask here for its options."""
  plain = compiler.get_compile_options

  @functools.wraps(plain)
  def options(*args, env_options_overrides=None, **kwargs):
    if _Level.quick:
      given = env_options_overrides or {}
      env_options_overrides = {**quick_options(), **given}
    return plain(*args, env_options_overrides=env_options_overrides, **kwargs)

  compiler.get_compile_options = options
