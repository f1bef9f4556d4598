# SPDX-License-Identifier: Apache-2.0
"""Claims about units that networks share (digits, 4 perceptrons, 3000 steps).

Three hidden layers of 64, as the sheet has it; means over all 6 pairs.
"""

import functools

import numpy as np

from experiments import convergent_learning, papers, single_merging

PAPER = papers.Paper(
  title='Convergent learning: units that networks share',
  source='Li et al. 2015',
  arxiv='1511.07543',
  functions=(
    'theory.matching.correlation',
    'theory.matching.max_match',
    'theory.matching.information_matrix',
    'theory.matching.fit_sparse_map',
    'theory.matching.cluster_units',
    'theory.matching.align',
    'decentralized.merging.align_models',
    'networks.activations',
  ),
  binary='convergent_learning',
  colab='05_what_networks_learn',
)

LAYERS = ('dense_1', 'dense_2', 'dense_3')
MEASURES = ('correlation', 'information', 'sparse')


@functools.cache
def _rows(seeds, **options):
  config = convergent_learning.Config(
    seeds=seeds, eval_every=10, measures=MEASURES, **options
  )
  return config, convergent_learning.run(config).rows


def _mean(seeds, metric, *, trained=True, options=(), **labels):
  """Mean over the seeds of a metric, by layer."""
  config, rows = _rows(seeds, **dict(options))
  step = config.num_rounds if trained else 0
  found = {}
  for r in rows:
    if metric in r and r['step'] == step and labels.items() <= r.items():
      found.setdefault(r['layer'], []).append(r[metric])
  return {layer: float(np.mean(values)) for layer, values in found.items()}


def _list(found):
  return ' / '.join(f'{v:.3f}' for v in found.values())


@papers.claim(
  'Units of trained networks correspond better than those of untrained ones in '
  'every layer, by 0.1 in the mean correlation of best and of only partners.'
)
def training_makes_units_alike(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Best and only partners are closer by 0.1 after training, in every layer."""
  held, figures = True, []
  for metric, name in (('semi', 'best'), ('matched', 'only')):
    after = _mean(seeds, metric, match='correlation')
    before = _mean(seeds, metric, match='correlation', trained=False)
    held &= all(after[k] >= before[k] + 0.1 for k in LAYERS)
    figures.append(f'{name} {_list(after)}, untrained {_list(before)}')
  return held, '; '.join(figures)


@papers.claim(
  'The best partner is never worse than the only one, and some are shared: the '
  'difference is at least 0.02 in every layer, about half of all units have '
  'one partner that is both (overlap 0.35 to 0.75).'
)
def best_partners_are_shared(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """S >= B in every row, by 0.02 after training; overlap as in the paper."""
  _, rows = _rows(seeds)
  own = [r for r in rows if r.get('match') == 'correlation']
  held = all(r['semi'] >= r['matched'] for r in own)
  semi = _mean(seeds, 'semi', match='correlation')
  matched = _mean(seeds, 'matched', match='correlation')
  gaps = {k: semi[k] - matched[k] for k in LAYERS}
  overlap = _mean(seeds, 'overlap', match='correlation')
  held &= min(gaps.values()) >= 0.02
  held &= all(0.35 <= v <= 0.75 for v in overlap.values())
  return held, f'difference {_list(gaps)}; overlap {_list(overlap)}'


@papers.claim(
  'Pairs by chance correlate by less than 0.05 in the mean; one network on '
  'shuffled examples is matched worse than untrained ones.'
)
def chance_is_no_match(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Permuted pairs are near 0, shuffled examples below untrained networks."""
  permuted = _mean(seeds, 'matched', match='permuted')
  shuffled = _mean(seeds, 'semi', match='shuffled')
  floor = _mean(seeds, 'semi', match='correlation', trained=False)
  held = all(abs(v) < 0.05 for v in permuted.values())
  held &= all(shuffled[k] < floor[k] for k in LAYERS)
  return held, (
    f'by chance {_list(permuted)}; shuffled {_list(shuffled)}, untrained '
    f'{_list(floor)}'
  )


@papers.claim(
  'A penalty on absolute weights costs nothing up to 1e-3 (within 10 % of '
  'least squares), and everything in the end: at 1 the error is 0.4 or more.'
)
def few_inputs_suffice(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A plateau up to 1e-3, then a rise to nearly the trivial 0.5."""
  penalties = (0.0, 1e-3, 1e-2, 1e-1, 0.5, 1.0)
  errors = {p: _mean(seeds, 'half_mse', penalty=p) for p in penalties}
  used = {p: _mean(seeds, 'num_used', penalty=p)['dense_1'] for p in penalties}
  held = all(
    errors[1e-3][k] <= 1.1 * errors[0.0][k] and errors[1.0][k] >= 0.4
    for k in LAYERS
  )
  figure = ', '.join(
    f'{p:g}: {errors[p]["dense_1"]:.3f} ({used[p]:.0f} inputs)'
    for p in penalties
  )
  return held, f'first layer {figure}'


@papers.claim(
  'Networks share what their units span and not the units: least squares from '
  'all units leaves at most half of what the only partner leaves.'
)
def spans_are_shared_and_units_are_not(
  seeds: tuple[int, ...],
) -> tuple[bool, str]:
  """Half the squared error of all units, and of one unit, (1 - c²) / 2."""
  dense = _mean(seeds, 'half_mse', penalty=0.0)
  matched = _mean(seeds, 'matched', match='correlation')
  # Of the mean correlation, so at least as large as the mean of the errors.
  one = {k: (1 - matched[k] ** 2) / 2 for k in LAYERS}
  held = all(dense[k] <= 0.5 * one[k] for k in LAYERS)
  return held, f'all units {_list(dense)}, one unit {_list(one)}'


@papers.claim(
  'Mutual information says the same: its matches are better after training in '
  'every layer.'
)
def information_agrees(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Matched mutual information rises by training; how often pairs agree."""
  after = _mean(seeds, 'matched', match='information')
  before = _mean(seeds, 'matched', match='information', trained=False)
  same = _mean(seeds, 'agreement', match='information')
  held = all(after[k] > before[k] for k in LAYERS)
  return held, (
    f'{_list(after)} nats, untrained {_list(before)}; pairs that correlations '
    f'match, too {_list(same)}'
  )


@papers.claim(
  'Matches become worse with depth, as on ImageNet.',
  note='Not on small tasks: untrained perceptrons do fall with depth, training '
  'lifts deep layers most. Convolutions do not fall either (one seed, two '
  'networks): frl_lenet(width=16) on digits .544, .553, .669; conv8(width=8) '
  'on synthetic images .462, .402, .398, .433, .495, .479, .567, .547, .452, '
  '.554.',
)
def deeper_units_are_less_alike(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The mean correlation of only partners falls from layer to layer."""
  found = _mean(seeds, 'matched', match='correlation')
  values = [found[k] for k in LAYERS]
  held = all(a > b for a, b in zip(values[:-1], values[1:], strict=True))
  return held, f'only partner {_list(found)}'


DEEP = 'mlp(hidden_sizes=(64, 64))'
EVEN = 'overlapping_dirichlet(alpha=1.0, samples_per_client=256)'


@functools.cache
def _merged(seeds, merge, **options):
  """Accuracy of silent clients' models, of their average, and once aligned."""
  config = single_merging.Config(
    seeds=seeds,
    variants=('alone',),
    measures=(),
    eval_every=60,
    network=DEEP,
    final_merge=merge,
    **options,
  )
  rows = single_merging.run(config).rows
  last = [r for r in rows if r['split'] == 'test' and r['step'] == 60]
  after = [r for r in rows if r.get('stage') == 'after']
  mean = lambda rows, name: float(np.mean([r[name] for r in rows]))
  return (
    mean(last, 'accuracy'),
    mean(last, 'merged_accuracy'),
    mean(after, 'accuracy'),
  )


@papers.claim(
  'Silent clients that could not be merged can be once their units are in one '
  'order: the average of 16 models of different starts gains 10 points.'
)
def matched_silence_can_be_merged(
  seeds: tuple[int, ...],
) -> tuple[bool, str]:
  """Two hidden layers, no communication: matching before merging."""
  alone, plain, aligned = _merged(seeds, 'aligned')
  *_, weights = _merged(seeds, 'aligned(by=weights)')
  even = _merged(seeds, 'aligned', partition=EVEN)
  figure = (
    f'models {alone:.3f}, average {plain:.3f}, aligned by activations '
    f'{aligned:.3f}, by weights {weights:.3f}; data of alpha 1: models '
    f'{even[0]:.3f}, average {even[1]:.3f}, aligned {even[2]:.3f}'
  )
  return aligned >= plain + 0.1, figure
