# SPDX-License-Identifier: Apache-2.0
"""The look of the pictures, and the numbers behind them.

Figures are made without pyplot, so drawing changes no global setting and works
in any thread.
"""

import math
import os
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.core import extras

Row = dict[str, Any]

# Okabe and Ito's colors, told apart with any color vision; yellow is last
# since it is faint on white.
COLOURS = (
  '#0072B2',
  '#D55E00',
  '#009E73',
  '#CC79A7',
  '#E69F00',
  '#56B4E9',
  '#000000',
  '#999999',
  '#F0E442',
)
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*', 'h')
DASHES = ('-', (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
ALERT = '#B2182B'
MUTED = '#555555'

_STYLE = {
  'figure.dpi': 150,
  'savefig.dpi': 150,
  'font.size': 10,
  'axes.titlesize': 11,
  'axes.titleweight': 'bold',
  'axes.titlelocation': 'left',
  'axes.labelsize': 10,
  'axes.edgecolor': '#444444',
  'axes.linewidth': 0.8,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.axisbelow': True,
  'axes.grid': True,
  'grid.color': '#DDDDDD',
  'grid.linewidth': 0.7,
  'xtick.color': '#444444',
  'ytick.color': '#444444',
  'legend.frameon': False,
  'legend.fontsize': 9,
  'lines.linewidth': 1.8,
  'lines.markersize': 4.5,
  'svg.hashsalt': 'jaxdl',
}


# Characters of a label that is long, and of a line of text.
_LONG_LABEL = 34
_LINE = 72
# Inches beside the axes, and of a letter of a caption.
_BESIDE = 0.75
_LETTER = 0.092


def style() -> Any:
  """Returns the context in which figures are made and saved."""
  matplotlib = extras.require('matplotlib', 'a picture')
  return matplotlib.rc_context(_STYLE)


def figure(width: float = 6.4, height: float = 4.0) -> Any:
  """Returns an empty figure that lays itself out."""
  from matplotlib import figure as mpl_figure

  return mpl_figure.Figure(figsize=(width, height), layout='constrained')


def save(fig: Any, path: str | os.PathLike[str]) -> pathlib.Path:
  """Writes a figure in the format of the suffix (png if there is none)."""
  path = pathlib.Path(path)
  if not path.suffix:
    path = path.with_suffix('.png')
  path.parent.mkdir(parents=True, exist_ok=True)
  _spell_out(fig)
  # Without the version in it, a file changes only if the picture does.
  metadata = {'Software': None} if path.suffix == '.png' else None
  fig.savefig(path, metadata=metadata)
  return path


def _spell_out(fig: Any) -> None:
  """Switches ligatures off: names such as 'flag' stay as they are typed."""
  from matplotlib import text

  # Versions before 3.11 neither have nor draw them.
  if hasattr(text.Text, 'set_fontfeatures'):
    for label in fig.findobj(text.Text):
      label.set_fontfeatures(('-liga', '-clig'))


def nice(name: str) -> str:
  """Makes a label of a name: 'test_accuracy' -> 'Test accuracy'."""
  text = name.replace('_', ' ').strip()
  return text[:1].upper() + text[1:]


def select(rows: Sequence[Row], split: str | None, *names: str) -> list[Row]:
  """Returns the rows of a split that have a number under all names.

  Args:
    rows: all rows.
    split: the split; None takes all.
    *names: metrics or labels.

  Returns:
    The rows.

  Raises:
    ValueError: if there is none; the message lists what there is.
  """
  of_split = [r for r in rows if split is None or r['split'] == split]
  found = [
    r for r in of_split if all(r.get(name) is not None for name in names)
  ]
  if not found:
    splits = sorted({r['split'] for r in rows})
    have = sorted({name for r in of_split for name in r})
    raise ValueError(
      f'no row has split={split!r} and {", ".join(names)}: splits are '
      f'{splits}, this one has {have}.'
    )
  return found


def groups(rows: Sequence[Row], by: str) -> dict[str, list[Row]]:
  """Splits rows by a label, in the order in which its values occur."""
  found: dict[str, list[Row]] = {}
  for row in rows:
    found.setdefault(str(row.get(by, '')), []).append(row)
  return found


def series(
  rows: Sequence[Row], x: str, y: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Gathers one curve.

  Args:
    rows: rows of one group, several seeds.
    x: name of the abscissa.
    y: name of the metric.

  Returns:
    Sorted abscissae, then mean, standard deviation (N - 1; zero for one value)
    and number of values at each, all [points]; what is not finite is NaN.
  """
  at: dict[float, list[float]] = {}
  for row in rows:
    value = float(row[y])
    at.setdefault(float(row[x]), []).append(
      value if math.isfinite(value) else math.nan
    )
  xs = sorted(at)
  mean = [float(np.mean(at[v])) for v in xs]
  sd = [float(np.std(at[v], ddof=1)) if len(at[v]) > 1 else 0.0 for v in xs]
  return (
    np.array(xs),
    np.array(mean),
    np.array(sd),
    np.array([len(at[v]) for v in xs]),
  )


def look(index: int) -> dict[str, Any]:
  """Returns color, dash and marker number `index`, all different up to 36."""
  n = len(COLOURS)
  return {
    'color': COLOURS[index % n],
    'linestyle': DASHES[(index // n) % len(DASHES)],
    'marker': MARKERS[index % n],
  }


def looks(
  curves: Sequence[tuple[np.ndarray, np.ndarray]],
  *,
  log_y: bool = False,
  ylim: tuple[float | None, float | None] | None = None,
) -> list[dict[str, Any]]:
  """Returns a look per curve in which curves that coincide are all seen.

  Of curves that run over each other the first is broad and solid, each later
  one thinner and dashed, so that it shows what lies below.

  Args:
    curves: abscissae and ordinates, [points] each, in the order of drawing.
    log_y: whether the ordinate is logarithmic.
    ylim: ends of the ordinate; of the data where None.

  Returns:
    Options of `Axes.plot` per curve; colors and dashes differ up to 36.
  """
  found = [look(n) for n in range(len(curves))]
  used = set()
  for ranks in _clusters(curves, log_y, ylim):
    step = min(1.3, 3.6 / max(len(ranks) - 1, 1))
    for rank, n in enumerate(ranks):
      above = len(ranks) - 1 - rank
      found[n]['linewidth'] = 1.8 + step * above
      found[n]['markersize'] = 4.5 + 1.3 * step * above
      if rank:
        found[n]['linestyle'] = DASHES[1 + (rank - 1) % (len(DASHES) - 1)]
  for one in found:
    free = (d for d in DASHES if (one['color'], d) not in used)
    if (one['color'], one['linestyle']) in used:
      one['linestyle'] = next(free, one['linestyle'])
    used.add((one['color'], one['linestyle']))
  return found


def _clusters(curves, log_y, ylim):
  """Groups curves that touch along two fifths of their way, or more."""
  scaled = []
  for xs, ys in curves:
    with np.errstate(divide='ignore', invalid='ignore'):
      ys = np.log10(ys) if log_y else np.asarray(ys, float)
    scaled.append(
      (np.asarray(xs, float), np.where(np.isfinite(ys), ys, np.nan))
    )
  every = np.concatenate([ys for _, ys in scaled] or [np.zeros(1)])
  every = every[np.isfinite(every)]
  low, high = (every.min(), every.max()) if every.size else (0.0, 1.0)
  if ylim is not None and not log_y:
    low = low if ylim[0] is None else ylim[0]
    high = high if ylim[1] is None else ylim[1]
  # About the width of a line.
  near = 0.006 * max(high - low, 1e-12)
  home = list(range(len(scaled)))
  for j, (xs, ys) in enumerate(scaled):
    for i, (others, theirs) in enumerate(scaled[:j]):
      if not len(xs) or not len(others):
        continue
      low, high = max(xs[0], others[0]), min(xs[-1], others[-1])
      if low > high:
        continue
      # As they are drawn: along straight lines between the points.
      where = np.linspace(low, high, 65)
      gap = np.abs(np.interp(where, others, theirs) - np.interp(where, xs, ys))
      gap = gap[np.isfinite(gap)]
      if gap.size and np.mean(gap <= near) >= 0.4:
        home = [home[i] if h == home[j] else h for h in home]
  groups: dict[int, list[int]] = {}
  for n, h in enumerate(home):
    groups.setdefault(h, []).append(n)
  return list(groups.values())


def legend(
  fig: Any, axes: Any, title: str | None = None, *, most: int = 6
) -> None:
  """Adds a legend: none for one curve, beside the axes for more than `most`.

  Long labels go below the axes, on lines of their own.
  """
  handles, labels = axes.get_legend_handles_labels()
  if len(labels) < 2:
    return
  options = {'title': title, 'handlelength': 2.6}
  if max(map(len, labels)) > _LONG_LABEL:
    labels = [textwrap.fill(x, _LINE) for x in labels]
    lines = sum(x.count('\n') + 1 for x in labels)
    fig.set_figheight(fig.get_figheight() + 0.2 * lines)
    fig.legend(
      handles, labels, loc='outside lower center', fontsize='small', **options
    )
  elif len(labels) > most:
    # Not level with the title, which may be longer than the axes.
    fig.legend(handles, labels, loc='outside right center', **options)
  else:
    # Over a curve it stays readable, and the curve is seen.
    axes.legend(frameon=True, framealpha=0.75, edgecolor='none', **options)


def title(axes: Any, text: str | None) -> None:
  """Captions a picture, on several lines if it is longer than the axes."""
  if text:
    place = axes.get_subplotspec()
    share = 1.0
    if place is not None:
      share = len(place.colspan) / place.get_gridspec().ncols
    width = share * axes.figure.get_figwidth() - _BESIDE
    line = max(24, int(width / _LETTER))
    axes.set_title(textwrap.fill(text, line))


def references(axes: Any, values: Mapping[str, float] | None) -> None:
  """Draws named horizontal lines, e.g. a theoretical value."""
  from matplotlib import transforms

  place = transforms.blended_transform_factory(axes.transAxes, axes.transData)
  for name, value in (values or {}).items():
    axes.axhline(value, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.text(
      0.99,
      value,
      name,
      transform=place,
      ha='right',
      va='bottom',
      fontsize=8.5,
      color=MUTED,
      bbox={'facecolor': 'white', 'alpha': 0.75, 'linewidth': 0, 'pad': 0.4},
    )


def rounding(power: int = 1, dtype: Any = np.float32) -> float:
  """The size below which a number of the order of one is rounding.

  Args:
    power: 2 for squares.
    dtype: of what was computed.

  Returns:
    (64 eps)^power.

  Example:
    >>> f'{rounding():.2g}, {rounding(2):.2g}'
    '7.6e-06, 5.8e-11'
  """
  return float((64 * np.finfo(dtype).eps) ** power)


def raise_to_floor(
  curves: Sequence[np.ndarray], floor: float
) -> tuple[list[np.ndarray], float | None]:
  """Puts what a logarithmic axis need not resolve on one line.

  Args:
    curves: ordinates, [points] each.
    floor: values up to here are rounding; 0 for zeros alone.

  Returns:
    The ordinates, those up to `floor` replaced by the line, and the line: a
    power of ten well below all that is larger; None where nothing is replaced.
  """
  every = np.concatenate([np.ravel(c) for c in curves] or [np.zeros(0)])
  every = every[np.isfinite(every)]
  if not np.any(every <= floor):
    return list(curves), None
  larger = every[every > floor]
  least = larger.min() if larger.size else max(floor, 1e-12) * 10
  line = 10.0 ** (math.floor(math.log10(least)) - 1)
  # Not in between where the curves go down to rounding without a gap.
  return [np.where(c <= floor, line, c) for c in curves], line


def note_floor(axes: Any, line: float, floor: float) -> None:
  """Says what the line of `raise_to_floor` stands for."""
  from matplotlib import transforms

  place = transforms.blended_transform_factory(axes.transAxes, axes.transData)
  axes.axhline(
    line, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0
  )
  high = max(axes.get_ylim()[1], 10 * line)
  axes.set_ylim(line / (high / line) ** 0.12, high)
  log_ticks(axes.yaxis)
  # The line is no number of this axis: no ticks at it and below.
  ticks = [v for v in axes.get_yticks() if line < v <= high]
  axes.set_yticks([line, *ticks], ['0', *map(plain, ticks)])
  axes.set_yticks([], minor=True)
  text = f'rounding: at most {floor:.0e}' if floor else 'exactly zero'
  # Below the curves that lie on the line.
  axes.annotate(
    text,
    (0.01, line),
    xycoords=place,
    xytext=(0, -5),
    textcoords='offset points',
    ha='left',
    va='top',
    fontsize=8,
    color=MUTED,
  )


def short(value: float) -> str:
  """Formats a number with three digits, trailing zeros included."""
  return f'{value:#.3g}'.rstrip('.')


def log_ticks(axis: Any) -> None:
  """Labels a logarithmic axis in plain numbers, 1-2-5 if it is short."""
  from matplotlib import ticker

  low, high = axis.get_view_interval()
  if math.log10(high / low) > 2.5:
    return
  if math.log10(high / low) < 0.7:
    axis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5, 10]))
  else:
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
  axis.set_major_formatter(ticker.FuncFormatter(_whole))
  axis.set_minor_formatter(ticker.NullFormatter())


def round_ticks(axis: Any, values: Any) -> None:
  """Labels an axis of whole numbers at whole numbers only."""
  from matplotlib import ticker

  values = np.asarray(values, float)
  if values.size and np.all(np.mod(values, 1) == 0):
    axis.set_major_locator(
      ticker.MaxNLocator(7, integer=True, steps=[1, 2, 5, 10])
    )
    if np.max(np.abs(values)) < 1e6:
      axis.set_major_formatter(ticker.FuncFormatter(_whole))


def plain(value: float) -> str:
  """Formats a tick: thousands set apart from 10,000 on, powers beyond."""
  if value == 0 or 1e-3 <= abs(value) < 1e4:
    return f'{value:g}'
  if 1e4 <= abs(value) < 1e6:
    return f'{value:,.0f}'
  digits, power = f'{value:.2e}'.split('e')
  digits = digits.rstrip('0').rstrip('.')
  factor = '' if digits == '1' else f'{digits} \\times '
  return f'$\\mathdefault{{{factor}10^{{{int(power)}}}}}$'


def _whole(value, _):
  return plain(value)


def apart(values: Sequence[float]) -> bool:
  """Whether labels at all values have room on a logarithmic axis."""
  logs = np.log10(np.asarray(values, float))
  if len(logs) < 2:
    return True
  return bool(np.min(np.diff(logs)) >= 0.07 * (logs[-1] - logs[0]))


def _round_places(labels, most):
  """Where labels are multiples of 1, 2 or 5 times a power of ten."""
  try:
    values = np.array([float(label) for label in labels])
  except ValueError:
    return None
  if len(values) <= most or not np.all(np.diff(values) > 0):
    return None
  for exponent in range(-3, 12):
    for digit in (1, 2, 5):
      step = digit * 10.0**exponent
      whole = np.isclose(values / step, np.round(values / step), atol=1e-9)
      places = np.flatnonzero(whole)
      # Even distances, and reaching over most of the axis.
      if 3 <= len(places) <= most and len(set(np.diff(places))) == 1:
        return places.tolist()
  return None


def spaced(labels: Sequence[str], most: int) -> tuple[list[int], list[str]]:
  """Thins tick labels to `most`: round numbers, else even, round distances."""
  picked = _round_places(labels, most)
  if picked is not None:
    return picked, [str(labels[n]) for n in picked]
  step = 1
  while -(-len(labels) // step) > most:
    digits = str(step)[0]
    step = step * 2 if digits in '15' else step // 2 * 5
  picked = list(range(0, len(labels), step))
  return picked, [str(labels[n]) for n in picked]
