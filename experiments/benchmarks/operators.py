# SPDX-License-Identifier: Apache-2.0
"""Times operator networks and solvers beside those of other libraries.

A network's time is that of the gradient of its summed squared output over one
batch, in float32, on the threads that the process may use; contenders take
turns. Peers take part if they can be imported, those of PyTorch from another
environment in a process of its own, right after their rivals:

  pip install neojax-operators pdequinox foundax exponax
  other/bin/pip install torch deepxde neuraloperator

On Linux, memory that a step frees is kept for the next one (`--keep_memory`):
by default glibc returns blocks of more than 32 MiB to the system at once, and
getting them back page by page can double the time of a step, for everybody.

Example: python -m experiments.benchmarks.operators --quick
  --torch_python=other/bin/python
"""

import ctypes
import functools
import importlib.metadata
import time
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
from absl import app, flags

from experiments.benchmarks import _operator_peers as peers, _timing
from jaxdl import operators, pde as problems
from jaxdl.core.types import Network

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Smaller grids, 3 rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md.')
flags.DEFINE_integer('rounds', 20, 'Turns of every contender.')
flags.DEFINE_bool('keep_memory', True, 'Let glibc keep large free blocks.')
flags.DEFINE_string('torch_python', '', 'Interpreter that has torch and peers.')
flags.DEFINE_list(
  'parts',
  ['deeponet', 'mgno', 'fno', 'unet', 'solvers', 'seeds'],
  'What to measure.',
)

KEY = jax.random.key(0)
Makers = dict[str, Callable[[], peers.Contender]]
_claim = _timing.Claim


def ours(network: Network, *inputs: chex.Array) -> peers.Contender:
  params = jax.jit(network.init)(KEY, *inputs)
  loss = lambda p, *xs: jnp.square(network.apply(p, *xs)).sum()
  return jax.grad(loss), (params, *inputs)


def prepare(
  contender: peers.Contender,
) -> tuple[Callable[[], Any], dict[str, str]]:
  """Compiles once, with no cache; returns the call and what it took."""
  fn, args = contender
  kept = jax.config.jax_enable_compilation_cache
  jax.config.update('jax_enable_compilation_cache', False)
  try:
    begin = time.perf_counter()
    compiled = jax.jit(fn).lower(*args).compile()
    seconds = time.perf_counter() - begin
  finally:
    jax.config.update('jax_enable_compilation_cache', kept)
  found = compiled.memory_analysis()
  return functools.partial(compiled, *args), {
    'compile, s': _timing.digits(seconds),
    'temporaries, MiB': _timing.digits(found.temp_size_in_bytes / 2**20),
  }


def size(contender: peers.Contender) -> str:
  leaves = jax.tree.leaves(contender[1][0])
  return f'{sum(x.size * (1 + jnp.iscomplexobj(x)) for x in leaves):,}'


def compare(
  title: str,
  contenders: Makers,
  rounds: int,
  claims: Sequence[_timing.Claim],
  *,
  what: str = 'network',
  torch: dict[str, Any] | None = None,
  torch_claims: Sequence[tuple[str, str, float | None]] = (),
) -> list[str]:
  """Times whoever can be built; says who was missing.

  Args:
    title: heading.
    contenders: name -> maker, which may raise ImportError.
    rounds: turns.
    claims: bounds between contenders of this process.
    what: heads the column of names.
    torch: what `peers.torch` returned.
    torch_claims: (ours, torch's, times that ours must be faster or None).

  Returns:
    Markdown, one entry.
  """
  calls, rows, missing = {}, {}, []
  for name, make in contenders.items():
    try:
      built = make()
    except ImportError as error:
      missing.append(f'{name} ({error.name})')
      continue
    calls[name], facts = prepare(built)
    rows[name] = {what: name}
    if what == 'network':
      rows[name]['parameters'] = size(built)
    rows[name]['ms'] = ''
    rows[name] |= facts
  times = _timing.measure(calls, rounds=rounds)
  for name, row in rows.items():
    row['ms'] = _timing.digits(times.ms(name))
  lines = [c.row(times) for c in claims if c.ours in calls and c.rival in calls]
  if torch and 'missing' in torch:
    missing.append(torch['missing'])
  elif torch:
    for name, found in torch.items():
      if name == 'versions':
        continue
      rows[name] = {
        what: name,
        'parameters': f'{found["parameters"]:,}',
        'ms': _timing.digits(found['ms']),
        'compile, s': '-',
        'temporaries, MiB': '-',
      }
    for mine, rival, factor in torch_claims:
      claim = _timing.Claim(mine, rival, faster=factor)
      lines.append(claim.row(times, its_ms=torch[rival]['ms']))
  text = f'### {title}\n\n{_timing.table(list(rows.values()))}'
  if lines:
    text += '\n\n' + _timing.table(lines)
  if torch and 'versions' in torch:
    text += f'\n\n{torch["versions"]}, in a process of its own.'
  if missing:
    text += f'\n\nNot installed: {", ".join(missing)}.'
  print(f'\n{text}', flush=True)
  return [text]


def run_torch(part: str, **sizes: int) -> dict[str, Any] | None:
  if not FLAGS.torch_python:
    return None
  return peers.torch(FLAGS.torch_python, part, keep=FLAGS.keep_memory, **sizes)


def deeponet_part(quick: bool, rounds: int) -> list[str]:
  batch, steps = 100 if quick else 1000, 20
  u = jax.random.normal(KEY, (batch, 100))
  y = jax.random.uniform(KEY, (batch, 1))
  side = batch // 10
  net = operators.deeponet((40, 40), (40, 40, 40))
  table = operators.deeponet((40, 40), (40, 40, 40), aligned=True)
  optimizer = optax.adam(1e-3)

  def train(params, u, y):
    def step(carry, _):
      params, state = carry
      loss = lambda p: jnp.square(net.apply(p, u, y)).mean()
      updates, state = optimizer.update(jax.grad(loss)(params), state)
      return (optax.apply_updates(params, updates), state), None

    carry = (params, optimizer.init(params))
    return jax.lax.scan(step, carry, None, length=steps)[0]

  names = 'deeponet', 'deeponet, aligned', f'deeponet, {steps} steps of Adam'
  return compare(
    f'DeepONet, {batch} pairs; aligned: 10 functions x {side} points',
    {
      names[0]: lambda: ours(net, u, y),
      names[1]: lambda: ours(table, u[:10], y[:side]),
      names[2]: lambda: (train, ours(net, u, y)[1]),
      'neojax': lambda: peers.neojax_deeponet(u, y),
    },
    5 * rounds,
    [
      _claim(names[0], 'neojax', within=1.05),
      _claim(names[1], names[0], faster=1),
    ],
    torch=run_torch('deeponet', batch=batch, rounds=2 * rounds),
    torch_claims=[
      (names[0], 'deepxde', 5),
      (names[1], 'deepxde, aligned', 5),
      (names[2], f'deepxde, {steps} steps of Model.train', 5),
    ],
  )


def mgno_part(quick: bool, rounds: int) -> list[str]:
  out = []
  for grid, batch, c, layers, levels in (
    (32, 10, 8, 3, 4),
    (64, 8, 24, 4, 6),
  ):
    if quick and grid > 32:
      continue
    f = jax.random.normal(KEY, (batch, grid, grid, 1))
    make = functools.partial(
      operators.mgno,
      channels=c,
      num_layers=layers,
      iterations=[1] * (levels - 1) + [2],
      padding='circular',
    )
    sizes = (c, layers, levels)
    out += compare(
      f'Periodic MgNO, {batch} x {grid} x {grid}, c = {c}, L = {layers}, '
      f'{levels} levels',
      {
        'mgno': lambda make=make, f=f: ours(make(), f),
        'mgno, patches': lambda make=make, f=f: ours(make(method='patches'), f),
        'foundax': lambda f=f, sizes=sizes: peers.foundax_mgno(f, *sizes),
      },
      2 * rounds if grid == 32 else max(rounds // 2, 3),
      [
        _claim('mgno', 'foundax', faster=1.5),
        _claim('mgno, patches', 'mgno'),
      ],
    )
  return out


def fno_part(quick: bool, rounds: int) -> list[str]:
  out = []
  for shape, modes, width in (
    ((10, 32, 32), 12, 32),
    ((10, 64, 64), 12, 32),
    ((20, 1024), 16, 64),
  ):
    rank = len(shape) - 1
    if quick and shape != (10, 32, 32):
      continue
    f = jax.random.normal(KEY, (*shape, 1))
    net = functools.partial(operators.fno, (modes,) * rank, channels=width)
    torch = None
    if rank == 2:
      torch = run_torch(
        'fno',
        batch=shape[0],
        grid=shape[1],
        modes=modes,
        width=width,
        rounds=max(rounds // 2, 3),
      )
    out += compare(
      f'FNO, {" x ".join(map(str, shape))}, m = {modes}, w = {width}',
      {
        'fno': lambda net=net, f=f: ours(net(), f),
        'fno, fft': lambda net=net, f=f: ours(net(transform='fft'), f),
        'pdequinox': lambda f=f, s=(modes, width): peers.pdequinox_fno(f, *s),
        'neojax': lambda f=f, s=(modes, width): peers.neojax_fno(f, *s),
      },
      rounds,
      [
        _claim('fno', 'fno, fft', faster=1),
        _claim('fno', 'pdequinox', within=1.05),
        _claim('fno', 'neojax', within=1.05),
      ],
      torch=torch,
      torch_claims=[('fno', 'neuralop', None)],
    )
  return out


def unet_part(quick: bool, rounds: int) -> list[str]:
  out = []
  for shape in ((2, 32, 32),) if quick else ((10, 32, 32), (20, 256)):
    f = jax.random.normal(KEY, (*shape, 1))
    net = functools.partial(operators.unet, padding='circular')
    out += compare(
      f'Periodic U-Net, {" x ".join(map(str, shape))}',
      {
        'unet': lambda net=net, f=f: ours(net(), f),
        'pdequinox': lambda f=f: peers.pdequinox_unet(f),
      },
      max(rounds // 2, 3),
      [_claim('unet', 'pdequinox', within=1.05)],
    )
  return out


def solvers_part(quick: bool, rounds: int) -> list[str]:
  """ETDRK4 in float32, 2/3 dealiasing, both sides in Fourier space."""
  out = []
  rows, num, steps, dt, nu = 8, 256 if quick else 1024, 100, 1e-3, 0.01
  x = jnp.arange(num) / num
  phases = jax.random.uniform(KEY, (rows, 1))
  u = jnp.sin(2 * jnp.pi * (x[None] + phases))
  burgers = functools.partial(
    problems.solve_burgers, viscosity=nu, dt=dt, num_steps=steps
  )
  peer = functools.partial(
    peers.exponax_solver, 'Burgers', u, steps, dt, diffusivity=nu
  )
  out += _solve(
    f'Burgers, {rows} x {num} points, {steps} steps',
    jax.vmap(lambda u: burgers(u)[-1]),
    u,
    functools.partial(peer, conservative=True),
    rounds,
  )
  rows, num, steps, dt, nu = 4, 32 if quick else 64, 20, 1e-2, 1e-3
  x = jnp.arange(num) / num
  a, b = jax.random.uniform(KEY, (2, rows, 1, 1))
  w = jnp.sin(2 * jnp.pi * (x[None, :, None] + a)) + jnp.cos(
    4 * jnp.pi * (x[None, None, :] + b)
  )
  flow = functools.partial(
    problems.solve_navier_stokes,
    viscosity=nu,
    dt=dt,
    num_steps=steps,
    method='etdrk4',
  )
  peer = functools.partial(
    peers.exponax_solver, 'NavierStokesVorticity', w, steps, dt
  )
  out += _solve(
    f'Navier-Stokes, {rows} x {num} x {num} points, {steps} steps',
    jax.vmap(lambda w: flow(w)[-1]),
    w,
    # Its stream function has the other sign, and so has its velocity.
    functools.partial(peer, diffusivity=nu, vorticity_convection_scale=-1.0),
    rounds,
  )
  return out


def _solve(title, solve, initial, peer, rounds):
  text = compare(
    title,
    {'jaxdl': lambda: (solve, (initial,)), 'exponax': peer},
    rounds,
    [_claim('jaxdl', 'exponax', faster=1)],
    what='solver',
  )
  try:
    fn, args = peer()
  except ImportError:
    return text
  got, want = jax.jit(solve)(initial), jax.jit(fn)(*args)
  gap = float(jnp.linalg.norm(got - want) / jnp.linalg.norm(want))
  note = f'Relative distance between the two results: {gap:.1e}.'
  print(note, flush=True)
  return [f'{text[0]}\n\n{note}']


def seeds_part(quick: bool, rounds: int) -> list[str]:
  """Gradients of S networks on one batch against S times one."""
  out = []
  count, grid = 4, 16 if quick else 32
  u, y = jax.random.normal(KEY, (1000, 100)), jax.random.uniform(KEY, (1000, 1))
  f = jax.random.normal(KEY, (10, grid, grid, 1))
  mgno = functools.partial(
    operators.mgno, channels=8, num_layers=3, iterations='10,10,10,20'
  )
  deeponet = operators.deeponet((40, 40), (40, 40, 40))
  for title, inputs, nets in (
    ('DeepONet, 1000 pairs', (u, y), {'': deeponet}),
    (
      f'MgNO c = 8, 10 x {grid} x {grid}',
      (f,),
      {', conv': mgno(), ', patches': mgno(method='patches')},
    ),
  ):
    made, claims = {}, []
    for suffix, net in nets.items():
      keys = jax.random.split(KEY, count)
      init = lambda k, net=net, xs=inputs: net.init(k, *xs)
      params = jax.jit(jax.vmap(init))(keys)
      one = jax.tree.map(lambda x: x[0], params)
      loss = lambda p, net=net, xs=inputs: jnp.square(net.apply(p, *xs)).sum()
      grad = jax.grad(loss)
      loop = lambda p, grad=grad: jax.lax.map(grad, p)
      for name, fn, args in (
        ('one seed', grad, one),
        (f'vmap of {count}', jax.vmap(grad), params),
        (f'lax.map of {count}', loop, params),
      ):
        made[name + suffix] = lambda fn=fn, args=args: (fn, (args,))
      claims += [
        _claim(f'vmap of {count}{suffix}', f'one seed{suffix}'),
        _claim(f'lax.map of {count}{suffix}', f'one seed{suffix}'),
      ]
    out += compare(
      f'{count} seeds side by side: {title}',
      made,
      rounds,
      claims,
    )
  out[-1] += (
    f'\n\nThe ratio of {count} seeds to one is to be compared with '
    f'1 / {count} = {1 / count:g}: larger is cheaper than one after the other.'
  )
  return out


def keep_memory() -> bool:
  """Raises glibc's mmap and trim thresholds; false elsewhere."""
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  trim, mmap = -1, -3
  return bool(mallopt and mallopt(mmap, 1 << 30) and mallopt(trim, 2**31 - 1))


def _versions() -> str:
  found = []
  for name in peers.PACKAGES:
    try:
      found.append(f'{name} {importlib.metadata.version(name)}')
    except importlib.metadata.PackageNotFoundError:
      found.append(f'{name} not installed')
  return ', '.join(found)


def main(argv):
  del argv
  kept = FLAGS.keep_memory and keep_memory()
  rounds = 3 if FLAGS.quick else FLAGS.rounds
  steps = {
    'deeponet': deeponet_part,
    'mgno': mgno_part,
    'fno': fno_part,
    'unet': unet_part,
    'solvers': solvers_part,
    'seeds': seeds_part,
  }
  loads = [_timing.load()]
  text = [
    f'Large free blocks are {"" if kept else "not "}kept by malloc. Peers: '
    f'{_versions()}. Times are medians of gradients with respect to '
    f'parameters, or of whole solutions, on {_timing.threads()} core(s).'
  ]
  print(text[0], flush=True)
  for part in FLAGS.parts:
    text += steps[part](FLAGS.quick, rounds)
    loads.append(_timing.load())
  _timing.report('operators', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
