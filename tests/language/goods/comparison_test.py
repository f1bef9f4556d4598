# SPDX-License-Identifier: Apache-2.0
"""Whole runs: learning, resuming, replaying, failures and budgets."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized
from language.goods import fakes

from jaxdl import language
from jaxdl.experiment import config as config_lib, runner
from jaxdl.language import goods, loopback

TASKS = goods.arithmetic_tasks(40)
TRAIN, TEST = goods.split_tasks(TASKS, 8)
SETUP = goods.make_setup('mac_spgg(num_agents=2, kappa=0.5)')
LEARNER = "ppo(hidden=4, optimizer='adam(0.02)', order=random)"


def experiment(
  open_client, *, specs=(LEARNER, 'majority'), rounds=3, **options
):
  methods = {
    spec: goods.METHODS.make(spec, SETUP, num_updates=rounds) for spec in specs
  }
  return goods.compare_texts(
    methods,
    TRAIN,
    TEST,
    open_client,
    **{'num_rounds': rounds, 'batch_tasks': 4} | options,
  )


def run(open_client, *, rounds=3, seeds=(0,), sinks=(), store=None, **options):
  config = config_lib.BaseConfig(num_rounds=rounds, eval_every=1, seeds=seeds)
  return runner.run(
    experiment(open_client, rounds=rounds, seeds=seeds, **options),
    config,
    sinks=sinks,
    store=store,
  )


class Stop(Exception):
  pass


class Stopper(runner.Sink):
  def write(self, rows):
    pass

  def tick(self, round):
    if round == 2:
      raise Stop


class RowsTest(parameterized.TestCase):
  def test_what_is_reported(self):
    client = fakes.Client(goods.solver())
    result = run(lambda: client, seeds=(0, 4))
    test = [r for r in result.rows if r['split'] == 'test']
    self.assertLen(test, 2 * 2 * 4)
    for row in test:
      self.assertEqual(row['source'], 'scripted')
      self.assertBetween(row['accuracy'], 0, 1)
      self.assertEqual('total_reward' in row, row['variant'] == LEARNER)
      self.assertEqual(row['failed'], 0)
    train = [r for r in result.rows if r['split'] == 'train']
    self.assertEqual({r['variant'] for r in train}, {LEARNER})
    self.assertContainsSubset(
      {'sigma', 'selection', 'total_reward', 'stopped', 'tokens'}, train[0]
    )
    spent = [r['train_tokens'] for r in train if r['seed'] == 4]
    self.assertEqual(spent, sorted(spent))
    self.assertAlmostEqual(
      spent[-1], sum(r['tokens'] for r in train if r['seed'] == 4)
    )
    settings = [r for r in result.rows if r['split'] == 'settings']
    own = [r for r in settings if r['variant'] == LEARNER and r['step'] == 3]
    self.assertEqual([r['agent'] for r in own if r['seed'] == 0], [1, 2])
    self.assertIn('temperature', own[0])
    self.assertEqual(client.closed, 1)
    columns, cells = result.experiment.table(result.rows)
    self.assertIn('source', columns)
    self.assertIn('scripted', cells[0])

  def test_who_does_not_learn_is_asked_once(self):
    client = fakes.Client(goods.solver())
    run(lambda: client, specs=('majority',))
    self.assertLen(client.asked, 3 * len(TEST))

  def test_the_order_of_replies_does_not_matter(self):
    rows = [
      run(lambda c=client: c).rows
      for client in (
        fakes.Client(goods.solver()),
        fakes.Client(goods.solver(), shuffle=True),
      )
    ]
    self.assertEqual(*rows)

  def test_batches(self):
    a = goods.draw_tasks(TRAIN, 8, 0, 3)
    self.assertEqual(a, goods.draw_tasks(TRAIN, 8, 0, 3))
    self.assertLen({t.question for t in a}, 8)
    self.assertNotEqual(a, goods.draw_tasks(TRAIN, 8, 1, 3))
    self.assertNotEqual(a, goods.draw_tasks(TRAIN, 8, 0, 4))

  @parameterized.parameters(
    ({'batch_tasks': 33}, 'batch_tasks=33 is more than the 32 tasks'),
    ({'batch_tasks': 1}, 'batch_tasks must be at least 2'),
    ({'steps': 0}, 'steps must be at least 1'),
    ({'specs': ()}, 'methods is empty'),
  )
  def test_bad_arguments(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      experiment(lambda: None, **options)


class TranscriptsTest(parameterized.TestCase):
  def test_who_saw_what_of_whom(self):
    client = fakes.Client(goods.solver())
    state = goods.METHODS.make('fixed(observation=full)', goods.make_setup())
    episode = language.run(state.answer((), TEST[0], client))
    failed = episode._replace(error='gone')
    (found,) = goods.transcripts(
      [failed, episode], 'full', title='fixed', models=('m',)
    )
    self.assertEqual(found.name, 'full-2')
    self.assertEqual(
      [(m['source'], m['target']) for m in found.sent],
      [
        ('Agent-1', 'Agent-2'),
        ('Agent-1', 'Agent-3'),
        ('Agent-2', 'Agent-3'),
      ],
    )
    self.assertEqual(found.sent[2]['text'], episode.turns[1].text)
    self.assertEqual(found.answers['team'], episode.answer)
    chat = found.chats['Agent-3']
    self.assertEqual(chat[-1]['content'], episode.turns[2].text)
    self.assertIn(episode.turns[0].text, chat[1]['content'])
    page = language.viewer(found)
    self.assertIn('Agent-3', page)

  def test_replies_are_escaped(self):
    client = fakes.Client(lambda chat: '<script>alert(1)</script> 5')
    method = goods.METHODS.make('debate', goods.make_setup())
    episode = language.run(method.answer((), TEST[0], client))
    page = language.viewer(goods.transcripts([episode], 'debate'))
    self.assertNotIn('<script>', page)

  def test_no_episodes(self):
    with self.assertRaisesRegex(TypeError, r'episodes\[0\] must be a goods'):
      goods.transcripts(['x'], 'a')


class FailuresTest(parameterized.TestCase):
  def test_tasks_whose_request_failed_do_not_count(self):
    solve = goods.solver(floor=1.0, top=1.0)

    def script(chat):
      # All that is asked of some tasks fails.
      return None if ' 3 ' in chat.messages[-1]['content'] else solve(chat)

    broken = [t for t in TEST if ' 3 ' in t.question]
    self.assertBetween(len(broken), 1, len(TEST) - 1)
    result = run(lambda: fakes.Client(script))
    for row in result.rows:
      if row['split'] == 'test':
        self.assertEqual(row['failed'], len(broken))
        self.assertEqual(row['budget'], 0)
        # Never a silent zero.
        self.assertEqual(row['accuracy'], 1.0)

  def test_nothing_is_learned_where_all_fails(self):
    solve = goods.solver(floor=1.0, top=1.0)

    def script(chat):
      asked = ' '.join(m['content'] for m in chat.messages)
      return solve(chat) if any(t.question in asked for t in TEST) else None

    result = run(lambda: fakes.Client(script))
    start = experiment(lambda: fakes.Client(None)).init()
    a, b = (s[LEARNER][0]['method'] for s in (start, result.state))
    np.testing.assert_array_equal(
      a.agents.policy[0]['kernel'], b.agents.policy[0]['kernel']
    )
    self.assertEqual(int(b.updates), 3)
    tested = [r for r in result.rows if r['split'] == 'test']
    self.assertEqual({r['failed'] for r in tested}, {0.0})

  def test_nobody_answers(self):
    with self.assertRaisesRegex(language.NobodyAnswers, 'nobody answers'):
      run(lambda: fakes.Client(lambda chat: None))

  def test_stopped_early_nothing_is_asked(self):
    client = fakes.Client(lambda chat: 'The answer is 1.')
    spec = 'ppo(hidden=4, patience=1, window=1)'
    before = []

    class Count(runner.Sink):
      def write(self, rows):
        pass

      def tick(self, round):
        before.append(sum('Agent' in c[1] for c in client.asked))

    result = run(lambda: client, specs=(spec,), rounds=5, sinks=[Count()])
    train = [r for r in result.rows if r['split'] == 'train']
    self.assertEqual(train[-1]['stopped'], 1.0)
    # The tasks held back are still answered: two agents each.
    self.assertEqual(before[-1] - before[-2], 2 * len(TEST))


class ServedTest(parameterized.TestCase):
  """Over HTTP, with scripted models."""

  def setUp(self):
    super().setUp()
    self.server = self.enterContext(loopback.serve())
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def opener(self, model='goods_solver', mode=None, **options):
    def opened():
      cache = None
      if mode is not None:
        cache = language.Cache(self.folder / 'replies', mode)
      client = language.Client(
        language.Endpoint(model, base_url=self.server.base_url),
        cache=cache,
        backoff=0.001,
        **options,
      )
      # Also of a run that is cut short.
      self.addCleanup(lambda: language.run(client.aclose()))
      return client

    return opened

  def test_goes_on_after_a_kill_without_asking_twice(self):
    want = run(self.opener()).rows
    whole = self.server.num_requests
    config = {'store': None}
    for stopper in ([Stopper()], []):
      config['store'] = runner.Store(self.folder / 'run', seconds=0)
      sinks = [runner.Jsonl(self.folder / 'run' / 'metrics.jsonl'), *stopper]
      try:
        result = run(
          self.opener(mode='read_write'), sinks=sinks, store=config['store']
        )
      except Stop:
        continue
    self.assertEqual(result.rows, want)
    # The round that was lost is not asked again.
    self.assertEqual(self.server.num_requests, 2 * whole)

    before = self.server.num_requests
    replayed = run(self.opener(mode='replay_only'))
    self.assertEqual(replayed.rows, want)
    self.assertEqual(self.server.num_requests, before)

  def test_errors_that_another_attempt_mends(self):
    want = run(self.opener(), rounds=1).rows
    faults = 'rate_limited(share=0.2, retry_after=0.0)+failing(share=0.1)'
    found = run(self.opener(f'{faults}+goods_solver'), rounds=1).rows
    self.assertEqual(found, want)
    self.assertGreater(self.server.counts['rate_limited'], 5)

  def test_a_budget_ends_in_partial_results(self):
    clients = []

    def opened():
      clients.append(self.opener(budget_tokens=6000)())
      return clients[-1]

    with self.assertLogs(level='WARNING') as logs:
      result = run(opened)
    self.assertLessEqual(clients[0].ledger.total.tokens, 6000)
    rows = [r for r in result.rows if r['split'] == 'test']
    self.assertEqual({r['step'] for r in rows}, {0, 1, 2, 3})
    self.assertEqual(rows[0]['budget'], 0)
    self.assertGreater(rows[-2]['budget'], 0)
    self.assertIn('have no answer', ' '.join(logs.output))

  def test_a_meta_policy_raises_accuracy(self):
    # The protocol run in small: a model that is good at low temperatures.
    model = 'goods_solver(tokens=1, best=0.3, width=0.3, floor=0.0, top=1.0)'
    spec = "ppo(hidden=8, optimizer='adam(0.05)', sigma=(0.3, 0.1))"
    result = run(self.opener(model), specs=(spec,), rounds=12, batch_tasks=16)
    rows = [r for r in result.rows if r['split'] == 'test']
    self.assertGreater(rows[-1]['accuracy'], rows[0]['accuracy'] + 0.2)
    settings = [r for r in result.rows if r['split'] == 'settings']
    warm, cool = (
      np.mean([r['temperature'] for r in settings if r['step'] == t])
      for t in (0, 12)
    )
    self.assertLess(cool, warm - 0.05)


if __name__ == '__main__':
  absltest.main()
