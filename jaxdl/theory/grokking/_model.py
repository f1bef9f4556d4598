# SPDX-License-Identifier: Apache-2.0
"""The network: features of two elements, and a linear layer on them.

One-hot inputs are never built: a product with them is a sum of two rows.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, classes, keys, registry, types
from jaxdl.networks import functional

Params = dict[str, chex.Array]


def square(x: chex.Array) -> chex.Array:
  """x²; of complex numbers too."""
  return x * x


def relu_squared(x: chex.Array) -> chex.Array:
  """max(x, 0)²."""
  return jnp.square(jax.nn.relu(x))


ACTIVATIONS = functional.ACTIVATIONS | {
  'relu_squared': relu_squared,
  'square': square,
}


def activation_of(
  spec: str | Callable[[chex.Array], chex.Array],
) -> Callable[[chex.Array], chex.Array]:
  """Returns the activation of a name.

  Args:
    spec: an entry of `ACTIVATIONS`; a function passes through.

  Returns:
    f[...] -> f[...].

  Raises:
    ValueError: if there is no such entry or option.

  Example:
    >>> activation_of('square')(jnp.array(3.0)).item()
    9.0
  """
  if callable(spec):
    return spec
  part = ACTIVATIONS.part(spec)
  return functools.partial(ACTIVATIONS[part.name], **part.options)


def _is_analytic(fn):
  """Whether an activation has a complex derivative, at two points."""
  at, step = np.array([0.7 + 0.4j, -0.6 - 0.3j], np.complex64), 1e-2
  try:
    slopes = [
      (fn(jnp.asarray(at + d)) - fn(jnp.asarray(at - d))) / (2 * d)
      for d in (step, step * 1j)
    ]
    # Functions of real numbers that are cut in two jump here.
    sides = fn(jnp.asarray([1e-3 + 0.5j, -1e-3 + 0.5j], jnp.complex64))
  except TypeError:  # It takes real numbers only.
    return False
  gap = np.abs(np.asarray(slopes[0]) - np.asarray(slopes[1]))
  return bool((gap < 1e-2).all() and abs(sides[0] - sides[1]) < 5e-2)


def init_params(
  key: chex.PRNGKey,
  order: int,
  hidden: int,
  *,
  top_scale: chex.Numeric = 1.0,
  num_layers: int = 0,
  is_complex: bool = False,
) -> Params:
  """Draws weights uniformly in ±1 / sqrt(fan-in).

  Args:
    key: consumed.
    order: M >= 3 (static).
    hidden: K >= 1 (static).
    top_scale: factor of the top layer's; 0 starts it at zero.
    num_layers: further layers in between (static).
    is_complex: whether weights are complex (static); real and imaginary parts
      are drawn alike.

  Returns:
    'bottom' f32[2 M, K], 'top' f32[K, M], and 'hidden' f32[L, K, K] if there
    are further layers.

  Raises:
    ValueError: if a size is out of range.

  Example:
    >>> params = init_params(jax.random.key(0), 5, 8, top_scale=0.0)
    >>> params['bottom'].shape, float(jnp.abs(params['top']).max())
    ((10, 8), 0.0)

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), code.
  """
  keys.check_key(key)
  m = checks.integer(order, name='order', low=3)
  k = checks.integer(hidden, name='hidden', low=1)
  depth = checks.num_layers(num_layers, low=0)
  checks.number(top_scale, name='top_scale', low=0.0)
  bottom_key, hidden_key, top_key = jax.random.split(key, 3)

  def draw(key, shape, fan_in):
    if is_complex:
      parts = draw_real(key, (2, *shape), fan_in)
      return jax.lax.complex(parts[0], parts[1])
    return draw_real(key, shape, fan_in)

  def draw_real(key, shape, fan_in):
    bound = fan_in**-0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

  params = {
    'bottom': draw(bottom_key, (2 * m, k), 2 * m),
    'top': top_scale * draw(top_key, (k, m), k),
  }
  if depth:
    params['hidden'] = draw(hidden_key, (depth, k, k), k)
  return params


def hidden_features(
  params: Mapping[str, chex.Array],
  inputs: chex.Array,
  *,
  activation: str | Callable[[chex.Array], chex.Array] = 'square',
) -> chex.Array:
  """Features F = σ(X W), and F <- σ(F + F W_l) of every further layer.

  Args:
    params: as from `init_params`.
    inputs: i[n, 2], pairs of elements.
    activation: σ, see `activation_of` (static).

  Returns:
    f[n, K].

  Cost: O(n K) for the first layer: a gather of two rows for each pair, no
  product with one-hot vectors.

  Example:
    >>> w = jnp.arange(6.0).reshape(6, 1)
    >>> hidden_features({'bottom': w}, jnp.array([[0, 0], [2, 1]])).tolist()
    [[9.0], [36.0]]
  """
  fn = activation_of(activation)
  bottom = params['bottom']
  order = bottom.shape[0] // 2
  # Rows are gathered once: gathers that are fused into what uses them are
  # repeated entry by entry (an epoch of 2048 nodes on CPU: 57 against 46 ms).
  first, second = jax.lax.optimization_barrier(
    (bottom[inputs[:, 0]], bottom[order + inputs[:, 1]])
  )
  f = fn(first + second)
  if 'hidden' in params:
    f, _ = jax.lax.scan(lambda f, w: (fn(f + f @ w), None), f, params['hidden'])
  return f


def apply(
  params: Mapping[str, chex.Array],
  inputs: chex.Array,
  *,
  activation: str | Callable[[chex.Array], chex.Array] = 'square',
  output_scale: chex.Numeric = 1.0,
) -> chex.Array:
  """Outputs b F V, of complex weights their real parts.

  Args:
    params: as from `init_params`.
    inputs: i[n, 2].
    activation: σ (static).
    output_scale: b.

  Returns:
    f[n, M].

  Example:
    >>> params = init_params(jax.random.key(0), 5, 8)
    >>> apply(params, jnp.array([[0, 1]])).shape
    (1, 5)
  """
  f = hidden_features(params, inputs, activation=activation)
  return read_out(f, params['top'], output_scale)


def read_out(
  features: chex.Array, top: chex.Array, output_scale: chex.Numeric = 1.0
) -> chex.Array:
  """The outputs of features, b Re(F V).

  Args:
    features: F, f[n, K].
    top: V, f[K, M].
    output_scale: b.

  Returns:
    f[n, M], real.

  Example:
    >>> read_out(jnp.ones((1, 2)), jnp.ones((2, 3)), 0.5).tolist()
    [[1.0, 1.0, 1.0]]
  """
  return output_scale * jnp.real(features @ top)


def class_centered_mse(logits: chex.Array, labels: chex.Array) -> chex.Array:
  """Mean over samples of |o - mean(o)|² - 2 (o - mean(o))_y + 1 - 1 / M.

  The squared error to centered one-hot labels, outputs centered over classes.

  Args:
    logits: o, f[n, M].
    labels: y, i[n].

  Returns:
    f[]; 0 of a perfect prediction, 1 - 1 / M of zeros.

  Example:
    >>> class_centered_mse(jnp.zeros((1, 4)), jnp.array([2])).item()
    0.75

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), code.
  """
  _check(logits, labels)
  centered = logits - jnp.mean(logits, axis=-1, keepdims=True)
  picked = jnp.take_along_axis(centered, labels[:, None], axis=-1)[:, 0]
  num_classes = logits.shape[-1]
  per_sample = jnp.sum(jnp.square(centered), axis=-1) - 2 * picked
  return jnp.mean(per_sample) + 1 - 1 / num_classes


def sample_centered_mse(logits: chex.Array, labels: chex.Array) -> chex.Array:
  """½ |P (Y - O)|², summed; P centers over samples.

  Args:
    logits: O, f[n, M].
    labels: of one-hot Y, i[n].

  Returns:
    f[]. Its weight decay compares with that of `class_centered_mse` in no
    simple way: that one is a mean, and centers over classes.

  Example:
    >>> sample_centered_mse(jnp.zeros((2, 4)), jnp.array([2, 1])).item()
    0.5

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Eq. 1.
  """
  _check(logits, labels)
  gap = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype) - logits
  gap = gap - jnp.mean(gap, axis=0, keepdims=True)
  return 0.5 * jnp.sum(jnp.square(gap))


def cross_entropy(logits: chex.Array, labels: chex.Array) -> chex.Array:
  """Mean cross-entropy.

  Args:
    logits: f[n, M].
    labels: i[n].

  Returns:
    f[].

  Example:
    >>> round(cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).item(), 4)
    1.3863
  """
  _check(logits, labels)
  log_p = jax.nn.log_softmax(logits)
  return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=-1))


def _check(logits, labels):
  shapes = jnp.shape(logits), jnp.shape(labels)
  if len(shapes[0]) != 2 or shapes[1] != shapes[0][:1]:
    raise ValueError(
      f'logits and labels must be f[n, M] and i[n]; got shapes {shapes[0]} and '
      f'{shapes[1]}.'
    )
  checks.class_labels(labels, shapes[0][1])


LOSSES = registry.Registry(
  'loss',
  {
    'class_centered': class_centered_mse,
    'cross_entropy': cross_entropy,
    'sample_centered': sample_centered_mse,
  },
  given=('logits', 'labels'),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
  """What is static about a network and its loss.

  Attributes:
    order: M >= 3.
    hidden: K >= 1.
    activation: a part of `ACTIVATIONS`.
    loss: a part of `LOSSES`.
    top_scale: factor of the top layer at the start.
    num_layers: further layers F <- σ(F + F W_l).
    is_complex: whether weights are complex.
    output_scale: b, factor of the outputs.
  """

  order: int
  hidden: int = 256
  activation: str = 'square'
  loss: str = 'class_centered'
  top_scale: float = 1.0
  num_layers: int = 0
  is_complex: bool = False
  output_scale: float = 1.0

  def __post_init__(self):
    checks.integer(self.order, name='order', low=3)
    checks.integer(self.hidden, name='hidden', low=1)
    checks.num_layers(self.num_layers, low=0)
    checks.number(self.top_scale, name='top_scale', low=0.0)
    checks.number(self.output_scale, name='output_scale')
    if not isinstance(self.is_complex, (bool, np.bool_)):
      raise TypeError(
        f'is_complex must be True or False; got {self.is_complex!r}.'
      )
    fn = activation_of(self.activation)
    if self.is_complex and not _is_analytic(fn):
      raise ValueError(
        f'activation={self.activation} is no analytic function, so it has no '
        'meaning for complex weights: take activation=square (or identity, '
        'tanh), or is_complex=False.'
      )
    LOSSES.check(self.loss)

  def init(self, key: chex.PRNGKey) -> Params:
    """Draws the weights; consumes the key."""
    return init_params(
      key,
      self.order,
      self.hidden,
      top_scale=self.top_scale,
      num_layers=self.num_layers,
      is_complex=self.is_complex,
    )

  def features(
    self, params: Mapping[str, chex.Array], inputs: chex.Array
  ) -> chex.Array:
    """f[n, K] of i[n, 2], see `hidden_features`."""
    return hidden_features(params, inputs, activation=self.activation)

  def measured(
    self, features: chex.Array, top: chex.Array, labels: chex.Array
  ) -> tuple[chex.Array, dict[str, chex.Array]]:
    """Returns the loss of features, and it with the accuracy.

    Args:
      features: f[n, K].
      top: f[K, M].
      labels: i[n].

    Returns:
      f[], and 'loss' and 'accuracy'; the lowest of equal outputs counts, and
      outputs that are no numbers are wrong.
    """
    logits = read_out(features, top, self.output_scale)
    loss = LOSSES[LOSSES.part(self.loss).name](logits, labels)
    hit = classes.is_right(logits, labels)
    accuracy = jnp.mean(hit, dtype=loss.dtype)
    return loss, {'loss': loss, 'accuracy': accuracy}

  def task(self) -> types.Task:
    """What is learned, of batches with 'inputs' i[n, 2], 'labels' i[n]."""

    def evaluate(params, batch):
      f = self.features(params, batch['inputs'])
      return self.measured(f, params['top'], batch['labels'])[1]

    def loss(params, batch, *, key=None):
      del key
      return evaluate(params, batch)['loss']

    return types.Task(self.init, loss, evaluate)
