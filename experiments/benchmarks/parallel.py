# SPDX-License-Identifier: Apache-2.0
"""Times layouts of rounds, data made ahead, and searches for signatures.

Rounds run on eight emulated devices (`--devices`), which share the cores of
this machine: the layout that is chosen stands against each that is fixed, and
against the compiler's own choice. Bytes are those of compiled programs.

Example: python -m experiments.benchmarks.parallel --parts=layouts --quick
"""

import dataclasses
import functools
import os
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from experiments.benchmarks import _timing
from jaxdl import (
  aggregators,
  data,
  federated,
  local,
  networks,
  parallel,
  problems,
)
from jaxdl.core import checks, clients as clients_lib, types
from jaxdl.experiment import compare, runner

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Small networks, 3 rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md.')
flags.DEFINE_integer('rounds', 12, 'Turns of every contender.')
flags.DEFINE_integer('devices', 8, 'Devices to emulate.')
flags.DEFINE_list(
  'parts', ['all'], "What to measure: names in PARTS, or 'all'."
)

# Rule, clients, sizes of the network, examples in a batch.
ROUNDS = (
  ('mean', 16, (64, 256, 10), 32),
  ('median', 16, (64, 256, 10), 32),
  ('median', 15, (256, 1024, 10), 8),
  ('krum', 16, (64, 256, 10), 32),
  ('nnm+trimmed_mean', 15, (64, 256, 10), 32),
  ('nnm+trimmed_mean', 16, (256, 1024, 10), 8),
  ('trimmed_mean', 4, (256, 1024, 10), 8),
)
WITHIN = 1.1
_COUNT = '--xla_force_host_platform_device_count'


def _rounds() -> int:
  return 3 if FLAGS.quick else FLAGS.rounds


def _task(sizes):
  network = networks.make_network(f'mlp({sizes[1]})', (sizes[0],), sizes[2])
  example = jnp.zeros((1, sizes[0]))
  return networks.classification(network, example, num_classes=sizes[2])


@functools.cache
def _programs(spec, n, sizes, batch):
  """A compiled round by layout, with its cost and its bytes."""
  task, p = _task(sizes), jax.device_count()
  f = min(3, (n - 1) // 3)
  rule = aggregators.make_aggregator(spec, num_clients=n, num_byzantine=f)
  reads = aggregators.reads(spec)
  form = jax.eval_shape(task.init, jax.random.key(0))
  shapes = [x.shape for x in jax.tree.leaves(form)]
  size = sum(int(np.prod(s)) for s in shapes)
  rng = np.random.default_rng(0)
  cohort = types.Cohort(
    client_ids=np.arange(n),
    data={
      'inputs': rng.normal(size=(n, batch, sizes[0])).astype(np.float32),
      'labels': rng.integers(sizes[2], size=(n, batch)).astype(np.int32),
      'mask': np.ones((n, batch), bool),
    },
    mask=np.ones(n, bool),
    weights=np.ones(n, np.float32),
  )
  choose = functools.partial(
    parallel.choose_layout,
    *(n, shapes, reads, p),
    flops_per_client=6.0 * size * batch,
    num_metrics=2,
  )
  chosen = {name: choose(layout=name) for name in parallel.LAYOUTS}
  out, auto = {}, choose(layout='auto')
  for name, layout in {'compiler': None, **chosen, 'auto': auto}.items():
    same = [k for k, (x, *_) in out.items() if x == layout]
    if layout is not None and same:
      out[name] = out[same[0]]
      continue
    copies = 1 if layout is None else layout.num_copies
    mesh = clients_lib.clients_mesh(num_copies=copies)
    spread = 'free' if layout is None else layout.spread
    clients = clients_lib.Clients(n, mesh=mesh, layout=spread)
    algorithm = federated.robust_sgd(
      task,
      aggregators.lay_out(rule, clients, reads=reads),
      clients,
      optimizer=optax.sgd(0.1),
      explain=False,
    )
    everywhere = jax.NamedSharding(mesh, jax.P())
    given = jax.device_put(
      (algorithm.init(jax.random.key(0)), cohort), everywhere
    )
    step = lambda s, c, a=algorithm: a.step(s, c, key=jax.random.key(1))
    program = jax.jit(step, out_shardings=everywhere).lower(*given).compile()
    counted = parallel.collective_bytes(program)
    out[name] = layout, counted, functools.partial(program, *given)
  return size, out


def layouts() -> list[str]:
  """Rounds in every layout, and in the one that is chosen."""
  rows = []
  for spec, n, sizes, batch in ROUNDS[:2] if FLAGS.quick else ROUNDS:
    size, found = _programs(spec, n, sizes, batch)
    # The one that is chosen is one of the others: it is timed once.
    times = _timing.measure(
      {k: run for k, (_, _, run) in found.items() if k != 'auto'},
      rounds=_rounds(),
    )
    fixed = {name: times.ms(name) for name in parallel.LAYOUTS}
    auto = found['auto'][0]
    ours = fixed[auto.name]
    rows.append(
      {
        'rule': spec,
        'clients x parameters': f'{n} x {size}',
        'compiler, ms': _timing.digits(times.ms('compiler')),
        **{f'{k}, ms': _timing.digits(v) for k, v in fixed.items()},
        'auto': auto.label,
        'auto / best': _timing.digits(ours / min(fixed.values())),
        'auto / worst': _timing.digits(ours / max(fixed.values())),
        f'<= {WITHIN}x best': 'yes'
        if ours <= WITHIN * min(fixed.values())
        else '**no**',
      }
    )
  title = f'### Rounds on {jax.device_count()} emulated devices'
  return [f'{title}\n\n{_timing.table(rows)}']


def moved() -> list[str]:
  """Bytes of rounds and of changes of signature, against the table."""
  rows = []
  for spec, n, sizes, batch in ROUNDS[:2] if FLAGS.quick else ROUNDS:
    size, found = _programs(spec, n, sizes, batch)
    for name, (layout, counted, _) in found.items():
      if name == 'auto':
        continue
      total = sum(counted.values())
      told = '-' if layout is None else round(sum(layout.moved.values()))
      exact = layout is not None and all(
        counted[k] == round(v) for k, v in layout.collectives.items()
      )
      rows.append(
        {
          'rule': spec,
          'clients x parameters': f'{n} x {size}',
          'layout': name if layout is None else layout.label,
          'predicted bytes': told,
          'compiled bytes': total,
          'equal': '-' if layout is None else 'yes' if exact else '**no**',
        }
      )
  return [f'### Bytes that rounds move\n\n{_timing.table(rows)}']


def boxing() -> list[str]:
  """Every change of one component against the table."""
  rows = {}
  for sizes in ((jax.device_count(),), (2, jax.device_count() // 2)):
    mesh = parallel.device_mesh(sizes)
    for found in parallel.measure_boxing(mesh, size=16):
      kind = parallel.kind_of_change(found.src, found.dst)
      right = found.predicted == found.measured
      done, all_of = rows.get((sizes, kind), (0, 0))
      rows[sizes, kind] = done + right, all_of + 1
  table = [
    {'mesh': 'x'.join(map(str, m)), 'change': k, 'bytes as told': f'{a} of {b}'}
    for (m, k), (a, b) in rows.items()
  ]
  return [f'### Bytes of changes of signature\n\n{_timing.table(table)}']


def pipeline() -> list[str]:
  """A run on examples on disk, read ahead of the device or in its way."""
  examples, size = (2_000, 64) if FLAGS.quick else (60_000, 1024)
  rng = np.random.default_rng(0)
  labels = rng.integers(10, size=examples)
  inputs = rng.normal(size=(examples, size)).astype(np.float32)
  few = slice(0, 500)
  folder = tempfile.mkdtemp()
  data.files.save_npy(
    data.Dataset(inputs, labels, inputs[few], labels[few], 10, 'noise'), folder
  )
  n = 20
  problem = problems.clients(
    'npy', data_dir=folder, partition='iid', num_clients=200, local_test=0.0,
    sampling=f'uniform(num_sampled={n})', network='mlp(128)',
  )  # fmt: skip
  work = local.LocalWork(optax.sgd(0.01), batch_size=32, num_epochs=1)
  algorithm = federated.make_algorithm(
    'fedavg', problem.task, 200, work=work, cohort_size=n
  )
  config = runner.BaseConfig(
    num_rounds=4 if FLAGS.quick else 40, eval_every=1000
  )
  experiment = compare(config, problem, {'fedavg': algorithm})
  experiment = dataclasses.replace(experiment, rows=lambda *args: [])
  runs: dict[str, list[float]] = {'in its way': [], 'ahead': []}
  feeds = []
  for _ in range(_rounds() // 3 + 1):
    for name, ahead in (('in its way', 0), ('ahead', 2)):
      # The clock starts when the first round is done: compilation is over.
      clock: dict[str, float] = {}
      sink = _Clock(clock)
      made = dataclasses.replace(experiment, ahead=ahead)
      result = runner.run(made, config, sinks=[sink])
      jax.block_until_ready(result.state)
      rounds = config.num_rounds - 1
      runs[name].append(1e3 * (time.perf_counter() - clock['first']) / rounds)
      if result.feed is not None:
        feeds.append(result.feed)
  ms = {name: float(np.median(times)) for name, times in runs.items()}
  feed = feeds[-1]
  rows = [
    _timing.fact('round, data read in its way', ms['in its way'], 'ms'),
    _timing.fact('round, data read ahead', ms['ahead'], 'ms'),
    _timing.fact('gain', ms['in its way'] / ms['ahead'], 'x'),
    _timing.fact('host per round', 1e3 * sum(feed.busy) / feed.items, 'ms'),
    _timing.fact('waiting per round', 1e3 * feed.waited / feed.items, 'ms'),
  ]
  table = _timing.table(rows)
  return [f'### {n} of 200 clients on disk, {size} features\n\n{table}']


class _Clock(runner.Sink):
  """Notes when the first round was over."""

  def __init__(self, clock):
    self._clock = clock

  def write(self, rows):
    """Takes no rows."""

  def tick(self, step):
    """Starts the clock after the first round."""
    if step == 1:
      self._clock['first'] = time.perf_counter()


def search() -> list[str]:
  """Searches for the signatures of a hundred operators."""
  program = parallel.PROGRAMS.make('transformer(num_layers=4)', 32)
  rows = []
  for mesh in ((8,), (2, 4)):
    begin = time.perf_counter()
    found = parallel.assign_optimal(program, mesh)
    took = time.perf_counter() - begin
    what = f'{len(program.ops)} operators on {"x".join(map(str, mesh))}'
    bound = 1.0 if len(mesh) == 1 else None
    rows.append(_timing.fact(what, took, 's', below=bound))
    del found
  return [f'### Searches for signatures\n\n{_timing.table(rows)}']


# Parts by name: functions that return Markdown and read `FLAGS`.
PARTS = {
  'layouts': layouts,
  'moved': moved,
  'boxing': boxing,
  'pipeline': pipeline,
  'search': search,
}


def main(argv):
  del argv
  names = list(PARTS) if FLAGS.parts == ['all'] else FLAGS.parts
  for name in names:
    checks.choice(name, PARTS, name='parts')
  # Before jax starts.
  os.environ['XLA_FLAGS'] = f'{_COUNT}={FLAGS.devices}'
  loads, text = [_timing.load()], []
  for name in names:
    found = PARTS[name]()
    for piece in found:
      print(f'\n{piece}', flush=True)
    text += found
    loads.append(_timing.load())
  _timing.report('parallel', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
