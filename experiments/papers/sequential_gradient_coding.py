# SPDX-License-Identifier: Apache-2.0
"""Claims about sequential gradient coding (64 workers, 4 models, 200 jobs)."""

import functools
import itertools

import numpy as np

from experiments import gradient_coding, papers
from jaxdl import coding

PAPER = papers.Paper(
  title='Sequential gradient coding',
  source='Krishnan et al. 2023',
  arxiv='2211.13802',
  functions=(
    'coding.make_scheme',
    'coding.plan_run',
    'coding.simulate',
    'coding.coded_training',
    'coding.gradient_code',
    'coding.load_lower_bound',
  ),
  binary='gradient_coding',
)
SCHEMES = ('uncoded', 'gc', 'sr_sgc', 'm_sgc')


@functools.cache
def _times(seeds, scheme):
  """Seconds of each seed with the best numbers of a scheme."""
  config = gradient_coding.Config(
    seeds=seeds, schemes=(scheme,), select='hindsight'
  )
  return np.array([config.plan(scheme, seed).total_s for seed in seeds])


def _between(seeds, scheme, low, high):
  """Whether the time over that of gradient coding is where it should be."""
  ratios = _times(seeds, scheme) / _times(seeds, 'gc')
  seconds = _times(seeds, scheme).mean(), _times(seeds, 'gc').mean()
  figure = (
    f'{ratios.mean():.3f} ({", ".join(f"{r:.3f}" for r in ratios)}): '
    f'{seconds[0]:.1f} s against {seconds[1]:.1f} s'
  )
  return bool((ratios >= low).all() and (ratios <= high).all()), figure


@papers.claim(
  'M-SGC takes .77 to .87 of the time of gradient coding',
  note='The paper has 16 % less on 256 AWS Lambda workers. Delays are '
  'simulated here, the best numbers of each scheme are taken. The repetition '
  'code (gc_rep), which waits for one worker of each group of s + 1, is not in '
  'the comparison of the paper; where workers are late independently of one '
  'another it is faster still.',
)
def m_sgc_is_faster_than_gc(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Run time of M-SGC over that of GC, for every seed."""
  held, figure = _between(seeds, 'm_sgc', 0.77, 0.87)
  repeated = _times(seeds, 'gc_rep').mean()
  return held, f'{figure}; gc_rep {repeated:.1f} s'


@papers.claim('SR-SGC takes .91 to .98 of the time of gradient coding')
def sr_sgc_is_faster_than_gc(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Run time of SR-SGC over that of GC, for every seed."""
  return _between(seeds, 'sr_sgc', 0.91, 0.98)


@papers.claim('Waiting for all takes 1.18 to 1.32 of that of gradient coding')
def uncoded_is_slower_than_gc(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Run time without a code over that of GC, for every seed."""
  return _between(seeds, 'uncoded', 1.18, 1.32)


@papers.claim('Eighty probed rounds are enough: M-SGC keeps its margin')
def a_probe_is_enough(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Numbers found before the run: the same margin, M < SR < GC < uncoded."""
  config = gradient_coding.Config(seeds=seeds, schemes=SCHEMES)
  times = {
    s: np.array([config.plan(s, seed).total_s for seed in seeds])
    for s in SCHEMES
  }
  ratios = times['m_sgc'] / times['gc']
  order = [times[s] for s in ('m_sgc', 'sr_sgc', 'gc', 'uncoded')]
  held = all((a < b).all() for a, b in itertools.pairwise(order))
  held &= bool((ratios >= 0.77).all() and (ratios <= 0.87).all())
  # How much better numbers there would have been.
  lost = [
    plan.total_s / _best_after(config, s, seed) - 1
    for s in ('gc', 'sr_sgc', 'm_sgc')
    for seed in seeds
    for plan in (config.plan(s, seed),)
  ]
  return held, (
    f'M-SGC {ratios.mean():.3f} ({", ".join(f"{r:.3f}" for r in ratios)}) of '
    f'GC; best numbers would save {np.mean(lost):.1%} on average, '
    f'{max(lost):.1%} at most'
  )


def _best_after(config, scheme, seed):
  """Seconds with the best numbers in the rounds after the probe."""
  rest = config.drawn(seed)[:, 80:]
  return coding.plan_run(
    scheme,
    rest,
    config.num_rounds,
    select='hindsight',
    load_slope=config.load_slope,
  ).total_s


@papers.claim('Every scheme trains the models of uncoded training, to 1e-6')
def models_are_the_same(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Largest difference of weights after 200 jobs on digits."""
  config = gradient_coding.Config(
    seeds=seeds, schemes=(*SCHEMES, 'gc_rep'), eval_every=200
  )
  runs = [r for r in gradient_coding.run(config).rows if r['split'] == 'run']
  gaps = {
    s: max(r['weights_gap'] for r in runs if r['variant'] == s)
    for s in config.schemes
  }
  late = min(r['late_per_round'] for r in runs if r['variant'] != 'uncoded')
  figure = ', '.join(f'{s} {g:.1e}' for s, g in gaps.items())
  return max(gaps.values()) <= 1e-6 and late > 0.5, figure


@papers.claim(
  'Loads: 7/928 at (256; 1, 2, 27); the bound is met at n - 1 and n'
)
def loads_are_near_the_bound(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Exact loads of M-SGC against the lower bound, all n <= 12, W <= 6."""
  del seeds
  met, below, count = set(), 0, 0
  for n in range(2, 13):
    for b, w in itertools.combinations(range(1, 7), 2):
      for lam in range(n + 1):
        load = coding.load_m_sgc(n, b, w, lam)
        bound = coding.load_lower_bound(n, b, w, lam)
        count, below = count + 1, below + (load < bound)
        if load == bound:
          met.add({n: 'n', n - 1: 'n - 1', 0: '0'}.get(lam, 'other'))
  load = coding.load_m_sgc(256, 1, 2, 27)
  figure = f'load {load}, {below} of {count} below, met at {sorted(met)}'
  held = str(load) == '7/928' and not below and met == {'0', 'n - 1', 'n'}
  return held, figure


@papers.claim(
  'All 97, 1015, 4096 + 9409, 1093 and 15745 patterns are tolerated'
)
def designed_patterns_decode(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Exhaustive: every pattern of the models lets every job be decoded."""
  del seeds
  found = [
    _tolerated('m_sgc(1, 2, 1)', 3, 5),
    _tolerated('m_sgc(1, 2, 2)', 3, 5),
    _tolerated('m_sgc(2, 3, 2)', 2, 8),
    _tolerated('m_sgc(2, 3, 2, model=arbitrary)', 2, 8),
    _tolerated('sr_sgc(1, 2, 2)', 4, 4),
    _tolerated('sr_sgc(1, 2, 3)', 4, 4),
  ]
  counts = [count for count, _ in found]
  failed = sum(failures for _, failures in found)
  held = counts == [97, 1015, 4096, 9409, 1093, 15745] and not failed
  return held, f'{counts} patterns, {failed} fail'


def _tolerated(spec, num_workers, num_rounds):
  """How many patterns a scheme is made for, and how many of these fail."""
  scheme = coding.make_scheme(spec, num_workers)
  bits = num_workers * num_rounds
  late = (np.arange(2**bits)[:, None] >> np.arange(bits) & 1).astype(bool)
  late = late.reshape(-1, num_rounds, num_workers)
  numbers = {
    'window': scheme.window,
    'num_stragglers': scheme.num_stragglers,
  }
  if scheme.model == 'arbitrary':
    numbers['window'] += scheme.burst_length - 1
    good = coding.conforms_arbitrary(
      late, max_rounds=scheme.burst_length, **numbers
    )
  else:
    check = {
      'm_sgc': coding.conforms_bursty,
      'sr_sgc': coding.conforms_sr_sgc,
    }[scheme.name]
    good = check(late, burst_length=scheme.burst_length, **numbers)
  done = coding.deliveries(scheme, late[good], num_rounds - scheme.delay).done
  return int(good.sum()), int((done < 0).any(axis=1).sum())
