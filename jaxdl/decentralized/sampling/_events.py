# SPDX-License-Identifier: Apache-2.0
"""How a node of the sampling protocol reacts to each event."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxdl.decentralized.sampling import (
  _options as options_lib,
  _transport as transport,
  _views as views,
  _world as world_lib,
)

# What an aggregator does with the models of its round.
COLLECTING, OVERDUE, SEARCHING, DONE = range(4)
_MAX_RETRIES = 20


class Rules(NamedTuple):
  """What does not change during a run."""

  options: options_lib.ModestOptions
  world: world_lib.World
  order: Callable[[int], np.ndarray]
  churn: tuple[world_lib.Churn, ...]
  server: int | None
  required: int
  num_nodes: int
  seed: int


class Simulation(transport.Transport):
  """The protocol's reaction to each event."""

  def __init__(self, state: transport.State, rules: Rules) -> None:
    options = rules.options
    super().__init__(
      state,
      rules.world,
      {
        'model': options.model_bytes,
        'view': rules.num_nodes * (options.id_bytes + 8),
        'ping': options.ping_bytes,
        'membership': options.id_bytes + 8,
      },
    )
    self.rules = rules
    self.options = options

  # Training.

  def begin_training(self, node: int, round: int, model: int) -> None:
    """A node adopts a model and trains it."""
    state = self.state
    state['train_round'][node] = state['training'][node] = round
    state['base'][node] = model
    state['own'][node] = -1
    self._note(node, node, round)
    self.schedule(self.world.compute_s[node], 'trained', node, round)
    if round > state['top']:
      state['top'] = round
      self._apply_churn(round)

  def on_averaged(self, node, sender, round, model, view):
    """A participant receives the aggregated model of a round."""
    self._merge(node, view)
    self._note(node, sender, round)
    if round > self.state['train_round'][node]:
      self.begin_training(node, round, model)

  def on_trained(self, node, round):
    """Local training is over, unless something newer has begun."""
    state = self.state
    if state['training'][node] != round:
      return
    base = int(state['base'][node])
    state['training'][node] = 0
    state['base'][node] = -1
    model = self._recipe('train', base, node, round)
    state['own'][node] = model
    self._find_aggregators(node, round, model, 0)

  def _find_aggregators(self, node, round, model, tries):
    if self.rules.server is not None:
      self._send_trained(node, round, model, [self.rules.server], tries)
      return
    self._search(
      node, 'trained', round + 1, self.options.num_aggregators, model, tries
    )

  def _send_trained(self, node, round, model, aggregators, tries):
    for j in aggregators:
      self.send_model(node, j, 'update', node, round + 1, model)
    self._apply_pending(node)
    self._watch(node, 'trained', round, tries)

  # Aggregation.

  def on_update(self, node, sender, round, model, view):
    """An aggregator receives a trained model for the next round."""
    state = self.state
    self._merge(node, view)
    self._note(node, sender, round - 1)
    self._note(node, node, round)
    if round < state['agg_round'][node]:
      return
    if round > state['agg_round'][node]:
      state['agg_round'][node] = round
      state['agg_phase'][node] = COLLECTING
      state['agg_model'][node] = -1
      state['stores'][str(node)] = {}
      if self.options.aggregation_timeout_s:
        self.schedule(
          self.options.aggregation_timeout_s, 'overdue', node, round
        )
    if state['agg_phase'][node] > OVERDUE:
      return
    store = state['stores'][str(node)]
    store.setdefault(str(sender), model)
    late = state['agg_phase'][node] == OVERDUE
    if len(store) >= (self.options.min_models if late else self.rules.required):
      self._average(node)

  def on_overdue(self, node, round):
    """An aggregator has waited long enough."""
    state = self.state
    if (
      state['agg_round'][node] != round
      or state['agg_phase'][node] != COLLECTING
    ):
      return
    state['agg_phase'][node] = OVERDUE
    if len(state['stores'][str(node)]) >= self.options.min_models:
      self._average(node)

  def _average(self, node):
    state = self.state
    round = int(state['agg_round'][node])
    store = state['stores'].pop(str(node))
    # In one order, so that aggregators with equal models agree exactly.
    members = [store[j] for j in sorted(store, key=int)]
    model = self._average_of(members)
    state['agg_phase'][node] = SEARCHING
    state['agg_model'][node] = model
    if round - 1 > state['round']:
      state['round'] = round - 1
      state['latest'] = model
      state['num_averaged'] = len(members)
    self._find_participants(node, round, model, 0)

  def _find_participants(self, node, round, model, tries):
    self._search(
      node, 'averaged', round, self.options.sample_size, model, tries
    )

  def _send_average(self, node, round, model, participants, tries):
    for j in participants:
      self.send_model(node, j, 'averaged', node, round, model)
    self._apply_pending(node)
    self.state['agg_phase'][node] = DONE
    self._watch(node, 'averaged', round, tries)

  # Pings.

  def _search(self, node, purpose, round, want, model, tries):
    """Looks for the first responsive nodes in the order of a round."""
    state = self.state
    order = self.rules.order(round)
    own = node if node < self.rules.num_nodes else None
    allowed = views.candidates(
      self.view(node), round, self.options.activity_window, own
    )
    name = str(state['next_search'])
    state['next_search'] += 1
    state['searches'][name] = {
      'owner': node,
      'purpose': purpose,
      'round': round,
      'want': want,
      'model': model,
      'tries': tries,
      'order': order[allowed[order]].astype(np.int32),
      'next': 0,
      'waiting': [],
      'found': [],
    }
    self._go_on(name)

  def _go_on(self, name):
    search = self.state['searches'][name]
    order, want = search['order'], search['want']
    while len(search['found']) + len(search['waiting']) < want and search[
      'next'
    ] < len(order):
      j = int(order[search['next']])
      search['next'] += 1
      if j == search['owner']:
        search['found'].append(j)
        continue
      search['waiting'].append(j)
      self._ping(name, search, j)
      again = self.options.ping_again_s
      if again < self.options.ping_timeout_s:
        self.schedule(again, 'ping_again', search['owner'], name, j)
      else:
        self.schedule(
          self.options.ping_timeout_s, 'ping_lost', search['owner'], name, j
        )
    if len(search['found']) >= want or not search['waiting']:
      self._finish(name)

  def _ping(self, name, search, j):
    owner = search['owner']
    self.send_short(owner, j, 'ping', 'ping', owner, self._known(owner), name)

  def on_ping(self, node, sender, round, name):
    """A node is asked whether it is there."""
    self._note(node, sender, max(round, self._known(node)))
    self.send_short(node, sender, 'ping', 'pong', node, self._known(node), name)

  def on_pong(self, node, sender, round, name):
    """An answer; late ones still count as a sign of life."""
    self._note(node, sender, max(round, self._known(node)))
    search = self.state['searches'].get(name)
    if search is None or sender not in search['waiting']:
      return
    search['waiting'].remove(sender)
    search['found'].append(sender)
    self._go_on(name)

  def on_ping_again(self, node, name, j):
    """Sends a ping a second time."""
    search = self.state['searches'].get(name)
    if search is None or j not in search['waiting']:
      return
    self._ping(name, search, j)
    rest = self.options.ping_timeout_s - self.options.ping_again_s
    self.schedule(rest, 'ping_lost', node, name, j)

  def on_ping_lost(self, node, name, j):
    """Gives a node up and asks the next in the order."""
    del node
    search = self.state['searches'].get(name)
    if search is None or j not in search['waiting']:
      return
    search['waiting'].remove(j)
    self._go_on(name)

  def _finish(self, name):
    search = self.state['searches'].pop(name)
    node, round = search['owner'], search['round']
    place = {int(j): spot for spot, j in enumerate(search['order'])}
    found = sorted(search['found'], key=place.__getitem__)[: search['want']]
    model, tries = search['model'], search['tries']
    if search['purpose'] == 'trained':
      if tries and self._progressed(node, round):
        self._release(node, 'trained', round - 1)
        return
      self._send_trained(node, round - 1, model, found, tries)
    elif self.state['agg_round'][node] == round:
      if tries and self._progressed(node, round):
        self._release(node, 'averaged', round)
        return
      self._send_average(node, round, model, found, tries)

  # Nodes that hear nothing more.

  def _watch(self, node, purpose, round, tries):
    if self.options.retry_s and tries < _MAX_RETRIES:
      self.schedule(
        self.options.retry_s, 'silence', node, purpose, round, tries + 1
      )
    else:
      self._release(node, purpose, round)

  def on_silence(self, node, purpose, round, tries):
    """Repeats a node's last message if nothing came of it."""
    state = self.state
    trained = purpose == 'trained'
    current = state['train_round' if trained else 'agg_round'][node] == round
    model = int(state['own' if trained else 'agg_model'][node])
    if not current or model < 0:
      return
    if not state['online'][node]:
      return
    if self._progressed(node, round + 1 if trained else round):
      self._release(node, purpose, round)
    elif trained:
      self._find_aggregators(node, round, model, tries)
    else:
      self._find_participants(node, round, model, tries)

  def _progressed(self, node, round):
    """Whether a node knows of somebody beyond a round."""
    return self.state['views'][node, 0].max() > round

  def _release(self, node, purpose, round):
    """Lets go of a model that will not be sent again."""
    trained = purpose == 'trained'
    if self.state['train_round' if trained else 'agg_round'][node] == round:
      self.state['own' if trained else 'agg_model'][node] = -1

  # Membership.

  def _apply_churn(self, round):
    churn = self.rules.churn
    while self.state['next_churn'] < len(churn):
      change = churn[self.state['next_churn']]
      if change.round > round:
        return
      self.state['next_churn'] += 1
      for node in change.nodes:
        getattr(self, f'_{change.kind}')(node)

  def _crash(self, node):
    state = self.state
    state['online'][node] = False
    state['training'][node] = 0
    for name in ('base', 'own', 'agg_model'):
      state[name][node] = -1
    state['agg_phase'][node] = DONE
    state['stores'].pop(str(node), None)
    state['pending'].pop(str(node), None)
    for name in [k for k, s in state['searches'].items() if s['owner'] == node]:
      del state['searches'][name]

  def _leave(self, node):
    if self.state['online'][node]:
      self._announce(node, left=True)
      self._crash(node)

  def _join(self, node):
    if not self.state['online'][node]:
      self.state['online'][node] = True
      self._announce(node, left=False)

  def _announce(self, node, *, left):
    mine = self.state['views'][node]
    counter = int(mine[1, node]) // 2 + 1
    event = views.membership_event(counter, left=left)
    mine[1, node] = event
    known = (mine[1] >= 2) & (mine[1] % 2 == 0)
    known[node] = False
    others = np.flatnonzero(known)
    count = min(self.options.sample_size, len(others))
    rng = np.random.default_rng([self.rules.seed, node, counter])
    for j in rng.choice(others, count, replace=False) if count else ():
      self.send_short(
        node, int(j), 'membership', 'membership', node, event, int(left)
      )

  def on_membership(self, node, sender, event, left):
    """A JOIN waits until the receiver has sent a model; a LEAVE does not."""
    if left:
      self._learn(node, sender, event)
    else:
      self.state['pending'].setdefault(str(node), []).append((sender, event))

  def _apply_pending(self, node):
    for sender, event in self.state['pending'].pop(str(node), ()):
      self._learn(node, sender, event)
      self._note(node, sender, self._known(node))

  def _learn(self, node, other, event):
    view = self.state['views'][node]
    view[1, other] = max(view[1, other], event)

  # Views and models.

  def _known(self, node):
    """The round a node believes in."""
    state = self.state
    return int(max(state['train_round'][node], state['agg_round'][node]))

  def _note(self, node, other, round):
    view = self.state['views'][node]
    view[0, other] = max(view[0, other], round)

  def _merge(self, node, view):
    merged = views.merge_views(self.view(node), views.MembershipView(*view))
    self.state['views'][node] = merged

  def _recipe(self, *recipe):
    number = self.state['next_model']
    self.state['next_model'] = number + 1
    self.state['recipes'][str(number)] = recipe
    return number

  def _average_of(self, members: list[Any]) -> int:
    recipe = ('average', tuple(members))
    for number, known in self.state['recipes'].items():
      if known == recipe:
        return int(number)
    return self._recipe(*recipe)
