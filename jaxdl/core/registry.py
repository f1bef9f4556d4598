# SPDX-License-Identifier: Apache-2.0
r"""Parts by name, with their options, in one grammar.

A part is written `name` or `name(option=value, ...)`, in a flag as in Python.
`a+b` is a chain, `a@b` puts a on b. A value is a number, text in quotes, a
tuple, True, False or None; a bare word is text, and so is another part, which
whoever takes the option reads in turn:

    krum(num_neighbors="n-f-1")
    nnm+trimmed_mean
    choco_sgd(compress=top_k(keep=0.1))@ring(weights=lazy_metropolis)

`parse`, `chain`, `pair` and `split` read text; a `Registry` knows parts and
their options, from the signatures of plain functions. Text is read as a syntax
tree (`ast`), never run.

Example:
  >>> def power(base, exponent=2.0, *, scale=1.0):
  ...   return scale * base**exponent
  >>> CURVES = Registry('curve', {'power': power}, given=('base',))
  >>> CURVES.make('power(3, scale=0.5)', 2.0)
  4.0
  >>> print(CURVES)
  power(exponent=2.0, scale=1.0)
  >>> CURVES.make('power(scal=1)', 2.0)  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  ValueError: curve='power(scal=1)': power has no option 'scal': ...
"""

import ast
import copy
import difflib
import functools
import inspect
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from jaxdl.core import checks, kinds

_MAX_LENGTH = 10_000
# Of a text in a message.
_MAX_SHOWN = 200
# Words of Python that a part may be called all the same.
_RESERVED = ('async',)
_OPEN, _CLOSE = '([{', ')]}'
_NUMBERS = {'inf': math.inf, 'nan': math.nan}
# Of two plain numbers, such as 1/3.
_FORMULAS = {
  ast.Add: operator.add,
  ast.Div: operator.truediv,
  ast.Mult: operator.mul,
  ast.Sub: operator.sub,
}
# What a part or a formula inside an option may hold.
_INSIDE = (
  *(ast.Name, ast.Constant, ast.Call, ast.keyword, ast.Tuple, ast.List),
  *(ast.BinOp, ast.UnaryOp, ast.operator, ast.USub, ast.Load),
)
_STUMBLES = (
  *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)
_HOW = 'write name or name(option=value, ...)'


class Part(NamedTuple):
  """A part as it was written.

  Attributes:
    name: what it is called.
    args: values without a name.
    options: values by name.
    text: the whole.
  """

  name: str
  args: tuple[Any, ...]
  options: dict[str, Any]
  text: str


def split(text: str, separator: str) -> list[str]:
  """Cuts text where a separator stands outside of brackets and quotes.

  Args:
    text: any text.
    separator: one character.

  Returns:
    The pieces, without the spaces around them.

  Example:
    >>> split('krum, flag(num_iters=1, reg=0.5)', ',')
    ['krum', 'flag(num_iters=1, reg=0.5)']
  """
  pieces, start, depth, quote = [], 0, 0, ''
  skip = False
  for i, c in enumerate(text):
    if skip:
      skip = False
    elif quote:
      skip = c == '\\'
      quote = '' if c == quote else quote
    elif c in '"\'':
      quote = c
    elif c in _OPEN:
      depth += 1
    elif c in _CLOSE:
      depth -= 1
    elif c == separator and depth == 0:
      pieces.append(text[start:i].strip())
      start = i + 1
  return [*pieces, text[start:].strip()]


def parse(text: str, *, name: str = 'spec') -> Part:
  """Reads one part.

  Args:
    text: `name` or `name(option=value, ...)`.
    name: of the argument or flag, for messages.

  Returns:
    The part.

  Raises:
    ValueError: if the text is something else.
    TypeError: if it is no text.

  Example:
    >>> parse('sgd(0.05, momentum=0.9, schedule=cosine)')[:3]
    ('sgd', (0.05,), {'momentum': 0.9, 'schedule': 'cosine'})
  """
  _check_text(text, name)
  return _read(text, name, text)


def chain(text: str, *, name: str = 'spec') -> tuple[Part, ...]:
  """Reads parts that follow one another.

  Args:
    text: `a+b+...`.
    name: of the argument or flag, for messages.

  Returns:
    The parts.

  Raises:
    ValueError: if one is malformed.

  Example:
    >>> [part.name for part in chain('bucketing(bucket_size=2)+nnm+krum')]
    ['bucketing', 'nnm', 'krum']
  """
  _check_text(text, name)
  return tuple(_read(piece, name, text) for piece in split(text, '+'))


def pair(text: str, *, name: str = 'spec') -> tuple[str, str | None]:
  """Cuts `a@b` in two.

  Args:
    text: `a@b`, or a alone.
    name: of the argument or flag, for messages.

  Returns:
    a, and b or None.

  Raises:
    ValueError: if there are more than two.

  Example:
    >>> pair('gossip_sgd@ring(weights=uniform)')
    ('gossip_sgd', 'ring(weights=uniform)')
  """
  _check_text(text, name)
  first, *rest = split(text, '@')
  if len(rest) > 1:
    raise ValueError(
      f'{name}={_shown(text)} has {len(rest)} @: a@b puts a on b.'
    )
  return first, rest[0] if rest else None


def write(name: str, /, *args: Any, **options: Any) -> str:
  """Writes a part; `parse` reads it back.

  Args:
    name: what it is called.
    *args: values without a name.
    **options: values by name.

  Returns:
    The text.

  Raises:
    ValueError: if the part or an option is called what is no name.
    TypeError: if a value is no number, text, tuple, True, False or None.

  Example:
    >>> write('mgno', channels=8, iterations='10,20', padding='zeros')
    "mgno(channels=8, iterations='10,20', padding=zeros)"
  """
  for word in (name, *options):
    if not _is_word(word) and not (word is name and name in _RESERVED):
      raise ValueError(f'{word!r} is no name of a part or an option.')
  values = [(f'value {i + 1}', v) for i, v in enumerate(args)]
  for label, value in [*values, *options.items()]:
    _check_value(value, f'{label} of {name}')
  given = [*map(_written, args)]
  given += [f'{k}={_written(v)}' for k, v in options.items()]
  return f'{name}({", ".join(given)})' if given else name


def changed(text: str, /, **options: Any) -> str:
  """Sets options of a part.

  Args:
    text: the part.
    **options: their new values.

  Returns:
    The part with them; as it was if it has them already.

  Example:
    >>> changed('mgno(channels=24)', channels=4, num_layers=1)
    'mgno(channels=4, num_layers=1)'
  """
  part = parse(text)
  if all(
    k in part.options and _written(part.options[k]) == _written(v)
    for k, v in options.items()
  ):
    return text
  return write(part.name, *part.args, **(part.options | options))


class Registry(Mapping[str, Callable[..., Any]]):
  """Functions by name, whose options are those of their signatures.

  A mapping from names to functions; `|` makes a larger one. `print` shows every
  part with its options and their defaults.

  Attributes:
    kind: what an entry is, e.g. 'rule'; names the argument in messages.
    before: what may stand before an entry in a chain, or None.
  """

  def __init__(
    self,
    kind: str,
    entries: Mapping[str, Callable[..., Any]],
    *,
    given: Iterable[str] = (),
    told: Iterable[str] = (),
    before: 'Registry | None' = None,
    tried: Mapping[str, Any] | None = None,
  ):
    """Collects functions.

    Args:
      kind: what an entry is.
      entries: functions by name.
      given: parameters that whoever calls them passes, so that they are no
        options.
      told: options that whoever calls them fills in where a part does not set
        them; shown in brackets.
      before: entries of a chain but for its last.
      tried: context in which `check` makes a part, so that it finds wrong
        values too; for what costs nothing and touches no device. None does not.
    """
    self.kind = kind
    self.before = before
    self._entries = dict(entries)
    self._given = frozenset(given)
    self._told = frozenset(told)
    self._tried = tried
    self.__doc__ = f'Every {kind} with its options.\n\n{self}'

  def __getitem__(self, name: str) -> Callable[..., Any]:
    return self._entries[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self._entries)

  def __len__(self) -> int:
    return len(self._entries)

  def __or__(self, entries: Mapping[str, Callable[..., Any]]) -> 'Registry':
    other = entries if isinstance(entries, Registry) else None
    return Registry(
      self.kind,
      self._entries | dict(entries),
      given=self._given | (other._given if other else frozenset()),
      told=self._told,
      before=self.before,
      tried=self._tried,
    )

  def __str__(self) -> str:
    return '\n'.join(self.lines())

  def __repr__(self) -> str:
    return f'<Registry of {len(self)}: {", ".join(self)}>'

  def lines(self) -> list[str]:
    """Returns every part with its options and their defaults."""
    out = [f'{part}+' for part in (self.before.lines() if self.before else ())]
    for name in self:
      options = self.options(name)
      shown = [
        f'[{k}]'
        if k in self._told
        else k
        if p.default is p.empty
        else f'{k}={_written(p.default)}'
        for k, p in options.items()
      ]
      out.append(f'{name}({", ".join(shown)})' if shown else name)
    return out

  def options(self, name: str) -> dict[str, inspect.Parameter]:
    """Returns the options of an entry.

    Args:
      name: of the entry.

    Returns:
      Its parameters but for the given ones, by name, in order.
    """
    known = inspect.signature(self._entries[name]).parameters
    many = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {
      k: p
      for k, p in known.items()
      if k not in self._given and p.kind not in many
    }

  def part(
    self, text: str, *, name: str | None = None, spec: str | None = None
  ) -> Part:
    """Reads a part and checks its name and the names of its options.

    Args:
      text: the part, not a chain.
      name: of the argument or flag, for messages; `kind` by default.
      spec: the text that the part is a piece of, for messages.

    Returns:
      The part; values without a name have got theirs.

    Raises:
      ValueError: naming the option, the part, what exists and the nearest, or
        of what kind the option must be.
    """
    name = name or self.kind
    _check_text(text, name)
    whole = text if spec is None else spec
    part = _read(text, name, whole)
    checks.choice(part.name, self._entries, name=name, spec=whole)
    known = self.options(part.name)
    where = f'{name}={_shown(whole)}: {part.name}'
    if len(part.args) > len(known):
      raise ValueError(
        f'{where} takes {len(known)} options at most; got {len(part.args)}: '
        f'its options are {", ".join(known) or "none"}.'
      )
    ordered = dict(zip(known, part.args, strict=False))
    for option in part.options:
      if option not in known:
        near = difflib.get_close_matches(option, known, n=1)
        hint = f' Did you mean {near[0]!r}?' if near else ''
        raise ValueError(
          f'{where} has no option {option!r}: its options are '
          f'{", ".join(known) or "none"}.{hint}'
        )
      if option in ordered:
        raise ValueError(f'{where} gets the option {option!r} twice.')
    options = ordered | part.options
    for option, value in options.items():
      must = kinds.wanted_by(known[option], value)
      if must:
        raise ValueError(f'{where}: {option} must be {must}; got {value!r}.')
    return part._replace(args=(), options=options)

  def parts(self, text: str, *, name: str | None = None) -> tuple[Part, ...]:
    """Reads a chain: entries of `before`, then one of this registry.

    Args:
      text: `[a+...]b`.
      name: of the argument or flag, for messages; `kind` by default.

    Returns:
      The parts.

    Raises:
      ValueError: as `part`.
    """
    name = name or self.kind
    _check_text(text, name)
    *first, last = split(text, '+')
    if first and self.before is None:
      raise ValueError(
        f'{name}={_shown(text)} is a chain: name one {self.kind} instead.'
      )
    return (
      *(self.before.part(p, name=name, spec=text) for p in first),
      self.part(last, name=name, spec=text),
    )

  def check(self, text: str, *, name: str | None = None) -> None:
    """Raises ValueError unless the text is a part, or a chain of them."""
    *_, last = self.parts(text, name=name)
    if self._tried is not None:
      # Messages tell where the text stands, such as the flag.
      named = copy.copy(self)
      named.kind = name or self.kind
      named.bound(last, **self._tried)

  def value(self, text: str, option: str) -> Any:
    """Returns what an option of a part is set to, or else its default.

    Args:
      text: the part.
      option: its name.

    Returns:
      The value; None if the entry has no such option.

    Raises:
      ValueError: as `part`.

    Example:
      >>> CURVES = Registry('curve', {'line': lambda slope=1, offset=0: None})
      >>> [CURVES.value('line(3)', k) for k in ('slope', 'offset', 'power')]
      [3, 0, None]
    """
    part = self.part(text)
    known = self.options(part.name)
    if option not in known:
      return None
    return part.options.get(option, known[option].default)

  def changed(self, text: str, /, **options: Any) -> str:
    """Sets options of a part, see `changed`; values without a name get theirs.

    Args:
      text: the part.
      **options: their new values.

    Returns:
      The part with them.

    Raises:
      ValueError: as `part`.

    Example:
      >>> CURVES = Registry('curve', {'line': lambda slope=1, offset=0: None})
      >>> CURVES.changed('line(3)', offset=2)
      'line(slope=3, offset=2)'
    """
    part = self.part(text)
    whole = write(part.name, **(part.options | options))
    self.check(whole)
    return whole

  def make(self, text: str, /, *args: Any, **context: Any) -> Any:
    """Calls the function of a part.

    Args:
      text: the part.
      *args: what comes first.
      **context: further arguments; those that the function does not take, or
        that the part sets itself, are left out.

    Returns:
      What the function returns.

    Raises:
      ValueError: as `part`, or if a required option is missing.
    """
    return self.bound(self.part(text), *args, **context)

  def bound(self, part: Part, /, *args: Any, **context: Any) -> Any:
    """Calls the function of a part that has been read, as `make` does."""
    function = self.partial(part, **context)
    for k, p in inspect.signature(function).parameters.items():
      if p.kind is p.KEYWORD_ONLY and p.default is p.empty:
        raise ValueError(
          f'{self.kind}={part.text!r} needs {k!r}, which is not known here.'
        )
    try:
      return function(*args)
    except _STUMBLES as error:
      # Neither a rule about an option nor what Python says names the part.
      if not part.options or part.text in str(error):
        raise
      where = f'{self.kind}={_shown(part.text)}'
      if not checks.raised_on_purpose(error):
        raise ValueError(
          f'{where} cannot be made with these options: {error}.'
        ) from error
      if type(error) not in (TypeError, ValueError):
        raise
      raise type(error)(f'{where}: {error}') from error

  def partial(self, part: Part, /, **context: Any) -> Callable[..., Any]:
    """Binds the options of a part that has been read, without a call.

    Args:
      part: from `part` or `parts`.
      **context: as `make`.

    Returns:
      A `functools.partial` of the function.

    Raises:
      ValueError: if a required option is missing.

    Example:
      >>> DISTANCES = Registry(
      ...   'distance',
      ...   {'lp': lambda x, y, p=2.0: abs(x - y) ** p},
      ...   given=('x', 'y'),
      ... )
      >>> DISTANCES.partial(DISTANCES.part('lp(p=3.0)'))(1.0, 3.0)
      8.0
    """
    function = self._entries[part.name]
    taken = {
      k: v
      for k, v in context.items()
      if k not in part.options and checks.takes(function, k)
    }
    for k, value in part.options.items():
      if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError(
          f'{self.kind}={_shown(part.text)} has an option {k!r} that is too '
          'large for an integer: write it as 1e30.'
        )
    kwargs = taken | part.options
    for k, p in list(self.options(part.name).items()):
      if p.default is p.empty and k not in kwargs:
        raise ValueError(
          f'{self.kind}={part.text!r} needs the option {k!r}: write '
          f'{part.name}({k}=...).'
        )
    return functools.partial(function, **kwargs)


def known(facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
  """Puts what is known about a function on it.

  Args:
    facts: a frozen record.

  Returns:
    A decorator that gives the function itself back.

  Example:
    >>> @known(frozenset({'linear'}))
    ... def double(x):
    ...   return 2 * x
    >>> facts(double), double(2)
    (frozenset({'linear'}), 4)
  """

  def mark(function):
    vars(function)['facts'] = facts
    return function

  return mark


def facts(function: Callable[..., Any]) -> Any:
  """Returns what `known` put on a function, or None.

  Args:
    function: any; inside of `functools.partial` it is found too.

  Returns:
    The record.
  """
  return getattr(checks.unwrapped(function), 'facts', None)


class Pair:
  """The grammar `a@b`, for flags: a of one registry, b of another.

  Attributes:
    first: of a.
    second: of b.
    needed: whether b must be there.
  """

  def __init__(
    self,
    first: Registry,
    second: Registry,
    *,
    needed: bool = False,
  ):
    """Puts two grammars together.

    Args:
      first: of a.
      second: of b.
      needed: whether b must be there.
    """
    self.first = first
    self.second = second
    self.needed = needed

  def lines(self) -> list[str]:
    """Returns every part with its options and their defaults."""
    return [*self.first.lines(), *(f'@{line}' for line in self.second.lines())]

  def check(self, text: str, *, name: str = 'spec') -> None:
    """Raises ValueError unless the text is `a@b`, or a where that will do."""
    first, second = pair(text, name=name)
    self.first.check(first, name=name)
    if second is not None:
      self.second.check(second, name=name)
    elif self.needed:
      raise ValueError(
        f'{name}={_shown(text)} is on nothing: write {_shown(text)[1:-1]}@...'
      )


def _check_text(text: Any, name: str) -> None:
  if not isinstance(text, str):
    raise TypeError(f'{name} must be text; got {checks.described(text)}.')
  if len(text) > _MAX_LENGTH:
    raise ValueError(
      f'{name} has {len(text)} characters: at most {_MAX_LENGTH} are read.'
    )


def _shown(text: str) -> str:
  """Text in quotes, its middle left out if it is long."""
  shown = repr(text)
  if len(shown) <= _MAX_SHOWN:
    return shown
  half = _MAX_SHOWN // 2
  return f'{shown[:half]} ... {shown[-half:]}'


def _read(text: str, name: str, whole: str) -> Part:
  """Reads a part that stands in a larger text."""
  where = f'{name}={_shown(whole)}'
  if text != whole:
    where += f' has {_shown(text)}, which'
  word, *_ = re.split(r'\W', text.strip(), maxsplit=1)
  reserved = word in _RESERVED
  source = text.replace(word, word.capitalize(), 1) if reserved else text
  node = _tree(source, where)
  called = lambda found: word if reserved else found
  if isinstance(node, ast.Name):
    return Part(called(node.id), (), {}, text)
  if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
    raise ValueError(f'{where} is no part: {_HOW}.')
  if any(k.arg is None for k in node.keywords):
    raise ValueError(f'{where} unpacks options: write each by name.')
  names = [str(k.arg) for k in node.keywords]
  for option in names:
    if names.count(option) > 1:
      raise ValueError(f'{where} gets the option {option!r} twice.')
  value = lambda x: _value(x, source.strip(), where)
  try:
    return Part(
      called(node.func.id),
      tuple(value(x) for x in node.args),
      {str(k.arg): value(k.value) for k in node.keywords},
      text,
    )
  except RecursionError:
    raise ValueError(f'{where} is nested too deeply: {_HOW}.') from None


def _tree(text: str, where: str) -> ast.expr:
  text = text.strip()
  if not text:
    raise ValueError(f'{where} is empty: {_HOW}.')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      node = ast.parse(text, mode='eval').body
  except SyntaxError as error:
    reason = str(error.msg).lower()
    if '/' in text and '"' not in text and "'" not in text:
      reason += '; a path stands in quotes'
    raise ValueError(f'{where} cannot be read ({reason}): {_HOW}.') from None
  except (ValueError, MemoryError, RecursionError):
    raise ValueError(f'{where} cannot be read: {_HOW}.') from None
  # The tree holds no comments, and no brackets around the whole.
  if ast.get_source_segment(text, node) != text:
    raise ValueError(f'{where} is no part: {_HOW}.')
  return node


def _value(node: ast.expr, text: str, where: str) -> Any:
  """What an option is set to; `text` is what the tree was read from."""
  if isinstance(node, ast.Constant) and not isinstance(
    node.value, (bytes, complex, type(...))
  ):
    return node.value
  if isinstance(node, (ast.Tuple, ast.List)):
    return tuple(_value(x, text, where) for x in node.elts)
  if isinstance(node, ast.Name):
    return _NUMBERS.get(node.id, node.id)
  number = _number(node)
  if number is not None:
    return number
  # Another part, or a formula: whoever takes the option reads it.
  shown = ast.get_source_segment(text, node) or text
  found = list(ast.walk(node))
  if all(isinstance(n, _INSIDE) for n in found) and any(
    isinstance(n, ast.Name) for n in found
  ):
    return shown
  raise ValueError(
    f'{where} has {_shown(shown)} as a value: write a number, text in quotes, '
    'a tuple, True, False or None.'
  )


def _number(node: ast.expr) -> int | float | None:
  """A number, the negative of one or a formula of two; None if it is none."""
  if isinstance(node, ast.Constant):
    plain = isinstance(node.value, (int, float))
    return node.value if plain and not isinstance(node.value, bool) else None
  if isinstance(node, ast.Name):
    return _NUMBERS.get(node.id)
  if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
    value = _number(node.operand)
    return None if value is None else -value
  if isinstance(node, ast.BinOp) and type(node.op) in _FORMULAS:
    left, right = _number(node.left), _number(node.right)
    if left is None or right is None:
      return None
    try:
      return _FORMULAS[type(node.op)](left, right)
    except ArithmeticError:
      return None
  return None


def _check_value(value: Any, label: str) -> None:
  """Raises TypeError unless `_written` writes what `_value` reads."""
  if isinstance(value, (tuple, list)):
    for x in value:
      _check_value(x, label)
  elif not (
    value is None
    or isinstance(value, (str, bool, int, float))
    or _is_numpy_number(value)
    or (callable(value) and _is_word(getattr(value, '__name__', '')))
  ):
    raise TypeError(
      f'{label} must be a number, text, a tuple, True, False or None; got '
      f'{checks.described(value)}.'
    )


def _is_numpy_number(value: Any) -> bool:
  return hasattr(value, 'item') and not getattr(value, 'shape', None)


def _written(value: Any) -> str:
  """A value as it is written in a part."""
  if _is_numpy_number(value):
    value = value.item()
  if isinstance(value, str):
    plain = value not in _NUMBERS and _is_word(value)
    return value if plain else repr(str(value))
  if isinstance(value, (tuple, list)):
    inner = ', '.join(map(_written, value))
    return f'({inner},)' if len(value) == 1 else f'({inner})'
  if callable(value):
    return getattr(value, '__name__', repr(value))
  return repr(value)


def _is_word(text: str) -> bool:
  """Whether it reads as a name, and as itself."""
  if not text.isidentifier():
    return False
  try:
    node = ast.parse(text, mode='eval').body
  except (SyntaxError, RecursionError, MemoryError):  # A keyword.
    return False
  return isinstance(node, ast.Name) and node.id == text
