# SPDX-License-Identifier: Apache-2.0
"""What binaries say about mistakes: the flags that led to them."""

import contextlib
import dataclasses
import importlib
import io
import logging as std_logging
import pathlib
import re
import signal
import sys
import tempfile
import tracemalloc
import types
from unittest import mock

from absl import logging
from absl.testing import absltest, parameterized

from experiments import (
  consensus,
  decentralized_training,
  federated_operators,
  just_one_byte,
  mgno,
  modest,
  monna,
  reproduce,
  robust_training,
  single_merging,
  vanishing_variance,
)
from jaxdl import papers
from jaxdl.experiment import _flags, config as config_lib, mixtures, supervised

FOLDER = pathlib.Path(reproduce.__file__).parent
BINARIES = sorted(
  p.stem for p in FOLDER.glob('*.py') if 'runner.main(Config' in p.read_text()
)


class MessagesTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      robust_training,
      {'num_byzantine': 8, 'rules': ('trimmed_mean',)},
      '^--rules=trimmed_mean --num_clients=15 --num_byzantine=8: ',
    ),
    (
      robust_training,
      {'declared_byzantine': 9, 'rules': ('trimmed_mean',)},
      '^--rules=trimmed_mean --num_clients=15 --declared_byzantine=9: ',
    ),
    (
      federated_operators,
      {'num_byzantine': 5, 'rules': ('nnm+trimmed_mean',)},
      r'^--rules=nnm\+trimmed_mean --num_clients=10 --num_byzantine=5: ',
    ),
    (
      decentralized_training,
      {'variants': ('swarm_sgd@base',)},
      '--variants=swarm_sgd@base .*no fixed graph',
    ),
    (modest, {'min_models': 20}, '--sample_size=8 .*--min_models=20: '),
    (just_one_byte, {'codec_base': -2.0}, '--codec_base=-2.0: '),
  )
  def test_flags_are_named(self, binary, options, want):
    with self.assertRaisesRegex(ValueError, want):
      binary.Config(**options)

  @parameterized.parameters(
    (consensus, 'needs matrices of 80.0 GB each, too much for 8.0 GB'),
    (federated_operators, 'needs matrices of 80.0 GB each'),
    (vanishing_variance, 'needs matrices of 80.0 GB each'),
    (decentralized_training, 'exceeds the 1347 examples'),
    (just_one_byte, 'exceeds the 1347 examples'),
    (modest, 'exceeds the 1347 examples'),
    (monna, 'exceeds the 1347 examples'),
    (robust_training, 'exceeds the 1347 examples'),
    (single_merging, 'exceeds the 1347 examples'),
  )
  def test_too_many_clients_are_refused_before_anything_is_built(
    self, binary, want
  ):
    tracemalloc.start()
    self.addCleanup(tracemalloc.stop)
    with (
      mock.patch.object(config_lib, '_memory', return_value=int(8e9)),
      self.assertRaisesRegex(ValueError, f'^num_clients=100000 {want}'),
    ):
      binary.Config(num_clients=100_000)
    self.assertLess(tracemalloc.get_traced_memory()[1], 5e7)

  def test_as_many_clients_as_examples_are_fine(self):
    supervised.SupervisedConfig(num_clients=1347)
    supervised.SupervisedConfig(num_clients=133, dataset='wine')
    with self.assertRaisesRegex(ValueError, 'exceeds the 133 examples'):
      supervised.SupervisedConfig(num_clients=134, dataset='wine')
    mixtures.MixtureConfig(num_clients=1348, data_sampling='resample')

  def test_four_matrices_must_fit_into_memory(self):
    with mock.patch.object(config_lib, '_memory', return_value=32 * 1000**2):
      config_lib.check_square(1000)
      with self.assertRaisesRegex(ValueError, 'take at most 1000'):
        config_lib.check_square(1001)

  @parameterized.parameters(*BINARIES)
  def test_a_wrong_element_of_a_list_is_named_with_its_flag(self, name):
    config = importlib.import_module(f'experiments.{name}').Config
    for field, kind in config_lib.fields(config):
      if kind.base is not str or not kind.many:
        continue
      with self.assertRaises(ValueError) as caught:
        config(**{field.name: (*field.default, 'no_such')})
      said = config_lib.as_flags(config, str(caught.exception))
      self.assertRegex(said, f"^--{field.name}(='no_such' is| must be written)")
      self.assertIn('no_such', said)
      for known in field.default:
        self.assertIn(re.split('[+@:]', known)[0], said)

  def test_a_wrong_part_of_an_element_is_named(self):
    for binary, flag, element, part, known in (
      (consensus, 'topologies', 'ring:near', 'near', 'metropolis'),
      (decentralized_training, 'variants', 'sgd@ring', 'sgd', 'gossip_sgd'),
      (decentralized_training, 'variants', 'gossip_sgd@rng', 'rng', 'ring'),
      (mgno, 'models', 'mgno@l2', 'l2', 'relative_l2'),
      (mgno, 'model_options', 'fno.chanels=3', 'chanels', 'channels'),
      (robust_training, 'rules', 'nn+krum', 'nn', 'nnm'),
      (robust_training, 'rules', 'nnm+crum', 'crum', 'krum'),
    ):
      want = f"^{flag}='{re.escape(element)}' has '{part}', .*'{known}'"
      with self.assertRaisesRegex(ValueError, want):
        binary.Config(**{flag: (element,)})

  def test_more_links_than_others_are_refused(self):
    for binary, more in (
      (vanishing_variance, {}),
      (vanishing_variance, {'topology': 'barabasi_albert'}),
      (consensus, {'topologies': ('random_regular',)}),
      (decentralized_training, {'variants': ('gossip_sgd@small_world',)}),
    ):
      want = '--degree=50 is too large for --num_clients=50: .* at most 49'
      with self.assertRaisesRegex(ValueError, want):
        binary.Config(degree=50, num_clients=50, **more)

  def test_adversaries_without_an_attack_are_explained(self):
    for binary in (robust_training, federated_operators, monna):
      text = _flags.help_text(binary.Config, '')
      self.assertIn('with none they are honest', ' '.join(text.split()))

  @parameterized.parameters(*BINARIES)
  def test_help_fits_a_terminal(self, name):
    binary = importlib.import_module(f'experiments.{name}')
    text = _flags.help_text(binary.Config, binary.__doc__)
    self.assertIn('\n  --num_rounds=', text)
    self.assertLessEqual(max(map(len, text.splitlines())), 80)

  def test_operators_have_no_flags_of_labelled_data(self):
    names = {f.name for f in dataclasses.fields(federated_operators.Config)}
    idle = (
      *('dataset', 'data_dir', 'partition', 'alpha', 'similarity'),
      *('classes_per_client', 'shards_per_client', 'examples_per_client'),
      *('network', 'hidden_sizes', 'norm', 'l2', 'flatten'),
      *('lr_decay', 'lr_decay_at', 'momentum', 'weight_decay'),
    )
    self.assertLen(set(idle), 17)
    self.assertEmpty(names.intersection(idle))


class ReproduceTest(parameterized.TestCase):
  def test_mistakes_are_sentences(self):
    with self.assertRaisesRegex(ValueError, '--papers=mona .*mean monna?'):
      reproduce.chosen(['mona'])
    for seeds in (['x'], ['1', '1'], [], ['-1']):
      with self.assertRaisesRegex(ValueError, '--seeds='):
        reproduce.seeds_of(seeds)
    file = pathlib.Path(tempfile.mkdtemp()) / 'file'
    file.write_text('')
    reproduce.check_place('output', file)
    for flag, path in (('output', file / 'x'), ('plots', file)):
      with self.assertRaisesRegex(ValueError, f'--{flag}=.* cannot be written'):
        reproduce.check_place(flag, path)
    with mock.patch('tempfile.mkdtemp', side_effect=OSError(2, 'No such')):
      for flag, path in (('output', file), ('plots', file.with_name('new'))):
        with self.assertRaisesRegex(
          ValueError, f'^--{flag}=.*takes no files .*Choose another --{flag}.$'
        ):
          reproduce.check_place(flag, path)

  def test_help_fits_a_terminal(self):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), self.assertRaises(SystemExit):
      reproduce._parse(['reproduce', '--help'])
    self.assertIn('\n  --papers=all\n', out.getvalue())
    self.assertLessEqual(max(map(len, out.getvalue().splitlines())), 80)

  def test_libraries_that_look_for_devices_are_not_heard(self):
    seen = []

    def look(seeds, signals):
      del seeds, signals
      for path, level in (('x/xla_bridge.py', 20), ('x/xla_bridge.py', 30)):
        record = std_logging.LogRecord(
          'jax', level, path, 1, 'no tpu', (), None
        )
        seen.append(bool(logging.get_absl_handler().filter(record)))
      return 0

    with (
      mock.patch.object(reproduce, '_reproduce', look),
      mock.patch.object(reproduce, 'FLAGS', mock.Mock(seeds=['0'])),
    ):
      self.assertEqual(reproduce.main(['reproduce']), 0)
    self.assertEqual(seen, [False, True])

  def test_an_interrupt_that_python_drops_stops_it(self):
    tried = []

    class Garbage:
      def __del__(self):
        signal.raise_signal(signal.SIGTERM)

    def smoke(paper):
      tried.append(paper.key)
      Garbage()
      return 'tried'

    said = io.StringIO()
    chosen = mock.Mock(papers=['modest', 'monna'], seeds=['0'], smoke=True)
    with (
      mock.patch.object(reproduce, 'smoke', smoke),
      mock.patch.object(reproduce, 'FLAGS', chosen),
      mock.patch.object(reproduce.runner, 'leave') as left,
      contextlib.redirect_stdout(said),
      contextlib.redirect_stderr(said),
    ):
      self.assertEqual(reproduce.main(['reproduce']), 143)
    left.assert_called_once_with(143)
    self.assertEqual(tried, ['modest'])
    lines = said.getvalue().splitlines()
    self.assertEqual(lines.count('reproduce: stopping now ...'), 1)
    self.assertStartsWith(lines[-1], 'reproduce: stopped; papers')
    self.assertNotIn('ignored', said.getvalue())

  def test_smoke_runs_one_shrunk_experiment_of_the_first_claim(self):
    seen = []
    fake = types.ModuleType('experiments.fake')
    fake.Config = robust_training.Config
    fake.run = lambda config: seen.append(config)

    def claim(seeds):
      fake.run(fake.Config(seeds=seeds))
      self.fail('the figures of a smoke mean nothing')

    paper = next(p for p in papers.PAPERS if p.claims)
    run = fake.run
    with (
      mock.patch.dict(sys.modules, {fake.__name__: fake}),
      mock.patch.object(
        reproduce, 'claims_of', return_value={'c': ('text', claim)}
      ),
    ):
      self.assertIn('c runs', reproduce.smoke(paper))
    self.assertEqual([c.num_rounds for c in seen], [3])
    self.assertIs(fake.run, run)


if __name__ == '__main__':
  absltest.main()
