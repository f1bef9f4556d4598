# SPDX-License-Identifier: Apache-2.0
"""Who gets which examples, where clients come in groups of a kind."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.core import checks
from jaxdl.data.partition import _sizes

# Classes that each group holds, verified for MNIST.
CLASS_MAPS = {
  'nonoverlapping': ((0, 1, 2, 3), (4, 5, 6), (7, 8, 9)),
  'overlapping': (
    (0, 1, 2, 3, 8, 9),
    (4, 5, 6, 7, 8, 9),
    (0, 1, 2, 3, 4, 5),
  ),
}
BALANCES = ('balanced', 'imbalanced')
# Clients of each of three groups, of 15 and of 30.
_UNEVEN = {15: (3, 7, 5), 30: (7, 14, 9)}


def client_groups(
  num_clients: int,
  *,
  split: str | Sequence[Sequence[int]] = 'nonoverlapping',
  balance: str = 'balanced',
) -> np.ndarray:
  """The group that each client belongs to, of `partition_clusters`.

  Args:
    num_clients: N.
    split: see `partition_clusters`.
    balance: 'balanced' groups are equal up to one; 'imbalanced' ones are of 3,
      7 and 5 out of 15 clients (7, 14, 9 of 30), or, of another number than
      three, grow by one share each.

  Returns:
    i64[N], not decreasing.

  Example:
    >>> np.bincount(client_groups(15, balance='imbalanced')).tolist()
    [3, 7, 5]
  """
  num_clients = checks.integer(num_clients, name='num_clients', low=1)
  classes = class_map(split)
  checks.choice(balance, BALANCES, name='balance')
  shares = np.ones(len(classes))
  if balance == 'imbalanced':
    known = _UNEVEN.get(num_clients, _UNEVEN[15])
    three = len(classes) == len(known)
    shares = np.array(known if three else np.arange(1, len(classes) + 1))
  sizes = _sizes.apportion(num_clients, shares / shares.sum())
  return np.repeat(np.arange(len(sizes)), sizes)


def class_map(split: Any) -> tuple[tuple[int, ...], ...]:
  """Reads which classes each group holds.

  Args:
    split: a name of `CLASS_MAPS`, or a tuple of classes for each group.

  Returns:
    The classes.

  Raises:
    ValueError: if the name is unknown, or a group has no classes or one twice.
  """
  if isinstance(split, str):
    checks.choice(split, CLASS_MAPS, name='split')
    return CLASS_MAPS[split]
  try:
    classes = tuple(tuple(int(c) for c in group) for group in split)
  except (TypeError, ValueError):
    classes = ()
  if not classes or any(
    not group or len(set(group)) < len(group) or min(group) < 0
    for group in classes
  ):
    raise ValueError(
      f'split must be one of {", ".join(map(repr, CLASS_MAPS))} or a tuple of '
      f'different classes for each group, ((0, 1), (2, 3)); got {split!r}.'
    )
  return classes


def partition_clusters(
  rng: np.random.Generator,
  labels: np.ndarray,
  num_clients: int,
  *,
  split: str | Sequence[Sequence[int]] = 'nonoverlapping',
  balance: str = 'balanced',
  samples_per_client: int | None = None,
) -> list[np.ndarray]:
  """Gives clients of a group the same mix of the same classes.

  Every client gets the same number of examples, in the mix of its group:
  uniform over its classes, or, where groups are imbalanced, one Dirichlet draw
  per group that its clients share. Classes are dealt like decks of cards: no
  example twice before all have been dealt once, never twice to one client. The
  mixes are drawn first: another call with a generator of the same seed, on
  other examples, gives clients the same mixes.

  Args:
    rng: host generator; advanced.
    labels: int[n].
    num_clients: N.
    split: classes of the groups: 'nonoverlapping', {0-3}, {4-6}, {7-9};
      'overlapping', {0-3, 8, 9}, {4-9}, {0-5}; or a tuple of classes for each
      group.
    balance: 'balanced' or 'imbalanced', see `client_groups`.
    samples_per_client: examples of each; as many as can be dealt without
      dealing one twice, if None.

  Returns:
    N sorted index arrays; examples that nobody gets are left out. Clients are
    in the order of their groups, see `client_groups`.

  Raises:
    ValueError: if a class does not occur, or is too small for a client.

  Example:
    >>> labels = np.repeat(np.arange(10), 20)
    >>> parts = partition_clusters(np.random.default_rng(0), labels, 6)
    >>> [sorted(set(labels[part].tolist())) for part in parts[1:3]]
    [[0, 1, 2, 3], [4, 5, 6]]

  Source: Zuziak et al. 2025 (https://arxiv.org/abs/2509.01587), section on
    experiments; how examples are dealt is ours.
  """
  _, num_clients = _sizes.check_clients(rng, labels, num_clients)
  labels = _sizes.class_labels(labels)
  classes = class_map(split)
  groups = client_groups(num_clients, split=split, balance=balance)
  num_classes = max(max(group) for group in classes) + 1
  mixes = np.zeros((len(classes), num_classes))
  for k, group in enumerate(classes):
    share = np.full(len(group), 1 / len(group))
    if balance == 'imbalanced':
      share = _sizes.dirichlet(rng, np.ones(len(group)))
    mixes[k, list(group)] = share
  counts = np.bincount(labels, minlength=num_classes)
  for k, group in enumerate(classes):
    lacking = [c for c in group if not counts[c]]
    if lacking and k in groups:
      raise ValueError(
        f'class {lacking[0]} of group {k} has no examples: labels reach '
        f'{labels.max()}, choose another split than {split!r}.'
      )
  size = _fitting(mixes[groups], counts, samples_per_client)
  table = np.array([_sizes.apportion(size, mixes[k]) for k in groups])
  crowded = np.argwhere(table > counts[:num_classes])
  if crowded.size:
    client, c = crowded[0]
    raise ValueError(
      f'samples_per_client={size} gives client {client} {table[client, c]} '
      f'examples of class {c}, which has {counts[c]}: lower it.'
    )
  parts: list[list[np.ndarray]] = [[] for _ in range(num_clients)]
  for c in range(num_classes):
    deck, at = rng.permutation(np.flatnonzero(labels == c)), 0
    for client in np.flatnonzero(table[:, c]):
      places = (at + np.arange(table[client, c])) % len(deck)
      parts[client].append(deck[places])
      at += table[client, c]
  return _sizes.sort_parts([np.concatenate(part) for part in parts])


def _fitting(mixes, counts, size):
  """Examples per client: what was asked for, or what the decks allow."""
  if size is not None:
    return checks.integer(size, name='samples_per_client', low=1)
  wanted = mixes.sum(axis=0)
  asked = wanted > 0
  size = int((counts[: len(wanted)][asked] / wanted[asked]).min())
  # Shares are rounded for each client, by less than one example a class.
  tables = lambda size: np.array([_sizes.apportion(size, m) for m in mixes])
  while size > 1 and (tables(size).sum(axis=0) > counts[: len(wanted)]).any():
    size -= 1
  if size < 1:
    raise ValueError(
      f'{len(mixes)} clients do not get an example each without repetition: '
      'say samples_per_client, or use fewer clients.'
    )
  return size
