# SPDX-License-Identifier: Apache-2.0
"""Training the encoder on base classes, before anybody goes into the field."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import data as data_lib, networks
from jaxdl.core import checks, keys, registry, types
from jaxdl.data import episodes as episodes_lib
from jaxdl.local import make_optimizer

# Examples whose statistics are those of the encoder in the end.
_STATISTICS = 64


def train_encoder(
  network: types.Network,
  inputs: chex.Array,
  labels: chex.Array,
  *,
  key: chex.PRNGKey,
  num_episodes: int = 200,
  ways: int = 20,
  shots: int = 5,
  queries: int = 5,
  optimizer: optax.GradientTransformation | None = None,
  num_turns: int = 1,
  fewest_shots: int | None = None,
  distance: str = 'euclidean',
  noise: float = 0.0,
  reduction: str = 'mean',
  validation: Any = None,
  validate_every: int = 100,
  patience: int = 20,
) -> tuple[chex.ArrayTree, dict[str, np.ndarray]]:
  """Trains an embedding so that classes are what their means are.

  One episode a step. In the end the running statistics become those of the base
  examples (`networks.recalibrate`), and with validation the parameters are
  those of the episode that did best.

  Args:
    network: gives embeddings f[B, d].
    inputs: f[n, ...], base examples.
    labels: int[n], their classes, numbered from 0 without gaps.
    key: consumed.
    num_episodes: steps at most, >= 0.
    ways: N classes of an episode.
    shots: K support examples of each.
    queries: Q queries of each.
    optimizer: of optax; Adam with step 0.001 if None.
    num_turns: 4 turns the images of a class by multiples of 90 degrees.
    fewest_shots: every episode has a number of support examples of its own,
      uniform from this one to K; None for K.
    distance: 'euclidean' or 'mahalanobis', see `networks.episodic`.
    noise: deviation of normal noise on the means, >= 0.
    reduction: of the loss over the queries, 'mean' or 'sum'.
    validation: (inputs, labels) of other classes to validate on, or None; then
      ten episodes of as many ways as there are, at most N, with K shots and
      without noise.
    validate_every: episodes between validations.
    patience: validations without a better one after which training ends.

  Returns:
    `(params, history)`: history has `loss` f[T], of each episode, and with
    validation `accuracy`.

  Raises:
    ValueError: if a number is out of range, there are too few classes or
      examples (the message names the class), or what is to be turned is no
      square image.

  Example:
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(np.arange(6), 8)
    >>> inputs = rng.normal(size=(6, 4))[labels] + rng.normal(size=(48, 4)) / 5
    >>> params, history = train_encoder(
    ...   networks.mlp((), 3),
    ...   inputs.astype('float32'),
    ...   labels,
    ...   key=jax.random.key(0),
    ...   num_episodes=5,
    ...   ways=4,
    ...   shots=2,
    ...   queries=2,
    ... )
    >>> history['loss'].shape
    (5,)

  Source: Snell et al. 2017 (https://arxiv.org/abs/1703.05175), Algorithm 1;
  Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150), base training.
  """
  keys.check_key(key)
  num_episodes = checks.integer(num_episodes, name='num_episodes', low=0)
  checks.integer(validate_every, name='validate_every', low=1)
  checks.integer(patience, name='patience', low=1)
  optimizer = optax.adam(1e-3) if optimizer is None else optimizer
  checks.optimizer(optimizer)
  sizes = {'ways': ways, 'shots': shots, 'queries': queries}
  labels = np.asarray(labels)
  table, capacity = _table(labels, sizes, 'episode')
  if fewest_shots is not None:
    checks.integer(fewest_shots, name='fewest_shots', low=1, high=shots)
  episodes_lib.check_turns(inputs, num_turns)
  inputs = jnp.asarray(inputs)
  example = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
  task = networks.episodic(
    network, example, distance=distance, noise=noise, reduction=reduction
  )
  init_key, episode_key, test_key = jax.random.split(key, 3)
  params = jax.jit(task.init)(init_key)
  draw = {
    'capacity': capacity,
    'num_turns': num_turns,
    'fewest_shots': fewest_shots,
    **sizes,
  }

  # A loop of programs: a convolution inside a scan runs on one core.
  @jax.jit
  def step(params, opt_state, inputs, number):
    own = jax.random.fold_in(episode_key, number)
    pick, noise = jax.random.split(own)
    episode = episodes_lib.sample_episode(pick, table, **draw)
    batch = episodes_lib.take_episode(inputs, episode)
    # Statistics are no parameters of an optimizer: they come in the end.
    rest, statistics = networks.split_statistics(params)

    def loss_of(rest):
      full = networks.with_statistics(rest, statistics)
      return task.loss(full, batch, key=noise)

    loss, grads = jax.value_and_grad(loss_of)(rest)
    change, opt_state = optimizer.update(grads, opt_state, rest)
    rest = optax.apply_updates(rest, change)
    return networks.with_statistics(rest, statistics), opt_state, loss

  opt_state = optimizer.init(networks.split_statistics(params)[0])
  sample = np.asarray(
    jax.random.permutation(jax.random.fold_in(episode_key, 0), len(labels))
  )[: _STATISTICS * 8]
  known = {'inputs': inputs[jnp.asarray(sample)][None]}
  settle = jax.jit(lambda p: networks.recalibrate(network, p, known))
  score = None
  if validation is not None:
    score = _scorer(task, validation, sizes, test_key)
  losses, scores, best = [], [], None
  for number in range(1, num_episodes + 1):
    params, opt_state, loss = step(params, opt_state, inputs, number)
    losses.append(loss)
    if score is None or number % validate_every:
      continue
    settled = settle(params)
    scores.append(float(score(settled)))
    if best is None or scores[-1] > scores[best[0]]:
      best = len(scores) - 1, settled
    elif len(scores) - 1 - best[0] >= patience:
      break
  found = best[1] if best is not None else settle(params)
  history = {'loss': np.array([float(x) for x in losses], np.float32)}
  if score is not None:
    history['accuracy'] = np.array(scores, np.float32)
  return found, history


def _table(labels, sizes, name):
  counts = np.bincount(labels)
  episodes_lib.check_episode(counts, name=name, **sizes)
  return data_lib.index_classes(labels, len(counts)), int(counts.max())


def _scorer(task, validation, sizes, key):
  """Mean accuracy over ten fixed episodes of other classes."""
  inputs, labels = validation
  inputs, labels = jnp.asarray(inputs), np.asarray(labels)
  sizes = {**sizes, 'ways': min(sizes['ways'], int(labels.max()) + 1)}
  table, capacity = _table(labels, sizes, 'validation episode')

  @jax.jit
  def score(params):
    def one(key):
      episode = episodes_lib.sample_episode(
        key, table, capacity=capacity, **sizes
      )
      return task.evaluate(params, episodes_lib.take_episode(inputs, episode))[
        'accuracy'
      ]

    return jnp.mean(jax.lax.map(one, jax.random.split(key, 10)))

  return score


def none(
  network: types.Network, inputs: chex.Array, labels: np.ndarray
) -> chex.ArrayTree:
  """Leaves the encoder as it starts, with statistics of some examples."""
  return train_encoder(
    network,
    inputs,
    labels,
    key=jax.random.key(0),
    num_episodes=0,
    ways=1,
    shots=1,
    queries=1,
  )[0]


def episodic(
  network: types.Network,
  inputs: chex.Array,
  labels: np.ndarray,
  *,
  episodes: int = 200,
  ways: int = 20,
  shots: int = 5,
  queries: int = 5,
  fewest_shots: int | None = None,
  loss: str = 'mean',
  noise: float = 0.0,
  distance: str = 'euclidean',
  optimizer: str = 'adam(0.001)',
  turned: bool = False,
  validation: int = 0,
  validate_every: int = 100,
  patience: int = 20,
  seed: int = 0,
) -> chex.ArrayTree:
  """Trains on episodes; so many last base classes validate.

  Variants of the authors' code: `fewest_shots=2, shots=50, loss=sum` draws a
  number of shots for each episode; `noise` is on the prototypes;
  `distance=mahalanobis` has log-variances in the second half of an embedding
  (then the method needs it too); `turned` turns the images of a class; and
  `optimizer='adam(0.001, schedule=halving(times=24))'` halves the step every
  2000 of 50000 episodes.
  """
  seed = checks.integer(seed, name='seed', low=0)
  num_classes = int(np.max(labels)) + 1
  held = checks.integer(
    validation, name='validation', low=0, high=num_classes - 1
  )
  apart = labels >= num_classes - held
  return train_encoder(
    network,
    inputs[~apart],
    labels[~apart],
    key=jax.random.key(seed),
    num_episodes=episodes,
    ways=ways,
    shots=shots,
    queries=queries,
    optimizer=make_optimizer(optimizer, num_steps=episodes),
    num_turns=4 if turned else 1,
    fewest_shots=fewest_shots,
    distance=distance,
    noise=noise,
    reduction=loss,
    validation=(inputs[apart], labels[apart] - (num_classes - held))
    if held
    else None,
    validate_every=validate_every,
    patience=patience,
  )[0]


# How an encoder comes about: `make(spec, network, inputs, labels) -> params`.
TRAININGS = registry.Registry(
  'training',
  {'episodic': episodic, 'none': none},
  given=('network', 'inputs', 'labels'),
)
