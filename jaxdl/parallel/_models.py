# SPDX-License-Identifier: Apache-2.0
"""Programs by name: the networks whose signatures are searched."""

from jaxdl.core import checks, registry
from jaxdl.parallel import _programs

Op = _programs.Op
# What a server's rule reads of the updates of clients.
READS = ('sum', 'order', 'gram', 'gram+order')


def mlp(
  batch: int, sizes: tuple[int, ...] = (32, 64, 32), activation: str = 'none'
) -> _programs.Program:
  """Dense layers without biases; input and result are split by examples.

  Args:
    batch: examples.
    sizes: of the input and of every layer.
    activation: between layers, see `OPERATORS`; 'none' for none.

  Returns:
    Operators x, w1, y1, a1, w2, ..., out.

  Example:
    >>> [op.name for op in mlp(8).ops]
    ['x', 'w1', 'w2', 'y1', 'y2', 'out']
  """
  batch = checks.integer(batch, name='batch', low=1)
  sizes = tuple(checks.integer(n, name='sizes', low=1) for n in sizes)
  if len(sizes) < 2:
    raise ValueError(f'sizes={sizes} has no layer: give two numbers at least.')
  ops = [Op('x', 'input', shape=(batch, sizes[0]), sbp='S0')]
  _dense(ops, 'x', sizes, activation)
  return _programs.make_program(ops)


def _dense(ops, last, sizes, activation):
  """Appends layers and the output."""
  for i, (m, n) in enumerate(zip(sizes, sizes[1:], strict=False), 1):
    ops.append(Op(f'w{i}', 'parameter', shape=(m, n)))
    ops.append(Op(f'y{i}', 'matmul', (last, f'w{i}')))
    last = f'y{i}'
    if activation != 'none' and i < len(sizes) - 1:
      ops.append(Op(f'a{i}', f'activation(fn={activation})', (last,)))
      last = f'a{i}'
  ops.append(Op('out', 'output', (last,), sbp='S0'))


def classifier(
  batch: int, features: int = 64, num_classes: int = 10_000
) -> _programs.Program:
  """A softmax over many classes, taken apart so that classes may be split.

  Args:
    batch: examples.
    features: of each.
    num_classes: K.

  Returns:
    Operators; `exps` [batch, K] over `sums` [batch] are the probabilities.

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 6.3.
  """
  batch = checks.integer(batch, name='batch', low=1)
  return _programs.make_program(
    [
      Op('x', 'input', shape=(batch, features), sbp='S0'),
      Op('w', 'parameter', shape=(features, num_classes)),
      Op('logits', 'matmul', ('x', 'w')),
      Op('top', 'reduce_max(axis=1)', ('logits',)),
      Op('below', 'scale(factor=-1)', ('top',)),
      Op('centered', 'bias_add(axis=0)', ('logits', 'below')),
      Op('exps', 'activation(fn=exp)', ('centered',)),
      Op('sums', 'reduce_sum(axis=1)', ('exps',)),
      Op('out', 'output', ('sums',), sbp='S0'),
    ]
  )


def wide_and_deep(
  batch: int,
  vocabulary: int = 1_000_000,
  fields: int = 4,
  width: int = 16,
  hidden: int = 256,
) -> _programs.Program:
  """Rows of a large table, and dense layers on them.

  Args:
    batch: examples.
    vocabulary: rows of the table.
    fields: ids of an example.
    width: of a row.
    hidden: neurons of the layer in between.

  Returns:
    Operators ids, table, rows, flat, w1, y1, a1, w2, y2, out.

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 6.3.
  """
  batch = checks.integer(batch, name='batch', low=1)
  ops = [
    Op('ids', 'input', shape=(batch, fields), sbp='S0', gradient=False),
    Op('table', 'parameter', shape=(vocabulary, width)),
    Op('rows', 'embedding', ('ids', 'table')),
    Op('flat', f'reshape(shape=({batch}, {fields * width}))', ('rows',)),
  ]
  _dense(ops, 'flat', (fields * width, hidden, 8), 'relu')
  return _programs.make_program(ops)


def transformer(
  batch: int,
  num_layers: int = 4,
  width: int = 64,
  heads: int = 4,
  length: int = 32,
) -> _programs.Program:
  """Blocks of attention and of dense layers, 25 operators each.

  Args:
    batch: sequences.
    num_layers: blocks.
    width: of a token.
    heads: of the attention; they divide the width.
    length: tokens of a sequence.

  Returns:
    The operators, those of block i with the suffix i.

  Source: Yuan et al. 2021 (https://arxiv.org/abs/2110.15032), Section 6.4, has
    such models.
  """
  batch = checks.integer(batch, name='batch', low=1)
  layers = checks.num_layers(num_layers)
  heads = checks.integer(heads, name='heads', low=1)
  each = checks.integer(width // heads, name='width / heads', low=1)
  if each * heads != width:
    raise ValueError(f'heads={heads} must divide width={width}.')
  ops = [Op('x', 'input', shape=(batch, length, width), sbp='S0')]
  last = 'x'
  for i in range(1, layers + 1):
    last = _block(ops, last, str(i), width, heads, length, batch)
  ops.append(Op('out', 'output', (last,), sbp='S0'))
  return _programs.make_program(ops)


def _block(ops, last, i, width, heads, length, batch):
  def put(name, kind, *inputs, shape=()):
    ops.append(Op(f'{name}{i}', kind, tuple(inputs), shape))
    return f'{name}{i}'

  def dense(name, x, m, n):
    return put(name, 'matmul', x, put(f'w_{name}', 'parameter', shape=(m, n)))

  def norm(name, x):
    both = [put(f'{p}_{name}', 'parameter', shape=(width,)) for p in 'sb']
    return put(name, 'layer_norm', x, *both)

  split = f'reshape(shape=({batch}, {length}, {heads}, {width // heads}))'
  x = norm('n', last)
  parts = []
  for name, axes in (
    ('q', '0, 2, 1, 3'),
    ('k', '0, 2, 3, 1'),
    ('v', '0, 2, 1, 3'),
  ):
    y = put(f'{name}s', split, dense(name, x, width, width))
    parts.append(put(f'{name}h', f'transpose(axes=({axes}))', y))
  weights = put('p', 'softmax', put('l', 'matmul', *parts[:2]))
  y = put('c', 'matmul', weights, parts[2])
  y = put('ct', 'transpose(axes=(0, 2, 1, 3))', y)
  y = put('cr', f'reshape(shape=({batch}, {length}, {width}))', y)
  x = put('r', 'add', last, dense('o', y, width, width))
  y = put(
    'a', 'activation(fn=gelu)', dense('u', norm('m', x), width, 4 * width)
  )
  return put('z', 'add', x, dense('d', y, 4 * width, width))


def federated_round(
  batch: int,
  num_parameters: int = 10_000,
  reads: str = 'gram',
  flops: float = 0.0,
  rows: str = '',
  read: str = '',
) -> _programs.Program:
  """A round of clients that train and a server that makes one update of them.

  Args:
    batch: N, clients.
    num_parameters: D.
    reads: what the server's rule reads of the rows: 'sum', weights that are
      known; 'order', every coordinate on its own; 'gram', inner products, then
      one weighted sum; 'gram+order', inner products, then sums coordinate by
      coordinate.
    flops: of the training of one client.
    rows: signature of the rows where they are made; '' leaves it to a search.
    read: signature in which the rule gets them; likewise.

  Returns:
    Operators clients, rows (of [N, D]), read, those of the rule, update and
    out, which everybody needs.

  Example:
    >>> [op.name for op in federated_round(8, reads='order').ops]
    ['clients', 'rows', 'read', 'update', 'out']
  """
  n = checks.integer(batch, name='batch', low=1)
  d = checks.integer(num_parameters, name='num_parameters', low=1)
  checks.choice(reads, READS, name='reads')
  checks.number(flops, name='flops', low=0)
  training = f'local_training(size={d}, flops={float(flops)})'
  ops = [
    Op('clients', 'input', shape=(n, 1), gradient=False),
    Op('rows', training, ('clients',), sbp=rows or None),
    Op('read', 'identity', ('rows',), sbp=read or None),
  ]
  last, sums = 'read', n if reads == 'gram+order' else 1
  if reads == 'sum':
    ops.append(Op('weights', 'input', shape=(1, n), sbp='B', gradient=False))
  elif reads != 'order':
    ops += [
      Op('columns', 'transpose', ('read',)),
      Op('products', 'matmul', ('read', 'columns')),
      Op('weights', f'pairwise_weights(num_sums={sums})', ('products',)),
    ]
  if reads != 'order':
    last = 'update' if sums == 1 else 'mixed'
    ops.append(Op(last, 'matmul', ('weights', 'read')))
  if reads.endswith('order'):
    ops.append(Op('update', 'order_statistic', (last,)))
  ops.append(Op('out', 'output', ('update',), sbp='B'))
  return _programs.make_program(ops)


PROGRAMS = registry.Registry(
  'program',
  {
    'classifier': classifier,
    'federated_round': federated_round,
    'mlp': mlp,
    'transformer': transformer,
    'wide_and_deep': wide_and_deep,
  },
  given=('batch',),
)
