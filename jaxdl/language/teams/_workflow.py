# SPDX-License-Identifier: Apache-2.0
"""Workflows: a pool of blocks for each layer, readable as YAML."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks, extras
from jaxdl.language import _transcripts
from jaxdl.language.teams import _block, _control

_FORM = 1
_MOST_BYTES = 2**22
_MOST_AGE = 2**30


class _References(Exception):
  """A workflow refers to parts of itself."""


class Entry(NamedTuple):
  """A block of a pool.

  Attributes:
    block: what it is.
    loss: running loss of its uses; None before the first.
    age: number in the order in which blocks came.
  """

  block: _block.Block
  loss: float | None = None
  age: int = 0


class Workflow(NamedTuple):
  """Layers that run one after the other.

  Attributes:
    pools: entries by layer.
  """

  pools: tuple[tuple[Entry, ...], ...]


def make_workflow(
  layers: Sequence[Sequence[_block.Block] | _block.Block],
) -> Workflow:
  """Makes a workflow of blocks.

  Args:
    layers: for each layer a block, or several that it chooses from.

  Returns:
    The workflow.

  Raises:
    ValueError: if there is no layer, a pool is empty, or a block has a fault;
      the layer is named.
  """
  pools = [
    (pool,) if isinstance(pool, _block.Block) else tuple(pool)
    for pool in layers
  ]
  return check_workflow(
    Workflow(
      tuple(
        tuple(Entry(b, None, age) for age, b in enumerate(pool))
        for pool in pools
      )
    )
  )


def check_workflow(workflow: Workflow) -> Workflow:
  """Checks a workflow.

  Args:
    workflow: to be checked.

  Returns:
    It.

  Raises:
    ValueError: as `make_workflow`.
  """
  if not workflow.pools:
    raise ValueError('layers is empty: need at least one layer.')
  for number, pool in enumerate(workflow.pools):
    if not pool:
      raise ValueError(f'layer {number} has an empty pool: give it a block.')
    before: list[_block.Block] = []
    for entry in pool:
      faults = _block.validate_block(entry.block, before)
      if entry.block.block_id in [b.block_id for b in before]:
        faults.append('schema: its name stands twice.')
      if faults:
        raise ValueError(
          f'layer {number}, block {entry.block.block_id!r}: {faults[0]}'
        )
      before.append(entry.block)
  return workflow


def _arrays(pool):
  losses = [math.inf if e.loss is None else e.loss for e in pool]
  return np.array(losses), np.array([e.age for e in pool])


def current(workflow: Workflow, layer: int) -> _block.Block:
  """The block of a layer that is chosen without asking a model.

  Args:
    workflow: with pools.
    layer: from 0.

  Returns:
    The block of the lowest running loss, of equal ones the newest.
  """
  pool = workflow.pools[layer]
  return pool[int(_control.select(*_arrays(pool)))].block


def used(
  workflow: Workflow, layer: int, block_id: str, loss: float
) -> Workflow:
  """Moves the running loss of a block that was used.

  Args:
    workflow: before.
    layer: from 0.
    block_id: of the block.
    loss: of this use.

  Returns:
    The workflow.
  """
  pool = tuple(
    e._replace(loss=loss if e.loss is None else _control.running(e.loss, loss))
    if e.block.block_id == block_id
    else e
    for e in workflow.pools[layer]
  )
  return _with_pool(workflow, layer, pool)


def added(
  workflow: Workflow,
  layer: int,
  block: _block.Block,
  loss: float,
  *,
  pool_size: int,
) -> Workflow:
  """Puts an accepted block into a pool; beyond its size the worst one leaves.

  Args:
    workflow: before.
    layer: from 0.
    block: the new one.
    loss: of its validation.
    pool_size: P, blocks that a pool keeps.

  Returns:
    The workflow.
  """
  pool = workflow.pools[layer]
  entry = Entry(block, loss, 1 + max(e.age for e in pool))
  while len(pool) >= pool_size:
    place = int(_control.slot(*_arrays(pool)))
    pool = pool[:place] + pool[place + 1 :]
  return _with_pool(workflow, layer, (*pool, entry))


def _with_pool(workflow, layer, pool):
  pools = workflow.pools
  return Workflow((*pools[:layer], pool, *pools[layer + 1 :]))


def workflow_json(workflow: Workflow) -> dict[str, Any]:
  """Writes a workflow as plain values; `read_workflow_json` reads them."""
  return {
    'form': _FORM,
    'layers': [
      [
        {'loss': e.loss, 'age': e.age} | _block.block_json(e.block)
        for e in pool
      ]
      for pool in workflow.pools
    ],
  }


def read_workflow_json(value: Any) -> Workflow:
  """Reads a workflow from plain values, which nobody has checked.

  Args:
    value: as `workflow_json` writes it.

  Returns:
    The workflow.

  Raises:
    ValueError: if something is missing or wrong.
  """
  if not isinstance(value, dict) or not isinstance(value.get('layers'), list):
    raise ValueError('a workflow needs layers, a list of pools.')
  form = value.get('form', _FORM)
  if form != _FORM or isinstance(form, bool):
    raise ValueError(f'a workflow has form {_FORM}; got {form!r:.100}.')
  _block.only(value, ('form', 'layers'), 'a workflow')
  pools = []
  for number, pool in enumerate(value['layers']):
    if not isinstance(pool, list):
      raise ValueError(f'layer {number} must be a list of blocks.')
    entries = []
    for i, own in enumerate(pool):
      block = _block.read_block(own, name=f'layer {number}, block {i}')
      loss, age = own.get('loss'), own.get('age', i)
      where = f'layer {number}, block {i}'
      try:
        if loss is not None:
          checks.number(loss, name=f'{where} loss', low=0.0, high=1.0)
        checks.integer(age, name=f'{where} age', low=0, high=_MOST_AGE)
      except TypeError as error:
        raise ValueError(str(error)) from None
      entries.append(Entry(block, None if loss is None else float(loss), age))
    pools.append(tuple(entries))
  return check_workflow(Workflow(tuple(pools)))


def dump_workflow(workflow: Workflow) -> str:
  """Writes a workflow as YAML, to be read and edited by hand.

  Args:
    workflow: with pools.

  Returns:
    Text; `load_workflow` reads it.

  Raises:
    ImportError: if PyYAML is missing.

  Example:
    >>> block = _block.Block('b0', (_block.Node('a', 'solver', 'Solve it.'),))
    >>> text = dump_workflow(make_workflow([block]))
    >>> load_workflow(text) == make_workflow([block])
    True
  """
  yaml = extras.require('yaml', 'writing a workflow')
  return yaml.safe_dump(
    workflow_json(workflow), sort_keys=False, allow_unicode=True, width=80
  )


def load_workflow(text: str) -> Workflow:
  """Reads a workflow from YAML or JSON.

  Args:
    text: as `dump_workflow` writes it, perhaps edited; untrusted.

  Returns:
    The workflow.

  Raises:
    ValueError: if it is none; the layer and block are named.
    ImportError: if PyYAML is missing.
  """
  yaml = extras.require('yaml', 'reading a workflow')
  if len(text) > _MOST_BYTES:
    raise ValueError(f'a workflow has at most {_MOST_BYTES} characters.')
  # References multiply small files into large values; nobody needs them here.
  try:
    if any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text)):
      raise _References
    value = yaml.safe_load(text)
  except _References:
    raise ValueError(
      'a workflow has no references (&, *): write them out.'
    ) from None
  except (yaml.YAMLError, ValueError, RecursionError) as error:
    said = ' '.join(str(error).split())[:200]
    raise ValueError(f'a workflow must be YAML: {said}.') from None
  return read_workflow_json(value)


def write_workflow(path: str | os.PathLike[str], workflow: Workflow) -> None:
  """Writes a workflow into a file, at once."""
  _transcripts.write_text(path, dump_workflow(workflow))


def read_workflow(path: str | os.PathLike[str]) -> Workflow:
  """Reads a workflow of a file.

  Args:
    path: of the file.

  Returns:
    The workflow.

  Raises:
    ValueError: if there is no such file, or it holds no workflow.
  """
  try:
    text = pathlib.Path(path).read_text('utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'{path} cannot be read: {error}.') from None
  try:
    return load_workflow(text)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None
