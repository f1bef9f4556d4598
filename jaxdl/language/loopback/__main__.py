# SPDX-License-Identifier: Apache-2.0
r"""Serves scripted models on this machine until it is interrupted.

Example: python -m jaxdl.language.loopback --port=8000
"""

import signal
import threading

from absl import app, flags

from jaxdl.language.loopback import _faults, _registry, _server

FLAGS = flags.FLAGS
flags.DEFINE_integer('port', 0, 'Where it listens; 0 takes a free port.')
flags.DEFINE_integer('seed', 0, 'Of what goes wrong.')


def main(argv):
  """Serves, and says how it is used."""
  del argv
  stop = threading.Event()
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stop.set())
  with _server.serve(FLAGS.port, seed=FLAGS.seed) as server:
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


if __name__ == '__main__':
  app.run(main)
