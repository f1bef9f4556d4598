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
# Clients without a server average with their neighbours, X ← W X. We draw
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
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import Image

from jaxdl import decentralized, metrics, mixing, plots
from jaxdl.core import types
from jaxdl.mixing import graphs, spectra

plt.style.use('tableau-colorblind10')

# %% [markdown]
# ## Topologies
#
# A graph and a weight rule make a matrix, `W[i, j]` is the weight that i gives
# to what it hears from j. Other families change their links every round; the
# colours below are rounds.

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
start = jax.random.normal(jax.random.key(0), (N, 50))


def average(mixer):
  def step(x, t):
    x = mixer.apply(x, t, key=jax.random.key(1))
    return x, metrics.consensus_distance(x)

  return jax.jit(lambda x: jax.lax.scan(step, x, jnp.arange(rounds))[1])(start)


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
rng = np.random.default_rng(0)
a = jnp.asarray(rng.uniform(0.5, 2.0, (N, 5)), jnp.float32)
b = jnp.asarray(3 * rng.normal(size=(N, 5)), jnp.float32)
best = (a * b).sum(axis=0) / a.sum(axis=0)


def loss(params, batch, *, key=None):
  del key
  return 0.5 * jnp.sum(batch['a'] * (params - batch['b']) ** 2)


task = types.Task(
  lambda key: jnp.zeros(5), loss, lambda p, batch: {'loss': loss(p, batch)}
)
cohort = types.Cohort(
  client_ids=jnp.arange(N),
  data={'a': a, 'b': b},
  mask=jnp.ones(N, bool),
  weights=jnp.full(N, 1 / N),
)
plain, lazy = (
  mixing.make_mixer('ring', N),
  mixing.make_mixer('ring', N, weights='lazy_metropolis'),
)
options = {'num_clients': N, 'optimizer': optax.sgd(0.1)}
algorithms = {
  'gossip SGD (D-PSGD)': decentralized.gossip_sgd(task, plain, **options),
  'D²': decentralized.d_squared(task, lazy, **options),
  'EXTRA': decentralized.extra(task, plain, **options),
  'gradient tracking': decentralized.gradient_tracking(task, plain, **options),
}
steps = 20 if SMOKE else 300
for name, algorithm in list(algorithms.items())[: 1 if SMOKE else None]:

  def step(state, key, algorithm=algorithm):
    state, _ = algorithm.step(state, cohort, key=key)
    gap = algorithm.params(state) - best[None]
    return state, jnp.sqrt(jnp.mean(jnp.sum(gap**2, axis=1)))

  state = algorithm.init(jax.random.key(0))
  _, errors = jax.lax.scan(
    step, state, jax.random.split(jax.random.key(1), steps)
  )
  plt.semilogy(np.arange(1, steps + 1), errors, label=name)
plt.xlabel('Round')
plt.ylabel('Distance to the optimum')
plt.legend()

# %% [markdown]
# ## Learning: accuracy against messages
#
# The same comparison on digits with very uneven labels, through the experiment
# binary: `python -m experiments.decentralized_training` is this cell with
# flags, checkpoints and pictures. D-PSGD over a one-peer schedule gets away
# with a fraction of the ring's messages.

# %%
from jaxdl import local
from jaxdl.experiment import supervised

config = supervised.SupervisedConfig(
  num_clients=N, partition='label_dirichlet', alpha=0.1
)
simulation = supervised.simulate(config)
data, real = jax.tree.map(
  lambda x: x[0], (simulation.client_data, simulation.mask)
)


@jax.jit
def accuracy(models):
  score = lambda p: metrics.evaluate(simulation.task, p, simulation.test)
  return jnp.mean(jax.lax.map(score, models)['accuracy'])


def train(mixer, rounds):
  algorithm = decentralized.gossip_sgd(simulation.task, mixer, **options)

  @jax.jit
  def step(state, key):
    batch_key, step_key = jax.random.split(key)
    cohort = local.batch_cohort(batch_key, data, real, batch_size=8)
    return algorithm.step(state, cohort, key=step_key)[0]

  state, curve = algorithm.init(jax.random.key(0)), []
  for t in range(rounds):
    state = step(state, jax.random.fold_in(jax.random.key(1), t))
    if (t + 1) % 10 == 0:
      curve.append(float(accuracy(algorithm.params(state))))
  return curve


rounds = 10 if SMOKE else 200
compared = ('ring', 'exponential', 'one_peer_exponential', 'base')
for name in compared[: 1 if SMOKE else None]:
  sent = np.cumsum(np.resize(mixing.messages(mixers[name]), rounds))
  plt.plot(sent[9::10], train(mixers[name], rounds), label=name)
plt.xlabel('Models sent per client')
plt.ylabel('Test accuracy')
plt.legend()
