# SPDX-License-Identifier: Apache-2.0
"""What tells one way of distilling from another: the losses of all peers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry
from jaxdl.distillation import _divergences, _losses, _weights


class Method(NamedTuple):
  """Losses of P networks, students first, that see the same batch.

  Attributes:
    losses: `losses(logits, labels, mask, num_students) -> (losses, parts)` of P
      arrays f[B, K]; a list of P f[] and a dict of f[]. Each depends on the own
      logits alone: those of the others are constants.
    active: `active(logits, labels, mask, num_students) -> list of P bool[] or
      True`, whose parameters move in this step; None for all.
    offline: whether teachers are trained first, by themselves, and stay.
    name: of the method.
  """

  losses: Callable[..., tuple[list[chex.Array], dict[str, chex.Array]]]
  active: Callable[..., list[Any]] | None = None
  offline: bool = False
  name: str = 'method'


def _others(values: Sequence[Any], i: int) -> list[Any]:
  return [v for j, v in enumerate(values) if j != i]


def bd_kd(
  *,
  weights: str = 'hard',
  strength: float = 1.0,
  teacher_strength: float = 1.0,
  temperature: float = 2.0,
) -> Method:
  """Students balance two divergences, teachers take one (BD-KD).

  Every divergence is averaged over all other networks. `weights=reverse` and
  `weights=symmetric` are the ablations.

  Args:
    weights: of students, see `WEIGHT_RULES`.
    strength: lambda_s >= 0, of the divergences of students.
    teacher_strength: lambda_t >= 0, of that of teachers.
    temperature: T > 0.

  Returns:
    The method.

  Raises:
    ValueError: if a value is out of range.

  Source: Amara et al. 2022 (https://arxiv.org/abs/2212.12965); the defaults of
    numbers are ours.
  """
  _weights.weight_rule(weights)
  checks.number(strength, name='strength', low=0.0)
  checks.number(teacher_strength, name='teacher_strength', low=0.0)
  checks.number(temperature, name='temperature', low=0.0, open_low=True)

  def losses(logits, labels, mask, num_students):
    found, parts = [], {}
    for i, own in enumerate(logits):
      common = {'temperature': temperature, 'mask': mask}
      others = _others(logits, i)
      if not others:
        hard = _losses.masked_mean(_losses.cross_entropy(own, labels), mask)
        return [hard], {}
      if i < num_students:
        loss, seen = _losses.student_loss(
          own, others, labels, weights=weights, strength=strength, **common
        )
      else:
        loss, seen = _losses.teacher_loss(
          own, others, labels, strength=teacher_strength, **common
        )
      found.append(loss)
      parts = parts or {k: seen[k] for k in ('divergence', 'entropy_gap')}
    return found, parts

  return Method(losses, name='bd_kd')


def dml(
  *,
  strength: float = 1.0,
  teacher_strength: float = 1.0,
  temperature: float = 2.0,
) -> Method:
  """Every network takes the predictions of the others for targets.

  Args:
    strength: of the divergence of students, >= 0.
    teacher_strength: of that of teachers, >= 0.
    temperature: T > 0; the paper has 1.

  Returns:
    The method.

  Source: Zhang et al. 2018 (https://arxiv.org/abs/1706.00384), equation 8.
  """
  made = bd_kd(
    weights='forward',
    strength=strength,
    teacher_strength=teacher_strength,
    temperature=temperature,
  )
  return made._replace(name='dml')


def independent(*, smoothing: float = 0.0) -> Method:
  """Every network learns from the labels alone.

  Args:
    smoothing: share of every label that is spread over all classes, in [0, 1].

  Returns:
    The method.

  Raises:
    ValueError: if the share is out of range.
  """
  checks.number(smoothing, name='smoothing', low=0.0, high=1.0)

  def losses(logits, labels, mask, num_students):
    del num_students
    if not smoothing:
      each = (_losses.cross_entropy(own, labels) for own in logits)
      return [_losses.masked_mean(loss, mask) for loss in each], {}
    one = lambda own: _losses.smoothed_loss(
      own, labels, smoothing=smoothing, mask=mask
    )
    return [one(own) for own in logits], {}

  return Method(losses, name='independent')


def label_smoothing(*, smoothing: float = 0.1) -> Method:
  """As `independent`, with softer labels.

  Args:
    smoothing: share of every label that is spread over all classes, in [0, 1].

  Returns:
    The method.

  Source: Szegedy et al. 2016 (https://arxiv.org/abs/1512.00567), section 7.
  """
  return independent(smoothing=smoothing)._replace(name='label_smoothing')


def offline_kd(
  *,
  weights: str = 'forward',
  strength: float = 1.0,
  temperature: float = 2.0,
) -> Method:
  """Students learn from teachers that were trained before.

  Args:
    weights: of the divergences, see `WEIGHT_RULES`.
    strength: of the divergence, >= 0.
    temperature: T > 0.

  Returns:
    The method.

  Source: Hinton et al. 2015 (https://arxiv.org/abs/1503.02531), section 2.
  """
  online = bd_kd(weights=weights, strength=strength, temperature=temperature)

  def losses(logits, labels, mask, num_students):
    teachers = list(logits[num_students:])
    found, parts = [], {}
    for own in logits[:num_students]:
      one, seen = online.losses([own, *teachers], labels, mask, 1)
      found.append(one[0])
      parts = parts or seen
    each = (_losses.cross_entropy(own, labels) for own in teachers)
    return [*found, *(_losses.masked_mean(x, mask) for x in each)], parts

  def active(logits, labels, mask, num_students):
    del labels, mask
    return [i < num_students for i in range(len(logits))]

  return Method(losses, active, offline=True, name='offline_kd')


def kdcl(
  *, ensemble: str = 'mean', strength: float = 1.0, temperature: float = 2.0
) -> Method:
  """Every network takes one prediction of all of them for its target.

  Args:
    ensemble: how it is made, see `ensemble_logits`.
    strength: of the divergence, >= 0.
    temperature: T > 0.

  Returns:
    The method.

  Raises:
    ValueError: if a value is out of range.

  Source: Guo et al. 2020, Online Knowledge Distillation via Collaborative
    Learning (CVPR), section 3.
  """
  checks.choice(ensemble, _losses.ENSEMBLES, name='ensemble')
  checks.number(strength, name='strength', low=0.0)
  checks.number(temperature, name='temperature', low=0.0, open_low=True)

  def losses(logits, labels, mask, num_students):
    del num_students
    target = _losses.ensemble_logits(logits, labels, kind=ensemble)
    found, parts = [], {}
    for own in logits:
      loss, seen = _losses.student_loss(
        own,
        target,
        labels,
        weights='forward',
        strength=strength,
        temperature=temperature,
        mask=mask,
      )
      found.append(loss)
      parts = parts or {k: seen[k] for k in ('divergence', 'entropy_gap')}
    return found, parts

  return Method(losses, name='kdcl')


def switokd(*, strength: float = 1.0, temperature: float = 1.0) -> Method:
  """As `dml`, but a teacher that is too far ahead waits for its student.

  A teacher pauses in a step where it is nearer to the labels than the first
  student, |p_t - y| < |p_s - y|, and |p_t - p_s| exceeds |p_s - y| - e |p_t -
  y|, e = exp(-|p_t - y| / (|p_t - y| + |p_s - y|)): mean L1 distances at
  temperature one.

  Args:
    strength: of the divergences, >= 0.
    temperature: T > 0 of the divergences.

  Returns:
    The method; parts have `paused`, the share of teachers that did.

  Source: Qian et al. 2022, Switchable Online Knowledge Distillation (ECCV),
    equations 5 to 7, as in the authors' code.
  """
  base = dml(
    strength=strength, teacher_strength=strength, temperature=temperature
  )

  def paused(logits, labels, mask, num_students):
    probs = [
      jnp.exp(_divergences.log_probs(jax.lax.stop_gradient(x))) for x in logits
    ]
    truth = jax.nn.one_hot(labels, probs[0].shape[-1], dtype=probs[0].dtype)
    apart = lambda a, b: _losses.masked_mean(
      jnp.sum(jnp.abs(a - b), axis=-1), mask
    )
    student = apart(probs[0], truth)
    found = []
    for own in probs[num_students:]:
      teacher = apart(own, truth)
      total = teacher + student
      share = jnp.exp(-teacher / jnp.where(total > 0, total, 1.0))
      far = apart(own, probs[0]) > student - share * teacher
      found.append(far & (teacher < student))
    return found

  def losses(logits, labels, mask, num_students):
    found, parts = base.losses(logits, labels, mask, num_students)
    waiting = paused(logits, labels, mask, num_students)
    share = sum(x.astype(jnp.float32) for x in waiting) / max(len(waiting), 1)
    return found, {**parts, 'paused': jnp.asarray(share, jnp.float32)}

  def active(logits, labels, mask, num_students):
    waiting = paused(logits, labels, mask, num_students)
    return [True] * num_students + [~x for x in waiting]

  return Method(losses, active, name='switokd')


METHODS = registry.Registry(
  'method',
  {
    'independent': independent,
    'label_smoothing': label_smoothing,
    'offline_kd': offline_kd,
    'dml': dml,
    'kdcl': kdcl,
    'switokd': switokd,
    'bd_kd': bd_kd,
  },
  tried={},
)


def make_method(spec: str | Method) -> Method:
  """Makes a method of text.

  Args:
    spec: a part of `METHODS`, 'bd_kd(weights=soft(kappa=0.2))', or a method.

  Returns:
    The method.

  Raises:
    ValueError: if a name, an option or a value is wrong.
    TypeError: if it is neither.

  Example:
    >>> make_method('bd_kd(weights=reverse)').name
    'bd_kd'
  """
  if isinstance(spec, Method):
    return spec
  if not isinstance(spec, str):
    raise TypeError(
      'method must be a part of distillation.METHODS or a Method; got '
      f'{checks.described(spec)}.'
    )
  return METHODS.make(spec)
