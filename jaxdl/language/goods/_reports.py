# SPDX-License-Identifier: Apache-2.0
"""What agents said about tasks, for readers."""

from collections.abc import Sequence
from typing import Any

import networkx as nx

from jaxdl.core import checks
from jaxdl.language import _transcripts
from jaxdl.language.goods import _protocol

_MOST_TITLE = 80


def transcripts(
  episodes: Sequence[_protocol.Episode],
  label: str,
  *,
  title: str = '',
  models: Sequence[str] = (),
) -> list[_transcripts.Transcript]:
  """Makes a transcript of every episode that came to its end.

  Args:
    episodes: of one method.
    label: what names of transcripts begin with, a word.
    title: what titles begin with.
    models: who has answered.

  Returns:
    Transcripts for `language.write_transcript` and `language.viewer`: the chat
    of each agent, who saw what of whom, answers, and the value of the team's.

  Raises:
    TypeError: if an episode is none.

  Example:
    >>> turn = _protocol.Turn(0, 0, 'Agent-1', {}, 'It is 4.', '4', 1.0, 3)
    >>> from jaxdl.language import goods
    >>> task = goods.Task('2 + 2?', '4')
    >>> episode = _protocol.finished(task, [turn], '4', 1.0, [])
    >>> transcripts([episode], 'single')[0].answers
    {'Agent-1': '4', 'team': '4'}
  """
  found = []
  for k, episode in enumerate(episodes):
    if not isinstance(episode, _protocol.Episode):
      raise TypeError(
        f'episodes[{k}] must be a goods.Episode; got '
        f'{checks.described(episode)}.'
      )
    if episode.error is None:
      found.append(_transcript(episode, f'{label}-{k + 1}', title, models))
  return found


def _transcript(episode, name, title, models):
  graph = nx.DiGraph()
  texts, chats, sent = {}, {}, []
  answers: dict[str, Any] = {}
  for turn in episode.turns:
    graph.add_node(turn.name)
    reply = {'role': 'assistant', 'content': turn.text}
    chats[turn.name] = [*map(dict, turn.messages), reply]
    answers[turn.name] = turn.answer
    for other in turn.seen:
      graph.add_edge(other, turn.name)
      sent.append(
        {
          'round': turn.position,
          'source': other,
          'target': turn.name,
          'text': texts[other],
        }
      )
    texts[turn.name] = turn.text
  question = ' '.join(episode.task.question.split())
  if len(question) > _MOST_TITLE:
    question = question[:_MOST_TITLE] + '...'
  tokens = sum(
    r.prompt_tokens + r.completion_tokens for _, r in episode.replies
  )
  return _transcripts.Transcript(
    name=name,
    title=f'{title}: {question}' if title else question,
    chats=chats,
    sent=sent,
    answers=answers | {'team': episode.answer},
    score=episode.value,
    graph=nx.node_link_data(graph, edges='edges'),
    model=', '.join(models),
    scripted=any(reply.scripted for _, reply in episode.replies),
    info={
      'right answer': episode.task.answer,
      'correct': episode.correct,
      'tokens': tokens,
      'settings': {t.name: dict(t.settings) for t in episode.turns},
      'values': {t.name: t.value for t in episode.turns},
    },
  )
