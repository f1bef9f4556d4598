# SPDX-License-Identifier: Apache-2.0
"""Full-batch training, one epoch a step, metrics of before the step."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import local
from jaxdl.core import checks, registry, types
from jaxdl.theory.grokking import _data, _lazy, _model

# Coefficients of the five Newton-Schulz steps of Tian's code.
NEWTON_SCHULZ = (
  (4.01, -9.22, 5.80),
  (3.49, -6.38, 3.23),
  (3.34, -6.21, 3.20),
  (3.64, -7.48, 4.43),
  (3.46, -5.35, 2.85),
)
METRICS = ('loss', 'accuracy', 'feature_gradient')


def coupled_adam(
  learning_rate: chex.Numeric = 1e-3,
  weight_decay: chex.Numeric = 0.0,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
) -> optax.GradientTransformation:
  """Adam whose weight decay is a part of the gradient, before the moments.

  Late generalization hangs on it: decoupled decay (`optax.adamw`) of the same
  size does not bring it about. `adam(..., weight_decay=...)` of `OPTIMIZERS` is
  the same; here both numbers may be traced, to be swept by `vmap`.

  Args:
    learning_rate: step size, may be traced.
    weight_decay: η >= 0, may be traced.
    b1: decay of the first moment.
    b2: decay of the second.
    eps: added to the denominator.

  Returns:
    An optax transformation.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> optimizer = coupled_adam(0.1, weight_decay=0.5)
    >>> w = jnp.array([2.0, -2.0])
    >>> updates, _ = optimizer.update(jnp.zeros(2), optimizer.init(w), w)
    >>> (10 * updates).round(3).tolist()
    [-1.0, 1.0]
  """
  checks.number(learning_rate, name='learning_rate', low=0.0)
  checks.number(weight_decay, name='weight_decay', low=0.0)
  return optax.chain(
    optax.add_decayed_weights(weight_decay),
    optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
    optax.scale_by_learning_rate(learning_rate),
  )


def muon(
  learning_rate: float = 1e-3,
  *,
  momentum: float = 0.99,
  weight_decay: float = 0.0,
  top_rate: float | None = None,
) -> optax.GradientTransformation:
  """Orthogonal updates of the lower layers, Adam at the top.

  Momentum is an average without Nesterov's step; its singular values are
  brought to one up to 16 % by five Newton-Schulz steps, without a factor for
  the shape. Lower layers decay apart from the gradient, the top with it.

  Args:
    learning_rate: of the lower layers.
    momentum: decay of the average.
    weight_decay: of all layers.
    top_rate: learning rate of 'top'; as the others if None.

  Returns:
    An optax transformation of dicts of matrices [..., m, n].

  Raises:
    ValueError: if a number is out of range, or (by `init`) a parameter is no
      matrix.

  Example:
    >>> optimizer = muon(1.0)
    >>> w = {'bottom': jnp.eye(2), 'top': jnp.eye(2)}
    >>> updates, _ = optimizer.update(w, optimizer.init(w), w)
    >>> bool(jnp.abs(updates['bottom'] + jnp.eye(2)).max() < 0.2)
    True

  Source: Tian 2025 (https://arxiv.org/abs/2509.21519), code; Jordan 2024, Muon.
  """
  for name, value in (
    ('learning_rate', learning_rate),
    ('weight_decay', weight_decay),
    ('top_rate', learning_rate if top_rate is None else top_rate),
  ):
    checks.number(value, name=name, low=0.0)
  checks.number(momentum, name='momentum', low=0.0, high=1.0, open_high=True)
  from optax import contrib

  def axes(params):
    return jax.tree.map(
      lambda x: contrib.MuonDimensionNumbers(x.ndim - 2, x.ndim - 1), params
    )

  def labels(params):
    return {name: 'top' if name == 'top' else 'lower' for name in params}

  whole = optax.partition(
    {
      'lower': optax.chain(
        contrib.scale_by_muon(
          NEWTON_SCHULZ,
          beta=momentum,
          nesterov=False,
          weight_dimension_numbers=axes,
        ),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
      ),
      'top': coupled_adam(
        learning_rate if top_rate is None else top_rate, weight_decay
      ),
    },
    labels,
  )

  def init(params):
    if not isinstance(params, Mapping):
      raise ValueError(
        'muon needs a dict of matrices, as {"bottom": w}; got '
        f'{checks.described(params)}.'
      )
    for name, x in params.items():
      if jnp.ndim(x) < 2:
        raise ValueError(
          f'muon needs matrices; {name!r} has shape {jnp.shape(x)}: train it '
          'by adam.'
        )
    return whole.init(params)

  return optax.GradientTransformationExtraArgs(init, whole.update)


OPTIMIZERS = local.OPTIMIZERS | {'muon': muon}


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
    >>> data = _data.make_data('cyclic(5)', 'fraction(0.8)')
    >>> model = _model.Model(order=5, hidden=64)
    >>> algorithm = group_learning(model, optimizer=coupled_adam(0.005))
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
    group_learning(
      model,
      optimizer=OPTIMIZERS.make(optimizer, num_steps=num_steps),
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
  eta: float = 1e-4,
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
  """The top is the ridge solution of strength `eta` in every epoch."""
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
    >>> data = _data.make_data('cyclic(5)', 'fraction(0.8)', seeds=(0, 1))
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


def make_problem(data: _data.GroupData, model: _model.Model) -> types.Problem:
  """What `experiment.compare` and `experiment.train` run.

  Problems of the same `data` share their examples.

  Args:
    data: of `make_data`.
    model: network and loss.

  Returns:
    The problem. It measures `accuracy` and `loss` on the test set.

  Raises:
    ValueError: if the model is of another order.

  Example:
    >>> data = _data.make_data('cyclic(5)', 'fraction(0.8)')
    >>> problem = make_problem(data, _model.Model(order=5, hidden=4))
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
    test=data.test,
  )
