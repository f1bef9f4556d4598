# SPDX-License-Identifier: Apache-2.0
"""Choosing numbers, changing schemes on the way, and training with them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import coding
from jaxdl.core import types

N, MODELS, JOBS = 6, 4, 13


def linear_task():
  """Softmax regression of 3 classes on 4 features."""

  def logits(params, x):
    return x @ params['w'] + params['b'][None]

  def loss(params, batch, *, key=None):
    values = optax.softmax_cross_entropy_with_integer_labels(
      logits(params, batch['inputs']), batch['labels']
    )
    count = jnp.maximum(batch['mask'].sum(), 1)
    return jnp.sum(jnp.where(batch['mask'], values, 0.0)) / count

  def init(key):
    return {'w': jax.random.normal(key, (4, 3)), 'b': jnp.zeros(3)}

  return types.Task(init, loss, lambda params, batch: {})


def batches(seed=0):
  """One batch per job, float32 as data are."""
  rng = np.random.default_rng(seed)
  for _ in range(JOBS):
    x = rng.normal(size=(50, 4)).astype(np.float32)
    yield {
      'inputs': x,
      'labels': rng.integers(0, 3, 50),
      'mask': np.ones(50, bool),
    }


def cohort(batch):
  return types.Cohort(
    client_ids=np.zeros(1, np.int32),
    data={k: v[None] for k, v in batch.items()},
    mask=np.ones(1, bool),
    weights=np.ones(1, np.float32),
  )


def by_hand(starts, rate, momentum):
  """M models in float64, without jax."""
  w = [np.array(p['w'], np.float64) for p in starts]
  b = [np.array(p['b'], np.float64) for p in starts]
  speed = [(np.zeros((4, 3)), np.zeros(3)) for _ in starts]
  for t, batch in enumerate(batches()):
    m = t % MODELS
    x = batch['inputs'].astype(np.float64)
    z = x @ w[m] + b[m]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(50), batch['labels']] -= 1.0
    speed[m] = (
      momentum * speed[m][0] + x.T @ p / 50,
      momentum * speed[m][1] + p.sum(axis=0) / 50,
    )
    w[m] = w[m] - rate * speed[m][0]
    b[m] = b[m] - rate * speed[m][1]
  return w, b


def delays(rounds=40, seed=0):
  return coding.gilbert_elliott_delays(
    np.random.default_rng(seed), N, rounds, p_bad=0.2
  )


def train(plan, **options):
  algorithm = coding.coded_training(
    linear_task(),
    plan,
    optimizer=optax.sgd(0.5, momentum=0.9),
    num_models=MODELS,
    **options,
  )
  state, seen = algorithm.init(jax.random.key(0)), []
  for batch in batches():
    state, metrics = algorithm.step(state, cohort(batch), key=jax.random.key(1))
    seen.append(metrics)
  return algorithm, state, seen


class TrainingTest(parameterized.TestCase):
  @parameterized.parameters(
    ('uncoded', 'probe(10)'),
    ('gc(2)', 'probe(10)'),
    ('gc_rep(1)', 'probe(10)'),
    ('sr_sgc(2, 3, 4)', 'probe(10)'),
    ('m_sgc(2, 3, 3)', 'probe(10)'),
    ('m_sgc(1, 2, 6)', 'probe(10)'),
    ('m_sgc', 'switch(5)'),
  )
  def test_models_are_those_of_training_without_codes(self, spec, select):
    plan = coding.plan_run(
      spec, delays(), JOBS, select=select, wait_policy='conform'
    )
    if spec != 'uncoded':
      self.assertGreater(plan.stragglers_per_round, 0)
    algorithm, state, seen = train(plan)
    starts = [
      linear_task().init(jax.random.fold_in(jax.random.key(0), m))
      for m in range(MODELS)
    ]
    w, b = by_hand(starts, 0.5, 0.9)
    for m in range(MODELS):
      for got, want in zip(state['params'][m], (b[m], w[m]), strict=True):
        self.assertEqual(got.dtype, np.float64)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    self.assertLess(max(s['decode_gap'] for s in seen), 1e-10)
    times = [s['time_s'] for s in seen]
    self.assertEqual(times, sorted(times))
    self.assertEqual(times[-1], plan.job_done_s.max())
    found = algorithm.params(state)
    self.assertEqual(
      (found['w'].shape, found['w'].dtype), ((4, 4, 3), 'float32')
    )
    with self.assertRaisesRegex(ValueError, 'plan has 13 jobs'):
      algorithm.step(state, cohort(next(batches())), key=jax.random.key(0))

  def test_not_waiting_is_biased(self):
    plan = coding.plan_run('no_wait', delays(), JOBS, select='hindsight')
    _, _, seen = train(plan)
    self.assertGreater(max(s['decode_gap'] for s in seen), 0.01)

  def test_delays_need_models(self):
    plan = coding.plan_run('m_sgc(2, 3, 3)', delays(), JOBS, select='hindsight')
    message = 'delay T=3 needs at least 4 interleaved models'
    with self.assertRaisesRegex(ValueError, message):
      coding.coded_training(
        linear_task(), plan, optimizer=optax.sgd(0.1), num_models=3
      )
    # With as many models as it says, nobody reads what is not there yet.
    for run in plan.runs:
      late = run.job_done_round - np.arange(JOBS)
      self.assertLess(late.max(), 4)

  def test_wrong_things_are_refused(self):
    plan = coding.plan_run('gc(1)', delays(), JOBS, select='hindsight')
    options = {'optimizer': optax.sgd(0.1), 'num_models': 1}
    with self.assertRaisesRegex(TypeError, 'task must be a Task'):
      coding.coded_training(None, plan, **options)
    with self.assertRaisesRegex(TypeError, 'plan must be a Plan'):
      coding.coded_training(linear_task(), plan.runs[0], **options)
    with self.assertRaisesRegex(TypeError, 'optimizer must be'):
      coding.coded_training(linear_task(), plan, optimizer=0.1, num_models=1)
    algorithm = coding.coded_training(linear_task(), plan, **options)
    wide = cohort(next(batches()))
    wide = wide.replace(client_ids=np.zeros(2, np.int32))
    with self.assertRaisesRegex(ValueError, 'a master has the batch'):
      algorithm.step(
        algorithm.init(jax.random.key(0)), wide, key=jax.random.key(0)
      )


class SelectionTest(parameterized.TestCase):
  def test_candidates_are_the_grid(self):
    pairs = {(s.burst_length, s.window) for s in coding.candidates('m_sgc', 64)}
    self.assertEqual(pairs, {(1, 2), (1, 3), (1, 4), (2, 3)})
    found = coding.candidates('sr_sgc', 64)
    self.assertEqual({s.delay for s in found}, {1, 2, 3})
    self.assertLen(found, 3 * 3 * 33)
    texts = lambda *args, **kw: [s.text for s in coding.candidates(*args, **kw)]
    self.assertEqual(
      texts('gc_rep', 6), ['gc_rep(0)', 'gc_rep(1)', 'gc_rep(2)']
    )
    self.assertEqual(
      texts('m_sgc(window=3, num_stragglers=2)', 6),
      ['m_sgc(1, 3, 2)', 'm_sgc(2, 3, 2)'],
    )
    self.assertLen(texts('m_sgc(1, 2)', 6, max_stragglers=6), 7)
    self.assertEqual(
      texts('m_sgc(1, 2, code=repetition)', 6),
      [f'm_sgc(1, 2, {k}, code=repetition)' for k in range(3)],
    )

  @parameterized.parameters(
    ('m_sgc', {'max_delay': 0}, 'has no choice of burst_length, window'),
    ('m_sgc(window=9)', {}, 'has no choice'),
    ('m_sgc(2, 3, 1)', {'max_delay': 2}, 'delay T=3, more than max_delay=2'),
    ('gc(9)', {}, 'num_stragglers must be at most 5'),
    ('gc', {'max_stragglers': 7}, 'max_stragglers must be at most 6'),
  )
  def test_impossible_grids(self, spec, options, message):
    with self.assertRaisesRegex(ValueError, message):
      coding.candidates(spec, 6, **options)

  def test_the_best_of_a_probe_is_picked(self):
    probe = delays(60)
    schemes = coding.candidates('m_sgc', N)
    options = {'load_slope': 2.0, 'wait_policy': 'all'}
    picked = coding.select(schemes, probe, 500, **options)
    times = coding.estimated_times(schemes, probe, 500, **options)
    self.assertEqual(picked, schemes[np.argmin(times)])
    # The estimate is a mean round, times as many as there will be.
    run = coding.simulate(picked, probe, 60 - picked.delay, **options)
    np.testing.assert_allclose(
      times.min(), run.total_s / 60 * (500 + picked.delay)
    )
    with self.assertRaisesRegex(ValueError, 'schemes is empty'):
      coding.select([], probe, 500)

  def test_a_probe_is_not_part_of_the_run(self):
    d = delays(60)
    plan = coding.plan_run('gc', d, 30, select='probe(20)', load_slope=2.0)
    picked = coding.select(
      coding.candidates('gc', N), d[:, :20], 30, load_slope=2.0
    )
    self.assertEqual(plan.scheme, picked)
    want = coding.simulate(picked, d[:, 20:], 30, load_slope=2.0)
    self.assertEqual(plan.total_s, want.total_s)
    best = coding.plan_run(
      'gc', d[:, 20:], 30, select='hindsight', load_slope=2.0
    )
    self.assertLessEqual(best.total_s, plan.total_s)

  def test_switching_on_the_way(self):
    d = delays(60)
    plan = coding.plan_run('m_sgc', d, 40, select='switch(15)', load_slope=2.0)
    first, second = plan.runs
    self.assertEqual(first.scheme.name, 'uncoded')
    self.assertEqual(plan.scheme.name, 'm_sgc')
    self.assertEqual(plan.num_jobs, 40)
    self.assertEqual([plan.place(t) for t in (0, 14, 15, 39)],
                     [(0, 0), (0, 14), (1, 0), (1, 24)])  # fmt: skip
    uncoded = coding.simulate(
      coding.make_scheme('uncoded', N), d, 15, load_slope=2.0
    )
    np.testing.assert_array_equal(
      first.round_durations, uncoded.round_durations
    )
    again = coding.simulate(second.scheme, d[:, 15:], 25, load_slope=2.0)
    np.testing.assert_array_equal(
      plan.job_done_s[15:], uncoded.total_s + again.job_done_s
    )
    self.assertEqual(plan.total_s, uncoded.total_s + again.total_s)
    short = coding.plan_run('m_sgc', d, 10, select='switch(15)')
    self.assertEqual(short.scheme.name, 'uncoded')
    plain = coding.plan_run('uncoded', d, 40, select='switch(15)')
    self.assertLen(plain.runs, 1)

  @parameterized.parameters(
    ({'select': 'probe(0)'}, 'num_rounds must be at least 1'),
    ({'select': 'guess'}, "select='guess' is unknown"),
    ({'num_jobs': 38}, r'R >= 41 .*; got shape \(6, 40\)'),
    ({'num_jobs': 28, 'select': 'probe(10)'}, r'R >= 41 '),
    ({'num_jobs': 0}, 'num_jobs must be at least 1'),
  )
  def test_bad_plans(self, options, message):
    options = {'num_jobs': 20, 'select': 'hindsight', **options}
    with self.assertRaisesRegex(ValueError, message):
      coding.plan_run('m_sgc', delays(40), **options)

  def test_slopes_are_fitted(self):
    loads = np.array([0.01, 0.1, 0.3])
    slope, base = coding.fit_load_slope(loads, 0.6 + 2.2 * loads)
    np.testing.assert_allclose((slope, base), (2.2, 0.6))
    with self.assertRaisesRegex(ValueError, 'at least two that differ'):
      coding.fit_load_slope([0.1, 0.1], [1.0, 2.0])
    with self.assertRaisesRegex(ValueError, r'times must be float\[K\]'):
      coding.fit_load_slope([0.1, 0.2], [1.0])


if __name__ == '__main__':
  absltest.main()
