# SPDX-License-Identifier: Apache-2.0
"""What all gossip optimizers share: starts, local gradients, reports."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import compression, local, metrics, mixing
from jaxdl.core import checks, clients as clients_lib, keys, trees, types

Compress = Callable[[chex.PRNGKey, chex.ArrayTree], chex.ArrayTree]
ORDERS = ('adapt_then_combine', 'combine_then_adapt')


class Gossip:
  """Task, mixer and clients of an algorithm, checked and put together.

  Attributes:
    clients: N clients and how they are run.
    num_clients: N.
    mixer: what mixes, on the devices of the clients; None over a graph.
    gradients: `gradients(params, cohort, key) -> (losses, grads)` of all.
  """

  def __init__(
    self,
    task: types.Task,
    mixer: Any,
    clients: clients_lib.Clients | int,
    *,
    algorithm: str,
    needs: tuple[str, ...] = ('row', 'double', 'any'),
    optimizer: optax.GradientTransformation | None = None,
    same_start: bool = True,
  ):
    checks.task(task)
    if optimizer is not None:
      checks.optimizer(optimizer)
    self.clients = clients_lib.as_clients(clients)
    self.num_clients = self.clients.num_clients
    self.mixer = None
    if mixer is not None:
      self.mixer = _bind(mixer, self.clients, algorithm, needs)
    self.gradients = local.gradients(task, self.clients)
    self._task = task
    self._optimizer = optimizer
    self._same_start = same_start

  def start(self, key: chex.PRNGKey) -> chex.ArrayTree:
    """Stacked initial models; equal ones, or one draw per client."""
    return local.start_models(
      self._task, self.clients, key, same=self._same_start
    )

  def mix(
    self, stacked: chex.ArrayTree, round: chex.Array, key: chex.PRNGKey
  ) -> chex.ArrayTree:
    """One gossip step."""
    return self.mixer.apply(stacked, round, key=key)

  def opt_states(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Initial states of all optimizers."""
    return jax.vmap(self._optimizer.init)(params)

  def updates(
    self,
    grads: chex.ArrayTree,
    opt_state: chex.ArrayTree,
    params: chex.ArrayTree,
    cohort: types.Cohort,
  ) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Every client's optimizer step; masked clients keep their state."""
    return local.client_updates(
      self._optimizer, grads, opt_state, params, cohort.mask
    )

  def report(
    self, losses: chex.Array, params: chex.ArrayTree, cohort: types.Cohort
  ) -> dict[str, chex.Array]:
    """Mean loss over present clients and consensus distance of the models."""
    return report(losses, cohort.mask, params)


def report(
  losses: chex.Array, mask: chex.Array, params: chex.ArrayTree
) -> dict[str, chex.Array]:
  """Mean of the losses that count, and consensus distance of the models."""
  total = jnp.sum(jnp.where(mask, losses, 0.0))
  count = jnp.maximum(jnp.sum(mask.astype(losses.dtype)), 1.0)
  return {
    'loss': total / count,
    'consensus': metrics.consensus_distance(params),
  }


def _bind(
  mixer: Any,
  clients: clients_lib.Clients,
  algorithm: str,
  needs: tuple[str, ...],
) -> mixing.Mixer:
  """Makes a mixer, checks kind and size, moves it onto the mesh, if any."""
  pushes = 'column' in needs and 'row' not in needs
  n = clients.num_clients
  mixer = mixing.as_mixer(mixer, n, stochastic='column' if pushes else 'row')
  found = _size(mixer)
  if found not in (None, n):
    raise ValueError(
      f'the mixer was made for {found} clients but num_clients={n}.'
    )
  if mixer.stochastic not in needs:
    remedy = (
      'use weights=send (mixing.send_weights), or a doubly stochastic matrix'
      if 'column' in needs
      else 'use push_sum for send weights'
      if mixer.stochastic == 'column'
      else 'it needs rows and columns that sum to one, e.g. metropolis weights'
    )
    raise ValueError(
      f'{algorithm} cannot use a mixer whose stochastic={mixer.stochastic!r}: '
      f'{remedy}.'
    )
  if clients.mesh is None or mixer.structure == mixing.ROBUST:
    return mixer
  return mixing.shard(mixer, clients.mesh)


def _size(mixer: mixing.Mixer) -> int | None:
  """Clients of a mixer; None if it has no matrix or a peculiar one."""
  try:
    draw = lambda key: mixer.matrix(0, key=key)
    return jax.eval_shape(draw, jax.random.key(0)).shape[-1]
  except Exception:
    return None


def add(*terms: tuple[float, chex.ArrayTree]) -> chex.ArrayTree:
  """Linear combination of trees, dtypes of the first."""
  factors, stacked = zip(*terms, strict=True)

  def leaf(*xs):
    acc = trees.accumulator(xs[0].dtype)
    total = sum(f * x.astype(acc) for f, x in zip(factors, xs, strict=True))
    return total.astype(xs[0].dtype)

  return jax.tree.map(leaf, *stacked)


def as_compress(compress: Any) -> Compress | None:
  """Makes the function of a compressor; None sends all.

  Args:
    compress: a `compression.Compressor`, a function `compress(key, tree)`, text
      for `compression.make_compressor`, or None.

  Returns:
    The function, or None.
  """
  if isinstance(compress, str):
    compress = compression.make_compressor(compress)
  if checks.has_functions(compress, 'compress'):
    return compress.compress
  if compress is not None and (
    not callable(compress) or isinstance(compress, type)
  ):
    raise TypeError(
      'compress must be a function compress(key, tree), a '
      'compression.Compressor or text such as top_k(keep=0.1); got '
      f'{checks.described(compress)}.'
    )
  return compress


def compress_rows(
  compress: Compress,
  key: chex.PRNGKey,
  cohort: types.Cohort,
  stacked: chex.ArrayTree,
) -> chex.ArrayTree:
  """Each client's message, compressed with its own stream."""
  return jax.vmap(compress)(keys.client_keys(key, cohort.client_ids), stacked)


def zeros(stacked: chex.ArrayTree) -> chex.ArrayTree:
  """A tree of zeros."""
  return jax.tree.map(jnp.zeros_like, stacked)
