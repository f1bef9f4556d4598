# SPDX-License-Identifier: Apache-2.0
"""Mechanisms that hide one client among all, by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys, registry, trees, view
from jaxdl.privacy import _noise

_UNIFORM = 'uniform'


class MechanismState(NamedTuple):
  """What a mechanism remembers between rounds.

  Attributes:
    clip: f32[], S of this round.
  """

  clip: chex.Array


class Mechanism(NamedTuple):
  """How updates of clients become a private mean.

  Attributes:
    init: `init() -> MechanismState`.
    client: `client(update, state, *, key=None) -> (sent, aux)` of one client,
      unbatched: `sent` is the update, clipped over the whole tree (zero if an
      entry is not finite), same shapes and dtypes; `aux` is f32[], 1 if an
      adaptive mechanism found it inside of the ball, else 0. Local mechanisms
      add their noise here and consume the key, `fold_in(key, client_id)`;
      central ones need none.
    release: `release(total, aux_total, state, *, key) -> (update, state)` or
      None. From the plain sums of `sent` and `aux` over the real clients of a
      round to the private mean of their updates, (total + noise) / m, m fixed
      whoever came; an empty round is noise alone. Same shapes and dtypes as
      `total`. Consumes the key, of which it needs a new one each round. None
      for local mechanisms, after which any rule may follow.
    name: which of `MECHANISMS` it is.
    num_expected: m, clients that a round has on average, qN.
    noise_multiplier: z, what the accountant needs.
    clip: S, of the first round.
    is_central: whether the server adds the noise.
  """

  init: Callable[[], MechanismState]
  client: Callable[..., tuple[chex.ArrayTree, chex.Array]]
  release: Callable[..., tuple[chex.ArrayTree, MechanismState]] | None
  name: str
  num_expected: float
  noise_multiplier: float
  clip: float
  is_central: bool


def _central(
  *, clip: float = 1.0, noise_multiplier: float = 1.0, num_expected: float
) -> Mechanism:
  """Clips updates, sums them, adds noise z S and divides by m."""
  m = _expected(num_expected)
  _noise.check_clip(clip)
  _noise.check_noise(noise_multiplier)

  def release(total, aux_total, state, *, key=None):
    del aux_total
    stddev = noise_multiplier * state.clip
    return _private_mean(total, stddev, m, noise_multiplier, key), state

  return Mechanism(
    _start(clip), _clipped, release, 'central', m, float(noise_multiplier),
    float(clip), True,
  )  # fmt: skip


def _adaptive(
  *,
  noise_multiplier: float = 1.0,
  quantile: float = 0.5,
  learning_rate: float = 0.2,
  initial_clip: float = 0.1,
  count_noise: float | None = None,
  num_expected: float,
) -> Mechanism:
  """As central, with a norm S that follows a quantile of the updates' norms.

  The count of clients that were in the ball gets noise of its own, m / 20
  unless given, and updates get so much that both cost what z does.
  """
  m = _expected(num_expected)
  _noise.check_clip(initial_clip, name='initial_clip')
  _noise.check_following(quantile, learning_rate)
  sigma = m / 20 if count_noise is None else count_noise
  z = _noise.update_noise_multiplier(noise_multiplier, count_noise=sigma)

  def client(update, state, *, key=None):
    del key
    return _noise.clip_update(update, clip=state.clip)

  def release(total, aux_total, state, *, key=None):
    if z or sigma:
      keys.check_key(key)
      update_key, count_key = jax.random.split(key)
    else:
      update_key = count_key = None
    update = _private_mean(total, z * state.clip, m, z, update_key)
    count = jnp.asarray(aux_total, jnp.float32)
    if sigma:
      count += sigma * jax.random.normal(count_key)
    clip = _noise.next_clip(
      state.clip, count / m, quantile=quantile, learning_rate=learning_rate
    )
    return update, MechanismState(clip)

  return Mechanism(
    _start(initial_clip), client, release, 'adaptive', m,
    float(noise_multiplier), float(initial_clip), True,
  )  # fmt: skip


def _local(
  *, clip: float = 1.0, noise_multiplier: float = 1.0, num_expected: float
) -> Mechanism:
  """Clips an update and adds noise z S to it before anybody sees it."""
  m = _expected(num_expected)
  _noise.check_clip(clip)
  _noise.check_noise(noise_multiplier)

  def client(update, state, *, key=None):
    sent, aux = _clipped(update, state)
    if noise_multiplier:
      stddev = noise_multiplier * state.clip
      sent = _noise.add_noise(sent, stddev=stddev, key=key)
    return sent, aux

  return Mechanism(
    _start(clip), client, None, 'local', m, float(noise_multiplier),
    float(clip), False,
  )  # fmt: skip


MECHANISMS = registry.Registry(
  'mechanism',
  {'central': _central, 'adaptive': _adaptive, 'local': _local},
  given=('num_expected',),
)


def make_mechanism(spec: str | Mechanism, *, num_expected: float) -> Mechanism:
  """Builds a mechanism that makes rounds differentially private.

  What is hidden is whether one client took part (add or remove one), for all
  that it has. Every round draws clients by themselves with probability q
  (Poisson sampling); `epsilon` says what T rounds cost.

  - `central(clip, noise_multiplier)`: (sum of Δ min(1, S / |Δ|) + N(0, (z S)²))
    / m.
  - `adaptive(noise_multiplier, quantile, learning_rate, initial_clip,
    count_noise)`: the same with S ← S exp(-η (b - γ)) after each round, b being
    the share of m in the ball, counted with noise σ_b. Noise on updates is
    z_Δ S, see `update_noise_multiplier`, so that z is what to account for. It
    needs σ_b > z / 2, with the default m > 10 z.
  - `local(clip, noise_multiplier)`: each client adds N(0, (z S)²) itself. Who
    sees its message learns as much as `epsilon` with `rate=1.0` says about
    whether it has data at all; to tell one update from any other, z / 2.

  Shares of clients must be uniform (`check_weighting`), the denominator is m.

  Args:
    spec: a part of `MECHANISMS` with its options (static); a `Mechanism` is
      returned as it is.
    num_expected: m > 0, qN for Poisson sampling, the size of the cohort for
      fixed ones (static).

  Returns:
    The mechanism.

  Raises:
    ValueError: if the name or an option is unknown, a number is out of range,
      or z and σ_b do not fit.
    TypeError: if m is no static number.

  Example:
    >>> dp = make_mechanism(
    ...   'central(clip=1.0, noise_multiplier=0.0)', num_expected=2
    ... )
    >>> state = dp.init()
    >>> rows = jnp.array([[3.0, 4.0], [0.1, 0.2]])
    >>> sent, aux = jax.vmap(lambda x: dp.client(x, state))(rows)
    >>> update, state = dp.release(sent.sum(0), aux.sum(), state, key=None)
    >>> [f'{x:.3f}' for x in update]
    ['0.350', '0.500']

  Source: McMahan et al. 2018 (https://arxiv.org/abs/1710.06963), algorithm 1
  with the estimator of fixed denominator; adaptive: Andrew et al. 2021
  (https://arxiv.org/abs/1905.03871), algorithm 1.
  """
  if isinstance(spec, Mechanism):
    return spec
  return MECHANISMS.make(spec, num_expected=num_expected)


def check_weighting(weighting: Any, *, name: str = 'weighting') -> None:
  """Refuses shares of clients that a central mechanism cannot hide.

  Args:
    weighting: how clients are weighed; text.
    name: of the argument or flag, for the message.

  Raises:
    ValueError: unless it is 'uniform'.

  Example:
    >>> check_weighting('uniform')
  """
  if weighting != _UNIFORM:
    raise ValueError(
      f'{name}={weighting!r} is not private: the noise hides clients whose '
      'shares are equal and whose sum is divided by a fixed number; write '
      f'{name}={_UNIFORM!r}.'
    )


def _start(clip: float) -> Callable[[], MechanismState]:
  return lambda: MechanismState(jnp.asarray(clip, jnp.float32))


def _clipped(update, state, *, key=None):
  del key
  sent, _ = _noise.clip_update(update, clip=state.clip)
  return sent, jnp.zeros((), jnp.float32)


def _private_mean(total, stddev, m, noise_multiplier, key):
  """(total + noise) / m, in float32 at least until the end."""
  total = view.check_floating(total, name='total')
  wide = jax.tree.map(lambda x: x.astype(trees.accumulator(x.dtype)), total)
  if noise_multiplier:
    wide = _noise.add_noise(wide, stddev=stddev, key=key)
  return trees.cast_like(jax.tree.map(lambda x: x / m, wide), total)


def _expected(num_expected: Any) -> float:
  if isinstance(num_expected, jax.core.Tracer):
    raise TypeError(
      'num_expected is static but is being traced: the mean of a private round '
      'has a fixed denominator, not the number of clients that came.'
    )
  checks.number(
    num_expected,
    name='num_expected',
    low=0.0,
    open_low=True,
  )
  return float(num_expected)
