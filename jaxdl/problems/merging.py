# SPDX-License-Identifier: Apache-2.0
"""What is measured about models that may be merged."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import metrics, mixing, networks
from jaxdl.core import checks, clients, registry
from jaxdl.decentralized import merging
from jaxdl.problems import _mixtures
from jaxdl.theory import matching

# Batches for statistics come from a round that no run reaches.
_NO_ROUND = 1 << 30


class Merge(NamedTuple):
  """What happens after the last round.

  Attributes:
    rounds: gossip steps; None for the average of all models.
    num_batches: batches that statistics are estimated on, and that units are
      matched on.
    align: by what units are matched before, see `theory.matching.align`; None
      leaves them where they are.
    passes: how often models are aligned.
  """

  rounds: int | None = None
  num_batches: int = 32
  align: str | None = None
  passes: int = 1


def exact(num_batches: int = 32) -> Merge:
  """The average of all models; statistics are estimated on so many batches."""
  return Merge(None, num_batches)


def exponential(rounds: int = 1, num_batches: int = 32) -> Merge:
  """Gossip steps over the exponential graph."""
  return Merge(rounds, num_batches)


def aligned(
  by: str = 'activations', passes: int = 1, num_batches: int = 32
) -> Merge:
  """The average of all models once their hidden units are in one order."""
  matching.ALIGNMENTS.check(by, name='by')
  checks.integer(passes, name='passes', low=1)
  return Merge(None, num_batches, by, passes)


# What happens after the last round.
MERGES = registry.Registry(
  'final_merge',
  {
    'none': exact,
    'exact': exact,
    'exponential': exponential,
    'aligned': aligned,
  },
)


def sharpness() -> None:
  """The second-order effect of disagreement on the average."""


def landscape(
  of: Sequence[str] | str = ('gossip', 'alone'), resolution: int = 25
) -> tuple[tuple[str, ...], int]:
  """The loss between all models of some variants, on so many points across."""
  return ((of,) if isinstance(of, str) else tuple(of)), resolution


# What is measured besides accuracies and losses.
MERGE_MEASURES = registry.Registry(
  'measure', {'sharpness': sharpness, 'landscape': landscape}
)


def landscape_of(measures: Sequence[str]) -> tuple[tuple[str, ...], int]:
  """Returns the variants whose landscape is drawn, and its resolution.

  Args:
    measures: parts of `MERGE_MEASURES`.

  Returns:
    Both; nothing and 0 if none is drawn.
  """
  for spec in measures:
    if MERGE_MEASURES.part(spec).name == 'landscape':
      return MERGE_MEASURES.make(spec)
  return (), 0


def small_landscape(
  measures: Sequence[str], variants: Sequence[str], resolution: int
) -> tuple[str, ...]:
  """Returns measures whose landscape is of few variants and points."""
  of, most = landscape_of(measures)
  if not most:
    return tuple(measures)
  small = registry.write(
    'landscape',
    of=tuple(v for v in of if v in variants),
    resolution=min(most, resolution),
  )
  return tuple(
    small if MERGE_MEASURES.part(m).name == 'landscape' else m for m in measures
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MergeTests:
  """Compiled measurements of stacked models, S seeds side by side.

  Attributes:
    problem: what was learned; its network is what the task applies.
    batch_size: examples per batch for statistics of merged models.
    num_batches: how many of those.
    final_rounds: gossip steps of the final merge; None for the exact average.
    align: by what units are matched before that average, see `Merge`.
    passes: how often.
    sharpness: whether to measure `merging.sharpness_alignment`, where there
      are no running statistics.
    chunk: clients run together, see `core.clients`.
  """

  problem: _mixtures.Mixture
  batch_size: int
  num_batches: int = 32
  final_rounds: int | None = None
  align: str | None = None
  passes: int = 1
  sharpness: bool = True
  chunk: int | None = None

  @functools.cached_property
  def _arguments(self):
    """Test set, each client's own test examples, batches for statistics."""
    problem = self.problem
    local_ids = _mixtures.local_tests(problem)
    steps = -(-self.num_batches // local_ids.shape[1])
    batches = []
    for k, seed in enumerate(problem.seeds):
      own = jax.tree.map(lambda x, k=k: x[k], problem.data)
      key = jax.random.fold_in(jax.random.key(seed), _NO_ROUND)
      drawn = problem.draw(key, own, (steps, self.batch_size)).data
      batches.append(jax.tree.map(self._pooled, drawn))
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *batches)
    return problem.test, local_ids, stacked

  def _pooled(self, x):
    """[N, H, B, ...] to batches whose neighbors are of different clients."""
    mixed = jnp.moveaxis(x, 0, 2)
    mixed = mixed.reshape(-1, self.batch_size, *x.shape[3:])
    return mixed[: self.num_batches]

  @functools.cached_property
  def _has_statistics(self):
    shapes = jax.eval_shape(self.problem.task.init, jax.random.key(0))
    return networks.has_statistics(shapes)

  def _recalibrated(self, params, batches):
    if not self._has_statistics:
      return params
    return networks.recalibrate(self.problem.network, params, batches)

  def _averages(self, params, test, local_ids):
    task = self.problem.task
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), test)

    def one(p, ids):
      own = task.evaluate(p, jax.tree.map(lambda x: x[ids], flat))
      tested = metrics.evaluate(task, p, test)
      return {**tested, 'local_accuracy': own['accuracy']}

    found = clients.map_clients(one, chunk=self.chunk)(params, local_ids)
    return jax.tree.map(jnp.mean, found)

  def _merged(self, params, test, batches):
    merged = self._recalibrated(mixing.merge(params), batches)
    return metrics.evaluate(self.problem.task, merged, test)

  def _measure(self, params, test, local_ids, batches):
    found = self._averages(params, test, local_ids)
    tested = self._merged(params, test, batches)
    found |= {f'merged_{name}': value for name, value in tested.items()}
    found['gap'] = found['merged_accuracy'] - found['accuracy']
    found['consensus'] = metrics.consensus_distance(params)
    if self.sharpness and not self._has_statistics:
      pool = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batches)
      bent = merging.sharpness_alignment(
        lambda p: self.problem.task.loss(p, pool), params
      )
      for name in ('gradient_norm', 'sharpness', 'alignment'):
        found[name] = getattr(bent, name)
    return found

  @functools.cached_property
  def _chain(self):
    inputs = self.problem.test['inputs'][0, :1]
    return matching.layer_chain(self.problem.network, inputs)

  def _ordered(self, params, batches):
    if self.align is None:
      return params
    inputs = batches['inputs']
    return merging.align_models(
      self.problem.network,
      params,
      inputs.reshape(-1, *inputs.shape[2:]),
      by=self.align,
      passes=self.passes,
      chain=self._chain,
    )

  def _finish(self, params, test, local_ids, batches):
    if self.final_rounds is None:
      return self._merged(self._ordered(params, batches), test, batches)
    params = merging.merge_by_gossip(params, self.final_rounds)
    fix = clients.map_clients(
      self._recalibrated, chunk=self.chunk, in_axes=(0, None)
    )
    return self._averages(fix(params, batches), test, local_ids)

  def _over_seeds(self, fn):
    @jax.jit
    def run(params, test, local_ids, batches):
      return jax.lax.map(
        lambda args: fn(args[0], test, *args[1:]), (params, local_ids, batches)
      )

    return lambda params: jax.device_get(run(params, *self._arguments))

  @functools.cached_property
  def _compiled(self):
    if self.align is not None:
      _ = self._chain  # Of concrete numbers.
    return self._over_seeds(self._measure), self._over_seeds(self._finish)

  def measure(self, params: chex.ArrayTree) -> dict[str, np.ndarray]:
    """Means over the models, and the test of their average.

    Args:
      params: leaves [S, N, ...].

    Returns:
      Dict of [S]: `accuracy`, `loss`, `local_accuracy` (means over clients, the
      last on each client's own mixture of classes), `merged_accuracy`,
      `merged_loss`, `gap`, `consensus`, and with `sharpness` also
      `gradient_norm`, `sharpness` and `alignment`.
    """
    return self._compiled[0](params)

  def finish(self, params: chex.ArrayTree) -> dict[str, np.ndarray]:
    """Tests the models after the final merge.

    Args:
      params: leaves [S, N, ...].

    Returns:
      Dict of [S] with `accuracy` and `loss`, means over clients where they
      still differ.
    """
    return self._compiled[1](params)

  @functools.cached_property
  def _landscape(self):
    @jax.jit
    def run(params, test, batches, weights):
      test_one = lambda p: metrics.evaluate(
        self.problem.task, self._recalibrated(p, batches), test
      )
      return merging.landscape(test_one, params, weights)

    return run

  def between(
    self, params: chex.ArrayTree, resolution: int
  ) -> list[dict[str, Any]]:
    """Tests convex combinations of the models of the first seed.

    Args:
      params: leaves [S, N, ...], N >= 3.
      resolution: points across the picture.

    Returns:
      One row per point for `plots.polygon`: `x`, `y`, `corner`, and the test
      metrics.
    """
    first = lambda tree: jax.tree.map(lambda x: x[0], tree)
    n = checks.num_clients(first(params), name='params')
    points = merging.polygon_grid(n, resolution)
    weights = merging.wachspress_weights(points, n)
    test, _, batches = self._arguments
    found = jax.device_get(
      self._landscape(first(params), test, first(batches), weights)
    )
    return [
      {
        'x': float(x),
        'y': float(y),
        'corner': k if k < n else -1,
        **{name: float(value[k]) for name, value in found.items()},
      }
      for k, (x, y) in enumerate(points)
    ]

  def last_rows(
    self, moment: Any, *, merge: bool = True, resolution: int = 0
  ) -> list[dict[str, Any]]:
    """Tests a variant before and after the final merge, and in between.

    Args:
      moment: the variant after its last round, as `experiment.compare` has it.
      merge: whether there is a final merge.
      resolution: points across the picture of the loss between all models;
        below 2, or with fewer than three models, there is none.

    Returns:
      Rows: split 'final' with `stage` 'before' or 'after', and split
      'landscape' for the first seed.
    """
    label = {'step': moment.round, 'variant': moment.variant.name}
    seeds = self.problem.seeds
    before = self.measure(moment.params)
    stages = {'before': before}
    if merge:
      stages['after'] = self.finish(moment.params)
    out = [
      label
      | {'split': 'final', 'seed': seed, 'stage': stage}
      | {name: float(values[name][i]) for name in ('accuracy', 'loss')}
      for stage, values in stages.items()
      for i, seed in enumerate(seeds)
    ]
    if resolution >= 2 and self.problem.num_clients >= 3:
      common = label | {'split': 'landscape', 'seed': seeds[0]}
      out += [common | p for p in self.between(moment.params, resolution)]
    return out
