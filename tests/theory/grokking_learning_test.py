# SPDX-License-Identifier: Apache-2.0
"""Training against float64 NumPy: losses, layers, optimizers, what is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from jaxdl import experiment
from jaxdl.core import types
from jaxdl.theory import grokking

M, K = 5, 6


def data(seeds=(0,)):
  return grokking.make_data('cyclic(5)', 'fraction(0.6)', seeds=seeds)


def arrays(found, seed=0):
  """One-hot pairs and products of a training set, in float64."""
  inputs = np.asarray(found.train['inputs'][seed])
  x = np.concatenate([np.eye(M)[inputs[:, i]] for i in (0, 1)], axis=1)
  return x, np.asarray(found.train['labels'][seed])


def cohort_of(found, seed=0):
  one = jax.tree.map(lambda x: x[seed], found.train)
  return found.cohort(jax.random.key(0), one, 1)


def class_centered(o, labels):
  o = o - o.mean(axis=1, keepdims=True)
  y = np.eye(M)[labels] - 1 / M
  return np.square(o - y).sum(axis=1).mean(), 2 * (o - y) / len(o)


def gradients(w, v, x, labels):
  """Of the squared error of Re(h² V), h = X W, real or complex."""
  h = x @ w
  loss, g = class_centered((h * h @ v).real, labels)
  g = g - g.mean(axis=1, keepdims=True)
  at_features = g @ v.conj().T
  return loss, {
    'bottom': x.T @ (2 * h.conj() * at_features),
    'top': (h * h).conj().T @ g,
  }, np.linalg.norm(at_features)  # fmt: skip


class Adam:
  """Moments of real and imaginary parts apart, as PyTorch has them."""

  def __init__(self, rate, decay=0.0, *, decoupled=False):
    self.rate, self.decay, self.decoupled = rate, decay, decoupled
    self.t, self.m, self.s = 0, {}, {}

  def step(self, name, w, g):
    if not self.decoupled:
      g = g + self.decay * w
    m = 0.9 * self.m.get(name, 0.0) + 0.1 * g
    square = g.real**2 + (1j * g.imag**2 if np.iscomplexobj(g) else 0)
    s = 0.999 * self.s.get(name, 0.0) + 0.001 * square
    self.m[name], self.s[name] = m, s
    mh, sh = m / (1 - 0.9**self.t), s / (1 - 0.999**self.t)
    move = mh.real / (np.sqrt(sh.real) + 1e-8)
    if np.iscomplexobj(g):
      move = move + 1j * mh.imag / (np.sqrt(sh.imag) + 1e-8)
    if self.decoupled:
      move = move + self.decay * w
    return w - self.rate * move


def wide(x):
  return np.asarray(x).astype(np.complex128 if jnp.iscomplexobj(x) else float)


class LossTest(parameterized.TestCase):
  def test_official_square_error(self):
    labels = np.array([1, 3, 0])
    perfect = np.eye(M)[labels] + np.arange(3)[:, None]
    loss = lambda o: float(
      grokking.class_centered_mse(jnp.asarray(o, jnp.float32), labels)
    )
    self.assertAlmostEqual(loss(perfect), 0.0, places=5)
    self.assertAlmostEqual(loss(np.zeros((3, M))), 1 - 1 / M, places=6)
    o = np.random.default_rng(0).normal(size=(3, M))
    self.assertAlmostEqual(loss(o), class_centered(o, labels)[0], places=5)

  def test_square_error_of_the_paper(self):
    rng = np.random.default_rng(0)
    o, labels = rng.normal(size=(8, M)), rng.integers(0, M, 8)
    center = np.eye(8) - 1 / 8
    want = 0.5 * np.square(center @ (np.eye(M)[labels] - o)).sum()
    got = grokking.sample_centered_mse(jnp.asarray(o, jnp.float32), labels)
    self.assertAlmostEqual(float(got), want, places=4)

  def test_cross_entropy(self):
    rng = np.random.default_rng(0)
    o, labels = rng.normal(size=(8, M)), rng.integers(0, M, 8)
    p = np.exp(o) / np.exp(o).sum(axis=1, keepdims=True)
    got = grokking.cross_entropy(jnp.asarray(o, jnp.float32), labels)
    want = -np.log(p[np.arange(8), labels]).mean()
    self.assertAlmostEqual(float(got), want, places=5)

  @parameterized.parameters(False, True)
  def test_deeper_layers_add(self, is_complex):
    params = grokking.init_params(
      jax.random.key(0), M, K, num_layers=2, is_complex=is_complex
    )
    self.assertEqual(params['hidden'].shape, (2, K, K))
    x, _ = arrays(data())
    f = np.square(x @ wide(params['bottom']))
    for w in wide(params['hidden']):
      f = np.square(f + f @ w)
    got = grokking.apply(params, data().train['inputs'][0], output_scale=0.5)
    np.testing.assert_allclose(
      got, 0.5 * (f @ wide(params['top'])).real, rtol=2e-4, atol=2e-5
    )

  def test_weights_start_uniformly_in_their_bounds(self):
    params = grokking.init_params(jax.random.key(0), 40, 100, top_scale=0.5)
    for name, bound in (('bottom', 80**-0.5), ('top', 0.5 * 100**-0.5)):
      sizes = np.abs(params[name])
      self.assertLessEqual(sizes.max(), bound)
      self.assertAlmostEqual(sizes.mean() / bound, 0.5, places=1)

  def test_lowest_of_equal_outputs_counts(self):
    model = grokking.Model(order=M, hidden=K, top_scale=0.0)
    params = model.init(jax.random.key(0))
    batch = {name: x[0] for name, x in data().train.items()}
    found = model.task().evaluate(params, batch)
    share = np.mean(np.asarray(batch['labels']) == 0)
    self.assertAlmostEqual(float(found['accuracy']), share, places=6)
    self.assertAlmostEqual(float(found['loss']), 1 - 1 / M, places=6)


class TrainingTest(parameterized.TestCase):
  @parameterized.parameters(
    ('trained', 'adam(0.01, weight_decay=0.3)'),
    ('trained', 'adamw(0.01, weight_decay=0.3)'),
    ('trained(is_complex=True)', 'adam(0.01, weight_decay=0.3)'),
    ('frozen', 'adam(0.01, weight_decay=0.3)'),
    ('ridge_top(eta=0.1)', 'adam(0.01, weight_decay=0.3)'),
  )
  def test_steps_are_those_of_numpy(self, spec, optimizer):
    method = grokking.make_method(
      spec, M, hidden=K, optimizer=optimizer, turns=True, num_early=2
    )
    found = data()
    x, labels = arrays(found)
    step = jax.jit(method.algorithm.step)
    state = method.algorithm.init(jax.random.key(0))
    w = {name: wide(p) for name, p in state.params.items()}
    adam = Adam(0.01, 0.3, decoupled=optimizer.startswith('adamw'))

    def ridge(bottom):
      f = np.square(x @ bottom)
      y = np.eye(M)[labels] - 1 / M
      return np.linalg.solve(f.T @ f + 0.1 * np.eye(K), f.T @ y)

    if spec.startswith('ridge'):
      w['top'] = ridge(w['bottom'])
    moving = {'frozen': ('top',), 'ridge_top(eta=0.1)': ('bottom',)}
    moving = moving.get(spec, ('bottom', 'top'))
    seen, old = [], {}
    for _ in range(4):
      adam.t += 1
      loss, grads, size = gradients(w['bottom'], w['top'], x, labels)
      state, metrics = step(state, cohort_of(found), key=jax.random.key(1))
      self.assertAlmostEqual(float(metrics['loss']), loss, places=4)
      self.assertAlmostEqual(
        float(metrics['feature_gradient']) / size, 1.0, places=3
      )
      new = {k: adam.step(k, w[k], grads[k]) for k in moving}
      for name in ('bottom', 'top'):
        turn = float(metrics[f'{name}_turn'])
        if name not in moving:
          self.assertEqual(turn, 0.0)
          continue
        move = new[name] - w[name]
        if name in old:
          product = np.vdot(old[name], move).real
          sizes = np.linalg.norm(move) * np.linalg.norm(old[name])
          self.assertAlmostEqual(turn, 1 - product / sizes, places=3)
        else:
          self.assertEqual(turn, 1.0)
        old[name] = move
      w |= new
      if spec.startswith('ridge'):
        w['top'] = ridge(w['bottom'])
      seen.append(loss)
    for name in w:
      np.testing.assert_allclose(
        state.params[name], w[name], rtol=5e-3, atol=5e-4
      )
    self.assertEqual(int(state.count), 4)
    np.testing.assert_allclose(state.early['loss'], seen[:2], rtol=1e-4)
    self.assertEqual(step._cache_size(), 1)

  def test_decay_may_be_swept(self):
    found = data()
    one = jax.tree.map(lambda x: x[0], found.train)
    test = jax.tree.map(lambda x: x[0], found.test)
    model = grokking.Model(order=M, hidden=K)

    def run(decay):
      method = grokking.Method(
        model,
        grokking.group_learning(
          model, optimizer=grokking.coupled_adam(0.01, decay)
        ),
      )
      return grokking.train(
        method, one, num_epochs=3, key=jax.random.key(0), test=test
      )

    params, history = jax.jit(jax.vmap(run))(jnp.array([0.0, 0.3]))
    self.assertEqual(history['test_loss'].shape, (2, 3))
    # As the machine of experiments has it, of the same key.
    method = grokking.make_method(
      'trained', M, hidden=K, optimizer='adam(0.01, weight_decay=0.3)'
    )
    state, alone = experiment.train(
      method.algorithm._replace(
        init=lambda _: method.algorithm.init(jax.random.key(0))
      ),
      grokking.make_problem(found, method.model),
      num_rounds=3,
      key=jax.random.key(0),
      eval_every=1,
    )
    np.testing.assert_allclose(
      params['top'][1], state.params['top'], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(history['loss'][1], alone['loss'], rtol=1e-5)
    # What is tested before the step is what the machine tests after the last.
    np.testing.assert_allclose(
      history['test_loss'][1], alone['test_loss'][:3], rtol=1e-5
    )

  def test_seeds_spread_over_devices(self):
    found = data((0, 1))
    method = grokking.make_method('trained', M, hidden=K)
    run = jax.jit(
      jax.vmap(lambda k, d: grokking.train(method, d, num_epochs=2, key=k)[1])
    )
    given = jax.random.split(jax.random.key(0), 2), found.train
    want = run(*given)
    mesh = jax.make_mesh(
      (2,),
      ('seeds',),
      axis_types=(jax.sharding.AxisType.Auto,),
      devices=jax.devices()[:2],
    )
    spread = jax.device_put(given, jax.NamedSharding(mesh, jax.P('seeds')))
    got = run(*spread)
    self.assertLen(got['loss'].sharding.device_set, 2)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, want
    )

  def test_seeds_have_splits_of_their_own(self):
    both = data((3, 4))
    for i, seed in enumerate((3, 4)):
      alone = data((seed,))
      for part in ('train', 'test'):
        jax.tree.map(
          lambda a, b, i=i: np.testing.assert_array_equal(a[i], b[0]),
          getattr(both, part),
          getattr(alone, part),
        )
    pairs = lambda s: {
      tuple(p) for part in (both.train, both.test)
      for p in np.asarray(part['inputs'][s]).tolist()
    }  # fmt: skip
    self.assertLen(pairs(0), 25)
    x = np.asarray(both.train['inputs'])
    self.assertFalse((x[0] == x[1]).all())
    np.testing.assert_array_equal(both.train['labels'], x.sum(axis=-1) % M)

  def test_muon_steps_along_the_singular_vectors(self):
    rng = np.random.default_rng(0)
    g = rng.normal(size=(6, 4))
    w = {
      'bottom': jnp.asarray(rng.normal(size=(6, 4)), jnp.float32),
      'top': jnp.ones((4, 3)),
    }
    optimizer = grokking.muon(0.1, weight_decay=0.5, top_rate=0.2)
    grads = {'bottom': jnp.asarray(g, jnp.float32), 'top': jnp.zeros((4, 3))}
    updates, _ = optimizer.update(grads, optimizer.init(w), w)
    x = g.T / np.linalg.norm(g)
    for a, b, c in grokking.NEWTON_SCHULZ:
      gram = x @ x.T
      x = a * x + (b * gram + c * gram @ gram) @ x
    want = -0.1 * (x.T + 0.5 * np.asarray(w['bottom']))
    np.testing.assert_allclose(updates['bottom'], want, rtol=1e-4, atol=1e-5)
    # Decay of the top is in its gradient: a step of full size.
    np.testing.assert_allclose(updates['top'], -0.2, rtol=1e-4)
    # The product with the gradient is close to the sum of singular values: as
    # close as the five steps bring numbers in (0, 1] to one.
    inner = np.vdot(g, x.T)
    nuclear = np.linalg.svd(g, compute_uv=False).sum()
    ends = np.geomspace(0.02, 1.0, 500)
    for a, b, c in grokking.NEWTON_SCHULZ:
      ends = a * ends + b * ends**3 + c * ends**5
    self.assertLess(np.abs(ends - 1).max(), 0.16)
    self.assertBetween(inner / nuclear, ends.min(), ends.max())
    u, _, vh = np.linalg.svd(g, full_matrices=False)
    self.assertAlmostEqual(np.vdot(g, u @ vh), nuclear, places=9)

  def test_muon_keeps_an_average_and_splits_layers(self):
    optimizer = grokking.muon(1.0, momentum=0.9)
    w = {'hidden': jnp.zeros((2, 3, 3)), 'top': jnp.zeros((3, 2))}
    rng = np.random.default_rng(0)
    state, mean = optimizer.init(w), 0.0
    for _ in range(3):
      g = rng.normal(size=(2, 3, 3))
      mean = 0.9 * mean + 0.1 * g
      updates, state = optimizer.update(
        {'hidden': jnp.asarray(g, jnp.float32), 'top': w['top']}, state, w
      )
    for got, of in zip(updates['hidden'], mean, strict=True):
      x = of / np.linalg.norm(of)
      for a, b, c in grokking.NEWTON_SCHULZ:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
      np.testing.assert_allclose(got, -x, rtol=1e-3, atol=1e-4)

  def test_coupled_decay_is_that_of_optax(self):
    w = jnp.array([1.0, -3.0])
    ours = grokking.coupled_adam(0.1, 0.2)
    theirs = optax.chain(optax.add_decayed_weights(0.2), optax.adam(0.1))
    a, b = ours.init(w), theirs.init(w)
    for g in (jnp.array([0.3, 0.1]), jnp.array([-1.0, 0.2])):
      (u, a), (v, b) = ours.update(g, a, w), theirs.update(g, b, w)
      np.testing.assert_allclose(u, v, rtol=1e-6)


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ('ridge_top', {'loss': 'cross_entropy'}, 'got loss=cross_entropy'),
    ('ridge_top(eta=0.0)', {}, r'ridge_top\(eta=0.0\).*ridge must lie in'),
    ('ridge_top(eta=-1.0)', {}, 'ridge must lie in'),
    ('trained(hidden=0)', {}, 'hidden must be at least 1; got 0'),
    ('trained', {'hidden': 0}, 'hidden must be at least 1; got 0'),
    ('trained(num_layers=-1)', {}, 'num_layers must be at least 0'),
    ('trained(top_scale=-1.0)', {}, 'top_scale must lie in'),
    ('trained(activation=cube)', {}, "activation='cube' is unknown"),
    ('trained(loss=hinge)', {}, "loss='hinge' is unknown"),
    ('trained(depth=3)', {}, "no option 'depth'"),
    ('lazy', {}, "method='lazy' is unknown"),
    (
      'trained(optimizer=adam(weight_decay=-1.0))',
      {},
      'weight_decay must lie in',
    ),
    ('trained(optimizer=muon(momentum=1.0))', {}, 'momentum must lie in'),
  )
  def test_methods(self, spec, options, message):
    with self.assertRaisesRegex(ValueError, message):
      grokking.make_method(spec, M, **options)

  @parameterized.parameters(
    ('fraction(1.0)', r'train_fraction=1 of 25 .* leaves 25 to train and 0'),
    ('fraction(0.01)', 'leaves 0 to train and 25 to test'),
    ('fraction(2.0)', r'share must lie in \[0.0, 1.0\]'),
    ('critical(9.0)', r'train_fraction must lie in \[0.0, 1.0\]'),
    ('critical(0.0)', 'constant must lie in'),
    ('half', "split='half' is unknown"),
  )
  def test_splits(self, split, message):
    with self.assertRaisesRegex(ValueError, message):
      grokking.make_data('cyclic(5)', split)

  def test_critical_splits_know_dimensions(self):
    share = lambda group, c: (
      grokking.make_data(group, f'critical({c})').train_fraction
    )
    self.assertAlmostEqual(
      share('cyclic(24)', 1.0), round(np.log(24) / 24 * 576) / 576
    )
    # Irreps of the fourth symmetric group have dimension three at most.
    self.assertAlmostEqual(
      share('symmetric(4)', 1.0), round(1.5 * np.log(24) / 24 * 576) / 576
    )

  def test_orders_and_matrices(self):
    with self.assertRaisesRegex(ValueError, 'order must be at least 3; got 2'):
      grokking.Model(order=2)
    with self.assertRaisesRegex(ValueError, 'order=7 but the group has 5'):
      grokking.make_problem(data(), grokking.Model(order=7))
    with self.assertRaisesRegex(
      ValueError, r"'top' has shape \(3,\): train it"
    ):
      grokking.muon().init({'top': jnp.zeros(3)})
    with self.assertRaisesRegex(ValueError, 'muon needs a dict of matrices'):
      grokking.muon().init(jnp.zeros(3))
    with self.assertRaisesRegex(ValueError, 'leave nothing to train'):
      grokking.group_learning(
        grokking.Model(order=M),
        optimizer=optax.sgd(0.1),
        ridge=1.0,
        is_frozen=True,
      )
    with self.assertRaisesRegex(TypeError, 'must be an optax optimizer'):
      grokking.group_learning(grokking.Model(order=M), optimizer=0.1)
    with self.assertRaisesRegex(TypeError, 'typed key'):
      grokking.init_params(np.zeros(2, np.uint32), M, K)
    with self.assertRaisesRegex(ValueError, 'num_epochs must be at least 0'):
      grokking.train(None, {}, num_epochs=-1, key=None)

  def test_problem_is_a_problem(self):
    problem = grokking.make_problem(data((0, 1)), grokking.Model(order=M))
    self.assertIsInstance(problem, types.Problem)
    self.assertEqual(problem.num_classes, M)


if __name__ == '__main__':
  absltest.main()
