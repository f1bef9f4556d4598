# SPDX-License-Identifier: Apache-2.0
"""What every learner of `agents.ALGORITHMS` keeps, on one tiny game."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import agents
from jaxdl.core import types

PPO = (
  'num_envs=2, num_steps=2, num_epochs=1, num_minibatches=2, '
  'hidden_sizes=(3,), width=3'
)
RETURNS = 'num_envs=2, num_steps=2, truncate=1, hidden_sizes=(3,), width=3'
VALUES = (
  'num_envs=2, num_steps=2, capacity=4, batch_size=2, learning_starts=4, '
  'hidden_sizes=(3,), width=3, target_every=2'
)
SPECS = {
  'random': 'random',
  'maddpg': (
    'maddpg(num_envs=2, num_steps=2, capacity=8, batch_size=4, num_batches=1, '
    'learning_starts=4, hidden_sizes=(3,))'
  ),
  'qmix': f'qmix({VALUES}, embedding=2, hyper_width=2)',
  **{name: f'{name}({VALUES})' for name in ('iql', 'vdn', 'dial')},
  **{
    name: f'{name}({RETURNS})'
    for name in ('reinforce', 'ic', 'iric', 'commnet', 'ic3net')
  },
  **{
    name: f'{name}({PPO})' for name in ('ippo', 'mappo', 'tarmac', 'attention')
  },
  'graph': f'graph({PPO}, communication=graph(num_edges=0))',
  'g2anet': f'g2anet({PPO}, communication=g2anet(width=2))',
  'gossip': f'networked(learner=ippo({PPO}), rule=median)@complete',
}
# One of each kind of loop is compiled, with the richest of channels.
KINDS = ('ic3net', 'qmix', 'gossip', 'maddpg')
# An agent that is dead has rewards of its own alone.
ALONE = ('ic3net', 'gossip', 'maddpg')


def game(n=2):
  """Agents are paid for action 1; the last of several takes no part.

  `params` is what the dead get.
  """

  def start(params, key):
    del params
    return jnp.int32(0), jax.random.normal(key, (n, 2))

  def observe(params, state):
    del params
    alive = jnp.arange(n) < max(n - 1, 1)
    return agents.Seen(state[1], alive=alive)

  def move(params, state, actions, key):
    t, marks = state
    alive = observe(params, state).alive
    reward = jnp.where(alive, (actions == 1) + marks[:, 0], params)
    marks = marks + jax.random.normal(key, (n, 2))
    facts = {'right': jnp.mean((actions == 1).astype(jnp.float32))}
    over = jnp.zeros((), bool)
    return (t + 1, marks), agents.Outcome(reward, over, facts)

  return agents.Environment(
    params=jnp.float32(0.0),
    start=start,
    move=move,
    observe=observe,
    num_agents=n,
    own_size=2,
    max_steps=3,
    num_actions=2,
    facts=(('right', 'mean'),),
  )


@functools.cache
def made(name, n=2):
  return lambda params: (
    agents.make_learner(
      SPECS[name], game(n).replace(params=params), num_updates=4
    ).algorithm
  )


@functools.cache
def runs(name):
  """Three steps: of two seeds side by side, and of each alone."""
  traces = []

  def step(params, state, key):
    traces.append(1)
    return made(name)(params).step(state, None, key=key)

  zero = jnp.float32(0.0)
  keys = jax.random.split(jax.random.key(0), 2)
  start = jax.jit(made(name)(zero).init)
  alone = jax.jit(step)
  many = jax.jit(jax.vmap(step, (None, 0, 0)))
  starts = [start(key) for key in keys]
  own = list(starts)
  side = jax.tree.map(lambda *xs: jnp.stack(xs), *starts)
  found = None
  for t in range(3):
    here = jax.vmap(lambda k, t=t: jax.random.fold_in(k, t))(keys)
    side, found = many(zero, side, here)
    own = [alone(zero, s, k)[0] for s, k in zip(own, here, strict=True)]
  return starts, own, side, found, alone, len(traces)


def plain(tree):
  """Arrays of NumPy, keys as their numbers."""
  is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  return [
    np.asarray(jax.random.key_data(x) if is_key(x) else x)
    for x in jax.tree.leaves(tree)
  ]


class LearnersTest(parameterized.TestCase):
  def test_every_learner_is_here(self):
    self.assertEqual(set(agents.ALGORITHMS) - set(SPECS), set())

  @parameterized.parameters(*KINDS)
  def test_seeds_side_by_side_are_those_of_runs_alone(self, name):
    _, own, side, found, _, _ = runs(name)
    for i, state in enumerate(own):
      for a, b in zip(plain(state), plain(side), strict=True):
        np.testing.assert_allclose(a, b[i], atol=2e-5, rtol=1e-4)
    for key, value in found.items():
      self.assertTrue(np.isfinite(np.asarray(value)).all(), key)
    for leaf in plain(side):
      self.assertTrue(np.isfinite(leaf).all())

  @parameterized.parameters(*KINDS)
  def test_is_traced_once(self, name):
    *_, traces = runs(name)
    # Once alone and once side by side.
    self.assertEqual(traces, 2)

  @parameterized.parameters(*KINDS)
  def test_goes_on_from_what_was_saved(self, name):
    starts, own, _, _, alone, _ = runs(name)
    key = jax.random.split(jax.random.key(0), 2)[0]
    state, zero = starts[0], jnp.float32(0.0)
    for t in range(3):
      # To the host and back.
      kept = jax.tree.map(
        lambda x: (
          jnp.asarray(np.asarray(x))
          if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
          else jax.random.wrap_key_data(np.asarray(jax.random.key_data(x)))
        ),
        state,
      )
      state, _ = alone(zero, kept, jax.random.fold_in(key, t))
    for a, b in zip(plain(state), plain(own[0]), strict=True):
      np.testing.assert_array_equal(a, b)

  @parameterized.parameters(*ALONE)
  def test_the_dead_train_nobody(self, name):
    starts, _, _, _, alone, _ = runs(name)
    # Critics of PPO learn of all steps, and by the second step advantages know.
    values = name == 'gossip'
    params = []
    for reward in (0.0, 50.0):
      state, number = starts[0], jnp.float32(reward)
      for t in range(1 if values else 3):
        state, _ = alone(number, state, jax.random.key(t))
      found = made(name)(number).params(state)
      if values:
        kept = {k: v for k, v in found.items() if not k.startswith('critic')}
        self.assertLess(len(kept), len(found))
        found = kept
      params.append(plain(found))
    for a, b in zip(*params, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-6)

  @parameterized.parameters(*SPECS)
  def test_one_agent_is_enough(self, name):
    algorithm = made(name, 1)(jnp.float32(0.0))
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    after, _ = jax.eval_shape(
      lambda s, k: algorithm.step(s, None, key=k), state, jax.random.key(0)
    )
    shapes = lambda tree: [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]
    self.assertEqual(shapes(after), shapes(state))


class NamesTest(parameterized.TestCase):
  @parameterized.parameters(
    ('ipo', "'ipo'.*Did you mean 'ippo'"),
    ('ippo(num_envs=3, num_steps=1, num_minibatches=2)', 'must divide'),
    ('ippo(num_env=3)', "no option 'num_env'.*Did you mean 'num_envs'"),
    ('ippo(communication=tarmak)', "Did you mean 'tarmac'"),
    ('mappo(num_envs=2, num_minibatches=4)', 'memory is judged in order'),
    ('ippo@rin', "'rin'.*Did you mean 'ring'"),
    ('networked(exchange=all)@ring', "exchange='all'"),
    ('ippo(optimizer=adm)', "'adm'"),
    ('ippo(max_grad_norm=0.0)', 'max_grad_norm must'),
  )
  def test_says_what_is_wrong(self, spec, words):
    with self.assertRaisesRegex(ValueError, words):
      agents.make_learner(spec, game(), num_updates=3)

  def test_flags_are_read_without_a_game(self):
    agents.LEARNERS.check('networked(learner=vdn)@torus', name='algorithms')
    with self.assertRaisesRegex(ValueError, 'algorithms=.*is on nothing'):
      agents.LEARNERS.check('networked', name='algorithms')
    lines = '\n'.join(agents.LEARNERS.lines())
    self.assertIn('qmix(', lines)
    self.assertIn('networked(', lines)

  def test_vectors_are_no_choice(self):
    vectors = game().replace(num_actions=None, action_size=2)
    for name in ('iql', 'qmix', 'dial'):
      with self.assertRaisesRegex(ValueError, 'needs a game with a number'):
        agents.make_learner(name, vectors, num_updates=3)

  def test_a_run_that_diverged_stops(self):
    good = {'loss': np.array([1.0, 2.0])}
    agents.check_finite(good, update=3, variant='ippo')
    with self.assertRaisesRegex(
      FloatingPointError, r'ippo diverged: loss of update 7.*return=\[1.0\]'
    ):
      agents.check_finite(
        {'loss': np.array([np.nan]), 'return': np.array([1.0])},
        update=7,
        variant='ippo',
      )

  def test_several_updates_are_one_step(self):
    drawn = lambda key: jax.random.normal(key)
    one = types.Algorithm(
      lambda key: jnp.zeros(()),
      lambda state, cohort, key: (state + drawn(key), {'x': drawn(key)}),
      lambda state: state,
    )
    key = jax.random.key(1)
    state, found = agents.repeated(one, 3).step(jnp.zeros(()), None, key=key)
    want = [float(drawn(k)) for k in jax.random.split(key, 3)]
    self.assertAlmostEqual(float(state), sum(want), places=5)
    self.assertAlmostEqual(float(found['x']), np.mean(want), places=5)
    self.assertIs(agents.repeated(one, 1), one)


if __name__ == '__main__':
  absltest.main()
