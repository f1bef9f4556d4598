# SPDX-License-Identifier: Apache-2.0
"""Overlaps of infinitely many neurons: self-consistency and free energy.

With n for the overlaps that a network has learned (those with the patterns
themselves, m, where it knows them) and a field X = sum_nu v^nu n_nu / (1 - d),

    n = E[v tanh(X / T)] / (1 + rho),   m = E[xi tanh(X / T)],
    f = ((1 + rho) / (2 (1 - d))) |n|² - T E ln(2 cosh(X / T)),

and solutions are where f is stationary. The average over blank entries and
signs is taken over all 3^K of them; v is the pattern (noise 'none'), or the
average of its examples over r: xi (1 + sqrt(rho) z) with z normal ('gaussian',
M large) or with the exact binomial law ('binomial').

All of it follows the dtype of `dilution` and `temperature`: float64 under
`jax.enable_x64(True)`.
"""

import itertools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.theory.associative import _checks, _patterns, _thresholds

NOISES = ('none', 'gaussian', 'binomial')
MOST_PATTERNS = 8
# Combinations of atoms of the binomial law.
MOST_ATOMS = 2**20
# Of a normal density, whose trapezoidal sum is exact to rounding for smooth
# functions: width and number of points.
_WIDTH, _POINTS = 8.0, 801


class Solution(NamedTuple):
  """A solution of the self-consistency equations.

  Attributes:
    overlaps: f[K], m, with the patterns.
    learned: f[K], n; the same where patterns are known.
    free_energy: f[], for each neuron.
    num_iters: i32[], iterations.
    converged: bool[], whether they came to a stand.
  """

  overlaps: chex.Array
  learned: chex.Array
  free_energy: chex.Array
  num_iters: chex.Array
  converged: chex.Array


class _Law(NamedTuple):
  """What X is made of.

  Attributes:
    values: f[C, K], v in every case.
    patterns: f[C, K], mean of xi in that case.
    weights: f[C].
    entropy: rho.
    spread: whether v varies further, by rho v² and normally.
  """

  values: chex.Array
  patterns: chex.Array
  weights: chex.Array
  entropy: chex.Array
  spread: bool


def self_consistency(
  num_patterns: int,
  dilution: chex.Numeric,
  temperature: chex.Numeric,
  *,
  noise: str = 'none',
  entropy: chex.Numeric | None = None,
  quality: chex.Numeric = 1.0,
  num_examples: int | None = None,
  start: chex.Array | None = None,
  tolerance: float | None = None,
  max_iters: int = 10_000,
) -> Solution:
  """Solves for the overlaps at K patterns and infinitely many neurons.

  Iterates with a damping of 1/2.

  Args:
    num_patterns: K <= 8, static.
    dilution: d in [0, 1), may be traced.
    temperature: T > 0, may be traced; at zero see `hierarchical_amplitudes`.
    noise: 'none' where patterns are known, 'gaussian' or 'binomial' where
      examples are (static).
    entropy: rho >= 0 of 'gaussian', may be traced; by default that of quality
      and num_examples.
    quality: r in (0, 1] of examples, may be traced.
    num_examples: M of each pattern, static.
    start: f[K], n to start from. None tries the hierarchy, the first j patterns
      alike for every j, and no retrieval at all, and takes the solution of
      least free energy; of its mirror images, which are as good, that of
      positive overlaps in descending order.
    tolerance: largest change at the end; 1e-10, or 1e-6 in float32.
    max_iters: iterations at most; near T = 1 many are needed.

  Returns:
    The solution. NaN stays NaN and has not converged.

  Raises:
    ValueError: if numbers are out of range or do not fit the noise.

  Cost: O(3^K K) for an iteration and a start; 801 times that if 'gaussian';
    O((M + 2)^K K) if 'binomial'.

  Example:
    >>> print(np.asarray(self_consistency(2, 0.5, 0.4).overlaps).round(3))
    [0.479 0.213]

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106),
  self-consistency equations.
  """
  k = _number_of(num_patterns)
  law, b, d, t = _law(
    k, dilution, temperature, noise, entropy, quality, num_examples
  )
  tolerance = _tolerance(tolerance, b.dtype)

  def solve(n):
    update = lambda n: _average(law, n, b)[1]
    n, change, done = _iterate(update, n, tolerance, max_iters)
    m, _, entropic = _average(law, n, b)
    f = _free_energy(law, n, d, t, entropic)
    return Solution(m, n, f, done, change <= tolerance)

  if start is not None:
    if jnp.shape(start) != (k,):
      raise ValueError(
        f'start must have shape ({k},), an overlap per pattern; got '
        f'{jnp.shape(start)}.'
      )
    checks.known(start, name='start')
    return solve(jnp.asarray(start, b.dtype))
  found = jax.lax.map(solve, _starts(k, d))
  # NaN is what argmin takes first.
  best = jax.tree.map(lambda x: x[jnp.argmin(found.free_energy)], found)
  order = jnp.argsort(-jnp.abs(best.learned))
  return best._replace(
    overlaps=jnp.abs(best.overlaps)[order], learned=jnp.abs(best.learned)[order]
  )


def parallel_overlap(
  num_patterns: int,
  dilution: chex.Numeric,
  temperature: chex.Numeric,
  *,
  tolerance: float | None = None,
  max_iters: int = 10_000,
) -> chex.Array:
  """The overlap with all patterns alike, for any number of them.

  m = E[S tanh(m S / (T (1 - d)))] / K with the sum S of K entries. Whether
  this is what a network does, `self_consistency` knows up to eight patterns:
  at strong dilution, if it is not too cold.

  Args:
    num_patterns: K >= 1, static.
    dilution: d in [0, 1), may be traced.
    temperature: T > 0, may be traced.
    tolerance: as in `self_consistency`.
    max_iters: as there.

  Returns:
    f[], the positive solution, or 0 from T = 1.

  Raises:
    ValueError: if a number is out of range.

  Cost: O(K²), and O(K) for an iteration.

  Example:
    >>> m = parallel_overlap(2, 0.8, 0.4)
    >>> bool(jnp.abs(m - 0.1761) < 1e-4)
    True

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), parallel
  regime.
  """
  k = checks.integer(num_patterns, name='num_patterns', low=1)
  _checks.dilution(dilution)
  _checks.temperature(temperature, positive=True)
  kind = jnp.result_type(float, dilution, temperature)
  d, t = jnp.asarray(dilution, kind), jnp.asarray(temperature, kind)
  one = jnp.stack([(1 - d) / 2, d, (1 - d) / 2])
  law = jnp.ones(1, kind)
  for _ in range(k):
    law = jnp.convolve(law, one, precision='highest')
  total = jnp.arange(-k, k + 1).astype(kind)
  b = 1.0 / (t * (1.0 - d))
  update = lambda m: jnp.sum(law * total * jnp.tanh(b * m * total)) / k
  first = (1.0 - d) / k**0.5
  m, _, _ = _iterate(update, first, _tolerance(tolerance, kind), max_iters)
  # At T = 1 iterations come to zero too slowly to see it.
  return jnp.where(t < 1.0, m, 0.0)


def free_energy(
  learned: chex.Array,
  dilution: chex.Numeric,
  temperature: chex.Numeric,
  *,
  noise: str = 'none',
  entropy: chex.Numeric | None = None,
  quality: chex.Numeric = 1.0,
  num_examples: int | None = None,
) -> chex.Array:
  """The free energy of a neuron at given overlaps; differentiable.

  Args:
    learned: f[K], n, any.
    dilution: as in `self_consistency`.
    temperature: as there.
    noise: as there.
    entropy: as there.
    quality: as there.
    num_examples: as there.

  Returns:
    f[]; -T ln 2 without retrieval. Where it is stationary in n,
    `self_consistency` is solved.

  Raises:
    ValueError: as there.

  Example:
    >>> f = free_energy(jnp.zeros(2), 0.5, 2.0)
    >>> bool(jnp.abs(f + 2 * jnp.log(2)) < 1e-6)
    True

  Source: Agliari et al. 2023 (https://arxiv.org/abs/2308.04106), free energy.
  """
  shape = jnp.shape(learned)
  if len(shape) != 1:
    raise ValueError(f'learned must have shape [K]; got {shape}.')
  k = _number_of(shape[0], name='learned: K')
  law, b, d, t = _law(
    k, dilution, temperature, noise, entropy, quality, num_examples
  )
  n = jnp.asarray(learned, b.dtype)
  return _free_energy(law, n, d, t, _average(law, n, b)[2])


def _tolerance(value, kind):
  if value is None:
    return 1e-10 if kind == jnp.float64 else 1e-6
  checks.number(value, name='tolerance', low=0.0)
  return value


def _iterate(update, start, tolerance, max_iters):
  """Goes half of the way again and again: the end, last change, how often."""
  checks.integer(max_iters, name='max_iters', low=1)

  def open_(loop):
    _, change, done = loop
    return (change > tolerance) & (done < max_iters)

  def body(loop):
    n, _, done = loop
    new = 0.5 * n + 0.5 * update(n)
    return new, jnp.max(jnp.abs(new - n)), done + 1

  far = jnp.full((), jnp.inf, start.dtype)
  return jax.lax.while_loop(open_, body, (start, far, jnp.int32(0)))


def _number_of(value, name='num_patterns'):
  k = checks.integer(value, name=name, low=1)
  if k > MOST_PATTERNS:
    raise ValueError(
      f'{name}={k} has 3^{k} configurations: the average over all of them is '
      f'for at most {MOST_PATTERNS} patterns; parallel_overlap and glauber '
      'take more.'
    )
  return k


def _law(k, dilution, temperature, noise, entropy, quality, num_examples):
  """The law of v, 1 / (T (1 - d)), d and T, all of one dtype."""
  _checks.dilution(dilution)
  _checks.temperature(temperature, positive=True)
  _checks.quality(quality)
  checks.choice(noise, NOISES, name='noise')
  sharp = isinstance(quality, jax.core.Tracer) or float(quality) == 1.0
  if noise == 'none' and not (
    entropy is None and num_examples is None and sharp
  ):
    raise ValueError(
      "noise='none' is for patterns that are known: leave entropy, quality and "
      "num_examples out, or take noise='gaussian' or 'binomial'."
    )
  twice = entropy is not None and not (num_examples is None and sharp)
  if noise == 'gaussian' and twice:
    raise ValueError(
      "noise='gaussian' needs entropy, or num_examples and quality; got both."
    )
  kind = jnp.result_type(float, dilution, temperature)
  d, t = jnp.asarray(dilution, kind), jnp.asarray(temperature, kind)
  b = 1.0 / (t * (1.0 - d))
  if noise == 'binomial':
    if num_examples is None or entropy is not None:
      raise ValueError(
        "noise='binomial' needs num_examples and quality, and no entropy."
      )
    return _binomial(k, d, quality, num_examples), b, d, t
  table = np.array(list(itertools.product((1, 0, -1), repeat=k)))
  blank = np.sum(table == 0, axis=1)
  weights = d**blank * ((1.0 - d) / 2) ** (k - blank)
  values = jnp.asarray(table, kind)
  rho = jnp.zeros((), kind)
  if noise == 'gaussian':
    if entropy is None and num_examples is None:
      raise ValueError(
        "noise='gaussian' needs entropy, or num_examples and quality."
      )
    if entropy is None:
      entropy = _patterns.dataset_entropy(quality, num_examples)
    checks.number(entropy, name='entropy', low=0.0)
    rho = jnp.asarray(entropy, kind)
  law = _Law(values, values, weights, rho, noise == 'gaussian')
  return law, b, d, t


def _binomial(k, d, quality, num_examples):
  """All combinations of what averages of M examples may be."""
  m = _checks.num_examples(num_examples)
  if (m + 2) ** k > MOST_ATOMS:
    raise ValueError(
      f'num_examples={m} makes {m + 2}^{k} combinations for {k} patterns, more '
      f"than 2^20: take noise='gaussian', which is close at large M."
    )
  r = jnp.asarray(quality, d.dtype)
  kept = np.arange(m + 1)
  right, wrong = (
    jax.scipy.stats.binom.pmf(x.astype(d.dtype), m, (1.0 + r) / 2)
    for x in (kept, m - kept)
  )
  both = right + wrong
  # One value of all M + 1, or blank.
  v = jnp.concatenate([(2 * kept - m) / (r * m), jnp.zeros(1)])
  xi = jnp.where(both > 0, (right - wrong) / jnp.where(both > 0, both, 1), 0)
  xi = jnp.concatenate([xi, jnp.zeros(1, xi.dtype)])
  p = jnp.concatenate([(1.0 - d) / 2 * both, d[None]])
  places = np.indices((m + 2,) * k).reshape(k, -1).T
  rho = (1.0 - r**2) / (m * r**2)
  return _Law(
    v.astype(d.dtype)[places],
    xi.astype(d.dtype)[places],
    jnp.prod(p.astype(d.dtype)[places], axis=1),
    rho,
    False,
  )


def _average(law: _Law, n: chex.Array, b: chex.Array) -> tuple[Any, Any, Any]:
  """E[xi tanh], E[v tanh] / (1 + rho) and E ln 2 cosh of b v . n."""
  rho, mean = law.entropy, jnp.sum(law.values * n[None], axis=1)
  log2cosh = lambda x: jnp.logaddexp(x, -x)
  dot = lambda w, x: jnp.sum(w[:, None] * x, axis=0)
  if not law.spread:
    tanh = law.weights * jnp.tanh(b * mean)
    m, n_new = dot(tanh, law.patterns), dot(tanh, law.values)
    entropic = jnp.sum(law.weights * log2cosh(b * mean))
    return m, n_new / (1.0 + rho), entropic
  # Given signs and blanks, X is normal; then by parts.
  z = np.linspace(-_WIDTH, _WIDTH, _POINTS)
  density = np.exp(-(z**2) / 2)
  density = jnp.asarray(density / density.sum(), n.dtype)
  var = rho * jnp.sum((law.values * n[None]) ** 2, axis=1)
  some = var > 0
  sd = jnp.where(some, jnp.sqrt(jnp.where(some, var, 1.0)), 0.0)
  x = b * (mean[:, None] + sd[:, None] * jnp.asarray(z, n.dtype)[None])
  tanh = jnp.tanh(x)
  first = law.weights * jnp.sum(tanh * density[None], axis=1)
  slope = law.weights * jnp.sum((1.0 - tanh**2) * density[None], axis=1)
  m = dot(first, law.values)
  n_new = (m + b * rho * n * dot(slope, law.values**2)) / (1.0 + rho)
  entropic = jnp.sum(law.weights * jnp.sum(log2cosh(x) * density[None], axis=1))
  return m, n_new, entropic


def _free_energy(law, n, d, t, entropic):
  return (1.0 + law.entropy) / (2 * (1.0 - d)) * jnp.sum(n**2) - t * entropic


def _starts(k, d):
  """Where iterations begin, f[K + 2, K]."""
  alike = np.tril(np.ones((k, k))) / np.sqrt(np.arange(1, k + 1))[:, None]
  fixed = jnp.asarray(np.concatenate([alike, np.zeros((1, k))]), d.dtype)
  hierarchy = _thresholds.hierarchical_amplitudes(k, d)
  return jnp.concatenate([hierarchy[None], (1.0 - d) * fixed])
