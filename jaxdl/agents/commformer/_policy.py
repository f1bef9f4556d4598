# SPDX-License-Identifier: Apache-2.0
"""Agents that talk along a graph, as a policy."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from absl import logging

from jaxdl.agents import _actions, _environment, _policy
from jaxdl.agents.commformer import (
  _attention,
  _decoding,
  _graphs,
  _model,
  _value_norm,
)
from jaxdl.core import checks, registry


class Phase(NamedTuple):
  """Where training stands, bool[] each.

  Attributes:
    warm: whether all edges are still open, with their raw weights.
    stable: whether the graph stays what it is.
  """

  warm: chex.Array
  stable: chex.Array


class Former(NamedTuple):
  """Agents on a graph.

  Params are a dict: 'model'; 'edges', f[N, N], whose rows are receivers; and
  'norm', what values are measured by.

  Attributes:
    policy: in execution, on the exact graph; gates do the likelier.
    playing: `playing(phase) -> Policy` of games for training, whose samples are
      in `choices`.
    judge: `judge(params, seen, actions, choices, *, phase, key) -> Judged` of
      updates, whose graph is a sample; values are in units of the critic, and
      facts hold 'gate', with a gradient. Consumes the key.
    graph: who listens to whom.
    degree: k.
    shape: sizes and options of the model.
    quirks: whether it does what was released, not what was written.
  """

  policy: _policy.Policy
  playing: Callable[[Phase], _policy.Policy]
  judge: Callable[..., _policy.Judged]
  graph: _graphs.Graph
  degree: int
  shape: _model.Shape
  quirks: bool

  def hard_graph(self, params: Any) -> chex.Array:
    """Returns the graph of execution, bool[N, N], row = receiver."""
    return exact_of(self, params['edges']).hard


def former(
  env: _environment.Environment,
  graph: str | _graphs.Graph = 'learned',
  *,
  dim: int = 64,
  num_heads: int = 1,
  num_blocks: int = 1,
  dropout: float = 0.0,
  relation_scale: str = 'sqrt',
  self_loop: str = 'set',
  share_actor: bool = False,
  autoregressive: bool = True,
  temporal_gate: bool = False,
  decoding: str = 'cached',
  release_quirks: bool = False,
) -> Former:
  """Builds agents whose attention runs along a graph.

  An encoder of what agents see and a decoder of their actions, one after
  another, are Transformers whose attention is masked and weighted by a graph.
  The graph is one of `GRAPHS`; 'full' without embeddings ('mat') is the
  Multi-Agent Transformer.

  Args:
    env: the game.
    graph: an entry of `GRAPHS`, or what it makes.
    dim: D, size of embeddings.
    num_heads: H, divides D.
    num_blocks: of encoder and decoder.
    dropout: share of what the encoder drops in updates; games drop nothing.
    relation_scale: factor of scores, 'sqrt' for 1 / sqrt(D / H), 'double' for
      H / D, as released.
    self_loop: weight of oneself: 'set' to 1, or 1 more ('add'), as released.
    share_actor: whether agents share one, deeper head.
    autoregressive: whether agents know the actions of those before them that
      they are linked to; if not, there is no decoder and all act at once.
    temporal_gate: whether an agent decides in each step, from what it sees
      alone, if it listens at all.
    decoding: 'cached' keeps keys and values of agents that have acted;
      'recomputed' does a full pass for each agent, which costs N times as much.
    release_quirks: does what was released: scores scaled twice and embeddings
      of the reversed pair; self loops added; raw edges as integers in
      embeddings; training that warms up for ever, as the number of the update
      is not passed; a Huber loss that is linear above only; agents that are out
      count in losses.

  Returns:
    The agents; `bilevel_ppo` trains them.

  Raises:
    ValueError: if a number or a name is out of range.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=3)')
    >>> made = former(env, 'learned(num_edges=1)', dim=8)
    >>> params = made.policy.init(jax.random.key(0))
    >>> made.hard_graph(params).astype(int).tolist()
    [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
    >>> seen, _ = env.reset_many(jax.random.key(1), 4)
    >>> acted = made.policy.act(params, {}, seen, jnp.ones(4, bool))
    >>> acted.actions.shape, acted.facts['edges'].tolist()
    ((4, 3), [3.0, 3.0, 3.0, 3.0])

  Source: Hu et al. 2024 (https://arxiv.org/abs/2405.08550); the gate is that
  of its extension (https://arxiv.org/abs/2411.00382), by its abstract alone.
  """
  _environment.check_environment(env)
  if isinstance(graph, str):
    graph = _graphs.GRAPHS.make(graph)
  elif not isinstance(graph, _graphs.Graph):
    raise TypeError(
      f'graph must be an entry of GRAPHS; got {checks.described(graph)}.'
    )
  _attention.check_heads(dim, num_heads)
  checks.integer(num_blocks, name='num_blocks', low=1)
  checks.number(dropout, name='dropout', low=0.0, high=1.0, open_high=True)
  checks.choice(relation_scale, _attention.SCALES, name='relation_scale')
  checks.choice(self_loop, _attention.SELF_LOOPS, name='self_loop')
  checks.choice(decoding, _decoding.DECODINGS, name='decoding')
  for name, value in (
    ('share_actor', share_actor),
    ('autoregressive', autoregressive),
    ('temporal_gate', temporal_gate),
    ('release_quirks', release_quirks),
  ):
    checks.flag(value, name=name)
  n = env.num_agents
  degree = graph.degree(n)
  if temporal_gate and graph.kind == 'self':
    logging.log_first_n(
      logging.WARNING,
      'temporal_gate=True has no effect on graph=self: there is nothing to '
      'listen to.',
      1,
    )
  discrete = env.num_actions is not None
  shape = _model.Shape(
    num_agents=n,
    own_size=env.own_size,
    action_size=env.num_actions if discrete else env.action_size,
    discrete=discrete,
    dim=dim,
    num_heads=num_heads,
    num_blocks=num_blocks,
    dropout=dropout,
    relation=graph.relation,
    relation_scale='double' if release_quirks else relation_scale,
    transposed=release_quirks,
    self_loop='add' if release_quirks else self_loop,
    share_actor=share_actor,
    autoregressive=autoregressive,
    temporal_gate=temporal_gate,
  )
  machine = _Machine(graph, degree, shape, decoding, release_quirks)
  return Former(
    policy=machine.policy(None),
    playing=machine.policy,
    judge=machine.judge,
    graph=graph,
    degree=degree,
    shape=shape,
    quirks=release_quirks,
  )


FORMERS = registry.Registry(
  'former', {'former': former}, given=('env', 'graph')
)


VARIANTS = registry.Pair(_graphs.GRAPHS, FORMERS)


def make_former(
  spec: str,
  env: _environment.Environment,
  *,
  network: str = 'former',
  name: str = 'variant',
) -> Former:
  """Builds agents by name.

  Args:
    spec: an entry of `GRAPHS`, or graph@former(option=value, ...).
    env: the game.
    network: an entry of `FORMERS`, for graphs without one.
    name: of the argument, for messages.

  Returns:
    The agents.

  Raises:
    ValueError: if a name or an option is unknown or out of range.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=4)')
    >>> make_former('random(seed=0, num_edges=2)@former(dim=16)', env).degree
    2
  """
  graph, own = registry.pair(spec, name=name)
  # Read before anything is built, so that messages name the whole.
  part = _graphs.GRAPHS.part(graph, name=name, spec=spec)
  model = FORMERS.part(own or network, name=name, spec=spec if own else None)
  return FORMERS.bound(model, env, _graphs.GRAPHS.bound(part))


def exact_of(made: Any, edges: chex.Array) -> _graphs.Links:
  """Returns the links of execution.

  Args:
    made: the agents.
    edges: f[N, N].

  Returns:
    The links.
  """
  graph = made.graph
  if graph.is_learned:
    return _graphs.exact_links(edges, made.degree, graph.temperature)
  return _graphs.fixed_links(graph.fixed(edges.shape[-1]), edges.dtype)


class _Machine(NamedTuple):
  """How a former acts and is judged."""

  graph: _graphs.Graph
  degree: int
  shape: _model.Shape
  decoding: str
  quirks: bool

  def init(self, key):
    n = self.shape.num_agents
    if self.graph.is_learned:
      edges = jnp.ones((n, n), jnp.float32)
    else:
      edges = jnp.asarray(self.graph.fixed(n), jnp.float32)
    return {
      'model': _model.init(self.shape, key),
      'edges': edges,
      'norm': _value_norm.init_value_norm(),
    }

  def raw(self, edges):
    return _graphs.raw_links(edges, truncate=self.quirks)

  def samples(self, phase):
    """Whether games are played on what updates see."""
    sampled = self.graph.is_learned and self.graph.rollout == 'sampled'
    return phase is not None and sampled

  def quiet(self, edges, phase):
    """Links that draw nothing."""
    links = exact_of(self, edges)
    if self.samples(phase):
      links = _graphs.choose(phase.warm, self.raw(edges), links)
    return links

  def drawn_graph(self, edges, phase, key, num_envs):
    """A graph for each game and the noise that made it."""
    n = edges.shape[-1]
    noise = jax.random.gumbel(key, (num_envs, n, n), edges.dtype)
    # The exact graph where it stays: no noise makes it.
    noise = jnp.where(phase.stable, 0.0, noise)
    _, hard = _graphs.exact_topk(
      jnp.broadcast_to(edges, noise.shape) + noise, self.degree
    )
    return {'graph': hard > 0, 'graph_noise': noise}

  def kept_links(self, edges, choices, phase):
    """Links of a graph that was drawn."""
    links = _graphs.replayed_links(
      edges,
      choices['graph'],
      choices['graph_noise'],
      self.graph.temperature,
    )
    raw = self.raw(edges)
    raw = jax.tree.map(lambda x, y: jnp.broadcast_to(x, y.shape), raw, links)
    return _graphs.choose(phase.warm, raw, links)

  def fresh_links(self, edges, phase, key):
    """Links of an update: raw, then a sample, then exact."""
    if not self.graph.is_learned:
      return exact_of(self, edges)
    weights, hard = _graphs.gumbel_topk(
      edges, self.degree, key=key, temperature=self.graph.temperature
    )
    sample = _graphs.Links(weights, hard > 0, hard > 0)
    links = _graphs.choose(phase.stable, exact_of(self, edges), sample)
    return _graphs.choose(phase.warm, self.raw(edges), links)

  def gates(self, model, x, *, key=None, choices=None):
    """Who listens, f[B, N] with a gradient, and what was drawn."""
    if not self.shape.temporal_gate:
      return None, {}
    logits = _model.gate_logits(model, x)
    noise = jnp.zeros_like(logits)
    if choices is not None:
      hard, noise = choices['gate'], choices['gate_noise']
    else:
      if key is not None:
        noise = jax.random.gumbel(key, logits.shape, logits.dtype)
      noisy = logits + noise
      hard = noisy[..., 1] > noisy[..., 0]
    soft = jax.nn.softmax(logits + noise, axis=-1)[..., 1]
    gates = (hard.astype(soft.dtype) - jax.lax.stop_gradient(soft)) + soft
    return gates, {'gate': hard, 'gate_noise': noise}

  def facts(self, links, gates, num_envs):
    """Edges in use and messages of others, f[B] each."""
    hard = links.linked.astype(links.weights.dtype)
    n = hard.shape[-1]
    hard = jnp.broadcast_to(hard, (num_envs, n, n))
    open_ = jnp.ones((num_envs, n), hard.dtype) if gates is None else gates
    open_ = jax.lax.stop_gradient(open_)
    each = jnp.sum(hard, axis=-1)
    others = each - jnp.diagonal(hard, axis1=-2, axis2=-1)
    return {
      'edges': jnp.sum(each * open_, axis=-1),
      'links': jnp.sum(others * open_, axis=-1),
      'gate': jnp.mean(open_, axis=-1),
    }

  def policy(self, phase):
    shape, sampled = self.shape, self.samples(phase)
    gated = shape.temporal_gate

    def units(params, value):
      mean, std = _value_norm.mean_and_std(params['norm'])
      return value * std + mean

    def act(params, carry, seen, first, *, key=None):
      del first
      model, num_envs = params['model'], seen.own.shape[0]
      act_key = graph_key = gate_key = key
      if key is not None and phase is not None and (sampled or gated):
        act_key, graph_key, gate_key = jax.random.split(key, 3)
      choices = {}
      if sampled and key is not None:
        choices |= self.drawn_graph(params['edges'], phase, graph_key, num_envs)
        links = self.kept_links(params['edges'], choices, phase)
      else:
        links = self.quiet(params['edges'], phase)
      x = _model.embed(model, seen.own)
      drawn = gate_key if phase is not None else None
      gates, more = self.gates(model, x, key=drawn)
      if phase is not None:
        choices |= more
      found = _model.heard(shape, links, gates)
      x, value = _model.encode(shape, model, x, found.all)
      noise = _model.noise_of(shape, act_key, num_envs)
      given = {'available': seen.available, 'noise': noise}
      if not shape.autoregressive:
        actions, out = _decoding.act_together(shape, model, x, **given)
      elif self.decoding == 'cached':
        actions, out = _decoding.act_cached(
          shape, model, x, found.before, **given
        )
      else:
        actions, out = _decoding.act_recomputed(
          shape, model, x, found.before, **given
        )
      return _policy.Acted(
        carry,
        actions,
        _model.log_prob(shape, model, out, actions),
        units(params, value),
        choices,
        self.facts(links, gates, num_envs),
      )

    def judge(params, carry, seen, actions, choices, first):
      del carry, first
      lead = seen.own.shape[:2]
      flat = lambda tree: jax.tree.map(
        lambda x: x.reshape((-1, *x.shape[2:])), tree
      )
      seen, actions, choices = flat((seen, actions, choices))
      if 'graph' in choices:
        links = self.kept_links(params['edges'], choices, phase)
      else:
        links = self.quiet(params['edges'], phase)
      found = self.weigh(params, seen, actions, choices, links)
      found = found._replace(value=units(params, found.value))
      return jax.tree.map(lambda x: x.reshape((*lead, *x.shape[1:])), found)

    def value(params, carry, seen, first):
      del carry, first
      model = params['model']
      x = _model.embed(model, seen.own)
      gates, _ = self.gates(model, x)
      links = self.quiet(params['edges'], phase)
      found = _model.heard(shape, links, gates)
      return units(params, _model.encode(shape, model, x, found.all)[1])

    return _policy.Policy(
      init=self.init,
      start=lambda num_envs: {},
      act=act,
      judge=judge,
      value=value,
    )

  def weigh(self, params, seen, actions, choices, links, key=None):
    """One pass over steps [B, ...] whose actions are known."""
    shape, model = self.shape, params['model']
    x = _model.embed(model, seen.own)
    known = choices if 'gate' in choices else None
    gates, _ = self.gates(model, x, choices=known)
    found = _model.heard(shape, links, gates)
    x, value = _model.encode(shape, model, x, found.all, key=key)
    out = _model.decode(shape, model, x, actions, found.before)
    if shape.discrete:
      out = _actions.masked(out, seen.available)
    facts = self.facts(links, gates, seen.own.shape[0])
    if gates is not None:
      facts['gate'] = jnp.mean(gates, axis=-1)
    return _policy.Judged(
      _model.log_prob(shape, model, out, actions),
      _model.entropy(shape, model, out),
      value,
      facts,
    )

  def judge(self, params, seen, actions, choices, *, phase, key):
    graph_key, drop_key = key, None
    if self.shape.dropout > 0:
      graph_key, drop_key = jax.random.split(key)
    lead = math.prod(seen.own.shape[:-2])
    flat = lambda tree: jax.tree.map(
      lambda x: x.reshape((lead, *x.shape[2:])), tree
    )
    shape_of = seen.own.shape[:-2]
    seen, actions, choices = flat((seen, actions, choices))
    if 'graph' in choices:
      links = self.kept_links(params['edges'], choices, phase)
    else:
      links = self.fresh_links(params['edges'], phase, graph_key)
    found = self.weigh(params, seen, actions, choices, links, drop_key)
    return jax.tree.map(lambda x: x.reshape((*shape_of, *x.shape[1:])), found)
