# SPDX-License-Identifier: Apache-2.0
"""Schemes: who computes what in which round, and how long a job may take."""

import dataclasses
from fractions import Fraction

import numpy as np

from jaxdl.coding import _codes, _loads
from jaxdl.core import checks, registry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheme:
  """A scheme for n workers; job t starts in round t.

  What workers may return for a job is numbered: first `num_partial` plain
  gradients of a chunk each, then `num_groups` groups of n results of a gradient
  code. All of the former and enough of each group of the latter are needed.

  Attributes:
    name: of `SCHEMES`.
    text: its spec.
    num_workers: n.
    num_stragglers: s of gradient coding, λ otherwise.
    burst_length: B, rounds.
    window: W, rounds; 1 where rounds are independent.
    tolerance: stragglers that each coded group stands.
    delay: T; a job is decoded at the end of round t + T at the latest.
    load: share of the data that a worker handles in a round.
    num_partial: chunks that are not coded.
    partial_size: share of the data in each of these.
    num_groups: groups of n coded chunks.
    coded_size: share of the data in each coded chunk.
    code: 'cyclic' or 'repetition'.
    model: which patterns it is designed for.
  """

  name: str
  text: str
  num_workers: int
  num_stragglers: int = 0
  burst_length: int = 1
  window: int = 1
  tolerance: int = 0
  delay: int = 0
  load: Fraction
  num_partial: int = 0
  partial_size: Fraction = Fraction(0)
  num_groups: int = 0
  coded_size: Fraction = Fraction(0)
  code: str = 'cyclic'
  model: str = 'per_round'

  @property
  def num_chunks(self) -> int:
    """Chunks of the data, as many as there are results."""
    return self.num_partial + self.num_groups * self.num_workers

  def code_of(self, seed: int = 0) -> _codes.GradientCode | None:
    """Makes the gradient code of the coded groups, or None without them."""
    if not self.num_groups:
      return None
    return _codes.gradient_code(
      self.num_workers, self.tolerance, kind=self.code, seed=seed
    )

  def chunk_bounds(self, num_examples: int) -> np.ndarray:
    """Says where chunks begin and end among examples.

    Args:
      num_examples: N >= 0.

    Returns:
      int64[num_chunks + 1], from 0 to N; shares are rounded to whole examples.

    Example:
      >>> make_scheme('m_sgc(1, 2, 1)', 3).chunk_bounds(9).tolist()
      [0, 2, 4, 6, 7, 8, 9]
    """
    sizes = [self.partial_size] * self.num_partial
    sizes += [self.coded_size] * (self.num_groups * self.num_workers)
    ends, total = [0], Fraction(0)
    for size in sizes:
      total += size * num_examples
      ends.append(round(total))
    return np.array(ends)


def uncoded(num_workers: int) -> Scheme:
  """A part of the data each; every round waits for all."""
  n = checks.integer(num_workers, name='num_workers', low=1)
  return _plain('uncoded', n)


def no_wait(num_workers: int) -> Scheme:
  """A part of the data each; who is late is left out, whatever that biases."""
  n = checks.integer(num_workers, name='num_workers', low=1)
  return _plain('no_wait', n, num_stragglers=n)


def _plain(name, n, **more):
  share = Fraction(1, n)
  return Scheme(
    name=name,
    text=name,
    num_workers=n,
    load=share,
    num_partial=n,
    partial_size=share,
    **more,
  )


def gc(num_workers: int, num_stragglers: int | None = None) -> Scheme:
  """Cyclic gradient code: any s late workers of a round are not waited for."""
  return _gc('gc', num_workers, num_stragglers, 'cyclic', 'per_round')


def gc_rep(num_workers: int, num_stragglers: int | None = None) -> Scheme:
  """Groups of s + 1 workers do the same; one of each is waited for."""
  return _gc('gc_rep', num_workers, num_stragglers, 'repetition', 'groups')


def _gc(name, num_workers, num_stragglers, code, model):
  _check_closed(name, num_stragglers=num_stragglers)
  load = _loads.load_gc(num_workers, num_stragglers)
  _codes.check_code(num_workers, num_stragglers, code)
  return Scheme(
    name=name,
    text=registry.write(name, num_stragglers),
    num_workers=num_workers,
    num_stragglers=num_stragglers,
    tolerance=num_stragglers,
    load=load,
    num_groups=1,
    coded_size=Fraction(1, num_workers),
    code=code,
    model=model,
  )


def sr_sgc(
  num_workers: int,
  burst_length: int | None = None,
  window: int | None = None,
  num_stragglers: int | None = None,
  *,
  code: str = 'cyclic',
) -> Scheme:
  """Gradient code whose missing results are repeated B rounds later."""
  _check_closed(
    'sr_sgc',
    burst_length=burst_length,
    window=window,
    num_stragglers=num_stragglers,
  )
  n, b, w, lam = _loads.check_sr_sgc(
    num_workers, burst_length, window, num_stragglers
  )
  s = _loads.sr_sgc_tolerance(b, w, lam)
  _codes.check_code(n, s, code)
  more = {} if code == 'cyclic' else {'code': code}
  return Scheme(
    name='sr_sgc',
    text=registry.write('sr_sgc', b, w, lam, **more),
    num_workers=n,
    num_stragglers=lam,
    burst_length=b,
    window=w,
    tolerance=s,
    delay=b,
    load=_loads.load_gc(n, s),
    num_groups=1,
    coded_size=Fraction(1, n),
    code=code,
    model='sr_sgc',
  )


def m_sgc(
  num_workers: int,
  burst_length: int | None = None,
  window: int | None = None,
  num_stragglers: int | None = None,
  *,
  code: str = 'cyclic',
  model: str = 'bursty',
) -> Scheme:
  """Most data repeated, some coded, both spread over W - 1 + B rounds."""
  _check_closed(
    'm_sgc',
    burst_length=burst_length,
    window=window,
    num_stragglers=num_stragglers,
  )
  n, b, w, lam = _loads.check_m_sgc(
    num_workers, burst_length, window, num_stragglers
  )
  checks.choice(model, _loads.MODELS, name='model')
  more = {} if model == 'bursty' else {'model': model}
  if lam == n:
    size, coded, groups = Fraction(1, n * (w - 1)), Fraction(0), 0
    checks.choice(code, _codes.KINDS, name='code')
  else:
    coded = Fraction(1, n * (b + (w - 1) * (lam + 1)))
    size, groups = (lam + 1) * coded, b
    _codes.check_code(n, lam, code)
    more |= {} if code == 'cyclic' else {'code': code}
  return Scheme(
    name='m_sgc',
    text=registry.write('m_sgc', b, w, lam, **more),
    num_workers=n,
    num_stragglers=lam,
    burst_length=b,
    window=w,
    tolerance=min(lam, n - 1),
    delay=w - 2 + b,
    load=_loads.load_m_sgc(n, b, w, lam),
    num_partial=(w - 1) * n,
    partial_size=size,
    num_groups=groups,
    coded_size=coded,
    code=code,
    model=model,
  )


def m_sgc_assignment(
  num_workers: int, burst_length: int, window: int
) -> tuple[np.ndarray, np.ndarray]:
  """Says which chunks the workers of M-SGC own.

  Args:
    num_workers: n.
    burst_length: B.
    window: W > B.

  Returns:
    int64[n, W - 1], the plain chunks of each worker in the order of its slots;
    and int64[B, n], the coded chunks of each group, the first of worker i in
    column i. Chunks are numbered as in `Scheme`.

  Raises:
    ValueError: if a number is out of range.

  Example:
    >>> plain, coded = m_sgc_assignment(2, 1, 3)
    >>> plain.tolist(), coded.tolist()
    ([[0, 1], [2, 3]], [[4, 5]])
  """
  n, b, w, _ = _loads.check_m_sgc(num_workers, burst_length, window, 0)
  plain = np.arange((w - 1) * n).reshape(n, w - 1)
  return plain, plain.size + np.arange(b * n).reshape(b, n)


SCHEMES = registry.Registry(
  'scheme',
  {
    'uncoded': uncoded,
    'gc': gc,
    'gc_rep': gc_rep,
    'sr_sgc': sr_sgc,
    'm_sgc': m_sgc,
    'no_wait': no_wait,
  },
  given=('num_workers',),
)


def make_scheme(spec: str, num_workers: int) -> Scheme:
  """Makes the scheme that a spec says.

  Args:
    spec: a part of `SCHEMES` with all of its numbers, such as 'gc(4)' or
      'm_sgc(2, 3, 11)'.
    num_workers: n.

  Returns:
    The scheme.

  Raises:
    ValueError: if the spec or its numbers are wrong.

  Example:
    >>> scheme = make_scheme('m_sgc(1, 2, 27)', 256)
    >>> scheme.load, scheme.delay
    (Fraction(7, 928), 1)

  Source: Krishnan et al. 2023 (https://arxiv.org/abs/2211.13802).
  """
  return SCHEMES.make(spec, num_workers=num_workers)


def small_scheme(spec: str) -> str:
  """Lowers the stragglers of a scheme, for runs with eight workers.

  Args:
    spec: a part of `SCHEMES`.

  Returns:
    The part with three at most.

  Example:
    >>> small_scheme('gc(15)'), small_scheme('m_sgc(1, 2)')
    ('gc(num_stragglers=3)', 'm_sgc(1, 2)')
  """
  most = SCHEMES.value(spec, 'num_stragglers')
  if most is None or most <= 3:
    return spec
  return SCHEMES.changed(spec, num_stragglers=3)


def _check_closed(name, **numbers):
  missing = [k for k, v in numbers.items() if v is None]
  if missing:
    raise ValueError(
      f'{missing[0]} of {name} is left open: say '
      f'{name}({", ".join(f"{k}=..." for k in numbers)}), or search for it.'
    )
