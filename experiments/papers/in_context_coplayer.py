# SPDX-License-Identifier: Apache-2.0
"""Claims about players who infer each other in context, at CPU scale.

Networks, pools and numbers of games of the paper are runs for accelerators
(`presets/coplayer/paper_*.flags`). Tabular agents of a uniform prior are worth
little to know (best response 1.047 a round, defection 1.003), so learners that
must infer them here meet agents of probabilities .05 and .95.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import coplayer, papers
from jaxdl.agents import coplayers
from jaxdl.problems import games

PAPER = papers.Paper(
  title='In-context co-player inference',
  source='Weis et al. 2026',
  arxiv='2602.16301',
  functions=(
    'agents.coplayers.ppi',
    'agents.coplayers.a2c',
    'agents.coplayers.mechanism',
    'agents.coplayers.bayes_icl',
    'agents.coplayers.improved_policy',
    'agents.coplayers.mc_q_values',
    'agents.coplayers.sequence_model',
    'agents.coplayers.count_model',
    'agents.coplayers.memory_one_returns',
    'agents.coplayers.best_response',
    'agents.coplayers.zero_determinant',
    'agents.coplayers.lola',
  ),
  binary='coplayer',
  colab='07_agents',
)

# Of a Bayes-optimal predictor, nats per action, T = 100, uniform prior.
OPTIMAL = 0.5405
CORNERS = 'corners(0.05)'
# Per round, T = 100: always defect, and the best response to a known strategy.
DEFECTION, BEST = 0.975, 1.160


@functools.cache
def _games(other, seeds):
  """Rewards and cooperation of Bayes-ICL in 200 games for each seed."""
  game = coplayers.prisoner()
  icl, fixed = (coplayers.make_policy(s, game) for s in ('bayes_icl', other))

  def one(key):
    return coplayers.play(game, icl, fixed, num_rounds=100, key=key)

  keys = [jax.random.split(jax.random.key(seed), 200) for seed in seeds]
  mine, yours = jax.jit(jax.vmap(one))(jnp.concatenate(keys))
  late = slice(-20, None)
  return (
    float(mine.rewards.mean()),
    float(yours.rewards.mean()),
    float(mine.rewards[:, late].mean()),
    float(yours.rewards[:, late].mean()),
    float(1 - mine.actions[:, late].mean()),
  )


@functools.cache
def _rows(seeds, learners, num_rounds, **options):
  given = {
    'length': 50,
    'prior': CORNERS,
    'num_games': 256,
    'eval_every': num_rounds,
    **options,
  }
  config = coplayer.Config(
    seeds=seeds,
    learners=learners,
    num_rounds=num_rounds,
    opponents=('all_d',),
    **given,
  )
  return coplayer.run(config).rows


def _last(rows, split, metric, variant=None, steps=1):
  """Mean over seeds of a metric in its last rows."""
  own = [r for r in rows if r['split'] == split and metric in r]
  own = [r for r in own if variant in (None, r['variant'])]
  late = sorted({r['step'] for r in own})[-steps:]
  return float(np.mean([r[metric] for r in own if r['step'] in late]))


@papers.claim(
  'Bayes-ICL exploits: 1.98 a round with AllC, -.03 with AllD, .98 with random '
  '(+- .03)'
)
def exact_inference_exploits(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Three opponents who do not react."""
  want = {'all_c': 1.98, 'all_d': -0.03, 'random': 0.98}
  found = {name: _games(name, seeds)[0] for name in want}
  held = all(abs(found[name] - want[name]) <= 0.03 for name in want)
  return held, ', '.join(f'{k} {v:.3f}' for k, v in found.items())


@papers.claim(
  'Bayes-ICL can be extorted: ZD with chi 2 and 3 gets at least .2 more a '
  'round than it, at its expense, and it cooperates in at least a third of the '
  'last 20 rounds'
)
def inference_is_extorted(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Direction of step 2 of the mechanism, without training."""
  out, held = [], True
  for chi in (2.0, 3.0):
    icl, zd, late, late_zd, share = _games(f'zd(chi={chi})', seeds)
    held &= zd >= icl + 0.2 and share >= 1 / 3
    out.append(
      f'chi {chi:g}: {icl:.2f} to {zd:.2f} (last 20: {late:.2f} to '
      f'{late_zd:.2f}, cooperates {share:.0%})'
    )
  return bool(held), '; '.join(out)


@functools.cache
def _tabular(seed, count):
  """Games between random tabular agents, of one side."""
  theta_key, play_key = jax.random.split(jax.random.key(seed))
  both = coplayers.PRIORS.make('uniform').sample((count, 2), key=theta_key)

  def one(pair, key):
    return coplayers.play(
      coplayers.prisoner(),
      coplayers.memory_one_policy(pair[0]),
      coplayers.memory_one_policy(pair[1]),
      num_rounds=100,
      key=key,
    )[0]

  played = jax.jit(jax.vmap(one))(both, jax.random.split(play_key, count))
  return coplayers.GameData(
    played.observations.astype(jnp.uint8),
    played.actions.astype(jnp.uint8),
    jnp.zeros((count, 0)),
  )


@papers.claim(
  'Counts attain the Bayes-optimal loss of next actions, .5405 nats (+- .004) '
  'on 5,000 games of tabular agents'
)
def counts_are_optimal(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The exact model on fresh games."""
  data = _tabular(10_000 + seeds[0], 5000)
  model = coplayers.count_model(num_points=101)
  found = jax.jit(jax.vmap(model.losses, (None, 0, 0, None)))(
    model.init(jax.random.key(0)), data.observations, data.actions, None
  )['action']
  value = float(found.mean())
  first, tenth, last = (float(found[:, t].mean()) for t in (0, 9, 99))
  return abs(value - OPTIMAL) <= 0.004, (
    f'{value:.4f}; {first:.3f} in round 1, {tenth:.3f} in 10, {last:.3f} in 100'
  )


@papers.claim(
  'A GRU of 64 units that has seen 20,000 games of tabular agents for 12 '
  'epochs in batches of 128 predicts actions of fresh ones within .01 nats of '
  'the optimum .5405, and not better than it by 3 standard errors (one seed)',
  note='With batches of 256, and so half as many steps, it is .5509, beyond '
  'the margin; exact counts get .5379 on the same games.',
)
def sequence_models_infer(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Pretraining, held-out games."""
  model = coplayers.sequence_model(
    hidden=64, epochs=12, batch_size=128, learning_rate=2e-3
  )
  data, fresh = _tabular(seeds[0], 20_000), _tabular(20_000 + seeds[0], 2000)
  params, _ = jax.jit(model.fit)(data, 20_000, key=jax.random.key(seeds[0]))
  losses = jax.jit(jax.vmap(model.losses, (None, 0, 0, 0)))
  first = losses(model.init(jax.random.key(1)), *fresh)
  exact = coplayers.count_model(num_points=101)
  least = jax.jit(jax.vmap(exact.losses, (None, 0, 0, None)))(
    exact.init(jax.random.key(0)), fresh.observations, fresh.actions, None
  )
  found = losses(params, *fresh)
  each = np.asarray(found['action']).mean(axis=1)
  error = each.std() / np.sqrt(len(each))
  value = float(each.mean())
  held = OPTIMAL - 3 * error <= value <= OPTIMAL + 0.01
  # An observation of a later round holds one's own action, which is known.
  seen = float(found['observation'][:, 1:].mean())
  return bool(held), (
    f'{value:.4f} +- {error:.4f} (exact counts on the same games '
    f'{float(least["action"].mean()):.4f}), observations {seen:.4f}; before '
    f'{float(first["action"].mean()):.3f} and '
    f'{float(first["observation"][:, 1:].mean()):.2f}'
  )


@functools.cache
def _ppi(seeds, beta):
  learner = (
    f'ppi(pool=tabular, world_model=exact, beta={beta}, phases=6, '
    'trajectories_per_phase=256, pretrain_trajectories=256, num_learners=1)'
  )
  return _rows(seeds, (learner,), 6, eval_every=1, num_games=8)


@papers.claim(
  'PPI with exact counts improves: with beta .1 its reward among tabular '
  'agents rises by at least .1 in 6 phases, and with beta 1 it passes .8 (two '
  'seeds)'
)
def prediction_improves(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Reward of what is deployed, phase by phase."""
  out, held = [], True
  for beta in (0.1, 1.0):
    rows = _ppi(seeds[:2], beta)
    path = [
      np.mean([r['reward_pool'] for r in rows if _is(r, 'train', phase)])
      for phase in range(1, 7)
    ]
    held &= path[-1] - path[0] >= 0.1 if beta < 1 else path[-1] >= 0.8
    out.append(f'beta {beta:g}: ' + ' '.join(f'{x:.2f}' for x in path))
  return bool(held), '; '.join(out)


def _is(row, split, step):
  return (row['split'], row['step']) == (split, step)


@papers.claim(
  'In 6 phases at beta .1 PPI with exact counts gets past always defecting '
  f'(.975) toward the best response ({BEST})',
  note='At beta .1 six phases end where always defecting does; at beta 1, with '
  'the same games, the first phase is past it already. The paper has beta .01, '
  'thirty phases and no figure of this kind.',
)
def prediction_passes_defection(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The expectation of a larger beta than the paper's .01."""
  found = {
    beta: _last(_ppi(seeds[:2], beta), 'train', 'reward_pool')
    for beta in (0.1, 1.0)
  }
  held = DEFECTION < found[0.1] <= BEST + 0.02
  return bool(held), ', '.join(f'beta {k:g}: {v:.3f}' for k, v in found.items())


@papers.claim(
  'A2C with 32 units, T 50, among tabular agents alone infers in context: '
  'after 1,000 updates of 256 games it is above always defecting (.975) by at '
  f'least .015, and below the best response ({BEST}) (one seed)'
)
def actors_infer(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Step 1 of the mechanism; 12,800 games of the last 50 updates."""
  learner = (
    'a2c(pool=tabular, setting=step1, hidden=32, batch_size=256, '
    'num_learners=1)'
  )
  rows = _rows(seeds[:1], (learner,), 20, steps=50, num_games=2048)
  value = _last(rows, 'train', 'reward_pool')
  held = DEFECTION + 0.015 <= value <= BEST
  return bool(held), (
    f'{value:.3f}; on 2,048 fresh games '
    f'{_last(rows, "test", "reward_tabular"):.3f}'
  )


@papers.claim(
  'Trained against Bayes-ICL, which stays as it is, A2C with 16 units comes to '
  'get at least .3 a round, and .2 more than Bayes-ICL (600 updates of 128 '
  'games, T 50, uniform prior, one seed)'
)
def actors_extort(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Step 2 of the mechanism."""
  learner = (
    'a2c(pool="against(opponent=bayes_icl)", setting=step2, hidden=16, '
    'batch_size=128, num_learners=1)'
  )
  rows = _rows(seeds[:1], (learner,), 20, steps=30, prior='uniform')
  own = _last(rows, 'train', 'reward_pool')
  other = _last(rows, 'train', 'other_reward_pool')
  share = _last(rows, 'train', 'cooperation_pool')
  icl = _last(rows, 'train', 'other_cooperation_pool')
  return bool(own >= 0.3 and own >= other + 0.2), (
    f'{own:.2f} to {other:.2f}; it cooperates {share:.0%}, Bayes-ICL {icl:.0%}'
  )


@functools.cache
def _ablation(seeds, pool, opponent_id=False):
  learner = (
    f'a2c(pool="{pool}", hidden=16, batch_size=128, learning_rate=0.005, '
    f'opponent_id={opponent_id})'
  )
  rows = _rows(seeds, (learner,), 20, steps=30)
  return (
    _last(rows, 'train', 'reward_learners'),
    _last(rows, 'train', 'cooperation_learners'),
  )


@papers.claim(
  'Without tabular agents, and with the identity of tabular agents given, A2C '
  'learners end in mutual defection: at most .1 a round among each other (16 '
  'units, T 50, 600 updates of 128 games, one seed)'
)
def ablations_defect(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Both ablations."""
  alone = _ablation(seeds[:1], 'learners')
  told = _ablation(seeds[:1], 'mixed(0.5)', True)
  held = max(alone[0], told[0]) <= 0.1
  return bool(held), (
    f'no mixed pool {alone[0]:.3f} (cooperation {alone[1]:.0%}), identity '
    f'given {told[0]:.3f} ({told[1]:.0%})'
  )


@papers.claim(
  'In a mixed pool A2C learners cooperate at least .2 more with each other '
  'than without tabular agents (as above, one seed)',
  note='The paper sees cooperation after some 70,000 updates of 4,096 games '
  'with 128 units. 600 small updates teach defection, before anything is '
  'inferred in context; paper_a2c_mixed.flags is the run for an accelerator.',
)
def mixed_pools_cooperate(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The headline, far below the scale of the paper."""
  mixed = _ablation(seeds[:1], 'mixed(0.5)')
  alone = _ablation(seeds[:1], 'learners')
  return bool(mixed[1] >= alone[1] + 0.2), (
    f'cooperation {mixed[1]:.0%} at {mixed[0]:.3f} a round, without tabular '
    f'agents {alone[1]:.0%}'
  )


@functools.cache
def _strategies(seeds, spec, count):
  """Mean payoffs of pairs that have learned, exact."""
  arena = coplayers.arena(num_rounds=60)
  learner = coplayers.LEARNERS.make(spec, arena)
  nobody = games.coplayers(arena).cohort(jax.random.key(0), {}, 1)

  def one(key):
    state, _ = jax.lax.scan(
      lambda s, k: (learner.step(s, nobody, key=k)[0], None),
      learner.init(key),
      jax.random.split(key, count),
    )
    p, q = jax.nn.sigmoid(state.logits)
    value = coplayers.discounted_returns(p, q, arena.game, discount=0.96)
    return value.mean(), p

  keys = jnp.concatenate(
    [jax.random.split(jax.random.key(seed), 20) for seed in seeds]
  )
  return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys))


@papers.claim(
  'Of 20 pairs for each seed, players who look through the next step of the '
  'other (LOLA, exact) end at .8 a round or more in the median, naive ones at '
  '.2 or less'
)
def looking_ahead_cooperates(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Gamma .96, 200 steps of size 1."""
  lola, p = _strategies(seeds, 'lola', 200)
  naive, _ = _strategies(seeds, 'naive', 200)
  held = np.median(lola) >= 0.8 and np.median(naive) <= 0.2
  shown = ' '.join(f'{x:.2f}' for x in np.median(p, axis=0))
  return bool(held), (
    f'LOLA {np.median(lola):.3f} (mean {lola.mean():.2f}; cooperates after '
    f'start, CC, CD, DC, DD: {shown}), naive {np.median(naive):.3f} (mean '
    f'{naive.mean():.2f})'
  )


@papers.claim(
  'The same from games (128 of 60 rounds for each of two estimates): LOLA ends '
  'at .6 a round or more in the median, REINFORCE at .2 or less (first seed)'
)
def looking_ahead_from_games(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Sampled gradients, of any order."""
  lola, _ = _strategies(seeds[:1], 'lola(sampled=True)', 200)
  naive, _ = _strategies(seeds[:1], 'naive(sampled=True)', 200)
  held = np.median(lola) >= 0.6 and np.median(naive) <= 0.2
  return bool(held), (
    f'LOLA {np.median(lola):.3f} (mean {lola.mean():.2f}), REINFORCE '
    f'{np.median(naive):.3f} (mean {naive.mean():.2f})'
  )
