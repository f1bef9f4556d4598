# SPDX-License-Identifier: Apache-2.0
"""Events, messages and traffic of a simulated network, on the host.

The state is a dict of NumPy arrays, numbers and text in dicts, lists and
tuples, event queue included, so that it can be saved and restored exactly.
"""

import heapq
from typing import Any

import numpy as np

from jaxdl.decentralized.sampling import _views as views, _world as world_lib

State = dict[str, Any]

TRAFFIC = ('model', 'view', 'ping', 'membership')


def copy_state(tree: Any) -> Any:
  """Copies what may change: containers and NumPy arrays, but not tuples.

  Events are tuples that are never changed; other leaves (models on a device)
  are shared.
  """
  if isinstance(tree, dict):
    return {key: copy_state(value) for key, value in tree.items()}
  if isinstance(tree, list):
    return [copy_state(value) for value in tree]
  if isinstance(tree, np.ndarray):
    return tree.copy()
  return tree


def new_state(num_actors: int, view: views.MembershipView) -> State:
  """State of a network before its first event; `view` has M actors."""
  m = num_actors
  packed = np.stack([view.last_active, view.membership]).astype(np.int32)
  return {
    'clock': 0.0,
    'next_event': 0,
    'events': [],
    'online': (view.membership >= 2) & (view.membership % 2 == 0),
    'views': np.broadcast_to(packed, (m, *packed.shape)).copy(),
    'uplink_free': np.zeros(m),
    'sent_bytes': np.zeros((len(TRAFFIC), m), np.int64),
    'received_bytes': np.zeros((len(TRAFFIC), m), np.int64),
    'messages': np.zeros(len(TRAFFIC), np.int64),
  }


class Transport:
  """Moves messages between actors; subclasses say what they mean.

  A handler is a method `on_<kind>(node, *details)`.

  Args:
    state: changed in place.
    world: M actors.
    sizes: bytes of each kind of traffic.
  """

  def __init__(
    self, state: State, world: world_lib.World, sizes: dict[str, int]
  ) -> None:
    self.state = state
    self.world = world
    self.sizes = sizes

  def schedule(self, delay: float, kind: str, node: int, *details: Any) -> None:
    """Puts an event on the queue."""
    number = self.state['next_event']
    self.state['next_event'] = number + 1
    heapq.heappush(
      self.state['events'],
      (self.state['clock'] + float(delay), number, kind, int(node), details),
    )

  def run_next(self) -> bool:
    """Handles the earliest event; False if there is none."""
    if not self.state['events']:
      return False
    time, _, kind, node, details = heapq.heappop(self.state['events'])
    self.state['clock'] = time
    if kind == 'deliver':
      self._deliver(node, *details)
    else:
      getattr(self, f'on_{kind}')(node, *details)
    return True

  def view(self, node: int) -> views.MembershipView:
    """A node's view; arrays of the state itself."""
    return views.MembershipView(*self.state['views'][node])

  def send_short(
    self, sender: int, receiver: int, traffic: str, kind: str, *details: Any
  ) -> None:
    """Sends a message too small to wait for the link."""
    size = self._count_sent(sender, traffic)
    delay = self.world.latency_s[sender, receiver]
    self.schedule(delay, 'deliver', receiver, kind, ((traffic, size),), details)

  def send_model(
    self, sender: int, receiver: int, kind: str, *details: Any
  ) -> None:
    """Sends a model with the sender's view.

    Models leave a node one after the other and travel at the speed of the
    slower link. What a node sends to itself costs nothing.
    """
    view = self.state['views'][sender].copy()
    if sender == receiver:
      self.schedule(0.0, 'deliver', receiver, kind, (), (*details, view))
      return
    sizes = tuple((t, self._count_sent(sender, t)) for t in ('model', 'view'))
    speed = self.world.bytes_per_s
    rate = min(speed[sender], speed[receiver])
    now = self.state['clock']
    start = max(now, self.state['uplink_free'][sender])
    end = start + sum(size for _, size in sizes) / rate
    self.state['uplink_free'][sender] = end
    delay = end - now + self.world.latency_s[sender, receiver]
    self.schedule(delay, 'deliver', receiver, kind, sizes, (*details, view))

  def _count_sent(self, sender, traffic):
    size = self.sizes[traffic]
    row = TRAFFIC.index(traffic)
    self.state['sent_bytes'][row, sender] += size
    self.state['messages'][row] += 1
    return size

  def _deliver(self, node, kind, sizes, details):
    if not self.state['online'][node]:
      return
    for traffic, size in sizes:
      self.state['received_bytes'][TRAFFIC.index(traffic), node] += size
    getattr(self, f'on_{kind}')(node, *details)
