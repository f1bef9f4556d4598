# SPDX-License-Identifier: Apache-2.0
"""Rules by name, for flags and sweeps."""

import functools
from collections.abc import Callable
from typing import Any

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
from jaxdl.core import checks, registry, types, view as view_lib

_GIVEN = ('updates', 'weights', 'key', 'mask', 'axis_name', 'num_clients')
_TOLD = ('num_byzantine', 'num_trimmed')

PRE_RULES = registry.Registry(
  'pre_aggregator',
  {
    'nnm': _pre.nnm,
    'bucketing': _pre.bucketing,
    'clipping': _pre.clipping,
    'arc': _pre.arc,
  },
  given=_GIVEN,
  told=_TOLD,
)

RULES = registry.Registry(
  'rule',
  {
    'mean': _means.mean,
    'median': _coordinate.median,
    'trimmed_mean': _coordinate.trimmed_mean,
    'meamed': _coordinate.meamed,
    'phocas': _coordinate.phocas,
    'sign_majority': _coordinate.sign_majority,
    'krum': _distance.krum,
    'multi_krum': _distance.multi_krum,
    'repeated_krum': _distance.repeated_krum,
    'bulyan': _distance.bulyan,
    'geometric_median': _iterative.geometric_median,
    'mda': _distance.mda,
    'smea': _subspace.smea,
    'caf': _subspace.caf,
    'cge': _subspace.cge,
    'dnc': _subspace.dnc,
    'flag': _flag.flag_aggregator,
    'signguard': _similarity.signguard,
    'centered_clipping': _iterative.centered_clipping_aggregator,
    'foolsgold': _similarity.foolsgold,
  },
  given=_GIVEN,
  told=_TOLD,
  before=PRE_RULES,
)


def make_aggregator(
  spec: str, *, num_clients: int, num_byzantine: int = 0
) -> types.Aggregator:
  """Builds a server rule from text, checked before anything compiles.

  Args:
    spec: `[pre+...]rule`, parts of `PRE_RULES` and one of `RULES` with their
      options, see `core.registry`: 'krum', 'nnm+trimmed_mean',
      'bucketing(bucket_size=3)+krum(num_neighbors="n-f-1")'. An option
      `num_byzantine` tells that part another number of adversaries.
    num_clients: N that it will see (static).
    num_byzantine: f that the parts are told (static).

  Returns:
    An `Aggregator` with `explain`, see `weights_of` and `stateless`. `apply`
    takes `key` if a part is random.

  Raises:
    ValueError: for unknown names or options, or if N and f do not fit; from
      `apply`, if another number of clients comes with an axis name, or weights
      to a rule that does not listen to them.
    TypeError: if `spec` is no text.

  Example:
    >>> server = make_aggregator('nnm+krum', num_clients=5, num_byzantine=1)
    >>> x = jnp.array([[0.0], [1.0], [2.0], [3.0], [90.0]])
    >>> server.apply(x, server.init(x[0]))[0]
    Array([1.5], dtype=float32)
  """
  *first, last = RULES.parts(spec)
  n = checks.integer(num_clients, name='num_clients', low=1)
  f = checks.integer(num_byzantine, name='num_byzantine', low=0, high=n)
  before = tuple(_bound(PRE_RULES, part, n, f) for part in first)
  rule = _bound(RULES, last, n, f)
  facts = registry.facts(rule)
  assert facts is not None
  if before and facts.alone:
    raise ValueError(
      f'rule={spec!r}: {last.name} {facts.alone} and cannot follow a '
      f'pre-aggregator: write {last.text}.'
    )
  if facts.stateful:
    server = _with_memory(last.name, rule(), before)
  else:
    chained = _combinators.chain(*before, rule) if before else rule
    server = _combinators.stateless(chained)
  if facts.byzantine is None:  # The others look themselves.
    limits = {'factor': facts.factor, 'extra': facts.extra}
    _families.check_tolerance(last.name, _rows_after(before, n), f, **limits)
  _rehearse(server, n)
  return _counting(server, n)


def as_aggregator(
  rule: types.Aggregator | Callable[..., Any] | str,
  *,
  num_clients: int | None = None,
  num_byzantine: int | None = None,
  name: str = 'aggregator',
) -> types.Aggregator:
  """Turns what stands for a server rule into an `Aggregator`.

  Every algorithm with a server calls it, so that `median`,
  `functools.partial(krum, num_byzantine=3)` or 'nnm+krum' may be given as they
  are.

  Args:
    rule: an `Aggregator` (kept), a pure rule without memory (options bound by
      `functools.partial`), of this package or your own, or the text that
      `make_aggregator` takes.
    num_clients: N, for text.
    num_byzantine: f that text is told; none by default.
    name: the argument's name, for messages.

  Returns:
    An `Aggregator`; it explains itself if the rule is of this package.

  Raises:
    TypeError: if it is anything else; the message says what to call.
    ValueError: as `make_aggregator`.

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
    if num_clients is None:
      raise TypeError(
        f'{name} must be a rule; got the text {rule!r}: call '
        f'aggregators.make_aggregator({rule!r}, num_clients=N, '
        'num_byzantine=f).'
      )
    return make_aggregator(
      rule, num_clients=num_clients, num_byzantine=num_byzantine or 0
    )
  fn = checks.unwrapped(rule)
  label = checks.described(fn).removeprefix('the function ')
  if any(fn is stage for stage in PRE_RULES.values()):
    raise TypeError(
      f'{name}={label} keeps one vector per client: put a rule after it, '
      f'aggregators.chain({label}, rule).'
    )
  facts = registry.facts(rule)
  factories = (
    _combinators.chain, _combinators.stateless, _combinators.server_momentum,
    make_aggregator, as_aggregator,
  )  # fmt: skip
  if any(fn is x for x in factories) or (facts is not None and facts.stateful):
    raise TypeError(
      f'{name}={label} makes a rule: call it with its arguments first.'
    )
  checks.rule(rule, name=name)
  return _combinators.stateless(rule)


def as_rule(
  rule: Callable[..., Any] | str, *, num_byzantine: int = 0
) -> Callable[..., Any]:
  """Turns text into a rule without memory, for any number of clients.

  Args:
    rule: text such as 'nnm+krum', or a function (kept).
    num_byzantine: f that parts of text are told.

  Returns:
    `rule(updates, *, mask=None, ...) -> update`.

  Raises:
    ValueError: if a name or an option is unknown, or a part has a memory.

  Example:
    >>> as_rule('median')(jnp.array([[1.0], [2.0], [9.0]]))
    Array([2.], dtype=float32)
  """
  if not isinstance(rule, str):
    return rule
  f = checks.integer(num_byzantine, name='num_byzantine', low=0)
  *first, last = RULES.parts(rule)
  bound = []
  for known, part in (
    *((PRE_RULES, part) for part in first),
    (RULES, last),
  ):
    facts = registry.facts(known[part.name])
    if facts is not None and facts.stateful:
      raise ValueError(
        f'rule={rule!r}: {part.name} has a memory, which mixers do not '
        'keep: use another rule.'
      )
    told = getattr(facts, 'byzantine', None)
    options = ({told: f} if told else {}) | part.options
    bound.append(functools.partial(known[part.name], **options))
  return _combinators.chain(*bound) if first else bound[0]


def _bound(
  table: registry.Registry, part: registry.Part, n: int, f: int
) -> Callable[..., Any]:
  """The function of a part with its options and what it is told."""
  facts = registry.facts(table[part.name])
  told = {'num_clients': n}
  if facts is not None and facts.byzantine is not None:
    told[facts.byzantine] = f
  return table.partial(part, **told)


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


def _with_memory(name, server, before):
  """A server with memory behind pre-aggregators, see `Facts.alone`."""
  if not before:
    return server

  def seen(updates, state, key, mask, axis_name):
    view = view_lib.view(updates, mask=mask, anchor=state, axis_name=axis_name)
    return _combinators.run_stages((*before, lambda v: v), view, key)

  def apply(
    updates, state, *, weights=None, key=None, mask=None, axis_name=None
  ):
    _families.no_weights(name, weights)
    return server.apply(seen(updates, state, key, mask, axis_name), state)

  def explain(updates, state, *, key=None, mask=None, axis_name=None):
    return server.explain(seen(updates, state, key, mask, axis_name), state)

  return types.Aggregator(server.init, apply, explain)
