# SPDX-License-Identifier: Apache-2.0
"""Runs of agents as one page of HTML, to be read in any browser.

What models say is untrusted, so all text is escaped, and the page holds no
script, loads nothing and says so in a policy that browsers keep. Agents and
pairs of agents are chosen by links.
"""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import jaxdl
from jaxdl.core import checks
from jaxdl.language import _secrets, _transcripts

# Of one message; the rest is left out.
_MOST_CHARACTERS = 20_000
_SIZE = 640
_MARGIN = 36
# Agents whose names are written small.
_MANY = 40
# Answers that are shown by a color of their own; others share gray.
_COLORS = (
  *('#56b4e9', '#e69f00', '#009e73', '#f0e442', '#cc79a7', '#d55e00'),
  *('#0072b2', '#a6cee3', '#b2df8a', '#fb9a99', '#cab2d6', '#b15928'),
)
_OTHER, _NONE = '#bbbbbb', '#ffffff'
# No line of HTML and no character of a terminal; direction marks could show a
# text other than it is.
_HIDDEN = re.compile(
  '[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069'
  '\ud800-\udfff\ufffe\uffff]'
)
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5em auto; color: #222;
  max-width: 84em; padding: 0 1em; }
table { border-collapse: collapse; margin: .6em 0; }
th, td { border-bottom: 1px solid #ddd; padding: .25em .7em; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
a { color: #0054a6; }
.badge { background: #ffe08a; border: 1px solid #c9a227; border-radius: .3em;
  padding: 0 .4em; font-size: .85em; white-space: nowrap; }
.run { display: none; border-top: 3px solid #444; margin-top: 2em; }
.run:target, .run.only { display: block; }
.run:has(:target) { display: block; }
.panel { display: none; }
.panel:target { display: block; }
@supports not selector(:has(a)) { .run, .panel { display: block; } }
@media print { .run, .panel { display: block; } }
.sides { display: flex; flex-wrap: wrap; gap: 1.5em; align-items: flex-start; }
.net { flex: 1 1 26em; max-width: 44em; position: sticky; top: .5em; }
.said { flex: 1 1 30em; min-width: 0; }
svg { width: 100%; height: auto; background: #fafafa; }
svg text { font-size: 13px; text-anchor: middle; fill: #111; }
svg.many text { font-size: 9px; }
svg line { stroke: #999; stroke-width: 1.6; }
svg line.both { stroke: #111; stroke-width: 4; }
svg line.hit { stroke: #000; stroke-opacity: 0; stroke-width: 12; }
svg a:hover line { stroke: #0054a6; stroke-opacity: .6; }
svg circle { stroke: #333; stroke-width: 1.2; }
svg circle.none { stroke-dasharray: 3 2; }
svg a:hover circle { stroke: #0054a6; stroke-width: 4; }
.key span { margin-right: .9em; white-space: nowrap; }
.key svg { width: 1em; height: 1em; background: none; margin-right: .3em;
  vertical-align: -.15em; }
.facts span { display: inline-block; margin-right: 1.4em; }
.facts b { font-weight: 600; }
.m { border-left: 4px solid #bbb; margin: .7em 0; padding: .1em .8em;
  background: #f7f7f7; }
.m.assistant { border-color: #009e73; background: #f0faf6; }
.m.user { border-color: #56b4e9; background: #f2f8fd; }
.m pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3em 0;
  font: 13px/1.45 ui-monospace, monospace; unicode-bidi: isolate; }
.m small { color: #666; }
"""


def viewer(
  transcripts: _transcripts.Transcript | Sequence[_transcripts.Transcript],
  *,
  title: str = 'Runs of agents',
) -> str:
  """Makes a page that shows runs: who was asked what, and who told whom.

  One table has all runs. Each has its network, colored by answers, where a
  click on an agent shows its chat, and one on a link what its two ends have
  sent to each other.

  Args:
    transcripts: of the runs.
    title: of the page.

  Returns:
    HTML without scripts that loads nothing; `write_text` puts it in a file.

  Raises:
    TypeError: if there is something else among the transcripts.
    ValueError: if there are none.

  Example:
    >>> page = viewer(
    ...   _transcripts.Transcript(
    ...     name='two',
    ...     chats={'Ann': [{'role': 'user', 'content': '<script>'}]},
    ...   )
    ... )
    >>> '<script>' in page, '&lt;script&gt;' in page
    (False, True)
  """
  if isinstance(transcripts, _transcripts.Transcript):
    transcripts = [transcripts]
  runs = list(transcripts)
  if not runs:
    raise ValueError('transcripts is empty: need at least one.')
  for i, run in enumerate(runs):
    if not isinstance(run, _transcripts.Transcript):
      raise TypeError(
        f'transcripts[{i}] must be a Transcript; got {checks.described(run)}.'
      )
  digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
  policy = (
    f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
    "form-action 'none'"
  )
  parts = [
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
    f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
    '<meta name="referrer" content="no-referrer">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    f'<title>{_text(title)}</title><style>{_STYLE}</style></head><body>',
    f'<h1>{_text(title)}</h1>',
  ]
  networks = [_Network(run) for run in runs]
  parts.append(_overview(runs, networks))
  for i, (run, network) in enumerate(zip(runs, networks, strict=True)):
    parts += _section(i, run, network, only=len(runs) == 1)
  parts.append(f'<p><small>jaxdl {_text(jaxdl.__version__)}</small></p>')
  page = '\n'.join([*parts, '</body></html>\n'])
  return _secrets.without_keys(page)


def _text(value: Any) -> str:
  """Any value as text of HTML, also inside quotes of an attribute."""
  if not isinstance(value, str):
    if isinstance(value, float) and math.isfinite(value):
      value = f'{value:.4g}'
    else:
      value = json.dumps(value, default=str, ensure_ascii=False)
  if len(value) > _MOST_CHARACTERS:
    left = len(value) - _MOST_CHARACTERS
    value = f'{value[:_MOST_CHARACTERS]} [{left} more characters]'
  return html.escape(_HIDDEN.sub('\ufffd', value), quote=True)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
  """A table of cells that are HTML already; numbers stand to the right."""
  head = ''.join(f'<th>{_text(name)}</th>' for name in header)
  lines = [f'<tr>{head}</tr>']
  for row in rows:
    cells = (
      f'<td class="n">{c}</td>' if _is_number(c) else f'<td>{c}</td>'
      for c in row
    )
    lines.append(f'<tr>{"".join(cells)}</tr>')
  return f'<table>{"".join(lines)}</table>'


def _is_number(cell: str) -> bool:
  return bool(re.fullmatch(r'-?[0-9][0-9.]*(e[+-]?[0-9]+)?', cell))


def _badge(run) -> str:
  said = '<span class="badge">scripted</span>'
  return said if run.scripted else ''


def _tokens(run) -> int:
  """Tokens of all rows of usage."""
  names = ('prompt_tokens', 'completion_tokens')
  found = (row.get(name) for row in run.usage for name in names)
  return sum(n for n in found if isinstance(n, int))


def _overview(runs, networks) -> str:
  header = ('run', '', 'model', 'agents', 'rounds', 'score', 'tokens', '')
  rows = [
    (
      f'<a href="#r{i}">{_text(run.name)}</a>',
      _text(run.title),
      _text(run.model),
      str(len(networks[i].names)),
      _text(run.info.get('rounds', '')),
      '' if run.score is None else _text(float(run.score)),
      str(_tokens(run)),
      _badge(run),
    )
    for i, run in enumerate(runs)
  ]
  said = ''
  if any(run.scripted for run in runs):
    said = (
      '<p><span class="badge">scripted</span> Scripted models have answered: '
      'this says nothing about a language model.</p>'
    )
  return said + _table(header, rows)


class _Network:
  """Agents of a run, and who is linked to whom.

  Attributes:
    names: of the agents, nodes of the graph first.
    links: pairs of numbers of agents, the smaller first.
    places: f64[N, 2], where they are drawn.
  """

  def __init__(self, run):
    graph = run.graph if isinstance(run.graph, Mapping) else {}
    nodes = [n for n in graph.get('nodes') or () if isinstance(n, Mapping)]
    known = {str(n.get('id')): str(n.get('name', n.get('id'))) for n in nodes}
    names = list(known.values())
    names += [str(n) for n in (*run.chats, *run.answers)]
    for message in run.sent:
      names += [str(message.get(k)) for k in ('source', 'target')]
    self.names = list(dict.fromkeys(names))
    self.number = {name: i for i, name in enumerate(self.names)}
    edges = graph.get('edges', graph.get('links')) or ()
    ends = [
      [known.get(str(e.get(k))) for k in ('source', 'target')]
      for e in edges
      if isinstance(e, Mapping)
    ]
    ends += [[str(m.get(k)) for k in ('source', 'target')] for m in run.sent]
    pairs = {
      tuple(sorted(self.number[name] for name in pair))
      for pair in ends
      if None not in pair
    }
    self.links = sorted(pair for pair in pairs if pair[0] != pair[1])
    self.places = _layout(len(self.names), self.links)


def _layout(count: int, links) -> np.ndarray:
  """Where agents are drawn, in the unit square."""
  import networkx

  graph = networkx.Graph()
  graph.add_nodes_from(range(count))
  graph.add_edges_from(links)
  if not count:
    return np.zeros((0, 2))
  start = networkx.circular_layout(graph)
  if links and count > 3:
    start = networkx.spring_layout(
      graph, pos=start, seed=0, k=1.6 / math.sqrt(count), iterations=100
    )
  found = np.array([start[i] for i in range(count)], np.float64)
  low, high = found.min(axis=0), found.max(axis=0)
  return (found - low) / np.where(high > low, high - low, 1.0)


def _section(i: int, run, network, *, only: bool) -> Iterable[str]:
  """Everything about one run."""
  yield f'<section class="run{" only" * only}" id="r{i}">'
  yield f'<h2>{_text(run.name)} {_badge(run)}</h2>'
  yield f'<p>{_text(run.title)}</p>'
  facts: dict[str, Any] = {'model': run.model, 'score': run.score}
  facts |= dict(run.info)
  told = (
    f'<span>{_text(k)} <b>{_text(v)}</b></span>' for k, v in facts.items()
  )
  yield f'<p class="facts">{" ".join(told)}</p>'
  yield '<div class="sides"><div class="net">'
  yield from _drawing(i, run, network)
  yield '</div><div class="said">'
  yield from _agents(i, run, network)
  yield from _pairs(i, run, network)
  yield '</div></div></section>'


def _drawing(i, run, network) -> Iterable[str]:
  """The network, a link for each agent and each pair."""
  answers = [run.answers.get(name) for name in network.names]
  given = [a for a in answers if a is not None]
  kinds = sorted({str(a) for a in given}, key=lambda a: (len(a), a))
  # Many different answers, such as names of partners, get no color.
  colors = dict(zip(kinds, _COLORS, strict=False))
  if len(kinds) > len(_COLORS):
    colors = {}
  xy = _MARGIN + network.places * (_SIZE - 2 * _MARGIN)
  count = len(network.names)
  radius = max(6.0, min(16.0, 90 / math.sqrt(max(count, 1))))
  many = 'many' * (count > _MANY)
  yield f'<svg class="{many}" viewBox="0 0 {_SIZE} {_SIZE}" role="img">'
  for a, b in network.links:
    line = f'x1="{xy[a, 0]:.1f}" y1="{xy[a, 1]:.1f}" '
    line += f'x2="{xy[b, 0]:.1f}" y2="{xy[b, 1]:.1f}"'
    both = str(answers[a]) == network.names[b]
    both = both and str(answers[b]) == network.names[a]
    yield (
      f'<a href="#r{i}p{a}-{b}"><title>{_text(network.names[a])} and '
      f'{_text(network.names[b])}</title>'
      f'<line class="{"both" * both}" {line}/>'
      f'<line class="hit" {line}/></a>'
    )
  for a, name in enumerate(network.names):
    none = answers[a] is None
    fill = _NONE if none else colors.get(str(answers[a]), _OTHER)
    said = 'no answer' if none else _text(answers[a])
    yield (
      f'<a href="#r{i}a{a}"><title>{_text(name)}: {said}</title>'
      f'<circle class="{"none" * none}" '
      f'cx="{xy[a, 0]:.1f}" cy="{xy[a, 1]:.1f}" r="{radius:.1f}" '
      f'fill="{fill}"/><text x="{xy[a, 0]:.1f}" '
      f'y="{xy[a, 1] - radius - 3:.1f}">{_text(name[:20])}</text></a>'
    )
  yield '</svg><p class="key">'
  counts = {kind: sum(str(a) == kind for a in given) for kind in kinds}
  for kind, color in colors.items():
    yield _key(color, f'{_text(kind[:60])} ({counts[kind]})')
  if kinds and not colors:
    yield _key(_OTHER, f'{len(kinds)} different answers')
  if len(given) < count:
    yield _key(_NONE, f'none ({count - len(given)})')
  yield '</p><p>An agent shows its chat, a link what its ends have sent. '
  yield 'Thick links: both ends have answered with the other.</p>'


def _key(color: str, words: str) -> str:
  dot = f'<circle cx="8" cy="8" r="7" fill="{color}"/>'
  return f'<span><svg viewBox="0 0 16 16">{dot}</svg>{words}</span>'


def _agents(i, run, network) -> Iterable[str]:
  """A panel for each agent: its answer, its links and its chat."""
  usage = {
    str(row.get('label')): row for row in run.usage if isinstance(row, Mapping)
  }
  links: dict[int, list[int]] = {}
  for a, b in network.links:
    links.setdefault(a, []).append(b)
    links.setdefault(b, []).append(a)
  for a, name in enumerate(network.names):
    yield f'<div class="panel" id="r{i}a{a}"><h3>{_text(name)}</h3>'
    answer = run.answers.get(name)
    said = 'none' if answer is None else _text(answer)
    others = ', '.join(
      f'<a href="#r{i}p{min(a, b)}-{max(a, b)}">{_text(network.names[b])}</a>'
      for b in sorted(links.get(a, ()))
    )
    rows = [('answer', said), ('linked to', others or 'nobody')]
    rows += [
      (_text(str(k)), _text(v))
      for k, v in usage.get(name, {}).items()
      if v and k != 'label'
    ]
    yield _table(('', ''), rows)
    for message in run.chats.get(name, ()):
      yield _message(message.get('role', ''), message.get('content', ''))
    yield '</div>'


def _pairs(i, run, network) -> Iterable[str]:
  """A panel for each pair: what they have sent to each other."""
  said: dict[tuple[int, ...], list[Mapping[str, Any]]] = {}
  for message in run.sent:
    ends = [network.number[str(message.get(k))] for k in ('source', 'target')]
    said.setdefault(tuple(sorted(ends)), []).append(message)
  for a, b in network.links:
    ends = (
      f'<a href="#r{i}a{n}">{_text(network.names[n])}</a>' for n in (a, b)
    )
    yield f'<div class="panel" id="r{i}p{a}-{b}"><h3>{" and ".join(ends)}</h3>'
    for message in said.get((a, b), ()):
      first = network.number[str(message.get('source'))] == a
      yield _message(
        f'{message.get("source")} to {message.get("target")}, round '
        f'{message.get("round")}',
        message.get('text', ''),
        kind='user' if first else 'assistant',
      )
    if (a, b) not in said:
      yield '<p>They have sent each other nothing.</p>'
    yield '</div>'


def _message(head: Any, text: Any, kind: str | None = None) -> str:
  kind = kind or (head if head in ('user', 'assistant') else 'system')
  return (
    f'<div class="m {kind}"><small>{_text(head)}</small>'
    f'<pre dir="auto">{_text(text)}</pre></div>'
  )
