# SPDX-License-Identifier: Apache-2.0
"""Knobs, their checks, and the flags made from them."""

import dataclasses
import json
import math
import pathlib
import tempfile

from absl import flags
from absl.testing import absltest, parameterized

from jaxdl.experiment import _flags, config as config_lib

knob = config_lib.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config_lib.BaseConfig):
  count: int = knob(3, 'A count.', low=1, high=9)
  rate: float = knob(0.5, 'A rate.', low=0.0, open_low=True)
  name: str = knob('a', 'A name.', choices=('a', 'b'))
  switch: bool = knob(True, 'A switch.')
  sizes: tuple[int, ...] = knob((8, 16), 'Sizes.', low=1)
  rates: tuple[float, ...] = knob((), 'Rates.')
  names: tuple[str, ...] = knob(('a',), 'Names.', choices=('a', 'b'))
  decay: float | None = knob(None, 'Decay.', low=0.0)
  limit: int | None = knob(4, 'Limit.')
  label: str | None = knob(None, 'Label.')

  def validate(self):
    if self.limit is not None and self.limit < self.count:
      raise ValueError(f'limit={self.limit} is below count={self.count}.')

  def smoked(self):
    return dataclasses.replace(super().smoked(), sizes=(2,))


def parsed(*args, cls=Config):
  values = flags.FlagValues()
  _flags.define_flags(cls, values)
  values(['binary', *args])
  return _flags.from_flags(cls, values)


class UnusedTest(parameterized.TestCase):
  def test_what_has_no_effect_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'reduction=gathered has no effect'):
      Config(reduction='gathered')
    with self.assertRaisesRegex(ValueError, "'sum' is unknown: choose one of"):
      Config(reduction='sum')

  def test_experiments_declare_what_they_heed(self):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Heeds(Config):
      unused = ('rates', 'label')

    self.assertEqual(Heeds(reduction='gathered').reduction, 'gathered')
    self.assertEqual(parsed('--reduction=gathered', cls=Heeds).count, 3)
    with self.assertRaisesRegex(ValueError, 'rates=0.5,1.0 has no effect'):
      Heeds(rates=(0.5, 1.0))
    self.assertNotIn('unused', config_lib.as_json(Heeds()))

  def test_they_are_no_flags_and_not_in_the_help(self):
    with self.assertRaisesRegex(flags.Error, "Unknown .* 'reduction'"):
      parsed('--reduction=psum')
    self.assertNotIn('reduction', _flags.help_text(Config, 'A title.'))

  def test_a_word_that_is_no_knob(self):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Odd(Config):
      unused = ('reductions',)

    with self.assertRaisesRegex(
      TypeError, "Odd.unused has 'reductions', which"
    ):
      Odd()


class FlagsTest(parameterized.TestCase):
  def test_no_flags_give_the_defaults(self):
    self.assertEqual(parsed(), Config())

  @parameterized.parameters(
    ('--count=2', 'count', 2),
    ('--rate=1e-3', 'rate', 1e-3),
    ('--rate=2', 'rate', 2.0),
    ('--rate=inf', 'rate', math.inf),
    ('--name=b', 'name', 'b'),
    ('--noswitch', 'switch', False),
    ('--switch=false', 'switch', False),
    ('--sizes=1,2, 3', 'sizes', (1, 2, 3)),
    ('--sizes=', 'sizes', ()),
    ('--rates=0.1,2', 'rates', (0.1, 2.0)),
    ('--names=b,a', 'names', ('b', 'a')),
    ('--decay=0.9', 'decay', 0.9),
    ('--decay=none', 'decay', None),
    ('--limit=none', 'limit', None),
    ('--label=x=y', 'label', 'x=y'),
    ('--seeds=0,1,2', 'seeds', (0, 1, 2)),
  )
  def test_every_type_is_read(self, arg, name, want):
    got = getattr(parsed(arg), name)
    self.assertEqual(got, want)
    self.assertIs(type(got), type(want))

  def test_flags_written_to_a_file_read_back_the_same(self):
    config = Config(
      count=4, rate=0.25, switch=False, rates=(1.5, 2.0), limit=7, seeds=(3,)
    )
    values = flags.FlagValues()
    _flags.define_flags(Config, values)
    values(['binary'])
    for field, _ in _flags._shown(Config):
      setattr(values, field.name, getattr(config, field.name))
    path = pathlib.Path(tempfile.mkdtemp()) / 'preset.flags'
    path.write_text('# A preset.\n' + values.flags_into_string())
    self.assertEqual(parsed(f'--flagfile={path}'), config)

  @parameterized.parameters(
    ('--count=many', 'must be an integer'),
    ('--rates=1,x', 'must be a number'),
    ('--cuont=2', 'Did you mean: count'),
  )
  def test_bad_text_is_refused_by_the_parser(self, arg, message):
    with self.assertRaisesRegex(flags.Error, message):
      parsed(arg)

  def test_smoke_shrinks_once_and_for_all(self):
    config = parsed('--smoke', '--num_rounds=50')
    self.assertEqual((config.num_rounds, config.sizes), (3, (2,)))
    self.assertEqual(config.smoked(), config)

  def test_help_names_every_knob_with_range_and_choices(self):
    text = _flags.help_text(Config, 'A title.')
    for field in dataclasses.fields(Config):
      if field.name not in Config.unused:
        self.assertIn(f'--{field.name}=', text)
    self.assertIn('--sizes=8,16\n      Sizes. [>= 1; comma-separated]', text)
    self.assertIn('Names. [one of a, b; comma-separated]', text)
    self.assertIn('--decay=none\n      Decay. [>= 0.0; or none]', text)
    self.assertIn('A rate. [> 0.0]', text)
    self.assertLess(text.index('--count='), text.index('--seeds='))


class ChecksTest(parameterized.TestCase):
  @parameterized.parameters(
    (dict(count=0), ValueError, 'count must be at least 1; got 0'),
    (dict(count=10, limit=None), ValueError, 'count must be at most 9'),
    (dict(count=2.5), TypeError, 'count must be an integer'),
    (dict(count=None), TypeError, 'count must be an integer; got None'),
    (dict(rate=0.0), ValueError, r'rate must lie in \(0.0, inf\]'),
    (dict(rate=math.nan), ValueError, 'rate must lie in'),
    (dict(rate='1'), TypeError, 'rate must be a number'),
    (dict(name='c'), ValueError, "name='c' is unknown: choose one of 'a', 'b'"),
    (dict(switch=1), TypeError, 'switch must be a bool'),
    (dict(sizes=(1, 0)), ValueError, 'sizes must be at least 1; got 0'),
    (dict(sizes='12'), TypeError, 'sizes must be a tuple'),
    (dict(names=('a', 'z')), ValueError, "names='z' is unknown"),
    (dict(decay=-1.0), ValueError, 'decay must lie in'),
    (dict(limit=2), ValueError, 'limit=2 is below count=3'),
    (dict(seeds=(1, 1)), ValueError, 'seeds must differ'),
    (dict(seeds=()), ValueError, 'seeds is empty: name at least one'),
    (dict(seeds=(-1,)), ValueError, 'seeds must be at least 0; got -1'),
    (dict(process='1/1@h:1'), ValueError, r"process='1/1@h:1' must .* 0 <= k"),
    (dict(process='0/2'), ValueError, 'must be k/n@host:port'),
    (dict(process='0/2@host'), ValueError, 'must be k/n@host:port'),
    (dict(process='x/2@h:1'), ValueError, 'must be k/n@host:port'),
    (dict(process='-1/2@h:1'), ValueError, 'must be k/n@host:port'),
    (dict(if_exists='overwite'), ValueError, "Did you mean 'overwrite'"),
    (dict(outputs=('csv', 'png')), ValueError, "outputs='png' is unknown"),
  )
  def test_says_what_to_change(self, values, error, message):
    with self.assertRaisesRegex(error, message):
      Config(**values)

  def test_values_take_their_exact_type(self):
    config = Config(rate=1, sizes=[4, 5], decay=1)
    self.assertIsInstance(config.rate, float)
    self.assertEqual(config.sizes, (4, 5))
    self.assertIsInstance(config.decay, float)

  def test_replace_checks_again(self):
    with self.assertRaisesRegex(ValueError, 'limit=4 is below count=5'):
      dataclasses.replace(Config(), count=5)

  def test_fields_without_a_knob_or_of_unknown_type_are_refused(self):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Bare(config_lib.BaseConfig):
      x: int = 3

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Odd(config_lib.BaseConfig):
      x: dict = knob(None, 'A dict.')

    with self.assertRaisesRegex(TypeError, r'Bare.x must be made by knob'):
      Bare()
    with self.assertRaisesRegex(TypeError, 'Odd.x has type'):
      Odd()

  @parameterized.parameters(
    ('', ('', 1, 0)),
    ('0/1@localhost:80', ('localhost:80', 1, 0)),
    ('3/12@[::1]:9999', ('[::1]:9999', 12, 3)),
  )
  def test_which_process_this_is(self, text, want):
    self.assertEqual(config_lib.parse_process(text), want)
    self.assertEqual(Config(process=text).process, text)


class DifferencesTest(parameterized.TestCase):
  def test_json_holds_every_knob_and_survives_a_round_trip(self):
    config = Config(rate=math.inf, sizes=(1,))
    stored = json.loads(json.dumps(config_lib.as_json(config)))
    self.assertEqual(stored['rate'], 'inf')
    self.assertLen(stored, len(dataclasses.fields(Config)))
    self.assertEqual(config_lib.differences(stored, config), [])

  @parameterized.parameters(
    dict(devices=4),
    dict(checkpoint_seconds=1.0),
    dict(outputs=()),
    dict(outputs=('csv', 'tensorboard')),
    dict(if_exists='refuse'),
    dict(process='1/2@localhost:80'),
    dict(workdir='elsewhere'),
    dict(num_rounds=101),
  )
  def test_how_to_run_may_change(self, **change):
    old = config_lib.as_json(Config())
    self.assertEqual(config_lib.differences(old, Config(**change)), [])

  @parameterized.parameters(
    (dict(count=2), 'count: 3 -> 2'),
    (dict(sizes=(1,)), r'sizes: [8, 16] -> [1]'),
    (dict(num_rounds=99), 'num_rounds: 100 -> 99'),
    (dict(seeds=(1, 2)), 'seeds: [0] -> [1, 2]'),
    (dict(eval_every=1), 'eval_every: 10 -> 1'),
  )
  def test_what_is_computed_may_not(self, change, message):
    old = config_lib.as_json(Config())
    self.assertEqual(config_lib.differences(old, Config(**change)), [message])

  def test_a_knob_that_the_old_run_lacked_counts_as_its_default(self):
    old = config_lib.as_json(Config())
    del old['rate']
    self.assertEqual(config_lib.differences(old, Config()), [])
    self.assertEqual(
      config_lib.differences(old, Config(rate=1.0)), ['rate: 0.5 -> 1.0']
    )
    old['gone'] = 3
    self.assertIn('gone', config_lib.differences(old, Config())[0])


if __name__ == '__main__':
  absltest.main()
