# SPDX-License-Identifier: Apache-2.0
r"""Can a team of agents find out by itself who should be in it?

A workflow of agents is read as a network: critics write gradients, edits follow
them and stay if validation says so. In numbers (--backend=numeric), agents are
frozen classifiers of which some collude, and critics count. In text
(--backend=openai), agents are language models behind --base_url, on a fresh
machine scripted ones, which every report says; workflow_*.yaml has what they
have become. No program that a model writes is run.

Example: python -m experiments.agentic_network \
  --methods='fixed,single,ann,ann(alpha=1.0),random_edits'
"""

import dataclasses
import functools

from jaxdl import language
from jaxdl.core import registry
from jaxdl.experiment import config as config_lib, runner
from jaxdl.language import teams

knob = runner.knob
BACKENDS = ('numeric', 'openai')
_NUMERIC, _TEXT = {'backend': ['numeric']}, {'backend': ['openai']}
ROLES = ('worker', 'critic', 'optimizer', 'router')
# What tasks become in a small run.
SMALL = {
  'digits': {'max_iter': 10},
  'arithmetic': {'num_train': 6, 'num_validation': 4, 'num_test': 4},
}


def _small(spec):
  part = registry.parse(spec)
  return config_lib.set_low(spec, **SMALL.get(part.name, {}))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(language.EndpointConfig):
  """Knobs of teams that evolve."""

  num_rounds: int = knob(
    12, 'Proposals in numbers, iterations in text.', low=0, smoke=3
  )
  eval_every: int = knob(1, 'Rounds between evaluations.', low=1, smoke=1)
  backend: str = knob(
    'numeric',
    'Whether agents are classifiers, or language models.',
    choices=BACKENDS,
  )
  methods: tuple[str, ...] = knob(
    ('fixed', 'single', 'ann', 'ann(alpha=1.0)', 'random_edits'),
    'How teams are found.',
    registry=teams.METHODS,
    smoke=3,
  )
  task: str | None = knob(
    None,
    'What is solved: digits in numbers, others in text; none is digits, or '
    'arithmetic.',
    registry=teams.TASKS | teams.TEXT_TASKS,
  )
  aggregations: tuple[str, ...] = knob(
    ('majority', 'mean', 'log_mean'),
    'How a team may become one; the first is that of the start.',
    registry=teams.AGGREGATIONS,
    needs=_NUMERIC,
  )
  workflow: str = knob(
    '',
    'YAML of the workflow at the start; that of arithmetic if empty.',
    needs=_TEXT,
  )
  train_batch: int = knob(
    8, 'Tasks that an iteration learns from.', low=1, needs=_TEXT, smoke=4
  )
  route: str = knob(
    'loss',
    'Who picks blocks of a pool: the lowest running loss, or a model.',
    choices=('loss', 'model'),
    needs=_TEXT,
  )
  model_worker: str = knob('workflow_agent', 'Model of agents.', needs=_TEXT)
  model_critic: str = knob(
    '',
    'Model of critics, optimizers, routers; that of agents if empty.',
    needs=_TEXT,
  )

  def smoked(self) -> 'Config':
    """Small tasks as well."""
    config = super().smoked()
    if 'task' in getattr(self, '_kept', ()):
      return config
    return dataclasses.replace(config, task=_small(config.solved))

  @property
  def solved(self) -> str:
    """The task, with the default filled in."""
    default = 'digits' if self.backend == 'numeric' else 'arithmetic'
    return self.task or default

  def validate(self) -> None:
    """Makes teams of zeros, or the workflow; asks nobody."""
    config_lib.check_different(self.methods, name='methods')
    known = teams.TASKS if self.backend == 'numeric' else teams.TEXT_TASKS
    name = registry.parse(self.solved).name
    if name not in known:
      raise ValueError(
        f'task={self.solved} is none of --backend={self.backend}: choose one '
        f'of {", ".join(known)}.'
      )
    if self.backend == 'numeric':
      config_lib.without_device(self._try_numeric)
      return
    for spec in self.methods:
      with config_lib.naming(methods=spec):
        teams.check_text(spec)
    with config_lib.naming(workflow=self.workflow or None):
      self.start()
    with config_lib.naming(
      model_worker=self.model_worker, model_critic=self.model_critic or None
    ):
      session(self)

  def _try_numeric(self):
    config_lib.check_different(self.aggregations, name='aggregations')
    part = teams.TASKS.part(self.solved)
    shapes = teams.digits_shapes(**part.options)
    for spec in self.methods:
      with config_lib.naming(methods=spec, aggregations=self.aggregations):
        teams.check_numeric(spec, shapes, self.aggregations)

  def start(self) -> teams.Workflow:
    """The workflow at the start."""
    if self.workflow:
      return teams.read_workflow(self.workflow)
    return teams.arithmetic_workflow()


def session(config: Config) -> language.Session:
  """Says who is asked, and opens nothing.

  Args:
    config: knobs.

  Returns:
    The session.
  """
  other = config.model_critic or config.model_worker
  models = {role: (other, None) for role in ROLES}
  models['worker'] = (config.model_worker, None)
  return config.session(models)


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; asks nobody.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  title = config.solved
  if config.backend == 'openai':
    title += f', {config.model_worker}'
  more = {
    'num_rounds': config.num_rounds,
    'seeds': config.seeds,
    'plots': (functools.partial(teams.draw, title=title),),
  }
  if config.backend == 'numeric':
    with config_lib.naming(task=config.solved):
      tasks = [teams.TASKS.make(config.solved, seed=s) for s in config.seeds]
    return teams.numeric_teams(
      config.methods, tasks, aggregations=config.aggregations, **more
    )
  with config_lib.naming(task=config.solved):
    items = [teams.TEXT_TASKS.make(config.solved, seed=s) for s in config.seeds]
  asked = session(config)
  return teams.text_teams(
    config.methods,
    config.start(),
    items,
    lambda: asked.client,
    train_batch=config.train_batch,
    route=config.route,
    close=asked.close,
    **more,
  )


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
