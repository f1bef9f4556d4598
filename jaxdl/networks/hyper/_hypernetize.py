# SPDX-License-Identifier: Apache-2.0
"""Any network with some or all of its parameters made by a hypernetwork."""

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network
from jaxdl.networks import _as_network, _statistics, functional
from jaxdl.networks.hyper import _encodings, _hypernet

Chosen = str | Sequence[str] | Callable[[str, Any], bool]
STARTS = ('he', 'network')


def chooser(chosen: Chosen) -> Callable[[str, Any], bool]:
  """Reads what says which parameters are generated.

  Args:
    chosen: patterns as of files, 'a|b' or a sequence of them, or a function
      `chosen(path, leaf) -> bool`.

  Returns:
    The function.

  Raises:
    TypeError: if it is something else.

  Example:
    >>> choose = chooser('*/kernel|2/*')
    >>> [choose(path, None) for path in ('0/kernel', '0/bias', '2/bias')]
    [True, False, True]
  """
  if callable(chosen):
    return chosen
  patterns = chosen.split('|') if isinstance(chosen, str) else chosen
  if not hasattr(patterns, '__len__') or not all(
    isinstance(p, str) for p in patterns
  ):
    raise TypeError(
      'chosen must be patterns of paths, as "*/kernel", or a function of path '
      f'and leaf; got {checks.described(chosen)}.'
    )
  patterns = [p.strip() for p in patterns]
  return lambda path, leaf: any(fnmatch.fnmatchcase(path, p) for p in patterns)


def split(
  params: chex.ArrayTree, chosen: Chosen
) -> tuple[dict[str, Any], chex.ArrayTree]:
  """Separates what is generated from what stays an ordinary parameter.

  Args:
    params: of a network, or their shapes; without running statistics.
    chosen: see `chooser`; what is not floating point is never generated.

  Returns:
    What is generated, by path, and the tree with None in its place.

  Raises:
    ValueError: if nothing is chosen.

  Example:
    >>> split({'kernel': 1.0, 'bias': 2.0}, 'kernel')
    ({'kernel': 1.0}, {'bias': 2.0, 'kernel': None})
  """
  choose = chooser(chosen)

  def mine(path, x):
    path = _hypernet.path_of(path)
    dtype = x.dtype if hasattr(x, 'dtype') else jnp.result_type(x)
    floating = jnp.issubdtype(dtype, jnp.floating)
    return floating and choose(path, x)

  marks = jax.tree_util.tree_map_with_path(mine, params)
  found = {
    path: x
    for (path, x), chosen_ in zip(
      _hypernet.by_path(params).items(), jax.tree.leaves(marks), strict=True
    )
    if chosen_
  }
  if not found:
    paths = list(_hypernet.by_path(params))
    shown = ', '.join(map(repr, paths[:8])) + (', ...' * (len(paths) > 8))
    what = 'the function' if callable(chosen) else repr(chosen)
    raise ValueError(
      f'no parameter selected: chosen={what} fits none of {shown}.'
    )
  return found, jax.tree.map(lambda m, x: None if m else x, marks, params)


def merge(
  predicted: dict[str, chex.Array], fixed: chex.ArrayTree
) -> chex.ArrayTree:
  """Puts generated parameters back into their places; undoes `split`.

  Args:
    predicted: leaves by path.
    fixed: tree with None in their places.

  Returns:
    The tree.

  Example:
    >>> merge({'kernel': 1.0}, {'bias': 2.0, 'kernel': None})
    {'bias': 2.0, 'kernel': 1.0}
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, x: predicted.get(_hypernet.path_of(path)) if x is None else x,
    fixed,
    is_leaf=lambda x: x is None,
  )


def hypernetize(
  network: Any,
  chosen: Chosen = '*',
  *,
  start: str | chex.ArrayTree = 'he',
  hidden_sizes: int | Sequence[int] = _hypernet.HIDDEN_SIZES,
  activation: functional.Activation = 'leaky_relu',
  encoding: str = 'cos_sin',
  residual: bool = True,
  init: str = 'fan_out',
  norm: str = 'none',
) -> Network:
  """Lets a hypernetwork make parameters of a network.

  The result is a network with one input more, the first: `init(key, gamma,
  *inputs)` and `apply(params, gamma, *inputs)`.

  - gamma f[D] or f[1, D]: one for all examples of a batch.
  - gamma f[B, D]: one per example, inputs [B, ...]. Every example is run with
    parameters of its own.
  - a dict of such arrays, concatenated in the order of their names.

  Parameters are {'hyper': those of `hypernet`, 'fixed': the tree of the network
  with None where parameters are generated}, all of which is trained, and
  'statistics' where there are any ({'network', 'hyper'}), which are never
  generated. As the result is a network, it may be hypernetized again; patterns
  then begin with 'hyper/' or 'fixed/'.

  Args:
    network: any `Network`, or a flax module.
    chosen: which parameters are generated: patterns of their paths, as
      '*/kernel' or '0/*|1/*' ('*' also stands for '/'), or `chosen(path, leaf)
      -> bool`. What is not floating point never is.
    start: theta0: 'he', kernels of variance 2 / fan_in, zero biases, scales of
      one, others as the network draws them; 'network', all as it draws them; or
      a tree of its parameters, where then all that is not generated starts as
      well (and nothing else, without `residual`).
    hidden_sizes: see `hypernet`, as all that follows.
    activation: of the hypernetwork.
    encoding: of gamma.
    residual: whether theta0 is not zero.
    init: of the hypernetwork.
    norm: within the hypernetwork.

  Returns:
    The network; `apply` also takes `train`, `key`, `mask` and `mutable`.

  Raises:
    ValueError: if an option is unknown; from `init`, if nothing is selected or
      `start` has other names or shapes (missing and unexpected ones are
      listed); from `apply`, if gamma does not fit, or has neither one row nor
      one per example.
    TypeError: if the network is none.

  Cost: one gamma costs one pass of the hypernetwork per batch; a gamma per
    example B times the parameters of the network.

  Example:
    >>> from jaxdl import networks
    >>> network = hypernetize(networks.mlp((8,), 3), '*/kernel')
    >>> gamma, x = jnp.array([0.2]), jnp.ones((4, 5))
    >>> params = network.init(jax.random.key(0), gamma, x)
    >>> network.apply(params, gamma, x).shape
    (4, 3)
    >>> each = jnp.linspace(0.0, 1.0, 4)[:, None]
    >>> network.apply(params, each, x).shape
    (4, 3)
    >>> sorted(params['hyper']['heads'])
    ['0/kernel', '1/kernel']

  Source: Gonzalez Ortiz, Guttag & Dalca 2024
    (https://arxiv.org/abs/2304.07645).
  """
  network = _as_network.as_network(network)
  chooser(chosen)
  if isinstance(start, str):
    checks.choice(start, STARTS, name='start')
  settings = _hypernet.make_settings(
    hidden_sizes,
    activation=activation,
    encoding=encoding,
    residual=residual,
    init=init,
    norm=norm,
  )
  if isinstance(start, str) and start != 'he' and not residual:
    raise ValueError(
      f'start={start} is of theta0, which residual=False leaves out: leave out '
      'start, or take residual=True.'
    )

  def begin(key, gamma, *inputs):
    hyper_key, network_key = jax.random.split(key)
    params = network.init(network_key, *inputs)
    if not isinstance(start, str):
      _hypernet.check_like(start, params, name='start')
      params = jax.tree.map(
        lambda x, like: jnp.asarray(x, like.dtype), start, params
      )
    rest, statistics = _statistics.split_statistics(params)
    predicted, fixed = split(rest, chosen)
    first = predicted
    if isinstance(start, str) and start == 'he':
      known = _hypernet.has_known_start
      first = {k: x for k, x in predicted.items() if not known(k, x.shape)}
    hyper = _hypernet.draw_hyper(hyper_key, settings, predicted, gamma, first)
    own = hyper.pop('statistics', None)
    kept = {'network': statistics, 'hyper': own}
    kept = {k: v for k, v in kept.items() if v is not None}
    out = {'hyper': hyper, 'fixed': fixed}
    return out | ({'statistics': kept} if kept else {})

  def apply(
    params, gamma, *inputs, train=False, key=None, mask=None, mutable=False
  ):
    running = params.get('statistics', {})
    rows = _encodings.rows(gamma)
    if len(rows) > 1:
      raise ValueError(
        f'gamma must be [D], [1, D] or [B, D]; got leading axes {rows}: use '
        'jax.vmap for more.'
      )
    several = rows not in ((), (1,))
    z, seen = _hypernet.features(
      settings,
      params['hyper'],
      gamma,
      statistics=running.get('hyper'),
      train=train or mutable,
      mask=mask if several else None,
    )
    theta = _hypernet.generate(params['hyper'], z, rows if several else ())

    def run(theta, *inputs, key=None, **options):
      whole = merge(theta, params['fixed'])
      whole = _statistics.with_statistics(whole, running.get('network'))
      return network.apply(whole, *inputs, train=train, key=key, **options)

    fresh = {} if seen is None else {'hyper': seen}
    if several:
      check_rows(rows[0], inputs)
      if train and 'network' in running:
        raise ValueError(
          'gamma has a row per example, but the network has statistics of '
          'batches: give one gamma for the batch, or use another norm.'
        )
      outputs = _each(run, theta, inputs, key)
    elif mutable and 'network' in running:
      outputs, moved = run(theta, *inputs, key=key, mask=mask, mutable=True)
      fresh['network'] = moved
    else:
      outputs = run(theta, *inputs, key=key)
    if not mutable:
      return outputs
    return outputs, running | fresh or None

  return Network(begin, apply)


def _each(run, theta, inputs, key):
  """Every example with parameters of its own."""

  def one(theta, key, *inputs):
    alone = jax.tree.map(lambda x: x[None], inputs)
    return jax.tree.map(lambda y: y[0], run(theta, *alone, key=key))

  size = jax.tree.leaves(theta)[0].shape[0]
  keys = None if key is None else jax.random.split(key, size)
  axes = (0, None if key is None else 0, *(0 for _ in inputs))
  return jax.vmap(one, in_axes=axes)(theta, keys, *inputs)


def check_rows(count: int, inputs: Any) -> None:
  """Checks that inputs have an example for each of some gammas.

  Args:
    count: rows of gamma.
    inputs: tree of leaves [B, ...].

  Raises:
    ValueError: if B is another.
  """
  for path, x in jax.tree_util.tree_leaves_with_path(inputs):
    if jnp.shape(x)[:1] != (count,):
      raise ValueError(
        f'gamma has {count} rows, but inputs{jax.tree_util.keystr(path)} has '
        f'shape {jnp.shape(x)}: give one gamma f[D] for the batch, or one row '
        'per example.'
      )


def from_pretrained(
  network: Any,
  params: chex.ArrayTree,
  chosen: Chosen = '*',
  *,
  init: str = 'bias_hyper',
  **options: Any,
) -> Network:
  """Lets a hypernetwork change a network that has been trained.

  theta0 and all that is not generated start at the given parameters; with the
  default `init` so does what is generated, for every gamma, and predictions are
  those of the network until it is trained.

  Args:
    network: the network.
    params: its trained parameters.
    chosen: see `hypernetize`.
    init: a part of `HYPER_INITS`.
    **options: of `hypernetize`.

  Returns:
    The network, see `hypernetize`.

  Raises:
    ValueError: with `residual=False`, which would not keep them; from `init`,
      if the parameters are not of this network; names the first tensor of
      another shape, missing and unexpected ones.
    TypeError: if the parameters are text.

  Example:
    >>> from jaxdl import networks
    >>> network, x = networks.mlp((), 2), jnp.ones((1, 3))
    >>> trained = network.init(jax.random.key(7), x)
    >>> tuned = from_pretrained(network, trained, hidden_sizes=(4,))
    >>> params = tuned.init(jax.random.key(0), jnp.zeros(1), x)
    >>> bool((tuned.apply(params, jnp.ones(1), x) == network.apply(trained, x))
    ...      .all())
    True
  """
  if isinstance(params, str):
    raise TypeError(f'params must be trained parameters; got {params!r}.')
  if options.get('residual') is False:
    raise ValueError(
      'residual=False has no theta0 to start at params: leave it out.'
    )
  return hypernetize(network, chosen, start=params, init=init, **options)


def film(network: Any, layers: str = '*') -> Network:
  """Gives every layer of a network scales and shifts of its channels.

  A layer of kernel W and bias b makes s (W x + b) + t in place of W x + b: what
  FiLM modulates. Generate these alone: `hypernetize(film(network), 'film/*')`.

  Args:
    network: any `Network`, or a flax module, with layers of 'kernel' f[..., O]
      and 'bias' f[O].
    layers: patterns of the paths of layers, as '0|1'.

  Returns:
    A network of parameters {'network', 'film': {layer: {'scale': f[O], 'shift':
    f[O]}}}, at first one and zero.

  Raises:
    ValueError: from `init`, if no such layer fits.

  Example:
    >>> from jaxdl import networks
    >>> network = film(networks.mlp((8,), 3), '0')
    >>> params = network.init(jax.random.key(0), jnp.ones((1, 5)))
    >>> jax.tree.map(jnp.shape, params['film'])
    {'0': {'scale': (8,), 'shift': (8,)}}

  Source: Perez et al. 2018 (https://arxiv.org/abs/1709.07871), equation 2.
  """
  network = _as_network.as_network(network)
  choose = chooser(layers)

  def begin(key, *inputs):
    params = network.init(key, *inputs)
    rest, statistics = _statistics.split_statistics(params)
    leaves = _hypernet.by_path(rest)
    found = {}
    for path, x in leaves.items():
      layer, name = _parts(path)
      kernel = f'{layer}/kernel' if layer else 'kernel'
      if name == 'bias' and kernel in leaves and choose(layer, x):
        found[layer] = {'scale': jnp.ones_like(x), 'shift': jnp.zeros_like(x)}
    if not found:
      raise ValueError(
        f'no layer selected: layers={layers!r} fits no layer of kernel and '
        f'bias among {", ".join(map(repr, list(leaves)[:8]))}.'
      )
    out = {'network': rest, 'film': found}
    return _statistics.with_statistics(out, statistics)

  def apply(params, *inputs, **options):
    found = params['film']

    def modulated(path, x):
      layer, name = _parts(_hypernet.path_of(path))
      if layer not in found or name not in ('kernel', 'bias'):
        return x
      x = x * jnp.broadcast_to(found[layer]['scale'], x.shape)
      return x + found[layer]['shift'] if name == 'bias' else x

    rest, statistics = _statistics.split_statistics(params)
    whole = jax.tree_util.tree_map_with_path(modulated, rest['network'])
    whole = _statistics.with_statistics(whole, statistics)
    return network.apply(whole, *inputs, **options)

  return Network(begin, apply)


def _parts(path):
  layer, _, name = path.rpartition('/')
  return layer, name
