# SPDX-License-Identifier: Apache-2.0
"""What is looked at while networks learn, by name."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry
from jaxdl.theory.grokking import (
  _data,
  _energy,
  _groups,
  _interactions,
  _irreps,
  _model,
)

Measure = Callable[[Any], dict[str, np.ndarray]]


def _features(
  share: float = 0.9, *, data: _data.GroupData, model: _model.Model
) -> Measure:
  """How pure nodes are, and which share of irreps some node has as its own."""
  checks.number(share, name='share', low=0.0, high=1.0)
  del model
  if not _groups.is_group(data.table):
    return lambda params: {}
  found = _irreps.irreps(data.table)
  parts = jnp.asarray(found.projectors, jnp.float32)

  @jax.jit
  def measure(params):
    def one(bottom):
      powers = _energy.irrep_powers(bottom, parts)
      pure, learned = _energy.learned_irreps(powers, share=share)
      return {'purity': pure, 'learned': jnp.mean(learned[1:])}

    return jax.lax.map(one, params['bottom'])

  return lambda params: jax.device_get(measure(params))


def _gram(*, data: _data.GroupData, model: _model.Model) -> Measure:
  """How far Gram matrices of features are from multiples of the identity."""

  @jax.jit
  def measure(params):
    def one(pair):
      f = model.features(pair[0], pair[1])
      return _interactions.gram_diagnostics(f)._asdict()

    return jax.lax.map(one, (params, data.train['inputs']))

  return lambda params: jax.device_get(measure(params))


def _repulsion(
  eta: float = 1e-2,
  num_pairs: int = 200,
  *,
  data: _data.GroupData,
  model: _model.Model,
) -> Measure:
  """Which share of the most similar pairs of nodes repel each other."""
  checks.number(eta, name='eta', low=0.0, open_low=True)
  checks.integer(num_pairs, name='num_pairs', low=1)
  features = jax.jit(jax.vmap(model.features))

  def measure(params):
    found = np.asarray(features(params, data.train['inputs']))
    shares = [
      _interactions.repelled_share(np.real(f), eta, num_pairs=num_pairs)
      if np.isfinite(f).all()
      else np.nan
      for f in found
    ]
    return {'repelled': np.array(shares)}

  return measure


def _turns(*, data: _data.GroupData, model: _model.Model) -> Measure:
  """How far updates of each layer turn, which training itself measures."""
  del data, model
  return lambda params: {}


MEASURES = registry.Registry(
  'measure',
  {
    'features': _features,
    'gram': _gram,
    'repulsion': _repulsion,
    'turns': _turns,
  },
  given=('data', 'model'),
)


def make_measure(
  specs: str | Sequence[str], data: _data.GroupData, model: _model.Model
) -> Measure:
  """Makes one measure of several.

  Args:
    specs: parts of `MEASURES`.
    data: examples, of S seeds.
    model: the network.

  Returns:
    `measure(params) -> dict of f[S]`, of weights with leaves [S, ...]:
    `purity`, the mean over nodes of the largest share of their weights in one
    irrep, and `learned`, the share of irreps that a node has as its own, unless
    the operation is no group; the fields of `GramDiagnostics`; `repelled`.

  Raises:
    ValueError: if a spec is wrong.

  Example:
    >>> data = make_data('cyclic(5)', 'fraction(0.8)', seeds=(0, 1))
    >>> model = Model(order=5, hidden=4)
    >>> params = jax.vmap(model.init)(jax.random.split(jax.random.key(0), 2))
    >>> found = make_measure(('features', 'repulsion'), data, model)(params)
    >>> {name: x.shape for name, x in found.items()}
    {'learned': (2,), 'purity': (2,), 'repelled': (2,)}
  """
  specs = (specs,) if isinstance(specs, str) else specs
  made = [MEASURES.make(spec, data=data, model=model) for spec in specs]

  def measure(params):
    out = {}
    for one in made:
      out |= one(params)
    return out

  return measure
