# SPDX-License-Identifier: Apache-2.0
"""Images on which phrases name what is looked for, and detectors that learn it.

`scenes` makes the problem; `pretrained` trains its dense detector or reads one,
and `variant` says how that is tuned, as it is or with experts.
"""

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

# What is tuned: cross-attention of the enhancer, the layers that may have
# experts, and the head.
TRAINABLE = ('*enhancer_*/cross_*', '*decoder/layer_*/ffn*', '*head/*')
# Which layers become experts.
LAYERS = '*decoder/layer_*/ffn'


class SceneTest(NamedTuple):
  """What a problem of `scenes` keeps for other detectors.

  Attributes:
    source: where images come from.
    images: to be tested on.
    example: shapes of the images and phrases of a batch.
  """

  source: Any
  images: detection.TestSet
  example: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]


def scenes(
  source: str | detection.Scenes = 'shapes(image_size=32)',
  *,
  network: str | types.Network = 'grounding',
  num_clients: int = 1,
  batch_size: int = 16,
  num_test: int = 256,
  eval_batch_size: int = 64,
  seeds: Sequence[int] = (0,),
) -> types.Problem:
  """Images, prompts of phrases, and the boxes of what they name.

  Drawn scenes are new in every round, of each client and seed; test images are
  the same for all seeds. Images from files are read ahead of the device.

  Args:
    source: a part of `detection.SOURCES`, or drawn scenes themselves.
    network: a part of `detection.DETECTORS`, or a network.
    num_clients: N; of files only 1.
    batch_size: B, images of a client in a round.
    num_test: test images.
    eval_batch_size: of them in a batch.
    seeds: S seeds.

  Returns:
    The problem. It measures `ap50` over all categories, and over base, rare and
    novel ones, see `detection.evaluator`; `test` is a `SceneTest`.

  Raises:
    ValueError: if a part, an option or a file is wrong.

  Example:
    >>> problem = scenes(
    ...   'shapes(image_size=16)',
    ...   network='grounding(width=8, num_queries=4, decoder_layers=1, '
    ...   'num_heads=2, hidden=8, channels=4, strides=(4, 2))',
    ...   batch_size=2,
    ...   num_test=4,
    ... )
    >>> params = jax.vmap(problem.task.init)(jax.random.key(0)[None])
    >>> problem.evaluate(params)['ap50_novel'].shape
    (1,)
  """
  seeds = checks.seeds(seeds)
  n = checks.integer(num_clients, name='num_clients', low=1)
  b = checks.integer(batch_size, name='batch_size', low=1)
  if isinstance(source, str):
    source = detection.SOURCES.make(source)
  drawn = isinstance(source, detection.Scenes)
  if not drawn and n > 1:
    raise ValueError(f'num_clients={n}: images from files are of one client.')
  test = detection.draw_test_set(
    source, num_test=num_test, batch_size=eval_batch_size
  )
  words = test.batches['phrases'].shape[-1]
  side = source.image_size
  example = (
    jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32),
    jax.ShapeDtypeStruct((1, source.num_phrases, words), jnp.int32),
  )

  def of_client(key, client):
    key = jax.random.fold_in(key, client)
    return detection.draw_scenes(key, source, b)

  def cohort(key, data, round):
    batch = data
    if drawn:
      ids = jnp.arange(n)
      draw = functools.partial(of_client, jax.random.fold_in(key, round))
      batch = jax.vmap(draw)(ids)
    return types.Cohort(
      client_ids=jnp.arange(n, dtype=jnp.int32),
      data=batch,
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  def fetch(keys, round):
    read = [
      detection.read_batch(jax.random.fold_in(key, round), source, b)
      for key in keys
    ]
    return jax.tree.map(lambda *xs: np.stack(xs)[:, None], *read)

  nothing = types.Task(lambda key: {}, lambda *_, **__: 0.0, lambda *_: {})
  problem = types.Problem(
    task=nothing,
    data={'seed': jnp.asarray(seeds, jnp.uint32)},
    cohort=cohort,
    fetch=None if drawn else fetch,
    evaluate=lambda params: {},
    seeds=seeds,
    num_clients=n,
    metric='ap50',
    ylabel='Average precision at IoU .5',
    one_by_one=jax.default_backend() == 'cpu',
    test=SceneTest(source, test, example),
  )
  if isinstance(network, str):
    network = detection.DETECTORS.make(
      network, num_words=len(source.vocabulary)
    )
  return with_detector(problem, network)


def with_detector(
  problem: types.Problem, network: types.Network, *, aux_coef: float = 0.01
) -> types.Problem:
  """Gives the images of a problem to another detector.

  Args:
    problem: of `scenes`.
    network: images and phrases to `detection.Detections`.
    aux_coef: α, of the load balance of experts.

  Returns:
    The problem: the same images, prompts and tests.

  Raises:
    ValueError: if the problem is none of scenes, or the network cannot take
      its images.
  """
  if not isinstance(problem.test, SceneTest):
    raise ValueError(
      'problem must be one of scenes, from problems.scenes; its test holds '
      f'{checks.described(problem.test)}.'
    )
  test = problem.test
  task = detection.grounding(network, test.example, aux_coef=aux_coef)
  jax.eval_shape(task.init, jax.random.key(0))
  return dataclasses.replace(
    problem,
    task=task,
    network=network,
    evaluate=detection.evaluator(network, test.images),
  )


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
    raise ValueError(f'{workdir} holds no checkpoint: name the workdir of a run.')
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
      num_rounds=options.steps,
      key=jax.random.key(seed),
      eval_every=max(options.steps, 1),
    )
    found.append(state.params)
    losses.append(np.asarray(history.get('loss', np.zeros(0))))
  return jax.tree.map(lambda *xs: jnp.stack(xs), *found), np.stack(losses)


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


def with_start(
  problem: types.Problem, params: chex.ArrayTree
) -> types.Problem:
  """Puts a pre-trained detector where variants begin.

  Args:
    problem: of `scenes`.
    params: of `pretrained`, leaves [S, ...].

  Returns:
    The problem, with `data['start']`.
  """
  return dataclasses.replace(problem, data={**problem.data, 'start': params})


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
  changed = with_detector(problem, network, aux_coef=aux_coef)

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
