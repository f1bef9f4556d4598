# SPDX-License-Identifier: Apache-2.0
"""Algorithms that train in clusters, by name."""

import dataclasses
from typing import Any

from jaxdl.core import checks, registry, types
from jaxdl.federated import server
from jaxdl.federated.clusters import (
  _engine,
  _policies,
  _training,
)


def ocfl(
  *,
  clusterer: str = 'hdbscan',
  gossip: str | None = None,
  rearm_if_trivial: bool = False,
  allow_partial: bool = False,
  keep_directions: bool = False,
  official_quirks: bool = False,
  seed: int = 0,
) -> _training.Recipe:
  """One-shot clustering: clusters once, when updates begin to diverge.

  All train one model until the clustering temperature first rises; in that
  round clients are clustered by the cosine distances of their updates, and each
  cluster goes on by itself.

  Args:
    clusterer: a part of `CLUSTERERS`.
    gossip: a topology over which clusters gossip after the shot, see `Recipe`.
    rearm_if_trivial: whether a shot that finds a single cluster is not spent;
      the paper's is.
    allow_partial: see `Recipe`.
    keep_directions: see `Recipe`.
    official_quirks: does what the paper's code does by mistake: similarity
      clusterers get distances, running statistics count in the distances.
    seed: of random topologies.

  Returns:
    What makes the algorithm of a `Setting`.

  Example:
    >>> ocfl(clusterer='kmeans(n_clusters=3)').policy.name
    'ocfl'

  Source: Zuziak et al. 2025 (https://arxiv.org/abs/2509.01587); the predecessor
    is https://arxiv.org/abs/2503.04231. Clusters that gossip are ours.
  """
  policy = _policies.one_shot(
    clusterer,
    rearm_if_trivial=rearm_if_trivial,
    official_quirks=official_quirks,
  )
  return _training.Recipe(
    policy=policy,
    gossip=gossip,
    allow_partial=allow_partial,
    keep_directions=keep_directions,
    official_quirks=official_quirks,
    seed=checks.integer(seed, name='seed', low=0),
  )


def sattler(
  *, eps1: float = 0.35, eps2: float = 1.0, cooldown: int = 30
) -> _training.Recipe:
  """Recursive bipartition: cuts clusters whose members pull apart.

  Args:
    eps1: ε1, a cluster's mean update is shorter than that; the defaults are
      those for MNIST.
    eps2: ε2, and a member's longer than that.
    cooldown: last round t, from 0, without a cut.

  Returns:
    What makes the algorithm of a `Setting`.

  Source: Sattler et al. 2020 (https://arxiv.org/abs/1910.01991), Algorithm 3.
  """
  policy = _policies.bipartition(eps1=eps1, eps2=eps2, cooldown=cooldown)
  return _training.Recipe(policy=policy)


def briggs(
  *,
  round: int = 20,
  distance_threshold: float = 0.5,
  linkage: str = 'average',
  allow_partial: bool = False,
  official_quirks: bool = False,
) -> _training.Recipe:
  """Hierarchical clustering once, in a given round.

  Args:
    round: t, from 0.
    distance_threshold: cosine distance at which clusters are not joined; 0.05
      in the code of the paper on OCFL.
    linkage: 'average', 'complete' or 'single'.
    allow_partial: see `Recipe`.
    official_quirks: gives similarities for distances, as that code does.

  Returns:
    What makes the algorithm of a `Setting`.

  Source: Briggs et al. 2020 (https://arxiv.org/abs/2004.11791), Algorithm 1.
  """
  clusterer = registry.write(
    'agglomerative', distance_threshold=distance_threshold, linkage=linkage
  )
  policy = _policies.at_round(
    clusterer, round=round, official_quirks=official_quirks
  )
  return _training.Recipe(
    policy=policy, allow_partial=allow_partial, official_quirks=official_quirks
  )


def fedavg() -> _training.Recipe:
  """One cluster of all, for ever: the method of the setting as it is."""
  return _training.Recipe(policy=_policies.fixed(_policies.together, 'fedavg'))


def local_only() -> _training.Recipe:
  """A cluster for each client: nobody hears of anybody."""
  return _training.Recipe(policy=_policies.fixed(_policies.alone, 'local_only'))


@dataclasses.dataclass(frozen=True)
class Ifca:
  """`ifca` but for its setting.

  Attributes:
    num_models: K.
  """

  num_models: int

  def check(self, num_clients: int, *, everybody: bool = True) -> None:
    """Nothing depends on who takes part, see `Recipe.check`."""
    del everybody
    checks.integer(num_clients, name='num_clients', low=2)

  def __call__(self, setting: _engine.Setting) -> types.Algorithm:
    """Makes the algorithm; the setting's method is not asked."""
    method = server.ifca(setting.task, setting.work, num_models=self.num_models)
    algorithm = server.federate(
      method,
      setting.clients,
      setting.channel,
      cohort_size=setting.cohort_size,
    )
    return _training.of_choices(
      setting, algorithm, lambda state: state.own['method']
    )


def ifca(*, num_models: int = 3) -> Ifca:
  """K models, of which each client trains what suits its data best.

  Args:
    num_models: K >= 1.

  Returns:
    What makes the algorithm of a `Setting`, see `server.ifca`.

  Source: Ghosh et al. 2020 (https://arxiv.org/abs/2006.04088), Algorithm 1.
  """
  return Ifca(checks.integer(num_models, name='num_models', low=1))


ALGORITHMS = registry.Registry(
  'algorithm',
  {
    'ocfl': ocfl,
    'sattler': sattler,
    'briggs': briggs,
    'ifca': ifca,
    'fedavg': fedavg,
    'local_only': local_only,
  },
  tried={},
)


def make_recipe(spec: Any) -> _training.Recipe | Ifca:
  """Makes all of an algorithm but its setting of text.

  Args:
    spec: a part of `ALGORITHMS` with its options, or a `Recipe`.

  Returns:
    The recipe; `check` finds what does not go with numbers of clients.

  Raises:
    ValueError: if the name or an option is unknown or out of range.
  """
  if isinstance(spec, (_training.Recipe, Ifca)):
    return spec
  return ALGORITHMS.make(spec)


def make_algorithm(spec: Any, setting: _engine.Setting) -> types.Algorithm:
  """Makes an algorithm that trains in clusters.

  Args:
    spec: a part of `ALGORITHMS` with its options, such as
      'ocfl(clusterer=hdbscan(min_cluster_size=3))', or a `Recipe`.
    setting: task, clients, work, method, channel.

  Returns:
    The algorithm; it runs on the host and has a model per client.

  Raises:
    ValueError: if the name or an option is unknown or out of range, or parts
      do not fit.

  Example:
    >>> import jax.numpy as jnp
    >>> from jaxdl import local, networks
    >>> task = networks.regression(
    ...   networks.logistic_regression(1), jnp.ones((1, 2))
    ... )
    >>> setting = _engine.Setting(task, 5, local.LocalWork('sgd(0.1)'))
    >>> make_algorithm('ocfl(clusterer=kmeans(n_clusters=9))', setting)
    Traceback (most recent call last):
    ValueError: n_clusters=9 exceeds the 5 clients: lower it.
  """
  if not isinstance(setting, _engine.Setting):
    raise TypeError(
      'setting must be a clusters.Setting(task, clients, work); got '
      f'{checks.described(setting)}.'
    )
  return make_recipe(spec)(setting)
