# SPDX-License-Identifier: Apache-2.0
r"""Training together on one byte per gradient.

Machines measure the slope of their loss along directions drawn from public
seeds and broadcast its code. Compares codes, numbers of machines and ordinary
gradients on digits, or fine-tunes a small language model. Machines join late
and leave; at the end the model is rebuilt from its start and the log of codes,
and compared bit by bit.

Example: python -m experiments.just_one_byte \
  --dataset=sentiment --num_clients=8 --learning_rate=3e-4 --batch_size=16 \
  --num_rounds=300 --eval_every=50 --methods=one_byte,float --join_at=100
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import _text_simulation
from jaxdl import compression, decentralized, local, networks, plots
from jaxdl.core import clients, keys, trees, types
from jaxdl.data import DATASETS, FILE_DATASETS, sample_batch
from jaxdl.decentralized import one_byte as one_byte_lib
from jaxdl.experiment import config as config_lib, runner, supervised

knob = runner.knob

# The code that a method sends; None is the configured one.
METHODS = {
  'one_byte': None,
  'float': 'float32',
  'log9': 'log9',
  'linear_int8': 'linear_int8',
  'sign': 'sign',
  'single': None,
  'sgd': None,
}
LOGGED = 'one_byte'
_SLOPES = [name for name in METHODS if name != 'sgd']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(supervised.SupervisedConfig):
  """Knobs of training on one byte."""

  num_clients: int = knob(16, 'Machines, joined late or not.', low=1)
  dataset: str = knob(
    'digits',
    'Data set; sentiment and sst2_tsv fine-tune a language model. Those of '
    'files need --data_dir.',
    choices=(*DATASETS, *_text_simulation.DATASETS),
  )
  data_dir: str = knob(
    '',
    'Folder of the data files.',
    needs={'dataset': (*FILE_DATASETS, 'sst2_tsv')},
  )
  hidden_sizes: tuple[int, ...] = knob(
    (32,),
    'Hidden layers of network=mlp.',
    low=1,
    needs={'network': ('mlp',)},
  )
  activation: str = knob(
    'tanh',
    'Of network=mlp.',
    choices=tuple(networks.ACTIVATIONS),
    needs={'network': ('mlp',)},
  )
  batch_size: int = knob(64, 'Examples per direction.', low=1)
  num_rounds: int = knob(2000, 'Iterations.', low=0)
  eval_every: int = knob(100, 'Iterations between evaluations.', low=1)
  methods: tuple[str, ...] = knob(
    ('one_byte', 'float', 'single', 'sgd'),
    'What to compare: one_byte sends --codec, float, log9, linear_int8 and '
    'sign send that; single is the first machine alone; sgd averages whole '
    'gradients.',
    choices=tuple(METHODS),
  )
  samples_per_step: int = knob(
    1,
    'Directions per machine and iteration.',
    low=1,
    needs={'methods': _SLOPES},
  )
  learning_rate: float = knob(
    0.05, 'Step size on slopes.', low=0.0, needs={'methods': _SLOPES}
  )
  sgd_learning_rate: float = knob(
    0.1, 'Step size of sgd.', low=0.0, needs={'methods': ('sgd',)}
  )
  momentum: float = knob(0.0, 'Momentum.', low=0.0, high=1.0, open_high=True)
  eps: float = knob(
    1e-3,
    'Half the distance of the evaluations.',
    low=0.0,
    open_low=True,
    needs={'methods': _SLOPES},
  )
  codec: str = knob(
    'log_int8',
    'What one_byte sends.',
    choices=compression.SCALAR_CODECS,
    needs={'methods': ('one_byte', 'single')},
  )
  codec_base: float | None = knob(
    None, 'Codes per factor e; the default of the codec if none.'
  )
  codec_scale: float = knob(
    1.0,
    'Scale of linear_int8 and sign.',
    low=0.0,
    open_low=True,
    needs={'methods|codec': ('linear_int8', 'sign')},
  )
  stochastic_rounding: bool = knob(False, 'Round codes at random.')
  aggregate: str = knob(
    'mean',
    'Divide the sum of slopes by their number or its square root.',
    choices=local.DIVISORS,
    needs={'methods': _SLOPES},
  )
  distribution: str = knob(
    'normal',
    'Of the directions.',
    choices=local.DIRECTIONS,
    needs={'methods': _SLOPES},
  )
  join_at: tuple[int, ...] = knob(
    (), 'Iterations after which the last machines join, one each.', low=0
  )
  leave_at: tuple[int, ...] = knob(
    (), 'Iterations after which the first machines leave, one each.', low=0
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
  )
  chunk: int = knob(
    0,
    'Directions run together; 0 follows the default rule.',
    low=0,
    needs={'methods': _SLOPES},
  )
  width: int = knob(
    32,
    'Channels of the language model.',
    low=1,
    needs={'dataset': _text_simulation.DATASETS},
  )
  depth: int = knob(
    2,
    'Blocks of the language model.',
    low=1,
    needs={'dataset': _text_simulation.DATASETS},
  )
  num_heads: int = knob(
    4, 'Attention heads.', low=1, needs={'dataset': _text_simulation.DATASETS}
  )
  sequence_length: int = knob(
    64,
    'Bytes of a prompt or window.',
    low=16,
    needs={'dataset': _text_simulation.DATASETS},
  )
  num_texts: int = knob(
    1000,
    'Reviews in dataset=sentiment.',
    low=2,
    needs={'dataset': ('sentiment',)},
  )
  text_bytes: int = knob(
    20_000,
    'Bytes of docstrings to read first.',
    low=1,
    needs={'dataset': _text_simulation.DATASETS},
  )
  pretrain_steps: int = knob(
    1500,
    'Steps of Adam on unlabelled text.',
    low=0,
    needs={'dataset': _text_simulation.DATASETS},
  )
  pretrain_batch_size: int = knob(
    32,
    'Windows per step of Adam.',
    low=1,
    needs={'dataset': _text_simulation.DATASETS, 'pretrain_steps': True},
  )
  pretrain_rate: float = knob(
    3e-3,
    'Largest step size of Adam.',
    low=0.0,
    needs={'dataset': _text_simulation.DATASETS, 'pretrain_steps': True},
  )

  @property
  def is_text(self) -> bool:
    """Whether a language model is fine-tuned."""
    return self.dataset in _text_simulation.DATASETS

  @property
  def capacity(self) -> int:
    """Iterations that the log can hold."""
    return max(self.log_rounds or self.num_rounds, 1)

  def ineffective(self) -> dict[str, str]:
    """A language model takes the place of the network."""
    names = ('network', 'hidden_sizes', 'activation', 'norm', 'flatten')
    text = f'dataset={self.dataset} has a model of its own'
    return dict.fromkeys(names, text) if self.is_text else {}

  @property
  def num_dealt(self) -> int:
    """Text is dealt by itself."""
    return 0 if self.is_text else self.num_clients

  def validate(self) -> None:
    """Checks what depends on several knobs."""
    super().validate()
    if not self.methods or len(set(self.methods)) != len(self.methods):
      raise ValueError(f'methods must be different ones; got {self.methods}.')
    if not math.isfinite(self.learning_rate):
      raise ValueError(
        f'learning_rate must be finite; got {self.learning_rate}.'
      )
    for name in ('join_at', 'leave_at'):
      if len(getattr(self, name)) > self.num_clients:
        raise ValueError(
          f'{name} has {len(getattr(self, name))} entries for '
          f'{self.num_clients} machines.'
        )
    joins, leaves = member_times(self)
    if np.any(leaves <= joins):
      who = int(np.argmax(leaves <= joins))
      raise ValueError(
        f'machine {who} would leave at {leaves[who]} but join at {joins[who]}.'
      )
    if self.log_rounds and self.log_rounds < self.num_rounds:
      raise ValueError(
        f'log_rounds={self.log_rounds} is below num_rounds={self.num_rounds}.'
      )
    make_codec(self, 'one_byte')
    if self.is_text:
      networks.transformer_lm(
        width=self.width, depth=self.depth, num_heads=self.num_heads
      )
      if self.partition not in ('iid', 'label_dirichlet'):
        raise ValueError(
          f'partition={self.partition!r} is not for texts: choose iid or '
          'label_dirichlet.'
        )
      if self.dataset == 'sst2_tsv' and not self.data_dir:
        raise ValueError('dataset=sst2_tsv is read from files: --data_dir.')

  def smoked(self) -> 'Config':
    """A few iterations of two methods, with a tiny model."""
    return dataclasses.replace(
      super().smoked(),
      methods=self.methods[:2],
      num_clients=min(self.num_clients, 4),
      join_at=(),
      leave_at=(),
      log_rounds=0,
      batch_size=min(self.batch_size, 8),
      width=self.num_heads * min(self.width // self.num_heads, 4),
      depth=1,
      num_texts=min(self.num_texts, 64),
      text_bytes=min(self.text_bytes, 5000),
      pretrain_steps=min(self.pretrain_steps, 3),
      pretrain_batch_size=min(self.pretrain_batch_size, 4),
    )


def member_times(config: Config) -> tuple[np.ndarray, np.ndarray]:
  """When machines join and leave.

  Args:
    config: knobs.

  Returns:
    `(joins, leaves)`, int[M]: machine m takes part in iterations
    joins < t <= leaves, counted from one. Machines are in order of joining.
  """
  m = config.num_clients
  joins = np.zeros(m, np.int64)
  leaves = np.full(m, np.iinfo(np.int32).max)
  if config.join_at:
    joins[m - len(config.join_at) :] = sorted(config.join_at)
  leaves[: len(config.leave_at)] = config.leave_at
  return joins, leaves


def make_codec(config: Config, method: str) -> compression.ScalarCodec:
  """Builds the code of a method.

  Args:
    config: knobs.
    method: a key of `METHODS`.

  Returns:
    The code.
  """
  name = METHODS[method] or config.codec
  base = config.codec_base if name == config.codec else None
  with config_lib.naming(codec=name, codec_base=base):
    return compression.scalar_codec(name, base=base, scale=config.codec_scale)


def make_method(
  config: Config, name: str, task: types.Task
) -> one_byte_lib.OneByte | types.Algorithm:
  """Builds a method.

  Args:
    config: knobs.
    name: a key of `METHODS`.
    task: what is learned.

  Returns:
    The algorithm.
  """
  mesh = supervised.mesh_or_none()
  if name == 'sgd':
    return average_gradients(config, task, mesh)
  return decentralized.one_byte_sgd(
    task,
    num_machines=1 if name == 'single' else config.num_clients,
    num_samples=config.samples_per_step,
    optimizer=optax.sgd(config.learning_rate, config.momentum or None),
    eps=config.eps,
    codec=make_codec(config, name),
    aggregate=config.aggregate,
    distribution=config.distribution,
    stochastic_rounding=config.stochastic_rounding,
    mesh=None if name == 'single' else mesh,
    chunk=config.chunk or None,
  )


def average_gradients(
  config: Config, task: types.Task, mesh: jax.sharding.Mesh | None
) -> types.Algorithm:
  """Builds distributed SGD by all-reduce, on the same batches.

  Args:
    config: knobs.
    task: what is learned.
    mesh: devices, or None.

  Returns:
    The algorithm.
  """
  optimizer = optax.sgd(config.sgd_learning_rate, config.momentum or None)

  def init(key):
    # The start of the other methods.
    params = task.init(jax.random.split(key)[0])
    return params, optimizer.init(params)

  def machine(params, batches, key):
    one = lambda batch: jax.value_and_grad(task.loss)(params, batch, key=key)
    losses, grads = jax.vmap(one)(batches)
    weights = jnp.full(losses.shape, 1 / losses.shape[0])
    return trees.combine(weights, grads), jnp.mean(losses)

  def step(state, cohort, *, key):
    params, opt_state = state
    present = cohort.mask.astype(jnp.float32)
    weights = present / jnp.maximum(jnp.sum(present), 1.0)
    grads, losses = clients.fold_clients(
      machine, mesh=mesh, in_axes=(None, 0, 0), has_aux=True
    )(weights, params, cohort.data, keys.client_keys(key, cohort.client_ids))
    change, opt_state = optimizer.update(grads, opt_state, params)
    metrics = {'loss': losses[:, None], 'received': cohort.mask[:, None]}
    return (optax.apply_updates(params, change), opt_state), metrics

  return types.Algorithm(init, step, lambda state: state[0])


def simulate(config: Config) -> supervised.Simulation:
  """Loads the data and builds the task, pretrained where it reads text.

  Args:
    config: knobs.

  Returns:
    The simulation.
  """
  if config.is_text:
    return _text_simulation.simulate(config)
  simulation = supervised.simulate(config)
  shape = simulation.client_data['inputs'].shape[3:]
  network = networks.make_network(
    config.network,
    shape,
    simulation.num_classes,
    hidden_sizes=config.hidden_sizes,
    activation=config.activation,
    norm=config.norm,
  )
  example = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  task = networks.classification(
    network, example, num_classes=simulation.num_classes, l2=config.l2
  )
  return simulation._replace(task=task)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  simulation = simulate(config)
  seeds, m = config.seeds, config.num_clients
  s, size = config.samples_per_step, config.batch_size
  root = supervised.seed_keys(seeds)
  joins, leaves = member_times(config)
  methods = {
    name: make_method(config, name, simulation.task) for name in config.methods
  }
  logged = LOGGED in methods
  bytes_per_round = traffic(config, simulation.task)

  def init_one(key):
    states = {name: method.init(key) for name, method in methods.items()}
    if not logged:
      return {'states': states}
    shape = (config.capacity, m, s)
    codes = jnp.zeros(shape, methods[LOGGED].codec.dtype)
    log = one_byte_lib.MessageLog(codes, jnp.zeros(shape, bool))
    return {'states': states, 'start': states[LOGGED], 'log': log}

  def init():
    keys = jax.vmap(lambda key: jax.random.fold_in(key, 0))(root)
    return jax.jit(supervised.over_seeds(init_one, len(seeds)))(keys)

  def draw_batches(key, data, real):
    draw = lambda k, d, r: jax.vmap(
      lambda k: sample_batch(k, d, r, size, replace=False)
    )(jax.random.split(k, s))
    return jax.vmap(draw)(keys.client_keys(key, jnp.arange(m)), data, real)

  def one_seed(state, key, round, client_data, real):
    batch_key, step_key = jax.random.split(key)
    present = (jnp.asarray(joins) < round) & (round <= jnp.asarray(leaves))
    cohort = types.Cohort(
      client_ids=jnp.arange(m),
      data=draw_batches(batch_key, client_data, real),
      mask=present,
      weights=jnp.ones(m),
    )
    state, told = {**state, 'states': dict(state['states'])}, {}
    for name, method in methods.items():
      seen = cohort
      if name == 'single':
        seen = jax.tree.map(lambda x: x[:1], cohort)
      state['states'][name], metrics = method.step(
        state['states'][name], seen, key=step_key
      )
      # Sums over machines would be traffic: the host averages.
      told[name] = {
        k: metrics[k] for k in ('loss', 'received', 'dropped') if k in metrics
      }
      if name == LOGGED:
        log = state['log']
        state['log'] = one_byte_lib.MessageLog(
          log.codes.at[round - 1].set(metrics['codes']),
          log.received.at[round - 1].set(metrics['received']),
        )
    return state, told

  def step(state, round):
    keys = jax.vmap(lambda key: jax.random.fold_in(key, round))(root)
    rounds = jnp.broadcast_to(jnp.asarray(round), (len(seeds),))
    run_all = supervised.over_seeds(one_seed, len(seeds))
    return run_all(state, keys, rounds, simulation.client_data, simulation.mask)

  evaluate = supervised.evaluator(simulation)

  @jax.jit
  def replayed(start, log):
    one = lambda s, l: one_byte_lib.replay(methods[LOGGED], s, l).params
    return supervised.over_seeds(one, len(seeds))(start, log)

  def verify(state):
    """Whether the log leads to the live model, bit by bit, per seed."""
    pairs = zip(
      jax.tree.leaves(replayed(state['start'], state['log'])),
      jax.tree.leaves(methods[LOGGED].params(state['states'][LOGGED])),
      strict=True,
    )
    same = np.ones(len(seeds), bool)
    for x, y in pairs:
      equal = np.asarray(x) == np.asarray(y)
      same &= equal.reshape(len(seeds), -1).all(axis=1)
    return same.astype(np.float32)

  def rows(state, metrics, round):
    out = []
    for name, method in methods.items():
      label = {'step': round, 'variant': name, 'seeds': seeds}
      values = evaluate(method.params(state['states'][name]))
      sent = bytes_per_round(name, round)
      values = {**values, 'bytes': np.full(len(seeds), sent)}
      out += supervised.metric_rows(values, split='test', **label)
      if metrics is None:
        continue
      told = metrics[name]
      here = np.asarray(told['received'])
      count = np.maximum(here.sum((1, 2)), 1)
      train = {
        'loss': np.where(here, told['loss'], 0.0).sum((1, 2)) / count,
        'machines': here.any(2).sum(1),
      }
      if 'dropped' in told:
        train['dropped'] = np.asarray(told['dropped']).sum((1, 2))
      out += supervised.metric_rows(train, split='train', **label)
    every = config.verify_every
    due = round == config.num_rounds or (every and round % every == 0)
    if logged and round and due:
      values = {
        'replay_equal': verify(state),
        'log_bytes': np.full(len(seeds), bytes_per_round(LOGGED, round)),
        'model_bytes': np.full(len(seeds), bytes_per_round('model', 1)),
      }
      out += supervised.metric_rows(
        values, split='replay', step=round, variant=LOGGED, seeds=seeds
      )
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config),),
  )


def traffic(config: Config, task: types.Task):
  """Counts what reaches one machine.

  Args:
    config: knobs.
    task: gives the size of the model.

  Returns:
    `sent(method, round) -> float`, bytes until that iteration; the method
    'model' counts whole models.
  """
  shapes = jax.eval_shape(task.init, jax.random.key(0))
  model = 4 * sum(x.size for x in jax.tree.leaves(shapes))
  joins, leaves = member_times(config)

  def sent(method, round):
    if method in ('sgd', 'model'):
      return float(model * round)
    here = np.clip(np.minimum(leaves, round) - joins, 0, None)
    if method == 'single':
      return 0.0
    bits = make_codec(config, method).bits
    return float(here.sum() * config.samples_per_step * bits / 8)

  return sent


def draw(config: Config, rows, directory):
  """Draws accuracy and loss over iterations, and accuracy over traffic.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.dataset}: {config.num_clients} machines'
  drawn = [
    plots.lines(
      rows,
      directory / 'accuracy.png',
      'accuracy',
      ylabel='Test accuracy',
      title=title,
      ylim=(0.0, 1.0),
    ),
    plots.lines(
      rows, directory / 'loss.png', 'loss', ylabel='Test loss', title=title
    ),
  ]
  sent = [r for r in rows if r.get('bytes', 0) > 0]
  if sent:
    drawn.append(
      plots.lines(
        sent,
        directory / 'accuracy_over_bytes.png',
        'accuracy',
        x='bytes',
        xlabel='Bytes that reached a machine',
        ylabel='Test accuracy',
        title=title,
        log_x=True,
        ylim=(0.0, 1.0),
      )
    )
  if config.join_at or config.leave_at:
    drawn.append(
      plots.lines(
        rows,
        directory / 'machines.png',
        'machines',
        split='train',
        ylabel='Machines taking part',
        title=title,
      )
    )
  return drawn


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
