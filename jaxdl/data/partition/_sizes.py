# SPDX-License-Identifier: Apache-2.0
"""Who gets which examples: even, uneven in size, or by natural owner.

Every partitioner takes `(rng, labels, num_clients)` and keyword options and
returns N sorted int64 index arrays. Partitioners by label are in
`_labels.py`.
"""

from collections.abc import Sequence

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset


def partition_iid(
  rng: np.random.Generator, labels: np.ndarray, num_clients: int
) -> list[np.ndarray]:
  """Deals all examples at random, sizes equal up to one.

  Args:
    rng: host generator; advanced.
    labels: [n, ...], only their number matters.
    num_clients: N <= n.

  Returns:
    N disjoint, complete, sorted index arrays.

  Raises:
    ValueError: if there are more clients than examples.

  Example:
    >>> parts = partition_iid(np.random.default_rng(0), np.zeros(7), 3)
    >>> [len(part) for part in parts]
    [3, 2, 2]
  """
  n, num_clients = check_clients(rng, labels, num_clients)
  return sort_parts(np.array_split(rng.permutation(n), num_clients))


def partition_quantity_dirichlet(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  *,
  alpha: float,
  min_size: int = 1,
) -> list[np.ndarray]:
  """Deals all examples at random, sizes proportional to a Dirichlet draw.

  Every client first receives `min_size` examples; the rest is shared in
  proportion to `Dir(alpha)`.

  Args:
    rng: host generator; advanced.
    labels: [n, ...], only their number matters.
    num_clients: N.
    alpha: concentration > 0, finite; small means uneven.
    min_size: guaranteed examples per client, `N * min_size <= n`.

  Returns:
    N disjoint, complete, sorted index arrays.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> parts = partition_quantity_dirichlet(
    ...   np.random.default_rng(0), np.zeros(9), 3, alpha=0.1, min_size=2
    ... )
    >>> sum(len(part) for part in parts), min(len(part) for part in parts)
    (9, 2)

  Source: Li et al. 2022 (https://arxiv.org/abs/2102.02079), section 3.2.3;
  the guaranteed part is ours.
  """
  n, num_clients = check_clients(rng, labels, num_clients)
  check_finite(alpha, name='alpha', open_low=True)
  shares = dirichlet(rng, np.full(num_clients, float(alpha)))
  return _deal(rng, n, shares, min_size)


def partition_power_law(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  *,
  exponent: float = 1.0,
  min_size: int = 1,
) -> list[np.ndarray]:
  """Deals all examples at random, sizes proportional to `rank^-exponent`.

  Ranks are given to clients at random. Every client first receives `min_size`
  examples.

  Args:
    rng: host generator; advanced.
    labels: [n, ...], only their number matters.
    num_clients: N.
    exponent: finite, at least 0, where sizes are equal.
    min_size: guaranteed examples per client, `N * min_size <= n`.

  Returns:
    N disjoint, complete, sorted index arrays.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> parts = partition_power_law(np.random.default_rng(0), np.zeros(14), 3)
    >>> sorted(len(part) for part in parts)
    [3, 4, 7]
  """
  n, num_clients = check_clients(rng, labels, num_clients)
  check_finite(exponent, name='exponent')
  shares = np.arange(1, num_clients + 1) ** -float(exponent)
  return _deal(rng, n, rng.permutation(shares / shares.sum()), min_size)


def partition_lognormal(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  *,
  sigma: float = 1.0,
  min_size: int = 1,
) -> list[np.ndarray]:
  """Deals all examples at random, sizes proportional to a lognormal draw.

  Every client first receives `min_size` examples.

  Args:
    rng: host generator; advanced.
    labels: [n, ...], only their number matters.
    num_clients: N.
    sigma: deviation of the logarithm of a size, >= 0, finite.
    min_size: guaranteed examples per client, `N * min_size <= n`.

  Returns:
    N disjoint, complete, sorted index arrays.

  Raises:
    ValueError: if an argument is out of range.

  Example:
    >>> parts = partition_lognormal(
    ...   np.random.default_rng(0), np.zeros(9), 3, sigma=0.0
    ... )
    >>> [len(part) for part in parts]
    [3, 3, 3]
  """
  n, num_clients = check_clients(rng, labels, num_clients)
  check_finite(sigma, name='sigma')
  normal = rng.normal(size=num_clients)
  with np.errstate(over='ignore', under='ignore'):
    # Centered first: whatever sigma is, the largest share stays one.
    shares = np.exp(float(sigma) * (normal - normal.max()))
  return _deal(rng, n, shares / shares.sum(), min_size)


def partition_natural(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int | None = None,
  *,
  client_ids: Sequence[object],
) -> list[np.ndarray]:
  """Groups examples by who owns them.

  Args:
    rng: host generator; advanced only if owners are left out.
    labels: [n, ...], only their number matters.
    num_clients: how many owners to keep, drawn at random; all if None.
    client_ids: n owners, one per example, of any one sortable type.

  Returns:
    N disjoint, sorted index arrays in increasing order of owners; complete if
    all owners are kept.

  Raises:
    ValueError: if there are fewer owners than clients, lengths differ, or
      owners are of several types ('1' and 1 are not the same person).

  Example:
    >>> [
    ...   part.tolist()
    ...   for part in partition_natural(
    ...     np.random.default_rng(0), np.zeros(3), client_ids=['b', 'a', 'b']
    ...   )
    ... ]
    [[1], [0, 2]]
  """
  n, _ = check_clients(rng, labels, 1)
  if len(client_ids) != n:
    raise ValueError(
      f'client_ids must name one owner per example: got {len(client_ids)} '
      f'for {n} labels.'
    )
  owners, inverse = _owners(client_ids)
  keep = np.arange(len(owners))
  if num_clients is not None:
    num_clients = checks.integer(num_clients, name='num_clients', low=1)
    if num_clients > len(owners):
      raise ValueError(
        f'num_clients={num_clients} exceeds the {len(owners)} owners in '
        'client_ids: use fewer, or None for all.'
      )
    if num_clients < len(owners):
      keep = np.sort(rng.choice(len(owners), num_clients, replace=False))
  return [np.flatnonzero(inverse == k) for k in keep]


def class_table(
  labels: np.ndarray, parts: Sequence[np.ndarray], num_classes: int
) -> np.ndarray:
  """Counts examples by client and class.

  Args:
    labels: int[n] in `[0, num_classes)`.
    parts: N index arrays.
    num_classes: K.

  Returns:
    int64[N, K]; row sums are client sizes.

  Raises:
    ValueError: if a label is out of range.

  Example:
    >>> class_table(np.array([0, 1, 1]), [[0, 1], [2]], 2).tolist()
    [[1, 1], [0, 1]]
  """
  num_classes = checks.integer(num_classes, name='num_classes', low=1)
  labels = class_labels(labels)
  if labels.max() >= num_classes:
    raise ValueError(
      f'num_classes={num_classes} is too small: labels reach {labels.max()}.'
    )
  rows = [
    np.bincount(labels[np.asarray(part, np.int64)], minlength=num_classes)
    for part in parts
  ]
  return np.array(rows, np.int64).reshape(len(parts), num_classes)


def check_clients(
  rng: np.random.Generator, labels: np.ndarray, num_clients: int
) -> tuple[int, int]:
  """Checks what every partitioner takes.

  Args:
    rng: host generator.
    labels: [n, ...].
    num_clients: N.

  Returns:
    `(n, N)`.

  Raises:
    TypeError: if `rng` is not a generator or N is not an integer.
    ValueError: unless `1 <= N <= n`.
  """
  _dataset.require_generator(rng)
  num_clients = checks.integer(num_clients, name='num_clients', low=1)
  n = len(labels)
  if num_clients > n:
    raise ValueError(
      f'num_clients={num_clients} exceeds the {n} examples: every client needs '
      'at least one.'
    )
  return n, num_clients


def class_labels(labels: np.ndarray) -> np.ndarray:
  """Checks class labels.

  Args:
    labels: anything that becomes a 1-D integer array.

  Returns:
    int64[n], n >= 1.

  Raises:
    ValueError: if they are not non-negative integers on one axis.
  """
  labels = np.asarray(labels)
  if labels.ndim != 1 or not labels.size or labels.dtype.kind not in 'iu':
    raise ValueError(
      'labels must be a non-empty 1-D array of integers; got '
      f'{labels.dtype} of shape {labels.shape}.'
    )
  if labels.min() < 0:
    raise ValueError(f'labels must not be negative; got {labels.min()}.')
  return labels.astype(np.int64)


def apportion(total: int, shares: np.ndarray) -> np.ndarray:
  """Rounds shares of a total to whole numbers by largest remainders.

  Args:
    total: what is shared.
    shares: f64[N], non-negative, summing to one.

  Returns:
    int64[N] that sum to `total`, each within one of its share.
  """
  exact = shares * total
  sizes = np.floor(exact).astype(np.int64)
  order = np.argsort(-(exact - sizes), kind='stable')
  spare = int(total - sizes.sum())
  if abs(spare) > len(sizes) or sizes.min() < 0:
    raise ValueError(f'shares must be finite and sum to one; got {shares}.')
  if spare >= 0:
    sizes[order[:spare]] += 1
  else:  # Shares that sum to a little more than one.
    sizes[np.argsort(-sizes, kind='stable')[:-spare]] -= 1
  return sizes


def check_finite(
  value: float, *, name: str, low: float = 0.0, open_low: bool = False
) -> None:
  """Refuses infinite options, of which shares of a whole cannot be made.

  Args:
    value: a number.
    name: the argument's name, for the message.
    low: lower end.
    open_low: whether the lower end itself is refused.

  Raises:
    TypeError: if it is no number.
    ValueError: if it is infinite, NaN or too low.
  """
  checks.number(
    value,
    name=name,
    low=low,
    open_low=open_low,
  )


def dirichlet(
  rng: np.random.Generator, concentration: np.ndarray
) -> np.ndarray:
  """Draws shares, also where the gamma variates behind them would overflow.

  Args:
    rng: host generator; advanced.
    concentration: f64[N], >= 0, finite.

  Returns:
    f64[N] that sum to one.
  """
  top = 1e300 / len(concentration)
  return rng.dirichlet(np.clip(concentration, 1e-300, top))


def sort_parts(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
  """Returns the same parts, each sorted, as int64.

  Args:
    parts: index arrays.

  Returns:
    Index arrays.
  """
  return [np.sort(np.asarray(part, np.int64)) for part in parts]


def _deal(rng, n: int, shares: np.ndarray, min_size: int) -> list[np.ndarray]:
  min_size = checks.integer(min_size, name='min_size', low=0)
  spare = n - len(shares) * min_size
  if spare < 0:
    raise ValueError(
      f'min_size={min_size} for {len(shares)} clients needs '
      f'{len(shares) * min_size} examples; got {n}.'
    )
  sizes = min_size + apportion(spare, shares)
  return sort_parts(np.split(rng.permutation(n), np.cumsum(sizes)[:-1]))


def _owners(client_ids) -> tuple[Sequence[object], np.ndarray]:
  """Returns the owners in order, and the number of each example's owner."""
  if isinstance(client_ids, np.ndarray):
    if client_ids.ndim != 1:
      raise ValueError(
        f'client_ids must have one axis; got shape {client_ids.shape}.'
      )
    if client_ids.dtype != object:
      return np.unique(client_ids, return_inverse=True)
  # NumPy would make text of numbers and drop trailing zero bytes.
  kinds = sorted({type(owner).__name__ for owner in client_ids})
  if len(kinds) > 1:
    raise ValueError(
      f'client_ids must be of one type; got {", ".join(kinds)}: convert them.'
    )
  owners = sorted(set(client_ids))
  number = {owner: k for k, owner in enumerate(owners)}
  return owners, np.array([number[owner] for owner in client_ids], np.int64)
