# SPDX-License-Identifier: Apache-2.0
"""The conservative search: small changes of the best, chosen by doubt."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, keys, registry
from jaxdl.graphs.search import _policies, _space
from jaxdl.graphs.search._policies import taken
from jaxdl.graphs.search._protocol import Proposal, Search
from jaxdl.graphs.search._space import SearchSpace

GUIDERS = ('entropy', 'uniform')
REWARDS = ('difference', 'accuracy')


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

  Raises:
    ValueError: if the decay is out of range.

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 3.4;
    Williams 1992.
  """
  checks.number(decay, name='decay', low=0, high=1)
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


def make_optimizer(
  learning_rate: float | None, policy: str
) -> optax.GradientTransformation:
  """Adam for networks, plain steps for logits.

  Args:
    learning_rate: >= 0; None is the usual size.
    policy: a part of `POLICIES` or `SEQUENCES`.

  Returns:
    The optimizer.

  Raises:
    ValueError: if the rate is negative.
  """
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
  _space.check_space(space)
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
  optimizer = make_optimizer(learning_rate, policy)
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
