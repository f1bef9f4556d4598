# SPDX-License-Identifier: Apache-2.0
"""Merging models that started apart: first their units, then their weights.

Models of different starts have much the same units in different places, so
that an average mixes what does not belong together.
"""

from typing import Any

import chex
import jax

from jaxdl import mixing
from jaxdl.core import checks, types
from jaxdl.networks import as_network
from jaxdl.theory import matching


def align_models(
  network: types.Network | Any,
  stacked: chex.ArrayTree,
  inputs: chex.Array | None = None,
  *,
  by: str = 'activations',
  passes: int = 1,
  chain: matching.Chain | None = None,
) -> chex.ArrayTree:
  """Permutes the hidden units of all models to one order.

  That of the first model in the first pass, that of the average in the ones
  after. No model changes what it computes.

  Args:
    network: whose hidden layers are a chain, see `theory.matching.layer_chain`.
    stacked: models, leaves [N, ...].
    inputs: examples f[B, ...] that units are matched on, for by='activations'.
    by: a part of `theory.matching.ALIGNMENTS`: 'activations' or
      'weights(num_sweeps=10)', which needs no data (static).
    passes: >= 1 (static).
    chain: of the network, if it is at hand; inputs must be concrete otherwise.

  Returns:
    Leaves [N, ...].

  Raises:
    ValueError: if client axes differ, layers are no chain or have no names, or
      `by` is unknown.

  Cost: N matches of every layer and pass, each O(n³) in its units, one model
  after another.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxdl import networks
    >>> network, x = networks.mlp((6,), 2), jax.random.normal(
    ...   jax.random.key(1), (32, 4)
    ... )
    >>> params = network.init(jax.random.key(0), x)
    >>> chain = matching.layer_chain(network, x)
    >>> other = matching.permute_units(chain, params, [jnp.arange(6)[::-1]])
    >>> both = jax.tree.map(lambda *ps: jnp.stack(ps), params, other)
    >>> merged = mixing.merge(align_models(network, both, x, chain=chain))
    >>> gap = network.apply(merged, x) - network.apply(params, x)
    >>> bool(jnp.abs(gap).max() < 1e-5)
    True

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543) for the match;
  Ainsworth et al. 2023 (https://arxiv.org/abs/2209.04836), algorithms 1 and 3.
  """
  net = as_network(network)
  checks.num_clients(stacked, name='stacked')
  checks.integer(passes, name='passes', low=1)
  matching.ALIGNMENTS.check(by, name='by')
  if chain is None:
    if inputs is None:
      raise ValueError(
        'chain must be given where there are no inputs: call '
        'theory.matching.layer_chain(network, example_inputs).'
      )
    chain = matching.layer_chain(net, inputs[:1])
  reference = jax.tree.map(lambda x: x[0], stacked)
  for place in range(passes):
    if place:
      reference = mixing.merge(stacked)
    one = lambda params, reference=reference: (
      matching.align(net, params, reference, inputs, by=by, chain=chain).params
    )
    stacked = jax.lax.map(one, stacked)
  return stacked
