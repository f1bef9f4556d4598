# SPDX-License-Identifier: Apache-2.0
r"""Can agents who talk to their neighbors alone solve a task together?

Five tasks on networks of agents: coloring, consensus, leader election,
matching, vertex cover. Solvers are classical algorithms, random answers, a
trained network, agents that talk in text, and language models behind any
endpoint; without an address scripted ones, which every report says. A round
plays one sample of every family and size. Transcripts and viewer.html stand in
the workdir. Replies are kept there, so that a killed run asks nothing twice
and --cache_mode=replay_only asks nothing at all.

Example: python -m experiments.agentsnet --num_nodes=4,8 \
  --solvers='classical,random,llm(model="classical"),llm(model="silent")'
"""

import contextlib
import dataclasses
import pathlib
import re

from jaxdl import language, mixing
from jaxdl.experiment import config as config_lib, runner
from jaxdl.language import agentsnet
from jaxdl.language.agentsnet import comparison

knob = runner.knob
LLM = {'solvers': ('llm',)}
LOOPBACK, SCRIPTED = language.LOOPBACK, 'classical'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(language.EndpointConfig):
  """Knobs of networks of agents."""

  solvers: tuple[str, ...] = knob(
    ('classical', 'random', 'llm'),
    'Who stands on the nodes.',
    registry=comparison.SOLVERS,
  )
  tasks: tuple[str, ...] = knob(
    tuple(agentsnet.TASKS), 'Tasks.', choices=tuple(agentsnet.TASKS), smoke=2
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
  chain_of_thought: bool = knob(
    True, 'Whether models are asked to think aloud.', needs=LLM
  )

  timeout: float = knob(
    60.0,
    'Seconds for one request.',
    low=0.0,
    open_low=True,
    runtime=True,
    needs=LLM,
  )
  cache_dir: str = knob(
    '',
    'Where replies are kept; replies in the workdir if empty.',
    runtime=True,
    needs=LLM,
  )

  def validate(self) -> None:
    """Makes the networks and solvers; asks nobody."""
    for name in ('solvers', 'tasks', 'families', 'num_nodes'):
      config_lib.check_different(getattr(self, name), name=name)
    most = agentsnet.MOST_ROUNDS
    if self.rounds != 'auto' and not (
      re.fullmatch('[0-9]{1,9}', self.rounds) and 1 <= int(self.rounds) <= most
    ):
      shown = (
        self.rounds if len(self.rounds) <= 20 else self.rounds[:20] + '...'
      )
      raise ValueError(
        f"rounds={shown} must be 'auto' or a number of at least 1 and at most "
        f'{most}.'
      )
    self.samples()
    for spec, solver in self.made().items():
      if not set(solver.tasks).intersection(self.tasks):
        raise ValueError(
          f'solvers={spec} solves none of tasks={",".join(self.tasks)}.'
        )
      with config_lib.naming(solvers=spec, base_url=self.base_url):
        self.ask(solver.models)

  def ask(self, models) -> language.Session:
    """Says which models are asked; the run itself keeps the budget."""
    place = {'directory': self.cache_dir} if self.cache_dir else {}
    return self.session(
      {name: (name, None) for name in models},
      budget_tokens=None,
      timeout=self.timeout,
      **place,
    )

  def made(self) -> dict[str, comparison.Method]:
    """The solvers, by their specs."""
    model, found = self.model, {}
    if not model and self.base_url == LOOPBACK:
      model = SCRIPTED
    for spec in self.solvers:
      with config_lib.naming(solvers=spec, base_url=self.base_url):
        found[spec] = comparison.SOLVERS.make(
          spec, model=model, chain_of_thought=self.chain_of_thought
        )
    return found

  def samples(self):
    """Networks of every round."""
    if not self.graph_file:
      with config_lib.naming(families=self.families, num_nodes=self.num_nodes):
        return comparison.sample_graphs(
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


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; asks nobody.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  solvers = config.made()
  models = [m for solver in solvers.values() for m in solver.models]
  # What is spent before a run goes on counts, so it keeps the budget itself.
  session = config.ask(models)
  if not session.scripted or config.cache_mode == 'replay_only':
    _ = models and session.client  # A key, or something to replay, is there.

  @contextlib.contextmanager
  def connect(names, budget_tokens):
    del names
    ledger = session.client.ledger
    if budget_tokens is not None:
      ledger.budget_tokens = ledger.total.tokens + budget_tokens
    yield session.client
    session.write_usage()

  compared = comparison.Comparison(
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

  def step(state, number):
    found = compared.step(state, number)
    if number == config.num_rounds:
      session.close()
    return found

  return runner.Experiment(
    init=compared.init,
    step=step,
    rows=compared.rows,
    num_rounds=config.num_rounds,
    plots=(comparison.draw,),
    table=comparison.table,
    jit=False,
  )


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
