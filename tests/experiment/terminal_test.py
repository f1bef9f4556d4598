# SPDX-License-Identifier: Apache-2.0
"""Progress lines, flags beside --smoke, idle flags, and Ctrl-C."""

import contextlib
import dataclasses
import io
import math
import os
import signal
import sys
import tempfile
import threading
import time
from unittest import mock

from absl import flags
from absl.testing import absltest, parameterized

from jaxdl.experiment import (
  _flags,
  _launch,
  _progress,
  config as config_lib,
  runner,
)

knob = config_lib.knob


def row(rule, step=9, split='test', seed=0, **metrics):
  return dict(step=step, split=split, variant=rule, seed=seed, **metrics)


class LinesTest(parameterized.TestCase):
  def test_best_and_worst_by_the_first_metric_over_seeds(self):
    rows = [
      row('mean', accuracy=0.1, loss=9.0),
      row('krum', accuracy=0.8, loss=0.1),
      row('krum', seed=1, accuracy=0.6, loss=0.1),
      row('median', accuracy=0.9, loss=0.5),
      row('mean', split='train', accuracy=1.0),
    ]
    self.assertEqual(
      _progress.in_brief(rows, width=80),
      'accuracy best 0.9 median, worst 0.1 mean',
    )
    self.assertEqual(_progress.in_brief(rows[1:3], width=80), 'accuracy 0.7')

  def test_nan_is_worst_and_less_is_better_but_for_accuracies(self):
    rows = [
      row('a', loss=math.nan),
      row('b', loss=3.0),
      row('c', loss=math.inf),
    ]
    self.assertEqual(
      _progress.in_brief(rows, width=80), 'loss best 3 b, worst nan a'
    )

  def test_lines_are_short(self):
    rows = [row('x' * 150, loss=1.0), row('y' * 150, loss=2.0)]
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown):
      sink = _progress.Progress('name')
      sink.rewind(-1, 1, 100_000)
      sink.write(rows)
    (line,) = shown.getvalue().splitlines()
    self.assertLessEqual(len(line), 100)
    self.assertRegex(line, r'^round 9/100000: loss best 1 x+\.\.\., worst 2 y')

  def test_speed_and_time_left_do_not_know_of_compilation(self):
    now = [0.0]
    with mock.patch.object(time, 'monotonic', side_effect=lambda: now[0]):
      clock = _progress.Clock()
      clock.total = 101
      clock.enter('preparing')
      now[0] = 5.0
      clock.enter('compiling')
      now[0], clock.step = 65.0, 1
      self.assertEqual(clock.left(), '')
      clock.enter('running')
      now[0], clock.step = 70.0, 11
      self.assertEqual(clock.speed(), 2.0)
      self.assertEqual(clock.left(), ', 0:45 left')
      clock.enter('')
      now[0] = 1000.0
      self.assertEqual(
        str(clock),
        'preparing 5.0 s, compiling 60.0 s, running 5.0 s (2 rounds/s)',
      )

  def test_nobody_has_to_listen(self):
    with mock.patch.object(sys, 'stderr') as gone:
      gone.write.side_effect = BrokenPipeError
      _progress.say('text')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config_lib.BaseConfig):
  rules: tuple[str, ...] = knob(('mean', 'nnm+krum', 'flag'), 'Rules.')
  width: int = knob(64, 'Width.', low=1)
  heads: int = knob(8, 'Divides the width.', low=1)
  reg: float = knob(0.0, 'Of flag.', needs={'rules': ('flag',)})
  radius: float = knob(1.0, 'Of clip.', needs={'rules|pre': ('clip*',)})
  pre: str = knob('', 'Before.')
  file: str = knob('', 'File.')
  start: int = knob(0, 'In the file.', needs={'file': True})
  draw: int = knob(0, 'Of what is drawn.', needs={'file': False})

  def validate(self):
    if self.width % self.heads:
      raise ValueError(f'heads={self.heads} must divide width={self.width}.')

  def smoked(self):
    return dataclasses.replace(
      super().smoked(), rules=self.rules[:2], width=8, heads=2
    )


def parse(*args, preset=()):
  values = flags.FlagValues()
  _flags.define_flags(Config, values)
  values(['name', *preset, *args])
  return _flags.from_flags(
    Config, values, given=_flags.on_command_line(Config, args)
  )


class FlagsTest(parameterized.TestCase):
  def test_what_is_given_beside_smoke_stays(self):
    config = parse('--smoke', '--num_rounds=40', '--rules=mean,flag,krum')
    self.assertEqual(config.num_rounds, 40)
    self.assertLen(config.rules, 3)
    self.assertEqual((config.width, config.eval_every), (8, 1))
    self.assertTrue(config_lib.is_shrunk(config))

  def test_what_a_preset_says_is_shrunk(self):
    config = parse('--smoke', preset=('--num_rounds=40', '--width=32'))
    self.assertEqual((config.num_rounds, config.width), (3, 8))
    self.assertTrue(config_lib.is_shrunk(config))
    self.assertFalse(
      config_lib.is_shrunk(dataclasses.replace(config, width=10))
    )

  def test_what_cannot_stay_names_what_was_shrunk(self):
    with self.assertRaisesRegex(
      ValueError, r'heads=16 must divide width=8. \(--smoke made it width=8'
    ):
      parse('--smoke', '--heads=16')

  @parameterized.parameters(
    (('--reg=1', '--rules=mean'), '--reg=1.0 .* --rules=mean: it is for flag'),
    (('--radius=2',), '--rules=mean,nnm.* --pre=: it is for clip'),
    (('--start=1',), '--start=1 has no effect without --file'),
    (('--draw=1', '--file=x'), '--draw=1 has no effect with --file=x'),
  )
  def test_flags_without_effect_are_refused(self, args, want):
    with self.assertRaisesRegex(ValueError, want):
      parse(*args)

  @parameterized.parameters(
    ('--reg=1',),
    ('--radius=2', '--rules=clip+mean'),
    ('--radius=2', '--pre=clipping'),
    ('--start=1', '--file=x'),
    ('--draw=1',),
    ('--rules=mean', '--reg=0'),
  )
  def test_others_are_not(self, *args):
    parse(*args)

  def test_help_says_what_a_flag_is_for(self):
    self.assertIn('for rules or pre=clip*', _flags.help_text(Config, 'x'))


def drop(signum):
  """Has Python drop what is raised at a signal; at None, an error."""

  class Garbage:
    def __del__(self):
      if signum is None:
        raise ValueError
      signal.raise_signal(signum)

  Garbage()


class SignalsTest(parameterized.TestCase):
  def test_an_answer_comes_from_a_thread(self):
    # Jobs in the background of a shell start with interrupts ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    self.addCleanup(signal.signal, signal.SIGINT, before)
    told = threading.Event()
    with _launch.deferred_signals(True) as flag:
      flag.say = lambda text: told.set() if 'after this round' in text else None
      os.kill(os.getpid(), signal.SIGINT)
      self.assertTrue(told.wait(5.0))
      self.assertEqual(flag.received, signal.SIGINT)
    self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
    self.assertEqual(signal.set_wakeup_fd(-1), -1)

  def test_before_the_first_round_it_stops_at_once(self):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    self.addCleanup(signal.signal, signal.SIGINT, before)
    with (
      self.assertRaises(_launch.Stopped),
      _launch.deferred_signals(True) as flag,
    ):
      flag.finishing = False
      os.kill(os.getpid(), signal.SIGINT)
      time.sleep(5.0)
    self.assertEqual(flag.received, 0)

  def test_what_a_finalizer_drops_is_raised_again(self):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    self.addCleanup(signal.signal, signal.SIGINT, before)
    with (
      mock.patch.object(sys, 'unraisablehook') as printed,
      self.assertRaises(_launch.Stopped),
      _launch.deferred_signals(True) as flag,
    ):
      flag.finishing = False
      drop(signal.SIGINT)
      self.assertEqual(flag.stopping, signal.SIGINT)
      time.sleep(5.0)
    printed.assert_not_called()

  def test_what_others_drop_is_printed(self):
    with (
      mock.patch.object(sys, 'unraisablehook') as printed,
      _launch.deferred_signals(True),
    ):
      drop(None)
    printed.assert_called_once()

  @parameterized.parameters('init', 'rows')
  def test_a_run_ends_at_the_next_check(self, place):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    self.addCleanup(signal.signal, signal.SIGINT, before)
    seen = []

    def drop_in(here):
      seen.append(here)
      if here == place:
        drop(signal.SIGINT)

    def step(state, number):
      seen.append(number)
      return state, {}

    experiment = runner.Experiment(
      init=lambda: drop_in('init') or {},
      step=step,
      rows=lambda *args: drop_in('rows') or [],
      num_rounds=3,
      jit=False,
    )
    store = runner.Store(tempfile.mkdtemp())
    with (
      mock.patch.object(_launch.Signals, '_raise_again'),
      self.assertRaises(_launch.Stopped),
    ):
      runner.run(experiment, config_lib.BaseConfig(), store=store)
    self.assertEqual(seen, ['init', 'rows'][: 1 + (place == 'rows')])

  def test_a_run_inside_shares_the_answer(self):
    with (
      _launch.deferred_signals(True) as outer,
      _launch.deferred_signals(True) as inner,
    ):
      self.assertIs(inner, outer)

  def test_blocked_code_ends_without_the_main_thread(self):
    flag = _launch.Signals()
    flag.finishing = False
    flag.say, flag.leave = mock.Mock(), mock.Mock()
    with (
      mock.patch.object(_launch, '_GRACE_S', 0.01),
      mock.patch.object(_launch.os, '_exit') as ended,
    ):
      flag._answer(signal.SIGTERM)
    ended.assert_called_once_with(143)
    flag.leave.assert_called_once()


if __name__ == '__main__':
  absltest.main()
