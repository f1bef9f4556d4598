# SPDX-License-Identifier: Apache-2.0
"""The search for a team of classifiers, proposal by proposal.

The control is that of workflows of language models (`_control`); the critic is
arithmetic. A step is one proposal, jittable; seeds and methods run side by side
by `vmap`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys
from jaxdl.language.teams import _aggregations, _control, _methods, _numeric

# Why a proposal left everything as it was.
OUTCOMES = ('accepted', 'worse', 'breaks', 'stopped')


class Samples(NamedTuple):
  """Labeled samples.

  Attributes:
    inputs: f[B, F].
    labels: i32[B].
  """

  inputs: chex.Array
  labels: chex.Array


class SearchState(NamedTuple):
  """What a search knows.

  Attributes:
    team: that proposals change.
    loss: f[], of the team on the validation samples.
    previous: f[L, C + A], the gradient before; not a number before the first.
    refused: memory of refused edits.
    pool: teams, leaves [P, ...].
    pool_losses: f[P], infinity where there is none.
    pool_ages: i32[P].
    proposals: i32[].
    accepted: i32[].
    evaluations: i32[], of teams on a set of samples.
    stopped: bool[], nothing is left to propose.
  """

  team: _numeric.Team
  loss: chex.Array
  previous: chex.Array
  refused: _control.Refused
  pool: _numeric.Team
  pool_losses: chex.Array
  pool_ages: chex.Array
  proposals: chex.Array
  accepted: chex.Array
  evaluations: chex.Array
  stopped: chex.Array


class Log(NamedTuple):
  """What became of a proposal.

  Attributes:
    edit: i32[], see `apply_edit`; -1 if there was none.
    score: f[], its smoothed gradient.
    old: f[], validation loss before.
    new: f[], of the candidate.
    outcome: i32[], a place in `OUTCOMES`.
  """

  edit: chex.Array
  score: chex.Array
  old: chex.Array
  new: chex.Array
  outcome: chex.Array


def _state_key(team):
  """A row of integers that names a team."""
  bits = team.mask.astype(jnp.int32).reshape(-1)
  return jnp.concatenate([bits, team.aggregation.astype(jnp.int32)])


def start_search(
  layers: _numeric.Layers,
  gradient: Samples,
  validation: Samples,
  *,
  method: str = 'ann',
  aggregations: Sequence[str] = _aggregations.DEFAULT,
  capacity: int = 64,
) -> SearchState:
  """Starts a search.

  Args:
    layers: agents by layer.
    gradient: samples that gradients come from.
    validation: samples that decide what is accepted.
    method: a part of `METHODS`.
    aggregations: parts of `AGGREGATIONS`; the first is that of the start unless
      the method names another.
    capacity: refused edits that are remembered.

  Returns:
    The state. `single` is the agent that is best on all these samples.

  Raises:
    ValueError: if a name is unknown, a layer is empty, or samples do not fit.
  """
  made = _methods.method(method)
  check_aggregations(made, aggregations)
  exists = _numeric.present(layers)
  check_samples(layers, gradient, name='gradient')
  check_samples(layers, validation, name='validation')
  first = 0
  if made.team != 'majority' and made.aggregation is not None:
    first = tuple(aggregations).index(made.aggregation)
  if made.team == 'majority':
    first = tuple(aggregations).index('majority')
  team = _numeric.everybody(layers, first)
  evaluations = 1
  if made.team == 'single':
    team = _best_single(layers, team, (gradient, validation), aggregations)
    evaluations += 2 * int(exists.shape[0] * exists.shape[1])
  loss = _numeric.team_loss(
    layers, team, *validation, aggregations=aggregations
  )
  count, size = exists.shape
  pool = jax.tree.map(
    lambda x: jnp.zeros((made.pool_size, *x.shape), x.dtype).at[0].set(x), team
  )
  empty = jnp.full(made.pool_size, jnp.inf).at[0].set(loss)
  memory = _control.nothing_refused(capacity, 1 + count * size + count)
  zero = jnp.zeros((), jnp.int32)
  return SearchState(
    team,
    loss,
    jnp.full((count, size + len(aggregations)), jnp.nan),
    jax.tree.map(jnp.asarray, memory),
    pool,
    empty,
    jnp.zeros(made.pool_size, jnp.int32),
    zero,
    zero,
    zero + evaluations,
    jnp.asarray(made.search == 'none'),
  )


def check_samples(
  layers: _numeric.Layers, samples: Samples, *, name: str
) -> None:
  """Checks that there are samples, and that agents can read them.

  Args:
    layers: agents by layer.
    samples: to be checked.
    name: what they are called in messages.

  Raises:
    ValueError: if not.
  """
  inputs, labels = map(jnp.shape, samples)
  size = jnp.shape(layers[0].weights)[-2]
  if len(inputs) != 2 or not inputs[0] or inputs[1] != size:
    raise ValueError(
      f'{name}.inputs must be [B, {size}] with B > 0, as the agents of the '
      f'first layer want; got {inputs}.'
    )
  if labels != inputs[:1]:
    raise ValueError(
      f'{name}.labels must be [{inputs[0]}], one for each sample; got {labels}.'
    )


def check_aggregations(
  made: _methods.Method, aggregations: Sequence[str]
) -> None:
  """Checks aggregations, and that a method's own is one of them.

  Args:
    made: the method.
    aggregations: parts of `AGGREGATIONS`.

  Raises:
    ValueError: if not.
  """
  if not aggregations:
    raise ValueError('aggregations is empty: name at least one.')
  for spec in aggregations:
    _aggregations.AGGREGATIONS.check(spec)
  wanted = 'majority' if made.team == 'majority' else made.aggregation
  if wanted is not None and wanted not in aggregations:
    raise ValueError(
      f'aggregation={wanted!r} must be one of the aggregations, '
      f'{", ".join(aggregations)}.'
    )


def _best_single(layers, team, samples, aggregations):
  """Layer by layer the agent that alone does best, others as they are."""
  for number, agents in enumerate(layers):
    places = jnp.arange(team.mask.shape[1])

    def alone(c, team=team, number=number, places=places):
      mask = team.mask.at[number].set(places == c)
      return team._replace(mask=mask)

    def loss(c, alone=alone):
      return sum(
        _numeric.team_loss(layers, alone(c), *s, aggregations=aggregations)
        for s in samples
      )

    losses = jax.vmap(loss)(jnp.arange(agents.bias.shape[0]))
    team = alone(jnp.argmin(losses))
  return team


def search_step(
  state: SearchState,
  layers: _numeric.Layers,
  gradient: Samples,
  validation: Samples,
  *,
  key: chex.PRNGKey,
  method: str = 'ann',
  aggregations: Sequence[str] = _aggregations.DEFAULT,
) -> tuple[SearchState, Log]:
  """Makes one proposal and takes it or leaves it.

  Args:
    state: so far.
    layers: agents by layer.
    gradient: samples that gradients come from.
    validation: samples that decide what is accepted.
    key: consumed by random edits, and by a temperature.
    method: a part of `METHODS` (static).
    aggregations: parts of `AGGREGATIONS` (static).

  Returns:
    The state and what became of the proposal. Where nothing promises anything
    the search stops and the state stays.

  Cost: L (C + A) + L + 2 evaluations of a gradient's step, two of a random
    one's.

  Source: Ma et al. 2025 (https://arxiv.org/abs/2506.09046), with a critic that
    counts.
  """
  keys.check_key(key)
  made = _methods.method(method)
  num = len(aggregations)
  loss_of = lambda team, samples: _numeric.team_loss(
    layers, team, *samples, aggregations=aggregations
  )
  # What may be tried: it changes something and was not refused here.
  exists = _numeric.present(layers)
  possible = _numeric.is_possible(state.team, exists, num)
  here = _state_key(state.team)
  edits = jnp.arange(possible.size)
  names = jnp.concatenate(
    [edits[:, None], jnp.tile(here, (possible.size, 1))], axis=1
  )
  known = _control.is_refused(state.refused, names)
  open_ = possible & ~known.reshape(possible.shape)
  # The edit that promises most, or any.
  if made.search == 'gradient':
    raw = _numeric.gradients(
      layers,
      state.team,
      *gradient,
      beta=made.beta,
      aggregations=aggregations,
    )
    before = jnp.where(jnp.isnan(state.previous), raw, state.previous)
    scores = _control.momentum(raw, before, made.alpha)
    edit, score = _numeric.propose_edit(
      scores, open_, key=key, temperature=made.temperature
    )
    cost = possible.size + len(layers) + 2
    go = (score > 0) & open_.any()
  else:
    raw = state.previous
    drawn = jax.random.uniform(key, possible.shape)
    edit, score = _numeric.propose_edit(drawn, open_)
    cost = 1
    go = open_.any()
  go &= ~state.stopped
  # Validation: the loss, and samples that were solved.
  candidate = _numeric.apply_edit(state.team, edit, num)
  new = loss_of(candidate, validation)
  fine = _control.accept(
    new,
    state.loss,
    made.accept,
    new_cost=candidate.mask.sum(),
    old_cost=state.team.mask.sum(),
  )
  broken = jnp.asarray(False)
  if made.replay:
    replayed = Samples(*(x[: made.replay] for x in validation))
    right = lambda team: (
      _numeric.answers(layers, team, replayed.inputs, aggregations=aggregations)
      == replayed.labels
    )
    broken = _control.breaks(right(state.team), right(candidate))
  taken = go & (fine & ~broken if made.validate else True)
  # What is kept.
  pick = lambda yes, no: jax.tree.map(
    lambda a, b: jnp.where(taken, a, b), yes, no
  )
  place = _control.slot(state.pool_losses, state.pool_ages)
  accepted = state.accepted + taken
  at = jnp.arange(made.pool_size) == place
  kept = SearchState(
    pick(candidate, state.team),
    jnp.where(taken, new, state.loss),
    jnp.where(state.stopped, state.previous, raw),
    _control.refuse(state.refused, names[edit], go & ~taken & made.remember),
    jax.tree.map(
      lambda x, y: pick(x.at[place].set(y), x), state.pool, candidate
    ),
    jnp.where(taken & at, new, state.pool_losses),
    jnp.where(taken & at, accepted, state.pool_ages),
    state.proposals + go,
    accepted,
    state.evaluations + jnp.where(state.stopped, 0, cost),
    state.stopped | ~go,
  )
  outcome = jnp.where(
    ~go, 3, jnp.where(taken, 0, jnp.where(fine & broken, 2, 1))
  )
  return kept, Log(
    jnp.where(go, edit, -1),
    score,
    state.loss,
    new,
    outcome.astype(jnp.int32),
  )


def search(
  layers: _numeric.Layers,
  gradient: Samples,
  validation: Samples,
  *,
  key: chex.PRNGKey,
  num_proposals: int,
  method: str = 'ann',
  aggregations: Sequence[str] = _aggregations.DEFAULT,
) -> tuple[SearchState, Any]:
  """Runs a search to its end in one program.

  Args:
    layers: agents by layer.
    gradient: samples that gradients come from.
    validation: samples that decide what is accepted; others than those, or what
      is learned is the samples.
    key: consumed.
    num_proposals: at most (static).
    method: a part of `METHODS` (static).
    aggregations: parts of `AGGREGATIONS` (static).

  Returns:
    The last state, and `Log` with leaves [num_proposals].

  Raises:
    TypeError: if the key is a legacy one.
    ValueError: if a name is unknown, a layer is empty, or samples do not fit.

  Example:
    >>> says = jnp.array([[0, 1], [1, 0], [1, 0]])  # One agent knows.
    >>> agents = _numeric.Agents(
    ...   9 * jax.nn.one_hot(says, 2), jnp.zeros((3, 2))
    ... )
    >>> samples = Samples(jnp.eye(2), jnp.array([0, 1]))
    >>> state, log = search(
    ...   [agents], samples, samples, key=jax.random.key(0), num_proposals=4
    ... )
    >>> state.team.mask, float(state.loss)
    (Array([[ True, False, False]], dtype=bool), 0.0)
  """
  keys.check_key(key)
  checks.integer(num_proposals, name='num_proposals', low=0)
  given = {'method': method, 'aggregations': tuple(aggregations)}
  state = start_search(
    layers,
    gradient,
    validation,
    capacity=max(num_proposals, 1),
    **given,
  )
  body = lambda s, k: search_step(
    s, layers, gradient, validation, key=k, **given
  )
  return jax.lax.scan(body, state, jax.random.split(key, num_proposals))
