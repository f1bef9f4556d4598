# SPDX-License-Identifier: Apache-2.0
"""What malicious voters submit: other permutations, nothing else is possible.

An attack maps the honest reputations i32[U, n] of one layer to what the rows of
malicious voters become, i32[U, n] or one row for all of them. It is told
`malicious: bool[U]`, who they are and whose own work they know, `others:
bool[U]`, the honest voters, and a key per voter.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from jaxdl.core import checks, registry
from jaxdl.federated.ranks import _rankings, _rules

RankAttack = Callable[..., chex.Array]


def _known(reputations, malicious, others, omniscient):
  """The ranking that adversaries work against."""
  seen = (malicious | others) if omniscient else malicious
  return _rankings.rank_edges(_rules.borda(reputations, seen))


def rank_reversal(
  reputations: chex.Array,
  malicious: chex.Array,
  others: chex.Array,
  *,
  omniscient: bool = False,
) -> chex.Array:
  """Turns around what the adversaries' own work adds up to.

  All submit one ranking, the descending order of their summed reputations; of
  equal sums in the order of the edges.

  Args:
    reputations: i32[U, n], what all would submit if they were honest.
    malicious: bool[U], adversaries.
    others: bool[U], honest voters.
    omniscient: whether adversaries know the votes of the others too.

  Returns:
    i32[n], the reputations that every adversary submits.

  Example:
    >>> rows = jnp.array([[0, 1, 2], [2, 1, 0]])
    >>> first = jnp.array([True, False])
    >>> rank_reversal(rows, first, ~first).tolist()
    [2, 1, 0]

  Source: Mozaffari et al. 2021 (https://arxiv.org/abs/2110.04350), section on
    worst-case attacks.
  """
  seen = (malicious | others) if omniscient else malicious
  total = _rules.borda(reputations, seen)
  return _rankings.reputations(_rankings.rank_edges(-total))


def swap_halves(
  reputations: chex.Array,
  malicious: chex.Array,
  others: chex.Array,
  *,
  keep: float = 0.5,
  omniscient: bool = False,
) -> chex.Array:
  """Ranks what should be dropped above what should be kept.

  Within both parts the order stays, so that edges next to the border, which are
  the easiest to carry over it, are pulled hardest.

  Args:
    reputations: as `rank_reversal`.
    malicious: bool[U], adversaries.
    others: bool[U], honest voters.
    keep: share of the edges that masks keep (static).
    omniscient: whether adversaries know the votes of the others too.

  Returns:
    i32[n].

  Raises:
    ValueError: if `keep` is out of range.

  Example:
    >>> rows = jnp.array([[0, 1, 2, 3]])
    >>> swap_halves(rows, jnp.array([True]), jnp.array([False])).tolist()
    [2, 3, 0, 1]
  """
  checks.number(keep, name='keep', low=0.0, high=1.0, open_low=True)
  ranking = _known(reputations, malicious, others, omniscient)
  size = ranking.shape[0]
  kept = _rankings.num_sent(size, keep)
  return _rankings.reputations(jnp.roll(ranking, kept))


def random_rank(
  reputations: chex.Array, malicious: chex.Array, keys: chex.PRNGKey
) -> chex.Array:
  """Submits a uniform permutation, another for every adversary.

  Args:
    reputations: i32[U, n].
    malicious: bool[U]; unused.
    keys: keys[U]; consumed.

  Returns:
    i32[U, n].

  Cost: U random permutations.
  """
  del malicious
  n = reputations.shape[1]
  draw = lambda k: jax.random.permutation(k, n).astype(jnp.int32)
  return jax.vmap(draw)(keys)


def none(reputations: chex.Array, malicious: chex.Array) -> chex.Array:
  """Submits honest work."""
  del malicious
  return reputations


RANK_ATTACKS = registry.Registry(
  'rank_attack',
  {
    'none': none,
    'rank_reversal': rank_reversal,
    'random_rank': random_rank,
    'swap_halves': swap_halves,
  },
  given=('reputations', 'malicious', 'others', 'keys'),
)


def as_rank_attack(
  attack: RankAttack | str | None, *, name: str = 'attack'
) -> RankAttack | None:
  """Turns what stands for an attack on rankings into a function.

  Args:
    attack: a part of `RANK_ATTACKS`, a function of which `reputations` is the
      first argument and that takes those of `malicious`, `others` and `keys`
      that it needs by name, or None.
    name: the argument's name, for messages.

  Returns:
    `attack(reputations, malicious=, others=, keys=) -> i32[U, n]` with the rows
    of adversaries replaced; None if nobody attacks.

  Raises:
    ValueError: if the text is no part.
    TypeError: if it is something else.

  Example:
    >>> attack = as_rank_attack('rank_reversal')
    >>> rows, bad = jnp.array([[0, 1], [0, 1]]), jnp.array([True, False])
    >>> keys = jax.random.split(jax.random.key(0))
    >>> attack(rows, malicious=bad, others=~bad, keys=keys).tolist()
    [[1, 0], [0, 1]]
  """
  if isinstance(attack, str):
    part = RANK_ATTACKS.part(attack, name=name)
    if part.name == 'none':
      return None
    attack = functools.partial(RANK_ATTACKS[part.name], **part.options)
  if attack is None:
    return None
  if not callable(attack):
    raise TypeError(
      f'{name} must be a part of RANK_ATTACKS or a function of reputations; '
      f'got {checks.described(attack)}.'
    )

  def run(reputations, **told):
    own = {k: v for k, v in told.items() if checks.takes(attack, k)}
    sent = attack(reputations, **own)
    if jnp.shape(sent) not in (reputations.shape, reputations.shape[1:]):
      raise ValueError(
        f'{name} must give i32[U, n] or i32[n] of reputations '
        f'{reputations.shape}; got {jnp.shape(sent)}.'
      )
    return jnp.where(told['malicious'][:, None], sent, reputations)

  # Bad options fail now.
  voters = jax.ShapeDtypeStruct((2,), bool)
  jax.eval_shape(
    lambda x, m, o, k: run(x, malicious=m, others=o, keys=k),
    jax.ShapeDtypeStruct((2, 3), jnp.int32),
    voters,
    voters,
    jax.eval_shape(lambda: jax.random.split(jax.random.key(0))),
  )
  return run
