# SPDX-License-Identifier: Apache-2.0
"""The loop over seeds, algorithms and rounds: `compare`, and `train` for one.

Both give an algorithm the same numbers: with `seeds=(3,)` a variant of
`compare` does what `train` does with `key=jax.random.key(3)`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import parallel, plots as plots_lib
from jaxdl.core import checks, keys, types
from jaxdl.experiment import config as config_lib, runner

Row = runner.Row
# An algorithm, or what makes it of the data of one seed.
Maker = types.Algorithm | Callable[[Any], types.Algorithm]
Values = dict[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Variant:
  """One of the things that are compared.

  Attributes:
    name: its label.
    problem: what it learns.
    make: the algorithm, or what makes it of the data of one seed.
    columns: further labels in its rows.
  """

  name: str
  problem: types.Problem
  make: Maker
  columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @functools.cached_property
  def sample(self) -> types.Algorithm:
    """The algorithm of the first seed."""
    return self.algorithm(jax.tree.map(lambda x: x[0], self.problem.data))

  def algorithm(self, data: Any) -> types.Algorithm:
    """Returns the algorithm of one seed.

    Args:
      data: of the seed, see `Problem.data`.

    Returns:
      The algorithm.
    """
    made: Any = self.make
    whole = checks.has_functions(made, 'init', 'step', 'params')
    return made if whole else made(data)


@dataclasses.dataclass(frozen=True)
class Moment:
  """What `measure` sees of a variant after a round, beside its values.

  Attributes:
    variant: which.
    state: leaves [S, ...]; a list of S states if it runs on the host.
    params: what its problem evaluates, leaves [S, ...] or [S, N, ...].
    round: how many are done.
    last: whether it is the last.
  """

  variant: Variant
  state: Any
  params: Any
  round: int
  last: bool


def compare(
  config: config_lib.BaseConfig,
  problem: types.Problem | Mapping[str, types.Problem],
  algorithms: Mapping[str, Maker],
  *,
  report: Callable[[dict[str, Any]], Values] | None = None,
  measure: Callable[[Values, Moment], Values | None] | None = None,
  extra_rows: Callable[[list[Moment]], list[Row]] | None = None,
  columns: Mapping[str, Mapping[str, Any]] | None = None,
  steps: int = 1,
  plots: Sequence[Callable[..., Any]] = (),
  table: Callable[[list[Row]], Any] | None = None,
) -> runner.Experiment:
  """Runs algorithms side by side on the same starts, batches and seeds.

  A round draws a cohort and hands it to every algorithm. Rows: split 'test'
  with what the problem evaluates; 'train' with the metrics of the last step
  that are numbers, f[S]; and for a metric with an entry per client, f[S, N], a
  split of its name with `worker_0`, `worker_1`, ...; after the last round also
  'reliability', confidence and accuracy by bins, where classes are told apart
  (`Problem.reliability`), with a picture of it.

  Args:
    config: `seeds`, `num_rounds`, `eval_every` are read.
    problem: what is learned; or one for each variant. Those that share data and
      cohorts share batches.
    algorithms: what is compared, by name; where a seed has an algorithm of its
      own, a function that makes it of the seed's data (`Problem.data`, traced).
    report: `report(metrics) -> values` says what is reported of the metrics of
      a step, in place of the rule above; `metrics` has come to the host.
    measure: `measure(values, moment) -> values` may change what is reported of
      a variant, a dict of f[S] for each split.
    extra_rows: `extra_rows(moments) -> rows` reports what is no number for each
      seed; after 'measure', once for all variants.
    columns: further labels for the rows of a variant.
    steps: steps of the algorithms within a round of the run, as one scan; the
      metrics are their means.
    plots: functions `(rows, directory) -> paths`, beside that of reliability.
    table: see `runner.Experiment`.

  Returns:
    The experiment, for `runner.run`. Its state is a dict by name.

  Raises:
    ValueError: if there is nothing to compare, names are unknown, or seeds and
      problems do not fit.

  Example:
    >>> from jaxdl import decentralized, problems
    >>> import optax
    >>> problem = problems.quadratics(num_clients=4, seeds=(0, 1))
    >>> algorithms = {
    ...   name: decentralized.gossip_sgd(
    ...     problem.task, name, 4, optimizer=optax.sgd(0.1)
    ...   )
    ...   for name in ('ring', 'complete')
    ... }
    >>> config = config_lib.BaseConfig(seeds=(0, 1), num_rounds=2)
    >>> result = runner.run(compare(config, problem, algorithms), config)
    >>> len([row for row in result.rows if row['split'] == 'test'])
    8
  """
  if not algorithms:
    raise ValueError('algorithms is empty: name at least one.')
  checks.integer(steps, name='steps', low=1)
  several = isinstance(problem, Mapping)
  variants = []
  for name, make in algorithms.items():
    own = problem[name] if several else problem
    _check(config, name, own)
    variants.append(Variant(name, own, make, (columns or {}).get(name, {})))
  machines = [_machine(group, steps) for group in _groups(variants)]

  def init():
    out = {}
    for machine in machines:
      out |= machine.init()
    return {name: out[name] for name in algorithms}

  fed_by = [i for i, m in enumerate(machines) if m.problem.fetch is not None]

  def step(states, number, fed=None):
    states, seen = dict(states), {}
    for i, machine in enumerate(machines):
      own = {v.name: states[v.name] for v in machine.variants}
      part = (fed[str(i)],) if i in fed_by else ()
      done, found = machine.step(own, number, *part)
      states |= done
      seen |= found
    return states, {name: seen[name] for name in algorithms}

  machine_of = {v.name: m for m in machines for v in m.variants}

  def rows(states, metrics, number):
    out, moments = [], []
    for v in variants:
      machine = machine_of[v.name]
      state = states[v.name]
      params, tested = machine.evaluate(v, state)
      moment = Moment(v, state, params, number, number == config.num_rounds)
      moments.append(moment)
      out += _reliability(moment)
      values: Values = {'test': tested}
      if metrics is not None:
        values |= (report or machine.report)(metrics[v.name])
      if measure is not None:
        values = measure(values, moment) or values
      for split, found in values.items():
        label = {'step': number, 'split': split, 'variant': v.name}
        out += metric_rows(
          found, seeds=config.seeds, columns=v.columns, **label
        )
    if extra_rows is not None:
      out += extra_rows(moments)
    return out

  told = any(v.problem.reliability is not None for v in variants)

  return runner.Experiment(
    init=init,
    step=step,
    rows=rows,
    num_rounds=config.num_rounds,
    plots=(*plots, functools.partial(_draw, config)) if told else tuple(plots),
    table=table,
    jit=not any(isinstance(m, _Host) for m in machines),
    fetch=(lambda number: {str(i): machines[i].fetch(number) for i in fed_by})
    if fed_by
    else None,
  )


def train(
  algorithm: types.Algorithm,
  problem: types.Problem,
  *,
  num_rounds: int,
  key: chex.PRNGKey,
  eval_every: int = 10,
) -> tuple[chex.ArrayTree, dict[str, np.ndarray]]:
  """Trains one algorithm on a problem, without files and flags.

  The rounds between two evaluations are one compiled scan.

  Args:
    algorithm: any, or what makes it of the data of a seed, see
      `problems.for_task`.
    problem: what it learns; of several seeds the first is taken.
    num_rounds: rounds, >= 0.
    key: of the run, as `jax.random.key(seed)`.
    eval_every: rounds between evaluations, which also take place before the
      first round and after the last.

  Returns:
    The final state, and the history: every metric of a round as f[T], under
    its own name; `round`, i[E], the rounds after which the problem was
    evaluated; and what it gave, f[E], as `test_<name>`.

  Raises:
    ValueError: if a number is out of range or the algorithm wants a model per
      client evaluated and the problem cannot.

  Example:
    >>> from jaxdl import federated, problems
    >>> import optax
    >>> problem = problems.quadratics(num_clients=4)
    >>> algorithm = federated.robust_sgd(
    ...   problem.task, 'median', 4, optimizer=optax.sgd(0.1)
    ... )
    >>> state, history = train(
    ...   algorithm, problem, num_rounds=20, key=jax.random.key(0)
    ... )
    >>> history['round'].tolist(), bool(
    ...   history['test_error'][-1] < history['test_error'][0]
    ... )
    ([0, 10, 20], True)
  """
  checks.integer(num_rounds, name='num_rounds', low=0)
  checks.integer(eval_every, name='eval_every', low=1)
  keys.check_key(key)
  if np.shape(key):
    raise ValueError(f'key must be one key; got keys of shape {np.shape(key)}.')
  if not isinstance(problem, types.Problem):
    raise TypeError(
      f'problem must be a Problem of `jaxdl.problems`; got '
      f'{checks.described(problem)}.'
    )
  made = checks.has_functions(algorithm, 'init', 'step', 'params')
  if not made and not callable(algorithm):
    raise TypeError(
      'algorithm must be an Algorithm, as `federated` and `decentralized` make '
      f'them, or make one of data; got {checks.described(algorithm)}.'
    )
  problem = _first(problem)
  variant = Variant('', problem, algorithm)
  machine = _machine([variant], 1, key=key)
  state = machine.init()['']
  tested, seen, at = [machine.evaluate(variant, state)[1]], [], [0]
  done = 0
  while done < num_rounds:
    length = min(eval_every, num_rounds - done)
    state, found = machine.advance(state, done, length)
    seen.append(found)
    done += length
    tested.append(machine.evaluate(variant, state)[1])
    at.append(done)
  history: dict[str, Any] = {}
  if seen:
    join = lambda *xs: np.concatenate([np.asarray(x) for x in xs])
    history = jax.tree.map(join, *seen)
  history['round'] = np.array(at)
  for name in tested[0]:
    history[f'test_{name}'] = np.array([float(t[name][0]) for t in tested])
  return machine.one(state), history


def reached(
  rows: Sequence[Row], metric: str, target: float, *, variant: str
) -> list[Row]:
  """Returns the first test row of each seed that reaches a target.

  Args:
    rows: rows of a run, in order.
    metric: a name in them.
    target: its least value.
    variant: whose rows.

  Returns:
    At most one row for each seed.

  Example:
    >>> rows = [
    ...   dict(step=t, split='test', variant='a', seed=0, accuracy=t / 4)
    ...   for t in range(5)
    ... ]
    >>> reached(rows, 'accuracy', 0.6, variant='a')[0]['step']
    3
  """
  found: dict[int, Row] = {}
  for row in rows:
    mine = row['split'] == 'test' and row['variant'] == variant
    if mine and row.get(metric, -np.inf) >= target:
      found.setdefault(row['seed'], row)
  return list(found.values())


def seed_keys(seeds: Sequence[int]) -> chex.PRNGKey:
  """One key per seed.

  Args:
    seeds: Python ints.

  Returns:
    keys[S].
  """
  return jnp.stack([jax.random.key(seed) for seed in seeds])


def over_seeds(
  fn: Callable[..., Any], num_seeds: int, *, loop: bool = False
) -> Callable[..., Any]:
  """Runs a one-seed function for all seeds in one program.

  One seed runs without `vmap`, so that branches stay branches.

  Args:
    fn: function of unstacked arguments.
    num_seeds: S (static).
    loop: whether seeds run one after the other (static), which is faster for
      convolutions on CPU.

  Returns:
    A function whose arguments and results have a leading axis S.
  """
  if num_seeds > 1 and loop:
    return lambda *args: jax.lax.map(lambda one: fn(*one), args)
  if num_seeds > 1:
    return jax.vmap(fn)

  def single(*args):
    out = fn(*jax.tree.map(lambda x: x[0], args))
    return jax.tree.map(lambda x: x[None], out)

  return single


def metric_rows(
  values: Mapping[str, Any],
  *,
  step: int,
  split: str,
  variant: str,
  seeds: Sequence[int],
  columns: Mapping[str, Any] | None = None,
) -> list[Row]:
  """Turns metrics with a seed axis into rows.

  Args:
    values: dict of arrays [S].
    step: round.
    split: 'train', 'test', ...
    variant: its name.
    seeds: S seeds.
    columns: further labels.

  Returns:
    One row per seed.
  """
  return [
    {
      'step': step,
      'split': split,
      'variant': variant,
      'seed': int(seed),
      **{name: float(value[i]) for name, value in values.items()},
      **(columns or {}),
    }
    for i, seed in enumerate(seeds)
  ]


def _reliability(moment):
  """Rows of a reliability diagram, in the end."""
  v = moment.variant
  if not moment.last or v.problem.reliability is None:
    return []
  found = v.problem.reliability(moment.params, v.sample.per_client)
  label = {'step': moment.round, 'variant': v.name, **v.columns}
  return [label | row for row in found]


def _draw(config, rows, directory):
  """Draws reliability, if there is a model that did not diverge."""
  own = [r for r in rows if r['split'] == 'reliability']
  if not own:
    return []
  title = getattr(config, 'dataset', None)
  path = directory / 'reliability.png'
  return [plots_lib.reliability(own, path, title=title)]


def _check(config, name, problem):
  if not isinstance(problem, types.Problem):
    raise TypeError(
      f'problem of {name!r} must be a core.types.Problem, as jaxdl.problems '
      f'makes; got {checks.described(problem)}.'
    )
  if problem.seeds != config.seeds:
    raise ValueError(
      f'problem of {name!r} has seeds={problem.seeds} but the run has '
      f'seeds={config.seeds}: make it for those.'
    )


def _groups(variants):
  """Variants that can share a cohort."""
  groups: list[list[Variant]] = []
  for v in variants:
    for group in groups:
      first = group[0].problem
      shared = v.problem.data is first.data and v.problem.cohort is first.cohort
      if shared and v.sample.on_host == group[0].sample.on_host:
        group.append(v)
        break
    else:
      groups.append([v])
  return groups


def _machine(variants, steps, *, key=None):
  kind = _Host if variants[0].sample.on_host else _Device
  return kind(variants, steps, key=key)


def _first(problem):
  """The first seed of a problem."""
  if len(problem.seeds) == 1:
    return problem
  one = jax.tree.map(lambda x: x[:1], problem.data)
  several = len(problem.seeds)
  fetch = problem.fetch

  def fetch_one(keys, round):
    every = jnp.concatenate([keys] * several)
    return jax.tree.map(lambda x: x[:1], fetch(every, round))

  def alone(evaluate):
    if evaluate is None:
      return None

    def run(params):
      # The other seeds are tested as well, and forgotten.
      full = jax.tree.map(
        lambda x: jnp.broadcast_to(x[:1], (several, *x.shape[1:])), params
      )
      return {name: value[:1] for name, value in evaluate(full).items()}

    return run

  return problem.replace(
    data=one,
    fetch=None if fetch is None else fetch_one,
    seeds=problem.seeds[:1],
    evaluate=alone(problem.evaluate),
    evaluate_clients=alone(problem.evaluate_clients),
  )


class _Device:
  """Variants that share cohorts, compiled: all seeds as one program."""

  def __init__(self, variants, steps, *, key=None):
    self.variants = variants
    self.steps = steps
    self.problem = variants[0].problem
    self.seeds = self.problem.seeds
    self.root = seed_keys(self.seeds) if key is None else key[None]

  def _run(self, fn):
    return over_seeds(fn, len(self.seeds), loop=self.problem.one_by_one)

  def init(self) -> dict[str, Any]:
    starts = jax.vmap(lambda key: jax.random.fold_in(key, 0))(self.root)
    return {
      v.name: jax.jit(
        self._run(lambda key, data, v=v: v.algorithm(data).init(key))
      )(starts, v.problem.data)
      for v in self.variants
    }

  def fetch(self, number: int) -> Any:
    """What the host makes of a round, leaves [S, ...] or [S, steps, ...]."""
    first = (number - 1) * self.steps + 1
    places = range(first, first + self.steps)
    found = [self.problem.fetch(self.root, place) for place in places]
    if self.steps == 1:
      return found[0]
    return jax.tree.map(lambda *xs: np.stack(xs, axis=1), *found)

  def step(self, states, number, *fed):
    run = functools.partial(self._rounds, number)
    return self._run(run)(states, self.root, self.problem.data, *fed)

  def _rounds(self, number, states, root, data, *fed):
    """The steps within a round of one seed."""
    if self.steps == 1:
      return self._one(states, root, data, number, *fed)
    first = (number - 1) * self.steps + 1
    states, seen = jax.lax.scan(
      lambda s, x: self._one(s, root, data, x[0], *x[1:]),
      states,
      (first + jnp.arange(self.steps), *fed),
    )
    return states, jax.tree.map(lambda x: jnp.mean(x, axis=0), seen)

  def _one(self, states, root, data, place, *fed):
    """One step of all variants for one seed."""
    _, step_key = jax.random.split(jax.random.fold_in(root, place))
    cohort = self.problem.cohort(root, *(fed or (data,)), place)
    states, seen = dict(states), {}
    for v in self.variants:
      algorithm = v.algorithm(data)
      states[v.name], seen[v.name] = algorithm.step(
        states[v.name], cohort, key=step_key
      )
    return states, seen

  def advance(self, state: Any, done: int, length: int) -> tuple[Any, Any]:
    """Several rounds of the only variant as one program, with all metrics."""
    if self.problem.fetch is None:
      return self._scan(state, done, length)
    # Rounds one by one, their data made ahead.
    (name,), seen = (v.name for v in self.variants), []
    numbers = range(done + 1, done + length + 1)
    states = {name: state}
    with parallel.HostPipeline([self.fetch])(numbers) as feeds:
      for number, fed in zip(numbers, feeds, strict=True):
        states, found = self._fed(states, number, fed)
        seen.append(jax.tree.map(lambda x: x[0], found[name]))
    return states[name], jax.tree.map(lambda *xs: jnp.stack(xs), *seen)

  @functools.cached_property
  def _fed(self):
    return jax.jit(self.step)

  @functools.cached_property
  def _scan(self):
    name = self.variants[0].name

    def rounds(state, done, length):
      def body(states, number):
        return self._one(states, self.root[0], one, number)

      one = jax.tree.map(lambda x: x[0], self.problem.data)
      first = jax.tree.map(lambda x: x[0], state)
      states, seen = jax.lax.scan(
        body, {name: first}, done + 1 + jnp.arange(length)
      )
      return jax.tree.map(lambda x: x[None], states[name]), seen[name]

    return jax.jit(rounds, static_argnums=2)

  def one(self, state):
    """The state of the only seed."""
    return jax.tree.map(lambda x: x[0], state)

  @functools.cached_property
  def _params(self):
    """How each variant's params are read of its state."""
    return {
      v.name: jax.jit(
        self._run(lambda state, data, v=v: v.algorithm(data).params(state))
      )
      for v in self.variants
    }

  def evaluate(self, v, state):
    """Params of all seeds, and what the problem says of them."""
    params = self._params[v.name](state, v.problem.data)
    evaluate = v.problem.evaluate
    if v.sample.per_client:
      evaluate = v.problem.evaluate_clients
    if evaluate is None:
      raise ValueError(
        f'{v.name or "the algorithm"} has a model for each client, which this '
        'problem cannot evaluate.'
      )
    return params, dict(evaluate(params))

  def report(self, metrics):
    """The metrics of a round by split."""
    plain, out = {}, {}
    for name, value in metrics.items():
      value = np.asarray(value)
      if value.ndim == 1:
        plain[name] = value
      elif value.ndim == 2:
        out[name] = {f'worker_{i}': value[:, i] for i in range(value.shape[1])}
    return ({'train': plain} if plain else {}) | out


class _Host(_Device):
  """Variants whose steps are plain Python, one seed after the other."""

  def __init__(self, variants, steps, *, key=None):
    super().__init__(variants, steps, key=key)
    if steps != 1:
      raise ValueError('steps must be 1 where algorithms run on the host.')
    self.data = [
      jax.tree.map(lambda x, i=i: x[i], self.problem.data)
      for i in range(len(self.seeds))
    ]
    self.algorithms = {
      v.name: [v.algorithm(data) for data in self.data] for v in variants
    }

  def init(self) -> dict[str, Any]:
    start = [jax.random.fold_in(key, 0) for key in self.root]
    return {
      name: [a.init(k) for a, k in zip(of_seed, start, strict=True)]
      for name, of_seed in self.algorithms.items()
    }

  def step(self, states, number, *fed):
    done = {v.name: [] for v in self.variants}
    seen = {v.name: [] for v in self.variants}
    for i, (root, data) in enumerate(zip(self.root, self.data, strict=True)):
      _, key = jax.random.split(jax.random.fold_in(root, number))
      own = [jax.tree.map(lambda x, i=i: x[i], x) for x in fed] or [data]
      cohort = self.problem.cohort(root, *own, number)
      for name, of_seed in self.algorithms.items():
        state, metrics = of_seed[i].step(states[name][i], cohort, key=key)
        done[name].append(state)
        seen[name].append(metrics)
    return done, seen

  def advance(self, state: Any, done: int, length: int) -> tuple[Any, Any]:
    name, seen = self.variants[0].name, []
    for number in range(done + 1, done + length + 1):
      fed = () if self.problem.fetch is None else (self.fetch(number),)
      states, found = self.step({name: state}, number, *fed)
      state = states[name]
      seen.append(found[name][0])
    stacked = {k: np.array([row[k] for row in seen]) for k in seen[0]}
    return state, stacked

  def one(self, state):
    return state[0]

  def evaluate(self, v, state):
    params = [
      a.params(s) for a, s in zip(self.algorithms[v.name], state, strict=True)
    ]
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *jax.device_get(params))
    evaluate = v.problem.evaluate
    if self.algorithms[v.name][0].per_client:
      evaluate = v.problem.evaluate_clients
    return stacked, dict(evaluate(stacked))

  def report(self, metrics):
    names = metrics[0].keys()
    return {'train': {n: np.array([m[n] for m in metrics]) for n in names}}
