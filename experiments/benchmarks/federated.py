# SPDX-License-Identifier: Apache-2.0
"""Times federated rounds, votes on rankings and gradient coding.

Rounds of averaging stand against FedJAX, pfl and Flower, rank learning against
averaging, votes against NumPy, coding against a loop over workers. Peers run in
environments of their own, on the same data; how to make those is said in
`_federated_peers.py`.

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

from experiments import frl
from experiments.benchmarks import (
  _coding_loop,
  _federated_peers as peers,
  _timing,
)
from jaxdl import aggregators, coding, local, networks, plots
from jaxdl.core import types
from jaxdl.federated import ranks, server

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Fewer clients, two rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md, and plots.')
flags.DEFINE_integer('rounds', 12, 'Rounds of every contender.')
flags.DEFINE_string('fedjax_python', '', 'Interpreter that has FedJAX.')
flags.DEFINE_string('others_python', '', 'Interpreter that has pfl and Flower.')
flags.DEFINE_list(
  'parts',
  ['equal', 'rounds', 'store', 'cohorts', 'rankings', 'coding'],
  'What to measure.',
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


def _rank_rounds():
  """Rounds of rank learning and of averaging on the same clients of digits."""
  config = frl.Config(
    dataset='digits(test_fraction=0.2)', methods=('frl', 'fedavg')
  )
  if FLAGS.quick:
    config = config.smoked()
  fns = {}
  for name, method in frl.make_methods(config).items():
    problem, algorithm = method.problem, method.algorithm
    held = jax.tree.map(lambda x: x[0], problem.data)
    cohort = jax.jit(problem.cohort)(jax.random.key(0), held, 1)
    state = algorithm.init(jax.random.key(0))
    step = jax.jit(
      lambda s, c, a=algorithm: a.step(s, c, key=jax.random.key(1))[0]
    )
    fns[name] = functools.partial(step, state, cohort)
  return fns


def rankings() -> list[str]:
  """Client work of rank learning, and a vote, against NumPy."""
  fns = _rank_rounds()
  times = _timing.measure(fns, rounds=3 if FLAGS.quick else FLAGS.rounds)
  claims = [_timing.Claim('frl', 'fedavg', within=3)]
  text = [
    '### Rank learning against averaging: digits, MLP 64-200-10, 20 clients a '
    'round, 3 passes\n\n' + _timing.table([c.row(times) for c in claims])
  ]
  voters, size = (5, 1000) if FLAGS.quick else (100, 10**6)
  rng = np.random.default_rng(0)
  sent = np.stack([rng.permutation(size) for _ in range(voters)])
  sent = sent.astype(np.int32)
  held, vote = jnp.asarray(sent), jax.jit(ranks.vote)

  def numpys():
    total = np.zeros(size, np.int32)
    places = np.arange(size, dtype=np.int32)
    for row in sent:
      total[row] += places
    return np.argsort(total, kind='stable')

  def sorts():
    return np.argsort(np.argsort(sent, axis=1).sum(axis=0), kind='stable')

  np.testing.assert_array_equal(vote(held), numpys())
  fns = {'vote': lambda: vote(held), 'NumPy, scattered': numpys}
  claims = [_timing.Claim('vote', 'NumPy, scattered')]
  if FLAGS.quick or voters * size <= 10**8:
    fns['NumPy, argsort twice'] = sorts
    claims.append(_timing.Claim('vote', 'NumPy, argsort twice'))
  times = _timing.measure(fns, rounds=2 if FLAGS.quick else 3)
  text.append(
    f'### A vote of {voters} clients on {size} edges\n\n'
    + _timing.table([c.row(times) for c in claims])
  )
  print('\n' + '\n\n'.join(text), flush=True)
  return text


def coded() -> list[str]:
  """Searching and simulating codes against a loop over workers."""
  n, jobs = (8, 20) if FLAGS.quick else (64, 200)
  told = {'mu': 1.0, 'load_slope': 6.0}
  delays = coding.make_delays('gilbert_elliott', n, jobs + 3, seed=0)
  lists, rows, claims = delays.tolist(), {}, []
  search = [
    scheme
    for spec in ('gc', 'sr_sgc', 'm_sgc')
    for scheme in coding.candidates(spec, n, max_delay=3)
  ]

  def loop():
    return [
      _coding_loop.simulate(scheme, lists, jobs, **told)[0] for scheme in search
    ]

  ours = lambda: coding.total_times(search, delays, jobs, **told)
  np.testing.assert_allclose(ours(), loop(), rtol=1e-9)
  name = f'search of {len(search)} candidates'
  rows |= _timing.measure({name: ours, f'loop: {name}': loop}, rounds=3)
  claims.append(_timing.Claim(name, f'loop: {name}', faster=50))
  facts = [
    _timing.fact('the search takes', rows[name][0] / 1e3, 's', below=5.0)
  ]
  n, jobs = (8, 20) if FLAGS.quick else (256, 480)
  delays = coding.make_delays('gilbert_elliott', n, jobs + 3, seed=0)
  lists = delays.tolist()
  specs = ('gc(3)', 'sr_sgc(1, 2, 3)', 'm_sgc(1, 2, 3)')
  if not FLAGS.quick:
    specs = ('gc(15)', 'sr_sgc(2, 3, 23)', 'm_sgc(1, 2, 27)')
  for spec in specs:
    scheme = coding.make_scheme(spec, n)
    run = functools.partial(coding.simulate, scheme, delays, jobs, **told)
    theirs = functools.partial(
      _coding_loop.simulate, scheme, lists, jobs, deliver=True, **told
    )
    total, done = theirs()
    np.testing.assert_allclose(run().total_s, total, rtol=1e-9)
    np.testing.assert_array_equal(run().job_done_round, done)
    rows |= _timing.measure({spec: run, f'loop: {spec}': theirs}, rounds=3)
    claims.append(_timing.Claim(spec, f'loop: {spec}', faster=50))
  times = _timing.Times(rows)
  text = (
    '### Gradient coding against a loop over workers: search among 64 for 200 '
    'jobs, simulation of 256 for 480\n\n'
    f'{_timing.table([c.row(times) for c in claims])}\n\n'
    f'{_timing.table(facts)}'
  )
  print(f'\n{text}', flush=True)
  return [text]


def main(argv):
  del argv
  steps = {
    'equal': equal, 'rounds': rounds, 'store': store, 'cohorts': cohorts,
    'rankings': rankings, 'coding': coded,
  }  # fmt: skip
  loads, text = [_timing.load()], []
  for part in FLAGS.parts:
    text += steps[part]()
    loads.append(_timing.load())
  _timing.report('federated', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
