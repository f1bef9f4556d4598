# SPDX-License-Identifier: Apache-2.0
"""Networks with random-feature layers, and what they are compared with.

Parameters are {'frozen', 'trained'}: what was drawn stands beside what is
learned, so that every seed has its own features and any algorithm can train
them. `optimizer` leaves the frozen part alone.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import operators
from jaxdl.core import types
from jaxdl.networks import features as features_lib

FUNCTIONS: dict[str, Callable[[chex.Array], chex.Array]] = {
  'relu': jax.nn.relu,
  'cos': jnp.cos,
  'sin': jnp.sin,
  'gaussian': lambda z: jnp.exp(-0.5 * z * z),
  'sech': lambda z: 1.0 / jnp.cosh(z),
}


@dataclasses.dataclass(frozen=True)
class Features:
  """How feature maps are drawn, see `operators.feature_map`."""

  kind: str = 'relu'
  orthogonal: bool = False
  split: str = 's3'
  a: float = 0.0
  kappa: float = 0.0
  normalize: bool = False

  def draw(self, key: chex.PRNGKey, dim: int, num_rf: int) -> chex.ArrayTree:
    """Draws the constants of a map of `dim` inputs; they may be traced."""
    if self.kind == 'relu':
      return features_lib.gaussian_projection(
        key, num_rf, dim + 1, orthogonal=self.orthogonal
      )
    return features_lib.sample_urf(
      key, num_rf, dim, kind=self.kind, orthogonal=self.orthogonal
    )

  def map(self, constants: chex.ArrayTree) -> features_lib.FeatureMap:
    """Makes the map of constants."""
    if self.kind == 'relu':
      return features_lib.relu_map(
        constants, kappa=self.kappa, bias=True, normalize=self.normalize
      )
    return features_lib.urf_map(
      constants, split=self.split, a=self.a, normalize=self.normalize
    )

  def size(self, num_rf: int) -> int:
    """Real features of a map with m random ones."""
    return num_rf if self.kind == 'relu' else 2 * num_rf

  def draw_layers(
    self, key: chex.PRNGKey, dim: int, num_rf: int, depth: int
  ) -> list[chex.ArrayTree]:
    """Draws the constants of `depth` maps, each on the features of the last."""
    out = []
    for k in jax.random.split(key, depth):
      out.append(self.draw(k, dim, num_rf))
      dim = self.size(num_rf)
    return out


class Variant(NamedTuple):
  """A network of a comparison.

  Attributes:
    network: with parameters {'frozen', 'trained'}.
    family: the curve that it is a point of.
    size: m, rank, ...; 0 if there is none.
  """

  network: types.Network
  family: str
  size: int = 0


def with_constants(
  draw: Callable[[chex.PRNGKey], chex.ArrayTree],
  build: Callable[[chex.ArrayTree], types.Network],
) -> types.Network:
  """Makes a network out of one that needs constants.

  Args:
    draw: draws them; consumes the key.
    build: the network of given constants.

  Returns:
    A network with parameters {'frozen', 'trained'}.
  """

  def init(key, x):
    frozen_key, key = jax.random.split(key)
    frozen = draw(frozen_key)
    return {'frozen': frozen, 'trained': build(frozen).init(key, x)}

  def apply(params, x, *, train=False, key=None):
    frozen = jax.lax.stop_gradient(params['frozen'])
    return build(frozen).apply(params['trained'], x, train=train, key=key)

  return types.Network(init, apply)


def plain(network: types.Network) -> types.Network:
  """A network without constants in the same form."""
  return with_constants(lambda key: (), lambda frozen: network)


def optimizer(
  transformation: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Applies a transformation to what is trained; the rest stays.

  Args:
    transformation: any.

  Returns:
    An optimiser of {'frozen', 'trained'}.
  """
  return optax.multi_transform(
    {'trained': transformation, 'frozen': optax.set_to_zero()},
    {'frozen': 'frozen', 'trained': 'trained'},
  )


def num_trained(network: types.Network, dim: int) -> int:
  """Counts the numbers that are trained.

  Args:
    network: with parameters {'frozen', 'trained'}.
    dim: length of its inputs.

  Returns:
    The count.
  """
  shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, dim)))
  return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(shapes['trained']))


def matched(
  make: Callable[[int], types.Network], target: int, dim: int
) -> tuple[int, types.Network]:
  """Finds the size at which a network trains as many numbers as another.

  Args:
    make: network of a size; its count must be affine in the size.
    target: the other's count.
    dim: length of the inputs.

  Returns:
    The size (at least 1) whose count is nearest, and the network.
  """
  one, two = (num_trained(make(size), dim) for size in (1, 2))
  size = max(1, round(1 + (target - one) / (two - one)))
  return size, make(size)


def sequential(*parts: types.Network) -> types.Network:
  """Applies networks one after the other.

  Args:
    *parts: networks of one input.

  Returns:
    A network; parameters are a list.
  """

  def init(key, x):
    params = []
    for k, part in zip(jax.random.split(key, len(parts)), parts, strict=True):
      params.append(part.init(k, x))
      x = part.apply(params[-1], x)
    return params

  def apply(params, x, *, train=False, key=None):
    del train, key
    for part, own in zip(parts, params, strict=True):
      x = part.apply(own, x)
    return x

  return types.Network(init, apply)


def snnk(
  features: Features,
  dim: int,
  layers: Sequence[int],
  num_rf: int,
  activation: Callable[[chex.Array], chex.Array],
  *,
  mapped: Sequence[int] | None = None,
  start: Sequence[Any] | None = None,
  fresh: bool = False,
) -> types.Network:
  """A fully connected network whose hidden layers are SNNK.

  Args:
    features: how maps are drawn.
    dim: length of the inputs.
    layers: widths, the last one linear.
    num_rf: m of every map.
    activation: of layers that are not mapped.
    mapped: which layers; all hidden ones by default.
    start: trained layers to convert; drawn if None.
    fresh: whether mapped layers are drawn even so.

  Returns:
    The network.
  """
  mapped = range(len(layers) - 1) if mapped is None else mapped
  widths = (dim, *layers)

  def draw(key):
    keys = jax.random.split(key, len(layers))
    return {str(i): features.draw(keys[i], widths[i], num_rf) for i in mapped}

  def build(frozen):
    maps = {i: features.map(frozen[str(i)]) for i in mapped}
    network = features_lib.snnk_mlp(layers, maps, activation=activation)
    if start is None:
      return network

    def init(key, x):
      if not fresh:
        return features_lib.uptrain(start, maps)
      drawn = network.init(key, x)
      return [drawn[i] if i in maps else dict(p) for i, p in enumerate(start)]

    return network._replace(init=init)

  return with_constants(draw, build)


def low_rank(
  layers: Sequence[int],
  rank: int,
  activation: Callable[[chex.Array], chex.Array],
  *,
  start: Sequence[Any] | None = None,
  mapped: Sequence[int] | None = None,
) -> types.Network:
  """The same with layers f(U D x + b).

  Args:
    layers: widths, the last one linear.
    rank: of U D.
    activation: f.
    start: trained layers to take the nearest matrices of that rank from.
    mapped: which layers; all hidden ones by default.

  Returns:
    The network.
  """
  last = len(layers) - 1
  mapped = range(last) if mapped is None else mapped
  parts = []
  for i, width in enumerate(layers):
    act = activation if i < last else 'identity'
    if i in mapped:
      parts.append(features_lib.low_rank_dense(width, rank, activation=act))
    else:
      parts.append(
        operators.fnn((width,), activation=act, activate_last=i < last)
      )
  network = sequential(*parts)
  if start is None:
    return plain(network)

  def init(key, x):
    del key, x
    params = []
    for i, layer in enumerate(start):
      if i not in mapped:
        params.append([dict(layer)])
        continue
      u, s, vt = jnp.linalg.svd(layer['kernel'], full_matrices=False)
      root = jnp.sqrt(s[:rank])
      down, up = u[:, :rank] * root[None], vt[:rank] * root[:, None]
      # A rank beyond that of the matrix has nothing to hold.
      spare = max(0, rank - s.shape[0])
      down = jnp.pad(down, ((0, 0), (0, spare)))
      up = jnp.pad(up, ((0, spare), (0, 0)))
      params.append(
        {'down': {'kernel': down}, 'up': {'kernel': up, 'bias': layer['bias']}}
      )
    return params

  return plain(network._replace(init=init))


def random_fourier(
  dim: int, outputs: int, num_features: int, bandwidth: float
) -> types.Network:
  """A linear read-out of sqrt(2 / m) cos(G x / bandwidth + u).

  Args:
    dim: length of the inputs.
    outputs: number of outputs.
    num_features: m.
    bandwidth: of the Gaussian kernel that the features estimate.

  Returns:
    The network.
  """

  def draw(key):
    g_key, u_key = jax.random.split(key)
    g = features_lib.gaussian_projection(g_key, num_features, dim) / bandwidth
    return g, jax.random.uniform(u_key, (num_features,), maxval=2 * jnp.pi)

  def build(frozen):
    g, phase = frozen
    linear = operators.fnn((outputs,))

    def lift(x):
      z = x @ g.T
      z = z + jnp.broadcast_to(phase, z.shape)
      return jnp.cos(z) * (2.0 / num_features) ** 0.5

    return types.Network(
      lambda key, x: linear.init(key, lift(x)),
      lambda params, x, **options: linear.apply(params, lift(x), **options),
    )

  return with_constants(draw, build)


def partly_bundled(
  features: Features,
  dim: int,
  layers: Sequence[int],
  num_rf: int,
  bundle_depth: int,
  activation: Callable[[chex.Array], chex.Array],
) -> types.Network:
  """A network whose first layers are merged into one trained matrix.

  The matrix starts where the merged layers would; the layers above are
  ordinary.

  Args:
    features: how maps are drawn.
    dim: length of the inputs.
    layers: widths, the last one linear.
    num_rf: m of every map.
    bundle_depth: number of merged layers.
    activation: of the other layers.

  Returns:
    The network.
  """

  def draw(key):
    return features.draw_layers(key, dim, num_rf, bundle_depth)

  def build(frozen):
    maps = [features.map(c) for c in frozen]
    rest = operators.fnn(layers[bundle_depth:], activation=activation)
    whole = operators.fnn(layers[:bundle_depth])

    def lift(x):
      return features_lib.bundled_features(x, maps)

    def init(key, x):
      lower_key, upper_key = jax.random.split(key)
      below = whole.init(lower_key, x)
      matrix = features_lib.bundle(
        [layer['kernel'].T for layer in below],
        [layer['bias'] for layer in below],
        maps,
      )
      return {
        'bundle': matrix,
        'rest': rest.init(upper_key, lift(x) @ matrix.T),
      }

    def apply(params, x, **options):
      return rest.apply(params['rest'], lift(x) @ params['bundle'].T, **options)

    return types.Network(init, apply)

  return with_constants(draw, build)


def adapted(
  base: Sequence[Any],
  activation: Callable[[chex.Array], chex.Array],
  adapters: Callable[[chex.ArrayTree], Sequence[types.Network]],
  draw: Callable[[chex.PRNGKey], chex.ArrayTree] = lambda key: (),
  *,
  train_head: bool = True,
) -> types.Network:
  """A frozen network with an adapter after each hidden layer.

  Args:
    base: its layers, [{'kernel', 'bias'}]; they are constants.
    activation: between them.
    adapters: makes one residual network per hidden layer of constants; none
      trains the head alone.
    draw: draws the constants.
    train_head: whether the last layer is trained too.

  Returns:
    The network.
  """

  def build(frozen):
    parts = adapters(frozen)

    def hidden(x, i):
      return activation(operators.fnn((1,)).apply([base[i]], x))

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
      return operators.fnn((1,)).apply([head], x)

    return types.Network(init, apply)

  return with_constants(draw, build)


def changed(
  base: Sequence[Any],
  activation: Callable[[chex.Array], chex.Array],
  how: str,
  rank: int = 0,
  *,
  train_head: bool = True,
) -> types.Network:
  """A trained network of which something is trained on.

  Args:
    base: its layers.
    activation: between them.
    how: 'lora' (W + A B of hidden layers), 'bitfit' (biases) or 'full'.
    rank: of 'lora'.
    train_head: whether the last layer is trained too.

  Returns:
    The network.
  """
  network = operators.fnn(
    [p['kernel'].shape[1] for p in base], activation=activation
  )

  def init(key, x):
    del x
    if how == 'full':
      return [dict(p) for p in base]
    own = []
    for i, p in enumerate(base):
      if train_head and i == len(base) - 1:
        own.append(dict(p))
      elif how == 'bitfit':
        own.append({'bias': p['bias']})
      else:
        d, o = p['kernel'].shape
        a = jax.random.normal(jax.random.fold_in(key, i), (d, rank)) / d**0.5
        own.append({'down': a, 'up': jnp.zeros((rank, o))})
    return own

  def apply(params, x, **options):
    layers = []
    for p, own in zip(base, params, strict=True):
      kernel, bias = own.get('kernel', p['kernel']), own.get('bias', p['bias'])
      if 'down' in own:
        kernel = kernel + own['down'] @ own['up']
      layers.append({'kernel': kernel, 'bias': bias})
    return network.apply(layers, x, **options)

  return plain(types.Network(init, apply))
