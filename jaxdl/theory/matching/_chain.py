# SPDX-License-Identifier: Apache-2.0
"""Networks whose layers follow one another, and what is free in them.

The hidden units of such a network may change places without any change to what
it computes. Which tensors have to follow is read off the program of the network
itself: a kernel, and vectors that come between it and the next one, belong to
one layer.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, layers as layers_lib, types
from jaxdl.networks import activations, as_network

# How far outputs may move by rounding, as a share of their size: at least, and
# in roundings of their dtype.
_ROUNDING, _ROUNDINGS = 1e-4, 8


@dataclasses.dataclass(frozen=True)
class Layer:
  """A hidden layer.

  Attributes:
    name: what `networks.activations` calls it, or '' if it has no name there.
    num_units: n, or channels.
    outgoing: leaves whose last axis is its units: its kernel, bias, ...
    incoming: the kernel of the next layer, whose second last axis is its units,
      once or for each position of a flattened grid.
  """

  name: str
  num_units: int
  outgoing: tuple[str, ...]
  incoming: str


@dataclasses.dataclass(frozen=True)
class Chain:
  """The hidden layers of a network, first to last; static.

  Attributes:
    layers: what they are made of.
  """

  layers: tuple[Layer, ...]

  @property
  def sizes(self) -> tuple[int, ...]:
    """Units of each hidden layer."""
    return tuple(layer.num_units for layer in self.layers)


def layer_chain(
  network: types.Network | Any, *example_inputs: chex.Array
) -> Chain:
  """Finds the hidden layers of a network, and checks that they are a chain.

  The network is run on three draws of parameters, as it is and with the units
  of each hidden layer, and of all, in another order; it must give the same.

  Args:
    network: any `Network`, or a flax module; deterministic in evaluation.
    *example_inputs: a few examples, or their shapes.

  Returns:
    The chain; without layers if the network has one kernel only.

  Raises:
    ValueError: if units of a layer cannot change places by themselves: where
      something is added to what a layer makes (residual networks), or kernels
      are used twice.

  Cost: two evaluations for each layer, and five.

  Example:
    >>> from jaxdl import networks
    >>> found = layer_chain(networks.mlp((8, 4), 3), jnp.zeros((1, 5)))
    >>> [(layer.name, layer.num_units) for layer in found.layers]
    [('dense_1', 8), ('dense_2', 4)]
  """
  net = as_network(network)
  inputs = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)),
    example_inputs,
  )
  init = lambda key, *xs: net.init(key, *xs)
  shapes = jax.eval_shape(init, jax.random.key(0), *inputs)
  flat, structure = jax.tree_util.tree_flatten_with_path(shapes)
  paths = [jax.tree_util.keystr(path) for path, _ in flat]
  kernels = [layers_lib.is_kernel(path, leaf) for path, leaf in flat]
  used, times = _uses(net, shapes, inputs, len(paths))
  order = sorted((k for k in range(len(paths)) if kernels[k]), key=used.get)
  if any(k not in used for k in range(len(paths))):
    unused = next(k for k in range(len(paths)) if k not in used)
    raise ValueError(f'network never uses its parameter {paths[unused]}.')
  shared = [k for k in order if times[k] > 1]
  if shared:
    raise ValueError(
      f'network is no chain of layers: it uses {paths[shared[0]]} '
      f'{times[shared[0]]} times, so that its units cannot change places by '
      'themselves.'
    )
  names = _names(net, shapes, inputs)
  found = []
  for place, (k, after) in enumerate(zip(order[:-1], order[1:], strict=True)):
    size = flat[k][1].shape[-1]
    belongs = [
      i
      for i in range(len(paths))
      if not kernels[i] and used[k] <= used[i] < used[after]
    ]
    odd = [i for i in belongs if flat[i][1].shape not in ((size,), ())]
    rows = flat[after][1].shape[-2]
    if odd or rows % size:
      which = paths[odd[0]] if odd else paths[after]
      shape = flat[odd[0] if odd else after][1].shape
      raise ValueError(
        f'network is no chain of layers: {which} of shape {shape} does not fit '
        f'the {size} units of {paths[k]}.'
      )
    outgoing = [k, *(i for i in belongs if flat[i][1].shape)]
    found.append(
      Layer(
        _name(names, paths[k], place, size, len(order) - 1),
        size,
        tuple(paths[i] for i in outgoing),
        paths[after],
      )
    )
  chain = Chain(tuple(found))
  _verify(net, chain, shapes, structure, inputs)
  return chain


def _uses(net, shapes, inputs, count):
  """When each parameter first meets data, and how often it does."""
  closed = jax.make_jaxpr(net.apply)(shapes, *inputs)
  jaxpr = closed.jaxpr
  used: dict[int, int] = {}
  times = [0] * count
  clock = [0]

  def run(jaxpr, given):
    """`given`: for each input, its parameters, or None where it is data."""
    known = dict(zip(jaxpr.invars, given, strict=True))

    def look(v):
      return frozenset() if hasattr(v, 'val') else known.get(v, frozenset())

    for equation in jaxpr.eqns:
      clock[0] += 1
      args = [look(v) for v in equation.invars]
      inner = _inner(equation)
      if inner is not None and len(inner.invars) == len(args):
        outs = run(inner, args)
      elif any(a is None for a in args):
        for a in args:
          for k in a or ():
            used.setdefault(k, clock[0])
            times[k] += 1
        outs = [None] * len(equation.outvars)
      else:
        outs = [frozenset().union(*args)] * len(equation.outvars)
      known |= zip(equation.outvars, outs, strict=True)
    return [look(v) for v in jaxpr.outvars]

  own = [frozenset([k]) for k in range(count)]
  run(jaxpr, own + [None] * (len(jaxpr.invars) - count))
  return used, times


def _inner(equation):
  """The program that an equation calls as it is, or None."""
  for name in ('jaxpr', 'call_jaxpr', 'fun_jaxpr'):
    inner = equation.params.get(name)
    if inner is not None and equation.primitive.name not in ('scan', 'while'):
      return getattr(inner, 'jaxpr', inner)
  return None


def _names(net, shapes, inputs):
  """Names of activations with their numbers of units, in order."""
  order: list[tuple[str, int]] = []

  def run(params, *xs):
    found = activations(net, params, *xs)
    order.extend((name, x.shape[-1]) for name, x in found.items())
    return found

  try:
    jax.eval_shape(run, shapes, *inputs)
  except ValueError:  # It names none: units can be matched by weights.
    return []
  return order


def _name(names, path, place, size, count):
  """What a layer is called: by its place, or by the path of its kernel."""
  if len(names) == count and names[place][1] == size:
    return names[place][0]
  for name, width in names:
    module = ''.join(f"['{part}']" for part in name.split('/'))
    if width == size and path.startswith(f"['params']{module}['"):
      return name
  return ''


def _verify(net, chain, shapes, structure, inputs):
  if not chain.layers:
    return
  rng = np.random.default_rng(0)

  def fill(x, positive):
    # Nothing is equal, or zero, or negative where that would be no variance.
    if not jnp.issubdtype(x.dtype, jnp.floating):
      return jnp.zeros(x.shape, x.dtype)
    is_kernel = len(x.shape) > 1
    fan = np.prod(x.shape[:-1]) if is_kernel else 1
    drawn = rng.uniform(0.5, 1.5, x.shape)
    if positive:
      return jnp.asarray(drawn / fan, x.dtype)
    drawn *= np.where((rng.random(x.shape) < 0.5) & is_kernel, -1, 1)
    return jnp.asarray(drawn / np.sqrt(fan), x.dtype)

  def draw(x, positive):
    if not jnp.issubdtype(x.dtype, jnp.floating):
      return jnp.zeros(x.shape, x.dtype)
    drawn = rng.normal(size=x.shape)
    return jnp.asarray(np.abs(drawn) if positive else drawn, x.dtype)

  run = jax.jit(net.apply)
  alone = [{k} for k in range(len(chain.layers))]
  every = [set(range(len(chain.layers)))]
  # Rectified units are all alive where everything is positive, so that no
  # difference can hide; signs show what that does not. Layers that must change
  # together are told by each one alone.
  for positive, turns in ((True, alone), (False, alone), (False, every)):
    params = jax.tree.map(lambda x, p=positive: fill(x, p), shapes)
    xs = jax.tree.map(lambda x, p=positive: draw(x, p), inputs)
    before = run(params, *xs)
    kind, share = jnp.result_type(before), _ROUNDING
    if jnp.issubdtype(kind, jnp.floating):
      share = max(share, _ROUNDINGS * float(jnp.finfo(kind).eps))
    before = np.asarray(before, np.float64)
    for turned in turns:
      orders = [
        _turn(n, rng) if k in turned else np.arange(n)
        for k, n in enumerate(chain.sizes)
      ]
      after = run(permute_units(chain, params, orders), *xs)
      apart = np.abs(before - np.asarray(after, np.float64)).max(initial=0)
      if not apart <= share * np.abs(before).max(initial=0) + 1e-30:
        raise ValueError(
          'network is no chain of layers: its hidden units cannot change '
          'places layer by layer (something is added to what a layer makes, or '
          'a kernel is used twice); take an mlp or a plain convolutional '
          'network.'
        )


def _turn(size, rng):
  """A random order of units that is not the one they have."""
  if size < 2:
    return np.arange(size)
  order = rng.permutation(size)
  while (order == np.arange(size)).all():
    order = rng.permutation(size)
  return order


def permute_units(
  chain: Chain,
  params: chex.ArrayTree,
  permutations: Sequence[chex.Array],
) -> chex.ArrayTree:
  """Lets the hidden units of a network change places.

  Args:
    chain: from `layer_chain`.
    params: of the network.
    permutations: i32[n_l] for each hidden layer, which unit comes to each
      place; traced or not.

  Returns:
    Parameters of the same function.

  Raises:
    ValueError: if there are other numbers of layers or units, an order does not
      name each unit once (where it is concrete), or parameters are those of
      another network.
    TypeError: if an order holds no integers.

  Example:
    >>> from jaxdl import networks
    >>> network, x = networks.mlp((3,), 1), jnp.ones((1, 2))
    >>> params = network.init(jax.random.key(0), x)
    >>> chain = layer_chain(network, x)
    >>> other = permute_units(chain, params, [jnp.array([2, 0, 1])])
    >>> bool(jnp.allclose(network.apply(params, x), network.apply(other, x)))
    True
  """
  if not isinstance(chain, Chain):
    raise TypeError(
      f'chain must come from layer_chain; got {checks.described(chain)}.'
    )
  found = tuple(jnp.shape(p) for p in permutations)
  if found != tuple((n,) for n in chain.sizes):
    raise ValueError(
      f'permutations must have shapes {[(n,) for n in chain.sizes]}, one for '
      f'each hidden layer; got {list(found)}.'
    )
  for place, permutation in enumerate(permutations):
    _check_order(permutation, f'permutations[{place}]')
  flat, structure = jax.tree_util.tree_flatten_with_path(params)
  leaves = {jax.tree_util.keystr(path): leaf for path, leaf in flat}
  check_params(chain, leaves, name='params')
  for layer, permutation in zip(chain.layers, permutations, strict=True):
    order = jnp.asarray(permutation)
    for path in layer.outgoing:
      leaves[path] = jnp.take(leaves[path], order, axis=-1)
    x = leaves[layer.incoming]
    rows = _split_rows(x, layer.num_units)
    leaves[layer.incoming] = jnp.take(rows, order, axis=-2).reshape(x.shape)
  return jax.tree.unflatten(structure, list(leaves.values()))


def _check_order(order, name):
  kind = jnp.result_type(order)
  if not jnp.issubdtype(kind, jnp.integer):
    raise TypeError(f'{name} must hold integers; got {kind}.')
  if isinstance(order, jax.core.Tracer):
    return
  host = np.asarray(order)
  if (np.sort(host) != np.arange(len(host))).any():
    raise ValueError(
      f'{name} must hold each of 0 to {len(host) - 1} once; got '
      f'{host.tolist()[:8]}{" ..." if len(host) > 8 else ""}.'
    )


def check_params(
  chain: Chain, leaves: dict[str, chex.Array], *, name: str
) -> None:
  """Raises unless leaves, by path, are those of one model of a chain."""
  for layer in chain.layers:
    n = layer.num_units
    for path in (*layer.outgoing, layer.incoming):
      if path not in leaves:
        raise ValueError(
          f'{name} has no leaf {path}, which belongs to the chain: it is of '
          'another network.'
        )
      shape = jnp.shape(leaves[path])
      last = path != layer.incoming
      if last:
        fits = bool(shape) and shape[-1] == n
      else:
        fits = len(shape) > 1 and shape[-2] > 0 and shape[-2] % n == 0
      if not fits:
        raise ValueError(
          f'{name}{path} of shape {shape} does not fit the {n} units of '
          f'{layer.outgoing[0]}: it is of another network than the chain.'
        )


def _split_rows(kernel, size):
  """[..., P n, O] to [..., P, n, O]: P positions of a flattened grid."""
  *window, rows, outs = kernel.shape
  return kernel.reshape(*window, rows // size, size, outs)


def weight_similarity(
  chain: Chain,
  place: int,
  reference: dict[str, chex.Array],
  other: dict[str, chex.Array],
) -> chex.Array:
  """Products of the weights in and out of every pair of units of a layer.

  Args:
    chain: from `layer_chain`.
    place: of the layer (static).
    reference: leaves by path.
    other: those of another model, whose other layers are in order already.

  Returns:
    f[n, n], reference by other.
  """
  layer = chain.layers[place]
  total = 0.0
  for path in layer.outgoing:
    a, b = (x[path].reshape(-1, layer.num_units) for x in (reference, other))
    total += jnp.matmul(a.T, b, precision='highest')
  a, b = (
    jnp.moveaxis(
      _split_rows(x[layer.incoming], layer.num_units), -2, 0
    ).reshape(layer.num_units, -1)
    for x in (reference, other)
  )
  return total + jnp.matmul(a, b.T, precision='highest')
