# SPDX-License-Identifier: Apache-2.0
"""Claims about teams of agents that change themselves.

The paper asks large language models; here agents are classifiers, or scripted
models that stand in for them, as each claim says. Prompts of the paper are not
published.
"""

import functools

import jax
import numpy as np

from experiments import agentic_network, papers
from jaxdl.language import teams

PAPER = papers.Paper(
  title='Agentic neural networks',
  source='Ma et al. 2025',
  arxiv='2506.09046',
  functions=(
    'language.teams.search',
    'language.teams.evolve_step',
    'language.teams.forward',
    'language.teams.leave_one_out',
    'language.teams.layer_credit',
    'language.teams.momentum',
    'language.teams.apply_patch',
    'language.teams.validate_block',
    'language.teams.aggregate',
    'language.teams.join_answers',
    'language.teams.dump_workflow',
  ),
  binary='agentic_network',
  colab='08_language',
)

RANDOM = 'random_edits'
DNC = 'rule(dnc, num_byzantine=5)'
CAF = 'rule(caf, num_byzantine=5)'
NNM = "rule('nnm+mean', num_byzantine=5)"
MEDIAN, GEOMETRIC = 'rule(median)', 'rule(geometric_median)'
BLIND = 'ann(validate=False)'
NUM_ITERATIONS, NUM_DRAWS = 10, 10


@functools.cache
def _rows(seeds, method, num_rounds, task='digits'):
  config = agentic_network.Config(
    seeds=seeds,
    methods=(method,),
    num_rounds=num_rounds,
    eval_every=max(num_rounds, 1),
    task=task,
  )
  return agentic_network.run(config).rows


def _ends(seeds, method, num_rounds=12, task='digits', name='accuracy'):
  rows = _rows(seeds, method, num_rounds, task)
  last = max(r['step'] for r in rows)
  return np.array(
    [r[name] for r in rows if r['split'] == 'test' and r['step'] == last]
  )


def _said(values):
  low, high = values.min(), values.max()
  return f'{values.mean():.3f} ({low:.3f} to {high:.3f})'


def _fixed(aggregation):
  return f'fixed(aggregation={aggregation!r})'


def _named(**values):
  return ', '.join(
    f'{k.replace("_", " ")} {_said(v)}' for k, v in values.items()
  )


@functools.cache
def _best_in_hindsight(seeds):
  """Test accuracy of the agent that is best on the test itself."""
  found = []
  for seed in seeds:
    task = teams.digits(seed=seed)
    (agents,) = task.layers
    logits = np.einsum('bd,cdk->cbk', task.test.inputs, agents.weights)
    says = (logits + agents.bias[:, None]).argmax(axis=-1)
    found.append((says == task.test.labels).mean(axis=1).max())
  return np.array(found)


@papers.claim(
  'Twelve classifiers of digits, five of which collude: 12 proposals take the '
  'majority of all from .685 to >= .85 (mean of seeds), every seed by >= .1',
)
def twelve_proposals(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """All agents at the start, majority vote."""
  start, end = _ends(seeds, 'fixed', 1), _ends(seeds, 'ann')
  held = end.mean() >= 0.85 and (end - start).min() >= 0.1
  return bool(held), _named(start=start, end=end)


@papers.claim(
  'The team beats the best single agent, even the one that is best on the test '
  'itself, by >= .07 (mean of seeds)'
)
def beats_the_best_agent(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Chosen on validation, and in hindsight."""
  end, chosen = _ends(seeds, 'ann'), _ends(seeds, 'single', 1)
  best = _best_in_hindsight(seeds)
  held = end.mean() >= max(best.mean(), chosen.mean()) + 0.07
  return bool(held), _named(team=end, single=chosen, in_hindsight=best)


@papers.claim(
  'Fewer proposals than random edits: 12 by gradients end no lower than 60 at '
  'random, and >= .02 above 12 at random'
)
def fewer_proposals(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Hill climbing with the same validation, replay set and costs."""
  end = _ends(seeds, 'ann')
  few, many = _ends(seeds, RANDOM), _ends(seeds, RANDOM, 60)
  held = end.mean() >= many.mean() and end.mean() >= few.mean() + 0.02
  return bool(held), _named(gradients_12=end, random_12=few, random_60=many)


@papers.claim(
  'It is no saving of evaluations: 12 proposals by gradients evaluate more '
  'teams than 60 at random do',
  note='A gradient tries every edit on the samples for gradients, in one '
  'program. Proposals count where validation is what costs.',
)
def counted_in_evaluations(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """A loss, which is to be read beside the claim before."""
  ours = _ends(seeds, 'ann', name='evaluations').mean()
  theirs = _ends(seeds, RANDOM, 60, name='evaluations').mean()
  free = 'random_edits(replay=0)'
  end, many = _ends(seeds, 'ann(replay=0)'), _ends(seeds, free, 60)
  return bool(ours > theirs), (
    f'{ours:.0f} evaluations against {theirs:.0f}; without a replay set '
    + _named(gradients_12=end, random_60=many)
  )


@papers.claim(
  'Without momentum (alpha 1) accuracy is lower, with the replay set and '
  'without',
  note='Differences of a hundredth either way: gradients of 180 samples that '
  'do not change are not noisy.',
)
def momentum_matters(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Classifiers of digits."""
  found = {
    'momentum': _ends(seeds, 'ann'),
    'none': _ends(seeds, 'ann(alpha=1.0)'),
    'momentum, no replay': _ends(seeds, 'ann(replay=0)'),
    'none, no replay': _ends(seeds, 'ann(alpha=1.0, replay=0)'),
  }
  means = [v.mean() for v in found.values()]
  held = means[0] > means[1] and means[2] > means[3]
  return bool(held), _named(**found)


@papers.claim(
  'Local gradients matter: with the global one alone (beta 1) accuracy is '
  '>= .05 lower'
)
def local_gradients_matter(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """One layer: the global gradient says nothing of who is wrong."""
  end, alone = _ends(seeds, 'ann'), _ends(seeds, 'ann(beta=1.0)')
  held = end.mean() >= alone.mean() + 0.05
  return bool(held), _named(both=end, global_alone=alone)


@papers.claim(
  'Validation matters in numbers too: without it accuracy is >= .01 lower',
  note='The samples for gradients are about as many as those for validation '
  'and of the same kind; what helps on one helps on the other. In text, see '
  'below, it matters.',
)
def validation_in_numbers(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Every edit whose gradient is positive is taken."""
  end, blind = _ends(seeds, 'ann'), _ends(seeds, BLIND)
  held = end.mean() >= blind.mean() + 0.01
  return bool(held), _named(validated=end, without=blind)


@papers.claim(
  'A robust vote needs no edits: DnC and CAF over whole batches, told that 5 '
  'of 12 collude, give colluders nothing and <= .1 of the weight, and >= .1 '
  'more than the majority, more than the best single agent; NNM >= .05 more'
)
def robust_votes(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Votes as vectors of the whole batch; nobody is left out."""
  start = _ends(seeds, 'fixed', 1)
  found = {
    name: _ends(seeds, _fixed(spec), 1)
    for name, spec in (('DnC', DNC), ('CAF', CAF), ('NNM', NNM))
  }
  single = _ends(seeds, 'single', 1)
  shares = {
    name: _share_of_colluders(seeds, spec)
    for name, spec in (('DnC', DNC), ('CAF', CAF))
  }
  held = shares['DnC'] < 1e-6 and shares['CAF'] <= 0.1
  for name in shares:
    mean = found[name].mean()
    held &= mean >= start.mean() + 0.1 and mean >= single.mean()
  held &= found['NNM'].mean() >= start.mean() + 0.05
  weights = ', '.join(f'{k} {v:.3f}' for k, v in shares.items())
  return bool(held), (
    f'{_named(majority=start, **found)}; weight of colluders at most {weights}'
  )


def _share_of_colluders(seeds, spec):
  """The largest weight of all colluders together, over seeds."""
  shares = []
  for seed in seeds:
    task = teams.digits(seed=seed)
    (agents,) = task.layers
    logits = np.einsum('bd,cdk->cbk', task.test.inputs, agents.weights)
    outputs = jax.nn.softmax(logits + agents.bias[:, None], axis=-1)
    weights = np.asarray(
      teams.credit(outputs, np.ones(len(outputs), bool), spec)
    )
    lied = np.array(task.roles[0]) == 'colluder'
    shares.append(weights[lied].sum() / weights.sum())
  return max(shares)


@papers.claim(
  'Not every robust rule survives five of twelve: the geometric median stays '
  'within .05 of the majority, the coordinate median falls >= .1 below it',
)
def rules_that_fail(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Seven who differ at random have no majority on a vote's coordinates."""
  start = _ends(seeds, 'fixed', 1)
  near = _ends(seeds, _fixed(GEOMETRIC), 1)
  below = _ends(seeds, _fixed(MEDIAN), 1)
  held = abs(near.mean() - start.mean()) <= 0.05
  held &= below.mean() <= start.mean() - 0.1
  return bool(held), _named(majority=start, geometric_median=near, median=below)


@papers.claim(
  'Two layers (halves of a digit): 24 proposals gain >= .1 (mean of seeds), '
  'and more than without the global gradient (beta 0)',
)
def two_layers(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The layer that is to blame is edited first."""
  task = 'digits(layers=2)'
  start = _ends(seeds, 'fixed', 1, task)
  end = _ends(seeds, 'ann', 24, task)
  local = _ends(seeds, 'ann(beta=0.0)', 24, task)
  held = end.mean() >= start.mean() + 0.1 and end.mean() >= local.mean()
  return bool(held), _named(start=start, both=end, local_alone=local)


@functools.cache
def _protocol(first, method):
  config = agentic_network.Config(
    seeds=tuple(range(10 * first, 10 * first + NUM_DRAWS)),
    backend='openai',
    task='arithmetic(num_train=16, num_validation=8, num_test=8)',
    train_batch=4,
    methods=(method,),
    num_rounds=NUM_ITERATIONS,
    eval_every=1,
  )
  rows = agentic_network.run(config).rows
  assert {r['source'] for r in rows} == {'scripted'}
  return [r for r in rows if r['split'] == 'test']


def _curves(seeds, method, name='accuracy'):
  """A curve for each draw; where nothing was looked at, the value before."""
  rows = _protocol(seeds[0], method)
  return np.array(
    [
      [r[name] for r in rows if r['seed'] == seed and name in r]
      for seed in sorted({r['seed'] for r in rows})
    ]
  )


def _firsts(curves):
  """Iterations until all is right, as text."""
  done = [np.flatnonzero(c == 1.0) for c in curves]
  return ', '.join(str(d[0]) if len(d) else 'never' for d in done)


@papers.claim(
  'Protocol run (scripted models): the workflow reaches 100 % of arithmetic in '
  'words within 10 iterations in each of 10 draws, with an optimizer that is '
  'right with probability .6'
)
def protocol_reaches_all(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Workers err unless their prompts say otherwise."""
  curves = _curves(seeds, 'ann')
  rows = _protocol(seeds[0], 'ann')
  last = [r for r in rows if r['step'] == NUM_ITERATIONS]
  count = lambda name: sum(r[name] for r in last)
  held = curves[:, -1].min() == 1.0 and curves[:, 0].mean() < 0.5
  return bool(held), (
    f'scripted; {curves[:, 0].mean():.2f} at the start, all right after '
    f'{_firsts(curves)} iterations; {count("proposals")} patches, '
    f'{count("malformed")} malformed, {count("invalid")} invalid, '
    f'{count("worse")} worse'
  )


@papers.claim(
  'Protocol run (scripted models): without validation accuracy over ten '
  'iterations is >= .1 lower (mean of 10 draws) and falls in between; with it, '
  'the validation loss never rises'
)
def protocol_needs_validation(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Harmful edits are taken too."""
  ours, blind = (_curves(seeds, m)[:, 1:] for m in ('ann', BLIND))
  falls = int((np.diff(blind, axis=1) < 0).sum())
  losses = _curves(seeds, 'ann', 'validation_loss')
  held = ours.mean() >= blind.mean() + 0.1 and falls > 0
  held &= (np.diff(losses, axis=1) <= 0).all()
  return bool(held), (
    f'scripted; mean accuracy {ours.mean():.3f} against {blind.mean():.3f}, '
    f'which falls {falls} times; all right after '
    f'{_firsts(_curves(seeds, BLIND))} iterations'
  )


@papers.claim(
  'Protocol run (scripted models): who takes only what is better (strict) gets '
  'stuck in most of 10 draws, where two agents must be mended before anything '
  'is better'
)
def strict_gets_stuck(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Why what is as good is taken too."""
  ends = _curves(seeds, 'ann(accept=strict)')[:, -1]
  return bool((ends < 1.0).mean() > 0.5), (
    f'scripted; {(ends < 1.0).sum()} of {len(ends)} are stuck, mean '
    f'{ends.mean():.3f} after {NUM_ITERATIONS} iterations'
  )
