# SPDX-License-Identifier: Apache-2.0
"""Training in clusters: one shot, its rivals, gossip, who is absent."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy.spatial import distance

from jaxdl import local, mixing
from jaxdl.core import clients as clients_lib, types
from jaxdl.federated import clusters, server

N, D, S = 9, 12, 4
GROUPS = np.repeat([0, 1, 2], 3)
RATE = 0.3
KEY = jax.random.key(0)
CUT = 'ocfl(clusterer=agglomerative)'


def targets(spread=0.1, seed=0):
  """Examples [N, S, D] around a center for each group."""
  draw = np.random.default_rng(seed)
  centers = draw.normal(size=(3, D)) + 0.5
  noise = spread * draw.normal(size=(N, S, D))
  return (centers[GROUPS][:, None] + noise).astype(np.float32)


def loss(params, batch, *, key=None):
  del key
  gap = params['w'][None] - batch['x']
  return jnp.mean(jnp.sum(gap**2, axis=-1)) / 2


TASK = types.Task(lambda key: {'w': jnp.zeros(D)}, loss, lambda p, b: {})
WORK = local.LocalWork(f'sgd({RATE})', num_steps=2)


def cohort(x=None, mask=None):
  x = targets() if x is None else x
  n = len(x)
  mask = np.ones(n, bool) if mask is None else np.asarray(mask)
  return types.Cohort(
    client_ids=np.arange(n, dtype=np.int32),
    data={'x': jnp.asarray(x)},
    mask=mask,
    weights=np.full(n, 1 / n, np.float32),
  )


def setting(**options):
  return clusters.Setting(TASK, N, WORK, **options)


PLAIN = setting()


def run(algorithm, rounds, at=cohort, state=None):
  state = algorithm.init(KEY) if state is None else state
  seen = []
  for t in range(rounds):
    state, metrics = algorithm.step(
      state, at(t) if at is not cohort else cohort(), key=KEY
    )
    seen.append(metrics)
  return state, seen


def models(algorithm, state):
  return np.asarray(algorithm.params(state)['w'])


def worked(w, x):
  """What a client changes in its two steps, in float64."""
  return ((1 - RATE) ** 2 - 1) * (w - np.asarray(x, np.float64).mean(axis=-2))


class OneShotTest(parameterized.TestCase):
  def test_equals_a_reference(self):
    algorithm = clusters.make_algorithm(CUT, PLAIN)
    state = algorithm.init(KEY)
    w, labels, before = np.zeros((N, D)), np.zeros(N, int), np.inf
    fired = None
    for t in range(8):
      state, metrics = algorithm.step(state, cohort(), key=KEY)
      delta = worked(w, targets())
      gamma = distance.squareform(distance.pdist(delta, 'cosine'))
      heat = np.linalg.norm(gamma) / np.sqrt(N * (N - 1) * 4)
      if fired is None and heat > before:
        fired, labels = t, GROUPS
      before = heat
      for k in np.unique(labels):
        w[labels == k] += delta[labels == k].mean(axis=0)
      np.testing.assert_allclose(metrics['temperature'], heat, atol=1e-5)
      np.testing.assert_allclose(models(algorithm, state), w, atol=1e-5)
    self.assertIsNotNone(fired)
    self.assertEqual(state.labels.tolist(), GROUPS.tolist())
    self.assertEqual((metrics['changed'], metrics['num_clusters']), (fired, 3))
    history = clusters.label_history(state)
    self.assertEqual([t for t, _ in history], [0, fired])
    self.assertEqual(history[1][1].tolist(), GROUPS.tolist())

  def test_equal_clients_never_fire_and_equal_fedavg(self):
    same = np.tile(targets()[:1], (N, 1, 1))
    ours, plain = (clusters.make_algorithm(s, PLAIN) for s in (CUT, 'fedavg'))
    a, seen = run(ours, 5, lambda t: cohort(same))
    b, _ = run(plain, 5, lambda t: cohort(same))
    self.assertEqual([m['temperature'] for m in seen], [0.0] * 5)
    self.assertEqual(seen[-1]['changed'], -1)
    np.testing.assert_array_equal(models(ours, a), models(plain, b))
    theirs = server.federate(server.fedavg(TASK, WORK), N)
    c = theirs.init(KEY)
    for _ in range(5):
      c, _ = theirs.step(c, cohort(same), key=KEY)
    np.testing.assert_allclose(models(ours, a)[4], c.params['w'], atol=1e-6)

  def test_clusters_are_isolated(self):
    algorithm = clusters.make_algorithm(CUT, PLAIN)
    start, _ = run(algorithm, 6)
    self.assertEqual(start.labels.tolist(), GROUPS.tolist())
    other = targets()
    other[3:6] = 7.0
    a, _ = run(algorithm, 3, state=start)
    b, _ = run(algorithm, 3, lambda t: cohort(other), state=start)
    ours, theirs = models(algorithm, a), models(algorithm, b)
    keep = GROUPS != 1
    np.testing.assert_array_equal(ours[keep], theirs[keep])
    self.assertGreater(np.abs(ours - theirs)[3:6].min(), 0.1)

  def test_a_split_compiles_nothing(self):
    calls = []

    def counted(params, batch, *, key=None):
      calls.append(1)
      return loss(params, batch)

    made = clusters.Setting(TASK._replace(loss=counted), N, WORK)
    algorithm = clusters.make_algorithm(CUT, made)
    state, _ = run(algorithm, 1)
    algorithm.params(state)
    first = len(calls)
    state, seen = run(algorithm, 6, state=state)
    self.assertEqual(seen[-1]['num_clusters'], 3)
    self.assertLen(calls, first)
    # Another algorithm of the setting shares the programs.
    run(clusters.make_algorithm('sattler', made), 2)
    self.assertLen(calls, first)

  def test_trivial_shots_are_spent_unless_rearmed(self):
    alone = {'fired': [], 'rearmed': []}
    for name, rearm in (('fired', False), ('rearmed', True)):
      recipe = clusters.Recipe(
        policy=clusters.one_shot(
          lambda gamma: np.zeros(len(gamma)), rearm_if_trivial=rearm
        )
      )
      state, _ = run(clusters.clustered(PLAIN, recipe), 5)
      alone[name] = bool(state.policy['fired'])
      self.assertEqual(state.labels.tolist(), [0] * N)
    self.assertEqual(alone, {'fired': True, 'rearmed': False})

  def test_statistics_count_for_the_official_code_alone(self):
    init = lambda key: {'w': jnp.zeros(D), 'statistics': jnp.zeros(1)}

    def counting(params, batch, *, key=None):
      # Everybody counts its steps, as batch normalization does.
      return loss(params, batch) - 1e4 * params['statistics'][0]

    made = clusters.Setting(types.Task(init, counting, dict), N, WORK)
    heat = {
      quirks: run(
        clusters.make_algorithm(
          f'ocfl(clusterer=agglomerative, official_quirks={quirks})', made
        ),
        2,
      )[1]
      for quirks in (False, True)
    }
    _, plain = run(clusters.make_algorithm(CUT, PLAIN), 2)
    for ours, clean, theirs in zip(heat[False], plain, heat[True], strict=True):
      np.testing.assert_allclose(
        ours['temperature'], clean['temperature'], atol=1e-6
      )
      self.assertLess(theirs['temperature'], 1e-5)


class RivalsTest(parameterized.TestCase):
  def test_local_only_is_local(self):
    algorithm = clusters.make_algorithm('local_only', PLAIN)
    state, seen = run(algorithm, 3)
    w = np.zeros((N, D))
    for _ in range(3):
      w += worked(w, targets())
    np.testing.assert_allclose(models(algorithm, state), w, atol=1e-5)
    self.assertEqual(seen[-1]['num_clusters'], N)

  def test_bipartition_is_recursive_after_its_cooldown(self):
    spec = 'sattler(eps1=0.3, eps2=0.5, cooldown=4)'
    algorithm = clusters.make_algorithm(spec, PLAIN)
    state, _ = run(algorithm, 14)
    found = clusters.label_history(state)
    w, labels, want = np.zeros((N, D)), np.zeros(N, int), []
    for t in range(14):
      delta, new = worked(w, targets()), labels.copy()
      for k in np.unique(labels):
        own = np.flatnonzero(labels == k)
        mean = np.linalg.norm(delta[own].mean(axis=0))
        most = np.linalg.norm(delta[own], axis=1).max()
        if t > 4 and len(own) > 2 and mean < 0.3 and most > 0.5:
          # Of three well apart groups, complete linkage joins two.
          cut = _halves(delta[own])
          new[own[cut != cut[0]]] = new.max() + 1
      if not np.array_equal(new, labels):
        want.append((t, new))
      labels = new
      for k in np.unique(labels):
        w[labels == k] += delta[labels == k].mean(axis=0)
    self.assertEqual([t for t, _ in found[1:]], [t for t, _ in want])
    self.assertGreaterEqual(len(want), 2)
    for (_, ours), (_, theirs) in zip(found[1:], want, strict=True):
      self.assertEqual(ours.tolist(), theirs.tolist())
    self.assertGreater(want[0][0], 4)
    self.assertEqual(
      clusters.clustering_scores(state.labels, GROUPS)['ari'], 1.0
    )

  def test_hierarchical_clusters_come_in_their_round(self):
    right, seen = run(clusters.make_algorithm('briggs(round=4)', PLAIN), 6)
    self.assertEqual([m['num_clusters'] for m in seen], [1] * 4 + [3] * 2)
    self.assertEqual(right.labels.tolist(), GROUPS.tolist())
    wrong, _ = run(
      clusters.make_algorithm('briggs(round=4, official_quirks=True)', PLAIN),
      6,
    )
    score = clusters.clustering_scores(wrong.labels, GROUPS)['ari']
    self.assertLess(score, 0.5)

  def test_ifca_chooses_models(self):
    made = clusters.Setting(
      TASK._replace(init=lambda key: {'w': jax.random.normal(key, (D,))}),
      N,
      WORK,
    )
    algorithm = clusters.make_algorithm('ifca(num_models=3)', made)
    state, seen = run(algorithm, 5)
    theirs = server.federate(server.ifca(made.task, WORK, num_models=3), N)
    other = theirs.init(KEY)
    for _ in range(5):
      other, _ = theirs.step(other, cohort(), key=KEY)
    np.testing.assert_allclose(
      models(algorithm, state), theirs.params(other)['w'], atol=1e-6
    )
    self.assertEqual(state.labels.tolist(), other.own['method'].tolist())
    self.assertEqual(seen[-1]['num_clusters'], len(set(state.labels.tolist())))

  @parameterized.parameters(
    'fedprox(mu=0.5)',
    'fedavgm(momentum=0.5)',
    'scaffold',
    'q_fedavg',
    'ditto(pull=0.2)',
  )
  def test_one_cluster_is_the_method_itself(self, method):
    ours = clusters.make_algorithm('fedavg', setting(method=method))
    a, _ = run(ours, 3)
    theirs = server.make_algorithm(method, TASK, N, work=WORK)
    b = theirs.init(KEY)
    for _ in range(3):
      b, _ = theirs.step(b, cohort(), key=KEY)
    want = np.asarray(theirs.params(b)['w'])
    np.testing.assert_allclose(
      models(ours, a), np.broadcast_to(want, (N, D)), atol=1e-5
    )

  def test_methods_work_in_clusters_as_among_themselves(self):
    # A cluster goes on as if its members were all there are.
    made = setting(method='scaffold')
    recipe = clusters.Recipe(
      policy=clusters.Policy(
        start=lambda n: GROUPS.astype(np.int32),
        init=dict,
        decide=lambda seen, labels, memory: (labels, memory),
        needs_all=None,
        name='told',
      )
    )
    algorithm = clusters.clustered(made, recipe)
    a, _ = run(algorithm, 4)
    theirs = server.make_algorithm('scaffold', TASK, 3, work=WORK)
    b = theirs.init(KEY)
    own = types.Cohort(
      client_ids=np.arange(3, dtype=np.int32),
      data={'x': jnp.asarray(targets()[3:6])},
      mask=np.ones(3, bool),
      weights=np.full(3, 1 / 3, np.float32),
    )
    for _ in range(4):
      b, _ = theirs.step(b, own, key=KEY)
    np.testing.assert_allclose(
      models(algorithm, a)[4], theirs.params(b)['w'], atol=1e-5
    )


class ChannelTest(parameterized.TestCase):
  def test_rules_are_asked_in_each_cluster_of_what_arrives(self):
    channel = server.Channel(
      aggregator='median', attack='sign_flip(scale=4.0)', num_byzantine=1
    )
    algorithm = clusters.make_algorithm(
      'briggs(round=0)', setting(channel=channel)
    )
    state, _ = run(algorithm, 1)
    # Who lies is seen to lie, and left alone.
    self.assertEqual(state.labels.tolist(), [0, 0, 0, 1, 1, 1, 2, 2, 3])
    delta = worked(np.zeros((N, D)), targets())
    got = models(algorithm, state)
    for k in range(2):
      own = state.labels == k
      np.testing.assert_allclose(
        got[own][0], np.median(delta[own], axis=0), atol=1e-5
      )

  def test_compressed_messages_are_compared(self):
    keep = setting(channel=server.Channel(compressor='top_k(keep=0.25)'))
    _, seen = run(clusters.make_algorithm('fedavg', keep), 1)
    delta = worked(np.zeros((N, D)), targets())
    small = np.abs(delta) < np.sort(np.abs(delta), axis=1)[:, [-D // 4]]
    kept = np.where(small, 0, delta)
    gamma = distance.squareform(distance.pdist(kept, 'cosine'))
    want = np.linalg.norm(gamma) / np.sqrt(N * (N - 1) * 4)
    np.testing.assert_allclose(seen[0]['temperature'], want, atol=1e-5)

  def test_devices_do_not_matter(self):
    few = cohort(targets()[:8])
    found = []
    for mesh in (None, clients_lib.clients_mesh(4)):
      made = clusters.Setting(TASK, clients_lib.Clients(8, mesh), WORK)
      algorithm = clusters.make_algorithm(CUT, made)
      state, _ = run(algorithm, 5, lambda t: few)
      found.append((state.labels.tolist(), models(algorithm, state)))
    self.assertEqual(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)


class AbsentTest(parameterized.TestCase):
  def test_who_is_absent_at_the_shot_waits_and_is_assigned(self):
    spec = 'ocfl(clusterer=agglomerative, allow_partial=True)'
    algorithm = clusters.make_algorithm(spec, PLAIN)
    away = np.isin(np.arange(N), [4, 8])
    at = lambda t: cohort(mask=~away)
    state, seen = run(algorithm, 6, at)
    want = np.where(away, -1, GROUPS)
    self.assertEqual(state.labels.tolist(), want.tolist())
    shot = int(seen[-1]['changed'])
    before, _ = run(algorithm, shot, at)
    anchor = models(algorithm, before)[0]
    # They keep the model that was split, and the others train on.
    for client in (4, 8):
      np.testing.assert_array_equal(models(algorithm, state)[client], anchor)
    others = models(algorithm, state)
    state, _ = run(algorithm, 1, state=state)
    self.assertEqual(state.labels.tolist(), GROUPS.tolist())
    # What they sent was no part of the sum.
    mean = worked(others, targets())
    for k in range(3):
      own = (k == GROUPS) & ~away
      np.testing.assert_allclose(
        models(algorithm, state)[k == GROUPS][-1],
        others[own][0] + mean[own].mean(axis=0),
        atol=1e-5,
      )

  def test_newcomers_of_a_run(self):
    spec = 'ocfl(clusterer=agglomerative, keep_directions=True)'
    state, _ = run(clusters.make_algorithm(spec, PLAIN), 6)
    new = worked(np.zeros((N, D)), targets(seed=0) + 0.05)
    # As seen from a model near the mean of all, where the shot was fired.
    new -= new.mean(axis=0)
    got = clusters.assign(
      {'w': jnp.asarray(new, jnp.float32)}, state.directions
    )
    self.assertEqual(got.tolist(), GROUPS.tolist())

  def test_says_who_is_absent(self):
    mask = np.arange(N) != 3
    algorithm = clusters.make_algorithm(CUT, PLAIN)
    with self.assertRaisesRegex(
      ValueError,
      "client 3 is absent in round 0, but the temperature needs every client's "
      'update: say allow_partial=True',
    ):
      algorithm.step(algorithm.init(KEY), cohort(mask=mask), key=KEY)
    few = setting(cohort_size=5)
    for spec, why in (
      (CUT, "the temperature needs every client's update: say allow_partial"),
      ('briggs', 'briggs clusters everybody at once: say allow_partial'),
      (
        f'{CUT[:-1]}, gossip=ring)',
        'ring needs everybody in every round: take',
      ),
    ):
      with self.assertRaisesRegex(ValueError, f'some of the 9 clients .*{why}'):
        clusters.make_algorithm(spec, few)
    # After the shot it is nobody's business.
    state, _ = run(algorithm, 6)
    after, _ = algorithm.step(state, cohort(mask=mask), key=KEY)
    self.assertEqual(after.labels.tolist(), GROUPS.tolist())

  def test_cohorts_may_be_small(self):
    few = setting(cohort_size=5)
    algorithm = clusters.make_algorithm(
      'ocfl(clusterer=agglomerative, allow_partial=True)', few
    )

    def at(t):
      ids = np.random.default_rng(t).permutation(N)[:5].astype(np.int32)
      return types.Cohort(
        client_ids=ids,
        data={'x': jnp.asarray(targets()[ids])},
        mask=np.ones(5, bool),
        weights=np.full(5, 0.2, np.float32),
      )

    state, _ = run(algorithm, 15, at)
    self.assertEqual(
      clusters.clustering_scores(state.labels, GROUPS)['ari'], 1.0
    )


class GossipTest(parameterized.TestCase):
  def test_over_a_complete_graph_it_is_a_server(self):
    ours = clusters.make_algorithm(
      'ocfl(clusterer=agglomerative, gossip=complete)', PLAIN
    )
    plain = clusters.make_algorithm(CUT, PLAIN)
    a, seen = run(ours, 7)
    b, _ = run(plain, 7)
    self.assertEqual(seen[-1]['num_clusters'], 3)
    np.testing.assert_allclose(models(ours, a), models(plain, b), atol=1e-5)
    # 18 links over which a model of 48 bytes goes.
    np.testing.assert_allclose(seen[-1]['megabytes_up'], 18 * 48e-6)

  @parameterized.parameters('path', 'random_matching')
  def test_neighbors_mix_after_the_shot(self, topology):
    algorithm = clusters.make_algorithm(
      f'ocfl(clusterer=agglomerative, gossip={topology})', PLAIN
    )
    state, seen = run(algorithm, 5)
    self.assertGreaterEqual(seen[-1]['changed'], 0)
    self.assertEqual(state.rows.tolist(), list(range(N)))
    w = models(algorithm, state)
    new, _ = run(algorithm, 1, state=state)
    trained = w + worked(w, targets())
    mixer = clusters.cluster_mixer(GROUPS, topology)
    spare, _ = jax.random.split(KEY)
    matrix = np.asarray(mixer.matrix(5, key=spare), np.float64)
    np.testing.assert_allclose(
      models(algorithm, new), matrix @ trained, atol=1e-5
    )
    self.assertTrue((matrix[GROUPS == 0][:, GROUPS != 0] == 0).all())
    if topology == 'path':
      one = mixing.make_mixer('path', 3).matrix(0)
      np.testing.assert_allclose(matrix[:3, :3], one, atol=1e-6)

  @parameterized.parameters(
    ('gossip=star(weights=send)', {}, 'gossip=star.* is for push-sum'),
    ('gossip=nobody', {}, "gossip='nobody' is unknown"),
    ('gossip=ring, allow_partial=True', {}, 'ring needs everybody in every'),
    (
      'gossip=ring',
      {'channel': 'median'},
      'gossip=ring replaces the server, so the channel must be a plain one',
    ),
  )
  def test_says_what_is_wrong(self, options, given, message):
    with self.assertRaisesRegex(ValueError, message):
      clusters.make_algorithm(f'ocfl({options})', setting(**given))


class MessagesTest(parameterized.TestCase):
  def test_broken_updates_are_named(self):
    broken = targets()
    broken[7] = np.inf
    algorithm = clusters.make_algorithm(CUT, PLAIN)
    state, _ = run(algorithm, 3)
    with self.assertRaisesRegex(
      ValueError, 'client 7 returned a non-finite update in round 3'
    ):
      algorithm.step(state, cohort(broken), key=KEY)

  def test_still_clients_are_orthogonal(self):
    still = targets()
    still[2] = 0.0
    with self.assertLogs(level='WARNING') as logged:
      _, seen = run(
        clusters.make_algorithm('fedavg', PLAIN), 1, lambda t: cohort(still)
      )
    self.assertIn(
      'client 2 returned an update of length zero', logged.output[0]
    )
    self.assertTrue(np.isfinite(seen[0]['temperature']))

  @parameterized.parameters(
    ('ocfl(clusterer=hdbscan(min_cluster_size=10))', 'exceeds the 9 clients'),
    ('ocfl(clusterer=kmeans)', 'kmeans needs n_clusters'),
    ('ocfl(clusterer=best)', "clusterer='best' is unknown"),
    ('cfl', "algorithm='cfl' is unknown: choose one of 'ocfl'"),
    ('sattler(eps1=0.0)', 'eps1 must lie in'),
    ('sattler(cooldown=-1)', 'cooldown must be at least 0'),
    ('briggs(round=-1)', 'round must be at least 0'),
    ('briggs(distance_threshold=3.0)', 'distance_threshold must lie in'),
    ('ifca(num_models=0)', 'num_models must be at least 1'),
  )
  def test_specs_say_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      clusters.make_algorithm(spec, PLAIN)

  @parameterized.parameters(
    ({'method': 'ifca'}, 'method=ifca has 2 models already'),
    ({'method': 'mime'}, 'method=mime asks all clients before they work'),
    ({'method': 'agnostic'}, 'method=agnostic weighs all clients against'),
    (
      {'channel': server.Channel(secure='pairwise')},
      "secure='pairwise' shows the server sums alone",
    ),
    (
      {'channel': server.Channel(privacy='central(clip=1.0)')},
      'privacy=.* shows the server sums alone',
    ),
    (
      {'channel': server.Channel(attack='alie', num_malicious=2)},
      'num_malicious=2 puts messages in another order',
    ),
    ({'cohort_size': 0}, 'cohort_size must be at least 1'),
  )
  def test_settings_say_what_is_wrong(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      setting(**options)

  def test_types_and_numbers(self):
    with self.assertRaisesRegex(ValueError, 'num_clients must be at least 2'):
      clusters.Setting(TASK, 1, WORK)
    with self.assertRaisesRegex(TypeError, 'setting must be a clusters.Sett'):
      clusters.make_algorithm('ocfl', TASK)
    with self.assertRaisesRegex(TypeError, 'method must be text or'):
      setting(method=3)
    algorithm = clusters.make_algorithm(CUT, PLAIN)
    with self.assertRaisesRegex(ValueError, 'cohort has 4 clients'):
      algorithm.step(algorithm.init(KEY), cohort(targets()[:4]), key=KEY)
    self.assertTrue(algorithm.on_host and algorithm.per_client)


def _halves(delta):
  from scipy.cluster import hierarchy

  links = hierarchy.linkage(distance.pdist(delta, 'cosine'), 'complete')
  return hierarchy.fcluster(links, 2, 'maxclust')


if __name__ == '__main__':
  absltest.main()
