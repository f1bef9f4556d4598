# SPDX-License-Identifier: Apache-2.0
"""Attacks by name, for flags."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdl.attacks import _corrupt, _directed, _envelope, _fang, _mimic, _search
from jaxdl.core import checks, keys, types


def _send_own(own):
  return own


class _Entry(NamedTuple):
  """How a registered attack is called.

  Attributes:
    fn: the function, or the factory of an `Attack` if `stateful`.
    reads_own: its first argument is `own` instead of `honest`.
    stateful: whether it has memory.
    fixed: options that the name decides.
    flips_labels: whether the attackers' data carries flipped labels.
  """

  fn: Callable[..., Any]
  reads_own: bool = False
  stateful: bool = False
  fixed: tuple[tuple[str, Any], ...] = ()
  flips_labels: bool = False


_ENTRIES = {
  'none': _Entry(_send_own, reads_own=True),
  'label_flip': _Entry(_send_own, reads_own=True, flips_labels=True),
  'sign_flip': _Entry(_directed.sign_flip),
  'scaled_sign_flip': _Entry(_directed.scaled_sign_flip),
  'bit_flip': _Entry(_corrupt.bit_flip, reads_own=True),
  'reverse': _Entry(_corrupt.reverse, reads_own=True),
  'drop_coordinates': _Entry(_corrupt.drop_coordinates, reads_own=True),
  'zero': _Entry(_corrupt.constant, fixed=(('value', 0.0),)),
  'nan': _Entry(_corrupt.constant, fixed=(('value', jnp.nan),)),
  'inf': _Entry(_corrupt.constant, fixed=(('value', jnp.inf),)),
  'gaussian': _Entry(_corrupt.gaussian),
  'uniform': _Entry(_corrupt.uniform),
  'ipm': _Entry(_directed.ipm),
  'alie': _Entry(_directed.alie),
  'min_max': _Entry(_envelope.min_max),
  'min_sum': _Entry(_envelope.min_sum),
  'mimic': _Entry(_mimic.mimic),
  'mimic_heuristic': _Entry(_mimic.mimic_heuristic, stateful=True),
  'fang': _Entry(_fang.fang),
  'anti_cge': _Entry(_directed.anti_cge),
  'agr_tailored': _Entry(_search.agr_tailored),
  'optimised_alie': _Entry(_search.optimised_alie),
  'optimised_ipm': _Entry(_search.optimised_ipm),
}

NAMES = tuple(_ENTRIES)


def needs_flipped_labels(name: str) -> bool:
  """Whether the attackers must train on flipped labels.

  Args:
    name: one of `NAMES`.

  Returns:
    True for 'label_flip': apply `flip_labels` to the attackers' data; what
    they then send is honest work.

  Raises:
    ValueError: if the name is unknown.

  Example:
    >>> needs_flipped_labels('label_flip'), needs_flipped_labels('alie')
    (True, False)
  """
  return _entry(name).flips_labels


def needs_rule(name: str) -> bool:
  """Whether an attack must know the rule that it attacks.

  Args:
    name: one of `NAMES`.

  Returns:
    True if `make_attack` needs `rule` or `damage`.

  Raises:
    ValueError: if the name is unknown.

  Example:
    >>> needs_rule('agr_tailored'), needs_rule('alie')
    (True, False)
  """
  return 'rule' in _parameters(_entry(name))


def needs_key(name: str) -> bool:
  """Whether an attack draws random numbers in every round.

  Args:
    name: one of `NAMES`.

  Returns:
    True if `apply` needs `key`.

  Raises:
    ValueError: if the name is unknown.

  Example:
    >>> needs_key('gaussian'), needs_key('alie')
    (True, False)
  """
  return 'key' in _parameters(_entry(name))


def attack_options(name: str) -> tuple[str, ...]:
  """The options that `make_attack` accepts for an attack.

  Args:
    name: one of `NAMES`.

  Returns:
    Their names.

  Raises:
    ValueError: if the name is unknown.

  Example:
    >>> attack_options('alie')
    ('scale', 'sign', 'ddof', 'axis_name')
  """
  entry = _entry(name)
  given = {'num_byzantine', 'key', 'rule', *dict(entry.fixed)}
  return tuple(p for p in _parameters(entry) if p not in given)


def make_attack(
  name: str,
  *,
  num_clients: int,
  num_byzantine: int,
  rule: Callable[[chex.ArrayTree], chex.ArrayTree] | None = None,
  **options: Any,
) -> types.Attack:
  """Builds an attack from its name.

  `apply(honest, state, *, own, key=None) -> (sent, state)` works on the
  stacked trees of one round. Attacks that send something made of the honest
  clients ignore `own`, which may then be None; 'none' and 'label_flip' send
  `own` as it is. State is `()` except for 'mimic_heuristic'.

  Args:
    name: one of `NAMES`.
    num_clients: N, attackers included (static).
    num_byzantine: F, `0 <= F < N` (static). With none, the attack sends an
      empty stack, leaves [0, ...].
    rule: what the attackers know of the server: a stacked tree [N, ...]
      (honest rows first) to one update. Used where `needs_rule(name)`, ignored
      elsewhere.
    **options: those of the function of that name, see `attack_options`.
      `damage` takes `(honest, sent)` here, since it must outlive a round.

  Returns:
    An `Attack`.

  Raises:
    ValueError: if the name or an option is unknown, a count is out of range or
      a rule is needed and missing.
    TypeError: if an argument has the wrong type.

  Example:
    >>> attack = make_attack('ipm', num_clients=3, num_byzantine=1, scale=0.5)
    >>> state = attack.init(jnp.zeros(1))
    >>> sent, _ = attack.apply(jnp.array([[1.0], [3.0]]), state, own=None)
    >>> sent
    Array([[-1.]], dtype=float32)
  """
  entry = _entry(name)
  checks.integer(num_clients, name='num_clients', low=1)
  checks.integer(num_byzantine, name='num_byzantine', low=0)
  if num_byzantine >= num_clients:
    raise ValueError(
      f'num_byzantine={num_byzantine} leaves no honest client: need '
      f'num_byzantine < num_clients = {num_clients}.'
    )
  allowed = attack_options(name)
  for option in options:
    if option not in allowed:
      known = ', '.join(allowed) or 'none'
      raise ValueError(
        f'{option!r} is not an option of attack {name!r}: known are {known}.'
      )
  damage = options.pop('damage', None)
  if needs_rule(name) and rule is None and damage is None:
    raise ValueError(
      f'attack {name!r} must know what it attacks: give rule (stacked tree -> '
      'update) or damage ((honest, sent) -> scalar).'
    )
  if damage is not None and rule is not None:
    raise ValueError(f'attack {name!r} takes rule or damage, not both.')
  if num_byzantine == 0:
    return types.Attack(lambda params: (), _send_nothing)
  options = {**options, **dict(entry.fixed)}
  if entry.stateful:
    attack = entry.fn(num_byzantine=num_byzantine, **options)
    init, run = attack.init, attack.apply
  else:
    init = lambda params: ()
    run = functools.partial(
      _run, entry, name, num_byzantine, rule, damage, options
    )

  num_honest = num_clients - num_byzantine
  axis_name = options.get('axis_name')

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
    return run(honest, state, own=own, key=key)

  if axis_name is None:
    _rehearse(apply, init, name, num_honest, num_byzantine, rule, damage)
  return types.Attack(init, apply)


def as_attack(
  attack: types.Attack | Callable[..., Any] | None,
  *,
  num_byzantine: int,
  name: str = 'attack',
) -> types.Attack | None:
  """Turns what stands for an adversary into an `Attack`.

  Every algorithm with adversaries calls it, so that `sign_flip` or
  `functools.partial(alie, scale=1.5)` may be given as they are.

  Args:
    attack: an `Attack` (kept), None (kept: nobody attacks), or a function
      without memory, of this package or your own:
      `attack(honest, *, num_byzantine)` where its first argument is called
      `honest` or it takes `num_byzantine`, `attack(own)` where that is called
      `own`; with a `key` where it takes one. Both return leaves [F, ...].
    num_byzantine: F >= 0 (static), given to functions that do not know it yet.
    name: the argument's name, for messages.

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
    return types.Attack(attack.init, attack.apply)
  if isinstance(attack, str):
    raise TypeError(
      f'{name} must be an attack; got the text {attack!r}: call '
      f'attacks.make_attack({attack!r}, num_clients=N, '
      f'num_byzantine={num_byzantine}).'
    )
  if not callable(attack) or isinstance(attack, type):
    raise TypeError(
      f'{name} must be an Attack or a function of the honest clients; got '
      f'{checks.described(attack)}: see attacks.NAMES and attacks.make_attack.'
    )
  fn = checks.unwrapped(attack)
  label = checks.described(fn).removeprefix('the function ')
  if label == 'flip_labels':
    raise TypeError(
      f'{name}=flip_labels changes data, not messages: use '
      'flipped_classes=num_classes.'
    )
  entry = next((e for e in _ENTRIES.values() if e.fn is fn), None)
  if fn is make_attack or (entry is not None and entry.stateful):
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
  reads_own = entry.reads_own if entry else by_place[0].name == 'own'
  known = reads_own or by_place[0].name == 'honest'
  if not known and 'num_byzantine' not in keywords:
    raise TypeError(
      f'{name}={label} must say what it is made of: call its first argument '
      'honest (leaves [H, ...]) or own ([F, ...]), and let it return [F, ...].'
    )

  def apply(honest, state, *, own, key=None):
    options = {}
    if 'num_byzantine' in keywords and 'num_byzantine' not in bound:
      options['num_byzantine'] = num_byzantine
    if 'key' in keywords and 'key' not in bound:
      keys.check_key(key, name=f'key of {name}={label}')
      options['key'] = key
    return attack(own if reads_own else honest, **options), state

  return types.Attack(lambda params: (), apply)


def _entry(name):
  checks.choice(name, NAMES, name='attack')
  return _ENTRIES[name]


def _parameters(entry):
  signature = inspect.signature(entry.fn)
  return [
    p.name
    for p in signature.parameters.values()
    if p.kind is inspect.Parameter.KEYWORD_ONLY
  ]


def _send_nothing(honest, state, *, own, key=None):
  del own, key
  return jax.tree.map(lambda x: x[:0], honest), state


def _run(
  entry, name, num_byzantine, rule, damage, options, honest, state, *, own, key
):
  kwargs = dict(options)
  expected = _parameters(entry)
  if 'key' in expected:
    keys.check_key(key, name=f'key of attack {name!r}')
    kwargs['key'] = key
  if entry.reads_own:
    if own is None:
      raise ValueError(f'attack {name!r} needs own, leaves [F, ...]; got None.')
    return entry.fn(own, **kwargs), state
  if 'rule' in expected:
    kwargs['rule'] = rule
    if damage is not None:
      kwargs['damage'] = functools.partial(damage, honest)
  return entry.fn(honest, num_byzantine=num_byzantine, **kwargs), state


def _rehearse(apply, init, name, num_honest, num_byzantine, rule, damage):
  """Traces one round on scalars, so that bad options fail at once."""
  if rule is not None or damage is not None:
    return  # The rule may understand updates of one structure only.
  honest = jax.ShapeDtypeStruct((num_honest,), jnp.float32)
  own = jax.ShapeDtypeStruct((num_byzantine,), jnp.float32)
  state = jax.eval_shape(init, jax.ShapeDtypeStruct((), jnp.float32))
  key = jax.eval_shape(lambda: jax.random.key(0)) if needs_key(name) else None
  jax.eval_shape(
    lambda h, s, o, k: apply(h, s, own=o, key=k), honest, state, own, key
  )
