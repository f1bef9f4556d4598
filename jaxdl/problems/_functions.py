# SPDX-License-Identifier: Apache-2.0
"""Maps between functions, learned from samples that are solved or read."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import metrics as metrics_lib, operators
from jaxdl.core import checks, registry, types
from jaxdl.pde import sets
from jaxdl.problems import _function_arrays as arrays


def equation(num_points: int = 200) -> None:
  """Training on the residual of the equation alone, without solutions.

  Args:
    num_points: points of a step where the residual is taken.
  """
  del num_points  # See `Functions.problem`.


# What `loss` may name: losses of predictions, or the equation.
LOSSES = operators.LOSSES | {'equation': equation}
NORMALIZERS = ('none', 'scalar', 'channel', 'point', 'range')
SAMPLINGS = ('epochs', 'independent')


def functions(
  problem: str = 'antiderivative',
  *,
  layout: str = 'aligned',
  num_train: int = 1000,
  num_test: int = 200,
  queries_per_function: int = 1,
  eval_resolutions: Sequence[int] = (),
  batch_size: int = 20,
  sampling: str = 'epochs',
  eval_batch_size: int = 50,
  num_samples: int = 3,
  seeds: Sequence[int] = (0,),
) -> 'Functions':
  """Draws and solves a set of functions once per seed, or reads one.

  `Functions.problem` then gives a network what to learn.

  Args:
    problem: a part of `pde.sets.SOURCES`, as 'burgers(resolution=64)' or
      'file("data.mat", format=darcy)'; of a file every seed sees the same.
    layout: one of `pde.sets.LAYOUTS`; files have their own.
    num_train: training functions.
    num_test: test functions.
    queries_per_function: points per function, for 'unaligned'.
    eval_resolutions: further grids to test on ('grid' only). Everything is then
      solved at the finest and subsampled, so that all show the same functions.
    batch_size: functions (or rows of 'unaligned') in a step; 0 takes all.
    sampling: 'epochs' partitions shuffled passes (an incomplete last batch is
      dropped), 'independent' draws with replacement.
    eval_batch_size: functions in an evaluation batch.
    num_samples: test functions kept for pictures.
    seeds: S seeds; each has functions of its own.

  Returns:
    The functions.

  Raises:
    ValueError: if a name, an option, a number or a file does not fit, or
      resolutions do not divide each other.

  Example:
    >>> drawn = functions(
    ...   'antiderivative(resolution=10)', num_train=6, num_test=4, batch_size=3
    ... )
    >>> network = operators.deeponet((8, 4), (8, 4))
    >>> problem = drawn.problem(network, loss='mse')
    >>> cohort = problem.cohort(
    ...   jax.random.key(0), jax.tree.map(lambda x: x[0], problem.data), 1
    ... )
    >>> cohort.data['inputs'].shape
    (1, 3, 10)
  """
  checks.choice(layout, sets.LAYOUTS, name='layout')
  checks.choice(sampling, SAMPLINGS, name='sampling')
  checks.integer(batch_size, name='batch_size', low=0)
  checks.integer(eval_batch_size, name='eval_batch_size', low=1)
  checks.integer(num_samples, name='num_samples', low=1)
  seeds = checks.seeds(seeds)
  part = sets.SOURCES.part(problem)
  if part.name not in sets.PROBLEMS:
    if eval_resolutions:
      raise ValueError(
        f'eval_resolutions needs functions that are solved, not problem='
        f'{problem}: leave it out.'
      )
    stored = sets.SOURCES.bound(part, num_train=num_train, num_test=num_test)
    found = arrays.stored(stored, len(seeds), eval_batch_size, num_samples)
  else:
    found = arrays.solved(
      part,
      layout=layout,
      num_train=num_train,
      num_test=num_test,
      queries_per_function=queries_per_function,
      eval_resolutions=tuple(eval_resolutions),
      eval_batch_size=eval_batch_size,
      num_samples=num_samples,
      seeds=seeds,
    )
  return Functions(
    spec=problem,
    seeds=seeds,
    batch_size=batch_size,
    sampling=sampling,
    eval_batch_size=eval_batch_size,
    **found,
  )


def check_layout(model: str, layout: str) -> None:
  """Checks that a model reads functions in a layout.

  Args:
    model: a part of `operators.MODELS`.
    layout: one of `pde.sets.LAYOUTS`.

  Raises:
    ValueError: if it does not.

  Example:
    >>> check_layout('fno', 'aligned')
    Traceback (most recent call last):
    ValueError: models=fno works on grids, not on functions of layout=aligned.
  """
  facts = operators.model_facts(model)
  if facts.points == (layout == 'grid'):
    where = 'at points' if facts.points else 'on grids'
    raise ValueError(
      f'models={model} works {where}, not on functions of layout={layout}.'
    )
  if facts.shared_points and layout == 'unaligned':
    raise ValueError(
      f'models={model} needs all functions at the same points: use '
      'layout=aligned.'
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Functions:
  """Functions to learn from and to be tested on, for S seeds.

  Attributes:
    spec: what they are.
    layout: 'grid', 'aligned' or 'unaligned'.
    train: 'inputs', 'targets' and, if unaligned, 'points': leaves [S, n, ...].
    tests: test sets by label ('' or a resolution): leaves [S, T, B, ...] with
      'mask', as `data.eval_batches` cuts them; the first is on the grid of the
      training functions.
    points: f[Q, d], query points that all functions share, or None.
    samples: some test functions for pictures: 'inputs' [n, *input grid],
      'targets' [n, *output grid] and what the network takes, 'arguments'.
    periodic: whether the grid lacks the right end of each axis.
    queries_per_function: rows of a function, if unaligned and solved.
    seeds: S seeds.
    batch_size: functions in a step; 0 takes all.
    sampling: one of `SAMPLINGS`.
    eval_batch_size: functions in an evaluation batch.
  """

  spec: str
  layout: str
  train: dict[str, chex.Array]
  tests: dict[str, dict[str, chex.Array]]
  points: chex.Array | None
  samples: dict[str, Any]
  periodic: bool = False
  queries_per_function: int = 1
  seeds: tuple[int, ...] = (0,)
  batch_size: int = 0
  sampling: str = 'epochs'
  eval_batch_size: int = 50

  def replace(self, **changes: Any) -> 'Functions':
    """Returns these functions with some attributes changed."""
    return dataclasses.replace(self, **changes)

  def first(self, num_train: int) -> 'Functions':
    """Returns these functions with fewer to train on.

    Args:
      num_train: functions that are kept (rows of an unaligned file).

    Returns:
      The others.

    Raises:
      ValueError: if there are fewer.
    """
    rows = checks.integer(num_train, name='num_train', low=1)
    rows *= self.queries_per_function
    if rows > self.num_train:
      raise ValueError(
        f'num_train={num_train} exceeds the '
        f'{self.num_train // self.queries_per_function} training functions of '
        f'problem={self.spec}.'
      )
    return self.replace(train=jax.tree.map(lambda x: x[:, :rows], self.train))

  def example(self) -> dict[str, chex.Array]:
    """One seed's training data, for shapes."""
    return jax.tree.map(lambda x: x[0], self.train)

  @property
  def num_train(self) -> int:
    """Training functions, or rows if unaligned."""
    return self.train['inputs'].shape[1]

  @property
  def steps_per_epoch(self) -> int:
    """Whole batches in a pass over the training functions."""
    return max(1, self.num_train // (self.batch_size or self.num_train))

  @property
  def on_grids(self) -> bool:
    """Whether inputs and targets are functions on a grid."""
    return self.layout == 'grid'

  @property
  def num_outputs(self) -> int:
    """Number of output functions."""
    targets = self.example()['targets']
    return (
      1
      if self.points is not None and targets.ndim == 2
      else (targets.shape[-1])
    )

  @functools.cached_property
  def data(self) -> dict[str, Any]:
    """What `Problem.data` is, one object for all that is learned from it."""
    return {'functions': self.train, 'seed': jnp.arange(len(self.seeds))}

  @functools.cached_property
  def cohort(self) -> Callable[..., types.Cohort]:
    """What `Problem.cohort` is."""

    def cohort(key, data, round):
      return draw_cohort(
        key,
        data['functions'],
        round - 1,
        batch_size=self.batch_size,
        shuffled=self.sampling == 'epochs',
      )

    return cohort

  @functools.cached_property
  def train_batches(self) -> dict[str, chex.Array]:
    """The training functions as batches for evaluation."""
    n = self.num_train
    size = min(max(self.eval_batch_size, self.batch_size or n), n)
    return arrays.stacked_batches(
      [
        jax.tree.map(lambda x, i=i: np.asarray(x[i]), self.train)
        for i in range(len(self.seeds))
      ],
      size,
    )

  def normalizers(
    self, *, inputs: str = 'none', targets: str = 'none'
  ) -> dict[str, operators.Normalizer]:
    """Fits normalizers to the training functions of each seed.

    Args:
      inputs: one of `NORMALIZERS`, for the input functions.
      targets: likewise, for what the network gives.

    Returns:
      'inputs' and 'outputs' where asked for, leaves [S, ...].

    Raises:
      ValueError: if one kind does not fit the data.
    """
    out = {}
    for name, kind, values in (
      ('inputs', inputs, self.train['inputs']),
      ('outputs', targets, self.train['targets']),
    ):
      checks.choice(kind, NORMALIZERS, name='normalizer')
      if kind == 'none':
        continue
      if name == 'outputs' and self.points is not None and values.ndim == 3:
        values = values[..., None]
      out[name] = jax.vmap(
        lambda x, kind=kind: operators.fit_normalizer(x, kind=kind)
      )(values)
    return out

  def basis(
    self, num_modes: int, outputs: operators.Normalizer | None = None
  ) -> operators.PODBasis:
    """Computes the principal components of each seed's training outputs.

    Args:
      num_modes: components kept.
      outputs: of `normalizers`; the components are then of what a network gives
        before its outputs are scaled back.

    Returns:
      A basis with leaves [S, ...].

    Raises:
      ValueError: if outputs are not at common points or there are too few.
    """
    targets = self.train['targets']
    if self.points is None or targets.ndim != 3:
      raise ValueError(
        'principal components need one output at common points: use '
        'layout=aligned.'
      )
    most = min(targets.shape[1:])
    if num_modes > most:
      raise ValueError(
        f'num_modes={num_modes} exceed the {most} components of '
        f'{targets.shape[1:]} training outputs: reduce num_modes.'
      )
    if outputs is not None:
      encode = lambda n, y: n.encode(y[..., None])[..., 0]
      targets = jax.vmap(encode)(outputs, targets)
    bases = [operators.pod_basis(y, num_modes) for y in targets]
    return jax.tree.map(lambda *xs: jnp.stack(xs), *bases)

  def network(self, model: str) -> types.Network:
    """Builds a network for these functions.

    Args:
      model: a part of `operators.MODELS` that needs no basis; convolutions are
        circular on periodic grids unless it says otherwise.

    Returns:
      The network.

    Raises:
      ValueError: if it does not fit.
    """
    return self._model(model, {})[0]({})

  def problem(
    self,
    network: types.Network | str | Callable[[Any], types.Network],
    *,
    loss: Any = 'relative_l2',
    inputs: str = 'none',
    targets: str = 'none',
    metrics: Sequence[str] = ('relative_l2', 'mse'),
    trim: float = 0.0,
    distance: Callable[[chex.Array], chex.Array] | None = None,
    constants: Mapping[str, Any] | None = None,
  ) -> 'FunctionProblem':
    """Gives a network these functions to learn.

    All problems of the same functions share data and batches.

    Args:
      network: a network; a part of `operators.MODELS`; or
        `network(constants)`, made of the constants of a seed.
      loss: a part of `operators.LOSSES`; a function of predictions and targets;
        or 'equation(num_points=200)', which trains on the equation of the
        problem (`operators.physics`), without solutions, and reports 'mse'.
      inputs: normalizer of the input functions, one of `NORMALIZERS`.
      targets: statistics that the network gives back to its outputs.
      metrics: parts of `operators.LOSSES` that are reported beside the loss.
      trim: share of the largest squared errors that `trimmed_mse` of a whole
        test set leaves out, rounded up but not all; 0 reports no such metric.
      distance: outputs are multiplied by this function of the points, or of the
        inputs on grids, see `operators.hard_boundary`; principal components
        vanish anyway where all outputs do.
      constants: what else the network is made of, leaves [S, ...].

    Returns:
      The problem. Where anything depends on the functions of a seed, its `task`
      and its `network` are functions of that seed's data: see
      `problems.for_task`.

    Raises:
      ValueError: if names or shapes do not fit.
    """
    fixed = self.normalizers(inputs=inputs, targets=targets)
    fixed |= dict(constants or {})
    core, fixed = self._core(network, fixed, distance)
    physics = None
    if isinstance(loss, str):
      part = LOSSES.part(loss, name='loss')
      if LOSSES[part.name] is equation:
        options = {'hard_boundary': distance is not None} | part.options
        physics, loss = functools.partial(self._physics, **options), 'mse'

    def make(c):
      if not ({'inputs', 'outputs'} & c.keys()):
        return core(c)
      return operators.normalized(
        core(c), inputs=c.get('inputs'), outputs=c.get('outputs')
      )

    def task_of(c):
      return operators.operator_task(
        make(c),
        self.example(),
        loss=loss,
        points=self.points,
        metrics=tuple(metrics),
      )

    def of_seed(fn):
      """A function of a seed's data if anything depends on it."""
      if not fixed:
        return fn({})
      pick = lambda data: jax.tree.map(lambda x: x[data['seed']], fixed)
      return lambda data: fn(pick(data))

    train_on = task_of
    if physics is not None:
      train_on = lambda c: physics(make(c))
    first = jax.tree.map(lambda x: x[0], fixed)
    task_of(first)  # Names and shapes, at once.
    measure = _measure(task_of, make, self, fixed, trim)
    own = next(iter(self.tests.values()))
    # Convolutions with one kernel per seed are slow on CPU.
    grid = self.on_grids and jax.default_backend() == 'cpu'
    return FunctionProblem(
      task=of_seed(train_on),
      data=self.data,
      cohort=self.cohort,
      evaluate=lambda params: measure(params, own),
      network=of_seed(make),
      seeds=self.seeds,
      metric='relative_l2' if 'relative_l2' in metrics else 'loss',
      ylabel='Relative L2 error on test functions',
      one_by_one=grid,
      test=own,
      functions=self,
      measure=measure,
    )

  def _core(self, network, fixed, distance):
    """`network(constants)` without normalizers, and all constants."""
    wrap = lambda net: net
    if distance is not None:
      wrap = lambda net: operators.hard_boundary(net, distance)
    if isinstance(network, str):
      make, basis = self._model(network, fixed)
      if basis:
        return lambda c: make({'basis': c['basis']}), fixed | basis
      network = make({})
    if isinstance(network, types.Network) or not callable(network):
      only = wrap(network)
      return lambda c: only, fixed
    return lambda c: wrap(network(c)), fixed

  def _physics(self, network, *, num_points=200, hard_boundary):
    """The task of meeting the equation of the problem."""
    part = sets.SOURCES.part(self.spec)
    known = operators.physics.EQUATIONS
    checks.choice(part.name, known, name='problem', spec=self.spec)
    names = known.options(part.name)
    own = {k: v for k, v in part.options.items() if k in names}
    if self.points is None:
      raise ValueError(
        f'loss=equation needs layout=aligned; got layout={self.layout}.'
      )
    return operators.physics.collocation_task(
      network,
      {'sensors': self.example()['inputs'][:1], 'points': self.points[:1]},
      registry.write(part.name, **own),
      num_points=num_points,
      end_time=part.options.get('end_time', 1.0),
      hard_boundary=hard_boundary,
    )

  def _model(self, spec, fixed):
    """A network of `operators.MODELS` for these functions."""
    part = operators.MODELS.part(spec)
    build, facts = operators.MODELS[part.name], operators.model_facts(spec)
    check_layout(spec, self.layout)
    context: dict[str, Any] = {
      'out_channels': self.num_outputs,
      'method': 'auto',
    }
    convolves = checks.takes(build, 'method') and not facts.one_resolution
    if self.periodic and convolves:
      context['padding'] = 'circular'
    make = lambda more: operators.MODELS.bound(part, **context, **more)
    if not facts.basis:
      return make, {}
    default = operators.MODELS.options(part.name)['num_modes'].default
    num_modes = part.options.get('num_modes', default)
    return make, {'basis': self.basis(num_modes, fixed.get('outputs'))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunctionProblem(types.Problem):
  """What a network learns from `functions`.

  Attributes:
    functions: the data.
    measure: `measure(params, batches) -> dict of f[S]` evaluates params of
      leaves [S, ...] on any of `functions.tests` or on
      `functions.train_batches`.
  """

  functions: Functions
  measure: Callable[..., dict[str, Any]]

  @functools.cached_property
  def num_parameters(self) -> int:
    """Numbers that are trained."""
    one = jax.tree.map(lambda x: x[:1], self.functions.example())
    points = one.get('points', self.functions.points)
    args = (one['inputs'],) if points is None else (one['inputs'], points)
    network = self.network_at(0)
    params = jax.eval_shape(network.init, jax.random.key(0), *args)
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))

  def network_at(self, seed: chex.Numeric = 0) -> types.Network:
    """Returns the network of one seed.

    Args:
      seed: its place in `seeds` (may be traced).

    Returns:
      The network.
    """
    network: Any = self.network
    if isinstance(network, types.Network):
      return network
    return network({'seed': seed})


def for_task(
  problem: types.Problem, make: Callable[[types.Task], types.Algorithm]
) -> types.Algorithm | Callable[[Any], types.Algorithm]:
  """Makes an algorithm for a task that may depend on the seed.

  Args:
    problem: any.
    make: `make(task) -> Algorithm`.

  Returns:
    What `experiment.compare` takes: the algorithm, or what makes it of the data
    of a seed.
  """
  if isinstance(problem.task, types.Task):
    return make(problem.task)
  return lambda data: make(problem.task(data))


def draw_cohort(
  key: chex.PRNGKey,
  functions: dict[str, chex.Array],
  step: chex.Numeric,
  *,
  batch_size: int,
  shuffled: bool,
) -> types.Cohort:
  """Draws the batch of one step for one learner.

  Args:
    key: of the run, not consumed: the batch depends on it and the step alone.
    functions: leaves [n, ...].
    step: number of the step from 0 (traced).
    batch_size: B; 0 or more than n takes all.
    shuffled: whether batches partition a shuffled pass (an incomplete last
      batch is dropped) or are drawn independently with replacement.

  Returns:
    A cohort of one client.
  """
  n = len(functions['inputs'])
  size = min(batch_size or n, n)
  batch = functions
  if size < n:
    fold = lambda number: jax.random.fold_in(jax.random.fold_in(key, 1), number)
    if shuffled:
      order = jax.random.permutation(fold(step // (n // size)), n)
      start = step % (n // size) * size
      index = jax.lax.dynamic_slice_in_dim(order, start, size)
    else:
      index = jax.random.randint(fold(step), (size,), 0, n)
    batch = jax.tree.map(lambda x: x[index], functions)
  return types.Cohort(
    client_ids=jnp.zeros((1,), jnp.int32),
    data=jax.tree.map(lambda x: x[None], batch),
    mask=jnp.ones((1,), bool),
    weights=jnp.ones((1,)),
  )


def _measure(task_of, make, functions, fixed, trim):
  """Compiles the evaluation of stacked models on batches [S, T, B, ...]."""

  def one(args):
    params, batches, c = args
    return metrics_lib.evaluate(task_of(c), params, batches)

  # One seed after the other: test sets are large.
  run = jax.jit(lambda *args: jax.lax.map(one, args))

  def squares(args):
    params, batches, c = args

    def squared(batch):
      points = batch.get('points', functions.points)
      args = (batch['inputs'],) if points is None else (batch['inputs'], points)
      options = {'aligned': 'points' not in batch} if len(args) == 2 else {}
      out = make(c).apply(params, *args, **options)
      return jnp.square(out - batch['targets'].reshape(out.shape))

    return jax.lax.map(squared, batches)

  errors = jax.jit(lambda *args: jax.lax.map(squares, args))

  def measure(params, batches):
    found = dict(jax.device_get(run(params, batches, fixed)))
    if trim and any(batches is test for test in functions.tests.values()):
      values = np.asarray(errors(params, batches, fixed), np.float64)
      found['trimmed_mse'] = _trimmed(values, batches['mask'], trim)
    return found

  return measure


def _trimmed(errors, mask, trim):
  """Means of squared errors without the largest, one per seed."""
  out = []
  for each, real in zip(errors, np.asarray(mask), strict=True):
    kept = each[real].ravel()
    left = max(1, kept.size - math.ceil(trim * kept.size))
    out.append(np.partition(kept, left - 1)[:left].mean())
  return np.array(out)
