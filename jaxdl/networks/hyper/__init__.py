# SPDX-License-Identifier: Apache-2.0
"""Networks whose parameters are made by another network, of an input gamma.

    network = hyper.hypernetize(networks.mlp((32, 32), 10), '*/kernel')
    params = network.init(key, gamma, x)
    network.apply(params, gamma, x)

- `hypernetize` turns any `Network` or flax module into one with an input more,
  of which a hypernetwork makes those parameters that a pattern of paths
  chooses; `split` and `merge` do so by hand. One gamma f[D] is for a whole
  batch, f[B, D] has one per example. `from_pretrained` starts at trained
  weights. `film` gives layers scales and shifts, to be generated alone.
- `hypernet` is the hypernetwork itself, from gamma to any tree. By default it
  is magnitude invariant: `encode` gives gamma a constant norm (`ENCODINGS`) and
  what is made is added to weights of its own. `HYPER_INITS` and `NORMS` are
  other remedies.
- `parametrized` makes any of `PARAMETRIZATIONS` by name: 'mip', 'default',
  'encoding', 'residual', 'film', 'separate', 'single'; `generator` is the
  hypernetwork inside.
- `output_std_vs_gamma`, `delta_norms` and `grad_norm_stats` show what is made
  and how gradients swing; `gamma_grid` says where to look; `head_shardings`
  spreads the large last layer over devices.

A hypernetized network is a network: `networks.classification` takes it, with
inputs (gamma, x), and so does `hypernetize`.

Source: Gonzalez Ortiz, Guttag & Dalca 2024 (https://arxiv.org/abs/2304.07645).
"""

from jaxdl.networks.hyper._diagnostics import (
  delta_norms,
  gamma_grid,
  grad_norm_stats,
  head_shardings,
  output_std_vs_gamma,
)
from jaxdl.networks.hyper._encodings import ENCODINGS, encode
from jaxdl.networks.hyper._hypernet import NORMS, hypernet, num_predicted
from jaxdl.networks.hyper._hypernetize import (
  film,
  from_pretrained,
  hypernetize,
  merge,
  split,
)
from jaxdl.networks.hyper._inits import HYPER_INITS
from jaxdl.networks.hyper._registry import (
  PARAMETRIZATIONS,
  generator,
  parametrized,
)

__all__ = [
  'ENCODINGS',
  'HYPER_INITS',
  'NORMS',
  'PARAMETRIZATIONS',
  'delta_norms',
  'encode',
  'film',
  'from_pretrained',
  'gamma_grid',
  'generator',
  'grad_norm_stats',
  'head_shardings',
  'hypernet',
  'hypernetize',
  'merge',
  'num_predicted',
  'output_std_vs_gamma',
  'parametrized',
  'split',
]
