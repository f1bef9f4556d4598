# SPDX-License-Identifier: Apache-2.0
"""Training: full frames first, then trimmed ones under a price."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks, registry, types
from jaxdl.perception.cooperation import _measures, _model, _step
from jaxdl.perception.cooperation.wire import _bandwidth, _links
from jaxdl.perception.cooperation.worlds import _roads


class Loss(NamedTuple):
  """What is lost by wrong classes.

  Attributes:
    dynamic: weights of the classes that move, and of them all.
    static: likewise, of the map.
  """

  dynamic: tuple[tuple[float, ...], float]
  static: tuple[tuple[float, ...], float]


def _segmentation(
  *,
  vehicle: float = 75.0,
  road: float = 3.0,
  lane: float = 10.0,
  dynamic: float = 2.0,
  static: float = 0.0,
) -> Loss:
  """Cross-entropy with a weight for each class, and for each map."""
  named = {
    **{'vehicle': vehicle, 'road': road, 'lane': lane},
    **{'dynamic': dynamic, 'static': static},
  }
  for name, value in named.items():
    checks.number(value, name=name, low=0.0)
  if not dynamic and not static:
    raise ValueError(
      'dynamic=0 and static=0 leave nothing to learn: one must be positive.'
    )
  return Loss(((1.0, vehicle), dynamic), ((1.0, road, lane), static))


LOSSES = registry.Registry('loss', {'segmentation': _segmentation}, tried={})


class Schedule(NamedTuple):
  """What is sent while training.

  Attributes:
    warm_up: steps with full frames.
    explore: chance of a full frame afterwards, ε.
    steps: of the whole training; a curriculum ends halfway after the warm-up.
  """

  warm_up: int = 200
  explore: float = 0.1
  steps: int = 500


def make_schedule(
  *, warm_up: int = 200, explore: float = 0.1, steps: int = 500
) -> Schedule:
  """Full frames first, then what is selected.

  Args:
    warm_up: steps with full frames.
    explore: chance of a full frame afterwards, ε.
    steps: of the whole training.

  Returns:
    The schedule.

  Raises:
    ValueError: if a number is out of range.
  """
  checks.integer(warm_up, name='warm_up', low=0)
  checks.number(explore, name='explore', low=0.0, high=1.0)
  return Schedule(warm_up, float(explore), steps)


SCHEDULE = registry.Registry(
  'schedule', {'schedule': make_schedule}, given=('steps',), tried={}
)


class TrainState(NamedTuple):
  """State of `cooperative_training`.

  Attributes:
    params: of the model.
    optimizer: state of the optimizer.
    step: i[], steps done.
  """

  params: Any
  optimizer: Any
  step: chex.Array


def check_schedule(schedule: Schedule) -> None:
  """Raises ValueError unless the numbers of a schedule fit."""
  checks.integer(schedule.warm_up, name='warm_up', low=0)
  checks.integer(schedule.steps, name='steps', low=0)
  checks.number(schedule.explore, name='explore', low=0.0, high=1.0)


def objective(
  model: _model.Model,
  params: Any,
  scenes: _roads.Scene,
  *,
  key: chex.PRNGKey,
  loss: Loss,
  egos: int = 1,
  network: _links.Network | None = None,
  explore: chex.Numeric = 0.0,
  at_least: chex.Numeric | None = None,
) -> tuple[chex.Array, chex.Array]:
  """The loss of classes, and the percentage that was sent.

  Args:
    model: the model (static).
    params: of the model.
    scenes: leaves [B, ...].
    key: consumed.
    loss: weights.
    egos: receivers, see `cooperate` (static).
    network: who hears whom; everybody everybody if None.
    explore: see `coopertrim_step`.
    at_least: likewise.

  Returns:
    f[] and f[], both differentiable.
  """

  def one(scene, key):
    link_key, key = jax.random.split(key)
    links = _links.of_scene(network, scene, link_key)
    logits, heard = _step.cooperate(
      model,
      params,
      scene,
      key=key,
      egos=egos,
      links=links,
      explore=explore,
      at_least=at_least,
    )
    return logits, heard.share

  count = scenes.there.shape[0]
  logits, share = jax.vmap(one)(scenes, jax.random.split(key, count))
  real = scenes.there[:, None, :egos]
  real = jnp.broadcast_to(real, share.shape)
  cut = _measures.NUM_DYNAMIC
  total = jnp.zeros(())
  for (weights, scale), found, target in (
    (loss.dynamic, logits[..., :cut, :, :], scenes.dynamic),
    (loss.static, logits[..., cut:, :, :], scenes.static),
  ):
    if scale:
      mask = real[..., None, None]
      total += scale * _measures.seg_loss(
        found, target[:, :, :egos], weights, mask=mask
      )
  percent = 100 * jnp.sum(jnp.where(real, share, 0)) / jnp.sum(real)
  return total, percent


def cooperative_training(
  model: _model.Model,
  *,
  optimizer: optax.GradientTransformation,
  loss: Loss | str = 'segmentation',
  penalty: Callable[..., chex.Array] | str = 'linear',
  schedule: Schedule | None = None,
  egos: int = 1,
  network: _links.Network | None = None,
) -> types.Algorithm:
  """Trains a model on scenes: full frames, then trimmed ones with a penalty.

  After the warm-up a frame is full with probability ε and trimmed otherwise;
  the loss adds λ (P - P*), which `penalty` makes of the percentage P that was
  sent and of the step. A selector with a curriculum has no full frames: the
  share that is sent at least shrinks from 1 to 0 instead.

  Args:
    model: the model.
    optimizer: any optax transformation.
    loss: weights, or a part of `LOSSES`.
    penalty: `penalty(percent, step) -> f[]`, or a part of `PENALTIES`.
    schedule: warm-up, ε and steps.
    egos: receivers, see `cooperate`.
    network: who hears whom.

  Returns:
    An `Algorithm` of cohorts whose data is scenes, leaves [N, B, ...], of which
    a step sees all N B. Metrics are `loss`, `percent` and `grad_norm`.

  Raises:
    ValueError: if a part is unknown or a number out of range.
    TypeError: if the optimizer is none.

  Source: Mukhopadhyay et al. 2026 (https://arxiv.org/abs/2602.13287), sections
  on the objective and on ε-greedy training.
  """
  checks.optimizer(optimizer)
  plan = schedule or Schedule()
  check_schedule(plan)
  weights = LOSSES.make(loss) if isinstance(loss, str) else loss
  price = _priced(penalty)

  def init(key):
    params = model.init(key)
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))

  def value(params, scenes, step, key):
    warm = step < plan.warm_up
    least, explore = None, jnp.where(warm, 1.0, plan.explore)
    if model.selector.curriculum:
      length = max(1, (plan.steps - plan.warm_up) // 2)
      least = jnp.clip(1.0 - (step - plan.warm_up) / length, 0.0, 1.0)
      explore = jnp.where(warm, 1.0, 0.0)
    total, percent = objective(
      model,
      params,
      scenes,
      key=key,
      loss=weights,
      egos=egos,
      network=network,
      explore=explore,
      at_least=least,
    )
    priced = jnp.where(warm, 0.0, price(percent, step))
    return total + priced, percent

  def step(state, cohort, *, key):
    scenes = _pooled(_scenes_of(cohort.data))
    (loss, percent), grads = jax.value_and_grad(value, has_aux=True)(
      state.params, scenes, state.step, key
    )
    updates, memory = optimizer.update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {
      'loss': loss,
      'percent': percent,
      'grad_norm': optax.tree.norm(grads),
    }
    return TrainState(params, memory, state.step + 1), metrics

  return checks.algorithm(
    init, step, lambda state: state.params, state=TrainState
  )


def _priced(penalty: Any) -> Callable[..., chex.Array]:
  if isinstance(penalty, str):
    return _bandwidth.PENALTIES.make(penalty)
  return penalty


def _scenes_of(batch):
  """Scenes, also of a dict of their fields."""
  names = _roads.Scene._fields
  if isinstance(batch, _roads.Scene):
    return batch
  return _roads.Scene(**{name: batch[name] for name in names})


def _pooled(data):
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), data)


def cooperative_task(
  model: _model.Model,
  *,
  loss: Loss | str = 'segmentation',
  penalty: Callable[..., chex.Array] | str = 'linear',
  explore: float = 0.1,
  egos: int = 1,
  network: _links.Network | None = None,
) -> types.Task:
  """The task of a model, for any algorithm: trimmed frames under a price.

  Args:
    model: the model.
    loss: see `cooperative_training`.
    penalty: likewise.
    explore: chance of a full frame; 1 trains on full frames alone.
    egos: receivers.
    network: who hears whom.

  Returns:
    A `Task` whose batch is scenes, leaves [B, ...], as a `Scene` or a dict of
    its fields.
  """
  weights = LOSSES.make(loss) if isinstance(loss, str) else loss
  price = _priced(penalty)
  checks.number(explore, name='explore', low=0.0, high=1.0)

  def value(params, batch, *, key=None):
    if key is None:
      key = jax.random.key(0)
    total, percent = objective(
      model,
      params,
      _scenes_of(batch),
      key=key,
      loss=weights,
      egos=egos,
      network=network,
      explore=explore,
    )
    return total + price(percent, jnp.zeros((), jnp.int32))

  def evaluate(params, batch):
    return {'loss': value(params, batch)}

  return types.Task(model.init, value, evaluate)
