# SPDX-License-Identifier: Apache-2.0
"""Adapters inside of trained flax networks, wherever their modules have names.

Parameters are {'frozen', 'trained'}, see `with_constants`; the trained network
itself is a constant.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks.features import _constants as constants, _networks


def module_widths(
  network: Network, base: chex.ArrayTree, x: Any, places: Sequence[str]
) -> dict[str, int]:
  """Finds modules by name.

  Args:
    network: of a flax.linen module.
    base: its parameters.
    x: an example input, or its shape.
    places: names of modules, the last part of their path.

  Returns:
    Path -> channels of the output, in the order in which they are called.

  Raises:
    ValueError: if a name is that of none.

  Example:
    >>> from jaxdl import networks
    >>> net = networks.transformer_lm(width=8, depth=2, max_length=4)
    >>> tokens = jnp.zeros((1, 4), jnp.int32)
    >>> base = net.init(jax.random.key(0), tokens)
    >>> module_widths(net, base, tokens, ['perceptron_in'])
    {'block_0/perceptron_in': 32, 'block_1/perceptron_in': 32}
  """
  found, names = {}, set()

  def note(path, y):
    names.add(path[-1] if path else '')
    if path and path[-1] in places:
      found['/'.join(path)] = y.shape[-1]
    return y

  jax.eval_shape(lambda p, v: _intercepted(network, note).apply(p, v), base, x)
  names -= {''}
  if not names:
    raise ValueError(
      'network has no modules with names: give one of a flax module.'
    )
  for place in places:
    checks.choice(place, sorted(names), name='places')
  return found


def _intercepted(network, change):
  """The network, with the output y of every module replaced."""

  def apply(params, x, **options):
    def pass_on(call, args, kwargs, context):
      y = call(*args, **kwargs)
      if context.method_name != '__call__' or not hasattr(y, 'shape'):
        return y
      return change(context.module.path, y)

    with nn.intercept_methods(pass_on):
      return network.apply(params, x, **options)

  return network._replace(apply=apply)


def adapted_at(
  network: Network,
  base: chex.ArrayTree,
  adapters: Callable[[chex.ArrayTree], Mapping[str, Network]],
  *,
  draw: Callable[[chex.PRNGKey], chex.ArrayTree] = lambda key: (),
) -> Network:
  """Builds a frozen network with adapters at the outputs of its modules.

  Args:
    network: of a flax.linen module, with one input.
    base: its parameters; they are constants.
    adapters: makes residual networks of constants, by path of the module whose
      output they change (see `module_widths`).
    draw: draws the constants.

  Returns:
    A `Network` with the inputs and outputs of the other; what is trained are
    the adapters, by path.

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

  def build(frozen):
    parts = dict(adapters(frozen))

    def init(key, x):
      places = {path.rpartition('/')[2] for path in parts}
      widths = module_widths(network, base, x, sorted(places))
      for path in parts:
        checks.choice(path, list(widths), name='adapters')
      keys = jax.random.split(key, max(len(parts), 1))
      return {
        path: part.init(k, jnp.zeros((1, widths[path])))
        for k, (path, part) in zip(keys, parts.items(), strict=False)
      }

    def apply(params, x, **options):
      def change(path, y):
        name = '/'.join(path)
        return parts[name].apply(params[name], y) if name in parts else y

      return _intercepted(network, change).apply(base, x, **options)

    return Network(init, apply)

  return constants.with_constants(draw, build)


def _check_dicts(base):
  """Refuses parameters that are no nested dicts."""
  for path, _ in jax.tree.leaves_with_path(base):
    if not all(isinstance(e, jax.tree_util.DictKey) for e in path):
      raise ValueError(
        'base must be nested dicts, the parameters of a flax module; got '
        f'{checks.described(base)}.'
      )


def tuned_at(
  network: Network, base: chex.ArrayTree, *, method: str = 'lora'
) -> Network:
  """Builds a trained network of which something is trained on.

  Args:
    network: with one input; its parameters are dicts.
    base: its parameters.
    method: an entry of `FINE_TUNINGS`: LoRA of every dense layer (a matrix
      `kernel` beside a `bias`), BitFit of every bias, or everything.

  Returns:
    A `Network` with the inputs and outputs of the other.

  Raises:
    ValueError: if the method or an option is unknown, parameters are no nested
      dicts, or there is nothing that the method trains.
  """
  _networks.FINE_TUNINGS.check(method)
  kind = _networks.FINE_TUNINGS.part(method).name
  _check_dicts(base)
  flat = traverse_util.flatten_dict(base)
  layers: dict[tuple[str, ...], dict[str, Any]] = {}
  for path, leaf in flat.items():
    layers.setdefault(path[:-1], {})[path[-1]] = leaf
  if kind != 'full':
    layers = {p: x for p, x in layers.items() if 'bias' in x}
  if kind == 'lora':
    layers = {
      p: x for p, x in layers.items() if jnp.ndim(x.get('kernel', 0)) == 2
    }
  if not layers:
    wanted = 'matrix `kernel` beside a `bias`' if kind == 'lora' else '`bias`'
    raise ValueError(
      f'method={method} finds nothing to train in base: there is no {wanted}.'
    )

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
        own = {'kernel': flat[(*path, 'kernel')] + own['down'] @ own['up']}
      merged |= {(*path, name): leaf for name, leaf in own.items()}
    whole = traverse_util.unflatten_dict(merged)
    return network.apply(whole, x, **options)

  return constants.without_constants(Network(init, apply))
