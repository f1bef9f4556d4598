# SPDX-License-Identifier: Apache-2.0
"""One event loop in a thread of its own, for callers that are not async."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar('T')
_PATIENCE = 10.0
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def _running():
  global _loop
  with _lock:
    if _loop is None:
      loop = asyncio.new_event_loop()
      thread = threading.Thread(
        target=loop.run_forever, name='jaxdl-language', daemon=True
      )
      thread.start()
      _loop = loop
    return _loop


def run(coroutine: Coroutine[Any, Any, T]) -> T:
  """Runs a coroutine to its end and returns what it returns.

  All calls share one loop, so that connections stay open between them. It works
  in notebooks, whose own loop is running. An interrupt cancels the coroutine
  and waits for it to stop.

  Args:
    coroutine: what to run.

  Returns:
    Its result.

  Raises:
    RuntimeError: if it is called by what it runs, which would wait forever.

  Example:
    >>> async def answer():
    ...   return 42
    >>> run(answer())
    42
  """
  loop = _running()
  try:
    inside = asyncio.get_running_loop() is loop
  except RuntimeError:
    inside = False
  if inside:
    coroutine.close()
    raise RuntimeError('run was called by what it runs: use await.')
  ended = threading.Event()

  async def whole():
    try:
      return await coroutine
    finally:
      ended.set()

  future = asyncio.run_coroutine_threadsafe(whole(), loop)
  try:
    return future.result()
  except BaseException:
    if future.cancel():  # Not if it was the coroutine that raised.
      ended.wait(_PATIENCE)
    raise
