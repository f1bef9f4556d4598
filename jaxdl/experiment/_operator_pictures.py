# SPDX-License-Identifier: Apache-2.0
"""Pictures of operator learning: errors over steps and by wavenumber."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import numpy as np

from jaxdl import operators, plots

Row = dict[str, Any]


def spectra(
  variants: Mapping[str, Any],
  params: Mapping[str, chex.ArrayTree],
  *,
  step: int,
  seed: int,
) -> list[Row]:
  """Measures energy by wavenumber of test targets and of errors.

  Args:
    variants: what was trained, `operator_learning.Variant` by name; those with
      query points have no spectrum.
    params: by name, leaves [S, ...].
    step: round of the rows.
    seed: the first of the seeds, which is the one that is measured.

  Returns:
    Rows of split 'spectrum' with `wavenumber` and `energy`, of the first batch
    of the first test set; variants are 'target' and 'error of' each variant.
  """
  out: list[Row] = []
  first = lambda tree: jax.tree.map(lambda x: x[0], tree)
  for name, v in variants.items():
    if v.problem.points is not None or 'points' in v.problem.train:
      continue
    label = next(iter(v.problem.tests))
    test = jax.tree.map(lambda x: x[0, 0], v.problem.tests[label])
    real = np.asarray(test['mask'])
    apply = jax.jit(v.network(first(v.constants)).apply)
    predicted = apply(first(params[name]), test['inputs'])
    fields = {}
    if not out:
      fields['target'] = np.asarray(test['targets'])[real]
    fields[f'error of {name}'] = np.asarray(predicted - test['targets'])[real]
    for variant, field in fields.items():
      for k, energy in enumerate(operators.energy_spectrum(field)):
        out.append(
          {
            'step': step,
            'split': 'spectrum',
            'variant': variant,
            'seed': int(seed),
            'wavenumber': k,
            'energy': float(energy),
          }
        )
  return out


def draw_spectra(
  rows: Sequence[Row], directory: pathlib.Path, *, title: str
) -> list[pathlib.Path]:
  """Draws what `spectra` measured, if there is any.

  Args:
    rows: rows of a run.
    directory: where `spectrum.png` goes.
    title: caption.

  Returns:
    The paths written.
  """
  energies = [r for r in rows if r['split'] == 'spectrum' and r['wavenumber']]
  if not energies:
    return []
  # What is left of a smooth target at high wavenumbers is rounding.
  floor = plots.rounding(2) * max(row['energy'] for row in energies)
  path = plots.lines(
    energies,
    directory / 'spectrum.png',
    'energy',
    split='spectrum',
    x='wavenumber',
    xlabel='Wavenumber',
    ylabel='Energy (mean square) per wavenumber',
    title=title,
    log_x=True,
    log_y=True,
    floor=floor,
  )
  return [path]


def draw_training(
  rows: Sequence[Row],
  directory: Any,
  metric: str,
  *,
  title: str,
  steps_per_round: int = 1,
  **options: Any,
) -> list[Any]:
  """Draws a test metric over the steps, and the functions.

  Args:
    rows: rows of a run.
    directory: where the pictures go.
    metric: what the curve shows.
    title: caption.
    steps_per_round: scales the abscissa.
    **options: of `plots.lines`.

  Returns:
    The paths written.
  """
  scaled = [row | {'step': row['step'] * steps_per_round} for row in rows]
  paths = [
    plots.lines(
      scaled,
      directory / f'{metric}.png',
      metric,
      title=title,
      xlabel='Optimizer step',
      log_y=True,
      **options,
    )
  ]
  if any(row['split'] == 'function' for row in rows):
    paths.append(
      plots.functions(rows, directory / 'functions.png', title=title)
    )
  return paths
