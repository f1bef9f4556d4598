# SPDX-License-Identifier: Apache-2.0
"""Claims about federated rank learning (50 clients, 20 a round, digits)."""

import functools

import jax
import numpy as np

from experiments import frl, papers
from jaxdl import networks
from jaxdl.federated import ranks

PAPER = papers.Paper(
  title='FRL: federated rank learning',
  source='Mozaffari et al. 2021',
  arxiv='2110.04350',
  functions=(
    'federated.ranks.rank_learning',
    'federated.ranks.vote',
    'federated.ranks.rank_reversal',
    'federated.ranks.sparse_reputations',
    'federated.ranks.communication_bits',
    'networks.supermask',
  ),
  binary='frl',
)
ROBUST = ('frl', 'fedavg@trimmed_mean', 'fedavg@repeated_krum', 'fedavg')


@functools.cache
def _run(seeds, methods, last, **options):
  """Accuracy of every seed by method: mean over the last rounds."""
  config = frl.Config(
    seeds=seeds,
    methods=methods,
    eval_every=1,
    dataset='digits(test_fraction=0.2)',
    **options,
  )
  found = {(m, s): [] for m in methods for s in seeds}
  for row in frl.run(config).rows:
    if row['split'] == 'test' and row['step'] > config.num_rounds - last:
      found[row['variant'], row['seed']].append(row['accuracy'])
  return {m: np.array([np.mean(found[m, s]) for s in seeds]) for m in methods}


def _attacked(seeds):
  """A fifth of the clients attack averages of large updates, and rankings."""
  return _run(
    seeds,
    ROBUST,
    20,
    num_rounds=100,
    malicious_fraction=0.2,
    averaging_optimizer='sgd(0.2, momentum=0.9, weight_decay=0.0001)',
  )


def _text(values):
  return '/'.join(f'{v:.3f}' for v in values)


@papers.claim('Without attacks within 2 points of federated averaging')
def clean_accuracy(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The mean over seeds, of the last 5 of 40 rounds, is at most .02 lower."""
  found = _run(seeds, ('frl', 'fedavg'), 5, num_rounds=40)
  gap = float(np.mean(found['fedavg'] - found['frl']))
  figure = f'{_text(found["frl"])} against {_text(found["fedavg"])}'
  return gap <= 0.02, figure


@papers.claim(
  'With 20 % malicious clients at least 5 points above the trimmed mean, on '
  'every seed'
)
def above_trimmed_mean(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Last 20 of 100 rounds; local step 0.2 of averages, tailored attack."""
  found = _attacked(seeds)
  gap = found['frl'] - found['fedavg@trimmed_mean']
  figure = (
    f'{_text(found["frl"])} against {_text(found["fedavg@trimmed_mean"])}'
  )
  return bool((gap >= 0.05).all()), figure


@papers.claim('With 20 % malicious clients above Multi-Krum on the mean')
def above_multi_krum(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """As above, the mean over seeds."""
  found = _attacked(seeds)
  ours, theirs = found['frl'], found['fedavg@repeated_krum']
  held = np.mean(ours) > np.mean(theirs)
  return bool(held), f'{_text(ours)} against {_text(theirs)}'


@papers.claim('With 20 % malicious clients federated averaging is at chance')
def averaging_dies(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """At most 0.15 on every seed."""
  found = _attacked(seeds)['fedavg']
  return bool((found <= 0.15).all()), _text(found)


@papers.claim('With 40 % malicious clients rankings lose 20 points, too')
def breaks_outside_its_range(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The mean, of the last 20 of 60 rounds, is at most 0.75."""
  found = _run(seeds, ('frl',), 20, num_rounds=60, malicious_fraction=0.4)
  return bool(np.mean(found['frl']) <= 0.75), _text(found['frl'])


@papers.claim('Rankings take 35 % less than float32, a sparse half 67 %')
def smaller_uploads(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """MiB for LeNet 6.20, 4.05, 2.03; for Conv8 20.13, 13.07, 6.53, exactly."""
  del seeds
  found = []
  for name, shape in (('frl_lenet', (28, 28, 1)), ('conv8', (32, 32, 3))):
    network = networks.make_network(name, shape, 10)
    example = jax.ShapeDtypeStruct((1, *shape), 'float32')
    leaves = jax.eval_shape(network.init, jax.random.key(0), example)
    sizes = [x.size for x in jax.tree.leaves(leaves)]
    found += [
      ranks.communication_bits(sizes, 'float32'),
      ranks.communication_bits(sizes),
      ranks.communication_bits(sizes, top_fraction=0.5),
    ]
  found = [round(bits / 8 / 2**20, 2) for bits in found]
  held = found == [6.20, 4.05, 2.03, 20.13, 13.07, 6.53]
  return held, ', '.join(f'{x:.2f}' for x in found)
