# SPDX-License-Identifier: Apache-2.0
"""Networks on graphs by name."""

from jaxdl.core import registry
from jaxdl.core.types import Network
from jaxdl.graphs import _attending, _networks

NETWORKS = registry.Registry(
  'network',
  {
    'chebyshev': _networks.chebyshev,
    'composed': _attending.composed,
    'gat': _attending.gat,
    'gcn': _networks.gcn,
    'gin': _networks.gin,
    'mlp': _networks.mlp,
    'sage': _networks.sage,
  },
  given=('num_outputs',),
)


def make_network(spec: str, num_outputs: int) -> Network:
  """Builds a network on graphs by name.

  Args:
    spec: a part of `NETWORKS`, e.g. 'gat(version=2)'.
    num_outputs: K.

  Returns:
    A `Network`, see `gcn`.

  Raises:
    ValueError: if the name or an option is unknown or out of range.

  Example:
    >>> type(make_network('gcn((32, 32), dropout=0.0)', 7)).__name__
    'Network'
  """
  return NETWORKS.make(spec, num_outputs)
