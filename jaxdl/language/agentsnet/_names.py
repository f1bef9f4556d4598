# SPDX-License-Identifier: Apache-2.0
"""What nodes are called, and the numbers that names stand for."""

import hashlib
import random
import unicodedata
from collections.abc import Sequence
from typing import Any

from jaxdl.core import checks

_TEXT = """
Ada Adam Agnes Aisha Alan Alba Alex Alice Amir Amy Ana Andrea Anton Aria Arlo
Arun Astrid Bea Ben Bianca Bill Boris Bruno Carl Carla Cecil Chen Chloe Clara
Cora Daan Dag Dana David Dora Ed Edith Eli Elsa Emil Emma Enzo Erik Eva Ezra
Faye Felix Finn Flora Frank Frida Gina Greta Gus Hana Hans Hector Helen Henry
Hugo Ian Ida Ines Ingrid Iris Ivan Jack Jade Jan Jia Joan Joel Jonas Judith
Julia Karim Kate Kenji Kira Kofi Lara Lars Lea Leo Lena Liam Lily Lisa Lola
Louis Lucia Luke Luna Mae Maria Mark Marta Matteo Maya Mei Mia Milan Mira Musa
Nadia Nora Noah Nina Niko Oda Olga Omar Oscar Otto Paul Pavel Petra Pia Priya
Rahul Remy Rita Rosa Ruth Sam Sara Selma Simon Sofia Sven Tara Theo Tina Tom
Uma Vera Victor Viola Walter Wanda Wei Will Yara Yusuf Zara Zoe
"""
NAMES = tuple(_TEXT.split())
_MOST_CHARACTERS = 40
NONE = 'None'


def draw_names(num_nodes: int, rng: random.Random) -> tuple[str, ...]:
  """Draws names without replacement.

  Args:
    num_nodes: n >= 1. Beyond the list, numbers are appended: Ada2, Ada3.
    rng: of the standard library, whose state moves on.

  Returns:
    n distinct names.

  Example:
    >>> draw_names(2, random.Random(0))
    ('Maya', 'Nina')
  """
  n = checks.integer(num_nodes, name='num_nodes', low=1)
  if n <= len(NAMES):
    return tuple(rng.sample(NAMES, n))
  rounds = -(-n // len(NAMES))
  more = [f'{name}{k}' for k in range(2, rounds + 1) for name in NAMES]
  found = [*rng.sample(NAMES, len(NAMES)), *more[: n - len(NAMES)]]
  return tuple(rng.sample(found, n))


def node_number(name: str) -> int:
  """The number that a name stands for, which nodes draw and rank by.

  Args:
    name: of a node.

  Returns:
    30 bits of a hash.

  Example:
    >>> node_number('Ada')
    644438250
  """
  digest = hashlib.sha256(name.encode()).digest()
  return int.from_bytes(digest[:4], 'big') >> 2


def check_names(names: Sequence[Any], *, label: str = 'names') -> None:
  """Raises unless names can stand in a conversation and be told apart.

  Args:
    names: of all nodes.
    label: of the argument, for messages.

  Raises:
    TypeError: if one is no text.
    ValueError: if one is empty, long, holds what cannot be printed, is 'None',
      is there twice, or if two stand for one number.
  """
  seen: dict[str, str] = {}
  numbers: dict[int, str] = {}
  for name in names:
    if not isinstance(name, str):
      raise TypeError(f'{label} must be text; got {checks.described(name)}.')
    shown = repr(name[: 2 * _MOST_CHARACTERS])
    if not 0 < len(name) <= _MOST_CHARACTERS or not name.isprintable():
      raise ValueError(
        f'{label} must be 1 to {_MOST_CHARACTERS} printable characters; got '
        f'{shown} of {len(name)}.'
      )
    if name.strip() != name or name.casefold() == NONE.casefold():
      raise ValueError(
        f'{label} must not be {NONE!r}, which is an answer, nor start or end '
        f'with a space; got {shown}.'
      )
    # "ann" and "Ann" could not be told apart in a sentence, nor two that look
    # alike.
    spelled = unicodedata.normalize('NFKC', name).casefold()
    if spelled in seen:
      raise ValueError(
        f'{label} must be distinct; {shown} and {seen[spelled]!r} are not.'
      )
    seen[spelled] = name
    number = node_number(name)
    if number in numbers:
      raise ValueError(
        f'{label} {shown} and {numbers[number]!r} stand for one number: '
        'rename one.'
      )
    numbers[number] = name
