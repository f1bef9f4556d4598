# SPDX-License-Identifier: Apache-2.0
"""Data and tasks of the random-feature experiments.

Inputs are vectors, centred and scaled to a given root mean square length: the
variance of random features grows with exp(|x|^2).
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib, networks
from jaxdl.core import extras, types
from jaxdl.experiment import supervised

TRANSFERS = ('rotate', 'invert', 'both')


def _diabetes(config) -> supervised.Simulation:
  """Deals the 442 patients of scikit-learn's regression set."""
  datasets = extras.require('sklearn.datasets', 'dataset=diabetes')
  inputs, labels = datasets.load_diabetes(return_X_y=True)
  order = np.random.default_rng(0).permutation(len(labels))
  train, test = order[len(order) // 4 :], order[: len(order) // 4]
  labels = (labels - labels[train].mean()) / labels[train].std()
  arrays = {
    'inputs': inputs.astype(np.float32),
    'labels': labels[:, None].astype(np.float32),
  }
  own = jax.tree.map(lambda x: x[train], arrays)
  dealt = [
    data_lib.stack_clients(
      own,
      data_lib.make_partition(
        'iid',
        np.random.default_rng(seed),
        own['labels'],
        config.num_clients,
      ),
    )
    for seed in config.seeds
  ]
  return supervised.Simulation(
    task=None,
    client_data={
      name: jnp.asarray(np.stack([d[0][name] for d in dealt])) for name in own
    },
    mask=jnp.asarray(np.stack([d[1] for d in dealt])),
    test=data_lib.eval_batches(
      jax.tree.map(lambda x: x[test], arrays),
      min(config.eval_batch_size, len(test)),
    ),
    num_classes=0,
    class_tables=np.zeros((len(dealt), config.num_clients, 0), int),
  )


def _moved(x: np.ndarray, how: str, ends: tuple[float, float]) -> np.ndarray:
  """Turns images by a quarter, or makes negatives of them.

  Args:
    x: [..., I] flat square images.
    how: one of `TRANSFERS`.
    ends: darkest and brightest value.

  Returns:
    Images of the same shape.
  """
  if how in ('invert', 'both'):
    x = ends[0] + ends[1] - x
  if how in ('rotate', 'both'):
    side = round(x.shape[-1] ** 0.5)
    if side * side != x.shape[-1]:
      raise ValueError(
        f'transfer={how} turns square images but inputs have {x.shape[-1]} '
        'numbers: choose transfer=invert.'
      )
    x = np.rot90(x.reshape(*x.shape[:-1], side, side), axes=(-2, -1))
    x = x.reshape(*x.shape[:-2], side * side)
  return np.ascontiguousarray(x)


def simulate(config, *, transfer: str = '') -> supervised.Simulation:
  """Loads, centres and scales data, and deals them to clients.

  Args:
    config: knobs.
    transfer: one of `TRANSFERS`: images are changed after mean and scale have
      been taken, so that a network of the original ones fits.

  Returns:
    A `Simulation` without task: leaves [S, N, E, I].
  """
  if config.dataset == 'diabetes':
    simulation = _diabetes(config)
  else:
    simulation = supervised.simulate(config)
  flat = lambda x, lead: np.asarray(x, np.float32).reshape(*x.shape[:lead], -1)
  train = flat(simulation.client_data['inputs'], 3)
  test = flat(simulation.test['inputs'], 2)
  real = train[np.asarray(simulation.mask)]
  ends = float(real.min()), float(real.max())
  mean, scale = 0.0, 1.0
  if config.input_length:
    mean = real.mean(axis=0)
    length = np.sqrt(np.square(real - mean).sum(axis=-1).mean())
    scale = config.input_length / max(length, 1e-12)

  def prepare(x):
    if transfer:
      x = _moved(x, transfer, ends)
    return jnp.asarray((x - mean) * np.float32(scale))

  return simulation._replace(
    client_data={**simulation.client_data, 'inputs': prepare(train)},
    test={**simulation.test, 'inputs': prepare(test)},
  )


def dim_of(simulation: supervised.Simulation) -> int:
  """Length of the inputs."""
  return simulation.client_data['inputs'].shape[-1]


def num_outputs(simulation: supervised.Simulation) -> int:
  """Classes, or numbers to predict."""
  return simulation.num_classes or simulation.client_data['labels'].shape[-1]


def make_task(
  network: types.Network,
  simulation: supervised.Simulation,
  *,
  l2: float = 0.0,
  estimate: Callable[[chex.ArrayTree, chex.Array], chex.Array] | None = None,
) -> types.Task:
  """Builds the task of a network, with one more measure.

  Args:
    network: gives logits or predictions.
    simulation: says which.
    l2: penalty of the loss.
    estimate: gives estimates of one-hot labels; the softmax of the logits if
      None.

  Returns:
    The task; `evaluate` also gives `mse` per output where there are classes,
    and `r2` where there are none.
  """
  example = jnp.zeros((1, dim_of(simulation)))
  if simulation.num_classes:
    task = networks.classification(
      network, example, num_classes=simulation.num_classes, l2=l2
    )
  else:
    task = networks.regression(network, example, l2=l2)
  labels = np.asarray(simulation.test['labels'])
  variance = float(labels[np.asarray(simulation.test['mask'])].var())

  def evaluate(params, batch):
    values = task.evaluate(params, batch)
    if not simulation.num_classes:
      return {**values, 'r2': 1 - values['loss'] / variance}
    if estimate is None:
      outputs = jax.nn.softmax(network.apply(params, batch['inputs']))
    else:
      outputs = estimate(params, batch['inputs'])
    wanted = jax.nn.one_hot(batch['labels'], simulation.num_classes)
    errors = jnp.square(outputs - wanted).mean(-1)
    count = jnp.maximum(batch['mask'].sum(), 1)
    mse = jnp.where(batch['mask'], errors, 0).sum() / count
    return {**values, 'mse': mse}

  return task._replace(evaluate=evaluate)
