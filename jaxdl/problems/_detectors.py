# SPDX-License-Identifier: Apache-2.0
"""Detectors that are pre-trained or read, then tuned in several ways."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import experiment, local
from jaxdl.core import checks, registry, types
from jaxdl.perception import detection, experts
from jaxdl.problems import _scenes

# What is tuned: cross-attention of the enhancer, the layers that may have
# experts, and the head.
TRAINABLE = ('*enhancer_*/cross_*', '*decoder/layer_*/ffn*', '*head/*')
# Which layers become experts.
LAYERS = '*decoder/layer_*/ffn'


class Adam(NamedTuple):
  """Training from a random start.

  Attributes:
    learning_rate: the largest.
    steps: how many; 0 leaves the random start.
  """

  learning_rate: float
  steps: int


class Stored(NamedTuple):
  """A detector that a run has trained.

  Attributes:
    workdir: of the run.
    variant: whose.
  """

  workdir: str
  variant: str


def adam(*, learning_rate: float = 0.001, steps: int = 1500) -> Adam:
  """Adam with a cosine cycle, all parameters; steps=0 is a random start."""
  checks.number(learning_rate, name='learning_rate', low=0.0)
  checks.integer(steps, name='steps', low=0)
  return Adam(learning_rate, steps)


def run(workdir: str, *, variant: str = 'dense_tuned') -> Stored:
  """The newest checkpoint of a run, of a variant without experts."""
  if not (pathlib.Path(workdir) / 'checkpoints').is_dir():
    raise ValueError(
      f'{workdir} holds no checkpoint: name the workdir of a run.'
    )
  return Stored(workdir, variant)


PRETRAININGS = registry.Registry('pretraining', {'adam': adam, 'run': run})


def pretrained(
  problem: types.Problem, pretraining: str = 'adam'
) -> tuple[chex.ArrayTree, np.ndarray]:
  """Trains the detector of a problem, or reads one that was trained.

  Seeds are trained one after the other.

  Args:
    problem: of `scenes`.
    pretraining: a part of `PRETRAININGS`: 'adam(steps=2000)', or
      'run("runs/dense")' for what a run left.

  Returns:
    Parameters with leaves [S, ...], and losses of the steps, f[S, steps];
    without any of a run.

  Raises:
    ValueError: if the run has no such model; the message lists what it has.
  """
  options = PRETRAININGS.make(pretraining)
  if isinstance(options, Stored):
    return _stored(problem, options), np.zeros((len(problem.seeds), 0))
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0),
    local.make_optimizer(
      f'adam({options.learning_rate}, schedule=one_cycle)',
      num_steps=options.steps,
    ),
  )
  algorithm = detection.tuning(problem.task, optimizer=optimizer)
  train = _on_device if problem.fetch is None else _one_by_one
  found, losses = train(problem, algorithm, options.steps)
  return jax.tree.map(lambda *xs: jnp.stack(xs), *found), np.stack(losses)


def _on_device(problem, algorithm, steps):
  """All steps of a seed as one program, the same for all seeds.

  Batches and numbers are those of `experiment.train`.
  """

  def step(root, data, state, number):
    _, key = jax.random.split(jax.random.fold_in(root, number))
    cohort = problem.cohort(root, data, number)
    state, metrics = algorithm.step(state, cohort, key=key)
    return state, metrics['loss']

  @jax.jit
  def run(root, data):
    state = algorithm.init(jax.random.fold_in(root, 0))
    body = functools.partial(step, root, data)
    if not steps:
      return state.params, jnp.zeros(0)
    state, losses = jax.lax.scan(body, state, 1 + jnp.arange(steps))
    return state.params, losses

  done = [
    run(jax.random.key(seed), jax.tree.map(lambda x, i=i: x[i], problem.data))
    for i, seed in enumerate(problem.seeds)
  ]
  return [params for params, _ in done], [np.asarray(x) for _, x in done]


def _one_by_one(problem, algorithm, steps):
  """As `_on_device`, where the host makes batches ahead."""
  found, losses = [], []
  for i, seed in enumerate(problem.seeds):
    one = dataclasses.replace(
      problem,
      seeds=(seed,),
      data=jax.tree.map(lambda x, i=i: x[i : i + 1], problem.data),
      evaluate=lambda params: {},
    )
    state, history = experiment.train(
      algorithm,
      one,
      num_rounds=steps,
      key=jax.random.key(seed),
      eval_every=max(steps, 1),
    )
    found.append(state.params)
    losses.append(np.asarray(history.get('loss', np.zeros(0))))
  return found, losses


def pretraining_rows(losses, seeds):
  """Losses of pre-training, means of some steps at a time.

  Args:
    losses: f[S, steps].
    seeds: S seeds.

  Returns:
    The rows.
  """
  every = max(1, losses.shape[1] // 50)
  return [
    {
      'step': 0,
      'split': 'pretraining',
      'variant': 'dense',
      'seed': seed,
      'iteration': i + every,
      'loss': float(row[i : i + every].mean()),
    }
    for seed, row in zip(seeds, losses, strict=True)
    for i in range(0, len(row) - every + 1, every)
  ]


def _stored(problem, options):
  arrays = experiment.read_state(options.workdir)
  shapes = jax.eval_shape(problem.task.init, jax.random.key(0))
  start = f'[{options.variant!r}].params'
  several = len(problem.seeds)

  def leaf(path, like):
    name = f'{start}{jax.tree_util.keystr(path)}'
    if name not in arrays:
      known = sorted({p.split('.params')[0] for p in arrays})
      raise ValueError(
        f'{options.workdir} has no {name}: its variants are '
        f'{", ".join(known)}; the network must be the same, without experts.'
      )
    found = arrays[name]
    if found.shape[1:] != like.shape or found.shape[0] not in (1, several):
      raise ValueError(
        f'{options.workdir} has {name} of shape {found.shape}, but the network '
        f'needs {like.shape} for {several} seeds.'
      )
    return jnp.broadcast_to(jnp.asarray(found), (several, *like.shape))

  return jax.tree_util.tree_map_with_path(leaf, shapes)


class Variant(NamedTuple):
  """What becomes of a pre-trained detector.

  Attributes:
    mixture: experts in place of feed-forward layers, or None.
    learns: whether it is tuned.
  """

  mixture: experts.Mixture | None = None
  learns: bool = True


def dense() -> Variant:
  """The pre-trained detector as it is."""
  return Variant(learns=False)


def dense_tuned() -> Variant:
  """The pre-trained detector, tuned without experts."""
  return Variant()


def moe(
  num_experts: int = 8,
  *,
  top_k: int = 2,
  num_slices: int | None = None,
  gate: str = 'renorm_k',
  router: str = 'repeat',
  start: str = 'slices',
) -> Variant:
  """Experts, see `experts.Mixture`; num_slices=1 makes them whole layers."""
  return Variant(
    experts.Mixture(
      num_experts=num_experts,
      top_k=top_k,
      num_slices=num_slices,
      gate=gate,
      router=router,
      start=start,
    )
  )


VARIANTS = registry.Registry(
  'variant', {'dense': dense, 'dense_tuned': dense_tuned, 'moe': moe}
)


def variant(
  problem: types.Problem,
  spec: str,
  *,
  optimizer: optax.GradientTransformation,
  trainable: Sequence[str] = TRAINABLE,
  aux_coef: float = 0.01,
) -> tuple[types.Problem, Callable[[Any], types.Algorithm]]:
  """Makes what `experiment.compare` takes of a pre-trained detector.

  Args:
    problem: of `scenes`, with its dense network and a start, see `with_start`.
    spec: a part of `VARIANTS`.
    optimizer: of what is tuned.
    trainable: patterns of paths of what is tuned.
    aux_coef: α, of the load balance of experts.

  Returns:
    A problem with the network of the variant, and what makes the algorithm of
    the data of a seed.

  Raises:
    ValueError: if an option is wrong, or experts cannot be cut.
  """
  own = VARIANTS.make(spec)
  network, example = problem.network, problem.test.example
  if own.mixture is not None:
    network = experts.with_experts(network, own.mixture, layers=LAYERS)
  changed = _scenes.with_detector(
    problem, network, aux_coef=None if own.mixture is None else aux_coef
  )

  def make(data):
    def begin(key):
      params = data['start']
      if own.mixture is None:
        return params
      return experts.dense_to_moe(
        problem.network,
        params,
        *example,
        key=key,
        experts=own.mixture,
        layers=LAYERS,
      ).params

    return detection.tuning(
      changed.task,
      optimizer=optimizer,
      trainable=trainable if own.learns else (),
      start=begin,
    )

  return changed, make


def check_trainable(network: str, patterns: Sequence[str]) -> None:
  """Checks that patterns name parameters of a detector, by shapes alone.

  Args:
    network: a part of `detection.DETECTORS`.
    patterns: of paths of what is tuned.

  Raises:
    ValueError: if one names none.
  """
  made = detection.DETECTORS.make(network, num_words=2)
  inputs = (
    jax.ShapeDtypeStruct((1, 4096, 4096, 3), jnp.float32),
    jax.ShapeDtypeStruct((1, 2, 2), jnp.int32),
  )
  params = jax.eval_shape(
    lambda *xs: made.init(jax.random.key(0), *xs), *inputs
  )
  for pattern in patterns:
    try:
      experts.trainable_mask(params, pattern)
    except ValueError as error:
      why = str(error).partition(' names ')[2]
      raise ValueError(
        f'trainable={pattern!r} is unknown: it names {why} Patterns are such '
        f'as {", ".join(TRAINABLE)}.'
      ) from error


def check_variant(
  problem: types.Problem, spec: str, *, trainable: Sequence[str] = TRAINABLE
) -> None:
  """Checks a variant by shapes alone, before anything is trained.

  Args:
    problem: of `scenes`, with its dense network.
    spec: a part of `VARIANTS`.
    trainable: patterns of paths of what is tuned.

  Raises:
    ValueError: if an option is wrong, experts cannot be cut, or a pattern names
      no parameter.
  """
  _, make = variant(
    problem, spec, optimizer=optax.identity(), trainable=trainable
  )
  key = jax.eval_shape(lambda: jax.random.key(0))
  start = jax.eval_shape(problem.task.init, key)
  jax.eval_shape(lambda p, k: make({'start': p}).init(k), start, key)
