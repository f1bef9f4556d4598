# SPDX-License-Identifier: Apache-2.0
"""A sample of the nodes per round without a server (MoDeST), and its rivals.

`sampling_sgd` trains under a `sampling_protocol`, simulated event by event in a
`World` of delays and speeds; its parts are `sample_order`, `select_sample`,
`merge_views`, `candidates`. `clocked_gossip` and `gossip_learning` run on the
same clock.
"""

from jaxdl.decentralized.sampling._baselines import (
  clocked_gossip,
  gossip_learning,
)
from jaxdl.decentralized.sampling._methods import (
  CHURNS,
  METHODS,
  WORK,
  WORLDS,
  Scene,
  check_method,
  evaluate_watched,
  make_scene,
  reliability_watched,
  small_churn,
  small_method,
  traffic_rows,
  watched,
)
from jaxdl.decentralized.sampling._options import ModestOptions, check_options
from jaxdl.decentralized.sampling._protocol import (
  SamplingProtocol,
  diagnose,
  sampling_protocol,
)
from jaxdl.decentralized.sampling._samples import (
  Sample,
  required_models,
  sample_order,
  sample_scores,
  select_sample,
)
from jaxdl.decentralized.sampling._training import model_bytes, sampling_sgd
from jaxdl.decentralized.sampling._transport import TRAFFIC
from jaxdl.decentralized.sampling._views import (
  MembershipView,
  candidates,
  initial_view,
  membership_event,
  merge_views,
)
from jaxdl.decentralized.sampling._world import (
  Churn,
  World,
  churn_from_trace,
  load_latency,
  make_world,
)

__all__ = [
  'CHURNS',
  'METHODS',
  'Scene',
  'WORK',
  'WORLDS',
  'check_method',
  'evaluate_watched',
  'reliability_watched',
  'make_scene',
  'small_churn',
  'small_method',
  'traffic_rows',
  'watched',
  'Churn',
  'MembershipView',
  'ModestOptions',
  'Sample',
  'SamplingProtocol',
  'TRAFFIC',
  'World',
  'candidates',
  'check_options',
  'churn_from_trace',
  'clocked_gossip',
  'diagnose',
  'gossip_learning',
  'initial_view',
  'load_latency',
  'make_world',
  'membership_event',
  'merge_views',
  'model_bytes',
  'required_models',
  'sample_order',
  'sample_scores',
  'sampling_protocol',
  'sampling_sgd',
  'select_sample',
]
