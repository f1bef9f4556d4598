# SPDX-License-Identifier: Apache-2.0
"""How every registered rule can be called; new entries join by themselves."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from contract import aggregator_cases as lib

from jaxdl import aggregators


class AggregatorsContractTest(parameterized.TestCase):
  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_second_call_does_not_retrace(self, case):
    run, traces = lib.program(case)
    run(lib.tree(0))
    before = len(traces)  # Other files may have called it with other shapes.
    self.assertGreater(before, 0)
    run(lib.tree(1))
    self.assertLen(traces, before)

  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_tree_equals_concatenated_leaves(self, case):
    flat = lib.flat_updates(0)
    lib.close(lib.flat_program(case)(flat), lib.on_tree(case, flat))

  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_shape_and_dtype_without_data(self, case):
    out = jax.eval_shape(lib.build(case), lib.tree())
    want = jax.tree.map(lambda x: (x.shape[1:], x.dtype), lib.tree())
    self.assertEqual(jax.tree.map(lambda x: (x.shape, x.dtype), out), want)

  # The others are vmapped where they are padded.
  @parameterized.named_parameters(
    lib.named([c for c in lib.ALL if c.bucketed or c.rule in lib.NO_MASK])
  )
  def test_vmap_over_an_extra_axis(self, case):
    batch = np.stack([lib.flat_updates(0), lib.flat_updates(1)])
    got = jax.jit(jax.vmap(lib.build(case)))(batch)
    for i in range(2):
      lib.close(got[i], lib.flat_program(case)(batch[i]))

  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_bfloat16_is_kept_and_only_rounds(self, case):
    rounded = jnp.asarray(lib.flat_updates(0), jnp.bfloat16)
    got = jax.jit(lib.build(case))(rounded)
    self.assertEqual(got.dtype, jnp.bfloat16)
    want = np.asarray(lib.flat_program(case)(rounded.astype(jnp.float32)))
    np.testing.assert_allclose(
      np.asarray(got, np.float32), want, rtol=2**-7, atol=1e-3
    )

  @parameterized.named_parameters(lib.named(lib.ALL))
  def test_float64_is_kept_and_used(self, case):
    flat = lib.flat_updates(0).astype(np.float64)
    want = lib.on_tree(case, flat.astype(np.float32))
    with jax.enable_x64(True):
      run = jax.jit(lib.build(case))
      got = np.asarray(run(flat))
      self.assertEqual(got.dtype, np.float64)
      # Far below what float32 could resolve.
      moved = np.asarray(run(flat * (1 + 1e-10)))
    lib.close(got, want, 1e-3)
    if case.rule in lib.SCALE and 'clipping' not in case.pre:
      np.testing.assert_allclose(moved, got * (1 + 1e-10), rtol=1e-13)


class RegistryTest(absltest.TestCase):
  def test_every_entry_says_what_is_known_about_it(self):
    for table in (aggregators.RULES, aggregators.PRE_RULES):
      for name, fn in table.items():
        needs = [k for k, p in table.options(name).items()
                 if p.default is p.empty]  # fmt: skip
        byzantine = fn.facts.byzantine
        self.assertEqual(needs, [byzantine] if byzantine else [], name)
        key = inspect.signature(fn).parameters.get('key')
        random = key is not None and key.default is key.empty
        self.assertEqual(fn.facts.random, random, name)

  def test_claims_are_about_known_rules(self):
    for claim in (
      lib.SCALE,
      lib.ROTATION,
      lib.NO_GRADIENT,
      lib.NO_MASK,
      lib.NOT_IDENTITY,
    ):
      self.assertLessEqual(claim, set(aggregators.RULES))


if __name__ == '__main__':
  absltest.main()
