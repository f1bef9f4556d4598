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
# # Graphs
#
# Nodes that clients hold, links that nodes predict by talking over them, and
# what a round of clients costs on a mesh of devices.

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
import networkx as nx
import numpy as np
import optax

from jaxdl import experiment, federated, graphs, local, parallel, problems
from jaxdl.graphs import links

# %% [markdown]
# ## A graph is an object like any other
#
# Any networkx graph goes in. Networks on graphs are pairs of functions, and all
# sizes are static: padding never moves a result.

# %%
graph = graphs.from_networkx(nx.karate_club_graph())
network = graphs.make_network('gat(num_heads=2)', num_outputs=2)
x = np.eye(graph.num_nodes, dtype=np.float32)
params = network.init(jax.random.key(0), graph, x)
print(network.apply(params, graph, x).shape)

# %% [markdown]
# ## Unlike nodes are linked
#
# Three clients hold parts of a graph whose links join unlike nodes more often
# than like ones. Averaging over neighbors blurs the classes; filters of the
# spectrum, learned together, need not.

# %%
ROUNDS = 2 if SMOKE else 60
figure, axes = plt.subplots()
for name in ('gnodeformer', 'gcn'):
  problem = problems.graphs.node_classification(
    'block_model(heterophilic=True)', name, num_clients=3
  )
  algorithm = federated.make_algorithm(
    'fedavg', problem.task, 3, work=local.LocalWork('adam(0.01)', num_steps=3)
  )
  _, history = experiment.train(
    algorithm, problem, num_rounds=ROUNDS, key=jax.random.key(0), eval_every=5
  )
  axes.plot(history['round'], history['test_accuracy'], label=name)
axes.set(xlabel='Round', ylabel='Test accuracy')
axes.legend()

# %% [markdown]
# ## Nodes that predict their own links
#
# Half of the links are hidden. Communities of nodes learn to find them: each
# knows the links of its own nodes and talks to those that it is linked with.

# %%
ROUNDS = 1 if SMOKE else 20
data = problems.links.load_links(
  'geometric(num_nodes=200)' if SMOKE else 'geometric',
  keep_edges=0.5,
  batch_size=16 if SMOKE else 64,
)
optimizer = optax.adam(5e-3)
problem = data.clients('ncn', 'mpnn(32)', parts='communities(num_clients=4)')
histories = {}
for name in ('gossip_sgd', 'alone'):
  algorithm = problems.links.over_graph(name, problem, optimizer=optimizer)
  _, histories[name] = experiment.train(
    algorithm, problem, num_rounds=ROUNDS, key=jax.random.key(0), eval_every=2
  )
figure, axes = plt.subplots()
for name, history in histories.items():
  axes.plot(history['round'], history['test_auc'], label=name)
axes.set(xlabel='Epoch', ylabel='Test AUC, mean over communities')
axes.legend()

# %% [markdown]
# What common neighbors alone say, without learning:

# %%
adjacency, _ = data.of()
test = jax.tree.map(lambda v: v[0], data.tested)
scores = [
  links.adamic_adar(adjacency, test[name])
  for name in ('test', 'test_negatives')
]
print('Adamic-Adar', float(links.roc_auc(*scores)))

# %% [markdown]
# ## What a round costs on devices
#
# 64 clients with a million parameters on eight devices: a rule that sorts every
# coordinate wants coordinates spread, one that compares clients wants products.

# %%
for reads in ('sum', 'order', 'gram'):
  found = parallel.round_layouts(64, [(1000, 1000)], reads, 8)
  print(
    reads, {f.label: f'{sum(f.moved.values()) / 1e6:.0f} MB' for f in found}
  )
