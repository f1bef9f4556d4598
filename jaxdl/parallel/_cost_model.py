# SPDX-License-Identifier: Apache-2.0
"""What is counted when signatures are compared."""

import dataclasses

from jaxdl.core import checks, registry


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostModel:
  """What is counted, and in which unit.

  With communication as the only cost, keeping everything on every device costs
  nothing: count the work as well, or leave `replicated` signatures out.

  Attributes:
    itemsize: bytes per number; 1 counts numbers.
    per_byte: of a byte moved, summed over all devices.
    per_flop: of a floating-point operation of one device, all of which work
      side by side.
    per_byte_held: of a byte of a parameter that one device stores.
    wait: of every transfer that is not empty, whatever its size.
    training: whether gradients go back the way that values came, which doubles
      transfers and trebles the work; a parameter that every device holds then
      has its gradient summed over the devices.
    value_gradients: whether, in training, gradients of values go back too;
      without, only those of parameters are counted.
    replicated: whether operators may do the same on every device.
    even: whether splits must be even, as those of JAX are; where they need not,
      costs are as if they were.
  """

  itemsize: float = 4.0
  per_byte: float = 1.0
  per_flop: float = 0.01
  per_byte_held: float = 0.0
  wait: float = 0.0
  training: bool = False
  value_gradients: bool = True
  replicated: bool = True
  even: bool = True

  def __post_init__(self):
    for name in (
      *('itemsize', 'per_byte', 'per_flop', 'per_byte_held', 'wait'),
    ):
      checks.number(getattr(self, name), name=name, low=0)


def count_numbers(
  training: bool = True,
  replicated: bool = False,
  even: bool = False,
  per_flop: float = 0.0,
  per_byte_held: float = 0.0,
  wait: float = 0.0,
  value_gradients: bool = True,
) -> CostModel:
  """Counts numbers that move, and nothing else; as tables of the method do.

  Args:
    training: see `CostModel`.
    replicated: see `CostModel`.
    even: see `CostModel`.
    per_flop: see `CostModel`.
    per_byte_held: see `CostModel`; of a number here.
    wait: see `CostModel`.
    value_gradients: see `CostModel`.

  Returns:
    The model.
  """
  return CostModel(
    itemsize=1.0,
    per_flop=per_flop,
    per_byte_held=per_byte_held,
    wait=wait,
    training=training,
    value_gradients=value_gradients,
    replicated=replicated,
    even=even,
  )


def count_bytes(
  training: bool = True,
  replicated: bool = True,
  even: bool = True,
  per_flop: float = 0.01,
  per_byte_held: float = 0.0,
  wait: float = 0.0,
  itemsize: float = 4.0,
  value_gradients: bool = True,
) -> CostModel:
  """Counts bytes that move, and the work, as real devices would have it.

  Args:
    training: see `CostModel`.
    replicated: see `CostModel`.
    even: see `CostModel`.
    per_flop: see `CostModel`.
    per_byte_held: see `CostModel`.
    wait: see `CostModel`.
    itemsize: see `CostModel`.
    value_gradients: see `CostModel`.

  Returns:
    The model.
  """
  counted = count_numbers(
    training, replicated, even, per_flop, per_byte_held, wait, value_gradients
  )
  return dataclasses.replace(counted, itemsize=itemsize)


COST_MODELS = registry.Registry(
  'cost', {'bytes': count_bytes, 'numbers': count_numbers}, tried={}
)
