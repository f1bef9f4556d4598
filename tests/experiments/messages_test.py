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

import binaries
from absl import flags, logging
from absl.testing import absltest, parameterized

from experiments import (
  consensus,
  decentralized_training,
  federated_operators,
  just_one_byte,
  mgno,
  modest,
  monna,
  papers,
  reproduce,
  robust_training,
  single_merging,
  snnk,
  vanishing_variance,
)
from jaxdl import problems
from jaxdl.experiment import _flags, _main, _renamed, config as config_lib

BINARIES = binaries.NAMES


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
    (
      modest,
      {'methods': ('modest(sample_size=8, min_models=20)',)},
      r'^--methods=modest\(sample_size=8, min_models=20\) --num_clients=64: ',
    ),
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
    (monna, 'needs matrices of 80.0 GB each'),
    (robust_training, 'needs matrices of 80.0 GB each'),
    (single_merging, 'exceeds the 1347 examples'),
  )
  def test_too_many_clients_are_refused_before_anything_is_built(
    self, binary, want
  ):
    # Libraries that are imported on first use are not what is measured.
    problems.ClassificationConfig(num_clients=1347)
    tracemalloc.start()
    self.addCleanup(tracemalloc.stop)
    with (
      mock.patch.object(config_lib, '_memory', return_value=int(8e9)),
      self.assertRaisesRegex(ValueError, f'^num_clients=100000 {want}'),
    ):
      binary.Config(num_clients=100_000)
    self.assertLess(tracemalloc.get_traced_memory()[1], 5e7)

  def test_as_many_clients_as_examples_are_fine(self):
    problems.ClassificationConfig(num_clients=1347)
    problems.ClassificationConfig(num_clients=133, dataset='wine')
    with self.assertRaisesRegex(ValueError, 'exceeds the 133 examples'):
      problems.ClassificationConfig(num_clients=134, dataset='wine')
    problems.MixtureConfig(num_clients=1348, partition='resample')

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
        name = re.split('[@(]', known)[0].split('+')[-1]
        self.assertIn(name, said)

  def test_a_wrong_part_of_an_element_is_named(self):
    for binary, flag, element, part, known in (
      (decentralized_training, 'variants', 'sgd@ring', 'sgd', 'gossip_sgd'),
      (decentralized_training, 'variants', 'gossip_sgd@rng', 'rng', 'ring'),
      (mgno, 'models', 'mgno@l2', 'l2', 'relative_l2'),
      (robust_training, 'rules', 'nn+krum', 'nn', 'nnm'),
      (robust_training, 'rules', 'nnm+crum', 'crum', 'krum'),
    ):
      want = f"^{flag}=.*'{part}'.* is unknown: .*'{known}'"
      with self.assertRaisesRegex(ValueError, want):
        binary.Config(**{flag: (element,)})
    for binary, flag, element, part, option, known in (
      (consensus, 'topologies', 'ring(wights=1)', 'ring', 'wights', 'weights'),
      (mgno, 'models', 'fno(chanels=3)', 'fno', 'chanels', 'channels'),
      (monna, 'methods', 'scc(radius=3)', 'scc', 'radius', 'clip_radius'),
      (robust_training, 'attack', 'alie(scal=2)', 'alie', 'scal', 'scale'),
    ):
      want = f"^{flag}='{re.escape(element)}': {part} has no option '{option}'"
      with self.assertRaisesRegex(ValueError, f'{want}: .*{known}'):
        value = element if flag == 'attack' else (element,)
        binary.Config(**{flag: value})

  def test_more_links_than_others_are_refused(self):
    for binary, more in (
      (vanishing_variance, {'topology': 'barabasi_albert(degree=50)'}),
      (vanishing_variance, {'topology': 'random_regular(degree=50)'}),
      (consensus, {'topologies': ('random_regular(degree=50)',)}),
      (
        decentralized_training,
        {'variants': ('gossip_sgd@random_regular(degree=50)',)},
      ),
    ):
      want = 'degree=50 is too large for num_clients=50: .* at most 49'
      with self.assertRaisesRegex(ValueError, want):
        binary.Config(num_clients=50, **more)

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

  def test_operators_have_no_flags_of_labeled_data(self):
    names = {f.name for f in dataclasses.fields(federated_operators.Config)}
    idle = (
      *('dataset', 'data_dir', 'partition', 'alpha', 'similarity'),
      *('classes_per_client', 'shards_per_client', 'examples_per_client'),
      *('network', 'hidden_sizes', 'norm', 'l2', 'flatten'),
      *('lr_decay', 'lr_decay_at', 'momentum', 'weight_decay'),
    )
    self.assertLen(set(idle), 17)
    self.assertEmpty(names.intersection(idle))


class RenamedTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      robust_training,
      *('pre_aggregators', 'attack_scale', 'num_components', 'flag_iters'),
      *('flag_reg', 'flag_normalize', 'noflag_normalize', 'flag_scale'),
      *('flag_rescale', 'clip_radius', 'bucket_size', 'num_neighbors'),
      *('alpha', 'similarity', 'classes_per_client', 'shards_per_client'),
      *('examples_per_client', 'hidden_sizes', 'norm', 'flatten', 'noflatten'),
      *('learning_rate', 'lr_decay', 'lr_decay_at', 'momentum'),
      *('weight_decay', 'seed', 'overwrite', 'csv'),
    ),
    (
      monna,
      *('attack_search', 'alpha', 'examples_per_client', 'hidden_sizes'),
      *('lr_decay', 'lr_decay_every', 'momentum', 'clip_radius'),
    ),
    (
      consensus,
      *('weights', 'move', 'graph_file', 'rows', 'degree', 'probability'),
      *('num_shifts', 'max_degree', 'step_size', 'budget'),
    ),
    (
      decentralized_training,
      *('weights', 'move', 'graph_file', 'rows', 'degree', 'probability'),
      *('num_shifts', 'max_degree', 'step_size', 'budget', 'topology'),
      *('alpha', 'hidden_sizes', 'spread', 'dimension', 'gradient_noise'),
      *('order', 'learning_rate', 'lr_decay', 'lr_decay_at', 'momentum'),
      *('weight_decay', 'period', 'compressor', 'keep', 'levels'),
      *('consensus_step', 'staleness', 'local_steps', 'robust_rule'),
      *('allow_unstable', 'noallow_unstable'),
    ),
  )
  def test_flags_that_went_say_how_they_are_written_now(self, binary, *old):
    shown = {field.name for field, _ in _flags._shown(binary.Config)}
    for name in old:
      self.assertNotIn(name, shown)
      said = _renamed.remedy(name, '2')
      self.assertStartsWith(said, f'there is no flag --{name} any more: write ')
      self.assertNotIn('{', said)
      # Flags of this binary, or a part of a spec that several have.
      named = set(re.findall(r'--(\w+)=', said.partition('write ')[2]))
      self.assertTrue(not named or named & shown, said)

  def test_flags_of_almost_that_name_come_before_options_of_parts(self):
    for name in ('width', 'depth'):
      self.assertEqual(_renamed.remedy(name, '5', known={f'{name}s'}), '')
      self.assertNotEmpty(_renamed.remedy(name, '5', known={'models'}))

  @parameterized.parameters(
    (robust_training, '--attack_scale=1.5', "--attack='...(scale=1.5)'"),
    (robust_training, '--noflag_normalize', "'flag(normalize=False)'"),
    (monna, '--clip_radius=5', "--methods='scc(clip_radius=5)'"),
    (consensus, '--degree=3', "'...(degree=3)' in the spec of a topology"),
    (decentralized_training, '--keep=0.1', 'compress=top_k(keep=0.1)'),
    (robust_training, '--flag_iter=3', "'flag(num_iters=3)'"),
    (robust_training, '--num_client=3', 'Did you mean: num_clients'),
    (snnk, '--num_features=8', 'write --num_rf=8.'),
    (robust_training, '--nosmoke=1', '--nosmoke=1 does not take an argument'),
    (robust_training, '--seeds=0,,1', 'has nothing between two commas'),
  )
  def test_the_command_says_it(self, binary, arg, want):
    said = io.StringIO()
    with (
      mock.patch.object(_main.flags, 'FLAGS', flags.FlagValues()),
      contextlib.redirect_stderr(said),
      self.assertRaises(SystemExit) as caught,
    ):
      _main._parse(binary.Config, ['binary', arg], 'binary')
    self.assertEqual(caught.exception.code, 2)
    self.assertIn(want, ' '.join(said.getvalue().split()))


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

  def test_some_claims_are_rerun_and_other_rows_kept(self):
    paper = papers.load('monna')
    told = []

    def claims(key):
      del key

      def first(seeds):
        told.append(seeds)
        return True, f'run {len(told)}'

      second = lambda seeds: (False, f'two {first(seeds)[1]}')
      return {
        'one': papers.claim('One')(first),
        'two': papers.claim('Two', note='It is hard. ' * 9)(second),
      }

    output = pathlib.Path(tempfile.mkdtemp()) / 'table.md'
    with (
      mock.patch.object(papers, 'claims', claims),
      mock.patch.object(reproduce, 'FLAGS', mock.Mock(output=str(output))),
    ):
      with self.assertRaisesRegex(ValueError, '--claims=ome .* mean one?'):
        reproduce.check_claims(['ome'], [paper], (0,))
      with self.assertRaisesRegex(ValueError, 'other seeds or versions, or no'):
        reproduce.check_claims(['one'], [paper], (0,))
      whole = reproduce.check(paper, (0,))
      reproduce.merge(output, {'monna': whole})
      reproduce.check_claims(['one'], [paper], (0,))
      with self.assertRaisesRegex(ValueError, 'other seeds or versions, or no'):
        reproduce.check_claims(['one'], [paper], (1,))
      old = reproduce.read(output)[1]['monna']
      self.assertEqual(old, whole)
      again = reproduce.check(paper, (0,), ['two'], old)
    self.assertEqual(told, [(0,)] * 3)
    rows = [line for line in again if line.startswith('| ')][1:]
    self.assertStartsWith(rows[0], '| One (`one`) | yes | run 1 |')
    self.assertStartsWith(rows[1], '| Two (`two`) | **no** | two run 3 |')
    self.assertStartsWith(again[-2], '- `two`: It is hard.')
    self.assertLessEqual(max(map(len, again[-2:])), 80)

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

    def smoke(paper, only):
      self.assertEqual(only, [])
      tried.append(paper.key)
      Garbage()
      return 'tried'

    said = io.StringIO()
    chosen = mock.Mock(papers=['modest', 'monna'], seeds=['0'], claims=[])
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
    self.assertEqual(
      lines[-1], 'reproduce: stopped; nothing was to be written.'
    )
    self.assertNotIn('ignored', said.getvalue())

  def test_smoke_runs_one_shrunk_experiment_of_the_first_claim(self):
    seen = []
    fake = types.ModuleType('experiments.fake')
    fake.Config = robust_training.Config
    fake.run = lambda config: seen.append(config)

    def claim(seeds):
      fake.run(fake.Config(seeds=seeds))
      self.fail('the figures of a smoke mean nothing')

    claim.text = 'text'
    paper = papers.load('monna')
    run = fake.run
    with (
      mock.patch.dict(sys.modules, {fake.__name__: fake}),
      mock.patch.object(papers, 'claims', return_value={'c': claim}),
    ):
      self.assertIn('c runs', reproduce.smoke(paper))
    self.assertEqual([c.num_rounds for c in seen], [3])
    self.assertIs(fake.run, run)

  def test_smoke_tries_the_claims_that_are_asked_for(self):
    tried = []

    def claims(key):
      made = {
        name: papers.claim(name)(lambda seeds, name=name: tried.append(name))
        for name in ('a', 'b', 'c')
      }
      return made if key == 'monna' else {'d': made['a']}

    both = [papers.load('modest'), papers.load('monna')]
    with mock.patch.object(papers, 'claims', claims):
      # Of no table, whatever stands in --output.
      (paper,) = reproduce.check_claims(['c', 'b'], both, None)
      self.assertEqual(paper.key, 'monna')
      said = reproduce.smoke(paper, ['c', 'b'])
      self.assertEqual(reproduce.check_claims([], both, None), both)
    self.assertEqual(tried, ['b', 'c'])
    self.assertStartsWith(said, 'monna: b, c run (')

  def test_names_that_stand_twice_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'monna,monna names monna twice'):
      reproduce.chosen(['monna', 'monna'])
    with self.assertRaisesRegex(ValueError, '--claims=.* names monna_holds tw'):
      reproduce.check_claims(['monna_holds'] * 2, [papers.load('monna')], (0,))

  def test_files_of_others_are_not_lost(self):
    path = pathlib.Path(tempfile.mkdtemp()) / 'notes.md'
    for bytes_ in (
      b'my notes\n## a: b\n',
      '# Reproduction \xe9'.encode('latin1'),
    ):
      path.write_bytes(bytes_)
      for act in (
        reproduce.read,
        lambda p: reproduce.merge(p, {'x': ['## x']}),
      ):
        with self.assertRaisesRegex(ValueError, '--output=.* is no table'):
          act(path)
      said = io.StringIO()
      arguments = ['reproduce', '--papers=monna', f'--output={path}']
      with contextlib.redirect_stderr(said), self.assertRaises(SystemExit):
        reproduce._parse(arguments)
      self.assertIn('is a file that is no table of claims', said.getvalue())
      self.assertEqual(path.read_bytes(), bytes_)
    before = (
      '# Reproduction\n\nOur words.\n\n## odd: x\n\na\n\n## odd: y\n\nb\n'
    )
    path.write_text(before)
    reproduce.merge(path, {'monna': ['## monna: M']})
    after = path.read_text()
    for line in before.split('\n'):
      self.assertIn(line, after.split('\n'))
    self.assertIn('## monna: M', after)


if __name__ == '__main__':
  absltest.main()
