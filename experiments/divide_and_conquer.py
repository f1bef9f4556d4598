# SPDX-License-Identifier: Apache-2.0
r"""How far do policies come that divide a problem and conquer its pieces?

One policy constructs a solution, another one solves its pieces anew; `dcr`
trains both, `dcr(joint=False)` each for itself, `dcr(num_stages=1)` without the
reunion, `dcr(learn=conqueror)` the second alone, `untrained` neither. Any of
ten problems; a round is a training step on fresh instances. Held-out instances
are solved in `--num_stages` stages and compared with a rule (`--baseline`) and
with a solver that is made for them (`--oracle`). After the last round every
variant also solves the instance of `--file`.

Example: python -m experiments.divide_and_conquer --problem='tsp' \
  --num_nodes=100 --size=20 --oracle=elkai --variants='dcr,dcr(joint=False)'
"""

import dataclasses
import functools

from jaxdl import combinatorial, local, plots, problems
from jaxdl.combinatorial import classical, files, oracles
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of divide and conquer; a round is a training step."""

  num_rounds: int = knob(300, 'Training steps.', low=0, smoke=3)
  eval_every: int = knob(50, 'Steps between evaluations.', low=1, smoke=1)
  problem: str = knob('tsp', 'What is solved.', registry=combinatorial.PROBLEMS)
  num_nodes: int = knob(100, 'Nodes of an instance.', low=3, smoke=12)
  size: int = knob(20, 'Nodes of a piece.', low=3, smoke=4)
  divider: str = knob(
    'agnn(width=32, depth=3, num_neighbors=20)',
    'Policy that divides.',
    registry=combinatorial.DIVIDERS,
    smoke='agnn(width=4, depth=1)',
  )
  conqueror: str | None = knob(
    None,
    "Policy that conquers; none is the problem's own, as in the paper.",
    registry=combinatorial.CONQUERORS,
  )
  variants: tuple[str, ...] = knob(
    ('dcr', 'untrained'),
    'What to compare; options in brackets are those of the flags.',
    registry=combinatorial.METHODS,
    smoke=2,
  )
  batch_size: int = knob(4, 'Instances of a step.', low=1, smoke=1)
  num_samples: int = knob(
    8, 'Solutions of an instance in training.', low=1, smoke=2
  )
  num_rollouts: int = knob(
    8, 'Candidates of a piece in training.', low=1, smoke=2
  )
  optimizer: str = knob(
    'adam(0.001)', 'Of both policies.', registry=local.OPTIMIZERS
  )
  num_test: int = knob(16, 'Held-out instances.', low=1, smoke=2)
  num_starts: int = knob(
    1, 'Solutions of a held-out instance that are improved.', low=1, smoke=1
  )
  num_stages: int = knob(
    10, 'Conquering stages of a held-out instance.', low=0, smoke=2
  )
  chunk: int | None = knob(
    None, 'Pieces that are solved at a time in training; none for all.', low=1
  )
  baseline: str = knob(
    'greedy', 'Rule to compare with.', registry=classical.CLASSICAL
  )
  oracle: str | None = knob(
    None,
    'Solver that gaps are taken to; none for none.',
    registry=oracles.ORACLES,
  )
  file: str = knob('', 'TSPLIB or CVRPLIB instance to solve at the end.')
  start: str = knob(
    '',
    'Rule or solution (.tour, .sol) that the file is solved from; the dividing '
    'policy if empty.',
    needs={'file': True},
  )

  def validate(self) -> None:
    """Makes everything that needs no device."""
    super().validate()
    config_lib.check_different(self.variants, name='variants')
    problem = combinatorial.make_problem(self.problem)
    with config_lib.naming(num_nodes=self.num_nodes, size=self.size):
      problem.sizes(self.num_nodes, self.size)
    classical.check_baseline(self.baseline, problem)
    if self.oracle is not None:
      oracles.check_oracle(self.oracle, problem)
    for spec in self.variants:
      with config_lib.naming(variants=spec):
        method = self.method(spec)
        policies = combinatorial.make_policies(
          problem, divider=method.divider, conqueror=method.conqueror
        )
        combinatorial.make_episode(
          problem, policies, size=self.size, **method.training
        )
        if method.start is not None:
          classical.check_baseline(method.start, problem)

  def smoked(self) -> 'Config':
    """Small policies as well."""
    small = super().smoked()
    if small.conqueror is not None:
      return small
    name = combinatorial.make_problem(small.problem).solve.network
    small_too = {'num_heads': 2, 'num_seeds': 4, 'hidden': 8}
    known = combinatorial.CONQUERORS.options(name)
    more = {k: v for k, v in small_too.items() if k in known}
    spec = combinatorial.CONQUERORS.changed(name, width=8, depth=1, **more)
    return dataclasses.replace(small, conqueror=spec)

  def method(self, spec: str) -> combinatorial.Method:
    """Makes the policies and the training of a variant."""
    return combinatorial.make_method(
      spec,
      divider=self.divider,
      conqueror=self.conqueror,
      num_samples=self.num_samples,
      num_rollouts=self.num_rollouts,
      optimizer=self.optimizer,
      chunk=self.chunk,
    )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads an instance from a file but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  methods = {spec: config.method(spec) for spec in config.variants}
  first = methods[config.variants[0]]
  drawn = problems.combinatorial(
    config.problem,
    num_nodes=config.num_nodes,
    size=config.size,
    divider=first.divider,
    conqueror=first.conqueror,
    training=first.training,
    batch_size=config.batch_size,
    num_test=config.num_test,
    num_starts=config.num_starts,
    num_stages=config.num_stages,
    baseline=config.baseline,
    oracle=config.oracle,
    seeds=config.seeds,
  )
  given = read_file(config) if config.file else None
  own, algorithms = {}, {}
  for spec, method in methods.items():
    own[spec] = drawn.test.with_policies(
      divider=method.divider,
      conqueror=method.conqueror,
      start=method.start,
      **method.training,
    )
    algorithms[spec] = method.algorithm(own[spec].test.episode)

  def extra_rows(moments):
    out = []
    for moment in moments:
      test, label = moment.variant.problem.test, {'step': moment.round}
      label['variant'] = moment.variant.name
      found = test.rows(moment.params) if moment.last else []
      if moment.last and given is not None:
        found += test.file_rows(moment.params, *given)
      out += [label | row for row in found]
    return out

  return compare(
    config,
    own,
    algorithms,
    extra_rows=extra_rows,
    plots=(functools.partial(draw, config),),
  )


def read_file(config: Config):
  """Reads the instance of `--file`, and what it is solved from or None."""
  problem = combinatorial.make_problem(config.problem)
  with config_lib.naming(file=config.file):
    source = files.read_instance(
      config.file, problem='ovrp' if problem.name == 'ovrp' else None
    )
    if source.problem != problem.name:
      raise ValueError(
        f'problem={config.problem} is not that of the file, {source.problem}.'
      )
    count = len(source.numbers) - (source.demands is not None)
    if count < config.size:
      raise ValueError(
        f'size={config.size} leaves no piece: the file has {count} nodes.'
      )
  if not config.start:
    return source, None
  with config_lib.naming(start=config.start):
    if config.start.endswith(('.tour', '.sol')):
      return source, files.read_solution(config.start, source)
    return source, classical.baseline(config.start, problem, source.instance)


def draw(config: Config, rows, directory):
  """Draws training, stages, and what was found, its pieces in colors."""
  title = f'{config.problem}: {config.num_nodes} nodes, pieces of {config.size}'
  test = [r for r in rows if r['split'] == 'test']
  paths = [
    plots.lines(
      test,
      directory / f'{name}.png',
      name,
      title=title,
      xlabel='Training step',
      ylabel=label,
    )
    for name, label in (
      ('objective', 'Mean objective of held-out instances'),
      ('divided', 'Mean objective before the first stage'),
      ('gap', f'Gap to {config.oracle}'),
    )
    if any(name in r for r in test)
  ]
  if any(r['split'] == 'stages' for r in rows):
    paths.append(plots.improvement(rows, directory / 'stages.png', title=title))
  if any(r['split'] == 'solutions' for r in rows):
    path = directory / 'solutions.png'
    paths.append(plots.solutions(rows, path, color='piece', title=title))
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
