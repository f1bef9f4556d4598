# SPDX-License-Identifier: Apache-2.0
"""Who arrives when: against hand traces and exact arithmetic."""

import math
import pathlib
import tempfile
from fractions import Fraction

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.core import registry
from jaxdl.federated import asynchronous as lib

TAU = lib.compute_times(10, 80)


def _rational(num_clients, pct):
  """F-X in exact arithmetic."""
  m = max(num_clients - 1, 1)
  return [1 - Fraction(pct, 100) * i / m for i in range(num_clients)]


def _make(spec, times=TAU, horizon=100.0, **options):
  return lib.make_schedule(spec, times, horizon=horizon, **options)


def _lists(schedule):
  """Participants of each aggregation, without padding."""
  return [
    row[real].tolist()
    for row, real in zip(schedule.participants, schedule.mask, strict=True)
  ]


class TimesTest(parameterized.TestCase):
  def test_scenario_is_linear(self):
    np.testing.assert_allclose(TAU, np.linspace(1.0, 0.2, 10))
    np.testing.assert_array_equal(lib.compute_times(4, 0), 1.0)
    np.testing.assert_array_equal(lib.compute_times(1, 80), 1.0)
    made = lib.make_times('F-80', 10)
    np.testing.assert_array_equal(made.times[:, 0], TAU)
    np.testing.assert_array_equal(
      lib.make_times('linear(37.5)', 3).times,
      lib.make_times('F-37.5', 3).times,
    )

  @parameterized.parameters(
    ('uniform(0.5, 2.0)', 0.5, 2.0),
    ('uniform(0.5, 2.0, num_jobs=3)', 0.5, 2.0),
    ('exponential(0.5, least=1.0)', 1.0, np.inf),
    ('lognormal(job_sigma=0.5)', 0.0, np.inf),
  )
  def test_draws_depend_on_the_seed_alone(self, spec, low, high):
    made = lib.make_times(spec, 6, seed=3)
    self.assertTrue(((made.times > low) & (made.times < high)).all())
    np.testing.assert_array_equal(
      made.times, lib.make_times(spec, 6, seed=3).times
    )
    self.assertFalse(
      np.array_equal(made.times, lib.make_times(spec, 6, seed=4).times)
    )

  def test_draws_have_their_means(self):
    drawn = lib.make_times('exponential(0.5, least=1.0, num_jobs=500)', 40)
    self.assertAlmostEqual(drawn.times.mean(), 1.5, delta=0.02)
    drawn = lib.make_times('lognormal(sigma=0.5)', 4000)
    self.assertAlmostEqual(np.log(drawn.times).std(), 0.5, delta=0.03)

  def test_csv_trace(self):
    path = self._file(
      'client,compute_time,communication_time,leave,rejoin\n'
      '1,0.5,0.25,,\n0,1.0,0,1.5,3.0\n2,2.0,0.5,4.0,\n'
    )
    made = lib.load_times(path, num_clients=3)
    np.testing.assert_array_equal(made.times[:, 0], [1.0, 0.75, 2.5])
    np.testing.assert_array_equal(made.leave, [1.5, np.inf, 4.0])
    np.testing.assert_array_equal(made.rejoin, [3.0, np.inf, np.inf])
    # 0 delivers at 1, loses what it began then, comes back at 3; 2 delivers
    # once and never again.
    schedule = _make('async', f'trace("{path}")', 6.0, num_clients=3)
    when = {
      i: schedule.times[schedule.participants[:, 0] == i].tolist()
      for i in range(3)
    }
    self.assertEqual(when[0], [1.0, 4.0, 5.0, 6.0])
    self.assertEqual(when[2], [2.5])
    self.assertEqual(when[1], (0.75 * np.arange(1, 9)).tolist())

  def test_trace_of_jobs(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    np.save(folder / 'jobs.npy', np.array([[1.0, 2.0], [0.5, 0.25]]))
    schedule = _make(
      'async(weights=identical)', f'trace("{folder / "jobs.npy"}")', 4.0,
      num_clients=2,
    )  # fmt: skip
    mine = schedule.times[schedule.participants[:, 0] == 0]
    self.assertEqual(mine.tolist(), [1.0, 3.0, 4.0])
    theirs = schedule.times[schedule.participants[:, 0] == 1]
    self.assertEqual(theirs[:4].tolist(), [0.5, 0.75, 1.25, 1.5])

  def test_lost_jobs_are_done_again(self):
    made = lib.timing([1.0, 1.0], drop_rate=[0.5, 0.0], seed=1)
    schedule = _make('async', made, 4000.0)
    counts = np.bincount(schedule.participants[:, 0])
    self.assertEqual(counts[1], 4000)
    # A binomial of 4000 halves: six deviations are 190.
    self.assertAlmostEqual(counts[0], 2000, delta=190)
    again = _make('async', made, 4000.0)
    np.testing.assert_array_equal(again.participants, schedule.participants)

  def _file(self, text):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    path = pathlib.Path(folder) / 'trace.csv'
    path.write_text(text)
    return path

  @parameterized.parameters(
    ('', 'has no column compute_time; got nothing'),
    ('speed\n1\n', "column='speed' is unknown"),
    ('compute_time\n', 'has no client'),
    ('compute_time\n1\nfast\n', 'line 3: compute_time must be a number; got'),
    ('compute_time\n1\n0\n', 'compute time of client 1 is 0.0; must be > 0'),
    ('compute_time\n\n1\n\nfast\n', 'line 5: compute_time must be a number'),
    ('compute_time\n1\n2,3\n', 'line 3 has 2 fields, the header has 1'),
    ('compute_time,leave\n1,\n2\n', 'line 3 has 1 fields, the header has 2'),
    (
      'compute_time,compute_time\n1,2\n1,2\n',
      'the column compute_time is there 2 times',
    ),
    (
      'client,compute_time,communication_time\n1,9,-0.5\n0,1,0\n',
      'communication_time of client 1 is -0.5; must be at least 0 and finite',
    ),
    (
      'compute_time,communication_time\n1,0\n-1,3\n',
      'compute time of client 1 is -1.0; must be > 0',
    ),
    ('compute_time,communication_time\n1,0\n1,nan\n', 'communication_time of'),
    ('"compute_time\n1\n', 'no CSV can be read: '),
    ('client,compute_time\n0,1\n0,1\n', 'client must number the 2 clients'),
    ('compute_time\n1\n', 'has 1 clients but num_clients=2'),
    ('compute_time,drop_rate\n1,0\n1,1\n', 'drop_rate of client 1 is 1.0'),
    (
      'compute_time,leave,rejoin\n1,2,1\n1,,\n',
      'rejoin of client 0 is 1.0; must come after its leave',
    ),
  )
  def test_says_what_is_wrong_in_a_file(self, text, message):
    path = self._file(text)
    with self.assertRaisesRegex(ValueError, f'trace.csv: {message}'):
      lib.load_times(path, num_clients=2)

  def test_says_which_file_is_missing(self):
    with self.assertRaisesRegex(ValueError, 'nowhere.csv: .*No such file'):
      lib.make_times('trace("nowhere.csv")', 2)


class LostClientsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('async', (2,)),
    ('async(weights=identical)', (2,)),
    ('fedfix(0.5)', (2,)),
    ('fedasync', (2,)),
    ('fedbuff(2, weights=identical)', (2,)),
  )
  def test_who_never_takes_part_is_told(self, spec, missing):
    with self.assertLogs('absl', 'WARNING') as told:
      schedule = _make(spec, [1.0, 0.5, 50.0], 9.0)
    self.assertEqual(schedule.missing, missing)
    self.assertEqual(schedule.gone, ())
    self.assertLen(told.output, 1)
    self.assertIn(
      f'{spec}: what is minimized leaves out client 2, never there within '
      'horizon 9.', told.output[0],
    )  # fmt: skip

  def test_who_leaves_for_good_is_told(self):
    timing = lib.timing(
      np.ones(4), leave=[np.inf, 2.5, 0.5, 3.5], rejoin=[np.inf] * 3 + [4.0]
    )
    with self.assertLogs('absl', 'WARNING') as told:
      schedule = _make('fedfix(1.0, weights=identical)', timing, 9.0)
    self.assertEqual((schedule.missing, schedule.gone), ((2,), (1, 2)))
    self.assertLen(told.output, 2)
    self.assertIn('leaves out client 1 once gone for good', told.output[1])
    rows = [
      {'split': 'test', 'variant': 'a', 'seed': 0, 'step': t, 'x': 1.0}
      for t in range(5)
    ]
    columns, cells = lib.scheme_table(rows, {'a': schedule}, 'x')
    self.assertEqual(columns[-1], 'clients lost')
    self.assertEqual(cells[0][-1], '1, 2')

  def test_nothing_is_told_where_all_come(self):
    with self.assertNoLogs('absl', 'WARNING'):
      schedule = _make('async', horizon=9.0)
    self.assertEqual(schedule.remarks, ())

  def test_what_talking_takes_is_kept(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    (folder / 'a.csv').write_text(
      'client,compute_time,communication_time\n1,2,0.5\n0,1,0\n'
    )
    made = lib.load_times(folder / 'a.csv')
    self.assertEqual(made.communication.tolist(), [0.0, 0.5])
    self.assertEqual(made.times.tolist(), [[1.0], [2.5]])
    with self.assertRaisesRegex(ValueError, 'communication of client 1 is 2.0'):
      lib.timing([1.0, 1.5], communication=[1.0, 2.0])


class ScheduleTest(parameterized.TestCase):
  @parameterized.parameters(
    # Sums of floats lose the last jobs of two clients of async: 2123.
    ('fedavg', 100),
    ('async', 2125),
    ('fedfix(0.2)', 500),
  )
  def test_number_of_aggregations(self, spec, want):
    schedule = _make(spec)
    self.assertEqual(schedule.num_aggregations, want)
    exact = {
      'fedavg': 1000,
      'async': sum(math.floor(100 / t) for t in _rational(10, 80)),
      'fedfix(0.2)': sum(
        500 // math.ceil(t / Fraction(1, 5)) for t in _rational(10, 80)
      ),
    }
    self.assertEqual(schedule.num_jobs, exact[spec])

  def test_periods_are_exact(self):
    counts = lambda dt: np.bincount(lib.waiting_periods(TAU, dt))[1:].tolist()
    self.assertEqual(counts(0.2), [1, 2, 2, 2, 3])
    self.assertEqual(counts(0.5), [4, 6])
    self.assertEqual(counts(0.8), [7, 3])
    # Not 4, as sums of floats would have it.
    self.assertEqual(lib.waiting_periods([0.1 + 0.2 + 0.3], 0.2)[0], 3)

  def test_nobody_misses_a_round(self):
    # Float sums of the official schedule find 3893.
    schedule = _make('fedfix(0.2)', horizon=1000.0)
    self.assertEqual(np.sum(schedule.participants == 9), 5000)

  @parameterized.parameters(0.2, 0.5, 0.8)
  def test_participation_is_exact(self, delta_t):
    periods = lib.waiting_periods(TAU, delta_t)
    length = 2 * math.lcm(*periods.tolist())
    # One tick more than the last period, in case it is short of it.
    schedule = _make(f'fedfix({delta_t})', horizon=length * delta_t)
    self.assertEqual(schedule.num_aggregations, length)
    fraction = lib.participation_fraction(schedule)
    np.testing.assert_array_equal(fraction * length, length // periods)
    weights = lib.aggregation_weights('fedfix', 'weight', TAU, delta_t=delta_t)
    np.testing.assert_allclose(fraction * weights, 0.1, rtol=1e-12)
    np.testing.assert_allclose(schedule.weights.sum() / length, 1.0, rtol=1e-12)
    # Each is exactly so many aggregations behind.
    lag = lib.staleness(schedule)
    np.testing.assert_array_equal(
      lag[schedule.mask], periods[schedule.participants[schedule.mask]] - 1
    )
    np.testing.assert_array_equal(lag[~schedule.mask], -1)

  def test_weights_of_the_scenario(self):
    self.assertAlmostEqual(np.sum(1 / TAU), 21.280592, places=6)
    d = lib.aggregation_weights('async', 'weight', TAU)
    np.testing.assert_allclose(d[[0, -1]], [2.12806, 0.42561], atol=5e-6)
    self.assertEqual(
      lib.aggregation_weights('fedavg', 'identical', TAU).tolist(), [0.1] * 10
    )

  @parameterized.parameters(
    'fedavg',
    'async',
    'fedfix(0.2)',
    'fedbuff(4)',
    'fedfix(0.2, min_arrivals=3)',
    'fedfix(0.3, max_staleness=1)',
    'async(max_staleness=12)',
    'fedbuff(4, restart=immediate)',
  )
  def test_weight_is_unbiased_and_sums_to_one(self, spec):
    p = np.arange(1.0, 11.0) / 55
    schedule = _make(spec, horizon=2000.0, importance=p)
    np.testing.assert_allclose(lib.surrogate_importance(schedule), p, rtol=5e-3)
    total = schedule.weights.sum() / schedule.num_aggregations
    self.assertAlmostEqual(total, 1.0, delta=5e-3)

  @parameterized.parameters(
    'async', 'fedfix(0.2)', 'fedbuff(4)', 'fedfix(0.3, min_arrivals=2)'
  )
  def test_identical_sums_to_one(self, spec):
    spec = registry.changed(spec, weights='identical')
    schedule = _make(spec, horizon=1000.0)
    total = schedule.weights.sum() / schedule.num_aggregations
    self.assertAlmostEqual(total, 1.0, delta=5e-3)
    self.assertLen(set(schedule.weights[schedule.mask]), 1)

  def test_surrogate_importance_of_equal_weights(self):
    periods = lib.waiting_periods(TAU, 0.5)
    got = lib.surrogate_importance(_make('fedfix(0.5)'), np.ones(10))
    np.testing.assert_allclose(got, 1 / periods / np.sum(1 / periods))
    # What the official code logs instead.
    self.assertGreater(np.abs(got - periods / periods.sum()).max(), 0.04)

  def test_weights_of_drawn_times_are_counted(self):
    times = lib.make_times('exponential(num_jobs=64)', 5, seed=2)
    for spec in ('async', 'fedfix(0.5)', 'fedbuff(2)'):
      schedule = _make(spec, times, 300.0)
      share = lib.surrogate_importance(schedule)
      np.testing.assert_allclose(share, 0.2, rtol=1e-9)

  def test_fedavg_waits_for_the_slowest(self):
    schedule = _make('fedavg', [1.0, 3.0, 2.0], 7.0)
    self.assertEqual(schedule.times.tolist(), [3.0, 6.0])
    self.assertEqual(_lists(schedule), [[0, 1, 2]] * 2)
    self.assertEqual(schedule.version[1].tolist(), [1, 1, 1])

  def test_special_cases_are_the_same_schedule(self):
    pairs = (
      ('fedfix(1.0)', 'fedavg', TAU),
      ('fedfix(0.25)', 'fedavg', np.full(4, 0.25)),
      ('fedbuff(4, weights=identical)', 'fedavg', np.full(4, 0.5)),
      ('fedbuff(10, weights=identical)', 'fedavg', TAU),
      ('fedbuff(1, weights=identical)', 'async(weights=identical)', TAU),
      (
        'fedbuff(1, weights=identical, restart=immediate)',
        'async(weights=identical)',
        TAU,
      ),
    )
    names = ('times', 'participants', 'mask', 'version', 'weights')
    for one, other, times in pairs:
      a, b = _make(one, times, 20.0), _make(other, times, 20.0)
      for name in names:
        np.testing.assert_array_equal(
          getattr(a, name), getattr(b, name), f'{one}, {name}'
        )

  def test_equal_times_take_turns(self):
    schedule = _make('async', 'F-0', 5.0, num_clients=4)
    self.assertEqual(_lists(schedule), [[0], [1], [2], [3]] * 5)

  def test_empty_rounds_count(self):
    schedule = _make('fedfix(0.25)', [1.0, 0.5], 1.0)
    self.assertEqual(_lists(schedule), [[], [1], [], [0, 1]])
    kept = _make('fedfix(0.25, min_arrivals=1)', [1.0, 0.5], 1.0)
    self.assertEqual(kept.times.tolist(), [0.5, 1.0])
    both = _make('fedfix(0.25, min_arrivals=2)', [1.0, 0.5], 2.0)
    self.assertEqual(both.times.tolist(), [1.0, 2.0])

  def test_buffer_by_hand(self):
    # Ends: client 0 at 1, client 1 at .5, client 2 at .4; then they wait.
    schedule = _make('fedbuff(2)', [1.0, 0.5, 0.4], 2.0)
    # At .9 client 2, at 1.0 clients 0 and 1: the lower number fills the buffer.
    # Then client 1 has waited since 1.0, client 2 is back at 1.4.
    self.assertEqual(schedule.times.tolist(), [0.5, 1.0, 1.4, 1.9])
    self.assertEqual(_lists(schedule), [[1, 2], [0, 2], [1, 2], [1, 2]])
    self.assertEqual(
      schedule.version.tolist(), [[0, 0], [0, 1], [1, 2], [3, 3]]
    )

  def test_immediate_restarts_by_hand(self):
    schedule = _make('fedbuff(2, restart=immediate)', [1.0, 0.25], 2.0)
    # Client 1 comes back at .25, .5, ...; before 0 at 1.0 it comes again.
    self.assertEqual(_lists(schedule), [[1, 1], [1, 0], [1, 1], [1, 1], [0, 1]])
    self.assertEqual(schedule.times.tolist(), [0.5, 1.0, 1.25, 1.75, 2.0])
    self.assertEqual(
      schedule.version.tolist(), [[0, 0], [1, 0], [1, 2], [3, 3], [2, 4]]
    )
    self.assertEqual(schedule.repeats[0].tolist(), [0, 1])
    self.assertEqual(schedule.sends[0].tolist(), [0, 2])

  @parameterized.parameters(
    'async(max_staleness=10)', 'fedfix(0.2, max_staleness=2)',
    'fedbuff(3, max_staleness=3)', 'fedasync(max_staleness=9)',
  )  # fmt: skip
  def test_staleness_is_bounded(self, spec):
    most = lib.SCHEMES.value(spec, 'max_staleness')
    lag = lib.staleness(_make(spec))
    self.assertEqual(lag.max(), most)
    free = lib.staleness(_make(lib.SCHEMES.changed(spec, max_staleness=None)))
    self.assertGreater(free.max(), most)

  def test_staleness_of_arrivals_is_bounded_by_speeds(self):
    schedule = _make('async')
    lag = lib.staleness(schedule)[:, 0]
    exact = _rational(10, 80)
    for i, t in enumerate(exact):
      most = sum(math.floor(t / u) + 1 for j, u in enumerate(exact) if j != i)
      self.assertLessEqual(lag[schedule.participants[:, 0] == i].max(), most)

  def test_staleness_factors(self):
    np.testing.assert_allclose(
      lib.staleness_factor([0, 3, 8], power=0.5), [1, 1 / 2, 1 / 3]
    )
    np.testing.assert_allclose(
      lib.staleness_factor([0, 2, 3, 6], 'hinge', power=2.0, grace=2.0),
      [1, 1, 1 / 3, 1 / 9],
    )
    schedule = _make('fedasync(alpha=0.5, staleness=poly, power=1.0)')
    lag = lib.staleness(schedule)
    np.testing.assert_allclose(schedule.weights, 0.5 / (1.0 + lag))
    self.assertTrue(schedule.mixes)
    plain = _make('fedbuff(5, weights=identical)')
    less = _make('fedbuff(5, weights=identical, discount=sqrt)')
    np.testing.assert_allclose(
      less.weights, plain.weights / np.sqrt(1 + lib.staleness(plain))
    )

  def test_windows_hold_all_aggregations(self):
    schedule = _make('fedfix(0.2)', horizon=10.0)
    ends = lib.window_ends(schedule, 20)
    # An aggregation at the end of a window belongs to it, whatever floats say.
    want = [math.floor(Fraction(k, 2) / Fraction(1, 5)) for k in range(1, 21)]
    self.assertEqual(ends.tolist(), want)

  @parameterized.parameters(
    ('fedfix(0)', TAU, 10.0, r'fedfix needs delta_t > 0, got 0'),
    ('fedfix(-0.2)', TAU, 10.0, r'fedfix needs delta_t > 0, got -0.2'),
    ('fedfix(nan)', TAU, 10.0, r'fedfix needs delta_t > 0, got nan'),
    ('fedfix', TAU, 10.0, "needs the option 'delta_t'"),
    ('fedbuff', TAU, 10.0, "needs the option 'buffer_size'"),
    ('fedbuff(0)', TAU, 10.0, 'buffer_size from 1 to num_clients = 10; got 0'),
    ('fedbuff(11)', TAU, 10.0, 'from 1 to num_clients = 10; got 11'),
    ('async(weights=even)', TAU, 10.0, "weights='even' is unknown"),
    ('async(weigths=weight)', TAU, 10.0, "Did you mean 'weights'"),
    ('asinc', TAU, 10.0, "Did you mean 'async'"),
    (
      'async', TAU, 0.1,
      'horizon 0.1 ends before the first client returns at 0.2',
    ),
    ('fedfix(1e-6)', TAU, 100.0, 'holds more than 10000000 aggregations'),
    (
      'async', lib.timing([1.0, 2.0], leave=0.5), 9.0,
      'no client ever returns',
    ),
    ('fedfix(0.5)', TAU, 0.3, 'ends before the first aggregation at 0.5'),
    ('fedavg', TAU, 0.5, 'horizon 0.5 ends before fedavg aggregates anything'),
    ('async', TAU, -1.0, r'horizon must lie in \(0.0, inf\); got -1.0'),
    ('async', TAU, math.inf, r'horizon must lie in .*; got inf'),
    ('async', TAU, 'long', 'horizon must be a number'),
    ('async', [1.0, 2.0, 3.0, 0.0], 9.0,
     'compute time of client 3 is 0.0; must be > 0'),
    ('async', [1.0, math.nan], 9.0, 'compute time of client 1 is nan'),
    ('async', [1.0, math.inf], 9.0, 'compute time of client 1 is inf'),
    ('async', [1.0, 1e-12], 9.0, 'at least the resolution of the clock, 1e-09'),
    (
      'fedbuff(1)', [1.0, 50.0], 9.0,
      'client 1 never takes part within the horizon, so that fedbuff',
    ),
    (
      'fedbuff(2, restart=immediate, max_staleness=2)', TAU, 9.0,
      'max_staleness=2 needs restart=flush',
    ),
    (
      'async(max_staleness=8)', TAU, 9.0,
      'max_staleness=8 cannot be kept: 10 messages of which 1 is used at a '
      'time are up to 9 behind',
    ),
    ('fedbuff(2, restart=late)', TAU, 9.0, "restart='late' is unknown"),
    ('fedbuff(2, discount=all)', TAU, 9.0, "discount='all' is unknown"),
    ('fedasync(alpha=0.0)', TAU, 9.0, r'alpha must lie in \(0.0, 1.0\]'),
    ('fedasync(staleness=cliff)', TAU, 9.0, "staleness='cliff' is unknown"),
    ('fedfix(0.2, min_arrivals=11)', TAU, 9.0, 'min_arrivals must be at most'),
    ('async(max_staleness=-1)', TAU, 9.0, 'max_staleness must be at least 0'),
    ('async', 'F-100', 9.0, r'pct_faster must lie in \[0.0, 100.0\)'),
    ('async', 'F-x', 9.0, 'must be F-X with 0 <= X < 100'),
    ('async', 'slow', 9.0, "times='slow' is unknown"),
  )  # fmt: skip
  def test_says_what_is_wrong(self, spec, times, horizon, message):
    n = 10 if isinstance(times, str) else None
    with self.assertRaisesRegex((ValueError, TypeError), message):
      _make(spec, times, horizon, num_clients=n)

  @parameterized.parameters(
    ([0.5, 0.6], 'importance must sum to 1; got 1.1'),
    ([-0.5, 1.5], 'importance of client 0 is -0.5; must be at least 0'),
    ([math.nan, 1.0], 'importance of client 0 is nan'),
    ([1.0], r'importance must have one entry per client, shape \(2,\)'),
  )
  def test_says_what_is_wrong_with_importances(self, p, message):
    with self.assertRaisesRegex(ValueError, message):
      _make('async', [1.0, 0.5], 3.0, importance=p)

  def test_weights_say_what_is_missing(self):
    for scheme, options, message in (
      ('fedfix', {}, 'fedfix needs delta_t'),
      ('fedbuff', {}, 'fedbuff needs buffer_size: a number of clients from 1'),
      ('fedbuff', {'buffer_size': 2}, 'weights=weight needs fraction'),
      ('fedasync', {}, "scheme='fedasync' is unknown"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        lib.aggregation_weights(scheme, 'weight', TAU, **options)


if __name__ == '__main__':
  absltest.main()
