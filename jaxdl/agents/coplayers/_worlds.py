# SPDX-License-Identifier: Apache-2.0
"""Models of a whole game, oneself included: what is seen, got and done next.

A model is a policy prior and a world model at once. `sequence_model` is a
recurrent network trained on games, `count_model` infers the strategies of both
sides exactly.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl.agents.coplayers import _game, _gru, _play
from jaxdl.core import checks, keys, registry
from jaxdl.networks import functional

# Games whose losses a count model reports.
_NUM_TOLD = 256


class WorldModel(NamedTuple):
  """Predicts games, token by token, from one player's side.

  Attributes:
    init: `init(key) -> params`; consumes the key.
    ready: `ready(params) -> params`, with what need be computed only once; what
      the next three functions take.
    start: `start(params, label) -> carry`; `label` f[K] says who the other is,
      None where nobody does.
    see: `see(params, carry, observation, reward=None) -> (carry, reward,
      logits)` takes in what was seen and got, the model's own guess of the
      reward if that is None, and predicts its own action, f[2].
    act: `act(params, carry, action) -> (carry, logits)` takes in an action and
      predicts the next observation, f[5].
    losses: `losses(params, observations, actions, label) -> {'observation',
      'reward', 'action'}` of one game i[T], f[T] each: -log p, squared errors
      of rewards.
    fit: `fit(data, size, *, key) -> (params, losses)` trains anew on the first
      `size` of the games of `data`, a `GameData` of leaves [M, ...]; size may
      be traced.
  """

  init: Callable[..., Any]
  ready: Callable[..., Any]
  start: Callable[..., Any]
  see: Callable[..., Any]
  act: Callable[..., Any]
  losses: Callable[..., dict[str, chex.Array]]
  fit: Callable[..., Any]


class GameData(NamedTuple):
  """Games to learn from, small.

  Attributes:
    observations: u8[M, T].
    actions: u8[M, T].
    labels: f[M, K], who the other was; K is 0 where nobody says.
  """

  observations: chex.Array
  actions: chex.Array
  labels: chex.Array


def _check_data(data):
  if not data.actions.shape[0]:
    raise ValueError('data must hold at least one game; got none.')


def sequence_model(
  *,
  hidden: int = 128,
  embed: int = 32,
  reward_token: bool = True,
  epochs: int = 10,
  batch_size: int = 256,
  learning_rate: float = 1e-4,
  weight_decay: float = 1e-2,
  max_norm: float = 1.0,
  loss_weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
  game: _game.Dilemma | None = None,
  label_size: int = 0,
) -> WorldModel:
  """Builds a recurrent model of observations, rewards and actions.

  Every round has three tokens, o, r, a. Each is embedded and fed to a GRU; its
  output, through Swish and a linear head, predicts the next token.

  Args:
    hidden: width of the GRU, >= 1.
    embed: width of embeddings, >= 1.
    reward_token: whether rewards are tokens; without, they are read off
      observations, of which they are a function.
    epochs: passes over the data in `fit`, >= 0.
    batch_size: games in a batch, >= 1.
    learning_rate: of AdamW (b1 0.9, b2 0.98).
    weight_decay: of AdamW.
    max_norm: gradients are scaled down to this norm.
    loss_weights: of observations, rewards and actions.
    game: payoffs; those of `prisoner()` if None.
    label_size: K, entries of a token at the very start that says who the other
      is; 0 has no such token.

  Returns:
    The model.

  Raises:
    ValueError: if a number is out of range.

  Cost: three steps of the GRU a round, O(hidden²) each.

  Example:
    >>> model = sequence_model(hidden=4, embed=2)
    >>> params = model.init(jax.random.key(0))
    >>> none, game = jnp.zeros((0,)), jnp.array([0, 1, 1])
    >>> model.losses(params, game, jnp.zeros((3,), int), none)['action'].shape
    (3,)

  Source: Weis et al. 2026 (https://arxiv.org/abs/2602.16301), section on PPI
    and its appendix; weights of losses are not stated there.
  """
  checks.integer(hidden, name='hidden', low=1)
  checks.integer(embed, name='embed', low=1)
  checks.flag(reward_token, name='reward_token')
  checks.integer(epochs, name='epochs', low=0)
  checks.integer(batch_size, name='batch_size', low=1)
  checks.rate(learning_rate)
  checks.number(weight_decay, name='weight_decay', low=0.0)
  checks.number(max_norm, name='max_norm', low=0.0, open_low=True)
  checks.integer(label_size, name='label_size', low=0)
  if len(loss_weights) != 3:
    raise ValueError(
      'loss_weights must be three numbers, of observations, rewards and '
      f'actions; got {len(loss_weights)}.'
    )
  for weight in loss_weights:
    checks.number(weight, name='loss_weights', low=0.0)
  game = _game.prisoner() if game is None else _game.check_game(game)
  inputs = {'observation': 5, 'action': 2}
  heads = {'observation': 5, 'action': 2}
  if reward_token:
    inputs['reward'] = heads['reward'] = 1
  if label_size:
    inputs['label'] = label_size
  feed, head = _gru.feed, _gru.head

  def init(key):
    keys.check_key(key)
    leaves = _gru.leaves(inputs, heads, width=hidden, embed=embed)
    return functional.draw(key, leaves, jnp.result_type(float))

  def start(params, label=None):
    carry = _gru.start(params)
    if not label_size:
      return carry
    label = jnp.zeros((label_size,)) if label is None else label
    return feed(params, carry, 'label', label)

  def see(params, carry, observation, reward=None):
    carry = feed(params, carry, 'observation', observation)
    if not reward_token:
      given = _game.reward_of(game, observation).astype(carry.dtype)
      return carry, given, head(params, carry, 'action')
    guess = head(params, carry, 'reward')[0]
    taken = guess if reward is None else reward
    carry = feed(params, carry, 'reward', taken[None])
    return carry, guess, head(params, carry, 'action')

  def act(params, carry, action):
    carry = feed(params, carry, 'action', action)
    return carry, head(params, carry, 'observation')

  optimizer = optax.chain(
    optax.clip_by_global_norm(max_norm),
    optax.adamw(learning_rate, b1=0.9, b2=0.98, weight_decay=weight_decay),
  )

  def losses(params, observations, actions, label=None):
    return _losses(params, observations.astype(int), actions.astype(int), label)

  def _losses(params, observations, actions, label):
    params = _gru.ready(params)
    begin = start(params, label)
    rewards = _game.reward_of(game, observations)

    def body(carry, token):
      observation, reward, action = token
      carry, expected = carry
      own = -jax.nn.log_softmax(expected)[observation]
      carry, guess, logits = see(params, carry, observation, reward)
      done = -jax.nn.log_softmax(logits)[action]
      error = jnp.square(guess - reward)
      return act(params, carry, action), (own, error, done)

    _, found = jax.lax.scan(
      body,
      (begin, head(params, begin, 'observation')),
      (observations, rewards, actions),
    )
    return dict(zip(('observation', 'reward', 'action'), found, strict=True))

  def mean_losses(params, batch):
    found = jax.vmap(_losses, (None, 0, 0, 0))(
      params,
      batch.observations.astype(jnp.int32),
      batch.actions.astype(jnp.int32),
      batch.labels,
    )
    found = jax.tree.map(jnp.mean, found)
    total = sum(
      w * x for w, x in zip(loss_weights, found.values(), strict=True)
    )
    return total, found

  def fit(data, size, *, key):
    _check_data(data)
    init_key, fit_key = jax.random.split(key)
    params = init(init_key)
    memory = optimizer.init(params)
    most = data.actions.shape[0]
    size = jnp.maximum(size, 1)
    steps = jnp.maximum(size // batch_size, 1)

    def one_batch(i, carry):
      params, memory, _, order = carry
      places = order[(i * batch_size + jnp.arange(batch_size)) % size]
      batch = jax.tree.map(lambda x: x[places], data)
      grads, found = jax.grad(mean_losses, has_aux=True)(params, batch)
      updates, memory = optimizer.update(grads, memory, params)
      return optax.apply_updates(params, updates), memory, found, order

    def one_epoch(i, carry):
      params, memory, found = carry
      # Those that are there come first, in random order.
      draw = jax.random.uniform(jax.random.fold_in(fit_key, i), (most,))
      order = jnp.argsort(jnp.where(jnp.arange(most) < size, draw, 2.0))
      params, memory, found, _ = jax.lax.fori_loop(
        0, steps, one_batch, (params, memory, found, order)
      )
      return params, memory, found

    nothing = {k: jnp.zeros(()) for k in ('observation', 'reward', 'action')}
    params, _, found = jax.lax.fori_loop(
      0, epochs, one_epoch, (params, memory, nothing)
    )
    return params, found

  return WorldModel(init, _gru.ready, start, see, act, losses, fit)


class Counted(NamedTuple):
  """What `count_model` remembers of a game.

  Attributes:
    own: f[5, 2], how often this player cooperated and defected after what it
      saw.
    other: f[5, 2], how often the other did.
    seen: i32[], the last observation.
  """

  own: chex.Array
  other: chex.Array
  seen: chex.Array


def count_model(
  *,
  num_points: int = 21,
  num_sweeps: int = 30,
  game: _game.Dilemma | None = None,
  label_size: int = 0,
) -> WorldModel:
  """Builds an exact model of games between strategies of one round's memory.

  Both players are taken to have probabilities that were drawn, independently
  for each observation, from a distribution on a grid. Predictions are those of
  the posterior given the counts of a game. Params are the ten distributions;
  before `fit` they are uniform. `fit` takes the most likely ones given data,
  by expectation maximization from there.

  Args:
    num_points: of the grid on [0, 1], >= 2.
    num_sweeps: of expectation maximization, >= 1.
    game: payoffs; those of `prisoner()` if None.
    label_size: taken for the sake of other models; labels have no effect.

  Returns:
    The model.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> model = count_model()
    >>> params = model.init(jax.random.key(0))
    >>> carry, _, logits = model.see(params, model.start(params), jnp.int32(0))
    >>> jax.nn.softmax(logits).round(3).tolist()
    [0.5, 0.5]

  Source: none; a stand-in for `sequence_model` that needs no training.
  """
  checks.integer(num_points, name='num_points', low=2)
  checks.integer(num_sweeps, name='num_sweeps', low=1)
  checks.integer(label_size, name='label_size', low=0)
  game = _game.prisoner() if game is None else _game.check_game(game)
  grid = jnp.clip(jnp.linspace(0.0, 1.0, num_points), 0.005, 0.995)
  points = jnp.stack([jnp.log(grid), jnp.log1p(-grid)])

  def init(key):
    keys.check_key(key)
    even = jnp.full((5, num_points), -jnp.log(num_points))
    return {'own': even, 'other': even}

  def chance(log_weights, counts):
    """Of cooperation, f[...], by counts f[..., 2]."""
    return jax.nn.softmax(log_weights + counts @ points) @ grid

  def start(params, label=None):
    del params, label
    none = jnp.zeros((5, 2))
    return Counted(none, none, jnp.int32(0))

  def see(params, carry, observation, reward=None):
    del reward
    # One's own action, as if the other's: contexts are one's own for both.
    mine = _game.swap(observation)
    carry = Counted(
      _play.update_counts(carry.own, carry.seen, mine),
      _play.update_counts(carry.other, carry.seen, observation),
      jnp.asarray(observation, jnp.int32),
    )
    own = chance(params['own'][observation], carry.own[observation])
    return carry, _game.reward_of(game, observation), _play.log_odds(own)

  def act(params, carry, action):
    other = chance(params['other'][carry.seen], carry.other[carry.seen])
    both = _play.log_odds(other)
    here = jnp.arange(2) == action
    logits = jnp.where(here[:, None], both[None, :], -jnp.inf).reshape(-1)
    return carry, jnp.concatenate([jnp.full((1,), -jnp.inf), logits])

  def losses(params, observations, actions, label=None):
    del label
    observations, actions = observations.astype(int), actions.astype(int)
    begin = jnp.where(jnp.arange(5) == 0, 0.0, -jnp.inf)

    def body(carry, token):
      carry, expected = carry
      observation, action = token
      own = -jax.nn.log_softmax(expected)[observation]
      carry, _, logits = see(params, carry, observation)
      done = -jax.nn.log_softmax(logits)[action]
      return act(params, carry, action), (own, done)

    _, (own, done) = jax.lax.scan(
      body, (start(params), begin), (observations, actions)
    )
    none = jnp.zeros_like(done)
    return {'observation': own, 'reward': none, 'action': done}

  def fit(data, size, *, key):
    del key
    _check_data(data)
    before = data.observations.astype(jnp.int32)
    mine = data.actions.astype(jnp.int32)
    # What the other did shows in what is seen next; the last is not seen.
    other = (before[:, 1:] - 1) % 2
    real = jnp.arange(before.shape[0]) < size

    def tally(context, action):
      here = jax.nn.one_hot(context, 5)
      return jnp.einsum('mts,mta->msa', here, jax.nn.one_hot(action, 2))

    def log_weights(counts):
      told = (counts.sum(axis=-1) > 0) & real[:, None]
      likely = counts @ points

      def body(_, weights):
        share = jax.nn.softmax(likely + weights[None], axis=-1)
        total = (share * told[..., None]).sum(axis=0)
        number = told.sum(axis=0)[:, None]
        even = jnp.full_like(total, 1 / num_points)
        mean = jnp.where(number > 0, total / jnp.maximum(number, 1), even)
        return jnp.log(jnp.maximum(mean, 1e-12))

      even = jnp.full((5, num_points), -jnp.log(num_points))
      return jax.lax.fori_loop(0, num_sweeps, body, even)

    params = {
      'own': log_weights(tally(before, mine)),
      'other': log_weights(tally(before[:, :-1], other)),
    }
    # Of the latest games.
    take = min(_NUM_TOLD, before.shape[0])
    first = jnp.maximum(size - take, 0)
    latest = jax.tree.map(
      lambda x: jax.lax.dynamic_slice_in_dim(x, first, take), (before, mine)
    )
    found = jax.vmap(losses, (None, 0, 0))(params, *latest)
    there = (first + jnp.arange(take) < size)[:, None]
    mean = lambda x: (
      jnp.where(there, x, 0).sum() / (jnp.maximum(there.sum(), 1) * x.shape[1])
    )
    return params, jax.tree.map(mean, found)

  return WorldModel(init, lambda p: p, start, see, act, losses, fit)


WORLD_MODELS = registry.Registry(
  'world_model',
  {'exact': count_model, 'gru': sequence_model},
  given=('game', 'label_size'),
  tried={},
)
