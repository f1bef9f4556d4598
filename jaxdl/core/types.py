# SPDX-License-Identifier: Apache-2.0
"""The pairs of pure functions that every part of the toolkit is made of."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

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
    logits: `logits(params, batch) -> (f[B, ..., K], i32[B, ...], bool[B] or
      None)`, what is predicted without training, the labels and the mask, of
      tasks that tell classes apart; None otherwise.
  """

  init: Callable[[chex.PRNGKey], chex.ArrayTree]
  loss: Callable[..., chex.Array]
  evaluate: Callable[..., dict[str, chex.Array]]
  logits: Callable[..., Any] | None = None


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
    poison: `poison(data) -> data` changes what the adversaries train on, any
      tree of leaves [..., ...] as a cohort has it; None leaves it alone.
  """

  init: Callable[[chex.ArrayTree], chex.ArrayTree]
  apply: Callable[..., tuple[chex.ArrayTree, chex.ArrayTree]]
  poison: Callable[[chex.ArrayTree], chex.ArrayTree] | None = None


class Algorithm(NamedTuple):
  """A learning process that runs in rounds.

  Attributes:
    init: `init(key) -> state`; consumes the key. The state holds everything
      that is needed to resume.
    step: `step(state, cohort, *, key) -> (state, metrics)`, one round,
      jittable; `metrics` is a dict of arrays.
    params: `params(state) -> params`, what should be evaluated.
    per_client: whether `params` gives a model for each client, leaves [N, ...].
    on_host: whether `step` runs on the host, as plain Python; its state may
      then also hold NumPy arrays, numbers and text, and `params` gives what
      `Problem.evaluate` takes of one seed.
  """

  init: Callable[..., chex.ArrayTree]
  step: Callable[..., tuple[chex.ArrayTree, dict[str, chex.Array]]]
  params: Callable[[chex.ArrayTree], chex.ArrayTree]
  per_client: bool = False
  on_host: bool = False


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """What is learned, by whom, and how it is measured, for S seeds.

  The builders of `jaxdl.problems` make it. `experiment.compare` and
  `experiment.train` run any algorithm on it.

  Attributes:
    task: parameters and loss.
    data: tree of leaves [S, ...], all that `cohort` needs of a seed.
    cohort: `cohort(key, data, round) -> Cohort` of one seed. The key is that of
      the run and is not consumed: a draw depends on it and the round alone,
      which may be traced and counts from 1.
    fetch: `fetch(keys, round) -> tree of leaves [S, ...]` makes on the host
      what `cohort` gets in place of `data`, of files for instance; `keys` are
      those of the run, [S], and `round` is an int. It is called ahead of the
      device, in another thread. None where `data` is all.
    evaluate: `evaluate(params) -> dict of f[S]`, params with leaves [S, ...].
    evaluate_clients: `evaluate_clients(params) -> dict of f[S]` of a model per
      client, leaves [S, N, ...]; None where that has no meaning.
    reliability: `reliability(params, per_client=False) -> rows` of a diagram of
      how often models are as right as they say, one for each seed and bin of
      confidence, over all clients if each has a model; None where no classes
      are told apart.
    network: what the task applies, or None.
    seeds: S seeds.
    num_clients: N.
    num_classes: K, or 0.
    metric: the figure to look at first.
    ylabel: its caption.
    one_by_one: whether seeds run one after the other instead of side by side.
    test: what is tested on, if anybody else needs it.
  """

  task: Task
  data: chex.ArrayTree
  cohort: Callable[..., 'Cohort']
  evaluate: Callable[[chex.ArrayTree], dict[str, Any]]
  evaluate_clients: Callable[[chex.ArrayTree], dict[str, Any]] | None = None
  fetch: Callable[..., Any] | None = None
  reliability: Callable[..., list[dict[str, Any]]] | None = None
  network: Network | None = None
  seeds: tuple[int, ...] = (0,)
  num_clients: int = 1
  num_classes: int = 0
  metric: str = 'loss'
  ylabel: str = 'Test loss'
  one_by_one: bool = False
  test: Any = None

  def replace(self, **changes: Any) -> 'Problem':
    """Returns the problem with some attributes changed.

    Args:
      **changes: attributes; with another task or evaluation, params may be of
        another form, and `reliability` is None unless it is said as well.

    Returns:
      The problem.

    Raises:
      ValueError: if cohorts should be drawn of something else, but `fetch`
        still makes what they are drawn of.
    """
    if self.fetch is not None and 'fetch' not in changes:
      for name in ('cohort', 'data'):
        if name in changes:
          raise ValueError(
            f'{name} has no effect on a problem whose examples are on disk, '
            'where fetch draws cohorts: build it with in_memory=True, or give '
            'fetch as well.'
          )
    if {'task', 'evaluate', 'evaluate_clients'} & set(changes):
      changes = {'reliability': None, **changes}
    return dataclasses.replace(self, **changes)
