# SPDX-License-Identifier: Apache-2.0
"""Neurons that follow their fields, a block at a time.

A sweep visits G blocks of W = N / G neurons in random order; block g are the
neurons from g W to (g + 1) W. Neurons of a block see the same overlaps and turn
at once, so G = N is one neuron at a time and G = 1 is all together, which may
go round in circles of two. Where patterns are drawn at random, any N / 100
neighbors are as good as any others.

All but the coin of a neuron is integers: overlaps are exact, ties are ties, and
a run is the same to the bit on any number of devices. Fields are exact while
P largest² N < 2^31. A neuron turns by the field times itself, so that flipping
neurons together with their entries of all patterns flips what they do, with the
same key.

Work is O(P N) for a sweep; beside vectors and state it needs 4 bytes for a
neuron. With a mesh the neurons of every block are spread over its devices, and
the only communication is one sum of P overlaps after every block.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, clients, keys
from jaxdl.theory.associative import _checks, _memory, _patterns


class Settled(NamedTuple):
  """What `zero_temperature` ends with.

  Attributes:
    state: i8[N] of -1 and 1.
    num_sweeps: i32[], how many were done, the last one without a change.
    converged: bool[], whether no neuron turned in the last.
  """

  state: chex.Array
  num_sweeps: chex.Array
  converged: chex.Array


def glauber(
  key: chex.PRNGKey,
  state: chex.Array,
  network: _memory.Network,
  temperature: chex.Numeric,
  *,
  num_sweeps: int,
  num_blocks: int = 100,
  measure: Callable[[chex.Array], Any] | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[chex.Array, Any]:
  """Runs Glauber dynamics: a neuron is 1 with chance 1 / (1 + exp(-2 h / T)).

  Args:
    key: consumed.
    state: [N] of -1 and 1.
    network: a `Memory`, or `Couplings` without a diagonal.
    temperature: T >= 0, may be traced. At zero neurons follow their field and
      stay where it vanishes.
    num_sweeps: updates of every neuron, static.
    num_blocks: G, a divisor of N, static.
    measure: `measure(state) -> tree` after every sweep; a sweep then costs
      that much more.
    mesh: devices for the neurons of a block, from `core.clients.clients_mesh`;
      not for couplings.

  Returns:
    The state, i8[N], and what was measured, leaves [num_sweeps, ...].

  Raises:
    ValueError: if numbers are out of range, or shapes or entries do not fit.

  Cost: O(P N) for a sweep, O(N²) for couplings.

  Example:
    >>> keys = jax.random.split(jax.random.key(0))
    >>> xi = jnp.ones((1, 1000), jnp.int8)
    >>> state, m = glauber(
    ...   keys[0], xi[0], storing_memory(xi, dilution=0.0), 0.5, num_sweeps=20,
    ...   num_blocks=100, measure=lambda s: overlaps(xi, s)[0],
    ... )
    >>> bool(jnp.abs(jnp.mean(m[10:]) - 0.9575) < 0.02)  # m = tanh(m / T)
    True

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), Glauber.
  """
  keys.check_key(key)
  _checks.temperature(temperature)
  checks.integer(num_sweeps, name='num_sweeps', low=0)
  if measure is not None and not callable(measure):
    raise TypeError(
      f'measure must be a function of the state; got '
      f'{checks.described(measure)}.'
    )
  machine = _Machine(network, state, num_blocks, mesh)

  def sweep(carry, key):
    order, coins = jax.random.split(key)
    bits = keys.bits(coins, machine.shape)
    order = jax.random.permutation(order, machine.shape[0])
    carry = machine.sweep(carry, order, bits, temperature)
    seen = None if measure is None else measure(machine.state(carry))
    return carry, seen

  carry, seen = jax.lax.scan(
    sweep, machine.start(state), jax.random.split(key, num_sweeps)
  )
  return machine.state(carry), seen


def glauber_sweep(
  key: chex.PRNGKey,
  state: chex.Array,
  network: _memory.Network,
  temperature: chex.Numeric,
  *,
  num_blocks: int = 100,
  mesh: jax.sharding.Mesh | None = None,
) -> chex.Array:
  """Updates every neuron once; `glauber` with one sweep.

  Args:
    key: consumed.
    state: [N] of -1 and 1.
    network: a `Memory`, or `Couplings` without a diagonal.
    temperature: T >= 0, may be traced.
    num_blocks: G, a divisor of N, static.
    mesh: as in `glauber`.

  Returns:
    i8[N].

  Raises:
    ValueError: as `glauber`.

  Example:
    >>> xi = jnp.ones((1, 100), jnp.int8)
    >>> memory = storing_memory(xi, dilution=0.0)
    >>> state = jnp.ones(100, jnp.int8).at[:20].set(-1)
    >>> int(glauber_sweep(jax.random.key(0), state, memory, 0.01).sum())
    100

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), Glauber.
  """
  return glauber(
    key,
    state,
    network,
    temperature,
    num_sweeps=1,
    num_blocks=num_blocks,
    mesh=mesh,
  )[0]


def zero_temperature(
  state: chex.Array,
  network: _memory.Network,
  *,
  num_blocks: int = 100,
  max_sweeps: int = 100,
  key: chex.PRNGKey | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> Settled:
  """Lets neurons follow their fields until none turns.

  A neuron stays where its field vanishes: with blank entries that is often.

  Args:
    state: [N] of -1 and 1.
    network: a `Memory`, or `Couplings` without a diagonal.
    num_blocks: G, a divisor of N, static.
    max_sweeps: sweeps at most, static.
    key: of the order of the blocks, consumed; None goes through them in turn.
    mesh: as in `glauber`.

  Returns:
    The state that it ended in. Blocks of several neurons may never settle;
    G = N always does.

  Raises:
    ValueError: if numbers are out of range, or shapes or entries do not fit.

  Cost: O(P N) for a sweep, O(N²) for couplings.

  Example:
    >>> xi = jnp.ones((1, 100), jnp.int8)
    >>> memory = storing_memory(xi, dilution=0.0)
    >>> state = jnp.ones(100, jnp.int8).at[:20].set(-1)
    >>> settled = zero_temperature(state, memory)
    >>> int(settled.state.sum()), int(settled.num_sweeps)
    (100, 2)

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), T = 0.
  """
  checks.integer(max_sweeps, name='max_sweeps', low=1)
  if key is not None:
    keys.check_key(key)
  machine = _Machine(network, state, num_blocks, mesh)
  count = machine.shape[0]

  def open_(loop):
    _, done, changed = loop
    return changed & (done < max_sweeps)

  def body(loop):
    carry, done, _ = loop
    order = jnp.arange(count)
    if key is not None:
      order = jax.random.permutation(jax.random.fold_in(key, done), count)
    after = machine.sweep(carry, order, None, None)
    return after, done + 1, jnp.any(after[0] != carry[0])

  start = machine.start(state)
  carry, done, changed = jax.lax.while_loop(
    open_, body, (start, jnp.int32(0), jnp.bool_(True))
  )
  return Settled(machine.state(carry), done, ~changed)


class _Machine:
  """A network whose neurons lie in blocks, [G, W]."""

  def __init__(self, network, state, num_blocks, mesh):
    _memory.check_network(network)
    coupled = isinstance(network, _memory.Couplings)
    vectors = network.matrix if coupled else network.vectors
    n = vectors.shape[1]
    _checks.state(state, n)
    if coupled and mesh is not None:
      raise ValueError('mesh is for a Memory; couplings stay on one device.')
    devices = 1
    if mesh is not None:
      clients.Clients(n, mesh)  # Checks it.
      devices = mesh.shape[clients.AXIS]
    g = _checks.blocks(n, num_blocks, devices)
    self.network, self.mesh, self.coupled = network, mesh, coupled
    self.num_neurons, self.shape = n, (g, n // g)
    rows = vectors.shape[0]
    self.vectors = vectors.reshape(
      (g, n // g, n) if coupled else (rows, g, n // g)
    )

  def start(self, state):
    """State and sums, as a sweep carries them; couplings need no sums."""
    state = jnp.asarray(state).astype(jnp.int8)
    return state.reshape(self.shape), self._sums(state)

  def _sums(self, state):
    if self.coupled:
      return jnp.zeros(())
    return _patterns.overlap_sums(self.network.vectors, state)

  def state(self, carry):
    """The state alone, i8[N]."""
    return carry[0].reshape(self.num_neurons)

  def sweep(self, carry, order, bits, temperature):
    """Visits all blocks; without bits, at temperature zero."""
    state, sums = carry
    if not self.coupled and not self.network.largest:
      sums = self._sums(self.state(carry))  # Rounding does not pile up.
    gain = jnp.float32(1.0) if self.coupled else self.network.gain
    scale = None
    if bits is not None:
      kind = jnp.result_type(gain)
      hot = jnp.asarray(temperature, kind)
      size = 1 if self.coupled else self.num_neurons
      # Of zero, only the sign of a field counts.
      safe = jnp.where(hot > 0, hot, 1.0)
      scale = jnp.where(hot > 0, 2.0 * gain / (size * safe), jnp.inf)
    if self.mesh is None:
      return self._visit(self.vectors, state, sums, order, bits, scale)
    split = jax.P(None, clients.AXIS)
    whole = jax.P()
    return jax.shard_map(
      functools.partial(self._visit, axis=clients.AXIS),
      mesh=self.mesh,
      in_specs=(
        *(jax.P(None, None, clients.AXIS), split, whole, whole),
        *(split if bits is not None else whole, whole),
      ),
      out_specs=(split, whole),
      check_vma=False,
    )(self.vectors, state, sums, order, bits, scale)

  def _visit(self, vectors, state, sums, order, bits, scale, axis=None):
    """All blocks of what this device has of them."""
    limits = None if bits is None else _limits(bits, scale.dtype)
    own_limits = lambda g: None if limits is None else limits[g]
    if self.coupled:

      def couple(state, g):
        return state.at[g].set(
          self._coupled(vectors[g], state[g], state, own_limits(g), scale)
        ), None

      return jax.lax.scan(couple, state, order)[0], sums

    def block(sums, place):
      g, s = place
      own = jax.lax.dynamic_index_in_dim(vectors, g, axis=1, keepdims=False)
      s, sums = self._overlapping(own, s, sums, own_limits(g), scale, axis)
      return sums, s

    # A state that is carried along would be copied for every block.
    sums, turned = jax.lax.scan(block, sums, (order, state[order]))
    return jnp.zeros_like(state).at[order].set(turned), sums

  def _coupled(self, own, s, state, limits, scale):
    whole = state.reshape(self.num_neurons).astype(own.dtype)
    f = jnp.matmul(own, whole, precision='highest') * s.astype(own.dtype)
    return jnp.where(_turns(f, limits, scale), -s, s)

  def _overlapping(self, own, s, sums, limits, scale, axis):
    network = self.network
    kind = _memory.field_dtype(network)
    f = _memory.raw_fields(own, sums, s.astype(kind))
    turns = _turns(f, limits, scale)
    if network.largest and _memory.most_exact(network) > _memory.EXACT:
      kind = jnp.dtype(jnp.int32)
    change = jnp.where(turns, -s, jnp.int8(0)).astype(kind)
    change = jnp.matmul(own.astype(kind), change, precision='highest')
    change = 2 * change.astype(sums.dtype)
    if axis is not None:
      change = jax.lax.psum(change, axis)
    return jnp.where(turns, -s, s), sums + change


def _limits(coins, dtype):
  """Below which a field, in units of T / 2, turns a neuron with its coin."""
  # Exact and in (0, 1), never an end: 2^-24 is the rarest that a coin shows.
  u = ((coins >> 9).astype(dtype) + 0.5) * 2.0**-23
  return jnp.log((1.0 - u) / u)


def _turns(f, limits, scale):
  """Whether neurons turn whose fields times themselves are f over scale."""
  if limits is None:
    return f < 0
  cold = jnp.isinf(scale)
  x = f.astype(limits.dtype) * jnp.where(cold, 1.0, scale)
  return jnp.where(cold, f < 0, x < limits)
