# SPDX-License-Identifier: Apache-2.0
"""A vote on participations, against clients that are played one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import experiment, federated, local, networks, problems, pruning
from jaxdl.core import clients as clients_lib, types
from jaxdl.federated import server

N, STEPS = 3, 4
TASK = networks.regression(networks.mlp((5,), 1), jnp.ones((1, 2)))
OPTIONS = 'benefit=1.0, l1=0.5, l2=0.05, rate=0.5, decay=0.5'
WORK = local.LocalWork(optax.sgd(0.1), num_steps=STEPS)


def cohort_of(**changes):
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  cohort = types.Cohort(
    client_ids=jnp.arange(N),
    data={
      'inputs': draw(N, 6, 2),
      'labels': 3 * draw(N, 6, 1),
      'mask': jnp.ones((N, 6), bool),
    },
    mask=jnp.ones(N, bool),
    weights=jnp.array([0.45, 0.3, 0.25]),
  )
  return cohort.replace(**changes)


@functools.cache
def program(more='', **channel):
  algorithm = federated.make_algorithm(
    f'pruning_game({OPTIONS}{more})',
    TASK,
    N,
    work=WORK,
    channel=server.Channel(**channel),
  )
  return algorithm, jax.jit(algorithm.step)


def played(memory, cohort):
  """θ and s of every client, step by step in float64 NumPy but gradients."""
  slope = jax.jit(jax.grad(TASK.loss))
  out = []
  for k in range(N):
    theta = [
      {n: np.float64(v) for n, v in layer.items()}
      for layer in memory['network']
    ]
    s = np.float64(memory['gates']['0'])
    mean, weight = np.zeros(5), 0.0
    batch = jax.tree.map(lambda x, k=k: x[k], cohort.data)
    for _ in range(STEPS):
      effective = [
        {'kernel': theta[0]['kernel'] * s, 'bias': theta[0]['bias'] * s},
        theta[1],
      ]
      single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), effective)
      grads = jax.tree.map(np.float64, slope(single, batch))
      own = np.concatenate([theta[0]['kernel'], theta[0]['bias'][None]])
      push = np.concatenate([grads[0]['kernel'], grads[0]['bias'][None]])
      g = s * np.sum(own * push, axis=0)
      mean, weight = 0.5 * mean + 0.5 * g, 0.5 * weight + 0.5
      rise = -mean / weight - 0.1 * np.sum(own**2, axis=0) * s - 0.5
      scaled = {n: v * s for n, v in grads[0].items()}
      theta = jax.tree.map(lambda x, d: x - 0.1 * d, theta, [scaled, grads[1]])
      s = np.clip(s + 0.5 * rise, 0, 1)
    out.append((theta, s))
  return out


class VoteTest(parameterized.TestCase):
  @parameterized.parameters('mean', 'median')
  def test_the_server_takes_what_clients_played(self, aggregator):
    algorithm, step = program(aggregator=aggregator)
    state, cohort = algorithm.init(jax.random.key(0)), cohort_of()
    for t in range(2):
      before = jax.device_get(state.memory)
      state, metrics = step(state, cohort, key=jax.random.key(t))
      found = played(before, cohort)
      moved = [s - before['gates']['0'] for _, s in found]
      join = (
        (lambda xs: np.median(xs, axis=0))
        if aggregator == 'median'
        else (lambda xs: np.tensordot(cohort.weights, np.array(xs), 1))
      )
      want = np.clip(before['gates']['0'] + join(moved), 0, 1)
      np.testing.assert_allclose(state.memory['gates']['0'], want, atol=1e-5)
      kernels = [
        theta[0]['kernel'] - before['network'][0]['kernel']
        for theta, _ in found
      ]
      np.testing.assert_allclose(
        state.memory['network'][0]['kernel'],
        before['network'][0]['kernel'] + join(kernels),
        atol=1e-5,
      )
    self.assertGreater(np.ptp(want), 0.05)
    self.assertTrue(np.isfinite(metrics['loss']))
    cut = pruning.prune(state.memory)
    np.testing.assert_allclose(
      algorithm.params(state)[0]['kernel'],
      state.memory['network'][0]['kernel'] * cut['gates']['0'][None],
      atol=1e-6,
    )

  def test_a_majority_puts_out(self):
    algorithm, step = program(', vote=majority')
    state, cohort = algorithm.init(jax.random.key(3)), cohort_of()
    seen = False
    for t in range(3):
      before = jax.device_get(state.memory)
      state, _ = step(state, cohort, key=jax.random.key(t))
      found = np.array([s for _, s in played(before, cohort)])
      share = np.asarray(cohort.weights) @ (found >= 0.01)
      mean = np.asarray(cohort.weights) @ found
      want = np.where(share < 0.5, 0, mean)
      np.testing.assert_allclose(state.memory['gates']['0'], want, atol=2e-5)
      seen |= bool(((share < 0.5) & (mean > 0.01)).any())
    self.assertTrue(seen)  # A mean alone would have kept somebody.

  def test_of_a_tie_one_stays(self):
    method = server.make_method('pruning_game(vote=majority)', TASK, WORK)
    params = method.start(jax.random.key(0))
    memory = method.init(params, N)
    update = jax.tree.map(jnp.zeros_like, method.message(params))
    votes = jnp.array([0.25 - 0.15 - 0.1, -1e-8, 0.0, -0.05, 0.5])
    update['votes'] = {'0': votes}
    _, memory = method.absorb(params, memory, update, None)
    np.testing.assert_array_equal(memory['gates']['0'], [1, 1, 1, 0, 1])

  @parameterized.parameters('', ', vote=majority')
  def test_who_is_absent_has_no_say(self, more):
    algorithm, step = program(more)
    state = algorithm.init(jax.random.key(0))
    cohort = cohort_of()
    mask = jnp.array([True, True, False])
    found = []
    for broken in (0.0, jnp.nan):
      data = jax.tree.map(
        lambda x, b=broken: x.at[2].set(b) if x.dtype == jnp.float32 else x,
        cohort.data,
      )
      there = cohort.replace(mask=mask, data=data)
      found.append(step(state, there, key=jax.random.key(1))[0])
    jax.tree.map(np.testing.assert_array_equal, *found)
    # Without anybody everything stays.
    nobody = cohort.replace(mask=jnp.zeros(N, bool))
    after, _ = step(state, nobody, key=jax.random.key(2))
    jax.tree.map(np.testing.assert_array_equal, after.memory, state.memory)

  def test_sharded_is_unsharded(self):
    cohort = cohort_of()
    cohort = jax.tree.map(lambda x: jnp.concatenate([x, x[:1]]), cohort)
    cohort = cohort.replace(client_ids=jnp.arange(4))
    found = []
    for mesh in (None, clients_lib.clients_mesh(4)):
      algorithm = federated.make_algorithm(
        f'pruning_game({OPTIONS})',
        TASK,
        clients_lib.Clients(4, mesh=mesh),
        work=WORK,
      )
      state = algorithm.init(jax.random.key(0))
      step = jax.jit(algorithm.step)
      found.append(step(state, cohort, key=jax.random.key(1))[0].memory)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-6), *found
    )

  def test_it_runs_on_a_problem(self):
    problem = problems.classification(
      'digits', network='mlp(16)', num_clients=4, batch_size=16
    )
    algorithm = federated.make_algorithm(
      'pruning_game(benefit=10.0, l1=0.3, rate=0.03, vote=majority)',
      problem.task,
      4,
      work=local.LocalWork('sgd(0.3)', num_steps=5),
      channel=server.Channel(aggregator='median'),
    )
    state, history = experiment.train(
      algorithm, problem, num_rounds=30, key=jax.random.key(0), eval_every=30
    )
    self.assertGreater(history['test_accuracy'][-1], 0.7)
    sparsity = float(pruning.sparsity(state.memory['gates']))
    self.assertTrue(0.1 < sparsity < 0.8, sparsity)
    self.assertAlmostEqual(history['sparsity'][-1], sparsity, places=6)

  @parameterized.parameters(
    ('pruning_game(vote=all)', "vote='all' is unknown"),
    ('pruning_game(l1=-1.0)', 'l1 must lie in'),
    ('pruning_game(granularity=layer)', "granularity='layer' is unknown"),
    ('pruning_game(threshold=2.0)', 'threshold must lie in'),
  )
  def test_options_are_checked(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      server.check_variant(spec, WORK, 4)

  def test_without_layers_nothing_can_be_gated(self):
    problem = problems.quadratics(num_clients=4)
    algorithm = federated.make_algorithm(
      'pruning_game', problem.task, 4, work=WORK
    )
    with self.assertRaisesRegex(ValueError, 'nothing can be gated'):
      algorithm.init(jax.random.key(0))


if __name__ == '__main__':
  absltest.main()
