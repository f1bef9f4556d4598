# SPDX-License-Identifier: Apache-2.0
"""Policies without networks, for tests of everything around them."""

import jax.numpy as jnp

from jaxdl import combinatorial


def conqueror(score=None):
  """Draws uniformly of what is allowed; `score(context) -> f[m]` favors."""

  def decode(params, memory, context):
    del params, memory
    logits = jnp.zeros(context.allowed.shape)
    if score is not None:
      logits = score(context)
    return jnp.where(context.allowed, logits, -jnp.inf)

  return combinatorial.Conqueror(
    init=lambda key, features, distances: {},
    encode=lambda params, features, distances, key=None: (),
    decode=decode,
  )


def policies(problem, **options):
  """A uniform dividing policy and a uniform conquering one."""
  divider = combinatorial.make_divider('uniform(num_neighbors=5)', problem)
  return combinatorial.Policies(divider, conqueror(**options))


PARAMS = {'divider': {}, 'conqueror': {}}
