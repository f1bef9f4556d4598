# SPDX-License-Identifier: Apache-2.0
"""A server on this machine, with scripted models in place of language models.

    with loopback.serve() as server:
      endpoint = language.Endpoint('echo', base_url=server.base_url)

or, for another program, `python -m jaxdl.language.loopback --port=8000`. The
model of a request is written in the grammar of `core.registry`: faults, then a
script, `rate_limited(share=0.2)+malformed(every=3)+echo`. `SCRIPTS` has the
scripts, `FAULTS` what can go wrong before them.

Whoever reports results of scripted models says so: they are no results of a
language model.
"""

from jaxdl.language._scripts import Chat, Script
from jaxdl.language.loopback._faults import FAULTS, Fault, Moment, Response
from jaxdl.language.loopback._registry import SCRIPTS, Model, make_model
from jaxdl.language.loopback._server import Server, serve

__all__ = [
  'Chat',
  'FAULTS',
  'Fault',
  'Model',
  'Moment',
  'Response',
  'SCRIPTS',
  'Script',
  'Server',
  'make_model',
  'serve',
]
