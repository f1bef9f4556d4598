# SPDX-License-Identifier: Apache-2.0
"""Times one round of local training in the modes of `core.clients`.

Example: python -m experiments.benchmarks.federated_round --quick
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from absl import app, flags

from experiments.benchmarks import _timing
from jaxdl import networks, plots
from jaxdl.core import clients, trees, types

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Smaller models, 3 rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md, and plots.')
flags.DEFINE_integer('rounds', 12, 'Turns of every contender.')
flags.DEFINE_list(
  'parts', ['logistic', 'mlp', 'modes', 'scaling'], 'What to measure.'
)


def local_step(task: types.Task) -> Callable[..., chex.ArrayTree]:
  """One SGD step of one client."""

  def step(params, batch):
    grads = jax.grad(task.loss)(params, batch)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

  return step


def local_epoch(
  task: types.Task, batch_size: int
) -> Callable[..., chex.ArrayTree]:
  """The change of one client's model over one pass over its examples."""
  step = local_step(task)

  def epoch(params, examples):
    batches = jax.tree.map(
      lambda x: x.reshape(-1, batch_size, *x.shape[1:]), examples
    )
    after, _ = jax.lax.scan(lambda p, b: (step(p, b), None), params, batches)
    return jax.tree.map(jnp.subtract, after, params)

  return epoch


def examples(
  num_clients: int, shape: tuple[int, ...], num_classes: int
) -> dict[str, chex.Array]:
  """Random examples [N, B, ...] with labels."""
  inputs_key, labels_key = jax.random.split(jax.random.key(1))
  return {
    'inputs': jax.random.normal(inputs_key, (num_clients, *shape)),
    'labels': jax.random.randint(
      labels_key, (num_clients, shape[0]), 0, num_classes
    ),
  }


def logistic(quick: bool, rounds: int, write: bool) -> list[str]:
  """A round of many small clients against a loop over them."""
  del write
  n = 8 if quick else 64
  task = networks.classification(
    networks.logistic_regression(10), jnp.zeros((1, 32)), num_classes=10
  )
  params = task.init(jax.random.key(0))
  data = examples(n, (60, 32), 10)
  weights = jnp.full((n,), 1 / n)
  epoch = local_epoch(task, 20)
  rows = [jax.tree.map(lambda x, i=i: x[i], data) for i in range(n)]
  batches = [
    [jax.tree.map(lambda x, s=s: x[s : s + 20], row) for s in (0, 20, 40)]
    for row in rows
  ]
  step, one = jax.jit(local_step(task)), jax.jit(epoch)

  def average(changes):
    total = jax.tree.map(jnp.zeros_like, params)
    for change in changes:
      total = jax.tree.map(lambda t, c: t + c / n, total, change)
    return jax.tree.map(jnp.add, params, total)

  def loop_of_steps():
    """Params after a round, one compiled SGD step at a time."""
    changes = []
    for client in batches:
      local = params
      for batch in client:
        local = step(local, batch)
      changes.append(jax.tree.map(jnp.subtract, local, params))
    return average(changes)

  def loop_of_epochs():
    return average([one(params, row) for row in rows])

  folded = jax.jit(round_of(epoch, weights))
  fns = {
    'fold_clients': functools.partial(folded, params, data),
    'Python loop, jitted steps': loop_of_steps,
    'Python loop, jitted epochs': loop_of_epochs,
  }
  check_equal(fns)
  times = _timing.measure(fns, rounds=rounds)
  claim = _timing.Claim
  return show(
    f'{n} clients x logistic regression 32 -> 10, 60 examples, batch 20',
    [
      claim('fold_clients', 'Python loop, jitted steps', faster=10),
      claim('fold_clients', 'Python loop, jitted epochs'),
    ],
    times,
  )


def round_of(
  epoch: Callable[..., chex.ArrayTree],
  weights: chex.Array,
  *,
  chunk: int | None = None,
) -> Callable[..., chex.ArrayTree]:
  """One round that streams the average."""
  fold = clients.fold_clients(epoch, chunk=chunk, in_axes=(None, 0))

  def step(params, data):
    return jax.tree.map(jnp.add, params, fold(weights, params, data))

  return step


def round_of_rows(
  epoch: Callable[..., chex.ArrayTree], weights: chex.Array
) -> Callable[..., chex.ArrayTree]:
  """One round that keeps every client's change, then averages."""

  def step(params, data):
    rows = jax.vmap(epoch, in_axes=(None, 0))(params, data)
    return jax.tree.map(jnp.add, params, trees.combine(weights, rows))

  return step


def mlp_task(width: int = 200, inputs: int = 784) -> types.Task:
  network = networks.mlp((width, 64), 10)
  return networks.classification(
    network, jnp.zeros((1, inputs)), num_classes=10
  )


def mlp(quick: bool, rounds: int, write: bool) -> list[str]:
  """Streaming against stacking, time and memory."""
  del write
  n = 10 if quick else 100
  task = mlp_task()
  params = task.init(jax.random.key(0))
  size = sum(x.size for x in jax.tree.leaves(params))
  data = examples(n, (20, 784), 10)
  weights = jnp.full((n,), 1 / n)
  epoch = local_epoch(task, 20)
  programs = {
    'fold_clients': round_of(epoch, weights),
    'vmap, then average': round_of_rows(epoch, weights),
  }
  fns = {
    name: functools.partial(jax.jit(fn), params, data)
    for name, fn in programs.items()
  }
  check_equal(fns)
  times = _timing.measure(fns, rounds=rounds)
  out = show(
    f'{n} clients x MLP of {size} parameters, one step on 20 examples',
    [_timing.Claim('fold_clients', 'vmap, then average', faster=2)],
    times,
  )
  facts = [
    _timing.fact(
      f'{name}: temporaries',
      _timing.memory(fn, params, data)['temporaries'] / 1e6,
      'MB',
      below=10,
    )
    for name, fn in programs.items()
  ]
  facts[1] |= {'target': 'told only', 'held': '-'}
  text = _timing.table(facts)
  print(f'\n{text}', flush=True)
  return [*out, text]


def modes(quick: bool, rounds: int, write: bool) -> list[str]:
  """The default mode of map_clients against the others, per kind of work."""
  del write
  n = 4 if quick else 16
  images = (4 if quick else 25, 28, 28, 1)
  cases = {
    'MoNNA CNN': (networks.monna_mnist_cnn(), images),
    'LeNet': (networks.lenet(), images),
    'MLP': (networks.mlp((200, 64), 10), images),
    'small MLP': (networks.mlp((32,), 10), (20, 32)),
  }
  out = []
  for name, (network, shape) in cases.items():
    task = networks.classification(
      network, jnp.zeros((1, *shape[1:])), num_classes=10
    )
    params = task.init(jax.random.key(0))
    data = examples(n, shape, 10)
    own = jax.tree.map(lambda x: jnp.stack([x] * n), params)  # noqa: B023
    work = {
      'gradients, shared': (jax.grad(task.loss), (None, 0), params),
      'gradients, own': (jax.grad(task.loss), (0, 0), own),
      'forward, shared': (task.evaluate, (None, 0), params),
      'forward, own': (task.evaluate, (0, 0), own),
    }
    if name != 'MoNNA CNN':
      work = {'gradients, own': work['gradients, own']}
    for kind, (fn, axes, first) in work.items():
      out.append(_modes_row(f'{name}: {kind}', fn, axes, first, data, rounds))
  heading = f'### Default mode of map_clients, {n} clients, ms'
  text = f'{heading}\n\n{_timing.table(out)}'
  print(f'\n{text}', flush=True)
  return [text]


def _modes_row(name, fn, axes, first, data, rounds):
  n = data['labels'].shape[0]
  chunks = {'default': None, 'vmap': n} | {
    f'chunk={c}': c for c in (1, 2, 4) if c < n
  }
  times = _timing.measure(
    {
      mode: functools.partial(
        jax.jit(clients.map_clients(fn, chunk=chunk, in_axes=axes)), first, data
      )
      for mode, chunk in chunks.items()
    },
    rounds=rounds,
  )
  best = min((m for m in chunks if m != 'default'), key=times.ms)
  ratio = times.ratio('default', best)
  return (
    {'work: parameters': name}
    | {mode: _timing.digits(times.ms(mode)) for mode in chunks}
    | {
      'default / best': _timing.digits(ratio),
      'target': '<= 1.3x',
      'held': 'yes' if ratio <= 1.3 else '**no**',
    }
  )


def scaling(quick: bool, rounds: int, write: bool) -> list[str]:
  """Cost and memory against the number of clients and parameters."""
  sweeps = {
    'N': [(n, 200) for n in ((4, 8) if quick else (8, 16, 32, 64, 128))],
    'D': [(32, w) for w in ((8, 16) if quick else (16, 64, 256, 1024))],
  }
  lines = []
  for axis, settings in sweeps.items():
    rows = []
    for n, width in settings:
      task = mlp_task(width)
      params = task.init(jax.random.key(0))
      size = sum(x.size for x in jax.tree.leaves(params))
      data = examples(n, (20, 784), 10)
      weights = jnp.full((n,), 1 / n)
      epoch = local_epoch(task, 20)
      programs = {
        'fold_clients': round_of(epoch, weights),
        'vmap, then average': round_of_rows(epoch, weights),
      }
      times = _timing.measure(
        {
          name: functools.partial(jax.jit(fn), params, data)
          for name, fn in programs.items()
        },
        rounds=max(rounds // 3, 3),
      )
      for name, fn in programs.items():
        rows.append(
          {
            'split': 'test',
            'seed': 0,
            'rule': name,
            axis: n if axis == 'N' else size,
            'ms': times.ms(name),
            'mb': _timing.memory(fn, params, data)['temporaries'] / 1e6,
          }
        )
    lines.append(_scaling_text(rows, axis, write))
    print(f'\n{lines[-1]}', flush=True)
  return lines


def _scaling_text(rows: list[dict[str, Any]], axis: str, write: bool) -> str:
  text = f'### Cost and temporaries against {axis}, MLP\n\n'
  text += _timing.table(
    [
      {
        'mode': row['rule'],
        axis: row[axis],
        'ms': _timing.digits(row['ms']),
        'temporaries, MB': _timing.digits(row['mb']),
      }
      for row in rows
    ]
  )
  for metric, label in (('ms', 'Time (ms)'), ('mb', 'Temporaries (MB)')):
    if write:
      path = _timing.PLOTS / f'federated_round_{metric}_{axis}.png'
      plots.log_log(
        rows,
        path,
        metric,
        x=axis,
        xlabel=f'{axis} ({"clients" if axis == "N" else "parameters"})',
        ylabel=label,
        title='One round of an MLP',
      )
      text += f'\n\n![{label} against {axis}](plots/{path.name})'
  return text


def check_equal(fns: dict[str, Callable[[], chex.ArrayTree]]) -> None:
  """Contenders must compute the same model."""
  results = [jax.device_get(fn()) for fn in fns.values()]
  for other in results[1:]:
    chex.assert_trees_all_close(other, results[0], atol=1e-5)


def show(
  title: str, claims: list[_timing.Claim], times: _timing.Times
) -> list[str]:
  text = f'### {title}\n\n' + _timing.table([c.row(times) for c in claims])
  print(f'\n{text}', flush=True)
  return [text]


def main(argv):
  del argv
  steps = {'logistic': logistic, 'mlp': mlp, 'modes': modes, 'scaling': scaling}
  rounds = 3 if FLAGS.quick else FLAGS.rounds
  loads, text = [_timing.load()], []
  for part in FLAGS.parts:
    text += steps[part](FLAGS.quick, rounds, FLAGS.write)
    loads.append(_timing.load())
  _timing.report('federated_round', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
