# SPDX-License-Identifier: Apache-2.0
r"""Layers as dot products of random features: what do they save and cost?

A layer f(w.x + b) becomes Psi(w, b) . Phi(x), with inputs and weights mapped
apart. Tasks: `kernel` measures the error of the estimate; `bundled` merges all
layers into one matrix fitted in closed form, beside a network trained by
gradients; `scratch` trains such layers, beside low-rank and random Fourier ones
of equal size; `adapter` moves a frozen network to turned or inverted images;
`uptrain` converts trained layers and trains on.

Example: python -m experiments.snnk --task=adapter --transfer=invert \
  --num_rf=4,16
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import (
  _snnk_data as snnk_data,
  _snnk_kernel as kernel,
  _snnk_models as models,
  _snnk_variants as variants_lib,
)
from jaxdl import data as data_lib, federated, operators, plots
from jaxdl.experiment import config as config_lib, runner, supervised
from jaxdl.networks import features as features_lib

knob = runner.knob

# What --num_rf and --kind mean where they are not given.
SIZES = {
  'kernel': (16, 32, 64, 128, 256),
  'bundled': (64, 128, 256, 512),
  'scratch': (8, 16, 32, 64),
  'adapter': (2, 8, 32),
  'uptrain': (8, 32, 128),
}


TRAINED = tuple(task for task in SIZES if task != 'kernel')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(supervised.SupervisedConfig):
  """Knobs of random-feature layers."""

  unused = ('network', 'norm', 'reduction')

  task: str = knob('bundled', 'What is done.', choices=tuple(SIZES))
  dataset: str = knob(
    'digits',
    'Data set; those of files need --data_dir, diabetes is a regression.',
    choices=(*data_lib.DATASETS, 'diabetes'),
    needs={'task': TRAINED},
  )
  num_clients: int = knob(
    1,
    'Clients that hold the data; they are pooled exactly.',
    low=1,
    needs={'task': TRAINED},
  )
  kind: str = knob(
    'auto',
    'Activation that features stand for; auto is cos for task=kernel and relu '
    '(arc-cosine features) otherwise.',
    choices=('auto', *models.FUNCTIONS),
  )
  num_rf: tuple[int, ...] = knob(
    (), 'Random features m, one or several; those of the task if none.', low=1
  )
  orthogonal: bool = knob(False, 'Orthogonal projections.')
  split: str = knob(
    's1',
    'How 2 pi i xi is split: s1 oscillates in x, s2 in w, s3 in both; sech '
    'needs s3.',
    choices=features_lib.SPLITS,
  )
  gerf_a: float = knob(
    0.0, 'A of the exponential features.', low=-0.25, open_low=True
  )
  kappa: float = knob(0.0, 'Floor of relu features.')
  normalize: bool = knob(
    False, 'Scale the inputs of every map to length d^(1/4).'
  )
  input_length: float = knob(
    2.2,
    'Root mean square length of the inputs, which are centred; 0 leaves them '
    'as they are.',
    low=0.0,
    needs={'task': TRAINED},
  )
  activation: str = knob(
    'auto',
    'Activation of ordinary layers; auto is that of --kind.',
    choices=('auto', *models.FUNCTIONS),
    needs={'task': TRAINED},
  )
  hidden_sizes: tuple[int, ...] = knob(
    (128,),
    'Hidden layers of the networks trained by gradients.',
    low=1,
    needs={'task': TRAINED},
  )
  depth: int = knob(
    3, 'Bundled layers, up to.', low=1, needs={'task': ('bundled',)}
  )
  bundle_depth: int = knob(
    0,
    'Also train networks of --depth hidden layers with this many merged and '
    'the others ordinary; 0 does not.',
    low=0,
    needs={'task': ('bundled',)},
  )
  ridge: float = knob(
    1e-4,
    'Penalty of read-outs in closed form.',
    low=0.0,
    needs={'task': ('bundled',)},
  )
  bandwidth: float = knob(
    2.0,
    'Bandwidth of random Fourier features.',
    low=0.0,
    open_low=True,
    needs={'task': ('scratch',)},
  )
  transfer: str = knob(
    'rotate',
    'What task=adapter moves to.',
    choices=snnk_data.TRANSFERS,
    needs={'task': ('adapter',)},
  )
  adapter: str = knob(
    'gate',
    'SNNK adapters: gate is x + v * SNNK(x) from v = 0, up is x + U Phi(x) + c '
    'from U = 0.',
    choices=('gate', 'up'),
    needs={'task': ('adapter',)},
  )
  initial: str = knob(
    'normal',
    "W_0 of adapters: normal .02 ('bert') or Kaiming uniform ('mam').",
    choices=('normal', 'kaiming'),
    needs={'task': ('adapter',)},
  )
  train_head: bool = knob(
    True,
    'Whether adapters come with a trained head.',
    needs={'task': ('adapter',)},
  )
  pretrain_rounds: int = knob(
    1000,
    'Steps of the network that adapter and uptrain start from.',
    low=0,
    needs={'task': ('adapter', 'uptrain')},
  )
  uptrain_layers: tuple[int, ...] = knob(
    (0,),
    'Hidden layers that task=uptrain converts.',
    low=0,
    needs={'task': ('uptrain',)},
  )
  dimension: int = knob(
    16, 'Length of vectors in task=kernel.', low=1, needs={'task': ('kernel',)}
  )
  length: float = knob(
    0.7, 'Norm of x and w in task=kernel.', low=0.0, needs={'task': ('kernel',)}
  )
  num_draws: int = knob(
    2000,
    'Draws per estimate in task=kernel.',
    low=2,
    needs={'task': ('kernel',)},
  )
  num_rounds: int = knob(
    1500,
    'Optimiser steps; task=kernel has one round per entry of num_rf.',
    low=0,
    needs={'task': TRAINED},
  )
  eval_every: int = knob(100, 'Rounds between evaluations.', low=1)
  batch_size: int = knob(
    64, 'Examples per client and round.', low=1, needs={'task': TRAINED}
  )
  learning_rate: float = knob(
    3e-3, 'Step size of Adam.', low=0.0, needs={'task': TRAINED}
  )
  weight_decay: float = knob(
    0.0, 'Decoupled weight decay.', low=0.0, needs={'task': TRAINED}
  )
  warm_up: float = knob(
    0.0,
    'Share of the rounds in which the step size rises.',
    low=0.0,
    high=1.0,
    needs={'task': TRAINED},
  )

  @property
  def sizes(self) -> tuple[int, ...]:
    """Numbers of random features."""
    return self.num_rf or SIZES[self.task]

  @property
  def features(self) -> models.Features:
    """How feature maps are drawn."""
    kind = self.kind
    if kind == 'auto':
      kind = 'cos' if self.task == 'kernel' else 'relu'
    return models.Features(
      kind=kind,
      orthogonal=self.orthogonal,
      split=self.split,
      a=self.gerf_a,
      kappa=self.kappa,
      normalize=self.normalize,
    )

  @property
  def function(self):
    """Activation of ordinary layers."""
    name = self.activation
    return models.FUNCTIONS[self.features.kind if name == 'auto' else name]

  def ineffective(self) -> dict[str, str]:
    """Kernels are estimated without data."""
    names = config_lib.own_names(supervised.SupervisedConfig)
    text = f'it is for task={", ".join(TRAINED)}'
    return dict.fromkeys(names, text) if self.task == 'kernel' else {}

  @property
  def num_dealt(self) -> int:
    """Data are checked when they are loaded."""
    return 0

  def validate(self) -> None:
    """Checks features, depths and layers."""
    super().validate()
    if len(set(self.sizes)) != len(self.sizes):
      raise ValueError(f'num_rf must differ; got {self.num_rf}.')
    f = self.features
    if self.task != 'kernel':
      # Traced alone: a configuration touches no device.
      jax.eval_shape(
        lambda: features_lib.feature_map(
          jax.random.key(0), 2, 2, kind=f.kind, split=f.split, a=f.a
        ).inputs(jnp.ones((1, 2)))
      )
    if self.bundle_depth > self.depth:
      raise ValueError(
        f'bundle_depth={self.bundle_depth} must be at most depth={self.depth}.'
      )
    if not self.hidden_sizes:
      raise ValueError('hidden_sizes is empty: name at least one width.')
    if max(self.uptrain_layers, default=0) >= len(self.hidden_sizes):
      raise ValueError(
        f'uptrain_layers={self.uptrain_layers} must be below the number of '
        f'hidden layers, {len(self.hidden_sizes)}.'
      )
    if self.task == 'uptrain' and not self.uptrain_layers:
      raise ValueError('uptrain_layers is empty: name at least one layer.')
    if self.dataset == 'diabetes' and self.partition != 'iid':
      raise ValueError('dataset=diabetes has no classes: use partition=iid.')

  def smoked(self) -> 'Config':
    """A few rounds of two small sizes."""
    return dataclasses.replace(
      super().smoked(),
      num_rf=self.sizes[:2],
      depth=min(self.depth, 2),
      bundle_depth=min(self.bundle_depth, 1),
      pretrain_rounds=min(self.pretrain_rounds, 20),
      num_draws=min(self.num_draws, 100),
    )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  if config.task == 'kernel':
    return kernel.build(config)
  if config.task == 'bundled':
    return build_bundled(config)
  if config.task == 'scratch':
    simulation = snnk_data.simulate(config)
    return build_training(
      config, simulation, variants_lib.scratch(config, simulation)
    )
  base, simulation = pretrained(config)
  make = (
    variants_lib.adapters
    if config.task == 'adapter'
    else variants_lib.uptrained
  )
  return build_training(config, simulation, make(config, simulation, base))


def make_optimizer(config: Config) -> optax.GradientTransformation:
  """Adam on what is trained.

  Args:
    config: knobs.

  Returns:
    The optimiser.
  """
  rise = max(1, round(config.warm_up * config.num_rounds))
  rate = config.learning_rate
  if config.warm_up:
    rate = optax.linear_schedule(0.0, rate, rise)
  return models.optimizer(optax.adamw(rate, weight_decay=config.weight_decay))


def build_training(
  config: Config,
  simulation: supervised.Simulation,
  variants: Mapping[str, models.Variant],
  first=lambda: [],
) -> runner.Experiment:
  """Trains networks side by side on the same batches.

  Args:
    config: knobs.
    simulation: data.
    variants: networks by name.
    first: makes further rows before the first round.

  Returns:
    The experiment.
  """
  seeds = config.seeds
  tasks = {
    name: snnk_data.make_task(v.network, simulation, l2=config.l2)
    for name, v in variants.items()
  }
  algorithms = {
    name: federated.centralized_sgd(task, optimizer=make_optimizer(config))
    for name, task in tasks.items()
  }
  init, step = supervised.side_by_side(algorithms, simulation, config)
  evaluators = {
    name: supervised.evaluator(simulation._replace(task=task))
    for name, task in tasks.items()
  }
  dim = snnk_data.dim_of(simulation)
  labels = {
    name: {
      'family': v.family,
      'size': v.size,
      'num_trained': models.num_trained(v.network, dim),
    }
    for name, v in variants.items()
  }

  def rows(states, found, round):
    out = [] if round else first()
    for name, algorithm in algorithms.items():
      label = {'step': round, 'variant': name, 'seeds': seeds}
      params = supervised.over_seeds(algorithm.params, len(seeds))
      tested = evaluators[name](params(states[name]))
      out += [
        {**row, **labels[name]}
        for row in supervised.metric_rows(tested, split='test', **label)
      ]
      if found is not None:
        out += supervised.metric_rows(found[name], split='train', **label)
    return out

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config),),
    table=table,
  )


def build_bundled(config: Config) -> runner.Experiment:
  """Bundles in closed form, beside networks trained by gradients.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  simulation = snnk_data.simulate(config)
  dim, outputs = snnk_data.dim_of(simulation), snnk_data.num_outputs(simulation)
  for m in config.sizes:
    variants_lib.check_ridge(config, simulation, config.features.size(m))
  layers = (*config.hidden_sizes, outputs)
  variants = {
    'MLP': models.Variant(
      models.plain(operators.fnn(layers, activation=config.function)), 'MLP'
    )
  }
  if config.bundle_depth:
    width = config.hidden_sizes[-1]
    deep = (*(width,) * config.depth, outputs)
    label = f'{config.bundle_depth} of {config.depth} layers bundled'
    for m in config.sizes:
      network = models.partly_bundled(
        config.features, dim, deep, m, config.bundle_depth, config.function
      )
      variants[f'{label}, m={m}'] = models.Variant(network, label, m)
    whole = operators.fnn(deep, activation=config.function)
    variants['deep MLP'] = models.Variant(models.plain(whole), 'deep MLP')
  return build_training(
    config,
    simulation,
    variants,
    first=functools.partial(variants_lib.closed_forms, config, simulation),
  )


def pretrained(config: Config):
  """Trains the network that adapters and conversions start from.

  It is the same for all seeds, like a published one: that of the first seed.

  Args:
    config: knobs.

  Returns:
    Its layers, and the data to go on with.
  """
  rounds = config.pretrain_rounds
  first = dataclasses.replace(
    config,
    task='scratch',
    num_rf=(1,),
    seeds=config.seeds[:1],
    num_rounds=rounds,
    eval_every=max(rounds, 1),
    smoke=False,
  )
  simulation = snnk_data.simulate(first)
  layers = (*config.hidden_sizes, snnk_data.num_outputs(simulation))
  network = models.plain(operators.fnn(layers, activation=config.function))
  variants = {'base': models.Variant(network, 'base')}
  state = runner.run(build_training(first, simulation, variants), first).state
  base = jax.tree.map(lambda x: x[0], state['base'].params['trained'])
  transfer = config.transfer if config.task == 'adapter' else ''
  return base, snnk_data.simulate(config, transfer=transfer)


def compared(rows):
  """The last row of every variant and seed, all under one split.

  Args:
    rows: rows of the run.

  Returns:
    Rows that have `num_trained`.
  """
  last = {}
  for row in rows:
    if 'num_trained' in row:
      last[row['variant'], row['seed']] = {**row, 'split': 'final'}
  return list(last.values())


def table(rows):
  """Size and quality of every variant.

  Args:
    rows: rows of the run.

  Returns:
    Columns and cells for the terminal.
  """
  final = compared(rows)
  names = [
    n for n in ('accuracy', 'r2', 'loss', 'mse') if any(n in r for r in final)
  ]
  cells = []
  for rule in dict.fromkeys(r['variant'] for r in final):
    own = [r for r in final if r['variant'] == rule]
    cells.append([rule, own[0]['num_trained']])
    for name in names:
      values = [r[name] for r in own]
      cells[-1].append(float(np.mean(values)))
    spread = [r[names[0]] for r in own]
    cells[-1].append(float(np.std(spread, ddof=1)) if len(own) > 1 else 0.0)
  return ['', 'trained numbers', *names, f'sd of {names[0]}'], cells


_TITLES = {
  'bundled': 'Bundled networks in closed form',
  'scratch': 'Trained from nothing',
  'adapter': 'A frozen network moved to other images',
  'uptrain': 'Converted layers, trained on',
}
_LABELS = {
  'accuracy': 'Test accuracy',
  'r2': 'Explained variance on test examples',
  'mse': 'Squared error to one-hot labels',
  'loss': 'Test cross-entropy',
}


def draw(config: Config, rows, directory):
  """Draws quality over trained numbers and over rounds.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{_TITLES[config.task]}: {config.dataset}'
  if config.task == 'adapter':
    title += f', {config.transfer}'
  final = compared(rows)
  labels = dict(_LABELS)
  if 'r2' in final[0]:
    labels['loss'] = 'Test squared error'
  paths = [
    plots.lines(
      final,
      directory / f'{name}.png',
      name,
      split='final',
      by='family',
      x='num_trained',
      log_x=True,
      xlabel='Trained numbers',
      ylabel=label,
      title=title,
    )
    for name, label in labels.items()
    if name in final[0]
  ]
  quality = 'r2' if 'r2' in final[0] else 'accuracy'
  # The start would set the scale.
  later = [r for r in rows if r['split'] == 'test' and r['step']]
  if later:
    closed = {}
    for row in final:
      if row['variant'].startswith('closed form'):
        closed.setdefault(row['variant'], []).append(row[quality])
    best = max(closed, key=lambda r: np.mean(closed[r])) if closed else ''
    paths.append(
      plots.lines(
        later,
        directory / 'rounds.png',
        quality,
        xlabel='Step of Adam',
        ylabel=labels[quality] + (' of the MLP' if best else ''),
        title=title,
        reference={best: float(np.mean(closed[best]))} if best else None,
      )
    )
  return paths


def run(config: Config, *, sinks=(), store=None) -> runner.Result:
  """Runs the experiment.

  Args:
    config: knobs.
    sinks: where rows go.
    store: keeps checkpoints.

  Returns:
    Final states and all rows.
  """
  experiment = build(config)
  if config.task == 'kernel':
    config = dataclasses.replace(config, eval_every=1)
  return runner.run(experiment, config, sinks=sinks, store=store)


if __name__ == '__main__':
  runner.main(Config, run)
