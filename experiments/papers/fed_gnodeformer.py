# SPDX-License-Identifier: Apache-2.0
"""Claims about Fed-GNODEFormer (block models of 240 nodes, 3 clients)."""

import functools

import jax
import numpy as np

from experiments import federated_graphs, papers
from jaxdl.graphs import sets, spectral
from jaxdl.problems import graphs as problems

PAPER = papers.Paper(
  title='Federated spectral graph transformers and neural ODEs',
  source='Gurumurthy, Pal & Sharma 2025',
  arxiv='2504.11808',
  functions=(
    'graphs.spectral.gnodeformer',
    'graphs.spectral.rk_step',
    'graphs.spectral.graph_spectrum',
    'graphs.spectral.spectral_decomposition',
    'graphs.clients.kept_edges',
    'graphs.clients.neighbor_sums',
    'graphs.clients.generated',
    'problems.graphs.node_classification',
  ),
  binary='federated_graphs',
)

OPTIONS = (
  'num_layers=2, feature_dropout=0.3, attention_dropout=0.1, '
  'propagation_dropout=0.0, kernel_init=fan_in(distribution=normal)'
)
OURS = f'gnodeformer({OPTIONS})'
SLOW = 'sgd(0.03, weight_decay=0.0005)'
FAST = 'sgd(0.3, weight_decay=0.0005)'
HETEROPHILIC = 'block_model(heterophilic=True)'
HOMOPHILIC = 'block_model()'


@functools.cache
def _accuracy(seeds, networks, dataset=HETEROPHILIC, **options):
  """Test accuracy after the last round, f[S] by variant.

  Ours steps as the sheet of settings says, all others ten times as far.
  """
  config = federated_graphs.Config(
    **{
      'seeds': seeds,
      'networks': networks,
      'optimizers': tuple(
        SLOW if spec.startswith('gnodeformer') else FAST for spec in networks
      ),
      'dataset': dataset,
      'num_clients': 3,
      'partition': 'iid',
      'num_rounds': 150,
      'eval_every': 150,
      **options,
    }
  )
  rows = federated_graphs.run(config).rows
  end = ('test', config.num_rounds)
  last = [r for r in rows if (r['split'], r['step']) == end]
  return {
    name: np.array([r['accuracy'] for r in last if r['variant'] == name])
    for name in dict.fromkeys(r['variant'] for r in last)
  }


def _told(found):
  """Means and ranges; ours by its name."""
  return ', '.join(
    f'{name.partition("(")[0]} {x.mean():.2f} ({x.min():.2f}-{x.max():.2f})'
    for name, x in found.items()
  )


@papers.claim(
  'Where classes are linked with others (heterophilic blocks), GNODEFormer is '
  'at least .9 accurate, .05 more than a federated GCN and .2 more than a '
  'perceptron.',
  note='3 clients at random, 150 rounds of 3 steps, kernels of variance '
  '1 / fan-in. With those of the released code (a third of that) two of three '
  'seeds rest where all logits are equal, with steps of .03, and one diverges '
  'with steps of .1.',
)
def heterophilic(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Test accuracy, mean of seeds (least and most)."""
  found = _accuracy(seeds, (OURS, 'gcn', 'mlp'))
  ours, gcn, mlp = (x.mean() for x in found.values())
  held = ours >= max(0.9, gcn + 0.05, mlp + 0.2)
  return bool(held), _told(found)


@papers.claim(
  'Where classes are linked with themselves, GNODEFormer is on par with a '
  'federated GCN: at least .93 accurate, and at most .04 less.',
  note='As above.',
)
def homophilic(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Test accuracy, mean of seeds (least and most)."""
  found = _accuracy(seeds, (OURS, 'gcn', 'mlp'), HOMOPHILIC)
  ours, gcn, _ = (x.mean() for x in found.values())
  return bool(ours >= max(0.93, gcn - 0.04)), _told(found)


@papers.claim(
  'Under label skew (Dirichlet .1 and 1) on heterophilic blocks GNODEFormer is '
  'clearly ahead of the federated GCN, by .05 in both.',
  note='As above, parts of at least 20 nodes, 300 rounds. It is ahead, but not '
  'clearly: skewed clients know few classes, which is most of what there is to '
  'tell. After 150 rounds it is behind with Dirichlet .1 (.89 against .91).',
)
def label_skew(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Test accuracy, mean of seeds (least and most)."""
  held, figures = True, []
  for alpha in (0.1, 1.0):
    found = _accuracy(
      seeds,
      (OURS, 'gcn'),
      partition=f'label_dirichlet(alpha={alpha})',
      num_rounds=300,
      eval_every=300,
    )
    ours, gcn = (x.mean() for x in found.values())
    held = held and ours >= gcn + 0.05
    figures.append(f'Dirichlet {alpha}: {_told(found)}')
  return bool(held), '; '.join(figures)


def _operations(order):
  """Floating-point operations of a gradient, blocks of a layer once."""
  data = sets.block_model(num_nodes=80)
  pair = spectral.graph_spectrum(data.graph)
  network = spectral.gnodeformer(4, num_layers=1, rk=order)
  params = jax.jit(network.init)(jax.random.key(0), pair, data.features)
  slope = jax.grad(lambda p: (network.apply(p, pair, data.features) ** 2).sum())
  return jax.jit(slope).lower(params).compile().cost_analysis()['flops']


@papers.claim(
  'Steps of order four are more accurate than steps of order two, and a '
  'gradient takes at least 1.4 times as many operations.',
  note='Said by a summary of the paper; its tables were not seen. Does not '
  'hold for the accuracy: with P_in .2 and P_out .06 the two differ by less '
  'than a node per seed, and on the blocks of the first claim orders 1 to 4 '
  'all reach .98 to 1.00.',
)
def orders(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Test accuracy by order, and operations of gradients."""
  specs = {rk: f'gnodeformer({OPTIONS}, rk={rk})' for rk in (2, 4)}
  dataset = 'block_model(heterophilic=True, p_in=0.2, p_out=0.06)'
  found = _accuracy(seeds, tuple(specs.values()), dataset)
  mean = {rk: found[spec].mean() for rk, spec in specs.items()}
  ratio = _operations(4) / _operations(2)
  held = mean[4] > mean[2] and ratio >= 1.4
  figures = ', '.join(f'order {rk} {x:.3f}' for rk, x in mean.items())
  return bool(held), f'{figures}; {ratio:.2f} times as many operations'


@papers.claim(
  'Dealing nodes to 3 clients at random keeps a third of the edges (.30 to '
  '.37). Under label skew (Dirichlet 1) more of homophilic than of '
  'heterophilic graphs survive, by at least .1.',
  note='Means of seeds. A lost edge is why a federated graph network is less '
  'accurate than one of the whole.',
)
def edges_that_survive(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Shares of edges that clients keep."""

  def kept(dataset, partition):
    problem = problems.node_classification(
      dataset, 'mlp', num_clients=3, partition=partition, seeds=seeds
    )
    return float(np.mean([d.kept_edges for d in problem.test['dealt']]))

  skew = 'label_dirichlet(alpha=1.0)'
  random = kept(HETEROPHILIC, 'iid')
  own, other = kept(HOMOPHILIC, skew), kept(HETEROPHILIC, skew)
  held = 0.3 <= random <= 0.37 and own >= other + 0.1
  return held, (
    f'at random {random:.2f}; skewed: homophilic {own:.2f}, heterophilic '
    f'{other:.2f}'
  )


ONE_HOP = 'fedgcn@neighbor_sums(hops=1)'


@papers.claim(
  'Clients that tell each other sums over neighbors before training (FedGCN, '
  'two hops) are as accurate as a GCN on the whole graph, within .03, and .03 '
  'more than a federated GCN.',
  note='Beyond the paper; heterophilic blocks.',
)
def sums_of_neighbors(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Test accuracy, mean of seeds (least and most)."""
  found = dict(_accuracy(seeds, ('gcn', ONE_HOP, 'fedgcn')))
  del found[ONE_HOP]
  found['whole'] = _accuracy(seeds, ('gcn',), num_clients=1)['gcn']
  lost, told, whole = (x.mean() for x in found.values())
  held = abs(told - whole) <= 0.03 and told >= lost + 0.03
  return bool(held), _told(found)


@papers.claim(
  'With one hop of sums (FedGCN) accuracy lies between no hop and two.',
  note='Beyond the paper. Does not hold on heterophilic blocks: the second '
  'layer weighs the edges that are left by the degrees of the whole graph, so '
  'that two thirds of every sum are missing.',
)
def one_hop_of_sums(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Test accuracy, mean of seeds (least and most)."""
  found = _accuracy(seeds, ('gcn', ONE_HOP, 'fedgcn'))
  lost, half, told = (x.mean() for x in found.values())
  names = ('no hop', 'one hop', 'two hops')
  figures = _told(dict(zip(names, found.values(), strict=True)))
  return bool(lost <= half <= told), figures


@papers.claim(
  'Made-up neighbors (as FedSage+) help where most edges are lost: GraphSAGE '
  'of 8 clients is at least .02 more accurate with them.',
  note='Beyond the paper; heterophilic blocks. Does not hold: a made-up '
  'neighbor says what the average neighbor of such a node is like, which the '
  'eighth of the edges that are left shows as well. GCN gains nothing either; '
  'with 3 clients GraphSAGE is right about every node without.',
)
def made_up_neighbors(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Test accuracy, mean of seeds (least and most)."""
  found = _accuracy(seeds, ('sage', 'sage@generated'), num_clients=8)
  plain, made = (x.mean() for x in found.values())
  figures = ', '.join(
    f'{name} {x.mean():.3f} ({x.min():.2f}-{x.max():.2f})'
    for name, x in found.items()
  )
  return bool(made >= plain + 0.02), figures


@papers.claim(
  'One of five clients that flips signs ruins the mean of GNODEFormers (at '
  'most .6 accurate) but not their median (at least .2 more); without a server '
  'gossip on a ring comes within .1 of FedAvg without an attack.',
  note='Beyond the paper; heterophilic blocks, 5 clients at random.',
)
def attacks_and_topologies(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Test accuracy, mean of seeds (least and most)."""
  mean = 'fedavg@channel(attack=sign_flip(scale=5.0))'
  median = 'fedavg@channel(attack=sign_flip(scale=5.0), aggregator=median)'
  ring = 'periodic_gossip(period=3)@ring'
  several = {'num_clients': 5}
  found = {
    'FedAvg': _accuracy(seeds, (OURS,), **several)[OURS],
    **_accuracy(
      seeds, (OURS,), variants=(mean, median), num_byzantine=1, **several
    ),
    'ring': _accuracy(
      seeds,
      (OURS,),
      variants=(ring,),
      num_rounds=450,
      eval_every=450,
      **several,
    )[OURS],
  }
  plain, ruined, saved, gossip = (x.mean() for x in found.values())
  held = ruined <= 0.6 and saved >= ruined + 0.2 and gossip >= plain - 0.1
  names = ('FedAvg', 'attacked mean', 'attacked median', 'ring')
  return bool(held), _told(dict(zip(names, found.values(), strict=True)))


@papers.claim(
  'The transformer is what learns: with the identity for a spectrum (no '
  'filter is learned) accuracy is no higher.',
  note='As the first claim.',
)
def identity_spectrum(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Test accuracy, mean of seeds (least and most)."""
  plain = f'gnodeformer({OPTIONS}, filters=identity)'
  ours = _accuracy(seeds, (OURS, 'gcn', 'mlp'))[OURS]
  identity = _accuracy(seeds, (plain,))[plain]
  figures = _told({'learned': ours, 'identity': identity})
  return bool(ours.mean() >= identity.mean()), figures
