# SPDX-License-Identifier: Apache-2.0
"""Feature skew: the same labels, but every client sees other inputs."""

from collections.abc import Sequence

import numpy as np

from jaxdl.core import checks
from jaxdl.data import _dataset


def add_noise_by_client(
  rng: np.random.Generator,
  inputs: np.ndarray,
  parts: Sequence[np.ndarray],
  *,
  noise_std: float,
) -> np.ndarray:
  """Adds Gaussian noise whose deviation grows with the client's number.

  Client k of N gets deviation `noise_std * k / (N - 1)`: none for the first,
  all of it for the last.

  Args:
    rng: host generator; advanced.
    inputs: f[n, ...].
    parts: N disjoint index arrays.
    noise_std: deviation at the last client, >= 0, within float32.

  Returns:
    f32[n, ...]; examples of no client are unchanged.

  Raises:
    ValueError: if `noise_std` is negative or a part is out of range.

  Example:
    >>> x = add_noise_by_client(
    ...   np.random.default_rng(0), np.zeros((2, 1)), [[0], [1]], noise_std=1.0
    ... )
    >>> (x != 0).tolist()
    [[False], [True]]

  Source: Li et al. 2022 (https://arxiv.org/abs/2102.02079), section 3.2.2,
  with k / (N - 1) in place of k / N.
  """
  _dataset.require_generator(rng)
  largest = float(np.finfo(np.float32).max)
  checks.number(noise_std, name='noise_std', low=0.0, high=largest)
  out = np.array(inputs, np.float32)
  _check_parts(parts, len(out))
  top = max(len(parts) - 1, 1)
  for k, part in enumerate(parts):
    part = np.asarray(part, np.int64)
    noise = rng.normal(size=(len(part), *out.shape[1:]))
    out[part] += (noise_std * k / top * noise).astype(np.float32)
  return out


def rotate_by_client(
  inputs: np.ndarray, parts: Sequence[np.ndarray]
) -> np.ndarray:
  """Turns images by a number of quarters that depends on the client.

  Client k gets `k % 4` counter-clockwise quarter turns, so that clients form
  four groups of like inputs. Exact: no interpolation.

  Args:
    inputs: [n, size, size, channels], square images.
    parts: N disjoint index arrays.

  Returns:
    Array like `inputs`; examples of no client are unchanged.

  Raises:
    ValueError: if images are not square or a part is out of range.

  Example:
    >>> x = np.arange(8.0).reshape(2, 2, 2, 1)
    >>> rotate_by_client(x, [[0], [1]])[1, :, :, 0].tolist()
    [[5.0, 7.0], [4.0, 6.0]]

  Source: Ghosh et al. 2020 (https://arxiv.org/abs/2006.04088), section 6.2
  (rotated digits).
  """
  out = np.array(inputs)
  if out.ndim != 4 or out.shape[1] != out.shape[2]:
    raise ValueError(
      f'inputs must be square images [n, size, size, channels]; got shape '
      f'{out.shape}.'
    )
  _check_parts(parts, len(out))
  for k, part in enumerate(parts):
    part = np.asarray(part, np.int64)
    out[part] = np.rot90(out[part], k=k % 4, axes=(1, 2))
  return out


def _check_parts(parts: Sequence[np.ndarray], n: int) -> None:
  if not len(parts):
    raise ValueError('parts must hold at least one client; got none.')
  for k, part in enumerate(parts):
    part = np.asarray(part)
    if part.size and (part.min() < 0 or part.max() >= n):
      raise ValueError(
        f'parts[{k}] must index {n} examples; got indices '
        f'{part.min()}..{part.max()}.'
      )
