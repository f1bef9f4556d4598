# SPDX-License-Identifier: Apache-2.0
"""Clients that hold different input functions of one operator."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib, experiment, local, operators
from jaxdl.core import checks, clients as clients_lib, registry, types
from jaxdl.networks import features
from jaxdl.pde import sets
from jaxdl.problems import _classification as classification


class Spread(NamedTuple):
  """What differs between clients.

  Attributes:
    option: of the problem.
    low: its value of the first client.
    high: its value of the last.
  """

  option: str
  low: float
  high: float


def make_spread(spec: str, problem: str) -> Spread:
  """Reads what differs between clients.

  Args:
    spec: an option of the problem with its range, as
      'length_scale(0.1, 0.5)'.
    problem: a part of `pde.sets.PROBLEMS`.

  Returns:
    The spread.

  Raises:
    ValueError: if the problem has no such option, or the range is none.

  Example:
    >>> make_spread('viscosity(0.05, 0.2)', 'burgers')
    Spread(option='viscosity', low=0.05, high=0.2)
  """
  part = registry.parse(spec, name='spread')
  name = sets.PROBLEMS.part(problem).name
  known = [o for o in sets.PROBLEMS.options(name) if o != 'resolution']
  checks.choice(part.name, known, name='spread', spec=spec)
  if len(part.args) != 2 or part.options:
    raise ValueError(
      f'spread={spec} must give two numbers: write {part.name}(low, high).'
    )
  for value in part.args:
    checks.number(value, name=f'spread={spec}', low=0.0, open_low=True)
  return Spread(part.name, *map(float, part.args))


def spread_over(
  spread: Spread, num_clients: int, heterogeneity: float = 1.0
) -> np.ndarray:
  """Spaces the values of clients evenly in their logarithm.

  Args:
    spread: what differs.
    num_clients: N.
    heterogeneity: 0 gives all the geometric middle, 1 the whole range.

  Returns:
    float64[N].

  Example:
    >>> spread_over(Spread('tau', 1.0, 4.0), 3).round(3).tolist()
    [1.0, 2.0, 4.0]
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.number(heterogeneity, name='heterogeneity', low=0.0)
  middle = (spread.low * spread.high) ** 0.5
  half = (spread.high / spread.low) ** 0.5
  place = np.linspace(-1, 1, n) if n > 1 else np.zeros((1,))
  return middle * half ** (heterogeneity * place)


def operator_clients(
  problem: str = 'antiderivative(resolution=40)',
  network: str | types.Network = 'deeponet',
  *,
  num_clients: int = 10,
  spread: str = 'length_scale(0.1, 0.5)',
  heterogeneity: float = 1.0,
  functions_per_client: int = 60,
  num_test: int = 96,
  layout: str | None = None,
  loss: Any = 'relative_l2',
  metrics: Sequence[str] = ('relative_l2', 'mse'),
  batch_size: int = 16,
  eval_batch_size: int = 32,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Draws functions of a space of its own for every client, once per seed.

  Test functions come from all clients' spaces, those of the first seed.

  Args:
    problem: a part of `pde.sets.PROBLEMS`.
    network: a part of `operators.MODELS`, or a network; one of sensors alone
      gives outputs at the points of the data, [B, Q].
    num_clients: N.
    spread: what differs between clients, see `make_spread`.
    heterogeneity: how far, see `spread_over`.
    functions_per_client: training functions each.
    num_test: test functions over all spaces.
    layout: 'aligned' or 'grid'; by default what a named network needs, and
      'aligned' for others.
    loss: a part of `operators.LOSSES`, or a function.
    metrics: parts of `operators.LOSSES` that are reported beside the loss.
    batch_size: B, functions per client and round.
    eval_batch_size: functions per evaluation batch.
    seeds: S seeds.

  Returns:
    The problem. `data` is a pair: a dict of leaves [S, N, E, ...] and bool[S,
    N, E]. Of a model per client it measures the mean of the models.

  Raises:
    ValueError: if names, options or shapes do not fit.

  Example:
    >>> problem = operator_clients(
    ...   'antiderivative(resolution=8)', num_clients=2, functions_per_client=4,
    ...   num_test=4,
    ... )
    >>> problem.data[0]['inputs'].shape
    (1, 2, 4, 8)
  """
  seeds = checks.seeds(seeds)
  known = sets.PROBLEMS.part(problem)
  what = make_spread(spread, problem)
  values = spread_over(what, num_clients, heterogeneity)
  if layout is None:
    points = not isinstance(network, str) or (
      operators.model_facts(network).points
    )
    layout = 'aligned' if points else 'grid'
  checks.integer(num_test, name='num_test', low=1)
  per_client = -(-num_test // len(values))
  drawn = [
    [
      sets.make_operator_dataset(
        registry.write(
          known.name, **(known.options | {what.option: float(value)})
        ),
        key=jax.random.fold_in(jax.random.key(seed), client),
        num_train=functions_per_client,
        num_test=per_client,
        layout=layout,
      )
      for client, value in enumerate(values)
    ]
    for seed in seeds
  ]
  stack = lambda pick: jnp.asarray(
    np.stack([np.stack([pick(d) for d in each]) for each in drawn])
  )
  client_data = {
    'inputs': stack(lambda d: d.train.inputs),
    'targets': stack(lambda d: d.train.targets),
  }
  first = drawn[0]
  test = data_lib.eval_batches(
    {
      'inputs': np.concatenate([d.test.inputs for d in first]),
      'targets': np.concatenate([d.test.targets for d in first]),
    },
    eval_batch_size,
  )
  test = jax.tree.map(jnp.asarray, test)
  example = jax.tree.map(lambda x: x[0, 0], client_data)
  points = None
  if isinstance(network, str):
    if layout == 'aligned':
      points = jnp.asarray(first[0].train.queries)
    network = operators.make_model(
      network,
      out_channels=1 if points is not None else (example['targets'].shape[-1]),
      method='auto',
    )
  task = operators.operator_task(
    network, example, loss=loss, points=points, metrics=tuple(metrics)
  )

  def cohort(key, data, round):
    batch_key, _ = jax.random.split(jax.random.fold_in(key, round))
    return local.batch_cohort(batch_key, *data, batch_size=batch_size)

  evaluate = classification.evaluator(task, test)

  def evaluate_clients(models):
    return evaluate(jax.tree.map(lambda x: jnp.mean(x, axis=1), models))

  return types.Problem(
    task=task,
    data=(client_data, jnp.ones(client_data['inputs'].shape[:3], bool)),
    cohort=cohort,
    evaluate=evaluate,
    evaluate_clients=evaluate_clients,
    network=network,
    seeds=seeds,
    num_clients=num_clients,
    metric='relative_l2',
    ylabel='Relative L2 error on test functions',
    test=test,
  )


class RandomFeatures(NamedTuple):
  """A model whose only trained matrix has an optimum in closed form.

  Attributes:
    num_features: random features of every map.
    num_layers: bundled layers, a map each.
    ridge: penalty of the closed form, > 0.
  """

  num_features: int = 256
  num_layers: int = 1
  ridge: float = 1.0

  def maps(self, key: chex.PRNGKey, dim: int) -> list[features.FeatureMap]:
    """Draws the features, which all clients share.

    Args:
      key: consumed.
      dim: sensors.

    Returns:
      A map per layer, for `features.bundled_network`.
    """
    checks.num_layers(self.num_layers)
    checks.number(self.ridge, name='ridge', low=0.0, open_low=True)
    maps = []
    for layer in range(self.num_layers):
      layer_key = jax.random.fold_in(key, layer)
      maps.append(
        features.feature_map(layer_key, dim, self.num_features, orthogonal=True)
      )
      dim = maps[-1].size
    return maps


def closed_form(
  problem: types.Problem,
  maps: Sequence[features.FeatureMap],
  clients: clients_lib.Clients,
  *,
  ridge: float = 1.0,
) -> list[dict[str, Any]]:
  """Solves for a read-out of features from sums over clients, and of the pool.

  Every client adds its H^T H and H^T Y; one sum over clients and devices, and
  the server solves. Adversaries take part as honest clients.

  Args:
    problem: from `operator_clients`, of `features.bundled_network(maps, ...)`.
    maps: its features.
    clients: N of them.
    ridge: penalty of the closed form, > 0.

  Returns:
    Test rows of the variant 'closed_form' and, per seed, one row of split
    'closed_form': the relative difference of its predictions from those of
    the centralized optimum.
  """
  checks.number(ridge, name='ridge', low=0.0, open_low=True)

  def statistics(data):
    h = features.bundled_features(data['inputs'], maps)
    return features.readout_statistics(h, data['targets'])

  summed = clients.fold(statistics)
  solve = functools.partial(features.closed_form_readout, ridge=ridge)
  ones = jnp.ones((clients.num_clients,))
  together = jax.jit(lambda data: summed(ones, data))
  merge = lambda x: x.reshape(-1, x.shape[-1])
  alone = jax.jit(lambda data: statistics(jax.tree.map(merge, data)))
  test = merge(problem.test['inputs'])
  apply = problem.network.apply
  out = []
  for i, seed in enumerate(problem.seeds):
    data = jax.tree.map(lambda x, i=i: x[i], problem.data[0])
    # Solved on the host, in float64: only the sums are rounded.
    found = [{'readout': solve(sums(data))} for sums in (together, alone)]
    federated, pooled = (apply(params, test) for params in found)
    gap = jnp.linalg.norm(federated - pooled) / jnp.linalg.norm(pooled)
    tested = problem.evaluate(jax.tree.map(lambda x: x[None], found[0]))
    for split, values in (
      ('test', tested),
      ('closed_form', {'difference': gap[None]}),
    ):
      out += experiment.metric_rows(
        values, step=0, split=split, variant='closed_form', seeds=[seed]
      )
  return out
