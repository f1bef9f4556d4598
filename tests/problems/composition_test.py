# SPDX-License-Identifier: Apache-2.0
"""Everything that composes, composed: every algorithm on every kind of problem.

Each pair runs two rounds through `experiment.train`; it must not meet NaN and
must keep its shapes. What an algorithm asks of a problem decides which pairs
there are; `table` is printed in the README. A new algorithm or a new kind of
problem is one line here.
"""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import decentralized, experiment, federated, local, problems
from jaxdl.core import clients, types
from jaxdl.decentralized import one_byte, sampling

ROOT = pathlib.Path(__file__).parents[2]
N = 4
SGD = optax.sgd(0.01)


class Kind(NamedTuple):
  """A kind of problem.

  Attributes:
    make: `make(num_batches)` -> the problem; None for batches without an axis
      of their own.
    several: whether it makes several batches for each client.
    labeled: whether clients hold labeled examples, all of which may be seen.
    pooled: whether examples of all clients can be put into one batch.
  """

  make: Callable[..., types.Problem]
  several: bool = False
  labeled: bool = False
  pooled: bool = True


_DATA = 'synthetic(num_train=48, num_test=12, num_features=3)'


def _mixtures(num_batches=None):
  shape = (3,) if num_batches is None else (num_batches, 3)
  return problems.mixtures(
    _DATA, network='mlp(4)', num_clients=N, batch_shape=shape
  )


PROBLEMS = {
  'classification': Kind(
    functools.partial(
      problems.classification,
      _DATA,
      network='mlp(4)',
      num_clients=N,
      batch_size=3,
    ),
    several=True,
    labeled=True,
  ),
  'mixtures': Kind(_mixtures, several=True),
  'text': Kind(
    functools.partial(
      problems.text,
      'sentiment(num_texts=16, width=4, depth=1, num_heads=1)',
      pretraining='adam(steps=0)',
      num_clients=N,
      batch_size=2,
      eval_batch_size=8,
    ),
    several=True,
  ),
  'quadratics': Kind(
    lambda num_batches=None: problems.quadratics(num_clients=N), pooled=False
  ),
  'operator_clients': Kind(
    lambda num_batches=None: problems.operator_clients(
      'antiderivative(resolution=6)',
      'deeponet(branch_layers=(4,), trunk_layers=(4,))',
      num_clients=N,
      functions_per_client=4,
      num_test=4,
      batch_size=2,
    )
  ),
  'graphs': Kind(
    lambda num_batches=None: problems.graphs.node_classification(
      'block_model(num_nodes=24, num_features=2)',
      'mlp(2, dropout=0.0)',
      num_clients=N,
      partition='iid',
    ),
    pooled=False,
  ),
}


class Case(NamedTuple):
  """An algorithm.

  Attributes:
    make: `make(problem)` -> the algorithm.
    several: whether it takes several batches for each client.
    labeled: whether it takes all that a client holds, labeled examples.
    pooled: whether it puts the batches of all clients together.
  """

  make: Callable[[types.Problem], Any]
  several: bool = False
  labeled: bool = False
  pooled: bool = False


def _spec(spec):
  return Case(
    lambda p: decentralized.make_algorithm(spec, p.task, N, optimizer=SGD)
  )


def _federated(method):
  work = local.LocalWork(SGD, num_steps=2)
  return Case(lambda p: federated.make_algorithm(method, p.task, N, work=work))


def _scene(method):
  def make(problem):
    algorithm = sampling.METHODS.make(
      method,
      problem.task,
      sampling.make_scene('drawn', 'none', N, 0),
      clients.Clients(N),
      optimizer=SGD,
      batch_size=3,
      work=sampling.WORK.make('steps(1)'),
    )
    return sampling.watched(algorithm, 2) if algorithm.per_client else algorithm

  return Case(make, labeled=True)


ALGORITHMS = {
  'robust_sgd': Case(
    lambda p: federated.robust_sgd(
      p.task,
      'nnm+trimmed_mean',
      N,
      optimizer=SGD,
      attack='sign_flip',
      num_byzantine=1,
    )
  ),
  'centralized_sgd': Case(
    lambda p: federated.centralized_sgd(p.task, optimizer=SGD), pooled=True
  ),
  # FedBN wants a network with normalizations, the pruning game one with layers.
  **{
    name: _federated(name)
    for name in federated.METHODS
    if name not in ('fedbn', 'pruning_game', 'expert_fedavg')
  },
  **{name: _spec(name) for name in decentralized.ALGORITHMS},
  'robust_gossip': _spec('robust_gossip@complete'),
  'quasi_global_momentum': _spec('quasi_global_momentum(learning_rate=0.01)'),
  'd_squared': _spec('d_squared@ring(weights=lazy_metropolis)'),
  'all_to_all_sgd': Case(
    lambda p: decentralized.all_to_all_sgd(
      p.task,
      'nearest_neighbor_averaging',
      N + 1,
      num_byzantine=1,
      num_held=N,
      learning_rate=0.01,
      attack='sign_flip',
    )
  ),
  'buffered_gossip': Case(
    lambda p: decentralized.buffered_gossip(
      p.task, np.ones((N, N), bool) & ~np.eye(N, dtype=bool), N, optimizer=SGD
    )
  ),
  'local_then_gossip': Case(
    lambda p: decentralized.local_then_gossip(p.task, 'ring', N, optimizer=SGD),
    several=True,
  ),
  'one_byte_sgd': Case(
    lambda p: decentralized.one_byte_sgd(
      p.task, N, optimizer=SGD, num_samples=2
    ),
    several=True,
  ),
  'sampling_sgd': _scene('modest(sample_size=2, num_aggregators=1)'),
  'clocked_gossip': _scene('dsgd(topology=ring)'),
  'gossip_learning': _scene('gossip'),
}


def fits(case: Case, kind: Kind) -> bool:
  """Whether a problem has what an algorithm asks for."""
  return (
    (kind.several or not case.several)
    and (kind.labeled or not case.labeled)
    and (kind.pooled or not case.pooled)
  )


PAIRS = [
  (algorithm, problem)
  for algorithm, case in ALGORITHMS.items()
  for problem, kind in PROBLEMS.items()
  if fits(case, kind)
]


def table() -> str:
  """The table of the README."""
  lines = [
    f'| | {" | ".join(f"`{name}`" for name in PROBLEMS)} |',
    '|---|' + len(PROBLEMS) * '---|',
  ]
  for name in ALGORITHMS:
    marks = ('yes' if (name, p) in PAIRS else '' for p in PROBLEMS)
    lines.append(f'| `{name}` | {" | ".join(marks)} |')
  return '\n'.join(lines)


@functools.cache
def problem_for(name, several, labeled):
  kind = PROBLEMS[name]
  problem = kind.make(num_batches=2 if several else None)
  if not labeled:
    return problem
  held = {**problem.data[0], 'mask': problem.data[1]}

  def cohort(key, data, round):
    del key, round
    return types.Cohort(
      client_ids=np.arange(N, dtype=np.int32),
      data=data,
      mask=np.ones(N, bool),
      weights=np.full(N, 1 / N, np.float32),
    )

  return problem.replace(
    data=held,
    cohort=cohort,
    evaluate_clients=sampling.evaluate_watched(problem.evaluate),
  )


class TrainTest(parameterized.TestCase):
  def test_says_what_is_wrong(self):
    problem = problems.quadratics(num_clients=N)
    algorithm = federated.robust_sgd(problem.task, 'mean', N, optimizer=SGD)
    key = jax.random.key(0)
    for args, of_run, error, message in (
      ((problem, algorithm), key, TypeError, '^problem must be a Problem'),
      (('krum', problem), key, TypeError, '^algorithm must be an Algorithm'),
      (
        (algorithm, problem),
        jax.random.split(key, 3),
        ValueError,
        r'^key must be one key; got keys of shape \(3,\)',
      ),
    ):
      with self.assertRaisesRegex(error, message):
        experiment.train(*args, num_rounds=1, key=of_run)


class CompositionTest(parameterized.TestCase):
  @parameterized.named_parameters((f'{a}_on_{p}', a, p) for a, p in PAIRS)
  def test_runs(self, algorithm, problem):
    case = ALGORITHMS[algorithm]
    learned = problem_for(problem, case.several, case.labeled)
    made = case.make(learned)
    state, history = experiment.train(
      made, learned, num_rounds=2, key=jax.random.key(0), eval_every=2
    )
    for name, values in history.items():
      if np.asarray(values).dtype.kind == 'f':
        self.assertTrue(np.isfinite(values).all(), name)
    start = jax.eval_shape(learned.task.init, jax.random.key(0))
    params = made.params(state)
    if made.on_host and made.per_client:
      params = params['mean']
    elif made.per_client:
      params = jax.tree.map(lambda x: x[0], params)
    shapes = lambda tree: [x.shape for x in jax.tree.leaves(tree)]
    self.assertEqual(shapes(params), shapes(start))

  def test_every_algorithm_of_the_registries_is_here(self):
    self.assertContainsSubset(decentralized.ALGORITHMS, ALGORITHMS)
    self.assertIs(one_byte.one_byte_sgd, decentralized.one_byte_sgd)

  def test_readme_shows_the_table(self):
    self.assertTrue(table() in (ROOT / 'README.md').read_text(), table())


if __name__ == '__main__':
  absltest.main()
