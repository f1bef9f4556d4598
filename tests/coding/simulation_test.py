# SPDX-License-Identifier: Apache-2.0
"""Run times: equal to loops over workers and tasks, and fast."""

import pathlib
import tempfile
import time

import numpy as np
from absl.testing import absltest, parameterized
from reference import coding as reference

from jaxdl import coding
from jaxdl.coding import _simulation

N = 6
SPECS = (
  *('uncoded', 'no_wait', 'gc(0)', 'gc(2)', 'gc_rep(1)', 'gc_rep(2)'),
  *('sr_sgc(1, 2, 3)', 'sr_sgc(2, 3, 4)', 'sr_sgc(2, 5, 3)', 'sr_sgc(1, 4, 6)'),
  *('m_sgc(1, 2, 2)', 'm_sgc(2, 3, 3)', 'm_sgc(1, 4, 1)', 'm_sgc(1, 2, 0)'),
  *('m_sgc(2, 3, 6)', 'm_sgc(1, 3, 5)', 'm_sgc(2, 3, 2, model=arbitrary)'),
)


def slow_run(scheme):
  """The same scheme, in loops."""
  return reference.Run(
    scheme.name,
    scheme.num_workers,
    scheme.burst_length,
    scheme.window,
    scheme.num_stragglers,
    model=scheme.model,
  )


def draw(seed, rounds=40, n=N, p_bad=0.15, **options):
  return coding.gilbert_elliott_delays(
    np.random.default_rng(seed), n, rounds, p_bad=p_bad, p_good=0.6, **options
  )


class SimulationTest(parameterized.TestCase):
  @parameterized.product(spec=SPECS, policy=_simulation.WAIT_POLICIES)
  def test_equals_loops(self, spec, policy):
    scheme = coding.make_scheme(spec, N)
    late = waits = 0
    for seed, p_bad in enumerate((0.02, 0.1, 0.3)):
      delays = draw(seed, p_bad=p_bad)
      jobs = 40 - scheme.delay
      run = coding.simulate(
        scheme, delays, jobs, load_slope=2.0, wait_policy=policy
      )
      want = slow_run(scheme).run(
        delays.tolist(), jobs, slope=2.0, policy=policy
      )
      np.testing.assert_allclose(run.round_durations, want.durations)
      self.assertEqual(run.waited.tolist(), want.waited)
      found = [set(np.flatnonzero(row)) for row in run.stragglers]
      self.assertEqual(found, want.late)
      self.assertTrue(all(want.done))
      late, waits = late + run.stragglers.sum(), waits + run.num_wait_outs
      # What has arrived is what the loops say.
      if scheme.name == 'm_sgc':
        p = scheme.num_partial
        plain = run.arrived[:, :p].reshape(jobs, N, -1)
        counts = [
          [len(want.plain.get((t, i), ())) for i in range(N)]
          for t in range(jobs)
        ]
        self.assertEqual(plain.sum(axis=2).tolist(), counts)
        coded = run.arrived[:, p:].reshape(jobs, scheme.num_groups, N)
        for t, m in np.ndindex(jobs, scheme.num_groups):
          self.assertEqual(
            set(np.flatnonzero(coded[t, m])), want.coded.get((t, m), set())
          )
      else:
        for t in range(jobs):
          self.assertEqual(set(np.flatnonzero(run.arrived[t])), want.results[t])
    # Both happen where they can.
    if spec not in ('uncoded', 'gc(0)', 'm_sgc(1, 2, 0)'):
      self.assertGreater(late, 0)
    if spec != 'no_wait':
      self.assertGreater(waits, 0)

  @parameterized.parameters(*_simulation.WAIT_POLICIES)
  def test_many_at_once_equal_one_by_one(self, policy):
    delays = draw(3, 30, n=12)
    schemes = [
      s
      for spec in ('uncoded', 'no_wait', 'gc', 'gc_rep', 'sr_sgc', 'm_sgc')
      for s in coding.candidates(spec, 12, max_delay=4)
    ]
    self.assertGreater(len(schemes), 100)
    options = {'mu': 0.8, 'load_slope': 1.5, 'wait_policy': policy}
    found = coding.total_times(schemes, delays, 20, **options)
    want = [coding.simulate(s, delays, 20, **options).total_s for s in schemes]
    np.testing.assert_allclose(found, want, rtol=1e-12)

  @parameterized.parameters('m_sgc(1, 3, 2)', 'gc(2)', 'uncoded')
  def test_without_stragglers_rounds_take_the_slowest(self, spec):
    delays = 1.0 + 0.5 * np.random.default_rng(0).random((N, 30))
    scheme = coding.make_scheme(spec, N)
    run = coding.simulate(scheme, delays, 20)
    want = delays[:, : 20 + scheme.delay].max(axis=0)
    np.testing.assert_array_equal(run.round_durations, want)
    self.assertEqual(run.job_done_round.tolist(),
                     (np.arange(20) + scheme.delay).tolist())  # fmt: skip

  @parameterized.parameters(*SPECS)
  def test_infinite_patience_waits_for_the_slowest(self, spec):
    delays = draw(0)
    scheme = coding.make_scheme(spec, N)
    run = coding.simulate(scheme, delays, 30, mu=np.inf)
    self.assertFalse(run.stragglers.any() or run.waited.any())
    rounds = 30 + (scheme.delay if scheme.name == 'm_sgc' else 0)
    self.assertAlmostEqual(run.total_s, delays[:, :rounds].max(axis=0).sum())

  @parameterized.parameters(*_simulation.WAIT_POLICIES)
  def test_tolerating_nobody_spreads_jobs_and_waits(self, policy):
    scheme = coding.make_scheme('m_sgc(2, 3, 0)', N)
    self.assertEqual(float(scheme.load), 1 / N)
    delays = draw(1)
    run = coding.simulate(scheme, delays, 30, wait_policy=policy)
    late = (delays > 2 * delays.min(axis=0)).any(axis=0)[: 30 + scheme.delay]
    np.testing.assert_array_equal(run.waited, late)
    self.assertFalse(run.stragglers.any())
    np.testing.assert_array_equal(run.job_done_round, np.arange(30) + 3)

  def test_wait_outs_and_loads_over_lambda(self):
    for seed in range(3):
      delays = draw(seed, 100, n=12, p_bad=0.05)
      waits = [
        coding.simulate(
          coding.make_scheme(f'm_sgc(1, 2, {lam})', 12), delays, 90
        ).num_wait_outs
        for lam in (0, 12)
      ]
      self.assertLess(waits[1], waits[0])
    loads = [coding.load_m_sgc(12, 1, 2, lam) for lam in range(12)]
    self.assertEqual(loads, sorted(set(loads)))

  def test_all_accepted_patterns_of_sr_sgc_decode(self):
    # The rule of rounds that do not count is wider than the paper's model:
    # every pattern that it accepts, of all of them.
    scheme = coding.make_scheme('sr_sgc(1, 2, 2)', 4)
    bits = np.arange(2**12)[:, None] >> np.arange(12) & 1
    patterns = bits.astype(bool).reshape(-1, 3, 4)
    seen = set()
    for pattern in patterns:
      if pattern.all(axis=1).any():
        continue  # Somebody is the fastest.
      delays = np.concatenate([np.where(pattern, 3.0, 1.0), np.ones((1, 4))])
      run = coding.simulate(scheme, delays.T, 3, wait_policy='conform')
      self.assertTrue((run.job_done_round >= 0).all())
      seen.add(run.stragglers[:3].tobytes())
    patterns = np.array([np.frombuffer(x, bool).reshape(3, 4) for x in seen])
    done = coding.deliveries(
      scheme, np.concatenate([patterns, np.zeros((len(seen), 1, 4))], 1), 3
    )
    self.assertTrue((done.done >= 0).all())
    self.assertGreater(len(seen), 100)

  def test_conforming_is_never_slower_for_independent_rounds(self):
    delays = draw(2)
    for spec in ('gc(1)', 'gc_rep(1)', 'uncoded'):
      scheme = coding.make_scheme(spec, N)
      all_, some = (
        coding.simulate(scheme, delays, 40, wait_policy=p).round_durations
        for p in ('all', 'conform')
      )
      self.assertTrue((some <= all_).all())

  def test_load_and_probe(self):
    delays = draw(0)
    scheme = coding.make_scheme('gc(2)', N)
    plain = coding.simulate(scheme, delays, 40, mu=np.inf)
    slope = coding.simulate(scheme, delays, 40, mu=np.inf, load_slope=6.0)
    np.testing.assert_allclose(
      slope.round_durations, plain.round_durations + 6.0 * 3 / N
    )
    back = coding.simulate(
      scheme, delays, 40, mu=np.inf, load_slope=6.0, probe_load=0.5
    )
    np.testing.assert_allclose(back.round_durations, plain.round_durations)
    with self.assertRaisesRegex(ValueError, 'probe_load leaves -'):
      coding.simulate(scheme, delays, 40, load_slope=6.0, probe_load=0.9)

  def test_a_tie_is_not_late(self):
    delays = np.array([[1.0], [2.0], [2.0]])
    run = coding.simulate(coding.make_scheme('gc(1)', 3), delays, 1)
    self.assertFalse(run.stragglers.any())
    self.assertEqual(run.total_s, 2.0)

  @parameterized.parameters(
    ({'num_jobs': 0}, 'num_jobs must be at least 1'),
    ({'mu': 0.0}, r'mu must lie in \(0'),
    ({'mu': -1.0}, r'mu must lie in \(0'),
    ({'load_slope': -1.0}, 'load_slope must lie in'),
    ({'wait_policy': 'some'}, "wait_policy='some' is unknown"),
    (
      {'delays': np.ones((N, 12))},
      r'delays must be float\[6, R\] with R >= 13, .* got shape \(6, 12\)',
    ),
    ({'delays': np.ones((5, 20))}, r'got shape \(5, 20\)'),
    ({'delays': np.ones(20)}, r'got shape \(20,\)'),
    ({'delays': np.zeros((N, 20))}, 'positive and finite; got 0.0'),
    ({'delays': np.full((N, 20), np.inf)}, 'positive and finite; got inf'),
    ({'delays': np.full((N, 20), np.nan)}, 'positive and finite; got nan'),
  )
  def test_bad_input(self, options, message):
    options = {'delays': np.ones((N, 20)), 'num_jobs': 10, **options}
    scheme = coding.make_scheme('m_sgc(2, 3, 2)', N)
    with self.assertRaisesRegex(ValueError, message):
      coding.simulate(scheme, **options)
    with self.assertRaisesRegex(ValueError, message):
      coding.total_times([scheme], **options)

  def test_patterns_must_be_long_enough(self):
    scheme = coding.make_scheme('m_sgc(2, 3, 2)', N)
    with self.assertRaisesRegex(ValueError, r'R >= 8; got shape \(7, 6\)'):
      coding.deliveries(scheme, np.zeros((7, 6)), 5)

  def test_a_search_is_faster_than_loops(self):
    # Some hundredfold on a quiet machine; one scheme of many is timed in loops.
    n, rounds = 64, 43
    delays = draw(0, rounds, n=n, p_bad=0.03)
    schemes = coding.candidates('m_sgc(1, 2)', n, max_stragglers=n)
    timed = []
    for _ in range(3):
      start = time.perf_counter()
      coding.total_times(schemes, delays, 40)
      timed.append(time.perf_counter() - start)
    start = time.perf_counter()
    slow_run(schemes[8]).run(delays.tolist(), 40)
    loop = time.perf_counter() - start
    self.assertGreater(loop * len(schemes), 50 * min(timed))


class DelaysTest(parameterized.TestCase):
  def file(self, name, text):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    path = pathlib.Path(folder) / name
    path.write_text(text)
    return str(path)

  def test_chain_has_its_frequencies(self):
    delays = coding.gilbert_elliott_delays(
      np.random.default_rng(0), 200, 2000, sigma=0.0, p_bad=0.03, p_good=0.85
    )
    bad = delays > 1.0
    np.testing.assert_allclose(bad.mean(), 0.03 / 0.88, rtol=0.03)
    np.testing.assert_allclose(bad[:, 0].mean(), 0.03 / 0.88, atol=0.03)
    after = bad[:, 1:][bad[:, :-1]].mean()
    np.testing.assert_allclose(after, 0.15, atol=0.01)
    self.assertEqual(delays[~bad].min(), 1.0)
    np.testing.assert_allclose(delays[bad].mean(), 3.0, rtol=0.01)
    self.assertBetween(delays[bad].min(), 2.0, 2.01)

  def test_lognormal_has_its_median(self):
    delays = coding.make_delays('lognormal(2, sigma=0.5)', 100, 500, seed=0)
    np.testing.assert_allclose(np.median(delays), 2.0, rtol=0.01)
    np.testing.assert_allclose(np.log(delays).std(), 0.5, rtol=0.01)

  @parameterized.parameters('gilbert_elliott', 'lognormal')
  def test_a_longer_run_has_the_same_start(self, spec):
    short, long = (coding.make_delays(spec, 5, r, seed=1) for r in (10, 30))
    np.testing.assert_array_equal(short, long[:, :10])
    other = coding.make_delays(spec, 5, 10, seed=2)
    self.assertFalse(np.allclose(short, other))

  def test_files(self):
    path = self.file('delays.csv', '1,2.5,3\n2 2 2\n')
    want = [[1.0, 2.5, 3.0], [2.0, 2.0, 2.0]]
    self.assertEqual(coding.load_delays(path).tolist(), want)
    other = path.replace('.csv', '.npy')
    np.save(other, np.array(want, np.float32))
    self.assertEqual(coding.load_delays(other, unit_s=2)[0].tolist(), [2, 5, 6])
    spec = f'file({other!r}, repeat=True)'
    self.assertEqual(
      coding.make_delays(spec, 2, 5, seed=0)[0].tolist(), [1, 2.5, 3, 1, 2.5]
    )
    for spec, n, message in (
      (f'file({other!r})', 2, r'R >= 5, .* got shape \(2, 3\)'),
      (f'file({other!r}, repeat=True)', 3, r'float\[3, R\]'),
      ("file('nowhere.npy')", 2, 'nowhere.npy: expected a matrix of delays'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        coding.make_delays(spec, n, 5, seed=0)

  @parameterized.parameters(
    ('1,2\n3', 'line 2 has 1 numbers, line 1 has 2'),
    ('1,2\n\n3,4,5', 'line 3 has 3 numbers, line 1 has 2'),
    ('1,,2\n3,4,5', "line 1: '' is no number"),
    ('1,2\n\n3,a', "line 3: 'a' is no number"),
    ('', 'it holds no numbers'),
    ('1,2\n1,0', 'got 0.0 for worker 1 in round 1'),
    ('1,-2', 'got -2.0 for worker 0 in round 1'),
    ('1,inf', 'got inf for worker 0 in round 1'),
    ('nan,1', 'got nan for worker 0 in round 0'),
  )
  def test_broken_files_are_named(self, text, message):
    path = self.file('broken.csv', text)
    with self.assertRaisesRegex(ValueError, f'broken.csv: .*{message}'):
      coding.load_delays(path)

  @parameterized.parameters(
    ('gilbert_elliott(p_bad=1.5)', 'p_bad must lie in'),
    ('gilbert_elliott(p_bad=0, p_good=0)', 'must not both be 0'),
    ('gilbert_elliott(slow_low=3, slow_high=2)', 'slow_high must lie in'),
    ('gilbert_elliott(median_s=0)', 'median_s must lie in'),
    ('lognormal(sigma=-1)', 'sigma must lie in'),
    ('lognormal(p_bad=1)', "lognormal has no option 'p_bad'"),
  )
  def test_bad_options(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      coding.make_delays(spec, 3, 3, seed=0)


if __name__ == '__main__':
  absltest.main()
