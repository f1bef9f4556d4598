# SPDX-License-Identifier: Apache-2.0
r"""When should decentralized learners talk, and what does one merge recover?

Clients with different data train on their own and gossip a little; from time to
time, and at the end, the average of all models is tested as well. Variants run
side by side on the same batches: `gossip` (as --gossip says), `server` (exact
average in every round), `alone` and `soup` (no communication, from different or
equal starts), `early`, `late` and `window(k)` (dense rounds in one window,
gossip elsewhere; `windows` stands for all of them), `periodic` (an exact
average now and then).

Example: python -m experiments.single_merging \
  --variants=windows --gossip='pull(rate=0.2, window=0.1)'
"""

import dataclasses
import functools

import jax

from jaxdl import decentralized, local, plots, problems
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.mixing import talks

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.MixtureConfig):
  """Knobs of single merging."""

  num_rounds: int = knob(60, 'Rounds.', low=0)
  eval_every: int = knob(6, 'Rounds between evaluations.', low=1)
  num_clients: int = knob(16, 'Clients.', low=1, smoke=8)
  partition: str = knob(
    'overlapping_dirichlet(alpha=0.1, samples_per_client=256)',
    'Where examples come from: resample draws from all by mixtures of classes, '
    'fixed does so once, partitions deal them.',
    registry=problems.SAMPLINGS,
  )
  batch_size: int = knob(32, 'Examples per client and local step.', low=1)
  local_steps: int = knob(20, 'Local steps per round.', low=1, smoke=2)
  variants: tuple[str, ...] = knob(
    ('server', 'gossip', 'alone', 'soup', 'early', 'late'),
    'What to compare.',
    registry=talks.VARIANTS,
  )
  gossip: str = knob(
    'pull',
    'Who talks to whom; rate and dense count neighbors, dense is for windows '
    'and ends, None for all.',
    registry=talks.TALKS,
  )
  final_merge: str = knob(
    'exact', 'What happens after the end.', registry=problems.merging.MERGES
  )
  optimizer: str = knob(
    'sgd(0.1, momentum=0.9)', "The clients'.", registry=local.OPTIMIZERS
  )
  label_smoothing: float = knob(
    0.0, 'Share of each label spread over all classes.', low=0.0, high=1.0
  )
  same_start: bool = knob(False, 'Whether all clients start from one draw.')
  measures: tuple[str, ...] = knob(
    ('sharpness', 'landscape'),
    'What is measured besides.',
    registry=problems.merging.MERGE_MEASURES,
  )
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  @functools.cached_property
  def mixers(self):
    """The mixer of every variant, `windows` written out."""
    return talks.make(
      self.variants, self.gossip, self.num_clients, max(self.num_rounds, 1)
    )

  def validate(self) -> None:
    """Builds every mixer, which checks rates, graphs and windows."""
    super().validate()
    config_lib.check_square(self.num_clients)
    config_lib.check_different(self.variants, name='variants')
    config_lib.check_different(tuple(self.mixers), name='variants')
    problems.merging.MERGES.make(self.final_merge)

  def smoked(self) -> 'Config':
    """A few short rounds of two variants."""
    chosen = tuple(self.mixers)[:2]
    small = dataclasses.replace(super().smoked(), variants=chosen)
    return dataclasses.replace(
      small, measures=problems.merging.small_landscape(self.measures, chosen, 7)
    )


def make_tests(config: Config) -> problems.merging.MergeTests:
  """Deals the data and says what is measured.

  Args:
    config: knobs.

  Returns:
    The tests, with the problem.
  """
  merge = problems.merging.MERGES.make(config.final_merge)
  return problems.merging.MergeTests(
    problem=config.problem(
      batch_shape=(config.local_steps, config.batch_size),
      label_smoothing=config.label_smoothing,
    ),
    batch_size=config.batch_size,
    num_batches=merge.num_batches,
    final_rounds=merge.rounds,
    align=merge.align,
    passes=merge.passes,
    sharpness='sharpness' in config.measures,
    chunk=config.chunk or None,
  )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  tests = make_tests(config)
  algorithms = {
    variant: decentralized.local_then_gossip(
      tests.problem.task,
      mixer,
      config.clients(even=True),
      optimizer=local.make_optimizer(
        config.optimizer, num_steps=config.num_rounds * config.local_steps
      ),
      same_start=variant == 'soup' or config.same_start,
    )
    for variant, mixer in config.mixers.items()
  }

  of, resolution = problems.merging.landscape_of(config.measures)

  def measure(values, moment):
    values['test']['messages'] = jax.device_get(moment.state.num_messages)

  def extra_rows(moments):
    return [
      row
      for moment in moments
      if moment.last
      for row in tests.last_rows(
        moment,
        merge=problems.merging.MERGES.part(config.final_merge).name != 'none',
        resolution=resolution if moment.variant.name in of else 0,
      )
    ]

  return compare(
    config,
    tests.problem.replace(
      evaluate_clients=tests.measure, reliability=tests.problem.reliability
    ),
    algorithms,
    measure=measure,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
  )


def draw(config: Config, rows, directory):
  """Draws accuracy, disagreement, messages and the loss between models.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.dataset}: {config.num_clients} clients, {config.partition}'
  accuracy = {'ylim': (0.0, 1.0)}
  average = {'ylabel': 'Test accuracy of the average'} | accuracy
  mean = {'ylabel': 'Mean test accuracy of the models'} | accuracy
  apart = {'log_y': True, 'floor': plots.rounding(2)}
  bent = {'ylabel': 'Gradient . gradient of Tr(Hessian covariance)'}
  sent = {'x': 'messages', 'log_x': True, 'xlabel': 'Models sent'} | average
  talking = [r for r in rows if r.get('messages') and r['split'] == 'test']
  paths = [
    plots.lines(found, directory / f'{name}.png', metric, title=title, **look)
    for found, name, metric, look in (
      (rows, 'accuracy', 'accuracy', mean),
      (rows, 'merged_accuracy', 'merged_accuracy', average),
      (rows, 'consensus', 'consensus', {'ylabel': 'Consensus error'} | apart),
      (talking, 'messages', 'merged_accuracy', sent),
      (rows, 'alignment', 'alignment', bent),
    )
    if any(metric in r for r in found)
  ]
  if any(row['split'] == 'final' for row in rows):
    paths.append(
      plots.bars(
        rows,
        directory / 'final_merge.png',
        'accuracy',
        split='final',
        by='stage',
        group='variant',
        ylabel='Test accuracy',
        title=f'{title}, final merge: {config.final_merge}',
        ylim=(0.0, 1.0),
      )
    )
  if any(row['split'] == 'landscape' for row in rows):
    paths.append(
      plots.polygon(
        rows,
        directory / 'landscape.png',
        'loss',
        label='Test loss',
        title=title,
      )
    )
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
