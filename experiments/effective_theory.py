# SPDX-License-Identifier: Apache-2.0
r"""Deep networks at initialization: does theory say how they spread, and learn?

`moments` draws ensembles and compares the variance of preactivations, how
neurons depend on each other (V) and their kurtosis with the flows of theory,
layer by layer; `tangent` the neural tangent kernel too; `training` trains
networks of several depths by gradient descent. A variant is an activation and
how its network starts: `critical`, off it by a factor, `he`, `xavier`, any
variances, with a share of the preactivations carried on or without.

Example: python -m experiments.effective_theory --num_rounds=20 \
  --variants='relu@critical,relu@critical(residual=0.9),tanh@he' --widths=50,100
"""

import dataclasses
import functools

import optax

from jaxdl import federated, networks, plots, problems
from jaxdl.core import registry
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.theory import effective

knob = runner.knob

DRAWN, TRAINED = ('moments', 'tangent'), ('training',)
VARIANTS = registry.Pair(networks.ACTIVATIONS, effective.STARTS, needed=True)
# Pictures of statistics: caption, and whether on a logarithmic axis.
SHOWN = {
  'kernel': ('Mean square of a preactivation', True),
  'vertex_ratio': ('V / K²', False),
  'kurtosis': ('Excess kurtosis of a neuron', False),
  'tangent': ('Mean of the tangent kernel H', False),
  'tangent_square': ('D: covariance of H and z², times width', False),
  'tangent_product': ('F: mean of H z z, times width', False),
  'tangent_diagonal': ('A: covariance of H and H, times width', False),
  'tangent_offdiagonal': ('B: mean of H² off diagonal, times width', False),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.ClassificationConfig):
  """Knobs of the effective theory."""

  unused = ('reduction', 'num_clients', 'partition', 'network', 'l2')

  quantity: str = knob(
    'moments',
    'What is compared: preactivations, tangent kernels too, or training.',
    choices=(*DRAWN, *TRAINED),
  )
  variants: tuple[str, ...] = knob(
    ('relu@critical', 'tanh@critical', 'gelu@critical'),
    'Activations, and how their networks start.',
    registry=VARIANTS,
    smoke=2,
  )
  widths: tuple[int, ...] = knob((64,), 'Neurons per layer.', low=2, smoke=(8,))
  depths: tuple[int, ...] = knob(
    (6,), 'Weight layers, most in ensembles.', low=2, high=1000, smoke=(4,)
  )
  num_rounds: int = knob(10, 'Ensembles added up, or training steps.', low=0)
  ensemble: int = knob(
    1000,
    'Networks of every variant and round.',
    low=1,
    smoke=20,
    needs={'quantity': DRAWN},
  )
  kernel: float = knob(
    1.0,
    'Variance of the first preactivations.',
    low=0.0,
    open_low=True,
    needs={'quantity': DRAWN},
  )
  rates: tuple[float, ...] = knob(
    (1.0, 1.0),
    'Learning rates of weights, times their fan-in, and of biases.',
    low=0.0,
    needs={'quantity': ('tangent', *TRAINED)},
  )
  scaled: bool = knob(
    True,
    'Whether rates of layers go as the critical point wants, or all are one.',
    needs={'quantity': TRAINED},
  )
  learning_rate: float = knob(
    0.5,
    'Factor of all rates.',
    low=0.0,
    open_low=True,
    needs={'quantity': TRAINED},
  )
  batch_size: int = knob(64, 'Examples of a step.', low=1, smoke=16)

  def validate(self) -> None:
    """Checks variants and sizes."""
    super().validate()
    for name in ('variants', 'widths', 'depths'):
      if not getattr(self, name):
        raise ValueError(f'{name} is empty: name at least one.')
      config_lib.check_different(getattr(self, name), name=name)
    if len(self.rates) != 2:
      raise ValueError(f'rates must be two numbers; got {self.rates}.')
    if self.quantity != 'tangent':
      return
    for variant in self.variants:
      start = registry.pair(variant)[1]
      if effective.STARTS.value(start, 'residual'):
        raise ValueError(
          f'variants={variant} has residual connections, for which '
          'quantity=tangent has no theory: choose moments.'
        )

  @property
  def num_dealt(self) -> int:
    """One learner has all data."""
    return 1

  def ineffective(self) -> dict[str, str]:
    """Data are for training."""
    names = ('dataset', 'data_dir', 'batch_size', 'eval_batch_size')
    why = 'it is for --quantity=training'
    return {} if self.quantity in TRAINED else dict.fromkeys(names, why)

  def read(self, variant: str) -> tuple[str, effective.Start]:
    """Reads a variant: its activation, and how its network starts."""
    activation, start = registry.pair(variant)
    with config_lib.naming(variants=variant):
      return activation, effective.STARTS.make(start, activation)

  def labels(self) -> dict[str, tuple[str, int]]:
    """Variants and widths by label."""
    return {
      f'{v}, n={n}' if len(self.widths) > 1 else v: (v, n)
      for v in self.variants
      for n in self.widths
    }


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  if config.quantity in TRAINED:
    return _training(config)
  variants = {}
  for label, (variant, width) in config.labels().items():
    activation, start = config.read(variant)
    variants[label] = effective.Ensemble(activation, start, width)
  return effective.ensembles(
    variants,
    depth=max(config.depths),
    num_rounds=config.num_rounds,
    kernel=config.kernel,
    rates=config.rates if config.quantity == 'tangent' else None,
    networks=config.clients(config.ensemble),
    seeds=config.seeds,
    plots=(functools.partial(draw, config),),
  )


def _training(config):
  """Networks of several depths on the same batches."""
  whole = config.problem(
    num_clients=1, network='logistic_regression', client_metrics=()
  )
  own, algorithms, columns = {}, {}, {}
  for label, (variant, width) in config.labels().items():
    activation, _ = config.read(variant)
    for depth in config.depths:
      network = effective.deep_mlp(
        depth,
        width,
        whole.num_classes,
        activation=activation,
        start=registry.pair(variant)[1],
      )
      optimizer = optax.sgd(config.learning_rate)
      if config.scaled:
        with config_lib.naming(variants=variant):
          optimizer = effective.scaled_sgd(
            *(activation, depth),
            learning_rate=config.learning_rate,
            weight_rate=config.rates[0],
            bias_rate=config.rates[1],
          )
      name = f'{label}, L={depth}'
      own[name] = problems.for_network(whole, network)
      algorithms[name] = federated.centralized_sgd(
        own[name].task, optimizer=optimizer
      )
      columns[name] = {'depth': depth, 'width': width}
  return compare(
    config, own, algorithms, columns=columns, plots=(_draw_training,)
  )


def draw(config: Config, rows, directory):
  """Draws every statistic by layer.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  shown = effective.grown(rows)
  paths = []
  for name, (ylabel, log_y) in SHOWN.items():
    if name in shown[0]:
      # Curves of several widths fall onto one.
      ratio = name == 'kurtosis' and len(config.widths) > 1
      paths.append(
        plots.lines(
          shown,
          directory / f'{name}.png',
          name,
          split=None,
          x='layer_ratio' if ratio else 'layer',
          xlabel='(Layer - 1) / width' if ratio else 'Layer',
          ylabel=ylabel,
          log_y=log_y,
          title=f'{config.num_rounds * config.ensemble} networks',
        )
      )
  return paths


def _draw_training(rows, directory):
  """Draws loss and accuracy over the steps."""
  line = lambda name, log_y: plots.lines(
    rows, directory / f'{name}.png', name, xlabel='Step', log_y=log_y
  )
  return [line('accuracy', False), line('loss', True)]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
