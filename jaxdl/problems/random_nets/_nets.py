# SPDX-License-Identifier: Apache-2.0
"""Random nets of many scales and sizes, drawn again and again."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import experiment
from jaxdl.core import checks
from jaxdl.networks.features import ridgelets, shallow
from jaxdl.problems.random_nets import _targets as targets_lib

_METRICS = ('rmse', 'train_rmse', 'norm', 'used')


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomNets:
  """Methods on targets, over scales of the hidden weights and widths.

  A round draws every hidden layer anew and fits all nets; rows hold means over
  the rounds so far. Everything is float64, whatever JAX's default is.

  Attributes:
    targets: parts of `TARGETS`.
    methods: parts of `shallow.METHODS`.
    scales: lambda > 0.
    sizes: numbers n of hidden units.
    activation: s.
    dist: a part of `shallow.DISTRIBUTIONS`.
    bias_range: see `shallow.sample_hidden`.
    ridge: mu >= 0.
    floor: whether the limit of infinite nets is computed as well.
    seeds: S seeds, of data and draws.
  """

  targets: Sequence[str]
  methods: Sequence[str] = ('batch',)
  scales: Sequence[float] = (1.0,)
  sizes: Sequence[int] = (100,)
  activation: str = 'tanh'
  dist: str = 'uniform_box'
  bias_range: Any = None
  ridge: float = 1e-6
  floor: bool = True
  seeds: Sequence[int] = (0,)

  def __post_init__(self):
    """Traces every method once, so that what does not fit is said at once."""
    checks.seeds(self.seeds)
    for name in ('targets', 'methods', 'scales', 'sizes'):
      values = getattr(self, name)
      if isinstance(values, str) or not hasattr(values, '__len__'):
        raise TypeError(
          f'{name} must be a sequence; got {checks.described(values)}.'
        )
      if not len(values):
        raise ValueError(f'{name} is empty: name at least one.')
    if not isinstance(self.floor, (bool, np.bool_)):
      raise TypeError(f'floor must be True or False; got {self.floor!r}.')
    shallow.DISTRIBUTIONS.check(self.dist)
    for scale in self.scales:
      shallow.bias_ends(scale, self.bias_range)
    for size in self.sizes:
      checks.integer(size, name='num_hidden', low=1)
    data = {
      t: [targets_lib.make_target(t, seed=s) for s in self.seeds]
      for t in self.targets
    }
    object.__setattr__(self, '_data', data)
    for target in self.targets:
      arrays = [
        jax.ShapeDtypeStruct(v.shape, v.dtype) for v in data[target][0][:3]
      ]
      for method in self.methods:
        options = self.setting(min(self.sizes)) | {'scale': self.scales[0]}
        make = functools.partial(shallow.METHODS.make, method, **options)
        with jax.enable_x64(True):
          jax.eval_shape(make, jax.eval_shape(jax.random.key, 0), *arrays)

  def setting(self, size: int) -> dict[str, Any]:
    """What a method is given besides data and scale."""
    return {
      'num_hidden': size,
      'activation': self.activation,
      'dist': self.dist,
      'bias_range': self.bias_range,
      'ridge': self.ridge,
    }

  def data(self, target: str) -> list[targets_lib.Target]:
    """The target of every seed."""
    return self._data[target]  # pyrefly: ignore

  def cells(self, target: str) -> list[tuple[str, str, int, tuple[float, ...]]]:
    """What is fitted to a target: method, name of the cell, n and scales."""
    out = []
    for method in self.methods:
      facts = shallow.METHODS[shallow.METHODS.part(method).name].facts
      for size in self.sizes if facts.sized else self.sizes[:1]:
        scales = tuple(self.scales) if facts.scaled else self.scales[:1]
        out.append((method, f'{target} {method} {size}', size, tuple(scales)))
    return out

  def init(self) -> dict[str, Any]:
    """Sums over no rounds."""
    return {
      name: np.zeros((len(self.seeds), len(scales), len(_METRICS) + 2))
      for target in self.targets
      for _, name, _, scales in self.cells(target)
    }

  def step(
    self, state: Mapping[str, Any], round: int
  ) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draws and fits everything once."""
    out = {}
    for place, target in enumerate(self.targets):
      for method, name, size, scales in self.cells(target):
        found = []
        for seed, data in zip(self.seeds, self.data(target), strict=True):
          with jax.enable_x64(True):
            key = jax.random.fold_in(jax.random.key(seed), round)
            found.append(
              _measure(
                jax.random.fold_in(key, place),
                tuple(map(jnp.asarray, data[:4])),
                jnp.asarray(scales, jnp.float64),
                method=method,
                setting=tuple(self.setting(size).items()),
                classes=bool(data.num_classes),
              )
            )
        found = np.stack([np.asarray(v) for v in found])
        # The square of the first one, for its spread.
        square = np.square(found[..., :1])
        out[name] = state[name] + np.concatenate([found, square], axis=-1)
    return out, {}

  def rows(
    self, state: Mapping[str, Any], metrics: Any, round: int
  ) -> list[dict[str, Any]]:
    """Means over the rounds so far; floors before the first one."""
    del metrics
    if not round:
      return self._floors() if self.floor else []
    out = []
    for target in self.targets:
      names = [*_METRICS]
      if self.data(target)[0].num_classes:
        names.append('accuracy')
      for method, name, size, scales in self.cells(target):
        facts = shallow.METHODS[shallow.METHODS.part(method).name].facts
        for j, scale in enumerate(scales):
          columns = {'target': target}
          columns |= {'scale': scale} if facts.scaled else {}
          columns |= {'num_hidden': size} if facts.sized else {}
          means = state[name][:, j] / round
          values = {metric: means[:, i] for i, metric in enumerate(names)}
          if round > 1:
            spread = means[:, -1] - np.square(means[:, 0])
            spread = np.maximum(spread, 0) * round / (round - 1)
            values['rmse_sd'] = np.sqrt(spread)
          out += experiment.metric_rows(
            values,
            step=round,
            split='test',
            variant=method,
            seeds=self.seeds,
            columns=columns,
          )
    return out

  def _floors(self):
    out = []
    for target in self.targets:
      data = self.data(target)
      for scale in self.scales:
        found: list[Any] = []
        for i, own in enumerate(data):
          same = i and all(
            np.array_equal(a, b)
            for a, b in zip(own[:2], data[0][:2], strict=True)
          )
          found.append(found[0] if same else self.limit(own, scale, i))
        values = {
          'train_rmse': [floor.rmse for floor in found],
          'norm': [floor.norm for floor in found],
        }
        out += experiment.metric_rows(
          values,
          step=0,
          split='floor',
          variant='floor',
          seeds=self.seeds,
          columns={'target': target, 'scale': scale},
        )
    return out

  def limit(
    self, data: targets_lib.Target, scale: float, place: int = 0
  ) -> ridgelets.Floor:
    """The limit of `batch` on a target as the width grows."""
    with jax.enable_x64(True):
      kernel = ridgelets.limit_of(
        jax.random.key(self.seeds[place]),
        data.x.shape[1],
        scale=scale,
        activation=self.activation,
        dist=self.dist,
        bias_range=self.bias_range,
        # Steep units need close nodes.
        num_nodes=int(np.clip(1.5 * scale, 64, 256))
        if data.x.shape[1] == 1
        else 0,
      )
    return ridgelets.budgeted_floor(kernel, data.x, data.y, ridge=self.ridge)


@functools.partial(jax.jit, static_argnames=('method', 'setting', 'classes'))
def _measure(key, data, scales, *, method, setting, classes):
  """Metrics f[L, 5] of a method at all scales, one after the other."""
  x, y, test_x, test_y = data

  def one(scale):
    own = dict(setting) | {'scale': scale}
    found = shallow.METHODS.make(method, key, x, y, test_x, **own)
    rms = lambda gap: jnp.sqrt(jnp.mean(jnp.square(gap)))
    right = jnp.zeros(())
    if classes:
      same = found.test.argmax(axis=1) == test_y.argmax(axis=1)
      right = jnp.mean(same.astype(y.dtype))
    errors = rms(found.test - test_y), rms(found.train - y)
    values = (*errors, found.norm, found.used, right)
    return jnp.stack([v.astype(y.dtype) for v in values])

  return jax.lax.map(one, scales)
