# SPDX-License-Identifier: Apache-2.0
"""Families of problems: their losses in NumPy, their files, what they draw."""

import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import networks, problems
from jaxdl.core import types
from jaxdl.networks import hyper
from jaxdl.problems import amortized

KEY = jax.random.key(0)


def tiny(task, **options):
  """A problem whose hypernetwork is small."""
  variant = options.pop('variant', 'mip(hidden_sizes=3)')
  options = {'batch_size': 4, 'num_gammas': 3} | options
  return amortized.problem(task, variant, **options)


def log_softmax(x):
  x = np.asarray(x, np.float64)
  x = x - x.max(axis=-1, keepdims=True)
  return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def passed(outputs):
  """A network that says the same whatever it sees."""
  return types.Network(
    lambda key, *inputs: {},
    lambda params, gamma, x, **_: jnp.asarray(outputs, jnp.float32),
  )


class LossTest(parameterized.TestCase):
  def test_digits_family_has_two_goals(self):
    logits = np.random.default_rng(0).normal(size=(4, 10))
    made = amortized.digits_family(depth=1, width=3)
    task = amortized.make_task(made, passed(logits))
    labels = np.array([0, 3, 9, 5])
    batch = {
      'inputs': jnp.zeros((4, 64)),
      'labels': jnp.asarray(labels),
      'gamma': jnp.array([[0.25]]),
    }
    log = log_softmax(logits)
    at = np.arange(4)
    want = -(0.75 * log[at, labels] + 0.25 * log[at, 9 - labels])
    np.testing.assert_allclose(task.loss({}, batch), want.mean(), rtol=1e-5)
    # One gamma per example.
    gammas = np.array([0.0, 0.3, 0.6, 1.0])
    want = -((1 - gammas) * log[at, labels] + gammas * log[at, 9 - labels])
    each = batch | {'gamma': jnp.asarray(gammas[:, None], jnp.float32)}
    np.testing.assert_allclose(task.loss({}, each), want.mean(), rtol=1e-5)
    wanted = np.where(gammas < 0.5, labels, 9 - labels)
    np.testing.assert_allclose(
      task.evaluate({}, each)['accuracy'], (logits.argmax(1) == wanted).mean()
    )

  def test_no_loss_of_the_family_is_below_one_half(self):
    # The entropy of gamma over its range, by the grid of evaluation.
    g = hyper.gamma_grid(1, 1000).astype(np.float64)
    entropy = -(g * np.log(g) + (1 - g) * np.log(1 - g))
    np.testing.assert_allclose(entropy.mean(), 0.5, atol=1e-3)

  def test_denoising_sees_its_noise(self):
    made = amortized.denoise(depth=1, width=3)
    clean = made.test['inputs'][:4].astype(np.float64)
    noise = made.test['noise'][:4]
    np.testing.assert_allclose(made.test['noise'].std(), 1.0, atol=0.02)
    seen = made.inputs({'inputs': clean, 'noise': noise}, np.full((4, 1), 0.5))
    np.testing.assert_allclose(seen, clean + 0.5 * noise, rtol=1e-6)
    task = amortized.make_task(made, passed(clean + 0.5 * noise))
    batch = {'inputs': jnp.asarray(clean, jnp.float32), 'noise': noise,
             'gamma': jnp.array([[0.5]])}  # fmt: skip
    np.testing.assert_allclose(
      task.loss({}, batch), 0.25 * (noise**2).mean(), rtol=1e-5
    )

  def test_registration_in_numpy(self):
    made = amortized.registration_toy(depth=1, num_train=5, num_test=3)
    pairs = made.test['inputs'].astype(np.float64)
    moving, fixed = pairs[:, :32], pairs[:, 32:]
    shift = np.random.default_rng(0).normal(size=(3, 32))
    place = np.clip(np.arange(32) + shift, 0, 31)
    moved = np.stack(
      [np.interp(p, np.arange(32), m)
       for p, m in zip(place, moving, strict=True)]
    )  # fmt: skip
    image = ((moved - fixed) ** 2).mean(axis=1)
    rough = (np.diff(shift, axis=1) ** 2).mean(axis=1)
    want = 0.3 * 10 * image + 0.7 * rough
    task = amortized.make_task(made, passed(shift))
    batch = {'inputs': made.test['inputs'], 'gamma': jnp.array([[0.7]])}
    np.testing.assert_allclose(task.loss({}, batch), want.mean(), rtol=1e-4)
    # The true field lays the signals over one another.
    still = ((moving - fixed) ** 2).mean()
    self.assertGreater(still, 1e-3)


class ProblemTest(parameterized.TestCase):
  def test_sizes_of_the_sheet(self):
    made = amortized.digits_family()
    self.assertEqual(made.train['inputs'].shape, (1400, 64))
    self.assertEqual(made.test['inputs'].shape, (397, 64))
    for variant, want in (('default', 865_226), ('mip', 865_242)):
      shapes = jax.eval_shape(amortized.make_task(made, variant).init, KEY)
      count = sum(x.size for x in jax.tree.leaves(shapes))
      self.assertEqual(count, want)
    made = amortized.bayes_digits()
    shapes = jax.eval_shape(amortized.make_task(made, 'mip').init, KEY)
    self.assertEqual(hyper.num_predicted(shapes['hyper']), 4810)
    self.assertEqual(shapes['hyper']['layers'][0]['kernel'].shape, (16, 16))

  @parameterized.parameters(False, True)
  def test_gammas_of_batches_and_examples(self, per_example):
    problem = tiny('bayes_digits(gamma_dim=2)', per_example=per_example)
    data = jax.tree.map(lambda x: x[0], problem.data)
    cohorts = [problem.cohort(KEY, data, t) for t in (1, 2)]
    gammas = [c.data['gamma'][0] for c in cohorts]
    self.assertEqual(gammas[0].shape, (4 if per_example else 1, 2))
    self.assertFalse(np.array_equal(*gammas))
    batch = jax.tree.map(lambda x: x[0], cohorts[0].data)
    loss, grads = jax.jit(jax.value_and_grad(problem.task.loss))(
      problem.task.init(KEY), batch
    )
    self.assertTrue(np.isfinite(loss))
    self.assertTrue(grads['hyper']['layers'][0]['kernel'].any())

  def test_evaluation_is_a_mean_over_gammas(self):
    # 397 examples in batches of 100, the last one padded.
    problem = tiny('digits_family(depth=1, width=3)', eval_batch_size=100)
    params = problem.task.init(KEY)
    found = problem.evaluate(jax.tree.map(lambda x: x[None], params))
    test = problem.test['task'].test
    losses = [
      float(problem.task.evaluate(params, test | {'gamma': g[None]})['loss'])
      for g in np.asarray(problem.test['gammas'])
    ]
    np.testing.assert_allclose(found['loss'], [np.mean(losses)], rtol=1e-5)
    np.testing.assert_allclose(found['worst_loss'], [max(losses)], rtol=1e-5)

  def test_weights_of_the_default_follow_gamma(self):
    problem = tiny('digits_family(depth=1, width=3)', variant='default')
    params = jax.tree.map(lambda x: x[None], problem.task.init(KEY))
    rows = amortized.weight_rows(
      'default', params, step=0, seeds=(5,), gamma_dim=1, num_points=4
    )
    std = np.array([r['std'] for r in rows])
    np.testing.assert_allclose(std / std[0], [1, 2, 3, 4], rtol=1e-4)
    self.assertEqual({r['seed'] for r in rows}, {5})
    none = amortized.weight_rows(
      'single', params, step=0, seeds=(5,), gamma_dim=1
    )
    self.assertEqual(none, [])

  def test_mnist_from_files(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    rng = np.random.default_rng(0)
    for part, count in (('train', 6), ('t10k', 4)):
      images = rng.integers(0, 256, (count, 28, 28), np.uint8)
      labels = rng.integers(0, 10, count).astype(np.uint8)
      for name, x in (('images-idx3', images), ('labels-idx1', labels)):
        head = bytes([0, 0, 8, x.ndim])
        head += np.array(x.shape, '>u4').tobytes()
        with open(f'{folder}/{part}-{name}-ubyte', 'wb') as file:
          file.write(head + x.tobytes())
    problem = tiny('mnist(gamma_dim=2)', data_dir=folder)
    shapes = jax.eval_shape(problem.task.init, KEY)
    made = set(shapes['hyper']['heads'])
    self.assertLen(made, 8)  # Kernels and biases of four convolutions.
    dense = shapes['fixed']['params']['Dense_0']
    self.assertEqual(dense['kernel'].shape, (64, 10))
    whole = jax.eval_shape(
      networks.mip_mnist_cnn().init, KEY, jnp.zeros((1, 28, 28, 1))
    )
    self.assertEqual(sum(x.size for x in jax.tree.leaves(whole)), 61_130)
    self.assertTrue(amortized.needs_files('mnist'))
    self.assertFalse(amortized.needs_files('denoise'))

  @parameterized.parameters(
    ('digits', {}, "task='digits' is unknown"),
    ('bayes_digits(gamma_dim=0)', {}, 'gamma_dim must be at least 1'),
    ('digits_family(depth=-1)', {}, 'depth must be at least 0'),
    ('denoise', {'batch_size': 0}, 'batch_size must be at least 1'),
    ('denoise', {'num_gammas': 0}, 'num_gammas must be at least 1'),
    ('denoise', {'variant': 'mlp'}, "variant='mlp' is unknown"),
    ('bayes_digits', {'variant': 'separate'}, 'need a single gamma; got 8'),
    ('denoise', {'variant': 'mip(norm=batch)'}, 'trained on several gammas'),
    ('denoise', {'data_dir': '/no'}, 'data_dir=/no has no effect on'),
    ('denoise', {'eval_batch_size': 0}, 'eval_batch_size must be'),
    ('mnist', {}, 'dataset=mnist is read from local files'),
  )
  def test_bad_input(self, task, options, message):
    with self.assertRaisesRegex(ValueError, message):
      tiny(task, **options)

  def test_it_is_one_of_the_problems(self):
    self.assertIs(problems.amortized, amortized)


if __name__ == '__main__':
  absltest.main()
