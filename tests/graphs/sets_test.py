# SPDX-License-Identifier: Apache-2.0
"""Sets of graphs: what is drawn has the right numbers, files are read right."""

import collections
import json
import pathlib
import pickle
import tempfile

import jax.numpy as jnp
import networkx
import numpy as np
import scipy.sparse
import scipy.spatial
from absl.testing import absltest, parameterized

from jaxdl import graphs
from jaxdl.data import files
from jaxdl.graphs import search, sets
from jaxdl.problems import graphs as problems


def matrix_of(data):
  """Dense adjacency of what is no padding."""
  return graphs.to_scipy(data.graph).toarray()


class DrawnTest(parameterized.TestCase):
  def test_karate_club(self):
    data = sets.karate()
    want = networkx.karate_club_graph()
    np.testing.assert_array_equal(
      matrix_of(data), networkx.to_numpy_array(want, weight=None)
    )
    clubs = [want.nodes[i]['club'] for i in range(34)]
    for label in (0, 1):
      members = {
        c for c, y in zip(clubs, data.labels, strict=False) if y == label
      }
      self.assertLen(members, 1)
    masks = np.stack([data.train, data.validation, data.test])
    np.testing.assert_array_equal(masks.sum(0), data.graph.node_mask)
    self.assertEqual(data.labels[np.flatnonzero(data.train)].tolist(), [0, 1])

  def test_les_miserables(self):
    data = sets.lesmis()
    a = matrix_of(data)
    # Pairs of ordered common neighbors, known of this graph.
    self.assertEqual((a @ a).sum(), 6124)
    self.assertIsNone(data.labels)

  @parameterized.parameters(False, True)
  def test_blocks_are_linked_as_often_as_they_should_be(self, heterophilic):
    data = sets.block_model(num_nodes=800, heterophilic=heterophilic, seed=3)
    a, y = matrix_of(data), np.asarray(data.labels)[:800]
    for c in range(4):
      for d in range(4):
        block = a[np.ix_(y == c, y == d)]
        near = c == d ^ 1 if heterophilic else c == d
        p = 0.3 if near else 0.04
        pairs = 200 * 199 if c == d else 200 * 200
        slack = 4 * np.sqrt(2 * p * (1 - p) / pairs)
        self.assertAlmostEqual(block.sum() / pairs, p, delta=slack)
    self.assertEqual(
      [int(m.sum()) for m in (data.train, data.validation, data.test)],
      [480, 160, 160],
    )
    x = np.asarray(data.features)[:800]
    spread = np.stack([x[y == c].std(0) for c in range(4)])
    self.assertAlmostEqual(spread.mean(), 0.25, delta=0.01)
    centers = np.stack([x[y == c].mean(0) for c in range(4)])
    norms = np.linalg.norm(centers, axis=1)
    np.testing.assert_allclose(norms, 0.45, atol=0.05)

  def test_one_hot_blocks_with_few_labels(self):
    data = sets.load_graph_set(
      'block_model(num_nodes=400, p_in=0.05, p_out=0.01, features=one_hot, '
      'train=10)'
    )
    y, x = np.asarray(data.labels)[:400], np.asarray(data.features)[:400]
    self.assertEqual(np.bincount(y[data.train[:400]]).tolist(), [10] * 4)
    # A share of 0.4 is drawn from all four, so that 0.7 show their own.
    self.assertAlmostEqual((x.argmax(1) == y).mean(), 0.7, delta=0.07)

  def test_points_are_linked_where_they_are_near(self):
    data = sets.geometric(seed=5)
    points = np.random.default_rng(5).random((600, 2))
    near = scipy.spatial.distance.cdist(points, points) <= 0.075
    np.fill_diagonal(near, False)
    np.testing.assert_array_equal(matrix_of(data), near)
    self.assertBetween(near.sum() / 2, 2500, 3500)  # About 3000 edges.

  def test_digits_are_linked_with_the_nearest(self):
    try:
      from sklearn import datasets
    except ImportError:
      self.skipTest('scikit-learn is not installed')
    data = sets.digits_knn(num_nodes=60, num_neighbors=4, noise=0.0)
    x = datasets.load_digits().data[:60]
    away = scipy.spatial.distance.cdist(x, x)
    np.fill_diagonal(away, np.inf)
    want = np.zeros((60, 60))
    for i in range(60):
      want[i, np.argsort(away[i])[:4]] = 1
    np.testing.assert_array_equal(matrix_of(data), np.maximum(want, want.T))
    centered = x - x.mean(0)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    np.testing.assert_allclose(
      np.abs(data.features[:60]), np.abs(u * s)[:, :16], rtol=1e-3, atol=1e-3
    )

  def test_a_seed_draws_the_same_again(self):
    for spec in ('block_model(num_nodes=30)', 'geometric(num_nodes=30)'):
      one, two, other = (
        np.asarray(sets.load_graph_set(spec, seed=s).features)
        for s in (1, 1, 2)
      )
      np.testing.assert_array_equal(one, two)
      self.assertGreater(np.abs(one - other).max(), 0.01)

  @parameterized.parameters(
    ('block_model(p_in=2)', r'p_in must lie in \[0, 1\]; got 2'),
    (
      'block_model(num_classes=3, heterophilic=True)',
      'num_classes=3 must be e',
    ),
    ('block_model(features=words)', "features='words' is unknown"),
    ('block_model(train=61)', 'train=61 nodes of every class: class 0 has 60'),
    ('block_model(train=0.9, validation=0.2)', 'leaves 24 of 240'),
    ('geometric(radius=0)', r'radius must lie in \(0, inf\)'),
    ('digits_knn(num_neighbors=600)', 'num_neighbors must be at most 599'),
    ('karate(features=words)', "features='words' is unknown"),
    ('planetoid', 'pass data_dir, the folder'),
    ('karatte', "Did you mean 'karate'"),
  )
  def test_says_what_is_wrong(self, spec, message):
    with self.assertRaisesRegex(ValueError, message):
      sets.load_graph_set(spec)

  def test_features_for_nodes_that_have_none(self):
    graph = graphs.make_graph([(0, 1), (1, 2)], 3)
    np.testing.assert_array_equal(sets.node_features(graph)[:3], np.eye(3))
    np.testing.assert_array_equal(
      sets.node_features(graph, 'constant')[:, 0], graph.node_mask
    )
    np.testing.assert_allclose(
      sets.node_features(graph, 'degree')[:3, 0], np.log([2, 3, 2]), rtol=1e-6
    )


def write_planetoid(folder, protocol, *, rename=False, skip=(5,)):
  """Three classes, five words; nodes 0..3 are no test nodes, `skip` is none."""
  rng = np.random.default_rng(0)
  x = (rng.random((8, 5)) < 0.6).astype(np.float32)
  x[0] = 0  # Without a word.
  y = np.eye(3, dtype=np.int32)[[0, 1, 2, 0, 1, 2, 0, 1]]
  order = [n for n in (7, 4, 6, 5) if n not in skip]
  parts = {
    'x': scipy.sparse.csr_matrix(x[:2]),
    'allx': scipy.sparse.csr_matrix(x[:4]),
    'tx': scipy.sparse.csr_matrix(x[order]),
    'y': y[:2],
    'ally': y[:4],
    'ty': y[order],
    'graph': collections.defaultdict(
      list, {0: [1, 1, 0], 1: [0], 2: [7, 6], 7: [2], 4: [3]}
    ),
  }
  for key, value in parts.items():
    content = pickle.dumps(value, protocol=protocol)
    if rename:  # As files that were written long ago.
      content = content.replace(b'scipy.sparse._csr', b'scipy.sparse.csr')
      content = content.replace(b'numpy._core.', b'numpy.core.')
    (folder / f'ind.tiny.{key}').write_bytes(content)
  (folder / 'ind.tiny.test.index').write_text('\n'.join(map(str, order)))
  return x, y


def write_ppi(folder):
  """Graphs of 3 and 4 nodes, then 2, then 3; nodes of the first two mixed."""
  rng = np.random.default_rng(0)
  owners = {'train': [7, 3, 7, 3, 7, 7, 3], 'valid': [9, 9], 'test': [1] * 3}
  made = {}
  for split, owner in owners.items():
    n, owner = len(owner), np.array(owner)
    graph = networkx.Graph()
    graph.add_nodes_from(range(n))
    for c in np.unique(owner):
      networkx.add_path(graph, np.flatnonzero(owner == c).tolist())
    graph.add_edge(0, 0)
    content = networkx.node_link_data(graph, edges='links')
    content['links'].append(content['links'][1])
    x, y = rng.normal(size=(n, 5)), rng.integers(0, 2, (n, 4))
    (folder / f'{split}_graph.json').write_text(json.dumps(content))
    for kind, values in (('feats', x), ('labels', y), ('graph_id', owner)):
      np.save(folder / f'{split}_{kind}.npy', values)
    made[split] = graph, x, y, owner
  return made


class FilesTest(parameterized.TestCase):
  def folder(self):
    place = tempfile.TemporaryDirectory()
    self.addCleanup(place.cleanup)
    return pathlib.Path(place.name)

  @parameterized.parameters((0, True), (2, True), (2, False), (4, False))
  def test_planetoid(self, protocol, rename):
    folder = self.folder()
    x, y = write_planetoid(folder, protocol, rename=rename)
    data = sets.planetoid(
      'tiny', data_dir=folder, row_normalize=False, num_validation=2
    )
    x[5], y[5] = 0, 0  # The number that test.index skips.
    np.testing.assert_array_equal(data.features[:8], x)
    np.testing.assert_array_equal(data.labels[:8], y.argmax(1))
    want = networkx.Graph([(0, 1), (2, 7), (2, 6), (3, 4)])
    self.assertEqual(set(graphs.to_networkx(data.graph).edges), set(want.edges))
    masks = [data.train, data.validation, data.test]
    self.assertEqual(
      [np.flatnonzero(m).tolist() for m in masks], [[0, 1], [2, 3], [4, 6, 7]]
    )
    rows = sets.load_graph_set(
      'planetoid(name=tiny, num_validation=2)', folder
    ).features
    total = np.asarray(rows).sum(1)[:8]
    np.testing.assert_allclose(total, (x.sum(1) > 0), rtol=1e-6)

  def test_planetoid_names_what_is_wrong(self):
    folder = self.folder()
    write_planetoid(folder, 2)
    load = lambda **options: sets.planetoid(
      'tiny', data_dir=folder, **{'num_validation': 2, **options}
    )
    with self.assertRaisesRegex(ValueError, 'num_validation=3 nodes after 2'):
      load(num_validation=3)
    index = folder / 'ind.tiny.test.index'
    index.write_text('5\n6\n7')
    with self.assertRaisesRegex(files.FileError, '3 test nodes from 4 on'):
      load()
    index.write_text('four')
    with self.assertRaisesRegex(files.FileError, 'different numbers of nodes'):
      load()
    graph = folder / 'ind.tiny.graph'
    graph.write_bytes(pickle.dumps({0: [99]}))
    index.write_text('4\n6\n7')
    with self.assertRaisesRegex(
      files.FileError, r'tiny.graph: .* nodes 0\.\.7'
    ):
      load()
    x = folder / 'ind.tiny.allx'
    x.write_bytes(x.read_bytes()[:-20])
    with self.assertRaisesRegex(files.FileError, 'tiny.allx: .*truncated'):
      load()
    x.write_bytes(pickle.dumps(pathlib.Path('/')))
    with self.assertRaisesRegex(files.FileError, 'tiny.allx: .*plain data'):
      load()
    x.unlink()
    with self.assertRaisesRegex(FileNotFoundError, 'ind.tiny.allx'):
      load()

  def test_damaged_sparse_matrices_are_refused(self):
    folder = self.folder()
    write_planetoid(folder, 2)
    good = scipy.sparse.csr_matrix(np.eye(4, 5, dtype=np.float32))
    for change in (
      {'indices': np.array([0, 1, 2, 5], np.int32)},
      {'indptr': np.array([0, 3, 2, 3, 4], np.int32)},
      {'indptr': np.array([0, 1, 2, 3, 5], np.int32)},
      {'_shape': (10**9, 10**9)},
      {'data': np.ones(3, np.float32)},
    ):
      bad = good.copy()
      bad.__dict__.update(change)
      (folder / 'ind.tiny.allx').write_bytes(pickle.dumps(bad, protocol=2))
      with self.assertRaisesRegex(files.FileError, 'ind.tiny.allx'):
        sets.planetoid('tiny', data_dir=folder)

  def test_heterophilic(self):
    folder = self.folder()
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 3, (20, 4)), np.arange(20) % 2
    lines = ['node_id\tfeature\tlabel'] + [
      f'{i}\t{",".join(map(str, x[i]))}\t{y[i]}' for i in rng.permutation(20)
    ]
    nodes = folder / 'out1_node_feature_label.txt'
    nodes.write_text('\n'.join(lines) + '\n')
    edges = folder / 'out1_graph_edges.txt'
    edges.write_text('node_id\tnode_id\n0\t1\n1\t0\n3\t3\n2\t5\n')
    data = sets.heterophilic(data_dir=folder)
    np.testing.assert_array_equal(data.features[:20], x)
    np.testing.assert_array_equal(data.labels[:20], y)
    self.assertEqual(
      graphs.edge_pairs(data.graph, once=True).tolist(), [[0, 1], [2, 5]]
    )
    self.assertEqual(np.bincount(y[data.train[:20]]).tolist(), [6, 6])
    self.assertEqual(int(data.validation.sum()), 4)
    masks = np.eye(3, dtype=np.uint8)[:, np.arange(20) % 3]
    np.savez(
      folder / 'chameleon_split_0.6_0.2_1.npz',
      train_mask=masks[0],
      val_mask=masks[1],
      test_mask=masks[2],
    )
    fixed = sets.load_graph_set('heterophilic(split=1)', folder)
    np.testing.assert_array_equal(fixed.validation[:20], masks[1])
    edges.write_text('node_id\tnode_id\n0\t20\n')
    with self.assertRaisesRegex(files.FileError, r'edges.txt:2: .*0 to 19'):
      sets.heterophilic(data_dir=folder)
    nodes.write_text('h\n0\t1,2\t0\n1\t1,x\t0\n')
    with self.assertRaisesRegex(files.FileError, r'label.txt:3: .*numbers'):
      sets.heterophilic(data_dir=folder)
    nodes.write_text('h\n0\t1,2\t0\n2\t1,2\t0\n')
    with self.assertRaisesRegex(files.FileError, r'nodes 0\.\.1'):
      sets.heterophilic(data_dir=folder)

  def test_actors_have_words(self):
    folder = self.folder()
    (folder / 'film').mkdir()
    (folder / 'film' / 'out1_node_feature_label.txt').write_text(
      'h\n0\t3,931\t0\n1\t\t1\n2\t0\t1\n'
    )
    (folder / 'film' / 'out1_graph_edges.txt').write_text('h\n0\t1\n')
    data = sets.heterophilic('film', data_dir=folder, validation=0)
    want = np.zeros((3, 932))
    want[0, [3, 931]] = 0.5  # Rows add up to one.
    want[2, 0] = 1
    np.testing.assert_array_equal(data.features[:3], want)

  def test_edge_lists(self):
    folder = self.folder()
    (folder / 'edges.txt').write_text('# mine\n0 1\n2,1 # x\n1\t0\n\n4 4\n')
    data = sets.edge_list(data_dir=folder)
    self.assertEqual(int(data.graph.node_mask.sum()), 5)
    self.assertEqual(
      graphs.edge_pairs(data.graph, once=True).tolist(), [[0, 1], [1, 2]]
    )
    self.assertEqual(data.features.shape[1], 1)
    np.save(folder / 'features.npy', np.ones((6, 2)))
    np.save(folder / 'labels.npy', np.array([0, 1, 2, 0, 1, 2]))
    data = sets.load_graph_set('edge_list(directed=True)', folder)
    self.assertEqual(
      graphs.edge_pairs(data.graph).tolist(), [[1, 0], [0, 1], [2, 1]]
    )
    self.assertEqual(data.num_classes, 3)
    (folder / 'edges.txt').write_text('0 1 0.5\n1 2 2\n')
    data = sets.edge_list(data_dir=folder, weighted=True)
    self.assertEqual(data.graph.weights[:4].tolist(), [0.5, 0.5, 2, 2])
    with self.assertRaisesRegex(files.FileError, r'edges.txt:1: .*two nodes'):
      sets.edge_list(data_dir=folder)
    np.save(folder / 'labels.npy', np.array([0, 1]))
    with self.assertRaisesRegex(files.FileError, 'a row for each of 6 nodes'):
      sets.edge_list(data_dir=folder)
    with self.assertRaisesRegex(FileNotFoundError, 'mine.txt'):
      sets.edge_list(data_dir=folder, edges='mine.txt')

  def test_archives_of_nodes(self):
    path = self.folder() / 'arxiv.npz'
    arrays = {
      'edge_index': np.array([[0, 1, 2, 3], [1, 0, 3, 3]]),
      'node_feat': np.ones((5, 2), np.float32),
      'node_label': np.array([[0], [1], [1], [np.nan], [0]]),
      'train_idx': np.array([0, 3]),
      'valid_idx': np.array([1]),
      'test_idx': np.array([2, 4]),
    }
    np.savez(path, **arrays)
    data = sets.ogb_npz(data_dir=path.parent)
    self.assertEqual(
      graphs.edge_pairs(data.graph, once=True).tolist(), [[0, 1], [2, 3]]
    )
    self.assertEqual(data.train[:5].tolist(), [True] + 4 * [False])
    self.assertIsNone(data.links)
    for change, message in (
      ({'test_idx': np.array([1])}, 'without common nodes, got node 1 twice'),
      ({'num_nodes': np.array(9)}, "one number of nodes, got {'num_nodes': 9"),
      ({'edge_index': np.array([[0], [5]])}, r'edge_index\]: .*0 to 4'),
      ({'edge_index': np.zeros((3, 2), int)}, r'shape \[2, M\]'),
    ):
      np.savez(path, **arrays | change)
      with self.assertRaisesRegex(files.FileError, message):
        sets.ogb_npz(data_dir=path)

  def test_archives_of_links(self):
    path = self.folder() / 'collab.npz'
    pairs = lambda k: np.array([[0, k], [1, k]])
    names = ('train_edge', 'valid_edge', 'valid_edge_neg')
    names = (*names, 'test_edge', 'test_edge_neg')
    arrays = {name: pairs(k) for k, name in enumerate(names)}
    arrays['edge_index'] = np.array([[0], [4]])
    np.savez(path, **arrays)
    links = sets.load_graph_set('ogb_npz', path).links
    for got, name in zip(links, names, strict=True):
      np.testing.assert_array_equal(got, arrays[name], name)
    arrays.pop('test_edge_neg')
    np.savez(path, **arrays)
    with self.assertRaisesRegex(files.FileError, "the key 'test_edge_neg'"):
      sets.ogb_npz(data_dir=path)
    own = {'edge_index': np.array([[0], [4]]), 'num_nodes': np.array(6)}
    for part in ('train', 'valid', 'test'):
      own[f'{part}_source_node'] = np.array([1, 2])
      own[f'{part}_target_node'] = np.array([3, 4])
      own[f'{part}_target_node_neg'] = np.array([[0, 5, 1], [2, 2, 2]])
    np.savez(path, **own)
    links = sets.ogb_npz(data_dir=path).links
    self.assertEqual(links.test.tolist(), [[1, 3], [2, 4]])
    self.assertEqual(links.test_negatives.shape, (2, 3, 2))
    self.assertEqual(links.test_negatives[0].tolist(), [[1, 0], [1, 5], [1, 1]])

  def test_proteins(self):
    folder = self.folder()
    made = write_ppi(folder)
    data = sets.load_graph_set('ppi', folder)
    self.assertEqual(data.num_classes, 4)
    ids = np.asarray(data.graph.graph_ids)
    self.assertEqual(ids[:12].tolist(), [0] * 3 + [1] * 4 + [2] * 2 + [3] * 3)
    self.assertEqual(data.graph.num_graphs, 5)
    for mask, splits in (
      (data.train, [0, 1]),
      (data.validation, [2]),
      (data.test, [3]),
    ):
      np.testing.assert_array_equal(mask, np.isin(ids, splits))
    found = graphs.unbatch(data.graph, np.arange(data.graph.num_nodes))
    at = [('train', 3), ('train', 7), ('valid', 9), ('test', 1)]
    for (graph, nodes), (split, owner) in zip(found, at, strict=True):
      whole, x, y, owners = made[split]
      mine = np.flatnonzero(owners == owner)
      want = networkx.to_numpy_array(whole, nodelist=mine.tolist())
      np.fill_diagonal(want, 0)
      np.testing.assert_array_equal(graphs.to_scipy(graph).toarray(), want)
      np.testing.assert_allclose(data.features[nodes], x[mine], rtol=1e-6)
      np.testing.assert_array_equal(data.labels[nodes], y[mine])
    task = search.node_task(
      data.graph,
      data.features,
      data.labels,
      num_classes=4,
      train=data.train,
      validation=data.validation,
      test=data.test,
    )
    y = np.asarray(data.labels)
    score = search.node_score(jnp.asarray(y - 0.5), task.labels, task.test)
    self.assertEqual(float(score), 1)

  def test_proteins_name_what_is_wrong(self):
    folder = self.folder()
    with self.assertRaisesRegex(FileNotFoundError, 'train_feats.npy'):
      sets.ppi(data_dir=folder)
    write_ppi(folder)
    text = (folder / 'train_graph.json').read_text()
    y = np.load(folder / 'test_labels.npy')
    link = '"links": ['
    for file, broken, message in (
      ('train_graph.json', text[:-9], "'nodes' with an 'id'"),
      ('train_graph.json', '[]', "'nodes' with an 'id'"),
      (
        'train_graph.json',
        text.replace(link, link + '{"source": 0, "target": 1}, '),
        'links within a graph, got 0 and 1, which are of two',
      ),
      (
        'train_graph.json',
        text.replace(link, link + '{"source": 0, "target": 7}, '),
        r'links of nodes 0..6, got \(0, 7\)',
      ),
      ('train_graph.json', text.replace('"id": 6', '"id": 8'), 'nodes 0..6 in'),
      ('test_labels.npy', y + 1, 'zeros and ones'),
      ('test_labels.npy', y[:, :3], '4 columns, as those to train on, got 3'),
      ('test_labels.npy', y[:2], 'for 3 nodes, got shape'),
      ('valid_feats.npy', np.full((2, 5), np.nan), 'finite numbers'),
      ('valid_graph_id.npy', np.ones((2, 1), int), r'integers \[n\]'),
    ):
      kept = (folder / file).read_bytes()
      if isinstance(broken, str):
        (folder / file).write_text(broken)
      else:
        np.save(folder / file, broken)
      with self.assertRaisesRegex(files.FileError, message):
        sets.ppi(data_dir=folder)
      (folder / file).write_bytes(kept)
    with self.assertRaisesRegex(files.FileError, 'pass a larger max_bytes'):
      sets.ppi(data_dir=folder, max_bytes=1)

  def test_several_labels_are_no_task_of_clients(self):
    folder = self.folder()
    write_ppi(folder)
    with self.assertRaisesRegex(ValueError, 'dataset=ppi has nodes with sever'):
      problems.node_classification('ppi', data_dir=folder, num_clients=2)

  def test_numbers_that_float32_cannot_hold_are_refused(self):
    folder = self.folder()
    edges, nodes = 'out1_graph_edges.txt', 'out1_node_feature_label.txt'
    (folder / edges).write_text('a\tb\n')
    for line, message in (
      ('0\t1e60\t0', 'finite numbers that float32 can hold'),
      ('0\t1\t99999999', 'labels go up to 99999999 on 1 nodes'),
      ('', 'a node after the line of headings'),
    ):
      (folder / nodes).write_text(f'node\tfeature\tlabel\n{line}\n')
      with self.assertRaisesRegex(ValueError, message):
        sets.heterophilic('toy', data_dir=folder)
    for line, options, message in (
      ('0 1 1e60', {'weighted': True}, 'that float32 can hold'),
      ('0 99999999999999999999', {}, 'whole numbers below 2147483646'),
      ('0 2000000000', {}, 'without large gaps, got node 2000000000'),
    ):
      (folder / 'edges.txt').write_text(line)
      with self.assertRaisesRegex(files.FileError, message):
        sets.edge_list(data_dir=folder, **options)
    (folder / 'edges.txt').write_text('0 1')
    np.save(folder / 'features.npy', np.full((2, 1), 1e60))
    with self.assertRaisesRegex(ValueError, r'features\[0, 0\] is 1e\+60'):
      sets.edge_list(data_dir=folder)
    write_planetoid(folder, 2)
    x = scipy.sparse.csr_matrix(np.full((2, 5), np.nan))
    (folder / 'ind.tiny.x').write_bytes(pickle.dumps(x, protocol=2))
    with self.assertRaisesRegex(files.FileError, 'ind.tiny.x: .* finite'):
      sets.planetoid('tiny', data_dir=folder, num_validation=2)

  def test_splits_without_common_nodes(self):
    folder = self.folder()
    (folder / 'out1_graph_edges.txt').write_text('a\tb\n0\t1\n')
    (folder / 'out1_node_feature_label.txt').write_text(
      'node\tfeature\tlabel\n0\t1\t0\n1\t2\t1\n'
    )
    masks = {'train_mask': [1, 1], 'val_mask': [0, 1], 'test_mask': [0, 0]}
    np.savez(folder / 'toy_split_0.6_0.2_0.npz', **masks)
    with self.assertRaisesRegex(files.FileError, 'common nodes, got node 1'):
      sets.heterophilic('toy', data_dir=folder, split=0)

  def test_says_what_is_wrong_with_splits(self):
    rng = np.random.default_rng(0)
    for labels, options, message in (
      ('abc', {}, 'labels must hold real numbers'),
      ([0.0, np.nan], {}, 'labels must be integers'),
      ([[0], [1]], {}, r'labels must have shape \[N\]; got \(2, 1\)'),
      ([0, 1], {'mask': [True]}, r'mask must have shape \(2,\)'),
      ([0, 1], {'mask': [0, 1]}, 'mask must be bool'),
      ([0, 1], {'rng': 0}, 'rng must be a NumPy generator'),
      ([0, 1], {'balanced': 1}, 'balanced must be True or False'),
    ):
      with self.assertRaisesRegex((ValueError, TypeError), message):
        sets.split_nodes(labels, **{'rng': rng, **options})
    with self.assertRaisesRegex(TypeError, 'graph must be a graphs.Graph'):
      sets.node_features(3)

  def test_every_set_feeds_a_step(self):
    for spec in ('karate', 'lesmis', 'geometric(num_nodes=30, radius=0.3)'):
      data = sets.load_graph_set(spec)
      out = graphs.propagate(data.graph, data.features)
      self.assertEqual(out.shape, data.features.shape)
      self.assertTrue(bool(jnp.isfinite(out).all()))


if __name__ == '__main__':
  absltest.main()
