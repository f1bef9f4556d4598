# SPDX-License-Identifier: Apache-2.0
"""How large the weights of a hypernetwork are at the start."""

import math
from collections.abc import Callable
from typing import NamedTuple

from jaxdl.core import registry


class InitFacts(NamedTuple):
  """What the last layer's scale may depend on.

  Attributes:
    width: entries of the last hidden layer.
    mean_square: of one of them, over uniform inputs.
    makes_biases: whether biases of the primary network are generated as well.
  """

  width: int
  mean_square: float
  makes_biases: bool


class HyperInit(NamedTuple):
  """Standard deviations of normal kernels.

  Attributes:
    hidden: `hidden(fan_in, fan_out) -> float`.
    head: `head(shape, is_bias, facts) -> float`, of the part of the last layer
      that makes one tensor.
    keeps_scale: whether hidden layers keep the mean square of entries (fan_in)
      and not their sum (fan_out).
  """

  hidden: Callable[[int, int], float]
  head: Callable[[tuple[int, ...], bool, InitFacts], float]
  keeps_scale: bool = False


def fan_in_of(shape: tuple[int, ...]) -> int:
  """Inputs of one output of a kernel [*window, I, O]; 1 of other tensors."""
  return math.prod(shape[:-1]) if len(shape) > 1 else 1


def _fan_out(*, zero_bias: bool = False) -> HyperInit:
  """Variance 2 / fan_out, of the last layer for each tensor by itself.

  Args:
    zero_bias: whether what makes biases starts at zero, as release 0.0.5 of the
      official code does.

  Returns:
    Deviations; the generated change of every tensor has a squared norm of
    2 |encoding|^2, whatever its size.
  """
  return HyperInit(
    lambda fan_in, fan_out: math.sqrt(2.0 / fan_out),
    lambda shape, is_bias, facts: (
      0.0 if zero_bias and is_bias else math.sqrt(2.0 / math.prod(shape))
    ),
  )


def _fan_in() -> HyperInit:
  """Variance 2 / fan_in throughout."""
  return HyperInit(
    lambda fan_in, fan_out: math.sqrt(2.0 / fan_in),
    lambda shape, is_bias, facts: math.sqrt(2.0 / facts.width),
    True,
  )


def _hyperfan(*, relu: bool = True) -> HyperInit:
  """Generated kernels have variance 2 / fan_in, shared with generated biases.

  Args:
    relu: whether the primary network has rectifiers.

  Returns:
    Deviations: variance 1 / (fan_in n v) of the last layer, n its width and v
    the mean square of its inputs; twice that without generated biases, half of
    it without rectifiers; of biases 1 / (n v).

  Source: Chang, Flokas & Lipson 2020 (https://openreview.net/forum?id=H1lma24tPB),
    hyperfan-in of table 1.
  """
  gain = 2.0 if relu else 1.0

  def head(shape, is_bias, facts):
    share = 2.0 if facts.makes_biases else 1.0
    fan = 1 if is_bias else fan_in_of(shape)
    return math.sqrt(gain / (share * fan * facts.width * facts.mean_square))

  return HyperInit(lambda fan_in, fan_out: math.sqrt(2.0 / fan_in), head, True)


def _bias_hyper() -> HyperInit:
  """The last layer is zero: all inputs get the independent weights at first.

  Source: Beck, Jackson, Vuorio & Whiteson 2022
    (https://arxiv.org/abs/2210.11348), Bias-HyperInit.
  """
  return HyperInit(
    lambda fan_in, fan_out: math.sqrt(2.0 / fan_in),
    lambda shape, is_bias, facts: 0.0,
    True,
  )


HYPER_INITS = registry.Registry(
  'init',
  {
    'bias_hyper': _bias_hyper,
    'fan_in': _fan_in,
    'fan_out': _fan_out,
    'hyperfan': _hyperfan,
  },
)


def make_init(spec: str, *, residual: bool) -> HyperInit:
  """Reads a part of `HYPER_INITS`.

  Args:
    spec: the part.
    residual: whether there are independent weights.

  Returns:
    Deviations.

  Raises:
    ValueError: if it is unknown, or would make nothing but zeros.
  """
  made = HYPER_INITS.make(spec)
  if HYPER_INITS.part(spec).name == 'bias_hyper' and not residual:
    raise ValueError(
      'init=bias_hyper needs residual=True: without independent weights all '
      'generated ones are zero.'
    )
  return made
