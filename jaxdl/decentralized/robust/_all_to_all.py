# SPDX-License-Identifier: Apache-2.0
"""Robust learning between all pairs of clients, without a server."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl import attacks, local, metrics as metrics_lib
from jaxdl.core import checks, clients as clients_lib, keys, trees, types
from jaxdl.decentralized.robust import _receivers

Damage = Callable[[chex.ArrayTree, chex.ArrayTree], chex.Array]


class AllToAllState(NamedTuple):
  """Everything that training needs to go on.

  Attributes:
    models: stacked tree [H, ...], one model per correct client.
    momentum: stacked tree [H, ...].
    attack: the adversaries' memory.
    step: i32[], rounds done; sets the step size.
  """

  models: chex.ArrayTree
  momentum: chex.ArrayTree
  attack: chex.ArrayTree
  step: chex.Array


def all_to_all_sgd(
  task: types.Task,
  rule: _receivers.MixFn | Callable[..., chex.ArrayTree] | str,
  clients: clients_lib.Clients | int,
  *,
  num_byzantine: int,
  num_held: int,
  learning_rate: chex.Numeric | Callable[[chex.Array], chex.Numeric],
  momentum: chex.Numeric = 0.99,
  attack: Callable[..., Any] | types.Attack | str | None = None,
  num_mixing_rounds: int = 1,
  exchange_gradients: bool = False,
) -> types.Algorithm:
  """Momentum steps, then robust averaging of everyone's models.

  With nearest-neighbor averaging this is MoNNA; with momentum 0 and a trimmed
  mean BRIDGE; with `exchange_gradients` LEARN; with the mean and no adversary
  D-SGD with exact averaging. Each correct client i

  1. m_i <- beta m_i + (1 - beta) g_i, its gradient at its own model,
  2. x_i = theta_i - gamma_t m_i,
  3. K times: broadcasts x_i, holds m vectors (its own, those of all
     adversaries, and randomly chosen correct ones), x_i <- mix(held).

  Adversaries see all half-step models and speak in parameter space.

  Args:
    task: parameters and loss.
    rule: what a client makes of the vectors it holds: text such as
      'centered_clipping(clip_radius=2.0)', see `receiver_rule`, which is told F
      unless it says another number; or a function like those, or a rule without
      memory such as `aggregators.median`.
    clients: the n clients, adversaries included, or n (static). With reduction
      'gathered' the half-step models are copied to every device before mixing,
      which makes a run bitwise equal on any number of devices.
    num_byzantine: adversaries that really take part, F (static).
      H = n - F clients are simulated.
    num_held: m, vectors that a client waits for (static): n - f under
      asynchrony, n in the synchronous model.
    learning_rate: gamma, a number or a schedule of the round.
    momentum: beta in [0, 1).
    attack: an `Attack` on the half-step models, a function without memory such
      as `attacks.sign_flip`, text such as 'alie(scale=1.5)'
      (`attacks.as_attack`), or a function that makes one from
      `damage(models, sent) -> f32[]`, the shift of the correct clients' mean by
      this round's mixing, which an attack in text is given if it searches.
      Adversaries hold no data of their own: an honest one sends the mean model,
      one that poisons data the mean model minus gamma times its mean gradient
      on everybody's data after that.
    num_mixing_rounds: K >= 1 (static).
    exchange_gradients: whether momenta are mixed as well, before the step.

  Returns:
    An `Algorithm`. `step` wants a cohort of H clients with a batch each.
    Metrics: `loss`, `drift` (after mixing), `alpha` and `lambda` (drift ratio
    and squared mean shift per drift of the last mixing; zero without drift).

  Raises:
    ValueError: if counts or options are out of range; from `step`, if the
      cohort or what the attack sends has other shapes.
    TypeError: if a part is of another kind; the message says what to call.

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931),
    Algorithm 1. All models start equal; the official code then sums all
    momenta into one model at the first step, which is not done here.
  """
  checks.task(task)
  everyone = clients_lib.as_clients(clients)
  n = everyone.num_clients
  f = checks.integer(num_byzantine, name='num_byzantine', low=0, high=n - 1)
  mix = _receivers.as_receiver(rule, num_byzantine=f)
  checks.rate(learning_rate, open_low=False)
  held = checks.integer(num_held, name='num_held', low=f + 1, high=n)
  checks.number(momentum, name='momentum', low=0.0, high=1.0, open_high=True)
  checks.integer(num_mixing_rounds, name='num_mixing_rounds', low=1)
  h = n - f
  correct = everyone.replace(num_clients=h)

  def rate(step):
    if isinstance(learning_rate, Callable):
      return learning_rate(step)
    return learning_rate

  adversary = _adversary(attack, n, f, mix)
  known = adversary(jnp.zeros((h, held), jnp.int32))
  poison = known.poison if known is not None and f else None

  def init(key):
    params = task.init(key)
    repeat = lambda x: jnp.broadcast_to(x[None], (h, *x.shape))
    models = jax.tree.map(repeat, params)
    return AllToAllState(
      models=models,
      momentum=jax.tree.map(jnp.zeros_like, models),
      attack=() if known is None else known.init(params),
      step=jnp.zeros((), jnp.int32),
    )

  def speak(vectors, state, received, poisoned, key):
    """What adversaries send in answer to the correct clients' vectors."""
    if f == 0:
      return jax.tree.map(lambda x: x[:0], vectors), state
    repeat = lambda x: jnp.broadcast_to(x[None], (f, *x.shape))
    own = poisoned
    if own is None:
      own = trees.combine(jnp.full((h,), 1.0 / h), vectors)
    own = jax.tree.map(repeat, own)
    made = adversary(received)
    if made is None:
      return own, state
    sent, state = made.apply(vectors, state, own=own, key=key)
    what = 'one vector per adversary, [F, ...]'
    checks.same_shapes(sent, own, name='attack', what=what)
    return sent, state

  def step(state, cohort, *, key):
    checks.cohort(cohort, h, label='num_clients - num_byzantine')
    train_key, round_key = jax.random.split(key)
    gamma = rate(state.step)
    client_keys = keys.client_keys(train_key, cohort.client_ids)
    losses, grads = correct.map(local.loss_and_gradient(task))(
      state.models, cohort.data, client_keys
    )
    average = local.momentum(state.momentum, grads, momentum)
    average, losses = correct.gather((average, losses))
    poisoned = None
    if poison is not None:
      data = poison(cohort.data)
      poisoned = _poisoned_model(
        task, correct, state.models, data, client_keys, gamma
      )
    attack_state = state.attack
    descent = average
    phases = num_mixing_rounds + int(exchange_gradients)
    phase_keys = iter(jax.random.split(round_key, phases))

    def exchange(vectors, attack_state, poisoned):
      draw_key, attack_key = jax.random.split(next(phase_keys))
      received = _receivers.sample_received(
        draw_key, num_correct=h, num_byzantine=f, num_held=held
      )
      sent, attack_state = speak(
        vectors, attack_state, received, poisoned, attack_key
      )
      return mix(vectors, sent, received), attack_state

    if exchange_gradients:
      descent, attack_state = exchange(average, attack_state, None)
    half = jax.tree.map(
      lambda t, d: (t - gamma * d).astype(t.dtype), state.models, descent
    )
    mixed = before = correct.gather(half)
    for _ in range(num_mixing_rounds):
      before = mixed
      mixed, attack_state = exchange(before, attack_state, poisoned)
    spread, after = (
      metrics_lib.consensus_distance(before),
      metrics_lib.consensus_distance(mixed),
    )
    per = jnp.where(spread == 0, 1.0, spread)
    metrics = {
      'loss': jnp.mean(losses),
      'drift': after,
      'alpha': jnp.where(spread == 0, 0.0, after / per),
      'lambda': jnp.where(spread == 0, 0.0, _mean_shift(before, mixed) / per),
    }
    state = AllToAllState(mixed, average, attack_state, state.step + 1)
    return state, metrics

  return checks.algorithm(
    init, step, lambda state: state.models, state=AllToAllState, per_client=True
  )


def _adversary(attack, n, f, mix):
  """`adversary(received) -> Attack or None`, aimed at a mixing if it wants."""
  makes = attack
  if isinstance(attack, str):
    name = attacks.ATTACKS.part(attack).name
    if checks.takes(attacks.ATTACKS[name], 'damage'):
      makes = lambda damage: attacks.make_attack(
        attack, num_clients=n, num_byzantine=f, damage=damage
      )
  if isinstance(makes, str) or not _makes_attack(makes):
    plain = attacks.as_attack(attack, num_clients=n, num_byzantine=f)
    return lambda received: plain

  def adversary(received):
    def damage(models, sent):
      mixed = mix(models, sent, received)
      return trees.global_norm(_moved(models, mixed))

    return attacks.as_attack(makes(damage), num_byzantine=f)

  return adversary


def _makes_attack(attack):
  """Whether it is a function of the damage rather than an attack."""
  if not callable(attack) or isinstance(attack, type):
    return False
  names = list(inspect.signature(attack).parameters)
  plain = {'honest', 'own'} & set(names[:1]) or 'num_byzantine' in names
  return not plain


def _mean_shift(before, after):
  """Squared distance between the means of two stacked trees."""
  return jnp.square(trees.global_norm(_moved(before, after)))


def _moved(before, after):
  """How far the mean of a stacked tree has moved, leaves [...]."""
  n = checks.num_clients(before)
  weights = jnp.full((n,), 1.0 / n)
  return trees.combine(weights, jax.tree.map(jnp.subtract, after, before))


def _poisoned_model(task, clients, models, data, client_keys, gamma):
  """The mean model after a step on everybody's poisoned data."""
  h = clients.num_clients
  weights = jnp.full((h,), 1.0 / h)
  mean = trees.combine(weights, models)
  total = clients_lib.fold_clients(
    lambda params, batch, key: jax.grad(task.loss)(params, batch, key=key),
    mesh=clients.mesh,
    in_axes=(None, 0, 0),
  )(weights, mean, data, client_keys)
  return jax.tree.map(lambda x, g: (x - gamma * g).astype(x.dtype), mean, total)
