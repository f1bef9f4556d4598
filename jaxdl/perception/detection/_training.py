# SPDX-License-Identifier: Apache-2.0
"""Learning to detect, and being tested on images that are kept."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import optax

from jaxdl import networks
from jaxdl.core import checks, types
from jaxdl.perception import experts
from jaxdl.perception.detection import _losses, _matching


def grounding(
  network: types.Network,
  example_inputs: tuple[Any, Any],
  *,
  weights: tuple[float, float, float] = _matching.WEIGHTS,
) -> types.Task:
  """Builds the task of finding what phrases name.

  Args:
    network: images f[B, H, W, 3] and phrases i[B, P, W] to `Detections`.
    example_inputs: images and phrases, or `jax.ShapeDtypeStruct`s, that
      initialize the network.
    weights: of the losses of class, L1 and GIoU.

  Returns:
    `Task`. Batches hold 'inputs', 'phrases', 'boxes', 'labels', 'present' and
    optionally 'mask', as `draw_scenes` and `read_pictures` make them. The loss
    is that of `detection_loss`, over all layers; `evaluate` gives it as `loss`
    and its parts of the last layer. Precision needs all images at once, see
    `evaluator`.

  Raises:
    TypeError: if it is no network.
    ValueError: from `loss` and `evaluate`, if batches do not fit.

  Example:
    >>> from jaxdl.perception import detection
    >>> network = detection.grounding_detector(
    ...   9, width=8, num_queries=4, decoder_layers=1, num_heads=2, hidden=8,
    ...   channels=4, strides=(4, 2),
    ... )
    >>> example = jnp.zeros((1, 16, 16, 3)), jnp.ones((1, 2, 2), jnp.int32)
    >>> task = grounding(network, example)
    >>> batch = {
    ...   'inputs': example[0],
    ...   'phrases': example[1],
    ...   'boxes': jnp.full((1, 3, 4), 0.5),
    ...   'labels': jnp.zeros((1, 3), jnp.int32),
    ...   'present': jnp.ones((1, 3), bool),
    ... }
    >>> params = jax.eval_shape(task.init, jax.random.key(0))
    >>> sorted(jax.eval_shape(task.evaluate, params, batch))
    ['class_loss', 'giou_loss', 'l1_loss', 'loss']
  """
  network = networks.as_network(network)
  images, phrases = example_inputs

  def run(params, batch, **options):
    if 'inputs' not in batch or 'phrases' not in batch:
      raise ValueError(
        f"batch needs 'inputs' and 'phrases'; it has {sorted(batch)}."
      )
    found = network.apply(params, batch['inputs'], batch['phrases'], **options)
    return _losses.detection_loss(found, batch, weights=weights)

  def loss(params, batch, *, key=None):
    return run(params, batch, train=True, key=key)[0]

  def evaluate(params, batch):
    value, parts = run(params, batch)
    return {'loss': value, **parts}

  return types.Task(
    lambda key: network.init(key, images, phrases), loss, evaluate
  )


class TuningState(NamedTuple):
  """State of `tuning`.

  Attributes:
    params: the model.
    optimizer: state of the optimizer, of what is trained alone.
  """

  params: chex.ArrayTree
  optimizer: chex.ArrayTree


def tuning(
  task: types.Task,
  *,
  optimizer: optax.GradientTransformation,
  trainable: str | Sequence[str] = '*',
  start: Callable[[chex.PRNGKey], chex.ArrayTree] | None = None,
) -> types.Algorithm:
  """Trains a part of a model on the examples of all clients.

  What is not trained is left alone bit by bit, and no gradient of it is
  computed.

  Args:
    task: what is learned.
    optimizer: any optax transformation, of a list of the arrays that are
      trained.
    trainable: patterns of paths of parameters, see `experts.trainable_mask`;
      nothing is trained if there is none (static).
    start: `start(key) -> params`, of a model that is there already; `task.init`
      if None.

  Returns:
    An `Algorithm` of cohorts whose data has leaves [N, B, ...]; a step sees all
    N B examples. Metrics are `loss` and `grad_norm`, of before the step.

  Raises:
    TypeError: if a part is of another kind.
    ValueError: from `init`, if a pattern names no parameter.

  Example:
    >>> task = types.Task(
    ...   lambda key: {'a': jnp.ones(2), 'b': jnp.ones(3)},
    ...   lambda p, batch, key=None: sum(jnp.sum(x**2) for x in p.values()),
    ...   lambda p, batch: {},
    ... )
    >>> algorithm = tuning(task, optimizer=optax.sgd(0.1), trainable='a')
    >>> state = algorithm.init(jax.random.key(0))
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(1), data={}, mask=jnp.ones(1, bool),
    ...   weights=jnp.ones(1),
    ... )
    >>> state, _ = algorithm.step(state, cohort, key=jax.random.key(1))
    >>> state.params['a'].tolist(), state.params['b'].tolist()
    ([0.800000011920929, 0.800000011920929], [1.0, 1.0, 1.0])
  """
  checks.task(task)
  checks.optimizer(optimizer)
  begin = task.init if start is None else start

  def split(params):
    """Leaves that move, and what puts them back."""
    chosen = [False] * len(jax.tree.leaves(params))
    if len(trainable):
      chosen = jax.tree.leaves(
        experts.trainable_mask(params, trainable, name='trainable')
      )
    leaves, structure = jax.tree.flatten(params)
    moving = [x for x, c in zip(leaves, chosen, strict=True) if c]

    def whole(moved):
      rest = iter(moved)
      return jax.tree.unflatten(
        structure,
        [next(rest) if c else x for x, c in zip(leaves, chosen, strict=True)],
      )

    return moving, whole

  def init(key):
    params = begin(key)
    return TuningState(params, optimizer.init(split(params)[0]))

  def step(state, cohort, *, key):
    batch = jax.tree.map(
      lambda x: x.reshape(-1, *x.shape[2:]), dict(cohort.data)
    )
    moving, whole = split(state.params)
    loss, slopes = jax.value_and_grad(
      lambda moved: task.loss(whole(moved), batch, key=key)
    )(moving)
    updates, memory = optimizer.update(slopes, state.optimizer, moving)
    params = whole(optax.apply_updates(moving, updates))
    metrics = {'loss': loss, 'grad_norm': optax.tree.norm(slopes)}
    return TuningState(params, memory), metrics

  return checks.algorithm(
    init, step, lambda state: state.params, state=TuningState
  )
