# SPDX-License-Identifier: Apache-2.0
"""Attacks by name, for flags."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxdl.attacks import (
  _corrupt,
  _directed,
  _envelope,
  _facts,
  _fang,
  _labels,
  _mimic,
  _search,
)
from jaxdl.core import checks, keys, registry, types

ATTACKS = registry.Registry(
  'attack',
  {
    'none': _labels.none,
    'label_flip': _labels.label_flip,
    'sign_flip': _directed.sign_flip,
    'scaled_sign_flip': _directed.scaled_sign_flip,
    'bit_flip': _corrupt.bit_flip,
    'reverse': _corrupt.reverse,
    'drop_coordinates': _corrupt.drop_coordinates,
    'zero': _corrupt.zero,
    'nan': _corrupt.nan,
    'inf': _corrupt.inf,
    'gaussian': _corrupt.gaussian,
    'uniform': _corrupt.uniform,
    'ipm': _directed.ipm,
    'alie': _directed.alie,
    'min_max': _envelope.min_max,
    'min_sum': _envelope.min_sum,
    'mimic': _mimic.mimic,
    'mimic_heuristic': _mimic.mimic_heuristic,
    'fang': _fang.fang,
    'anti_cge': _directed.anti_cge,
    'agr_tailored': _search.agr_tailored,
    'optimized_alie': _search.optimized_alie,
    'optimized_ipm': _search.optimized_ipm,
  },
  given=(
    'honest', 'own', 'num_byzantine', 'key', 'rule', 'damage', 'axis_name',
  ),
  told=('num_classes',),
)  # fmt: skip


def make_attack(
  spec: str,
  *,
  num_clients: int,
  num_byzantine: int,
  rule: Callable[[chex.ArrayTree], chex.ArrayTree] | None = None,
  damage: Callable[..., chex.Array] | None = None,
  num_classes: int | None = None,
  axis_name: str | None = None,
) -> types.Attack:
  """Builds an attack from text.

  `apply(honest, state, *, own, key=None) -> (sent, state)` works on the
  stacked trees of one round. Attacks that send something made of the honest
  clients ignore `own`, which may then be None; 'none' and 'label_flip' send
  `own` as it is, the latter after `poison` has changed what `own` was trained
  on. State is `()` except for 'mimic_heuristic'.

  Args:
    spec: one of `ATTACKS` with its options, see `core.registry`: 'sign_flip',
      'alie(scale=1.5)'.
    num_clients: N, attackers included (static).
    num_byzantine: F, `0 <= F < N` (static). With none, the attack sends an
      empty stack, leaves [0, ...].
    rule: what the attackers know of the server: a stacked tree [N, ...]
      (honest rows first) to one update. For the attacks with a parameter of
      that name, ignored elsewhere.
    damage: instead of `rule`, `damage(honest, sent) -> f32[]`.
    num_classes: K of the data, for 'label_flip'; may also be an option of it.
    axis_name: mapped axis over which honest clients are split, if any.

  Returns:
    An `Attack`.

  Raises:
    ValueError: if the name or an option is unknown, a count is out of range or
      something that the attack must know is missing.
    TypeError: if an argument has the wrong type.

  Example:
    >>> attack = make_attack('ipm(scale=0.5)', num_clients=3, num_byzantine=1)
    >>> state = attack.init(jnp.zeros(1))
    >>> sent, _ = attack.apply(jnp.array([[1.0], [3.0]]), state, own=None)
    >>> sent
    Array([[-1.]], dtype=float32)
  """
  part = ATTACKS.part(spec)
  name, fn = part.name, ATTACKS[part.name]
  facts = registry.facts(fn) or _facts.Facts()
  checks.integer(num_clients, name='num_clients', low=1)
  checks.integer(num_byzantine, name='num_byzantine', low=0)
  if num_byzantine >= num_clients:
    raise ValueError(
      f'num_byzantine={num_byzantine} leaves no honest client: need '
      f'num_byzantine < num_clients = {num_clients}.'
    )
  if rule is not None and damage is not None and checks.takes(fn, 'rule'):
    raise ValueError(f'attack {name!r} takes rule or damage, not both.')
  if checks.takes(fn, 'rule') and rule is None and damage is None:
    raise ValueError(
      f'attack {name!r} must know what it attacks: give rule (stacked tree -> '
      'update) or damage ((honest, sent) -> scalar).'
    )
  if damage is not None and not checks.takes(fn, 'damage'):
    raise ValueError(
      f'attack {name!r} searches nothing, so damage has no effect: leave it '
      'out.'
    )
  if axis_name is not None and not checks.takes(fn, 'axis_name'):
    raise ValueError(
      f'attack {name!r} looks at no other client, so axis_name has no effect: '
      'leave it out.'
    )
  known = num_classes is not None or 'num_classes' in part.options
  if checks.takes(fn, 'num_classes') and not known:
    raise ValueError(
      f'attack {name!r} must know the number of classes: give num_classes=K, '
      f'or write {name}(num_classes=K).'
    )
  told: dict[str, Any] = {'num_byzantine': num_byzantine}
  if num_classes is not None:
    told['num_classes'] = num_classes
  if axis_name is not None:
    told['axis_name'] = axis_name
  if num_byzantine == 0:
    return types.Attack(lambda params: (), _send_nothing)
  bound = ATTACKS.partial(part, **told)
  if facts.makes:
    attack = bound()
  else:
    run = functools.partial(
      _run, bound, f'attack {name!r}', facts.reads_own, rule, damage
    )
    attack = types.Attack(lambda params: (), run)
  num_honest = num_clients - num_byzantine

  def apply(honest, state, *, own, key=None):
    count = checks.num_clients(honest, name='honest')
    if axis_name is not None:
      count *= checks.axis_size(axis_name)
    if count != num_honest:
      raise ValueError(
        f'honest has {count} clients, but num_clients={num_clients} and '
        f'num_byzantine={num_byzantine} leave {num_honest}.'
      )
    if own is not None:
      attackers = checks.num_clients(own, name='own')
      if attackers != num_byzantine:
        raise ValueError(
          f'own has {attackers} clients, but num_byzantine={num_byzantine}.'
        )
    elif facts.reads_own:
      raise ValueError(f'attack {name!r} needs own, leaves [F, ...]; got None.')
    return attack.apply(honest, state, own=own, key=key)

  if axis_name is None:
    tried = apply
    if checks.takes(fn, 'rule'):
      # Rule and damage may understand updates of one structure only.
      nothing = lambda honest, sent: jnp.zeros(())
      tried = functools.partial(
        _run, bound, f'attack {name!r}', facts.reads_own, None, nothing
      )
    _rehearse(tried, attack.init, num_honest, num_byzantine)
  return types.Attack(attack.init, apply, attack.poison)


def as_attack(
  attack: types.Attack | Callable[..., Any] | str | None,
  *,
  num_byzantine: int,
  num_clients: int | None = None,
  name: str = 'attack',
  **context: Any,
) -> types.Attack | None:
  """Turns what stands for an adversary into an `Attack`.

  Every algorithm with adversaries calls it, so that `sign_flip`,
  `functools.partial(alie, scale=1.5)` or 'alie(scale=1.5)' may be given.

  Args:
    attack: an `Attack` (kept), None (kept: nobody attacks), or a function
      without memory, of this package or your own:
      `attack(honest, *, num_byzantine)` where its first argument is called
      `honest` or it takes `num_byzantine`, `attack(own)` where that is called
      `own`; with a `key` where it takes one. Both return leaves [F, ...]. Or
      the text that `make_attack` takes.
    num_byzantine: F >= 0 (static), given to functions that do not know it yet.
    num_clients: N, for text.
    name: the argument's name, for messages.
    **context: further arguments of `make_attack`, for text.

  Returns:
    An `Attack` or None.

  Raises:
    TypeError: if it is anything else; the message says what to call.
    ValueError: if an attack that must know a rule is given none.

  Example:
    >>> from jaxdl import attacks
    >>> attack = as_attack(attacks.sign_flip, num_byzantine=1)
    >>> attack.apply(jnp.array([[1.0], [3.0]]), (), own=None)[0]
    Array([[-2.]], dtype=float32)
  """
  if attack is None or isinstance(attack, types.Attack):
    return attack
  others = (types.Aggregator, types.Network, types.Task, types.Algorithm)
  pair = checks.has_functions(attack, 'init', 'apply')
  if pair and not isinstance(attack, others) and not hasattr(attack, 'matrix'):
    return types.Attack(
      attack.init, attack.apply, getattr(attack, 'poison', None)
    )
  if isinstance(attack, str) and num_clients is not None:
    return make_attack(
      attack, num_clients=num_clients, num_byzantine=num_byzantine, **context
    )
  if isinstance(attack, str):
    raise TypeError(
      f'{name} must be an attack; got the text {attack!r}: call '
      f'attacks.make_attack({attack!r}, num_clients=N, '
      f'num_byzantine={num_byzantine}).'
    )
  if not callable(attack) or isinstance(attack, type):
    raise TypeError(
      f'{name} must be an Attack or a function of the honest clients; got '
      f'{checks.described(attack)}: see attacks.ATTACKS, attacks.make_attack.'
    )
  fn = checks.unwrapped(attack)
  label = checks.described(fn).removeprefix('the function ')
  if fn is _labels.flip_labels:
    raise TypeError(
      f'{name}={label} changes data, not messages: use '
      'attacks.label_flip(num_classes=K).'
    )
  facts = registry.facts(fn)
  if fn is make_attack or (facts is not None and facts.makes):
    raise TypeError(f'{name}={label} makes an attack: call it.')
  parameters = checks.parameters(attack, name=name)
  by_place = [p for p in parameters.values() if p.kind <= p.VAR_POSITIONAL]
  keywords = {p.name for p in parameters.values()}
  if not by_place:
    raise TypeError(f'{name}={label} takes no honest clients: call it.')
  given = {'num_byzantine', 'key'}
  missing = [
    p.name
    for i, p in enumerate(parameters.values())
    if p.default is p.empty
    and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    and (i or p.kind is p.KEYWORD_ONLY)
    and p.name not in given
  ]
  if missing:
    raise TypeError(
      f'{name}={label} needs {", ".join(missing)}: bind with '
      f'functools.partial({label}, {missing[0]}=...), or wrap a function with '
      'memory as core.types.Attack(init, apply).'
    )
  bound = attack.keywords if isinstance(attack, functools.partial) else {}
  if 'rule' in keywords and not {'rule', 'damage'} & bound.keys():
    raise ValueError(
      f'{name}={label} must know what it attacks: bind rule (stacked tree -> '
      f'update), functools.partial({label}, rule=...).'
    )
  first = by_place[0].name
  reads_own = first == 'own' or (facts is not None and facts.reads_own)
  if not reads_own and first != 'honest' and 'num_byzantine' not in keywords:
    raise TypeError(
      f'{name}={label} must say what it is made of: call its first argument '
      'honest (leaves [H, ...]) or own ([F, ...]), and let it return [F, ...].'
    )
  if checks.takes(attack, 'num_byzantine'):
    attack = functools.partial(attack, num_byzantine=num_byzantine)
  run = functools.partial(
    _run, attack, f'{name}={label}', reads_own, None, None
  )
  return types.Attack(lambda params: (), run)


def _send_nothing(honest, state, *, own, key=None):
  del own, key
  return jax.tree.map(lambda x: x[:0], honest), state


def _run(fn, label, reads_own, rule, damage, honest, state, *, own, key=None):
  """One round of a function without memory whose options are bound."""
  kwargs = {}
  if checks.takes(fn, 'key'):
    keys.check_key(key, name=f'key of {label}')
    kwargs['key'] = key
  if checks.takes(fn, 'rule') and damage is not None:
    kwargs['damage'] = functools.partial(damage, honest)
  elif checks.takes(fn, 'rule') and rule is not None:
    kwargs['rule'] = rule
  return fn(own if reads_own else honest, **kwargs), state


def _rehearse(apply, init, num_honest, num_byzantine):
  """Traces one round on scalars, so that bad options fail at once."""
  honest = jax.ShapeDtypeStruct((num_honest,), jnp.float32)
  own = jax.ShapeDtypeStruct((num_byzantine,), jnp.float32)
  state = jax.eval_shape(init, jax.ShapeDtypeStruct((), jnp.float32))
  key = jax.eval_shape(lambda: jax.random.key(0))
  jax.eval_shape(
    lambda h, s, o, k: apply(h, s, own=o, key=k), honest, state, own, key
  )
