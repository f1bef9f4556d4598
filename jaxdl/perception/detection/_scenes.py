# SPDX-License-Identifier: Apache-2.0
"""Scenes that are drawn: colored shapes, named by phrases."""

import dataclasses
import functools

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
  key_objects, key_prompt, key_pixels = jax.random.split(key, 3)
  drawn = _objects(scenes, testing, key_objects)
  prompt, labels = _prompt(scenes, testing, key_prompt, drawn)
  zero = lambda x, row: jnp.where(drawn['present'].reshape(row), x, 0)
  phrases = jnp.asarray(scenes.phrases)[prompt]
  return {
    'inputs': _pixels(scenes, key_pixels, drawn),
    'phrases': jnp.where((prompt >= 0)[:, None], phrases, 0),
    'categories': prompt,
    'boxes': zero(drawn['boxes'], (-1, 1)),
    'labels': zero(labels, (-1,)),
    'present': drawn['present'],
  }


def _objects(scenes, testing, key):
  """Categories and boxes of the objects of an image."""
  key_count, key_kind, key_size, key_side, key_place = jax.random.split(key, 5)
  most, num = scenes.max_objects, len(scenes.names)
  count = jax.random.randint(key_count, (), scenes.min_objects, most + 1)
  shares = np.full(num, 1 / num) if testing else scenes.frequencies
  kinds = jax.random.choice(key_kind, num, (most,), p=jnp.asarray(shares))
  ranges = jnp.asarray(_HALVES)[jax.random.randint(key_size, (most,), 0, 2)]
  shift = jax.random.uniform(key_side, (most,))
  halves = ranges[:, 0] + shift * (ranges[:, 1] - ranges[:, 0])
  # Tries of every object; the first that is free is taken.
  tries = jax.random.uniform(key_place, (most, _TRIES, 2))
  halves_ = halves[:, None, None]
  tries = halves_ + tries * (1 - 2 * halves_)

  def place(taken, i):
    gap = jnp.abs(tries[i][:, None] - taken['center'][None])
    reach = halves[i] + taken['half'] + 1.0 / scenes.image_size
    clash = jnp.all(gap < reach[None, :, None], axis=-1) & taken['there'][None]
    free = ~jnp.any(clash, axis=1)
    there = jnp.any(free) & (i < count)
    center = tries[i][jnp.argmax(free)]
    new = {'center': center, 'half': halves[i], 'there': there}
    return {k: taken[k].at[i].set(new[k]) for k in taken}, None

  start = {
    'center': jnp.zeros((most, 2)),
    'half': jnp.zeros((most,)),
    'there': jnp.zeros((most,), bool),
  }
  taken, _ = jax.lax.scan(place, start, jnp.arange(most))
  sides = jnp.repeat(2 * halves[:, None], 2, axis=1)
  return {
    'kinds': kinds,
    'boxes': jnp.concatenate([taken['center'], sides], axis=1),
    'present': taken['there'],
  }


def _prompt(scenes, testing, key, drawn):
  """Categories of the phrases, and the phrase of every object."""
  key_absent, key_count, key_order = jax.random.split(key, 3)
  num, slots = len(scenes.names), scenes.num_phrases
  place = jnp.where(drawn['present'], drawn['kinds'], num)
  there = jnp.zeros((num,), bool).at[place].set(True, mode='drop')
  allowed = np.ones(num, bool) if testing else ~scenes.novel
  rank = jax.random.uniform(key_absent, (num,)) + 2.0 * there
  _, chosen = jax.lax.top_k(jnp.where(there | allowed, rank, -1.0), slots)
  least = jnp.maximum(jnp.sum(there), 1)
  count = jax.random.randint(key_count, (), least, slots + 1)
  kept = jnp.arange(slots) < count
  order = jnp.argsort(jax.random.uniform(key_order, (slots,)) + 2.0 * ~kept)
  prompt = jnp.where(kept, chosen, -1)[order]
  labels = jnp.argmax(drawn['kinds'][:, None] == prompt[None], axis=1)
  return prompt.astype(jnp.int32), labels.astype(jnp.int32)


def _pixels(scenes, key, drawn):
  """The image, noise and all."""
  key_ground, key_noise = jax.random.split(key)
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
  ground = jax.random.uniform(key_ground, (1, 1, 3), maxval=0.4)
  paint = jnp.einsum('mhw,mc->hwc', inside.astype(jnp.float32), colors)
  image = jnp.where(jnp.any(inside, axis=0)[..., None], paint, ground)
  noise = scenes.noise * jax.random.normal(key_noise, image.shape)
  return jnp.clip(image + noise, 0.0, 1.0)
