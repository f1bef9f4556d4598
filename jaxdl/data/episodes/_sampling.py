# SPDX-License-Identifier: Apache-2.0
"""Drawing episodes: some classes, and disjoint examples of each."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys
from jaxdl.data import _class_mixtures


class Episode(NamedTuple):
  """Which examples an episode has.

  Attributes:
    classes: i32[N], different.
    support: i32[N, K], examples of each class.
    query: i32[N, Q], others of them.
    turns: i32[N], quarter turns of the images of each class.
    mask: bool[N, K], support examples that count; None for all.
  """

  classes: chex.Array
  support: chex.Array
  query: chex.Array
  turns: chex.Array
  mask: chex.Array | None = None


def check_episode(
  counts: Any, *, ways: int, shots: int, queries: int, name: str = 'episode'
) -> None:
  """Checks that there are enough classes, and examples of each; host.

  Args:
    counts: int[C], examples of each class, concrete.
    ways: N classes of an episode.
    shots: K support examples.
    queries: Q queries.
    name: what needs them, for the message.

  Raises:
    ValueError: if something is missing; the message names the class.

  Example:
    >>> check_episode([20, 6], ways=2, shots=5, queries=5)
    Traceback (most recent call last):
    ValueError: class 1 has 6 examples, episode needs 10: shots + queries.
  """
  counts = checks.host_array(counts, name='counts')
  ways = checks.integer(ways, name='ways', low=1)
  shots = checks.integer(shots, name='shots', low=1)
  queries = checks.integer(queries, name='queries', low=1)
  if ways > len(counts):
    raise ValueError(
      f'ways={ways} exceeds the {len(counts)} classes that {name} draws from.'
    )
  few = np.flatnonzero(counts < shots + queries)
  if few.size:
    raise ValueError(
      f'class {few[0]} has {counts[few[0]]} examples, {name} needs '
      f'{shots + queries}: shots + queries.'
    )


def sample_episode(
  key: chex.PRNGKey,
  table: _class_mixtures.ClassTable,
  *,
  ways: int,
  shots: int,
  queries: int,
  capacity: int,
  num_turns: int = 1,
  fewest_shots: int | None = None,
) -> Episode:
  """Draws the classes of an episode, and examples of each, without repetition.

  Args:
    key: consumed.
    table: of C classes, e.g. `data.index_classes`; may be traced.
    ways: N <= C classes (static).
    shots: K support examples of each (static).
    queries: Q queries of each (static).
    capacity: no class has more examples (static).
    num_turns: 4 turns all images of a class by a random multiple of 90 degrees,
      which makes four classes of one; 1 leaves them alone (static).
    fewest_shots: every episode has a number of support examples of its own,
      uniform from this one to K (static); the others are masked. None for K.

  Returns:
    The episode. A class with fewer than K + Q examples repeats its first; call
    `check_episode` where counts are known.

  Raises:
    ValueError: if a number is out of range.

  Cost: O(N capacity) random numbers, and a sort of them.

  Example:
    >>> from jaxdl import data
    >>> table = data.index_classes(np.repeat(np.arange(4), 6), 4)
    >>> episode = sample_episode(
    ...   jax.random.key(0), table, ways=3, shots=2, queries=4, capacity=6
    ... )
    >>> episode.support.shape, episode.query.shape
    ((3, 2), (3, 4))

  Source: Snell et al. 2017 (https://arxiv.org/abs/1703.05175), Algorithm 1;
  the turns are those of Hendryx et al. 2021 (https://arxiv.org/abs/2109.00150).
  """
  keys.check_key(key)
  table = jax.tree.map(jnp.asarray, table)
  num_classes = table.count.shape[0]
  ways = checks.integer(ways, name='ways', low=1, high=num_classes)
  shots = checks.integer(shots, name='shots', low=1)
  queries = checks.integer(queries, name='queries', low=1)
  checks.integer(capacity, name='capacity', low=shots + queries)
  checks.choice(num_turns, (1, 4), name='num_turns')
  mask = None
  if fewest_shots is not None:
    low = checks.integer(fewest_shots, name='fewest_shots', low=1, high=shots)
    # A stream of its own: without it episodes are what they are.
    shot_key = jax.random.fold_in(key, 3)
    number = jax.random.randint(shot_key, (), low, shots + 1)
    mask = jnp.broadcast_to(jnp.arange(shots) < number, (ways, shots))
  class_key, example_key, turn_key = jax.random.split(key, 3)
  classes = jax.random.permutation(class_key, num_classes)[:ways]
  classes = classes.astype(jnp.int32)
  count = table.count[classes][:, None]
  place = jnp.arange(capacity, dtype=jnp.int32)[None]
  # The smallest of random numbers; those of no example come last.
  draws = jax.random.uniform(example_key, (ways, capacity))
  draws = jnp.where(place < count, draws, 2.0)
  chosen = jnp.argsort(draws, axis=1)[:, : shots + queries]
  chosen = jnp.where(chosen < count, chosen, 0)
  ids = table.order[table.start[classes][:, None] + chosen]
  turns = jax.random.randint(turn_key, (ways,), 0, num_turns)
  return Episode(classes, ids[:, :shots], ids[:, shots:], turns, mask)


def take_episode(inputs: chex.Array, episode: Episode) -> dict[str, chex.Array]:
  """Collects the inputs of an episode.

  Args:
    inputs: [n, ...]; images [n, H, W, C], H = W, where there are turns.
    episode: of `sample_episode`.

  Returns:
    `support` [N, K, ...] and `query` [N, Q, ...], for `networks.episodic`, and
    `support_mask` bool[N, K] where the episode has one. Images are turned;
    inputs of other ranks are not, nor are those whose height and width differ
    (`check_turns` refuses them).

  Example:
    >>> zero = jnp.zeros((1, 1), jnp.int32)
    >>> episode = Episode(zero[0], zero, zero + 1, jnp.ones(1, jnp.int32))
    >>> images = jnp.arange(8.0).reshape(2, 2, 2, 1)
    >>> take_episode(images, episode)['support'].ravel().tolist()
    [1.0, 3.0, 0.0, 2.0]
  """
  parts = {'support': episode.support, 'query': episode.query}
  taken = {name: inputs[ids] for name, ids in parts.items()}
  masks = {} if episode.mask is None else {'support_mask': episode.mask}
  if not _can_turn(inputs.shape):
    return taken | masks

  def turned(images, turns):
    ways = [lambda x, k=k: jnp.rot90(x, k, axes=(1, 2)) for k in range(4)]
    return jax.lax.switch(turns, ways, images)

  return {
    name: jax.lax.map(lambda pair: turned(*pair), (x, episode.turns))
    for name, x in taken.items()
  } | masks


def check_turns(inputs: chex.Array, num_turns: int) -> None:
  """Checks that inputs can be turned.

  Args:
    inputs: [n, ...].
    num_turns: 1, or 4 for quarter turns.

  Raises:
    ValueError: if they are to be turned and are no square images.

  Example:
    >>> check_turns(jnp.zeros((2, 8, 6, 1)), 4)
    Traceback (most recent call last):
    ValueError: num_turns=4 needs square images [n, H, H, C]; got (2, 8, 6, 1).
  """
  checks.choice(num_turns, (1, 4), name='num_turns')
  if num_turns == 4 and not _can_turn(inputs.shape):
    raise ValueError(
      f'num_turns=4 needs square images [n, H, H, C]; got {inputs.shape}.'
    )


def _can_turn(shape):
  return len(shape) == 4 and shape[1] == shape[2]
