# SPDX-License-Identifier: Apache-2.0
"""Adversaries among the clients, and rules that are told of them."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging

from jaxdl import aggregators, attacks, parallel
from jaxdl.core import checks, clients as clients_lib, types
from jaxdl.experiment import config as config_lib

knob = config_lib.knob


def oracle(updates: Any, **options: Any) -> Any:
  """Averages the honest clients, whom nobody else can tell."""
  return aggregators.mean(updates, **options)


# What `--rules` may name.
RULES = aggregators.RULES | {'oracle': oracle}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustConfig(config_lib.BaseConfig):
  """Knobs of adversaries.

  A configuration that has `rules` gets each checked against the numbers of
  clients and adversaries.
  """

  num_clients: int = knob(15, 'Simulated clients.', low=1)
  num_byzantine: int = knob(3, 'Adversaries that take part.', low=0)
  declared_byzantine: int = knob(
    -1, 'How many the rules are told; -1 tells the truth.', low=-1
  )
  attack: str = knob(
    'sign_flip(scale=8.0)',
    'What adversaries send; with none they are honest, and rules that are told '
    'of them pay for it.',
    registry=attacks.ATTACKS,
    needs={'num_byzantine': True},
  )

  @property
  def told(self) -> int:
    """Number of adversaries that the rules are told."""
    if self.declared_byzantine < 0:
      return self.num_byzantine
    return self.declared_byzantine

  def validate(self) -> None:
    """Builds every rule and the attack, which checks n against f."""
    super().validate()
    config_lib.check_square(self.num_clients)
    if self.num_byzantine >= self.num_clients:
      raise ValueError(
        f'num_byzantine={self.num_byzantine} leaves no honest client: need '
        f'num_byzantine < num_clients = {self.num_clients}.'
      )
    rules = getattr(self, 'rules', None)
    if rules is None:
      return
    config_lib.check_different(rules, name='rules')
    for rule in rules:
      # What an attack poisons does not matter here.
      self.make_attack(self.make_rule(rule), num_classes=2, rehearse=False)

  def make_rule(self, spec: str) -> types.Aggregator:
    """Builds a server rule.

    Args:
      spec: a chain of `RULES`.

    Returns:
      The aggregator.

    Raises:
      ValueError: if a name is unknown or n and f do not fit.
    """
    n, f = self.num_clients, self.num_byzantine
    if spec == 'oracle':
      # On the host: a configuration touches no device.
      honest = np.arange(n) < n - f
      rule = functools.partial(
        aggregators.mean, weights=honest.astype(np.float32), mask=honest
      )
      return aggregators.stateless(rule)
    told = self.declared_byzantine
    with config_lib.naming(
      rules=spec,
      num_clients=n,
      num_byzantine=f if told < 0 else None,
      declared_byzantine=None if told < 0 else told,
    ):
      return aggregators.make_aggregator(
        spec, num_clients=n, num_byzantine=self.told
      )

  def lay_out(
    self, spec: str, rule: types.Aggregator, task: types.Task
  ) -> tuple[types.Aggregator, clients_lib.Clients]:
    """Spreads a rule and the clients over the devices, as `layout` says.

    Args:
      spec: a chain of `RULES`.
      rule: what `make_rule` made of it.
      task: what clients learn.

    Returns:
      The rule and the clients, for algorithms. As they are on one device,
      where sums are gathered, and for rules that read whole rows.
    """
    clients, layout = self.clients(), getattr(self, 'layout', 'auto')
    reads = 'sum' if spec == 'oracle' else aggregators.reads(spec)
    alone = clients.mesh is None or self.reduction == 'gathered'
    if alone or reads == 'rows':
      return rule, clients
    form = jax.eval_shape(task.init, jax.eval_shape(lambda: jax.random.key(0)))
    shapes = [x.shape for x in jax.tree.leaves(form)]
    size = sum(map(math.prod, shapes))
    found = parallel.choose_layout(
      clients.num_clients,
      shapes,
      reads,
      clients.mesh.size,
      layout=layout,
      # A step forward and two back through every weight.
      flops_per_client=6.0 * size * getattr(self, 'batch_size', 1),
    )
    logging.info(
      '%s: layout %s moves %.3g MB per round.',
      spec,
      found.label,
      sum(found.moved.values()) / 1e6,
    )
    clients = clients.replace(
      mesh=clients_lib.clients_mesh(num_copies=found.num_copies),
      layout=found.spread,
    )
    return aggregators.lay_out(rule, clients, reads=reads), clients

  def make_attack(
    self,
    rule: types.Aggregator | None = None,
    *,
    damage: Callable[..., Any] | None = None,
    num_classes: int,
    rehearse: bool = True,
  ) -> types.Attack:
    """Builds the attack, aimed at a rule where it needs one.

    Args:
      rule: the server's (its memory is not seen by the attack).
      damage: `damage(honest, sent) -> f32[]`, what it does, in place of a rule.
      num_classes: K, for attacks that flip labels; 0 where there are none.
      rehearse: whether its options are tried, which may look for devices.

    Returns:
      The attack.
    """

    def known(stacked):
      first = jax.tree.map(lambda x: x[0], stacked)
      key = jax.random.key(0)
      return rule.apply(stacked, rule.init(first), key=key)[0]

    part = attacks.ATTACKS.part(self.attack, name='attack')
    told = {'rule': None if rule is None else known, 'damage': damage}
    fn = attacks.ATTACKS[part.name]
    told = {name: x for name, x in told.items() if checks.takes(fn, name)}
    if not rehearse:
      # An attack that is told of a rule is not tried.
      told.setdefault('rule', None if told.get('damage') else known)
    with config_lib.naming(
      attack=self.attack, num_byzantine=self.num_byzantine
    ):
      return attacks.make_attack(
        self.attack,
        num_clients=self.num_clients,
        num_byzantine=self.num_byzantine,
        num_classes=num_classes or None,
        **told,
      )
