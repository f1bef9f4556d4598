# SPDX-License-Identifier: Apache-2.0
"""Who tells agents what: the variants that are compared."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.agents import (
  _environment,
  _policy,
  _ppo,
  _registry,
  _rollout,
  games as games_lib,
)
from jaxdl.agents.hammer import _host, _local, _messages, _training
from jaxdl.core import checks, registry, types

# Or several on the host, of one kind.
Game = _environment.Environment | Sequence[games_lib.HostGame]


class Variant(NamedTuple):
  """Agents, how they are trained and how they are tested.

  Attributes:
    algorithm: trains them, for `experiment.compare` and `experiment.train`.
    policy: who plays in training.
    execution: who plays in tests, with the same parameters.
    local: the agents, None if one acts for all.
    messenger: who talks to them, None if one acts for all.
  """

  algorithm: types.Algorithm
  policy: _policy.Policy
  execution: _policy.Policy
  local: _local.Local | None = None
  messenger: _messages.Messenger | None = None


class Learner(NamedTuple):
  """How a variant learns of what was played, wherever that was.

  Attributes:
    policy: who plays.
    start: `start(params) -> opt_state`.
    learn: `learn(params, opt_state, steps, *, key)`, see `Learning`.
    between: likewise, after each of `parts` equal parts of the steps; None if
      nothing learns then.
    parts: number of parts.
  """

  policy: _policy.Policy
  start: Callable[..., Any]
  learn: Callable[..., Any]
  between: Callable[..., Any] | None = None
  parts: int = 1


def algorithm_of(
  env: _environment.Environment, learner: Learner, training: _training.Training
) -> types.Algorithm:
  """Makes a learner play and learn in one program.

  Args:
    env: the game.
    learner: how it learns.
    training: how long it plays before.

  Returns:
    The algorithm; its state is an `agents.LearnerState`.
  """
  policy, num = learner.policy, training.num_steps // learner.parts

  def init(key):
    init_key, env_key = jax.random.split(key)
    params = policy.init(init_key)
    return _ppo.LearnerState(
      params,
      learner.start(params),
      _rollout.begin(env, policy, env_key, training.num_envs),
      jnp.int32(0),
    )

  def step(state, cohort=None, *, key):
    del cohort
    play_key, learn_key, part_key = jax.random.split(key, 3)

    def part(carry, x):
      params, opt_state, playing = carry
      keys, last_key = x
      playing, steps = _rollout.rollout(
        env,
        policy,
        params,
        playing,
        key=keys,
        num_steps=num,
        bootstrap=False,
      )
      facts = {}
      if learner.between is not None:
        params, opt_state, facts = learner.between(
          params, opt_state, steps, key=last_key
        )
      return (params, opt_state, playing), (steps, facts)

    carry = (state.params, state.opt_state, state.playing)
    if learner.parts == 1:
      carry, (steps, facts) = part(carry, (play_key, part_key))
    else:
      both = [jax.random.split(k, learner.parts) for k in (play_key, part_key)]
      carry, (steps, facts) = jax.lax.scan(part, carry, tuple(both))
      steps = jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), steps)
      facts = jax.tree.map(jnp.mean, facts)
    params, opt_state, playing = carry
    params, opt_state, found = learner.learn(
      params, opt_state, steps, key=learn_key
    )
    found = found | facts | _ppo.played(playing, steps)
    number = state.num_updates + 1
    return _ppo.LearnerState(params, opt_state, playing, number), found

  return types.Algorithm(init, step, lambda state: state.params)


def told(
  env: Game,
  training: _training.Training,
  messenger: _messages.Messenger,
  *,
  execution: _messages.Messenger | None = None,
  speaker: _messages.Speaker | None = None,
  central_updates: int = 1,
  sharing: str = 'none',
  sequential: bool = True,
  resample_noise: bool = False,
) -> Variant:
  """Builds agents who are told something, by whatever messenger.

  Args:
    env: the game, or several on the host.
    training: how they are trained.
    messenger: who talks in training.
    execution: who talks in tests, with the same parameters; the same if None.
    speaker: trains who talks by rewards, if the messenger is its; None if
      nobody does.
    central_updates: updates of the speaker in one of the others.
    sharing: of parameters, an entry of `SHARINGS`.
    sequential: whether agents step one after the other.
    resample_noise: whether epochs draw noise anew, see `local_learning`.

  Returns:
    The variant.

  Raises:
    ValueError: if a number is out of range or an option unknown.
  """
  game = _game_of(env, training)
  checks.integer(central_updates, name='central_updates', low=1)
  if training.num_steps % central_updates:
    raise ValueError(
      f'central_updates={central_updates} must divide update_steps / num_envs '
      f'= {training.num_steps}.'
    )
  checks.choice(sharing, _local.SHARINGS, name='sharing')
  local = _local.local_agents(
    game,
    message_length=messenger.length,
    shared=sharing != 'none',
    **training.widths,
  )
  policy = _local.told_policy(game, local, messenger)
  own = _training.local_learning(
    local,
    messenger,
    training,
    sharing=sharing,
    sequential=sequential,
    resample_noise=resample_noise,
  )
  learner = Learner(policy, own.start, own.learn)
  if speaker is not None:
    learner = _with_speaker(learner, speaker, training, central_updates)
  tested = messenger if execution is None else execution
  return Variant(
    _algorithm(env, learner, training),
    policy,
    policy if execution is None else _local.told_policy(game, local, tested),
    local,
    tested,
  )


def _with_speaker(learner, speaker, training, parts):
  """A learner that also trains who talks, by rewards."""

  def judge(params, steps):
    return speaker.judge(params, steps.seen, steps.choices)

  central = _training.joint_learning(
    judge, training, names=('central',), start='central_'
  )

  def learn(params, opt_state, steps, *, key):
    params, own, facts = learner.learn(
      params, opt_state['local'], steps, key=key
    )
    return params, opt_state | {'local': own}, facts

  def between(params, opt_state, steps, *, key):
    params, own, facts = central.learn(
      params, opt_state['central'], steps, key=key
    )
    return params, opt_state | {'central': own}, facts

  return Learner(
    learner.policy,
    lambda params: {
      'local': learner.start(params),
      'central': central.start(params),
    },
    learn,
    between,
    parts,
  )


def _algorithm(env, learner, training):
  """Plays where the game is: here, or on the host."""
  if isinstance(env, _environment.Environment):
    return algorithm_of(env, learner, training)
  return _host.algorithm_on_host(env, learner, training)


def _game_of(env, training):
  """A game of the same shapes for which policies are made."""
  if isinstance(env, _environment.Environment):
    return env
  if not isinstance(env, Sequence) or not env:
    many = False
  else:
    many = all(isinstance(game, games_lib.HostGame) for game in env)
  if not many:
    raise TypeError(
      'env must be a game, as agents.make_game makes it, or several '
      f'games.HostGame; got {checks.described(env)}.'
    )
  if len(env) != training.num_envs:
    raise ValueError(
      f'num_envs={training.num_envs} must be the number of games on the host, '
      f'{len(env)}.'
    )
  return env[0].shapes()


def il(
  env: Game,
  training: _training.Training | None = None,
  *,
  sharing: str = 'none',
  sequential: bool = True,
) -> Variant:
  """Builds agents that are told nothing: independent learners.

  Args:
    env: the game.
    training: how they are trained; `Training()` if None.
    sharing: of parameters, an entry of `SHARINGS`.
    sequential: whether agents step one after the other.

  Returns:
    The variant.

  Raises:
    ValueError: if an option is unknown.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> training = agents.hammer.Training(update_steps=8, num_envs=4)
    >>> found = agents.hammer.il(env, training)
    >>> state = found.algorithm.init(jax.random.key(0))
    >>> sorted(state.params)
    ['actor', 'critic']
  """
  options = {'sharing': sharing, 'sequential': sequential}
  return told(env, _or_default(training), _messages.silent(), **options)


def random(
  env: Game,
  training: _training.Training | None = None,
  *,
  message_length: int = 1,
  sharing: str = 'none',
  sequential: bool = True,
) -> Variant:
  """Builds agents that are told what means nothing, U(0, 1) in every step.

  Args:
    env: the game.
    training: how they are trained; `Training()` if None.
    message_length: L; 0 is `il`.
    sharing: of parameters, an entry of `SHARINGS`.
    sequential: whether agents step one after the other.

  Returns:
    The variant.

  Raises:
    ValueError: if a number is out of range or an option unknown.
  """
  messenger = _messages.noise(message_length=message_length)
  options = {'sharing': sharing, 'sequential': sequential}
  return told(env, _or_default(training), messenger, **options)


def v1(
  env: Game,
  training: _training.Training | None = None,
  *,
  message_length: int = 1,
  messages: str = 'gaussian',
  std: float = 0.5,
  previous_actions: bool = False,
  central_updates: int = 1,
  sharing: str = 'none',
  sequential: bool = True,
) -> Variant:
  """Builds a central agent whose messages are actions, trained by rewards.

  It has a PPO of its own, with the mean of the agents' rewards, before they
  learn of the same steps what to make of its messages.

  Args:
    env: the game.
    training: how all are trained; `Training()` if None.
    message_length: L, or the number of symbols; 0 is `il`.
    messages: 'gaussian' or 'categorical', see `speaker`.
    std: deviation of Gaussian messages.
    previous_actions: whether the central agent sees the actions before.
    central_updates: updates of the central agent in one of the others, each of
      as many steps; it divides the steps of a game between updates.
    sharing: of parameters, an entry of `SHARINGS`.
    sequential: whether agents step one after the other.

  Returns:
    The variant.

  Raises:
    ValueError: if a number is out of range or an option unknown.

  Source: Gupta et al. 2021 (https://arxiv.org/abs/2102.00824).
  """
  training = _or_default(training)
  checks.integer(message_length, name='message_length', low=0)
  checks.integer(central_updates, name='central_updates', low=1)
  checks.choice(messages, _messages.KINDS, name='messages')
  _messages.check_std(std)
  options = {'sharing': sharing, 'sequential': sequential}
  if not message_length:
    return told(env, training, _messages.silent(), **options)
  found = _messages.speaker(
    _game_of(env, training),
    message_length=message_length,
    messages=messages,
    actor_sizes=training.encoder_sizes,
    critic_sizes=training.critic_sizes,
    std=std,
    previous_actions=previous_actions,
  )
  return told(
    env,
    training,
    found.messenger,
    speaker=found,
    central_updates=central_updates,
    **options,
  )


def v2(
  env: Game,
  training: _training.Training | None = None,
  *,
  message_length: int = 1,
  sharing: str = 'none',
  sequential: bool = True,
) -> Variant:
  """Builds a central agent that learns through its messages.

  They are real numbers; the losses of the agents that hear them train it.

  Args:
    env: the game.
    training: how all are trained; `Training()` if None.
    message_length: L; 0 is `il`.
    sharing: of parameters, an entry of `SHARINGS`.
    sequential: whether agents step one after the other, as in the release.

  Returns:
    The variant.

  Raises:
    ValueError: if a number is out of range or an option unknown.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> training = agents.hammer.Training(update_steps=8, num_envs=4)
    >>> found = agents.hammer.v2(env, training)
    >>> state = found.algorithm.init(jax.random.key(0))
    >>> sorted(state.params)
    ['actor', 'critic', 'decoder', 'encoder']

  Source: Gupta et al. 2021 (https://arxiv.org/abs/2102.00824).
  """
  training = _or_default(training)
  messenger = _messages.encoded(
    _game_of(env, training),
    message_length=message_length,
    encoder_sizes=training.encoder_sizes,
  )
  options = {'sharing': sharing, 'sequential': sequential}
  return told(env, training, messenger, **options)


def v3(
  env: Game,
  training: _training.Training | None = None,
  *,
  message_length: int = 1,
  sigma: float = 2.0,
  execution: str = 'noisy',
  resample_noise: bool = False,
  sharing: str = 'none',
  sequential: bool = True,
) -> Variant:
  """Builds `v2` with messages that noise makes near binary.

  Args:
    env: the game.
    training: how all are trained; `Training()` if None.
    message_length: L; 0 is `il`.
    sigma: deviation of the noise, see `dru`.
    execution: messages in tests: 'noisy' as in training (the release), or
      'hard', 0 or 1.
    resample_noise: whether epochs draw noise anew, see `local_learning`.
    sharing: of parameters, an entry of `SHARINGS`.
    sequential: whether agents step one after the other.

  Returns:
    The variant.

  Raises:
    ValueError: if a number is out of range or an option unknown.

  Source: Gupta et al. 2021 (https://arxiv.org/abs/2102.00824); Foerster et al.
  2016 (https://arxiv.org/abs/1605.06676).
  """
  training = _or_default(training)
  checks.number(sigma, name='sigma', low=0.0, high=_messages.HIGHEST_SIGMA)
  messenger = _messages.encoded(
    _game_of(env, training),
    message_length=message_length,
    encoder_sizes=training.encoder_sizes,
    sigma=sigma,
    execution=execution,
  )
  options = {'sharing': sharing, 'sequential': sequential}
  tested = None
  if execution == 'hard' and messenger.length:

    def speak(params, seen, *, key=None, choices=None):
      del key, choices
      return messenger.speak(params, seen)

    tested = messenger._replace(speak=speak)
  return told(
    env,
    training,
    messenger,
    execution=tested,
    resample_noise=resample_noise,
    **options,
  )


def central(
  env: Game,
  training: _training.Training | None = None,
) -> Variant:
  """Builds one agent that sees all and acts for all, as an upper reference.

  Args:
    env: the game.
    training: how it is trained, by the mean of rewards; `Training()` if None.

  Returns:
    The variant.
  """
  training = _or_default(training)
  policy = _local.central_policy(_game_of(env, training), **training.widths)

  def judge(params, steps):
    found = policy.judge(
      params, {}, steps.seen, steps.actions, steps.choices, steps.first
    )
    return found.log_prob[..., 0], found.entropy[..., 0], found.value[..., 0]

  own = _training.joint_learning(judge, training, names=('actor', 'critic'))
  learner = Learner(policy, own.start, own.learn)
  return Variant(_algorithm(env, learner, training), policy, policy)


def from_learner(algorithm: types.Algorithm, policy: _policy.Policy) -> Variant:
  """Makes any learner a variant, to be compared with these.

  Args:
    algorithm: trains the policy's parameters.
    policy: who plays.

  Returns:
    The variant; `VARIANTS | {'name': build}` gives it a name, with
    `build(env, training, *, options)`.
  """
  return Variant(algorithm, policy, policy)


def learner(
  env: _environment.Environment,
  training: _training.Training | None = None,
  *,
  spec: str = 'maddpg',
  num_updates: int = 1000,
) -> Variant:
  """Builds any learner of `agents.ALGORITHMS`, for comparison.

  Args:
    env: the game.
    training: its `update_steps` are what a step plays, in as many updates of
      the learner as that takes; all else is the learner's own.
    spec: the learner, e.g. 'dial' or 'maddpg(num_envs=32)'.
    num_updates: of the whole run, which its schedules follow.

  Returns:
    The variant.

  Raises:
    ValueError: if a name or an option is unknown, or the steps of its updates
      do not divide `update_steps`.
  """
  training = _or_default(training)
  made = _registry.make_learner(spec, env, num_updates=num_updates)
  if training.update_steps % made.num_steps:
    raise ValueError(
      f'spec={spec} plays {made.num_steps} steps in an update, which must '
      f'divide update_steps={training.update_steps}.'
    )
  times = training.update_steps // made.num_steps
  return from_learner(_registry.repeated(made.algorithm, times), made.policy)


VARIANTS = registry.Registry(
  'variant',
  {
    'il': il,
    'random': random,
    'v1': v1,
    'v2': v2,
    'v3': v3,
    'central': central,
    'learner': learner,
  },
  given=('env', 'training'),
)


def make_variant(
  spec: str,
  env: Game,
  training: _training.Training | None = None,
) -> Variant:
  """Builds a variant by name.

  Args:
    spec: an entry of `VARIANTS`, e.g. 'v3(sigma=1.0, execution=hard)'.
    env: the game.
    training: how all are trained; `Training()` if None.

  Returns:
    The variant.

  Raises:
    ValueError: if the name or an option is unknown or out of range.

  Example:
    >>> from jaxdl import agents
    >>> env = agents.make_game('simple_spread(num_agents=2)')
    >>> make_variant('v2(message_length=3)', env).messenger.length
    3
  """
  return VARIANTS.make(spec, env, training=training)


def _or_default(training):
  if training is None:
    return _training.Training()
  if not isinstance(training, _training.Training):
    raise TypeError(
      f'training must be a hammer.Training; got {checks.described(training)}.'
    )
  return training
