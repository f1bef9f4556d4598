# SPDX-License-Identifier: Apache-2.0
"""Examples as scaled vectors, and read-outs in closed form of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import data, experiment, federated, problems
from jaxdl.networks import features


def _toy(x, labels, num_classes=0):
  return data.Dataset(x, labels, x, labels, num_classes, 'toy')


class ScaledTest(parameterized.TestCase):
  def test_training_inputs_have_mean_zero_and_the_length(self):
    got = problems.scaled(data.load_digits(flatten=False), input_length=3.0)
    self.assertEqual(got.train_inputs.shape, (1347, 64))
    x = np.float64(got.train_inputs)
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=1e-5)
    self.assertAlmostEqual(np.square(x).sum(axis=1).mean() ** 0.5, 3.0, 4)
    raw = data.load_digits()
    np.testing.assert_allclose(
      got.test_inputs - got.test_inputs[:1],
      (raw.test_inputs - raw.test_inputs[:1])
      * (x[0, 20] - x[1, 20])
      / (raw.train_inputs[0, 20] - raw.train_inputs[1, 20]),
      atol=1e-4,
    )
    np.testing.assert_array_equal(
      problems.scaled(raw, input_length=0.0).test_inputs, raw.test_inputs
    )

  @parameterized.parameters(
    ('rotate', [1.0, 3.0, 0.0, 16.0]),
    ('invert', [16.0, 15.0, 0.0, 13.0]),
    ('invert+rotate', [15.0, 13.0, 16.0, 0.0]),
  )
  def test_moved_images(self, transfer, want):
    x = np.array([[0.0, 1.0, 16.0, 3.0]], 'float32')
    got = problems.scaled(
      _toy(x, np.zeros(1, int)), input_length=0.0, transfer=transfer
    )
    self.assertEqual(got.train_inputs.tolist(), [want])

  def test_only_square_images_are_turned(self):
    with self.assertRaisesRegex(ValueError, 'choose transfer=invert'):
      problems.scaled(data.load_wine(), transfer='rotate')
    with self.assertRaisesRegex(ValueError, 'transfer='):
      problems.scaled(data.load_wine(), transfer='shear')

  def test_a_seed_does_not_depend_on_the_others(self):
    make = lambda *seeds: problems.scaled_examples(
      'wine', network='mlp(4)', num_clients=3, seeds=seeds
    )
    both, alone = make(5, 7), make(7)
    for a, b in zip(
      jax.tree.leaves(both.data), jax.tree.leaves(alone.data), strict=True
    ):
      np.testing.assert_array_equal(a[1], b[0])

  def test_networks_share_data_and_batches(self):
    first = problems.scaled_examples('wine', network='mlp(4)')
    second = problems.with_network(first, 'logistic_regression')
    self.assertIs(first.data, second.data)
    self.assertIs(first.cohort, second.cohort)
    params = second.task.init(jax.random.key(0))
    params = jax.tree.map(lambda x: jnp.zeros((1, *x.shape)), params)
    found = second.evaluate(params)
    # Even odds for three classes: (4 + 1 + 1) / 9 / 3.
    self.assertAlmostEqual(float(found['mse'][0]), 2 / 9, places=6)
    self.assertAlmostEqual(float(found['loss'][0]), np.log(3), places=6)

  def test_regression_of_a_line(self):
    problem = problems.scaled_examples(
      'linear_regression(noise_std=0.0, num_features=3)',
      network='mlp((4,))',
      input_length=0.0,
    )
    self.assertEqual(problem.metric, 'r2')
    self.assertEqual(problem.data[0]['labels'].shape, (1, 1, 512, 1))
    found = problems.bundled_readout(problem, ridge=1e-6).evaluate()
    self.assertAlmostEqual(float(found['r2'][0]), 1.0, places=5)
    with self.assertRaisesRegex(ValueError, 'use partition=iid'):
      problems.scaled_examples('diabetes', partition='shards', num_clients=2)

  def test_any_algorithm_trains_on_it(self):
    problem = problems.scaled_examples(
      'diabetes', network='mlp(4)', num_clients=3, batch_size=16
    )
    algorithm = federated.robust_sgd(
      problem.task, 'mean', 3, optimizer=optax.sgd(0.1)
    )
    _, history = experiment.train(
      algorithm, problem, num_rounds=20, key=jax.random.key(0), eval_every=20
    )
    self.assertGreater(history['test_r2'][-1], history['test_r2'][0])


class ReadoutTest(parameterized.TestCase):
  def test_closed_form_equals_refits_in_float64(self):
    problem = problems.scaled_examples('wine', network='mlp(4)', seeds=(3,))
    how = features.Features()
    made = problems.bundled_readout(
      problem, how, depth=1, num_features=6, ridge=0.05
    )
    self.assertEqual(made.num_trained, 3 * 6)
    row = {name: float(value[0]) for name, value in made.evaluate().items()}
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 1), 6)
    g = np.float64(how.draw_layers(key, 13, 6, 1)[0])

    def lift(x):
      x = np.float64(x).reshape(-1, 13)
      x = np.concatenate([x, np.ones_like(x[:, :1])], 1)
      return np.maximum(x @ g.T, 0) / 6**0.5

    def fit(h, y):
      return np.linalg.solve(h.T @ h + 0.05 * np.eye(6), h.T @ y)

    def loss(outputs, labels):
      shifted = outputs - outputs.max(1, keepdims=True)
      log = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
      return -log[np.arange(len(labels)), labels].mean()

    train = {k: v[0, 0] for k, v in problem.data[0].items()}
    h, labels = lift(train['inputs']), np.asarray(train['labels'])
    y = np.eye(3)[labels]
    real = np.asarray(problem.test['mask']).reshape(-1)
    tested = lift(problem.test['inputs'])[real] @ fit(h, y)
    wanted = np.asarray(problem.test['labels']).reshape(-1)[real]
    self.assertAlmostEqual(
      row['accuracy'], (tested.argmax(1) == wanted).mean(), places=6
    )
    mse = np.square(tested - np.eye(3)[wanted]).mean()
    self.assertAlmostEqual(row['mse'], mse, places=5)
    # The factor of the outputs is the best for examples that are left out.
    n = len(labels)
    out = np.stack(
      [h[i] @ fit(np.delete(h, i, 0), np.delete(y, i, 0)) for i in range(n)]
    )
    scales = np.geomspace(0.5, 200.0, 48)
    best = scales[np.argmin([loss(s * out, labels) for s in scales])]
    self.assertAlmostEqual(row['loss'], loss(best * tested, wanted), places=4)

  def test_says_what_to_change(self):
    problem = problems.scaled_examples(
      'wine', network='mlp(4)', input_length=60.0
    )
    fit = lambda how, **options: problems.bundled_readout(
      problem, how, depth=1, **options
    )
    with self.assertRaisesRegex(ValueError, 'n=133 examples of 200 features'):
      fit(features.Features(), num_features=200, ridge=0.0)
    with self.assertRaisesRegex(ValueError, 'depth=1 needs features'):
      fit(None, num_features=4, ridge=0.1)
    cosine = features.Features('cos', split='s1')
    with self.assertRaisesRegex(ValueError, 'lower input_length'):
      fit(cosine, num_features=4, ridge=0.1).evaluate()


if __name__ == '__main__':
  absltest.main()
