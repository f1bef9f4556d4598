# SPDX-License-Identifier: Apache-2.0
"""jaxdl: collaborative, decentralized and operator learning in JAX.

Concepts live in subpackages that are imported on first use, so `import jaxdl`
is cheap and touches no device.
"""

import importlib
import pkgutil
from typing import Any

__version__ = '0.1.0'

_SUBPACKAGES = tuple(
  sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name[0] != '_')
)

__all__ = ['__version__', *_SUBPACKAGES]


def __getattr__(name: str) -> Any:
  if name in _SUBPACKAGES:
    return importlib.import_module(f'jaxdl.{name}')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
  return sorted(__all__)
