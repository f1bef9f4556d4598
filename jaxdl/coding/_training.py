# SPDX-License-Identifier: Apache-2.0
"""Several models that take turns, trained on gradients that were decoded."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.coding import _codes, _deliveries, _plans, _schemes
from jaxdl.core import checks, types


def coded_training(
  task: types.Task,
  plan: _plans.Plan,
  *,
  optimizer: optax.GradientTransformation,
  num_models: int,
  seed: int = 0,
) -> types.Algorithm:
  """Trains M models; job t, one step, updates model t mod M.

  The batch of a job is cut into the chunks of the scheme. Their gradients, in
  float64, are encoded as workers would; what the plan says has arrived is
  decoded and steps the model. As job t + M starts after job t is decoded, the
  models are those of training without any coding, up to rounding. Batches
  should have many examples per worker: chunks hold whole examples.

  Args:
    task: its loss is a mean over examples under `mask`, and draws nothing.
    plan: of J jobs, see `plan_run`.
    optimizer: optax; each model has a state of its own.
    num_models: M > T.
    seed: of the matrices of cyclic codes.

  Returns:
    An algorithm on the host, for cohorts of one client whose data is the batch
    of a job, leaves [1, B, ...]. Its params are all models, leaves [M, ...].
    Metrics of a step: `time_s`, simulated seconds until this and all jobs
    before are decoded; `decode_gap`, the largest difference between the decoded
    and the whole gradient over the largest entry of the latter.

  Raises:
    ValueError: if a scheme takes too long for so few models; from `step`, for
      other cohorts and for more steps than jobs.
    TypeError: if task or optimizer are none.

  Cost: a gradient of the batch, and O(C² D / n) for encoding, on the host.

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802), concurrent
  training of M models.
  """
  checks.task(task)
  checks.optimizer(optimizer)
  if not isinstance(plan, _plans.Plan):
    raise TypeError(
      f'plan must be a Plan of plan_run; got {checks.described(plan)}.'
    )
  models = checks.integer(num_models, name='num_models', low=1)
  if plan.max_delay > models - 1:
    raise ValueError(
      f'num_models={models}: delay T={plan.max_delay} needs at least '
      f'{plan.max_delay + 1} interleaved models.'
    )
  codes = [run.scheme.code_of(seed) for run in plan.runs]
  ready = np.maximum.accumulate(plan.job_done_s)
  like = jax.eval_shape(task.init, jax.random.key(0))
  tree = jax.tree.structure(like)
  gradients = _chunk_gradients(task)

  update = _update(optimizer)

  @functools.cache
  def shape():
    """The structure of the state of the optimizer."""
    return jax.tree.structure(jax.eval_shape(optimizer.init, like))

  def host(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree)]

  def init(key):
    drawn = [task.init(jax.random.fold_in(key, m)) for m in range(models)]
    leaves = [[x.astype(np.float64) for x in host(p)] for p in drawn]
    with jax.enable_x64(True):
      opts = [host(optimizer.init(jax.tree.unflatten(tree, x))) for x in leaves]
    return {'job': 0, 'params': leaves, 'opt': opts}

  def step(state, cohort, *, key):
    del key
    checks.cohort(cohort, 1, label='clients', why='a master has the batch')
    job = int(state['job'])
    if job >= plan.num_jobs:
      raise ValueError(f'plan has {plan.num_jobs} jobs: all of them are done.')
    at, local = plan.place(job)
    run, m = plan.runs[at], job % models
    batch = jax.tree.map(lambda x: np.asarray(x)[0], cohort.data)
    with jax.enable_x64(True):
      params = jax.tree.unflatten(tree, state['params'][m])
      chunks = gradients(params, batch, run.scheme)
      whole, gap = decoded(run, codes[at], chunks, local)
      opt = jax.tree.unflatten(shape(), state['opt'][m])
      params, opt = map(host, update(params, opt, whole))
    swap = lambda old, new: [*old[:m], new, *old[m + 1 :]]
    state = {
      'job': job + 1,
      'params': swap(state['params'], params),
      'opt': swap(state['opt'], opt),
    }
    return state, {'time_s': ready[job], 'decode_gap': gap}

  def params(state):
    leaves = [np.stack(xs) for xs in zip(*state['params'], strict=True)]
    single = [
      x.astype(y.dtype)
      for x, y in zip(leaves, jax.tree.leaves(like), strict=True)
    ]
    return jax.tree.unflatten(tree, single)

  return types.Algorithm(init, step, params, per_client=True, on_host=True)


def decoded(
  run: _plans.RunResult,
  code: _codes.GradientCode | None,
  chunks: Any,
  job: int,
) -> tuple[Any, float]:
  """Encodes and decodes the gradients of a job.

  Args:
    run: says what arrived.
    code: of its scheme.
    chunks: NumPy leaves [C, ...].
    job: its number in the run.

  Returns:
    Leaves [...], and how far they are from the sum.
  """
  results = _deliveries.encode_job(run.scheme, code, chunks)
  whole = _deliveries.decode_job(
    run.scheme, code, results, run.arrived[job], job=job
  )
  pairs = [
    (a, b.sum(axis=0))
    for a, b in zip(
      jax.tree.leaves(whole), jax.tree.leaves(chunks), strict=True
    )
  ]
  largest = max(np.abs(b).max(initial=0.0) for _, b in pairs)
  gap = max(np.abs(a - b).max(initial=0.0) for a, b in pairs)
  return whole, float(gap / largest) if largest else 0.0


@functools.lru_cache(maxsize=8)
def _update(optimizer):
  """One step of an optimizer; the same program for all schemes and seeds."""

  @jax.jit
  def run(params, opt, gradient):
    change, opt = optimizer.update(gradient, opt, params)
    return optax.apply_updates(params, change), opt

  return run


@functools.lru_cache(maxsize=8)
def _chunk_gradients(task):
  """Gradients of all chunks of a batch, as shares of its mean."""

  @jax.jit
  def run(params, batch, places, real):
    wide = lambda x: (
      x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x
    )
    batch = jax.tree.map(lambda x: wide(jnp.asarray(x)), batch)
    size = jax.tree.leaves(batch)[0].shape[0]
    given = batch.get('mask', jnp.ones(size, bool))
    total = jnp.maximum(given.sum(), 1)

    def one(places, real):
      own = jax.tree.map(lambda x: x[places], batch)
      mask = real & given[places]
      share = mask.sum() / total
      loss = lambda p: share * task.loss(p, {**own, 'mask': mask})
      return jax.grad(loss)(params)

    return jax.vmap(one)(places, real)

  def gradients(params, batch, scheme):
    places, real = _places(scheme, len(jax.tree.leaves(batch)[0]))
    return jax.device_get(run(params, batch, places, real))

  return gradients


@functools.lru_cache(maxsize=64)
def _places(scheme: _schemes.Scheme, num_examples: int):
  """Which examples chunks hold: int[C, E] and bool[C, E]."""
  ends = scheme.chunk_bounds(num_examples)
  sizes = np.diff(ends)
  columns = np.arange(max(sizes.max(), 1))
  real = columns < sizes[:, None]
  places = np.where(real, ends[:-1, None] + columns, 0)
  return places.astype(np.int32), real
