# SPDX-License-Identifier: Apache-2.0
"""Knobs of experiments that ask language models: where, and how much."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxdl.experiment import config as config_lib
from jaxdl.language import _cache, _sessions

knob = config_lib.knob
# Where a configuration says that models are asked, and how.
_ASKED = {'backend|solvers': ['openai', 'llm']}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointConfig(config_lib.BaseConfig):
  """Knobs of who is asked, and how much."""

  base_url: str | None = knob(
    _sessions.LOOPBACK,
    'Address of the models, e.g. http://localhost:8000/v1; loopback has '
    'scripted ones on this machine, none is that of OpenAI, with the key in '
    'OPENAI_API_KEY.',
    needs=_ASKED,
  )
  cache_mode: str = knob(
    'read_write',
    'Whether answers are kept and asked for once, or come from what was kept '
    'alone.',
    choices=_cache.MODES,
    runtime=True,
    needs=_ASKED,
  )
  budget_tokens: int | None = knob(
    None,
    'Most tokens of a run; what would pass them is not asked.',
    low=1,
    runtime=True,
    needs=_ASKED,
  )
  prices: str = knob(
    '',
    'JSON file of prices, {model: {input: ..., output: ...}}, for a million '
    'tokens.',
    runtime=True,
    needs=_ASKED,
  )
  max_concurrency: int = knob(
    32, 'Questions on their way at a time.', low=1, runtime=True, needs=_ASKED
  )

  def session(
    self, models: Mapping[str, tuple[str, str | None]], **options: Any
  ) -> _sessions.Session:
    """Says who is asked, and opens nothing.

    Args:
      models: by role, see `role_models`.
      **options: of `Session` and `Client`, in place of what knobs say.

    Returns:
      The session.

    Raises:
      ValueError: if a model or an address is none.
    """
    given: dict[str, Any] = {
      'base_url': self.base_url,
      'cache_mode': self.cache_mode,
      'prices': self.prices,
      'budget_tokens': self.budget_tokens,
      'max_concurrency': self.max_concurrency,
    }
    if self.workdir:
      given['directory'] = pathlib.Path(self.workdir) / 'replies'
    return _sessions.Session(models, **(given | options))
