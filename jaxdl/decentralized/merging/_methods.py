# SPDX-License-Identifier: Apache-2.0
"""Gossip from unrelated starts: ways to average, by spec, and what fades."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import mixing, networks
from jaxdl.core import checks, clients as clients_lib, layers, registry, types
from jaxdl.decentralized.gossip import _sgd
from jaxdl.decentralized.merging import _buffered
from jaxdl.mixing import variance


class Turns(NamedTuple):
  """When clients train and send, see `buffered_gossip`."""

  low: int
  high: int
  send_every: int
  buffer_size: int | None

  @property
  def synchronous(self) -> bool:
    """Whether everybody averages once per tick, as the theory assumes."""
    return self == (1, 1, 1, None)


def turns(
  low: int = 1,
  high: int = 1,
  send_every: int = 1,
  buffer_size: int | None = None,
) -> Turns:
  """Ticks between trainings, trainings between messages, models waited for."""
  checks.integer(low, name='low', low=1)
  checks.integer(high, name='high', low=1)
  checks.integer(send_every, name='send_every', low=1)
  if buffer_size is not None:
    checks.integer(buffer_size, name='buffer_size', low=1)
  if high < low:
    raise ValueError(f'high={high} must be at least low={low}.')
  return Turns(low, high, send_every, buffer_size)


TURNS = registry.Registry('turns', {'turns': turns})


def gossip_matrix(graph: np.ndarray, self_weight: float) -> np.ndarray:
  """The weights of one synchronous tick, β I + (1 - β) D⁻¹ A.

  Args:
    graph: bool[N, N].
    self_weight: β, weight of the own model.

  Returns:
    float64[N, N], rows sum to one.

  Example:
    >>> gossip_matrix(np.array([[0, 1], [1, 0]], bool), 0.25).tolist()
    [[0.25, 0.75], [0.75, 0.25]]
  """
  degrees = graph.sum(axis=1)
  eye = np.eye(len(graph))
  share = graph / np.maximum(degrees, 1)[:, None]
  mixed = self_weight * eye + (1 - self_weight) * share
  return np.where((degrees > 0)[:, None], mixed, eye)


def _buffering(task, graph, clients, optimizer, self_weight, turns, **options):
  return _buffered.buffered_gossip(
    task,
    graph,
    clients,
    optimizer=optimizer,
    self_weight=self_weight,
    buffer_size=turns.buffer_size,
    send_every=turns.send_every,
    turn_ticks=(turns.low, turns.high),
    **options,
  )


def _corrections(eps, strength, biases):
  checks.number(eps, name='eps', low=0.0)
  checks.number(strength, name='strength', low=0.0, high=1.0)
  return {
    'eps': eps,
    'strength': strength,
    'correct_fn': variance.is_tensor if biases else layers.is_kernel,
  }


def federated(
  task: types.Task,
  graph: np.ndarray,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
) -> types.Algorithm:
  """Takes the exact average, from equal models."""
  mixer = mixing.make_mixer('complete', len(graph))
  return _sgd.gossip_sgd(task, mixer, clients, optimizer=optimizer)


def alone(
  task: types.Task,
  graph: np.ndarray,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
) -> types.Algorithm:
  """Never talks."""
  mixer = mixing.identity(len(graph))
  return _sgd.gossip_sgd(
    task, mixer, clients, optimizer=optimizer, same_start=False
  )


def sampled(
  task: types.Task,
  graph: np.ndarray,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  self_weight: float,
  rate: float = 0.1,
) -> types.Algorithm:
  """Sends a random share of the coordinates."""
  mixer = variance.subsampled(
    mixing.from_matrix(gossip_matrix(graph, self_weight)), rate
  )
  return _sgd.gossip_sgd(
    task, mixer, clients, optimizer=optimizer, same_start=False
  )


def plain(
  task: types.Task,
  graph: np.ndarray,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  self_weight: float,
  turns: Turns,
) -> types.Algorithm:
  """Averages what came."""
  return _buffering(
    task, graph, clients, optimizer, self_weight, turns, target=None
  )


def common_start(
  task: types.Task,
  graph: np.ndarray,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  self_weight: float,
  turns: Turns,
) -> types.Algorithm:
  """Averages what came, from equal models."""
  return _buffering(
    task,
    graph,
    clients,
    optimizer,
    self_weight,
    turns,
    target=None,
    same_start=True,
  )


def corrected(
  task: types.Task,
  graph: np.ndarray,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  self_weight: float,
  turns: Turns,
  target: str = 'others',
  eps: float = 0.0,
  strength: float = 1.0,
  biases: bool = False,
) -> types.Algorithm:
  """Restores a variance: of what came ('others'), the own, or both ('beta')."""
  checks.choice(target, variance.TARGETS, name='target')
  return _buffering(
    task,
    graph,
    clients,
    optimizer,
    self_weight,
    turns,
    target=target,
    **_corrections(eps, strength, biases),
  )


def initial(
  task: types.Task,
  graph: np.ndarray,
  clients: clients_lib.Clients,
  *,
  optimizer: optax.GradientTransformation,
  self_weight: float,
  turns: Turns,
  kernel_init: str,
  eps: float = 0.0,
  strength: float = 1.0,
  biases: bool = False,
) -> types.Algorithm:
  """Restores the variance that kernels are drawn with."""
  shapes = jax.eval_shape(task.init, jax.random.key(0))
  return _buffering(
    task,
    graph,
    clients,
    optimizer,
    self_weight,
    turns,
    target=networks.kernel_variances(shapes, kernel_init),
    **_corrections(eps, strength, biases),
  )


METHODS = registry.Registry(
  'method',
  {
    'federated': federated,
    'plain': plain,
    'corrected': corrected,
    'initial': initial,
    'common_start': common_start,
    'sampled': sampled,
    'alone': alone,
  },
  given=(
    *('task', 'graph', 'clients', 'optimizer'),
    *('self_weight', 'turns', 'kernel_init'),
  ),
)


class Fading:
  """Measures how the variance of kernels fades, S seeds side by side.

  Args:
    task: of the models.
    kernel_init: rule of `networks.kernel_variances` that they are drawn by.
    graph: bool[N, N].
    self_weight: β of an average.

  Raises:
    ValueError: if the models start without variance.
  """

  def __init__(
    self,
    task: types.Task,
    kernel_init: str,
    graph: np.ndarray,
    self_weight: float,
  ):
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    drawn = networks.kernel_variances(shapes, kernel_init)
    # The variance of a layer at the start, under its path.
    self._wanted = {
      jax.tree_util.keystr(path, simple=True, separator='/'): value
      for path, value in jax.tree_util.tree_leaves_with_path(drawn)
      if value
    }
    if not self._wanted:
      raise ValueError(
        f'kernel_init={kernel_init} starts without a variance that could '
        'fade: choose another.'
      )
    self._matrix = gossip_matrix(graph, self_weight)
    self._run = jax.jit(lambda params: jax.lax.map(self._one, params))

  def theory(self, num_rounds: int) -> np.ndarray:
    """What theory says of synchronous plain averages: float64[T + 1]."""
    return variance.variance_factors(self._matrix, num_rounds)

  def _one(self, params):
    found = variance.layer_variances(params)
    found = {name: jnp.mean(v) for name, v in found.items()}
    ratios = [found[name] / self._wanted[name] for name in found]
    return {'ratio': sum(ratios) / len(ratios), **found}

  def measure(self, params: chex.ArrayTree) -> dict[str, np.ndarray]:
    """Mean variances of the kernels of all models.

    Args:
      params: leaves [S, N, ...].

    Returns:
      Dict of [S]: by path, and `ratio`, the mean over kernels of the variance
      in units of that at the start.
    """
    return jax.device_get(self._run(params))

  def layers(
    self, params: chex.ArrayTree, seeds: Sequence[int]
  ) -> list[dict[str, Any]]:
    """The same by layer, as rows: `seed`, `layer` and `ratio`."""
    found = self.measure(params)
    return [
      {
        'seed': seed,
        'ratio': float(found[layer][i] / start),
        # Short names for the picture.
        'layer': layer.removeprefix('params/').removesuffix('/kernel'),
      }
      for layer, start in self._wanted.items()
      for i, seed in enumerate(seeds)
    ]
