# SPDX-License-Identifier: Apache-2.0
"""Random gates that are exactly zero with some probability, learned by L0."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, keys, types
from jaxdl.pruning import _players

Gates = dict[str, chex.Array]
# Those of the paper: temperature, and the ends that are clipped to [0, 1].
TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1


def hard_concrete_gates(
  logits: Gates, *, key: chex.PRNGKey | None = None
) -> Gates:
  """Gates of logits: drawn, or what they are after training.

  Args:
    logits: log α by layer.
    key: consumed; None gives the gates of the trained network.

  Returns:
    Participations in [0, 1], exactly zero and one included, by layer.

  Example:
    >>> logits = {'0': jnp.array([-5.0, 0.0, 5.0])}
    >>> hard_concrete_gates(logits)['0'].round(3)
    Array([0. , 0.5, 1. ], dtype=float32)

  Source: Louizos et al. 2018 (https://arxiv.org/abs/1712.01312), equations 10
    to 13.
  """
  _players.check_tables(logits, name='logits')
  stretched = lambda s: jnp.clip(s * (HIGH - LOW) + LOW, 0, 1)
  if key is None:
    return {k: stretched(jax.nn.sigmoid(x)) for k, x in logits.items()}
  keys.check_key(key)
  own = jax.random.split(key, len(logits))
  out = {}
  for k, name in zip(own, _players.in_order(logits), strict=True):
    x = logits[name]
    noise = jax.random.logistic(k, x.shape, x.dtype)
    out[name] = stretched(jax.nn.sigmoid((noise + x) / TEMPERATURE))
  return out


def hard_concrete_penalty(logits: Gates) -> chex.Array:
  """Expected number of gates that are not zero.

  Args:
    logits: log α by layer.

  Returns:
    f32[].

  Example:
    >>> logits = {'0': jnp.array([-20.0, 20.0])}
    >>> round(float(hard_concrete_penalty(logits)), 4)
    1.0

  Source: Louizos et al. 2018 (https://arxiv.org/abs/1712.01312), equation 12.
  """
  _players.check_tables(logits, name='logits')
  shift = TEMPERATURE * jnp.log(-LOW / HIGH)
  parts = [jnp.sum(jax.nn.sigmoid(x - shift)) for x in logits.values()]
  return sum(parts, jnp.zeros(()))


def hard_concrete(
  task: types.Task,
  *,
  price: chex.Numeric = 1e-4,
  granularity: str = 'unit',
  ungated: Sequence[str] | None = None,
  start: float = 0.9,
) -> types.Task:
  """A task whose players are pruned by an expected L0 norm.

  In training every gate is drawn anew for each batch, and λ times the expected
  number of gates that are not zero is added to the loss, so that an optimizer
  of all parameters does the rest. `as_gates` gives what `prune`, `measure` and
  `compact` take.

  Args:
    task: any whose parameters have layers.
    price: λ >= 0.
    granularity: see `init_participation` (static).
    ungated: see `init_participation`.
    start: sigmoid(log α) to begin with, in (0, 1).

  Returns:
    A task with parameters {'network', 'logits'}; its loss needs a key, its
    `evaluate` takes the gates of the trained network.

  Raises:
    ValueError: if an option is out of range; from `init`, if nothing can be
      gated.
    TypeError: from `loss`, without a key.

  Example:
    >>> from jaxdl import networks
    >>> task = networks.regression(networks.mlp((4,), 1), jnp.ones((1, 2)))
    >>> params = hard_concrete(task).init(jax.random.key(0))
    >>> params['logits']['0'].round(2)
    Array([2.2, 2.2, 2.2, 2.2], dtype=float32)

  Source: Louizos et al. 2018 (https://arxiv.org/abs/1712.01312), section 2.
  """
  checks.task(task)
  checks.number(price, name='price', low=0.0)
  checks.choice(granularity, _players.GRANULARITIES, name='granularity')
  checks.number(
    start, name='start', low=0.0, high=1.0, open_low=True, open_high=True
  )

  def init(key):
    own = task.init(key)
    gates = _players.init_participation(
      own, granularity=granularity, ungated=ungated, start=start
    )
    logits = {name: jnp.log(s) - jnp.log1p(-s) for name, s in gates.items()}
    return {'network': own, 'logits': logits}

  def loss(params, batch, *, key=None):
    keys.check_key(key)
    gate_key, task_key = jax.random.split(key)
    gates = hard_concrete_gates(params['logits'], key=gate_key)
    whole = _players.scale(params['network'], gates)
    value = task.loss(whole, batch, key=task_key)
    penalty = price * hard_concrete_penalty(params['logits'])
    return value + penalty.astype(value.dtype)

  def evaluate(params, batch):
    own = as_gates(params)
    return task.evaluate(_players.scale(own['network'], own['gates']), batch)

  return types.Task(init, loss, evaluate)


def as_gates(params: chex.ArrayTree) -> dict[str, chex.ArrayTree]:
  """The trained network of `hard_concrete` as a gated one.

  Args:
    params: {'network', 'logits'}.

  Returns:
    {'network', 'gates'}.

  Example:
    >>> params = {'network': (), 'logits': {'0': jnp.array([-5.0])}}
    >>> as_gates(params)['gates']
    {'0': Array([0.], dtype=float32)}
  """
  if not isinstance(params, dict) or set(params) != {'network', 'logits'}:
    raise TypeError(
      "params must be {'network', 'logits'}, as a task of hard_concrete "
      f'initializes; got {checks.described(params)}.'
    )
  gates = hard_concrete_gates(params['logits'])
  return {'network': params['network'], 'gates': gates}
