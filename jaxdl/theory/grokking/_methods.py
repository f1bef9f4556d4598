# SPDX-License-Identifier: Apache-2.0
"""Networks and their training by name, and what runs them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry, types
from jaxdl.theory.grokking import _data, _learning, _model, _optimizers


class Method(NamedTuple):
  """A network and how it is trained.

  Attributes:
    model: the network and its loss.
    algorithm: of `group_learning`.
  """

  model: _model.Model
  algorithm: types.Algorithm


def _made(
  order, hidden, activation, loss, optimizer, num_steps, turns, num_early,
  *, ridge=None, is_frozen=False, **more,
):  # fmt: skip
  model = _model.Model(
    order=order, hidden=hidden, activation=activation, loss=loss, **more
  )
  return Method(
    model,
    _learning.group_learning(
      model,
      optimizer=_optimizers.OPTIMIZERS.make(optimizer, num_steps=num_steps),
      ridge=ridge,
      is_frozen=is_frozen,
      turns=turns,
      num_early=num_early,
    ),
  )


def trained(
  order: int,
  *,
  hidden: int = 256,
  activation: str = 'square',
  loss: str = 'class_centered',
  optimizer: str = 'adam',
  top_scale: float = 1.0,
  num_layers: int = 0,
  is_complex: bool = False,
  output_scale: float = 1.0,
  num_steps: int | None = None,
  turns: bool = False,
  num_early: int = 0,
) -> Method:
  """All layers learn; `top_scale=0.0` starts the top at zero."""
  return _made(
    order, hidden, activation, loss, optimizer, num_steps, turns, num_early,
    top_scale=top_scale, num_layers=num_layers, is_complex=is_complex,
    output_scale=output_scale,
  )  # fmt: skip


def ridge_top(
  order: int,
  *,
  eta: float = 0.1,
  hidden: int = 256,
  activation: str = 'square',
  loss: str = 'class_centered',
  optimizer: str = 'adam',
  num_layers: int = 0,
  is_complex: bool = False,
  output_scale: float = 1.0,
  num_steps: int | None = None,
  turns: bool = False,
  num_early: int = 0,
) -> Method:
  """The top is the ridge solution; with a small `eta` features hardly move."""
  return _made(
    order, hidden, activation, loss, optimizer, num_steps, turns, num_early,
    num_layers=num_layers, is_complex=is_complex, output_scale=output_scale,
    ridge=eta,
  )  # fmt: skip


def frozen(
  order: int,
  *,
  hidden: int = 256,
  activation: str = 'square',
  loss: str = 'class_centered',
  optimizer: str = 'adam',
  top_scale: float = 1.0,
  num_layers: int = 0,
  is_complex: bool = False,
  output_scale: float = 1.0,
  num_steps: int | None = None,
  turns: bool = False,
  num_early: int = 0,
) -> Method:
  """Features stay as drawn, the top alone learns: purely lazy."""
  return _made(
    order, hidden, activation, loss, optimizer, num_steps, turns, num_early,
    top_scale=top_scale, num_layers=num_layers, is_complex=is_complex,
    output_scale=output_scale, is_frozen=True,
  )  # fmt: skip


METHODS = registry.Registry(
  'method',
  {'frozen': frozen, 'ridge_top': ridge_top, 'trained': trained},
  given=('order', 'num_steps', 'turns', 'num_early'),
  told=('hidden', 'activation', 'loss', 'optimizer'),
)


def make_method(spec: str, order: int, **options: Any) -> Method:
  """Makes a network and its training by name.

  Args:
    spec: a part of `METHODS`.
    order: M.
    **options: of the method, where the part does not set them; besides
      `num_steps`, `turns` and `num_early`, see `group_learning`.

  Returns:
    The method.

  Raises:
    ValueError: if the name, an option or a value is wrong.

  Example:
    >>> method = make_method('trained(top_scale=0.0)', 5, hidden=8)
    >>> method.model.top_scale, method.model.hidden
    (0.0, 8)
  """
  return METHODS.make(spec, order, **options)


def train(
  method: Method,
  data: Mapping[str, chex.Array],
  *,
  num_epochs: int,
  key: chex.PRNGKey,
  test: Mapping[str, chex.Array] | None = None,
) -> tuple[chex.ArrayTree, dict[str, chex.Array]]:
  """Trains one network as one scan; pure, for `jit` and `vmap`.

  Over seeds or ratios: `vmap` over key, data and test; over learning rates and
  weight decays: make the method inside, with `coupled_adam` of traced numbers;
  over devices: shard the leading axis of what is mapped.

  Args:
    method: of `make_method`.
    data: 'inputs' i[n, 2], 'labels' i[n].
    num_epochs: T (static).
    key: consumed.
    test: as `data`; evaluated in every epoch, if given.

  Returns:
    Final weights, and metrics f[T] of before every epoch; those of `test` are
    called `test_loss` and `test_accuracy`.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> data = make_data('cyclic(5)', 'fraction(0.8)', seeds=(0, 1))
    >>> method = make_method('trained', 5, hidden=16)
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> run = lambda key, *sets: train(
    ...   method, sets[0], num_epochs=3, key=key, test=sets[1]
    ... )
    >>> _, history = jax.vmap(run)(keys, data.train, data.test)
    >>> history['test_accuracy'].shape
    (2, 3)
  """
  checks.integer(num_epochs, name='num_epochs', low=0)
  for name, batch in (('data', data), ('test', test)):
    if batch is not None:
      _check_examples(batch, method.model.order, name)
  task = method.model.task()
  cohort = types.Cohort(
    client_ids=jnp.arange(1),
    data=jax.tree.map(lambda x: jnp.asarray(x)[None], dict(data)),
    mask=jnp.ones((1,), bool),
    weights=jnp.ones((1,)),
  )

  def epoch(state, _):
    seen = {}
    if test is not None:
      found = task.evaluate(state.params, test)
      seen = {f'test_{name}': value for name, value in found.items()}
    state, metrics = method.algorithm.step(state, cohort, key=key)
    return state, metrics | seen

  state = method.algorithm.init(key)
  state, history = jax.lax.scan(epoch, state, length=num_epochs)
  return state.params, history


def _check_examples(batch, order, name):
  for key, rank in (('inputs', 2), ('labels', 1)):
    if key not in batch:
      raise ValueError(f'{name} has no {key!r}; it has {sorted(batch)}.')
    shape = jnp.shape(batch[key])
    if len(shape) != rank or (rank == 2 and shape[1] != 2):
      raise ValueError(
        f'{name}[{key!r}] must be i[{"n, 2" if rank == 2 else "n"}], of one '
        f'network; got shape {shape}: over seeds, vmap.'
      )
    checks.class_labels(batch[key], order, name=f'{name}[{key!r}]')


def make_problem(data: _data.GroupData, model: _model.Model) -> types.Problem:
  """What `experiment.compare` and `experiment.train` run.

  Problems of the same `data` share their examples. On CPU seeds take turns
  within a program: for networks of 512 nodes that needs half the time of
  batched products, for small ones as much.

  Args:
    data: of `make_data`.
    model: network and loss.

  Returns:
    The problem. It measures `accuracy` and `loss` on the test set.

  Raises:
    ValueError: if the model is of another order.

  Example:
    >>> data = make_data('cyclic(5)', 'fraction(0.8)')
    >>> problem = make_problem(data, Model(order=5, hidden=4))
    >>> params = jax.vmap(problem.task.init)(jax.random.key(0)[None])
    >>> sorted(problem.evaluate(params))
    ['accuracy', 'loss']
  """
  if model.order != data.order:
    raise ValueError(
      f'model has order={model.order} but the group has {data.order} elements.'
    )
  task = model.task()

  @jax.jit
  def tested(params, test):
    return jax.lax.map(lambda pair: task.evaluate(*pair), (params, test))

  return types.Problem(
    task=task,
    data=data.train,
    cohort=data.cohort,
    evaluate=lambda params: jax.device_get(tested(params, data.test)),
    seeds=data.seeds,
    num_clients=1,
    num_classes=data.order,
    metric='accuracy',
    ylabel='Test accuracy',
    one_by_one=jax.default_backend() == 'cpu',
    test=data.test,
  )
