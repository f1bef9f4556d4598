# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import mixing
from jaxdl.mixing import graphs, spectra


def _draws(mixer, count, seed=0):
  key = jax.random.key(seed)
  fn = jax.jit(jax.vmap(lambda t: mixer.matrix(t, key=key)))
  return np.asarray(fn(jnp.arange(count)), np.float64)


def _shrinkage(draws, seed=0):
  """Mean and standard error of ‖Wx‖² / ‖x‖² for a fixed zero-mean x."""
  x = np.random.default_rng(seed).normal(size=draws.shape[1])
  x = x - x.mean()
  ratio = ((draws @ x) ** 2).sum(axis=1) / (x @ x)
  return ratio.mean(), ratio.std() / np.sqrt(len(ratio))


class ExpectedRateTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('matching', mixing.random_matching(10), 1 - 10 / 18),
    (
      'lazy_matching',
      mixing.random_matching(10, probability=0.3),
      1 - 0.3 * 10 / 18,
    ),
    ('shift', mixing.random_shift(9), 7 / 16),
    ('equidyn_full', mixing.directed_equidyn(9, step_size=1.0), 1 - 2 / 9),
    ('equidyn_half', mixing.directed_equidyn(9), (1 - 1 / 9) / 2),
    (
      'epidemic',
      mixing.epidemic_oracle(12, 3, np.random.default_rng(0)),
      (12 / 4 - 1) / 11,
    ),
  )
  def test_shrinks_as_predicted(self, mixer, want):
    draws = _draws(mixer, 6000)
    np.testing.assert_allclose(draws.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(draws.sum(axis=2), 1.0, atol=1e-6)
    mean, error = _shrinkage(draws)
    self.assertLess(abs(mean - want), 3 * error + 1e-9)
    self.assertLess(error, 0.02)


class FamiliesTest(parameterized.TestCase):
  def test_matchings_pair_everyone_once(self):
    for n, alone in ((8, 0), (9, 1)):
      draws = _draws(mixing.random_matching(n), 50)
      self.assertTrue(((draws == 0) | (draws == 0.5) | (draws == 1)).all())
      np.testing.assert_array_equal((draws == 1).sum(axis=(1, 2)), alone)
      np.testing.assert_array_equal(draws, np.swapaxes(draws, 1, 2))
    self.assertGreater(len(np.unique(draws, axis=0)), 40)

  def test_undirected_equidyn_is_the_greedy_matching(self):
    n, eta = 7, 0.6
    draws = _draws(mixing.undirected_equidyn(n, step_size=eta), 200)
    give = eta * (n - 1) / n
    possible = set()
    for hop in range(1, n):
      for start in range(n):
        partner = list(range(n))
        for t in range(n):
          i = (start + t) % n
          j = (i + hop) % n
          if partner[i] == i and partner[j] == j:
            partner[i], partner[j] = j, i
        possible.add(tuple(partner))
    for w in draws:
      np.testing.assert_allclose(w, w.T, atol=1e-7)
      partner = tuple(
        int(np.argmax(np.where(np.eye(n)[i], w[i] == 1, w[i])))
        for i in range(n)
      )
      self.assertIn(partner, possible)
      paired = np.array(partner) != np.arange(n)
      np.testing.assert_allclose(
        w.diagonal(), np.where(paired, 1 - give, 1.0), atol=1e-7
      )

  def test_equidyn_keeps_to_its_hops(self):
    draws = _draws(mixing.directed_equidyn(8, hops=(2, 5)), 60)
    used = draws[:, 0].sum(axis=0) > 0
    np.testing.assert_array_equal(np.nonzero(used)[0], [0, 2, 5])
    with self.assertRaisesRegex(ValueError, 'hops must be at most 7'):
      mixing.directed_equidyn(8, hops=(9,))

  def test_epidemic_oracle_is_regular_and_reaches_everyone(self):
    n = 8
    draws = _draws(mixing.epidemic_oracle(n, 3, np.random.default_rng(0)), 200)
    np.testing.assert_array_equal((draws > 0).sum(axis=2), 4)
    np.testing.assert_allclose(draws, np.swapaxes(draws, 1, 2), atol=1e-7)
    share = (draws > 0).mean(axis=0)[~np.eye(n, dtype=bool)]
    np.testing.assert_allclose(share, 3 / 7, atol=0.15)

  def test_epidemic_local_senders_reach_their_number(self):
    n, s = 9, 3
    draws = _draws(mixing.epidemic_local(n, s), 2000)
    links = draws > 0
    np.testing.assert_array_equal(links.sum(axis=1), s + 1)
    received = links.sum(axis=2)
    np.testing.assert_allclose(draws, links / received[:, :, None], atol=1e-7)
    # In-degree is binomial(n - 1, s / (n - 1)): sometimes nothing arrives.
    empty = (received == 1).mean()
    want = (1 - s / (n - 1)) ** (n - 1)
    self.assertLess(abs(empty - want), 4 * np.sqrt(want / (2000 * n)) + 2e-3)
    np.testing.assert_array_equal(
      _draws(mixing.epidemic_local(3, 0), 1)[0], np.eye(3)
    )

  def test_unreliable_clients_keep_their_value(self):
    n = 10
    inner = mixing.make_mixer('ring', n)
    draws = _draws(mixing.unreliable(inner, offline=0.4), 400)
    np.testing.assert_allclose(draws, np.swapaxes(draws, 1, 2), atol=1e-7)
    np.testing.assert_allclose(draws.sum(axis=2), 1.0, atol=1e-6)
    # A link lives if both of its ends do.
    alive = (draws[:, 0, 1] > 0).mean()
    self.assertLess(abs(alive - 0.36), 4 * np.sqrt(0.36 * 0.64 / 400))
    same = _draws(mixing.unreliable(inner, offline=0.0), 1)[0]
    np.testing.assert_allclose(same, inner.matrix(0), atol=1e-7)
    with self.assertRaisesRegex(ValueError, 'rows that sum to one'):
      mixing.unreliable(
        mixing.from_matrix(np.eye(3), stochastic='column'), offline=0.1
      )

  def test_same_key_and_round_give_the_same_draw(self):
    mixer = mixing.random_matching(12)
    key = jax.random.key(3)
    x = jnp.arange(12.0)
    first = mixer.apply(x, 4, key=key)
    traced = jax.jit(mixer.apply)(x, jnp.asarray(4), key=key)
    np.testing.assert_array_equal(first, traced)
    self.assertGreater(
      float(jnp.abs(first - mixer.apply(x, 5, key=key)).max()), 0
    )
    with self.assertRaisesRegex(ValueError, 'random: pass key='):
      mixer.apply(x, 0)


class MatchaTest(parameterized.TestCase):
  @parameterized.parameters(0, 1, 2)
  def test_matchings_partition_the_links(self, seed):
    graph = graphs.erdos_renyi(14, 0.35, np.random.default_rng(seed))
    partners = mixing.matchings(graph)
    ids = np.arange(14)
    seen = np.zeros((14, 14), int)
    for row in partners:
      np.testing.assert_array_equal(row[row], ids)
      paired = row != ids
      seen[ids[paired], row[paired]] += 1
    np.testing.assert_array_equal(seen, graph)
    self.assertLessEqual(len(partners), graph.sum(axis=1).max() + 1)

  def test_full_budget_is_the_best_constant(self):
    graph = graphs.path(6)
    plan = mixing.decompose(graph, budget=1.0)
    values = np.linalg.eigvalsh(
      np.diag(graph.sum(axis=1)) - graph.astype(float)
    )
    self.assertAlmostEqual(
      plan.step_size, 2 / (values[1] + values[-1]), delta=1e-5
    )
    rho = spectra.consensus_factor(mixing.best_constant(graph))
    self.assertAlmostEqual(plan.factor, rho**2, delta=1e-8)

  def test_bridge_is_activated_more_often_and_the_rate_holds(self):
    graph = networkx.barbell_graph(4, 0)  # Two cliques and one bridge.
    plan = mixing.decompose(graph, budget=0.5)
    bridge = int(np.nonzero(plan.partners[:, 3] == 4)[0][0])
    self.assertAlmostEqual(
      plan.probabilities.sum(), 0.5 * len(plan.partners), delta=1e-9
    )
    self.assertEqual(int(np.argmax(plan.probabilities)), bridge)
    self.assertTrue(
      ((plan.probabilities >= 0) & (plan.probabilities <= 1)).all()
    )
    # Better than spreading the same budget evenly.
    laplacians = np.stack([np.eye(8) - np.eye(8)[p] for p in plan.partners])
    connectivity = lambda p: np.linalg.eigvalsh(
      np.einsum('m,mij->ij', p, laplacians)
    )[1]
    even = np.full(len(plan.partners), 0.5)
    self.assertGreater(
      connectivity(plan.probabilities), 1.2 * connectivity(even)
    )
    # Exact second moment over all activations.
    count = len(plan.partners)
    second = np.zeros((8, 8))
    for code in range(2**count):
      active = np.array([code >> j & 1 for j in range(count)])
      chance = np.prod(
        np.where(active, plan.probabilities, 1 - plan.probabilities)
      )
      w = np.eye(8) - plan.step_size * np.einsum(
        'm,mij->ij', active, laplacians
      )
      second += chance * w @ w
    factor = np.linalg.eigvalsh(second - 1 / 8)[-1]
    self.assertAlmostEqual(plan.factor, factor, delta=1e-10)
    mean, error = _shrinkage(_draws(mixing.matcha(plan), 3000))
    self.assertLess(mean, factor + 3 * error)

  def test_complete_graphs(self):
    # All links at once: (1 - 24 α)² on everything but the mean.
    plan = mixing.decompose(networkx.complete_graph(24), budget=1.0)
    self.assertLess(plan.factor, 1e-12)
    self.assertAlmostEqual(plan.step_size, 1 / 24, delta=1e-7)
    # Half of them: its eigenvalues are all equal, which LAPACK does not like.
    plan = mixing.decompose(networkx.complete_graph(24), budget=0.5)
    laplacians = np.eye(24) - np.eye(24)[plan.partners]
    mean = np.einsum('m,mij->ij', plan.probabilities, laplacians)
    spread = plan.probabilities * (1 - plan.probabilities)
    noise = 2 * np.einsum('m,mij->ij', spread, laplacians)
    a = plan.step_size
    second = (np.eye(24) - a * mean) @ (np.eye(24) - a * mean) + a**2 * noise
    want = np.linalg.eigvalsh(second - 1 / 24)[-1]
    self.assertAlmostEqual(plan.factor, want, delta=1e-10)
    self.assertBetween(plan.factor, 0.0, 0.2)

  def test_refuses_what_cannot_work(self):
    with self.assertRaisesRegex(ValueError, 'degree must be at least 1; got 0'):
      mixing.make_mixer('matcha(degree=0)', 8)
    with self.assertRaisesRegex(
      ValueError, "degree must be an integer or None; got 'a'"
    ):
      mixing.make_mixer('epidemic_local(degree=a)', 8)
    with self.assertRaisesRegex(ValueError, 'components'):
      mixing.matcha(np.eye(4))
    with self.assertRaisesRegex(ValueError, 'undirected'):
      mixing.matchings(graphs.directed_ring(4))


if __name__ == '__main__':
  absltest.main()
