# SPDX-License-Identifier: Apache-2.0
"""Learners: actors with critics, improvement by prediction, and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.agents import coplayers
from jaxdl.core import types

ARENA = coplayers.arena(prior='corners(0.05)', num_rounds=5)
COHORT = types.Cohort(
  client_ids=jnp.arange(1),
  data={},
  mask=jnp.ones((1,), bool),
  weights=jnp.ones((1,)),
)
TINY = 'hidden=4, embed=2'
PPI = (
  'ppi(world_model="gru(hidden=4, embed=2, batch_size=4, epochs=1)", '
  'horizon=1, num_rollouts=2, phases=2, trajectories_per_phase=4, '
  'pretrain_trajectories=6)'
)


def steps(spec, count, *, arena=ARENA):
  """States and metrics of a learner after each step."""
  learner = coplayers.LEARNERS.make(spec, arena)
  states = [jax.jit(learner.init)(jax.random.key(0))]
  step = jax.jit(lambda s, key: learner.step(s, COHORT, key=key))
  seen = []
  for i in range(count):
    state, metrics = step(states[-1], jax.random.key(i + 1))
    states.append(state)
    seen.append({k: float(v) for k, v in metrics.items()})
  return learner, states, seen


def change(a, b):
  """Largest change of each row of a tree."""
  leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return np.max(
    [
      np.abs(np.asarray(x) - np.asarray(y)).reshape(len(x), -1).max(axis=1)
      for x, y in leaves
    ],
    axis=0,
  )


class Float64Test(parameterized.TestCase):
  @parameterized.parameters(
    f'a2c({TINY}, batch_size=4)',
    f'mechanism({TINY}, batch_sizes=(4, 4, 4))',
    *('lola', 'lola(sampled=True)', 'naive'),
    PPI,
    PPI.replace('"gru(hidden=4, embed=2, batch_size=4, epochs=1)"', 'exact'),
  )
  def test_metrics_are_float64(self, spec):
    with jax.enable_x64(True):
      arena = coplayers.arena(prior='corners(0.05)', num_rounds=3)
      learner = coplayers.LEARNERS.make(spec, arena)
      state = jax.eval_shape(learner.init, jax.random.key(0))
      _, metrics = jax.eval_shape(
        lambda s, key: learner.step(s, COHORT, key=key),
        state,
        jax.random.key(1),
      )
      self.assertEqual({x.dtype.name for x in metrics.values()}, {'float64'})


class A2cTest(parameterized.TestCase):
  @parameterized.parameters(True, False)
  def test_loss_equals_numpy(self, bootstrap_last):
    rng = np.random.default_rng(0)
    size, length = 3, 4
    logits = rng.normal(size=(6, 2))
    worth = rng.normal(size=6)
    # An agent that looks its outputs up: params shift them.
    agent = coplayers.Agent(
      lambda key: None,
      lambda p: p,
      lambda p, label: (),
      lambda p, carry, seen: (
        carry,
        jnp.asarray(logits)[seen] + p[:2],
        jnp.asarray(worth)[seen] + p[2],
      ),
    )
    seen = rng.integers(1, 5, size=(size, length + 1))
    did = rng.integers(0, 2, size=(size, length))
    gain = rng.normal(size=(size, length))
    played = coplayers.Games(
      jnp.asarray(seen[:, :-1]),
      jnp.asarray(did),
      jnp.asarray(gain, jnp.float32),
      jnp.zeros((size, length)),
      jnp.asarray(seen[:, -1]),
    )
    setting = coplayers.SETTINGS['step1']._replace(
      bootstrap_last=bootstrap_last, gae_lambda=0.7, td_lambda=0.4
    )
    loss = lambda p: coplayers.a2c_loss(
      agent, p, played, jnp.zeros((size, 0)), setting
    )[0]

    def over(values, decay):
      after = np.concatenate([values[:, :-1], values[:, -1:]], axis=1)
      if not bootstrap_last:
        after[:, -1] = 0.0
      errors = 0.2 * gain + 0.99 * after[:, 1:] - values[:, :-1]
      out = np.zeros_like(errors)
      total = np.zeros(size)
      for t in reversed(range(length)):
        total = errors[:, t] + 0.99 * decay * total
        out[:, t] = total
      return out

    values = worth[seen]
    advantages = over(values, 0.7)
    targets = values[:, :-1] + over(values, 0.4)
    advantages = (advantages - advantages.mean()) / advantages.std()

    def want(p):
      z = logits[seen[:, :-1]] + p[:2]
      log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
      chosen = np.take_along_axis(log_p, did[..., None], -1)[..., 0]
      entropy = -(np.exp(log_p) * log_p).sum(-1).mean()
      error = ((targets - values[:, :-1] - p[2]) ** 2).mean()
      return -(chosen * advantages).mean() + 0.5 * error - 0.001 * entropy

    start = np.zeros(3)
    self.assertAlmostEqual(float(loss(jnp.zeros(3))), want(start), places=4)
    # Advantages and targets are constants.
    slopes = [(want(1e-4 * e) - want(-1e-4 * e)) / 2e-4 for e in np.eye(3)]
    np.testing.assert_allclose(jax.grad(loss)(jnp.zeros(3)), slopes, atol=1e-3)

  def test_the_table_of_settings(self):
    # Normalised, batch, scale, gamma, lambdas, c_v, c_e, rate, clip.
    want = {
      'step1': (True, 2048, 0.2, 0.99, 0.99, 0.99, 0.5, 0.001, 0.005, 1.0),
      'step2': (False, 2048, 0.05, 0.99, 1.0, 1.0, 0.5, 0.001, 0.005, 1.0),
      'step3': (True, 4096, 0.02, 0.99, 0.95, 0.95, 0.5, 0.001, 0.0005, 1.0),
      'mixed': (True, 4096, 0.02, 0.99, 1.0, 1.0, 0.5, 0.01, 0.001, 1.0),
    }
    names = (
      'normalize',
      'batch_size',
      'reward_scale',
      'discount',
      'td_lambda',
      'gae_lambda',
      'value_cost',
      'entropy_cost',
      'learning_rate',
      'max_norm',
    )
    for name, row in want.items():
      found = tuple(getattr(coplayers.SETTINGS[name], k) for k in names)
      self.assertEqual(found, row)

  def test_learns_to_defect_where_nobody_reacts(self):
    spec = (
      f'a2c(pool="against(opponent=random)", setting=step1, {TINY}, '
      'batch_size=32, num_learners=1, learning_rate=0.05)'
    )
    _, _, seen = steps(spec, 30)
    self.assertLess(seen[-1]['cooperation_pool'], 0.2)
    self.assertGreater(seen[0]['cooperation_pool'], 0.3)

  def test_learners_are_independent(self):
    spec = f'a2c({TINY}, batch_size=4, opponent_id=True)'
    _, states, seen = steps(spec, 1)
    params = states[0].params
    first = jax.tree.map(lambda x: x[0], params)
    second = jax.tree.map(lambda x: x[1], params)
    other = lambda tree: jax.tree.map(lambda x: x[None], tree)
    self.assertGreater(change(other(first), other(second)).max(), 0.1)
    self.assertTrue((change(params, states[1].params) > 0).all())
    self.assertIn('label', params['embed'])
    self.assertLess(seen[0]['entropy'], np.log(2) + 1e-6)

  def test_steps_of_the_mechanism(self):
    spec = f'mechanism(updates=(1, 2), {TINY}, batch_sizes=(4, 4, 4))'
    learner, states, seen = steps(spec, 4)
    self.assertEqual([s['stage'] for s in seen], [1, 2, 3, 3])
    icl = [
      float(change(a.icl.params, b.icl.params).max())
      for a, b in zip(states, states[1:], strict=False)
    ]
    own = [
      float(change(a.extorters.params, b.extorters.params).max())
      for a, b in zip(states, states[1:], strict=False)
    ]
    self.assertEqual([x > 0 for x in icl], [True, False, False, False])
    self.assertEqual([x > 0 for x in own], [False, True, True, True])
    self.assertTrue(np.isnan(seen[0]['reward_learners']))
    self.assertTrue(np.isnan(seen[2]['reward_pool']))
    # In step 3 Adam starts anew.
    count = lambda s: max(
      int(x.max())
      for x in jax.tree.leaves(s.extorters.memory)
      if x.dtype == jnp.int32
    )
    self.assertEqual([count(s) for s in states], [0, 0, 1, 1, 2])
    # Evaluated is who learns.
    first = learner.params(states[1]).params
    np.testing.assert_array_equal(
      first['head']['policy']['kernel'][0],
      states[1].icl.params['head']['policy']['kernel'][0],
    )
    later = learner.params(states[4]).params
    np.testing.assert_array_equal(
      later['head']['policy']['kernel'],
      states[4].extorters.params['head']['policy']['kernel'],
    )

  @parameterized.parameters(
    ('a2c(batch_size=0)', 'batch_size must be at least 1'),
    ('a2c(setting=step4)', 'setting'),
    ('a2c(pool=tabula)', "pool='tabula' is unknown"),
    ('a2c(num_learners=3)', 'num_learners=3 do not pair up'),
    ('a2c(discount=1.5)', 'discount must lie in'),
    ('a2c(learning_rate=0.0)', 'learning_rate must lie in'),
    ('a2c(hidden=0)', 'hidden must be at least 1'),
    ('mechanism(updates=(3, 2))', 'updates must not fall'),
    ('mechanism(updates=(1, 2, 3))', 'updates must be a tuple of 2'),
    ('mechanism(batch_sizes=(1, 2))', 'batch_sizes must be a tuple of 3'),
    ('mechanism(icl=tit)', 'unknown'),
    ('fixed(policy=tit)', 'unknown'),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      coplayers.LEARNERS.make(spec, ARENA)


class PpiTest(parameterized.TestCase):
  def test_data_grow_and_models_start_anew(self):
    learner, states, seen = steps(PPI, 3)
    data = states[0].data
    self.assertEqual(data.actions.shape, (2, 14, 5))
    self.assertEqual(data.actions.dtype, jnp.uint8)
    self.assertEqual(int(data.observations[:, 6:].sum()), 0)
    for i, (start, end) in enumerate(((6, 10), (10, 14))):
      fresh = states[i + 1].data.observations
      self.assertTrue((fresh[:, start:end, 1:] > 0).all())
      np.testing.assert_array_equal(
        fresh[:, :start], states[i].data.observations[:, :start]
      )
    # A phase too many replaces the last games.
    np.testing.assert_array_equal(
      states[3].data.actions[:, :10], states[2].data.actions[:, :10]
    )
    self.assertTrue(np.isfinite(list(seen[-1].values())).all())
    self.assertTrue((change(states[1].params, states[2].params) > 1e-3).all())
    self.assertEqual(int(states[3].phase), 3)
    self.assertEqual(
      set(seen[0]),
      {
        'reward_learners',
        'cooperation_learners',
        'reward_pool',
        'cooperation_pool',
        'other_reward_pool',
        'other_cooperation_pool',
        'loss_observation',
        'loss_reward',
        'loss_action',
      },
    )

  def test_without_tabular_agents_data_start_at_random(self):
    spec = coplayers.LEARNERS.changed(
      PPI, pool='learners', pretrain_trajectories=400, world_model='exact'
    )
    learner = coplayers.LEARNERS.make(spec, ARENA)
    state = jax.jit(learner.init)(jax.random.key(0))
    share = np.asarray(state.data.actions[:, :400]).mean(axis=(0, 1))
    np.testing.assert_allclose(share, 0.5, atol=0.06)

  @parameterized.parameters(
    ({'beta': -1.0}, r'beta must lie in \[0.0'),
    ({'horizon': 0}, 'horizon must be at least 1'),
    ({'num_rollouts': 0}, 'num_rollouts must be at least 1'),
    ({'pretrain_trajectories': 0}, 'pretrain_trajectories must be at least 1'),
    ({'trajectories_per_phase': 1}, 'batch_size=1 leaves a part of pool'),
    ({'world_model': 'lstm'}, "world_model='lstm' is unknown"),
    ({'num_learners': 5}, 'num_learners=5 do not pair up'),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      coplayers.ppi(ARENA, **options)

  def test_labels_of_learners_alone_are_said_to_be_nothing(self):
    with self.assertLogs(level='WARNING') as logs:
      coplayers.ppi(ARENA, pool='learners', opponent_id=True)
    self.assertIn('opponent_id has no effect', logs.output[0])


if __name__ == '__main__':
  absltest.main()
