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
# # Agents that talk
#
# Language models behind any endpoint, on networks and in teams.

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
import matplotlib.pyplot as plt
import numpy as np
from IPython import display

from jaxdl import language
from jaxdl.language import agentsnet, loopback, teams

# %% [markdown]
# ## A server of scripted models
#
# It speaks the protocol of real endpoints, so that everything below runs
# without a key. With an address and a key of yours, the same lines ask a
# language model: `language.Endpoint('model', 'https://.../v1')`.

# %%
server = loopback.serve()
client = language.Client(
  language.Endpoint('classical', server.base_url), budget_tokens=500_000
)
hello = [{'role': 'user', 'content': 'Is anybody there?'}]
echo = language.Client(language.Endpoint('echo', server.base_url))
print(language.run(echo.ask(hello)).text)

# %% [markdown]
# ## Agents on a network
#
# Every agent knows its neighbors alone, and all together look for a cover of the
# links. Scripted models run a classical algorithm by reading their chats.

# %%
graph = agentsnet.make_graph('ba', 6 if SMOKE else 16, 1825)
outcome = language.run(
  agentsnet.run_instance(
    agentsnet.llm_agents(client), graph, 'vertex_cover', rounds=4
  )
)
print('score', outcome.score, 'scripted:', client.scripted)
transcript = agentsnet.transcript_of(outcome, 'cover', model='classical')
display.HTML(language.viewer(transcript)) if not SMOKE else None

# %% [markdown]
# The same algorithm as one program, on a hundred networks at once:

# %%
graphs = [
  agentsnet.make_graph('ws', 16, seed) for seed in range(4 if SMOKE else 100)
]
batch = agentsnet.batch_graphs(graphs)
figure, axes = plt.subplots()
for rounds in (1, 2, 3, 4, 6):
  answers = agentsnet.run_sync(
    'auto', 'vertex_cover', batch, key=jax.random.key(0), rounds=rounds
  )
  found = np.asarray(agentsnet.score('vertex_cover', batch, answers))
  axes.plot(rounds, found.mean(), 'o')
axes.set(xlabel='Rounds of messages', ylabel='Mean score of covers')

# %% [markdown]
# ## A team that edits itself
#
# Twelve classifiers vote, five of them collude. Critics say who does harm, and an
# edit stays if samples that nobody learned from do not object.

# %%
task = teams.digits(seed=0)
state, log = teams.search(
  task.layers,
  task.gradient,
  task.validation,
  key=jax.random.key(0),
  num_proposals=2 if SMOKE else 12,
  method='ann',
)
kept = np.asarray(state.team.mask[0])
for role in ('honest', 'colluder', 'noisy'):
  own = np.array([r == role for r in task.roles[0]])
  print(role, kept[own].sum(), 'of', own.sum(), 'count')

# %%
language.run(client.aclose())
language.run(echo.aclose())
server.close()
