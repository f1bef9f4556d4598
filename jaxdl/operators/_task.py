# SPDX-License-Identifier: Apache-2.0
"""Operator learning as a task, for any training algorithm."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl import networks
from jaxdl.core import checks, fits
from jaxdl.core.types import Network, Task
from jaxdl.operators import _losses as losses, _masks as masks

Loss = str | Callable[[chex.Array, chex.Array], chex.Array]


def operator_task(
  network: Network,
  example: dict[str, Any],
  *,
  loss: Loss = 'relative_l2',
  points: chex.Array | None = None,
  metrics: tuple[str, ...] = ('relative_l2', 'mse'),
) -> Task:
  """Builds the supervised task of a network between functions.

  A batch is a dict with leaves [B, ...]: 'inputs' (networks on grids) or
  'sensors' (branch-trunk networks), 'targets', optionally 'points' and 'mask'
  bool[B], whose false rows have no effect.

  Args:
    network: `apply(params, inputs) -> outputs`, or with points
      `apply(params, sensors, points) -> outputs`; a keyword `aligned` of it is
      told whether the points are common to all functions (True) or, for
      points f[B, d], one per function (False).
    example: a batch of any size, for its shapes (values are not used).
    loss: a name from `LOSSES`, with options or without, or a function of
      predictions and targets f[B, ...] to one number per sample, f[B];
      minimized is their masked mean.
    points: f[Q, d], query points common to all functions; without them a batch
      brings its own: 'points' f[B, d] (targets [B] or [B, C]) or f[B, Q, d]
      (targets [B, Q] or [B, Q, C]). A network that has no points needs none.
    metrics: names from `LOSSES` that `evaluate` adds to the loss.

  Returns:
    A `Task`. Targets may omit an output axis of size one.

  Raises:
    ValueError: if a name is unknown, a field or the points are missing, or
      points are not of rank 2; from `loss` and `evaluate`, if shapes differ.
    TypeError: if a batch is no dict, or `params` is something else than `init`
      makes.

  Example:
    >>> net = networks.mlp(8, 5)
    >>> batch = {'inputs': jnp.ones((4, 3)), 'targets': jnp.ones((4, 5))}
    >>> task = operator_task(net, batch, loss='mse')
    >>> params = task.init(jax.random.key(0))
    >>> sorted(task.evaluate(params, batch))
    ['loss', 'mse', 'relative_l2']
  """
  network = networks.as_network(network)
  takes_aligned = checks.takes(network.apply, 'aligned')
  chosen = losses.make_loss(loss)
  if isinstance(metrics, str):
    raise TypeError(
      f'metrics must be a tuple of names; got {metrics!r}: write '
      f"('{metrics}',)."
    )
  measures = {name: losses.make_loss(name, name='metrics') for name in metrics}
  if points is not None:
    points = jnp.asarray(points)
    if points.ndim != 2:
      remedy = ': write points[:, None]' if points.ndim == 1 else ''
      raise ValueError(
        'points must be f[Q, d], Q query points of d coordinates; got shape '
        f'{points.shape}{remedy}.'
      )

  def loss_fn(out, targets):
    values = chosen(out, targets)
    if jnp.shape(values) != out.shape[:1]:
      raise ValueError(
        f'loss must return one number per sample, shape {out.shape[:1]}; got '
        f'{jnp.shape(values)}: average over all axes but the first.'
      )
    return values

  def arguments(batch):
    if not isinstance(batch, Mapping):
      raise TypeError(
        "a batch must be a dict with 'targets' and 'inputs' (or 'sensors'); "
        f'got {checks.described(batch)}.'
      )
    if 'targets' not in batch or not {'inputs', 'sensors'} & batch.keys():
      raise ValueError(
        "a batch needs 'targets' and 'inputs' (or 'sensors'); got "
        f'{sorted(batch)}.'
      )
    first = batch['inputs'] if 'inputs' in batch else batch['sensors']
    if points is not None:
      return (first, points), {'aligned': True} if takes_aligned else {}
    if 'points' in batch:
      own = batch['points']
      pairs = own.ndim == 2 and takes_aligned
      return (first, own), {'aligned': False} if pairs else {}
    return (first,), {}

  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(
      jnp.shape(x), jax.dtypes.canonicalize_dtype(jnp.result_type(x))
    ),
    example,
  )
  inputs, _ = arguments(shapes)
  network = fits.explained(network, *inputs)
  wanted = [
    p.name
    for p in inspect.signature(network.init).parameters.values()
    if p.default is p.empty and p.kind <= p.POSITIONAL_OR_KEYWORD
  ]
  if len(inputs) == 1 and len(wanted) > 2:
    raise ValueError(
      f'the network reads {wanted[2]} besides {wanted[1]}: give points= (query '
      "points f[Q, d] common to all functions), or 'points' in every batch."
    )

  def init(key):
    return network.init(
      key,
      *jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), inputs),
    )

  def predict(params, batch):
    args, options = arguments(batch)
    out, targets = network.apply(params, *args, **options), batch['targets']
    if out.ndim == targets.ndim + 1 and out.shape[-1] == 1:
      targets = targets[..., None]
    if out.shape != targets.shape:
      raise ValueError(
        f'targets have shape {batch["targets"].shape} but the network gives '
        f'{out.shape}: aligned data are [functions, points(, outputs)].'
      )
    return out, targets

  def masked_loss(params, batch, *, key=None):
    del key
    batch, mask = masks.unmask(batch)
    out, targets = predict(params, batch)
    return masks.masked_mean(loss_fn(out, targets), mask)

  def evaluate(params, batch):
    batch, mask = masks.unmask(batch)
    out, targets = predict(params, batch)
    values = {'loss': loss_fn(out, targets)}
    for name, measure in measures.items():
      values[name] = measure(out, targets)
    return {name: masks.masked_mean(x, mask) for name, x in values.items()}

  return Task(init, masked_loss, evaluate)
