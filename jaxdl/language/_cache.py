# SPDX-License-Identifier: Apache-2.0
"""Answers that are kept on disk, so that no question is paid for twice."""

import json
import os
import pathlib
import threading
from typing import Any

from jaxdl.core import checks
from jaxdl.language import _replies, _secrets

MODES = ('off', 'read_write', 'replay_only')
_NAME = 'replies.jsonl'
_FORM = 1


class NoPlace(ValueError, checks.Refusal):  # noqa: N818
  """A folder in which nothing can be kept."""


class Cache:
  """Keeps answers by question, one JSON line each.

  Lines are only added, each by one write, so that several processes may share
  a folder and a kill loses at most the line that was being written. Only places
  of lines are held in memory. Failures are not kept.

  Args:
    directory: folder, made if it is not there.
    mode: 'read_write'; 'replay_only', which asks nobody: what is missing is an
      error; or 'off'.

  Raises:
    ValueError: if the mode is unknown, there is nothing to replay, or the
      folder cannot be written.

  Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   cache = Cache(folder)
    ...   cache.put('a' * 64, _replies.Reply('yes', prompt_tokens=3))
    ...   Cache(folder, mode='replay_only').get('a' * 64).text
    'yes'
  """

  def __init__(
    self, directory: str | os.PathLike[str], mode: str = 'read_write'
  ):
    checks.choice(mode, MODES, name='mode')
    self.mode = mode
    self.path = pathlib.Path(directory) / _NAME
    self._lock = threading.Lock()
    self._places: dict[bytes, tuple[int, int]] = {}
    self._read_to = 0
    self._file: int | None = None
    if mode == 'off':
      return
    if mode == 'replay_only':
      if not self.path.is_file():
        raise ValueError(
          f'mode=replay_only has nothing to replay: {self.path} is not there.'
        )
      self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
    else:
      flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
      try:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, flags, 0o600)
      except OSError as error:
        raise NoPlace(
          f'{self.path.parent} cannot keep replies: {error.strerror}.'
        ) from error
    self._catch_up()

  def __len__(self) -> int:
    return len(self._places)

  def __del__(self, close=os.close):
    # At the end of a program modules may be gone.
    file, self._file = getattr(self, '_file', None), None
    if file is not None:
      close(file)

  def close(self) -> None:
    """Closes the file; the cache answers nothing afterwards."""
    self.__del__()

  @property
  def on(self) -> bool:
    """Whether anything is kept."""
    return self._file is not None

  def get(self, key: str) -> _replies.Reply | None:
    """Returns what was answered, or None.

    Args:
      key: of the question, 64 hexadecimal digits.

    Returns:
      The answer, marked as cached.
    """
    if self._file is None:
      return None
    short = bytes.fromhex(key)
    with self._lock:
      if short not in self._places:
        self._catch_up()  # Others may have asked.
      place = self._places.get(short)
      if place is None:
        return None
      line = os.pread(self._file, place[1], place[0])
    return _reply_of(json.loads(line))

  def put(self, key: str, reply: _replies.Reply, question: str = '') -> None:
    """Keeps an answer.

    Args:
      key: of the question.
      reply: the answer; failures are not kept.
      question: canonical text of the question, for readers of the file.

    Raises:
      OSError: if the disk refuses.
    """
    if self._file is None or self.mode != 'read_write' or reply.kind != 'ok':
      return
    told = {
      'form': _FORM,
      'key': key,
      'text': reply.text,
      'prompt_tokens': reply.prompt_tokens,
      'completion_tokens': reply.completion_tokens,
      'estimated': reply.estimated,
      'scripted': reply.scripted,
      'finish': reply.finish,
    }
    if question:
      told['question'] = json.loads(_secrets.without_keys(question))
    line = json.dumps(told, ensure_ascii=True).encode() + b'\n'
    with self._lock:
      # After a line that a kill has cut, a new one starts.
      size = os.fstat(self._file).st_size
      torn = size and os.pread(self._file, 1, size - 1) != b'\n'
      data = b'\n' + line if torn else line
      if os.write(self._file, data) != len(data):
        raise OSError(f'{self.path} is full: an answer could not be kept.')
      self._catch_up()

  def _catch_up(self):
    """Reads where new lines are; the last one may be unfinished."""
    if self._file is None or os.fstat(self._file).st_size == self._read_to:
      return
    with open(self._file, 'rb', closefd=False) as file:
      file.seek(self._read_to)
      for line in file:
        if not line.endswith(b'\n'):
          break
        start, self._read_to = self._read_to, self._read_to + len(line)
        try:
          told = json.loads(line)
          key = bytes.fromhex(told['key'])
          _reply_of(told)
        except (ValueError, KeyError, TypeError):
          continue  # Cut by a kill, or not ours.
        # The first answer stays, as it was used.
        self._places.setdefault(key, (start, len(line)))


def _reply_of(told: dict[str, Any]) -> _replies.Reply:
  return _replies.Reply(
    text=str(told['text']),
    prompt_tokens=int(told['prompt_tokens']),
    completion_tokens=int(told['completion_tokens']),
    estimated=bool(told['estimated']),
    scripted=bool(told['scripted']),
    finish=told['finish'],
    cached=True,
  )
