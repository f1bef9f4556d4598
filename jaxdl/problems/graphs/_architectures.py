# SPDX-License-Identifier: Apache-2.0
"""Architectures of networks on a graph, or on a landscape of made-up scores."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, types
from jaxdl.graphs import search, sets


class Scores(NamedTuple):
  """What a landscape is drawn with, see `graphs.search.landscape`."""

  pair_share: float
  pair_scale: float
  noise: float


def scores(
  *, pair_share: float = 0.3, pair_scale: float = 0.5, noise: float = 0.003
) -> Scores:
  """Scores that nobody has to train for; each seed has its own.

  Args:
    pair_share: see `graphs.search.landscape`.
    pair_scale: likewise.
    noise: see `graphs.search.landscape_search`.

  Returns:
    The numbers.
  """
  checks.number(pair_share, name='pair_share', low=0, high=1)
  checks.number(pair_scale, name='pair_scale', low=0)
  checks.number(noise, name='noise', low=0)
  return Scores(pair_share, pair_scale, noise)


LANDSCAPE = 'landscape'
_MASKS = ('train', 'validation', 'test')
ARCHITECTURES = sets.SETS | {LANDSCAPE: scores}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architectures(types.Problem):
  """A space of architectures, and who says how good one is.

  Attributes:
    space: of tables.
    num_layers: L of all of them.
    nodes: nodes to classify, the same for all seeds; None on a landscape.
    noise: of a landscape's scores.
  """

  space: search.SearchSpace
  num_layers: int
  nodes: search.NodeTask | None = None
  noise: float = 0.0

  def trainer(self, *, optimizer: Any = None, **options: Any) -> search.Trainer:
    """Makes what trains the networks of tables.

    Args:
      optimizer: of a training; `graphs.search.child_optimizer()` if None.
      **options: of `graphs.search.Trainer`.

    Returns:
      The trainer.

    Raises:
      ValueError: on a landscape, or if an option is out of range.
    """
    if self.nodes is None:
      raise ValueError(f'dataset={LANDSCAPE} has scores: nothing is trained.')
    children = search.Children(
      self.space,
      self.num_layers,
      self.nodes.features.shape[1],
      self.num_classes,
    )
    if optimizer is None:
      optimizer = search.child_optimizer()
    return search.Trainer(children, self.nodes, optimizer, **options)

  def algorithm(
    self,
    spec: str,
    trainer: search.Trainer | None = None,
    *,
    sharing: str | None = None,
  ) -> Any:
    """Makes an algorithm of a search.

    Args:
      spec: a part of `graphs.search.SEARCHES`.
      trainer: where networks are trained.
      sharing: a part of `graphs.search.SHARING`; no weights are shared if None.

    Returns:
      An algorithm, or what makes it of the landscape of a seed.

    Raises:
      ValueError: if a name or an option is unknown or out of range, or weights
        are to be shared where there are none.
    """
    made = search.make_search(spec, self.space, self.num_layers)
    if self.nodes is None:
      if sharing is not None:
        raise ValueError(
          f'sharing={sharing} has no effect on dataset={LANDSCAPE}: it has no '
          'weights.'
        )
      return lambda own: search.landscape_search(made, own, noise=self.noise)
    if trainer is None:
      raise ValueError('trainer is needed on a graph: problem.trainer().')
    rule = search.SHARING.make(sharing or 'none')
    return search.architecture_search(made, trainer, sharing=rule)


def architectures(
  dataset: str = 'block_model',
  *,
  data_dir: str | os.PathLike[str] | None = None,
  space: str = 'agnn',
  num_layers: int = 2,
  seeds: Sequence[int] = (0,),
) -> Architectures:
  """Architectures for a graph whose nodes are classified.

  What is learned is an architecture, so `task` has nothing to train and
  cohorts are empty; `Architectures.algorithm` makes searches.

  Args:
    dataset: a part of `graphs.sets.SETS`, drawn with its own seed (0 if it
      says none) for all seeds of the run; or 'landscape(...)', which each seed
      draws for itself.
    data_dir: folder of the files, where there are some.
    space: a part of `graphs.search.SPACES`.
    num_layers: L >= 1.
    seeds: S seeds.

  Returns:
    The problem. It measures `accuracy`, the best validation score so far (on a
    landscape the true score of the best), and what else an algorithm counts.

  Raises:
    ValueError: if a name or an option is unknown or out of range, files are
      missing, or nodes have no labels or splits.

  Example:
    >>> problem = architectures('karate')
    >>> problem.space.size(problem.num_layers), problem.num_classes
    (199148544, 2)
  """
  seeds = checks.seeds(seeds)
  layers = checks.num_layers(num_layers)
  found = search.make_space(space)
  part = ARCHITECTURES.part(dataset)
  nodes, noise, num_classes, score = None, 0.0, 0, 'accuracy'
  data: Any = jnp.arange(len(seeds))
  if part.name == LANDSCAPE:
    own = ARCHITECTURES.make(dataset)
    noise = own.noise
    drawn = [
      search.landscape(
        jax.random.fold_in(jax.random.key(seed), 0),
        found,
        layers,
        pair_share=own.pair_share,
        pair_scale=own.pair_scale,
      )
      for seed in seeds
    ]
    data = jax.tree.map(lambda *xs: jnp.stack(xs), *drawn)
  else:
    loaded = sets.load_graph_set(dataset, data_dir)
    nodes = _nodes(dataset, loaded)
    num_classes = loaded.num_classes
    score = 'F1' if nodes.labels.ndim == 2 else score

  def cohort(key, data, round):
    del key, data, round
    return types.Cohort(
      client_ids=jnp.zeros(1, jnp.int32),
      data=jnp.zeros(1),
      mask=jnp.ones(1, bool),
      weights=jnp.ones(1),
    )

  return Architectures(
    task=types.Task(
      lambda key: jnp.zeros(()),
      lambda params, batch, *, key=None: jnp.zeros_like(params),
      lambda params, batch: {},
    ),
    data=data,
    cohort=cohort,
    evaluate=lambda params: {k: np.asarray(v) for k, v in params.items()},
    seeds=seeds,
    num_classes=num_classes,
    metric='accuracy',
    ylabel=f'Validation {score} of the best',
    test=nodes,
    space=found,
    num_layers=layers,
    nodes=nodes,
    noise=noise,
  )


def _nodes(dataset, loaded):
  """The nodes of a set, or what it lacks."""
  masks = {name: getattr(loaded, name) for name in _MASKS}
  missing = [name for name, mask in masks.items() if mask is None]
  if loaded.labels is None or missing:
    lacks = 'labels' if loaded.labels is None else ', '.join(missing)
    raise ValueError(
      f'dataset={dataset} has no {lacks}: name one whose nodes are split and '
      'have labels.'
    )
  return search.node_task(
    loaded.graph,
    loaded.features,
    loaded.labels,
    num_classes=loaded.num_classes,
    **masks,
  )
