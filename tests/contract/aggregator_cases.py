# SPDX-License-Identifier: Apache-2.0
"""Every registered rule, alone and after pre-aggregators, as one function."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import aggregators

NUM_CLIENTS = 16
NUM_BYZANTINE = 2
SIZE = 8
# The rule after a pre-aggregator; any other goes before multi_krum.
AFTER = {'bucketing': 'median', 'clipping': 'centered_clipping'}


# What is claimed beyond permutation invariance. A rule that is not listed
# claims nothing here.
TRANSLATION = frozenset({
  'mean', 'median', 'trimmed_mean', 'meamed', 'phocas', 'krum', 'multi_krum',
  'repeated_krum', 'bulyan', 'geometric_median', 'mda', 'smea', 'caf', 'dnc',
})  # fmt: skip
SCALE = TRANSLATION | {'cge', 'signguard', 'foolsgold'}
ROTATION = frozenset({
  'mean', 'krum', 'multi_krum', 'geometric_median', 'mda', 'smea', 'caf',
  'repeated_krum', 'cge', 'dnc', 'flag', 'foolsgold', 'centered_clipping',
})  # fmt: skip
NOT_ROBUST = frozenset({'mean'})
BY_DIRECTION = frozenset({'flag', 'foolsgold'})
# As many steps as the data ask for; no slope.
NO_GRADIENT = frozenset({'caf', 'sign_majority'})
NO_MASK = frozenset({'mda', 'smea'})
# Rules that give the update itself back if there is only one.
NOT_IDENTITY = frozenset({'flag', 'sign_majority'})


@dataclasses.dataclass(frozen=True)
class Case:
  rule: str
  pre: tuple[str, ...] = ()

  @property
  def label(self):
    return '_'.join((*self.pre, self.rule))

  @property
  def spec(self):
    options = {'signguard': '(sample_fraction=1.0)'}
    return '+'.join((*self.pre, self.rule + options.get(self.rule, '')))

  @property
  def bucketed(self):
    return 'bucketing' in self.pre


PLAIN = tuple(Case(name) for name in aggregators.RULES)
CHAINS = tuple(
  Case(AFTER.get(pre, 'multi_krum'), (pre,)) for pre in aggregators.PRE_RULES
)
ALL = PLAIN + CHAINS


def named(cases):
  return [(case.label, case) for case in cases]


def flat_updates(seed=0, num_clients=NUM_CLIENTS, size=SIZE):
  draw = np.random.default_rng(seed)
  return draw.normal(0.5, 1.0, (num_clients, size)).astype(np.float32)


def as_tree(flat):
  """The same coordinates in the order in which a tree is flattened."""
  n = len(flat)
  return {'a': flat[:, :4].reshape(n, 2, 2), 'b': flat[:, 4:]}


def as_flat(update):
  return np.concatenate(
    [np.asarray(x, np.float64).reshape(-1) for x in jax.tree.leaves(update)]
  )


def build(case, num_clients=NUM_CLIENTS, num_byzantine=NUM_BYZANTINE):
  """`fn(updates, mask=None, axis_name=None) -> update` of a fresh server."""
  server = aggregators.make_aggregator(
    case.spec, num_clients=num_clients, num_byzantine=num_byzantine
  )

  def fn(updates, mask=None, axis_name=None):
    params = jax.tree.map(lambda x: jnp.zeros_like(jnp.asarray(x)[0]), updates)
    state = server.init(params)
    if isinstance(state, aggregators.FoolsGoldState):  # One row per client.
      state = jax.tree.map(
        lambda h, x: h[: x.shape[0]], state, type(state)(updates)
      )
    return server.apply(
      updates, state, mask=mask, key=jax.random.key(3), axis_name=axis_name
    )[0]

  return fn


@functools.cache
def program(case):
  """The rule under jit on the usual tree, and how often it was traced."""
  traces = []
  fn = build(case)

  @jax.jit
  def run(updates):
    traces.append(1)
    return fn(updates)

  return run, traces


@functools.cache
def flat_program(case):
  return jax.jit(build(case))


def tree(seed=0):
  return as_tree(flat_updates(seed))


def on_tree(case, flat):
  return as_flat(program(case)[0](as_tree(flat)))


def close(got, want, tol=2e-5):
  np.testing.assert_allclose(got, want, rtol=tol, atol=tol)
