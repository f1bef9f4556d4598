# SPDX-License-Identifier: Apache-2.0
"""What is trained of a model, and what the loss asks of its experts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, types
from jaxdl.perception.experts import _find, _observe, _route


def trainable_mask(
  params: chex.ArrayTree,
  patterns: str | Sequence[str],
  *,
  name: str = 'patterns',
) -> chex.ArrayTree:
  """Marks the parameters that are to be trained, by path.

  For `optax.masked`, or `optax.multi_transform` with `set_to_zero` for the
  rest; `trainable_task` leaves the rest out of what is trained altogether.

  Args:
    params: any tree.
    patterns: paths such as 'experts/*/router', or what stands before
      ('experts'); a leading 'not ' takes away what earlier ones marked.
    name: of the argument, for messages.

  Returns:
    Tree of bools.

  Raises:
    ValueError: if a pattern finds nothing; the message lists paths.

  Example:
    >>> params = {'experts': {'0': {'router': 1.0}}, 'network': [2.0]}
    >>> trainable_mask(params, 'experts')
    {'experts': {'0': {'router': True}}, 'network': [False]}
  """
  patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
  if not patterns:
    raise ValueError(f"{name} is empty: name what is trained, as 'experts'.")
  flat, structure = jax.tree_util.tree_flatten_with_path(params)
  names = [_find.name_of(path) for path, _ in flat]
  marked = [False] * len(names)
  for pattern in patterns:
    if not isinstance(pattern, str):
      raise TypeError(f'{name} must be text; got {checks.described(pattern)}.')
    keep = not pattern.startswith('not ')
    plain = pattern.removeprefix('not ')
    hits = [_find.matches(path, plain) for path in names]
    if not any(hits):
      shown = ', '.join(names[:20]) + (', ...' if len(names) > 20 else '')
      raise ValueError(
        f'{name}={pattern!r} names no parameter: the paths found are {shown}.'
      )
    marked = [keep if hit else m for hit, m in zip(hits, marked, strict=True)]
  return jax.tree.unflatten(structure, marked)


def take_trainable(
  params: chex.ArrayTree, mask: chex.ArrayTree
) -> chex.ArrayTree:
  """Leaves out what is not trained, None in its place."""
  return jax.tree.map(lambda x, m: x if m else None, params, mask)


def put_trainable(
  params: chex.ArrayTree, trained: chex.ArrayTree
) -> chex.ArrayTree:
  """Puts what was trained back into a whole model.

  Args:
    params: the whole model.
    trained: see `take_trainable`.

  Returns:
    The model.

  Example:
    >>> mask = {'a': True, 'b': False}
    >>> part = take_trainable({'a': 1.0, 'b': 2.0}, mask)
    >>> part, put_trainable({'a': 0.0, 'b': 2.0}, part)
    ({'a': 1.0, 'b': None}, {'a': 1.0, 'b': 2.0})
  """
  return jax.tree.map(
    lambda new, old: old if new is None else new,
    trained,
    params,
    is_leaf=lambda x: x is None,
  )


def trainable_task(
  task: types.Task, params: chex.ArrayTree, patterns: str | Sequence[str]
) -> types.Task:
  """A task of the trained part of a model; the rest is frozen, bit by bit.

  Whatever learns it, alone or with a server, holds, sends and counts the
  trained part only.

  Args:
    task: of the whole model.
    params: the model to begin with; its frozen part is a constant of the task.
    patterns: what is trained, see `trainable_mask`.

  Returns:
    A task whose parameters are those of the model with None for what is frozen;
    `init` gives those of `params`, whatever the key. `put_trainable(params,
    trained)` is the whole.

  Raises:
    ValueError: if a pattern finds nothing.

  Example:
    >>> from jaxdl import networks
    >>> task = networks.regression(networks.mlp(2, 1), jnp.ones((1, 3)))
    >>> whole = task.init(jax.random.key(0))
    >>> part = trainable_task(task, whole, '1')
    >>> jax.tree.map(jnp.shape, part.init(jax.random.key(0)))
    [{'bias': None, 'kernel': None}, {'bias': (1,), 'kernel': (2, 1)}]
  """
  checks.task(task)
  part = take_trainable(params, trainable_mask(params, patterns))
  whole = lambda trained: put_trainable(params, trained)

  def loss(trained, batch, *, key=None):
    return task.loss(whole(trained), batch, key=key)

  logits = task.logits
  return types.Task(
    lambda key: jax.tree.map(jnp.asarray, part),
    loss,
    lambda trained, batch: task.evaluate(whole(trained), batch),
    None
    if logits is None
    else lambda trained, batch: logits(whole(trained), batch),
  )


def _rows(batch):
  """The mask of a batch, if it has one."""
  return batch.get('mask') if isinstance(batch, Mapping) else None


def balanced_task(
  task: types.Task,
  *,
  coefficient: chex.Numeric = 0.01,
  token_mask: Callable[[Any], Any] = _rows,
) -> types.Task:
  """A task that also asks for balanced experts: loss + α Σ_layers L_b.

  Args:
    task: whose network has experts.
    coefficient: α >= 0 (static or traced).
    token_mask: `token_mask(batch) -> bool[B, ...]` or None, tokens that are no
      padding; by default the batch's mask of examples.

  Returns:
    The task; `evaluate` also tells `load_balance`, the mean over layers.

  Raises:
    ValueError: if α is negative; from `loss`, if there are no experts.

  Example:
    >>> from jaxdl import networks
    >>> from jaxdl.perception.experts import with_experts
    >>> dense = networks.mlp(4, 1)
    >>> network = with_experts(dense, 'moe(4, top_k=1)')
    >>> plain = networks.regression(network, jnp.ones((1, 3)))
    >>> task = balanced_task(plain, coefficient=0.5)
    >>> params = task.init(jax.random.key(0))
    >>> batch = {'inputs': jnp.ones((2, 3)), 'labels': jnp.ones((2, 1))}
    >>> found = task.evaluate(params, batch)
    >>> more = task.loss(params, batch) - plain.loss(params, batch)
    >>> bool(abs(more - 0.5 * found['load_balance']) < 1e-5)
    True

  Source: Lu et al. 2025 (https://arxiv.org/abs/2507.17436), total loss.
  """
  checks.task(task)
  checks.number(coefficient, name='coefficient', low=0.0)

  def watched(fn, params, batch, **options):
    mask = token_mask(batch)
    found, routed = _observe.observe(fn, params, batch, mask=mask, **options)
    if not routed:
      raise ValueError(
        'task has no experts: convert its network, with_experts(network).'
      )
    return found, sum(r.load_balance for r in routed.values()), len(routed)

  def loss(params, batch, *, key=None):
    value, total, _ = watched(task.loss, params, batch, key=key)
    return value + (coefficient * total).astype(value.dtype)

  def evaluate(params, batch):
    values, total, number = watched(task.evaluate, params, batch)
    return {**values, 'load_balance': total / number}

  return task._replace(loss=loss, evaluate=evaluate)


def expert_usage(
  fn: Callable[..., Any],
  *args: Any,
  mask: chex.Array | None = None,
  **options: Any,
) -> dict[str, chex.Array]:
  """Share of the tokens that each expert got in a run of a function.

  Args:
    fn: such as a task's `loss`.
    *args: of it.
    mask: see `observe`.
    **options: of it.

  Returns:
    f32[E] by layer, in [0, 1]; shares add up to k, or 0 without any token.
  """
  _, routed = _observe.observe(fn, *args, mask=mask, **options)
  return {name: _share(r) for name, r in routed.items()}


def _share(routed):
  num_experts = routed.probs.shape[-1]
  counts = _route.usage(routed.idx, num_experts, mask=routed.mask)
  total = jnp.maximum(jnp.sum(counts), 1)
  return routed.idx.shape[-1] * counts.astype(jnp.float32) / total
