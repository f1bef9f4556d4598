# SPDX-License-Identifier: Apache-2.0
"""Scores of tables that nobody has to train for: to compare searches."""

import itertools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys, types
from jaxdl.graphs.search import _protocol, _space
from jaxdl.graphs.search._space import SearchSpace

MIDDLE, SPREAD, SCALE = 0.70, 0.13, 6.0


class Landscape(NamedTuple):
  """Worth of every choice and of some pairs of choices.

  Attributes:
    main: f[L, C, M], of a value.
    first: i32[P], of pairs of slots (layer times C plus class), the one.
    second: i32[P], and the other.
    pairs: f[P, M, M], of their values together.
  """

  main: chex.Array
  first: chex.Array
  second: chex.Array
  pairs: chex.Array


def landscape(
  key: chex.PRNGKey,
  space: SearchSpace,
  num_layers: int,
  *,
  pair_share: float = 0.3,
  pair_scale: chex.Numeric = 0.5,
) -> Landscape:
  """Draws a landscape: N(0, 1) effects, and pairs of which some interact.

  Args:
    key: consumed.
    space: of the tables.
    num_layers: L.
    pair_share: of all pairs of slots, those that interact, in [0, 1] (static).
    pair_scale: standard deviation of what pairs add.

  Returns:
    The landscape.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> found = landscape(jax.random.key(0), SearchSpace(), 2)
    >>> found.pairs.shape
    (20, 8, 8)
  """
  keys.check_key(key)
  _space.check_space(space)
  layers = checks.num_layers(num_layers)
  checks.number(pair_share, name='pair_share', low=0, high=1)
  checks.number(pair_scale, name='pair_scale', low=0)
  most = space.num_values
  slots = layers * space.num_classes
  every = np.array(
    list(itertools.combinations(range(slots), 2)), np.int32
  ).reshape(-1, 2)
  count = round(pair_share * len(every))
  main, which, both = jax.random.split(key, 3)
  chosen = jnp.asarray(every)[jax.random.permutation(which, len(every))[:count]]
  return Landscape(
    jax.random.normal(main, (layers, space.num_classes, most)),
    chosen[:, 0],
    chosen[:, 1],
    pair_scale * jax.random.normal(both, (count, most, most)),
  )


def landscape_score(found: Landscape, table: chex.Array) -> chex.Array:
  """The true score of a table, `0.7 + 0.13 tanh(v / 6)`.

  v adds up what its values and interacting pairs of values are worth.

  Args:
    found: the landscape.
    table: i32[L, C].

  Returns:
    f[].

  Raises:
    ValueError: if the table is of another shape, or a place is known to be
      none.
  """
  layers, classes, most = found.main.shape
  if jnp.shape(table) != (layers, classes):
    raise ValueError(
      f'table must have shape {(layers, classes)}; got {jnp.shape(table)}.'
    )
  if not isinstance(table, jax.core.Tracer):
    rows = checks.host_array(table, name='table')
    if rows.dtype.kind not in 'iu':
      raise TypeError(f'table must hold integers; got {rows.dtype}.')
    if rows.min() < 0 or rows.max() >= most:
      raise ValueError(
        f'table must hold places from 0 to {most - 1}; got {rows.tolist()}.'
      )
  flat = jnp.asarray(table).reshape(-1)
  own = found.main.reshape(len(flat), -1)
  worth = jnp.take_along_axis(own, flat[:, None], axis=1).sum()
  pairs = jnp.arange(len(found.first))
  worth += found.pairs[pairs, flat[found.first], flat[found.second]].sum()
  return MIDDLE + SPREAD * jnp.tanh(worth / SCALE)


class LandscapeState(NamedTuple):
  """State of `landscape_search`.

  Attributes:
    search: of the search.
    best: f[], the best score seen, noise included; -inf at first.
    true: f[], the true score of that table.
    table: i32[L, C], that table.
    evaluations: i32[], how many scores were seen.
  """

  search: Any
  best: chex.Array
  true: chex.Array
  table: chex.Array
  evaluations: chex.Array


def landscape_search(
  search: _protocol.Search, found: Landscape, *, noise: chex.Numeric = 0.003
) -> types.Algorithm:
  """Searches a landscape; one evaluation a step, on the device.

  Every proposal is scored anew, with noise of its own.

  Args:
    search: from `make_search`.
    found: the landscape, traced or not.
    noise: standard deviation of what a score is off, >= 0.

  Returns:
    An algorithm that ignores its cohort. Its params are `accuracy`, the true
    score of the best table (zero before there is one), and `evaluations`;
    metrics of a step: `score`, as it was seen.

  Raises:
    ValueError: if the noise is negative, or the search of another space.
    TypeError: if it is no search.

  Example:
    >>> from jaxdl.graphs import search
    >>> space = SearchSpace()
    >>> found = landscape(jax.random.key(0), space, 2)
    >>> agnn = search.agnn(space, 2, policy='tabular')
    >>> algorithm = landscape_search(agnn, found)
    >>> state = algorithm.init(jax.random.key(1))
    >>> state, _ = algorithm.step(state, None, key=jax.random.key(2))
    >>> float(algorithm.params(state)['evaluations'])
    1.0
  """
  checks.number(noise, name='noise', low=0)
  shape = found.main.shape[:2]
  _protocol.check_search(search, shape, 'the landscape')

  def init(key):
    keys.check_key(key)
    return LandscapeState(
      search.init(key),
      jnp.full((), -jnp.inf),
      jnp.zeros(()),
      jnp.zeros(shape, jnp.int32),
      jnp.zeros((), jnp.int32),
    )

  def step(state, cohort, *, key):
    del cohort
    keys.check_key(key)
    ask, off = jax.random.split(key)
    own, proposal = search.propose(state.search, key=ask)
    true = landscape_score(found, proposal.table)
    score = true + noise * jax.random.normal(off)
    better = score > state.best
    pick = lambda new, old: jnp.where(better, new, old)
    state = LandscapeState(
      search.update(own, proposal, score),
      pick(score, state.best),
      pick(true, state.true),
      pick(proposal.table, state.table),
      state.evaluations + 1,
    )
    return state, {'score': score}

  def params(state):
    return {
      'accuracy': state.true,
      'evaluations': state.evaluations.astype(jnp.float32),
    }

  return types.Algorithm(init, step, params)
