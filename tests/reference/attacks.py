# SPDX-License-Identifier: Apache-2.0
"""Attacks on float64 matrices [H, D], written from their definitions."""

import numpy as np
import scipy.stats


def alie_z(num_clients, num_byzantine):
  n, f = num_clients, num_byzantine
  s = n // 2 + 1 - f
  return scipy.stats.norm.ppf((n - f - s) / (n - f))


def std(x, ddof=1):
  return np.zeros(x.shape[1]) if len(x) == 1 else x.std(axis=0, ddof=ddof)


def alie(x, z, *, sign='minus', ddof=1):
  return x.mean(axis=0) + {'minus': -1, 'plus': 1}[sign] * z * std(x, ddof)


def direction(x, kind, ddof=1):
  mean = x.mean(axis=0)
  return {
    'unit': lambda: -mean / np.linalg.norm(mean),
    'sign': lambda: -np.sign(mean),
    'std': lambda: -std(x, ddof),
    'mean': lambda: -mean,
  }[kind]()


def _largest(allowed, high=1e6):
  """Bisection for the largest number that is allowed."""
  low = 0.0
  for _ in range(200):
    middle = (low + high) / 2
    if allowed(middle):
      low = middle
    else:
      high = middle
  return low


def pairwise_sq(x):
  return ((x[:, None] - x[None]) ** 2).sum(axis=-1)


def min_max_gamma(x, kind, ddof=1):
  mean, p = x.mean(axis=0), direction(x, kind, ddof)
  limit = pairwise_sq(x).max()
  return _largest(
    lambda g: ((mean + g * p - x) ** 2).sum(axis=1).max() <= limit
  )


def min_sum_gamma(x, kind, bound='max', ddof=1):
  mean, p = x.mean(axis=0), direction(x, kind, ddof)
  sums = pairwise_sq(x).sum(axis=1)
  limit = sums.max() if bound == 'max' else sums.min()
  return _largest(lambda g: ((mean + g * p - x) ** 2).sum() <= limit)


def anti_cge(x, num_byzantine, margin):
  norms = np.linalg.norm(x, axis=1)
  order = np.argsort(norms, kind='stable')
  position = max(len(x) - num_byzantine, 0)
  opposed = x[order[: max(position, 1)]].mean(axis=0)
  limit = norms[order[position]]
  return -opposed / np.linalg.norm(opposed) * limit * (1 - margin)


def fang_interval(x, scale=2.0):
  """Interval [low, high] of every coordinate."""
  low, high = np.empty(x.shape[1]), np.empty(x.shape[1])
  for j, column in enumerate(x.T):
    if column.mean() < 0:
      top = column.max()
      ends = (top, scale * top) if top > 0 else (top, top / scale)
    else:
      bottom = column.min()
      ends = (
        (bottom / scale, bottom) if bottom > 0 else (scale * bottom, bottom)
      )
    low[j], high[j] = ends
  return low, high


def line_search(objective, num_evals, step):
  best, best_value = 0.0, objective(0.0)
  evals, x = 1, step
  while evals < num_evals:  # Expansion.
    evals += 1
    value = objective(x)
    if value > best_value:
      best, best_value = x, value
      step *= 2
      x = best + step
    else:
      break
  while evals < num_evals:  # Contraction.
    step *= 0.8
    x = abs(x + step if x < best else x - step)
    evals += 1
    value = objective(x)
    if value > best_value:
      best, best_value = x, value
  return best


def mimic_heuristic(rounds, start, num_warmup):
  """Copied rows and final direction over rounds of matrices [H, D]."""
  z, mean, chosen, ids = start, np.zeros_like(start), 0, []
  for t, x in enumerate(rounds):
    if t < num_warmup:
      mean = (t * mean + x.mean(axis=0)) / (t + 1)
      centered = x - mean
      u = centered.T @ (centered @ z)
      z = t / (t + 1) * z + u / np.linalg.norm(u) / (t + 1)
      z = z / np.linalg.norm(z)
      chosen = int(np.argmax(x @ z))
    ids.append(chosen)
  return ids, z
