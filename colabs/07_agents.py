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
# # Agents that learn together
#
# Games are pure functions, learners are algorithms like any other, and what can
# be solved exactly is.

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
import numpy as np
import optax

from jaxdl import agents, experiment, mixing, problems
from jaxdl.agents import coplayers, public_goods

# %% [markdown]
# ## A game, agents, a learner
#
# Three agents cover three landmarks. A step of a learner plays many games and
# learns from them, in one program.

# %%
ROUNDS = 2 if SMOKE else 150
SMALL = {'num_envs': 4, 'num_steps': 8, 'num_minibatches': 1} if SMOKE else {}
env = agents.make_game('simple_spread(num_agents=3)')
figure, axes = plt.subplots()
for critic in ('own', 'world'):
  policy = agents.actor_critic(env, critic=critic, hidden_sizes=(32, 32))
  learner = agents.ppo(env, policy, optimizer=optax.adam(2e-3), **SMALL)
  problem = problems.games.games(
    env, policy, num_episodes=4 if SMOKE else 128, modes=('sampled',)
  )
  state, history = experiment.train(
    learner, problem, num_rounds=ROUNDS, key=jax.random.key(0), eval_every=10
  )
  name = {'own': 'IPPO', 'world': 'MAPPO'}[critic]
  axes.plot(history['round'], history['test_return'], label=name)
axes.set(xlabel='Update', ylabel='Mean return')
axes.legend()

# %% [markdown]
# One episode of what was learned:

# %%
played = agents.record_episode(env, policy, state.params, key=jax.random.key(1))
figure, axes = plt.subplots()
for i in range(env.num_agents):
  axes.plot(*np.asarray(played['states']['agents'][:, i]).T, marker='.')
axes.plot(*np.asarray(played['states']['landmarks'][0]).T, 'k*', markersize=12)
axes.set_aspect('equal')

# %% [markdown]
# ## Agents on a network
#
# Learners with parameters of their own gossip over a ring, by name. What the
# ring's mixing matrix does is said by its spectrum.

# %%
made = agents.make_learner(
  f'ippo({"num_envs=4, num_steps=8, num_minibatches=1" if SMOKE else ""})@ring',
  env,
  num_updates=ROUNDS,
)
problem = problems.games.games(
  env, made.policy, num_episodes=4 if SMOKE else 128, modes=('sampled',)
)
_, history = experiment.train(
  made.algorithm,
  problem,
  num_rounds=2 if SMOKE else 20,
  key=jax.random.key(0),
  eval_every=10,
)
print('messages in an update', history['messages'][0])
print(mixing.spectrum(mixing.make_mixer('ring', 3)))

# %% [markdown]
# ## A population of games
#
# Numbers of a game are leaves: a thousand public goods games are one program.
# The stronger the synergy, the more all contribute.

# %%
gammas = jnp.linspace(0.0, 0.5, 5 if SMOKE else 1000)
game = public_goods.mac_spgg()
found = jax.jit(
  jax.vmap(lambda g: public_goods.solve(game.replace(gamma=g)).contributions)
)(gammas)
figure, axes = plt.subplots()
for i in range(3):
  axes.plot(gammas, found[:, i], label=f'agent {i + 1}')
axes.set(xlabel='Synergy', ylabel='Contribution in equilibrium')
axes.legend()

# %% [markdown]
# ## Strategies with a memory of one round
#
# Mean payoffs of a hundred rounds are a closed form, so a whole square of
# strategies is evaluated at once, with gradients.

# %%
dilemma = coplayers.prisoner()
names = ('all_c', 'all_d', 'tft', 'grim', 'wsls', 'random')
table = jnp.stack([coplayers.STRATEGIES.make(name) for name in names])
value = lambda p, q: coplayers.memory_one_returns(
  p, q, dilemma, num_rounds=100
)[0]
payoffs = jax.jit(jax.vmap(jax.vmap(value, (None, 0)), (0, None)))(table, table)
figure, axes = plt.subplots()
picture = axes.imshow(payoffs, cmap='coolwarm')
axes.set_xticks(range(len(names)), names)
axes.set_yticks(range(len(names)), names)
figure.colorbar(picture, label='Payoff of the row')
