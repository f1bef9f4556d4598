# SPDX-License-Identifier: Apache-2.0
"""Turns feed-forward layers of any network into mixtures of experts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, types
from jaxdl.networks import as_network, has_statistics
from jaxdl.perception.experts import (
  _apply,
  _elementwise,
  _find,
  _mixture,
  _observe,
  _split,
)


class Experts(NamedTuple):
  """A network with experts in place of feed-forward layers.

  Attributes:
    network: `init` draws the dense network and converts it, `apply` is that of
      the dense network with experts inside, whose routing `observe` shows.
    params: {'network', 'experts'}: what is left of the dense parameters, with
      None for what was converted, and by layer the experts and their router.
    layers: paths of the converted layers, in order of use.
  """

  network: types.Network
  params: chex.ArrayTree
  layers: tuple[str, ...]


def feed_forward_layers(
  network: Any, params: chex.ArrayTree, *example_inputs: Any
) -> tuple[str, ...]:
  """Paths of the layers that can become experts.

  Args:
    network: a `Network` or a flax module.
    params: its parameters, or their shapes.
    *example_inputs: arrays, or their shapes.

  Returns:
    The path of the first layer of each pair (dense, elementwise, dense); pairs
    may share a layer, as in a multilayer perceptron.

  Example:
    >>> from jaxdl import networks
    >>> network, x = networks.mlp((4, 4), 2), jnp.ones((1, 3))
    >>> params = network.init(jax.random.key(0), x)
    >>> feed_forward_layers(network, params, x)
    ('0', '1')
  """
  network = as_network(network)
  shapes = jax.tree.map(_shape, params)
  found = _traced(network.apply, shapes, example_inputs, {})[2]
  return tuple(f.name for f in found if not f.refused)


def with_experts(
  network: Any,
  experts: _mixture.Mixture | str = 'moe',
  *,
  layers: str | Sequence[str] | None = None,
) -> types.Network:
  """A network whose feed-forward layers are mixtures of experts.

  `init` draws the network and converts it; `dense_to_moe` converts parameters
  that are there. All other things are the network's own, dropout inside of a
  converted layer among them, which then falls on the hidden values of the
  selected experts.

  Args:
    network: a `Network` or a flax module without running statistics, of any
      kind: its program is what is looked at. Layers inside of loops are not
      found; blocks that are checkpointed by themselves are no longer.
    experts: a `Mixture`, or a part of `MIXTURES` (static).
    layers: which: paths of first layers, patterns such as 'block_*', or what
      stands before ('block_0'); None for all that share no layer with an
      earlier one (static).

  Returns:
    A `Network` with parameters {'network', 'experts'}, see `Experts`.

  Raises:
    TypeError: if it is no network.
    ValueError: if an option is out of range; from `init` and `apply`, if layers
      are not found (the message lists those that are), or cannot be cut.

  Example:
    >>> from jaxdl import networks
    >>> dense, x = networks.mlp(4, 2), jnp.ones((3, 5))
    >>> params = with_experts(dense).init(jax.random.key(0), x)
    >>> params['experts']['0']['in']['kernel'].shape
    (16, 5, 2)

  Source: Lu et al. 2025 (https://arxiv.org/abs/2507.17436), supernet expansion.
  """
  return _with_experts(
    as_network(network), _mixture.as_mixture(experts), layers, None
  )


def _with_experts(network, mixture, layers, shapes):
  """As `with_experts`, where the shapes of dense parameters may be known."""

  def init(key, *inputs):
    dense_key, experts_key = jax.random.split(key)
    own = network.init(dense_key, *inputs)
    return _converted(network, mixture, layers, experts_key, own, inputs)[0]

  def apply(params, *inputs, **options):
    dense = shapes
    if dense is None:
      key = jax.eval_shape(lambda: jax.random.key(0))
      dense = jax.eval_shape(network.init, key, *inputs)
    return _applied(network.apply, mixture, params, dense, inputs, options)

  return types.Network(init, apply)


def dense_to_moe(
  network: Any,
  params: chex.ArrayTree,
  *example_inputs: Any,
  key: chex.PRNGKey,
  experts: _mixture.Mixture | str = 'moe',
  layers: str | Sequence[str] | None = None,
) -> Experts:
  """Converts the feed-forward layers of a trained network into experts.

  With the defaults outputs stay the same to rounding: the experts of a token
  are at first the k slices of one copy of the layer, with a gate of 1 each.

  Args:
    network: see `with_experts`.
    params: its parameters, as trained.
    *example_inputs: arrays or their shapes, what `apply` takes.
    key: consumed; draws the router.
    experts: see `with_experts` (static).
    layers: see `with_experts` (static).

  Returns:
    The network with experts, its parameters, and the paths of their layers.

  Raises:
    ValueError: if the parameters have experts already, the network keeps
      running statistics, layers are not found or cannot be cut.

  Example:
    >>> from jaxdl import networks
    >>> network, x = networks.mlp(8, 2), jnp.ones((3, 5))
    >>> params = network.init(jax.random.key(0), x)
    >>> moe = dense_to_moe(
    ...   network, params, x, key=jax.random.key(1), experts='moe(4, top_k=2)'
    ... )
    >>> same = moe.network.apply(moe.params, x) - network.apply(params, x)
    >>> moe.layers, bool(jnp.abs(same).max() < 1e-6)
    (('0',), True)

  Source: Lu et al. 2025 (https://arxiv.org/abs/2507.17436), supernet expansion
    and router initialization.
  """
  network = as_network(network)
  mixture = _mixture.as_mixture(experts)
  new, names = _converted(network, mixture, layers, key, params, example_inputs)
  shapes = jax.tree.map(_shape, params)
  return Experts(_with_experts(network, mixture, layers, shapes), new, names)


def _converted(network, mixture, layers, key, params, inputs):
  """Parameters with experts, and the paths of the layers."""
  if is_converted(params):
    raise ValueError(
      "params has experts already ({'network', 'experts'}): convert the dense "
      'parameters, all layers at once.'
    )
  if has_statistics(params):
    raise ValueError(
      'network keeps running statistics: use group normalization, or none.'
    )
  shapes = jax.tree.map(_shape, params)
  found = _traced(network.apply, shapes, inputs, {})[2]
  chosen = _find.choose(found, layers)
  flat, structure = jax.tree_util.tree_flatten_with_path(params)
  by_name = {_find.name_of(path): x for path, x in flat}
  made, gone = {}, set()
  for f, own in zip(chosen, jax.random.split(key, len(chosen)), strict=True):
    made[f.name] = _experts_of(f, by_name, mixture, own)
    gone |= {p for layer in (*f.ins, f.out) for p in layer[:2] if p}
  left = [None if _find.name_of(path) in gone else x for path, x in flat]
  rest = jax.tree.unflatten(structure, left)
  return {'network': rest, 'experts': made}, tuple(made)


def _experts_of(found, by_name, mixture, key):
  """Experts and router of one pair."""
  router_key, expert_key = jax.random.split(key)
  layer = lambda d: {
    k: by_name[p] for k, p in zip(('kernel', 'bias'), d[:2], strict=True) if p
  }
  ffn = dict(zip(in_names(len(found.ins)), map(layer, found.ins), strict=True))
  ffn['out'] = layer(found.out)
  width, hidden, _ = _split.widths(ffn)
  label = 'top_k' if mixture.num_slices is None else 'num_slices'
  _split.check_slices(hidden, mixture.slices, label)
  copies = mixture.num_experts // mixture.slices
  moe = _split.EXPERT_INITS.make(
    mixture.start, expert_key, ffn, copies, mixture.slices
  )
  moe['router'] = _split.ROUTER_INITS.make(
    mixture.router,
    router_key,
    mixture.num_experts,
    mixture.slices,
    width,
    jnp.result_type(ffn['in']['kernel']),
  )
  return moe


def in_names(number: int) -> tuple[str, ...]:
  """What the layers into the hidden width are called, in order of use."""
  return ('in', *(f'in_{i}' for i in range(1, number)))


def is_converted(params: Any) -> bool:
  """Whether parameters are those of a network with experts."""
  return isinstance(params, dict) and set(params) == {'network', 'experts'}


def _shape(x):
  return jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))


def _traced(apply, shapes, inputs, options):
  """The program of a network.

  Args:
    apply: of it.
    shapes: tree of its parameters, as shapes.
    inputs: arrays or their shapes.
    options: keywords; arrays and keys among them are inputs as well.

  Returns:
    The program, the structure of the outputs, the feed-forward pairs, and the
    values to give besides the parameters.
  """
  flat, structure = jax.tree_util.tree_flatten_with_path(shapes)
  is_array = lambda v: (
    all(hasattr(x, 'shape') and hasattr(x, 'dtype') for x in jax.tree.leaves(v))
    and bool(jax.tree.leaves(v))
  )
  given = {k: v for k, v in options.items() if is_array(v)}
  fixed = {k: v for k, v in options.items() if k not in given}
  rest, form = jax.tree.flatten((inputs, given))
  outputs: list[Any] = []

  def fn(*args):
    own = jax.tree.unflatten(structure, args[: len(flat)])
    more, keywords = jax.tree.unflatten(form, args[len(flat) :])
    with _observe.watching(
      None
    ):  # Inner networks with experts show nothing here.
      made, tree = jax.tree.flatten(apply(own, *more, **keywords, **fixed))
    outputs.append(tree)
    return made

  program = _elementwise.program_of(fn, *(x for _, x in flat), *rest)
  names = (_find.name_of(path) for path, _ in flat)
  leaves = dict(zip(program.inputs, names, strict=False))
  found = _find.feed_forwards(program, leaves)
  return program, outputs[0], found, rest


def _applied(apply, mixture, params, shapes, inputs, options):
  """Runs the program of a network, with experts for the pairs it had."""
  if not is_converted(params):
    raise TypeError(
      "params must be {'network', 'experts'}, as dense_to_moe makes them; got "
      f'{checks.described(params)}.'
    )
  experts = params['experts']
  left = jax.tree.leaves(params['network'], is_leaf=lambda x: x is None)
  flat, structure = jax.tree.flatten(shapes)
  if len(left) != len(flat):
    raise ValueError(
      f"params['network'] has {len(left)} entries, but the network has "
      f'{len(flat)} parameters.'
    )
  # What was converted is in the program, but nothing reads it.
  dtype = jnp.result_type(*jax.tree.leaves(experts))
  left = [
    jnp.zeros(shape.shape, dtype) if x is None else x
    for x, shape in zip(left, flat, strict=True)
  ]
  dense = jax.tree.unflatten(structure, [_shape(x) for x in left])
  program, form, found, rest = _traced(apply, dense, inputs, options)
  # Of two of one name the one that can be cut.
  named = [f for f in found if f.name in experts]
  chosen = {f.name: f for f in sorted(named, key=lambda f: not f.refused)}
  for name in experts:
    why = chosen[name].refused if name in chosen else 'there is no such layer'
    if why:
      raise ValueError(f'experts of layer {name!r} have no place: {why}.')
  values = dict(program.constants)
  rest = [jnp.asarray(x) for x in rest]
  values.update(zip(program.inputs, [*left, *rest], strict=True))
  skipped = frozenset().union(*(f.skipped for f in chosen.values()))
  run = lambda numbers: _elementwise.run(
    program, (n for n in numbers if n not in skipped), values
  )
  start = 0
  for f in sorted(chosen.values(), key=lambda f: max(f.skipped)):
    end = max(f.skipped)
    run(range(start, end))
    values[f.result] = _mixed(f, program, values, experts[f.name], mixture)
    start = end
  run(range(start, len(program.equations)))
  outputs = [_elementwise.read(v, values) for v in program.outputs]
  return jax.tree.unflatten(form, outputs)


def _mixed(found, program, values, params, mixture):
  """What experts make in place of a pair."""
  equations = program.equations
  first = equations[found.ins[0].product].invars[0]
  x = _elementwise.read(first, values)
  act = _activation(found, program, values)
  seen = _observe.current()
  y, routed = _apply.apply_parts(
    params,
    x.reshape(-1, x.shape[-1]),
    act,
    top_k=mixture.top_k,
    gate=mixture.gate,
    mask=None if seen is None else seen.mask,
    implementation=mixture.implementation,
  )
  if seen is not None:
    seen.add(found.name, routed)
  aval = found.result.aval
  return y.astype(aval.dtype).reshape(aval.shape)


def _activation(found, program, values):
  """What the network does to hidden values, as a function of any shape.

  Its program is of one shape, so as many numbers at a time go through it.
  """
  last = program.equations[found.out.product].invars[0]
  size = found.hidden[0].aval.size

  def once(*hidden):
    own = dict(values)
    for var, h in zip(found.hidden, hidden, strict=True):
      own[var] = h.astype(var.aval.dtype).reshape(var.aval.shape)
    _elementwise.run(program, found.middle, own)
    return _elementwise.read(last, own).reshape(-1)

  def act(*hidden):
    shape, dtype = hidden[0].shape, hidden[0].dtype
    total = hidden[0].size
    parts = -(-total // size)
    rows = [
      jnp.pad(h.reshape(-1), (0, parts * size - total)).reshape(parts, size)
      for h in hidden
    ]
    made = jax.vmap(once)(*rows) if parts > 1 else once(*(r[0] for r in rows))
    return made.reshape(-1)[:total].reshape(shape).astype(dtype)

  return act
