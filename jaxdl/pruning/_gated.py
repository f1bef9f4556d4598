# SPDX-License-Identifier: Apache-2.0
"""Networks and tasks whose players take part by gates."""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, types
from jaxdl.networks import as_network, has_statistics
from jaxdl.pruning import _players


def gated(
  network: Any,
  *,
  granularity: str = 'unit',
  ungated: Sequence[str] | None = None,
  start: float = 1.0,
) -> types.Network:
  """A network whose neurons, filters or weights take part by gates.

  A gate multiplies the preactivation, which is the same as scaling kernel and
  bias; with all gates one, outputs are those of the network bit by bit. The
  gradient of a loss with respect to a gate is ∂L / ∂s_i.

  Args:
    network: a `Network` or a flax module without running statistics.
    granularity: see `init_participation` (static).
    ungated: see `init_participation`; if None, the layer that is used last.
    start: s in [0, 1] to begin with.

  Returns:
    A `Network` with parameters {'network', 'gates'}.

  Raises:
    ValueError: if an option is out of range; from `init`, if nothing can be
      gated or the network keeps running statistics.

  Example:
    >>> from jaxdl import networks
    >>> network = gated(networks.mlp((4, 4), 2))
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> {name: s.shape for name, s in params['gates'].items()}
    {'0': (4,), '1': (4,)}

  Source: Shah and Khan 2025 (https://arxiv.org/abs/2512.22106), section 3.
  """
  network = as_network(network)
  checks.choice(granularity, _players.GRANULARITIES, name='granularity')
  checks.number(start, name='start', low=0.0, high=1.0)

  def init(key, *inputs):
    own = network.init(key, *inputs)
    if has_statistics(own):
      raise ValueError(
        'gated takes networks without running statistics: use group '
        'normalization, or none.'
      )
    last = ungated
    if last is None:
      last = used_in_order(network.apply, own, *inputs)[-1:]
    gates = _players.init_participation(
      own, granularity=granularity, ungated=last, start=start
    )
    return {'network': own, 'gates': gates}

  def apply(params, *inputs, **options):
    check_tree(params)
    own = _players.scale(params['network'], params['gates'])
    return network.apply(own, *inputs, **options)

  return types.Network(init, apply)


def gated_task(
  task: types.Task,
  *,
  granularity: str = 'unit',
  ungated: Sequence[str] | None = None,
  start: float = 1.0,
) -> types.Task:
  """A task whose parameters take part by gates, see `gated`.

  Args:
    task: any whose parameters have layers.
    granularity: see `init_participation` (static).
    ungated: see `init_participation`.
    start: s in [0, 1] to begin with.

  Returns:
    A task with parameters {'network', 'gates'}.

  Raises:
    ValueError: if an option is out of range; from `init`, if nothing can be
      gated.

  Example:
    >>> from jaxdl import networks
    >>> task = networks.regression(networks.mlp((4,), 1), jnp.ones((1, 2)))
    >>> sorted(gated_task(task).init(jax.random.key(0)))
    ['gates', 'network']
  """
  checks.task(task)
  checks.choice(granularity, _players.GRANULARITIES, name='granularity')
  whole = lambda params: _players.scale(params['network'], params['gates'])

  def init(key):
    own = task.init(key)
    gates = _players.init_participation(
      own, granularity=granularity, ungated=ungated, start=start
    )
    return {'network': own, 'gates': gates}

  def loss(params, batch, *, key=None):
    return task.loss(whole(check_tree(params)), batch, key=key)

  def evaluate(params, batch):
    return task.evaluate(whole(check_tree(params)), batch)

  return types.Task(init, loss, evaluate)


def used_in_order(
  apply: Callable[..., Any], params: chex.ArrayTree, *inputs: Any
) -> list[str]:
  """Paths of layers in the order in which a network first uses them.

  Args:
    apply: of the network.
    params: parameters of one model, or their shapes.
    *inputs: example inputs, or their shapes.

  Returns:
    The paths.

  Example:
    >>> from jaxdl import networks
    >>> network, x = networks.residual_mlp(2, channels=3), jnp.ones((1, 3))
    >>> params = network.init(jax.random.key(0), x)
    >>> order = used_in_order(network.apply, params, x)
    >>> order[0], order[-1], len(order)
    ('lift', 'head', 6)
  """
  shape = lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))
  params, inputs = jax.tree.map(shape, (params, inputs))
  leaves = jax.tree_util.tree_leaves_with_path(params)
  names = [_players.name_of(path) for path, _ in leaves]
  structure = jax.tree.structure(params)

  def flat(values, inputs):
    return apply(jax.tree.unflatten(structure, values), *inputs)

  jaxpr = jax.make_jaxpr(flat)([leaf for _, leaf in leaves], inputs).jaxpr
  found: dict[str, None] = {}
  _visit(jaxpr, dict(zip(jaxpr.invars, names, strict=False)), found)
  known = _players.layers_of(params)
  used = [name.rpartition('/')[0] for name in found if _is_kernel(name)]
  return [n for n in used if n in known] + [n for n in known if n not in used]


def _visit(jaxpr, owner, found):
  """Adds names of variables in the order of their first equation."""
  for equation in jaxpr.eqns:
    mine = [
      None if hasattr(v, 'val') else owner.get(v) for v in equation.invars
    ]
    inner = [
      getattr(p, 'jaxpr', p)
      for p in equation.params.values()
      if hasattr(getattr(p, 'jaxpr', p), 'eqns')
    ]
    inner = [j for j in inner if len(j.invars) == len(mine)]
    for j in inner:
      pairs = zip(j.invars, mine, strict=True)
      _visit(j, {v: n for v, n in pairs if n is not None}, found)
    if not inner:
      found.update({name: None for name in mine if name is not None})


def check_tree(params: Any) -> Any:
  """Returns parameters of a gated network, or says what they should be."""
  if not isinstance(params, dict) or set(params) != {'network', 'gates'}:
    raise TypeError(
      "params must be {'network', 'gates'}, as gated(network) initializes; got "
      f'{checks.described(params)}.'
    )
  return params


def _is_kernel(name):
  return name.rpartition('/')[2] == 'kernel'
