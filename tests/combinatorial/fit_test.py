# SPDX-License-Identifier: Apache-2.0
"""Every policy fits every problem; nothing is compiled."""

import functools

import jax
import jax.numpy as jnp
from absl.testing import absltest, parameterized

from jaxdl import combinatorial

NUM_NODES, SIZE = 30, 10
CONQUERORS = {
  'agnn': 'agnn(width=8, depth=1)',
  'attention': 'attention(width=8, depth=1, num_heads=2, hidden=8)',
  'dpn': 'dpn(width=8, depth=1, num_heads=2, hidden=8, num_agents=3)',
  'icam': 'icam(width=8, depth=1, hidden=8)',
  'matnet': 'matnet(width=16, depth=1, num_heads=2, head_size=4, num_seeds=16)',
}
DIVIDERS = ['agnn(width=8, depth=1, num_neighbors=6)', 'none', 'uniform']


def example(problem, key):
  """What policies of a problem are asked with."""
  divide, solve = problem.divide, problem.solve
  instance = problem.generate(key, NUM_NODES)
  cursor = divide.start(instance, divide.starts(instance, key, 1)[0])
  actions = jnp.zeros(divide.num_steps(instance), jnp.int32)
  solution = divide.finish(instance, cursor.first, actions)
  pieces, _ = problem.split(instance, solution, SIZE, 0, key)
  piece = jax.tree.map(lambda x: x[0], pieces)
  context = solve.context(piece, solve.start(piece, jnp.bool_(False)))
  graph = divide.neighbors(instance, 6)
  allowed = divide.allowed(instance, cursor)
  return graph, cursor, allowed, solve.inputs(piece), context


def divided(policy, key, graph, cursor):
  params = policy.init(key, graph)
  embedding = policy.embed(params, graph, train=True)
  return policy.heat(params, embedding, cursor)


def conquered(policy, key, inputs, context):
  params = policy.init(key, *inputs)
  memory = policy.encode(params, *inputs, key=key)
  return policy.decode(params, memory, context)


class FitTest(parameterized.TestCase):
  @parameterized.parameters(*combinatorial.PROBLEMS)
  def test_policies_fit_problems(self, name):
    problem = combinatorial.make_problem(name)
    key = jax.random.key(0)
    graph, cursor, allowed, inputs, context = jax.eval_shape(
      functools.partial(example, problem), key
    )
    self.assertIn(problem.solve.network, CONQUERORS)
    for spec in DIVIDERS:
      policy = combinatorial.make_divider(spec, problem)
      heat = jax.eval_shape(
        functools.partial(divided, policy), key, graph, cursor
      )
      wanted = graph.ids.shape if policy.rows else allowed.shape
      self.assertEqual((heat.shape, heat.dtype), (wanted, 'float32'))
    for spec in CONQUERORS.values():
      policy = combinatorial.make_conqueror(spec, problem)
      logits = jax.eval_shape(
        functools.partial(conquered, policy), key, inputs, context
      )
      wanted = context.allowed.shape
      self.assertEqual((logits.shape, logits.dtype), (wanted, 'float32'))


if __name__ == '__main__':
  absltest.main()
