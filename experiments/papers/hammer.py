# SPDX-License-Identifier: Apache-2.0
"""Claims about messages of a central agent to agents that see little.

The paper's results are curves; what is checked here are their directions, and
figures that follow from theory for agents who guess the sum of numbers of which
each sees its own (uniform on +-10, one step, layers of 32, Adam 1e-3, 512
games, 1500 updates).
"""

import functools
import math

import numpy as np

from experiments import hammer, papers

PAPER = papers.Paper(
  title='Learned messages of a central agent (HAMMER)',
  source='Gupta et al. 2021',
  arxiv='2102.00824',
  functions=(
    'agents.hammer.v2',
    'agents.hammer.v1',
    'agents.hammer.v3',
    'agents.hammer.dru',
    'agents.hammer.message_encode',
    'agents.hammer.message_saliency',
    'agents.hammer.make_variant',
  ),
  binary='hammer',
  colab='07_agents',
)

# Noise of a guess that is right: .5 sqrt(2 / pi).
FLOOR = -0.5 * math.sqrt(2 / math.pi)
# -c E|sum of N - 1 numbers on [-1, 1]|, what the own number is worth.
ALONE = {2: -5.0, 3: -20 / 3, 4: -8.125, 5: -28 / 3}
# -20 (2 / 3) (1 - 2^-.5), what the median of half of a triangle is worth.
ONE_BIT = -40 / 3 * (1 - math.sqrt(0.5))
HARD = 'v3(execution=hard)'


@functools.cache
def _guesses(seeds, num_agents, variants):
  """Returns of the last tests of agents that guess sums, by variant."""
  config = hammer.Config(
    game=f'sum_guess(num_agents={num_agents})',
    variants=variants,
    seeds=seeds,
    num_rounds=30,
    steps=50,
    eval_every=10,
    optimizer='adam(0.001)',
    update_steps=512,
    num_envs=512,
    actor_sizes=(32, 32),
    critic_sizes=(32, 32),
    encoder_sizes=(32, 32),
    num_episodes=4096,
    modes=('sampled',),
    probe_episodes=0,
  )
  return _last(hammer.run(config).rows, variants)


@functools.cache
def _spread(seeds, game, variants, *, num_rounds=24, rate=3e-4):
  """Returns of the last tests of agents that cover landmarks."""
  config = hammer.Config(
    game=game,
    variants=variants,
    seeds=seeds,
    num_rounds=num_rounds,
    steps=25,
    eval_every=num_rounds,
    optimizer=f'adam({rate})',
    num_episodes=512,
    modes=('sampled',),
    probe_episodes=0,
  )
  return _last(hammer.run(config).rows, variants)


def _last(rows, variants):
  at = max(r['step'] for r in rows)
  return {
    v: np.array(
      [
        r['return']
        for r in rows
        if (r['variant'], r['split'], r['step']) == (v, 'test', at)
      ]
    )
    for v in variants
  }


def _say(found):
  shown = lambda x: '/'.join(f'{v:.2f}' for v in x)
  return '; '.join(f'{name} {shown(values)}' for name, values in found.items())


def _all(seeds):
  return _guesses(seeds, 3, ('il', 'random', 'v1', 'v2', 'v3', HARD))


@papers.claim(
  'Sums of 2 to 5 numbers: agents without messages end within .1 of what the '
  'own number is worth, -5, -6.67, -8.13 and -9.33',
  note='One of three seeds misses with 5 agents, by .12, one comes near with '
  '4, by .1; a test of 4096 episodes is itself only good to about .1.',
)
def alone_is_theory(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Independent learners find the best guess."""
  found = {n: _guesses(seeds, n, ('il',))['il'] for n in (2, 4, 5)}
  found[3] = _all(seeds)['il']
  gaps = [np.abs(found[n] - ALONE[n]).max() for n in ALONE]
  return bool(max(gaps) <= 0.1), _say(dict(sorted(found.items())))


@papers.claim(
  'Sums of 3: v2 ends above -1.2 on every seed, of a floor of -.40 by noise of '
  'exploration',
  note='One of three seeds ends at -2.6, the others at the floor.',
)
def v2_guesses(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """One real number is enough."""
  found = _all(seeds)['v2']
  return bool((found > -1.2).all()), f'{_say({"v2": found})}; floor {FLOOR:.2f}'


@papers.claim('Sums of 3: random messages are no better than none (by .1)')
def random_is_no_better(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """It is what is said that helps."""
  found = _all(seeds)
  held = found['random'].mean() <= found['il'].mean() + 0.1
  return bool(held), _say({name: found[name] for name in ('il', 'random')})


@papers.claim(
  'Sums of 3: with noise of 2 in its messages v3 gains less than half of what '
  'v2 gains over none',
  note='It gains more than half, partly as one seed of v2 has not settled. It '
  'was expected to be stuck near no messages on most seeds and is not: noise '
  'before a sigmoid leaves more than a bit.',
)
def noise_costs(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A channel of one noisy bit is a hard one for a real number."""
  found = _all(seeds)
  gain = {k: found[k].mean() - found['il'].mean() for k in ('v2', 'v3')}
  held = gain['v3'] < 0.5 * gain['v2']
  return bool(held), _say({name: found[name] for name in ('il', 'v2', 'v3')})


@papers.claim(
  'Sums of 3: in hard execution v3 is below what one bit can be worth, -3.91, '
  'and above no messages by 1'
)
def a_bit_is_a_bit(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Messages of 0 and 1 say which half."""
  found = _all(seeds)
  held = (found[HARD] < ONE_BIT + 0.05).all()
  held &= found[HARD].mean() > found['il'].mean() + 1.0
  return bool(held), (
    f'{_say({name: found[name] for name in ("il", HARD)})}; bound {ONE_BIT:.2f}'
  )


@papers.claim(
  'Sums of 3: messages as actions (v1) are better than none by 1, and worse '
  'than those learned through losses (v2) by 1'
)
def actions_learn_less(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Slopes say more than rewards."""
  found = _all(seeds)
  v1 = found['v1'].mean()
  held = v1 > found['il'].mean() + 1.0 and v1 < found['v2'].mean() - 1.0
  return bool(held), _say({name: found[name] for name in ('il', 'v1', 'v2')})


PARTIAL = 'simple_spread(num_agents=3, seen=partial)'
UNEQUAL = 'heterogeneous(agents=(1,))+simple_spread(num_agents=3)'
THREE = ('il', 'random', 'v2')


def _partial(seeds):
  return _spread(seeds, PARTIAL, THREE, num_rounds=100, rate=1e-3)


@papers.claim(
  'Cooperative navigation, agents do not see each other, 2 million steps: v2 '
  'is above no messages by .5',
  note='It is far below. Messages say little at first, but Adam (1e-3) moves '
  'the encoder N K = 24 times in an update by whatever slopes there are, and '
  'agents hear what has changed: the divergence of policies by update is four '
  'times as large as without messages. With a third of the rate both are alike '
  'after 480,000 steps (-20.8 and -20.5, one seed), with one step for all at '
  '1e-3 nearly so (-20.0 and -19.4). The paper trains six times as long.',
)
def told_agents_cover_more(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Messages help where agents see little."""
  found = _partial(seeds)
  held = found['v2'].mean() > found['il'].mean() + 0.5
  return bool(held), _say(found)


@papers.claim(
  'Cooperative navigation, agents do not see each other: random messages are '
  'no better than none (by .3)',
  note='By .5 on average, where seeds of one variant differ by 6.',
)
def random_covers_no_more(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """It is what is said that helps."""
  found = _partial(seeds)
  held = found['random'].mean() <= found['il'].mean() + 0.3
  return bool(held), _say(found)


@papers.claim(
  'Cooperative navigation, one agent of three does not see the others, 480,000 '
  'steps: v2 is above no messages',
  note='By .1, on two of three seeds: no more than seeds differ.',
)
def unequal_agents(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Heterogeneous agents."""
  found = _spread(seeds, UNEQUAL, ('il', 'v2'))
  return bool(found['v2'].mean() > found['il'].mean()), _say(found)
