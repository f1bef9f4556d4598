# SPDX-License-Identifier: Apache-2.0
"""Ways to fit one hidden layer, by name: random nets and their rivals."""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks, registry
from jaxdl.networks import _dense, functional
from jaxdl.networks.features.ridgelets import _floors as floors
from jaxdl.networks.features.shallow import (
  _fit as fit_lib,
  _hidden as hidden_lib,
  _incremental as incremental,
)


class Outcome(NamedTuple):
  """What a fitted net says.

  Attributes:
    train: f[N, o].
    test: f[Q, o].
    norm: f[], |c| of the output weights.
    used: i32[], hidden units that are used.
  """

  train: chex.Array
  test: chex.Array
  norm: chex.Array
  used: chex.Array


@dataclasses.dataclass(frozen=True)
class MethodFacts:
  """What is known about a method.

  Attributes:
    scaled: whether it depends on the scale of the hidden weights.
    sized: whether it depends on the number of hidden units.
  """

  scaled: bool = True
  sized: bool = True


def _outcome(hidden, readout, x, test_x, used=None, **look):
  predict = lambda x: fit_lib.predict(hidden, readout, x, **look)
  used = hidden.biases.shape[0] if used is None else used
  norm = jnp.sqrt(jnp.sum(readout * readout))
  return Outcome(predict(x), predict(test_x), norm, jnp.asarray(used))


@registry.known(MethodFacts())
def batch(
  key: chex.PRNGKey,
  x: chex.Array,
  y: chex.Array,
  test_x: chex.Array,
  *,
  num_hidden: int,
  scale: chex.Numeric,
  activation: functional.Activation,
  dist: str,
  bias_range: hidden_lib.BiasRange,
  ridge: chex.Numeric,
  direct: bool = False,
  readout: str = 'svd',
) -> Outcome:
  """A random net, its output weights fitted at once.

  Args:
    key: consumed.
    x: f[N, d].
    y: f[N, o].
    test_x: f[Q, d].
    num_hidden: n.
    scale: lambda.
    activation: s.
    dist: see `sample_hidden`.
    bias_range: see `sample_hidden`.
    ridge: mu.
    direct: whether inputs are linked to outputs.
    readout: a part of `READOUTS`.

  Returns:
    An `Outcome`.
  """
  hidden = hidden_lib.sample_hidden(
    key, num_hidden, x.shape[1], scale=scale, dist=dist, bias_range=bias_range
  )
  look = {'activation': activation, 'direct': direct}
  c = fit_lib.fit(hidden, x, y, ridge=ridge, method=readout, **look)
  return _outcome(hidden, c, x, test_x, **look)


@registry.known(MethodFacts())
def rvfl(key, x, y, test_x, **options) -> Outcome:
  """With direct links from inputs to outputs."""
  return batch(key, x, y, test_x, direct=True, **options)


@registry.known(MethodFacts())
def elm(
  key, x, y, test_x, *, num_hidden, scale, activation, dist, bias_range
) -> Outcome:
  """Without a penalty: the pseudo-inverse."""
  return batch(
    key,
    x,
    y,
    test_x,
    num_hidden=num_hidden,
    scale=scale,
    activation=activation,
    dist=dist,
    bias_range=bias_range,
    ridge=0.0,
  )


@registry.known(MethodFacts())
def irvfl(
  key, x, y, test_x, *, num_hidden, scale, activation, dist, bias_range
) -> Outcome:
  """A unit at a time, none fitted again: `incremental_readout`."""
  hidden = hidden_lib.sample_hidden(
    key, num_hidden, x.shape[1], scale=scale, dist=dist, bias_range=bias_range
  )
  h = hidden_lib.hidden_features(x, hidden, activation)
  c, _ = incremental.incremental_readout(h, y.astype(h.dtype))
  return _outcome(hidden, c, x, test_x, activation=activation)


@registry.known(MethodFacts(scaled=False))
def scn(
  key,
  x,
  y,
  test_x,
  *,
  num_hidden,
  activation,
  ridge,
  scales: tuple[float, ...] = (1.0, 5.0, 10.0, 50.0, 100.0),
  num_candidates: int = 20,
  tolerances: tuple[float, ...] = (0.9, 0.99, 0.999, 0.9999, 0.99999),
) -> Outcome:
  """Units that lower the error enough: `stochastic_configuration`."""
  grown = incremental.stochastic_configuration(
    key,
    x,
    y,
    num_hidden=num_hidden,
    scales=scales,
    num_candidates=num_candidates,
    tolerances=tolerances,
    activation=activation,
    ridge=ridge,
  )
  used = grown.accepted.sum()
  return _outcome(
    grown.hidden, grown.readout, x, test_x, used, activation=activation
  )


@registry.known(MethodFacts())
def fourier(key, x, y, test_x, *, num_hidden, scale, ridge) -> Outcome:
  """Random Fourier features: cosines of normal weights of size lambda."""
  return batch(
    key,
    x,
    y,
    test_x,
    num_hidden=num_hidden,
    scale=scale,
    activation='cos',
    dist='gaussian',
    bias_range=jnp.pi,
    ridge=ridge,
  )


@registry.known(MethodFacts(sized=False))
def kernel(
  key,
  x,
  y,
  test_x,
  *,
  scale,
  activation,
  dist,
  bias_range,
  ridge,
  num_nodes: int = 0,
) -> Outcome:
  """Infinitely many units: ridge regression with the limiting kernel.

  Units are placed by quadrature (64 x 64) for one input, drawn (8192)
  otherwise; `num_nodes` says other numbers. There must be a ridge.
  """
  if not isinstance(ridge, jax.core.Tracer) and ridge == 0:
    raise ValueError(
      'ridge=0 leaves the limiting kernel singular: method=kernel needs '
      'ridge > 0.'
    )
  limit = floors.limit_of(
    key,
    x.shape[1],
    scale=scale,
    activation=activation,
    dist=dist,
    bias_range=bias_range,
    num_nodes=num_nodes,
  )
  floor = floors.budgeted_floor(limit, x, y, ridge=ridge)
  predict = floors.kernel_ridge(limit, x, y, ridge=ridge)
  none = jnp.zeros((), jnp.int32)
  return Outcome(y - floor.residual, predict(test_x), floor.norm, none)


@registry.known(MethodFacts(scaled=False))
def mlp(
  key,
  x,
  y,
  test_x,
  *,
  num_hidden,
  activation,
  learning_rate: float = 0.003,
  num_steps: int = 3000,
) -> Outcome:
  """A network of equal width, all of it trained: full batches, Adam."""
  checks.number(learning_rate, name='learning_rate', low=0.0, open_low=True)
  checks.integer(num_steps, name='num_steps', low=1)
  network = _dense.mlp((num_hidden,), y.shape[1], activation=activation)
  params = network.init(key, x)
  schedule = optax.cosine_decay_schedule(learning_rate, num_steps)
  optimizer = optax.adam(schedule)

  def loss(params):
    return jnp.mean(jnp.square(network.apply(params, x) - y))

  def step(carry, _):
    params, state = carry
    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return (optax.apply_updates(params, updates), state), None

  start = (params, optimizer.init(params))
  (params, _), _ = jax.lax.scan(step, start, length=num_steps)
  last = params[-1]['kernel']
  return Outcome(
    network.apply(params, x),
    network.apply(params, test_x),
    jnp.sqrt(jnp.sum(last * last)),
    jnp.asarray(num_hidden),
  )


# Each is `method(key, x, y, test_x, **setting) -> Outcome`, pure and traceable.
METHODS = registry.Registry(
  'method',
  {
    'batch': batch,
    'elm': elm,
    'fourier': fourier,
    'irvfl': irvfl,
    'kernel': kernel,
    'mlp': mlp,
    'rvfl': rvfl,
    'scn': scn,
  },
  given=(
    *('key', 'x', 'y', 'test_x', 'num_hidden', 'scale', 'activation', 'dist'),
    *('bias_range', 'ridge'),
  ),
)
