# SPDX-License-Identifier: Apache-2.0
"""Sets of functions as arrays with a seed axis, what `functions` holds."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib
from jaxdl.core import registry
from jaxdl.pde import sets


def solved(
  part,
  *,
  layout,
  num_train,
  num_test,
  queries_per_function,
  eval_resolutions,
  eval_batch_size,
  num_samples,
  seeds,
):
  """Functions of a problem that is drawn and solved."""
  default = sets.PROBLEMS.options(part.name)['resolution'].default
  own = part.options.get('resolution', default)
  finest = max((own, *eval_resolutions))
  if eval_resolutions and layout != 'grid':
    raise ValueError('eval_resolutions needs a network on grids.')
  spec = registry.write(part.name, **(part.options | {'resolution': finest}))
  counts = {'num_train': num_train, 'num_test': num_test, 'layout': layout}
  counts['queries_per_function'] = queries_per_function
  make = lambda seed, **changed: sets.make_operator_dataset(
    spec, key=jax.random.key(seed), **(counts | changed)
  )
  drawn = [make(seed) for seed in seeds]
  periodic = bool(np.all(drawn[0].sensors[-1] < 1 - 1e-6))
  coarse = lambda x, r: _subsample(x, finest, r, periodic)
  train = {
    'inputs': np.stack([coarse(d.train.inputs, own) for d in drawn]),
    'targets': np.stack([coarse(d.train.targets, own) for d in drawn]),
  }
  tests = {}
  for r in dict.fromkeys((own, *eval_resolutions)):
    tests[str(r) if eval_resolutions else ''] = [
      {
        'inputs': coarse(d.test.inputs, r),
        'targets': coarse(d.test.targets, r),
      }
      for d in drawn
    ]
  first, points = drawn[0], None
  if layout == 'unaligned':
    train['points'] = np.stack([d.train.queries for d in drawn])
    for test, d in zip(tests[''], drawn, strict=True):
      test['points'] = d.test.queries
    first = make(seeds[0], num_train=1, num_test=num_samples, layout='aligned')
  if layout == 'aligned':
    points = jnp.asarray(first.train.queries)
  inputs = coarse(first.test.inputs[:num_samples], own)
  targets = coarse(first.test.targets[:num_samples], own)
  if layout == 'grid':
    samples = {'inputs': inputs, 'targets': targets, 'arguments': (inputs,)}
  else:
    queries = first.test.queries
    samples = {
      'inputs': inputs.reshape(len(inputs), *_axes(first.sensors)),
      'targets': targets.reshape(len(targets), *_axes(queries)),
      'arguments': (inputs, queries),
    }
  return {
    'layout': layout,
    'train': jax.tree.map(jnp.asarray, train),
    'tests': {
      label: stacked_batches(test, eval_batch_size)
      for label, test in tests.items()
    },
    'points': points,
    'samples': samples,
    'periodic': periodic,
    'queries_per_function': (
      queries_per_function if layout == 'unaligned' else 1
    ),
  }


def stored(held, num_seeds, eval_batch_size, num_samples):
  """Functions of a file, the same for every seed."""
  train, test = held.train, held.test
  arrays = {'inputs': train.inputs, 'targets': train.targets}
  tested = {'inputs': test.inputs, 'targets': test.targets}
  few = test.inputs[:num_samples]
  samples: dict[str, Any] = {}
  if held.layout == 'unaligned':
    arrays['points'], tested['points'] = train.queries, test.queries
  elif held.layout == 'grid':
    targets = test.targets[:num_samples]
    samples = {'inputs': few, 'targets': targets, 'arguments': (few,)}
  else:
    targets = test.targets if test.targets.ndim == 2 else test.targets[..., 0]
    shape = (len(few), *_axes(test.queries))
    samples = {
      'inputs': few,
      'targets': targets[:num_samples].reshape(shape),
      'arguments': (few, test.queries),
    }
  repeat = lambda x: jnp.broadcast_to(
    jnp.asarray(x, jnp.float32)[None], (num_seeds, *np.shape(x))
  )
  aligned = held.layout == 'aligned'
  return {
    'layout': held.layout,
    'train': jax.tree.map(repeat, arrays),
    'tests': {'': stacked_batches([tested] * num_seeds, eval_batch_size)},
    'points': jnp.asarray(train.queries) if aligned else None,
    'samples': samples,
    'periodic': held.periodic,
  }


def stacked_batches(parts, batch_size):
  """Batches [S, T, B, ...] of a set per seed."""
  size = min(batch_size, len(parts[0]['inputs']))
  cut = [data_lib.eval_batches(part, size) for part in parts]
  return jax.tree.map(lambda *xs: jnp.asarray(np.stack(xs)), *cut)


def _axes(points: np.ndarray) -> tuple[int, ...]:
  """Shape of the row-major grid that points [n, d] lie on."""
  points = np.asarray(points)
  shape = tuple(len(np.unique(points[:, i])) for i in range(points.shape[1]))
  return shape if int(np.prod(shape)) == len(points) else (len(points),)


def _subsample(values, finest, resolution, periodic):
  if resolution == finest:
    return values
  whole, part = finest, resolution
  if not periodic:
    whole, part = finest - 1, resolution - 1
  if whole % part:
    less = '' if periodic else ' - 1'
    raise ValueError(
      f'resolution={resolution} cannot be cut from the finest grid {finest}: '
      f'resolution{less} must divide {finest}{less}.'
    )
  return sets.thinned(values, whole // part)
