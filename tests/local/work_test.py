# SPDX-License-Identifier: Apache-2.0
"""What a client does between messages, and who is drawn by weight or trace."""

import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import local
from jaxdl.core import types

TASK = types.Task(
  lambda key: jnp.zeros(()),
  lambda w, batch, *, key=None: (
    jnp.sum(batch['mask'] * (w - batch['x']) ** 2)
    / jnp.maximum(jnp.sum(batch['mask']), 1)
    / 2
  ),
  lambda params, batch: {},
)


class LocalWorkTest(parameterized.TestCase):
  def test_epochs_and_steps(self):
    data = {'x': jnp.ones(7), 'mask': jnp.arange(7) < 5}
    key = jax.random.key(0)
    for options, steps in (
      (dict(batch_size=2), 3),
      (dict(batch_size=2, num_epochs=2), 5),
      (dict(batch_size=2, num_epochs=2, num_steps=4), 4),
      (dict(batch_size=2, num_steps=9), 9),
      (dict(num_steps=6), 6),
      ({}, 1),
    ):
      work = local.LocalWork(optax.sgd(0.5), **options)
      out = work.trainer(TASK)(jnp.zeros(()), data, key)
      self.assertEqual(int(out.num_steps), steps)
      np.testing.assert_allclose(out.params, 1 - 0.5**steps, rtol=1e-6)

  def test_the_mean_gradient_and_a_frozen_optimizer(self):
    data = {'x': jnp.ones(1), 'mask': jnp.ones(1)}
    optimizer = optax.sgd(0.5, momentum=0.9)
    work = local.LocalWork(optimizer, num_steps=3)
    train = work.trainer(TASK, average=True, frozen=True)
    state = jax.tree.map(lambda x: x + 2.0, optimizer.init(jnp.zeros(())))
    out = train(
      jnp.zeros(()), data, jax.random.key(0), opt_state=state,
      correct=lambda g, w, batch, key: 2 * g,
    )  # fmt: skip
    w, seen = 0.0, []
    for _ in range(3):
      seen.append(w - 1)
      w -= 0.5 * (2 * (w - 1) + 0.9 * 2.0)
    np.testing.assert_allclose(out.params, w, rtol=1e-6)
    np.testing.assert_allclose(out.gradient, np.mean(seen), rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, out.opt_state, state)

  @parameterized.parameters(
    (dict(num_epochs=2), 'num_epochs=2 needs a batch_size'),
    (dict(batch_size=0), 'batch_size must be at least 1; got 0'),
    (dict(num_steps=0), 'num_steps must be at least 1'),
    (dict(stragglers=1.5), 'stragglers'),
    (dict(optimizer='sgdd'), 'sgdd'),
  )
  def test_says_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      local.LocalWork(**options)


class SamplersTest(parameterized.TestCase):
  def test_weighted_draws_follow_the_weights(self):
    weights = jnp.array([1.0, 2.0, 5.0, 0.0])
    draw = jax.jit(
      jax.vmap(
        lambda r: (
          local.sample_weighted(jax.random.key(0), r, weights, 2).client_ids
        )
      )
    )
    ids = np.asarray(draw(jnp.arange(4000)))
    self.assertTrue((ids[:, 0] != ids[:, 1]).all())
    self.assertFalse((ids == 3).any())
    # First draws 1/8, 2/8, 5/8; second draws among what is left.
    first = np.array([1, 2, 5]) / 8
    want = [
      first[i] + sum(first[j] * first[i] / (1 - first[j])
      for j in range(3) if j != i)
      for i in range(3)
    ]  # fmt: skip
    got = [(ids == i).any(axis=1).mean() for i in range(3)]
    np.testing.assert_allclose(got, want, atol=0.03)

  def test_a_trace_says_who_is_there(self):
    trace = np.array([[1, 1, 0, 0], [0, 0, 0, 1]])
    folder = self.enterContext(tempfile.TemporaryDirectory())
    path = pathlib.Path(folder) / 'trace.txt'
    path.write_text('1,1,0,0\n0 0 0 1\n')
    np.save(path.with_suffix('.npy'), trace.astype(bool))
    for source in (trace, str(path), path.with_suffix('.npy')):
      for t in range(4):
        sample = local.sample_available(
          jax.random.key(0), t, jnp.ones(4), 3, trace=source
        )
        there = np.flatnonzero(trace[t % 2])
        ids = np.asarray(sample.client_ids)[np.asarray(sample.mask)]
        self.assertEqual(sorted(ids.tolist()), there.tolist())
        np.testing.assert_allclose(sample.weights.sum(), 1.0, rtol=1e-6)

  def test_a_broken_trace(self):
    run = lambda trace: local.sample_available(
      jax.random.key(0), 0, jnp.ones(4), 2, trace=trace
    )
    with self.assertRaisesRegex(ValueError, r'shape \[R, 4\]; got \(1, 3\)'):
      run(np.ones((1, 3)))
    with self.assertRaisesRegex(ValueError, 'zeros and ones'):
      run(np.full((1, 4), 2))
    with self.assertRaisesRegex(ValueError, "trace='nowhere' cannot be read"):
      run('nowhere')
    with self.assertRaisesRegex(ValueError, 'got 2 for client 3 in round 1'):
      run(np.array([[0, 1, 0, 1], [0, 0, 0, 2]]))
    folder = self.enterContext(tempfile.TemporaryDirectory())
    path = pathlib.Path(folder) / 'trace.csv'
    path.write_text('1,1,0,0\n\n0,,0,0,1\n')
    with self.assertRaisesRegex(ValueError, "trace.csv.*line 3: '' is no numb"):
      run(path)


if __name__ == '__main__':
  absltest.main()
