# SPDX-License-Identifier: Apache-2.0
"""The pairs of pure functions that every part of the toolkit is made of."""

from collections.abc import Callable
from typing import NamedTuple

import chex


class Network(NamedTuple):
  """A parametric function.

  `init(key, *example_inputs) -> params` consumes the key;
  `apply(params, *inputs, train=False, key=None) -> outputs` is pure. `params`
  is any pytree of arrays. Networks with running statistics keep them inside
  `params` (see `jaxdl.networks`).
  """

  init: Callable[..., chex.ArrayTree]
  apply: Callable[..., chex.ArrayTree]


class Task(NamedTuple):
  """What is learned: parameters, a loss and a way to measure success.

  A batch is any pytree that `loss` understands; the ready-made tasks use a
  dict with leaves [B, ...], among them an optional `mask: bool[B]` whose false
  rows have no effect.

  Attributes:
    init: `init(key) -> params`; consumes the key.
    loss: `loss(params, batch, *, key=None) -> f32[]`, the masked mean over the
      examples; differentiable in `params`.
    evaluate: `evaluate(params, batch) -> dict[str, f32[]]` of masked means
      over the examples of the batch (e.g. accuracy and loss).
  """

  init: Callable[[chex.PRNGKey], chex.ArrayTree]
  loss: Callable[..., chex.Array]
  evaluate: Callable[..., dict[str, chex.Array]]


class Aggregator(NamedTuple):
  """A server rule with memory.

  Attributes:
    init: `init(params) -> state`; `params` has the structure of one update.
    apply: `apply(updates, state, *, weights=None, key=None, axis_name=None)
      -> (update, state)`; `updates` is a stacked tree.
    explain: `explain(updates, state, *, key=None, axis_name=None) -> f32[N]`,
      the share that each client has in the update, or None where the rule
      has no such reading.
  """

  init: Callable[[chex.ArrayTree], chex.ArrayTree]
  apply: Callable[..., tuple[chex.ArrayTree, chex.ArrayTree]]
  explain: Callable[..., chex.Array] | None = None


class Attack(NamedTuple):
  """An adversary that sees everything and speaks for some clients.

  Attributes:
    init: `init(params) -> state`; `params` has the structure of one update.
    apply: `apply(honest, state, *, own, key=None) -> (sent, state)`. `honest`
      is the stacked tree [H, ...] of what honest clients send, `own` the
      stacked tree [F, ...] of what the adversaries would send if they were
      honest; `sent` has the shape of `own`.
  """

  init: Callable[[chex.ArrayTree], chex.ArrayTree]
  apply: Callable[..., tuple[chex.ArrayTree, chex.ArrayTree]]


class Algorithm(NamedTuple):
  """A learning process that runs in rounds.

  Attributes:
    init: `init(key) -> state`; consumes the key. The state holds everything
      that is needed to resume.
    step: `step(state, cohort, *, key) -> (state, metrics)`, one round,
      jittable; `metrics` is a dict of arrays.
    params: `params(state) -> params`, what should be evaluated; leaves carry
      a leading client axis where every client has its own model.
  """

  init: Callable[..., chex.ArrayTree]
  step: Callable[..., tuple[chex.ArrayTree, dict[str, chex.Array]]]
  params: Callable[[chex.ArrayTree], chex.ArrayTree]


@chex.dataclass(frozen=True)
class Cohort:
  """The clients of one round, padded to a static size.

  Attributes:
    client_ids: i32[N], stable identities (they seed a client's randomness).
    data: pytree of leaves [N, ...], each client's share of this round's data.
    mask: bool[N], false for padding rows, which never move a result.
    weights: f32[N], importance of each client (e.g. its number of examples).
  """

  client_ids: chex.Array
  data: chex.ArrayTree
  mask: chex.Array
  weights: chex.Array
