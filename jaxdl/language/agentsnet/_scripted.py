# SPDX-License-Identifier: Apache-2.0
"""Scripted models that play the protocol, for the loopback server.

They see what a language model would see, its chat and its settings, and reply
as one should. Entries of `SCRIPTS` are factories.
"""

import json

from jaxdl.language._scripts import Chat, Script
from jaxdl.language.agentsnet import (
  _algorithms,
  _parsing,
  _protocol,
  _reading,
  _spoken,
)


def classical(algorithm: str = 'auto') -> Script:
  """Runs a classical algorithm by reading the chat and talking to neighbors.

  Its random numbers come from the `seed` of the settings and its own name, so
  that a network of such models answers as `run_sync` does, bit by bit.

  Args:
    algorithm: an entry of `ALGORITHMS`; 'auto' picks one for the task.

  Returns:
    The script.

  Raises:
    ValueError: if the algorithm is unknown.
  """
  _algorithms.ALGORITHMS.check(algorithm, name='algorithm')

  def script(chat: Chat) -> str:
    seen = _reading.read_chat(chat.messages)
    spoken = _spoken.speak(algorithm, seen, int(chat.settings.get('seed', 0)))
    if seen.answering:
      return f'{_parsing.MARKER} {spoken.answer}'
    return json.dumps(spoken.messages, ensure_ascii=False)

  return script


def silent() -> Script:
  """Sends nothing and answers the first option.

  Returns:
    The script.
  """

  def script(chat: Chat) -> str:
    seen = _reading.read_chat(chat.messages)
    if not seen.answering:
      return 'I have nothing to say: {}'
    options = _reading.read_options(chat.messages)
    return f'{_parsing.MARKER} {options[0]}'

  return script


def mumbling() -> Script:
  """Never replies in the form that is asked for.

  Returns:
    The script.
  """
  return lambda chat: f'Hmm, {len(chat.messages)} messages. {_protocol.OVER}'


SCRIPTS = {
  'classical': classical,
  'mumbling': mumbling,
  'silent': silent,
}
