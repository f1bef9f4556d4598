# SPDX-License-Identifier: Apache-2.0
"""Mixers whose matrix is drawn anew in every round.

Round t uses `jax.random.fold_in(key, t)`: pass the same key in every round,
and every device, restart and implementation draws the same matrix.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.mixing import _kernels, _mixers, graphs


def random_matching(
  num_clients: int, *, probability: float = 1.0
) -> _mixers.Mixer:
  """Uniformly random pairs average; with odd N one client sits out.

  Args:
    num_clients: N >= 1.
    probability: chance that a pair is active (R), in [0, 1], static or traced.

  Returns:
    A random mixer, symmetric and doubly stochastic; for even N the expected
    squared distance to the mean shrinks by exactly 1 - R N / (2 (N - 1)).
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.number(probability, name='probability', low=0.0, high=1.0)

  def draw(key):
    order_key, active_key = jax.random.split(key)
    order = jax.random.permutation(order_key, n)
    first, second = order[: n // 2], order[n // 2 : n // 2 * 2]
    ids = jnp.arange(n)
    partner = ids.at[first].set(second).at[second].set(first)
    active = jax.random.bernoulli(
      active_key, jnp.asarray(probability, float), (n // 2,)
    )
    share = jnp.where(active, 0.5, 0.0)
    give = jnp.zeros(n).at[first].set(share).at[second].set(share)
    return jnp.stack([ids, partner], 1), jnp.stack([1 - give, give], 1)

  return _mixers.from_tables(draw, n, structure='random_matching')


def _check_hops(
  num_clients: int, hops: Sequence[int] | None
) -> tuple[int, np.ndarray]:
  n = checks.integer(num_clients, name='num_clients', low=1)
  if hops is None:
    return n, np.arange(1, max(n, 2)) % n
  values = [
    checks.integer(h, name='hops', low=0 if n == 1 else 1, high=max(n - 1, 0))
    for h in hops
  ]
  if not values:
    raise ValueError('hops is empty: need at least one, or None for all.')
  return n, np.asarray(values)


def random_shift(num_clients: int) -> _mixers.Mixer:
  """Everyone averages with the client a common random hop ahead.

  Args:
    num_clients: N >= 1.

  Returns:
    A random mixer, doubly stochastic, not symmetric; the expected squared
    distance to the mean shrinks by (N - 2) / (2 (N - 1)).
  """
  n, all_hops = _check_hops(num_clients, None)

  def draw(key):
    hop = jax.random.choice(key, jnp.asarray(all_hops))
    ids = jnp.arange(n)
    return (
      jnp.stack([ids, (ids + hop) % n], 1),
      jnp.full((n, 2), 0.5),
    )

  return _mixers.from_tables(draw, n, structure='random_shift')


def _equidyn_weights(num_clients, step_size, paired):
  give = float(
    _kernels.representable(step_size * (num_clients - 1) / num_clients)
  )
  give = jnp.where(paired, give, 0.0)
  return jnp.stack([1 - give, give], 1)


def directed_equidyn(
  num_clients: int,
  *,
  step_size: float = 0.5,
  hops: Sequence[int] | None = None,
) -> _mixers.Mixer:
  """OD-EquiDyn: one random hop per round, a rate that does not depend on N.

  W = (1 - η) I + η [(N - 1)/N · P + I/N], P the shift by the hop.

  Args:
    num_clients: N >= 1.
    step_size: η in (0, 1].
    hops: hops to draw from, each in 1..N-1; None for all.

  Returns:
    A random mixer, doubly stochastic. With all hops the expected squared
    distance shrinks by 1 - 2/N at η = 1 and by (1 - 1/N) / 2 at η = 1/2.

  Source: Song et al. 2022 (https://arxiv.org/abs/2210.07881), algorithm 3.
  """
  n, choices = _check_hops(num_clients, hops)
  checks.number(step_size, name='step_size', low=0, high=1, open_low=True)

  def draw(key):
    hop = jax.random.choice(key, jnp.asarray(choices))
    ids = jnp.arange(n)
    weights = _equidyn_weights(n, step_size, jnp.ones(n, bool))
    return jnp.stack([ids, (ids + hop) % n], 1), weights

  return _mixers.from_tables(draw, n, structure='directed_equidyn')


def undirected_equidyn(
  num_clients: int,
  *,
  step_size: float = 0.5,
  hops: Sequence[int] | None = None,
) -> _mixers.Mixer:
  """OU-EquiDyn: a random matching of clients one random hop apart.

  From a random start, going round once, i is paired with i + hop if both are
  still free; the rest stay put.

  Args:
    num_clients: N >= 1.
    step_size: η in (0, 1].
    hops: hops to draw from, each in 1..N-1; None for all.

  Returns:
    A random mixer, symmetric and doubly stochastic. Unmatched clients keep
    their value: their row is that of the identity.

  Source: Song et al. 2022 (https://arxiv.org/abs/2210.07881), algorithm 4.
  """
  n, choices = _check_hops(num_clients, hops)
  checks.number(step_size, name='step_size', low=0, high=1, open_low=True)

  def draw(key):
    hop_key, start_key = jax.random.split(key)
    hop = jax.random.choice(hop_key, jnp.asarray(choices))
    start = jax.random.randint(start_key, (), 0, n)
    ids = jnp.arange(n)

    def visit(t, partner):
      i = (start + t) % n
      j = (i + hop) % n
      free = (partner[i] == i) & (partner[j] == j)
      paired = partner.at[i].set(j).at[j].set(i)
      return jnp.where(free, paired, partner)

    partner = jax.lax.fori_loop(0, n, visit, ids)
    weights = _equidyn_weights(n, step_size, partner != ids)
    return jnp.stack([ids, partner], 1), weights

  return _mixers.from_tables(draw, n, structure='undirected_equidyn')


def epidemic_oracle(
  num_clients: int, degree: int, rng: np.random.Generator
) -> _mixers.Mixer:
  """A random regular graph per round, uniform weights 1 / (degree + 1).

  One regular graph is drawn on the host; every round relabels its clients
  with a fresh uniform permutation. That keeps E[W] and E[WᵀW], and so the
  expected rate, equal to those of uniformly drawn regular graphs.

  Args:
    num_clients: N.
    degree: messages that everyone sends and receives per round (s).
    rng: consumed on the host for the graph.

  Returns:
    A random mixer, symmetric and doubly stochastic; the expected squared
    distance shrinks by (N / (s + 1) - 1) / (N - 1).

  Raises:
    ValueError: if no graph of this degree exists.

  Source: de Vos et al. 2023 (https://arxiv.org/abs/2310.01972), EL-Oracle.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  if degree == 1 and n % 2 == 0:  # Pairs: regular, but never connected.
    return random_matching(n)
  graph = graphs.random_regular(n, degree, rng)
  neighbors = np.nonzero(graph)[1].reshape(n, degree)
  table = np.concatenate([np.arange(n)[:, None], neighbors], axis=1)
  share = float(_kernels.representable(1.0 / (degree + 1)))
  weights = np.full((n, degree + 1), share)
  weights[:, 0] = 1.0 - degree * share

  def draw(key):
    label = jax.random.permutation(key, n)
    indices = jnp.zeros_like(jnp.asarray(table))
    indices = indices.at[label].set(label[jnp.asarray(table)])
    return indices, jnp.asarray(weights, jnp.float32)

  return _mixers.from_tables(draw, n, structure='epidemic_oracle')


def epidemic_local(num_clients: int, num_sent: int) -> _mixers.Mixer:
  """Everyone sends to random others and averages what happens to arrive.

  Args:
    num_clients: N >= 1.
    num_sent: receivers that each client picks, 0..N-1 (s).

  Returns:
    A random mixer, row-stochastic only: row i has weight 1 / (1 + received)
    on i and on each sender, and nothing may arrive.

  Raises:
    ValueError: if `num_sent` is out of range.

  Source: de Vos et al. 2023 (https://arxiv.org/abs/2310.01972), EL-Local.
  """
  n = checks.integer(num_clients, name='num_clients', low=1)
  s = checks.integer(num_sent, name='num_sent', low=0, high=n - 1)

  def draw(key):
    eye = jnp.eye(n)
    # Row j ranks the possible receivers of sender j; itself comes last.
    scores = jax.random.uniform(key, (n, n)) - 2.0 * eye
    _, receivers = jax.lax.top_k(scores, s)
    senders = jnp.broadcast_to(jnp.arange(n)[:, None], receivers.shape)
    w = eye.at[receivers, senders].set(1.0)
    return w / jnp.sum(w, axis=1, keepdims=True)

  def matrix(round, *, key=None):
    if key is None:
      raise ValueError(
        'the epidemic_local mixer is random: pass key=, the same in all rounds.'
      )
    return draw(jax.random.fold_in(key, round))

  return _mixers.from_function(matrix, structure='epidemic_local')


def unreliable(mixer: _mixers.Mixer, *, offline: chex.Numeric) -> _mixers.Mixer:
  """Clients miss rounds at random; what they would give falls to the self.

  Args:
    mixer: row- or doubly stochastic. Symmetric matrices stay symmetric, and
      then the mean is kept.
    offline: chance that a client is offline in a round, in [0, 1], static or
      traced. An offline client keeps its value.

  Returns:
    A random mixer that contracts densely, whatever the structure of the
    original.

  Raises:
    ValueError: if the mixer is meant for push-sum, or `offline` is out of
      range.
  """
  checks.number(offline, name='offline', low=0.0, high=1.0)
  if mixer.stochastic not in ('row', 'double'):
    raise ValueError(
      f'unreliable needs rows that sum to one; got {mixer.stochastic!r}.'
    )

  symmetric = mixer.period is not None and all(
    np.allclose(w, w.T, atol=1e-6)
    for w in (np.asarray(mixer.matrix(t)) for t in range(mixer.period))
  )

  def matrix(round, *, key=None):
    if key is None:
      raise ValueError('the unreliable mixer is random: pass key=.')
    inner_key, online_key = jax.random.split(key)
    w = mixer.matrix(round, key=inner_key)
    n = w.shape[0]
    online = ~jax.random.bernoulli(
      jax.random.fold_in(online_key, round), jnp.asarray(offline, float), (n,)
    )
    off_diagonal = ~jnp.eye(n, dtype=bool)
    kept = jnp.where(online[:, None] & online[None, :] & off_diagonal, w, 0.0)
    return kept + jnp.diag(1.0 - jnp.sum(kept, axis=1))

  return _mixers.from_function(
    matrix,
    structure=f'unreliable {mixer.structure}',
    stochastic='double' if symmetric else 'row',
  )
