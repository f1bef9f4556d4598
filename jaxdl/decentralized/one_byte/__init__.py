# SPDX-License-Identifier: Apache-2.0
"""Training on one byte per gradient, and the log that rebuilds the model.

`one_byte_sgd` trains on slopes along seeded directions (`jaxdl.local`);
`replay` rebuilds the model from a `message_log`.
"""

from jaxdl.decentralized.one_byte._log import (
  MessageLog,
  fingerprint,
  message_log,
  replay,
)
from jaxdl.decentralized.one_byte._methods import (
  METHODS,
  LoggedState,
  check_method,
  logged,
  membership,
  replays,
  report,
  traffic,
  with_members,
)
from jaxdl.decentralized.one_byte._slopes import (
  OneByte,
  OneByteState,
  one_byte_sgd,
)

__all__ = [
  'METHODS',
  'LoggedState',
  'check_method',
  'logged',
  'membership',
  'replays',
  'report',
  'traffic',
  'with_members',
  'MessageLog',
  'OneByte',
  'OneByteState',
  'fingerprint',
  'message_log',
  'one_byte_sgd',
  'replay',
]
