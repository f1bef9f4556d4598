# SPDX-License-Identifier: Apache-2.0
"""Spaces by name, and architectures as text."""

from collections.abc import Sequence

from jaxdl.core import checks, registry
from jaxdl.graphs import _attention
from jaxdl.graphs.search import _space
from jaxdl.graphs.search._space import Layer, SearchSpace

LAYERS = registry.Registry('layer', {'layer': Layer})


def parse_architecture(text: str) -> tuple[Layer, ...]:
  """Reads an architecture.

  Args:
    text: layers in a chain, e.g. 'layer(8, gat, 8)+layer(8, gat, 1)'; options
      are the attributes of `Layer`.

  Returns:
    The layers.

  Raises:
    ValueError: if it is something else, or a value is unknown to all spaces.
    TypeError: if it is no text.

  Example:
    >>> [layer.heads for layer in parse_architecture('layer(8, gcn, 8)+layer')]
    [8, 4]
  """
  pieces = registry.split(_checked(text), '+')
  return tuple(_known(LAYERS.make(piece), piece) for piece in pieces)


def _known(layer, piece):
  """The layer, none of whose values is unknown to all spaces."""
  for name in ('hidden', 'heads'):
    checks.integer(getattr(layer, name), name=f'{piece}: {name}', low=1)
  known = {
    'attention': _attention.ATTENTIONS,
    'aggregate': (*_attention.AGGREGATES, _space.MLP),
    'combine': _attention.COMBINES,
    'activation': _space.ACTIVATIONS,
  }
  for name, values in known.items():
    checks.choice(getattr(layer, name), values, name=f'{piece}: {name}')
  return layer


def _checked(text):
  if not isinstance(text, str):
    raise TypeError(
      f'architecture must be text; got {checks.described(text)}: '
      'write_architecture(layers) writes it.'
    )
  return text


def write_architecture(layers: Sequence[Layer]) -> str:
  """Writes an architecture as `parse_architecture` reads it.

  Args:
    layers: from `SearchSpace.decode`.

  Returns:
    The text.

  Raises:
    TypeError: if one is no `Layer`.

  Example:
    >>> write_architecture([Layer(8, 'gcn', 1)])
    'layer(8, gcn, 1, sum, identity, elu)'
  """
  for i, layer in enumerate(layers):
    if not isinstance(layer, Layer):
      raise TypeError(
        f'layers[{i}] must be a Layer; got {checks.described(layer)}.'
      )
  return '+'.join(registry.write('layer', *layer) for layer in layers)


def _values(values):
  return tuple(values) if isinstance(values, (tuple, list)) else (values,)


def agnn(
  hidden: int | tuple[int, ...] = _space.WIDTHS,
  heads: int | tuple[int, ...] = _space.HEADS,
  attention: str | tuple[str, ...] = _attention.ATTENTIONS,
  aggregate: str | tuple[str, ...] = _attention.AGGREGATES,
  combine: str | tuple[str, ...] = _attention.COMBINES,
  activation: str | tuple[str, ...] = _space.ACTIVATIONS,
) -> SearchSpace:
  """Six classes, 14,112 values of a layer unless there are fewer.

  Args:
    hidden: widths of a head.
    heads: numbers of heads.
    attention: see `SearchSpace`.
    aggregate: likewise.
    combine: likewise.
    activation: likewise.

  Returns:
    The space.

  Example:
    >>> agnn(hidden=(4, 8, 16, 32), heads=(1, 2, 4)).size(1)
    4032

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 3.1.
  """
  return SearchSpace(
    *map(_values, (hidden, attention, heads, aggregate, combine, activation))
  )


def graphnas(
  hidden: int | tuple[int, ...] = _space.WIDTHS,
  heads: int | tuple[int, ...] = _space.HEADS,
  attention: str | tuple[str, ...] = _attention.ATTENTIONS,
  activation: str | tuple[str, ...] = _space.ACTIVATIONS,
) -> SearchSpace:
  """Five classes: dense layers are one of four ways to aggregate.

  Args:
    hidden: widths of a head.
    heads: numbers of heads.
    attention: see `SearchSpace`.
    activation: likewise.

  Returns:
    The space.

  Example:
    >>> graphnas().size(1)
    9408

  Source: Gao et al. 2020 (https://arxiv.org/abs/1904.09981), table 1.
  """
  aggregate = (*_attention.AGGREGATES, _space.MLP)
  return SearchSpace(
    *map(_values, (hidden, attention, heads, aggregate, (), activation))
  )


SPACES = registry.Registry(
  'space', {'agnn': agnn, 'graphnas': graphnas}, tried={}
)


def make_space(spec: str) -> SearchSpace:
  """Makes a space by name.

  Args:
    spec: a part of `SPACES`.

  Returns:
    The space.

  Raises:
    ValueError: if the name, an option or a value is unknown.

  Example:
    >>> make_space('agnn(hidden=(4, 8), attention=gcn)').sizes
    (2, 1, 6, 3, 2, 8)
  """
  return SPACES.make(spec)
