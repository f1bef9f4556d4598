# SPDX-License-Identifier: Apache-2.0
"""Random constructions and random stages, of many seeds in one program."""

import functools

import jax
import jax.numpy as jnp
from reference import random_policy

from jaxdl import combinatorial


@functools.partial(jax.jit, static_argnums=0, static_argnames=('size', 'count'))
def played(problem, instances, key, *, size, count=10):
  """Solutions of a random construction and after each stage.

  Args:
    problem: whose.
    instances: leaves [S, ...].
    key: of everything.
    size: n of pieces.
    count: stages.

  Returns:
    Solutions, leaves [S, count + 1, ...].
  """
  conqueror = random_policy.conqueror()
  divider = combinatorial.make_divider('uniform', problem)

  def one(instance, key):
    start_key, key = jax.random.split(key)
    first, _ = combinatorial.construct(
      problem, divider, {}, instance, start_key, num_samples=1,
      every=size,
    )  # fmt: skip
    first = jax.tree.map(lambda x: x[0], first)

    def stage(solution, number):
      shift_key, own = jax.random.split(jax.random.fold_in(key, number))
      drawn = jax.random.randint(shift_key, (), 1, size + 1)
      solution, _ = combinatorial.conquer(
        problem, conqueror, {}, instance, solution, own, size=size,
        shift=jnp.where(number < 2, size // 2, drawn), num_rollouts=8,
      )  # fmt: skip
      return solution, solution

    _, later = jax.lax.scan(stage, first, jnp.arange(count))
    return jax.tree.map(
      lambda a, b: jnp.concatenate([a[None], b]), first, later
    )

  some = jax.tree.leaves(instances)[0].shape[0]
  return jax.vmap(one)(instances, jax.random.split(key, some))


def generated(problem, num_nodes, count=20, seed=0):
  """Instances, leaves [count, ...]."""
  keys = jax.random.split(jax.random.key(seed), count)
  return jax.jit(
    jax.vmap(functools.partial(problem.generate, num_nodes=num_nodes))
  )(keys)


@functools.partial(
  jax.jit, static_argnums=0, static_argnames=('count', 'every')
)
def constructed(problem, instance, key, *, count, every=100):
  """Random solutions of one instance, leaves [count, ...]."""
  divider = combinatorial.make_divider('uniform', problem)
  return combinatorial.construct(
    problem, divider, {}, instance, key, num_samples=count, every=every
  )[0]


def at(tree, *place):
  """One of a stack."""
  return jax.tree.map(lambda x: x[place], tree)
