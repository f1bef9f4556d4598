# SPDX-License-Identifier: Apache-2.0
r"""Associative networks: how many diluted patterns does one state retrieve?

Patterns have blank entries, so that neurons which one leaves free serve others.
Protocols know the patterns (`storing`), learn from noisy examples with a
teacher (`supervised`) or without (`unsupervised`), or know full patterns on few
couplings (`diluted_bonds`, the baseline that does one at a time). A round is a
sweep of Glauber dynamics; overlaps are averaged after `--burn_in` and stand
beside the theory of infinitely many neurons. One sweep of `--sweeps` draws
overlaps along it, two a portrait.

Example: python -m experiments.multitasking --num_patterns=2 \
  --sweeps='dilution((0.1, 0.3, 0.5, 0.7, 0.9))' --protocols=storing
"""

import dataclasses
import functools
import re

import jax

from jaxdl import plots
from jaxdl.core import clients
from jaxdl.experiment import config as config_lib, runner
from jaxdl.theory import associative

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of multitasking networks; a round is a sweep."""

  num_rounds: int = knob(100, 'Sweeps of Glauber dynamics.', low=0, smoke=6)
  eval_every: int = knob(5, 'Sweeps between rows.', low=1, smoke=2)
  burn_in: int = knob(
    40, 'Sweeps before overlaps are averaged.', low=0, smoke=2
  )
  num_neurons: int = knob(20_000, 'Neurons N.', low=1, smoke=400)
  num_patterns: int = knob(3, 'Patterns K.', low=1, smoke=3)
  dilution: float = knob(
    0.4, 'Share of blank entries d.', low=0.0, high=1.0, open_high=True
  )
  temperature: float = knob(0.1, 'Temperature T.', low=0.0)
  protocols: tuple[str, ...] = knob(
    ('storing', 'supervised', 'unsupervised'),
    'Networks to compare.',
    registry=associative.PROTOCOLS,
  )
  quality: float = knob(
    0.6,
    'Quality of examples r: entries are right with chance (1 + r) / 2.',
    low=0.0,
    high=1.0,
    open_low=True,
    needs={'protocols': ('supervised', 'unsupervised')},
  )
  num_examples: int = knob(
    20,
    'Examples of each pattern M.',
    low=1,
    smoke=5,
    needs={'protocols': ('supervised', 'unsupervised')},
  )
  start: str = knob(
    'hierarchical', 'State before the first sweep.', registry=associative.STARTS
  )
  num_blocks: int = knob(
    100,
    'Blocks of neurons that turn one after the other; N for one at a time.',
    low=1,
    smoke=20,
  )
  samples: int = knob(1, 'Networks of each seed, side by side.', low=1, smoke=2)
  sweeps: tuple[str, ...] = knob(
    (),
    'What is varied, in all combinations.',
    registry=associative.SWEEPS,
    smoke=lambda sweeps: tuple(map(associative.small_sweep, sweeps)),
  )

  def validate(self) -> None:
    """Builds all settings, which checks their numbers."""
    super().validate()
    config_lib.check_different(self.protocols, name='protocols')
    with config_lib.naming(sweeps=self.sweeps or None):
      settings = self.settings()
    for protocol in self.protocols:
      with config_lib.naming(protocols=protocol):
        for setting in settings:
          associative.setting_of(protocol, setting)
    if self.num_neurons % self.num_blocks:
      raise ValueError(
        f'num_blocks={self.num_blocks} must divide '
        f'num_neurons={self.num_neurons}.'
      )

  def settings(self) -> list[associative.Setting]:
    """What is looked at."""
    base = associative.Setting(
      self.num_patterns,
      self.dilution,
      self.temperature,
      self.quality,
      self.num_examples,
    )
    return associative.make_settings(base, self.sweeps)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; draws the networks but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  runs = {
    protocol: associative.retrieval(
      protocol,
      config.settings(),
      associative.sample_keys(config.seeds, config.samples),
      num_neurons=config.num_neurons,
      start=config.start,
      num_blocks=config.num_blocks,
      mesh=clients.clients_mesh() if jax.device_count() > 1 else None,
    )
    for protocol in config.protocols
  }

  def step(states, number):
    measured = number > config.burn_in
    moved = {p: r.step(states[p], number, measured) for p, r in runs.items()}
    return moved, {}

  def rows(states, metrics, number):
    del metrics
    out = []
    for protocol, run in runs.items():
      out += associative.report(
        run,
        states[protocol],
        protocol=protocol,
        seeds=config.seeds,
        step=number,
        last=number == config.num_rounds,
      )
    return out

  return runner.Experiment(
    init=lambda: {p: r.init() for p, r in runs.items()},
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config),),
    table=associative.table,
  )


def draw(config: Config, rows, directory):
  """Draws overlaps over sweeps, levels or what is varied; losses.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  sweeps = [associative.SWEEPS.make(s) for s in config.sweeps]
  ended = [r for r in rows if r['step'] == config.num_rounds]
  varied = {s.column for s in sweeps}
  fixed = {'K': 'num_patterns', 'd': 'dilution', 'T': 'temperature'}
  title = ', '.join(
    [f'N = {config.num_neurons:,}']
    + [f'{k} = {ended[0][v]:g}' for k, v in fixed.items() if v not in varied]
  )
  line = functools.partial(plots.lines, split='level', title=title)
  paths = []
  for protocol in config.protocols:
    own = [r for r in ended if r['variant'] == protocol]
    suffix = re.sub(r'\W+', '_', protocol).strip('_')
    if len(sweeps) == 1:
      paths.append(
        line(
          associative.levels(own),
          directory / f'{sweeps[0].column}_{suffix}.png',
          'overlap',
          by='name',
          x=sweeps[0].column,
          xlabel=sweeps[0].caption,
          ylabel='Overlap',
          title=f'{protocol}\n{title}',
        )
      )
    for split in ('test', 'theory') if len(sweeps) == 2 else ():
      if any(r['split'] == split for r in own):
        columns = [s.column for s in sweeps]
        found = associative.portrait(own, 'num_retrieved', columns, split)
        paths.append(
          plots.heat_map(
            *found,
            directory / f'portrait_{suffix}_{split}.png',
            low=0.0,
            label='Patterns retrieved',
            ylabel=sweeps[0].caption,
            xlabel=sweeps[1].caption,
            title=f'{protocol}{", theory" * (split == "theory")}: {title}',
          )
        )
  # The first setting of those that are varied.
  first = [r for r in rows if r['point'] == '0']
  over_time = [
    r | {'variant': f'{r["variant"]}, {r["name"]}'}
    for r in associative.levels(
      [r for r in first if r['split'] == 'test'], now=True
    )
  ]
  sweep = {'xlabel': 'Sweep', 'ylabel': 'Overlap'}
  path = directory / 'overlaps.png'
  paths.append(line(over_time, path, 'overlap', **sweep))
  # Seeds have other energies at the same sweep.
  tested = [r for r in first if r['seed'] == config.seeds[0]]
  paths.append(
    plots.lines(
      tested,
      directory / 'loss_energy.png',
      'loss',
      x='energy',
      xlabel='Energy of a neuron',
      ylabel='Sum over patterns of products of losses',
      title=title,
    )
  )
  if config.num_patterns > 1:
    at_end = associative.levels([r for r in first if r in ended])
    # Below are zeros of theory, as they were iterated.
    at_end = [r for r in at_end if r['overlap'] > 1e-6]
    path = directory / 'levels.png'
    level = {'xlabel': 'Level k', 'ylabel': 'Overlap m_k', 'log_y': True}
    paths.append(line(at_end, path, 'overlap', x='level', **level))
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
