# SPDX-License-Identifier: Apache-2.0
"""Robust rules on float64 matrices [N, D], written from their definitions.

Slow on purpose: loops, sorts and dense decompositions on explicit vectors. A
row with a non-finite entry is at +inf from everyone and never chosen.
"""

import itertools

import numpy as np


def _f64(x):
  return np.asarray(x, np.float64)


def finite_rows(x):
  return np.isfinite(x).all(axis=1)


def pairwise_sq(x):
  x = _f64(x)
  good = finite_rows(x)
  out = np.zeros((len(x), len(x)))
  for i in range(len(x)):
    for j in range(len(x)):
      if i != j:
        out[i, j] = (
          ((x[i] - x[j]) ** 2).sum() if good[i] and good[j] else np.inf
        )
  return out


# Coordinate by coordinate ---------------------------------------------------


def _column_sorted(x):
  x = _f64(x)
  return np.sort(np.where(np.isnan(x), np.inf, x), axis=0)


def median(x, kind='average'):
  s = _column_sorted(x)
  n = len(s)
  low, high = s[(n - 1) // 2], s[n // 2]
  return (
    low if kind == 'lower' else np.where(low == high, low, (low + high) / 2)
  )


def trimmed_mean(x, f):
  s = _column_sorted(x)
  return s[f : len(s) - f].mean(axis=0)


def sign_majority(x):
  x = _f64(x)
  up, down = (x > 0) | np.isnan(x), x < 0
  return np.sign(up.sum(axis=0) - down.sum(axis=0)).astype(float)


def _mean_around(x, center, keep):
  """Per coordinate, the mean of the nearest values; ties: the smaller one."""
  s = _column_sorted(x)
  out = np.zeros(s.shape[1])
  for d in range(s.shape[1]):
    nearest = np.lexsort((s[:, d], np.abs(s[:, d] - center[d])))[:keep]
    out[d] = s[nearest, d].mean()
  return out


def meamed(x, f):
  return _mean_around(x, median(x), len(x) - f)


def phocas(x, f):
  return _mean_around(x, trimmed_mean(x, f), len(x) - f)


# Distances ------------------------------------------------------------------


def krum_scores(x, f, fewer=2):
  distances = pairwise_sq(x)
  k = max(1, len(x) - f - fewer)
  scores = np.zeros(len(x))
  for i in range(len(x)):
    others = [distances[i, j] for j in range(len(x)) if j != i]
    scores[i] = sum(sorted(others)[:k])
  return np.where(finite_rows(_f64(x)), scores, np.inf)


def krum(x, f, fewer=2):
  return _f64(x)[int(np.argmin(krum_scores(x, f, fewer)))]


def multi_krum(x, f, m=None, fewer=2):
  m = len(x) - f if m is None else m
  order = np.argsort(krum_scores(x, f, fewer), kind='stable')[:m]
  return _f64(x)[order].mean(axis=0)


def repeated_krum(x, f):
  order = bulyan_order(x, f, max(len(x) - 2 * f - 2, 1))
  return _f64(x)[order].mean(axis=0)


def bulyan_order(x, f, count=None):
  distances = pairwise_sq(x)
  alive, chosen = list(range(len(x))), []
  good = finite_rows(_f64(x))
  for _ in range(len(x) - 2 * f if count is None else count):
    k = max(1, len(alive) - f - 2)
    scores = {}
    for i in alive:
      others = sorted(distances[i, j] for j in alive if j != i)
      scores[i] = sum(others[:k]) if good[i] else np.inf
    winner = min(alive, key=lambda i: (scores[i], i))
    alive.remove(winner)
    chosen.append(winner)
  return chosen


def bulyan(x, f):
  selected = _f64(x)[bulyan_order(x, f)]
  return _mean_around(selected, median(selected), len(selected) - 2 * f)


def _subsets(n, f):
  return itertools.combinations(range(n), n - f)


def mda(x, f):
  distances = pairwise_sq(x)
  best, lowest = None, np.inf
  for ids in _subsets(len(x), f):
    diameter = max(distances[i, j] for i in ids for j in ids)
    if best is None or diameter < lowest:
      best, lowest = ids, diameter
  return _f64(x)[list(best)].mean(axis=0)


def nearest_neighbor_averaging(x, pivot, f):
  distances = pairwise_sq(x)[pivot].copy()
  distances[pivot] = -1.0
  good = finite_rows(_f64(x))
  order = [i for i in np.argsort(distances, kind='stable') if good[i]]
  return _f64(x)[order[: len(x) - f]].mean(axis=0)


def nnm(x, f):
  return np.stack([nearest_neighbor_averaging(x, i, f) for i in range(len(x))])


# Spectra --------------------------------------------------------------------


def smea(x, f):
  x = _f64(x)
  good = finite_rows(x)
  best, lowest = None, np.inf
  for ids in _subsets(len(x), f):
    if not good[list(ids)].all():
      continue
    part = x[list(ids)] - x[list(ids)].mean(axis=0)
    top = np.linalg.eigvalsh(part.T @ part / len(ids))[-1]
    if best is None or top < lowest:
      best, lowest = ids, top
  return x[list(best)].mean(axis=0)


def caf(x, f, peak='remaining', return_steps=False):
  x = _f64(x)
  n, x = len(x), x[finite_rows(x)]
  c, best, lowest, steps = np.ones(len(x)), x.mean(axis=0), np.inf, 0
  while f and c.sum() > n - 2 * f:
    mean = c @ x / c.sum()
    centered = x - mean
    values, vectors = np.linalg.eigh((centered.T * c) @ centered / c.sum())
    if values[-1] < lowest:
      best, lowest = mean, values[-1]
    tau = (centered @ vectors[:, -1]) ** 2
    steps += 1
    largest = tau[c > 0].max() if peak == 'remaining' else tau.max()
    if largest <= 0:
      break
    c = c * np.maximum(0.0, 1 - tau / largest)
  return (best, steps) if return_steps else best


def cge(x, f):
  x = _f64(x)
  norms = np.where(finite_rows(x), np.linalg.norm(x, axis=1), np.inf)
  return x[np.argsort(norms, kind='stable')[: len(x) - f]].mean(axis=0)


def dnc(x, f, factor=1.0):
  x = _f64(x)
  good = np.flatnonzero(finite_rows(x))
  centered = x[good] - x[good].mean(axis=0)
  _, _, right = np.linalg.svd(centered, full_matrices=False)
  scores = (centered @ right[0]) ** 2
  keep = len(x) - int(factor * f)
  return x[good[np.argsort(scores, kind='stable')[:keep]]].mean(axis=0)


# Iterations -----------------------------------------------------------------


def weiszfeld(x, nu, steps, start):
  x = _f64(x)
  x = x[finite_rows(x)]
  z = start
  for _ in range(steps):
    w = 1 / np.maximum(nu, np.linalg.norm(x - z, axis=1))
    z = w @ x / w.sum()
  return z


def geometric_median(x, steps=20_000):
  x = _f64(x)
  return weiszfeld(x, 1e-13, steps, np.median(x[finite_rows(x)], axis=0))


def sum_of_distances(x, z):
  return np.linalg.norm(_f64(x) - z, axis=1).sum()


def centered_clipping(x, center, radius, steps=1):
  x, v = _f64(x), _f64(center)
  for _ in range(steps):
    pulls = []
    for row in x:
      if not np.isfinite(row).all():
        pulls.append(np.zeros_like(v))
        continue
      length = np.linalg.norm(row - v)
      pulls.append((row - v) * min(1.0, radius / length if length else 1.0))
    v = v + np.mean(pulls, axis=0)
  return v


# Pre-aggregators ------------------------------------------------------------


def clipping(x, radius):
  out = _f64(x).copy()
  for i, row in enumerate(out):
    if not np.isfinite(row).all():
      out[i] = 0.0
    elif np.linalg.norm(row) > radius:
      out[i] = row * (radius / np.linalg.norm(row))
  return out


def arc(x, f):
  x = _f64(x)
  norms = np.where(finite_rows(x), np.linalg.norm(x, axis=1), np.inf)
  return clipping(x, np.sort(norms)[::-1][int(2 * f * (len(x) - f) / len(x))])


# Directions -----------------------------------------------------------------


def fltrust(x, trusted):
  total, out = 0.0, np.zeros(len(trusted))
  length = np.linalg.norm(trusted)
  for row in _f64(x):
    norm = np.linalg.norm(row)
    if not np.isfinite(row).all() or norm == 0 or length == 0:
      continue
    trust = max(0.0, row @ trusted / (norm * length))
    total += trust
    out += trust * length / norm * row
  return out / total if total else out


def foolsgold_weights(history):
  h = _f64(history)
  n = len(h)
  unit = h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-300)
  cs = unit @ unit.T - np.eye(n)
  largest = cs.max(axis=1) + 1e-5
  for i in range(n):
    for j in range(n):
      if i != j and largest[i] < largest[j]:
        cs[i, j] *= largest[i] / largest[j]
  w = np.clip(1 - cs.max(axis=1), 0, 1)
  w = w / w.max()
  w[w == 1] = 0.99
  with np.errstate(divide='ignore'):
    w = np.log(w / (1 - w) + 1e-5) + 0.5
  return np.clip(w, 0, 1)


def signguard_groups(signs):
  """Mean-shift labels of sign statistics by scikit-learn."""
  from sklearn import cluster

  bandwidth = cluster.estimate_bandwidth(signs, quantile=0.5)
  return cluster.MeanShift(bandwidth=bandwidth).fit(signs).labels_


def signguard(x, low=0.1, high=3.0):
  """With the signs of all coordinates."""
  x = _f64(x)
  norms = np.linalg.norm(x, axis=1)
  middle = np.median(norms)
  signs = np.stack(
    [(x > 0).mean(axis=1), (x == 0).mean(axis=1), (x < 0).mean(axis=1)], axis=1
  )
  labels = signguard_groups(signs)
  sizes = np.bincount(labels)
  keep = (norms > low * middle) & (norms < high * middle)
  keep &= labels == labels[np.argmax(sizes[labels])]
  clipped = x * np.minimum(1.0, middle / norms)[:, None]
  return clipped[keep].mean(axis=0)


# Flag aggregator, by singular vectors of explicit columns -------------------


def unit_rows(x):
  norms = np.linalg.norm(x, axis=1, keepdims=True)
  return np.where(norms > 0, x / np.where(norms > 0, norms, 1), 0.0)


def _flag_columns(unit, reg, mode):
  """Columns, their factors in the decomposition, factors in the objective."""
  n = len(unit)
  columns = [u for u in unit]
  factors, shares = [1.0] * n, [1.0] * n
  if reg > 0:
    share = reg / (n * (n - 1))
    for i in range(n):
      for j in range(n):
        if i == j:
          continue
        difference = unit[i] - unit[j]
        if mode == 'objective':
          difference = difference / np.linalg.norm(difference)
        columns.append(difference)
        factors.append(np.sqrt(share) if mode == 'objective' else share)
        shares.append(share)
  return np.stack(columns, axis=1), np.array(factors), np.array(shares)


def flag(x, m, *, steps=5, reg=0.0, eps=1e-7, mode='objective', first=None):
  """Returns an orthonormal Y [D, m], objectives, values of the clients."""
  unit = unit_rows(_f64(x))
  columns, factors, shares = _flag_columns(unit, reg, mode)

  def subspace(weights):
    left, sizes, _ = np.linalg.svd(columns * weights, full_matrices=False)
    return left[:, :m][:, sizes[:m] > 1e-9 * sizes[0]]

  def explained(y):
    return ((y.T @ columns) ** 2).sum(axis=0)

  def objective(y):
    return (shares * np.sqrt(np.maximum(0, 1 - explained(y)))).sum()

  y = subspace(factors) if first is None else first
  course = [objective(y)]
  for _ in range(steps):
    weights = factors * (np.abs(1 - explained(y)) + eps) ** -0.25
    fresh = subspace(weights)
    value = objective(fresh)
    if value > course[-1]:
      break
    small = course[-1] - value < 1e-10 or value <= 1e-10
    y = fresh
    course.append(value)
    if small:
      break
  return y, np.array(course), explained(y)[: len(unit)]


def flag_update(x, m, *, normalize=True, divide_by=None, **options):
  y, _, _ = flag(x, m, **options)
  rows = unit_rows(_f64(x)) if normalize else _f64(x)
  return y @ (y.T @ rows.sum(axis=0)) / (divide_by or len(x))
