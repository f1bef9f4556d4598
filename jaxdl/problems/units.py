# SPDX-License-Identifier: Apache-2.0
"""What is measured about the units of networks that learned the same."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxdl.core import registry
from jaxdl.problems import _mixtures
from jaxdl.theory import matching

# Examples for maps come from a round that no run reaches.
_NO_ROUND = 1 << 30
_NO_KEY = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitTests:
  """Compares the units of all networks of a problem, S seeds after another.

  Correlations and all else are measured on test examples; sparse maps are
  fitted on training examples and tested on test examples. A channel is a unit,
  every position of it a sample.

  Attributes:
    problem: what was learned, by K clients; its network is what they are.
    measures: parts of `matching.MEASURES`.
    layers: names or patterns, see `networks.activations`; empty for those that
      the network names itself.
    num_examples: training examples that maps are fitted on.
    batch_size: of those.
    num_samples: rows kept of each layer for measures that need samples
      (information, shuffled), spread over test examples and their positions.
  """

  problem: _mixtures.Mixture
  measures: tuple[str, ...] = ('correlation',)
  layers: tuple[str, ...] = ()
  num_examples: int = 1024
  batch_size: int = 256
  num_samples: int = 4096

  @functools.cached_property
  def _names(self):
    return [matching.MEASURES.part(m).name for m in self.measures]

  @property
  def _chosen(self):
    return self.layers or None

  @functools.cached_property
  def _training(self):
    """Inputs f[S, T, B, ...] of all clients' distributions, mixed."""
    size = min(self.batch_size, self.num_examples)
    each = -(-self.num_examples // self.problem.num_clients)
    found = []
    for k, seed in enumerate(self.problem.seeds):
      own = jax.tree.map(lambda x, k=k: x[k], self.problem.data)
      key = jax.random.fold_in(jax.random.key(seed), _NO_ROUND)
      drawn = self.problem.draw(key, own, (each,)).data['inputs']
      drawn = jnp.moveaxis(drawn, 0, 1).reshape(-1, *drawn.shape[2:])
      count = max(min(len(drawn), self.num_examples) // size, 1)
      found.append(drawn[: count * size].reshape(count, -1, *drawn.shape[1:]))
    return jnp.stack(found)

  @functools.cached_property
  def _moments(self):
    network, layers = self.problem.network, self._chosen
    run = lambda stacked, inputs, mask: matching.network_moments(
      network, stacked, inputs, mask, layers=layers
    )
    return jax.jit(run)

  @functools.cached_property
  def _samples(self):
    """Rows of every layer, f[T, K, R, C], and which are real, bool[T, R]."""
    network, layers = self.problem.network, self._chosen
    number = len(self.problem.test['mask'])

    def one(stacked, inputs, mask):
      found = matching.network_activations(
        network, stacked, inputs, layers=layers
      )
      out = {}
      for name, x in found.items():
        rows = x.reshape(len(x), -1, x.shape[-1])
        each = rows.shape[1] // x.shape[1]
        # Not at the same places of every example.
        step = -(-number * rows.shape[1] // self.num_samples)
        while math.gcd(step, each) > 1:
          step += 1
        out[name] = rows[:, ::step], jnp.repeat(mask, each)[::step]
      return out

    def run(stacked, test):
      return jax.lax.map(
        lambda batch: one(stacked, *batch), (test['inputs'], test['mask'])
      )

    return jax.jit(run)

  def _layers(self, params, seed_place, names):
    """What is known of each layer of one seed."""
    test = self.problem.test
    held_out = self._moments(params, test['inputs'], test['mask'])
    fit, samples = held_out, {}
    if 'sparse' in names:
      inputs = self._training[seed_place]
      fit = self._moments(params, inputs, jnp.ones(inputs.shape[:2], bool))
    if 'information' in names or 'correlation' in names:
      samples = self._samples(params, test)
    fit, held_out, samples = jax.device_get((fit, held_out, samples))
    samples = {
      name: np.moveaxis(rows, 1, 0)[:, mask]
      for name, (rows, mask) in samples.items()
    }
    return [
      matching.Layers(name, fit[name], held_out[name], samples.get(name))
      for name in sorted(held_out, key=_natural)
    ]

  def rows(
    self, params: chex.ArrayTree, *, everything: bool = True
  ) -> list[dict[str, Any]]:
    """Measures all layers.

    Args:
      params: leaves [S, K, ...].
      everything: whether to take all measures; else correlations only, without
        baselines.

    Returns:
      Rows with the labels `split` (the measure), `seed` and `layer`. Of a layer
      that no unit of a network varies in, or that is no number, there are
      correlations of zero alone, with a warning.

    Raises:
      ValueError: if a layer is unknown.
    """
    out = []
    measures: Sequence[str] = self.measures
    if not everything:
      measures = [
        registry.write('correlation', baselines=())
        for name in self._names
        if name == 'correlation'
      ]
    names = self._names if everything else []
    for k, seed in enumerate(self.problem.seeds):
      if not measures:
        break
      own = jax.tree.map(lambda x, k=k: x[k], params)
      layers = self._layers(own, k, names)
      key = jax.random.fold_in(jax.random.key(seed), _NO_KEY)
      dead = {x.name: x.dead for x in layers if x.dead}
      for name, which in dead.items():
        logging.warning(
          '%s: no unit of network %d varies, or one is no number (seed %d): '
          'it is not compared.',
          name, which[0], seed,
        )  # fmt: skip
        if 'correlation' in self._names:
          alike = dict.fromkeys(('semi', 'matched', 'overlap', 'alive'), 0.0)
          labels = {'split': 'correlation', 'seed': seed, 'layer': name}
          out.append(labels | {'match': 'correlation'} | alike)
      layers = [x for x in layers if x.name not in dead]
      for row in matching.measure_layers(layers, measures, key=key):
        name = row.pop('measure')
        out.append({'split': name, 'seed': seed, **row})
    return out


def ends(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  """Rows of measures before the first round, and after the last.

  Args:
    rows: rows of a run.

  Returns:
    Copies with the label `when`, 'untrained' or 'trained'.
  """
  last = max(r['step'] for r in rows)
  when = {0: 'untrained', last: 'trained'}
  return [
    r | {'when': when[r['step']]}
    for r in rows
    if r['split'] in matching.MEASURES and r['step'] in when
  ]


def table(
  rows: Sequence[dict[str, Any]],
) -> tuple[list[str], list[list[Any]]]:
  """How well units correspond, by layer, for the terminal.

  Args:
    rows: rows of a run.

  Returns:
    Columns and cells, means over the seeds.
  """
  found: dict[tuple[str, str], dict[str, list[float]]] = {}
  for r in ends(rows):
    cell = found.setdefault((r['variant'], r['layer']), {})
    for name, value in _columns(r).items():
      cell.setdefault(name, []).append(value)
  names = list(dict.fromkeys(name for cell in found.values() for name in cell))
  cells = [
    [*labels, *(float(np.mean(c[n])) if n in c else None for n in names)]
    for labels, c in found.items()
  ]
  return ['network', 'layer', *names], cells


def _columns(row):
  """What of a row is shown, by the name of its column."""
  kind, trained = row.get('match'), row['when'] == 'trained'
  names = {
    ('correlation', True): ('semi', 'matched', 'overlap', 'alive'),
    ('correlation', False): ('semi', 'matched'),
    ('permuted', True): ('matched',),
    ('information', True): ('overlap', 'agreement'),
  }.get((kind, trained), ())
  prefix = '' if kind == 'correlation' else f'{kind} '
  prefix += '' if trained else 'untrained '
  out = {f'{prefix}{name}': row[name] for name in names}
  if row['split'] == 'similarity' and trained:
    out |= {n: row[n] for n in matching.SIMILARITIES if n in row}
  return out


def _natural(name):
  """'conv_10' after 'conv_2', convolutions first."""
  stem, _, number = name.rpartition('_')
  return (stem, int(number)) if number.isdigit() else (name, 0)
