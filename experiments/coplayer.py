# SPDX-License-Identifier: Apache-2.0
r"""Who cooperates, if all that is known of the other is the game so far?

Learners of an iterated dilemma meet each other and tabular agents, whose five
probabilities of cooperation are drawn for each game. `a2c` and `ppi` are
recurrent and infer the other in context, `mechanism` takes the way from
inference over extortion to cooperation step by step, `lola` and `naive` are
strategies of one round's memory, `fixed` ones never change. Cooperation is
reported after each observation and in each round.

Example: python -m experiments.coplayer --prior='corners(0.05)' --length=50 \
  --learners='a2c(pool=tabular, setting=step1, hidden=32, batch_size=512)' \
  --num_rounds=100 --steps=20
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import plots
from jaxdl.agents import coplayers
from jaxdl.core import clients as clients_lib
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.problems import games

knob = runner.knob
KINDS = ('learners', 'tabular')
# What learners become in a small run.
SMALL = {
  'a2c': {'hidden': 8, 'embed': 4, 'batch_size': 8},
  'lola': {'batch_size': 8},
  'mechanism': {'hidden': 8, 'embed': 4},
  'naive': {'batch_size': 8},
  'ppi': {
    'horizon': 2,
    'num_rollouts': 2,
    'trajectories_per_phase': 8,
    'pretrain_trajectories': 16,
  },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of games among learners."""

  num_rounds: int = knob(100, 'Rounds of the run.', low=0, smoke=3)
  steps: int = knob(1, 'Updates or phases in a round.', low=1, smoke=2)
  learners: tuple[str, ...] = knob(
    ('lola', 'naive', 'fixed(policy=bayes_icl)'),
    'What to compare.',
    registry=coplayers.LEARNERS,
    smoke=3,
  )
  game: str = knob('prisoner', 'Payoffs.', registry=coplayers.GAMES)
  prior: str = knob('uniform', 'Of tabular agents.', registry=coplayers.PRIORS)
  length: int = knob(100, 'Rounds of a game.', low=1, smoke=10)
  num_games: int = knob(
    64, 'Games of a learner with each kind of other.', low=1, smoke=8
  )
  opponents: tuple[str, ...] = knob(
    ('all_c', 'all_d', 'tft'),
    'Who is met in evaluations as well.',
    registry=coplayers.POLICIES,
  )

  def validate(self) -> None:
    """Makes the learners."""
    config_lib.without_device(self._try)

  def _try(self):
    config_lib.check_different(self.learners, name='learners')
    config_lib.check_different(self.opponents or ('',), name='opponents')
    arena = self.arena()
    for spec in self.opponents:
      with config_lib.naming(game=self.game, opponents=spec):
        coplayers.make_policy(spec, arena.game)
    for spec in self.learners:
      with config_lib.naming(learners=spec):
        self.make_learner(spec, arena)

  def make_learner(self, spec: str, arena: coplayers.Arena, **options):
    """Makes a learner; one that needs to know has as many phases as are run."""
    asked = max(1, self.num_rounds * self.steps)
    part = coplayers.LEARNERS.part(spec)
    given = part.options.get('phases')
    if given is not None and given < asked:
      raise ValueError(f'phases={given} is less than the {asked} of the run.')
    if 'phases' in coplayers.LEARNERS.options(part.name):
      spec = coplayers.LEARNERS.changed(spec, phases=given or asked)
    return coplayers.LEARNERS.make(spec, arena, **options)

  def arena(self) -> coplayers.Arena:
    """Returns where learners meet."""
    return coplayers.arena(self.game, self.prior, num_rounds=self.length)

  def smoked(self) -> 'Config':
    """Small learners as well."""
    config = super().smoked()
    return dataclasses.replace(
      config, learners=tuple(map(_small, config.learners))
    )


def _small(spec):
  """A learner with small numbers."""
  part = coplayers.LEARNERS.part(spec)
  most = {
    k: v
    for k, v in SMALL.get(part.name, {}).items()
    if coplayers.LEARNERS.value(spec, k) is None
    or coplayers.LEARNERS.value(spec, k) > v
  }
  if part.name == 'mechanism':
    most |= {'updates': (2, 4), 'batch_sizes': (8, 8, 8)}
  if part.name == 'ppi':
    model = coplayers.LEARNERS.value(spec, 'world_model')
    if model.startswith('gru'):
      most['world_model'] = config_lib.set_low(
        model, hidden=8, embed=4, epochs=1, batch_size=8
      )
  if part.name in ('lola', 'naive') and 'batch_size' not in part.options:
    most = {}
  return coplayers.LEARNERS.changed(spec, **most) if most else spec


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads and writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  arena = config.arena()
  problem = games.coplayers(
    arena,
    num_games=config.num_games,
    opponents=config.opponents,
    # So that each step of the mechanism runs alone.
    one_by_one=any(spec.startswith('mechanism') for spec in config.learners),
    seeds=config.seeds,
  )
  mesh = clients_lib.clients_mesh() if jax.device_count() > 1 else None
  algorithms = {
    spec: config.make_learner(spec, arena, mesh=mesh)
    for spec in config.learners
  }
  seen = {}

  def measure(values, moment):
    found = jax.device_get(problem.test(moment.params))
    seen[moment.variant.name] = found
    values['test'] = found.values

  def extra_rows(moments):
    out = []
    for moment in moments:
      found = seen[moment.variant.name]
      for (i, seed), (k, kind) in (
        (a, b) for a in enumerate(config.seeds) for b in enumerate(KINDS)
      ):
        label = {'step': moment.round, 'variant': moment.variant.name}
        label |= {'seed': seed, 'with': kind}
        out += [
          label
          | {'split': f'contexts_{kind}', 'context': name, 'cooperation': x}
          for name, x in zip(
            coplayers.OBSERVATIONS, found.by_context[i, k].tolist(), strict=True
          )
          if not np.isnan(x)
        ]
        out += [
          label | {'split': f'rounds_{kind}', 'round': t + 1, 'cooperation': x}
          for t, x in enumerate(found.by_round[i, k].tolist())
          if moment.last
        ]
    return out

  return compare(
    config,
    problem.replace(evaluate=lambda params: {}),
    algorithms,
    steps=config.steps,
    measure=measure,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
  )


def draw(config: Config, rows, directory):
  """Draws rewards and cooperation over the run, and within a game.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.game}, {config.prior}, {config.length} rounds'
  line = functools.partial(plots.lines, title=title)
  paths = [
    line(rows, directory / f'{name}.png', name, ylabel=label)
    for name, label in (
      ('reward_tabular', 'Reward per round with tabular agents'),
      ('reward_learners', 'Reward per round among learners'),
      ('cooperation_learners', 'Cooperation among learners'),
      ('cooperation_tabular', 'Cooperation with tabular agents'),
    )
  ]
  splits = {row['split'] for row in rows}
  for kind in KINDS:
    if f'rounds_{kind}' in splits:
      paths.append(
        line(
          rows,
          directory / f'rounds_{kind}.png',
          'cooperation',
          split=f'rounds_{kind}',
          x='round',
          xlabel='Round of a game',
          ylabel=f'Cooperation with {kind}',
          ylim=(-0.02, 1.02),
        )
      )
    if f'contexts_{kind}' in splits:
      last = max(row['step'] for row in rows)
      paths.append(
        plots.bars(
          [row for row in rows if row['step'] == last],
          directory / f'contexts_{kind}.png',
          'cooperation',
          split=f'contexts_{kind}',
          group='context',
          ylabel=f'Cooperation with {kind}',
          title=title,
        )
      )
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
