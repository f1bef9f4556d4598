# SPDX-License-Identifier: Apache-2.0
"""The index: which paper's system is where.

A paper is a row here, never a folder. `table()` is the method table of the
README; a test keeps the two equal and checks that every name exists.
"""

from typing import NamedTuple


class Paper(NamedTuple):
  """One row of the index.

  Attributes:
    key: short name; claims are in `experiments/claims/<key>.py`.
    title: what the row is about.
    source: authors and year.
    arxiv: identifier, or '' if there is none.
    functions: public names below `jaxdl`.
    experiment: binary below `experiments`.
    claims: names of claims that `experiments.reproduce` checks.
    colab: notebook below `colabs`, or ''.
  """

  key: str
  title: str
  source: str
  arxiv: str
  functions: tuple[str, ...]
  experiment: str
  claims: tuple[str, ...] = ()
  colab: str = ''


PAPERS = (
  Paper(
    key='byzantine_baselines',
    title='Robust aggregation rules, pre-aggregators and attacks',
    source='Blanchard 2017, Yin 2018, Karimireddy 2021, Allouah 2023 and more',
    arxiv='2302.01772',
    functions=(
      'aggregators.krum',
      'aggregators.multi_krum',
      'aggregators.bulyan',
      'aggregators.median',
      'aggregators.trimmed_mean',
      'aggregators.meamed',
      'aggregators.phocas',
      'aggregators.geometric_median',
      'aggregators.mda',
      'aggregators.smea',
      'aggregators.caf',
      'aggregators.cge',
      'aggregators.centered_clipping',
      'aggregators.dnc',
      'aggregators.signguard',
      'aggregators.foolsgold',
      'aggregators.fltrust',
      'aggregators.nnm',
      'aggregators.bucketing',
      'aggregators.clipping',
      'aggregators.arc',
      'attacks.alie',
      'attacks.ipm',
      'attacks.min_max',
      'attacks.mimic',
      'attacks.fang',
      'federated.robust_sgd',
    ),
    experiment='robust_training',
    claims=('robust_rules_survive', 'mean_is_beaten', 'mixing_helps'),
    colab='01_robust_aggregation',
  ),
  Paper(
    key='flag_aggregator',
    title='Flag aggregator',
    source='Almasi et al. 2024',
    arxiv='2302.05865',
    functions=(
      'aggregators.flag_aggregator',
      'aggregators.flag_state',
      'aggregators.flag_mean',
    ),
    experiment='robust_training',
    claims=(
      'mean_breaks',
      'flag_holds',
      'flag_beats_coordinate_rules',
      'raw_form_collapses',
    ),
    colab='01_robust_aggregation',
  ),
  Paper(
    key='monna',
    title='MoNNA: robust collaborative learning without a server',
    source='Farhadkhani et al. 2023',
    arxiv='2209.10931',
    functions=(
      'decentralized.all_to_all_sgd',
      'decentralized.receiver_rule',
      'aggregators.nearest_neighbor_averaging',
    ),
    experiment='monna',
    claims=(
      'monna_holds',
      'momentum_is_needed',
      'drift_is_smaller',
      'ratios_are_bounded',
    ),
    colab='01_robust_aggregation',
  ),
)


def table() -> str:
  """The method table of the README.

  Returns:
    Markdown.
  """
  lines = [
    '| method | source | functions in `jaxdl` | binary | colab |',
    '|---|---|---|---|---|',
  ]
  for paper in PAPERS:
    source = paper.source
    if paper.arxiv:
      source = f'[{source}](https://arxiv.org/abs/{paper.arxiv})'
    functions = ', '.join(f'`{name}`' for name in paper.functions[:6])
    if len(paper.functions) > 6:
      functions += f' and {len(paper.functions) - 6} more'
    colab = (
      f'[{paper.colab}](colabs/{paper.colab}.ipynb)' if paper.colab else ''
    )
    lines.append(
      f'| {paper.title} | {source} | {functions} | '
      f'[`{paper.experiment}`](experiments/{paper.experiment}.py) | {colab} |'
    )
  return '\n'.join(lines)
