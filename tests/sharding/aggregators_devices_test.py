# SPDX-License-Identifier: Apache-2.0
"""Every registered rule gives the same update however it is spread."""

import functools

import jax
import numpy as np
from absl.testing import absltest, parameterized
from contract import aggregator_cases as lib

from jaxdl import aggregators
from jaxdl.core import clients

N = lib.NUM_CLIENTS
DEVICES = 8
# The compiler splits parameters by itself: one rule of each kind shows it.
FAMILIES = {aggregators.RULES[c.rule].facts.family: c for c in lib.PLAIN}
ONE_OF_EACH = [*FAMILIES.values(), *lib.CHAINS[:1]]


@functools.cache
def _mesh():
  return clients.clients_mesh(DEVICES)


@functools.cache
def _want(case):
  return np.asarray(lib.flat_program(case)(lib.flat_updates(0)))


def _put(spec):
  return jax.device_put(lib.flat_updates(0), jax.NamedSharding(_mesh(), spec))


class AggregatorDevicesTest(parameterized.TestCase):
  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_clients_over_devices(self, case):
    got = lib.flat_program(case)(_put(jax.P('clients')))
    lib.close(got, _want(case))

  @parameterized.named_parameters(lib.named(ONE_OF_EACH))
  def test_parameters_over_devices(self, case):
    got = lib.flat_program(case)(_put(jax.P(None, 'clients')))
    lib.close(got, _want(case))


if __name__ == '__main__':
  absltest.main()
