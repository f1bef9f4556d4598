# SPDX-License-Identifier: Apache-2.0
"""Networks with random-feature layers, and what they are compared with.

All have parameters {'frozen', 'trained'}, see `with_constants`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry
from jaxdl.core.types import Network
from jaxdl.networks import _dense, functional
from jaxdl.networks.features import (
  _bundling as bundling,
  _constants as constants,
  _maps as maps_lib,
  _random_features as random_features,
  _snnk as snnk,
)


def _layers(sizes, activation='relu', *, activate_last=False):
  *hidden, last = sizes
  return _dense.mlp(
    hidden,
    last,
    activation=activation,
    activate_last=activate_last,
    kernel_init='glorot',
    flatten=False,
  )


def _mapped(mapped, layers):
  if mapped is None:
    return range(len(layers) - 1)
  return tuple(
    checks.integer(i, name='mapped', low=0, high=len(layers) - 1)
    for i in mapped
  )


def snnk_network(
  features: maps_lib.Features,
  dim: int,
  layers: Sequence[int],
  num_features: int,
  *,
  activation: functional.Activation = 'relu',
  mapped: Sequence[int] | None = None,
  start: Sequence[Any] | None = None,
  fresh: bool = False,
) -> Network:
  """Builds a fully connected network whose hidden layers are SNNK.

  Args:
    features: how maps are drawn.
    dim: length of the inputs.
    layers: widths, the last one linear.
    num_features: m of every map.
    activation: of layers that are not mapped.
    mapped: which layers; all hidden ones by default.
    start: trained layers of `mlp` to convert; drawn if None.
    fresh: whether mapped layers are drawn even so.

  Returns:
    A `Network` from f[..., dim] to f[..., layers[-1]].

  Example:
    >>> network = snnk_network(Features(), 3, (8, 2), 4)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> params['trained'][0]['psi'].shape
    (8, 4)

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  layers = functional.check_sizes(layers, 'layers')
  mapped = _mapped(mapped, layers)
  widths = (dim, *layers)

  def draw(key):
    keys = jax.random.split(key, len(layers))
    return {
      str(i): features.draw(keys[i], widths[i], num_features) for i in mapped
    }

  def build(frozen):
    maps = {i: features.map(frozen[str(i)]) for i in mapped}
    network = snnk.snnk_mlp(layers, maps, activation=activation)
    if start is None:
      return network

    def init(key, x):
      if not fresh:
        return snnk.uptrain(start, maps)
      drawn = network.init(key, x)
      return [drawn[i] if i in maps else dict(p) for i, p in enumerate(start)]

    return network._replace(init=init)

  return constants.with_constants(draw, build)


def low_rank_network(
  layers: Sequence[int],
  rank: int,
  *,
  activation: functional.Activation = 'relu',
  start: Sequence[Any] | None = None,
  mapped: Sequence[int] | None = None,
) -> Network:
  """Builds a fully connected network with layers f(U D x + b).

  Args:
    layers: widths, the last one linear.
    rank: of U D.
    activation: f.
    start: trained layers of `mlp` to take the nearest matrices of that rank
      from.
    mapped: which layers; all hidden ones by default.

  Returns:
    A `Network` from f[..., d] to f[..., layers[-1]].
  """
  layers = functional.check_sizes(layers, 'layers')
  mapped, last = _mapped(mapped, layers), len(layers) - 1
  parts = []
  for i, width in enumerate(layers):
    act = activation if i < last else 'identity'
    if i in mapped:
      parts.append(snnk.low_rank_dense(width, rank, activation=act))
    else:
      parts.append(_layers((width,), act, activate_last=i < last))
  network = constants.sequential(*parts)
  if start is None:
    return constants.without_constants(network)

  def init(key, x):
    del key, x
    return [
      _truncated(layer, rank) if i in mapped else [dict(layer)]
      for i, layer in enumerate(start)
    ]

  return constants.without_constants(network._replace(init=init))


def _truncated(layer, rank):
  """The nearest layer of some rank."""
  u, s, vt = jnp.linalg.svd(layer['kernel'], full_matrices=False)
  root = jnp.sqrt(s[:rank])
  down, up = u[:, :rank] * root[None], vt[:rank] * root[:, None]
  # A rank beyond that of the matrix has nothing to hold.
  spare = max(0, rank - s.shape[0])
  down = jnp.pad(down, ((0, 0), (0, spare)))
  up = jnp.pad(up, ((0, spare), (0, 0)))
  return {'down': {'kernel': down}, 'up': {'kernel': up, 'bias': layer['bias']}}


def random_fourier(
  dim: int, num_outputs: int, num_features: int, *, bandwidth: float
) -> Network:
  """Builds a linear read-out of sqrt(2 / m) cos(G x / bandwidth + u).

  Args:
    dim: length of the inputs.
    num_outputs: number of outputs.
    num_features: m.
    bandwidth: of the Gaussian kernel that the features estimate, > 0.

  Returns:
    A `Network` from f[..., dim] to f[..., num_outputs].

  Source: Rahimi & Recht 2007, Algorithm 1.
  """
  checks.number(bandwidth, name='bandwidth', low=0.0, open_low=True)

  def draw(key):
    g_key, u_key = jax.random.split(key)
    g = random_features.gaussian_projection(g_key, num_features, dim)
    phase = jax.random.uniform(u_key, (num_features,), maxval=2 * jnp.pi)
    return g / bandwidth, phase

  def build(frozen):
    g, phase = frozen
    linear = _layers((num_outputs,))

    def lift(x):
      z = x @ g.T
      z = z + jnp.broadcast_to(phase, z.shape)
      return jnp.cos(z) * (2.0 / num_features) ** 0.5

    return Network(
      lambda key, x: linear.init(key, lift(x)),
      lambda params, x, **options: linear.apply(params, lift(x), **options),
    )

  return constants.with_constants(draw, build)


def partly_bundled(
  features: maps_lib.Features,
  dim: int,
  layers: Sequence[int],
  num_features: int,
  *,
  bundle_depth: int,
  activation: functional.Activation = 'relu',
) -> Network:
  """Builds a network whose first layers are merged into one trained matrix.

  The matrix starts where the merged layers would; the layers above are
  ordinary.

  Args:
    features: how maps are drawn.
    dim: length of the inputs.
    layers: widths, the last one linear.
    num_features: m of every map.
    bundle_depth: number of merged layers, less than all.
    activation: of the other layers.

  Returns:
    A `Network` from f[..., dim] to f[..., layers[-1]].

  Source: Sehanobish et al. 2024 (https://arxiv.org/abs/2310.13225).
  """
  layers = functional.check_sizes(layers, 'layers')
  checks.integer(bundle_depth, name='bundle_depth', low=1, high=len(layers) - 1)

  def draw(key):
    return features.draw_layers(key, dim, num_features, bundle_depth)

  def build(frozen):
    maps = [features.map(c) for c in frozen]
    rest = _layers(layers[bundle_depth:], activation)
    whole = _layers(layers[:bundle_depth])

    def lift(x):
      return bundling.bundled_features(x, maps)

    def init(key, x):
      lower_key, upper_key = jax.random.split(key)
      below = whole.init(lower_key, x)
      matrix = bundling.bundle(
        [layer['kernel'].T for layer in below],
        [layer['bias'] for layer in below],
        maps,
      )
      above = rest.init(upper_key, lift(x) @ matrix.T)
      return {'bundle': matrix, 'rest': above}

    def apply(params, x, **options):
      return rest.apply(params['rest'], lift(x) @ params['bundle'].T, **options)

    return Network(init, apply)

  return constants.with_constants(draw, build)


def adapted(
  base: Sequence[Any],
  adapters: Callable[[chex.ArrayTree], Sequence[Network]],
  *,
  activation: functional.Activation = 'relu',
  draw: Callable[[chex.PRNGKey], chex.ArrayTree] = lambda key: (),
  train_head: bool = True,
) -> Network:
  """Builds a frozen network with an adapter after each hidden layer.

  Args:
    base: its layers, those of `mlp`; they are constants.
    adapters: makes one residual network per hidden layer of constants; none
      trains the head alone.
    activation: between the layers.
    draw: draws the constants.
    train_head: whether the last layer is trained too.

  Returns:
    A `Network` with the inputs and outputs of the base.

  Source: Houlsby et al. 2019 (https://arxiv.org/abs/1902.00751).
  """
  act = functional.activation(activation)

  def build(frozen):
    parts = adapters(frozen)

    def hidden(x, i):
      return act(functional.dense(base[i], x))

    def init(key, x):
      own = []
      for i, part in enumerate(parts):
        x = hidden(x, i)
        own.append(part.init(jax.random.fold_in(key, i), x))
      return {'adapters': own, 'head': dict(base[-1])} if train_head else own

    def apply(params, x, **options):
      del options
      own = params['adapters'] if train_head else params
      head = params['head'] if train_head else base[-1]
      for i in range(len(base) - 1):
        x = hidden(x, i)
        if parts:
          x = parts[i].apply(own[i], x)
      return functional.dense(head, x)

    return Network(init, apply)

  return constants.with_constants(draw, build)


def _lora(key, layer, *, rank: int = 4):
  """W + A B: A is drawn, B starts at zero."""
  d, o = layer['kernel'].shape
  down = jax.random.normal(key, (d, rank)) / d**0.5
  return {'down': down, 'up': jnp.zeros((rank, o))}


def _bitfit(key, layer):
  """The bias alone."""
  del key
  return {'bias': layer['bias']}


def _full(key, layer):
  """Everything."""
  del key
  return dict(layer)


FINE_TUNINGS = registry.Registry(
  'method',
  {'bitfit': _bitfit, 'full': _full, 'lora': _lora},
  given=('key', 'layer'),
)


def check_rank(method: str, layers: Iterable[Mapping[str, Any]]) -> None:
  """Refuses LoRA of a rank that no matrix has.

  Args:
    method: an entry of `FINE_TUNINGS`; all but LoRA pass.
    layers: that it trains, with a matrix 'kernel' each.

  Raises:
    ValueError: if the rank is below one or above that of the largest matrix.
    TypeError: if it is no integer.
  """
  part = FINE_TUNINGS.part(method)
  if part.name != 'lora':
    return
  rank = FINE_TUNINGS.value(method, 'rank')
  checks.integer(rank, name=f'method={method}: rank', low=1)
  shapes = [jnp.shape(layer['kernel']) for layer in layers]
  most = max(shapes, key=min, default=(1, 1))
  if shapes and rank > min(most):
    raise ValueError(
      f'method={method}: rank must be at most {min(most)}, the rank of the '
      f'largest matrix, {most[0]} x {most[1]}; got {rank}.'
    )


def raised(kernel: chex.Array, own: Mapping[str, chex.Array]) -> chex.Array:
  """Adds what LoRA learned to a matrix, in the dtype of that.

  Args:
    kernel: f[d, o].
    own: {'down': f[d, r], 'up': f[r, o]}.

  Returns:
    f[d, o].
  """
  return (kernel + own['down'] @ own['up']).astype(kernel.dtype)


def fine_tuned(
  base: Sequence[Any],
  *,
  method: str = 'lora',
  activation: functional.Activation = 'relu',
  train_head: bool = True,
) -> Network:
  """Builds a trained network of which something is trained on.

  Args:
    base: its layers, those of `mlp`.
    method: an entry of `FINE_TUNINGS`, what of each layer is trained:
      'lora(rank=4)' (W + A B), 'bitfit' (biases) or 'full'.
    activation: between the layers.
    train_head: whether the last layer is trained whole.

  Returns:
    A `Network` with the inputs and outputs of the base, and their dtypes.

  Raises:
    ValueError: if the method or an option is unknown, or the rank of LoRA above
      that of every matrix it is for.

  Source: Hu et al. 2022 (https://arxiv.org/abs/2106.09685); Ben Zaken et al.
    2022 (https://arxiv.org/abs/2106.10199).
  """
  FINE_TUNINGS.check(method)
  check_rank(method, base[: len(base) - int(train_head)])
  network = _layers([p['kernel'].shape[1] for p in base], activation)

  def init(key, x):
    del x
    own = []
    for i, layer in enumerate(base):
      if train_head and i == len(base) - 1:
        own.append(dict(layer))
      else:
        own.append(FINE_TUNINGS.make(method, jax.random.fold_in(key, i), layer))
    return own

  def apply(params, x, **options):
    layers = []
    for p, own in zip(base, params, strict=True):
      kernel, bias = own.get('kernel', p['kernel']), own.get('bias', p['bias'])
      if 'down' in own:
        kernel = raised(kernel, own)
      layers.append({'kernel': kernel, 'bias': bias})
    return network.apply(layers, x, **options)

  return constants.without_constants(Network(init, apply))
