# SPDX-License-Identifier: Apache-2.0
"""Times rounds of federated averaging against FedJAX, pfl and Flower.

Peers run in environments of their own, on the same data; how to make those is
said in `_federated_peers.py`.

Example: python -m experiments.benchmarks.federated --write \
  --fedjax_python=fedjax/bin/python --others_python=others/bin/python
"""

import functools
import json
import pathlib
import subprocess
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from experiments.benchmarks import _federated_peers as peers, _timing
from jaxdl import aggregators, local, networks, plots
from jaxdl.core import types
from jaxdl.federated import server

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Fewer clients, two rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md, and plots.')
flags.DEFINE_integer('rounds', 12, 'Rounds of every contender.')
flags.DEFINE_string('fedjax_python', '', 'Interpreter that has FedJAX.')
flags.DEFINE_string('others_python', '', 'Interpreter that has pfl and Flower.')
flags.DEFINE_list(
  'parts', ['equal', 'rounds', 'store', 'cohorts'], 'What to measure.'
)

DENSE = {'network': 'dense', 'rate': 0.1, 'epochs': 1, 'classes': 10}
SETTINGS = {
  '64 clients x logistic regression 32 -> 10, 60 examples, batch 20': DENSE
  | {
    'clients': 64, 'size': 60, 'shape': [32], 'sizes': [32, 10], 'batch': 20
  },
  '100 clients x MLP of 170514 parameters, one step on 20 examples': DENSE
  | {
    'clients': 100, 'size': 20, 'shape': [784], 'sizes': [784, 200, 64, 10],
    'batch': 20,
  },
  'EMNIST CNN of 1.2 million parameters, 10 clients x 100 examples, batch 10': {
    'network': 'cnn', 'rate': 0.01, 'epochs': 1, 'classes': 62, 'clients': 10,
    'size': 100, 'shape': [28, 28, 1], 'batch': 10,
  },
}  # fmt: skip
# Times faster than each peer, per setting.
TARGETS = (
  {'fedjax': 10, 'pfl': 40, 'flwr': 500},
  {'fedjax': 2.5},
  {'fedjax': 1.5},
)


def task_of(setting: dict[str, Any]) -> types.Task:
  """The task of a setting, from the weights that peers start from."""
  shape = (1, *setting['shape'])
  if setting['network'] == 'cnn':
    network = networks.make_network(
      'fedjax_emnist_cnn', tuple(setting['shape']), setting['classes']
    )
    return networks.classification(
      network, jnp.zeros(shape), num_classes=setting['classes']
    )
  network = networks.mlp(setting['sizes'][1:-1], setting['classes'])
  task = networks.classification(
    network, jnp.zeros(shape), num_classes=setting['classes']
  )
  start = [
    {'kernel': jnp.asarray(w), 'bias': jnp.asarray(b)}
    for w, b in peers.layers(setting['sizes'])
  ]
  form = jax.eval_shape(task.init, jax.random.key(0))
  start = jax.tree.unflatten(
    jax.tree.structure(form), _ordered(start, jax.tree.leaves(form))
  )
  return task._replace(init=lambda key: start)


def _ordered(layers, leaves):
  """Weights in the order of the leaves, by shape, first come first."""
  rest = [x for layer in layers for x in (layer['bias'], layer['kernel'])]
  out = []
  for leaf in leaves:
    k = next(i for i, x in enumerate(rest) if x.shape == leaf.shape)
    out.append(rest.pop(k))
  return out


def cohort_of(setting: dict[str, Any]) -> types.Cohort:
  """All clients of a setting, with the examples that peers have."""
  inputs, labels = peers.examples(
    setting['clients'], setting['size'], setting['shape'], setting['classes']
  )
  n = setting['clients']
  return types.Cohort(
    client_ids=jnp.arange(n),
    data={
      'inputs': jnp.asarray(inputs),
      'labels': jnp.asarray(labels),
      'mask': jnp.ones(labels.shape, bool),
    },
    mask=jnp.ones(n, bool),
    weights=jnp.full(n, 1 / n),
  )


def ask(
  peer: str, setting: dict[str, Any], **more: Any
) -> dict[str, Any] | None:
  """Runs a peer; None where there is no interpreter for it."""
  python = FLAGS.fedjax_python if peer == 'fedjax' else FLAGS.others_python
  if not python:
    return None
  path = pathlib.Path(peers.__file__)
  done = subprocess.run(
    [python, str(path), peer, json.dumps(setting | more)],
    capture_output=True,
    text=True,
  )
  if done.returncode:
    raise RuntimeError(f'{peer} failed: {done.stderr[-2000:]}')
  return json.loads(done.stdout.strip().splitlines()[-1])


def rounds_of(setting: dict[str, Any], spec: str = 'fedavg', **work: Any):
  """A round of ours that goes on from its own state, as a program would."""
  options = {
    'batch_size': setting['batch'], 'num_epochs': setting['epochs']
  } | work  # fmt: skip
  optimizer = options.pop('optimizer', optax.sgd(setting['rate']))
  algorithm = server.make_algorithm(
    spec,
    task_of(setting),
    setting['clients'],
    work=local.LocalWork(optimizer, **options),
  )
  step = jax.jit(
    lambda s, c, k: algorithm.step(s, c, key=k)[0], donate_argnums=0
  )
  cohort = cohort_of(setting)
  held = [algorithm.init(jax.random.key(0))]

  def run():
    held[0] = step(held[0], cohort, jax.random.key(1))
    return held[0].params

  return run


def equal() -> list[str]:
  """Models after three rounds against those of FedJAX."""
  setting = DENSE | {
    'clients': 8, 'size': 12, 'shape': [5], 'sizes': [5, 3], 'classes': 3,
    'batch': 12, 'epochs': 3,
  }  # fmt: skip
  found = ask('fedjax', setting, rounds=1, others=True, send=True)
  if found is None:
    return []
  rows = []
  for name, spec, momentum in (
    ('fedavg', 'fedavg', None),
    ('fedprox', 'fedprox(mu=0.1)', None),
    ('mime_lite', 'mime_lite', 0.9),
  ):
    run = rounds_of(
      setting, spec, batch_size=None, num_epochs=None, num_steps=3,
      optimizer=optax.sgd(setting['rate'], momentum=momentum),
    )  # fmt: skip
    for _ in range(3):
      params = run()
    kernel, bias = map(np.asarray, found['models'][name])
    ours = {x.shape: x for x in map(np.asarray, jax.tree.leaves(params))}
    gap = max(
      np.abs(ours[kernel.shape] - kernel).max(),
      np.abs(ours[bias.shape] - bias).max(),
    )
    rows.append(
      _timing.fact(f'{name}: largest difference', gap, '', below=1e-6)
    )
  text = '### Models after three rounds against FedJAX\n\n' + _timing.table(
    rows
  )
  print(f'\n{text}', flush=True)
  return [text]


def rounds() -> list[str]:
  """Whole rounds, ours and those of peers."""
  out = []
  for (title, setting), targets in zip(SETTINGS.items(), TARGETS, strict=True):
    if FLAGS.quick:
      setting = setting | {'clients': 4}
    run = rounds_of(setting)
    count = 2 if FLAGS.quick else FLAGS.rounds
    times = _timing.measure({'fedavg': run}, rounds=count)
    versions, claims = [], []
    for peer, target in targets.items():
      found = ask(peer, setting, rounds=count)
      if found is None:
        continue
      times[peer] = found['ms'][:count]
      versions.append(found['version'])
      claims.append(_timing.Claim('fedavg', peer, faster=target))
    rows = [
      c.row(times, its_ms=float(np.median(times[c.rival]))) for c in claims
    ] or [{'ours': 'fedavg', 'ms': _timing.digits(times.ms('fedavg'))}]
    table = _timing.table(rows)
    text = f'### {title}\n\n{table}'
    if versions:
      text += f'\n\n{"; ".join(versions)}, each in a process of its own.'
    print(f'\n{text}', flush=True)
    out.append(text)
  return out


def _scaffold(num_clients, cohort_size, width):
  """Rounds of SCAFFOLD with a state per client; bytes of the store."""
  network = networks.mlp((width,), 10)
  task = networks.classification(network, jnp.zeros((1, 64)), num_classes=10)
  algorithm = server.make_algorithm(
    'scaffold',
    task,
    num_clients,
    work=local.LocalWork('sgd(0.1)', batch_size=10),
    cohort_size=cohort_size,
  )
  state = algorithm.init(jax.random.key(0))
  store = sum(x.nbytes for x in jax.tree.leaves(state.own))
  rng = np.random.default_rng(0)
  cohort = types.Cohort(
    client_ids=jnp.asarray(
      rng.choice(num_clients, cohort_size, replace=False), jnp.int32
    ),
    data={
      'inputs': jnp.asarray(
        rng.normal(size=(cohort_size, 20, 64)), jnp.float32
      ),
      'labels': jnp.asarray(rng.integers(0, 10, (cohort_size, 20)), jnp.int32),
      'mask': jnp.ones((cohort_size, 20), bool),
    },
    mask=jnp.ones(cohort_size, bool),
    weights=jnp.full(cohort_size, 1 / cohort_size),
  )
  step = jax.jit(
    lambda s, c, k: algorithm.step(s, c, key=k)[0], donate_argnums=0
  )
  held = [state]

  def run():
    held[0] = step(held[0], cohort, jax.random.key(1))
    return held[0].params

  return run, store


def store() -> list[str]:
  """Time of a round against the number of clients that have a state."""
  few, many = (100, 1000) if FLAGS.quick else (1000, 100_000)
  fns, sizes = {}, {}
  for n in (few, many):
    name = f'{n} clients'
    fns[name], sizes[name] = _scaffold(n, 100 if n >= 100 else n, 134)
  times = _timing.measure(fns, rounds=3 if FLAGS.quick else FLAGS.rounds)
  a, b = fns
  rows = [
    {
      'clients with a state': name.split()[0],
      'ms per round of 100': _timing.digits(times.ms(name)),
      'store, MB': _timing.digits(sizes[name] / 1e6),
    }
    for name in fns
  ]
  ratio = times.ratio(b, a)
  text = (
    '### SCAFFOLD, 10k parameters, 100 clients a round\n\n'
    f'{_timing.table(rows)}\n\nRatio {ratio:.2f}, target <= 1.3: '
    f'{"held" if ratio <= 1.3 else "**not held**"}.'
  )
  print(f'\n{text}', flush=True)
  return [text]


def cohorts() -> list[str]:
  """Time of a round against the size of the cohort, by how clients are run."""
  from jaxdl.core import clients as clients_lib

  sizes = (10, 30) if FLAGS.quick else (10, 100, 1000, 10_000)
  rows = []
  for m in sizes:
    network = networks.mlp((32,), 10)
    task = networks.classification(network, jnp.zeros((1, 64)), num_classes=10)
    rng = np.random.default_rng(0)
    cohort = types.Cohort(
      client_ids=jnp.arange(m),
      data={
        'inputs': jnp.asarray(rng.normal(size=(m, 20, 64)), jnp.float32),
        'labels': jnp.asarray(rng.integers(0, 10, (m, 20)), jnp.int32),
        'mask': jnp.ones((m, 20), bool),
      },
      mask=jnp.ones(m, bool),
      weights=jnp.full(m, 1 / m),
    )
    fns = {}
    for name, chunk, rule in (
      ('fold', None, None),
      ('chunks of 32', 32, None),
      # A rule of your own sees all messages at once.
      ('vmap', m, functools.partial(aggregators.mean)),
    ):
      algorithm = server.make_algorithm(
        'fedavg',
        task,
        clients_lib.Clients(m, chunk=chunk),
        work=local.LocalWork('sgd(0.1)', batch_size=10),
        channel=rule,
      )
      step = jax.jit(
        lambda s, c, a=algorithm: a.step(s, c, key=jax.random.key(1))[0]
      )
      state = algorithm.init(jax.random.key(0))
      fns[name] = lambda f=step, s=state, c=cohort: f(s, c)
    times = _timing.measure(fns, rounds=3 if m > 1000 else 7)
    for name in fns:
      rows.append(
        {
          'split': 'test', 'seed': 0, 'rule': name, 'cohort': m,
          'ms': times.ms(name),
        }
      )  # fmt: skip
  text = '### A round against the size of the cohort, MLP 64-32-10\n\n'
  text += _timing.table(
    [
      {
        'run as': r['rule'],
        'clients': r['cohort'],
        'ms': _timing.digits(r['ms']),
      }
      for r in rows
    ]
  )
  if FLAGS.write:
    path = _timing.PLOTS / 'federated_ms.png'
    plots.log_log(
      rows, path, 'ms', x='cohort', xlabel='Clients in a round',
      ylabel='Milliseconds per round', title='FedAvg, MLP 64-32-10',
    )  # fmt: skip
    text += f'\n\n![Time against the cohort](plots/{path.name})'
  print(f'\n{text}', flush=True)
  return [text]


def main(argv):
  del argv
  steps = {
    'equal': equal, 'rounds': rounds, 'store': store, 'cohorts': cohorts,
  }  # fmt: skip
  loads, text = [_timing.load()], []
  for part in FLAGS.parts:
    text += steps[part]()
    loads.append(_timing.load())
  _timing.report('federated', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
