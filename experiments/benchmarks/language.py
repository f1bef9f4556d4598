# SPDX-License-Identifier: Apache-2.0
"""Times calls of language models and networks of agents, all scripted.

Servers run on this machine, so that no figure says anything about a language
model: what is timed is everything else. Classical algorithms of AgentsNet are
timed as one program of many networks.

Example: python -m experiments.benchmarks.language --parts=calls,faults --quick
"""

from absl import app, flags, logging

from experiments.benchmarks import (
  _agentsnet,
  _language_agents,
  _language_calls,
  _timing,
)
from jaxdl.core import checks

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Small sizes, 3 rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md.')
flags.DEFINE_integer('rounds', 9, 'Turns of every contender.')
flags.DEFINE_list(
  'parts', ['all'], "What to measure: names in PARTS, or 'all'."
)


def _section(title, rows):
  return [f'### {title}\n\n{_timing.table(rows)}']


def calls() -> list[str]:
  """The runtime against the bare client."""
  found = _language_calls.overhead(
    rounds=3 if FLAGS.quick else FLAGS.rounds, quick=FLAGS.quick
  )
  return _section('Calls of scripted models, 32 at a time', found)


def serving() -> list[str]:
  """The server of scripted models alone."""
  found = _language_calls.serving(
    rounds=3 if FLAGS.quick else FLAGS.rounds, quick=FLAGS.quick
  )
  return _section('The server of scripted models, without a client', found)


def faults() -> list[str]:
  """Calls where a fifth of the requests fails."""
  found = _language_calls.faults(quick=FLAGS.quick)
  return _section('A fifth of all requests fails', found)


def memory() -> list[str]:
  """Answers and transcripts."""
  found = _language_calls.memory(quick=FLAGS.quick)
  return _section('Answers and transcripts in memory', found)


def agents() -> list[str]:
  """A network of agents, and its replay."""
  found = _language_agents.rows(quick=FLAGS.quick)
  return _section('AgentsNet, scripted agents', found)


def classical() -> list[str]:
  """Classical algorithms on many networks, as one program."""
  return _agentsnet.report(quick=FLAGS.quick)


# Parts by name: functions that return Markdown and read `FLAGS`.
PARTS = {
  'calls': calls,
  'serving': serving,
  'faults': faults,
  'memory': memory,
  'agents': agents,
  'classical': classical,
}


def main(argv):
  del argv
  logging.set_verbosity(logging.WARNING)  # Not every attempt.
  names = list(PARTS) if FLAGS.parts == ['all'] else FLAGS.parts
  for name in names:
    checks.choice(name, PARTS, name='parts')
  loads, text = [_timing.load()], []
  for name in names:
    found = PARTS[name]()
    for piece in found:
      print(f'\n{piece}', flush=True)
    text += found
    loads.append(_timing.load())
  _timing.report('language', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
