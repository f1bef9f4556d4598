# SPDX-License-Identifier: Apache-2.0
"""A part of the benchmark of agents: iterated dilemmas.

Values of pairs of memory-one strategies in closed form against a loop in NumPy
and against simulation, and a recurrent agent whose inputs are tables against
one that embeds them in every round.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import _timing
from jaxdl.agents import coplayers
from jaxdl.agents.coplayers import _gru
from jaxdl.networks import functional

ROUNDS = 100
PAYOFFS = np.array([1.0, -1.0, 2.0, 0.0])
# Microseconds for a pair that are asked for: 10^5 pairs in a second.
TARGET_US = 10.0


def _loop(p, q):
  """Mean payoffs of the first players, pair by pair, as a loop has them."""
  out = []
  for mine, other in zip(p, q[:, [0, 1, 3, 2, 4]], strict=True):
    joint = lambda a, b: np.array(
      [a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b)]
    )
    d = joint(mine[0], other[0])
    matrix = np.stack([joint(mine[i], other[i]) for i in range(1, 5)])
    total = 0.0
    for _ in range(ROUNDS):
      total += d @ PAYOFFS
      d = d @ matrix
    out.append(total / ROUNDS)
  return np.array(out)


def closed_form(
  *, num_pairs: int = 100_000, rounds: int = 7
) -> list[dict[str, str]]:
  """Mean payoffs over 100 rounds of pairs of strategies.

  Args:
    num_pairs: evaluated as one program.
    rounds: turns of every contender.

  Returns:
    Rows of a table. The loop runs over a 200th and a simulation of one game for
    each pair over a tenth of the pairs; both are told per pair.
  """
  rng = np.random.default_rng(0)
  p, q = rng.uniform(size=(2, num_pairs, 5)).astype(np.float32)
  game = coplayers.prisoner()
  few, some = max(num_pairs // 200, 2), max(num_pairs // 10, 2)

  @jax.jit
  def values(p, q):
    return jax.vmap(
      lambda a, b: coplayers.memory_one_returns(a, b, game, num_rounds=ROUNDS)
    )(p, q)

  @jax.jit
  def grads(p, q):
    value = lambda a, b: coplayers.memory_one_returns(
      a, b, game, num_rounds=ROUNDS
    )[0]
    return jax.vmap(jax.grad(value))(p, q)

  @jax.jit
  def simulated(p, q, key):
    def one(a, b, key):
      return coplayers.play(
        game,
        coplayers.memory_one_policy(a),
        coplayers.memory_one_policy(b),
        num_rounds=ROUNDS,
        key=key,
      )[0].rewards.mean()

    return jax.vmap(one)(p, q, jax.random.split(key, len(p)))

  fns = {
    'closed form': functools.partial(values, p, q),
    'its gradients': functools.partial(grads, p[:some], q[:some]),
    'NumPy loop': functools.partial(_loop, p[:few], q[:few]),
    'one game of each': functools.partial(
      simulated, p[:some], q[:some], jax.random.key(0)
    ),
  }
  gap = np.abs(
    np.asarray(values(p[:few], q[:few]))[:, 0] - _loop(p[:few], q[:few])
  )
  if gap.max() > 1e-4:
    raise ValueError(f'closed form and loop differ by {gap.max()}: not timed.')
  times = _timing.measure(fns, rounds=rounds)
  sizes = dict(zip(fns, (num_pairs, some, few, some), strict=True))
  each = {name: times.ms(name) * 1e3 / sizes[name] for name in fns}
  rows = []
  for name in fns:
    bound = TARGET_US if name == 'closed form' else None
    rows.append(
      _timing.fact(f'{name}, a pair takes', each[name], 'us', below=bound)
    )
  for name in ('NumPy loop', 'one game of each'):
    ratio = times.ratio(name, 'closed form') * num_pairs / sizes[name]
    rows.append(_timing.fact(f'{name} takes', ratio, 'times as long'))
  return rows


def symbols(
  *, batch: int = 256, hidden: int = 128, rounds: int = 7
) -> list[dict[str, str]]:
  """A GRU over observations: tables of gates against embedding every round.

  Args:
    batch: games.
    hidden: width.
    rounds: turns of every contender.

  Returns:
    Rows of a table, of the gradient of a sum of outputs over 100 rounds.
  """
  leaves = _gru.leaves({'seen': 5}, {'out': 2}, width=hidden, embed=32)
  params = functional.draw(jax.random.key(0), leaves, jnp.float32)
  seen = jax.random.randint(jax.random.key(1), (batch, ROUNDS), 0, 5)

  def tables(params, seen):
    ready = _gru.ready(params)

    def body(carry, x):
      carry = _gru.feed(ready, carry, 'seen', x)
      return carry, _gru.head(ready, carry, 'out').sum()

    return jax.lax.scan(body, _gru.start(ready), seen)[1].sum()

  def embedded(params, seen):
    def body(carry, x):
      x = jax.nn.one_hot(x, 5)
      x = functional.dense(params['embed']['seen'], x)
      carry = functional.gru(params['cell'], carry, x)
      y = functional.dense(params['head']['out'], jax.nn.swish(carry))
      return carry, y.sum()

    return jax.lax.scan(body, jnp.zeros((hidden,)), seen)[1].sum()

  fns = {}
  for name, fn in (('tables', tables), ('embedding', embedded)):
    mean = lambda p, x, fn=fn: jax.vmap(fn, (None, 0))(p, x).mean()
    fns[name] = functools.partial(jax.jit(jax.grad(mean)), params, seen)
  a, b = (jax.tree.leaves(fn()) for fn in fns.values())
  gap = max(float(jnp.abs(x - y).max()) for x, y in zip(a, b, strict=True))
  size = max(float(jnp.abs(x).max()) for x in b)
  if gap > 1e-2 * size:
    raise ValueError(f'gradients differ by {gap} of {size}: not timed.')
  times = _timing.measure(fns, rounds=rounds)
  claim = _timing.Claim('tables', 'embedding')
  return [claim.row(times)]
