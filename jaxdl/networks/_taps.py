# SPDX-License-Identifier: Apache-2.0
"""Values inside of a network, by name, without any change to what it computes.

A layer hands what it makes to `tap`, which gives it back. Who wants to see it
runs the network inside of `recording`. Outside of that a tap is nothing at all:
it leaves no trace in a compiled program.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import chex

_RECORD: contextvars.ContextVar['Record | None'] = contextvars.ContextVar(
  'record', default=None
)


class Record:
  """What was seen in one run of a network.

  Attributes:
    taps: what was handed to `tap`, by name, in order.
    modules: what modules of a layer library returned, by path, in order.
  """

  def __init__(self):
    """Has seen nothing yet."""
    self.taps: dict[str, Any] = {}
    self.modules: dict[str, Any] = {}
    self._counts: dict[str, int] = {}

  def add(self, name: str, value: Any) -> None:
    """Keeps a value as the next one of a name."""
    count = self._counts[name] = self._counts.get(name, 0) + 1
    self.taps[f'{name}_{count}'] = value


def tap(x: chex.Array, name: str) -> chex.Array:
  """Shows a value inside of a network to `activations`.

  For layers of your own: `x = networks.tap(jax.nn.relu(dense(x)), 'dense')`.

  Args:
    x: any array, units along its last axis.
    name: of its kind; values of one name are numbered, 'dense_1', 'dense_2'.

  Returns:
    `x` itself.

  Example:
    >>> tap(1.0, 'dense')
    1.0
  """
  record = _RECORD.get()
  if record is not None:
    record.add(name, x)
  return x


def current() -> Record | None:
  """Returns the record of the run that is being looked at, if any."""
  return _RECORD.get()


@contextlib.contextmanager
def recording() -> Iterator[Record]:
  """Looks at everything that is run inside of it.

  Yields:
    The record, which fills up.
  """
  record = Record()
  token = _RECORD.set(record)
  try:
    yield record
  finally:
    _RECORD.reset(token)
