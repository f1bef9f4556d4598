# SPDX-License-Identifier: Apache-2.0
"""Rows of what policies do, for tables and pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.agents.public_goods import _game, _policies
from jaxdl.core import checks


def policy_rows(
  policies: _policies.Policies,
  game: _game.Game,
  *,
  seeds: Sequence[int],
  num_sums: int = 41,
  label: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
  """What agents give and get, and how the last one answers.

  Args:
    policies: leaves [S, n, ...], of S seeds.
    game: one game.
    seeds: S seeds.
    num_sums: sums at which the last agent is asked; all others have given the
      same there.
    label: further columns.

  Returns:
    A row for each seed and agent, split 'agents' with `agent`, from 1, `given`
    and `reward`; and one for each seed and sum, split 'answers' with `sum` and
    `given`; none of a single agent or where nobody sees anything.

  Raises:
    ValueError: if `num_sums` is below two, or seeds and policies differ in
      number.

  Example:
    >>> fixed = _policies.constant_policies(jnp.array([[0.1, 0.2]]))
    >>> game = _game.Game(num_agents=2)
    >>> rows = policy_rows(fixed, game, seeds=(7,), num_sums=2)
    >>> [(r['split'], round(r['given'], 2)) for r in rows]
    [('agents', 0.1), ('agents', 0.2), ('answers', 0.2), ('answers', 0.2)]
  """
  checks.integer(num_sums, name='num_sums', low=2)
  n = game.num_agents
  for leaf in jax.tree.leaves(policies.params):
    if jnp.shape(leaf)[:1] != (len(seeds),):
      raise ValueError(
        f'policies must have a row for each of {len(seeds)} seeds; got an '
        f'array of shape {jnp.shape(leaf)}.'
      )
  checked = _game.check_one(game)
  marks = checked.c_min + (checked.c_max - checked.c_min) * jnp.asarray(
    np.linspace(0, 1, num_sums), checked.rho.dtype
  )
  history = jnp.tile(marks[:, None], (1, n)).at[:, -1].set(0)

  def one(own):
    path = _policies.play(own, checked)
    answers = _policies.continued(own, history, n - 1, checked)[:, -1]
    return path, _game.reward(path, checked), answers

  given, paid, answers = jax.device_get(jax.jit(jax.vmap(one))(policies))
  sums = np.asarray(history.sum(axis=1))
  rows = []
  for k, seed in enumerate(seeds):
    common = {'seed': seed, **(label or {})}
    rows += [
      common
      | {
        'split': 'agents',
        'agent': i + 1,
        'given': float(given[k, i]),
        'reward': float(paid[k, i]),
      }
      for i in range(n)
    ]
    if n > 1 and not game.simultaneous:
      rows += [
        common | {'split': 'answers', 'sum': float(s), 'given': float(x)}
        for s, x in zip(sums, answers[k], strict=True)
      ]
  return rows
