# SPDX-License-Identifier: Apache-2.0
"""Agents and their graph, trained in turns."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.agents import _environment, _ppo, _rollout
from jaxdl.agents.commformer import _graphs, _policy, _value_norm
from jaxdl.core import checks, registry, types
from jaxdl.local import make_optimizer

_EPS = 1e-5


class FormerState(NamedTuple):
  """A learner between two updates.

  Attributes:
    params: of the agents, see `Former`.
    opt_state: of the model's optimizer.
    edge_state: of that of edges.
    playing: its games.
    num_updates: i32[].
  """

  params: Any
  opt_state: Any
  edge_state: Any
  playing: _rollout.Playing
  num_updates: chex.Array


def huber(
  error: chex.Array, delta: chex.Numeric, *, above_only: bool = False
) -> chex.Array:
  """Returns the Huber loss of errors, elementwise.

  Args:
    error: f[...].
    delta: from where on it is linear.
    above_only: whether only positive errors have a linear branch, as in the
      release.

  Returns:
    f[...].

  Example:
    >>> huber(jnp.array([-3.0, 3.0]), 1.0, above_only=True).tolist()
    [4.5, 2.5]
  """
  if not above_only:
    return optax.losses.huber_loss(error, delta=delta)
  linear = delta * (jnp.abs(error) - 0.5 * delta)
  return jnp.where(error > delta, linear, 0.5 * error * error)


def phase_of(
  graph: _graphs.Graph,
  num_updates: chex.Array,
  *,
  total_updates: int | None = None,
  forever: bool = False,
) -> _policy.Phase:
  """Says where training stands.

  Args:
    graph: what is trained.
    num_updates: i32[], updates that are done.
    total_updates: of the run, for `post_stable`.
    forever: whether it warms up for ever.

  Returns:
    The phase.
  """
  # The update to come is the num_updates + 1st.
  never = jnp.zeros(jnp.shape(num_updates), bool)
  if not graph.is_learned:
    return _policy.Phase(never, never)
  stable = never
  if graph.post_stable and total_updates is not None:
    stable = num_updates >= int(graph.post_ratio * total_updates)
  warm = num_updates < graph.warmup
  return _policy.Phase(~never if forever else warm, stable)


def bilevel_ppo(
  env: _environment.Environment,
  made: _policy.Former,
  *,
  optimizer: optax.GradientTransformation | str = 'adam(0.0005, eps=0.00001)',
  num_envs: int = 20,
  num_steps: int = 200,
  num_epochs: int = 10,
  gamma: chex.Numeric = 0.99,
  gae_lambda: chex.Numeric = 0.95,
  clip: chex.Numeric = 0.05,
  entropy: chex.Numeric = 0.01,
  value_weight: chex.Numeric = 1.0,
  huber_delta: chex.Numeric = 10.0,
  max_grad_norm: chex.Numeric = 10.0,
  gate_cost: chex.Numeric = 0.0,
  bootstrap: bool = True,
  total_updates: int | None = None,
) -> types.Algorithm:
  """Trains agents on a graph by PPO, and the graph in turns with them.

  One step plays `num_steps` in each of E games and passes over all of them
  `num_epochs` times. Every fifth pass (`every` of the graph) steps on edges
  alone, the others on the model alone, by the same loss of the same games: one
  step of each stands for the inner and the outer problem of
  min_edges L(model*(edges), edges).

  Args:
    env: the game.
    made: who plays, see `former`.
    optimizer: of the model, an optax transformation or an entry of
      `local.OPTIMIZERS`; edges have Adam with their own rate.
    num_envs: E.
    num_steps: T, steps of a game between updates.
    num_epochs: passes over them.
    gamma: discount.
    gae_lambda: lambda of generalized advantages.
    clip: eps, for ratios of probabilities and for changes of values.
    entropy: weight of the entropy.
    value_weight: weight of the loss of values.
    huber_delta: error of values from which on the loss is linear.
    max_grad_norm: largest norm of the model's gradient; edges are not clipped.
    gate_cost: what a share of one of agents that listen costs.
    bootstrap: whether what is seen when time is up counts with its value.
    total_updates: of the run; `post_stable` needs it.

  Returns:
    The algorithm; its steps need no cohort. It reports what `agents.ppo` does,
    `step_edges` (k N, times the rate of gates), `step_links` (those of them
    that lead to others), `step_gate`, and f[N, N] `edges` and `graph`, the k
    largest of each row.

  Raises:
    ValueError: if a number is out of range, there are too few epochs for a
      graph to be trained, or the agents are those of another game.

  Example:
    >>> from jaxdl import agents
    >>> from jaxdl.agents import commformer
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> made = commformer.former(env, 'learned(num_edges=1)', dim=8)
    >>> learner = bilevel_ppo(env, made, num_envs=2, num_steps=4, num_epochs=5)
    >>> state = learner.init(jax.random.key(0))
    >>> state, found = jax.jit(learner.step)(
    ...   state, None, key=jax.random.key(1)
    ... )
    >>> float(found['step_edges']), found['graph'].shape
    (2.0, (2, 2))

  Source: Hu et al. 2024 (https://arxiv.org/abs/2405.08550), algorithm 1.
  """
  if not isinstance(made, _policy.Former):
    raise TypeError(
      'made must be a commformer.Former, as commformer.former makes; got '
      f'{checks.described(made)}.'
    )
  _ppo.check_loop(env, made.policy, num_envs=num_envs, num_steps=num_steps)
  _check_fits(env, made.shape)
  checks.integer(num_epochs, name='num_epochs', low=1)
  for name, value, high in (
    ('gamma', gamma, 1.0),
    ('gae_lambda', gae_lambda, 1.0),
    ('clip', clip, None),
    ('entropy', entropy, None),
    ('value_weight', value_weight, None),
    ('gate_cost', gate_cost, None),
  ):
    checks.number(value, name=name, low=0.0, high=high)
  for name, value in (
    ('huber_delta', huber_delta),
    ('max_grad_norm', max_grad_norm),
  ):
    checks.number(value, name=name, low=0.0, open_low=True)
  checks.flag(bootstrap, name='bootstrap')
  graph = made.graph
  if graph.is_learned and num_epochs < graph.every:
    raise ValueError(
      f'num_epochs={num_epochs} never trains a learned graph: need at least '
      f'every={graph.every}, as the last of so many epochs is for edges.'
    )
  if total_updates is not None:
    checks.integer(total_updates, name='total_updates', low=1)
  if graph.is_learned and graph.post_stable and total_updates is None:
    raise ValueError(
      'total_updates is needed for post_stable=True: say how many updates '
      'the run has.'
    )
  # One vector: a kernel for all tensors in place of a few for each.
  inner = optax.flatten(
    optax.chain(
      optax.clip_by_global_norm(max_grad_norm),
      make_optimizer(
        optimizer,
        num_steps=None if total_updates is None else total_updates * num_epochs,
      ),
    )
  )
  outer = optax.adam(graph.learning_rate)

  def loss(params, steps, advantages, targets, old, phase, key):
    """Advantages are normalized, targets and old values in critic's units."""
    alive = None if made.quirks else steps.seen.alive
    judged = made.judge(
      params, steps.seen, steps.actions, steps.choices, phase=phase, key=key
    )
    change = judged.log_prob - steps.log_prob
    if alive is not None:
      # Whoever takes no part may do what is impossible.
      change = jnp.where(alive, change, 0.0)
    ratio = jnp.exp(change)
    actor = _ppo.masked_mean(
      _ppo.clipped_surrogate(ratio, advantages, clip), alive
    )
    error = lambda v: huber(targets - v, huber_delta, above_only=made.quirks)
    near = old + jnp.clip(judged.value - old, -clip, clip)
    critic = jnp.mean(jnp.maximum(error(judged.value), error(near)))
    random = _ppo.masked_mean(judged.entropy, alive)
    found = {
      'policy_loss': actor,
      'value_loss': critic,
      'entropy': random,
      'kl': _ppo.masked_mean(ratio - 1.0 - change, alive),
      'clipped': _ppo.masked_mean(
        (jnp.abs(ratio - 1.0) > clip).astype(ratio.dtype), alive
      ),
    }
    total = actor + value_weight * critic - entropy * random
    total = total + gate_cost * jnp.mean(judged.facts['gate'])
    return total, found

  def init(key):
    init_key, env_key = jax.random.split(key)
    params = made.policy.init(init_key)
    return FormerState(
      params,
      inner.init(params['model']),
      outer.init(params['edges']),
      _rollout.begin(env, made.policy, env_key, num_envs),
      jnp.int32(0),
    )

  def step(state, cohort=None, *, key):
    del cohort
    play_key, learn_key = jax.random.split(key)
    phase = phase_of(
      graph,
      state.num_updates,
      total_updates=total_updates,
      forever=made.quirks,
    )
    player = made.playing(phase)
    playing, steps = _rollout.rollout(
      env,
      player,
      state.params,
      state.playing,
      key=play_key,
      num_steps=num_steps,
      bootstrap=bootstrap,
    )
    last = player.value(
      state.params, playing.carry, playing.seen, playing.first
    )
    advantages, targets = _ppo.advantages_of(
      steps, last, gamma=gamma, gae_lambda=gae_lambda, bootstrap=bootstrap
    )
    alive = None if made.quirks else steps.seen.alive
    old_mean, old_std = _value_norm.mean_and_std(state.params['norm'])
    old = (steps.value - old_mean) / old_std
    norm = _value_norm.update_value_norm(state.params['norm'], targets)
    mean, std = _value_norm.mean_and_std(norm)
    batch = (
      steps,
      _normalized(advantages, alive),
      (targets - mean) / std,
      old,
      phase,
    )

    def of_both(model, edges, epoch_key):
      params = {'model': model, 'edges': edges, 'norm': norm}
      return loss(params, *batch, epoch_key)

    def on_model(grads, model, opt_state, edges, edge_state):
      updates, opt_state = inner.update(grads[0], opt_state, model)
      model = optax.apply_updates(model, updates)
      return model, opt_state, edges, edge_state

    def on_edges(grads, model, opt_state, edges, edge_state):
      updates, new_state = outer.update(grads[1], edge_state, edges)
      new = (optax.apply_updates(edges, updates), new_state)
      edges, edge_state = jax.tree.map(
        lambda a, b: jnp.where(phase.stable, a, b), (edges, edge_state), new
      )
      return model, opt_state, edges, edge_state

    def epoch(carry, x):
      number, epoch_key = x
      model, _, edges, _ = carry
      which = (0, 1) if graph.is_learned else (0,)
      grads, found = jax.grad(of_both, which, has_aux=True)(
        model, edges, epoch_key
      )
      if not graph.is_learned:
        return on_model(grads, *carry), found
      turn = (number + 1) % graph.every == 0
      return jax.lax.cond(turn, on_edges, on_model, grads, *carry), found

    params = state.params
    carry = (
      params['model'],
      state.opt_state,
      params['edges'],
      state.edge_state,
    )
    (model, opt_state, edges, edge_state), found = jax.lax.scan(
      epoch,
      carry,
      (jnp.arange(num_epochs), jax.random.split(learn_key, num_epochs)),
    )
    params = {'model': model, 'edges': edges, 'norm': norm}
    found = jax.tree.map(jnp.mean, found) | _ppo.played(playing, steps)
    found['edges'] = edges
    found['graph'] = made.hard_graph(params).astype(edges.dtype)
    state = FormerState(
      params, opt_state, edge_state, playing, state.num_updates + 1
    )
    return state, found

  return types.Algorithm(init, step, lambda state: state.params)


def _check_fits(env, shape):
  """Raises ValueError if agents were made for another game."""
  discrete = env.num_actions is not None
  has = {
    'num_agents': env.num_agents,
    'own_size': env.own_size,
    'num_actions' if discrete else 'action_size': (
      env.num_actions if discrete else env.action_size
    ),
  }
  kind = 'num_actions' if shape.discrete else 'action_size'
  needs = {
    'num_agents': shape.num_agents,
    'own_size': shape.own_size,
    kind: shape.action_size,
  }
  if has != needs:
    say = lambda sizes: ', '.join(f'{k}={v}' for k, v in sizes.items())
    raise ValueError(
      f'made must be for the same game as env: it is for {say(needs)}; '
      f'{env.name} has {say(has)}.'
    )


def _normalized(advantages, alive):
  mean = _ppo.masked_mean(advantages, alive)
  variance = _ppo.masked_mean((advantages - mean) ** 2, alive)
  return (advantages - mean) / (jnp.sqrt(variance) + _EPS)


LEARNERS = registry.Registry(
  'learner', {'ppo': bilevel_ppo}, given=('env', 'made', 'total_updates')
)
