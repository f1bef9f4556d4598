# SPDX-License-Identifier: Apache-2.0
r"""Learning without a server over any graph: topology x weights x algorithm.

Compares variants, each an algorithm on a topology, on the same data and
batches: accuracy (or error) and consensus distance over rounds, over messages
and over bytes. The task is classification of a data set, dealt by
`--partition`, or one quadratic per client, whose optimum is known.

Example: python -m experiments.decentralized_training \
  --variants='gossip_sgd@ring,gossip_sgd@base(max_degree=2),extra@torus' \
  --partition='label_dirichlet(alpha=0.1)'
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import data, decentralized, local, metrics, mixing, plots, problems
from jaxdl.core import registry, types
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob


def classification() -> None:
  """A data set, dealt to the clients."""


TASKS = registry.Registry(
  'task',
  {'classification': classification, 'quadratics': problems.quadratics},
  given=('num_clients', 'seeds'),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.ClassificationConfig):
  """Knobs of decentralized training."""

  num_rounds: int = knob(300, 'Rounds.', low=0)
  eval_every: int = knob(15, 'Rounds between evaluations.', low=1)
  num_clients: int = knob(24, 'Clients.', low=1)
  variants: tuple[str, ...] = knob(
    (
      'gossip_sgd@complete',
      'gossip_sgd@ring',
      'gossip_sgd@one_peer_exponential',
      'gossip_sgd@base',
      'gradient_tracking@ring',
      'gossip_sgd@alone',
    ),
    'Variants to compare, algorithm[@topology].',
    registry=decentralized.VARIANTS,
    smoke=3,
  )
  task: str = knob('classification', 'What is learned.', registry=TASKS)
  partition: str = knob(
    'label_dirichlet(alpha=0.1)',
    'How training examples are dealt.',
    registry=data.PARTITIONERS,
  )
  optimizer: str = knob('sgd(0.1)', "The clients'.", registry=local.OPTIMIZERS)
  same_start: bool = knob(True, 'Whether all clients start from one draw.')
  graph_seed: int = knob(0, 'Seed of random graphs.', low=0)
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  @property
  def is_quadratic(self) -> bool:
    """Whether there is no data set."""
    return TASKS.part(self.task).name == 'quadratics'

  @property
  def num_dealt(self) -> int:
    """Quadratics are drawn."""
    return 0 if self.is_quadratic else self.num_clients

  def ineffective(self) -> dict[str, str]:
    """Quadratics have no data set."""
    if not self.is_quadratic:
      return {}
    names = config_lib.own_names(problems.ClassificationConfig)
    names.remove('num_clients')
    return dict.fromkeys(names, 'it is for task=classification')

  def validate(self) -> None:
    """Builds every graph and mixer on the host; `build` checks the rest."""
    super().validate()
    config_lib.check_square(self.num_clients)
    config_lib.check_different(self.variants, name='variants')
    # No device may be touched here: --devices comes after.
    for variant in self.variants:
      with config_lib.naming(variants=variant, num_clients=self.num_clients):
        self.link(variant)

  def link(self, variant: str) -> mixing.Mixer | np.ndarray:
    """What a variant communicates over."""
    return decentralized.make_link(
      variant, self.num_clients, seed=self.graph_seed
    )

  def problem(self, **changes) -> types.Problem:
    """Builds the problem of the knobs."""
    if self.is_quadratic:
      return TASKS.make(
        self.task, num_clients=self.num_clients, seeds=self.seeds
      )
    return super().problem(**changes)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  problem, rounds = config.problem(), config.num_rounds
  links = {v: config.link(v) for v in config.variants}
  algorithms = {}
  for variant, link in links.items():
    with config_lib.naming(variants=variant):
      algorithms[variant] = decentralized.make_algorithm(
        variant,
        problem.task,
        config.clients(even=isinstance(link, mixing.Mixer)),
        link=link,
        optimizer=local.make_optimizer(config.optimizer, num_steps=rounds),
        same_start=config.same_start,
      )
  sent = {
    v: decentralized.messages(v, link, rounds, task=problem.task)
    for v, link in links.items()
  }
  shapes = jax.eval_shape(problem.task.init, jax.random.key(0))
  model = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
  distance = jax.jit(jax.vmap(metrics.consensus_distance))

  def measure(values, moment):
    models, share = sent[moment.variant.name]
    so_far = models[moment.round]
    each = functools.partial(np.full, len(config.seeds))
    values['test'] |= {
      'consensus': np.asarray(distance(moment.params)),
      'messages': each(so_far),
      'megabytes': each(so_far * share * model / 1e6),
    }

  return compare(
    config,
    problem,
    algorithms,
    measure=measure,
    plots=(functools.partial(draw, config, problem.metric, links),),
  )


def draw(config: Config, metric: str, links, rows, directory):
  """Draws the graphs, and success and consensus over rounds and traffic.

  Args:
    config: knobs.
    metric: what success is.
    links: mixers and graphs by variant.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  accuracy = metric == 'accuracy'
  what = f'{config.dataset}, {config.partition}' if accuracy else config.task
  title = f'{config.num_clients} clients, {what}'
  look = {'ylim': (0.0, 1.0)} if accuracy else {'log_y': True}
  look['ylabel'] = 'Distance to the optimum'
  if accuracy:
    look['ylabel'] = 'Test accuracy (mean of clients)'
  graphs = {
    registry.pair(variant)[1] or 'ring': mixing.matrices(link, num_draws=3)
    if isinstance(link, mixing.Mixer)
    else link[None]
    for variant, link in links.items()
    if not variant.startswith('local_sgd')
  }
  drawn = []
  if graphs:
    drawn.append(
      plots.draw_topologies(
        graphs, directory / 'topologies.png', title='Who talks to whom'
      )
    )
  for x, suffix, xlabel in (
    ('step', '', None),
    ('messages', '_messages', 'Models sent per client'),
    ('megabytes', '_bytes', 'Megabytes sent per client'),
  ):
    # Who sends nothing has no place on an axis of traffic.
    sends = {r['variant'] for r in rows if x == 'step' or r.get(x, 0) > 0}
    shown = [r for r in rows if r['variant'] in sends]
    if shown:
      drawn.append(
        plots.lines(
          shown,
          directory / f'{metric}{suffix}.png',
          metric,
          x=x,
          xlabel=xlabel,
          title=title,
          **look,
        )
      )
  # All start from one model.
  apart = [r for r in rows if r['split'] == 'test' and r['step']]
  if apart:
    drawn.append(
      plots.lines(
        apart,
        directory / 'consensus.png',
        'consensus',
        ylabel='Mean squared distance to the mean model',
        title=title,
        log_y=True,
        floor=plots.rounding(2),
      )
    )
  return drawn


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
