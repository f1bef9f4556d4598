# SPDX-License-Identifier: Apache-2.0
"""Servers for tests that send whatever bytes they are told."""

import json
import socket
import threading


class RawServer:
  """Takes whole requests and answers with whatever bytes it is told.

  Args:
    answer: `answer(send, request)`, where `send` takes bytes, and `request` is
      what came, head and body.
  """

  def __init__(self, answer):
    self.answer = answer
    self.requests = []
    self.errors = 0
    self._listening = socket.create_server(('127.0.0.1', 0), backlog=64)
    self.port = self._listening.getsockname()[1]
    self.base_url = f'http://127.0.0.1:{self.port}/v1'
    self._threads = [threading.Thread(target=self._accept)]
    self._threads[0].start()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._listening.shutdown(socket.SHUT_RDWR)
    for thread in self._threads:
      thread.join()
    self._listening.close()

  def _accept(self):
    while True:
      try:
        sock, _ = self._listening.accept()
      except OSError:
        return
      thread = threading.Thread(target=self._serve, args=(sock,))
      self._threads.append(thread)
      thread.start()

  def _serve(self, sock):
    with sock:
      sock.settimeout(20)
      found = b''
      try:
        while b'\r\n\r\n' not in found:
          more = sock.recv(65536)
          if not more:
            return
          found += more
        head, body = found.split(b'\r\n\r\n', 1)
        (size,) = (
          int(line.split(b':')[1])
          for line in head.split(b'\r\n')
          if line.lower().startswith(b'content-length')
        )
        while len(body) < size:
          body += sock.recv(65536)
        request = head + b'\r\n\r\n' + body
        self.requests.append(request)
        self.answer(sock.sendall, request)
      except OSError:
        self.errors += 1


def whole(body, status='200 OK', **headers):
  """A response with a length."""
  lines = [f'HTTP/1.1 {status}', f'Content-Length: {len(body)}']
  lines += ['Connection: close']
  lines += [f'{k.replace("_", "-")}: {v}' for k, v in headers.items()]
  return '\r\n'.join([*lines, '', '']).encode() + body


def completion(content, **fields):
  message = {'role': 'assistant', 'content': content}
  return json.dumps(
    {'choices': [{'message': message, 'finish_reason': 'stop'}], **fields}
  ).encode()
