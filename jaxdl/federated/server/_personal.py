# SPDX-License-Identifier: Apache-2.0
"""Methods that leave every client a model of its own."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdl import local
from jaxdl.core import checks, types
from jaxdl.federated.server import _averaging, _method


def _in_pairs(task, mixture):
  """The task of a shared and a personal model that one scan trains."""

  def loss(params, batch, *, key=None):
    shared = task.loss(params['shared'], batch, key=key)
    return shared + task.loss(mixture(params), batch, key=key)

  return task._replace(loss=loss)


def _apart(optimizer):
  """Steps each of the two models by itself."""

  def init(pair):
    return {name: optimizer.init(x) for name, x in pair.items()}

  def update(grads, state, pair=None):
    found = {
      name: optimizer.update(
        grads[name], state[name], None if pair is None else pair[name]
      )
      for name in grads
    }
    return tuple({name: x[k] for name, x in found.items()} for k in (0, 1))

  return optax.GradientTransformation(init, update)


def _personal(task, work, mixture, model, name, *, correct=None):
  """A method whose clients train a shared and a personal model.

  Args:
    task: parameters and loss.
    work: what a client does, to both.
    mixture: `mixture({'shared', 'personal'}) -> params` that the personal loss
      is taken at.
    model: `model(params, personal) -> params` that is evaluated.
    name: of the method.
    correct: see `train_steps`.

  Returns:
    The method.
  """
  local.check_work(work)
  both = dataclasses.replace(work, optimizer=_apart(work.optimizer))
  run = both.trainer(_in_pairs(task, mixture))
  alone = local.loss_gradient(task)

  def train(shared, own, data, key):
    train_key, loss_key = jax.random.split(key)
    pair = {'shared': shared, 'personal': own}
    fix = None if correct is None else correct(shared)
    trained = run(pair, data, train_key, correct=fix)
    loss, _ = alone(shared, data, loss_key)
    facts = _averaging.facts_of(trained) | {'loss': loss}
    message = _averaging.difference(trained.params['shared'], shared)
    return _method.Sent(message, trained.params['personal'], facts)

  base = _averaging.fedavg(task, work)
  return base._replace(
    own=lambda params: params,
    train=train,
    model=lambda params, memory, own: model(params, own),
    name=name,
  )


def apfl(
  task: types.Task, work: local.LocalWork, *, alpha: float = 0.5
) -> _method.Method:
  """Mixes a shared with a personal model, α v + (1 - α) w.

  w is trained as FedAvg does, v by the gradient of the loss of the mixture with
  respect to the mixture, in the same steps.

  Args:
    task: parameters and loss.
    work: what a client does.
    alpha: α in [0, 1] (static).

  Returns:
    The method; clients remember v, their models are the mixtures.

  Raises:
    ValueError: if α is out of range.

  Source: Deng et al. 2020 (https://arxiv.org/abs/2003.13461), Algorithm 1.
  """
  checks.task(task)
  checks.number(alpha, name='alpha', low=0.0, high=1.0)
  mix = lambda v, w: alpha * v + (1 - alpha) * w

  def mixture(pair):
    fixed = jax.lax.stop_gradient(pair)
    at = jax.tree.map(mix, fixed['personal'], fixed['shared'])
    # The value of the mixture, the gradient with respect to it handed to v.
    return jax.tree.map(
      lambda x, v, f: x + (v - f), at, pair['personal'], fixed['personal']
    )

  def model(params, personal):
    return jax.tree.map(mix, personal, params)

  return _personal(task, work, mixture, model, 'apfl')


def ditto(
  task: types.Task, work: local.LocalWork, *, pull: float = 0.1
) -> _method.Method:
  """Trains a personal model that the shared one draws to itself.

  v follows the gradient of f_k(v) + λ/2 |v - x|², x being what the server sent.

  Args:
    task: parameters and loss.
    work: what a client does, to both models.
    pull: λ >= 0; 0 is local training (static).

  Returns:
    The method; clients remember v.

  Raises:
    ValueError: if λ is negative.

  Source: Li et al. 2021 (https://arxiv.org/abs/2012.04221), Algorithm 1.
  """
  checks.task(task)
  checks.number(pull, name='pull', low=0.0)

  def correct(shared):
    def drawn(grads, params, batch, key):
      del batch, key
      own = jax.tree.map(
        lambda g, v, x: g + pull * (v - x),
        grads['personal'],
        params['personal'],
        shared,
      )
      return {'shared': grads['shared'], 'personal': own}

    return drawn

  return _personal(
    task,
    work,
    lambda pair: pair['personal'],
    lambda params, personal: personal,
    'ditto',
    correct=correct,
  )


def is_norm(path: tuple[Any, ...], leaf: Any) -> bool:
  """Whether a leaf belongs to a normalization, by the names on its path.

  Args:
    path: key path of the leaf.
    leaf: unused.

  Returns:
    Whether a name contains 'norm' or 'statistics', or a layer called `bn`.
  """
  del leaf
  names = [
    str(getattr(e, 'key', getattr(e, 'name', getattr(e, 'idx', ''))))
    for e in path
  ]
  return any(
    'norm' in n.lower() or n == 'statistics' or n.startswith('bn')
    for n in names
  )


def fedbn(
  task: types.Task,
  work: local.LocalWork,
  *,
  is_own: Callable[[tuple[Any, ...], Any], bool] = is_norm,
) -> _method.Method:
  """Averages all but the normalizations, which stay with their clients.

  Args:
    task: parameters and loss.
    work: what a client does.
    is_own: `is_own(path, leaf) -> bool`, what stays.

  Returns:
    The method; clients remember what stays, their models are the server's with
    it in place.

  Raises:
    ValueError: from `init`, if nothing stays.

  Source: Li et al. 2021 (https://arxiv.org/abs/2102.07623), Algorithm 1.
  """
  checks.task(task)
  base = _averaging.fedavg(task, work)
  choose = lambda tree: jax.tree_util.tree_map_with_path(is_own, tree)

  def own_of(params):
    kept = jax.tree.map(
      lambda own, x: x if own else None, choose(params), params
    )
    if not jax.tree.leaves(kept):
      raise ValueError(
        'fedbn finds no normalization among the parameters: choose a network '
        'with a norm, or say is_own.'
      )
    return kept

  def merged(params, own):
    return jax.tree.map(
      lambda mine, x, kept: kept if mine else x,
      choose(params),
      params,
      _filled(own, params),
    )

  def _filled(own, params):
    leaves = iter(jax.tree.leaves(own))
    return jax.tree.map(
      lambda mine, x: next(leaves) if mine else x, choose(params), params
    )

  def train(shared, own, data, key):
    sent = base.train(merged(shared, own), (), data, key)
    after = jax.tree.map(jnp.add, merged(shared, own), sent.message)
    message = jax.tree.map(
      lambda mine, x: jnp.zeros_like(x) if mine else x,
      choose(shared),
      sent.message,
    )
    return _method.Sent(message, own_of(after), sent.facts)

  return base._replace(
    own=own_of,
    train=train,
    model=lambda params, memory, own: merged(params, own),
    name='fedbn',
  )


def local_only(task: types.Task, work: local.LocalWork) -> _method.Method:
  """Never talks: every client trains a model of its own.

  Args:
    task: parameters and loss.
    work: what a client does.

  Returns:
    The method; messages are zero.
  """
  base = _averaging.fedavg(task, work)

  def train(shared, own, data, key):
    sent = base.train(own, (), data, key)
    after = jax.tree.map(jnp.add, own, sent.message)
    return _method.Sent((), after, sent.facts)

  return base._replace(
    own=lambda params: params,
    train=train,
    absorb=lambda params, memory, update, round: (params, memory),
    model=lambda params, memory, own: own,
    message=lambda params: (),
    name='local_only',
  )
