# SPDX-License-Identifier: Apache-2.0
"""What every experiment over a communication graph has in common.

`GossipConfig` holds the knobs; `mixing.make_mixer` and `decentralized` read the
rest from a spec. `classification` and `quadratics` are what there is to learn,
with an evaluation of one model per client.
"""

import dataclasses

import jax

from jaxdl.experiment import _gossip_problems, config as config_lib, supervised

knob = config_lib.knob
Problem = _gossip_problems.Problem
classification = _gossip_problems.classification
quadratics = _gossip_problems.quadratics


@dataclasses.dataclass(frozen=True, kw_only=True)
class GossipConfig(config_lib.BaseConfig):
  """Knobs of who talks to whom, and with which weights."""

  num_clients: int = knob(24, 'Clients.', low=1)
  graph_seed: int = knob(0, 'Seed of random graphs.', low=0)

  def validate(self) -> None:
    """Checks that a matrix of weights fits into memory."""
    super().validate()
    config_lib.check_square(self.num_clients)


def mesh_for(num_clients: int) -> jax.sharding.Mesh | None:
  """A mesh over all devices, or None where there is one.

  Args:
    num_clients: N, which the number of devices must divide: a client without
      neighbours that pads the graph would be no part of it.

  Returns:
    The mesh.

  Raises:
    ValueError: if N does not split evenly.
  """
  devices = jax.device_count()
  if num_clients % devices:
    more = num_clients + -num_clients % devices
    raise ValueError(
      f'num_clients={num_clients} does not split over {devices} devices: use '
      f'{more} clients, or a number of devices that divides {num_clients}.'
    )
  return supervised.mesh_or_none()
