# SPDX-License-Identifier: Apache-2.0
"""Knobs, their checks, and the flags made from them."""

import dataclasses
import json
import math
import pathlib
import tempfile
from typing import Any
from unittest import mock

import jax
from absl import flags
from absl.testing import absltest, parameterized

from jaxdl.core import clients, registry
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


def parsed(*args, cls=Config, given=()):
  values = flags.FlagValues()
  _flags.define_flags(cls, values)
  values(['binary', *args])
  return _flags.from_flags(cls, values, given=given)


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
    ({'rules': None}, 'too much.'),
    ({'rules': 'median', 'clients': None}, '--rules=median: too much.'),
  )
  def test_naming_leaves_none_out(self, flags_of, want):
    with (
      self.assertRaises(ValueError) as caught,
      config_lib.naming(**flags_of),
    ):
      raise ValueError('too much.')
    self.assertEqual(str(caught.exception), want)

  def test_naming_says_a_text_once(self):
    with (
      self.assertRaises(ValueError) as caught,
      config_lib.naming(rules='krum(f=1)', clients=3),
    ):
      raise ValueError("rule='krum(f=1)': f is too much.")
    want = '--rules=krum(f=1) --clients=3: f is too much.'
    self.assertEqual(str(caught.exception), want)

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


def halved(sizes):
  return tuple(min(size, 4) for size in sizes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Small(config_lib.BaseConfig):
  num_rounds: int = knob(500, 'Declared anew.', low=0)
  num_clients: int = knob(64, 'Clients.', low=1, smoke=8)
  chunk: int = knob(0, 'Clients that run together.', low=0)
  rate: float | None = knob(0.5, 'A rate.', smoke=0.1)
  rules: tuple[str, ...] = knob(('a', 'b', 'c'), 'Rules.', smoke=2)
  sizes: tuple[int, ...] = knob((64, 3), 'Sizes.', smoke=halved)
  grids: tuple[int, ...] = knob((64, 128), 'Grids.', smoke=(8,))
  network: str = knob('resnet', 'A network.', smoke='mlp')
  plain: int = knob(9, 'Stays.')

  def validate(self):
    if self.chunk > self.num_clients:
      raise ValueError(
        f'chunk={self.chunk} is more than num_clients={self.num_clients}.'
      )


class SmokeTest(parameterized.TestCase):
  def test_knobs_say_what_becomes_of_them(self):
    small = Small().smoked()
    self.assertEqual(
      dataclasses.asdict(small),
      dataclasses.asdict(Small())
      | dict(
        smoke=True,
        num_rounds=3,
        eval_every=1,
        num_clients=8,
        rate=0.1,
        rules=('a', 'b'),
        sizes=(4, 3),
        grids=(8,),
        network='mlp',
      ),
    )
    self.assertEqual(small.smoked(), small)
    self.assertTrue(config_lib.is_shrunk(small))
    self.assertFalse(config_lib.is_shrunk(Small(smoke=True)))

  def test_what_is_small_or_none_stays(self):
    config = Small(num_rounds=0, num_clients=2, rate=None, rules=('a',))
    small = config.smoked()
    for name in ('num_rounds', 'num_clients', 'rate', 'rules'):
      self.assertEqual(getattr(small, name), getattr(config, name))

  def test_a_knob_declared_anew_may_say_otherwise(self):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Other(Small):
      num_rounds: int = knob(500, 'Rounds.', smoke=7)
      num_clients: int = knob(64, 'Clients.', smoke=lambda value: value)

    small = Other().smoked()
    self.assertEqual((small.num_rounds, small.num_clients), (7, 64))

  def test_given_flags_stay(self):
    small = parsed(
      '--smoke',
      '--num_clients=16',
      '--sizes=9',
      cls=Small,
      given=('num_clients', 'sizes'),
    )
    self.assertEqual((small.num_clients, small.sizes), (16, (9,)))
    self.assertEqual((small.num_rounds, small.network), (3, 'mlp'))
    self.assertTrue(config_lib.is_shrunk(small))
    with self.assertRaisesRegex(
      ValueError, r'chunk=9 is more .*--smoke made it num_clients=8'
    ):
      config_lib.shrunk(Small(chunk=9), ('chunk',))
    kept = config_lib.shrunk(Small(chunk=9), ('chunk', 'num_clients'))
    self.assertEqual((kept.chunk, kept.num_clients), (9, 64))
    self.assertTrue(config_lib.is_shrunk(kept))


class ClientsTest(parameterized.TestCase):
  def test_knobs_say_how_clients_run(self):
    own = Small(num_clients=12).clients()
    self.assertEqual(own, clients.Clients(12, mesh=clients.clients_mesh()))
    own = Small(chunk=3).clients(16)
    self.assertEqual((own.num_clients, own.chunk), (16, 3))
    self.assertEqual(Config().clients(5).reduction, 'psum')

  def test_gathered_sums_reach_them(self):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Heeds(Small):
      unused = ()

    own = Heeds(reduction='gathered').clients()
    self.assertEqual(own.reduction, 'gathered')

  def test_one_device_needs_no_mesh(self):
    with mock.patch.object(jax, 'device_count', return_value=1):
      self.assertIsNone(Small().clients(3, even=True).mesh)

  def test_those_that_must_split_evenly(self):
    self.assertEqual(Small().clients(16, even=True).num_clients, 16)
    self.assertEqual(Small().clients(13).num_clients, 13)
    with self.assertRaisesRegex(
      ValueError,
      'num_clients=13 does not split over 8 devices: use 16 clients, or a '
      'number of devices that divides 13',
    ):
      Small(num_clients=13).clients(even=True)

  def test_how_many_there_are_must_be_known(self):
    with self.assertRaisesRegex(ValueError, 'num_clients is no knob here'):
      Config().clients()


def mean(updates):
  return updates


def krum(updates, num_neighbors=None, *, tolerance: Any = 0.1):
  return updates


def trimmed_mean_of_many(
  updates, *, number_that_is_trimmed=3, another_option='text', a_third_one=1e-6
):
  return updates


def nnm(*, num_neighbors=2):
  return num_neighbors


RULES = registry.Registry(
  'rule',
  {'mean': mean, 'krum': krum, 'trimmed_mean_of_many': trimmed_mean_of_many},
  given=('updates',),
  before=registry.Registry('pre', {'nnm': nnm}),
)
GRAPHS = registry.Registry('graph', {'ring': lambda weights='uniform': weights})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Specs(config_lib.BaseConfig):
  rule: str = knob('mean', 'The rule.', registry=RULES)
  rules: tuple[str, ...] = knob(('mean', 'krum(2)'), 'Rules.', registry=RULES)
  variants: tuple[str, ...] = knob(
    ('krum@ring',), 'Variants.', registry=registry.Pair(RULES, GRAPHS)
  )
  other: str | None = knob(None, 'Another.', registry=RULES)
  radius: float = knob(1.0, 'Of krum.', needs={'rules|variants': ('krum',)})
  scale: float = knob(1.0, 'Of uniform.', needs={'variants': ('uni*',)})


class SpecsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('--rule=nnm+krum(2)', 'rule', 'nnm+krum(2)'),
    ('--rules=krum(2, tolerance=0.5),mean', 'rules', None),
    (
      '--rules=nnm(num_neighbors=3)+krum(tolerance=(1,2)), mean',
      'rules',
      ('nnm(num_neighbors=3)+krum(tolerance=(1,2))', 'mean'),
    ),
    (
      "--rules=krum(num_neighbors='a,b'),mean,",
      'rules',
      ("krum(num_neighbors='a,b')", 'mean'),
    ),
    (
      '--variants=nnm+krum(1, tolerance=2)@ring(weights=lazy),mean',
      'variants',
      ('nnm+krum(1, tolerance=2)@ring(weights=lazy)', 'mean'),
    ),
    ('--other=none', 'other', None),
    ('--other=krum(1)', 'other', 'krum(1)'),
    ('--rules=', 'rules', ()),
  )
  def test_a_flag_may_hold_commas_in_brackets(self, arg, name, want):
    if name == 'rules' and want is None:
      want = ('krum(2, tolerance=0.5)', 'mean')
    config = parsed(arg, cls=Specs)
    self.assertEqual(getattr(config, name), want)
    # The same from a file, and as it was stored.
    path = pathlib.Path(tempfile.mkdtemp()) / 'preset.flags'
    text = config_lib.text_of(getattr(config, name))
    path.write_text(f'# A preset.\n--{name}={text}\n')
    self.assertEqual(parsed(f'--flagfile={path}', cls=Specs), config)
    stored = json.loads(json.dumps(config_lib.as_json(config)))
    self.assertEqual(config_lib.differences(stored, config), [])
    again = stored[name]
    again = tuple(again) if isinstance(again, list) else again
    self.assertEqual(Specs(**{name: again}), config)

  @parameterized.parameters(
    (dict(rule='kruhm'), "^rule='kruhm' is unknown.* Did you mean 'krum'"),
    (dict(rule=''), "^rule='' is empty"),
    (
      dict(rules=('mean', 'krum(k=1)')),
      r"^rules='krum\(k=1\)': krum has no opt",
    ),
    (dict(rules=('mean,krum',)), "^rules='mean,krum' is no part"),
    (dict(variants=('mean@rng',)), "^variants='rng' is unknown.* mean 'ring'"),
    (dict(other='krum('), r"^other='krum\(' cannot be read"),
  )
  def test_what_is_wrong_is_said_of_the_knob(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      Specs(**values)

  def test_words_inside_of_specs_count(self):
    for args in (
      ('--radius=2',),
      ('--radius=2', '--rules=nnm+krum(tolerance=1)'),
      ('--radius=2', '--rules=mean', '--variants=krum(1)@ring'),
      ('--scale=2', '--variants=mean@ring(weights=uniform)'),
      ('--scale=2', "--variants=mean@ring(weights='uniform')"),
      ('--scale=2', '--variants=krum((a, uniform))@ring'),
    ):
      parsed(*args, cls=Specs)
    for args, want in (
      (('--radius=2', '--rules=mean', '--variants=mean'), 'it is for krum'),
      (('--scale=2',), '--scale=2.0 has no effect on --variants=krum@ring: it'),
    ):
      with self.assertRaisesRegex(ValueError, want):
        parsed(*args, cls=Specs)

  def test_help_has_a_line_per_part(self):
    text = _flags.help_text(Specs, 'A title.')
    self.assertLessEqual(max(map(len, text.splitlines())), 80)
    self.assertIn(
      '--rule=mean\n      The rule. Parts:\n        nnm(num_neighbors=2)+\n'
      '        mean\n        krum(num_neighbors=None, tolerance=0.1)\n'
      '        trimmed_mean_of_many(number_that_is_trimmed=3, another_option=',
      text,
    )
    self.assertIn(
      '      Rules. [comma-separated] Parts: those of --rule.\n', text
    )
    self.assertIn('Variants. [comma-separated] Parts:\n', text)
    self.assertEqual(text.count('        mean\n'), 2)
    self.assertIn('        @ring(weights=uniform)\n', text)

  def test_messages_leave_the_text_of_a_spec_alone(self):
    said = config_lib.as_flags(
      Specs,
      "rules='krum(rule=1, radius=2)' and num_rounds=3 need rule=x: krum has "
      "no option 'rule': write krum(rule=...). The client's seeds must differ.",
    )
    self.assertEqual(
      said,
      "--rules='krum(rule=1, radius=2)' and --num_rounds=3 need --rule=x: krum "
      "has no option 'rule': write krum(rule=...). The client's --seeds must "
      'differ.',
    )


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
