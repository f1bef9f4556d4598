# SPDX-License-Identifier: Apache-2.0
"""Routes by the iterated local search of PyVRP."""

import math
from typing import Any

import numpy as np

from jaxdl.combinatorial import _problem
from jaxdl.combinatorial.oracles import _integers, _measure
from jaxdl.core import checks, extras

_NAME = 'oracle=pyvrp'


def pyvrp(
  problem: str,
  instance: _problem.Instance,
  *,
  num_iterations: int = 4000,
  seed: int = 0,
  scale: float | None = None,
) -> tuple[Any, bool]:
  """Solves routes by the iterated local search of PyVRP.

  Ways back are free where routes are open; nodes that may be left out have
  prizes. Where a least prize must be collected, prizes are raised by a multiple
  of what counts, found by bisection, until it is.

  Args:
    problem: 'tsp', 'cvrp', 'ovrp', 'op', 'pctsp' or 'spctsp'.
    instance: of it.
    num_iterations: of the search.
    seed: of the search; equal seeds give equal answers.
    scale: what lengths are multiplied by before they are rounded to integers;
      None for five digits of the longest.

  Returns:
    The solution, and False: nothing is proved.

  Raises:
    ImportError: if PyVRP is not installed.
    ValueError: if nothing feasible was found, or a scaled length exceeds 1e7.

  Source: Wouda, Lan and Kool 2024.
  """
  checks.integer(num_iterations, name='num_iterations', low=1)
  checks.integer(seed, name='seed', low=0, high=2**31 - 1)
  matrix = _measure.distances(instance, problem)
  count = len(matrix)
  if count < 3:
    lists = [list(range(1, count))]
    # A single customer may be too dear, or too far.
    if problem in ('tsp', 'cvrp', 'ovrp') or count == 1:
      return _measure.solution_of_routes(problem, lists, count), True
  # Penalties of excess need room above the lengths.
  lengths, scale = _integers.lengths(matrix, scale, digits=1e5)
  run = _Search(problem, instance, lengths, scale, num_iterations, seed)
  if problem not in ('pctsp', 'spctsp'):
    return _measure.solution_of_routes(problem, run(), count), False
  return _enough(problem, instance, run, count), False


def _enough(problem, instance, run, count):
  """The best of the tours whose prize suffices, over multiples of prizes."""
  prizes, target = _measure.prizes(instance, problem)
  target = min(target, float(prizes.sum()))
  best, cost = list(range(1, count)), math.inf
  low, high = 0.0, None
  price = 0.0
  for _ in range(12):
    nodes = [node for route in run(price * prizes) for node in route]
    solution = _measure.solution_of_routes(problem, [nodes], count)
    if prizes[0] + prizes[nodes].sum() >= target - 1e-9:
      found = _measure.measured(problem, instance, solution)
      if found < cost:
        best, cost = nodes, found
      if price == 0.0:
        break
      high = price
    else:
      low = price
    if high is None:
      price = 4 * price or 1.0 / max(float(prizes.mean()), 1e-30) / count
    else:
      price = (low + high) / 2
  if not math.isfinite(cost):
    best = run(np.full(count, 1e3 * math.sqrt(count)))[0]
  return _measure.solution_of_routes(problem, [best], count)


class _Search:
  """One instance, solved with more or less prizes."""

  def __init__(self, problem, instance, lengths, scale, iterations, seed):
    self.vrp = extras.require('pyvrp', _NAME)
    self.problem, self.scale = problem, scale
    self.iterations, self.seed = iterations, seed
    self.lengths = lengths.copy()
    count = len(lengths)
    # Zero: everyone must be served.
    self.prizes = np.zeros(count)
    self.vehicle = {}
    if problem in ('cvrp', 'ovrp'):
      demands = _measure.array(instance, 'demands', problem)
      self.demands = _integers.loads(demands).tolist()
      self.vehicle = {
        'num_available': count - 1,
        'capacity': [_integers.LOAD + _integers.SLACK],
      }
      if problem == 'ovrp':
        self.lengths[:, 0] = 0
    elif problem == 'op':
      limit = float(_measure.array(instance, 'length', problem))
      self.vehicle = {'max_distance': math.floor(limit * scale)}
      # More prize beats any length.
      found = _measure.array(instance, 'prizes', problem)
      self.prizes = found * 1000 * limit / max(found.max(), 1e-30)
    elif problem in ('pctsp', 'spctsp'):
      self.prizes = _measure.array(instance, 'penalties', problem)

  def __call__(self, extra=0.0):
    """Customers of the routes."""
    vrp, count = self.vrp, len(self.lengths)
    optional = self.problem in ('op', 'pctsp', 'spctsp')
    prizes = np.round((self.prizes + extra) * self.scale).astype(int).tolist()
    clients = [
      vrp.Client(
        i,
        delivery=[self.demands[i]] if 'capacity' in self.vehicle else [],
        prize=prizes[i],
        required=not optional,
      )
      for i in range(1, count)
    ]
    data = vrp.ProblemData(
      [vrp.Location(0, 0)] * count,
      clients,
      [vrp.Depot(0)],
      [vrp.VehicleType(**self.vehicle)],
      [self.lengths],
      [np.zeros_like(self.lengths)],
    )
    most = vrp.PenaltyParams(max_penalty=1e8)
    found = vrp.solve(
      data,
      vrp.stop.MaxIterations(self.iterations),
      seed=self.seed,
      collect_stats=False,
      params=vrp.SolveParams(penalty=most),
    )
    if not found.is_feasible():
      raise ValueError(
        f'{_NAME} found no feasible solution of {self.problem} in '
        f'{self.iterations} iterations: raise num_iterations.'
      )
    return [
      [1 + a.idx for a in route if a.is_client()]
      for route in found.best.routes()
    ]
