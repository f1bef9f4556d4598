# SPDX-License-Identifier: Apache-2.0
"""What layers of random features are for, beside what they compete with."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import experiment, federated, local, plots
from jaxdl.core import checks, registry, types
from jaxdl.networks import features as features_lib, functional
from jaxdl.problems import _scaled_examples as scaled_examples, _text as texts

# Makes a problem of vectors, with changes: `scaled_examples` of a setting.
MakeProblem = Callable[..., types.Problem]
# Trains the ordinary network for so many rounds; gives its layers.
Pretrain = Callable[[int], list[dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class LayerFacts:
  """What is known about a task.

  Attributes:
    title: what it is about.
    num_features: numbers m of random features to try.
    trains: whether it makes a `LayerComparison`; an `Experiment` otherwise.
    reads: whether it is about texts.
  """

  title: str
  num_features: tuple[int, ...]
  trains: bool = True
  reads: bool = False

  def check(self, task: str, dataset: str) -> None:
    """Raises ValueError unless a task is about such data."""
    if self.trains and texts.is_text(dataset) != self.reads:
      kind = 'texts: sentiment or sst2' if self.reads else 'examples'
      raise ValueError(
        f'dataset={dataset} does not fit task={task}, which is about {kind}.'
      )


class LayerComparison(NamedTuple):
  """Networks to be trained side by side, and read-outs to be fitted.

  Attributes:
    problem: from `scaled_examples` or `text`.
    candidates: networks by name.
    readouts: by family and number of features, 0 if there are none.
    fit: gives the problem to a network.
    example: an input or its shape; of vectors, their length.
  """

  problem: types.Problem
  candidates: dict[str, features_lib.Candidate]
  readouts: Mapping[tuple[str, int], scaled_examples.Readout] = {}
  fit: Callable[..., types.Problem] = scaled_examples.with_network
  example: Any = None

  @property
  def columns(self) -> dict[str, dict[str, Any]]:
    """Family, size and trained numbers of every candidate, for its rows."""
    example = self.example
    if example is None:
      example, _ = scaled_examples.vector_sizes(self.problem)
    return {
      name: {
        'family': c.family,
        'size': c.size,
        'num_trained': features_lib.num_trained(c.network, example),
      }
      for name, c in self.candidates.items()
    }

  @staticmethod
  def final(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last row of every variant and seed, all of split 'final'."""
    tested = [r for r in rows if r['split'] != 'train']
    last = {(r['variant'], r['seed']): r | {'split': 'final'} for r in tested}
    return list(last.values())

  def rows(self, moments: Sequence[Any]) -> list[dict[str, Any]]:
    """Fits the read-outs, once; `extra_rows` of `experiment.compare`."""
    out = []
    if moments[0].round:
      return out
    for (family, size), readout in self.readouts.items():
      columns = {'family': family, 'size': size}
      out += experiment.metric_rows(
        readout.evaluate(),
        step=0,
        split='closed_form',
        variant=f'{family}, m={size}' if size else family,
        seeds=self.problem.seeds,
        columns=columns | {'num_trained': readout.num_trained},
      )
    return out


@registry.known(
  LayerFacts('Bundled networks in closed form', (64, 128, 256, 512))
)
def bundled(
  make_problem: MakeProblem,
  features: features_lib.Features,
  sizes: Sequence[int],
  hidden_sizes: Sequence[int],
  activation: str,
  *,
  depth: int = 3,
  bundle_depth: int = 0,
  ridge: float = 1e-4,
) -> LayerComparison:
  """Bundles in closed form, beside networks that are trained by gradients.

  Args:
    make_problem: makes the problem.
    features: how maps are drawn.
    sizes: numbers m of random features.
    hidden_sizes: of the ordinary network; the last one is the width of those
      with `depth` layers.
    activation: of ordinary layers.
    depth: bundled layers, up to.
    bundle_depth: also train networks of `depth` hidden layers with this many
      merged and the others ordinary; 0 does not.
    ridge: penalty of read-outs in closed form.

  Returns:
    What is compared.

  Raises:
    ValueError: if a number is out of range or a system singular.
  """
  checks.num_layers(depth, name='depth')
  checks.integer(bundle_depth, name='bundle_depth', low=0, high=depth)
  checks.number(ridge, name='ridge', low=0.0)
  problem = make_problem()
  fit = functools.partial(scaled_examples.bundled_readout, problem, ridge=ridge)
  readouts = {('linear', 0): fit()}
  for k in range(1, depth + 1):
    for m in sizes:
      made = fit(features, depth=k, num_features=m)
      readouts[f'closed form, depth {k}', m] = made
  mlp = features_lib.without_constants(problem.network)
  candidates = {'MLP': features_lib.Candidate(mlp, 'MLP')}
  if bundle_depth:
    dim, outputs = scaled_examples.vector_sizes(problem)
    candidates |= features_lib.bundle_candidates(
      features,
      dim,
      (*(hidden_sizes[-1],) * depth, outputs),
      sizes,
      bundle_depth=bundle_depth,
      activation=activation,
    )
  return LayerComparison(problem, candidates, readouts)


@registry.known(LayerFacts('Trained from nothing', (8, 16, 32, 64)))
def scratch(
  make_problem: MakeProblem,
  features: features_lib.Features,
  sizes: Sequence[int],
  hidden_sizes: Sequence[int],
  activation: str,
  *,
  bandwidth: float = 2.0,
) -> LayerComparison:
  """Networks of equal size, see `features.scratch_candidates`.

  Args:
    make_problem: makes the problem.
    features: how maps are drawn.
    sizes: numbers m of random features.
    hidden_sizes: of the ordinary network.
    activation: of ordinary layers.
    bandwidth: of random Fourier features.

  Returns:
    What is compared.
  """
  checks.number(bandwidth, name='bandwidth', low=0.0, open_low=True)
  problem = make_problem()
  dim, outputs = scaled_examples.vector_sizes(problem)
  candidates = features_lib.scratch_candidates(
    problem.network,
    features,
    dim,
    (*hidden_sizes, outputs),
    sizes,
    activation=activation,
    bandwidth=bandwidth,
  )
  return LayerComparison(problem, candidates)


@registry.known(
  LayerFacts('A frozen network moved to other images', (2, 8, 32))
)
def adapter(
  make_problem: MakeProblem,
  pretrain: Pretrain,
  features: features_lib.Features,
  sizes: Sequence[int],
  activation: str,
  *,
  transfer: str = 'rotate',
  kind: str = 'gate',
  kernel_init: str = 'normal',
  train_head: bool = True,
  pretrain_rounds: int = 1000,
) -> LayerComparison:
  """Ways to move a network to changed images.

  Args:
    make_problem: makes the problem.
    pretrain: gives the network.
    features: how maps are drawn.
    sizes: numbers m of random features.
    activation: of ordinary layers.
    transfer: a chain of `TRANSFERS`.
    kind: of SNNK adapters: gate is x + v * SNNK(x) from v = 0, up is
      x + U Phi(x) + c from U = 0.
    kernel_init: W_0 of SNNK adapters, e.g. normal ('bert') or pytorch ('mam').
    train_head: whether adapters come with a trained head.
    pretrain_rounds: rounds of the network.

  Returns:
    What is compared.
  """
  scaled_examples.TRANSFERS.check(transfer)
  checks.choice(kind, ('gate', 'up'), name='kind')
  functional.KERNEL_INITS.check(kernel_init, name='kernel_init')
  problem = make_problem(transfer=transfer)
  candidates = features_lib.adapter_candidates(
    pretrain(pretrain_rounds),
    features,
    scaled_examples.vector_sizes(problem)[0],
    sizes,
    activation=activation,
    kind=kind,
    kernel_init=kernel_init,
    train_head=train_head,
  )
  return LayerComparison(problem, candidates)


@registry.known(
  LayerFacts('A frozen transformer with adapters', (4, 8), reads=True)
)
def language(
  make_problem: MakeProblem,
  features: features_lib.Features,
  sizes: Sequence[int],
  *,
  kind: str = 'gate',
  kernel_init: str = 'normal',
  larger: float = 5.0,
  rivals: tuple[str, ...] = features_lib.RIVALS,
) -> LayerComparison:
  """Ways to teach a pretrained transformer to answer prompts.

  Args:
    make_problem: makes the problem, that of texts.
    features: how maps are drawn.
    sizes: numbers m of random features.
    kind: of SNNK adapters, as of `adapter`.
    kernel_init: W_0 of SNNK adapters.
    larger: one more bottleneck trains so many times the numbers of the smallest
      SNNK adapter.
    rivals: what there is besides SNNK adapters: some of bottleneck, lora,
      bitfit and full.

  Returns:
    What is compared.
  """
  checks.choice(kind, ('gate', 'up'), name='kind')
  functional.KERNEL_INITS.check(kernel_init, name='kernel_init')
  checks.number(larger, name='larger', low=0.0, open_low=True)
  rivals = rivals if isinstance(rivals, tuple) else (rivals,)
  for rival in rivals:
    checks.choice(rival, features_lib.RIVALS, name='rivals')
  problem = make_problem()
  example = jax.ShapeDtypeStruct(
    (1, problem.test['inputs'].shape[-1]), jnp.int32
  )
  candidates = features_lib.language_candidates(
    problem.network,
    problem.task.init(jax.random.key(0)),
    features,
    example,
    sizes,
    kind=kind,
    kernel_init=kernel_init,
    larger=larger,
    rivals=rivals,
  )
  return LayerComparison(
    problem,
    candidates,
    fit=lambda p, network, l2=0.0: texts.with_reader(p, network),
    example=example,
  )


@registry.known(LayerFacts('Converted layers, trained on', (8, 32, 128)))
def uptrain(
  make_problem: MakeProblem,
  pretrain: Pretrain,
  features: features_lib.Features,
  sizes: Sequence[int],
  hidden_sizes: Sequence[int],
  activation: str,
  *,
  layers: tuple[int, ...] = (0,),
  pretrain_rounds: int = 1000,
) -> LayerComparison:
  """Ways to make layers of a trained network smaller.

  Args:
    make_problem: makes the problem.
    pretrain: gives the network.
    features: how maps are drawn.
    sizes: numbers m of random features.
    hidden_sizes: of the network.
    activation: of ordinary layers.
    layers: hidden layers to convert.
    pretrain_rounds: rounds of the network.

  Returns:
    What is compared.
  """
  layers = layers if isinstance(layers, tuple) else (layers,)
  if not layers:
    raise ValueError('layers is empty: name at least one hidden layer.')
  for i in layers:
    checks.integer(i, name='layers', low=0, high=len(hidden_sizes) - 1)
  problem = make_problem()
  candidates = features_lib.conversion_candidates(
    pretrain(pretrain_rounds),
    features,
    scaled_examples.vector_sizes(problem)[0],
    sizes,
    mapped=layers,
    activation=activation,
  )
  return LayerComparison(problem, candidates)


@registry.known(LayerFacts('Estimates', (16, 32, 64, 128, 256), trains=False))
def kernel(
  sizes: Sequence[int],
  seeds: Sequence[int],
  *,
  kind: str = 'cos',
  a: float = 0.0,
  dimension: int = 16,
  length: float = 0.7,
  num_draws: int = 2000,
) -> experiment.Experiment:
  """Errors of estimates of a kernel, without rounds: `kernel_errors`.

  Args:
    sizes: numbers m of random features.
    seeds: S seeds.
    kind: f in f(w.x).
    a: of the exponential features.
    dimension: length of vectors.
    length: norm of x and w.
    num_draws: draws per estimate.

  Returns:
    The experiment.
  """
  options = dict(kind=kind, a=a, dimension=dimension, length=length)
  errors = functools.partial(
    features_lib.kernel_errors, num_draws=num_draws, **options
  )
  # Traced alone, which checks the options.
  jax.eval_shape(lambda: errors(jax.random.key(0), 1))

  @functools.partial(jax.jit, static_argnums=0)
  def measure(m, keys):
    return jax.lax.map(lambda key: errors(jax.random.fold_in(key, m), m), keys)

  def rows(state, metrics, round):
    del state, metrics
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    out = []
    for m in sizes:
      label = {'step': round, 'split': 'test', 'seeds': seeds}
      for name, found in jax.device_get(measure(m, keys)).items():
        columns = {'num_rf': m}
        out += experiment.metric_rows(
          found, variant=name, columns=columns, **label
        )
    return out

  def draw_errors(rows, directory):
    look = {'x': 'num_rf', 'xlabel': 'Random features m'}
    look['title'] = f'{kind}(w.x), |x| = |w| = {length:g}, d = {dimension}'
    look['ylabel'] = 'Root mean square error'
    return [plots.log_log(rows, directory / 'kernel.png', 'rmse', **look)]

  return experiment.Experiment(
    init=lambda: 0,
    step=lambda state, round: (state, {}),
    rows=rows,
    num_rounds=0,
    plots=(draw_errors,),
    table=experiment.runner.table_by('num_rf'),
    jit=False,
  )


# What is done with layers of random features.
LAYER_TASKS = registry.Registry(
  'task',
  {
    'adapter': adapter,
    'bundled': bundled,
    'kernel': kernel,
    'language': language,
    'scratch': scratch,
    'uptrain': uptrain,
  },
  given=(
    *('make_problem', 'pretrain', 'features', 'sizes', 'hidden_sizes'),
    *('activation', 'seeds'),
  ),
)


def pretrained(
  problem: types.Problem,
  num_rounds: int,
  *,
  optimizer: str = 'adam(0.003)',
  l2: float = 0.0,
) -> list[dict[str, Any]]:
  """Trains the network that adapters and conversions start from.

  It is the same for all seeds, like a published one: that of the first seed.

  Args:
    problem: from `scaled_examples`, with its fully connected network.
    num_rounds: steps, >= 0.
    optimizer: a part of `local.OPTIMIZERS`.
    l2: penalty of the loss.

  Returns:
    Its layers, those of `mlp`.

  Example:
    >>> problem = scaled_examples.scaled_examples('wine', network='mlp(4)')
    >>> [layer['kernel'].shape for layer in pretrained(problem, 2)]
    [(13, 4), (4, 3)]
  """
  checks.integer(num_rounds, name='num_rounds', low=0)
  network = features_lib.without_constants(problem.network)
  problem = scaled_examples.with_network(problem, network, l2=l2)
  algorithm = federated.centralized_sgd(
    problem.task,
    optimizer=features_lib.trained_only(
      local.make_optimizer(optimizer, num_steps=num_rounds)
    ),
  )
  state, _ = experiment.train(
    algorithm,
    problem,
    num_rounds=num_rounds,
    key=jax.random.key(problem.seeds[0]),
    eval_every=max(num_rounds, 1),
  )
  return state.params['trained']
