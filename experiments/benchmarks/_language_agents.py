# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of language agents: a network of a hundred of them.

Scripted models play AgentsNet over HTTP; then the run is replayed from what
they have said, without a server.
"""

import contextlib
import pathlib
import tempfile
import time

from experiments.benchmarks import _language_calls, _timing
from jaxdl import language
from jaxdl.language import agentsnet

TASK, FAMILY, SEED = 'coloring', 'ba', 1825
# Nobody listens there.
NOWHERE = 'http://127.0.0.1:9/v1'


def rows(*, quick: bool = False) -> list[dict[str, str]]:
  """A run of AgentsNet and its replay.

  Args:
    quick: whether it is small.

  Returns:
    Rows of a table.

  Raises:
    ValueError: if the replay has another outcome.
  """
  size, rounds = (16, 4) if quick else (100, 9)
  graph = agentsnet.make_graph(FAMILY, size, SEED)
  table, outcomes = [], []
  with contextlib.ExitStack() as stack:
    url = stack.enter_context(_language_calls.server())
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    modes = (
      ('HTTP', url, {}),
      ('HTTP, answers kept', url, {'mode': 'read_write'}),
      ('replay, no server', NOWHERE, {'mode': 'replay_only'}),
    )
    for name, where, mode in modes:
      cache = language.Cache(folder, **mode) if mode else None
      client = language.Client(
        language.Endpoint('classical', base_url=where),
        cache=cache,
        max_concurrency=_language_calls.CONCURRENCY,
      )
      agents = agentsnet.llm_agents(client)
      begin = time.perf_counter()
      found = language.run(
        agentsnet.run_instance(agents, graph, TASK, rounds, seed=1)
      )
      seconds = time.perf_counter() - begin
      language.run(client.aclose())
      outcomes.append(found)
      calls = sum(u.calls for u in client.usage)
      sent = sum(u.attempts for u in client.usage)
      wanted = 0 if name.startswith('replay') else size * (rounds + 1)
      same = found.answers == outcomes[0].answers
      same = same and found.sent == outcomes[0].sent
      if not same:
        raise ValueError(f'{name}: another outcome.')
      table.append(
        {
          'how': name,
          'agents': str(size),
          'rounds': str(rounds),
          'calls': str(calls),
          'requests': str(sent),
          'wanted': str(wanted),
          'seconds': _timing.digits(seconds),
          'calls/s': _timing.digits(calls / seconds),
          'score': _timing.digits(found.score),
          'held': 'yes' if sent == wanted else '**no**',
        }
      )
  return table
