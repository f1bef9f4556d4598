# SPDX-License-Identifier: Apache-2.0
"""Who meets what and when: schedules of missions, drawn on the host."""

from typing import NamedTuple

import numpy as np

from jaxdl.core import checks, registry


class Missions(NamedTuple):
  """Which examples each client meets in each mission, padded.

  Attributes:
    ids: i32[T, N, k, s], places in the pool; 0 where masked.
    mask: bool[T, N, k, s]; false where a class had fewer than s examples left,
      a client met fewer than k classes, or a mission is empty.
    classes: i32[T, N, k], the classes met; -1 where there are fewer than k.
  """

  ids: np.ndarray
  mask: np.ndarray
  classes: np.ndarray


def mission_schedule(
  rng: np.random.Generator,
  labels: np.ndarray,
  *,
  num_clients: int,
  classes_per_mission: int,
  shots: int,
  num_missions: int | None = None,
  with_replacement: bool = False,
) -> Missions:
  """Lets clients meet random classes in every mission.

  In a mission each client draws up to k classes, at random among those that
  still have unseen examples, and takes up to s unseen examples of each. Clients
  draw one after the other: several may meet one class, never one example.
  Towards the end, as classes and examples run out, clients get fewer of both,
  and in the last mission some may get none; `mask` and `classes` show it.

  Args:
    rng: host generator; advanced.
    labels: int[P], the class of each example of the pool.
    num_clients: N >= 1.
    classes_per_mission: k >= 1.
    shots: s >= 1.
    num_missions: T; None goes on until every example has been seen. Missions
      after that are empty.
    with_replacement: whether every draw is from all examples again; then
      `num_missions` must be said.

  Returns:
    The schedule.

  Raises:
    ValueError: if a number is out of range, the pool is empty, the end is not
      known, or what is asked can never be: more classes than there are, more
      shots than any class has, or with replacement than some class has.

  Example:
    >>> missions = mission_schedule(
    ...   np.random.default_rng(0),
    ...   np.repeat(np.arange(4), 3),
    ...   num_clients=2,
    ...   classes_per_mission=1,
    ...   shots=3,
    ... )
    >>> missions.ids.shape, sorted(missions.ids[missions.mask].tolist())
    ((2, 2, 1, 3), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])

  Source: Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150), the benchmark.
  """
  labels = _checked_labels(labels)
  n = checks.integer(num_clients, name='num_clients', low=1)
  k = checks.integer(classes_per_mission, name='classes_per_mission', low=1)
  s = checks.integer(shots, name='shots', low=1)
  if num_missions is not None:
    checks.integer(num_missions, name='num_missions', low=0)
  elif with_replacement:
    raise ValueError(
      'num_missions=None with_replacement=True never ends: say how many.'
    )
  members = {int(c): np.flatnonzero(labels == c) for c in np.unique(labels)}
  _check_ways(k, len(members))
  sizes = {c: len(ids) for c, ids in members.items()}
  # Without replacement a class may have a rest; but somebody must get s.
  pick = min if with_replacement else max
  _check_shots(s, *pick(sizes.items(), key=lambda item: item[1]))
  unseen = {c: list(rng.permutation(ids)) for c, ids in members.items()}
  missions = []
  while len(missions) < num_missions if num_missions is not None else unseen:
    mission = []
    for _ in range(n):
      known = sorted(unseen)
      size = min(k, len(known))
      chosen = rng.choice(known, size, replace=False) if size else []
      met = []
      for c in map(int, chosen):
        if with_replacement:
          ids = rng.permutation(members[c])[:s].tolist()
        else:
          ids, unseen[c] = unseen[c][:s], unseen[c][s:]
          if not unseen[c]:
            del unseen[c]
        met.append((c, ids))
      mission.append(met)
    missions.append(mission)
  return _padded(missions, n, k, s)


def class_schedule(
  rng: np.random.Generator,
  labels: np.ndarray,
  *,
  classes_per_mission: int = 1,
  shots: int,
  num_missions: int | None = None,
) -> Missions:
  """Lets one client meet every class once, in a random order.

  Args:
    rng: host generator; advanced.
    labels: int[P], the class of each example of the pool.
    classes_per_mission: k >= 1 classes at a time.
    shots: s random examples of each.
    num_missions: T, as many as it takes by default; later ones are empty.

  Returns:
    The schedule, of one client.

  Raises:
    ValueError: if a number is out of range, there are too few classes, or a
      class has too few examples.

  Example:
    >>> missions = class_schedule(
    ...   np.random.default_rng(0), np.repeat(np.arange(4), 3), shots=2
    ... )
    >>> missions.ids.shape, sorted(missions.classes.ravel().tolist())
    ((4, 1, 1, 2), [0, 1, 2, 3])

  Source: Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150), the
  class-incremental comparison.
  """
  labels = _checked_labels(labels)
  k = checks.integer(classes_per_mission, name='classes_per_mission', low=1)
  s = checks.integer(shots, name='shots', low=1)
  if num_missions is not None:
    checks.integer(num_missions, name='num_missions', low=0)
  classes, counts = np.unique(labels, return_counts=True)
  _check_ways(k, len(classes))
  few = int(np.argmin(counts))
  _check_shots(s, classes[few], counts[few])
  order = rng.permutation(classes)
  missions = [
    [
      [
        (int(c), rng.permutation(np.flatnonzero(labels == c))[:s].tolist())
        for c in order[start : start + k]
      ]
    ]
    for start in range(0, len(order), k)
  ]
  if num_missions is not None:
    missions = missions[:num_missions]
    missions += [[[]]] * (num_missions - len(missions))
  return _padded(missions, 1, k, s)


def _checked_labels(labels):
  labels = checks.host_array(labels, name='labels')
  if labels.ndim != 1 or not labels.size or labels.dtype.kind not in 'iu':
    raise ValueError(
      'labels must be integers, one for each example of the pool; got '
      f'{labels.dtype} of shape {labels.shape}.'
    )
  return labels


def _check_ways(k, num_classes):
  if k > num_classes:
    raise ValueError(
      f'classes_per_mission={k} exceeds the {num_classes} classes of the pool.'
    )


def _check_shots(shots, label, count):
  if count < shots:
    raise ValueError(
      f'class {label} has {count} examples, shots={shots} are needed.'
    )


def _padded(missions, n, k, s):
  shape = (len(missions), n, k, s)
  ids, mask = np.zeros(shape, np.int32), np.zeros(shape, bool)
  classes = np.full(shape[:3], -1, np.int32)
  for t, mission in enumerate(missions):
    for i, met in enumerate(mission):
      for j, (c, chosen) in enumerate(met):
        classes[t, i, j] = c
        ids[t, i, j, : len(chosen)] = chosen
        mask[t, i, j, : len(chosen)] = True
  return Missions(ids, mask, classes)


def missions(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_missions: int | None,
  *,
  num_clients: int = 5,
  classes: int = 5,
  shots: int = 3,
  replacement: bool = False,
) -> Missions:
  """Clients meet so many random classes in each mission."""
  return mission_schedule(
    rng,
    labels,
    num_clients=num_clients,
    classes_per_mission=classes,
    shots=shots,
    num_missions=num_missions,
    with_replacement=replacement,
  )


def cil(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_missions: int | None,
  *,
  classes: int = 1,
  shots: int = 15,
) -> Missions:
  """One client meets every class once, so many at a time."""
  return class_schedule(
    rng,
    labels,
    classes_per_mission=classes,
    shots=shots,
    num_missions=num_missions,
  )


# Who meets what: `make(spec, rng, labels, num_missions)`.
PROTOCOLS = registry.Registry(
  'protocol',
  {'missions': missions, 'cil': cil},
  given=('rng', 'labels', 'num_missions'),
)
