# SPDX-License-Identifier: Apache-2.0
"""Missions as an algorithm, and the methods that go on them."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import sklearn.discriminant_analysis
from absl.testing import absltest, parameterized

from jaxdl import local, networks
from jaxdl.core import clients as clients_lib, types
from jaxdl.federated import prototypes
from jaxdl.federated.prototypes import _encoder, _heads

N, C, D, EACH = 3, 6, 4, 8
RNG = np.random.default_rng(0)
CENTERS = 4.0 * RNG.normal(size=(C, D))
LABELS = np.repeat(np.arange(C), EACH).astype(np.int32)
TEST_LABELS = np.repeat(np.arange(C), 5).astype(np.int32)


def drawn(labels, seed):
  rng = np.random.default_rng(seed)
  noise = rng.normal(size=(len(labels), D))
  return (CENTERS[labels] + noise).astype(np.float32)


def make_field(num_base=0):
  return prototypes.Field(
    networks.EMBEDDINGS.make('pixels'),
    {},
    drawn(LABELS, 1),
    LABELS,
    drawn(TEST_LABELS, 2),
    TEST_LABELS,
    np.arange(C) < num_base,
  )


def cohort(field, ids, mask=None):
  """Clients that meet examples, -1 for none."""
  ids = np.asarray(ids, np.int32)
  n = len(ids)
  return types.Cohort(
    client_ids=jnp.arange(n),
    data={
      'ids': jnp.asarray(np.maximum(ids, 0)),
      'inputs': jnp.asarray(field.inputs[np.maximum(ids, 0)]),
      'labels': jnp.asarray(field.labels[np.maximum(ids, 0)]),
      'mask': jnp.asarray(ids >= 0),
    },
    mask=jnp.ones(n, bool) if mask is None else jnp.asarray(mask),
    weights=jnp.ones(n),
  )


@functools.cache
def made(spec, num_base=0, mesh=None):
  field = make_field(num_base)
  algorithm = prototypes.field_learning(
    prototypes.METHODS.make(spec, field),
    clients_lib.Clients(N, mesh=mesh),
    test_labels=field.test_labels,
    base=field.base,
  )
  return field, algorithm, jax.jit(algorithm.step)


# Of each client, two classes of four examples; one has one of one class.
FIRST = [
  [0, 1, 2, 3, 8, 9, 10, 11],
  [4, 5, 6, 7, -1, -1, -1, -1],
  [16] + [-1] * 7,
]
SECOND = [
  [12, 13, 14, 15, 24, 25, 26, 27],
  [17, 18, 19, 20] + [-1] * 4,
  [-1] * 8,
]
NOTHING = [[-1] * 8] * N
# One client, four classes.
ALONE = [[0, 1, 8, 9, 16, 17, 24, 25], *NOTHING[1:]]
SMALL = {
  'lower': 'lower(epochs=20, optimizer="sgd(0.1)", batch_size=4)',
  'icarl': 'icarl(budget=30, epochs=3, server_epochs=20, '
  'server_optimizer="sgd(0.1)", batch_size=8)',
  'upper': 'upper(epochs=20, batch_size=8)',
}


def fly(spec, *missions, num_base=0, mesh=None, masks=None):
  field, algorithm, step = made(spec, num_base, mesh)
  state = algorithm.init(jax.random.key(0))
  seen = []
  for t, ids in enumerate(missions):
    mask = None if masks is None else masks[t]
    state, metrics = step(
      state, cohort(field, ids, mask), key=jax.random.key(10 + t)
    )
    seen.append(jax.device_get(metrics))
  return state, seen


def nearest(field, ids):
  """What nearest means of pooled examples say, float64."""
  ids = np.asarray([i for row in ids for i in row if i >= 0])
  known = np.unique(field.labels[ids])
  x = field.inputs.astype(np.float64)
  means = np.stack([x[ids][field.labels[ids] == c].mean(axis=0) for c in known])
  gaps = ((field.test_inputs[:, None] - means) ** 2).sum(axis=-1)
  return known[gaps.argmin(axis=1)]


class PrototypesTest(parameterized.TestCase):
  def test_missions_equal_pooled_examples(self):
    state, seen = fly('protonet', FIRST, SECOND)
    field, algorithm, _ = made('protonet')
    want = nearest(field, [*FIRST, *SECOND])
    np.testing.assert_array_equal(algorithm.params(state), want)
    known = np.isin(TEST_LABELS, [0, 1, 2, 3])
    right = want == TEST_LABELS
    last = seen[-1]
    self.assertAlmostEqual(float(last['accuracy']), right[known].mean(), 6)
    new = TEST_LABELS == 3
    self.assertAlmostEqual(float(last['new_accuracy']), right[new].mean(), 6)
    before = np.isin(TEST_LABELS, [0, 1, 2])
    self.assertAlmostEqual(
      float(last['previous_accuracy']), right[before].mean(), 6
    )
    self.assertEqual([int(m['num_known']) for m in seen], [3, 4])
    self.assertEqual([int(m['num_examples']) for m in seen], [13, 12])
    self.assertLess(float(last['prototype_error']), 1e-6)
    self.assertNotIn('base_accuracy', last)

  def test_clients_are_tested_before_they_return(self):
    # The first client knows its own two classes only, each other its own.
    _, seen = fly('protonet', FIRST)
    field = make_field()
    scores = []
    for own in FIRST:
      predicted = nearest(field, [own])
      met = np.unique(field.labels[[i for i in own if i >= 0]])
      tested = np.isin(TEST_LABELS, met)
      scores.append((predicted == TEST_LABELS)[tested].mean())
    self.assertAlmostEqual(float(seen[0]['client_new']), np.mean(scores), 6)
    self.assertTrue(np.isnan(seen[0]['client_previous']))
    self.assertAlmostEqual(
      float(seen[0]['client_accuracy']), float(seen[0]['client_new']), 6
    )

  def test_bytes_are_those_of_means_and_counts(self):
    _, seen = fly('protonet', FIRST, SECOND)
    each = 4 * (D + 1)
    self.assertEqual([m['bytes_up'] for m in seen], [4 * each, 3 * each])
    self.assertEqual([m['bytes_down'] for m in seen], [0, N * 3 * each])

  def test_reference_merge_moves_prototypes(self):
    state, seen = fly('protonet(merge=reference)', FIRST, SECOND)
    exact, _ = fly('protonet', FIRST, SECOND)
    for a, b in zip(state.model.pooled, exact.model.pooled, strict=True):
      np.testing.assert_array_equal(a, b)
    x = make_field().inputs.astype(np.float64)
    mean = lambda *ids: x[list(ids)].mean(axis=0)
    want = np.zeros((C, D))
    want[0], want[3] = mean(0, 1, 2, 3, 4, 5, 6, 7), mean(24, 25, 26, 27)
    # Of four and four, and of one and four examples, the share counts twice.
    for c, old, new, share in (
      (1, mean(8, 9, 10, 11), mean(12, 13, 14, 15), 4 / 8),
      (2, mean(16), mean(17, 18, 19, 20), 4 / 5),
    ):
      want[c] = old + share**2 * (new - old)
    # Two clients met class 0 first: the second one's mean is its own.
    np.testing.assert_allclose(state.model.memory.mean, want, atol=1e-5)
    pooled = np.asarray(exact.model.pooled.mean, np.float64)
    error = np.linalg.norm(want - pooled) / np.linalg.norm(pooled)
    self.assertAlmostEqual(float(seen[-1]['prototype_error']), error, 5)

  def test_what_was_learned_stays_to_the_bit(self):
    before, _ = fly('protonet', FIRST)
    after, _ = fly('protonet', FIRST, [[24, 25] + [-1] * 6, *NOTHING[1:]])
    np.testing.assert_array_equal(
      before.model.memory.mean[:3], after.model.memory.mean[:3]
    )

  def test_base_classes_are_known_from_the_start(self):
    state, seen = fly('protonet', SECOND, num_base=1)
    field, algorithm, _ = made('protonet', 1)
    want = nearest(field, [range(EACH), *SECOND])
    np.testing.assert_array_equal(algorithm.params(state), want)
    base = TEST_LABELS == 0
    self.assertAlmostEqual(
      float(seen[0]['base_accuracy']), (want[base] == 0).mean(), 6
    )
    self.assertEqual(int(seen[0]['num_known']), 4)

  def test_forgetting_of_base_and_field_classes(self):
    _, seen = fly('protonet', [[8, 9] + [-1] * 6, *NOTHING[1:]], SECOND)
    self.assertNotIn('base_forgetting', seen[0])
    _, seen = fly(
      'protonet', [[8, 9] + [-1] * 6, *NOTHING[1:]], SECOND, num_base=1
    )
    field = make_field(1)
    base = list(range(EACH))
    stages = [[base], [base, [8, 9]], [base, [8, 9], *SECOND]]
    share = lambda c, predicted: (predicted == c)[c == TEST_LABELS].mean()
    scores = [[share(c, nearest(field, s)) for c in (0, 1)] for s in stages]
    best = np.maximum.accumulate(scores, axis=0)
    self.assertAlmostEqual(
      float(seen[1]['base_forgetting']), best[1][0] - scores[2][0], 6
    )
    self.assertAlmostEqual(
      float(seen[1]['field_forgetting']), scores[1][1] - scores[2][1], 6
    )
    # Nobody has learned anything in the field yet.
    self.assertEqual(float(seen[0]['field_forgetting']), 0.0)

  def test_forgetting_is_what_the_best_was_better(self):
    _, seen = fly('protonet', FIRST, SECOND)
    field = make_field()
    by_class = lambda predicted: np.array(
      [(predicted == c)[c == TEST_LABELS].mean() for c in range(C)]
    )
    first, second = nearest(field, FIRST), nearest(field, [*FIRST, *SECOND])
    lost = (by_class(first) - by_class(second))[:3]
    self.assertAlmostEqual(float(seen[1]['forgetting']), lost.mean(), 6)
    self.assertEqual(seen[1]['field_forgetting'], seen[1]['forgetting'])

  def test_discriminants_are_sklearns_of_pooled_examples(self):
    spec = 'lda(shrinkage=0.2, priors=counts)'
    state, seen = fly(spec, FIRST, SECOND, num_base=1)
    field, algorithm, _ = made(spec, 1)
    own = [i for row in (*FIRST, *SECOND) for i in row if i >= 0]
    ids = [*range(EACH), *own]
    peer = sklearn.discriminant_analysis.LinearDiscriminantAnalysis(
      solver='lsqr', shrinkage=0.2
    ).fit(field.inputs[ids].astype(np.float64), field.labels[ids])
    np.testing.assert_array_equal(
      algorithm.params(state), peer.predict(field.test_inputs)
    )
    # Means and counts of the classes met, and a scatter for each who met any.
    each, scatter = 4 * (D + 1), 4 * D * (D + 1) // 2
    sent = [4 * each + 3 * scatter, 3 * each + 2 * scatter]
    self.assertEqual([m['bytes_up'] for m in seen], sent)
    self.assertEqual(seen[1]['bytes_down'], N * (3 * each + scatter))

  def test_exemplars_are_sent_to_clients_too(self):
    _, seen = fly(SMALL['icarl'], FIRST, SECOND)
    # Of three classes at most ten each: 8, 4 and 1 images, and rows of a head.
    self.assertEqual(seen[0]['bytes_down'], 0)
    self.assertEqual(seen[1]['bytes_down'], 4 * N * (13 * D + 3 * D))
    self.assertEqual(seen[0]['bytes_up'], 4 * (13 * D + 4 * D))


class MethodsTest(parameterized.TestCase):
  ALL = (
    *('protonet', 'protonet(merge=unweighted)', 'lda(shrinkage=0.5)'),
    *('protonet(distance=mahalanobis)', *SMALL.values()),
  )

  def test_every_method_is_tried(self):
    names = {prototypes.METHODS.part(s).name for s in self.ALL}
    self.assertEqual(names | {'pixels', 'random'}, set(prototypes.METHODS))

  @parameterized.parameters(*ALL)
  def test_learns_and_keeps_still_without_examples(self, spec):
    state, seen = fly(spec, FIRST, SECOND)
    after, more = fly(spec, FIRST, SECOND, NOTHING)
    self.assertEqual([int(m['num_known']) for m in seen], [3, 4])
    _, alone = fly(spec, ALONE)
    self.assertEqual(int(alone[0]['num_known']), 4)
    self.assertGreater(float(alone[0]['accuracy']), 0.6)
    jax.tree.map(np.testing.assert_array_equal, state, after)
    self.assertEqual(int(more[-1]['num_examples']), 0)
    self.assertEqual(int(more[-1]['num_new']), 0)

  @parameterized.parameters(*ALL)
  def test_absent_clients_bring_nothing(self, spec):
    absent = [[True, False, False]]
    state, seen = fly(spec, FIRST, masks=absent)
    want, _ = fly(spec, [FIRST[0], *NOTHING[1:]])
    jax.tree.map(np.testing.assert_array_equal, state, want)
    self.assertEqual(int(seen[0]['num_examples']), 8)

  @parameterized.parameters('protonet', 'lda', SMALL['lower'])
  def test_eight_devices_are_one(self, spec):
    one, seen = fly(spec, FIRST, SECOND)
    mesh = clients_lib.clients_mesh(8)
    many, also = fly(spec, FIRST, SECOND, mesh=mesh)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
      (one, seen),
      (many, also),
    )

  def test_random_encoders_differ_by_seed(self):
    network = networks.make_embedding('mlp((3,), 2)', (D,))
    field = make_field()._replace(network=network)
    first, again, other = (
      prototypes.METHODS.make(f'random(seed={s})', field) for s in (0, 0, 1)
    )
    data = {k: v[0] for k, v in cohort(field, FIRST).data.items()}
    own = []
    for method in (first, again, other):
      model = method.init(jax.random.key(0))
      own.append(method.client(model, data, jax.random.key(0))[0].mean)
    np.testing.assert_array_equal(own[0], own[1])
    self.assertGreater(float(jnp.abs(own[0] - own[2]).max()), 1e-3)

  def test_whole_networks_can_be_trained(self):
    network = networks.conv_embedding(2, channels=2, num_blocks=1)
    shape = (4, 2, 2, 1)
    rng = np.random.default_rng(0)
    images = rng.normal(size=shape).astype(np.float32)
    labels = np.array([0, 0, 1, 1], np.int32)
    field = prototypes.Field(
      network,
      network.init(jax.random.key(0), images),
      images,
      labels,
      images,
      labels,
      np.zeros(2, bool),
    )
    method = prototypes.METHODS.make(
      'lower(train=all, epochs=2, optimizer="sgd(0.3)")', field
    )
    algorithm = prototypes.field_learning(
      method, 2, test_labels=labels, base=field.base
    )
    state = algorithm.init(jax.random.key(0))
    state, metrics = jax.jit(algorithm.step)(
      state, cohort(field, [[0, 2], [1, 3]]), key=jax.random.key(1)
    )
    self.assertEqual(int(metrics['num_known']), 2)
    moved = jax.tree.map(
      lambda a, b: float(jnp.abs(a - b).max()),
      field.params['params'],
      state.model.params['body']['params'],
    )
    self.assertGreater(max(jax.tree.leaves(moved)), 1e-4)
    self.assertGreater(
      float(metrics['bytes_up']),
      4 * sum(x.size for x in jax.tree.leaves(field.params)),
    )

  def test_bad_input(self):
    field = make_field()
    make = functools.partial(prototypes.METHODS.make)
    for spec, message in (
      ('lower(train=body)', "train='body' is unknown"),
      ('lower(epochs=0)', 'epochs must be at least 1'),
      ('lower(optimizer="sgd(-1)")', 'learning_rate must lie in'),
      ('icarl(rule=best)', "rule='best' is unknown"),
      ('icarl(budget=0)', 'budget must be at least 1; got 0'),
      ('icarl(server_epochs=0)', 'epochs must be at least 1'),
      ('upper(train=body)', "train='body' is unknown"),
      ('upper(batch_size=0)', 'batch_size must be at least 1'),
      ('lda(shrinkage=2.0)', r'shrinkage must lie in \[0'),
      ('lda(priors=equal)', "priors='equal' is unknown"),
      ('random(seed=-1)', 'seed must be at least 0'),
      ('pixels(merge=mean)', "merge='mean' is unknown"),
      ('protonet(merge=mean)', "merge='mean' is unknown"),
      ('protonet(distance=cosine)', "distance='cosine' is unknown"),
      ('protonet(shots=1)', "no option 'shots'"),
    ):
      # Before there is any field, as for a flag.
      with self.assertRaisesRegex(ValueError, message):
        prototypes.METHODS.check(spec)
      with self.assertRaisesRegex(ValueError, message):
        make(spec, field)
    odd = field._replace(inputs=field.inputs[:, :3])
    odd = odd._replace(test_inputs=field.test_inputs[:, :3])
    for spec, own, message in (
      ('icarl(budget=3)', field, 'budget must be at least 6; got 3'),
      ('protonet(distance=mahalanobis)', odd, 'of even dimension; got 3'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        make(spec, own)
      with self.assertRaisesRegex(ValueError, message):
        prototypes.check_methods([spec], capacity=C, dimension=3)
    prototypes.check_methods(self.ALL, capacity=C, dimension=D)
    learn = functools.partial(
      prototypes.field_learning, make('protonet', field), N, base=field.base
    )
    with self.assertRaisesRegex(ValueError, 'test_labels has class 6: need 0'):
      learn(test_labels=np.array([0, 6]))
    with self.assertRaisesRegex(TypeError, 'test_labels must be integers'):
      learn(test_labels=np.array([0.0]))
    _, algorithm, _ = made('protonet')
    state = algorithm.init(jax.random.key(0))
    good = cohort(field, FIRST)
    with self.assertRaisesRegex(ValueError, 'cohort has 2 clients'):
      algorithm.step(state, cohort(field, FIRST[:2]), key=jax.random.key(0))
    lacking = {k: v for k, v in good.data.items() if k != 'ids'}
    with self.assertRaisesRegex(ValueError, "cohort.data has no entry 'ids'"):
      algorithm.step(state, good.replace(data=lacking), key=jax.random.key(0))


class HeadsTest(parameterized.TestCase):
  def test_merge_averages_common_rows_and_appends_new_ones(self):
    # Class 0 is known; 1 is new to both clients, 2 to the second alone.
    known = jnp.array([True, False, False, False])
    server = prototypes.HeadModel({'head': jnp.zeros((4, 1))}, known)
    heads = jnp.array([[1.0, 2.0, 9.0, 9.0], [3.0, 4.0, 5.0, 9.0], [50.0] * 4])
    met = jnp.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], bool)
    clients = prototypes.HeadModel({'head': heads[..., None]}, met)
    got = prototypes.merge_heads(server, clients, met)
    # Mean of two, (2 + 4) / 2, 5; nobody met the last.
    self.assertEqual(got.params['head'].ravel().tolist(), [2, 3, 5, 0])
    self.assertEqual(got.known.tolist(), [True, True, True, False])

  def test_the_last_of_three_clients_has_half_of_a_new_row(self):
    server = prototypes.HeadModel(
      {'head': jnp.zeros((1, 1))}, jnp.zeros(1, bool)
    )
    rows = jnp.array([1.0, 3.0, 10.0]).reshape(3, 1, 1)
    met = jnp.ones((3, 1), bool)
    got = prototypes.merge_heads(
      server, prototypes.HeadModel({'head': rows}, met), met
    )
    self.assertEqual(got.params['head'].item(), 6.0)

  def test_head_is_a_regression_on_known_classes(self):
    # One step from zero, by hand.
    field = make_field()
    head = _heads.Head(field, 'head')
    x, labels = field.inputs[:16], LABELS[:16]
    known = jnp.asarray(np.arange(C) < 2)

    got = head.fit(
      {'head': jnp.zeros((C, D))},
      {
        'x': jnp.asarray(x),
        'labels': jnp.asarray(labels),
        'mask': jnp.ones(16, bool),
      },
      jax.random.key(0),
      _heads.cross_entropy(known),
      optimizer=optax.sgd(1.0),
      epochs=1,
      batch_size=16,
    )['head']
    want = np.zeros((C, D))
    for c in range(2):
      want[c] = (((labels == c) - 0.5)[:, None] * x).mean(axis=0)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)

  def test_distillation_targets(self):
    known, before = jnp.array([1, 1, 0], bool), jnp.array([1, 0, 0], bool)
    scores = np.array([[0.5, -1.0, 7.0]])
    batch = {'old': jnp.array([[2.0, 9.0, 9.0]]), 'labels': jnp.array([1])}
    got = _heads.distillation(known, before, 2.0)(jnp.asarray(scores), batch)
    soft = 1 / (1 + np.exp(-1.0))
    bce = lambda z, t: np.log1p(np.exp(z)) - t * z
    want = (bce(0.5, soft) + bce(-1.0, 1.0)) / 2
    np.testing.assert_allclose(got, [want], rtol=1e-5)

  def test_examples_are_kept_while_there_is_room(self):
    data = {
      'ids': jnp.arange(6),
      'labels': jnp.array([1, 0, 1, 1, 2, 1]),
      'mask': jnp.array([1, 1, 1, 1, 0, 1], bool),
    }
    ids, count = _heads.keep_examples(
      jnp.full((3, 3), -1), jnp.zeros(3, jnp.int32), data
    )
    self.assertEqual(ids.tolist(), [[1, -1, -1], [0, 2, 3], [-1, -1, -1]])
    self.assertEqual(count.tolist(), [1, 3, 0])


class EncoderTest(parameterized.TestCase):
  OPTIONS = {'ways': 4, 'shots': 2, 'queries': 2}

  def data(self):
    """Classes that differ in two of ten coordinates."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(16), 8)
    x = 4.0 * rng.normal(size=(128, 10))
    x[:, :2] = 3.0 * rng.normal(size=(16, 2))[labels] + rng.normal(
      size=(128, 2)
    )
    return x.astype(np.float32), labels

  def test_episodes_make_new_classes_easier(self):
    x, labels = self.data()
    network = networks.mlp((), 2)
    train = functools.partial(
      prototypes.train_encoder,
      network,
      x[labels < 12],
      labels[labels < 12],
      key=jax.random.key(0),
      **self.OPTIONS,
    )

    start, _ = train(num_episodes=0)
    params, history = train(num_episodes=150, optimizer=optax.adam(0.02))
    self.assertEqual(history['loss'].shape, (150,))
    self.assertLess(history['loss'][-20:].mean(), history['loss'][:20].mean())
    accuracy = []
    for found in (start, params):
      z = network.apply(found, x[labels >= 12])
      own = labels[labels >= 12] - 12
      memory = prototypes.prototype_delta(z, own, 4)
      accuracy.append((prototypes.classify(memory, z) == own).mean())
    self.assertGreater(accuracy[1], accuracy[0] + 0.1)

  def test_validation_keeps_the_best(self):
    x, labels = self.data()
    apart = labels >= 12
    _, history = prototypes.train_encoder(
      networks.mlp((), 2),
      x[~apart],
      labels[~apart],
      key=jax.random.key(0),
      num_episodes=12,
      validation=(x[apart], labels[apart] - 12),
      validate_every=2,
      patience=1,
      **self.OPTIONS,
    )
    scores = history['accuracy']
    self.assertBetween(len(scores), 1, 6)
    if len(scores) < 6:
      self.assertLessEqual(scores[-1], scores[:-1].max())
      self.assertLen(history['loss'], 2 * len(scores))

  def test_variants_of_episodes(self):
    x, labels = self.data()
    spec = (
      'episodic(episodes=3, ways=4, queries=2, fewest_shots=2, shots=5, '
      'loss=sum, noise=0.5, distance=mahalanobis, validate_every=500)'
    )
    network = networks.mlp((), 4)
    with mock.patch.object(
      _encoder, 'train_encoder', wraps=prototypes.train_encoder
    ) as train:
      found = prototypes.TRAININGS.make(spec, network, x, labels)
    want = {
      *(('fewest_shots', 2), ('shots', 5), ('noise', 0.5)),
      *(('reduction', 'sum'), ('distance', 'mahalanobis')),
      *(('validate_every', 500), ('patience', 20)),
    }
    got = {k: v for k, v in train.call_args.kwargs.items() if k != 'validation'}
    self.assertEqual({(k, got[k]) for k, _ in want}, want)
    start = prototypes.TRAININGS.make('none', network, x, labels)
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), found, start)
    self.assertGreater(float(max(jax.tree.leaves(moved))), 1e-4)

  def test_steps_are_halved_every_two_thousand_episodes(self):
    schedule = local.make_schedule('halving(0.001, times=24)', num_steps=50_000)
    steps = np.array([0, 1999, 2000, 3999, 4000, 49_999])
    want = 1e-3 * 0.5 ** (steps // 2000)
    np.testing.assert_allclose([schedule(s) for s in steps], want, rtol=1e-5)

  def test_statistics_are_those_of_the_base_examples(self):
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 3.0, size=(24, 2, 2, 1)).astype(np.float32)
    network = networks.conv_embedding(2, channels=2, num_blocks=1)
    params, _ = prototypes.train_encoder(
      network,
      x,
      np.repeat(np.arange(6), 4),
      key=jax.random.key(0),
      num_episodes=2,
      **self.OPTIONS,
    )
    _, fresh = network.apply(params, x, train=True, mutable=True)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
      params['statistics'],
      fresh,
    )

  def test_bad_input(self):
    x, labels = self.data()
    train = functools.partial(
      prototypes.train_encoder, networks.mlp((), 2), key=jax.random.key(0)
    )
    with self.assertRaisesRegex(ValueError, 'ways=20 exceeds the 16 classes'):
      train(x, labels)
    with self.assertRaisesRegex(
      ValueError, 'class 0 has 8 examples, episode needs 10'
    ):
      train(x, labels, ways=3)
    for options, message in (
      ({'num_turns': 4}, r'num_turns=4 needs square images .*\(128, 10\)'),
      ({'fewest_shots': 3}, 'fewest_shots must be at most 2; got 3'),
      ({'noise': -1.0}, 'noise must lie in'),
      ({'reduction': 'max'}, "reduction='max' is unknown"),
      ({'distance': 'cosine'}, "distance='cosine' is unknown"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        train(x, labels, **(self.OPTIONS | options))
    with self.assertRaisesRegex(ValueError, 'of even dimension, .*; got 3'):
      prototypes.train_encoder(
        networks.mlp((), 3),
        x,
        labels,
        key=jax.random.key(0),
        distance='mahalanobis',
        **self.OPTIONS,
      )
    with self.assertRaisesRegex(ValueError, 'validation must be at most 15'):
      prototypes.TRAININGS.make(
        'episodic(validation=16)', networks.mlp((), 2), x, labels
      )


if __name__ == '__main__':
  absltest.main()
