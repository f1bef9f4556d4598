# SPDX-License-Identifier: Apache-2.0
"""Counts what a compiled program sends between devices, from its text."""

import math
import re
from typing import Any, NamedTuple

from absl import logging

from jaxdl.core import checks

COLLECTIVES = (
  'all-gather',
  'all-reduce',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
)

_HEAD = re.compile(r'(ENTRY )?%?([\w.-]+) \(.*\) -> .*\{$')
_LINE = re.compile(r'(?:ROOT )?%?([\w.-]+) = ')
_TYPE = re.compile(r'\b(pred|[a-z]+?(\d+)(?:e\d+m\d+\w*)?)\[([\d,]*)\]')
_CALLED = re.compile(
  r'\b(?:calls|to_apply|body|condition|true_computation|false_computation)='
  r'%?([\w.-]+)'
)
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_EITHER = re.compile(r'(?:true|false)_computation=%?([\w.-]+)')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_NAME = re.compile(r'%([\w.-]+)')
_LISTED = re.compile(r'replica_groups=\{((?:\{[\d,]*\},?)*)\}')
_IOTA = re.compile(r'replica_groups=\[(\d+),(\d+)\]<=')
_MESH = re.compile(r'replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}')
_PAIRS = re.compile(r'source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}')


class _Instruction(NamedTuple):
  """A line of a computation."""

  opcode: str
  operands: str
  rest: str
  size: float


def collective_bytes(compiled: Any, *, trips: int = 1) -> dict[str, int]:
  """Bytes that the collectives of a program move, over all devices.

  For a group of g devices, each with an operand of O bytes, an all-gather moves
  g (g - 1) O, a reduce-scatter and an all-to-all (g - 1) O, an all-reduce
  2 (g - 1) O, as `boxing_cost` has it; a permutation moves O for each pair of
  different devices. Loops count as often as they run. Of branches the one that
  moves most counts. What a program sends in other ways (send, callbacks) does
  not.

  Args:
    compiled: `jax.jit(fn).lower(...).compile()`, or its text.
    trips: how often loops run of which the compiler does not know it.

  Returns:
    Bytes by collective: all-gather, all-reduce, reduce-scatter, all-to-all,
    collective-permute; asynchronous ones among them.

  Raises:
    TypeError: if it is no compiled program.
    ValueError: if the text holds no program.

  Example:
    >>> text = '''HloModule m, num_partitions=4
    ... ENTRY %main (x: f32[8]) -> f32[8] {
    ...   %x = f32[8]{0} parameter(0)
    ...   ROOT %y = f32[8]{0} all-reduce(%x), replica_groups=[2,2]<=[4]
    ... }'''
    >>> collective_bytes(text)['all-reduce']
    128
  """
  if isinstance(compiled, str):
    text = compiled
  elif checks.has_functions(compiled, 'as_text', 'memory_analysis'):
    text = compiled.as_text()
  else:
    raise TypeError(
      'compiled must be a compiled program or its text; got '
      f'{checks.described(compiled)}: call '
      'jax.jit(fn).lower(...).compile().'
    )
  trips = checks.integer(trips, name='trips', low=0)
  return _Program(text, trips).count()


class _Program:
  """The computations of a text."""

  def __init__(self, text, trips):
    header = text.partition('\n')[0]
    sizes = [
      int(found.group(1)) if found else 1
      for found in (
        re.search(rf'{name}=(\d+)', header)
        for name in ('num_partitions', 'replica_count')
      )
    ]
    self.partitions, self.replicas = sizes
    self.devices = math.prod(sizes)
    self.trips = trips
    self.computations: dict[str, dict[str, _Instruction]] = {}
    self.entry = None
    self.counted: dict[str, dict[str, float]] = {}
    self._read(text)

  def count(self) -> dict[str, int]:
    if self.entry is None:
      raise ValueError('compiled holds no program: no line starts with ENTRY.')
    return {k: round(v) for k, v in self._count(self.entry).items()}

  def _read(self, text):
    lines = None
    for raw in text.splitlines():
      head = _HEAD.match(raw)
      if head is not None:
        lines = self.computations.setdefault(head.group(2), {})
        if head.group(1):
          self.entry = head.group(2)
      elif raw.startswith('}'):
        lines = None
      elif lines is not None:
        line = raw.strip()
        found = _LINE.match(line)
        if found is not None:
          lines[found.group(1)] = _instruction(line[found.end() :])

  def _count(self, name):
    if name in self.counted:
      return self.counted[name]
    total = dict.fromkeys(COLLECTIVES, 0.0)
    lines = self.computations.get(name, {})
    for line in lines.values():
      kind = line.opcode.removesuffix('-start')
      if kind in COLLECTIVES:
        total[kind] += self._moved(kind, line, lines)
      for k, v in self._called(line).items():
        total[k] += v
    self.counted[name] = total
    return total

  def _called(self, line):
    """What is in the computations that a line calls."""
    if line.opcode in ('async-done', 'async-update'):
      return {}
    if line.opcode == 'conditional':
      listed = _BRANCHES.search(line.rest)
      names = (
        [n.strip().lstrip('%') for n in listed.group(1).split(',')]
        if listed
        else _EITHER.findall(line.rest)
      )
      found = [self._count(n) for n in names]
      return max(found, key=lambda c: sum(c.values()), default={})
    total = dict.fromkeys(COLLECTIVES, 0.0)
    for called in _CALLED.findall(line.rest):
      for k, v in self._count(called).items():
        total[k] += v
    if line.opcode != 'while' or not any(total.values()):
      return total
    known = _TRIPS.search(line.rest)
    if known is None:
      logging.log_first_n(
        logging.WARNING,
        'a loop whose length the compiler does not know is counted as %d '
        'trip(s): pass trips=... for another number.',
        1,
        self.trips,
      )
    trips = self.trips if known is None else int(known.group(1))
    return {k: trips * v for k, v in total.items()}

  def _moved(self, kind, line, lines):
    size = self._operand_bytes(line, lines)
    if kind == 'collective-permute':
      pairs = _PAIRS.search(line.rest)
      ends = re.findall(r'\{(\d+),(\d+)\}', pairs.group(1) if pairs else '')
      return size * sum(a != b for a, b in ends)
    groups = self._groups(line.rest)
    # Groups of replicas stand for one of each partition.
    times = self.devices / max(1, sum(groups))
    per = {
      'all-gather': lambda g: g * (g - 1),
      'all-reduce': lambda g: 2 * (g - 1),
    }.get(kind, lambda g: g - 1)
    return size * times * sum(map(per, groups))

  def _operand_bytes(self, line, lines):
    inline = _bytes(line.operands)
    if inline:
      return inline
    names = _NAME.findall(line.operands) or [
      n.strip() for n in line.operands.split(',')
    ]
    return sum(lines[n].size for n in names if n in lines)

  def _groups(self, text):
    """Sizes of the groups of devices."""
    iota = _IOTA.search(text)
    if iota is not None:
      return [int(iota.group(2))] * int(iota.group(1))
    mesh = _MESH.search(text)
    if mesh is not None:
      axes = dict(re.findall(r"'([^']*)'=(\d+)", mesh.group(1)))
      # 'x', or 'x':(2)4 for a part of an axis.
      used = re.findall(r"'([^']*)'(?::\(\d+\)(\d+))?", mesh.group(2))
      size = math.prod(int(part or axes[name]) for name, part in used)
      return [size] * (math.prod(map(int, axes.values())) // size)
    listed = _LISTED.search(text)
    groups = re.findall(r'\{([\d,]*)\}', listed.group(1) if listed else '')
    if groups:
      return [len(g.split(',')) for g in groups]
    everybody = 'channel_id=' in text
    return [self.devices if everybody else self.replicas]


def _instruction(text):
  """Reads `type opcode(operands), rest`."""
  kind, text = _cut(text) if text[0] == '(' else text.split(' ', 1)
  opcode, _, text = text.strip().partition('(')
  operands, rest = _cut(f'({text}')
  return _Instruction(opcode, operands, rest, _bytes(kind))


def _cut(text):
  """Splits after the bracket that closes the first one."""
  depth = 0
  for i, c in enumerate(text):
    depth += (c == '(') - (c == ')')
    if depth == 0:
      return text[: i + 1], text[i + 1 :]
  return text, ''


def _bytes(text):
  total = 0.0
  for name, bits, sizes in _TYPE.findall(text):
    count = math.prod(int(n) for n in sizes.split(',') if n)
    total += count * (1 if name == 'pred' else int(bits) / 8)
  return total
