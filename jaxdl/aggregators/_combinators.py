# SPDX-License-Identifier: Apache-2.0
"""Building servers from rules: chains, memory-less wrappers, momentum."""

import functools
import inspect
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.aggregators import _families
from jaxdl.core import checks, types, view as view_lib

Rule = Callable[..., chex.ArrayTree]


def takes(stage: Callable[..., object], name: str) -> bool:
  """Whether a stage still wants a keyword argument.

  Args:
    stage: a function or `functools.partial` of one.
    name: the keyword.

  Returns:
    True if the signature has it (or **kwargs) and it is not bound yet.
  """
  if isinstance(stage, functools.partial) and name in stage.keywords:
    return False
  parameters = inspect.signature(stage).parameters
  return name in parameters or any(
    p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()
  )


def _call(stage, updates, key):
  kwargs = {} if key is None else {'key': key}
  return stage(updates, **kwargs)


def chain(*stages: Callable[..., object]) -> Rule:
  """Composes pre-aggregators and a final rule in Gram space.

  All stages but the last see and return a view, so however long the chain, the
  clients are read twice. The last one may be any rule, also a `<name>_weights`
  function: then the chain returns weights on the clients.

  Args:
    *stages: functions of the updates (bind their options with
      `functools.partial`); the last is the rule.

  Returns:
    A function `(updates, *, key=None, mask=None, axis_name=None)`. Stages that
    take a key get one each, split from `key`.

  Raises:
    ValueError: without stages.

  Example:
    >>> robust = chain(
    ...   functools.partial(nnm, num_byzantine=1),
    ...   functools.partial(krum, num_byzantine=1),
    ... )
    >>> robust(jnp.array([[0.0], [1.0], [2.0], [3.0], [90.0]]))
    Array([1.5], dtype=float32)
  """
  if not stages:
    raise ValueError('chain needs at least a rule.')

  def composed(updates, *, key=None, mask=None, axis_name=None):
    view = view_lib.view(updates, mask=mask, axis_name=axis_name)
    return run_stages(stages, view, key)

  return composed


def run_stages(
  stages: tuple[Callable[..., object], ...],
  view: _families.Updates,
  key: chex.PRNGKey | None,
):
  """Runs the stages of a chain on a view.

  Args:
    stages: pre-aggregators, then the rule.
    view: view (or tree, if the first stage is the rule).
    key: consumed; split among the stages that take one if several do.

  Returns:
    What the last stage returns.

  Raises:
    TypeError: if a stage needs a key and there is none.
  """
  wanting = [takes(stage, 'key') for stage in stages]
  subkeys = iter(())
  if key is not None and sum(wanting) == 1:
    subkeys = iter((key,))
  elif key is not None and any(wanting):
    subkeys = iter(jax.random.split(key, sum(wanting)))
  for stage, wants in zip(stages, wanting, strict=True):
    view = _call(stage, view, next(subkeys, None) if wants else None)
  return view


def stateless(
  rule: Rule, *, weights_fn: Rule | None = None
) -> types.Aggregator:
  """Wraps a pure rule as an `Aggregator` without memory.

  Args:
    rule: function of a stacked tree; gets `key`, `mask`, `axis_name` and
      `weights` where it takes them and they are given.
    weights_fn: the matching `<name>_weights`, if any.

  Returns:
    An `Aggregator` whose state is an empty tuple.

  Example:
    >>> server = stateless(median)
    >>> server.apply(jnp.array([[1.0], [2.0], [90.0]]), server.init(None))
    (Array([2.], dtype=float32), ())
  """

  def given(fn, kwargs):
    return {k: v for k, v in kwargs.items() if v is not None and takes(fn, k)}

  def apply(updates, state, **kwargs):
    return rule(updates, **given(rule, kwargs)), state

  def explain(updates, state, **kwargs):
    del state
    assert weights_fn is not None
    return weights_fn(updates, **given(weights_fn, kwargs))

  return types.Aggregator(
    lambda params: (), apply, None if weights_fn is None else explain
  )


def server_momentum(
  rule: types.Aggregator, *, decay: chex.Numeric
) -> types.Aggregator:
  """Keeps an exponential average of what a rule returns.

  Args:
    rule: any `Aggregator`.
    decay: beta in [0, 1); static or traced.

  Returns:
    An `Aggregator`; updates are beta · old + (1 - beta) · new.

  Raises:
    ValueError: if beta is out of range.

  Example:
    >>> server = server_momentum(stateless(median), decay=0.5)
    >>> server.apply(jnp.array([[4.0]]), server.init(jnp.zeros(1)))[0]
    Array([2.], dtype=float32)
  """
  checks.number(decay, name='decay', low=0.0, high=1.0, open_high=True)

  def init(params):
    return rule.init(params), jax.tree.map(jnp.zeros_like, params)

  def apply(updates, state, **kwargs):
    inner, average = state
    fresh, inner = rule.apply(updates, inner, **kwargs)
    average = jax.tree.map(
      lambda old, new: (decay * old + (1 - decay) * new).astype(old.dtype),
      average,
      fresh,
    )
    return average, (inner, average)

  explain = None
  if rule.explain is not None:
    inner_explain = rule.explain
    explain = lambda updates, state, **kwargs: inner_explain(
      updates, state[0], **kwargs
    )
  return types.Aggregator(init, apply, explain)
