# SPDX-License-Identifier: Apache-2.0
"""Solvers of the tasks side by side, on the same networks.

`SOLVERS` has classical algorithms, random and trained answers, agents that talk
in text, and language models, each a `Method`. A `Comparison` plays samples of
networks (`sample_graphs`), one in a round, and leaves rows; `table` and `draw`
report them.

Example:
  >>> methods = {spec: SOLVERS.make(spec) for spec in ('classical', 'random')}
  >>> samples = sample_graphs(['ws'], [8], num_samples=1)
  >>> compared = Comparison(methods, ['consensus'], samples)
  >>> state, _ = compared.step(compared.init(), 1)
  >>> [row['score'] for row in compared.rows(state, {}, 1)]
  [1.0, 0.0]
"""

from jaxdl.language.agentsnet.comparison._comparison import (
  Comparison,
  sample_graphs,
)
from jaxdl.language.agentsnet.comparison._methods import SOLVERS, Method
from jaxdl.language.agentsnet.comparison._report import draw, table

__all__ = [
  'Comparison',
  'Method',
  'SOLVERS',
  'draw',
  'sample_graphs',
  'table',
]
