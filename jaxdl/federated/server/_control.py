# SPDX-License-Identifier: Apache-2.0
"""Methods that correct the drift of clients: SCAFFOLD, Mime, FedDyn."""

import jax
import jax.numpy as jnp

from jaxdl import local
from jaxdl.core import checks, types
from jaxdl.federated.server import _averaging, _method

_zeros = lambda tree: jax.tree.map(jnp.zeros_like, tree)


def scaffold(
  task: types.Task,
  work: local.LocalWork,
  *,
  option: int = 2,
  server_optimizer: _averaging.Optimizer = None,
) -> _method.Method:
  """Corrects each step of a client by control variates, g - c_k + c.

  Clients count equally, whatever the weights of the cohort. c_k becomes the
  gradient at x of all that the client has (option 1), or the mean of the
  gradients it met on its way (option 2), which is c_k - c + (x - y) / (K η)
  where the client's optimizer is SGD with step η, and has a meaning for others.

  Args:
    task: parameters and loss.
    work: what a client does.
    option: 1 or 2 (static).
    server_optimizer: see `fedavg`; 'sgd(0.5)' is η_s = 0.5.

  Returns:
    The method. Messages are {'params', 'control'}, Δ_k and the change of c_k;
    memory has c. Clients remember c_k; with all of them in every round c is
    their mean.

  Raises:
    ValueError: if `option` is something else.

  Source: Karimireddy et al. 2020 (https://arxiv.org/abs/1910.06378), Algorithm
    1.
  """
  checks.task(task)
  checks.integer(option, name='option', low=1, high=2)
  run = local.check_work(work).trainer(task, average=option == 2)
  slope = local.loss_gradient(task)
  init, move = _averaging.server_step(server_optimizer)

  def train(shared, own, data, key):
    def corrected(grads, params, batch, key):
      del params, batch, key
      return jax.tree.map(
        lambda g, c_k, c: g - c_k + c, grads, own, shared['control']
      )

    train_key, full_key = jax.random.split(key)
    trained = run(shared['params'], data, train_key, correct=corrected)
    worked = trained.num_steps > 0
    if option == 1:
      _, found = slope(shared['params'], data, full_key)
    else:
      found = trained.gradient
    control = jax.tree.map(
      lambda new, old: jnp.where(worked, new, old), found, own
    )
    message = {
      'params': _averaging.difference(trained.params, shared['params']),
      'control': _averaging.difference(control, own),
    }
    return _method.Sent(message, control, _averaging.facts_of(trained))

  def absorb(params, memory, update, round):
    share = round.share
    control = jax.tree.map(
      lambda c, u: c + u * share.astype(u.dtype),
      memory['control'],
      update['control'],
    )
    params, state = move(params, memory['optimizer'], update['params'])
    return params, {'control': control, 'optimizer': state}

  return _method.Method(
    start=task.init,
    init=lambda params, n: {
      'control': _zeros(params),
      'optimizer': init(params),
    },
    own=_zeros,
    share=lambda params, memory: {
      'params': params,
      'control': memory['control'],
    },
    train=train,
    absorb=absorb,
    weigh=_method.equally,
    message=lambda params: {'params': params, 'control': params},
    name='scaffold',
  )


def feddyn(
  task: types.Task, work: local.LocalWork, *, alpha: float = 0.1
) -> _method.Method:
  """Adds to the loss of a client what makes all optima one.

  y ≈ argmin f_k(y) - <λ_k, y> + α/2 |y - x|², found by the client's steps;
  λ_k ← λ_k - α (y - x); h ← h - (α / N) Σ (y_k - x); x ← mean of y_k - h / α.
  Clients count equally.

  Args:
    task: parameters and loss.
    work: what a client does.
    alpha: α > 0 (static).

  Returns:
    The method; clients remember λ_k, memory is h.

  Raises:
    ValueError: if α is not positive.

  Source: Acar et al. 2021 (https://arxiv.org/abs/2111.04263), Algorithm 1.
  """
  checks.task(task)
  checks.number(alpha, name='alpha', low=0.0, open_low=True)
  run = local.check_work(work).trainer(task)

  def train(shared, own, data, key):
    def dynamic(grads, params, batch, key):
      del batch, key
      return jax.tree.map(
        lambda g, l, y, x: g - l + alpha * (y - x), grads, own, params, shared
      )

    trained = run(shared, data, key, correct=dynamic)
    message = _averaging.difference(trained.params, shared)
    own = jax.tree.map(lambda l, d: l - alpha * d, own, message)
    return _method.Sent(message, own, _averaging.facts_of(trained))

  def absorb(params, memory, update, round):
    share = alpha * round.share
    some = round.share > 0  # Always so of a private round.
    memory = jax.tree.map(
      lambda h, u: h - u * share.astype(u.dtype), memory, update
    )
    moved = jax.tree.map(
      lambda x, u, h: jnp.where(some, x + u - h / alpha, x),
      params,
      update,
      memory,
    )
    return moved, memory

  return _method.Method(
    start=task.init,
    init=lambda params, n: _zeros(params),
    own=_zeros,
    share=lambda params, memory: params,
    train=train,
    absorb=absorb,
    weigh=_method.equally,
    name='feddyn',
  )


def mime(
  task: types.Task, work: local.LocalWork, *, lite: bool = False
) -> _method.Method:
  """Takes the steps of a central optimizer at the clients.

  The state s of the client's optimizer belongs to the server and is read, never
  moved, by clients: y ← U(g(y; ζ) - g(x; ζ) + ḡ, s) with ḡ the mean over the
  cohort of the gradients at x of all that each client has, an exchange before
  the work; `lite` leaves g(y; ζ) as it is and sends the gradient with the
  change. Then x ← x + Σ p_k Δ_k and s ← V(ḡ, s).

  Args:
    task: parameters and loss.
    work: what a client does; U and V are its optimizer's update and memory.
    lite: whether it is MimeLite (static).

  Returns:
    The method. Messages are Δ_k, of MimeLite {'params', 'gradient'}; memory is
    s.

  Source: Karimireddy et al. 2021 (https://arxiv.org/abs/2008.03606), Algorithms
    1 and 2.
  """
  checks.task(task)
  run = local.check_work(work).trainer(task, frozen=True)
  slope = local.loss_gradient(task)
  point = jax.grad(task.loss)
  optimizer = work.optimizer

  def prepare(shared, data, key):
    return slope(shared['params'], data, key)[1]

  def share(params, memory, mean=None):
    shared = {'params': params, 'optimizer': memory}
    if lite:
      return shared
    return shared | {'mean': _zeros(params) if mean is None else mean}

  def train(shared, own, data, key):
    def corrected(grads, params, batch, key):
      del params
      there = point(shared['params'], batch, key=key)
      return jax.tree.map(
        lambda g, h, mean: g - h + mean, grads, there, shared['mean']
      )

    train_key, full_key = jax.random.split(key)
    trained = run(
      shared['params'],
      data,
      train_key,
      correct=None if lite else corrected,
      opt_state=shared['optimizer'],
    )
    message = _averaging.difference(trained.params, shared['params'])
    if lite:
      _, full = slope(shared['params'], data, full_key)
      message = {'params': message, 'gradient': full}
    return _method.Sent(message, own, _averaging.facts_of(trained))

  def absorb(params, memory, update, round):
    if lite:
      change, mean = update['params'], update['gradient']
    else:
      change, mean = update, round.shared['mean']
    some = round.share > 0  # Always so of a private round.
    _, state = optimizer.update(mean, memory, params)
    state = jax.tree.map(lambda a, b: jnp.where(some, a, b), state, memory)
    params = jax.tree.map(lambda x, u: x + u.astype(x.dtype), params, change)
    return params, state

  return _method.Method(
    start=task.init,
    init=lambda params, n: optimizer.init(params),
    own=_method.no_state,
    share=share,
    train=train,
    absorb=absorb,
    prepare=None if lite else prepare,
    message=lambda params: (
      {'params': params, 'gradient': params} if lite else params
    ),
    name='mime_lite' if lite else 'mime',
  )


def mime_lite(task: types.Task, work: local.LocalWork) -> _method.Method:
  """Mime without an exchange before the work, see `mime`."""
  return mime(task, work, lite=True)
