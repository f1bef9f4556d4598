# SPDX-License-Identifier: Apache-2.0
"""Ways to find a team, by name, for numbers and text alike."""

import functools
from typing import NamedTuple

from jaxdl.core import checks, registry
from jaxdl.language.teams import _control


class Method(NamedTuple):
  """How a team is found.

  Attributes:
    search: 'gradient' for edits by gradients, 'random' for random ones, 'none'.
    team: what is searched from: 'given', or 'single' for the one best agent,
      'majority' for a vote of the same.
    alpha: of `momentum`.
    beta: of `combined`.
    accept: a part of `ACCEPTANCES`.
    validate: whether candidates run on validation samples; without, every edit
      that is well formed is taken.
    replay: samples that must stay solved, at most.
    pool_size: blocks that are kept.
    temperature: of the draw among edits; 0 takes the best.
    aggregation: of the team at the start; None as it is given.
    remember: whether what was refused is not tried again.
  """

  search: str = 'none'
  team: str = 'given'
  alpha: float = 1.0
  beta: float = 0.0
  accept: str = 'non_worse'
  validate: bool = True
  replay: int = 0
  pool_size: int = 8
  temperature: float = 0.0
  aggregation: str | None = None
  remember: bool = True


def ann(
  *,
  alpha: float = 0.7,
  beta: float = 0.5,
  accept: str = 'non_worse',
  validate: bool = True,
  replay: int = 8,
  pool_size: int = 8,
  temperature: float = 0.0,
  aggregation: str | None = None,
) -> Method:
  """Edits by gradients, validated: an agentic neural network.

  Args:
    alpha: α of momentum; 1 is none.
    beta: β, the share of the global gradient; 1 for it alone, 0 for none.
    accept: a part of `ACCEPTANCES`.
    validate: whether candidates are tried on validation samples.
    replay: samples that an accepted edit must not break, at most.
    pool_size: P, blocks that are kept.
    temperature: of the draw among edits; 0 takes the best.
    aggregation: of the team at the start; None as it is given.

  Returns:
    The method.

  Raises:
    ValueError: if a number is out of range or a rule unknown.

  Source: Ma et al. 2025 (https://arxiv.org/abs/2506.09046).
  """
  made = Method(
    'gradient',
    'given',
    alpha,
    beta,
    accept,
    validate,
    replay,
    pool_size,
    temperature,
    aggregation,
  )
  return _checked(made)


def random_edits(
  *,
  accept: str = 'non_worse',
  validate: bool = True,
  replay: int = 8,
  pool_size: int = 8,
  aggregation: str | None = None,
  remember: bool = False,
) -> Method:
  """Edits at random, validated: hill climbing.

  Args:
    accept: a part of `ACCEPTANCES`.
    validate: whether candidates are tried on validation samples.
    replay: samples that an accepted edit must not break, at most.
    pool_size: P, blocks that are kept.
    aggregation: of the team at the start; None as it is given.
    remember: whether what was refused is not tried again.

  Returns:
    The method.
  """
  made = Method(
    'random',
    accept=accept,
    validate=validate,
    replay=replay,
    pool_size=pool_size,
    aggregation=aggregation,
    remember=remember,
  )
  return _checked(made)


def fixed(*, aggregation: str | None = None) -> Method:
  """The team as it is given.

  Args:
    aggregation: of the team; None as it is given.

  Returns:
    The method.
  """
  return Method(aggregation=aggregation)


def single() -> Method:
  """The one agent that is best on the samples that others learn from."""
  return Method(team='single')


def majority() -> Method:
  """A majority of all; with models of language, of answers of the same one."""
  return Method(team='majority')


def _checked(made: Method) -> Method:
  for name in ('alpha', 'beta'):
    checks.number(getattr(made, name), name=name, low=0.0, high=1.0)
  _control.ACCEPTANCES.check(made.accept)
  checks.integer(made.replay, name='replay', low=0)
  checks.integer(made.pool_size, name='pool_size', low=1)
  checks.number(made.temperature, name='temperature', low=0.0)
  return made


# How a team is found, for specs such as 'ann(alpha=1.0)'.
METHODS = registry.Registry(
  'method',
  {
    'ann': ann,
    'random_edits': random_edits,
    'fixed': fixed,
    'single': single,
    'majority': majority,
  },
  tried={},
)


@functools.lru_cache(maxsize=64)
def method(spec: str) -> Method:
  """Reads how a team is found.

  Args:
    spec: a part of `METHODS`.

  Returns:
    The method.

  Raises:
    ValueError: if a name, an option or a number is wrong.

  Example:
    >>> method('ann(alpha=1.0)').alpha
    1.0
  """
  return METHODS.make(spec)
