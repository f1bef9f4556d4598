# SPDX-License-Identifier: Apache-2.0
"""Other searches, networks made by hand, and all of them by name."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, keys, registry
from jaxdl.graphs.search import _conservative, _policies, _space, _spaces
from jaxdl.graphs.search._protocol import Proposal, Search, new_table
from jaxdl.graphs.search._space import Layer, SearchSpace

_BEST = 10
_MOST_REWARD = 0.5


def random(space: SearchSpace, num_layers: int) -> Search:
  """Draws tables, all as likely, and learns nothing.

  Args:
    space: of the tables.
    num_layers: L.

  Returns:
    The search.

  Example:
    >>> search = random(SearchSpace(), 3)
    >>> state = search.init(jax.random.key(0))
    >>> search.propose(state, key=jax.random.key(1))[1].table.shape
    (3, 6)
  """
  _space.check_space(space)
  layers = checks.num_layers(num_layers)

  def init(key):
    keys.check_key(key)
    return ()

  def propose(state, *, key):
    return state, new_table(_space.random_tables(key, space, layers))

  return Search(init, propose, lambda state, proposal, score: state)


class SequenceState(NamedTuple):
  """State of `graphnas`.

  Attributes:
    params: of the policy.
    memory: of its optimizer.
    baseline: f[], moving average of rewards.
    best: f[10], the best scores so far, -inf where there are fewer.
  """

  params: Any
  memory: Any
  baseline: chex.Array
  best: chex.Array


def graphnas(
  space: SearchSpace,
  num_layers: int,
  *,
  policy: str = 'recurrent',
  learning_rate: float | None = None,
  entropy_bonus: float = 1e-4,
  decay: float = 0.95,
) -> Search:
  """One policy says whole tables, and learns from every one.

  The reward is the score minus the mean of the ten best so far, between -0.5
  and 0.5; its moving average is the baseline.

  Args:
    space: of the tables.
    num_layers: L.
    policy: a part of `SEQUENCES`.
    learning_rate: see `agnn`.
    entropy_bonus: what an entropy of one is worth, >= 0.
    decay: of the moving average, in [0, 1].

  Returns:
    The search.

  Raises:
    ValueError: if an option is unknown or out of range.

  Example:
    >>> search = graphnas(SearchSpace(), 2, policy='tabular')
    >>> state = search.init(jax.random.key(0))
    >>> search.propose(state, key=jax.random.key(1))[1].table.shape
    (2, 6)

  Source: Gao et al. 2020 (https://arxiv.org/abs/1904.09981), section 3 and
    code.
  """
  _space.check_space(space)
  layers = checks.num_layers(num_layers)
  checks.number(entropy_bonus, name='entropy_bonus', low=0)
  checks.number(decay, name='decay', low=0, high=1)
  optimizer = _conservative.make_optimizer(learning_rate, policy)
  policies = _policies.SEQUENCES.make(policy, space=space, num_layers=layers)

  def init(key):
    params = policies.init(key)
    return SequenceState(
      params,
      optimizer.init(params),
      jnp.zeros(()),
      jnp.full(_BEST, -jnp.inf),
    )

  def propose(state, *, key):
    return state, new_table(policies.sample(key, state.params))

  def update(state, proposal, score):
    score = jnp.asarray(score, state.best.dtype)
    there = state.best > -jnp.inf
    total = jnp.where(there, state.best, 0).sum()
    usual = jnp.where(there.any(), total / jnp.maximum(there.sum(), 1), score)
    reward = jnp.clip(score - usual, -_MOST_REWARD, _MOST_REWARD)

    def loss(params):
      found, entropy = policies.log_prob(params, proposal.table)
      return -(reward - state.baseline) * found - entropy_bonus * entropy

    slope = jax.grad(loss)(state.params)
    change, memory = optimizer.update(slope, state.memory, state.params)
    return SequenceState(
      optax.apply_updates(state.params, change),
      memory,
      decay * state.baseline + (1 - decay) * reward,
      jax.lax.top_k(jnp.append(state.best, score), _BEST)[0],
    )

  return Search(init, propose, update)


class Population(NamedTuple):
  """State of `evolution`.

  Attributes:
    tables: i32[P, L, C].
    scores: f[P], -inf of places that are free.
    asked: i32[], proposals so far.
    answered: i32[], scores so far; the next takes the place of the oldest.
  """

  tables: chex.Array
  scores: chex.Array
  asked: chex.Array
  answered: chex.Array


def evolution(
  space: SearchSpace,
  num_layers: int,
  *,
  population: int = 20,
  tournament: int = 5,
) -> Search:
  """Changes one value of the best of some, and forgets the oldest.

  Args:
    space: of the tables.
    num_layers: L.
    population: P tables, random ones at first.
    tournament: how many are drawn to find a parent, at most P.

  Returns:
    The search.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> search = evolution(SearchSpace(), 2, population=4, tournament=2)
    >>> state = search.init(jax.random.key(0))
    >>> state.tables.shape
    (4, 2, 6)

  Source: Real et al. 2019 (https://arxiv.org/abs/1802.01548), algorithm 1.
  """
  _space.check_space(space)
  layers = checks.num_layers(num_layers)
  size = checks.integer(population, name='population', low=1)
  checks.integer(tournament, name='tournament', low=1, high=size)
  sizes = np.array(space.sizes, np.int32)
  slots = np.argwhere(np.tile(sizes > 1, (layers, 1))).astype(np.int32)
  if not len(slots):
    raise ValueError(f'space has one table only: {space.names} all have one.')

  def init(key):
    keys.check_key(key)
    return Population(
      jnp.zeros((size, layers, space.num_classes), jnp.int32),
      jnp.full(size, -jnp.inf),
      jnp.zeros((), jnp.int32),
      jnp.zeros((), jnp.int32),
    )

  def propose(state, *, key):
    keys.check_key(key)
    pick, spot, value, new = jax.random.split(key, 4)
    fresh = _space.random_tables(new, space, layers)
    places = jax.random.choice(pick, size, (tournament,), replace=False)
    winner = places[jnp.argmax(state.scores[places])]
    parent = state.tables[winner]
    row, column = jnp.asarray(slots)[
      jax.random.randint(spot, (), 0, len(slots))
    ]
    several = jnp.asarray(sizes)[column]
    step = jax.random.randint(value, (), 1, several, jnp.int32)
    child = parent.at[row, column].set((parent[row, column] + step) % several)
    known = state.scores[winner] > -jnp.inf
    young = (state.asked < size) | ~known
    table = jnp.where(young, fresh, child)
    chosen = young | (jnp.arange(space.num_classes) == column)
    made = Proposal(
      table,
      jnp.where(young, fresh, parent),
      jnp.where(young, -jnp.inf, state.scores[winner]),
      chosen,
    )
    return state._replace(asked=state.asked + 1), made

  def update(state, proposal, score):
    place = state.answered % size
    return state._replace(
      tables=state.tables.at[place].set(proposal.table),
      scores=state.scores.at[place].set(score),
      answered=state.answered + 1,
    )

  return Search(init, propose, update)


def fixed(
  space: SearchSpace, num_layers: int, architecture: str = 'layer+layer'
) -> Search:
  """Proposes one architecture, always.

  Args:
    space: that has it.
    num_layers: L.
    architecture: see `parse_architecture`.

  Returns:
    The search.

  Raises:
    ValueError: if it has not L layers, or a value is not in the space.

  Example:
    >>> search = fixed(SearchSpace(), 1, 'layer(8, cos, 2)')
    >>> search.propose((), key=jax.random.key(0))[1].table.tolist()
    [[1, 4, 1, 0, 0, 7]]
  """
  layers = _spaces.parse_architecture(architecture)
  if len(layers) != checks.num_layers(num_layers):
    raise ValueError(
      f'architecture has {len(layers)} layers; there must be {num_layers}.'
    )
  table = _space.check_space(space).encode(layers)

  def propose(state, *, key):
    keys.check_key(key)
    return state, new_table(jnp.asarray(table))

  def init(key):
    keys.check_key(key)
    return ()

  return Search(init, propose, lambda state, proposal, score: state, True)


def _known(space, num_layers, first, last):
  """A network made by hand; the width of its last layer does not matter."""
  _space.check_space(space)
  last = last._replace(hidden=space.hidden[0])
  layers = (*(first,) * (num_layers - 1), last)
  return fixed(space, num_layers, _spaces.write_architecture(layers))


def gcn(space: SearchSpace, num_layers: int, *, width: int = 16) -> Search:
  """Proposes a graph convolutional network, always.

  Args:
    space: that has it.
    num_layers: L.
    width: of all layers but the last.

  Returns:
    The search.

  Example:
    >>> search = gcn(SearchSpace(), 2)
    >>> search.propose((), key=jax.random.key(0))[1].table.tolist()
    [[2, 1, 0, 0, 0, 2], [0, 1, 0, 0, 0, 3]]

  Source: Kipf & Welling 2017 (https://arxiv.org/abs/1609.02907).
  """
  first = Layer(width, 'gcn', 1, activation='relu')
  last = Layer(width, 'gcn', 1, activation='linear')
  return _known(space, num_layers, first, last)


def gat(
  space: SearchSpace, num_layers: int, *, width: int = 8, heads: int = 8
) -> Search:
  """Proposes a graph attention network, always.

  Args:
    space: that has it.
    num_layers: L.
    width: of a head of all layers but the last, which has one head.
    heads: of all layers but the last.

  Returns:
    The search.

  Example:
    >>> search = gat(SearchSpace(), 2)
    >>> search.propose((), key=jax.random.key(0))[1].table.tolist()
    [[1, 2, 4, 0, 0, 7], [0, 2, 0, 0, 0, 3]]

  Source: Velickovic et al. 2018 (https://arxiv.org/abs/1710.10903).
  """
  first = Layer(width, 'gat', heads)
  last = Layer(width, 'gat', 1, activation='linear')
  return _known(space, num_layers, first, last)


SEARCHES = registry.Registry(
  'search',
  {
    'agnn': _conservative.agnn,
    'evolution': evolution,
    'fixed': fixed,
    'gat': gat,
    'gcn': gcn,
    'graphnas': graphnas,
    'random': random,
  },
  given=('space', 'num_layers'),
)


def make_search(spec: str, space: SearchSpace, num_layers: int) -> Search:
  """Makes a search by name.

  Args:
    spec: a part of `SEARCHES`, e.g. 'agnn(classes_per_step=2)'.
    space: of the tables.
    num_layers: L.

  Returns:
    The search.

  Raises:
    ValueError: if the name, an option or a value is unknown or out of range.

  Example:
    >>> type(make_search('evolution(tournament=3)', SearchSpace(), 2)).__name__
    'Search'
  """
  return SEARCHES.make(spec, space=space, num_layers=num_layers)
