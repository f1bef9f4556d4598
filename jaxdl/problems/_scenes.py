# SPDX-License-Identifier: Apache-2.0
"""Images on which phrases name what is looked for."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, types
from jaxdl.perception import detection, experts


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
    >>> cohort = jax.eval_shape(problem.cohort, jax.random.key(0), {}, 1)
    >>> cohort.data['inputs'].shape, problem.metric
    ((1, 2, 16, 16, 3), 'ap50')
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

  # As one program wherever it is called, so that rounding is the same.
  @jax.jit
  def draw(key, round):
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
      jax.random.fold_in(key, round), jnp.arange(n)
    )
    return jax.vmap(lambda own: detection.draw_scenes(own, source, b))(keys)

  def cohort(key, data, round):
    return types.Cohort(
      client_ids=jnp.arange(n, dtype=jnp.int32),
      data=draw(key, jnp.asarray(round)) if drawn else data,
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
  problem: types.Problem,
  network: types.Network,
  *,
  aux_coef: float | None = None,
) -> types.Problem:
  """Gives the images of a problem to another detector.

  Args:
    problem: of `scenes`.
    network: images and phrases to `detection.Detections`.
    aux_coef: α, of the load balance of experts; None where there are none.

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
  task = detection.grounding(network, test.example)
  if aux_coef is not None:
    task = experts.balanced_task(task, coefficient=aux_coef)
  jax.eval_shape(task.init, jax.random.key(0))
  return dataclasses.replace(
    problem,
    task=task,
    network=network,
    evaluate=detection.evaluator(network, test.images),
  )


def with_start(problem: types.Problem, params: chex.ArrayTree) -> types.Problem:
  """Puts a pre-trained detector where variants begin.

  Args:
    problem: of `scenes`.
    params: of `pretrained`, leaves [S, ...].

  Returns:
    The problem, with `data['start']`.
  """
  data: Any = problem.data
  return dataclasses.replace(problem, data={**data, 'start': params})
