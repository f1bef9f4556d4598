# SPDX-License-Identifier: Apache-2.0
r"""Does it help to be told a number by somebody who sees everything?

Agents act on what they see; a central agent sees what all see and tells each a
few numbers. Variants train side by side: `v1` (messages are actions), `v2`
(learned through the agents' losses), `v3` (made near binary by noise), `il` (no
messages), `random` ones, and `central`, one agent that acts for all. Returns
are those of whole episodes; in the end it is measured what messages do to what
agents do, and what of the state is in them.

Example: python -m experiments.hammer --variants=il,random,v2,'v3(sigma=1.0)' \
  --game='heterogeneous(agents=(1,))+simple_spread(num_agents=3)' --num_rounds=9
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import agents, local, plots, problems
from jaxdl.agents import hammer
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob
# Folded into a seed for the episodes whose messages are looked at.
PROBES = 0x109
LABELS = ('told', 'entry')
ON_HOST = {'multiwalker': agents.games.multiwalker}
MODES = problems.games.MODES
GAMES = agents.games.ALL_GAMES | ON_HOST


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config_lib.BaseConfig):
  """Knobs of agents that are told something."""

  num_rounds: int = knob(100, 'Rounds.', low=0, smoke=3)
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
  std: float = knob(0.5, 'Deviation of vectors.', low=0.0, open_low=True)
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
    MODES, 'Actions in tests.', choices=MODES, smoke=1
  )
  probe_episodes: int = knob(
    20, 'Episodes whose messages are looked at, if any.', low=0, smoke=8
  )

  def validate(self) -> None:
    """Raises ValueError if knobs do not fit together."""
    config_lib.check_different(self.variants, name='variants')
    config_lib.check_different(self.modes, name='modes')
    training = self.training()
    if self.on_host:  # Walkers are made only to be played.
      if len(GAMES.parts(self.game)) > 1:
        raise ValueError(
          f'game={self.game} is on the host, where what is before + does not '
          'change it.'
        )
      return
    if not agents.games.needs_peer(self.game):  # Which may not be there.
      config_lib.without_device(lambda: self.made(self.make_game(), training))

  def made(self, env, training) -> dict[str, hammer.Variant]:
    """Returns the variants by name."""
    found = {}
    for variant in self.variants:
      with config_lib.naming(variants=variant):
        found[variant] = hammer.make_variant(variant, env, training)
    return found

  def make_game(self):
    """Returns the game."""
    with config_lib.naming(game=self.game if '+' in self.game else None):
      if self.on_host:
        return [GAMES.make(self.game) for _ in range(self.num_envs)]
      return agents.make_game(self.game)

  @property
  def on_host(self) -> bool:
    """Whether the game is one of the host."""
    return GAMES.parts(self.game)[-1].name in ON_HOST

  def training(self) -> hammer.Training:
    """Returns how agents are trained."""
    known, names = map(dataclasses.fields, (self, hammer.Training))
    shared = {f.name for f in known} & {f.name for f in names} - {'optimizer'}
    own = {name: getattr(self, name) for name in sorted(shared)}
    updates = max(1, self.num_rounds * self.steps * self.num_epochs)
    optimizer = local.make_optimizer(self.optimizer, num_steps=updates)
    return hammer.Training(optimizer=optimizer, **own)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  env, training = config.make_game(), config.training()
  made = config.made(env, training)
  several, ones = {}, np.ones(len(config.seeds))
  measured = getattr(problems.games, ('games', 'host_games')[config.on_host])
  for spec, found in made.items():
    problem = measured(
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
    done = moment.round * config.steps
    who = f'{name} in {config.game}, seeds {config.seeds},'
    agents.check_finite(values.get('train', {}), update=done, variant=who)
    for part in values.values():
      part['env_steps'] = done * config.update_steps * ones
    return values

  def extra_rows(moments):
    looks = config.probe_episodes and not config.on_host
    rows = []
    for moment in moments if looks and moments[0].last else ():
      name = moment.variant.name
      for i, seed in enumerate(config.seeds):
        label = {'variant': name, 'seed': seed, 'step': moment.round}
        found = hammer.probe(
          env,
          made[name],
          jax.tree.map(lambda x, i=i: x[i], moment.params),
          key=jax.random.fold_in(jax.random.key(seed), PROBES),
          num_episodes=config.probe_episodes,
        )
        rows += [label | row for row in found]
    return rows

  algorithms = {spec: found.algorithm for spec, found in made.items()}
  return compare(
    config,
    several,
    algorithms,
    steps=config.steps,
    measure=measure,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
  )


def draw(config: Config, rows, directory):
  """Draws returns over steps, and what messages do and contain.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  line = functools.partial(plots.lines, title=config.game)
  over = {'x': 'env_steps', 'xlabel': 'Steps of all games'}
  paths = []
  for mode in config.modes:
    name = 'return' if mode == 'sampled' else 'greedy_return'
    label = {'ylabel': f'Return, {mode} actions'} | over
    paths.append(line(rows, directory / f'{name}.png', name, **label))
  if not any(row['split'] == 'saliency' for row in rows):
    return paths
  what = {'group': 'agent', 'ylabel': 'Mean |slope| by messages'}
  shift = {'x': 'shift', 'xlabel': 'Shift of messages', 'split': 'wiggle'}
  rank = {'x': 'rank', 'xlabel': 'Rank of what it follows', 'split': 'against'}
  place = directory / 'saliency.png'
  paths += [
    plots.bars(rows, place, 'saliency', split='saliency', **what),
    line(rows, directory / 'wiggle.png', 'changed', **shift),
  ]
  rows = [r for r in rows if r['seed'] == config.seeds[0]]
  for i, name in enumerate(config.variants):
    own = [r for r in rows if (r['variant'], r['split']) == (name, 'contents')]
    if not own:
      continue
    told, entries = (list(dict.fromkeys(r[k] for r in own)) for k in LABELS)
    table = np.array([r['correlation'] for r in own])
    paths.append(
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
        title=f'{name}, seed {config.seeds[0]}',
      )
    )
    own = [
      r | {'variant': f'{r["told"]} over {r["entry"]}'}
      for r in rows
      if (r['variant'], r['split']) == (name, 'against')
    ]
    paths.append(line(own, directory / f'messages_{i}.png', 'message', **rank))
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
