# SPDX-License-Identifier: Apache-2.0
"""Times the plain products that rules are compared with, in a fresh process.

What they take depends on the version of jax and on its flags, so that a
baseline is the best of several: `aggregation` starts this script for each, and
it prints one JSON object: form -> milliseconds, and 'jax'.
"""

import argparse
import functools
import json

import jax
import jax.numpy as jnp

from experiments.benchmarks import _timing

GRAM, SUM, MIX, MEAN = 'X @ X.T', 'w @ X', 'W @ X', 'X.mean(0)'


def main() -> None:
  """Prints what was measured."""
  parser = argparse.ArgumentParser()
  for name in ('n', 'd', 'rounds'):
    parser.add_argument(f'--{name}', type=int, required=True)
  args = parser.parse_args()
  x = jax.random.normal(jax.random.key(0), (args.n, args.d))
  w = jnp.full((args.n,), 1 / args.n)
  square = jnp.full((args.n, args.n), 1 / args.n)
  call = lambda fn, *xs: functools.partial(jax.jit(fn), *xs)
  times = _timing.measure(
    {
      GRAM: call(lambda x: x @ x.T, x),
      SUM: call(jnp.matmul, w, x),
      MIX: call(jnp.matmul, square, x),
      MEAN: call(lambda x: x.mean(0), x),
    },
    rounds=args.rounds,
  )
  out = {name: times.ms(name) for name in times}
  print(json.dumps(out | {'jax': jax.__version__}))


if __name__ == '__main__':
  main()
