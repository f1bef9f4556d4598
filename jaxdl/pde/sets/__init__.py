# SPDX-License-Identifier: Apache-2.0
"""Sets of input and output functions: drawn and solved, or read from files.

`make_operator_dataset('burgers(resolution=64)', ...)` draws and solves any of
`PROBLEMS` in the layouts 'aligned', 'unaligned' (DeepONet) and 'grid' (FNO,
MgNO); `print(PROBLEMS)` shows them with their options. `SOURCES` also has
`file("data.mat", format=darcy)`, which reads.

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
  SOURCES,
  FileFormat,
  PDEBenchArrays,
  StoredFunctions,
  file,
  load_deeponet_npz,
  load_operator_mat,
  load_pdebench,
  thinned,
)
from jaxdl.pde.sets._make import (
  LAYOUTS,
  PROBLEMS,
  OperatorArrays,
  OperatorDataset,
  make_operator_dataset,
  operator_shapes,
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
  'SOURCES',
  'StoredFunctions',
  'file',
  'is_hdf5',
  'load_deeponet_npz',
  'load_mat',
  'load_npy',
  'load_npz',
  'load_operator_mat',
  'load_pdebench',
  'make_operator_dataset',
  'mat_shapes',
  'operator_shapes',
  'thinned',
]
