# SPDX-License-Identifier: Apache-2.0
"""Graphs whose nodes are clients, against sets in plain Python."""

import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import graphs, mixing
from jaxdl.graphs import links

WHOLE = networkx.gnp_random_graph(24, 0.12, seed=5)
EDGES = np.array(WHOLE.edges)
PARTS = [list(range(k, 24, 4)) for k in range(4)]


def world(edges=EDGES, parts=PARTS):
  graph = graphs.make_graph(edges, 24, pad_nodes=32)
  x = np.arange(64.0).reshape(32, 2)
  return graph, x, parts


class ViewsTest(parameterized.TestCase):
  @parameterized.parameters(0, 1, 2)
  def test_a_client_knows_what_is_near(self, hops):
    views = links.local_views([world(), world(EDGES[:-5])], hops=hops)
    for s, edges in enumerate((EDGES, EDGES[:-5])):
      whole = networkx.Graph(edges.tolist())
      whole.add_nodes_from(range(24))
      for k, part in enumerate(PARTS):
        steps = networkx.multi_source_dijkstra_path_length(whole, set(part))
        known = {
          frozenset(e)
          for e in edges.tolist()
          if min(steps.get(v, 99) for v in e) <= hops
        }
        take = lambda tree, s=s, k=k: np.asarray(tree[s, k])
        ids = take(views.node_ids)
        graph = views.adjacency.graph
        mask = take(graph.edge_mask)
        ends = np.stack([take(graph.senders), take(graph.receivers)], 1)[mask]
        self.assertEqual({frozenset(e) for e in ids[ends].tolist()}, known)
        self.assertLen(ends, 2 * len(known))
        real = take(graph.node_mask)
        seen = {v for e in known for v in e} | set(part)
        self.assertEqual(sorted(ids[real].tolist()), sorted(seen))
        np.testing.assert_array_equal(
          take(views.x)[real][:, 0], 2.0 * ids[real]
        )
        own = take(views.own)[: take(views.num_own)]
        self.assertEqual(sorted(ids[own].tolist()), part)
        count = take(views.num_links)
        pairs = ids[take(views.links)[:count]]
        self.assertEqual(
          sorted(sorted(e) for e in pairs.tolist()),
          sorted(sorted(e) for e in edges.tolist() if set(e) & set(part)),
        )
        self.assertTrue(set(pairs[:, 0].tolist()) <= set(part))

  def test_a_node_alone_has_nothing_to_learn_from(self):
    views = links.local_views([world(EDGES[:3], [[i] for i in range(24)])])
    counts = np.bincount(EDGES[:3].reshape(-1), minlength=24)
    np.testing.assert_array_equal(views.num_links[0], counts)
    self.assertIn(0, counts)

  @parameterized.parameters(
    ([], {}, 'worlds is empty'),
    ([world(), world(parts=PARTS[:2] + [PARTS[2] + PARTS[3]])], {},
     r'as many parts each; got \[3, 4\]'),
    ([world(parts=PARTS[:3])], {}, 'node 3 is in 0 of 3 parts'),
    ([world(parts=[*PARTS, [2]])], {}, 'node 2 is in 2 of 5 parts'),
    ([world()], {'hops': -1}, 'hops must be at least 0'),
  )  # fmt: skip
  def test_bad_input(self, worlds, options, message):
    with self.assertRaisesRegex(ValueError, message):
      links.local_views(worlds, **options)


class CommunitiesTest(parameterized.TestCase):
  @parameterized.parameters(2, 3, 10, 24)
  def test_parts_are_whole_and_disjoint(self, count):
    graph, *_ = world()
    parts = links.communities(graph, count)
    self.assertLen(parts, count)
    self.assertEqual(sorted(np.concatenate(parts).tolist()), list(range(24)))
    self.assertGreater(min(map(len, parts)), 0)

  def test_the_karate_club_falls_apart_as_it_did(self):
    data = graphs.sets.karate()
    first, second = links.communities(data.graph, 2)
    side = np.asarray(data.labels)
    wrong = side[first].sum() + (1 - side[second]).sum()
    self.assertLessEqual(wrong, 3)

  def test_parts_reach_each_other_though_the_graph_falls_apart(self):
    whole = networkx.disjoint_union(
      networkx.cycle_graph(14), networkx.path_graph(6)
    )
    graph = graphs.make_graph(list(whole.edges), 24)
    parts = links.communities(graph, 4)
    self.assertEqual(sorted(np.concatenate(parts).tolist()), list(range(24)))
    between = networkx.from_numpy_array(links.quotient(graph, parts))
    self.assertTrue(networkx.is_connected(between))
    path = [k for k, part in enumerate(parts) if set(part) & set(range(14, 20))]
    self.assertLen(path, 1)

  def test_many_pieces_fill_the_smallest_parts(self):
    parts = links.communities(world(EDGES[:4])[0], 3)
    self.assertLen(parts, 3)
    self.assertEqual(sorted(np.concatenate(parts).tolist()), list(range(24)))
    self.assertLessEqual(max(map(len, parts)) - min(map(len, parts)), 3)

  def test_links_between_parts_are_a_graph_to_mix_over(self):
    graph, *_ = world()
    got = links.quotient(graph, PARTS)
    want = np.zeros((4, 4), bool)
    for a, b in EDGES:
      want[a % 4, b % 4] = want[b % 4, a % 4] = a % 4 != b % 4
    np.testing.assert_array_equal(got, want | want.T)
    weights = mixing.metropolis(got, allow_disconnected=True)
    np.testing.assert_allclose(weights.sum(0), 1)

  def test_counts_are_checked(self):
    with self.assertRaisesRegex(ValueError, 'num_parts must be at most 24'):
      links.communities(world()[0], 25)


if __name__ == '__main__':
  absltest.main()
