# SPDX-License-Identifier: Apache-2.0
"""Adversaries told by their numbers, some of whom are in a cohort."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def by_count(wires: Sequence[Any], num_malicious: int) -> Any:
  """Makes one wire of those for 0, 1, ..., F adversaries.

  Rules and attacks take F as a static number, which decides about shapes. Here
  it is a value: messages are put in order, those of adversaries last, and the
  wire that is made for as many of them is taken, one branch of F + 1.

  Args:
    wires: of 0 to F adversaries, on the same messages; each tells the same
      metrics.
    num_malicious: clients with an id below are adversaries (static).

  Returns:
    A wire whose `meet` also takes `malicious: bool[M]`. Of more adversaries
    than F the first are taken for honest. One more metric, `num_malicious`.

  Cost: one copy of the messages; programs of F + 1 rules and attacks, one of
    which runs (all of them under `vmap`).
  """
  last = wires[-1]

  def meet(stacked, aux, counts, mask, state, key, groups=None, malicious=None):
    order = jnp.argsort(malicious, stable=True)
    take = lambda tree: jax.tree.map(lambda x: x[order], tree)
    form = jax.tree.map(lambda x: x[0], stacked)
    stacked, aux, counts, mask, groups = take(
      (_joined(stacked, 1), aux, counts, mask, groups)
    )
    there = jnp.sum(malicious, dtype=jnp.int32)
    update, state, found = jax.lax.switch(
      jnp.minimum(there, len(wires) - 1),
      [wire.meet for wire in wires],
      *(stacked, aux, counts, mask, state, key, groups),
    )
    if 'weights' in found:
      found['weights'] = found['weights'][jnp.argsort(order)]
    found['num_malicious'] = there
    return _split(update, form), state, found

  return last._replace(
    init=lambda message: last.init(_joined(message)),
    meet=meet,
    streams=False,
    num_malicious=num_malicious,
  )


def _joined(tree, num_axes=0):
  """The leaves side by side, axes in front apart; programs are smaller so.

  A tree of several dtypes stays as it is.
  """
  leaves = jax.tree.leaves(tree)
  if len({x.dtype for x in leaves}) != 1:
    return tree
  flat = [x.reshape(*x.shape[:num_axes], -1) for x in leaves]
  return jnp.concatenate(flat, axis=num_axes)


def _split(joined, form):
  """The tree that `_joined` was made of, axes in front included."""
  leaves, structure = jax.tree.flatten(form)
  if len({x.dtype for x in leaves}) != 1:
    return joined
  front = joined.shape[:-1]
  ends = np.cumsum([x.size for x in leaves])[:-1]
  parts = jnp.split(joined, ends, axis=-1)
  return jax.tree.unflatten(
    structure,
    [p.reshape(*front, *x.shape) for p, x in zip(parts, leaves, strict=True)],
  )
