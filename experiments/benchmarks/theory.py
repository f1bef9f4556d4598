# SPDX-License-Identifier: Apache-2.0
"""Times theories of learning, each against its naive form.

Flows of kernels, tangent kernels, associative memories, grokking, and matching
of units.

Example: python -m experiments.benchmarks.theory --parts=kernel_flow,ntk --quick
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments.benchmarks import (
  _theory_associative,
  _theory_grokking,
  _theory_matching,
  _timing,
)
from jaxdl.core import checks
from jaxdl.networks import functional
from jaxdl.theory import effective

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Shallow flows, small networks, 3 rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md, and plots.')
flags.DEFINE_integer('rounds', 12, 'Turns of every contender.')
flags.DEFINE_list(
  'parts', ['all'], "What to measure: names in PARTS, or 'all'."
)

# Times faster than a Python loop, at depth 1000.
FLOW_TARGET = 50


def _rounds() -> int:
  return 3 if FLAGS.quick else FLAGS.rounds


def kernel_flow() -> list[str]:
  """One scan over all layers against Python loops over them."""
  depth = 100 if FLAGS.quick else 1000
  g, w = functional.gaussian_nodes()
  out = []
  for name in ('tanh', 'relu'):
    host = {'tanh': np.tanh, 'relu': lambda z: np.maximum(z, 0)}[name]
    c_w = functional.find_critical(name).weight_variance
    step = lambda k, a=name, c=c_w: effective.kernel_step(
      a, k, weight_variance=c
    )
    compiled = jax.jit(step)

    def loop(step, depth=depth):
      k = jnp.float32(1.0)
      for _ in range(depth - 1):
        k = step(k)
      return k

    def plain(depth=depth, host=host, c_w=c_w):
      k = 1.0
      for _ in range(depth - 1):
        k = c_w * float((w * host(np.sqrt(k) * g) ** 2).sum())
      return k

    fns = {
      'scan': lambda a=name, c=c_w: effective.kernel_flow(
        a, jnp.float32(1.0), depth, weight_variance=c
      ),
      'loop over kernel_step': functools.partial(loop, step),
      'loop over jit(kernel_step)': functools.partial(loop, compiled),
      'loop in NumPy': plain,
    }
    ends = [float(np.ravel(np.asarray(fn()))[-1]) for fn in fns.values()]
    gap = max(abs(end / ends[-1] - 1) for end in ends)
    times = _timing.measure(fns, rounds=_rounds())
    claims = [
      _timing.Claim('scan', rival, faster=FLOW_TARGET)
      for rival in list(fns)[1:]
    ]
    table = _timing.table([c.row(times) for c in claims])
    out.append(
      f'### Kernel flow of {name}, depth {depth}\n\n{table}\n\n'
      f'Last kernels agree to {gap:.1e}.'
    )
  return out


def ntk() -> list[str]:
  """Tangent kernels of a network, layer by layer against the Jacobian."""
  hidden, few = ((32, 32), 8) if FLAGS.quick else ((256, 256, 256), 32)
  out = []
  for outputs, m in ((10, few), (1, 4 * few)):
    widths = (64, *hidden, outputs)
    params = effective.init_mlp(jax.random.key(0), widths, weight_variance=2.0)
    x = jax.random.normal(jax.random.key(1), (m, widths[0]))
    fns, programs = {}, {}
    for method in ('layers', 'jacobian'):
      programs[method] = lambda p, x, how=method: effective.empirical_ntk(
        p, x, 'relu', method=how
      )
      run = jax.jit(programs[method])
      fns[method] = lambda run=run, p=params, x=x: run(p, x)
    a, b = (np.asarray(fn()) for fn in fns.values())
    gap = np.abs(a - b).max() / np.abs(b).max()
    times = _timing.measure(fns, rounds=_rounds())
    claim = _timing.Claim('layers', 'jacobian', faster=1.0)
    megabytes = {
      name: _timing.memory(program, params, x)['temporaries'] / 1e6
      for name, program in programs.items()
    }
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    out.append(
      f'### Tangent kernel of {count} parameters, {m} inputs, {widths[-1]} '
      f'outputs\n\n{_timing.table([claim.row(times)])}\n\nTemporaries: '
      f'{_timing.digits(megabytes["layers"])} MB by layers, '
      f'{_timing.digits(megabytes["jacobian"])} MB with the Jacobian of '
      f'`jax.jacrev`. They agree to {gap:.1e}.'
    )
  return out


def glauber() -> list[str]:
  """Sweeps of an associative memory of a million neurons."""
  return _theory_associative.glauber_sweeps(quick=FLAGS.quick)


def grokking() -> list[str]:
  """An epoch against its matrix products; many seeds against one."""
  return _theory_grokking.grokking_epochs(quick=FLAGS.quick)


def moments() -> list[str]:
  """Moments of wide layers in one pass over any number of samples."""
  sizes = {'num_units': 64, 'num_batches': 4} if FLAGS.quick else {}
  rows = _theory_matching.streaming(**sizes)
  return ['### Streaming moments\n\n' + _timing.table(rows)]


def sparse_maps() -> list[str]:
  """Sparse maps under seven penalties against a loop of Lassos."""
  sizes = {'num_samples': 500, 'num_inputs': 8, 'num_targets': 8}
  rows = _theory_matching.sparse(**(sizes if FLAGS.quick else {}))
  return ['### Sparse maps under seven penalties\n\n' + _timing.table(rows)]


# Parts by name: functions that return Markdown and read `FLAGS`.
PARTS = {
  'kernel_flow': kernel_flow,
  'ntk': ntk,
  'glauber': glauber,
  'grokking': grokking,
  'moments': moments,
  'sparse_maps': sparse_maps,
}


def main(argv):
  del argv
  names = list(PARTS) if FLAGS.parts == ['all'] else FLAGS.parts
  for name in names:
    checks.choice(name, PARTS, name='parts')
  loads, text = [_timing.load()], []
  for name in names:
    found = PARTS[name]()
    for piece in found:
      print(f'\n{piece}', flush=True)
    text += found
    loads.append(_timing.load())
  _timing.report('theory', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
