# SPDX-License-Identifier: Apache-2.0
"""Claims about the flag aggregator (15 workers, digits, MLP, 300 rounds)."""

import functools

import numpy as np

from experiments import papers, robust_training

PAPER = papers.Paper(
  title='Flag aggregator',
  source='Almasi et al. 2024',
  arxiv='2302.05865',
  functions=(
    'aggregators.flag_aggregator',
    'aggregators.flag_state',
    'aggregators.flag_mean',
  ),
  binary='robust_training',
  colab='01_robust_aggregation',
)


# Divided by the dimension of the subspace, as the official code does.
FLAG = 'flag(scale=num_components)'
RULES = ('mean', 'median', 'trimmed_mean', 'bulyan', 'multi_krum', FLAG)
# The deviation of the gaussian attack is that of the comparison.
ATTACKS = ('uniform', 'gaussian(scale=10.0)', 'reverse')


@functools.cache
def accuracies(
  seeds: tuple[int, ...],
  attack: str,
  num_byzantine: int = 3,
  rules: tuple[str, ...] = RULES,
) -> dict[str, float]:
  """Final test accuracy per rule, averaged over seeds.

  Args:
    seeds: seeds, run as one program.
    attack: what adversaries send.
    num_byzantine: adversaries.
    rules: rules to compare.

  Returns:
    Accuracy per rule.
  """
  config = robust_training.Config(
    seeds=seeds,
    attack=attack,
    num_byzantine=num_byzantine,
    rules=rules,
    eval_every=300,
  )
  rows = robust_training.run(config).rows
  last = [
    r for r in rows if r['split'] == 'test' and r['step'] == config.num_rounds
  ]
  return {
    rule: float(np.mean([r['accuracy'] for r in last if r['variant'] == rule]))
    for rule in rules
  }


def _clean(seeds):
  return accuracies(seeds, 'none', 0)


@papers.claim(
  'The mean loses >= 35 points under the uniform attack, f = 3 of 15'
)
def mean_breaks(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The mean loses at least 35 points under the uniform attack."""
  clean, hit = _clean(seeds)['mean'], accuracies(seeds, 'uniform')['mean']
  return clean - hit >= 0.35, f'clean {clean:.3f}, attacked {hit:.3f}'


@papers.claim(
  'Flag (unit inputs, m = 8) stays within 2.5 points of its clean accuracy'
)
def flag_holds(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Flag stays within 2.5 points of its clean accuracy."""
  clean, hit = _clean(seeds)[FLAG], accuracies(seeds, 'uniform')[FLAG]
  return clean - hit <= 0.025, f'clean {clean:.3f}, attacked {hit:.3f}'


@papers.claim(
  'Flag beats median, trimmed mean or Bulyan on average over the attacks'
)
def flag_beats_coordinate_rules(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Flag beats median, trimmed mean or Bulyan on average over the attacks."""
  table = [accuracies(seeds, attack) for attack in ATTACKS]
  average = {
    rule: float(np.mean([row[rule] for row in table])) for rule in RULES
  }
  beaten = [
    r
    for r in ('median', 'trimmed_mean', 'bulyan')
    if average[FLAG] > average[r]
  ]
  figure = ', '.join(
    f'{rule.partition("(")[0]} {average[rule]:.3f}' for rule in RULES
  )
  return bool(beaten), f'{figure}; beaten: {", ".join(beaten) or "none"}'


@papers.claim('The raw-input form loses >= 30 points against unit inputs')
def raw_form_collapses(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """With raw gradients (the paper's formula) one attacker dominates."""
  form = 'flag(normalize=False)'
  raw = accuracies(seeds, 'uniform', rules=(form,))[form]
  unit = accuracies(seeds, 'uniform')[FLAG]
  return unit - raw >= 0.3, f'unit inputs {unit:.3f}, raw inputs {raw:.3f}'
