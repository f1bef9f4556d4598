# SPDX-License-Identifier: Apache-2.0
"""The log of what was broadcast, from which any machine rebuilds the model."""

import functools
import hashlib
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import checks
from jaxdl.decentralized.one_byte import _slopes


class MessageLog(NamedTuple):
  """The codes of consecutive iterations.

  Attributes:
    codes: [T, M, S], the dtype of the codec; zero where nothing was received.
    received: bool[T, M, S], what everybody agreed to have received.
  """

  codes: chex.Array
  received: chex.Array


def message_log(
  iterations: np.ndarray,
  machines: np.ndarray,
  samples: np.ndarray,
  codes: np.ndarray,
  *,
  num_machines: int,
  num_samples: int = 1,
  num_iterations: int | None = None,
  first: int = 0,
) -> MessageLog:
  """Puts messages, in whatever order they arrived, into the order of summation.

  Args:
    iterations: i[L], iteration of each message.
    machines: i[L], its sender, in the order of joining.
    samples: i[L], which of the sender's samples.
    codes: [L].
    num_machines: M.
    num_samples: S.
    num_iterations: T, those of the log; up to the last message if None.
    first: iteration with which the log begins.

  Returns:
    The log, NumPy arrays.

  Raises:
    ValueError: if lengths differ, a number is out of range, or two messages
      have one iteration, machine and sample.

  Example:
    >>> log = message_log([1, 0], [0, 1], [0, 0], [7, -3], num_machines=2)
    >>> log.codes[:, :, 0].tolist()
    [[0, -3], [7, 0]]
  """
  m = checks.integer(num_machines, name='num_machines', low=1)
  s = checks.integer(num_samples, name='num_samples', low=1)
  codes = np.asarray(codes)
  index = [np.asarray(x, np.int64) for x in (iterations, machines, samples)]
  if codes.ndim != 1 or any(x.shape != codes.shape for x in index):
    raise ValueError(
      'iterations, machines, samples and codes need one shape [L]; got '
      f'{[x.shape for x in (*index, codes)]}.'
    )
  index[0] = index[0] - first
  t = num_iterations
  if t is None:
    t = int(index[0].max()) + 1 if codes.size else 0
  bounds = (('iterations', t), ('machines', m), ('samples', s))
  for values, (name, size) in zip(index, bounds, strict=True):
    low = first if name == 'iterations' else 0
    wrong = np.flatnonzero((values < 0) | (values >= size))
    if wrong.size:
      raise ValueError(
        f'{name}[{wrong[0]}]={values[wrong[0]] + low} is out of range: need '
        f'{low} <= {name} < {size + low}.'
      )
  flat = np.ravel_multi_index(tuple(index), (t, m, s)) if codes.size else []
  where, counts = np.unique(flat, return_counts=True)
  if np.any(counts > 1):
    twice = np.unravel_index(int(where[np.argmax(counts > 1)]), (t, m, s))
    raise ValueError(
      f'two messages are of iteration {twice[0] + first}, machine {twice[1]}, '
      f'sample {twice[2]}: keep the first.'
    )
  full = np.zeros((t, m, s), codes.dtype)
  received = np.zeros((t, m, s), bool)
  full[tuple(index)] = codes
  received[tuple(index)] = True
  return MessageLog(full, received)


def replay(
  algorithm: _slopes.OneByte,
  state: _slopes.OneByteState,
  log: MessageLog,
) -> _slopes.OneByteState:
  """Rebuilds a model from an earlier one and what was broadcast since.

  The result is bitwise what the machines hold that took part, on the same kind
  of device. Joining late costs either the model, 4 D bytes, or the start (often
  public) and the log, about one byte per direction.

  Args:
    algorithm: what `one_byte` made, with the options of the machines.
    state: a state at the beginning of the log.
    log: codes and membership of consecutive iterations.

  Returns:
    The state after the log.

  Raises:
    ValueError: if the log has other axes than (T, M, S), or holds codes of
      another codec.

  Cost: T M S draws of D numbers, no evaluation of any loss.

  Source: Zelikman et al. 2023 (https://arxiv.org/abs/2306.10015), code.
  """
  shape = (algorithm.num_machines, algorithm.num_samples)
  codes, received = jnp.asarray(log.codes), jnp.asarray(log.received)
  if codes.ndim != 3 or codes.shape[1:] != shape:
    raise ValueError(
      f'log.codes must have shape [T, M, S] with (M, S) = {shape}; got '
      f'{codes.shape}.'
    )
  if received.shape != codes.shape or received.dtype != jnp.bool_:
    raise ValueError(
      f'log.received must be bool{list(codes.shape)}; got '
      f'{received.dtype}{list(received.shape)}.'
    )
  if codes.dtype != algorithm.codec.dtype:
    raise ValueError(
      f'log.codes are {codes.dtype} but {algorithm.codec.name} is '
      f'{algorithm.codec.dtype}: replay with the codec that was used.'
    )
  return _scan(algorithm.receive, state, codes, received)


@functools.partial(jax.jit, static_argnums=0)
def _scan(receive, state, codes, received):
  body = lambda state, row: (receive(state, *row), None)
  return jax.lax.scan(body, state, (codes, received))[0]


def fingerprint(params: chex.ArrayTree) -> str:
  """Hashes a model, so that machines can compare theirs before they start.

  Args:
    params: any pytree of arrays.

  Returns:
    A SHA-256 of structure, shapes, dtypes and bits, in hexadecimal.

  Example:
    >>> fingerprint({'w': np.zeros(2)}) == fingerprint({'w': np.zeros(3)})
    False
  """
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    leaf = np.asarray(leaf)
    head = f'{jax.tree_util.keystr(path)}|{leaf.dtype}|{leaf.shape}|'
    digest.update(head.encode())
    digest.update(leaf.tobytes())
  return digest.hexdigest()
