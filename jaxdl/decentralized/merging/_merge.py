# SPDX-License-Identifier: Apache-2.0
"""One average of all models, and whether it helps.

Local models that gossip rarely look as bad as without any communication; their
average does not. Here are the average, exact or by some gossip steps, what it
gains, and training that leaves room for it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import local as local_lib, mixing
from jaxdl.core import checks, clients as clients_lib, keys, trees, types
from jaxdl.decentralized.gossip import _common as common
from jaxdl.mixing import _communication, _merge

LossFn = Callable[[chex.ArrayTree], chex.Array]


def stack_models(models: Sequence[chex.ArrayTree]) -> chex.ArrayTree:
  """Puts models on top of each other.

  Args:
    models: at least one tree; all of one structure, shapes and dtypes.

  Returns:
    Leaves [N, ...].

  Raises:
    ValueError: if there is none, or two differ; the message names the leaf.

  Example:
    >>> stack_models([{'w': jnp.zeros(2)}, {'w': jnp.ones(2)}])['w'].shape
    (2, 2)
  """
  if not models:
    raise ValueError('models is empty: need at least one model.')
  first = _by_path(models[0])
  for k, model in enumerate(models[1:], start=1):
    other = _by_path(model)
    for path in sorted(first.keys() ^ other.keys()):
      holder = 0 if path in first else k
      raise ValueError(
        f'models[{holder}] has a leaf {path} that models'
        f'[{k if holder == 0 else 0}] lacks: all need the same structure.'
      )
    for path, leaf in other.items():
      if jnp.shape(leaf) != jnp.shape(first[path]):
        raise ValueError(
          f'models[{k}]{path} has shape {jnp.shape(leaf)} but models[0] has '
          f'{jnp.shape(first[path])}.'
        )
  return jax.tree.map(lambda *xs: jnp.stack(xs), *models)


def _by_path(tree):
  return {
    jax.tree_util.keystr(path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def merge_by_gossip(
  stacked: chex.ArrayTree,
  num_rounds: int,
  *,
  mixer: mixing.Mixer | str | None = None,
  key: chex.PRNGKey | None = None,
) -> chex.ArrayTree:
  """Approaches the average by gossip steps without training in between.

  Args:
    stacked: models, leaves [N, ...], floating point.
    num_rounds: steps >= 0 (static).
    mixer: the static exponential graph with equal weights if None.
    key: consumed by random mixers.

  Returns:
    Leaves [N, ...]; every client's own approximation.

  Raises:
    ValueError: if client axes differ.

  Example:
    >>> merge_by_gossip(jnp.array([[0.0], [2.0]]), 1).tolist()
    [[1.0], [1.0]]

  Source: Zhu et al. 2025 (https://arxiv.org/abs/2507.06542), appendix C.
  """
  n = checks.num_clients(stacked, name='stacked')
  steps = checks.integer(num_rounds, name='num_rounds', low=0)
  mixer = mixing.as_mixer('exponential' if mixer is None else mixer, n)
  return jax.lax.fori_loop(
    0, steps, lambda t, x: mixer.apply(x, t, key=key), stacked
  )


class Mergeability(NamedTuple):
  """What averaging does to the loss.

  Attributes:
    mean_loss: f32[], weighted mean of the models' losses.
    merged_loss: f32[], loss of the weighted mean of the models.
    gap: f32[], their difference; the models are mergeable if it is >= 0.
  """

  mean_loss: chex.Array
  merged_loss: chex.Array
  gap: chex.Array


def mergeability(
  loss_fn: LossFn,
  stacked: chex.ArrayTree,
  weights: chex.Array | None = None,
) -> Mergeability:
  """Compares the loss of the average with the average loss.

  Args:
    loss_fn: `loss_fn(params) -> f32[]`.
    stacked: models, leaves [N, ...].
    weights: f32[N] of any positive sum; equal if None.

  Returns:
    `Mergeability`; for convex losses the gap is never negative (Jensen).

  Raises:
    ValueError: as `merge`.

  Example:
    >>> found = mergeability(lambda x: x * x, jnp.array([-1.0, 1.0]))
    >>> float(found.mean_loss), float(found.merged_loss)
    (1.0, 0.0)

  Source: Zhu et al. 2025 (https://arxiv.org/abs/2507.06542), definition of
  mergeability.
  """
  n = checks.num_clients(stacked, name='stacked')
  losses = jax.lax.map(loss_fn, stacked)
  mean_loss = jnp.sum(_merge.shares(weights, n) * losses)
  merged_loss = loss_fn(mixing.merge(stacked, weights))
  return Mergeability(mean_loss, merged_loss, mean_loss - merged_loss)


class SharpnessAlignment(NamedTuple):
  """Second-order effect of disagreement on the average's descent.

  Attributes:
    consensus: f32[], Ξ² = (1/N) Σ |x_k - x̄|².
    gradient_norm: f32[], |∇L(x̄)|.
    sharpness: f32[], Tr(∇²L(x̄) Γ) with Γ the covariance of the models.
    alignment: f32[], ∇L(x̄) · ∇Tr(∇²L(x̄) Γ); negative where going downhill
      makes the loss sharper along the disagreement ("progressive sharpening"),
      which is what lets disagreement speed descent up.
  """

  consensus: chex.Array
  gradient_norm: chex.Array
  sharpness: chex.Array
  alignment: chex.Array


def sharpness_alignment(
  loss_fn: LossFn, stacked: chex.ArrayTree
) -> SharpnessAlignment:
  """Measures how disagreement bends the descent of the average.

  To third order in the disagreement the average of the clients' gradients is
  ∇L(x̄) + ½ ∇Tr(∇²L(x̄) Γ).

  Args:
    loss_fn: `loss_fn(params) -> f32[]`, the mean loss, three times
      differentiable (for ReLU networks almost everywhere).
    stacked: models, leaves [N, ...], floating point.

  Returns:
    `SharpnessAlignment`.

  Raises:
    ValueError: if client axes differ.

  Cost: about ten gradients of `loss_fn` per client, one client at a time.

  Example:
    >>> found = sharpness_alignment(lambda x: x**4 / 4, jnp.array([0.5, 1.5]))
    >>> float(found.sharpness), float(found.alignment)  # 3 x² δ², x³ · 6 x δ²
    (0.75, 1.5)

  Source: Zhu et al. 2025 (https://arxiv.org/abs/2507.06542), theorem on the
  averaged iterate.
  """
  mean = mixing.merge(stacked)
  gaps = jax.tree.map(lambda x, m: x - m[None], stacked, mean)
  gradient = jax.grad(loss_fn)(mean)

  def curvature(params, gap):
    slope = lambda p: jax.jvp(loss_fn, (p,), (gap,))[1]
    return jax.jvp(slope, (params,), (gap,))[1]

  def one(gap):
    return jax.jvp(lambda p: curvature(p, gap), (mean,), (gradient,))

  sharpness, alignment = jax.lax.map(one, gaps)
  return SharpnessAlignment(
    jnp.mean(trees.sq_norms(gaps)),
    trees.global_norm(gradient),
    jnp.mean(sharpness),
    jnp.mean(alignment),
  )


class LocalGossipState(NamedTuple):
  """State of `local_then_gossip`.

  Attributes:
    params: stacked models [N, ...].
    opt_state: stacked optimizer states; never mixed or reset.
    round: i32[], rounds done.
    num_messages: f32[], models sent so far.
  """

  params: chex.ArrayTree
  opt_state: chex.ArrayTree
  round: chex.Array
  num_messages: chex.Array


def local_then_gossip(
  task: types.Task,
  mixer: mixing.Mixer | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  same_start: bool = False,
) -> types.Algorithm:
  """Several local optimizer steps, then one gossip step, per round.

  Nothing but the mixing crosses clients, so all steps of a client run in one
  program without communication. Everything in `params` is mixed, running
  statistics too.

  Args:
    task: parameters and loss.
    mixer: rows sum to one; `scheduled` makes one whose rate changes.
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client.
    same_start: whether all clients start from one draw (static). Models that
      start apart and never talk cannot be merged.

  Returns:
    An `Algorithm`. `step` wants a cohort of all N clients in fixed order whose
    `data` has leaves [N, H, B, ...], one batch per local step; masked clients
    do not train. Metrics: `loss` (mean over local steps and present clients),
    `consensus` (Ξ² after mixing), `messages` (models sent in this round).

  Raises:
    ValueError: if the mixer is meant for push-sum or an option is out of range.

  Source: Zhu et al. 2025 (https://arxiv.org/abs/2507.06542), algorithm 1.
  """
  clients = clients_lib.as_clients(clients)
  mixer = mixing.as_mixer(mixer, clients.num_clients)
  local = common.Gossip(
    task,
    mixer,
    clients,
    algorithm='local_then_gossip',
    optimizer=optimizer,
    same_start=same_start,
  )

  def init(key):
    params = local.start(key)
    return LocalGossipState(
      params,
      local.opt_states(params),
      jnp.zeros((), jnp.int32),
      jnp.zeros(()),
    )

  def train(params, opt_state, batches, key):
    """All local steps of one client."""
    run = local_lib.train_steps(
      task, optimizer, num_steps=checks.num_clients(batches, name='batches')
    )
    steps = run(params, opt_state, batches, key)
    return steps.params, steps.opt_state, jnp.mean(steps.losses)

  def step(state, cohort, *, key):
    clients.check(cohort)
    train_key, mix_key = jax.random.split(key)
    params, opt_state, losses = clients.map(train)(
      state.params,
      state.opt_state,
      cohort.data,
      keys.client_keys(train_key, cohort.client_ids),
    )
    params = trees.where_rows(cohort.mask, params, state.params)
    opt_state = trees.where_rows(cohort.mask, opt_state, state.opt_state)
    params = local.mix(params, state.round, mix_key)
    metrics = local.report(losses, params, cohort)
    sent = jnp.zeros((), jnp.int32)
    if mixer.structure != mixing.ROBUST:
      matrix = mixer.matrix(state.round, key=mix_key)
      sent = _communication.num_messages(matrix)
    return (
      LocalGossipState(
        params, opt_state, state.round + 1, state.num_messages + sent
      ),
      {**metrics, 'messages': sent},
    )

  return checks.algorithm(
    init,
    step,
    lambda state: state.params,
    state=LocalGossipState,
    per_client=True,
  )
