# SPDX-License-Identifier: Apache-2.0
r"""Federated learning by votes on rankings, under malicious clients.

Clients of a random network learn which of its edges to keep, and send them in
the order of their importance; a malicious one can only send another order.
Methods: `frl` on `borda`, `trimmed` or `median`; `fedavg`, or any method of
`federated.server`, on a rule or a whole channel,
`fedavg@channel(compressor=top_k(keep=0.5))`.

Example: python -m experiments.frl --malicious_fraction=0.2 \
  --methods='frl,frl(sparse=0.5)@trimmed,fedavg@trimmed_mean'
"""

import dataclasses
import functools

import jax
import numpy as np

from jaxdl import data, local, networks, plots, problems
from jaxdl.experiment import compare, config as config_lib, runner
from jaxdl.federated import ranks, server

knob = runner.knob
_MIB = 8 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(problems.ClassificationConfig):
  """Knobs of federated rank learning."""

  unused = ('l2',)

  num_rounds: int = knob(40, 'Rounds of every method.', low=0)
  eval_every: int = knob(2, 'Rounds between evaluations.', low=1)
  num_clients: int = knob(50, 'Clients.', low=1, smoke=12)
  clients_per_round: int = knob(
    20, 'Clients drawn in a round, until most of them are honest.', low=1,
    smoke=4,
  )  # fmt: skip
  methods: tuple[str, ...] = knob(
    ('frl', 'fedavg', 'fedavg@trimmed_mean', 'fedavg@repeated_krum'),
    'Methods to compare.',
    registry=ranks.METHOD_SPECS,
    smoke=2,
  )
  malicious_fraction: float = knob(
    0.0, 'Share of the clients that attack.', low=0.0, high=0.5, open_high=True
  )
  attack: str = knob(
    'rank_reversal',
    'On rankings; averages are attacked as their channel says, or hurt most.',
    registry=ranks.RANK_ATTACKS,
    needs={'malicious_fraction': True},
  )
  num_advisors: int = knob(
    25,
    'Malicious clients whose work an attack on rankings is made of; those '
    'outside of the sample do not vote.',
    low=0,
    needs={'malicious_fraction': True, 'methods': ('frl',)},
    smoke=2,
  )
  partition: str = knob(
    'label_dirichlet(alpha=1.0)',
    'How training examples are dealt.',
    registry=data.PARTITIONERS,
  )
  network: str = knob(
    'mlp(200, bias=False)',
    'Network, without masks.',
    registry=networks.NETWORKS,
  )
  batch_size: int = knob(8, 'Examples per local step.', low=1)
  local_epochs: int = knob(3, 'Passes of a client in a round.', low=1, smoke=1)
  optimizer: str = knob(
    'sgd(0.4, momentum=0.9, weight_decay=0.0001)',
    "Of scores; afresh in every round, times a method's decay.",
    registry=local.OPTIMIZERS,
    needs={'methods': ('frl',)},
  )
  averaging_optimizer: str = knob(
    'sgd(0.05, momentum=0.9, weight_decay=0.0001)',
    'Of models that are averaged, likewise.',
    registry=local.OPTIMIZERS,
    needs={'methods': tuple(server.METHODS)},
  )
  chunk: int = knob(
    0, 'Clients run together on a device; 0 follows the default rule.', low=0
  )

  @property
  def malicious(self) -> int:
    """Clients that attack, the first of all."""
    return ranks.num_malicious(self.malicious_fraction, self.num_clients)

  @property
  def advisors(self) -> int:
    """Rows of a cohort that do not vote."""
    return min(self.num_advisors, self.malicious)

  def validate(self) -> None:
    """Checks methods and who takes part."""
    super().validate()
    config_lib.check_different(self.methods, name='methods')
    for method in self.methods:
      ranks.check_method(method, name='methods')
    if self.clients_per_round > self.num_clients:
      raise ValueError(
        f'clients_per_round={self.clients_per_round} exceeds '
        f'num_clients={self.num_clients}.'
      )
    with config_lib.naming(
      malicious_fraction=self.malicious_fraction, num_clients=self.num_clients
    ):
      ranks.num_malicious(self.malicious_fraction, self.num_clients)


def make_methods(config: Config) -> dict[str, ranks.Method]:
  """Builds every method on the same clients.

  Args:
    config: knobs.

  Returns:
    Methods by their text.
  """
  dealt = config.problem(in_memory=True)

  def cohort(key, held, round):
    draw_key, _ = jax.random.split(key)
    sample = ranks.sample_minority(
      draw_key,
      round,
      config.num_clients,
      config.clients_per_round,
      num_malicious=config.malicious,
      num_advisors=config.num_advisors,
    )
    return local.gather_cohort(*held, sample)

  # Loops of a seed, for thresholds and redraws, wait for no other.
  shared = dealt.replace(cohort=cohort, one_by_one=True)
  return {
    method: ranks.make_method(
      method,
      dealt.network,
      functools.partial(problems.for_network, shared),
      config.clients(config.clients_per_round + config.advisors),
      optimizer=local.make_optimizer(config.optimizer),
      averaging_optimizer=local.make_optimizer(config.averaging_optimizer),
      batch_size=config.batch_size,
      num_epochs=config.local_epochs,
      attack=config.attack,
      num_clients=config.num_clients,
      num_malicious=config.malicious,
      num_advisors=config.advisors,
    )
    for method in config.methods
  }


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  methods = make_methods(config)

  def measure(values, moment):
    # What a client has sent if it takes part in every round.
    sent = methods[moment.variant.name].upload_bits * moment.round / _MIB
    values['test']['upload_mib'] = np.full(len(config.seeds), sent)

  return compare(
    config,
    {name: method.problem for name, method in methods.items()},
    {name: method.algorithm for name, method in methods.items()},
    measure=measure,
    plots=(functools.partial(draw, config),),
    table=functools.partial(table, config, methods),
  )


def table(config: Config, methods: dict[str, ranks.Method], rows):
  """Shows what each method reaches and sends.

  Args:
    config: knobs.
    methods: what `make_methods` made.
    rows: rows of a run.

  Returns:
    Columns and cells: the mean accuracy of the last five evaluations over all
    seeds, that before the first round aside, and MiB per client and round.
  """
  columns = ['method', 'accuracy (last 5)', 'upload MiB', 'download MiB']
  steps = sorted({r['step'] for r in rows if r['split'] == 'test'})
  steps = [step for step in steps if step][-5:] or steps
  cells = []
  for name in config.methods:
    found = [
      r['accuracy']
      for r in rows
      if (r['split'], r['variant']) == ('test', name) and r['step'] in steps
    ]
    sent = (methods[name].upload_bits, methods[name].download_bits)
    if found:
      mean = f'{np.mean(found):.4f}'
      cells.append((name, mean, *(f'{bits / _MIB:.4g}' for bits in sent)))
  return columns, cells


def draw(config: Config, rows, directory):
  """Draws accuracy over rounds and bytes, and how far rankings are apart.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  title = f'{config.dataset}: {config.malicious} of {config.num_clients} '
  title += 'clients malicious'
  if config.malicious and any(m.startswith('frl') for m in config.methods):
    title += f' ({config.attack})'
  accuracy = {'ylabel': 'Test accuracy', 'ylim': (0.0, 1.0)}
  sent = {'x': 'upload_mib', 'xlabel': 'Sent by a client (MiB)'} | accuracy
  apart = {'split': 'train', 'ylabel': "Footrule, votes to the server's"}
  return [
    plots.lines(found, directory / f'{name}.png', metric, title=title, **look)
    for found, name, metric, look in (
      (rows, 'accuracy', 'accuracy', accuracy),
      (rows, 'accuracy_over_upload', 'accuracy', sent),
      ([r for r in rows if 'spread' in r], 'spread', 'spread', apart),
    )
    if found
  ]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
