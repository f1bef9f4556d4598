# SPDX-License-Identifier: Apache-2.0
"""What models are asked, and the form of what they answer.

Every message says its part in the first line of the system message, so that a
scripted model knows what it is. Answers are JSON objects; whatever else is in
a reply is not looked at.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxdl.language import _contracts
from jaxdl.language.teams import _block, _votes

Messages = list[dict[str, str]]
# Of texts that are shown to critics and optimizers.
MOST_SHOWN = 600
ROUTER, WORKER, CRITIC, OPTIMIZER, JUDGE, WRITER = (
  'router',
  'worker',
  'critic',
  'optimizer',
  'judge',
  'writer',
)
_ASK = 'Reply with one JSON object of this form and nothing else: '


def shortened(value: Any, most: int = MOST_SHOWN) -> str:
  """Text of a value, cut where it is long."""
  text = value if isinstance(value, str) else json.dumps(value)
  return text if len(text) <= most else text[:most] + ' [...]'


def _chat(part: str, told: str, asked: str) -> Messages:
  return [
    {'role': 'system', 'content': f'Part: {part}\n{told}'},
    {'role': 'user', 'content': asked},
  ]


def worker_messages(
  node: _block.Node,
  question: str,
  before: Any,
  seen: Sequence[tuple[str, Any]],
  format: str,
) -> Messages:
  """Asks an agent.

  Args:
    node: who it is.
    question: the whole task.
    before: what the layer before has answered; None in the first.
    seen: names and answers of agents that it sees.
    format: of the answer.

  Returns:
    Messages.
  """
  what = {'number': 'a number', 'text': 'text'}.get(format, 'text or a number')
  told = (
    f'Role: {node.role}\nInstructions: {node.prompt}\n{_ASK}'
    f'{{"answer": {what}, "confidence": a number from 0 to 1, "notes": text}}'
  )
  asked = [f'Task: {question}']
  if before is not None:
    asked.append(f'Result so far: {before}')
  asked += [f'Answer of {name}: {answer}' for name, answer in seen]
  return _chat(WORKER, told, '\n'.join(asked))


def _answer(format: str) -> Callable[[Any], Any]:
  """What an answer must be."""

  def answer(value):
    number = _votes.number(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
      raise ValueError('it must be text or a number.')
    if isinstance(value, str) and len(value) > _block.MOST_CHARACTERS:
      raise ValueError(f'it has more than {_block.MOST_CHARACTERS} characters.')
    if not isinstance(value, str) and number is None:
      raise ValueError('it must be finite.')
    if format == 'number':
      if number is None:
        raise ValueError('it must be a number.')
      return int(number) if number == int(number) else number
    if format == 'text' and not isinstance(value, str):
      raise ValueError('it must be text.')
    return value

  return answer


def worker_contract(format: str) -> Callable[[str], dict[str, Any]]:
  """Reads what an agent answers."""
  return _contracts.json_contract(
    {'answer': _answer(format), 'confidence': 'share'}, optional={'notes': str}
  )


def router_messages(
  layer: int, pool: Sequence[_block.Block], question: str, before: Any
) -> Messages:
  """Asks which block a layer should use."""
  told = (
    'Choose the team for the next step of a task.\n'
    f'{_ASK}{{"layer": {layer}, "block_id": text, "why": text}}'
  )
  asked = [f'Layer: {layer}', f'Task: {question}']
  if before is not None:
    asked.append(f'Result so far: {before}')
  for block in pool:
    roles = ', '.join(f'{n.id} ({n.role})' for n in block.nodes)
    asked.append(
      f'Team {block.block_id}: {roles}; joined by {block.aggregation}'
    )
  return _chat(ROUTER, told, '\n'.join(asked))


def router_contract() -> Callable[[str], dict[str, Any]]:
  """Reads what the router answers."""
  return _contracts.json_contract(
    {'block_id': 'text'}, optional={'layer': int, 'why': str}
  )


def join_messages(
  part: str, question: str, said: Sequence[_votes.Said]
) -> Messages:
  """Asks a judge to pick one of some answers, or a writer to make one of all.

  Args:
    part: 'judge' or 'writer'.
    question: the task.
    said: answers.

  Returns:
    Messages.
  """
  told = {
    JUDGE: 'Pick the best answer to a task.\n'
    f'{_ASK}{{"agent": text, the name of who gave it}}',
    WRITER: 'Make one answer to a task of several.\n'
    f'{_ASK}{{"answer": text or a number}}',
  }[part]
  asked = [f'Task: {question}']
  asked += [f'Answer of {s.agent}: {s.answer}' for s in said]
  return _chat(part, told, '\n'.join(asked))


def join_contract(
  part: str, format: str = 'any'
) -> Callable[[str], dict[str, Any]]:
  """Reads what a judge or a writer answers."""
  if part == JUDGE:
    return _contracts.json_contract({'agent': 'text'})
  return _contracts.json_contract({'answer': _answer(format)})


def critic_messages(
  failures: Sequence[Mapping[str, Any]], num_layers: int
) -> Messages:
  """Asks what goes wrong between layers.

  Args:
    failures: what happened in tasks that failed, plain values.
    num_layers: m.

  Returns:
    Messages.
  """
  told = (
    f'Some tasks went through {num_layers} layers of agents and failed. Say '
    'which layers are to blame and what should pass between them.\n'
    f'{_ASK}{{"loss": a number from 0 to 1, "failing_layers": list of layer '
    'numbers from 0, "summary": text, "interlayer": [{"src": int, "dst": int, '
    '"advice": text}]}'
  )
  return _chat(CRITIC, told, _lines('Failure', failures))


def critic_contract(num_layers: int) -> Callable[[str], dict[str, Any]]:
  """Reads what the critic answers."""

  def layers(value):
    if not isinstance(value, list) or not all(
      type(v) is int and 0 <= v < num_layers for v in value
    ):
      raise ValueError(
        f'it must be a list of layers from 0 to {num_layers - 1}.'
      )
    return sorted(set(value))

  def advice(value):
    if not isinstance(value, list):
      raise ValueError('it must be a list.')
    return [
      {k: v[k] for k in ('src', 'dst', 'advice')}
      for v in value
      if isinstance(v, dict)
      and type(v.get('src')) is int
      and type(v.get('dst')) is int
      and isinstance(v.get('advice'), str)
    ]

  return _contracts.json_contract(
    {'loss': 'share', 'failing_layers': layers, 'summary': str},
    optional={'interlayer': advice},
  )


def optimizer_messages(
  layer: int,
  block: _block.Block,
  *,
  global_: Mapping[str, Any] | None,
  failures: Sequence[Mapping[str, Any]],
  history: Sequence[Mapping[str, Any]],
  kind_scores: Mapping[str, float],
  beta: float,
) -> Messages:
  """Asks for edits of one layer.

  Args:
    layer: from 0.
    block: its team.
    global_: what the critic said; None where it was not asked.
    failures: the layer's part of failed tasks.
    history: suggestions before, with what became of them; none without
      momentum.
    kind_scores: what kinds of edits have brought so far.
    beta: β, the weight of the critic's words.

  Returns:
    Messages.
  """
  kinds = ', '.join(_block.EDIT_KINDS)
  joins = '; '.join(_votes.OFFERED)
  told = (
    f'Improve the team of layer {layer}. Give its advice from the whole '
    f'workflow the weight {beta:g}, and what happened inside of the layer the '
    f'weight {1 - beta:g}.\n'
    f'An aggregation is one of {joins}; a format is one of '
    f'{", ".join(_block.FORMATS)}.\n'
    f'{_ASK}{{"layer": {layer}, "edits": [{{"kind": one of {kinds}, "target": '
    'the id of an agent, "value": the new text, {"role": ..., "prompt": ...} '
    'for add_node, or the id where an edge ends, "reason": text}], '
    f'"weight_global": {beta:g}, "weight_local": {1 - beta:g}}}'
  )
  asked = [f'Layer: {layer}', f'Team: {json.dumps(_block.block_json(block))}']
  if global_ is not None:
    asked.append(f'Advice: {shortened(dict(global_), 4 * MOST_SHOWN)}')
  if failures:
    asked.append(_lines('Failure', failures))
  if history:
    asked.append(
      'Reinforce what comes back in earlier suggestions; do not repeat what '
      'was refused.'
    )
    asked.append(_lines('Earlier', history))
  for kind, score in sorted(kind_scores.items()):
    asked.append(f'So far {kind} has changed the loss by {-score:+.3f}.')
  return _chat(OPTIMIZER, told, '\n'.join(asked))


def optimizer_contract(layer: int) -> Callable[[str], _block.Patch]:
  """Reads edits of a layer; what they do is checked later."""

  def edits(value):
    if not isinstance(value, list):
      raise ValueError('it must be a list.')
    if len(value) > _block.MOST_EDITS:
      raise ValueError(f'it has more than {_block.MOST_EDITS} edits.')
    made = []
    for i, own in enumerate(value):
      if not isinstance(own, dict) or not isinstance(own.get('kind'), str):
        raise ValueError(f'edits[{i}] must be an object with a kind.')
      if own['kind'] not in _block.EDIT_KINDS:
        raise ValueError(f'edits[{i}] has an unknown kind.')
      target = own.get('target')
      target = '' if target is None else target
      reason = own.get('reason')
      if not isinstance(target, str):
        raise ValueError(f'edits[{i}] target must be text.')
      made.append(
        _block.Edit(
          own['kind'],
          target,
          own.get('value'),
          shortened(reason) if isinstance(reason, str) else '',
        )
      )
    return tuple(made)

  def number(value):
    if value != layer or isinstance(value, bool):
      raise ValueError(f'it must be {layer}.')
    return layer

  parse = _contracts.json_contract(
    {'layer': number, 'edits': edits},
    optional={'weight_global': 'share', 'weight_local': 'share'},
  )

  def read(text):
    found = parse(text)
    return _block.Patch(layer, found['edits'])

  return read


def _lines(label, values):
  return '\n'.join(f'{label}: {json.dumps(dict(v))}' for v in values)
