# SPDX-License-Identifier: Apache-2.0
"""Claims about vanishing variance (50 clients, degree 8, digits, MLP)."""

import functools

import numpy as np

from experiments import papers, vanishing_variance

PAPER = papers.Paper(
  title='Variance-corrected averaging',
  source='Tian et al. 2024',
  arxiv='2404.04616',
  functions=(
    'mixing.variance.variance_corrected_average',
    'mixing.variance.variance_corrected',
    'decentralized.buffered_gossip',
    'mixing.variance.rescale_to_variance',
  ),
  binary='vanishing_variance',
)


SELF = 'corrected(target=self)'
METHODS = ('federated', 'plain', 'corrected', SELF)


@functools.cache
def _rows(seeds, methods=METHODS, **options):
  config = vanishing_variance.Config(
    seeds=seeds, methods=methods, **{'eval_every': 10, **options}
  )
  return vanishing_variance.run(config).rows


def _curve(rows, method, name='accuracy', split='test'):
  """Mean over the seeds at each evaluated tick."""
  found = {}
  for row in rows:
    if row['split'] == split and row['variant'] == method:
      found.setdefault(row['step'], []).append(row[name])
  return {step: float(np.mean(values)) for step, values in found.items()}


def _first_to(curve, target=0.9):
  return min((t for t, v in curve.items() if v >= target), default=np.inf)


@papers.claim(
  'Plain gossip from different starts is at chance after 100 ticks.'
)
def plain_gossip_stalls(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Plain gossip is at most at 0.2 after 100 ticks, three hidden layers."""
  found = _curve(_rows(seeds), 'plain')[100]
  return found <= 0.2, f'accuracy {found:.3f} at tick 100'


@papers.claim('Variance-corrected gossip reaches 0.94 within 100 ticks.')
def corrected_gossip_learns(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Corrected gossip reaches 0.94 within 100 ticks."""
  found = _curve(_rows(seeds), 'corrected')[100]
  return found >= 0.94, f'accuracy {found:.3f} at tick 100'


@papers.claim(
  'Variance-corrected gossip ends within 2 points of federated averaging.'
)
def corrected_matches_federated(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Corrected gossip and federated averaging are within 2 points at 150."""
  ours = _curve(_rows(seeds), 'corrected')[150]
  theirs = _curve(_rows(seeds), 'federated')[150]
  figure = f'corrected {ours:.3f}, federated {theirs:.3f}'
  return abs(ours - theirs) <= 0.02, figure


@papers.claim('Whose variance is restored hardly matters.')
def targets_agree(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Restoring the own or the others' variance makes less than a point."""
  others = _curve(_rows(seeds), 'corrected')[150]
  own = _curve(_rows(seeds), SELF)[150]
  return abs(others - own) <= 0.01, f'others {others:.3f}, self {own:.3f}'


@papers.claim('The variance of plain gossip falls as the mixing matrix says.')
def variance_follows_theory(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """In the first ticks of plain gossip the variance is that of theory."""
  rows = _rows(seeds, ('plain',), num_rounds=5, eval_every=1)
  measured = _curve(rows, 'plain', 'ratio', 'variance')
  theory = _curve(rows, 'theory', 'ratio', 'variance')
  errors = [abs(measured[t] / theory[t] - 1) for t in range(1, 6)]
  figure = (
    f'after one tick {measured[1]:.4f} of the start, theory {theory[1]:.4f}; '
    f'largest error in five ticks {max(errors):.1%}'
  )
  return max(errors) <= 0.05, figure


@papers.claim('The variance of plain gossip ends at 1/N of the start.')
def variance_ends_at_one_over_n(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Plain gossip of N models ends near 1/N of the variance at the start."""
  found = _curve(_rows(seeds), 'plain', 'ratio', 'variance')[150]
  return abs(found * 50 - 1) <= 0.2, f'{found:.4f} of the start, 1/N = 0.0200'


@papers.claim(
  'Plain gossip gets slower with every hidden layer, corrected gossip not.'
)
def depth_delays_plain_gossip(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Each hidden layer delays plain gossip; the corrected one stays fast."""
  plain, corrected = [], []
  for depth in (1, 2, 3):
    rows = _rows(
      seeds,
      ('plain', 'corrected'),
      network=f'mlp({(64,) * depth})',
      num_rounds=300,
    )
    plain.append(_first_to(_curve(rows, 'plain')))
    corrected.append(_first_to(_curve(rows, 'corrected')))
  figure = (
    f'ticks to 0.9 with 1, 2, 3 hidden layers: plain {plain}, corrected '
    f'{corrected}'
  )
  held = plain[0] < plain[1] < plain[2] and max(corrected) <= 100
  return held, figure


@papers.claim(
  'With uneven data (alpha 0.5) corrected gossip learns, plain gossip not.'
)
def uneven_data_are_no_obstacle(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """At alpha = 0.5 corrected gossip reaches 0.9 while plain gossip stalls."""
  methods = ('federated', 'plain', 'corrected')
  rows = _rows(seeds, methods, partition='resample(alpha=0.5)')
  ends = {m: _curve(rows, m)[150] for m in methods}
  figure = ', '.join(f'{m} {v:.3f}' for m, v in ends.items())
  return ends['corrected'] >= 0.9 and ends['plain'] <= 0.2, figure
