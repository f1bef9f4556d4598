# SPDX-License-Identifier: Apache-2.0
"""What all gossip optimisers share: starts, local gradients, reports."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import metrics, mixing
from jaxdl.core import checks, clients, keys, trees, types

Compress = Callable[[chex.PRNGKey, chex.ArrayTree], chex.ArrayTree]
ORDERS = ('adapt_then_combine', 'combine_then_adapt')


class Local:
  """The client side of an algorithm, bound to its static options."""

  def __init__(
    self,
    task: types.Task,
    *,
    num_clients: int,
    mesh: jax.sharding.Mesh | None,
    chunk: int | None,
    same_start: bool,
    optimizer: optax.GradientTransformation | None = None,
  ):
    checks.task(task)
    if optimizer is not None:
      checks.optimizer(optimizer)
    self.num_clients = checks.integer(num_clients, name='num_clients', low=1)
    self._task = task
    self._map = lambda fn: clients.map_clients(fn, mesh=mesh, chunk=chunk)
    self._same_start = same_start

  def start(self, key: chex.PRNGKey) -> chex.ArrayTree:
    """Stacked initial models; equal ones, or one draw per client."""
    n = self.num_clients
    if not self._same_start:
      return jax.vmap(self._task.init)(keys.client_keys(key, jnp.arange(n)))
    return jax.tree.map(
      lambda x: jnp.broadcast_to(x[None], (n, *jnp.shape(x))),
      jax.tree.map(jnp.asarray, self._task.init(key)),
    )

  def gradients(
    self, params: chex.ArrayTree, cohort: types.Cohort, key: chex.PRNGKey
  ) -> tuple[chex.Array, chex.ArrayTree]:
    """Losses f32[N] and stacked gradients; zero for masked clients."""
    check_cohort(cohort, self.num_clients)
    losses, grads = self._map(
      lambda p, batch, k: jax.value_and_grad(self._task.loss)(p, batch, key=k)
    )(params, cohort.data, keys.client_keys(key, cohort.client_ids))
    return losses, trees.where_rows(cohort.mask, grads, 0.0)

  def one_gradient(
    self, params: chex.ArrayTree, batch: chex.ArrayTree, key: chex.PRNGKey
  ) -> tuple[chex.Array, chex.ArrayTree]:
    """Loss and gradient of a single client."""
    return jax.value_and_grad(self._task.loss)(params, batch, key=key)

  def updates(
    self,
    optimizer: optax.GradientTransformation,
    grads: chex.ArrayTree,
    opt_state: chex.ArrayTree,
    params: chex.ArrayTree,
    cohort: types.Cohort,
  ) -> tuple[chex.ArrayTree, chex.ArrayTree]:
    """Every client's optimiser step; masked clients keep their state."""
    out, new_state = jax.vmap(optimizer.update)(grads, opt_state, params)
    return (
      trees.where_rows(cohort.mask, out, 0.0),
      trees.where_rows(cohort.mask, new_state, opt_state),
    )

  def report(
    self, losses: chex.Array, params: chex.ArrayTree, cohort: types.Cohort
  ) -> dict[str, chex.Array]:
    """Mean loss over present clients and consensus distance of the models."""
    present = cohort.mask.astype(losses.dtype)
    total = jnp.sum(jnp.where(cohort.mask, losses, 0.0))
    return {
      'loss': total / jnp.maximum(jnp.sum(present), 1.0),
      'consensus': metrics.consensus_distance(params),
    }


def check_cohort(cohort: types.Cohort, num_clients: int) -> None:
  """Raises unless the cohort holds all clients."""
  checks.cohort(
    cohort,
    num_clients,
    why='gossip needs all clients in fixed order, absent ones masked',
  )


def bind(
  mixer: Any,
  mesh: jax.sharding.Mesh | None,
  *,
  num_clients: int,
  algorithm: str,
  needs: tuple[str, ...] = ('row', 'double', 'any'),
) -> mixing.Mixer:
  """Makes a mixer, checks kind and size, moves it onto the mesh, if any."""
  pushes = 'column' in needs and 'row' not in needs
  mixer = mixing.as_mixer(mixer, stochastic='column' if pushes else 'row')
  n = checks.integer(num_clients, name='num_clients', low=1)
  found = _size(mixer)
  if found not in (None, n):
    raise ValueError(
      f'the mixer was made for {found} clients but num_clients={n}.'
    )
  if mixer.stochastic not in needs:
    remedy = (
      "use weights='send' (mixing.send_weights), or a doubly stochastic matrix"
      if 'column' in needs
      else 'use push_sum for send weights'
      if mixer.stochastic == 'column'
      else 'it needs rows and columns that sum to one, e.g. metropolis weights'
    )
    raise ValueError(
      f'{algorithm} cannot use a mixer whose stochastic={mixer.stochastic!r}: '
      f'{remedy}.'
    )
  if mesh is None or mixer.structure == mixing.ROBUST:
    return mixer
  return mixing.shard(mixer, mesh)


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
  """Takes a `compression.Compressor` for its function; None sends all."""
  if checks.has_functions(compress, 'compress'):
    return compress.compress
  if compress is not None and (
    not callable(compress) or isinstance(compress, type)
  ):
    call = 'top_k' if not isinstance(compress, str) else compress
    raise TypeError(
      'compress must be a function compress(key, tree) or a '
      f'compression.Compressor; got {checks.described(compress)}: call '
      f'compression.make_compressor({call!r}).'
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
