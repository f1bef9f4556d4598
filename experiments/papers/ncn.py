# SPDX-License-Identifier: Apache-2.0
"""Claims about NCN and NCNC (600 points in a square, and 600 digits)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import link_prediction, papers
from jaxdl import graphs
from jaxdl.graphs import links

PAPER = papers.Paper(
  title='Neural common neighbor with completion for link prediction',
  source='Wang, Yang & Zhang, ICLR 2024',
  arxiv='2302.00890',
  functions=(
    'graphs.links.mpnn',
    'graphs.links.ncn',
    'graphs.links.ncnc',
    'graphs.links.ncn2',
    'graphs.links.ncn_diff',
    'graphs.links.gae',
    'graphs.links.overlap',
    'graphs.links.remove_targets',
    'graphs.links.clamp_probability',
    'graphs.links.hits_at_k',
    'problems.links.load_links',
  ),
  binary='link_prediction',
)

COMPLETED = 'ncnc(prior=0.2, scale=5.0, offset=4.0)'
GEOMETRIC = 'geometric(num_nodes=600, radius=0.075)'


@functools.cache
def _run(seeds, variants, **options):
  """Figures f[S] of each variant, of the epoch that validation selects."""
  config = link_prediction.Config(
    seeds=seeds,
    variants=variants,
    **{'dataset': GEOMETRIC, 'num_negatives': 3000, 'num_rounds': 40} | options,
  )
  best = link_prediction.selected(link_prediction.run(config).rows)
  return {
    variant: {
      name: np.array([r[name] for r in best if r['variant'] == variant])
      for name in ('hits', 'auc')
    }
    for variant in variants
  }


def _told(found, *names):
  return '; '.join(
    f'{variant} '
    + ', '.join(f'{name} {np.mean(values[name]):.3f}' for name in names)
    for variant, values in found.items()
  )


@papers.claim(
  'With all training links known, NCN is at least .2 above a predictor of '
  'products (GAE) in Hits@50, for every seed.',
  note='Features are noise, so that only links tell. AA and RA, made for such '
  'graphs, are as good as what is learned.',
)
def above_products(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Hits@50 and AUC of test links."""
  variants = ('cn', 'aa', 'ra', 'gae', 'gae_cn', 'ncn', 'ncn2', 'ncn_diff')
  found = _run(seeds, variants)
  gap = found['ncn']['hits'] - found['gae']['hits']
  return bool((gap >= 0.2).all()), _told(found, 'hits', 'auc')


@papers.claim(
  'With half of the training links known, completion (NCNC) gains at least .05 '
  'in AUC over NCN, in the mean over the seeds, and more than nothing in '
  'Hits@50.',
)
def completion_gains(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """AUC and Hits@50 of test links."""
  variants = ('cn', 'aa', 'ra', 'gae', 'ncn', COMPLETED)
  found = _run(seeds, variants, keep_edges=0.5)
  gain = {
    name: float(np.mean(found[COMPLETED][name] - found['ncn'][name]))
    for name in ('auc', 'hits')
  }
  held = gain['auc'] >= 0.05 and gain['hits'] > 0
  return held, _told(found, 'auc', 'hits')


@papers.claim(
  'The four numbers of the clamp must fit the graph: with all training links '
  'known, a completion that is sure of too much (offset 2, prior .5) is worse '
  'than none in Hits@50, and the fitted one is not, in the mean.',
  note='In AUC either completion is above none.',
)
def clamp_must_fit(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Hits@50 and AUC of test links."""
  loose = 'ncnc(prior=0.5, scale=5.0, offset=2.0)'
  variants = ('ncn', COMPLETED, loose)
  found = _run(seeds, variants)
  mean = {v: float(np.mean(x['hits'])) for v, x in found.items()}
  held = mean[loose] < mean['ncn'] <= mean[COMPLETED]
  return held, _told(found, 'hits', 'auc')


@papers.claim(
  'Target links must be removed: NCN is better in Hits@50 with removal than '
  'without, in the mean over the seeds.',
)
def removal_helps(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Hits@50 of test links, all training links known."""
  found = _run(seeds, ('ncn',))
  without = _run(seeds, ('ncn',), remove_targets=False)
  told = {'removed': found['ncn'], 'kept': without['ncn']}
  held = np.mean(found['ncn']['hits']) > np.mean(without['ncn']['hits'])
  return bool(held), _told(told, 'hits', 'auc')


@papers.claim(
  'On nearest neighbors of handwritten digits, whose features are mostly noise '
  '(standard deviation 2 on pixels in [0, 1]), NCN is at least .05 above GAE '
  'in Hits@50, in the mean over the seeds.',
  note='With noise of 2 on pixels in [0, 16] features tell nearly all: GAE '
  'reaches .73 and NCN .75.',
)
def digits(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Hits@50 and AUC of test links."""
  found = _run(
    seeds,
    ('cn', 'aa', 'ra', 'gae', 'ncn'),
    dataset='digits_knn(num_neighbors=9, num_nodes=600, noise=32.0)',
  )
  gap = np.mean(found['ncn']['hits'] - found['gae']['hits'])
  return bool(gap >= 0.05), _told(found, 'hits', 'auc')


@papers.claim(
  'Nodes that look alike: on a ring of six with equal features GAE gives all '
  'pairs one score, NCN tells pairs at distance two from those at three.',
)
def expressive(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Largest difference of scores, of random parameters."""
  ring = graphs.make_graph([(i, (i + 1) % 6) for i in range(6)], 6)
  known = links.adjacency(ring)
  x, pairs = jnp.ones((8, 3)), jnp.array([(0, 2), (1, 3), (0, 3), (1, 4)])
  apart = {}
  for spec in ('gae', 'ncn'):
    task = links.link_task('mpnn(8)', spec, known, x)
    spans = []
    for seed in seeds:
      scores = links.link_scores(
        links.make_encoder('mpnn(8)'),
        links.make_predictor(spec),
        task.init(jax.random.key(seed)),
        known,
        x,
        pairs,
      )
      spans.append(float(jnp.ptp(scores)))
    apart[spec] = spans
  held = max(apart['gae']) < 1e-5 and min(apart['ncn']) > 1e-3
  return held, ', '.join(f'{k} {max(v):.2g}' for k, v in apart.items())


@papers.claim(
  'NCN has as many parameters as published: 33,538 for ogbl-ppa and 1,412,098 '
  'for ogbl-ddi.',
)
def parameters(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Counted of shapes alone."""
  del seeds
  settings = (
    ('mpnn(64, 3, conv=gcn, embed=58)', 'ncn'),
    (
      'mpnn(224, conv=puresum, embed=4268, residual=True)',
      'ncn(transform=True, two_layers=True, tail_activation=False)',
    ),
  )
  graph = graphs.make_graph([(0, 1)], 8, pad_nodes=8)
  ids, counts = jnp.zeros(8, jnp.int32), []
  for encoder, predictor in settings:
    task = links.link_task(encoder, predictor, links.adjacency(graph), ids)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    counts.append(sum(x.size for x in jax.tree.leaves(shapes)))
  return counts == [33_538, 1_412_098], ', '.join(f'{c:,}' for c in counts)


@papers.claim(
  'A predictor learns by gossip over the graph that it predicts: sixteen '
  'communities that know their own neighborhood, and send models along links '
  'between them, come within .03 of a learner of all links in AUC, and are at '
  'least .05 above communities that send nothing.',
  note='Beyond the paper. Each client is measured on all test links; a mean '
  'over clients.',
)
def gossip_over_itself(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """AUC and Hits@50 of test links."""
  variants = ('ncn', 'ncn@gossip_sgd', 'ncn@alone')
  found = _run(
    seeds, variants, parts='communities(num_clients=16)', num_rounds=20
  )
  auc = {v: float(np.mean(x['auc'])) for v, x in found.items()}
  held = (
    auc['ncn@gossip_sgd'] >= auc['ncn'] - 0.03
    and auc['ncn@gossip_sgd'] >= auc['ncn@alone'] + 0.05
  )
  return held, _told(found, 'auc', 'hits')
