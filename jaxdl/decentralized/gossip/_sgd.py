# SPDX-License-Identifier: Apache-2.0
"""Decentralized SGD and its compressed and momentum relatives."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import compression, mixing
from jaxdl.core import checks, clients as clients_lib, registry, types
from jaxdl.decentralized import _facts
from jaxdl.decentralized.gossip import _common as common


class GossipState(NamedTuple):
  """State of `gossip_sgd`.

  Attributes:
    params: stacked models [N, ...].
    opt_state: stacked optimizer states.
    round: i32[], rounds done.
  """

  params: chex.ArrayTree
  opt_state: chex.ArrayTree
  round: chex.Array


@registry.known(_facts.Facts())
def gossip_sgd(
  task: types.Task,
  mixer: mixing.Mixer | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  order: str = 'adapt_then_combine',
  compress: common.Compress | compression.Compressor | str | None = None,
  same_start: bool = True,
) -> types.Algorithm:
  """Local optimizer steps with one gossip step per round (D-PSGD).

  With U the clients' updates (-ηG for SGD): adapt-then-combine is
  X⁺ = W(X + U), combine-then-adapt X⁺ = WX + U. For a fixed step the clients
  settle O(η) away from the optimum of the mean loss and from each other when
  their data differ. The mixer decides what method this is: `mixing.every` of
  the uniform average is local SGD, `mixing.matcha` MATCHA-SGD,
  `mixing.epidemic_local` epidemic learning, `robust_mixer` robust gossip.

  Args:
    task: parameters and loss.
    mixer: rows sum to one; a `Mixer`, or what `mixing.as_mixer` makes one of:
      text such as 'ring', a networkx graph (Metropolis weights), bool[N, N], a
      mixing matrix.
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client on its own gradient.
    order: 'adapt_then_combine' or 'combine_then_adapt' (static).
    compress: applied to what a client sends; its own copy stays exact:
      X⁺ = V + (W - I) C(V). A `compression.Compressor`, text for one such as
      'top_k(keep=0.1)', or a function `compress(key, tree) -> tree`. Unlike
      `choco_sgd` there is no memory, so biased compressors leave an error.
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`. `step` wants a cohort of all N clients in fixed order with
    a batch each; masked clients skip their update. Metrics: `loss` (mean
    before the step) and `consensus` (Ξ² after it).

  Raises:
    ValueError: if the mixer is meant for push-sum or an option is unknown; from
      `step`, if the cohort or the mixer is of another size.
    TypeError: if a part is of another kind; the message says what to call.

  Example:
    >>> import networkx
    >>> from jaxdl import networks
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> algorithm = gossip_sgd(
    ...   task,
    ...   networkx.cycle_graph(4),
    ...   4,
    ...   optimizer=optax.sgd(0.1),
    ... )
    >>> state = algorithm.init(jax.random.key(0))
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(4),
    ...   data={
    ...     'inputs': jnp.ones((4, 3, 2)), 'labels': jnp.ones((4, 3, 1))
    ...   },
    ...   mask=jnp.ones(4, bool),
    ...   weights=jnp.ones(4),
    ... )
    >>> state, metrics = jax.jit(algorithm.step)(
    ...   state, cohort, key=jax.random.key(1)
    ... )
    >>> sorted(metrics)
    ['consensus', 'loss']

  Source: Lian et al. 2017 (https://arxiv.org/abs/1705.09056), algorithm 1.
  """
  checks.choice(order, common.ORDERS, name='order')
  compress = common.as_compress(compress)
  local = common.Gossip(
    task,
    mixer,
    clients,
    algorithm='gossip_sgd',
    optimizer=optimizer,
    same_start=same_start,
  )

  def init(key):
    params = local.start(key)
    return GossipState(
      params, local.opt_states(params), jnp.zeros((), jnp.int32)
    )

  def step(state, cohort, *, key):
    train_key, mix_key, code_key = jax.random.split(key, 3)

    def mix(x):
      if compress is None:
        return local.mix(x, state.round, mix_key)
      sent = common.compress_rows(compress, code_key, cohort, x)
      heard = local.mix(sent, state.round, mix_key)
      return common.add((1.0, x), (1.0, heard), (-1.0, sent))

    losses, grads = local.gradients(state.params, cohort, train_key)
    updates, opt_state = local.updates(
      grads, state.opt_state, state.params, cohort
    )
    if order == 'adapt_then_combine':
      params = mix(optax.apply_updates(state.params, updates))
    else:
      params = optax.apply_updates(mix(state.params), updates)
    return (
      GossipState(params, opt_state, state.round + 1),
      local.report(losses, params, cohort),
    )

  return checks.algorithm(
    init, step, lambda state: state.params, state=GossipState, per_client=True
  )


class ChocoState(NamedTuple):
  """State of `choco_sgd`.

  Attributes:
    params: stacked models [N, ...].
    public: stacked copies that neighbors know of each client.
    opt_state: stacked optimizer states.
    round: i32[], rounds done.
  """

  params: chex.ArrayTree
  public: chex.ArrayTree
  opt_state: chex.ArrayTree
  round: chex.Array


@registry.known(_facts.Facts())
def choco_sgd(
  task: types.Task,
  mixer: mixing.Mixer | str,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  compress: common.Compress | compression.Compressor | str | None = None,
  consensus_step: chex.Numeric = 1.0,
  same_start: bool = True,
) -> types.Algorithm:
  """Gossip in which only compressed differences are sent.

  V = X + U, Q = C(V - X̂), X̂⁺ = X̂ + Q, X⁺ = V + γ(W - I)X̂⁺: clients send Q,
  everybody tracks everybody's public copy X̂, so compression errors are sent
  later instead of lost. Identity compression and γ = 1 give `gossip_sgd`.

  Args:
    task: parameters and loss.
    mixer: doubly stochastic, of fixed weights (copies are tracked along fixed
      links; random mixers model full broadcast of Q).
    clients: N clients and how they are run, or N (static).
    optimizer: run by every client on its own gradient.
    compress: a contraction such as 'top_k(keep=0.1)', as for `gossip_sgd`;
      None sends everything.
    consensus_step: γ in (0, 1], smaller for stronger compression; static or
      traced.
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`; metrics as `gossip_sgd`.

  Raises:
    ValueError: if the mixer or an option does not fit.

  Source: Koloskova et al. 2019 (https://arxiv.org/abs/1902.00340), algorithm 2.
  """
  checks.number(
    consensus_step, name='consensus_step', low=0.0, high=1.0, open_low=True
  )
  compress = common.as_compress(compress)
  local = common.Gossip(
    task,
    mixer,
    clients,
    algorithm='choco_sgd',
    needs=('double',),
    optimizer=optimizer,
    same_start=same_start,
  )

  def init(key):
    params = local.start(key)
    return ChocoState(
      params,
      common.zeros(params),
      local.opt_states(params),
      jnp.zeros((), jnp.int32),
    )

  def step(state, cohort, *, key):
    train_key, mix_key, code_key = jax.random.split(key, 3)
    losses, grads = local.gradients(state.params, cohort, train_key)
    updates, opt_state = local.updates(
      grads, state.opt_state, state.params, cohort
    )
    moved = optax.apply_updates(state.params, updates)
    message = common.add((1.0, moved), (-1.0, state.public))
    if compress is not None:
      message = common.compress_rows(compress, code_key, cohort, message)
    public = common.add((1.0, state.public), (1.0, message))
    heard = local.mix(public, state.round, mix_key)
    params = common.add(
      (1.0, moved), (consensus_step, heard), (-consensus_step, public)
    )
    return (
      ChocoState(params, public, opt_state, state.round + 1),
      local.report(losses, params, cohort),
    )

  return checks.algorithm(
    init, step, lambda state: state.params, state=ChocoState, per_client=True
  )


class QuasiGlobalState(NamedTuple):
  """State of `quasi_global_momentum`.

  Attributes:
    params: stacked models [N, ...].
    momentum: stacked estimates of the global direction.
    round: i32[], rounds done.
  """

  params: chex.ArrayTree
  momentum: chex.ArrayTree
  round: chex.Array


@registry.known(_facts.Facts())
def quasi_global_momentum(
  task: types.Task,
  mixer: mixing.Mixer | str,
  clients: clients_lib.Clients | int,
  *,
  learning_rate: chex.Numeric | optax.Schedule,
  momentum: chex.Numeric = 0.9,
  tracking: chex.Numeric = 0.9,
  nesterov: bool = True,
  weight_decay: chex.Numeric = 0.0,
  same_start: bool = True,
) -> types.Algorithm:
  """Gossip whose momentum follows how the models really moved (QG-DSGDm).

  D = βM + G, X⁺ = W(X - ηD), M⁺ = μM + (1 - μ)(X - X⁺)/η. The momentum sees
  the mixed models, not the local gradients, which steadies training on
  heterogeneous data. With Nesterov the step is G + βD.

  Args:
    task: parameters and loss.
    mixer: rows sum to one.
    clients: N clients and how they are run, or N (static).
    learning_rate: η > 0, a number (static or traced) or a schedule of rounds.
    momentum: β in [0, 1); 0 is plain gossip SGD.
    tracking: μ in [0, 1], memory of the momentum.
    nesterov: whether to look ahead (static).
    weight_decay: added to the gradient, times the model, before all else.
    same_start: whether all clients start from one draw (static).

  Returns:
    An `Algorithm`; metrics as `gossip_sgd`.

  Raises:
    ValueError: if the mixer or an option does not fit.

  Source: Lin et al. 2021 (https://arxiv.org/abs/2102.04761), algorithm 1.
  """
  for name, value in (('momentum', momentum), ('tracking', tracking)):
    checks.number(value, name=name, low=0.0, high=1.0)
  checks.rate(learning_rate)
  local = common.Gossip(
    task,
    mixer,
    clients,
    algorithm='quasi_global_momentum',
    same_start=same_start,
  )

  def init(key):
    params = local.start(key)
    return QuasiGlobalState(
      params, common.zeros(params), jnp.zeros((), jnp.int32)
    )

  def step(state, cohort, *, key):
    train_key, mix_key = jax.random.split(key)
    rate = learning_rate
    if callable(rate):
      rate = rate(state.round)
    losses, grads = local.gradients(state.params, cohort, train_key)
    grads = common.add((1.0, grads), (weight_decay, state.params))
    heavy = common.add((momentum, state.momentum), (1.0, grads))
    if nesterov:
      heavy = common.add((1.0, grads), (momentum, heavy))
    moved = common.add((1.0, state.params), (-rate, heavy))
    params = local.mix(moved, state.round, mix_key)
    follow = (1.0 - tracking) / rate
    direction = common.add(
      (tracking, state.momentum), (follow, state.params), (-follow, params)
    )
    return (
      QuasiGlobalState(params, direction, state.round + 1),
      local.report(losses, params, cohort),
    )

  return checks.algorithm(
    init,
    step,
    lambda state: state.params,
    state=QuasiGlobalState,
    per_client=True,
  )
