# SPDX-License-Identifier: Apache-2.0
"""Learners by name."""

from jaxdl.agents.coplayers import _a2c, _lola, _ppi
from jaxdl.core import registry

LEARNERS = registry.Registry(
  'learner',
  {
    'a2c': _a2c.a2c,
    'fixed': _ppi.fixed,
    'lola': _lola.lola,
    'mechanism': _a2c.mechanism,
    'naive': _lola.naive,
    'ppi': _ppi.ppi,
  },
  given=('arena', 'mesh'),
)
