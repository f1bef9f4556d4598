# SPDX-License-Identifier: Apache-2.0
"""Claims about MoNNA (16 nodes, 3 adversarial, digits, softmax regression)."""

import functools

import numpy as np

from experiments import monna, papers

PAPER = papers.Paper(
  title='MoNNA: robust collaborative learning without a server',
  source='Farhadkhani et al. 2023',
  arxiv='2209.10931',
  functions=(
    'decentralized.all_to_all_sgd',
    'decentralized.receiver_rule',
    'aggregators.nearest_neighbor_averaging',
  ),
  binary='monna',
  colab='01_robust_aggregation',
)


IPM = 'optimized_ipm(search=grid)'
ALIE = 'optimized_alie(search=grid)'
ATTACKS = ('sign_flip', IPM, ALIE, 'label_flip')
METHODS = ('monna', 'nna', 'mocwtm', 'bridge', 'scc')


@functools.cache
def _rows(seeds, attack, methods=METHODS, **options):
  config = monna.Config(seeds=seeds, attack=attack, methods=methods, **options)
  return monna.run(config).rows, config.num_rounds


def _last(rows, rounds, split, method, metric):
  found = [
    r[metric]
    for r in rows
    if r['split'] == split and r['step'] == rounds and r['variant'] == method
  ]
  return float(np.mean(found))


def worst_case(seeds: tuple[int, ...]) -> dict[str, float]:
  """Lowest accuracy over the four attacks, per method.

  Args:
    seeds: seeds, run as one program.

  Returns:
    Worst mean accuracy of correct nodes per method.
  """
  return {
    method: min(
      _last(*_rows(seeds, attack), 'test', method, 'accuracy')
      for attack in ATTACKS
    )
    for method in METHODS
  }


@papers.claim('MoNNA keeps >= .92 in the worst of four attacks, n = 16, f = 3')
def monna_holds(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """MoNNA keeps at least .92 under every attack."""
  worst = worst_case(seeds)
  figure = ', '.join(f'{name} {value:.3f}' for name, value in worst.items())
  return worst['monna'] >= 0.92, f'worst case: {figure}'


@papers.claim('It is >= .2 above nearest-neighbor averaging without momentum')
def momentum_is_needed(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Without momentum the worst case is at least .2 lower."""
  worst = worst_case(seeds)
  gap = worst['monna'] - worst['nna']
  return gap >= 0.2, f'gap {gap:.3f}'


@papers.claim('Its drift is smaller than without momentum')
def drift_is_smaller(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Momentum keeps correct models together under fall of empires."""
  rows, rounds = _rows(seeds, IPM)
  with_momentum = _last(rows, rounds, 'train', 'monna', 'drift')
  without = _last(rows, rounds, 'train', 'nna', 'drift')
  return with_momentum < without, f'{with_momentum:.2g} < {without:.2g}'


@papers.claim(
  'Contraction and shift stay below 9.88 f / (n - f) and 9 f / (n - f) '
  'for n >= 11 f'
)
def ratios_are_bounded(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """In the proven regime the mixing contracts as recalled from the paper."""
  n, f = 24, 2
  worst = {'alpha': 0.0, 'lambda': 0.0}
  for attack in (IPM, ALIE, 'sign_flip'):
    rows, _ = _rows(
      seeds,
      attack,
      ('monna',),
      num_clients=n,
      num_byzantine=f,
      eval_every=1,
      num_rounds=100,
    )
    for r in rows:
      if r['split'] == 'train':
        worst = {k: max(v, r[k]) for k, v in worst.items()}
  alpha, lam = 9.88 * f / (n - f), 9.0 * f / (n - f)
  held = worst['alpha'] <= alpha and worst['lambda'] <= lam
  return held, (
    f'n={n}, f={f}: alpha {worst["alpha"]:.3f} <= {alpha:.3f}, '
    f'lambda {worst["lambda"]:.3f} <= {lam:.3f}'
  )
