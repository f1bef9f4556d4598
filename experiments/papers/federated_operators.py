# SPDX-License-Identifier: Apache-2.0
"""Operator learning through the same rules, attacks and graphs as digits."""

import functools

import numpy as np

from experiments import federated_operators, papers

PAPER = papers.Paper(
  title='Operator networks trained over clients',
  source='DeepONet: Lu et al. 2021',
  arxiv='1910.03193',
  functions=(
    'operators.deeponet',
    'operators.mgno',
    'operators.fno',
    'networks.features.bundled_network',
    'networks.features.readout_statistics',
    'operators.operator_task',
    'federated.robust_sgd',
    'decentralized.gossip_sgd',
  ),
  binary='federated_operators',
  colab='03_operator_learning',
)


@functools.cache
def errors(seeds: tuple[int, ...]) -> dict[str, float]:
  """Final relative L2 error per rule, averaged over seeds.

  Args:
    seeds: seeds, run as one program.

  Returns:
    Error by rule, gossip over a ring included.
  """
  config = federated_operators.Config(
    seeds=seeds,
    gossip=('gossip_sgd@ring', 'gossip_sgd@complete'),
    eval_every=600,
  )
  rows = federated_operators.run(config).rows
  out = {}
  for row in rows:
    if row['split'] == 'test' and row['step'] == config.num_rounds:
      out.setdefault(row['variant'], []).append(row['relative_l2'])
  return {rule: float(np.mean(values)) for rule, values in out.items()}


@papers.claim(
  'Training a DeepONet over 10 clients with their own length scales, 2 of '
  'them adversarial, the mean ends above 100 % relative L2 error'
)
def mean_breaks(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Under the reverse attack the mean's model is useless."""
  found = errors(seeds)
  figure = f'mean {found["mean"]:.3g}, honest mean {found["oracle"]:.3g}'
  return found['mean'] >= 1.0, figure


@papers.claim(
  'NNM and trimmed mean stay within 1.3 times the honest mean, below 10 %'
)
def robust_rules_recover(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A robust chain stays within 1.3 times the honest mean's error."""
  found = errors(seeds)
  robust = found['nnm+trimmed_mean']
  figure = ', '.join(f'{rule} {value:.3g}' for rule, value in found.items())
  return robust <= 1.3 * found['oracle'] and found['oracle'] <= 0.1, figure


@functools.cache
def closed_form(seeds: tuple[int, ...]) -> dict[str, float]:
  """Errors with random features, and the closed form's difference.

  Args:
    seeds: seeds.

  Returns:
    Mean error by rule; 'difference' is the largest over seeds.
  """
  config = federated_operators.Config(
    seeds=seeds,
    model='snnk',
    loss='mse',
    rules=('oracle', 'mean', 'nnm+trimmed_mean'),
    eval_every=600,
  )
  rows = federated_operators.run(config).rows
  out: dict[str, list[float]] = {}
  for row in rows:
    if row['split'] == 'test' and row['step'] == config.num_rounds:
      out.setdefault(row['variant'], []).append(row['relative_l2'])
  found = {rule: float(np.mean(values)) for rule, values in out.items()}
  found['difference'] = max(
    row['difference'] for row in rows if row['split'] == 'closed_form'
  )
  return found


@papers.claim(
  'The read-out of random features that clients find together in one sum is '
  'that of the pooled data, to 1e-5'
)
def closed_form_is_exact(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Sums over clients give the centralized read-out."""
  found = closed_form(seeds)
  figure = f'relative difference of predictions {found["difference"]:.1e}'
  return found['difference'] <= 1e-5, figure


@papers.claim('Its error is not above that of 600 rounds of gradients')
def one_round_is_enough(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """One round of sums beats 600 rounds of gradients of the same network."""
  found = closed_form(seeds)
  figure = ', '.join(
    f'{rule} {value:.3g}' for rule, value in found.items() if rule[0] != 'd'
  )
  return found['closed_form'] <= found['oracle'], figure


@papers.claim(
  'Without a server, a ring ends at least 1.1 times above the complete graph'
)
def sparse_graphs_cost(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Gossip over a ring ends worse than over the complete graph."""
  found = errors(seeds)
  ring, complete = (
    found[f'gossip_sgd@{graph}'] for graph in ('ring', 'complete')
  )
  figure = f'ring {ring:.3g}, complete {complete:.3g}'
  return ring >= 1.1 * complete, figure
