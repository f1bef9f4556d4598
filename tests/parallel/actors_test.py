# SPDX-License-Identifier: Apache-2.0
"""Actors on a simulated clock, and the period that they reach."""

import functools
import math

import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.parallel import actors as actors_lib

Actor = actors_lib.ActorSpec
INF = math.inf


def chain_period(taus, registers):
  pairs = zip(taus, taus[1:], registers, strict=False)
  return max(max(taus), *((a + b) / r for a, b, r in pairs))


def cycle_period(actors):
  """The largest ratio over all cycles that networkx lists."""
  graph = networkx.MultiDiGraph()
  tokens = {}
  for name, actor in actors.items():
    graph.add_edge(name, name)
    tokens[name, name] = 1
    for other in actor.consumers:
      graph.add_edge(name, other)
      tokens[name, other] = min(tokens.get((name, other), INF), 0)
      graph.add_edge(other, name)
      tokens[other, name] = min(tokens.get((other, name), INF), actor.registers)
  best = 0.0
  for cycle in networkx.simple_cycles(networkx.DiGraph(graph)):
    ends = zip(cycle, cycle[1:] + cycle[:1], strict=True)
    total = sum(tokens[e] for e in ends)
    if 0 < total < INF:
      best = max(best, sum(actors[a].tau for a in cycle) / total)
  return best


def measured(actors, num=240, last=120):
  """Period; `last` is a multiple of all numbers of registers."""
  ends = actors_lib.simulate(actors, num).finish.max(axis=0)
  # In the end a shared device has fewer to run.
  return (ends[num - 20] - ends[num - 20 - last]) / last


class PeriodTest(parameterized.TestCase):
  @parameterized.parameters(
    ((1, 3, 2), (1, 1), 5, 51),
    ((1, 3, 2), (2, 2), 3, 33),
    ((1, 3, 2), (2, 1), 5, 51),
    ((1, 1, 1), (1, 1), 2, 21),
    ((1, 1, 1), (2, 2), 1, 12),
  )
  def test_figures_of_the_method(self, taus, registers, period, makespan):
    actors = actors_lib.chain_actors(taus, registers)
    self.assertEqual(actors_lib.predicted_period(actors), period)
    self.assertEqual(actors_lib.simulate(actors, 10).makespan, makespan)
    self.assertEqual(measured(actors), period)

  @parameterized.parameters(range(10))
  def test_random_chains(self, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    taus = rng.uniform(0, 3, n)
    registers = rng.integers(1, 4, n)
    actors = actors_lib.chain_actors(taus, registers.tolist())
    want = chain_period(taus, registers)
    self.assertAlmostEqual(actors_lib.predicted_period(actors), want)
    self.assertAlmostEqual(measured(actors), want)

  @parameterized.parameters(*((k, 4 / k) for k in range(1, 5)))
  def test_a_skip_holds_the_first_registers(self, k, want):
    actors = actors_lib.chain_actors((1,) * 4, (k, 2, 2, 1), skip=(0, 3))
    self.assertAlmostEqual(actors_lib.predicted_period(actors), want)
    self.assertAlmostEqual(measured(actors), want)

  def test_a_skip_of_single_registers(self):
    actors = actors_lib.chain_actors((1,) * 4, (1, 1, 1, 1), skip=(0, 3))
    self.assertEqual(actors_lib.predicted_period(actors), 4)
    self.assertEqual(measured(actors), 4)

  @parameterized.parameters(range(10))
  def test_random_graphs(self, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 7))
    consumers = {i: set() for i in range(n)}
    for j in range(1, n):
      for i in rng.choice(
        j, size=min(j, int(rng.integers(1, 3))), replace=False
      ):
        consumers[int(i)].add(j)
    actors = {
      f'n{i}': Actor(
        float(rng.uniform(0.1, 2)),
        int(rng.integers(1, 4)),
        tuple(f'n{j}' for j in sorted(consumers[i])),
      )
      for i in range(n)
    }
    want = cycle_period(actors)
    self.assertAlmostEqual(actors_lib.predicted_period(actors), want)
    self.assertAlmostEqual(measured(actors, 480, 120), want)

  def test_in_place(self):
    # b writes into the register of a, which c must return first.
    actors = {
      'a': Actor(1.0, 1, ('b',)),
      'b': Actor(1.0, 3, ('c',), in_place=True),
      'c': Actor(1.0),
    }
    self.assertEqual(actors_lib.predicted_period(actors), 3)
    self.assertEqual(measured(actors), 3)
    apart = actors | {'b': Actor(1.0, 3, ('c',))}
    self.assertEqual(actors_lib.predicted_period(apart), 2)
    self.assertEqual(measured(apart), 2)

  def test_a_shared_device_runs_one_at_a_time(self):
    actors = {
      'a': Actor(1.0, 4, ('b',), queue='gpu'),
      'b': Actor(2.0, 4, ('c',)),
      'c': Actor(1.5, queue='gpu'),
    }
    self.assertEqual(actors_lib.predicted_period(actors), 2.5)
    self.assertAlmostEqual(measured(actors), 2.5)
    trace = actors_lib.simulate(actors, 20).trace
    running = 0
    for event in trace:
      if event.actor in 'ac':
        running += 1 if event.kind == 'begin' else -1
      self.assertLessEqual(running, 1)

  def test_a_barrier_takes_the_sum(self):
    # All on one device, with one register each.
    actors = {
      n: Actor(t, 1, c, queue='one')
      for n, t, c in (('a', 1, ('b',)), ('b', 3, ('c',)), ('c', 2, ()))
    }
    self.assertEqual(actors_lib.predicted_period(actors), 6)
    self.assertEqual(measured(actors), 6)

  def test_without_credits_memory_grows_and_the_period_does_not(self):
    free = actors_lib.chain_actors((1, 3, 2), (INF, INF))
    self.assertEqual(actors_lib.predicted_period(free), 3)
    found = [actors_lib.simulate(free, num) for num in (20, 40)]
    self.assertEqual([f.period(10) for f in found], [3, 3])
    first = [f.peak[0] for f in found]
    self.assertGreater(first[1], first[0] + 10)
    self.assertEqual(actors_lib.memory_bound(free), INF)
    held = actors_lib.chain_actors((1, 3, 2), (2, 2))
    self.assertEqual(actors_lib.memory_bound(held), 5)
    self.assertEqual(actors_lib.simulate(held, 40).peak.tolist(), [2, 2, 1])


class ProtocolTest(parameterized.TestCase):
  @parameterized.parameters(range(4))
  def test_registers_are_conserved_and_batches_come_in_order(self, seed):
    rng = np.random.default_rng(seed)
    n = 5
    registers = rng.integers(1, 4, n).tolist()
    actors = actors_lib.chain_actors(
      rng.uniform(0, 2, n), registers, skip=(0, 3)
    )
    found = actors_lib.simulate(actors, 30)
    self.assertEqual(found.deadlock, '')
    self.assertTrue((found.peak <= registers).all())
    self.assertTrue((found.peak >= 1).all())
    self.assertEqual(found.left.tolist(), [0] * n)
    self.assertTrue(np.isfinite(found.finish).all())
    self.assertTrue((np.diff(found.finish, axis=1) >= 0).all())
    self.replay(actors, found)

  def replay(self, actors, found):
    """Counts credits again, from what happened alone."""
    done = dict.fromkeys(actors, 0)
    begun = dict.fromkeys(actors, 0)
    producers = {
      n: [p for p, a in actors.items() if n in a.consumers] for n in actors
    }
    times = [e.time for e in found.trace]
    self.assertEqual(times, sorted(times))
    for event in found.trace:
      name = event.actor
      if event.kind == 'begin':
        self.assertEqual(event.batch, begun[name])
        begun[name] += 1
        self.assertEqual(begun[name], done[name] + 1)
        for p in producers[name]:
          self.assertGreaterEqual(done[p], begun[name])
      else:
        self.assertEqual(event.batch, done[name])
        done[name] += 1
      for n, actor in actors.items():
        returned = min((done[c] for c in actor.consumers), default=done[n])
        self.assertLessEqual(begun[n] - returned, actor.registers)
    self.assertEqual(set(done.values()), {found.finish.shape[1]})

  def test_a_circle_is_told_and_does_not_hang(self):
    actors = {
      'a': Actor(1, 2, ('b',)),
      'b': Actor(1, 2, ('c',)),
      'c': Actor(1, 2, ('b', 'd')),
      'd': Actor(1),
    }
    found = actors_lib.simulate(actors, 5)
    self.assertRegex(
      found.deadlock,
      r"dead-lock: 'a' waits for a free register after 2 of 5 batches; 'b' "
      r"waits for a result of 'c' after 0.*'c'.*'d'",
    )
    self.assertEqual(found.finish[0, 1], 2.0)
    self.assertTrue(np.isnan(found.finish[1]).all())
    with self.assertRaisesRegex(ValueError, 'actors b -> c -> b wait for each'):
      actors_lib.predicted_period(actors)

  def test_no_batches(self):
    found = actors_lib.simulate(actors_lib.chain_actors((1, 2), (1,)), 0)
    self.assertEqual((found.makespan, found.trace, found.deadlock), (0, [], ''))

  def test_no_time(self):
    actors = actors_lib.chain_actors((0, 0, 1), (1, 1))
    self.assertEqual(actors_lib.simulate(actors, 10).makespan, 10)

  @parameterized.parameters(
    ({}, 'actors is empty'),
    ({'a': Actor(-1)}, "tau of 'a' must lie in"),
    ({'a': Actor(1, 0)}, "registers of 'a' must be at least 1; got 0"),
    ({'a': Actor(INF)}, "tau of 'a' must lie in"),
    ({'a': Actor(1, 1, ('b',))}, "consumers of 'a' has 'b', which is no actor"),
    ({'a': Actor(1, 1, ('a',))}, 'actors a -> a wait for each other'),
    (
      {'a': Actor(1, in_place=True)},
      "in_place of 'a' needs one input; it has 0",
    ),
  )
  def test_says_what_is_wrong(self, actors, message):
    with self.assertRaisesRegex(ValueError, message):
      actors_lib.predicted_period(actors)

  def test_chains_say_what_is_wrong(self):
    with self.assertRaisesRegex(ValueError, 'one for each of 3 actors'):
      actors_lib.chain_actors((1, 1, 1), (1,))
    with self.assertRaisesRegex(
      ValueError, r'skip=\(0, 1\) must lead at least'
    ):
      actors_lib.chain_actors((1, 1, 1), (1, 1), skip=(0, 1))
    with self.assertRaisesRegex(ValueError, 'taus is empty'):
      actors_lib.chain_actors((), ())
    with self.assertRaisesRegex(TypeError, "registers of 'a0' must be an int"):
      actors_lib.chain_actors((1, 1), (1.5,))
    with self.assertRaisesRegex(TypeError, 'taus must be the seconds.* got 3'):
      actors_lib.chain_actors(3)
    for skip in (2, (0, 1, 2)):
      with self.assertRaisesRegex(TypeError, 'skip must be the positions of'):
        actors_lib.chain_actors((1, 1, 1), 1, skip=skip)
    with self.assertRaisesRegex(TypeError, 'skip must be an integer; got 0.5'):
      actors_lib.chain_actors((1, 1, 1), 1, skip=(0.5, 2))

  @parameterized.parameters(
    ([Actor(1)], 'actors must be a dict of ActorSpec by name'),
    ({'a': 1.0}, "actor 'a' must be an ActorSpec; got 1.0"),
    ({'a': Actor(1, 1, 'b'), 'b': Actor(1)}, "consumers of 'a' must be names"),
  )
  def test_says_what_is_no_actor(self, actors, message):
    with self.assertRaisesRegex(TypeError, message):
      actors_lib.simulate(actors, 2)

  def test_a_period_needs_a_batch_before_it(self):
    found = actors_lib.simulate(actors_lib.chain_actors((1, 2)), 5)
    self.assertEqual(found.period(4), 2)
    for num in (-1, 0, 5):
      with self.assertRaisesRegex(ValueError, rf'num_last={num} must lie in'):
        found.period(num)

  def test_rows_need_pipelines_and_jitter_that_can_be_seen(self):
    chain = {'one': actors_lib.chain_actors((1.0,))}
    rows = functools.partial(actors_lib.pipeline_rows, num_batches=2)
    with self.assertRaisesRegex(ValueError, 'pipelines is empty'):
      rows({})
    with self.assertRaisesRegex(ValueError, 'seeds must be at least 0; got -1'):
      rows(chain, seeds=(-1,))
    # Nearly all batches would take no time at all.
    with self.assertRaisesRegex(ValueError, 'jitter must lie in .*got 1000'):
      rows(chain, jitter=1000.0)


if __name__ == '__main__':
  absltest.main()
