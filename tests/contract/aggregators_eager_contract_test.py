# SPDX-License-Identifier: Apache-2.0
"""Every registered rule without jit, and the precision that it asks for."""

import warnings

import jax
import numpy as np
from absl.testing import absltest, parameterized
from contract import aggregator_cases as lib

from jaxdl import aggregators


class AggregatorsEagerContractTest(parameterized.TestCase):
  @parameterized.named_parameters(lib.named(lib.PLAIN))
  def test_without_jit_on_numpy(self, case):
    flat = lib.flat_updates(8)
    want = lib.flat_program(case)(flat)
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      got = lib.build(case)(flat.astype(np.float64))
    self.assertEqual(got.dtype, np.float32)
    lib.close(got, want)

  @parameterized.named_parameters(lib.named(lib.PLAIN))
  def test_every_small_product_is_exact(self, case):
    """Accelerators round the factors of a product by default."""
    jaxpr = jax.make_jaxpr(lib.build(case))(lib.flat_updates(0))
    found = [0]
    exact = jax.lax.Precision.HIGHEST

    def visit(jaxpr):
      for eqn in jaxpr.eqns:
        if eqn.primitive.name == 'dot_general':
          found[0] += 1
          self.assertEqual(eqn.params['precision'], (exact, exact), eqn)
        for value in jax.tree.leaves(
          list(eqn.params.values()), is_leaf=lambda v: hasattr(v, 'jaxpr')
        ):
          inner = getattr(value, 'jaxpr', value)
          if hasattr(inner, 'eqns'):
            visit(inner)

    visit(jaxpr.jaxpr)
    if aggregators.RULES[case.rule].facts.family == 'gram':
      self.assertGreater(found[0], 1)


if __name__ == '__main__':
  absltest.main()
