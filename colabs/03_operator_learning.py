# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # Operator learning
#
# A network that maps functions to functions. We train a DeepONet on the
# antiderivative and an MgNO on Darcy flow, look at what they predict, and then
# train a DeepONet over clients of which some lie.

# %%
# Where jaxdl comes from: a folder, a wheel or a URL such as 'git+https://...';
# empty for the checkout that this notebook lies in. Not a name: the `jaxdl` of
# PyPI is another project.
SOURCE = ''

import importlib.util
import os
import pathlib
import subprocess
import sys

NAME = 'jaxdl-research'


def address():
  """What pip installs, as a URL."""
  if '://' in SOURCE:
    return SOURCE
  if SOURCE and pathlib.Path(SOURCE).expanduser().exists():
    return pathlib.Path(SOURCE).expanduser().resolve().as_uri()
  if SOURCE:
    raise RuntimeError(
      f'SOURCE={SOURCE!r} is neither a folder nor a wheel here, nor a URL.'
    )
  for folder in (here := pathlib.Path.cwd(), *here.parents):
    project = folder / 'pyproject.toml'
    if project.is_file() and f'name = "{NAME}"' in project.read_text('utf-8'):
      return folder.as_uri()
  raise RuntimeError(
    f'jaxdl is not installed, and no checkout of it is around {here}: set '
    'SOURCE at the top of this cell to a folder, a wheel or a git URL.'
  )


found = importlib.util.find_spec('jaxdl')
places = map(pathlib.Path, found.submodule_search_locations) if found else ()
if found and not any((place / 'aggregators').is_dir() for place in places):
  raise RuntimeError(
    f'{found.origin} is another project of the name jaxdl: run `pip uninstall '
    'jaxdl`, restart, and run this cell again.'
  )
if not found:
  command = [sys.executable, '-m', 'pip', 'install', '-q']
  subprocess.run([*command, f'{NAME}[experiments] @ {address()}'], check=True)
  importlib.invalidate_caches()

SMOKE = bool(os.environ.get('JAXDL_SMOKE'))

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from jaxdl import aggregators, attacks, federated, local, operators
from jaxdl.core import types
from jaxdl.pde import sets as sets_lib

plt.style.use('tableau-colorblind10')


def train(task, functions, *, steps, batch_size, learning_rate):
  """Trains one model on one set of functions; returns it and its losses."""
  algorithm = federated.centralized_sgd(
    task,
    optimizer=optax.adam(optax.cosine_decay_schedule(learning_rate, steps)),
  )
  n = len(functions['inputs'])

  def step(state, key):
    index = jax.random.randint(key, (batch_size,), 0, n)
    cohort = types.Cohort(
      client_ids=jnp.arange(1),
      data={name: x[index][None] for name, x in functions.items()},
      mask=jnp.ones(1, bool),
      weights=jnp.ones(1),
    )
    state, seen = algorithm.step(state, cohort, key=key)
    return state, seen['loss']

  keys = jax.random.split(jax.random.key(1), steps)
  start = algorithm.init(jax.random.key(0))
  state, losses = jax.jit(lambda s: jax.lax.scan(step, s, keys))(start)
  return algorithm.params(state), losses


def dataset(split):
  """One split as the arrays that tasks read."""
  return {
    'inputs': jnp.asarray(split.inputs),
    'targets': jnp.asarray(split.targets),
  }


# %% [markdown]
# ## DeepONet
#
# A *branch* reads the input function at its sensors, a *trunk* the place where
# the output is asked for; the prediction is their inner product. All functions
# share their query points here, so the trunk runs once for all of them.

# %%
sets = sets_lib.make_operator_dataset(
  'antiderivative',
  key=jax.random.key(0),
  num_train=50 if SMOKE else 500,
  num_test=20,
  resolution=20 if SMOKE else 100,
)
points = jnp.asarray(sets.train.queries)
deeponet = operators.deeponet(
  (8,) if SMOKE else (40, 40),
  (8,) if SMOKE else (40, 40, 40),
  activation='gelu',
)
task = operators.operator_task(deeponet, dataset(sets.train), points=points)
params, losses = train(
  task,
  dataset(sets.train),
  steps=5 if SMOKE else 4000,
  batch_size=32,
  learning_rate=2e-3,
)
print(jax.jit(task.evaluate)(params, dataset(sets.test)))

# %%
inputs, targets = sets.test.inputs[:3], sets.test.targets[:3]
predicted = jax.jit(lambda p: deeponet.apply(p, inputs, points, aligned=True))(
  params
)[..., 0]
figure, axes = plt.subplots(1, 4, figsize=(13, 2.8))
axes[0].semilogy(losses)
axes[0].set(xlabel='Step', ylabel='Relative L2 error', title='Training batches')
for i, panel in enumerate(axes[1:]):
  panel.plot(sets.sensors[:, 0], inputs[i], color='0.7', label='input')
  panel.plot(points[:, 0], targets[i], lw=4, alpha=0.4, label='target')
  panel.plot(points[:, 0], predicted[i], '--', label='DeepONet')
axes[1].legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# ## MgNO
#
# Each layer is a learned multigrid cycle: convolutions on ever coarser grids,
# linear and global at the cost of a few stencils. The coefficient of Darcy flow
# jumps between 3 and 12; the network gives the pressure. Normalisers are part
# of the network, so that the loss sees physical units.

# %%
grid = 8 if SMOKE else 32
sets = sets_lib.make_operator_dataset(
  'darcy',
  key=jax.random.key(0),
  num_train=16 if SMOKE else 300,
  num_test=8 if SMOKE else 50,
  resolution=grid,
  layout='grid',
)
mgno = operators.normalized(
  operators.mgno(
    channels=4 if SMOKE else 8,
    num_layers=1 if SMOKE else 3,
    iterations='10' if SMOKE else '10,10,20',
    method='patches',
  ),
  inputs=operators.fit_normalizer(jnp.asarray(sets.train.inputs)),
  outputs=operators.fit_normalizer(jnp.asarray(sets.train.targets)),
)
task = operators.operator_task(
  mgno,
  dataset(sets.train),
  loss='relative_h1_spectral',
  metrics=('relative_l2', 'relative_h1_spectral'),
)
params, losses = train(
  task,
  dataset(sets.train),
  steps=3 if SMOKE else 800,
  batch_size=10,
  learning_rate=3e-3,
)
print(jax.jit(task.evaluate)(params, dataset(sets.test)))

# %%
figure, axes = plt.subplots(2, 4, figsize=(11, 5))
predicted = jax.jit(mgno.apply)(params, jnp.asarray(sets.test.inputs[:2]))
for line, (a, u, p) in enumerate(
  zip(sets.test.inputs, sets.test.targets, predicted, strict=False)
):
  shown = {'coefficient': a, 'pressure': u, 'MgNO': p, 'error': p - u}
  span = {'vmin': float(u.min()), 'vmax': float(u.max())}
  most = float(abs(p - u).max())
  looks = {
    'coefficient': {'cmap': 'cividis'},
    'pressure': span,  # One scale for both.
    'MgNO': span,
    'error': {'cmap': 'RdBu_r', 'vmin': -most, 'vmax': most},
  }
  for panel, (name, field) in zip(axes[line], shown.items(), strict=True):
    image = panel.imshow(field[..., 0], origin='lower', **looks[name])
    panel.set(title=name, xticks=[], yticks=[])
    figure.colorbar(image, ax=panel, shrink=0.8)
figure.tight_layout()

# %% [markdown]
# ## Over clients
#
# Ten clients hold functions of their own length scale; two of them send the
# reverse of what they learned. The algorithm is the one that trains image
# classifiers: any rule, any attack, any network.

# %%
N, F = (4, 1) if SMOKE else (10, 2)
length_scales = [0.1] if SMOKE else jnp.geomspace(0.1, 0.5, N)
clients = [
  sets_lib.make_operator_dataset(
    'antiderivative',
    key=jax.random.key(i),
    num_train=32,
    num_test=8,
    resolution=20 if SMOKE else 40,
    length_scale=float(length),
  )
  for i, length in enumerate(length_scales)
]
if SMOKE:  # Each set compiles its own solver.
  clients = N * clients
stacked = {
  name: jnp.stack([dataset(c.train)[name] for c in clients])
  for name in ('inputs', 'targets')
}
test = {
  name: jnp.concatenate([dataset(c.test)[name] for c in clients])
  for name in ('inputs', 'targets')
}
task = operators.operator_task(
  deeponet,
  dataset(clients[0].train),
  points=jnp.asarray(clients[0].train.queries),
)
rounds = 3 if SMOKE else 600
compared = ('mean', 'median', 'nnm+trimmed_mean')
for rule in compared[: 1 if SMOKE else None]:
  *pre, name = rule.split('+')
  algorithm = federated.robust_sgd(
    task,
    aggregators.make_aggregator(name, num_clients=N, num_byzantine=F, pre=pre),
    num_clients=N,
    optimizer=optax.adam(2e-3),
    attack=attacks.make_attack('reverse', num_clients=N, num_byzantine=F),
    num_byzantine=F,
  )

  def step(state, key, algorithm=algorithm):
    batch_key, step_key = jax.random.split(key)
    cohort = local.batch_cohort(
      batch_key, stacked, jnp.ones((N, 32), bool), batch_size=16
    )
    state, _ = algorithm.step(state, cohort, key=step_key)
    error = task.evaluate(algorithm.params(state), test)['relative_l2']
    return state, error

  keys = jax.random.split(jax.random.key(1), rounds)
  _, errors = jax.jit(
    lambda s, step=step, keys=keys: jax.lax.scan(step, s, keys)
  )(algorithm.init(jax.random.key(0)))
  plt.semilogy(errors, label=rule)
plt.xlabel('Round')
plt.ylabel('Relative L2 error')
plt.legend()
