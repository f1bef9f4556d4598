# SPDX-License-Identifier: Apache-2.0
"""What tests of solvers share."""

import functools
import math

import jax
import numpy as np
import scipy.sparse
from absl.testing import parameterized

from jaxdl import pde


class Jitted:
  """The module with every call compiled as one cached program."""

  def __getattr__(self, name):
    def call(*arrays, **options):
      key = options.pop('key', None)
      solve = functools.partial(getattr(pde, name), **options)
      if key is not None:
        return jax.jit(lambda key: solve(*arrays, key=key))(key)
      return jax.jit(solve)(*arrays)

    return call


jitted = Jitted()


def order(errors):
  return math.log2(errors[-2] / errors[-1])


def largest(x):
  return float(np.abs(np.asarray(x)).max())


def square(n):
  x = np.linspace(0, 1, n)
  return np.meshgrid(x, x, indexing='ij')


def darcy_matrix(a, harmonic=False):
  """The five-point matrix, entry by entry, in float64."""
  n = a.shape[0]
  index = -np.ones((n, n), int)
  index[1:-1, 1:-1] = np.arange((n - 2) ** 2).reshape(n - 2, n - 2)
  matrix = scipy.sparse.lil_matrix(((n - 2) ** 2,) * 2)
  for i in range(1, n - 1):
    for j in range(1, n - 1):
      for p, q in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
        c = (a[i, j] + a[p, q]) / 2
        if harmonic:
          c = a[i, j] * a[p, q] / c
        c *= (n - 1) ** 2
        matrix[index[i, j], index[i, j]] += c
        if index[p, q] >= 0:
          matrix[index[i, j], index[p, q]] -= c
  return matrix.tocsc()


class DoubleTest(parameterized.TestCase):
  """Everything in float64."""

  def setUp(self):
    super().setUp()
    self.enter_context(jax.enable_x64(True))
