# SPDX-License-Identifier: Apache-2.0
"""Slices of a layer, the router, its gates and its balance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.perception import experts
from jaxdl.perception.experts import _route


def layers(width=8, hidden=16, gated=False, seed=0, dtype=np.float32):
  """A random feed-forward network."""
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)
  layer = lambda i, o: {'kernel': draw(i, o), 'bias': draw(o)}
  ffn = {'in': layer(width, hidden), 'out': layer(hidden, width)}
  if gated:
    ffn['gate'] = {'kernel': draw(width, hidden)}
  return ffn


def tokens(num, width=8, seed=1):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(num, width)), jnp.float32)


def mixture(ffn, copies, slices, seed=2):
  """Experts as they are right after a conversion."""
  moe = experts.split_ffn(ffn, num_replicas=copies, num_slices=slices)
  moe['router'] = experts.init_router(
    jax.random.key(seed),
    num_experts=copies * slices,
    num_slices=slices,
    width=ffn['in']['kernel'].shape[0],
  )
  return moe


def dense(ffn, x, act):
  """The network in float64 NumPy."""
  wide = jax.tree.map(lambda v: np.asarray(v, np.float64), ffn)
  apply = lambda layer, v: v @ layer['kernel'] + layer.get('bias', 0)
  h = apply(wide['in'], np.asarray(x, np.float64))
  gate = apply(wide['gate'], np.asarray(x, np.float64)) if 'gate' in ffn else h
  h = act(gate) * h if 'gate' in ffn else act(gate)
  return apply(wide['out'], h)


_RELU = lambda v: np.maximum(v, 0)


def _silu(v):
  return v / (1 + np.exp(-v))


class SplitTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 4, 16)
  def test_merging_gives_back_what_was_cut(self, slices):
    ffn = layers(gated=True)
    moe = experts.split_ffn(ffn, num_replicas=3, num_slices=slices)
    for replica in range(3):
      got = experts.merge_slices(moe, replica=replica, num_slices=slices)
      jax.tree.map(np.testing.assert_array_equal, got, ffn)

  def test_slices_are_rows_and_columns(self):
    ffn = layers()
    moe = experts.split_ffn(ffn, num_replicas=2, num_slices=4)
    for e in (0, 3, 5):  # Expert 5 is slice 1 of copy 1.
      j = e % 4
      at = slice(4 * j, 4 * j + 4)
      np.testing.assert_array_equal(
        moe['in']['kernel'][e], ffn['in']['kernel'][:, at]
      )
      np.testing.assert_array_equal(moe['in']['bias'][e], ffn['in']['bias'][at])
      np.testing.assert_array_equal(
        moe['out']['kernel'][e], ffn['out']['kernel'][at]
      )
      np.testing.assert_array_equal(
        moe['out']['bias'][e], ffn['out']['bias'] / 4
      )

  def test_numbers_of_parameters(self):
    shape = lambda *s: jnp.zeros(s, jnp.bfloat16)
    ffn = {
      'in': {'kernel': shape(256, 2048), 'bias': shape(2048)},
      'out': {'kernel': shape(2048, 256), 'bias': shape(256)},
    }
    size = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    moe = jax.eval_shape(
      functools.partial(experts.split_ffn, num_replicas=8, num_slices=2), ffn
    )
    router = jax.eval_shape(
      functools.partial(
        experts.init_router, num_experts=16, num_slices=2, width=256
      ),
      jax.random.key(0),
    )
    self.assertEqual(size(ffn), 1_050_880)
    self.assertEqual(size(moe), 8_409_088)
    self.assertEqual(size(router), 4096)
    # Two of sixteen experts are active.
    self.assertEqual(size(moe) // 8, 1_051_136)

  @parameterized.parameters(
    (
      lambda: experts.split_ffn(layers(), num_replicas=2, num_slices=3),
      r'hidden width h=16 must be divisible by num_slices=3',
    ),
    (
      lambda: experts.init_router(
        jax.random.key(0), num_experts=5, num_slices=2, width=3
      ),
      r'num_experts=5 must be a multiple of num_slices=2',
    ),
    (
      lambda: experts.merge_slices(
        experts.split_ffn(layers(), num_replicas=2, num_slices=2),
        replica=2,
        num_slices=2,
      ),
      r'replica must be at most 1; got 2',
    ),
    (
      lambda: experts.split_ffn(
        {**layers(), 'gate': {'kernel': jnp.ones((8, 4))}},
        num_replicas=1,
        num_slices=1,
      ),
      r"kernel of 'gate' must have shape \(8, 16\)",
    ),
  )
  def test_says_what_does_not_fit(self, call, message):
    with self.assertRaisesRegex(ValueError, message):
      call()

  def test_layers_are_named(self):
    with self.assertRaisesRegex(TypeError, "ffn must be {'in'"):
      experts.split_ffn({'w1': 1}, num_replicas=1, num_slices=1)
    with self.assertRaisesRegex(TypeError, r"layer 'in' must be {'kernel', "):
      experts.split_ffn({**layers(), 'in': {}}, num_replicas=1, num_slices=1)
    wrong = {**layers()['out'], 'bias': jnp.ones(3)}
    with self.assertRaisesRegex(ValueError, r"bias of 'out' must have shape"):
      experts.split_ffn(
        {**layers(), 'out': wrong}, num_replicas=1, num_slices=1
      )


class IdentityTest(parameterized.TestCase):
  """Right after conversion a mixture is the network that was cut."""

  @parameterized.parameters(
    (3, 2, 'relu', _RELU, 'ragged'),
    (3, 2, 'relu', _RELU, 'dense'),
    (4, 1, 'gelu_tanh', None, 'ragged'),
    (2, 16, 'relu', _RELU, 'ragged'),
    (1, 2, 'gelu_tanh', None, 'dense'),
  )
  def test_copies_are_the_network(self, copies, slices, name, act, how):
    ffn, x = layers(), tokens(500)
    if act is None:
      act = lambda v: (
        0.5 * v * (1 + np.tanh(0.7978845608 * (v + 0.044715 * v**3)))
      )
    run = functools.partial(
      experts.moe_apply, top_k=slices, activation=name, implementation=how
    )
    y, routed = jax.jit(run)(mixture(ffn, copies, slices), x)
    np.testing.assert_allclose(y, dense(ffn, x, act), atol=1e-5)
    self.assertEqual(
      experts.same_replica_share(routed.idx, num_slices=slices), 1.0
    )
    np.testing.assert_array_equal(routed.gates, 1.0)

  def test_gated_layers_are_sliced_together(self):
    ffn, x = layers(gated=True), tokens(40)
    y, _ = experts.moe_apply(mixture(ffn, 3, 2), x, top_k=2, activation='silu')
    np.testing.assert_allclose(y, dense(ffn, x, _silu), atol=1e-5)

  def test_one_copy_takes_any_logits_that_are_equal(self):
    ffn, x = layers(), tokens(20)
    moe = mixture(ffn, 1, 4)
    moe['router'] = 100.0 * moe['router']
    y, _ = experts.moe_apply(moe, x, top_k=4)
    np.testing.assert_allclose(y, dense(ffn, x, _RELU), atol=1e-5)

  def test_other_gates_scale_the_start(self):
    ffn, x = layers(), tokens(30)
    moe, want = mixture(ffn, 3, 2), dense(ffn, x, _RELU)
    y, _ = experts.moe_apply(moe, x, top_k=2, gate='renorm_1')
    np.testing.assert_allclose(y, want / 2, atol=1e-5)
    y, routed = experts.moe_apply(moe, x, top_k=2, gate='full_softmax')
    logits = np.float64(x) @ np.float64(moe['router']).T
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    own = np.take_along_axis(p, np.asarray(routed.idx), axis=1)
    np.testing.assert_allclose(y, want * own[:, :1], atol=1e-5)
    y, _ = experts.moe_apply(moe, x, top_k=2, gate='ones')
    np.testing.assert_allclose(y, want, atol=1e-5)


class RouteTest(parameterized.TestCase):
  def test_a_whole_copy_wins_though_products_round(self):
    router = jnp.repeat(jnp.eye(3), 2, axis=0)
    # Slices of a copy that differ by rounding, and two copies in between.
    logits = jnp.array(
      [
        [1.0, 1.0 - 6e-8, 1.0 - 3e-8 * 2, 1.0, 0.0, 0.0],
        [0, 0, 0, 0, 2, 2 + 2e-7],
      ]
    )
    agreed = _route.agreed(logits, router)
    np.testing.assert_array_equal(agreed[:, ::2], agreed[:, 1::2])
    np.testing.assert_array_equal(agreed[:, 0], logits[:, 0])
    _, idx = jax.lax.top_k(agreed, 2)
    np.testing.assert_array_equal(idx, [[0, 1], [4, 5]])
    # Gradients are those of the product.
    slope = jax.grad(lambda s: jnp.sum(_route.agreed(s, router) * logits))
    np.testing.assert_array_equal(slope(logits), logits)

  def test_rows_that_differ_are_left_alone(self):
    router = jnp.array([[1.0], [1.0 + 1e-6], [1.0]])
    logits = jnp.array([[0.5, 0.25, 0.125]])
    np.testing.assert_array_equal(_route.agreed(logits, router), logits)

  def test_ties_go_to_the_first(self):
    found = experts.route(jnp.zeros((1, 2)), jnp.ones((6, 2)), top_k=2)
    np.testing.assert_array_equal(found.idx, [[0, 1]])

  def test_logits_of_low_precision_are_float32(self):
    # In bfloat16 both copies would tie, and the first would win.
    router = jnp.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    x = jnp.array([[256.0, 0.5]], jnp.bfloat16)
    found = experts.route(x, router.astype(jnp.bfloat16), top_k=2)
    np.testing.assert_array_equal(found.idx, [[2, 3]])
    self.assertEqual(found.probs.dtype, jnp.float32)

  def test_nan_stays_with_its_token(self):
    moe, x = mixture(layers(), 3, 2), tokens(5).at[2].set(jnp.nan)
    for how in ('dense', 'ragged'):
      y, routed = experts.moe_apply(moe, x, top_k=2, implementation=how)
      finite = np.isfinite(y).all(axis=1)
      np.testing.assert_array_equal(finite, [True, True, False, True, True])
      self.assertTrue(((routed.idx >= 0) & (routed.idx < 6)).all())

  @parameterized.parameters(
    ({'top_k': 5}, r'top_k=5 must be at most num_experts=4'),
    ({'top_k': 1, 'gate': 'renorm'}, r"'renorm'.*renorm_k"),
    ({'top_k': 1, 'mask': jnp.ones(4)}, r'mask must have the shape'),
  )
  def test_says_what_does_not_fit(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      experts.route(jnp.ones((3, 2)), jnp.ones((4, 2)), **options)


class BalanceTest(absltest.TestCase):
  def test_closed_forms(self):
    even = jnp.full((8, 4), 0.25)
    idx = jnp.arange(8)[:, None] % 4
    self.assertEqual(experts.load_balance(idx, even), 1.0)
    self.assertEqual(experts.load_balance(jnp.zeros_like(idx), even), 1.0)
    sure = jnp.zeros((8, 4)).at[:, 2].set(1.0)
    self.assertEqual(experts.load_balance(jnp.full((8, 1), 2), sure), 4.0)

  def test_padding_counts_nowhere(self):
    rng = np.random.default_rng(0)
    idx = rng.integers(0, 4, (6, 2))
    probs = rng.dirichlet(np.ones(4), 6)
    mask = np.array([1, 1, 0, 1, 0, 1], bool)
    share = np.bincount(idx[mask].ravel(), minlength=4) / (2 * mask.sum())
    want = 4 * np.sum(share * probs[mask].mean(0))
    broken = np.where(mask[:, None], probs, np.nan)
    got = experts.load_balance(
      jnp.asarray(idx), jnp.asarray(broken, jnp.float32), mask=jnp.asarray(mask)
    )
    np.testing.assert_allclose(got, want, rtol=1e-6)
    none = experts.load_balance(
      jnp.asarray(idx), jnp.asarray(probs), mask=jnp.zeros(6, bool)
    )
    self.assertEqual(none, 0.0)

  def test_counts_have_no_gradient(self):
    # d/dp of E Σ F P is E F / T: the share alone, of the tokens as they are.
    idx = jnp.array([[0], [0], [1]])
    slope = jax.grad(lambda p: experts.load_balance(idx, p))(
      jnp.full((3, 2), 0.5)
    )
    np.testing.assert_allclose(
      slope, np.tile([4 / 9, 2 / 9], (3, 1)), rtol=1e-6
    )


if __name__ == '__main__':
  absltest.main()
