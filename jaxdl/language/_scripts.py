# SPDX-License-Identifier: Apache-2.0
"""Scripted models: functions of a chat in place of a language model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Chat(NamedTuple):
  """What a scripted model is asked.

  Attributes:
    messages: dicts of `role` and `content`, oldest first.
    settings: of generation, such as `temperature`.
  """

  messages: Sequence[Mapping[str, str]]
  settings: Mapping[str, Any]


# What is answered depends on the chat alone.
Script = Callable[[Chat], str]
