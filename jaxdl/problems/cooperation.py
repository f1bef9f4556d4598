# SPDX-License-Identifier: Apache-2.0
"""Agents that see a place in bits, and tell each other what they see.

    from jaxdl.problems import cooperation

    problem = cooperation.bev_segmentation('roads(grid=20)', fusion='attention')
    algorithm = problem.algorithm(optax.adam(3e-3))
    state, history = experiment.train(
      algorithm, problem, num_rounds=500, key=jax.random.key(0)
    )

`rival_rows` and `mask_rows` are rows for pictures, `check_parts` checks parts
without drawing anything.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.core import checks, types
from jaxdl.perception import cooperation as coop

# What is folded into the key of a run for tests.
_TESTS, _KEYS, _OTHERS = 2**31 - 1, 2**31 - 2, 2**31 - 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cooperation(types.Problem):
  """A problem of cooperation.

  Attributes:
    world: where scenes come from.
    model: how agents see, select and fuse.
    egos: how many agents are receivers.
    links: who hears whom, or None.
    link: what is counted of a link.
    loss: weights of classes.
    penalty: price of what is sent, in the loss of `task`.
    explore: chance of a full frame, in the loss of `task`.
    options: with which the model was made.
    tests: scenes of every seed.
    evaluators: compiled tests, by the selector that they are made with.
  """

  world: coop.worlds.World
  model: coop.Model
  egos: int
  links: Any
  link: coop.Link
  loss: coop.Loss
  penalty: str
  explore: float
  options: dict[str, Any]
  tests: tuple[coop.worlds.Scene, ...]
  evaluators: dict[Any, Any]

  def for_selector(self, selector: str) -> 'Cooperation':
    """The same scenes for a model that selects in another way.

    Args:
      selector: a part of `perception.cooperation.SELECTORS`.

    Returns:
      The problem; it shares data and cohorts with this one.

    Raises:
      ValueError: if the selector is unknown.
    """
    options = {**self.options, 'selector': selector}
    model = coop.make_model(self.world, **options)
    return _with_model(self, model, options)

  def algorithm(
    self,
    optimizer: optax.GradientTransformation,
    *,
    penalty: str = 'linear',
    schedule: coop.Schedule | None = None,
  ) -> types.Algorithm:
    """Full frames first, then trimmed ones; see `cooperative_training`.

    Args:
      optimizer: any optax transformation.
      penalty: a part of `perception.cooperation.wire.PENALTIES`.
      schedule: warm-up, ε and steps.

    Returns:
      The algorithm.
    """
    return coop.cooperative_training(
      self.model,
      optimizer=optimizer,
      loss=self.loss,
      penalty=penalty,
      schedule=schedule,
      egos=self.egos,
      network=self.links,
    )

  def test_with(
    self, params: Any, selector: str | None = None, *, share: Any = None
  ) -> list[tuple[coop.Model, coop.Seen]]:
    """Tests trained models, with another selector if one is named.

    Args:
      params: leaves [S, ...].
      selector: that takes the place of the model's own.
      share: budget of each seed, f[S]; None leaves it to the selector.

    Returns:
      The model and what it saw, for each seed.
    """
    found = []
    for i, seed in enumerate(self.seeds):
      own = jax.tree.map(lambda x, i=i: x[i], params)
      model = self.model
      if selector is not None:
        key = jax.random.fold_in(jax.random.key(seed), _OTHERS)
        model, own = coop.with_selector(model, own, selector, key=key)
      # One compilation for each selector.
      if selector not in self.evaluators:
        self.evaluators[selector] = coop.evaluator(
          model, egos=self.egos, network=self.links
        )
      key = jax.random.fold_in(jax.random.key(seed), _KEYS)
      budget = None if share is None else share[i]
      test = self.evaluators[selector]
      found.append((model, test(own, self.tests[i], key, share=budget)))
    return found

  def scores_with(
    self, params: Any, selector: str | None = None, *, share: Any = None
  ) -> dict[str, np.ndarray]:
    """Figures of `test_with`.

    Args:
      params: leaves [S, ...].
      selector: see `test_with`.
      share: likewise.

    Returns:
      Figures by name, f[S], see `perception.cooperation.scores`.
    """
    rows = [
      coop.scores(model, seen, self.link)
      for model, seen in self.test_with(params, selector, share=share)
    ]
    return {name: np.array([r[name] for r in rows]) for name in rows[0]}


def bev_segmentation(
  world: str = 'roads',
  *,
  data_dir: str | os.PathLike[str] | None = None,
  network: str = 'conv',
  selector: str = 'coopertrim',
  fusion: str = 'max',
  links: str = 'ego',
  compress: str = 'none',
  noises: Sequence[str] = (),
  loss: str = 'segmentation(vehicle=5.0, dynamic=1.0)',
  penalty: str = 'linear',
  explore: float = 0.1,
  link: coop.Link | None = None,
  batch_size: int = 8,
  num_clients: int = 1,
  num_tests: int = 64,
  seeds: Sequence[int] = (0,),
) -> Cooperation:
  """Agents see vehicles in discs, exchange maps and tell where vehicles are.

  A batch of fresh scenes is drawn in every round, for each client; tests are
  drawn once for each seed. `Cooperation.algorithm` trains as the paper does;
  `task` has the loss of trimmed frames with their price, for any algorithm of
  `federated`.

  Args:
    world: a part of `worlds.WORLDS` of `perception.cooperation`.
    data_dir: folder of the files, for worlds that are read.
    network: what makes maps of what an agent sees, of `ENCODERS`.
    selector: what is sent, of `SELECTORS`.
    fusion: of `FUSIONS`.
    links: who hears whom, of `wire.LINKS`.
    compress: of `wire.CODECS`.
    noises: what goes wrong, of `NOISES`.
    loss: of `LOSSES`.
    penalty: of `wire.PENALTIES`, in the loss of `task`.
    explore: chance of a full frame in the loss of `task`.
    link: what is counted of a link; 32 bits at 10 Hz if None.
    batch_size: scenes that a client sees in a round.
    num_clients: N; one trains on the batches of all unless it is federated.
    num_tests: scenes that are tested on.
    seeds: S seeds.

  Returns:
    The problem. It measures what `perception.cooperation.scores` does.

  Raises:
    ValueError: if a part is unknown or out of range, or parts do not fit.

  Example:
    >>> problem = bev_segmentation(
    ...   'roads(grid=8, frames=2, agents=2)',
    ...   network='conv(channels=2)',
    ...   num_tests=2,
    ... )
    >>> problem.model.shape, problem.metric
    ((2, 8, 8), 'iou')
  """
  seeds = checks.seeds(seeds)
  checks.integer(batch_size, name='batch_size', low=1)
  n = checks.integer(num_clients, name='num_clients', low=1)
  checks.integer(num_tests, name='num_tests', low=1)
  made = coop.worlds.make_world(world, data_dir=data_dir)
  who = coop.wire.make_links(links, made.agents)
  options = {
    'network': network,
    'selector': selector,
    'fusion': fusion,
    'codec': coop.wire.make_codec(compress),
    'conditions': coop.make_conditions(noises),
  }
  model = coop.make_model(made, **options)
  weights = coop.LOSSES.make(loss)

  def cohort(key, data, round):
    del data
    draw, _ = jax.random.split(jax.random.fold_in(key, round))
    scenes = coop.worlds.draw_scenes(made, draw, n * batch_size)
    return types.Cohort(
      client_ids=jnp.arange(n),
      data=jax.tree.map(
        lambda x: x.reshape(n, batch_size, *x.shape[1:]), scenes._asdict()
      ),
      mask=jnp.ones((n,), bool),
      weights=jnp.full((n,), 1.0 / n),
    )

  draw_tests = jax.jit(
    lambda key: coop.worlds.draw_scenes(made, key, num_tests, test=True)
  )
  tests = tuple(
    draw_tests(jax.random.fold_in(jax.random.key(seed), _TESTS))
    for seed in seeds
  )
  egos = 1 if who is None else made.agents
  return _with_model(
    Cooperation(
      task=coop.cooperative_task(
        model,
        loss=weights,
        penalty=penalty,
        explore=explore,
        egos=egos,
        network=who,
      ),
      data=jnp.zeros((len(seeds),)),
      cohort=cohort,
      evaluate=lambda params: {},
      seeds=seeds,
      num_clients=n,
      metric='iou',
      ylabel='IoU of vehicles',
      world=made,
      model=model,
      egos=egos,
      links=who,
      link=link or coop.Link(),
      loss=weights,
      penalty=penalty,
      explore=explore,
      options=options,
      tests=tests,
      evaluators={},
    ),
    model,
    options,
  )


def check_parts(
  world: str,
  *,
  data_dir: str | os.PathLike[str] | None = None,
  links: str = 'ego',
  compress: str = 'none',
  noises: Sequence[str] = (),
  **options: str,
) -> coop.Model:
  """Checks that parts are known and fit, without drawing anything.

  Args:
    world: see `bev_segmentation`.
    data_dir: likewise.
    links: likewise.
    compress: likewise.
    noises: likewise.
    **options: `network`, `selector` and `fusion`.

  Returns:
    The model.

  Raises:
    ValueError: if something is wrong.
  """
  made = coop.worlds.make_world(world, data_dir=data_dir)
  coop.wire.check_links(links, made.agents)
  return coop.make_model(
    made,
    codec=coop.wire.make_codec(compress),
    conditions=coop.make_conditions(noises),
    **options,
  )


def rival_rows(
  problem: Cooperation,
  params: Any,
  rivals: Sequence[str],
  budgets: Sequence[float],
  *,
  label: dict[str, Any],
) -> list[dict[str, Any]]:
  """Other selectors in a trained model: with as much, and with other budgets.

  Args:
    problem: on which it was trained.
    params: leaves [S, ...].
    rivals: selectors.
    budgets: shares that all of them, and the model's own, are tested with.
    label: further columns.

  Returns:
    Rows of split 'rivals', with the share that the model's own selector asked
    for, and of split 'budget', with each of the budgets.
  """
  own = problem.scores_with(params)
  share = own['percent'] / 100
  rows = []

  def add(split, selector, found, **more):
    for i, seed in enumerate(problem.seeds):
      figures = {k: float(v[i]) for k, v in found.items()}
      rows.append(
        {**label, 'split': split, 'seed': seed, 'selector': selector}
        | more
        | figures
      )

  add('rivals', 'its own', own)
  for rival in rivals:
    add('rivals', rival, problem.scores_with(params, rival, share=share))
  for selector in (None, *rivals) if budgets else ():
    fixed = coop.SELECTORS.part(selector or 'coopertrim').name
    for budget in budgets if fixed not in ('none', 'full') else ():
      each = np.full(len(problem.seeds), budget)
      found = problem.scores_with(params, selector, share=each)
      add('budget', selector or 'its own', found, budget=budget)
  return rows


def mask_rows(
  problem: Cooperation, params: Any, *, scenes: int, label: dict[str, Any]
) -> list[dict[str, Any]]:
  """What is asked for, frame by frame, and whether that is right.

  Args:
    problem: on which the model was trained.
    params: leaves [S, ...]; the first seed is shown.
    scenes: how many scenes.
    label: further columns.

  Returns:
    Rows of split 'mask': `frame`, `channel`, `asked`; and of split 'map', the
    last frame of the first scene seen by the first receiver: `kind` ('truth',
    'alone', 'full', 'trimmed'), `line` and values `v_0`, `v_1`, ...
  """
  first = dataclasses.replace(problem, seeds=problem.seeds[:1])
  label = {**label, 'seed': first.seeds[0]}
  rows, maps = [], {}
  for kind, selector in (
    ('trimmed', None),
    ('alone', 'none'),
    ('full', 'full'),
  ):
    # As `rival_rows` does it, which has compiled that.
    share = None if selector is None else np.full(1, float(kind == 'full'))
    ((_, seen),) = first.test_with(params, selector, share=share)
    maps[kind] = seen.predicted[0, -1, 0]
    if kind == 'trimmed':
      asked = seen.asked[:scenes, :, 0]
      for t, channels in enumerate(asked.reshape(-1, asked.shape[-1])):
        rows += [
          label | {'split': 'mask', 'frame': t, 'channel': c, 'asked': float(v)}
          for c, v in enumerate(channels)
        ]
  scene = jax.tree.map(lambda x: np.asarray(x[0]), first.tests[0])
  truth = {
    'truth': scene.dynamic[-1, 0],
    'seen': scene.inputs[-1, 0, :, :, 2],
    'road': scene.static[-1, 0] > 0,
  }
  for kind, values in {**truth, **maps}.items():
    for line, numbers in enumerate(np.asarray(values, float)):
      cells = {f'v_{j}': float(v) for j, v in enumerate(numbers)}
      rows.append(label | {'split': 'map', 'kind': kind, 'line': line} | cells)
  return rows


def _with_model(problem, model, options):
  """The problem of a model, which is tested by itself."""
  task = problem.task
  if model is not problem.model:
    task = coop.cooperative_task(
      model,
      loss=problem.loss,
      penalty=problem.penalty,
      explore=problem.explore,
      egos=problem.egos,
      network=problem.links,
    )
  out = problem.replace(task=task, model=model, options=options)
  out = dataclasses.replace(out, evaluators={})

  def evaluate(params):
    return out.scores_with(params)

  return dataclasses.replace(out, evaluate=evaluate)
