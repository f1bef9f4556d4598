# SPDX-License-Identifier: Apache-2.0
"""What tells one federated algorithm from another, and nothing else."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax.numpy as jnp

from jaxdl.federated.server import _store


class Sent(NamedTuple):
  """What one client comes back with.

  Attributes:
    message: a tree; what the channel carries and sums up.
    own: the client's new state.
    facts: dict of f32[]; numbers beside the message that the server sees as
      they are, `loss` and `num_steps` among them, and `share` where a client
      may do a part of its work.
  """

  message: chex.ArrayTree
  own: chex.ArrayTree
  facts: dict[str, chex.Array]


class Round(NamedTuple):
  """What a server knows of a round.

  Attributes:
    weights: f32[M], what each message counted, zero for absent clients.
    mask: bool[M], clients that took part.
    client_ids: i32[M].
    facts: dict of f32[M], what clients said beside their messages; of absent
      clients zero.
    num_clients: N, all there are (static).
    share: f32[], |S| / N: who took part, each once; of a private round the
      number that was expected in place of |S|.
    shared: what all clients got; None where each got something of its own.
  """

  weights: chex.Array
  mask: chex.Array
  client_ids: chex.Array
  facts: dict[str, chex.Array]
  num_clients: int
  share: chex.Array
  shared: Any = None


class Method(NamedTuple):
  """A federated algorithm as pure functions; `federate` makes it run.

  Clients get what `share` makes of the server's state, work, and send a tree
  of numbers. The channel (`Channel`) turns the trees of a round into one, which
  `absorb` makes the next state of.

  Attributes:
    start: `start(key) -> params`; consumes the key.
    init: `init(params, num_clients) -> memory`, the server's beside the model.
    own: `own(params) -> own`, state of one client that never took part; () if
      clients remember nothing.
    share: `share(params, memory) -> shared`, what every client gets.
    train: `train(shared, own, data, key) -> Sent`, one client.
    absorb: `absorb(params, memory, update, round) -> (params, memory)`.
    weigh: `weigh(memory, cohort) -> f32[M]`, what messages count; None for
      `cohort.weights`. A rule other than the mean does not listen to them.
    prepare: None, or `prepare(shared, data, key) -> tree` of one client, the
      mean of which over the round `share` gets as well, `share(params, memory,
      mean)`: an exchange before the work.
    model: None, or `model(params, memory, own) -> params` of one client, where
      clients have models of their own.
    num_groups: None, or K: params have leaves [K, ...], `facts['group']` says
      whose each message is, and each group is summed up for itself; the update
      has leaves [K, ...].
    message: `message(params) -> tree`, the form of a message; by default that
      of one model.
    told: names of facts that `absorb` or `weigh` read of every client, past
      rules, attacks and privacy; those that are not finite count as zero.
    tell: None, or `tell(params, memory) -> dict of f32[]`, metrics of a round
      of what the server holds after it.
    name: of the algorithm.
  """

  start: Callable[[chex.PRNGKey], chex.ArrayTree]
  init: Callable[..., chex.ArrayTree]
  own: Callable[[chex.ArrayTree], chex.ArrayTree]
  share: Callable[..., chex.ArrayTree]
  train: Callable[..., Sent]
  absorb: Callable[..., tuple[chex.ArrayTree, chex.ArrayTree]]
  weigh: Callable[..., chex.Array] | None = None
  prepare: Callable[..., chex.ArrayTree] | None = None
  model: Callable[..., chex.ArrayTree] | None = None
  num_groups: int | None = None
  message: Callable[[chex.ArrayTree], chex.ArrayTree] = lambda params: params
  told: tuple[str, ...] = ()
  tell: Callable[..., dict[str, chex.Array]] | None = None
  name: str = 'method'


def no_state(params: chex.ArrayTree, num_clients: int = 0) -> tuple[()]:
  """The state of a server or a client that remembers nothing."""
  del params, num_clients
  return ()


def equally(memory: Any, cohort: Any) -> chex.Array:
  """Weights 1 / |S| over the clients that take part, each of them once."""
  del memory
  present = _store.distinct(cohort.client_ids, cohort.mask)
  present = present.astype(jnp.float32)
  return present / jnp.maximum(jnp.sum(present), 1.0)
