# SPDX-License-Identifier: Apache-2.0
"""Stages in threads: order, bounds, pace, errors and ends."""

import gc
import itertools
import threading
import time

from absl.testing import absltest, parameterized

from jaxdl import parallel
from jaxdl.parallel import actors


def pipeline_threads():
  return [t for t in threading.enumerate() if t.name.startswith('pipeline-')]


def wait_until(condition):
  end = time.monotonic() + 5
  while not condition():
    if time.monotonic() > end:
      raise AssertionError('waited for 5 s')
    time.sleep(0.001)


class PipelineTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.assertEqual(pipeline_threads(), [])

  def tearDown(self):
    wait_until(lambda: not pipeline_threads())
    super().tearDown()

  @parameterized.parameters(1, 2, 5, ((1, 3, 2),))
  def test_gives_what_a_loop_gives_in_order(self, credits):
    stages = [lambda n: n + 1, lambda n: n * n, str]
    got = list(parallel.HostPipeline(stages, credits)(range(50)))
    self.assertEqual(got, [str((n + 1) ** 2) for n in range(50)])

  def test_each_call_starts_anew(self):
    pipeline = parallel.HostPipeline([lambda n: -n])
    self.assertEqual(list(pipeline([])), [])
    self.assertEqual(list(pipeline([1, 2])), [-1, -2])

  def test_nothing_and_none_are_results_like_others(self):
    pipeline = parallel.HostPipeline([lambda x: x, lambda x: x])
    self.assertEqual(list(pipeline([None, (), 0])), [None, (), 0])

  @parameterized.parameters(((1, 1),), ((2, 2),), ((3, 1),))
  def test_nobody_runs_ahead_of_a_caller_that_keeps_its_result(self, credits):
    counts = [0, 0]

    def stage(k):
      def count(n):
        counts[k] += 1
        return n

      return count

    pipeline = parallel.HostPipeline([stage(0), stage(1)], credits)
    with pipeline(itertools.count()) as stream:
      self.assertEqual(next(stream), 0)
      # The caller holds one register of the last stage; that stage fills the
      # others, and waits for one of them without taking another item.
      first, last = credits
      wait_until(lambda: counts == [last + first, last])
      time.sleep(0.05)
      self.assertEqual(counts, [last + first, last])
      self.assertEqual(stream.peak, credits)
      self.assertEqual(next(stream), 1)
      wait_until(lambda: counts == [last + first + 1, last + 1])

  @parameterized.parameters(((1, 1),), ((2, 2),), ((2, 1),))
  def test_its_pace_is_that_of_the_cycles_of_its_graph(self, credits):
    # Sheet: tau = (1, 3, 2) takes 51, 33, 51 for 10 batches, the caller last.
    unit, num = 0.02, 10
    rest = lambda taus: lambda n: time.sleep(taus * unit) or n
    pipeline = parallel.HostPipeline([rest(1), rest(3)], credits)
    times = []
    for _ in range(2):  # Other processes may be in the way.
      begin = time.perf_counter()
      for _ in pipeline(range(num)):
        time.sleep(2 * unit)
      times.append((time.perf_counter() - begin) / unit)
    took = min(times)
    chain = actors.chain_actors((1, 3, 2), (*credits, 1))
    want = actors.simulate(chain, num).makespan
    self.assertEqual(want, {(1, 1): 51, (2, 2): 33, (2, 1): 51}[credits])
    self.assertGreaterEqual(took, 0.98 * want)
    self.assertLess(took, 1.5 * want)

  def test_tells_where_the_time_went(self):
    pipeline = parallel.HostPipeline([lambda n: time.sleep(0.02) or n])
    gains = []
    for _ in range(3):
      stream = pipeline(range(5))
      for _ in stream:
        time.sleep(0.02)
      times = stream.times
      self.assertEqual(times.items, 5)
      self.assertGreaterEqual(times.busy[0], 0.1)
      self.assertGreaterEqual(times.held, 0.1)
      gains.append(times.gain)
    # One after the other takes 0.2 s, side by side about 0.12.
    self.assertBetween(max(gains), 1.2, 2.0)

  @parameterized.product(num=[1, 2, 3], credits=[1, 2])
  def test_no_more_results_exist_than_registers(self, num, credits):
    lock, alive, most = threading.Lock(), [0], [0]

    def count(change):
      with lock:
        alive[0] += change
        most[0] = max(most[0], alive[0])

    class Result:
      def __init__(self, before):
        count(1)

      def __del__(self):
        count(-1)

    stages = [Result] * num
    for result in parallel.HostPipeline(stages, credits)(range(30)):
      time.sleep(0.001)
      del result
    self.assertEqual(most[0], num * credits)

  def test_nothing_gains_nothing(self):
    stream = parallel.HostPipeline([str])(())
    self.assertEqual(list(stream), [])
    self.assertEqual(stream.times.gain, 1.0)


class EndTest(absltest.TestCase):
  def tearDown(self):
    wait_until(lambda: not pipeline_threads())
    super().tearDown()

  def test_errors_come_out_as_themselves_after_the_results_before(self):
    error = KeyError('block 3')

    def fail(n):
      if n == 3:
        raise error
      return n

    for place in range(3):
      stages = [lambda n: n] * 3
      stages[place] = fail
      got = []
      with self.assertRaises(KeyError) as caught:
        for n in parallel.HostPipeline(stages, 4)(itertools.count()):
          got.append(n)
      self.assertIs(caught.exception, error)
      self.assertEqual(got, [0, 1, 2])
      wait_until(lambda: not pipeline_threads())

  def test_errors_of_the_items_come_out_too(self):
    def items():
      yield 1
      raise OSError('disk')

    stream = parallel.HostPipeline([str])(items())
    self.assertEqual(next(stream), '1')
    with self.assertRaisesRegex(OSError, 'disk'):
      next(stream)
    with self.assertRaises(StopIteration):
      next(stream)

  def test_an_interrupt_in_a_stage_comes_out(self):
    def stop(n):
      raise KeyboardInterrupt

    with self.assertRaises(KeyboardInterrupt):
      list(parallel.HostPipeline([stop])(range(3)))

  def test_a_stage_cannot_end_the_loop_by_mistake(self):
    with self.assertRaisesRegex(RuntimeError, 'StopIteration'):
      list(parallel.HostPipeline([lambda n: next(iter(()))])(range(3)))

  def test_leaving_the_block_early_ends_all_threads(self):
    with parallel.HostPipeline([str, str], 2)(itertools.count()) as stream:
      next(stream)
    self.assertEqual(pipeline_threads(), [])
    with self.assertRaises(StopIteration):
      next(stream)
    stream.close()

  def test_a_stream_that_is_forgotten_ends(self):
    stream = parallel.HostPipeline([str])(itertools.count())
    next(stream)
    del stream
    gc.collect()
    wait_until(lambda: not pipeline_threads())

  def test_closing_does_not_wait_for_who_never_comes_back(self):
    held = threading.Event()
    stream = parallel.HostPipeline([lambda n: held.wait(20)])(range(3))
    wait_until(lambda: pipeline_threads())
    begin = time.monotonic()
    stream.close()
    self.assertLess(time.monotonic() - begin, 5)
    held.set()


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    ([], 2, ValueError, 'stages is empty: give one function'),
    ([3], 2, TypeError, 'stages must be functions of one item; got'),
    (str, 2, TypeError, 'stages must be a list of functions'),
    ([str], 0, ValueError, 'credits must be at least 1; got 0'),
    ([str], (1, 2), ValueError, 'one for each of 1 stages; got'),
    ([str], 1.5, TypeError, 'credits must be an integer'),
    ([str], True, TypeError, 'credits must be an integer'),
    ([str], 'two', TypeError, 'credits must be an integer'),
  )
  def test_says_what_is_wrong(self, stages, credits, kind, sentence):
    with self.assertRaisesRegex(kind, sentence):
      parallel.HostPipeline(stages, credits)


if __name__ == '__main__':
  absltest.main()
