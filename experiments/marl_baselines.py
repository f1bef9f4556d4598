# SPDX-License-Identifier: Apache-2.0
r"""Who learns which game, and what do messages bring?

Learners play the same number of steps of a game between two evaluations, which
count whole episodes with sampled and with likeliest actions. On a network
(`ippo@ring`) all have parameters of their own and gossip, by means or by a
robust rule, against poisoned ones too; then returns are those of the honest.

Example: python -m experiments.marl_baselines \
  --game='predator_prey(vision=0)' --algorithms=ic,commnet,ic3net,tarmac
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import agents, mixing, plots, problems
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob
# Folded into a seed for the episode of a picture.
_PICTURE = 0xF11


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config_lib.BaseConfig):
  """Knobs of learners in a game."""

  num_rounds: int = knob(20, 'Rounds.', low=0, smoke=2)
  eval_every: int = knob(1, 'Rounds between evaluations.', low=1, smoke=1)
  game: str = knob(
    'simple_spread', 'What is played.', registry=agents.games.ALL_GAMES
  )
  algorithms: tuple[str, ...] = knob(
    ('random', 'ippo', 'mappo'),
    'What to compare; a@b puts learners on a network.',
    registry=agents.LEARNERS,
    smoke=2,
  )
  round_steps: int = knob(
    50_000,
    'Steps of games that every learner plays in a round, as near as its '
    'updates come.',
    low=1,
    smoke=2_048,
  )
  num_episodes: int = knob(128, 'Episodes of a test.', low=1, smoke=8)
  chunk: int = knob(0, 'Episodes side by side; 0 takes all.', low=0, smoke=0)
  one_by_one: bool = knob(
    False,
    'Train seeds one after the other, which on a CPU may be faster: side by '
    'side, the end of an episode of one seed costs all a fresh start.',
  )

  def validate(self) -> None:
    """Makes the game, and checks what does not fit together."""
    config_lib.check_different(self.algorithms, name='algorithms')
    if self.chunk and self.num_episodes % self.chunk:
      raise ValueError(
        f'--chunk={self.chunk} must divide --num_episodes={self.num_episodes}.'
      )
    if agents.games.needs_peer(self.game):  # Which may not be there.
      return
    with config_lib.naming(game=self.game):
      config_lib.without_device(lambda: agents.make_game(self.game))


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  env = agents.make_game(config.game)
  learners, algorithms, games, updates = {}, {}, {}, {}
  for spec in config.algorithms:
    with config_lib.naming(algorithms=spec):
      size = agents.make_learner(spec, env, num_updates=1).num_steps
      # Agents that learn nothing need no steps.
      times = 1 if size == 1 else max(1, round(config.round_steps / size))
      learner = agents.make_learner(
        spec, env, num_updates=max(1, times * config.num_rounds)
      )
    learners[spec], updates[spec] = learner, times
    algorithms[spec] = agents.repeated(learner.algorithm, times)
    games[spec] = problems.games.games(
      env,
      learner.policy,
      num_episodes=config.num_episodes,
      chunk=config.chunk or None,
      num_counted=learner.num_honest,
      seeds=config.seeds,
    ).replace(one_by_one=config.one_by_one)

  def measure(values, moment):
    spec = moment.variant.name
    if 'train' in values:
      done = moment.round * updates[spec]
      agents.check_finite(values['train'], update=done, variant=spec)
    steps = moment.round * updates[spec] * learners[spec].num_steps
    if learners[spec].num_steps == 1:
      steps = moment.round * config.round_steps
    for part in values.values():
      part['env_steps'] = np.full(len(config.seeds), float(steps))
    many = len(config.seeds)
    size = sum(x.size for x in jax.tree.leaves(moment.params)) / many
    values['test']['parameters'] = np.full(many, size)
    graph = _graph(spec, moment.params)
    if graph is not None:
      values['test']['graph_gap'] = np.array([_gap(g) for g in graph])

  def extra_rows(moments):
    out = []
    for moment in moments:
      spec = moment.variant.name
      label = {'step': moment.round, 'variant': spec, 'seed': config.seeds[0]}
      graph = _graph(spec, moment.params)
      if graph is not None:
        out += _matrix_rows(graph[0], label, 'graph', 'link')
      if moment.last:
        own = jax.tree.map(lambda x: x[0], moment.params)
        out += _pictures(env, learners[spec].policy, own, config, label)
    return out

  return compare(
    config,
    games,
    algorithms,
    measure=measure,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
  )


def _pictures(env, policy, params, config, label):
  """Rows of an episode, of whom agents depend on, and of what they repeat."""
  key = jax.random.fold_in(jax.random.key(config.seeds[0]), _PICTURE)
  record = jax.device_get(agents.record_episode(env, policy, params, key=key))
  out = [label | {'split': 'frames'} | row for row in agents.frame_rows(record)]
  if jax.tree.leaves(params):
    found = jax.jit(
      lambda p: agents.saliency(
        env, policy, p, key=key, num_steps=min(4, env.max_steps)
      )
    )(params)
    out += _matrix_rows(np.asarray(found), label, 'saliency', 'saliency')
  if env.name == 'iterated_dilemma':
    rates, seen = agents.rates_by_context(env, policy, params, key=key)
    shown = zip(('start', 'CC', 'CD', 'DC', 'DD'), rates.T, seen.T, strict=True)
    for context, rate, count in shown:
      for i in range(env.num_agents):
        row = {'split': 'contexts', 'context': context, 'agent': i}
        row |= {'cooperation': float(rate[i]), 'count': float(count[i])}
        out.append(label | row)
  return out


def _graph(spec, params):
  """The learned graphs bool[S, N, N] of a variant, or None."""
  talk = params.get('talk', {}) if isinstance(params, dict) else {}
  if 'scores' not in talk:
    return None
  text = agents.ALGORITHMS.value(spec, 'communication')
  num_edges = agents.COMMUNICATIONS.value(text, 'num_edges')
  return np.asarray(agents.communication.links_of(params, num_edges))


def _gap(graph):
  """Spectral gap of even weights over oneself and whom one hears."""
  w = np.float64(graph) + np.eye(len(graph))
  w /= w.sum(axis=1, keepdims=True)
  return 1.0 - mixing.spectra.second_eigenvalue(w)


def _matrix_rows(matrix, label, split, metric):
  return [
    label | {'split': split, 'receiver': i, 'sender': j, metric: float(x)}
    for i, row in enumerate(matrix)
    for j, x in enumerate(row)
  ]


def draw(config: Config, rows, directory):
  """Draws learning curves, an episode, and who listens to whom.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  line = functools.partial(
    plots.lines, title=config.game, x='env_steps', xlabel='Steps of games'
  )
  env = agents.make_game(config.game)
  names = ['return', 'length', *(name for name, _ in env.facts)]
  wanted = [*names, *(f'greedy_{name}' for name in names), 'links', 'bits']
  wanted += ['gate', 'graph_gap']
  tests = [r for r in rows if r['split'] == 'test']
  paths = [
    line(rows, directory / f'{name}.png', name)
    for name in wanted
    if any(name in r for r in tests)
  ]
  there = {r['split'] for r in rows}
  last = [r for r in tests if r['variant'] == config.algorithms[-1]]
  if 'frames' in there and last:
    who = last[-1]['variant']
    paths += [
      plots.frames(rows, directory / 'episode.png', variant=who),
      plots.animation(rows, directory / 'episode.gif', variant=who),
    ]
  for split, metric, by in (
    ('saliency', 'saliency', 'variant'),
    ('graph', 'link', 'step'),
  ):
    if split in there:
      paths.append(
        plots.matrices(
          rows, directory / f'{split}.png', metric, split=split, by=by
        )
      )
  if 'contexts' in there:
    path = directory / 'contexts.png'
    options = {'split': 'contexts', 'group': 'context'}
    paths.append(plots.bars(rows, path, 'cooperation', **options))
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
