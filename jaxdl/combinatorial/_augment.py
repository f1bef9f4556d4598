# SPDX-License-Identifier: Apache-2.0
"""The eight symmetries of a square."""

import chex
import jax.numpy as jnp


def augment8(points: chex.Array) -> chex.Array:
  """Reflects and transposes places in the unit square.

  A tour is equally long in all eight, while a policy sees eight instances:
  solve each and keep the best.

  Args:
    points: f[..., 2], coordinates in [0, 1].

  Returns:
    f[8, ..., 2]: as they are, with x, y, or both reflected, and these four with
    x and y exchanged.

  Raises:
    ValueError: if the last axis has not two entries.

  Example:
    >>> print(augment8(jnp.array([[0.25, 1.0]]))[:, 0])
    [[0.25 1.  ]
     [0.75 1.  ]
     [0.25 0.  ]
     [0.75 0.  ]
     [1.   0.25]
     [1.   0.75]
     [0.   0.25]
     [0.   0.75]]

  Source: Kwon et al. 2020 (https://arxiv.org/abs/2010.16011), section 4.3.
  """
  shape = jnp.shape(points)
  if shape[-1:] != (2,):
    raise ValueError(f'points must have the shape [..., 2]; got {shape}.')
  x, y = points[..., 0], points[..., 1]
  four = [(x, y), (1 - x, y), (x, 1 - y), (1 - x, 1 - y)]
  pairs = [*four, *((b, a) for a, b in four)]
  return jnp.stack([jnp.stack(pair, axis=-1) for pair in pairs])
