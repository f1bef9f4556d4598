# SPDX-License-Identifier: Apache-2.0
"""Loaders of local files; they check everything before they return anything.

Objects are never unpickled. A broken file raises `FileError`, a ValueError that
names it; what a small file may unpack to is limited by `MAX_BYTES`, or
`max_bytes` of the loader.
"""

from jaxdl.data.files._cifar import load_cifar10
from jaxdl.data.files._idx import load_fashion_mnist, load_mnist, read_idx
from jaxdl.data.files._image_folders import load_mini_imagenet, load_omniglot
from jaxdl.data.files._leaf import load_leaf
from jaxdl.data.files._limits import MAX_BYTES, FileError
from jaxdl.data.files._npy import load_npy, save_npy
from jaxdl.data.files._npz import load_npz
from jaxdl.data.files._sqlite import load_fedjax
from jaxdl.data.files._tff import load_tff

__all__ = [
  'FileError',
  'MAX_BYTES',
  'load_cifar10',
  'load_fashion_mnist',
  'load_fedjax',
  'load_leaf',
  'load_mini_imagenet',
  'load_mnist',
  'load_npy',
  'load_npz',
  'load_omniglot',
  'load_tff',
  'read_idx',
  'save_npy',
]
