# SPDX-License-Identifier: Apache-2.0
"""Workflows of scripted models, over the network of this machine."""

import json
import os
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from jaxdl import language
from jaxdl.language import loopback, teams
from jaxdl.language.teams import (
  _forward,
  _items,
  _methods,
  _scripted,
  _starts,
  _workflow,
)

NODE = teams.Node


def two():
  """A workflow of two layers; the second sees the first's answer."""
  one = teams.Block(
    'one',
    (NODE('a', 'adder', 'check every number'), NODE('b', 'clerk', 'Count.')),
  )
  other = teams.Block('other', (NODE('c', 'converter', 'check units'),))
  return teams.make_workflow([one, other])


def items(seed=0):
  return _items.arithmetic(seed=seed, num_train=6, num_validation=4, num_test=2)


def worker(answer, confidence=1.0):
  return json.dumps({'answer': answer, 'confidence': confidence})


class EvolutionTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.asked = []
    self.replies = {}
    models = {'told': self.told}
    self.server = self.enter_context(loopback.serve(models=models))

  def told(self, chat):
    """Answers by the part of a chat, and remembers it."""
    part = chat.messages[0]['content'].split('\n')[0].removeprefix('Part: ')
    self.asked.append((part, chat.messages[-1]['content']))
    reply = self.replies.get(part, worker(1))
    return reply(chat) if callable(reply) else reply

  def client(self, model='workflow_agent', **options):
    options = {'max_attempts': 2, 'backoff': 0.0} | options
    return self.closing(
      language.Client(language.Endpoint(model, self.server.base_url), **options)
    )

  def closing(self, client):
    self.addCleanup(lambda: language.run(client.aclose()))
    return client

  def run_one(self, workflow, item=None, model='told', **options):
    item = item or teams.Item('i', 'How many?', 1, 'numeric')
    return language.run(
      teams.forward(item, workflow, self.client(model), **options)
    )

  def evolve(
    self, state=None, model='told', workflow=None, client=None, **more
  ):
    state = state or teams.start_evolution(workflow or two())
    client = client or self.client(model)
    more = {'train_batch': 3} | more
    return language.run(
      teams.evolve_step(state, more.pop('items', items()), client, **more)
    )

  # The forward phase.

  def test_layers_in_order_and_answers_handed_on(self):
    done = self.run_one(two(), items().test[0], model='workflow_agent')
    self.assertEqual(done.score, 1.0)
    self.assertEqual(done.blocks, ('one', 'other'))
    self.assertEqual(
      [(s.layer, s.agent) for s in done.steps], [(0, 'a'), (0, 'b'), (1, 'c')]
    )
    # The clerk gave no JSON twice: one repair, then no answer.
    self.assertIn('no JSON object', done.steps[1].error)
    self.assertAlmostEqual(done.failed_steps, 1 / 3)
    self.assertEqual(done.credits[0], {'a': 1.0})
    self.assertEqual(self.server.num_requests, 4)
    self.assertEqual(done.steps[2].input, done.outputs[0])

  def test_edges_and_chains_show_what_was_said(self):
    nodes = (NODE('a', 'x', 'p'), NODE('b', 'x', 'p'), NODE('c', 'x', 'p'))
    block = teams.Block('b', nodes, (('a', 'c'), ('b', 'c')))
    self.replies['worker'] = lambda chat: worker(
      1 + chat.messages[-1]['content'].count('Answer of')
    )
    done = self.run_one(teams.make_workflow([block]))
    self.assertEqual(done.output, 3)
    self.assertEqual(done.credits, ({'c': 1.0},))
    chain = block._replace(edges=(), aggregation='sequential')
    self.asked.clear()
    done = self.run_one(teams.make_workflow([chain]))
    self.assertEqual([s.output for s in done.steps], [1, 2, 2])
    self.assertEqual(done.output, 2)
    # A pipeline ends where an answer is missing.
    self.replies['worker'] = lambda chat: (
      'x' if 'Answer of' in chat.messages[1]['content'] else worker(1)
    )
    broken = block._replace(edges=(), aggregation='pipeline')
    done = self.run_one(teams.make_workflow([broken]))
    self.assertEqual(len(done.steps), 2)
    self.assertIsNone(done.output)
    self.assertEqual(done.score, 0.0)

  def test_judges_and_writers(self):
    nodes = (NODE('a', 'x', 'p'), NODE('b', 'x', 'p'))
    block = teams.Block('b', nodes, aggregation='best_of')
    answers = iter([1, 2] * 9)
    self.replies['worker'] = lambda chat: worker(next(answers))
    self.replies['judge'] = '{"agent": "b"}'
    done = self.run_one(teams.make_workflow([block]))
    self.assertEqual(done.credits, ({'b': 1.0},))
    self.replies['judge'] = '{"agent": "nobody"}'
    self.assertIn(self.run_one(teams.make_workflow([block])).output, (1, 2))
    self.replies['writer'] = '{"answer": 5}'
    write = block._replace(aggregation='concat_summarize')
    self.assertEqual(self.run_one(teams.make_workflow([write])).output, 5)

  def test_formats_are_asked_for_and_held(self):
    block = teams.Block('b', (NODE('a', 'x', 'p'),), format='number')
    self.replies['worker'] = worker('seven')
    done = self.run_one(teams.make_workflow([block]))
    self.assertIn('must be a number', done.steps[0].error)
    self.assertIn('must be a number', self.asked[-1][1])

  def test_routers(self):
    pool = [
      teams.Block(n, (NODE('a', 'x', f'as {n}'),)) for n in ('b0', 'b1', 'b2')
    ]
    workflow = teams.make_workflow([pool])
    self.replies['router'] = '{"layer": 0, "block_id": "b1", "why": "x"}'
    self.assertEqual(self.run_one(workflow, route='model').blocks, ('b1',))
    self.replies['router'] = '{"layer": 0, "block_id": "b9", "why": "x"}'
    workflow = _workflow.used(workflow, 0, 'b0', 0.1)
    done = self.run_one(workflow, route='model')
    self.assertEqual((done.blocks, done.fallbacks), (('b0',), 1))
    with self.assertRaisesRegex(ValueError, "route='best' is unknown"):
      self.run_one(workflow, route='best')

  # The backward phase.

  def patch(self, *edits, layer=0):
    keys = ('kind', 'target', 'value')
    return json.dumps(
      {
        'layer': layer,
        'edits': [dict(zip(keys, e, strict=True)) for e in edits],
      }
    )

  @parameterized.parameters(
    ('that is no JSON', 'malformed'),
    ((('set_prompt', 'z', 'x'),), 'connections'),
    ((('add_edge', 'a', 'z'),), 'connections'),
    ((('set_prompt', 'a', ' '),), 'schema'),
    ((('set_aggregation', '', 'rule(repeated_krum)'),), 'schema'),
    ((('add_edge', 'a', 'b'), ('add_edge', 'b', 'a')), 'structure'),
    ((('set_prompt', 'a', 'One.'),), 'structure'),
    ((), 'none'),
  )
  def test_patches_that_never_run(self, edits, want):
    block = teams.Block('b', (NODE('a', 'x', 'One.'), NODE('b', 'x', 'Two.')))
    self.replies['optimizer'] = (
      edits if isinstance(edits, str) else self.patch(*edits)
    )
    before = teams.start_evolution(teams.make_workflow([block]))
    after = self.evolve(before)
    self.assertEqual(after['counts'][want], 1)
    self.assertEqual(after['log'][-1]['verdict'], want)
    self.assertEqual(
      [[e['block_id'] for e in pool] for pool in after['workflow']['layers']],
      [['b']],
    )
    self.assertEqual(after['chosen'], before['chosen'])
    if want == 'malformed':
      self.assertEqual(after['log'][-1]['raw'], 'that is no JSON')
    workers = [p for p, _ in self.asked if p == 'worker']
    # Validation and a batch, no candidate.
    self.assertLen(workers, 2 * (4 + 3))

  def test_what_raises_the_loss_leaves_all_as_it_was_and_is_not_retried(self):
    block = teams.Block('b', (NODE('a', 'x', 'Right.'),))
    tasks = [
      teams.Item(f't{i}', f'{i} of them?', 1 if i % 2 else 2, 'numeric')
      for i in range(4)
    ]
    own = _items.Items(tuple(tasks), tuple(tasks), tuple(tasks))
    self.replies['worker'] = lambda chat: worker(
      1 if 'Right.' in chat.messages[0]['content'] else 0
    )
    self.replies['optimizer'] = self.patch(('set_prompt', 'a', 'Wrong.'))
    before = teams.start_evolution(teams.make_workflow([block]))
    once = self.evolve(before, items=own)
    self.assertEqual(once['counts']['worse'], 1)
    self.assertEqual((once['log'][-1]['old'], once['log'][-1]['new']), (0.5, 1))
    twice = self.evolve(once, items=own)
    self.assertEqual(twice['counts']['repeated'], 1)
    self.assertEqual(teams.blocks_of(twice), teams.blocks_of(before))
    # Without memory of what was refused it runs again.
    self.assertEqual(before['iteration'], 0)

  def test_replayed_tasks_stay_solved(self):
    block = teams.Block('b', (NODE('a', 'x', 'Old.'),))
    ask = lambda kind, n, answer: tuple(
      teams.Item(f'{kind}{i}', f'{kind} {i}?', answer, 'numeric')
      for i in range(n)
    )
    train = (*ask('easy', 1, 1), *ask('hard', 2, 2))
    own = _items.Items(train, ask('hard', 2, 2), ask('easy', 1, 1))
    self.replies['worker'] = lambda chat: worker(
      1 if 'Old.' in chat.messages[0]['content'] else 2
    )
    self.replies['optimizer'] = self.patch(('set_prompt', 'a', 'New.'))
    start = teams.start_evolution(teams.make_workflow([block]))
    kept = self.evolve(start, items=own)
    self.assertEqual(kept['replay'], ['easy0'])
    self.assertEqual(kept['counts']['breaks'], 1)
    free = self.evolve(start, items=own, method='ann(replay=0)')
    self.assertEqual(free['counts']['accepted'], 1)
    self.assertEqual(free['chosen'], ['b1'])
    self.assertEqual(free['workflow']['layers'][0][1]['loss'], 0.0)

  def test_momentum_shows_the_last_five_suggestions(self):
    block = teams.Block('b', (NODE('a', 'x', 'p'),))
    texts = iter(f'prompt {i}' for i in range(99))
    self.replies['optimizer'] = lambda chat: self.patch(
      ('set_prompt', 'a', next(texts))
    )
    for method, want in (('ann', 5), ('ann(alpha=1.0)', 0)):
      state = teams.start_evolution(teams.make_workflow([block]))
      for _ in range(7):
        state = self.evolve(state, method=method)
      last = [text for part, text in self.asked if part == 'optimizer'][-1]
      self.assertEqual(last.count('Earlier: '), want)

  def test_beta(self):
    block = teams.Block('b', (NODE('a', 'x', 'p'),))
    self.replies['critic'] = json.dumps(
      {'loss': 1, 'failing_layers': [0], 'summary': 'all wrong'}
    )
    self.replies['optimizer'] = self.patch()
    for beta, critics, has_global, has_local in (
      (0.0, 0, False, True),
      (0.5, 1, True, True),
      (1.0, 1, True, False),
    ):
      self.asked.clear()
      self.evolve(
        workflow=teams.make_workflow([block]), method=f'ann(beta={beta})'
      )
      parts = [part for part, _ in self.asked]
      self.assertEqual(parts.count('critic'), critics)
      asked = next(text for part, text in self.asked if part == 'optimizer')
      self.assertEqual('all wrong' in asked, has_global)
      self.assertEqual('Failure: ' in asked, has_local)

  def test_reaches_all_and_the_validation_loss_never_rises(self):
    state = teams.start_evolution(teams.arithmetic_workflow())
    own = _items.arithmetic(seed=1, num_validation=8, num_test=1)
    for _ in range(10):
      state = self.evolve(state, 'workflow_agent', items=own)
    self.assertEqual(state['stopped'], 'solved')
    losses = [e['new'] for e in state['log'] if e['verdict'] == 'accepted']
    self.assertEqual(losses, sorted(losses, reverse=True))
    self.assertEqual(losses[-1], 0.0)
    # A state is plain values.
    self.assertEqual(json.loads(json.dumps(state)), state)
    self.assertEqual(self.evolve(state)['chosen'], state['chosen'])

  def test_replays_ask_nobody_and_give_the_same(self):
    with tempfile.TemporaryDirectory() as folder:
      found = []
      for mode in ('read_write', 'replay_only'):
        client = self.client(cache=language.Cache(folder, mode))
        before = self.server.num_requests
        state = teams.start_evolution(teams.arithmetic_workflow())
        for _ in range(2):
          state = self.evolve(state, client=client)
        found.append((state, self.server.num_requests - before))
      self.assertEqual(found[0][0], found[1][0])
      self.assertGreater(found[0][1], 50)
      self.assertEqual(found[1][1], 0)

  def test_a_spent_budget_stops_with_what_there_is(self):
    client = self.client('workflow_agent', budget_tokens=6000)
    start = teams.start_evolution(teams.arithmetic_workflow())
    state = self.evolve(start, client=client)
    self.assertEqual(state['stopped'], 'budget')
    self.assertEqual(
      teams.blocks_of(state).keys(), teams.blocks_of(start).keys()
    )
    self.assertLessEqual(client.ledger.total.tokens, 6000)
    again = self.evolve(state, client=client)
    self.assertEqual(again['chosen'], state['chosen'])
    with self.assertRaisesRegex(ValueError, 'budget_tokens must be at least 1'):
      self.client(budget_tokens=0)

  def test_nobody_answers(self):
    key = 'sk-a-key-that-nobody-may-see'
    with mock.patch.dict(os.environ, {'OPENAI_API_KEY': key}):
      client = self.closing(
        language.Client(
          language.Endpoint('m', 'http://127.0.0.1:1/v1'), max_attempts=1
        )
      )
      state = self.evolve(client=client)
    self.assertIn('http://127.0.0.1:1/v1', state['stopped'])
    self.assertNotIn(key, json.dumps(state))

  def test_faults_lose_nothing(self):
    model = 'rate_limited(share=0.2)+workflow_agent'
    states = []
    for name in (model, 'workflow_agent'):
      client = self.client(name, max_attempts=8)
      states.append(
        self.evolve(
          teams.start_evolution(teams.arithmetic_workflow()), client=client
        )
      )
    self.assertEqual(states[0]['log'], states[1]['log'])
    self.assertEqual(states[0]['tokens'], states[1]['tokens'])

  def test_roles_have_models_of_their_own(self):
    roles = {
      role: language.Endpoint(model, self.server.base_url)
      for role, model in (
        ('worker', 'workflow_agent'),
        ('critic', 'told'),
        ('optimizer', 'told'),
      )
    }
    self.replies['optimizer'] = self.patch()
    self.evolve(
      client=self.closing(language.Client(roles)),
      workflow=teams.arithmetic_workflow(),
    )
    self.assertEqual({p for p, _ in self.asked}, {'critic', 'optimizer'})

  def test_the_best_agent_alone_and_its_majority(self):
    client = self.client()

    def start(method):
      made = _methods.method(method)
      return language.run(
        _starts.prepared(teams.arithmetic_workflow(), items(), client, made)
      )

    alone = [p[0].block.nodes for p in start('single').pools]
    self.assertEqual([len(n) for n in alone], [1, 1, 1])
    several = [p[0].block.nodes for p in start('majority').pools]
    self.assertEqual([len(n) for n in several], [3, 3, 3])
    with self.assertRaisesRegex(ValueError, "aggregation='vote' is unknown"):
      start('fixed(aggregation=vote)')
    named = start('fixed(aggregation=sequential)')
    self.assertEqual(named.pools[0][0].block.aggregation, 'sequential')

  def test_random_edits_need_no_critic(self):
    state = teams.start_evolution(teams.arithmetic_workflow())
    state = self.evolve(state, 'told', method='random_edits')
    self.assertEqual({p for p, _ in self.asked}, {'worker'})
    self.assertLen(state['log'], 3)

  @parameterized.parameters(
    ({'train_batch': 0}, 'train_batch must be at least 1'),
    ({'target': 0.0}, r'target must lie in \(0.0, 1.0\]'),
    ({'method': 'sgd'}, "is unknown: choose one of 'ann'"),
  )
  def test_bad_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      self.evolve(**options)


class ScriptsTest(parameterized.TestCase):
  def chat(self, text):
    return language.Chat(
      [{'role': 'system', 'content': 'Part: x'}]
      + [{'role': 'user', 'content': text}],
      {},
    )

  def test_draws_depend_on_the_chat_alone(self):
    shares = [
      _scripted.share_of(self.chat(f'{i}'), 'right') for i in range(400)
    ]
    self.assertEqual(shares[3], _scripted.share_of(self.chat('3'), 'right'))
    # Mean and variance of uniform numbers.
    self.assertAlmostEqual(sum(shares) / 400, 0.5, delta=0.06)
    self.assertBetween(sum(s < 0.6 for s in shares), 200, 280)

  def test_bad_probability(self):
    with self.assertRaisesRegex(ValueError, 'right must lie in'):
      _scripted.workflow_agent(right=1.5)

  def test_trajectories_show_one_layer_or_all(self):
    step = _forward.Step(1, 'a', 'in', 'out', 1.0, 'b', 3)
    done = _forward.Trajectory(
      item=teams.Item('i', 'q' * 900, 1),
      steps=(step._replace(layer=0), step),
      blocks=('b', 'b'),
      outputs=(1, 2),
      credits=({}, {}),
      score=0.0,
      tokens=6,
    )
    self.assertLen(done.shown()['steps'], 2)
    self.assertLen(done.shown(1)['steps'], 1)
    self.assertLess(len(done.shown()['task']), 700)
    self.assertEqual(done.loss, 1.0)


if __name__ == '__main__':
  absltest.main()
