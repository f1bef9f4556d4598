# SPDX-License-Identifier: Apache-2.0
"""Every registered rule gives the same update however it is spread."""

import functools

import jax
import numpy as np
from absl.testing import absltest, parameterized
from contract import aggregator_cases as lib

from jaxdl.core import clients

N = lib.NUM_CLIENTS
DEVICES = 8
# Client axes spread with padding: two of the last device's rows are absent.
MASK = np.arange(N) < N - 2


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


class AggregatorDevicesTest(parameterized.TestCase):
  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_clients_over_devices(self, case):
    got = lib.flat_program(case)(_put(jax.P('clients')))
    lib.close(got, _want(case))

  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_parameters_over_devices(self, case):
    got = lib.flat_program(case)(_put(jax.P(None, 'clients')))
    lib.close(got, _want(case))


if __name__ == '__main__':
  absltest.main()
