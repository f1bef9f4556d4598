# SPDX-License-Identifier: Apache-2.0
"""Times the rules against NumPy, SciPy, jax.numpy and the passes they make.

Example: python -m experiments.benchmarks.aggregation --quick
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from scipy import stats

from experiments.benchmarks import _timing
from jaxdl import aggregators, plots
from jaxdl.core import gram as gram_lib

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'A hundredth of the coordinates, 3 rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md, and plots.')
flags.DEFINE_integer('rounds', 15, 'Turns of every contender.')
flags.DEFINE_list(
  'parts', ['coordinate', 'gram', 'large', 'scaling'], 'What to measure.'
)

F = 3
PASSES = 'X @ X.T and w @ X'
Rule = Callable[[chex.Array], chex.Array]


def gram_rules() -> dict[str, Rule]:
  """Rules that make two passes over the data."""
  f = functools.partial
  return {
    'krum': f(aggregators.krum, num_byzantine=F),
    'geometric median, 30 steps': f(aggregators.geometric_median, num_iters=30),
    'nnm, then mean': aggregators.chain(
      f(aggregators.nnm, num_byzantine=F), aggregators.mean
    ),
    'mda': f(aggregators.mda, num_byzantine=F),
    'flag': aggregators.flag_aggregator,
  }


def long_chain() -> Rule:
  f = functools.partial
  rule = aggregators.chain(
    aggregators.bucketing,
    f(aggregators.arc, num_byzantine=F),
    f(aggregators.nnm, num_byzantine=F),
    f(aggregators.krum, num_byzantine=F),
  )
  return lambda x: rule(x, key=jax.random.key(0))


def passes(x: chex.Array) -> tuple[chex.Array, chex.Array]:
  return x @ x.T, jnp.ones(x.shape[0], x.dtype) @ x


def half_gram(x: chex.Array) -> chex.Array:
  """Upper half of the Gram matrix: two diagonal blocks and one beside them."""
  n = x.shape[0]
  top, low = x[: n // 2], x[n // 2 :]
  beside = top @ low.T
  return jnp.block([[top @ top.T, beside], [beside.T, low @ low.T]])


def blocked_half_gram(x: chex.Array, block: int = 1 << 13) -> chex.Array:
  """The same, block by block of coordinates."""
  n, size = x.shape

  def body(i, total):
    part = jax.lax.dynamic_slice_in_dim(x, i * block, block, 1)
    return total + half_gram(part)

  whole = size // block
  total = jax.lax.fori_loop(0, whole, body, jnp.zeros((n, n), x.dtype))
  return total + half_gram(x[:, whole * block :])


def data(n: int, d: int) -> chex.Array:
  return jax.random.normal(jax.random.key(0), (n, d))


def call(fn: Rule, x: chex.Array) -> Callable[[], Any]:
  return functools.partial(jax.jit(fn), x)


def coordinate_rules(n: int, d: int, rounds: int) -> list[str]:
  """Order statistics against the libraries that sort."""
  x = data(n, d)
  host = np.asarray(x)
  f = functools.partial
  times = _timing.measure(
    {
      'median': call(aggregators.median, x),
      'trimmed mean': call(f(aggregators.trimmed_mean, num_trimmed=F), x),
      'meamed': call(f(aggregators.meamed, num_byzantine=F), x),
      'phocas': call(f(aggregators.phocas, num_byzantine=F), x),
      'np.median': lambda: np.median(host, axis=0),
      'jnp.median': call(lambda x: jnp.median(x, axis=0), x),
      'scipy.stats.trim_mean': lambda: stats.trim_mean(host, F / n, axis=0),
    },
    rounds=max(rounds // 3, 3),
  )
  claim = _timing.Claim
  return show(
    f'Coordinate rules, N = {n}, D = {d}, float32, f = {F}',
    [
      claim('median', 'np.median', faster=30),
      claim('median', 'jnp.median', faster=100),
      claim('trimmed mean', 'scipy.stats.trim_mean', faster=30),
      claim('meamed', 'median', within=4),
      claim('phocas', 'median', within=4),
    ],
    times,
  )


def distance_rules(n: int, d: int, rounds: int) -> list[str]:
  """Gram rules against the two passes over the data that they need."""
  x = data(n, d)
  w = jnp.full((n,), 1 / n)
  claim = _timing.Claim
  means = _timing.measure(
    {
      'mean': call(aggregators.mean, x),
      'w @ X': functools.partial(jax.jit(jnp.matmul), w, x),
      'X.mean(0)': call(lambda x: x.mean(0), x),
    },
    rounds=4 * rounds,
  )
  out = show(
    f'Means, N = {n}, D = {d}',
    [claim('mean', 'w @ X', within=1.5), claim('mean', 'X.mean(0)')],
    means,
  )
  rules = gram_rules()
  chain = 'bucketing -> arc -> nnm -> krum'
  times = _timing.measure(
    {name: call(rule, x) for name, rule in rules.items()}
    | {chain: call(long_chain(), x), PASSES: call(passes, x)},
    rounds=2 * rounds,
  )
  out += show(
    f'Gram rules, N = {n}, D = {d}',
    [claim(name, PASSES, within=1.5) for name in rules]
    + [claim(chain, 'krum', within=1.3)],
    times,
  )
  times = _timing.measure(
    {
      'gram': call(gram_lib.gram, x),
      'centered_gram': call(gram_lib.centered_gram, x),
      'X @ X.T': call(lambda x: x @ x.T, x),
      'symmetric half': call(half_gram, x),
      'symmetric half, blocks': call(blocked_half_gram, x),
      'w @ X': functools.partial(jax.jit(jnp.matmul), w, x),
    },
    rounds=2 * rounds,
  )
  return out + show(
    f'Gram matrix, N = {n}, D = {d}',
    [
      claim('gram', 'X @ X.T', faster=1),
      claim('centered_gram', 'X @ X.T', faster=1),
      claim('symmetric half', 'X @ X.T'),
      claim('symmetric half, blocks', 'gram'),
    ],
    times,
  )


def large_cohorts(d: int, rounds: int) -> list[str]:
  """Many clients: run time and first call."""
  out, facts = [], []
  for n in (64, 256):
    x = data(n, d)
    seconds = _timing.first_call_seconds(aggregators.median, x)
    facts.append(
      _timing.fact(
        f'median, N = {n}: first call (traces, compiles, runs)',
        seconds,
        's',
        below=3,
      )
    )
    times = _timing.measure(
      {
        'median': call(aggregators.median, x),
        'jnp.median': call(lambda x: jnp.median(x, axis=0), x),
      },
      rounds=max(rounds // 3, 3),
    )
    out += show(
      f'Median, N = {n}, D = {d}',
      [_timing.Claim('median', 'jnp.median', faster=15)],
      times,
    )
  text = '### Compilation, persistent cache off\n\n' + _timing.table(facts)
  print(f'\n{text}', flush=True)
  return [*out, text]


def scaling(quick: bool, rounds: int, write: bool) -> list[str]:
  """Cost and peak memory against N and D."""
  rules = {
    'mean': aggregators.mean,
    'median': aggregators.median,
    'krum': functools.partial(aggregators.krum, num_byzantine=1),
    'geometric median': aggregators.geometric_median,
    'flag': aggregators.flag_aggregator,
  }
  shrink = 100 if quick else 1
  sweeps = {
    'N': [(n, 100_000 // shrink) for n in (5, 10, 20, 40, 80, 160)],
    'D': [(20, d // shrink) for d in (10_000, 100_000, 1_000_000, 4_000_000)],
  }
  lines = []
  for axis, sizes in sweeps.items():
    rows = []
    for n, d in sizes:
      x = data(n, d)
      times = _timing.measure(
        {name: call(rule, x) for name, rule in rules.items()},
        rounds=max(rounds // 3, 3),
      )
      for name, rule in rules.items():
        rows.append(
          {
            'split': 'test',
            'seed': 0,
            'step': 0,
            'rule': name,
            axis: n if axis == 'N' else d,
            'ms': times.ms(name),
            'mib': _timing.memory(rule, x)['peak'] / 2**20,
            'extra': _timing.memory(rule, x)['temporaries'] / x.nbytes,
          }
        )
    at = sorted({r[axis] for r in rows})
    fixed = f'D = {sizes[0][1]}' if axis == 'N' else 'N = 20'
    for metric, label in (('ms', 'ms'), ('mib', 'MiB')):
      cells = [
        {'rule': f'{name}, {label}'}
        | {
          f'{axis} = {v}': _timing.digits(r[metric])
          for v in at
          for r in rows
          if r['rule'] == name and r[axis] == v
        }
        for name in rules
      ]
      heading = 'Cost' if metric == 'ms' else 'Arguments and temporaries'
      text = f'### {heading} against {axis}, {fixed}\n\n' + _timing.table(cells)
      if write:
        path = _timing.PLOTS / f'aggregation_{metric}_{axis}.png'
        plots.log_log(
          rows,
          path,
          metric,
          x=axis,
          ylabel='Time (ms)' if metric == 'ms' else 'Peak memory (MiB)',
          xlabel=f'{axis} ({"clients" if axis == "N" else "parameters"})',
          title=fixed,
        )
        text += f'\n\n![{heading} against {axis}](plots/{path.name})'
      print(f'\n{text}', flush=True)
      lines.append(text)
  return lines


def show(
  title: str, claims: list[_timing.Claim], times: _timing.Times
) -> list[str]:
  text = f'### {title}\n\n' + _timing.table([c.row(times) for c in claims])
  print(f'\n{text}', flush=True)
  return [text]


def main(argv):
  del argv
  quick = FLAGS.quick
  rounds = 3 if quick else FLAGS.rounds
  shrink = 100 if quick else 1
  steps = {
    'coordinate': lambda: coordinate_rules(20, 10**6 // shrink, rounds),
    'gram': lambda: distance_rules(20, 10**6 // shrink, rounds),
    'large': lambda: large_cohorts(10**5 // shrink, rounds),
    'scaling': lambda: scaling(quick, rounds, FLAGS.write),
  }
  loads, text = [_timing.load()], []
  for part in FLAGS.parts:
    text += steps[part]()
    loads.append(_timing.load())
  _timing.report('aggregation', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
