# SPDX-License-Identifier: Apache-2.0
"""Compiles one round so that every round, resumed or not, is the same program.

Two things would otherwise depend on history. Arrays that `step` closes over
would be copied into the program, and lose their sharding; they become arguments
here. And the compiler may return a state that is laid out over the devices in
another way than it came in, so that the second round is another program with
other rounding; the layout is settled before the first round here.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex_core

from jaxdl.experiment import _pack

_EMBED = 1024  # Smaller constants stay in the program, where XLA folds them.


class Program(NamedTuple):
  """A compiled round.

  Attributes:
    step: `step(state, round, *fed) -> (state, metrics, token)`; the state given
      is used up, the token is ready when the round is.
    place: `place(state) -> state` puts a state of host values where `step`
      expects it.
    feed: `feed(fed) -> fed` puts what a round was fed there.
  """

  step: Callable[..., tuple[chex.ArrayTree, chex.ArrayTree, chex.Array]]
  place: Callable[[chex.ArrayTree], chex.ArrayTree]
  feed: Callable[[chex.ArrayTree], chex.ArrayTree]


def fresh(init: Callable[[], chex.ArrayTree]) -> chex.ArrayTree:
  """Returns `init()` in arrays that nobody else holds, so may be donated."""
  return jax.tree.map(_own, init())


def build(
  step: Callable[..., tuple[chex.ArrayTree, chex.ArrayTree]],
  state: chex.ArrayTree,
  *fed: chex.ArrayTree,
) -> Program:
  """Traces and compiles a round.

  Args:
    step: `step(state, round: i32[], *fed) -> (state, metrics)`, pure.
    state: the state of a fresh run; only its form and placement count.
    *fed: what a round is fed, if anything; only its form counts.

  Returns:
    The program.

  Raises:
    ValueError: if `step` returns a state of another form than it was given.
  """
  number = np.int32(1)
  closed, out = jax.make_jaxpr(step, return_shape=True)(state, number, *fed)
  _check_form(state, out[0])
  treedef = jax.tree.structure(state)
  out_treedef = jax.tree.structure(out)
  hoisted = {
    n: jnp.asarray(c) for n, c in enumerate(closed.consts) if _is_large(c)
  }

  def run_round(leaves, number, hoisted, fed):
    consts = [hoisted.get(n, c) for n, c in enumerate(closed.consts)]
    whole = jex_core.ClosedJaxpr(closed.jaxpr, consts)
    flat = jex_core.jaxpr_as_fun(whole)(*leaves, number, *fed)
    new, metrics = jax.tree.unflatten(out_treedef, flat)
    return jax.tree.leaves(new), metrics, number + 1

  leaves = jax.tree.leaves(state)
  fed_leaves, fed_treedef = jax.tree.flatten(fed)
  forms = [_form(x) for x in fed_leaves]
  jitted = jax.jit(run_round, donate_argnums=0, keep_unused=True)
  for _ in range(4):
    compiled = jitted.lower(leaves, number, hoisted, fed_leaves).compile()
    taken = compiled.input_shardings[0][0]
    given = compiled.output_shardings[0]
    moved = [
      n
      for n, x in enumerate(leaves)
      if not given[n].is_equivalent_to(taken[n], x.ndim)
    ]
    if not moved:
      break
    leaves = [_put(_raw(x), given[n], x) for n, x in enumerate(leaves)]
  else:
    raise ValueError(
      'step returns its state in ever new layouts: pin it with '
      'jax.lax.with_sharding_constraint.'
    )
  wanted = compiled.input_shardings[0][2]
  hoisted = {
    n: c if _same(c, wanted[n]) else _put(c, wanted[n], c)
    for n, c in hoisted.items()
  }
  fed_spots = compiled.input_shardings[0][3]
  spots = [
    None if _is_loose(x) and _same(x, taken[n]) else taken[n]
    for n, x in enumerate(leaves)
  ]

  def run(state, number, *fed):
    new, metrics, token = compiled(
      jax.tree.leaves(state), np.int32(number), hoisted, jax.tree.leaves(fed)
    )
    return jax.tree.unflatten(treedef, new), metrics, token

  def place(values):
    placed = [
      _put(_raw(value), spot, like)
      for value, spot, like in zip(
        jax.tree.leaves(values), spots, leaves, strict=True
      )
    ]
    return jax.tree.unflatten(treedef, placed)

  def feed(value):
    given, treedef = jax.tree.flatten((value,))
    if treedef != fed_treedef or [_form(x) for x in given] != forms:
      raise ValueError(
        'fetch must return arrays of the same form for every round: '
        f'{fed_treedef} of {forms} became {treedef} of '
        f'{[_form(x) for x in given]}.'
      )
    placed = [
      _put(_raw(x), spot, like)
      for x, spot, like in zip(given, fed_spots, fed_leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, placed)[0]

  return Program(run, place, feed)


def place_like(
  values: chex.ArrayTree, template: chex.ArrayTree
) -> chex.ArrayTree:
  """Puts host values where the leaves of a fresh state are.

  Args:
    values: host values, keys as raw words.
    template: a fresh state of the same structure.

  Returns:
    The values as JAX arrays where the template has them.
  """

  def leaf(value, like):
    if not isinstance(like, jax.Array):
      return value
    return _put(_raw(value), None if _is_loose(like) else like.sharding, like)

  return jax.tree.map(leaf, values, template)


def _own(leaf: Any) -> jax.Array:
  if _pack.is_key(leaf):
    impl = str(jax.random.key_impl(leaf))
    if impl not in ('fry', 'threefry2x32'):
      raise ValueError(
        f'the state holds {impl} keys, which draw wrong numbers under vmap: '
        'use threefry2x32.'
      )
    return jnp.copy(leaf)
  leaf = jnp.asarray(leaf)
  # A weak type would make the second round another program.
  return jnp.array(leaf, dtype=leaf.dtype, copy=True)


def _check_form(state: chex.ArrayTree, out: chex.ArrayTree) -> None:
  rule = 'step must return a state of the form that it was given'
  before, after = jax.tree.structure(state), jax.tree.structure(out)
  if before != after:
    raise ValueError(f'{rule}: {before} became {after}.')
  for (path, old), new in zip(
    jax.tree_util.tree_leaves_with_path(state),
    jax.tree.leaves(out),
    strict=True,
  ):
    if old.shape != new.shape or old.dtype != new.dtype:
      raise ValueError(
        f'{rule}: state{jax.tree_util.keystr(path)} was '
        f'{old.dtype}{list(old.shape)} and became '
        f'{new.dtype}{list(new.shape)}.'
      )


def _form(x: Any) -> tuple[Any, ...]:
  return np.shape(x), str(jnp.result_type(x))


def _is_large(const: Any) -> bool:
  """Whether a captured array should be an argument of the program."""
  if not isinstance(const, (jax.Array, np.ndarray)):
    return False
  if isinstance(const, jax.Array):
    if _pack.is_key(const):
      return False
    if len(const.sharding.device_set) > 1:
      return True
    if const.committed:  # An argument could not move to other devices.
      return False
  return const.size >= _EMBED


def _is_loose(x: jax.Array) -> bool:
  """Whether jax may still move the array to other devices."""
  return not x.committed


def _same(x: jax.Array, sharding: jax.sharding.Sharding) -> bool:
  return sharding.is_equivalent_to(x.sharding, x.ndim)


def _raw(value: Any) -> Any:
  if _pack.is_key(value):
    value = jax.random.key_data(value)
  return value


def _put(value: Any, sharding: Any, like: jax.Array) -> jax.Array:
  """Puts raw values somewhere, as keys where `like` is one."""
  spread = isinstance(value, jax.Array) and not value.is_fully_addressable
  if not spread:
    value = np.asarray(value)
  near = sharding is None or sharding.is_fully_addressable
  if _pack.is_key(like):
    wrap = functools.partial(
      jax.random.wrap_key_data, impl=jax.random.key_impl(like)
    )
    if not near:
      return jax.jit(wrap, out_shardings=sharding)(value)
    keys = wrap(jnp.array(value))
    return keys if sharding is None else jax.device_put(keys, sharding)
  if sharding is None:
    return jnp.array(value)
  if near or spread:
    return jax.device_put(value, sharding, may_alias=False)
  return jax.make_array_from_callback(
    np.shape(value), sharding, lambda index: value[index]
  )
