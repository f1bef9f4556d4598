# SPDX-License-Identifier: Apache-2.0
"""How well random features estimate a kernel, against their number."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from experiments import _snnk_models as models
from jaxdl import operators, plots
from jaxdl.experiment import runner, supervised
from jaxdl.networks import features as features_lib


def build(config) -> runner.Experiment:
  """Measures estimates of a kernel, one number of features per round.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  features, d, seeds = config.features, config.dimension, config.seeds
  splits = features_lib.SPLITS
  if features.kind in ('gaussian', 'sech'):
    splits = ('s3',)  # Others have infinite variance where vectors are long.

  def draw_maps(key, m, orthogonal):
    if features.kind == 'relu':
      return features_lib.gaussian_projection(key, m, d, orthogonal=orthogonal)
    return features_lib.sample_urf(
      key, m, d, kind=features.kind, orthogonal=orthogonal
    )

  def deviations(x, w, drawn):
    """Estimates minus kernels."""
    out = {}
    if features.kind == 'relu':
      g = drawn
      phi, psi = (features_lib.relu_features(g, v) for v in (x, w))
      out['arc-cosine'] = phi @ psi - features_lib.arccos_kernel(x, w)
    else:
      g = drawn.g
      want = models.FUNCTIONS[features.kind](x @ w)
      for split in splits:
        phi = features_lib.urf_phi(drawn, x, split=split, a=features.a)
        psi = features_lib.urf_psi(drawn, w, split=split, a=features.a)
        out[split.upper()] = jnp.sum(phi * psi).real - want
    phi, psi = (features_lib.gerf(g, v) for v in (x, w))
    out['positive'] = phi @ psi / g.shape[0] - jnp.exp(x @ w)
    return out

  def errors(key, m):
    """Errors of one draw, by rule."""
    x_key, w_key, g_key = jax.random.split(key, 3)
    x, w = (
      config.length * v / jnp.linalg.norm(v)
      for v in (jax.random.normal(k, (d,)) for k in (x_key, w_key))
    )
    drawn = [draw_maps(g_key, m, orthogonal) for orthogonal in (False, True)]
    both = jax.tree.map(lambda *v: jnp.stack(v), *drawn)
    gaps = jax.vmap(functools.partial(deviations, x, w))(both)
    out = {}
    for name, values in gaps.items():
      out[name], out[f'{name}, orthogonal'] = values[0], values[1]
    closed = {}
    if features.kind in ('cos', 'sin') and not features.a:
      for split in splits:
        closed[split.upper()] = features_lib.one_sample_variance(
          x, w, 0.0, split=split, kind=features.kind
        )
    return out, closed

  @functools.partial(jax.jit, static_argnums=1)
  def measure(keys, m):
    def one_seed(key):
      keys = jax.random.split(jax.random.fold_in(key, m), config.num_draws)
      found, closed = jax.lax.map(
        lambda k: errors(k, m), keys, batch_size=min(250, config.num_draws)
      )
      return {
        name: {
          'rmse': jnp.sqrt(jnp.square(e).mean()),
          'bias': e.mean(),
          # How many standard errors the bias is from zero.
          'bias_z': e.mean() / (e.std() / config.num_draws**0.5),
        }
        | (
          {'predicted': jnp.sqrt(closed[name].mean() / m)}
          if name in closed
          else {}
        )
        for name, e in found.items()
      }

    return jax.lax.map(one_seed, keys)

  def step(state, round):
    found = measure(supervised.seed_keys(seeds), config.sizes[round - 1])
    return state + 1, jax.device_get(found)

  def rows(state, found, round):
    del state
    out = []
    for name, values in (found or {}).items():
      for row in supervised.metric_rows(
        values, step=round, split='test', variant=name, seeds=seeds
      ):
        out.append({**row, 'num_rf': config.sizes[round - 1]})
    return out

  return runner.Experiment(
    init=lambda: 0,
    step=step,
    rows=rows,
    num_rounds=len(config.sizes),
    plots=(functools.partial(draw, config),),
    table=table,
    jit=False,
  )


def _slope(rows, rule):
  """Exponent of the error in m, from seed means."""
  at = {}
  for row in rows:
    if row['variant'] == rule and row['rmse'] > 0:
      at.setdefault(row['num_rf'], []).append(row['rmse'])
  if len(at) < 2:
    return math.nan
  means = [np.mean(at[m]) for m in sorted(at)]
  return float(np.polyfit(np.log(sorted(at)), np.log(means), 1)[0])


def table(rows):
  """Errors by rule and number of features, and slopes.

  Args:
    rows: rows of the run.

  Returns:
    Columns and cells for the terminal.
  """
  sizes = sorted({r['num_rf'] for r in rows})
  cells = []
  for rule in dict.fromkeys(r['variant'] for r in rows):
    means = [
      float(
        np.mean(
          [r['rmse'] for r in rows if (r['variant'], r['num_rf']) == (rule, m)]
        )
      )
      for m in sizes
    ]
    cells.append([rule, *means, _slope(rows, rule)])
  return ['RMSE of', *(f'm = {m}' for m in sizes), 'slope'], cells


def draw(config, rows, directory):
  """Draws the error of the estimates.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  return [
    plots.log_log(
      rows,
      directory / 'kernel.png',
      'rmse',
      x='num_rf',
      xlabel='Random features m',
      ylabel='Root mean square error',
      title=f'Estimates of {config.features.kind}(w.x) with |x| = |w| = '
      f'{config.length:g}, d = {config.dimension}',
    )
  ]
