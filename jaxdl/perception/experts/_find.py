# SPDX-License-Identifier: Apache-2.0
"""Where a network has feed-forward pairs: in, elementwise, out.

A network is a function, so its program is what is looked at: a dense layer is a
matrix product with a parameter, and a pair is a product whose left side is made
elementwise of other products, each with the same values on its left.
"""

import fnmatch
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

from jaxdl.perception.experts import _elementwise

# What a value of a layer's may be another form of.
_FORMS = ('broadcast_in_dim', 'reshape', 'convert_element_type')


class Dense(NamedTuple):
  """A dense layer.

  Attributes:
    kernel: path of its kernel f[I, O].
    bias: path of its bias f[O], or None.
    product: number of its equation.
  """

  kernel: str
  bias: str | None
  product: int


class FeedForward(NamedTuple):
  """A pair of dense layers around an elementwise activation.

  Attributes:
    name: path of the first layer.
    ins: layers into the hidden width, several where some gate others.
    out: the layer out of it.
    hidden: variables that the first layers make, biases added.
    middle: numbers of the equations between.
    skipped: numbers of all equations that experts stand for.
    result: variable that the experts make.
    refused: why it cannot be cut, or ''.
  """

  name: str
  ins: tuple[Dense, ...]
  out: Dense
  hidden: tuple[Any, ...]
  middle: tuple[int, ...]
  skipped: frozenset[int]
  result: Any
  refused: str = ''


def name_of(path: tuple[Any, ...]) -> str:
  """A path as text, '0/kernel'."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def layer_of(kernel: str) -> str:
  """The layer that a kernel belongs to, as it is called inside of a module."""
  return kernel.removesuffix('/kernel').removeprefix('params/')


class _Graph:
  """Who makes and who reads which variable."""

  def __init__(self, program, leaves):
    self.equations = program.equations
    self.leaves = leaves
    self.makers, self.readers = {}, {}
    noise = set()
    for i, equation in enumerate(self.equations):
      drawn = equation.primitive.name == 'random_bits'
      inputs = [v for v in equation.invars if not isinstance(v, core.Literal)]
      for var in inputs:
        self.readers.setdefault(var, []).append(i)
      if any(v in noise for v in inputs):
        drawn |= all(v in noise or v.aval.size == 1 for v in inputs)
      for var in equation.outvars:
        self.makers[var] = i
        if drawn:
          noise.add(var)
    self.noise = noise
    for var in program.outputs:
      if not isinstance(var, core.Literal):
        self.readers.setdefault(var, []).append(len(self.equations))

  def maker(self, var):
    """Number and equation that make a variable, or None."""
    number = None if isinstance(var, core.Literal) else self.makers.get(var)
    return None if number is None else (number, self.equations[number])

  def origin(self, var, through=('reshape', 'convert_element_type')):
    """What a variable is another form of."""
    while (made := self.maker(var)) and made[1].primitive.name in through:
      var = made[1].invars[0]
    return var

  def leaf(self, var, through=('convert_element_type', 'copy')):
    """The path of the parameter that a variable is, or None."""
    if isinstance(var, core.Literal):
      return None
    return self.leaves.get(self.origin(var, through))

  def bias(self, equation, product):
    """The bias that an equation adds to a product: its path, or None."""
    if equation.primitive.name not in ('add', 'add_any'):
      return None
    other = [v for v in equation.invars if v is not product]
    if len(other) != 1 or isinstance(other[0], core.Literal):
      return None
    var = self.origin(other[0], _FORMS)
    width = product.aval.shape[-1]
    last = other[0].aval.shape[-1:]
    fits = last == (width,) and getattr(var, 'aval', None).shape == (width,)
    return self.leaves.get(var) if fits else None

  def dense(self, number):
    """The dense layer of an equation, or None."""
    equation = self.equations[number]
    if equation.primitive.name != 'dot_general':
      return None
    left, right = equation.invars
    kernel = self.leaf(right)
    (mine, its), batch = equation.params['dimension_numbers']
    plain = mine == (left.aval.ndim - 1,) and its == (0,) and batch == ((), ())
    if kernel is None or not plain or right.aval.ndim != 2:
      return None
    return Dense(kernel, None, number)

  def with_bias(self, layer):
    """A layer with its bias, if its product is read by that sum alone.

    Returns:
      The layer, the variable that it makes, and the equations it is made of.
    """
    (result,) = self.equations[layer.product].outvars
    own = {layer.product}
    at = result
    while True:
      readers = self.readers.get(at, [])
      if len(readers) != 1 or readers[0] >= len(self.equations):
        return layer, result, {layer.product}
      equation = self.equations[readers[0]]
      bias = self.bias(equation, at)
      own.add(readers[0])
      (at,) = equation.outvars
      if bias is not None:
        return layer._replace(bias=bias), at, own
      if equation.primitive.name != 'reshape':
        return layer, result, {layer.product}


def feed_forwards(
  program: _elementwise.Program, leaves: dict[Any, str]
) -> list[FeedForward]:
  """Finds all pairs of dense layers, in the order in which they are used.

  Args:
    program: of a network.
    leaves: paths of parameters by their variables.

  Returns:
    The pairs; those that cannot be cut say why.
  """
  graph = _Graph(program, leaves)
  layers = {}
  for number in range(len(program.equations)):
    layer = graph.dense(number)
    if layer is not None:
      layers[number] = layer
  found = [_pair(graph, layers, number) for number in layers]
  return sorted(
    (f for f in found if f is not None), key=lambda f: f.ins[0].product
  )


def _pair(graph, layers, number):
  """The pair that ends in a layer, or None."""
  equation = graph.equations[number]
  out, result, own = graph.with_bias(layers[number])
  width = equation.invars[0].aval.shape[-1]
  todo, seen = [equation.invars[0]], set()
  ins, middle, refused, outer = {}, set(), '', {}
  while todo:
    var = todo.pop()
    if isinstance(var, core.Literal) or var in seen:
      continue
    seen.add(var)
    made = graph.maker(var)
    if made is None or var in graph.noise:
      outer[var] = None
      continue
    at, equation_ = made
    if at in layers and layers[at].kernel != out.kernel:
      ins[at] = None
      if var.aval.shape[-1] != width:
        refused = f'hidden width {var.aval.shape[-1]} becomes {width}'
      continue
    if equation_.primitive.name == 'broadcast_in_dim':
      origin = graph.origin(var, _FORMS)
      if graph.maker(origin) is None:
        outer[var] = None
        continue
    if not _elementwise.acts_elementwise(equation_):
      if math.prod(var.aval.shape) == 1:
        outer[var] = None
        continue
      if _is_value(equation_):
        return None
      if equation_.primitive.name != 'broadcast_in_dim' or not refused:
        refused = (
          'the activation acts across the hidden axis '
          f'({equation_.primitive.name})'
        )
    middle.add(at)
    todo.extend(equation_.invars)
  if not ins:
    return None
  found, made_by = [], {}
  for at in sorted(ins):
    layer, var, equations = graph.with_bias(layers[at])
    found.append(layer)
    made_by[var] = equations
  skipped = set(middle) | own
  for equations in made_by.values():
    skipped |= equations
    middle -= equations
  refused = refused or _why_not(graph, found, out, result, skipped, outer)
  return FeedForward(
    layer_of(found[0].kernel),
    tuple(found),
    out,
    tuple(made_by),
    tuple(sorted(middle)),
    frozenset(skipped),
    result,
    refused,
  )


def _is_value(equation):
  """Whether an equation makes something of its own: no activation of it."""
  return equation.primitive.name in (
    *('dot_general', 'conv_general_dilated', 'gather', 'transpose', 'scan'),
    *('while', 'cond', 'iota', 'concatenate', 'slice', 'custom_vjp_call'),
  )


def _why_not(graph, ins, out, result, skipped, outer):
  """Why a pair cannot be cut, or ''."""
  starts = {
    graph.origin(graph.equations[layer.product].invars[0]) for layer in ins
  }
  if len(starts) > 1:
    return 'its first layers read different values'
  layers = [*ins, out]
  paths = [p for layer in layers for p in (layer.kernel, layer.bias) if p]
  for var, path in graph.leaves.items():
    if path in paths and len(graph.readers.get(var, [])) > 1:
      return f'{path} is used more than once'
  biases = {layer.bias for layer in ins}
  for var in outer:
    if math.prod(var.aval.shape) == 1 or var in graph.noise:
      continue
    origin = graph.origin(var, _FORMS)
    if isinstance(origin, core.Literal) or math.prod(origin.aval.shape) == 1:
      continue
    if graph.leaves.get(origin) in biases and origin in graph.leaves:
      continue
    what = graph.leaves.get(origin)
    return (
      'the activation also reads '
      f'{what or f"values of shape {origin.aval.shape}"}, which differ from '
      'unit to unit'
    )
  for number in skipped:
    for var in graph.equations[number].outvars:
      inside = all(r in skipped for r in graph.readers.get(var, []))
      if not inside and var is not result:
        return 'hidden values are read elsewhere, too'
  return ''


def choose(
  found: Sequence[FeedForward], layers: str | Sequence[str] | None
) -> tuple[FeedForward, ...]:
  """Picks pairs by the path of their first layer.

  Args:
    found: all pairs.
    layers: paths, patterns, or what comes before them; None for all that share
      no layer with an earlier one.

  Returns:
    The chosen, in order.

  Raises:
    ValueError: if a pattern finds nothing, a pair cannot be cut, or two pairs
      share a layer.
  """
  usable = [f for f in found if not f.refused]
  shown = ', '.join(f.name for f in usable) or 'none'
  if layers is None:
    chosen: list[FeedForward] = []
    for f in usable:
      if not any(_shared(f, other) for other in chosen):
        chosen.append(f)
    if not chosen:
      why = ''.join(f'; {f.name} is none: {f.refused}' for f in found)
      raise ValueError(
        'network has no feed-forward pair (a dense layer, an elementwise '
        f'activation, a dense layer){why}.'
      )
    return tuple(chosen)
  patterns = (layers,) if isinstance(layers, str) else tuple(layers)
  if not patterns:
    raise ValueError(f'layers is empty: name some of {shown}.')
  chosen = []
  for pattern in patterns:
    if not isinstance(pattern, str):
      raise TypeError(f'layers must be paths; got {pattern!r}.')
    hits = [f for f in found if matches(f.name, pattern)]
    if not hits:
      raise ValueError(
        f'layers={pattern!r} names no feed-forward pair: the paths found are '
        f'{shown}.'
      )
    good = [f for f in hits if not f.refused]
    if not good:
      raise ValueError(f'layers={pattern!r}: {hits[0].refused}.')
    chosen += [f for f in good if f not in chosen]
  chosen.sort(key=lambda f: f.ins[0].product)
  for i, f in enumerate(chosen):
    for other in chosen[:i]:
      if shared := _shared(f, other):
        raise ValueError(
          f'layers {other.name!r} and {f.name!r} share {shared}: convert one '
          'of them.'
        )
  return tuple(chosen)


def matches(name: str, pattern: str) -> bool:
  """Whether a path is of a pattern, or stands under it."""
  return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(
    name, f'{pattern}/*'
  )


def _shared(one, other):
  """A layer that is in both pairs, or ''."""
  kernels = {layer.kernel for layer in (*other.ins, other.out)}
  both = [layer.kernel for layer in (*one.ins, one.out)]
  return next((layer_of(k) for k in both if k in kernels), '')
