# SPDX-License-Identifier: Apache-2.0
"""Episodes dealt to clients, and missions among new classes."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import data, experiment, federated, networks, problems
from jaxdl.federated import prototypes

GLYPHS = 'glyphs(num_classes=10, train_per_class=6, test_per_class=2, size=8)'
SMALL = {'embedding': 'pixels', 'training': 'none', 'num_base': 4}
MISSIONS = 'missions(num_clients=2, classes=2, shots=2)'


def first(tree, place=0):
  return jax.tree.map(lambda x: x[place], tree)


@functools.cache
def missions(**options):
  options = {'protocol': MISSIONS, 'seeds': (0, 3), **SMALL, **options}
  return problems.reconnaissance(GLYPHS, **options)


class EpisodesTest(parameterized.TestCase):
  OPTIONS = {'num_base': 7, 'ways': 2, 'shots': 2, 'queries': 3}

  def test_clients_have_classes_of_their_own(self):
    problem = problems.episodes(
      GLYPHS, embedding='pixels', num_clients=3, seeds=(0, 1), **self.OPTIONS
    )
    for seed in range(2):
      tables = first(problem.data, seed)
      rows = [
        np.asarray(tables.order[i][: int(tables.count[i].sum())])
        for i in range(3)
      ]
      self.assertLen(set(np.concatenate(rows).tolist()), 3 * 2 * 6)
    self.assertFalse(
      np.array_equal(problem.data.order[0], problem.data.order[1])
    )
    cohort = problem.cohort(jax.random.key(0), first(problem.data), 2)
    self.assertEqual(cohort.data['support'].shape, (3, 2, 2, 8, 8, 1))
    self.assertEqual(cohort.data['query'].shape, (3, 2, 3, 8, 8, 1))

  def test_any_algorithm_learns_to_embed(self):
    problem = problems.episodes(
      GLYPHS, embedding='mlp((), 4)', num_clients=2, **self.OPTIONS
    )
    algorithm = federated.robust_sgd(
      problem.task, 'mean', 2, optimizer=optax.adam(0.01)
    )
    _, history = experiment.train(
      algorithm, problem, num_rounds=30, key=jax.random.key(0), eval_every=30
    )
    self.assertLess(history['test_loss'][-1], history['test_loss'][0])

  def test_bad_input(self):
    make = functools.partial(problems.episodes, embedding='pixels')
    for options, message in (
      ({'num_base': 10}, 'num_base=10 leaves no field class of 10'),
      ({'num_clients': 8}, 'num_clients=8 exceeds num_base=7'),
      ({'num_clients': 4}, 'ways=2 exceeds the 1 classes'),
      ({'shots': 4}, 'class 0 has 6 examples, episode needs 7'),
      (
        {'dataset': 'wine', 'num_base': 2, 'turned': True},
        'num_turns=4 needs square images',
      ),
    ):
      with self.assertRaisesRegex(ValueError, message):
        make(**({'dataset': GLYPHS} | self.OPTIONS | options))


class ReconnaissanceTest(parameterized.TestCase):
  def test_pool_and_missions_agree(self):
    problem = missions()
    field = problem.field
    self.assertEqual(field.inputs.shape, (36, 8, 8, 1))
    self.assertEqual(field.base.tolist(), [False] * 6)
    loaded = data.load_dataset(GLYPHS)
    own = loaded.train_labels >= 4
    np.testing.assert_array_equal(field.inputs, loaded.train_inputs[own])
    np.testing.assert_array_equal(field.labels, loaded.train_labels[own] - 4)
    for seed in range(2):
      plan = first(problem.data, seed)
      used = np.asarray(plan['ids'])[np.asarray(plan['mask'])]
      self.assertCountEqual(used.tolist(), range(36))
      for round in (1, 2, 99):
        cohort = jax.jit(problem.cohort)(jax.random.key(0), plan, round)
        found = cohort.data
        mask = np.asarray(found['mask'])
        np.testing.assert_array_equal(
          found['inputs'], field.inputs[found['ids']]
        )
        np.testing.assert_array_equal(
          np.asarray(found['labels'])[mask],
          field.labels[np.asarray(found['ids'])[mask]],
        )
        if round == 99:
          self.assertFalse(mask.any())

  def test_base_memory_numbers_base_classes_first(self):
    field = missions(base_memory=True, num_field=3).field
    self.assertEqual(field.base.tolist(), [True] * 4 + [False] * 3)
    self.assertEqual(field.inputs.shape[0], 42)
    loaded = data.load_dataset(GLYPHS)
    rows = np.isin(loaded.train_labels, [0, 1, 2, 3, 7, 8, 9])
    np.testing.assert_array_equal(field.inputs, loaded.train_inputs[rows])
    self.assertEqual(field.base_examples.tolist(), list(range(24)))
    # What is known before the first mission ("eval 0").
    problem = missions(base_memory=True, num_field=3)
    method = prototypes.METHODS.make('protonet', field)
    predicted = method.predict(method.init(jax.random.key(0)))
    found = problem.evaluate(np.stack([predicted] * 2))
    base = field.test_labels < 4
    right = (np.asarray(predicted) == field.test_labels)[base].mean()
    np.testing.assert_allclose(found['base_accuracy'], [right] * 2)
    self.assertGreater(right, 0.3)
    # Missions never meet a base class.
    plan = missions(base_memory=True, num_field=3).data
    met = np.asarray(plan['labels'])[np.asarray(plan['mask'])]
    self.assertEqual(set(met.tolist()), {4, 5, 6})

  def test_train_gives_a_history_of_missions(self):
    problem = missions(seeds=(3,))
    field = problem.field
    algorithm = prototypes.field_learning(
      prototypes.METHODS.make('protonet', field),
      problem.num_clients,
      test_labels=field.test_labels,
      base=field.base,
    )
    t = problem.data['ids'].shape[1]
    state, history = experiment.train(
      algorithm, problem, num_rounds=t, key=jax.random.key(3), eval_every=t
    )
    pooled = prototypes.prototype_delta(
      field.inputs.reshape(36, -1), field.labels, 6
    )
    np.testing.assert_allclose(
      state.model.memory.mean, pooled.mean, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(state.model.memory.count, [6] * 6)
    self.assertEqual(history['num_known'][-1], 6)
    self.assertEqual(history['num_examples'].sum(), 36)
    predicted = prototypes.classify(
      pooled, jnp.reshape(field.test_inputs, (12, -1))
    )
    right = (predicted == field.test_labels).mean()
    self.assertAlmostEqual(float(history['accuracy'][-1]), float(right), 6)
    self.assertAlmostEqual(
      float(history['test_overall_accuracy'][-1]), float(right), 6
    )

  def test_an_encoder_is_trained_once_for_all_missions(self):
    options = {
      'embedding': 'mlp((), 3)',
      'training': 'episodic(episodes=3, ways=3, shots=2, queries=2)',
    }
    one, two = missions(**options), missions(protocol='cil(shots=2)', **options)
    for a, b in zip(
      jax.tree.leaves(one.field.params),
      jax.tree.leaves(two.field.params),
      strict=True,
    ):
      self.assertIs(a, b)
    self.assertEqual(two.num_clients, 1)

  def test_a_network_of_ones_own(self):
    field = missions(embedding=networks.mlp((), 3)).field
    self.assertEqual(
      field.network.apply(field.params, field.inputs[:2]).shape, (2, 3)
    )

  @parameterized.parameters(
    ('icarl(budget=5)', 'budget must be at least 6; got 5'),
    ('protonet(distance=mahalanobis)', 'of even dimension; got 3'),
    ('lower(epochs=0)', 'epochs must be at least 1'),
  )
  def test_methods_are_checked_before_the_encoder_is_trained(self, spec, said):
    with mock.patch.object(prototypes, 'TRAININGS') as trainings:
      with self.assertRaisesRegex(ValueError, said):
        missions(embedding='mlp((), 3)', methods=('protonet', spec))
      trainings.make.assert_not_called()

  @parameterized.parameters(
    ({'num_base': 10}, 'num_base=10 leaves no field class'),
    (
      {'num_field': 7},
      'num_base=4 and num_field=7 overlap: there are 10 classes',
    ),
    ({'protocol': 'mission'}, "Did you mean 'missions'"),
    ({'training': 'episodes'}, "training='episodes' is unknown"),
    ({'embedding': 'conv_embedding'}, 'images of at least 16 x 16'),
    ({'protocol': 'cil(shots=7)'}, 'has 6 examples, shots=7 are needed'),
    (
      {'protocol': 'missions(replacement=True)'},
      'num_missions=None .*never ends',
    ),
    ({'num_missions': 0}, 'num_missions must be at least 1'),
  )
  def test_bad_input(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      missions(**options)


if __name__ == '__main__':
  absltest.main()
