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
# # Federated learning
#
# A hundred clients hold digits of few kinds each; ten of them take part in a
# round. We compare algorithms that correct what local steps do, put rules,
# compressors and privacy on the way of the messages, and write one of our own.

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

from jaxdl import experiment, federated, local, privacy, problems

ROUNDS = 4 if SMOKE else 100
N = 20 if SMOKE else 100

# %% [markdown]
# ## Who holds what
#
# The problem deals the examples, draws the cohorts and tests every client on
# examples of its own.

# %%
problem = problems.clients(
  'digits',
  num_clients=N,
  partition='label_dirichlet(alpha=0.1, min_size=1)',
  sampling='uniform(num_sampled=10)',
  network='mlp((32,))',
)
work = local.LocalWork('sgd(0.1)', batch_size=10, num_epochs=1)


def train(spec, channel=None):
  """Test accuracy over the rounds, and what the last one measured."""
  algorithm = federated.make_algorithm(
    spec, problem.task, N, work=work, channel=channel, cohort_size=10
  )
  state, history = experiment.train(
    algorithm,
    problem,
    num_rounds=ROUNDS,
    key=jax.random.key(0),
    eval_every=max(ROUNDS // 20, 1),
  )
  return state, history


# %% [markdown]
# ## Algorithms

# %%
figure, axes = plt.subplots()
for spec in ('fedavg', 'fedprox(mu=0.1)', 'scaffold', 'fedopt'):
  _, history = train(spec)
  axes.plot(history['round'], history['test_accuracy'], label=spec)
axes.set(xlabel='Round', ylabel='Test accuracy')
axes.legend()

# %% [markdown]
# ## The way of the messages
#
# A channel has any compressor, rule, attack, privacy mechanism and secure sum.

# %%
channels = {
  'whole updates': None,
  'top 1 %, errors sent later': federated.Channel(
    compressor='ef+top_k(keep=0.01)'
  ),
  'private': federated.Channel(
    privacy='central(clip=0.5, noise_multiplier=0.1)'
  ),
  'two of ten attack': federated.Channel(
    aggregator='nnm+median', attack='alie', num_byzantine=2
  ),
}
figure, axes = plt.subplots()
for name, channel in channels.items():
  state, history = train('scaffold', channel)
  up = float(state.megabytes[0])
  axes.plot(
    history['round'], history['test_accuracy'], label=f'{name}: {up:.1f} MB'
  )
axes.set(xlabel='Round', ylabel='Test accuracy')
axes.legend()

# %% [markdown]
# What a round of ten in a hundred costs in privacy, if each takes part by chance:

# %%
spent = privacy.epsilon(
  noise_multiplier=1.0, rate=0.1, num_rounds=100, delta=1e-5
)
print(f'epsilon = {spent:.2f} at delta = 1e-5')

# %% [markdown]
# ## A method of your own
#
# A method says what clients and server do, and nothing else: here clients send
# only the signs of what they changed, times a step of 0.02.

# %%
base = federated.make_method('fedavg', problem.task, work)


def train_signs(shared, own, data, key):
  """Signs in place of changes."""
  sent = base.train(shared, own, data, key)
  signs = jax.tree.map(lambda x: 0.02 * jnp.sign(x), sent.message)
  return sent._replace(message=signs)


_, history = train(base._replace(train=train_signs, name='signs'))
print('accuracy of signs', float(history['test_accuracy'][-1]))
