# SPDX-License-Identifier: Apache-2.0
"""Times operator networks, their variants and, where installed, their peers.

Every contender computes the gradient of the summed squared output of one batch.
Peers take part if they can be imported:

  pip install foundax pdequinox neojax-operators

On Linux, memory that a step frees is kept for the next one (`--keep_memory`):
by default glibc returns blocks of more than 32 MiB to the system at once, and
getting them back page by page can double the time of a step, for everybody.

Example: python -m experiments.benchmarks.operators --quick
"""

import ctypes
import functools
import importlib
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from absl import app, flags

from experiments.benchmarks import _timing
from jaxdl import operators
from jaxdl.core.types import Network

FLAGS = flags.FLAGS
flags.DEFINE_bool('quick', False, 'Smaller grids, 3 rounds.')
flags.DEFINE_bool('write', False, 'Write the section of RESULTS.md.')
flags.DEFINE_integer('rounds', 20, 'Turns of every contender.')
flags.DEFINE_bool('keep_memory', True, 'Let glibc keep large free blocks.')
flags.DEFINE_list(
  'parts',
  ['deeponet', 'mgno', 'fno', 'unet', 'clients'],
  'What to measure.',
)

KEY = jax.random.key(0)
Contender = tuple[Callable[..., Any], tuple[Any, ...]]


def ours(network: Network, *inputs: chex.Array) -> Contender:
  params = jax.jit(network.init)(KEY, *inputs)
  loss = lambda p, *xs: jnp.square(network.apply(p, *xs)).sum()
  return jax.grad(loss), (params, *inputs)


def peer(module: str, build: Callable[[Any], Any], *inputs: Any) -> Contender:
  """An unbatched model of another library; raises ImportError."""
  import equinox as eqx

  model = build(importlib.import_module(module))
  params, static = eqx.partition(model, eqx.is_inexact_array)

  def loss(params, *xs):
    return jnp.square(jax.vmap(eqx.combine(params, static))(*xs)).sum()

  return jax.grad(loss), (params, *inputs)


def foundax(grid: int, channels: int, layers: int, levels: int) -> Any:
  def build(lib):
    return lib.mgno2d(
      (grid, grid),
      num_layer=layers,
      num_channel_u=channels,
      num_channel_f=1,
      num_iteration=[(1, 0)] * (levels - 1) + [(2, 0)],
    )

  return build


def size(contender: Contender) -> int:
  return sum(x.size for x in jax.tree.leaves(contender[1][0]))


def compare(
  title: str,
  contenders: dict[str, Callable[[], Contender]],
  rounds: int,
  claims: list[_timing.Claim],
) -> list[str]:
  """Times whoever can be built; says who was missing."""
  built, missing = {}, []
  for name, make in contenders.items():
    try:
      built[name] = make()
    except ImportError as error:
      missing.append(f'{name} ({error.name})')
  compiled, facts = {}, []
  for name, (fn, args) in built.items():
    seconds = _timing.first_call_seconds(fn, *args)
    compiled[name] = functools.partial(jax.jit(fn), *args)
    facts.append((name, size(built[name]), seconds))
  times = _timing.measure(compiled, rounds=rounds)
  rows = [
    {
      'network': name,
      'parameters': f'{count:,}',
      'ms per gradient': _timing.digits(times.ms(name)),
      'first call, s': _timing.digits(seconds),
    }
    for name, count, seconds in facts
  ]
  text = f'### {title}\n\n{_timing.table(rows)}'
  claims = [c for c in claims if c.ours in built and c.rival in built]
  if claims:
    text += '\n\n' + _timing.table([c.row(times) for c in claims])
  if missing:
    text += f'\n\nNot installed: {", ".join(missing)}.'
  print(f'\n{text}', flush=True)
  return [text]


def deeponet_part(quick: bool, rounds: int) -> list[str]:
  batch = 100 if quick else 1000
  u = jax.random.normal(KEY, (batch, 100))
  y = jax.random.uniform(KEY, (batch, 1))
  side = batch // 10
  relu = jax.nn.relu
  build = lambda lib: lib.MLPDeepONet(
    KEY,
    100,
    1,
    40,
    [40],
    [40, 40],
    branch_activations=relu,
    trunk_activations=[relu] * 3,
    bias=jnp.zeros(()),
  )
  net = operators.deeponet((40, 40), (40, 40, 40))
  table = operators.deeponet((40, 40), (40, 40, 40), aligned=True)
  claim = _timing.Claim
  return compare(
    f'DeepONet, {batch} pairs',
    {
      'deeponet': lambda: ours(net, u, y),
      'deeponet, aligned 10 x smaller sides': lambda: ours(
        table, u[:10], y[:side]
      ),
      'neojax': lambda: peer('neojax.models.deeponet', build, u, y),
    },
    5 * rounds,
    [
      claim('deeponet', 'neojax', within=1.1),
      claim('deeponet, aligned 10 x smaller sides', 'deeponet', faster=1),
    ],
  )


def mgno_part(quick: bool, rounds: int) -> list[str]:
  out = []
  claim = _timing.Claim
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
    build = foundax(grid, c, layers, levels)
    out += compare(
      f'Periodic MgNO, {batch} x {grid} x {grid}, c = {c}, L = {layers}',
      {
        'mgno': lambda make=make, f=f: ours(make(), f),
        'mgno, patches': lambda make=make, f=f: ours(make(method='patches'), f),
        'foundax': lambda build=build, f=f: peer('foundax', build, f),
      },
      rounds if grid == 32 else max(rounds // 4, 3),
      [
        claim('mgno', 'foundax', faster=1),
        claim('mgno, patches', 'mgno'),
      ],
    )
  return out


def fno_part(quick: bool, rounds: int) -> list[str]:
  batch, grid, modes, width = 10, 32, 8, 24
  del quick
  f = jax.random.normal(KEY, (batch, grid, grid, 1))
  first = jnp.moveaxis(f, -1, 1)
  net = functools.partial(operators.fno, (modes, modes), width=width)
  pdequinox = lambda lib: lib.arch.ClassicFNO(
    2, 1, 1, hidden_channels=width, num_modes=modes, key=KEY
  )
  neojax = lambda lib: lib.FNO(
    KEY,
    1,
    1,
    width,
    4,
    (modes, modes),
    use_channel_mlp=False,
    normalization=None,
    positional_embedding='grid',
  )
  claim = _timing.Claim
  return compare(
    f'FNO, {batch} x {grid} x {grid}, m = {modes}, w = {width}',
    {
      'fno': lambda: ours(net(), f),
      'fno, fft': lambda: ours(net(method='fft'), f),
      'pdequinox': lambda: peer('pdequinox', pdequinox, first),
      'neojax': lambda: peer('neojax.models.fno', neojax, first),
    },
    rounds,
    [
      claim('fno', 'fno, fft', faster=1),
      claim('fno', 'pdequinox', faster=1),
      claim('fno', 'neojax', faster=1),
    ],
  )


def unet_part(quick: bool, rounds: int) -> list[str]:
  grid, batch = 32, 2 if quick else 10
  f = jax.random.normal(KEY, (batch, grid, grid, 1))
  net = functools.partial(operators.unet, padding='circular')
  build = lambda lib: lib.arch.ClassicUNet(2, 1, 1, key=KEY)
  claim = _timing.Claim
  return compare(
    f'Periodic U-Net, {batch} x {grid} x {grid}',
    {
      'unet': lambda: ours(net(), f),
      'pdequinox': lambda: peer('pdequinox', build, jnp.moveaxis(f, -1, 1)),
    },
    max(rounds // 2, 3),
    [claim('unet', 'pdequinox', faster=1)],
  )


def clients_part(quick: bool, rounds: int) -> list[str]:
  """One small MgNO per client."""
  clients, batch, grid = 8, 10, 16 if quick else 32
  f = jax.random.normal(KEY, (clients, batch, grid, grid, 1))
  made = {}
  for method in ('conv', 'patches'):
    net = operators.mgno(
      channels=8, num_layers=3, iterations='10,10,10,20', method=method
    )
    keys = jax.random.split(KEY, clients)
    params = jax.jit(jax.vmap(lambda k, net=net: net.init(k, f[0])))(keys)
    grad = jax.grad(lambda p, x, net=net: jnp.square(net.apply(p, x)).sum())
    loop = lambda p, x, grad=grad: jax.lax.map(lambda a: grad(*a), (p, x))
    for name, fn in (('vmap', jax.vmap(grad)), ('lax.map', loop)):
      made[f'{name}, {method}'] = lambda fn=fn, params=params: (
        fn,
        (params, f),
      )
  claim = _timing.Claim
  return compare(
    f'{clients} clients with a MgNO each, {batch} x {grid} x {grid}',
    made,
    max(rounds // 4, 3),
    [
      claim('vmap, patches', 'vmap, conv', faster=1),
      claim('lax.map, patches', 'lax.map, conv', faster=1),
      claim('lax.map, patches', 'vmap, conv'),
    ],
  )


def keep_memory() -> bool:
  """Raises glibc's mmap and trim thresholds; false elsewhere."""
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  trim, mmap = -1, -3
  return bool(mallopt and mallopt(mmap, 1 << 30) and mallopt(trim, 2**31 - 1))


def main(argv):
  del argv
  kept = FLAGS.keep_memory and keep_memory()
  rounds = 3 if FLAGS.quick else FLAGS.rounds
  steps = {
    'deeponet': deeponet_part,
    'mgno': mgno_part,
    'fno': fno_part,
    'unet': unet_part,
    'clients': clients_part,
  }
  loads = [_timing.load()]
  text = [f'Large free blocks are {"" if kept else "not "}kept by malloc.']
  for part in FLAGS.parts:
    text += steps[part](FLAGS.quick, rounds)
    loads.append(_timing.load())
  _timing.report('operators', text, loads, write=FLAGS.write)


if __name__ == '__main__':
  app.run(main)
