# SPDX-License-Identifier: Apache-2.0
r"""Does it help to be told a number by somebody who sees everything?

Agents act on what they see; a central agent sees what all see and tells each a
few numbers. Variants train side by side: `v1` (messages are actions), `v2`
(learned through the agents' losses), `v3` (made near binary by noise), `il` (no
messages), `random` ones, and `central`, one agent that acts for all. Returns
are those of whole episodes; in the end it is measured what messages do to what
agents do, and what of the state is in them.

Example: python -m experiments.hammer --variants=il,random,v2,'v3(sigma=1.0)' \
  --game='heterogeneous(agents=1)+simple_spread(num_agents=3)' --num_rounds=50
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import agents, local, plots, problems
from jaxdl.agents import hammer
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob
SHIFTS = (-2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0)
BINS = 12
GAMES = agents.GAMES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config_lib.BaseConfig):
  """Knobs of agents that are told something."""

  num_rounds: int = knob(100, 'Rounds.', low=0, smoke=2)
  steps: int = knob(25, 'Updates in a round.', low=1, smoke=1)
  eval_every: int = knob(5, 'Rounds between evaluations.', low=1, smoke=1)
  game: str = knob(
    'simple_spread(num_agents=3, seen=partial)',
    'Game, and what changes it: heterogeneous, observe_first, shared_reward.',
    registry=GAMES,
  )
  variants: tuple[str, ...] = knob(
    ('il', 'v2', 'random'), 'Who talks.', registry=hammer.VARIANTS, smoke=2
  )
  optimizer: str = knob(
    'adam(3e-4)', 'Of every set of parameters.', registry=local.OPTIMIZERS
  )
  update_steps: int = knob(
    800, 'Steps of all games between updates.', low=1, smoke=16
  )
  num_envs: int = knob(32, 'Games side by side.', low=1, smoke=4)
  num_epochs: int = knob(8, 'Passes over the steps.', low=1, smoke=2)
  gamma: float = knob(0.95, 'Discount.', low=0.0, high=1.0)
  clip: float = knob(0.2, 'By how much ratios may differ from 1.', low=0.0)
  entropy: float = knob(0.01, 'Weight of the entropy.', low=0.0)
  std: float = knob(
    0.5, 'Deviation of actions that are vectors.', low=0.0, open_low=True
  )
  actor_sizes: tuple[int, ...] = knob(
    (64, 64), 'Widths of actors.', low=1, smoke=(8,)
  )
  critic_sizes: tuple[int, ...] = knob(
    (64, 32), 'Widths of critics.', low=1, smoke=(8,)
  )
  encoder_sizes: tuple[int, ...] = knob(
    (64, 64), 'Widths of who reads what all see.', low=1, smoke=(8,)
  )
  num_episodes: int = knob(64, 'Episodes of a test.', low=1, smoke=4)
  modes: tuple[str, ...] = knob(
    problems.games.MODES,
    'Actions in tests.',
    choices=problems.games.MODES,
    smoke=1,
  )
  probe_episodes: int = knob(
    20,
    'Episodes whose messages are looked at; 0 looks at none.',
    low=0,
    smoke=8,
  )

  def validate(self) -> None:
    """Raises ValueError if knobs do not fit together."""
    config_lib.check_different(self.variants, name='variants')
    config_lib.check_different(self.modes, name='modes')
    training = self.training()
    env = self.make_game()
    for variant in self.variants:
      with config_lib.naming(variants=variant):
        hammer.make_variant(variant, env, training)

  def make_game(self):
    """Returns the game."""
    with config_lib.naming(game=self.game):
      return agents.make_game(self.game)

  def training(self) -> hammer.Training:
    """Returns how agents are trained."""
    names = {f.name for f in dataclasses.fields(hammer.Training)}
    own = {k: v for k, v in vars(self).items() if k in names}
    updates = self.num_rounds * self.steps * self.num_epochs
    optimizer = local.make_optimizer(self.optimizer, num_steps=max(1, updates))
    return hammer.Training(**own | {'optimizer': optimizer})


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  env, training = config.make_game(), config.training()
  made, several = {}, {}
  for spec in config.variants:
    found = made[spec] = hammer.make_variant(spec, env, training)
    problem = problems.games.games(
      env,
      found.execution,
      num_episodes=config.num_episodes,
      modes=config.modes,
      seeds=config.seeds,
    )
    if several:
      # The same data, so that all are trained in one program.
      first = next(iter(several.values()))
      problem = first.replace(task=problem.task, evaluate=problem.evaluate)
    several[spec] = problem

  def measure(values, moment):
    name = moment.variant.name
    check_numbers(config, name, moment.round, values.get('train', {}))
    done = moment.round * config.steps * config.update_steps
    for part in values.values():
      part['env_steps'] = np.full(len(config.seeds), float(done))
    return values

  def extra_rows(moments):
    return [
      row
      for moment in moments
      if moment.last and config.probe_episodes
      for i, seed in enumerate(config.seeds)
      for row in probe(
        config,
        env,
        made[moment.variant.name],
        jax.tree.map(lambda x, i=i: x[i], moment.params),
        {'variant': moment.variant.name, 'seed': seed, 'step': moment.round},
      )
    ]

  return compare(
    config,
    several,
    {spec: found.algorithm for spec, found in made.items()},
    steps=config.steps,
    measure=measure,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
  )


def check_numbers(config: Config, name: str, round: int, values) -> None:
  """Raises ValueError where agents have become what is no number.

  Args:
    config: knobs.
    name: of the variant.
    round: how many are done.
    values: of the last update, f[S] by name.
  """
  wrong = [k for k, v in values.items() if not np.isfinite(v).all()]
  if wrong:
    shown = {k: np.asarray(v).tolist() for k, v in values.items()}
    raise ValueError(
      f'{", ".join(wrong)} of {name} in {config.game} are no numbers after '
      f'update {round * config.steps}; by seed {config.seeds}: {shown}. Lower '
      'the rate of --optimizer.'
    )


def probe(config: Config, env, variant: hammer.Variant, params, label):
  """Looks at the messages of one seed.

  Args:
    config: knobs.
    env: the game.
    variant: who plays.
    params: of its policy.
    label: of the rows.

  Returns:
    Rows: 'saliency', mean slopes of what an agent does; 'wiggle', shares of
    other actions where messages are shifted; 'contents', correlations with what
    all see; 'against', messages over the entry that they follow most.
  """
  if variant.messenger is None or not variant.messenger.length:
    return []
  key = jax.random.fold_in(jax.random.key(label['seed']), 0x109)
  log = hammer.log_messages(
    env, variant, params, key=key, num_episodes=config.probe_episodes
  )
  slopes = hammer.message_saliency(variant.local, params, log.own, log.message)
  slopes = np.abs(slopes).mean(axis=(0, 2, 3))
  moved = hammer.wiggle(
    variant.local, params, log.own, log.message, np.float32(SHIFTS)
  )
  corr = hammer.correlations(log)
  names = names_of(env)
  rows = []
  for i in range(env.num_agents):
    me = label | {'agent': i}
    rows.append(me | {'split': 'saliency', 'saliency': float(slopes[i])})
    rows += [
      me | {'split': 'wiggle', 'shift': s, 'changed': float(moved[k, i])}
      for k, s in enumerate(SHIFTS)
    ]
    for m in range(log.message.shape[-1]):
      me = label | {'agent': i, 'number': m, 'told': f'{i}.{m}'}
      rows += [
        me | {'split': 'contents', 'entry': name, 'correlation': float(c)}
        for name, c in zip(names, corr[i, m].ravel(), strict=True)
      ]
      j, k = np.unravel_index(np.abs(corr[i, m]).argmax(), corr[i, m].shape)
      order = np.argsort(log.own[:, j, k], kind='stable')
      rows += [
        me
        | {
          'split': 'against',
          'entry': names[j * env.own_size + k],
          'place': (b + 0.5) / BINS,
          'state': float(log.own[part, j, k].mean()),
          'message': float(log.message[part, i, m].mean()),
        }
        for b, part in enumerate(np.array_split(order, BINS))
        if len(part)
      ]
  return rows


def names_of(env) -> list[str]:
  """Returns names of all that agents see, agent after agent."""
  own = env.seen_names or [str(k) for k in range(env.own_size)]
  return [f'{j}: {name}' for j in range(env.num_agents) for name in own]


def draw(config: Config, rows, directory):
  """Draws returns over steps, and what messages do and contain.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  over = {'x': 'env_steps', 'xlabel': 'Steps of all games'}
  starts = {'sampled': '', 'greedy': 'greedy_'}
  paths = [
    plots.lines(
      rows,
      directory / f'{starts[mode]}return.png',
      f'{starts[mode]}return',
      ylabel=f'Return, {mode} actions',
      title=config.game,
      **over,
    )
    for mode in config.modes
  ]
  if any(row['split'] == 'saliency' for row in rows):
    paths += [
      plots.bars(
        rows,
        directory / 'saliency.png',
        'saliency',
        split='saliency',
        group='agent',
        ylabel='Mean |slope| by messages',
        title=config.game,
      ),
      plots.lines(
        rows,
        directory / 'wiggle.png',
        'changed',
        split='wiggle',
        x='shift',
        xlabel='Shift of messages',
        ylabel='What agents do otherwise',
        title=config.game,
      ),
    ]
  for i, name in enumerate(config.variants):
    own = [
      r for r in rows if r['variant'] == name and r['seed'] == config.seeds[0]
    ]
    found = [r for r in own if r['split'] == 'contents']
    if not found:
      continue
    told = list(dict.fromkeys(r['told'] for r in found))
    entries = list(dict.fromkeys(r['entry'] for r in found))
    table = np.array([r['correlation'] for r in found])
    what = f'{name}, seed {config.seeds[0]}'
    paths += [
      plots.heat_map(
        table.reshape(len(told), len(entries)),
        told,
        entries,
        directory / f'contents_{i}.png',
        diverging=True,
        annotate=False,
        label='Correlation',
        xlabel='What is seen (agent: entry)',
        ylabel='Message to agent',
        title=what,
      ),
      plots.lines(
        [
          r | {'variant': f'{r["told"]} over {r["entry"]}'}
          for r in own
          if r['split'] == 'against'
        ],
        directory / f'messages_{i}.png',
        'message',
        split='against',
        x='place',
        xlabel='Rank of the entry that it follows most',
        ylabel='Message',
        title=what,
      ),
    ]
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
