# SPDX-License-Identifier: Apache-2.0
r"""Training together on one byte per gradient.

Machines measure the slope of their loss along directions drawn from public
seeds and broadcast its code. Compares codes, numbers of machines and ordinary
gradients on digits, or fine-tunes a small language model. Machines join late
and leave; at the end the model is rebuilt from its start and the log of codes,
and compared bit by bit.

Example: python -m experiments.just_one_byte --dataset=sentiment \
  --methods='one_byte,one_byte(codec=float32)' --num_clients=8 \
  --optimizer='sgd(3e-4)' --batch_size=16 --num_rounds=300 --join_at=100
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import local, networks, plots, problems
from jaxdl.decentralized import one_byte
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob

# The first method of this name keeps a log.
LOGGED = 'one_byte'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.TextConfig):
  """Knobs of training on one byte."""

  num_clients: int = knob(16, 'Machines, joined late or not.', low=1, smoke=4)
  network: str = knob(
    'mlp(32, activation=tanh)', 'Network.', registry=networks.NETWORKS
  )
  batch_size: int = knob(64, 'Examples per direction.', low=1, smoke=8)
  num_rounds: int = knob(2000, 'Iterations.', low=0)
  eval_every: int = knob(100, 'Iterations between evaluations.', low=1)
  methods: tuple[str, ...] = knob(
    ('one_byte', 'one_byte(codec=float32)', 'single', 'sgd'),
    'What to compare: one_byte sends codes of slopes, single is the first '
    'machine alone, sgd averages whole gradients.',
    registry=one_byte.METHODS,
    smoke=2,
  )
  samples_per_step: int = knob(
    1, 'Directions (and batches) per machine and iteration.', low=1
  )
  optimizer: str = knob('sgd(0.05)', 'Of slopes.', registry=local.OPTIMIZERS)
  eps: float = knob(
    1e-3, 'Half the distance of the evaluations.', low=0.0, open_low=True
  )
  join_at: tuple[int, ...] = knob(
    (),
    'Iterations after which the last machines join, one each.',
    low=0,
    smoke=0,
  )
  leave_at: tuple[int, ...] = knob(
    (),
    'Iterations after which the first machines leave, one each.',
    low=0,
    smoke=0,
  )
  verify_every: int = knob(
    0,
    'Iterations between replays of the log; 0 replays at the end.',
    low=0,
    needs={'methods': (LOGGED,)},
  )
  log_rounds: int = knob(
    0,
    'Capacity of the log; 0 is --num_rounds. A run can be prolonged up to it.',
    low=0,
    needs={'methods': (LOGGED,)},
    smoke=0,
  )
  chunk: int = knob(
    0, 'Directions run together; 0 follows the default rule.', low=0
  )

  def validate(self) -> None:
    """Checks what depends on several knobs."""
    super().validate()
    config_lib.check_different(self.methods, name='methods')
    one_byte.membership(self.num_clients, self.join_at, self.leave_at)
    if self.log_rounds and self.log_rounds < self.num_rounds:
      raise ValueError(
        f'log_rounds={self.log_rounds} is below num_rounds={self.num_rounds}.'
      )
    for method in self.methods:
      one_byte.check_method(method)

  @property
  def logged(self) -> str | None:
    """The method whose messages are logged."""
    part = one_byte.METHODS.part
    return next((m for m in self.methods if part(m).name == LOGGED), None)

  @property
  def times(self) -> tuple[np.ndarray, np.ndarray]:
    """When machines join and leave."""
    return one_byte.membership(self.num_clients, self.join_at, self.leave_at)

  def problem(self, **changes):
    """Builds the problem, in which machines come and go."""
    made = super().problem(num_batches=self.samples_per_step, **changes)
    return one_byte.with_members(made, *self.times)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  problem = config.problem()
  algorithms = {
    method: one_byte.METHODS.make(
      method,
      problem.task,
      config.clients(),
      optimizer=local.make_optimizer(
        config.optimizer, num_steps=config.num_rounds
      ),
      num_samples=config.samples_per_step,
      eps=config.eps,
    )
    for method in config.methods
  }
  equal = None
  if config.logged:
    plain = algorithms[config.logged]
    room = max(config.log_rounds or config.num_rounds, 1)
    algorithms[config.logged] = one_byte.logged(plain, room)
    equal = one_byte.replays(plain)
  shapes = jax.eval_shape(problem.task.init, jax.random.key(0))
  rounds = np.arange(1, config.num_rounds + 1)[:, None]
  here = ((config.times[0] < rounds) & (rounds <= config.times[1])).sum(axis=1)
  sent = {
    method: one_byte.traffic(method, shapes, here, config.samples_per_step)
    for method in config.methods
  }

  def measure(values, moment):
    name, round = moment.variant.name, moment.round
    each = lambda value: np.full(len(config.seeds), value)
    values['test']['bytes'] = each(sent[name][round])
    every = config.verify_every
    due = moment.last or (every and round % every == 0)
    if name == config.logged and round and due:
      model = 4 * sum(x.size for x in jax.tree.leaves(shapes))
      values['replay'] = {
        'replay_equal': equal(moment.state),
        'log_bytes': each(sent[name][round]),
        'model_bytes': each(model),
      }

  return compare(
    config,
    problem,
    algorithms,
    report=one_byte.report,
    measure=measure,
    plots=(functools.partial(draw, config),),
  )


def draw(config: Config, rows, directory):
  """Draws accuracy and loss over iterations, and accuracy over traffic.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  accuracy = {'ylabel': 'Test accuracy', 'ylim': (0.0, 1.0)}
  traffic = {'x': 'bytes', 'xlabel': 'Bytes that reached a machine'}
  taking = {'split': 'train', 'ylabel': 'Machines taking part'}
  sent = [r for r in rows if r.get('bytes', 0) > 0]
  moving = rows if config.join_at or config.leave_at else []
  return [
    plots.lines(
      found,
      directory / f'{name}.png',
      metric,
      title=f'{config.dataset}: {config.num_clients} machines',
      **look,
    )
    for found, name, metric, look in (
      (rows, 'accuracy', 'accuracy', accuracy),
      (rows, 'loss', 'loss', {'ylabel': 'Test loss'}),
      (
        sent,
        'accuracy_over_bytes',
        'accuracy',
        accuracy | traffic | {'log_x': True},
      ),
      (moving, 'machines', 'machines', taking),
    )
    if found
  ]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
