# SPDX-License-Identifier: Apache-2.0
"""A client for a run, and a server of scripted models where it needs one."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from jaxdl.core import checks, registry
from jaxdl.language import (
  _cache,
  _client,
  _costs,
  _endpoints,
  _loop,
  _transcripts,
)

# In place of an address: a server on this machine, with scripted models.
LOOPBACK = 'loopback'


def role_models(
  roles: Sequence[str], models: Sequence[str]
) -> dict[str, tuple[str, str | None]]:
  """Deals models to roles in turn, each with its own address if it has one.

  Args:
    roles: their names.
    models: at least one: `model`, or `model@address`.

  Returns:
    (model, address or None) by role.

  Raises:
    ValueError: if there is no model, or one has no name.

  Example:
    >>> role_models(['a', 'b', 'c'], ['small', 'big@http://host:8000/v1'])['c']
    ('small', None)
  """
  if not models:
    raise ValueError('models is empty: name at least one.')
  dealt = []
  for text in models:
    name, address = registry.pair(text, name='models')
    if not name:
      raise ValueError(f'models has {text!r}, which names no model.')
    dealt.append((name, address))
  return {role: dealt[i % len(dealt)] for i, role in enumerate(roles)}


class Session:
  """A `Client` that is made when it is needed, and closed with its server.

  Args:
    models: (model, address) by role, see `role_models`; an address of None is
      `base_url`.
    base_url: of models without an address of their own: an address, None for
      that of OpenAI, or 'loopback' for scripted models on this machine.
    directory: where answers are kept, and a table of what was spent; None
      keeps nothing.
    api_key_env: environment variable of the key, see `Endpoint`.
    cache_mode: see `Cache`.
    prices: file of prices, see `read_prices`; '' for none.
    options: further ones of `Client`.

  Raises:
    ValueError: if a scripted model is unknown, or an address none.

  Example:
    >>> session = Session({'worker': ('echo', None)})
    >>> from jaxdl.language import run
    >>> hello = [{'role': 'user', 'content': 'Hello'}]
    >>> run(session.client.ask(hello)).text
    'Hello'
    >>> session.close()
  """

  def __init__(
    self,
    models: Mapping[str, tuple[str, str | None]],
    *,
    base_url: str | None = LOOPBACK,
    api_key_env: str = 'OPENAI_API_KEY',
    directory: str | os.PathLike[str] | None = None,
    cache_mode: str = 'read_write',
    prices: str = '',
    **options: Any,
  ):
    checks.choice(cache_mode, _cache.MODES, name='cache_mode')
    self._models, self._base_url = dict(models), base_url
    self._api_key_env = api_key_env
    self._directory = None if directory is None else pathlib.Path(directory)
    self._cache_mode, self._prices = cache_mode, prices
    self._options = options
    self._client: _client.Client | None = None
    self._server: Any = None
    for model, address in set(self._models.values()):
      address = base_url if address is None else address
      if address == LOOPBACK:
        from jaxdl.language import loopback

        loopback.make_model(model)
      else:
        _endpoints.Endpoint(model, address, api_key_env)

  @property
  def scripted(self) -> bool:
    """Whether any model is a scripted one of this machine."""
    return any(
      (self._base_url if address is None else address) == LOOPBACK
      for _, address in self._models.values()
    )

  @property
  def client(self) -> _client.Client:
    """The client; it is made, and the server started, when it is first read."""
    if self._client is None:
      local = None
      if self.scripted and self._cache_mode != 'replay_only':
        from jaxdl.language import loopback

        self._server = loopback.serve()
        local = self._server.base_url
      # A replay asks nobody.
      local = local or 'http://127.0.0.1:1/v1'
      endpoints = {}
      for role, (model, address) in self._models.items():
        address = self._base_url if address is None else address
        endpoints[role] = _endpoints.Endpoint(
          model,
          local if address == LOOPBACK else address,
          self._api_key_env,
        )
      cache = None
      if self._directory is not None:
        cache = _cache.Cache(self._directory, self._cache_mode)
      elif self._cache_mode == 'replay_only':
        raise ValueError(
          'cache_mode=replay_only needs a folder of what was answered.'
        )
      prices = _costs.read_prices(self._prices) if self._prices else None
      self._client = _client.Client(
        endpoints, cache=cache, prices=prices, **self._options
      )
    return self._client

  def write_usage(self) -> None:
    """Writes what was spent so far to `usage.json` beside the answers."""
    client = self._client
    if client is None or self._directory is None:
      return
    rows = [vars(row) | {'tokens': row.tokens} for row in client.usage]
    _transcripts.write_json(
      self._directory / 'usage.json',
      {'scripted': client.scripted, 'usage': rows},
    )

  def close(self, *_: Any) -> None:
    """Writes what was spent, and closes client and server."""
    self.write_usage()
    client, self._client = self._client, None
    server, self._server = self._server, None
    if client is not None:
      _loop.run(client.aclose())
    if server is not None:
      logging.info('scripted models had %d requests.', server.num_requests)
      server.close()
