# SPDX-License-Identifier: Apache-2.0
"""Claims about signatures of tensors, what they cost, and actors."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

from experiments import papers, sbp
from jaxdl import parallel
from jaxdl.parallel import actors

PAPER = papers.Paper(
  title='OneFlow: SBP signatures and actors',
  source='Yuan et al. 2021',
  arxiv='2110.15032',
  functions=(
    'parallel.assign_optimal',
    'parallel.assign_greedy',
    'parallel.boxing_cost',
    'parallel.boxing_cost_nd',
    'parallel.valid_signatures',
    'parallel.run_sharded',
    'parallel.collective_bytes',
    'parallel.actors.simulate',
    'parallel.actors.predicted_period',
  ),
  binary='sbp',
)

TENSOR = 'y1 (B; S1 -> S1), y2 (S1; S0 -> P)'
DATA = 'y1 (S0; B -> S0), y2 (S0; B -> S0)'


def _searched(batches, searches, **options):
  """Rows of searches, by batch size and search."""
  config = sbp.Config(batches=batches, searches=searches, **options)
  rows = sbp.run(config).rows
  return {(r['batch'], r['variant']): r for r in rows}


@papers.claim(
  'Tensor parallelism is cheapest for batches below the hidden width, data '
  'parallelism above'
)
def crossover_at_the_width(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """32 -> 64 -> 32 on 4 devices: b = 63 tensor, 64 a tie, 65 data parallel."""
  second = 'ranked(place=2)'
  rows = _searched((63, 64, 65), ('optimal', second))
  found = [
    [rows[b, s][name] for s in ('optimal', second)]
    for b in (63, 64, 65)
    for name in ('cost', 'signatures')
  ]
  held = (
    found[0] == [24192, 24576]
    and found[1] == [TENSOR, DATA]
    and found[2] == [24576, 24576]
    and sorted(found[3]) == sorted([TENSOR, DATA])
    and found[4] == [24576, 24960]
    and found[5] == [DATA, TENSOR]
  )
  costs = '; '.join(
    f'b = {b}: {x:g} and {y:g}'
    for b, (x, y) in zip((63, 64, 65), found[::2], strict=True)
  )
  return held, f'numbers moved, best and second: {costs}'


@papers.claim(
  'Matching what is there can cost 8 times as much as what is cheapest'
)
def greedy_is_eight_times_worse(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """At b = 8 the greedy choice moves exactly 8 times as many numbers."""
  rows = _searched((8,), ('greedy', 'optimal'))
  greedy, best = (rows[8, s]['cost'] for s in ('greedy', 'optimal'))
  return greedy == 8 * best, f'{greedy:g} against {best:g} numbers'


@papers.claim('Every cost of boxing is what compiled programs move')
def costs_are_bytes_of_collectives(
  seeds: tuple[int, ...],
) -> tuple[bool, str]:
  """All pairs on 4 and on 2 x 4 devices, to the byte."""
  held, told = True, []
  for mesh, rows in _checked(seeds).items():
    pairs = [r for r in rows if r['split'] == 'boxing']
    wrong = [r for r in pairs if r['predicted'] != r['measured']]
    moving = sum(r['measured'] > 0 for r in pairs)
    held &= not wrong and moving > 0
    told.append(
      f'{mesh}: {len(pairs)} pairs, {moving} of them move, {len(wrong)} differ'
    )
  return held, '; '.join(told)


@papers.claim('Shards computed by any valid signature make up the result')
def shards_make_up_the_result(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """15 operators, random terms of sums, error <= 1e-5."""
  held, told = True, []
  for mesh, rows in _checked(seeds).items():
    last = max(r['step'] for r in rows)
    own = [r for r in rows if r['split'] == 'test' and r['step'] == last]
    own = [r for r in own if r['variant'] != 'boxing']
    error = max(r['error'] for r in own)
    count = sum(r['signatures'] for r in own) // len(seeds)
    held &= error <= 1e-5
    told.append(f'{mesh}: {count} signatures, error {error:.1e}')
  return held, '; '.join(told)


_KEPT: dict[tuple[int, ...], dict[str, list]] = {}


def _checked(seeds):
  """Rows of checks on emulated devices, which need processes of their own."""
  if seeds not in _KEPT:
    _KEPT[seeds] = {
      m: _on_devices(m, n, seeds) for m, n in (('4', 4), ('2x4', 8))
    }
  return _KEPT[seeds]


def _on_devices(mesh, num, seeds):
  code = (
    'import json; from experiments import sbp; '
    f'config = sbp.Config(task="check", mesh="{mesh}", num_rounds=2, '
    f'seeds={tuple(seeds)}); print(json.dumps(sbp.run(config).rows))'
  )
  flags = os.environ.get('XLA_FLAGS', '').split()
  kept = [f for f in flags if 'host_platform_device_count' not in f]
  emulated = f'--xla_force_host_platform_device_count={num}'
  done = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    check=True,
    cwd=pathlib.Path(__file__).parents[2],
    env=os.environ
    | {'XLA_FLAGS': ' '.join([*kept, emulated]), 'JAX_PLATFORMS': 'cpu'},
  )
  return json.loads(done.stdout.splitlines()[-1])


@papers.claim('A search finds signatures of 100 operators within a second')
def search_is_fast(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Exact for a transformer of 4 blocks, < 1 s of CPU on three meshes."""
  program = parallel.PROGRAMS.make('transformer', 32)
  held, told = len(program.ops) >= 100, [f'{len(program.ops)} operators']
  for mesh in ('4', '2x4', '8x4'):
    times = []
    for _ in seeds:
      begin = time.process_time()
      found = parallel.assign_optimal(
        program, mesh, parallel.CostModel(training=True)
      )
      times.append(time.process_time() - begin)
    held &= found.exact and max(times) < 1.0
    told.append(f'{mesh}: at most {max(times):.2f} s')
  return held, ', '.join(told)


@papers.claim('Hybrid parallelism of a GPT costs less than data parallelism')
def hybrid_parallelism(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """GPT-2 shapes on 8 x 4 devices, 32 sequences: data parallelism >= 1.2x."""
  rows = _searched(
    (32,),
    ('data_parallel', 'optimal'),
    program='transformer(num_layers=12, width=768, heads=12, length=1024)',
    mesh='8x4',
    costs='bytes(per_flop=0.001)',
  )
  ratio = rows[32, 'data_parallel']['over_optimal']
  return ratio >= 1.2, f'{ratio:.2f} times the cost'


@papers.claim(
  'Large tables and large softmax layers are split, which saves most transfers'
)
def large_layers_are_split(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Table of 10^8 rows, 10^6 classes on 8 devices: data parallelism >= 10x."""
  cases = {
    'wide_and_deep(vocabulary=100_000_000)': 'bytes(replicated=False)',
    'classifier(features=512, num_classes=1_000_000)': 'bytes',
  }
  ratios = [
    _searched(
      (512,),
      ('data_parallel',),
      program=program,
      mesh='8',
      costs=costs,
    )[512, 'data_parallel']['over_optimal']
    for program, costs in cases.items()
  ]
  figure = f'table {ratios[0]:.0f} times, softmax {ratios[1]:.1f} times'
  return min(ratios) >= 10, figure


@papers.claim(
  'Registers set the pace: one serializes neighbors, two let the slowest stage '
  'set it'
)
def registers_set_the_pace(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Makespans of the method; 100 random chains per seed reach the formula."""
  made = {
    ((1, 3, 2), (1, 1)): 51,
    ((1, 3, 2), (2, 2)): 33,
    ((1, 3, 2), (2, 1)): 51,
    ((1, 1, 1), (1, 1)): 21,
    ((1, 1, 1), (2, 2)): 12,
  }
  spans = [actors.simulate(actors.chain_actors(*k), 10).makespan for k in made]
  gap = slow = 0.0
  for seed in seeds:
    rng = np.random.default_rng(seed)
    for _ in range(100):
      n = int(rng.integers(2, 7))
      taus = rng.uniform(0, 3, n)
      registers = rng.integers(1, 4, n)
      pairs = (taus[:-1] + taus[1:]) / registers[:-1]
      want = max(taus.max(), pairs.max())
      chain = actors.chain_actors(taus, registers.tolist())
      got = actors.simulate(chain, 240).period(120)
      gap = max(
        gap, abs(got - want), abs(actors.predicted_period(chain) - want)
      )
      two = actors.simulate(actors.chain_actors(taus, 2), 240).period(120)
      slow = max(slow, abs(two - taus.max()))
  held = spans == list(made.values()) and bool(max(gap, slow) < 1e-9)
  return held, f'makespans {spans}; gaps {gap:.1e}, with two {slow:.1e}'


@papers.claim('Credits bound memory at no cost in speed')
def credits_bound_memory(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Two registers: the pace of unbounded queues, whose memory grows."""
  taus, num = (1, 3, 2), 200
  held = actors.simulate(actors.chain_actors(taus, 2), num)
  free = actors.simulate(actors.chain_actors(taus, float('inf')), num)
  pace = held.period(100), free.period(100)
  peak = int(held.peak.sum()), int(free.peak.sum())
  figure = f's per batch {pace[0]:g} and {pace[1]:g}, registers {peak[0]} and '
  return (
    pace[0] == pace[1] == 3 and peak[0] == 5 and peak[1] > num / 2,
    f'{figure}{peak[1]} in {num} batches',
  )
