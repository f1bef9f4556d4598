# SPDX-License-Identifier: Apache-2.0
"""Claims about training on one byte per gradient, on digits and on text."""

import functools

import numpy as np

from experiments import just_one_byte, papers

PAPER = papers.Paper(
  title='One byte per gradient',
  source='Zelikman et al. 2023',
  arxiv='2306.10015',
  functions=(
    'decentralized.one_byte_sgd',
    'decentralized.one_byte.replay',
    'decentralized.one_byte.message_log',
    'compression.make_codec',
  ),
  binary='just_one_byte',
)

MACHINES = 16
FLOAT = 'one_byte(codec=float32)'
MEMBERS = {'join_at': (300, 600, 900, 1200), 'leave_at': (500, 800, 1100, 1400)}


@functools.cache
def measure(
  seeds: tuple[int, ...], num_clients: int, learning_rate: float, **options
) -> dict[str, dict[str, np.ndarray]]:
  """Runs digits for 2000 iterations.

  Args:
    seeds: seeds, run as one program.
    num_clients: machines.
    learning_rate: step size.
    **options: other knobs.

  Returns:
    Last test metrics by method, and 'replay', each an array over seeds.
  """
  options.setdefault('methods', ('one_byte', FLOAT, 'single'))
  config = just_one_byte.Config(
    seeds=seeds,
    num_clients=num_clients,
    optimizer=f'sgd({learning_rate})',
    eval_every=2000,
    **options,
  )
  return _last(just_one_byte.run(config).rows, config.num_rounds)


@functools.cache
def fine_tune(seeds: tuple[int, ...]) -> dict[str, dict[str, np.ndarray]]:
  """Fine-tunes a pretrained transformer on made-up reviews.

  Args:
    seeds: seeds, run as one program.

  Returns:
    Test metrics by method at the end, and of 'start'.
  """
  config = just_one_byte.Config(
    seeds=seeds,
    dataset='sentiment',
    num_clients=8,
    methods=('one_byte', FLOAT),
    batch_size=16,
    optimizer='sgd(3e-4)',
    num_rounds=300,
    eval_every=300,
  )
  rows = just_one_byte.run(config).rows
  first = _last(rows, 0)['one_byte']
  return {**_last(rows, config.num_rounds), 'start': first}


def _last(rows, step):
  out = {}
  for row in rows:
    if row['step'] != step or row['split'] not in ('test', 'replay'):
      continue
    label = 'replay' if row['split'] == 'replay' else row['variant']
    for name, value in row.items():
      if isinstance(value, float):
        out.setdefault(label, {}).setdefault(name, []).append(value)
  return {k: {n: np.array(x) for n, x in v.items()} for k, v in out.items()}


def _mean(found, method, metric='accuracy'):
  return float(found[method][metric].mean())


@papers.claim('One byte per slope is as accurate as 32 bits, within .01')
def byte_matches_float(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """One byte per slope is as accurate as 32 bits, within .01."""
  gaps, figures = [], []
  for m, rate in ((4, 0.02), (MACHINES, 0.05)):
    found = measure(seeds, m, rate)
    byte, full = _mean(found, 'one_byte'), _mean(found, FLOAT)
    gaps.append(abs(byte - full))
    figures.append(f'M={m}: byte {byte:.4f}, float {full:.4f}')
  return max(gaps) <= 0.01, '; '.join(figures)


@papers.claim('More machines reach a lower loss in equal iterations and steps')
def more_machines_learn_faster(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """More machines reach a lower loss in equal iterations and steps."""
  few = measure(seeds, 4, 0.02)
  many = measure(seeds, MACHINES, 0.02, methods=('one_byte',))
  losses = [
    _mean(few, 'single', 'loss'),
    _mean(few, 'one_byte', 'loss'),
    _mean(many, 'one_byte', 'loss'),
  ]
  figure = ', '.join(
    f'M={m} {loss:.4f}'
    for m, loss in zip((1, 4, MACHINES), losses, strict=True)
  )
  return losses[0] - losses[1] >= 0.1 and losses[1] > losses[2], figure


@papers.claim('A step size that breaks one machine serves sixteen')
def more_machines_take_larger_steps(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A step size that breaks one machine serves sixteen."""
  found = measure(seeds, MACHINES, 0.05)
  one, many = _mean(found, 'single'), _mean(found, 'one_byte')
  return many >= 0.94 and one <= many - 0.2, f'M=1 {one:.3f}, M=16 {many:.3f}'


@papers.claim(
  'An iteration moves hundreds of times fewer bytes than a gradient'
)
def bytes_are_few(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """An iteration moves hundreds of times fewer bytes than a gradient."""
  replay = measure(seeds, MACHINES, 0.05)['replay']
  byte, model = replay['log_bytes'].mean() / 2000, replay['model_bytes'].mean()
  return bool(model >= 500 * byte), f'{byte:.0f} B against {model:.0f} B'


@papers.claim('The start and the log give the live model, bit by bit')
def replicas_are_identical(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The start and the log give the live model, bit by bit."""
  same = [
    measure(seeds, MACHINES, 0.05)['replay']['replay_equal'],
    measure(seeds, MACHINES, 0.05, **MEMBERS)['replay']['replay_equal'],
  ]
  equal = int(np.sum(same))
  return bool(np.all(same)), f'{equal} of {np.size(same)} replays equal'


@papers.claim('Machines that come and go cost at most .02 of accuracy')
def joining_and_leaving_costs_nothing(
  seeds: tuple[int, ...],
) -> tuple[bool, str]:
  """Machines that come and go cost at most .02 of accuracy."""
  fixed = _mean(measure(seeds, MACHINES, 0.05), 'one_byte')
  moving = _mean(measure(seeds, MACHINES, 0.05, **MEMBERS), 'one_byte')
  return moving >= fixed - 0.02, f'fixed {fixed:.4f}, moving {moving:.4f}'


@papers.claim('Bytes alone teach a language model the task, as well as floats')
def fine_tunes_a_transformer(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Bytes alone teach a language model the task, as well as floats."""
  found = fine_tune(seeds)
  start, byte, full = (
    _mean(found, name) for name in ('start', 'one_byte', FLOAT)
  )
  held = byte >= start + 0.25 and abs(byte - full) <= 0.03
  return held, f'start {start:.3f}, byte {byte:.3f}, float {full:.3f}'
