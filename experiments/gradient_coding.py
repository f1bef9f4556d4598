# SPDX-License-Identifier: Apache-2.0
r"""Gradients of many workers, some of them late: what does a code save?

Workers compute parts of one gradient per job; who takes more than 1 + mu times
as long as the fastest is late. Schemes: `uncoded` waits, `gc` and `gc_rep`
compute everything s + 1 times, `sr_sgc` and `m_sgc` repeat what is missing some
rounds later, which several models that take turns hide; `no_wait` leaves it
out. Numbers that a scheme does not say are searched for on probed rounds. All
schemes train the same models on the same batches, through encoding and
decoding; the clock is simulated.

Example: python -m experiments.gradient_coding \
  --schemes='uncoded,gc,gc_rep(1),m_sgc(1, 2),m_sgc' --select='switch(40)'
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import coding, local, networks, plots, problems
from jaxdl.experiment import compare, config as config_lib, runner

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.ClassificationConfig):
  """Knobs of sequential gradient coding."""

  # The master has all data.
  unused = ('reduction', 'num_clients', 'partition')

  num_rounds: int = knob(
    200, 'Jobs, one begun per round; the last take some rounds more.', low=1
  )
  num_workers: int = knob(64, 'Workers of the master.', low=1, smoke=8)
  num_models: int = knob(
    4, 'Models that take turns: job t is of model t mod M.', low=1
  )
  schemes: tuple[str, ...] = knob(
    ('uncoded', 'gc', 'sr_sgc', 'm_sgc'),
    'Schemes to compare; numbers that one leaves out are searched for.',
    registry=coding.SCHEMES,
    smoke=lambda schemes: tuple(map(coding.small_scheme, schemes)),
  )
  select: str = knob(
    'probe(80)',
    'How: in rounds before the run, in its uncoded first rounds, or in all.',
    registry=coding.SELECTIONS,
    smoke=coding.small_selection,
  )
  delays: str = knob(
    'gilbert_elliott',
    'Seconds that workers take but for their load.',
    registry=coding.DELAYS,
  )
  load_slope: float = knob(6.0, 'Seconds per unit of load.', low=0.0)
  probe_load: float = knob(0.0, 'Load that delays hold already.', low=0.0)
  mu: float = knob(1.0, 'Patience with the late.', low=0.0, open_low=True)
  wait_policy: str = knob(
    'all',
    'For whom a round waits that is worse than the scheme is made for.',
    choices=('all', 'conform'),
  )
  network: str = knob(
    'logistic_regression', 'Network.', registry=networks.NETWORKS
  )
  batch_size: int = knob(1024, 'Examples of a job.', low=1, smoke=64)
  optimizer: str = knob('sgd(0.5)', 'Of each model.', registry=local.OPTIMIZERS)

  def validate(self) -> None:
    """Checks schemes and delays against workers and models."""
    super().validate()
    config_lib.check_different(self.schemes, name='schemes')
    for scheme in self.schemes:
      with config_lib.naming(
        schemes=scheme,
        num_workers=self.num_workers,
        num_models=self.num_models,
      ):
        self.candidates(scheme)
    with config_lib.naming(delays=self.delays, num_workers=self.num_workers):
      self.drawn(self.seeds[0])

  @property
  def num_dealt(self) -> int:
    """One: the master."""
    return 1

  def candidates(self, scheme: str) -> list[coding.Scheme]:
    """What a scheme leaves open; delays must be hidden by other models."""
    return coding.candidates(
      scheme, self.num_workers, max_delay=self.num_models - 1
    )

  def drawn(self, seed: int) -> np.ndarray:
    """Delays of a seed, those before the run included."""
    how = coding.SELECTIONS.make(self.select)
    rounds = how.rounds_before + self.num_rounds + self.num_models - 1
    return coding.make_delays(self.delays, self.num_workers, rounds, seed=seed)

  def plan(self, scheme: str, seed: int) -> coding.Plan:
    """Runs a scheme on the delays of a seed."""
    return coding.plan_run(
      scheme,
      self.drawn(seed),
      self.num_rounds,
      select=self.select,
      max_delay=self.num_models - 1,
      mu=self.mu,
      load_slope=self.load_slope,
      probe_load=self.probe_load,
      wait_policy=self.wait_policy,
    )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  whole = config.problem(num_clients=1, client_metrics=(), in_memory=True)
  batch = jax.jit(whole.cohort)
  problem = whole.replace(
    data={'dealt': whole.data, 'seed': jnp.asarray(config.seeds)},
    cohort=lambda key, own, job: batch(key, own['dealt'], job),
  )
  optimizer = local.make_optimizer(
    config.optimizer, num_steps=-(-config.num_rounds // config.num_models)
  )
  plan = functools.cache(config.plan)

  def maker(scheme):
    return lambda own: coding.coded_training(
      whole.task,
      plan(scheme, int(own['seed'])),
      optimizer=optimizer,
      num_models=config.num_models,
      seed=int(own['seed']),
    )

  def measure(values, moment):
    zero = np.zeros(len(config.seeds))
    none = {'time_s': zero, 'decode_gap': zero}
    values['test'] |= values.pop('train', none)
    values['test']['jobs'] = zero + moment.round

  def runs(moments):
    if not moments[0].last:
      return []
    label = {'step': config.num_rounds, 'split': 'run'}
    states = {m.variant.name: m.state for m in moments}
    out = []
    for scheme in config.schemes:
      for i, seed in enumerate(config.seeds):
        row = {'variant': scheme, 'seed': seed} | plan(scheme, seed).summary()
        if 'uncoded' in states:
          ours, plain = (states[s][i]['params'] for s in (scheme, 'uncoded'))
          gaps = jax.tree.map(lambda x, y: np.abs(x - y).max(), ours, plain)
          row['weights_gap'] = float(max(jax.tree.leaves(gaps)))
        out.append(label | row)
    return out

  return compare(
    config,
    problem,
    {scheme: maker(scheme) for scheme in config.schemes},
    measure=measure,
    extra_rows=runs,
    plots=(functools.partial(draw, config),),
    table=functools.partial(table, config),
  )


def table(config: Config, rows):
  """Compares the schemes at the end.

  Args:
    config: knobs.
    rows: rows of a run.

  Returns:
    Columns and cells; means over the seeds.
  """
  columns = ['scheme', 'numbers', 'load', 'run time (s)', 'wait-outs']
  columns += ['late per round', 'loss', 'weights against uncoded']
  cells = []
  mean = lambda group, name: (
    f'{np.mean([r[name] for r in group]):.4g}' if name in group[0] else '-'
  )
  for scheme in config.schemes:
    own = [
      r
      for r in rows
      if (r['variant'], r['step']) == (scheme, config.num_rounds)
    ]
    runs = [r for r in own if r['split'] == 'run']
    last = [r for r in own if r['split'] == 'test']
    if runs and last:
      found = ' '.join(dict.fromkeys(r['found'] for r in runs))
      names = ('load', 'total_s', 'wait_outs', 'late_per_round')
      numbers = [mean(runs, name) for name in names]
      ended = mean(last, 'loss'), mean(runs, 'weights_gap')
      cells.append((scheme, found, *numbers, *ended))
  return columns, cells


def draw(config: Config, rows, directory):
  """Draws run times and wait-outs, jobs done and losses over time.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.num_workers} workers, {config.num_models} models'
  paths = []
  if any(r['split'] == 'run' for r in rows):
    bar = functools.partial(plots.bars, rows, split='run', title=title)
    jobs = f'Time of {config.num_rounds} jobs (s)'
    waits = 'Rounds that waited longer'
    paths.append(bar(directory / 'run_time.png', 'total_s', ylabel=jobs))
    paths.append(bar(directory / 'wait_outs.png', 'wait_outs', ylabel=waits))
  timed = plots.aligned(rows, 'time_s')
  look = {'x': 'time_s', 'xlabel': 'Simulated time (s)', 'title': title}
  line = functools.partial(plots.lines, timed, **look)
  if timed:
    loss = 'Mean test loss'
    paths.append(line(directory / 'jobs.png', 'jobs', ylabel='Jobs done'))
    paths.append(line(directory / 'loss.png', 'loss', ylabel=loss, log_y=True))
  return paths


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
