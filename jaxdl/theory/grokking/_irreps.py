# SPDX-License-Identifier: Apache-2.0
"""Irreducible representations of a finite group, of its table alone.

Characters are the common eigenvectors of the class algebra. A class function
that is Hermitian (the value of the inverse class is the conjugate) acts on it
as a Hermitian matrix, so that one eigendecomposition of a random one gives them
all, in float64.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxdl.theory.grokking import _groups

KINDS = ('real', 'complex', 'quaternionic')
_TRIES = 20


class Irreps(NamedTuple):
  """Real parts of the regular representation: irreps and conjugate pairs.

  Attributes:
    dimensions: i64[R], d_k.
    kinds: i64[R], places in `KINDS`; a complex one stands for a pair.
    characters: c128[R, M], χ_k(g), of one of a pair.
    projectors: f64[R, M, M], onto the functions that belong to it, of rank d_k²
      (twice that for a pair); they sum to one. The first is the trivial one.
  """

  dimensions: np.ndarray
  kinds: np.ndarray
  characters: np.ndarray
  projectors: np.ndarray

  @property
  def maxima(self) -> np.ndarray:
    """Largest energies, f64[R]: M / (2 d_k), for a pair half of it.

    Not a number where nothing is known: quaternionic and trivial ones.

    Source: Tian 2025 (https://arxiv.org/abs/2509.21519), Theorem 3, whose
    values are a quarter of these: it drops the 2 of the cross term 2 u v.
    """
    order = self.projectors.shape[-1]
    values = order / (2.0 * self.dimensions)
    values = np.where(self.kinds == KINDS.index('complex'), values / 2, values)
    values[self.kinds == KINDS.index('quaternionic')] = np.nan
    values[0] = np.nan
    return values


def irreps(table: Any) -> Irreps:
  """Finds all irreps of a group.

  Args:
    table: concrete integers [M, M], a group.

  Returns:
    Their characters and projectors (Π_k)_{h, h'} = (d_k / M) χ_k(h'^-1 h),
    conjugate pairs joined; the trivial one first, then by dimension.

  Raises:
    TypeError, ValueError: if the table is no group.

  Cost: O(M³) work, O(R M²) memory, on the host.

  Example:
    >>> from jaxdl.theory import grokking
    >>> found = irreps(grokking.symmetric_table(3))
    >>> found.dimensions.tolist(), found.maxima.tolist()
    ([1, 1, 2], [nan, 3.0, 1.5])

  Source: Dixon 1967, High speed computation of group characters (numerically);
  the projectors are those of Tian 2025 (https://arxiv.org/abs/2509.21519).
  """
  table = _groups.validate_group_table(table)
  order = len(table)
  back = _groups.inverses_of(table)
  classes = _groups.classes_of(table)
  characters = _characters(table, back, classes)[:, classes]
  dimensions = np.rint(characters[:, _groups.identity_of(table)].real).astype(
    int
  )
  indicator = characters[:, np.diagonal(table)].sum(axis=1).real / order
  # It is 1, 0 and -1 of real, complex and quaternionic ones.
  kinds = 1 - np.rint(indicator).astype(int)
  # Whose conjugate a row is: products with it are M, with the others zero.
  partners = np.argmax((characters @ characters.T).real, axis=1)
  kept = np.arange(len(characters)) <= partners
  characters, dimensions, kinds = (
    x[kept] for x in (characters, dimensions, kinds)
  )
  is_trivial = np.abs(characters - 1).max(axis=1) < 0.5
  by = np.lexsort((np.arange(len(kinds)), kinds, dimensions, ~is_trivial))
  characters, dimensions, kinds = characters[by], dimensions[by], kinds[by]
  between = table[back].T  # h'^-1 h
  scale = dimensions / order * np.where(kinds == 1, 2, 1)
  projectors = scale[:, None, None] * characters.real[:, between]
  return Irreps(dimensions, kinds, characters, projectors)


def _characters(table, back, classes):
  """Characters by class, c128[R, classes]."""
  order, num = len(table), classes.max() + 1
  sizes = np.bincount(classes)
  first = np.array([np.argmax(classes == c) for c in range(num)])
  rng = np.random.default_rng(0)
  inverse_class = classes[back[first]]
  for _ in range(_TRIES):
    values = rng.normal(size=num) + 1j * rng.normal(size=num)
    values = values + values[inverse_class].conj()
    # Times the class function, on class sums: z_t = x y with y in class s.
    matrix = np.zeros((num, num), complex)
    weights = values[classes]
    for t, z in enumerate(first):
      of = classes[table[back, z]]
      matrix[:, t].real = np.bincount(of, weights.real, num)
      matrix[:, t].imag = np.bincount(of, weights.imag, num)
    root = np.sqrt(sizes)
    found, vectors = np.linalg.eigh(matrix * root / root[:, None])
    if num == 1 or np.diff(found).min() > 1e-7 * np.abs(found).max():
      break
  else:
    raise RuntimeError('the characters of this group could not be told apart.')
  # Rows are |C| χ(C) / d up to a factor: one at the identity's class.
  central = (root[:, None] * vectors).T
  central = central / central[:, classes[_groups.identity_of(table)], None]
  dims = np.sqrt(order / (np.abs(central) ** 2 / sizes).sum(axis=1))
  return dims[:, None] * central / sizes
