# SPDX-License-Identifier: Apache-2.0
"""Nets with one hidden layer that is drawn once, from a bounded set.

Only the output weights are fitted, a convex problem:

    hidden = shallow.sample_hidden(key, 1000, d, scale=20.0)
    c = shallow.fit(hidden, x, y, ridge=1e-6)
    shallow.predict(hidden, c, x)

- `sample_hidden` draws the layer (`DISTRIBUTIONS`), `hidden_features` applies
  it; `saturated` and `warn_of_saturation` look for units that say nothing.
- `fit` solves for the output weights of numbers, several outputs or classes
  (`targets`); `ridge=0` makes an ELM, `direct=True` an RVFL net. Sums over
  clients fit the same: `features.fit_over_clients` with `hidden_features`.
- `start_stream` and `stream` correct them by example (recursive least squares).
- `incremental_readout` (IRVFL) and `stochastic_configuration` (SCN) grow a net.
- `random_network` is a `Network` for algorithms that train the read-out.
- `METHODS` has all of these and what they are compared with, by name.

Which scale to choose is the question: too small, and no number of units helps
(`features.ridgelets`); too large, and units become steps.

Source: Li et al. 2023 (https://arxiv.org/abs/2008.08427).
"""

from jaxdl.networks.features.shallow._fit import fit, predict, targets
from jaxdl.networks.features.shallow._hidden import (
  DISTRIBUTIONS,
  Hidden,
  bias_ends,
  hidden_features,
  random_network,
  sample_hidden,
  saturated,
  warn_of_saturation,
)
from jaxdl.networks.features.shallow._incremental import (
  Configured,
  incremental_readout,
  stochastic_configuration,
)
from jaxdl.networks.features.shallow._methods import (
  METHODS,
  MethodFacts,
  Outcome,
)
from jaxdl.networks.features.shallow._streaming import (
  Streamed,
  start_stream,
  stream,
)

__all__ = [
  'Configured',
  'DISTRIBUTIONS',
  'Hidden',
  'METHODS',
  'MethodFacts',
  'Outcome',
  'Streamed',
  'bias_ends',
  'fit',
  'hidden_features',
  'incremental_readout',
  'predict',
  'random_network',
  'sample_hidden',
  'saturated',
  'start_stream',
  'stochastic_configuration',
  'stream',
  'targets',
  'warn_of_saturation',
]
