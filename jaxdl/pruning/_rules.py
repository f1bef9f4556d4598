# SPDX-License-Identifier: Apache-2.0
"""How gates move while a network trains: the game, and what it is compared to.

A `Rule` moves the gates of a gated task; `with_gates` makes one optimizer of it
and that of the network, so that it goes wherever an optimizer goes: into
`federated.centralized_sgd`, the local work of a client, gossip.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from jaxdl import local
from jaxdl.core import checks, registry
from jaxdl.pruning import _game, _gated, _players, _scores

GRADIENTS = ('scaled', 'effective')


class Rule(NamedTuple):
  """How gates move.

  Attributes:
    init: `init(params) -> state` of parameters {'network', 'gates'}.
    update: `update(slopes, state, params) -> (gates, state)`; slopes are
      ∂L/∂s_i, gates the next ones.
  """

  init: Callable[[chex.ArrayTree], chex.ArrayTree]
  update: Callable[..., tuple[dict[str, chex.Array], chex.ArrayTree]]


class GatesState(NamedTuple):
  """State of `with_gates`.

  Attributes:
    optimizer: that of the network's optimizer.
    rule: that of the gates.
  """

  optimizer: chex.ArrayTree
  rule: chex.ArrayTree


class GameState(NamedTuple):
  """State of `game`.

  Attributes:
    products: running means of g_i by layer, not divided by `weight`.
    weight: f32[], what they sum up to.
    optimizer: that of the participations' optimizer.
  """

  products: dict[str, chex.Array]
  weight: chex.Array
  optimizer: chex.ArrayTree


def with_gates(
  optimizer: optax.GradientTransformation, rule: Rule
) -> optax.GradientTransformation:
  """One optimizer of {'network', 'gates'}: θ by gradients, s by a rule.

  Args:
    optimizer: of the network; its weight decay and clipping see θ alone.
    rule: of the gates.

  Returns:
    An optax transformation whose `update` needs `params`.

  Raises:
    TypeError: if a part is of another kind, or parameters are not those of a
      gated network.

  Example:
    >>> from jaxdl import networks
    >>> network = gated(networks.mlp((4,), 1))
    >>> task = networks.regression(network, jnp.ones((1, 2)))
    >>> params = task.init(jax.random.key(0))
    >>> optimizer = with_gates(optax.sgd(0.1), game(benefit=0.0, rate=0.5))
    >>> batch = {'inputs': jnp.ones((3, 2)), 'labels': jnp.ones((3, 1))}
    >>> grads = jax.grad(task.loss)(params, batch)
    >>> change, _ = optimizer.update(grads, optimizer.init(params), params)
    >>> bool((change['gates']['0'] < -0.05).all())
    True
  """
  checks.optimizer(optimizer)
  if not isinstance(rule, Rule):
    raise TypeError(
      f'rule must be a pruning.Rule, such as game(); got '
      f'{checks.described(rule)}.'
    )

  def init(params):
    _gated.check_tree(params)
    return GatesState(optimizer.init(params['network']), rule.init(params))

  def update(grads, state, params=None):
    _gated.check_tree(params)
    change, memory = optimizer.update(
      grads['network'], state.optimizer, params['network']
    )
    gates, own = rule.update(grads['gates'], state.rule, params)
    # To zero, the difference leads exactly; it never leads out of [0, 1].
    moved = jax.tree.map(jnp.subtract, gates, params['gates'])
    return {'network': change, 'gates': moved}, GatesState(memory, own)

  return optax.GradientTransformation(init, update)


def dense() -> Rule:
  """Leaves all gates as they are: ordinary training, or fine-tuning."""
  return Rule(
    lambda params: (), lambda slopes, state, params: (params['gates'], state)
  )


def game(
  *,
  benefit: chex.Numeric = 100.0,
  l2: chex.Numeric = 0.001,
  l1: chex.Numeric = 0.1,
  competition: chex.Numeric = 0.0,
  rate: float | str | optax.GradientTransformation = 0.003,
  benefit_sign: int = -1,
  normalize: bool = False,
  gradient_at: str = 'scaled',
  decay: chex.Numeric = 0.9,
  unit_norm: bool = False,
  target_sparsity: float | None = None,
  threshold: float = 0.01,
) -> Rule:
  """Every player climbs its utility, s <- clip(s + η_s ∂U/∂s, 0, 1).

  The paper prints a benefit that rewards players for raising the loss, α s_i
  g_i; `benefit_sign=-1`, the default, rewards lowering it. As g_i is some 1e-4
  a neuron, α must be large, or `normalize` measure it by its mean. Products are
  averaged over iterations.

  Args:
    benefit: α >= 0.
    l2: β >= 0.
    l1: γ >= 0.
    competition: η >= 0, within layers.
    rate: η_s > 0 of plain steps; or an optimizer of participations, text of
      `local.OPTIMIZERS` or of optax.
    benefit_sign: -1, or +1 as printed (static).
    normalize: see `player_benefits` (static).
    gradient_at: 'scaled' takes g_i = <∂L/∂θ_i, θ_i> = s_i ∂L/∂s_i as the paper
      does, which fades with s_i, so that who is nearly out stays out;
      'effective' takes ∂L/∂s_i (static).
    decay: of the running mean of g_i, in [0, 1); 0 takes that of the batch.
    unit_norm: whether players count as if of length one in costs, which keeps
      large ones from paying for their size alone (static).
    target_sparsity: share of all players in (0, 1); once it is reached,
      exactly, nobody moves any more. None plays on (static).
    threshold: participations below count as out, in (0, 1) (static).

  Returns:
    The rule. Who has a benefit that is not finite stays where it is.

  Raises:
    ValueError: if an option is out of range.

  Cost: O(D) an iteration beside the gradient.

  Example:
    >>> params = {
    ...   'network': [{'kernel': jnp.array([[1.0, 2.0]])}],
    ...   'gates': {'0': jnp.ones(2)},
    ... }
    >>> rule = game(benefit=1.0, l2=0.05, l1=0.1, rate=1.0)
    >>> slopes = {'0': jnp.array([-0.1, 0.1])}
    >>> rule.update(slopes, rule.init(params), params)[0]
    {'0': Array([0.9       , 0.39999998], dtype=float32)}

  Source: Shah and Khan 2025 (https://arxiv.org/abs/2512.22106), sections 3 and
    4; all options but α to η and η_s are ours.
  """
  costs = _game.Costs(l2, l1, competition)
  _game.check_costs(costs)
  checks.number(benefit, name='benefit', low=0.0)
  checks.choice(benefit_sign, (-1, 1), name='benefit_sign')
  checks.choice(gradient_at, GRADIENTS, name='gradient_at')
  checks.number(decay, name='decay', low=0.0, high=1.0, open_high=True)
  check_threshold(threshold)
  if target_sparsity is not None:
    checks.number(
      target_sparsity,
      name='target_sparsity',
      low=0.0,
      high=1.0,
      open_low=True,
      open_high=True,
    )
  stepper = _stepper(rate)
  compete = isinstance(competition, jax.Array) or competition != 0

  def init(params):
    gates = params['gates']
    zeros = jax.tree.map(jnp.zeros_like, gates)
    return GameState(zeros, jnp.zeros(()), stepper.init(gates))

  def update(slopes, state, params):
    gates, network = params['gates'], params['network']
    fresh = slopes
    if gradient_at == 'scaled':
      fresh = jax.tree.map(jnp.multiply, slopes, gates)
    blend = lambda old, new: decay * old + (1 - decay) * new
    products = jax.tree.map(blend, state.products, fresh)
    weight = blend(state.weight, 1.0)
    benefits = _players.player_benefits(
      jax.tree.map(lambda x: x / weight.astype(x.dtype), products),
      scale=benefit,
      sign=benefit_sign,
      normalize=normalize,
    )
    norms = _players.player_sq_norms(network, gates)
    if unit_norm:
      norms = jax.tree.map(lambda x: (x > 0).astype(x.dtype), norms)
    fall = jax.tree.map(
      lambda s, b, norm: l1 + 2 * l2 * norm * s - b, gates, benefits, norms
    )
    if compete:
      overlaps = _players.player_overlaps(network, gates, unit_norm=unit_norm)
      fall = jax.tree.map(lambda f, x: f + competition * x, fall, overlaps)
    sound = jax.tree.map(jnp.isfinite, fall)
    fall = jax.tree.map(lambda f, ok: jnp.where(ok, f, 0), fall, sound)
    step, memory = stepper.update(fall, state.optimizer, gates)
    moved = jax.tree.map(
      lambda x: jnp.clip(x, 0, 1), optax.apply_updates(gates, step)
    )
    moved = jax.tree.map(jnp.where, sound, moved, gates)
    # A broken benefit leaves no trace in the mean either.
    products = jax.tree.map(
      lambda new, old: jnp.where(jnp.isfinite(new), new, old),
      products,
      state.products,
    )
    if target_sparsity is not None:
      moved = _held(gates, moved, target_sparsity, threshold)
    return moved, GameState(products, weight, memory)

  return Rule(init, update)


def _stepper(rate):
  """An optimizer of participations."""
  if isinstance(rate, str):
    return local.make_optimizer(rate, name='rate')
  if checks.has_functions(rate, 'init', 'update'):
    return rate
  checks.number(rate, name='rate', low=0.0, open_low=True)
  return optax.sgd(rate)


def _held(gates, moved, target, threshold):
  """Next gates, of which no more are out than the target says."""
  names = _players.in_order(gates)
  flat = lambda tree: jnp.concatenate([tree[n].reshape(-1) for n in names])
  old, new = flat(gates), flat(moved)
  count = _scores.num_out(old.size, target)

  def hold(new):
    # Of those in before the move, the first by what they have after it.
    order = jnp.argsort(-jnp.where(old >= threshold, new, -1.0), stable=True)
    kept = jnp.zeros(old.size, bool).at[order[: old.size - count]].set(True)
    kept &= old >= threshold
    return jnp.where(kept & (new < threshold), old, new)

  # Sorting is slow, and needed once.
  new = jax.lax.cond(
    jnp.sum(new < threshold) > count, hold, lambda new: new, new
  )
  # Who is in when it is over stays as it is; who is out is out.
  over = jnp.sum(old < threshold) >= count
  new = jnp.where(over, old, new)
  ends, parts = 0, {}
  for name in names:
    x = moved[name]
    parts[name] = new[ends : ends + x.size].reshape(x.shape)
    ends += x.size
  return parts


def group_l1(*, price: chex.Numeric = 1e-4, rate: float | str = 0.003) -> Rule:
  """Descends the loss plus λ Σ s_i in the gates, clipped to [0, 1].

  It is the game with α = 1, γ = λ, gradients at the effective parameters and no
  other cost, which is why this baseline comes for free.

  Args:
    price: λ >= 0.
    rate: of the steps, see `game`.

  Returns:
    The rule.

  Raises:
    ValueError: if an option is out of range.

  Source: Liu et al. 2017 (https://arxiv.org/abs/1708.06519), equation 1, whose
    scales are the gates here.
  """
  checks.number(price, name='price', low=0.0)
  return game(
    benefit=1.0,
    l2=0.0,
    l1=price,
    rate=rate,
    gradient_at='effective',
    decay=0.0,
  )


class OneShotState(NamedTuple):
  """State of `one_shot`.

  Attributes:
    count: i32[], iterations done.
    totals: sums of |g_i| or g_i² by layer, over the last iterations before the
      cut.
  """

  count: chex.Array
  totals: dict[str, chex.Array]


def one_shot(
  *,
  score: str = 'magnitude',
  keep: float | Sequence[int] = 0.1,
  at: int = 1000,
  calibration: int = 10,
  seed: int = 0,
) -> Rule:
  """Prunes once, to the players of highest score, and trains on.

  Args:
    score: of `SCORES`: 'magnitude' |θ_i|², 'taylor' mean |g_i| and
      'taylor_squared' mean g_i² over batches, 'random' (static).
    keep: players that stay in each layer, by number; or a share of each layer
      (static).
    at: the iteration after whose step it prunes, >= 1; at the last one there is
      no fine-tuning (static).
    calibration: batches that 'taylor' takes means over, up to the cut (static).
    seed: of 'random'.

  Returns:
    The rule. Pruning at the first iteration with 'taylor' is what SNIP does, by
    neurons.

  Raises:
    ValueError: if an option is out of range; from `init`, if `keep` does not
      fit the layers.

  Example:
    >>> params = {
    ...   'network': [{'kernel': jnp.array([[1.0, 2.0]])}],
    ...   'gates': {'0': jnp.ones(2)},
    ... }
    >>> rule = one_shot(keep=(1,), at=1)
    >>> rule.update({'0': jnp.zeros(2)}, rule.init(params), params)[0]
    {'0': Array([0., 1.], dtype=float32)}

  Source: Molchanov et al. 2017 (https://arxiv.org/abs/1611.06440), section 2.2,
    for first-order scores; Lee et al. 2019 (https://arxiv.org/abs/1810.02340)
    for those at the start.
  """
  checks.choice(score, _scores.SCORES, name='score')
  checks.integer(at, name='at', low=1)
  checks.integer(calibration, name='calibration', low=1)
  checks.integer(seed, name='seed', low=0)
  _scores.check_keep(keep)
  power = {'taylor': 1, 'taylor_squared': 2}.get(score)

  def init(params):
    gates = params['gates']
    _scores.kept_counts(gates, keep)
    totals = jax.tree.map(jnp.zeros_like, gates) if power else {}
    return OneShotState(jnp.zeros((), jnp.int32), totals)

  def update(slopes, state, params):
    gates = params['gates']
    count, totals = state.count + 1, state.totals
    if power:
      counted = (count <= at) & (count > at - calibration)
      totals = jax.tree.map(
        lambda t, d, s: t + jnp.where(counted, jnp.abs(d * s) ** power, 0),
        totals,
        slopes,
        gates,
      )
      scores = totals
    elif score == 'random':
      scores = _scores.random_scores(jax.random.key(seed), gates)
    else:
      scores = _players.player_sq_norms(params['network'], gates)

    def prune(gates):
      masks = _scores.keep_top(scores, keep)
      return jax.tree.map(lambda s, m: s * m.astype(s.dtype), gates, masks)

    # Sorting is slow, and needed once.
    cut = jax.lax.cond(count == at, prune, lambda gates: gates, gates)
    return cut, OneShotState(count, totals)

  return Rule(init, update)


def check_threshold(value: Any) -> None:
  """Raises ValueError unless a threshold lies in (0, 1)."""
  checks.number(
    value, name='threshold', low=0.0, high=1.0, open_low=True, open_high=True
  )


METHODS = registry.Registry(
  'method',
  {'dense': dense, 'game': game, 'group_l1': group_l1, 'one_shot': one_shot},
)
