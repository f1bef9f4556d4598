# SPDX-License-Identifier: Apache-2.0
"""What rankings are compared with: averages under attack, against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import aggregators as reference

from jaxdl import local, networks
from jaxdl.core import types
from jaxdl.federated import ranks

N, M, D, K = 20, 9, 4, 3
BAD = 6
GRID = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0)
IDS = {  # Cohorts, by how many of them are malicious.
  0: [10, 7, 12, 9, 19, 8, 13, 15, 11],
  1: [10, 7, 2, 9, 19, 8, 13, 15, 11],
  3: [5, 7, 12, 0, 19, 8, 13, 15, 3],
  4: [5, 7, 12, 0, 19, 8, 1, 15, 3],
}
RULES = {
  'mean': lambda x, f: x.mean(axis=0),
  'trimmed_mean': reference.trimmed_mean,
  'repeated_krum': reference.repeated_krum,
  'sign_majority': lambda x, f: reference.sign_majority(x),
}


def tailored(honest, f, rule):
  """Mean - γ std of the honest with the γ of the grid that hurts most."""
  mean, std = honest.mean(axis=0), honest.std(axis=0)
  sent = lambda g: np.concatenate([honest, np.tile(mean - g * std, (f, 1))])
  hurt = [np.linalg.norm(rule(sent(g), f) - mean) for g in GRID]
  best = next(g for g, h in zip(GRID, hurt, strict=True)
              if h >= max(hurt) * (1 - 1e-6))  # fmt: skip
  return sent(best)


def data():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, K, (N, 5))
  inputs = rng.normal(size=(N, 5, D)) + 2 * np.eye(K, D)[labels]
  return inputs.astype(np.float32), labels


def change(kernel, x, y, rate):
  """One step of softmax regression without a bias, on all examples."""
  logits = x @ kernel
  share = np.exp(logits - logits.max(axis=1, keepdims=True))
  share /= share.sum(axis=1, keepdims=True)
  return -rate * (x.T @ (share - np.eye(K)[y]) / len(y))


def cohort(ids, extra=0):
  """Voters, and rows of advisors who must not matter."""
  inputs, labels = data()
  rows = jnp.asarray([*ids, *[0] * extra], jnp.int32)
  held = {'inputs': jnp.asarray(inputs), 'labels': jnp.asarray(labels)}
  held = {k: v[rows] for k, v in held.items()}
  there = jnp.arange(len(rows)) < M
  return types.Cohort(
    client_ids=rows,
    data=held | {'mask': jnp.ones((len(rows), 5), bool)},
    mask=jnp.ones(len(rows), bool),
    weights=jnp.where(there, 1 / M, 0.0),
  )


def problem_of(network):
  task = networks.classification(
    network, jax.ShapeDtypeStruct((1, D), 'float32'), num_classes=K
  )
  nothing = lambda *args: {}
  return types.Problem(task=task, data=(), cohort=nothing, evaluate=nothing)


@functools.cache
def method(spec, attack='rank_reversal'):
  return ranks.make_method(
    spec,
    networks.mlp((), K, bias=False),
    problem_of,
    M + 2,
    optimizer=local.make_optimizer('sgd(0.1)'),
    averaging_optimizer=local.make_optimizer('sgd(0.5)'),
    batch_size=5,
    num_epochs=1,
    attack=attack,
    num_malicious=BAD,
    num_advisors=2,
    num_clients=N,
  )


@functools.cache
def program(spec, attack='rank_reversal'):
  algorithm = method(spec, attack).algorithm
  return algorithm, jax.jit(lambda s, c: algorithm.step(s, c, key=KEY))


KEY = jax.random.key(1)


def kernel_of(algorithm, state):
  (leaf,) = jax.tree.leaves(algorithm.params(state))
  return np.asarray(leaf, np.float64)


class AveragesTest(parameterized.TestCase):
  @parameterized.parameters(
    ('fedavg', 'mean'),
    ('fedavg@trimmed_mean', 'trimmed_mean'),
    ('fedavg@repeated_krum', 'repeated_krum'),
    ('fedavg(server_optimizer=sgd(0.03), decay=1.0)@sign_majority',
     'sign_majority'),
  )  # fmt: skip
  def test_rounds_are_numpys(self, spec, name):
    """One program, whatever the number of adversaries."""
    inputs, labels = data()
    algorithm, run = program(spec)
    state, rule = algorithm.init(jax.random.key(0)), RULES[name]
    decay = 1.0 if name == 'sign_majority' else 0.9995
    for t, (count, ids) in enumerate(IDS.items()):
      if name == 'mean':  # Differences of long vectors are not exact.
        state, t = algorithm.init(jax.random.key(0)), 0
      kernel = kernel_of(algorithm, state)
      work = lambda i, k=kernel, t=t: change(
        k, inputs[i].astype(float), labels[i], 0.5 * decay**t
      )
      honest = np.stack([work(i).ravel() for i in ids if i >= BAD])
      self.assertLen(honest, M - count)
      if name == 'mean':
        sent = np.tile(-1e5 * honest.mean(axis=0), (count, 1))
        rows = np.concatenate([honest, sent])
      else:
        rows = tailored(honest, count, rule)
      want = rule(rows, count) * (0.03 if name == 'sign_majority' else 1)
      state, metrics = run(state, cohort(ids, extra=2))
      self.assertEqual(int(metrics['num_malicious']), count)
      got = kernel_of(algorithm, state) - kernel
      size = max(1.0, np.abs(want).max())
      np.testing.assert_allclose(got.ravel() / size, want / size, atol=2e-6)
    self.assertEqual(run._cache_size(), 1)

  def test_honest_work_is_averaged(self):
    inputs, labels = data()
    algorithm, run = program('fedavg', attack='none')
    state = algorithm.init(jax.random.key(0))
    kernel = kernel_of(algorithm, state)
    want = np.mean(
      [change(kernel, inputs[i], labels[i], 0.5) for i in IDS[3]], axis=0
    )
    state, _ = run(state, cohort(IDS[3], extra=2))
    np.testing.assert_allclose(
      kernel_of(algorithm, state) - kernel, want, atol=1e-6
    )

  def test_what_messages_weigh(self):
    size = D * K
    for spec, up in (
      ('fedavg', 32 * size),
      ('fedavg@repeated_krum', 32 * size),
      ('scaffold', 64 * size),
      ('fedavg@channel(compressor=sign, aggregator=sign_majority)', size + 32),
    ):
      found = method(spec)
      self.assertAlmostEqual(found.upload_bits, up, delta=32)
    # A model, and how long steps are.
    self.assertEqual(method('fedavg').download_bits, 32 * (size + 1))

  @parameterized.parameters(
    ('fedavg@borda', "fedavg takes the rules mean, .*; got 'borda'"),
    ('frl@mean', "frl takes the rules borda, trimmed, median; got 'mean'"),
    ('fedavg@trimmed_mean(trim=1)', "trimmed_mean has no option 'trim'"),
    ('fedavg@channel(rule=mean)', "channel has no option 'rule'"),
    ('fedmean', "method='fedmean' is unknown"),
    ('fedavg(decay=1.5)', r'decay must lie in \(0.0, 1.0\]'),
    ('fedavg@krum', r'krum needs n >= 2f\+3 \(n=9, f=4\)'),
  )
  def test_refuses(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      method(spec)


if __name__ == '__main__':
  absltest.main()
