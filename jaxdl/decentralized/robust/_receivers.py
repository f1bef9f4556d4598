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
from jaxdl.core import checks, trees, view as view_lib

MixFn = Callable[[chex.ArrayTree, chex.ArrayTree, chex.Array], chex.ArrayTree]

RECEIVER_RULES = (
  'nearest_neighbor_averaging',
  'trimmed_mean',
  'median',
  'geometric_median',
  'centered_clipping',
  'mean',
)


def sample_received(
  key: chex.PRNGKey, *, num_correct: int, num_adversaries: int, num_held: int
) -> chex.Array:
  """Draws whose messages arrive in time: the worst case for correct clients.

  Every client holds its own vector, those of all adversaries, and as many of
  the other correct clients, drawn uniformly, as make up `num_held`.

  Args:
    key: consumed.
    num_correct: H (static).
    num_adversaries: F (static).
    num_held: m, vectors held including its own (static),
      F + 1 <= m <= H + F.

  Returns:
    i32[H, m] rows of the H + F vectors; a client's own row comes first.

  Raises:
    ValueError: if `num_held` is out of range.

  Example:
    >>> sample_received(
    ...   jax.random.key(0), num_correct=2, num_adversaries=1, num_held=3
    ... )
    Array([[0, 1, 2],
           [1, 0, 2]], dtype=int32)

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), code.
  """
  h, f = num_correct, num_adversaries
  checks.integer(h, name='num_correct', low=1)
  checks.integer(f, name='num_adversaries', low=0)
  checks.integer(num_held, name='num_held', low=f + 1, high=h + f)
  draws = jax.random.uniform(key, (h, h))
  draws = jnp.where(jnp.eye(h, dtype=bool), -1.0, draws)
  order = jnp.argsort(draws, axis=1)[:, : num_held - f]
  others = jnp.broadcast_to(jnp.arange(h, h + f)[None, :], (h, f))
  return jnp.concatenate([order, others], axis=1).astype(jnp.int32)


def receiver_rule(
  name: str,
  *,
  num_byzantine: int,
  clip_radius: chex.Numeric = 1.0,
  num_iters: int = 3,
  nu: chex.Numeric = 0.1,
  start: str = 'zero',
) -> MixFn:
  """Builds a receiver rule by name.

  Args:
    name: one of `RECEIVER_RULES`. `centered_clipping` is self-centred: it
      starts at the client's own vector.
    num_byzantine: f, adversaries that the rule is told (static).
    clip_radius: tau > 0 of `centered_clipping`; static or traced.
    num_iters: iterations of `centered_clipping` and `geometric_median`
      (static).
    nu: smoothing of `geometric_median`.
    start: start of `geometric_median`, see `aggregators.geometric_median`.

  Returns:
    `mix(models, sent, received) -> models`, pure; leaves [H, ...].

  Raises:
    ValueError: if an option is out of range; from the rule, if the m held
      vectors do not outnumber 2f.

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
  checks.choice(name, RECEIVER_RULES, name='mixing')
  f = checks.integer(num_byzantine, name='num_byzantine', low=0)
  checks.number(clip_radius, name='clip_radius', low=0.0, open_low=True)
  checks.integer(num_iters, name='num_iters', low=1)
  if name in ('trimmed_mean', 'median'):
    rule = aggregators.median
    if name == 'trimmed_mean':
      rule = functools.partial(aggregators.trimmed_mean, num_trimmed=f)
    fn = functools.partial(_by_rows, rule)
  elif name == 'mean':
    fn = functools.partial(_by_rows, aggregators.mean)
  else:
    kernels = {
      'nearest_neighbor_averaging': lambda view, own: (
        aggregators.nearest_neighbor_weights(view, pivot=own, num_byzantine=f)
      ),
      'geometric_median': lambda view, own: (
        aggregators.geometric_median_weights(
          view, nu=nu, num_iters=num_iters, start=start
        )
      ),
      'centered_clipping': lambda view, own: _self_centred(
        view, own, clip_radius, num_iters
      ),
    }
    fn = functools.partial(_by_weights, kernels[name])

  def mix(models, sent, received):
    held = received.shape[1]
    if name not in ('mean', 'median') and 2 * f >= held:
      raise ValueError(
        f'{name} cannot tolerate f={f} with {held} received vectors: need '
        '2f < m.'
      )
    return fn(models, sent, received)

  return mix


def as_receiver(mix: Any, *, name: str = 'mix') -> MixFn:
  """Turns what stands for a receiver rule into one.

  Args:
    mix: `mix(models, sent, received) -> models` (kept), or a rule without
      memory such as `aggregators.median`, which each client applies to the m
      vectors that it holds.
    name: the argument's name, for messages.

  Returns:
    A receiver rule.

  Raises:
    TypeError: if it is anything else; the message says what to call.
  """
  if isinstance(mix, str):
    raise TypeError(
      f'{name} must be a function; got the text {mix!r}: call '
      f'decentralized.receiver_rule({mix!r}, num_byzantine=f).'
    )
  if mix is receiver_rule:
    raise TypeError(
      f'{name}=receiver_rule makes a rule: call it with a name, one of '
      f'{", ".join(RECEIVER_RULES)}.'
    )
  if callable(mix) and not isinstance(mix, type):
    wanted = [
      p
      for p in inspect.signature(mix).parameters.values()
      if p.kind <= p.POSITIONAL_OR_KEYWORD and p.default is p.empty
    ]
    if len(wanted) == 3:
      return mix
  return functools.partial(_by_rows, checks.rule(mix, name=name))


def _by_weights(kernel, models, sent, received):
  everyone = trees.concatenate(models, sent)
  view = view_lib.view(everyone)
  h, n = received.shape[0], view.size

  def one(own, held):
    mask = jnp.zeros(n, bool).at[held].set(True)
    return kernel(dataclasses.replace(view, present=mask), own)

  weights = jax.vmap(one)(jnp.arange(h), received)
  return view.combine(weights)


def _by_rows(rule, models, sent, received):
  everyone = trees.concatenate(models, sent)
  n = checks.num_clients(everyone)
  if received.shape[1] == n:  # Everyone holds the same set.
    out = rule(everyone)
    repeat = lambda x: jnp.broadcast_to(x[None], (received.shape[0], *x.shape))
    return jax.tree.map(repeat, out)
  return jax.lax.map(
    lambda held: rule(trees.take_rows(everyone, held)), received
  )


def _self_centred(view, own, radius, num_iters):
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
