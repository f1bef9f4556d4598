# SPDX-License-Identifier: Apache-2.0
r"""Which neurons are worth their place? Pruning as a game among them.

Every neuron or filter takes part by s in [0, 1]; it gains by lowering the loss,
pays for taking part, and leaves if that is its best answer. Methods train side
by side on the same batches: `game` with its prices, `group_l1` (the loss plus
a sum of gates), `one_shot` (by magnitude, first-order scores or at random, then
fine-tuned), `dense`. Accuracy is that of the network without players below the
threshold.

Example: python -m experiments.pruning_game \
  --methods='game(benefit=100.0),game(benefit_sign=1),dense' --num_rounds=40
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import federated, local, networks, plots, problems, pruning
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob
BINS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.ClassificationConfig):
  """Knobs of pruning; examples lie in one place."""

  unused = ('reduction', 'num_clients', 'partition', 'l2')

  num_rounds: int = knob(80, 'Rounds.', low=0, smoke=3)
  steps: int = knob(100, 'Iterations in a round.', low=1, smoke=2)
  eval_every: int = knob(2, 'Rounds between evaluations.', low=1, smoke=1)
  methods: tuple[str, ...] = knob(
    ('game', 'game(benefit_sign=1)', 'dense'),
    'What to compare.',
    registry=pruning.METHODS,
    smoke=3,
  )
  network: str = knob(
    'mlp((512, 256))',
    'Network; all layers but the last are gated.',
    registry=networks.NETWORKS,
  )
  granularity: str = knob(
    'unit',
    'Who plays: neurons and filters (unit), one of them, or every weight.',
    choices=pruning.GRANULARITIES,
  )
  start: float = knob(
    1.0, 'Participation to begin with.', low=0.0, high=1.0, open_low=True
  )
  threshold: float = knob(
    0.01,
    'Participation below which a player is out.',
    low=0.0,
    high=1.0,
    open_low=True,
    open_high=True,
  )
  optimizer: str = knob(
    'adam(0.001)', "The network's.", registry=local.OPTIMIZERS
  )
  batch_size: int = knob(128, 'Examples in a batch.', low=1)

  @property
  def num_dealt(self) -> int:
    """Nothing is dealt."""
    return 1

  def validate(self) -> None:
    """Makes the rules."""
    super().validate()
    config_lib.check_different(self.methods, name='methods')
    for method in self.methods:
      with config_lib.naming(methods=method):
        pruning.METHODS.make(method)

  def smoked(self) -> 'Config':
    """A small network as well."""
    small = super().smoked()
    if small.network != type(self).network:
      return small
    return dataclasses.replace(small, network='mlp((64, 32))')


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  whole = config.problem(num_clients=1, client_metrics=(), l2=0.0)
  network = pruning.gated(
    whole.network, granularity=config.granularity, start=config.start
  )
  problem = problems.for_network(whole, network)
  shapes = jax.eval_shape(problem.task.init, jax.random.key(0))
  inputs = jax.ShapeDtypeStruct(
    (1, *whole.test['inputs'].shape[2:]), whole.test['inputs'].dtype
  )
  order = pruning.used_in_order(whole.network.apply, shapes['network'], inputs)
  algorithms = {}
  for method in config.methods:
    with config_lib.naming(methods=method):
      rule = pruning.METHODS.make(method)
      jax.eval_shape(rule.init, shapes)  # Numbers to keep fit the layers.
    steps = config.num_rounds * config.steps
    optimizer = local.make_optimizer(config.optimizer, num_steps=steps)
    algorithms[method] = federated.centralized_sgd(
      problem.task, optimizer=pruning.with_gates(optimizer, rule)
    )

  def evaluate(params):
    return problem.evaluate(pruning.prune(params, threshold=config.threshold))

  def reliability(params, per_client=False):
    del per_client
    return problem.reliability(
      pruning.prune(params, threshold=config.threshold)
    )

  def of_seed(params, i):
    return jax.tree.map(lambda x: x[i], jax.device_get(params))

  def measure(values, moment):
    found = []
    for i in range(len(config.seeds)):
      own = of_seed(moment.params, i)
      found.append(
        pruning.measure(own, threshold=config.threshold, order=order)
      )
      pruning.dead_layers(own['gates'], threshold=config.threshold)
      rate, l2 = (
        pruning.METHODS.value(moment.variant.name, name)
        for name in ('rate', 'l2')
      )
      if l2 is not None and not isinstance(rate, str):
        pruning.check_rate(own, l2=l2, rate=rate)
    for name in found[0]:
      values['test'][name] = np.array([row[name] for row in found])
    done = np.full(len(config.seeds), float(moment.round * config.steps))
    for part in values.values():
      part['iteration'] = done

  def extra_rows(moments):
    out = []
    for moment in moments:
      for i, seed in enumerate(config.seeds if moment.last else ()):
        label = {'step': moment.round, 'variant': moment.variant.name}
        label['seed'] = seed
        gates = of_seed(moment.params, i)['gates']
        counts = pruning.num_alive(gates, threshold=config.threshold)
        out += [
          label | {'split': 'layers', 'layer': name, 'kept': int(count)}
          for name, count in counts.items()
        ]
        flat = np.concatenate([s.ravel() for s in gates.values()])
        share, ends = np.histogram(flat, BINS, (0.0, 1.0))
        out += [
          label
          | {'split': 'histogram', 'participation': x, 'share': y / flat.size}
          for x, y in zip((ends[1:] + ends[:-1]) / 2, share, strict=True)
        ]
    return out

  return compare(
    config,
    problem.replace(evaluate=evaluate, reliability=reliability),
    algorithms,
    steps=config.steps,
    measure=measure,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
  )


def draw(config: Config, rows, directory):
  """Draws accuracy and sparsity over iterations, and who is left.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.dataset}: {config.network}, {config.optimizer}'
  line = functools.partial(plots.lines, title=title)
  over = {'x': 'iteration', 'xlabel': 'Iteration'}
  paths = [
    line(
      rows,
      directory / f'{name}.png',
      name,
      ylabel=label,
      ylim=(-0.02, 1.02),
      **over,
    )
    for name, label in (
      ('accuracy', 'Test accuracy of what is left'),
      ('sparsity', f'Share of players below {config.threshold:g}'),
      ('participation', 'Mean participation'),
    )
  ]
  if any(row['split'] == 'layers' for row in rows):
    paths += [
      plots.bars(
        rows,
        directory / 'layers.png',
        'kept',
        split='layers',
        group='layer',
        ylabel='Players left',
        title=title,
      ),
      line(
        rows,
        directory / 'participations.png',
        'share',
        split='histogram',
        x='participation',
        xlabel='Participation at the end',
        ylabel='Share of players',
        log_y=True,
      ),
    ]
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
