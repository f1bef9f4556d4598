# SPDX-License-Identifier: Apache-2.0
"""A server on this machine that speaks as OpenAI's do, with scripted models.

It runs the real path of a request, over a socket, for tests and for a machine
without a key. It is reached from this machine alone, asks for no key and keeps
none, and remembers of a request only how often it came.
"""

import collections
import contextlib
import functools
import hashlib
import http.server
import json
import selectors
import socket
import socketserver
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from jaxdl.core import checks, registry
from jaxdl.language import _scripts
from jaxdl.language.loopback import _faults, _registry

HOST = '127.0.0.1'
MAX_BYTES = 8 << 20
_MAX_LINE = 65536
_KEPT_MODELS = 256
# Of the fields of a request, what is no setting of generation.
_NO_SETTINGS = ('messages', 'model')
_REASONS = http.server.BaseHTTPRequestHandler.responses


class Server:
  """A running server; a context manager that stops it.

  Attributes:
    base_url: what a client is given.
    port: where it listens.
    num_requests: for replies of models, so far, refused ones too.
    most_at_once: requests that were being answered at the same time.
    counts: what was done about the requests: 'answered', names of faults, or
      codes of errors.
  """

  def __init__(
    self,
    port: int,
    models: Mapping[str, _scripts.Script],
    seed: int,
    max_bytes: int,
  ):
    self.num_requests = 0
    self.most_at_once = 0
    self.counts: collections.Counter[str] = collections.Counter()
    self.max_bytes = max_bytes
    self.stopping = threading.Event()
    self._scripts = _registry.SCRIPTS | {
      name: functools.partial(_same, script) for name, script in models.items()
    }
    self._seed = seed
    self._at_once = 0
    self._seen: collections.Counter[bytes] = collections.Counter()
    self._lock = threading.Lock()
    self._model = functools.lru_cache(_KEPT_MODELS)(
      lambda spec: _registry.make_model(spec, self._scripts)
    )
    self._http = _Listener((HOST, port), self)
    self.port: int = self._http.server_address[1]
    self.base_url = f'http://{HOST}:{self.port}/v1'
    self._thread = threading.Thread(
      target=self._http.serve_forever,
      kwargs={'poll_interval': 0.05},
      name='loopback',
      daemon=True,
    )
    self._thread.start()

  def __enter__(self) -> 'Server':
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self.close()

  def close(self) -> None:
    """Stops it; connections are closed and threads have ended."""
    if self.stopping.is_set():
      return
    self.stopping.set()
    self._http.shutdown()
    self._http.hang_up()
    self._http.server_close()
    self._thread.join()

  def known_models(self) -> list[str]:
    """Returns the names of all models."""
    return list(self._scripts)

  def reply(self, body: bytes) -> tuple[_faults.Response, dict[str, Any]]:
    """Returns what to do about a request for a reply, and the request."""
    with self._lock:
      self.num_requests += 1
      self._at_once += 1
      self.most_at_once = max(self.most_at_once, self._at_once)
    response, request = self._reply(body)
    with self._lock:
      self.counts[response.by] += 1
    return response, request

  def done(self) -> None:
    """Notes that a request has been dealt with."""
    with self._lock:
      self._at_once -= 1

  def _reply(self, body):
    request, problem = _read_request(body)
    if problem:
      return _faults.error_response(400, problem, code='invalid_request'), {}
    try:
      model = self._model(request['model'])
    except (TypeError, ValueError) as error:
      message = str(error)[:2000]
      return _faults.error_response(404, message, code='model_not_found'), {}
    settings = {k: v for k, v in request.items() if k not in _NO_SETTINGS}
    chat = _scripts.Chat(request['messages'], settings)
    digest, attempt = b'', 0
    if model.faults:
      digest = hashlib.blake2b(body, digest_size=16).digest()
      with self._lock:
        attempt = self._seen[digest]
        self._seen[digest] += 1
    moment = _faults.Moment(chat, digest, attempt, self._seed)
    try:
      response = model.respond(moment)
    except Exception as error:  # Whatever a script stumbles over.
      message = f'The script raised {type(error).__name__}: {error}'[:2000]
      return _faults.error_response(422, message, code='script_failed'), {}
    if not isinstance(response.text, str):
      message = f'The script returned {checks.described(response.text)}.'
      return _faults.error_response(422, message, code='script_failed'), {}
    return response, request


def serve(
  port: int = 0,
  *,
  models: Mapping[str, _scripts.Script] | None = None,
  seed: int = 0,
  max_bytes: int = MAX_BYTES,
) -> Server:
  """Starts a server of scripted models on this machine.

  The `model` of a request is an entry of `SCRIPTS`, after any number of faults.
  Tokens are told as a quarter of the characters. Nothing is streamed, and
  replies are not cut at `max_tokens`, which scripts see among the settings.

  Args:
    port: where it listens; 0 takes a free one.
    models: further scripts, by name.
    seed: of the faults.
    max_bytes: of a request; larger ones are refused.

  Returns:
    The server: a context manager with `base_url` and `num_requests`.

  Raises:
    ValueError: if a number is out of range.
    OSError: if the port is taken.

  Example:
    >>> import json, urllib.request
    >>> chat = [{'role': 'user', 'content': 'Is anybody there?'}]
    >>> body = json.dumps({'model': 'echo', 'messages': chat}).encode()
    >>> with serve() as server:
    ...   url = server.base_url + '/chat/completions'
    ...   reply = json.load(urllib.request.urlopen(url, body))
    >>> reply['choices'][0]['message']['content']
    'Is anybody there?'
  """
  checks.integer(port, name='port', low=0, high=65535)
  checks.integer(seed, name='seed')
  checks.integer(max_bytes, name='max_bytes', low=1)
  for name in models or {}:
    registry.write(name)  # Refuses what is no name.
  return Server(port, models or {}, seed, max_bytes)


def _same(script, /):
  return script


def _read_request(body):
  """Reads a request: (request, what is wrong with it or nothing)."""
  try:
    request = json.loads(body)
  except (ValueError, RecursionError):
    return {}, 'The body is no JSON.'
  if not isinstance(request, dict):
    return {}, 'The body is no JSON object.'
  if not isinstance(request.get('model'), str):
    return {}, 'model must be text.'
  messages = request.get('messages')
  if not isinstance(messages, list) or not messages:
    return {}, 'messages must be a list that is not empty.'
  for message in messages:
    if not isinstance(message, dict) or not (
      isinstance(message.get('role'), str)
      and isinstance(message.get('content'), str)
    ):
      return {}, 'Every message must have a role and a content, both text.'
  if request.get('stream') or request.get('n', 1) not in (1, None):
    return {}, 'Neither stream nor n > 1 is known here.'
  return request, ''


def _completion(response, request, digest):
  """The body of a reply."""
  found = {
    'id': f'chatcmpl-{digest}',
    'object': 'chat.completion',
    'created': 0,
    'model': request.get('model', ''),
    'system_fingerprint': 'scripted',
    'choices': [
      {
        'index': 0,
        'message': {'role': 'assistant', 'content': response.text},
        'finish_reason': 'stop',
      }
    ],
  }
  if response.usage:
    asked = sum(len(m['content']) for m in request.get('messages', ()))
    prompt, completion = -(-asked // 4), -(-len(response.text) // 4)
    found['usage'] = {
      'prompt_tokens': prompt,
      'completion_tokens': completion,
      'total_tokens': prompt + completion,
    }
  return json.dumps(found).encode()


class _Listener(http.server.ThreadingHTTPServer):
  """Takes connections, a thread for each, and can hang up on all of them."""

  request_queue_size = 512
  allow_reuse_address = True

  def __init__(self, address, server):
    self.server_of = server
    # Connections and their threads, which do not keep a process alive.
    self._open: dict[socket.socket, threading.Thread] = {}
    self._open_lock = threading.Lock()
    super().__init__(address, _Handler)

  def server_bind(self):
    """Binds, without the look-up of the machine's name."""
    socketserver.TCPServer.server_bind(self)
    self.server_name, self.server_port = HOST, self.server_address[1]

  def process_request(self, request, client_address):
    """Starts the thread of a connection."""
    thread = threading.Thread(
      target=self.process_request_thread,
      args=(request, client_address),
      name='loopback-connection',
      daemon=True,
    )
    with self._open_lock:
      self._open[request] = thread
    thread.start()

  def shutdown_request(self, request):
    """Closes a connection."""
    with self._open_lock:
      self._open.pop(request, None)
    super().shutdown_request(request)

  def hang_up(self):
    """Ends all connections and waits for their threads."""
    with self._open_lock:
      found = dict(self._open)
    for request in found:
      with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
    for thread in found.values():
      thread.join()

  def handle_error(self, request, client_address):
    """Says nothing: clients that leave are expected."""


class _Handler(http.server.BaseHTTPRequestHandler):
  """Reads requests of one connection and answers them."""

  protocol_version = 'HTTP/1.1'
  disable_nagle_algorithm = True
  # Of a connection on which nothing happens, in seconds.
  timeout = 600
  wbufsize = 0

  def log_message(self, format, *args):
    """Says nothing."""

  @property
  def _ours(self) -> Server:
    return self.server.server_of

  def do_POST(self):
    """Answers a request for a reply."""
    if self.path.split('?')[0] != '/v1/chat/completions':
      self._not_found()
      return
    body = self._body()
    if body is None:
      return
    response, request = self._ours.reply(body)
    try:
      self._answer(response, request, body)
    finally:
      self._ours.done()

  def do_GET(self):
    """Lists the models."""
    if self.path.split('?')[0] != '/v1/models':
      self._not_found()
      return
    models = [
      {'id': name, 'object': 'model', 'created': 0, 'owned_by': 'scripted'}
      for name in self._ours.known_models()
    ]
    body = json.dumps({'object': 'list', 'data': models}).encode()
    self._send(_faults.Response(body=body), body)

  def _not_found(self):
    self.close_connection = True
    message = 'Known are POST /v1/chat/completions and GET /v1/models.'
    response = _faults.error_response(404, message, code='unknown_path')
    self._send(response, response.body)

  def _body(self):
    """Reads the body; None after an answer to a bad length."""
    length = self.headers.get('Content-Length', '')
    most = self._ours.max_bytes
    if not length.isascii() or not length.isdigit():
      response = _faults.error_response(
        411, 'Content-Length must be told.', code='length_required'
      )
    elif len(length) > 15 or int(length) > most:
      response = _faults.error_response(
        413, f'A request has {most} bytes at most.', code='too_large'
      )
    else:
      return self.rfile.read(int(length))
    self.close_connection = True
    self._send(response, response.body)
    return None

  def _answer(self, response, request, asked):
    if response.delay and self._left_within(response.delay):
      self.close_connection = True
      return
    if response.sent == 'none':
      self.close_connection = True
      return
    body = response.body
    if body is None:
      digest = hashlib.blake2b(asked, digest_size=8).hexdigest()
      body = _completion(response, request, digest)
    self._send(response, body)

  def _left_within(self, seconds):
    """Waits; True as soon as the client has left, or the server stops."""
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
      selector.register(self.connection, selectors.EVENT_READ)
      if not selector.select(seconds):
        return False
    try:
      left = not self.connection.recv(1, socket.MSG_PEEK)
    except OSError:
      left = True
    # Else the next request is there already.
    return left or self._ours.stopping.wait(max(end - time.monotonic(), 0.0))

  def _send(self, response, body):
    chunks = response.sent == 'chunks'
    reason = _REASONS.get(response.status, ('',))[0]
    lines = [
      f'HTTP/1.1 {response.status} {reason}',
      'Content-Type: application/json',
      'Transfer-Encoding: chunked'
      if chunks
      else f'Content-Length: {len(body)}',
      *(f'{k}: {v}' for k, v in response.headers.items()),
    ]
    if self.close_connection:
      lines.append('Connection: close')
    head = '\r\n'.join([*lines, '', '']).encode('latin-1')
    try:
      self._write(response, head, body)
    except OSError:  # The client has left.
      self.close_connection = True

  def _write(self, response, head, body):
    send = self.connection.sendall
    if response.sent == 'all':
      send(head + body)
    elif response.sent == 'half':
      self.close_connection = True
      send(head + body[: len(body) // 2])
    elif response.sent == 'chunks':
      send(head)
      for start in range(0, len(body), _MAX_LINE):
        piece = body[start : start + _MAX_LINE]
        send(f'{len(piece):x}\r\n'.encode() + piece + b'\r\n')
      send(b'0\r\n\r\n')
    else:
      send(head)
      for i in range(len(body)):
        send(body[i : i + 1])
        if self._left_within(response.pause):
          self.close_connection = True
          return
