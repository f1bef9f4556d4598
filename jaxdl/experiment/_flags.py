# SPDX-License-Identifier: Apache-2.0
"""Command-line flags made from a configuration."""

import dataclasses
import re
import textwrap
from collections.abc import Iterable
from typing import Any, TypeVar

from absl import flags

from jaxdl.core import registry
from jaxdl.experiment import config as config_lib

_NONE = 'none'
_WIDTH = 80

C = TypeVar('C', bound=config_lib.BaseConfig)


def define_flags(
  config_class: type[config_lib.BaseConfig], flag_values: flags.FlagValues
) -> None:
  """Defines one absl flag per knob.

  Args:
    config_class: the configuration.
    flag_values: where the flags go.
  """
  for field, kind in _shown(config_class):
    text = '\n'.join([_help(field, kind), *_parts(field)])
    if kind.base is bool and not kind.many:
      flags.DEFINE_bool(
        field.name, field.default, text, flag_values=flag_values
      )
    else:
      flags.DEFINE(
        _Parser(kind),
        field.name,
        field.default,
        text,
        flag_values=flag_values,
        serializer=_Serializer(),
      )


def from_flags(
  config_class: type[C],
  flag_values: flags.FlagValues,
  *,
  given: Iterable[str] = (),
  **defaults: Any,
) -> C:
  """Builds a configuration from parsed flags, and shrinks it for `--smoke`.

  Args:
    config_class: the configuration.
    flag_values: where `define_flags` put the flags, parsed.
    given: knobs that `--smoke` leaves as they are.
    **defaults: values of knobs whose flags are empty.

  Returns:
    The checked configuration.

  Raises:
    ValueError: if a value or a combination of values is impossible, or a flag
      was set that has no effect beside the others.
  """
  values = {f.name: flag_values[f.name].value for f, _ in _shown(config_class)}
  values |= {name: v for name, v in defaults.items() if not values[name]}
  config = config_class(**values)
  for field, _ in _shown(config_class):
    # A file of all flags may name those that are idle at their defaults.
    said = flag_values[field.name].present
    if said and getattr(config, field.name) != field.default:
      reason = config_lib.idle(config, field.name)
      if reason:
        raise ValueError(reason)
  return config_lib.shrunk(config, given) if config.smoke else config


def check_values(args: Iterable[str], flag_values: flags.FlagValues) -> None:
  """Checks that no flag takes the next one for its value.

  Args:
    args: the command line, without the name of the program.
    flag_values: the flags that there are.

  Raises:
    flags.Error: if a flag that needs a value has none.

  Example:
    >>> values = flags.FlagValues()
    >>> for name in ('rules', 'file'):
    ...   _ = flags.DEFINE_string(name, '', 'Help.', flag_values=values)
    >>> check_values(['--rules', 'mean', '--file=x'], values)
    >>> check_values(['--rules', '--file=x'], values)
    Traceback (most recent call last):
    absl.flags._exceptions.IllegalFlagValueError: --rules has no value: write \
--rules=...
  """

  def named(arg):
    name = arg.lstrip('-').partition('=')[0] if arg.startswith('-') else ''
    plain = name.removeprefix('no')
    switch = plain in flag_values and flag_values[plain].boolean
    return name if name in flag_values or switch else ''

  rest = iter(flag_values.read_flags_from_files([*args], force_gnu=False))
  for arg in rest:
    if arg == '--':
      return
    name = named(arg)
    known = name in flag_values and not flag_values[name].boolean
    if known and '=' not in arg and named(next(rest, '--' + name)):
      raise flags.IllegalFlagValueError(
        f'--{name} has no value: write --{name}=...'
      )


def on_command_line(
  config_class: type[config_lib.BaseConfig], args: Iterable[str]
) -> set[str]:
  """Returns the knobs that arguments set themselves, not through a file.

  Args:
    config_class: the configuration.
    args: the command line.

  Returns:
    Names of knobs.
  """
  names = {f.name for f, _ in _shown(config_class)}
  found = {
    arg.lstrip('-').partition('=')[0] for arg in args if arg.startswith('-')
  }
  found |= {name.removeprefix('no') for name in found - names}
  return found & names


def help_text(config_class: type[config_lib.BaseConfig], title: str) -> str:
  """Returns what `--help` shows: the title and every knob, its own first."""
  common = {f.name for f in dataclasses.fields(config_lib.BaseConfig)}
  own, shared = [], []
  seen: dict[tuple[str, ...], str] = {}
  for field, kind in _shown(config_class):
    default = _Serializer().serialize(field.default)
    line = wrapped(f'--{field.name}={default}', 2, 6, breaks=',')
    grammar = _parts(field)
    first = seen.setdefault(tuple(grammar), field.name)
    same = f' those of --{first}.' if grammar and first != field.name else ''
    line += '\n' + wrapped(_help(field, kind) + same, 6, 6)
    for part in () if same else grammar:
      line += '\n' + wrapped(part, 8, 12, breaks=',')
    (shared if field.name in common else own).append(line)
  parts = [title.strip()]
  if own:
    parts.append('Knobs of this experiment (with their defaults):')
    parts.append('\n'.join(own))
  parts.append('Knobs of every experiment:')
  parts.append('\n'.join(shared))
  parts.append(
    'Switches are also written --name and --noname. --flagfile=FILE reads '
    'flags from\na file, one per line. --helpfull lists the flags of '
    'libraries too.'
  )
  return '\n\n'.join(parts) + '\n'


def wrapped(text: str, first: int, rest: int, *, breaks: str = '') -> str:
  """Breaks a line at spaces.

  Args:
    text: the line.
    first: spaces before it.
    rest: spaces before the lines that follow.
    breaks: characters after which it may be broken as well.

  Returns:
    Lines of 80 characters at most, longer words apart.

  Example:
    >>> print(wrapped('--names=' + 12 * 'a_name,', 2, 6, breaks=','))
      --names=a_name,a_name,a_name,a_name,a_name,a_name,a_name,a_name,
          a_name,a_name,a_name,a_name,
  """
  marked = re.sub(rf'([{breaks}])(?=\S)', r'\1 \0', text) if breaks else text
  lines = textwrap.wrap(
    marked,
    _WIDTH,
    initial_indent=' ' * first,
    subsequent_indent=' ' * rest,
    break_long_words=False,
    break_on_hyphens=False,
  )
  return '\n'.join(re.sub(r'(?<=\S) \0|\0', '', line) for line in lines)


def _shown(
  config_class: type[config_lib.BaseConfig],
) -> list[tuple[dataclasses.Field, config_lib.Kind]]:
  """The knobs that are flags."""
  return [
    (field, kind)
    for field, kind in config_lib.fields(config_class)
    if field.name not in config_class.unused
  ]


def _help(field: dataclasses.Field, kind: config_lib.Kind) -> str:
  spec = field.metadata['knob']
  notes = []
  if spec.choices is not None:
    notes.append('one of ' + ', '.join(str(c) for c in spec.choices))
  if spec.low is not None:
    notes.append(f'{">" if spec.open_low else ">="} {spec.low}')
  if spec.high is not None:
    notes.append(f'{"<" if spec.open_high else "<="} {spec.high}')
  if kind.many:
    notes.append('comma-separated')
  if kind.optional:
    notes.append(f'or {_NONE}')
  notes += [
    f'for {places.replace("|", " or ")}={", ".join(wanted)}'
    for places, wanted in spec.needs.items()
    if not isinstance(wanted, bool)
  ]
  text = f'{spec.help} [{"; ".join(notes)}]' if notes else spec.help
  return f'{text} Parts:' if _parts(field) else text


def _parts(field: dataclasses.Field) -> list[str]:
  """What a spec may hold, with its options, one part per line."""
  grammar = field.metadata['knob'].registry
  return [] if grammar is None else grammar.lines()


class _Parser(flags.ArgumentParser):
  """Reads one flag value."""

  syntactic_help = ''

  def __init__(self, kind: config_lib.Kind):
    super().__init__()
    self._kind = kind

  def parse(self, argument: Any) -> Any:
    if not isinstance(argument, str):
      return argument
    if self._kind.optional and argument.strip().lower() == _NONE:
      return None
    if not self._kind.many:
      return self._item(argument)
    parts = registry.split(argument, ',')
    if '' in parts[:-1]:
      raise ValueError(f'has nothing between two commas; got {argument!r}.')
    return tuple(self._item(part) for part in parts if part)

  def _item(self, text: str) -> Any:
    base = self._kind.base
    if base is str:
      return text
    if base is bool:
      if text.lower() in ('true', 't', '1', 'yes'):
        return True
      if text.lower() in ('false', 'f', '0', 'no'):
        return False
      raise ValueError(f'must be true or false; got {text!r}.')
    try:
      return base(text)
    except ValueError:
      raise ValueError(
        f'must be {config_lib.KINDS[base]}; got {text!r}.'
      ) from None

  def flag_type(self) -> str:
    return config_lib.say(self._kind)


class _Serializer(flags.ArgumentSerializer):
  """Writes one flag value so that `_Parser` reads it back."""

  def serialize(self, value: Any) -> str:
    return config_lib.text_of(value)
