# SPDX-License-Identifier: Apache-2.0
"""Teams of frozen classifiers: the numeric twin of a workflow of agents.

A layer is a set of linear classifiers, its team is who of them counts and how
their answers are joined. The answer of a layer is seen by the agents of the
next, as one more input. All is a pure function of arrays, so that edits are
tried by `vmap`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.language.teams import _aggregations, _control


class Agents(NamedTuple):
  """Frozen linear classifiers of one layer.

  Attributes:
    weights: f[C, D, K], of D inputs: the features, and in later layers K more,
      the answer of the layer before.
    bias: f[C, K].
  """

  weights: chex.Array
  bias: chex.Array


class Team(NamedTuple):
  """Who counts in each of L layers; C is that of the largest.

  Attributes:
    mask: bool[L, C].
    weights: f[L, C], at least 0.
    aggregation: i32[L], a place in the aggregations.
  """

  mask: chex.Array
  weights: chex.Array
  aggregation: chex.Array


Layers = Sequence[Agents]


def everybody(layers: Layers, aggregation: int = 0) -> Team:
  """The team of all agents with weights of one.

  Args:
    layers: agents by layer.
    aggregation: of every layer, a place in the aggregations.

  Returns:
    The team.

  Raises:
    ValueError: if there is no layer, or one without agents; it is named.
  """
  exists = present(layers)
  return Team(
    exists,
    jnp.asarray(exists, jnp.float32),
    jnp.full(len(layers), aggregation, jnp.int32),
  )


def present(layers: Layers) -> chex.Array:
  """Which places of a team hold an agent, bool[L, C]."""
  if not layers:
    raise ValueError('layers is empty: need at least one layer of agents.')
  counts = [jnp.shape(layer.bias)[-2] for layer in layers]
  for number, count in enumerate(counts):
    if not count:
      raise ValueError(
        f'layers[{number}] has an empty pool: need at least one agent.'
      )
  return jnp.arange(max(counts))[None, :] < jnp.array(counts)[:, None]


def probabilities(agents: Agents, inputs: chex.Array) -> chex.Array:
  """What agents say, f[C, B, K], of inputs f[B, D]."""
  logits = jnp.einsum(
    'bd,cdk->cbk', inputs, agents.weights, precision='highest'
  )
  return jax.nn.softmax(logits + agents.bias[:, None, :], axis=-1)


def answers(
  layers: Layers,
  team: Team,
  inputs: chex.Array,
  *,
  aggregations: Sequence[str] = _aggregations.DEFAULT,
  labels: chex.Array | None = None,
  told: int | None = None,
) -> chex.Array:
  """What the last layer answers.

  Args:
    layers: agents by layer.
    team: who counts.
    inputs: f[B, F].
    aggregations: parts of `AGGREGATIONS` (static).
    labels: i[B], the truth, for `told`.
    told: layer whose answer is replaced by the truth (static); None for none.

  Returns:
    i32[B], classes.

  Example:
    >>> agents = Agents(jnp.eye(2)[None], jnp.zeros((1, 2)))
    >>> answers([agents], everybody([agents]), jnp.eye(2)[::-1])
    Array([1, 0], dtype=int32)
  """
  seen, found = inputs, None
  for number, agents in enumerate(layers):
    count, num_classes = agents.bias.shape
    scores = _aggregations.aggregate(
      probabilities(agents, seen),
      team.mask[number, :count],
      team.weights[number, :count],
      team.aggregation[number],
      aggregations=aggregations,
    )
    found = jnp.argmax(scores, axis=-1).astype(jnp.int32)
    if told == number:
      found = jnp.asarray(labels, jnp.int32)
    one_hot = jax.nn.one_hot(found, num_classes, dtype=inputs.dtype)
    seen = jnp.concatenate([inputs, one_hot], axis=-1)
  assert found is not None
  return found


def team_loss(
  layers: Layers,
  team: Team,
  inputs: chex.Array,
  labels: chex.Array,
  *,
  aggregations: Sequence[str] = _aggregations.DEFAULT,
  told: int | None = None,
) -> chex.Array:
  """Share of wrong answers, f[]; arguments as of `answers`."""
  found = answers(
    layers,
    team,
    inputs,
    aggregations=aggregations,
    labels=labels,
    told=told,
  )
  return jnp.mean((found != labels).astype(jnp.float32))


def layer_credit(
  layers: Layers,
  team: Team,
  inputs: chex.Array,
  labels: chex.Array,
  *,
  aggregations: Sequence[str] = _aggregations.DEFAULT,
) -> chex.Array:
  """How much of the loss each layer is to blame for: the global gradient.

  Args:
    layers: agents by layer.
    team: who counts.
    inputs: f[B, F].
    labels: i[B].
    aggregations: parts of `AGGREGATIONS` (static).

  Returns:
    f[L], the loss less that with the layer's answer replaced by the truth; for
    the last layer the loss itself.
  """
  loss = lambda told: team_loss(
    layers, team, inputs, labels, aggregations=aggregations, told=told
  )
  return loss(None) - jnp.stack([loss(k) for k in range(len(layers))])


def apply_edit(team: Team, edit: chex.Numeric, num_aggregations: int) -> Team:
  """Makes one edit.

  Args:
    team: before.
    edit: i[], in [0, L (C + A)): layer by layer, toggling one of C agents, then
      one of A aggregations.
    num_aggregations: A (static).

  Returns:
    The team after it.

  Example:
    >>> team = Team(jnp.ones((1, 2), bool), jnp.ones((1, 2)), jnp.zeros(1, int))
    >>> apply_edit(team, 1, 3).mask, apply_edit(team, 4, 3).aggregation
    (Array([[ True, False]], dtype=bool), Array([2], dtype=int32))
  """
  count, size = team.mask.shape
  layer, place = (
    edit // (size + num_aggregations),
    edit % (size + num_aggregations),
  )
  here = jnp.arange(count) == layer
  toggled = here[:, None] & (jnp.arange(size) == place)[None, :]
  return Team(
    team.mask ^ toggled,
    team.weights,
    jnp.where(here & (place >= size), place - size, team.aggregation).astype(
      jnp.int32
    ),
  )


def is_possible(team: Team, exists: chex.Array, num_aggregations: int):
  """Which edits change something and leave nobody out, bool[L, C + A].

  Args:
    team: before.
    exists: bool[L, C], see `present`.
    num_aggregations: A (static).

  Returns:
    False for places without an agent, for the last agent of a team, and for the
    aggregation that is there.
  """
  last = team.mask & (team.mask.sum(axis=-1, keepdims=True) == 1)
  new = jnp.arange(num_aggregations)[None, :] != team.aggregation[:, None]
  return jnp.concatenate([exists & ~last, new], axis=-1)


def edit_scores(
  layers: Layers,
  team: Team,
  inputs: chex.Array,
  labels: chex.Array,
  *,
  aggregations: Sequence[str] = _aggregations.DEFAULT,
) -> chex.Array:
  """What every edit would take from the loss: the local gradients.

  Args:
    layers: agents by layer.
    team: before.
    inputs: f[B, F].
    labels: i[B].
    aggregations: A parts of `AGGREGATIONS` (static).

  Returns:
    f[L, C + A]: for each agent the loss less that with it toggled, for each
    aggregation the loss less that with it instead.

  Cost: L (C + A) evaluations, in one program.
  """
  num = len(aggregations)
  count, size = team.mask.shape
  loss = lambda t: team_loss(
    layers, t, inputs, labels, aggregations=aggregations
  )
  tried = jax.vmap(lambda e: loss(apply_edit(team, e, num)))(
    jnp.arange(count * (size + num))
  )
  return loss(team) - tried.reshape(count, size + num)


def leave_one_out(
  layers: Layers,
  team: Team,
  inputs: chex.Array,
  labels: chex.Array,
  *,
  aggregations: Sequence[str] = _aggregations.DEFAULT,
) -> chex.Array:
  """What leaving each agent out, or taking it in, would take from the loss.

  Args:
    layers: agents by layer.
    team: before.
    inputs: f[B, F].
    labels: i[B].
    aggregations: parts of `AGGREGATIONS` (static).

  Returns:
    f[L, C], the loss less that with the agent toggled.

  Example:
    >>> x, y = jnp.eye(4), jnp.zeros(4, int)
    >>> says = jnp.array([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]])
    >>> agents = Agents(9 * jax.nn.one_hot(says, 2), jnp.zeros((3, 2)))
    >>> leave_one_out([agents], everybody([agents]), x, y)
    Array([[0. , 0.5, 0.5]], dtype=float32)
  """
  found = edit_scores(layers, team, inputs, labels, aggregations=aggregations)
  return found[:, : team.mask.shape[1]]


def gradients(
  layers: Layers,
  team: Team,
  inputs: chex.Array,
  labels: chex.Array,
  *,
  beta: float,
  aggregations: Sequence[str] = _aggregations.DEFAULT,
) -> chex.Array:
  """Global and local gradients together, f[L, C + A].

  Args:
    layers: agents by layer.
    team: before.
    inputs: f[B, F].
    labels: i[B].
    beta: β, the share of the global one (static).
    aggregations: parts of `AGGREGATIONS` (static).

  Returns:
    beta `layer_credit` + (1 - beta) `edit_scores`.
  """
  given = (layers, team, inputs, labels)
  credit = layer_credit(*given, aggregations=aggregations)
  local = edit_scores(*given, aggregations=aggregations)
  return _control.combined(credit[:, None], local, beta)


def propose_edit(
  scores: chex.Array,
  possible: chex.Array,
  *,
  key: chex.PRNGKey | None = None,
  temperature: float = 0.0,
) -> tuple[chex.Array, chex.Array]:
  """Picks the edit that promises most.

  Args:
    scores: f[...], any shape, of edits.
    possible: bool of the same shape.
    key: consumed if there is a temperature.
    temperature: of a draw by exp(score / temperature); 0 takes the best, of
      equal ones the first (static).

  Returns:
    The edit, i32[], and its score, minus infinity if none is possible.

  Raises:
    ValueError: if there is a temperature but no key.

  Example:
    >>> edit, score = propose_edit(jnp.array([0.1, 0.3]), jnp.ones(2, bool))
    >>> int(edit), round(float(score), 2)
    (1, 0.3)
  """
  checks.number(temperature, name='temperature', low=0.0)
  flat = jnp.where(possible, scores, -jnp.inf).reshape(-1)
  if temperature:
    if key is None:
      raise ValueError(f'temperature={temperature} needs a key.')
    drawn = jax.random.categorical(key, flat / temperature)
    edit = jnp.where(possible.any(), drawn, 0)
  else:
    edit = jnp.argmax(flat)
  return edit.astype(jnp.int32), flat[edit]
