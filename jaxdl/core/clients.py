# SPDX-License-Identifier: Apache-2.0
"""Running one client's function for every client, on one device or many.

`map_clients` keeps every client's result, `fold_clients` only their weighted
sum. Both take a function of *one* client and give the same numbers in every
mode. `Clients` says once how many clients there are and how they are run, and
is what algorithms take.

The default mode, when neither `chunk` nor `mesh` is given:

- on GPU and TPU: `vmap`, all clients in one program;
- on CPU: one client at a time if the function contains a convolution whose
  weights are the client's own (`vmap` makes it a slow grouped one), or if the
  client's arguments and its largest activation take more than `LOOP_BYTES` (it
  then fills a core's cache by itself); `vmap` otherwise. An activation is an
  intermediate value unlike any argument or result. Networks of `jaxdl.networks`
  train their convolutions as matrix products there and come under the second
  half; both halves were measured against `vmap` and chunks of 1, 2 and 4
  (`experiments/benchmarks/federated_round.py`).

Inside `jax.shard_map` the gradient of a replicated value is summed over the
mesh, so that every client would silently train on its neighbors' gradients;
these two functions are the only place that shards a client function, and they
switch that bookkeeping off.
"""

import dataclasses
import functools
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, exchange, trees, types

LOOP_BYTES = 3 << 19
AXIS = exchange.AXIS
COPIES = 'copies'
REDUCTIONS = ('psum', 'gathered')

InAxes = int | None | Sequence[int | None]


def clients_mesh(
  num_devices: int | None = None, *, num_copies: int = 1
) -> jax.sharding.Mesh:
  """A mesh whose axis, or first axis, is called 'clients'.

  Args:
    num_devices: devices to use, all by default.
    num_copies: devices that run the same clients, a divisor of the devices;
      they form a second axis, 'copies', if there is more than one.

  Returns:
    The mesh; its axes are `Auto`, so plain jit code may contract over them.

  Raises:
    ValueError: if there are fewer devices, or copies do not divide them.
  """
  devices = jax.devices()
  count = len(devices) if num_devices is None else num_devices
  checks.integer(count, name='num_devices', low=1)
  if count > len(devices):
    raise ValueError(
      f'num_devices={count} but only {len(devices)} devices exist.'
    )
  checks.integer(num_copies, name='num_copies', low=1)
  if count % num_copies:
    raise ValueError(
      f'num_copies={num_copies} must divide the {count} devices.'
    )
  shape = (count,) if num_copies == 1 else (count // num_copies, num_copies)
  return jax.make_mesh(
    shape,
    (AXIS, COPIES)[: len(shape)],
    axis_types=(jax.sharding.AxisType.Auto,) * len(shape),
    devices=devices[:count],
  )


def shard_clients(
  stacked: chex.ArrayTree, mesh: jax.sharding.Mesh | None
) -> chex.ArrayTree:
  """Splits the leading axis over the devices of a mesh.

  Args:
    stacked: leaves [N, ...]; N divisible by the number of devices.
    mesh: a mesh with an axis 'clients', or None for no change.

  Returns:
    The same values, one block of clients per device.

  Raises:
    ValueError: if N is not divisible; pad the cohort (`jaxdl.data`).
  """
  _check_mesh(mesh)
  if mesh is None:
    return stacked
  n = checks.num_clients(stacked, name='stacked')
  _check_divisible(n, mesh)
  sharding = jax.NamedSharding(mesh, jax.P(AXIS))
  return (
    jax.lax.with_sharding_constraint(stacked, sharding)
    if _traced(stacked)
    else jax.device_put(stacked, sharding)
  )


def replicate(
  tree: chex.ArrayTree, mesh: jax.sharding.Mesh | None
) -> chex.ArrayTree:
  """Gives every device of a mesh a full copy.

  Sums over clients that follow are then taken in one order on any number of
  devices: this is `reduction='gathered'`, bitwise equal on 1, 2, 4, 8 devices.

  Args:
    tree: any pytree of arrays.
    mesh: a mesh, or None for no change.

  Returns:
    The same values.
  """
  _check_mesh(mesh)
  if mesh is None:
    return tree
  sharding = jax.NamedSharding(mesh, jax.P())
  if _traced(tree):
    return jax.lax.with_sharding_constraint(tree, sharding)
  return jax.device_put(tree, sharding)


def _traced(tree):
  return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))


def _check_mesh(mesh):
  if mesh is None:
    return
  if not isinstance(mesh, jax.sharding.Mesh):
    raise TypeError(
      f'mesh must be a jax.sharding.Mesh; got {checks.described(mesh)}: call '
      'core.clients.clients_mesh(num_devices).'
    )
  if AXIS not in mesh.shape:
    raise ValueError(
      f'mesh must have an axis {AXIS!r}; got {tuple(mesh.shape)}: make it with '
      'core.clients.clients_mesh(num_devices).'
    )


def _check_divisible(n, mesh):
  devices = mesh.shape[AXIS]
  if n % devices:
    raise ValueError(
      f'{n} clients do not split over {devices} devices: pad the cohort to '
      f'{n + -n % devices} with mask=False.'
    )


def _axes(in_axes, args):
  if isinstance(in_axes, int) or in_axes is None:
    in_axes = (in_axes,) * len(args)
  in_axes = tuple(in_axes)
  if len(in_axes) != len(args):
    raise ValueError(
      f'in_axes has {len(in_axes)} entries for {len(args)} arguments.'
    )
  if any(a not in (0, None) for a in in_axes):
    raise ValueError(f'in_axes may hold 0 and None only; got {in_axes}.')
  if all(a is None for a in in_axes):
    raise ValueError('in_axes=None everywhere leaves no client axis.')
  return in_axes


def _size(axes, args):
  mapped = [a for a, axis in zip(args, axes, strict=True) if axis == 0]
  return checks.num_clients(mapped, name='args')


def _bytes(tree):
  return sum(
    x.size * jnp.dtype(x.dtype).itemsize
    for x in jax.tree.leaves(tree)
    if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  )


def _equations(jaxpr):
  """All equations of a program, those of inner programs too."""
  for equation in jaxpr.eqns:
    yield equation
    for inner in jax.tree.leaves(
      list(equation.params.values()),
      is_leaf=lambda p: hasattr(p, 'eqns') or hasattr(p, 'jaxpr'),
    ):
      inner = getattr(inner, 'jaxpr', inner)
      if hasattr(inner, 'eqns'):
        yield from _equations(inner)


def _has_convolution(jaxpr) -> bool:
  return _groups(jaxpr) > 0


def _groups(jaxpr) -> int:
  """Groups of all convolutions: at least one each."""
  return sum(
    e.params['feature_group_count'] * e.params['batch_group_count']
    for e in _equations(jaxpr)
    if e.primitive.name == 'conv_general_dilated'
  )


def _largest_activation(jaxpr, known) -> int:
  """Bytes of the largest value whose shape no argument or result has."""
  shapes = {x.shape for x in jax.tree.leaves(known)}
  values = [v.aval for e in _equations(jaxpr) for v in e.outvars]
  inner = [v for v in values if getattr(v, 'shape', ()) not in shapes]
  return max((_bytes(v) for v in inner), default=0)


def default_chunk(
  fn: Callable[..., Any], axes: tuple[int | None, ...], args: tuple[Any, ...]
) -> int | None:
  """Applies the documented rule.

  Args:
    fn: function of one client.
    axes: 0 or None per argument.
    args: the stacked arguments.

  Returns:
    1 for one client at a time, None for all in one vmap.
  """
  if jax.default_backend() != 'cpu':
    return None
  one = [
    jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), a)
    if axis == 0
    else a
    for a, axis in zip(args, axes, strict=True)
  ]
  jaxpr, out = jax.make_jaxpr(fn, return_shape=True)(*one)
  jaxpr = jaxpr.jaxpr
  own = _bytes([a for a, axis in zip(one, axes, strict=True) if axis == 0])
  activation = _largest_activation(jaxpr, (one, out))
  if own + activation > LOOP_BYTES:
    return 1
  if not _has_convolution(jaxpr):
    return None
  two = [
    jax.tree.map(lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), a)
    if axis == 0
    else a
    for a, axis in zip(one, axes, strict=True)
  ]
  both = jax.make_jaxpr(jax.vmap(fn, in_axes=axes))(*two).jaxpr
  return 1 if _groups(both) > _groups(jaxpr) else None


def _run(fn, axes, chunk, args):
  """Runs all clients on one device."""
  n = _size(axes, args)
  if chunk is None or chunk >= n:
    return jax.vmap(fn, in_axes=axes)(*args)
  mapped = tuple(a for a, axis in zip(args, axes, strict=True) if axis == 0)

  def one(rows):
    rows = iter(rows)
    return fn(
      *(
        next(rows) if axis == 0 else a
        for a, axis in zip(args, axes, strict=True)
      )
    )

  if chunk == 1:
    return jax.lax.map(one, mapped)
  return jax.lax.map(one, mapped, batch_size=chunk)


def _pad(axes, args, mesh):
  """Repeats the last client until the clients split over the devices."""
  extra = -_size(axes, args) % mesh.shape[AXIS]
  if not extra:
    return args

  def repeat(x):
    more = jnp.broadcast_to(x[-1:], (extra, *x.shape[1:]))
    # What does not split evenly is on every device. Left alone, the compiler
    # splits it all the same, and sends rows and what fills up back and forth.
    return replicate(jnp.concatenate([x, more]), mesh)

  return tuple(
    jax.tree.map(repeat, a) if axis == 0 else a
    for a, axis in zip(args, axes, strict=True)
  )


def _check_chunk(chunk):
  if chunk is not None:
    checks.integer(chunk, name='chunk', low=1)


def _per_device(fn, axes, mesh, out_specs):
  specs = tuple(jax.P(AXIS) if axis == 0 else jax.P() for axis in axes)
  return jax.shard_map(
    fn, mesh=mesh, in_specs=specs, out_specs=out_specs, check_vma=False
  )


@dataclasses.dataclass(frozen=True)
class Clients:
  """The clients of an algorithm, and how they are run; all static.

  Algorithms also take a plain number N for `Clients(N)`.

  Attributes:
    num_clients: N >= 1.
    mesh: devices to split the clients over, from `clients_mesh`, or None.
    chunk: clients that run together on a device; None follows the rule in this
      module's docstring.
    reduction: 'psum' adds per device, then over devices; 'gathered' copies what
      is summed to every device first and runs clients one by one (unless
      `chunk` says otherwise): bitwise equal on any number of devices.
    layout: what devices hold of rows that are spread for somebody who reads all
      of them, see `map`: 'free', as the compiler likes; 'clients', whole rows
      of all clients; 'parameters', some coordinates of all clients.

  Raises:
    ValueError: if a number is out of range, the mesh has no axis 'clients', or
      a layout is asked for without a mesh or with gathered reductions.
    TypeError: if `mesh` is something else, or a number is no integer.

  Example:
    >>> clients = Clients(3)
    >>> clients.map(lambda x: 2 * x)(jnp.arange(3.0))
    Array([0., 2., 4.], dtype=float32)
  """

  num_clients: int
  mesh: jax.sharding.Mesh | None = None
  chunk: int | None = None
  reduction: str = 'psum'
  layout: str = 'free'

  def __post_init__(self):
    n = checks.integer(self.num_clients, name='num_clients', low=1)
    object.__setattr__(self, 'num_clients', n)
    _check_chunk(self.chunk)
    _check_mesh(self.mesh)
    checks.choice(self.reduction, REDUCTIONS, name='reduction')
    exchange.check_layout(self.layout, self.mesh)
    if self.layout != 'free' and self.reduction == 'gathered':
      raise ValueError(
        f'reduction=gathered copies all rows to every device: layout='
        f'{self.layout} has no effect, leave it out.'
      )

  @property
  def _step(self) -> int | None:
    # The same small program per client, however they are spread.
    gathered = self.reduction == 'gathered' and self.chunk is None
    return 1 if gathered else self.chunk

  def map(
    self,
    fn: Callable[..., Any],
    *,
    in_axes: InAxes = 0,
    spread: bool = False,
  ):
    """Runs a function of one client for all of them, see `map_clients`.

    Args:
      fn: function of one client.
      in_axes: see `map_clients`.
      spread: whether `fn` returns (update, rest), and updates are put where
        `layout` wants them.

    Returns:
      A function of the stacked arguments.
    """
    place = None
    if spread and self.layout != 'free':

      def place(out, n):
        update, rest = out
        rest = jax.tree.map(lambda x: x[:n], rest)
        return exchange.spread(update, n, self.mesh, self.layout), rest

    return map_clients(
      fn, mesh=self.mesh, chunk=self._step, in_axes=in_axes, place=place
    )

  def fold(
    self,
    fn: Callable[..., Any],
    *,
    in_axes: InAxes = 0,
    has_aux: bool = False,
  ):
    """Streams a weighted sum over the clients, see `fold_clients`."""
    return fold_clients(
      fn,
      mesh=self.mesh,
      chunk=self.chunk,
      in_axes=in_axes,
      has_aux=has_aux,
      reduction=self.reduction,
    )

  def gather(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """Copies a stacked tree to every device if `reduction` is 'gathered'."""
    if self.reduction != 'gathered':
      return tree
    # What reads it is compiled alike, however it was made.
    return jax.lax.optimization_barrier(replicate(tree, self.mesh))

  def replicate(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """Gives every device of the mesh a full copy, see `replicate`."""
    return replicate(tree, self.mesh)

  def shard(self, stacked: chex.ArrayTree) -> chex.ArrayTree:
    """Splits the leading axis over the mesh, see `shard_clients`."""
    return shard_clients(stacked, self.mesh)

  def check(
    self,
    cohort: types.Cohort,
    *,
    why: str = 'all clients are needed in fixed order, absent ones masked',
  ) -> None:
    """Raises unless a cohort holds exactly these clients.

    Args:
      cohort: what a step was given.
      why: the rule, for the message.

    Raises:
      ValueError: if it has another number of clients.
      TypeError: if it is no cohort.
    """
    checks.cohort(cohort, self.num_clients, why=why)

  def replace(self, **changes: Any) -> 'Clients':
    """Returns these clients with some attributes changed."""
    return dataclasses.replace(self, **changes)


def as_clients(value: Any, *, name: str = 'clients') -> Clients:
  """Turns a number of clients into `Clients`.

  Args:
    value: `Clients`, or N.
    name: the argument's name, for messages.

  Returns:
    `Clients`.

  Raises:
    TypeError: if it is neither; the message says what to write.
    ValueError: if N is below one.

  Example:
    >>> as_clients(3).num_clients
    3
  """
  if isinstance(value, Clients):
    return value
  if isinstance(value, bool) or not isinstance(value, numbers.Integral):
    raise TypeError(
      f'{name} must be a number of clients or core.clients.Clients; got '
      f'{checks.described(value)}.'
    )
  return Clients(checks.integer(value, name=name, low=1))


def map_clients(
  fn: Callable[..., Any],
  *,
  mesh: jax.sharding.Mesh | None = None,
  chunk: int | None = None,
  in_axes: InAxes = 0,
  place: Callable[[Any, int], Any] | None = None,
) -> Callable[..., Any]:
  """Turns a function of one client into one of all clients.

  Args:
    fn: pure function of one client; may be differentiated inside.
    mesh: devices to split the clients over (static); if N is not a multiple of
      their number, the last client is run again to fill up.
    chunk: clients run together (static): 1 is a loop, N one vmap; None
      follows the rule in this module's docstring.
    in_axes: 0 for arguments with a client axis, None for shared ones.
    place: `place(result, N) -> result` gets the rows of a mesh with those that
      fill up, and drops them; None leaves rows where they are.

  Returns:
    A function of the stacked arguments; every result has leaves [N, ...].

  Raises:
    ValueError: if client axes differ, or the mesh has no axis 'clients'.
    TypeError: if `mesh` is something else.

  Example:
    >>> map_clients(lambda x, y: x * y, in_axes=(0, None))(jnp.arange(3.0), 2.0)
    Array([0., 2., 4.], dtype=float32)
  """
  _check_chunk(chunk)
  _check_mesh(mesh)

  @functools.wraps(fn)
  def mapped(*args):
    axes = _axes(in_axes, args)
    args = jax.tree.map(jnp.asarray, args)
    n = _size(axes, args)
    step = default_chunk(fn, axes, args) if chunk is None else chunk
    if mesh is None:
      return _run(fn, axes, step, args)
    run = _per_device(
      lambda *a: _run(fn, axes, step, a), axes, mesh, jax.P(AXIS)
    )
    out = run(*_pad(axes, args, mesh))
    if place is not None:
      return place(out, n)
    return jax.tree.map(lambda x: x[:n], out)

  return mapped


def fold_clients(
  fn: Callable[..., Any],
  *,
  mesh: jax.sharding.Mesh | None = None,
  chunk: int | None = None,
  in_axes: InAxes = 0,
  has_aux: bool = False,
  reduction: str = 'psum',
) -> Callable[..., Any]:
  """Streams the weighted sum of one-client results without keeping them.

  Args:
    fn: pure function of one client, returns a tree, or `(tree, aux)`.
    mesh: devices to split the clients over (static).
    chunk: clients run together (static); None takes a few at a time on CPU
      (the largest divisor of N up to 10, or 1 for convolutions) and up to 32 on
      accelerators.
    in_axes: 0 for arguments with a client axis, None for shared ones.
    has_aux: whether `fn` also returns a small tree that is kept per client.
    reduction: 'psum' adds per device, then over devices; 'gathered' keeps the
      rows, copies them to every device and contracts them there: bitwise
      equal on any number of devices, at N times the memory.

  Returns:
    `folded(weights: f32[N], *args)` -> tree of leaves [...], or with `has_aux`
    `(tree, aux [N, ...])`. Clients of weight zero add nothing, even where their
    result is not finite. Zero total weight gives zeros.

  Raises:
    ValueError: as `map_clients`.

  Example:
    >>> fold_clients(lambda x: 2.0 * x)(jnp.array([0.5, 0.5]), jnp.arange(2.0))
    Array(1., dtype=float32)
  """
  _check_chunk(chunk)
  _check_mesh(mesh)
  checks.choice(reduction, REDUCTIONS, name='reduction')

  def one(*args):
    out = fn(*args)
    return out if has_aux else (out, ())

  def folded(weights, *args):
    axes = _axes(in_axes, args)
    args = jax.tree.map(jnp.asarray, args)
    weights = jnp.asarray(weights)
    n = _size(axes, args)
    if weights.shape != (n,):
      raise ValueError(f'weights must have shape [{n}]; got {weights.shape}.')
    if reduction == 'gathered':
      rows, aux = map_clients(one, mesh=mesh, chunk=chunk, in_axes=axes)(*args)
      rows, weights = replicate((rows, weights), mesh)
      rows = trees.where_rows(weights != 0, rows, 0.0)
      # What reads them is compiled alike, however they were made.
      weights, rows = jax.lax.optimization_barrier((weights, rows))
      total = trees.combine(weights, rows)
      return (total, aux) if has_aux else total

    all_axes = (0, *axes)

    def local(weights, *args):
      return _fold(one, axes, chunk, weights, args)

    if mesh is None:
      total, aux, like = local(weights, *args)
    else:

      def summed(weights, *args):
        total, aux, like = local(weights, *args)
        return jax.lax.psum(total, AXIS), aux, like

      padded = _pad(all_axes, (weights, *args), mesh)
      real = jnp.arange(padded[0].shape[0]) < n
      total, aux, like = _per_device(
        summed, all_axes, mesh, (jax.P(), jax.P(AXIS), jax.P())
      )(jnp.where(real, padded[0], 0), *padded[1:])
      aux = jax.tree.map(lambda x: x[:n], aux)
    total = trees.cast_like(total, like)
    return (total, aux) if has_aux else total

  return folded


def _fold(one, axes, chunk, weights, args):
  """Weighted sum in the accumulator's dtype, aux rows, dtypes of one row."""
  n = weights.shape[0]
  if chunk is None:
    limit = 10 if jax.default_backend() == 'cpu' else 32
    if default_chunk(one, axes, args) == 1 and _convolves(one, axes, args):
      limit = 1
    chunk = max(c for c in range(1, min(limit, n) + 1) if n % c == 0)
  chunk = min(chunk, n)
  mapped = tuple(a for a, axis in zip(args, axes, strict=True) if axis == 0)

  def run(weights, mapped):
    rows = iter(mapped)
    full = [
      next(rows) if axis == 0 else a for a, axis in zip(args, axes, strict=True)
    ]
    out, aux = _run(one, axes, None if len(weights) > 1 else 1, tuple(full))
    out = trees.where_rows(weights != 0, out, 0.0)
    total = jax.tree.map(
      lambda x: jnp.tensordot(
        weights.astype(trees.accumulator(x.dtype)),
        x.astype(trees.accumulator(x.dtype)),
        axes=1,
        precision='highest',
      ),
      out,
    )
    like = jax.tree.map(lambda x: jnp.zeros((), x.dtype), out)
    return total, aux, like

  whole = n // chunk
  split = lambda x: x[: whole * chunk].reshape(whole, chunk, *x.shape[1:])
  head = jax.tree.map(split, (weights, mapped))
  shapes = jax.eval_shape(run, *jax.tree.map(lambda x: x[0], head))
  zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes[0])

  def body(total, part):
    more, aux, _ = run(*part)
    return jax.tree.map(jnp.add, total, more), aux

  total, aux = jax.lax.scan(body, zero, head)
  aux = jax.tree.map(lambda x: x.reshape(whole * chunk, *x.shape[2:]), aux)
  if whole * chunk < n:
    rest = jax.tree.map(lambda x: x[whole * chunk :], (weights, mapped))
    more, more_aux, _ = run(*rest)
    total = jax.tree.map(jnp.add, total, more)
    aux = trees.concatenate(aux, more_aux)
  like = jax.tree.map(lambda s: jnp.zeros((), s.dtype), shapes[2])
  return total, aux, like


def _convolves(fn, axes, args):
  one = [
    jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), a)
    if axis == 0
    else a
    for a, axis in zip(args, axes, strict=True)
  ]
  return _has_convolution(jax.make_jaxpr(fn)(*one).jaxpr)
