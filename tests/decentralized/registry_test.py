# SPDX-License-Identifier: Apache-2.0
"""Algorithms over links by name, and what they send."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import aggregators, compression, decentralized, mixing
from jaxdl.core import registry, types
from jaxdl.mixing import graphs

N, D, ETA = 8, 5, 0.1
TASK = types.Task(
  lambda key: jax.random.normal(key, (D,)),
  lambda params, batch, *, key=None: jnp.sum((params - batch) ** 2) / 2,
  lambda params, batch: {},
)
COHORT = types.Cohort(
  client_ids=jnp.arange(N),
  data=jnp.asarray(np.random.default_rng(0).normal(size=(N, D)), jnp.float32),
  mask=jnp.ones(N, bool),
  weights=jnp.full(N, 1 / N),
)
OPTIMIZER = optax.sgd(ETA)
# Every name stands here; models that a client sends in rounds 1, 2, 3, 4 by
# hand: the ring has two neighbors, an all-reduce takes 2 (8 - 1) / 8.
SENT = {
  'gossip_sgd': [2, 2, 2, 2],
  'periodic_gossip(period=2)': [0, 2, 0, 2],
  'local_sgd(period=2)': [0, 1.75, 0, 1.75],
  'periodic_averaging(period=2)': [2, 1.75, 2, 1.75],
  'matcha_sgd(budget=1.0)': [2, 2, 2, 2],
  'robust_gossip': [2, 2, 2, 2],
  'd_squared@ring(weights=lazy_metropolis)': [2, 2, 2, 2],
  'extra': [2, 2, 2, 2],
  'gradient_tracking': [4, 4, 4, 4],
  'quasi_global_momentum(0.1)': [2, 2, 2, 2],
  'choco_sgd(compress=top_k(keep=0.4))': [2, 2, 2, 2],
  'push_sum@directed_ring': [1, 1, 1, 1],
  'asynchronous_gossip': [2, 2, 2, 2],  # N events, two models each.
  'asynchronous_gossip(num_events=4)': [1, 1, 1, 1],
  'swarm_sgd': [1, 1, 1, 1],  # N / 2 events.
}


def _after(algorithm, rounds=2):
  state = algorithm.init(jax.random.key(0))
  step = jax.jit(algorithm.step)
  for t in range(rounds):
    state, _ = step(state, COHORT, key=jax.random.key(t))
  return np.asarray(algorithm.params(state))


class AlgorithmsTest(parameterized.TestCase):
  def test_every_one_is_here(self):
    names = {registry.parse(registry.pair(s)[0]).name for s in SENT}
    self.assertEqual(names, set(decentralized.ALGORITHMS))

  @parameterized.parameters(*SENT)
  def test_is_made_and_counted(self, spec):
    algorithm = decentralized.make_algorithm(
      spec, TASK, N, optimizer=OPTIMIZER, unknown=1
    )
    self.assertTrue(algorithm.per_client)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    self.assertEqual(jax.eval_shape(algorithm.params, state).shape, (N, D))
    found = decentralized.messages(spec, N, 4, task=TASK)
    np.testing.assert_allclose(found.models, [0, *np.cumsum(SENT[spec])])
    link = decentralized.make_link(spec, N)
    again = decentralized.messages(spec, link, 4, task=TASK)
    np.testing.assert_array_equal(found.models, again.models)

  def test_a_spec_is_its_parts(self):
    spec = 'gossip_sgd(order=combine_then_adapt)@erdos_renyi(probability=0.6)'
    got = decentralized.make_algorithm(
      spec, TASK, N, optimizer=OPTIMIZER, seed=3
    )
    graph = graphs.erdos_renyi(N, 0.6, np.random.default_rng(3))
    want = decentralized.gossip_sgd(
      TASK, graph, N, optimizer=OPTIMIZER, order='combine_then_adapt'
    )
    np.testing.assert_array_equal(_after(got), _after(want))

  def test_periods_are_what_they_say(self):
    make = functools.partial(
      decentralized.make_algorithm, task=TASK, clients=N, optimizer=OPTIMIZER
    )
    for spec, name in (
      ('local_sgd(period=2)', 'complete'),
      ('periodic_gossip(period=2)', 'ring'),
    ):
      want = mixing.every(mixing.make_mixer(name, N), 2)
      plain = decentralized.gossip_sgd(TASK, want, N, optimizer=OPTIMIZER)
      np.testing.assert_array_equal(_after(make(spec)), _after(plain))

  @parameterized.parameters(
    ('median', aggregators.median),
    (
      'trimmed_mean',
      functools.partial(aggregators.trimmed_mean, num_trimmed=1),
    ),
    (
      'nnm+median',
      aggregators.chain(
        functools.partial(aggregators.nnm, num_byzantine=1), aggregators.median
      ),
    ),
  )
  def test_robust_rules_by_name(self, text, rule):
    got = decentralized.make_algorithm(
      f'robust_gossip(rule="{text}")', TASK, N, optimizer=OPTIMIZER
    )
    want = decentralized.gossip_sgd(
      TASK, mixing.robust_mixer(graphs.ring(N), rule), N, optimizer=OPTIMIZER
    )
    np.testing.assert_array_equal(_after(got), _after(want))

  def test_size_of_compressed_messages(self):
    found = decentralized.messages(
      'choco_sgd(compress=top_k(keep=0.4))', N, 1, task=TASK
    )
    bits = compression.make_compressor('top_k(keep=0.4)').bits(jnp.zeros(D))
    self.assertEqual(found.share, bits / (32 * D))
    self.assertEqual(decentralized.messages('choco_sgd', N, 1).share, 1.0)
    identity = 'gossip_sgd(compress=identity)'
    self.assertEqual(decentralized.messages(identity, N, 1).share, 1.0)
    with self.assertRaisesRegex(ValueError, 'pass task=, which says how large'):
      decentralized.messages('gossip_sgd(compress=sign)', N, 1)

  @parameterized.parameters(
    ('gosip_sgd', "algorithm='gosip_sgd' is unknown.*Did you mean 'gossip_sg"),
    ('gossip_sgd@rign', "topology='rign' is unknown"),
    ('gossip_sgd(period=3)', "gossip_sgd has no option 'period'"),
    ('periodic_gossip(period=0)', ': period must be at least 1; got 0'),
    ('local_sgd(period=0)', ': period must be at least 1; got 0'),
    ('periodic_averaging(period=0)', ': period must be at least 1; got 0'),
    ('extra@ring@path', 'has 2 @'),
    ('quasi_global_momentum', "needs the option 'learning_rate'"),
    ('swarm_sgd@base', 'base.* is no fixed graph: choose one of complete'),
    ('gossip_sgd@random_digraph', 'which metropolis weights do not fit'),
    ('d_squared', 'is -0.3333, D² needs more than -1/3. Use weights=lazy_metr'),
    ('choco_sgd(compress=top_k(kept=1))', "top_k has no option 'kept'"),
    ('robust_gossip(rule=foolsgold)', 'foolsgold has a memory'),
    ('gossip_sgd@ring(weights=send)', 'use push_sum for send weights'),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      decentralized.make_algorithm(spec, TASK, N, optimizer=OPTIMIZER)

  def test_the_grammar_of_flags(self):
    decentralized.VARIANTS.check('gossip_sgd@ring(weights=uniform)')
    decentralized.VARIANTS.check('push_sum')
    with self.assertRaisesRegex(ValueError, "variants='a@ring'|'a' is unknown"):
      decentralized.VARIANTS.check('a@ring', name='variants')


if __name__ == '__main__':
  absltest.main()
