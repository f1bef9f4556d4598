# SPDX-License-Identifier: Apache-2.0
"""A tiny experiment: noisy descent on a quadratic, for the tests of the runner.

Example: python -m tests.experiment.quadratic_binary --num_rounds=20
"""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import plots
from jaxdl.experiment import runner

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  num_rounds: int = knob(20, 'Rounds to run.', low=0)
  eval_every: int = knob(5, 'Rounds between evaluations.', low=1)
  num_clients: int = knob(8, 'Clients.', low=1, high=64, smoke=4)
  learning_rate: float = knob(0.1, 'Step size.', low=0.0, open_low=True)
  rule: str = knob('mean', 'Server rule.', choices=('mean', 'median'))
  rules: tuple[str, ...] = knob(
    ('mean', 'median'), 'Rules.', choices=('mean', 'median')
  )
  decay: float | None = knob(None, 'Momentum.', low=0.0, high=1.0)
  delays: tuple[int, ...] = knob((1, 2), 'Delays.')
  nesterov: bool = knob(False, 'Look ahead.')
  sharded: bool = knob(False, 'Spread the clients over all devices.')
  data: str = knob('', 'A file that must exist.')
  signal_at: int = knob(0, 'Round that signals itself.', runtime=True)
  signal: str = knob('SIGKILL', 'The signal.', runtime=True)

  def validate(self):
    if self.num_clients % 2:
      raise ValueError(f'num_clients={self.num_clients} must be even.')


def build(config: Config) -> runner.Experiment:
  if config.data:
    open(config.data).close()  # noqa: SIM115

  targets = np.linspace(-1.0, 1.0, config.num_clients, dtype=np.float32)
  place = lambda x: jnp.asarray(x)
  if config.sharded:
    mesh = jax.make_mesh(
      (jax.device_count(),),
      ('clients',),
      axis_types=(jax.sharding.AxisType.Auto,),
    )
    place = lambda x: jax.device_put(
      x, jax.NamedSharding(mesh, jax.P('clients'))
    )

  def init():
    return {
      'key': jax.random.key(config.seeds[0]),
      'x': place(np.zeros(config.num_clients, np.float32)),
      'targets': place(targets),
      'nothing': jnp.zeros((0, 3)),
      'count': jnp.int32(0),
    }

  def step(state, number):
    key = jax.random.fold_in(state['key'], number)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(
      key, jnp.arange(config.num_clients)
    )
    noise = 0.01 * jax.vmap(jax.random.normal)(keys)
    x = state['x']
    pull = 0.1 * (x.mean() - x)
    x = x - config.learning_rate * (x - state['targets'] + noise) + pull
    state = state | {'x': x, 'count': state['count'] + 1}
    return state, {'loss': ((x - state['targets']) ** 2).mean()}

  @jax.jit
  def evaluate(state):
    return ((state['x'] - state['targets']) ** 2).mean(), state['x'].mean()

  def rows(state, metrics, number):
    loss, mean = evaluate(state)
    if number and number == config.signal_at:
      os.kill(os.getpid(), getattr(signal, config.signal))
    train = jnp.nan if metrics is None else metrics['loss']
    return [
      {'variant': config.rule, 'loss': loss, 'mean': mean},
      {'split': 'train', 'variant': config.rule, 'loss': train},
    ]

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(lambda rows, out: [plots.lines(rows, out / 'loss.png', 'loss')],),
  )


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
