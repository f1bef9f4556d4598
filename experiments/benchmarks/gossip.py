# SPDX-License-Identifier: Apache-2.0
"""Times decentralized SGD: against a loop over clients, and against N.

Two parts: rounds of D-PSGD on digits with 64 clients, as one program per round
and as a Python loop over clients; time and memory of one gossip step and of one
whole round as N grows to 4096, drawn on two logarithmic axes.

Example: python -m experiments.benchmarks.gossip --write
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from experiments.benchmarks import _timing
from jaxdl import data, decentralized, local, mixing, plots, problems
from jaxdl.core import keys
from jaxdl.mixing import graphs

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Few rounds, small sizes.')
flags.DEFINE_integer('num_rounds', 1000, 'Rounds of D-PSGD.')
flags.DEFINE_integer('loop_rounds', 40, 'Rounds of the loop, scaled up.')
flags.DEFINE_integer('turns', 5, 'Turns of every contender.')
flags.DEFINE_list('sizes', ['16', '64', '256', '1024', '4096'], 'Values of N.')
flags.DEFINE_bool('write', False, 'Write plots and the section of RESULTS.md.')

RATE = 0.1


class Setting:
  """D-PSGD on digits over a ring, in both forms."""

  def __init__(self, num_clients: int):
    # Digits has 1347 examples: more clients than that share their data.
    distinct = min(num_clients, 1024)
    self.size = 8
    problem = problems.classification(
      partition='overlapping_dirichlet(alpha=1.0, samples_per_client=32)',
      num_clients=distinct,
      batch_size=self.size,
    )
    self.n = num_clients
    self.task = problem.task
    shared = jnp.arange(num_clients) % distinct
    client_data, mask = problem.data
    self.data = {k: v[0, shared] for k, v in client_data.items()}
    self.mask = mask[0, shared]
    self.matrix = mixing.metropolis(graphs.ring(num_clients))
    self.algorithm = decentralized.gossip_sgd(
      self.task,
      mixing.from_matrix(self.matrix),
      num_clients,
      optimizer=optax.sgd(RATE),
    )
    self.state = self.algorithm.init(jax.random.key(0))
    # As the runner does it: the key of a round is made inside, the old state
    # is given away.
    self.round = jax.jit(
      lambda state, root, t, *data: self._round(
        state, jax.random.fold_in(root, t), *data
      ),
      donate_argnums=0,
    )
    task, size = self.task, self.size

    @jax.jit
    def train(params, key, i, examples, mask):
      batch_key, _ = jax.random.split(key)
      (draw,) = keys.client_keys(batch_key, i[None])
      batch = data.sample_batch(draw, examples, mask, size, replace=False)
      grad = jax.grad(task.loss)(params, batch, key=key)
      return jax.tree.map(lambda p, g: p - RATE * g, params, grad)

    @jax.jit
    def mix(weights, models):
      return jax.tree.map(
        lambda *xs: sum(w * x for w, x in zip(weights, xs, strict=True)),
        *models,
      )

    self.train, self.mix = train, mix

  def _round(self, state, key, examples, mask):
    batch_key, step_key = jax.random.split(key)
    cohort = local.batch_cohort(batch_key, examples, mask, batch_size=self.size)
    return self.algorithm.step(state, cohort, key=step_key)[0]

  def together(self, num_rounds: int):
    """All clients in one program per round."""
    state, root = jax.tree.map(jnp.copy, self.state), jax.random.key(1)
    for t in range(num_rounds):
      state = self.round(state, root, np.int32(t), self.data, self.mask)
    return state.params

  def loop(self, num_rounds: int):
    """Client by client, as a loop over objects does it."""
    train, mix = self.train, self.mix
    rows = lambda tree, i: jax.tree.map(lambda x: x[i], tree)
    models = [rows(self.state.params, i) for i in range(self.n)]
    examples = [rows(self.data, i) for i in range(self.n)]
    masks = [self.mask[i] for i in range(self.n)]
    ids = [jnp.asarray(i) for i in range(self.n)]
    hear = [np.flatnonzero(w) for w in self.matrix]
    weights = [
      tuple(float(x) for x in self.matrix[i, hear[i]]) for i in range(self.n)
    ]
    root = jax.random.key(1)
    for t in range(num_rounds):
      key = jax.random.fold_in(root, t)
      moved = [
        train(models[i], key, ids[i], examples[i], masks[i])
        for i in range(self.n)
      ]
      models = [
        mix(weights[i], [moved[j] for j in hear[i]]) for i in range(self.n)
      ]
    return jax.tree.map(lambda *xs: jnp.stack(xs), *models)


def against_a_loop() -> tuple[str, list[float]]:
  """The table of the first part, and loads."""
  setting = Setting(64)
  gap = max(
    float(jnp.max(jnp.abs(a - b)))
    for a, b in zip(
      jax.tree.leaves(setting.together(5)),
      jax.tree.leaves(setting.loop(5)),
      strict=True,
    )
  )
  if gap > 1e-4:
    raise ValueError(f'the contenders differ by {gap}: nothing is compared.')
  loads = [_timing.load()]
  rounds, few = FLAGS.num_rounds, FLAGS.loop_rounds
  if FLAGS.quick:
    rounds, few = 10, 2
  times = _timing.measure(
    {
      'one program per round': lambda: setting.together(rounds),
      'loop over clients': lambda: setting.loop(few),
    },
    rounds=FLAGS.turns,
  )
  scaled = _timing.Times(times)
  scaled['loop over clients'] = [
    ms * rounds / few for ms in times['loop over clients']
  ]
  claim = _timing.Claim('one program per round', 'loop over clients', faster=10)
  loads.append(_timing.load())
  text = (
    f'{rounds} rounds of D-PSGD on digits, 64 clients, ring, batch '
    f'{setting.size} (the loop ran {few} rounds, scaled up); models agree to '
    f'{gap:.1e} after 5 rounds.'
  )
  return f'{text}\n\n{_timing.table([claim.row(scaled)])}', loads


def against_size() -> tuple[str, list[float]]:
  """The table of the second part, and loads; draws it with --write."""
  rows, cells, loads = [], [], []
  for n in map(int, FLAGS.sizes[:1] if FLAGS.quick else FLAGS.sizes):
    setting = Setting(n)
    params = setting.state.params
    fns, memory = {}, {}
    for label, topology in (
      ('ring', 'ring'),
      ('ring, dense product', 'ring(structure=dense)'),
      ('exponential', 'exponential'),
      ('base', 'base'),
    ):
      mixer = mixing.make_mixer(topology, n)
      step = jax.jit(mixer.apply)
      fns[label] = lambda f=step, p=params: f(p, jnp.asarray(1))
      memory[label] = _timing.memory(mixer.apply, params, jnp.asarray(1))
    args = (setting.state, jax.random.key(1), setting.data, setting.mask)
    whole = jax.jit(setting._round)
    fns['whole round, ring'] = lambda f=whole, a=args: f(*a)
    memory['whole round, ring'] = _timing.memory(setting._round, *args)
    times = _timing.measure(fns, rounds=5 if n < 1024 else 3)
    loads.append(_timing.load())
    for label in fns:
      ms, mb = times.ms(label), memory[label]['peak'] / 1e6
      rows.append(
        {
          'step': 0,
          'split': 'test',
          'seed': 0,
          'rule': label,
          'num_clients': n,
          'ms': ms,
          'megabytes': mb,
        }
      )
      cells.append(
        {
          'N': n,
          'what': label,
          'ms': _timing.digits(ms),
          'peak MB': _timing.digits(mb),
        }
      )
      print(cells[-1], flush=True)
  for metric, ylabel in (
    ('ms', 'Milliseconds per step'),
    ('megabytes', 'Peak memory of the program (MB)'),
  ):
    if not FLAGS.write:
      break
    plots.log_log(
      rows,
      _timing.PLOTS / f'gossip_{metric}.png',
      metric,
      x='num_clients',
      xlabel='Clients',
      ylabel=ylabel,
      title='Gossip of 4 810 parameters per client',
    )
  text = (
    'One gossip step of a 64-64-10 network per client, and a whole round '
    '(![time](plots/gossip_ms.png) ![memory](plots/gossip_megabytes.png)).'
  )
  return f'{text}\n\n{_timing.table(cells)}', loads


def main(argv):
  del argv
  first, loads = against_a_loop()
  print(first, flush=True)
  second, more = against_size()
  _timing.report('gossip', [first, second], loads + more, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
