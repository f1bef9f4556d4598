# SPDX-License-Identifier: Apache-2.0
r"""Can agents who talk to their neighbors alone solve a task together?

Five tasks on networks of agents: coloring, consensus, leader election,
matching, vertex cover. Solvers are classical algorithms, random answers, a
trained network, agents that talk in text, and language models behind any
endpoint. A round plays one sample of every family and size; rows have score
and whether a network is solved, and tokens where models are asked.

Without an address scripted models answer on this machine, which every report
says. Transcripts and viewer.html stand in the workdir; all replies are kept in
its folder `replies`, so that a killed run asks nothing twice and
--cache_mode=replay_only asks nothing at all.

Example: python -m experiments.agentsnet --num_nodes=4,8 \
  --solvers='classical,random,llm(model="classical"),llm(model="silent")'
"""

import contextlib
import dataclasses
import functools
import pathlib

import numpy as np
from absl import logging

from jaxdl import language, mixing, plots
from jaxdl.experiment import config as config_lib, runner
from jaxdl.language import agentsnet, loopback

knob = runner.knob
LLM = {'solvers': ('llm',)}
LOOPBACK, OPENAI, SCRIPTED = 'loopback', 'openai', 'classical'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of networks of agents."""

  solvers: tuple[str, ...] = knob(
    ('classical', 'random', 'llm'),
    'Who stands on the nodes.',
    registry=agentsnet.SOLVERS,
  )
  tasks: tuple[str, ...] = knob(
    tuple(agentsnet.TASKS), 'Tasks.', registry=agentsnet.TASKS, smoke=2
  )
  families: tuple[str, ...] = knob(
    agentsnet.OFFICIAL_FAMILIES,
    'Families of networks, or any topology.',
    registry=agentsnet.FAMILIES | mixing.TOPOLOGIES,
    needs={'graph_file': False},
    smoke=2,
  )
  num_nodes: tuple[int, ...] = knob(
    agentsnet.SIZES,
    'Agents of a network.',
    low=2,
    needs={'graph_file': False},
    smoke=1,
  )
  graph_file: str = knob(
    '',
    'Networks of a file in place of families, JSON in node-link form; round t '
    'plays the t-th.',
  )
  num_rounds: int = knob(
    3, 'Samples of every kind of network; 3 are official.', low=1, smoke=3
  )
  eval_every: int = knob(1, 'Samples between evaluations.', low=1)
  rounds: str = knob(
    'auto',
    'Rounds of messages: a number, or auto for what the benchmark gives.',
  )
  model: str = knob(
    '',
    f'Model of llm where it names none; {SCRIPTED} on the loopback.',
    needs=LLM,
  )
  base_url: str = knob(
    LOOPBACK,
    f'Address of the endpoint; {LOOPBACK} serves scripted models on this '
    f'machine, {OPENAI} is that of OpenAI.',
    needs=LLM,
  )
  api_key_env: str = knob(
    'OPENAI_API_KEY', 'Environment variable that holds the key.', needs=LLM
  )
  chain_of_thought: bool = knob(
    True, 'Whether models are asked to think aloud.', needs=LLM
  )
  max_concurrency: int = knob(
    32, 'Questions that are on their way at a time.', low=1, needs=LLM
  )
  timeout: float = knob(
    60.0, 'Seconds for one try.', low=0.0, open_low=True, needs=LLM
  )
  budget_tokens: int | None = knob(
    None,
    'Most tokens of the whole run; what is left out is said.',
    low=1,
    needs=LLM,
  )
  cache_mode: str = knob(
    'read_write',
    'What is done with replies that are kept.',
    choices=language.CACHE_MODES,
    needs=LLM,
  )
  cache_dir: str = knob(
    '', 'Where replies are kept; replies in the workdir if empty.', needs=LLM
  )

  def validate(self) -> None:
    """Makes the networks and solvers; asks nobody."""
    for name in ('solvers', 'tasks', 'families', 'num_nodes'):
      config_lib.check_different(getattr(self, name), name=name)
    if self.rounds != 'auto' and not (
      self.rounds.isdecimal() and int(self.rounds)
    ):
      raise ValueError(
        f"rounds={self.rounds} must be 'auto' or a number of at least 1."
      )
    self.samples()
    for spec, solver in self.made().items():
      if not set(solver.tasks).intersection(self.tasks):
        raise ValueError(
          f'solvers={spec} solves none of tasks={",".join(self.tasks)}.'
        )
      if self.base_url == LOOPBACK:
        for model in solver.models:
          with config_lib.naming(solvers=spec, base_url=LOOPBACK):
            loopback.make_model(model)
    if self.base_url not in (LOOPBACK, OPENAI):
      language.Endpoint(SCRIPTED, self.base_url)

  def made(self) -> dict[str, agentsnet.Solver]:
    """The solvers, by their specs."""
    model, found = self.model, {}
    if not model and self.base_url == LOOPBACK:
      model = SCRIPTED
    for spec in self.solvers:
      with config_lib.naming(solvers=spec, base_url=self.base_url):
        found[spec] = agentsnet.SOLVERS.make(
          spec, model=model, chain_of_thought=self.chain_of_thought
        )
    return found

  def samples(self):
    """Networks of every round."""
    if not self.graph_file:
      with config_lib.naming(families=self.families, num_nodes=self.num_nodes):
        return agentsnet.sample_graphs(
          self.families, self.num_nodes, self.num_rounds
        )
    with config_lib.naming(graph_file=self.graph_file):
      found = agentsnet.read_graphs(self.graph_file)
      if len(found) < self.num_rounds:
        raise ValueError(
          f'there are {len(found)} networks: give '
          f'--num_rounds={len(found)}, or fewer.'
        )
      return [[graph] for graph in found[: self.num_rounds]]

  def place(self, name: str) -> pathlib.Path | None:
    """A folder of the workdir; None where nothing is written."""
    return pathlib.Path(self.workdir, name) if self.workdir else None


class Connection:
  """Opens clients for a run; the loopback serves while one is open."""

  def __init__(self, config: Config):
    folder = config.cache_dir or config.place('replies')
    self.config, self.cache = config, None
    self.replaying = config.cache_mode == 'replay_only'
    if self.replaying and folder is None:
      raise ValueError('cache_mode=replay_only needs --cache_dir.')
    if folder is not None:
      with config_lib.naming(cache_mode=config.cache_mode):
        self.cache = language.Cache(folder, config.cache_mode)

  @contextlib.contextmanager
  def __call__(self, models, budget_tokens):
    """Gives a client of some models."""
    config = self.config
    with contextlib.ExitStack() as stack:
      url = None if config.base_url == OPENAI else config.base_url
      if url == LOOPBACK:
        url = 'http://127.0.0.1:1/v1'  # Asked for nothing in a replay.
        if not self.replaying:
          url = stack.enter_context(loopback.serve()).base_url
      client = language.Client(
        {
          name: language.Endpoint(name, url, config.api_key_env)
          for name in models
        },
        max_concurrency=config.max_concurrency,
        timeout=config.timeout,
        cache=self.cache,
        budget_tokens=budget_tokens,
      )
      stack.callback(lambda: language.run(client.aclose()))
      yield client
      used = client.ledger.total
      logging.info(
        '%s: %d calls, %d of them known, %d requests, %d tokens%s.',
        *(','.join(models), used.calls, used.cached, used.attempts),
        *(used.tokens, ' (scripted)' if client.scripted else ''),
      )


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; asks nobody.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  solvers, connect = config.made(), None
  models = [m for solver in solvers.values() for m in solver.models]
  if models:
    connect = Connection(config)
    if config.base_url != LOOPBACK:
      with connect(models, None):  # Whether there is a key.
        pass
  compared = agentsnet.Comparison(
    solvers,
    config.tasks,
    config.samples(),
    seeds=config.seeds,
    rounds='auto' if config.rounds == 'auto' else int(config.rounds),
    eval_every=config.eval_every,
    connect=connect,
    budget_tokens=config.budget_tokens,
    directory=config.place('transcripts'),
  )
  return runner.Experiment(
    init=compared.init,
    step=compared.step,
    rows=compared.rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config),),
    table=agentsnet.table,
    jit=False,
  )


def draw(config: Config, rows, directory):
  """Draws scores and solved shares by task and by size, and tokens.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  del config
  scripted = {r['variant'] for r in rows if r.get('scripted')}
  rows = [
    r | {'variant': f'{r["variant"]} (scripted)'}
    if r['variant'] in scripted
    else r
    for r in rows
  ]
  sizes = {r['num_nodes'] for r in rows}
  names = {'score': 'Score', 'solved': 'Share of networks solved'}
  paths = []
  for metric, label in names.items():
    look = {'ylabel': label, 'ylim': (0.0, 1.02)}
    if any(metric in r for r in rows):
      path = directory / f'{metric}_by_task.png'
      means = _means(rows, metric, 'task')
      paths.append(plots.bars(means, path, metric, group='task', **look))
      if len(sizes) > 1:
        path, size = directory / f'{metric}.png', 'num_nodes'
        means = _means(rows, metric, size)
        look |= {'x': size, 'xlabel': 'Agents', 'log_x': True}
        paths.append(plots.lines(means, path, metric, **look))
  if any('tokens' in r for r in rows):
    path = directory / 'tokens.png'
    means = _means(rows, 'tokens', 'num_nodes')
    look = {'ylabel': 'Tokens of a network', 'group': 'num_nodes'}
    paths.append(plots.bars(means, path, 'tokens', **look))
  return paths


def _means(rows, metric, label):
  """Means over networks, one row for each variant, seed and label."""
  found = {}
  for r in rows:
    if metric in r:
      place = tuple(r[k] for k in ('variant', 'seed', label))
      found.setdefault(place, []).append(r[metric])
  names = ('variant', 'seed', label)
  last = {'split': 'test', 'step': 0}
  return [
    last | dict(zip(names, place, strict=True)) | {metric: np.mean(values)}
    for place, values in found.items()
  ]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
