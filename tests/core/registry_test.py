# SPDX-License-Identifier: Apache-2.0
"""The grammar of parts: what it reads, what it refuses, and how it says so."""

import contextlib
import functools
import math
import pathlib
import pydoc
import re
import string
import tempfile
from unittest import mock

import chex
import hypothesis
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from jaxdl.core import checks, registry


def mean(updates):
  """Takes the arithmetic mean."""
  return ('mean', updates)


def krum(updates, *, num_neighbors=None):
  return ('krum', updates, num_neighbors)


def flag(updates, num_iters=3, *, reg=0.0, key=None):
  return ('flag', updates, num_iters, reg, key)


def scaled(updates, *, factor):
  return ('scaled', updates, factor)


def loose(updates, *more, shift=0, **others):
  return ('loose', updates, more, shift, others)


def nnm(*, num_neighbors=2):
  return ('nnm', num_neighbors)


PRE = registry.Registry('pre', {'nnm': nnm})
RULES = registry.Registry(
  'rule',
  {'mean': mean, 'krum': krum, 'flag': flag, 'scaled': scaled, 'loose': loose},
  given=('updates', 'key'),
  before=PRE,
)


class ReadTest(parameterized.TestCase):
  @parameterized.parameters(
    ('krum', 'krum', (), {}),
    (' krum ', 'krum', (), {}),
    ('krum()', 'krum', (), {}),
    ('flag(1, reg=0.5)', 'flag', (1,), {'reg': 0.5}),
    ('f(-1, -0.5, -(-2))', 'f', (-1, -0.5, 2), {}),
    ('f(1e-3, 0x10, 1_000)', 'f', (1e-3, 16, 1000), {}),
    ('f(inf, -inf)', 'f', (math.inf, -math.inf), {}),
    ('f(1/3, -1/4, 2*8, 1+1, 5-7)', 'f', (1 / 3, -0.25, 16, 2, -2), {}),
    ('f(True, False, None)', 'f', (True, False, None), {}),
    ('f(word, "a b", \'c\')', 'f', ('word', 'a b', 'c'), {}),
    ('f(none, true)', 'f', ('none', 'true'), {}),
    (r"f(a='it\'s', b='\\', c='\n')", 'f', (), dict(a="it's", b='\\', c='\n')),
    ('f(a="x+y@z,(")', 'f', (), {'a': 'x+y@z,('}),
    ('f((), (1,), (1, (2, x)), [3])', 'f', ((), (1,), (1, (2, 'x')), (3,)), {}),
    ('ü(ä=ö)', 'ü', (), {'ä': 'ö'}),
    ('f(match=type)', 'f', (), {'match': 'type'}),
    ('f(a=1,)', 'f', (), {'a': 1}),
    ('f(\n  a=1,  # One.\n  b=2,\n)', 'f', (), {'a': 1, 'b': 2}),
  )
  def test_values(self, text, name, args, options):
    part = registry.parse(text)
    self.assertEqual(part, registry.Part(name, args, options, text))
    self.assertEqual(
      [type(v) for v in part.args], [type(v) for v in args], part
    )

  def test_nan_is_a_number(self):
    self.assertTrue(math.isnan(registry.parse('f(nan)').args[0]))

  @parameterized.parameters(
    'top_k(keep=0.1)',
    'g(h(i(1)), j="x")',
    'n-f-1',
    '2*n',
    '-n',
    'nnm+krum(num_neighbors=n-1)',
    'sgd@ring',
    'g((1, -x), [2])',
  )
  def test_parts_and_formulas_inside_stay_text(self, inner):
    self.assertEqual(registry.parse(f'f(a={inner})').options, {'a': inner})
    self.assertEqual(registry.parse(f'f({inner}, 1)').args, (inner, 1))

  @parameterized.parameters(
    ('a+b', ['a', 'b']),
    ('a(x=1+2)+b(y="+")', ['a(x=1+2)', 'b(y="+")']),
    ('a(x=(b+c)) + d', ['a(x=(b+c))', 'd']),
    ("a(x='\\'+')+b", ["a(x='\\'+')", 'b']),
    ('', ['']),
    ('+', ['', '']),
  )
  def test_a_separator_counts_outside_of_brackets_and_quotes(self, text, want):
    self.assertEqual(registry.split(text, '+'), want)

  def test_a_pair(self):
    self.assertEqual(registry.pair('a'), ('a', None))
    self.assertEqual(registry.pair(' a @ b(x=c@d) '), ('a', 'b(x=c@d)'))
    with self.assertRaisesRegex(ValueError, r"^v='a@b@c' has 2 @: a@b puts"):
      registry.pair('a@b@c', name='v')

  def test_a_chain(self):
    parts = registry.chain('a(1) + b(x=2)+c')
    self.assertEqual([p.name for p in parts], ['a', 'b', 'c'])
    self.assertEqual(parts[1].text, 'b(x=2)')
    with self.assertRaisesRegex(
      ValueError, r"^v='a\+\+b' has '', which is empty: write name or name\("
    ):
      registry.chain('a++b', name='v')


class RefusedTest(parameterized.TestCase):
  @parameterized.parameters(
    ('', 'is empty'),
    ('  \n', 'is empty'),
    ('a+b', 'is no part'),
    ('a@b', 'is no part'),
    ('a.b', 'is no part'),
    ('os.system("x")', 'is no part'),
    ('f(1)(2)', 'is no part'),
    ('f[1]', 'is no part'),
    ('(f)', 'is no part'),
    ('f#g', 'is no part'),
    ('"f"', 'is no part'),
    ('1', 'is no part'),
    ('None', 'is no part'),
    ('-f', 'is no part'),
    ('lambda: f', 'is no part'),
    ('[f for f in g]', 'is no part'),
    ('await f', 'is no part'),
    ('class', 'cannot be read'),
    ('f(class=1)', 'cannot be read'),
    ('f(a=lambda)', 'cannot be read'),
    ('f; g', 'cannot be read'),
    ('f = 1', 'cannot be read'),
    ('f(a=1, 2)', 'positional argument follows'),
    ('f(', 'was never closed'),
    ('f(a=(1)', 'was never closed'),
    ('f)', 'unmatched'),
    ('f(]', 'does not match'),
    ("f(a='x)", 'cannot be read'),
    ('f\x00', 'cannot be read'),
    ('f(a="\ud800")', 'cannot be read'),
    ('f(a=1, b=2, a=1)', "gets the option 'a' twice"),
    ('f(**a)', 'unpacks options: write each by name'),
    ('f(**{"a": 1})', 'unpacks options'),
    ('f(*a)', r"has '\*a' as a value"),
    ('f((1, *a))', r"has '\*a' as a value"),
    ('f(a=f"{b}")', 'as a value: write a number, text in quotes, a tuple'),
    ('f(a=[b for b in c])', 'as a value'),
    ('f(b for b in c)', 'as a value'),
    ('f(a=b.c)', "has 'b.c' as a value"),
    ('f(a=b.c())', 'as a value'),
    ('f(a=g(h.i))', 'as a value'),
    ('f(a=b[0])', 'as a value'),
    ('f(a=lambda: 0)', 'as a value'),
    ('f(a=g(lambda: 0))', 'as a value'),
    ('f(a=(b := 1))', 'as a value'),
    ('f(a := 1)', 'as a value'),
    ('f(a=1 if b else 2)', 'as a value'),
    ('f(a=not b)', 'as a value'),
    ('f(a=b < c)', 'as a value'),
    ('f(a=b and c)', 'as a value'),
    ('f(a={1: 2})', 'as a value'),
    ('f(a={1})', 'as a value'),
    ('f(a=b"x")', 'as a value'),
    ('f(a=1j)', 'as a value'),
    ('f(a=...)', 'as a value'),
    ('f(a=+1)', 'as a value'),
    ('f(a=-True)', 'as a value'),
    ('f(a=-"x")', 'as a value'),
    ('f(a=1/0)', 'as a value'),
    ('f(a=9**9**9)', 'as a value'),
    (f'f(a=1{400 * "0"}/3.0)', 'as a value'),
  )
  def test_other_text_is_refused_in_one_line(self, text, message):
    with self.assertRaisesRegex(ValueError, message) as caught:
      registry.parse(text, name='flag')
    said = str(caught.exception)
    self.assertStartsWith(said, 'flag=')
    self.assertLen(said.splitlines(), 1)
    self.assertLess(len(said), 600)

  @parameterized.parameters(None, 3, b'krum', (('krum',),), mean)
  def test_what_is_no_text(self, value):
    for read in (
      registry.parse,
      registry.chain,
      registry.pair,
      functools.partial(RULES.part),
      functools.partial(RULES.parts),
      functools.partial(RULES.check),
    ):
      with self.assertRaisesRegex(TypeError, '^here must be text; got'):
        read(value, name='here')

  @parameterized.parameters(
    'x' * 10_001, 'x+' * 6000 + 'x', '(' * 11_000, 'a@' * 9000, '+' * 10**6
  )
  def test_too_long_a_text(self, text):
    for read in (
      registry.parse,
      registry.chain,
      registry.pair,
      RULES.parts,
      RULES.part,
    ):
      with self.assertRaisesRegex(
        ValueError, f'^here has {len(text)} characters: at most 10000 are read'
      ):
        read(text, name='here')

  @parameterized.parameters(
    '(' * 5000,
    '[' * 9000,
    'f(' * 4000,
    'f(a=' + '-' * 9900 + '1)',
    'f(a=' + 'not ' * 2000 + 'x)',
    'f(a=' + 'lambda:' * 1300 + 'x)',
    'f(a=' + '+'.join('a' * 4000) + ')',
    'f(a=' + '1+' * 4000 + '1)',
    'f(a=' + 'a.' * 4000 + 'a)',
    'f(a=' + 'x**' * 3000 + 'x)',
    'f(a=' + 'x if x else ' * 700 + 'x)',
    'f' + '(a)' * 3000,
  )
  def test_deep_nesting_is_no_crash(self, text):
    for read in (registry.parse, registry.chain, registry.pair, RULES.parts):
      try:
        read(text)
      except ValueError as error:
        self.assertLess(len(str(error)), 700)

  def test_a_hundred_levels_are_fine(self):
    inner = 'f(a=' * 99 + '1' + ')' * 99
    self.assertEqual(registry.parse(f'f(a={inner})').options['a'], inner)
    deep = '(' * 99 + '1' + ',)' * 99
    value = registry.parse(f'f({deep})').args[0]
    for _ in range(99):
      (value,) = value
    self.assertEqual(value, 1)

  def test_nothing_is_run(self):
    path = pathlib.Path(tempfile.mkdtemp()) / 'file'
    evil = f'__import__("pathlib").Path({str(path)!r}).touch()'
    called = f'open({str(path)!r}, "w")'
    with (
      mock.patch('builtins.eval') as evaluated,
      mock.patch('builtins.exec') as executed,
    ):
      for text in (
        evil,
        f'f(a={evil})',
        f'f(a=f"{{{called}}}")',
        f'f(a=[{called} for _ in (1,)])',
        called,
        f'f(a={called})',
        f'f(a=(lambda: {called})())',
        f'krum(num_neighbors={called})',
        f'krum({evil})+mean',
      ):
        make = lambda text: RULES.make(text, 'updates')
        for read in (registry.parse, registry.chain, RULES.parts, make):
          with contextlib.suppress(ValueError):
            read(text)
    evaluated.assert_not_called()
    executed.assert_not_called()
    self.assertFalse(path.exists())


NAMES = st.from_regex(r'[a-z_][a-z0-9_]{0,8}', fullmatch=True).filter(
  lambda name: registry._is_word(name) and name not in ('inf', 'nan')
)
SCALARS = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(-(10**30), 10**30),
  st.floats(allow_nan=False),
  st.text(max_size=12),
  st.text(alphabet='\'"\\+@,()[]#{}\n\r\t =', max_size=8),
  st.sampled_from(
    [
      'inf',
      'nan',
      'None',
      'True',
      'class',
      'f(a=1)',
      'n-1',
      '-1',
      'ﬁ',
      '\ud800',
    ]
  ),
)
VALUES = st.recursive(
  SCALARS, lambda x: st.lists(x, max_size=3).map(tuple), max_leaves=6
)


def same(a, b):
  """Equal, also in type and sign."""
  if isinstance(a, tuple):
    return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
  return type(a) is type(b) and repr(a) == repr(b)


class WriteTest(parameterized.TestCase):
  @hypothesis.settings(max_examples=300, deadline=None, database=None)
  @hypothesis.seed(0)
  @hypothesis.given(
    NAMES,
    st.lists(VALUES, max_size=3),
    st.dictionaries(NAMES, VALUES, max_size=3),
  )
  def test_what_was_written_is_read_back(self, name, args, options):
    text = registry.write(name, *args, **options)
    part = registry.parse(text)
    self.assertEqual(part.name, name)
    self.assertTrue(same(part.args, tuple(args)), text)
    self.assertEqual(list(part.options), list(options))
    self.assertTrue(
      same(tuple(part.options.values()), tuple(options.values())), text
    )
    # It can stand in a chain, on something, in a list, and in another part.
    self.assertEqual(registry.split(f'{text}+{text}', '+'), [text, text])
    self.assertEqual(registry.pair(f'{text}@{text}'), (text, text))
    self.assertEqual(registry.split(f'{text},{text}', ','), [text, text])
    outer = registry.write('outer', inner=text)
    self.assertEqual(registry.parse(outer).options, {'inner': text})

  @hypothesis.settings(max_examples=300, deadline=None, database=None)
  @hypothesis.seed(0)
  @hypothesis.given(
    st.text(alphabet=string.printable + 'äß∞\x00', max_size=40)
    | st.text(alphabet='fa=()[]{},+-*@\'"\\ 1.:#\n', max_size=40)
  )
  def test_any_text_is_read_or_refused(self, text):
    for read in (registry.parse, registry.chain, registry.pair, RULES.parts):
      try:
        read(text)
      except ValueError as error:
        self.assertLen(str(error).splitlines(), 1)

  def test_numbers_of_numpy_and_lists(self):
    self.assertEqual(
      registry.write('f', np.int64(3), a=np.float32(0.5), b=[1, (2,)]),
      'f(3, a=0.5, b=(1, (2,)))',
    )
    self.assertEqual(registry.write('f', np.bool_(True)), 'f(True)')
    self.assertEqual(registry.write('f', rule=mean), 'f(rule=mean)')

  def test_any_option_may_have_any_name(self):
    text = registry.write('f', name=1, text='a')
    self.assertEqual(text, 'f(name=1, text=a)')
    self.assertEqual(registry.changed(text, text='b'), 'f(name=1, text=b)')

  @parameterized.parameters('async', 'async(1, b=async_)', ' async (a=2)')
  def test_a_part_may_be_called_async(self, text):
    part = registry.parse(text)
    self.assertEqual(part.name, 'async')
    again = registry.parse(
      registry.write(part.name, *part.args, **part.options)
    )
    self.assertEqual(again._replace(text=''), part._replace(text=''))
    with self.assertRaisesRegex(ValueError, 'is no name of a part or an opt'):
      registry.write('f', **{'async': 1})

  @parameterized.parameters('a b', '', 'a(', 'class', 'None', '1', 'ﬁ')
  def test_what_is_no_name(self, name):
    with self.assertRaisesRegex(ValueError, 'is no name of a part or an opt'):
      registry.write(name)
    with self.assertRaisesRegex(ValueError, 'is no name of a part or an opt'):
      registry.write('f', **{name: 1})

  @parameterized.parameters(({1},), ({'a': 1},), 1j, b'x', ..., lambda: 0)
  def test_what_is_no_value(self, value):
    with self.assertRaisesRegex(TypeError, '^a of f must be a number, text, a'):
      registry.write('f', a=value)
    with self.assertRaisesRegex(TypeError, '^value 2 of f must be a number'):
      registry.write('f', 1, (2, value))
    with self.assertRaisesRegex(TypeError, 'got an array of shape'):
      registry.write('f', np.ones(2))

  def test_changes(self):
    self.assertEqual(registry.changed('f', a=1), 'f(a=1)')
    self.assertEqual(registry.changed('f(2, a=1)', b=3), 'f(2, a=1, b=3)')
    text = 'f( a = 1 ,b=g(c=2))'
    self.assertIs(registry.changed(text, a=1), text)
    self.assertIs(registry.changed(text, b='g(c=2)'), text)
    self.assertEqual(registry.changed('f(a=1)', a=True), 'f(a=True)')
    self.assertIs(registry.changed(text), text)


class RegistryTest(parameterized.TestCase):
  def test_it_is_a_mapping_of_plain_functions(self):
    self.assertIs(RULES['krum'], krum)
    self.assertEqual([*RULES][:2], ['mean', 'krum'])
    self.assertIn('flag', RULES)
    self.assertNotIn('nnm', RULES)
    self.assertLen(RULES, 5)

  def test_options_come_from_signatures_but_for_what_is_given(self):
    self.assertEqual([*RULES.options('flag')], ['num_iters', 'reg'])
    self.assertEqual([*RULES.options('mean')], [])
    self.assertEqual([*RULES.options('loose')], ['shift'])
    self.assertEqual(RULES.options('flag')['reg'].default, 0.0)

  @parameterized.parameters(
    ('mean', ('mean', 'u')),
    ('krum(num_neighbors=n-1)', ('krum', 'u', 'n-1')),
    ('krum(4)', ('krum', 'u', 4)),
    ('flag(7)', ('flag', 'u', 7, 0.0, 'k')),
    ('flag(7, 0.5)', ('flag', 'u', 7, 0.5, 'k')),
    ('flag(reg=0.5)', ('flag', 'u', 3, 0.5, 'k')),
    ('scaled(factor=2)', ('scaled', 'u', 2)),
  )
  def test_make(self, text, want):
    self.assertEqual(RULES.make(text, 'u', key='k', unknown=1), want)

  def test_what_the_part_says_counts_more_than_the_context(self):
    self.assertEqual(RULES.make('scaled', 'u', factor=3)[-1], 3)
    self.assertEqual(RULES.make('scaled(factor=2)', 'u', factor=3)[-1], 2)

  def test_arguments_may_be_called_anything(self):
    names = registry.Registry('x', {'f': lambda text, part: (text, part)})
    self.assertEqual(names.make('f(part=1)', text=2), (2, 1))

  def test_a_part_that_was_read_gives_all_values_names(self):
    part = RULES.part('flag(7, reg=1)')
    self.assertEqual(
      (part.args, part.options), ((), {'num_iters': 7, 'reg': 1})
    )
    self.assertEqual(RULES.bound(part, 'u'), ('flag', 'u', 7, 1, None))

  @parameterized.parameters(
    (
      'kruhm',
      r"^--r='kruhm' is unknown: choose one of 'mean', 'krum', 'flag', "
      r"'scaled', 'loose'\. Did you mean 'krum'\?$",
    ),
    ('kruhm(a=1)', r"^--r='kruhm\(a=1\)' has 'kruhm', which is unknown"),
    (
      'flag(num_iter=1)',
      r"^--r='flag\(num_iter=1\)': flag has no option 'num_iter': its options "
      r"are num_iters, reg\. Did you mean 'num_iters'\?$",
    ),
    ('flag(key=1)', "has no option 'key': its options are num_iters, reg"),
    ('flag(updates=1)', "has no option 'updates'"),
    ('loose(others=1)', "has no option 'others': its options are shift"),
    ('mean(a=1)', "mean has no option 'a': its options are none"),
    ('flag(1, 2, 3)', 'flag takes 2 options at most; got 3: its options are'),
    ('flag(1, num_iters=1)', "flag gets the option 'num_iters' twice"),
    ('nnm+flag(rg=1)', r"^--r='nnm\+flag\(rg=1\)': flag has no .* mean 'reg'"),
    ('nmm+flag', r"^--r='nmm\+flag' has 'nmm', which .* Did you mean 'nnm'"),
    ('flag+krum', r"^--r='flag\+krum' has 'flag', which .* one of 'nnm'"),
    ('nnm(k=1)+krum', "nnm has no option 'k': its options are num_neighbors"),
    ('nnm', r"^--r='nnm' is unknown"),
    ('nnm+', r"^--r='nnm\+' has '', which is empty"),
    ('nnm+krum(', r"^--r='nnm\+krum\(' has 'krum\(', which cannot be read"),
  )
  def test_messages_name_option_part_what_exists_and_the_nearest(
    self, text, message
  ):
    with self.assertRaisesRegex(ValueError, message):
      RULES.check(text, name='--r')

  def test_options_of_a_wrong_kind_are_said_with_their_part(self):
    sizes = registry.Registry('net', {'net': lambda sizes=(1,): tuple(sizes)})
    with self.assertRaisesRegex(
      ValueError, r"^net='net\(sizes=0.5\)' cannot be made with these options"
    ):
      sizes.make('net(sizes=0.5)')
    checked = registry.Registry(
      'net', {'net': lambda size=1: checks.integer(size, name='size')}
    )
    with self.assertRaisesRegex(
      TypeError, r"^net='net\(size=0.5\)': size must be an integer; got 0.5"
    ):
      checked.make('net(size=0.5)')
    with self.assertRaisesRegex(ValueError, 'too large for an integer'):
      checked.make(f'net(size={10**22})')
    with self.assertRaisesRegex(ValueError, "Did you mean 'net'"):
      checked.make('NET')

  @parameterized.parameters(
    ('flag=false', "flag must be True or False; got 'false'"),
    ('flag=0', 'flag must be True or False; got 0'),
    ('count=2.0', 'count must be an integer or None; got 2.0'),
    ('count=True', 'count must be an integer or None; got True'),
    ('size=abc', "size must be a number; got 'abc'"),
    ('sizes=(1, x)', 'sizes must be a tuple of integers; got'),
    ('pair=(1, 2, 3)', 'pair must be a tuple of 2 numbers; got'),
    ('name=3', 'name must be text; got 3'),
    ('plain=abc', "plain must be a number; got 'abc'"),
  )
  def test_options_are_of_the_kind_of_their_annotation(self, option, message):
    def part(
      flag: bool = True,
      count: int | None = None,
      size: chex.Numeric = 1.0,
      sizes: tuple[int, ...] = (1,),
      pair: tuple[float, float] = (1.0, 2.0),
      name: str = 'a',
      plain=0.5,
      free=None,
    ):
      return flag, count, size, sizes, pair, name, plain, free

    parts = registry.Registry('part', {'part': part})
    with self.assertRaisesRegex(ValueError, re.escape(f': part: {message}')):
      parts.part(f'part({option})')
    good = (
      'flag=False, count=2, size=1, sizes=(3,), pair=(0, 1), name=b, free=c'
    )
    self.assertEqual(
      parts.make(f'part({good})'), (False, 2, 1, (3,), (0, 1), 'b', 0.5, 'c')
    )
    self.assertIsNone(parts.part('part(count=None)').options['count'])

  def test_options_that_are_filled_in_stand_in_brackets(self):
    known = registry.Registry(
      'cut', {'cut': lambda x, n, m, p=2: x}, given=('x',), told=('n',)
    )
    self.assertEqual(known.lines(), ['cut([n], m, p=2)'])
    self.assertEqual((known | {}).lines(), known.lines())

  def test_a_missing_option_and_a_chain_that_is_none(self):
    with self.assertRaisesRegex(
      ValueError,
      r"^rule='scaled' needs the option 'factor': write scaled\(factor=",
    ):
      RULES.make('scaled', 'u')
    with self.assertRaisesRegex(
      ValueError, r"^pre='nnm\+nnm' is a chain: name one pre instead\."
    ):
      PRE.check('nnm+nnm')

  def test_chains(self):
    parts = RULES.parts('nnm(3)+nnm+krum')
    self.assertEqual([p.name for p in parts], ['nnm', 'nnm', 'krum'])
    self.assertEqual(parts[0].options, {'num_neighbors': 3})

  def test_it_shows_every_part_with_its_options(self):
    want = [
      'nnm(num_neighbors=2)+',
      'mean',
      'krum(num_neighbors=None)',
      'flag(num_iters=3, reg=0.0)',
      'scaled(factor)',
      'loose(shift=0)',
    ]
    self.assertEqual(RULES.lines(), want)
    self.assertEqual(str(RULES).splitlines(), want)
    shown = pydoc.plain(pydoc.render_doc(RULES))
    self.assertIn('Every rule with its options.', shown)
    for line in want:
      self.assertIn(line, shown)
    self.assertEqual(
      repr(RULES), '<Registry of 5: mean, krum, flag, scaled, loose>'
    )

  def test_a_larger_one(self):
    def median(updates, *, key):
      del key
      return ('median', updates)

    larger = RULES | {'median': median, 'mean': median}
    self.assertLen(larger, 6)
    self.assertEqual(larger.make('mean', 'u', key=0), ('median', 'u'))
    self.assertEqual(RULES.make('mean', 'u'), ('mean', 'u'))
    self.assertEqual(larger.lines()[-1], 'median')
    larger.check('nnm+median')
    both = registry.Registry('rule', {'median': median}) | RULES
    self.assertIn('krum', both)


class PairTest(parameterized.TestCase):
  def test_each_half_is_checked_by_its_own(self):
    grammar = registry.Pair(RULES, PRE)
    grammar.check('nnm+flag(1)@nnm(2)')
    grammar.check('mean')
    self.assertEqual(grammar.lines()[-1], '@nnm(num_neighbors=2)')
    self.assertEqual(grammar.lines()[:-1], RULES.lines())
    for text, message in (
      ('men@nnm', "^v='men' is unknown.* mean 'mean'"),
      ('mean@nmm', "^v='nmm' is unknown.* mean 'nnm'"),
      ('mean@', "^v='' is empty"),
      ('@nnm', "^v='' is empty"),
      ('mean@nnm@nnm', 'has 2 @'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        grammar.check(text, name='v')

  def test_a_second_half_that_must_be_there(self):
    grammar = registry.Pair(RULES, PRE, needed=True)
    grammar.check('mean@nnm')
    with self.assertRaisesRegex(
      ValueError, r"^v='krum\(2\)' is on nothing: write krum\(2\)@\.\.\.$"
    ):
      grammar.check('krum(2)', name='v')

  def test_what_cannot_be_made_is_told_where_it_stands(self):
    def line(slope=1):
      if slope < 0:
        raise ValueError(f'slope must be at least 0; got {slope}.')

    lines = registry.Registry('line', {'line': line}, tried={})
    both = registry.Pair(lines, lines)
    for grammar in (lines, both):
      with self.assertRaisesRegex(
        ValueError, r"^curves='line\(-1\)' .* slope must"
      ):
        grammar.check('line(-1)', name='curves')
    with self.assertRaisesRegex(
      ValueError, r"^line='line\(-1\)' .* slope must"
    ):
      lines.check('line(-1)')


class FactsTest(absltest.TestCase):
  def test_what_is_known_stands_on_the_function(self):
    def f(x, *, scale=1):
      return scale * x

    self.assertIsNone(registry.facts(f))
    self.assertIs(registry.known(('linear',))(f), f)
    self.assertEqual(registry.facts(f), ('linear',))
    self.assertEqual(registry.facts(functools.partial(f, scale=2)), ('linear',))


if __name__ == '__main__':
  absltest.main()
