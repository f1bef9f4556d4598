# SPDX-License-Identifier: Apache-2.0
"""What blocks are worth on tasks."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.language import _client
from jaxdl.language.teams import _block, _forward, _items, _workflow


class Measured(NamedTuple):
  """What some blocks are worth on some tasks.

  Attributes:
    loss: mean loss.
    cost: agents that work on a task.
    solved: ids of tasks.
    credits: mean credit of agents, by layer and id.
    tokens: that it took.
    spent: whether the budget ended before.
    dead: why no endpoint answers, or ''.
  """

  loss: float
  cost: int
  solved: list[str]
  credits: dict[str, float]
  tokens: int = 0
  spent: bool = False
  dead: str = ''


async def measure(
  items: Sequence[_items.Item],
  workflow: _workflow.Workflow,
  client: _client.Client,
  blocks: Mapping[int, _block.Block],
  **options: Any,
) -> Measured:
  """Runs some blocks on some tasks.

  Args:
    items: the tasks.
    workflow: with pools.
    client: who answers.
    blocks: by layer.
    **options: as `forward`.

  Returns:
    What they are worth.
  """
  done = await _forward.forward_all(
    items, workflow, client, blocks=blocks, **options
  )
  return summarized(done, blocks)


def summarized(
  done: Sequence[_forward.Trajectory], blocks: Mapping[int, _block.Block]
) -> Measured:
  """Puts what happened to several tasks together."""
  credits: dict[str, float] = {}
  for trajectory in done:
    for layer, own in enumerate(trajectory.credits):
      for agent, weight in own.items():
        name = f'{layer}/{agent}'
        credits[name] = credits.get(name, 0.0) + weight / len(done)
  dead = [t.unanswered for t in done]
  return Measured(
    float(np.mean([t.loss for t in done])),
    sum(len(b.nodes) for b in blocks.values()),
    [t.item.id for t in done if t.score >= 1.0],
    {k: round(v, 12) for k, v in sorted(credits.items())},
    sum(t.tokens for t in done),
    any(t.spent for t in done),
    dead[0] if all(dead) else '',
  )


def batch(
  items: Sequence[_items.Item], size: int, *, seed: int, iteration: int
) -> list[_items.Item]:
  """Draws tasks without repetition; all of them if there are not more."""
  rng = np.random.default_rng([seed, iteration])
  order = rng.permutation(len(items))[:size]
  return [items[i] for i in sorted(order)]
