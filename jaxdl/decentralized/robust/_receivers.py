# SPDX-License-Identifier: Apache-2.0
"""What a client makes of the vectors it has received, for all clients at once.

A receiver rule is `mix(models, sent, received) -> models`: leaves [H, ...] of
the correct clients, leaves [F, ...] of what the adversaries send, and
`received: i32[H, m]`, the rows of the H + F vectors that each client holds, its
own first. Rules that need distances share one Gram matrix and one final
contraction between all receivers.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl import aggregators
from jaxdl.core import checks, registry, trees, view as view_lib

MixFn = Callable[[chex.ArrayTree, chex.ArrayTree, chex.Array], chex.ArrayTree]


def sample_received(
  key: chex.PRNGKey, *, num_correct: int, num_byzantine: int, num_held: int
) -> chex.Array:
  """Draws whose messages arrive in time: the worst case for correct clients.

  Every client holds its own vector, those of all adversaries, and as many of
  the other correct clients, drawn uniformly, as make up `num_held`.

  Args:
    key: consumed.
    num_correct: H (static).
    num_byzantine: F (static).
    num_held: m, vectors held including its own (static),
      F + 1 <= m <= H + F.

  Returns:
    i32[H, m] rows of the H + F vectors; a client's own row comes first.

  Raises:
    ValueError: if `num_held` is out of range.

  Example:
    >>> sample_received(
    ...   jax.random.key(0), num_correct=2, num_byzantine=1, num_held=3
    ... )
    Array([[0, 1, 2],
           [1, 0, 2]], dtype=int32)

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), code.
  """
  h, f = num_correct, num_byzantine
  checks.integer(h, name='num_correct', low=1)
  checks.integer(f, name='num_byzantine', low=0)
  checks.integer(num_held, name='num_held', low=f + 1, high=h + f)
  draws = jax.random.uniform(key, (h, h))
  draws = jnp.where(jnp.eye(h, dtype=bool), -1.0, draws)
  order = jnp.argsort(draws, axis=1)[:, : num_held - f]
  others = jnp.broadcast_to(jnp.arange(h, h + f)[None, :], (h, f))
  return jnp.concatenate([order, others], axis=1).astype(jnp.int32)


def nearest_neighbor_averaging(
  models: chex.ArrayTree,
  sent: chex.ArrayTree,
  received: chex.Array,
  *,
  num_byzantine: int,
) -> chex.ArrayTree:
  """The mean of the m - f held vectors nearest to one's own."""
  _check_held('nearest_neighbor_averaging', received, num_byzantine)
  return _by_weights(
    lambda view, own: aggregators.weights_of(
      functools.partial(
        aggregators.nearest_neighbor_averaging,
        pivot=own,
        num_byzantine=num_byzantine,
      ),
      view,
    ),
    models,
    sent,
    received,
  )


def trimmed_mean(
  models: chex.ArrayTree,
  sent: chex.ArrayTree,
  received: chex.Array,
  *,
  num_byzantine: int,
) -> chex.ArrayTree:
  """`aggregators.trimmed_mean` of the held vectors, f entries at each end."""
  _check_held('trimmed_mean', received, num_byzantine)
  rule = functools.partial(aggregators.trimmed_mean, num_trimmed=num_byzantine)
  return by_rows(rule, models, sent, received)


def median(
  models: chex.ArrayTree, sent: chex.ArrayTree, received: chex.Array
) -> chex.ArrayTree:
  """`aggregators.median` of the held vectors."""
  return by_rows(aggregators.median, models, sent, received)


def geometric_median(
  models: chex.ArrayTree,
  sent: chex.ArrayTree,
  received: chex.Array,
  *,
  num_byzantine: int,
  nu: chex.Numeric = 0.1,
  num_iters: int = 3,
  start: str = 'zero',
) -> chex.ArrayTree:
  """`aggregators.geometric_median` of the held vectors, with its options."""
  _check_held('geometric_median', received, num_byzantine)
  rule = functools.partial(
    aggregators.geometric_median, nu=nu, num_iters=num_iters, start=start
  )
  return _by_weights(
    lambda view, own: aggregators.weights_of(rule, view), models, sent, received
  )


def centered_clipping(
  models: chex.ArrayTree,
  sent: chex.ArrayTree,
  received: chex.Array,
  *,
  num_byzantine: int,
  clip_radius: chex.Numeric = 1.0,
  num_iters: int = 3,
) -> chex.ArrayTree:
  """Moves one's own vector by the clipped pulls of those held.

  Args:
    models: leaves [H, ...].
    sent: leaves [F, ...].
    received: i32[H, m].
    num_byzantine: f < m / 2 (static).
    clip_radius: tau > 0; static or traced.
    num_iters: L >= 1 (static).

  Returns:
    Leaves [H, ...].
  """
  checks.number(clip_radius, name='clip_radius', low=0.0, open_low=True)
  checks.integer(num_iters, name='num_iters', low=1)
  _check_held('centered_clipping', received, num_byzantine)
  kernel = lambda view, own: _self_centered(view, own, clip_radius, num_iters)
  return _by_weights(kernel, models, sent, received)


def mean(
  models: chex.ArrayTree, sent: chex.ArrayTree, received: chex.Array
) -> chex.ArrayTree:
  """The mean of the held vectors."""
  return by_rows(aggregators.mean, models, sent, received)


RECEIVER_RULES = registry.Registry(
  'rule',
  {
    'nearest_neighbor_averaging': nearest_neighbor_averaging,
    'trimmed_mean': trimmed_mean,
    'median': median,
    'geometric_median': geometric_median,
    'centered_clipping': centered_clipping,
    'mean': mean,
  },
  given=('models', 'sent', 'received'),
  told=('num_byzantine',),
)


def receiver_rule(spec: str, *, num_byzantine: int) -> MixFn:
  """Builds a receiver rule from text, checked before anything compiles.

  Args:
    spec: one of `RECEIVER_RULES` with its options, see `core.registry`:
      'median', 'centered_clipping(clip_radius=2.0)', which is self-centered: it
      starts at the client's own vector.
    num_byzantine: f, adversaries that the rule is told (static).

  Returns:
    `mix(models, sent, received) -> models`, pure; leaves [H, ...].

  Raises:
    ValueError: if the rule or an option is unknown or out of range; from the
      rule, if the m held vectors do not outnumber 2f.

  Example:
    >>> mix = receiver_rule('nearest_neighbor_averaging', num_byzantine=1)
    >>> mix(
    ...   jnp.array([[0.0], [1.0]]),
    ...   jnp.array([[90.0]]),
    ...   jnp.array([[0, 1, 2], [1, 0, 2]]),
    ... )
    Array([[0.5],
           [0.5]], dtype=float32)
  """
  part = RECEIVER_RULES.part(spec)
  f = checks.integer(num_byzantine, name='num_byzantine', low=0)
  mix = RECEIVER_RULES.partial(part, num_byzantine=f)
  told = part.options.get('num_byzantine', f)
  h = 2 * checks.integer(told, name='num_byzantine', low=0) + 1
  shapes = [
    jax.ShapeDtypeStruct(shape, dtype)
    for shape, dtype in (
      ((h, 1), jnp.float32), ((0, 1), jnp.float32), ((h, h), jnp.int32)
    )
  ]  # fmt: skip
  jax.eval_shape(mix, *shapes)  # Impossible options fail now.
  return mix


def as_receiver(
  rule: Any, *, num_byzantine: int = 0, name: str = 'rule'
) -> MixFn:
  """Turns what stands for a receiver rule into one.

  Args:
    rule: `mix(models, sent, received) -> models` (kept), a rule without memory
      such as `aggregators.median`, which each client applies to the m vectors
      that it holds, or the text that `receiver_rule` takes.
    num_byzantine: f that text is told.
    name: the argument's name, for messages.

  Returns:
    A receiver rule.

  Raises:
    TypeError: if it is anything else; the message says what to call.
    ValueError: as `receiver_rule`.
  """
  if isinstance(rule, str):
    return receiver_rule(rule, num_byzantine=num_byzantine)
  if rule is receiver_rule:
    raise TypeError(
      f'{name}=receiver_rule makes a rule: call it with a name, one of '
      f'{", ".join(RECEIVER_RULES)}.'
    )
  if callable(rule) and not isinstance(rule, type):
    wanted = [
      p
      for p in inspect.signature(rule).parameters.values()
      if p.kind <= p.POSITIONAL_OR_KEYWORD and p.default is p.empty
    ]
    if len(wanted) == 3:
      return rule
  return functools.partial(by_rows, checks.rule(rule, name=name))


def _check_held(name, received, num_byzantine):
  held = received.shape[1]
  f = checks.integer(num_byzantine, name='num_byzantine', low=0)
  if 2 * f >= held:
    raise ValueError(
      f'{name} cannot tolerate f={f} with {held} received vectors: need 2f < m.'
    )


def _by_weights(kernel, models, sent, received):
  everyone = trees.concatenate(models, sent)
  view = view_lib.view(everyone)
  h, n = received.shape[0], view.size

  def one(own, held):
    mask = jnp.zeros(n, bool).at[held].set(True)
    return kernel(dataclasses.replace(view, present=mask), own)

  weights = jax.vmap(one)(jnp.arange(h), received)
  return view.combine(weights)


def by_rows(rule, models, sent, received):
  """Lets every client apply a rule to the vectors that it holds."""
  everyone = trees.concatenate(models, sent)
  n = checks.num_clients(everyone)
  if received.shape[1] == n:  # Everyone holds the same set.
    out = rule(everyone)
    repeat = lambda x: jnp.broadcast_to(x[None], (received.shape[0], *x.shape))
    return jax.tree.map(repeat, out)
  return jax.lax.map(
    lambda held: rule(trees.take_rows(everyone, held)), received
  )


def _self_centered(view, own, radius, num_iters):
  """Weights of v <- v + mean_j clip(z_j - v, radius), from v = own."""
  valid, dtype = view.valid, view.frame.dtype
  radius = radius / view.unit
  vectors = view.augmented()
  count = jnp.maximum(jnp.asarray(view.count, dtype), 1)

  def body(_, weights):
    squares = view.sq_distances_to(weights @ vectors)
    usable = valid & (squares > 0)
    distances = jnp.sqrt(jnp.where(usable, squares, 1.0))
    pull = jnp.where(usable, jnp.minimum(radius / distances, 1.0), 1.0)
    pull = jnp.where(valid, pull, 0.0) / count
    return (1.0 - jnp.sum(pull)) * weights + pull

  start = jax.nn.one_hot(own, view.size, dtype=dtype)
  return jax.lax.fori_loop(0, num_iters, body, start)
