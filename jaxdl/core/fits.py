# SPDX-License-Identifier: Apache-2.0
"""What does not fit when a network refuses its arguments."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks
from jaxdl.core.types import Network


def explained(network: Network, *example_inputs: Any) -> Network:
  """A network whose `apply` says which of its arguments does not fit.

  Layer libraries report sizes of their own variables where a user passed other
  inputs, or a training state for parameters. Only what fails is looked at:
  a call that works costs nothing.

  Args:
    network: any network.
    *example_inputs: arrays or `jax.ShapeDtypeStruct`s that `init` takes.

  Returns:
    The network; `apply` raises TypeError if parameters are of another
    structure than those of `init`, ValueError if they or the inputs are of
    other shapes, and what the network raises otherwise.
  """

  def apply(params, *inputs, **options):
    try:
      return network.apply(params, *inputs, **options)
    except Exception as error:
      misfit = _misfit(network, example_inputs, params, inputs)
      if misfit is None or _says_it_better(error):
        if isinstance(error, TypeError):
          error.add_note(
            f'The network was called with inputs of shape '
            f'{_listed(_shapes(inputs))}.'
          )
        raise
      raise misfit from error

  return network._replace(apply=apply)


def _says_it_better(error: Exception) -> bool:
  """Whether a network refused its arguments itself, not one of its layers."""
  frame, trace = None, error.__traceback__
  while trace is not None:
    frame, trace = trace.tb_frame, trace.tb_next
  name = '' if frame is None else frame.f_globals.get('__name__', '')
  layer = name.startswith('jaxdl.networks.functional')
  return (
    isinstance(error, ValueError) and name.startswith('jaxdl.') and not layer
  )


def _misfit(network, example_inputs, params, inputs) -> Exception | None:
  try:
    wanted = jax.eval_shape(network.init, jax.random.key(0), *example_inputs)
  except Exception:  # The network's own complaint says more.
    return None
  if jax.tree.structure(params) != jax.tree.structure(wanted):
    return TypeError(
      'params must be the tree that init of this task makes; got '
      f'{checks.described(params)} of another structure: of a training state '
      'they are algorithm.params(state).'
    )
  pairs = zip(
    jax.tree_util.tree_leaves_with_path(params),
    jax.tree.leaves(wanted),
    strict=True,
  )
  for (path, got), want in pairs:
    if jnp.shape(got) != want.shape:
      return ValueError(
        f'params{jax.tree_util.keystr(path)} has shape {jnp.shape(got)}; init '
        f'of this task makes {want.shape}{_stacked(jnp.shape(got), want.shape)}'
      )
  got, want = _shapes(inputs), _shapes(example_inputs)
  if [s[1:] for s in got] != [s[1:] for s in want]:
    return ValueError(
      f'inputs have shape {_listed(got)}, but this task was made for examples '
      f'of shape {_listed([s[1:] for s in want])}, inputs [B, ...].'
    )
  return None


def _shapes(tree: chex.ArrayTree) -> list[tuple[int, ...]]:
  return [jnp.shape(x) for x in jax.tree.leaves(tree)]


def _listed(shapes) -> str:
  return ' and '.join(map(str, shapes))


def _stacked(got, want) -> str:
  if len(got) == len(want) + 1 and got[1:] == want:
    return ': the tree holds a model per client, use jax.vmap over it.'
  return '.'
