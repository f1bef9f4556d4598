# SPDX-License-Identifier: Apache-2.0
"""Public goods in text: knobs of a comparison, and the comparison."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxdl import language, plots
from jaxdl.agents import public_goods
from jaxdl.core import registry
from jaxdl.experiment import config as config_lib, runner
from jaxdl.language import goods, loopback

knob = config_lib.knob
BACKENDS = ('numeric', 'openai')
METHODS = registry.Pair(goods.METHODS, public_goods.GAMES)
# Tasks held back of which everything that was said is written.
NUM_TRANSCRIPTS = 10
_TEXT = {'backend': ['openai']}


class _AnyModels:
  """The grammar of models: only whoever serves them knows what exists."""

  def check(self, text: str, *, name: str) -> None:
    """Raises ValueError if brackets do not close."""
    registry.pair(text, name=name)

  def lines(self) -> list[str]:
    """Returns what may be written."""
    return ['model', 'model@address']


def _few_tasks(spec):
  return config_lib.set_low(spec, num_tasks=16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextGoodsConfig(language.EndpointConfig):
  """Knobs of models that write one after the other."""

  backend: str = knob(
    'numeric',
    'Whether agents choose numbers, or language models write.',
    choices=BACKENDS,
  )
  methods: tuple[str, ...] = knob(
    (
      # Effort that pays for itself, and steps that show within 30 updates.
      "ppo(hidden=32, optimizer='adam(0.01)', sigma=(0.3, 0.15), num_epochs=8)"
      '@mac_spgg(kappa=0.5)',
      'fixed@mac_spgg(kappa=0.5)',
      *('single', 'chain_of_thought', 'majority', 'debate'),
    ),
    'Who answers; those who play name the game.',
    registry=METHODS,
    needs=_TEXT,
    smoke=('ppo(hidden=4)@mac_spgg(num_agents=2)', 'majority(num_votes=2)'),
  )
  tasks: str = knob(
    'arithmetic(num_tasks=300)',
    'Questions; file reads JSON lines such as those of GSM8K.',
    registry=goods.TASKS,
    needs=_TEXT,
    smoke=_few_tasks,
  )
  num_test: int = knob(
    50, 'The last questions, held back.', low=1, needs=_TEXT, smoke=4
  )
  batch_tasks: int = knob(
    16, 'Questions of an update.', low=2, needs=_TEXT, smoke=4
  )
  evaluator: str = knob(
    'exact',
    'What texts are worth.',
    registry=goods.EVALUATORS,
    needs=_TEXT,
  )
  encoder: str = knob(
    'facts', 'What policies see.', registry=goods.ENCODERS, needs=_TEXT
  )
  models: tuple[str, ...] = knob(
    ('goods_solver',),
    'Models of the agents in turn, each with an address of its own if need be.',
    registry=_AnyModels(),
    needs=_TEXT,
  )
  allow_extra_params: bool = knob(
    False,
    'Whether top_k and repetition_penalty are sent, which servers may refuse.',
    needs=_TEXT,
  )

  def validate(self) -> None:
    """Makes the methods."""
    super().validate()
    for text in self.models if self.base_url == language.LOOPBACK else ():
      model, address = registry.pair(text)
      if address is None:
        loopback.SCRIPTS.check(model, name='models')
    if self.backend == 'openai':
      config_lib.without_device(self._try_texts)

  def _try_texts(self):
    config_lib.check_different(self.methods, name='methods')
    make_methods(self)
    with config_lib.naming(models=self.models):
      make_session(self)


def make_methods(config: TextGoodsConfig) -> dict[str, goods.Method]:
  """Makes the methods that knobs name.

  Args:
    config: knobs.

  Returns:
    Methods by spec.

  Raises:
    ValueError: if one does not fit; the message names it.
  """
  found = {}
  with config_lib.naming(encoder=config.encoder):
    encoder = goods.ENCODERS.make(config.encoder)
  for spec in config.methods:
    method, game = registry.pair(spec)
    name = goods.METHODS.part(method).name
    with config_lib.naming(methods=spec):
      if name in goods.PLAYERS and game is None:
        raise ValueError(f'{name} plays a game: write {method}@mac_spgg.')
      if name not in goods.PLAYERS and game is not None:
        raise ValueError(f'{name} plays no game: write {method}.')
      setup = goods.make_setup(
        game or 'mac_spgg',
        encoder=encoder,
        evaluator=config.evaluator,
        allow_extra_params=config.allow_extra_params,
      )
      found[spec] = goods.METHODS.make(
        method, setup, num_updates=config.num_rounds
      )
  return found


def make_session(config: TextGoodsConfig) -> language.Session:
  """Says who is asked, and opens nothing.

  Args:
    config: knobs.

  Returns:
    The session.

  Raises:
    ValueError: if a model or an address is none.
  """
  # Agents are told apart, whoever plays in how large a team.
  num_roles = max(m.num_roles for m in make_methods(config).values())
  roles = [agent.role for agent in goods.make_agents(num_roles)]
  models = language.role_models(roles, config.models)
  rated = goods.EVALUATORS.make(config.evaluator)
  if isinstance(rated, goods.Judge):
    own = (rated.model,) if rated.model else config.models
    models |= language.role_models([rated.role], own)
  return config.session(models)


def text_goods(config: TextGoodsConfig) -> runner.Experiment:
  """Lets models write one after the other, and learn how.

  Args:
    config: knobs.

  Returns:
    The experiment; it reads tasks, and asks nobody before it runs.

  Raises:
    ValueError: if tasks cannot be read or are too few.
  """
  with config_lib.naming(tasks=config.tasks):
    tasks = goods.TASKS.make(config.tasks)
    train, test = goods.split_tasks(tasks, config.num_test)
  session = make_session(config)
  methods = make_methods(config)
  columns = {}
  for spec in methods:
    method, game = registry.pair(spec)
    columns[spec] = {'method': goods.METHODS.part(method).name}
    columns[spec] |= {'game': game} if game else {}
  return goods.compare_texts(
    methods,
    train,
    test,
    lambda: session.client,
    num_rounds=config.num_rounds,
    seeds=config.seeds,
    batch_tasks=config.batch_tasks,
    columns=columns,
    scripted=session.scripted,
    report=functools.partial(_write, config, {}) if config.workdir else None,
    close=session.close,
    plots=(functools.partial(draw_texts, config),),
  )


def _write(config, kept, name, seed, episodes):
  """Writes what was said about the first tasks, for readers."""
  if seed != config.seeds[0]:
    return
  number = config.methods.index(name)
  label = f'{number + 1}-{registry.parse(registry.pair(name)[0]).name}'
  kept[name] = goods.transcripts(
    episodes[:NUM_TRANSCRIPTS], label, title=name, models=config.models
  )
  folder = pathlib.Path(config.workdir)
  for transcript in kept[name]:
    language.write_transcript(folder / 'transcripts', transcript)
  every = [t for found in kept.values() for t in found]
  if every:
    page = language.viewer(every, title='Public goods in text')
    language.write_text(folder / 'viewer.html', page)


def draw_texts(
  config: TextGoodsConfig, rows: list[dict[str, Any]], directory: pathlib.Path
) -> list[pathlib.Path]:
  """Draws accuracy, rewards and settings over updates, and tokens.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = title_of(config, rows)
  over = {'x': 'update', 'xlabel': 'Update', 'title': title}
  has = lambda name: any(r['split'] == 'test' and name in r for r in rows)
  paths = [
    plots.lines(rows, directory / f'{name}.png', name, ylabel=label, **over)
    for name, label in (
      ('accuracy', 'Share of right answers'),
      ('value', 'Value of the answer'),
      ('total_reward', 'Sum of rewards'),
    )
    if has(name)
  ]
  last = [
    r
    for r in rows
    if r['split'] == 'test' and r['step'] == max(r['step'] for r in rows)
  ]
  if last:
    paths.append(
      plots.bars(
        last,
        directory / 'tokens.png',
        'tokens',
        ylabel=f'Tokens for {config.num_test} questions',
        title=title,
      )
    )
  learned = [
    r | {'who': f'{r["variant"]}, agent {r["agent"]}'}
    for r in rows
    if r['split'] == 'settings' and r.get('method') == 'ppo'
  ]
  for name, label in (
    ('temperature', 'Temperature'),
    ('max_tokens', 'Most tokens of a reply'),
  ):
    if learned:
      paths.append(
        plots.lines(
          learned,
          directory / f'{name}.png',
          name,
          split='settings',
          by='who',
          ylabel=label,
          **over,
        )
      )
  return paths


def title_of(config: TextGoodsConfig, rows: list[Mapping[str, Any]]) -> str:
  """Says who has answered: scripted models are no language models.

  Args:
    config: knobs.
    rows: of the run.

  Returns:
    A title.
  """
  models = ', '.join(config.models)
  if any(r.get('source') == 'scripted' for r in rows):
    return f'scripted: {models}'
  return models
