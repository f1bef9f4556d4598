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
# # Robust aggregation
#
# Fifteen workers train one model; three of them lie. We look at what robust
# rules make of their updates, compose rules in Gram space, and train.

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
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from jaxdl import aggregators, attacks, experiment, federated, problems

plt.style.use('tableau-colorblind10')

# %% [markdown]
# ## One round by hand
#
# Updates are a *stacked tree*: any pytree whose leaves have a leading client
# axis. Twelve honest workers agree up to noise, three send the ALIE vector.

# %%
key = jax.random.key(0)
truth = {'w': jnp.ones((20, 5)), 'b': jnp.zeros(5)}
honest = jax.tree.map(
  lambda x: x[None] + 0.5 * jax.random.normal(key, (12, *x.shape)), truth
)
sent = attacks.alie(honest, num_byzantine=3, scale=3.0)
updates = jax.tree.map(lambda h, s: jnp.concatenate([h, s]), honest, sent)

rules = {
  'mean': aggregators.mean,
  'median': aggregators.median,
  'krum': functools.partial(aggregators.krum, num_byzantine=3),
  'nnm+trimmed_mean': aggregators.chain(
    functools.partial(aggregators.nnm, num_byzantine=3),
    functools.partial(aggregators.trimmed_mean, num_trimmed=3),
  ),
  # Flag averages directions; this gives them the median length back.
  'flag': functools.partial(aggregators.flag_aggregator, rescale='median_norm'),
}
if SMOKE:  # Most of the time is compilation.
  rules = {'mean': rules['mean'], 'krum': rules['krum']}


def distance(a, b):
  return float(
    jnp.sqrt(
      sum(
        jnp.sum((x - y) ** 2)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
      )
    )
  )


honest_mean = jax.tree.map(lambda x: x.mean(0), honest)
for name, rule in rules.items():
  print(f'{name:18s} {distance(jax.jit(rule)(updates), honest_mean):.3f}')

# %% [markdown]
# ## Who was listened to?
#
# `weights_of` runs a rule, or a chain of them, and returns the weights that the
# clients got instead of the update; it costs no further pass over the data.

# %%
krum = functools.partial(aggregators.krum, num_byzantine=3)
nnm = functools.partial(aggregators.nnm, num_byzantine=3)
compared = {
  'krum': krum,
  'nnm+krum': aggregators.chain(nnm, krum),
  'geometric median': aggregators.geometric_median,
}
fig, axes = plt.subplots(figsize=(6, 2.6), layout='constrained')
for i, (name, rule) in enumerate(compared.items()):
  value = jax.jit(functools.partial(aggregators.weights_of, rule))(updates)
  axes.bar(np.arange(15) + 0.25 * (i - 1), value, 0.25, label=name)
axes.axvspan(11.5, 14.5, color='0.9', zorder=0)
axes.set(xlabel='Worker (gray: adversarial)', ylabel='Weight')
axes.legend()
plt.show()

# %% [markdown]
# ## Training
#
# One problem, one algorithm, any rule by its name: digits dealt to fifteen
# workers, three of which send eight times the honest mean, backwards. The mean
# breaks, coordinate-wise rules lose some, and a chain that first mixes each
# update with its nearest neighbors holds. Your own arrays do as well:
# `problems.classification((inputs, labels), ...)`.

# %%
problem = problems.classification('digits', num_clients=15, batch_size=8)


def train(rule):
  algorithm = federated.robust_sgd(
    problem.task,
    rule,
    15,
    attack='sign_flip(scale=8.0)',
    num_byzantine=3,
    optimizer=optax.sgd(0.05, momentum=0.9),
  )
  return experiment.train(
    algorithm,
    problem,
    num_rounds=3 if SMOKE else 150,
    key=jax.random.key(0),
    eval_every=3,
  )


# %%
rules = ('mean', 'median', 'nnm+trimmed_mean')
fig, axes = plt.subplots(figsize=(6, 3), layout='constrained')
for rule in rules[: 1 if SMOKE else None]:
  state, history = train(rule)
  axes.plot(history['round'], history['test_accuracy'], label=rule)
axes.set(xlabel='Round', ylabel='Test accuracy', ylim=(0, 1))
axes.legend()
plt.show()
