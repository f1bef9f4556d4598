# SPDX-License-Identifier: Apache-2.0
r"""Nets whose hidden layer is random and bounded: what can they not do?

Hidden weights are drawn from [-lambda, lambda] and frozen, output weights are
fitted. If lambda is too small for the target, no number of units helps: errors
stop at a floor that infinite nets have too (`--floor`). A round draws all
hidden layers anew; rows are means over the rounds. Methods: `batch` fits at
once, `elm` without a ridge, `rvfl` with direct links, `irvfl` and `scn` grow,
`fourier` has cosines of normal weights, `kernel` infinitely many units, `mlp`
is trained as a whole. Report the norm of the output weights with every error.

Example: python -m experiments.random_networks --num_hidden=10,100,1000 \
  --targets='sine(1),sine(2),sine(4)' --scales=1,2,5,10,20,50,200
"""

import dataclasses
import functools

import numpy as np

from jaxdl import plots, problems
from jaxdl.experiment import config as config_lib, runner
from jaxdl.networks import functional
from jaxdl.networks.features import shallow

knob = runner.knob


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(runner.BaseConfig):
  """Knobs of random nets."""

  num_rounds: int = knob(3, 'Draws of all hidden layers.', low=1, smoke=3)
  eval_every: int = knob(1, 'Draws between measurements.', low=1)
  targets: tuple[str, ...] = knob(
    ('sine(complexity=2)',),
    'What is fitted; complexity is the number of waves per unit.',
    registry=problems.random_nets.TARGETS,
    smoke=1,
  )
  methods: tuple[str, ...] = knob(
    ('batch',),
    'How nets are fitted.',
    registry=shallow.METHODS,
    smoke=3,
  )
  scales: tuple[float, ...] = knob(
    (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 200.0),
    'Bounds lambda of the hidden weights.',
    low=0.0,
    open_low=True,
    smoke=3,
  )
  num_hidden: tuple[int, ...] = knob(
    (10, 30, 100, 300, 1000), 'Hidden units n.', low=1, smoke=2
  )
  activation: str = knob(
    'tanh', 'Of hidden units.', registry=functional.ACTIVATIONS
  )
  dist: str = knob(
    'uniform_box',
    'Distribution of hidden weights.',
    registry=shallow.DISTRIBUTIONS,
  )
  bias_range: float | None = knob(
    None,
    'Biases are uniform on [-bias_range, bias_range]; none takes lambda.',
    low=0.0,
    open_low=True,
  )
  ridge: float = knob(
    1e-6, 'Penalty mu of the squared output weights.', low=0.0
  )
  floor: bool = knob(True, 'Whether the limit of infinite nets is computed.')

  def validate(self) -> None:
    """Makes the targets, and checks that nothing stands twice."""
    super().validate()
    for name in ('targets', 'methods', 'scales', 'num_hidden'):
      config_lib.check_different(getattr(self, name), name=name)
    for target in self.targets:
      with config_lib.naming(targets=target):
        problems.random_nets.make_target(target, seed=self.seeds[0])


def build(config: Config) -> runner.Experiment:
  """Builds the experiment; reads data files but writes nothing.

  Args:
    config: knobs.

  Returns:
    The experiment.
  """
  nets = problems.random_nets.RandomNets(
    targets=config.targets,
    methods=config.methods,
    scales=config.scales,
    sizes=config.num_hidden,
    activation=config.activation,
    dist=config.dist,
    bias_range=config.bias_range,
    ridge=config.ridge,
    floor=config.floor,
    seeds=config.seeds,
  )
  return runner.Experiment(
    init=nets.init,
    step=nets.step,
    rows=nets.rows,
    num_rounds=config.num_rounds,
    plots=(functools.partial(draw, config),),
    table=runner.table_by('target', 'scale', 'num_hidden'),
    jit=False,
  )


def draw(config: Config, rows, directory):
  """Draws errors over widths and scales, and what they cost.

  Args:
    config: knobs.
    rows: rows of the run.
    directory: where the pictures go.

  Returns:
    The paths written.
  """
  last = max(r['step'] for r in rows)
  ended = [r for r in rows if r['split'] == 'test' and r['step'] == last]
  floors = [r for r in rows if r['split'] == 'floor']
  several, paths = len(config.targets) > 1, []
  first, widest = config.methods[0], max(config.num_hidden)
  for i, target in enumerate(config.targets):
    own = [r for r in ended if r['target'] == target]
    suffix = f'_{i + 1}' if several else ''
    look = {'title': f'{target}, {config.activation}', 'by': 'curve'}
    good = 'accuracy' if 'accuracy' in own[0] else 'rmse'
    look |= {'log_y': good == 'rmse', 'log_x': True, 'split': None}
    look['ylabel'] = f'Test {good if good == "accuracy" else "error (RMS)"}'
    wide = [
      r | {'curve': f'scale {r["scale"]:g}' if 'scale' in r else first}
      for r in own
      if r['variant'] == first and 'num_hidden' in r
    ]
    if wide:
      paths.append(
        plots.lines(
          wide,
          directory / f'widths{suffix}.png',
          good,
          x='num_hidden',
          xlabel=f'Hidden units n ({first})',
          **look,
        )
      )
    over = _over_scales(own, config)
    if good == 'rmse':
      over += [
        r | {'curve': 'infinite (on training points)', 'rmse': r['train_rmse']}
        for r in floors
        if r['target'] == target
      ]
    cost = 'Norm of the output weights'
    for metric, label in ((good, look['ylabel']), ('norm', cost)):
      paths.append(
        plots.lines(
          [r for r in over if metric in r],
          directory / f'{metric}{suffix}.png',
          metric,
          x='scale',
          xlabel='Bound lambda of the hidden weights',
          **look | {'ylabel': label, 'log_y': metric != 'accuracy'},
        )
      )
  if several:
    best = [
      r | {'curve': r['target']}
      for r in ended
      if (r['variant'], r.get('num_hidden', widest)) == (first, widest)
      and 'scale' in r
    ]
    if best:
      paths.append(
        plots.lines(
          best,
          directory / 'targets.png',
          'rmse',
          by='curve',
          x='scale',
          log_x=True,
          log_y=True,
          xlabel='Bound lambda of the hidden weights',
          ylabel=f'Test error (RMS), {first}, n = {widest}',
          title='Bounds that targets want',
        )
      )
  return paths


def _over_scales(rows, config: Config):
  """Rows of the widest nets; who has no scale is level."""
  out = []
  for r in rows:
    if r.get('num_hidden', max(config.num_hidden)) < max(config.num_hidden):
      continue
    scales = (r['scale'],) if 'scale' in r else config.scales
    out += [r | {'scale': s, 'curve': r['variant']} for s in scales]
  return [r for r in out if np.isfinite(r['rmse'])]


run, main = runner.binary(Config, build)

if __name__ == '__main__':
  main()
