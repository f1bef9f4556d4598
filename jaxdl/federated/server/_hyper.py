# SPDX-License-Identifier: Apache-2.0
"""A hypernetwork at the server makes every client a model of its own."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxdl import local, networks
from jaxdl.core import checks, types
from jaxdl.federated.server import _averaging, _method
from jaxdl.networks import hyper


def pfedhn(
  task: types.Task,
  work: local.LocalWork,
  *,
  embedding_size: int = 8,
  hidden_sizes: int | Sequence[int] = (16, 64),
  chosen: str = '*',
  learning_rate: float = 0.1,
  embedding_rate: float | None = None,
  encoding: str = 'cos_sin',
  residual: bool = True,
  init: str = 'fan_out',
  norm: str = 'none',
  server_optimizer: _averaging.Optimizer = None,
) -> _method.Method:
  """Learns a hypernetwork that gives each client a model, of its embedding.

  Client k trains theta_k = h(v_k; phi) on its data, which changes it by
  Delta_k; then phi <- phi + alpha sum p_k J_phi' Delta_k and v_k <- v_k + beta
  J_v' Delta_k, J the Jacobians of h. What is not generated is averaged as
  FedAvg does, and so are running statistics.

  Embeddings are uniform on [0, 1] when a client takes part for the first time,
  the middle before that; they stay with their clients. The paper sends theta_k
  down and Delta_k up and keeps embeddings at the server. Here clients apply and
  differentiate the hypernetwork themselves, so that what they send can be
  summed up, and any channel has its usual meaning; messages are of the size of
  the hypernetwork, which is what `megabytes_up` tells.

  Args:
    task: parameters and loss of one client.
    work: what a client does.
    embedding_size: D, entries of an embedding (static).
    hidden_sizes: see `networks.hyper.hypernet`.
    chosen: patterns of the parameters that are generated, see
      `networks.hyper.hypernetize`.
    learning_rate: alpha > 0, of the hypernetwork.
    embedding_rate: beta >= 0; alpha if None.
    encoding: of embeddings; 'none' in the paper.
    residual: whether generated weights are added to ones that all clients
      share, which start as the task says; no in the paper.
    init: see `networks.hyper.hypernet`.
    norm: 'none', 'layer' or 'weight', within the hypernetwork.
    server_optimizer: takes the step of the hypernetwork and of what is averaged
      in place of alpha, see `fedavg`.

  Returns:
    The method. Params are {'hyper', 'fixed'}; clients remember {'embedding':
    f[D], 'known': bool[]}, their models are what is generated.

  Raises:
    ValueError: if an option is unknown or out of range; from `init`, if nothing
      is chosen.

  Source: Shamsian et al. 2021 (https://arxiv.org/abs/2103.04628), Algorithm 1,
    equation 3; Gonzalez Ortiz, Guttag & Dalca 2024
    (https://arxiv.org/abs/2304.07645) for encoding and residual.
  """
  checks.task(task)
  size = checks.integer(embedding_size, name='embedding_size', low=1)
  checks.number(learning_rate, name='learning_rate', low=0.0, open_low=True)
  slow = learning_rate if embedding_rate is None else embedding_rate
  checks.number(slow, name='embedding_rate', low=0.0)
  if norm == 'batch':
    raise ValueError(
      'norm=batch needs several embeddings at once, but a client has its own '
      'alone: choose norm=layer or norm=weight.'
    )
  make = functools.partial(
    hyper.hypernet,
    hidden_sizes=hidden_sizes,
    encoding=encoding,
    residual=residual,
    init=init,
    norm=norm,
  )
  # Refuses what is out of range.
  make({'any': jax.ShapeDtypeStruct((1,), jnp.float32)})
  run = local.check_work(work).trainer(task)
  begin, move = _averaging.server_step(server_optimizer)

  def parts(params):
    rest, statistics = networks.split_statistics(params)
    predicted, fixed = hyper.split(rest, chosen)
    return predicted, {'params': fixed, 'statistics': statistics}

  def start(key):
    task_key, hyper_key = jax.random.split(key)
    predicted, fixed = parts(task.init(task_key))
    made = make(predicted, start=predicted).init(hyper_key, jnp.zeros(size))
    return {'hyper': made, 'fixed': fixed}

  # Traced, so that embeddings may leave [0, 1]: the turn has no ends.
  @jax.jit
  def generate(params, embedding):
    heads = params['hyper']['heads']
    network = make({path: head['bias'] for path, head in heads.items()})
    theta = network.apply(params['hyper'], embedding)
    whole = hyper.merge(theta, params['fixed']['params'])
    return networks.with_statistics(whole, params['fixed']['statistics'])

  def own(params):
    dtype = jax.tree.leaves(params['hyper'])[0].dtype
    return {
      'embedding': jnp.full(size, 0.5, dtype),
      'known': jnp.zeros((), bool),
    }

  def train(shared, own, data, key):
    draw_key, train_key = jax.random.split(key)
    first = jax.random.uniform(draw_key, (size,), own['embedding'].dtype)
    embedding = jnp.where(own['known'], own['embedding'], first)
    theta, back = jax.vjp(generate, shared, embedding)
    trained = run(theta, data, train_key)
    message, pull = back(_averaging.difference(trained.params, theta))
    moved = embedding + slow * pull
    worked = trained.num_steps > 0
    own = {
      'embedding': jnp.where(worked, moved, own['embedding']),
      'known': own['known'] | worked,
    }
    return _method.Sent(message, own, _averaging.facts_of(trained))

  def absorb(params, memory, update, round):
    del round
    if server_optimizer is None:
      # What is averaged takes the whole step, as in FedAvg.
      scaled = jax.tree.map(lambda u: learning_rate * u, update['hyper'])
      update = update | {'hyper': scaled}
    return move(params, memory, update)

  return _method.Method(
    start=start,
    init=lambda params, n: begin(params),
    own=own,
    share=lambda params, memory: params,
    train=train,
    absorb=absorb,
    model=lambda params, memory, own: generate(params, own['embedding']),
    name='pfedhn',
  )
