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
# # What networks learn
#
# Three small experiments: how signals travel through depth, how a network groks
# a group, and whether models that never met can be merged once their units are
# in one order.

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

from jaxdl import data, mixing, networks
from jaxdl.networks import functional
from jaxdl.theory import effective, grokking, matching

# %% [markdown]
# ## Signals through depth
#
# At the critical point of an activation kernels neither explode nor vanish; off
# it they do so exponentially. `kernel_init='critical'` starts any network there.

# %%
DEPTH = 10 if SMOKE else 100
figure, axes = plt.subplots()
for name in ('relu', 'tanh', 'gelu'):
  point = functional.find_critical(name)
  for factor, style in ((1.0, '-'), (0.9, ':')):
    kernels = effective.kernel_flow(
      name,
      1.0,
      DEPTH,
      weight_variance=factor * point.weight_variance,
      bias_variance=point.bias_variance,
    )
    axes.semilogy(kernels, style, label=f'{name}, {factor:g} of critical')
axes.set(xlabel='Layer', ylabel='Kernel')
axes.legend()

# %% [markdown]
# ## Grokking
#
# Addition modulo 23 from a part of its table. The training set is fitted first,
# the rest is understood later, and only by features that learn: on random ones
# a layer learns examples by heart and understands nothing.

# %%
EPOCHS = 3 if SMOKE else 200
table = grokking.make_data('cyclic(23)', 'fraction(0.8)')
train_set, test_set = (
  jax.tree.map(lambda x: x[0], part) for part in (table.train, table.test)
)
figure, axes = plt.subplots()
for name in ('trained', 'frozen'):
  method = grokking.make_method(
    name,
    table.order,
    hidden=16 if SMOKE else 128,
    optimizer='adam(0.003, weight_decay=0.0002)',
  )
  run = jax.jit(
    lambda key, method=method: grokking.train(
      method, train_set, num_epochs=EPOCHS, key=key, test=test_set
    )[1]
  )
  history = run(jax.random.key(0))
  (line,) = axes.plot(history['test_accuracy'], label=f'{name}, test')
  axes.plot(
    history['accuracy'], ':', color=line.get_color(), label=f'{name}, train'
  )
axes.set(xlabel='Epoch', ylabel='Accuracy')
axes.legend()

# %% [markdown]
# ## Matching before merging
#
# Two networks of different starts have much the same units in different places.
# What lies between them is worse than either until the units of one are brought
# into the order of the other, which changes nothing of what it computes.

# %%
digits = data.load_dataset('digits')
x = jnp.asarray(digits.train_inputs)
network = networks.mlp((8, 8) if SMOKE else (64, 64), 10)
task = networks.classification(network, x[:1], num_classes=10)
batch = {'inputs': x, 'labels': jnp.asarray(digits.train_labels)}
tests = {
  'inputs': jnp.asarray(digits.test_inputs),
  'labels': jnp.asarray(digits.test_labels),
}


@jax.jit
def descend(key):
  """A few hundred steps of gradient descent on all examples."""

  def step(params, _):
    slope = jax.grad(task.loss)(params, batch)
    return jax.tree.map(lambda p, g: p - 0.5 * g, params, slope), None

  return jax.lax.scan(step, task.init(key), length=5 if SMOKE else 300)[0]


first, second = (descend(jax.random.key(seed)) for seed in (0, 1))
aligned = matching.align(network, second, first, x[:500]).params
figure, axes = plt.subplots()
shares = jnp.linspace(0.0, 1.0, 11)
for label, other in (('as they are', second), ('aligned', aligned)):
  accuracy = [
    task.evaluate(
      jax.tree.map(lambda a, b, t=t: (1 - t) * a + t * b, first, other), tests
    )['accuracy']
    for t in shares
  ]
  axes.plot(shares, accuracy, label=label)
axes.set(xlabel='Share of the second model', ylabel='Test accuracy')
axes.legend()

# %% [markdown]
# How alike the units of the two are, best partners and only partners:

# %%
layers = [
  networks.activations(network, p, x[:500])['dense_1'] for p in (first, second)
]
found = matching.correlation(matching.activation_moments(*layers))
summary = matching.match_summary(found.matrix, alive=found.alive_x)
print({name: round(float(v), 3) for name, v in summary._asdict().items()})
merged = mixing.merge(
  jax.tree.map(lambda a, b: jnp.stack([a, b]), first, aligned)
)
print('merged accuracy', float(task.evaluate(merged, tests)['accuracy']))
