# SPDX-License-Identifier: Apache-2.0
r"""Who pays for what all share? Agents who move one after the other.

A variant is who plays, on which game: independent learners (`ppo`), the
subgame perfect equilibrium (`spne`), Nash players, a planner or fixed givers;
on games where all move at once (`pgg`), one after the other (`spgg`), or with
synergy and a threshold (`mac_spgg`). All are measured without exploration: what
is given, welfare, the distance to the equilibrium, and exploitability at every
sum, which tells a learner's trap from an equilibrium.

With --backend=openai language models write one after the other, and `ppo`
learns their settings: --methods on --tasks, asked at --base_url, on a fresh
machine scripted models.

Example: python -m experiments.public_goods --num_rounds=20 \
  --variants='ppo@mac_spgg(gamma=0.4),spne@mac_spgg(gamma=0.4),ppo@spgg'
"""

import dataclasses
import functools

import numpy as np

from jaxdl import plots, problems
from jaxdl.agents import public_goods
from jaxdl.core import registry
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.problems.games import texts

knob = runner.knob
VARIANTS = registry.Pair(public_goods.METHODS, public_goods.GAMES, needed=True)
# Sums at which the answers of the last mover are drawn.
NUM_SUMS = 41
_NUMERIC = {'backend': ['numeric']}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(texts.TextGoodsConfig):
  """Knobs of public goods games."""

  num_rounds: int = knob(30, 'Rounds.', low=0, smoke=3)
  steps: int = knob(
    50,
    'Updates of learners in a round; of texts there is one.',
    low=1,
    needs=_NUMERIC,
    smoke=2,
  )
  eval_every: int = knob(3, 'Rounds between evaluations.', low=1, smoke=1)
  variants: tuple[str, ...] = knob(
    (
      *('spne@pgg', 'ppo@pgg', 'spne@spgg', 'ppo@spgg'),
      *('spne@mac_spgg', 'ppo@mac_spgg'),
    ),
    'Who plays which game.',
    registry=VARIANTS,
    needs=_NUMERIC,
    smoke=(
      'spne(num_levels=21)@mac_spgg',
      'ppo(num_games=32, hidden=4)@mac_spgg',
    ),
  )
  num_states: int = knob(
    21,
    'Sums at which deviations are looked for.',
    low=2,
    needs=_NUMERIC,
    smoke=5,
  )
  num_levels: int = knob(
    101,
    'Deviations that are tried there.',
    low=2,
    needs=_NUMERIC,
    smoke=11,
  )

  def validate(self) -> None:
    """Makes games and players."""
    super().validate()
    if self.backend == 'openai':
      return
    config_lib.check_different(self.variants, name='variants')
    for variant in self.variants:
      self.read(variant)

  def read(self, variant: str) -> tuple[str, public_goods.Game, str | None]:
    """Reads a variant: who plays, the game, and what solves it."""
    method, text = registry.pair(variant)
    with config_lib.naming(variants=variant):
      game = public_goods.GAMES.make(text)
      part = public_goods.METHODS.part(method)
      own = part.options.get('solver')
      solver = own or public_goods.pick_solver(game)
      if solver == 'nash' and not game.simultaneous:
        raise ValueError(
          'solver=nash does not fit: only a simultaneous game has it.'
        )
      public_goods.check_solver(
        game, solver, num_levels=part.options.get('num_levels')
      )
    return method, game, solver


def build(config: Config) -> runner.Experiment:
  """Builds the experiment.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  if config.backend == 'openai':
    return texts.text_goods(config)
  made, algorithms, games, columns = {}, {}, {}, {}
  for variant in config.variants:
    method, game, solver = config.read(variant)
    text = registry.pair(variant)[1]
    games[variant] = game
    columns[variant] = {
      'method': public_goods.METHODS.part(method).name,
      'game': text,
    }
    if text not in made:
      made[text] = problems.games.public_goods(
        game,
        num_states=config.num_states,
        num_levels=config.num_levels,
        seeds=config.seeds,
      )
    maker = functools.partial(
      public_goods.METHODS.make,
      method,
      num_updates=config.num_rounds * config.steps,
      solver=solver,
    )
    with config_lib.naming(variants=variant):
      maker(game)  # Wrong options are told before anything is compiled.
    algorithms[variant] = maker

  def measure(values, moment):
    done = np.full(len(config.seeds), float(moment.round * config.steps))
    for part in values.values():
      part['update'] = done

  def extra_rows(moments):
    return [
      row
      for moment in moments
      if moment.last
      for row in public_goods.policy_rows(
        moment.params,
        games[moment.variant.name],
        seeds=config.seeds,
        num_sums=NUM_SUMS,
        label={
          'step': moment.round,
          'variant': moment.variant.name,
          **moment.variant.columns,
        },
      )
    ]

  return compare(
    config,
    {v: made[registry.pair(v)[1]] for v in config.variants},
    algorithms,
    measure=measure,
    extra_rows=extra_rows,
    columns=columns,
    steps=config.steps,
    plots=(functools.partial(draw, config),),
  )


def draw(config: Config, rows, directory):
  """Draws welfare, exploitability, what each gives, and the last one's answers.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{len(config.seeds)} seed{"s" * (len(config.seeds) > 1)}'
  over = {'x': 'update', 'xlabel': 'Update', 'title': title}
  paths = [
    plots.lines(
      rows, directory / f'{name}.png', name, ylabel=label, log_y=log_y, **over
    )
    for name, label, log_y in (
      ('welfare', 'Sum of rewards', False),
      ('total', 'Sum of contributions', False),
      ('exploitability', 'Largest gain of a deviation, at any sum', True),
    )
  ]
  if any(row['split'] == 'agents' for row in rows):
    paths += [
      plots.bars(
        rows,
        directory / 'contributions.png',
        'given',
        split='agents',
        group='agent',
        ylabel='Contribution',
        title=title,
      ),
      plots.lines(
        rows,
        directory / 'answers.png',
        'given',
        split='answers',
        x='sum',
        xlabel='Sum of what was given before',
        ylabel='What the last one gives',
        title=title,
      ),
    ]
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
