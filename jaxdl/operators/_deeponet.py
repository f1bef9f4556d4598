# SPDX-License-Identifier: Apache-2.0
"""Operators as inner products of branch and trunk features."""

import numbers
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp

from jaxdl import networks
from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import functional
from jaxdl.operators import _branches as branches

MULTI_OUTPUTS = ('independent', 'split_both', 'split_branch', 'split_trunk')


def _split(features, num_groups, name):
  width = features.shape[-1]
  if width % num_groups:
    raise ValueError(
      f'{name} has {width} features, which do not divide into {num_groups} '
      'outputs: change its last width.'
    )
  shape = (*features.shape[:-1], num_groups, width // num_groups)
  return features.reshape(shape)


def _contract(b, t, aligned):
  """b: f[N, (C,) p], t: f[Q, (C,) p] -> f[N, Q, C] or f[B, C]."""
  if b.shape[-1] != t.shape[-1]:
    raise ValueError(
      f'the branch gives {b.shape[-1]} coefficients per output but the trunk '
      f'{t.shape[-1]} basis values: their last widths must match.'
    )
  left = 'ncp' if b.ndim == 3 else 'np'
  points = 'q' if aligned == 'shared' else 'nq' if aligned == 'own' else 'n'
  right = points + ('cp' if t.ndim - len(points) == 2 else 'p')
  out = {'shared': 'nqc', 'own': 'nqc', 'paired': 'nc'}[aligned]
  return jnp.einsum(f'{left},{right}->{out}', b, t)


def _part(
  part: object,
  name: str,
  activation: functional.Activation,
  *,
  activate_last: bool,
) -> Network:
  """A network of widths, or whatever stands for one."""
  listed = isinstance(part, Sequence) and not isinstance(part, str)
  if listed and not any(callable(width) for width in part):
    return branches.dense_layers(
      part, activation=activation, activate_last=activate_last
    )
  if isinstance(part, numbers.Integral):
    raise TypeError(
      f'{name} must be the widths of its hidden layers or a Network; got '
      f'{part}: write {name}=({part},).'
    )
  return networks.as_network(part, name=name)


def deeponet(
  branch: Network | Sequence[int] = (40, 40),
  trunk: Network | Sequence[int] = (40, 40, 40),
  *,
  num_outputs: int = 1,
  multi_output: str = 'independent',
  use_bias: bool = True,
  activation: functional.Activation = 'relu',
  trunk_features: Callable[[chex.Array], chex.Array] | None = None,
  aligned: bool = False,
) -> Network:
  """Builds G(u)(y) = sum_k b_k(u) t_k(y) + b_0.

  The branch b reads the input function at m fixed sensors, the trunk t the
  query location. Given as widths, the branch ends linearly and the trunk
  activated. With relu the result is piecewise linear in y: take 'tanh' or
  'gelu' where derivatives matter. Kernels start Glorot normal and biases zero,
  as in DeepXDE; with one or two coordinates y the features of such a trunk are
  nearly straight at first. Where that trains slowly, pass a trunk of your own
  with a wider start, `networks.mlp((64, 64), 64)` for instance, or
  `trunk_features`.

  `apply(params, u, y, aligned=None)`, where `aligned` overrides the default:
    - unaligned: u f[B, m], y f[B, d] -> f[B, C], one point per function;
    - aligned: u f[N, m], y f[Q, d] -> f[N, Q, C], every function at every
      point, with N branch and Q trunk evaluations;
    - either: y f[N, Q, d] -> f[N, Q, C], own points per function.

  Args:
    branch: a network u -> f[N, p] (a `Network` or a flax module), or widths of
      one (last is p).
    trunk: a network y -> f[..., p], likewise, or widths of one (last is p).
    num_outputs: number C of output functions.
    multi_output: 'independent' (C branches and C trunks), 'split_both' (C
      groups of p / C features each), 'split_branch' or 'split_trunk' (that side
      is C times wider and cut, the other is shared).
    use_bias: whether b_0 f[C] is there, initially zero.
    activation: of both, where given as widths.
    trunk_features: applied to y first, e.g. `periodic_features`.
    aligned: the default of `apply` for y of rank 2.

  Returns:
    A `Network`; `params` is {'branch', 'trunk', 'bias'}; with 'independent'
    and C > 1 the first two have a leading axis C.

  Raises:
    ValueError: if widths differ or do not divide by C, or u or y has another
      number of values than `init` saw.

  Example:
    >>> net = deeponet((40, 40), (40, 40, 40))
    >>> u, y = jnp.zeros((5, 100)), jnp.zeros((7, 1))
    >>> params = net.init(jax.random.key(0), u, y)
    >>> sum(x.size for x in jax.tree.leaves(params))
    9041
    >>> net.apply(params, u, y, aligned=True).shape
    (5, 7, 1)

  Source: Lu et al. 2021 (https://arxiv.org/abs/1910.03193); the split
    strategies are DeepXDE's.
  """
  checks.integer(num_outputs, name='num_outputs', low=1)
  checks.choice(multi_output, MULTI_OUTPUTS, name='multi_output')
  branch_net = _part(branch, 'branch', activation, activate_last=False)
  trunk_net = _part(trunk, 'trunk', activation, activate_last=True)
  copies = num_outputs > 1 and multi_output == 'independent'

  def features(y):
    return y if trunk_features is None else trunk_features(y)

  def init(key, u, y):
    branch_key, trunk_key = jax.random.split(key)
    y = features(y)
    if copies:
      make = jax.vmap(branch_net.init, in_axes=(0, None))
      b = make(jax.random.split(branch_key, num_outputs), u)
      make = jax.vmap(trunk_net.init, in_axes=(0, None))
      t = make(jax.random.split(trunk_key, num_outputs), y)
    else:
      b, t = branch_net.init(branch_key, u), trunk_net.init(trunk_key, y)
    params = {'branch': b, 'trunk': t}
    if use_bias:
      dtype = functional.parameter_dtype(u, y)
      params['bias'] = jnp.zeros((num_outputs,), dtype)
    jax.eval_shape(
      lambda: apply(params, u, y, aligned=y.ndim == 2, _features=False)
    )
    return params

  def apply(
    params,
    u,
    y,
    *,
    aligned=aligned,
    train=False,
    key=None,
    _features=True,
  ):
    del train, key
    layout = 'own' if y.ndim == 3 else 'shared' if aligned else 'paired'
    if y.ndim not in (2, 3):
      raise ValueError(
        f'y must be [points, d] or [functions, points, d]; got {y.shape}.'
      )
    num = jax.tree.leaves(u)[0].shape[0]
    if layout != 'shared' and y.shape[0] != num:
      raise ValueError(
        f'y has {y.shape[0]} rows but there are {num} input functions: give '
        'one point per function, or pass aligned=True to evaluate every '
        'function at every point.'
      )
    if _features:
      y = features(y)
    b = _evaluate(branch_net, params['branch'], u, copies, 'branch')
    t = _evaluate(trunk_net, params['trunk'], y, copies, 'trunk')
    if num_outputs == 1:
      b, t = b[..., None, :], t[..., None, :]
    elif not copies:
      if multi_output in ('split_both', 'split_branch'):
        b = _split(b, num_outputs, 'the branch')
      if multi_output in ('split_both', 'split_trunk'):
        t = _split(t, num_outputs, 'the trunk')
    out = _contract(b, t, layout)
    if use_bias:
      out = out + jnp.broadcast_to(params['bias'], out.shape)
    return out

  return Network(init, apply)


def _evaluate(net, params, x, copies, name):
  run = jax.vmap(net.apply, in_axes=(0, None), out_axes=-2)
  try:
    return run(params, x) if copies else net.apply(params, x)
  except ValueError as error:
    hint = (
      'resample the input function at the training sensors'
      if name == 'branch'
      else 'the query dimension is fixed by init'
    )
    raise ValueError(f'{name}: {error} ({hint})') from error


def periodic_features(
  num_harmonics: int = 2, *, period: float = 1.0
) -> Callable[[chex.Array], chex.Array]:
  """Returns y -> (cos, sin)(2 pi k y / period), k = 1..num_harmonics.

  A trunk of these features gives exactly periodic outputs.

  Args:
    num_harmonics: number of harmonics per coordinate.
    period: the common period of all coordinates.

  Returns:
    A function f[..., d] -> f[..., 2 * num_harmonics * d].

  Source: Lu et al. 2022 (https://arxiv.org/abs/2111.05512).
  """
  checks.integer(num_harmonics, name='num_harmonics', low=1)
  checks.number(period, name='period', low=0.0, open_low=True)

  def transform(y):
    parts = []
    for k in range(1, num_harmonics + 1):
      angle = (2 * jnp.pi * k / period) * y
      parts += [jnp.cos(angle), jnp.sin(angle)]
    return jnp.concatenate(parts, -1)

  return transform


def box_distance(y: chex.Array) -> chex.Array:
  """Returns prod_i 4 y_i (1 - y_i), zero on the unit box's boundary.

  Args:
    y: f[..., d].

  Returns:
    f[...], one at the center.
  """
  return jnp.prod(4 * y * (1 - y), -1)


def hard_boundary(
  network: Network,
  distance: Callable[[chex.Array], chex.Array] | chex.Array,
  lift: Callable[[chex.Array], chex.Array] | chex.Array | float = 0.0,
) -> Network:
  """Makes the outputs satisfy a boundary condition exactly.

  out = lift + distance * network, where distance vanishes on the boundary.

  Args:
    network: any network with channel-last outputs f[..., C].
    distance: array [*grid] for networks on grids, or a function of the last
      input, query points f[..., d] -> f[...].
    lift: likewise, any extension of the boundary values; a number is constant.

  Returns:
    A `Network` with the parameters of the given one.

  Example:
    >>> net = hard_boundary(deeponet((4, 4), (4, 4)), box_distance, lift=3.0)
    >>> u, y = jnp.ones((2, 6)), jnp.array([[0.0], [1.0]])
    >>> params = net.init(jax.random.key(0), u, y)
    >>> net.apply(params, u, y)[:, 0].tolist()
    [3.0, 3.0]

  Source: Lu et al. 2022 (https://arxiv.org/abs/2111.05512).
  """

  def values(what, inputs, out):
    v = what(inputs[-1]) if callable(what) else jnp.asarray(what)
    if v.ndim:
      v = v[..., None]
    return jnp.broadcast_to(
      v.reshape((1,) * (out.ndim - v.ndim) + v.shape), out.shape
    ).astype(out.dtype)

  def apply(params, *inputs, **kwargs):
    out = network.apply(params, *inputs, **kwargs)
    return values(lift, inputs, out) + values(distance, inputs, out) * out

  return Network(network.init, apply)
