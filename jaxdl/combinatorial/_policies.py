# SPDX-License-Identifier: Apache-2.0
"""The two policies that solve a problem together, and their parameters."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.combinatorial import _construct, _heat, _networks, _problem


class Policies(NamedTuple):
  """One policy divides, one conquers; parameters are a dict of the same names.

  Attributes:
    divider: a `Divider`.
    conqueror: a `Conqueror`.
  """

  divider: Any
  conqueror: Any


def make_policies(
  problem: _problem.CombinatorialProblem,
  *,
  divider: str = 'agnn',
  conqueror: str | None = None,
) -> Policies:
  """Makes the two policies of a problem.

  Args:
    problem: what they solve.
    divider: a part of `DIVIDERS`.
    conqueror: a part of `CONQUERORS`; None for the one of the problem.

  Returns:
    The policies.

  Raises:
    ValueError: if a spec is wrong or does not serve the problem.
  """
  return Policies(
    _networks.make_divider(divider, problem),
    _networks.make_conqueror(conqueror or problem.solve.network, problem),
  )


def init_params(
  key: chex.PRNGKey,
  problem: _problem.CombinatorialProblem,
  policies: Policies,
  *,
  size: int,
) -> dict[str, chex.ArrayTree]:
  """Draws the parameters of both policies.

  They fit instances and pieces of any size.

  Args:
    key: consumed.
    problem: what they solve.
    policies: of `make_policies`.
    size: n of a piece, of an example that shapes are taken from.

  Returns:
    A dict of 'divider' and 'conqueror'.
  """
  example, split_key, divider_key, conqueror_key = jax.random.split(key, 4)

  def arrays():
    """An example: the sparse graph, and one piece of a construction."""
    instance = problem.generate(example, 2 * size)
    uniform = _heat.uniform(rows=policies.divider.rows)
    solutions, _ = _construct.construct(
      problem, uniform, {}, instance, split_key, num_samples=1, every=size
    )
    first = jax.tree.map(lambda x: x[0], solutions)
    pieces, _ = problem.split(instance, first, size, 0, split_key)
    piece = jax.tree.map(lambda x: x[0], pieces)
    return (
      problem.divide.neighbors(instance, policies.divider.num_neighbors),
      problem.solve.inputs(piece),
    )

  # Shapes and dtypes are all that initial values depend on.
  like = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(arrays)
  )
  neighbors, inputs = like
  return {
    'divider': policies.divider.init(divider_key, neighbors),
    'conqueror': policies.conqueror.init(conqueror_key, *inputs),
  }
