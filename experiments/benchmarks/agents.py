# SPDX-License-Identifier: Apache-2.0
"""Times games, agents that learn them, and exact solutions of games.

JaxMARL plays beside ours in one process where `--jaxmarl_python` is an
interpreter that has both.

Example: python -m experiments.benchmarks.agents --parts=games,training --quick
"""

from typing import Any

from absl import app, flags

from experiments.benchmarks import (
  _agents_decoding,
  _agents_envs,
  _agents_games,
  _agents_goods,
  _agents_messages,
  _agents_training,
  _timing,
)
from jaxdl.core import checks

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Small sizes, 3 rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md.')
flags.DEFINE_integer('rounds', 9, 'Turns of every contender.')
flags.DEFINE_string('jaxmarl_python', None, 'Interpreter that has JaxMARL.')
flags.DEFINE_list(
  'parts', ['all'], "What to measure: names in PARTS, or 'all'."
)

# Times JaxMARL's steps, where it has the game.
FASTER = 1.5


def _rounds() -> int:
  return 3 if FLAGS.quick else FLAGS.rounds


def _shown(row: dict[str, Any]) -> dict[str, str]:
  """A row with three digits."""
  return {
    k: _timing.digits(v) if isinstance(v, float) else str(v or '-')
    for k, v in row.items()
  }


def games() -> list[str]:
  """Steps of games per second with random actions."""
  sizes: dict[str, Any] = {'rounds': _rounds()}
  if FLAGS.quick:
    sizes |= {'envs': (100,), 'work': 10_000}
  if FLAGS.jaxmarl_python:
    args = [f'--rounds={sizes["rounds"]}']
    if FLAGS.quick:
      args += ['--envs', '100', '--work', '10000']
    found = _timing.elsewhere(FLAGS.jaxmarl_python, '_agents_envs', *args)
  else:
    found = _agents_envs.rows(**sizes)
  rows = []
  for row in found:
    shown = _shown(row)
    ratio = row['ratio to JaxMARL']
    counts = row['games at once'] in (100, 1000)
    asked = counts and row['game'] == 'simple_spread' and ratio is not None
    shown['target'] = f'>= {FASTER}x' if asked else 'told only'
    held = 'yes' if asked and ratio >= FASTER else '**no**'
    rows.append(shown | {'held': held if asked else '-'})
  title = '### Steps of games, random actions, thousands per second'
  return [f'{title}\n\n{_timing.table(rows)}']


def training() -> list[str]:
  """Whole training: against a single file, over seeds, games, agents."""
  small = {'num_envs': (16,), 'num_agents': (3,)} if FLAGS.quick else {}
  rounds = min(3, _rounds())
  found = {
    'IPPO on simple_spread against a single file': _agents_training.sizes(
      rounds=rounds, **small
    ),
    'Eight seeds side by side': _agents_training.seeds(rounds=rounds),
  }
  return [
    f'### {title}\n\n{_timing.table([_shown(row) for row in rows])}'
    for title, rows in found.items()
  ]


def messages() -> list[str]:
  """Updates of told agents as one program and as many."""
  agents = (3,) if FLAGS.quick else (3, 10)
  found = _agents_messages.rows(rounds=_rounds(), num_agents=agents)
  rows = [_shown(row) for row in found]
  title = '### An update of HAMMER: 800 steps, 8 epochs'
  return [f'{title}\n\n{_timing.table(rows)}']


def decoding() -> list[str]:
  """CommFormer: kept keys and values against full passes."""
  return [
    '### Acting one after another, kept keys and values\n\n'
    + _timing.table(_agents_decoding.decoding(quick=FLAGS.quick)),
    '### Attention with embeddings of links, forth and back\n\n'
    + _timing.table(_agents_decoding.attention(quick=FLAGS.quick)),
  ]


def dilemmas() -> list[str]:
  """Iterated dilemmas in closed form."""
  pairs = {'num_pairs': 2000} if FLAGS.quick else {}
  batch = {'batch': 16} if FLAGS.quick else {}
  return [
    '### Pairs of memory-one strategies, 100 rounds\n\n'
    + _timing.table(_agents_games.closed_form(rounds=_rounds(), **pairs)),
    '### A recurrent player of symbols, gradients over 100 rounds\n\n'
    + _timing.table(_agents_games.symbols(rounds=_rounds(), **batch)),
  ]


def goods() -> list[str]:
  """Equilibria of many public goods games."""
  return _agents_goods.report(quick=FLAGS.quick)


# Parts by name: functions that return Markdown and read `FLAGS`.
PARTS = {
  'games': games,
  'training': training,
  'messages': messages,
  'decoding': decoding,
  'dilemmas': dilemmas,
  'goods': goods,
}


def main(argv):
  del argv
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
  _timing.report('agents', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
