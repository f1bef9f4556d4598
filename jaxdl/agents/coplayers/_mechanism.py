# SPDX-License-Identifier: Apache-2.0
"""From inference over extortion to cooperation, step by step."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents.coplayers import _a2c, _arena, _play
from jaxdl.core import checks, types


class MechanismState(NamedTuple):
  """Of the three steps of the mechanism.

  Attributes:
    icl: `A2cState` of one learner, who learns among tabular agents and is then
      frozen.
    extorters: `A2cState` of two, who learn against it and then each other.
    updates: i32[], updates that are done.
  """

  icl: _a2c.A2cState
  extorters: _a2c.A2cState
  updates: chex.Array


def mechanism(
  arena: _arena.Arena,
  *,
  updates: tuple[int, int] = (50_000, 100_000),
  icl: str = 'learned',
  hidden: int = 128,
  embed: int = 32,
  batch_sizes: tuple[int, int, int] | None = None,
  learning_rates: tuple[float, float, float] | None = None,
  reward_scales: tuple[float, float, float] | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> types.Algorithm:
  """Takes the paper's mechanism apart: one step after the other, as one run.

  Step 1: a learner among tabular agents comes to infer and answer them. Step 2:
  it is frozen, and two fresh learners are trained against it, each for itself,
  and extort it. Step 3: the two meet each other. Settings are rows step1, step2
  and step3 of `SETTINGS`; optimizers of the two start anew in step 3.

  Args:
    arena: where they meet.
    updates: after how many updates step 1 and step 2 end, in all; the second is
      not below the first.
    icl: 'learned', or an entry of `POLICIES` that takes the place of the frozen
      learner; step 1 is then idle and may be empty.
    hidden: width of the GRUs.
    embed: width of embeddings.
    batch_sizes: games of an update in each step; None for those of the paper.
    learning_rates: likewise.
    reward_scales: likewise.
    mesh: devices over which games are spread, see `meet`.

  Returns:
    The algorithm; `params` of a state are `Players`, two of them: the learner
    twice in step 1, then the extorters.

  Raises:
    ValueError: if a number is out of range or a spec is wrong.

  Cost: as `a2c`. Under `vmap` over states all three steps are taken and two are
    thrown away; a problem with `one_by_one=True` runs seeds in turn instead.

  Source: Weis et al. 2026 (https://arxiv.org/abs/2602.16301), analysis of the
    mechanism.
  """
  if len(updates) != 2:
    raise ValueError(f'updates must be two numbers; got {len(updates)}.')
  for value in updates:
    checks.integer(value, name='updates', low=0)
  if updates[1] < updates[0]:
    raise ValueError(
      f'updates must not fall: step 2 ends after step 1; got {updates}.'
    )
  changes = {
    'batch_size': batch_sizes,
    'learning_rate': learning_rates,
    'reward_scale': reward_scales,
  }
  for name, values in changes.items():
    if values is not None and len(values) != 3:
      raise ValueError(
        f'{name}s must be three numbers, of steps 1 to 3; got {len(values)}.'
      )
  settings = [
    _a2c.make_setting(
      f'step{i + 1}',
      **{k: None if v is None else v[i] for k, v in changes.items()},
    )
    for i in range(3)
  ]
  learned = icl == 'learned'
  frozen = None if learned else _play.make_policy(icl, arena.game)
  agent = _a2c.recurrent_agent(hidden=hidden, embed=embed)
  first = _a2c.make_trainer(agent, settings[0], 1)
  second, third = (_a2c.make_trainer(agent, s, 2) for s in settings[1:])

  def policy(params, label):
    return _a2c.agent_policy(agent, params, label)

  def init(key):
    icl_key, own_key = jax.random.split(key)
    return MechanismState(
      first.init(icl_key), second.init(own_key), jnp.int32(0)
    )

  def met_by(state, share, setting, key, opponent=None):
    return _arena.meet(
      _arena.Players(state.params, policy),
      arena,
      _arena.Pool(share),
      batch_size=setting.batch_size,
      key=key,
      opponent=opponent,
      mesh=mesh,
    )

  def names(metrics):
    """The same metrics in every step."""
    nothing = jnp.full((), jnp.nan)
    known = ('reward', 'cooperation', 'other_reward', 'other_cooperation')
    out = {k: v for k, v in metrics.items() if k.startswith(('loss', 'ent'))}
    for name in known:
      for kind in ('pool', 'learners'):
        if not (name.startswith('other') and kind == 'learners'):
          key = f'{name}_{kind}'
          out[key] = metrics.get(key, nothing)
    return out

  def step1(state, key):
    met = met_by(state.icl, 0.0, settings[0], key)
    found, metrics = first.update(state.icl, met)
    return state._replace(icl=found), names(metrics)

  def step2(state, key):
    other = frozen
    if other is None:
      alone = jax.tree.map(lambda x: x[0], state.icl.params)
      other = policy(alone, None)
    met = met_by(state.extorters, 0.0, settings[1], key, other)
    found, metrics = second.update(state.extorters, met)
    return state._replace(extorters=found), names(metrics)

  def step3(state, key):
    fresh = state.updates == updates[1]
    anew = jax.tree.map(jnp.zeros_like, state.extorters.memory)
    memory = jax.tree.map(
      lambda new, old: jnp.where(fresh, new, old),
      anew,
      state.extorters.memory,
    )
    own = state.extorters._replace(memory=memory)
    met = met_by(own, 1.0, settings[2], key)
    found, metrics = third.update(own, met)
    return state._replace(extorters=found), names(metrics)

  def stage_of(done):
    return (done >= updates[0]).astype(jnp.int32) + (done >= updates[1])

  def step(state, cohort, *, key):
    del cohort
    stage = stage_of(state.updates)
    state, metrics = jax.lax.switch(stage, (step1, step2, step3), state, key)
    metrics['stage'] = 1.0 + stage
    return state._replace(updates=state.updates + 1), metrics

  def params(state):
    twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), state.icl.params)
    # Whoever learned last.
    begun = stage_of(jnp.maximum(state.updates - 1, 0)) > 0
    return _arena.Players(
      jax.tree.map(
        lambda a, b: jnp.where(begun, a, b), state.extorters.params, twice
      ),
      policy,
    )

  return checks.algorithm(init, step, params, state=MechanismState)
