# SPDX-License-Identifier: Apache-2.0
r"""Federated reconnaissance: learn new classes in the field, forget none.

An encoder is trained once on base classes. A round is a mission: clients meet
a few new classes each, learn them, and return; the server merges what they
bring. Methods run side by side on the same missions: `protonet` (means of
embeddings, merged by numbers of examples; `merge=reference` as in the authors'
code, `merge=unweighted` by number of clients), `pixels` and `random` (the same
without a trained encoder), `lda` (means and one covariance), and heads that are
trained: `lower` (on the mission alone), `icarl` (keeps examples), `upper` (anew
on all that was seen).

Example: python -m experiments.reconnaissance \
  --methods='protonet,protonet(merge=reference),lower' \
  --protocol='missions(num_clients=5, classes=5, shots=3)'
"""

import dataclasses
import functools

from jaxdl import data, networks, plots, problems
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.federated import prototypes

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config_lib.BaseConfig):
  """Knobs of federated reconnaissance; a round is a mission."""

  num_rounds: int = knob(
    22, 'Missions; those after the last example are empty.', low=1, smoke=3
  )
  eval_every: int = knob(1, 'Missions between evaluations.', low=1)
  dataset: str = knob(
    'glyphs',
    'Data set; those of files need --data_dir. The first classes are base '
    'classes, the last ones field classes.',
    registry=data.DATASETS,
  )
  data_dir: str = knob('', 'Folder of the data files.')
  num_base: int = knob(200, 'Classes that train the encoder.', low=1)
  num_field: int = knob(
    0, 'Classes that missions meet; 0 for all others.', low=0
  )
  base_memory: bool = knob(
    False, 'Whether base classes are known from the start, and tested too.'
  )
  protocol: str = knob(
    'missions',
    'Who meets what: random classes in each mission, or (cil) one client every '
    'class once.',
    registry=prototypes.PROTOCOLS,
  )
  embedding: str = knob(
    'conv_embedding',
    'Encoder.',
    registry=networks.EMBEDDINGS,
    smoke='mlp(32, 16)',
  )
  training: str = knob(
    'episodic',
    'How the encoder is trained on base classes.',
    registry=prototypes.TRAININGS,
    smoke=lambda spec: _small_training(spec),
  )
  methods: tuple[str, ...] = knob(
    ('protonet', 'protonet(merge=reference)', 'lower', 'pixels', 'random'),
    'What to compare.',
    registry=prototypes.METHODS,
    smoke=3,
  )
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  def validate(self) -> None:
    """Checks the place of files, and that methods differ."""
    super().validate()
    if data.needs_files(self.dataset) and not self.data_dir:
      raise ValueError(
        f'dataset={self.dataset} is read from local files: give --data_dir.'
      )
    if self.data_dir and not data.needs_files(self.dataset):
      raise ValueError(
        f'data_dir={self.data_dir} has no effect on dataset={self.dataset}, '
        'which is not read from files: leave it out.'
      )
    config_lib.check_different(self.methods, name='methods')


def _small_training(spec: str) -> str:
  """A few small episodes."""
  if spec == 'none':
    return spec
  low = {'episodes': 10, 'ways': 5, 'shots': 2, 'queries': 2, 'patience': 1}
  if prototypes.TRAININGS.value(spec, 'fewest_shots') is not None:
    low['fewest_shots'] = 2
  return config_lib.set_low(spec, **low)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment: reads or draws data and trains the encoder.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  problem = problems.reconnaissance(
    config.dataset,
    protocol=config.protocol,
    num_missions=config.num_rounds,
    embedding=config.embedding,
    training=config.training,
    num_base=config.num_base,
    num_field=config.num_field or None,
    base_memory=config.base_memory,
    methods=config.methods,
    data_dir=config.data_dir or None,
    seeds=config.seeds,
  )
  field = problem.field
  algorithms = {
    spec: prototypes.field_learning(
      prototypes.METHODS.make(spec, field),
      config.clients(problem.num_clients),
      test_labels=field.test_labels,
      base=field.base,
    )
    for spec in config.methods
  }

  def measure(values, moment):
    del moment
    values['test'] |= values.pop('train', {})

  return compare(
    config,
    problem,
    algorithms,
    measure=measure,
    plots=(functools.partial(draw, config),),
    table=table,
  )


def table(rows):
  """Compares the methods after the last mission.

  Args:
    rows: rows of a run.

  Returns:
    Columns and cells; means over the seeds, bytes of a mission that met
    anything.
  """
  columns = ['method', 'classes', 'accuracy', 'forgetting']
  columns += ['prototype error', 'kB up', 'kB down']
  cells = []
  for method in dict.fromkeys(row['variant'] for row in rows):
    own = [r for r in rows if r['variant'] == method and 'accuracy' in r]
    last = plots.last_rows(own) if own else []
    busy = [r for r in own if r['num_examples'] > 0]
    if not last or not busy:
      continue
    mean = lambda name, rows=last, by=1.0: f'{_mean(rows, name) / by:.4g}'
    error = mean('prototype_error') if 'prototype_error' in last[0] else '-'
    cells.append(
      (
        method,
        *(mean(name) for name in ('num_known', 'accuracy', 'forgetting')),
        error,
        mean('bytes_up', busy, 1e3),
        mean('bytes_down', busy, 1e3),
      )
    )
  return columns, cells


def _mean(rows, name):
  return sum(row[name] for row in rows) / len(rows)


def draw(config: Config, rows, directory):
  """Draws accuracies, what is forgotten, and what is sent.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.dataset}, {config.protocol}'
  tested = [r for r in rows if r.get('num_examples', 0) > 0]
  known = plots.aligned(tested, 'num_known')
  share = {'ylim': (0.0, 1.0)}
  by_classes = {'x': 'num_known', 'xlabel': 'Known classes'} | share
  mission = {'xlabel': 'Mission'}
  return [
    plots.lines(found, directory / f'{name}.png', name, title=title, **look)
    for found, name, look in (
      (known, 'accuracy', by_classes | {'ylabel': 'Accuracy, known classes'}),
      (
        rows,
        'overall_accuracy',
        mission | share | {'ylabel': 'Accuracy, all classes'},
      ),
      (
        rows,
        'base_accuracy',
        mission | share | {'ylabel': 'Accuracy, base classes'},
      ),
      (
        tested,
        'client_new',
        mission | share | {'ylabel': "Accuracy of clients' new classes"},
      ),
      (tested, 'forgetting', mission | {'ylabel': 'Lost since the best'}),
      (
        tested,
        'bytes_up',
        mission | {'ylabel': 'Sent by the clients (bytes)', 'log_y': True},
      ),
    )
    if any(name in r for r in found)
  ]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
