# SPDX-License-Identifier: Apache-2.0
r"""Which links of a graph are missing?

Predictors see the links that are known, most of them at a time, and learn to
tell the others from pairs that are none: products of vectors (`gae`), pooled
common neighbors (`ncn`, `ncn2`, `ncn_diff`), completed ones (`ncnc`), scores
that learn nothing (`cn`, `aa`, `ra`). A round is an epoch. With
`predictor@algorithm` the learners are parts of the graph itself: they see their
own neighborhood, and send models along the links between them.

Example: python -m experiments.link_prediction \
  --dataset='geometric(radius=0.075)' --keep_edges=0.5 --seeds=0,1,2 \
  --variants='aa,gae,ncn,ncnc(prior=0.2, scale=5, offset=4),ncn@gossip_sgd'
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import federated, local, plots, problems
from jaxdl.core import registry
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.graphs import links, sets

knob = runner.knob
METRICS = ('hits', 'auc', 'mrr')
SPLIT = (
  *('validation', 'test', 'num_negatives', 'keep_edges', 'validation_edges'),
  *('batch_size', 'hits', 'eval_batch_size'),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of link prediction."""

  num_rounds: int = knob(40, 'Epochs.', low=0)
  eval_every: int = knob(5, 'Epochs between tests.', low=1)
  variants: tuple[str, ...] = knob(
    ('cn', 'aa', 'ra', 'gae', 'gae_cn', 'ncn'),
    'What to compare, predictor[@algorithm]: with an algorithm, parts of the '
    'graph learn together.',
    registry=registry.Pair(links.PREDICTORS, problems.links.TRAININGS),
    smoke=lambda v: v if len(v) < 4 else (v[0], *v[-2:]),
  )
  encoder: str = knob('mpnn', 'Of nodes.', registry=links.ENCODERS)
  dataset: str = knob(
    'geometric', 'Graph; those of files need --data_dir.', registry=sets.SETS
  )
  data_dir: str = knob('', 'Folder of the data files.')
  validation: float = knob(
    0.1, 'Share of the links to select by.', low=0, high=1, open_high=True
  )
  test: float = knob(
    0.2, 'Share of the links to test on.', low=0, high=1, open_high=True
  )
  num_negatives: int | None = knob(
    None, 'Pairs to compare with; as many as links if none.', low=1
  )
  keep_edges: float = knob(
    1.0, 'Share of training links known.', low=0, high=1, open_low=True
  )
  validation_edges: bool = knob(False, 'Whether tests know those links.')
  batch_size: int = knob(64, 'Links in a step.', low=1)
  encoder_optimizer: str = knob(
    'adam(0.005)', "The encoder's.", registry=local.OPTIMIZERS
  )
  predictor_optimizer: str = knob(
    'adam(0.005)', "The predictor's.", registry=local.OPTIMIZERS
  )
  remove_targets: bool = knob(
    True, 'Whether the links of a batch are taken out of the graph.'
  )
  hits: int = knob(50, 'K of Hits@K.', low=1)
  metric: str = knob(
    'hits',
    'Figure by which the epoch of the table is selected, of the validation.',
    choices=METRICS,
  )
  parts: str = knob(
    'communities',
    'Who the clients are.',
    registry=problems.links.PARTS,
    needs={'variants': tuple(problems.links.TRAININGS)},
  )
  hops: int = knob(
    1,
    'Steps within which a client knows all links.',
    low=0,
    needs={'variants': tuple(problems.links.TRAININGS)},
  )
  eval_batch_size: int = knob(1024, 'Pairs at a time in tests.', low=0)

  def validate(self) -> None:
    """Checks files and variants."""
    super().validate()
    problems.check_files(
      self.dataset, self.data_dir, sets.needs_files(self.dataset)
    )
    config_lib.check_different(self.variants, name='variants')
    if not self.variants:
      raise ValueError('variants is empty: name at least one predictor.')
    for variant in self.variants:
      predictor, training = registry.pair(variant)
      if training and links.PREDICTORS.part(predictor).name in links.FIXED:
        raise ValueError(
          f'variants={variant}: {predictor} learns nothing, so that there is '
          'nothing to send; leave the algorithm out.'
        )

  def smoked(self) -> 'Config':
    """A small graph as well."""
    small = super().smoked()
    if small.dataset != type(self).dataset or small.batch_size != 64:
      return small
    return dataclasses.replace(small, dataset='karate', batch_size=8, hits=5)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  data = problems.links.load_links(
    config.dataset,
    data_dir=config.data_dir or None,
    seeds=config.seeds,
    **{name: getattr(config, name) for name in SPLIT},
  )
  data.check_metric(config.metric)
  steps = max(1, config.num_rounds * data.num_steps)
  optimizer = links.two_rates(
    local.make_optimizer(config.encoder_optimizer, num_steps=steps),
    local.make_optimizer(config.predictor_optimizer, num_steps=steps),
  )
  common = {
    name: getattr(config, name) for name in ('encoder', 'remove_targets')
  }
  made, algorithms, columns = {}, {}, {}
  for variant in config.variants:
    predictor, training = registry.pair(variant)
    with config_lib.naming(variants=variant):
      if training is None:
        problem = data.problem(predictor, **common)
        algorithm = links.over_batches(
          federated.centralized_sgd(problem.task, optimizer=optimizer)
        )
      else:
        problem = data.clients(
          predictor, parts=config.parts, hops=config.hops, **common
        )
        algorithm = problems.links.over_graph(
          training, problem, optimizer=optimizer
        )
      shapes = jax.eval_shape(problem.task.init, jax.random.key(0))
    made[variant], algorithms[variant] = problem, algorithm
    size = sum(x.size for x in jax.tree.leaves(shapes))
    columns[variant] = {'parameters': size}
  return compare(
    config,
    made,
    algorithms,
    columns=columns,
    plots=(functools.partial(draw, config),),
    table=functools.partial(table, config),
  )


def selected(rows, metric: str = 'hits'):
  """The test rows of each variant and seed that are best in the validation.

  Args:
    rows: rows of a run.
    metric: by which.

  Returns:
    A row for each; the first where several are as good, the last where nothing
    is validated.
  """
  best = {}
  for row in rows:
    if row['split'] != 'test':
      continue
    value = row[f'validation_{metric}']
    if np.isnan(row['validation_auc']):
      value = -np.inf
    at = (row['variant'], row['seed'])
    if at not in best or value > best[at][0] or np.isinf(best[at][0]):
      best[at] = (value, row)
  return [row for _, row in best.values()]


def table(config: Config, rows):
  """A line for each variant: what it reaches where validation is best."""
  found = selected(rows, config.metric)
  names = [n for n in (*METRICS, 'worst_auc') if any(n in r for r in found)]
  lines = []
  for variant in config.variants:
    own = [r for r in found if r['variant'] == variant]
    epochs = ', '.join(str(r['step']) for r in own)
    cells = [variant, *(str(r['parameters']) for r in own[:1]), epochs]
    for name in names:
      values = [r[name] for r in own if name in r]
      mean = f'{np.mean(values):.4f}' if values else ''
      spread = f' ± {np.std(values, ddof=1):.4f}' if len(values) > 1 else ''
      cells.append(mean + spread)
    lines.append(tuple(cells))
  shown = {'hits': f'hits@{config.hits}'}
  heads = ['variant', 'parameters', 'epoch', *(shown.get(n, n) for n in names)]
  return heads, lines


def draw(config: Config, rows, directory):
  """Draws success in tests over the epochs.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  known = f', {config.keep_edges:.0%} of the training links'
  title = f'{config.dataset}{known if config.keep_edges < 1 else ""}'
  names = (f'Hits@{config.hits}', 'Area under the curve', 'Reciprocal rank')
  return [
    plots.lines(
      rows,
      directory / f'{metric}.png',
      metric,
      xlabel='Epoch',
      ylabel=f'{name} of test links',
      title=title,
    )
    for metric, name in zip(METRICS, names, strict=True)
    if any(metric in row for row in rows)
  ]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
