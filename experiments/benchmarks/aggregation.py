# SPDX-License-Identifier: Apache-2.0
r"""Times the rules against NumPy, SciPy, byzfl and the passes they make.

A product that rules are compared with is the best of several processes: this
version of jax and others (`--pythons`), each with its default flags and without
the fusion of products. byzfl runs in an environment of its own:

  python -m venv other
  other/bin/pip install torch byzfl torchvision matplotlib seaborn

Example: python -m experiments.benchmarks.aggregation --quick \
  --torch_python=other/bin/python
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from scipy import stats

from experiments.benchmarks import _naive_forms as naive, _timing
from jaxdl import _versions, aggregators, plots
from jaxdl.core import gram as gram_lib

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'A hundredth of the coordinates, 3 rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md, and plots.')
flags.DEFINE_integer('rounds', 15, 'Turns of every contender.')
flags.DEFINE_list('pythons', [], 'Interpreters with other versions of jax.')
flags.DEFINE_string('torch_python', '', 'Interpreter that has torch and byzfl.')
flags.DEFINE_list(
  'parts', ['coordinate', 'gram', 'large', 'scaling'], 'What to measure.'
)

F = 3
PASSES = 'best X @ X.T + best w @ X'
MIXED = 'best X @ X.T + best W @ X'
HOW = (
  'Other versions of jax are those of `--pythons`, byzfl that of '
  '`--torch_python`.'
)
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
    'caf': f(aggregators.caf, num_byzantine=F),
    'flag': aggregators.flag_aggregator,
  }


def other_rules() -> dict[str, Rule]:
  """Rules that make more than two passes, or look at subsets."""
  f = functools.partial
  dnc = f(aggregators.dnc, key=jax.random.key(0), num_byzantine=F)
  return {
    'nnm as trees': f(aggregators.nnm, num_byzantine=F),
    'bulyan': f(aggregators.bulyan, num_byzantine=F),
    'dnc': dnc,
    'smea': f(aggregators.smea, num_byzantine=F),
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


def baselines(n: int, d: int, rounds: int) -> tuple[dict[str, float], str]:
  """Times the plain products in processes of several kinds.

  Args:
    n: rows.
    d: columns.
    rounds: turns.

  Returns:
    The best milliseconds of every form, and a table of all.
  """
  settings = {'default flags': {}, 'no fusion': {'XLA_FLAGS': _versions.REMEDY}}
  rows: dict[str, dict[str, str]] = {}
  best: dict[str, float] = {}
  for python in (sys.executable, *FLAGS.pythons):
    for setting, env in settings.items():
      found = _timing.elsewhere(
        python, '_naive_forms', env=env, n=n, d=d, rounds=rounds
      )
      version = found.pop('jax')
      for form, ms in found.items():
        row = rows.setdefault(form, {'ms': form})
        row[f'jax {version}, {setting}'] = _timing.digits(ms)
        best[form] = min(best.get(form, ms), ms)
  for form, row in rows.items():
    row['best'] = _timing.digits(best[form])
  return best, _timing.table(list(rows.values()))


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
  ours = {
    'median': call(aggregators.median, x),
    'trimmed mean': call(f(aggregators.trimmed_mean, num_trimmed=F), x),
    'meamed': call(f(aggregators.meamed, num_byzantine=F), x),
    'phocas': call(f(aggregators.phocas, num_byzantine=F), x),
  }
  w = jnp.full((n,), 1 / n)
  alone = _timing.measure(
    ours | {'w @ X': functools.partial(jax.jit(jnp.matmul), w, x)},
    rounds=2 * rounds,
  )
  claim = _timing.Claim
  out = show(
    f'Coordinate rules, N = {n}, D = {d}, float32, f = {F}',
    [
      claim('median', 'w @ X', within=2),
      claim('trimmed mean', 'w @ X'),
      claim('meamed', 'median', within=4),
      claim('phocas', 'median', within=4),
    ],
    alone,
  )
  others, claims, told = {}, [], ''
  if FLAGS.torch_python:
    found = _timing.elsewhere(
      FLAGS.torch_python,
      '_byzfl_rules',
      n=n,
      d=d,
      rounds=max(rounds // 3, 3),
      threads=_timing.threads(),
    )
    told = found.pop('versions', f'Not installed: {found.get("missing")}')
    told += ', in a process of its own.'
    others = {name: row['ms'] for name, row in found.items() if 'ms' in row}
    claims = [
      claim('median', 'byzfl.Median, torch', faster=80),
      claim('median', 'byzfl.Median, NumPy'),
      claim('trimmed mean', 'byzfl.TrMean, torch', faster=60),
      claim('trimmed mean', 'byzfl.TrMean, NumPy'),
    ]
  # What libraries allocate in between slows everybody else, ours too.
  times = _timing.measure(
    ours
    | {
      'np.median': lambda: np.median(host, axis=0),
      'jnp.median': call(lambda x: jnp.median(x, axis=0), x),
      'scipy.stats.trim_mean': lambda: stats.trim_mean(host, F / n, axis=0),
    },
    rounds=max(rounds // 3, 3),
  )
  out += show(
    'The same rules beside libraries in one process',
    [
      claim('median', 'np.median', faster=30),
      claim('median', 'jnp.median', faster=100),
      claim('trimmed mean', 'scipy.stats.trim_mean', faster=30),
    ],
    times,
  )
  if not others:
    return out
  return out + show(
    'The same rules and byzfl',
    claims,
    alone,
    others,
    told,
  )


def distance_rules(n: int, d: int, rounds: int) -> list[str]:
  """Gram rules against the two passes over the data that they need."""
  x = data(n, d)
  w = jnp.full((n,), 1 / n)
  claim = _timing.Claim
  best, text = baselines(n, d, rounds)
  others = {
    PASSES: best[naive.GRAM] + best[naive.SUM],
    MIXED: best[naive.GRAM] + best[naive.MIX],
    'best X @ X.T': best[naive.GRAM],
    'best w @ X': best[naive.SUM],
  }
  text = f'### Plain products, N = {n}, D = {d}\n\n{text}'
  print(f'\n{text}', flush=True)
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
    [
      claim('mean', 'w @ X', within=1.5),
      claim('mean', 'best w @ X'),
      claim('mean', 'X.mean(0)'),
    ],
    means,
    others,
  )
  rules = gram_rules()
  chain = 'bucketing -> arc -> nnm -> krum'
  times = _timing.measure(
    {name: call(rule, x) for name, rule in rules.items()}
    | {chain: call(long_chain(), x)},
    rounds=2 * rounds,
  )
  out += show(
    f'Gram rules, N = {n}, D = {d}',
    [claim(name, PASSES, within=1.2) for name in (*rules, chain)]
    + [claim(chain, 'krum', within=1.3)],
    times,
    others,
  )
  more = other_rules()
  times = _timing.measure(
    {name: call(rule, x) for name, rule in more.items()}
    | {'krum': call(rules['krum'], x)},
    rounds=rounds,
  )
  out += show(
    f'Rules of more passes or subsets, N = {n}, D = {d}',
    [
      claim('nnm as trees', MIXED, within=1.5),
      claim('dnc', 'krum', within=3),
      claim('smea', 'krum', within=3),
      claim('bulyan', 'krum'),
    ],
    times,
    others,
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
  return [text, *out] + show(
    f'Gram matrix, N = {n}, D = {d}',
    [
      claim('gram', 'X @ X.T', faster=1),
      claim('centered_gram', 'X @ X.T', faster=1),
      claim('centered_gram', 'best X @ X.T'),
      claim('symmetric half', 'X @ X.T'),
      claim('symmetric half, blocks', 'gram'),
    ],
    times,
    others,
  )


def large_cohorts(d: int, rounds: int) -> list[str]:
  """Many clients: run time and first call."""
  out, facts = [], []
  for n in (64, 80, 128, 256):
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
    'N': [(n, 100_000 // shrink) for n in (5, 10, 20, 40, 80, 160, 256)],
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
  title: str,
  claims: list[_timing.Claim],
  times: _timing.Times,
  others: dict[str, float] | None = None,
  told: str = '',
) -> list[str]:
  """Prints a table; `others` are milliseconds of other processes."""
  rows = [c.row(times, (others or {}).get(c.rival)) for c in claims]
  text = f'### {title}\n\n' + _timing.table(rows)
  text += f'\n\n{told}' if told else ''
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
  loads, text = [_timing.load()], [HOW]
  for part in FLAGS.parts:
    text += steps[part]()
    loads.append(_timing.load())
  _timing.report('aggregation', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
