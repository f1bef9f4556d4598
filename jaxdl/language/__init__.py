# SPDX-License-Identifier: Apache-2.0
"""Language models as agents: asking endpoints, and what agents do together.

    endpoint = language.Endpoint('small-model', 'http://localhost:8000/v1')
    client = language.Client(
      endpoint, cache=language.Cache('replies'), budget_tokens=100_000
    )
    reply = language.run(client.ask([{'role': 'user', 'content': 'Hello?'}]))

- `Client` asks any server that speaks OpenAI's protocol, so many questions at a
  time; an `Endpoint` names model, address and the environment variable of the
  key, one for all roles or one for each. `ask` gives a `Reply`, `ask_all` many
  of `Request`s in order, `ask_for` what a function reads of it, after one
  repair at most (`Parsed`). What an endpoint does wrong raises nothing: replies
  say it. `run` serves code that is not async, notebooks too.
- A `Session` has the client of a run, with a server of scripted models if it
  needs one.
- `Cache` keeps answers on disk: 'read_write', 'replay_only' (no request is
  sent; what is missing raises `MissingReply`) or 'off'.
- `client.usage` has tokens and cost by role, label and model (`Usage`), prices
  come from `read_prices`; a budget is never passed by more than a guess of
  tokens is wrong.
- `find_json` and `json_contract` read JSON out of untrusted text.
- `Transcript`, `write_transcript`, `read_transcript`, `write_json`: what was
  said in a run; `viewer` makes a page of HTML of it.

Keys are read from the environment when a client is made; they are in no file,
log, error or `repr`. Replies are untrusted: they are limited in size, never
evaluated, and name no files.

Sub-packages: `loopback` serves scripted models on this machine, so that all of
this runs without a key. Needs the package `openai`.
"""

from jaxdl.language._cache import MODES as CACHE_MODES, Cache
from jaxdl.language._client import Client, gather
from jaxdl.language._contracts import find_json, json_contract
from jaxdl.language._costs import Price, Usage, guessed_tokens, read_prices
from jaxdl.language._endpoints import Endpoint
from jaxdl.language._knobs import EndpointConfig
from jaxdl.language._loop import run
from jaxdl.language._replies import (
  MissingReply,
  NobodyAnswers,
  Parsed,
  Reply,
  Request,
)
from jaxdl.language._scripts import Chat, Script
from jaxdl.language._secrets import redacted, without_keys
from jaxdl.language._sessions import LOOPBACK, Session, role_models
from jaxdl.language._transcripts import (
  Transcript,
  read_transcript,
  write_json,
  write_text,
  write_transcript,
)
from jaxdl.language._viewer import viewer

__all__ = [
  'CACHE_MODES',
  'Cache',
  'Chat',
  'Client',
  'Endpoint',
  'EndpointConfig',
  'LOOPBACK',
  'MissingReply',
  'NobodyAnswers',
  'Parsed',
  'Price',
  'Reply',
  'Request',
  'Script',
  'Session',
  'Transcript',
  'Usage',
  'find_json',
  'gather',
  'guessed_tokens',
  'json_contract',
  'read_prices',
  'read_transcript',
  'redacted',
  'role_models',
  'run',
  'viewer',
  'without_keys',
  'write_json',
  'write_text',
  'write_transcript',
]
