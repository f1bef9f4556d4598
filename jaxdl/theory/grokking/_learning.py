# SPDX-License-Identifier: Apache-2.0
"""Full-batch training, one epoch a step, metrics of before the step."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, types
from jaxdl.theory.grokking import _lazy, _model

METRICS = ('loss', 'accuracy', 'feature_gradient')


class GrokkingState(NamedTuple):
  """State of `group_learning`.

  Attributes:
    params: weights.
    optimizer: state of the optimizer.
    count: i32[], epochs done.
    updates: the last ones, if `turns`; else nothing.
    early: metrics of the first epochs, f[E] each.
  """

  params: chex.ArrayTree
  optimizer: chex.ArrayTree
  count: chex.Array
  updates: chex.ArrayTree
  early: dict[str, chex.Array]


def group_learning(
  model: _model.Model,
  *,
  optimizer: optax.GradientTransformation,
  ridge: float | None = None,
  is_frozen: bool = False,
  turns: bool = False,
  num_early: int = 0,
) -> types.Algorithm:
  """Trains features of an operation on all examples at once.

  Args:
    model: network and loss.
    optimizer: any optax transformation of a dict of weights.
    ridge: η > 0 sets the top layer to the ridge solution of the features in
      every epoch, to one-hot labels minus 1 / M, instead of training it.
    is_frozen: whether features stay as drawn, so that the top alone learns.
    turns: whether to measure how far updates turn; keeps the last ones.
    num_early: E, first epochs whose metrics are kept in the state.

  Returns:
    An `Algorithm` of cohorts with 'inputs' i[N, B, 2] and 'labels' i[N, B];
    clients are pooled, mask and weights not used. Metrics are those before the
    step: `loss`, `accuracy`, `feature_gradient`, |dJ/dF|; with `turns`
    `bottom_turn` and `top_turn` as well, one minus the cosine of the angle to
    the update before (1 where one is zero).

  Raises:
    ValueError: if ridge is not positive, is asked of another loss than
      'class_centered', or together with frozen features.

  Cost: an epoch is three products of 2 n K M operations, two gathers and two
  scatters of n K numbers; with `ridge` an SVD of F as well (two in the first
  epoch, and under `vmap`).

  Example:
    >>> from jaxdl import experiment
    >>> data = make_data('cyclic(5)', 'fraction(0.8)')
    >>> model = Model(order=5, hidden=64)
    >>> algorithm = group_learning(model, optimizer=optax.adam(0.005))
    >>> _, history = experiment.train(
    ...   algorithm,
    ...   make_problem(data, model),
    ...   num_rounds=50,
    ...   key=jax.random.key(0),
    ... )
    >>> bool(history['accuracy'][-1] == 1.0)
    True

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), code.
  """
  checks.optimizer(optimizer)
  checks.integer(num_early, name='num_early', low=0)
  loss_name = _model.LOSSES.part(model.loss).name
  if ridge is not None:
    checks.number(ridge, name='ridge', low=0.0, open_low=True)
    if is_frozen:
      raise ValueError('ridge and is_frozen leave nothing to train: drop one.')
    if loss_name != 'class_centered':
      raise ValueError(
        f'ridge solves least squares of centered classes; got loss={loss_name}:'
        ' use loss=class_centered.'
      )
  if model.is_complex:
    from optax import contrib

    optimizer = contrib.split_real_and_imaginary(optimizer)

  def trained(params):
    if is_frozen:
      return {'top': params['top']}
    rest = dict(params)
    if ridge is not None:
      rest.pop('top')
    return rest

  def solved(params, batch):
    f = model.features(params, batch['inputs'])
    targets = jax.nn.one_hot(batch['labels'], model.order, dtype=f.dtype)
    scaled = _lazy.ridge_readout(
      f, targets - 1 / model.order, ridge, is_centered=False
    )
    return jax.lax.stop_gradient(scaled / model.output_scale)

  def init(key):
    params = model.init(key)
    moving = trained(params)
    names = (*METRICS, *(('bottom_turn', 'top_turn') if turns else ()))
    return GrokkingState(
      params,
      optimizer.init(moving),
      jnp.zeros((), jnp.int32),
      jax.tree.map(jnp.zeros_like, moving) if turns else (),
      {name: jnp.zeros((num_early,)) for name in names} if num_early else {},
    )

  def step(state, cohort, *, key):
    del key
    batch = jax.tree.map(
      lambda x: x.reshape(-1, *x.shape[2:]), dict(cohort.data)
    )
    params = dict(state.params)
    if ridge is not None:
      params['top'] = jax.lax.cond(
        state.count == 0,
        lambda: solved(params, batch).astype(params['top'].dtype),
        lambda: params['top'],
      )
    below = {name: x for name, x in params.items() if name != 'top'}
    f, back = jax.vjp(lambda p: model.features(p, batch['inputs']), below)
    (_, metrics), (at_features, at_top) = jax.value_and_grad(
      model.measured, argnums=(0, 1), has_aux=True
    )(f, params['top'], batch['labels'])
    grads = {'top': at_top}
    if not is_frozen:
      grads |= back(at_features)[0]
    moving = trained(params)
    # Descent in complex weights is along the conjugate.
    grads = {name: jnp.conj(grads[name]) for name in moving}
    updates, memory = optimizer.update(grads, state.optimizer, moving)
    new = params | dict(optax.apply_updates(moving, updates))
    if ridge is not None:
      new['top'] = solved(new, batch).astype(params['top'].dtype)
    metrics['feature_gradient'] = optax.tree.norm(at_features)
    if turns:
      for name in ('bottom', 'top'):
        metrics[f'{name}_turn'] = (
          _turn(updates[name], state.updates[name])
          if name in moving
          else jnp.zeros(())
        )
    early = {
      name: kept.at[state.count].set(metrics[name], mode='drop')
      for name, kept in state.early.items()
    }
    state = GrokkingState(
      new, memory, state.count + 1, updates if turns else (), early
    )
    return state, metrics

  return checks.algorithm(
    init, step, lambda state: state.params, state=GrokkingState
  )


def _turn(new, old):
  """One minus the cosine of an angle; 1 where there is none."""
  product = jnp.real(jnp.vdot(old, new))
  size = jnp.sqrt(jnp.real(jnp.vdot(new, new)) * jnp.real(jnp.vdot(old, old)))
  return 1 - jnp.where(size > 0, product / jnp.where(size > 0, size, 1), 0.0)


def early_rows(state: GrokkingState, seeds: Sequence[int]) -> list[dict]:
  """Rows of the first epochs, of what a state has kept.

  Args:
    state: leaves [S, ...].
    seeds: S seeds.

  Returns:
    A row per seed and epoch, with the split 'early', 'epoch' from 1 and the
    metrics of before it.

  Example:
    >>> kept = {'loss': jnp.array([[0.5, 0.0]])}
    >>> state = GrokkingState((), (), jnp.array([1]), (), kept)
    >>> early_rows(state, (7,))
    [{'split': 'early', 'seed': 7, 'epoch': 1, 'loss': 0.5}]
  """
  kept = {name: np.asarray(x) for name, x in state.early.items()}
  if not kept:
    return []
  done = np.asarray(state.count)
  length = next(iter(kept.values())).shape[1]
  return [
    {'split': 'early', 'seed': int(seed), 'epoch': epoch + 1}
    | {name: float(x[i, epoch]) for name, x in kept.items()}
    for i, seed in enumerate(seeds)
    for epoch in range(min(length, int(done[i])))
  ]
