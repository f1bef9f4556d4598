# SPDX-License-Identifier: Apache-2.0
"""Networks of agents as a binary: replays, kills, budgets, files, mistakes."""

import dataclasses
import json
import os
import pathlib
import tempfile
from unittest import mock

import networkx
from absl.testing import absltest, parameterized

from experiments import agentsnet
from jaxdl import language
from jaxdl.experiment import config as config_lib, runner
from jaxdl.language import agentsnet as net, loopback

TINY = agentsnet.Config(
  solvers=('llm',),
  tasks=('consensus',),
  families=('ring', 'star'),
  num_nodes=(4,),
  num_rounds=2,
  rounds='2',
)
# Agents, rounds of messages and one answer, two families, two samples.
CALLS = 4 * (2 + 1) * 2 * 2


def lines(folder):
  return (pathlib.Path(folder) / 'replies.jsonl').read_text().splitlines()


class Killed(BaseException):
  pass


class RunTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.enter_context(tempfile.TemporaryDirectory())
    self.servers = []
    serve = loopback.serve

    def noted(**options):
      self.servers.append(serve(**options))
      return self.servers[-1]

    self.enter_context(mock.patch.object(loopback, 'serve', noted))

  def requests(self):
    count = sum(server.num_requests for server in self.servers)
    self.servers.clear()
    return count

  def test_as_many_calls_as_the_protocol_says_and_none_in_a_replay(self):
    config = dataclasses.replace(TINY, cache_dir=self.folder)
    rows = agentsnet.run(config).rows
    self.assertEqual(self.requests(), CALLS)
    self.assertEqual(sum(row['calls'] for row in rows), CALLS)
    self.assertLen(rows, 4)
    for row in rows:
      self.assertEqual((row['scripted'], row['stopped']), (1, 0))
      self.assertEqual(
        row['messages'], 2 * 2 * (4 if row['family'] == 'ring' else 3)
      )
    replay = dataclasses.replace(config, cache_mode='replay_only')
    self.assertEqual(agentsnet.run(replay).rows, rows)
    self.assertEmpty(self.servers)
    with self.assertRaisesRegex(language.MissingReply, 'did not ask this'):
      agentsnet.run(dataclasses.replace(replay, rounds='3'))

  def test_a_killed_run_asks_nothing_twice(self):
    config = dataclasses.replace(TINY, cache_dir=self.folder, max_concurrency=2)
    put, count = language.Cache.put, []

    def dying(*args):
      put(*args)
      count.append(1)
      if len(count) == CALLS // 2 + 5:
        raise Killed

    with (
      mock.patch.object(language.Cache, 'put', dying),
      self.assertRaises(Killed),
    ):
      agentsnet.run(config)
    known, first = len(lines(self.folder)), self.requests()
    self.assertGreaterEqual(known, CALLS // 2 + 5)
    rows = agentsnet.run(config).rows
    self.assertEqual(self.requests(), CALLS - known)
    self.assertLessEqual(first, known + 2)
    keys = [json.loads(line)['key'] for line in lines(self.folder)]
    self.assertLen(set(keys), CALLS)
    self.assertEqual(rows, agentsnet.run(TINY).rows)

  def test_a_spent_budget_is_said(self):
    config = dataclasses.replace(TINY, budget_tokens=12_000)
    result = agentsnet.run(config)
    tokens = sum(row['tokens'] for row in result.rows if 'tokens' in row)
    self.assertLessEqual(tokens, 12_000)
    stopped = [row for row in result.rows if row['stopped']]
    self.assertNotEmpty(stopped)
    for row in stopped:
      self.assertNotIn('score', row)
    ((*_, cell, _, spent),) = result.experiment.table(result.rows)[1]
    self.assertIn(f'{len(stopped)} stopped', cell)
    self.assertIn('(scripted)', spent)

  def test_a_spent_budget_is_replayed(self):
    config = dataclasses.replace(
      TINY, budget_tokens=9_000, cache_dir=self.folder, max_concurrency=1
    )
    rows = agentsnet.run(config).rows
    self.assertTrue(any(row['stopped'] for row in rows))
    self.assertGreater(self.requests(), 0)
    self.assertEqual(agentsnet.run(config).rows, rows)
    again = dataclasses.replace(config, cache_mode='replay_only')
    self.assertEqual(agentsnet.run(again).rows, rows)
    self.assertEqual(self.requests(), 0)

  def test_a_run_leaves_transcripts_and_a_page(self):
    config = dataclasses.replace(TINY, workdir=self.folder)
    done = runner.record(config, agentsnet.run, name='agentsnet')
    found = sorted((done.workdir / 'transcripts').iterdir())
    self.assertEqual(
      [path.name for path in found],
      [f'round{t}_solver1_consensus_{k}.json' for t in (1, 2) for k in (1, 2)],
    )
    transcript = language.read_transcript(found[0])
    self.assertTrue(transcript.scripted)
    self.assertEqual(transcript.model, 'classical as llm')
    names = list(transcript.answers)
    self.assertNotEqual(names, list(language.read_transcript(found[1]).answers))
    first, second = (
      m[name] for m in transcript.sent[:1] for name in ('source', 'target')
    )
    said = net.conversation(transcript, first, second).splitlines()
    self.assertLen(said, 4)
    page = (done.workdir / 'viewer.html').read_text()
    for path in found:
      self.assertIn(path.stem, page)
    self.assertIn('scripted', page)
    self.assertLen(lines(done.workdir / 'replies'), CALLS)
    self.assertEqual(
      {path.name for path in done.plots},
      {'score_by_task.png', 'solved_by_task.png', 'tokens.png'},
    )

  def test_keys_are_in_no_file(self):
    key = 'sk-test-0123456789abcdefghij'
    with loopback.serve() as server:
      config = dataclasses.replace(
        TINY,
        workdir=self.folder,
        base_url=server.base_url,
        model='classical',
        num_rounds=1,
      )
      with mock.patch.dict(os.environ, {'OPENAI_API_KEY': key}):
        runner.record(config, agentsnet.run, name='agentsnet')
      self.assertEqual(server.num_requests, CALLS // 2)
    files = [p for p in pathlib.Path(self.folder).rglob('*') if p.is_file()]
    self.assertGreater(len(files), 5)
    for path in files:
      self.assertNotIn(key.encode(), path.read_bytes(), path)

  def test_networks_of_a_file_are_played(self):
    path = pathlib.Path(self.folder) / 'graphs.json'
    graph = net.named(networkx.path_graph(['Ann', 'Bo', 'Cy']))
    net.write_graphs(path, [graph, net.make_graph('star', 5, 0)])
    config = agentsnet.Config(
      graph_file=str(path),
      num_rounds=2,
      solvers=('classical', 'constant'),
      tasks=('vertex_cover',),
    )
    result = agentsnet.run(config)
    kept = [(r['variant'], r['num_nodes'], r['score']) for r in result.rows]
    # All three of a path: none but the middle is needed. A star: none is.
    self.assertEqual(
      kept,
      [
        *(('classical', 3, 1.0), ('constant', 3, 0.0)),
        *(('classical', 5, 1.0), ('constant', 5, 0.0)),
      ],
    )
    with self.assertRaisesRegex(
      ValueError, 'graph_file=.* there are 2 networks: give --num_rounds=2'
    ):
      dataclasses.replace(config, num_rounds=3)

  def test_a_solver_plays_what_it_solves(self):
    config = agentsnet.Config(
      solvers=('classical(algorithm=luby)', 'constant'),
      tasks=('vertex_cover', 'consensus'),
      families=('ring',),
      num_nodes=(4,),
      num_rounds=1,
    )
    result = agentsnet.run(config)
    self.assertEqual(
      [(r['variant'], r['task']) for r in result.rows],
      [
        ('classical(algorithm=luby)', 'vertex_cover'),
        ('constant', 'vertex_cover'),
        ('constant', 'consensus'),
      ],
    )
    (luby, constant) = result.experiment.table(result.rows)[1]
    self.assertEqual((luby[3], luby[4]), ('-', '-'))
    self.assertEqual(
      constant[2:5], ('0.000, 0% solved', '1.000, 100% solved', '0.500')
    )


class MistakesTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'rounds': '0'}, "--rounds=0 must be 'auto' or a number of at least 1"),
    ({'rounds': '9' * 5000}, "--rounds=9{20}... must be 'auto' or a number"),
    ({'rounds': 'few'}, "--rounds=few must be 'auto' or a number"),
    ({'tasks': ('colouring',)}, "--tasks='colouring' is unknown.*'coloring'"),
    ({'families': ('wz',)}, "--families='wz' is unknown.*'ws'"),
    ({'tasks': ('matching()',)}, "--tasks='matching..' is unknown"),
    ({'solvers': ('llm(model=())',)}, 'must be the name of a model'),
    ({'num_nodes': (1,)}, '--num_nodes must be at least 2; got 1'),
    (
      {'families': ('ba',), 'num_nodes': (2,)},
      'num_nodes=2 is too small for ba',
    ),
    ({'num_nodes': (3,)}, 'num_nodes=3 is too small for ws of degree=4'),
    (
      {'families': ('erdos_renyi(probability=0.01)',)},
      '--families=erdos.* --num_nodes=4,8,16: .*no connected graph',
    ),
    (
      {'solvers': ('llm(model=clasical)',)},
      "'clasical' is unknown.*'classical'",
    ),
    (
      {'base_url': 'http://localhost:1/v1'},
      '--solvers=llm --base_url=http://localhost:1/v1: .*model must be the',
    ),
    ({'base_url': 'nowhere', 'model': 'm'}, 'base_url must be an address'),
    (
      {'solvers': ('classical(algorithm=luby)',), 'tasks': ('coloring',)},
      '--solvers=classical.algorithm=luby. solves none of --?tasks=coloring',
    ),
    ({'graph_file': '/nowhere.json'}, '--graph_file=/nowhere.json: .*expected'),
    ({'solvers': ('llm', 'llm')}, '--solvers must differ'),
  )
  def test_are_told_with_their_flags(self, changes, want):
    with self.assertRaises(ValueError) as caught:
      agentsnet.Config(**changes)
    said = config_lib.as_flags(agentsnet.Config, str(caught.exception))
    self.assertRegex(said, want)

  def test_there_must_be_something_to_replay(self):
    config = dataclasses.replace(TINY, cache_mode='replay_only')
    with self.assertRaisesRegex(ValueError, 'replay_only needs a folder'):
      agentsnet.build(config)
    with (
      tempfile.TemporaryDirectory() as folder,
      self.assertRaisesRegex(ValueError, 'has nothing to replay'),
    ):
      agentsnet.build(dataclasses.replace(config, cache_dir=folder))

  def test_a_key_is_asked_for_before_anything_is_done(self):
    config = dataclasses.replace(TINY, base_url=None, model='m')
    with (
      mock.patch.dict(os.environ),
      self.assertRaisesRegex(ValueError, 'OPENAI_API_KEY'),
    ):
      os.environ.pop('OPENAI_API_KEY', None)
      agentsnet.build(config)


if __name__ == '__main__':
  absltest.main()
