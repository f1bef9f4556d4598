# SPDX-License-Identifier: Apache-2.0
"""Examples on disk give the cohorts and the runs of those in memory."""

import functools
import pathlib
import tempfile

import jax
import numpy as np
import optax
from absl.testing import absltest, parameterized

from experiments import frl, gradient_coding, modest, monna, pruning_game
from jaxdl import data, federated, problems
from jaxdl.experiment import compare, runner, train


@functools.cache
def folder():
  return data.files.save_npy(data.load_dataset('wine'), tempfile.mkdtemp())


def classes(dataset, **options):
  return problems.classification(
    dataset, partition='label_dirichlet(alpha=0.5)', num_clients=4,
    network='logistic_regression', batch_size=6, **options,
  )  # fmt: skip


def clients(dataset, **options):
  return problems.clients(
    dataset, num_clients=5, sampling='uniform(num_sampled=3)',
    network='logistic_regression', **options,
  )  # fmt: skip


class StreamedTest(parameterized.TestCase):
  @parameterized.parameters(classes, clients)
  def test_cohorts_are_those_of_examples_in_memory(self, make):
    seeds = (0, 3)
    kept = make('wine', seeds=seeds)
    read = make('npy', data_dir=folder(), seeds=seeds)
    self.assertIsNone(kept.fetch)
    # The device gets what the round needs, and numbers.
    self.assertEqual(set(read.data[0]), {'number'})
    keys = jax.vmap(jax.random.key)(np.array(seeds))
    draw = jax.jit(jax.vmap(kept.cohort, in_axes=(0, 0, None)))
    for round in (1, 7):
      fed, want = read.fetch(keys, round), draw(keys, kept.data, round)
      self.assertEqual(set(fed.data), set(want.data))
      for got, expected in zip(
        jax.tree.leaves(fed), jax.tree.leaves(want), strict=True
      ):
        self.assertIsInstance(got, np.ndarray)
        self.assertEqual(got.dtype, expected.dtype)
        np.testing.assert_array_equal(got, expected)

  def test_who_needs_all_examples_reads_them_at_once(self):
    whole = classes('npy', data_dir=folder(), in_memory=True)
    self.assertIsNone(whole.fetch)
    with self.assertRaisesRegex(ValueError, 'build it with in_memory=True'):
      problems.everybody(classes('npy', data_dir=folder()))
    for a, b in zip(
      jax.tree.leaves(whole.data),
      jax.tree.leaves(classes('wine').data),
      strict=True,
    ):
      np.testing.assert_array_equal(a, b)

  def test_cohorts_of_a_problem_on_disk_are_not_replaced_in_silence(self):
    read = classes('npy', data_dir=folder())
    for name in ('cohort', 'data'):
      with self.assertRaisesRegex(
        ValueError, f'{name} has no effect .* on disk.* in_memory=True'
      ):
        read.replace(**{name: None})
    self.assertIsNone(read.replace(cohort=None, fetch=None).fetch)
    self.assertIsNotNone(read.replace(num_clients=3).fetch)
    kept = classes('wine')
    self.assertIsNone(kept.replace(cohort=None).cohort)

  @parameterized.parameters(frl, gradient_coding, modest, monna, pruning_game)
  def test_binaries_take_examples_on_disk(self, binary):
    options = {'dataset': 'npy', 'data_dir': str(folder())}
    config = binary.Config(**options).smoked()
    made = binary.build(config)
    # Traced as a run does it, with what the first round is fed.
    fed = () if made.fetch is None else (made.fetch(1),)
    if made.jit:
      jax.eval_shape(made.step, jax.eval_shape(made.init), 1, *fed)
    else:
      made.step(made.init(), 1, *fed)

  def test_runs_are_those_on_examples_in_memory(self):
    config = runner.BaseConfig(num_rounds=4, eval_every=2)
    rows, ends = [], []
    for where in (
      {'dataset': 'wine'},
      {'dataset': 'npy', 'data_dir': folder()},
    ):
      problem = classes(**where)
      algorithm = federated.robust_sgd(
        problem.task, 'mean', 4, optimizer=optax.sgd(0.01), explain=False
      )
      experiment = compare(config, problem, {'mean': algorithm})
      rows.append(runner.run(experiment, config).rows)
      key = jax.random.key(0)  # As `compare` has it.
      _, history = train(
        algorithm, problem, num_rounds=4, key=key, eval_every=2
      )
      ends.append(history['test_loss'])
    for a, b in zip(*rows, strict=True):
      self.assertEqual(a.keys(), b.keys())
      for name in ('loss', 'accuracy'):
        if name in a:
          np.testing.assert_allclose(a[name], b[name], rtol=1e-5)
    np.testing.assert_allclose(*ends, rtol=1e-5)
    tested = [row['loss'] for row in rows[1] if row['split'] == 'test']
    np.testing.assert_allclose(tested, ends[1], rtol=1e-5)


class FilesTest(parameterized.TestCase):
  def test_inputs_stay_on_disk(self):
    loaded = data.load_dataset('npy', folder())
    self.assertIsInstance(loaded.train_inputs, np.memmap)
    wine = data.load_dataset('wine')
    for name in ('train_inputs', 'train_labels', 'test_inputs', 'test_labels'):
      np.testing.assert_array_equal(getattr(loaded, name), getattr(wine, name))
    self.assertEqual(loaded.num_classes, 3)

  @parameterized.parameters(
    ('train_inputs', np.ones((5, 2)), 'expected float32 numbers .* float64'),
    ('train_inputs', np.ones(5, np.float32), 'with a leading example axis'),
    ('train_inputs', np.ones((4, 2), np.float32), '4 inputs and 5 labels'),
    ('train_labels', np.full(5, -1), 'expected labels in 0'),
    ('train_labels', np.ones(5), 'integer labels'),
    ('test_inputs', np.ones((3, 7), np.float32), 'as in train_inputs.npy'),
    (
      'train_inputs',
      np.asfortranarray(np.ones((5, 2), np.float32)),
      'in Fortran order: write it by',
    ),
    ('test_labels', b'rubbish', 'not a readable .npy file'),
    ('train_labels', None, r'train_labels.npy: expected this file'),
  )
  def test_says_what_is_wrong_with_which_file(self, name, value, sentence):
    place = pathlib.Path(tempfile.mkdtemp())
    good = data.Dataset(
      np.ones((5, 2), np.float32), np.zeros(5, np.int32),
      np.ones((3, 2), np.float32), np.zeros(3, np.int32), 1, 'toy',
    )  # fmt: skip
    data.files.save_npy(good, place)
    path = place / f'{name}.npy'
    path.unlink()
    if isinstance(value, bytes):
      path.write_bytes(value)
    elif value is not None:
      np.save(path, value)
    with self.assertRaisesRegex((ValueError, OSError), sentence) as caught:
      data.load_dataset('npy', place)
    self.assertIn(name, str(caught.exception))


if __name__ == '__main__':
  absltest.main()
