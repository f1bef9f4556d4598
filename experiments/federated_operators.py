# SPDX-License-Identifier: Apache-2.0
r"""Operator learning over clients that hold different input functions.

Every client draws its input functions at its own length scale (or viscosity,
or smoothness), and all of them train one DeepONet, MgNO, Fourier or
random-feature network through the same algorithms as any classifier: any rule,
any attack, or gossip over any topology in place of the server. Test functions
come from all clients' spaces.

With `--model=snnk` the network is one matrix on fixed random features, whose
optimum clients also find together in a single round: the sums of their normal
equations are those of the pooled data (`closed_form`).

Example: python -m experiments.federated_operators \
  --problem=burgers --model=mgno --rules=mean,nnm+trimmed_mean --attack=reverse
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import robust_training
from jaxdl import (
  attacks,
  data as data_lib,
  decentralized,
  mixing,
  operators,
  plots,
)
from jaxdl.core import clients, types
from jaxdl.experiment import config as config_lib, gossip, runner, supervised
from jaxdl.networks import features
from jaxdl.pde import sets

knob = runner.knob

# What differs between clients, and its range over them.
SPREAD = {
  'antiderivative': ('length_scale', 0.1, 0.5),
  'nonlinear_ode': ('length_scale', 0.1, 0.5),
  'pendulum': ('length_scale', 0.1, 0.5),
  'diffusion_reaction': ('length_scale', 0.1, 0.5),
  'burgers': ('viscosity', 0.05, 0.2),
  'darcy': ('tau', 2.0, 5.0),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(robust_training.RuleConfig):
  """Knobs of operator learning over clients."""

  problem: str = knob(
    'antiderivative', 'What is learned.', choices=tuple(SPREAD)
  )
  model: str = knob(
    'deeponet',
    'Operator network.',
    choices=('deeponet', 'fnn', 'snnk', 'mgno', 'fno', 'unet'),
  )
  heterogeneity: float = knob(
    1.0,
    'How far clients differ: 0 all alike, 1 the whole range.',
    low=0.0,
    needs={'heterogeneities': False},
  )
  heterogeneities: tuple[float, ...] = knob(
    (), 'Several of these, side by side; overrides --heterogeneity.', low=0.0
  )
  functions_per_client: int = knob(60, 'Training functions each.', low=1)
  num_test_functions: int = knob(96, 'Test functions over all spaces.', low=1)
  resolution: int = knob(40, 'Sensors, or grid points per axis.', low=4)
  channels: int = knob(
    16,
    'Width of mgno, fno and unet.',
    low=1,
    needs={'model': ('mgno', 'fno', 'unet')},
  )
  num_layers: int = knob(
    3,
    'Layers of mgno, fno and unet.',
    low=1,
    needs={'model': ('mgno', 'fno', 'unet')},
  )
  iterations: str = knob(
    '10,10,10',
    'Smoothing steps per level of mgno, before and after.',
    needs={'model': ('mgno',)},
  )
  hidden_size: int = knob(
    40,
    'Width of deeponet and fnn.',
    low=1,
    needs={'model': ('deeponet', 'fnn')},
  )
  num_features: int = knob(
    256, 'Random features of snnk.', low=1, needs={'model': ('snnk',)}
  )
  feature_layers: int = knob(
    1, 'Bundled layers of snnk.', low=1, needs={'model': ('snnk',)}
  )
  ridge: float = knob(
    1.0,
    'Penalty of the closed form of snnk.',
    low=0.0,
    open_low=True,
    needs={'model': ('snnk',)},
  )
  operator_loss: str = knob(
    'relative_l2', 'What is minimised.', choices=('relative_l2', 'mse')
  )
  topologies: tuple[str, ...] = knob(
    (),
    'Also train without a server by gossip over these graphs (no adversaries).',
    choices=gossip.PLAIN,
  )
  num_clients: int = knob(10, 'Simulated clients.', low=1)
  num_byzantine: int = knob(2, 'Adversarial clients.', low=0)
  rules: tuple[str, ...] = knob(
    ('oracle', 'mean', 'median', 'nnm+trimmed_mean'), 'Rules to compare.'
  )
  attack: str = knob(
    'reverse',
    'What adversaries send; with none they are honest, and rules that are told '
    'of them pay for it.',
    choices=attacks.NAMES,
    needs={'num_byzantine': True},
  )
  num_rounds: int = knob(600, 'Rounds.', low=0)
  eval_every: int = knob(50, 'Rounds between evaluations.', low=1)
  batch_size: int = knob(16, 'Functions per client and round.', low=1)
  learning_rate: float = knob(2e-3, 'Step size of Adam.', low=0.0)
  eval_batch_size: int = knob(32, 'Functions per evaluation batch.', low=1)

  def validate(self) -> None:
    """Refuses what has no meaning for functions."""
    super().validate()
    for name in self.topologies:
      with config_lib.naming(topologies=name, num_clients=self.num_clients):
        mixing.make_mixer(name, self.num_clients)
    if len(set(self.heterogeneities)) != len(self.heterogeneities):
      raise ValueError(
        f'heterogeneities must differ; got {self.heterogeneities}.'
      )
    if attacks.needs_flipped_labels(self.attack):
      raise ValueError(f'attack={self.attack} needs class labels.')
    grid = not on_points(self.model)
    if grid and self.problem not in ('burgers', 'darcy'):
      raise ValueError(
        f'model={self.model} works on grids: choose problem burgers or darcy, '
        'or a model such as deeponet.'
      )
    if not grid and self.problem == 'darcy':
      raise ValueError(
        f'problem=darcy needs a model on grids; got model={self.model}.'
      )

  def smoked(self) -> 'Config':
    """A few rounds on few functions; of few clients if none were asked for."""
    small = super().smoked()
    # Every client has a space of its own, and every space is a program.
    if not self.topologies and all(
      getattr(self, name) == getattr(type(self), name)
      for name in ('num_clients', 'num_byzantine', 'declared_byzantine')
    ):
      small = dataclasses.replace(small, num_clients=5, num_byzantine=1)
    return dataclasses.replace(
      small, functions_per_client=8, num_test_functions=16
    )


def on_points(model: str) -> bool:
  """Whether a network reads sensors, not functions on grids."""
  return model == 'snnk' or model in operators.POINT_MODELS


def feature_maps(config: Config) -> list[features.FeatureMap]:
  """Draws the random features that all clients share.

  Args:
    config: knobs; the draw depends on the first seed.

  Returns:
    One map per bundled layer.
  """
  key = jax.random.fold_in(jax.random.key(config.seeds[0]), 2**31 - 1)
  maps, size = [], config.resolution
  for layer in range(config.feature_layers):
    maps.append(
      features.feature_map(
        jax.random.fold_in(key, layer),
        size,
        config.num_features,
        orthogonal=True,
      )
    )
    size = maps[-1].size
  return maps


def spaces(config: Config) -> tuple[str, np.ndarray]:
  """What differs between clients.

  Args:
    config: knobs.

  Returns:
    Name of the problem's option and its value per client, [N].
  """
  name, low, high = SPREAD[config.problem]
  middle, half = (low * high) ** 0.5, (high / low) ** 0.5
  place = (
    np.linspace(-1, 1, config.num_clients) if config.num_clients > 1 else 0
  )
  return name, middle * half ** (config.heterogeneity * np.asarray(place))


def make_network(config: Config):
  """Builds the operator network.

  Args:
    config: knobs.

  Returns:
    A `Network`.
  """
  if config.model == 'snnk':
    return features.bundled_network(feature_maps(config), config.resolution)
  options = {}
  if config.model in operators.POINT_MODELS:
    width = config.hidden_size
    options = {
      'branch_layers': (width, width),
      'trunk_layers': (width, width, width),
      'hidden_layers': (width, width, config.resolution),
    }
  else:
    axes = 1 if config.problem == 'burgers' else 2
    options = {
      'channels': config.channels,
      'num_layers': config.num_layers,
      'modes': (8,) * axes,
      'method': 'patches',
    }
    if config.model == 'fno':
      del options['method']
    if config.model == 'mgno':
      options['iterations'] = config.iterations
  return operators.make_model(config.model, **options)


def simulate(config: Config) -> supervised.Simulation:
  """Draws every client's functions, once per seed, and builds the task.

  Args:
    config: knobs.

  Returns:
    A `Simulation` as for labelled data.
  """
  points = on_points(config.model)
  layout = 'aligned' if points else 'grid'
  option, values = spaces(config)
  num_test = -(-config.num_test_functions // config.num_clients)
  seeds = []
  for seed in config.seeds:
    root = jax.random.key(seed)
    seeds.append(
      [
        sets.make_operator_dataset(
          config.problem,
          key=jax.random.fold_in(root, client),
          num_train=config.functions_per_client,
          num_test=num_test,
          resolution=config.resolution,
          layout=layout,
          **{option: float(value)},
        )
        for client, value in enumerate(values)
      ]
    )
  stack = lambda pick: jnp.asarray(
    np.stack([np.stack([pick(d) for d in clients]) for clients in seeds])
  )
  client_data = {
    'inputs': stack(lambda d: d.train.inputs),
    'targets': stack(lambda d: d.train.targets),
  }
  first = seeds[0]
  test = data_lib.eval_batches(
    {
      'inputs': np.concatenate([d.test.inputs for d in first]),
      'targets': np.concatenate([d.test.targets for d in first]),
    },
    config.eval_batch_size,
  )
  example = jax.tree.map(lambda x: x[0, 0], client_data)
  queries = None
  if config.model in ('deeponet',):
    queries = jnp.asarray(first[0].train.queries)
  task = operators.operator_task(
    make_network(config), example, loss=config.operator_loss, points=queries
  )
  shape = client_data['inputs'].shape[:3]
  return supervised.Simulation(
    task=task,
    client_data=client_data,
    mask=jnp.ones(shape, bool),
    test=jax.tree.map(jnp.asarray, test),
    num_classes=0,
    class_tables=np.zeros((len(seeds), config.num_clients, 0), int),
  )


def gossip_variants(
  config: Config, simulation: supervised.Simulation
) -> dict[str, types.Algorithm]:
  """Decentralised algorithms on the same task, one per topology.

  Args:
    config: knobs.
    simulation: task and data.

  Returns:
    Algorithms by name; what is evaluated is the mean of the clients' models.
  """
  out = {}
  for name in config.topologies:
    learner = decentralized.gossip_sgd(
      simulation.task,
      mixing.make_mixer(name, config.num_clients),
      num_clients=config.num_clients,
      optimizer=optax.adam(config.learning_rate),
    )

    def step(state, cohort, *, key, learner=learner):
      return learner.step(state, cohort, key=key)[0], {}

    def mean(state, learner=learner):
      return jax.tree.map(lambda x: jnp.mean(x, axis=0), learner.params(state))

    out[f'gossip:{name}'] = learner._replace(step=step, params=mean)
  return out


def closed_form(
  config: Config, simulation: supervised.Simulation
) -> list[runner.Row]:
  """Solves for the read-out of snnk from sums over clients, and from the pool.

  Every client adds its H^T H and H^T Y; one sum over clients and devices, and
  the server solves. Adversaries take part as honest clients.

  Args:
    config: knobs.
    simulation: task and data.

  Returns:
    Test rows of the rule 'closed_form' and, per seed, one row of split
    'closed_form': the relative difference of its predictions from those of
    the centralised optimum.
  """
  maps = feature_maps(config)

  def statistics(data):
    h = features.bundled_features(data['inputs'], maps)
    return features.readout_statistics(h, data['targets'])

  summed = clients.fold_clients(
    statistics,
    mesh=supervised.mesh_or_none(),
    chunk=config.chunk or None,
    reduction=config.reduction,
  )
  solve = functools.partial(features.closed_form_readout, ridge=config.ridge)
  ones = jnp.ones((config.num_clients,))
  together = jax.jit(lambda data: summed(ones, data))
  merge = lambda x: x.reshape(-1, x.shape[-1])
  alone = jax.jit(lambda data: statistics(jax.tree.map(merge, data)))
  evaluate, out = supervised.evaluator(simulation), []
  test = merge(simulation.test['inputs'])
  apply = make_network(config).apply
  for i, seed in enumerate(config.seeds):
    data = jax.tree.map(lambda x, i=i: x[i], simulation.client_data)
    # Solved on the host, in float64: only the sums are rounded.
    found = [{'readout': solve(sums(data))} for sums in (together, alone)]
    federated, pooled = (apply(params, test) for params in found)
    gap = jnp.linalg.norm(federated - pooled) / jnp.linalg.norm(pooled)
    tested = evaluate(jax.tree.map(lambda x: x[None], found[0]))
    for split, values in (
      ('test', tested),
      ('closed_form', {'difference': gap[None]}),
    ):
      out += supervised.metric_rows(
        values, step=0, split=split, variant='closed_form', seeds=[seed]
      )
  return out


def build(config: Config) -> runner.Experiment:
  """Builds the experiment: that of robust training on another task.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  values = config.heterogeneities
  if values:
    parts = {
      value: _build_one(
        dataclasses.replace(config, heterogeneity=value, heterogeneities=())
      )
      for value in values
    }
    experiment = runner.together(parts, 'heterogeneity')
  else:
    experiment = _build_one(config)
  return dataclasses.replace(
    experiment, plots=(functools.partial(draw, config),)
  )


def _build_one(config: Config) -> runner.Experiment:
  simulation = simulate(config)
  experiment = robust_training.compare(
    config,
    simulation,
    optimizer=optax.adam(config.learning_rate),
    others=gossip_variants(config, simulation),
  )
  if config.model != 'snnk':
    return experiment
  solved = functools.cache(lambda: closed_form(config, simulation))

  def rows(states, metrics, number):
    # One round suffices, so the closed form is there from the start.
    mine = [row | {'step': number} for row in solved()]
    return experiment.rows(states, metrics, number) + mine

  return dataclasses.replace(experiment, rows=rows)


def draw(config: Config, rows, directory):
  """Draws the error over rounds and whom the rules listened to.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = (
    f'{config.problem}, {config.model}: {config.num_byzantine} of '
    f'{config.num_clients} clients adversarial ({config.attack})'
  )
  honest = config.num_clients - config.num_byzantine
  if config.heterogeneities:
    last = max(row['step'] for row in rows)
    return [
      plots.lines(
        [row for row in rows if row['step'] == last],
        directory / 'heterogeneity.png',
        'relative_l2',
        x='heterogeneity',
        xlabel='Heterogeneity of the clients (0 alike, 1 the whole range)',
        ylabel='Relative L2 error on test functions',
        title=title,
        log_y=True,
      )
    ]
  return [
    plots.lines(
      rows,
      directory / 'relative_l2.png',
      'relative_l2',
      ylabel='Relative L2 error on test functions',
      title=title,
      log_y=True,
    ),
    plots.weights_heat_map(
      rows,
      directory / 'weights.png',
      byzantine=range(honest, config.num_clients),
      title=title,
      label='Weight in the update',
    ),
  ]


def run(config: Config, *, sinks=(), store=None) -> runner.Result:
  """Runs the experiment.

  Args:
    config: knobs.
    sinks: where rows go.
    store: keeps checkpoints.

  Returns:
    Final states and all rows.
  """
  return runner.run(build(config), config, sinks=sinks, store=store)


if __name__ == '__main__':
  runner.main(Config, run)
