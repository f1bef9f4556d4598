# SPDX-License-Identifier: Apache-2.0
"""What is searched: architectures as tables of choices."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys
from jaxdl.graphs import _attention

WIDTHS = (4, 8, 16, 32, 64, 128, 256)
HEADS = (1, 2, 4, 6, 8, 16)
ACTIVATIONS = tuple(_attention.LAYER_ACTIVATIONS)
# An aggregate of spaces without a class of combinations: a sum, then two
# dense layers.
MLP = 'mlp'


class Layer(NamedTuple):
  """The choices of one layer, see `graphs.graph_layer`.

  Attributes:
    hidden: width of a head; in the last layer it is the number of outputs
      whatever stands here.
    attention: in `graphs.ATTENTIONS`.
    heads: how many; side by side, averaged in the last layer.
    aggregate: in `graphs.AGGREGATES`, or 'mlp' where the space has it.
    combine: in `graphs.COMBINES`.
    activation: in `graphs.LAYER_ACTIVATIONS`.
  """

  hidden: int = 16
  attention: str = 'gat'
  heads: int = 4
  aggregate: str = 'sum'
  combine: str = 'identity'
  activation: str = 'elu'


class Choices(NamedTuple):
  """The choices of every layer as numbers that `graphs.graph_layer` takes.

  Attributes:
    width: i32[L], of a head (of the last layer, the table's).
    heads: i32[L].
    attention: i32[L], place in `graphs.ATTENTIONS`.
    aggregate: i32[L], place in `graphs.AGGREGATES`.
    combine: i32[L], place in `graphs.COMBINES`.
    activation: i32[L], place in `graphs.LAYER_ACTIVATIONS`.
  """

  width: chex.Array
  heads: chex.Array
  attention: chex.Array
  aggregate: chex.Array
  combine: chex.Array
  activation: chex.Array


@dataclasses.dataclass(frozen=True)
class SearchSpace:
  """Values of every class of choices; all static.

  A table i32[L, C] holds, for every layer and class, the place of a value.

  Attributes:
    hidden: widths of a head.
    attention: of `graphs.ATTENTIONS`.
    heads: numbers of heads.
    aggregate: of `graphs.AGGREGATES`; 'mlp' too if there is no `combine`.
    combine: of `graphs.COMBINES`; empty for a space of five classes.
    activation: of `graphs.LAYER_ACTIVATIONS`.

  Raises:
    ValueError: if a class is empty, or a value unknown or there twice.

  Example:
    >>> space = SearchSpace()
    >>> space.names, space.size(1), space.size(2)
    (('hidden', 'attention', 'heads', 'aggregate', 'combine', 'activation'), \
14112, 199148544)

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 3.1.
  """

  hidden: tuple[int, ...] = WIDTHS
  attention: tuple[str, ...] = _attention.ATTENTIONS
  heads: tuple[int, ...] = HEADS
  aggregate: tuple[str, ...] = _attention.AGGREGATES
  combine: tuple[str, ...] = _attention.COMBINES
  activation: tuple[str, ...] = ACTIVATIONS

  def __post_init__(self):
    aggregates = _attention.AGGREGATES
    known: dict[str, tuple[str, ...]] = {
      'attention': _attention.ATTENTIONS,
      'aggregate': aggregates if self.combine else (*aggregates, MLP),
      'combine': _attention.COMBINES,
      'activation': ACTIVATIONS,
    }
    for field in dataclasses.fields(self):
      name = field.name
      value = getattr(self, name)
      if isinstance(value, str) or not hasattr(value, '__iter__'):
        raise TypeError(
          f'{name} must be a tuple of values; got {checks.described(value)}: '
          f'for one write ({value!r},).'
        )
      values = tuple(value)
      object.__setattr__(self, name, values)
      if not values and name != 'combine':
        raise ValueError(f'{name} is empty: a space needs a value of it.')
      for one in values:
        if name in known:
          checks.choice(one, known[name], name=name)
        else:
          checks.integer(one, name=name, low=1)
      if len(set(values)) < len(values):
        raise ValueError(f'{name}={values} has a value twice.')

  @functools.cached_property
  def classes(self) -> dict[str, tuple[Any, ...]]:
    """Values by class, in the order of the columns of a table."""
    names = [field.name for field in dataclasses.fields(self)]
    return {name: v for name in names if (v := getattr(self, name))}

  @property
  def names(self) -> tuple[str, ...]:
    """The classes, in the order of the columns of a table."""
    return tuple(self.classes)

  @property
  def sizes(self) -> tuple[int, ...]:
    """How many values the classes have."""
    return tuple(map(len, self.classes.values()))

  @property
  def num_classes(self) -> int:
    """C, how many classes there are."""
    return len(self.classes)

  @property
  def num_values(self) -> int:
    """M, the most values that a class has."""
    return max(self.sizes)

  @property
  def num_tokens(self) -> int:
    """Values of all classes, which have a token each."""
    return sum(self.sizes)

  def size(self, num_layers: int) -> int:
    """How many tables there are.

    Args:
      num_layers: L >= 1.

    Returns:
      The product of sizes to the power of L.
    """
    layers = checks.num_layers(num_layers)
    return math.prod(self.sizes) ** layers

  @property
  def mask(self) -> np.ndarray:
    """Which values there are, bool[C, M]."""
    return np.arange(self.num_values) < np.array(self.sizes)[:, None]

  def decode(self, table: Any) -> tuple[Layer, ...]:
    """Reads a table, on the host.

    Args:
      table: i[L, C].

    Returns:
      A `Layer` for each row.

    Raises:
      ValueError: if its shape is wrong, or a place is none.
      TypeError: if it is no array of integers.

    Example:
      >>> SearchSpace().decode([[2, 2, 0, 0, 0, 2]])[0][:3]
      (16, 'gat', 1)
    """
    rows = self.check_table(table)
    out = []
    for row in rows.tolist():
      picked = {
        name: values[place]
        for (name, values), place in zip(self.classes.items(), row, strict=True)
      }
      out.append(Layer(**picked))
    return tuple(out)

  def encode(self, layers: Sequence[Layer | Mapping[str, Any]]) -> np.ndarray:
    """Writes the table of an architecture, on the host.

    Args:
      layers: L of them; what a mapping leaves out is that of `Layer()`.

    Returns:
      i32[L, C].

    Raises:
      ValueError: if there is no layer, or a value is not in the space; the
        message lists those that are.
      TypeError: if one is no layer, or a number no integer.

    Example:
      >>> SearchSpace().encode([Layer(16, 'gat', 1)]).tolist()
      [[2, 2, 0, 0, 0, 7]]
    """
    if isinstance(layers, (Layer, Mapping, str)):
      raise TypeError(
        f'layers must be a sequence of Layers; got {checks.described(layers)}: '
        'for one write [layer], for text parse_architecture(text).'
      )
    if not len(layers):
      raise ValueError('layers must be at least 1; got none.')
    table = np.zeros((len(layers), self.num_classes), np.int32)
    for i, layer in enumerate(layers):
      picked = self._picked(layer, f'layers[{i}]')
      for c, (name, values) in enumerate(self.classes.items()):
        checks.choice(picked[name], values, name=f'layers[{i}].{name}')
        table[i, c] = values.index(picked[name])
    return table

  def _picked(self, layer, where):
    """Values of a layer, in the words of this space."""
    if isinstance(layer, Mapping):
      for name in layer:
        checks.choice(name, Layer._fields, name=where)
      layer = Layer(**layer)
    if not isinstance(layer, Layer):
      raise TypeError(
        f'{where} must be a Layer; got {checks.described(layer)}.'
      )
    picked = layer._asdict()
    for name in ('hidden', 'heads'):
      checks.integer(picked[name], name=f'{where}.{name}')
    if self.combine:
      return picked
    # Dense layers are an aggregate here, which is a sum.
    checks.choice(layer.combine, _attention.COMBINES, name=f'{where}.combine')
    if layer.combine == MLP:
      if layer.aggregate not in ('sum', MLP):
        raise ValueError(
          f"{where}.combine='mlp' with aggregate={layer.aggregate!r} is not in "
          "this space: its aggregate='mlp' is a sum and dense layers."
        )
      picked['aggregate'] = MLP
    return picked

  def check_table(
    self,
    table: Any,
    *,
    name: str = 'table',
    num_layers: int | None = None,
    shape: tuple[int, ...] | None = (),
  ) -> np.ndarray:
    """Returns tables as integers, or raises what is wrong with them.

    Args:
      table: i[*shape, L, C], concrete.
      name: the argument's name, for the message.
      num_layers: L; any if None.
      shape: of a batch; any if None.

    Returns:
      i32[*shape, L, C].

    Raises:
      ValueError: if its shape is wrong, or a place is none.
      TypeError: if it is no array of integers.
    """
    rows = checks.host_array(table, name=name)
    self._check_shape(rows, name, num_layers, shape)
    bad = np.argwhere((rows < 0) | (rows >= np.array(self.sizes)))
    if len(bad):
      place = tuple(bad[0].tolist())
      c = place[-1]
      raise ValueError(
        f'{name}[{", ".join(map(str, place))}]={rows[place]} is no '
        f'{self.names[c]}: there are {self.sizes[c]}, counted from 0.'
      )
    return rows.astype(np.int32)

  def _check_shape(self, rows, name, num_layers, shape):
    """What is known of tables while they are traced."""
    if not jnp.issubdtype(rows.dtype, jnp.integer):
      raise TypeError(f'{name} must hold integers; got {rows.dtype}.')
    *batch, count, columns = rows.shape if rows.ndim > 1 else (0, 0)
    right = columns == self.num_classes and count == (num_layers or count or -1)
    if not right or (shape is not None and tuple(batch) != tuple(shape)):
      given = ('...',) if shape is None else tuple(map(str, shape))
      layers = 'layers' if num_layers is None else str(num_layers)
      want = ', '.join((*given, layers, str(self.num_classes)))
      raise ValueError(
        f'{name} must have shape [{want}], a column for each of '
        f'{", ".join(self.names)}; got {rows.shape}.'
      )

  def known_table(
    self, table: Any, *, name: str = 'table', num_layers: int | None = None
  ) -> chex.Array:
    """As `check_table`, for tables that may be traced.

    Args:
      table: i[L, C], traced or not.
      name: the argument's name, for the message.
      num_layers: L; any if None.

    Returns:
      The table, of which a trace has shown its shape and type only.

    Raises:
      ValueError: if its shape is wrong, or a place is none.
      TypeError: if it is no array of integers.
    """
    if isinstance(table, jax.core.Tracer):
      self._check_shape(table, name, num_layers, ())
      return table
    return self.check_table(table, name=name, num_layers=num_layers)

  def choices(self, table: chex.Array) -> Choices:
    """Looks up what a table says, for programs that serve all tables.

    Args:
      table: i32[L, C], traced or not.

    Returns:
      The numbers of every layer.

    Raises:
      ValueError: if its shape is wrong, or a place is known to be none.
    """
    table = self.known_table(table)
    places = {name: table[:, c] for c, name in enumerate(self.names)}
    spot = lambda known, name: jnp.array(
      [known.index(v) for v in self.classes[name]], jnp.int32
    )[places[name]]
    aggregates = [a if a != MLP else 'sum' for a in self.aggregate]
    whole = jnp.array(
      [_attention.AGGREGATES.index(a) for a in aggregates], jnp.int32
    )
    if self.combine:
      combine = spot(_attention.COMBINES, 'combine')
    else:
      dense = jnp.array([int(a == MLP) for a in self.aggregate], jnp.int32)
      combine = dense[places['aggregate']]
    return Choices(
      width=jnp.array(self.hidden, jnp.int32)[places['hidden']],
      heads=jnp.array(self.heads, jnp.int32)[places['heads']],
      attention=spot(_attention.ATTENTIONS, 'attention'),
      aggregate=whole[places['aggregate']],
      combine=combine,
      activation=spot(ACTIVATIONS, 'activation'),
    )


def check_space(value: Any) -> SearchSpace:
  """Returns a space, or says how to make one."""
  if not isinstance(value, SearchSpace):
    raise TypeError(
      f'space must be a SearchSpace; got {checks.described(value)}: make one '
      "with make_space('agnn')."
    )
  return value


def canonical(space: SearchSpace, table: Any) -> np.ndarray:
  """The table that stands for all of the same architecture, on the host.

  The width of a head of the last layer is that of the outputs, so tables that
  differ there alone are one architecture.

  Args:
    space: where it is from.
    table: i[..., L, C].

  Returns:
    i32[..., L, C] with the first width in the last layer.

  Raises:
    ValueError: if its shape is wrong, or a place is none.
    TypeError: if it is no array of integers.
  """
  out = check_space(space).check_table(table, shape=None)
  out[..., -1, space.names.index('hidden')] = 0
  return out


def random_tables(
  key: chex.PRNGKey,
  space: SearchSpace,
  num_layers: int,
  shape: tuple[int, ...] = (),
) -> chex.Array:
  """Draws tables, every value of a class as likely as the others.

  Args:
    key: consumed.
    space: where they are from.
    num_layers: L >= 1.
    shape: of the batch.

  Returns:
    i32[*shape, L, C].

  Raises:
    ValueError: if a number is out of range.
    TypeError: if the shape is no tuple of integers.

  Example:
    >>> random_tables(jax.random.key(0), SearchSpace(), 2, (5,)).shape
    (5, 2, 6)
  """
  keys.check_key(key)
  layers = checks.num_layers(num_layers)
  if isinstance(shape, str) or not hasattr(shape, '__iter__'):
    raise TypeError(
      f'shape must be a tuple of integers; got {checks.described(shape)}: '
      f'for one write ({shape!r},).'
    )
  shape = tuple(checks.integer(n, name='shape', low=0) for n in shape)
  high = jnp.array(check_space(space).sizes, jnp.int32)
  whole = (*shape, layers, space.num_classes)
  high = jnp.broadcast_to(high, whole)
  return jax.random.randint(key, whole, 0, high, jnp.int32)


def sub_architecture(
  space: SearchSpace, table: chex.Array, place: chex.Numeric
) -> chex.Array:
  """A table without one class, as a sequence of tokens layer by layer.

  Args:
    space: where the table is from.
    table: i32[L, C].
    place: which class is left out, traced or not.

  Returns:
    i32[L (C - 1)]; every value of every class has a token of its own.

  Raises:
    ValueError: if the table's shape is wrong, or a place is known to be none.

  Example:
    >>> table = jnp.zeros((2, 6), jnp.int32)
    >>> sub_architecture(SearchSpace(), table, 5).tolist()
    [0, 7, 14, 20, 23, 0, 7, 14, 20, 23]

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 3.2.
  """
  table = check_space(space).known_table(table)
  first = np.cumsum((0, *space.sizes[:-1])).astype(np.int32)
  count = space.num_classes
  if not isinstance(place, jax.core.Tracer):
    checks.integer(
      np.asarray(place).item(), name='place', low=0, high=count - 1
    )
  others = np.array(
    [[j for j in range(count) if j != c] for c in range(count)], np.int32
  ).reshape(count, count - 1)
  columns = jnp.asarray(others)[place]
  tokens = jnp.asarray(table) + jnp.asarray(first)[None]
  return tokens[:, columns].reshape(-1)
