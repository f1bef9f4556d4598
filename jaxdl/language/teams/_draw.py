# SPDX-License-Identifier: Apache-2.0
"""Pictures of searches and of workflows, from rows alone."""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

from jaxdl import plots
from jaxdl.language import _transcripts
from jaxdl.language.teams import _workflow

Row = dict[str, Any]


def draw(
  rows: Sequence[Row], directory: pathlib.Path, *, title: str = ''
) -> list[pathlib.Path]:
  """Draws losses against proposals, credit by agent, and workflows.

  Args:
    rows: of `numeric_teams` or `text_teams`.
    directory: where the pictures go; workflows are written there as YAML too.
    title: of the pictures; scripted models are named as such.

  Returns:
    The paths written.
  """
  if any(r.get('source') == 'scripted' for r in rows):
    title = f'scripted: {title}'
  over = {'x': 'proposals', 'xlabel': 'Proposals', 'title': title}
  tests = _aligned([r for r in rows if r['split'] == 'test'])
  paths = [
    plots.lines(tests, directory / f'{name}.png', name, ylabel=label, **over)
    for name, label in (
      ('accuracy', 'Share of right answers on the test'),
      ('validation_loss', 'Share of wrong answers in validation'),
    )
    if any(name in r for r in tests)
  ]
  agents = [
    r | {'who': f'{r["layer"]}/{r.get("role", "")}{r["agent"]}'}
    for r in rows
    if r['split'] == 'agents'
  ]
  if agents:
    paths.append(
      plots.bars(
        agents,
        directory / 'credit.png',
        'credit',
        split='agents',
        group='who',
        ylabel='Credit',
        title=title,
      )
    )
  for row in rows:
    if row['split'] == 'workflow':
      paths += _draw_workflow(row, directory, title)
  return paths


def _aligned(rows):
  """Test rows whose proposals are the mean over the seeds of a round."""
  found: dict[tuple[str, int], list[int]] = {}
  for row in rows:
    place = (row['variant'], row['step'])
    found.setdefault(place, []).append(row['proposals'])
  mean = {place: sum(own) / len(own) for place, own in found.items()}
  return [
    row | {'proposals': mean[row['variant'], row['step']]} for row in rows
  ]


def _draw_workflow(row, directory, title):
  workflow = _workflow.load_workflow(row['yaml'])
  name = re.sub(r'[^A-Za-z0-9]+', '_', row['variant']).strip('_')
  name = f'workflow_{name}_{row["seed"]}'
  _transcripts.write_text(directory / f'{name}.yaml', row['yaml'])
  return [draw_workflow(workflow, directory / f'{name}.png', title=title)]


def draw_workflow(
  workflow: _workflow.Workflow, path: pathlib.Path, *, title: str = ''
) -> pathlib.Path:
  """Draws who works in which layer and who sees whom.

  Args:
    workflow: with pools; the block that is chosen is drawn.
    path: of the picture.
    title: above it.

  Returns:
    The path.
  """
  from jaxdl.plots import _figures

  blocks = [_workflow.current(workflow, k) for k in range(len(workflow.pools))]
  with _figures.style():
    fig = _figures.figure(2.2 * (len(blocks) + 1), 3.6)
    axes = fig.subplots()
    where = {}
    for x, block in enumerate(blocks):
      for i, node in enumerate(block.nodes):
        y = (len(block.nodes) - 1) / 2 - i
        where[x, node.id] = (x, y)
        text = f'{node.id}\n{node.role}'
        axes.text(
          x,
          y,
          text,
          ha='center',
          va='center',
          fontsize=8,
          parse_math=False,
          bbox={'boxstyle': 'round', 'facecolor': '0.95'},
        )
      axes.text(
        x,
        -len(block.nodes) / 2 - 0.6,
        f'{block.block_id}: {block.aggregation}',
        ha='center',
        fontsize=8,
        parse_math=False,
      )
      arrow = {'arrowstyle': '->', 'color': '0.4'}
      for a, b in block.edges:
        axes.annotate(
          '', where[x, b], where[x, a], arrowprops=arrow | {'shrinkB': 12}
        )
      if x:
        axes.annotate('', (x - 0.3, 0), (x - 0.7, 0), arrowprops=arrow)
    tallest = max(len(b.nodes) for b in blocks)
    axes.set_xlim(-0.6, len(blocks) - 0.4)
    axes.set_ylim(-tallest / 2 - 1, tallest / 2 + 0.3)
    axes.set_axis_off()
    _figures.title(axes, title)
    return _figures.save(fig, path)
