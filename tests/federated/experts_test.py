# SPDX-License-Identifier: Apache-2.0
"""Clients that send experts: what travels, and whom an average is over."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import federated, local, networks
from jaxdl.core import types
from jaxdl.federated import server
from jaxdl.perception import experts
from jaxdl.problems import expert_layers, text

N = 3
WORK = local.LocalWork(optax.sgd(0.1), num_steps=2)
NETWORK = networks.mlp(4, 1)


def size(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


@functools.cache
def task():
  """Experts that clients use unevenly, for every sign of an input one copy."""
  x = jnp.zeros((1, 2))
  params = NETWORK.init(jax.random.key(0), x)
  moe = experts.dense_to_moe(
    NETWORK, params, x, key=jax.random.key(1), experts='moe(4, top_k=2)'
  )
  router = jnp.array([[1.0, 0.0]] * 2 + [[-1.0, 0.0]] * 2)
  moe.params['experts']['0']['router'] = router
  plain = networks.regression(moe.network, x)
  return plain._replace(init=lambda key: moe.params)


def cohort(signs, mask=(True,) * N):
  """Clients whose first inputs have a sign each."""
  rng = np.random.default_rng(0)
  x = np.abs(rng.normal(size=(N, 5, 2))) + 0.5
  x[..., 0] *= np.array(signs, float)[:, None]
  return types.Cohort(
    client_ids=jnp.arange(N),
    data={
      'inputs': jnp.asarray(x, jnp.float32),
      'labels': jnp.asarray(rng.normal(size=(N, 5, 1)), jnp.float32),
    },
    mask=jnp.asarray(mask),
    weights=jnp.array([0.5, 0.3, 0.2]),
  )


@functools.cache
def programs(name, **channel):
  algorithm = federated.make_algorithm(
    name, task(), N, work=WORK, channel=server.Channel(**channel)
  )
  return algorithm, jax.jit(algorithm.step)


def changes(method, data):
  """What one round changes in the experts and in all else."""
  algorithm, step = programs(method)
  state = algorithm.init(jax.random.key(0))
  after, metrics = step(state, data, key=jax.random.key(1))
  change = jax.tree.map(
    jnp.subtract, algorithm.params(after), algorithm.params(state)
  )
  return change, metrics


class UsageTest(absltest.TestCase):
  def test_who_sends_an_expert_nothing_does_not_dilute_it(self):
    data = cohort((1, -1, -1))
    own = [
      changes(
        'fedavg', data.replace(mask=jnp.arange(N) == k, weights=jnp.ones(N))
      )[0]
      for k in range(N)
    ]
    got, _ = changes('expert_fedavg', data)
    plain, _ = changes('fedavg', data)
    kernels = lambda tree: np.asarray(tree['experts']['0']['in']['kernel'])
    # The first copy is that of client 0 alone, the second of the others.
    np.testing.assert_allclose(kernels(got)[:2], kernels(own[0])[:2], atol=1e-6)
    np.testing.assert_allclose(
      kernels(got)[2:],
      0.6 * kernels(own[1])[2:] + 0.4 * kernels(own[2])[2:],
      atol=1e-6,
    )
    # A plain average takes the others' zeros in.
    np.testing.assert_allclose(
      kernels(plain)[:2], 0.5 * kernels(own[0])[:2], atol=1e-6
    )
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
      got['network'],
      plain['network'],
    )
    np.testing.assert_allclose(
      got['experts']['0']['router'], plain['experts']['0']['router'], atol=1e-6
    )

  def test_what_nobody_uses_stays(self):
    got, metrics = changes('expert_fedavg', cohort((1, 1, 1)))
    for layer in ('in', 'out'):
      for leaf in jax.tree.leaves(got['experts']['0'][layer]):
        np.testing.assert_array_equal(leaf[2:], 0.0)
        self.assertGreater(float(jnp.abs(leaf[:2]).max()), 0)
    # Two experts, evenly.
    np.testing.assert_allclose(metrics['usage_entropy'], np.log(2), rtol=1e-5)

  def test_nobody_there_changes_nothing(self):
    got, _ = changes('expert_fedavg', cohort((1, 1, -1), mask=[False] * N))
    for leaf in jax.tree.leaves(got):
      np.testing.assert_array_equal(leaf, 0.0)

  def test_a_network_without_experts(self):
    plain = networks.regression(NETWORK, jnp.zeros((1, 2)))
    algorithm = federated.make_algorithm('expert_fedavg', plain, N, work=WORK)
    with self.assertRaisesRegex(ValueError, 'finds no experts'):
      algorithm.init(jax.random.key(0))


@functools.cache
def texts():
  """Prompts for a tiny transformer, dense and with experts."""
  dense = text(
    'sentiment(num_texts=24, length=32, width=8, depth=1, num_heads=2)',
    pretraining='adam(steps=2, text_bytes=2000)',
    num_clients=N,
    batch_size=4,
    num_batches=2,
    eval_batch_size=100,
  )
  mixed = expert_layers.with_experts(dense, 'moe(4, top_k=2)')
  return dense, mixed


class TransformerTest(parameterized.TestCase):
  """A federated transformer whose clients send experts and routers."""

  @parameterized.parameters(
    'expert_fedavg',
    'scaffold',
    'fedavg@channel(compressor=top_k(keep=0.1), error_feedback=True)',
  )
  def test_two_rounds(self, spec):
    _, problem = texts()
    method, channel = server.make_variant(spec, problem.task, WORK)
    algorithm = server.federate(method, N, channel)
    state = algorithm.init(jax.random.key(0))
    start, step = algorithm.params(state), jax.jit(algorithm.step)
    data = jax.tree.map(lambda x: x[0], problem.data)
    for turn in range(2):
      drawn = problem.cohort(jax.random.key(1), data, turn + 1)
      rows = jax.tree.map(lambda x: x.reshape(N, -1, *x.shape[3:]), drawn.data)
      state, metrics = step(
        state, drawn.replace(data=rows), key=jax.random.key(turn)
      )
    params = algorithm.params(state)
    self.assertEmpty(jax.tree.leaves(params['network']))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), params, start)
    router = moved['experts']['block_0/perceptron_in'].pop('router')
    self.assertTrue(router)
    self.assertTrue(all(jax.tree.leaves(moved)))
    self.assertTrue(np.isfinite(metrics['loss']))
    values = problem.evaluate(jax.tree.map(lambda x: x[None], params))
    self.assertBetween(float(values['accuracy'][0]), 0.0, 1.0)
    self.assertGreater(float(values['load_balance'][0]), 0.9)

  def test_what_travels_is_counted(self):
    _, problem = texts()
    start = problem.task.init(jax.random.key(0))
    # Of width 8 and hidden width 32: 2 copies, and 4 rows of a router.
    self.assertEqual(size(start), 2 * (8 * 32 + 32 + 32 * 8 + 2 * 8) + 4 * 8)
    for spec, more in (('fedavg', 0), ('expert_fedavg', 4)):
      method = server.make_method(spec, problem.task, WORK)
      exchange = server.make_exchange(method, N)
      up, down = exchange.bits(start)
      self.assertEqual(up, 32 * (size(start) + more))
      self.assertEqual(down, 32 * size(start))

  def test_the_start_is_the_pretrained_model(self):
    dense, mixed = texts()
    key = jax.random.key(0)
    batched = lambda tree: jax.tree.map(lambda x: x[None], tree)
    want = dense.evaluate(batched(dense.task.init(key)))
    got = mixed.evaluate(batched(mixed.task.init(key)))
    np.testing.assert_allclose(got['loss'], want['loss'], rtol=1e-5)


class PartsTest(absltest.TestCase):
  def test_layers_may_be_trained_alone_and_used_twice(self):
    x = jnp.zeros((1, 3))
    dense = networks.mlp((4, 3, 4), 3)
    params = dense.init(jax.random.key(0), x)
    moe = experts.dense_to_moe(
      dense, params, x, key=jax.random.key(1), experts='moe(4, top_k=2)',
      layers=('0', '2'),
    )  # fmt: skip

    def twice(params, x, **options):
      once = moe.network.apply(params, x, **options)
      return moe.network.apply(params, once, **options)

    whole = networks.regression(types.Network(lambda *_: moe.params, twice), x)
    task = experts.trainable_task(whole, moe.params, 'experts/2')
    method = server.expert_fedavg(task, WORK)
    start = method.start(jax.random.key(0))
    self.assertEqual(list(method.message(start)['usage']), ['2'])
    data = {'inputs': jnp.ones((5, 3)), 'labels': jnp.ones((5, 3))}
    cohort = types.Cohort(
      client_ids=jnp.arange(2),
      data=jax.tree.map(lambda x: jnp.stack([x, 2 * x]), data),
      mask=jnp.ones(2, bool),
      weights=jnp.full(2, 0.5),
    )
    algorithm = federated.make_algorithm('expert_fedavg', task, 2, work=WORK)
    state = algorithm.init(jax.random.key(0))
    state, told = algorithm.step(state, cohort, key=jax.random.key(1))
    self.assertTrue(np.isfinite(float(told['usage_entropy'])))
    moved = algorithm.params(state)['experts']['2']['in']['kernel']
    self.assertGreater(
      float(jnp.abs(moved - moe.params['experts']['2']['in']['kernel']).max()),
      0,
    )


if __name__ == '__main__':
  absltest.main()
