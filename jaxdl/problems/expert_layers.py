# SPDX-License-Identifier: Apache-2.0
"""Models whose feed-forward layers become experts, alone and over clients.

`expert_tokens` pretrains a small transformer that reads digits row by row, and
`tuned_rows` converts and tunes it in several ways. `with_experts` converts the
network of a problem that clients learn.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import data as data_lib, networks
from jaxdl.core import checks, types
from jaxdl.perception import experts
from jaxdl.problems import _classification, _text

DENSE = 'dense'


class _Block(nn.Module):
  """Attention of all rows to all rows, and a perceptron."""

  num_heads: int
  hidden: int

  @nn.compact
  def __call__(self, x):
    width = x.shape[-1]
    heads = (*x.shape[:-1], self.num_heads, width // self.num_heads)
    h = networks.Dense(3 * width, name='query_key_value')(
      nn.LayerNorm(name='attention_norm')(x)
    )
    q, k, v = (part.reshape(heads) for part in jnp.split(h, 3, axis=-1))
    h = jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
    x = x + networks.Dense(width, name='attention_out')(h)
    h = nn.LayerNorm(name='perceptron_norm')(x)
    h = jax.nn.relu(networks.Dense(self.hidden, name='perceptron_in')(h))
    return x + networks.Dense(width, name='perceptron_out')(h)


class _Rows(nn.Module):
  """Rows of an image as tokens, blocks, and the mean."""

  num_outputs: int
  width: int
  depth: int
  num_heads: int
  hidden: int

  @nn.compact
  def __call__(self, x):
    x = x.reshape(*x.shape[:2], -1)
    init = nn.initializers.normal(0.1)
    places = self.param('positions', init, (x.shape[1], self.width))
    x = networks.Dense(self.width, name='rows')(x) + places[None]
    for n in range(self.depth):
      x = _Block(self.num_heads, self.hidden, name=f'block_{n}')(x)
    x = jnp.mean(nn.LayerNorm(name='norm')(x), axis=1)
    return networks.Dense(self.num_outputs, name='head')(x)


def row_transformer(
  num_outputs: int,
  *,
  width: int = 24,
  depth: int = 3,
  num_heads: int = 4,
  hidden: int = 48,
) -> types.Network:
  """Builds a transformer that reads the rows of an image as tokens.

  Args:
    num_outputs: classes.
    width: d, a multiple of `num_heads`.
    depth: blocks.
    num_heads: heads of attention.
    hidden: h, of the perceptrons.

  Returns:
    `Network`: f[B, H, W] or f[B, H, W, C] to f[B, num_outputs].

  Raises:
    ValueError: if an option is out of range.

  Example:
    >>> network = row_transformer(3, width=4, depth=1, num_heads=2, hidden=8)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 8, 8)))
    >>> network.apply(params, jnp.zeros((2, 8, 8))).shape
    (2, 3)
  """
  checks.integer(num_outputs, name='num_outputs', low=1)
  checks.num_layers(depth, name='depth')
  checks.integer(hidden, name='hidden', low=1)
  checks.integer(num_heads, name='num_heads', low=1)
  if checks.integer(width, name='width', low=1) % num_heads:
    raise ValueError(
      f'width={width} must be a multiple of num_heads={num_heads}.'
    )
  return networks.from_linen(
    _Rows(num_outputs, width, depth, num_heads, hidden)
  )


class ExpertTokens(NamedTuple):
  """Digits as rows, a dense model, and what is needed to tune it.

  Attributes:
    network: the dense transformer.
    params: as pretrained.
    examples: 'inputs' f32[n, 8, 8] and 'labels' i32[n].
    test: the same, for tests.
    sizes: of the transformer, (width, depth, num_heads, hidden).
    batch_size: B.
    seed: of everything.
  """

  network: types.Network
  params: chex.ArrayTree
  examples: dict[str, chex.Array]
  test: dict[str, chex.Array]
  sizes: tuple[int, int, int, int]
  batch_size: int
  seed: int


def expert_tokens(
  *,
  width: int = 24,
  depth: int = 3,
  num_heads: int = 4,
  hidden: int = 48,
  num_steps: int = 250,
  learning_rate: float = 1e-3,
  batch_size: int = 32,
  seed: int = 0,
) -> ExpertTokens:
  """Pretrains a dense transformer on digits, a row of pixels being a token.

  Args:
    width: d.
    depth: blocks.
    num_heads: heads of attention.
    hidden: h, of the perceptrons.
    num_steps: of Adam.
    learning_rate: of it.
    batch_size: B.
    seed: of start, batches and test set.

  Returns:
    What `tuned_rows` tunes.

  Raises:
    ValueError: if an option is out of range.

  Source: the CPU-scale stand-in for Lu et al. 2025
    (https://arxiv.org/abs/2507.17436) is ours.
  """
  checks.integer(num_steps, name='num_steps', low=0)
  checks.integer(batch_size, name='batch_size', low=1)
  checks.number(learning_rate, name='learning_rate', low=0.0)
  seed = checks.integer(seed, name='seed', low=0)
  sizes = (width, depth, num_heads, hidden)
  network = _network(*sizes)
  digits = data_lib.load_digits(seed=seed)
  part = lambda x, y: {
    'inputs': jnp.asarray(x).reshape(-1, 8, 8),
    'labels': jnp.asarray(y),
  }
  examples = part(digits.train_inputs, digits.train_labels)
  start_key, key = jax.random.split(jax.random.key(seed))
  _, run, _ = _programs(sizes, DENSE, num_steps, batch_size, 0.0)
  params = network.init(start_key, examples['inputs'][:1])
  params = run(params, examples, key, learning_rate)
  test = part(digits.test_inputs, digits.test_labels)
  return ExpertTokens(network, params, examples, test, sizes, batch_size, seed)


def tuned_rows(
  setting: ExpertTokens,
  variants: Sequence[str] = (DENSE, 'moe(8, top_k=2)'),
  *,
  num_steps: int = 300,
  learning_rate: float = 5e-4,
  coefficient: float = 0.01,
) -> list[dict[str, Any]]:
  """Converts a dense model in several ways and tunes each of them.

  Args:
    setting: from `expert_tokens`.
    variants: 'dense', or parts of `experts.MIXTURES`.
    num_steps: of Adam, on the same batches for all.
    learning_rate: of it.
    coefficient: of the balance loss.

  Returns:
    Two rows for each variant, at step 0 and at the end: `variant`, `seed`,
    `step`, test `loss` and `accuracy`; of experts also `load_balance`,
    `same_replica` (share of tokens whose experts are of one copy) and
    `effective_partners`, means over layers.

  Raises:
    ValueError: if a variant is unknown or does not fit.
  """
  checks.integer(num_steps, name='num_steps', low=0)
  found = []
  for variant in variants:
    key, batch_key = jax.random.split(jax.random.key(setting.seed + 1))
    convert, run, measure = _programs(
      setting.sizes, variant, num_steps, setting.batch_size, coefficient
    )
    params = convert(setting.params, key)
    tuned = run(params, setting.examples, batch_key, learning_rate)
    for step, at in ((0, params), (num_steps, tuned)):
      values = jax.device_get(measure(at, setting.test))
      found.append(
        {'variant': variant, 'seed': setting.seed, 'step': step}
        | {name: np.asarray(v).item() for name, v in values.items()}
      )
  return found


def with_experts(
  problem: types.Problem,
  mixture: experts.Mixture | str = 'moe',
  *,
  layers: str | Sequence[str] | None = None,
  coefficient: float = 0.01,
  trained: str | Sequence[str] | None = 'experts',
  seed: int = 0,
) -> types.Problem:
  """Gives clients experts to learn in place of dense layers.

  The start of the problem's task is converted, which for `text` is a pretrained
  model. What is not trained is a constant of the task: no method sends, counts
  or moves it.

  Args:
    problem: from `text` or `classification`; other builders take a network
      with experts, `perception.experts.with_experts`.
    mixture: what layers become, see `perception.experts.with_experts`.
    layers: which, see there.
    coefficient: of the balance loss, α >= 0.
    trained: what is trained, see `perception.experts.trainable_mask`; None for
      all of it, from a start of its own for each seed.
    seed: of the start, and of the router.

  Returns:
    The problem. Parameters are {'network', 'experts'} with None for what is
    frozen; evaluation also tells `load_balance`.

  Raises:
    ValueError: if an option is out of range, layers are not found or the
      problem has no network.

  Example:
    >>> from jaxdl import problems
    >>> dense = problems.classification('digits', network='mlp(8)')
    >>> problem = with_experts(dense, 'moe(4, top_k=2)')
    >>> params = problem.task.init(jax.random.key(0))
    >>> sum(x.size for x in jax.tree.leaves(params['network']))
    0
  """
  mixture = experts.as_mixture(mixture)
  if problem.network is None or 'inputs' not in (problem.test or {}):
    raise ValueError(
      'problem must be one of text or classification, with a network; give '
      'other builders a network with experts.'
    )
  is_text = problem.test['inputs'].dtype == jnp.int32
  example = jax.ShapeDtypeStruct(
    (1, *problem.test['inputs'].shape[2:]), problem.test['inputs'].dtype
  )
  start_key, key = jax.random.split(jax.random.key(seed))
  start = problem.task.init(start_key)
  moe = experts.dense_to_moe(
    problem.network, start, example, key=key, experts=mixture, layers=layers
  )
  give = _text.with_reader if is_text else _classification.for_network
  made = give(problem, moe.network)
  task = experts.balanced_task(made.task, coefficient=coefficient)
  if trained is not None:
    task = experts.trainable_task(task, moe.params, trained)
  evaluate = _classification.evaluator(task, problem.test)
  return made.replace(
    task=task,
    network=moe.network,
    evaluate=evaluate,
    evaluate_clients=_classification.clients_evaluator(evaluate, ()),
  )


def _network(width, depth, num_heads, hidden):
  return row_transformer(
    10, width=width, depth=depth, num_heads=num_heads, hidden=hidden
  )


@functools.cache
def _programs(sizes, variant, num_steps, batch_size, coefficient):
  """Conversion, training and measures of a variant, compiled once."""
  dense = _network(*sizes)
  example = jax.ShapeDtypeStruct((1, 8, 8), jnp.float32)
  network, mixture = dense, None
  if variant != DENSE:
    mixture = experts.as_mixture(variant)
    network = experts.with_experts(dense, mixture)
  task = networks.classification(network, example, num_classes=10)
  if mixture is not None:
    task = experts.balanced_task(task, coefficient=coefficient)

  def convert(params, key):
    if mixture is None:
      return params
    return experts.dense_to_moe(
      dense, params, example, key=key, experts=mixture
    ).params

  @jax.jit
  def run(params, examples, key, rate):
    optimizer = optax.adam(rate)
    size = examples['labels'].shape[0]

    def step(carry, key):
      params, state = carry
      rows = jax.random.choice(key, size, (batch_size,), replace=False)
      batch = jax.tree.map(lambda x: x[rows], examples)
      slope = jax.grad(task.loss)(params, batch)
      change, state = optimizer.update(slope, state, params)
      return (optax.apply_updates(params, change), state), None

    start = (params, optimizer.init(params))
    keys = jax.random.split(key, num_steps)
    return jax.lax.scan(step, start, keys)[0][0]

  return convert, run, jax.jit(functools.partial(_measured, task, mixture))


def _measured(task, mixture, params, batch):
  values, routed = experts.observe(task.evaluate, params, batch)
  if mixture is None:
    return values
  share, partners = [], []
  for r in routed.values():
    share.append(experts.same_replica_share(r.idx, num_slices=mixture.slices))
    counts = experts.coactivation(r.idx, mixture.num_experts)
    summary = experts.collaboration(counts, top_k=mixture.top_k)
    partners.append(jnp.mean(summary.effective_partners))
  return values | {
    'same_replica': jnp.mean(jnp.stack(share)),
    'effective_partners': jnp.mean(jnp.stack(partners)),
  }
