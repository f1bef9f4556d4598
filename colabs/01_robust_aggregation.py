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
import importlib.util
import os

if importlib.util.find_spec('jaxdl') is None:
  # %pip install -q "jaxdl[experiments]"
  pass

SMOKE = bool(os.environ.get('JAXDL_SMOKE'))

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from jaxdl import aggregators, attacks, federated, metrics
from jaxdl.experiment import supervised

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
  'flag': aggregators.flag_aggregator,
}


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
# Rules that need only inner products between clients return their weights, and
# chains of pre-aggregators cost no further pass over the data.

# %%
chain = aggregators.chain(
  functools.partial(aggregators.nnm, num_byzantine=3),
  functools.partial(aggregators.krum_weights, num_byzantine=3),
)
weights = {
  'krum': aggregators.krum_weights(updates, num_byzantine=3),
  'nnm+krum': chain(updates),
  'geometric median': aggregators.geometric_median_weights(updates),
}
fig, axes = plt.subplots(figsize=(6, 2.6))
for i, (name, value) in enumerate(weights.items()):
  axes.bar(np.arange(15) + 0.25 * (i - 1), value, 0.25, label=name)
axes.axvspan(11.5, 14.5, color='0.9', zorder=0)
axes.set(xlabel='Worker (grey: adversarial)', ylabel='Weight')
axes.legend()
plt.show()

# %% [markdown]
# ## Training
#
# One algorithm, any rule: digits dealt to fifteen workers, three of which send
# noise that always points the same way.

# %%
config = supervised.SupervisedConfig(num_clients=15, batch_size=8)
simulation = supervised.simulate(config)
client_data = jax.tree.map(lambda x: x[0], simulation.client_data)
attack = attacks.make_attack('uniform', num_clients=15, num_byzantine=3)
num_rounds = 5 if SMOKE else 150


def train(name, pre=()):
  algorithm = federated.robust_sgd(
    simulation.task,
    aggregators.make_aggregator(name, num_clients=15, num_byzantine=3, pre=pre),
    num_clients=15,
    num_byzantine=3,
    attack=attack,
    optimizer=optax.sgd(0.05, momentum=0.9),
  )

  @jax.jit
  def one_round(state, key):
    batch_key, step_key = jax.random.split(key)
    cohort = federated.batch_cohort(
      batch_key, client_data, simulation.mask[0], batch_size=8
    )
    return algorithm.step(state, cohort, key=step_key)

  evaluate = jax.jit(
    lambda state: metrics.evaluate(
      simulation.task, algorithm.params(state), simulation.test
    )
  )
  state, accuracy = algorithm.init(jax.random.key(0)), []
  for key in jax.random.split(jax.random.key(1), num_rounds):
    state, _ = one_round(state, key)
    accuracy.append(float(evaluate(state)['accuracy']))
  return accuracy


# %%
curves = {
  'mean': train('mean'),
  'median': train('median'),
  'nnm+trimmed_mean': train('trimmed_mean', pre=('nnm',)),
}
fig, axes = plt.subplots(figsize=(6, 3))
for name, accuracy in curves.items():
  axes.plot(accuracy, label=name)
axes.set(xlabel='Round', ylabel='Test accuracy', ylim=(0, 1))
axes.legend()
plt.show()
