# SPDX-License-Identifier: Apache-2.0
"""Operator networks and solvers of other libraries, imported when built.

Every builder raises ImportError where its library is missing. None of them is a
dependency of the project:

  pip install neojax-operators pdequinox foundax exponax
"""

import importlib
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from experiments.benchmarks import _timing

PACKAGES = ('neojax-operators', 'pdequinox', 'foundax', 'exponax', 'equinox')
# The same memory as `operators.keep_memory` gives this process.
_KEPT = {
  'MALLOC_MMAP_THRESHOLD_': str(1 << 30),
  'MALLOC_TRIM_THRESHOLD_': str(2**31 - 1),
}

Contender = tuple[Callable[..., Any], tuple[Any, ...]]


def gradient(module: str, build: Callable[[Any], Any], *inputs: Any):
  """Gradient of the summed squared output of an unbatched equinox model."""
  import equinox as eqx

  model = build(importlib.import_module(module))
  params, static = eqx.partition(model, eqx.is_inexact_array)

  def loss(params, *xs):
    return jnp.square(jax.vmap(eqx.combine(params, static))(*xs)).sum()

  return jax.grad(loss), (params, *inputs)


def channels_first(f: chex.Array) -> chex.Array:
  """f[B, *grid, C] -> f[B, C, *grid]."""
  return jnp.moveaxis(f, -1, 1)


def neojax_deeponet(u: chex.Array, y: chex.Array) -> Contender:
  """Branch [100, 40, 40], linear at its end, and trunk [1, 40, 40, 40]."""
  relu = jax.nn.relu

  def build(lib):
    return lib.MLPDeepONet(
      jax.random.key(0),
      100,
      1,
      40,
      [40],
      [40, 40],
      branch_activations=relu,
      trunk_activations=[relu] * 3,
      bias=jnp.zeros(()),
    )

  return gradient('neojax.models.deeponet', build, u, y)


def neojax_fno(f: chex.Array, modes: int, width: int) -> Contender:
  """Four blocks, no normalization, grid coordinates appended."""

  def build(lib):
    return lib.FNO(
      jax.random.key(0),
      1,
      1,
      width,
      4,
      (modes,) * (f.ndim - 2),
      use_channel_mlp=False,
      normalization=None,
      positional_embedding='grid',
    )

  return gradient('neojax.models.fno', build, channels_first(f))


def pdequinox_fno(f: chex.Array, modes: int, width: int) -> Contender:
  """Four blocks."""

  def build(lib):
    return lib.arch.ClassicFNO(
      f.ndim - 2,
      1,
      1,
      hidden_channels=width,
      num_modes=modes,
      key=jax.random.key(0),
    )

  return gradient('pdequinox', build, channels_first(f))


def pdequinox_unet(f: chex.Array) -> Contender:
  """Sixteen channels, four levels, periodic."""

  def build(lib):
    return lib.arch.ClassicUNet(f.ndim - 2, 1, 1, key=jax.random.key(0))

  return gradient('pdequinox', build, channels_first(f))


def foundax_mgno(
  f: chex.Array, channels: int, layers: int, levels: int
) -> Contender:
  """Periodic, one smoothing step per level and two on the coarsest."""

  def build(lib):
    return lib.mgno2d(
      f.shape[1:-1],
      num_layer=layers,
      num_channel_u=channels,
      num_channel_f=1,
      num_iteration=[(1, 0)] * (levels - 1) + [(2, 0)],
    )

  return gradient('foundax', build, f)


def exponax_solver(
  name: str, fields: chex.Array, num_steps: int, dt: float, **options: Any
) -> Contender:
  """Advances f[B, *grid] by ETDRK4 steps that stay in Fourier space.

  Args:
    name: 'Burgers' or 'NavierStokesVorticity'.
    fields: initial values on the unit interval or square.
    num_steps: steps of the scheme.
    dt: step.
    **options: of the stepper.

  Returns:
    Function and arguments.
  """
  ex = importlib.import_module('exponax')
  rank, num = fields.ndim - 1, fields.shape[-1]
  stepper = getattr(ex.stepper, name)(rank, 1.0, num, dt, order=4, **options)
  repeated = ex.RepeatedStepper(stepper, num_steps)
  return jax.vmap(lambda x: repeated(x[None])[0]), (fields,)


def torch(python: str, part: str, *, keep: bool, **sizes: int) -> dict:
  """Runs `_torch_operators.py` in another environment, on as many threads.

  Args:
    python: its interpreter.
    part: 'deeponet' or 'fno'.
    keep: whether its malloc keeps large free blocks.
    **sizes: flags of the script.

  Returns:
    What it printed.

  Raises:
    RuntimeError: if it failed.
  """
  return _timing.elsewhere(
    python,
    '_torch_operators',
    part,
    env=_KEPT if keep else {},
    threads=_timing.threads(),
    **sizes,
  )
