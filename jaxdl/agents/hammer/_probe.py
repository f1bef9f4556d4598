# SPDX-License-Identifier: Apache-2.0
"""Rows that say what messages do and contain, for pictures and tables."""

from typing import Any

import chex
import numpy as np

from jaxdl.agents import _environment
from jaxdl.agents.hammer import _analysis, _variants

SHIFTS = (-2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0)
BINS = 12


def probe(
  env: _environment.Environment,
  variant: _variants.Variant,
  params: dict[str, Any],
  *,
  key: chex.PRNGKey,
  num_episodes: int,
) -> list[dict[str, Any]]:
  """Looks at the messages of some episodes.

  Args:
    env: the game.
    variant: who plays.
    params: of its policy.
    key: consumed.
    num_episodes: episodes.

  Returns:
    Rows with a `split` and the `agent` who is told: 'saliency', the mean
    |slope| of what it does; 'wiggle', the share of other actions where messages
    are shifted; 'contents', correlations of each number with every entry that
    somebody sees; 'against', messages over ranks of the entry that they follow
    most. None if nobody talks.
  """
  if variant.messenger is None or not variant.messenger.length:
    return []
  log = _analysis.log_messages(
    env, variant, params, key=key, num_episodes=num_episodes
  )
  told = (variant.local, params, log.own, log.message)
  slopes = np.abs(_analysis.message_saliency(*told)).mean(axis=(0, 2, 3))
  moved = _analysis.wiggle(*told, np.float32(SHIFTS))
  corr = _analysis.correlations(log)
  names = _names(env)
  rows: list[dict[str, Any]] = []
  for i in range(env.num_agents):
    rows.append({'split': 'saliency', 'agent': i, 'saliency': float(slopes[i])})
    rows += [
      {'split': 'wiggle', 'agent': i, 'shift': s, 'changed': float(change)}
      for s, change in zip(SHIFTS, moved[:, i], strict=True)
    ]
    for m in range(log.message.shape[-1]):
      me = {'agent': i, 'told': f'{i}.{m}'}
      rows += [
        me | {'split': 'contents', 'entry': name, 'correlation': float(c)}
        for name, c in zip(names, corr[i, m].ravel(), strict=True)
      ]
      rows += [
        me | {'split': 'against'} | row
        for row in _against(log, corr, names, i, m)
      ]
  return rows


def _against(log, corr, names, i, m):
  """Message m to agent i over ranks of the entry that it follows most."""
  size = corr.shape[-1]
  most = int(np.abs(corr[i, m]).argmax())
  state = log.own[:, most // size, most % size]
  order = np.argsort(state, kind='stable')
  for b, part in enumerate(np.array_split(order, BINS)):
    if len(part):
      yield {
        'rank': (b + 0.5) / BINS,
        'entry': names[most],
        'state': float(state[part].mean()),
        'message': float(log.message[part, i, m].mean()),
      }


def _names(env):
  """Names of all that agents see, agent after agent."""
  own = env.seen_names or tuple(str(k) for k in range(env.own_size))
  return [f'{j}: {name}' for j in range(env.num_agents) for name in own]
