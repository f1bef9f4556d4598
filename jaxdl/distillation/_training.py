# SPDX-License-Identifier: Apache-2.0
"""Networks that are trained side by side and learn from each other."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import networks as networks_lib
from jaxdl.core import checks, classes, trees, types
from jaxdl.distillation import _losses, _methods


class PeersState(NamedTuple):
  """State of `online_distillation`.

  Attributes:
    params: those of P networks, students first.
    opt_states: of their optimizers.
  """

  params: tuple[chex.ArrayTree, ...]
  opt_states: tuple[chex.ArrayTree, ...]


def _all_of(values, count, *, name):
  """One for all, or one each, as a tuple."""
  several = isinstance(values, (list, tuple)) and not hasattr(values, '_fields')
  found = tuple(values) if several else (values,) * count
  if len(found) != count:
    raise ValueError(
      f'{name} must be one for all or one for each of the {count} networks; '
      f'got {len(found)}.'
    )
  return found


def mutual_step(
  networks: Sequence[Any],
  method: str | _methods.Method,
  *,
  optimizer: Any,
  num_students: int = 1,
) -> Callable[..., tuple[PeersState, dict[str, chex.Array]]]:
  """Builds one step of P networks on one batch.

  All look at the batch once, then every one moves along the gradient of its own
  loss by its own optimizer. The predictions of the others are constants, so the
  gradient of one loss with respect to another network is zero, exactly.

  Args:
    networks: P >= 1 networks or flax modules of logits [B, K], students first;
      each has batch statistics of its own.
    method: a part of `METHODS`, or a `Method`.
    optimizer: of optax, for all or one for each.
    num_students: how many of them are students, 1 to P (static).

  Returns:
    `step(state, batch, *, key=None) -> (state, metrics)`, jittable. A batch has
    `inputs` [B, ...], `labels: i32[B]` in [0, K) and optionally `mask:
    bool[B]`. Metrics are f[]: `loss` and `accuracy` of the first network and
    `teacher_loss`, the mean over teachers, before the step, and the parts of
    the method. A batch without examples moves nothing by its loss. A sharded
    batch gives the step of the whole.

  Raises:
    ValueError: if numbers do not fit; from the step, if networks differ in
      their classes or the batch lacks an entry.
    TypeError: if a part is of another kind.

  Cost: one forward and one backward pass of each network.

  Source: Amara et al. 2022 (https://arxiv.org/abs/2212.12965); Zhang et al.
    2018 (https://arxiv.org/abs/1706.00384), Algorithm 1, with one pass for all.
  """
  if isinstance(networks, (str, types.Network)) or not hasattr(
    networks, '__len__'
  ):
    raise TypeError(
      f'networks must be a sequence of them; got {checks.described(networks)}.'
    )
  made = [networks_lib.as_network(n) for n in networks]
  if not made:
    raise ValueError('networks is empty: need at least one.')
  method = _methods.make_method(method)
  optimizers = _all_of(optimizer, len(made), name='optimizer')
  for one in optimizers:
    checks.optimizer(one)
  checks.integer(num_students, name='num_students', low=1, high=len(made))

  def outputs(params, batch, key):
    inputs = batch['inputs']
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    if 'mask' in batch:
      inputs = trees.where_rows(batch['mask'] != 0, inputs, 0)
    found, more = [], 0.0
    for i, (network, own) in enumerate(zip(made, params, strict=True)):
      own_key = None if key is None else jax.random.fold_in(key, i)
      logits, surrogate = networks_lib.training_outputs(
        network, own, *inputs, mask=batch.get('mask'), key=own_key
      )
      found.append(logits)
      more = more + surrogate
    return found, more

  def step(state, batch, *, key=None):
    _check_batch(batch)
    _check_state(state, len(made))
    labels, mask = jnp.asarray(batch['labels']), batch.get('mask')
    if mask is not None:  # What does not count may be anything.
      labels = jnp.where(jnp.asarray(mask) != 0, labels, 0)

    def total(params):
      logits, more = outputs(params, batch, key)
      losses, parts = method.losses(logits, labels, mask, num_students)
      return sum(losses) + more, (losses, parts, logits)

    gradient = jax.grad(total, has_aux=True)
    grads, (losses, parts, logits) = gradient(state.params)
    moves = [True] * len(made)
    if method.active is not None:
      moves = method.active(logits, labels, mask, num_students)
    params, opt_states = [], []
    for i, one in enumerate(optimizers):
      before = (state.params[i], state.opt_states[i])
      after = before
      if moves[i] is not False:
        change, memory = one.update(grads[i], before[1], before[0])
        after = (optax.apply_updates(before[0], change), memory)
      if not isinstance(moves[i], bool):
        keep = lambda new, old, move=moves[i]: jnp.where(move, new, old)
        after = jax.tree.map(keep, after, before)
      params.append(after[0])
      opt_states.append(after[1])
    right = classes.is_right(logits[0], labels).astype(jnp.float32)
    hits = _losses.masked_mean(right, mask)
    metrics = {'loss': losses[0], 'accuracy': hits, **parts}
    teachers = losses[num_students:]
    if teachers:
      metrics['teacher_loss'] = sum(teachers) / len(teachers)
    return PeersState(tuple(params), tuple(opt_states)), metrics

  return step


def _check_batch(batch):
  if not hasattr(batch, 'get'):
    raise TypeError(f'batch must be a dict; got {checks.described(batch)}.')
  for name in ('inputs', 'labels'):
    if name not in batch:
      raise ValueError(f'batch has no entry {name!r}; got {sorted(batch)}.')
  if not jnp.size(batch['labels']):
    raise ValueError('batch has no examples: labels are empty.')
  _losses.check_mask(batch.get('mask'), jnp.shape(batch['labels']))


def _check_state(state, count):
  fields = ('params', 'opt_states')
  if not all(hasattr(state, field) for field in fields):
    raise TypeError(
      'state must be a PeersState(params, opt_states); got '
      f'{checks.described(state)}.'
    )
  for field in fields:
    if len(getattr(state, field)) != count:
      raise ValueError(
        f'state.{field} must have one entry for each of the {count} networks; '
        f'got {len(getattr(state, field))}.'
      )


def online_distillation(
  networks: Sequence[Any],
  example_inputs: chex.ArrayTree,
  method: str | _methods.Method = 'bd_kd',
  *,
  optimizer: Any,
  num_students: int = 1,
  teacher_batches: Callable[[chex.Numeric], Any] | None = None,
  teacher_steps: int = 0,
) -> types.Algorithm:
  """Trains networks together from scratch, each with the help of the others.

  A round is one step on the pooled examples of the cohort.

  Args:
    networks: P >= 1 networks or flax modules, students first.
    example_inputs: array (or tuple of arrays) [B, ...] that initializes them;
      `jax.ShapeDtypeStruct` will do.
    method: a part of `METHODS`, or a `Method`.
    optimizer: of optax, for all or one for each.
    num_students: how many are students (static).
    teacher_batches: `teacher_batches(t) -> batch`, t from 1: what teachers of
      offline methods are trained on, from the labels alone, while the state is
      made.
    teacher_steps: how many steps that takes (static).

  Returns:
    An `Algorithm` of cohorts whose data has leaves [N, B, ...]; `params` are
    those of all P, as a tuple. Weights of the cohort are not used; padding
    clients need batches whose mask is false. Network i starts from
    `fold_in(key, i)`, whatever the method.

  Raises:
    ValueError: if numbers do not fit, or an offline method has nothing to train
      its teachers on.
    TypeError: if a part is of another kind.

  Example:
    >>> from jaxdl import networks
    >>> peers = [networks.mlp(4, 3), networks.mlp(16, 3)]
    >>> algorithm = online_distillation(
    ...   peers, jnp.ones((1, 2)), optimizer=optax.adam(1e-2)
    ... )
    >>> state = algorithm.init(jax.random.key(0))
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(1),
    ...   data={
    ...     'inputs': jnp.ones((1, 4, 2)), 'labels': jnp.ones((1, 4), int)
    ...   },
    ...   mask=jnp.ones((1,), bool),
    ...   weights=jnp.ones((1,)),
    ... )
    >>> state, metrics = algorithm.step(state, cohort, key=jax.random.key(1))
    >>> sorted(metrics)
    ['accuracy', 'divergence', 'entropy_gap', 'loss', 'teacher_loss']

  Source: Amara et al. 2022 (https://arxiv.org/abs/2212.12965) and what
    `METHODS` name.
  """
  method = _methods.make_method(method)
  one_step = mutual_step(
    networks, method, optimizer=optimizer, num_students=num_students
  )
  made = [networks_lib.as_network(n) for n in networks]
  optimizers = _all_of(optimizer, len(made), name='optimizer')
  inputs = example_inputs
  inputs = inputs if isinstance(inputs, tuple) else (inputs,)
  steps = checks.integer(teacher_steps, name='teacher_steps', low=0)
  teachers = slice(num_students, None)
  if method.offline and not made[teachers]:
    raise ValueError(
      f'{method.name} has no teacher: num_students={num_students} must be '
      f'below the {len(made)} networks.'
    )
  batches = teacher_batches
  if batches is not None and not callable(batches):
    raise TypeError(
      'teacher_batches must be a function t -> batch; got '
      f'{checks.described(batches)}.'
    )
  if method.offline and steps and batches is None:
    raise ValueError(
      f'{method.name} trains teachers first: say teacher_batches.'
    )

  def init(key):
    params = tuple(
      n.init(jax.random.fold_in(key, i), *inputs) for i, n in enumerate(made)
    )
    memory = tuple(o.init(p) for o, p in zip(optimizers, params, strict=True))
    if not method.offline or not steps or batches is None:
      return PeersState(params, memory)
    alone = mutual_step(
      made[teachers],
      'independent',
      optimizer=optimizers[teachers],
      num_students=len(made) - num_students,
    )

    def advance(state, t):
      own = jax.random.fold_in(jax.random.fold_in(key, len(made)), t)
      return alone(state, batches(t), key=own)[0], None

    start = PeersState(params[teachers], memory[teachers])
    done, _ = jax.lax.scan(advance, start, jnp.arange(1, steps + 1))
    return PeersState(
      params[:num_students] + done.params,
      memory[:num_students] + done.opt_states,
    )

  def step(state, cohort, *, key):
    pooled = jax.tree.map(
      lambda x: x.reshape(-1, *x.shape[2:]), dict(cohort.data)
    )
    return one_step(state, pooled, key=key)

  return checks.algorithm(
    init, step, lambda state: state.params, state=PeersState
  )
