# SPDX-License-Identifier: Apache-2.0
"""Runs of several processes."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.experiment import _launch, runner

sys.path.insert(0, os.path.dirname(__file__))
import quadratic_binary  # noqa: E402

BINARY = pathlib.Path(__file__).with_name('quadratic_binary.py')


def launch(folder, *args):
  """Runs two processes of four devices in all; returns codes and errors."""
  with contextlib.closing(socket.socket()) as s:
    s.bind(('localhost', 0))
    port = s.getsockname()[1]
  environment = dict(os.environ, PYTHONPATH=str(BINARY.parents[2]))
  environment.pop('XLA_FLAGS', None)
  processes = [
    subprocess.Popen(
      [
        sys.executable,
        str(BINARY),
        f'--process={i}/2@localhost:{port}',
        f'--workdir={folder}/run',
        '--devices=2',
        '--sharded',
        '--outputs=',
        *args,
      ],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=environment,
      cwd=folder,
    )
    for i in range(2)
  ]
  found = []
  try:
    for process in processes:
      out, err = process.communicate(timeout=60)
      found.append((process.returncode, out, err))
  finally:
    for process in processes:
      process.kill()
  return found


class ProcessesTest(parameterized.TestCase):
  def test_two_processes_run_stop_and_go_on_as_one(self):
    folder = tempfile.mkdtemp()
    path = pathlib.Path(folder, 'run', 'metrics.jsonl')
    # Each process sends itself the signal in the evaluation of round 10.
    first, second = launch(folder, '--signal_at=10', '--signal=SIGTERM')
    self.assertEqual((first[0], second[0]), (143, 143), first[2] + second[2])
    self.assertEqual(runner.read_rows(path)[-1]['step'], 10)
    first, second = launch(folder)
    self.assertEqual((first[0], second[0]), (0, 0), first[2] + second[2])
    self.assertIn('going on after round 10', first[2])
    self.assertIn('metrics:', first[1])
    self.assertNotIn('metrics:', second[1])
    rows = runner.read_rows(path)
    want = quadratic_binary.run(quadratic_binary.Config()).rows
    self.assertLen(rows, len(want))
    for a, b in zip(rows, want, strict=True):
      np.testing.assert_allclose(a['loss'], b['loss'], rtol=1e-6)


class LaunchTest(parameterized.TestCase):
  def test_emulating_replaces_an_earlier_count_and_keeps_other_flags(self):
    old = os.environ.get('XLA_FLAGS')
    try:
      os.environ['XLA_FLAGS'] = (
        '--xla_a=1 --xla_force_host_platform_device_count=8 --xla_b=2'
      )
      _launch.emulate_devices(0)
      self.assertIn('count=8', os.environ['XLA_FLAGS'])
      _launch.emulate_devices(3)
      self.assertEqual(
        os.environ['XLA_FLAGS'],
        '--xla_a=1 --xla_b=2 --xla_force_host_platform_device_count=3',
      )
    finally:
      os.environ['XLA_FLAGS'] = old or ''

  def test_signals_are_remembered_once_and_handlers_put_back(self):
    before = signal.getsignal(signal.SIGINT)
    with _launch.deferred_signals(True) as flag:
      signal.raise_signal(signal.SIGINT)
      self.assertEqual(flag.received, signal.SIGINT)
    self.assertIs(signal.getsignal(signal.SIGINT), before)

  def test_a_second_interrupt_acts_at_once(self):
    # Jobs in the background of a shell start with interrupts ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    self.addCleanup(signal.signal, signal.SIGINT, before)
    with (
      self.assertRaises(KeyboardInterrupt),
      _launch.deferred_signals(True) as flag,
    ):
      signal.raise_signal(signal.SIGINT)
      self.assertTrue(flag.received)
      signal.raise_signal(signal.SIGINT)
      self.fail('not interrupted')

  def test_other_threads_leave_signals_alone(self):
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def body():
      with _launch.deferred_signals(True):
        seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    self.assertEqual(seen, [before])


if __name__ == '__main__':
  absltest.main()
