# SPDX-License-Identifier: Apache-2.0
"""Examples as vectors of a chosen length, for random features and the like.

Inputs are centered and scaled to a given root mean square length: the variance
of random features grows with exp(|x|^2).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib, local, networks
from jaxdl.core import checks, registry, types
from jaxdl.networks import features as features_lib
from jaxdl.problems import _classification


def invert(x: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
  """Makes negatives of images.

  Args:
    x: f[..., I].
    ends: darkest and brightest value.

  Returns:
    Images of the same shape.
  """
  return ends[0] + ends[1] - x


def rotate(x: np.ndarray) -> np.ndarray:
  """Turns square images by a quarter.

  Args:
    x: f[..., I], flat.

  Returns:
    Images of the same shape.

  Raises:
    ValueError: if they are not square.
  """
  side = round(x.shape[-1] ** 0.5)
  if side * side != x.shape[-1]:
    raise ValueError(
      f'transfer=rotate turns square images but inputs have {x.shape[-1]} '
      'numbers: choose transfer=invert.'
    )
  turned = np.rot90(x.reshape(*x.shape[:-1], side, side), axes=(-2, -1))
  return np.ascontiguousarray(turned.reshape(x.shape))


_MOVES = {'invert': invert, 'rotate': rotate}
# How images are changed; 'invert+rotate' does both.
TRANSFERS = registry.Registry(
  'transfer',
  _MOVES,
  given=('x', 'ends'),
  before=registry.Registry('transfer', _MOVES, given=('x', 'ends')),
)


def scaled(
  dataset: data_lib.Dataset,
  *,
  input_length: float = 2.2,
  transfer: str | None = None,
) -> data_lib.Dataset:
  """Makes vectors of inputs and centers and scales them.

  Args:
    dataset: any.
    input_length: root mean square length of the training inputs, which are
      centered; 0 leaves them as they are.
    transfer: a chain of `TRANSFERS`: images are changed after mean and scale
      have been taken, so that a network of the original ones fits.

  Returns:
    The data set, inputs f32[n, I].

  Raises:
    ValueError: if images cannot be changed in that way.

  Example:
    >>> x = scaled(data_lib.load_wine(), input_length=2.0).train_inputs
    >>> x.shape, round(float(np.square(x).sum(axis=1).mean()), 3)
    ((133, 13), 4.0)
  """
  checks.number(input_length, name='input_length', low=0.0)
  moves = () if transfer is None else TRANSFERS.parts(transfer)
  flat = lambda x: np.asarray(x, np.float32).reshape(len(x), -1)
  train, test = flat(dataset.train_inputs), flat(dataset.test_inputs)
  ends = float(train.min()), float(train.max())
  mean, scale = 0.0, 1.0
  if input_length:
    mean = train.mean(axis=0)
    length = np.sqrt(np.square(train - mean).sum(axis=-1).mean())
    scale = input_length / max(length, 1e-12)

  def prepare(x):
    for part in moves:
      x = TRANSFERS.bound(part, x, ends=ends)
    return (x - mean) * np.float32(scale)

  return dataset._replace(
    train_inputs=prepare(train), test_inputs=prepare(test)
  )


def scaled_examples(
  dataset: Any = 'digits',
  *,
  partition: str = 'iid',
  network: str | types.Network = 'mlp(128, kernel_init=glorot)',
  num_clients: int = 1,
  batch_size: int = 64,
  l2: float = 0.0,
  input_length: float = 2.2,
  transfer: str | None = None,
  data_dir: str | None = None,
  eval_batch_size: int = 512,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Deals examples with scaled inputs to clients, once per seed.

  Targets are classes or, for data sets without, numbers. `with_network` gives
  the same data to another network.

  Args:
    dataset: see `classification`, or a data set without classes.
    partition: a part of `data.PARTITIONERS`.
    network: a part of `networks.NETWORKS`, or a network of vectors.
    num_clients: N.
    batch_size: B, examples per client and round.
    l2: penalty in the loss.
    input_length: see `scaled`.
    transfer: see `scaled`.
    data_dir: folder of the files, for data sets that need it.
    eval_batch_size: examples per evaluation batch.
    seeds: S seeds.

  Returns:
    The problem, measured on the test set: see `with_network`.

  Raises:
    ValueError: if data, partition or network do not fit.

  Example:
    >>> problem = scaled_examples('wine', network='mlp(8)', num_clients=2)
    >>> problem.data[0]['inputs'].shape
    (1, 2, 67, 13)
  """
  seeds = checks.seeds(seeds)
  loaded = scaled(
    _classification.load(dataset, data_dir, classes=False),
    input_length=input_length,
    transfer=transfer,
  )
  if not loaded.num_classes:
    chosen = data_lib.PARTITIONERS.part(partition).name
    if chosen != 'iid':
      raise ValueError(
        f'dataset={dataset} has no classes: use partition=iid instead of '
        f'{partition}.'
      )
    wide = lambda y: np.asarray(y, np.float32).reshape(len(y), -1)
    loaded = loaded._replace(
      train_labels=wide(loaded.train_labels),
      test_labels=wide(loaded.test_labels),
    )
  arrays = {'inputs': loaded.train_inputs, 'labels': loaded.train_labels}

  def cohort(key, data, round):
    batch_key, _ = jax.random.split(jax.random.fold_in(key, round))
    return local.batch_cohort(batch_key, *data, batch_size=batch_size)

  regression = not loaded.num_classes
  empty = types.Problem(
    task=None,
    data=_classification.deal(
      arrays, loaded.train_labels, partition, num_clients, seeds
    ),
    cohort=cohort,
    evaluate=None,
    seeds=seeds,
    num_clients=num_clients,
    num_classes=loaded.num_classes,
    metric='r2' if regression else 'accuracy',
    ylabel='Explained variance' if regression else 'Test accuracy',
    test=_classification.test_batches(loaded, eval_batch_size),
  )
  return with_network(empty, network, l2=l2)


def vector_sizes(problem: types.Problem) -> tuple[int, int]:
  """Numbers of inputs and outputs of a network of a problem's vectors.

  Args:
    problem: from `scaled_examples`.

  Returns:
    I and, after it, classes or numbers to predict.
  """
  arrays, _ = problem.data
  outputs = problem.num_classes or arrays['labels'].shape[-1]
  return arrays['inputs'].shape[-1], outputs


def with_network(
  problem: types.Problem,
  network: str | types.Network,
  *,
  l2: float = 0.0,
  estimate: Callable[[chex.ArrayTree, chex.Array], chex.Array] | None = None,
) -> types.Problem:
  """Gives a problem of vectors to another network: the same data and batches.

  Args:
    problem: from `scaled_examples`.
    network: a part of `networks.NETWORKS`, or a network that gives logits or
      predictions.
    l2: penalty of the loss.
    estimate: `estimate(params, inputs)` gives estimates of one-hot labels; the
      softmax of the logits if None.

  Returns:
    The problem. It is measured by `accuracy`, `loss` and `mse`, the squared
    error to one-hot labels per output; by `loss`, `absolute_error` and `r2`
    where there are no classes.

  Raises:
    ValueError: if the network does not fit.

  Example:
    >>> first = scaled_examples('wine', network='mlp(8)')
    >>> second = with_network(first, 'logistic_regression')
    >>> second.data is first.data
    True
  """
  dim, outputs = vector_sizes(problem)
  classes = problem.num_classes
  if isinstance(network, str):
    network = networks.make_network(network, (dim,), outputs)
  network = networks.as_network(network)
  example = jnp.zeros((1, dim))
  if classes:
    plain = networks.classification(
      network, example, num_classes=classes, l2=l2
    )
  else:
    plain = networks.regression(network, example, l2=l2)
  labels = np.asarray(problem.test['labels'])
  variance = float(labels[np.asarray(problem.test['mask'])].var())

  def evaluate(params, batch):
    values = plain.evaluate(params, batch)
    if not classes:
      return {**values, 'r2': 1 - values['loss'] / variance}
    if estimate is None:
      found = jax.nn.softmax(network.apply(params, batch['inputs']))
    else:
      found = estimate(params, batch['inputs'])
    wanted = jax.nn.one_hot(batch['labels'], classes)
    errors = jnp.square(found - wanted).mean(-1)
    count = jnp.maximum(batch['mask'].sum(), 1)
    mse = jnp.where(batch['mask'], errors, 0).sum() / count
    return {**values, 'mse': mse}

  task = plain._replace(evaluate=evaluate)
  tested = _classification.evaluator(task, problem.test)
  return problem.replace(
    task=task,
    network=network,
    evaluate=tested,
    evaluate_clients=_classification.clients_evaluator(tested, ()),
    reliability=_classification.reliability(task, problem.test, problem.seeds),
  )


class Readout(NamedTuple):
  """A read-out that can be fitted.

  Attributes:
    num_trained: its numbers.
    evaluate: `evaluate() -> dict of f[S]` fits it to what the clients of every
      seed hold, and tests it.
  """

  num_trained: int
  evaluate: Callable[[], dict[str, np.ndarray]]


def bundled_readout(
  problem: types.Problem,
  features: features_lib.Features | None = None,
  *,
  depth: int = 0,
  num_features: int = 0,
  ridge: float,
) -> Readout:
  """A read-out of bundled layers that is fitted exactly; or of the inputs.

  Args:
    problem: from `scaled_examples`.
    features: how maps are drawn; not needed for `depth=0`.
    depth: bundled layers; 0 is linear regression, with a one beside the inputs.
    num_features: m of every map.
    ridge: penalty.

  Returns:
    What fits and tests it. Where there are classes, its `loss` is the cross-
    entropy after one factor on all outputs was fitted to what training examples
    are given when they are left out; `mse` is without it.

  Raises:
    ValueError: if the system is singular; from `evaluate`, if what was fitted
      is not finite.

  Example:
    >>> problem = scaled_examples('wine', network='mlp(8)')
    >>> linear = bundled_readout(problem, ridge=0.1)
    >>> linear.num_trained, sorted(linear.evaluate())
    (42, ['accuracy', 'brier', 'ece', 'loss', 'mse'])
  """
  checks.number(ridge, name='ridge', low=0.0)
  dim, outputs = vector_sizes(problem)
  classes = problem.num_classes
  if depth and features is None:
    raise ValueError(f'depth={depth} needs features: say how maps are drawn.')
  size = features.size(num_features) if depth else dim + 1
  num_examples = int(np.asarray(problem.data[1]).sum(axis=(1, 2)).min())
  if ridge == 0 and num_examples < size:
    raise ValueError(
      f'ridge=0 with n={num_examples} examples of {size} features is singular: '
      'use ridge > 0 or fewer features.'
    )

  def lift(frozen, x):
    if not depth:
      return jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)
    return features_lib.bundled_features(x, [features.map(c) for c in frozen])

  def estimate(params, x):
    return lift(params['frozen'], x) @ params['trained'].T

  def apply(params, x, **options):
    del options
    return params['scale'] * estimate(params, x)

  def fit(key, data):
    frozen, (arrays, real) = (), data
    if depth:
      key = jax.random.fold_in(jax.random.fold_in(key, depth), num_features)
      frozen = features.draw_layers(key, dim, num_features, depth)
    matrix, scale = features_lib.fit_over_clients(
      lambda x: lift(frozen, x),
      arrays['inputs'],
      arrays['labels'],
      mask=real,
      ridge=ridge,
      num_classes=classes,
    )
    return {'frozen': frozen, 'trained': matrix, 'scale': scale}

  def evaluate():
    network = types.Network(lambda key, x: (), apply)
    tested = with_network(problem, network, estimate=estimate)
    keys = jnp.stack([jax.random.key(seed) for seed in problem.seeds])
    params = jax.jit(lambda args: jax.lax.map(lambda a: fit(*a), args))(
      (keys, problem.data)
    )
    if not np.isfinite(params['trained']).all():
      raise ValueError(
        f'the closed form of depth {depth} with m={num_features} is not '
        'finite: features overflow or the system is singular; lower '
        'input_length, normalize the features or raise the ridge.'
      )
    return tested.evaluate(params)

  return Readout(outputs * size, evaluate)
