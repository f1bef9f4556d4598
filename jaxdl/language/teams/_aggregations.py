# SPDX-License-Identifier: Apache-2.0
"""How a team of classifiers becomes one: votes, means and robust rules.

An aggregation is a function of the probabilities of C agents, f[C, B, K], of
who is in the team, bool[C], and of weights, f[C]. It gives scores, f[B, K], of
which the highest counts; of equal ones the lowest class.
"""

import functools
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp

from jaxdl import aggregators
from jaxdl.core import checks, registry

Aggregation = Callable[[chex.Array, chex.Array, chex.Array], chex.Array]

# What edits choose among, by default.
DEFAULT = ('majority', 'mean', 'log_mean')


def _votes(outputs: chex.Array) -> chex.Array:
  """Answers as vectors, of equal scores the lowest class."""
  return jax.nn.one_hot(
    jnp.argmax(outputs, axis=-1), outputs.shape[-1], dtype=outputs.dtype
  )


def majority() -> Aggregation:
  """Every agent has one vote."""
  return lambda outputs, mask, weights: jnp.einsum(
    'c,cbk->bk', mask.astype(outputs.dtype), _votes(outputs)
  )


def weighted() -> Aggregation:
  """Every agent has as many votes as its weight says."""
  return lambda outputs, mask, weights: jnp.einsum(
    'c,cbk->bk', mask * weights, _votes(outputs), precision='highest'
  )


def _mean(values, mask, weights):
  share = mask * weights
  share = share / jnp.maximum(share.sum(), 1e-12)
  return jnp.einsum('c,cbk->bk', share, values, precision='highest')


def mean() -> Aggregation:
  """Mean probability, by weight."""
  return _mean


def log_mean(floor: float = 1e-3) -> Aggregation:
  """Mean logarithm of probabilities, by weight.

  Args:
    floor: of a probability.

  Returns:
    The aggregation.
  """
  checks.number(floor, name='floor', low=0.0, open_low=True, high=1.0)
  return lambda outputs, mask, weights: _mean(
    jnp.log(jnp.maximum(outputs, floor)), mask, weights
  )


def median() -> Aggregation:
  """Median probability of every class."""

  def apply(outputs, mask, weights):
    del weights
    n = jnp.maximum(mask.sum(), 1)
    ranked = jnp.sort(jnp.where(mask[:, None, None], outputs, jnp.inf), axis=0)
    low, high = ranked[(n - 1) // 2], ranked[n // 2]
    return jnp.where(mask.any(), (low + high) / 2, 0.0)

  return apply


def max_confidence() -> Aggregation:
  """The agent decides whose highest probability is highest."""

  def apply(outputs, mask, weights):
    del weights
    sure = jnp.where(mask[:, None], outputs.max(axis=-1), -1.0)
    best = jnp.argmax(sure, axis=0)
    return jnp.take_along_axis(outputs, best[None, :, None], axis=0)[0]

  return apply


def rule(
  rule: str, *, votes: bool = True, per: str = 'batch', num_byzantine: int = 0
) -> Aggregation:
  """A robust rule of `jaxdl.aggregators`, for agents as for clients.

  Args:
    rule: text such as 'dnc' or 'nnm+mean', see `aggregators.as_rule`.
    votes: whether it sees answers, as vectors of one 1; probabilities if not.
    per: 'batch' for one vector per agent of all that it answers, so that who
      is wrong together is seen as such; 'item' for every item on its own.
    num_byzantine: agents that may collude, as far as the rule wants to know.

  Returns:
    The aggregation; weights of agents are not looked at.

  Raises:
    ValueError: if the rule is unknown, has a memory, or takes no mask, as teams
      that are edited must have.
  """
  checks.choice(per, ('batch', 'item'), name='per')
  made = aggregators.as_rule(rule, num_byzantine=num_byzantine)
  random = checks.takes(made, 'key') or '+' in rule

  def join(rows, mask):
    # Rules that draw do so in the same way in every team.
    more = {'key': jax.random.key(0)} if random else {}
    return made(rows, mask=mask, **more)

  def apply(outputs, mask, weights):
    del weights
    x = _votes(outputs) if votes else outputs
    if per == 'item':
      return jax.vmap(lambda own: join(own, mask), in_axes=1)(x)
    return join(x.reshape(x.shape[0], -1), mask).reshape(x.shape[1:])

  apply.rule, apply.votes, apply.random = made, votes, random
  return apply


# How a team becomes one, for specs such as 'log_mean(floor=0.01)'.
AGGREGATIONS = registry.Registry(
  'aggregation',
  {
    'majority': majority,
    'weighted': weighted,
    'mean': mean,
    'log_mean': log_mean,
    'median': median,
    'max_confidence': max_confidence,
    'rule': rule,
  },
  tried={},
)


@functools.lru_cache(maxsize=64)
def make_aggregation(spec: str) -> Aggregation:
  """Makes an aggregation of text, a part of `AGGREGATIONS`."""
  return AGGREGATIONS.make(spec)


def aggregate(
  outputs: chex.Array,
  mask: chex.Array,
  weights: chex.Array,
  aggregation: chex.Numeric = 0,
  *,
  aggregations: Sequence[str] = DEFAULT,
) -> chex.Array:
  """What a team says.

  Args:
    outputs: f[C, B, K], probabilities of its agents.
    mask: bool[C], who is in the team.
    weights: f[C], at least 0.
    aggregation: i[], which of `aggregations` (traced).
    aggregations: parts of `AGGREGATIONS` (static).

  Returns:
    Scores, f[B, K]; zeros for an empty team. The answer is the highest, of
    equal ones the lowest class.

  Raises:
    ValueError: if an aggregation is unknown or shapes do not fit.

  Example:
    >>> says = jnp.array([[[0.9, 0.1]], [[0.6, 0.4]], [[0.0, 1.0]]])
    >>> everybody = jnp.ones(3, bool)
    >>> aggregate(says, everybody, jnp.ones(3)).argmax(-1)
    Array([0], dtype=int32)
    >>> aggregate(says, everybody, jnp.array([1.0, 1.0, 3.0]), 1).argmax(-1)
    Array([1], dtype=int32)
  """
  if outputs.ndim != 3 or mask.shape != outputs.shape[:1]:
    raise ValueError(
      'outputs must be [C, B, K] and mask [C]; got '
      f'{outputs.shape} and {mask.shape}.'
    )
  if not aggregations:
    raise ValueError('aggregations is empty: name at least one.')
  made = tuple(_joined(spec) for spec in aggregations)
  if len(made) == 1:
    return made[0](outputs, mask, weights)
  return jax.lax.switch(aggregation, made, outputs, mask, weights)


@functools.lru_cache(maxsize=64)
def _joined(spec):
  """Scores of the type of the outputs; zeros for an empty team."""
  apply = make_aggregation(spec)

  def joined(outputs, mask, weights):
    # Who is not in the team says nothing, not even what is no number.
    outputs = jnp.where(mask[:, None, None], outputs, 0)
    weights = jnp.where(mask, weights, 0).astype(outputs.dtype)
    scores = apply(outputs, mask, weights).astype(outputs.dtype)
    return jnp.where(mask.any(), scores, 0)

  return joined


def credit(
  outputs: chex.Array,
  mask: chex.Array,
  spec: str,
) -> chex.Array:
  """How much a robust rule listens to each agent.

  Args:
    outputs: f[C, B, K], probabilities of agents.
    mask: bool[C], who is in the team.
    spec: a part of `AGGREGATIONS` called 'rule', over batches.

  Returns:
    f[C], see `aggregators.weights_of`.

  Raises:
    ValueError: if the aggregation is no rule.

  Example:
    >>> x = jax.nn.one_hot(jnp.array([[0, 1], [0, 1], [1, 0]]), 2)
    >>> credit(x, jnp.ones(3, bool), 'rule(caf, num_byzantine=1)').argmin()
    Array(2, dtype=int32)
  """
  made = make_aggregation(spec)
  if not hasattr(made, 'rule'):
    raise ValueError(f'aggregation={spec!r} must be rule(...) to give credit.')
  x = _votes(outputs) if made.votes else outputs
  return aggregators.weights_of(
    made.rule,
    x.reshape(x.shape[0], -1),
    mask=mask,
    key=jax.random.key(0) if made.random else None,
  )
