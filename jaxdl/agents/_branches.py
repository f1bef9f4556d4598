# SPDX-License-Identifier: Apache-2.0
"""A branch that stays one when seeds run side by side."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp


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
    fn: a function of the operands alone; it may close over no traced value.
    otherwise: another one, with the same result.
    *operands: trees of arrays.

  Returns:
    The tree. There is no reverse-mode gradient through it.

  Example:
    >>> double = lambda x: 2 * x
    >>> when_any(jnp.array([False, True]), double, lambda x: x, 3)
    Array(6, dtype=int32, weak_type=True)
  """

  @jax.custom_batching.custom_vmap
  def run(flags, operands):
    return jax.lax.cond(
      jnp.any(flags), lambda x: fn(*x), lambda x: otherwise(*x), operands
    )

  @run.def_vmap
  def _(size, batched, flags, operands):
    full = jax.tree.map(
      lambda x, is_batched: (
        x if is_batched else jnp.broadcast_to(x, (size, *jnp.shape(x)))
      ),
      (flags, operands),
      tuple(batched),
    )
    out = when_any(full[0], jax.vmap(fn), jax.vmap(otherwise), *full[1])
    return out, jax.tree.map(lambda x: True, out)

  return run(flags, operands)
