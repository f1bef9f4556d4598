# SPDX-License-Identifier: Apache-2.0
"""Claims about pruning as a game (digits, MLP 64-512-256-10, Adam, batch 128).

The paper trains on MNIST; its prices there are an experiment of their own
(`presets/pruning_game/mnist_*.flags`).
"""

import functools

import numpy as np

from experiments import papers, pruning_game

PAPER = papers.Paper(
  title='Pruning as a game',
  source='Shah and Khan 2025',
  arxiv='2512.22106',
  functions=(
    'pruning.game',
    'pruning.gated',
    'pruning.with_gates',
    'pruning.solve_equilibrium',
    'pruning.best_response',
    'pruning.potential',
    'pruning.compact',
    'pruning.one_shot',
    'federated.server.pruning_game',
  ),
  binary='pruning_game',
)

GAME = 'game'
PRINTED = 'game(benefit_sign=1)'
FEW = 'game(benefit=1.0)'
MANY = 'game(benefit=1000.0)'
ITERATIONS, CUT = 5000, 2000
# Table 2: what the paper reports, and its prices beta and gamma.
TABLE = {
  'very high beta': (0.9664, 0.0, 0.1, 0.0),
  'extreme beta': (0.9115, 0.9518, 0.5, 0.0),
  'L1 strong': (0.8957, 0.9831, 0.001, 0.1),
  'L1 and L2': (0.9154, 0.9805, 0.05, 0.05),
}


@functools.cache
def _rows(seeds, methods, num_rounds=50, steps=100):
  config = pruning_game.Config(
    seeds=seeds,
    methods=methods,
    num_rounds=num_rounds,
    steps=steps,
    eval_every=5,
  )
  return pruning_game.run(config).rows


def _games(seeds):
  return _rows(seeds, (GAME, PRINTED, 'dense'))


def _at(rows, variant, iteration=None):
  """Means over seeds at an iteration, the last if None."""
  own = [r for r in rows if (r['variant'], r['split']) == (variant, 'test')]
  at = max(r['iteration'] for r in own) if iteration is None else iteration
  own = [r for r in own if r['iteration'] == at]
  names = ('accuracy', 'sparsity', 'kept', 'parameters')
  return {name: float(np.mean([r[name] for r in own])) for name in names}


def _say(row):
  return f'{row["accuracy"]:.3f} with {100 * row["sparsity"]:.1f} % pruned'


def _kept(seeds):
  """Neurons by layer that the game leaves, the mean over seeds."""
  own = [
    r for r in _games(seeds) if (r['variant'], r['split']) == (GAME, 'layers')
  ]
  names = sorted({r['layer'] for r in own})
  return tuple(
    max(1, round(np.mean([r['kept'] for r in own if r['layer'] == name])))
    for name in names
  )


@functools.cache
def _one_shot(seeds):
  """Rows of networks cut to as many neurons at iteration 2000 of 3000."""
  keep, found = _kept(seeds), {}
  specs = {
    score: f'one_shot(score={score}, keep={keep}, at={CUT})'
    for score in ('magnitude', 'taylor', 'random')
  }
  rows = _rows(seeds, tuple(specs.values()), 30)
  for score, spec in specs.items():
    found[score] = _at(rows, spec, CUT), _at(rows, spec)
  return found


@papers.claim(
  'With the sign corrected (alpha 100) >= 95 % of 768 neurons leave in 5000 '
  'iterations, accuracy stays >= .95 and within 4 points of dense'
)
def corrected_sign_prunes(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Most neurons leave, most accuracy stays."""
  own, dense = (_at(_games(seeds), name) for name in (GAME, 'dense'))
  held = own['sparsity'] >= 0.95 and own['accuracy'] >= 0.95
  held &= own['accuracy'] >= dense['accuracy'] - 0.04
  return bool(held), (
    f'{_say(own)}, {own["parameters"]:,.0f} of {dense["parameters"]:,.0f} '
    f'parameters; dense {dense["accuracy"]:.3f}'
  )


@papers.claim(
  'A loss of the text: with the sign as printed, same prices, every neuron '
  'leaves and accuracy is that of a guess (<= .2)'
)
def printed_sign_dies(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Who raises the loss is rewarded, and the network dies."""
  own = _at(_games(seeds), PRINTED)
  held = own['sparsity'] >= 0.99 and own['accuracy'] <= 0.2
  return bool(held), _say(own)


@papers.claim(
  'Neurons leave together: from < 5 % to > 90 % pruned within 1000 iterations, '
  'over which accuracy falls by at most .03'
)
def collapse_is_sudden(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Sparsity jumps while accuracy is flat."""
  rows = _games(seeds)
  grid = range(0, ITERATIONS + 1, 500)
  path = [_at(rows, GAME, float(t)) for t in grid]
  last = max(i for i, row in enumerate(path) if row['sparsity'] < 0.05)
  before, after = path[last], path[min(last + 2, len(path) - 1)]
  held = after['sparsity'] > 0.9
  held &= after['accuracy'] >= before['accuracy'] - 0.03
  return bool(held), (
    f'iteration {500 * last}: {_say(before)}; {500 * last + 1000}: '
    f'{_say(after)}'
  )


@papers.claim(
  'Participations end near 0 or 1: of the neurons that stay at least half are '
  'above .9',
  note='Most are out, but nobody is in: those that stay end between .01 and '
  '.6, as their price rises with s and larger weights make up for a smaller s '
  'behind a relu.',
)
def participations_are_bimodal(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Two kinds of players."""
  own = [
    r
    for r in _games(seeds)
    if (r['variant'], r['split']) == (GAME, 'histogram')
  ]
  share = lambda low: (
    sum(r['share'] for r in own if r['participation'] > low) / len(seeds)
  )
  stay = 1 - _at(_games(seeds), GAME)['sparsity']
  held = share(0.9) >= stay / 2
  return bool(held), (
    f'of {100 * stay:.1f} % that stay {100 * share(0.9) / stay:.0f} % are '
    f'above .9, {100 * share(0.5) / stay:.0f} % above .5'
  )


@papers.claim(
  'All hangs on alpha: with 1 the network dies (<= .2), with 100 and 1000 it '
  'lives (>= .95), and 1000 keeps more neurons than 100 (one seed for 1, 1000)'
)
def depends_on_alpha(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Benefits must be of the size of prices."""
  rows = _rows(seeds[:1], (FEW, MANY))
  few, many, own = _at(rows, FEW), _at(rows, MANY), _at(_games(seeds), GAME)
  held = few['accuracy'] <= 0.2
  held &= min(own['accuracy'], many['accuracy']) >= 0.95
  held &= many['kept'] > own['kept']
  return bool(held), f'1: {_say(few)}; 100: {_say(own)}; 1000: {_say(many)}'


@papers.claim(
  'Cut at once to as many neurons per layer without fine-tuning, a dense '
  'network falls below .5, by magnitude, first-order scores or at random'
)
def one_shot_falls(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Equal counts, no fine-tuning."""
  found = _one_shot(seeds)
  held = all(cut['accuracy'] < 0.5 for cut, _ in found.values())
  held &= _at(_games(seeds), GAME)['accuracy'] >= 0.95
  values = ', '.join(
    f'{score} {cut["accuracy"]:.3f}' for score, (cut, _) in found.items()
  )
  return bool(held), f'neurons {_kept(seeds)}: {values}'


@papers.claim(
  'A loss: fine-tuned for 1000 iterations, as many neurons by magnitude are '
  'within a point of the game, or better'
)
def fine_tuning_does_as_well(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The game is no better than the oldest way."""
  found, own = _one_shot(seeds), _at(_games(seeds), GAME)
  held = found['magnitude'][1]['accuracy'] >= own['accuracy'] - 0.01
  values = ', '.join(
    f'{score} {end["accuracy"]:.3f}' for score, (_, end) in found.items()
  )
  return bool(held), f'game {own["accuracy"]:.3f}; {values}'


@functools.cache
def _table(seeds):
  """The settings of Table 2, as printed and with the other sign."""
  spec = 'game(benefit=1.0, l2={}, l1={}, rate=0.001, decay=0.0{})'
  printed = {
    name: spec.format(beta, gamma, ', benefit_sign=1')
    for name, (_, _, beta, gamma) in TABLE.items()
  }
  other = spec.format(*TABLE['L1 strong'][2:], '')
  # 9,380 iterations, 20 epochs of MNIST.
  rows = _rows(seeds[:1], (*printed.values(), other), 140, 67)
  found = {name: _at(rows, s) for name, s in printed.items()}
  return found, _at(rows, other)


@papers.claim(
  'The settings of Table 2 prune >= 95 % at an accuracy >= .89 in rows 2 to 4',
  note='On digits and 9,380 iterations with plain steps of s, one seed: prices '
  'alone lower s, on a clock, and then the network dies or, where the clock is '
  'slow, nobody has left. The same with the sign corrected; accuracy and '
  'sparsity of the paper are those of a moment. Its optimizer of theta is not '
  'stated; MNIST was not at hand.',
)
def table_of_the_paper(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Rows 2 to 4 as published."""
  found, _ = _table(seeds)
  rows = [found[name] for name in list(TABLE)[1:]]
  held = all(r['sparsity'] >= 0.95 and r['accuracy'] >= 0.89 for r in rows)
  return held, '; '.join(f'{k}: {_say(row)}' for k, row in found.items())


@papers.claim(
  'As printed (alpha 1) neither sign is seen: accuracy and sparsity of row 3 '
  'differ by <= .02 between them, and three of four rows end at <= .2'
)
def prices_alone_decide(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A benefit of 1e-4 is nothing beside prices of .01."""
  found, other = _table(seeds)
  own = found['L1 strong']
  held = abs(own['accuracy'] - other['accuracy']) <= 0.02
  held &= abs(own['sparsity'] - other['sparsity']) <= 0.02
  dead = sum(row['accuracy'] <= 0.2 for row in found.values())
  return bool(held and dead >= 3), (
    f'row 3: {_say(own)}, other sign {_say(other)}; {dead} of 4 rows dead'
  )
