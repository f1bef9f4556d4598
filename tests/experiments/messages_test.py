# SPDX-License-Identifier: Apache-2.0
"""What binaries say about mistakes: the flags that led to them."""

import dataclasses
import pathlib
import sys
import tempfile
import types
from unittest import mock

from absl.testing import absltest, parameterized

from experiments import (
  decentralized_training,
  federated_operators,
  just_one_byte,
  modest,
  reproduce,
  robust_training,
)
from jaxdl import papers


class MessagesTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      robust_training,
      {'num_byzantine': 8},
      '--rules=trimmed_mean --num_clients=15 --num_byzantine=8: num_trimmed=8',
    ),
    (
      robust_training,
      {'declared_byzantine': 9},
      '--declared_byzantine=9: num_trimmed=9',
    ),
    (
      federated_operators,
      {'num_byzantine': 5},
      r'--rules=nnm\+trimmed_mean --num_clients=10 --num_byzantine=5: ',
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
