# SPDX-License-Identifier: Apache-2.0
"""A network that makes the parameters of another one."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _linen, functional
from jaxdl.networks.hyper import _encodings, _inits

HIDDEN_SIZES = (16, 64, 128)
NORMS = ('none', 'batch', 'layer', 'weight')
_EPSILON = 1e-5


class Settings(NamedTuple):
  """What a hypernetwork is, apart from what it makes; all static.

  Attributes:
    hidden_sizes: widths of the hidden layers.
    activation: elementwise function between layers.
    encoding: a part of `ENCODINGS`.
    residual: whether there are independent weights at the start.
    init: a part of `HYPER_INITS`.
    norm: one of `NORMS`.
  """

  hidden_sizes: tuple[int, ...] = HIDDEN_SIZES
  activation: Callable[[chex.Array], chex.Array] = jax.nn.leaky_relu
  encoding: str = 'cos_sin'
  residual: bool = True
  init: str = 'fan_out'
  norm: str = 'none'


def make_settings(
  hidden_sizes: int | Sequence[int] = HIDDEN_SIZES,
  *,
  activation: functional.Activation = 'leaky_relu',
  encoding: str = 'cos_sin',
  residual: bool = True,
  init: str = 'fan_out',
  norm: str = 'none',
) -> Settings:
  """Checks the options of a hypernetwork, see `hypernet`."""
  sizes = functional.check_sizes(hidden_sizes, 'hidden_sizes', empty=True)
  _encodings.check_encoding(encoding)
  if not isinstance(residual, bool):
    raise TypeError(f'residual must be True or False; got {residual!r}.')
  _inits.make_init(init, residual=residual)
  checks.choice(norm, NORMS, name='norm')
  act = functional.activation(activation)
  return Settings(sizes, act, encoding, residual, init, norm)


def path_of(path: tuple[Any, ...]) -> str:
  """Writes a key path: '0/kernel'; that of a tree of one leaf is ''."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def by_path(tree: chex.ArrayTree) -> dict[str, Any]:
  """The leaves of a tree by path."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {path_of(path): leaf for path, leaf in leaves}


def _last(path: str) -> str:
  return path.rpartition('/')[2].lower()


def _is_bias(path: str, shape: tuple[int, ...]) -> bool:
  return len(shape) < 2 and _last(path) in ('bias', 'shift', 'b', 'mean')


def has_known_start(path: str, shape: tuple[int, ...]) -> bool:
  """Whether the name of a tensor says how it starts, see `start_leaf`."""
  return len(shape) > 1 or _is_bias(path, shape) or 'scale' in _last(path)


def start_leaf(path: str, shape: tuple[int, ...]) -> functional.Leaf:
  """How an independent weight starts that is not given.

  Args:
    path: of the tensor.
    shape: of it.

  Returns:
    Kernels of two axes or more of variance 2 / fan_in, biases and shifts of
    zero, what else has one axis (the scales of normalizations) of one.
  """
  if len(shape) > 1:
    return functional.he_init(shape)
  if _is_bias(path, shape):
    return functional.Leaf(shape)
  return functional.Leaf(shape, 'constant', 1.0)


def draw_hyper(
  key: chex.PRNGKey,
  settings: Settings,
  target: dict[str, Any],
  gamma: Any,
  start: dict[str, Any] | None,
) -> dict[str, Any]:
  """Parameters of a hypernetwork.

  Args:
    key: consumed.
    settings: see `Settings`.
    target: shapes of what is made, by path.
    gamma: an input, or its shape.
    start: independent weights by path; those that are missing start as
      `start_leaf` says.

  Returns:
    See `hypernet`.
  """
  size = _encodings.encoded_size(gamma, settings.encoding)
  init = _inits.make_init(settings.init, residual=settings.residual)
  widths = (size, *settings.hidden_sizes)
  dtype = functional.parameter_dtype(*target.values())
  normal = lambda shape, std: functional.Leaf(shape, 'normal', std)
  layers: list[dict[str, Any]] = [
    {
      'kernel': normal((i, o), init.hidden(i, o)),
      'bias': functional.Leaf((o,)),
    }
    for i, o in zip(widths[:-1], widths[1:], strict=True)
  ]
  if settings.norm in ('batch', 'layer'):
    for layer in layers:
      layer['norm'] = functional.scale_leaves(layer['bias'].shape)
  square = 1.0
  if settings.init.startswith('hyperfan'):
    square = _encodings.mean_square(gamma, settings.encoding)
  facts = _inits.InitFacts(
    widths[-1],
    square,
    any(_is_bias(path, x.shape) for path, x in target.items()),
  )
  heads = {}
  for path, x in target.items():
    is_bias = _is_bias(path, x.shape)
    first = functional.Leaf(x.shape)
    if settings.residual:
      first = start_leaf(path, x.shape)
    std = init.head(x.shape, is_bias, facts)
    heads[path] = {
      'kernel': normal((widths[-1], *x.shape), std),
      'bias': first,
    }
  params = functional.draw(key, {'layers': layers, 'heads': heads}, dtype)
  for path, value in (start or {}).items() if settings.residual else ():
    params['heads'][path]['bias'] = jnp.asarray(value, dtype)
  if settings.norm == 'weight':
    for layer in params['layers']:
      layer['scale'] = jnp.linalg.norm(layer['kernel'], axis=0)
  if settings.norm == 'batch':
    wide = lambda o: {'mean': jnp.zeros(o, dtype), 'var': jnp.ones(o, dtype)}
    params['statistics'] = [wide(o) for o in settings.hidden_sizes]
  return params


def encoded_width(params: Any) -> int | None:
  """Length of the encoding that parameters were made for; None if any."""
  layers = params['layers']
  if layers:
    return layers[0]['kernel'].shape[0]
  heads = list(params['heads'].values())
  return heads[0]['kernel'].shape[0] if heads else None


def features(
  settings: Settings,
  params: Any,
  gamma: Any,
  *,
  statistics: Any = None,
  train: bool = False,
  mask: chex.Array | None = None,
) -> tuple[chex.Array, Any]:
  """What the last layer of a hypernetwork sees.

  Args:
    settings: see `Settings`.
    params: see `hypernet`.
    gamma: f[..., D], or a dict of those.
    statistics: running ones, of norm='batch'.
    train: whether batches are normalized by their own statistics.
    mask: bool[R], which rows count in those.

  Returns:
    f[R, H] of all R rows, and the statistics of the batch (None of others).
  """
  width = encoded_width(params)
  if width is not None:
    _encodings.check_gamma(gamma, settings.encoding, width)
  z = _encodings.encode(gamma, settings.encoding)
  z = z.reshape(-1, z.shape[-1])
  if settings.norm == 'batch' and train and z.shape[0] == 1:
    raise ValueError(
      'norm=batch is trained on several gammas at once; got one: give a row '
      'per example, or use norm=layer.'
    )
  fresh = []
  for k, layer in enumerate(params['layers']):
    kernel = layer['kernel']
    if settings.norm == 'weight':
      norms = jnp.linalg.norm(kernel, axis=0)
      gain = layer['scale'] / jnp.where(norms > 0, norms, 1)
      kernel = kernel * jnp.broadcast_to(gain, kernel.shape)
    z = functional.dense({'kernel': kernel, 'bias': layer['bias']}, z)
    if settings.norm == 'layer':
      z = _layer_norm(layer['norm'], z)
    if settings.norm == 'batch':
      z, seen = _batch_norm(layer['norm'], statistics[k], z, train, mask)
      fresh.append(seen)
    z = settings.activation(z)
  return z, fresh or None


def _layer_norm(params, z):
  mean = jnp.mean(z, axis=-1, keepdims=True)
  var = jnp.mean(jnp.square(z - mean), axis=-1, keepdims=True)
  z = (z - mean) * jax.lax.rsqrt(var + _EPSILON)
  row = lambda v: jnp.broadcast_to(v, z.shape)
  return z * row(params['scale']) + row(params['bias'])


def _batch_norm(params, running, z, train, mask):
  variables = {'params': params, _linen.STATISTICS: running}
  layer = _linen.BatchNorm(epsilon=_EPSILON)
  if not train:
    return layer.apply(variables, z), running
  z, seen = layer.apply(variables, z, mask=mask, mutable=[_linen.STATISTICS])
  return z, seen[_linen.STATISTICS]


def generate(
  params: Any, z: chex.Array, rows: tuple[int, ...]
) -> dict[str, chex.Array]:
  """Applies the last layer: one head per tensor.

  Args:
    params: see `hypernet`.
    z: f[R, H], from `features`.
    rows: leading axes of what is made, of product R.

  Returns:
    Leaves [*rows, ...] by path.
  """

  def one(head):
    # No reshape of a head: it may be spread over devices.
    made = jnp.tensordot(z, head['kernel'], axes=1)
    if len(rows) != 1:
      made = made.reshape(*rows, *made.shape[1:]) if rows else made[0]
    first = head['bias']
    for _ in rows:
      first = first[None]
    return (made + first).astype(first.dtype)

  return {path: one(head) for path, head in params['heads'].items()}


def hypernet(
  target: chex.ArrayTree,
  *,
  hidden_sizes: int | Sequence[int] = HIDDEN_SIZES,
  activation: functional.Activation = 'leaky_relu',
  encoding: str = 'cos_sin',
  residual: bool = True,
  init: str = 'fan_out',
  norm: str = 'none',
  start: chex.ArrayTree | None = None,
) -> Network:
  """Builds a network from an input to a tree of parameters.

  theta = theta0 + h(E(gamma)): a multilayer perceptron h of the encoded input,
  whose last layer has a head for each tensor, and weights theta0 that do not
  depend on the input, which are the biases of the heads. The defaults are
  magnitude invariant: with piecewise-linear activations, no encoding and
  `residual=False` all generated weights are proportional to the input, and so
  is the scale of every gradient; the constant norm of the encoding and theta0
  take that away.

  Parameters are {'layers': [{'kernel', 'bias'}], 'heads': {path: {'kernel':
  f[H, ...], 'bias': f[...]}}}, with `norm` also 'norm' or 'scale' in a layer
  and 'statistics'. There are E n1 + n1 + n1 n2 + n2 + ... + (H + 1) P of them
  for P generated numbers.

  Args:
    target: tree of arrays or shapes [...] that is to be made, floating point.
    hidden_sizes: widths of the hidden layers, the last of them H.
    activation: a name in `functional.ACTIVATIONS` or a function; proportional
      for 'leaky_relu' and 'relu'.
    encoding: E, a part of `ENCODINGS`, see `encode`.
    residual: whether theta0 starts as a network would; zero otherwise.
    init: a part of `HYPER_INITS`: 'fan_out', 'fan_in', 'hyperfan', or
      'bias_hyper', which starts at theta0 for every input.
    norm: between hidden layers and their activation: 'none', 'layer', 'batch'
      (running statistics as elsewhere in `networks`; trained on several inputs
      at once), or 'weight' (length and direction of kernels apart).
    start: theta0, a tree like `target`, with `residual`; None draws kernels of
      two axes or more with variance 2 / fan_in, biases are zero and scales one.

  Returns:
    A `Network`: `init(key, gamma)`, `apply(params, gamma) -> theta`. gamma is
    f[D], or f[..., D] for leaves [..., *shape], or a dict of those.

  Raises:
    ValueError: if an option is unknown, or `start` does not fit the target or
      comes without `residual`; from `apply`, if gamma has another D than at
      `init`, is not finite, or lies outside of [0, 1] with 'cos_sin' (concrete
      values only).

  Cost: the last layer, H P numbers, is nearly all of it; `head_shardings`
    spreads it over devices.

  Example:
    >>> target = {'kernel': jnp.zeros((3, 2)), 'bias': jnp.zeros(2)}
    >>> network = hypernet(target, hidden_sizes=(8,))
    >>> params = network.init(jax.random.key(0), jnp.zeros(1))
    >>> theta = network.apply(params, jnp.array([0.5]))
    >>> jax.tree.map(jnp.shape, theta)
    {'bias': (2,), 'kernel': (3, 2)}

  Source: Gonzalez Ortiz, Guttag & Dalca 2024
    (https://arxiv.org/abs/2304.07645); the code is hyperlight.
  """
  settings = make_settings(
    hidden_sizes,
    activation=activation,
    encoding=encoding,
    residual=residual,
    init=init,
    norm=norm,
  )
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), target
  )
  for path, x in by_path(shapes).items():
    if not jnp.issubdtype(x.dtype, jnp.floating):
      raise TypeError(
        f'target[{path!r}] must be floating point to be generated; got '
        f'{x.dtype}.'
      )
    if not math.prod(x.shape):
      raise ValueError(
        f'target[{path!r}] is empty, of shape {x.shape}: there is nothing to '
        'make.'
      )
  if not jax.tree.leaves(shapes):
    raise ValueError('target has no leaves: there is no parameter to make.')
  if start is not None:
    if not residual:
      raise ValueError(
        'start is theta0, which residual=False leaves out: leave out start, '
        'or take residual=True.'
      )
    check_like(start, shapes, name='start')

  def begin(key, gamma):
    first = None if start is None else by_path(start)
    return draw_hyper(key, settings, by_path(shapes), gamma, first)

  def apply(params, gamma, *, train=False, key=None, mask=None, mutable=False):
    del key
    rows = _encodings.rows(gamma)
    z, fresh = features(
      settings,
      params,
      gamma,
      statistics=params.get(_linen.STATISTICS),
      train=train or mutable,
      mask=mask,
    )
    made = generate(params, z, rows)
    theta = jax.tree_util.tree_map_with_path(
      lambda path, x: made[path_of(path)].astype(x.dtype), shapes
    )
    return (theta, fresh) if mutable else theta

  return Network(begin, apply)


def check_like(
  tree: chex.ArrayTree, wanted: chex.ArrayTree, *, name: str
) -> None:
  """Checks that given weights have the names and shapes that are needed.

  Args:
    tree: the weights.
    wanted: tree of arrays or shapes.
    name: of the argument, for messages.

  Raises:
    ValueError: with the missing and the unexpected names, or the first tensor
      of another shape.
  """
  got, want = by_path(tree), by_path(wanted)
  missing = [repr(p) for p in want if p not in got]
  unexpected = [repr(p) for p in got if p not in want]
  if missing or unexpected:
    raise ValueError(
      f'{name} has other names than the network: missing '
      f'{", ".join(missing) or "none"}; unexpected '
      f'{", ".join(unexpected) or "none"}.'
    )
  for path, x in want.items():
    if jnp.shape(got[path]) != tuple(x.shape):
      raise ValueError(
        f'{name}[{path!r}] has shape {jnp.shape(got[path])}, but the network '
        f'needs {tuple(x.shape)}.'
      )


def num_predicted(params: Any) -> int:
  """Counts the numbers P that a hypernetwork makes.

  Args:
    params: of `hypernet`, or their shapes.

  Returns:
    The sum over heads.
  """
  return sum(math.prod(h['bias'].shape) for h in params['heads'].values())
