# SPDX-License-Identifier: Apache-2.0
"""What is compared: rankings and averages, by spec."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from jaxdl import local, networks
from jaxdl.core import clients as clients_lib, registry, types
from jaxdl.federated.ranks import _baselines, _learning, _rankings, _rules

MakeProblem = Callable[[types.Network], types.Problem]


class Method(NamedTuple):
  """A way to learn, and what it sends.

  Attributes:
    problem: what it learns.
    algorithm: how.
    upload_bits: of a client in a round.
    download_bits: to a client in a round.
  """

  problem: types.Problem
  algorithm: types.Algorithm
  upload_bits: int
  download_bits: int


def frl(
  network: types.Network,
  make_problem: MakeProblem,
  clients: clients_lib.Clients | int,
  *,
  rule: str | None,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  num_epochs: int,
  attack: str,
  num_malicious: int,
  num_advisors: int,
  keep: float = 0.5,
  mask_scores: str = 'raw',
  sparse: float = 1.0,
  decay: float = 0.999,
  cosine: bool = True,
) -> Method:
  """Votes on rankings of the edges of a random network."""
  problem = make_problem(
    networks.supermask(network, keep=keep, mask_scores=mask_scores)
  )
  algorithm = _learning.rank_learning(
    problem.task,
    clients,
    optimizer=optimizer,
    batch_size=batch_size,
    num_epochs=num_epochs,
    decay=decay,
    cosine=cosine,
    aggregator=rule or 'borda',
    attack=attack,
    num_malicious=num_malicious,
    num_advisors=num_advisors,
    top_fraction=sparse,
  )
  sizes = [x.size for x in _learning.score_shapes(problem.task).values()]
  upload = _rankings.communication_bits(sizes, top_fraction=sparse)
  return Method(problem, algorithm, upload, _rankings.communication_bits(sizes))


def fedavg(
  network: types.Network,
  make_problem: MakeProblem,
  clients: clients_lib.Clients | int,
  *,
  rule: str | None,
  averaging_optimizer: optax.GradientTransformation,
  batch_size: int,
  num_epochs: int,
  attack: str,
  num_malicious: int,
  num_advisors: int,
  decay: float = 0.9995,
) -> Method:
  """Averages of trained models, or any other rule."""
  problem = make_problem(network)
  algorithm = _baselines.averaging(
    problem.task,
    clients,
    optimizer=averaging_optimizer,
    batch_size=batch_size,
    num_epochs=num_epochs,
    decay=decay,
    aggregator=rule or 'mean',
    attacked=attack != 'none',
    num_malicious=num_malicious,
    num_advisors=num_advisors,
  )
  shapes = jax.eval_shape(problem.task.init, jax.random.key(0))
  size = sum(x.size for x in jax.tree.leaves(shapes))
  signs = rule is not None and rule.startswith('sign_majority')
  return Method(problem, algorithm, size if signs else 32 * size, 32 * size)


METHODS = registry.Registry(
  'method',
  {'frl': frl, 'fedavg': fedavg},
  given=(
    *('network', 'make_problem', 'clients', 'rule', 'optimizer'),
    *('averaging_optimizer', 'batch_size', 'num_epochs', 'attack'),
    *('num_malicious', 'num_advisors'),
  ),
)
_RULES_OF = {'frl': _rules.RANK_RULES, 'fedavg': _baselines.AVERAGING_RULES}
SERVER_RULES = registry.Registry(
  'rule',
  {name: fn for rules in _RULES_OF.values() for name, fn in rules.items()},
  given=('reputations', 'mask', 'updates', 'num_malicious'),
)
METHOD_SPECS = registry.Pair(METHODS, SERVER_RULES)


def make_method(
  spec: str,
  network: types.Network,
  make_problem: MakeProblem,
  clients: clients_lib.Clients | int,
  **told: Any,
) -> Method:
  """Builds a method from text.

  Args:
    spec: 'frl' or 'fedavg' with options, alone or on a rule of its own kind:
      'frl(sparse=0.5)@trimmed', 'fedavg@multi_krum'.
    network: without masks.
    make_problem: the problem for a network.
    clients: rows of a cohort.
    **told: `batch_size`, `num_epochs`, `num_malicious`, `num_advisors` and
      `attack` (a part of `RANK_ATTACKS`; averages are attacked in their own way
      unless it is 'none'), `optimizer` for rankings and `averaging_optimizer`
      for averages; see `rank_learning`.

  Returns:
    The method.

  Raises:
    ValueError: if the text is no method, or the rule of the other kind.
  """
  check_method(spec)
  first, rule = registry.pair(spec, name='method')
  return METHODS.make(first, network, make_problem, clients, rule=rule, **told)


def check_method(spec: str, *, name: str = 'method') -> None:
  """Raises ValueError unless a text is a method, on a rule of its kind."""
  METHOD_SPECS.check(spec, name=name)
  first, rule = registry.pair(spec, name=name)
  kind = METHODS.part(first, name=name).name
  if rule is not None:
    of_kind = _RULES_OF[kind]
    found = registry.parse(rule, name=name).name
    if found not in of_kind:
      raise ValueError(
        f'{name}={spec!r}: {kind} takes the rules {", ".join(of_kind)}; got '
        f'{found!r}.'
      )


def ranked(
  make: Callable[..., Method],
  *,
  learning_rate: float = 0.4,
  keep: float = 0.5,
  mask_scores: str = 'raw',
  sparse: float = 1.0,
) -> Method:
  """Votes on rankings of the edges of a random network."""
  optimizer = local.make_optimizer(
    f'sgd({learning_rate}, momentum=0.9, weight_decay=1e-4)'
  )
  return make(
    optimizer=optimizer, keep=keep, mask_scores=mask_scores, sparse=sparse
  )


# What may stand beside methods of a server, see `make_ranked`.
RANKED = registry.Registry('algorithm', {'frl': ranked}, given=('make',))


def make_ranked(
  spec: str,
  network: types.Network,
  make_problem: MakeProblem,
  clients: clients_lib.Clients | int,
  work: local.LocalWork,
) -> Method:
  """Builds rank learning without adversaries, to stand beside others.

  Args:
    spec: a part of `RANKED`: 'frl(sparse=0.5)'.
    network: without masks.
    make_problem: the problem for a network.
    clients: rows of a cohort.
    work: batch size and passes of a client are heeded.

  Returns:
    The method, which learns masks of the same network, without biases.

  Raises:
    ValueError: if the text is no part, or it is on a channel.
  """
  first, channel = registry.pair(spec, name='algorithm')
  if channel is not None:
    raise ValueError(
      f'algorithm={spec!r}: rankings take no channel: leave it out.'
    )
  make = functools.partial(
    frl,
    network,
    make_problem,
    clients,
    rule=None,
    batch_size=work.batch_size or 8,
    num_epochs=work.num_epochs or 1,
    attack='none',
    num_malicious=0,
    num_advisors=0,
  )
  return RANKED.make(first, make)
