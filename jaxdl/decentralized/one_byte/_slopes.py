# SPDX-License-Identifier: Apache-2.0
"""Training where a gradient travels as one byte.

Every machine holds the same model. In an iteration each measures the slope of
its own loss along directions that everybody can draw from public seeds, and
broadcasts the slope's code. All then take the same step.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import compression
from jaxdl.core import checks, clients as clients_lib, keys, trees, types
from jaxdl.local import _projected


class OneByteState(NamedTuple):
  """What every machine holds, bitwise the same on all of them.

  Attributes:
    params: the model.
    opt_state: of the optimizer.
    iteration: i32[], iterations that are over.
    key: public key of the directions.
  """

  params: chex.ArrayTree
  opt_state: chex.ArrayTree
  iteration: chex.Array
  key: chex.PRNGKey


class OneByte(NamedTuple):
  """An `Algorithm` whose rounds fall apart into sending and receiving.

  Attributes:
    init: `init(key) -> OneByteState`; consumes the key.
    step: `step(state, cohort, *, key, received=None) -> (state, metrics)`.
    params: `params(state) -> params`.
    receive: `receive(state, codes[M, S], received: bool[M, S]) -> state`: the
      end of a round, all that a machine needs which only listens. A round in
      which nothing was received changes the iteration alone.
    codec: the code of the slopes.
    num_machines: M.
    num_samples: S.
    per_client: as `types.Algorithm`; the model is one.
    on_host: as `types.Algorithm`.
  """

  init: Callable[..., OneByteState]
  step: Callable[..., tuple[OneByteState, dict[str, chex.Array]]]
  params: Callable[[OneByteState], chex.ArrayTree]
  receive: Callable[..., OneByteState]
  codec: compression.ScalarCodec
  num_machines: int
  num_samples: int
  per_client: bool = False
  on_host: bool = False


def one_byte_sgd(
  task: types.Task,
  clients: clients_lib.Clients | int,
  *,
  optimizer: optax.GradientTransformation,
  num_samples: int = 1,
  eps: chex.Numeric = 1e-3,
  codec: compression.ScalarCodec | str = 'log_int8',
  aggregate: str = 'mean',
  distribution: str = 'normal',
  stochastic_rounding: bool = False,
) -> OneByte:
  """Decentralized training on projected gradients, one byte each.

  In iteration t machine m takes for each of its S samples the direction z of
  `direction_keys` and a batch of its own, measures
  `g = (L(θ + ε z) - L(θ - ε z)) / (2 ε)` on that batch, and broadcasts
  `encode(g)`. When all codes are in, everybody computes
  `Σ decode(code) z / N` over the N codes received, in the order of machines and
  samples, and gives it to the optimizer. Machines are numbered in the order in
  which they joined.

  Nobody needs anyone else's data or model, and all models stay bitwise equal:
  θ is a function of its start and of the codes, so a late machine replays the
  log (`replay`). A slope that is not finite is sent as code 0.

  Args:
    task: parameters and loss; no statistics of batches are kept.
    clients: M machines at most and how they are run, or M (static). Where the
      number of devices divides M, the compiled step moves the codes in a single
      all-gather, and nothing else; otherwise the last machine is run again to
      fill up, and cutting the metrics to M rows moves those too. `chunk` counts
      directions evaluated together on a device; 1 needs the least memory.
    optimizer: what every machine does with the estimate; the paper's is
      `optax.sgd(learning_rate)`.
    num_samples: S, directions per machine and iteration (static).
    eps: ε > 0; static or traced.
    codec: of the slopes; text is for `compression.make_codec`.
    aggregate: 'mean', or 'sqrt' which divides by √N instead of N (static).
    distribution: 'normal', or 'rademacher' for fleets of mixed devices
      (static).
    stochastic_rounding: whether codes round at random (static).

  Returns:
    A `OneByte`. `step` wants a cohort with `client_ids: i32[M]`, `data` of
    leaves [M, S, ...], a batch per sample, and `mask: bool[M]`, who takes part;
    `received: bool[M, S]` says which codes arrived at everybody (all by
    default), for machines that fail half way. The step's key is private: it
    feeds dropout and random rounding, and never the directions. Metrics, which
    stay on the device of their machine: `loss: f32[M, S]` (mean of the two
    evaluations), `slopes: f32[M, S]` before coding, `dropped: bool[M, S]` (not
    finite); and known to everybody `codes: [M, S]`, `received: bool[M, S]`.

  Raises:
    ValueError: if counts or options are out of range; from `step`, if the
      cohort does not have M machines with S batches each.

  Cost: 2 M S evaluations of the loss shared by the machines, and M S draws of D
    numbers on each of them; M S codes of traffic against 4 D bytes for an
    all-reduce of gradients.

  Example:
    >>> import optax
    >>> from jaxdl.core import types
    >>> task = types.Task(
    ...   init=lambda key: jnp.full(2, 3.0),
    ...   loss=lambda w, batch, *, key=None: jnp.sum((w - batch) ** 2),
    ...   evaluate=lambda w, batch: {},
    ... )
    >>> algorithm = one_byte_sgd(
    ...   task, 4, optimizer=optax.sgd(0.1)
    ... )
    >>> state = algorithm.init(jax.random.key(0))
    >>> cohort = types.Cohort(
    ...   client_ids=jnp.arange(4),
    ...   data=jnp.ones((4, 1, 2)),
    ...   mask=jnp.ones(4, bool),
    ...   weights=jnp.ones(4),
    ... )
    >>> step = jax.jit(algorithm.step)
    >>> for t in range(60):
    ...   state, metrics = step(state, cohort, key=jax.random.key(t))
    >>> bool(jnp.all(jnp.abs(state.params - 1.0) < 0.05))
    True
    >>> metrics['codes'].dtype.name
    'int8'

  Source: Zelikman et al. 2023 (https://arxiv.org/abs/2306.10015). The code of
    zero, and the decoding by receivers, are ours (`make_codec`).
  """
  machines = clients_lib.as_clients(clients)
  m, mesh = machines.num_clients, machines.mesh
  s = checks.integer(num_samples, name='num_samples', low=1)
  checks.number(eps, name='eps', low=0.0, open_low=True)
  checks.choice(aggregate, _projected.DIVISORS, name='aggregate')
  checks.choice(distribution, _projected.DIRECTIONS, name='distribution')
  checks.task(task)
  checks.optimizer(optimizer)
  if isinstance(codec, str):
    codec = compression.make_codec(codec)
  if not checks.has_functions(codec, 'encode', 'decode'):
    raise TypeError(
      'codec must be a compression.ScalarCodec; got '
      f"{checks.described(codec)}: call compression.make_codec('log_int8')."
    )

  def init(key):
    keys.check_key(key)
    params_key, public = jax.random.split(key)
    params = jax.tree.map(jnp.asarray, task.init(params_key))
    _projected._check_params(params)
    return OneByteState(
      params=params,
      opt_state=optimizer.init(params),
      iteration=jnp.zeros((), jnp.int32),
      key=public,
    )

  def seeds(state):
    return _projected.direction_keys(
      state.key, state.iteration, num_machines=m, num_samples=s
    )

  def measure(params, direction, batch, private):
    """One machine's slope along one direction, coded."""
    loss_key, code_key = jax.random.split(private)
    slope, loss = _projected.projected_gradient(
      lambda p, b: task.loss(p, b, key=loss_key),
      params,
      batch,
      direction,
      eps=eps,
      distribution=distribution,
    )
    code = codec.encode(slope, key=code_key if stochastic_rounding else None)
    return code, slope, loss

  def measure_all(params, directions, data, private):
    """All samples of some machines, [M', S] each."""
    flat = lambda tree: jax.tree.map(
      lambda x: x.reshape(x.shape[0] * s, *x.shape[2:]), tree
    )
    run = machines.replace(mesh=None).map(measure, in_axes=(None, 0, 0, 0))
    out = run(params, flat(directions), flat(data), flat(private))
    return tuple(x.reshape(-1, s) for x in out)

  def receive(state, codes, received):
    slopes = jnp.where(received, codec.decode(codes), 0.0)
    count = jnp.sum(received, dtype=jnp.int32)
    grads = _projected.estimated_gradient(
      seeds(state).reshape(-1),
      slopes.reshape(-1),
      state.params,
      count=count,
      aggregate=aggregate,
      distribution=distribution,
    )
    change, opt_state = optimizer.update(
      trees.cast_like(grads, state.params), state.opt_state, state.params
    )
    change = jax.lax.optimization_barrier(change)
    new = (optax.apply_updates(state.params, change), opt_state)
    params, opt_state = jax.tree.map(
      lambda x, y: jnp.where(count > 0, x, y),
      new,
      (state.params, state.opt_state),
    )
    return OneByteState(params, opt_state, state.iteration + 1, state.key)

  def exchange(state, share, received):
    """Per device: its machines' codes, everybody's codes, the same step."""
    directions, data, private = share
    code, slope, loss = measure_all(state.params, directions, data, private)
    if mesh is not None:
      code = jax.lax.all_gather(code, clients_lib.AXIS, tiled=True)[:m]
    return receive(state, code, received), code, slope, loss

  def step(state, cohort, *, key, received=None):
    _check_cohort(cohort, m, s)
    present = jnp.broadcast_to(cohort.mask[:, None], (m, s))
    received = present if received is None else present & received
    private = jax.vmap(lambda k: jax.random.split(k, s))(
      keys.client_keys(key, cohort.client_ids)
    )
    share = (seeds(state), cohort.data, private)
    if mesh is None:
      state, code, slope, loss = exchange(state, share, received)
    else:
      extra = -m % mesh.shape[clients_lib.AXIS]
      pad = lambda x: jnp.concatenate(
        [x, jnp.broadcast_to(x[-1:], (extra, *x.shape[1:]))]
      )
      share = jax.tree.map(pad, share) if extra else share
      split, whole = jax.P(clients_lib.AXIS), jax.P()
      # The public inputs enter replicated and the step is taken everywhere, so
      # that nothing but the codes crosses between devices.
      state, code, slope, loss = jax.shard_map(
        exchange,
        mesh=mesh,
        in_specs=(whole, split, whole),
        out_specs=(whole, whole, split, split),
        check_vma=False,
      )(state, share, received)
      slope, loss = (x[:m] if extra else x for x in (slope, loss))
    metrics = {
      'loss': loss,
      'slopes': slope,
      'dropped': present & ~jnp.isfinite(slope),
      'codes': code,
      'received': received,
    }
    return state, metrics

  return OneByte(init, step, lambda state: state.params, receive, codec, m, s)


def _check_cohort(cohort, m, s):
  checks.cohort(cohort, None)
  if cohort.client_ids.shape != (m,) or cohort.mask.shape != (m,):
    raise ValueError(
      f'cohort has {cohort.client_ids.shape[0]} machines but num_machines={m}: '
      'keep all in the order of joining, absent ones masked.'
    )
  for path, leaf in jax.tree_util.tree_leaves_with_path(cohort.data):
    if leaf.shape[:2] != (m, s):
      raise ValueError(
        f'cohort.data{jax.tree_util.keystr(path)} must have leading axes '
        f'(M, S) = ({m}, {s}), one batch per machine and sample; got shape '
        f'{leaf.shape}.'
      )
