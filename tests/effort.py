# SPDX-License-Identifier: Apache-2.0
"""How hard the compiler tries in a test.

With an empty cache most of the time of the suite is compilation, and most of
that is the optimizer and the emitters behind it. What tests of rules, orders,
weights and codes ask does depend on them: a quotient that is computed twice in
one fusion, a sum in another order. So those files are compiled as users have
it. The other files ask how parts work together; they are compiled three to
five times as fast without (jax 0.10.1; twice as fast with 0.12).

A nightly run compiles everything in full with `JAXDL_TEST_OPTIMIZE=1`, and once
more with `JAX_DISABLE_MOST_OPTIMIZATIONS=1` and with `JAXDL_TEST_FUSION=0`, the
fusion of products off.
"""

import functools
import os

import jax
from jax._src import compiler  # No public switch is per compilation and global.

FULL = (
  *('aggregators', 'attacks', 'compression', 'contract', 'core', 'mixing'),
  # Another program replays a log bit by bit.
  'experiments/just_one_byte_test.py',
)
NOT_FULL = (
  # Every operation is a program.
  'contract/aggregators_eager_contract_test.py',
  # A dozen games.
  'contract/environments_contract_test.py',
  # Seven networks, each in a dozen programs.
  'contract/graph_networks_contract_test.py',
  # Learners of games, each in three programs.
  'contract/learners_contract_test.py',
)
QUICK = {
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
  'xla_cpu_opt_preset': 'CPU_OPT_PRESET_FAST_COMPILE',
  # The older emitters; jaxlib 0.12 has none.
  'xla_cpu_use_fusion_emitters': False,
}
NO_FUSION = {'xla_cpu_experimental_ynn_fusion_type': ''}


class _Level:
  quick = False
  asking = False


def _switch(name, default):
  return os.environ.get(name, default) not in ('', '0')


@functools.cache
def _known(name, value) -> bool:
  """Whether this version of jaxlib has an option."""
  _Level.asking = True
  try:
    options = {name: value}
    jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    return True
  except jax.errors.JaxRuntimeError:
    return False
  finally:
    _Level.asking = False


def options(*, quick: bool) -> dict:
  """Options of a compilation besides those of jax, as far as jaxlib has them.

  Args:
    quick: whether little effort is enough.

  Returns:
    Values by name.
  """
  wanted = {}
  if quick and not _switch('JAXDL_TEST_OPTIMIZE', '0'):
    wanted |= QUICK
  if not _switch('JAXDL_TEST_FUSION', '1'):
    wanted |= NO_FUSION
  return {name: v for name, v in wanted.items() if _known(name, v)}


def flags(*, quick: bool) -> list[str]:
  """The same as `XLA_FLAGS` of another process."""
  text = lambda v: str(v).lower() if isinstance(v, bool) else v
  return [f'--{name}={text(v)}' for name, v in options(quick=quick).items()]


def use(file: str) -> None:
  """Sets the effort of compilations from now on.

  Args:
    file: the test file, relative to this folder.
  """
  folder = file.partition('/')[0]
  quick = file not in FULL and (folder not in FULL or file in NOT_FULL)
  if quick != _Level.quick:
    jax.clear_caches()
    _Level.quick = quick


def install() -> None:
  """Makes the compiler ask here for its options."""
  plain = compiler.get_compile_options

  @functools.wraps(plain)
  def get(*args, env_options_overrides=None, **kwargs):
    more = {} if _Level.asking else options(quick=_Level.quick)
    if more:
      env_options_overrides = {**more, **(env_options_overrides or {})}
    return plain(*args, env_options_overrides=env_options_overrides, **kwargs)

  compiler.get_compile_options = get
