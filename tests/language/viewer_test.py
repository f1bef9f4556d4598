# SPDX-License-Identifier: Apache-2.0
"""The page that shows runs: complete, and safe whatever models say."""

import base64
import collections
import hashlib
import html.parser
import re
import time

import networkx
from absl.testing import absltest, parameterized

from jaxdl import language
from jaxdl.language import _secrets

TAGS = {
  *('html', 'head', 'meta', 'title', 'style', 'body', 'h1', 'h2', 'h3', 'p'),
  *('table', 'tr', 'th', 'td', 'a', 'b', 'section', 'div', 'span', 'small'),
  *('pre', 'svg', 'line', 'circle', 'text'),
}
ATTRIBUTES = {
  *('charset', 'class', 'content', 'cx', 'cy', 'dir', 'fill', 'href'),
  *('http-equiv', 'id', 'lang', 'name', 'r', 'role', 'viewbox', 'x', 'x1'),
  *('x2', 'y', 'y1', 'y2'),
}
EVIL = (
  '<script>alert(1)</script>',
  '<img src=x onerror="alert(1)">',
  '</pre></div></body><iframe src="https://example.org">',
  '"><svg/onload=alert(1)>',
  "' onclick='alert(1)",
  'javascript:alert(1)',
  '&lt;b&gt; &amp; &#x3c;script&#62;',
  '</style><style>*{display:none}</style>',
  '<!-- comment --> <![CDATA[ x ]]>',
)


class Page(html.parser.HTMLParser):
  """What a browser would find on a page."""

  def __init__(self, text):
    super().__init__(convert_charrefs=True)
    self.tags = collections.Counter()
    self.attributes = []
    self.open, self.said, self.style = [], [], ''
    self.feed(text)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.tags[tag] += 1
    self.attributes += [(tag, *attr) for attr in attrs]
    if tag not in ('meta', 'line', 'circle'):
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags[tag] += 1
    self.attributes += [(tag, *attr) for attr in attrs]

  def handle_endtag(self, tag):
    assert self.open.pop() == tag, tag

  def handle_data(self, data):
    if self.open and self.open[-1] == 'style':
      self.style += data
    elif self.open and self.open[-1] == 'pre':
      self.said.append(data)

  def values(self, name):
    return [value for _, key, value in self.attributes if key == name]


def run(name='coloring-4', text='hello', **changes):
  """A run of four agents on a path."""
  graph = networkx.path_graph(4)
  names = ['Ann', 'Bob', 'Cem', 'Dora']
  given = {
    'name': name,
    'title': 'coloring on 4 agents',
    'chats': {
      n: [
        {'role': 'system', 'content': f'You are {n}.'},
        {'role': 'user', 'content': 'Round 1.'},
        {'role': 'assistant', 'content': text},
      ]
      for n in names
    },
    'sent': [
      {'round': 1, 'source': 'Ann', 'target': 'Bob', 'text': f'to Bob {text}'},
      {'round': 2, 'source': 'Bob', 'target': 'Ann', 'text': f'to Ann {text}'},
    ],
    'answers': {'Ann': 'Bob', 'Bob': 'Ann', 'Cem': 'None', 'Dora': None},
    'score': 0.5,
    'graph': {
      'nodes': [{'id': i, 'name': n} for i, n in enumerate(names)],
      'edges': [{'source': a, 'target': b} for a, b in graph.edges],
    },
    'model': 'echo',
    'usage': [
      {'label': 'Ann', 'prompt_tokens': 30, 'completion_tokens': 4},
      {'label': 'Bob', 'prompt_tokens': 5, 'completion_tokens': 3},
    ],
    'info': {'rounds': 2, 'seed': 1825},
  }
  return language.Transcript(**(given | changes))


class ViewerTest(parameterized.TestCase):
  def check(self, text):
    """The page is well formed, and nothing on it does or loads anything."""
    page = Page(text)
    self.assertEqual(page.open, [])
    self.assertLessEqual(set(page.tags), TAGS)
    self.assertLessEqual({key for _, key, _ in page.attributes}, ATTRIBUTES)
    ids = page.values('id')
    self.assertLen(set(ids), len(ids))
    self.assertLessEqual(set(page.values('href')), {f'#{i}' for i in ids})
    return page

  @parameterized.parameters(*EVIL)
  def test_nothing_that_is_said_does_anything(self, evil):
    graph = {'nodes': [{'id': evil}, {'id': 'b'}], 'edges': []}
    graph['edges'].append({'source': evil, 'target': 'b'})
    sent = [{'round': evil, 'source': evil, 'target': evil, 'text': evil}]
    text = language.viewer(
      [
        run(text=evil, title=evil, model=evil),
        run(
          graph=graph,
          answers={evil: evil, 'b': evil},
          chats={evil: [{'role': evil, 'content': evil}]},
          sent=sent,
          usage=[{'label': evil, evil: evil}],
          info={evil: {evil: [evil]}},
        ),
      ],
      title=evil,
    )
    page = self.check(text)
    # And yet it can be read.
    self.assertIn(evil, page.said)
    self.assertEqual(page.tags['style'], 1)

  def test_pages_load_and_run_nothing(self):
    text = language.viewer(run())
    page = self.check(text)
    (policy,) = [v for v in page.values('content') if 'default-src' in v]
    self.assertStartsWith(policy, "default-src 'none'; style-src 'sha256-")
    digest = hashlib.sha256(page.style.encode()).digest()
    self.assertIn(base64.b64encode(digest).decode(), policy)
    self.assertNotIn('unsafe', policy)
    self.assertNotRegex(text, r'(?i)url\(|@import|https?:|<script|style=')

  def test_all_that_was_said_is_there(self):
    page = self.check(language.viewer(run(text='{"Bob": "hi"}\n\tyes')))
    self.assertEqual(page.said.count('{"Bob": "hi"}\n\tyes'), 4)
    self.assertEqual(page.said.count('to Bob {"Bob": "hi"}\n\tyes'), 1)
    self.assertEqual(page.said.count('You are Cem.'), 1)
    for words in ('coloring on 4 agents', '1825', 'seed', 'echo'):
      self.assertIn(words, language.viewer(run()))

  def test_a_click_on_an_agent_or_a_link_leads_to_what_was_said(self):
    text = language.viewer(run())
    self.check(text)
    panels = dict(
      re.findall(
        r'id="(r0[ap][0-9-]+)">(.*?)(?=<div class="panel|$)', text, re.DOTALL
      )
    )
    self.assertEqual(
      set(panels),
      {*(f'r0a{i}' for i in range(4)), 'r0p0-1', 'r0p1-2', 'r0p2-3'},
    )
    self.assertIn('You are Bob.', panels['r0a1'])
    self.assertNotIn('You are Ann.', panels['r0a1'])
    self.assertIn('Ann to Bob, round 1', panels['r0p0-1'])
    self.assertIn('Bob to Ann, round 2', panels['r0p0-1'])
    self.assertIn('They have sent each other nothing.', panels['r0p1-2'])
    drawing = text[text.index('<svg') : text.index('</svg>')]
    self.assertCountEqual(re.findall('href="#(.*?)"', drawing), list(panels))

  def test_answers_are_seen_in_the_drawing(self):
    text = language.viewer(run())
    drawing = text[text.index('<svg') : text.index('</svg>')]
    fills = re.findall('fill="(.*?)"', drawing)
    self.assertLen(set(fills), 4)  # Three answers and none.
    self.assertEqual(drawing.count('class="none"'), 1)
    # Ann and Bob have named each other.
    self.assertEqual(drawing.count('class="both"'), 1)
    self.assertIn('Dora: no answer', drawing)

  def test_scripted_runs_say_so(self):
    self.assertNotIn('>scripted<', language.viewer(run()))
    text = language.viewer([run(), run(scripted=True)])
    # In the sentence, in the table and at the run.
    self.assertEqual(text.count('>scripted<'), 3)
    self.assertIn('says nothing about a language model', text)

  def test_tokens_are_added(self):
    self.assertIn('<td class="n">42</td>', language.viewer(run()))

  def test_marks_that_turn_text_around_are_shown(self):
    said = 'a\x00b\x1b[31m\u202ec\ud800d\u2028'
    page = self.check(language.viewer(run(text=said)))
    self.assertIn('a\ufffdb\ufffd[31m\ufffdc\ufffdd\u2028', page.said)
    language.viewer(run(text=said)).encode()

  def test_other_alphabets(self):
    said = 'größer 日本 \U0001f600 שלום'
    self.assertIn(said, self.check(language.viewer(run(text=said))).said)

  def test_long_texts_are_cut(self):
    text = language.viewer(run(text='x' * 10**6))
    self.assertIn('[980000 more characters]', text)
    self.assertLess(len(text), 400_000)

  def test_keys_are_not_shown(self):
    _secrets.remember('sk-viewer-7c1')
    text = language.viewer(run(text='the key is sk-viewer-7c1'))
    self.assertNotIn('sk-viewer-7c1', text)

  @parameterized.parameters(
    {'chats': {}, 'sent': [], 'answers': {}, 'graph': None, 'usage': []},
    {'graph': None},
    {'sent': []},
    {'graph': {'nodes': [{'id': 'Ann'}], 'links': []}},
    {'score': None, 'info': {}},
    {'answers': {'Nobody': 3, 'Ann': ['a', None]}},
    {'chats': {'Ann': []}, 'graph': None, 'sent': []},
  )
  def test_runs_with_little_in_them(self, **changes):
    self.check(language.viewer(run(**changes)))

  def test_links_come_from_messages_where_there_is_no_graph(self):
    text = language.viewer(run(graph=None))
    self.assertIn('id="r0p0-1"', text)
    self.assertNotIn('id="r0p1-2"', text)

  def test_the_same_runs_make_the_same_page(self):
    self.assertEqual(language.viewer(run()), language.viewer(run()))

  def test_a_hundred_agents(self):
    graph = networkx.barabasi_albert_graph(100, 2, seed=0)
    names = [f'agent {i}' for i in graph]
    chat = [{'role': 'user', 'content': 'words ' * 50}] * 20
    big = run(
      chats={n: chat for n in names},
      answers={n: str(i % 20) for i, n in enumerate(names)},
      sent=[
        {'round': t, 'source': names[a], 'target': names[b], 'text': 'hi'}
        for t in range(9)
        for a, b in graph.edges
      ],
      graph=networkx.node_link_data(
        networkx.relabel_nodes(graph, dict(enumerate(names))), edges='edges'
      ),
    )
    begin = time.monotonic()
    text = language.viewer(big)
    self.assertLess(time.monotonic() - begin, 10)
    page = self.check(text)
    # Each is drawn, and so is the one answer that has no color.
    self.assertEqual(page.tags['circle'], 101)
    self.assertIn('20 different answers', text)
    self.assertEqual(text.count('id="r0p'), 196)
    self.assertLess(len(text), 2_000_000)
    places = re.findall(r'cx="([0-9.]+)" cy="([0-9.]+)" r="9', text)
    self.assertLen(set(places), 100)
    self.assertTrue(all(0 < float(x) < 640 for p in places for x in p))

  def test_bad_arguments(self):
    with self.assertRaisesRegex(ValueError, 'transcripts is empty'):
      language.viewer([])
    with self.assertRaisesRegex(TypeError, r'transcripts\[1\] must be a Tran'):
      language.viewer([run(), {'name': 'x'}])


if __name__ == '__main__':
  absltest.main()
