# SPDX-License-Identifier: Apache-2.0
"""Initial parameters drawn all at once.

One flat draw per distribution, cut into leaves: a network with a hundred
kernels compiles one random-number program instead of a hundred.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry, trees
from jaxdl.networks.functional import _activations, _criticality

DISTRIBUTIONS = ('normal', 'uniform')
_POOLS = {
  'normal': 'normal',
  'orthogonal': 'normal',
  'positive': 'uniform',
  'uniform': 'uniform',
}


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One parameter to be drawn.

  Attributes:
    shape: its shape.
    kind: 'normal' (standard deviation `scale`), 'uniform' (on +-`scale`),
      'positive' (on [0, `scale`)), 'orthogonal' (rows or columns, whichever are
      fewer, at right angles and of length `scale`) or 'constant' (filled with
      `scale`).
    scale: see `kind`.
    variance: of an entry, where a rule for kernels says it.
    wide: whether it takes the accumulator of the dtype (running statistics).
    bias_variance: of the biases beside a kernel, where a rule for kernels says
      it.
  """

  shape: tuple[int, ...]
  kind: str = 'constant'
  scale: float = 0.0
  variance: float = 0.0
  wide: bool = False
  bias_variance: float = 0.0


def _leaf(shape, gain, fan, distribution):
  """Variance gain / fan."""
  checks.choice(distribution, DISTRIBUTIONS, name='distribution')
  times = 1.0 if distribution == 'normal' else 3.0
  scale = math.sqrt(times * gain / fan)
  return Leaf(shape, distribution, scale, gain / fan)


def fan_in_init(
  shape: tuple[int, ...],
  *,
  fan_in: int | None = None,
  distribution: str = 'uniform',
) -> Leaf:
  """Describes a kernel of variance 1 / fan_in.

  Args:
    shape: [*window, I, O].
    fan_in: inputs of one output; window times I by default.
    distribution: 'normal' or 'uniform'.

  Returns:
    The leaf.

  Example:
    >>> fan_in_init((3, 3, 4, 8)).variance == 1 / 36
    True

  Source: LeCun et al. 1998, Efficient BackProp, section 4.6; Caffe calls it
    Xavier.
  """
  fan = math.prod(shape[:-1]) if fan_in is None else fan_in
  return _leaf(shape, 1.0, fan, distribution)


def he_init(
  shape: tuple[int, ...],
  *,
  fan_in: int | None = None,
  distribution: str = 'normal',
) -> Leaf:
  """Describes a kernel of variance 2 / fan_in, which relu halves.

  Args:
    shape: [*window, I, O].
    fan_in: inputs of one output; window times I by default.
    distribution: 'normal' or 'uniform'.

  Returns:
    The leaf.

  Source: He et al. 2015 (https://arxiv.org/abs/1502.01852), equation 10.
  """
  fan = math.prod(shape[:-1]) if fan_in is None else fan_in
  return _leaf(shape, 2.0, fan, distribution)


def glorot_init(
  shape: tuple[int, ...], *, distribution: str = 'normal'
) -> Leaf:
  """Describes a kernel of variance 2 / (fan_in + fan_out).

  Args:
    shape: [*window, I, O].
    distribution: 'normal' or 'uniform'.

  Returns:
    The leaf.

  Source: Glorot & Bengio 2010, equation 12.
  """
  *window, fan_in, fan_out = shape
  fan = math.prod(window) * (fan_in + fan_out)
  return _leaf(shape, 2.0, fan, distribution)


def pytorch_init(shape: tuple[int, ...], *, fan_in: int | None = None) -> Leaf:
  """Describes a kernel or a bias uniform on +-1 / sqrt(fan_in).

  Args:
    shape: [*window, I, O], or [O] with `fan_in`.
    fan_in: inputs of one output; window times I by default.

  Returns:
    The leaf, of variance 1 / (3 fan_in).
  """
  fan = math.prod(shape[:-1]) if fan_in is None else fan_in
  return Leaf(shape, 'uniform', 1.0 / math.sqrt(fan), 1.0 / (3.0 * fan))


def normal_init(shape: tuple[int, ...], *, scale: float = 0.02) -> Leaf:
  """Describes normal numbers of one standard deviation.

  Args:
    shape: any.
    scale: the standard deviation, >= 0.

  Returns:
    The leaf.
  """
  checks.number(scale, name='scale', low=0.0)
  return Leaf(shape, 'normal', scale, scale**2)


def critical_init(
  shape: tuple[int, ...],
  *,
  activation: _activations.Activation,
  scale: float = 1.0,
  branches: int = 1,
  fan_in: int | None = None,
  distribution: str = 'normal',
) -> Leaf:
  """Describes a kernel at the critical point of an activation.

  Signals and gradients then neither explode nor fade with depth: 2 / fan_in for
  relu, 1 / fan_in for tanh. Some activations (gelu, silu) need biases of a
  variance too; whoever draws the layer heeds it. What else a network does to
  its signal is not made up for: padding with zeros shrinks it, maxima over
  windows let it grow, and after a normalization kernels have no size.

  Args:
    shape: [*window, I, O].
    activation: between the layers, name or elementwise function; networks fill
      in their own where a part does not set it.
    scale: factor of the kernel's variance; off one, the network is off
      criticality.
    branches: n of layers like this one whose outputs are added to the signal
      one after the other: both variances are divided by n, so that the signal
      grows by (1 + 1 / n)^n < e, not by 2^n; networks fill in their own.
    fan_in: inputs of one output; window times I by default.
    distribution: 'normal' or 'uniform'.

  Returns:
    The leaf.

  Raises:
    ValueError: if the activation has no critical point, or a number is out of
      range.

  Example:
    >>> critical_init((50, 8), activation='relu').variance
    0.04

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    chapter 5; of branches, Hanin & Rolnick 2018
    (https://arxiv.org/abs/1803.01719), theorem 6.
  """
  checks.number(scale, name='scale', low=0.0, open_low=True)
  checks.integer(branches, name='branches', low=1)
  point = _criticality.find_critical(activation)
  fan = math.prod(shape[:-1]) if fan_in is None else fan_in
  gain = scale * point.weight_variance / branches
  leaf = _leaf(shape, gain, fan, distribution)
  spread = point.bias_variance / branches
  return dataclasses.replace(leaf, bias_variance=spread)


def orthogonal_init(shape: tuple[int, ...], *, gain: float = 1.0) -> Leaf:
  """Describes a kernel that keeps lengths, up to a gain.

  Args:
    shape: [*window, I, O]; all axes but the last are taken together.
    gain: times which lengths grow, >= 0.

  Returns:
    The leaf.

  Source: Saxe, McClelland and Ganguli 2014 (https://arxiv.org/abs/1312.6120).
  """
  checks.number(gain, name='gain', low=0.0)
  rows, columns = math.prod(shape[:-1]), shape[-1]
  variance = gain**2 / max(rows, columns)
  return Leaf(shape, 'orthogonal', float(gain), variance)


def zeros_init(shape: tuple[int, ...]) -> Leaf:
  """Describes zeros.

  Args:
    shape: any.

  Returns:
    The leaf.
  """
  return Leaf(shape)


KERNEL_INITS = registry.Registry(
  'kernel_init',
  {
    'critical': critical_init,
    'fan_in': fan_in_init,
    'glorot': glorot_init,
    'he': he_init,
    'normal': normal_init,
    'orthogonal': orthogonal_init,
    'pytorch': pytorch_init,
    'zeros': zeros_init,
  },
  given=('shape', 'fan_in'),
  told=('activation', 'branches'),
)


def layer_leaves(
  shape: tuple[int, ...],
  *,
  kernel_init: str = 'glorot',
  bias_init: str | None = 'zeros',
  fan_in: int | None = None,
  activation: _activations.Activation | None = None,
  branches: int = 1,
) -> dict[str, Leaf]:
  """Describes a dense or a convolutional layer.

  Args:
    shape: of its kernel, [*window, I, O].
    kernel_init: an entry of `KERNEL_INITS`.
    bias_init: likewise, of the bias [O]; None for a layer without. Kernels that
      ask for biases of a variance get them in place of zeros.
    fan_in: inputs of one output; window times I by default.
    activation: that of the network, for kernels that are made for one.
    branches: of the network, if the layer ends one of them, see
      `critical_init`.

  Returns:
    {'kernel', 'bias'}, to be drawn.

  Raises:
    ValueError: if an entry or an option is unknown, or kernels need biases
      and there are none.

  Example:
    >>> layer_leaves((2, 3), bias_init=None)['kernel'].kind
    'normal'
  """
  fan = math.prod(shape[:-1]) if fan_in is None else fan_in
  told = _told(activation) | {'branches': branches}
  kernel = KERNEL_INITS.make(kernel_init, shape, fan_in=fan, **told)
  leaves = {'kernel': kernel}
  spread = kernel.bias_variance
  if bias_init is None:
    _check_biases(kernel_init, kernel)
  if bias_init == 'zeros' and spread:
    leaves['bias'] = normal_init((shape[-1],), scale=math.sqrt(spread))
  elif bias_init is not None:
    part = KERNEL_INITS.part(bias_init, name='bias_init')
    leaves['bias'] = KERNEL_INITS.bound(part, (shape[-1],), fan_in=fan)
  return leaves


def _told(activation):
  """What parts of `KERNEL_INITS` are told of a network."""
  return {} if activation is None else {'activation': activation}


def _check_biases(kernel_init, leaf, where=''):
  """Raises ValueError if kernels ask for biases that a layer has not."""
  if leaf.bias_variance:
    raise ValueError(
      f'kernel_init={kernel_init} needs biases of variance '
      f'{leaf.bias_variance:.4g}, but the layer{where} has none: let it have '
      'some, or choose another.'
    )


def check_sizes(
  sizes: int | Sequence[int], name: str, *, empty: bool = False
) -> tuple[int, ...]:
  """Checks widths of layers.

  Args:
    sizes: the widths; a number is one of them.
    name: of the argument, for messages.
    empty: whether there may be none.

  Returns:
    A tuple of them.

  Raises:
    TypeError: if one of them is no integer.
    ValueError: if one is below 1, or there is none.

  Example:
    >>> check_sizes(64, 'hidden_sizes')
    (64,)
  """
  sizes = (sizes,) if isinstance(sizes, int) else sizes
  sizes = tuple(checks.integer(n, name=name, low=1) for n in sizes)
  if not sizes and not empty:
    raise ValueError(f'{name} is empty: need at least one width.')
  return sizes


def scale_leaves(shape: tuple[int, ...]) -> dict[str, Leaf]:
  """Describes scales, one at the start, and shifts, zero.

  Args:
    shape: of both.

  Returns:
    {'scale', 'bias'}, to be drawn.
  """
  return {'scale': Leaf(shape, 'constant', 1.0), 'bias': Leaf(shape)}


def draw(
  key: chex.PRNGKey,
  leaves: Any,
  dtype: jax.typing.DTypeLike,
  *,
  split: bool = True,
) -> chex.ArrayTree:
  """Draws every leaf of a tree of `Leaf`.

  Args:
    key: consumed.
    leaves: pytree whose leaves are `Leaf`.
    dtype: of the arrays; wide leaves take its accumulator.
    split: whether normal and uniform numbers get a key each; without, the key
      itself draws them, and there must be one kind only.

  Returns:
    Tree of arrays.

  Raises:
    ValueError: if the key is not split and both kinds are wanted.

  Example:
    >>> leaves = layer_leaves((3, 2), kernel_init='pytorch')
    >>> draw(jax.random.key(0), leaves, jnp.float32)['bias'].tolist()
    [0.0, 0.0]
  """
  specs, structure = jax.tree.flatten(leaves)
  wide = trees.accumulator(dtype)
  sizes = {'normal': 0, 'uniform': 0}
  for spec in specs:
    if spec.kind in _POOLS:
      sizes[_POOLS[spec.kind]] += math.prod(spec.shape)
  if not split and all(sizes.values()):
    raise ValueError(
      'split=False draws normal or uniform numbers; got leaves of both kinds: '
      'pass split=True.'
    )
  normal_key, uniform_key = jax.random.split(key) if split else (key, key)
  pools = {
    'normal': jax.random.normal(normal_key, (sizes['normal'],), wide),
    'uniform': jax.random.uniform(uniform_key, (sizes['uniform'],), wide),
  }
  taken = {'normal': 0, 'uniform': 0}
  out = []
  for spec in specs:
    if spec.kind == 'constant':
      kind = wide if spec.wide else dtype
      out.append(jnp.full(spec.shape, spec.scale, kind))
      continue
    pool, size = _POOLS[spec.kind], math.prod(spec.shape)
    start = taken[pool]
    taken[pool] += size
    part = pools[pool][start : start + size].reshape(spec.shape)
    if spec.kind == 'uniform':
      part = 2.0 * part - 1.0
    elif spec.kind == 'orthogonal':
      part = _orthogonal(part.reshape(-1, spec.shape[-1])).reshape(spec.shape)
    out.append((spec.scale * part).astype(dtype))
  return jax.tree.unflatten(structure, out)


@jax.custom_batching.sequential_vmap
def _orthogonal(normal):
  """The orthogonal part of a matrix, the same one by one and in a batch."""
  wide = normal.shape[0] < normal.shape[1]
  q, r = jnp.linalg.qr(normal.T if wide else normal)
  # Signs of the diagonal, so that all rotations are equally likely.
  q = q * jnp.where(jnp.diagonal(r) < 0, -1.0, 1.0).astype(q.dtype)[None]
  return q.T if wide else q


def leaves_of(
  variables: Mapping[str, Any],
  *,
  kernel_init: str = 'fan_in',
  activation: _activations.Activation | None = None,
) -> dict[str, Any]:
  """Describes the variables of a layer library by their last names.

  Args:
    variables: nested dict of arrays or `jax.ShapeDtypeStruct`s called kernel,
      bias, scale, mean or var.
    kernel_init: an entry of `KERNEL_INITS`, for kernels.
    activation: that of the network, for kernels that are made for one.

  Returns:
    The tree of `Leaf`: biases and means start at zero, scales and variances at
    one, means and variances are wide.

  Raises:
    ValueError: as `bias_variances`.

  Example:
    >>> leaves_of({'scale': jnp.zeros(2)})['scale'].scale
    1.0
  """
  constants = {
    'bias': (0.0, False),
    'scale': (1.0, False),
    'mean': (0.0, True),
    'var': (1.0, True),
  }

  wanted = bias_variances(variables, kernel_init, activation=activation)

  def leaf(path, x, spread):
    name = path[-1].key
    if name == 'kernel':
      return KERNEL_INITS.make(kernel_init, x.shape, **_told(activation))
    if spread:
      return normal_init(x.shape, scale=math.sqrt(spread))
    value, wide = constants[name]
    return Leaf(x.shape, 'constant', value, wide=wide)

  return jax.tree_util.tree_map_with_path(leaf, variables, wanted)


def bias_variances(
  params: chex.ArrayTree,
  kernel_init: str,
  *,
  activation: _activations.Activation | None = None,
) -> chex.ArrayTree:
  """Variance of the biases that stand beside the kernels of a model.

  Args:
    params: one model, or its shapes: dicts that hold 'kernel' and 'bias'.
    kernel_init: an entry of `KERNEL_INITS`.
    activation: that of the network, for kernels that are made for one.

  Returns:
    Tree of Python numbers; zero but for biases that the entry asks for.

  Raises:
    ValueError: if the name or one of its options is unknown, or kernels need
      biases and there are none.

  Example:
    >>> layer = {'kernel': jnp.zeros((3, 5)), 'bias': jnp.zeros(5)}
    >>> found = bias_variances(layer, 'critical(activation=gelu)')
    >>> found['kernel'], round(found['bias'], 4)
    (0.0, 0.1729)
  """
  named = {'kernel': {}, 'bias': {}}
  for path, x in jax.tree_util.tree_leaves_with_path(params):
    name = getattr(path[-1], 'key', '') if path else ''
    if name == 'bias' or (name == 'kernel' and len(x.shape) > 1):
      named[name][path[:-1]] = x.shape
  drawn = {
    path: KERNEL_INITS.make(kernel_init, shape, **_told(activation))
    for path, shape in named['kernel'].items()
  }
  for path, kernel in drawn.items():
    if path not in named['bias']:
      where = ''.join(f'[{getattr(k, "key", k)!r}]' for k in path)
      _check_biases(kernel_init, kernel, f' params{where}')

  def leaf(path, x):
    is_bias = path and getattr(path[-1], 'key', '') == 'bias'
    known = drawn.get(path[:-1]) if is_bias else None
    return known.bias_variance if known else 0.0

  return jax.tree_util.tree_map_with_path(leaf, params)


def parameter_dtype(*inputs: Any) -> Any:
  """Returns the dtype of parameters that fit some inputs.

  Args:
    *inputs: trees of arrays, numbers or `jax.ShapeDtypeStruct`s.

  Returns:
    The common dtype of the floating-point inputs, the default floating-point
    type if there is none.

  Example:
    >>> parameter_dtype(jnp.zeros(2, jnp.bfloat16), jnp.arange(3))
    dtype(bfloat16)
  """
  dtypes = [jnp.result_type(x) for x in jax.tree.leaves(inputs)]
  floating = [d for d in dtypes if jnp.issubdtype(d, jnp.floating)]
  return jnp.result_type(*floating) if floating else jnp.result_type(float)
