# SPDX-License-Identifier: Apache-2.0
"""Sets of input and output functions: drawn and solved, or read from files.

`make_operator_dataset(problem, ...)` draws and solves any of `PROBLEMS` in the
layouts 'aligned', 'unaligned' (DeepONet) and 'grid' (FNO, MgNO);
`problem_options(problem)` lists what can be set.

`load_operator_mat`, `load_mat` (v5 and v7.3), `load_deeponet_npz`, `load_npz`,
`load_npy` and `load_pdebench` read local files; broken ones raise `FileError`
with one sentence.
"""

from jaxdl.pde.sets._files import (
  FileError,
  is_hdf5,
  load_mat,
  load_npy,
  load_npz,
  mat_shapes,
)
from jaxdl.pde.sets._formats import (
  FILE_FORMATS,
  FileFormat,
  PDEBenchArrays,
  load_deeponet_npz,
  load_operator_mat,
  load_pdebench,
)
from jaxdl.pde.sets._make import (
  LAYOUTS,
  PROBLEMS,
  OperatorArrays,
  OperatorDataset,
  make_operator_dataset,
  problem_options,
)
from jaxdl.pde.sets._recipes import Recipe

__all__ = [
  'FILE_FORMATS',
  'FileError',
  'FileFormat',
  'LAYOUTS',
  'OperatorArrays',
  'OperatorDataset',
  'PDEBenchArrays',
  'PROBLEMS',
  'Recipe',
  'is_hdf5',
  'load_deeponet_npz',
  'load_mat',
  'load_npy',
  'load_npz',
  'load_operator_mat',
  'load_pdebench',
  'make_operator_dataset',
  'mat_shapes',
  'problem_options',
]
