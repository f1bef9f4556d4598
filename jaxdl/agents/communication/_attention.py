# SPDX-License-Identifier: Apache-2.0
"""Agents that choose whom they listen to, softly or by learned links."""

import math

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _policy
from jaxdl.agents.communication import _channels as channels
from jaxdl.core import checks
from jaxdl.networks import functional

PATTERNS = ('full', 'self')
SCORERS = ('lstm', 'mlp')
_FAR = -1e9
_TINY = 1e-9


def tarmac_attention(
  queries: chex.Array,
  keys: chex.Array,
  values: chex.Array,
  *,
  alive: chex.Array | None = None,
) -> chex.Array:
  """Attends to the messages of all agents, oneself among them.

  Args:
    queries: f[..., N, s], of receivers.
    keys: f[..., N, s], signatures of senders.
    values: f[..., N, v].
    alive: bool[..., N], agents that take part, or None for all.

  Returns:
    f[..., N, v], for agent j the sum over i of
    softmax_i(q_j . k_i / sqrt(s)) v_i.

  Example:
    >>> same, values = jnp.ones((2, 4)), jnp.array([[1.0], [3.0]])
    >>> tarmac_attention(same, same, values).ravel().tolist()
    [2.0, 2.0]

  Source: Das et al. 2019 (https://arxiv.org/abs/1810.11187), eqs. 1 and 2.
  """
  weights = _weights(queries, keys, alive=alive)
  return _apply(weights, values)


def _weights(queries, keys, *, alive=None, mask=None):
  """Softmax over senders, f[..., N, N]; `mask` f[N, N] counts links."""
  scale = 1.0 / math.sqrt(queries.shape[-1])
  scores = scale * jnp.einsum('...is,...js->...ij', queries, keys)
  if alive is not None:
    here = jnp.broadcast_to(alive[..., None, :], scores.shape)
    scores = jnp.where(here, scores, _FAR)
  if mask is None:
    return jax.nn.softmax(scores, axis=-1)
  top = jnp.max(scores, axis=-1, keepdims=True)
  each = mask * jnp.exp(scores - jax.lax.stop_gradient(top))
  return each / jnp.maximum(jnp.sum(each, axis=-1, keepdims=True), _TINY)


def _apply(weights, values):
  return jnp.einsum('...ij,...jv->...iv', weights, values)


def _pairs(there):
  return there[..., :, None] * there[..., None, :]


def tarmac(
  *, signature_size: int = 16, value_size: int = 32, rounds: int = 1
) -> _policy.Communication:
  """Agents send a signature and a value and attend to those of all.

  Messages are made of the rows before the step and enter the cell beside what
  is seen, in policies with one. Further rounds repeat the exchange with
  h <- tanh(W [h, c]).

  Args:
    signature_size: s, of signatures and queries.
    value_size: v, of values.
    rounds: of messages in a step.

  Returns:
    The channel.

  Raises:
    ValueError: if a number is out of range.

  Source: Das et al. 2019 (https://arxiv.org/abs/1810.11187).
  """
  checks.integer(signature_size, name='signature_size', low=1)
  checks.integer(value_size, name='value_size', low=1)
  checks.num_layers(rounds, name='rounds')

  def init(key, num_agents, size):
    del num_agents
    leaves = {
      'signature': channels.layer(size, signature_size),
      'query': channels.layer(size, signature_size),
      'value': channels.layer(size, value_size),
    }
    if rounds > 1:
      leaves['next'] = channels.layer(size + value_size, size)
    return channels.draw(key, leaves)

  def apply(params, carry, hidden, *, alive=None, key=None, choices=None):
    del carry, key, choices
    h, received = hidden, None
    for k in range(rounds):
      if k:
        both = jnp.concatenate([h, received], axis=-1)
        h = jnp.tanh(functional.dense(params['next'], both))
      query, signature, value = (
        functional.dense(params[name], h)
        for name in ('query', 'signature', 'value')
      )
      received = tarmac_attention(query, signature, value, alive=alive)
    links = _pairs(channels.present(hidden, alive)) * float(rounds)
    bits = channels.FLOAT_BITS * (signature_size + value_size)
    return channels.said(received, channels.counted(links, bits))

  return _policy.Communication(
    init, channels.no_memory, apply, lambda size: value_size, early=True
  )


def _qkv(size):
  return {
    name: channels.layer(size, size) for name in ('query', 'key', 'value')
  }


def attention(
  *, pattern: str = 'full', num_heads: int = 1
) -> _policy.Communication:
  """Rows of agents pass a layer of self-attention, added to themselves.

  Args:
    pattern: 'full', all listen to all, or 'self', each to itself alone: as many
      parameters and no message.
    num_heads: heads; they divide the size of rows.

  Returns:
    The channel, of rows after the step.

  Raises:
    ValueError: if a number or a name is out of range.

  Source: Wen et al. 2022 (https://arxiv.org/abs/2205.14953), the encoder of the
  multi-agent transformer without its layer norms.
  """
  checks.choice(pattern, PATTERNS, name='pattern')
  checks.integer(num_heads, name='num_heads', low=1)

  def fitting(size):
    if size % num_heads:
      raise ValueError(f'num_heads={num_heads} must divide {size}, of rows.')
    return size

  def init(key, num_agents, size):
    del num_agents
    fitting(size)
    return channels.draw(key, _qkv(size) | {'out': channels.layer(size, size)})

  def apply(params, carry, hidden, *, alive=None, key=None, choices=None):
    del carry, key, choices
    q, k, v = (
      functional.dense(params[name], hidden)
      for name in ('query', 'key', 'value')
    )
    there = channels.present(hidden, alive)
    links = _pairs(there)
    if pattern == 'self':
      received = v
      links = links * jnp.broadcast_to(jnp.eye(links.shape[-1]), links.shape)
    else:
      parts = [
        tarmac_attention(*part, alive=alive)
        for part in zip(
          *(jnp.split(x, num_heads, axis=-1) for x in (q, k, v)), strict=True
        )
      ]
      received = jnp.concatenate(parts, axis=-1)
    received = functional.dense(params['out'], received)
    bits = channels.FLOAT_BITS * 2 * hidden.shape[-1]
    return channels.said(received, channels.counted(links, bits))

  return _policy.Communication(
    init, channels.no_memory, apply, fitting, joins='add'
  )


def _straight(hard, soft):
  """The first, with the slope of the second."""
  return jax.lax.stop_gradient(hard - soft) + soft


def g2anet(
  *, temperature: float = 0.5, scorer: str = 'lstm', width: int = 32
) -> _policy.Communication:
  """Agents decide by pairs whom they hear, then weigh those softly.

  A link from j to i exists if a two-way Gumbel softmax of a score of (h_i, h_j)
  says so, with the slope of the soft one; weights of those that exist are
  softmax_j(q_i . k_j / sqrt(d)) over all others, and
  x_i = sum_j W^h_ij W^s_ij h_j stands beside h_i.

  Args:
    temperature: of the Gumbel softmax.
    scorer: 'lstm', which reads the pairs of an agent in both directions, or
      'mlp', which sees each pair alone.
    width: of the scorer.

  Returns:
    The channel, of rows after the step. Its noise is drawn with actions and
    kept; in execution there is none.

  Raises:
    ValueError: if a number or a name is out of range.

  Source: Liu et al. 2020 (https://arxiv.org/abs/1911.10715), eqs. 4 to 7.
  """
  checks.number(temperature, name='temperature', low=0.0, open_low=True)
  checks.choice(scorer, SCORERS, name='scorer')
  checks.integer(width, name='width', low=1)

  def init(key, num_agents, size):
    del num_agents
    leaves = _qkv(size)
    leaves.pop('value')
    if scorer == 'mlp':
      leaves['pair'] = channels.layer(2 * size, width)
      leaves['hard'] = channels.layer(width, 1)
    else:
      leaves['forward'] = functional.lstm_leaves(2 * size, width)
      leaves['backward'] = functional.lstm_leaves(2 * size, width)
      leaves['hard'] = channels.layer(2 * width, 1)
    return channels.draw(key, leaves)

  def scores(params, hidden):
    """Logits of links f[..., N, N]; that to oneself is read as well."""
    n = hidden.shape[-2]
    shape = (*hidden.shape[:-1], n, hidden.shape[-1])
    mine = jnp.broadcast_to(hidden[..., :, None, :], shape)
    theirs = jnp.broadcast_to(hidden[..., None, :, :], shape)
    pairs = jnp.concatenate([mine, theirs], axis=-1)
    if scorer == 'mlp':
      seen = jnp.tanh(functional.dense(params['pair'], pairs))
    else:
      steps = jnp.moveaxis(pairs, -2, 0)
      zero = jnp.zeros((*steps.shape[1:-1], width), hidden.dtype)

      def read(name, reverse):
        def body(state, x):
          state = functional.lstm(params[name], state, x)
          return state, state[0]

        return jax.lax.scan(body, (zero, zero), steps, reverse=reverse)[1]

      both = [read('forward', False), read('backward', True)]
      seen = jnp.moveaxis(jnp.concatenate(both, axis=-1), 0, -2)
    return functional.dense(params['hard'], seen)[..., 0]

  def apply(params, carry, hidden, *, alive=None, key=None, choices=None):
    del carry
    logits = scores(params, hidden)
    noise, kept = jnp.zeros_like(logits), {}
    if choices:
      noise = choices['noise']
    elif key is not None:
      # The difference of two Gumbels.
      noise = jax.random.logistic(key, logits.shape, logits.dtype)
      kept = {'noise': noise}
    soft = jax.nn.sigmoid((logits + noise) / temperature)
    hard = (logits + noise > 0).astype(soft.dtype)
    there = channels.present(hidden, alive)
    n = hidden.shape[-2]
    possible = _pairs(there) * jnp.broadcast_to(
      channels.apart(n, hidden.dtype), logits.shape
    )
    gates = _straight(hard, soft) * possible
    query, named = (
      functional.dense(params[name], hidden) for name in ('query', 'key')
    )
    weights = _weights(query, named, mask=possible)
    received = _apply(gates * weights, hidden)
    bits = channels.FLOAT_BITS * 2 * hidden.shape[-1]
    facts = channels.counted(hard * possible, bits)
    return channels.said(received, facts, choices=kept or choices)

  return _policy.Communication(
    init, channels.no_memory, apply, lambda size: size
  )


def most_likely_links(scores: chex.Array, num_edges: int) -> chex.Array:
  """Chooses the k senders of largest score for every receiver.

  Args:
    scores: f[..., N, N], row i of receiver i; the diagonal does not count.
    num_edges: k < N (static).

  Returns:
    bool[..., N, N], k entries a row, none on the diagonal; of equal scores the
    first.

  Example:
    >>> most_likely_links(jnp.array([[9., 1., 2.], [0., 9., 1.], [3., 2., 9.]]),
    ...   1).astype(int).tolist()
    [[0, 0, 1], [0, 0, 1], [1, 0, 0]]
  """
  n = scores.shape[-1]
  own = jnp.broadcast_to(jnp.eye(n, dtype=bool), scores.shape)
  order = jnp.argsort(-jnp.where(own, -jnp.inf, scores), axis=-1, stable=True)
  rank = jnp.argsort(order, axis=-1, stable=True)
  return (rank < num_edges) & ~own


def graph(
  *, num_agents: int, num_edges: int = 1, temperature: float = 1.0
) -> _policy.Communication:
  """Agents learn one graph, k links for each, and attend along it.

  Scores of links are parameters. In training Gumbel noise is added to them and
  the k largest of a row are links, with the slope of a softmax; in execution
  the k largest scores are. Agents attend to themselves and along links.

  Args:
    num_agents: N.
    num_edges: k, agents that each one hears, < N.
    temperature: of the softmax that gives the slope.

  Returns:
    The channel, of rows after the step, which it adds to. `links_of` shows the
    graph.

  Raises:
    ValueError: if a number is out of range.

  Source: Hu et al. 2024 (https://arxiv.org/abs/2405.08550), the graph of
  CommFormer without its transformer.
  """
  n = checks.integer(num_agents, name='num_agents', low=1)
  k = checks.integer(num_edges, name='num_edges', low=0, high=n - 1)
  checks.number(temperature, name='temperature', low=0.0, open_low=True)

  def init(key, num_agents, size):
    own, scores_key = jax.random.split(key)
    params = channels.draw(
      own, _qkv(size) | {'out': channels.layer(size, size)}
    )
    shape = (num_agents, num_agents)
    params['scores'] = 0.01 * jax.random.normal(scores_key, shape)
    return params

  def apply(params, carry, hidden, *, alive=None, key=None, choices=None):
    del carry
    there = channels.present(hidden, alive)
    shape = (*there.shape, n)
    scores, kept = jnp.broadcast_to(params['scores'], shape), {}
    if choices:
      scores = scores + choices['noise']
    elif key is not None:
      kept = {'noise': jax.random.gumbel(key, shape, scores.dtype)}
      scores = scores + kept['noise']
    own = jnp.broadcast_to(jnp.eye(n, dtype=scores.dtype), shape)
    hard = most_likely_links(scores, k).astype(scores.dtype)
    rest = jnp.where(own > 0, _FAR, scores)
    soft = float(k) * jax.nn.softmax(rest / temperature, axis=-1)
    links = hard if k == 0 else _straight(hard, soft)
    possible = _pairs(there)
    q, named, v = (
      functional.dense(params[name], hidden)
      for name in ('query', 'key', 'value')
    )
    weights = _weights(q, named, mask=(links + own) * possible)
    received = functional.dense(params['out'], _apply(weights, v))
    bits = channels.FLOAT_BITS * 2 * hidden.shape[-1]
    facts = channels.counted(hard * possible, bits)
    return channels.said(received, facts, choices=kept or choices)

  return _policy.Communication(
    init, channels.no_memory, apply, lambda size: size, joins='add'
  )


def links_of(params: chex.ArrayTree, num_edges: int) -> chex.Array:
  """Returns the graph that a `graph` channel has learned.

  Args:
    params: of the policy (`params['talk']['scores']`, f[..., N, N]).
    num_edges: k.

  Returns:
    bool[..., N, N], row i of whom i hears.

  Raises:
    ValueError: if the policy has no such channel.
  """
  scores = params.get('talk', {}).get('scores')
  if scores is None:
    raise ValueError('params have no learned graph: use communication=graph.')
  return most_likely_links(scores, num_edges)
