# SPDX-License-Identifier: Apache-2.0
"""Networks that the theory is about, and their empirical tangent kernels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks, keys, registry, types
from jaxdl.networks import functional
from jaxdl.theory.effective import _finite, _kernels, _tangent

Params = Any


class Start(NamedTuple):
  """How a network starts; Python numbers.

  Attributes:
    weight_variance: C_W; weights have C_W / fan_in.
    bias_variance: C_b.
    residual: gamma, by which preactivations are carried on.
  """

  weight_variance: float
  bias_variance: float = 0.0
  residual: float = 0.0


def critical(
  activation: functional.Activation,
  *,
  scale: float = 1.0,
  residual: float = 0.0,
) -> Start:
  """At the critical point; `scale` times its weights' variance."""
  checks.number(scale, name='scale', low=0.0, open_low=True)
  checks.number(residual, name='residual', low=0.0, high=1.0, open_high=True)
  point = functional.find_critical(activation)
  # Carried preactivations replace so much of both.
  rest = 1 - residual**2
  return Start(
    scale * rest * point.weight_variance, rest * point.bias_variance, residual
  )


def he(activation: functional.Activation) -> Start:
  """Variance 2 / fan_in (He et al. 2015), for whatever activation."""
  del activation
  return Start(2.0)


def xavier(activation: functional.Activation) -> Start:
  """Variance 1 / width (Glorot & Bengio 2010), for whatever activation."""
  del activation
  return Start(1.0)


def variances(
  activation: functional.Activation,
  weight_variance: float,
  bias_variance: float = 0.0,
  *,
  residual: float = 0.0,
) -> Start:
  """Any others."""
  del activation
  _kernels.check_layer(weight_variance, bias_variance, residual)
  return Start(weight_variance, bias_variance, residual)


STARTS = registry.Registry(
  'start',
  {
    'critical': critical,
    'he': he,
    'xavier': xavier,
    'variances': variances,
  },
  given=('activation',),
)


def init_mlp(
  key: chex.PRNGKey,
  widths: Sequence[int],
  *,
  weight_variance: float,
  bias_variance: float = 0.0,
  dtype: Any = None,
) -> Params:
  """Draws the layers of a network.

  Args:
    key: consumed.
    widths: I, n_1, ..., n_L (static).
    weight_variance: C_W > 0; weights have C_W / fan_in (static).
    bias_variance: C_b >= 0 (static).
    dtype: of the parameters, the default floating point if None.

  Returns:
    List of L layers {'kernel': f[I, O], 'bias': f[O]}, what `networks.mlp`
    takes.

  Raises:
    ValueError: if there are fewer than two widths or a variance is out of
      range.

  Example:
    >>> params = init_mlp(jax.random.key(0), (3, 8, 2), weight_variance=2.0)
    >>> [layer['kernel'].shape for layer in params]
    [(3, 8), (8, 2)]
  """
  keys.check_key(key)
  widths = functional.check_sizes(widths, 'widths')
  if len(widths) < 2:
    raise ValueError(
      f'widths must name the inputs and one layer at least; got {widths}.'
    )
  _kernels.check_layer(weight_variance, bias_variance)
  root = lambda x: float(x) ** 0.5
  leaves = [
    {
      'kernel': functional.normal_init((i, o), scale=root(weight_variance / i)),
      'bias': functional.normal_init((o,), scale=root(bias_variance)),
    }
    for i, o in zip(widths[:-1], widths[1:], strict=True)
  ]
  dtype = jnp.result_type(float) if dtype is None else dtype
  # One kind of numbers: the key itself draws them.
  return functional.draw(key, leaves, dtype, split=False)


def _carries(before, kernel):
  """Whether a layer can carry its preactivations on."""
  return before is not None and before.shape[-1] == kernel.shape[-1]


def preactivations(
  params: Params,
  inputs: chex.Array,
  activation: functional.Activation,
  *,
  residual: chex.Numeric = 0.0,
) -> list[chex.Array]:
  """Preactivations of every layer; the last are the outputs.

  Args:
    params: list of layers, see `init_mlp`.
    inputs: f[M, I].
    activation: s, name or elementwise function (static).
    residual: gamma; z' = b + W s(z) + gamma z wherever widths agree (traced).

  Returns:
    List of L arrays f[M, n_l].

  Raises:
    ValueError: if the activation returns another shape or inputs do not fit.

  Example:
    >>> params = init_mlp(jax.random.key(0), (3, 8, 2), weight_variance=2.0)
    >>> z = preactivations(params, jnp.ones((4, 3)), 'relu')
    >>> [x.shape for x in z]
    [(4, 8), (4, 2)]
  """
  fn = functional.elementwise(activation)
  if jnp.ndim(inputs) != 2:
    raise ValueError(f'inputs must be [M, I]; got {jnp.shape(inputs)}.')
  out, z = [], None
  for layer in params:
    new = functional.dense(layer, inputs if z is None else fn(z))
    if _carries(z, layer['kernel']):
      new = new + residual * z
    out.append(new)
    z = new
  return out


def empirical_ntk(
  params: Params,
  inputs: chex.Array,
  activation: functional.Activation,
  *,
  weight_rate: chex.Numeric = 1.0,
  bias_rate: chex.Numeric = 1.0,
  residual: chex.Numeric = 0.0,
  method: str = 'layers',
) -> chex.Array:
  """Neural tangent kernel of a network, sum over parameters of lambda dz dz.

  Args:
    params: list of layers, see `init_mlp`.
    inputs: f[M, I].
    activation: name or elementwise function (static).
    weight_rate: lambda_W, f[] or f[L]; weights have lambda_W / fan_in (traced).
    bias_rate: lambda_b, f[] or f[L] (traced).
    residual: gamma, see `preactivations` (traced).
    method: 'layers' goes back layer by layer and never holds a Jacobian;
      'jacobian' multiplies that of `jax.jacrev` (static).

  Returns:
    f[M, M, O, O].

  Raises:
    ValueError: if inputs, rates or the method do not fit.

  Cost: layers, O(M² (O² + n) n L) work and O(M² O² + M O n) memory;
    jacobian, O(M² O² P) work and O(M O P) memory with P parameters.

  Example:
    >>> params = init_mlp(jax.random.key(0), (3, 8, 2), weight_variance=2.0)
    >>> x = jnp.ones((4, 3))
    >>> a, b = (
    ...   empirical_ntk(params, x, 'tanh', method=m)
    ...   for m in ('layers', 'jacobian')
    ... )
    >>> bool(jnp.allclose(a, b, rtol=1e-4, atol=1e-5))
    True

  Source: Roberts, Yaida & Hanin 2022 (https://arxiv.org/abs/2106.10165),
    equation 8.1.
  """
  checks.choice(method, ('layers', 'jacobian'), name='method')
  depth = len(params)
  dtype = params[-1]['kernel'].dtype
  rates = (
    _tangent.layer_rates(weight_rate, depth, 'weight_rate', dtype),
    _tangent.layer_rates(bias_rate, depth, 'bias_rate', dtype),
  )
  how = _by_layers if method == 'layers' else _by_jacobian
  return how(params, inputs, activation, *rates, residual)


_PRECISE = {'precision': 'highest'}


def _by_layers(params, inputs, activation, rates_w, rates_b, residual):
  fn = functional.elementwise(activation)
  z = preactivations(params, inputs, activation, residual=residual)
  outputs = z[-1].shape[-1]
  m = len(inputs)
  # Derivatives of the outputs in the preactivations of a layer.
  back = jnp.broadcast_to(
    jnp.eye(outputs, dtype=z[-1].dtype)[None], (m, outputs, outputs)
  )
  total = jnp.zeros((m, m, outputs, outputs), back.dtype)
  for k in reversed(range(len(params))):
    kernel = params[k]['kernel']
    if k:
      read, slope = functional.with_slope(fn, z[k - 1])
    else:
      read, slope = inputs, None
    gram = jnp.matmul(read, read.T, **_PRECISE) / kernel.shape[0]
    share = rates_b[k] + rates_w[k] * gram
    products = jnp.einsum('aik,bjk->abij', back, back, **_PRECISE)
    total = total + share[:, :, None, None] * products
    if slope is None:
      break
    before = jnp.matmul(back, kernel.T, **_PRECISE) * slope[:, None, :]
    if _carries(z[k - 1], kernel):
      before = before + residual * back
    back = before
  return total


def _by_jacobian(params, inputs, activation, rates_w, rates_b, residual):
  def outputs(p):
    return preactivations(p, inputs, activation, residual=residual)[-1]

  jacobian = jax.jacrev(outputs)(params)
  total = 0.0
  for k, layer in enumerate(jacobian):
    rates = {
      'kernel': rates_w[k] / params[k]['kernel'].shape[0],
      'bias': rates_b[k],
    }
    for name, rate in rates.items():
      x = layer[name].reshape(*layer[name].shape[:2], -1)
      total += rate * jnp.einsum('aip,bjp->abij', x, x, **_PRECISE)
  return total


def deep_mlp(
  depth: int,
  width: int,
  num_outputs: int,
  *,
  activation: str = 'relu',
  start: str = 'critical',
) -> types.Network:
  """Builds a network of equal layers, compiled as a scan whatever its depth.

  Args:
    depth: L, weight layers, >= 2.
    width: n of the hidden layers, >= 1.
    num_outputs: of the last layer, >= 1.
    activation: a part of `networks.ACTIVATIONS`.
    start: a part of `STARTS`, which also says how much of their preactivations
      hidden layers carry on.

  Returns:
    A `Network` from f[B, ...] to f[B, num_outputs]; params as of `init_mlp`.

  Raises:
    ValueError: if a size is out of range or a part is unknown.

  Example:
    >>> network = deep_mlp(5, 8, 3, start='critical(residual=0.9)')
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 4, 2)))
    >>> network.apply(params, jnp.zeros((6, 4, 2))).shape
    (6, 3)
  """
  depth = checks.integer(depth, name='depth', low=2)
  checks.integer(width, name='width', low=1)
  checks.integer(num_outputs, name='num_outputs', low=1)
  fn = functional.elementwise(activation)
  begin = STARTS.make(start, activation)

  def flat(x):
    return jnp.asarray(x).reshape(len(x), -1)

  def init(key, inputs):
    size = jax.eval_shape(flat, inputs).shape[1]
    return init_mlp(
      key,
      (size, *[width] * (depth - 1), num_outputs),
      weight_variance=begin.weight_variance,
      bias_variance=begin.bias_variance,
      dtype=functional.parameter_dtype(inputs),
    )

  def apply(params, inputs, *, train=False, key=None):
    del train, key
    first, *inner, last = params
    z = functional.dense(first, flat(inputs))
    if inner:
      stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *inner)
      body = lambda z, layer: (
        functional.dense(layer, fn(z)) + begin.residual * z,
        None,
      )
      z, _ = jax.lax.scan(body, z, stacked)
    return functional.dense(last, fn(z))

  return types.Network(init, apply)


def scale_by_rates(
  weight_rates: chex.Array, bias_rates: chex.Array
) -> optax.GradientTransformation:
  """Gives every layer its learning rates, those of weights over their fan_in.

  Args:
    weight_rates: lambda_W of every layer, f[L], see `training_rates`.
    bias_rates: lambda_b, f[L].

  Returns:
    An optax transformation of lists of layers; chain it before
    `optax.sgd(eta)`.

  Raises:
    ValueError: from `update`, if there are other numbers of layers.

  Example:
    >>> scale = scale_by_rates(jnp.array([0.5]), jnp.array([0.25]))
    >>> grads = [{'kernel': jnp.ones((2, 1)), 'bias': jnp.ones(1)}]
    >>> updates, _ = scale.update(grads, scale.init(grads))
    >>> updates[0]['kernel'].tolist(), updates[0]['bias'].tolist()
    ([[0.25], [0.25]], [0.25])
  """

  def update(updates, state, params=None):
    del params
    if len(updates) != len(weight_rates) or len(updates) != len(bias_rates):
      raise ValueError(
        f'weight_rates and bias_rates must have one entry for each of '
        f'{len(updates)} layers; got {len(weight_rates)} and '
        f'{len(bias_rates)}.'
      )
    scaled = [
      {
        'kernel': layer['kernel'] * (w / layer['kernel'].shape[0]),
        'bias': layer['bias'] * b,
      }
      for layer, w, b in zip(updates, weight_rates, bias_rates, strict=True)
    ]
    return scaled, state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scaled_sgd(
  activation: functional.Activation,
  depth: int,
  *,
  learning_rate: float = 1.0,
  weight_rate: chex.Numeric = 1.0,
  bias_rate: chex.Numeric = 1.0,
) -> optax.GradientTransformation:
  """Gradient descent with the rates of layers that a critical point wants.

  Args:
    activation: of the network, name or elementwise function.
    depth: L, layers of the network.
    learning_rate: eta, a factor of all rates.
    weight_rate: c_W, see `training_rates`.
    bias_rate: c_b.

  Returns:
    An optax transformation of the parameters of `init_mlp`.

  Raises:
    ValueError: if the activation has no critical point, or its power is not
      known.

  Example:
    >>> optimizer = scaled_sgd('relu', 4, learning_rate=0.5)
    >>> grads = [{'kernel': jnp.ones((2, 2)), 'bias': jnp.ones(2)}] * 4
    >>> updates, _ = optimizer.update(grads, optimizer.init(grads))
    >>> updates[0]['bias'].tolist()
    [-0.125, -0.125]
  """
  rates = _finite.training_rates(
    functional.find_critical(activation),
    depth,
    weight_rate=weight_rate,
    bias_rate=bias_rate,
  )
  return optax.chain(scale_by_rates(*rates), optax.sgd(learning_rate))
