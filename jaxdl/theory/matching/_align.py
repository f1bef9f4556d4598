# SPDX-License-Identifier: Apache-2.0
"""Bringing the hidden units of one model into the order of another's."""

import math
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry, types
from jaxdl.networks import activations as run_layers, as_network
from jaxdl.theory.matching import _chain, _match, _moments


class Aligned(NamedTuple):
  """A model in the order of another.

  Attributes:
    params: of the same function as before.
    permutations: i32[n_l] for each hidden layer, which unit came to each place.
  """

  params: chex.ArrayTree
  permutations: tuple[chex.Array, ...]


def by_activations(
  chain: _chain.Chain,
  network: types.Network,
  params: chex.ArrayTree,
  reference: chex.ArrayTree,
  inputs: chex.Array,
) -> tuple[chex.Array, ...]:
  """Matches units that correlate, layer by layer."""
  nameless = [x.outgoing[0] for x in chain.layers if not x.name]
  if nameless:
    raise ValueError(
      f'by=activations needs names of all hidden layers; that of {nameless[0]} '
      'has none: call networks.tap where it is made, or take by=weights.'
    )
  if inputs is None:
    raise ValueError('by=activations needs inputs: pass some examples.')
  names = [layer.name for layer in chain.layers]
  if not names:
    return ()
  own = run_layers(network, params, inputs, layers=names)
  wanted = run_layers(network, reference, inputs, layers=names)
  out = []
  for name in names:
    samples = math.prod(jnp.shape(own[name])[:-1])
    if samples < 2:
      raise ValueError(
        f'inputs must make units vary: {name} has {samples} samples, take at '
        'least 2 examples (or by=weights).'
      )
    moments = _moments.activation_moments(wanted[name], own[name], layer=name)
    # A layer that is dead altogether stays as it is.
    found = jax.jit(_moments.correlation)(moments)
    out.append(_match.max_match(found.matrix).col)
  return tuple(out)


def by_weights(
  chain: _chain.Chain,
  network: types.Network,
  params: chex.ArrayTree,
  reference: chex.ArrayTree,
  inputs: chex.Array,
  num_sweeps: int = 10,
) -> tuple[chex.Array, ...]:
  """Matches units by the weights in and out of them, in sweeps over layers."""
  del network, inputs
  checks.integer(num_sweeps, name='num_sweeps', low=1)
  wanted = _leaves(reference)

  def sweep(permutations):
    permutations = list(permutations)
    for place in range(len(permutations)):
      own = _leaves(_chain.permute_units(chain, params, permutations))
      similarity = _chain.weight_similarity(chain, place, wanted, own)
      found = _match.max_match(similarity)
      permutations[place] = permutations[place][found.col]
    return tuple(permutations)

  start = tuple(jnp.arange(n, dtype=jnp.int32) for n in chain.sizes)
  leaves = jax.tree.leaves((params, reference))
  if any(isinstance(x, jax.core.Tracer) for x in leaves):
    return jax.lax.fori_loop(0, num_sweeps, lambda _, p: sweep(p), start)
  for _ in range(num_sweeps):
    before, start = start, sweep(start)
    if all((a == b).all() for a, b in zip(before, start, strict=True)):
      break
  return start


def _leaves(params):
  flat = jax.tree_util.tree_leaves_with_path(params)
  return {jax.tree_util.keystr(path): leaf for path, leaf in flat}


# What units are matched by.
ALIGNMENTS = registry.Registry(
  'by',
  {'activations': by_activations, 'weights': by_weights},
  given=('chain', 'network', 'params', 'reference', 'inputs'),
)


def align(
  network: types.Network | Any,
  params: chex.ArrayTree,
  reference: chex.ArrayTree,
  inputs: chex.Array | None = None,
  *,
  by: str = 'activations',
  chain: _chain.Chain | None = None,
) -> Aligned:
  """Permutes the hidden units of a model to those of another, one for one.

  Dense and convolutional layers, biases and batch normalizations follow. The
  model computes what it did; what changes is its average with the other.

  Args:
    network: whose hidden layers are a chain, see `layer_chain`.
    params: of the model.
    reference: of the other.
    inputs: examples f[B, ...] that both are run on, for by='activations'.
    by: a part of `ALIGNMENTS`: 'activations' takes the match of largest
      correlation of every layer; 'weights(num_sweeps=10)' that of largest
      products of weights, one layer after another until each has had so many
      turns, and needs no data (static).
    chain: from `layer_chain`, if it is at hand; inputs must be concrete
      otherwise.

  Returns:
    `Aligned`.

  Raises:
    ValueError: if layers are no chain, have no names, `by` is unknown, models
      are of another network, or units have fewer than two samples.

  Cost: O(n³) for each layer and sweep. Works under jit and vmap, where the
  match is solved by optax.

  Example:
    >>> from jaxdl import networks
    >>> network, x = networks.mlp((6,), 2), jax.random.normal(
    ...   jax.random.key(1), (32, 4)
    ... )
    >>> params = network.init(jax.random.key(0), x)
    >>> chain = _chain.layer_chain(network, x)
    >>> other = _chain.permute_units(chain, params, [jnp.arange(6)[::-1]])
    >>> found = align(network, other, params, x, by='weights')
    >>> found.permutations[0].tolist()
    [5, 4, 3, 2, 1, 0]

  Source: Li et al. 2015 (https://arxiv.org/abs/1511.07543) for the match;
  Ainsworth et al. 2023 (https://arxiv.org/abs/2209.04836), sections 3.1 and
  3.2, algorithm 1.
  """
  net = as_network(network)
  part = ALIGNMENTS.part(by, name='by')
  if chain is None:
    if inputs is None:
      raise ValueError(
        'chain must be given where there are no inputs: call layer_chain('
        'network, example_inputs).'
      )
    chain = _chain.layer_chain(net, inputs[:1])
  for name, tree in (('params', params), ('reference', reference)):
    _chain.check_params(chain, _leaves(tree), name=name)
  permutations = ALIGNMENTS.bound(part, chain, net, params, reference, inputs)
  return Aligned(
    _chain.permute_units(chain, params, permutations), permutations
  )
