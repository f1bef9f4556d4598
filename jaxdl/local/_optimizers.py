# SPDX-License-Identifier: Apache-2.0
"""Optimizers and step sizes by name, for specs: thin recipes of optax."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks, registry

Schedule = Callable[[chex.Numeric], chex.Numeric]


def constant(learning_rate: float = 0.1) -> Schedule:
  """The same step size throughout."""
  return optax.constant_schedule(learning_rate)


def cosine(learning_rate: float = 0.1, *, num_steps: int) -> Schedule:
  """Falls along half a cosine to zero at the end."""
  return optax.cosine_decay_schedule(learning_rate, max(num_steps, 1))


def one_cycle(
  learning_rate: float = 0.1,
  *,
  num_steps: int,
  warmup: float = 0.2,
  start: float = 2.0,
  end: float = 100.0,
) -> Schedule:
  """Rises and falls along cosines.

  Args:
    learning_rate: the largest step size.
    num_steps: of the whole run.
    warmup: share of the steps in which it rises.
    start: factor between the largest and the first.
    end: factor between the first and the last.

  Returns:
    A schedule.

  Source: He, Liu and Xu 2024 (https://arxiv.org/abs/2310.19809), appendix.
  """
  checks.number(warmup, name='warmup', low=0.0, high=1.0)
  for name, value in (('start', start), ('end', end)):
    checks.number(value, name=name, low=0.0, open_low=True)
  return optax.cosine_onecycle_schedule(
    max(num_steps, 1),
    learning_rate,
    warmup,
    div_factor=start,
    final_div_factor=end,
  )


def steps(
  learning_rate: float = 0.1,
  *,
  num_steps: int,
  at: float | tuple[float, ...] = (1 / 3, 2 / 3),
  factor: float = 0.2,
) -> Schedule:
  """Drops by a factor at fractions of the run."""
  checks.number(factor, name='factor', low=0.0)
  places = at if isinstance(at, (tuple, list)) else (at,)
  for place in places:
    checks.number(place, name='at', low=0.0, high=1.0)
  return optax.piecewise_constant_schedule(
    learning_rate,
    {max(1, round(place * num_steps)): factor for place in places},
  )


def halving(
  learning_rate: float = 0.1, *, num_steps: int, times: int = 4
) -> Schedule:
  """Halves so many times (1000 at most), in equal distances."""
  checks.num_layers(times, name='times')
  total = max(num_steps, 1)
  return optax.piecewise_constant_schedule(
    learning_rate,
    {max(1, total * i // (times + 1)): 0.5 for i in range(1, times + 1)},
  )


def inverse_time(
  learning_rate: float = 0.1, *, num_steps: int, rate: float = 2.5
) -> Schedule:
  """Divides by 1 + rate t, with t from zero to one over the run."""
  checks.number(rate, name='rate', low=0.0)
  total = max(num_steps, 1)
  return lambda t: learning_rate / (1 + rate * t / total)


def stepped_inverse(
  learning_rate: chex.Numeric = 0.1,
  *,
  decay: chex.Numeric = 50.0,
  every: int = 50,
) -> Schedule:
  """Inverse-time decay that is recomputed every so many steps.

  The step size at step t is rate / (floor(t / every) · every / decay + 1).

  Args:
    learning_rate: at step 0.
    decay: steps after which it has halved, > 0.
    every: steps between changes, >= 1 (static).

  Returns:
    A schedule.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> schedule = stepped_inverse(0.75, decay=50, every=50)
    >>> [float(schedule(t)) for t in (0, 49, 50, 149)]
    [0.75, 0.75, 0.375, 0.25]

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), code.
  """
  checks.number(decay, name='decay', low=0.0, open_low=True)
  checks.integer(every, name='every', low=1)

  def schedule(count):
    # A quotient of floats may round to below a whole number.
    whole = jnp.asarray(count) // every * every
    return learning_rate / (whole / decay + 1.0)

  return schedule


def linear(
  learning_rate: float = 0.1, *, num_steps: int, end: float = 0.0
) -> Schedule:
  """Falls along a line to a share of itself at the end."""
  checks.number(end, name='end', low=0.0)
  return optax.linear_schedule(
    learning_rate, end * learning_rate, max(num_steps, 1)
  )


def warmup(
  learning_rate: float = 0.1, *, num_steps: int, share: float = 0.1
) -> Schedule:
  """Rises linearly from zero in a share of the run, then stays."""
  checks.number(share, name='share', low=0.0, high=1.0)
  rise = max(1, round(share * num_steps))
  return optax.linear_schedule(0.0, learning_rate, rise)


SCHEDULES = registry.Registry(
  'schedule',
  {
    'constant': constant,
    'cosine': cosine,
    'halving': halving,
    'inverse_time': inverse_time,
    'linear': linear,
    'one_cycle': one_cycle,
    'stepped_inverse': stepped_inverse,
    'steps': steps,
    'warmup': warmup,
  },
  given=('num_steps',),
  tried={'num_steps': 1},
)


def make_schedule(
  spec: str | float, *, num_steps: int | None = None
) -> Schedule:
  """Makes a schedule of step sizes by name.

  Args:
    spec: a part of `SCHEDULES`, or a number for a constant one.
    num_steps: of the run; most schedules need it.

  Returns:
    `schedule(step) -> step size`.

  Raises:
    ValueError: if the name, an option or a value is wrong.

  Example:
    >>> schedule = make_schedule('steps(0.5, at=0.5, factor=0.1)', num_steps=10)
    >>> [round(float(schedule(t)), 3) for t in (0, 5)]
    [0.5, 0.05]
  """
  if isinstance(spec, (int, float)) and not isinstance(spec, bool):
    return constant(spec)
  return _scheduled(spec, {}, num_steps)


def _scheduled(spec, rate, num_steps):
  part = SCHEDULES.part(spec)
  size = part.options.get('learning_rate', rate.get('learning_rate', 0.1))
  _check_rate(size)
  # All but these follow the length of the run.
  function = SCHEDULES[part.name]
  if num_steps is None and checks.takes(function, 'num_steps'):
    raise ValueError(f'schedule={spec} needs num_steps, the length of the run.')
  return SCHEDULES.bound(part, **rate, num_steps=num_steps)


def _check_rate(value):
  checks.number(value, name='learning_rate', low=0.0)


def _rate(learning_rate, schedule, num_steps):
  _check_rate(learning_rate)
  if schedule == 'constant':
    return learning_rate
  return _scheduled(schedule, {'learning_rate': learning_rate}, num_steps)


def _moments(eps, b1=0.0, b2=0.0):
  """Checks decay rates, and what is added to a denominator."""
  for name, value in (('b1', b1), ('b2', b2)):
    checks.number(value, name=name, low=0.0, high=1.0, open_high=True)
  checks.number(eps, name='eps', low=0.0)
  return {'b1': b1, 'b2': b2, 'eps': eps}


def _decays(params):
  """All but running statistics."""

  def one(path, _):
    names = {getattr(e, 'key', getattr(e, 'name', '')) for e in path}
    return 'statistics' not in names

  return jax.tree_util.tree_map_with_path(one, params)


def _before(weight_decay, clip):
  """What happens to a gradient before the optimizer sees it."""
  parts = []
  checks.number(weight_decay, name='weight_decay', low=0.0)
  if clip is not None:
    checks.number(clip, name='clip', low=0.0, open_low=True)
    parts.append(optax.clip(clip))
  if weight_decay:
    parts.append(optax.add_decayed_weights(weight_decay, mask=_decays))
  return parts


def sgd(
  learning_rate: float = 0.1,
  *,
  momentum: float = 0.0,
  nesterov: bool = False,
  weight_decay: float = 0.0,
  clip: float | None = None,
  schedule: str = 'constant',
  num_steps: int | None = None,
) -> optax.GradientTransformation:
  """Stochastic gradient descent.

  Args:
    learning_rate: step size.
    momentum: in [0, 1).
    nesterov: whether momentum looks ahead.
    weight_decay: added to the gradient, times the parameter; running
      statistics do not decay.
    clip: largest entry of a gradient, in size; None does not clip.
    schedule: a part of `SCHEDULES`.
    num_steps: of the run, for the schedule.

  Returns:
    An optax transformation.
  """
  checks.number(momentum, name='momentum', low=0.0, high=1.0, open_high=True)
  rate = _rate(learning_rate, schedule, num_steps)
  return optax.chain(
    *_before(weight_decay, clip),
    optax.sgd(rate, momentum=momentum or None, nesterov=nesterov),
  )


def adam(
  learning_rate: float = 1e-3,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  clip: float | None = None,
  schedule: str = 'constant',
  num_steps: int | None = None,
) -> optax.GradientTransformation:
  """Adam; its weight decay enters the gradient, before the moments."""
  rate = _rate(learning_rate, schedule, num_steps)
  return optax.chain(
    *_before(weight_decay, clip), optax.adam(rate, **_moments(eps, b1, b2))
  )


def adamw(
  learning_rate: float = 1e-3,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 1e-4,
  clip: float | None = None,
  schedule: str = 'constant',
  num_steps: int | None = None,
) -> optax.GradientTransformation:
  """Adam with decoupled weight decay."""
  rate = _rate(learning_rate, schedule, num_steps)
  checks.number(weight_decay, name='weight_decay', low=0.0)
  decay = {'weight_decay': weight_decay, 'mask': _decays}
  return optax.chain(
    *_before(0.0, clip),
    optax.adamw(rate, **_moments(eps, b1, b2), **decay),
  )


def adagrad(
  learning_rate: float = 0.1,
  *,
  initial: float = 0.1,
  eps: float = 1e-7,
  clip: float | None = None,
  schedule: str = 'constant',
  num_steps: int | None = None,
) -> optax.GradientTransformation:
  """Adagrad."""
  rate = _rate(learning_rate, schedule, num_steps)
  checks.number(initial, name='initial', low=0.0)
  checks.number(eps, name='eps', low=0.0)
  return optax.chain(
    *_before(0.0, clip),
    optax.adagrad(rate, initial_accumulator_value=initial, eps=eps),
  )


def rmsprop(
  learning_rate: float = 1e-3,
  *,
  decay: float = 0.9,
  eps: float = 1e-8,
  clip: float | None = None,
  schedule: str = 'constant',
  num_steps: int | None = None,
) -> optax.GradientTransformation:
  """RMSprop, without a mean of gradients; eps stands outside of the root."""
  rate = _rate(learning_rate, schedule, num_steps)
  checks.number(decay, name='decay', low=0.0, high=1.0, open_high=True)
  checks.number(eps, name='eps', low=0.0)
  return optax.chain(
    *_before(0.0, clip),
    optax.rmsprop(rate, decay=decay, eps=eps, eps_in_sqrt=False),
  )


def yogi(
  learning_rate: float = 1e-2,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-3,
  clip: float | None = None,
  schedule: str = 'constant',
  num_steps: int | None = None,
) -> optax.GradientTransformation:
  """Yogi."""
  rate = _rate(learning_rate, schedule, num_steps)
  return optax.chain(
    *_before(0.0, clip), optax.yogi(rate, **_moments(eps, b1, b2))
  )


OPTIMIZERS = registry.Registry(
  'optimizer',
  {
    'adagrad': adagrad,
    'adam': adam,
    'adamw': adamw,
    'rmsprop': rmsprop,
    'sgd': sgd,
    'yogi': yogi,
  },
  given=('num_steps',),
  tried={'num_steps': 1},
)


def make_optimizer(
  spec: str | optax.GradientTransformation,
  *,
  num_steps: int | None = None,
  name: str = 'optimizer',
) -> Any:
  """Makes an optimizer by name.

  Args:
    spec: a part of `OPTIMIZERS`, or an optax transformation (kept).
    num_steps: of the run, for schedules.
    name: the argument's name, for messages.

  Returns:
    An optax transformation.

  Raises:
    ValueError: if the name, an option or a value is wrong.

  Example:
    >>> optimizer = make_optimizer(
    ...   'sgd(0.5, momentum=0.9, schedule=steps(factor=0.1))', num_steps=300
    ... )
    >>> state = optimizer.init(jnp.zeros(2))
    >>> optimizer.update(jnp.ones(2), state)[0]
    Array([-0.5, -0.5], dtype=float32)
  """
  if not isinstance(spec, str):
    return checks.optimizer(spec, name=name)
  part = OPTIMIZERS.part(spec, name=name)
  return OPTIMIZERS.bound(part, num_steps=num_steps)
