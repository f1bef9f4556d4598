# SPDX-License-Identifier: Apache-2.0
"""Times the operator networks of PyTorch libraries, without jax.

Run by the Python of another environment (`operators --torch_python=...`):

  pip install torch deepxde neuraloperator

Prints one JSON object: contender -> {'parameters', 'ms'}, or {'missing'}, and
'versions'.
"""

import argparse
import gc
import importlib.metadata
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

Contender = tuple[int, Callable[[], Any]]


def gradient(model: torch.nn.Module, *inputs: Any) -> Contender:
  """The gradient of the summed squared output with respect to parameters."""

  def step():
    for p in model.parameters():
      p.grad = None
    model(*inputs).square().sum().backward()

  # neuraloperator keeps complex parameters.
  sizes = (p.numel() * (1 + p.is_complex()) for p in model.parameters())
  return sum(sizes), step


def deeponet(args: argparse.Namespace) -> dict[str, Contender]:
  os.environ['DDE_BACKEND'] = 'pytorch'
  import deepxde

  rows, side = args.batch, args.batch // 10
  u, y = torch.randn(rows, 100), torch.rand(rows, 1)
  sizes = ([100, 40, 40], [1, 40, 40, 40], 'relu', 'Glorot normal')
  paired = deepxde.nn.DeepONet(*sizes)
  table = deepxde.nn.DeepONetCartesianProd(*sizes)
  out = {
    'deepxde': gradient(paired, (u, y)),
    'deepxde, aligned': gradient(table, (u[:10], y[:side])),
  }
  xs, ys = (u.numpy(), y.numpy()), torch.zeros(rows, 1).numpy()
  data = deepxde.data.Triple(xs, ys, xs, ys)
  model = deepxde.Model(data, deepxde.nn.DeepONet(*sizes))
  model.compile('adam', lr=1e-3, verbose=0)
  steps = 20

  def train():
    model.train(iterations=steps, display_every=10**9, verbose=0)

  return out | {f'deepxde, {steps} steps of Model.train': (9041, train)}


def fno(args: argparse.Namespace) -> dict[str, Contender]:
  from neuralop.models import FNO

  m, grid = args.modes, args.grid
  model = FNO(
    n_modes=(2 * m, 2 * m - 2),
    hidden_channels=args.width,
    in_channels=1,
    out_channels=1,
    n_layers=4,
    use_channel_mlp=False,
  )
  return {'neuralop': gradient(model, torch.randn(args.batch, 1, grid, grid))}


def measure(contenders: dict[str, Contender], rounds: int) -> dict[str, float]:
  """Median milliseconds of contenders that take turns."""
  for _, step in contenders.values():
    for _ in range(3):
      step()
  times = {name: [] for name in contenders}
  names, order = list(contenders), random.Random(0)
  gc.collect()
  gc.disable()
  for _ in range(rounds):
    order.shuffle(names)
    for name in names:
      begin = time.perf_counter()
      contenders[name][1]()
      times[name].append(1e3 * (time.perf_counter() - begin))
  return {name: statistics.median(ms) for name, ms in times.items()}


def main() -> None:
  """Prints what was measured."""
  parser = argparse.ArgumentParser()
  parser.add_argument('part', choices=['deeponet', 'fno'])
  for name in ('batch', 'grid', 'modes', 'width', 'rounds', 'threads'):
    parser.add_argument(f'--{name}', type=int, default=1)
  args = parser.parse_args()
  torch.manual_seed(0)
  torch.set_num_threads(args.threads)
  # What libraries print on import must not mix with the result.
  real, sys.stdout = sys.stdout, sys.stderr
  make = {'deeponet': deeponet, 'fno': fno}[args.part]
  package = {'deeponet': 'deepxde', 'fno': 'neuraloperator'}[args.part]
  try:
    contenders = make(args)
    times = measure(contenders, args.rounds)
    out = {
      name: {'parameters': contenders[name][0], 'ms': ms}
      for name, ms in times.items()
    }
    version = importlib.metadata.version(package)
    out['versions'] = f'torch {torch.__version__}, {package} {version}'
  except ImportError as error:
    out = {'missing': f'{package} ({error.name})'}
  print(json.dumps(out), file=real)


if __name__ == '__main__':
  main()
