# SPDX-License-Identifier: Apache-2.0
"""Scripted models: right as often as they say, and always the same."""

import json
import math

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl import language
from jaxdl.language import Chat, goods, loopback
from jaxdl.language.goods import _prompts

TASKS = goods.arithmetic_tasks(400, seed=5)


def quoted(task, answer, name='Agent-1'):
  return goods.Turn(0, 0, name, {}, f'The answer is {answer}.', answer, 0, 1)


def rate(script, seen=lambda task: (), reasoning=True, **settings):
  """How often a script is right, of 400."""
  right = []
  for task in TASKS:
    others = seen(task)
    if others:
      messages = _prompts.sequence_messages(
        task, 'Agent-2', 1, 3, others, 'full'
      )
    else:
      messages = _prompts.single_messages(task, reasoning=reasoning)
    text = script(Chat(messages, settings))
    right.append(goods.answer_of(task, text) == task.answer)
  return float(np.mean(right))


BEST = {'temperature': 0.4, 'max_tokens': 900}


class SolverTest(parameterized.TestCase):
  @parameterized.parameters(
    (BEST, 0.85),
    ({'temperature': 0.8, 'max_tokens': 900}, 0.1 + 0.75 * math.exp(-1)),
    ({'temperature': 0.4, 'max_tokens': 300}, 0.1 + 0.75 / 3),
    ({'temperature': 2.0, 'max_tokens': 900}, 0.1),
  )
  def test_right_as_often_as_its_settings_let_it(self, settings, want):
    # Four standard errors of 400 draws.
    self.assertAlmostEqual(rate(goods.solver(), **settings), want, delta=0.1)

  def test_others_help_or_harm(self):
    script = goods.solver(floor=0.3, top=0.3)
    wrong = lambda t: (quoted(t, str(int(t.answer) + 1)),)
    mixed = lambda t: (*wrong(t), quoted(t, t.answer, 'Agent-2'))
    self.assertAlmostEqual(rate(script), 0.3, delta=0.1)
    self.assertAlmostEqual(rate(script, wrong), 0.21, delta=0.1)
    self.assertAlmostEqual(rate(script, mixed), 0.72, delta=0.1)
    self.assertAlmostEqual(rate(script, reasoning=False), 0.24, delta=0.1)

  def test_the_same_for_the_same_chat(self):
    script, again = goods.solver(), goods.solver()
    messages = _prompts.single_messages(TASKS[0])
    texts = set()
    for t in np.linspace(0, 1, 40):
      chat = Chat(messages, {'temperature': float(t)})
      self.assertEqual(script(chat), again(chat))
      texts.add(script(chat))
    self.assertGreater(len(texts), 1)

  def test_seeds_differ(self):
    script = goods.solver(floor=0.5, top=0.5)
    messages = _prompts.single_messages(TASKS[0])
    texts = {script(Chat(messages, {'seed': k})) for k in range(20)}
    self.assertGreater(len(texts), 1)

  def test_other_questions(self):
    chat = Chat([{'role': 'user', 'content': 'Why?'}], {})
    self.assertEqual(goods.solver()(chat), 'I cannot solve this.')

  def test_settings_of_another_kind_are_ignored(self):
    messages = _prompts.single_messages(TASKS[0])
    settings = {'temperature': 'hot', 'max_tokens': None}
    self.assertIn('The answer is', goods.solver()(Chat(messages, settings)))

  @parameterized.parameters(
    ({'width': 0.0}, 'width must lie in'),
    ({'tokens': 0}, 'tokens must be at least 1'),
    ({'top': 1.1}, 'top must lie in'),
  )
  def test_bad_options(self, options, message):
    with self.assertRaisesRegex(ValueError, message):
      goods.solver(**options)

  def test_skill(self):
    found = goods.skill(0.7, 5000, best=0.5, width=0.2, tokens=900)
    self.assertAlmostEqual(found, math.exp(-1))
    found = goods.skill(0.5, -3, best=0.5, width=0.2, tokens=900)
    self.assertEqual(found, 0.0)


class ServedTest(parameterized.TestCase):
  def test_one_that_is_strict_refuses_what_others_let_pass(self):
    agents, task = goods.make_agents(1), TASKS[0]
    settings = {'temperature': 0.5, 'top_k': 40, 'repetition_penalty': 1.1}
    with loopback.serve() as server:

      def kind(model, allow):
        client = language.Client(
          language.Endpoint(model, base_url=server.base_url)
        )
        episode = language.run(
          goods.run_sequence(
            task,
            agents,
            client,
            decide=lambda i, position, seen: (settings, None),
            evaluator=goods.exact(),
            allow_extra_params=allow,
          )
        )
        language.run(client.aclose())
        return episode.kind, episode.error

      strict = 'goods_solver(strict=True)'
      self.assertEqual(kind(strict, False), ('ok', None))
      self.assertEqual(kind('goods_solver', True), ('ok', None))
      before = server.num_requests
      failed, error = kind(strict, True)
      self.assertEqual(failed, 'failed')
      self.assertIn('Unrecognized request argument: top_k', error)
      # It says so once: asking again would not mend it.
      self.assertEqual(server.num_requests, before + 1)

  def test_a_scripted_judge(self):
    with loopback.serve() as server:
      client = language.Client(
        language.Endpoint('goods_judge', base_url=server.base_url)
      )
      for answer, want in ((TASKS[0].answer, 1.0), ('-1', 0.25)):
        found = language.run(
          goods.rate(
            goods.judge(), TASKS[0], f'The answer is {answer}.', client
          )
        )
        self.assertEqual(found.value, want)
        self.assertTrue(found.replies[0].scripted)
      language.run(client.aclose())

  def test_a_noisy_judge(self):
    script = goods.marker(noise=0.5)
    marks = set()
    for task in TASKS[:20]:
      chat = Chat(goods_messages(task, f'The answer is {task.answer}.'), {})
      marks |= set(json.loads(script(chat)).values())
    self.assertEqual(marks, {4, 5})


def goods_messages(task, text):
  from jaxdl.language.goods import _evaluators

  return _evaluators.judge_messages(task, text)


if __name__ == '__main__':
  absltest.main()
