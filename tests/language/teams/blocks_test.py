# SPDX-License-Identifier: Apache-2.0
"""Blocks, patches, votes, workflows and items: plain values, no models."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from jaxdl.language import teams
from jaxdl.language.teams import _items, _prompts, _votes, _workflow

A, B, C = (teams.Node(n, 'solver', f'Solve it, {n}.') for n in 'abc')
BLOCK = teams.Block('b0', (A, B), (('a', 'b'),))


def edited(*edits):
  return teams.apply_patch(
    BLOCK, teams.Patch(0, tuple(teams.Edit(*e) for e in edits)), 'b1'
  )


class BlocksTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      BLOCK._replace(edges=(('a', 'b'), ('b', 'a'))),
      r'^structure: edges have a cycle, (a->b->a|b->a->b)\.',
    ),
    (
      BLOCK._replace(edges=(('a', 'z'),)),
      "^connections: edge a->z has no node 'z'",
    ),
    (BLOCK._replace(edges=(('a', 'b'),) * 2), '^connections: .* twice'),
    (
      BLOCK._replace(nodes=(A, B._replace(prompt=' '))),
      "^schema: node 'b' has an empty prompt",
    ),
    (
      BLOCK._replace(nodes=(A, B._replace(role=''))),
      "^schema: node 'b' has an empty role",
    ),
    (
      BLOCK._replace(nodes=(A, B._replace(prompt='x' * 9000))),
      'more than 8000 characters',
    ),
    (
      BLOCK._replace(nodes=(A, B._replace(id='../b'))),
      "^schema: id '../b' must be letters, digits",
    ),
    (BLOCK._replace(nodes=(A, A)), "^schema: node 'a' stands twice"),
    (BLOCK._replace(nodes=(), edges=()), '^schema: the team is empty'),
    (
      BLOCK._replace(aggregation='vote'),
      "^schema: aggregation='vote' is unknown",
    ),
    (BLOCK._replace(format='xml'), "^schema: format='xml' is unknown"),
    (
      BLOCK._replace(block_id='b7', nodes=(B, A)),
      "^structure: it is a duplicate of 'b0'",
    ),
  )
  def test_every_fault_has_a_reason_of_its_own(self, block, reason):
    found = teams.validate_block(block, [BLOCK])
    self.assertNotEmpty(found)
    self.assertRegex(found[0], reason)

  def test_a_good_block_has_none(self):
    self.assertEqual(teams.validate_block(BLOCK), [])
    other = BLOCK._replace(nodes=(A, B._replace(prompt='Other.')))
    self.assertEqual(teams.validate_block(other, [BLOCK]), [])

  def test_order(self):
    found = teams.topological_order(
      ['a', 'b', 'c', 'd'], [('d', 'a'), ('a', 'c'), ('b', 'c')]
    )
    self.assertEqual(found, [['b', 'd'], ['a'], ['c']])
    with self.assertRaisesRegex(ValueError, 'have a cycle'):
      teams.topological_order(['a', 'b'], [('a', 'b'), ('b', 'a')])
    with self.assertRaisesRegex(ValueError, "has no node 'z'"):
      teams.topological_order(['a'], [('a', 'z')])

  def test_every_edit(self):
    found = edited(
      ('set_prompt', 'a', 'Think.'),
      ('set_role', 'b', 'critic'),
      ('add_node', 'c', {'role': 'solver', 'prompt': 'Solve it, c.'}),
      ('add_edge', 'b', 'c'),
      ('remove_edge', 'a', 'b'),
      ('set_aggregation', '', 'sequential'),
      ('set_format', '', 'number'),
    )
    self.assertEqual(
      found,
      teams.Block(
        'b1',
        (A._replace(prompt='Think.'), B._replace(role='critic'), C),
        (('b', 'c'),),
        'sequential',
        'number',
      ),
    )
    self.assertEqual(BLOCK.nodes[0].prompt, 'Solve it, a.')
    gone = edited(('remove_node', 'a'))
    self.assertEqual((gone.nodes, gone.edges), ((B,), ()))

  @parameterized.parameters(
    (('set_prompt', 'z', 'x'), r"edits\[0\] set_prompt: there is no node 'z'"),
    (('set_prompt', 'a', 7), r'value must be text; got 7'),
    (('add_node', 'a', {}), "there is a node 'a' already"),
    (('add_node', 'c', 'me'), 'value must be an object'),
    (('add_node', 'c', {'role': 'x'}), 'value needs prompt, text'),
    (('remove_edge', 'b', 'a'), 'there is no edge b->a'),
    (('set_format', '', None), 'value must be text'),
    (('run', 'a', 'x'), "kind='run' is unknown"),
  )
  def test_bad_edits(self, edit, message):
    with self.assertRaisesRegex(ValueError, message):
      edited(edit)

  def test_too_many_edits(self):
    with self.assertRaisesRegex(ValueError, '17 edits are more than 16'):
      edited(*[('set_format', '', 'text')] * 17)

  @parameterized.parameters(
    (BLOCK._replace(block_id=''), "^schema: block_id '' must be letters"),
    (BLOCK._replace(block_id='../x\nTeam'), '^schema: block_id .* letters'),
    (BLOCK._replace(block_id=5), '^schema: block_id 5 must be letters'),
    (BLOCK._replace(nodes=(A._replace(id=5),)), '^schema: node 5 has'),
    (BLOCK._replace(edges=(('a',),)), "^connections: .'a',. is no pair"),
  )
  def test_of_other_types_is_told_not_raised(self, block, message):
    self.assertRegex(teams.validate_block(block)[0], message)


class ContractsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('{"answer": 7, "confidence": 2}', 'confidence'),
    ('{"answer": [7], "confidence": 1}', 'must be text or a number'),
    ('{"answer": true, "confidence": 1}', 'must be text or a number'),
    ('{"answer": "seven", "confidence": 1}', 'must be a number'),
    ('{"confidence": 1}', '"answer" is missing'),
    ('seven', 'no JSON object'),
  )
  def test_workers(self, text, message):
    with self.assertRaisesRegex(ValueError, message):
      _prompts.worker_contract('number')(text)

  def test_the_last_object_counts(self):
    text = (
      'Say {"answer": 1, "confidence": 1}? {"answer": "1,200", "confidence": 0}'
    )
    found = _prompts.worker_contract('number')(text)
    self.assertEqual(found, {'answer': 1200, 'confidence': 0})

  @parameterized.parameters(
    ('{"layer": 1, "edits": []}', '"layer": it must be 0'),
    ('{"layer": 0, "edits": {}}', 'it must be a list'),
    ('{"layer": 0, "edits": [{"kind": "run"}]}', 'an unknown kind'),
    ('{"layer": 0, "edits": ["x"]}', 'must be an object with a kind'),
    (
      '{"layer": 0, "edits": [{"kind": "set_role", "target": 3}]}',
      'target must be text',
    ),
  )
  def test_optimizers(self, text, message):
    with self.assertRaisesRegex(ValueError, message):
      _prompts.optimizer_contract(0)(text)

  def test_critics(self):
    parse = _prompts.critic_contract(2)
    base = {'loss': 0.5, 'failing_layers': [1, 1], 'summary': 's'}
    advice = [{'src': 0, 'dst': 1, 'advice': 'x'}, {'src': 'a'}, 7]
    found = parse(json.dumps(base | {'interlayer': advice}))
    self.assertEqual(found['failing_layers'], [1])
    self.assertEqual(found['interlayer'], advice[:1])
    with self.assertRaisesRegex(ValueError, 'layers from 0 to 1'):
      parse(json.dumps(base | {'failing_layers': [2]}))

  def test_what_optimizers_see_follows_beta_and_momentum(self):
    def asked(**changes):
      given = {
        'global_': {'summary': 'broken'},
        'failures': [{'task': 'a puzzle'}],
        'history': [{'verdict': 'worse'}],
        'kind_scores': {'set_role': 0.25},
        'beta': 0.3,
      } | changes
      messages = _prompts.optimizer_messages(0, BLOCK, **given)
      return '\n'.join(m['content'] for m in messages)

    whole = asked()
    for text in ('weight 0.3', 'weight 0.7', 'broken', 'puzzle', '-0.250'):
      self.assertIn(text, whole)
    self.assertNotIn('broken', asked(global_=None))
    self.assertNotIn('puzzle', asked(failures=()))
    self.assertNotIn('Earlier', asked(history=()))

  @parameterized.parameters(
    ('any', '"' + 'x' * 9000 + '"'), ('number', '"many"'), ('text', '5')
  )
  def test_a_writer_is_held_to_what_workers_are(self, format, answer):
    read = _prompts.join_contract('writer', format)
    with self.assertRaisesRegex(ValueError, 'answer'):
      read(f'{{"answer": {answer}}}')


class VotesTest(parameterized.TestCase):
  def said(self, *answers, confidence=None):
    sure = confidence or [1.0] * len(answers)
    return [
      teams.Said(f'n{i}', a, c)
      for i, (a, c) in enumerate(zip(answers, sure, strict=True))
    ]

  @parameterized.parameters(
    ('majority_vote', ('A', 'A', 'B'), 'A'),
    ('majority_vote', ('B', 'A'), 'B'),
    ('majority_vote', ('B', 'a', ' A.', None), 'a'),
    ('mean', (1, '2', 'x', 6), 3.0),
    ('median', (1, '2', 'x', 90), 2.0),
    ('mean', ('x', None), None),
    ('sequential', (1, None, 3, None), 3),
    ('pipeline', (1, None, 3), None),
    ('pipeline', (1, 2), 2),
    ('best_of', (1, 2, 3), 1),
    ('concat_summarize', (1, 2, 2), 2),
    ('rule(mean)', ('A', 'A', 'B'), 'A'),
    ('rule(krum, num_byzantine=1)', ('A', 'B'), 'A'),
    ('majority_vote', (None,), None),
    ('rule(mean)', (None,), None),
  )
  def test_joins(self, spec, answers, want):
    found = teams.join_answers(self.said(*answers), spec)
    self.assertEqual(found.answer, want)

  def test_weights(self):
    said = self.said('A', 'A', 'B', confidence=[0.1, 0.2, 0.9])
    self.assertEqual(teams.join_answers(said, 'weighted_vote').answer, 'B')
    self.assertEqual(teams.join_answers(said, 'best_of').answer, 'B')

  def test_robust_rules_of_numbers_give_credit(self):
    said = self.said(10.0, 10.5, 9.5, 10.2, 1e6)
    spec = 'rule(krum, numbers=True, num_byzantine=1)'
    found = teams.join_answers(said, spec)
    self.assertBetween(found.answer, 9.5, 10.5)
    self.assertEqual(found.credit['n4'], 0.0)
    np.testing.assert_allclose(sum(found.credit.values()), 1.0)
    # The mean has no such protection.
    self.assertGreater(teams.join_answers(said, 'mean').answer, 1e5)

  def test_equal_answers(self):
    self.assertEqual(_votes.same('1,000.0'), _votes.same(1000))
    self.assertNotEqual(_votes.same('yes'), _votes.same('no'))
    self.assertIsNone(_votes.number('inf'))
    self.assertIsNone(_votes.number(True))

  def test_bad_aggregations(self):
    with self.assertRaisesRegex(ValueError, "aggregation='vote' is unknown"):
      teams.join_answers([], 'vote')
    with self.assertRaisesRegex(ValueError, 'crum'):
      teams.TEXT_AGGREGATIONS.check('rule(crum)')

  @parameterized.parameters(
    'mean',
    'median',
    'rule(mean, numbers=True)',
    'rule(geometric_median, numbers=True)',
    'rule(median, numbers=True)',
  )
  def test_huge_numbers_make_no_infinity(self, spec):
    for values in ((1.7e308, 1.7e308), (1e300, 1, 1), (-(10**50), 10**50)):
      said = [teams.Said(f'a{i}', v) for i, v in enumerate(values)]
      found = teams.join_answers(said, spec)
      self.assertTrue(np.isfinite(found.answer), values)
      self.assertTrue(np.isfinite([*found.credit.values()]).all(), values)


class WorkflowsTest(parameterized.TestCase):
  def workflow(self):
    other = BLOCK._replace(block_id='b1', nodes=(A, B, C), edges=())
    made = teams.make_workflow([[BLOCK, other], teams.Block('x', (C,))])
    return _workflow.used(made, 0, 'b0', 0.25)

  def test_yaml_is_readable_and_comes_back(self):
    made = self.workflow()
    text = teams.dump_workflow(made)
    self.assertEqual(teams.load_workflow(text), made)
    self.assertIn('prompt: Solve it, a.', text)
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'w.yaml'
      teams.write_workflow(path, made)
      self.assertEqual(teams.read_workflow(path), made)

  def test_pools(self):
    made = self.workflow()
    # What was never used has no loss yet.
    self.assertEqual(_workflow.current(made, 0).block_id, 'b0')
    made = _workflow.used(made, 0, 'b0', 1.0)
    self.assertAlmostEqual(made.pools[0][0].loss, 0.9 * 0.25 + 0.1)
    made = _workflow.used(made, 0, 'b1', 0.2)
    self.assertEqual(_workflow.current(made, 0).block_id, 'b1')
    third = BLOCK._replace(block_id='b2', nodes=(C, A), edges=())
    made = _workflow.added(made, 0, third, 0.2, pool_size=2)
    self.assertEqual([e.block.block_id for e in made.pools[0]], ['b1', 'b2'])
    self.assertEqual(_workflow.current(made, 0).block_id, 'b2')

  @parameterized.parameters(
    ('layers: 3', 'needs layers, a list'),
    ('layers: [[]]', 'layer 0 has an empty pool'),
    ('layers: []', 'layers is empty'),
    ('layers: [[{block_id: b}]]', 'layer 0, block 0 needs nodes, a list'),
    (
      'layers: [[{block_id: b, nodes: [{id: a}], aggregation: mean}]]',
      r'layer 0, block 0 nodes\[0\] needs role, text',
    ),
    ('layers: &a [*a]', 'no references'),
    ('layers: [', 'a workflow must be YAML'),
    ('!!python/object/apply:os.getcwd []', 'a workflow must be YAML'),
    (
      'layers: [[{block_id: b, aggregation: mean, edges: [[a, z]], '
      'nodes: [{id: a, role: r, prompt: p}]}]]',
      "layer 0, block 'b': connections: edge a->z has no node 'z'",
    ),
    (
      'layers: [[{block_id: b, aggregation: mean, loss: 2, '
      'nodes: [{id: a, role: r, prompt: p}]}]]',
      'layer 0, block 0 loss must lie in',
    ),
  )
  def test_bad_files(self, text, message):
    with self.assertRaisesRegex(ValueError, message):
      teams.load_workflow(text)

  def test_missing_files(self):
    with self.assertRaisesRegex(ValueError, '/no/such.yaml cannot be read'):
      teams.read_workflow('/no/such.yaml')

  def test_empty_pools_name_their_layer(self):
    with self.assertRaisesRegex(ValueError, 'layer 1 has an empty pool'):
      teams.make_workflow([BLOCK, []])

  @parameterized.parameters(
    ('form: 1', 'form: 99', 'a workflow has form 1; got 99'),
    ('edges:', 'edgess:', "layer 0, block 0 has the field 'edgess'"),
    ('role:', 'rule: x\n      role:', "nodes.0. has the field 'rule'"),
    ('form: 1', 'laers: 1', "a workflow has the field 'laers'"),
    ('age: 0', 'age: x', 'block 0 age must be an integer'),
    ('age: 0', f'age: {2**70}', 'block 0 age must be at most'),
    ('loss: null', 'loss: low', 'block 0 loss must be a number'),
    ('loss: null', 'loss: 2020-99-99', 'must be YAML: month'),
  )
  def test_slips_of_the_pen_are_told(self, old, new, message):
    text = teams.dump_workflow(teams.make_workflow([BLOCK]))
    self.assertIn(old, text)
    with self.assertRaisesRegex(ValueError, message):
      teams.load_workflow(text.replace(old, new, 1))


class ItemsTest(parameterized.TestCase):
  def test_items_are_different_and_right(self):
    items = teams.TEXT_TASKS.make('arithmetic(num_train=30)', seed=3)
    whole = (*items.train, *items.validation, *items.test)
    self.assertLen({i.question for i in whole}, len(whole))
    for item in whole[:10]:
      a, b, c = [int(w) for w in item.question.split() if w.isdigit()]
      factor = 1000 if ' grams' in item.question else 1
      self.assertEqual(item.answer, (a * b + c) * factor)
    again = teams.TEXT_TASKS.make('arithmetic(num_train=30)', seed=3)
    self.assertEqual(items, again)

  @parameterized.parameters(
    ('numeric', 7, '7.0', 1.0),
    ('numeric', 7, '7.1', 0.0),
    ('numeric(tolerance=0.1)', 7, '7.1', 1.0),
    ('numeric', 7, 'seven', 0.0),
    ('exact', r'\frac{1}{2}', r' \FRAC{1}{2}.', 1.0),
    ('exact', '1000', '1,000', 1.0),
    ('code', 'return  x\n\n', '  return x', 1.0),
    ('code', 'return x', 'return y', 0.0),
    ('exact', 'a', None, 0.0),
  )
  def test_grades(self, how, answer, output, want):
    item = teams.Item('i', 'q', answer, how)
    self.assertEqual(teams.grade(item, output), want)

  def test_scores_are_shares(self):
    with self.assertRaisesRegex(ValueError, r'score must lie in \[0.0, 1.0\]'):
      _items.check_score(1.5)

  def test_files_of_benchmarks(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'math.json'
      rows = [
        {
          'problem': f'{i}?',
          'solution': f'\\boxed{{{i}}} or \\boxed{{{i + 1}}}',
        }
        for i in range(4)
      ]
      path.write_text(json.dumps(rows))
      items = _items.math(
        str(path), seed=0, num_train=1, num_validation=1, num_test=9
      )
      self.assertLen(items.test, 2)
      for item in (*items.train, *items.validation, *items.test):
        self.assertEqual(int(item.answer), int(item.question[:-1]) + 1)
      # Code is text: a task whose program would end the process is harmless.
      path = pathlib.Path(folder) / 'humaneval.jsonl'
      rows = [
        {
          'task_id': f'H/{i}',
          'prompt': 'def f():',
          'canonical_solution': '  raise SystemExit',
        }
        for i in range(3)
      ]
      path.write_text('\n'.join(map(json.dumps, rows)))
      items = _items.humaneval(str(path), seed=0, num_train=1, num_validation=1)
      self.assertEqual(teams.grade(items.test[0], ' raise SystemExit'), 1.0)
      with self.assertRaisesRegex(ValueError, 'leave none for the test'):
        _items.humaneval(str(path), seed=0)
      path.write_text('{"problem": "p", "solution": "none"}')
      with self.assertRaisesRegex(ValueError, r'problem 0 has no \\boxed'):
        _items.math(str(path), seed=0)
      path.write_text('[1, 2]')
      with self.assertRaisesRegex(ValueError, 'must hold objects'):
        _items.math(str(path), seed=0)
      path.write_text('{')
      with self.assertRaisesRegex(ValueError, 'must be JSON or lines of it'):
        _items.math(str(path), seed=0)
    with self.assertRaisesRegex(ValueError, 'path=/no/such cannot be read'):
      _items.math('/no/such', seed=0)


if __name__ == '__main__':
  absltest.main()
