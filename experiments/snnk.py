# SPDX-License-Identifier: Apache-2.0
r"""Layers as dot products of random features: what do they save and cost?

A layer f(w.x + b) becomes Psi(w, b) . Phi(x), with inputs and weights mapped
apart. Tasks: `kernel` measures the error of the estimate; `bundled` merges all
layers into one matrix fitted in closed form, beside a network trained by
gradients; `scratch` trains such layers, beside low-rank and random Fourier ones
of equal size; `adapter` moves a frozen network to turned or inverted images;
`uptrain` converts trained layers and trains on; `language` puts adapters into a
pretrained transformer (`--dataset=sentiment`).

Example: python -m experiments.snnk --task='adapter(transfer=invert)' \
  --num_rf=4,16
"""

import dataclasses
import functools

import numpy as np

from jaxdl import federated, local, networks, plots, problems
from jaxdl.core import registry
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.networks import features, functional

knob = runner.knob


TASKS = problems.LAYER_TASKS
# Their layers are merged, adapted and converted.
NETWORKS = registry.Registry(
  'network', {'mlp': networks.NETWORKS['mlp']}, given=('num_outputs',)
)


def small(task: str) -> str:
  """Lowers the options of a task for small runs."""
  most = dict(depth=2, bundle_depth=1, pretrain_rounds=20, num_draws=100)
  own = TASKS.options(registry.parse(task).name)
  low = {k: min(TASKS.value(task, k), v) for k, v in most.items() if k in own}
  return TASKS.changed(task, **low) if low else task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.TextConfig):
  """Knobs of random-feature layers."""

  task: str = knob('bundled', 'What is done.', registry=TASKS, smoke=small)
  features: str = knob(
    'relu',
    'The activation that features stand for, and how they are drawn.',
    registry=features.FEATURES,
  )
  num_rf: tuple[int, ...] = knob(
    (), 'Random features m, one or several; those of the task if none.', low=1
  )
  num_clients: int = knob(
    1, 'Clients that hold the data; they are pooled exactly.', low=1
  )
  input_length: float = knob(
    2.2,
    'Root mean square length of the inputs, which are centered; 0 leaves them '
    'as they are.',
    low=0.0,
  )
  network: str = knob(
    'mlp(128, kernel_init=glorot)',
    'The ordinary network.',
    registry=NETWORKS,
  )
  optimizer: str = knob(
    'adam(0.003)', 'Of what is trained.', registry=local.OPTIMIZERS
  )
  num_rounds: int = knob(1500, 'Steps of the optimizer.', low=0)
  eval_every: int = knob(100, 'Rounds between evaluations.', low=1)
  batch_size: int = knob(64, 'Examples per client and round.', low=1)

  @property
  def facts(self) -> problems.LayerFacts:
    """What is known about the task."""
    return registry.facts(TASKS[TASKS.part(self.task).name])

  @property
  def sizes(self) -> tuple[int, ...]:
    """Numbers of random features."""
    return self.num_rf or self.facts.num_features

  @property
  def hidden_sizes(self) -> tuple[int, ...]:
    """Widths of the ordinary network."""
    sizes = NETWORKS.value(self.network, 'hidden_sizes')
    return functional.check_sizes(sizes, 'hidden_sizes')

  @property
  def num_dealt(self) -> int:
    """Data are checked when they are loaded."""
    return 0

  def ineffective(self) -> dict[str, str]:
    """Kernels are estimated without data and rounds, texts have no length."""
    if self.facts.trains:
      why = {'input_length': 'texts are read as they are'}
      return super().ineffective() | (why if self.is_text else {})
    names = {*config_lib.own_names(Config), 'num_rounds', 'eval_every'}
    return dict.fromkeys(names - {'task', 'num_rf'}, 'kernels need no data')

  def validate(self) -> None:
    """Checks sizes, features and layers."""
    super().validate()
    config_lib.check_different(self.sizes, name='num_rf')
    self.facts.check(self.task, self.dataset)
    features.FEATURES.make(self.features)
    _ = self.hidden_sizes  # Refuses networks without any.

  def smoked(self) -> 'Config':
    """Two sizes, of transformers one."""
    sizes = self.sizes[: 1 if self.is_text else 2]
    return dataclasses.replace(super().smoked(), num_rf=sizes)

  def problem(self, **changes):
    """Builds the problem of the knobs, with scaled inputs."""
    if self.is_text:
      return super().problem(**changes)
    own = self.arguments | {'input_length': self.input_length}
    return problems.scaled_examples(**(own | changes))


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """

  def pretrain(num_rounds):
    first = config.problem(seeds=config.seeds[:1])
    return problems.pretrained(
      first, num_rounds, optimizer=config.optimizer, l2=config.l2
    )

  task = config.task
  if config.smoke and config.is_text:
    # Each rival is a transformer to compile; a task that names some keeps them.
    named = registry.parse(task).options.get('rivals', ('bitfit',))
    task = TASKS.changed(task, rivals=named)
  made = TASKS.make(
    task,
    make_problem=config.problem,
    pretrain=pretrain,
    features=features.FEATURES.make(config.features),
    sizes=config.sizes,
    hidden_sizes=config.hidden_sizes,
    activation=NETWORKS.value(config.network, 'activation'),
    seeds=config.seeds,
  )
  if not config.facts.trains:
    return made
  optimizer = features.trained_only(
    local.make_optimizer(config.optimizer, num_steps=config.num_rounds)
  )
  own = {
    name: made.fit(made.problem, c.network, l2=config.l2)
    for name, c in made.candidates.items()
  }
  return compare(
    config,
    own,
    {
      name: federated.centralized_sgd(problem.task, optimizer=optimizer)
      for name, problem in own.items()
    },
    extra_rows=made.rows,
    columns=made.columns,
    plots=(functools.partial(draw, config),),
    table=lambda rows: runner.table_by('num_trained')(made.final(rows)),
  )


def draw(config: Config, rows, directory):
  """Draws quality over trained numbers and over rounds.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.facts.title}: {config.dataset}'
  transfer = TASKS.value(config.task, 'transfer')
  title += f', {transfer}' if transfer else ''
  ended = problems.LayerComparison.final(rows)
  regression = 'r2' in ended[0]
  labels = {
    'accuracy': 'Test accuracy',
    'r2': 'Explained variance on test examples',
    'mse': 'Squared error to one-hot labels',
    'loss': 'Test squared error' if regression else 'Test cross-entropy',
  }
  look = {'by': 'family', 'x': 'num_trained', 'log_x': True, 'title': title}
  look['xlabel'] = 'Trained numbers'
  paths = [
    plots.lines(
      ended,
      directory / f'{name}.png',
      name,
      split='final',
      ylabel=label,
      **look,
    )
    for name, label in labels.items()
    if name in ended[0]
  ]
  quality = 'r2' if regression else 'accuracy'
  # The start would set the scale.
  later = [r for r in rows if r['split'] == 'test' and r['step']]
  closed = {}
  for row in rows:
    if row['variant'].startswith('closed form'):
      closed.setdefault(row['variant'], []).append(row[quality])
  means = {name: float(np.mean(values)) for name, values in closed.items()}
  best = max(means, key=means.get, default=None)
  if later:
    drawn = {r['variant'] for r in later}
    of = f' of the {drawn.pop()}' if len(drawn) == 1 else ''
    paths.append(
      plots.lines(
        later,
        directory / 'rounds.png',
        quality,
        xlabel='Step of the optimizer',
        ylabel=labels[quality] + of,
        title=title,
        reference=None if best is None else {best: means[best]},
      )
    )
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
