# SPDX-License-Identifier: Apache-2.0
"""What detectors found, as rows and pictures."""

import pathlib
from typing import Any

import jax
import numpy as np

from jaxdl import experiment, plots
from jaxdl.perception import detection

_SIDES = ('x', 'y', 'width', 'height')


def picture_rows(
  moment: experiment.Moment, *, num_images: int = 6, score: float = 0.3
) -> list[dict[str, Any]]:
  """Rows for pictures of what the first seed of a variant has learned.

  Args:
    moment: of a variant of `variant`.
    num_images: test images whose boxes are told.
    score: least score of a box that is told.

  Returns:
    Rows of three splits: 'boxes' with `image`, `kind` (found or true),
    `phrase`, `score`, `x`, `y`, `width`, `height` in shares of the image;
    'curves' with `group`, `recall` and `precision` at IoU .5; 'experts' with
    `layer`, `expert`, `partner` and `share`, of the queries of an expert those
    that go to another as well.
  """
  problem = moment.variant.problem
  test = problem.test.images
  params = jax.tree.map(lambda x: x[0], moment.params)
  label = {
    'step': moment.round,
    'variant': moment.variant.name,
    'seed': problem.seeds[0],
  }
  found = detection.detect(problem.network, params, test)
  rows = []
  for kind, part, scores in (
    ('true', test.truth, np.ones(len(test.truth.images))),
    ('found', found, found.scores),
  ):
    for i in np.flatnonzero(
      (np.asarray(part.images) < num_images) & (scores >= score)
    ):
      box = part.boxes[i] / np.tile(test.sizes[part.images[i]], 2)
      place = dict(zip(_SIDES, map(float, box), strict=True))
      rows.append(
        label
        | {'split': 'boxes', 'image': int(part.images[i]), 'kind': kind}
        | {'phrase': test.names[part.categories[i]], 'score': float(scores[i])}
        | place
      )
  precision = detection.average_precision(
    found, test.truth, num_categories=len(test.names)
  )
  for group, members in test.groups.items():
    curves = precision.curves[members]
    curves = curves[np.isfinite(curves).all(axis=1)]
    for i in range(0, 101, 5) if len(curves) else ():
      rows.append(
        label
        | {'split': 'curves', 'group': group, 'recall': i / 100}
        | {'precision': float(curves[:, i].mean())}
      )
  together = detection.coactivations(problem.network, params, test)
  for layer, counts in enumerate(together.values()):
    used = np.maximum(np.diagonal(counts), 1)
    rows += [
      label
      | {'split': 'experts', 'layer': layer, 'expert': a, 'partner': b}
      | {'share': 0.0 if a == b else float(counts[a, b] / used[a])}
      for a in range(len(counts))
      for b in range(len(counts))
    ]
  return rows


def test_pictures(source: str, num_images: int) -> np.ndarray:
  """The first test images of a source, as `picture_rows` numbers them.

  Args:
    source: a part of `detection.SOURCES`.
    num_images: n; fewer if a source has fewer.

  Returns:
    f32[n, H, W, 3] in [0, 1].
  """
  test = detection.draw_test_set(
    detection.SOURCES.make(source), num_test=num_images, batch_size=num_images
  )
  return np.asarray(test.batches['inputs'][0])


def draw_experts(
  rows: list[dict[str, Any]], directory: pathlib.Path, **look: Any
) -> list[pathlib.Path]:
  """Draws how experts of all layers work together, over time and at the end.

  Args:
    rows: rows of a run, with those of `picture_rows`.
    directory: where the pictures go.
    **look: of curves over time, see `plots.lines`.

  Returns:
    The paths written.
  """
  paths = []
  tests = [r for r in rows if r['split'] == 'test']
  for name, label in (
    ('same_replica', 'Queries with all experts in one replica'),
    ('partners', 'Effective partners of an expert'),
  ):
    layers = [
      r | {name: value, 'curve': f'{r["variant"]}, layer {k.split("_")[-1]}'}
      for r in tests
      for k, value in r.items()
      if k.rstrip('0123456789') == f'{name}_'
    ]
    if layers:
      path = directory / f'{name}.png'
      paths.append(
        plots.lines(layers, path, name, by='curve', ylabel=label, **look)
      )
  together = [r for r in rows if r['split'] == 'experts']
  for i, name in enumerate(dict.fromkeys(r['variant'] for r in together)):
    paths.append(
      plots.matrices(
        [
          r | {'layer': f'layer {r["layer"]}'}
          for r in together
          if r['variant'] == name
        ],
        directory / f'experts_{i}.png',
        'share',
        split='experts',
        by='layer',
        row='expert',
        column='partner',
        low=0.0,
        title=name,
      )
    )
  return paths
