# SPDX-License-Identifier: Apache-2.0
"""Knobs of maps between functions, their comparison, and its rows."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import experiment, federated, local, operators, plots
from jaxdl.core import registry
from jaxdl.experiment import config as config_lib, runner
from jaxdl.operators import physics
from jaxdl.pde import sets
from jaxdl.problems import _functions as lib
from jaxdl.problems._flows import rollout_rows as rollout_rows

knob = config_lib.knob
Row = dict[str, Any]

# What `--models` may name: model, or model@loss.
MODELS = registry.Pair(operators.MODELS, lib.LOSSES)
# What a picture shows per axis at most.
_PICTURE = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionsConfig(config_lib.BaseConfig):
  """Knobs of functions, their normalization and optimization."""

  problem: str = knob(
    'antiderivative',
    'What is learned: functions that are solved, or read from a file.',
    registry=sets.SOURCES,
  )
  models: tuple[str, ...] = knob(
    ('deeponet',),
    'Networks to compare, each perhaps with a loss of its own, model@loss.',
    registry=MODELS,
  )
  num_train: int = knob(1000, 'Training functions.', low=1, smoke=32)
  num_test: int = knob(200, 'Test functions.', low=1, smoke=8)
  loss: str = knob('relative_l2', 'What is minimized.', registry=lib.LOSSES)
  input_normalizer: str = knob(
    'none', 'Statistics taken off the inputs.', choices=lib.NORMALIZERS
  )
  target_normalizer: str = knob(
    'none',
    'Statistics that the network gives back to its outputs before the loss.',
    choices=lib.NORMALIZERS,
  )
  num_rounds: int = knob(1000, 'Rounds of steps_per_round steps.', low=0)
  steps_per_round: int = knob(
    10,
    'Optimizer steps in a round; 0 passes over the functions once.',
    low=0,
    smoke=2,
  )
  eval_every: int = knob(100, 'Rounds between evaluations.', low=1)
  batch_size: int = knob(
    20, 'Functions in a step; 0 takes all.', low=0, smoke=8
  )
  sampling: str = knob(
    'epochs',
    'Batches of shuffled passes over the functions, or drawn independently.',
    choices=lib.SAMPLINGS,
    needs={'batch_size': True},
  )
  optimizer: str = knob(
    'adam(1e-3)', 'Steps; schedules span the run.', registry=local.OPTIMIZERS
  )
  eval_batch_size: int = knob(
    50, 'Functions in an evaluation batch.', low=1, smoke=8
  )
  eval_train: bool = knob(True, 'Also evaluate on the training functions.')
  num_samples: int = knob(
    3, 'Test functions drawn in the pictures.', low=1, smoke=1
  )

  def validate(self) -> None:
    """Checks that models differ."""
    super().validate()
    config_lib.check_different(self.models, name='models')

  @property
  def part(self) -> registry.Part:
    """The problem, read."""
    return sets.SOURCES.part(self.problem, name='problem')

  @property
  def is_stored(self) -> bool:
    """Whether functions are read from a file."""
    return self.part.name not in sets.PROBLEMS

  @property
  def resolution(self) -> int | None:
    """Points per axis of the input functions; None of a file's."""
    return sets.SOURCES.value(self.problem, 'resolution')

  def functions(self, *, layout: str, **changes: Any) -> lib.Functions:
    """Draws or reads the functions of the knobs.

    Args:
      layout: see `functions`.
      **changes: arguments of `functions` that differ from the knobs.

    Returns:
      The functions.
    """
    options = {
      'problem': self.problem,
      'num_train': self.num_train,
      'num_test': self.num_test,
      'batch_size': self.batch_size,
      'sampling': self.sampling,
      'eval_batch_size': self.eval_batch_size,
      'num_samples': self.num_samples,
      'seeds': self.seeds,
    }
    return lib.functions(layout=layout, **(options | changes))

  @property
  def title(self) -> str:
    """Says what is learned from how much."""
    what = pathlib.Path(self.problem_path).name or self.part.name
    points = f' on {self.resolution} points per axis' if self.resolution else ''
    return f'{what}{points}, {self.num_train:,} functions'

  @property
  def problem_path(self) -> str:
    """The file that functions are read from, or nothing."""
    return str(self.part.options['path']) if self.is_stored else ''

  def check(
    self,
    model: str,
    layout: str,
    resolutions: Sequence[int] = (),
    *,
    problem: str | None = None,
    steps: bool = False,
  ) -> None:
    """Traces a model on the grids of the problem, if it is solved.

    Args:
      model: a part of `operators.MODELS`.
      layout: one of `pde.sets.LAYOUTS`.
      resolutions: further points per axis.
      problem: in place of that of the knobs.
      steps: whether the model steps from one time to the next.

    Raises:
      ValueError: if they do not fit.
    """
    problem = problem or self.problem
    lib.check_layout(model, layout)
    if self.is_stored:
      if resolutions:
        raise ValueError(
          f'eval_resolutions={config_lib.text_of(tuple(resolutions))} needs '
          f'functions that are solved, not problem={self.problem}.'
        )
      return
    with config_lib.naming(models=model, problem=problem):
      for points in (None, *resolutions):
        trace(model, problem, layout, points=points, steps=steps)

  def own_grid(self, rows: Sequence[Row]) -> list[Row]:
    """Returns rows without those of other grids than the networks' own."""
    own = self.resolution
    return [row for row in rows if row.get('resolution', own) == own]

  def compare(
    self,
    problems: Mapping[str, lib.FunctionProblem],
    *,
    draw: Callable[..., Any] | None = None,
    extra_rows: Callable[[list[Any]], list[Row]] | None = None,
    columns: Mapping[str, Mapping[str, Any]] | None = None,
    table: Callable[[list[Row]], Any] | None = None,
  ) -> runner.Experiment:
    """Trains networks side by side.

    Rows: split 'test' (and 'train') with the loss and the metrics of each
    network; 'steps' with means over the steps of a round; where there are
    several test grids, `resolution`; after the last round split 'function' for
    `plots.functions`.

    Args:
      problems: by name, the label 'variant' of the rows.
      draw: `draw(config, rows, directory) -> paths`, which is told how many
        steps a round has.
      extra_rows: see `experiment.compare`.
      columns: likewise.
      table: likewise.

    Returns:
      The experiment.

    Raises:
      ValueError: if there is no problem.
    """
    if not problems:
      raise ValueError('there is nothing to train: name at least one model.')
    first = next(iter(problems.values())).functions
    steps = self.steps_per_round or first.steps_per_epoch
    told = dataclasses.replace(self, steps_per_round=steps)
    optimizer = local.make_optimizer(
      self.optimizer, num_steps=max(1, self.num_rounds * steps)
    )
    labels = {name: dict((columns or {}).get(name, {})) for name in problems}
    for name, p in problems.items():
      if len(p.functions.tests) > 1:
        labels[name]['resolution'] = int(next(iter(p.functions.tests)))

    def measure(values, moment):
      out = {'test': values['test']}
      p = moment.variant.problem
      if self.eval_train:
        out['train'] = p.measure(moment.params, p.functions.train_batches)
      if 'train' in values:
        out['steps'] = values['train']
      return out

    def rows(moments):
      found = [row for m in moments for row in other_grids(m)]
      if extra_rows is not None:
        found += extra_rows(moments)
      if moments[0].last:
        found += function_rows(moments)
      return found

    names = dict.fromkeys(k for own in labels.values() for k in own)
    return experiment.compare(
      self,
      problems,
      {
        name: lib.for_task(
          p,
          functools.partial(federated.centralized_sgd, optimizer=optimizer),
        )
        for name, p in problems.items()
      },
      measure=measure,
      extra_rows=rows,
      columns=labels,
      steps=steps,
      plots=() if draw is None else (functools.partial(draw, told),),
      table=table or runner.table_by(*(names | {'resolution': None})),
    )


@functools.cache
def trace(
  model: str,
  problem: str,
  layout: str,
  *,
  points: int | None = None,
  steps: bool = False,
) -> int:
  """Traces a model on the shapes of a problem, before anything is solved.

  Args:
    model: a part of `operators.MODELS`.
    problem: a part of `pde.sets.PROBLEMS`.
    layout: one of `pde.sets.LAYOUTS`.
    points: per axis of another grid; None for that of the problem.
    steps: whether the model steps from one time to the next.

  Returns:
    Its number of parameters.

  Raises:
    ValueError: if they do not fit.

  Example:
    >>> trace('deeponet', 'antiderivative', 'aligned')
    9041
  """
  part = operators.MODELS.part(model)
  shapes = sets.operator_shapes(problem, layout=layout)
  outputs = shapes.targets.shape[-1] if layout == 'grid' and not steps else 1
  # How convolutions are computed may depend on the device, not to be asked for
  # here, and changes no shape.
  context: dict[str, Any] = {'out_channels': outputs, 'method': 'conv'}
  if operators.model_facts(model).basis:
    modes = part.options.get('num_modes', 1)
    zeros = np.zeros((modes, shapes.queries.shape[0]), np.float32)
    context['basis'] = operators.PODBasis(zeros[0], zeros, zeros[:, 0])
  network = operators.MODELS.bound(part, **context)
  args = (shapes.inputs,)
  if operators.model_facts(model).points:
    args = (shapes.inputs, shapes.queries)
  key = jax.eval_shape(lambda: jax.random.key(0))
  params = jax.eval_shape(network.init, key, *args)
  if points is not None:
    own = sets.PROBLEMS.value(problem, 'resolution')
    grid = [points if n == own else n for n in shapes.inputs.shape[1:-1]]
    args = (jax.ShapeDtypeStruct((1, *grid, 1), shapes.inputs.dtype),)
  options = {'aligned': layout == 'aligned'} if len(args) == 2 else {}
  apply = functools.partial(network.apply, **options)
  jax.eval_shape(apply, params, *args)
  return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


def fit_table(
  rows: Sequence[Row], *, trim: float
) -> tuple[list[str], list[list[Any]]]:
  """Sizes and errors of the last round, averaged over the seeds.

  Args:
    rows: rows of a run; those of split 'network' have `num_params`.
    trim: share of the errors that `trimmed_mse` leaves out.

  Returns:
    Columns and cells for the terminal.
  """
  test, train = (plots.last_rows(rows, split=s) for s in ('test', 'train'))
  mean = lambda found, name: (
    float(np.mean([r[name] for r in found])) if found else None
  )
  sizes = {
    r['variant']: r['num_params'] for r in rows if r['split'] == 'network'
  }
  cells = []
  for variant in dict.fromkeys(r['variant'] for r in test):
    own = [r for r in test if r['variant'] == variant]
    fit = [r for r in train if r['variant'] == variant]
    error, seen = mean(own, 'mse'), mean(fit, 'mse')
    cells.append(
      [
        variant,
        sizes.get(variant),
        seen,
        error,
        mean(own, 'trimmed_mse'),
        error / seen if seen else None,
      ]
    )
  columns = [
    'network',
    'parameters',
    'train MSE',
    'test MSE',
    f'without the worst {trim:.1%}',
    'test / train',
  ]
  return columns, cells


def size_rows(moments: Sequence[Any]) -> list[Row]:
  """Numbers of parameters, after the last round.

  Args:
    moments: see `experiment.compare`.

  Returns:
    Rows of split 'network' with `num_params`.
  """
  return [
    {
      'step': m.round,
      'split': 'network',
      'variant': m.variant.name,
      'seed': int(m.variant.problem.seeds[0]),
      'num_params': m.variant.problem.num_parameters,
    }
    for m in moments
    if m.last
  ]


def check_equation(
  config: FunctionsConfig, model: str, *, layout: str, hard_boundary: bool
) -> None:
  """Checks that a model can be trained on the equation of a problem alone.

  Args:
    config: knobs.
    model: a part of `operators.MODELS`.
    layout: of the functions.
    hard_boundary: whether outputs meet zero data by themselves.

  Raises:
    ValueError: if it cannot.
  """
  name = config.part.name
  if name not in physics.EQUATIONS:
    raise ValueError(
      f'loss=equation knows those of {", ".join(physics.EQUATIONS)}; got '
      f'problem={config.problem}.'
    )
  facts = operators.model_facts(model)
  if facts.shared_points:
    raise ValueError(
      f'loss=equation needs outputs at any points; models={model} gives them '
      'at fixed ones.'
    )
  activation = operators.MODELS.value(model, 'activation')
  if activation in ('relu', 'identity'):
    raise ValueError(
      'loss=equation needs a smooth activation: second derivatives of a '
      f'network with {activation} vanish. Write '
      f'{operators.MODELS.changed(model, activation="tanh")}.'
    )
  if layout != 'aligned':
    raise ValueError(
      'loss=equation needs layout=aligned: it draws its own points.'
    )
  if config.target_normalizer != 'none':
    raise ValueError(
      'loss=equation sees no solutions, so it has no statistics of them: use '
      'target_normalizer=none.'
    )
  if name == 'pendulum' and not hard_boundary:
    raise ValueError(
      'loss=equation of problem=pendulum needs hard_boundary: two initial '
      'values are given.'
    )


def labeled(
  models: Sequence[str], loss: str = 'relative_l2'
) -> dict[str, tuple[str, str]]:
  """Gives models short names.

  Args:
    models: parts of `operators.MODELS`, or model@loss.
    loss: of those without.

  Returns:
    (model, loss) by the name of the model alone where that tells it from the
    others, else with the loss, else as it was written. What comes to the same
    is there once.

  Example:
    >>> list(labeled(('fno(channels=8)', 'mgno', 'mgno@mse')))
    ['fno', 'mgno', 'mgno@mse']
  """
  pairs = [registry.pair(text, name='models') for text in models]
  name = lambda spec: registry.parse(spec).name
  brief = [name(spec) + (f'@{own}' if own else '') for spec, own in pairs]
  out: dict[str, tuple[str, str]] = {}
  for text, short, (spec, own) in zip(models, brief, pairs, strict=True):
    found = (spec, own or loss)
    if found not in out.values():
      out[short if brief.count(short) == 1 else text] = found
  return out


def small_models(
  num: int, **sizes: Any
) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
  """What models become in a small run.

  Args:
    num: how many are kept.
    **sizes: options of models: numbers that they are lowered to, text that
      replaces what they have.

  Returns:
    A function for `knob(smoke=...)`.

  Example:
    >>> small_models(1, channels=4)(('fno(channels=8)', 'mgno'))
    ('fno(channels=4)',)
  """

  def shrink(models):
    out = []
    for text in models[:num]:
      spec, own = registry.pair(text)
      small = {}
      for name, size in sizes.items():
        value = operators.MODELS.value(spec, name)
        if value is not None:
          small[name] = size if isinstance(size, str) else min(value, size)
      spec = operators.MODELS.changed(spec, **small)
      out.append(f'{spec}@{own}' if own else spec)
    return tuple(out)

  return shrink


def smaller(points: int) -> Callable[[str], str]:
  """What a problem becomes in a small run: so many points per axis at most.

  Args:
    points: of the input functions.

  Returns:
    A function for `knob(smoke=...)`.
  """

  def shrink(problem):
    size = sets.SOURCES.value(problem, 'resolution')
    if size is None or size <= points:
      return problem
    return sets.SOURCES.changed(problem, resolution=points)

  return shrink


def other_grids(moment: Any) -> list[Row]:
  """Errors of a variant on the test grids that it was not trained on.

  Args:
    moment: see `experiment.compare`.

  Returns:
    Rows of split 'test' with `resolution`.
  """
  v = moment.variant
  out = []
  for grid, test in list(v.problem.functions.tests.items())[1:]:
    out += experiment.metric_rows(
      v.problem.measure(moment.params, test),
      step=moment.round,
      split='test',
      variant=v.name,
      seeds=v.problem.seeds,
      columns=v.columns | {'resolution': int(grid)},
    )
  return out


def spectrum_rows(moments: Sequence[Any]) -> list[Row]:
  """Energy by wavenumber of test targets and of errors, after the last round.

  Args:
    moments: see `experiment.compare`; those with query points have no spectrum.

  Returns:
    Rows of split 'spectrum' with `wavenumber` and `energy`, of the first seed
    and the first batch of the first test set; variants are 'target' and
    'error of' each variant.
  """
  out: list[Row] = []
  first = lambda tree: jax.tree.map(lambda x: x[0], tree)
  for m in moments:
    p = m.variant.problem
    if not m.last or not p.functions.on_grids:
      continue
    test = jax.tree.map(lambda x: x[0, 0], p.test)
    real = np.asarray(test['mask'])
    apply = jax.jit(p.network_at(0).apply)
    predicted = apply(first(m.params), test['inputs'])
    fields = {}
    if not out:
      fields['target'] = np.asarray(test['targets'])[real]
    error = np.asarray(predicted - test['targets'])[real]
    fields[f'error of {m.variant.name}'] = error
    for variant, field in fields.items():
      for k, energy in enumerate(operators.energy_spectrum(field)):
        out.append(
          {
            'step': m.round,
            'split': 'spectrum',
            'variant': variant,
            'seed': int(p.seeds[0]),
            'wavenumber': k,
            'energy': float(energy),
          }
        )
  return out


def function_rows(moments: Sequence[Any]) -> list[Row]:
  """Sampled inputs, targets and predictions of the first seed.

  Args:
    moments: see `experiment.compare`.

  Returns:
    Rows of split 'function', see `plots.functions`; inputs and targets that
    variants share are noted once.
  """
  out, seen = [], []
  first = lambda tree: jax.tree.map(lambda x: x[0], tree)

  def add(m, kind, values, *, channels):
    for sample, picture in enumerate(pictured(values, channels=channels)):
      for line, numbers in enumerate(picture):
        out.append(
          {
            'step': m.round,
            'split': 'function',
            'variant': m.variant.name,
            'seed': int(m.variant.problem.seeds[0]),
            'kind': kind,
            'sample': sample,
            'line': line,
            **{f'v_{j}': float(x) for j, x in enumerate(numbers)},
            **m.variant.columns,
          }
        )

  for m in moments:
    p = m.variant.problem
    samples = p.functions.samples
    if not samples:
      continue
    grid = p.functions.on_grids
    if not any(samples is other for other in seen):
      seen.append(samples)
      for kind in ('inputs', 'targets'):
        add(m, kind, samples[kind], channels=grid)
    options = {} if grid else {'aligned': True}
    predicted = jax.jit(functools.partial(p.network_at(0).apply, **options))(
      first(m.params), *map(jnp.asarray, samples['arguments'])
    )
    predicted = np.asarray(predicted).reshape(
      *samples['targets'].shape, *(() if grid else (-1,))
    )
    add(
      m,
      'predictions',
      predicted if grid else predicted[..., 0],
      channels=grid,
    )
  return out


def pictured(values: np.ndarray, *, channels: bool) -> np.ndarray:
  """Reduces functions to what a picture shows.

  Args:
    values: [n, *grid] or, with channels, [n, *grid, C], whose last is taken.
    channels: whether the last axis holds channels.

  Returns:
    float64[n, rows, columns], at most 64 each; one row for a curve, the middle
    slice of a volume.
  """
  values = np.asarray(values, np.float64)
  if channels:
    values = values[..., -1]
  while values.ndim > 3:
    values = values[:, values.shape[1] // 2]
  if values.ndim == 2:
    return values[:, None, :: max(1, -(-values.shape[1] // 256))]
  rows = max(1, -(-values.shape[1] // _PICTURE))
  columns = max(1, -(-values.shape[2] // _PICTURE))
  return values[:, ::rows, ::columns]
