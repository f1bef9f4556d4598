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
# # Mixing matrices
#
# Clients without a server average with their neighbors, X ← W X. We draw
# topologies, look at how fast they agree, and train over them: what decides is
# not the number of links but how soon everybody has heard of everybody.

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
import pathlib
import tempfile

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import Image

from jaxdl import decentralized, experiment, mixing, plots, problems
from jaxdl.mixing import graphs, spectra

plt.style.use('tableau-colorblind10')

# %% [markdown]
# ## Topologies
#
# A graph and a weight rule make a matrix, `W[i, j]` is the weight that i gives
# to what it hears from j. Other families change their links every round; the
# colors below are rounds.

# %%
N = 12
names = [
  'ring',
  'star',
  'torus',
  'exponential',
  'one_peer_exponential',
  'base',
  'random_matching',
  'small_world',
]
if SMOKE:  # Most of the time is compilation.
  names = ['ring', 'torus', 'base']
mixers = {name: mixing.make_mixer(name, N) for name in names}
picture = plots.draw_topologies(
  {name: mixing.matrices(mixer, num_draws=3) for name, mixer in mixers.items()},
  pathlib.Path(tempfile.mkdtemp()) / 'topologies.png',
)
Image(str(picture))

# %% [markdown]
# ## How fast do they agree?
#
# `factor` is what a round leaves of the distance to consensus. Weights matter
# as well: the best constant and the fastest mixing weights of the same ring.

# %%
for name, mixer in mixers.items():
  found = mixing.spectrum(mixer)
  print(
    f'{name:22} factor {found["factor"]:.3f}, '
    f'{found["messages"]:.2f} messages per round, '
    f'{found["rounds_to_1e-6"]:.0f} rounds to 1e-6'
  )

ring = graphs.ring(N)
for rule in ('metropolis', 'lazy_metropolis', 'best_constant', 'fastest'):
  w = mixing.WEIGHT_RULES[rule](ring)
  print(
    f'ring, {rule:16} {spectra.consensus_factor(w):.3f}, smallest eigenvalue '
    f'{spectra.smallest_eigenvalue(w):+.3f}'
  )

# %% [markdown]
# ## Pure averaging
#
# Everybody starts with a random vector. The base graph is done, exactly, after
# one period; with one message per client and round.

# %%
rounds = 8 if SMOKE else 40
problem = problems.vectors(num_clients=N, dimension=50)


def average(mixer):
  algorithm = decentralized.averaging(problem.data[0], mixer, N)
  _, history = experiment.train(
    algorithm,
    problem,
    num_rounds=rounds,
    key=jax.random.key(0),
    eval_every=1,
  )
  return history['test_consensus'][1:]


# Squares in float32 are exact to about 1e-13; what is below lies on one line.
floor = 1e-13
figure, axes = plt.subplots(1, 2, figsize=(10, 3.5), sharey=True)
for i, (name, mixer) in enumerate(mixers.items()):
  distance = np.maximum(average(mixer), floor)
  sent = np.cumsum(np.resize(mixing.messages(mixer), rounds))
  # Broad below thin, dashed over solid: curves that coincide are all seen.
  look = {'label': name, 'lw': 5 - i / 2, 'ls': ('-', '--', ':')[i % 3]}
  axes[0].semilogy(np.arange(1, rounds + 1), distance, **look)
  axes[1].semilogy(sent, distance, **look)
axes[0].set(xlabel='Round', ylabel='Consensus distance')
axes[0].annotate(
  'rounding', (1, floor), (0, -8), textcoords='offset points', fontsize=8
)
axes[1].set(xlabel='Messages sent per client')
axes[1].legend(fontsize=8, loc='upper left', bbox_to_anchor=(1, 1))
figure.tight_layout()

# %% [markdown]
# ## Learning: a bias, and three ways to lose it
#
# Every client has its own quadratic. With a fixed step gossip SGD settles next
# to the optimum of the mean; D², EXTRA and gradient tracking go there.

# %%
problem = problems.quadratics(num_clients=N)
compared = {
  'gossip_sgd@ring': 'gossip SGD (D-PSGD)',
  'd_squared@ring(weights=lazy_metropolis)': 'D²',
  'extra@ring': 'EXTRA',
  'gradient_tracking@ring': 'gradient tracking',
}
for spec in list(compared)[: 1 if SMOKE else None]:
  algorithm = decentralized.make_algorithm(
    spec, problem.task, N, optimizer=optax.sgd(0.1)
  )
  _, history = experiment.train(
    algorithm,
    problem,
    num_rounds=20 if SMOKE else 300,
    key=jax.random.key(0),
    eval_every=5,
  )
  plt.semilogy(history['round'], history['test_error'], label=compared[spec])
plt.xlabel('Round')
plt.ylabel('Distance to the optimum')
plt.legend()

# %% [markdown]
# ## Learning: accuracy against messages
#
# The same comparison on digits with very uneven labels: `python -m
# experiments.decentralized_training` is this cell with flags, checkpoints and
# pictures. D-PSGD over a one-peer schedule gets away with a fraction of the
# ring's messages.

# %%
problem = problems.classification(
  'digits', partition='label_dirichlet(alpha=0.1)', num_clients=N
)
rounds = 10 if SMOKE else 200
compared = ('ring', 'exponential', 'one_peer_exponential', 'base')
for name in compared[: 1 if SMOKE else None]:
  spec = f'gossip_sgd@{name}'
  algorithm = decentralized.make_algorithm(
    spec, problem.task, N, optimizer=optax.sgd(0.1)
  )
  _, history = experiment.train(
    algorithm, problem, num_rounds=rounds, key=jax.random.key(0)
  )
  sent = decentralized.messages(spec, N, rounds).models
  plt.plot(sent[history['round']], history['test_accuracy'], label=name)
plt.xlabel('Models sent per client')
plt.ylabel('Test accuracy')
plt.legend()
