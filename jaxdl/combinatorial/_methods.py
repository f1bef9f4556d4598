# SPDX-License-Identifier: Apache-2.0
"""Ways to train policies by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxdl import local
from jaxdl.combinatorial import _dcr, _policies
from jaxdl.core import registry, types


class Method(NamedTuple):
  """Policies and how they are trained.

  Attributes:
    divider: a part of `DIVIDERS`.
    conqueror: a part of `CONQUERORS`; None for the problem's own.
    start: a classical rule whose solutions tests start from, or None.
    training: options of `make_episode`.
    algorithm: `algorithm(episode) -> Algorithm`.
  """

  divider: str
  conqueror: str | None
  start: str | None
  training: dict[str, Any]
  algorithm: Callable[[_dcr.Episode], types.Algorithm]


def trained(
  *,
  divider: str = 'agnn',
  conqueror: str | None = None,
  start: str | None = None,
  num_stages: int = 2,
  joint: bool = True,
  learn: str = 'both',
  num_samples: int = 8,
  num_rollouts: int = 8,
  optimizer: str = 'adam(0.0001)',
  chunk: int | None = None,
) -> Method:
  """Divide, conquer, reunion; with one stage there is no reunion."""
  rule = local.make_optimizer(optimizer)
  return Method(
    divider,
    conqueror,
    start,
    {
      'num_stages': num_stages,
      'joint': joint,
      'learn': learn,
      'num_samples': num_samples,
      'num_rollouts': num_rollouts,
      'chunk': chunk,
    },
    lambda episode: _dcr.dcr(episode, optimizer=rule),
  )


def untrained(
  *,
  divider: str = 'agnn',
  conqueror: str | None = None,
  start: str | None = None,
) -> Method:
  """Both policies as they were drawn."""
  return Method(
    divider, conqueror, start, {'num_samples': 2, 'num_rollouts': 2}, _untrained
  )


def _untrained(episode):
  """Stays where it is."""

  def init(key):
    return _policies.init_params(
      key, episode.problem, episode.policies, size=episode.size
    )

  def step(state, cohort, *, key):
    del cohort, key
    return state, {}

  return types.Algorithm(init, step, lambda state: state)


METHODS = registry.Registry(
  'method',
  {'dcr': trained, 'untrained': untrained},
  told=(
    *('divider', 'conqueror', 'num_samples', 'num_rollouts', 'optimizer'),
    'chunk',
  ),
)


def make_method(spec: str, **options: Any) -> Method:
  """Makes policies and their training by name.

  Args:
    spec: a part of `METHODS`.
    **options: where the part does not set them.

  Returns:
    The method.

  Raises:
    ValueError: if the name, an option or a value is wrong.

  Example:
    >>> make_method('dcr(num_stages=1)', divider='none').training['num_stages']
    1
  """
  return METHODS.make(spec, **options)
