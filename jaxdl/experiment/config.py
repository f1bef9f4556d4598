# SPDX-License-Identifier: Apache-2.0
"""Frozen configurations whose fields check themselves.

A configuration is a frozen, keyword-only dataclass whose fields are knobs. One
knob gives one flag, its help, its checks and its entry in `config.json`.
"""

import contextlib
import copy
import dataclasses
import fnmatch
import math
import os
import re
import resource
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

import jax

from jaxdl.core import checks, clients as clients_lib, registry as registry_lib

KINDS = {int: 'an integer', float: 'a number', bool: 'a bool', str: 'text'}

# Float64 matrices [N, N] that making and checking one takes.
_SQUARES = 4

OUTPUTS = ('plots', 'csv', 'tensorboard')
IF_EXISTS = ('resume', 'overwrite', 'refuse')

C = TypeVar('C', bound='BaseConfig')


class Grammar(Protocol):
  """What reads a spec: a `core.registry.Registry` or `Pair`."""

  def check(self, text: str, *, name: str) -> None:
    """Raises ValueError if the text is no spec."""

  def lines(self) -> list[str]:
    """Returns what may be written."""


class _Knob(NamedTuple):
  """What a knob says besides its default."""

  help: str
  low: float | None
  high: float | None
  open_low: bool
  open_high: bool
  choices: tuple[Any, ...] | None
  runtime: bool
  needs: dict[str, bool | tuple[str, ...]]
  registry: Grammar | None
  smoke: Any


class Kind(NamedTuple):
  """What a field holds: `base`, a tuple of `base`, or None as well."""

  base: type
  many: bool
  optional: bool


def knob(
  default: Any,
  help: str,
  *,
  low: float | None = None,
  high: float | None = None,
  open_low: bool = False,
  open_high: bool = False,
  choices: Iterable[Any] | None = None,
  runtime: bool = False,
  needs: Mapping[str, bool | Iterable[str]] | None = None,
  registry: Grammar | None = None,
  smoke: Any = None,
) -> Any:
  """Describes one field of a configuration, and so one flag.

  The field's annotation is its type: `int`, `float`, `bool`, `str`, a
  homogeneous `tuple[int, ...]` of those (a comma-separated flag), or any of
  them `| None` (the flag value `none`). Bounds and choices hold for each
  element of a tuple and never for None.

  Args:
    default: the value without a flag.
    help: one sentence for `--help`.
    low: smallest allowed value, if any.
    high: largest allowed value, if any.
    open_low: whether `low` itself is refused.
    open_high: whether `high` itself is refused.
    choices: the allowed values, if they are few.
    runtime: whether the field only says how to run, not what is computed, so
      that a run may be resumed with another value.
    needs: what other fields must say for this one to matter, all of it: True
      (set), False (not set), or words (patterns as of files) of which the field
      must hold one, alone or in a spec such as 'a+b', 'a@b' or 'a:b'. 'x|y'
      asks for it in either field. A flag that is given and does not matter is
      refused.
    registry: reads the text, which is a part with its options (`core.registry`)
      or a tuple of those.
    smoke: what the value becomes in a small run (`BaseConfig.smoked`): a number
      that it is lowered to, so many first entries of a tuple, another text or
      tuple, or a function of the value, which changes nothing when it is called
      again. None leaves it to the knob that this one declares anew, if any;
      values of None stay.

  Returns:
    A dataclass field.

  Example:
    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Config(BaseConfig):
    ...   num_clients: int = knob(64, 'Simulated clients.', low=1)
    >>> Config(num_clients=3).num_clients
    3
    >>> Config(num_clients=0)
    Traceback (most recent call last):
    ValueError: num_clients must be at least 1; got 0.
  """
  spec = _Knob(
    help,
    low,
    high,
    open_low,
    open_high,
    None if choices is None else tuple(choices),
    runtime,
    {
      names: wanted if isinstance(wanted, bool) else tuple(wanted)
      for names, wanted in (needs or {}).items()
    },
    registry,
    smoke,
  )
  return dataclasses.field(default=default, metadata={'knob': spec})


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseConfig:
  """The knobs that every experiment has.

  Subclasses add fields made by `knob` and may override `validate` and
  `smoked`. Every instance, also one made by `dataclasses.replace`, is checked
  when it is made: types, bounds and choices first, then `validate`.

  Attributes:
    unused: inherited knobs that mean nothing to the experiment; they are no
      flags of it. `reduction` is one unless the experiment hands `clients()` to
      all that it runs.
  """

  unused: ClassVar[tuple[str, ...]] = ('reduction',)

  seeds: tuple[int, ...] = knob(
    (0,), 'Seeds of the run; several run side by side.', low=0
  )
  workdir: str = knob(
    '',
    'Where everything is written; runs/<name of the binary> if empty.',
    runtime=True,
  )
  num_rounds: int = knob(100, 'Rounds to run.', low=0, smoke=3)
  eval_every: int = knob(10, 'Rounds between evaluations.', low=1, smoke=1)
  smoke: bool = knob(False, 'Shrink the experiment to some seconds.')
  devices: int = knob(
    0, 'CPU devices to emulate; 0 takes what is there.', low=0, runtime=True
  )
  reduction: str = knob(
    'psum',
    'How sums over devices are taken: fast, or (gathered) bitwise independent '
    'of the number of devices.',
    choices=clients_lib.REDUCTIONS,
  )
  checkpoint_seconds: float = knob(
    60.0,
    'Seconds between checkpoints; 0 saves after every round.',
    low=0.0,
    runtime=True,
  )
  keep_checkpoints: int = knob(
    2, 'Checkpoints kept on disk.', low=1, runtime=True
  )
  if_exists: str = knob(
    'resume',
    'What to do with a run that the workdir holds: go on from its newest '
    'checkpoint, delete it, or refuse to start.',
    choices=IF_EXISTS,
    runtime=True,
  )
  profile_rounds: int = knob(
    0, 'Rounds to trace into workdir/profile.', low=0, runtime=True
  )
  outputs: tuple[str, ...] = knob(
    ('plots',),
    'What to write besides metrics.jsonl: plots/*.png, metrics.csv, events for '
    'TensorBoard.',
    choices=OUTPUTS,
    runtime=True,
  )
  process: str = knob(
    '',
    'Which process of a run of several this is, k/n@host:port: number k from 0 '
    'of n, that of process 0.',
    runtime=True,
  )

  def __post_init__(self):
    for field, kind in fields(type(self)):
      value = _checked(field, kind, getattr(self, field.name))
      object.__setattr__(self, field.name, value)
    if not self.seeds:
      raise ValueError('seeds is empty: name at least one.')
    if len(set(self.seeds)) != len(self.seeds):
      raise ValueError(f'seeds must differ; got {self.seeds}.')
    if self.outputs:
      check_different(self.outputs, name='outputs')
    parse_process(self.process)
    for name in self.unused:
      default = type(self).__dataclass_fields__[name].default
      if getattr(self, name) != default:
        raise ValueError(
          f'{name}={text_of(getattr(self, name))} has no effect on this '
          'experiment: leave it out.'
        )
    self.validate()

  def validate(self) -> None:
    """Raises ValueError if knobs that are fine alone do not fit together."""

  def ineffective(self) -> dict[str, str]:
    """Returns knobs that do not matter here, beyond what `needs` says.

    Returns:
      What each would need, e.g. 'it is for --task=classification', by name.
    """
    return {}

  def smoked(self: C) -> C:
    """Returns a copy that runs in seconds; `--smoke` asks for it.

    Knobs say themselves how (`knob(smoke=...)`). Overrides return
    `dataclasses.replace(super().smoked(), ...)` and must be idempotent:
    `config.smoked().smoked() == config.smoked()`.
    """
    changes = {'smoke': True} | _lowered(self, getattr(self, '_kept', ()))
    return dataclasses.replace(self, **changes)

  def clients(
    self, num_clients: int | None = None, *, even: bool = False
  ) -> clients_lib.Clients:
    """Says how the clients of this run are run: on all devices.

    Knobs called `num_clients` and `chunk` (0: the default rule) are heeded
    where there are any, and `reduction`.

    Args:
      num_clients: N, the knob of that name by default.
      even: whether N must be a multiple of the number of devices, as where
        clients talk to each other and none may be added to fill up.

    Returns:
      `Clients`, for algorithms.

    Raises:
      ValueError: if N is not known or does not split evenly.

    Example:
      >>> config = BaseConfig().clients(12)
      >>> config.num_clients, config.chunk, config.reduction
      (12, None, 'psum')
    """
    n = (
      getattr(self, 'num_clients', None) if num_clients is None else num_clients
    )
    if n is None:
      raise ValueError('num_clients is no knob here: pass it to clients().')
    devices = jax.device_count()
    if even and n % devices:
      raise ValueError(
        f'num_clients={n} does not split over {devices} devices: use '
        f'{n + -n % devices} clients, or a number of devices that divides {n}.'
      )
    return clients_lib.Clients(
      n,
      mesh=clients_lib.clients_mesh() if devices > 1 else None,
      chunk=getattr(self, 'chunk', None) or None,
      reduction=self.reduction,
    )


def parse_process(text: str) -> tuple[str, int, int]:
  """Reads which process of a run of several this is.

  Args:
    text: `k/n@host:port`, or nothing for a run of one.

  Returns:
    host:port of process 0, how many there are, and which one this is.

  Raises:
    ValueError: if it is something else.

  Example:
    >>> parse_process('1/4@localhost:1234')
    ('localhost:1234', 4, 1)
  """
  if not text:
    return '', 1, 0
  found = re.fullmatch(r'(\d+)/(\d+)@(\S+:\d+)', text)
  if not found or int(found[1]) >= int(found[2]):
    raise ValueError(f'process={text!r} must be k/n@host:port with 0 <= k < n.')
  return found[3], int(found[2]), int(found[1])


def _smoke(config: type[BaseConfig], name: str) -> Any:
  """What the last knob of a name that says so makes of a small run."""
  for cls in config.__mro__:
    field = getattr(cls, '__dataclass_fields__', {}).get(name)
    small = None if field is None else field.metadata['knob'].smoke
    if small is not None:
      return small
  return None


def _lowered(config: BaseConfig, kept: Iterable[str]) -> dict[str, Any]:
  """Returns what knobs say of a small run, but for those that are kept."""
  found = {}
  for field, kind in fields(type(config)):
    small = _smoke(type(config), field.name)
    if small is not None and field.name not in kept:
      value = getattr(config, field.name)
      found[field.name] = _shrunk(small, kind, value)
  return found


def _shrunk(small: Any, kind: Kind, value: Any) -> Any:
  """What a value becomes in a small run."""
  if callable(small):
    return small(value)
  if value is None:
    return None
  if isinstance(small, (str, tuple)):
    return small
  return value[:small] if kind.many else min(value, small)


def own_names(config: type[BaseConfig]) -> list[str]:
  """Returns the knobs of a kind of configuration that not every one has."""
  common = {f.name for f in dataclasses.fields(BaseConfig)}
  return [f.name for f, _ in fields(config) if f.name not in common]


def as_json(config: BaseConfig) -> dict[str, Any]:
  """Returns the knobs as JSON values: tuples as lists, inf and nan as text."""

  def encode(value):
    if isinstance(value, tuple):
      return [encode(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
      return repr(value)
    return value

  return {f.name: encode(getattr(config, f.name)) for f, _ in fields(config)}


def shrunk(config: C, given: Iterable[str] = ()) -> C:
  """Returns `config.smoked()`, but for the knobs that were given explicitly.

  Args:
    config: any configuration.
    given: names of knobs that stay as they are.

  Returns:
    The small configuration.

  Raises:
    ValueError: if what was given does not fit what was shrunk.
  """
  kept = tuple(given)
  trial = copy.copy(config)
  object.__setattr__(trial, '_kept', kept)
  lowered = _lowered(config, kept)
  try:
    small = trial.smoked()
    lowered |= {f.name: getattr(small, f.name) for f, _ in fields(config)}
    small = dataclasses.replace(
      small, **{name: getattr(config, name) for name in kept}
    )
  except ValueError as error:
    changed = [
      f'{name}={text_of(value)}'
      for name, value in lowered.items()
      if value != getattr(config, name)
      and name not in kept
      and re.search(rf'\b{name}\b', str(error))
    ]
    raise ValueError(
      f'{error} (--smoke made it {", ".join(changed) or "smaller"}: give that '
      'too, or leave --smoke out.)'
    ) from error
  object.__setattr__(small, '_kept', kept)
  return small


def is_shrunk(config: BaseConfig) -> bool:
  """Whether a configuration is as `shrunk` makes it."""
  small = config.smoked()
  kept = getattr(config, '_kept', ())
  return all(
    getattr(config, f.name) == getattr(small, f.name)
    for f, _ in fields(config)
    if f.name not in kept
  )


def idle(config: BaseConfig, name: str) -> str | None:
  """Says why a knob has no effect under a configuration.

  Args:
    config: any configuration.
    name: of the knob.

  Returns:
    The sentence, or None where the knob matters.

  Example:
    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Config(BaseConfig):
    ...   rules: tuple[str, ...] = knob(('mean', 'nnm+krum'), 'Rules.')
    ...   radius: float = knob(1.0, 'Of clip.', needs={'rules': ['clip']})
    >>> idle(Config(radius=2.0), 'radius')
    '--radius=2.0 has no effect on --rules=mean,nnm+krum: it is for clip.'
    >>> idle(Config(radius=2.0, rules=('nnm+clip',)), 'radius')
  """
  own = {f.name: f.metadata['knob'] for f, _ in fields(config)}
  tail = config.ineffective().get(name)
  if tail:
    return f'--{name}={text_of(getattr(config, name))} has no effect: {tail}.'
  for places, wanted in own[name].needs.items():
    others = [other for other in places.split('|') if other in own]
    values = {other: getattr(config, other) for other in others}
    shown = f'--{name}={text_of(getattr(config, name))} has no effect'
    if wanted is True and not any(values.values()):
      return f'{shown} without {" or ".join(f"--{o}" for o in others)}.'
    if wanted is False and any(values.values()):
      other = next(o for o in others if values[o])
      return f'{shown} with --{other}={text_of(values[other])}.'
    if isinstance(wanted, bool):
      continue
    words = [
      word
      for value in values.values()
      for word in re.split(r'[,+@:()\[\]=\'" ]+', text_of(value))
    ]
    if not any(fnmatch.filter(words, pattern) for pattern in wanted):
      place = ' '.join(f'--{o}={text_of(v)}' for o, v in values.items())
      return f'{shown} on {place}: it is for {", ".join(wanted)}.'
  return None


def without_device(check: Callable[[], Any]) -> None:
  """Calls a check of knobs that makes arrays, so that it starts no device.

  Flags choose devices once all knobs are known to fit, so `validate` must not
  start one. Arrays are traced in the check: it may look at their shapes, not at
  their values.

  Args:
    check: what raises if something is wrong; what it returns is dropped.

  Example:
    >>> without_device(lambda: jax.numpy.ones((2, 3)) @ jax.numpy.ones((3, 1)))
  """

  def traced():
    check()

  jax.eval_shape(traced)


@contextlib.contextmanager
def naming(**values: Any) -> Iterator[None]:
  """Puts the flags that led to a ValueError in front of its message.

  Args:
    **values: what the flags say, by name; None leaves one out.

  Yields:
    Nothing.

  Raises:
    ValueError: the same error, with the flags.

  Example:
    >>> with naming(rules='median', num_byzantine=3):
    ...   raise ValueError('num_trimmed=3 is too much.')
    Traceback (most recent call last):
    ValueError: --rules=median --num_byzantine=3: num_trimmed=3 is too much.
  """
  try:
    yield
  except ValueError as error:
    given = ' '.join(
      f'--{name}={text_of(value)}'
      for name, value in values.items()
      if value is not None
    )
    if not given:
      raise
    said = str(error)
    for value in values.values():
      # What a registry says in front of the same text.
      said = re.sub(rf'^\w+={re.escape(repr(value))}: ', '', said)
    raise ValueError(f'{given}: {said}') from error


def check_known(
  word: Any, known: Iterable[Any], *, name: str, spec: str | None = None
) -> None:
  """Checks that a flag, or a part of what it says, is one of the known names.

  Args:
    word: what must be known.
    known: the known names.
    name: of the flag.
    spec: the element of the flag that holds the word; None if it is the word.

  Raises:
    ValueError: if it is not; the message names flag, element and known names.

  Example:
    >>> check_known('rings', ['star', 'ring'], name='graphs', spec='rings:ow')
    Traceback (most recent call last):
    ValueError: graphs='rings:ow' has 'rings', which is unknown: choose one of \
'star', 'ring'. Did you mean 'ring'?
  """
  checks.choice(word, list(known), name=name, spec=spec)


def lowered(spec: str, **most: float) -> str:
  """Lowers options of a part, for small runs.

  Args:
    spec: the part.
    **most: the largest value of options; those that it does not name are left
      to their defaults.

  Returns:
    The part.

  Example:
    >>> lowered('random_regular(degree=8)', degree=4, rows=2)
    'random_regular(degree=4)'
  """
  part = registry_lib.parse(spec)
  high = {
    k: v
    for k, v in most.items()
    if isinstance(part.options.get(k), (int, float)) and part.options[k] > v
  }
  return registry_lib.changed(spec, **high) if high else spec


def set_low(spec: str, **most: float) -> str:
  """Sets options of a part that are not low, for small runs.

  Args:
    spec: the part.
    **most: the largest value of options; those that the part does not name are
      set to it, and those that are no numbers stay.

  Returns:
    The part.

  Example:
    >>> set_low('adam(steps=2)', steps=3, batch_size=4)
    'adam(steps=2, batch_size=4)'
    >>> set_low('roads(agents_min=none)', agents_min=2)
    'roads(agents_min=none)'
  """
  said = registry_lib.parse(spec).options
  now = {k: said.get(k, v) for k, v in most.items()}
  numbers = {k: v for k, v in now.items() if isinstance(v, (int, float))}
  return registry_lib.changed(
    spec, **{k: min(most[k], v) for k, v in numbers.items()}
  )


def check_different(values: Sequence[Any], *, name: str) -> None:
  """Checks that a flag names something, and nothing twice.

  Args:
    values: its elements.
    name: of the flag.

  Raises:
    ValueError: if it is empty, or one occurs twice.

  Example:
    >>> check_different(('mean', 'krum', 'mean'), name='rules')
    Traceback (most recent call last):
    ValueError: rules must differ; got mean,krum,mean.
  """
  if not values:
    raise ValueError(f'{name} is empty: name at least one.')
  # 'fedavg()' is 'fedavg', and white space says nothing.
  said = [
    re.sub(r'\s|\(\)$', '', v) if isinstance(v, str) else v for v in values
  ]
  if len(set(said)) != len(values):
    raise ValueError(f'{name} must differ; got {text_of(tuple(values))}.')


def check_square(count: int, *, name: str = 'num_clients') -> None:
  """Checks that matrices with a row and a column per client fit into memory.

  Args:
    count: N.
    name: of the flag that says it.

  Raises:
    ValueError: if some float64[N, N] do not.

  Example:
    >>> check_square(10_000_000)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: num_clients=10000000 needs matrices of 800000.0 GB each, too \
much for ... GB of memory: take at most ...
  """
  memory = _memory()
  most = math.isqrt(memory // (8 * _SQUARES))
  if count > most:
    raise ValueError(
      f'{name}={count} needs matrices of {8e-9 * count * count:.1f} GB each, '
      f'too much for {1e-9 * memory:.1f} GB of memory: take at most {most}.'
    )


def _memory() -> int:
  """Bytes that this process may take."""
  most = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  limit, _ = resource.getrlimit(resource.RLIMIT_AS)
  return most if limit == resource.RLIM_INFINITY else min(most, limit)


def as_flags(config: type[BaseConfig], text: str) -> str:
  """Writes the knobs of which a message speaks as the flags that they are.

  Args:
    config: a kind of configuration.
    text: a message of it.

  Returns:
    The message for who gives flags.

  Example:
    >>> as_flags(BaseConfig, 'num_rounds must be at least 0; got -1.')
    '--num_rounds must be at least 0; got -1.'
    >>> as_flags(BaseConfig, 'workdir=/a/seeds=1 is a file.')
    '--workdir=/a/seeds=1 is a file.'
    >>> as_flags(BaseConfig, "seeds=0: 'krum(a=1, seeds=3)' has no option a.")
    "--seeds=0: 'krum(a=1, seeds=3)' has no option a."
    >>> as_flags(BaseConfig, "rules='bulyan(seeds=-1)': seeds must be >= 0.")
    "rules='bulyan(seeds=-1)': seeds must be >= 0."
  """
  names = '|'.join(f.name for f, _ in fields(config))
  knob = rf"(?<!\w\()(?<![\w./'\"-])({names})(?==\S| must | needs | is empty)"
  # What is in quotes is somebody's text, such as a spec with options.
  quoted = r"(?<!\w)'(?:[^'\\]|\\.)*'|(?<!\w)\"(?:[^\"\\]|\\.)*\""
  # An option of a part may be called as a knob is: what is said behind the part
  # is said of the option.
  options = {m[1]: m.end() for m in re.finditer(r'[(,] *(\w+) *=[^=]', text)}

  def written(match):
    name = match[1]
    if not name or (name in options and match.start() > options[name]):
      return match[0]
    return f'--{name}'

  return re.sub(f'{quoted}|{knob}', written, text)


def text_of(value: Any) -> str:
  """Returns a value as it is written behind its flag."""
  if value is None:
    return 'none'
  values = value if isinstance(value, tuple) else (value,)
  return ','.join(
    str(v).lower() if isinstance(v, bool) else str(v) for v in values
  )


def differences(old: dict[str, Any], config: BaseConfig) -> list[str]:
  """Names what keeps a run made with `old` from going on under `config`.

  Fields that only say how to run do not count, and `num_rounds` may grow. A
  field that one side lacks counts as if it had its default there.

  Args:
    old: what `as_json` gave for the earlier run.
    config: the configuration of this run.

  Returns:
    One 'name: old -> new' per field that differs.
  """
  new = as_json(config)
  spec = {f.name: f.metadata['knob'] for f, _ in fields(config)}
  defaults = {
    f.name: list(f.default) if isinstance(f.default, tuple) else f.default
    for f, _ in fields(config)
  }
  found = []
  for name, value in new.items():
    before = old.get(name, defaults[name])
    if spec[name].runtime or before == value:
      continue
    if name == 'num_rounds' and isinstance(before, int) and before < value:
      continue
    found.append(f'{name}: {before!r} -> {value!r}')
  for name in old:
    if name not in new:
      found.append(f'{name}: {old[name]!r} -> (no such knob)')
  return found


def fields(config) -> list[tuple[dataclasses.Field, Kind]]:
  """Returns the fields with what they hold, after checking the declaration."""
  cls = config if isinstance(config, type) else type(config)
  cached = cls.__dict__.get('_jaxdl_fields')
  if cached is not None:
    return cached
  hints = typing.get_type_hints(cls)
  found = []
  for field in dataclasses.fields(cls):
    if 'knob' not in field.metadata:
      raise TypeError(
        f'{cls.__name__}.{field.name} must be made by knob(default, help).'
      )
    found.append((field, _kind(f'{cls.__name__}.{field.name}', hints)))
  for name in cls.unused:
    if name not in {field.name for field, _ in found}:
      raise TypeError(f'{cls.__name__}.unused has {name!r}, which is no knob.')
  type.__setattr__(cls, '_jaxdl_fields', found)
  return found


def _kind(label: str, hints: dict[str, Any]) -> Kind:
  hint = hints[label.rpartition('.')[2]]
  optional, many = False, False
  if typing.get_origin(hint) in (typing.Union, types.UnionType):
    rest = [a for a in typing.get_args(hint) if a is not type(None)]
    optional = len(rest) < len(typing.get_args(hint))
    hint = rest[0] if len(rest) == 1 else hint
  if typing.get_origin(hint) is tuple:
    args = typing.get_args(hint)
    if len(args) == 2 and args[1] is Ellipsis:
      many, hint = True, args[0]
  if typing.get_origin(hint) is Literal:
    hint = type(typing.get_args(hint)[0])
  if hint not in KINDS:
    raise TypeError(
      f'{label} has type {hint}: a knob holds int, float, bool, str, a '
      'tuple[..., ...] of one of them, or None besides.'
    )
  return Kind(hint, many, optional)


def _checked(field: dataclasses.Field, kind: Kind, value: Any) -> Any:
  """Returns the value in its exact type, or raises what is wrong with it."""
  name = field.name
  if value is None:
    if kind.optional:
      return None
    raise TypeError(f'{name} must be {say(kind)}; got None.')
  if not kind.many:
    return _checked_item(name, field.metadata['knob'], kind.base, value)
  if isinstance(value, str) or not isinstance(value, Sequence):
    raise TypeError(f'{name} must be {say(kind)}; got {value!r}.')
  spec = field.metadata['knob']
  return tuple(_checked_item(name, spec, kind.base, v) for v in value)


def _checked_item(name: str, spec: _Knob, base: type, value: Any) -> Any:
  if base is int:
    low = None if spec.low is None else math.ceil(spec.low)
    # Rounds, sizes and places are counted in 32 bits.
    most = 2**63 - 1 if name == 'seeds' else 2**31 - 1
    high = most if spec.high is None else min(most, math.floor(spec.high))
    value = checks.integer(value, name=name, low=low, high=high)
  elif base is float:
    checks.number(
      value,
      name=name,
      low=spec.low,
      high=spec.high,
      open_low=spec.open_low,
      open_high=spec.open_high,
      finite=False,  # Whoever takes the number knows whether it must be.
    )
    value = float(value)
  elif not isinstance(value, base):
    raise TypeError(f'{name} must be {KINDS[base]}; got {value!r}.')
  if spec.choices is not None:
    check_known(value, spec.choices, name=name)
  if spec.registry is not None:
    spec.registry.check(value, name=name)
  return value


def say(kind: Kind) -> str:
  """Says in words what a field holds."""
  text = KINDS[kind.base]
  if kind.many:
    text = f'a tuple, each entry {text}'
  return f'{text}, or None' if kind.optional else text
