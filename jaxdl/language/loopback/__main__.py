# SPDX-License-Identifier: Apache-2.0
r"""Serves scripted models on this machine until it is interrupted.

Example: python -m jaxdl.language.loopback --port=8000
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence

from jaxdl.language.loopback import _faults, _registry, _server

_NAME = 'loopback'


def main(args: Sequence[str] | None = None) -> int:
  """Serves, and says how it is used.

  Args:
    args: of the command line.

  Returns:
    The exit code: 0, or 2 if there can be no such server.
  """
  what = 'Serves scripted models on this machine until it is interrupted.'
  parser = argparse.ArgumentParser(_NAME, description=what)
  parser.add_argument(
    '--port', type=int, default=0, help='where it listens; 0 takes a free port'
  )
  parser.add_argument('--seed', type=int, default=0, help='of what goes wrong')
  given = parser.parse_args(args)
  try:
    server = _server.serve(given.port, seed=given.seed)
  except ValueError as error:
    print(f'{_NAME}: --{error}', file=sys.stderr)
    return 2
  except OSError as error:
    why = os.strerror(error.errno) if error.errno else str(error)
    print(f'{_NAME}: --port={given.port}: {why}.', file=sys.stderr)
    return 2
  stop = threading.Event()
  with server:
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, lambda *_: stop.set())
    print(
      f'base_url: {server.base_url}\n'
      'Models are scripted: no language model answers, say so in reports.\n'
      'No key is needed; clients that insist take any.\n'
      f'Models: {", ".join(_registry.SCRIPTS)}\n'
      f'before them, with +: {", ".join(_faults.FAULTS)}\n'
      "Example: --model='rate_limited(share=0.2)+echo'\n"
      'Ctrl-C stops it.',
      flush=True,
    )
    stop.wait()
  print(f'Requests: {server.num_requests}.', flush=True)
  return 0


if __name__ == '__main__':
  sys.exit(main())
