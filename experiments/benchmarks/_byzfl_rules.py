# SPDX-License-Identifier: Apache-2.0
"""Times the rules of byzfl, without jax.

Run by the Python of another environment (`aggregation --torch_python=...`):

  pip install torch byzfl torchvision matplotlib seaborn

byzfl takes NumPy arrays and tensors; both are timed. Prints one JSON object:
'rule, kind of array' -> {'ms'}, or {'missing'}, and 'versions'.
"""

import argparse
import importlib.metadata
import json
import sys
from unittest import mock

import torch

from experiments.benchmarks import _torch_operators

F = 3
# byzfl imports it for data sets alone; a build for other devices fails.
_UNUSED = ('torchvision', 'torchvision.datasets', 'torchvision.transforms')


def rules(n: int, d: int) -> dict:
  """Calls by name."""
  import byzfl

  made = {
    'TrMean': byzfl.TrMean(f=F),
    'Median': byzfl.Median(),
    'Krum': byzfl.Krum(f=F),
    'GeometricMedian': byzfl.GeometricMedian(),
    'NNM': byzfl.NNM(f=F),
  }
  x = torch.randn(n, d)
  kinds = {'torch': x, 'NumPy': x.numpy()}
  return {
    f'byzfl.{name}, {kind}': lambda rule=rule, v=v: rule(v)
    for name, rule in made.items()
    for kind, v in kinds.items()
  }


def main() -> None:
  """Prints what was measured."""
  parser = argparse.ArgumentParser()
  for name in ('n', 'd', 'rounds', 'threads'):
    parser.add_argument(f'--{name}', type=int, required=True)
  args = parser.parse_args()
  torch.manual_seed(0)
  torch.set_num_threads(args.threads)
  real, sys.stdout = sys.stdout, sys.stderr
  sys.modules.update({name: mock.MagicMock() for name in _UNUSED})
  try:
    calls = rules(args.n, args.d)
  except ImportError as error:
    print(json.dumps({'missing': f'byzfl ({error.name})'}), file=real)
    return
  contenders = {name: (0, call) for name, call in calls.items()}
  times = _torch_operators.measure(contenders, args.rounds)
  out: dict = {name: {'ms': ms} for name, ms in times.items()}
  version = importlib.metadata.version('byzfl')
  out['versions'] = f'torch {torch.__version__}, byzfl {version}'
  print(json.dumps(out), file=real)


if __name__ == '__main__':
  main()
