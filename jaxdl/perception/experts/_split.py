# SPDX-License-Identifier: Apache-2.0
"""Experts that are slices of copies of a dense feed-forward network.

Parameters of a feed-forward network are {'in': layer, 'out': layer}, a layer
being {'kernel': f[I, O], 'bias': f[O]}, with or without bias; every other entry
is one more layer into the hidden width, such as the 'gate' of SwiGLU. Those of
experts have the same form with a leading axis of E experts, and the router's
rows under 'router'.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry, trees
from jaxdl.networks import functional
from jaxdl.perception.experts import _elementwise

Activation = str | Callable[..., chex.Array]
Layers = Mapping[str, Mapping[str, chex.Array]]


def widths(ffn: Layers, *, stacked: bool = False) -> tuple[int, int, int]:
  """Checks the form of a feed-forward network, or of experts.

  Args:
    ffn: its layers.
    stacked: whether layers have a leading axis of experts.

  Returns:
    Its widths d, h and d' (of what comes in, hidden, and of what goes out).

  Raises:
    TypeError: if it is no dict of layers.
    ValueError: if widths, or numbers of experts, do not fit.
  """
  if not isinstance(ffn, Mapping) or 'out' not in ffn or 'in' not in ffn:
    found = sorted(map(str, ffn)) if isinstance(ffn, Mapping) else ffn
    raise TypeError(
      "ffn must be {'in': {'kernel', 'bias'}, 'out': {'kernel', 'bias'}}; got "
      f'{found if isinstance(found, list) else checks.described(found)}.'
    )
  rank = 3 if stacked else 2
  for name, layer in ffn.items():
    if name != 'router' and not (
      isinstance(layer, Mapping)
      and 'kernel' in layer
      and set(layer) <= {'kernel', 'bias'}
    ):
      raise TypeError(
        f"layer {name!r} must be {{'kernel', 'bias'}}, with or without bias; "
        f'got {sorted(layer) if isinstance(layer, Mapping) else layer!r}.'
      )
  shapes = {k: jnp.shape(v['kernel']) for k, v in ffn.items() if k != 'router'}
  for name, shape in shapes.items():
    if len(shape) != rank:
      raise ValueError(
        f'the kernel of {name!r} must have {rank} axes; got shape {shape}.'
      )
  width, hidden = shapes['in'][-2:]
  for name, shape in shapes.items():
    want = (hidden,) if name == 'out' else (width, hidden)
    if shape[-2 : len(shape) if name != 'out' else -1] != want:
      raise ValueError(
        f'the kernel of {name!r} must have shape '
        f'{(hidden, "d") if name == "out" else want}, as that of "in" is '
        f'{shapes["in"]}; got {shape}.'
      )
    if shape[:-2] != shapes['in'][:-2]:
      raise ValueError(
        f'layers must have equally many experts: "in" has {shapes["in"][0]} '
        f'and {name!r} {shape[0]}.'
      )
    bias, want = ffn[name].get('bias'), (*shape[:-2], shape[-1])
    if bias is not None and jnp.shape(bias) != want:
      raise ValueError(
        f'the bias of {name!r} must have shape {want}, as its kernel is '
        f'{shape}; got {jnp.shape(bias)}.'
      )
  return width, hidden, shapes['out'][-1]


def ins_of(ffn: Layers) -> list[str]:
  """Names of the layers into the hidden width, in order."""
  return sorted(name for name in ffn if name not in ('out', 'router'))


def activation_of(
  activation: Activation, num_ins: int
) -> Callable[..., chex.Array]:
  """Reads an activation of the hidden width.

  Args:
    activation: a part of `functional.ACTIVATIONS`, which acts on 'in' alone, or
      on 'gate', the result being multiplied by 'in'; or an elementwise function
      of the hidden values of every layer, in the order of their names.
    num_ins: layers into the hidden width.

  Returns:
    The function.

  Raises:
    ValueError: if it acts across the hidden axis, or the name is unknown.
  """
  if isinstance(activation, str):
    act = functional.activation(activation)
    if num_ins > 2:
      raise ValueError(
        f'activation={activation!r} takes one or two layers, of {num_ins} give '
        'a function.'
      )
    return act if num_ins == 1 else lambda gate, value: act(gate) * value
  if not callable(activation):
    raise TypeError(
      'activation must be a name or a function; got '
      f'{checks.described(activation)}.'
    )
  found = _elementwise.what_is_not(activation, num_ins)
  if found is not None:
    raise ValueError(
      f'activation must be elementwise; got {checks.described(activation)} '
      f'that acts across the hidden axis ({found}): its slices would not add '
      'up to the whole.'
    )
  return activation


def feed_forward(
  ffn: Layers, x: chex.Array, *, activation: Activation = 'relu'
) -> chex.Array:
  """Applies a dense feed-forward network.

  Args:
    ffn: its layers.
    x: f[..., d].
    activation: see `moe_apply`.

  Returns:
    f[..., d'].

  Example:
    >>> layer = {'kernel': jnp.ones((1, 1))}
    >>> feed_forward({'in': layer, 'out': layer}, jnp.array([[2.0], [-1.0]]))
    Array([[2.],
           [0.]], dtype=float32)
  """
  widths(ffn)
  names = ins_of(ffn)
  act = activation_of(activation, len(names))
  hidden = [functional.dense(ffn[name], x) for name in names]
  return functional.dense(ffn['out'], act(*hidden))


def check_slices(hidden: int, num_slices: int, name: str = 'top_k') -> None:
  """Refuses slices that do not divide the hidden width."""
  if hidden % num_slices:
    raise ValueError(
      f'hidden width h={hidden} must be divisible by {name}={num_slices}.'
    )


def split_ffn(
  ffn: Layers, *, num_replicas: int, num_slices: int
) -> dict[str, dict[str, chex.Array]]:
  """Copies a feed-forward network N times and cuts each copy into k experts.

  Expert r k + j has units [j h / k, (j + 1) h / k) of copy r, and 1 / k of the
  bias of the result, so that the k experts of a copy add up to the network if
  its activation is elementwise.

  Args:
    ffn: its layers, of hidden width h.
    num_replicas: N >= 1 (static).
    num_slices: k >= 1, a divisor of h (static).

  Returns:
    Layers with a leading axis of E = N k experts: kernels f[E, d, h / k] and
    f[E, h / k, d'], biases f[E, h / k] and f[E, d'].

  Raises:
    ValueError: if k does not divide h, or widths do not fit.

  Example:
    >>> ffn = {
    ...   'in': {'kernel': jnp.ones((3, 4)), 'bias': jnp.arange(4.0)},
    ...   'out': {'kernel': jnp.ones((4, 3)), 'bias': jnp.ones(3)},
    ... }
    >>> moe = split_ffn(ffn, num_replicas=2, num_slices=2)
    >>> moe['in']['kernel'].shape, moe['in']['bias'].tolist()[:2]
    ((4, 3, 2), [[0.0, 1.0], [2.0, 3.0]])

  Source: Lu et al. 2025 (https://arxiv.org/abs/2507.17436), supernet expansion
    and granularity decomposition.
  """
  num_replicas = checks.integer(num_replicas, name='num_replicas', low=1)
  num_slices = checks.integer(num_slices, name='num_slices', low=1)
  _, hidden, _ = widths(ffn)
  check_slices(hidden, num_slices, 'num_slices')
  tile = lambda x: jnp.tile(x, (num_replicas,) + (1,) * (x.ndim - 1))
  moe = {}
  for name in ins_of(ffn):
    layer = {k: jnp.asarray(v) for k, v in ffn[name].items()}
    width = layer['kernel'].shape[0]
    kernel = layer['kernel'].reshape(width, num_slices, -1).swapaxes(0, 1)
    moe[name] = {'kernel': tile(kernel)}
    if 'bias' in layer:
      moe[name]['bias'] = tile(layer['bias'].reshape(num_slices, -1))
  layer = {k: jnp.asarray(v) for k, v in ffn['out'].items()}
  kernel = layer['kernel'].reshape(num_slices, -1, layer['kernel'].shape[1])
  moe['out'] = {'kernel': tile(kernel)}
  if 'bias' in layer:
    share = layer['bias'] / num_slices
    total = num_replicas * num_slices
    moe['out']['bias'] = jnp.broadcast_to(share, (total, *share.shape))
  return moe


def merge_slices(
  moe: Layers, *, replica: int, num_slices: int
) -> dict[str, dict[str, chex.Array]]:
  """Puts the k experts of a copy together again.

  Args:
    moe: experts, with or without a router.
    replica: r, from 0.
    num_slices: k (static).

  Returns:
    A feed-forward network whose value is the sum of those of the k experts.
    Right after `split_ffn` it is what was cut, bit by bit if k is a power of
    two; otherwise the bias of the result may differ by rounding.

  Raises:
    ValueError: if there is no such copy.

  Example:
    >>> ffn = {
    ...   'in': {'kernel': jnp.arange(4.0).reshape(1, 4)},
    ...   'out': {'kernel': jnp.ones((4, 1)), 'bias': jnp.ones(1)},
    ... }
    >>> moe = split_ffn(ffn, num_replicas=3, num_slices=2)
    >>> merge_slices(moe, replica=2, num_slices=2)['in']['kernel'].tolist()
    [[0.0, 1.0, 2.0, 3.0]]
  """
  num_slices = checks.integer(num_slices, name='num_slices', low=1)
  widths(moe, stacked=True)
  total = moe['in']['kernel'].shape[0]
  if total % num_slices:
    raise ValueError(
      f'moe has {total} experts, which are no copies of {num_slices} slices.'
    )
  replica = checks.integer(
    replica, name='replica', low=0, high=total // num_slices - 1
  )
  own = slice(replica * num_slices, (replica + 1) * num_slices)
  ffn = {}
  for name in ins_of(moe):
    layer = {k: jnp.asarray(v)[own] for k, v in moe[name].items()}
    width = layer['kernel'].shape[1]
    ffn[name] = {'kernel': layer['kernel'].swapaxes(0, 1).reshape(width, -1)}
    if 'bias' in layer:
      ffn[name]['bias'] = layer['bias'].reshape(-1)
  layer = {k: jnp.asarray(v)[own] for k, v in moe['out'].items()}
  kernel = layer['kernel']
  ffn['out'] = {'kernel': kernel.reshape(-1, kernel.shape[-1])}
  if 'bias' in layer:
    wide = trees.accumulator(kernel.dtype)
    parts = layer['bias'].astype(wide)
    # By halves, which is exact for equal parts.
    while parts.shape[0] % 2 == 0:
      parts = parts[::2] + parts[1::2]
    ffn['out']['bias'] = jnp.sum(parts, axis=0).astype(layer['bias'].dtype)
  return ffn


def init_router(
  key: chex.PRNGKey,
  *,
  num_experts: int,
  num_slices: int,
  width: int,
  std: float | None = None,
  dtype: Any = jnp.float32,
) -> chex.Array:
  """Draws a row of the router for each copy, its k slices all have the same.

  At first all slices of a copy get one logit, so that the k experts of a token
  are those of one copy.

  Args:
    key: consumed.
    num_experts: E (static).
    num_slices: k, a divisor of E; with 1 all rows are drawn by themselves
      (static).
    width: d (static).
    std: of the normal entries; 1 / sqrt(d) if None.
    dtype: of the rows.

  Returns:
    f[E, d].

  Raises:
    ValueError: if k does not divide E.

  Example:
    >>> key = jax.random.key(0)
    >>> rows = init_router(key, num_experts=4, num_slices=2, width=3)
    >>> rows.shape, bool((rows[0] == rows[1]).all())
    ((4, 3), True)
  """
  num_experts = checks.integer(num_experts, name='num_experts', low=1)
  num_slices = checks.integer(num_slices, name='num_slices', low=1)
  width = checks.integer(width, name='width', low=1)
  check_copies(num_experts, num_slices)
  if std is None:
    std = 1 / math.sqrt(width)
  checks.number(std, name='std', low=0.0)
  rows = jax.random.normal(key, (num_experts // num_slices, width), jnp.float32)
  return jnp.repeat(rows * std, num_slices, axis=0).astype(dtype)


def check_copies(
  num_experts: int, num_slices: int, name: str = 'num_slices'
) -> None:
  """Refuses numbers of experts that are no whole copies."""
  if num_experts % num_slices:
    raise ValueError(
      f'num_experts={num_experts} must be a multiple of {name}={num_slices}, '
      'the slices of a copy.'
    )


def _repeat(key, num_experts, num_slices, width, dtype, *, std=None):
  """One row for each copy."""
  return init_router(
    key,
    num_experts=num_experts,
    num_slices=num_slices,
    width=width,
    std=std,
    dtype=dtype,
  )


def _random(key, num_experts, num_slices, width, dtype, *, std=None):
  """One row for each expert."""
  return _repeat(key, num_experts, 1, width, dtype, std=std)


ROUTER_INITS = registry.Registry(
  'router',
  {'repeat': _repeat, 'random': _random},
  given=('key', 'num_experts', 'num_slices', 'width', 'dtype'),
)


def _slices(key, ffn, num_replicas, num_slices):
  """Slices of the network that is there."""
  del key
  return split_ffn(ffn, num_replicas=num_replicas, num_slices=num_slices)


def _drawn(key, ffn, num_replicas, num_slices):
  """New ones: kernels of variance 1 / fan_in of the network, biases zero."""
  moe = split_ffn(ffn, num_replicas=num_replicas, num_slices=num_slices)
  fresh = {}
  for name, k in zip(sorted(moe), jax.random.split(key, len(moe)), strict=True):
    like = moe[name]['kernel']
    fan_in = jnp.shape(ffn[name]['kernel'])[0]
    drawn = jax.random.normal(k, like.shape, jnp.float32) / math.sqrt(fan_in)
    fresh[name] = {n: jnp.zeros_like(x) for n, x in moe[name].items()}
    fresh[name]['kernel'] = drawn.astype(like.dtype)
  return fresh


EXPERT_INITS = registry.Registry(
  'start',
  {'slices': _slices, 'random': _drawn},
  given=('key', 'ffn', 'num_replicas', 'num_slices'),
)
