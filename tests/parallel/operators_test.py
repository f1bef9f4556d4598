# SPDX-License-Identifier: Apache-2.0
"""Signatures of operators: shards give what the whole gives, gradients too."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import parallel


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def layer_norm(x, scale, bias):
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale + bias


def cross_entropy(logits, labels):
  return -np.log(np.take_along_axis(softmax(logits), labels[..., None], -1))[
    ..., 0
  ]


# Operator, shapes, the float64 reference; 'i' marks whole numbers below 4.
CASES = {
  'matmul': ([(4, 8), (8, 4)], np.matmul),
  'matmul dense': ([(4, 2, 8), (8, 4)], np.matmul, 'matmul'),
  'matmul batched': ([(4, 2, 4), (4, 4, 8)], np.matmul, 'matmul'),
  'activation': ([(4, 8)], lambda x: np.maximum(x, 0)),
  'activation(fn=tanh)': ([(4, 8)], np.tanh),
  'scale(factor=-3)': ([(4, 8)], lambda x: -3 * x),
  'identity': ([(4,)], lambda x: x),
  'transpose': ([(4, 8)], np.transpose),
  'transpose(axes=(1, 2, 0))': (
    [(4, 2, 8)],
    lambda x: np.transpose(x, (1, 2, 0)),
  ),
  'reshape(shape=(4, -1))': ([(4, 2, 4)], lambda x: x.reshape(4, 8)),
  'reshape(shape=(4, 2, 1, 8))': ([(8, 8)], lambda x: x.reshape(4, 2, 1, 8)),
  'add': ([(4, 8)] * 2, np.add),
  'multiply': ([(4, 8)] * 2, np.multiply),
  'bias_add': ([(4, 8), (8,)], np.add),
  'bias_add(axis=0)': ([(4, 8), (4,)], lambda x, b: x + b[:, None]),
  'softmax': ([(4, 8)], softmax),
  'layer_norm': ([(4, 8), (8,), (8,)], layer_norm),
  'reduce_sum': ([(4, 8)], lambda x: x.sum(-1)),
  'reduce_sum(axis=0)': ([(4, 8)], lambda x: x.sum(0)),
  'reduce_max(axis=0)': ([(4, 8)], lambda x: x.max(0)),
  'embedding': ([(4, 'i'), (4, 8)], lambda i, e: e[i]),
  'cross_entropy': ([(4, 4), (4, 'i')], cross_entropy),
}
# (S0, S1, B, P)² of a product, in the order of the table of the paper.
TABLE = {
  ('S0', 'B'): 'S0',
  ('B', 'S1'): 'S1',
  ('S1', 'S0'): 'P',
  ('P', 'B'): 'P',
  ('B', 'P'): 'P',
  ('B', 'B'): 'B',
}
ONE = ('S0', 'S1', 'B', 'P')


def case(name):
  shapes, reference, *kind = CASES[name]
  rng = np.random.default_rng(0)
  arrays = []
  for shape in shapes:
    if shape[-1] == 'i':
      arrays.append(rng.integers(4, size=shape[:-1]))
    else:
      arrays.append(rng.normal(size=shape))
  return kind[0] if kind else name, arrays, reference


def stacked(x, sbp, mesh, rng):
  """Shards, with random terms of numbers."""
  rng = None if np.issubdtype(x.dtype, np.integer) else rng
  return np.stack(parallel.scatter(x, sbp, mesh, rng=rng))


def firsts(arrays, ins, mesh):
  """Where every shard begins along dimension 0."""
  return tuple(
    np.array(
      [
        np.ravel(s)[0]
        for s in parallel.scatter(
          np.arange(x.shape[0]),
          [p if p == parallel.Split(0) else 'B' for p in sbp],
          mesh,
        )
      ]
    )
    for x, sbp in zip(arrays, ins, strict=True)
  )


class OperatorsTest(parameterized.TestCase):
  @parameterized.parameters(*itertools.product(CASES, (2, '2x2')))
  def test_shards_give_what_the_whole_gives(self, name, mesh):
    kind, arrays, reference = case(name)
    mesh = parallel.as_mesh_shape(mesh)
    shapes = [x.shape for x in arrays]
    made = parallel.make_operator(kind, shapes)
    want = reference(*arrays)
    self.assertEqual(made.shape, want.shape)
    rng = np.random.default_rng(1)
    run = jax.jit(
      lambda *xs, first: jax.vmap(lambda *x: made.apply(*x[:-1], first=x[-1]))(
        *xs, first
      )
    )
    found = parallel.valid_signatures(kind, shapes, mesh)
    self.assertEqual(len(found), len(set(found)))
    # Every one of one axis; of two, enough that all components occur.
    for s in found[:: 1 + len(found) // 10]:
      stacks = [
        stacked(x, sbp, mesh, rng) for x, sbp in zip(arrays, s.ins, strict=True)
      ]
      out = run(*stacks, first=firsts(arrays, s.ins, mesh))
      got = parallel.recover(list(np.asarray(out)), s.out, mesh)
      np.testing.assert_allclose(got, want, atol=2e-5, err_msg=str(s))

  @parameterized.parameters(
    'matmul',
    'matmul batched',
    'activation(fn=tanh)',
    'scale(factor=-3)',
    'reshape(shape=(4, -1))',
    'add',
    'multiply',
    'bias_add',
    'softmax',
    'layer_norm',
    'reduce_sum(axis=0)',
    'embedding',
  )
  def test_gradients_have_the_dual_signature(self, name):
    kind, arrays, _ = case(name)
    mesh, rng = (2, 2), np.random.default_rng(2)
    arrays = [
      x if np.issubdtype(x.dtype, np.integer) else x.astype(np.float32)
      for x in arrays
    ]
    shapes = [x.shape for x in arrays]
    made = parallel.make_operator(kind, shapes)
    real = [
      i for i, x in enumerate(arrays) if np.issubdtype(x.dtype, np.floating)
    ]
    cotangent = rng.normal(size=made.shape).astype(np.float32)

    def pull(cotangent, first, *xs):
      def fn(*own):
        full = list(xs)
        for i, x in zip(real, own, strict=True):
          full[i] = x
        return made.apply(*full, first=first)

      return jax.vjp(fn, *(xs[i] for i in real))[1](cotangent)

    zeros = (0,) * len(arrays)
    want = jax.jit(pull)(cotangent, zeros, *arrays)
    run = jax.jit(jax.vmap(pull))
    found = parallel.valid_signatures(kind, shapes, mesh)
    for s in found[:: 1 + len(found) // 6]:
      back = s.dual()
      stacks = [
        stacked(x, sbp, mesh, rng) for x, sbp in zip(arrays, s.ins, strict=True)
      ]
      out = run(
        stacked(cotangent, back.out, mesh, rng),
        firsts(arrays, s.ins, mesh),
        *stacks,
      )
      for i, grads, true in zip(real, out, want, strict=True):
        got = parallel.recover(list(np.asarray(grads)), back.ins[i], mesh)
        np.testing.assert_allclose(
          got, true, atol=3e-4, err_msg=f'{s} {back} input {i}'
        )

  def test_a_product_takes_exactly_the_table(self):
    shapes = [(4, 4), (4, 4)]
    found = parallel.valid_signatures('matmul', shapes, 2)
    text = parallel.format_sbp
    got = {tuple(map(text, s.ins)): text(s.out) for s in found}
    self.assertEqual(got, TABLE)
    self.assertEqual(list(got), list(TABLE))
    for pair in itertools.product(ONE, repeat=2):
      if pair in TABLE:
        s = parallel.match_signature('matmul', shapes, pair, 2)
        self.assertEqual(text(s.out), TABLE[pair])
        continue
      with self.assertRaisesRegex(ValueError, 'matmul takes no inputs'):
        parallel.match_signature('matmul', shapes, pair, 2)
      # And rightly: some numbers come out wrong, or shapes do not fit.
      self.assertFalse(self.product_is_right(pair))

  def product_is_right(self, pair):
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(2, 4, 4))
    shards = [
      parallel.scatter(a, s, 2, rng=rng)
      for a, s in zip((x, w), pair, strict=True)
    ]
    try:
      out = [a @ b for a, b in zip(*shards, strict=True)]
    except ValueError:
      return False
    for sbp in ONE:
      try:
        got = parallel.recover(out, sbp)
      except ValueError:
        continue
      # B must hold on every device.
      held = sbp != 'B' or np.allclose(out[0], out[1])
      if held and got.shape == (4, 4) and np.allclose(got, x @ w):
        return True
    return False

  def test_two_axes_are_two_signatures(self):
    shapes = [(4, 4), (4, 4)]
    for ins, out in (
      (('S0,B', 'B,S1'), 'S0,S1'),
      (('S0,S1', 'B,S0'), 'S0,P'),
    ):
      s = parallel.match_signature('matmul', shapes, ins, (2, 2))
      self.assertEqual(parallel.format_sbp(s.out), out)
    self.assertLen(parallel.valid_signatures('matmul', shapes, (2, 2)), 36)

  def test_linear_operators_only_take_terms(self):
    takes = lambda kind, shapes, *ins: any(
      tuple(map(parallel.format_sbp, s.ins)) == ins
      for s in parallel.valid_signatures(kind, shapes, 2)
    )
    x = (4, 4)
    for kind in ('scale', 'transpose', 'reshape(shape=(2, 8))', 'identity'):
      self.assertTrue(takes(kind, [x], 'P'), kind)
    for kind in ('activation', 'softmax', 'reduce_max'):
      self.assertFalse(takes(kind, [x], 'P'), kind)
    self.assertTrue(takes('add', [x, x], 'P', 'P'))
    self.assertFalse(takes('add', [x, x], 'P', 'B'))
    self.assertTrue(takes('multiply', [x, x], 'P', 'B'))
    self.assertFalse(takes('multiply', [x, x], 'P', 'P'))
    self.assertFalse(takes('softmax', [x], 'S1'))
    self.assertFalse(takes('layer_norm', [x, (4,), (4,)], 'S1', 'B', 'B'))

  def test_splits_must_be_even_if_asked(self):
    shapes = [(6, 4), (4, 8)]
    found = parallel.valid_signatures('matmul', shapes, 4)
    self.assertNotIn('S0', {parallel.format_sbp(s.ins[0]) for s in found})
    self.assertLen(
      parallel.valid_signatures('matmul', shapes, 4, even=False), 6
    )

  @parameterized.parameters(
    ('matmull', [(2, 2)], "operator='matmull' is unknown.*'matmul'"),
    ('matmul', [(2, 3), (2, 3)], r'needs shapes \[..., m, k\]'),
    ('matmul', [(2, 3)], 'matmul takes 2 inputs; got 1'),
    ('add', [(2,), (3,)], r'two equal shapes; got \(2,\) and \(3,\)'),
    ('reduce_sum(axis=2)', [(2, 2)], 'axis=2 of reduce_sum is no dimension'),
    ('transpose(axes=(0, 0))', [(2, 2)], 'must be a permutation'),
    ('reshape(shape=(3, -1))', [(2, 2)], 'has another size'),
    ('bias_add', [(2, 3), (2,)], 'needs a vector of 3'),
    ('layer_norm', [(2, 3), (2,), (3,)], r'scale and bias of \(3,\)'),
    ('embedding', [(2,), (3,)], r'needs a table \[v, h\]'),
    ('cross_entropy', [(2, 3), (3,)], r'needs labels of shape \(2,\)'),
    ('activation(fn=step)', [(2,)], "fn='step' is unknown"),
    ('softmax', [()], 'softmax works along the last dimension'),
    ('layer_norm', [(), (), ()], 'layer_norm works along the last dim'),
    ('cross_entropy', [(), ()], 'cross_entropy works along the last dim'),
    ('layer_norm(eps=-1.0)', [(2, 3), (3,), (3,)], 'eps of layer_norm must'),
    ('matmul', [(2, 2), (2, -2)], 'size in shapes of matmul must be at least'),
    ('reshape(shape=(0, 3))', [(3, 0)], 'shapes of reshape must be at least 1'),
  )
  def test_says_what_is_wrong(self, kind, shapes, message):
    with self.assertRaisesRegex(ValueError, message):
      parallel.valid_signatures(kind, shapes, 2)

  @parameterized.parameters(
    (3, 'shapes of matmul must be a list of shapes.* got 3'),
    ([2, 3], 'must be a list of shapes'),
    (['ab', 'cd'], 'must be a list of shapes'),
    ([(2, 2.5), (2.5, 2)], 'must be an integer; got 2.5'),
  )
  def test_says_what_is_no_shape(self, shapes, message):
    with self.assertRaisesRegex(TypeError, message):
      parallel.make_operator('matmul', shapes)

  def test_says_that_nothing_fits(self):
    with self.assertRaisesRegex(
      ValueError, 'no signature of softmax fits.*size 3, over 2 devices: pad it'
    ):
      parallel.valid_signatures('softmax', [(3, 3)], 2, replicated=False)

  def test_narrow_types(self):
    made = parallel.make_operator('scale(factor=0.5)', [(2,)])
    self.assertEqual(made.apply(jnp.ones(2, jnp.bfloat16)).dtype, jnp.bfloat16)


if __name__ == '__main__':
  absltest.main()
