# SPDX-License-Identifier: Apache-2.0
"""Every registered rule inside shard_map and pmap, on shares of the clients."""

import functools

import jax
import numpy as np
from absl.testing import absltest, parameterized
from contract import aggregator_cases as lib

from jaxdl import aggregators
from jaxdl.core import clients

N = lib.NUM_CLIENTS
DEVICES = 8
# Client axes spread with padding: two of the last device's rows are absent.
MASK = np.arange(N) < N - 2
# In pmap the same code runs as in shard_map: one rule of each kind.
FAMILIES = {aggregators.RULES[c.rule].facts.family: c for c in lib.PLAIN}


@functools.cache
def _mesh():
  return clients.clients_mesh(DEVICES)


@functools.cache
def _want(case):
  return np.asarray(lib.flat_program(case)(lib.flat_updates(0)))


def _put(spec):
  return jax.device_put(lib.flat_updates(0), jax.NamedSharding(_mesh(), spec))


def _mapped(fn, out_specs):
  return jax.jit(
    jax.shard_map(
      fn,
      mesh=_mesh(),
      in_specs=jax.P('clients'),
      out_specs=out_specs,
      check_vma=False,
    )
  )


class AggregatorMappedTest(parameterized.TestCase):
  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_inside_shard_map(self, case):
    fn = lib.build(case)
    # Every device holds the result: stack them to compare all.
    run = _mapped(lambda x: fn(x, axis_name='clients')[None], jax.P('clients'))
    got = np.asarray(run(_put(jax.P('clients'))))
    self.assertEqual(got.shape, (DEVICES, lib.SIZE))
    for row in got:
      lib.close(row, _want(case))

  @parameterized.named_parameters(lib.named(FAMILIES.values()))
  def test_inside_pmap(self, case):
    fn = lib.build(case)
    run = jax.pmap(lambda x: fn(x, axis_name='workers'), axis_name='workers')
    shares = lib.flat_updates(0).reshape(DEVICES, N // DEVICES, lib.SIZE)
    got = np.asarray(run(shares))
    for row in got:
      lib.close(row, _want(case))


class MaskedDevicesTest(parameterized.TestCase):
  @parameterized.named_parameters(
    lib.named([
      c
      for c in lib.PLAIN
      if c.rule in ('trimmed_mean', 'bulyan', 'foolsgold')
    ] + [c for c in lib.CHAINS if c.pre == ('nnm',)])
  )  # fmt: skip
  def test_padding_spread_over_devices(self, case):
    fn = lib.build(case)
    updates = np.where(MASK[:, None], lib.flat_updates(0), np.nan)
    run = jax.jit(
      jax.shard_map(
        lambda x, m: fn(x, mask=m, axis_name='clients'),
        mesh=_mesh(),
        in_specs=jax.P('clients'),
        out_specs=jax.P(),
        check_vma=False,
      )
    )
    got = run(updates.astype(np.float32), MASK)
    want = (
      jax.jit(lib.build(case))(lib.flat_updates(0)[MASK])
      if (case.rule != 'foolsgold')
      else jax.jit(lib.build(case, N - 2))(lib.flat_updates(0)[MASK])
    )
    lib.close(got, want)

  def test_coordinate_rule_at_the_end_of_a_masked_chain(self):
    rule = aggregators.chain(aggregators.median)
    updates = np.where(MASK[:, None], lib.flat_updates(0), np.nan)
    run = jax.shard_map(
      lambda x, m: rule(x, mask=m, axis_name='clients'),
      mesh=_mesh(),
      in_specs=jax.P('clients'),
      out_specs=jax.P(),
      check_vma=False,
    )
    got = jax.jit(run)(updates.astype(np.float32), MASK)
    lib.close(got, np.median(lib.flat_updates(0)[MASK], axis=0))


class ExplainDevicesTest(parameterized.TestCase):
  @parameterized.parameters('median', 'krum', 'foolsgold', 'mean')
  def test_shares_are_those_of_all_clients(self, name):
    server = aggregators.make_aggregator(
      name, num_clients=N, num_byzantine=lib.NUM_BYZANTINE
    )

    def explain(updates, axis_name=None):
      state = server.init(updates[0])
      state = jax.tree.map(lambda h: h[: len(updates)], state)
      return server.explain(updates, state, axis_name=axis_name)

    updates = lib.flat_updates(0)
    want = np.asarray(jax.jit(explain)(updates))
    self.assertEqual(want.shape, (N,))
    self.assertAlmostEqual(float(want.sum()), 1.0, places=5)
    run = _mapped(
      lambda x: explain(x, axis_name='clients')[None], jax.P('clients')
    )
    got = np.asarray(run(updates))
    for row in got:
      lib.close(row, want)


if __name__ == '__main__':
  absltest.main()
