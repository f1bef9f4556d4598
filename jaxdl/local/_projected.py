# SPDX-License-Identifier: Apache-2.0
"""Gradients along random directions that a seed stands for.

A direction is never stored or sent: it is drawn again from its key wherever it
is needed. All numbers of a direction come from one draw over the flattened
parameters, leaf after leaf in pytree order, which compiles in the same time
however many leaves there are.
"""

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys, trees

DIRECTIONS = ('normal', 'rademacher')
DIVISORS = ('mean', 'sqrt')

Loss = Callable[..., chex.Array]


def direction_keys(
  key: chex.PRNGKey,
  iteration: chex.Numeric,
  *,
  num_machines: int,
  num_samples: int = 1,
) -> chex.PRNGKey:
  """The public keys of one iteration's directions.

  `fold_in` of iteration, machine and sample, in this order, so that who joins
  later draws the same.

  Args:
    key: public, the same for everybody; may be used for all iterations.
    iteration: t >= 0; static or traced.
    num_machines: M (static).
    num_samples: S, directions per machine and iteration (static).

  Returns:
    keys[M, S].

  Example:
    >>> few = direction_keys(jax.random.key(0), 3, num_machines=2)
    >>> more = direction_keys(jax.random.key(0), 3, num_machines=5)
    >>> bool(jnp.all(few == more[:2]))
    True
  """
  keys.check_key(key)
  checks.integer(num_machines, name='num_machines', low=1)
  checks.integer(num_samples, name='num_samples', low=1)
  now = jax.random.fold_in(key, iteration)
  fold = lambda k, n: jax.vmap(lambda i: jax.random.fold_in(k, i))(
    jnp.arange(n)
  )
  return jax.vmap(lambda k: fold(k, num_samples))(fold(now, num_machines))


def perturbation(
  key: chex.PRNGKey, params: chex.ArrayTree, *, distribution: str = 'normal'
) -> chex.ArrayTree:
  """Draws a direction z with E z zᵀ = I.

  Rademacher directions (±1) are bitwise the same on every platform. Normal ones
  are the same only where the platform, or at least its logarithm and square
  root, is: fleets of mixed devices should use Rademacher.

  Args:
    key: consumed.
    params: D numbers in floating-point leaves; only shapes and dtypes count.
    distribution: one of `DIRECTIONS` (static).

  Returns:
    The direction: leaves of the shapes of `params`, float32 (float64 if a leaf
    is).

  Raises:
    ValueError: if the distribution is unknown or there are no leaves.
    TypeError: if a leaf is not floating point.

  Cost: one draw of D numbers.

  Example:
    >>> z = perturbation(
    ...   jax.random.key(0), {'w': jnp.zeros(4)}, distribution='rademacher'
    ... )
    >>> jnp.abs(z['w'])
    Array([1., 1., 1., 1.], dtype=float32)
  """
  checks.choice(distribution, DIRECTIONS, name='distribution')
  keys.check_key(key)
  wide = _check_params(params)
  leaves, treedef = jax.tree.flatten(params)
  sizes = [math.prod(x.shape) for x in leaves]
  total = sum(sizes)
  if distribution == 'normal':
    flat = jax.random.normal(key, (total,), wide)
  else:
    words = jax.random.bits(key, (-(-total // 32),), jnp.uint32)
    shifts = jnp.arange(32, dtype=jnp.uint32)
    bits = (words[:, None] >> shifts[None, :]) & 1
    flat = 1 - 2 * bits.reshape(-1)[:total].astype(wide)
  out, start = [], 0
  for leaf, size in zip(leaves, sizes, strict=True):
    part = jax.lax.slice(flat, (start,), (start + size,))
    out.append(part.reshape(leaf.shape))
    start += size
  return jax.tree.unflatten(treedef, out)


def add_scaled(
  params: chex.ArrayTree,
  key: chex.PRNGKey,
  scale: chex.Numeric,
  *,
  distribution: str = 'normal',
) -> chex.ArrayTree:
  """Returns a moved copy, `params + scale z`, z being the key's direction.

  Nothing is moved back later, so nothing drifts.

  Args:
    params: floating-point leaves.
    key: consumed.
    scale: static or traced.
    distribution: one of `DIRECTIONS` (static).

  Returns:
    A tree like `params`; sums are taken in float32 at least.

  Raises:
    ValueError, TypeError: as `perturbation`.
  """
  z = perturbation(key, params, distribution=distribution)

  def leaf(x, z):
    wide = trees.accumulator(x.dtype)
    return (x.astype(wide) + scale * z.astype(wide)).astype(x.dtype)

  return jax.tree.map(leaf, params, z)


def projected_gradient(
  loss_fn: Loss,
  params: chex.ArrayTree,
  batch: chex.ArrayTree,
  key: chex.PRNGKey,
  *,
  eps: chex.Numeric = 1e-3,
  distribution: str = 'normal',
) -> tuple[chex.Array, chex.Array]:
  """Measures the slope of a loss along a direction by two evaluations.

  The slope is `(L(θ + ε z) - L(θ - ε z)) / (2 ε)`, exact for quadratic losses
  and off by O(ε²) otherwise. Losses are subtracted in float32 (float64 if
  they are): a small ε loses digits to cancellation, a large one to curvature.
  With bfloat16 parameters ε should be at least 1e-4 (`unmoved_share`).

  Args:
    loss_fn: `loss_fn(params, batch) -> f[]`; both evaluations must draw alike.
    params: θ, floating-point leaves.
    batch: whatever the loss takes.
    key: of the direction; consumed.
    eps: ε > 0; static or traced.
    distribution: one of `DIRECTIONS` (static).

  Returns:
    `(slope: f32[], loss: f32[])`, the loss being the mean of the two.

  Raises:
    ValueError, TypeError: as `perturbation`, and if ε is not positive.

  Cost: two evaluations of the loss and 2 D numbers of memory; no gradient.

  Example:
    >>> slope, _ = projected_gradient(
    ...   lambda w, x: jnp.sum(w * x),
    ...   jnp.zeros(1),
    ...   jnp.array([3.0]),
    ...   jax.random.key(0),
    ...   distribution='rademacher',
    ... )
    >>> f'{abs(slope):.3f}'
    '3.000'

  Source: Malladi et al. 2023 (https://arxiv.org/abs/2305.17333), Definition 1.
  """
  checks.number(eps, name='eps', low=0.0, open_low=True)
  up, down = (
    loss_fn(add_scaled(params, key, s * eps, distribution=distribution), batch)
    for s in (1.0, -1.0)
  )
  wide = trees.accumulator(jnp.result_type(up))
  up, down = up.astype(wide), down.astype(wide)
  return (up - down) / (2 * eps), (up + down) / 2


def estimated_gradient(
  direction_keys: chex.PRNGKey,
  slopes: chex.Array,
  params: chex.ArrayTree,
  *,
  count: chex.Numeric | None = None,
  aggregate: str = 'mean',
  distribution: str = 'normal',
) -> chex.ArrayTree:
  """Rebuilds a gradient from slopes and the keys of their directions.

  The estimate is `Σ g z / c`, summed in the order given, one direction at a
  time: the result is the same bits wherever and whenever it is computed on one
  kind of device. A slope of zero adds exactly nothing. With c = N it is
  unbiased up to O(ε²), its squared length being about (D + 2) / N times that
  of the gradient (D / N for Rademacher).

  Args:
    direction_keys: keys[N]; consumed.
    slopes: f32[N], finite.
    params: floating-point leaves; only shapes and dtypes count.
    count: how many slopes were measured, N by default; traced or static. With
      zero the result is zero.
    aggregate: c is `count` ('mean') or its square root ('sqrt'), which lets
      the step grow like the square root of the machines (static).
    distribution: one of `DIRECTIONS` (static).

  Returns:
    Tree like `params`, float32 (float64 for float64 leaves): a gradient for
    any optax optimizer.

  Raises:
    ValueError, TypeError: as `perturbation`, and if lengths differ.

  Cost: N draws of D numbers; memory 2 D.

  Example:
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> grad = estimated_gradient(keys, jnp.zeros(2), {'w': jnp.ones(3)})
    >>> grad['w']
    Array([0., 0., 0.], dtype=float32)

  Source: Zelikman et al. 2023 (https://arxiv.org/abs/2306.10015), code; 'sqrt'
    is its later version.
  """
  checks.choice(aggregate, DIVISORS, name='aggregate')
  _check_params(params)
  if jnp.ndim(slopes) != 1 or direction_keys.shape != slopes.shape:
    raise ValueError(
      'direction_keys and slopes need one shape [N]; got '
      f'{direction_keys.shape} and {jnp.shape(slopes)}.'
    )
  count = slopes.shape[0] if count is None else count
  count = jnp.asarray(count, jnp.float32)
  divisor = jnp.maximum(count if aggregate == 'mean' else jnp.sqrt(count), 1.0)
  factors = slopes.astype(jnp.float32) / divisor

  def body(total, one):
    key, factor = one
    z = perturbation(key, params, distribution=distribution)
    # Product and sum are kept apart: fused into one rounding in one program
    # and not in another, replicas would drift apart.
    step = jax.lax.optimization_barrier(
      jax.tree.map(lambda x: factor.astype(x.dtype) * x, z)
    )
    return jax.tree.map(lambda t, s: t + s.astype(t.dtype), total, step), None

  zero = jax.tree.map(
    lambda x: jnp.zeros(x.shape, trees.accumulator(x.dtype)), params
  )
  return jax.lax.scan(body, zero, (direction_keys, factors))[0]


def apply_projected(
  params: chex.ArrayTree,
  direction_keys: chex.PRNGKey,
  slopes: chex.Array,
  learning_rate: chex.Numeric,
  *,
  count: chex.Numeric | None = None,
  aggregate: str = 'mean',
  distribution: str = 'normal',
) -> chex.ArrayTree:
  """Takes one step of gradient descent on slopes along seeded directions.

  Args:
    params: θ, floating-point leaves.
    direction_keys: keys[N]; consumed.
    slopes: f32[N], finite.
    learning_rate: η; static or traced.
    count: as in `estimated_gradient`.
    aggregate: as in `estimated_gradient`.
    distribution: as in `estimated_gradient`.

  Returns:
    `θ - η Σ g z / c`, dtypes of `params`.

  Raises:
    ValueError, TypeError: as `estimated_gradient`.
  """
  grads = estimated_gradient(
    direction_keys,
    slopes,
    params,
    count=count,
    aggregate=aggregate,
    distribution=distribution,
  )
  step = jax.lax.optimization_barrier(
    jax.tree.map(lambda g: learning_rate * g, grads)
  )
  return jax.tree.map(
    lambda x, s: (x.astype(s.dtype) - s).astype(x.dtype), params, step
  )


def unmoved_share(
  params: chex.ArrayTree,
  key: chex.PRNGKey,
  *,
  eps: chex.Numeric,
  distribution: str = 'normal',
) -> chex.Array:
  """Share of the parameters that a perturbation rounds away.

  Args:
    params: floating-point leaves; those of bfloat16 hold 8 binary digits.
    key: consumed.
    eps: ε > 0.
    distribution: one of `DIRECTIONS` (static).

  Returns:
    f32[] in [0, 1]; slopes say nothing about those parameters.

  Example:
    >>> w = jnp.ones(100, jnp.bfloat16)
    >>> float(unmoved_share(w, jax.random.key(0), eps=1e-4))
    1.0
  """
  checks.number(eps, name='eps', low=0.0, open_low=True)
  moved = add_scaled(params, key, eps, distribution=distribution)
  same = [
    jnp.sum(x == y)
    for x, y in zip(
      jax.tree.leaves(params), jax.tree.leaves(moved), strict=True
    )
  ]
  return sum(same) / sum(x.size for x in jax.tree.leaves(params))


def _check_params(params: chex.ArrayTree) -> jnp.dtype:
  leaves = jax.tree_util.tree_leaves_with_path(params)
  if not leaves:
    raise ValueError('params has no leaves: there is nothing to perturb.')
  for path, leaf in leaves:
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
      raise TypeError(
        f'params{jax.tree_util.keystr(path)} is {leaf.dtype}: only '
        'floating-point leaves can be perturbed; keep others outside.'
      )
  return trees.common_accumulator(params)
