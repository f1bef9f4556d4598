# SPDX-License-Identifier: Apache-2.0
"""A client that asks a script at once, without a network."""

import asyncio

from jaxdl.language import Chat, Endpoint, Parsed, Reply, _costs


class Client:
  """Answers by `script(chat)`; None fails, an exception is raised."""

  def __init__(self, script, *, shuffle=False):
    self.script = script
    self.ledger = _costs.Ledger(prices={'m': _costs.Price(1.0, 2.0)})
    self.asked = []
    self.closed = 0
    self._delays = [0, 5, 1, 3, 2, 4, 0, 2] if shuffle else [0]

  scripted = True

  def endpoint(self, role):
    del role
    return Endpoint('m', base_url='http://localhost:1/v1')

  async def ask(self, messages, *, role, label='', settings=None, sample=0):
    self.asked.append((role, label, dict(settings or {}), sample, messages))
    # So that others overtake it.
    for _ in range(self._delays[len(self.asked) % len(self._delays)]):
      await asyncio.sleep(0)
    text = self.script(Chat(messages, settings or {}))
    if isinstance(text, Reply):
      return text
    if text is None:
      return Reply(None, 'failed', 'The server is gone.', attempts=6)
    count = sum(len(m['content']) for m in messages) // 4
    return Reply(
      text,
      attempts=1,
      prompt_tokens=count,
      completion_tokens=len(text) // 4,
      scripted=True,
    )

  async def ask_for(self, messages, parse, **options):
    reply = await self.ask(messages, **options)
    if reply.text is None:
      return Parsed(None, (reply,), reply.error)
    try:
      return Parsed(parse(reply.text), (reply,))
    except ValueError as error:
      return Parsed(None, (reply, reply), str(error))

  async def aclose(self):
    self.closed += 1
