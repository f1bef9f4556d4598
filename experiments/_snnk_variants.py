# SPDX-License-Identifier: Apache-2.0
"""What is compared: bundles in closed form, and networks of equal size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import _snnk_data as snnk_data, _snnk_models as models
from jaxdl import metrics as metrics_lib, operators
from jaxdl.core import types
from jaxdl.experiment import supervised
from jaxdl.networks import features as features_lib

# Candidate factors of logits that were fitted to one-hot labels.
_SCALES = np.geomspace(0.5, 200.0, 48).astype(np.float32)


def closed_forms(config, simulation: supervised.Simulation):
  """Fits bundles of all depths and sizes, and linear regression.

  Args:
    config: knobs.
    simulation: data.

  Returns:
    Rows. Their `loss` is the cross-entropy after one factor on all outputs was
    fitted to what training examples are given when they are left out; `mse` is
    without it.
  """
  cases = [('linear', 0, 0)]
  for depth in range(1, config.depth + 1):
    cases += [(f'closed form, depth {depth}', depth, m) for m in config.sizes]
  outputs = snnk_data.num_outputs(simulation)
  root = supervised.seed_keys(config.seeds)
  out = []
  for family, depth, m in cases:
    fit, task, size = _readout(config, simulation, depth, m)
    check_ridge(config, simulation, size)

    def one_seed(args, test, fit=fit, task=task):
      params = fit(*args)
      finite = jnp.isfinite(params['trained']).all()
      return metrics_lib.evaluate(task, params, test), finite

    found, finite = jax.jit(
      lambda args, test, one=one_seed: jax.lax.map(lambda a: one(a, test), args)
    )((root, simulation.client_data, simulation.mask), simulation.test)
    if not np.all(finite):
      raise ValueError(
        f'{family} with m={m} is not finite: features overflow or the system '
        'is singular; lower --input_length, pass --normalize or raise --ridge.'
      )
    label = {'family': family, 'size': m, 'num_trained': outputs * size}
    rows = supervised.metric_rows(
      jax.device_get(found),
      step=0,
      split='closed_form',
      variant=f'{family}, m={m}' if depth else family,
      seeds=config.seeds,
    )
    out += [{**row, **label} for row in rows]
  return out


def _readout(config, simulation, depth: int, m: int):
  """A read-out of bundled layers; of the inputs and a one for depth 0.

  Every client sums what a read-out needs of its own examples, and the sums are
  added up.

  Returns:
    `fit(key, data, mask) -> params` of one seed, the task that evaluates them,
    and the number of features.
  """
  features, dim = config.features, snnk_data.dim_of(simulation)
  classes = simulation.num_classes

  def lift(frozen, x):
    if not depth:
      return jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)
    return features_lib.bundled_features(x, [features.map(c) for c in frozen])

  def estimate(params, x):
    return lift(params['frozen'], x) @ params['trained'].T

  def apply(params, x, **options):
    del options
    return params['scale'] * estimate(params, x)

  network = types.Network(lambda key, x: (), apply)

  def fit(key, own, mask):
    frozen = ()
    if depth:
      key = jax.random.fold_in(jax.random.fold_in(key, depth), m)
      frozen = features.draw_layers(key, dim, m, depth)

    def sums(client):
      data, real = client
      y = data['labels']
      y = jax.nn.one_hot(y, classes) if classes else y
      return features_lib.readout_statistics(
        lift(frozen, data['inputs']), y, weights=real
      )

    pooled = _summed(sums, (own, mask))
    matrix = features_lib.closed_form_readout(pooled, ridge=config.ridge)
    params = {'frozen': frozen, 'trained': matrix, 'scale': jnp.float32(1)}
    if not classes:
      return params

    regular = pooled.gram + config.ridge * jnp.eye(pooled.gram.shape[0])

    def losses(client):
      data, real = client
      h = lift(frozen, data['inputs'])
      # An example's leverage tells what it was given by a fit without it.
      solved = jax.scipy.linalg.solve(regular, h.T, assume_a='pos')
      leverage = jnp.clip(jnp.sum(h.T * solved, axis=0), 0, 0.99)[:, None]
      wanted = jax.nn.one_hot(data['labels'], classes)
      outputs = (h @ matrix.T - leverage * wanted) / (1 - leverage)

      def one(scale):
        each = optax.softmax_cross_entropy_with_integer_labels(
          scale * outputs, data['labels']
        )
        return jnp.where(real, each, 0).sum()

      return jax.lax.map(one, jnp.asarray(_SCALES))

    best = jnp.argmin(_summed(losses, (own, mask)))
    return {**params, 'scale': jnp.asarray(_SCALES)[best]}

  task = snnk_data.make_task(network, simulation, estimate=estimate)
  return fit, task, features.size(m) if depth else dim + 1


def _summed(fn, clients):
  """The sum of a function of each client, one client at a time."""
  return jax.tree.map(lambda x: x.sum(axis=0), jax.lax.map(fn, clients))


def check_ridge(config, simulation, size: int) -> None:
  """Refuses systems with more unknowns than examples and no penalty."""
  n = int(np.asarray(simulation.mask).sum(axis=(1, 2)).min())
  if config.ridge == 0 and n < size:
    raise ValueError(
      f'ridge=0 with n={n} examples of {size} features is singular: use '
      'ridge > 0 or a smaller num_rf.'
    )


def scratch(
  config, simulation: supervised.Simulation
) -> dict[str, models.Variant]:
  """Networks that are trained from nothing, of equal sizes.

  Args:
    config: knobs.
    simulation: data.

  Returns:
    Variants by name.
  """
  dim, outputs = snnk_data.dim_of(simulation), snnk_data.num_outputs(simulation)
  layers = (*config.hidden_sizes, outputs)
  act = config.function
  out = {
    'dense': models.Variant(
      models.plain(operators.fnn(layers, activation=act)), 'dense'
    )
  }
  for m in config.sizes:
    network = models.snnk(config.features, dim, layers, m, act)
    out[f'SNNK, m={m}'] = models.Variant(network, 'SNNK', m)
    count = models.num_trained(network, dim)
    rank, network = models.matched(
      lambda r: models.low_rank(layers, r, act), count, dim
    )
    out[f'low rank {rank}'] = models.Variant(network, 'low rank', rank)
    width, network = models.matched(
      lambda k: models.random_fourier(dim, outputs, k, config.bandwidth),
      count,
      dim,
    )
    out[f'{width} random Fourier features'] = models.Variant(
      network, 'random Fourier', width
    )
  return out


def adapters(
  config, simulation: supervised.Simulation, base
) -> dict[str, models.Variant]:
  """Ways to move a trained network to other data, of equal sizes.

  Args:
    config: knobs.
    simulation: data.
    base: trained layers.

  Returns:
    Variants by name.
  """
  dim = snnk_data.dim_of(simulation)
  features, act, head = config.features, config.function, config.train_head
  widths = config.hidden_sizes
  changed = functools.partial(models.changed, base, act, train_head=head)
  adapted = functools.partial(models.adapted, base, act, train_head=head)
  out = {}
  for m in config.sizes:

    def draw_all(key, m=m):
      keys = jax.random.split(key, len(widths))
      return [features.draw(k, w, m) for k, w in zip(keys, widths, strict=True)]

    network = adapted(
      lambda frozen: [
        features_lib.snnk_adapter(
          features.map(c), kind=config.adapter, initial=config.initial
        )
        for c in frozen
      ],
      draw_all,
    )
    out[f'SNNK adapter, m={m}'] = models.Variant(network, 'SNNK adapter', m)
    count = models.num_trained(network, dim)
    for family, make in (
      (
        'bottleneck',
        lambda k: adapted(
          lambda _: [features_lib.bottleneck_adapter(w, k) for w in widths]
        ),
      ),
      ('LoRA', lambda k: changed('lora', k)),
    ):
      size, network = models.matched(make, count, dim)
      out[f'{family} {size}'] = models.Variant(network, family, size)
  out['BitFit'] = models.Variant(changed('bitfit'), 'BitFit')
  if head:
    out['head alone'] = models.Variant(adapted(lambda _: []), 'head alone')
  out['everything'] = models.Variant(changed('full'), 'everything')
  return out


def uptrained(
  config, simulation: supervised.Simulation, base
) -> dict[str, models.Variant]:
  """Ways to make layers of a trained network smaller.

  Args:
    config: knobs.
    simulation: data.
    base: trained layers.

  Returns:
    Variants by name.
  """
  dim = snnk_data.dim_of(simulation)
  layers = tuple(p['kernel'].shape[1] for p in base)
  act, mapped = config.function, config.uptrain_layers
  whole = models.changed(base, act, 'full')
  out = {'unchanged': models.Variant(whole, 'unchanged')}
  for m in config.sizes:
    for family, fresh in (('SNNK', False), ('SNNK, drawn afresh', True)):
      network = models.snnk(
        config.features,
        dim,
        layers,
        m,
        act,
        mapped=mapped,
        start=base,
        fresh=fresh,
      )
      out[f'{family}, m={m}'] = models.Variant(network, family, m)
    rank, network = models.matched(
      lambda r: models.low_rank(layers, r, act, start=base, mapped=mapped),
      models.num_trained(network, dim),
      dim,
    )
    out[f'low rank {rank}'] = models.Variant(network, 'low rank', rank)
  return out
