# SPDX-License-Identifier: Apache-2.0
import pathlib
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from experiments import decentralized_training as training

# A step size of its own, that of the optimizer of the others.
QUASI = 'quasi_global_momentum(learning_rate=0.1, momentum=0.5)'


def _quadratic(**options):
  return training.Config(
    **{
      'task': 'quadratics',
      'num_clients': 8,
      'num_rounds': 300,
      'eval_every': 100,
    }
    | options
  )


def _last(rows, rule, metric, split='test'):
  found = [
    r[metric] for r in rows if r['variant'] == rule and r['split'] == split
  ]
  return found[-1]


def _dpsgd(seed, rounds, rate, n=8, d=5):
  """Float64 reference: error of the clients and of their mean."""
  rng = np.random.default_rng(seed)
  a = rng.uniform(0.5, 2.0, (n, d))
  b = 3.0 * rng.normal(size=(n, d))
  best = (a * b).sum(axis=0) / a.sum(axis=0)
  eye = np.eye(n)
  w = (eye + np.roll(eye, 1, 0) + np.roll(eye, -1, 0)) / 3
  x = np.zeros((n, d))
  for _ in range(rounds):
    x = w @ (x - rate * a * (x - b))
  rms = np.sqrt(((x - best) ** 2).sum(axis=1).mean())
  return rms, np.linalg.norm(x.mean(axis=0) - best)


class DecentralizedTrainingTest(parameterized.TestCase):
  def test_quadratics_are_those_of_float64_and_exact_methods_exact(self):
    variants = (
      'gossip_sgd@ring',
      'd_squared@ring(weights=lazy_metropolis)',
      'extra@ring',
      'gradient_tracking@ring',
    )
    rows = training.run(_quadratic(variants=variants)).rows
    rms, mean = _dpsgd(0, 300, 0.1)
    np.testing.assert_allclose(_last(rows, variants[0], 'error'), rms, 1e-4)
    np.testing.assert_allclose(
      _last(rows, variants[0], 'mean_error'), mean, 1e-3
    )
    for variant in variants[1:]:
      self.assertLess(_last(rows, variant, 'error'), 1e-3, variant)
    # Tracking sends twice as much.
    self.assertEqual(_last(rows, 'extra@ring', 'messages'), 600.0)
    self.assertEqual(_last(rows, 'gradient_tracking@ring', 'messages'), 1200.0)
    self.assertAlmostEqual(
      _last(rows, 'extra@ring', 'megabytes'), 600 * 5 * 4 / 1e6
    )

  def test_every_algorithm_runs_and_counts_its_messages(self):
    want = {
      f'{QUASI}@ring': 2 * 20,
      'choco_sgd@ring': 2 * 20,
      'push_sum@random_digraph': 3 * 20,
      'matcha_sgd@ring': 20,
      'asynchronous_gossip@ring': 2 * 20,
      'swarm_sgd@ring': 20,
      'robust_gossip@complete': 7 * 20,
      'local_sgd': 4 * 2 * 7 / 8,
      'periodic_gossip@ring': 4 * 2,
      'periodic_averaging@ring': 16 * 2 + 4 * 2 * 7 / 8,
      'gossip_sgd@alone': 0,
    }
    config = _quadratic(
      variants=tuple(want),
      num_rounds=20,
      eval_every=20,
      optimizer='sgd(0.1, momentum=0.5)',
    )
    rows = training.run(config).rows
    for variant, messages in want.items():
      self.assertAlmostEqual(_last(rows, variant, 'messages'), messages, 5)
      self.assertTrue(np.isfinite(_last(rows, variant, 'error')), variant)
      self.assertTrue(np.isfinite(_last(rows, variant, 'loss', 'train')))
    # A round of plain averaging leaves one model.
    self.assertLess(_last(rows, 'local_sgd', 'consensus'), 1e-9)

  def test_one_model_on_the_complete_graph(self):
    config = training.Config(
      num_clients=8,
      network='mlp(8)',
      variants=('gossip_sgd@complete', 'gossip_sgd@ring'),
    ).smoked()
    rows = training.run(config).rows
    complete = _last(rows, 'gossip_sgd@complete', 'accuracy')
    # One model everywhere: nobody is worse, the mean is the same.
    for metric in ('worst_accuracy', 'mean_model_accuracy'):
      self.assertAlmostEqual(
        _last(rows, 'gossip_sgd@complete', metric), complete, 2
      )
    self.assertLess(_last(rows, 'gossip_sgd@complete', 'consensus'), 1e-9)
    self.assertGreater(_last(rows, 'gossip_sgd@ring', 'consensus'), 1e-4)

  def test_compressed_messages_are_smaller(self):
    variant = 'choco_sgd(compress=top_k(keep=0.2), consensus_step=0.2)@ring'
    config = _quadratic(variants=(variant,), num_rounds=200)
    rows = training.run(config).rows
    # One of five numbers of 32 bits, and 3 bits for its place.
    self.assertAlmostEqual(
      _last(rows, variant, 'megabytes'), 400 * 35 / 8 / 1e6
    )
    self.assertLess(_last(rows, variant, 'mean_error'), 0.5)

  @parameterized.parameters(
    ({'variants': ('d_squared@ring',)}, r'-0\.3333.*-1/3.*lazy_metropolis'),
    ({'variants': ('d_squared@base',)}, 'one fixed mixing matrix'),
    ({'variants': ('gossip_sgd@ring(weights=send)',)}, 'push_sum'),
    ({'variants': ('gradient_tracking@star(weights=uniform)',)}, 'metropolis'),
    ({'variants': ('swarm_sgd@base',)}, 'no fixed graph'),
    (
      {'variants': ('gossip_sgd@hypercube',), 'num_clients': 6},
      'power of two',
    ),
    ({'variants': ('sgd',)}, "variants='sgd' is unknown"),
    ({'variants': ('extra@ring', 'extra@ring')}, 'variants must differ'),
    ({'variants': ('choco_sgd(compress=topk)@ring',)}, "mean 'top_k'"),
    ({'variants': ('extra(period=2)@ring',)}, "no option 'period'"),
    ({'task': 'quadratics(spread=-1)'}, 'spread must lie in'),
  )
  def test_says_what_to_change(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      training.run(_quadratic(**{'num_rounds': 0} | options))

  def test_clients_must_split_over_the_devices(self):
    with (
      mock.patch.object(jax, 'device_count', return_value=8),
      self.assertRaisesRegex(ValueError, 'over 8 devices: use 16 clients'),
    ):
      training.build(_quadratic(num_clients=12))

  def test_refuses_a_disconnected_graph(self):
    path = pathlib.Path(tempfile.mkdtemp()) / 'links.txt'
    path.write_text('0 1\n1 2\n3 4\n')
    for algorithm in ('gossip_sgd', 'swarm_sgd'):
      with self.assertRaisesRegex(ValueError, 'components.*add links'):
        _quadratic(variants=(f'{algorithm}@file({str(path)!r})',))

  def test_an_unstable_difference_method_diverges_if_allowed(self):
    variant = 'd_squared(allow_unstable=True)@ring(weights=best_constant)'
    config = _quadratic(variants=(variant,), optimizer='sgd(0.3)')
    rows = training.run(config).rows
    self.assertFalse(_last(rows, variant, 'error') < 1e3)


if __name__ == '__main__':
  absltest.main()
