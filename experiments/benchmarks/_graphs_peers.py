# SPDX-License-Identifier: Apache-2.0
"""Layers on graphs in PyTorch, in a process of its own.

Called by `graphs.py` with the interpreter of an environment that has torch and,
for more rows, PyTorch Geometric; prints one JSON object: milliseconds of every
round by name. Imports nothing of this project.

    python3.11 -m venv others
    others/bin/pip install torch==2.13.0 torch_geometric==2.8.1

Usage: python _graphs_peers.py graph.npz --rounds=12 --threads=2
"""

import json
import sys
import time

import numpy as np
import torch


def measure(fns, rounds):
  """Milliseconds of contenders that take turns, after one that is not told."""
  times = {name: [] for name in fns}
  for fn in fns.values():
    fn()
  for _ in range(rounds):
    for name, fn in fns.items():
      begin = time.perf_counter()
      fn()
      times[name].append(1e3 * (time.perf_counter() - begin))
  return times


def without_gradient(fn):
  def run():
    with torch.no_grad():
      return fn()

  return run


def with_gradient(fn, layer):
  def run():
    layer.zero_grad()
    torch.sin(fn()).sum().backward()

  return run


def main(path, rounds, threads):
  torch.set_num_threads(threads)
  found = np.load(path)
  x, kernel = torch.tensor(found['x']), torch.tensor(found['kernel'])
  n, width = x.shape
  ends = torch.tensor(np.stack([found['senders'], found['receivers']]))
  weights = torch.tensor(found['weights'])
  starts = torch.tensor(found['starts'])
  matrix = torch.sparse_csr_tensor(starts, ends[0], weights, size=(n, n))
  fns = {
    'torch, CSR times x': without_gradient(lambda: matrix @ x),
    'torch, CSR times (x W)': without_gradient(lambda: matrix @ (x @ kernel)),
  }
  try:
    from torch_geometric import nn
  except ImportError:
    nn = None
  if nn is not None:
    heads = int(found['heads'])
    plain = ends[:, ends[0] != ends[1]]
    gcn = nn.GCNConv(width, width, cached=True)
    gat = nn.GATConv(width, width // heads, heads=heads)
    fns['PyTorch Geometric, GCN'] = without_gradient(lambda: gcn(x, plain))
    fns['PyTorch Geometric, GAT'] = without_gradient(lambda: gat(x, plain))
    fns['PyTorch Geometric, GCN, gradient'] = with_gradient(
      lambda: gcn(x, plain), gcn
    )
    fns['PyTorch Geometric, GAT, gradient'] = with_gradient(
      lambda: gat(x, plain), gat
    )
  error = float((matrix @ x - torch.tensor(found['want'])).abs().max())
  print(json.dumps({'times': measure(fns, rounds), 'error': error}))


if __name__ == '__main__':
  options = dict(word.lstrip('-').split('=') for word in sys.argv[2:])
  main(sys.argv[1], int(options['rounds']), int(options['threads']))
