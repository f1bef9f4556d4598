# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of language agents: calls of scripted models.

The runtime against the bare client of `openai`, both asking one server in a
process of its own; calls that fail; replies and transcripts in memory.
"""

import asyncio
import contextlib
import functools
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
from concurrent import futures

from experiments.benchmarks import _timing
from jaxdl import language
from jaxdl.language import loopback

CONCURRENCY = 32
# Times the bare client's time, where a server takes 20 ms.
WITHIN = 1.1
# That the server answers.
REQUESTS_PER_S = 1500
ROOT = pathlib.Path(__file__).parents[2]
# Of all requests 0.2 fail: 1 - 0.92 * 0.915 * 0.95.
FAULTS = (
  'rate_limited(share=0.08)+failing(share=0.085)+'
  'hanging(share=0.05, seconds=60.0)+echo'
)


@contextlib.contextmanager
def server():
  """A server of scripted models in another process; gives its base_url."""
  process = subprocess.Popen(
    [sys.executable, '-m', 'jaxdl.language.loopback'],
    stdout=subprocess.PIPE,
    text=True,
    cwd=ROOT,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
  )
  try:
    yield process.stdout.readline().split()[1]
  finally:
    process.terminate()
    process.communicate()


def _chats(count):
  """Questions of about 150 tokens, all different."""
  words = 'You are one of many agents, and this is what you know. ' * 10
  return [
    [{'role': 'user', 'content': f'{words} Question {i}.'}]
    for i in range(count)
  ]


def _bare(url, model, chats):
  """Asks with the client of `openai` alone."""
  import openai

  session = openai.AsyncOpenAI(
    base_url=url,
    api_key='none',
    max_retries=0,
    http_client=openai.DefaultAsyncHttpx2Client(trust_env=False)
    if hasattr(openai, 'DefaultAsyncHttpx2Client')
    else openai.DefaultAsyncHttpxClient(trust_env=False),
  )

  async def go():
    slots = asyncio.Semaphore(CONCURRENCY)

    async def one(messages):
      async with slots:
        found = await session.chat.completions.create(
          model=model, messages=messages, temperature=0.0, max_tokens=256
        )
        return found.choices[0].message.content

    return await language.gather([one(messages) for messages in chats])

  return lambda: language.run(go())


def overhead(*, rounds: int, quick: bool = False) -> list[dict[str, str]]:
  """Calls by the runtime against calls by the bare client.

  Args:
    rounds: turns of every contender.
    quick: whether there are few calls.

  Returns:
    Rows of a table.

  Raises:
    ValueError: if contenders get other replies, whose times say nothing.
  """
  count = 128 if quick else 1024
  chats, rows = _chats(count), []
  settings = {'temperature': 0.0, 'max_tokens': 256}
  requests = [language.Request(m, settings=settings) for m in chats]
  with server() as url, tempfile.TemporaryDirectory() as folder:
    for delay_ms in (0, 20):
      model = f'slow(delay={delay_ms / 1000})+echo' if delay_ms else 'echo'
      endpoint = language.Endpoint(model, base_url=url)
      client = language.Client(endpoint, max_concurrency=CONCURRENCY)
      ask = lambda client=client: language.run(client.ask_all(requests))
      turns = iter(range(10**6))

      def fresh(endpoint=endpoint, delay_ms=delay_ms, turns=turns):
        # A cache that knows nothing, so that each answer is written.
        path = pathlib.Path(folder) / f'{delay_ms}' / f'{next(turns)}'
        keeps = language.Client(
          endpoint,
          max_concurrency=CONCURRENCY,
          cache=language.Cache(path),
        )
        out = language.run(keeps.ask_all(requests))
        language.run(keeps.aclose())
        return out

      bare = _bare(url, model, chats)
      if [r.text for r in ask()] != bare():
        raise ValueError('contenders get other replies: not timed.')
      # Replies are no arrays: nothing to wait for.
      fns = {
        'runtime': lambda ask=ask: len(ask()),
        'runtime, answers kept on disk': lambda fresh=fresh: len(fresh()),
        'bare client': lambda bare=bare: len(bare()),
      }
      times = _timing.measure(fns, rounds=rounds)
      for name in list(fns)[:2]:
        asked = delay_ms == 20 and name == 'runtime'
        claim = _timing.Claim(
          name, 'bare client', within=WITHIN if asked else None
        )
        row = claim.row(times)
        ratio = times.ratio(name, 'bare client')
        more = (ratio - 1) * times.ms('bare client') / count
        rows.append(
          {
            'server takes, ms': str(delay_ms),
            'ours': name,
            'calls/s': _timing.digits(1000 * count / times.ms(name)),
            "bare client's": _timing.digits(
              1000 * count / times.ms('bare client')
            ),
            'time / its time': _timing.digits(ratio),
            'more per call, ms': _timing.digits(more),
            'target': row['target'],
            'held': row['held'],
          }
        )
      language.run(client.aclose())
  return rows


def serving(*, rounds: int, quick: bool = False) -> list[dict[str, str]]:
  """Requests that the server of scripted models answers.

  Args:
    rounds: turns of every contender.
    quick: whether there are few.

  Returns:
    Rows of a table.
  """
  count, rows = 400 if quick else 4000, []
  body = json.dumps({'model': 'echo', 'messages': _chats(1)[0]}).encode()
  head = (
    'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n'
    f'Content-Length: {len(body)}\r\n\r\n'
  ).encode()

  def ask(port, number):
    with socket.create_connection(('127.0.0.1', port)) as sock:
      for _ in range(number):
        sock.sendall(head + body)
        if not sock.recv(65536).startswith(b'HTTP/1.1 200'):
          raise ValueError('a request has failed.')

  with server() as url:
    port = int(url.split(':')[2].split('/')[0])

    def together(at_once):
      with futures.ThreadPoolExecutor(at_once) as pool:
        list(pool.map(ask, [port] * at_once, [count // at_once] * at_once))

    fns = {str(k): functools.partial(together, k) for k in (1, 8, 32)}
    times = _timing.measure(fns, rounds=rounds)
    for name in fns:
      per_s = 1000 * count / times.ms(name)
      rows.append(
        {
          'connections': name,
          'requests/s': _timing.digits(per_s),
          'target': f'>= {REQUESTS_PER_S}',
          'held': 'yes' if per_s >= REQUESTS_PER_S else '**no**',
        }
      )
  return rows


def faults(*, quick: bool = False) -> list[dict[str, str]]:
  """A fifth of all requests fails, and what becomes of the calls.

  Args:
    quick: whether there are few calls.

  Returns:
    Rows of a table.
  """
  count = 200 if quick else 2000
  requests = [language.Request(m) for m in _chats(count)]
  with loopback.serve() as served:
    client = language.Client(
      language.Endpoint(FAULTS, base_url=served.base_url),
      max_concurrency=CONCURRENCY,
      max_attempts=12,
      timeout=2.0,
      backoff=0.02,
    )
    begin = time.perf_counter()
    replies = language.run(client.ask_all(requests))
    seconds = time.perf_counter() - begin
    language.run(client.aclose())
    counts = dict(served.counts)
    sent = served.num_requests
  right = [r.text for r in replies] == [
    q.messages[0]['content'] for q in requests
  ]
  failed = sent - counts['answered']
  return [
    _fact('calls', count),
    _fact('requests at the server', sent),
    _fact('of them 429', counts['rate_limited']),
    _fact('of them 500', counts['failing']),
    _fact('of them without an answer in time', counts['hanging']),
    _fact('share that failed', failed / sent),
    _fact(
      'calls that are answered, in order',
      sum(r.kind == 'ok' for r in replies),
      count if right else -1,
    ),
    _fact('attempts that replies tell', sum(r.attempts for r in replies), sent),
    _fact(
      'attempts that the ledger tells',
      sum(u.attempts for u in client.usage),
      sent,
    ),
    _fact('answers at the server', counts['answered'], count),
    _fact('calls per second', count / seconds),
  ]


def _fact(what, value, wanted=None):
  """A line about a number, which may have to be another one."""
  held = '-' if wanted is None else 'yes' if value == wanted else '**no**'
  shown = str(value) if isinstance(value, int) else _timing.digits(value)
  target = 'told only' if wanted is None else f'{wanted}'
  return {'quantity': what, 'value': shown, 'target': target, 'held': held}


def memory(*, quick: bool = False) -> list[dict[str, str]]:
  """What many answers and transcripts take.

  Args:
    quick: whether there are few.

  Returns:
    Rows of a table.
  """
  count = 1000 if quick else 10_000
  text = 'What an agent says, about five hundred tokens of it. ' * 40
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    cache = language.Cache(folder)
    tracemalloc.start()
    for i in range(count):
      cache.put(f'{i:064x}', language.Reply(text, prompt_tokens=500), '{}')
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    size = cache.path.stat().st_size
    begin = time.perf_counter()
    found = language.Cache(folder, mode='replay_only')
    seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    for i in range(count):
      if found.get(f'{i:064x}').text != text:
        raise ValueError(f'answer {i} has changed.')
    reading = time.perf_counter() - begin
    mib = 1 / 2**20
    rows += [
      _timing.fact(
        f'file of {count} answers of {len(text)} characters', size * mib, 'MiB'
      ),
      _timing.fact(
        'memory that their cache holds', held * mib, 'MiB', below=count / 1000
      ),
      _timing.fact('opening it', seconds, 's', below=5.0),
      _timing.fact(
        'reading one answer', 1e6 * reading / count, 'µs', below=500.0
      ),
    ]
    tracemalloc.start()
    for i in range(count):
      language.write_transcript(folder, _transcript(f'run-{i}'))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    begin = time.perf_counter()
    tracemalloc.start()
    runs = [
      language.read_transcript(folder / f'run-{i}.json') for i in range(count)
    ]
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    files = sum((folder / f'run-{i}.json').stat().st_size for i in range(count))
    rows += [
      _timing.fact(
        f'files of {count} transcripts of 4 agents', files * mib, 'MiB'
      ),
      _timing.fact(
        'most memory while they are written', peak * mib, 'MiB', below=5.0
      ),
      _timing.fact(
        'memory that all of them hold once read',
        held * mib,
        'MiB',
        below=round(3 * files * mib),
      ),
    ]
    del runs
  return rows


def _transcript(name):
  """A run of four agents, eight messages each."""
  names = ('Ann', 'Bob', 'Cem', 'Dora')
  said = 'A reply of a few words, and then a few words more. ' * 4
  chat = [
    {'role': ('user', 'assistant')[i % 2], 'content': f'{said}{i}'}
    for i in range(8)
  ]
  return language.Transcript(
    name=name,
    chats={n: chat for n in names},
    sent=[
      {'round': t, 'source': a, 'target': b, 'text': said}
      for t in range(4)
      for a, b in (('Ann', 'Bob'), ('Bob', 'Cem'), ('Cem', 'Dora'))
    ],
    answers=dict.fromkeys(names, '1'),
    score=1.0,
  )
