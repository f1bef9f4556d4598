# SPDX-License-Identifier: Apache-2.0
"""Claims about decentralized sampling (64 nodes, digits, MLP, s = 8)."""

import functools

import numpy as np

from experiments import modest, papers
from jaxdl import experiment

PAPER = papers.Paper(
  title='MoDeST: decentralized sampling',
  source='de Vos et al. 2023',
  arxiv='2302.13837',
  functions=(
    'decentralized.sampling.sampling_protocol',
    'decentralized.sampling_sgd',
    'decentralized.sampling.select_sample',
    'decentralized.sampling.merge_views',
  ),
  binary='modest',
)


@functools.cache
def _run(seeds, methods, **options):
  config = modest.Config(
    seeds=seeds,
    methods=methods,
    eval_every=5,
    **{'num_rounds': 200, **options},
  )
  return config, modest.run(config).rows


def _test(rows, method, seed):
  return [
    r
    for r in rows
    if r['split'] == 'test' and r['variant'] == method and r['seed'] == seed
  ]


def _to_target(seeds, method, name):
  """Mean of a metric where the target accuracy is first reached."""
  config, rows = _run(seeds, (method,))
  found = experiment.reached(
    rows, 'accuracy', config.target_accuracy, variant=method
  )
  if len(found) < len(seeds):
    return np.inf
  return float(np.mean([r[name] for r in found]))


@papers.claim(
  'Decentralized sampling makes exactly the models of federated averaging'
)
def same_models_as_a_server(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """All test losses equal those of federated averaging, bit for bit."""
  _, ours = _run(seeds, ('modest',))
  _, served = _run(seeds, ('fl',))
  gaps = [
    abs(a['loss'] - b['loss'])
    for s in seeds
    for a, b in zip(
      _test(ours, 'modest', s), _test(served, 'fl', s), strict=True
    )
  ]
  return max(gaps) == 0.0, f'{len(gaps)} evaluations, gap {max(gaps):g}'


@papers.claim('Learning goes on when 80 % of the nodes crash at once')
def survives_a_crash(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """With 51 of 64 nodes gone, accuracy stays at .9 at least, for 300 rounds."""
  method = 'modest(activity_window=100)'
  _, rows = _run(
    seeds, (method,), churn='crash(fraction=0.8, at=100)', num_rounds=400
  )
  after = [
    [r for r in _test(rows, method, s) if r['step'] > 100] for s in seeds
  ]
  lowest = min(r['accuracy'] for group in after for r in group)
  last = float(np.mean([group[-1]['accuracy'] for group in after]))
  stalled = sum(group[-1]['stalled'] for group in after)
  figure = f'lowest {lowest:.3f}, final {last:.3f}, stalled {stalled}'
  return lowest >= 0.9 and not stalled, figure


@papers.claim('Several times fewer bytes to 90 % than decentralized SGD')
def fewer_bytes_than_gossip(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """To 90 %, one-peer D-SGD sends >= 3 times, on a ring >= 8 times as much."""
  ours = _to_target(seeds, 'modest', 'megabytes')
  peer = _to_target(seeds, 'dsgd', 'megabytes')
  ring = _to_target(seeds, 'dsgd(topology=ring)', 'megabytes')
  figure = (
    f'MB: {ours:.1f} sampling, {peer:.1f} one peer ({peer / ours:.1f}x), '
    f'{ring:.1f} ring ({ring / ours:.1f}x)'
  )
  return 3 * ours <= peer < np.inf and 8 * ours <= ring < np.inf, figure


@papers.claim('Time to accuracy close to federated averaging')
def as_fast_as_a_server(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Time to 90 % is at most 1.25 times that of federated averaging."""
  ours = _to_target(seeds, 'modest', 'time_s')
  served = _to_target(seeds, 'fl', 'time_s')
  figure = f'{ours:.1f} s against {served:.1f} s ({ours / served:.2f}x)'
  return ours <= 1.25 * served, figure


@papers.claim('Not waiting for the slowest shortens rounds at little loss')
def fraction_shortens_rounds(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Waiting for half the sample: <= .8 of the time, accuracy within .03."""
  half = 'modest(success_fraction=0.5)'
  last = lambda method, name: float(
    np.mean(
      [_test(_run(seeds, (method,))[1], method, s)[-1][name] for s in seeds]
    )
  )
  share = last(half, 'time_s') / last('modest', 'time_s')
  drop = last('modest', 'accuracy') - last(half, 'accuracy')
  return share <= 0.8 and drop <= 0.03, f'time {share:.2f}, drop {drop:.3f}'
