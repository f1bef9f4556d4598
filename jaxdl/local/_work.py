# SPDX-License-Identifier: Apache-2.0
"""How much a client works in a round, said once for every algorithm."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.core import checks, registry, types
from jaxdl.local import _optimizers, _training


@dataclasses.dataclass(frozen=True)
class LocalWork:
  """What a client does between messages; all static.

  Attributes:
    optimizer: the client's, of optax or a part of `OPTIMIZERS`; it starts
      afresh in every round.
    batch_size: B, examples per step; None takes all that the cohort brings at
      every step, a whole client or a batch that was drawn before.
    num_epochs: E passes over the client's examples.
    num_steps: K steps; with both limits the smaller number counts, without any
      there is one pass, or one step if `batch_size` is None.
    stragglers: share of the clients of a round that send partial work: each
      does a random number of its steps, at least one. `Trained.share` tells.

  Raises:
    ValueError: if a number is out of range, or epochs are asked for without a
      batch size.

  Example:
    >>> LocalWork('sgd(0.1)', batch_size=10).num_epochs
    1
  """

  optimizer: optax.GradientTransformation | str = 'sgd(0.1)'
  batch_size: int | None = None
  num_epochs: int | None = None
  num_steps: int | None = None
  stragglers: float = 0.0

  def __post_init__(self):
    if isinstance(self.optimizer, str):
      made = _optimizers.make_optimizer(self.optimizer)
      object.__setattr__(self, 'optimizer', made)
    checks.optimizer(self.optimizer)
    for name in ('batch_size', 'num_epochs', 'num_steps'):
      if getattr(self, name) is not None:
        checks.integer(getattr(self, name), name=name, low=1)
    checks.number(self.stragglers, name='stragglers', low=0.0, high=1.0)
    if self.batch_size is None and self.num_epochs is not None:
      raise ValueError(
        f'num_epochs={self.num_epochs} needs a batch_size: without one every '
        'step takes all examples, say num_steps.'
      )
    if self.num_epochs is None and self.num_steps is None:
      least = 'num_steps' if self.batch_size is None else 'num_epochs'
      object.__setattr__(self, least, 1)

  def trainer(
    self, task: types.Task, **options: bool
  ) -> Callable[..., _training.Trained]:
    """Builds the work of one client.

    Args:
      task: parameters and loss.
      **options: `frozen` and `average` of `train_steps`.

    Returns:
      `train(params, data, key, *, correct=None, opt_state=None) -> Trained`.
      `data` is the client's share of a cohort: with a `batch_size` a dict of
      leaves [S, ...], `mask: bool[S]` among them (all are real without), real
      examples first. A client whose mask is false throughout does nothing.
    """
    if self.batch_size is None:
      return self._whole(task, options)
    train = _training.local_training(
      task,
      self.optimizer,
      batch_size=self.batch_size,
      num_epochs=self.num_epochs,
      num_steps=self.num_steps,
      **options,
    )

    def run(params, data, key, *, correct=None, opt_state=None):
      mask = real_rows(data)
      count = jnp.sum(mask, dtype=jnp.int32)
      if self.num_epochs is None:
        most = jnp.asarray(self.num_steps, jnp.int32)
      else:
        most = -(-self.num_epochs * count // self.batch_size)
        if self.num_steps is not None:
          most = jnp.minimum(most, self.num_steps)
      trained = train(
        params,
        data,
        mask,
        key,
        limit=self._limit(key, most),
        correct=correct,
        opt_state=opt_state,
      )
      return _told(trained, jnp.where(count > 0, most, 0))

    return run

  def _whole(self, task, options):
    steps = self.num_steps or 1
    train = _training.train_steps(
      task, self.optimizer, num_steps=steps, **options
    )

    def run(params, data, key, *, correct=None, opt_state=None):
      masked = isinstance(data, Mapping) and 'mask' in data
      real = jnp.any(data['mask'] != 0) if masked else True
      start = self.optimizer.init(params) if opt_state is None else opt_state
      trained = train(
        params,
        start,
        lambda t: (data, real),
        key,
        limit=self._limit(key, jnp.asarray(steps, jnp.int32)),
        correct=correct,
      )
      return _told(trained, jnp.asarray(steps, jnp.int32))

    return run

  def _limit(self, key, most):
    """Steps that a client gets done, or None for all."""
    if not self.stragglers:
      return None
    late_key, share_key = jax.random.split(jax.random.fold_in(key, 1))
    late = jax.random.bernoulli(late_key, self.stragglers)
    part = jax.random.randint(share_key, (), 1, jnp.maximum(most, 1) + 1)
    return jnp.where(late, part, most)


def _told(trained, most):
  """The same, with the share of the work that was done."""
  share = trained.num_steps / jnp.maximum(most, 1)
  return trained._replace(share=share.astype(jnp.float32))


def work(
  optimizer: optax.GradientTransformation,
  batch_size: int | None,
  num_epochs: int | None = None,
  num_steps: int | None = None,
  stragglers: float = 0.0,
) -> LocalWork:
  """Passes over the examples (one if nothing is said), or steps at most."""
  return LocalWork(optimizer, batch_size, num_epochs, num_steps, stragglers)


WORKS = registry.Registry(
  'work', {'work': work}, given=('optimizer', 'batch_size')
)


def real_rows(data: Any) -> chex.Array:
  """Which examples of one client are real.

  Args:
    data: a dict of leaves [S, ...], `mask: bool[S]` among them if some are not.

  Returns:
    bool[S].

  Raises:
    TypeError: if it is no dict.
  """
  if not isinstance(data, Mapping):
    raise TypeError(
      'a batch_size needs cohort.data to be a dict of leaves [N, S, ...]; got '
      f'{checks.described(data)}.'
    )
  if 'mask' in data:
    return data['mask'] != 0
  first = jax.tree.leaves(dict(data))[0]
  return jnp.ones(first.shape[:1], bool)


def check_work(value: Any) -> LocalWork:
  """Checks that a value says what a client does.

  Args:
    value: what the caller gave as `work`.

  Returns:
    The value.

  Raises:
    TypeError: if it is no `LocalWork`.
  """
  if not isinstance(value, LocalWork):
    raise TypeError(
      f'work must be a local.LocalWork; got {checks.described(value)}: for '
      "example LocalWork('sgd(0.1)', batch_size=10, num_epochs=1)."
    )
  return value


def loss_gradient(
  task: types.Task,
) -> Callable[..., tuple[chex.Array, chex.ArrayTree]]:
  """Loss and gradient of one client on all its examples.

  Args:
    task: parameters and loss.

  Returns:
    `fn(params, data, key) -> (f32[], gradient)`; zero for a client whose mask
    is false throughout.
  """

  def run(params, data, key):
    loss, grads = jax.value_and_grad(task.loss)(params, data, key=key)
    if isinstance(data, Mapping) and 'mask' in data:
      real = jnp.any(data['mask'] != 0)
      loss = jnp.where(real, loss, 0.0)
      grads = jax.tree.map(lambda x: jnp.where(real, x, 0), grads)
    return loss, grads

  return run
