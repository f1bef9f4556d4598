# SPDX-License-Identifier: Apache-2.0
"""Claims about adaptive selection in cooperative perception, at CPU scale.

Four agents on a generated crossing of 20 x 20 cells, 16 channels; 200 steps
with full frames and 300 with trimmed ones, as the method's sheet has it.
"""

import functools

import jax
import numpy as np

from experiments import coopertrim as binary, papers
from jaxdl.problems import cooperation as problems

PAPER = papers.Paper(
  title='COOPERTRIM: adaptive data selection for uncertainty-aware cooperative '
  'perception',
  source='Mukhopadhyay and Roy-Chowdhury and Qiu 2026',
  arxiv='2602.13287',
  functions=(
    'perception.cooperation.temporal_scores',
    'perception.cooperation.conformal_uncertainty',
    'perception.cooperation.channel_selector',
    'perception.cooperation.straight_through_mask',
    'perception.cooperation.trim_exchange',
    'perception.cooperation.coopertrim_step',
    'perception.cooperation.cooperative_training',
    'perception.cooperation.wire.lambda_schedule',
    'perception.cooperation.wire.quantize',
    'perception.cooperation.wire.lossy_links',
  ),
  binary='coopertrim',
  colab='09_solving_and_seeing',
)

TRIM = 'coopertrim'


@functools.cache
def _run(seeds):
  config = binary.Config(
    seeds=seeds, selectors=(TRIM,), budgets=(), eval_every=25
  )
  return config, binary.run(config)


def _last(rows, variant, split='test', selector=None):
  """Figures of every seed at the end."""
  own = [
    r
    for r in rows
    if (r['variant'], r['split']) == (variant, split)
    and selector in (None, r.get('selector'))
  ]
  last = max(r['step'] for r in own)
  own = [r for r in own if r['step'] == last]
  return {
    name: np.array([r[name] for r in own])
    for name in ('iou', 'percent', 'mbps', 'percent_std', 'percent_vehicles')
  }


def _shown(values):
  return ', '.join(f'{v:.3g}' for v in values)


@papers.claim(
  'Trimmed is as good as full: with at most 45 % of the channels IoU is at '
  'most .02 below that of the same network with all channels, for every seed',
  note='The selector starts with all channels open (bias 1 of its output). '
  'With bias 0 next to none are open after the warm-up, and one of three seeds '
  'stayed at 2 % of the channels and an IoU of .38, of .64 with all.',
)
def trimmed_is_as_good_as_full(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """IoU with what the selector asks for against all channels."""
  _, result = _run(seeds)
  trimmed = _last(result.rows, TRIM)
  full, none = (
    _last(result.rows, TRIM, 'rivals', s)['iou'] for s in ('full', 'none')
  )
  held = (trimmed['iou'] >= full - 0.02).all() and trimmed[
    'percent'
  ].max() <= 45
  return bool(held), (
    f'trimmed {_shown(trimmed["iou"])} with {_shown(trimmed["percent"])} % '
    f'({_shown(trimmed["mbps"])} Mb/s), full {_shown(full)}, none '
    f'{_shown(none)}'
  )


@papers.claim(
  'Which channels matters: at the same share random channels have an IoU lower '
  'by at least .1, for every seed'
)
def random_channels_are_worse(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Random channels, and those of largest spread, at the same share."""
  _, result = _run(seeds)
  trimmed = _last(result.rows, TRIM)['iou']
  random, std = (
    _last(result.rows, TRIM, 'rivals', s)['iou'] for s in ('random', 'std')
  )
  return bool((trimmed - random).min() >= 0.1), (
    f'trimmed {_shown(trimmed)}, random {_shown(random)}, largest spread '
    f'{_shown(std)}'
  )


@papers.claim(
  'What is asked for adapts: the percentage varies from frame to frame by a '
  'standard deviation of at least 1, for every seed',
  note='The learned mask collapses to a fixed set of channels into which the '
  'network moves all that is useful: traffic falls, but nothing adapts.',
)
def quantity_adapts(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Standard deviation over frames, and correlation with vehicles."""
  _, result = _run(seeds)
  found = _last(result.rows, TRIM)
  return bool(found['percent_std'].min() >= 1.0), (
    f'standard deviation {_shown(found["percent_std"])} points, correlation '
    f'with the number of vehicles {_shown(found["percent_vehicles"])}'
  )


LINKS = {
  'ring': 'over(topology=ring)',
  'ring, 30 % lost': 'over(topology=ring, loss=0.3)',
  'complete': 'over(topology=complete)',
  'complete, 30 % lost': 'over(topology=complete, loss=0.3)',
  'one peer, 30 % offline': 'over(topology=one_peer_exponential, offline=0.3)',
}
CODES = ('none', 'qsgd(num_levels=127)', 'top_k(keep=0.25)', 'lossy(factor=16)')


@papers.claim(
  'Over lossy links all agents fuse what neighbors send: with 8-bit messages '
  '(qsgd, 127 levels) IoU on a ring of which 30 % of the messages are lost is '
  'within .02 of that of uncompressed ones, with a third of the Mb/s at most',
  note='Mb/s are of the messages that arrive.',
)
def messages_may_be_small_and_lost(
  seeds: tuple[int, ...],
) -> tuple[bool, str]:
  """IoU against Mb/s for topologies, losses and compressors."""
  config, result = _run(seeds)
  params = result.state[TRIM].params
  found, parts = {}, []
  for name, links in LINKS.items():
    cells = []
    for code in CODES if name == 'ring, 30 % lost' else CODES[:2]:
      problem = problems.bev_segmentation(
        **config.parts | {'links': links, 'compress': code},
        num_tests=config.num_tests,
        seeds=seeds,
      )
      scores = problem.scores_with(jax.tree.map(np.asarray, params))
      found[name, code] = scores
      mean = {k: float(v.mean()) for k, v in scores.items()}
      cells.append(f'{code} {mean["iou"]:.3f} at {mean["mbps"]:.3f}')
    parts.append(f'{name}: {", ".join(cells)}')
  plain, small = (found['ring, 30 % lost', code] for code in CODES[:2])
  held = (small['iou'] >= plain['iou'] - 0.02).all()
  held &= (small['mbps'] <= plain['mbps'] / 3).all()
  return bool(held), f'IoU at Mb/s per sender: {"; ".join(parts)}'
