# SPDX-License-Identifier: Apache-2.0
"""Runs of the protocol over a socket: who hears what when, and what goes wrong.

Sums and scores are counted by hand; replies come from scripts of this file.
"""

import asyncio
import json
import pathlib
import tempfile

import networkx
from absl.testing import absltest, parameterized

from jaxdl import language
from jaxdl.language import loopback
from jaxdl.language.agentsnet import (
  _agents,
  _graphs,
  _parsing,
  _reading,
  _run,
)

PATH = _graphs.named(networkx.path_graph(['Ann', 'Bo', 'Cy', 'Di']))
ANSWER = _parsing.MARKER


def talkative(chat):
  """Tells neighbors the round, and what has been heard; answers Yes."""
  seen = _reading.read_chat(chat.messages)
  if seen.answering:
    return f'{ANSWER} Yes'
  told = {'round': len(seen.received) + 1, 'heard': seen.received[-1:]}
  return json.dumps(dict.fromkeys(seen.neighbors, json.dumps(told)))


def clumsy(chat):
  """Its first replies cannot be read; Cy's never, Di cannot answer."""
  seen = _reading.read_chat(chat.messages)
  repairing = chat.messages[-1]['content'].startswith('Your last reply')
  if seen.name == 'Cy' and not seen.answering:
    return '{"Eve": "hi"}'
  if seen.name == 'Di' and seen.answering:
    return 'I do not know.'
  return talkative(chat) if repairing else 'Let me see ...'


def rude(chat):
  """Writes to everybody."""
  seen = _reading.read_chat(chat.messages)
  if seen.answering:
    return f'{ANSWER} No'
  return json.dumps(dict.fromkeys(('Ann', 'Bo', 'Cy', 'Di'), 'x'))


def hostile(chat):
  """Sends and answers what pages, terminals and files should not take."""
  seen = _reading.read_chat(chat.messages)
  if seen.answering:
    return f'<img src=x onerror=alert(1)> {ANSWER} No'
  text = '</td><script>alert(1)</script> ../../etc/passwd \x1b[2J'
  return json.dumps(dict.fromkeys(seen.neighbors, text))


SCRIPTS = {
  'hostile': hostile,
  'talkative': talkative,
  'clumsy': clumsy,
  'rude': rude,
}


class RunTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.server = cls.enterClassContext(loopback.serve(models=SCRIPTS))

  def client(self, model, **options):
    options = {'backoff': 0.0, 'max_attempts': 2} | options
    found = language.Client(
      language.Endpoint(model, base_url=self.server.base_url), **options
    )
    self.addCleanup(lambda: language.run(found.aclose()))
    return found

  def play(self, model, *, task='vertex_cover', rounds=3, **options):
    client = self.client(model, **options)
    agents = _agents.llm_agents(client)
    before = self.server.num_requests
    found = language.run(_run.run_instance(agents, PATH, task, rounds))
    return found, client, self.server.num_requests - before

  def test_there_are_as_many_calls_as_the_protocol_says(self):
    found, client, requests = self.play('talkative')
    self.assertEqual(found.total('calls'), 4 * (3 + 1))
    self.assertEqual(requests, 4 * (3 + 1))
    self.assertEqual([r.calls for r in found.records], [4] * 4)
    self.assertEqual(sum(row.calls for row in client.usage), 16)
    self.assertEqual(
      {row.label for row in client.usage},
      {f'vertex_cover/{name}' for name in ('Ann', 'Bo', 'Cy', 'Di')},
    )
    self.assertEqual(
      sum(row.tokens for row in client.usage),
      found.total('prompt_tokens') + found.total('completion_tokens'),
    )
    self.assertTrue(found.scripted)
    # All nodes of a path of four: no member can be spared but the ends.
    self.assertEqual(found.answers, ('Yes',) * 4)
    self.assertEqual(found.score, 0.0)

  def test_what_is_delivered_was_sent_the_step_before(self):
    found, *_ = self.play('talkative')
    self.assertLen(found.sent, 3 * 2 * 3)
    for message in found.sent:
      self.assertIn(
        (message.source, message.target),
        {*PATH.edges, *((b, a) for a, b in PATH.edges)},
      )
      self.assertEqual(json.loads(message.text)['round'], message.round)
    # Bo hears of both neighbors in each of three deliveries.
    seen = _reading.read_chat(found.chats[1])
    for number, received in enumerate(seen.received, start=1):
      self.assertEqual(list(received), ['Ann', 'Cy'])
      for text in received.values():
        self.assertEqual(json.loads(text)['round'], number)
    self.assertLen(seen.received, 3)
    # Information of Ann has reached Di after three hops, at the very end.
    at_the_end = json.loads(
      _reading.read_chat(found.chats[3]).received[-1]['Cy']
    )
    from_bo = json.loads(at_the_end['heard'][0]['Bo'])
    self.assertIn('Ann', from_bo['heard'][0])

  def test_who_is_no_neighbor_gets_nothing(self):
    found, *_ = self.play('rude', rounds=2)
    self.assertLen(found.sent, 2 * 2 * 3)
    # Each writes to all four: Ann and Di reach one, Bo and Cy two.
    self.assertEqual(found.ignored, 2 * (3 + 2 + 2 + 3))
    self.assertEqual(found.total('repairs'), 0)

  def test_replies_are_repaired_once(self):
    found, _, requests = self.play('clumsy', rounds=2)
    self.assertEqual([r.calls for r in found.records], [6] * 4)
    self.assertEqual(requests, 24)
    self.assertEqual([r.repairs for r in found.records], [3] * 4)
    # Cy sends nothing in two rounds; Di gives no answer.
    self.assertEqual([r.failures for r in found.records], [0, 0, 2, 1])
    self.assertEqual(found.answers, ('Yes', 'Yes', 'Yes', None))
    self.assertNotIn(2, {m.source for m in found.sent})
    self.assertIn('sent you nothing: ["Cy"]', found.chats[3][-4]['content'])
    # The chat goes on with what was said.
    roles = [m['role'] for m in found.chats[0]]
    self.assertEqual(roles, ['system', *['user', 'assistant'] * 6])
    self.assertEqual(found.chats[0][2]['content'], 'Let me see ...')
    self.assertIn(
      'there is no JSON object in it.', found.chats[0][3]['content']
    )
    self.assertIn("has the key 'Eve'", found.chats[2][3]['content'])

  def test_broken_replies_of_a_fault_are_repaired(self):
    found, *_ = self.play('malformed(every=3)+talkative', rounds=5)
    self.assertGreater(found.total('repairs'), 0)
    self.assertEqual(found.total('failures'), 0)
    whole, *_ = self.play('talkative', rounds=5)
    self.assertEqual(found.sent, whole.sent)
    self.assertEqual(
      found.total('calls'), whole.total('calls') + found.total('repairs')
    )

  def test_an_endpoint_that_fails_leaves_agents_silent(self):
    found, _, requests = self.play('failing(share=1.0)+talkative', rounds=1)
    self.assertEqual(requests, 4 * 2 * 2)
    self.assertEqual(found.total('attempts'), 4 * 2 * 2)
    self.assertEqual([r.lost for r in found.records], [2] * 4)
    self.assertEqual([r.failures for r in found.records], [0] * 4)
    self.assertEqual(found.answers, (None,) * 4)
    self.assertEqual((found.score, found.stopped), (0.0, False))
    self.assertIn('status 500', found.records[0].error)

  def test_failures_that_pass_change_nothing(self):
    found, _, requests = self.play(
      'failing(share=0.2)+rate_limited(share=0.1)+talkative', max_attempts=20
    )
    whole, *_ = self.play('talkative')
    self.assertEqual(found.sent, whole.sent)
    self.assertEqual(found.chats, whole.chats)
    self.assertEqual(found.total('attempts'), requests)
    self.assertGreater(requests, 16)

  def test_it_does_not_matter_who_is_fast(self):
    for most in (1, 3):
      found, *_ = self.play('talkative', max_concurrency=most)
      whole, *_ = self.play('talkative')
      self.assertEqual(found.chats, whole.chats)

  def test_a_run_is_replayed_without_a_request(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    first, _, requests = self.play('clumsy', cache=language.Cache(folder))
    self.assertGreater(requests, 0)
    again, _, requests = self.play('clumsy', cache=language.Cache(folder))
    replay = language.Cache(folder, mode='replay_only')
    last, client, none = self.play('clumsy', cache=replay)
    self.assertEqual((requests, none), (0, 0))
    for found in (again, last):
      for name in ('answers', 'score', 'sent', 'chats'):
        self.assertEqual(getattr(found, name), getattr(first, name))
      for name in ('calls', 'repairs', 'prompt_tokens', 'scripted'):
        self.assertEqual(found.total(name), first.total(name))
    self.assertEqual(sum(row.cached for row in client.usage), 4 * 8)
    with self.assertRaisesRegex(language.MissingReply, 'label .vertex_cover/'):
      language.run(
        _run.run_instance(
          _agents.llm_agents(client), PATH, 'vertex_cover', 3, seed=1
        )
      )

  def test_a_spent_budget_stops_a_run(self):
    found, client, requests = self.play(
      'talkative', rounds=5, budget_tokens=12_000
    )
    self.assertTrue(found.stopped)
    self.assertIsNone(found.score)
    self.assertFalse(found.solved)
    self.assertEqual(found.answers, (None,) * 4)
    self.assertLess(requests, 24)
    self.assertLessEqual(sum(row.tokens for row in client.usage), 12_000)
    self.assertEqual(found.total('lost'), 0)

  def test_agents_may_be_of_several_kinds(self):
    client = self.client('rude')
    told = []

    class Quiet:
      def __init__(self, place):
        self.place, self.record, self.chat = place, _agents.Record(), []

      async def send(self, number, received):
        told.append((number, dict(received)))
        return {}

      async def answer(self, received):
        return 'Yes'

    makers = [
      _agents.llm_agents(client),
      lambda place, seed: Quiet(place),
    ] * 2
    found = language.run(_run.run_instance(makers, PATH, 'vertex_cover', 2))
    self.assertEqual(found.answers, ('No', 'Yes', 'No', 'Yes'))
    self.assertEqual(found.score, 1.0)
    self.assertTrue(found.solved)
    self.assertIn((1, {'Ann': 'x', 'Cy': 'x'}), told)
    transcript = _run.transcript_of(found, 'mixed')
    self.assertEqual(list(transcript.chats), ['Ann', 'Cy'])

  def test_several_networks_run_side_by_side(self):
    agents = _agents.llm_agents(self.client('talkative'))
    ended = []
    found = language.run(
      _run.run_instances(
        agents,
        [(PATH, 'vertex_cover', r, 0) for r in (1, 2)],
        done=lambda i, outcome: ended.append((i, outcome.rounds)),
      )
    )
    self.assertEqual([f.rounds for f in found], [1, 2])
    self.assertEqual(sorted(ended), [(0, 1), (1, 2)])

  def test_settings_reach_the_model(self):
    seen = []

    def note(chat):
      seen.append(dict(chat.settings))
      return talkative(chat)

    with loopback.serve(models={'note': note}) as server:
      client = language.Client(
        language.Endpoint('note', base_url=server.base_url)
      )
      for settings in ({'temperature': 0.5}, {'seed': None}):
        agents = _agents.llm_agents(client, settings=settings)
        language.run(_run.run_instance(agents, PATH, 'vertex_cover', 1, seed=7))
      language.run(client.aclose())
    self.assertEqual(seen[:8], [{'seed': 7, 'temperature': 0.5}] * 8)
    self.assertEqual(seen[8:], [{}] * 8)

  def test_transcripts_have_it_all(self):
    found, *_ = self.play('talkative', rounds=1)
    transcript = _run.transcript_of(found, 'a-run', model='talkative')
    folder = self.enter_context(tempfile.TemporaryDirectory())
    path = language.write_transcript(folder, transcript)
    self.assertEqual(path, pathlib.Path(folder) / 'a-run.json')
    back = language.read_transcript(path)
    self.assertEqual(
      back.answers, dict.fromkeys(('Ann', 'Bo', 'Cy', 'Di'), 'Yes')
    )
    self.assertEqual(back.score, found.score)
    self.assertEqual(back.info['calls'], 8)
    self.assertEqual((back.info['rounds'], back.info['seed']), (1, 0))
    self.assertTrue(back.scripted)
    self.assertLen(back.graph['edges'], 3)
    said = _run.conversation(back, 'Bo', 'Ann').split('\n')
    self.assertLen(said, 2)
    self.assertStartsWith(said[0], '1  Ann to Bo: {"round": 1')
    self.assertEqual(
      _run.conversation(back, 'Ann', 'Di'), 'They sent each other nothing.'
    )
    with self.assertRaisesRegex(ValueError, "agent='Eve'.* is unknown.*'Ann'"):
      _run.conversation(back, 'Ann', 'Eve')

  def test_what_models_say_is_escaped_on_the_page(self):
    found, *_ = self.play('hostile', rounds=1)
    self.assertLen(found.sent, 6)
    page = language.viewer(_run.transcript_of(found, 'hostile'))
    self.assertIn('&lt;script&gt;', page)
    for tag in ('<script', '<img', '\x1b'):
      self.assertNotIn(tag, page)

  def test_conversations_cannot_draw_on_a_terminal(self):
    found, *_ = self.play('talkative', rounds=1)
    sent = (_run.Message(1, 0, 1, 'a\x1b[2J\nb'),)
    transcript = _run.transcript_of(found._replace(sent=sent), 'x')
    said = _run.conversation(transcript, 'Ann', 'Bo')
    self.assertEqual(said, '1  Ann to Bo: a [2J b')


class MistakesTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'task': 'colouring'}, "task='colouring' is unknown.*mean 'coloring'"),
    ({'rounds': 0}, 'rounds must be at least 1; got 0'),
    ({'rounds': 2**40}, 'rounds must be at most 1000000; got 1099511627776'),
    ({'rounds': 'many'}, "rounds must be an integer; got 'many'"),
    ({'seed': -1}, 'seed must be at least 0; got -1'),
    ({'agents': []}, 'one for each of 4 nodes; got 0'),
    ({'graph': networkx.Graph([(0, 1), (2, 3)])}, 'must be connected'),
    ({'graph': networkx.empty_graph(1)}, 'two nodes or more; got 1'),
    ({'graph': networkx.path_graph(3)}, 'no name of node 0'),
  )
  def test_are_told_before_anybody_is_asked(self, changes, want):
    def never(place, seed):
      self.fail('somebody was asked')

    given = {'agents': never, 'graph': PATH, 'task': 'matching'} | changes
    rounds = given.pop('rounds', 'auto')
    seed = given.pop('seed', 0)
    with self.assertRaisesRegex((ValueError, TypeError), want):
      asyncio.run(_run.run_instance(*given.values(), rounds, seed=seed))

  def test_names_must_differ(self):
    with self.assertRaisesRegex(ValueError, 'must be distinct'):
      _graphs.named(networkx.path_graph(2), ['Ann', 'Ann'])

  def test_answers_are_one_for_each_node(self):
    with self.assertRaisesRegex(ValueError, 'one for each of 4 nodes; got 3'):
      _run.score_answers('consensus', PATH, ['0', '0', '0'])

  def test_models_need_an_address_or_a_key(self):
    with self.assertRaisesRegex(ValueError, 'JAXDL_NO_SUCH_KEY'):
      language.Client(language.Endpoint('m', api_key_env='JAXDL_NO_SUCH_KEY'))
    with self.assertRaisesRegex(ValueError, 'model must be a name'):
      language.Endpoint('', base_url='http://localhost:1/v1')


if __name__ == '__main__':
  absltest.main()
