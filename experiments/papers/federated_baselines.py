# SPDX-License-Identifier: Apache-2.0
"""Claims about federated algorithms, privacy and compression (digits)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import federated_training, papers
from jaxdl import experiment, federated, local, privacy, problems
from jaxdl.core import types

PAPER = papers.Paper(
  title='Federated algorithms, privacy and compression',
  source='McMahan et al. 2017 and later',
  arxiv='1602.05629',
  functions=(
    'federated.make_algorithm',
    'federated.server.scaffold',
    'federated.server.feddyn',
    'federated.server.fednova',
    'federated.Channel',
    'privacy.make_mechanism',
    'compression.as_messenger',
  ),
  binary='federated_training',
  colab='04_federated_learning',
)


def _fixed_point(spec, steps, num_rounds=400):
  """Where two quadratics end, f = x² / 2 and 2 (x - 1)², optimum 0.8."""

  def loss(params, batch, *, key=None):
    del key
    return jnp.mean(batch['a'] * (params - batch['c']) ** 2) / 2

  task = types.Task(lambda key: jnp.zeros(()), loss, lambda p, b: {})
  work = local.LocalWork(optax.sgd(0.1), num_steps=steps)
  algorithm = federated.make_algorithm(spec, task, 2, work=work)
  cohort = types.Cohort(
    client_ids=jnp.arange(2),
    data={'a': jnp.array([[1.0], [4.0]]), 'c': jnp.array([[0.0], [1.0]])},
    mask=jnp.ones(2, bool),
    weights=jnp.full(2, 0.5),
  )

  def one(state, t):
    key = jax.random.fold_in(jax.random.key(0), t)
    return algorithm.step(state, cohort, key=key)[0], None

  state = algorithm.init(jax.random.key(0))
  state, _ = jax.lax.scan(one, state, jnp.arange(num_rounds))
  return float(state.params)


@papers.claim(
  'On two quadratics with ten steps FedAvg ends at .6041, FedProx (mu = 1) at '
  '.6417; SCAFFOLD ends at the optimum, .8, to 1e-5, FedDyn to 1e-3'
)
def corrections_reach_the_optimum(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Control variates remove the bias of local steps."""
  del seeds  # Nothing is drawn.
  found = {
    'fedavg': _fixed_point('fedavg', 10),
    'fedprox': _fixed_point('fedprox(mu=1.0)', 10),
    'scaffold': _fixed_point('scaffold', 10),
    'feddyn': _fixed_point('feddyn(alpha=1.0)', 10),
  }
  held = abs(found['fedavg'] - 0.6041260) < 1e-5
  held &= abs(found['fedprox'] - 0.6416688) < 1e-5
  held &= abs(found['scaffold'] - 0.8) < 1e-5
  held &= abs(found['feddyn'] - 0.8) < 1e-3
  return held, ', '.join(f'{k} {v:.4f}' for k, v in found.items())


@papers.claim(
  'The epsilons of eight settings are those of the accountants to four digits'
)
def epsilons_are_right(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Two accountants, four settings, delta = 1e-5."""
  del seeds
  table = {
    (1.0, 0.01, 1000): (2.1014, 1.8282),
    (1.0, 1.0, 1): (4.7285, 4.3772),
    (4.0, 1.0, 100): (14.132, 13.207),
    (0.8, 0.05, 200): (8.743, 7.702),
  }
  held, told = True, []
  for (z, q, rounds), want in table.items():
    for accountant, value in zip(('rdp', 'pld'), want, strict=True):
      got = privacy.epsilon(
        noise_multiplier=z,
        rate=q,
        num_rounds=rounds,
        delta=1e-5,
        accountant=accountant,
      )
      held &= abs(got - value) < 1e-3 * value
      told.append(f'{got:.3f}')
  return held, ', '.join(told)


@functools.cache
def _run(seeds, variants, **options):
  options = {'num_rounds': 100, 'eval_every': 50} | dict(options)
  config = federated_training.Config(
    seeds=seeds, variants=variants, network='mlp((32,))', **options
  )
  return federated_training.run(config).rows


def _final(rows, name='accuracy'):
  """Last value of every variant, a list over seeds."""
  found = {}
  for row in rows:
    if row['split'] == 'test':
      found.setdefault(row['variant'], {})[row['seed']] = row[name]
  return {k: [v[s] for s in sorted(v)] for k, v in found.items()}


def _mean(values):
  return float(np.mean(values))


@papers.claim(
  'Digits, 100 clients, 10 a round: what even data gain FedAvg over the most '
  'uneven (Dirichlet 100 against .05) is >= .01, and SCAFFOLD loses less of it'
)
def drift_grows_with_unevenness(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Accuracy after 100 rounds of two epochs, per concentration."""
  told, gaps = [], {}
  for alpha in (0.05, 100.0):
    rows = _run(
      seeds,
      ('fedavg', 'scaffold'),
      partition=f'client_dirichlet(alpha={alpha})',
      work='work(num_epochs=2)',
    )
    found = {k: _mean(v) for k, v in _final(rows).items()}
    gaps[alpha] = found
    told.append(
      f'{alpha:g}: fedavg {found["fedavg"]:.3f}, scaffold '
      f'{found["scaffold"]:.3f}'
    )
  lost = {k: gaps[100.0][k] - gaps[0.05][k] for k in gaps[100.0]}
  held = lost['fedavg'] >= 0.01 and lost['scaffold'] < lost['fedavg']
  return held, '; '.join(told)


@papers.claim(
  'Sending one entry in a hundred costs <= .03 of accuracy with error '
  'feedback, at least twice that cost without it'
)
def error_feedback_matters(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Top-k messages with and without memory."""
  names = (
    'fedavg',
    'fedavg@channel(compressor=top_k(keep=0.01))',
    'fedavg@channel(compressor=ef+top_k(keep=0.01))',
  )
  rows = _run(
    seeds,
    names,
    num_clients=10,
    sampling='full',
    partition='label_dirichlet(alpha=1.0)',
  )
  whole, bare, fed = (_mean(_final(rows)[n]) for n in names)
  sent = {k: _mean(v) for k, v in _final(rows, 'megabytes').items()}
  held = fed >= whole - 0.03 and whole - bare >= 2 * (whole - fed)
  return held, (
    f'whole {whole:.3f} ({sent[names[0]]:.0f} MB), top 1 % {bare:.3f}, with '
    f'feedback {fed:.3f} ({sent[names[2]]:.1f} MB)'
  )


@papers.claim(
  'Enough clients a round buy back what noise costs: with 300 clients, 100 a '
  'round, z = .3 and 1 lose <= .02, with 10 a round z = 1 loses >= .1'
)
def privacy_costs_accuracy(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """DP-FedAvg, Poisson cohorts of 100 and of 10 of 300 clients."""
  spec = 'fedavg@channel(privacy=central(clip=0.5, noise_multiplier={}))'
  names = tuple(spec.format(z) for z in (0.0, 0.3, 1.0))
  found, told = {}, []
  for count in (100, 10):
    rows = _run(
      seeds,
      names,
      num_clients=300,
      sampling=f'poisson(num_sampled={count})',
      partition='iid',
      work='work(num_epochs=5)',
    )
    found[count] = [_mean(_final(rows)[n]) for n in names]
    spent = [_mean(_final(rows, 'epsilon')[n]) for n in names]
    told += [
      f'{count} a round, epsilon {e:.3g}: {a:.3f}'
      for a, e in zip(found[count], spent, strict=True)
    ]
  many, few = found[100], found[10]
  held = min(many[1:]) >= many[0] - 0.02 and few[2] <= few[0] - 0.1
  return held, '; '.join(told)


@papers.claim(
  'With a fifth of the clients adversarial (ALIE) SCAFFOLD over NNM and median '
  'keeps >= .85 and is >= .1 above SCAFFOLD over the mean under sign flips'
)
def scaffold_under_attack(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """The rule sees both parts of a message."""
  robust = 'scaffold@channel(aggregator=nnm+median)'
  options = {
    'num_clients': 50,
    'num_byzantine': 10,
    'partition': 'label_dirichlet(alpha=1.0)',
  }
  run = functools.partial(_run, seeds, **options)
  alie = _final(run((robust,), channel='channel(attack=alie)'))
  flips = _final(
    run((robust, 'scaffold'), channel='channel(attack=sign_flip(scale=8.0))')
  )
  a, b, c = (
    _mean(alie[robust]), _mean(flips[robust]), _mean(flips['scaffold'])
  )  # fmt: skip
  held = min(a, b) >= 0.85 and b >= c + 0.1
  return held, f'ALIE {a:.3f}; sign flips {b:.3f}, mean {c:.3f}'


@papers.claim(
  'SCAFFOLD and FedDyn train a DeepONet over clients of their own length '
  'scales: after equal rounds of eight steps SCAFFOLD is no worse than FedAvg'
)
def corrections_train_operators(seeds: tuple[int, ...]) -> tuple[bool, str]:
  """Relative L2 error on functions of all spaces."""
  work = local.LocalWork('sgd(0.05)', num_steps=8)
  found = {}
  for seed in seeds:
    problem = problems.operator_clients(
      'antiderivative(resolution=40)',
      'deeponet',
      num_clients=10,
      spread='length_scale(0.1, 0.5)',
      functions_per_client=60,
      num_test=96,
      batch_size=16,
      seeds=(seed,),
    )
    for name in ('fedavg', 'scaffold', 'feddyn(alpha=0.1)'):
      _, history = experiment.train(
        federated.make_algorithm(name, problem.task, 10, work=work),
        problem,
        num_rounds=300,
        key=jax.random.key(seed),
        eval_every=300,
      )
      error = history[f'test_{problem.metric}'][-1]
      found.setdefault(name, []).append(float(error))
  found = {k: _mean(v) for k, v in found.items()}
  held = found['scaffold'] <= 1.02 * found['fedavg']
  held &= all(np.isfinite(list(found.values())))
  return bool(held), ', '.join(f'{k} {v:.4f}' for k, v in found.items())
