# SPDX-License-Identifier: Apache-2.0
"""The numbers of the decentralized sampling protocol."""

from typing import NamedTuple

from jaxdl.core import checks
from jaxdl.decentralized.sampling import _samples as sampling


class ModestOptions(NamedTuple):
  """Numbers of the protocol.

  Attributes:
    sample_size: s, nodes that train in a round.
    num_aggregators: a, nodes that average, 1 <= a <= s.
    success_fraction: sf in (0, 1], share of the sample that an aggregator
      waits for.
    threshold: how s sf becomes a number, see `required_models`.
    activity_window: Delta k >= 1, rounds after which a silent node is no
      longer a candidate. Take several times N / s: a live node that no sample
      reaches for so long is forgotten as well, until it joins again.
    ping_timeout_s: Delta t, after which an unanswered ping gives up.
    ping_again_s: after which it is sent a second time; not at all if this is
      no shorter than the time-out.
    aggregation_timeout_s: after which an aggregator goes on with what it has;
      0 waits forever, as the first version does.
    min_models: models that it must have by then.
    retry_s: after which a node that has heard of no progress sends its model
      again (20 times at most), if pings confirm it; 0 for never, as in the
      paper. Without
      it a round ends the run if all its nodes crash.
    model_bytes: size of a model.
    id_bytes: size of a node's identity; a view has N of them and two 4-byte
      numbers each.
    ping_bytes: size of a ping and of its answer.
  """

  sample_size: int = 10
  num_aggregators: int = 1
  success_fraction: float = 1.0
  threshold: str = 'ceil'
  activity_window: int = 1000
  ping_timeout_s: float = 5.0
  ping_again_s: float = 1.0
  aggregation_timeout_s: float = 0.0
  min_models: int = 1
  retry_s: float = 0.0
  model_bytes: int = 1_000_000
  id_bytes: int = 20
  ping_bytes: int = 40


def check_options(options: ModestOptions, num_nodes: int) -> None:
  """Checks the numbers of the protocol.

  Args:
    options: numbers.
    num_nodes: N.

  Raises:
    TypeError: if a count is no integer.
    ValueError: if a number is out of range; the message names it.
  """
  n = checks.integer(num_nodes, name='num_nodes', low=1)
  s = checks.integer(options.sample_size, name='sample_size', low=1)
  if s > n:
    raise ValueError(
      f'sample_size={s} is more than the {n} nodes: need '
      f'1 <= sample_size <= num_nodes = {n}.'
    )
  a = checks.integer(options.num_aggregators, name='num_aggregators', low=1)
  if a > s:
    raise ValueError(
      f'num_aggregators={a} is more than sample_size={s}: aggregators come '
      'from the sample.'
    )
  sampling.required_models(s, options.success_fraction, rule=options.threshold)
  checks.integer(options.activity_window, name='activity_window', low=1)
  checks.number(
    options.ping_timeout_s, name='ping_timeout_s', low=0.0, open_low=True
  )
  checks.number(options.ping_again_s, name='ping_again_s', low=0.0)
  checks.number(
    options.aggregation_timeout_s, name='aggregation_timeout_s', low=0.0
  )
  checks.integer(options.min_models, name='min_models', low=1, high=s)
  checks.number(options.retry_s, name='retry_s', low=0.0)
  for name in ('model_bytes', 'id_bytes', 'ping_bytes'):
    checks.integer(getattr(options, name), name=name, low=0)
