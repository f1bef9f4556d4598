# SPDX-License-Identifier: Apache-2.0
"""Claims about nets whose random hidden weights are bounded.

Figures of the paper were not at hand: settings and margins are our own.
"""

import functools

import numpy as np

from experiments import papers, random_networks
from jaxdl import problems
from jaxdl.networks.features import ridgelets

PAPER = papers.Paper(
  title='Shallow networks with bandlimited random weights',
  source='Li et al. 2023',
  arxiv='2008.08427',
  functions=(
    'networks.features.shallow.sample_hidden',
    'networks.features.shallow.fit',
    'networks.features.shallow.incremental_readout',
    'networks.features.shallow.stochastic_configuration',
    'networks.features.shallow.stream',
    'networks.features.ridgelets.ridgelet_transform',
    'networks.features.ridgelets.lowpass_multiplier',
    'networks.features.ridgelets.exterior_energy',
    'networks.features.ridgelets.budgeted_floor',
    'networks.features.ridgelets.strict_floor',
    'networks.features.fit_readout',
  ),
  binary='random_networks',
)


@functools.cache
def _rows(seeds, **options):
  options = {'num_rounds': 1, 'floor': False} | options
  config = random_networks.Config(seeds=seeds, **options)
  return random_networks.run(config).rows


def _found(seeds, split='test', metric='rmse', **options):
  """Seed means by target, method, scale and width."""
  found: dict[tuple, list[float]] = {}
  for r in _rows(seeds, **options):
    if r['split'] == split:
      place = (r['target'], r['variant'], r.get('scale'), r.get('num_hidden'))
      found.setdefault(place, []).append(r[metric])
  return {place: float(np.mean(values)) for place, values in found.items()}


def _sine(k):
  return f'sine(complexity={k})'


def _listed(values):
  return ', '.join(f'{v:.2g}' for v in values)


@papers.claim(
  'sin(4 pi x), weights on [-1, 1]: the test error stays within 3 % of .655 '
  'from n = 30 to 3000 (mu = 1e-6)'
)
def small_weights_have_a_floor(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """More units do not help where weights are too small."""
  sizes = (10, 30, 100, 300, 1000, 3000)
  found = _found(seeds, targets=(_sine(2),), scales=(1.0,), num_hidden=sizes)
  errors = np.array([found[_sine(2), 'batch', 1.0, n] for n in sizes])
  held = np.abs(errors[1:] / 0.655 - 1).max() <= 0.03
  return bool(held), '/'.join(f'{e:.3f}' for e in errors) + ' at n = 10...3000'


@papers.claim(
  'With weights on [-20, 20] the same error falls by more than 1000 times from '
  'n = 10 to 3000'
)
def large_weights_have_none(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """At a suitable scale the error falls with every size."""
  sizes = (10, 30, 100, 300, 1000, 3000)
  found = _found(seeds, targets=(_sine(2),), scales=(20.0,), num_hidden=sizes)
  errors = [found[_sine(2), 'batch', 20.0, n] for n in sizes]
  held = errors[0] > 1000 * errors[-1] and (np.diff(errors) < 0).all()
  return bool(held), '/'.join(f'{e:.2g}' for e in errors)


@papers.claim(
  'The best scale grows with the frequency: the least scale with an error '
  'below 1e-2 doubles, within a factor of 1.5, as k does, and the best one at '
  'k = 4 is at least twice that at k = 1 (n = 1000)'
)
def the_optimum_moves(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Suitable scales grow with the complexity of the target."""
  scales = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 50.0, 200.0)
  targets = tuple(map(_sine, (1, 2, 4)))
  found = _found(seeds, targets=targets, scales=scales, num_hidden=(1000,))
  best, least = [], []
  for target in targets:
    errors = [found[target, 'batch', s, 1000] for s in scales]
    best.append(scales[int(np.argmin(errors))])
    least.append(
      next(s for s, e in zip(scales, errors, strict=True) if e < 1e-2)
    )
  ratios = np.array(least[1:]) / np.array(least[:-1])
  held = best[2] >= 2 * best[0] and (np.abs(np.log2(ratios / 2)) < 0.585).all()
  return bool(held), (
    f'k = 1, 2, 4: below 1e-2 from scale {_listed(least)}; best {_listed(best)}'
  )


@papers.claim(
  'Too large a scale hurts: at n = 300, k = 2 the error at scale 200 is more '
  'than 10 times that at 20'
)
def too_large_hurts(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Units that are steps need more of them."""
  found = _found(
    seeds, targets=(_sine(2),), scales=(20.0, 200.0), num_hidden=(300,)
  )
  good, bad = (found[_sine(2), 'batch', s, 300] for s in (20.0, 200.0))
  return bad > 10 * good, f'scale 20 {good:.2g}, scale 200 {bad:.2g}'


@papers.claim(
  'Residuals of nets of n = 10000 are within 5 % of the floor of infinite '
  'ones: cosines, k = 1, 2, scales 5 and 10, and tanh at scales 1 to 5'
)
def nets_meet_the_floor(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The budgeted floor is what large nets have."""
  settings = (
    {'activation': 'cos', 'bias_range': np.pi, 'scales': (5.0, 10.0)}
    | {'ridge': 1e-3, 'targets': (_sine(1), _sine(2))},
    {'scales': (1.0, 2.0, 5.0), 'targets': (_sine(2),)},
  )
  gaps, parts = [], []
  for setting in settings:
    setting |= {'num_hidden': (10_000,), 'floor': True}
    nets = _found(seeds, metric='train_rmse', **setting)
    floors = _found(seeds, 'floor', 'train_rmse', **setting)
    for (target, _, scale, _), floor in floors.items():
      net = nets[target, 'batch', scale, 10_000]
      gaps.append(abs(net / floor - 1))
      parts.append(f'{floor:.3g} and {net:.3g}')
  return bool(max(gaps) <= 0.05), (
    f'largest gap {max(gaps):.1%}; floor and net {", ".join(parts)}'
  )


@papers.claim(
  'The floor is one of a budget: as the ridge falls from 1e-2 to 1e-12 at '
  'scale 1 the error of k = 2 falls below .5, and |c| grows 10^5 times'
)
def the_budget_decides(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Without a bound on the output weights there would be no floor."""
  errors, norms = [], []
  for ridge in (1e-2, 1e-6, 1e-12):
    setting = {'targets': (_sine(2),), 'scales': (1.0,), 'ridge': ridge}
    place = (_sine(2), 'batch', 1.0, 1000)
    for metric, values in (('rmse', errors), ('norm', norms)):
      found = _found(seeds, metric=metric, num_hidden=(1000,), **setting)
      values.append(found[place])
  held = errors[2] < 0.5 < 0.65 < errors[1] and norms[2] > 1e5 * norms[0]
  return held, f'errors {_listed(errors)}, |c| {_listed(norms)}'


@papers.claim(
  'relu has no floor: at scale 1, k = 1, the error at n = 1000 is below 1e-2 '
  'and a tenth of that at n = 30',
  note='A control: relu is homogeneous, so the scale only moves the ridge. '
  'The error at scale 200 is smaller, as if the ridge were 200^2 times '
  'smaller.',
)
def relu_has_no_floor(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Of homogeneous units the scale means nothing."""
  sizes, scales = (30, 1000), (1.0, 200.0)
  found = _found(
    seeds,
    targets=(_sine(1),),
    scales=scales,
    num_hidden=sizes,
    activation='relu',
  )
  few, many = (found[_sine(1), 'batch', 1.0, n] for n in sizes)
  large = found[_sine(1), 'batch', 200.0, 1000]
  held = many < 1e-2 and many < 0.1 * few
  return held, (
    f'scale 1: {few:.2g} at n = 30, {many:.2g} at 1000; scale 200: {large:.2g}'
  )


@papers.claim(
  'Digits, n = 500: accuracy is best at a scale in between, by a point or more '
  'over scales .01 and 10'
)
def digits_have_an_optimum(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """On real data too small and too large scales lose."""
  scales = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
  found = _found(
    seeds,
    metric='accuracy',
    targets=('digits',),
    scales=scales,
    num_hidden=(500,),
    ridge=1e-4,
  )
  values = [found['digits', 'batch', s, 500] for s in scales]
  best = int(np.argmax(values))
  ends = max(values[0], values[1], values[-1])
  held = 1 < best < len(scales) - 1 and values[best] >= ends + 0.01
  return held, ', '.join(
    f'{s:g}: {v:.3f}' for s, v in zip(scales, values, strict=True)
  )


@papers.claim(
  'Diabetes, n = 300: nearly linear data want small weights, the error at '
  'scale 10 is more than twice that at .1'
)
def diabetes_wants_small_weights(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Too large a scale overfits."""
  scales = (0.01, 0.1, 0.3, 1.0, 10.0)
  found = _found(
    seeds,
    targets=('diabetes',),
    scales=scales,
    num_hidden=(300,),
    ridge=1e-3,
  )
  values = [found['diabetes', 'batch', s, 300] for s in scales]
  return values[-1] > 2 * values[1], ', '.join(
    f'{s:g}: {v:.2f}' for s, v in zip(scales, values, strict=True)
  )


_RATES = (0.003, 0.01, 0.03, 0.1)


@functools.cache
def _rivals(seeds, metric='rmse'):
  """By method and scale, at k = 2 and n = 100."""
  trained = tuple(f'mlp(learning_rate={rate})' for rate in _RATES)
  methods = ('batch', 'elm', 'rvfl', 'irvfl', 'scn', 'fourier', 'kernel')
  found = _found(
    seeds,
    metric=metric,
    targets=(_sine(2),),
    methods=(*methods, *trained),
    scales=(1.0, 5.0, 20.0),
    num_hidden=(100,),
  )
  out: dict[str, dict] = {}
  for (_, method, scale, _), error in found.items():
    out.setdefault(method, {})[scale] = error
  return out


@papers.claim(
  'k = 2, n = 100: at its best scale the random net has a smaller error than '
  'a network of equal width that Adam trains for 3000 steps, at the best of '
  'four step sizes; at scale 1 a larger one'
)
def fitted_beats_trained(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A suitable random layer is as good as a trained one, a small one is not."""
  found = _rivals(seeds)
  own = found['batch']
  trained = [found[f'mlp(learning_rate={rate})'][None] for rate in _RATES]
  held = min(own.values()) < min(trained) < own[1.0]
  return held, (
    f'random {_listed(own.values())} at scales 1, 5, 20; trained '
    f'{_listed(trained)} at steps {_listed(_RATES)}'
  )


@papers.claim(
  'Nets that grow: stochastic configuration, which picks its scales, is within '
  '10 times the best of batch; IRVFL, which never refits, keeps more than '
  'half of the target at every scale'
)
def growing_needs_a_refit(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Refitting is what makes growing nets learn."""
  found = _rivals(seeds)
  scn, best = found['scn'][None], min(found['batch'].values())
  held = scn < 10 * best and min(found['irvfl'].values()) > 0.5 * 0.5**0.5
  return held, (
    f'SCN {scn:.2g}, batch {best:.2g}, IRVFL {_listed(found["irvfl"].values())}'
  )


@papers.claim(
  'The floor is of scale and budget, not of the method: at scale 1 batch, '
  'RVFL, Fourier features and the limiting kernel all keep an error above .6 '
  '(k = 2, n = 100, mu = 1e-6); ELM, which has no ridge, keeps less than 1e-2 '
  'with a |c| that is 10^4 times larger',
  note='In float64 the pseudo-inverse still sees directions that are 10^-13 '
  'of the largest: the span of tanh units is dense whatever the scale. It '
  'takes exact targets; noise is multiplied by the same |c|.',
)
def the_budget_is_the_floor(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """All methods of one budget share a floor."""
  errors, norms = (_rivals(seeds, metric) for metric in ('rmse', 'norm'))
  names = ('batch', 'rvfl', 'fourier', 'kernel', 'elm')
  held = min(errors[name][1.0] for name in names[:-1]) > 0.6
  held &= errors['elm'][1.0] < 1e-2
  held &= norms['elm'][1.0] > 1e4 * max(norms[n][1.0] for n in names[:-1])
  return bool(held), '; '.join(
    f'{name} {errors[name][1.0]:.2g}, |c| {norms[name][1.0]:.2g}'
    for name in names
  )


@papers.claim(
  'A bound is a low-pass filter: quadrature of the restricted synthesis of a '
  'bell differs from the multiplier exp(-w^2 / lambda^2) by less than 1e-4'
)
def a_bound_is_a_filter(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Two ways to cut a function agree."""
  del seeds
  x = np.linspace(-9, 9, 361)
  f, dx = np.exp(-x * x / 2), np.full(361, x[1] - x[0])
  pair = ridgelets.gaussian_pair()
  gaps = []
  for scale in (1.0, 2.0, 5.0):
    grid = ridgelets.line_grid(scale, 240, 160)
    r = ridgelets.ridgelet_transform(f, x[:, None], dx, grid, pair.ridgelet)
    made = ridgelets.ridgelet_synthesis(r, x[:, None], grid, pair.activation)
    cut = lambda w, s=scale: np.exp(-((w / s) ** 2))
    low = ridgelets.truncated(f, dx[0], cut)
    gaps.append(np.abs(np.asarray(made) / (2 * np.pi) - low).max())
  return bool(max(gaps) < 1e-4), f'largest gap {max(gaps):.1e}'


@papers.claim(
  'More of the ridgelet spectrum outside of the sampled set goes with a larger '
  'error: of bells of complexity 2, 4 and 8 at scale 3 both grow'
)
def the_diagnostic_orders(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The diagnostic of the paper orders targets as errors do."""
  names = [f'gaussian(complexity={k})' for k in (2, 4, 8)]
  found = _found(seeds, targets=tuple(names), scales=(3.0,), num_hidden=(1000,))
  errors = [found[name, 'batch', 3.0, 1000] for name in names]
  shares, rho = [], ridgelets.gaussian_pair().ridgelet
  for k, name in zip((2, 4, 8), names, strict=True):
    target = problems.random_nets.make_target(name)
    dx = np.full(len(target.x), 2 / (len(target.x) - 1))
    grid = ridgelets.line_grid(
      30.0, 600, 200, width=lambda a, k=k: 8 * np.sqrt(1 + (a / k) ** 2) + 5
    )
    r = ridgelets.ridgelet_transform(target.y[:, 0], target.x, dx, grid, rho)
    shares.append(float(ridgelets.exterior_energy(r, grid, scale=3.0)))
  held = (np.diff(shares) > 0).all() and (np.diff(errors) > 0).all()
  return bool(held), f'outside {_listed(shares)}, errors {_listed(errors)}'
