# SPDX-License-Identifier: Apache-2.0
"""How tests start other processes."""

import os
import pathlib
import random
import signal
import subprocess
import time

import effort
import jax

ROOT = pathlib.Path(__file__).parents[1]


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


def rows_after_a_kill(command, folder):
  """Kills a run once it has saved something, lets it go on; and a whole one.

  Args:
    command: `command(workdir) -> arguments` of a run that saves often.
    folder: an empty one.

  Returns:
    Bytes of the rows of the run that was killed, and of the other.
  """

  def start(workdir):
    return subprocess.Popen(
      command(workdir),
      cwd=ROOT,
      env=environment(quick=True),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )

  work, whole = (pathlib.Path(folder) / n for n in ('killed', 'whole'))
  process = start(work)
  # Once there is something to go on from.
  while process.poll() is None:
    if any(p.name.isdigit() for p in work.glob('checkpoints/*')):
      time.sleep(random.Random(0).uniform(0, 0.1))
      process.send_signal(signal.SIGKILL)
      break
    time.sleep(0.02)
  if process.wait() != -signal.SIGKILL:
    raise AssertionError(f'the run ended with {process.returncode} by itself.')
  for workdir in (work, whole):
    done = start(workdir).wait()
    if done:
      raise AssertionError(f'the run in {workdir} ended with {done}.')
  return tuple((w / 'metrics.jsonl').read_bytes() for w in (work, whole))
