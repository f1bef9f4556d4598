# SPDX-License-Identifier: Apache-2.0
"""Packages that only some functions need: what to say where one is missing."""

import importlib
import types

__all__ = ['missing', 'require']

# What pip calls modules of another name.
_AGENTS = ('gymnax', 'jaxmarl', 'mpe2', 'pettingzoo', 'six')
_COMBINATORIAL = ('elkai', 'ortools', 'pyvrp', 'vrplib')
_NAMES = {
  'sklearn': 'scikit-learn',
  'dp_accounting': 'dp-accounting',
  'PIL': 'pillow',
  'yaml': 'pyyaml',
}


def missing(module: str, purpose: str) -> str:
  """Returns the sentence that says what to install.

  It names the package itself, which is right however jaxdl came here; the
  name of a distribution that nobody has published is not.

  Args:
    module: importable name, parts of a package after a dot.
    purpose: what needs it, the subject of the sentence.

  Returns:
    The sentence.

  Example:
    >>> print(missing('sklearn.datasets', 'load_digits'))
    load_digits needs scikit-learn, which is not installed: pip install
    scikit-learn (or, for all that experiments use, pip install -e
    '.[experiments]' where jaxdl is checked out).
  """
  root = module.split('.')[0]
  name = _NAMES.get(root, root)
  extra = 'agents' if root in _AGENTS else 'experiments'
  extra = 'combinatorial' if root in _COMBINATORIAL else extra
  return (
    f'{purpose} needs {name}, which is not installed: pip install {name} (or, '
    f"for all that {extra} use, pip install -e '.[{extra}]' where jaxdl is "
    'checked out).'
  )


def require(module: str, purpose: str) -> types.ModuleType:
  """Imports a package that is not always installed.

  Args:
    module: importable name.
    purpose: what needs it, the subject of the message.

  Returns:
    The module.

  Raises:
    ImportError: if it is not installed, with what to do.

  Example:
    >>> require('json', 'this example').dumps([1])
    '[1]'
  """
  try:
    return importlib.import_module(module)
  except ImportError as error:
    raise ImportError(missing(module, purpose)) from error
