# SPDX-License-Identifier: Apache-2.0
"""Rules of gates against closed forms and float64 NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from absl.testing import absltest, parameterized

from jaxdl import federated, networks, pruning
from jaxdl.core import types

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(3, 4))
KERNEL[:, 3] = 0.0
BIAS = np.array([0.5, 0.0, -1.0, 0.0])
NORMS = np.sum(KERNEL**2, axis=0) + BIAS**2


def frozen(start=1.0, dtype='float32'):
  """One gated layer of four players, the last of them empty."""
  layer = {
    'kernel': jnp.asarray(KERNEL, dtype),
    'bias': jnp.asarray(BIAS, dtype),
  }
  gates = {'0': jnp.full(4, start, dtype)}
  return {'network': [layer], 'gates': gates}


def play(rule, params, slopes, count):
  """Gates after each iteration, θ as it is."""

  @jax.jit
  def run(params, slopes):
    def one(carry, slope):
      gates, state = carry
      gates, state = rule.update({'0': slope}, state, params | {'gates': gates})
      return (gates, state), gates['0']

    start = (params['gates'], rule.init(params))
    return jax.lax.scan(one, start, slopes)[1]

  slopes = jnp.broadcast_to(jnp.asarray(slopes, jnp.float32), (count, 4))
  return np.asarray(run(params, slopes))


class GameTest(parameterized.TestCase):
  @parameterized.parameters((0.1, 0.02), (0.05, 0.001))
  def test_a_price_alone_is_a_clock(self, l1, rate):
    rule = pruning.game(benefit=0.0, l2=0.0, l1=l1, rate=rate)
    found = play(rule, frozen(), np.ones(4), 600)
    t = np.arange(1, 601)
    want = np.maximum(0, 1 - rate * l1 * t)
    np.testing.assert_allclose(found[:, 0], want, atol=1e-4)
    self.assertEqual(np.ptp(found, axis=1).max(), 0)
    out = found[:, 0] < 0.01
    first = int(np.floor(0.99 / (rate * l1))) + 1
    if first <= 600:
      self.assertAlmostEqual(int(np.argmax(out)) + 1, first, delta=1)
    else:
      self.assertFalse(out.any())

  def test_a_price_on_norms_decays_exponentially(self):
    rate, l2 = 0.02, 0.3
    rule = pruning.game(benefit=0.0, l2=l2, l1=0.0, rate=rate)
    found = play(rule, frozen(), np.ones(4), 50)
    t = np.arange(1, 51)[:, None]
    want = (1 - 2 * rate * l2 * NORMS) ** t
    np.testing.assert_allclose(found, want, atol=1e-5)
    self.assertEqual(found[-1, 3], 1.0)
    equal = pruning.game(benefit=0.0, l2=l2, l1=0.0, rate=rate, unit_norm=True)
    found = play(equal, frozen(), np.ones(4), 50)
    np.testing.assert_allclose(
      found[:, :3], np.tile((1 - 2 * rate * l2) ** t, 3), atol=1e-5
    )
    self.assertEqual(found[-1, 3], 1.0)

  @parameterized.product(
    sign=(-1, 1), at=('scaled', 'effective'), normalize=(False, True)
  )
  def test_ascent_is_that_of_the_sheet(self, sign, at, normalize):
    alpha, beta, gamma, eta, rate, decay = 3.0, 0.02, 0.1, 0.05, 0.1, 0.8
    rule = pruning.game(
      benefit=alpha, l2=beta, l1=gamma, competition=eta, rate=rate,
      benefit_sign=sign, gradient_at=at, normalize=normalize, decay=decay,
    )  # fmt: skip
    slopes = np.random.default_rng(2).normal(size=(30, 4)) * 0.3
    found = play(rule, frozen(0.6), slopes, 30)
    theta = np.concatenate([KERNEL, BIAS[None]])
    gram = theta.T @ theta
    s, mean, weight = np.full(4, 0.6), np.zeros(4), 0.0
    for t in range(30):
      g = slopes[t] * (s if at == 'scaled' else 1)
      mean = decay * mean + (1 - decay) * g
      weight = decay * weight + 1 - decay
      b = mean / weight
      if normalize:
        b = b / np.mean(np.abs(b))
      others = gram @ s - np.diag(gram) * s
      slope = sign * alpha * b - 2 * beta * np.diag(gram) * s
      s = np.clip(s + rate * (slope - gamma - eta * others), 0, 1)
      np.testing.assert_allclose(found[t], s, atol=2e-5)
    self.assertTrue(((found == 0) | (found == 1)).any())

  def test_without_competition_it_climbs_to_the_best_response(self):
    slopes = np.array([-0.9, -0.1, -0.6, -0.4])
    costs = pruning.Costs(l2=0.4, l1=0.2)
    rule = pruning.game(
      benefit=1.0, l2=0.4, l1=0.2, rate=0.1, gradient_at='effective', decay=0.0
    )
    found = play(rule, frozen(0.5), slopes, 400)[-1]
    with np.errstate(divide='ignore'):
      want = np.clip((-slopes - 0.2) / (2 * 0.4 * NORMS), 0, 1)
    np.testing.assert_allclose(found, want, atol=1e-5)
    gram = pruning.player_gram(frozen()['network'], frozen()['gates'])['0']
    best = pruning.best_response(jnp.ones(4), -slopes, gram, costs)
    np.testing.assert_allclose(found, best, atol=1e-5)

  def test_who_is_out_comes_back_by_effective_gradients_alone(self):
    slopes = np.concatenate([np.full((30, 4), 1.0), np.full((60, 4), -1.0)])
    back = {}
    for at in ('scaled', 'effective'):
      rule = pruning.game(
        benefit=1.0, l2=0.0, l1=0.1, rate=0.1, gradient_at=at, decay=0.0
      )
      back[at] = play(rule, frozen(), slopes, 90)[:, 0]
      self.assertEqual(back[at][29], 0)
    self.assertEqual(back['scaled'][-1], 0)
    self.assertEqual(back['effective'][-1], 1)

  def test_a_broken_benefit_leaves_its_player_alone(self):
    slopes = np.full((6, 4), -0.5)
    slopes[2, 1] = np.nan
    rule = pruning.game(benefit=1.0, l2=0.0, l1=0.6, rate=0.1)
    found = play(rule, frozen(0.5), slopes, 6)
    self.assertTrue(np.isfinite(found).all())
    self.assertEqual(found[2, 1], found[1, 1])
    self.assertLess(found[5, 1], found[2, 1])
    np.testing.assert_array_equal(found[:, 0], found[:, 2])

  @parameterized.parameters(0.25, 0.5, 0.7)
  def test_a_target_is_met_exactly(self, target):
    rule = pruning.game(
      benefit=1.0, l2=0.0, l1=0.5, rate=0.05, target_sparsity=target
    )
    # Two leave together, whatever the target.
    slopes = np.array([-0.2, 0.1, 0.1, -0.3])
    found = play(rule, frozen(), slopes, 200)
    out = (found < 0.01).sum(axis=1)
    want = int(np.ceil(target * 4))
    self.assertEqual(out[-1], want)
    self.assertTrue((np.diff(out) >= 0).all())
    first = int(np.argmax(out == want))
    np.testing.assert_array_equal(
      found[first:], found[first:][:1].repeat(200 - first, axis=0)
    )
    # Of equals the first stays.
    order = [2, 1, 0, 3]
    self.assertEqual(set(np.flatnonzero(found[-1] < 0.01)), set(order[:want]))

  def test_participations_may_have_an_optimizer_of_their_own(self):
    slopes, rate = np.array([-0.5, 0.1, 0.1, -0.2]), 0.01
    options = {'benefit': 1.0, 'l2': 0.0, 'l1': 0.3, 'decay': 0.0}
    options['gradient_at'] = 'effective'
    rule = pruning.game(rate=f'adam({rate})', **options)
    found = play(rule, frozen(), slopes, 20)
    # Adam on a constant slope takes steps of its rate.
    want = 1 - rate * np.arange(1, 21)
    np.testing.assert_allclose(found[:, 1], want, atol=1e-4)
    np.testing.assert_array_equal(found[:, 0], 1.0)
    plain = play(pruning.game(rate='sgd(0.1)', **options), frozen(), slopes, 9)
    same = play(pruning.game(rate=0.1, **options), frozen(), slopes, 9)
    np.testing.assert_array_equal(plain, same)

  def test_prices_may_be_traced(self):
    slopes = {'0': jnp.array([-0.5, 0.1, 0.1, -0.2])}

    def gates(price):
      rule = pruning.game(benefit=1.0, l1=price, l2=price, competition=price)
      return rule.update(slopes, rule.init(frozen()), frozen())[0]['0']

    both = jax.jit(jax.vmap(gates))(jnp.array([0.1, 0.4]))
    np.testing.assert_allclose(both[1], gates(0.4), atol=1e-7)


class TrainTest(parameterized.TestCase):
  def problem(self, hidden=(6,)):
    network = pruning.gated(networks.mlp(hidden, 2))
    x = jnp.asarray(np.random.default_rng(3).normal(size=(16, 3)), 'float32')
    y = jnp.asarray(x[:, 0] > 0, jnp.int32)
    task = networks.classification(network, x, num_classes=2)
    return task, {'inputs': x, 'labels': y}

  def test_group_l1_descends_loss_and_sum_of_gates(self):
    task, batch = self.problem()
    price, rate = 0.2, 0.05
    optimizer = pruning.with_gates(
      optax.sgd(0.1), pruning.group_l1(price=price, rate=rate)
    )

    def penalized(params):
      total = sum(jnp.sum(s) for s in params['gates'].values())
      return task.loss(params, batch) + price * total

    @jax.jit
    def both(params, state, plain):
      grads = jax.grad(task.loss)(params, batch)
      change, state = optimizer.update(grads, state, params)
      slope = jax.grad(penalized)(plain)
      network = jax.tree.map(
        lambda x, g: x - 0.1 * g, plain['network'], slope['network']
      )
      gates = jax.tree.map(
        lambda s, g: jnp.clip(s - rate * g, 0, 1),
        plain['gates'],
        slope['gates'],
      )
      moved = optax.apply_updates(params, change)
      return moved, state, {'network': network, 'gates': gates}

    params = plain = task.init(KEY)
    state = optimizer.init(params)
    for _ in range(60):
      params, state, plain = both(params, state, plain)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-5), params, plain
    )
    self.assertLess(float(params['gates']['0'].min()), 0.7)

  def test_it_is_an_optimizer_like_any_other(self):
    task, batch = self.problem((6, 5))
    rule = pruning.game(benefit=20.0, l1=0.3, rate=0.1)
    algorithm = federated.centralized_sgd(
      task, optimizer=pruning.with_gates(optax.adam(0.03), rule)
    )
    state = algorithm.init(KEY)
    cohort = types.Cohort(
      client_ids=jnp.arange(1),
      data=jax.tree.map(lambda x: x[None], batch),
      mask=jnp.ones(1, bool),
      weights=jnp.ones(1),
    )
    step = jax.jit(algorithm.step)
    for t in range(40):
      state, metrics = step(state, cohort, key=jax.random.key(t))
    self.assertLess(float(metrics['loss']), 0.5)
    gates = algorithm.params(state)['gates']
    flat = np.concatenate([np.asarray(s) for s in gates.values()])
    self.assertTrue((flat >= 0).all() and (flat <= 1).all())
    self.assertGreater(float(pruning.sparsity(gates)), 0.2)
    self.assertEqual(step._cache_size(), 1)

  @parameterized.parameters('magnitude', 'taylor', 'taylor_squared', 'random')
  def test_one_shot_prunes_once_and_trains_on(self, score):
    task, batch = self.problem((6, 5))
    rule = pruning.one_shot(score=score, keep=(2, 3), at=4, calibration=2)
    optimizer = pruning.with_gates(optax.sgd(0.1), rule)

    @jax.jit
    def step(params, state):
      grads = jax.grad(task.loss)(params, batch)
      change, state = optimizer.update(grads, state, params)
      return optax.apply_updates(params, change), state, grads['gates']

    params = task.init(KEY)
    state, totals, before = optimizer.init(params), 0, None
    for t in range(1, 8):
      old = params
      params, state, slopes = step(params, state)
      flat = {k: np.asarray(v) for k, v in params['gates'].items()}
      if t < 4:
        self.assertTrue(all((v == 1).all() for v in flat.values()))
      if t in (3, 4):  # Gates are one, so slopes are products.
        power = 2 if score == 'taylor_squared' else 1
        size = {k: np.abs(np.asarray(v)) ** power for k, v in slopes.items()}
        totals = size if not totals else {k: totals[k] + size[k] for k in size}
      if t == 4:
        norms = pruning.player_sq_norms(old['network'], old['gates'])
        for name, count in (('0', 2), ('1', 3)):
          want = norms[name] if score == 'magnitude' else totals[name]
          if score != 'random':
            top = set(np.argsort(-np.asarray(want))[:count])
            self.assertEqual(set(np.flatnonzero(flat[name])), top)
          self.assertEqual(flat[name].sum(), count)
        before = flat
      if t > 4:
        jax.tree.map(np.testing.assert_array_equal, flat, before)
        self.assertGreater(
          float(
            jnp.abs(
              params['network'][0]['bias'] - old['network'][0]['bias']
            ).max()
          ),
          0,
        )

  def test_scores_over_batches(self):
    task, batch = self.problem()
    params = task.init(KEY)
    batches = jax.tree.map(lambda x: x.reshape(4, 4, *x.shape[1:]), batch)
    slope = jax.jit(jax.grad(task.loss))
    for squared in (False, True):
      got = jax.jit(
        functools.partial(pruning.taylor_scores, task, squared=squared)
      )(params, batches)['0']
      each = []
      for k in range(4):
        one = jax.tree.map(lambda x, k=k: x[k], batches)
        grads = slope(params, one)
        products = pruning.player_products(
          params['network'], grads['network'], params['gates']
        )['0']
        each.append(np.abs(products) ** (2 if squared else 1))
      np.testing.assert_allclose(got, np.mean(each, axis=0), atol=1e-6)
    drawn = pruning.random_scores(KEY, params['gates'])['0']
    self.assertEqual(len(set(np.asarray(drawn).tolist())), 6)

  def test_ranks_decide_about_equals(self):
    scores = {'0': jnp.array([1.0, 2.0, 2.0, jnp.nan]), '10': jnp.zeros(3)}
    got = pruning.keep_top(scores, (1, 2))
    self.assertEqual(got['0'].tolist(), [False, True, False, False])
    self.assertEqual(got['10'].tolist(), [True, True, False])
    self.assertEqual(pruning.kept_counts(scores, 0.01), {'0': 1, '10': 1})


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'benefit': -1.0}, r'benefit must lie in \[0.0, inf\); got -1.0'),
    ({'l2': -1.0}, 'l2 must lie in'),
    ({'l1': -1.0}, 'l1 must lie in'),
    ({'competition': -1.0}, 'competition must lie in'),
    ({'rate': 0.0}, r'rate must lie in \(0.0, inf\)'),
    ({'rate': 'sdg(0.1)'}, "Did you mean 'sgd'"),
    ({'benefit_sign': 0}, 'benefit_sign=0 is unknown'),
    ({'gradient_at': 'half'}, "gradient_at='half' is unknown"),
    ({'decay': 1.0}, r'decay must lie in \[0.0, 1.0\)'),
    ({'target_sparsity': 1.0}, r'target_sparsity must lie in \(0.0, 1.0\)'),
    ({'threshold': 1.0}, r'threshold must lie in \(0.0, 1.0\)'),
  )
  def test_the_game(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      pruning.game(**options)

  @parameterized.parameters(
    ({'score': 'size'}, "score='size' is unknown"),
    ({'keep': 0.0}, r'keep must lie in \(0.0, 1.0\]'),
    ({'keep': 3}, r'keep must lie in|keep=3'),
    ({'keep': 1}, 'keep=1 is neither a share nor numbers by layer'),
    ({'keep': (0, 2)}, 'keep must be at least 1'),
    ({'at': 0}, 'at must be at least 1'),
    ({'calibration': 0}, 'calibration must be at least 1'),
  )
  def test_one_shot(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      pruning.one_shot(**options)

  def test_counts_that_fit_no_layers(self):
    for keep, message in (
      ((1, 2), r"keep=\(1, 2\) must have a number for each of the layers \['0"),
      ((5,), 'asks for 5 of the 4 players of layer 0'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        pruning.one_shot(keep=keep).init(frozen())
    with self.assertRaisesRegex(ValueError, 'price must lie in'):
      pruning.group_l1(price=-1.0)

  def test_parts_of_another_kind(self):
    with self.assertRaisesRegex(TypeError, 'rule must be a pruning.Rule'):
      pruning.with_gates(optax.sgd(0.1), pruning.game)
    with self.assertRaisesRegex(TypeError, 'optimizer must be an optax'):
      pruning.with_gates(0.1, pruning.game())
    optimizer = pruning.with_gates(optax.sgd(0.1), pruning.dense())
    with self.assertRaisesRegex(TypeError, "must be {'network', 'gates'}"):
      optimizer.init({'kernel': jnp.ones(2)})
    with self.assertRaisesRegex(TypeError, 'got None'):
      optimizer.update(frozen(), optimizer.init(frozen()))
    with self.assertRaisesRegex(ValueError, "no option 'alpha'"):
      pruning.METHODS.make('game(alpha=1.0)')

  def test_steps_that_oscillate_are_told(self):
    largest = NORMS.max()
    self.assertTrue(pruning.check_rate(frozen(), l2=0.5, rate=1.99 / largest))
    logging.get_absl_handler()  # The first call makes it.
    with self.assertLogs(level='WARNING') as log:
      pruning.check_rate(frozen(), l2=0.5, rate=2.01 / largest)
    self.assertIn('make participations oscillate', log.output[0])
    # It is true: the largest player jumps from bound to bound.
    rule = pruning.game(benefit=0.0, l2=0.5, l1=0.0, rate=2.01 / largest)
    i = int(np.argmax(NORMS))
    found = play(rule, frozen(0.5), np.zeros(4), 9)[:, i]
    self.assertEqual(found[0], 0.0)


if __name__ == '__main__':
  absltest.main()
