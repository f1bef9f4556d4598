# SPDX-License-Identifier: Apache-2.0
"""The way of messages: what clients send, what arrives, what it becomes."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl import (
  aggregators,
  attacks,
  compression,
  metrics as metrics_lib,
  privacy,
)
from jaxdl.core import checks, trees, types
from jaxdl.federated.server import _varying

_PLAIN = ('mean',)


class WireState(NamedTuple):
  """What a channel remembers.

  Attributes:
    aggregator: the rule's memory; leaves [K, ...] where there are K groups.
    attack: the adversaries' memory.
    privacy: the mechanism's memory.
  """

  aggregator: chex.ArrayTree
  attack: chex.ArrayTree
  privacy: chex.ArrayTree


class Wire(NamedTuple):
  """A channel between a server and the M clients of a round.

  Attributes:
    init: `init(message) -> WireState`; shapes and dtypes of a message count.
    own: `own(message) -> tree`, what a client remembers of what it sent.
    send: `send(message, own, state, key) -> (sent, own, aux)` of one client.
    streams: whether only weighted sums are needed (static).
    counts: `counts(weights, mask) -> f32[M]`, what messages count in a sum.
    settle: `settle(total, aux_total, state, key) -> (update, state)` of a sum.
    meet: `meet(stacked, aux, counts, mask, state, key, groups) -> (update,
      state, metrics)` of all messages, leaves [M, ...]; `mask` is None where
      all are there.
    poison: changes what the last F clients of a cohort train on; or None.
    bits: `bits(message) -> int`, what one client sends.
    num_byzantine: F.
    num_expected: m of a mean that is released privately, else None.
    num_malicious: K where adversaries are told by their ids, else None; `meet`
      then takes `malicious: bool[M]` as well.
  """

  init: Callable[[chex.ArrayTree], WireState]
  own: Callable[[chex.ArrayTree], chex.ArrayTree]
  send: Callable[..., tuple[chex.ArrayTree, chex.ArrayTree, chex.Array]]
  streams: bool
  counts: Callable[..., chex.Array]
  settle: Callable[..., tuple[chex.ArrayTree, WireState]]
  meet: Callable[..., tuple[chex.ArrayTree, WireState, dict[str, chex.Array]]]
  poison: Callable[[chex.ArrayTree], chex.ArrayTree] | None
  bits: Callable[[chex.ArrayTree], int]
  num_byzantine: int
  num_expected: float | None = None
  num_malicious: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Channel:
  """What happens to messages between clients and server; all static.

  A client clips and blurs its message (`privacy`), makes it small
  (`compressor`); the last F clients of a cohort then send what the attack says
  instead; the server takes a sum, in plain or under pairwise masks (`secure`),
  or asks a rule (`aggregator`).

  Attributes:
    aggregator: 'mean', a weighted sum; or any rule, as text of
      `aggregators.make_aggregator` or as such. Rules listen to no weights.
    attack: what the last F clients of every cohort send, as text of
      `attacks.make_attack` or as such; they are honest if None.
    num_byzantine: F; what a rule in text is told. Must be said where there is
      an attack.
    num_malicious: K: clients with an id below attack, wherever they stand in a
      cohort, and rules in text are told how many there are. F is then the most
      that can be in one cohort, where more are the first of them are honest;
      K or M - 1 by default. None for the last F rows.
    compressor: text of `compression.COMPRESSORS`, a `Compressor`, or a
      `Messenger`; None sends all.
    error_feedback: whether clients add to a message what compression took from
      the ones before.
    privacy: text of `privacy.MECHANISMS` or a `Mechanism`; None for none. In a
      private mean clients count equally, whatever their weights.
    secure: text of `privacy.SECURE_SUMS` or a `SecureSum`; None for plain sums.
    num_expected: m, clients that a private round divides by, qN for Poisson
      cohorts; None for the rows of a cohort.
    explain: whether metrics contain the `error` of the update and, where the
      rule explains itself, the `weights` of clients.
    num_classes: K, for attacks in text that flip labels.

  Raises:
    ValueError: if the parts do not fit each other.

  Example:
    >>> Channel(aggregator='median', privacy='central(clip=1.0)').wire(9)
    Traceback (most recent call last):
    ValueError: privacy='central(clip=1.0)' releases a noisy mean: aggregator \
must be 'mean'; got 'median'.
  """

  aggregator: Any = 'mean'
  attack: Any = None
  num_byzantine: int | None = None
  num_malicious: int | None = None
  compressor: Any = None
  error_feedback: bool = False
  privacy: Any = None
  secure: Any = None
  num_expected: float | None = None
  explain: bool = False
  num_classes: int | None = None

  @property
  def is_plain(self) -> bool:
    """Whether the server takes the mean."""
    if not isinstance(self.aggregator, str):
      return False
    name = re.sub(r'\(\s*\)\s*$', '', self.aggregator)
    return name.strip() in _PLAIN

  def wire(self, num_clients: int, *, num_groups: int | None = None) -> Wire:
    """Builds the channel of cohorts of M clients.

    Args:
      num_clients: M, rows of a cohort.
      num_groups: K, where messages are summed up in groups.

    Returns:
      The wire.
    """
    m = checks.integer(num_clients, name='num_clients', low=1)
    f = self.num_byzantine
    if f is not None:
      checks.integer(f, name='num_byzantine', low=0, high=m - 1)
    if self.num_malicious is None:
      wire = self._wire(m, f or 0, num_groups)
      if f is None and self.attack is not None:
        raise ValueError(
          'attack is given but num_byzantine is not: say how many of the '
          f'num_clients={m} attack (0 for none).'
        )
      return wire
    most = checks.integer(self.num_malicious, name='num_malicious', low=0)
    most = min(most, m - 1 if f is None else f)
    wires = [
      self._wire(m, count, num_groups, always=True) for count in range(most + 1)
    ]
    return _varying.by_count(wires, self.num_malicious)

  def _wire(self, m, f, num_groups, always=False):
    rule = aggregators.as_aggregator(
      self.aggregator, num_clients=m, num_byzantine=f
    )
    told: dict[str, Any] = {'rule': _without_memory(rule)}
    if self.num_classes is not None:
      told['num_classes'] = self.num_classes
    attack = attacks.as_attack(
      self.attack, num_clients=m, num_byzantine=f, **told
    )
    attack = attack if f else None
    mechanism, secure = self.privacy, self.secure
    if mechanism is not None:
      expected = m if self.num_expected is None else self.num_expected
      mechanism = privacy.make_mechanism(mechanism, num_expected=expected)
    if secure is not None:
      secure = privacy.make_secure_sum(secure, num_clients=m)
    central = mechanism is not None and mechanism.release is not None
    for name, spec, there in (
      ('privacy', self.privacy, central),
      ('secure', self.secure, secure is not None),
    ):
      if there and not self.is_plain:
        what = (
          'releases a noisy mean' if name == 'privacy' else 'shows sums only'
        )
        raise ValueError(
          f"{name}={spec!r} {what}: aggregator must be 'mean'; got "
          f'{self.aggregator!r}.'
        )
      if there and num_groups is not None:
        raise ValueError(
          f'{name}={spec!r} has one sum for all: it does not go with '
          f'{num_groups} groups of clients.'
        )
    messenger = None
    if self.compressor is not None:
      messenger = compression.as_messenger(
        self.compressor, error_feedback=self.error_feedback
      )
    if central and messenger is not None:
      form = {'x': jax.ShapeDtypeStruct((8, 8), jnp.float32)}
      if jax.tree.leaves(jax.eval_shape(messenger.init, form)):
        raise ValueError(
          f'privacy={self.privacy!r} bounds what a client sends in a round, '
          f'but compressor={self.compressor!r} sends later what it kept: say '
          'one without memory.'
        )
    if self.error_feedback and self.compressor is None:
      raise ValueError(
        'error_feedback=True needs a compressor: nothing is lost without one.'
      )
    measured = self.explain or attack is not None
    measured |= always and self.attack is not None
    return _build(
      *(self, m, f, rule, attack, mechanism, secure, messenger, num_groups),
      measured=measured,
    )


def _without_memory(aggregator):
  """The server's rule as an attack may know it, with a fresh memory."""

  def rule(updates, *, key=None):
    one = jax.tree.map(lambda x: x[0], updates)
    key = jax.random.key(0) if key is None else key
    return aggregator.apply(updates, aggregator.init(one), key=key)[0]

  return rule


def _build(
  channel,
  m,
  f,
  rule,
  attack,
  mechanism,
  secure,
  messenger,
  num_groups,
  *,
  measured,
) -> Wire:
  central = mechanism is not None and mechanism.release is not None
  plain = compression.make_compressor('identity')

  def init(message):
    memory = rule.init(message)
    if num_groups is not None:
      memory = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (num_groups, *jnp.shape(x))), memory
      )
    return WireState(
      aggregator=memory,
      attack=() if attack is None else attack.init(message),
      privacy=() if mechanism is None else mechanism.init(),
    )

  def own(message):
    return () if messenger is None else messenger.init(message)

  def send(message, own, state, key):
    noise_key, code_key = jax.random.split(key)
    aux = jnp.zeros(())
    if mechanism is not None:
      message, aux = mechanism.client(message, state.privacy, key=noise_key)
    if messenger is not None:
      message, own = messenger.send(code_key, message, own)
      if central:  # What is decoded may lie outside of the ball.
        message, _ = mechanism.client(message, state.privacy, key=noise_key)
    return message, own, aux

  def counts(weights, mask):
    if central:
      return mask.astype(jnp.float32)
    return jnp.where(mask, weights, 0.0)

  def settle(total, aux_total, state, key):
    if not central:
      return total, state
    total, memory = mechanism.release(total, aux_total, state.privacy, key=key)
    return total, state._replace(privacy=memory)

  def honest_of(stacked, mask):
    """What honest clients sent; their mean in place of padding."""
    honest = jax.tree.map(lambda x: x[: m - f], stacked)
    if mask is None:
      return honest
    present = mask[: m - f]
    share = present / jnp.maximum(jnp.sum(present), 1)
    mean = trees.combine(share.astype(jnp.float32), honest)
    return jax.tree.map(
      lambda x, y: jnp.where(trees.expand(present, x), x, y[None]), honest, mean
    )

  def attacked(stacked, honest, state, key):
    theirs = jax.tree.map(lambda x: x[m - f :], stacked)
    sent, memory = attack.apply(honest, state.attack, own=theirs, key=key)
    checks.same_shapes(
      sent, theirs, name='attack', what='one message per attacker, [F, ...]'
    )
    return trees.concatenate(honest, sent), state._replace(attack=memory)

  def meet(stacked, aux, weights, mask, state, key, groups=None):
    attack_key, rule_key, sum_key = jax.random.split(key, 3)
    found = {}
    honest = honest_of(stacked, mask) if measured else stacked
    if attack is not None:
      stacked, state = attacked(stacked, honest, state, attack_key)
      if central:  # Adversaries do not clip, the server does.
        clip = lambda x: mechanism.client(x, state.privacy)[0]
        stacked = jax.vmap(clip)(stacked)
    if num_groups is not None:
      return *_grouped(stacked, weights, mask, state, rule_key, groups), found
    present = {} if mask is None else {'mask': mask}
    if channel.explain and rule.explain is not None:
      found['weights'] = rule.explain(stacked, state.aggregator, key=rule_key)
    if channel.is_plain:
      rows = trees.where_rows(weights != 0, stacked, 0.0)
      if secure is None:
        total = trees.combine(weights, rows)
      else:
        total = secure.apply(trees.scale_rows(weights, rows), mask, key=sum_key)
      inside = jnp.sum(aux * (weights != 0))
      update, state = settle(total, inside, state, rule_key)
    else:
      update, memory = rule.apply(
        stacked, state.aggregator, key=rule_key, **present
      )
      state = state._replace(aggregator=memory)
    checks.same_shapes(
      update,
      jax.tree.map(lambda x: x[0], stacked),
      name='aggregator',
      what='one update like a message',
    )
    if measured:
      found['error'] = metrics_lib.aggregation_error(update, honest)
    return update, state, found

  def _grouped(stacked, weights, mask, state, key, groups):
    members = groups[None] == jnp.arange(num_groups)[:, None]
    if mask is not None:
      members &= mask[None]
    if channel.is_plain:
      share = jnp.where(members, weights[None], 0.0)
      total = jnp.sum(share, axis=1, keepdims=True)
      share /= jnp.where(total > 0, total, 1.0)
      # A row that is not finite reaches its own group alone.
      finite = jnp.isfinite(trees.norms(stacked))
      rows = trees.where_rows((weights != 0) & finite, stacked, 0.0)
      broken = jnp.any((share > 0) & ~finite[None], axis=1)
      spoil = lambda x: jnp.where(trees.expand(broken, x), jnp.nan, x)
      return jax.tree.map(spoil, trees.combine(share, rows)), state

    def one(turn):
      memory, mask, number = turn
      update, new = rule.apply(
        stacked, memory, key=jax.random.fold_in(key, number), mask=mask
      )
      some = jnp.any(mask)
      keep = lambda a, b: jnp.where(some, a, b)
      return (
        jax.tree.map(lambda x: jnp.where(some, x, 0), update),
        jax.tree.map(keep, new, memory),
      )

    update, memory = jax.lax.map(
      one, (state.aggregator, members, jnp.arange(num_groups))
    )
    return update, state._replace(aggregator=memory)

  def bits(message):
    if secure is not None:
      return secure.bits(message)
    return (plain if messenger is None else messenger).bits(message)

  poison = None
  if attack is not None and attack.poison is not None:
    poison = attack.poison
  streams = channel.is_plain and not channel.explain
  streams &= attack is None and secure is None
  return Wire(
    init,
    own,
    send,
    streams and num_groups is None,
    counts,
    settle,
    meet,
    poison,
    bits,
    f,
    mechanism.num_expected if central else None,
  )


def as_channel(value: Any, *, name: str = 'channel') -> Channel:
  """Turns what stands for a channel into one.

  Args:
    value: a `Channel`, or a rule in text or as such for `Channel(aggregator)`.
    name: the argument's name, for messages.

  Returns:
    The channel.
  """
  if isinstance(value, Channel):
    return value
  if value is None:
    return Channel()
  if (
    isinstance(value, str)
    or callable(value)
    or isinstance(value, types.Aggregator)
  ):
    return Channel(aggregator=value)
  raise TypeError(
    f'{name} must be a federated.Channel or a rule; got '
    f'{checks.described(value)}.'
  )
