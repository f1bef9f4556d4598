# SPDX-License-Identifier: Apache-2.0
"""The search over networks that are trained: a loop that can be resumed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys, types
from jaxdl.graphs.search import _protocol, _space, _spaces, _trainer

MOST_REPEATS = 100
# Of what is recorded of every table: name -> shape and dtype.
_FIGURES = {
  'score': np.float32,
  'test': np.float32,
  'epochs': np.int32,
  'round': np.int32,
}


def architecture_search(
  search: _protocol.Search,
  trainer: _trainer.Trainer,
  *,
  sharing: _trainer.Sharing = _trainer.NOTHING,
  max_repeats: int = MOST_REPEATS,
) -> types.Algorithm:
  """Trains what a search proposes and tells it the validation scores.

  A step trains as many new architectures as the trainer takes at once. What was
  trained before is looked up instead: the search learns of it once more, and is
  asked again, so often at most; if nothing new is found, the step trains
  nothing. The best is the first with the highest validation score; offspring
  takes over weights of it.

  Args:
    search: from `make_search`.
    trainer: of T tables at once.
    sharing: who takes over which weights.
    max_repeats: proposals of a step that are known, after which it asks no
      more.

  Returns:
    An algorithm on the host that ignores its cohort. Its state, dicts and lists
    of arrays, is all that is needed to go on: the search's, every table
    with its figures, and the weights of the best. Its params are of the best
    `accuracy` on validation nodes and `test_accuracy`, and how many
    `evaluations`, `repeats` (looked up) and `epochs` (trained) there were; zero
    before the first step. Metrics of a step: `score`, the mean of the new ones,
    and `shared`, the share of their layers that inherited; zeros without any.

  Raises:
    ValueError: if a number is out of range, the sharing wrong, or the search of
      another space than the trainer.
    TypeError: if a value is of another kind.

  Example:
    >>> from jaxdl import problems
    >>> from jaxdl.graphs import search
    >>> problem = problems.graphs.architectures('karate', num_layers=1)
    >>> trainer = problem.trainer(num_epochs=2)
    >>> found = search.random(problem.space, 1)
    >>> algorithm = architecture_search(found, trainer)
    >>> state = algorithm.init(jax.random.key(0))
    >>> state, _ = algorithm.step(state, None, key=jax.random.key(1))
    >>> len(evaluated(problem.space, state))
    1

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 3.4.
  """
  _trainer.check_sharing(sharing)
  if not isinstance(trainer, _trainer.Trainer):
    raise TypeError(
      f'trainer must be a Trainer; got {checks.described(trainer)}: make one '
      'with problem.trainer().'
    )
  most = checks.integer(max_repeats, name='max_repeats', low=1)
  children, count = trainer.children, trainer.num_tables
  space = children.space
  shape = (children.num_layers, space.num_classes)
  _protocol.check_search(search, shape, 'the trainer')
  like = jax.eval_shape(search.init, jax.random.key(0))
  structure = jax.tree.structure(like)
  weights = jax.tree.structure(trainer.nobody.params)
  propose = jax.jit(lambda state, key: search.propose(state, key=key))
  update = jax.jit(search.update)
  host = lambda tree: [np.asarray(x) for x in jax.tree.leaves(tree)]

  def init(key):
    keys.check_key(key)
    return {
      'search': host(jax.jit(search.init)(key)),
      'tables': np.zeros((0, *shape), np.int32),
      'shared': np.zeros((0, children.num_layers), bool),
      'figures': {k: np.zeros(0, dtype) for k, dtype in _FIGURES.items()},
      'weights': host(trainer.nobody.params),
      'repeats': 0,
      'round': 0,
    }

  def ask(state, own, key):
    """Proposals that are new, and the search after what was known."""
    new, repeats, number = [], 0, 0
    scores = state['figures']['score']
    while len(new) < count and repeats < most:
      own, proposal = propose(own, jax.random.fold_in(key, number))
      number += 1
      table = _space.canonical(space, proposal.table)
      same = (state['tables'] == table).all((1, 2))
      if search.single and (same.any() or new):
        break
      if same.any():
        own = update(own, proposal, scores[np.argmax(same)])
        repeats += 1
      elif any((table == t).all() for _, t in new):
        repeats += 1  # Its score is not known yet.
      else:
        new.append((proposal, table))
    return own, new, repeats

  def step(state, cohort, *, key):
    del cohort
    keys.check_key(key)
    asked, trained = jax.random.split(key)
    own = jax.tree.unflatten(structure, state['search'])
    own, new, repeats = ask(state, own, asked)
    state = state | {
      'repeats': state['repeats'] + repeats,
      'round': state['round'] + 1,
    }
    if not new:
      nothing = {'score': np.float32(0), 'shared': np.float32(0)}
      return state | {'search': host(own)}, nothing
    # The program takes T tables; those that repeat the last do not count.
    tables = np.stack([t for _, t in new] + [new[-1][1]] * (count - len(new)))
    best, ancestor = _best(state), None
    if best is not None and sharing.rule != 'none':
      params = jax.tree.unflatten(weights, map(jnp.asarray, state['weights']))
      ancestor = _trainer.Ancestor(jnp.asarray(state['tables'][best]), params)
    found, shared, epochs = trainer(
      trained, tables, ancestor=ancestor, sharing=sharing
    )
    score = np.asarray(found.score, np.float32).mean(1)[: len(new)]
    test = np.asarray(found.test, np.float32).mean(1)[: len(new)]
    for (proposal, _), value in zip(new, score, strict=True):
      own = update(own, proposal, value)
    winner = int(np.argmax(score))
    old = -np.inf if best is None else state['figures']['score'][best]
    if score[winner] > old:
      picked = jax.tree.map(lambda x: x[winner], found.params)
      state = state | {'weights': host(picked)}
    added = {
      'score': score,
      'test': test,
      'epochs': epochs[: len(new)],
      'round': np.full(len(new), state['round']),
    }
    figures = {
      name: np.append(old, added[name]).astype(old.dtype)
      for name, old in state['figures'].items()
    }
    state = state | {
      'search': host(own),
      'tables': np.concatenate([state['tables'], tables[: len(new)]]),
      'shared': np.concatenate([state['shared'], shared[: len(new)]]),
      'figures': figures,
    }
    return state, {
      'score': score.mean(),
      'shared': np.float32(shared[: len(new)].mean()),
    }

  def params(state):
    best, figures = _best(state), state['figures']
    of_best = lambda name: 0.0 if best is None else float(figures[name][best])
    return {
      'accuracy': np.float32(of_best('score')),
      'test_accuracy': np.float32(of_best('test')),
      'evaluations': np.float32(len(state['tables'])),
      'repeats': np.float32(state['repeats']),
      'epochs': np.float32(figures['epochs'].sum() * trainer.num_seeds),
    }

  return types.Algorithm(init, step, params, on_host=True)


def _best(state):
  """The place of the first of the best, or None."""
  scores = state['figures']['score']
  return int(np.argmax(scores)) if len(scores) else None


def best_table(state: dict[str, Any]) -> np.ndarray:
  """The table of the highest validation score, the first of equals.

  Args:
    state: of `architecture_search`.

  Returns:
    i32[L, C].

  Raises:
    ValueError: if nothing was evaluated yet.
  """
  best = _best(state)
  if best is None:
    raise ValueError('state has no evaluated table yet: take a step.')
  return state['tables'][best]


def best_params(state: dict[str, Any], trainer: _trainer.Trainer) -> Any:
  """The trained parameters of the best table.

  Args:
    state: of `architecture_search`.
    trainer: that of the search.

  Returns:
    Leaves [R, ...], see `Children.unpadded`.

  Raises:
    ValueError: if nothing was evaluated yet.
  """
  best_table(state)
  structure = jax.tree.structure(trainer.nobody.params)
  return jax.tree.unflatten(structure, map(jnp.asarray, state['weights']))


def evaluated(
  space: _space.SearchSpace,
  state: dict[str, Any],
  *,
  after: int = 0,
) -> list[dict[str, Any]]:
  """What was evaluated, in order.

  Args:
    space: of the tables.
    state: of `architecture_search`.
    after: rounds to leave out.

  Returns:
    Rows with `number` (from 1), `round`, `architecture` (text of
    `parse_architecture`), `score`, `test`, `epochs`, and `shared`, how many
    layers inherited.
  """
  out, figures = [], state['figures']
  for n in np.flatnonzero(figures['round'] > after).tolist():
    layers = space.decode(state['tables'][n])
    out.append(
      {
        'number': n + 1,
        'round': int(figures['round'][n]),
        'architecture': _spaces.write_architecture(layers),
        'score': float(figures['score'][n]),
        'test': float(figures['test'][n]),
        'epochs': int(figures['epochs'][n]),
        'shared': int(state['shared'][n].sum()),
      }
    )
  return out


def finalists(
  state: dict[str, Any],
  trainer: _trainer.Trainer,
  *,
  num_finalists: int = 5,
  num_trainings: int = 20,
  num_tests: int = 100,
  key: Any,
) -> dict[str, Any]:
  """Trains the best few from scratch, and tests the best of those.

  Args:
    state: of `architecture_search`.
    trainer: that of the search.
    num_finalists: how many of the highest scores, the first of equals first.
    num_trainings: of each, for the mean validation score that decides.
    num_tests: trainings of the winner, for its test score; others than those
      that made it win.
    key: consumed.

  Returns:
    `table` and `architecture` (text) of the winner, `validation`
    f[F, num_trainings] of all, and `test` f[num_tests].

  Raises:
    ValueError: if nothing was evaluated yet or a number is out of range.

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 4.
  """
  keys.check_key(key)
  best_table(state)
  few = checks.integer(num_finalists, name='num_finalists', low=1)
  checks.integer(num_trainings, name='num_trainings', low=1)
  checks.integer(num_tests, name='num_tests', low=1)
  order = np.argsort(-state['figures']['score'], kind='stable')[:few]
  again, last = jax.random.split(key)
  scores = [
    trainer.repeat(
      jax.random.fold_in(again, n), state['tables'][place], num_trainings
    )[0]
    for n, place in enumerate(order)
  ]
  winner = state['tables'][order[int(np.argmax([s.mean() for s in scores]))]]
  layers = trainer.children.space.decode(winner)
  return {
    'table': winner,
    'architecture': _spaces.write_architecture(layers),
    'validation': np.stack(scores),
    'test': trainer.repeat(last, winner, num_tests)[1],
  }
