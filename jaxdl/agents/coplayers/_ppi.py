# SPDX-License-Identifier: Apache-2.0
"""Learners that predict games and improve on their own part in them."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents.coplayers import _arena, _planning, _play, _worlds
from jaxdl.core import checks, types


class PpiState(NamedTuple):
  """Of A learners.

  Attributes:
    params: of the models, leaves [A, ...].
    data: `GameData` of leaves [A, M, ...]; those that are not there yet are
      zero.
    phase: i32[], phases that are done.
  """

  params: Any
  data: _worlds.GameData
  phase: chex.Array


def ppi(
  arena: _arena.Arena,
  *,
  pool: str = 'mixed',
  world_model: str = 'gru',
  beta: float = 0.01,
  horizon: int = 15,
  num_rollouts: int = 16,
  phases: int = 30,
  trajectories_per_phase: int = 20_000,
  pretrain_trajectories: int = 200_000,
  num_learners: int = 2,
  opponent_id: bool = False,
  mesh: jax.sharding.Mesh | None = None,
) -> types.Algorithm:
  """Makes learners by predictive policy improvement; a step is a phase.

  A phase trains a new model on all games so far, deploys the policy that is
  improved by that model's own rollouts, and adds the games that it plays. At
  first there are games between two random tabular agents, or of random actions
  where learners meet nobody else. Every learner has its own model and data.

  Args:
    arena: where learners meet.
    pool: an entry of `POOLS`, whom they meet.
    world_model: an entry of `WORLD_MODELS`: 'gru', or 'exact' for counts.
    beta: >= 0; the paper has 0.01 everywhere, with many phases.
    horizon: rounds of a rollout, >= 1.
    num_rollouts: per action, >= 1; not stated in the paper.
    phases: most phases that will be run, >= 1; memory is taken for all of them,
      and later games replace the last ones.
    trajectories_per_phase: games that a learner adds, >= 1.
    pretrain_trajectories: games at first, >= 1.
    num_learners: A, one or even; one meets itself.
    opponent_id: whether models are told who a tabular co-player is.
    mesh: devices over which games are spread, see `meet`.

  Returns:
    The algorithm; `params` of a state are `Players` whose policy is improved.

  Raises:
    ValueError: if a number is out of range, a spec is wrong, or there would be
      no data.

  Cost: a game takes 2 T num_rollouts (horizon + 1) rounds of the model; data
    take 2 T bytes a game.

  Source: Weis et al. 2026 (https://arxiv.org/abs/2602.16301), PPI and its
    appendix. The improved policy is deployed, as text and inference section
    have it; a line of the algorithm box says the model's own.
  """
  checks.number(beta, name='beta', low=0.0, finite=False)
  checks.integer(horizon, name='horizon', low=1)
  checks.integer(num_rollouts, name='num_rollouts', low=1)
  checks.integer(phases, name='phases', low=1)
  added = checks.integer(
    trajectories_per_phase, name='trajectories_per_phase', low=1
  )
  first = checks.integer(
    pretrain_trajectories, name='pretrain_trajectories', low=1
  )
  count = _arena.check_learners(num_learners)
  whom = _arena.make_pool(
    pool, opponent_id=opponent_id, batch_size=added, game=arena.game
  )
  model = _worlds.WORLD_MODELS.make(
    world_model,
    game=arena.game,
    label_size=_arena.LABEL_SIZE if opponent_id else 0,
  )
  most = first + phases * added
  label_size = _arena.LABEL_SIZE if opponent_id else 0

  def policy(params, label):
    return _planning.planning_policy(
      model,
      params,
      arena.game,
      beta=beta,
      horizon=horizon,
      num_rollouts=num_rollouts,
      label=label,
    )

  def pack(games, labels):
    return _worlds.GameData(
      games.observations.astype(jnp.uint8),
      games.actions.astype(jnp.uint8),
      labels[..., :label_size],
    )

  def pretraining(key):
    theta_key, play_key = jax.random.split(key)
    both = arena.prior.sample((count, first, 2), key=theta_key)
    if whom.learners == 1:
      both = jnp.full_like(both, 0.5)

    def one(pair, game_key):
      own, _ = _play.play(
        arena.game,
        _play.memory_one_policy(pair[0]),
        _play.memory_one_policy(pair[1]),
        num_rounds=arena.num_rounds,
        key=game_key,
      )
      return own

    split = jax.random.split(play_key, (count, first))
    games = jax.vmap(jax.vmap(one))(both, split)
    labels = _arena.labels_of(both[:, :, 1])
    labels = jnp.zeros_like(labels) if whom.learners == 1 else labels
    return pack(games, labels)

  def init(key):
    data_key, model_key = jax.random.split(key)
    start = pretraining(data_key)
    empty = lambda x: jnp.concatenate(
      [x, jnp.zeros((count, most - first, *x.shape[2:]), x.dtype)], axis=1
    )
    params = jax.vmap(model.init)(jax.random.split(model_key, count))
    return PpiState(params, jax.tree.map(empty, start), jnp.int32(0))

  def step(state, cohort, *, key):
    del cohort
    fit_key, meet_key = jax.random.split(key)
    size = jnp.minimum(first + state.phase * added, most - added)
    params, losses = jax.vmap(
      lambda data, own_key: model.fit(data, size, key=own_key)
    )(state.data, jax.random.split(fit_key, count))
    met = _arena.meet(
      _arena.Players(params, policy),
      arena,
      whom,
      batch_size=added,
      key=meet_key,
      mesh=mesh,
    )
    fresh = pack(met.own, met.labels)
    data = jax.tree.map(
      lambda old, new: jax.lax.dynamic_update_slice_in_dim(
        old, new, size, axis=1
      ),
      state.data,
      fresh,
    )
    metrics = _arena.summary(met)
    metrics |= {f'loss_{k}': jnp.mean(v) for k, v in losses.items()}
    return PpiState(params, data, state.phase + 1), metrics

  def params(state):
    return _arena.Players(state.params, policy)

  return checks.algorithm(init, step, params, state=PpiState)


class FixedState(NamedTuple):
  """Of players who do not learn.

  Attributes:
    index: i32[2].
  """

  index: chex.Array


def fixed(arena: _arena.Arena, *, policy: str = 'bayes_icl') -> types.Algorithm:
  """Two players who never change, to compare with.

  Args:
    arena: where they are measured.
    policy: an entry of `POLICIES`.

  Returns:
    The algorithm; a step does nothing.

  Raises:
    ValueError: if the spec is wrong.
  """
  made = _play.make_policy(policy, arena.game)

  def same(params, label):
    del params, label
    return made

  return checks.algorithm(
    lambda key: FixedState(jnp.arange(2)),
    lambda state, cohort, *, key: (state, {}),
    lambda state: _arena.Players(state.index, same),
    state=FixedState,
  )
