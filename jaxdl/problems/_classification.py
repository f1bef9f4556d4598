# SPDX-License-Identifier: Apache-2.0
"""Labeled examples that are dealt to clients."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data as data_lib, local, metrics, networks
from jaxdl.core import checks, types
from jaxdl.experiment import config as config_lib
from jaxdl.problems import _streamed

knob = config_lib.knob

# So many clients have an example each in every data set that comes along.
_FEW = 100
# The partition of data sets that have clients.
NATURAL = 'natural'
# What may be said of the models of all clients besides their means.
# Labels above the number of examples are taken for classes up to here.
_MANY_CLASSES = 1000
CLIENT_METRICS = ('worst', 'first', 'mean_model')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationConfig(config_lib.BaseConfig):
  """Knobs of data, partition, network and batches."""

  num_clients: int = knob(15, 'Simulated clients.', low=1)
  dataset: str = knob(
    'digits',
    'Data set; those of files need --data_dir. Data sets with natural clients '
    'pool them first.',
    registry=data_lib.DATASETS,
  )
  data_dir: str = knob('', 'Folder of the data files.')
  partition: str = knob(
    'iid',
    'How training examples are dealt.',
    registry=data_lib.PARTITIONERS,
  )
  network: str = knob('mlp', 'Network.', registry=networks.NETWORKS)
  batch_size: int = knob(8, 'Examples per client and round.', low=1)
  l2: float = knob(0.0, 'Penalty l2 |theta|^2 in the loss.', low=0.0)
  eval_batch_size: int = knob(
    512, 'Examples per evaluation batch.', low=1, smoke=128
  )

  @property
  def num_dealt(self) -> int:
    """Clients to whom examples are dealt; 0 if that is not known yet."""
    return self.num_clients

  def validate(self) -> None:
    """Checks what depends on several knobs."""
    super().validate()
    check_files(self.dataset, self.data_dir, self.reads_files)
    if self.num_dealt and not self.reads_files:
      check_size(self.dataset, self.num_dealt)

  @property
  def reads_files(self) -> bool:
    """Whether the data set is read from local files."""
    return data_lib.needs_files(self.dataset)

  @property
  def arguments(self) -> dict[str, Any]:
    """What a builder of labeled examples takes."""
    return {
      'dataset': self.dataset,
      'data_dir': self.data_dir or None,
      'partition': self.partition,
      'network': self.network,
      'num_clients': self.num_clients,
      'batch_size': self.batch_size,
      'l2': self.l2,
      'eval_batch_size': self.eval_batch_size,
      'seeds': self.seeds,
    }

  def problem(self, **changes: Any) -> types.Problem:
    """Builds the problem of the knobs.

    Args:
      **changes: arguments of `classification` that differ from them.

    Returns:
      The problem.
    """
    return classification(**(self.arguments | changes))


def check_files(dataset: str, data_dir: str, needed: bool) -> None:
  """Checks that a place is given to data sets that need one, and only those.

  Args:
    dataset: the part.
    data_dir: folder of the files, or nothing.
    needed: whether it is read from there.

  Raises:
    ValueError: if the place is missing or useless.
  """
  if needed and not data_dir:
    raise ValueError(
      f'dataset={dataset} is read from local files: give --data_dir.'
    )
  if data_dir and not needed:
    raise ValueError(
      f'data_dir={data_dir} has no effect on dataset={dataset}, which is not '
      'read from files: leave it out.'
    )


def check_size(dataset: str, num_clients: int) -> None:
  """Checks that there is an example for every client, before any is dealt.

  Args:
    dataset: a part of `data.DATASETS` that is not read from files.
    num_clients: N.

  Raises:
    ValueError: if there are fewer.
  """
  if num_clients <= _FEW:
    return
  size = len(load(dataset).train_labels)
  if num_clients > size:
    raise ValueError(
      f'num_clients={num_clients} exceeds the {size} examples: every client '
      'needs at least one.'
    )


def load(
  dataset: Any,
  data_dir: str | None = None,
  *,
  test_fraction: float = 0.25,
  classes: bool = True,
  on_disk: bool = False,
) -> data_lib.Dataset:
  """Loads labeled examples.

  Args:
    dataset: a part of `data.DATASETS`, a `data.Dataset`, or a pair of arrays
      (inputs [n, ...], labels int[n]) of which a part is kept for tests.
    data_dir: folder of the files, for data sets that need it.
    test_fraction: share of a pair of arrays that is tested on.
    classes: whether data sets without classes are refused.
    on_disk: whether training inputs that are on disk stay there.

  Returns:
    The data set; natural clients are pooled.

  Raises:
    ValueError: for missing or broken files, in one sentence, or if there are
      no classes.
    TypeError: if it is something else.
  """
  if isinstance(dataset, str):
    loaded = data_lib.load_dataset(dataset, data_dir)
  elif isinstance(dataset, (data_lib.Dataset, data_lib.FederatedDataset)):
    loaded = dataset
  elif isinstance(dataset, (tuple, list)) and len(dataset) == 2:
    inputs, labels = dataset
    loaded = _of_arrays(inputs, labels, test_fraction)
  else:
    raise TypeError(
      'dataset must be a spec such as "digits", a data.Dataset or a pair '
      f'(inputs, labels); got {checks.described(dataset)}.'
    )
  if isinstance(loaded, data_lib.FederatedDataset):
    loaded = data_lib.pool_clients(loaded)[0]
  if classes and loaded.num_classes < 1:
    raise ValueError(
      f'dataset={dataset if isinstance(dataset, str) else loaded.name} has no '
      'classes: choose one for classification.'
    )
  if not on_disk and isinstance(loaded.train_inputs, np.memmap):
    loaded = loaded._replace(train_inputs=np.array(loaded.train_inputs))
  return loaded


def _of_arrays(inputs, labels, test_fraction):
  inputs = checks.host_array(inputs, name='inputs')
  labels = checks.host_array(labels, name='labels')
  if labels.ndim != 1 or len(labels) != len(inputs):
    raise ValueError(
      f'labels must have one entry per example, shape ({len(inputs)},); got '
      f'{labels.shape}.'
    )
  if labels.dtype.kind not in 'iu' or (labels.size and labels.min() < 0):
    raise ValueError(
      'labels must be integers from 0: number the classes, '
      'np.unique(labels, return_inverse=True).'
    )
  if inputs.ndim < 2 or 0 in inputs.shape:
    raise ValueError(
      'inputs must have examples and features, shape [n, ...] (inputs[:, None] '
      f'for one feature); got {inputs.shape}.'
    )
  if labels.max() >= max(len(labels), _MANY_CLASSES):
    raise ValueError(
      f'labels go up to {labels.max()}, but there are {len(labels)} examples: '
      'number the classes, np.unique(labels, return_inverse=True).'
    )
  train, test = data_lib.train_test_split(
    np.random.default_rng(0), labels, test_fraction=test_fraction
  )
  with np.errstate(over='ignore'):
    inputs = inputs.astype(np.float32)
  broken = inputs.size - np.isfinite(inputs).sum()
  if broken:
    raise ValueError(
      f'inputs must be finite in float32; {broken} of {inputs.size} numbers '
      'are not.'
    )
  return data_lib.Dataset(
    inputs[train],
    labels[train].astype(np.int32),
    inputs[test],
    labels[test].astype(np.int32),
    num_classes=int(labels.max()) + 1,
    name='arrays',
  )


def classification(
  dataset: Any = 'digits',
  *,
  partition: str = 'iid',
  network: str | types.Network = 'mlp',
  num_clients: int = 15,
  batch_size: int = 8,
  num_batches: int | None = None,
  l2: float = 0.0,
  label_smoothing: float = 0.0,
  data_dir: str | None = None,
  eval_batch_size: int = 512,
  client_metrics: Sequence[str] = ('worst', 'mean_model'),
  in_memory: bool = False,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Deals labeled examples to clients, once per seed.

  Args:
    dataset: see `load`: a spec, a data set, or (inputs, labels).
    partition: a part of `data.PARTITIONERS`; `min_size` is 1 unless it says
      otherwise. Or 'natural': the first N clients of data sets that have some.
    network: a part of `networks.NETWORKS`, or a network that gives logits.
    num_clients: N.
    batch_size: B, examples in a batch.
    num_batches: H, batches per client and round, leaves [N, H, B, ...]; None
      for one without an axis of its own.
    l2: penalty l2 |theta|^2 in the loss.
    label_smoothing: share of each label spread over all classes.
    data_dir: folder of the files, for data sets that need it.
    eval_batch_size: examples per evaluation batch.
    client_metrics: what is said of the models of all clients besides their
      means, some of `CLIENT_METRICS`: `worst_accuracy`, `first_accuracy`,
      `mean_model_accuracy` (of the averaged parameters).
    in_memory: whether inputs on disk are read at once.
    seeds: S seeds.

  Returns:
    The problem. `data` is a pair: a dict of leaves [S, N, E, ...], padded
    examples per client, and bool[S, N, E], which are real. Of inputs on disk
    (`dataset='npy'`) the dict has the numbers of the examples, and `fetch`
    reads those of a round. It is measured by
    `accuracy`, `loss`, `ece` and `brier` on the test set.

  Raises:
    ValueError: if data, partition or network do not fit.

  Example:
    >>> problem = classification('digits', partition='shards(2)', num_clients=5)
    >>> problem.data[0]['inputs'].shape[:2], problem.num_classes
    ((1, 5), 10)
  """
  if isinstance(client_metrics, str):
    raise TypeError(
      f'client_metrics must be a sequence of names; got {client_metrics!r}.'
    )
  for name in client_metrics:
    checks.choice(name, CLIENT_METRICS, name='client_metrics')
  checks.integer(batch_size, name='batch_size', low=1)
  if num_batches is not None:
    checks.integer(num_batches, name='num_batches', low=1)
  seeds = checks.seeds(seeds)
  if data_dir is not None and not isinstance(dataset, str):
    raise ValueError(
      f'data_dir={data_dir!r} has no effect on data that are given: leave it '
      'out.'
    )
  parts = None
  if partition == NATURAL:
    _, loaded, parts, _ = natural_clients(dataset, data_dir, num_clients)
  else:
    loaded = load(dataset, data_dir, on_disk=not in_memory)
  found, tests = len(loaded.train_labels), len(loaded.test_labels)
  if checks.integer(num_clients, name='num_clients', low=1) > found:
    raise ValueError(
      f'num_clients={num_clients} exceeds the {found} training examples '
      f'({tests} more are kept for tests).'
    )
  arrays = {'inputs': loaded.train_inputs, 'labels': loaded.train_labels}
  arrays, whole = _streamed.of_round(arrays)
  if parts is None:
    dealt = deal(arrays, loaded.train_labels, partition, num_clients, seeds)
  else:
    dealt = stacked(arrays, [parts] * len(seeds))
  task, made = make_task(loaded, network, l2=l2, smoothing=label_smoothing)
  test = test_batches(loaded, eval_batch_size)

  def cohort(key, data, round):
    batch_key, _ = jax.random.split(jax.random.fold_in(key, round))
    return local.batch_cohort(
      batch_key, *data, batch_size=batch_size, num_batches=num_batches
    )

  evaluate = evaluator(task, test)
  problem = types.Problem(
    task=task,
    data=dealt,
    cohort=cohort,
    evaluate=evaluate,
    evaluate_clients=clients_evaluator(evaluate, client_metrics),
    reliability=reliability(task, test, seeds),
    network=made,
    seeds=seeds,
    num_clients=num_clients,
    num_classes=loaded.num_classes,
    metric='accuracy',
    ylabel='Test accuracy',
    test=test,
  )
  return whole(problem)


def for_network(
  problem: types.Problem, network: str | types.Network
) -> types.Problem:
  """Gives labeled examples to another network: the same data and cohorts.

  Args:
    problem: from `classification`.
    network: a part of `networks.NETWORKS`, or a network that gives logits.

  Returns:
    The problem, without a penalty in its loss; of models of clients it gives
    the means alone.

  Raises:
    ValueError: if the network does not fit.

  Example:
    >>> first = classification('digits', num_clients=5)
    >>> second = for_network(first, 'logistic_regression')
    >>> second.data is first.data
    True
  """
  inputs = problem.test['inputs']
  shape = inputs.shape[2:]
  if isinstance(network, str):
    network = networks.make_network(
      network, shape, problem.num_classes, dtype=inputs.dtype
    )
  network = networks.as_network(network)
  task = networks.classification(
    network,
    jax.ShapeDtypeStruct((1, *shape), inputs.dtype),
    num_classes=problem.num_classes,
  )
  evaluate = evaluator(task, problem.test)
  return problem.replace(
    task=task,
    network=network,
    evaluate=evaluate,
    evaluate_clients=clients_evaluator(evaluate, ()),
    reliability=reliability(task, problem.test, problem.seeds),
  )


def deal(
  arrays: Mapping[str, np.ndarray],
  labels: np.ndarray,
  partition: str,
  num_clients: int,
  seeds: Sequence[int],
) -> tuple[dict[str, chex.Array], chex.Array]:
  """Deals examples to clients, once per seed.

  Args:
    arrays: leaves [n, ...].
    labels: int[n], by which they are dealt.
    partition: a part of `data.PARTITIONERS`; `min_size` is 1 unless it says
      otherwise.
    num_clients: N.
    seeds: S seeds.

  Returns:
    Padded examples per client, leaves [S, N, E, ...], and bool[S, N, E], which
    are real.
  """
  parts = [
    data_lib.make_partition(
      partition, np.random.default_rng(seed), labels, num_clients, min_size=1
    )
    for seed in seeds
  ]
  return stacked(arrays, parts)


def stacked(
  arrays: Mapping[str, np.ndarray], parts: Sequence[Sequence[np.ndarray]]
) -> tuple[dict[str, chex.Array], chex.Array]:
  """Examples of clients, padded to one size.

  Args:
    arrays: leaves [n, ...].
    parts: indices of each client, for S seeds.

  Returns:
    Leaves [S, N, E, ...], E >= 1, and bool[S, N, E], which are real.
  """
  size = max([1, *(len(part) for seed in parts for part in seed)])
  rows = [data_lib.stack_clients(dict(arrays), p, size) for p in parts]
  return (
    {
      name: jnp.asarray(np.stack([r[0][name] for r in rows])) for name in arrays
    },
    jnp.asarray(np.stack([r[1] for r in rows])),
  )


def natural_clients(
  dataset: Any, data_dir: str | None, num_clients: int
) -> tuple[
  data_lib.FederatedDataset,
  data_lib.Dataset,
  list[np.ndarray],
  list[np.ndarray],
]:
  """The first clients of a data set that has some.

  Args:
    dataset: a part of `data.DATASETS`, or a `data.FederatedDataset`.
    data_dir: folder of the files.
    num_clients: N.

  Returns:
    The data set, the pooled one, and which examples of it are whose, to learn
    from N clients and to test on all there are.

  Raises:
    ValueError: if there are no clients, fewer, or one without examples.
  """
  whole = dataset
  if isinstance(dataset, str):
    whole = data_lib.load_dataset(dataset, data_dir)
  if not isinstance(whole, data_lib.FederatedDataset):
    name = dataset if isinstance(dataset, str) else checks.described(dataset)
    raise ValueError(
      f'partition=natural needs a data set with natural clients; {name} has '
      'none: choose another partition.'
    )
  pooled, parts, tests = data_lib.pool_clients(whole)
  if num_clients > len(parts):
    raise ValueError(
      f'num_clients={num_clients} exceeds the {len(parts)} natural clients of '
      f'{whole.name}.'
    )
  parts = parts[:num_clients]
  empty = [k for k, part in enumerate(parts) if not len(part)]
  if empty:
    raise ValueError(f'client {empty[0]} has 0 examples.')
  return whole, pooled, parts, tests


def make_task(
  loaded: data_lib.Dataset,
  network: str | types.Network,
  *,
  l2: float = 0.0,
  smoothing: float = 0.0,
) -> tuple[types.Task, types.Network]:
  """Builds network and task for the shapes of a data set.

  Args:
    loaded: the data set.
    network: a part of `networks.NETWORKS`, or a network.
    l2: penalty in the loss.
    smoothing: share of each label spread over all classes.

  Returns:
    The task and the network; of labels [n, L] that of every next character.

  Raises:
    ValueError: if they do not fit.
  """
  shape = loaded.train_inputs.shape[1:]
  if isinstance(network, str):
    network = networks.make_network(
      network, shape, loaded.num_classes, dtype=loaded.train_inputs.dtype
    )
  network = networks.as_network(network)
  if loaded.train_labels.ndim == 2:  # Every next character.
    if l2 or smoothing:
      raise ValueError(
        f'l2={l2} and label_smoothing={smoothing} have no effect on '
        f'{loaded.name}, whose every next character is learned: leave them out.'
      )
    task = networks.language_modeling(
      network,
      jax.ShapeDtypeStruct((1, *shape), loaded.train_inputs.dtype),
      num_tokens=loaded.num_classes,
    )
    return task, network
  task = networks.classification(
    network,
    jax.ShapeDtypeStruct((1, *shape), loaded.train_inputs.dtype),
    num_classes=loaded.num_classes,
    l2=l2,
    **({'label_smoothing': smoothing} if smoothing else {}),
  )
  return task, network


def test_batches(
  loaded: data_lib.Dataset, batch_size: int
) -> dict[str, chex.Array]:
  """Cuts the test set into batches.

  Args:
    loaded: the data set.
    batch_size: B at most.

  Returns:
    Dict of leaves [T, B, ...] with `mask`.
  """
  test = data_lib.eval_batches(
    {'inputs': loaded.test_inputs, 'labels': loaded.test_labels},
    min(batch_size, len(loaded.test_labels)),
  )
  return jax.tree.map(jnp.asarray, test)


def evaluator(task: types.Task, test: Any, **options: Any):
  """Compiles the evaluation of stacked models on a test set.

  Args:
    task: says how one model is evaluated.
    test: batches, leaves [T, B, ...].
    **options: of `metrics.evaluate`.

  Returns:
    A function from params with leading axis [S] to host metrics [S].
  """
  run = jax.jit(
    lambda params, test: jax.lax.map(
      lambda p: metrics.evaluate(task, p, test, **options), params
    )
  )
  return lambda params: jax.device_get(run(params, test))


def reliability_rows(
  task: types.Task,
  test: Any,
  params: chex.ArrayTree,
  *,
  seeds: Sequence[int],
  num_bins: int = metrics.NUM_BINS,
) -> list[dict[str, Any]]:
  """What a reliability diagram shows of models, one for each seed.

  Args:
    task: tells classes apart.
    test: batches, leaves [T, B, ...].
    params: leaves [S, ...].
    seeds: S seeds.
    num_bins: bins of confidence.

  Returns:
    A row per seed and bin with predictions, of split 'reliability': `seed`,
    `bin`, `confidence`, `accuracy` and `share`, for `plots.reliability`. A
    model whose predictions are NaN has none.

  Raises:
    ValueError: if the task does not tell classes apart.

  Example:
    >>> problem = classification('wine', num_clients=2)
    >>> params = jax.tree.map(
    ...   lambda x: x[None], problem.task.init(jax.random.key(0))
    ... )
    >>> rows = reliability_rows(problem.task, problem.test, params, seeds=(0,))
    >>> round(sum(row['share'] for row in rows), 4)
    1.0
  """
  rows = reliability(task, test, seeds, num_bins=num_bins)
  if rows is None:
    raise ValueError(
      'task has no logits: reliability is of tasks of classification.'
    )
  return rows(params)


def reliability(
  task: types.Task,
  test: Any,
  seeds: Sequence[int],
  *,
  num_bins: int = metrics.NUM_BINS,
):
  """Makes `Problem.reliability`.

  Args:
    task: of a problem.
    test: batches, leaves [T, B, ...].
    seeds: S seeds.
    num_bins: bins of confidence.

  Returns:
    A function from params with leading axes [S], or [S, N] `per_client`, to
    rows; predictions of clients whose model gives NaN are left out. None if the
    task does not tell classes apart.
  """
  checks.integer(num_bins, name='num_bins', low=1)
  logits: Any = task.logits
  if logits is None:
    return None

  def bins(params, test):
    one = lambda batch: metrics.calibration_sums(
      *logits(params, batch), num_bins=num_bins
    )['bins']
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.lax.map(one, test))

  def of_clients(models, test):
    every = jax.lax.map(lambda p: bins(p, test), models)
    sound = jnp.all(jnp.isfinite(every.confidence), axis=1, keepdims=True)
    add = lambda x: jnp.sum(jnp.where(sound, x, 0), axis=0)
    return jax.tree.map(add, every)

  def table_of(one):
    return jax.jit(
      lambda params, test: jax.lax.map(
        lambda p: metrics.reliability_table(one(p, test)), params
      )
    )

  single, several = table_of(bins), table_of(of_clients)

  def rows(params, per_client=False):
    table = jax.device_get((several if per_client else single)(params, test))
    return [
      {
        'split': 'reliability',
        'seed': int(seed),
        'bin': b,
        **{
          name: float(table[name][i, b])
          for name in ('confidence', 'accuracy', 'share')
        },
      }
      for i, seed in enumerate(seeds)
      for b in np.flatnonzero(np.isfinite(table['confidence'][i])).tolist()
    ]

  return rows


def clients_evaluator(evaluate, client_metrics: Sequence[str]):
  """Makes the evaluation of a model per client of that of one.

  Args:
    evaluate: of models [S, ...].
    client_metrics: see `classification`.

  Returns:
    A function from params with leading axes [S, N] to host metrics [S]: the
    means over clients under their names, and what was asked for.
  """
  merged = 'mean_model' in client_metrics

  @jax.jit
  def flatten(models):
    def leaf(x):
      if merged:
        x = jnp.concatenate([x, jnp.mean(x, axis=1, keepdims=True)], axis=1)
      return x.reshape(-1, *x.shape[2:])

    return jax.tree.map(leaf, models)

  def measure(models) -> Mapping[str, np.ndarray]:
    s, n = jax.tree.leaves(models)[0].shape[:2]
    found = {
      k: np.asarray(v).reshape(s, n + merged)
      for k, v in evaluate(flatten(models)).items()
    }
    out = {k: v[:, :n].mean(axis=1) for k, v in found.items()}
    if 'worst' in client_metrics:
      out['worst_accuracy'] = found['accuracy'][:, :n].min(axis=1)
    if 'first' in client_metrics:
      out['first_accuracy'] = found['accuracy'][:, 0]
    if merged:
      out['mean_model_accuracy'] = found['accuracy'][:, n]
    return out

  return measure
