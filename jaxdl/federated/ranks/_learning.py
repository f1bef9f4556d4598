# SPDX-License-Identifier: Apache-2.0
"""Federated learning in which clients send rankings and the server counts."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import local
from jaxdl.core import checks, clients as clients_lib, keys, types
from jaxdl.federated.ranks import _attacks, _rankings, _rules

_FORM = {'frozen', 'trained'}


class RankState(NamedTuple):
  """Everything that training needs to go on.

  Attributes:
    weights: what never changes, as the network's parameters.
    sorted_scores: f[n] by layer, the first scores in ascending order; they
      never change either.
    ranking: i32[n] by layer, the server's.
    round: i32[], how many are done.
    num_votes: i32[], how many rankings have been sent in all.
  """

  weights: chex.ArrayTree
  sorted_scores: dict[str, chex.Array]
  ranking: dict[str, chex.Array]
  round: chex.Array
  num_votes: chex.Array


def rank_learning(
  task: types.Task,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  batch_size: int = 8,
  num_epochs: int = 2,
  decay: chex.Numeric = 0.999,
  cosine: bool = True,
  aggregator: _rules.RankRule | str = 'borda',
  attack: _attacks.RankAttack | str | None = None,
  num_malicious: int = 0,
  num_advisors: int = 0,
  top_fraction: float = 1.0,
) -> types.Algorithm:
  """Learns which edges of a random network to keep, by votes on their order.

  In a round every client deals the initial scores in the order of the server's
  ranking, trains them on its examples and sends the order that they have then,
  layer by layer; the server ranks edges by the sum of their positions. A
  malicious client can only send another permutation. A client without examples
  sends the server's ranking; one whose scores are no longer finite ranks NaN
  highest, which is a vote like any other. Masked clients do not vote, and
  nothing changes in a round without voters.

  Args:
    task: of a network whose parameters are {'frozen', 'trained'} with scores by
      layer, as `networks.supermask` makes.
    clients: the rows of a cohort, M voters and C advisors, or their number
      (static); any of N clients may be in a row.
    optimizer: of the scores; starts afresh in every round. The paper's is SGD
      of step size 0.4, momentum 0.9 and weight decay 0.0001.
    batch_size: B (static).
    num_epochs: E, passes over a client's examples (static).
    decay: factor of the step size per round, static or traced.
    cosine: whether the step size falls along half a cosine over the epochs,
      (1 + cos(pi e / E)) / 2 in epoch e from zero (static). An epoch ends with
      the batch that holds its last example.
    aggregator: a part of `RANK_RULES`, or a function of (reputations, mask).
    attack: what malicious clients do, see `as_rank_attack`; None for honest
      work.
    num_malicious: F: clients with an id below are malicious (static).
    num_advisors: C, last rows of a cohort that train and do not vote (static):
      malicious clients outside of the sample, who lend their work to a
      collusive attack.
    top_fraction: share of each ranking that is sent, in (0, 1] (static); other
      edges have reputation zero.

  Returns:
    An `Algorithm`; `params` are {'frozen', 'trained'}. `step` wants a cohort
    whose `data` is a dict of leaves [M + C, S, ...] with `mask: bool[M + C, S]`
    (all are real without), real examples first, as `local.gather_cohort` makes;
    weights do not matter. Metrics: `loss`, mean over the honest voters of what
    they see in training; `num_malicious`, voters that are; `spread` and
    `moved`, Spearman's footrule (in units of the largest, mean of the layers)
    between the new ranking and, first, what honest voters sent (their mean),
    then the old one.

  Raises:
    ValueError: if counts or options are out of range, the task has no scores or
      votes could overflow; from `step`, if the cohort does not fit.
    TypeError: if a part is of another kind.

  Cost: per client a training of the masked network and a sort of every layer;
    clients keep i32[M, n]. On CPU clients run one by one unless `chunk` says
    otherwise, so that neither searches of thresholds nor clients of few
    examples wait for others. Over devices, one sum of i32[n] per layer.

  Example:
    >>> from jaxdl import networks
    >>> network = networks.supermask(networks.mlp(4, 2, bias=False))
    >>> task = networks.classification(
    ...   network, jnp.ones((1, 3)), num_classes=2
    ... )
    >>> algorithm = rank_learning(task, 2, optimizer=optax.sgd(0.4))
    >>> state = algorithm.init(jax.random.key(0))
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.array([3, 5]),
    ...   data={
    ...     'inputs': jnp.ones((2, 9, 3)), 'labels': jnp.ones((2, 9), int)
    ...   },
    ...   mask=jnp.ones(2, bool),
    ...   weights=jnp.ones(2),
    ... )
    >>> state, metrics = jax.jit(algorithm.step)(
    ...   state, cohort, key=jax.random.key(1)
    ... )
    >>> sorted(metrics)
    ['loss', 'moved', 'num_malicious', 'spread']

  Source: Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350), Algorithm 2.
  """
  checks.task(task)
  clients = clients_lib.as_clients(clients)
  rows = clients.num_clients
  checks.optimizer(optimizer)
  size = checks.integer(batch_size, name='batch_size', low=1)
  epochs = checks.integer(num_epochs, name='num_epochs', low=1)
  checks.number(decay, name='decay', low=0.0, high=1.0, open_low=True)
  rule = _rules.as_rank_rule(aggregator)
  attack = _attacks.as_rank_attack(attack)
  bad = checks.integer(num_malicious, name='num_malicious', low=0)
  advisors = checks.integer(
    num_advisors, name='num_advisors', low=0, high=rows - 1
  )
  _rankings.num_sent(1, top_fraction)
  shapes = score_shapes(task)
  for layer, x in shapes.items():
    _rankings.check_overflow(rows - advisors, x.size, layer)

  chunk = clients.chunk
  if chunk is None and jax.default_backend() == 'cpu':
    chunk = 1
  alone = chunk == 1

  def scores_of(state):
    return {
      k: _rankings.scores_from_ranking(
        state.ranking[k], state.sorted_scores[k]
      ).reshape(x.shape)
      for k, x in shapes.items()
    }

  def init(key):
    params = task.init(key)
    flat = {k: jnp.ravel(v) for k, v in params['trained'].items()}
    return RankState(
      weights=params['frozen'],
      sorted_scores={k: jnp.sort(v) for k, v in flat.items()},
      ranking={k: _rankings.rank_edges(v) for k, v in flat.items()},
      round=jnp.zeros((), jnp.int32),
      num_votes=jnp.zeros((), jnp.int32),
    )

  def client(weights, scores, old, rate, limit, data, real, key):
    count = jnp.sum(real, dtype=jnp.int32)

    def factor(step):
      epoch = step * size // jnp.maximum(count, 1)
      return rate * (1 + jnp.cos(jnp.pi * epoch / epochs)) / 2

    own = types.Task(
      task.init,
      lambda s, batch, *, key=None: task.loss(
        {'frozen': weights, 'trained': s}, batch, key=key
      ),
      task.evaluate,
    )
    train = local.local_training(
      own,
      optax.chain(
        optimizer,
        optax.scale_by_schedule(factor if cosine else lambda step: rate),
      ),
      batch_size=size,
      num_epochs=epochs,
    )
    steps = num_steps(count, size, epochs)
    # Alone, a client need not wait for the largest one.
    out = train(scores, data, real, key, limit=steps if alone else limit)
    positions = {
      k: jnp.where(
        count > 0, _rankings.reputations(_rankings.rank_edges(v)), old[k]
      )
      for k, v in out.params.items()
    }
    return positions, jnp.sum(out.losses) / jnp.maximum(steps, 1)

  axes = (None, None, None, None, None, 0, 0, 0)
  trained = clients.replace(chunk=chunk).map(client, in_axes=axes)

  def step(state, cohort, *, key):
    clients.check(cohort, why='M voters, then C advisors, absent ones masked')
    train_key, attack_key = jax.random.split(key)
    ids, present = cohort.client_ids, cohort.mask
    data, real = examples(cohort)
    voters = present & (jnp.arange(rows) < rows - advisors)
    malicious = present & (ids < bad)
    counts = jnp.sum(real, axis=1, dtype=jnp.int32)
    old = {k: _rankings.reputations(r) for k, r in state.ranking.items()}
    positions, losses = trained(
      state.weights,
      scores_of(state),
      old,
      decay ** state.round.astype(jnp.float32),
      num_steps(jnp.max(counts), size, epochs),
      data,
      real,
      keys.client_keys(train_key, ids),
    )
    positions, losses = clients.gather((positions, losses))
    honest = voters & ~malicious
    ranking, spread, moved = {}, [], []
    for i, (k, sent) in enumerate(sorted(positions.items())):
      work = sent
      if attack is not None and bad:
        sent = attack(
          sent,
          malicious=malicious,
          others=honest,
          keys=keys.client_keys(jax.random.fold_in(attack_key, i), ids),
        )
      sent = _rankings.only_top(sent, top_fraction)
      order = _rankings.rank_edges(rule(sent, voters))
      ranking[k] = jnp.where(jnp.any(voters), order, state.ranking[k])
      new = _rankings.reputations(ranking[k])
      spread.append(mean(_rules.footrules(work, new), honest))
      moved.append(_rules.footrules(old[k][None], new)[0])
    metrics = {
      'loss': mean(losses, honest & (counts > 0)),
      'num_malicious': jnp.sum(voters & malicious, dtype=jnp.int32),
      'spread': sum(spread) / len(spread),
      'moved': sum(moved) / len(moved),
    }
    sent = jnp.sum(cohort.mask[: rows - advisors], dtype=jnp.int32)
    state = state._replace(
      ranking=ranking, round=state.round + 1, num_votes=state.num_votes + sent
    )
    return state, metrics

  def params(state):
    return {'frozen': state.weights, 'trained': scores_of(state)}

  return checks.algorithm(init, step, params, state=RankState)


def num_steps(count, batch_size, num_epochs):
  """Batches of a client with so many examples."""
  return -(-num_epochs * count // batch_size)


def mean(values, mask):
  """Mean of the entries under a mask, zero if there are none."""
  total = jnp.sum(jnp.where(mask, values, 0.0))
  return total / jnp.maximum(jnp.sum(mask, dtype=total.dtype), 1.0)


def examples(cohort):
  """Data without their mask, and which are real; none of absent clients."""
  data = cohort.data
  if not isinstance(data, dict) or not {k for k in data if k != 'mask'}:
    raise TypeError(
      "cohort.data must be a dict of leaves [M, S, ...] such as 'inputs', with "
      f"'mask'; got {checks.described(data)}."
    )
  rest = {k: v for k, v in data.items() if k != 'mask'}
  shape = jnp.shape(jax.tree.leaves(rest)[0])[:2]
  real = data.get('mask')
  real = jnp.ones(shape, bool) if real is None else jnp.asarray(real)
  if real.shape != shape:
    raise ValueError(
      f'cohort.data has leaves {shape}, clients and examples, but its mask has '
      f'shape {real.shape}.'
    )
  return rest, real.astype(bool) & cohort.mask[:, None]


def score_shapes(task):
  """Shapes of the scores by layer."""
  params = jax.eval_shape(task.init, jax.random.key(0))
  scores = params.get('trained') if isinstance(params, dict) else None
  if not isinstance(scores, dict) or set(params) != _FORM or not scores:
    raise ValueError(
      'task must be that of a network with scores by layer, parameters '
      "{'frozen', 'trained'}: wrap the network, networks.supermask(network)."
    )
  return scores
