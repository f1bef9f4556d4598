# SPDX-License-Identifier: Apache-2.0
"""A branch that stays one when seeds run side by side."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.extend import core as jex_core


def when_any(
  flags: chex.Array,
  fn: Callable[..., Any],
  otherwise: Callable[..., Any],
  *operands: Any,
) -> Any:
  """Returns `fn(*operands)` if any flag is set, else `otherwise(*operands)`.

  Under `vmap`, where `jax.lax.cond` computes both, `fn` runs for all of the
  batch if a flag of any of it is set. So it must give what `otherwise` does
  where no flag is.

  Args:
    flags: bool[...].
    fn: a function of the operands; what it closes over is passed along.
    otherwise: another one, with the same result.
    *operands: trees of arrays.

  Returns:
    The tree. There is no reverse-mode gradient through it.

  Example:
    >>> double = lambda x: 2 * x
    >>> when_any(jnp.array([False, True]), double, lambda x: x, 3)
    Array(6, dtype=int32, weak_type=True)
  """
  first, of_first = _hoisted(fn, operands)
  second, of_second = _hoisted(otherwise, operands)
  return _when_any(
    flags,
    lambda a, b, rest: first(a, rest),
    lambda a, b, rest: second(b, rest),
    (of_first, of_second, operands),
  )


def _when_any(flags, fn, otherwise, operands):
  """The same of functions that close over nothing."""

  @jax.custom_batching.custom_vmap
  def run(flags, operands):
    return jax.lax.cond(
      jnp.any(flags), lambda x: fn(*x), lambda x: otherwise(*x), operands
    )

  @run.def_vmap
  def _(size, batched, flags, operands):
    flags, operands = jax.tree.map(
      lambda x, is_batched: (
        x if is_batched else jnp.broadcast_to(x, (size, *jnp.shape(x)))
      ),
      (flags, operands),
      tuple(batched),
    )
    out = _when_any(flags, jax.vmap(fn), jax.vmap(otherwise), operands)
    return out, jax.tree.map(lambda x: True, out)

  return run(flags, operands)


def _hoisted(fn, operands):
  """A function of what `fn` closes over and its operands, and the former.

  `custom_vmap` knows of no values but its arguments.
  """
  closed, shapes = jax.make_jaxpr(fn, return_shape=True)(*operands)
  structure = jax.tree.structure(shapes)

  def run(consts, operands):
    whole = jex_core.ClosedJaxpr(closed.jaxpr, consts)
    flat = jex_core.jaxpr_as_fun(whole)(*jax.tree.leaves(operands))
    return jax.tree.unflatten(structure, flat)

  return run, closed.consts
