# SPDX-License-Identifier: Apache-2.0
"""Who gets which examples, by label: Dirichlet mixes, similarity, shards."""

from collections.abc import Sequence

import numpy as np

from jaxdl.core import checks
from jaxdl.data.partition import _sizes


def partition_label_dirichlet(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  *,
  alpha: float,
  min_size: int = 10,
  self_balancing: bool = False,
  max_redraws: int = 10,
) -> list[np.ndarray]:
  """Shares each class among clients in proportion to a Dirichlet draw.

  Per class, shares `~ Dir(alpha)` over the N clients cut the shuffled members
  at their cumulative sums. The whole table is drawn again until the smallest
  client has `min_size` examples.

  Args:
    rng: host generator; advanced.
    labels: int[n].
    num_clients: N.
    alpha: concentration > 0, finite; small means that few clients share a
      class.
    min_size: examples of the smallest client.
    self_balancing: whether clients that already hold `n / N` examples get
      none of the next class (the others' shares are scaled up).
    max_redraws: draws after the first before giving up.

  Returns:
    N disjoint, complete, sorted index arrays.

  Raises:
    ValueError: if an argument is out of range, or no draw reached `min_size`;
      says the best minimum reached.

  Example:
    >>> labels = np.repeat([0, 1], 50)
    >>> parts = partition_label_dirichlet(
    ...   np.random.default_rng(0), labels, 4, alpha=1.0
    ... )
    >>> sum(len(part) for part in parts), min(len(part) for part in parts) >= 10
    (100, True)

  Source: Yurochkin et al. 2019 (https://arxiv.org/abs/1905.12022), section 4;
  defaults of flwr-datasets.
  """
  n, num_clients = _sizes.check_clients(rng, labels, num_clients)
  labels = _sizes.class_labels(labels)
  _sizes.check_finite(alpha, name='alpha', open_low=True)
  min_size = checks.integer(min_size, name='min_size', low=0)
  max_redraws = checks.integer(max_redraws, name='max_redraws', low=0)
  if num_clients * min_size > n:
    raise ValueError(
      f'min_size={min_size} for {num_clients} clients needs '
      f'{num_clients * min_size} examples; got {n}.'
    )
  buckets = _buckets(rng, labels)
  concentration = np.full(num_clients, float(alpha))
  best = -1
  for _ in range(max_redraws + 1):
    sizes = np.zeros(num_clients, np.int64)
    counts = []
    for bucket in buckets:
      shares = _sizes.dirichlet(rng, concentration)
      if self_balancing:
        shares = _without(shares, sizes * num_clients >= n)
      ends = np.floor(np.cumsum(shares) * len(bucket)).astype(np.int64)
      ends[-1] = len(bucket)
      counts.append(np.diff(np.minimum(ends, len(bucket)), prepend=0))
      sizes += counts[-1]
    best = max(best, int(sizes.min()))
    if sizes.min() >= min_size:
      return _from_counts(buckets, np.array(counts).T)
  raise ValueError(
    f'min_size={min_size} was not reached in {max_redraws + 1} draws (best '
    f'minimum {best}): use a larger alpha than {alpha}, fewer clients than '
    f'{num_clients}, a smaller min_size or more redraws.'
  )


def partition_client_dirichlet(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  *,
  alpha: float,
  prior: Sequence[float] | None = None,
) -> list[np.ndarray]:
  """Gives every client its own mix of classes and the same number of examples.

  Client k draws its examples one by one from the class mix `q_k ~ Dir(alpha *
  prior)`, without replacement; when a class has run out its share goes to the
  classes that are left. Clients are served in order, so late ones may have to
  take what remains.

  Args:
    rng: host generator; advanced.
    labels: int[n].
    num_clients: N <= n.
    alpha: concentration > 0, finite; small means one class per client.
    prior: f[K], positive; the classes' frequencies if None.

  Returns:
    N disjoint, complete, sorted index arrays, sizes equal up to one.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> labels = np.repeat([0, 1], 6)
    >>> parts = partition_client_dirichlet(
    ...   np.random.default_rng(0), labels, 3, alpha=0.1
    ... )
    >>> [len(part) for part in parts]
    [4, 4, 4]

  Source: Hsu et al. 2019 (https://arxiv.org/abs/1909.06335), section 3; the
  default prior is the data's own.
  """
  n, num_clients = _sizes.check_clients(rng, labels, num_clients)
  labels = _sizes.class_labels(labels)
  _sizes.check_finite(alpha, name='alpha', open_low=True)
  buckets = _buckets(rng, labels)
  left = np.array([len(bucket) for bucket in buckets], np.int64)
  try:
    weights = left / n if prior is None else np.asarray(prior, np.float64)
  except (TypeError, ValueError):
    raise ValueError(f'prior must be numbers; got {prior!r}.') from None
  good = np.isfinite(weights) & (weights >= 0)
  if weights.shape != left.shape or not good.all():
    raise ValueError(
      f'prior must be {len(left)} finite, non-negative numbers, one per class '
      f'that occurs; got {prior}.'
    )
  # A class of zero prior can only be reached as a leftover.
  if not weights[left > 0].any():
    raise ValueError(f'prior must be positive for some class; got {prior}.')
  if weights.max() > 1e300:  # The sum would overflow.
    weights = weights / weights.max()
  weights = weights / weights.sum()
  sizes = _sizes.apportion(n, np.full(num_clients, 1 / num_clients))
  table = np.zeros((num_clients, len(buckets)), np.int64)
  for k in range(num_clients):
    mix = np.zeros(len(buckets))
    drawn = weights > 0
    mix[drawn] = _sizes.dirichlet(rng, float(alpha) * weights[drawn])
    while (need := sizes[k] - table[k].sum()) > 0:
      # Draws that hit an empty class are repeated, which is the same as
      # drawing one by one from the renormalized mix.
      taken = np.minimum(rng.multinomial(need, _without(mix, left == 0)), left)
      table[k] += taken
      left -= taken
  return _from_counts(buckets, table)


def partition_overlapping_dirichlet(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  *,
  alpha: float,
  samples_per_client: int | None = None,
) -> list[np.ndarray]:
  """Lets every client draw from all data with its own mix of classes.

  Client k draws proportions `p ~ Dir(alpha)` over the K classes and takes
  `floor(p_c * samples_per_client)` members of class c, without replacement (at
  most all of them). Clients draw independently: parts may overlap and need not
  cover the data.

  Args:
    rng: host generator; advanced.
    labels: int[n].
    num_clients: N <= n.
    alpha: concentration > 0, finite; small means one class per client.
    samples_per_client: examples that each client asks for; `n // N` if None.

  Returns:
    N sorted index arrays without repeats, of at most `samples_per_client`.

  Raises:
    ValueError: if an argument is out of range or a client ends up with
      nothing.

  Example:
    >>> labels = np.repeat([0, 1], 50)
    >>> parts = partition_overlapping_dirichlet(
    ...   np.random.default_rng(0), labels, 4, alpha=1.0
    ... )
    >>> all(24 <= len(part) <= 25 for part in parts)
    True

  Source: Farhadkhani et al. 2023 (https://arxiv.org/abs/2209.10931), the
  heterogeneous setting of the experiments.
  """
  n, num_clients = _sizes.check_clients(rng, labels, num_clients)
  labels = _sizes.class_labels(labels)
  _sizes.check_finite(alpha, name='alpha', open_low=True)
  if samples_per_client is None:
    samples_per_client = n // num_clients
  samples = checks.integer(
    samples_per_client, name='samples_per_client', low=1, high=n
  )
  buckets = _buckets(rng, labels)
  parts = []
  for k in range(num_clients):
    mix = _sizes.dirichlet(rng, np.full(len(buckets), float(alpha)))
    counts = np.floor(mix * samples).astype(np.int64)
    chosen = [
      rng.choice(bucket, min(count, len(bucket)), replace=False)
      for bucket, count in zip(buckets, counts, strict=True)
    ]
    part = np.concatenate(chosen)
    if not len(part):
      raise ValueError(
        f'client {k} has 0 examples: samples_per_client={samples} is too small '
        f'for {len(buckets)} classes at alpha={alpha}.'
      )
    parts.append(part)
  return _sizes.sort_parts(parts)


def partition_similarity(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  *,
  similarity: float,
) -> list[np.ndarray]:
  """Deals a fraction of the data evenly and the rest sorted by label.

  Args:
    rng: host generator; advanced.
    labels: int[n].
    num_clients: N <= n.
    similarity: fraction in [0, 1] that is dealt at random (the papers' gamma
      or s); one is iid, zero gives every client a run of sorted labels.

  Returns:
    N disjoint, complete, sorted index arrays, sizes equal up to one.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> labels = np.array([0, 1, 0, 1])
    >>> [
    ...   part.tolist()
    ...   for part in partition_similarity(
    ...     np.random.default_rng(0), labels, 2, similarity=0.0
    ...   )
    ... ]
    [[0, 2], [1, 3]]

  Source: Karimireddy et al. 2020 (https://arxiv.org/abs/1910.06378), section
  7; Allouah et al. 2023 (https://arxiv.org/abs/2302.01772), section 6.
  """
  n, num_clients = _sizes.check_clients(rng, labels, num_clients)
  labels = _sizes.class_labels(labels)
  checks.number(similarity, name='similarity', low=0.0, high=1.0)
  order = rng.permutation(n)
  shared, rest = np.split(order, [round(similarity * n)])
  rest = rest[np.argsort(labels[rest], kind='stable')]
  even = np.full(num_clients, 1 / num_clients)
  sizes = _sizes.apportion(n, even)
  # Whoever is one short in the shared half is made up for in the sorted one.
  head = _sizes.apportion(len(shared), even)
  first = np.split(shared, np.cumsum(head)[:-1])
  second = np.split(rest, np.cumsum(sizes - head)[:-1])
  return _sizes.sort_parts(
    [np.concatenate(pair) for pair in zip(first, second, strict=True)]
  )


def partition_shards(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  *,
  shards_per_client: int = 2,
) -> list[np.ndarray]:
  """Sorts by label, cuts into equal shards and deals them at random.

  A client sees at most `shards_per_client` classes where no shard straddles
  two classes, twice as many where classes are larger than shards.

  Args:
    rng: host generator; advanced.
    labels: int[n].
    num_clients: N.
    shards_per_client: s >= 1, `N * s <= n`.

  Returns:
    N disjoint, complete, sorted index arrays.

  Raises:
    ValueError: if there are more shards than examples.

  Example:
    >>> labels = np.repeat([0, 1, 2, 3], 5)
    >>> parts = partition_shards(np.random.default_rng(0), labels, 2)
    >>> [len(set(labels[part].tolist())) for part in parts]
    [2, 2]

  Source: McMahan et al. 2017 (https://arxiv.org/abs/1602.05629), section 3.
  """
  n, num_clients = _sizes.check_clients(rng, labels, num_clients)
  labels = _sizes.class_labels(labels)
  per_client = checks.integer(
    shards_per_client, name='shards_per_client', low=1
  )
  num_shards = num_clients * per_client
  if num_shards > n:
    raise ValueError(
      f'shards_per_client={per_client} for {num_clients} clients makes '
      f'{num_shards} shards of {n} examples: use fewer.'
    )
  order = rng.permutation(n)
  order = order[np.argsort(labels[order], kind='stable')]
  shards = np.array_split(order, num_shards)
  dealt = rng.permutation(num_shards).reshape(num_clients, per_client)
  return _sizes.sort_parts(
    [np.concatenate([shards[i] for i in row]) for row in dealt]
  )


def partition_classes(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  *,
  classes_per_client: int = 2,
  assignment: str = 'random',
) -> list[np.ndarray]:
  """Gives every client exactly C classes.

  The members of a class are shared evenly among its holders.

  Args:
    rng: host generator; advanced.
    labels: int[n] with K distinct values.
    num_clients: N, with `N * C >= K` so that no class is lost.
    classes_per_client: C <= K.
    assignment: `'random'` hands out the least used classes first, ties at
      random; `'cyclic'` gives client k the classes `k * C, ..., k * C + C - 1`
      modulo K.

  Returns:
    N disjoint, complete, sorted index arrays.

  Raises:
    ValueError: if a class would have no holder or too few members.

  Example:
    >>> labels = np.repeat([0, 1, 2], 4)
    >>> parts = partition_classes(
    ...   np.random.default_rng(0), labels, 3, assignment='cyclic'
    ... )
    >>> [sorted(set(labels[part].tolist())) for part in parts]
    [[0, 1], [0, 2], [1, 2]]

  Source: pathological partitions after McMahan et al. 2017
  (https://arxiv.org/abs/1602.05629), section 3.
  """
  _, num_clients = _sizes.check_clients(rng, labels, num_clients)
  labels = _sizes.class_labels(labels)
  checks.choice(assignment, ('random', 'cyclic'), name='assignment')
  buckets = _buckets(rng, labels)
  num_classes = len(buckets)
  per_client = checks.integer(
    classes_per_client, name='classes_per_client', low=1, high=num_classes
  )
  if num_clients * per_client < num_classes:
    raise ValueError(
      f'classes_per_client={per_client} for {num_clients} clients leaves some '
      f'of the {num_classes} classes without a holder: use more of either.'
    )
  holds = np.zeros((num_clients, num_classes), bool)
  for k in range(num_clients):
    if assignment == 'cyclic':
      chosen = (k * per_client + np.arange(per_client)) % num_classes
    else:
      ties = rng.permutation(num_classes)
      used = holds.sum(axis=0)[ties]
      chosen = ties[np.argsort(used, kind='stable')[:per_client]]
    holds[k, chosen] = True
  table = np.zeros((num_clients, num_classes), np.int64)
  for c, bucket in enumerate(buckets):
    holders = np.flatnonzero(holds[:, c])
    if len(holders) > len(bucket):
      raise ValueError(
        f'class number {c} has {len(bucket)} examples for {len(holders)} '
        'clients: use fewer clients or classes_per_client.'
      )
    even = np.full(len(holders), 1 / len(holders))
    table[holders, c] = _sizes.apportion(len(bucket), even)
  return _from_counts(buckets, table)


def _buckets(rng, labels: np.ndarray) -> list[np.ndarray]:
  """Returns the shuffled members of every class that occurs."""
  return [
    rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)
  ]


def _from_counts(
  buckets: Sequence[np.ndarray], table: np.ndarray
) -> list[np.ndarray]:
  """Cuts each bucket into runs of `table[k, c]` and joins them by client."""
  runs = [
    np.split(bucket, np.cumsum(table[:, c])[:-1])
    for c, bucket in enumerate(buckets)
  ]
  return _sizes.sort_parts(
    [np.concatenate([run[k] for run in runs]) for k in range(len(table))]
  )


def _without(shares: np.ndarray, closed: np.ndarray) -> np.ndarray:
  """Renormalizes shares over what is not closed, evenly if none is left."""
  shares = np.where(closed, 0.0, shares)
  if not shares.sum() > 0:
    shares = (~closed).astype(np.float64)
  return shares / shares.sum()
