# SPDX-License-Identifier: Apache-2.0
"""Where models are."""

import dataclasses
import urllib.parse

from jaxdl.core import checks
from jaxdl.language import _secrets

_LOCAL = frozenset({'localhost', '127.0.0.1', '::1'})


@dataclasses.dataclass(frozen=True)
class Endpoint:
  """Where a model is.

  Attributes:
    model: its name there.
    base_url: address of the server, e.g. 'http://localhost:8000/v1'; that of
      OpenAI if None.
    api_key_env: environment variable that holds the key. It is read when a
      client is made, and never written anywhere.
  """

  model: str
  base_url: str | None = None
  api_key_env: str = 'OPENAI_API_KEY'

  def __post_init__(self):
    for name in ('model', 'api_key_env'):
      value = getattr(self, name)
      if not isinstance(value, str) or not value.strip():
        raise ValueError(
          f'{name} must be a name; got {checks.described(value)}.'
        )
    if self.base_url is None:
      return
    if not isinstance(self.base_url, str):
      raise TypeError(
        f'base_url must be text; got {checks.described(self.base_url)}.'
      )
    try:
      parts = urllib.parse.urlsplit(self.base_url)
      _ = parts.port
    except ValueError:
      parts = None
    if (
      parts is None
      or parts.scheme not in ('http', 'https')
      or not parts.hostname
    ):
      raise ValueError(
        'base_url must be an address such as http://localhost:8000/v1; got '
        f'{_secrets.redacted(self.base_url)!r}.'
      )
    if parts.username or parts.password:
      raise ValueError(
        'base_url must not carry a user or password: put the key into the '
        'environment variable that api_key_env names.'
      )

  @property
  def local(self) -> bool:
    """Whether the server is on this machine."""
    host = urllib.parse.urlsplit(self.base_url or '').hostname
    return host in _LOCAL
