# SPDX-License-Identifier: Apache-2.0
"""Distributions over values: who decides what is changed, and into what."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys, registry
from jaxdl.graphs.search import _space
from jaxdl.graphs.search._space import SearchSpace
from jaxdl.networks import functional

WIDTH = 100
_START = 0.1


class Policy(NamedTuple):
  """One distribution for every layer and class, given a table.

  Attributes:
    init: `init(key) -> params`, leaves [C, ...], a row for each class.
    log_probs: `log_probs(params, table) -> f[C, L, M]`, log-probabilities of
      values, -inf beyond those of a class. Row c depends on row c of the
      params, and on the table without column c.
  """

  init: Callable[[chex.PRNGKey], Any]
  log_probs: Callable[[Any, chex.Array], chex.Array]


class SequencePolicy(NamedTuple):
  """A distribution over whole tables.

  Attributes:
    init: `init(key) -> params`.
    sample: `sample(key, params) -> i32[L, C]`; consumes the key.
    log_prob: `log_prob(params, table) -> (f[], f[])`, the log-probability of
      a table, and the entropies of its decisions, added up.
  """

  init: Callable[[chex.PRNGKey], Any]
  sample: Callable[[chex.PRNGKey, Any], chex.Array]
  log_prob: Callable[[Any, chex.Array], tuple[chex.Array, chex.Array]]


def _bounded(logits, temperature, tanh_constant):
  """Logits for sampling, flat at the start and never too sure."""
  logits = logits / temperature
  return tanh_constant * jnp.tanh(logits) if tanh_constant else logits


def _log_softmax(logits, mask):
  return jax.nn.log_softmax(jnp.where(mask, logits, -jnp.inf), axis=-1)


def _entropy(log_probs):
  """Of the last axis; what has no probability adds nothing."""
  there = log_probs > -jnp.inf
  safe = jnp.where(there, log_probs, 0)
  return -jnp.where(there, jnp.exp(safe) * safe, 0).sum(-1)


def decision_entropy(log_probs: chex.Array) -> chex.Array:
  """How undecided the policy of every class is.

  Args:
    log_probs: f[C, L, M], see `Policy`.

  Returns:
    f[C], entropies in nats added up over layers; zero where one value is sure.

  Raises:
    ValueError: if there is an axis too few.

  Example:
    >>> uniform = jnp.log(jnp.full((1, 2, 7), 1 / 7))
    >>> round(decision_entropy(uniform).item(), 5)
    3.89182

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), action guider.
  """
  log_probs = jnp.asarray(log_probs)
  if log_probs.ndim < 3:
    raise ValueError(
      f'log_probs must have shape [C, L, M]; got {log_probs.shape}.'
    )
  return _entropy(log_probs).sum(-1)


def choose_classes(
  key: chex.PRNGKey,
  entropies: chex.Array,
  num_chosen: int = 1,
  *,
  mask: Any = None,
) -> chex.Array:
  """Draws different classes, the first with probabilities softmax(entropies).

  Args:
    key: consumed.
    entropies: f[C]; constants for a uniform choice.
    num_chosen: s in [1, C] (static).
    mask: bool[C], concrete, classes that may be drawn; all if None.

  Returns:
    bool[C], of which s are true.

  Raises:
    ValueError: if there are fewer than s classes, or shapes do not fit.
    TypeError: if entropies are no floating point numbers.

  Example:
    >>> choose_classes(jax.random.key(0), jnp.zeros(6), 2).sum().item()
    2

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), action guider;
    one after the other without putting back, by Gumbel noise.
  """
  keys.check_key(key)
  entropies = jnp.asarray(entropies)
  if entropies.ndim != 1:
    raise ValueError(
      f'entropies must have shape [C]; got {entropies.shape}: use jax.vmap for '
      'several.'
    )
  if not jnp.issubdtype(entropies.dtype, jnp.floating):
    raise TypeError(f'entropies must be floating point; got {entropies.dtype}.')
  count = len(entropies)
  if mask is None:
    mask = np.ones(count, bool)
  mask = checks.host_array(mask, name='mask')
  if mask.shape != (count,) or mask.dtype != bool:
    raise ValueError(
      f'mask must be bool of shape ({count},); got {mask.dtype} of shape '
      f'{mask.shape}.'
    )
  s = checks.integer(num_chosen, name='num_chosen', low=1, high=int(mask.sum()))
  noisy = entropies + jax.random.gumbel(key, (count,), entropies.dtype)
  noisy = jnp.where(jnp.asarray(mask), noisy, -jnp.inf)
  _, places = jax.lax.top_k(noisy, s)
  return jnp.zeros(count, bool).at[places].set(True)


def _cell(width):
  import flax.linen as nn

  return nn.OptimizedLSTMCell(width, parent=None)


def _memory(width):
  zero = jnp.zeros(width, jnp.result_type(float))
  return zero, zero


def _cell_leaves(width):
  """Weights of a cell, to be drawn."""

  def make():
    memory = _memory(width)
    return _cell(width).init(jax.random.key(0), memory, memory[0])['params']

  leaf = lambda x: functional.Leaf(x.shape, 'uniform', _START)
  return jax.tree.map(leaf, jax.eval_shape(make))


def _recurrent_leaves(num_tokens, num_values, width):
  uniform = lambda *shape: functional.Leaf(shape, 'uniform', _START)
  return {
    'tokens': uniform(num_tokens, width),
    'cell': _cell_leaves(width),
    'decoder': {
      'kernel': uniform(width, num_values),
      'bias': functional.Leaf((num_values,)),
    },
  }


def _check_logits(temperature, tanh_constant, width):
  checks.number(temperature, name='temperature', low=0, open_low=True)
  checks.number(tanh_constant, name='tanh_constant', low=0)
  checks.integer(width, name='width', low=1)


def recurrent(
  space: SearchSpace,
  num_layers: int,
  *,
  width: int = WIDTH,
  temperature: float = 5.0,
  tanh_constant: float = 2.5,
) -> Policy:
  """A recurrent encoder per class, which reads the other classes of a table.

  Tokens of the other classes, layer by layer, go through an LSTM; what it holds
  after those of a layer is decoded into logits of that layer, which become
  `tanh_constant tanh(logits / temperature)`. Weights start uniform on +-0.1.

  Args:
    space: of the tables.
    num_layers: L.
    width: of embeddings and LSTM.
    temperature: see above, > 0.
    tanh_constant: see above; 0 for logits over temperature.

  Returns:
    The policy.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> space = SearchSpace()
    >>> policy = recurrent(space, 2, width=4)
    >>> params = policy.init(jax.random.key(0))
    >>> policy.log_probs(params, jnp.zeros((2, 6), jnp.int32)).shape
    (6, 2, 8)

  Source: Zhou et al. 2019 (https://arxiv.org/abs/1909.03184), section 3.3;
    constants of Gao et al. 2020 (https://arxiv.org/abs/1904.09981), code.
  """
  layers = checks.num_layers(num_layers)
  _check_logits(temperature, tanh_constant, width)
  mask, count = _space.check_space(space).mask, space.num_classes
  leaves = _recurrent_leaves(space.num_tokens, space.num_values, width)

  def init(key):
    keys.check_key(key)
    draw = lambda key: functional.draw(key, leaves, jnp.result_type(float))
    return jax.vmap(draw)(jax.random.split(key, count))

  def one(params, place, mask, table):
    cell = _cell(width)
    tokens = _space.sub_architecture(space, table, place)
    inputs = params['tokens'][tokens]

    def read(memory, x):
      return cell.apply({'params': params['cell']}, memory, x)

    _, seen = jax.lax.scan(read, _memory(width), inputs)
    last = seen.reshape(layers, count - 1, width)[:, -1]
    logits = functional.dense(params['decoder'], last)
    logits = _bounded(logits, temperature, tanh_constant)
    return _log_softmax(logits, jnp.broadcast_to(mask, logits.shape))

  def log_probs(params, table):
    return jax.vmap(one, in_axes=(0, 0, 0, None))(
      params, jnp.arange(count), jnp.asarray(mask), jnp.asarray(table)
    )

  return Policy(init, log_probs)


def tabular(space: SearchSpace, num_layers: int) -> Policy:
  """A vector of logits per layer and class, whatever the table says.

  Args:
    space: of the tables.
    num_layers: L.

  Returns:
    The policy, uniform at the start.

  Example:
    >>> policy = tabular(SearchSpace(), 2)
    >>> policy.init(jax.random.key(0))['logits'].shape
    (6, 2, 8)
  """
  layers = checks.num_layers(num_layers)
  mask = _space.check_space(space).mask[:, None]
  shape = (space.num_classes, layers, space.num_values)

  def init(key):
    keys.check_key(key)
    return {'logits': jnp.zeros(shape)}

  def log_probs(params, table):
    del table
    return _log_softmax(params['logits'], jnp.broadcast_to(mask, shape))

  return Policy(init, log_probs)


POLICIES = registry.Registry(
  'policy',
  {'recurrent': recurrent, 'tabular': tabular},
  given=('space', 'num_layers'),
)


def recurrent_sequence(
  space: SearchSpace,
  num_layers: int,
  *,
  width: int = WIDTH,
  temperature: float = 5.0,
  tanh_constant: float = 2.5,
) -> SequencePolicy:
  """One LSTM that says value after value, layer by layer.

  Args:
    space: of the tables.
    num_layers: L.
    width: of embeddings and LSTM.
    temperature: see `recurrent`.
    tanh_constant: see `recurrent`.

  Returns:
    The policy.

  Raises:
    ValueError: if a number is out of range.

  Source: Gao et al. 2020 (https://arxiv.org/abs/1904.09981), section 3.
  """
  layers = checks.num_layers(num_layers)
  _check_logits(temperature, tanh_constant, width)
  count, most = _space.check_space(space).num_classes, space.num_values
  mask = space.mask
  first = np.cumsum((0, *space.sizes[:-1])).astype(np.int32)
  leaves = _recurrent_leaves(space.num_tokens, most, width)
  kernel, bias = leaves['decoder']['kernel'], leaves['decoder']['bias']
  leaves['decoder'] = {
    'kernel': functional.Leaf((count, *kernel.shape), 'uniform', _START),
    'bias': functional.Leaf((count, *bias.shape)),
  }
  places = np.tile(np.arange(count, dtype=np.int32), layers)

  def init(key):
    keys.check_key(key)
    return functional.draw(key, leaves, jnp.result_type(float))

  def said(params, pick):
    """Goes through the decisions; `pick(n, log_probs) -> value`."""
    cell = _cell(width)

    def step(carry, n):
      memory, x = carry
      memory, seen = cell.apply({'params': params['cell']}, memory, x)
      c = jnp.asarray(places)[n]
      own = jax.tree.map(lambda leaf: leaf[c], params['decoder'])
      logits = seen @ own['kernel'] + own['bias']
      logits = _bounded(logits, temperature, tanh_constant)
      log_probs = _log_softmax(logits, jnp.asarray(mask)[c])
      value = pick(n, log_probs)
      out = value, log_probs[value], _entropy(log_probs)
      return (memory, params['tokens'][jnp.asarray(first)[c] + value]), out

    memory = _memory(width)
    start = memory, memory[0]
    return jax.lax.scan(step, start, jnp.arange(layers * count))[1]

  def sample(key, params):
    keys.check_key(key)
    pick = lambda n, log_probs: jax.random.categorical(
      jax.random.fold_in(key, n), log_probs
    )
    values, *_ = said(params, pick)
    return values.astype(jnp.int32).reshape(layers, count)

  def log_prob(params, table):
    flat = jnp.asarray(table).reshape(-1)
    _, found, entropies = said(params, lambda n, log_probs: flat[n])
    return found.sum(), entropies.sum()

  return SequencePolicy(init, sample, log_prob)


def tabular_sequence(space: SearchSpace, num_layers: int) -> SequencePolicy:
  """A vector of logits per layer and class; decisions are independent.

  Args:
    space: of the tables.
    num_layers: L.

  Returns:
    The policy, uniform at the start.
  """
  policy = tabular(space, num_layers)
  layers = num_layers
  nothing = np.zeros((layers, space.num_classes), np.int32)

  def sample(key, params):
    found = policy.log_probs(params, nothing)
    return jax.random.categorical(key, found).T.astype(jnp.int32)

  def log_prob(params, table):
    found = policy.log_probs(params, nothing)
    return taken(found, table).sum(), decision_entropy(found).sum()

  return SequencePolicy(policy.init, sample, log_prob)


SEQUENCES = registry.Registry(
  'policy',
  {'recurrent': recurrent_sequence, 'tabular': tabular_sequence},
  given=('space', 'num_layers'),
)


def taken(log_probs: chex.Array, table: chex.Array) -> chex.Array:
  """Log-probabilities of what a table says.

  Args:
    log_probs: f[C, L, M].
    table: i32[L, C].

  Returns:
    f[C, L].
  """
  values = jnp.asarray(table).T[..., None]
  return jnp.take_along_axis(log_probs, values, axis=-1)[..., 0]
