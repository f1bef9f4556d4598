# SPDX-License-Identifier: Apache-2.0
"""What is varied between sets of functions, and what that explains."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxdl import pde
from jaxdl.core import checks, registry
from jaxdl.pde import sets
from jaxdl.problems import _functions as lib, function_runs as runs


class Sweep(NamedTuple):
  """Something that is varied.

  Attributes:
    column: its name in the rows; empty if nothing is.
    values: its values; None alone if nothing is.
    option: of the problem that it sets, or None.
    caption: what a picture calls it.
    label: what a variant at a value is called, a format.
  """

  column: str = ''
  values: tuple[Any, ...] = (None,)
  option: str | None = None
  caption: str = ''
  label: str = ''

  def problem_at(self, problem: str, value: Any) -> str:
    """Returns a problem at a value."""
    if self.option is None:
      return problem
    return sets.SOURCES.changed(problem, **{self.option: value})


def _values(name, values, check, **limits):
  if not isinstance(values, tuple) or not values:
    raise ValueError(f'sweep={name} needs values: write {name}((10, 20)).')
  if len(set(values)) != len(values):
    raise ValueError(f'sweep={name} needs values that differ; got {values}.')
  for value in values:
    check(value, name=f'sweep={name}: a value', **limits)
  return values


def none() -> Sweep:
  """Nothing is varied."""
  return Sweep()


def num_train(values: tuple[int, ...]) -> Sweep:
  """Training functions."""
  return Sweep(
    'num_train',
    _values('num_train', values, checks.integer, low=1),
    None,
    'Training functions',
    '{:,g} functions',
  )


def num_sensors(values: tuple[int, ...]) -> Sweep:
  """Sensors."""
  return Sweep(
    'num_sensors',
    _values('num_sensors', values, checks.integer, low=4),
    'resolution',
    'Sensors',
    '{:g} sensors',
  )


def length_scale(values: tuple[float, ...]) -> Sweep:
  """Length scale of the input functions."""
  return Sweep(
    'length_scale',
    _values('length_scale', values, checks.number, low=0.0, open_low=True),
    'length_scale',
    'Length scale of the input functions',
    'l = {:g}',
  )


SWEEPS = registry.Registry(
  'sweep',
  {
    'none': none,
    'num_train': num_train,
    'num_sensors': num_sensors,
    'length_scale': length_scale,
  },
)


def make_sweep(spec: str, problem: str) -> Sweep:
  """Makes a sweep of a name.

  Args:
    spec: a part of `SWEEPS`.
    problem: a part of `pde.sets.SOURCES`.

  Returns:
    The sweep.

  Raises:
    ValueError: if values are missing or wrong, or the problem cannot be varied
      so.

  Example:
    >>> sweep = make_sweep('num_sensors((5, 10))', 'pendulum')
    >>> [sweep.problem_at('pendulum', value) for value in sweep.values]
    ['pendulum(resolution=5)', 'pendulum(resolution=10)']
  """
  sweep = SWEEPS.make(spec)
  part = sets.SOURCES.part(problem)
  if sweep.option is not None:
    known = sets.SOURCES.options(part.name)
    if part.name not in sets.PROBLEMS or sweep.option not in known:
      raise ValueError(
        f'sweep={spec}: problem={problem} has no {sweep.column} to vary.'
      )
  return sweep


def small_sweep(spec: str) -> str:
  """What a sweep becomes in a small run: its first two values."""
  values = SWEEPS.value(spec, 'values')
  if not isinstance(values, tuple):
    return spec
  return SWEEPS.changed(spec, values=values[:2])


def swept(
  config: runs.FunctionsConfig, sweep: Sweep, **options: Any
) -> dict[Any, lib.Functions]:
  """Draws or reads functions, once per value of a sweep.

  Args:
    config: knobs.
    sweep: from `make_sweep`.
    **options: of `FunctionsConfig.functions`.

  Returns:
    Functions by value; fewer training functions are the first of more.
  """
  if sweep.column == 'num_train':
    most = config.functions(num_train=max(sweep.values), **options)
    return {n: most.first(n) for n in sweep.values}
  return {
    value: config.functions(
      problem=sweep.problem_at(config.problem, value), **options
    )
    for value in sweep.values
  }


def interpolation_rows(
  sweep: Sweep, problem: str
) -> Callable[[Sequence[Any]], list[dict[str, Any]]]:
  """Tells how well the sensors resolve the input functions, along a sweep.

  Args:
    sweep: from `make_sweep`.
    problem: a part of `pde.sets.SOURCES`.

  Returns:
    `rows(moments)` for `experiment.compare`: after the last round split
    'interpolation' with `rmse`, none where no formula is known.
  """
  known = sets.SOURCES.value

  def rows(moments):
    first = moments[0]
    if sweep.option is None or not first.last:
      return []
    out = []
    for value in sweep.values:
      spec = sweep.problem_at(problem, value)
      scale = known(spec, 'length_scale')
      if known(spec, 'space') != 'rbf' or scale is None:
        return []
      error = pde.interpolation_error(
        known(spec, 'resolution'), scale, length=known(spec, 'end_time') or 1.0
      )
      out.append(
        {
          'step': first.round,
          'split': 'interpolation',
          'variant': 'interpolation',
          'model': 'interpolation of u',
          'seed': int(first.variant.problem.seeds[0]),
          sweep.column: value,
          'rmse': known(spec, 'std') * error,
        }
      )
    return out

  return rows
