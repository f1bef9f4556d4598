# SPDX-License-Identifier: Apache-2.0
"""Checks of static facts, made on the host while tracing.

Every message names the argument, the rule and the value that broke it. Nothing
here looks at the values of traced arrays.
"""

import difflib
import dis
import functools
import inspect
import math
import numbers
import zipfile
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.core import keys, types

_MOST_LAYERS = 1000


class Refusal(Exception):  # noqa: N818
  """What says what to change, in the middle of a run too: no defect."""


def num_clients(stacked: chex.ArrayTree, *, name: str = 'updates') -> int:
  """Returns the common leading axis of a stacked tree.

  Args:
    stacked: tree whose leaves are arrays [N, ...].
    name: what the caller calls the tree, for the message.

  Returns:
    N, a Python int >= 1.

  Raises:
    ValueError: if the tree is empty, a leaf is a scalar, N is zero or two
      leaves disagree; the message names the leaf.

  Example:
    >>> num_clients({'w': jnp.zeros((3, 2)), 'b': jnp.zeros((3,))})
    3
  """
  leaves = jax.tree_util.tree_leaves_with_path(stacked)
  if not leaves:
    raise ValueError(
      f'{name} has no leaves: need a tree of arrays with a leading client axis.'
    )
  first, first_shape = None, ()
  for path, leaf in leaves:
    label = f'{name}{jax.tree_util.keystr(path)}'
    shape = jnp.shape(leaf)
    if not shape:
      raise ValueError(f'{label} is a scalar: need a leading client axis.')
    if shape[0] == 0:
      raise ValueError(f'{label} has no clients: shape {shape}, need N >= 1.')
    if first is None:
      first = (label, shape[0])
      first_shape = shape
    elif shape[0] != first[1]:
      raise ValueError(
        f'{label} has {shape[0]} clients but {first[0]} has {first[1]} (shapes '
        f'{shape} and {first_shape}): all leaves need the same leading axis, '
        'one row per client. What one client holds has no such axis: add it '
        'with jax.tree.map(lambda x: x[None], tree), also inside pmap, whose '
        'devices hold one client each.'
      )
  assert first is not None
  return first[1]


def integer(
  value: Any, *, name: str, low: int | None = None, high: int | None = None
) -> int:
  """Returns `value` as a Python int, after checking `low <= value <= high`.

  Args:
    value: a static integer (bool is refused).
    name: the argument's name, for the message.
    low: smallest allowed value, if any.
    high: largest allowed value, if any.

  Returns:
    The value as an int.

  Raises:
    TypeError: if it is not an integer.
    ValueError: if it is out of range.
  """
  if isinstance(value, bool) or not isinstance(value, numbers.Integral):
    raise TypeError(f'{name} must be an integer; got {value!r}.')
  value = int(value)
  if low is not None and value < low:
    raise ValueError(f'{name} must be at least {low}; got {value}.')
  if high is not None and value > high:
    raise ValueError(f'{name} must be at most {high}; got {value}.')
  return value


def flag(value: Any, *, name: str) -> bool:
  """Returns `value` as a Python bool, after checking that it is one.

  Args:
    value: a static truth value; numbers and text are refused.
    name: the argument's name, for the message.

  Returns:
    True or False.

  Raises:
    TypeError: if it is anything else.

  Example:
    >>> flag(True, name='bias')
    True
  """
  if not isinstance(value, (bool, np.bool_)):
    raise TypeError(f'{name} must be True or False; got {described(value)}.')
  return bool(value)


def raised_on_purpose(error: BaseException) -> bool:
  """Whether an error was raised on purpose, by a `raise` of this library.

  Args:
    error: that was caught.

  Returns:
    Whether; if not, Python or another library stumbled over a value, and the
    message names no argument.
  """
  trace = error.__traceback__
  if trace is None:
    return False
  while trace.tb_next is not None:
    trace = trace.tb_next
  name = trace.tb_frame.f_globals.get('__name__', '')
  did = trace.tb_frame.f_code.co_code[trace.tb_lasti]
  return name.startswith('jaxdl.') and dis.opname[did] == 'RAISE_VARARGS'


def num_layers(value: Any, *, name: str = 'num_layers', low: int = 1) -> int:
  """As `integer`, for what is written out one after another in a program.

  Args:
    value: layers, cycles or rounds.
    name: the argument's name, for the message.
    low: smallest allowed value.

  Returns:
    The value as an int, at most 1000.

  Raises:
    TypeError: if it is not an integer.
    ValueError: if it is out of range.
  """
  return integer(value, name=name, low=low, high=_MOST_LAYERS)


def seeds(values: Any, *, name: str = 'seeds') -> tuple[int, ...]:
  """Checks the seeds of runs side by side.

  Args:
    values: whole numbers from 0, all different.
    name: the argument's name, for the message.

  Returns:
    A tuple of them.

  Raises:
    TypeError: if it is no sequence of integers.
    ValueError: if there is none, one is negative or stands twice.

  Example:
    >>> seeds([0, 3])
    (0, 3)
  """
  if isinstance(values, str) or not hasattr(values, '__len__'):
    raise TypeError(
      f'{name} must be a sequence of integers, as (0,); got {values!r}.'
    )
  found = tuple(integer(v, name=name, low=0) for v in values)
  if not found:
    raise ValueError(f'{name} is empty: give at least one, as (0,).')
  if len(set(found)) < len(found):
    raise ValueError(f'{name}={found} has one twice: all must differ.')
  return found


def number(
  value: Any,
  *,
  name: str,
  low: float | None = None,
  high: float | None = None,
  open_low: bool = False,
  open_high: bool = False,
  finite: bool = True,
) -> None:
  """Checks a number's range if it is known while tracing; tracers pass.

  Args:
    value: Python or NumPy number, or a traced scalar (not checked).
    name: the argument's name, for the message.
    low: lower end, if any.
    high: upper end, if any.
    open_low: whether the lower end itself is refused.
    open_high: whether the upper end itself is refused.
    finite: whether infinity is refused.

  Raises:
    TypeError: if it is neither a real number nor a scalar array.
    ValueError: if it is out of range or NaN.
  """
  if isinstance(value, jax.core.Tracer):
    return
  if isinstance(value, (bool, str)) or value is None:
    raise TypeError(f'{name} must be a number; got {value!r}.')
  try:
    value = float(value)
  except TypeError:
    raise TypeError(f'{name} must be a number; got {value!r}.') from None
  left = '(' if open_low or (finite and low is None) else '['
  right = ')' if open_high or (finite and high is None) else ']'
  span = (
    f'{left}{"-inf" if low is None else low}, '
    f'{"inf" if high is None else high}{right}'
  )
  bad = value != value or (finite and math.isinf(value))
  if low is not None:
    bad |= value < low or (open_low and value == low)
  if high is not None:
    bad |= value > high or (open_high and value == high)
  if bad:
    raise ValueError(f'{name} must lie in {span}; got {value}.')


def known(
  values: Any,
  *,
  name: str,
  low: float | None = None,
  open_low: bool = False,
) -> None:
  """Checks that all of some numbers are finite and in range, as `number`.

  Args:
    values: a number or an array; tracers, and arrays of which another process
      has a part, pass.
    name: the argument's name, for the message.
    low: lower end, if any.
    open_low: whether it is refused itself.

  Raises:
    TypeError: if they are no real numbers.
    ValueError: if one is out of range; the message has the first such.

  Example:
    >>> known([1.0, -2.0], name='rates', low=0.0)
    Traceback (most recent call last):
    ...
    ValueError: rates must lie in [0.0, inf); got -2.0.
  """
  if isinstance(values, jax.core.Tracer):
    return
  if not getattr(values, 'is_fully_addressable', True):
    return
  if not np.ndim(values):
    number(values, name=name, low=low, open_low=open_low)
    return
  flat = host_array(values, name=name).astype(np.float64).ravel()
  bad = ~np.isfinite(flat)
  if low is not None:
    bad |= (flat < low) | (open_low & (flat == low))
  if bad.any():
    worst = float(flat[np.argmax(bad)])
    number(worst, name=name, low=low, open_low=open_low)


def axis_size(axis_name: str) -> int:
  """The number of shards of a mapped axis.

  Args:
    axis_name: of the axis over which the caller is mapped.

  Returns:
    How many shards it has.

  Raises:
    ValueError: if no such axis is mapped here.
  """
  try:
    return jax.lax.axis_size(axis_name)
  except NameError:
    raise ValueError(
      f'axis_name={axis_name!r} is not mapped here: call inside shard_map, '
      f'pmap or vmap over an axis of that name, or leave axis_name out.'
    ) from None


def choice(
  value: Any, allowed: Any, *, name: str, spec: str | None = None
) -> None:
  """Checks that a static option is one of the known ones.

  Args:
    value: the option.
    allowed: the known options.
    name: the argument's name, for the message.
    spec: the text that the option is a part of; None if it is the whole.

  Raises:
    ValueError: if it is not among them; the message lists them and names the
      nearest.
  """
  if value in allowed:
    return
  part = f' has {value!r}, which' if spec not in (None, value) else ''
  lower = {str(a).lower(): str(a) for a in reversed(tuple(allowed))}
  near = difflib.get_close_matches(str(value).lower(), lower, n=1)
  hint = f' Did you mean {lower[near[0]]!r}?' if near else ''
  raise ValueError(
    f'{name}={value if spec is None else spec!r}{part} is unknown: choose one '
    f'of {", ".join(map(repr, allowed))}.{hint}'
  )


def host_array(value: Any, *, name: str) -> np.ndarray:
  """Returns real numbers as a host array.

  Args:
    value: concrete numbers: a list of equally long lists, an array.
    name: the argument's name, for the message.

  Returns:
    A NumPy array of bools, integers or floats.

  Raises:
    ValueError: if lists are of unequal length.
    TypeError: if it is traced, or holds anything but real numbers; complex
      ones, text and None are refused.
  """
  if isinstance(value, jax.core.Tracer):
    raise TypeError(
      f'{name} must be concrete; got {described(value)} that is being traced: '
      'make it outside jit, vmap and grad.'
    )
  try:
    array = np.asarray(value)
  except ValueError:
    raise ValueError(
      f'{name} must be an array; got {described(value)} whose rows differ in '
      'length.'
    ) from None
  # ml_dtypes (bfloat16 and such) are of kind V.
  if array.dtype.kind not in 'biuf' and not jnp.issubdtype(
    array.dtype, jnp.floating
  ):
    kinds = {'c': 'complex numbers', 'U': 'text', 'S': 'text'}
    what = kinds.get(array.dtype.kind, described(value))
    raise TypeError(f'{name} must hold real numbers; got {what}.')
  return array


def load_npy(path: Any, *, kinds: str = 'iuf') -> np.ndarray:
  """Reads one array of numbers from a `.npy` file.

  Args:
    path: of the file.
    kinds: of dtypes that are taken, see `numpy.dtype.kind`.

  Returns:
    The array.

  Raises:
    ValueError: if the file is missing, damaged, or no array of numbers; the
      message does not name it.
  """
  try:
    values = np.load(path, allow_pickle=False)
  except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
    raise ValueError(f'no array can be read: {error}') from None
  if not isinstance(values, np.ndarray):
    raise ValueError('it is an archive (.npz), not an array (.npy).')
  if values.dtype.kind not in kinds:
    raise ValueError(
      f'it must hold real numbers; got an array of {values.dtype}.'
    )
  return values


def described(value: Any) -> str:
  """Names a value in a few words, for messages.

  Args:
    value: anything.

  Returns:
    What it is, without its contents.

  Example:
    >>> described(jnp.zeros((2, 3))), described(max), described('krum')
    ('an array of shape (2, 3)', 'the function max', "the text 'krum'")
  """
  if value is None or isinstance(value, (bool, numbers.Number)):
    return repr(value)
  if isinstance(value, str):
    return f'the text {value!r}'
  if isinstance(value, type):
    return f'the class {value.__name__}'
  if isinstance(value, functools.partial):
    return f'a partial of {described(value.func)}'
  if hasattr(value, 'shape') and hasattr(value, 'dtype'):
    return f'an array of shape {tuple(value.shape)}'
  if isinstance(value, (tuple, list, dict)) and not hasattr(value, '_fields'):
    return f'a {type(value).__name__} of length {len(value)}'
  name = getattr(value, '__name__', None)
  if callable(value) and name is not None:
    return f'the function {name}'
  kind = type(value).__name__
  return f'{"an" if kind[0] in "AEIOUaeiou" else "a"} {kind}'


def has_functions(value: Any, *names: str) -> bool:
  """Whether a value is a pair (or more) of functions, of whatever class.

  Args:
    value: anything.
    *names: attributes that must be callable.

  Returns:
    True if all are; a class is not the pair that calling it would make.
  """
  return not isinstance(value, type) and all(
    callable(getattr(value, name, None)) for name in names
  )


def task(value: Any, *, name: str = 'task') -> types.Task:
  """Checks that a value is a `Task`.

  Args:
    value: what the caller gave.
    name: the argument's name, for the message.

  Returns:
    The value.

  Raises:
    TypeError: if it has no `init` and `loss`; the message says what to call.
  """
  if not has_functions(value, 'init', 'loss'):
    remedy = (
      'make one of a network, networks.classification(network, example_inputs, '
      'num_classes=K) or networks.regression(network, example_inputs), or fill '
      'core.types.Task(init, loss, evaluate) yourself'
    )
    others = (types.Aggregator, types.Attack, types.Algorithm)
    if isinstance(value, others) or hasattr(value, 'matrix'):
      remedy = f'the {name} comes first, perhaps two arguments are swapped'
    raise TypeError(f'{name} must be a Task; got {described(value)}: {remedy}.')
  return value


def unwrapped(value: Any) -> Any:
  """The function inside any number of `functools.partial`s."""
  while isinstance(value, functools.partial):
    value = value.func
  return value


def parameters(value: Callable[..., Any], *, name: str) -> dict[str, Any]:
  """The parameters of a function that a user gave, by name.

  Args:
    value: a function, or a partial of one.
    name: what the caller calls it, for the message.

  Returns:
    `inspect.Parameter`s by name; none where a builtin hides its signature.

  Raises:
    TypeError: if a partial binds options that its function does not have.
  """
  try:
    return dict(inspect.signature(value).parameters)
  except (TypeError, ValueError):
    pass
  inner = unwrapped(value)
  try:
    known = inspect.signature(inner).parameters
  except (TypeError, ValueError):  # Some builtins hide theirs.
    return {}
  label = described(inner).removeprefix('the function ')
  bound = getattr(value, 'keywords', {})
  unknown = [repr(k) for k in bound if k not in known]
  options = [p.name for p in known.values() if p.kind is p.KEYWORD_ONLY]
  raise TypeError(
    f'{name}=partial({label}, ...) does not fit {label}'
    + (f', which has no option {", ".join(unknown)}' if unknown else '')
    + f': its options are {", ".join(options) or "none"}.'
  )


def takes(fn: Callable[..., object], name: str) -> bool:
  """Whether a function still wants a keyword argument.

  Args:
    fn: a function or `functools.partial` of one.
    name: the keyword.

  Returns:
    True if the signature has it (or **kwargs) and it is not bound yet.
  """
  if isinstance(fn, functools.partial) and name in fn.keywords:
    return False
  try:
    found = inspect.signature(fn).parameters
  except (TypeError, ValueError):  # Some builtins hide their signature.
    return False
  return name in found or any(
    p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values()
  )


def rule(
  value: Any, *, name: str, argument: str = 'updates'
) -> Callable[..., Any]:
  """Checks that a value can be called as `rule(updates)`.

  Args:
    value: what the caller gave.
    name: what the caller calls it, for the message.
    argument: the one positional argument, for the message.

  Returns:
    The value.

  Raises:
    TypeError: if it is no function of the updates alone; the message says
      which options to bind, or what to call.
  """
  if isinstance(value, types.Aggregator):
    raise TypeError(
      f'{name} must be a pure rule, a function of the {argument}; got an '
      'Aggregator, which has memory: pass the function that it was made of.'
    )
  if isinstance(value, str):
    raise TypeError(
      f'{name} must be a function; got the text {value!r}: pass '
      f'aggregators.{value} with its options bound by functools.partial, or an '
      'aggregator of aggregators.make_aggregator('
      f'{value!r}, num_clients=N, num_byzantine=f) where one fits.'
    )
  if not callable(value) or isinstance(value, type):
    raise TypeError(
      f'{name} must be a function of the {argument}; got {described(value)}.'
    )
  found = list(parameters(value, name=name).values())
  if not found:
    return value
  label = described(unwrapped(value)).removeprefix('the function ')
  by_place = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
  )
  if not any(p.kind in by_place for p in found):
    raise TypeError(
      f'{name}={label} takes no {argument}: it makes a rule, call it with its '
      'options.'
    )
  missing = [
    p.name
    for i, p in enumerate(found)
    if p.default is inspect.Parameter.empty
    and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    and (i or p.kind is p.KEYWORD_ONLY)
    and p.name not in ('key', 'mask', 'axis_name')
  ]
  if missing:
    options = ', '.join(f'{m}=...' for m in missing)
    raise TypeError(
      f'{name}={label} needs {", ".join(missing)}: bind with '
      f'functools.partial({label}, {options}).'
    )
  return value


def optimizer(value: Any, *, name: str = 'optimizer') -> Any:
  """Checks that a value is an optax optimizer.

  Args:
    value: what the caller gave.
    name: the argument's name, for the message.

  Returns:
    The value.

  Raises:
    TypeError: if it has no `init` and `update`; the message says what to call.
  """
  if has_functions(value, 'init', 'update'):
    return value
  remedy = 'for example optax.sgd(0.1)'
  if has_functions(getattr(value, 'tx', None), 'init', 'update'):
    remedy = f'pass its tx, {name}=optimizer.tx'
  elif callable(value) and hasattr(value, '__name__'):
    remedy = f'call it, for example {name}=optax.{value.__name__}(0.1)'
  elif isinstance(value, numbers.Number):
    remedy = f'for example {name}=optax.sgd({value})'
  raise TypeError(
    f'{name} must be an optax optimizer; got {described(value)}: {remedy}.'
  )


def rate(
  value: Any, *, name: str = 'learning_rate', open_low: bool = True
) -> None:
  """Checks a step size: a number, or a schedule of the round.

  Args:
    value: number, traced scalar, or a function of the round.
    name: the argument's name, for the message.
    open_low: whether zero is refused.

  Raises:
    TypeError: if it is neither, an optimizer for instance.
    ValueError: if a number is negative, or zero where that is refused.
  """
  if has_functions(value, 'init', 'update'):
    raise TypeError(
      f'{name} must be a number or a schedule; got an optax optimizer: this '
      'algorithm takes its own steps, pass the number alone.'
    )
  if not callable(value):
    number(value, name=name, low=0.0, open_low=open_low)


def cohort(
  value: Any,
  count: int | None,
  *,
  label: str = 'num_clients',
  why: str = '',
) -> None:
  """Checks the clients of a round against what an algorithm was made for.

  Args:
    value: what `step` was given as its cohort.
    count: N, or None for any.
    label: what the caller calls N, for the message.
    why: what the caller needs, for the message.

  Raises:
    TypeError: if it is no `Cohort`.
    ValueError: if it has another number of clients, in `client_ids` or in a
      leaf of `data`; the message names the leaf and its shape.
  """
  fields = ('client_ids', 'data', 'mask', 'weights')
  if not all(hasattr(value, field) for field in fields):
    raise TypeError(
      'cohort must be a core.types.Cohort(client_ids, data, mask, weights), as '
      f'local.batch_cohort makes; got {described(value)}. The order is '
      'step(state, cohort, *, key).'
    )
  if count is None:
    return
  found = jnp.shape(value.client_ids)
  if found != (count,):
    raise ValueError(
      f'cohort has {found[0] if found else 0} clients but {label}={count} '
      f'(client_ids of shape {found}){why and ": "}{why}.'
    )
  for field in ('mask', 'weights'):
    if getattr(value, field) is None:
      continue
    shape = jnp.shape(getattr(value, field))
    if shape != (count,):
      raise ValueError(
        f'cohort.{field} must have one entry per client, shape ({count},); got '
        f'{shape}.'
      )
  for path, leaf in jax.tree_util.tree_leaves_with_path(value.data):
    if jnp.shape(leaf)[:1] != (count,):
      raise ValueError(
        f'cohort.data{jax.tree_util.keystr(path)} has shape {jnp.shape(leaf)}: '
        f'need leaves [N, ...] with N = {count}, a batch per client.'
      )


def same_shapes(got: Any, want: Any, *, name: str, what: str) -> None:
  """Checks that a user's function made what the caller can use.

  Args:
    got: tree that it made.
    want: tree of the structure and shapes that are needed.
    name: whose result it is, for the message.
    what: what is needed, for the message.

  Raises:
    ValueError: if structure or shapes differ; the message names the shapes.
  """
  shapes = lambda tree: [jnp.shape(x) for x in jax.tree.leaves(tree)]
  same = jax.tree.structure(got) == jax.tree.structure(want)
  if not same or shapes(got) != shapes(want):
    raise ValueError(
      f'{name} must make {what}, leaves of shapes {shapes(want)}; it made '
      f'{shapes(got)}{"" if same else " in another structure"}.'
    )


def algorithm(
  init: Callable[..., Any],
  step: Callable[..., Any],
  params: Callable[[Any], Any],
  *,
  state: type | None = None,
  per_client: bool = False,
) -> types.Algorithm:
  """Makes an `Algorithm` that says what is wrong with its arguments.

  Args:
    init: `init(key) -> state`.
    step: `step(state, cohort, *, key) -> (state, metrics)`.
    params: `params(state) -> params`.
    state: class of the state, a NamedTuple; None for any.
    per_client: whether `params` gives a model for each client.

  Returns:
    The algorithm; keys and the types of state and cohort are checked before
    any of its functions runs.
  """
  cohort_of, fields = cohort, getattr(state, '_fields', ())

  def check_state(value):
    if not all(hasattr(value, field) for field in fields):
      raise TypeError(
        f'state must be what init or step of this algorithm returned, with '
        f'{", ".join(fields)}; got {described(value)}.'
      )

  @functools.wraps(init)
  def checked_init(key):
    keys.check_key(key)
    return init(key)

  @functools.wraps(step)
  def checked_step(state, cohort, *, key):
    cohort_of(cohort, None)
    check_state(state)
    keys.check_key(key)
    return step(state, cohort, key=key)

  def checked_params(state):
    check_state(state)
    return params(state)

  return types.Algorithm(
    checked_init, checked_step, checked_params, per_client=per_client
  )


def logits(value: Any, *, name: str = 'logits', mask: Any = None) -> None:
  """Checks logits: f[..., K] with examples, numbers if they are known.

  Args:
    value: what the caller gave; the values of tracers pass.
    name: the argument's name, for the message.
    mask: bool of its first axes; rows that do not count pass.

  Raises:
    ValueError: if there is no example, no class, a NaN or an infinity, or
      nothing but -inf in a row, which masks classes out.
    TypeError: if they are no array of floating-point numbers.
  """
  array(value, name=name)
  shape = jnp.shape(value)
  if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
    raise TypeError(
      f'{name} must be floating point; got {jnp.result_type(value)}.'
    )
  if len(shape) < 1 or 0 in shape:
    raise ValueError(
      f'{name} must have examples and classes, shape [B, K]; got {shape}.'
    )
  if isinstance(value, jax.core.Tracer) or isinstance(mask, jax.core.Tracer):
    return
  found = np.asarray(value, np.float64)
  if mask is not None:
    found = found[np.asarray(mask) != 0]
  broken = int(np.isnan(found).sum())
  if broken:
    raise ValueError(
      f'{name} must be numbers; {broken} of {found.size} are NaN.'
    )
  if (found == np.inf).any():
    raise ValueError(
      f'{name} must be below infinity; {int((found == np.inf).sum())} of '
      f'{found.size} are not.'
    )
  if found.size and (found == -np.inf).all(axis=-1).any():
    raise ValueError(f'{name} are -inf for all classes of an example.')


def array(value: Any, *, name: str) -> None:
  """Refuses lists and text, which have no dtype that would hold under jit.

  Args:
    value: what the caller gave; scalars and None pass.
    name: the argument's name, for the message.

  Raises:
    TypeError: if it is a list, a tuple, text or a dict.
  """
  if isinstance(value, (list, tuple, str, dict)):
    raise TypeError(
      f'{name} must be an array; got {described(value)}: pass jnp.asarray of '
      'numbers.'
    )


def class_labels(
  value: Any, num_classes: int, *, name: str = 'labels', mask: Any = None
) -> None:
  """Checks integer labels, their range too if they are known.

  Args:
    value: i[...]; tracers, and shapes without values, pass.
    num_classes: K.
    name: the argument's name, for the message.
    mask: bool, like the first axes of labels; labels that do not count pass.

  Raises:
    TypeError: if they are no integers.
    ValueError: if one lies outside of [0, K).
  """
  array(value, name=name)
  kind = jnp.result_type(value)
  if not jnp.issubdtype(kind, jnp.integer):
    raise TypeError(f'{name} must be integers; got {kind}.')
  if isinstance(mask, jax.core.Tracer) or isinstance(
    value, (jax.core.Tracer, jax.ShapeDtypeStruct)
  ):
    return
  found = np.asarray(value)
  if mask is not None:
    found = found[np.asarray(mask) != 0]
  wrong = found[(found < 0) | (found >= num_classes)]
  if wrong.size:
    raise ValueError(
      f'{name} must lie in [0, {num_classes}); got {int(wrong.flat[0])}.'
    )
