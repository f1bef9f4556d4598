# SPDX-License-Identifier: Apache-2.0
"""Networks and first states by name, and what theory says of the former."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, registry
from jaxdl.theory.associative import (
  _checks,
  _memory,
  _patterns,
  _states,
  _theory,
)

# Above so many combinations examples are taken for normal.
_FEW_ATOMS = 2**15


class Setting(NamedTuple):
  """The numbers of an experiment.

  Attributes:
    num_patterns: K.
    dilution: d.
    temperature: T.
    quality: r of examples.
    num_examples: M of each pattern.
  """

  num_patterns: int
  dilution: float
  temperature: float
  quality: float = 1.0
  num_examples: int = 1

  def check(self) -> None:
    """Raises ValueError if a number is out of range."""
    checks.integer(self.num_patterns, name='num_patterns', low=1)
    _checks.dilution(self.dilution)
    _checks.temperature(self.temperature)
    _checks.quality(self.quality)
    _checks.num_examples(self.num_examples)


def storing(
  key: chex.PRNGKey, patterns: chex.Array, dilution: chex.Numeric
) -> _memory.Memory:
  """The network that knows the patterns; see `storing_memory`."""
  del key
  return _memory.storing_memory(patterns, dilution=dilution)


def supervised(
  key: chex.PRNGKey,
  patterns: chex.Array,
  dilution: chex.Numeric,
  quality: float,
  num_examples: int,
) -> _memory.Memory:
  """Learns from new examples with a teacher; see `supervised_memory`."""
  sums = _patterns.sample_example_sums(key, patterns, num_examples, quality)
  return _memory.supervised_memory(
    sums, dilution=dilution, quality=quality, num_examples=num_examples
  )


def unsupervised(
  key: chex.PRNGKey,
  patterns: chex.Array,
  dilution: chex.Numeric,
  quality: float,
  num_examples: int,
) -> _memory.Memory:
  """Learns from new examples without one; see `unsupervised_memory`."""
  examples = _patterns.sample_examples(key, patterns, num_examples, quality)
  return _memory.unsupervised_memory(
    examples, dilution=dilution, quality=quality
  )


def diluted_bonds(
  key: chex.PRNGKey,
  patterns: chex.Array,
  dilution: chex.Numeric,
  keep: float = 0.5,
) -> _memory.Couplings:
  """Stores patterns in few couplings; see `dilute_couplings`."""
  whole = _memory.hebbian_couplings(
    _memory.storing_memory(patterns, dilution=dilution)
  )
  return _memory.dilute_couplings(key, whole, keep)


PROTOCOLS = registry.Registry(
  'protocol',
  {
    'storing': storing,
    'supervised': supervised,
    'unsupervised': unsupervised,
    'diluted_bonds': diluted_bonds,
  },
  given=('key', 'patterns', 'dilution'),
  told=('quality', 'num_examples'),
)


def make_network(
  protocol: str,
  key: chex.PRNGKey,
  patterns: chex.Array,
  dilution: chex.Numeric,
  *,
  quality: chex.Numeric = 1.0,
  num_examples: int = 1,
) -> _memory.Network:
  """Makes a network of a name.

  Args:
    protocol: a part of `PROTOCOLS`; options that it sets go first.
    key: of examples or couplings that are cut; consumed.
    patterns: i8[K, N].
    dilution: d of their law, may be traced.
    quality: r of examples, may be traced.
    num_examples: M.

  Returns:
    The network.

  Raises:
    ValueError: if the protocol is unknown, or a number is out of range.

  Example:
    >>> xi = sample_patterns(jax.random.key(0), 2, 50, 0.3)
    >>> network = make_network(
    ...   'unsupervised(0.5, num_examples=4)', jax.random.key(1), xi, 0.3
    ... )
    >>> network.vectors.shape
    (8, 50)
  """
  return PROTOCOLS.make(
    protocol,
    key,
    patterns,
    dilution,
    quality=quality,
    num_examples=num_examples,
  )


def setting_of(protocol: str, setting: Setting) -> Setting:
  """The numbers with those that a protocol sets itself.

  Args:
    protocol: a part of `PROTOCOLS`.
    setting: the numbers of the experiment.

  Returns:
    The numbers that hold; perfect examples where there are none.

  Raises:
    ValueError: if one is out of range, or the protocol is unknown.

  Example:
    >>> base = Setting(2, 0.5, 0.1, quality=0.4, num_examples=10)
    >>> setting_of('supervised(num_examples=3)', base)[-2:]
    (0.4, 3)
    >>> setting_of('storing', base)[-2:]
    (1.0, 1)
  """
  part = PROTOCOLS.part(protocol)
  known = PROTOCOLS.options(part.name)
  out = setting._replace(quality=1.0, num_examples=1)
  for name in ('quality', 'num_examples'):
    if name in known:
      value = part.options.get(name, getattr(setting, name))
      out = out._replace(**{name: value})
  out.check()
  return out


def theory(protocol: str, setting: Setting) -> np.ndarray | None:
  """Overlaps of infinitely many neurons, in float64 on the host.

  Args:
    protocol: a part of `PROTOCOLS`.
    setting: the numbers of the experiment.

  Returns:
    float64[K] in descending order, that of least free energy; temperatures
    below 0.01 are taken for 0.01. None where nothing is known: couplings that
    were cut, or more than eight patterns.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> theory('storing', Setting(2, 0.5, 0.4)).round(4).tolist()
    [0.4794, 0.2128]
  """
  own = setting_of(protocol, setting)
  name = PROTOCOLS.part(protocol).name
  if name == 'diluted_bonds' or own.num_patterns > _theory.MOST_PATTERNS:
    return None
  noise = 'none'
  if own.quality < 1.0:
    few = (own.num_examples + 2) ** own.num_patterns <= _FEW_ATOMS
    noise = 'binomial' if few else 'gaussian'
  with jax.enable_x64(True):
    solve = _solver(own.num_patterns, noise, own.num_examples)
    hot = max(own.temperature, 0.01)
    return np.asarray(solve(own.dilution, hot, own.quality))


_SOLVERS = {}


def _solver(num_patterns, noise, num_examples):
  """One program for all dilutions, temperatures and qualities."""
  # Of a normal law, examples count through rho, and that is traced.
  label = (num_patterns, noise, num_examples if noise != 'none' else 1)
  if label not in _SOLVERS:
    _SOLVERS[label] = jax.jit(
      lambda d, t, r: (
        _theory.self_consistency(
          *(num_patterns, d, t),
          noise=noise,
          quality=r,
          num_examples=None if noise == 'none' else num_examples,
        ).overlaps
      )
    )
  return _SOLVERS[label]


def hierarchical(key: chex.PRNGKey, patterns: chex.Array) -> chex.Array:
  """See `hierarchical_state`."""
  return _states.hierarchical_state(key, patterns)


def pure(key: chex.PRNGKey, patterns: chex.Array, index: int = 0) -> chex.Array:
  """See `pure_state`."""
  return _states.pure_state(key, patterns, index)


def mixture(key: chex.PRNGKey, patterns: chex.Array) -> chex.Array:
  """See `mixture_state`."""
  return _states.mixture_state(key, patterns)


def random(key: chex.PRNGKey, patterns: chex.Array) -> chex.Array:
  """See `random_state`."""
  return _states.random_state(key, jnp.shape(patterns)[1])


def noisy(
  key: chex.PRNGKey,
  patterns: chex.Array,
  flip: float = 0.2,
  start: str = 'hierarchical',
) -> chex.Array:
  """Another start of which a share was turned; see `noisy_state`."""
  first, turned = jax.random.split(key)
  state = STARTS.make(start, first, patterns)
  return _states.noisy_state(turned, state, flip)


STARTS = registry.Registry(
  'start',
  {
    'hierarchical': hierarchical,
    'pure': pure,
    'mixture': mixture,
    'random': random,
    'noisy': noisy,
  },
  given=('key', 'patterns'),
)
