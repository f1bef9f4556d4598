# SPDX-License-Identifier: Apache-2.0
"""The table and pictures of `experiments.deeponet`, and what is beside them."""

import pathlib
from collections.abc import Sequence

import numpy as np

from jaxdl import plots
from jaxdl.experiment import operator_learning as learning, runner
from jaxdl.pde import sets

# Share of the squared errors that the second published metric drops.
TRIM = 0.001

_AXES = {
  'num_train': 'Training functions',
  'num_sensors': 'Sensors',
  'length_scale': 'Length scale of the input functions',
}


def interpolation_error(
  num_sensors: float, length_scale: float, *, length: float = 1.0
) -> float:
  """Root mean square of u minus its linear interpolant, between sensors.

  Of a Gaussian process with kernel exp(-r^2 / (2 l^2)) half way between two
  sensors; tends to sqrt(3) h^2 / (8 l^2) for small spacings h.

  Args:
    num_sensors: m, evenly spaced, ends included.
    length_scale: l.
    length: of the axis.

  Returns:
    The error.

  Example:
    >>> round(interpolation_error(11, 0.2), 6)
    0.052745
  """
  ratio = (length / (num_sensors - 1) / length_scale) ** 2
  # 1.5 + 0.5 rho(h) - 2 rho(h / 2), where the leading digits cancel.
  square = 0.5 * np.expm1(-ratio / 2) - 2 * np.expm1(-ratio / 8)
  return float(np.sqrt(max(0.0, square)))


def references(config: learning.OperatorConfig) -> list[runner.Row]:
  """How well the sensors resolve the input functions, along the sweep.

  Args:
    config: knobs of `experiments.deeponet`.

  Returns:
    Rows of split 'interpolation', none where no formula is known.
  """
  if config.data_path or config.sweep not in ('num_sensors', 'length_scale'):
    return []
  known = sets.problem_options(config.problem)
  known |= learning.parse_options(config.problem, config.problem_options)
  if known.get('space') != 'rbf' or 'length_scale' not in known:
    return []
  sensors = config.resolution or known['resolution']
  out = []
  for value in config.sweep_values:
    by_sensors = config.sweep == 'num_sensors'
    error = interpolation_error(
      value if by_sensors else sensors,
      known['length_scale'] if by_sensors else value,
      length=known.get('end_time', 1.0),
    )
    out.append(
      {
        'step': config.num_rounds,
        'split': 'interpolation',
        'variant': 'interpolation',
        'model': 'interpolation of u',
        'seed': int(config.seeds[0]),
        config.sweep: value,
        'rmse': known.get('std', 1.0) * error,
      }
    )
  return out


def table(rows: Sequence[runner.Row]):
  """Sizes and errors of the last round, averaged over the seeds.

  Args:
    rows: rows of the run.

  Returns:
    Columns and cells for the terminal.
  """
  test, train = (learning.last_rows(rows, split=s) for s in ('test', 'train'))
  mean = lambda found, name: (
    float(np.mean([r[name] for r in found])) if found else None
  )
  sizes = {
    r['variant']: r['num_params'] for r in rows if r['split'] == 'network'
  }
  cells = []
  for rule in dict.fromkeys(r['variant'] for r in test):
    own = [r for r in test if r['variant'] == rule]
    fit = [r for r in train if r['variant'] == rule]
    error, seen = mean(own, 'mse'), mean(fit, 'mse')
    cells.append(
      [
        rule,
        sizes.get(rule),
        seen,
        error,
        mean(own, 'trimmed_mse'),
        error / seen if seen else None,
      ]
    )
  columns = [
    'network',
    'parameters',
    'train MSE',
    'test MSE',
    f'without the worst {TRIM:.1%}',
    'test / train',
  ]
  return columns, cells


def draw(
  config: learning.OperatorConfig, rows: Sequence[runner.Row], directory
) -> list:
  """Draws errors over steps and along the sweep, and functions.

  Args:
    config: knobs of `experiments.deeponet`.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = _title(config)
  if config.sweep != 'none':
    shown = [row for row in rows if row['split'] != 'function']
    shown += _last_functions(config, rows)
  else:
    shown = [
      row | {'variant': f'{row["variant"]}, {row["split"]}'}
      if row['split'] in ('test', 'train')
      else row
      for row in rows
    ]
    order = {name: n for n, name in enumerate(config.models)}
    shown.sort(key=lambda row: (row['step'], order.get(row.get('model'), 99)))
  paths = learning.draw_training(
    [
      row | {'split': 'test'} if row['split'] == 'train' else row
      for row in shown
      if config.sweep == 'none' or row['split'] != 'train'
    ],
    directory,
    'mse',
    title=title,
    steps_per_round=config.steps_per_round,
    ylabel='Mean squared error',
  )
  if config.sweep != 'none':
    paths.append(_draw_sweep(config, rows, directory, title))
  return paths


def _last_functions(config, rows):
  """Rows of the functions at the last value of the sweep."""
  functions = [row for row in rows if row['split'] == 'function']
  last = [
    row for row in functions if row[config.sweep] == config.sweep_values[-1]
  ]
  # Values that share their functions note inputs and targets once, at the
  # first of them.
  noted = {row['kind'] for row in last}
  return last + [row for row in functions if row['kind'] not in noted]


def _title(config):
  """Says what was learned from how much."""
  what = pathlib.Path(config.data_path).name or config.problem.replace('_', ' ')
  what = what[:1].upper() + what[1:]
  # Pictures of one network are narrow.
  if config.physics:
    return f'{what}, from its equation'
  if config.sweep == 'num_train':
    return what
  return f'{what}, {config.num_train:,} functions'


def _draw_sweep(config, rows, directory, title):
  """Errors along the sweep; beside the inputs' where they depend on it."""
  rooted = [
    row | {'rmse': row['mse'] ** 0.5} for row in learning.last_rows(rows)
  ]
  beside = [row for row in rows if row['split'] == 'interpolation']
  count = config.sweep == 'num_train'
  return plots.log_log(
    [*rooted, *beside],
    directory / 'sweep.png',
    'mse' if count else 'rmse',
    x=config.sweep,
    split='test' if count else None,
    by='model',
    fit=count,
    xlabel=_AXES[config.sweep],
    ylabel=f'{"Mean squared" if count else "Root-mean-square"} error on test '
    'functions',
    title=title,
  )
