# SPDX-License-Identifier: Apache-2.0
"""How evenly a measure of success is spread over clients."""

import chex
import jax.numpy as jnp

PERCENTILES = (5, 10, 25, 50, 75, 90)


def spread_over_clients(
  values: chex.Array, counts: chex.Array, *, name: str = 'accuracy'
) -> dict[str, chex.Array]:
  """Describes the distribution of a figure over clients.

  Clients without examples have no figure; they are left out and counted.

  Args:
    values: f32[N], one figure per client.
    counts: [N], the examples behind each.
    name: of the figure.

  Returns:
    Dict of f32[]: `client_<name>` (mean over clients), `weighted_<name>` (by
    examples), `std_<name>`, `min_<name>`, `max_<name>`, `p5_<name>` to
    `p90_<name>` (linear between ranks, as NumPy), `worst_tenth_<name>` (mean of
    the worst tenth, at least one client) and `clients_without_examples`. NaN
    if nobody has examples.

  Example:
    >>> found = spread_over_clients(
    ...   jnp.array([0.2, 0.8, 9.0]), jnp.array([1, 3, 0])
    ... )
    >>> [round(float(found[k]), 2) for k in ('client_accuracy', 'p50_accuracy')]
    [0.5, 0.5]
    >>> round(float(found['weighted_accuracy']), 2)
    0.65
  """
  counts = jnp.asarray(counts, jnp.float32)
  there = counts > 0
  number = jnp.sum(there)
  nobody = number == 0
  total = jnp.maximum(number, 1).astype(jnp.float32)
  clean = jnp.where(there, values, 0.0)
  mean = jnp.sum(clean) / total
  # Clients without a figure sort to the end.
  ranked = jnp.sort(jnp.where(there, values, jnp.inf))

  def at(position):
    low = jnp.floor(position).astype(jnp.int32)
    high = jnp.minimum(low + 1, number - 1)
    part = position - low
    below, above = ranked[low], ranked[jnp.maximum(high, 0)]
    return jnp.where(part > 0, below + part * (above - below), below)

  worst = jnp.maximum(jnp.floor(0.1 * number + 0.5), 1)
  tail = jnp.where(jnp.arange(len(ranked)) < worst, ranked, 0.0)
  square = jnp.where(there, (values - mean) ** 2, 0.0)
  found = {
    f'client_{name}': mean,
    f'weighted_{name}': jnp.sum(clean * counts)
    / jnp.maximum(jnp.sum(counts), 1.0),
    f'std_{name}': jnp.sqrt(jnp.sum(square) / total),
    f'min_{name}': ranked[0],
    f'max_{name}': at(total - 1),
    f'worst_tenth_{name}': jnp.sum(tail) / worst,
  } | {f'p{p}_{name}': at(p / 100 * (total - 1)) for p in PERCENTILES}
  found = {k: jnp.where(nobody, jnp.nan, v) for k, v in found.items()}
  missing = len(ranked) - number
  return found | {'clients_without_examples': missing.astype(jnp.float32)}
