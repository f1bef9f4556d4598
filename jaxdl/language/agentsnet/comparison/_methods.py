# SPDX-License-Identifier: Apache-2.0
"""Who may stand on the nodes of many networks: solvers by name."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax

from jaxdl.core import checks, registry
from jaxdl.language import _client
from jaxdl.language.agentsnet import (
  _agents,
  _algorithms,
  _batch,
  _learned,
  _protocol,
  _run_sync,
  _tasks,
)


class Method(NamedTuple):
  """Either answers many networks in one program, or puts agents on nodes.

  Attributes:
    tasks: names of those that it solves.
    codes: `codes(task, batch, rounds i[B], keys [S], mesh) -> i32[S, B, N]`, or
      None.
    maker: `maker(client) -> Maker` of agents, or None.
    models: names of language models that are asked.
  """

  tasks: tuple[str, ...]
  codes: Callable[..., chex.Array] | None = None
  maker: Callable[[_client.Client | None], _agents.Maker] | None = None
  models: tuple[str, ...] = ()


def _tasks_of(algorithm):
  """Tasks that an algorithm solves; checks that it exists."""
  _algorithms.ALGORITHMS.check(algorithm, name='algorithm')
  name = _algorithms.ALGORITHMS.part(algorithm).name
  return tuple(
    task
    for task in _tasks.TASKS
    if name == 'auto' or name in _algorithms.algorithms_for(task)
  )


def _compiled(algorithm):
  def codes(
    task: str,
    batch: _batch.GraphBatch,
    rounds: Any,
    keys: chex.PRNGKey,
    mesh: jax.sharding.Mesh | None = None,
  ) -> chex.Array:
    return _run_sync.run_sync(
      algorithm, task, batch, key=keys, rounds=rounds, mesh=mesh
    )

  return codes


def classical(algorithm: str = 'auto') -> Method:
  """A classical algorithm, as one program of all networks.

  Args:
    algorithm: an entry of `ALGORITHMS`; 'auto' picks one for each task.

  Returns:
    The solver.
  """
  return Method(_tasks_of(algorithm), _compiled(algorithm))


def random() -> Method:
  """Everybody answers at random.

  Returns:
    The solver.
  """
  return classical('random')


def constant() -> Method:
  """Everybody answers alike: Yes, None, 0 or Group 1.

  Returns:
    The solver.
  """
  return classical('constant')


def learned(
  num_steps: int = 1000,
  *,
  width: int = 32,
  learning_rate: float = 0.004,
  seed: int = 0,
) -> Method:
  """A network trained for each task, the same cell on every node.

  Args:
    num_steps: of training, which is done when a task is first played.
    width: of what nodes hold and say.
    learning_rate: at first.
    seed: of parameters and of training.

  Returns:
    The solver.
  """
  checks.integer(num_steps, name='num_steps', low=1)
  checks.integer(width, name='width', low=1)
  checks.number(learning_rate, name='learning_rate', low=0.0, open_low=True)
  checks.integer(seed, name='seed', low=0)

  def codes(
    task: str,
    batch: _batch.GraphBatch,
    rounds: Any,
    keys: chex.PRNGKey,
    mesh: jax.sharding.Mesh | None = None,
  ) -> chex.Array:
    del mesh
    solver = _trained(task, num_steps, width, learning_rate, seed)
    return _learned.run_solver(solver, batch, key=keys, rounds=rounds)

  return Method(tuple(_tasks.TASKS), codes)


@functools.lru_cache(maxsize=32)
def _trained(task, num_steps, width, learning_rate, seed):
  return _learned.train_solver(
    task,
    key=jax.random.key(seed),
    num_steps=num_steps,
    learning_rate=learning_rate,
    width=width,
  )


def spoken(algorithm: str = 'auto') -> Method:
  """As `classical`, with agents that talk in text and ask no model.

  Args:
    algorithm: an entry of `ALGORITHMS`.

  Returns:
    The solver.
  """
  maker = _agents.algorithm_agents(algorithm)
  return Method(_tasks_of(algorithm), maker=lambda client: maker)


def llm(
  model: str | tuple[str, ...] = '',
  *,
  chain_of_thought: bool = True,
  temperature: float | None = None,
  max_tokens: int | None = None,
  seeded: bool = True,
) -> Method:
  """Language models; a network may have several kinds.

  Args:
    model: name at the endpoint; a tuple stands on the nodes in turn.
    chain_of_thought: whether agents are asked to think aloud.
    temperature: of generation; that of the endpoint if None.
    max_tokens: of a reply, likewise.
    seeded: whether the seed of the run is sent along; not every endpoint takes
      one.

  Returns:
    The solver.
  """
  models = (model,) if isinstance(model, str) else tuple(model)
  for name in models or ('',):
    if not isinstance(name, str) or not name:
      raise ValueError(
        f'model must be the name of a model, or several; got {model!r}.'
      )
  checks.flag(chain_of_thought, name='chain_of_thought')
  checks.flag(seeded, name='seeded')
  if temperature is not None:
    checks.number(temperature, name='temperature', low=0.0)
  if max_tokens is not None:
    checks.integer(max_tokens, name='max_tokens', low=1)
  settings = {'temperature': temperature, 'max_tokens': max_tokens}
  settings = {k: v for k, v in settings.items() if v is not None}
  if not seeded:
    settings['seed'] = None

  def maker(client: _client.Client | None) -> _agents.Maker:
    if client is None:
      raise ValueError('client is None, but language models are asked.')

    def make(place: _protocol.Place, seed: int) -> _agents.Agent:
      node = place.names.index(place.name)
      return _agents.LLMAgent(
        client,
        place,
        seed,
        role=models[node % len(models)],
        chain_of_thought=chain_of_thought,
        settings=settings,
      )

    return make

  return Method(
    tuple(_tasks.TASKS), maker=maker, models=tuple(dict.fromkeys(models))
  )


SOLVERS = registry.Registry(
  'solver',
  {f.__name__: f for f in (classical, random, constant, learned, spoken, llm)},
  told=('model', 'chain_of_thought'),
)
