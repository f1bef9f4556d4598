# SPDX-License-Identifier: Apache-2.0
"""Ways to let a network depend on an input, by name."""

import functools
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry
from jaxdl.core.types import Network
from jaxdl.networks import _as_network
from jaxdl.networks.hyper import _encodings, _hypernet, _hypernetize


def _generated(
  network: Network,
  chosen: _hypernetize.Chosen,
  *,
  encoding: str = 'cos_sin',
  residual: bool = True,
  hidden_sizes: int | Sequence[int] = _hypernet.HIDDEN_SIZES,
  activation: str = 'leaky_relu',
  init: str = 'fan_out',
  norm: str = 'none',
  start: str = 'he',
) -> Network:
  """A network with generated parameters, see `hypernetize`."""
  return _hypernetize.hypernetize(
    network,
    chosen,
    start=start,
    hidden_sizes=hidden_sizes,
    activation=activation,
    encoding=encoding,
    residual=residual,
    init=init,
    norm=norm,
  )


def _film(
  network: Network,
  *,
  layers: str = '*',
  encoding: str = 'cos_sin',
  residual: bool = True,
  hidden_sizes: int | Sequence[int] = _hypernet.HIDDEN_SIZES,
  activation: str = 'leaky_relu',
  init: str = 'fan_out',
  norm: str = 'none',
) -> Network:
  """Scales and shifts of channels are generated, see `film`."""
  return _generated(
    _hypernetize.film(network, layers),
    'film/*',
    encoding=encoding,
    residual=residual,
    hidden_sizes=hidden_sizes,
    activation=activation,
    init=init,
    norm=norm,
  )


def _single(network: Network) -> Network:
  """One network that does not see the input."""

  def init(key, gamma, *inputs):
    del gamma
    return network.init(key, *inputs)

  def apply(params, gamma, *inputs, **options):
    del gamma
    return network.apply(params, *inputs, **options)

  return Network(init, apply)


def _separate(network: Network, *, num_networks: int = 8) -> Network:
  """A network for each part of the range of a single number.

  [0, 1] is cut into equal parts, each of which has a network of its own: what
  sharing is measured by. A step trains one of them.

  Args:
    network: with an input gamma less.
    num_networks: K.

  Returns:
    The network, of leaves [K, ...].

  Raises:
    ValueError: if gamma has more than one entry or another number of rows than
      there are examples, or, where it is concrete, lies outside of [0, 1].
  """
  k = checks.integer(num_networks, name='num_networks', low=1)

  def number(gamma):
    _encodings.check_unit(gamma)
    gamma = _encodings.encode(gamma, 'none')
    if gamma.shape[-1] != 1:
      raise ValueError(
        f'separate networks need a single gamma; got {gamma.shape[-1]}: choose '
        'a task of one.'
      )
    place = jnp.floor(gamma[..., 0] * k).astype(jnp.int32)
    return jnp.clip(place, 0, k - 1)

  def init(key, gamma, *inputs):
    jax.eval_shape(number, gamma)
    return jax.vmap(lambda key: network.init(key, *inputs))(
      jax.random.split(key, k)
    )

  def apply(params, gamma, *inputs, **options):
    at = number(gamma)
    take = lambda i: jax.tree.map(lambda x: x[i], params)
    if at.shape in ((), (1,)):
      return network.apply(take(at.reshape(())), *inputs, **options)
    _hypernetize.check_rows(at.shape[0], inputs)
    one = lambda i, *x: network.apply(
      take(i), *jax.tree.map(lambda v: v[None], x), **options
    )[0]
    return jax.vmap(one)(at, *inputs)

  return Network(init, apply)


PARAMETRIZATIONS = registry.Registry(
  'variant',
  {
    'default': functools.partial(_generated, encoding='none', residual=False),
    'encoding': functools.partial(_generated, residual=False),
    'film': _film,
    'mip': _generated,
    'residual': functools.partial(_generated, encoding='none'),
    'separate': _separate,
    'single': _single,
  },
  given=('network', 'chosen'),
)


def parametrized(
  spec: str, network: Any, chosen: _hypernetize.Chosen = '*'
) -> Network:
  """Lets a network depend on an input, in a way that has a name.

  Args:
    spec: a part of `PARAMETRIZATIONS`: 'mip' (encoding and residual output),
      'encoding', 'residual', 'default' (neither), each with all options of
      `hypernetize`, as 'default(norm=layer)'; 'film', where scales and shifts
      alone are generated; 'separate', a network for each part of [0, 1];
      'single', which does not see the input.
    network: a `Network`, or a flax module.
    chosen: which parameters are generated, see `hypernetize`.

  Returns:
    A network with an input gamma before its own.

  Raises:
    ValueError: if the name or an option is unknown or out of range.

  Example:
    >>> from jaxdl import networks
    >>> network = parametrized('mip(hidden_sizes=(4,))', networks.mlp((), 2))
    >>> gamma, x = jnp.zeros(1), jnp.ones((1, 3))
    >>> params = network.init(jax.random.key(0), gamma, x)
    >>> network.apply(params, gamma, x).shape
    (1, 2)
  """
  network = _as_network.as_network(network)
  return PARAMETRIZATIONS.make(spec, network=network, chosen=chosen)


def generator(spec: str, params: chex.ArrayTree) -> Network | None:
  """The hypernetwork inside of a network that `parametrized` made.

  Args:
    spec: of the network.
    params: its parameters, or their shapes.

  Returns:
    A network for `params['hyper']`, which makes {path: tensor}; None where
    nothing is generated.

  Example:
    >>> from jaxdl import networks
    >>> network = parametrized('mip(hidden_sizes=(4,))', networks.mlp((), 2))
    >>> params = network.init(jax.random.key(0), jnp.zeros(1), jnp.ones((1, 3)))
    >>> made = generator('mip(hidden_sizes=(4,))', params)
    >>> made.apply(params['hyper'], jnp.ones(1))['0/kernel'].shape
    (3, 2)
  """
  part = PARAMETRIZATIONS.part(spec)
  known = PARAMETRIZATIONS.options(part.name)
  if 'encoding' not in known:
    return None
  options = {name: p.default for name, p in known.items()} | part.options
  options = {k: v for k, v in options.items() if k not in ('start', 'layers')}
  heads = params['hyper']['heads']  # pyrefly: ignore
  return _hypernet.hypernet(
    {path: head['bias'] for path, head in heads.items()}, **options
  )
