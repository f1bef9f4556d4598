# SPDX-License-Identifier: Apache-2.0
"""Building servers from rules: chains, memory-less wrappers, momentum."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.aggregators import _families
from jaxdl.core import checks, registry, trees, types, view as view_lib

Rule = Callable[..., chex.ArrayTree]
_PACKAGE = 'jaxdl.aggregators.'


def call(stage: Callable[..., Any], updates: Any, **kwargs: Any) -> Any:
  """Calls a rule; says so if it cannot be traced.

  Args:
    stage: a function or `functools.partial` of one.
    updates: stacked tree or view.
    **kwargs: options; a `key` of None is left out.

  Returns:
    What it returns.

  Raises:
    TypeError: if it needs a key and there is none, or if it makes NumPy arrays
      of traced ones.
  """
  fn = checks.unwrapped(stage)
  label = checks.described(fn).removeprefix('the function ')
  if kwargs.get('key') is None:
    kwargs.pop('key', None)
    if _needs(stage, 'key'):
      raise TypeError(
        f'{label} needs a key, and there is none: add key=jax.random.key(seed) '
        'to the call, of a chain or of apply and explain alike.'
      )
  try:
    return stage(updates, **kwargs)
  except jax.errors.TracerArrayConversionError as error:
    numpy = (getattr(fn, '__module__', '') or '').partition('.')[0] == 'numpy'
    what = f'np.{label} makes' if numpy else f'{label} makes'
    instead = f'jnp.{label}' if numpy else 'jnp'
    raise TypeError(
      f'{what} NumPy arrays of its updates, which jit traces: use {instead} '
      f'(jax.numpy) in place of NumPy.'
    ) from error


def _needs(stage, name):
  if isinstance(stage, functools.partial) and name in stage.keywords:
    return False
  try:
    found = inspect.signature(stage).parameters.get(name)
  except (TypeError, ValueError):  # Some builtins hide their signature.
    return False
  return found is not None and found.default is inspect.Parameter.empty


def knows_views(stage: Callable[..., object]) -> bool:
  """Whether a stage may be given a `core.view.View` in place of a tree.

  Args:
    stage: a function or `functools.partial` of one.

  Returns:
    True for everything of this package, and for functions of yours with an
    attribute `knows_views = True`.
  """
  fn = checks.unwrapped(stage)
  if getattr(fn, 'knows_views', False):
    return True
  home = getattr(fn, '__globals__', {}).get('__name__', '')
  return home.startswith(_PACKAGE)


def _call_on_tree(stage, view, kwargs):
  """Runs a function that knows stacked trees only on a view's vectors."""
  rows, present, axis_name = view.materialize(), view.present, None
  if view.coefficients is not None:
    rows = trees.where_rows(view.valid, rows, jnp.inf)
    if present is not None:  # Padding is no attacker.
      rows = trees.where_rows(present, rows, 0.0)
  elif view.axis_name is not None and checks.takes(stage, 'axis_name'):
    axis_name = kwargs['axis_name'] = view.axis_name
  elif view.axis_name is not None:
    rows = jax.lax.all_gather(rows, view.axis_name, tiled=True)
  if present is not None:
    if not checks.takes(stage, 'mask'):
      label = checks.described(checks.unwrapped(stage))
      raise ValueError(
        f'{label} takes no mask, but some clients are padding: give it a '
        'keyword mask (bool[N], false for rows to leave out), or drop those '
        'rows first.'
      )
    kwargs['mask'] = present
    if axis_name is not None:  # This device's share, as of the rows.
      size = checks.num_clients(rows)
      start = jax.lax.axis_index(axis_name) * size
      kwargs['mask'] = jax.lax.dynamic_slice_in_dim(present, start, size)
  return call(stage, rows, **kwargs), axis_name


def _view_again(rows, before, axis_name, stage):
  """The view of what a stage made of another view's vectors."""
  n = checks.num_clients(rows, name=f'result of {checks.described(stage)}')
  devices = 1 if axis_name is None else checks.axis_size(axis_name)
  mask = before.present if n * devices == before.size else None
  if mask is not None and axis_name is not None:
    start = jax.lax.axis_index(axis_name) * n
    mask = jax.lax.dynamic_slice_in_dim(mask, start, n)
  view = view_lib.view(rows, mask=mask, axis_name=axis_name)
  return dataclasses.replace(view, reads_weights=before.reads_weights)


def chain(*stages: Callable[..., object]) -> Rule:
  """Composes pre-aggregators and a final rule in Gram space.

  All stages of this package but the last see and return a view, so however long
  the chain, the clients are read twice. The last one may be any rule;
  `weights_of(chain(...), updates)` tells what it makes of the clients.

  Stages of your own are given stacked trees, leaves [M, ...], at the price of
  writing the M vectors out; vectors made of a client that is not finite are
  +inf in every coordinate. With a mask they must take `mask: bool[M]`. Inside a
  mapped axis they see all M vectors on every device; as the first stage they
  see this device's share if they take `axis_name`, and else all clients,
  gathered. What a stage before the last returns, leaves [K, ...], stands for K
  clients; the mask goes on if K = M. A function of yours that understands
  `core.view.View` says so by an attribute, `my_rule.knows_views = True`.

  Args:
    *stages: functions of the updates (bind their options with
      `functools.partial`); the last is the rule.

  Returns:
    A function `(updates, *, key=None, mask=None, axis_name=None)`. Stages that
    take a key get one each, split from `key`.

  Raises:
    ValueError: without stages; when called, if there is a mask that a stage
      does not take.
    TypeError: if a stage is no function of the updates alone.

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
  for number, stage in enumerate(stages):
    checks.rule(stage, name=f'stages[{number}]')
    module = getattr(checks.unwrapped(stage), '__module__', '') or ''
    ours = module.startswith(__name__.rpartition('.')[0] + '.')
    if number < len(stages) - 1 and ours and not module.endswith('._pre'):
      name = checks.described(checks.unwrapped(stage))
      raise ValueError(
        f'stages[{number}] is {name}, a rule: it gives one vector, so it must '
        'come last; before it come nnm, bucketing, clipping, arc or your own.'
      )

  def composed(updates, *, key=None, mask=None, axis_name=None):
    view = view_lib.view(updates, mask=mask, axis_name=axis_name)
    return run_stages(stages, view, key)

  setattr(composed, 'stages', stages)  # noqa: B010
  return composed


def run_stages(
  stages: tuple[Callable[..., Any], ...],
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
  wanting = [checks.takes(stage, 'key') for stage in stages]
  subkeys = iter(())
  if key is not None and sum(wanting) == 1:
    subkeys = iter((key,))
  elif key is not None and any(wanting):
    subkeys = iter(jax.random.split(key, sum(wanting)))
  for number, (stage, wants) in enumerate(zip(stages, wanting, strict=True)):
    kwargs = {'key': next(subkeys, None) if wants else None}
    if knows_views(stage) or not isinstance(view, view_lib.View):
      view = call(stage, view, **kwargs)
      continue
    rows, axis_name = _call_on_tree(stage, view, kwargs)
    if number == len(stages) - 1:
      return rows
    view = _view_again(rows, view, axis_name, checks.unwrapped(stage))
  return view


def weights_of(
  rule: types.Aggregator | Rule,
  updates: _families.Updates,
  *,
  key: chex.PRNGKey | None = None,
  mask: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.Array:
  """Tells how much of each client is in what a rule makes of them.

  The rule runs on a view that answers with weights where a sum is asked for.
  For rules that are weighted sums of the clients, `weights @ updates` is the
  update. Coordinate rules report the average of their weights over coordinates,
  `bulyan` the clients that its first stage selects.

  Args:
    rule: a rule of this package with its options bound, a `chain` that ends in
      one, a function of yours that understands views (`knows_views = True`), or
      an `Aggregator`, whose `explain` is asked with a fresh state.
    updates: stacked tree, leaves [N, ...], floating point, or a view.
    key: consumed, by rules that take one.
    mask: bool[N], false for padding rows.
    axis_name: mapped axis over which the clients are split.

  Returns:
    f32[N] on the client rows; on the K vectors that it made, if the chain has
    a stage of your own that knows stacked trees only.

  Raises:
    TypeError: if the rule cannot be read; the message says what to do.
    ValueError: as the rule.

  Cost: one pass over the clients and what the rule does with numbers; one more
    pass and a derivative for coordinate rules.

  Example:
    >>> x = jnp.array([[0.0], [1.0], [1.5], [2.5], [90.0]])
    >>> weights_of(functools.partial(multi_krum, num_byzantine=1), x)
    Array([0.25, 0.25, 0.25, 0.25, 0.  ], dtype=float32)
  """
  if isinstance(rule, functools.partial):  # What a view settles.
    bound = dict(rule.keywords)
    mask = bound.pop('mask', mask)
    axis_name = bound.pop('axis_name', axis_name)
    rule = functools.partial(rule.func, *rule.args, **bound)
  if isinstance(rule, types.Aggregator):
    if rule.explain is None:
      raise TypeError(
        'rule is an Aggregator that does not explain itself: pass the function '
        'that it was made of.'
      )
    rows = updates.base if isinstance(updates, view_lib.View) else updates
    one = jax.tree.map(lambda x: jnp.zeros_like(x[0]), rows)
    return rule.explain(
      updates, rule.init(one), key=key, mask=mask, axis_name=axis_name
    )
  checks.rule(rule, name='rule')
  if not is_readable(rule):
    label = checks.described(checks.unwrapped(rule))
    raise TypeError(
      f'rule={label.removeprefix("the function ")} knows stacked trees only, '
      'which hold no weights: merge_shares(rule, updates) gives those of '
      'coordinate rules; a function that understands core.view.View says so by '
      'an attribute, knows_views = True.'
    )
  view = view_lib.view(updates, mask=mask, axis_name=axis_name)
  view = dataclasses.replace(view, reads_weights=True)
  weights = run_stages((rule,), view, key)
  shape = jnp.shape(weights) if hasattr(weights, 'shape') else None
  if shape is None or len(shape) != 1:
    label = checks.described(checks.unwrapped(rule))
    raise TypeError(
      f'rule={label.removeprefix("the function ")} did not combine the vectors '
      f'of its view into one; it made {checks.described(weights)}.'
    )
  return weights


def is_readable(rule: Rule) -> bool:
  """Whether `weights_of` can ask a rule: its last stage must know views."""
  stages = getattr(checks.unwrapped(rule), 'stages', (rule,))
  if stages[-1] is rule:
    return knows_views(rule)
  return is_readable(stages[-1])


def _shares(rule):
  """The rule as it tells who was listened to, see `Facts.shares`."""
  stages = getattr(checks.unwrapped(rule), 'stages', None)
  if stages is not None:
    return chain(*stages[:-1], _shares(stages[-1]))
  facts = registry.facts(rule)
  if facts is None or facts.shares is None:
    return rule
  bound = rule.keywords if isinstance(rule, functools.partial) else {}
  return functools.partial(facts.shares, **bound)


def stateless(rule: Rule) -> types.Aggregator:
  """Wraps a pure rule as an `Aggregator` without memory.

  Args:
    rule: function of a stacked tree; gets `mask`, `axis_name` and `weights`
      if they are given, and `key` where it takes one.

  Returns:
    An `Aggregator` whose state is an empty tuple. It explains itself as
    `weights_of` says if the rule is of this package or understands views; the
    flag aggregator by the shares of the unit updates, whatever the lengths.

  Raises:
    TypeError: if it is no function of the updates alone.
    ValueError: from `apply` and `explain`, if the rule does not take what is
      given.

  Example:
    >>> server = stateless(median)
    >>> server.apply(jnp.array([[1.0], [2.0], [90.0]]), server.init(None))
    (Array([2.], dtype=float32), ())
  """
  checks.rule(rule, name='rule')
  last = getattr(checks.unwrapped(rule), 'stages', (rule,))[-1]
  label = checks.described(checks.unwrapped(last))
  label = label.removeprefix('the function ')

  def apply(
    updates, state, *, weights=None, key=None, mask=None, axis_name=None
  ):
    if weights is not None and not checks.takes(rule, 'weights'):
      _families.no_weights(label, weights)
    given = {'mask': mask, 'axis_name': axis_name, 'weights': weights}
    given = {k: v for k, v in given.items() if v is not None}
    for name in given:
      if not checks.takes(rule, name):
        raise ValueError(
          f'{name}: {label} does not take it and would return the same '
          'without: leave it out, or write a rule with such a keyword.'
        )
    if checks.takes(rule, 'key'):
      given['key'] = key
    return call(rule, updates, **given), state

  def explain(updates, state, *, key=None, mask=None, axis_name=None):
    del state
    return weights_of(shown, updates, key=key, mask=mask, axis_name=axis_name)

  shown = _shares(rule) if is_readable(rule) else None
  return types.Aggregator(
    lambda params: (), apply, None if shown is None else explain
  )


def server_momentum(
  rule: types.Aggregator | Rule, *, decay: chex.Numeric
) -> types.Aggregator:
  """Keeps an exponential average of what a rule returns.

  Args:
    rule: any `Aggregator`, or a pure rule.
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
  if not isinstance(rule, types.Aggregator):
    rule = stateless(rule)

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
