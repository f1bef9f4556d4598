# SPDX-License-Identifier: Apache-2.0
r"""Gossip from unrelated starts: weights fade, unless their variance is kept.

Every client starts from its own random model, trains on one batch per tick,
sends its model to its neighbors and averages what it got. Methods run side by
side on the same batches: `plain` averages, `corrected` restores the variance of
what was received (or `target=self`, `beta`), `initial` restores that of the
start, `common_start` averages plainly from equal models, `sampled` sends a
random part of the coordinates, `federated` takes the exact average from equal
models, `alone` never talks.

Example: python -m experiments.vanishing_variance \
  --methods='federated,plain,corrected(strength=0.5)' --network='mlp((64, 64))'
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxdl import local, metrics, mixing, networks, plots, problems
from jaxdl.decentralized import merging
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.MixtureConfig):
  """Knobs of vanishing variance; a round is a tick."""

  num_rounds: int = knob(150, 'Ticks.', low=0)
  eval_every: int = knob(5, 'Ticks between evaluations.', low=1)
  num_clients: int = knob(50, 'Clients.', low=1, smoke=8)
  partition: str = knob(
    'resample(alpha=inf)',
    'Where examples come from: resample draws from all by mixtures of classes, '
    'fixed does so once, partitions deal them.',
    registry=problems.SAMPLINGS,
  )
  network: str = knob(
    'mlp((64, 64, 64))',
    'Network.',
    registry=networks.NETWORKS,
  )
  batch_size: int = knob(32, 'Examples per client and tick.', low=1)
  methods: tuple[str, ...] = knob(
    ('federated', 'plain', 'corrected', 'common_start', 'alone'),
    'What to compare.',
    registry=merging.METHODS,
    smoke=3,
  )
  topology: str = knob(
    'random_regular(degree=8)',
    'Graph.',
    registry=mixing.TOPOLOGIES,
    smoke=lambda spec: config_lib.lowered(spec, degree=4),
  )
  self_weight: float = knob(
    0.5, 'Weight of the own model in an average.', low=0.0, high=1.0
  )
  optimizer: str = knob(
    'sgd(0.05, momentum=0.9)', "The clients'.", registry=local.OPTIMIZERS
  )
  turns: str = knob(
    'turns',
    'Ticks between trainings of a client, trainings between its messages, and '
    'models that it waits for (None for one per neighbor).',
    registry=merging.TURNS,
  )
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  def validate(self) -> None:
    """Builds the graph."""
    super().validate()
    config_lib.check_square(self.num_clients)
    config_lib.check_different(self.methods, name='methods')
    merging.TURNS.make(self.turns)
    with config_lib.naming(
      topology=self.topology, num_clients=self.num_clients
    ):
      # One graph for all seeds, so that they run as one program.
      mixing.make_graph(self.topology, self.num_clients, seed=self.seeds[0])

  def smoked(self) -> 'Config':
    """A small network as well."""
    small = super().smoked()
    if small.network != type(self).network:
      return small
    return dataclasses.replace(small, network='mlp((64, 64))')


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  problem = config.problem(batch_shape=(config.batch_size,))
  graph = mixing.make_graph(
    config.topology, config.num_clients, seed=config.seeds[0]
  )
  turns = merging.TURNS.make(config.turns)
  algorithms = {
    method: merging.METHODS.make(
      method,
      problem.task,
      graph,
      config.clients(even=True),
      optimizer=local.make_optimizer(
        config.optimizer, num_steps=config.num_rounds
      ),
      self_weight=config.self_weight,
      turns=turns,
      kernel_init=config.kernel_init,
    )
    for method in config.methods
  }
  fading = merging.Fading(
    problem.task, config.kernel_init, graph, config.self_weight
  )
  theory = fading.theory(config.num_rounds) if turns.synchronous else None

  @jax.jit
  def tested(params):
    def one(params):
      found = jax.lax.map(
        lambda p: metrics.evaluate(problem.task, p, problem.test), params
      )
      return {
        **jax.tree.map(jnp.mean, found),
        'worst_accuracy': jnp.min(found['accuracy']),
        'consensus': metrics.consensus_distance(params),
      }

    return jax.lax.map(one, params)

  def measure(values, moment):
    if hasattr(moment.state, 'num_messages'):
      values['test']['messages'] = jax.device_get(moment.state.num_messages)
    train = {k: values.pop(k) for k in ('train',) if k in values}
    return values | {'variance': fading.measure(moment.params)} | train

  def extra_rows(moments):
    round = moments[0].round
    out = [
      {'step': round, 'split': 'layers', 'variant': m.variant.name, **row}
      for m in moments
      if m.last
      for row in fading.layers(m.params, config.seeds)
    ]
    if theory is not None:
      ratio = {'variant': 'theory', 'ratio': float(theory[round])}
      out.append({'step': round, 'split': 'variance', **ratio})
    return out

  return compare(
    config,
    problem.replace(
      evaluate_clients=lambda p: jax.device_get(tested(p)),
      reliability=problem.reliability,
    ),
    algorithms,
    measure=measure,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
  )


def draw(config: Config, rows, directory):
  """Draws accuracy, variance against theory, and disagreement.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = (
    f'{config.dataset}: {config.num_clients} clients, {config.topology}, '
    f'{config.network}'
  )
  line = functools.partial(plots.lines, rows, title=title, xlabel='Tick')
  paths = [
    line(
      directory / 'accuracy.png',
      'accuracy',
      ylabel='Mean test accuracy',
      ylim=(0.0, 1.0),
    ),
    line(
      directory / 'variance.png',
      'ratio',
      split='variance',
      ylabel='Kernel variance / variance at the start',
      log_y=True,
      reference={'1 / N': 1.0 / config.num_clients},
    ),
    line(
      directory / 'consensus.png',
      'consensus',
      ylabel='Consensus error',
      log_y=True,
      floor=plots.rounding(2),
    ),
  ]
  if any(row['split'] == 'layers' for row in rows):
    paths.append(
      plots.bars(
        rows,
        directory / 'layers.png',
        'ratio',
        split='layers',
        by='variant',
        group='layer',
        ylabel='Variance / variance at the start',
        title=title,
      )
    )
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
