# SPDX-License-Identifier: Apache-2.0
r"""Operator learning over clients that hold different input functions.

Every client draws its input functions at its own length scale (or viscosity,
or smoothness, `--spread`), and all of them train one DeepONet, MgNO, Fourier or
random-feature network through the same algorithms as any classifier: any rule,
any attack, any method of a server with local steps (`--algorithm=scaffold`), or
gossip in place of the server. Test functions come from all clients' spaces.

With `--model=snnk` the network is one matrix on fixed random features, whose
optimum clients also find together in a single round: the sums of their normal
equations are those of the pooled data (variant `closed_form`).

Example: python -m experiments.federated_operators --attack=reverse \
  --problem='burgers(resolution=32)' --spread='viscosity(0.05, 0.2)' \
  --model='mgno(channels=8, num_layers=2)' --rules=mean,nnm+trimmed_mean
"""

import dataclasses
import functools
from typing import Any

import jax

from jaxdl import (
  attacks,
  decentralized,
  federated,
  local,
  operators,
  plots,
  problems,
)
from jaxdl.core import types
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.networks import features
from jaxdl.pde import sets

knob = runner.knob

MODELS = operators.MODELS | {'snnk': problems.RandomFeatures}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.RobustConfig):
  """Knobs of operator learning over clients."""

  unused = ()

  problem: str = knob(
    'antiderivative(resolution=40)', 'Learned.', registry=sets.PROBLEMS
  )
  spread: str = knob(
    'length_scale(0.1, 0.5)',
    'What differs between clients: an option of the problem with its range.',
  )
  heterogeneities: tuple[float, ...] = knob(
    (1.0,),
    'How far clients differ, 0 all alike, 1 the whole range; several run side '
    'by side.',
    low=0.0,
  )
  model: str = knob('deeponet', 'Operator network.', registry=MODELS)
  loss: str = knob('relative_l2', 'Minimized.', registry=operators.LOSSES)
  functions_per_client: int = knob(
    60, 'Training functions each.', low=1, smoke=8
  )
  num_test_functions: int = knob(
    96, 'Test functions over all spaces.', low=1, smoke=16
  )
  num_clients: int = knob(10, 'Simulated clients.', low=1, smoke=5)
  num_byzantine: int = knob(2, 'Adversarial clients.', low=0, smoke=1)
  attack: str = knob(
    'reverse',
    'What adversaries send; with none they are honest, and rules that are told '
    'of them pay for it.',
    registry=attacks.ATTACKS,
    needs={'num_byzantine': True},
  )
  rules: tuple[str, ...] = knob(
    ('oracle', 'mean', 'median', 'nnm+trimmed_mean'),
    "Rules to compare; 'oracle' averages the honest clients.",
    registry=problems.RULES,
    smoke=2,
  )
  gossip: tuple[str, ...] = knob(
    (),
    'Also train without a server and adversaries, algorithm@topology.',
    registry=decentralized.VARIANTS,
  )
  num_rounds: int = knob(600, 'Rounds.', low=0)
  eval_every: int = knob(50, 'Rounds between evaluations.', low=1)
  batch_size: int = knob(16, 'Functions per client and round.', low=1)
  algorithm: str = knob(
    'fedsgd',
    'What clients and server do under every rule: send a gradient, '
    "'fedsgd(momentum=0.9, clip_norm=1.0)', or work by themselves, 'scaffold'.",
    registry=federated.METHODS,
  )
  work: str = knob(
    'work(num_steps=8)',
    'Steps of a client on the functions that it drew for the round.',
    registry=local.WORKS,
    needs={'algorithm': federated.LOCAL_METHODS},
  )
  optimizer: str = knob(
    'adam(2e-3)',
    'Of the server that gets gradients; of every client where it works by '
    'itself, and in gossip.',
    registry=local.OPTIMIZERS,
  )

  def validate(self) -> None:
    """Checks networks against the problem, and gossip against the clients."""
    super().validate()
    problems.make_spread(self.spread, self.problem)
    rule = self.make_rule(self.rules[0])
    if self.make_attack(rule, num_classes=2).poison is not None:
      raise ValueError(f'attack={self.attack} needs class labels.')
    config_lib.check_different(self.heterogeneities, name='heterogeneities')
    if not self.is_solved:
      points = operators.model_facts(self.model).points
      layout = 'aligned' if points else 'grid'
      with config_lib.naming(model=self.model, problem=self.problem):
        problems.function_runs.trace(self.model, self.problem, layout)
    federated.check_optimizer(self.optimizer, (self.algorithm,))
    with config_lib.naming(algorithm=self.algorithm, work=self.work):
      work, told = self.make_work(), self.told_of(rule)
      federated.check_variant(self.algorithm, work, self.num_clients, **told)
    for variant in self.gossip:
      with config_lib.naming(gossip=variant, num_clients=self.num_clients):
        decentralized.make_link(variant, self.num_clients)

  @property
  def is_solved(self) -> bool:
    """Whether the network has a closed form."""
    return MODELS.part(self.model).name not in operators.MODELS

  def make_work(self) -> local.LocalWork:
    """What a client does between messages."""
    optimizer = local.make_optimizer(self.optimizer, num_steps=self.num_rounds)
    return local.WORKS.make(self.work, optimizer, None)

  def told_of(self, rule: types.Aggregator) -> dict[str, Any]:
    """What a method is told of the run, and of how messages meet."""
    return {
      'num_rounds': self.num_rounds,
      'aggregator': rule,
      'attack': self.make_attack(rule, num_classes=0),
      'num_byzantine': self.num_byzantine,
      'explain': True,
    }

  def maps(self) -> list[features.FeatureMap]:
    """The random features of snnk; they depend on the first seed."""
    key = jax.random.fold_in(jax.random.key(self.seeds[0]), 2**31 - 1)
    shapes = sets.operator_shapes(self.problem)
    return MODELS.make(self.model).maps(key, shapes.inputs.shape[-1])

  def learned(self, heterogeneity: float) -> types.Problem:
    """Draws the functions of all clients."""
    network = self.model
    if self.is_solved:
      outputs = sets.operator_shapes(self.problem).targets.shape[-1]
      network = features.bundled_network(self.maps(), outputs)
    return problems.operator_clients(
      self.problem,
      network,
      num_clients=self.num_clients,
      spread=self.spread,
      heterogeneity=heterogeneity,
      functions_per_client=self.functions_per_client,
      num_test=self.num_test_functions,
      loss=self.loss,
      batch_size=self.batch_size,
      seeds=self.seeds,
    )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment: that of robust training on another task."""
  parts = {value: _build_one(config, value) for value in config.heterogeneities}
  whole = next(iter(parts.values()))
  if len(parts) > 1:
    whole = runner.together(parts, 'heterogeneity')
  return dataclasses.replace(whole, plots=(functools.partial(draw, config),))


def _build_one(config: Config, heterogeneity: float) -> runner.Experiment:
  problem = config.learned(heterogeneity)
  work, algorithms = config.make_work(), {}
  for spec in config.rules:
    told = config.told_of(config.make_rule(spec))
    made = federated.make_variant(config.algorithm, problem.task, work, **told)
    method, channel = made
    algorithms[spec] = federated.federate(
      method, config.clients(), channel, everybody=True
    )
  for variant in config.gossip:
    algorithms[variant] = decentralized.make_algorithm(
      variant, problem.task, config.clients(even=True), optimizer=work.optimizer
    )
  if not config.is_solved:
    return compare(config, problem, algorithms)

  ridge = MODELS.make(config.model).ridge
  solved = functools.cache(
    lambda: problems.closed_form(
      problem, config.maps(), config.clients(), ridge=ridge
    )
  )
  # One round suffices, so the closed form is there from the start.
  extra = lambda moments: [r | {'step': moments[0].round} for r in solved()]
  return compare(config, problem, algorithms, extra_rows=extra)


def draw(config: Config, rows, directory):
  """Draws the error over rounds and whom the rules listened to."""
  n, f = config.num_clients, config.num_byzantine
  title = f'{config.problem}, {config.model}, {config.algorithm}: '
  title += f'{f} of {n} clients adversarial ({config.attack})'
  look = {'title': title, 'log_y': True}
  look['ylabel'] = 'Relative L2 error on test functions'
  if len(config.heterogeneities) > 1:
    path = plots.lines(
      plots.last_rows(rows),
      directory / 'heterogeneity.png',
      'relative_l2',
      x='heterogeneity',
      xlabel='Heterogeneity of the clients (0 alike, 1 the whole range)',
      **look,
    )
    return [path]
  return [
    plots.lines(rows, directory / 'relative_l2.png', 'relative_l2', **look),
    plots.weights_heat_map(
      rows,
      directory / 'weights.png',
      byzantine=range(n - f, n),
      title=title,
      label='Weight in the update',
    ),
  ]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
