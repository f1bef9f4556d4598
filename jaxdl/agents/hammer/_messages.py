# SPDX-License-Identifier: Apache-2.0
"""What a central agent tells each of N others, and how it gets there."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.agents import _actions, _environment, _policy, communication
from jaxdl.core import checks
from jaxdl.networks import functional

EXECUTIONS = ('noisy', 'hard')
KINDS = ('gaussian', 'categorical')
HIGHEST_SIGMA = 1e3
# As `message_encode` reads them.
ENCODER, DECODER = 'encoder', 'decoder'


class Messenger(NamedTuple):
  """Who sends messages, f[..., N, L].

  Attributes:
    length: L.
    init: `init(key) -> params`, a dict; consumes the key.
    speak: `speak(params, seen, *, key=None, choices=None) -> (message,
      choices)` over leading axes. With a key it draws noise, with `choices` it
      takes that, with neither it does what it does without noise.
    one: `one(shared, own, world, choices) -> f[B, L]`, the message to one
      agent as a function of parameters that are trained with it: `shared` by
      all agents and its `own`; choices without the axis of agents.
    shared: names of parameters that all agents train.
    own: names of those with a row for each agent.
    remembers: whether it sees the actions before, `choices['previous']`.
  """

  length: int
  init: Callable[..., dict[str, Any]]
  speak: Callable[..., tuple[chex.Array, dict[str, chex.Array]]]
  one: Callable[..., chex.Array]
  shared: tuple[str, ...] = ()
  own: tuple[str, ...] = ()
  remembers: bool = False


def mlp_leaves(sizes: Sequence[int]) -> dict[str, Any]:
  """Describes dense layers, uniform on +-1 / sqrt(fan_in) as in PyTorch."""
  return {
    f'dense_{i}': functional.layer_leaves(
      shape, kernel_init='pytorch', bias_init='pytorch'
    )
    for i, shape in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
  }


def mlp(
  params: dict[str, Any],
  x: chex.Array,
  activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
  *,
  ends: bool = False,
) -> chex.Array:
  """Applies dense layers.

  Args:
    params: 'dense_0', 'dense_1', ...
    x: f[..., I].
    activation: between layers.
    ends: whether it follows the last as well (static).

  Returns:
    f[..., O].
  """
  for i in range(len(params)):
    x = functional.dense(params[f'dense_{i}'], x)
    if ends or i + 1 < len(params):
      x = activation(x)
  return x


def stacked(
  key: chex.PRNGKey, leaves: dict[str, Any], num: int
) -> chex.ArrayTree:
  """Draws a set of parameters for each of several agents, leaves [N, ...]."""
  draw = lambda k: functional.draw(k, leaves, jnp.float32)
  return jax.vmap(draw)(jax.random.split(key, num))


def message_encode(params: dict[str, Any], world: chex.Array) -> chex.Array:
  """Computes z_i = D_i(E(s)), what a central agent tells each agent.

  Args:
    params: 'encoder', dense layers with a ReLU after each, and 'decoder', a
      linear layer per agent, leaves [N, ...].
    world: s, f[..., w], what the central agent sees.

  Returns:
    z, f[..., N, L].

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=3)')
    >>> params = encoded(env, message_length=2).init(jax.random.key(0))
    >>> message_encode(params, jnp.ones((5, 3 * env.own_size))).shape
    (5, 3, 2)

  Source: Gupta et al. 2021 (https://arxiv.org/abs/2102.00824), section 4.
  """
  hidden = mlp(params[ENCODER], world, ends=True)
  each = jax.vmap(functional.dense, in_axes=(0, None), out_axes=-2)
  return each(params[DECODER], hidden)


def dru(
  z: chex.Array,
  *,
  sigma: chex.Numeric = 2.0,
  mode: str = 'noisy',
  key: chex.PRNGKey | None = None,
  noise: chex.Array | None = None,
) -> chex.Array:
  """Discretizes and regularizes messages.

  Args:
    z: f[...].
    sigma: deviation of the noise.
    mode: 'noisy': sigmoid(z + sigma eps); 'hard': 1 where z > 0, else 0
      (static).
    key: draws eps ~ N(0, 1); consumed.
    noise: eps, f[...], in place of a draw; without either there is none.

  Returns:
    f[...] in [0, 1].

  Raises:
    ValueError: if `sigma` is negative or `mode` unknown.

  Example:
    >>> dru(jnp.array([-0.5, 0.0, 3.0]), mode='hard').tolist()
    [0.0, 0.0, 1.0]

  Source: Foerster et al. 2016 (https://arxiv.org/abs/1605.06676), section 5.
  HAMMER's release has another rule (-1 and 1, split at .5), which it never
  calls.
  """
  checks.choice(mode, EXECUTIONS, name='mode')
  checks.number(sigma, name='sigma', low=0.0, high=HIGHEST_SIGMA)
  if mode == 'hard':
    return communication.dru(z)
  if noise is None and key is not None:
    noise = jax.random.normal(key, z.shape, z.dtype)
  return communication.dru(z, 0.0 if noise is None else sigma * noise)


def silent() -> Messenger:
  """Returns nobody, who says nothing: messages of length 0."""

  def speak(params, seen, *, key=None, choices=None):
    del params, key, choices
    return jnp.zeros((*seen.own.shape[:-1], 0), seen.own.dtype), {}

  def one(shared, own, world, choices):
    del shared, own, choices
    return jnp.zeros((*world.shape[:-1], 0), world.dtype)

  return Messenger(0, lambda key: {}, speak, one)


def noise(*, message_length: int = 1) -> Messenger:
  """Returns somebody who says what means nothing, U(0, 1) in every step.

  Args:
    message_length: L.

  Returns:
    The messenger; without a key it says 1/2.

  Raises:
    ValueError: if the length is negative.
  """
  length = checks.integer(message_length, name='message_length', low=0)
  if not length:
    return silent()

  def speak(params, seen, *, key=None, choices=None):
    del params
    if choices:
      return choices['message'], choices
    shape = (*seen.own.shape[:-1], length)
    message = jnp.full(shape, 0.5, seen.own.dtype)
    if key is not None:
      message = jax.random.uniform(key, shape, seen.own.dtype)
    return message, {'message': message}

  return Messenger(length, lambda key: {}, speak, _as_said)


def encoded(
  env: Any,
  *,
  message_length: int = 1,
  encoder_sizes: Sequence[int] = (64, 64),
  sigma: chex.Numeric | None = None,
  execution: str = 'noisy',
) -> Messenger:
  """Returns a central agent whose messages are functions of what all see.

  Gradients of the losses of local agents reach it through the messages.

  Args:
    env: the game; its `num_agents` and `own_size` are read.
    message_length: L.
    encoder_sizes: widths of the layers of the encoder.
    sigma: deviation of the noise of `dru`; None sends z as it is.
    execution: what `dru` does when noise is not drawn and not given: 'noisy'
      takes none, 'hard' takes the sign.

  Returns:
    The messenger.

  Raises:
    ValueError: if a number is out of range.
  """
  length = checks.integer(message_length, name='message_length', low=0)
  check_game(env)
  sizes = functional.check_sizes(encoder_sizes, 'encoder_sizes')
  checks.choice(execution, EXECUTIONS, name='execution')
  if sigma is not None:
    checks.number(sigma, name='sigma', low=0.0, high=HIGHEST_SIGMA)
  if not length:
    return silent()
  n = env.num_agents

  def init(key):
    encoder_key, decoder_key = jax.random.split(key)
    encoder = mlp_leaves((n * env.own_size, *sizes))
    decoder = mlp_leaves((sizes[-1], length))['dense_0']
    return {
      ENCODER: functional.draw(encoder_key, encoder, jnp.float32),
      DECODER: stacked(decoder_key, decoder, n),
    }

  def speak(params, seen, *, key=None, choices=None):
    z = message_encode(params, rows_of(seen))
    if sigma is None:
      return z, {}
    if choices:
      return dru(z, sigma=sigma, noise=choices['noise']), choices
    if key is None:
      return dru(z, sigma=sigma, mode=execution), {}
    eps = jax.random.normal(key, z.shape, z.dtype)
    return dru(z, sigma=sigma, noise=eps), {'noise': eps}

  def one(shared, own, world, choices):
    hidden = mlp(shared[ENCODER], world, ends=True)
    z = functional.dense(own[DECODER], hidden)
    if sigma is None:
      return z
    return dru(z, sigma=sigma, noise=choices['noise'])

  return Messenger(length, init, speak, one, (ENCODER,), (DECODER,))


class Speaker(NamedTuple):
  """A central agent whose messages are actions, trained by rewards.

  Attributes:
    messenger: how agents meet it.
    judge: `judge(params, seen, choices) -> (log_prob, entropy, value)`, each
      f[...] without an axis of agents.
  """

  messenger: Messenger
  judge: Callable[..., tuple[chex.Array, chex.Array, chex.Array]]


def speaker(
  env: Any,
  *,
  message_length: int = 1,
  messages: str = 'gaussian',
  actor_sizes: Sequence[int] = (64, 64),
  critic_sizes: Sequence[int] = (64, 32),
  std: float = 0.5,
  previous_actions: bool = False,
) -> Speaker:
  """Returns a central agent that learns which messages pay.

  Args:
    env: the game; numbers of agents, rows and actions are read.
    message_length: L > 0; the number of symbols if messages are categorical.
    messages: 'gaussian' around the tanh of an output, or 'categorical', a
      symbol to each agent, sent one-hot.
    actor_sizes: widths of its layers, with tanh between.
    critic_sizes: likewise of its critic.
    std: deviation of Gaussian messages.
    previous_actions: whether it also sees what all agents did before.

  Returns:
    The agent; its parameters are 'central'.

  Raises:
    ValueError: if a number is out of range.
  """
  length = checks.integer(message_length, name='message_length', low=1)
  check_game(env)
  checks.choice(messages, KINDS, name='messages')
  check_std(std)
  checks.flag(previous_actions, name='previous_actions')
  actor = functional.check_sizes(actor_sizes, 'actor_sizes')
  critic = functional.check_sizes(critic_sizes, 'critic_sizes')
  n = env.num_agents
  gaussian = messages == 'gaussian'
  kind = (
    _actions.Gaussian(length, std) if gaussian else _actions.Categories(length)
  )
  size_in = n * env.own_size
  if previous_actions:
    size_in += n * (env.num_actions or env.action_size)

  def init(key):
    leaves = {
      'actor': mlp_leaves((size_in, *actor, n * length)),
      'critic': mlp_leaves((size_in, *critic, 1)),
    }
    return {'central': functional.draw(key, leaves, jnp.float32)}

  def outputs(params, seen, choices):
    world = rows_of(seen)
    if previous_actions:
      before = choices['previous']
      before = before.reshape((*world.shape[:-1], -1)).astype(world.dtype)
      world = jnp.concatenate([world, before], axis=-1)
    out = mlp(params['central']['actor'], world, jnp.tanh, ends=gaussian)
    value = mlp(params['central']['critic'], world, jnp.tanh)[..., 0]
    return out.reshape((*world.shape[:-1], n, length)), value

  def speak(params, seen, *, key=None, choices=None):
    if choices and 'message' in choices:
      return choices['message'], choices
    out, _ = outputs(params, seen, choices)
    message = kind.sample(out, key)
    if not gaussian:
      message = jax.nn.one_hot(message, length, dtype=out.dtype)
    return message, {**(choices or {}), 'message': message}

  def judge(params, seen, choices):
    out, value = outputs(params, seen, choices)
    said = choices['message']
    said = said if gaussian else jnp.argmax(said, axis=-1)
    log_prob = jnp.sum(kind.log_prob(out, said), axis=-1)
    return log_prob, jnp.sum(kind.entropy(out), axis=-1), value

  messenger = Messenger(
    length, init, speak, _as_said, remembers=previous_actions
  )
  return Speaker(messenger, judge)


def rows_of(seen: _environment.Seen) -> chex.Array:
  """Returns s, what agents see one after the other, f[..., N d]."""
  return seen.own.reshape((*seen.own.shape[:-2], -1))


def check_game(env: Any) -> None:
  """Raises TypeError if something is no game, be it on the host."""
  names = ('num_agents', 'own_size', 'num_actions', 'action_size')
  if not all(hasattr(env, name) for name in names):
    raise TypeError(
      'env must be a game, as agents.make_game makes it; got '
      f'{checks.described(env)}.'
    )


def check_std(std: Any) -> None:
  """Raises ValueError if Gaussians cannot have such a deviation."""
  checks.number(
    std, name='std', low=0.0, high=_policy.HIGHEST_STD, open_low=True
  )


def _as_said(shared, own, world, choices):
  """Messages that are no function of parameters here."""
  del shared, own, world
  return choices['message']
