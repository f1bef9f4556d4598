# SPDX-License-Identifier: Apache-2.0
"""Scripted models by name, with what goes wrong before them."""

from typing import NamedTuple

from jaxdl.core import registry
from jaxdl.language import _scripts
from jaxdl.language.agentsnet import _scripted as _net
from jaxdl.language.goods import _scripted as _goods
from jaxdl.language.loopback import _faults
from jaxdl.language.teams import _scripted as _teams


def echo() -> _scripts.Script:
  """Says what was said last.

  Returns:
    The script.
  """
  return lambda chat: chat.messages[-1]['content']


def fixed(text: str = '{}') -> _scripts.Script:
  """Says always the same.

  Args:
    text: the reply.

  Returns:
    The script.
  """
  return lambda chat: text


def lazy() -> _scripts.Script:
  """Sends no messages and gives no answers.

  Returns:
    The script.
  """
  return fixed('{}')


SCRIPTS = registry.Registry(
  'model',
  {'echo': echo, 'fixed': fixed, 'lazy': lazy}
  | _net.SCRIPTS
  | _goods.SCRIPTS
  | _teams.SCRIPTS,
  before=_faults.FAULTS,
)


class Model(NamedTuple):
  """A scripted model.

  Attributes:
    script: what answers.
    faults: what stands before it, the first outermost.
  """

  script: _scripts.Script
  faults: tuple[_faults.Fault, ...] = ()

  def respond(self, moment: _faults.Moment) -> _faults.Response:
    """Returns what a server does about a request."""

    def after(i):
      if i == len(self.faults):
        return _faults.Response(text=self.script(moment.chat))
      return self.faults[i](moment, lambda: after(i + 1))

    return after(0)


def make_model(spec: str, scripts: registry.Registry = SCRIPTS) -> Model:
  """Makes a scripted model.

  Args:
    spec: an entry of `scripts`, after any number of faults:
      `rate_limited(share=0.2)+echo`.
    scripts: what exists.

  Returns:
    The model.

  Raises:
    ValueError: if the text is no such chain, naming what exists.

  Example:
    >>> model = make_model('fixed(text="{}")')
    >>> model.script(Chat([{'role': 'user', 'content': 'Hello'}], {}))
    '{}'
  """
  *faults, last = scripts.parts(spec)
  script = scripts.bound(last)
  return Model(script, tuple(_faults.FAULTS.bound(part) for part in faults))
