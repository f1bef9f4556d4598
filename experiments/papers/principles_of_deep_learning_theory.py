# SPDX-License-Identifier: Apache-2.0
"""Claims about an effective theory of deep networks."""

import functools

import jax
import numpy as np

from experiments import effective_theory, papers
from jaxdl.networks import functional
from jaxdl.theory import effective

PAPER = papers.Paper(
  title='Effective theory of deep networks',
  source='Roberts, Yaida & Hanin 2022',
  arxiv='2106.10165',
  functions=(
    'theory.effective.vertex_flow',
    'theory.effective.fluctuation_flow',
    'theory.effective.kernel_flow',
    'theory.effective.training_rates',
    'theory.effective.empirical_ntk',
    'networks.functional.find_critical',
    'networks.functional.critical_init',
  ),
  binary='effective_theory',
  colab='05_what_networks_learn',
)


@functools.cache
def _layers(seeds, **options):
  """Last rows by variant and layer, means over the seeds; theory too."""
  config = effective_theory.Config(seeds=seeds, **options)
  rows = effective_theory.run(config).rows
  end = rows[-1]['step']
  out = {}
  for split, step in (('theory', 0), ('layers', end)):
    for row in rows:
      if (row['split'], row['step']) == (split, step):
        place = split, row['variant'], row['layer']
        out.setdefault(place, []).append(row)
  mean = lambda group: {
    k: np.mean([r[k] for r in group])
    for k, x in group[0].items()
    if not isinstance(x, str)
  }
  return {place: mean(group) for place, group in out.items()}


def _column(found, split, variant, name, depth):
  return np.array([found[split, variant, k + 1][name] for k in range(depth)])


def _listed(values, digits=2):
  return ', '.join(f'{x:.{digits}f}' for x in values)


@papers.claim(
  'V of ReLU grows by 5 a layer: 10000 networks of width 100 within 8 % of it '
  'once the known O(1/n) is added'
)
def relu_vertex_grows_by_five(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Theory is 5 (l - 1), exact n ((1 + 5 / n)^(l - 1) - 1), of six layers."""
  variant, n = 'relu@critical', 100
  found = _layers(
    seeds, variants=(variant,), widths=(n,), num_rounds=10, ensemble=1000
  )
  ours = _column(found, 'layers', variant, 'vertex', 6)
  told = _column(found, 'theory', variant, 'vertex', 6)
  exact = n * ((1 + 5 / n) ** np.arange(6) - 1)
  gap = np.abs(ours[1:] / exact[1:] - 1).max()
  held = gap <= 0.08 and np.allclose(told, 5 * np.arange(6), atol=1e-9)
  return bool(held), (
    f'measured {_listed(ours)}; theory {_listed(told)}; exact {_listed(exact)}'
  )


@papers.claim(
  'V of tanh at C_W = 1 within 8 % of theory, K + G1 / n within 1 %'
)
def tanh_moments(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Theory is .0975, .0678, .0501, .0394 and .0323; 20000 networks."""
  variant = 'tanh@critical'
  found = _layers(
    seeds, variants=(variant,), widths=(50,), num_rounds=20, ensemble=1000
  )
  columns = {
    (split, name): _column(found, split, variant, name, 6)
    for split in ('layers', 'theory')
    for name in ('vertex', 'kernel')
  }
  gap = lambda name: np.abs(
    columns['layers', name][1:] / columns['theory', name][1:] - 1
  ).max()
  held = gap('vertex') <= 0.08 and gap('kernel') <= 0.01
  return bool(held), (
    f'V {_listed(columns["layers", "vertex"], 4)} ({gap("vertex"):.1%} off), '
    f'K + G1 / n {_listed(columns["layers", "kernel"], 4)} '
    f'({gap("kernel"):.2%} off)'
  )


@papers.claim('Tanh: l K -> 1/2, V / (K^2 l) -> 2/3, H -> 1/2 and H / l -> 1/2')
def tanh_limits(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Each within 1.5 % at 1000 layers; H by weights alone and biases alone."""
  del seeds
  with jax.enable_x64(True):
    flow = functools.partial(
      effective.fluctuation_flow,
      'tanh',
      np.float64(1.0),
      1000,
      weight_variance=1.0,
    )
    weights = flow(weight_rate=1.0, bias_rate=0.0)
    biases = flow(weight_rate=0.0, bias_rate=1.0)
    k, v = float(weights.kernel[-1]), float(weights.vertex[-1])
    found = {
      'l K': (1000 * k, 1 / 2),
      'V / (K^2 l)': (v / k**2 / 1000, 2 / 3),
      'H, weights': (float(weights.tangent[-1]), 1 / 2),
      'H / l, biases': (float(biases.tangent[-1]) / 1000, 1 / 2),
    }
  held = all(abs(got / want - 1) <= 0.015 for got, want in found.values())
  figures = (f'{name} {got:.4f}' for name, (got, _) in found.items())
  return held, ', '.join(figures)


@papers.claim('Excess kurtosis of ReLU is 15 (l - 1) / n at widths 20, 40, 80')
def kurtosis_collapses(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Within 15 % at a ratio of .05, 20000 networks; at .025 within 10 %."""
  variant, widths = 'relu@critical', (20, 40, 80)
  found = _layers(
    seeds,
    variants=(variant,),
    widths=widths,
    depths=(5,),
    num_rounds=20,
    ensemble=1000,
  )
  shares, held = [], True
  for ratio, margin in ((0.05, 0.15), (0.025, 0.1)):
    for n in widths:
      layer = 1 + ratio * n
      if layer == int(layer):
        row = found['layers', f'{variant}, n={n}', int(layer)]
        share = row['kurtosis'] / (15 * ratio)
        shares.append(f'{share:.3f} (n={n}, ratio {ratio})')
        held &= abs(share - 1) <= margin
  return bool(held), f'of the line: {", ".join(shares)}'


@papers.claim('Tangent kernels of ReLU fluctuate by D, F, A and B, within 15 %')
def tangent_kernels_fluctuate(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """3000 networks of width 100, three layers; the mean within 1 %."""
  variant = 'relu@critical'
  found = _layers(
    seeds,
    quantity='tangent',
    variants=(variant,),
    widths=(100,),
    depths=(3,),
    num_rounds=10,
    ensemble=300,
    rates=(1.0, 0.5),
  )
  names = ('tangent', 'tangent_square', 'tangent_product', 'tangent_diagonal')
  names += ('tangent_offdiagonal',)
  ours, told = (
    {name: found[split, variant, 3][name] for name in names}
    for split in ('layers', 'theory')
  )
  gaps = {name: abs(ours[name] / told[name] - 1) for name in names}
  held = gaps.pop('tangent') <= 0.01 and max(gaps.values()) <= 0.15
  figures = (f'{n} {ours[n]:.3g} ({told[n]:.3g})' for n in names)
  return bool(held), f'measured (theory): {", ".join(figures)}'


@papers.claim(
  'GELU is critical at K* = 3.5615528, SWISH at 14.3201736, to 1e-7'
)
def critical_points(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """K*, C_W, C_b to 1e-7 and nu to 1e-5; softplus and sigmoid have none."""
  del seeds
  table = {
    'gelu': ((3 + 17**0.5) / 2, 1.98305826, 0.17292239, 4.90423),
    'silu': (14.3201736, 1.98800468, 0.55514317, 4.92319),
  }
  gaps, none = [], 0
  for name, want in table.items():
    point = functional.find_critical(name)
    gaps += [
      abs(point.kernel - want[0]),
      abs(point.weight_variance - want[1]),
      abs(point.bias_variance - want[2]),
      1e-2 * abs(point.vertex_slope - want[3]),
    ]
  for name in ('softplus', 'sigmoid'):
    try:
      functional.find_critical(name)
    except ValueError:
      none += 1
  return max(gaps) <= 1e-7 and none == 2, f'largest gap {max(gaps):.1e}'


@functools.cache
def _accuracy(seeds, variant, learning_rate):
  """Test accuracy of 50 layers on digits after 600 steps, mean over seeds."""
  config = effective_theory.Config(
    seeds=seeds,
    quantity='training',
    variants=(variant,),
    depths=(50,),
    num_rounds=600,
    eval_every=600,
    learning_rate=learning_rate,
  )
  rows = effective_theory.run(config).rows
  return float(
    np.mean(
      [r['accuracy'] for r in rows if r['split'] == 'test' and r['step'] == 600]
    )
  )


def _best(seeds, variant, rates):
  return max(_accuracy(seeds, variant, rate) for rate in rates)


@papers.claim(
  '50 layers learn digits at criticality, not with C_W 25 % below it',
  note='Tanh and ReLU, width 64, 600 steps of SGD with scaled rates; off '
  'criticality the best of two learning rates counts.',
)
def too_small_weights_fail(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Accuracy >= .6 (tanh) and >= .4 (ReLU) at criticality, <= .2 off it."""
  tanh = _accuracy(seeds, 'tanh@critical', 0.5)
  relu = _accuracy(seeds, 'relu@critical', 8.0)
  small = '@critical(scale=0.75)'
  off = [
    _best(seeds, f'tanh{small}', (0.4, 8.0)),
    _best(seeds, f'relu{small}', (2.0, 16.0)),
  ]
  held = tanh >= 0.6 and relu >= 0.4 and max(off) <= 0.2
  return held, (
    f'tanh {tanh:.3f} against {off[0]:.3f}, ReLU {relu:.3f} against '
    f'{off[1]:.3f}'
  )


@papers.claim('Residual connections let 50 ReLU layers learn: >= .9, not <= .6')
def residual_restores_depth(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Accuracy with gamma = .9, and of plain layers at their best rate."""
  carried = _accuracy(seeds, 'relu@critical(residual=0.9)', 16.0)
  plain = _best(seeds, 'relu@critical', (4.0, 8.0))
  return carried >= 0.9 and plain <= 0.6, f'{carried:.3f} against {plain:.3f}'


@papers.claim(
  '50 layers learn digits at criticality, not with C_W 30 % above it',
  note='Not so for tanh. Its networks above criticality keep their signal (K* '
  '> 0, chi_perp slightly above one) where critical ones let it fall as 1 / l, '
  'and learn faster within these 600 steps; learning rates .001 to .4 were '
  'tried, the largest is best. ReLU, whose outputs start 1.3^49 times as '
  'large, does fail (rates .0001 to 1).',
)
def too_large_weights_fail(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Accuracy of tanh >= .6, ReLU >= .4 at criticality, <= .3 off it."""
  tanh = _accuracy(seeds, 'tanh@critical', 0.5)
  relu = _accuracy(seeds, 'relu@critical', 8.0)
  large = '@critical(scale=1.3)'
  off = [
    _best(seeds, f'tanh{large}', (0.1, 0.4)),
    _best(seeds, f'relu{large}', (0.1,)),
  ]
  held = tanh >= 0.6 and relu >= 0.4 and max(off) <= 0.3
  return held, (
    f'tanh {tanh:.3f} against {off[0]:.3f}, ReLU {relu:.3f} against '
    f'{off[1]:.3f}'
  )
