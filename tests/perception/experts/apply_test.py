# SPDX-License-Identifier: Apache-2.0
"""Mixtures against a loop over tokens in float64, and over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.perception import experts
from jaxdl.perception.experts import _grouped

WIDTH, HIDDEN, TOTAL, TOP = 6, 8, 8, 3


def params_of(seed=0, dtype=np.float32, gated=False):
  """Experts that are no copies, with untied routers."""
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)
  layer = lambda i, o: {'kernel': draw(TOTAL, i, o), 'bias': draw(TOTAL, o)}
  moe = {
    'in': layer(WIDTH, HIDDEN),
    'out': layer(HIDDEN, 5),
    'router': draw(TOTAL, WIDTH),
  }
  if gated:
    moe['gate'] = {'kernel': draw(TOTAL, WIDTH, HIDDEN)}
  return moe


def tokens(*shape, seed=1):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(*shape, WIDTH)), jnp.float32)


def looped(moe, x):
  """A loop over tokens and their experts, renorm_k and relu."""
  moe = jax.tree.map(lambda v: np.asarray(v, np.float64), moe)
  out = []
  for t in np.asarray(x, np.float64):
    logits = moe['router'] @ t
    chosen = np.argsort(-logits, kind='stable')[:TOP]
    gates = np.exp(logits[chosen] - logits[chosen].max())
    gates *= TOP / gates.sum()
    y = 0.0
    for e, g in zip(chosen, gates, strict=True):
      h = t @ moe['in']['kernel'][e] + moe['in']['bias'][e]
      h = np.maximum(h, 0)
      y = y + g * (h @ moe['out']['kernel'][e] + moe['out']['bias'][e])
    out.append(y)
  return np.stack(out)


@functools.cache
def run(how):
  return jax.jit(
    functools.partial(experts.moe_apply, top_k=TOP, implementation=how)
  )


@functools.cache
def slope(how):
  def loss(moe, x):
    return jnp.sum(jnp.sin(run(how)(moe, x)[0]))

  return jax.jit(jax.grad(loss, argnums=(0, 1)))


class ApplyTest(parameterized.TestCase):
  @parameterized.parameters('dense', 'ragged')
  def test_equals_a_loop(self, how):
    moe, x = params_of(), tokens(50)
    np.testing.assert_allclose(run(how)(moe, x)[0], looped(moe, x), atol=2e-5)

  def test_leading_axes(self):
    moe, x = params_of(), tokens(5, 10)
    y, routed = run('ragged')(moe, x)
    flat = run('ragged')(moe, x.reshape(50, -1))[0]
    np.testing.assert_array_equal(y.reshape(50, -1), flat)
    self.assertEqual(routed.idx.shape, (5, 10, TOP))
    self.assertEqual(routed.probs.shape, (5, 10, TOTAL))

  def test_gradients_agree(self):
    moe, x = params_of(), tokens(50)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4),
      slope('dense')(moe, x),
      slope('ragged')(moe, x),
    )

  def test_a_batch_of_mixtures(self):
    stack = lambda *v: jnp.stack(v)
    moe = jax.tree.map(stack, params_of(0), params_of(3))
    x = jnp.stack([tokens(50), tokens(50, seed=4)])
    got = jax.vmap(slope('ragged'))(moe, x)
    for i in range(2):
      want = slope('ragged')(*jax.tree.map(lambda v, i=i: v[i], (moe, x)))
      jax.tree.map(
        lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-4),
        got,
        want,
      )

  def test_order_of_experts_does_not_matter(self):
    moe, x = params_of(), tokens(50)
    order = np.random.default_rng(5).permutation(TOTAL)
    mixed = jax.tree.map(lambda v: v[order], moe)
    y, routed = run('ragged')(moe, x)
    z, other = run('ragged')(mixed, x)
    np.testing.assert_allclose(y, z, atol=1e-5)
    np.testing.assert_array_equal(order[other.idx], routed.idx)

  def test_nobody_is_dropped_where_all_go_to_one(self):
    moe, x = params_of(), jnp.abs(tokens(50))
    router = jnp.zeros((TOTAL, WIDTH)).at[5].set(9.0).at[1].set(8.0)
    moe['router'] = router.at[7].set(7.0)
    y, routed = run('ragged')(moe, x)
    np.testing.assert_allclose(y, looped(moe, x), rtol=1e-4, atol=2e-5)
    np.testing.assert_array_equal(
      experts.usage(routed.idx, TOTAL), [0, 50, 0, 0, 0, 50, 0, 50]
    )

  @parameterized.parameters(('bfloat16', 0.3), ('float32', 2e-5))
  def test_dtypes_stay(self, dtype, tolerance):
    moe = jax.tree.map(lambda v: v.astype(dtype), params_of())
    x = tokens(50).astype(dtype)
    for how in ('dense', 'ragged'):
      y, _ = run(how)(moe, x)
      self.assertEqual(y.dtype, dtype)
      np.testing.assert_allclose(
        np.float32(y), looped(moe, x), atol=tolerance, rtol=0.05
      )

  def test_padding_changes_no_output(self):
    moe, x = params_of(), tokens(4, 3)
    mask = jnp.array([True, True, False, True])
    y, routed = experts.moe_apply(moe, x, top_k=TOP, mask=mask)
    plain, _ = experts.moe_apply(moe, x, top_k=TOP)
    np.testing.assert_array_equal(y, plain)
    _, kept = experts.moe_apply(moe, x[mask], top_k=TOP)
    np.testing.assert_allclose(
      routed.load_balance, kept.load_balance, rtol=1e-6
    )
    self.assertEqual(routed.mask.shape, (4, 3))

  @parameterized.parameters('dense', 'ragged')
  def test_no_token(self, how):
    y, routed = experts.moe_apply(
      params_of(), tokens(2)[:0], top_k=TOP, implementation=how
    )
    self.assertEqual(y.shape, (0, 5))
    self.assertEqual(float(routed.load_balance), 0.0)

  def test_one_token(self):
    moe, x = params_of(), tokens(1)
    np.testing.assert_allclose(
      experts.moe_apply(moe, x, top_k=TOP)[0], looped(moe, x), atol=1e-5
    )

  @parameterized.parameters(
    (jax.nn.softmax, 'reduce_max'),
    (lambda h: h / jnp.linalg.norm(h), 'reduce_sum'),
    (lambda h: h * jnp.arange(5.0)[None], 'iota'),
    (lambda h: h[..., ::-1], 'rev'),
    (jax.nn.glu, 'it fails for 5 units'),
    (lambda h: h * jnp.arange(4.0), 'it fails for 5 units'),
  )
  def test_refuses_activations_across_units(self, activation, what):
    with self.assertRaisesRegex(
      ValueError, rf'activation must be elementwise.*hidden axis \({what}'
    ):
      experts.moe_apply(params_of(), tokens(2), top_k=1, activation=activation)

  def test_functions_of_several_layers(self):
    moe, x = params_of(gated=True), tokens(40)
    named, _ = experts.moe_apply(moe, x, top_k=TOP, activation='silu')
    own, _ = experts.moe_apply(
      moe,
      x,
      top_k=TOP,
      activation=lambda gate, value: jax.nn.silu(gate) * value,
    )
    np.testing.assert_array_equal(named, own)

  @parameterized.parameters(
    ({'implementation': 'sparse'}, "implementation='sparse'"),
    ({'top_k': 9}, 'top_k=9 must be at most num_experts=8'),
  )
  def test_says_what_does_not_fit(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      experts.moe_apply(params_of(), tokens(2), **{'top_k': 1} | options)

  def test_says_which_width(self):
    with self.assertRaisesRegex(ValueError, r'x must have shape \[..., 6\]'):
      experts.moe_apply(params_of(), jnp.ones((2, 4)), top_k=1)

  def test_biases_and_numbers_of_experts_fit(self):
    moe = params_of()
    for layer, name, value, message in (
      ('in', 'bias', jnp.ones((1, 4)), r"bias of 'in' must have shape \(8, "),
      ('in', 'bias', moe['in']['bias'][:4], "bias of 'in' must have shape"),
      ('out', 'bias', jnp.ones((8, 1)), "bias of 'out' must have shape"),
      ('out', 'kernel', moe['out']['kernel'][:4], "has 8 and 'out' 4"),
    ):
      wrong = {**moe, layer: {**moe[layer], name: value}}
      with self.assertRaisesRegex(ValueError, message):
        experts.moe_apply(wrong, tokens(40), top_k=TOP)


class GroupedTest(parameterized.TestCase):
  @parameterized.parameters(
    ([3, 0, 5, 1],), ([0, 0, 0, 9],), ([9, 0, 0, 0],), ([300, 1, 200, 40],)
  )
  def test_equals_ragged_dot(self, sizes):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(sum(sizes), 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(4, 4, 3)), jnp.float32)
    sizes = jnp.asarray(sizes)
    loss = lambda dot: lambda x, w: jnp.sum(jnp.square(dot(x, w, sizes)))
    got, want = (
      jax.value_and_grad(loss(dot), argnums=(0, 1))(x, w)
      for dot in (_grouped.grouped_dot, jax.lax.ragged_dot)
    )
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
      got,
      want,
    )

  def test_says_what_does_not_fit(self):
    x, w = jnp.ones((3, 2)), jnp.ones((2, 2, 2))
    for sizes in ([3], [1, 1, 1]):
      with self.assertRaisesRegex(
        ValueError, r'one entry per group, shape \(2'
      ):
        experts.grouped_dot(x, w, jnp.array(sizes))
    with self.assertRaisesRegex(ValueError, r'w \[E, I, O\] do not fit'):
      experts.grouped_dot(x, jnp.ones((2, 3, 2)), jnp.array([1, 2]))


class ShardedTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    auto = (jax.sharding.AxisType.Auto,)
    self.mesh = jax.make_mesh((8,), ('experts',), axis_types=auto)

  @parameterized.parameters(False, True)
  def test_eight_devices_give_the_same(self, split):
    moe, x = params_of(), tokens(48)
    placed = experts.shard_experts(moe, self.mesh)
    call = functools.partial(
      experts.sharded_moe_apply, mesh=self.mesh, top_k=TOP, split_tokens=split
    )
    y, routed = jax.jit(call)(placed, x)
    want, own = run('ragged')(moe, x)
    np.testing.assert_allclose(y, want, atol=1e-5)
    np.testing.assert_array_equal(routed.idx, own.idx)
    np.testing.assert_allclose(routed.load_balance, own.load_balance, rtol=1e-6)

  def test_gradients_are_not_summed_twice(self):
    moe, x = params_of(), tokens(16)
    call = functools.partial(
      experts.sharded_moe_apply, mesh=self.mesh, top_k=TOP
    )
    loss = lambda fn: lambda moe, x: jnp.sum(jnp.sin(fn(moe, x)[0]))
    got = jax.jit(jax.grad(loss(call), argnums=(0, 1)))(moe, x)
    want = slope('ragged')(moe, x)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4),
      got,
      want,
    )

  def test_unequal_shares_are_refused(self):
    moe = jax.tree.map(lambda v: v[:6], params_of())
    with self.assertRaisesRegex(
      ValueError, 'num_experts=6 must be a multiple of the 8 devices'
    ):
      experts.shard_experts(moe, self.mesh)

  def test_other_axes_are_refused(self):
    kinds = (jax.sharding.AxisType.Explicit,)
    mesh = jax.make_mesh((8,), ('experts',), axis_types=kinds)
    for call in (
      lambda: experts.shard_experts(params_of(), mesh),
      lambda: experts.sharded_moe_apply(
        params_of(), tokens(8), mesh=mesh, top_k=TOP
      ),
    ):
      with self.assertRaisesRegex(ValueError, 'Auto axes; got Explicit: make'):
        call()


if __name__ == '__main__':
  absltest.main()
