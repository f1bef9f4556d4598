# SPDX-License-Identifier: Apache-2.0
"""Labeled examples for networks that learn from each other."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import attacks, data as data_lib, local, metrics
from jaxdl.core import checks, types
from jaxdl.problems import _classification


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peers(types.Problem):
  """Labeled examples and the networks that learn from them together.

  Attributes:
    networks: P networks, students first.
    tasks: of each, without a penalty.
    num_students: how many are students.
    example_inputs: shape and dtype of a batch of one.
    names: of the networks: 'student', 'student2', ..., 'teacher', ...
    batch: `batch(data, t) -> batch`, that of step t of one seed.
  """

  networks: tuple[types.Network, ...] = ()
  tasks: tuple[types.Task, ...] = ()
  num_students: int = 1
  example_inputs: Any = None
  names: tuple[str, ...] = ()
  batch: Callable[..., Any] = lambda data, t: None


def distillation(
  dataset: Any = 'digits(test_fraction=0.5, pixels=unit)',
  *,
  students: Sequence[str | types.Network] = ('mlp(12)',),
  teachers: Sequence[str | types.Network] = ('mlp((256, 256))',),
  batch_size: int = 64,
  label_noise: float = 0.0,
  validation: float = 0.0,
  num_bins: int = metrics.NUM_BINS,
  data_dir: str | None = None,
  eval_batch_size: int = 512,
  seeds: Sequence[int] = (0,),
) -> Peers:
  """Gives all networks the same labeled examples, some labels of them wrong.

  Args:
    dataset: see `classification`.
    students: parts of `networks.NETWORKS`, or networks of logits; at least one.
    teachers: likewise; there may be none.
    batch_size: B, drawn for each step without replacement.
    label_noise: share of the training labels that uniform draws replace, for
      each seed others.
    validation: share of the test examples that is taken away from the tests to
      fit a temperature to; 0 fits none.
    num_bins: of the calibration error.
    data_dir: folder of the files, for data sets that need it.
    eval_batch_size: examples per evaluation batch.
    seeds: S seeds.

  Returns:
    The problem, of one client that holds all. Params are a tuple of those of P
    networks; it is measured by `accuracy`, `loss`, `ece` and `brier` of the
    first student, and by the same of the others, as `teacher_accuracy`. With a
    `validation` also by the `temperature` of the first student, and its
    `scaled_loss`, `scaled_ece` and `scaled_brier` at that.

  Raises:
    ValueError: if data and networks do not fit or a number is out of range.

  Example:
    >>> problem = distillation('wine', students=('mlp(4)',), teachers=('mlp',))
    >>> problem.names, problem.data['held']['inputs'].shape
    (('student', 'teacher'), (1, 1, 133, 13))
  """
  for name, value in (('label_noise', label_noise), ('validation', validation)):
    checks.number(value, name=name, low=0.0, high=1.0, open_high=True)
  if isinstance(students, str) or isinstance(teachers, str):
    raise TypeError('students and teachers must be sequences of networks.')
  if not students:
    raise ValueError('students is empty: name at least one network.')
  loaded = _classification.load(dataset, data_dir)
  if loaded.train_labels.ndim != 1:
    raise ValueError(
      f'dataset={loaded.name} has a label per character: distillation needs '
      'one per example.'
    )
  loaded, held_out = _split(loaded, validation)
  base = _classification.classification(
    loaded,
    partition='iid',
    network=students[0],
    num_clients=1,
    batch_size=batch_size,
    eval_batch_size=eval_batch_size,
    client_metrics=(),
    seeds=seeds,
  )
  made = [_classification.make_task(loaded, n) for n in (*students, *teachers)]
  tasks, nets = zip(*made, strict=True)
  arrays: Any = base.data[0]
  labels = np.array(arrays['labels'])
  for i, seed in enumerate(base.seeds):
    rng = np.random.default_rng([seed, 3])
    labels[i, 0] = attacks.noisy_labels(
      rng, labels[i, 0], loaded.num_classes, share=label_noise
    )
  data = {
    'held': {**arrays, 'labels': jnp.asarray(labels)},
    'mask': base.data[1],
    'seed': jnp.asarray(base.seeds, jnp.uint32),
  }

  def cohort(key, data, round):
    batch_key, _ = jax.random.split(jax.random.fold_in(key, round))
    return local.batch_cohort(
      batch_key, data['held'], data['mask'], batch_size=batch_size
    )

  def batch(data, t):
    drawn = cohort(jax.random.key(data['seed']), data, t).data
    return jax.tree.map(lambda x: x[0], drawn)

  names = _names('student', len(students)) + _names('teacher', len(teachers))
  inputs = loaded.train_inputs
  return Peers(
    task=tasks[0],
    data=data,
    cohort=cohort,
    evaluate=_evaluator(
      tasks, names, base.test, held_out, eval_batch_size, num_bins
    ),
    network=nets[0],
    seeds=base.seeds,
    num_classes=loaded.num_classes,
    metric='accuracy',
    ylabel="The student's test accuracy",
    test=base.test,
    networks=nets,
    tasks=tasks,
    num_students=len(students),
    example_inputs=jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype),
    names=names,
    batch=batch,
  )


def _names(kind, count):
  return tuple(f'{kind}{i + 1 if i else ""}' for i in range(count))


def _split(loaded, share):
  """Takes examples away from the tests, of all classes alike."""
  if not share:
    return loaded, None
  rest, held = data_lib.train_test_split(
    np.random.default_rng(1), loaded.test_labels, test_fraction=share
  )
  take = lambda rows: (loaded.test_inputs[rows], loaded.test_labels[rows])
  inputs, labels = take(rest)
  return loaded._replace(test_inputs=inputs, test_labels=labels), take(held)


def _evaluator(tasks, names, test, held_out, batch_size, num_bins):
  """Compiles the evaluation of tuples of models, leaves [S, ...]."""
  valid = None
  if held_out is not None:
    inputs, labels = held_out
    valid = jax.tree.map(
      jnp.asarray,
      data_lib.eval_batches(
        {'inputs': inputs, 'labels': labels}, min(batch_size, len(labels))
      ),
    )

  def one(params, test, valid):
    found = {}
    for i, (task, name, own) in enumerate(
      zip(tasks, names, params, strict=True)
    ):
      seen = metrics.evaluate(task, own, test, num_bins=num_bins)
      prefix = f'{name}_' if i else ''
      found |= {f'{prefix}{k}': v for k, v in seen.items()}
    if valid is not None:
      found |= scaled(params[0], test, valid)
    return found

  def scaled(params, test, valid):
    run = lambda batch: tasks[0].logits(params, batch)
    logits, labels, mask = jax.lax.map(run, valid)
    temperature = metrics.fit_temperature(logits, labels, mask=mask)
    logits, labels, mask = jax.lax.map(run, test)
    logits = logits / temperature.astype(logits.dtype)
    sums = metrics.calibration_sums(logits, labels, mask, num_bins=num_bins)
    loss = metrics.negative_log_likelihood(logits, labels, mask=mask)
    found = {'loss': loss, **metrics.calibration_of(sums)}
    found = {f'scaled_{name}': value for name, value in found.items()}
    return {'temperature': temperature, **found}

  run = jax.jit(
    lambda params, test, valid: jax.lax.map(
      lambda p: one(p, test, valid), params
    )
  )
  return lambda params: jax.device_get(run(params, test, valid))
