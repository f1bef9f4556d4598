# SPDX-License-Identifier: Apache-2.0
"""Adversaries that know the rule and search for the step that hurts it most."""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp

from jaxdl.attacks import _honest
from jaxdl.core import checks, trees

GRID = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 16.0)
SHRINK = 0.8

Rule = Callable[[chex.ArrayTree], chex.ArrayTree]
Damage = Callable[[chex.ArrayTree], chex.Array]


def line_search(
  objective: Callable[[chex.Array], chex.Array],
  *,
  num_evals: int = 16,
  step: chex.Numeric = 1.0,
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> chex.Array:
  """Maximizes a function of one number x >= 0 by expanding, then shrinking.

  Starts at zero and steps away, doubling the step while the objective grows;
  then tries points around the best one with a step that shrinks by 0.8. The
  best point of all evaluations is returned. Points below zero are mirrored,
  an objective of NaN counts as infinite.

  Args:
    objective: maps [] to a scalar; evaluated one after the other.
    num_evals: evaluations, >= 1 (static).
    step: first step, > 0; may be traced.
    dtype: of x (static).

  Returns:
    [], the best x.

  Raises:
    ValueError, TypeError: if an argument is malformed.

  Example:
    >>> line_search(lambda x: -jnp.square(x - 5.0), num_evals=3, step=2.0)
    Array(6., dtype=float32)

  Source: El-Mhamdi et al. 2021 (https://arxiv.org/abs/2003.00010), code; the
  mirror is ours.
  """
  checks.integer(num_evals, name='num_evals', low=1)
  checks.number(step, name='step', low=0.0, open_low=True)
  value = lambda x: _no_nan(objective(x))
  start = jnp.zeros((), dtype)
  delta = jnp.asarray(step, dtype)

  def body(_, carry):
    best, best_value, x, delta, expanding = carry
    y = value(x)
    better = y > best_value
    best = jnp.where(better, x, best)
    best_value = jnp.where(better, y, best_value)
    expanding = expanding & better
    delta = delta * jnp.where(expanding, 2, SHRINK).astype(delta.dtype)
    forward = expanding | (x < best)
    x = jnp.abs(jnp.where(forward, x + delta, x - delta))
    return best, best_value, x, delta, expanding

  # The first evaluation, at zero, fixes the dtype of the values.
  carry = (start, value(start), delta, delta, jnp.asarray(True))
  return jax.lax.fori_loop(1, num_evals, body, carry)[0]


def grid_search(
  objective: Callable[[chex.Array], chex.Array],
  grid: chex.Array,
  *,
  num_at_once: int | None = None,
) -> chex.Array:
  """Maximizes a function of one number over given candidates.

  Args:
    objective: maps [] to a scalar; is vmapped. NaN counts as infinite.
    grid: f32[K] candidates; the first of those that are equal up to rounding
      wins. May be traced.
    num_at_once: candidates that are tried together (static); None for all.

  Returns:
    [], the best candidate.

  Raises:
    ValueError: if the grid is not a non-empty vector or `num_at_once < 1`.

  Cost: K evaluations' work, memory of those that are tried together.

  Example:
    >>> grid_search(lambda x: -jnp.square(x - 5.0), jnp.array([1.0, 4.0, 8.0]))
    Array(4., dtype=float32)
  """
  grid = jnp.asarray(grid)
  if grid.ndim != 1 or grid.shape[0] == 0:
    raise ValueError(f'grid must have shape [K], K >= 1; got {grid.shape}.')
  value = lambda x: _no_nan(objective(x))
  if num_at_once is None:
    values = jax.vmap(value)(grid)
  else:
    size = checks.integer(num_at_once, name='num_at_once', low=1)
    values = jax.lax.map(value, grid, batch_size=None if size == 1 else size)
  # A rule that has had enough answers all candidates alike, up to rounding.
  best = jnp.max(values)
  slack = 8 * jnp.finfo(values.dtype).eps * jnp.abs(best)
  least = best - jnp.where(jnp.isfinite(best), slack, 0)
  return grid[jnp.argmax(values >= least)]


def rule_damage(rule: Rule, honest: chex.ArrayTree) -> Damage:
  """How far attackers move a rule's output from the honest mean.

  Args:
    rule: maps a stacked tree [H + F, ...] (honest rows first) to one update.
    honest: leaves [H, ...], floating point.

  Returns:
    `damage(sent) -> f32[]`, a Euclidean distance.

  Raises:
    TypeError: if `rule` is not callable.

  Example:
    >>> mean = lambda x: jnp.mean(x, axis=0)
    >>> damage = rule_damage(mean, jnp.array([[1.0], [3.0]]))
    >>> damage(jnp.array([[5.0]]))
    Array(1., dtype=float32)
  """
  _check_callable(rule, 'rule')
  mean = _honest.mean(honest, None)

  def damage(sent):
    return _distance(rule(trees.concatenate(honest, sent)), mean)

  return damage


def mixing_damage(
  mix: Callable[[chex.ArrayTree, chex.ArrayTree], chex.ArrayTree],
  honest: chex.ArrayTree,
) -> Damage:
  """How far attackers move the mean of what honest clients mix.

  Args:
    mix: maps `(honest, sent)` to what each honest client holds afterwards,
      leaves [H, ...].
    honest: leaves [H, ...], floating point.

  Returns:
    `damage(sent) -> f32[]`, a Euclidean distance.

  Raises:
    TypeError: if `mix` is not callable.

  Example:
    >>> follow = lambda honest, sent: honest + sent
    >>> damage = mixing_damage(follow, jnp.array([[1.0], [3.0]]))
    >>> damage(jnp.array([[5.0]]).repeat(2, axis=0))
    Array(5., dtype=float32)

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), code.
  """
  _check_callable(mix, 'mix')
  mean = _honest.mean(honest, None)

  def damage(sent):
    return _distance(_honest.mean(mix(honest, sent), None), mean)

  return damage


def agr_tailored(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  rule: Rule | None = None,
  damage: Damage | None = None,
  direction: str = 'std',
  search: str = 'line',
  num_evals: int = 16,
  step: chex.Numeric = 1.0,
  grid: Sequence[float] | chex.Array = GRID,
  ddof: int = 1,
  num_at_once: int | None = None,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Searches how far along a direction a given rule is hurt most.

  Sends mean + γ p, with the γ >= 0 that does the most damage of those tried.

  Args:
    honest: leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static).
    rule: the rule to hurt, a stacked tree [H + F, ...] (honest rows first) to
      one update; damage is the distance of its output from the honest mean.
    damage: instead of `rule`, any `damage(sent) -> f32[]` of the attackers'
      stacked tree [F, ...]: `mixing_damage`, or a count of kept attackers.
    direction: p: 'unit' -mean/|mean|, 'sign' -sign(mean), 'std' minus the
      standard deviation, 'mean' -mean (static).
    search: 'line' for `line_search`, 'grid' for `grid_search` (static).
    num_evals: evaluations of the line search (static).
    step: its first step, 1 or 10 in published code; may be traced.
    grid: candidates of the grid search, f32[K].
    ddof: 0 or 1, for 'std'.
    num_at_once: candidates of the grid that are tried together (static); None
      for all.
    axis_name: mapped axis over which honest clients are split, if any; needs
      `damage`, which may use collectives.

  Returns:
    Leaves [F, ...], all rows equal.

  Raises:
    ValueError: if not exactly one of `rule` and `damage` is given, or another
      argument is out of range.
    TypeError: if an argument has the wrong type.

  Cost: that of `num_evals` (or K) evaluations of the rule.

  Example:
    >>> largest = lambda x: x[jnp.argmax(jnp.abs(x[:, 0]))]
    >>> agr_tailored(
    ...   jnp.array([[1.0], [3.0]]),
    ...   num_byzantine=1,
    ...   rule=largest,
    ...   direction='mean',
    ...   search='grid',
    ... )
    Array([[-30.]], dtype=float32)

  Source: Shejwalkar & Houmansadr 2021, Manipulating the Byzantine, section IV;
  their bisection is replaced by a search for the maximum.
  """
  _honest.check(honest, num_byzantine, axis_name)
  mean = _honest.mean(honest, axis_name)
  p = _honest.direction(honest, mean, direction, ddof=ddof, axis_name=axis_name)
  return _optimized(
    honest,
    mean,
    p,
    num_byzantine,
    rule,
    damage,
    search,
    num_evals,
    step,
    grid,
    axis_name,
    num_at_once,
  )


def optimized_alie(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  rule: Rule | None = None,
  damage: Damage | None = None,
  sign: str = 'minus',
  search: str = 'line',
  num_evals: int = 16,
  step: chex.Numeric = 1.0,
  grid: Sequence[float] | chex.Array = GRID,
  ddof: int = 1,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Shifts by the number of standard deviations that hurts a rule most.

  `alie` with z searched for instead of given.

  Args:
    honest: leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static).
    rule: see `agr_tailored`, as for all arguments that follow.
    damage: instead of `rule`.
    sign: 'minus' or 'plus' (static).
    search: 'line' or 'grid' (static).
    num_evals: evaluations of the line search (static).
    step: its first step.
    grid: candidates of the grid search.
    ddof: 0 or 1.
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    Leaves [F, ...], all rows equal.

  Raises:
    ValueError, TypeError: as `agr_tailored`.

  Example:
    >>> largest = lambda x: x[jnp.argmax(jnp.abs(x[:, 0]))]
    >>> optimized_alie(
    ...   jnp.array([[1.0], [3.0]]),
    ...   num_byzantine=1,
    ...   rule=largest,
    ...   search='grid',
    ...   ddof=0,
    ... )
    Array([[-14.]], dtype=float32)

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), code.
  """
  checks.choice(sign, ('minus', 'plus'), name='sign')
  _honest.check(honest, num_byzantine, axis_name)
  _honest.check_ddof(ddof)
  mean = _honest.mean(honest, axis_name)
  p = _honest.std(honest, mean, ddof, axis_name)
  if sign == 'minus':
    p = jax.tree.map(jnp.negative, p)
  return _optimized(
    honest,
    mean,
    p,
    num_byzantine,
    rule,
    damage,
    search,
    num_evals,
    step,
    grid,
    axis_name,
  )


def optimized_ipm(
  honest: chex.ArrayTree,
  *,
  num_byzantine: int,
  rule: Rule | None = None,
  damage: Damage | None = None,
  search: str = 'line',
  num_evals: int = 16,
  step: chex.Numeric = 1.0,
  grid: Sequence[float] | chex.Array = GRID,
  axis_name: str | None = None,
) -> chex.ArrayTree:
  """Steps against the honest mean by what hurts a rule most.

  Sends mean - γ mean; `ipm` with scale = γ - 1 searched for.

  Args:
    honest: leaves [H, ...], floating point.
    num_byzantine: attackers F >= 1 (static).
    rule: see `agr_tailored`, as for all arguments that follow.
    damage: instead of `rule`.
    search: 'line' or 'grid' (static).
    num_evals: evaluations of the line search (static).
    step: its first step.
    grid: candidates of the grid search.
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    Leaves [F, ...], all rows equal.

  Raises:
    ValueError, TypeError: as `agr_tailored`.

  Example:
    >>> largest = lambda x: x[jnp.argmax(jnp.abs(x[:, 0]))]
    >>> optimized_ipm(
    ...   jnp.array([[1.0], [3.0]]),
    ...   num_byzantine=1,
    ...   rule=largest,
    ...   search='grid',
    ... )
    Array([[-30.]], dtype=float32)

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), code.
  """
  return agr_tailored(
    honest,
    num_byzantine=num_byzantine,
    rule=rule,
    damage=damage,
    direction='mean',
    search=search,
    num_evals=num_evals,
    step=step,
    grid=grid,
    axis_name=axis_name,
  )


def _optimized(
  honest,
  mean,
  p,
  num_byzantine,
  rule,
  damage,
  search,
  num_evals,
  step,
  grid,
  axis_name,
  num_at_once=None,
):
  checks.choice(search, ('line', 'grid'), name='search')
  if (rule is None) == (damage is None):
    raise ValueError(
      'give the attack exactly one of rule (stacked tree -> update) and damage '
      '(sent -> scalar).'
    )
  if rule is not None:
    if axis_name is not None:
      raise ValueError(
        f'rule sees the clients of one device only with axis_name='
        f'{axis_name!r}: give damage instead.'
      )
    damage = rule_damage(rule, honest)
  _check_callable(damage, 'damage')
  sent = lambda gamma: _honest.send(
    _honest.add(mean, gamma, p), honest, num_byzantine
  )
  objective = lambda gamma: damage(sent(gamma))
  dtype = trees.common_accumulator(honest)
  if search == 'line':
    gamma = line_search(objective, num_evals=num_evals, step=step, dtype=dtype)
  else:
    candidates = jnp.asarray(grid, dtype)
    gamma = grid_search(objective, candidates, num_at_once=num_at_once)
  return sent(gamma)


def _check_callable(fn, name):
  if not callable(fn):
    raise TypeError(f'{name} must be callable; got {fn!r}.')


def _distance(tree, mean):
  return trees.global_norm(
    jax.tree.map(lambda x, m: x.astype(m.dtype) - m, tree, mean)
  )


def _no_nan(x):
  return jnp.where(jnp.isnan(x), jnp.inf, x)
