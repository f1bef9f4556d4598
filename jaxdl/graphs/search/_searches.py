# SPDX-License-Identifier: Apache-2.0
"""Searches: what to try next, and what to make of its score."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, keys, registry
from jaxdl.graphs.search import _policies, _space
from jaxdl.graphs.search._policies import taken
from jaxdl.graphs.search._space import Layer, SearchSpace

GUIDERS = ('entropy', 'uniform')
REWARDS = ('difference', 'accuracy')
_BEST = 10
_MOST_REWARD = 0.5


class Proposal(NamedTuple):
  """What is to be tried, and where it comes from.

  Attributes:
    table: i32[L, C].
    parent: i32[L, C], what it was made of; itself if it is new.
    parent_score: f[], that of the parent when it was made.
    chosen: bool[C], the classes in which it may differ from the parent, and
      whose policies learn of it.
  """

  table: chex.Array
  parent: chex.Array
  parent_score: chex.Array
  chosen: chex.Array


class Search(NamedTuple):
  """A way to search; pure functions, for loops, `scan` and `vmap`.

  Attributes:
    init: `init(key) -> state`; consumes the key.
    propose: `propose(state, *, key) -> (state, Proposal)`; consumes the key.
      Several proposals may be asked for before any is answered.
    update: `update(state, proposal, score) -> state`; the score is that of the
      proposal, larger is better, and what was asked before may be answered
      again.
    single: whether it always proposes the same.
  """

  init: Callable[[chex.PRNGKey], Any]
  propose: Callable[..., tuple[Any, Proposal]]
  update: Callable[[Any, Proposal, chex.Array], Any]
  single: bool = False


class Learner(NamedTuple):
  """What REINFORCE keeps of policies, leaves [C, ...].

  Attributes:
    params: of the policies.
    memory: of their optimizers.
    baseline: f[C], moving averages of rewards.
    begun: bool[C], whether there is an average.
  """

  params: Any
  memory: Any
  baseline: chex.Array
  begun: chex.Array


class ConservativeState(NamedTuple):
  """State of `agnn`.

  Attributes:
    table: i32[L, C], the best.
    score: f[], its score; -inf before it is known.
    asked: bool[], whether the first table has been proposed.
    learner: of the policies.
  """

  table: chex.Array
  score: chex.Array
  asked: chex.Array
  learner: Learner


def start_learner(
  key: chex.PRNGKey,
  policy: _policies.Policy,
  optimizer: optax.GradientTransformation,
) -> Learner:
  """Draws policies.

  Args:
    key: consumed.
    policy: of C classes.
    optimizer: of each class alone.

  Returns:
    The learner.
  """
  params = policy.init(key)
  count = checks.num_clients(params, name='params')
  return Learner(
    params,
    jax.vmap(optimizer.init)(params),
    jnp.zeros(count),
    jnp.zeros(count, bool),
  )


def reinforce_update(
  learner: Learner,
  policy: _policies.Policy,
  proposal: Proposal,
  reward: chex.Array,
  *,
  optimizer: optax.GradientTransformation,
  decay: chex.Numeric = 0.95,
) -> Learner:
  """Makes what was chosen likelier, by how much more it gave than usual.

  The policy of class c follows the gradient of `(R - b_c)` times the
  log-probability of its choices, given the parent; b_c is the moving average of
  its rewards before, or R itself if there was none.

  Args:
    learner: to begin with.
    policy: of C classes.
    proposal: says which classes learn; the others stay as they are, bit for
      bit.
    reward: f[], R.
    optimizer: that of `start_learner`.
    decay: of the moving average, in [0, 1].

  Returns:
    The learner afterwards.

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 3.4;
    Williams 1992.
  """
  base = jnp.where(learner.begun, learner.baseline, reward)
  gain = jnp.where(proposal.chosen, reward - base, 0)

  def loss(params):
    found = policy.log_probs(params, proposal.parent)
    return -(gain * taken(found, proposal.table).sum(-1)).sum()

  slope = jax.grad(loss)(learner.params)
  change, memory = jax.vmap(optimizer.update)(
    slope, learner.memory, learner.params
  )
  params = optax.apply_updates(learner.params, change)

  def keep(new, old):
    rank = (1,) * (jnp.ndim(new) - 1)
    return jnp.where(proposal.chosen.reshape(-1, *rank), new, old)

  new = Learner(
    params,
    memory,
    decay * base + (1 - decay) * reward,
    jnp.ones_like(learner.begun),
  )
  return jax.tree.map(keep, new, learner)


def _optimizer(learning_rate, policy):
  """Adam for networks, plain steps for logits; None is the usual size."""
  plain = registry.parse(policy, name='policy').name == 'tabular'
  if learning_rate is None:
    learning_rate = 2.0 if plain else 3.5e-4
  checks.number(learning_rate, name='learning_rate', low=0)
  return optax.sgd(learning_rate) if plain else optax.adam(learning_rate)


def agnn(
  space: SearchSpace,
  num_layers: int,
  *,
  classes_per_step: int = 1,
  guider: str = 'entropy',
  policy: str = 'recurrent',
  reward: str = 'difference',
  learning_rate: float | None = None,
  decay: float = 0.95,
) -> Search:
  """Changes some classes of the best table, and learns from the difference.

  Which classes is drawn by how undecided their policies are; their values of
  all layers are drawn from those. An offspring that is better becomes the best;
  one that is as good does not.

  Args:
    space: of the tables.
    num_layers: L.
    classes_per_step: s, classes that change, of those with several values.
    guider: 'entropy', or 'uniform' for classes as likely as each other.
    policy: a part of `POLICIES`, e.g. 'recurrent(width=50)'.
    reward: 'difference' to the best, or 'accuracy', the score itself.
    learning_rate: of Adam for recurrent policies (3.5e-4 if None) and of plain
      steps for tabular ones (2); 0 learns nothing.
    decay: of the moving averages of rewards, in [0, 1].

  Returns:
    The search.

  Raises:
    ValueError: if an option is unknown or out of range.

  Example:
    >>> search = agnn(SearchSpace(), 2, policy='tabular')
    >>> state = search.init(jax.random.key(0))
    >>> state, first = search.propose(state, key=jax.random.key(1))
    >>> state = search.update(state, first, 0.7)
    >>> _, second = search.propose(state, key=jax.random.key(2))
    >>> int((second.table != first.table).any(0).sum()) <= 1
    True

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 3.
  """
  layers = checks.num_layers(num_layers)
  free = np.array(space.sizes) > 1
  if not free.any():
    raise ValueError(f'space has one table only: {space.names} all have one.')
  checks.integer(
    classes_per_step, name='classes_per_step', low=1, high=int(free.sum())
  )
  checks.choice(guider, GUIDERS, name='guider')
  checks.choice(reward, REWARDS, name='reward')
  checks.number(decay, name='decay', low=0, high=1)
  optimizer = _optimizer(learning_rate, policy)
  policies = _policies.POLICIES.make(policy, space=space, num_layers=layers)

  def init(key):
    keys.check_key(key)
    first, other = jax.random.split(key)
    return ConservativeState(
      _space.random_tables(first, space, layers),
      jnp.full((), -jnp.inf),
      jnp.zeros((), bool),
      start_learner(other, policies, optimizer),
    )

  def propose(state, *, key):
    keys.check_key(key)
    guide, draw = jax.random.split(key)
    found = policies.log_probs(state.learner.params, state.table)
    entropies = _policies.decision_entropy(found)
    if guider == 'uniform':
      entropies = jnp.zeros_like(entropies)
    chosen = _policies.choose_classes(
      guide, entropies, classes_per_step, mask=free
    )
    # The first table is tried as it is.
    chosen = chosen & state.asked
    values = jax.random.categorical(draw, found).T.astype(jnp.int32)
    table = jnp.where(chosen[None], values, state.table)
    made = Proposal(table, state.table, state.score, chosen)
    return state._replace(asked=jnp.ones((), bool)), made

  def update(state, proposal, score):
    score = jnp.asarray(score, state.score.dtype)
    # Nothing is learned from a parent whose score was not known yet.
    known = proposal.parent_score > -jnp.inf
    proposal = proposal._replace(chosen=proposal.chosen & known)
    gained = score
    if reward == 'difference':
      gained = score - jnp.where(known, proposal.parent_score, score)
    learner = reinforce_update(
      state.learner,
      policies,
      proposal,
      gained,
      optimizer=optimizer,
      decay=decay,
    )
    better = score > state.score
    return state._replace(
      table=jnp.where(better, proposal.table, state.table),
      score=jnp.where(better, score, state.score),
      learner=learner,
    )

  return Search(init, propose, update)


def _new(table, score_type=jnp.float32):
  """A proposal without a parent."""
  everything = jnp.ones(table.shape[1], bool)
  return Proposal(table, table, jnp.full((), -jnp.inf, score_type), everything)


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
  layers = checks.num_layers(num_layers)

  def init(key):
    keys.check_key(key)
    return ()

  def propose(state, *, key):
    return state, _new(_space.random_tables(key, space, layers))

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
  layers = checks.num_layers(num_layers)
  checks.number(entropy_bonus, name='entropy_bonus', low=0)
  checks.number(decay, name='decay', low=0, high=1)
  optimizer = _optimizer(learning_rate, policy)
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
    return state, _new(policies.sample(key, state.params))

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
    step = jax.random.randint(value, (), 1, several)
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
  layers = _space.parse_architecture(architecture)
  if len(layers) != checks.num_layers(num_layers):
    raise ValueError(
      f'architecture has {len(layers)} layers; there must be {num_layers}.'
    )
  table = jnp.asarray(space.encode(layers))

  def propose(state, *, key):
    keys.check_key(key)
    return state, _new(table)

  def init(key):
    keys.check_key(key)
    return ()

  return Search(init, propose, lambda state, proposal, score: state, True)


def _known(space, num_layers, first, last):
  """A network made by hand; the width of its last layer does not matter."""
  last = last._replace(hidden=space.hidden[0])
  layers = (*(first,) * (num_layers - 1), last)
  return fixed(space, num_layers, _space.write_architecture(layers))


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
    'agnn': agnn,
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
