# SPDX-License-Identifier: Apache-2.0
"""When clients are put into clusters, and how: decisions on the host."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxdl.core import checks
from jaxdl.federated.clusters import _clusterers, _temperature

# The label of a client that was not there when clusters were made.
WAITING = -1


class Seen(NamedTuple):
  """What a round shows before it is summed up; host arrays.

  Attributes:
    gamma: f32[M, M], cosine distances of the updates.
    norms: f32[M], their lengths.
    temperature: f32[], of Γ.
    client_ids: i32[M].
    mask: bool[M], who took part.
    round: t, from 0.
  """

  gamma: np.ndarray
  norms: np.ndarray
  temperature: np.ndarray
  client_ids: np.ndarray
  mask: np.ndarray
  round: int


class Policy(NamedTuple):
  """How clusters come about.

  Attributes:
    start: `start(num_clients) -> i32[N]`, the clusters before the first round.
    init: `init() -> memory`, a dict of NumPy numbers.
    decide: `decide(seen, labels, memory) -> (labels, memory)` in every round,
      before its updates are summed up; `WAITING` for who cannot be judged.
    needs_all: `needs_all(memory, round) -> bool`, whether this round's decision
      is about all clients; None if none ever is.
    name: for messages.
    check: `check(num_clients)` raises ValueError if there are too few.
  """

  start: Callable[[int], np.ndarray]
  init: Callable[[], dict[str, Any]]
  decide: Callable[..., tuple[np.ndarray, dict[str, Any]]]
  needs_all: Callable[[dict[str, Any], int], bool] | None
  name: str
  check: Callable[[int], None] = lambda num_clients: None


def together(num_clients: int) -> np.ndarray:
  """One cluster of all."""
  return np.zeros(num_clients, np.int32)


def alone(num_clients: int) -> np.ndarray:
  """A cluster for each."""
  return np.arange(num_clients, dtype=np.int32)


def fixed(start: Callable[[int], np.ndarray], name: str) -> Policy:
  """Clusters that never change.

  Args:
    start: `start(num_clients) -> i32[N]`.
    name: for messages.

  Returns:
    The policy.
  """
  return Policy(
    start=start,
    init=dict,
    decide=lambda seen, labels, memory: (labels, memory),
    needs_all=None,
    name=name,
  )


def one_shot(
  clusterer: Any = 'hdbscan',
  *,
  rearm_if_trivial: bool = False,
  official_quirks: bool = False,
) -> Policy:
  """Clusters once, in the first round whose temperature exceeds the last one's.

  Args:
    clusterer: see `make_clusterer`.
    rearm_if_trivial: whether a shot that finds one cluster is not spent.
    official_quirks: see `cluster_labels`.

  Returns:
    The policy.

  Source: Zuziak et al. 2025 (https://arxiv.org/abs/2509.01587).
  """
  run = _clusterers.make_clusterer(clusterer)

  def init():
    return {'temperature': np.float32(np.inf), 'fired': np.bool_(False)}

  def decide(seen, labels, memory):
    if np.count_nonzero(seen.mask) < 2:  # There is no temperature of one.
      return labels, memory
    fires = bool(
      _temperature.temperature_trigger(
        memory['temperature'], seen.temperature, memory['fired']
      )
    )
    memory = memory | {'temperature': np.float32(seen.temperature)}
    if not fires:
      return labels, memory
    found = clustered(seen, run, len(labels), official_quirks)
    spent = not rearm_if_trivial or len(np.unique(found[found >= 0])) > 1
    return (found if spent else labels), memory | {'fired': np.bool_(spent)}

  return Policy(
    start=together,
    init=init,
    decide=decide,
    needs_all=lambda memory, round: not memory['fired'],
    name='ocfl',
    check=run.check,
  )


def at_round(
  clusterer: Any,
  *,
  round: int = 20,
  official_quirks: bool = False,
) -> Policy:
  """Clusters once, in a given round.

  Args:
    clusterer: see `make_clusterer`.
    round: t >= 0, counted from 0.
    official_quirks: see `cluster_labels`.

  Returns:
    The policy.

  Source: Briggs et al. 2020 (https://arxiv.org/abs/2004.11791), Algorithm 1.
  """
  when = checks.integer(round, name='round', low=0)
  run = _clusterers.make_clusterer(clusterer)

  def decide(seen, labels, memory):
    if seen.round != when or np.count_nonzero(seen.mask) < 2:
      return labels, memory
    return clustered(seen, run, len(labels), official_quirks), memory

  return Policy(
    start=together,
    init=dict,
    decide=decide,
    needs_all=lambda memory, round: round == when,
    name='briggs',
    check=run.check,
  )


def bipartition(
  *, eps1: float = 0.35, eps2: float = 1.0, cooldown: int = 30
) -> Policy:
  """Cuts clusters in two where they stopped moving and their members did not.

  In each round after the cooldown, every cluster of more than two clients, all
  there, with |mean Δ| < ε1 and max |Δ_i| > ε2 is cut by complete linkage.

  Args:
    eps1: ε1 > 0.
    eps2: ε2 > 0.
    cooldown: the last round t, from 0, without a cut.

  Returns:
    The policy.

  Source: Sattler et al. 2020 (https://arxiv.org/abs/1910.01991), Algorithm 3;
    linkage and cooldown as the code of https://arxiv.org/abs/2509.01587 has
    them.
  """
  checks.number(eps1, name='eps1', low=0.0, open_low=True)
  checks.number(eps2, name='eps2', low=0.0, open_low=True)
  checks.integer(cooldown, name='cooldown', low=0)
  cut = _clusterers.make_clusterer(
    'agglomerative(n_clusters=2, linkage=complete)'
  )

  def decide(seen, labels, memory):
    if seen.round <= cooldown:
      return labels, memory
    row_of = {int(c): j for j, c in enumerate(seen.client_ids) if seen.mask[j]}
    new, spare = labels.copy(), int(labels.max()) + 1
    for k in np.unique(labels):
      members = np.flatnonzero(labels == k)
      if len(members) <= 2 or any(int(c) not in row_of for c in members):
        continue
      rows = np.array([row_of[int(c)] for c in members])
      norms = seen.norms[rows].astype(np.float64)
      gamma = seen.gamma[np.ix_(rows, rows)].astype(np.float64)
      if mean_norm(norms, gamma) >= eps1 or norms.max() <= eps2:
        continue
      halves = _clusterers.cluster_labels(gamma, clusterer=cut)
      if halves.any():
        new[members[halves == 1]] = spare
        spare += 1
    return new, memory

  return Policy(
    start=together,
    init=dict,
    decide=decide,
    needs_all=None,
    name='sattler',
  )


def mean_norm(norms: np.ndarray, gamma: np.ndarray) -> float:
  """Length of the mean update, from lengths and cosine distances.

  Args:
    norms: f64[N].
    gamma: f64[N, N].

  Returns:
    sqrt(Σ_ij |Δ_i| |Δ_j| (1 - Γ_ij)) / N.

  Example:
    >>> mean_norm(np.array([1.0, 1.0]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    0.7071067811865476
  """
  products = norms[:, None] * norms[None, :] * (1 - gamma)
  return float(np.sqrt(max(products.sum(), 0.0)) / len(norms))


def clustered(
  seen: Seen,
  run: _clusterers.Clusterer,
  num_clients: int,
  official_quirks: bool,
) -> np.ndarray:
  """Clusters who took part; others wait.

  Args:
    seen: the round.
    run: the clusterer.
    num_clients: N.
    official_quirks: see `cluster_labels`.

  Returns:
    i32[N], `WAITING` for who did not take part.
  """
  there = np.flatnonzero(seen.mask)
  # Numbers of clusters follow those of clients, not the order of rows.
  there = there[np.argsort(seen.client_ids[there], kind='stable')]
  labels = np.full(num_clients, WAITING, np.int32)
  labels[seen.client_ids[there]] = _clusterers.cluster_labels(
    seen.gamma[np.ix_(there, there)],
    clusterer=run,
    official_quirks=official_quirks,
  )
  return labels
