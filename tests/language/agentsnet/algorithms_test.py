# SPDX-License-Identifier: Apache-2.0
"""Synchronous algorithms against sequential ones, and node by node."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.core import clients
from jaxdl.language import agentsnet
from jaxdl.language.agentsnet import _names, _node, _run_sync

KEY = jax.random.key(3)
SOLVERS = tuple(
  (task, name)
  for task in agentsnet.TASKS
  for name in agentsnet.algorithms_for(task)
  if name != 'constant'
)
CLASSICAL = tuple(pair for pair in SOLVERS if pair[1] != 'random')


@functools.cache
def networks():
  """Graphs of many shapes and sizes, in one batch with room to spare."""
  some = [('ws', 8), ('ba', 12), ('dt', 12), ('path', 9), ('star', 7)]
  graphs = [agentsnet.make_graph(family, n, 410) for family, n in some]
  batch = agentsnet.batch_graphs(graphs, pad_nodes=14, pad_degree=12)
  return graphs, batch


@functools.cache
def answers(task, name, rounds):
  """i[B, N] of one key."""
  _, batch = networks()
  found = agentsnet.run_sync(name, task, batch, key=KEY, rounds=rounds)
  return np.asarray(found)


@functools.cache
def ranks():
  graphs, batch = networks()
  found = np.asarray(_node.rank(KEY, batch.numbers))
  return [row[: len(g)].tolist() for row, g in zip(found, graphs, strict=True)]


class RanksTest(parameterized.TestCase):
  def test_no_two_numbers_get_one_rank(self):
    numbers = np.random.default_rng(0).permutation(1 << 16)
    low, high = numbers[:40_000], (1 << 30) - 1 - numbers[:20_000]
    given = jnp.asarray(np.concatenate([low, high]))
    found = np.asarray(_node.rank(KEY, given))
    self.assertLen(set(found.tolist()), 60_000)
    self.assertBetween(int(found.min()), 0, 1 << 20)
    self.assertBetween(int(found.max()), (1 << 30) - (1 << 20), (1 << 30) - 1)

  def test_every_order_is_about_as_likely(self):
    names = ['Ada', 'Ben', 'Cora']
    numbers = jnp.array([_names.node_number(name) for name in names])
    keys = jax.random.split(KEY, 3000)
    found = np.asarray(jax.vmap(_node.rank, (0, None))(keys, numbers))
    orders = np.argsort(found, axis=1) @ np.array([9, 3, 1])
    _, counts = np.unique(orders, return_counts=True)
    self.assertLen(counts, 6)
    # 500 each, within four standard deviations.
    self.assertLess(np.abs(counts - 500).max(), 4 * np.sqrt(3000 * 5 / 36))

  def test_bits_are_picked_alike(self):
    free = jnp.array([0b1011, 0b100], jnp.uint32)
    words = jax.random.bits(KEY, (4000,), jnp.uint32)
    found = np.asarray(jax.vmap(_node.pick_bit, (0, None))(words, free))
    places, counts = np.unique(found, return_counts=True)
    self.assertEqual(places.tolist(), [0, 1, 3, 34])
    self.assertLess(np.abs(counts - 1000).max(), 4 * np.sqrt(4000 * 3 / 16))
    none = _node.pick_bit(words[0], jnp.zeros((2,), jnp.uint32))
    self.assertEqual(int(none), -1)

  @parameterized.parameters(0, 30, 31, 32, 63, 64)
  def test_palettes_hold_so_many_colors(self, most):
    words = _node.palette(jnp.int32(most), 3)
    bits = [int(w) >> i & 1 for w in words for i in range(32)]
    self.assertEqual(bits, [1] * (most + 1) + [0] * (95 - most))


class SequentialTest(parameterized.TestCase):
  def test_independent_sets_are_those_of_going_by_rank(self):
    graphs, _ = networks()
    found = answers('vertex_cover', 'greedy_independent_set', 20)
    for b, graph in enumerate(graphs):
      inside = set()
      for v in sorted(graph, key=lambda v: -ranks()[b][v]):
        if not inside & set(graph[v]):
          inside.add(v)
      want = [int(v not in inside) for v in graph]
      self.assertEqual(found[b, : len(graph)].tolist(), want)

  def test_colors_are_those_of_networkx_in_order_of_rank(self):
    graphs, _ = networks()
    found = answers('coloring', 'greedy_coloring', 20)
    for b, graph in enumerate(graphs):
      order = sorted(graph, key=lambda v: -ranks()[b][v])
      want = networkx.greedy_color(graph, lambda g, c, o=order: o)
      self.assertEqual(
        found[b, : len(graph)].tolist(), [want[v] for v in graph]
      )

  @parameterized.parameters(1, 2, 3)
  def test_flooding_reaches_so_far(self, rounds):
    graphs, _ = networks()
    found = answers('leader_election', 'flooding', rounds)
    for b, graph in enumerate(graphs):
      for v in graph:
        near = networkx.ego_graph(graph, v, radius=rounds)
        want = max(ranks()[b][u] for u in near) == ranks()[b][v]
        self.assertEqual(found[b, v], int(want))

  def test_flooding_needs_as_many_rounds_as_the_diameter(self):
    graph = agentsnet.named(networkx.path_graph(6))
    batch = agentsnet.batch_graphs([graph], pad_nodes=14, pad_degree=12)
    keys = jax.random.split(KEY, 40)
    order = np.asarray(
      jax.vmap(_node.rank, (0, None))(keys, batch.numbers[0, :6])
    )
    ends = np.isin(order.argmax(axis=1), (0, 5))
    self.assertGreater(ends.sum(), 5)
    self.assertGreater((~ends).sum(), 5)
    for task in ('leader_election', 'consensus'):
      run = functools.partial(
        agentsnet.run_sync, 'flooding', task, batch, key=keys
      )
      enough = np.asarray(agentsnet.score(task, batch, run(rounds=5)))
      self.assertTrue((enough == 1).all())
    # One less: the far end has not heard of the largest, yet knows of another,
    # so that it does not lead; its value may be the other one.
    late = np.asarray(run(rounds=4))[:, 0, :6]
    split = late.min(axis=1) != late.max(axis=1)
    self.assertTrue(split[ends].any())
    self.assertFalse(split[~ends].any())

  @parameterized.parameters(
    ('vertex_cover', 'greedy_independent_set'),
    ('vertex_cover', 'luby'),
    ('coloring', 'greedy_coloring'),
    ('coloring', 'trial_coloring'),
    ('matching', 'proposals'),
    ('consensus', 'flooding'),
    ('leader_election', 'flooding'),
  )
  def test_solves_with_time_enough(self, task, name):
    _, batch = networks()
    found = answers(task, name, 60 if name == 'proposals' else 20)
    self.assertTrue(
      (np.asarray(agentsnet.score(task, batch, found)) == 1).all()
    )

  @parameterized.parameters(1, 2, 3, 4)
  def test_pairs_agree_whenever_it_ends(self, rounds):
    graphs, _ = networks()
    found = answers('matching', 'proposals', rounds)
    some = 0
    for b, graph in enumerate(graphs):
      for v in graph:
        partner = found[b, v]
        if partner >= 0:
          some += 1
          self.assertEqual(found[b, partner], v)
          self.assertIn(partner, graph[v])
    self.assertGreater(some, 0)

  def test_colors_stay_in_the_palette(self):
    graphs, _ = networks()
    for name in ('random', 'trial_coloring'):
      found = answers('coloring', name, 1)
      for b, graph in enumerate(graphs):
        used = found[b, : len(graph)]
        self.assertBetween(int(used.min()), 0, agentsnet.max_degree(graph))
        self.assertBetween(int(used.max()), 0, agentsnet.max_degree(graph))


class FrameTest(parameterized.TestCase):
  @parameterized.parameters(*CLASSICAL)
  def test_a_node_at_a_time_gives_the_same_bit_by_bit(self, task, name):
    graphs, batch = networks()
    want = np.asarray(agentsnet.run_sync(name, task, batch, key=KEY))
    rounds = agentsnet.rounds_of(task, batch)
    for b, graph in enumerate(graphs[:3]):
      names = agentsnet.names_of(graph)
      nodes = [
        agentsnet.start_speaker(
          name,
          task,
          names[v],
          [names[u] for u in agentsnet.neighbors_of(graph, v)],
          num_nodes=len(graph),
          num_rounds=int(rounds[b]),
          max_degree=agentsnet.max_degree(graph),
          key=KEY,
        )
        for v in graph
      ]
      for _ in range(rounds[b]):
        said = {names[v]: agentsnet.say(nodes[v]) for v in graph}
        nodes = [agentsnet.hear(node, said) for node in nodes]
      texts = [agentsnet.final(node) for node in nodes]
      got = agentsnet.encode(task, graph, texts)
      np.testing.assert_array_equal(got, want[b, : len(graph)])

  def test_nonsense_is_silence(self):
    start = lambda: agentsnet.start_speaker(
      *('flooding', 'consensus', 'Ann', ['Bob', 'Cem']),
      num_nodes=3,
      num_rounds=2,
      key=KEY,
    )
    silent = agentsnet.hear(start(), {})
    for said in ((1,), (1, 2, 3), (2**31, 0), (1.0, 0), (True, 0), '12', None):
      heard = agentsnet.hear(start(), {'Bob': said, 'Eve': (2**30, 1)})
      self.assertEqual(agentsnet.say(heard), agentsnet.say(silent))
    told = agentsnet.hear(start(), {'Bob': (2**30 - 1, 1)})
    self.assertEqual(agentsnet.say(told), (2**30 - 1, 1))

  @parameterized.parameters(
    ('matching', 'proposals'), ('coloring', 'trial_coloring')
  )
  def test_padding_and_neighbors_in_the_batch_do_not_matter(self, task, name):
    graphs, batch = networks()
    rounds = agentsnet.rounds_of(task, batch)
    want = answers(task, name, None)
    for b in (1, 4):
      alone = agentsnet.batch_graphs([graphs[b]])
      found = agentsnet.run_sync(
        name, task, alone, key=KEY, rounds=int(rounds[b])
      )
      np.testing.assert_array_equal(found[0], want[b, : len(graphs[b])])

  @parameterized.parameters(*(pair for pair in SOLVERS if pair[1] != 'luby'))
  def test_relabeling_moves_answers(self, task, name):
    graphs, batch = networks()
    graph = graphs[2]
    names = agentsnet.names_of(graph)
    order = np.random.default_rng(0).permutation(len(graph)).tolist()
    other = networkx.relabel_nodes(graph, dict(enumerate(order)))
    moved = networkx.Graph()
    moved.add_nodes_from(sorted(other.nodes(data=True)))
    moved.add_edges_from(other.edges)
    changed = agentsnet.batch_graphs(
      [*graphs[:2], moved, *graphs[3:]], pad_nodes=14, pad_degree=12
    )
    found = agentsnet.run_sync(name, task, changed, key=KEY)
    before = agentsnet.decode(task, graph, answers(task, name, None)[2][:12])
    after = agentsnet.decode(task, moved, np.asarray(found)[2][:12])
    by_name = lambda g, texts: dict(
      zip(agentsnet.names_of(g), texts, strict=True)
    )
    self.assertEqual(by_name(graph, before), by_name(moved, after))
    self.assertNotEqual(names, agentsnet.names_of(moved))

  @parameterized.parameters('proposals', 'luby')
  def test_hubs_apart_are_the_same(self, name):
    task = 'matching' if name == 'proposals' else 'vertex_cover'
    graphs = [agentsnet.make_graph(family, 30, 1) for family in ('star', 'ba')]
    batch = agentsnet.batch_graphs(graphs)
    run = functools.partial(
      agentsnet.run_sync, name, task, batch, key=KEY, rounds=8
    )
    want = run()
    self.assertEqual(_run_sync._hubs(batch, 1)[1].shape, (2, 0))
    with mock.patch.object(_run_sync, '_MANY_SLOTS', 1):
      width, hubs = _run_sync._hubs(batch, 1)
      degrees = [[d for _, d in sorted(g.degree())] for g in graphs]
      self.assertBetween(width, 2, 10)
      for row, found in zip(degrees, hubs.tolist(), strict=True):
        wide = [v for v, degree in enumerate(row) if degree > width]
        self.assertEqual([v for v in found if v < 30], wide)
        self.assertNotEmpty(wide)
      found = run()
    np.testing.assert_array_equal(found, want)

  def test_many_keys_and_devices_are_as_one(self):
    _, batch = networks()
    keys = jax.random.split(KEY, 2)
    run = functools.partial(
      agentsnet.run_sync, 'trial_coloring', 'coloring', batch, rounds=3
    )
    want = [run(key=key) for key in keys]
    mesh = clients.clients_mesh(4)
    for options in ({}, {'mesh': mesh}, {'chunk': 2}):
      np.testing.assert_array_equal(run(key=keys, **options), want)

  @parameterized.parameters(
    (5, 900, 5), (1000, 900, 125), (1000, 131_073, 1), (997, 900, 145)
  )
  def test_as_many_at_a_time_as_the_cache_holds(self, num, slots, want):
    self.assertEqual(_run_sync._chunk(num, slots), want)

  def test_rounds_may_differ_between_graphs(self):
    _, batch = networks()
    found = agentsnet.run_sync(
      *('flooding', 'leader_election', batch),
      key=KEY,
      rounds=np.array([1, 2, 3, 1, 2]),
    )
    for b, rounds in enumerate((1, 2, 3, 1, 2)):
      want = answers('leader_election', 'flooding', rounds)[b]
      np.testing.assert_array_equal(found[b], want)

  def test_the_second_call_compiles_nothing(self):
    _, batch = networks()
    run = functools.partial(
      agentsnet.run_sync, 'flooding', 'leader_election', batch, rounds=2
    )
    run(key=KEY)
    other = jax.random.key(4)
    with jax.no_tracing():
      run(key=other)

  def test_an_algorithm_of_ones_own(self):
    def update(state, facts, messages, mask, t, key):
      del facts, t, key
      return state + jnp.where(mask, messages[:, 0], 0).sum()

    ones = agentsnet.NodeAlgorithm(
      start=lambda facts, key: jnp.int32(1),
      message=lambda state: state[None],
      update=update,
      answer=lambda state, facts: state,
    )
    graphs, batch = networks()
    found = agentsnet.run_sync(ones, 'consensus', batch, key=KEY, rounds=3)
    for b, graph in enumerate(graphs):
      walks = networkx.to_numpy_array(graph) + np.eye(len(graph))
      want = np.linalg.matrix_power(walks, 3).sum(axis=1)
      np.testing.assert_array_equal(found[b, : len(graph)], want)

  @parameterized.parameters(
    (('floodin', 'consensus'), {}, "algorithm='floodin' is unknown"),
    (
      ('flooding', 'matching'),
      {},
      "'flooding' does not solve task='matching' but consensus, leader",
    ),
    (('flooding', 'consensus'), {'rounds': 0}, 'rounds must be at least 1'),
    (
      ('flooding', 'consensus'),
      {'rounds': np.array([1, 2])},
      'rounds must be an integer or one for each of 5 graphs',
    ),
    (
      ('flooding', 'consensus'),
      {'rounds': np.array([1, 2, 3, 0, 2])},
      'rounds must be at least 1; got 0',
    ),
    (('flooding', 'sorting'), {}, "task='sorting' is unknown"),
  )
  def test_says_what_is_wrong(self, args, options, message):
    _, batch = networks()
    with self.assertRaisesRegex(ValueError, message):
      agentsnet.run_sync(*args, batch, key=KEY, **options)

  def test_what_solves_what(self):
    found = {task: agentsnet.algorithms_for(task) for task in agentsnet.TASKS}
    self.assertIn('luby', found['vertex_cover'])
    self.assertNotIn('flooding', found['matching'])
    for names in found.values():
      self.assertContainsSubset(('constant', 'random'), names)


class TableTest(parameterized.TestCase):
  def test_rows_are_means_over_graphs(self):
    graphs, batch = networks()
    some = [graphs[1], graphs[2]]
    rows = agentsnet.score_rows(
      {'coloring': ['random']}, some, key=KEY, num_keys=6
    )
    keys = jax.random.split(KEY, 6)
    batch = agentsnet.batch_graphs(some)
    found = agentsnet.run_sync('random', 'coloring', batch, key=keys)
    scores = np.asarray(agentsnet.score('coloring', batch, found), np.float64)
    per_graph = scores.mean(axis=0)
    (row,) = rows
    self.assertEqual((row['task'], row['solver']), ('coloring', 'random'))
    self.assertEqual((row['num_nodes'], row['rounds']), (12, '6'))
    self.assertAlmostEqual(row['score'], per_graph.mean())
    self.assertAlmostEqual(row['error'], abs(np.diff(per_graph)[0]) / 2)
    self.assertAlmostEqual(row['solved'], (scores == 1).mean())

  def test_needs_graphs(self):
    with self.assertRaisesRegex(ValueError, 'graphs is empty'):
      agentsnet.score_rows({}, [], key=KEY)


if __name__ == '__main__':
  absltest.main()
