# SPDX-License-Identifier: Apache-2.0
"""What has arrived of each job, given who was late, and how it is decoded."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from jaxdl.coding import _codes, _schemes, _stragglers
from jaxdl.core import checks

Scheme = _schemes.Scheme


class Deliveries(NamedTuple):
  """What a master has got of J jobs, for patterns side by side.

  Attributes:
    arrived: bool[..., J, C], which of the C results of a job have come in time
      (numbered as in `Scheme`).
    done: int[..., J], the round at whose end a job can be decoded; -1 if it
      never can.
  """

  arrived: np.ndarray
  done: np.ndarray


def deliveries(
  scheme: Scheme, stragglers: chex.Array, num_jobs: int
) -> Deliveries:
  """Follows a scheme through rounds in which some workers are late.

  A late worker returns nothing in its round, and nothing later unless the
  scheme repeats it.

  Args:
    scheme: of n workers.
    stragglers: bool[..., R, n], R >= J + T.
    num_jobs: J >= 0.

  Returns:
    What has arrived of each job and when it was enough. Jobs that cannot be
    decoded are no error here.

  Raises:
    ValueError: if shapes are wrong.

  Cost: O(J · C) per pattern, in NumPy; patterns run side by side.

  Example:
    >>> scheme = _schemes.make_scheme('m_sgc(1, 2, 1)', 3)
    >>> late = np.zeros((3, 3), bool)
    >>> late[0, 0] = True  # Worker 0 repeats its chunk in round 1.
    >>> found = deliveries(scheme, late, 2)
    >>> found.done.tolist(), found.arrived[0].astype(int).tolist()
    ([1, 2], [1, 1, 1, 0, 1, 1])

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802), sections on
  SR-SGC and M-SGC.
  """
  late = _stragglers.check_patterns(stragglers, name='stragglers')
  jobs = checks.integer(num_jobs, name='num_jobs', low=0)
  n, need = scheme.num_workers, jobs + scheme.delay
  if late.shape[-1] != n or (jobs and late.shape[-2] < need):
    raise ValueError(
      f'stragglers must be bool[..., R, {n}] with R >= {need}; got shape '
      f'{late.shape}.'
    )
  follow = {'sr_sgc': _sr_sgc, 'm_sgc': _m_sgc}.get(scheme.name, _at_once)
  arrived, enough = follow(scheme, late, jobs)
  return Deliveries(arrived, np.where(enough < 0, -1, enough))


def _at_once(scheme, late, jobs):
  arrived = ~late[..., :jobs, :]
  good = np.ones(arrived.shape[:-1], bool)
  if scheme.num_groups:
    good = _codes.decodes(arrived, scheme.tolerance, scheme.code)
  elif scheme.name == 'uncoded':
    good = arrived.all(axis=-1)
  return arrived, np.where(good, np.arange(jobs), -1)


def repeaters(missing: np.ndarray, tolerance: Any) -> np.ndarray:
  """Who repeats a job, the first by index of those whose result is missing.

  Args:
    missing: bool[..., n].
    tolerance: s, results that may be missing; broadcasts.

  Returns:
    bool[..., n].
  """
  place = np.cumsum(missing, axis=-1)
  spare = place[..., -1:] - np.asarray(tolerance)[..., None]
  return missing & (place <= spare)


def _sr_sgc(scheme, late, jobs):
  b, s = scheme.burst_length, scheme.tolerance
  arrived = np.zeros((*late.shape[:-2], jobs, late.shape[-1]), bool)
  done = np.full(arrived.shape[:-1], -1)
  for r in range(jobs + b if jobs else 0):
    busy = np.zeros_like(late[..., r, :])
    if r >= b:
      old = arrived[..., r - b, :]
      busy = repeaters(~old, s)
      early = _codes.decodes(old, s)
      old |= busy & ~late[..., r, :]
      good = _codes.decodes(old, s)
      done[..., r - b] = np.where(early, r - b, np.where(good, r, -1))
    if r < jobs:
      arrived[..., r, :] = ~late[..., r, :] & ~busy
  return arrived, done


def _m_sgc(scheme, late, jobs):
  b, w = scheme.burst_length, scheme.window
  slot = lambda q: ~late[..., q : q + jobs, :]  # In time, [..., J, n].
  plain = np.stack([slot(q) for q in range(w - 1)], axis=-1)
  coded = []
  ended = np.where(plain.all(axis=(-2, -1)), w - 2, -1)
  for m in range(b):
    missing = ~plain
    first = missing & (np.cumsum(missing, axis=-1) == 1)
    on_time = slot(w - 1 + m)
    coded.append(on_time & ~missing.any(axis=-1))
    plain |= first & on_time[..., None]
    whole = plain.all(axis=(-2, -1))
    ended = np.where((ended < 0) & whole, w - 1 + m, ended)
  plain = plain.reshape(*plain.shape[:-2], -1)
  if not scheme.num_groups:
    return plain, np.where(ended < 0, -1, ended + np.arange(jobs))
  good = ended >= 0
  for group in coded:
    good &= _codes.decodes(group, scheme.tolerance, 'cyclic')
  arrived = np.concatenate([plain, *coded], axis=-1)
  return arrived, np.where(good, np.arange(jobs) + scheme.delay, -1)


def encode_job(
  scheme: Scheme, code: _codes.GradientCode | None, chunks: chex.ArrayTree
) -> chex.ArrayTree:
  """Computes all results that workers may return for a job.

  Args:
    scheme: numbers chunks and results.
    code: `scheme.code_of(seed)`.
    chunks: gradients of the sums over chunks, leaves [C, ...]; NumPy in
      float64, or jax, see `encode`.

  Returns:
    Leaves [C, ...]: plain gradients first, then the coded groups.

  Raises:
    ValueError: if the leading axis is not C.
  """
  _check_rows(chunks, scheme.num_chunks, 'chunks')
  n, p = scheme.num_workers, scheme.num_partial
  parts = [jax.tree.map(lambda x: x[:p], chunks)] if p else []
  for m in range(scheme.num_groups):
    group = jax.tree.map(lambda x, k=p + m * n: x[k : k + n], chunks)
    parts.append(_codes.encode(code.matrix, group))
  return jax.tree.map(_joined, *parts)


def decode_job(
  scheme: Scheme,
  code: _codes.GradientCode | None,
  results: chex.ArrayTree,
  arrived: chex.Array,
  *,
  job: int = 0,
) -> chex.ArrayTree:
  """Makes the whole gradient of the results that arrived.

  Args:
    scheme: numbers results.
    code: the one of `encode_job`.
    results: leaves [C, ...]; what did not arrive may be anything.
    arrived: bool[C], of `deliveries`.
    job: its number, for the message.

  Returns:
    Leaves [...], the sum over all chunks; under 'no_wait' that over those that
    arrived, scaled up.

  Raises:
    ValueError: if what arrived is not enough; the message says what is missing.

  Example:
    >>> scheme = _schemes.make_scheme('m_sgc(1, 2, 1)', 3)
    >>> code = scheme.code_of()
    >>> results = encode_job(scheme, code, np.arange(6.0))
    >>> arrived = np.array([1, 1, 1, 0, 1, 1], bool)
    >>> round(float(decode_job(scheme, code, results, arrived)), 9)
    15.0
  """
  _check_rows(results, scheme.num_chunks, 'results')
  arrived = checks.host_array(arrived, name='arrived').astype(bool)
  n, p = scheme.num_workers, scheme.num_partial
  if arrived.shape != (scheme.num_chunks,):
    raise ValueError(
      f'arrived must be bool[{scheme.num_chunks}]; got shape {arrived.shape}.'
    )
  _check_enough(scheme, arrived, job)
  total = []
  if p:
    plain = jax.tree.map(lambda x: x[:p], results)
    weight = arrived[:p] / max(arrived[:p].mean(), 1 / p)
    total.append(_codes.decode(weight, plain))
  for m in range(scheme.num_groups):
    k = p + m * n
    group = jax.tree.map(lambda x, k=k: x[k : k + n], results)
    vector = code.decoding_vector(arrived[k : k + n])
    total.append(_codes.decode(vector, group))
  return jax.tree.map(lambda *xs: sum(xs[1:], xs[0]), *total)


def _check_enough(scheme, arrived, job):
  """Raises ValueError unless a job can be decoded."""
  n, p = scheme.num_workers, scheme.num_partial
  said = []
  if p and scheme.name != 'no_wait' and not arrived[:p].all():
    owners = np.flatnonzero(~arrived[:p].reshape(n, -1).all(axis=1))
    said.append(f'plain chunks of workers {owners.tolist()} are missing')
  groups = arrived[p:].reshape(scheme.num_groups, n)
  if not _codes.decodes(groups, scheme.tolerance, scheme.code).all():
    counts = groups.sum(axis=1).tolist()
    said.append(
      f'coded groups have {counts} results, {n - scheme.tolerance} are needed'
    )
  if said:
    raise ValueError(
      f'job={job} of {scheme.text} cannot be decoded: {"; ".join(said)}.'
    )


def _check_rows(tree, count, name):
  found = checks.num_clients(tree, name=name)
  if found != count:
    raise ValueError(f'{name} must have leading axis {count}; got {found}.')


def _joined(*xs: Sequence[Any]):
  if any(isinstance(x, jax.Array) for x in xs):
    return jax.numpy.concatenate(xs)
  return np.concatenate(xs)
