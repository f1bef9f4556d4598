# SPDX-License-Identifier: Apache-2.0
"""Scripted models for workflows: workers with faults, and who mends them.

They stand in for models of language in tests of the protocol. What they say
depends on the chat alone, a draw too: it is a hash of the chat. Whoever reports
results says that the model is scripted.
"""

import hashlib
import json
import re

from jaxdl.core import checks
from jaxdl.language import _contracts, _scripts
from jaxdl.language.teams import _block, _votes, _workflow

_NUMBERS = re.compile(
  r'packs (\d+) crates of (\d+) kilograms .* and (\d+) kilograms loose'
)
# What an agent of a role gets wrong unless its instructions say this.
CURES = {
  'adder': 'check every number',
  'clerk': 'JSON only',
  'converter': 'check units',
}


def share_of(chat: _scripts.Chat, salt: str) -> float:
  """A number in [0, 1) that depends on a chat alone.

  Args:
    chat: what is asked.
    salt: tells draws apart.

  Returns:
    The number.
  """
  text = json.dumps([salt, [dict(m) for m in chat.messages]], sort_keys=True)
  digest = hashlib.sha256(text.encode()).digest()
  return int.from_bytes(digest[:6], 'big') / 2**48


def arithmetic_workflow() -> _workflow.Workflow:
  """Three layers for items of arithmetic; at the start most agents err.

  Returns:
    The workflow: adders count kilograms, converters make them what is asked
    for, a clerk reports it. Four of five adders err alike, so that two must be
    mended, and two of three converters; the clerk does not, until somebody
    changes its instructions.

  Example:
    >>> [len(pool[0].block.nodes) for pool in arithmetic_workflow().pools]
    [5, 3, 1]
  """
  node = _block.Node
  count, convert = 'Count the kilograms in all.', 'Give it in the right unit.'
  layers = (
    ('count', ('anna', 'bert', 'cleo', 'dora', 'otto'), 'adder', count),
    ('convert', ('uma', 'vera', 'wim'), 'converter', convert),
    ('report', ('rita',), 'clerk', 'Report the result.'),
  )
  blocks = []
  for name, ids, role, prompt in layers:
    nodes = [node(i, role, prompt) for i in ids]
    nodes[-1] = node(ids[-1], role, f'{prompt} Please: {CURES[role]}.')
    blocks.append(_block.Block(name, tuple(nodes)))
  return _workflow.make_workflow(blocks)


def workflow_agent(right: float = 0.6) -> _scripts.Script:
  """Works on arithmetic in words, criticizes, and proposes edits.

  Workers err unless their instructions hold the sentence that cures their role:
  adders leave out what is loose where it is odd, clerks answer without JSON,
  converters forget units. The critic names the first layer that is wrong. The
  optimizer proposes the cure of a faulty agent with a probability, and
  something useless, harmful or malformed otherwise.

  Args:
    right: probability of the right edit.

  Returns:
    The script.

  Raises:
    ValueError: if the probability is out of range.
  """
  checks.number(right, name='right', low=0.0, high=1.0)

  def script(chat):
    told = chat.messages[0]['content']
    part = told.split('\n', 1)[0].removeprefix('Part: ')
    asked = next(m for m in chat.messages if m['role'] == 'user')['content']
    if part == 'worker':
      return _worker(told, asked)
    if part == 'router':
      return _router(asked)
    if part == 'critic':
      return _critic(asked)
    if part == 'optimizer':
      return _optimizer(chat, asked, right)
    if part == 'judge':
      names = re.findall(r'^Answer of (\S+):', asked, re.M)
      return json.dumps({'agent': names[-1] if names else ''})
    answers = re.findall(r'^Answer of \S+: (.*)', asked, re.M)
    return json.dumps({'answer': answers[-1] if answers else ''})

  return script


def _truth(question):
  """Kilograms, what is loose, and the factor that is asked for."""
  found = _NUMBERS.search(question)
  if not found:
    return None
  a, b, c = map(int, found.groups())
  return a * b + c, c, 1000 if 'How many grams' in question else 1


def _worker(told, asked):
  role = re.search(r'^Role: (.*)', told, re.M)
  role = role[1].strip() if role else ''
  prompt = told.split('Instructions: ', 1)[-1].rsplit('\n', 1)[0]
  cured = role not in CURES or CURES[role].lower() in prompt.lower()
  question = asked.split('\n', 1)[0]
  truth = _truth(question)
  if truth is None:
    return json.dumps({'answer': 'unknown', 'confidence': 0.0, 'notes': ''})
  total, loose, factor = truth
  before = re.search(r'^Result so far: (.*)', asked, re.M)
  if before is not None:
    try:
      answer = float(before[1])
    except ValueError:
      return json.dumps({'answer': 0, 'confidence': 0.0, 'notes': ''})
    if cured and role == 'converter':
      answer *= factor
  else:
    answer = float(total)
    if role == 'adder' and not cured and loose % 2:
      answer -= loose
  answer = int(answer) if answer == int(answer) else answer
  if role == 'clerk' and not cured:
    return f'I count {answer}.'
  return json.dumps({'answer': answer, 'confidence': 0.9, 'notes': ''})


def _router(asked):
  names = re.findall(r'^Team (\S+):', asked, re.M)
  layer = re.search(r'^Layer: (\d+)', asked, re.M)
  return json.dumps(
    {
      'layer': int(layer[1]) if layer else 0,
      'block_id': names[-1] if names else '',
      'why': 'the newest',
    }
  )


def _failures(asked, label='Failure'):
  found = []
  for line in asked.splitlines():
    if line.startswith(f'{label}: '):
      value = _contracts.find_json(line)
      if value is not None:
        found.append(value)
  return found


def _critic(asked):
  """Reads from the trajectories which layer is wrong first."""
  failing, failures = set(), _failures(asked)
  for one in failures:
    truth = _truth(str(one.get('task', '')))
    outputs = one.get('outputs') or ['']
    if truth is None:
      continue
    wanted = [truth[0], truth[0] * truth[2], truth[0] * truth[2]]
    wrong = [
      k
      for k, (o, w) in enumerate(zip(outputs, wanted, strict=False))
      if _votes.number(o) != w
    ]
    failing |= set(wrong[:1])
  return json.dumps(
    {
      'loss': 1.0 if failures else 0.0,
      'failing_layers': sorted(failing),
      'summary': f'{len(failures)} tasks fail.',
      'interlayer': [],
    }
  )


def _optimizer(chat, asked, share):
  layer = int(re.search(r'^Layer: (\d+)', asked, re.M)[1])
  team = _contracts.find_json(
    next(x for x in asked.splitlines() if x.startswith('Team: '))
  )
  nodes = (team or {}).get('nodes', [])
  faulty = [
    n
    for n in nodes
    if n['role'] in CURES
    and CURES[n['role']].lower() not in n['prompt'].lower()
  ]
  if share_of(chat, 'right') < share:
    if not faulty:
      return _patch(layer, [])
    node = faulty[int(share_of(chat, 'which') * len(faulty))]
    value = f'{node["prompt"]} Please: {CURES[node["role"]]}.'
    return _patch(layer, [_edit('set_prompt', node['id'], value)])
  node = nodes[int(share_of(chat, 'node') * len(nodes))]
  # Who is right is what can be spoiled.
  right = [n for n in nodes if n not in faulty] or nodes
  good = right[int(share_of(chat, 'good') * len(right))]
  another = {'role': node['role'], 'prompt': 'Answer at once.'}
  wrong = [
    'I would rather talk about it.',
    _patch(layer, [_edit('set_prompt', 'nobody', 'Try again.')]),
    _patch(layer, [_edit('set_prompt', node['id'], ' ')]),
    _patch(layer, [_edit('add_edge', node['id'], node['id'])]),
    _patch(layer, [_edit('set_prompt', good['id'], 'Answer at once.')]),
    _patch(layer, [_edit('set_prompt', good['id'], 'Guess.')]),
    _patch(layer, [_edit('remove_node', good['id'], None)]),
    _patch(layer, [_edit('add_node', f'{node["id"]}_{len(nodes)}', another)]),
  ]
  return wrong[int(share_of(chat, 'wrong') * len(wrong))]


def _edit(kind, target, value):
  return {'kind': kind, 'target': target, 'value': value, 'reason': 'scripted'}


def _patch(layer, edits):
  return json.dumps(
    {
      'layer': layer,
      'edits': edits,
      'weight_global': 0.5,
      'weight_local': 0.5,
    }
  )


def item_answer(question: str) -> int | None:
  """What is right for an item of arithmetic, or None for other texts.

  Example:
    >>> from jaxdl.language.teams import _items
    >>> item_answer(_items.word_item('Ann', 'plums', 3, 4, 5, True)[0])
    17000
  """
  truth = _truth(question)
  return None if truth is None else truth[0] * truth[2]


SCRIPTS = {'workflow_agent': workflow_agent}
