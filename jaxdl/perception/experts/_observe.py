# SPDX-License-Identifier: Apache-2.0
"""Where tokens went, in any function that runs a network with experts."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import chex

from jaxdl.perception.experts import _route

_SEEN: contextvars.ContextVar['Seen | None'] = contextvars.ContextVar(
  'seen', default=None
)


class Seen:
  """Where tokens went in one run."""

  def __init__(self, mask: chex.Array | None):
    """Has seen nothing yet; padding is what a mask says."""
    self.mask = mask
    self.routed: dict[str, _route.Routed] = {}

  def add(self, name: str, routed: _route.Routed) -> None:
    """Keeps where the tokens of a layer went."""
    label, number = name, 1
    while label in self.routed:
      label, number = f'{name}:{number}', number + 1
    self.routed[label] = routed


@contextlib.contextmanager
def watching(mask: chex.Array | None) -> Iterator[Seen]:
  """Looks at everything that is run inside of it.

  Args:
    mask: see `observe`.

  Yields:
    What is seen, which fills up.
  """
  seen = Seen(mask)
  token = _SEEN.set(seen)
  try:
    yield seen
  finally:
    _SEEN.reset(token)


def observe(
  fn: Callable[..., Any],
  *args: Any,
  mask: chex.Array | None = None,
  **options: Any,
) -> tuple[Any, dict[str, _route.Routed]]:
  """Runs a function and returns where tokens went in it as well.

  The one way to see inside: of the `apply` of a converted network, of a task's
  `loss` or `evaluate`, or of anything that calls them. It may be compiled,
  differentiated or mapped as a whole; what it calls must not be so by itself.

  Args:
    fn: any function.
    *args: of it.
    mask: bool[B, ...], false for examples (or tokens) that are padding and
      count in no statistic; outputs do not depend on it.
    **options: of it.

  Returns:
    What the function returns, and `Routed` by layer; of a network that is
    applied twice 'layer' and 'layer:1'.

  Example:
    >>> from jaxdl import networks
    >>> from jaxdl.perception.experts import with_experts
    >>> dense, x = networks.mlp(4, 2), jnp.ones((3, 5))
    >>> network = with_experts(dense, 'moe(4, top_k=2)')
    >>> params = network.init(jax.random.key(0), x)
    >>> y, routed = observe(network.apply, params, x)
    >>> y.shape, routed['0'].idx.shape
    ((3, 2), (3, 2))
  """
  outer = _SEEN.get()
  if mask is None and outer is not None:
    mask = outer.mask
  with watching(mask) as seen:
    result = fn(*args, **options)
  if outer is not None:  # Who looks from further out sees it, too.
    for name, routed in seen.routed.items():
      outer.add(name, routed)
  return result, seen.routed


def current() -> Seen | None:
  """Returns what is seen in the run that is being looked at, if any."""
  return _SEEN.get()
