# SPDX-License-Identifier: Apache-2.0
"""What was said in a run, as one JSON file."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jaxdl
from jaxdl.core import checks
from jaxdl.language import _secrets

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_.=-]{0,120}')
_FORM = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transcript:
  """One run of agents.

  Attributes:
    name: of the run, which is its file's too; letters, digits and `_.=-`.
    title: for readers, e.g. the task.
    chats: messages of each agent's chat, oldest first, dicts of `role` and
      `content`.
    sent: messages between agents, dicts of `round`, `source`, `target`,
      `text`.
    answers: of each agent; None where it has given none.
    score: in [0, 1], or None.
    graph: node-link form of the network of agents, or None.
    model: who has answered, by role or as one name.
    scripted: whether a scripted model has answered anything.
    usage: dicts of what was spent, see `Usage`.
    info: whatever else is known (rounds, seed, failures, ...), JSON values.
  """

  name: str
  title: str = ''
  chats: Mapping[str, Sequence[Mapping[str, str]]]
  sent: Sequence[Mapping[str, Any]] = ()
  answers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  score: float | None = None
  graph: Mapping[str, Any] | None = None
  model: Any = ''
  scripted: bool = False
  usage: Sequence[Mapping[str, Any]] = ()
  info: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
      raise ValueError(
        'name must be letters, digits and _.=- only, as it names a file; got '
        f'{checks.described(self.name)}.'
      )


def write_json(path: str | os.PathLike[str], value: Any) -> None:
  """Replaces a JSON file whole, without any key of an endpoint.

  Args:
    path: the file; its folder is made.
    value: JSON values.

  Raises:
    OSError: if the disk refuses.
  """
  text = json.dumps(value, ensure_ascii=True, indent=1, allow_nan=False)
  write_text(path, text + '\n')


def write_text(path: str | os.PathLike[str], text: str) -> None:
  """Replaces a file whole, without any key of an endpoint."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  try:
    temporary.write_text(_secrets.without_keys(text), encoding='utf-8')
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_transcript(
  directory: str | os.PathLike[str], transcript: Transcript
) -> pathlib.Path:
  """Writes a transcript to `<name>.json`.

  Args:
    directory: folder, made if it is not there.
    transcript: what was said.

  Returns:
    The path.
  """
  told = {'form': _FORM, 'jaxdl': jaxdl.__version__}
  told |= dataclasses.asdict(transcript)
  path = pathlib.Path(directory) / f'{transcript.name}.json'
  write_json(path, told)
  return path


def read_transcript(path: str | os.PathLike[str]) -> Transcript:
  """Reads what `write_transcript` has written.

  Args:
    path: the file.

  Returns:
    The transcript.

  Raises:
    ValueError: if the file holds something else.
  """
  try:
    told = json.loads(pathlib.Path(path).read_text(encoding='utf-8'))
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{path} is no transcript: {error}.') from error
  if not isinstance(told, dict) or told.get('form') != _FORM:
    raise ValueError(f'{path} is no transcript of form {_FORM}.')
  names = {field.name for field in dataclasses.fields(Transcript)}
  if not names <= set(told):
    missing = ', '.join(sorted(names - set(told)))
    raise ValueError(f'{path} is no transcript: {missing} is missing.')
  return Transcript(**{name: told[name] for name in names})
