# SPDX-License-Identifier: Apache-2.0
"""What every algorithm promises; a new one joins by a line in `CASES`."""

import dataclasses
import functools
import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import decentralized, federated, local, networks
from jaxdl.core import clients as clients_lib, registry, types
from jaxdl.federated import asynchronous, ranks, server

N, B, D = 8, 2, 3


def _loss(params, batch, *, key=None):
  del key
  return 0.5 * jnp.mean(
    batch['mask'] * jnp.sum((params['w'][None] - batch['inputs']) ** 2, axis=-1)
  )


TASK = types.Task(
  lambda key: {'w': jax.random.normal(key, (D,))}, _loss, lambda p, b: {}
)


# Scores of a layer whose weights never change.
SCORES = types.Task(
  lambda key: {
    'frozen': {'w': jnp.arange(1.0, D + 1)},
    'trained': {'w': jax.random.normal(key, (D,))},
  },
  lambda p, batch, key=None: _loss(
    {'w': networks.masked_weights(p['frozen']['w'], p['trained']['w'], 0.5)},
    batch,
  ),
  lambda p, b: {},
)


@dataclasses.dataclass(frozen=True)
class Case:
  """An algorithm and what it claims.

  Attributes:
    label: its name.
    make: `make(clients) -> Algorithm` on `TASK`, of `Clients`.
    absent: clients of `make` that take no part in the cohort (adversaries that
      hold no data).
    spreads: whether it takes `Clients(mesh=...)`.
    masks: whether clients with `mask=False` have no effect.
    one: `make` for one client, None for `make` itself.
    alone: whether one client is enough.
  """

  label: str
  make: Callable[[Any], types.Algorithm]
  absent: int = 0
  spreads: bool = True
  masks: bool = False
  one: Callable[[Any], types.Algorithm] | None = None
  alone: bool = True


def _robust(clients, **options):
  options = {'optimizer': optax.sgd(0.1, momentum=0.9)} | options
  return federated.robust_sgd(TASK, options.pop('rule'), clients, **options)


def _all_to_all(clients, **options):
  options = {'num_held': N, 'learning_rate': 0.1} | options
  return decentralized.all_to_all_sgd(
    TASK, options.pop('rule'), clients, **options
  )


_ATTACKED = functools.partial(
  _robust, rule='nnm+krum', attack='alie(scale=1.0)', num_byzantine=2,
  worker_momentum=0.9, clip_norm=1.0,
)  # fmt: skip
_MONNA = functools.partial(
  _all_to_all, rule='nearest_neighbor_averaging', attack='alie(scale=1.0)',
  num_byzantine=2,
)  # fmt: skip


def _federated(spec, label=None, channel=None, **facts):
  """A case of `federated.METHODS`, two steps on each batch."""
  work = local.LocalWork(optax.sgd(0.1), num_steps=2)

  def make(clients, channel=channel):
    return federated.make_algorithm(
      spec, TASK, clients, work=work, channel=channel
    )

  one = functools.partial(make, channel=None)
  return Case(label or spec, make, one=one, **({'masks': True} | facts))


def _over(spec, **facts):
  """A case of `decentralized.ALGORITHMS`; one client has no link."""

  def make(clients, spec=spec):
    return decentralized.make_algorithm(
      spec, TASK, clients, optimizer=optax.sgd(0.1)
    )

  one = functools.partial(make, spec=f'{registry.pair(spec)[0]}@complete')
  return Case(spec, make, one=one, **({'masks': True} | facts))


def _scheduled(clients, spec):
  n = clients_lib.as_clients(clients).num_clients
  return asynchronous.asynchronous(
    server.scaffold(TASK, local.LocalWork('sgd(0.1)', num_steps=2)),
    clients,
    asynchronous.make_schedule(spec, np.linspace(1, 0.25, n), horizon=20.0),
  )


def _scheme(spec):
  """A case of `asynchronous.SCHEMES`."""
  return Case(spec, functools.partial(_scheduled, spec=spec), masks=True)


CASES = (
  Case('robust_sgd', _ATTACKED, one=functools.partial(_robust, rule='mean')),
  Case(
    'robust_sgd_with_memory',
    functools.partial(_robust, rule='centered_clipping', attack=None),
  ),
  Case(
    'all_to_all_sgd', _MONNA, absent=2,
    one=functools.partial(
      _all_to_all, rule='mean', num_byzantine=0, num_held=1
    ),
  ),
  Case(
    'centralized_sgd',
    lambda clients: federated.centralized_sgd(TASK, optimizer=optax.adam(0.1)),
    spreads=False,
  ),
  _federated('fedavg'),
  _federated('fedopt(learning_rate=0.1)'),
  _federated('fedsgd(momentum=0.9)'),
  _federated('fednova'),
  _federated('scaffold'),
  _federated('feddyn'),
  _federated('mime'),
  _federated('mime_lite'),
  _federated('q_fedavg'),
  _federated('agnostic'),
  _federated('apfl'),
  _federated('ditto'),
  _federated('ifca'),
  _federated('local_only'),
  _federated('pfedhn(embedding_size=2, hidden_sizes=3)'),
  _federated(
    'scaffold', 'scaffold_attacked',
    federated.Channel(
      aggregator='nnm+median', attack='alie(scale=1.0)', num_byzantine=2,
      explain=True,
    ),
  ),
  _federated(
    'fedavg', 'fedavg_private',
    federated.Channel(privacy='adaptive(count_noise=1.0)', secure='pairwise'),
  ),
  Case(
    'rank_learning',
    lambda clients: ranks.rank_learning(
      SCORES, clients, optimizer=optax.sgd(0.1, momentum=0.9),
      attack='rank_reversal', num_malicious=1,
    ),
    masks=True,
  ),
  _over('gossip_sgd'),
  _over('gossip_sgd(order=combine_then_adapt)@base'),
  _over('periodic_gossip(period=2)'),
  _over('local_sgd(period=2)'),
  _over('periodic_averaging(period=2)'),
  _over('matcha_sgd'),
  _over('robust_gossip', spreads=False),
  _over('d_squared@ring(weights=lazy_metropolis)'),
  _over('extra'),
  _over('gradient_tracking'),
  _over('quasi_global_momentum(0.1)'),
  _over('choco_sgd(compress=top_k(keep=0.4))'),
  _over('push_sum@directed_ring'),
  _over('asynchronous_gossip', spreads=False),
  _over('swarm_sgd', spreads=False, alone=False),
  _scheme('fedfix(0.5)'),
  _scheme('async'),
)  # fmt: skip


def _cohort(n, seed=0):
  rows = np.random.default_rng(seed).normal(size=(n, B, D))
  return types.Cohort(
    client_ids=jnp.arange(n),
    data={
      'inputs': jnp.asarray(rows, jnp.float32),
      'mask': jnp.ones((n, B), jnp.float32),
    },
    mask=jnp.ones(n, bool),
    weights=jnp.ones(n),
  )


def _cohort_of(case, seed=0):
  return _cohort(N - case.absent, seed)


@functools.cache
def _program(case):
  """The algorithm, its jitted step and how often that was traced."""
  algorithm, traces = case.make(clients_lib.Clients(N)), []

  def step(state, cohort, key):
    traces.append(1)
    return algorithm.step(state, cohort, key=key)

  return algorithm, jax.jit(step), traces


@functools.cache
def _two_rounds(case):
  algorithm, step, _ = _program(case)
  state = algorithm.init(jax.random.key(0))
  for t in range(2):
    state, metrics = step(state, _cohort_of(case, t), jax.random.key(t))
  return state, metrics


def _close(got, want, tol=1e-5):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), got, want
  )


def _equal(got, want):
  jax.tree.map(np.testing.assert_array_equal, got, want)


def _named(condition=lambda case: True):
  return [(case.label, case) for case in CASES if condition(case)]


class AlgorithmsContractTest(parameterized.TestCase):
  @parameterized.named_parameters(_named())
  def test_jit_changes_nothing_and_the_second_round_does_not_retrace(
    self, case
  ):
    algorithm, _, traces = _program(case)
    state, metrics = _two_rounds(case)
    self.assertLen(traces, 1)
    plain = algorithm.init(jax.random.key(0))
    for t in range(2):
      plain, seen = algorithm.step(
        plain, _cohort_of(case, t), key=jax.random.key(t)
      )
    _close(plain, state)
    _close(seen, metrics, 1e-4)
    for leaf in jax.tree.leaves((state, metrics)):
      self.assertTrue(np.isfinite(leaf).all())

  @parameterized.named_parameters(_named())
  def test_resumes_from_a_pickle(self, case):
    algorithm, step, _ = _program(case)
    state = algorithm.init(jax.random.key(0))
    state, _ = step(state, _cohort_of(case, 0), jax.random.key(0))
    structure = jax.tree.structure(state)
    text = pickle.dumps(jax.device_get(jax.tree.leaves(state)))
    state = jax.tree.unflatten(structure, pickle.loads(text))
    _equal(
      step(state, _cohort_of(case, 1), jax.random.key(1)), _two_rounds(case)
    )

  @parameterized.named_parameters(_named())
  def test_seeds_side_by_side(self, case):
    algorithm, step, _ = _program(case)
    seeds = jax.random.split(jax.random.key(3), 2)
    states = jax.vmap(algorithm.init)(seeds)
    cohorts = jax.tree.map(
      lambda *x: jnp.stack(x), _cohort_of(case, 0), _cohort_of(case, 1)
    )
    run = jax.vmap(lambda s, c, k: algorithm.step(s, c, key=k))
    got, _ = jax.jit(run)(states, cohorts, seeds)
    for i in range(2):
      want, _ = step(algorithm.init(seeds[i]), _cohort_of(case, i), seeds[i])
      _close(jax.tree.map(lambda x, i=i: x[i], got), want)

  @parameterized.named_parameters(_named(lambda case: case.spreads))
  def test_one_and_eight_devices(self, case):
    for devices in (1, 8):
      mesh = clients_lib.clients_mesh(devices)
      algorithm = case.make(clients_lib.Clients(N, mesh=mesh))
      state, step = algorithm.init(jax.random.key(0)), jax.jit(algorithm.step)
      for t in range(2):
        state, _ = step(state, _cohort_of(case, t), key=jax.random.key(t))
      _close(state, _two_rounds(case)[0])

  @parameterized.named_parameters(_named(lambda case: case.alone))
  def test_one_client(self, case):
    algorithm = (case.one or case.make)(clients_lib.Clients(1))
    state = algorithm.init(jax.random.key(0))
    state, metrics = algorithm.step(state, _cohort(1), key=jax.random.key(1))
    for leaf in jax.tree.leaves((algorithm.params(state), metrics['loss'])):
      self.assertTrue(np.isfinite(leaf).all())

  @parameterized.named_parameters(_named(lambda case: case.masks))
  def test_padding_has_no_effect(self, case):
    _, step, _ = _program(case)
    state, _ = _two_rounds(case)
    cohort = _cohort_of(case)
    mask = jnp.arange(N - case.absent) > 0
    found = []
    for padding in (0.0, 1e6):
      rows = cohort.data['inputs'].at[0].set(padding)
      data = {**cohort.data, 'inputs': rows}
      padded = cohort.replace(data=data, mask=mask)
      found.append(step(state, padded, jax.random.key(2))[0])
    _equal(*found)

  @parameterized.named_parameters(_named())
  def test_params_say_whether_they_are_per_client(self, case):
    algorithm, _, _ = _program(case)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    shape = jax.eval_shape(algorithm.params, state)
    shape = shape.get('trained', shape)['w'].shape
    want = (N - case.absent, D) if algorithm.per_client else (D,)
    self.assertEqual(shape, want)


if __name__ == '__main__':
  absltest.main()
