# SPDX-License-Identifier: Apache-2.0
r"""One hypernetwork for a family of problems: how should it be parametrized?

A parameter gamma is drawn for each batch; a hypernetwork makes the weights of
the network that solves the batch. Without care the scale of these weights, and
of gradients, follows that of gamma; `mip` gives gamma a constant norm and adds
what is made to weights of its own, `encoding` and `residual` do one of the two,
`default` neither. `film` makes scales and shifts alone, `separate` trains a
network for each part of the range, `single` one that does not see gamma.

Example: python -m experiments.hypernetworks --task=digits_family \
  --variants='default,default(norm=layer),residual,mip' --optimizer='adam(3e-4)'
"""

import dataclasses
import functools

from jaxdl import federated, local, plots
from jaxdl.core import types
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.networks import hyper
from jaxdl.problems import amortized

knob = runner.knob


def small_task(task: str) -> str:
  """Lowers the number of examples of a task for small runs."""
  most = {'num_train': 64, 'num_test': 16}
  return config_lib.lowered(task, **most)


def small_variants(specs: tuple[str, ...]) -> tuple[str, ...]:
  """Makes hypernetworks small."""
  out = []
  for spec in specs:
    name = hyper.PARAMETRIZATIONS.part(spec).name
    own = 'hidden_sizes' in hyper.PARAMETRIZATIONS.options(name)
    sizes = {'hidden_sizes': (8, 16)} if own else {}
    out.append(hyper.PARAMETRIZATIONS.changed(spec, **sizes))
  return tuple(dict.fromkeys(out))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config_lib.BaseConfig):
  """Knobs of hypernetworks; a round is some steps of the optimizer."""

  num_rounds: int = knob(40, 'Rounds.', low=0, smoke=3)
  steps_per_round: int = knob(50, 'Optimizer steps in a round.', low=1, smoke=2)
  eval_every: int = knob(5, 'Rounds between evaluations.', low=1)
  task: str = knob(
    'digits_family',
    'What is learned for all gammas; mnist is read from --data_dir.',
    registry=amortized.TASKS,
    smoke=small_task,
  )
  data_dir: str = knob('', 'Folder of the data files.')
  variants: tuple[str, ...] = knob(
    ('default', 'encoding', 'residual', 'mip'),
    'How gamma enters the network; options are those of hypernetworks.',
    registry=hyper.PARAMETRIZATIONS,
    smoke=small_variants,
  )
  optimizer: str = knob(
    'adam(3e-4)', 'Schedules span the run.', registry=local.OPTIMIZERS
  )
  batch_size: int = knob(32, 'Examples per step.', low=1, smoke=8)
  per_example: bool = knob(
    False, 'Draw a gamma for every example, not for every batch.'
  )
  num_gammas: int = knob(32, 'Gammas that are tested on.', low=1, smoke=3)

  def validate(self) -> None:
    """Checks files and variants."""
    super().validate()
    config_lib.check_different(self.variants, name='variants')
    needed = amortized.needs_files(self.task)
    if needed and not self.data_dir:
      raise ValueError(
        f'task={self.task} is read from local files: give --data_dir.'
      )
    if self.data_dir and not needed:
      raise ValueError(
        f'data_dir={self.data_dir} has no effect on task={self.task}, which is '
        'not read from files: leave it out.'
      )

  def problem(self) -> types.Problem:
    """Builds the problem of the knobs, for `mip`."""
    return amortized.problem(
      self.task,
      batch_size=self.batch_size,
      per_example=self.per_example,
      num_gammas=self.num_gammas,
      data_dir=self.data_dir or None,
      seeds=self.seeds,
    )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  first = config.problem()
  learned = {}
  for spec in config.variants:
    with config_lib.naming(variants=spec, task=config.task):
      learned[spec] = amortized.with_variant(first, spec)
  optimizer = local.make_optimizer(
    config.optimizer, num_steps=config.num_rounds * config.steps_per_round
  )

  def extra_rows(moments):
    return [
      row
      for m in moments
      if m.last or not m.round
      for row in amortized.weight_rows(
        m.variant.name,
        m.params,
        step=m.round,
        seeds=config.seeds,
        gamma_dim=first.test['task'].gamma_dim,
      )
    ]

  return compare(
    config,
    learned,
    {
      spec: federated.centralized_sgd(p.task, optimizer=optimizer)
      for spec, p in learned.items()
    },
    steps=config.steps_per_round,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config, first.ylabel),),
  )


def draw(config: Config, ylabel: str, rows, directory):
  """Draws the loss, the norms of gradients, and the spread of weights.

  Args:
    config: knobs.
    ylabel: of the loss.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.task}, {config.optimizer}'
  look = {'title': title, 'xlabel': f'Rounds of {config.steps_per_round} steps'}
  line = functools.partial(plots.lines, rows, **look)
  paths = [
    line(directory / 'loss.png', 'loss', ylabel=ylabel, log_y=True),
    line(
      directory / 'grad_norm.png',
      'grad_norm',
      split='train',
      ylabel='Norm of the gradient',
      log_y=True,
    ),
  ]
  if any('accuracy' in row for row in rows):
    paths.append(
      line(
        directory / 'accuracy.png',
        'accuracy',
        ylabel='Mean validation accuracy over gamma',
        ylim=(0.0, 1.0),
      )
    )
  start = [r for r in rows if r['split'] == 'weights' and not r['step']]
  if start:
    paths.append(
      plots.lines(
        start,
        directory / 'weights.png',
        'std',
        split='weights',
        x='gamma',
        xlabel='Gamma',
        ylabel='Deviation of a generated tensor at the start',
        title=title,
        log_y=True,
      )
    )
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
