# SPDX-License-Identifier: Apache-2.0
"""Where searches start without a critic, and edits without one."""

import numpy as np

from jaxdl.language import _client
from jaxdl.language.teams import _block, _items, _measured, _methods, _workflow

# What random edits say to an agent.
_HINTS = (
  'Work step by step.',
  'Be brief.',
  'Check units.',
  'Check every number.',
  'Reply with JSON only.',
)
_JOINS = ('majority_vote', 'weighted_vote', 'median', 'sequential')


def random_patch(
  block: _block.Block, layer: int, rng: np.random.Generator
) -> _block.Patch:
  """Draws one edit, without a model.

  Args:
    block: that is changed.
    layer: of the block.
    rng: of the draw.

  Returns:
    A patch: a sentence more in a prompt, an agent less or twice, an edge more
    or less, or another aggregation.
  """
  ids = [node.id for node in block.nodes]
  pick = lambda values: values[int(rng.integers(len(values)))]
  node = pick(block.nodes)
  kinds = ['set_prompt', 'add_node', 'set_aggregation']
  kinds += ['remove_node', 'add_edge'] if len(ids) > 1 else []
  kinds += ['remove_edge'] if block.edges else []
  kind = pick(kinds)
  target, value = node.id, None
  if kind == 'set_prompt':
    value = f'{node.prompt} {pick(_HINTS)}'
  elif kind == 'add_node':
    target = f'{node.id}_{len(ids)}'
    value = {'role': node.role, 'prompt': node.prompt}
  elif kind == 'set_aggregation':
    target, value = '', pick(_JOINS)
  elif kind == 'add_edge':
    value = pick([i for i in ids if i != node.id])
  elif kind == 'remove_edge':
    target, value = pick(block.edges)
  return _block.Patch(layer, (_block.Edit(kind, target, value, 'drawn'),))


async def prepared(
  workflow: _workflow.Workflow,
  items: _items.Items,
  client: _client.Client,
  method: _methods.Method,
) -> _workflow.Workflow:
  """The workflow that a method starts from.

  Args:
    workflow: as it is given.
    items: tasks; those for gradients tell which agent is best alone.
    client: who answers.
    method: see `METHODS`; 'single' keeps the best agent of each layer,
      'majority' asks that one three times.

  Returns:
    The workflow.
  """
  if method.aggregation is not None:
    pools = [
      tuple(
        e._replace(block=e.block._replace(aggregation=method.aggregation))
        for e in pool
      )
      for pool in workflow.pools
    ]
    workflow = _workflow.check_workflow(_workflow.Workflow(tuple(pools)))
  if method.team == 'given':
    return workflow
  num = len(workflow.pools)
  blocks = {k: _workflow.current(workflow, k) for k in range(num)}
  for layer in range(num):
    tried = [
      blocks[layer]._replace(
        nodes=(node,), edges=(), aggregation='majority_vote'
      )
      for node in blocks[layer].nodes
    ]
    losses = [
      (
        await _measured.measure(
          items.train, workflow, client, blocks | {layer: block}
        )
      ).loss
      for block in tried
    ]
    blocks[layer] = tried[int(np.argmin(losses))]
  if method.team == 'majority':
    for layer, block in blocks.items():
      node = block.nodes[0]
      copies = tuple(node._replace(id=f'{node.id}_{i}') for i in range(3))
      blocks[layer] = block._replace(nodes=copies)
  return _workflow.make_workflow([blocks[k] for k in range(num)])
