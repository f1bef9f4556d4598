# SPDX-License-Identifier: Apache-2.0
"""Operator learning through the same rules, attacks and graphs as digits."""

import functools

import numpy as np

from experiments import federated_operators


@functools.cache
def errors(seeds: tuple[int, ...]) -> dict[str, float]:
  """Final relative L2 error per rule, averaged over seeds.

  Args:
    seeds: seeds, run as one program.

  Returns:
    Error by rule, gossip over a ring included.
  """
  config = federated_operators.Config(
    seeds=seeds, topologies=('ring', 'complete'), eval_every=600
  )
  rows = federated_operators.run(config).rows
  out = {}
  for row in rows:
    if row['split'] == 'test' and row['step'] == config.num_rounds:
      out.setdefault(row['rule'], []).append(row['relative_l2'])
  return {rule: float(np.mean(values)) for rule, values in out.items()}


def mean_breaks(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Under the reverse attack the mean's model is useless."""
  found = errors(seeds)
  figure = f'mean {found["mean"]:.3g}, honest mean {found["oracle"]:.3g}'
  return found['mean'] >= 1.0, figure


def robust_rules_recover(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A robust chain stays within 1.3 times the honest mean's error."""
  found = errors(seeds)
  robust = found['nnm+trimmed_mean']
  figure = ', '.join(f'{rule} {value:.3g}' for rule, value in found.items())
  return robust <= 1.3 * found['oracle'] and found['oracle'] <= 0.1, figure


CLAIMS = {
  'mean_breaks': (
    'Training a DeepONet over 10 clients with their own length scales, 2 of '
    'them adversarial, the mean ends above 100 % relative L2 error',
    mean_breaks,
  ),
  'robust_rules_recover': (
    'NNM and trimmed mean stay within 1.3 times the honest mean, below 10 %',
    robust_rules_recover,
  ),
}
