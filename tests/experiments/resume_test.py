# SPDX-License-Identifier: Apache-2.0
"""Every binary: interrupted and resumed, it writes the same metrics.jsonl.

The interruption comes after a round that was evaluated and before its
checkpoint, as a kill may, and the rest runs in an experiment built anew. Real
kills are in `robust_training_test` and in the runner's tests. A binary that is
not listed below runs its smoke configuration; list it with something smaller.
"""

import importlib
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from jaxdl.experiment import runner, supervised

FOLDER = pathlib.Path(__file__).parents[2] / 'experiments'
# Each with randomness in every round and state besides models.
CONFIGS = {
  'consensus': {
    'topologies': ('random_matching', 'random_digraph:send'),
    'num_clients': 8,
    'dimension': 3,
  },
  'decentralized_training': {
    'task': 'quadratic',
    'gradient_noise': 0.5,
    'num_clients': 8,
    'momentum': 0.5,
    'compressor': 'random_k',
    'variants': (
      'choco_sgd@ring',
      'gossip_sgd@random_matching',
      'gradient_tracking@base',
    ),
  },
  'deeponet': {
    'models': ('deeponet',),
    'problem_options': ('refinement=4',),
    'num_train': 12,
    'num_test': 7,
    'resolution': 6,
    'batch_size': 4,
    'branch_layers': (4, 3),
    'trunk_layers': (4, 3),
    'steps_per_round': 2,
    'eval_batch_size': 4,
  },
  'federated_operators': {
    'rules': ('median',),
    'num_clients': 4,
    'num_byzantine': 1,
    'functions_per_client': 6,
    'num_test_functions': 8,
    'batch_size': 4,
    'hidden_size': 8,
    'num_layers': 2,
    'resolution': 8,
    'eval_batch_size': 8,
  },
  'just_one_byte': {
    'methods': ('one_byte', 'sgd'),
    'num_clients': 8,
    'hidden_sizes': (4,),
    'batch_size': 8,
    'momentum': 0.5,
    'join_at': (3,),
    'leave_at': (4,),
  },
  'mgno': {
    'models': ('mgno',),
    'resolution': 8,
    'channels': 2,
    'num_layers': 1,
    'iterations': '10,10',
    'num_train': 8,
    'num_test': 4,
    'batch_size': 4,
  },
  'modest': {
    'methods': ('modest', 'dsgd', 'gossip'),
    'num_clients': 10,
    'sample_size': 3,
    'num_aggregators': 2,
    'churn': 'crash',
    'churn_round': 3,
    'churn_fraction': 0.6,
    'examples_per_client': 12,
    'batch_size': 4,
    'local_steps': 1,
    'hidden_sizes': (4,),
    'eval_nodes': 2,
  },
  'monna': {
    'methods': ('monna',),
    'num_clients': 7,
    'num_byzantine': 1,
    'examples_per_client': 20,
  },
  'operator_zoo': {
    'problem': 'antiderivative',
    'models': ('deeponet',),
    'resolution': 8,
    'hidden_size': 8,
    'num_train': 8,
    'num_test': 8,
    'batch_size': 4,
    'steps_per_round': 2,
  },
  'robust_training': {
    'rules': ('bucketing+median',),
    'num_clients': 7,
    'num_byzantine': 1,
    'worker_momentum': 0.5,
    'hidden_sizes': (8,),
  },
  'single_merging': {
    'variants': ('gossip', 'late'),
    'window_size': 0.4,
    'num_clients': 8,
    'hidden_sizes': (4,),
    'local_steps': 1,
    'sharpness': False,
    'landscape': ('gossip',),
    'landscape_resolution': 3,
  },
  'snnk': {
    'dataset': 'wine',
    'num_rf': (4,),
    'hidden_sizes': (8,),
    'depth': 1,
  },
  'vanishing_variance': {
    'methods': ('corrected', 'sampled'),
    'num_clients': 8,
    'degree': 3,
    'hidden_sizes': (4, 4),
    'turn_high': 3,
  },
}
ROUNDS, EVERY = 6, 2
BINARIES = sorted(
  p.stem for p in FOLDER.glob('*.py') if 'runner.main(Config' in p.read_text()
)


class Stop(Exception):
  pass


class Stopper(runner.Sink):
  """Ends a run after a round."""

  def __init__(self, at):
    self.at = at

  def write(self, rows):
    pass

  def tick(self, round):
    if round == self.at:
      raise Stop


def go(experiment, config, folder, *more):
  folder = pathlib.Path(folder)
  result = runner.run(
    experiment,
    config,
    sinks=[runner.Jsonl(folder / 'metrics.jsonl'), *more],
    store=runner.Store(folder, seconds=0),
  )
  return result, (folder / 'metrics.jsonl').read_bytes()


class ResumeTest(parameterized.TestCase):
  def test_listed_binaries_exist(self):
    self.assertContainsSubset(CONFIGS, BINARIES)

  @parameterized.parameters(*BINARIES)
  def test_resumed_equals_uninterrupted(self, name):
    # Programs without collectives compile faster.
    self.enter_context(
      mock.patch.object(supervised, 'mesh_or_none', return_value=None)
    )
    binary = importlib.import_module(f'experiments.{name}')
    if name in CONFIGS:
      config = binary.Config(
        **CONFIGS[name], num_rounds=ROUNDS, eval_every=EVERY, seed=3
      )
    else:
      config = binary.Config().smoked()
    experiment = binary.build(config)
    stop = 2 * experiment.num_rounds // 3
    with tempfile.TemporaryDirectory() as folder:
      result, whole = go(experiment, config, folder)
    self.assertIn(stop, [row['step'] for row in result.rows])
    with tempfile.TemporaryDirectory() as folder:
      with self.assertRaises(Stop):
        go(experiment, config, folder, Stopper(stop))
      self.assertEqual(runner.Store(folder).latest(), stop - 1)
      _, resumed = go(binary.build(config), config, folder)
    self.assertEqual(resumed, whole)


if __name__ == '__main__':
  absltest.main()
