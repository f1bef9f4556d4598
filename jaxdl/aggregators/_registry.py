# SPDX-License-Identifier: Apache-2.0
"""Rules by name, for flags and sweeps."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.aggregators import (
  _combinators,
  _coordinate,
  _distance,
  _families,
  _flag,
  _iterative,
  _means,
  _pre,
  _similarity,
  _subspace,
)
from jaxdl.core import checks, types, view as view_lib


class Entry(NamedTuple):
  """What the registry knows about a rule.

  Attributes:
    rule: the pure function, or a factory of an `Aggregator` if `stateful`.
    weights: who was listened to, mostly `<name>_weights`; None for coordinate
      rules, whose shares are averages over coordinates.
    family: 'gram', 'coordinate', 'mean' or 'stateful'.
    byzantine: name of the argument that takes f, if any.
    factor: needs n >= factor * f + extra.
    extra: see `factor`.
    random: whether it consumes a key.
    defaults: options that the rule requires and that flags may override.
  """

  rule: Callable[..., Any]
  weights: Callable[..., Any] | None
  family: str
  byzantine: str | None = 'num_byzantine'
  factor: int = 2
  extra: int = 1
  random: bool = False
  defaults: Mapping[str, Any] = {}


RULES: dict[str, Entry] = {
  'mean': Entry(
    _means.mean, _means.mean_weights, 'mean', byzantine=None, factor=0
  ),
  'median': Entry(_coordinate.median, None, 'coordinate', byzantine=None),
  'trimmed_mean': Entry(
    _coordinate.trimmed_mean, None, 'coordinate', byzantine='num_trimmed'
  ),
  'meamed': Entry(_coordinate.meamed, None, 'coordinate'),
  'phocas': Entry(_coordinate.phocas, None, 'coordinate'),
  'krum': Entry(_distance.krum, _distance.krum_weights, 'gram', extra=3),
  'multi_krum': Entry(
    _distance.multi_krum, _distance.multi_krum_weights, 'gram', extra=3
  ),
  'bulyan': Entry(
    _distance.bulyan, _distance.bulyan_weights, 'gram', factor=4, extra=3
  ),
  'geometric_median': Entry(
    _iterative.geometric_median,
    _iterative.geometric_median_weights,
    'gram',
    byzantine=None,
  ),
  'mda': Entry(_distance.mda, _distance.mda_weights, 'gram'),
  'smea': Entry(_subspace.smea, _subspace.smea_weights, 'gram'),
  'caf': Entry(_subspace.caf, _subspace.caf_weights, 'gram'),
  'cge': Entry(_subspace.cge, _subspace.cge_weights, 'gram'),
  'dnc': Entry(_subspace.dnc, _subspace.dnc_weights, 'gram', random=True),
  'flag': Entry(
    _flag.flag_aggregator,
    _flag.flag_shares,
    'gram',
    byzantine=None,
  ),
  'signguard': Entry(
    _similarity.signguard,
    _similarity.signguard_weights,
    'gram',
    byzantine=None,
    random=True,
  ),
  'centered_clipping': Entry(
    _iterative.centered_clipping_aggregator,
    None,
    'stateful',
    byzantine=None,
    defaults={'clip_radius': 10.0},
  ),
  # Made for any number of sybils.
  'foolsgold': Entry(
    _similarity.foolsgold, None, 'stateful', byzantine=None, factor=0
  ),
}

PRE_RULES: dict[str, Entry] = {
  'nnm': Entry(_pre.nnm, None, 'gram'),
  'bucketing': Entry(_pre.bucketing, None, 'gram', byzantine=None, random=True),
  'clipping': Entry(
    _pre.clipping, None, 'gram', byzantine=None, defaults={'clip_radius': 2.0}
  ),
  'arc': Entry(_pre.arc, None, 'gram'),
}

NAMES = tuple(RULES)
PRE_NAMES = tuple(PRE_RULES)


def _bind(name, entry, num_byzantine, options):
  kwargs = {**entry.defaults, **options}
  if entry.byzantine is not None:
    kwargs.setdefault(entry.byzantine, num_byzantine)
  for option in kwargs:
    if not checks.takes(entry.rule, option):
      known = checks.parameters(entry.rule, name=name).values()
      names = [p.name for p in known if p.kind is p.KEYWORD_ONLY]
      own = [p for p in names if p not in ('key', 'mask', 'axis_name')]
      raise ValueError(
        f'{name} has no option {option!r}: its options are '
        f'{", ".join(own) or "none"}.'
      )
  return functools.partial(entry.rule, **kwargs), kwargs


def make_aggregator(
  name: str,
  *,
  num_clients: int,
  num_byzantine: int = 0,
  pre: Sequence[str] = (),
  options: Mapping[str, Any] | None = None,
  pre_options: Mapping[str, Mapping[str, Any]] | None = None,
) -> types.Aggregator:
  """Builds a server rule from names, checked before anything compiles.

  Args:
    name: one of `NAMES`.
    num_clients: N that it will see (static).
    num_byzantine: f that the rules are told (static).
    pre: pre-aggregators in order, each one of `PRE_NAMES`.
    options: keyword arguments of the rule; `centered_clipping` takes
      `clip_radius` 10 unless told otherwise.
    pre_options: keyword arguments per pre-aggregator.

  Returns:
    An `Aggregator` with `explain` (coordinate rules report the average weight
    over coordinates). `apply` takes `key` if a part is random.

  Raises:
    ValueError: for unknown names or options, or if N and f do not fit; from
      `apply`, if another number of clients comes with an axis name, or weights
      to a rule that does not listen to them.

  Example:
    >>> server = make_aggregator(
    ...   'krum', num_clients=5, num_byzantine=1, pre=('nnm',)
    ... )
    >>> x = jnp.array([[0.0], [1.0], [2.0], [3.0], [90.0]])
    >>> server.apply(x, server.init(x[0]))[0]
    Array([1.5], dtype=float32)
  """
  checks.choice(name, NAMES, name='aggregator')
  if isinstance(pre, str):
    raise TypeError(
      f'pre must be a tuple of names; got the text {pre!r}: write ({pre!r},).'
    )
  for stage in pre:
    checks.choice(stage, PRE_NAMES, name='pre_aggregator')
  n = checks.integer(num_clients, name='num_clients', low=1)
  f = checks.integer(num_byzantine, name='num_byzantine', low=0, high=n)
  entry = RULES[name]
  for stage in pre_options or {}:
    if stage not in pre:
      raise ValueError(
        f'pre_options is about {stage!r}, which is not in pre={tuple(pre)}: '
        'add it there or leave its options out.'
      )
  before = [
    _bind(p, PRE_RULES[p], f, (pre_options or {}).get(p, {}))[0] for p in pre
  ]
  options = dict(options or {})
  if name == 'foolsgold':
    options.setdefault('num_clients', n)
  rule, bound = _bind(name, entry, f, options)
  if entry.family == 'stateful':
    server = _with_memory(name, rule(), tuple(before))
  else:
    server = _without_memory(entry, rule, bound, tuple(before))
  if entry.byzantine is None:  # The others look themselves.
    left = _rows_after(tuple(before), n)
    limits = {'factor': entry.factor, 'extra': entry.extra}
    _families.check_tolerance(name, left, f, **limits)
  _rehearse(server, n)
  return _counting(server, n)


def as_aggregator(
  rule: types.Aggregator | Callable[..., Any], *, name: str = 'aggregator'
) -> types.Aggregator:
  """Turns what stands for a server rule into an `Aggregator`.

  Every algorithm with a server calls it, so that `median` or
  `functools.partial(krum, num_byzantine=3)` may be given as they are.

  Args:
    rule: an `Aggregator` (kept), or a pure rule without memory (options
      bound by `functools.partial`), of this package or your own.
    name: the argument's name, for messages.

  Returns:
    An `Aggregator`; it explains itself if the rule is one of `RULES`.

  Raises:
    TypeError: if it is anything else; the message says what to call.

  Example:
    >>> from jaxdl import aggregators
    >>> server = as_aggregator(
    ...   functools.partial(aggregators.krum, num_byzantine=1)
    ... )
    >>> x = jnp.array([[0.0], [1.0], [1.5], [3.0], [90.0]])
    >>> server.apply(x, server.init(x[0]))[0]
    Array([1.], dtype=float32)
  """
  if isinstance(rule, types.Aggregator):
    return rule
  others = (types.Attack, types.Network, types.Task, types.Algorithm)
  pair = checks.has_functions(rule, 'init', 'apply')
  if pair and not isinstance(rule, others) and not hasattr(rule, 'matrix'):
    return types.Aggregator(
      rule.init, rule.apply, getattr(rule, 'explain', None)
    )
  if isinstance(rule, str):
    raise TypeError(
      f'{name} must be a rule; got the text {rule!r}: call '
      f'aggregators.make_aggregator({rule!r}, num_clients=N, num_byzantine=f).'
    )
  fn = checks.unwrapped(rule)
  label = checks.described(fn).removeprefix('the function ')
  for entry in PRE_RULES.values():
    if fn is entry.rule:
      raise TypeError(
        f'{name}={label} keeps one vector per client: put a rule after it, '
        f'aggregators.chain({label}, rule).'
      )
  factories = [e.rule for e in RULES.values() if e.family == 'stateful']
  factories += [_combinators.chain, _combinators.stateless]
  factories += [_combinators.server_momentum, make_aggregator, as_aggregator]
  if any(fn is factory for factory in factories):
    raise TypeError(
      f'{name}={label} makes a rule: call it with its arguments first.'
    )
  for key, entry in RULES.items():
    if fn is not None and entry.weights is fn:
      raise TypeError(
        f'{name}={label} returns weights instead of an update: pass the rule '
        f'{key!r} itself.'
      )
    if entry.rule is fn:
      checks.rule(rule, name=name)
      bound = dict(rule.keywords) if isinstance(rule, functools.partial) else {}
      return _without_memory(entry, rule, bound, ())
  checks.rule(rule, name=name)
  return _combinators.stateless(rule)


def _rows_after(before, n):
  """Vectors that pre-aggregators leave of n; bucketing leaves fewer."""
  if not before:
    return n
  stages = (*before, lambda view: view.materialize())
  stages[-1].knows_views = True
  run = lambda x: _combinators.run_stages(
    stages, view_lib.view(x), jax.random.key(0)
  )
  x = jax.ShapeDtypeStruct((n, 2), jnp.float32)
  return jax.eval_shape(run, x).shape[0]


def _rehearse(server, n):
  """Traces one call on tiny shapes, so that impossible settings fail now."""
  x = jax.ShapeDtypeStruct((n, 2), jnp.float32)

  def call(x):
    key = jax.random.key(0)
    return server.apply(x, server.init(x[0]), key=key)[0]

  jax.eval_shape(call, x)


def _counting(server, n):
  """Refuses another number of clients where an axis was probably forgotten."""

  def check(updates, axis_name):
    if axis_name is None:
      return
    count = _families.num_vectors(updates, axis_name)
    if count != n:
      shape = jnp.shape(jax.tree.leaves(updates)[0])
      raise ValueError(
        f'updates has {count} clients on {jax.lax.axis_size(axis_name)} '
        f'devices (a leaf of shape {shape} on each) but num_clients={n}: '
        'leaves are [N / P, ...], and the update of one client needs its '
        'axis, x[None].'
      )

  def apply(updates, state, *, axis_name=None, **options):
    check(updates, axis_name)
    return server.apply(updates, state, axis_name=axis_name, **options)

  def explain(updates, state, *, axis_name=None, **options):
    check(updates, axis_name)
    return server.explain(updates, state, axis_name=axis_name, **options)

  return types.Aggregator(
    server.init, apply, None if server.explain is None else explain
  )


def _without_memory(entry, rule, bound, before):
  stages = (*before, rule)

  def apply(
    updates, state, *, weights=None, key=None, mask=None, axis_name=None
  ):
    if entry.family != 'mean' or before:
      label = checks.described(checks.unwrapped(rule))
      _families.no_weights(label.removeprefix('the function '), weights)
    if not before:
      kwargs = {'mask': mask, 'axis_name': axis_name}
      if entry.random:
        kwargs['key'] = key
      if weights is not None:
        kwargs['weights'] = weights
      return rule(updates, **kwargs), state
    view = view_lib.view(updates, mask=mask, axis_name=axis_name)
    return _combinators.run_stages(stages, view, key), state

  def explain(updates, state, *, key=None, mask=None, axis_name=None):
    del state
    view = view_lib.view(updates, mask=mask, axis_name=axis_name)
    if entry.weights is not None:
      last = functools.partial(entry.weights, **bound)
      return _combinators.run_stages((*before, last), view, key)
    seen = _combinators.run_stages((*before, lambda v: v), view, key)
    rows = seen.materialize()
    if seen.axis_name is not None and seen.coefficients is None:
      # Only here does a device hold the updates of all clients.
      rows = jax.lax.all_gather(rows, seen.axis_name, tiled=True)
    shares = _families.merge_shares(
      functools.partial(rule, mask=seen.present), rows
    )
    return seen.pull(shares)

  return types.Aggregator(lambda params: (), apply, explain)


def _with_memory(name, server, before):
  if not before:
    return server
  if name != 'centered_clipping':
    raise ValueError(
      f'{name} keeps one history per client and cannot follow a '
      'pre-aggregator: drop pre.'
    )

  def apply(
    updates, state, *, weights=None, key=None, mask=None, axis_name=None
  ):
    _families.no_weights(name, weights)
    view = view_lib.view(updates, mask=mask, anchor=state, axis_name=axis_name)
    view = _combinators.run_stages((*before, lambda v: v), view, key)
    return server.apply(view, state)

  def explain(updates, state, *, key=None, mask=None, axis_name=None):
    view = view_lib.view(updates, mask=mask, anchor=state, axis_name=axis_name)
    view = _combinators.run_stages((*before, lambda v: v), view, key)
    return server.explain(view, state)

  return types.Aggregator(server.init, apply, explain)
