# SPDX-License-Identifier: Apache-2.0
"""Adapters inside of trained flax networks, wherever their modules have names.

Parameters are {'frozen', 'trained'}, see `with_constants`; the trained network
itself is a constant.
"""

import contextvars
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _as_network
from jaxdl.networks.features import _constants as constants, _networks

# Runs that look at modules now; none of them at those of an adapter.
_LOOKING: contextvars.ContextVar[tuple[object, ...]] = contextvars.ContextVar(
  'looking', default=()
)


def module_widths(
  network: Network | Any, base: chex.ArrayTree, x: Any, places: Sequence[str]
) -> dict[str, int]:
  """Finds modules by name.

  Args:
    network: a flax.linen module, or a `Network` of one.
    base: its parameters.
    x: an example input, or its `jax.ShapeDtypeStruct`.
    places: names of modules, the last part of their path.

  Returns:
    Path -> channels of the output, in the order in which they are called.

  Raises:
    ValueError: if a name is that of none, or of a module that returns anything
      but one array with channels; if the parameters do not fit.
    TypeError: if the network has no flax.linen modules by its kind, the example
      has no shape or dtype, or places are no list of names.

  Example:
    >>> from jaxdl import networks
    >>> net = networks.transformer_lm(width=8, depth=2, max_length=4)
    >>> tokens = jnp.zeros((1, 4), jnp.int32)
    >>> base = net.init(jax.random.key(0), tokens)
    >>> module_widths(net, base, tokens, ['perceptron_in'])
    {'block_0/perceptron_in': 32, 'block_1/perceptron_in': 32}
  """
  if isinstance(places, str) or not all(isinstance(p, str) for p in places):
    asked = [places] if isinstance(places, str) else ['attention_out']
    raise TypeError(
      f'places must be a list of names of modules, as {asked}; got {places!r}.'
    )
  found = _modules(_of_linen(network), base, x)
  last = {path: path.rpartition('/')[2] for path in found}
  for place in places:
    if place in found and place not in last.values():
      raise ValueError(
        f'places={place!r} is a path: give its last part, '
        f'{last[place]!r}, and choose among the paths that are returned.'
      )
    checks.choice(place, sorted(set(last.values())), name='places')
  return {
    path: _width(path, y, name='places')
    for path, y in found.items()
    if last[path] in places
  }


def _of_linen(network):
  """A network whose modules may have names."""
  nnx = sys.modules.get('flax.nnx')
  kinds = (network, nnx.Module) if nnx is not None else (None, int)
  if isinstance(*kinds):
    raise TypeError(
      'network must be of a flax.linen module; got '
      f'{checks.described(network)} of flax.nnx, whose layers have no paths '
      'while they run: write it with flax.linen.'
    )
  return _as_network.as_network(network)


def _modules(network, base, x):
  """What every module with a name returns, by path, as shapes."""
  constants.check_example(x, name='x')
  found = {}

  def note(path, y):
    if path:
      shaped = lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype)
      found['/'.join(path)] = shaped(y) if hasattr(y, 'shape') else y
    return y

  try:
    jax.eval_shape(lambda p, v: _looked_at(network, note)(p, v), base, x)
  except flax.errors.FlaxError as error:
    raise ValueError(
      'base must be what network.init(key, x) gives, whole, for inputs like x: '
      f'{str(error).partition(" (https")[0]}'
    ) from error
  if not found:
    raise ValueError(
      'network has no modules with names: give one of a flax.linen module, '
      'whose apply is not compiled by itself.'
    )
  return found


def _width(path, y, *, name):
  """Channels of the output of a module."""
  if not getattr(y, 'shape', ()):
    raise ValueError(
      f'{name} has {path!r}, a module that returns {checks.described(y)}: '
      'adapters change one array with channels, name a module inside of it or '
      'after it.'
    )
  return y.shape[-1]


def _looked_at(network, change):
  """Its `apply`, with the output y of every module replaced.

  Those are the modules of the network; what a change runs itself is let alone,
  also by whoever looks at a network around this one.
  """

  def apply(params, x, **options):
    own = object()

    def pass_on(call, args, kwargs, context):
      y = call(*args, **kwargs)
      if own not in _LOOKING.get() or context.method_name != '__call__':
        return y
      token = _LOOKING.set(())
      try:
        return change(context.module.path, y)
      finally:
        _LOOKING.reset(token)

    token = _LOOKING.set((*_LOOKING.get(), own))
    try:
      with nn.intercept_methods(pass_on):
        return network.apply(params, x, **options)
    finally:
      _LOOKING.reset(token)

  return apply


def _checked_parts(parts):
  """Adapters by path, as networks."""
  if not isinstance(parts, Mapping):
    raise TypeError(
      'adapters must return a dict, path -> network; it returned '
      f'{checks.described(parts)}.'
    )
  for path in parts:
    if not isinstance(path, str):
      whole = isinstance(path, tuple) and all(isinstance(p, str) for p in path)
      hint = f': write {"/".join(path)!r}' if whole else ''
      raise TypeError(
        f'adapters must have paths as keys, text such as '
        f"'block_0/attention_out'; got {path!r}{hint}."
      )
  return {
    path: _as_network.as_network(part, name=f'adapters[{path!r}]')
    for path, part in parts.items()
  }


def _check_path(path, found):
  """Refuses what is no path, with the one that was meant."""
  if path in found:
    return
  meant = path.strip('/').removeprefix('params/')
  if meant in found:
    raise ValueError(
      f'adapters={path!r} is no path of a module: write {meant!r}, names '
      "joined by '/' without 'params' or a slash at an end."
    )
  checks.choice(path, list(found), name='adapters')


def adapted_at(
  network: Network | Any,
  base: chex.ArrayTree,
  adapters: Callable[[chex.ArrayTree], Mapping[str, Network | Any]],
  *,
  draw: Callable[[chex.PRNGKey], chex.ArrayTree] = lambda key: (),
) -> Network:
  """Builds a frozen network with adapters at the outputs of its modules.

  Outputs have the dtype of the base's whatever that of the adapters; adapters
  that start as the identity leave them exactly as they are.

  Args:
    network: a flax.linen module or a `Network` of one, with one input.
    base: its parameters; they are constants.
    adapters: makes residual networks (or flax modules) of constants, by path of
      the module whose output they change (see `module_widths`).
    draw: draws the constants.

  Returns:
    A `Network` with the inputs and outputs of the other; what is trained are
    the adapters, by path.

  Raises:
    ValueError: if a path is that of no module or of one that returns anything
      but one array, or an adapter does not keep the shape; from `apply`, if an
      adapter is not reached.
    TypeError: if the network has no flax.linen modules by its kind, or adapters
      are no function to a dict of networks by path.

  Example:
    >>> from jaxdl import networks
    >>> net = networks.transformer_lm(width=8, depth=2, max_length=4)
    >>> tokens = jnp.zeros((1, 4), jnp.int32)
    >>> base = net.init(jax.random.key(0), tokens)
    >>> part = networks.features.bottleneck_adapter(8, 2)
    >>> own = adapted_at(net, base, lambda _: {'block_1/attention_out': part})
    >>> params = own.init(jax.random.key(1), tokens)
    >>> same = own.apply(params, tokens) == net.apply(base, tokens)
    >>> bool(same.all()), list(params['trained'])
    (True, ['block_1/attention_out'])

  Source: Houlsby et al. 2019 (https://arxiv.org/abs/1902.00751).
  """
  network = _of_linen(network)
  if not callable(adapters):
    raise TypeError(
      'adapters must be a function of the constants; got '
      f'{checks.described(adapters)}: write lambda constants: ..., also where '
      'there are none.'
    )

  def build(frozen):
    parts = _checked_parts(adapters(frozen))

    def init(key, x):
      found = _modules(network, base, x)
      keys = jax.random.split(key, max(len(parts), 1))
      own = {}
      for k, (path, part) in zip(keys, parts.items(), strict=False):
        _check_path(path, found)
        example = jnp.zeros((1, _width(path, found[path], name='adapters')))
        own[path] = part.init(k, example)
        _check_fit(path, part, own[path], example)
      return own

    def apply(params, x, **options):
      missed = set(parts)

      def change(path, y):
        name = '/'.join(path)
        if name not in parts:
          return y
        missed.discard(name)
        _width(name, y, name='adapters')
        return parts[name].apply(params[name], y).astype(y.dtype)

      out = _looked_at(network, change)(base, x, **options)
      if missed:
        raise ValueError(
          f'adapters at {", ".join(map(repr, sorted(missed)))} were not '
          'reached: the network must run these modules in every call, and its '
          'apply must not be compiled by itself.'
        )
      return out

    return Network(init, apply)

  return constants.with_constants(draw, build)


def _check_fit(path, part, params, example):
  """Refuses an adapter that does not keep the shape of what it changes."""
  wants = f'adapters[{path!r}] must map [..., C] to itself, C = '
  wants += f'{example.shape[-1]} there'
  try:
    got = jax.eval_shape(part.apply, params, example)
  except ValueError as error:
    raise ValueError(f'{wants}: {error}') from error
  if getattr(got, 'shape', None) != example.shape:
    raise ValueError(
      f'{wants}; of shape {example.shape} it makes {checks.described(got)}.'
    )


def _check_dicts(base):
  """Refuses parameters that are no nested dicts."""
  for path, _ in jax.tree.leaves_with_path(base):
    if not all(isinstance(e, jax.tree_util.DictKey) for e in path):
      raise ValueError(
        'base must be nested dicts, the parameters of a flax.linen module; got '
        f'{checks.described(base)}.'
      )


def _layers(flat, kind):
  """What a way of fine-tuning trains, layers by path."""
  layers: dict[tuple[str, ...], dict[str, Any]] = {}
  for path, leaf in flat.items():
    layers.setdefault(path[:-1], {})[path[-1]] = leaf
  if kind != 'full':
    layers = {p: x for p, x in layers.items() if 'bias' in x}
  if kind == 'lora':
    layers = {
      p: x for p, x in layers.items() if jnp.ndim(x.get('kernel', 0)) == 2
    }
  return layers


def largest_rank(base: chex.ArrayTree) -> int:
  """The largest rank of LoRA that `tuned_at` takes, at least 1."""
  layers = _layers(traverse_util.flatten_dict(base), 'lora').values()
  return max((min(x['kernel'].shape) for x in layers), default=1)


def tuned_at(
  network: Network | Any, base: chex.ArrayTree, *, method: str = 'lora'
) -> Network:
  """Builds a trained network of which something is trained on.

  Args:
    network: with one input; its parameters are dicts.
    base: its parameters.
    method: an entry of `FINE_TUNINGS`: LoRA of every dense layer (a matrix
      `kernel` beside a `bias`), BitFit of every bias, or everything. The rank
      of LoRA is at most that of the largest matrix; of smaller ones, ranks
      above theirs only cost numbers.

  Returns:
    A `Network` with the inputs and outputs of the other, and their dtypes.

  Raises:
    ValueError: if the method or an option is unknown or out of range,
      parameters are no nested dicts, or there is nothing that the method
      trains.
    TypeError: if it is no network.
  """
  _networks.FINE_TUNINGS.check(method)
  kind = _networks.FINE_TUNINGS.part(method).name
  network = _as_network.as_network(network)
  _check_dicts(base)
  flat = traverse_util.flatten_dict(base)
  layers = _layers(flat, kind)
  if not layers:
    wanted = 'matrix `kernel` beside a `bias`' if kind == 'lora' else '`bias`'
    raise ValueError(
      f'method={method} finds nothing to train in base: there is no {wanted}.'
    )
  _networks.check_rank(method, layers.values())

  def init(key, x):
    del x
    return {
      '/'.join(path): _networks.FINE_TUNINGS.make(
        method, jax.random.fold_in(key, i), layer
      )
      for i, (path, layer) in enumerate(layers.items())
    }

  def apply(params, x, **options):
    merged = dict(flat)
    for path in layers:
      own = dict(params['/'.join(path)])
      if 'down' in own:
        own = {'kernel': _networks.raised(flat[(*path, 'kernel')], own)}
      merged |= {(*path, name): leaf for name, leaf in own.items()}
    whole = traverse_util.unflatten_dict(merged)
    return network.apply(whole, x, **options)

  return constants.without_constants(Network(init, apply))
