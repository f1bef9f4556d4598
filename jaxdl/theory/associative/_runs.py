# SPDX-License-Identifier: Apache-2.0
"""Many networks at once: samples of disorder, dilutions, temperatures."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys as keys_lib, registry
from jaxdl.theory.associative import (
  _dynamics,
  _memory,
  _patterns,
  _protocols,
)

Setting = _protocols.Setting


class Sweep(NamedTuple):
  """Something that is varied.

  Attributes:
    column: a field of `Setting`, and its name in rows.
    values: its values.
    caption: what a picture calls it.
  """

  column: str
  values: tuple[Any, ...]
  caption: str


def _sweep(column, values, caption):
  if not isinstance(values, tuple) or not values:
    raise ValueError(f'sweep={column} needs values: write {column}((1, 2)).')
  if len(set(values)) != len(values):
    raise ValueError(f'sweep={column} needs values that differ; got {values}.')
  return Sweep(column, values, caption)


def dilution(values: tuple[float, ...]) -> Sweep:
  """Share of blank entries."""
  return _sweep('dilution', values, 'Dilution d')


def temperature(values: tuple[float, ...]) -> Sweep:
  """Temperature."""
  return _sweep('temperature', values, 'Temperature T')


def quality(values: tuple[float, ...]) -> Sweep:
  """Quality of examples."""
  return _sweep('quality', values, 'Quality of examples r')


def num_examples(values: tuple[int, ...]) -> Sweep:
  """Examples of each pattern."""
  return _sweep('num_examples', values, 'Examples of each pattern M')


def num_patterns(values: tuple[int, ...]) -> Sweep:
  """Patterns."""
  return _sweep('num_patterns', values, 'Patterns K')


SWEEPS = registry.Registry(
  'sweep',
  {
    'dilution': dilution,
    'temperature': temperature,
    'quality': quality,
    'num_examples': num_examples,
    'num_patterns': num_patterns,
  },
)


def make_settings(base: Setting, sweeps: Sequence[str] = ()) -> list[Setting]:
  """All combinations of what is varied.

  Args:
    base: the numbers that are not.
    sweeps: parts of `SWEEPS`, each of another number.

  Returns:
    Settings, the last sweep fastest; the base alone without any.

  Raises:
    ValueError: if one is unknown, has no values, varies what another does, or a
      value is out of range.

  Example:
    >>> base = Setting(2, 0.5, 0.1)
    >>> found = make_settings(base, ['dilution((0.2, 0.4))'])
    >>> [s.dilution for s in found]
    [0.2, 0.4]
  """
  if isinstance(sweeps, str):
    raise TypeError(f'sweeps must be a sequence of texts; got {sweeps!r}.')
  made = [SWEEPS.make(s) for s in sweeps]
  columns = [s.column for s in made]
  if len(set(columns)) < len(columns):
    raise ValueError(
      f'sweeps vary {", ".join(columns)}: each must vary another number.'
    )
  out = [base]
  for sweep in made:
    out = [
      s._replace(**{sweep.column: value}) for s in out for value in sweep.values
    ]
  for setting in out:
    setting.check()
  return out


def small_sweep(spec: str) -> str:
  """What a sweep becomes in a small run: its first two values."""
  values = SWEEPS.value(spec, 'values')
  if not isinstance(values, tuple):
    return spec
  return SWEEPS.changed(spec, values=values[:2])


def sample_keys(seeds: Sequence[int], samples: int) -> chex.PRNGKey:
  """One key for each sample of each seed.

  Args:
    seeds: S.
    samples: of each.

  Returns:
    keys[S samples], those of a seed in a row; more samples leave the first as
    they are.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> sample_keys((0, 3), 4).shape
    (8,)
  """
  roots = [jax.random.key(s) for s in checks.seeds(seeds)]
  count = checks.integer(samples, name='samples', low=1)
  return jnp.stack(
    [jax.random.fold_in(root, i) for root in roots for i in range(count)]
  )


class Retrieval(NamedTuple):
  """A protocol at several settings on several samples of disorder.

  Attributes:
    init: `init() -> state`, a tree with leaves [S, V, ...] for S keys and V
      settings of equal shapes.
    step: `step(state, round, measured) -> state`, one sweep of every network,
      jittable; `round: i32[]` counts from 1 and seeds it; where `measured`,
      bool[], overlaps enter the mean over time.
    observe: `observe(state) -> list of dicts of arrays`, one dict for a setting
      in their order, leaves [S, ...]: see `observed`.
    settings: those that hold, see `setting_of`.
  """

  init: Callable[[], Any]
  step: Callable[..., Any]
  observe: Callable[[Any], list[dict[str, np.ndarray]]]
  settings: list[Setting]


class _Run(NamedTuple):
  """What moves: neurons i8[N], sum of overlaps f32[K], of how many i32[]."""

  spins: chex.Array
  total: chex.Array
  count: chex.Array


class _Still(NamedTuple):
  """What does not."""

  patterns: chex.Array
  network: Any


def retrieval(
  protocol: str,
  settings: Sequence[Setting],
  keys: chex.PRNGKey,
  *,
  num_neurons: int,
  start: str = 'hierarchical',
  num_blocks: int = 100,
  mesh: jax.sharding.Mesh | None = None,
) -> Retrieval:
  """Glauber dynamics of many networks, compiled together.

  Settings that differ in dilution, temperature or quality alone are one
  program. Samples of the same key share their random numbers over settings and
  protocols, so that differences between these are not those of samples.

  Args:
    protocol: a part of `PROTOCOLS`.
    settings: at least one.
    keys: keys[S], one for each sample of disorder.
    num_neurons: N.
    start: a part of `STARTS`.
    num_blocks: G, a divisor of N.
    mesh: devices for the neurons of a block; not used for couplings.

  Returns:
    Functions of the state.

  Raises:
    ValueError: if a name is unknown or a number out of range.

  Cost: memory S V P N bytes for vectors, in addition 4 S V N in a sweep.

  Example:
    >>> keys = jax.random.split(jax.random.key(0))
    >>> runs = retrieval(
    ...   'storing', [Setting(2, 0.5, 0.2)], keys, num_neurons=2000
    ... )
    >>> state = runs.step(runs.init(), 1, True)
    >>> runs.observe(state)[0]['mean'].shape
    (2, 2)
  """
  if not settings:
    raise ValueError('settings is empty: give at least one.')
  keys_lib.check_key(keys, name='keys')
  if keys.ndim != 1 or not keys.size:
    raise ValueError(
      f'keys must be [S], one for each sample, as sample_keys makes them; got '
      f'shape {keys.shape}.'
    )
  own = [_protocols.setting_of(protocol, s) for s in settings]
  checks.integer(num_neurons, name='num_neurons', low=1)
  groups: dict[tuple[int, int], list[int]] = {}
  for i, s in enumerate(own):
    groups.setdefault((s.num_patterns, s.num_examples), []).append(i)

  def draw(key, s):
    """The patterns, network and start of one sample at one setting."""
    labels = jax.random.split(jax.random.fold_in(key, 0), 3)
    patterns = _patterns.sample_patterns(
      labels[0], s.num_patterns, num_neurons, s.dilution
    )
    network = _protocols.make_network(
      *(protocol, labels[1], patterns, s.dilution),
      quality=s.quality,
      num_examples=s.num_examples,
    )
    spins = _protocols.STARTS.make(start, labels[2], patterns)
    run = _Run(spins, jnp.zeros(s.num_patterns), jnp.int32(0))
    return _Still(patterns, network), run

  def over_all(fn, group, *args):
    """Maps fn(key, setting, *args) over samples and settings, [S, V]."""
    k, m = group
    d, t, r = (
      jnp.array([getattr(own[i], name) for i in groups[group]], jnp.float32)
      for name in ('dilution', 'temperature', 'quality')
    )
    one = lambda key, d, t, r, *a: fn(key, Setting(k, d, t, r, m), *a)
    many = jax.vmap(one, in_axes=(None, 0, 0, 0, *(0 for _ in args)))
    each = jax.vmap(many, in_axes=(0, None, None, None, *(0 for _ in args)))
    return each(keys, d, t, r, *args)

  drawn = {g: jax.jit(lambda g=g: over_all(draw, g))() for g in groups}
  still = {g: s for g, (s, _) in drawn.items()}
  name = lambda group: f'K{group[0]}_M{group[1]}'

  def advance(number, measured, key, s, still, run):
    network = still.network
    spins = _dynamics.glauber_sweep(
      *(jax.random.fold_in(key, number), run.spins, network, s.temperature),
      num_blocks=num_blocks,
      mesh=None if isinstance(network, _memory.Couplings) else mesh,
    )
    m = _patterns.overlaps(still.patterns, spins)
    more = jnp.asarray(measured, jnp.int32)
    return _Run(spins, run.total + more * m, run.count + more)

  def step(state, number, measured):
    move = lambda *args: advance(number, measured, *args)
    return {
      name(g): over_all(move, g, still[g], state[name(g)]) for g in groups
    }

  look = jax.jit(jax.vmap(jax.vmap(_observed)))

  def observe(state):
    out: list[Any] = [None] * len(own)
    for g, places in groups.items():
      seen = jax.device_get(look(still[g], state[name(g)]))
      for v, i in enumerate(places):
        out[i] = {k: x[:, v] for k, x in seen.items()}
    return out

  init = lambda: {name(g): run for g, (_, run) in drawn.items()}
  return Retrieval(init, step, observe, own)


def _observed(still: _Still, run: _Run) -> dict[str, chex.Array]:
  """What is said of a network.

  Overlaps are those with the patterns, without signs: a state and its negative
  are one. `energy` is that of a neuron; `loss` the sum over patterns of the
  products of losses of a state and its negative. `num_retrieved` is the number
  of patterns that share the squares of overlaps; overlaps within three
  deviations of a random state are none.
  """
  now = _patterns.overlaps(still.patterns, run.spins)
  mean = run.total / jnp.maximum(run.count, 1)
  mean = jnp.where(run.count > 0, mean, now)
  n = run.spins.shape[0]
  plus, minus = _patterns.losses(still.patterns, run.spins)
  kept = jnp.mean(still.patterns != 0, axis=1)
  found = jnp.where(jnp.abs(mean) > 3 * jnp.sqrt(kept / n), jnp.abs(mean), 0.0)
  squares = jnp.sum(found**2)
  return {
    'mean': jnp.abs(mean),
    'overlaps': jnp.abs(now),
    'energy': _memory.energy(still.network, run.spins) / n,
    'loss': jnp.sum(plus * minus),
    'num_retrieved': jnp.sum(found) ** 2 / jnp.where(squares > 0, squares, 1.0),
  }
