# SPDX-License-Identifier: Apache-2.0
"""Gradients of memory-one strategies, and the problem that learners share."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import experiment
from jaxdl.agents import coplayers
from jaxdl.core import types
from jaxdl.experiment import config as config_lib
from jaxdl.problems import games as games_lib

ARENA = coplayers.arena(prior='corners(0.05)', num_rounds=5)
COHORT = types.Cohort(
  client_ids=jnp.arange(1),
  data={},
  mask=jnp.ones((1,), bool),
  weights=jnp.ones((1,)),
)


def values64(x, y, discount=0.96):
  """Both players' discounted sums, in float64 NumPy."""
  sigmoid = lambda v: 1 / (1 + np.exp(-v))
  p, q = sigmoid(x), sigmoid(y)[[0, 1, 3, 2, 4]]
  joint = lambda a, b: np.array(
    [a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b)]
  )
  matrix = np.stack([joint(p[i], q[i]) for i in range(1, 5)])
  share = np.linalg.solve(np.eye(4) - discount * matrix.T, joint(p[0], q[0]))
  own = np.array([1.0, -1.0, 2.0, 0.0])
  return np.array([share @ own, share @ own[[0, 2, 1, 3]]])


def slope64(fn, x, step=1e-5):
  return np.array(
    [(fn(x + step * e) - fn(x - step * e)) / (2 * step) for e in np.eye(5)]
  )


class LolaTest(parameterized.TestCase):
  def test_exact_gradients_equal_differences(self):
    x, y = np.random.default_rng(0).normal(size=(2, 5))
    logits, game = jnp.asarray(np.stack([x, y])), coplayers.prisoner()
    np.testing.assert_allclose(
      coplayers.strategy_values(*logits, game), values64(x, y), rtol=1e-4
    )
    want = [
      slope64(lambda v: values64(v, y)[0], x),
      slope64(lambda v: values64(v, x)[0], y),
    ]
    found = coplayers.naive_gradients(logits, game)
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-3)
    same = coplayers.lola_gradients(logits, game, lookahead=0.0)
    np.testing.assert_allclose(found, same, atol=1e-5)

    def ahead(mine, other, eta=0.5):
      step = slope64(lambda v: values64(mine, v)[1], other)
      return values64(mine, other + eta * step)[0]

    want = [
      slope64(lambda v: ahead(v, y), x, 1e-4),
      slope64(lambda v: ahead(v, x), y, 1e-4),
    ]
    found = coplayers.lola_gradients(logits, game, lookahead=0.5)
    np.testing.assert_allclose(found, want, rtol=2e-3, atol=2e-3)

  def test_sampled_gradients_are_near_the_exact_ones(self):
    arena = coplayers.arena(num_rounds=30)
    logits = jnp.asarray(
      0.5 * np.random.default_rng(1).normal(size=(2, 5)), jnp.float32
    )
    discount = 0.8  # What is cut off is nothing.
    for lookahead in (0.0, 0.3):
      draw = jax.jit(
        lambda key, eta=lookahead: coplayers.sampled_gradients(
          logits,
          arena,
          lookahead=eta,
          discount=discount,
          batch_size=512,
          key=key,
        )
      )
      found = np.stack([draw(jax.random.key(i)) for i in range(24)])
      want = coplayers.lola_gradients(
        logits, arena.game, lookahead=lookahead, discount=discount
      )
      error = found.std(axis=0) / np.sqrt(len(found))
      gap = np.abs(found.mean(axis=0) - want)
      self.assertLess(float((gap / (error + 5e-3)).max()), 4.5)
      # The part that looks through the other's step is seen.
      if lookahead:
        plain = coplayers.naive_gradients(logits, arena.game, discount=discount)
        self.assertGreater(
          float(jnp.abs(want - plain).max()), 8 * float(error.max())
        )

  def test_second_derivatives_of_the_objective(self):
    """All games of one round, weighed by how likely they are."""
    x = jnp.float32(0.4)
    gain = jnp.array([[1.0], [3.0]])
    p = jax.nn.sigmoid(x)

    def objective(x):
      log_probs = jnp.stack([jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x)])
      # A batch of one for each action, so that there is no baseline.
      each = [
        coplayers.dice_objective(log_probs[i][None, None], gain[i][None])
        for i in range(2)
      ]
      return p * each[0] + (1 - p) * each[1]

    value = lambda x: jax.nn.sigmoid(x) * 1.0 + jax.nn.sigmoid(-x) * 3.0
    for order in (jax.grad, lambda f: jax.grad(jax.grad(f))):
      self.assertAlmostEqual(
        float(order(objective)(x)), float(order(value)(x)), places=5
      )

  def test_gradients_of_few_bits(self):
    logits = np.random.default_rng(0).normal(size=(2, 5)).astype(jnp.bfloat16)
    few, plain = (
      coplayers.lola_gradients(jnp.asarray(logits, kind), coplayers.prisoner())
      for kind in ('bfloat16', 'float32')
    )
    self.assertEqual(few.dtype, jnp.bfloat16)
    scale = float(jnp.abs(plain).max())
    np.testing.assert_allclose(few.astype('f4'), plain, atol=0.02 * scale)

  def test_discounts_of_more_bits_than_rewards(self):
    log_probs, rewards = jnp.zeros((2, 2, 3), jnp.bfloat16)
    objective = lambda x, rate: coplayers.dice_objective(
      x, rewards + jnp.array([[1.0], [0.0]], jnp.bfloat16), discount=rate
    )
    found = jax.grad(objective)(log_probs, jnp.float32(0.5))
    # Half of gamma^t (R_t - R of the other game).
    want = 0.5 * np.outer([1, -1], [1.75, 0.75, 0.25])
    np.testing.assert_allclose(found.astype('f4'), want, rtol=1e-2)

  def test_looking_ahead_cooperates_where_naive_players_defect(self):
    found = {}
    for name in ('naive', 'lola'):
      learner = coplayers.LEARNERS.make(name, ARENA)

      def run(key, learner=learner):
        state, _ = jax.lax.scan(
          lambda s, k: learner.step(s, COHORT, key=k),
          learner.init(key),
          jax.random.split(key, 200),
        )
        p, q = jax.nn.sigmoid(state.logits)
        return coplayers.discounted_returns(
          p, q, ARENA.game, discount=0.96
        ).mean()

      found[name] = jax.jit(jax.vmap(run))(
        jax.random.split(jax.random.key(0), 16)
      )
    self.assertGreater(float(jnp.median(found['lola'])), 0.8)
    self.assertLess(float(jnp.median(found['naive'])), 0.3)

  @parameterized.parameters(
    ('lola(lookahead=-1.0)', 'lookahead must lie in'),
    ('lola(discount=1.0)', 'discount must lie in'),
    ('naive(batch_size=1)', 'batch_size must be at least 2'),
    ('naive(sampled=3)', 'sampled must be True or False'),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      coplayers.LEARNERS.make(spec, ARENA)


class ProblemTest(parameterized.TestCase):
  def test_learners_are_compared_over_seeds(self):
    seeds = (0, 1)
    problem = games_lib.coplayers(
      ARENA, num_games=4, opponents=('all_c',), seeds=seeds
    )
    names = ('lola', 'fixed(policy=all_d)')
    learners = {n: coplayers.LEARNERS.make(n, ARENA) for n in names}
    config = config_lib.BaseConfig(seeds=seeds, num_rounds=2, eval_every=2)
    result = experiment.run(
      experiment.compare(config, problem, learners), config
    )
    rows = [r for r in result.rows if r['split'] == 'test']
    self.assertLen(rows, 8)
    for row in rows:
      if row['variant'] == names[1]:
        self.assertEqual(row['reward_all_c'], 2.0)
        self.assertEqual(row['cooperation_learners'], 0.0)

  def test_anybody_learns_a_strategy(self):
    """Exact gradients of a strategy against the prior, by a plain loop."""
    problem = games_lib.coplayers(ARENA, num_games=4, opponents=())
    params = problem.task.init(jax.random.key(0))
    loss = jax.jit(jax.value_and_grad(problem.task.loss))
    batch = jax.tree.map(
      lambda x: x[0], problem.cohort(jax.random.key(0), {}, 1).data
    )
    values = []
    for _ in range(20):
      value, grads = loss(params, batch)
      params = jax.tree.map(lambda p, g: p - 2.0 * g, params, grads)
      values.append(float(value))
    self.assertLess(values[-1], values[0] - 0.2)
    found = problem.evaluate(jax.tree.map(lambda x: x[None], params))
    self.assertLess(float(found['cooperation_tabular'][0]), 0.5)

  def test_says_what_is_wrong(self):
    with self.assertRaisesRegex(TypeError, 'arena must be an Arena'):
      games_lib.coplayers('prisoner')
    with self.assertRaisesRegex(ValueError, "opponents='tat' is unknown"):
      games_lib.coplayers(opponents=('tat',))


if __name__ == '__main__':
  absltest.main()
