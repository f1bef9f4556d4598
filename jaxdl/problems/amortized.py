# SPDX-License-Identifier: Apache-2.0
"""A family of problems with a parameter, solved by one hypernetwork.

A task has examples, a primary network and a loss that depends on a parameter
gamma in [0, 1]^D, or a network input that does. `problem` draws a gamma for
each batch, or for each example, and measures the mean loss over many.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import data as data_lib, metrics, networks
from jaxdl.core import checks, classes, registry, types
from jaxdl.networks import hyper
from jaxdl.problems import _classification


class Amortized(NamedTuple):
  """What is learned for all gammas at once.

  Attributes:
    network: the primary network, of one input.
    chosen: patterns of its parameters that are generated.
    train: leaves [n, ...]; `inputs` among them.
    test: the same, of other examples.
    gamma_dim: D.
    errors: `errors(outputs, batch, gamma) -> dict of f[B]`, `loss` among them;
      gamma is f[B, D].
    inputs: `inputs(batch, gamma) -> f[B, ...]`, what the network sees.
    extra: `extra(key, shape) -> dict`, what is drawn for a batch of B examples
      of `inputs` of that shape; None for nothing.
    num_classes: K, or 0.
    metric: the figure to look at first.
    ylabel: its caption.
  """

  network: types.Network
  chosen: str
  train: dict[str, np.ndarray]
  test: dict[str, np.ndarray]
  gamma_dim: int
  errors: Callable[..., dict[str, chex.Array]]
  inputs: Callable[..., chex.Array] = lambda batch, gamma: batch['inputs']
  extra: Callable[..., dict[str, chex.Array]] | None = None
  num_classes: int = 0
  metric: str = 'loss'
  ylabel: str = 'Mean validation loss over gamma'


def _digits():
  """1400 digits to learn from and 397 to test on, pixels in [0, 1]."""
  loaded = data_lib.load_digits(
    pixels='unit', stratify=False, test_fraction=397 / 1797
  )
  return (
    {'inputs': loaded.train_inputs, 'labels': loaded.train_labels},
    {'inputs': loaded.test_inputs, 'labels': loaded.test_labels},
  )


def _primary(depth, width, num_outputs):
  checks.integer(depth, name='depth', low=0)
  checks.integer(width, name='width', low=1)
  return networks.mlp((width,) * depth, num_outputs, activation='leaky_relu')


_cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def _family_errors(logits, batch, gamma):
  labels, share = batch['labels'], gamma[:, 0]
  loss = (1 - share) * _cross_entropy(logits, labels)
  loss += share * _cross_entropy(logits, 9 - labels)
  wanted = jnp.where(share < 0.5, labels, 9 - labels)
  return {'loss': loss, 'accuracy': classes.is_right(logits, wanted)}


def digits_family(*, depth: int = 5, width: int = 32) -> Amortized:
  """Digits with two goals that conflict, (1 - gamma) CE(y) + gamma CE(9 - y).

  No loss is below the mean entropy of gamma, 1/2.

  Args:
    depth: hidden layers of the primary network.
    width: of each.

  Returns:
    The task.
  """
  train, test = _digits()
  network = _primary(depth, width, 10)
  return Amortized(network, '*', train, test, 1, _family_errors, num_classes=10)


def _class_errors(logits, batch, gamma):
  del gamma
  labels = batch['labels']
  return {
    'loss': _cross_entropy(logits, labels),
    'accuracy': classes.is_right(logits, labels),
  }


def bayes_digits(
  *, gamma_dim: int = 8, depth: int = 1, width: int = 64
) -> Amortized:
  """Digits, by weights that a random gamma is turned into.

  Args:
    gamma_dim: D.
    depth: hidden layers of the primary network.
    width: of each.

  Returns:
    The task.
  """
  checks.integer(gamma_dim, name='gamma_dim', low=1)
  train, test = _digits()
  network = _primary(depth, width, 10)
  return Amortized(
    network, '*', train, test, gamma_dim, _class_errors, num_classes=10
  )


def _image_errors(outputs, batch, gamma):
  del gamma
  gap = jnp.square(outputs - batch['inputs'])
  return {'loss': jnp.mean(gap, axis=-1)}


def _noisy(batch, gamma):
  return batch['inputs'] + gamma[:, :1] * batch['noise']


def denoise(*, depth: int = 1, width: int = 64) -> Amortized:
  """Digits out of x + gamma n, n normal: the level of noise is known.

  Args:
    depth: hidden layers of the primary network.
    width: of each.

  Returns:
    The task, a squared error per pixel.
  """
  train, test = ({'inputs': x['inputs']} for x in _digits())
  noise = np.random.default_rng(0).normal(size=test['inputs'].shape)
  test['noise'] = noise.astype(np.float32)
  return Amortized(
    _primary(depth, width, 64), '*', train, test, 1, _image_errors, _noisy,
    lambda key, shape: {'noise': jax.random.normal(key, shape)},
    ylabel='Mean squared error over gamma',
  )  # fmt: skip


def mnist(data_dir: str | None, *, gamma_dim: int = 8) -> Amortized:
  """MNIST, by convolutions that a random gamma is turned into.

  Args:
    data_dir: folder of the IDX files.
    gamma_dim: D.

  Returns:
    The task: four convolutions are generated, the last layer is not.
  """
  checks.integer(gamma_dim, name='gamma_dim', low=1)
  loaded = _classification.load('mnist', data_dir)
  return Amortized(
    networks.mip_mnist_cnn(),
    '*Conv*',
    {'inputs': loaded.train_inputs, 'labels': loaded.train_labels},
    {'inputs': loaded.test_inputs, 'labels': loaded.test_labels},
    gamma_dim,
    _class_errors,
    num_classes=10,
  )


_LENGTH = 32


def warp(signal: chex.Array, shift: chex.Array) -> chex.Array:
  """Reads a signal at shifted places, linearly between them.

  Args:
    signal: f[..., L].
    shift: f[..., L], in cells; places beyond an end are the end.

  Returns:
    f[..., L], signal(i + shift(i)).

  Raises:
    ValueError: if shapes differ or there is no last axis.

  Example:
    >>> warp(jnp.array([0.0, 1.0, 2.0]), jnp.array([0.5, 0.5, 0.5])).tolist()
    [0.5, 1.5, 2.0]
  """
  if signal.shape != shift.shape or not signal.size:
    raise ValueError(
      f'signal and shift must both be [..., L], L >= 1; got {signal.shape} and '
      f'{shift.shape}.'
    )
  length = signal.shape[-1]
  grid = jnp.arange(length, dtype=shift.dtype)
  place = jnp.clip(jnp.broadcast_to(grid, shift.shape) + shift, 0, length - 1)
  left = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, length - 2)
  part = place - left
  take = lambda i: jnp.take_along_axis(signal, i, axis=-1)
  return (1 - part) * take(left) + part * take(left + 1)


def _registration_errors(outputs, batch, gamma):
  moving, fixed = jnp.split(batch['inputs'], 2, axis=-1)
  image = jnp.mean(jnp.square(warp(moving, outputs) - fixed), axis=-1)
  rough = jnp.mean(jnp.square(jnp.diff(outputs, axis=-1)), axis=-1)
  share = gamma[:, 0]
  return {
    'loss': (1 - share) * _CONTRAST * image + share * rough,
    'image_error': image,
    'roughness': rough,
  }


# Of image errors against roughness, which then are about as large.
_CONTRAST = 10.0


def _signal_pairs(rng, count):
  """Two bumps each, and the same ones moved by a smooth field of some cells."""
  grid = np.arange(_LENGTH)
  centers = rng.uniform(6, _LENGTH - 6, (count, 2, 1))
  widths = rng.uniform(1.5, 3.5, (count, 2, 1))
  heights = rng.uniform(0.5, 1.0, (count, 2, 1))
  waves = np.sin(np.pi * np.outer([1, 2], (grid + 0.5) / _LENGTH))
  field = rng.normal(size=(count, 2)) * [2.0, 1.0] @ waves

  def bumps(at):
    gap = (at[:, None] - centers) / widths
    return (heights * np.exp(-(gap**2) / 2)).sum(axis=1)

  moving = bumps(np.broadcast_to(grid, (count, _LENGTH)))
  both = np.concatenate([moving, bumps(grid + field)], axis=1)
  return {'inputs': both.astype(np.float32)}


def registration_toy(
  *, depth: int = 5, width: int = 64, num_train: int = 1000, num_test: int = 200
) -> Amortized:
  """Signals laid over one another, as smoothly as gamma says.

  The network sees a signal and its moved twin and gives the field between them:
  (1 - gamma) 10 |m(x + u) - f|² + gamma |u'|².

  Args:
    depth: hidden layers of the primary network.
    width: of each.
    num_train: pairs.
    num_test: pairs.

  Returns:
    The task.

  Source: in the manner of Hoopes et al. 2021 (https://arxiv.org/abs/2101.01035).
  """
  rng = np.random.default_rng(0)
  count = checks.integer(num_train, name='num_train', low=1)
  tests = checks.integer(num_test, name='num_test', low=1)
  return Amortized(
    _primary(depth, width, _LENGTH), '*', _signal_pairs(rng, count),
    _signal_pairs(rng, tests), 1, _registration_errors,
  )  # fmt: skip


TASKS = registry.Registry(
  'task',
  {
    'bayes_digits': bayes_digits,
    'denoise': denoise,
    'digits_family': digits_family,
    'mnist': mnist,
    'registration_toy': registration_toy,
  },
  given=('data_dir',),
)


def needs_files(task: str) -> bool:
  """Whether a task is read from local files."""
  return checks.takes(TASKS[TASKS.part(task).name], 'data_dir')


def make_task(made: Amortized, variant: str | types.Network) -> types.Task:
  """The loss of a network that depends on gamma.

  Args:
    made: examples and loss.
    variant: a part of `networks.hyper.PARAMETRIZATIONS`, or a network with an
      input gamma before its own.

  Returns:
    The task of batches {'gamma': f[1, D] or f[B, D], 'inputs', ...}; `evaluate`
    heeds a `mask: bool[B]`.
  """
  network = variant
  if isinstance(variant, str):
    network = hyper.parametrized(variant, made.network, made.chosen)
  network = networks.as_network(network)
  shape = made.train['inputs'].shape[1:]
  example = jax.ShapeDtypeStruct((1, *shape), jnp.float32)

  def init(key):
    gamma = jnp.full(made.gamma_dim, 0.5)
    return network.init(key, gamma, jnp.zeros(example.shape))

  def rows_of(batch):
    size = batch['inputs'].shape[0]
    return jnp.broadcast_to(batch['gamma'], (size, made.gamma_dim))

  def loss(params, batch, *, key=None):
    rows = rows_of(batch)
    outputs, surrogate = networks.training_outputs(
      network, params, batch['gamma'], made.inputs(batch, rows), key=key
    )
    errors = made.errors(outputs, batch, rows)
    return jnp.mean(errors['loss']) + surrogate

  def evaluate(params, batch):
    rows = rows_of(batch)
    outputs = network.apply(params, batch['gamma'], made.inputs(batch, rows))
    errors = made.errors(outputs, batch, rows)
    mask = batch.get('mask', jnp.ones(rows.shape[0], bool))
    count = jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1.0)
    mean = lambda x: jnp.sum(jnp.where(mask, x, 0), dtype=jnp.float32) / count
    return {name: mean(x) for name, x in errors.items()}

  return types.Task(init, loss, evaluate)


def problem(
  task: str | Amortized,
  variant: str | types.Network = 'mip',
  *,
  batch_size: int = 32,
  per_example: bool = False,
  num_gammas: int = 32,
  eval_batch_size: int = 512,
  data_dir: str | None = None,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Draws batches and gammas of a task for one hypernetwork, once per seed.

  Args:
    task: a part of `TASKS`: 'digits_family', 'bayes_digits', 'denoise',
      'mnist', 'registration_toy'; or one that was made.
    variant: see `make_task`.
    batch_size: B, drawn with replacement.
    per_example: whether every example has a gamma, or every batch.
    num_gammas: G, at which is tested: midpoints of [0, 1], or draws from
      [0, 1]^D.
    eval_batch_size: test examples at once.
    data_dir: folder of the files, for tasks that need it.
    seeds: S seeds; they share the examples.

  Returns:
    The problem. It is measured on all test examples by `loss` and what else the
    task has, means over gammas, and `worst_loss`, the largest over them.

  Raises:
    ValueError: if an option is unknown or out of range, or files are missing.

  Example:
    >>> made = problem('registration_toy(depth=1, num_train=9, num_test=3)')
    >>> cohort = made.cohort(jax.random.key(0), made.data, 1)
    >>> made.data['inputs'].shape, cohort.data['gamma'].shape
    ((1, 9, 64), (1, 1, 1))
  """
  checks.integer(batch_size, name='batch_size', low=1)
  checks.integer(num_gammas, name='num_gammas', low=1)
  checks.integer(eval_batch_size, name='eval_batch_size', low=1)
  if not isinstance(per_example, bool):
    raise TypeError(f'per_example must be True or False; got {per_example!r}.')
  seeds = checks.seeds(seeds)
  if isinstance(task, str):
    if data_dir is not None and not needs_files(task):
      raise ValueError(
        f'data_dir={data_dir} has no effect on task={task}, which is not read '
        'from files: leave it out.'
      )
    task = TASKS.make(task, data_dir=data_dir)
  made, size = task, batch_size
  gammas = jnp.asarray(hyper.gamma_grid(made.gamma_dim, num_gammas))
  several = len(seeds)
  data = {
    k: jnp.broadcast_to(jnp.asarray(x)[None], (several, *x.shape))
    for k, x in made.train.items()
  }

  def cohort(key, data, round):
    place_key, gamma_key, more_key = jax.random.split(
      jax.random.fold_in(key, round), 3
    )
    count = jax.tree.leaves(data)[0].shape[0]
    at = jax.random.randint(place_key, (size,), 0, count)
    batch = jax.tree.map(lambda x: x[at], data)
    drawn = (size if per_example else 1, made.gamma_dim)
    batch['gamma'] = jax.random.uniform(gamma_key, drawn)
    if made.extra is not None:
      batch |= made.extra(more_key, batch['inputs'].shape)
    return types.Cohort(
      client_ids=jnp.zeros(1, jnp.int32),
      data=jax.tree.map(lambda x: x[None], batch),
      mask=jnp.ones(1, bool),
      weights=jnp.ones(1),
    )

  tests = len(made.test['inputs'])
  test = data_lib.eval_batches(made.test, min(eval_batch_size, tests))
  empty = types.Problem(
    task=None,
    data=data,
    cohort=cohort,
    evaluate=None,
    seeds=seeds,
    num_classes=made.num_classes,
    metric=made.metric,
    ylabel=made.ylabel,
    test={'task': made, 'gammas': gammas, 'batches': test},
  )
  return with_variant(empty, variant)


def with_variant(
  base: types.Problem, variant: str | types.Network
) -> types.Problem:
  """Gives the same draws to another network.

  Args:
    base: from `problem`.
    variant: see `make_task`.

  Returns:
    The problem; it shares data and cohorts with `base`.

  Raises:
    ValueError: if the variant is unknown or does not fit the task or its
      batches.
  """
  made: Amortized = base.test['task']
  learned = make_task(made, variant)

  def tried(key):
    own = jax.tree.map(lambda x: x[0], base.data)
    batch = jax.tree.map(lambda x: x[0], base.cohort(key, own, 0).data)
    return learned.loss(learned.init(key), batch, key=key)

  jax.eval_shape(tried, jax.eval_shape(lambda: jax.random.key(0)))

  @jax.jit
  def tested(params, test, gammas):
    def at(params, gamma):
      seen = lambda p, batch: learned.evaluate(
        p, batch | {'gamma': gamma[None]}
      )
      return metrics.evaluate(learned._replace(evaluate=seen), params, test)

    def of_seed(params):
      found = jax.lax.map(lambda gamma: at(params, gamma), gammas)
      means = {name: jnp.mean(x) for name, x in found.items()}
      return means | {'worst_loss': jnp.max(found['loss'])}

    return jax.lax.map(of_seed, params)

  gammas, test = base.test['gammas'], base.test['batches']
  return base.replace(
    task=learned,
    evaluate=lambda params: jax.device_get(tested(params, test, gammas)),
  )


def weight_rows(
  variant: str,
  params: chex.ArrayTree,
  *,
  step: int,
  seeds: Sequence[int],
  gamma_dim: int,
  num_points: int = 8,
) -> list[dict[str, float | int | str]]:
  """How far the first generated tensor is spread, over inputs (x, ..., x).

  Args:
    variant: a part of `networks.hyper.PARAMETRIZATIONS`.
    params: of its network, leaves [S, ...].
    step: of the run.
    seeds: S seeds.
    gamma_dim: D.
    num_points: values x, even ones up to 1.

  Returns:
    Rows of split 'weights' with `gamma` and `std`, none where nothing is
    generated.
  """
  one = jax.tree.map(lambda x: x[0], params)
  network = hyper.generator(variant, one)
  if network is None:
    return []
  points = (np.arange(num_points) + 1) / num_points
  gammas = np.repeat(points[:, None], gamma_dim, axis=1).astype(np.float32)
  rows = []
  for k, seed in enumerate(seeds):
    own = jax.tree.map(lambda x, k=k: x[k], params['hyper'])
    found = hyper.output_std_vs_gamma(network, own, gammas)
    kernels = [path for path in sorted(found) if path.endswith('kernel')]
    std = jax.device_get(found[(kernels or sorted(found))[0]])
    rows += [
      {
        'step': step,
        'split': 'weights',
        'variant': variant,
        'seed': int(seed),
        'gamma': float(x),
        'std': float(y),
      }
      for x, y in zip(points, std, strict=True)
    ]
  return rows
