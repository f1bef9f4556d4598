# SPDX-License-Identifier: Apache-2.0
"""Methods that send predictions, by name."""

from collections.abc import Sequence
from typing import Any

import chex

from jaxdl import local
from jaxdl.core import checks, registry, types
from jaxdl.federated import server
from jaxdl.federated.distilled import _methods

DISTILLED = registry.Registry(
  'algorithm',
  {'fedmd': _methods.fedmd, 'feddf': _methods.feddf},
  given=('task', 'work', 'public'),
)


def is_distilled(spec: str) -> bool:
  """Whether a variant sends predictions.

  Args:
    spec: 'fedmd(temperature=2)@channel(...)', or any other variant.

  Returns:
    Whether its algorithm is a part of `DISTILLED`.

  Example:
    >>> is_distilled('fedmd@channel(aggregator=median)'), is_distilled('fedavg')
    (True, False)
  """
  first, _ = registry.pair(spec, name='algorithm')
  return registry.parse(first, name='algorithm').name in DISTILLED


def num_public(specs: Sequence[str]) -> int:
  """How many public inputs variants need.

  Args:
    specs: variants of any kind.

  Returns:
    The most that one of them uses; 0 if none uses any.

  Raises:
    TypeError: if they are one text.

  Example:
    >>> num_public(['fedavg', 'fedmd(num_public=50)', 'feddf'])
    200
  """
  if isinstance(specs, str):
    raise TypeError(
      f'specs must be a sequence of variants; got {checks.described(specs)}: '
      f'write ({specs!r},).'
    )
  found = [
    DISTILLED.value(registry.pair(spec, name='algorithm')[0], 'num_public')
    for spec in specs
    if is_distilled(spec)
  ]
  return max(found, default=0)


def make_variant(
  spec: str,
  task: types.Task,
  work: local.LocalWork,
  public: chex.Array | None = None,
  *,
  num_rounds: int | None = None,
  **channel: Any,
) -> tuple[server.Method, server.Channel]:
  """Makes a method and its channel from text.

  Args:
    spec: as for `server.make_variant`, of `DISTILLED` or `server.METHODS`.
    task: parameters, loss and logits.
    work: what a client does.
    public: unlabeled inputs [P, ...], for those that send predictions.
    num_rounds: see `server.make_method`.
    **channel: attributes of `Channel` where the spec says nothing else.

  Returns:
    The method and the channel, for `federate`.

  Raises:
    ValueError: if a name or an option is unknown or out of range.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxdl import networks
    >>> task = networks.classification(
    ...   networks.logistic_regression(2), jnp.ones((1, 3)), num_classes=2
    ... )
    >>> method, channel = make_variant(
    ...   'fedmd(num_public=4)@channel(aggregator=median)',
    ...   task,
    ...   local.LocalWork(),
    ...   jnp.ones((4, 3)),
    ... )
    >>> method.name, channel.aggregator
    ('fedmd', 'median')
  """
  if not is_distilled(spec):
    return server.make_variant(
      spec, task, work, num_rounds=num_rounds, **channel
    )
  first, second = registry.pair(spec, name='algorithm')
  method = DISTILLED.make(first, task, work, public)
  part = server.CHANNELS.part('channel' if second is None else second)
  return method, server.Channel(**(channel | part.options))
