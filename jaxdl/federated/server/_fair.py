# SPDX-License-Identifier: Apache-2.0
"""Methods that look after clients who fare badly: q-FedAvg, agnostic FL."""

import jax
import jax.numpy as jnp
import optax

from jaxdl import local
from jaxdl.core import checks, types
from jaxdl.federated.server import _averaging, _method

STEPS = ('projection', 'exponentiated')


def q_fedavg(
  task: types.Task,
  work: local.LocalWork,
  *,
  q: float = 1.0,
  lipschitz: float = 10.0,
) -> _method.Method:
  """Gives clients of larger loss a larger say.

  With F_k the loss of all that client k has at x and w_k = L (x - y_k): x ← x -
  Σ F_k^q w_k / Σ h_k, h_k = q F_k^(q-1) |w_k|² + L F_k^q. Clients count
  equally.

  Args:
    task: parameters and loss.
    work: what a client does.
    q: q >= 0; 0 is an equal average (static).
    lipschitz: L > 0, one over the step of the client's optimizer.

  Returns:
    The method.

  Raises:
    ValueError: if a number is out of range.

  Source: Li et al. 2020 (https://arxiv.org/abs/1905.10497), Algorithm 2.
  """
  checks.task(task)
  checks.number(q, name='q', low=0.0)
  checks.number(lipschitz, name='lipschitz', low=0.0, open_low=True)
  run = local.check_work(work).trainer(task)
  slope = local.loss_gradient(task)

  def train(shared, own, data, key):
    train_key, loss_key = jax.random.split(key)
    trained = run(shared, data, train_key)
    loss, _ = slope(shared, data, loss_key)
    loss = jnp.maximum(loss, 1e-10)
    change = _averaging.difference(trained.params, shared)
    scale = lipschitz * loss**q
    square = lipschitz**2 * optax.tree.norm(change, squared=True)
    curvature = q * loss ** (q - 1) * square + lipschitz * loss**q
    worked = trained.num_steps > 0
    message = jax.tree.map(lambda x: x * scale.astype(x.dtype), change)
    facts = _averaging.facts_of(
      trained, curvature=jnp.where(worked, curvature, 0.0)
    )
    return _method.Sent(message, own, facts)

  def absorb(params, memory, update, round):
    mean = jnp.sum(round.weights * round.facts['curvature'])
    rate = jnp.where(mean > 0, 1 / jnp.where(mean > 0, mean, 1.0), 0.0)
    move = lambda x, u: x + u.astype(x.dtype) * rate.astype(x.dtype)
    return jax.tree.map(move, params, update), memory

  return _method.Method(
    start=task.init,
    init=_method.no_state,
    own=_method.no_state,
    share=lambda params, memory: params,
    train=train,
    absorb=absorb,
    weigh=_method.equally,
    told=('curvature',),
    name='q_fedavg',
  )


def agnostic(
  task: types.Task,
  work: local.LocalWork,
  *,
  learning_rate: float = 0.1,
  step: str = 'projection',
) -> _method.Method:
  """Averages by weights that rise where the loss is large.

  The server holds a distribution λ over all clients, the worst mixture of them
  so far. A round averages by the λ of its cohort, scaled to sum to one, and
  moves λ along the losses that clients had at x, back onto the simplex.

  Args:
    task: parameters and loss.
    work: what a client does.
    learning_rate: γ > 0 of λ.
    step: 'projection' of λ + γ F, or 'exponentiated', λ exp(γ F) scaled.

  Returns:
    The method; memory is λ f32[N].

  Raises:
    ValueError: if an option is out of range.

  Source: Mohri et al. 2019 (https://arxiv.org/abs/1902.00146), Algorithm 1.
  """
  checks.task(task)
  checks.number(learning_rate, name='learning_rate', low=0.0, open_low=True)
  checks.choice(step, STEPS, name='step')
  base = _averaging.fedavg(task, work)
  slope = local.loss_gradient(task)

  def train(shared, own, data, key):
    sent = base.train(shared, own, data, key)
    loss, _ = slope(shared, data, jax.random.fold_in(key, 1))
    return sent._replace(facts=sent.facts | {'start_loss': loss})

  def weigh(memory, cohort):
    own = jnp.take(memory, jnp.where(cohort.mask, cohort.client_ids, 0))
    own = jnp.where(cohort.mask, own, 0.0)
    total = jnp.sum(own)
    share = _method.equally(memory, cohort)
    # A cohort that lost all its weight counts equally.
    return jnp.where(total > 0, own / jnp.where(total > 0, total, 1.0), share)

  def absorb(params, memory, update, round):
    params, _ = base.absorb(params, (), update, round)
    ids = jnp.where(round.mask, round.client_ids, round.num_clients)
    rise = jnp.zeros_like(memory)
    losses = round.facts['start_loss'].astype(rise.dtype)
    rise = rise.at[ids].set(losses, mode='drop')
    if step == 'projection':
      moved = optax.projections.projection_simplex(
        memory + learning_rate * rise
      )
    else:
      logits = jnp.log(jnp.maximum(memory, 1e-30)) + learning_rate * rise
      moved = jax.nn.softmax(logits)
    return params, moved.astype(memory.dtype)

  return base._replace(
    init=lambda params, n: jnp.full((n,), 1 / n, jnp.float32),
    train=train,
    absorb=absorb,
    weigh=weigh,
    told=('start_loss',),
    name='agnostic',
  )
