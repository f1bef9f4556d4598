# SPDX-License-Identifier: Apache-2.0
"""Conquering policies against NumPy in float64, and what all of them keep."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from reference import combinatorial_policies as reference

from jaxdl.combinatorial import _matnet, _networks, _problem

NODES = 7
SPECS = {
  'icam': 'icam(width=8, depth=2, hidden=12)',
  'icam_routes': 'icam(width=8, depth=1, hidden=12, query=routes)',
  'icam_items': 'icam(width=8, depth=1, hidden=12, query=items)',
  'attention': 'attention(width=8, depth=1, num_heads=2, hidden=12)',
  'matnet': (
    'matnet(width=8, depth=1, num_heads=2, head_size=3, mixing=5, hidden=12, '
    'num_seeds=8)'
  ),
  'dpn': 'dpn(width=8, depth=1, num_heads=2, hidden=12, num_agents=4)',
  'agnn': 'agnn(width=8, depth=1, num_neighbors=4)',
}


def piece(num_nodes=NODES, dtype='float32'):
  """A piece, and three rollouts in the midst of it."""
  rng = np.random.default_rng(0)
  x = rng.random((num_nodes, 3))
  d = np.linalg.norm(x[:, None] - x[None], axis=-1)
  left = rng.random((3, num_nodes)) < 0.6
  left[:, min(2, num_nodes - 1)] = True
  most = num_nodes - 1
  contexts = _problem.Context(
    jnp.minimum(jnp.array([0, 4, 5]), most),
    jnp.array([most, most, 0]),
    jnp.asarray([[0.0, 0.1], [1.0, 0.3], [2.0, 0.2]], dtype),
    jnp.asarray(left),
  )
  return jnp.asarray(x, dtype), jnp.asarray(d, dtype), contexts


def one(contexts, i):
  return jax.tree.map(lambda x: x[i], contexts)


def problem(num_extra=2, name='tsp', network='icam'):
  """What the registries read of a problem."""
  return types.SimpleNamespace(
    name=name,
    divide=types.SimpleNamespace(has_depot=False),
    solve=types.SimpleNamespace(num_extra=num_extra, network=network),
  )


@functools.cache
def setup(name):
  policy = _networks.make_conqueror(SPECS[name], problem())
  features, distances, _ = piece()
  shapes = jax.eval_shape(policy.init, jax.random.key(0), features, distances)
  rng = np.random.default_rng(1)

  def draw(path, x):
    start = 1.0 if path[-1].key == 'scale' else 0.0
    return start + 0.3 * rng.normal(size=x.shape).astype('float32')

  params = jax.tree_util.tree_map_with_path(draw, shapes)
  return policy, params, jax.jit(functools.partial(logits_of, policy))


def logits_of(policy, params, features, distances, contexts):
  """Of three rollouts with one memory, f[3, m]."""
  memory = policy.encode(params, features, distances)
  return jax.vmap(policy.decode, (None, None, 0))(params, memory, contexts)


KINDS = ['icam', 'attention', 'matnet', 'dpn', 'agnn']
REFERENCES = {
  'icam': functools.partial(reference.icam, query='path', depth=2),
  'icam_routes': functools.partial(reference.icam, query='routes', depth=1),
  'icam_items': functools.partial(reference.icam, query='items', depth=1),
  'attention': reference.attention,
  'matnet': reference.matnet,
  'dpn': reference.dpn,
}


class ReferenceTest(parameterized.TestCase):
  @parameterized.parameters(*REFERENCES)
  def test_logits_equal_reference(self, name):
    _, params, logits = setup(name)
    features, distances, contexts = piece()
    got = logits(params, features, distances, contexts)
    for i in range(3):
      want = REFERENCES[name](params, features, distances, one(contexts, i))
      self.assertGreater(np.ptp(want[np.isfinite(want)]), 0.1)
      np.testing.assert_allclose(got[i], want, atol=3e-4)

  def test_nothing_is_near_before_the_first_item(self):
    _, params, logits = setup('icam_items')
    features, distances, contexts = piece()
    contexts = contexts._replace(last=jnp.array([-1, -1, 3]))
    got = logits(params, features, distances, contexts)
    context = one(contexts, 1)
    want = REFERENCES['icam_items'](params, features, distances, context)
    np.testing.assert_allclose(got[1], want, atol=3e-4)

  def test_scores_of_vertices_are_masked(self):
    policy, params, logits = setup('agnn')
    features, distances, contexts = piece()
    edges = (distances > 0.5).astype('float32')
    got = logits(params, features, edges, contexts)
    scores = jax.jit(policy.encode)(params, features, edges)[None]
    want = np.where(contexts.allowed, scores, -np.inf)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    self.assertGreater(np.ptp(np.asarray(scores)), 1e-3)


class PolicyTest(parameterized.TestCase):
  @parameterized.parameters(*SPECS)
  def test_only_what_is_not_allowed_is_impossible(self, name):
    _, params, logits = setup(name)
    features, distances, contexts = piece()
    got = logits(params, features, distances, contexts)
    self.assertEqual(got.dtype, 'float32')
    np.testing.assert_array_equal(np.isfinite(got), contexts.allowed)
    self.assertTrue((got[~contexts.allowed] == -np.inf).all())

  @parameterized.product(name=KINDS, dtype=['bfloat16', 'float64'])
  def test_inputs_of_other_dtypes(self, name, dtype):
    policy, params, logits = setup(name)
    with jax.enable_x64(dtype == 'float64'):
      inputs = piece(dtype=dtype)
      shapes = jax.eval_shape(policy.init, jax.random.key(0), *inputs[:2])
      kinds = {x.dtype for x in jax.tree.leaves(shapes)}
      self.assertEqual(kinds, {jnp.dtype(dtype)})
      params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
      got = logits(params, *inputs)
    wide = 'float32' if dtype == 'bfloat16' else 'float64'
    self.assertEqual(got.dtype, wide)
    got = reference.softmax(np.asarray(got))
    np.testing.assert_allclose(got.sum(1), 1.0, atol=1e-5)
    if dtype == 'float64' and name in REFERENCES:
      features, distances, contexts = inputs
      for i in range(3):
        context = one(contexts, i)
        want = REFERENCES[name](params, features, distances, context)
        np.testing.assert_allclose(got[i], reference.softmax(want), atol=1e-9)

  @parameterized.parameters(*KINDS)
  def test_identical_nodes_are_finite_and_alike(self, name):
    policy, params, _ = setup(name)
    _, distances, contexts = piece()
    same, zero = jnp.full((NODES, 3), 0.5), jnp.zeros_like(distances)
    # Nodes 2, 3 and 5 have no role of their own.
    seen = jnp.ones((3, NODES), bool)
    contexts = contexts._replace(last=jnp.array([0, 4, 6]), allowed=seen)

    def loss(params):
      logits = logits_of(policy, params, same, zero, contexts)
      return jax.nn.log_softmax(logits)[0, 3], logits

    (_, got), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    self.assertTrue(np.isfinite(got).all())
    self.assertTrue(all(np.isfinite(x).all() for x in jax.tree.leaves(slope)))
    if name != 'matnet':
      np.testing.assert_allclose(got[:, 2], got[:, 3], atol=1e-4)
      np.testing.assert_allclose(got[:, 5], got[:, 3], atol=1e-4)

  @parameterized.parameters(*KINDS)
  def test_one_node(self, name):
    _, params, logits = setup(name)
    got = logits(params, *piece(1))
    self.assertEqual(got.shape, (3, 1))
    self.assertTrue(np.isfinite(got).all())

  @parameterized.parameters('icam', 'icam_items', 'attention', 'dpn', 'agnn')
  def test_the_order_of_nodes_inside_does_not_matter(self, name):
    _, params, logits = setup(name)
    features, distances, contexts = piece()
    order = np.array([0, 4, 2, 5, 1, 3, 6])
    place = jnp.asarray(np.argsort(order))
    # Logits are large: in float32 another order of sums is seen in them.
    with jax.enable_x64(True):
      wide = lambda tree: jax.tree.map(
        lambda x: jnp.asarray(
          x, 'float64' if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype
        ),
        tree,
      )
      params, features, distances, contexts = wide(
        (params, features, distances, contexts)
      )
      moved = contexts._replace(
        last=place[contexts.last], allowed=contexts.allowed[:, order]
      )
      got = logits(params, features[order], distances[order][:, order], moved)
      want = logits(params, features, distances, contexts)
      self.assertEqual(got.dtype, jnp.float64)
      np.testing.assert_allclose(got, want[:, order], atol=1e-9)

  @parameterized.parameters('icam', 'attention', 'dpn')
  def test_distances_may_be_left_out(self, name):
    spec = SPECS[name][:-1] + ', distances=False)'
    policy = _networks.make_conqueror(spec, problem())
    _, params, logits = setup(name)
    features, distances, contexts = piece()
    blind = jax.jit(functools.partial(logits_of, policy))
    got = blind(params, features, distances, contexts)
    other = blind(params, features, 3 * distances.T + 1, contexts)
    np.testing.assert_array_equal(got, other)
    seeing = logits(params, features, distances, contexts)
    finite = np.isfinite(got)
    self.assertGreater(np.abs(got[finite] - seeing[finite]).max(), 1e-3)

  def test_columns_are_drawn_with_the_key(self):
    policy, params, _ = setup('matnet')
    features, distances, _ = piece()
    encode = jax.jit(policy.encode)
    seen = [
      encode(params, features, distances, key=jax.random.key(s))['nodes']
      for s in (0, 0, 1)
    ]
    np.testing.assert_array_equal(seen[0], seen[1])
    self.assertGreater(np.abs(seen[0] - seen[2]).max(), 1e-3)

  def test_mixing_starts_on_its_own_bounds(self):
    policy = _matnet.matnet(num_seeds=50)
    features, distances, _ = piece()
    params = jax.jit(policy.init)(jax.random.key(0), features, distances)
    side = params['params']['rows_0']
    for leaf in (side['mix_inner']['kernel'], side['mix_inner']['bias']):
      self.assertBetween(float(abs(leaf).max()), 0.65, 0.5**0.5)
    for leaf in (side['mix_outer']['kernel'], side['mix_outer']['bias']):
      self.assertBetween(float(abs(leaf).max()), 0.2, 0.25)

  def test_routes_beyond_the_last_agent_are_its_own(self):
    _, params, logits = setup('dpn')
    features, distances, contexts = piece()
    context = one(contexts, 0)

    def routes(*counts):
      many = jax.tree.map(lambda x: jnp.stack([x] * 3), context)
      extra = jnp.stack([jnp.array(counts), jnp.full(3, 0.3)], axis=1)
      many = many._replace(extra=extra)
      return logits(params, features, distances, many)[:, context.allowed]

    first, third, fourth = routes(0.0, 2.0, 3.0)
    self.assertGreater(np.abs(first - third).max(), 1e-3)
    # The third agent is followed by the fourth, which has none after it.
    self.assertGreater(np.abs(third - fourth).max(), 1e-3)
    self.assertTrue(np.isfinite(routes(4.0, 9.0, 1e9)).all())


class RegistryTest(parameterized.TestCase):
  @parameterized.parameters(
    ('icam', {'width': 128, 'depth': 6, 'hidden': 512, 'clip': 50.0}),
    ('attention', {'width': 128, 'depth': 6, 'num_heads': 8, 'clip': 50.0}),
    ('matnet', {'width': 256, 'depth': 5, 'num_heads': 16, 'clip': 10.0}),
    ('dpn', {'depth': 3}),
    ('agnn', {'width': 256, 'depth': 12}),
  )
  def test_the_paper_is_the_default(self, name, options):
    for option, value in options.items():
      self.assertEqual(_networks.CONQUERORS.value(name, option), value)

  @parameterized.parameters(
    ('tsp', 'ends'), ('cvrp', 'depot'), ('ovrp', 'depot'), ('kp', None)
  )
  def test_queries_go_with_problems(self, name, layer):
    policy = _networks.make_conqueror('', problem(2, name, SPECS['icam']))
    features, distances, _ = piece()
    shapes = jax.eval_shape(policy.init, jax.random.key(0), features, distances)
    found = {'ends', 'depot', 'end'} & set(shapes['params'])
    self.assertEqual(layer in found, layer is not None)
    self.assertEqual('end' in found, name != 'kp')

  @parameterized.parameters(
    ('icma', r"conqueror='icma'.*icam"),
    ('icam(width=0)', r'width must be at least 1; got 0'),
    ('icam(depth=0)', r'depth must be at least 1; got 0'),
    ('icam(clip=-1.0)', r'clip must.*-1'),
    ('icam(query=tour)', r"query.*'tour'.*path"),
    ('icam(kernel_init=hee)', r"kernel_init='hee'"),
    ('attention(width=9, num_heads=2)', r'width=9 must be a multiple of'),
    ('attention(hidden=0)', r'hidden must be at least 1'),
    ('matnet(width=8)', r'num_seeds=50 must be at most width=8'),
    ('matnet(mixing=0)', r'mixing must be at least 1'),
    ('dpn(num_agents=0)', r'num_agents must be at least 1'),
    ('agnn(num_neighbors=0)', r'num_neighbors must be at least 1'),
    ('agnn(clip=1.0)', r"no option 'clip'"),
  )
  def test_says_what_is_wrong(self, spec, sentence):
    with self.assertRaisesRegex(ValueError, sentence):
      _networks.make_conqueror(spec, problem())
    with self.assertRaisesRegex(ValueError, sentence):
      _networks.CONQUERORS.check(spec)

  @parameterized.parameters(*SPECS)
  def test_says_what_is_wrong_with_pieces(self, name):
    policy, params, _ = setup(name)
    features, distances, contexts = piece()
    context = one(contexts, 0)
    with self.assertRaisesRegex(ValueError, r'features must be \[m, F\]'):
      policy.encode(params, features[0], distances)
    with self.assertRaisesRegex(ValueError, r'\[m, m\] = \(7, 7\).*\(7, 6\)'):
      policy.encode(params, features, distances[:, :6])
    memory = jax.eval_shape(policy.encode, params, features, distances)
    short = context._replace(extra=jnp.zeros(1))
    with self.assertRaisesRegex(ValueError, r'context.extra .* \(2,\).*\(1,\)'):
      jax.eval_shape(policy.decode, params, memory, short)

  def test_pieces_that_have_more_nodes_than_seeds(self):
    policy, params, _ = setup('matnet')
    features, distances, _ = piece(9)
    with self.assertRaisesRegex(ValueError, r'9 nodes needs num_seeds >= 9'):
      policy.encode(params, features, distances)


if __name__ == '__main__':
  absltest.main()
