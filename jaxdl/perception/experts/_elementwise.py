# SPDX-License-Identifier: Apache-2.0
"""Programs seen as lists of equations, and which of them act elementwise."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

# A number of the result depends on the numbers in its own place alone.
ELEMENTWISE = frozenset(
  (
    *('abs', 'add', 'add_any', 'and', 'neg', 'not', 'or', 'sub', 'xor', 'mul'),
    *('acos', 'acosh', 'asin', 'asinh', 'atan', 'atan2', 'atanh', 'tan'),
    *('cbrt', 'ceil', 'clamp', 'convert_element_type', 'copy', 'copy_p'),
    *('cos', 'cosh', 'div', 'eq', 'erf', 'erf_inv', 'erfc', 'exp', 'exp2'),
    *('expm1', 'floor', 'ge', 'gt', 'integer_pow', 'is_finite', 'le', 'lgamma'),
    *('log', 'log1p', 'logistic', 'lt', 'max', 'min', 'name', 'ne'),
    *('nextafter', 'optimization_barrier', 'pow', 'reduce_precision', 'rem'),
    *('round', 'rsqrt', 'select_n', 'sign', 'sin', 'sinh', 'sqrt', 'square'),
    *('stop_gradient', 'tanh'),
    # Numbers stay in their order.
    'reshape',
  )
)
# Of one equation, to be read as the equations inside of it.
_WRAPPERS = ('jit', 'pjit', 'closed_call', 'core_call', 'checkpoint', 'remat2')
_CUSTOM = ('custom_jvp_call', 'custom_vjp_call')


class Program(NamedTuple):
  """A traced function without functions inside that need not be there.

  Attributes:
    equations: in order.
    inputs: variables.
    outputs: variables or literals.
    constants: values by variable.
    form: what equations are evaluated as a part of.
  """

  equations: list[Any]
  inputs: list[Any]
  outputs: list[Any]
  constants: dict[Any, Any]
  form: Any


def program_of(fn: Callable[..., Any], *args: Any) -> Program:
  """Traces a function of flat arrays and writes out what it calls.

  Functions that are compiled or checkpointed by themselves become part of the
  whole; loops, branches and functions with slopes of their own stay.

  Args:
    fn: takes arrays, returns a list of arrays.
    *args: arrays, or their shapes.

  Returns:
    The program.
  """
  closed = jax.make_jaxpr(fn)(*args)
  jaxpr = closed.jaxpr
  constants = dict(zip(jaxpr.constvars, closed.consts, strict=True))
  equations: list[Any] = []
  names: dict[Any, Any] = {}
  _write_out(jaxpr, names, equations, constants)
  read = lambda v: _named(v, names)
  outputs = [read(v) for v in jaxpr.outvars]
  facts = jaxpr.debug_info._replace(arg_names=None, result_paths=None)
  form = jaxpr.replace(constvars=[], debug_info=facts)
  return Program(equations, list(jaxpr.invars), outputs, constants, form)


def _named(var, names):
  """What a variable is called outside."""
  return var if isinstance(var, core.Literal) else names.get(var, var)


def _write_out(jaxpr, names, equations, constants):
  for equation in jaxpr.eqns:
    invars = [_named(v, names) for v in equation.invars]
    inner = None
    if equation.primitive.name in _WRAPPERS:
      inner = equation.params.get('jaxpr', equation.params.get('call_jaxpr'))
    if inner is None:
      # The same function may be called twice: its results are not one.
      outvars = [core.Var(v.aval) for v in equation.outvars]
      names.update(zip(equation.outvars, outvars, strict=True))
      equations.append(equation.replace(invars=invars, outvars=outvars))
      continue
    consts = getattr(inner, 'consts', ())
    inner = getattr(inner, 'jaxpr', inner)
    own = dict(zip(inner.invars, invars, strict=True))
    for var, value in zip(inner.constvars, consts, strict=True):
      own[var] = core.Var(var.aval)
      constants[own[var]] = value
    _write_out(inner, own, equations, constants)
    results = [_named(v, own) for v in inner.outvars]
    names.update(zip(equation.outvars, results, strict=True))


def run(
  program: Program, numbers: Iterable[int], values: dict[Any, Any]
) -> None:
  """Evaluates equations of a program.

  Args:
    program: whose.
    numbers: which, in order.
    values: by variable, to which results are added.
  """
  equations = [program.equations[n] for n in numbers]
  made = [v for equation in equations for v in equation.outvars]
  own = set(made)
  wanted = {
    v: None
    for equation in equations
    for v in equation.invars
    if not isinstance(v, core.Literal) and v not in own
  }
  whole = program.form.replace(
    invars=list(wanted), outvars=made, eqns=equations
  )
  found = core.jaxpr_as_fun(core.ClosedJaxpr(whole, ()))(
    *(values[v] for v in wanted)
  )
  values.update(zip(made, found, strict=True))


def read(var: Any, values: dict[Any, Any]) -> Any:
  """The value of a variable or a literal."""
  return var.val if isinstance(var, core.Literal) else values[var]


def acts_elementwise(equation: Any) -> bool:
  """Whether an equation acts on numbers one by one.

  Args:
    equation: of a program.

  Returns:
    Whether; of a function with a slope of its own all it does must.
  """
  name = equation.primitive.name
  if name in _CUSTOM or name in _WRAPPERS:
    inner = equation.params.get('call_jaxpr', equation.params.get('jaxpr'))
    inner = getattr(inner, 'jaxpr', inner)
    return inner is not None and all(acts_elementwise(e) for e in inner.eqns)
  if name == 'broadcast_in_dim':
    return _is_one(equation.invars[0])
  return name in ELEMENTWISE


def _is_one(var):
  return math.prod(var.aval.shape) == 1


def what_is_not(fn: Callable[..., Any], num_arrays: int) -> str | None:
  """Tells what keeps a function from acting elementwise.

  Args:
    fn: of arrays of one shape.
    num_arrays: how many it takes.

  Returns:
    The name of an operation, a word about the shape or about its failure, or
    None if it does.
  """
  shape = jax.ShapeDtypeStruct((3, 5), jnp.float32)
  try:
    found = program_of(lambda *x: [fn(*x)], *[shape] * num_arrays)
  # What halves the axis, or has a table of another width.
  except (AssertionError, TypeError, ValueError) as error:
    return f'it fails for 5 units: {error}'
  for equation in found.equations:
    if not acts_elementwise(equation):
      return equation.primitive.name
    for var in equation.invars:
      if getattr(var, 'aval', shape).shape not in ((), (1,), (1, 1), (3, 5)):
        if var not in found.constants:
          continue
        return f'a table of shape {var.aval.shape}'
  if [v.aval.shape for v in found.outputs] != [(3, 5)]:
    return 'another shape'
  return None
