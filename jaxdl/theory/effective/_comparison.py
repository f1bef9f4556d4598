# SPDX-License-Identifier: Apache-2.0
"""Ensembles that grow round by round, beside what theory says of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, clients as clients_lib
from jaxdl.experiment import runner
from jaxdl.networks import functional
from jaxdl.theory.effective import _ensembles, _networks

Row = dict[str, Any]


class Ensemble(NamedTuple):
  """Networks that are drawn.

  Attributes:
    activation: name or elementwise function.
    start: how they start.
    width: n of every layer.
  """

  activation: functional.Activation
  start: _networks.Start
  width: int


def ensembles(
  variants: Mapping[str, Ensemble],
  *,
  depth: int,
  num_rounds: int,
  kernel: float = 1.0,
  rates: tuple[float, float] | None = None,
  networks: clients_lib.Clients | int = 1000,
  seeds: Sequence[int] = (0,),
  plots: tuple[Callable[..., Any], ...] = (),
) -> runner.Experiment:
  """Draws networks round by round and sets their statistics against theory.

  Args:
    variants: what is compared, by name.
    depth: L of all, >= 1.
    num_rounds: rounds.
    kernel: K of the first layer.
    rates: lambda_W and lambda_b, if tangent kernels are wanted.
    networks: drawn per round, variant and seed, and how they are run.
    seeds: of the ensembles.
    plots: functions `(rows, directory) -> paths`.

  Returns:
    An experiment for `experiment.runner.run`. Rows are one for each layer, with
    the `Statistics` under their names, `vertex_ratio` (V / K^2), `layer` and
    `layer_ratio` (the layers before it over the width): split 'theory' at round
    0, once for all seeds; 'layers' of all networks so far.

  Raises:
    ValueError: if a number is out of range, or tangent kernels of residual
      networks are wanted.

  Example:
    >>> from jaxdl.experiment import config
    >>> relu = Ensemble('relu', _networks.Start(2.0), 10)
    >>> drawn = ensembles({'relu': relu}, depth=2, num_rounds=1, networks=50)
    >>> rows = runner.run(drawn, config.BaseConfig()).rows
    >>> [(row['split'], row['layer']) for row in rows]
    [('theory', 1), ('theory', 2), ('layers', 1), ('layers', 2)]
  """
  if not variants:
    raise ValueError('variants is empty: name at least one.')
  seeds = checks.seeds(seeds)
  networks = clients_lib.as_clients(networks, name='networks')
  common = {'depth': depth, 'rates': rates}
  theory = {}
  for name, own in variants.items():
    if not kernel > own.start.bias_variance:
      raise ValueError(
        f'kernel must exceed the variance {own.start.bias_variance:g} of the '
        f'biases of {name}; got {kernel:g}.'
      )
    with jax.enable_x64(True):
      found = _ensembles.predicted(
        own.activation,
        width=own.width,
        start=own.start,
        kernel=np.float64(kernel),
        **common,
      )
      theory[name] = _numbers(found)
  ids = jnp.arange(networks.num_clients)

  def means(roots, number):
    """Of the networks of a round, f[S, L]."""

    def one(root):
      key = jax.random.fold_in(root, number)
      return {
        name: _ensembles.ensemble_moments(
          key,
          ids,
          own.activation,
          width=own.width,
          start=own.start,
          kernel=kernel,
          ensemble=networks,
          **common,
        )
        for name, own in variants.items()
      }

    # One at a time: networks fill the memory, not seeds.
    return jax.lax.map(one, roots)

  def keys():
    return jnp.stack([jax.random.key(seed) for seed in seeds])

  def init():
    shapes = jax.eval_shape(means, keys(), jnp.zeros((), jnp.int32))
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

  def step(sums, number):
    return jax.tree.map(jnp.add, sums, means(keys(), number)), {}

  def rows(sums, metrics, number):
    del metrics
    out = []
    for name, own in variants.items():
      if not number:
        out += _rows(theory[name], own.width, seeds[0], name, 0, 'theory')
        continue
      for i, seed in enumerate(seeds):
        found = {k: np.asarray(x[i]) / number for k, x in sums[name].items()}
        table = _numbers(_ensembles.measured(found, own.width))
        out += _rows(table, own.width, seed, name, number, 'layers')
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=num_rounds,
    plots=plots,
    table=ensembles_table,
  )


def _numbers(found):
  """Statistics by name, with V over the square of K."""
  kept = {k: np.asarray(x) for k, x in found._asdict().items() if x is not None}
  return kept | {'vertex_ratio': kept['vertex'] / kept['kernel'] ** 2}


def _rows(table, width, seed, name, number, split):
  """One row for each layer."""
  label = {'step': number, 'split': split, 'variant': name, 'seed': seed}
  out = []
  for k in range(len(table['kernel'])):
    values = {statistic: float(x[k]) for statistic, x in table.items()}
    place = {'layer': k + 1, 'layer_ratio': k / width}
    out.append(label | values | place)
  return out


def ensembles_table(rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
  """Statistics of the last layer beside what theory says.

  Args:
    rows: rows of `ensembles`.

  Returns:
    Columns and cells; means over the seeds.
  """
  end, last = rows[-1]['step'], max(r['layer'] for r in rows)
  rows = [r for r in rows if r['layer'] == last]
  told = {r['variant']: r for r in rows if r['split'] == 'theory'}
  own = [r for r in rows if r['split'] == 'layers' and r['step'] == end]
  skipped = ('vertex', 'layer', 'layer_ratio', 'step', 'seed')
  names = [
    k for k, x in rows[0].items() if k not in skipped and not isinstance(x, str)
  ]
  cells = []
  for variant, theory in told.items():
    cell = [variant]
    for name in names:
      found = [r[name] for r in own if r['variant'] == variant]
      cell += [float(np.mean(found)) if found else None, theory[name]]
    cells.append(cell)
  columns = [x for name in names for x in (name, 'theory')]
  return [f'variant, layer {last}', *columns], cells


def grown(rows: Sequence[Row]) -> list[Row]:
  """Rows for pictures: those of the last round, and theory as variants.

  Args:
    rows: rows of `ensembles`.

  Returns:
    Rows whose variants are the names, and 'theory: ' with the names.
  """
  end = rows[-1]['step']
  label = lambda r: r | {'variant': f'theory: {r["variant"]}'}
  return [
    *(r for r in rows if r['split'] == 'layers' and r['step'] == end),
    *(label(r) for r in rows if r['split'] == 'theory'),
  ]
