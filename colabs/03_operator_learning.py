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

from jaxdl import experiment, federated, problems

plt.style.use('tableau-colorblind10')


def train(problem, *, num_rounds, learning_rate):
  """Trains one network on the functions of a problem."""
  optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_rounds))
  return experiment.train(
    problems.for_task(
      problem,
      lambda task: federated.centralized_sgd(task, optimizer=optimizer),
    ),
    problem,
    num_rounds=num_rounds,
    key=jax.random.key(0),
    eval_every=max(1, num_rounds // 10),
  )


# %% [markdown]
# ## DeepONet
#
# A *branch* reads the input function at its sensors, a *trunk* the place where
# the output is asked for; the prediction is their inner product. All functions
# share their query points here, so the trunk runs once for all of them.
# `problems.functions` draws and solves; any network learns from what it gives.

# %%
points = 20 if SMOKE else 100
functions = problems.functions(
  f'antiderivative(resolution={points})',
  num_train=50 if SMOKE else 500,
  num_test=20,
  batch_size=32,
)
problem = functions.problem(
  'deeponet((8,), (8,))'
  if SMOKE
  else 'deeponet((40, 40), (40, 40, 40), activation=gelu)'
)
state, history = train(
  problem, num_rounds=5 if SMOKE else 4000, learning_rate=2e-3
)
print(f'relative L2 error: {history["test_relative_l2"][-1]:.4f}')

# %%
samples = functions.samples
predicted = jax.jit(
  lambda params: problem.network.apply(
    params, *samples['arguments'], aligned=True
  )
)(state.params)
figure, axes = plt.subplots(1, 4, figsize=(13, 2.8))
axes[0].semilogy(history['loss'], label='training batches')
axes[0].semilogy(
  history['round'], history['test_relative_l2'], 'o-', label='test functions'
)
axes[0].set(xlabel='Step', ylabel='Relative L2 error')
axes[0].legend(fontsize=8)
place = jnp.linspace(0, 1, points)
for i, panel in enumerate(axes[1:]):
  panel.plot(place, samples['inputs'][i], color='0.7', label='input')
  panel.plot(place, samples['targets'][i], lw=4, alpha=0.4, label='target')
  panel.plot(place, predicted[i, :, 0], '--', label='DeepONet')
axes[1].legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# ## MgNO
#
# Each layer is a learned multigrid cycle: convolutions on ever coarser grids,
# linear and global at the cost of a few stencils. The coefficient of Darcy flow
# jumps between 3 and 12; the network gives the pressure. Normalizers are part
# of the network, so that the loss sees physical units.

# %%
functions = problems.functions(
  f'darcy(resolution={8 if SMOKE else 32})',
  layout='grid',
  num_train=16 if SMOKE else 300,
  num_test=8 if SMOKE else 50,
  batch_size=10,
)
problem = functions.problem(
  'mgno(channels=4, num_layers=1, iterations="10")'
  if SMOKE
  else 'mgno(channels=8, num_layers=3, iterations="10,10,20", method=patches)',
  loss='relative_h1_spectral',
  inputs='scalar',
  targets='scalar',
  metrics=('relative_l2', 'relative_h1_spectral'),
)
state, history = train(
  problem, num_rounds=3 if SMOKE else 800, learning_rate=3e-3
)
print({k: round(float(v[-1]), 4) for k, v in history.items() if 'test' in k})

# %%
samples = functions.samples
# Statistics belong to a seed, and so does the network: the first one's.
network = problem.network(jax.tree.map(lambda x: x[0], problem.data))
predicted = jax.jit(network.apply)(state.params, *samples['arguments'])
figure, axes = plt.subplots(2, 4, figsize=(11, 5))
for line, a, u, p in zip(
  axes, samples['inputs'], samples['targets'], predicted, strict=False
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
  for panel, (name, field) in zip(line, shown.items(), strict=True):
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
problem = problems.operator_clients(
  f'antiderivative(resolution={10 if SMOKE else 40})',
  'deeponet((8,), (8,))'
  if SMOKE
  else 'deeponet((40, 40), (40, 40, 40), activation=gelu)',
  num_clients=N,
  spread='length_scale(0.1, 0.5)',
  # Each length scale compiles its own solver.
  heterogeneity=0.0 if SMOKE else 1.0,
  functions_per_client=32,
  num_test=8 * N,
)
compared = ('mean', 'median', 'nnm+trimmed_mean')
for rule in compared[: 1 if SMOKE else None]:
  algorithm = federated.robust_sgd(
    problem.task,
    rule,
    N,
    attack='reverse',
    num_byzantine=F,
    optimizer=optax.adam(2e-3),
  )
  _, history = experiment.train(
    algorithm,
    problem,
    num_rounds=3 if SMOKE else 600,
    key=jax.random.key(1),
    eval_every=3 if SMOKE else 20,
  )
  plt.semilogy(history['round'], history['test_relative_l2'], label=rule)
plt.xlabel('Round')
plt.ylabel('Relative L2 error')
plt.legend()
