# SPDX-License-Identifier: Apache-2.0
"""What random-feature layers are compared with: networks of equal size."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _dense, functional
from jaxdl.networks.features import (
  _constants as constants,
  _maps as maps_lib,
  _networks as networks,
  _places as places,
  _snnk as snnk,
)

# What SNNK adapters of a language model compete with.
RIVALS = ('bottleneck', 'lora', 'bitfit', 'full')


class Candidate(NamedTuple):
  """A network of a comparison.

  Attributes:
    network: with parameters {'frozen', 'trained'}.
    family: the curve that it is a point of.
    size: m, rank, ...; 0 if there is none.
  """

  network: Network
  family: str
  size: int = 0


def scratch_candidates(
  dense: Network,
  features: maps_lib.Features,
  dim: int,
  layers: Sequence[int],
  sizes: Sequence[int],
  *,
  activation: functional.Activation = 'relu',
  bandwidth: float = 2.0,
) -> dict[str, Candidate]:
  """Networks that are trained from nothing.

  Args:
    dense: the ordinary network, of vectors.
    features: how maps are drawn.
    dim: length of the inputs.
    layers: widths of the ordinary network, the last one linear.
    sizes: numbers m of random features; for each there is an SNNK, and a low-
      rank network and one of random Fourier features that train as many
      numbers.
    activation: of low-rank layers.
    bandwidth: of random Fourier features.

  Returns:
    Candidates by name.

  Example:
    >>> from jaxdl.networks import features, mlp
    >>> found = scratch_candidates(
    ...   mlp(16, 10), features.Features(), 64, (16, 10), sizes=[4]
    ... )
    >>> list(found)
    ['dense', 'SNNK, m=4', 'low rank 1', '22 random Fourier features']
  """
  out = {'dense': Candidate(constants.without_constants(dense), 'dense')}
  low_rank = functools.partial(
    networks.low_rank_network, layers, activation=activation
  )
  fourier = functools.partial(
    networks.random_fourier, dim, layers[-1], bandwidth=bandwidth
  )
  for m in sizes:
    network = networks.snnk_network(
      features, dim, layers, m, activation=activation
    )
    out[f'SNNK, m={m}'] = Candidate(network, 'SNNK', m)
    count = constants.num_trained(network, dim)
    rank, network = constants.matched(low_rank, count, dim)
    out[f'low rank {rank}'] = Candidate(network, 'low rank', rank)
    width, network = constants.matched(fourier, count, dim)
    out[f'{width} random Fourier features'] = Candidate(
      network, 'random Fourier', width
    )
  return out


def bundle_candidates(
  features: maps_lib.Features,
  dim: int,
  layers: Sequence[int],
  sizes: Sequence[int],
  *,
  bundle_depth: int,
  activation: functional.Activation = 'relu',
) -> dict[str, Candidate]:
  """Networks whose first layers are merged, and the whole one.

  Args:
    features: how maps are drawn.
    dim: length of the inputs.
    layers: widths, the last one linear.
    sizes: numbers m of random features.
    bundle_depth: number of merged layers.
    activation: of the other layers.

  Returns:
    Candidates by name.

  Example:
    >>> from jaxdl.networks import features
    >>> how = features.Features()
    >>> list(bundle_candidates(how, 3, (8, 8, 2), [4], bundle_depth=1))
    ['1 of 2 layers bundled, m=4', 'deep MLP']
  """
  family = f'{bundle_depth} of {len(layers) - 1} layers bundled'
  out = {}
  for m in sizes:
    network = networks.partly_bundled(
      features, dim, layers, m, bundle_depth=bundle_depth, activation=activation
    )
    out[f'{family}, m={m}'] = Candidate(network, family, m)
  *hidden, last = layers
  whole = _dense.mlp(hidden, last, activation=activation, kernel_init='glorot')
  out['deep MLP'] = Candidate(constants.without_constants(whole), 'deep MLP')
  return out


def adapter_candidates(
  base: Sequence[Any],
  features: maps_lib.Features,
  dim: int,
  sizes: Sequence[int],
  *,
  activation: functional.Activation = 'relu',
  kind: str = 'gate',
  kernel_init: str = 'normal',
  train_head: bool = True,
) -> dict[str, Candidate]:
  """Ways to move a trained network to other data.

  Args:
    base: its layers, those of `mlp`.
    features: how maps are drawn.
    dim: length of the inputs.
    sizes: numbers m of random features; for each there is an SNNK adapter, and
      a bottleneck and LoRA that train about as many numbers (LoRA at most those
      of the rank of the largest matrix).
    activation: between the layers.
    kind: see `snnk_adapter`.
    kernel_init: see `snnk_adapter`.
    train_head: whether the last layer is trained too.

  Returns:
    Candidates by name.

  Example:
    >>> from jaxdl.networks import features, mlp
    >>> base = mlp(8, 2).init(jax.random.key(0), jax.numpy.zeros((1, 3)))
    >>> found = adapter_candidates(base, features.Features(), 3, [4])
    >>> sorted({candidate.family for candidate in found.values()})
    ['BitFit', 'LoRA', 'SNNK adapter', 'bottleneck', 'everything', 'head alone']
  """
  widths = [p['kernel'].shape[1] for p in base[:-1]]
  common = {'activation': activation, 'train_head': train_head}
  tuned = functools.partial(networks.fine_tuned, base, **common)
  adapted = functools.partial(networks.adapted, base, **common)

  def snnk_parts(frozen):
    return [
      snnk.snnk_adapter(features.map(c), kind=kind, kernel_init=kernel_init)
      for c in frozen
    ]

  def bottleneck(width):
    return adapted(
      lambda _: [snnk.bottleneck_adapter(w, width) for w in widths]
    )

  def lora(rank):
    return tuned(method=f'lora(rank={rank})')

  tuned_layers = base[: len(base) - int(train_head)]
  ranks = [min(p['kernel'].shape) for p in tuned_layers]
  most = {'LoRA': max(ranks, default=1)}

  out = {}
  for m in sizes:

    def draw(key, m=m):
      keys = jax.random.split(key, len(widths))
      return [features.draw(k, w, m) for k, w in zip(keys, widths, strict=True)]

    network = adapted(snnk_parts, draw=draw)
    out[f'SNNK adapter, m={m}'] = Candidate(network, 'SNNK adapter', m)
    count = constants.num_trained(network, dim)
    for family, make in (('bottleneck', bottleneck), ('LoRA', lora)):
      size, network = constants.matched(make, count, dim, most=most.get(family))
      out[f'{family} {size}'] = Candidate(network, family, size)
  out['BitFit'] = Candidate(tuned(method='bitfit'), 'BitFit')
  if train_head:
    out['head alone'] = Candidate(adapted(lambda _: []), 'head alone')
  out['everything'] = Candidate(tuned(method='full'), 'everything')
  return out


def language_candidates(
  network: Network,
  base: Any,
  features: maps_lib.Features,
  example: Any,
  sizes: Sequence[int],
  *,
  at: Sequence[str] = ('attention_out', 'perceptron_out'),
  activation: functional.Activation = 'relu',
  kind: str = 'gate',
  kernel_init: str = 'normal',
  larger: float = 5.0,
  rivals: Sequence[str] = RIVALS,
) -> dict[str, Candidate]:
  """Ways to teach a trained transformer, or any flax network, something new.

  Args:
    network: of a flax.linen module.
    base: its parameters.
    features: how maps are drawn.
    example: an input or its `jax.ShapeDtypeStruct`.
    sizes: numbers m of random features; for each there is an SNNK adapter, and
      a bottleneck and LoRA that train about as many numbers.
    at: names of the modules whose outputs adapters change.
    activation: of bottlenecks.
    kind: see `snnk_adapter`.
    kernel_init: see `snnk_adapter`.
    larger: times the numbers of the smallest SNNK adapter that one more
      bottleneck trains.
    rivals: what there is besides SNNK adapters, of `RIVALS`.

  Returns:
    Candidates by name.
  """
  for rival in rivals:
    checks.choice(rival, RIVALS, name='rivals')
  widths = places.module_widths(network, base, example, at)

  def snnk_parts(frozen):
    make = functools.partial(
      snnk.snnk_adapter, kind=kind, kernel_init=kernel_init
    )
    return {path: make(features.map(c)) for path, c in frozen.items()}

  def bottleneck(size):
    parts = {
      path: snnk.bottleneck_adapter(width, size, activation=activation)
      for path, width in widths.items()
    }
    return places.adapted_at(network, base, lambda _: parts)

  def lora(rank):
    return places.tuned_at(network, base, method=f'lora(rank={rank})')

  most = {'LoRA': places.largest_rank(base)}
  sized = {'bottleneck': ('bottleneck', bottleneck), 'lora': ('LoRA', lora)}
  sized = [made for name, made in sized.items() if name in rivals]
  out, counts = {}, []
  for m in sizes:

    def draw(key, m=m):
      keys = jax.random.split(key, len(widths))
      return {
        path: features.draw(k, width, m)
        for k, (path, width) in zip(keys, widths.items(), strict=True)
      }

    own = places.adapted_at(network, base, snnk_parts, draw=draw)
    out[f'SNNK adapter, m={m}'] = Candidate(own, 'SNNK adapter', m)
    counts.append(constants.num_trained(own, example))
    for family, make in sized:
      size, other = constants.matched(
        make, counts[-1], example, most=most.get(family)
      )
      out[f'{family} {size}'] = Candidate(other, family, size)
  if 'bottleneck' in rivals:
    size, other = constants.matched(
      bottleneck, round(larger * min(counts)), example
    )
    out[f'bottleneck {size}'] = Candidate(other, 'bottleneck', size)
    out['bottleneck 1'] = Candidate(bottleneck(1), 'bottleneck', 1)
  for name, method in (('BitFit', 'bitfit'), ('everything', 'full')):
    if method in rivals:
      own = places.tuned_at(network, base, method=method)
      out[name] = Candidate(own, name)
  return out


def conversion_candidates(
  base: Sequence[Any],
  features: maps_lib.Features,
  dim: int,
  sizes: Sequence[int],
  *,
  mapped: Sequence[int],
  activation: functional.Activation = 'relu',
) -> dict[str, Candidate]:
  """Ways to make layers of a trained network smaller.

  Args:
    base: its layers, those of `mlp`.
    features: how maps are drawn.
    dim: length of the inputs.
    sizes: numbers m of random features; for each there are converted layers,
      layers that are drawn afresh, and low-rank ones that train about as many
      numbers.
    mapped: which hidden layers, at least one.
    activation: between the layers.

  Returns:
    Candidates by name.

  Raises:
    ValueError: if there is none to convert, or no such.

  Example:
    >>> from jaxdl.networks import features, mlp
    >>> base = mlp(8, 2).init(jax.random.key(0), jax.numpy.zeros((1, 3)))
    >>> how = features.Features()
    >>> list(conversion_candidates(base, how, 3, [4], mapped=[0]))
    ['unchanged', 'SNNK, m=4', 'SNNK, drawn afresh, m=4', 'low rank 2']
  """
  if not mapped:
    raise ValueError('mapped is empty: name at least one layer.')
  for i in mapped:
    checks.integer(i, name='mapped', low=0, high=len(base) - 2)
  layers = tuple(p['kernel'].shape[1] for p in base)
  options = {'activation': activation, 'mapped': mapped, 'start': base}
  whole = networks.fine_tuned(base, method='full', activation=activation)
  out = {'unchanged': Candidate(whole, 'unchanged')}
  for m in sizes:
    for family, fresh in (('SNNK', False), ('SNNK, drawn afresh', True)):
      network = networks.snnk_network(
        features, dim, layers, m, fresh=fresh, **options
      )
      out[f'{family}, m={m}'] = Candidate(network, family, m)
    rank, network = constants.matched(
      lambda r: networks.low_rank_network(layers, r, **options),
      constants.num_trained(network, dim),
      dim,
    )
    out[f'low rank {rank}'] = Candidate(network, 'low rank', rank)
  return out
