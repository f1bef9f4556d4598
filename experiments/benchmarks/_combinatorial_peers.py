# SPDX-License-Identifier: Apache-2.0
"""Times one conquering stage in PyTorch, without jax.

Run by the Python of another environment:

  python -m venv other && other/bin/pip install torch
  other/bin/python _combinatorial_peers.py stage --nodes=1000 --size=100

The network and the work are those of `combinatorial.conquer` with the policy
`icam` on tsp: tours are cut into pieces, each is normalized, encoded once and
decoded greedily from both ends, and keeps what is shorter.

Prints one JSON object: contender -> {'parameters', 'pieces', 'ms'}, or
{'missing'}, and 'versions'. 'loop' solves pieces one after the other, the first
`--loop_pieces` of them.
"""

import argparse
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def attention_free(query, key, value, bias):
  """Averages with weights exp(bias + key), gated; maxima are taken out.

  Args:
    query: f[P, R, C].
    key: f[P, m, C].
    value: f[P, m, C].
    bias: f[P, R, m], -inf where a node takes no part.

  Returns:
    f[P, R, C].
  """
  key = torch.exp(key - key.amax(1, keepdim=True))
  bias = torch.exp(bias - bias.amax(2, keepdim=True))
  above, below = torch.bmm(bias, torch.cat([key * value, key], 2)).chunk(2, 2)
  return torch.sigmoid(query) * above / below


class Norm(nn.Module):
  """Instance normalization over the nodes of a piece."""

  def __init__(self, width: int):
    super().__init__()
    self.norm = nn.InstanceNorm1d(width, affine=True)

  def forward(self, x):
    return self.norm(x.transpose(1, 2)).transpose(1, 2)


class Layer(nn.Module):
  """The attention-free block and the perceptron."""

  def __init__(self, width: int, hidden: int):
    super().__init__()
    self.alpha = nn.Parameter(torch.ones(()))
    self.maps = nn.Linear(width, 3 * width, bias=False)
    self.first, self.second = Norm(width), Norm(width)
    self.inner = nn.Linear(width, hidden)
    self.outer = nn.Linear(hidden, width)

  def forward(self, x, reach):
    query, key, value = self.maps(x).chunk(3, 2)
    out = attention_free(query, key, value, -self.alpha * reach)
    x = self.first(x + out)
    return self.second(x + self.outer(torch.relu(self.inner(x))))


class Icam(nn.Module):
  """Encoder and decoder for paths between two ends."""

  def __init__(self, width: int, depth: int, hidden: int, clip: float = 50.0):
    super().__init__()
    self.width, self.clip = width, clip
    self.nodes, self.ends = nn.Linear(2, width), nn.Linear(width, width)
    self.layers = nn.ModuleList(Layer(width, hidden) for _ in range(depth))
    self.pairs = nn.Linear(width, 2 * width, bias=False)
    self.last = nn.Linear(width, width, bias=False)
    self.end = nn.Linear(width, width, bias=False)
    self.alpha = nn.Parameter(torch.ones(()))
    self.beta = nn.Parameter(torch.ones(()))

  def encode(self, points):
    """Memory of pieces f[P, n, 2]."""
    count = points.shape[1]
    reach = torch.cdist(points, points) * torch.tensor(float(count)).log2()
    x = self.nodes(points)
    x[:, [0, -1]] = self.ends(x[:, [0, -1]])
    for layer in self.layers:
      x = layer(x, reach)
    key, value = self.pairs(x).chunk(2, 2)
    return x, self.last(x), self.end(x), key, value, reach

  def decode(self, memory, last, end, free):
    """Logits f[P, R, n] of rollouts that stand at `last` i[P, R]."""
    x, lasts, ends, key, value, reach = memory
    rows = torch.arange(len(x))[:, None]
    query = lasts[rows, last] + ends[rows, end]
    reach = reach[rows, last]
    bias = (-self.alpha * reach).masked_fill(~free, -torch.inf)
    out = attention_free(query, key, value, bias)
    scores = torch.bmm(out, x.transpose(1, 2)) / self.width**0.5
    logits = self.clip * torch.tanh(scores - self.beta * reach)
    return logits.masked_fill(~free, -torch.inf)


def normalized(points):
  """Pieces f[P, n, 2] in the unit square, the longer side along x."""
  points = points - points.amin(1, keepdim=True)
  extent = points.amax(1)
  turned = (extent[:, 1] > extent[:, 0])[:, None, None]
  points = torch.where(turned, points.flip(2), points)
  return points / (extent.amax(1)[:, None, None] + 1e-10)


def length(points):
  """Lengths of open paths f[..., n, 2]."""
  return (points[..., 1:, :] - points[..., :-1, :]).norm(dim=-1).sum(-1)


@torch.inference_mode()
def conquer(model: Icam, pieces: torch.Tensor) -> torch.Tensor:
  """Orders of pieces f[P, n, 2] after one stage, i64[P, n]."""
  count, size = pieces.shape[:2]
  memory = model.encode(normalized(pieces))
  ends = torch.tensor([0, size - 1]).expand(count, 2)
  last, end = ends, ends.flip(1)
  free = torch.ones(count, 2, size, dtype=torch.bool)
  free[:, :, [0, size - 1]] = False
  steps = [last]
  for _ in range(size - 2):
    last = model.decode(memory, last, end, free).argmax(2)
    free = free.scatter(2, last[..., None], False)
    steps.append(last)
  paths = torch.stack([*steps, end], 2)
  # Those from the far end are turned round.
  paths = torch.stack([paths[:, 0], paths[:, 1].flip(1)], 1)
  now = torch.arange(size).expand(count, 1, size)
  paths = torch.cat([now, paths], 1)
  rows = torch.arange(count)[:, None, None]
  best = length(pieces[rows, paths]).argmin(1)
  return paths[torch.arange(count), best]


def stage(args: argparse.Namespace) -> dict[str, tuple[int, int, Callable]]:
  """Contenders: parameters, pieces and one call."""
  model = Icam(args.width, args.depth, 4 * args.width).eval()
  points = torch.rand(args.nodes, 2)
  tours = torch.stack([torch.randperm(args.nodes) for _ in range(args.starts)])
  rolled = tours.roll(args.size // 2, 1)
  used = args.nodes // args.size * args.size
  cut = rolled[:, :used].reshape(-1, args.size)

  def solve(cut):
    return cut.gather(1, conquer(model, points[cut]))

  def batched():
    merged = torch.cat([solve(c) for c in cut.split(args.chunk or len(cut))])
    return torch.cat([merged.reshape(args.starts, -1), rolled[:, used:]], 1)

  def loop():
    return [solve(row[None]) for row in cut[: args.loop_pieces]]

  # The same work: tours through all nodes, none longer than it was.
  closed = lambda tour: length(points[torch.cat([tour, tour[:, :1]], 1)])
  found = batched()
  if not (found.sort(1).values == torch.arange(args.nodes)).all():
    raise RuntimeError('a stage lost nodes.')
  if not (closed(found) <= closed(rolled) * (1 + 1e-5)).all():
    raise RuntimeError('a stage made a tour longer.')
  count = sum(p.numel() for p in model.parameters())
  out = {'batched': (count, len(cut), batched)}
  if args.loop_pieces:
    out['loop'] = (count, min(args.loop_pieces, len(cut)), loop)
  return out


def measure(fns: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
  """Median milliseconds of contenders that take turns."""
  times, order = {name: [] for name in fns}, random.Random(0)
  names = list(fns)
  gc.collect()
  gc.disable()
  for k in range(rounds + 1):
    order.shuffle(names)
    for name in names:
      begin = time.perf_counter()
      fns[name]()
      if k:  # The first turn does not count.
        times[name].append(1e3 * (time.perf_counter() - begin))
  return {name: statistics.median(ms) for name, ms in times.items()}


def main() -> None:
  """Prints what was measured."""
  parser = argparse.ArgumentParser()
  parser.add_argument('part', choices=['stage'])
  for name, value in {
    'nodes': 1000,
    'size': 100,
    'starts': 50,
    'width': 128,
    'depth': 6,
    'chunk': 0,
    'loop_pieces': 20,
    'rounds': 3,
    'threads': 2,
  }.items():
    parser.add_argument(f'--{name}', type=int, default=value)
  args = parser.parse_args()
  torch.manual_seed(0)
  torch.set_num_threads(args.threads)
  real, sys.stdout = sys.stdout, sys.stderr
  contenders = stage(args)
  times = measure({k: fn for k, (*_, fn) in contenders.items()}, args.rounds)
  out = {
    name: {'parameters': count, 'pieces': pieces, 'ms': times[name]}
    for name, (count, pieces, _) in contenders.items()
  }
  out['versions'] = f'torch {torch.__version__}'
  print(json.dumps(out), file=real)


if __name__ == '__main__':
  main()
