# SPDX-License-Identifier: Apache-2.0
"""Scenes that are drawn: colored shapes, named by phrases."""

import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks, keys
from jaxdl.perception.detection import _text

COLORS = {
  'red': (0.9, 0.1, 0.1),
  'green': (0.1, 0.8, 0.1),
  'blue': (0.15, 0.2, 0.95),
  'yellow': (0.9, 0.9, 0.1),
  'white': (0.95, 0.95, 0.95),
  'purple': (0.65, 0.1, 0.8),
}
SHAPES = ('circle', 'square', 'triangle', 'cross')
GROUPS = ('base', 'rare', 'novel')
# Half the side of a box, in shares of the image: small ones and large ones.
_HALVES = ((0.065, 0.09), (0.12, 0.17))
_TRIES = 16
# Frequent and rare pairs are spread over colors and shapes.
_ORDER_SEED = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenes:
  """Images of 1 to 4 shapes that do not overlap, on noise, and their names.

  There are 24 pairs of a color and a shape, in two sizes. Novel pairs occur in
  no training scene, neither in the image nor in the prompt, but their words do,
  in other pairs. The others, the base pairs, have frequencies 1 / rank^zipf in
  training; the lowest third of them are rare. Test scenes have all pairs alike.

  Attributes:
    image_size: height and width H.
    num_novel: pairs held out of training, 0 to 12.
    zipf: exponent of the long tail; 0 makes all base pairs alike.
    min_objects: objects of an image, at least; 0 makes some images empty.
    max_objects: M, at most.
    num_phrases: P, slots of a prompt: the pairs that are there and absent ones.
    noise: size of the noise of background and colors.
  """

  image_size: int = 64
  num_novel: int = 6
  zipf: float = 1.0
  min_objects: int = 1
  max_objects: int = 4
  num_phrases: int = 8
  noise: float = 0.1

  def __post_init__(self):
    checks.integer(self.image_size, name='image_size', low=8)
    checks.integer(self.num_novel, name='num_novel', low=0, high=12)
    checks.number(self.zipf, name='zipf', low=0.0)
    checks.integer(self.max_objects, name='max_objects', low=1, high=16)
    checks.integer(
      self.min_objects, name='min_objects', low=0, high=self.max_objects
    )
    checks.integer(self.num_phrases, name='num_phrases', low=1, high=18)
    checks.number(self.noise, name='noise', low=0.0)
    if self.num_phrases > len(self.names) - self.num_novel:
      raise ValueError(
        f'num_phrases={self.num_phrases} exceeds the '
        f'{len(self.names) - self.num_novel} base pairs.'
      )
    if self.num_phrases < self.max_objects:
      raise ValueError(
        f'num_phrases={self.num_phrases} has no room for '
        f'max_objects={self.max_objects} different ones.'
      )

  @property
  def names(self) -> tuple[str, ...]:
    """Phrases of the 24 categories, by color and then by shape."""
    return tuple(f'{color} {shape}' for color in COLORS for shape in SHAPES)

  @property
  def vocabulary(self) -> tuple[str, ...]:
    """Words by number, 0 is padding."""
    return _text.make_vocabulary(self.names)

  @functools.cached_property
  def phrases(self) -> np.ndarray:
    """i32[24, 2], the words of every category."""
    return _text.encode_phrases(self.names, self.vocabulary)

  @functools.cached_property
  def novel(self) -> np.ndarray:
    """bool[24], held out of training; every color and shape keeps others."""
    colors, shapes = len(COLORS), len(SHAPES)
    out = np.zeros((colors, shapes), bool)
    for k in range(self.num_novel):
      out[k % colors, (k + k // (2 * colors)) % shapes] = True
    return out.ravel()

  @functools.cached_property
  def frequencies(self) -> np.ndarray:
    """f32[24], of categories in training; they add up to 1."""
    base = np.flatnonzero(~self.novel)
    order = np.random.default_rng(_ORDER_SEED).permutation(base)
    out = np.zeros(len(self.names))
    out[order] = 1.0 / np.arange(1, len(base) + 1) ** self.zipf
    return (out / out.sum()).astype(np.float32)

  @property
  def groups(self) -> dict[str, np.ndarray]:
    """bool[24] of base, rare (the lowest third of base) and novel pairs."""
    base = np.flatnonzero(~self.novel)
    order = np.random.default_rng(_ORDER_SEED).permutation(base)
    rare = np.zeros(len(self.names), bool)
    rare[order[len(base) - len(base) // 3 :]] = True
    return {'base': ~self.novel, 'rare': rare, 'novel': self.novel}


def draw_scenes(
  key: chex.PRNGKey,
  scenes: Scenes,
  batch_size: int,
  *,
  testing: bool = False,
) -> dict[str, chex.Array]:
  """Draws scenes; pure, for jit and vmap.

  Args:
    key: consumed.
    scenes: what they are like (static).
    batch_size: B.
    testing: whether all categories occur alike, novel ones too (static).

  Returns:
    'inputs' f32[B, H, H, 3] in [0, 1]; 'phrases' i32[B, P, 2], words of the
    prompt, in random order with padding last; 'categories' i32[B, P] of the
    phrases, -1 for padding; 'boxes' f32[B, M, 4] (cx, cy, w, h) in shares of
    the image; 'labels' i32[B, M], the phrase of each object; 'present'
    bool[B, M], false for padding, whose boxes and labels are zeros. An object
    that finds no free place in 16 tries is left out.

  Cost: O(B H² M) work.

  Example:
    >>> batch = draw_scenes(jax.random.key(0), Scenes(image_size=16), 3)
    >>> batch['inputs'].shape, batch['phrases'].shape
    ((3, 16, 16, 3), (3, 8, 2))
  """
  keys.check_key(key)
  checks.integer(batch_size, name='batch_size', low=1)

  def draw(i):
    # A scene does not depend on how many there are.
    return _scene(scenes, testing, jax.random.fold_in(key, i))

  return jax.vmap(draw)(jnp.arange(batch_size))


def _scene(scenes, testing, key):
  key_numbers, key_pixels = jax.random.split(key)
  numbers = _Numbers(key_numbers, scenes)
  drawn = _objects(scenes, testing, numbers)
  prompt, labels = _prompt(scenes, testing, numbers, drawn)
  zero = lambda x, row: jnp.where(drawn['present'].reshape(row), x, 0)
  phrases = jnp.asarray(scenes.phrases)[prompt]
  return {
    'inputs': _pixels(scenes, key_pixels, numbers.take(3), drawn),
    'phrases': jnp.where((prompt >= 0)[:, None], phrases, 0),
    'categories': prompt,
    'boxes': zero(drawn['boxes'], (-1, 1)),
    'labels': zero(labels, (-1,)),
    'present': drawn['present'],
  }


class _Numbers:
  """Uniform numbers of a scene, cut from one draw, which compiles fast."""

  def __init__(self, key, scenes):
    size = scenes.max_objects * (3 + 2 * _TRIES) + len(scenes.names)
    self._all = jax.random.uniform(key, (size + scenes.num_phrases + 5,))
    self._at = 0

  def take(self, *shape):
    """The next ones."""
    start = self._at
    self._at += math.prod(shape)
    return self._all[start : self._at].reshape(shape)


def _ranks(x):
  """Places in falling order, ties to the lowest index, without a sort."""
  before = np.tri(x.shape[0], k=-1, dtype=bool)
  ahead = (x[None] > x[:, None]) | ((x[None] == x[:, None]) & before)
  return jnp.sum(ahead, axis=1)


def _whole(number, low, high):
  """A uniform number as one of the integers low, ..., high."""
  found = low + jnp.floor(number * (high - low + 1)).astype(jnp.int32)
  return jnp.minimum(found, high)


def _objects(scenes, testing, numbers):
  """Categories and boxes of the objects of an image."""
  most, num = scenes.max_objects, len(scenes.names)
  count = _whole(numbers.take(), scenes.min_objects, most)
  shares = np.full(num, 1 / num) if testing else scenes.frequencies
  ends = np.cumsum(shares)[:-1].astype(np.float32)
  kinds = jnp.sum(numbers.take(most)[:, None] >= ends[None], axis=1)
  # A category that never occurs may end where the one before does.
  possible = np.flatnonzero(shares)
  kinds = jnp.clip(kinds, possible[0], possible[-1])
  ranges = jnp.asarray(_HALVES)[_whole(numbers.take(most), 0, 1)]
  shift = numbers.take(most)
  halves = ranges[:, 0] + shift * (ranges[:, 1] - ranges[:, 0])
  # Tries of every object; the first that is free is taken.
  tries = numbers.take(most, _TRIES, 2)
  halves_ = halves[:, None, None]
  tries = halves_ + tries * (1 - 2 * halves_)
  reach = halves[:, None] + halves[None] + 1.0 / scenes.image_size
  center, there = jnp.zeros((most, 2)), jnp.zeros((most,), bool)
  for i in range(most):
    gap = jnp.abs(tries[i][:, None] - center[None])
    clash = jnp.all(gap < reach[i][None, :, None], axis=-1) & there[None]
    free = ~jnp.any(clash, axis=1)
    first = jnp.argmax(free)
    center = center.at[i].set(tries[i][first])
    there = there.at[i].set(free[first] & (i < count))
  sides = jnp.repeat(2 * halves[:, None], 2, axis=1)
  return {
    'kinds': kinds,
    'boxes': jnp.concatenate([center, sides], axis=1),
    'present': there,
  }


def _prompt(scenes, testing, numbers, drawn):
  """Categories of the phrases, and the phrase of every object."""
  num, slots = len(scenes.names), scenes.num_phrases
  place = drawn['kinds'][:, None] == jnp.arange(num)[None]
  there = jnp.any(place & drawn['present'][:, None], axis=0)
  allowed = np.ones(num, bool) if testing else ~scenes.novel
  value = numbers.take(num) + 2.0 * there
  rank = _ranks(jnp.where(there | allowed, value, -1.0))
  # The category of every rank below the number of slots.
  chosen = jnp.argmax(rank[None] == jnp.arange(slots)[:, None], axis=1)
  least = jnp.maximum(jnp.sum(there), 1)
  kept = jnp.arange(slots) < _whole(numbers.take(), least, slots)
  order = _ranks(numbers.take(slots) + 2.0 * kept)
  prompt = jnp.full((slots,), -1).at[order].set(jnp.where(kept, chosen, -1))
  labels = jnp.argmax(drawn['kinds'][:, None] == prompt[None], axis=1)
  return prompt.astype(jnp.int32), labels.astype(jnp.int32)


def _pixels(scenes, key, ground, drawn):
  """The image, noise and all; the background is `ground` in [0, 1]."""
  size = scenes.image_size
  at = (jnp.arange(size) + 0.5) / size
  box = drawn['boxes']
  # Of every object and pixel, from -1 to 1 within the box.
  u = 2 * (at[None] - box[:, :1]) / box[:, 2:3]
  v = 2 * (at[None] - box[:, 1:2]) / box[:, 3:4]
  u, v = jnp.broadcast_arrays(u[:, None, :], v[:, :, None])
  kind = (drawn['kinds'] % len(SHAPES))[:, None, None]
  largest = jnp.maximum(jnp.abs(u), jnp.abs(v))
  inside = jnp.select(
    [kind == 0, kind == 1, kind == 2],
    [
      u * u + v * v <= 1,
      largest <= 1,
      (jnp.abs(u) <= (v + 1) / 2) & (largest <= 1),
    ],
    (jnp.minimum(jnp.abs(u), jnp.abs(v)) <= 1 / 3) & (largest <= 1),
  )
  inside &= drawn['present'][:, None, None]
  colors = jnp.asarray(list(COLORS.values()))[drawn['kinds'] // len(SHAPES)]
  paint = jnp.einsum('mhw,mc->hwc', inside.astype(jnp.float32), colors)
  ground = 0.4 * ground.reshape(1, 1, 3)
  image = jnp.where(jnp.any(inside, axis=0)[..., None], paint, ground)
  noise = scenes.noise * jax.random.normal(key, image.shape)
  return jnp.clip(image + noise, 0.0, 1.0)
