# SPDX-License-Identifier: Apache-2.0
"""Nodes that speak over a socket answer as one program does, to the bit."""

import functools

import jax
import networkx
import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import language
from jaxdl.language import loopback
from jaxdl.language.agentsnet import (
  _agents,
  _algorithms,
  _batch,
  _graphs,
  _reading,
  _run,
  _run_sync,
  _spoken,
  _tasks,
)

GRAPHS = (
  _graphs.make_graph('dt', 6, 410),
  _graphs.make_graph('star', 4, 0),
)
SEEDS, ROUNDS = (0, 5), 4
PAIRS = [
  (task, algorithm)
  for task in _tasks.TASKS
  for algorithm in _algorithms.algorithms_for(task)
  if algorithm not in ('constant', 'random') or task == 'matching'
]


class SpokenTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.server = cls.enterClassContext(loopback.serve())
    cls.batch = _batch.batch_graphs(GRAPHS)

  def instances(self, task):
    return [(g, task, ROUNDS, s) for s in SEEDS for g in GRAPHS]

  def asked(self, model, task, instances=None):
    client = language.Client(
      language.Endpoint(model, base_url=self.server.base_url)
    )
    agents = _agents.llm_agents(client)
    instances = instances or self.instances(task)
    found = language.run(_run.run_instances(agents, instances))
    language.run(client.aclose())
    return found

  @parameterized.parameters(*PAIRS)
  def test_answers_are_those_of_the_program(self, task, algorithm):
    keys = jax.numpy.stack([jax.random.key(s) for s in SEEDS])
    codes = _run_sync.run_sync(
      algorithm, task, self.batch, key=keys, rounds=ROUNDS
    )
    score = jax.jit(functools.partial(_tasks.score, task))
    scores = np.asarray(score(self.batch, codes)).ravel()
    codes = np.asarray(codes).reshape(len(SEEDS) * len(GRAPHS), -1)
    found = self.asked(f'classical(algorithm={algorithm})', task)
    agents = _agents.algorithm_agents(algorithm)
    spoken = language.run(_run.run_instances(agents, self.instances(task)))
    self.assertLen(found, len(codes))
    for i, outcome in enumerate(found):
      n = len(outcome.graph)
      want = _tasks.decode(task, outcome.graph, codes[i][:n].tolist())
      self.assertEqual(outcome.answers, want)
      self.assertEqual(
        outcome.score, _run.score_answers(task, outcome.graph, want)
      )
      # Quotients of another program differ in the last bit, but for 1.
      self.assertAlmostEqual(outcome.score, scores[i], places=6)
      self.assertEqual(outcome.solved, scores[i] == 1)
      self.assertEqual(spoken[i].answers, want)
      self.assertEqual(spoken[i].sent, outcome.sent)
      self.assertEqual(outcome.total('repairs'), 0)
      self.assertEqual(outcome.total('calls'), n * (outcome.rounds + 1))
      self.assertEqual(spoken[i].total('calls'), 0)

  @parameterized.parameters(*_tasks.TASKS)
  def test_auto_plays_every_task_in_text(self, task):
    # As many rounds as the diameter are enough to flood.
    (outcome,) = self.asked('classical', task, [(GRAPHS[1], task, 3, 1)])
    self.assertNotIn(None, outcome.answers)
    self.assertTrue(outcome.scripted)
    if task in ('consensus', 'leader_election', 'vertex_cover'):
      self.assertTrue(outcome.solved)

  def test_what_is_no_message_was_not_heard(self):
    seen = _reading.Seen('Ann', ('Bo', 'Cy'), 3, 'consensus', 3, 0, (), False)
    first = _spoken.speak('flooding', seen)
    nothing = _spoken.speak('flooding', seen._replace(received=({},)))
    self.assertEqual(nothing, first)
    for text in (
      '1073741823 1\n',
      '',
      'hello',
      '1',
      '1 2 3',
      '1  2',
      '9' * 11,
      '1 3000000000',
      '1.5 0',
      '\u0661 0\n',
      '0x1 0',
    ):
      box = {'Bo': text, 'Eve': '1073741823 1'}
      said = _spoken.speak('flooding', seen._replace(received=(box,)))
      self.assertEqual(said, first, text)
    loud = _spoken.speak(
      'flooding', seen._replace(received=({'Bo': '1073741823 1'},))
    )
    said = dict.fromkeys(('Bo', 'Cy'), '1073741823 1')
    self.assertEqual(loud, (said, '1'))

  def test_others_may_say_nothing(self):
    # Half of the nodes are silent models: the rest still answers.
    model = ('classical', 'silent')
    clients = {
      m: language.Endpoint(m, base_url=self.server.base_url) for m in model
    }
    client = language.Client(clients)
    makers = [_agents.llm_agents(client, role=model[i % 2]) for i in range(4)]
    found = language.run(
      _run.run_instance(makers, GRAPHS[1], 'vertex_cover', 3)
    )
    self.assertNotIn(None, found.answers)
    self.assertEqual(found.answers[1::2], ('Yes',) * 2)
    self.assertEqual({m.source % 2 for m in found.sent}, {0})
    language.run(client.aclose())

  def test_mumbling_models_give_no_answers(self):
    only = [(GRAPHS[0], 'coloring', 2, 0)]
    (found,) = self.asked('mumbling', 'coloring', only)
    self.assertEqual(found.answers, (None,) * 6)
    self.assertEqual(found.score, 0.0)
    self.assertEqual(found.total('failures'), 6 * 3)

  def test_wrong_algorithms_are_refused(self):
    graph = _graphs.named(networkx.path_graph(['Ann', 'Bo']))
    with self.assertRaisesRegex(ValueError, "algorithm='luby' does not solve"):
      language.run(
        _run.run_instance(_agents.algorithm_agents('luby'), graph, 'coloring')
      )
    with self.assertRaisesRegex(ValueError, "'lubi'.* is unknown.*'luby'"):
      loopback.make_model('classical(algorithm=lubi)')


if __name__ == '__main__':
  absltest.main()
