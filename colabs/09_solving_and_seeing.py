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
# # Solving and seeing
#
# Policies that divide and conquer, experts cut from dense layers, vehicles that
# see together.

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
from IPython import display

from jaxdl import combinatorial, experiment, networks, plots, problems
from jaxdl.combinatorial import classical
from jaxdl.perception import cooperation, detection, experts
from jaxdl.problems import cooperation as bev

FOLDER = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## Divide and conquer
#
# One policy constructs a tour, another one solves pieces of it anew. Both learn
# together, from nothing but lengths of tours.

# %%
problem = problems.combinatorial(
  'tsp',
  num_nodes=12 if SMOKE else 60,
  size=4 if SMOKE else 12,
  divider='agnn(width=16, depth=2, num_neighbors=10)',
  conqueror='icam(width=16, depth=1)' if SMOKE else 'icam(width=32, depth=2)',
  training={'num_samples': 4, 'num_rollouts': 6},
  batch_size=2 if SMOKE else 4,
  num_test=4,
  num_stages=3 if SMOKE else 10,
  baseline='nearest_neighbor',
)
algorithm = combinatorial.dcr(problem.test.episode, optimizer=optax.adam(1e-3))
state, history = experiment.train(
  algorithm,
  problem,
  num_rounds=2 if SMOKE else 100,
  key=jax.random.key(0),
  eval_every=2 if SMOKE else 25,
)
figure, axes = plt.subplots()
for name, label in (('divided', 'constructed'), ('objective', 'conquered')):
  axes.plot(history['round'], history[f'test_{name}'], label=label)
axes.set(xlabel='Steps', ylabel='Length of tours')
axes.legend()

# %% [markdown]
# A tour begins anywhere, that of a simple rule for instance: no stage makes it
# longer.

# %%
instance = problem.test.family.generate(jax.random.key(7), 12 if SMOKE else 60)
first = classical.baseline('nearest_neighbor', problem.test.family, instance)
policies = combinatorial.make_policies(
  problem.test.family,
  divider='agnn(width=16, depth=2, num_neighbors=10)',
  conqueror='icam(width=16, depth=1)' if SMOKE else 'icam(width=32, depth=2)',
)
tour, lengths = jax.jit(
  lambda params, key: combinatorial.solve(
    problem.test.family,
    policies,
    params,
    instance,
    key,
    size=4 if SMOKE else 12,
    num_stages=4 if SMOKE else 20,
    start=first,
  )
)(algorithm.params(state), jax.random.key(1))
print('stage by stage:', np.asarray(lengths).round(3))
rows = [
  row | {'variant': name, 'split': 'solutions'}
  for name, solution in (('nearest neighbor', first), ('conquered', tour))
  for row in combinatorial.solution_rows('tsp', instance, solution, size=12)
]
display.Image(str(plots.solutions(rows, FOLDER / 'tours.png')))

# %% [markdown]
# ## Experts cut from any network
#
# Layers of a trained network become mixtures of experts that compute, to begin
# with, just what the layers did.

# %%
tokens = jax.random.randint(jax.random.key(0), (2, 16), 0, 64)
dense = networks.transformer_lm(64, width=16, depth=2, num_heads=2)
params = dense.init(jax.random.key(1), tokens)
moe = experts.dense_to_moe(
  dense, params, tokens, key=jax.random.key(2), experts='moe(8, top_k=2)'
)
gap = moe.network.apply(moe.params, tokens) - dense.apply(params, tokens)
print('largest difference:', float(jnp.max(jnp.abs(gap))))

# %% [markdown]
# ## Scenes for a detector that is asked in words
#
# Common, rare and never seen pairs of color and shape.

# %%
scenes = detection.Scenes(image_size=32 if SMOKE else 64)
batch = detection.draw_scenes(jax.random.key(3), scenes, 4, testing=True)
figure, panels = plt.subplots(1, 4)
for axes, picture, boxes, present in zip(
  panels, batch['inputs'], batch['boxes'], batch['present'], strict=True
):
  axes.imshow(picture)
  axes.set_axis_off()
  corners = np.asarray(detection.to_corners(boxes)) * picture.shape[0]
  for x, y, right, top in corners[np.asarray(present)]:
    axes.add_patch(plt.Rectangle((x, y), right - x, top - y, fill=False))

# %% [markdown]
# ## Vehicles that ask for what they are uncertain of
#
# Agents see discs of a crossing. The first one asks the others for channels of
# their maps that changed; what is sent has a price.

# %%
world = bev.bev_segmentation(
  'roads(grid=8, frames=3, agents=2)' if SMOKE else 'roads(grid=16)',
  network='conv(channels=4)' if SMOKE else 'conv(channels=8)',
  num_tests=4 if SMOKE else 32,
)
steps = 3 if SMOKE else 300
trimmed = world.algorithm(
  optax.adam(3e-3),
  schedule=cooperation.Schedule(steps // 2, 0.1, steps),
)
state, history = experiment.train(
  trimmed, world, num_rounds=steps, key=jax.random.key(0), eval_every=steps
)
for name in ('iou', 'percent', 'mbps'):
  print(name, history[f'test_{name}'].round(3))
