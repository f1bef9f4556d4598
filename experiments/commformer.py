# SPDX-License-Identifier: Apache-2.0
r"""Whom must an agent hear? Transformers on a graph that is learned.

Agents act one after another by attention that runs along a directed graph: k
learned edges for each agent (`learned`), all (`full`, or `mat` without
embeddings of pairs), k random ones, or none (`self`). Variants train side by
side by PPO, the graph in turns with the model; tests are whole episodes on the
exact graph. Learned edges are kept over time, drawn, and measured as a matrix
by which agents would average.

Example: python -m experiments.commformer --game='predator_prey(vision=0)' \
  --variants='full,learned(sparsity=0.4)@former(temporal_gate=True),self' \
  --learner='ppo(num_envs=20, num_steps=200, num_epochs=10, clip=0.05)'
"""

import dataclasses
import functools
import textwrap

import numpy as np

from jaxdl import agents, mixing, plots, problems
from jaxdl.agents import commformer
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob
SMALL = {'num_envs': 4, 'num_steps': 4, 'num_epochs': 5}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config_lib.BaseConfig):
  """Knobs of agents on a graph."""

  num_rounds: int = knob(50, 'Rounds.', low=0, smoke=2)
  steps: int = knob(10, 'Updates in a round.', low=1, smoke=1)
  eval_every: int = knob(5, 'Rounds between evaluations.', low=1, smoke=1)
  game: str = knob('routing', 'Game.', registry=agents.games.ALL_GAMES)
  variants: tuple[str, ...] = knob(
    ('learned(num_edges=1, warmup=80, learning_rate=0.03)', 'full', 'self'),
    'Who listens to whom, graph or graph@former(...).',
    registry=commformer.VARIANTS,
    smoke=1,
  )
  network: str = knob(
    'former(dim=32)', 'Of graphs without one.', registry=commformer.FORMERS
  )
  learner: str = knob(
    'ppo(adam(0.001), num_envs=256, num_steps=1, num_epochs=5, clip=0.2)',
    'How they are trained.',
    registry=commformer.LEARNERS,
  )
  num_episodes: int = knob(64, 'Episodes of a test.', low=1, smoke=4)
  modes: tuple[str, ...] = knob(
    ('greedy', 'sampled'),
    'Actions in tests.',
    choices=problems.games.MODES,
    smoke=1,
  )

  def validate(self) -> None:
    """Makes the agents."""
    config_lib.check_different(self.variants, name='variants')
    config_lib.check_different(self.modes, name='modes')
    if not agents.games.needs_peer(self.game):  # Which may not be there.
      config_lib.without_device(self.learners)

  def smoked(self) -> 'Config':
    """Small networks and few steps as well."""
    small = super().smoked()
    model = commformer.FORMERS.changed(small.network, dim=8)
    learner = commformer.LEARNERS.changed(small.learner, **SMALL)
    return dataclasses.replace(small, network=model, learner=learner)

  def learners(self):
    """Returns the game, and by name agents and their learners."""
    with config_lib.naming(game=self.game if '+' in self.game else None):
      env = agents.make_game(self.game)
    made, algorithms = {}, {}
    for spec in self.variants:
      network = None if '@' in spec else self.network
      with config_lib.naming(variants=spec, network=network):
        made[spec] = commformer.make_former(
          spec, env, network=self.network, name='variants'
        )
      algorithms[spec] = commformer.LEARNERS.make(
        self.learner,
        env,
        made[spec],
        total_updates=max(1, self.num_rounds * self.steps),
      )
    return env, made, algorithms


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  env, made, algorithms = config.learners()
  several = {
    spec: problems.games.games(
      env,
      own.policy,
      num_episodes=config.num_episodes,
      modes=config.modes,
      seeds=config.seeds,
    )
    for spec, own in made.items()
  }
  value = functools.partial(commformer.LEARNERS.value, config.learner)
  size = value('num_envs') * value('num_steps')

  def graphs(moment):
    own = made[moment.variant.name]
    edges = np.asarray(moment.params['edges'])
    return edges, np.stack([own.hard_graph({'edges': row}) for row in edges])

  def measure(values, moment):
    edges, hard = graphs(moment)
    spec, found = moment.variant.name, values['test']
    # As if agents averaged over whom they hear, themselves among them.
    heard = hard | np.eye(env.num_agents, dtype=bool)
    matrices = heard / heard.sum(axis=-1, keepdims=True)
    moved = made[spec].graph.is_learned * np.abs(edges - 1.0).max(axis=(1, 2))
    found['edges_moved'] = moved
    trained = values.get('train', {}) | {'edges_moved': moved}
    done = moment.round * config.steps
    agents.check_finite(trained, update=done, variant=spec)
    for name in ('consensus_factor', 'second_eigenvalue'):
      of = getattr(mixing.spectra, name)
      found[name] = np.array([of(w) for w in matrices])
    for part in values.values():
      part['env_steps'] = np.full(len(config.seeds), float(done * size))

  def extra_rows(moments):
    out = []
    for moment in moments:
      if not made[moment.variant.name].graph.is_learned and not moment.last:
        continue
      edges, hard = graphs(moment)
      label = {'variant': moment.variant.name, 'split': 'graph'}
      for i, j in np.ndindex(edges.shape[1:]):
        out += [
          label
          | {'step': moment.round, 'seed': seed, 'receiver': i, 'sender': j}
          | {'edge': float(edges[s, i, j]), 'linked': float(hard[s, i, j])}
          for s, seed in enumerate(config.seeds)
        ]
    return out

  return compare(
    config,
    several,
    algorithms,
    steps=config.steps,
    measure=measure,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
  )


def learned_graph(rows, variant: str, seed: int, column: str = 'linked'):
  """Returns a graph over time.

  Args:
    rows: rows of a run.
    variant: of whom.
    seed: of which run.
    column: 'linked', or 'edge' for the numbers behind it.

  Returns:
    Rounds, and f[T, N, N], row = receiver.
  """
  whose = ('graph', variant, seed)
  own = [r for r in rows if (r['split'], r['variant'], r['seed']) == whose]
  times = sorted({r['step'] for r in own})
  n = 1 + max(r['receiver'] for r in own)
  out = np.zeros((len(times), n, n))
  place = {t: i for i, t in enumerate(times)}
  for r in own:
    out[place[r['step']], r['receiver'], r['sender']] = r[column]
  return times, out


def draw(config: Config, rows, directory):
  """Draws returns and messages over steps, and graphs.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  line = functools.partial(plots.lines, title=config.game)
  over = {'x': 'env_steps', 'xlabel': 'Steps of all games'}
  drawn = {
    'edges_moved': 'Largest change of an edge',
    'second_eigenvalue': 'Second eigenvalue of the exact graph',
    'step_links': 'Messages in a step of training',
  }
  for mode in config.modes:
    start = 'greedy_' if mode == 'greedy' else ''
    for figure in ('return', 'length', 'success', 'accuracy'):
      drawn[start + figure] = f'{figure.capitalize()}, {mode} actions'
  paths = []
  for name, label in drawn.items():
    split = 'train' if name.startswith('step_') else 'test'
    if any(name in r for r in rows if r['split'] == split):
      place = directory / f'{name}.png'
      paths.append(line(rows, place, name, ylabel=label, split=split, **over))
  seed, last = config.seeds[0], {}
  for i, name in enumerate(config.variants):
    times, hard = learned_graph(rows, name, seed)
    last[textwrap.fill(name, 28)] = hard[-1:]
    if len(times) < 2:
      continue
    _, edges = learned_graph(rows, name, seed, 'edge')
    pairs = [(a, b) for a, b in np.ndindex(hard.shape[1:]) if a != b]
    paths.append(
      plots.heat_map(
        np.stack([edges[:, a, b] for a, b in pairs]),
        [f'{a} hears {b}' for a, b in pairs],
        times,
        directory / f'edges_{i}.png',
        annotate=False,
        label='Edge',
        xlabel='Round',
        title=f'{name}, seed {seed}',
      )
    )
  place, title = directory / 'graphs.png', f'Who hears whom, seed {seed}'
  return [*paths, plots.draw_topologies(last, place, title=title)]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
