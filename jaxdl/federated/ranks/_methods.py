# SPDX-License-Identifier: Apache-2.0
"""What is compared: rankings and averages, by spec."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from jaxdl import aggregators, local, networks
from jaxdl.core import clients as clients_lib, registry, types
from jaxdl.federated import server
from jaxdl.federated.ranks import _learning, _rankings, _rules

# What averages are attacked by. One long vector is enough for the mean.
LARGE = 'sign_flip(scale=100000.0)'
# Against other rules the worst of mean - γ std.
TAILORED = (
  'agr_tailored(search=grid, grid=(0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, '
  '8.0, 10.0), num_at_once=1, ddof=0)'
)

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


def averaged(
  method: registry.Part,
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
  num_clients: int,
) -> Method:
  """Learns whole models in a way of `federated.server`."""
  problem = make_problem(network)
  rows = clients_lib.as_clients(clients)
  voters = rows.num_clients - num_advisors
  work = local.LocalWork(
    averaging_optimizer, batch_size=batch_size, num_epochs=num_epochs
  )
  channel = _channel(rule, attack, num_malicious, voters)
  told = {'decay': 0.9995} if method.name == 'fedavg' else {}
  way = server.METHODS.bound(method, problem.task, work, **told)
  everyone = rows.replace(num_clients=num_clients)
  algorithm = server.federate(way, everyone, channel, cohort_size=voters)

  def step(state, cohort, *, key):
    rows.check(cohort, why='M voters, then C advisors')
    cohort = jax.tree.map(lambda x: x[:voters], cohort)
    return algorithm.step(state, cohort, key=key)

  # What a message weighs does not depend on who attacks.
  alone = dataclasses.replace(
    channel, aggregator='mean', attack=None, num_malicious=None
  )
  exchange = server.make_exchange(way, everyone, alone, cohort_size=voters)
  form = jax.eval_shape(problem.task.init, jax.random.key(0))
  upload, download = exchange.bits(form)
  return Method(problem, algorithm._replace(step=step), upload, download)


def _channel(rule, attack, num_malicious, voters) -> server.Channel:
  """The way of messages of a spec, attacked in the usual way if in none."""
  options = {'aggregator': rule or 'mean'}
  if rule is not None and registry.chain(rule)[0].name in server.CHANNELS:
    options = {'aggregator': 'mean'} | server.CHANNELS.part(rule).options
  plain = server.Channel(aggregator=options['aggregator']).is_plain
  if attack != 'none' and num_malicious:
    options = {'attack': LARGE if plain else TAILORED} | options
  # Fewer than half of a cohort, see `sample_minority`.
  options.setdefault('num_byzantine', min(num_malicious, (voters - 1) // 2))
  if options.get('attack') is None and plain:
    return server.Channel(**options)
  return server.Channel(num_malicious=num_malicious, **options)


METHODS = registry.Registry(
  'method',
  {'frl': frl, **server.METHODS},
  given=(
    *('network', 'make_problem', 'clients', 'rule', 'optimizer'),
    *('batch_size', 'num_epochs', 'attack', 'num_malicious', 'num_advisors'),
    *('task', 'work'),
  ),
)


class _Specs:
  """The grammar of methods, for flags: `frl@rule`, or `fedavg@rule`."""

  def lines(self) -> list[str]:
    """Returns every part with its options and their defaults."""
    first, *others = METHODS.lines()
    return [
      first,
      *(f'frl@{line}' for line in _rules.RANK_RULES.lines()),
      *others,
      *(f'fedavg@{line}' for line in aggregators.RULES.lines()),
      *(f'fedavg@{line}' for line in server.CHANNELS.lines()),
    ]

  def check(self, text: str, *, name: str = 'method') -> None:
    """Raises ValueError unless a text is a method, on a rule of its kind."""
    check_method(text, name=name)


METHOD_SPECS = _Specs()


def make_method(
  spec: str,
  network: types.Network,
  make_problem: MakeProblem,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  averaging_optimizer: optax.GradientTransformation,
  num_clients: int,
  **told: Any,
) -> Method:
  """Builds a method from text.

  Args:
    spec: 'frl' with options, alone or on one of `RANK_RULES`,
      'frl(sparse=0.5)@trimmed'; or a part of `federated.server.METHODS`, alone,
      on a rule of `aggregators.RULES` or on a channel, 'fedavg@repeated_krum',
      'fedavg@channel(aggregator=median, attack=alie)'. Steps of 'fedavg' shrink
      by 0.9995 a round where it says no `decay`.
    network: without masks.
    make_problem: the problem for a network.
    clients: rows of a cohort, M voters and C advisors, who do not take part in
      averages.
    optimizer: for rankings, see `rank_learning`.
    averaging_optimizer: of clients whose models are averaged.
    num_clients: N, all there are.
    **told: `batch_size`, `num_epochs`, `num_malicious`, `num_advisors` and
      `attack` (a part of `RANK_ATTACKS`). Unless it is 'none', averages are
      attacked as their channel says, else the mean by `LARGE` and other rules
      by `TAILORED`; rules are told how many voters are malicious.

  Returns:
    The method.

  Raises:
    ValueError: if the text is no method, or the rule of the other kind.
  """
  check_method(spec)
  first, rule = registry.pair(spec, name='method')
  part = METHODS.part(first)
  if part.name == 'frl':
    return METHODS.bound(
      part,
      *(network, make_problem, clients),
      rule=rule,
      optimizer=optimizer,
      **told,
    )
  return averaged(
    *(part, network, make_problem, clients),
    rule=rule,
    averaging_optimizer=averaging_optimizer,
    num_clients=num_clients,
    **told,
  )


def check_method(spec: str, *, name: str = 'method') -> None:
  """Raises ValueError unless a text is a method, on a rule of its kind."""
  first, rule = registry.pair(spec, name=name)
  METHODS.check(first, name=name)
  kind = METHODS.part(first, name=name).name
  if rule is None:
    return
  tables = [aggregators.RULES, server.CHANNELS]
  if kind == 'frl':
    tables = [_rules.RANK_RULES]
  found = registry.chain(rule, name=name)[-1].name
  for table in tables:
    if found in table:
      return table.check(rule, name=name)
  known = [part for table in tables for part in table]
  raise ValueError(
    f'{name}={spec!r}: {kind} takes the rules {", ".join(known)}; got '
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
    ValueError: if the text is no part, it is on a channel, or the work is
      another than passes.
  """
  first, channel = registry.pair(spec, name='algorithm')
  if channel is not None:
    raise ValueError(
      f'algorithm={spec!r}: rankings take no channel: leave it out.'
    )
  for name, value in (
    ('num_steps', work.num_steps),
    ('stragglers', work.stragglers or None),
  ):
    if value is not None:
      raise ValueError(
        f'{name}={value}: clients of {spec} rank after whole passes over their '
        'examples: say num_epochs.'
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
